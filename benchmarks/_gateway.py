"""Mingbai's own gateway beside `benchmarks/gateway.py`: workers as they are deployed, with a registry of the run's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks._load import SECRET, Said, Server
from mingbai.connectors.gateway_live import live
from mingbai.connectors.gateway_registry import Registry, publish_registry, read_published, read_registry
from mingbai.connectors.ledger_access import open_keys
from mingbai.kernel.clock import utc_now
from mingbai.settings import load_settings
from tests.peers.mail import free_port

LOGINS: Final = {"busy": "901234", "quiet-1": "901235", "quiet-2": "901236"}
_START_S, _BIND_S, _STOP_S = 600.0, 20.0, 30.0

Row = dict[str, Any]  # Any: JSON


def account(name: str, login: str, **more: object) -> Row:
    """One without limits of its own, from this machine."""
    return {
        "name": name, "login": login, "protocol": "cmpp", "secret": SECRET, "access_codes": ["1069"],
        "addresses": ["127.0.0.0/8"], "rate_per_s": 0, "window": 1024, "connections": 1024, "skew_s": 0, **more,
    }  # fmt: skip


def smsc_row(name: str, smsc: Server, **more: object) -> Row:
    return {
        "name": name, "protocol": "smpp", "login": "ming", "secret": SECRET, "window": 128,
        "address": f"127.0.0.1:{smsc.port}", **more,
    }  # fmt: skip


def usual(smsc: Server) -> Row:
    """Accounts that send and are quiet, by CMPP, one that sends by SMPP, and one SMSC."""
    accounts = [account(name, login) for name, login in LOGINS.items()]
    return {
        "accounts": [*accounts, account("busy-smpp", LOGINS["busy"], protocol="smpp")],
        "smscs": [smsc_row("smsc", smsc)],
        "routes": [{"name": "all", "to": ["smsc"]}],
    }


class Gateway:
    """Workers of `mingbai gateway` on one port a protocol, for as long as the `with` lasts."""

    def __init__(
        self, data: Path, registry: Row, workers: int = 1, *, tls: Path | None = None, settings: Mapping[str, str] = {}
    ) -> None:
        """tls: certificate and key in one file, for SMPP. settings: further ones, by their names in the environment."""
        self.port, self.smpp_port = free_port(), free_port()
        self.data = data
        data.mkdir()
        (data / "run").mkdir()
        self.publish(read_registry(registry))
        off = dict.fromkeys(("SGIP", "SMGP", "HTTP", "METRICS"), "off")
        ours = {
            **off,
            "CMPP": f"127.0.0.1:{self.port}",
            "SMPP": f"{'tls:' if tls else ''}127.0.0.1:{self.smpp_port}",
            "WORKERS": str(workers),
            **({"TLS_CERTIFICATE": str(tls), "TLS_KEY": str(tls)} if tls else {}),
            **settings,
        }
        self._environment = {
            **os.environ,
            **{f"MINGBAI_GATEWAY__{name}": value for name, value in ours.items()},
            "MINGBAI_DATA": str(data),
        }
        self._names = [f"gateway-{worker}" for worker in range(1, workers + 1)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self.start()

    @property
    def pids(self) -> Sequence[int]:
        return [process.pid for process in self._processes]

    def publish(self, wanted: Registry) -> None:
        publish_registry(self.data, wanted, open_keys(load_settings(data=self.data)), now=utc_now(), by="benchmark")

    def published(self) -> Registry:
        """What is in force. Its secrets are sealed, and stay as they are: another seal would be another row."""
        found = read_published(self.data)
        assert found is not None
        return found.registry

    def live(self) -> Said:
        """What the first worker says of itself. A busy one may take a while to answer."""
        found = live(self.data, 10.0)
        if not found:
            sys.exit("the gateway does not answer")
        return found[0]

    def start(self) -> float:
        """Returns the seconds until it took messages and was bound to its SMSCs."""
        marks = [self.data / "run" / f"{name}.ready" for name in self._names]
        for mark in marks:
            mark.unlink(missing_ok=True)
        code = "from mingbai.server import run_part; from mingbai.settings import load_settings; import os; "
        began = time.monotonic()
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", f"{code}run_part('{name}', load_settings(), os.getppid())"],
                env=self._environment,
            )
            for name in self._names
        ]
        while not all(mark.exists() for mark in marks):
            if time.monotonic() - began > _START_S or any(process.poll() is not None for process in self._processes):
                self.stop()
                sys.exit("the gateway did not start")
            time.sleep(0.02)
        while not self._is_bound():
            if time.monotonic() - began > _START_S + _BIND_S:
                self.stop()
                sys.exit("the gateway was not bound to its SMSCs")
            time.sleep(0.02)
        return time.monotonic() - began

    def _is_bound(self) -> bool:
        found = live(self.data, 5.0)
        return len(found) == len(self._names) and all(
            smsc["state"] == "bound" for worker in found for smsc in worker["smscs"]
        )

    def stop(self) -> float:
        """By SIGTERM; returns the seconds."""
        began = time.monotonic()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return time.monotonic() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
