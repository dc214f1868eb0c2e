"""One account at work: its connections, the parts it has sent so far, and what it has still to be told."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from mingbai.connectors.gateway_registry import Account
from mingbai.gateway.connection import Connection
from mingbai.gateway.items import Item, Originated, Owed
from mingbai.gateway.meter import Rate
from mingbai.gateway.routing import may_send
from mingbai.gateway.upstream import habits_of
from mingbai.kernel.errors import BadValue
from mingbai.protocols.link import Answered
from mingbai.protocols.logins import Direction
from mingbai.protocols.long_messages import Joiner
from mingbai.protocols.pdu import Pdu
from mingbai.protocols.reports import Report, refusal_of, write_deliver, write_report

if TYPE_CHECKING:
    from mingbai.gateway.exchange import Exchange

_TRIES: Final = 5
_AGAIN_S: Final = 5.0


class Partner:
    """See above. All of it on the loop's thread."""

    def __init__(self, account: Account, exchange: Exchange) -> None:
        self.account = account
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.outbox: deque[Owed | Originated] = deque()
        part_wait = exchange.registry.class_of[account.traffic].part_wait_s
        self.joiner: Joiner[Item] = Joiner(timeout_s=part_wait, max_octets=16 << 20)
        self.accepted = self.refused = self.throttled = 0
        self.absent: Counter[str] = Counter()  # messages that did not bring a field which they can
        self.rate = Rate()
        self.is_calling = False
        self.update(account)

    def update(self, account: Account) -> None:
        """Take another row: it holds from the next message on."""
        self.account = account
        self._sources: dict[str, bool] = {}
        self.habits = habits_of(account)
        self.protocol = account.protocol.value
        self.absent.update(dict.fromkeys(account.brought, 0))
        for connection in self.connections:
            connection.link.window = account.window

    def may_send(self, source: str) -> bool:
        """Whether it may use a source: asked for each message, and most have the same few."""
        found = self._sources.get(source)
        if found is None:
            if len(self._sources) > 10_000:
                self._sources.clear()
            found = self._sources[source] = may_send(self.account, source)
        return found

    def note_absent(self, brought: dict[str, str] | None) -> None:
        """Count the fields that a message could bring and does not."""
        for name in self.account.brought:
            if brought is None or name not in brought:
                self.absent[name] += 1

    @property
    def receivers(self) -> list[Connection]:
        """Connections on which it can be told something now."""
        return [
            one
            for one in self.connections
            if one.link.room and not one.is_stalled and one.direction is not Direction.SEND
        ]

    # -- what it has to be told

    def tell(self, one: Owed | Originated) -> None:
        self.outbox.append(one)
        self._exchange.wake(self)

    def pump(self) -> None:
        """Send what its windows have room for."""
        if not self.outbox:
            return
        receivers = self.receivers
        if not receivers:
            if self.account.callback and self.protocol == "sgip" and not self.is_calling:
                self._exchange.call_back(self)
            return
        now = self._loop.time()
        for connection in receivers:
            version = getattr(connection.dialect, "version", 0)
            while connection.link.room and self.outbox:
                one = self.outbox.popleft()
                if self._exchange.store.owed.get(one.id) is not one and one.id not in self._exchange.store.originated:
                    continue  # it ended meanwhile
                try:
                    connection.link.ask(self._written(one, version), one, now)
                except BadValue:  # its protocol has no room for it
                    self._exchange.dispatch.undeliverable(one)
                    continue
                connection.touched = True

    def _written(self, one: Owed | Originated, version: int) -> Pdu:
        own_id = self._exchange.deliver_id(self.protocol)
        if isinstance(one, Originated):
            return write_deliver(one.message, self.protocol, version, self.habits, own_id=own_id)
        return write_report(report_for(one), self.protocol, version, self.habits, own_id=own_id)

    def answered(self, event: Answered) -> None:
        """It took a report or a message, or did not."""
        one: Owed | Originated = event.tag
        if refusal_of(event.pdu) is None:
            self._exchange.dispatch.told(one)
            return
        one.attempts += 1
        if one.attempts >= _TRIES:
            self._exchange.dispatch.undeliverable(one)
        else:
            self._loop.call_later(_AGAIN_S, self.tell, one)

    def not_told(self, tags: tuple[Any, ...]) -> None:  # Any: what `pump` gave
        """A connection ended before it answered: they are told again, which is harmless."""
        self.outbox.extendleft(reversed(tags))
        self._exchange.wake(self)


def report_for(owed: Owed) -> Report:
    """What an account is told."""
    return Report(
        message_id=owed.peer_id,
        state=owed.state,
        stat=owed.stat,
        error=owed.error,
        source=owed.source,
        destination=owed.destination,
        submitted=_moment(int(owed.accepted)),  # no protocol says more than the second
        done=_moment(int(owed.done)),
    )


@lru_cache(1024)  # most reports of a second say the same
def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
