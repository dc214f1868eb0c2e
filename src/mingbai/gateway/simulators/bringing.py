"""What a simulated SMSC brings to the gateway: reports, at their time or out of order, and messages from handsets.

Everything waits until a connection has room for it, and is brought again where a connection was lost before the answer:
a gateway has to stand a report that comes twice. SGIP's gateway is called; the others are told where they logged in.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mingbai.gateway.connection import Connection
from mingbai.gateway.simulators.lines import Lines, Node, Peer, text_and_part
from mingbai.kernel.clock import utc_now
from mingbai.protocols.link import Answered, Event, Link, Phase, Timers
from mingbai.protocols.logins import Direction, make_login
from mingbai.protocols.messages import ShortMessage
from mingbai.protocols.pdu import Pdu
from mingbai.protocols.reports import Report, refusal_of, write_deliver, write_report
from mingbai.protocols.text import coding_of, encode

if TYPE_CHECKING:
    from mingbai.gateway.simulators.smsc import SmscOptions

TIMERS: Final = Timers(leave=1.0)
_AGAIN_S: Final = 0.5  # after which a report is brought again that the gateway could not take
_SHUFFLE_S: Final = 0.2  # reports of messages this far apart change places
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0  # between calls


@dataclass(slots=True)
class Brought:
    """A report, or a message from a handset. name: in the log."""

    what: Report | ShortMessage
    name: str
    tries: int = 0


class Bringer:
    """The queue, and who it is brought to. Part of one `SmscSimulator`, on its loop."""

    def __init__(self, options: SmscOptions, node: Node, lines: Lines, chance: random.Random) -> None:
        self._options, self._node, self._lines, self._random = options, node, lines, chance
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Brought] = deque()
        self._later: list[tuple[float, int, Brought]] = []
        self._serials = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0  # uvloop's handles do not always tell
        self._receivers: list[Peer] = []
        self._is_wanted = asyncio.Event()  # SGIP: there is something to bring, and nobody to bring it to
        self.counts: Counter[str] = Counter()
        self.states: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        return len(self._ready) + len(self._later)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # -- to whom

    def add(self, connection: Peer) -> None:
        self._receivers.append(connection)

    def discard(self, connection: Peer, in_doubt: Sequence[Brought]) -> None:
        """The connection is gone; what it did not answer is brought again."""
        if connection in self._receivers:
            self._receivers.remove(connection)
        self.counts["repeated"] += len(in_doubt)
        self._ready.extendleft(reversed(in_doubt))

    # -- what

    def report(self, reports: Iterable[Brought], *, at_once: bool = False, delay_s: float = 0.0) -> None:
        """Bring them after the delay that is set, or another; `pump` then."""
        delay = 0.0 if at_once else delay_s or self._options.report_delay_ms / 1000
        for brought in reports:
            is_shuffled = self._options.shuffle and not at_once
            late = delay + (self._random.random() * max(delay, _SHUFFLE_S) if is_shuffled else 0.0)
            if late <= 0:
                self._ready.append(brought)
            else:
                heapq.heappush(self._later, (self._loop.time() + late, next(self._serials), brought))
        self._set_timer()

    def originate(self, message: ShortMessage) -> None:
        """A message from a handset."""
        self.counts["mo_sent"] += 1
        self._ready.append(Brought(message, f"mo{self.counts['mo_sent']}"))

    async def keep_originating(self) -> None:
        """As many a second as are set."""
        rate, begun, sent = self._options.mo_rate_per_s, self._loop.time(), 0
        coding = coding_of(self._options.protocol, 8)
        while True:
            due = int((self._loop.time() - begun) * rate)
            while sent < due:
                sent += 1
                content = encode(f"上行短信 {sent}", coding)
                source = f"861390000{sent % 10_000:04}"
                self.originate(ShortMessage(source, (self._options.mo_to,), content, coding))
            self.pump()
            await asyncio.sleep(max(0.005, min(0.5, 1 / rate)))

    def _set_timer(self) -> None:
        if self._later and (self._timer is None or self._timer_at > self._later[0][0]):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = self._later[0][0]
            self._timer = self._loop.call_at(self._timer_at, self._due)

    def _due(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[2])
        self._set_timer()
        self.pump()

    # -- how

    def pump(self) -> None:
        """Bring what is ready, as far as windows allow."""
        if not self._ready:
            return
        now = self._loop.time()
        for connection in list(self._receivers):
            link, version, asked = connection.link, getattr(connection.dialect, "version", 0), 0
            while self._ready and link.room and not connection.is_deaf:
                brought = self._ready.popleft()
                link.ask(self._written(brought, version), brought, now)
                asked += 1
            if asked:
                connection.flush()
        if self._receivers:
            self._receivers.append(self._receivers.pop(0))
        else:
            self._is_wanted.set()

    def _written(self, brought: Brought, version: int) -> Pdu:
        protocol, now = self._options.protocol, utc_now()
        own_id = 0 if protocol in ("sgip", "smpp") else self._node.number()
        what = brought.what
        brought.tries += 1
        if isinstance(what, ShortMessage):
            text, part = text_and_part(what)
            to = what.destinations[0]
            self._lines.write("mo", id=brought.name, source=what.source, destination=to, text=text, part=part)
            return write_deliver(replace(what, at=now), protocol, version, own_id=own_id)
        if brought.tries == 1:
            self.states[what.stat] += 1
        self._lines.write("report", id=what.message_id, destination=what.destination, state=what.stat)
        return write_report(replace(what, done=now), protocol, version, own_id=own_id)

    def answered(self, event: Answered) -> None:
        """The gateway took it, or did not."""
        brought: Brought = event.tag
        refusal = refusal_of(event.pdu)
        is_report = isinstance(brought.what, Report)
        kind = "report_answer" if is_report else "mo_answer"
        self._lines.write(kind, id=brought.name, refusal=None if refusal is None else refusal[0])
        if refusal is None:
            self.counts["answered" if is_report else "mo_answered"] += 1
        elif refusal[1]:
            self.report([brought], delay_s=_AGAIN_S)
        else:
            self.counts["refused" if is_report else "mo_refused"] += 1

    # -- SGIP: the SMSC calls

    async def keep_calling(self, host: str, port: int, handler: Callable[[Connection, Sequence[Event]], None]) -> None:
        """Connect to the gateway when there is something to bring, and stay connected."""
        pause = _FIRST_PAUSE_S
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            try:
                _, connection = await self._loop.create_connection(lambda: self._calling(handler), host, port)
            except OSError:
                pass  # it may come up later
            else:
                while not connection.link.is_over:
                    if connection.link.phase is Phase.BOUND:
                        pause = _FIRST_PAUSE_S
                    await asyncio.sleep(0.05)
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE_S, pause * 2)
            if self._ready:
                self._is_wanted.set()

    def _calling(self, handler: Callable[[Connection, Sequence[Event]], None]) -> Peer:
        dialect, options = self._node.dialect(0), self._options

        def called(connection: Connection, events: Sequence[Event]) -> None:
            if not events:
                login = make_login(
                    "sgip",
                    options.login,
                    options.secret,
                    sequence=dialect.next_sequence(),
                    now=utc_now(),
                    direction=Direction.RECEIVE,
                )
                connection.link.log_in(login, self._loop.time())
            handler(connection, events)

        peer = Peer(lambda now: Link(dialect, TIMERS, window=options.window, is_server=False, now=now), called)
        peer.dialect = dialect
        return peer
