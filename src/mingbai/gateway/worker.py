"""A gateway worker: one process that takes messages in, screens them, and carries them on.

It needs the data directory and nothing else: policy, accounts and routes are files there, and its answers go into its
own ledger stream `gateway-<worker>`. SIGTERM and SIGINT let nobody in any more, finish what was begun and end; a kill
loses nothing that was acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import ssl
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from mingbai.connectors.gateway_commands import CommandFollower
from mingbai.connectors.gateway_registry import RegistryFollower
from mingbai.connectors.ledger_access import open_keys
from mingbai.connectors.policy_follower import PolicyFollower
from mingbai.connectors.rulebook_cache import RulebookCache
from mingbai.gateway.cdr import Cdr, CdrWriter
from mingbai.gateway.doors import Certificate, Doors, Place
from mingbai.gateway.exchange import Exchange
from mingbai.gateway.identities import Identities
from mingbai.gateway.journal import Journal
from mingbai.gateway.keeper import Keeper
from mingbai.gateway.limits import InProcess, InRedis, Shared
from mingbai.gateway.live import Live
from mingbai.gateway.meter import Alarms
from mingbai.gateway.pipeline import Pipeline
from mingbai.gateway.screener import open_patiently, warm
from mingbai.gateway.shadow import Shadow
from mingbai.gateway.siblings import Siblings
from mingbai.gateway.store import Recovered, Store
from mingbai.gateway.traces import Traces
from mingbai.kernel.clock import format_utc, utc_now
from mingbai.kernel.errors import MingbaiError
from mingbai.ledger import Ledger
from mingbai.settings import Settings

log = logging.getLogger(__name__)

_POLL_S: Final = 0.1  # registry, commands: a change is live within this
_TICK_S: Final = 1.0
_TIDY_S: Final = 10.0
_SWITCH_S: Final = 0.0005  # between the loop and the pipeline's thread; the engine itself runs without the lock


def stream_of(worker: int) -> str:
    return f"gateway-{worker}"


def folder_of(data: Path, worker: int) -> Path:
    return data / "gateway" / str(worker)


def run_gateway(settings: Settings, worker: int = 1, *, ready: Path | None = None) -> None:
    """Carry messages until SIGTERM. worker: from 1. ready: a file that is touched when the ports are open.

    Raises the errors of `open_ledger`, JournalDamaged, OSError where a port is taken.
    """
    sys.setswitchinterval(_SWITCH_S)
    started = utc_now()
    with open_patiently(settings, stream_of(worker), started) as ledger:
        follower = PolicyFollower(settings.data, now=started, rulebooks=RulebookCache())
        warm(follower.in_force, started)
        gc.freeze()  # what is here stays; and messages make and drop objects without circles between them
        gc.set_threshold(50_000, 20, 100)
        run = _run(settings, worker, ledger, follower, started, ready)
        try:
            import uvloop
        except ImportError:
            asyncio.run(run)
        else:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(run)


async def _run(
    settings: Settings,
    worker: int,
    ledger: Ledger,
    follower: PolicyFollower,
    started: datetime,
    ready: Path | None,
) -> None:
    gateway = Gateway(settings, worker, ledger, follower, started)
    await gateway.open()
    if ready is not None:
        ready.touch()
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    try:
        await end.wait()
    finally:
        await gateway.close()


class Gateway:
    """The parts of one worker, put together. Also for tests: `open`, then talk to `ports`, then `close`."""

    def __init__(
        self, settings: Settings, worker: int, ledger: Ledger, follower: PolicyFollower, started: datetime
    ) -> None:
        self._settings = settings
        self.worker = worker
        self.started = started
        self._ledger = ledger
        self._follower = follower
        self.alarms = Alarms()
        keys = open_keys(settings)
        gateway = settings.gateway
        folder = folder_of(settings.data, worker)
        journal = Journal(folder, keys)
        self._store = Store(journal, worker % 64)
        self._recovered: Recovered = self._store.recover()
        url = gateway.redis_url
        self._shared: Shared = InProcess() if url is None else InRedis(url.get_secret_value())
        self._shadow = Shadow(ledger, self.alarms)
        self._cdrs = CdrWriter(folder / "cdr", keys, on_closed=self._event, clock=utc_now)
        restored = self._cdrs.restore(Cdr(*one) for one in self._recovered.cdrs)
        if restored:
            log.info("lines of call records were taken from the journal", extra={"count": restored})
        self.registry = RegistryFollower(settings.data, now=started)
        self.exchange = Exchange(
            ledger=ledger,
            keys=keys,
            journal=journal,
            store=self._store,
            shared=self._shared,
            alarms=self.alarms,
            identities=Identities(
                gateway.code, worker % 64, gateway.sgip_node, clock=utc_now, last=self._recovered.last_peer_ids
            ),
            cdrs=self._cdrs,
            make_pipeline=lambda recorded: Pipeline(
                ledger,
                lambda: follower.in_force,
                self.alarms,
                on_decided=self._shadow.offer,
                on_recorded=recorded,
            ),
        )
        self._traces = None if gateway.traces_url is None else Traces(gateway.traces_url, worker)
        if self._traces is not None:
            self.exchange.on_ended = self._ended
        self._keeper = Keeper(
            ledger,
            follower,
            self.alarms,
            head_interval_s=float(settings.ledger.head_interval_s),
            messages=lambda: self.exchange.meter.messages,
        )
        certificate = None
        if gateway.tls_certificate is not None and gateway.tls_key is not None:
            certificate = Certificate(gateway.tls_certificate, gateway.tls_key, gateway.tls_client_ca)
        self._certificate = certificate
        self.doors = Doors(self.exchange, certificate, reuse_port=gateway.workers > 1)
        self.siblings = Siblings(self.exchange, settings.data / "run", worker)
        self.live = Live(self)
        self._commands = CommandFollower(settings.data, self._recovered.meta.get("command"))
        self._tasks: list[asyncio.Task[None]] = []

    def _look_for_stranded(self) -> None:
        """Fewer workers than before: what the others had not finished waits in their journals."""
        workers = max(1, self._settings.gateway.workers)
        for folder in sorted((self._settings.data / "gateway").glob("*/")):
            if folder.name.isdigit() and int(folder.name) > workers and any(folder.glob("journal-*.log")):
                detail = f"worker {folder.name} is not run any more; start it once more to finish what it took on"
                self.alarms.raise_("journal_stranded", detail, utc_now())
                log.error("a worker's journal is left alone", extra={"worker": folder.name})

    def _ended(self, cdr: Cdr) -> None:
        self._cdrs.write(cdr)
        assert self._traces is not None
        self._traces.ended(cdr)

    @property
    def settings(self) -> Settings:
        return self._settings

    @property
    def tls_context(self) -> ssl.SSLContext | None:
        return None if self._certificate is None else self._certificate.context

    def certificates(self) -> list[dict[str, object]]:
        """When our own certificate ends, for whoever looks at the page."""
        if self._certificate is None or self._settings.gateway.tls_certificate is None:
            return []
        from cryptography import x509

        try:
            found = x509.load_pem_x509_certificate(self._settings.gateway.tls_certificate.read_bytes())
        except (OSError, ValueError):
            return []
        return [{"name": "gateway", "not_after": format_utc(found.not_valid_after_utc)}]

    @property
    def policy_version(self) -> int:
        return self._follower.in_force.version

    async def open(self) -> None:
        """Take up what the journal has, dial the SMSCs, open the doors."""
        self._shadow.start()
        self._keeper.start()
        self.exchange.is_registry_known = self.registry.problem is None
        self.exchange.apply(self.registry.in_force.registry)
        self.exchange.start(self._recovered)
        self._look_for_stranded()
        await self.live.open()
        if self._settings.gateway.workers > 1:
            self.siblings.start()
        await self.doors.open(self._places())
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._every(_POLL_S, self._poll)),
            loop.create_task(self._every(_TICK_S, self._tick)),
            loop.create_task(self._every(_TIDY_S, self._tidy)),
            loop.create_task(self._beat()),
        ]
        self._event("gateway.started", {"worker": self.worker, "ports": self.doors.ports})
        log.info("the gateway is ready", extra={"worker": self.worker, "ports": self.doors.ports})

    async def close(self) -> None:
        """SIGTERM: let nobody in, finish, leave."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.doors.close()
        await self.exchange.stop()
        await self.siblings.stop()
        await self.live.close()
        await self._shared.close()
        with contextlib.suppress(OSError):
            self._cdrs.flush()
            self._cdrs.close()
        await asyncio.to_thread(self._finish)

    def _finish(self) -> None:
        self._shadow.stop()
        if self._traces is not None:
            self._traces.close()
        try:
            self._ledger.record_event("gateway.stopped", {"worker": self.worker}, now=utc_now())
        except MingbaiError as error:
            log.error("the end is not recorded", extra={"error": error.code})
        self._keeper.stop()

    def _places(self) -> Sequence[Place]:
        gateway = self._settings.gateway
        given = {"cmpp": gateway.cmpp, "sgip": gateway.sgip, "smgp": gateway.smgp, "smpp": gateway.smpp}
        return [Place.parse(protocol, text) for protocol, text in given.items() if text]

    def _event(self, kind: str, data: dict[str, object]) -> None:
        if hasattr(self, "exchange"):
            self.exchange.event(kind, data)
        else:
            self._ledger.record_event(kind, data, now=utc_now())

    # -- by the clock

    async def _every(self, seconds: float, what: object) -> None:
        assert callable(what)
        while True:
            await asyncio.sleep(seconds)
            try:
                what()
            except Exception:  # a bug in one round must not end all rounds
                log.exception("a round failed")

    def _poll(self) -> None:
        if self.registry.poll():
            self.exchange.is_registry_known = True
            self.exchange.apply(self.registry.in_force.registry)
            found = self.registry.in_force
            self._event("gateway.registry", {"version": found.version, "by": found.by})
        if self.registry.problem is not None:
            self.alarms.raise_("registry_unusable", self.registry.problem, utc_now())
        else:
            self.alarms.clear("registry_unusable")
        for command in self._commands.poll():
            self._obey(command)
        if self._certificate is not None:
            try:
                if self._certificate.poll():
                    log.info("another certificate is in force")
                self.alarms.clear("certificate_unusable")
            except (OSError, ssl.SSLError) as error:
                self.alarms.raise_("certificate_unusable", str(error), utc_now())

    def _obey(self, command: dict[str, object]) -> None:
        """Do what a person ordered, and say what came of it."""
        exchange, op = self.exchange, command.get("op")
        done, detail = 0, ""
        try:
            if op in ("release", "refuse"):
                if command["stream"] == stream_of(self.worker):
                    entry = int(str(command["seq"]))
                    done = exchange.orders.release(entry) if op == "release" else exchange.orders.refuse_held(entry)
            elif op in ("resend", "drop"):
                given = command["ids"]
                numbers = [int(str(one)) for one in given] if isinstance(given, list) else []
                done = exchange.orders.resend(numbers) if op == "resend" else exchange.orders.drop(numbers)
            elif op == "bounce":
                done = exchange.orders.bounce(str(command["kind"]), str(command["name"]))
            else:
                detail = "no such order"
        except (KeyError, ValueError) as error:
            detail = f"{type(error).__name__}: {error}"
        self._store.note({"command": command.get("id")})
        if done or detail:
            self._event("gateway.commanded", {"command": command.get("id"), "op": op, "done": done, "detail": detail})

    def _tick(self) -> None:
        self.exchange.tick()
        until = utc_now().timestamp()
        self._cdrs.flush()
        self._store.note({"cdrs_until": until})

    def _tidy(self) -> None:
        self.exchange.tidy()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(5.0)
            await self._shared.beat()


def run_part(name: str, settings: Settings) -> None:
    """A part of the tree called `gateway-<worker>`."""
    run_gateway(settings, int(name.rpartition("-")[2]), ready=settings.data / "run" / f"{name}.ready")
