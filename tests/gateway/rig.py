"""A gateway worker in this process, a provider and an SMSC on real sockets around it."""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import uvloop

from mingbai.connectors.gateway_registry import Registry, publish_registry, read_registry
from mingbai.connectors.ledger_access import open_keys
from mingbai.connectors.policy_follower import PolicyFollower
from mingbai.connectors.rulebook_cache import RulebookCache
from mingbai.gateway.connection import Connection
from mingbai.gateway.screener import open_patiently, warm
from mingbai.gateway.upstream import dialect_of
from mingbai.gateway.worker import Gateway, stream_of
from mingbai.kernel.clock import utc_now
from mingbai.ledger import Ledger
from mingbai.protocols import sgip
from mingbai.protocols.link import Answered, Asked, Event, Gone, Link, LoginAnswered, LoginAsked, Timers
from mingbai.protocols.logins import Direction, grant, is_right, make_login
from mingbai.protocols.messages import ShortMessage, Wanted, read_submit, write_submit
from mingbai.protocols.pdu import Pdu
from mingbai.protocols.receipts import State
from mingbai.protocols.reports import (
    Refusal,
    Report,
    answer_deliver,
    answer_submit,
    id_of_answer,
    read_deliver,
    refusal_of,
    refuse_submit,
    write_deliver,
    write_report,
)
from mingbai.protocols.text import coding_of
from mingbai.settings import Settings, load_settings

SECRET = b"sec-8-oc"  # SMPP has room for eight octets
ZONE = ZoneInfo("Asia/Shanghai")
PROTOCOLS = ("cmpp", "sgip", "smgp", "smpp")
HAM = "您的快递已到菜鸟驿站，请凭取件码8-2-3016尽快领取。"
SPAM = "【贷款】无抵押无担保，秒批50万，点击 http://dk88.top/x 领取，加微信dk8866"
_SEQUENCES = sgip.Sequences(3_010_012_345)


def story(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:  # Any: of a coroutine
    """An asynchronous test, on the loop that the gateway uses."""

    @functools.wraps(test)
    def run(*given: object, **named: object) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*given, **named))

    return run


def sgip_sequences() -> Any:  # Any: SGIP's three numbers
    return _SEQUENCES.next(utc_now())


def settings_for(data: Path, **gateway: object) -> Settings:
    """Every listener on a free port."""
    (data / "run").mkdir(parents=True, exist_ok=True)
    ports: dict[str, object] = dict.fromkeys((*PROTOCOLS, "http", "metrics"), "127.0.0.1:0")
    return load_settings(data=data, gateway={**ports, "workers": 1, **gateway})


@dataclass
class Smsc:
    """Takes messages, gives ids and reports. `refuse`, `silent`, `state_of` change what it does with one."""

    protocol: str
    received: list[ShortMessage] = field(default_factory=list)
    reports: bool = True
    login_ok: list[bool] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    refuse: Callable[[ShortMessage], Refusal | None] = lambda message: None
    is_silent: bool = False
    state_of: Callable[[ShortMessage], State] = lambda message: State.DELIVERED
    report_id: Callable[[str], str] = lambda message_id: message_id
    early: bool = False
    port: int = 0
    answers: int = 0
    _serial: int = 0
    _server: asyncio.Server | None = None

    async def start(self, port: int = 0, tls: ssl.SSLContext | None = None) -> Smsc:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)

    def _connection(self) -> Connection:
        dialect = dialect_of(self.protocol, 0, sgip_sequences)
        connection = Connection(lambda now: Link(dialect, Timers(), window=64, is_server=True, now=now), self._happened)
        connection.dialect = dialect
        return connection

    def _happened(self, connection: Connection, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, LoginAsked):
                right = is_right(event.pdu, SECRET, now=utc_now().astimezone(ZONE))
                self.login_ok.append(right)
                connection.link.let_in(grant(event.pdu, SECRET), asyncio.get_running_loop().time())
                self.connections.append(connection)
            elif isinstance(event, Asked):
                self._asked(connection, event.pdu)
            elif isinstance(event, Gone) and connection in self.connections:
                self.connections.remove(connection)

    def _asked(self, connection: Connection, pdu: Pdu) -> None:
        message = read_submit(pdu, utc_now())
        if self.is_silent:
            self.received.append(message)
            return
        refusal = self.refuse(message)
        if refusal is not None:
            connection.link.answer(refuse_submit(pdu, refusal))
            return
        self.received.append(message)
        self._serial += 1
        given = f"{self._serial:020d}" if self.protocol == "smgp" else str(1000 + self._serial)
        answer = answer_submit(pdu, given)
        message_id = self.report_id(id_of_answer(answer, pdu))
        self.answers += 1
        if self.reports and message.wanted is not Wanted.NONE and self.early:
            self._report(connection, message, message_id)
        connection.link.answer(answer)
        if self.reports and message.wanted is not Wanted.NONE and not self.early:
            asyncio.get_running_loop().call_later(0.002, self._report, connection, message, message_id)

    def _report(self, connection: Connection, message: ShortMessage, message_id: str) -> None:
        state = self.state_of(message)
        report = Report(message_id, state, "", "", message.source, message.destinations[0], utc_now(), utc_now())
        self.ask(connection, write_report(report, self.protocol, getattr(connection.dialect, "version", 0), own_id=1))

    def originate(self, source: str, code: str, text: str) -> None:
        """A subscriber writes to an access code."""
        message = ShortMessage(source, (code,), text.encode("utf-16-be"), coding_of(self.protocol, 8))
        connection = self.connections[-1]
        self.ask(connection, write_deliver(message, self.protocol, getattr(connection.dialect, "version", 0), own_id=2))

    def ask(self, connection: Connection, pdu: Pdu) -> None:
        if connection.link.room:
            connection.link.ask(pdu, None, asyncio.get_running_loop().time())
            connection.flush()
        elif not connection.link.is_over:
            asyncio.get_running_loop().call_later(0.01, self.ask, connection, pdu)


