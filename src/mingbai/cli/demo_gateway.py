"""The demo's traffic: four providers in four protocols send through the gateway to two SMSCs, over real sockets.

Everything is the product's own: accounts and routes are applied as `mingbai apply` does, the simulators are those of
`mingbai simulate`. Secrets are made for this run.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from datetime import date
from typing import Any, Final

from mingbai.engines.scenarios.traffic import traffic
from mingbai.gateway.simulators.smsc import SmscOptions, SmscSimulator
from mingbai.gateway.simulators.sp import SpOptions, SpSimulator
from mingbai.kernel.clock import utc_now
from mingbai.settings import Settings

RATE_PER_S: Final = 12.0  # what a reader can still follow on the overview
_TEXTS: Final = 20_000
_PROVIDERS: Final = (
    # name, protocol, login, access code
    ("east-notices", "cmpp", "901001", "10690001"),
    ("south-market", "smgp", "90100201", "10690002"),
    ("north-courier", "sgip", "north", "10690003"),
    ("west-mix", "smpp", "westmix", "10690004"),
)


class Traffic:
    """The providers and the SMSCs, in a thread of their own, until they are told to stop."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self._settings = settings
        self._seed = seed
        self._secret = secrets.token_hex(4)  # eight characters: what SMPP has room for
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="demo-traffic", daemon=True)
        self._started = threading.Event()
        self._tasks: list[asyncio.Task[Any]] = []  # Any: summaries, which nobody reads
        self._callback = 0
        self.smsc_ports: dict[str, int] = {}
        self.sent = 0

    def start_smscs(self) -> None:
        """Make the SMSCs listen, so that the registry can name their ports."""
        self._thread.start()
        self._started.wait(30)

    def registry(self) -> dict[str, Any]:  # Any: a document as `mingbai apply` reads it
        """Accounts, SMSCs and routes of the demo."""
        self._callback = _free_port()
        accounts: list[dict[str, Any]] = []  # Any: as above
        for name, protocol, login, code in _PROVIDERS:
            row: dict[str, Any] = {
                "name": name,
                "protocol": protocol,
                "login": login,
                "secret": self._secret,
                "access_codes": [code],
                "addresses": ["127.0.0.0/8"],
                "rate_per_s": 50,
            }
            if protocol == "sgip":
                row["callback"] = f"127.0.0.1:{self._callback}"
            accounts.append(row)
        smscs = [
            {
                "name": f"smsc-{protocol}",
                "protocol": protocol,
                "login": "ming",
                "secret": self._secret,
                "address": f"127.0.0.1:{port}",
            }
            for protocol, port in self.smsc_ports.items()
        ]
        routes = [
            {"name": "notices", "order": 10, "to": ["smsc-cmpp", "smsc-smpp"], "accounts": ["east-notices"]},
            {"name": "rest", "order": 100, "to": ["smsc-smpp", "smsc-cmpp"]},
        ]
        return {"account": accounts, "smsc": smscs, "route": routes}

    def start(self) -> None:
        """Let the providers send."""
        self._loop.call_soon_threadsafe(self._send)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._cancel)
            self._thread.join(timeout=5)

    # -- in the thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        secret = self._secret.encode()
        async with contextlib.AsyncExitStack() as stack:
            for protocol in ("smpp", "cmpp"):
                options = SmscOptions(
                    protocol, login="ming", secret=secret, report_delay_ms=400, report_share=0.97, keep=False,
                    mo_rate_per_s=0.05, mo_to="10690001",
                )  # fmt: skip
                smsc = await stack.enter_async_context(SmscSimulator(options))
                self.smsc_ports[protocol] = smsc.port
            self._started.set()
            self._end = asyncio.Event()
            await self._end.wait()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _send(self) -> None:
        day = traffic(self._seed + 2, _TEXTS, date(2026, 5, 1))
        texts = [str(text) for text in day.column("text").to_pylist()]
        numbers = self._settings.gateway
        ports = {"cmpp": numbers.cmpp, "smgp": numbers.smgp, "sgip": numbers.sgip, "smpp": numbers.smpp}
        for place, (_name, protocol, login, code) in enumerate(_PROVIDERS):
            options = SpOptions(
                protocol,
                connect=ports[protocol],
                login=login,
                secret=self._secret.encode(),
                source=code,
                count=10**9,
                rate_per_s=RATE_PER_S / len(_PROVIDERS),
                to=f"138{place}",
                texts=texts[place :: len(_PROVIDERS)],
                wants_reports=True,
                listen=f"127.0.0.1:{self._callback}" if protocol == "sgip" else "",
                reconnects=True,
                seed=self._seed + place,
            )
            self._tasks.append(self._loop.create_task(SpSimulator(options).run()))

    def _cancel(self) -> None:
        self._end.set()


def apply_registry(settings: Settings, document: dict[str, Any]) -> None:  # Any: as above
    """Put the demo's accounts in force, as `mingbai apply` does. Django is set up already."""
    from mingbai.console import configuration

    wanted = configuration.Wanted.model_validate({"gateway": document})
    now = utc_now()
    configuration.apply(configuration.plan(wanted, actor="demo", now=now), actor="demo", now=now)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
