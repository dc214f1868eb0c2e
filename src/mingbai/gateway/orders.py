"""What people order: held messages go or not, dead letters and messages in doubt once more or never, a bounce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mingbai.gateway.dispatch import cdr_of
from mingbai.gateway.items import Outcome, Stage
from mingbai.protocols.receipts import State

if TYPE_CHECKING:
    from mingbai.gateway.exchange import Exchange


class Orders:
    """Of one exchange; all on the loop's thread. Each method returns how many it concerned."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._dispatch = exchange.dispatch

    def release(self, entry: int) -> int:
        """A held message may go."""
        found = [one for one in self._exchange.store.items.values() if one.entry == entry and one.stage is Stage.HELD]
        for item in found:
            item.stage, item.reason = Stage.QUEUED, "released"
            self._exchange.store.moved(item)
            self._dispatch.queue(item)
        self._exchange.wake()
        return len(found)

    def refuse_held(self, entry: int) -> int:
        found = [one for one in self._exchange.store.items.values() if one.entry == entry and one.stage is Stage.HELD]
        for item in found:
            self._dispatch.reject(item, "review")
        self._exchange.wake()
        return len(found)

    def resend(self, numbers: Sequence[int]) -> int:
        """Dead letters and messages in doubt: once more."""
        done = 0
        for number in numbers:
            item = self._exchange.store.items.get(number)
            if item is not None and item.stage in (Stage.DEAD, Stage.DOUBT):
                if item.stage is Stage.DOUBT:
                    self._exchange.event("gateway.resolved", {"id": str(item.id), "how": "resent by a person"})
                item.stage, item.attempts, item.tried, item.reason = Stage.QUEUED, 0, (), "resent"
                item.expires = max(item.expires, self._exchange.seconds() + 3600.0)
                self._exchange.store.moved(item)
                self._dispatch.queue(item)
                done += 1
        self._exchange.wake()
        return done

    def drop(self, numbers: Sequence[int]) -> int:
        done = 0
        for number in numbers:
            item = self._exchange.store.items.get(number)
            if item is None:
                continue
            if item.stage is Stage.DEAD:
                self._dispatch.end_with_report(item, State.UNDELIVERABLE)
                self._exchange.ended(cdr_of(item, Outcome.DEAD_LETTER, item.reason))
                done += 1
            elif item.stage is Stage.DOUBT:
                self._exchange.event("gateway.resolved", {"id": str(item.id), "how": "not sent again"})
                self._exchange.store.end(item.id)
                self._exchange.ended(cdr_of(item, Outcome.IN_DOUBT, "not sent again"))
                done += 1
        self._exchange.wake()
        return done

    def bounce(self, kind: str, name: str) -> int:
        if kind == "smsc":
            upstream = self._exchange.upstreams.get(name)
            return 0 if upstream is None else upstream.bounce()
        partner = self._exchange.partners.get(name)
        bound = [] if partner is None else list(partner.connections)
        for connection in bound:
            connection.leave()
        return len(bound)