@dataclass
class Callback:
    """A provider's own SGIP listener, to which the gateway brings reports and messages."""

    reports: list[Report] = field(default_factory=list)
    messages: list[ShortMessage] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None

    async def start(self) -> Callback:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    def _connection(self) -> Connection:
        dialect = dialect_of("sgip", 0, sgip_sequences)
        return Connection(lambda now: Link(dialect, Timers(), window=16, is_server=True, now=now), self._happened)

    def _happened(self, connection: Connection, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, LoginAsked):
                assert is_right(event.pdu, SECRET, now=utc_now())
                connection.link.let_in(grant(event.pdu, SECRET), asyncio.get_running_loop().time())
            elif isinstance(event, Asked):
                found = read_deliver(event.pdu, utc_now())
                if isinstance(found, Report):
                    self.reports.append(found)
                else:
                    self.messages.append(found)
                connection.link.answer(answer_deliver(event.pdu))


@dataclass
class Provider:
    """One connection of a provider."""

    protocol: str
    port: int
    login: str = "901234"
    secret: bytes = SECRET
    version: int = 0
    window: int = 64
    source: str | None = None  # the address it comes from
    direction: Direction = Direction.BOTH
    answers: list[tuple[str, str | None]] = field(default_factory=list)  # id, refusal, in order of the answers
    by_tag: dict[Any, tuple[str, str | None]] = field(default_factory=dict)  # Any: what `send` was given
    reports: list[Report] = field(default_factory=list)
    messages: list[ShortMessage] = field(default_factory=list)
    is_in: bool | None = None
    login_answer: Any = None  # Any: the PDU
    gone: Gone | None = None
    takes_reports: bool = True
    connection: Connection | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _sent: dict[Any, Pdu] = field(default_factory=dict)  # Any: as above

    async def start(self, *, now: datetime | None = None, tls: Any = None) -> Provider:
        # Any: an SSLContext
        loop = asyncio.get_running_loop()
        dialect = dialect_of(self.protocol, self.version, sgip_sequences)

        def handler(connection: Connection, events: Sequence[Event]) -> None:
            if self.connection is None:
                self.connection = connection
                connection.dialect = dialect
                login = make_login(
                    self.protocol,
                    self.login,
                    self.secret,
                    sequence=dialect.next_sequence(),
                    now=(now or utc_now()).astimezone(ZONE),
                    version=self.version,
                    direction=self.direction,
                )
                connection.link.log_in(login, loop.time())
            for event in events:
                self._happened(connection, event)
            self.changed.set()

        def make(at: float) -> Link:
            return Link(dialect, Timers(), window=self.window, is_server=False, now=at)

        await loop.create_connection(
            lambda: Connection(make, handler), "127.0.0.1", self.port,
            local_addr=None if self.source is None else (self.source, 0), ssl=tls, server_hostname="" if tls else None,
        )  # fmt: skip
        await self.until(lambda: self.is_in is not None or self.gone is not None)
        return self

    def _happened(self, connection: Connection, event: Event) -> None:
        if isinstance(event, LoginAnswered):
            self.is_in, self.login_answer = event.is_in, event.pdu
        elif isinstance(event, Answered) and event.tag is not None:
            refusal = refusal_of(event.pdu)
            said = None if refusal is None else refusal[0]
            answer = (id_of_answer(event.pdu, self._sent.pop(event.tag, None)), said)
            self.answers.append(answer)
            self.by_tag[event.tag] = answer
        elif isinstance(event, Asked):
            found = read_deliver(event.pdu, utc_now())
            if isinstance(found, Report):
                self.reports.append(found)
            else:
                self.messages.append(found)
            connection.link.answer(answer_deliver(event.pdu, is_ok=self.takes_reports))
        elif isinstance(event, Gone):
            self.gone = event

    async def until(self, is_so: Callable[[], bool], seconds: float = 120.0) -> None:
        async with asyncio.timeout(seconds):
            while not is_so():
                self.changed.clear()
                try:
                    await asyncio.wait_for(self.changed.wait(), 0.05)
                except TimeoutError:
                    pass

    def send(self, message: ShortMessage, tag: Any = None) -> Any:  # Any: names the answer
        assert self.connection is not None
        tag = len(self._sent) + len(self.by_tag) + 1 if tag is None else tag
        pdu = write_submit(message, self.protocol, getattr(self.connection.dialect, "version", 0))
        self._sent[tag] = pdu
        self.connection.link.ask(pdu, tag, asyncio.get_running_loop().time())
        self.connection.flush()
        return tag

    def text(
        self, text: str = HAM, to: str | Sequence[str] = "13800138000", source: str = "10690001", **given: Any
    ) -> Any:
        # Any: fields of ShortMessage
        numbers = (to,) if isinstance(to, str) else tuple(to)
        message = ShortMessage(
            source, numbers, text.encode("utf-16-be"), coding_of(self.protocol, 8), **{"wanted": Wanted.ALL, **given}
        )
        return self.send(message)

    async def stop(self) -> None:
        if self.connection is not None and self.gone is None:
            self.connection.leave()
            await self.until(lambda: self.gone is not None)


