"""The composition root: what `mingbai serve` starts, and how it keeps it running.

One tree: this supervisor, and below it `web` (pages and API), `worker` (jobs), `screener` (the engine) and the gateway
(`gateway-1`, ...: messages). Each is a process of its own, so that a slow page never holds up a decision and a crash
takes nothing else with it; what died is started again, later each time it dies quickly. The supervisor itself holds no
data and answers nobody. `mingbai console` and `mingbai gateway` are the same tree with a part of its parts: the gateway
needs neither pages nor database.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import MingbaiError
from mingbai.kernel.logs import log_to_stderr
from mingbai.settings import Settings

log = logging.getLogger(__name__)

PARTS = ("web", "worker", "screener")  # of the control plane
READY_NAME = "ready"  # DATA/run/ready: the database is up to date; who needs it waits for this file
_DRAIN_S = 20.0  # what a part gets to finish what it has begun
_WEB_DRAIN_S = 10  # of that, what a request gets; a page that is followed live never ends by itself
_LONGEST_PAUSE_S = 30.0
_STEADY_S = 60.0  # a part that ran this long may start at once again


class AlreadyRunning(MingbaiError):
    """Another `mingbai serve` has this data directory."""

    code = "already_running"
    template = "{data}: another `mingbai serve` (process {pid}) uses this data directory"


class AddressInUse(MingbaiError):
    """Something else listens where we should."""

    code = "address_in_use"
    template = "{setting}: {address} cannot be listened on: {detail}"


def use_django(settings: Settings) -> None:
    """Set Django up for this process. The settings reach it, and every child, through the environment."""
    os.environ["MINGBAI_DATA"] = str(settings.data)
    os.environ["MINGBAI_CONSOLE__ADDRESS"] = settings.console.address
    os.environ["DJANGO_SETTINGS_MODULE"] = "mingbai.console.settings"
    import django

    django.setup()


def prepare(settings: Settings) -> None:
    """Make the data directory, bring the database up to date and the tables that Django's cache needs."""
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    (settings.data / "run").mkdir(exist_ok=True, mode=0o700)
    use_django(settings)
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", interactive=False, verbosity=0)
    if "console_cache" not in connection.introspection.table_names():
        call_command("createcachetable", verbosity=0)


def control_stream_problem(settings: Settings) -> str | None:
    """What is wrong with the control stream; None if its chain is whole. Brings an older database up to date first."""
    prepare(settings)
    from mingbai.contexts.audit.queries import verify

    found = verify()
    return None if found.ok else found.problem


def first_link(settings: Settings, *, now: datetime) -> str | None:
    """The one-time link for the first administrator; None when somebody can already sign in as one."""
    from mingbai.contexts.people.services.accounts import first_administrator

    secret = first_administrator(now=now)
    return None if secret is None else f"{base_url(settings)}/welcome/{secret}/"


def base_url(settings: Settings) -> str:
    """Where a browser finds the console."""
    console = settings.console
    if console.hosts:
        port = "" if console.behind_tls else f":{urlsplit(f'//{console.address}').port}"
        return f"http{'s' if console.behind_tls else ''}://{console.hosts[0]}{port}"
    # Passkeys belong to a host name (WebAuthn, 5.1.2); a browser takes none for 127.0.0.1.
    parts = urlsplit(f"//{console.address}")
    return f"http://localhost:{parts.port}" if parts.hostname == "127.0.0.1" else f"http://{console.address}"


@dataclass(slots=True)
class _Part:
    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    start_at: float = 0.0
    quick_deaths: int = 0
    exits: list[int] = field(default_factory=list)


