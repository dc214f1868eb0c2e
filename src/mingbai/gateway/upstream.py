"""One SMSC: its connections, what waits for it, what it has not answered, whose reports it brings.

Each connection is dialled again with a growing pause. A throttling answer pauses the whole queue, not one message; what
was sent and not answered when a connection ends is in doubt, and nothing else is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import ssl
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from mingbai.connectors.gateway_registry import SECRETS, Smsc, unseal
from mingbai.gateway.connection import Connection
from mingbai.gateway.items import Item, Stage
from mingbai.gateway.limits import TokenBucket
from mingbai.gateway.meter import Rate
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.protocols import sgip
from mingbai.protocols.dialects import CmppDialect, Dialect, SgipDialect, SmgpDialect, SmppDialect
from mingbai.protocols.link import (
    Answered,
    Asked,
    Event,
    Gone,
    Link,
    LoginAnswered,
    Phase,
    Refused,
    Timers,
)
from mingbai.protocols.logins import Direction, is_server_right, make_login
from mingbai.protocols.messages import Habits, write_submit
from mingbai.protocols.pdu import Pdu
from mingbai.protocols.receipts import Ambiguous, IdMatcher
from mingbai.protocols.reports import Report, answer_deliver, id_of_answer, read_deliver, refusal_of
from mingbai.protocols.text import Encoding

if TYPE_CHECKING:
    from mingbai.gateway.exchange import Exchange

log = logging.getLogger(__name__)

_CONNECT_S: Final = 10.0
_DOWN_S: Final = 15.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _STEADY_S = 0.5, 60.0, 30.0
_FIRST_THROTTLE_S, _LONGEST_THROTTLE_S = 0.1, 10.0

Parked = tuple[Report, int]  # a report, and the number of its record


def habits_of(row: Any) -> Habits:  # Any: an account or SMSC
    """What the registry says of a peer's habits."""
    alphabet = Encoding(row.alphabet) if row.alphabet else None
    fields = {
        name: value.encode() if isinstance(value, str) else value for name, value in getattr(row, "fields", {}).items()
    }
    return Habits(alphabet, ZoneInfo(row.zone), fields)


def dialect_of(protocol: str, version: int, sgip_sequences: Any) -> Dialect:  # Any: `dialects.Sequences`
    """A new connection's dialect. version: 0 for the newest."""
    if protocol == "cmpp":
        return CmppDialect(version=version) if version else CmppDialect()
    if protocol == "smgp":
        return SmgpDialect(version=version) if version else SmgpDialect()
    if protocol == "smpp":
        return SmppDialect(version=version) if version else SmppDialect()
    return SgipDialect(sequences=sgip_sequences)