def registry(
    smscs: Sequence[Smsc] = (),
    providers: Sequence[str] = PROTOCOLS,
    account: dict[str, Any] | None = None,
    **given: Any,
) -> Registry:  # Any: fields of the rows
    """An account for each protocol, all SMSCs, one route to all of them in order."""
    accounts = [
        {
            "name": f"sp-{protocol}", "protocol": protocol, "login": "901234", "secret": SECRET.decode(),
            "access_codes": ["1069"], "addresses": ["127.0.0.0/8"], "rate_per_s": 0, "window": 64, **(account or {}),
        }
        for protocol in providers
    ]  # fmt: skip
    rows = [
        {
            "name": f"smsc-{place}", "protocol": smsc.protocol, "login": "ming", "secret": SECRET.decode(),
            "address": f"127.0.0.1:{smsc.port}",
        }
        for place, smsc in enumerate(smscs)
    ]  # fmt: skip
    routes = [{"name": "all", "to": [row["name"] for row in rows]}] if rows else []
    return read_registry({"accounts": accounts, "smscs": rows, "routes": routes, **given})


@dataclass
class Running:
    gateway: Gateway
    settings: Settings
    ledger: Ledger

    def publish(self, wanted: Registry) -> None:
        publish_registry(self.settings.data, wanted, open_keys(self.settings), now=utc_now(), by="test")

    @property
    def ports(self) -> dict[str, int]:
        return self.gateway.doors.ports

    async def until(self, is_so: Callable[[], bool], seconds: float = 120.0) -> None:
        async with asyncio.timeout(seconds):
            while not is_so():
                await asyncio.sleep(0.01)

    def cdrs(self) -> list[dict[str, str]]:
        """Every message's end so far."""
        import csv

        self.gateway._cdrs.flush()
        folder = self.settings.data / "gateway" / str(self.gateway.worker) / "cdr"
        rows: list[dict[str, str]] = []
        for path in sorted(folder.glob("*.csv*")):
            if not path.name.endswith(".sig"):
                with path.open(encoding="utf-8") as lines:
                    rows += csv.DictReader(lines)
        return rows


@asynccontextmanager
async def running(
    data: Path, wanted: Registry, worker: int = 1, *, publishes: bool = True, **gateway: object
) -> AsyncIterator[Running]:
    """A worker with this registry."""
    os.environ["MINGBAI_DATA"] = str(data)
    settings = settings_for(data, **gateway)
    if publishes:
        publish_registry(data, wanted, open_keys(settings), now=utc_now(), by="test")
    now = utc_now()
    with open_patiently(settings, stream_of(worker), now) as ledger:
        follower = PolicyFollower(data, now=now, rulebooks=RulebookCache())
        warm(follower.in_force, now)
        process = Gateway(settings, worker, ledger, follower, now)
        await process.open()
        found = Running(process, settings, ledger)
        try:
            yield found
        finally:
            await process.close()


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