class Supervisor:
    """Starts the parts and starts again what dies. `run` returns when it is told to stop."""

    def __init__(self, settings: Settings, parts: Sequence[str] = PARTS) -> None:
        self._settings = settings
        me = str(os.getpid())
        self.names = tuple(parts)
        self._parts = [_Part(name, [sys.executable, "-m", "mingbai.server", name, me]) for name in parts]
        self._is_stopping = False

    def run(self, tick: Callable[[], None] | None = None, only: Callable[[], Sequence[str]] | None = None) -> None:
        """Until SIGTERM or SIGINT. tick: called a few times a second, for a caller that has something to do.

        only: which parts may run now; None: all.
        """
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        try:
            while not self._is_stopping:
                self.step(only() if only is not None else None)
                if tick is not None:
                    tick()
                time.sleep(0.05)
        finally:
            self.stop()

    def step(self, only: Sequence[str] | None = None) -> None:
        """Start what should run and does not. only: the parts that may run already; None: all."""
        now = time.monotonic()
        for part in self._parts:
            if only is not None and part.name not in only:
                continue
            if part.process is not None:
                code = part.process.poll()
                if code is None:
                    continue  # it runs
                part.process = None
                part.exits.append(code)
                is_quick = now - part.started < _STEADY_S
                part.quick_deaths = part.quick_deaths + 1 if is_quick else 0
                pause = min(_LONGEST_PAUSE_S, 0.2 * 2 ** min(part.quick_deaths, 10)) if part.quick_deaths > 1 else 0.0
                part.start_at = now + pause
                log.error(
                    "a part of the server ended and starts again",
                    extra={"part": part.name, "code": code, "pause_s": pause},
                )
            if now >= part.start_at:
                part.started = now
                # A group of its own: Ctrl-C reaches the supervisor alone, which stops the parts in order.
                part.process = subprocess.Popen(part.command, start_new_session=True, stdin=subprocess.DEVNULL)

    def pids(self) -> dict[str, int]:
        """Of the parts that run now."""
        return {part.name: part.process.pid for part in self._parts if part.process is not None}

    def stop(self) -> None:
        """SIGTERM to all, then wait until they have finished; SIGKILL for what does not."""
        running = [part.process for part in self._parts if part.process is not None]
        for process in running:
            with suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + _DRAIN_S
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._is_stopping = True


class DataLock:
    """One of a kind for a data directory: a lock on DATA/run/<kind>.pid, which also names the process.

    kind: serve (the control plane, and whatever runs with it) or gateway.
    """

    def __init__(self, settings: Settings, kind: str = "serve") -> None:
        import fcntl

        self._path = settings.data / "run" / f"{kind}.pid"
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = self._path.read_text().strip() or "?"
            os.close(self._handle)
            raise AlreadyRunning(data=str(settings.data), pid=pid) from error
        os.ftruncate(self._handle, 0)
        os.write(self._handle, str(os.getpid()).encode())

    def close(self) -> None:
        os.close(self._handle)


def check_address(address: str, setting: str = "console.address") -> None:
    """Raises AddressInUse where we could not listen: better now than in a child that dies again and again."""
    import socket

    parts = urlsplit(f"//{address}")
    family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.hostname, parts.port))
        except OSError as error:
            detail = error.strerror or str(error)
            raise AddressInUse(setting=setting, address=address, detail=detail) from error


LISTENERS = ("cmpp", "sgip", "smgp", "smpp", "http", "metrics")


def gateway_parts(settings: Settings) -> tuple[str, ...]:
    return tuple(f"gateway-{number}" for number in range(1, settings.gateway.workers + 1))


def check_gateway(settings: Settings) -> None:
    """Raises AddressInUse where a listener of the gateway could not listen."""
    for name in LISTENERS:
        address = getattr(settings.gateway, name).removeprefix("tls:")
        if address and not address.endswith(":0"):
            check_address(address, f"gateway.{name}")


def hand_down(settings: Settings) -> None:
    """What the command line said reaches the parts through the environment."""
    os.environ["MINGBAI_DATA"] = str(settings.data)
    os.environ["MINGBAI_CONSOLE__ADDRESS"] = settings.console.address
    for name in (*LISTENERS, "workers"):
        os.environ[f"MINGBAI_GATEWAY__{name.upper()}"] = str(getattr(settings.gateway, name)) or "off"


# -- the parts


def run_web(settings: Settings) -> None:
    """Pages and API, until SIGTERM."""
    from granian.constants import Interfaces
    from granian.server import Server

    parts = urlsplit(f"//{settings.console.address}")
    Server(
        "mingbai.console.asgi:application",
        address=parts.hostname or "127.0.0.1",
        port=parts.port or 8080,
        interface=Interfaces.ASGI,
        workers=settings.console.workers,
        log_access=False,
        log_level="warning",  # type: ignore[arg-type]  # granian takes its enum's value
        respawn_failed_workers=True,
        workers_kill_timeout=_WEB_DRAIN_S,
        websockets=False,
    ).serve()


def run_part(name: str, settings: Settings, supervisor: int) -> None:
    """One part of the tree, in this process. Ends too when the supervisor is gone: nobody would start it again."""
    _end_with(supervisor)
    if name == "web":
        use_django(settings)
        import_module("mingbai.console.urls")  # once: the processes that answer are forked from this one
        _end_forks_too()
        run_web(settings)
    elif name == "worker":
        use_django(settings)
        from mingbai.worker import run_worker

        run_worker(settings)
    elif name == "screener":
        from mingbai.gateway.screener import run_screener

        run_screener(settings)
    elif name.startswith("gateway-"):
        from mingbai.gateway.worker import run_part as run_gateway_part

        run_gateway_part(name, settings)
    else:
        raise SystemExit(f"no part of the server is called {name}")