class Upstream:
    """See above. All of it on the loop's thread."""

    def __init__(self, smsc: Smsc, exchange: Exchange) -> None:
        self.smsc = smsc
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self.queue: deque[Item] = deque()
        self.connections: set[Connection] = set()
        self.matcher: IdMatcher[Parked] = IdMatcher()
        self._bucket = TokenBucket.full(smsc.rate_per_s, self._loop.time())
        self._dialling: list[asyncio.Task[None]] = []
        self._wake: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        self.paused_until = 0.0
        self._pause_s = 0.0
        self.retry_at: datetime | None = None
        self.last_error: str | None = None
        self.sent = 0
        self.rate = Rate()
        self.latency_s: float | None = None
        self._seen = self._loop.time()  # when somebody was last bound
        self._set_habits()

    def _set_habits(self) -> None:
        self.habits = habits_of(self.smsc)
        own = sgip.Sequences(self.smsc.node) if self.smsc.node else None
        self._sequences: Any = (  # Any: `dialects.Sequences`
            self._exchange.sgip_sequences if own is None else lambda: own.next(self._exchange.now())
        )
        self._protocol = self.smsc.protocol.value

    # -- life

    def start(self) -> None:
        self._dialling = [self._loop.create_task(self._keep_dialled(place)) for place in range(self.smsc.connections)]

    async def stop(self) -> None:
        """Answer what is under way, leave, and dial no more."""
        for task in self._dialling:
            task.cancel()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        self._dialling = []
        for connection in list(self.connections):
            connection.leave()

    def update(self, smsc: Smsc) -> bool:
        """Take another row. False: its connections have to be made anew."""
        before, self.smsc = self.smsc, smsc
        self._set_habits()
        self._bucket.set_rate(smsc.rate_per_s)
        for connection in self.connections:
            connection.link.window = smsc.window
        changed = {name for name in type(smsc).model_fields if getattr(before, name) != getattr(smsc, name)}
        changed -= {"window", "rate_per_s", "alphabet", "zone", "fields", "node"}
        return all(name in SECRETS["smscs"] and self._is_same_secret(before, name) for name in changed)

    def _is_same_secret(self, before: Smsc, name: str) -> bool:
        """Sealed anew, it looks another."""
        old, new = getattr(before, name), getattr(self.smsc, name)
        keys = self._exchange.keys
        return bool(old) and bool(new) and unseal(keys, old) == unseal(keys, new)

    def bounce(self) -> int:
        """Leave all connections; they are dialled again at once."""
        bound = list(self.connections)
        for connection in bound:
            connection.leave()
        return len(bound)

    @property
    def bound(self) -> int:
        return sum(one.link.phase is Phase.BOUND for one in self.connections)

    @property
    def in_flight(self) -> int:
        return sum(one.link.in_flight for one in self.connections)

    def is_down(self, now: float) -> bool:
        """Whether nobody has been bound for longer than a re-connection takes. To be asked every second."""
        if self.bound:
            self._seen = now
        return now - self._seen > _DOWN_S

    @property
    def is_open(self) -> bool:
        """Whether a message given now could go soon."""
        return self.bound > 0 and self._loop.time() >= self.paused_until

    @property
    def state(self) -> str:
        if not self.smsc.active:
            return "off"
        if self.bound:
            return "paused" if self._loop.time() < self.paused_until else "bound"
        return "waiting" if self.retry_at is not None else "connecting"

    # -- dialling

    async def _keep_dialled(self, place: int) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            begun = self._loop.time()
            try:
                await self._dial()
            except (OSError, TimeoutError, ssl.SSLError, BadValue) as error:
                self.last_error = f"{type(error).__name__}: {error}"
                log.warning("an SMSC cannot be reached", extra={"smsc": self.smsc.name, "error": self.last_error})
            if self._loop.time() - begun > _STEADY_S:
                pause = _FIRST_PAUSE_S
            jittered = pause * random.uniform(0.8, 1.2)
            self.retry_at = datetime.fromtimestamp(utc_now().timestamp() + jittered, UTC)
            await asyncio.sleep(jittered)
            self.retry_at = None
            pause = min(_LONGEST_PAUSE_S, pause * 2)

    async def _dial(self) -> None:
        """One connection, from the first octet to the last."""
        smsc = self.smsc
        ended = self._loop.create_future()
        dialect = dialect_of(self._protocol, smsc.version_number, self._sequences)

        def make(now: float) -> Link:
            return Link(dialect, Timers(), window=smsc.window, is_server=False, now=now)

        login = self._login(dialect)

        def handler(connection: Connection, events: Sequence[Event]) -> None:
            if connection.dialect is None:
                connection.dialect = dialect
                self.connections.add(connection)
                connection.link.log_in(login, self._loop.time())
            self._happened(connection, events, login)
            if events and isinstance(events[-1], Gone) and not ended.done():
                ended.set_result(None)

        context = self._tls() if smsc.tls else None
        name = (smsc.server_name or smsc.host) if smsc.tls else None
        dialled = self._loop.create_connection(
            lambda: Connection(make, handler), smsc.host, smsc.port, ssl=context, server_hostname=name
        )
        await asyncio.wait_for(dialled, _CONNECT_S)
        await ended  # whoever cancels this leaves the connection to say good-bye by itself

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.smsc.ca or None)
        if self.smsc.client_certificate:
            key = unseal(self._exchange.keys, self.smsc.client_key).decode()
            with _pem_file(self.smsc.client_certificate + "\n" + key) as path:
                context.load_cert_chain(path)
        return context

    def _login(self, dialect: Dialect) -> Pdu:
        zone = ZoneInfo(self.smsc.zone)
        return make_login(
            self._protocol,
            self.smsc.login,
            unseal(self._exchange.keys, self.smsc.secret),
            sequence=dialect.next_sequence(),
            now=utc_now().astimezone(zone),
            version=self.smsc.version_number,
            direction=Direction.BOTH,
        )

    # -- what happens

    def _happened(self, connection: Connection, events: Sequence[Event], login: Pdu) -> None:
        for event in events:
            if isinstance(event, Answered):
                self._answered(connection, event)
            elif isinstance(event, Asked):
                self.asked(connection, event.pdu)
            elif isinstance(event, LoginAnswered):
                self._logged_in(connection, event, login)
            elif isinstance(event, Refused):
                connection.refused += 1
            elif isinstance(event, Gone):
                self._gone(connection, event)
        self._exchange.wake(self)

    def _logged_in(self, connection: Connection, event: LoginAnswered, login: Pdu) -> None:
        if not event.is_in:
            self.last_error = "the login was refused"
            log.error("an SMSC refused our login", extra={"smsc": self.smsc.name})
        elif not is_server_right(login, event.pdu, unseal(self._exchange.keys, self.smsc.secret)):
            # Many gateways send zeros, or a digest of their own making: it is said, and not fatal.
            self.last_error = "its proof of the secret is wrong"
            log.warning("an SMSC does not prove that it knows the secret", extra={"smsc": self.smsc.name})
        else:
            self.last_error = None
        self.retry_at = None

    def _gone(self, connection: Connection, event: Gone) -> None:
        self.connections.discard(connection)
        if event.why.value not in ("we_left",):
            self.last_error = event.why.value
            log.warning("an SMSC's connection ended", extra={"smsc": self.smsc.name, "why": event.why.value})
        for item in event.in_doubt:
            self._exchange.dispatch.in_doubt(item)
        if not self.bound and self.queue:
            waiting, self.queue = self.queue, deque()
            for item in waiting:
                self._exchange.dispatch.queue(item)

    def _answered(self, connection: Connection, event: Answered) -> None:
        item: Item = event.tag
        self.latency_s = event.seconds if self.latency_s is None else 0.9 * self.latency_s + 0.1 * event.seconds
        refusal = refusal_of(event.pdu)
        if refusal is None:
            self._pause_s = 0.0
            request = connection.requests.pop(item.id, None) if self._protocol == "sgip" else None
            self._exchange.dispatch.forwarded(item, self, id_of_answer(event.pdu, request))
            return
        said, is_temporary = refusal
        connection.refused += 1
        self.last_error = said
        if is_temporary:
            self._throttled(item, said)
        else:
            self._exchange.dispatch.refused_upstream(item, said)

    def _throttled(self, item: Item, said: str) -> None:
        """The whole queue waits, the message at its head: order is kept, and the peer is not asked in vain."""
        now = self._loop.time()
        if now >= self.paused_until:
            self._pause_s = min(_LONGEST_THROTTLE_S, max(_FIRST_THROTTLE_S, self._pause_s * 2))
            self.paused_until = now + self._pause_s
            self._wake_at(self.paused_until)
        self._exchange.dispatch.throttled(item, self, said)

    def asked(self, connection: Connection, pdu: Pdu) -> None:
        """The SMSC brings a report or a subscriber's message. It is answered when that is on the disk."""
        try:
            found = read_deliver(pdu, self._exchange.now(), self.habits)
        except BadValue as error:
            self.last_error = str(error)
            connection.link.answer(_declined(pdu))
            connection.touched = True
            return
        if isinstance(found, Report):
            self.reported(found)
        elif not self._exchange.dispatch.originated(found, self._protocol):
            connection.link.answer(answer_deliver(pdu, is_ok=False))
            return
        self._exchange.acknowledge(connection, answer_deliver(pdu))

    def reported(self, report: Report, stray: int = 0) -> None:
        """Find whose report this is; one that comes before its message's answer waits for it."""
        now = self._exchange.seconds()
        is_final = report.state.is_final
        found = self.matcher.match(report.message_id, now, is_final=is_final)
        handle = None
        if isinstance(found, Ambiguous):
            handle = self._by_recipient(found.handles, report)
        elif found is not None:
            handle = found.handle
        if handle is not None:
            self._exchange.dispatch.reported(handle, report)
            if stray:
                self._exchange.store.end(stray)
        elif not stray:
            values = _values(report)
            number = self._exchange.store.stray(self.smsc.name, report.message_id, values)
            self._exchange.on_stray(number, self.smsc.name, values)
            for _, late in self.matcher.park(report.message_id, (report, number), now, is_final=is_final):
                self._exchange.dispatch.unmatched(late)

    def is_own(self, report: Report) -> bool:
        """Whether it is of a message that went out by this worker."""
        return self.matcher.match(report.message_id, self._exchange.seconds(), is_final=False) is not None

    def park_again(self, report: Report, number: int) -> None:
        """After a start: a report that had no message yet."""
        self.matcher.park(report.message_id, (report, number), self._exchange.seconds())

    def awaits(self, upstream_id: str, handle: int) -> None:
        """A message got its id; reports that came before are its own."""
        for report, number in self.matcher.add(upstream_id, handle, self._exchange.seconds()):
            self._exchange.store.end(number)
            self._exchange.dispatch.reported(handle, report)

    def _by_recipient(self, handles: Sequence[int], report: Report) -> int | None:
        from mingbai.gateway.routing import national

        for handle in handles:
            awaited = self._exchange.store.awaited(handle)
            if awaited is not None and national(awaited.destination) == national(report.destination):
                return handle
        return None

    # -- sending

    def pick(self) -> list[tuple[Connection, Item, Pdu]]:
        """What can go now, marked as sent; the caller writes the marks, then calls `send`."""
        picked: list[tuple[Connection, Item, Pdu]] = []
        if not self.queue:
            return picked
        now = self._loop.time()
        if now < self.paused_until:
            return picked
        room = [(one, one.link.room) for one in self.connections if one.link.room and not one.is_stalled]
        total = min(len(self.queue), sum(free for _, free in room))
        if not total:
            return picked
        allowed = self._bucket.take(total, now)
        if allowed < total:
            self._wake_at(now + max(0.005, self._bucket.wait_s(now)))
        seconds = self._exchange.seconds()
        room.sort(key=lambda pair: pair[1], reverse=True)
        place = 0
        while allowed and self.queue:
            item = self.queue.popleft()
            if item.stage is not Stage.QUEUED:
                continue  # it was dropped meanwhile
            if item.expires <= seconds:
                self._exchange.dispatch.expired(item)
                continue
            connection, free = room[place]
            try:
                version = getattr(connection.dialect, "version", 0)
                pdu = write_submit(item.message, self._protocol, version, self.habits)
            except BadValue as error:
                self._exchange.dispatch.unwritable(item, str(error))
                continue
            item.stage, item.smsc = Stage.SENT, self.smsc.name
            self._exchange.store.moved(item)
            picked.append((connection, item, pdu))
            allowed -= 1
            room[place] = (connection, free - 1)
            if free == 1:
                place += 1
                if place == len(room):
                    break
        return picked

    def send(self, picked: Sequence[tuple[Connection, Item, Pdu]]) -> None:
        now = self._loop.time()
        for connection, item, pdu in picked:
            if connection.link.room:
                try:
                    connection.link.ask(pdu, item, now)
                except BadValue as error:  # a field that the protocol has no room for: nothing was sent
                    self._exchange.dispatch.unwritable(item, str(error))
                    self._exchange.wake(self)
                    continue
                if self._protocol == "sgip":
                    connection.requests[item.id] = pdu
                connection.touched = True
                self.sent += 1
            else:  # it closed in between
                self.put_back(item)

    def put_back(self, item: Item) -> None:
        """It was marked and did not go."""
        item.stage = Stage.QUEUED
        self._exchange.store.moved(item)
        self.queue.appendleft(item)

    def _wake_at(self, when: float) -> None:
        if self._wake is None or self._wakes_at > when:
            if self._wake is not None:
                self._wake.cancel()
            self._wakes_at, self._wake = when, self._loop.call_at(when, self._woken)

    def _woken(self) -> None:
        self._wake = None
        self._exchange.wake(self)

    def expire(self, now: float) -> None:
        handles, late = self.matcher.expire(now)
        for handle in handles:
            self._exchange.dispatch.never_reported(handle)
        for _, number in late:
            self._exchange.dispatch.unmatched(number)


@contextlib.contextmanager
def _pem_file(content: str) -> Iterator[str]:
    """OpenSSL reads keys from files only: one that nobody else can open, and that is gone at once."""
    handle, path = tempfile.mkstemp(prefix="mingbai-")
    try:
        os.write(handle, content.encode())
        os.close(handle)
        yield path
    finally:
        os.unlink(path)


def _declined(pdu: Pdu) -> Pdu:
    return answer_deliver(pdu, is_ok=False)


def _values(report: Report) -> tuple[Any, ...]:  # Any: what MessagePack carries
    return (
        report.message_id, int(report.state), report.stat, report.error, report.source, report.destination,
        None if report.submitted is None else report.submitted.timestamp(),
        None if report.done is None else report.done.timestamp(),
    )  # fmt: skip


def report_of(values: Sequence[Any]) -> Report:  # Any: as above
    """A report that `Store.stray` kept."""
    from mingbai.protocols.receipts import State

    message_id, state, stat, error, source, destination, submitted, done = values
    return Report(
        message_id,
        State(state),
        stat,
        error,
        source,
        destination,
        None if submitted is None else datetime.fromtimestamp(submitted, UTC),
        None if done is None else datetime.fromtimestamp(done, UTC),
    )
