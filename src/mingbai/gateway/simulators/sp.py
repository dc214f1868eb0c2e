"""A service provider that submits messages to a gateway and counts what comes back.

    summary = await SpSimulator(SpOptions("cmpp", connect="127.0.0.1:7890", ...), texts).run()

It keeps the agreed window and rate, slows down when it is told to, and tells apart what was accepted, refused, and
never answered: what was never answered may have been taken, and is sent again only when that is asked for.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta, timezone
from pathlib import Path
from typing import Final

from mingbai.gateway.connection import Connection
from mingbai.gateway.limits import TokenBucket
from mingbai.gateway.simulators.lines import (
    Lines,
    Node,
    Peer,
    client_tls,
    declined,
    percentile,
    place_of,
    share_of,
    text_and_part,
    version_number,
)
from mingbai.gateway.simulators.texts import Outbox, Outgoing, generated_texts, read_numbers
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.protocols import smpp
from mingbai.protocols.link import Answered, Asked, End, Event, Gone, Link, LoginAnswered, LoginAsked, Timers
from mingbai.protocols.logins import Denied, claimed, deny, grant, is_right, make_login
from mingbai.protocols.messages import write_submit
from mingbai.protocols.pdu import Pdu
from mingbai.protocols.receipts import word_of
from mingbai.protocols.reports import Report, answer_deliver, id_of_answer, read_deliver, refusal_of

_CONNECT_S: Final = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0  # of connections, and of a queue that is told to slow down
_GIVE_UP_S: Final = 60.0  # without a connection, where lost ones are dialled again
_TURN_S: Final = 0.005  # the sender wakes so often where a rate is set
_OPERATORS_ZONE: Final = timezone(timedelta(hours=8))  # in which CMPP's and SMGP's logins say the time


@dataclass(frozen=True, slots=True)
class SpOptions:
    """to: a prefix, or to_file. texts: empty for generated ones. listen: SGIP, where the gateway brings reports."""

    protocol: str
    connect: str
    version: str = ""
    login: str = "test"
    secret: bytes = b""
    source: str = "10690001"
    count: int = 100
    rate_per_s: float = 0.0
    window: int = 16
    connections: int = 1
    to: str = "1380000"
    to_file: Path | None = None
    texts: Sequence[str] = ()
    long_share: float = 0.0
    sar: bool = False
    tlvs: Sequence[str] = ()  # SMPP, TAG=TEXT each: further optional parameters of every message
    encoding: str = "auto"
    wants_reports: bool = False
    wait_reports_s: float = 10.0
    listen: str = ""
    reconnects: bool = False
    resends: bool = False
    retries: bool = True
    answer_s: float = 60.0
    log: Path | None = None
    tls: bool = False
    tls_authority: Path | None = None
    seed: int = 0


@dataclass(slots=True)
class SpSummary:
    """messages: whole ones; all others count submissions (parts). problem: why it could not log in, or ""."""

    messages: int = 0
    submitted: int = 0
    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    throttled: int = 0
    unanswered: int = 0
    resent: int = 0
    unsent: int = 0
    ids_repeated: int = 0
    reports: dict[str, int] = field(default_factory=dict)
    reports_missing: int = 0
    reports_unmatched: int = 0
    reports_repeated: int = 0
    mo: int = 0
    connections_lost: int = 0
    seconds: float = 0.0
    rate_per_s: float = 0.0
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    problem: str = ""

    @property
    def is_logged_in(self) -> bool:
        return not self.problem


class SpSimulator:
    """One run. Raises BadValue for options that make no sense."""

    def __init__(self, options: SpOptions) -> None:
        self.options = options
        self._version = version_number(options.protocol, options.version)
        self._place = place_of(options.connect, field="--connect")
        self._listen = place_of(options.listen, field="--listen") if options.listen else None
        if options.listen and options.protocol != "sgip":
            raise BadValue(field="--listen", value=options.protocol, expected="sgip: the others bring reports back")
        for name in ("count", "window", "connections"):
            if getattr(options, name) < 1:
                raise BadValue(field=f"--{name}", value=getattr(options, name), expected="1 or more")
        if options.tlvs and options.protocol != "smpp":
            raise BadValue(field="--tlv", value=options.protocol, expected="smpp: the others have no such parameters")
        self._tlvs = tuple(map(_tlv, options.tlvs))
        self._tls = client_tls(options.tls_authority) if options.tls else None
        items = iter(
            Outbox(
                protocol=options.protocol,
                source=options.source,
                count=options.count,
                texts=options.texts or generated_texts(options.seed, options.encoding),
                to=options.to,
                numbers=read_numbers(options.to_file) if options.to_file else (),
                encoding=options.encoding,
                long_share=share_of(options.long_share, field="--long-share"),
                sar=options.sar,
                wants_reports=options.wants_reports,
                seed=options.seed,
            )
        )
        first = next(items)
        write_submit(first.message, options.protocol, self._version).encode()  # a source that does not fit: said now
        self._items: Iterator[Outgoing] = itertools.chain((first,), items)
        self._lines = Lines(options.log)
        self._node = Node(options.protocol)
        self.summary = SpSummary()
        self.port = 0  # where SGIP's reports are taken, once it runs
        self.connections: set[Peer] = set()
        self._bound: list[Peer] = []
        self._again: deque[Outgoing] = deque()
        self._is_exhausted = self._was_bound = self._is_stopped = False
        self._refused: Counter[str] = Counter()
        self._states: Counter[str] = Counter()
        self._awaiting: dict[str, Outgoing] = {}
        self._reported: set[str] = set()
        self._early: dict[str, list[Report]] = {}  # of messages whose answer is still to come
        self._latencies = array("d")
        self._last_number = 0
        self._paused_until = self._pause_s = 0.0

    # -- the run

    async def run(self) -> SpSummary:
        """Submit everything, wait for what comes back, and leave."""
        loop = self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._wake: asyncio.TimerHandle | None = None
        rate = self.options.rate_per_s
        self._bucket = TokenBucket(rate, max(1.0, rate * 0.02), 1.0, loop.time())  # smooth: no burst of a second
        self._begun = self._last_bound = loop.time()
        server = None
        if self._listen is not None:
            server = await loop.create_server(lambda: self._peer(is_server=True), *self._listen)
            self.port = server.sockets[0].getsockname()[1]
        dialling = [loop.create_task(self._keep_dialled()) for _ in range(self.options.connections)]
        for task in dialling:
            task.add_done_callback(lambda done: self._changed.set())
        try:
            await self._until_sent(dialling)
            sent = loop.time()
            await self._until_reported()
            for connection in list(self.connections):
                connection.leave()
            deadline = loop.time() + 3.0
            while self.connections and loop.time() < deadline:
                await asyncio.sleep(0.01)
        finally:
            for task in dialling:
                task.cancel()
            await asyncio.gather(*dialling, return_exceptions=True)
            for connection in list(self.connections):
                connection.abort()
            if server is not None:
                server.close()
                await server.wait_closed()
            self._lines.close()
        return self._summed(sent - self._begun)

    def stop(self) -> None:
        """End before everything is sent; the summary says how far it came."""
        self._is_stopped = True
        self._changed.set()

    async def _until_sent(self, dialling: Sequence[asyncio.Task[None]]) -> None:
        while True:
            is_answered = not any(one.link.in_flight for one in self.connections)
            if self._is_stopped or (self._is_all_sent and is_answered) or all(task.done() for task in dialling):
                return
            self._changed.clear()
            await self._changed.wait()

    async def _until_reported(self) -> None:
        deadline = self._loop.time() + self.options.wait_reports_s
        while self.options.wants_reports and self._awaiting and not (self._is_stopped or self.summary.problem):
            left = deadline - self._loop.time()
            if left <= 0:
                return
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return

    def _summed(self, seconds: float) -> SpSummary:
        done, ordered = self.summary, sorted(self._latencies)
        middle, late = percentile(ordered, 0.5), percentile(ordered, 0.99)
        done.messages, done.unsent = self._last_number, len(self._again)
        done.refused, done.reports = dict(self._refused), dict(self._states)
        done.reports_missing = len(self._awaiting)
        done.reports_unmatched = sum(map(len, self._early.values()))
        done.seconds = round(seconds, 3)
        done.rate_per_s = round(len(ordered) / seconds, 1) if seconds > 0 else 0.0
        done.latency_p50_ms = None if middle is None else round(middle * 1000, 3)
        done.latency_p99_ms = None if late is None else round(late * 1000, 3)
        return done

    # -- connections

    async def _keep_dialled(self) -> None:
        """Until all is sent or (without `reconnects`) the connection is lost."""
        pause = _FIRST_PAUSE_S
        while True:
            problem = await self._dial()
            if not problem:
                pause = _FIRST_PAUSE_S
            elif not self._was_bound:
                self.summary.problem = problem
            is_lost = self._loop.time() - self._last_bound > _GIVE_UP_S
            if not self.options.reconnects or self._is_all_sent or is_lost:
                return
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(_LONGEST_PAUSE_S, pause * 2)

    async def _dial(self) -> str:
        """One connection, to its end. Returns why we did not get in, or nothing."""
        name = self._place[0] if self._tls is not None else None
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, connection = await self._loop.create_connection(
                    self._peer, *self._place, ssl=self._tls, server_hostname=name
                )
        except (OSError, TimeoutError) as error:  # of TLS too
            return f"{self.options.connect}: {str(error) or type(error).__name__}"
        ended: asyncio.Future[str] = connection.account
        return await ended

    @property
    def _is_all_sent(self) -> bool:
        return self._is_exhausted and not self._again

    def _peer(self, *, is_server: bool = False) -> Peer:
        dialect, window = self._node.dialect(self._version), self.options.window
        timers = Timers(answer=self.options.answer_s, leave=1.0)
        peer = Peer(lambda now: Link(dialect, timers, window=window, is_server=is_server, now=now), self._happened)
        peer.dialect = dialect
        peer.account = self._loop.create_future()
        peer.is_caller = not is_server
        return peer

    def _happened(self, connection: Connection, events: Sequence[Event]) -> None:
        assert isinstance(connection, Peer)
        if not events:
            self.connections.add(connection)
            if connection.is_caller:
                connection.link.log_in(self._login(connection), self._loop.time())
        for event in events:
            if isinstance(event, Answered):
                self._answered(event)
            elif isinstance(event, Asked):
                self._asked(connection, event.pdu)
            elif isinstance(event, LoginAnswered):
                self._logged_in(connection, event)
            elif isinstance(event, LoginAsked):
                self._called(connection, event.pdu)
            elif isinstance(event, Gone):
                self._gone(connection, event)
        self._pump()

    def _login(self, connection: Peer) -> Pdu:
        options = self.options
        sequence, now = connection.dialect.next_sequence(), utc_now().astimezone(_OPERATORS_ZONE)
        return make_login(
            options.protocol, options.login, options.secret, sequence=sequence, now=now, version=self._version
        )

    def _logged_in(self, connection: Peer, event: LoginAnswered) -> None:
        if event.is_in:
            self._was_bound, self.summary.problem = True, ""
            self._bound.append(connection)
        else:
            code = getattr(event.pdu, "status", getattr(event.pdu, "result", 0))
            connection.account.set_result(f"{self.options.connect}: the login was refused with code {code}")

    def _called(self, connection: Peer, login: Pdu) -> None:
        """SGIP: the gateway brings reports."""
        secret = self.options.secret if claimed(login) == self.options.login else None
        if is_right(login, secret, now=utc_now(), skew=None):
            connection.link.let_in(grant(login, self.options.secret), self._loop.time())
        else:
            self._gone(connection, connection.link.refuse(deny(login, Denied.CREDENTIALS)))

    def _gone(self, connection: Peer, event: Gone) -> None:
        self.connections.discard(connection)
        is_bound = connection in self._bound
        if is_bound:
            self._bound.remove(connection)
            self._last_bound = self._loop.time()
            self.summary.connections_lost += event.why is not End.WE_LEFT
        for item in event.in_doubt:
            self.summary.unanswered += 1
            self._lines.write("unanswered", number=item.number)
            if self.options.resends:
                self.summary.resent += 1
                self._again.append(item)
        if not connection.account.done():
            connection.account.set_result("" if is_bound else f"{self.options.connect}: {event.why.value}")
        self._changed.set()

    # -- messages

    def _pump(self) -> None:
        """Submit what windows, rate and pauses allow."""
        now = self._loop.time()
        if now < self._paused_until:
            self._wake_at(self._paused_until)
            return
        for connection in list(self._bound):
            link, version, asked = connection.link, getattr(connection.dialect, "version", 0), 0
            while link.room:
                if not self._again and self._is_exhausted:
                    break
                if not self._bucket.take(1, now):
                    self._wake_at(now + max(_TURN_S, self._bucket.wait_s(now)))
                    break
                item = self._next()
                if item is None:
                    break
                self._submit(link, version, item, now)
                asked += 1
            if asked:
                connection.flush()
        if len(self._bound) > 1:
            self._bound.append(self._bound.pop(0))

    def _next(self) -> Outgoing | None:
        if self._again:
            return self._again.popleft()
        item = next(self._items, None)
        if item is None:
            self._is_exhausted = True
            self._changed.set()
        return item

    def _submit(self, link: Link, version: int, item: Outgoing, now: float) -> None:
        self.summary.submitted += 1
        self._last_number = max(self._last_number, item.number)
        if self.options.log is not None:
            text, part = text_and_part(item.message)
            to = item.message.destinations[0]
            self._lines.write("submit", number=item.number, destination=to, text=text, part=part)
        pdu = write_submit(item.message, self.options.protocol, version)
        if isinstance(pdu, smpp.SubmitSm):
            pdu.tlvs = (*pdu.tlvs, *self._tlvs)
        link.ask(pdu, item, now)

    def _wake_at(self, when: float) -> None:
        if self._wake is None:
            self._wake = self._loop.call_at(when, self._woken)

    def _woken(self) -> None:
        self._wake = None  # loops may wake a little early: then it is set again
        self._pump()

    def _answered(self, event: Answered) -> None:
        item: Outgoing = event.tag
        refusal = refusal_of(event.pdu)
        self._changed.set()
        if refusal is None:
            self._pause_s = 0.0
            self.summary.accepted += 1
            self._latencies.append(event.seconds)
            said = id_of_answer(event.pdu)
            self._lines.write("answer", number=item.number, id=said, refusal=None)
            self._accepted(said, item)
            return
        code, is_temporary = refusal
        self._lines.write("answer", number=item.number, id="", refusal=code)
        if is_temporary and self.options.retries:
            self.summary.throttled += 1
            self._again.append(item)
            now = self._loop.time()
            if now >= self._paused_until:
                self._pause_s = min(_LONGEST_PAUSE_S, max(_FIRST_PAUSE_S, self._pause_s * 2))
                self._paused_until = now + self._pause_s
        else:
            self._refused[code] += 1

    def _accepted(self, said: str, item: Outgoing) -> None:
        if said in self._awaiting or said in self._reported:
            self.summary.ids_repeated += 1
        if self.options.wants_reports:
            self._awaiting[said] = item
            for report in self._early.pop(said, ()):
                self._match(report)

    def _asked(self, connection: Peer, pdu: Pdu) -> None:
        try:
            found = read_deliver(pdu, utc_now())
        except BadValue:
            connection.link.answer(declined(pdu))
            return
        if isinstance(found, Report):
            self._states[word_of(found.state)] += 1
            item = self._match(found)
            number = None if item is None else item.number
            self._lines.write("report", id=found.message_id, number=number, state=word_of(found.state), stat=found.stat)
        else:
            self.summary.mo += 1
            text, part = text_and_part(found)
            to = found.destinations[0]
            self._lines.write("mo", source=found.source, destination=to, text=text, part=part)
        connection.link.answer(answer_deliver(pdu))
        self._changed.set()

    def _match(self, report: Report) -> Outgoing | None:
        """Whose it is; None for one that came before its message's answer, or a second time."""
        said = report.message_id
        item = self._awaiting.get(said)
        if item is None:
            if said in self._reported:
                self.summary.reports_repeated += 1
            else:
                self._early.setdefault(said, []).append(report)
        elif report.state.is_final:
            del self._awaiting[said]
            self._reported.add(said)
        return item


def _tlv(given: str) -> tuple[int, bytes]:
    """`0x1501=460017000000001`: a tag and its text. Raises BadValue."""
    tag, sign, text = given.partition("=")
    try:
        number = int(tag, 0)
    except ValueError:
        number = -1
    if not sign or not 0 <= number <= 0xFFFF or not text.isascii():
        raise BadValue(field="--tlv", value=given, expected="TAG=TEXT, such as 0x1501=460017000000001")
    return number, text.encode("ascii")