def _end_with(supervisor: int) -> None:
    """Linux: SIGTERM when the parent dies, also by kill -9; at once if it died before this process got here."""
    import ctypes

    pr_set_pdeathsig = 1
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != supervisor:
        os._exit(0)  # nothing is begun yet, and after a fork an exception would be swallowed


def _end_forks_too() -> None:
    """What is forked from here ends with whoever forked it: a web server that was killed must not leave processes that
    go on answering at its port with what was in force then."""
    parent = 0

    def before() -> None:
        nonlocal parent
        parent = os.getpid()

    def after() -> None:
        with suppress(ValueError):  # what is forked off the main thread has no handlers to lose
            # Inherited, they note a signal for the process that forked; until the new one has set its own, SIGTERM
            # would be lost on it, and it would stay.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        _end_with(parent)

    os.register_at_fork(before=before, after_in_child=after)


def main(arguments: Sequence[str]) -> int:
    """`python -m mingbai.server PART PID`: how the supervisor, which is PID, starts its parts.

    Settings come by the environment.
    """
    from mingbai.settings import load_settings

    log_to_stderr()
    run_part(arguments[0], load_settings(), int(arguments[1]))
    return 0


def write_pids(settings: Settings, pids: dict[str, int]) -> Path:
    """Who runs as what, for people and tests: DATA/run/parts.json."""
    import json

    path = settings.data / "run" / "parts.json"
    path.write_text(json.dumps(pids))
    return path


def carry(settings: Settings, announce: Callable[[], None], tick: Callable[[], None] | None = None) -> None:
    """Everything that `mingbai gateway` does. announce: called once all workers take messages."""
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    (settings.data / "run").mkdir(exist_ok=True, mode=0o700)
    lock = DataLock(settings, "gateway")
    try:
        check_gateway(settings)
        hand_down(settings)
        names = gateway_parts(settings)
        marks = [settings.data / "run" / f"{name}.ready" for name in names]
        for mark in marks:
            mark.unlink(missing_ok=True)
        supervisor = Supervisor(settings, names)
        is_announced = False

        def each() -> None:
            nonlocal is_announced
            if not is_announced and all(mark.exists() for mark in marks):
                is_announced = True
                announce()
            if tick is not None:
                tick()

        supervisor.run(each)
    finally:
        lock.close()


def serve(
    settings: Settings,
    announce: Callable[[str | None], None],
    tick: Callable[[], None] | None = None,
    *,
    with_gateway: bool = True,
) -> None:
    """Everything that `mingbai serve` does. announce: told the one-time link (or None) once the pages can be had.

    with_gateway: False for `mingbai console`.
    """
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    (settings.data / "run").mkdir(exist_ok=True, mode=0o700)
    lock = DataLock(settings)
    carries = gateway_parts(settings) if with_gateway else ()
    gateway_lock = None
    try:
        gateway_lock = DataLock(settings, "gateway") if carries else None
        check_address(settings.console.address)
        if carries:
            check_gateway(settings)
        hand_down(settings)
        # The pages load while the database is made or brought up to date here, and wait for the word that it is. The
        # engine, which takes all that a core has for seconds, begins when the first page can be had.
        ready = settings.data / "run" / READY_NAME
        ready.unlink(missing_ok=True)
        supervisor = Supervisor(settings, (*PARTS, *carries))
        supervisor.step(("web",))
        try:
            prepare(settings)
            link = first_link(settings, now=utc_now())
            ready.touch()
        except BaseException:
            supervisor.stop()
            raise
        is_announced = False
        known: dict[str, int] = {}

        def each() -> None:
            nonlocal is_announced, known
            if supervisor.pids() != known:
                known = supervisor.pids()
                write_pids(settings, known)
            if not is_announced and _answers(settings):
                is_announced = True
                announce(link)
            if tick is not None:
                tick()

        supervisor.run(each, lambda: supervisor.names if is_announced else ("web",))
    finally:
        if gateway_lock is not None:
            gateway_lock.close()
        lock.close()


def _answers(settings: Settings) -> bool:
    from http.client import HTTPConnection, HTTPException

    parts = urlsplit(f"//{settings.console.address}")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname or "")  # noqa: S104 - not bound
    connection = HTTPConnection(host, parts.port, timeout=1.0)
    try:
        connection.request("GET", "/healthz", headers={"Host": f"localhost:{parts.port}"})
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
