"""One connection of any of the four protocols, without a socket: octets and time go in, events and octets come out.

    link = Link(dialect, Timers(), window=16, is_server=True, now=clock())
    for event in link.receive(data, now): ...      # LoginAsked, Asked, Answered, Refused, Gone
    link.answer(response); link.ask(request, tag, now)
    transport.write(link.take_output())
    for event in link.tick(now): ...               # heartbeats, requests without an answer, the end; again at link.due

The same rules hold for a gateway that service providers connect to and for one that connects to an SMSC: who logs in,
then requests in both directions within a window, heartbeats when it is quiet, and an end for which both sides finish
what they began. Times are seconds of one monotonic clock, which the caller reads.

CMPP 2.0/3.0 (T, N and C of the flow control), SGIP 1.2, SMGP 3.0, SMPP 3.4 (section 2.9: session_init, enquire_link,
inactivity, response).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from mingbai.kernel.errors import MingbaiError
from mingbai.protocols.dialects import Dialect, Role
from mingbai.protocols.pdu import BrokenStream, MalformedPdu


class Phase(Enum):
    """Where a connection stands."""

    OPEN = "open"  # connected, nobody logged in
    BOUND = "bound"
    LEAVING = "leaving"  # no new request; what was begun is finished
    CLOSED = "closed"


class End(Enum):
    """Why a connection ended: what a person reads on the connections page."""

    PEER_LEFT = "peer_left"
    WE_LEFT = "we_left"
    LOGIN_TIMEOUT = "login_timeout"
    LOGIN_REFUSED = "login_refused"
    NO_HEARTBEAT = "no_heartbeat"
    NO_ANSWER = "no_answer"
    BROKEN_STREAM = "broken_stream"
    OUT_OF_TURN = "out_of_turn"
    IDLE = "idle"
    CUT = "cut"  # the transport closed without a farewell


class WindowFull(MingbaiError):
    """As many requests as were agreed wait for their answers: ask again when one came."""

    code = "window_full"
    template = "{window} requests wait for an answer on this connection"


class NotBound(MingbaiError):
    """Nothing can be asked on this connection now."""

    code = "not_bound"
    template = "the connection is {phase}: no request can be sent"


@dataclass(frozen=True, slots=True)
class Timers:
    """Seconds. tries: how often a heartbeat is sent before the peer is taken for dead.

    The defaults are the usual ones of the operators: CMPP's documents have C = 180 s, T = 60 s, N = 3.
    """

    login: float = 10.0
    heartbeat: float = 30.0  # of silence from the peer
    answer: float = 60.0
    tries: int = 3
    leave: float = 10.0  # for what was begun
    idle: float = 0.0  # without a request; 0: a quiet connection may stay


# -- events


@dataclass(slots=True)
class LoginAsked:
    """The peer wants in: answer with `Link.let_in` or `Link.refuse`."""

    pdu: Any  # Any: the PDU class of the protocol


@dataclass(frozen=True, slots=True)
class LoginAnswered:
    """The peer let us in, or did not (then `Gone` follows)."""

    pdu: Any  # Any: as above
    is_in: bool


@dataclass(slots=True)  # not frozen: that would double the price of an object for each PDU
class Asked:
    """A request: it wants exactly one `Link.answer`."""

    pdu: Any  # Any: as above


@dataclass(frozen=True, slots=True)
class Told:
    """Something that wants no answer (SMPP: outbind, alert_notification)."""

    pdu: Any  # Any: as above


@dataclass(slots=True)
class Answered:
    """The answer to what `Link.ask` sent. tag: what the caller gave with it."""

    pdu: Any  # Any: as above
    tag: Any  # Any: the caller's
    seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A PDU that cannot be read or is not known; it was answered by the protocol's own error where it has one."""

    error: MalformedPdu | None
    command: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The last event: close the transport after `take_output`. in_doubt: tags of requests without an answer."""

    why: End
    in_doubt: tuple[Any, ...] = ()  # Any: the caller's


Event = LoginAsked | LoginAnswered | Asked | Told | Answered | Refused | Gone


@dataclass(slots=True)
class _InFlight:
    tag: Any  # Any: the caller's
    sent: float
    due: float


_NEVER: Final = float("inf")
_RECENT: Final = 6


class Link:
    """See above. Not thread-safe: one connection is one loop's business.

    window: how many requests we send ahead of their answers. most_asked: how many requests of the peer may wait for
    ours; whoever sends more is told so by the caller (`asked` says how many wait).
    """

    def __init__(self, dialect: Dialect, timers: Timers, *, window: int, is_server: bool, now: float) -> None:
        self._dialect = dialect
        self._timers = timers
        self._is_server = is_server
        self._output: list[bytes] = []
        self._in_flight: dict[Any, _InFlight] = {}  # Any: sequences; in order of sending
        self._heard = now  # when the peer last said something
        self._busy = now  # when a request last came or went
        self._heartbeats = 0  # sent in a row without a word from the peer
        self._heartbeat_at = now + timers.heartbeat
        self._until = now + timers.login
        self.window = window
        self._has_said_goodbye = False
        self.phase = Phase.OPEN
        self.asked = 0  # requests of the peer that wait for our answer
        self.received = self.sent = 0  # requests, since it began
        self.recent: deque[tuple[float, str, Any]] = deque(maxlen=_RECENT)  # time, in or out, PDU: what a page shows
        self.ended: End | None = None

    # -- what the caller does

    @property
    def room(self) -> int:
        """How many requests can be sent now."""
        return max(0, self.window - len(self._in_flight)) if self.phase is Phase.BOUND else 0

    @property
    def is_over(self) -> bool:
        return self.phase is Phase.CLOSED

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def due(self) -> float:
        """When `tick` has something to do, at the latest."""
        if self.phase is Phase.CLOSED:
            return _NEVER
        first = next(iter(self._in_flight.values())).due if self._in_flight else _NEVER
        if self.phase is Phase.BOUND:
            idle = self._busy + self._timers.idle if self._timers.idle else _NEVER
            return min(first, self._heartbeat_at, idle)
        return min(first, self._until)

    def log_in(self, pdu: Any, now: float) -> None:  # Any: the protocol's login
        """As a client: the first thing that is sent."""
        self._write(pdu)
        self._until = now + self._timers.login

    def let_in(self, pdu: Any, now: float) -> None:  # Any: the protocol's answer
        """As a server: the peer is who it says. Nothing happens where it did not wait for the answer and is gone."""
        if self.phase is Phase.OPEN:
            self._write(pdu)
            self._bound(now)

    def refuse(self, pdu: Any) -> Gone:  # Any: as above
        """As a server: it is not."""
        self._write(pdu)
        return self._end(End.LOGIN_REFUSED)

    def ask(self, pdu: Any, tag: Any, now: float) -> None:  # Any: a request without its sequence; the caller's
        """Send a request. Raises NotBound, WindowFull: nothing was sent."""
        if self.phase is not Phase.BOUND:
            raise NotBound(phase=self.phase.value)
        if len(self._in_flight) >= self.window:
            raise WindowFull(window=self.window)
        pdu.sequence = self._dialect.next_sequence()
        self._output.append(pdu.encode())
        self._in_flight[pdu.sequence] = _InFlight(tag, now, now + self._timers.answer)
        self._busy = now
        self.sent += 1
        self.recent.append((now, "out", pdu))

    def answer(self, pdu: Any) -> None:  # Any: as above
        """Answer a request of the peer. After the end it goes nowhere: the peer asks again, or knows."""
        self.asked -= 1
        if self.phase is not Phase.CLOSED:
            self._output.append(pdu.encode())
            self.recent.append((self._heard, "out", pdu))
            self._farewell()

    def leave(self, now: float) -> list[Event]:
        """Finish what was begun on both sides, say good-bye, and end; at the latest after `Timers.leave`."""
        if self.phase in (Phase.LEAVING, Phase.CLOSED):
            return []
        if self.phase is Phase.OPEN:
            return [self._end(End.WE_LEFT)]
        self.phase = Phase.LEAVING
        self._until = now + self._timers.leave
        self._farewell()
        return []

    def cut(self) -> list[Event]:
        """The transport is closed."""
        return [] if self.phase is Phase.CLOSED else [self._end(End.CUT)]

    def take_output(self) -> bytes:
        """What has to be written now, in one piece: a write per wake-up, not per PDU."""
        if not self._output:
            return b""
        joined = self._output[0] if len(self._output) == 1 else b"".join(self._output)
        self._output.clear()
        return joined

    # -- what happens

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Octets from the peer, cut anywhere."""
        events: list[Event] = []
        if self.ended is not None:
            return events
        self._heard, self._heartbeats = now, 0
        self._heartbeat_at = now + self._timers.heartbeat
        broken = False
        try:
            frames: Sequence[bytes] = self._dialect.feed(data)
        except BrokenStream as error:
            frames, broken = error.frames, True
        decode, role_of = self._dialect.decode, self._dialect.role
        for frame in frames:
            try:
                pdu = decode(frame)
            except MalformedPdu as error:
                self._say(self._dialect.complaint(error))
                events.append(Refused(error, error.command))
            else:
                role = role_of(pdu)
                self.recent.append((now, "in", pdu))
                if role is Role.REQUEST and self.phase in (Phase.BOUND, Phase.LEAVING):
                    self.asked += 1
                    self.received += 1
                    self._busy = now
                    events.append(Asked(pdu))
                elif role is Role.ANSWER:
                    self._answered(pdu, now, events)
                else:
                    self._other(role, pdu, now, events)
            if self.is_over:
                return events
        if broken:
            events.append(self._end(End.BROKEN_STREAM))
        else:
            self._farewell()
        return events

    def tick(self, now: float) -> list[Event]:
        """Whatever is due by the clock."""
        events: list[Event] = []
        if self.phase is Phase.CLOSED or now < self.due:
            return events
        late = [sequence for sequence, one in self._in_flight.items() if one.due <= now]
        if late:
            # The peer hears heartbeats and does not answer requests (facts of half-dead SMSCs): nothing more is given
            # to it, and whoever waits for the others learns now that they are in doubt.
            return [self._end(End.NO_ANSWER)]
        if self.phase is Phase.OPEN:
            if now >= self._until:
                events.append(self._end(End.LOGIN_TIMEOUT))
        elif self.phase is Phase.LEAVING:
            if now >= self._until:
                events.append(self._end(End.WE_LEFT))
        elif self._timers.idle and now >= self._busy + self._timers.idle:
            events += self.leave(now)
        elif now >= self._heartbeat_at:
            self._beat(now, events)
        return events

    # -- within

    def _bound(self, now: float) -> None:
        self.phase = Phase.BOUND
        self._busy = now
        self._heartbeat_at = now + self._timers.heartbeat

    def _beat(self, now: float, events: list[Event]) -> None:
        if self._heartbeats >= self._timers.tries:
            events.append(self._end(End.NO_HEARTBEAT))
            return
        pdu = self._dialect.heartbeat()
        self._heartbeats += 1
        if pdu is not None:
            self._write(pdu)
            self._heartbeat_at = now + self._timers.answer
        else:
            self._heartbeats = 0  # silence says nothing where there is no heartbeat
            self._heartbeat_at = now + self._timers.heartbeat

    def _answered(self, pdu: Any, now: float, events: list[Event]) -> None:  # Any: as above
        found = self._in_flight.pop(pdu.sequence, None)
        if found is not None:  # else: of a request that was given up, or of none
            events.append(Answered(pdu, found.tag, now - found.sent))

    def _other(self, role: Role, pdu: Any, now: float, events: list[Event]) -> None:  # Any: as above
        dialect = self._dialect
        if role is Role.HEARTBEAT:
            self._write(dialect.simple_answer(pdu))
        elif role is Role.HEARTBEAT_ANSWER:
            pass  # it was heard
        elif role is Role.LOGIN and self._is_server and self.phase is Phase.OPEN:
            events.append(LoginAsked(pdu))
        elif role is Role.LOGIN_ANSWER and not self._is_server and self.phase is Phase.OPEN:
            is_in = dialect.is_ok(pdu)
            events.append(LoginAnswered(pdu, is_in))
            if is_in:
                self._bound(now)
            else:
                events.append(self._end(End.LOGIN_REFUSED))
        elif role is Role.LEAVE:
            self._write(dialect.simple_answer(pdu))
            events.append(self._end(End.PEER_LEFT))
        elif role is Role.LEAVE_ANSWER:
            if self.phase is Phase.LEAVING:
                events.append(self._end(End.WE_LEFT))
        elif role is Role.NOTICE:
            events.append(Told(pdu))
        elif role is Role.UNKNOWN:
            self._say(dialect.unknown(pdu))
            events.append(Refused(None, pdu.command))
        else:  # a request before the login, a second login
            self._say(dialect.out_of_turn(pdu))
            events.append(Refused(None, pdu.command))
            events.append(self._end(End.OUT_OF_TURN))

    def _say(self, pdu: Any | None) -> None:  # Any: as above
        if pdu is not None:
            self._write(pdu)

    def _farewell(self) -> None:
        """Say good-bye once nothing is under way in either direction."""
        if self.phase is Phase.LEAVING and not (self._in_flight or self.asked or self._has_said_goodbye):
            self._has_said_goodbye = True
            self._write(self._dialect.leave())

    def _write(self, pdu: Any) -> None:  # Any: as above
        self._output.append(pdu.encode())

    def _end(self, why: End) -> Gone:
        self.phase, self.ended = Phase.CLOSED, why
        in_doubt = tuple(one.tag for one in self._in_flight.values())
        self._in_flight.clear()
        return Gone(why, in_doubt)
