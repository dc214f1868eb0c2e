"""Jasmin beside `benchmarks/gateway.py`: SMPP in -> RabbitMQ -> SMPP out, as its documentation sets it up.

Jasmin 0.11.1 (Apache-2.0) stands in a virtual environment of its own below the user's cache, because its pins are
not ours; nothing of it is imported here. RabbitMQ and Redis are Debian's, as processes of this run with files and ports
of their own: what the machine runs already stays untouched. Jasmin is told what to do by its console, `jcli`.

In its favour: no receipts are asked for, its connector has no limit, it logs warnings only. What it publishes is not
confirmed before it answers, and nothing is screened. This version fails to hand each submit_sm_resp to its look-up of
receipts (AttributeError, after the message was taken from the queue): it is told not to log that, and does less work.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks._load import SECRET, Load, Said, Server, ended
from tests.peers.mail import free_port

VERSION: Final = "0.11.1"
_HOST: Final = "127.0.0.1"
_RABBITMQ: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one in /usr/sbin changes the user
_LOGIN: Final = "provider"
_START_S, _STOP_S, _PATIENCE_S = 90.0, 30.0, 20.0
_CONFIGURATION: Final = """\
[smpp-server]
bind = {host}
port = {smpp}
log_level = WARNING
[smpp-server-pb]
bind = {host}
port = {smpp_pb}
log_level = WARNING
[client-management]
store_path = {folder}/store
bind = {host}
port = {manager}
log_level = WARNING
[service-smppclient]
log_level = WARNING
[sm-listener]
log_level = CRITICAL
[dlr]
log_level = WARNING
[amqp-broker]
host = {host}
port = {amqp}
spec = {spec}
log_level = WARNING
[redis-client]
host = {host}
port = {redis}
log_level = WARNING
[router]
store_path = {folder}/store
bind = {host}
port = {router}
log_level = WARNING
[jcli]
bind = {host}
port = {jcli}
authentication = False
log_level = WARNING
"""
# As its user's guide does it: a group, a user, a connector, the default route. `ok` saves.
_ORDERS: Final = (
    "group -a", "gid load", "ok",
    f"user -a|username {_LOGIN}|password {SECRET}|uid provider|gid load|ok",
    "smppccm -a|cid smsc|host {host}|port {port}|username ming|password {secret}|submit_throughput 0|loglevel 30|ok",
    "mtrouter -a|type DefaultRoute|connector smppc(smsc)|rate 0.0|ok",
    "smppccm -1 smsc",
)  # fmt: skip


def cache() -> Path:
    """Where peers stand that are installed for a benchmark."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mingbai" / "peers"


def environment() -> Path:
    """Jasmin's virtual environment; made when it is not there. Ends the run where that, or a server, cannot be had."""
    if not _RABBITMQ.exists() or shutil.which("redis-server") is None or shutil.which("epmd") is None:
        sys.exit("Jasmin needs RabbitMQ and Redis: install Debian's `rabbitmq-server` and `redis-server`; "
                 "they need not run")  # fmt: skip
    home = cache() / f"jasmin-{VERSION}"
    if not (home / "whole").exists():
        shutil.rmtree(home, ignore_errors=True)
        print(f"installing Jasmin {VERSION} into {home}", flush=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            pip = [str(home / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            subprocess.run([*pip, f"jasmin=={VERSION}"], check=True, timeout=900)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            sys.exit(f"Jasmin cannot be installed ({error}): make {home} a virtual environment with "
                     f"jasmin=={VERSION}, and an empty file `whole` in it")  # fmt: skip
        (home / "whole").touch()
    return home


class Jasmin:
    """Redis, RabbitMQ and jasmind, bound to the SMSC for as long as the `with` lasts."""

    has_reports = False

    def __init__(self, folder: Path, smsc: Server, window: int) -> None:
        self._home = environment()
        self._folder = folder / "jasmin"
        self._smsc = smsc
        self._window = window
        self._processes: list[subprocess.Popen[bytes]] = []
        names = ("smpp", "smpp_pb", "manager", "amqp", "redis", "router", "jcli", "epmd", "nodes")
        self._ports = {name: free_port() for name in names}
        self.pids: Sequence[int] = ()

    def __enter__(self) -> Self:
        for part in ("store", "log", "etc", "home", "rabbitmq"):
            (self._folder / part).mkdir(parents=True)
        try:
            self._start_redis()
            self._start_rabbitmq()
            self._start_jasmin()
            self._smsc.summary()
            self._configure()
            self._smsc_bound()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        found = [pid for process in self._processes for pid in _tree(process.pid)]
        served = ("redis-server", "beam.smp")  # and no shell or helper, which may end
        self.pids = [pid for pid in found if _name(pid) in served or pid == self._processes[-1].pid]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        environment = {**os.environ, "ERL_EPMD_PORT": str(self._ports["epmd"])}  # the one of this run alone
        subprocess.run(["epmd", "-kill"], env=environment, check=False, capture_output=True)

    def send(self, load: Load, messages: int) -> Said:
        """A turn, until the SMSC has the last message, by its clock; `smsc`: what it says of it."""
        said = ended(
            load.sp(self._ports["smpp"], messages=messages, window=self._window, smpp=True, no_reports=True,
                    login=_LOGIN)
        )  # fmt: skip
        moved, known, told = time.monotonic(), -1, self._smsc.peek()
        while told["received"] < messages and time.monotonic() - moved < _PATIENCE_S:
            if told["received"] != known:
                moved, known = time.monotonic(), told["received"]
            time.sleep(0.05)
            told = self._smsc.peek()
        return {**said, "seconds": told["seconds"], "smsc": self._smsc.summary()}

    # -- its parts

    def _start(self, name: str, command: Sequence[str], environment: dict[str, str], port: int) -> None:
        with (self._folder / f"{name}.out").open("wb") as out:
            self._processes.append(
                subprocess.Popen(
                    command, env={**os.environ, **environment}, cwd=self._folder, stdout=out, stderr=out
                )
            )  # fmt: skip
        until = time.monotonic() + _START_S
        while not _listens(port):
            if time.monotonic() > until or self._processes[-1].poll() is not None:
                said = (self._folder / f"{name}.out").read_text("utf-8", "replace")[-2000:]
                sys.exit(f"{name} did not start:\n{said}")
            time.sleep(0.1)

    def _start_redis(self) -> None:
        port = self._ports["redis"]
        options = ["--port", str(port), "--bind", _HOST, "--save", "", "--appendonly", "no"]
        self._start("redis", ["redis-server", *options, "--dir", str(self._folder)], {}, port)

    def _start_rabbitmq(self) -> None:
        folder = self._folder / "rabbitmq"
        (folder / "plugins").write_text("[].")
        own = {
            "HOME": str(self._folder / "home"),  # of Erlang's cookie
            "ERL_EPMD_PORT": str(self._ports["epmd"]),
            "ERL_EPMD_ADDRESS": _HOST,
            "RABBITMQ_NODENAME": f"bench-{os.getpid()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": _HOST,
            "RABBITMQ_NODE_PORT": str(self._ports["amqp"]),
            "RABBITMQ_DIST_PORT": str(self._ports["nodes"]),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_LOGS": str(self._folder / "log/rabbitmq.log"),
        }
        self._start("rabbitmq", [str(_RABBITMQ)], own, self._ports["amqp"])

    def _start_jasmin(self) -> None:
        spec = next(self._home.glob("lib/python*/site-packages/txamqp/specs/standard/amqp0-9-1.stripped.xml"))
        written = self._folder / "etc/jasmin.cfg"
        written.write_text(_CONFIGURATION.format(host=_HOST, folder=self._folder, spec=spec, **self._ports))
        own = {"ROOT_PATH": str(self._folder), "LOG_PATH": str(self._folder / "log")}
        python, program = str(self._home / "bin/python"), str(self._home / "bin/jasmind.py")
        self._start("jasmin", [python, program, "-c", str(written), "--disable-http-api"], own, self._ports["jcli"])

    def _configure(self) -> None:
        """By its console: a line, then the next prompt."""
        with socket.create_connection((_HOST, self._ports["jcli"])) as console:
            console.settimeout(_PATIENCE_S)
            while b"Session ref" not in console.recv(65536):  # its greeting has no prompt behind it
                pass
            given = {"host": _HOST, "port": self._smsc.port, "secret": SECRET}
            for line in (line for order in _ORDERS for line in order.format(**given).split("|")):
                console.sendall(line.encode() + b"\r\n")
                said = _hear(console, line)
                if any(word in said for word in ("Error", "Unknown", "Failed", "Incorrect")):
                    sys.exit(f"Jasmin does not take {line!r}: {said}")

    def _smsc_bound(self) -> None:
        until = time.monotonic() + _START_S
        while not self._smsc.peek()["binds"]:
            if time.monotonic() > until:
                sys.exit("Jasmin was not bound to the SMSC")
            time.sleep(0.1)
        self._smsc.summary()


def _hear(console: socket.socket, what: str) -> str:
    """What the console says until it asks for the next line."""
    said = ""
    while not said.endswith(("jcli : ", "\n> ")):
        try:
            said += console.recv(65536).decode("utf-8", "replace")
        except TimeoutError:
            sys.exit(f"Jasmin's console does not answer {what!r}: {said}")
    return said


def _listens(port: int) -> bool:
    try:
        socket.create_connection((_HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _tree(pid: int) -> list[int]:
    """A process and its children: RabbitMQ's begins as a shell."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in _tree(int(child)))]
