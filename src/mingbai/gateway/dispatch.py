"""What becomes of an item once it was taken on: which SMSC gets it, how it ends, and what its account is told.

Each ends once: delivered, refused, expired, dead letter, or in doubt; `items.Outcome` has the words.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from mingbai.connectors.gateway_registry import InDoubt
from mingbai.gateway.cdr import Cdr
from mingbai.gateway.items import Awaited, Item, Originated, Outcome, Owed, Stage
from mingbai.protocols.messages import ShortMessage, Wanted
from mingbai.protocols.receipts import State
from mingbai.protocols.reports import Report

if TYPE_CHECKING:
    from mingbai.gateway.exchange import Exchange
    from mingbai.gateway.upstream import Upstream

_REPORT_S: Final = 72 * 3600.0  # how long a report waits for its message's end, and for its account


class Dispatch:
    """Of one exchange; all on the loop's thread."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._handed_over: set[int] = set()

    def queue(self, item: Item) -> None:
        """Give an item to the first SMSC of its route that can take it; to the first at all where none can."""
        found = self._exchange.routes.find(item.account, item.message.source, item.destination)
        if found is None:
            item.stage, item.smsc = Stage.QUEUED, ""
            if self._exchange.is_registry_known:
                self.dead(item, "no_route")
            return
        upstreams = self._exchange.upstreams
        upstream = upstreams.get(found[1][0])
        if upstream is None or item.tried or not upstream.is_open:  # else there is nothing to choose
            names = [name for name in found[1] if name in upstreams]
            left = [name for name in names if name not in item.tried] or names
            if not left:
                self.dead(item, "no_route")
                return
            upstream = upstreams[next((name for name in left if upstreams[name].is_open), left[0])]
        item.stage, item.smsc = Stage.QUEUED, upstream.smsc.name
        upstream.queue.append(item)
        self._exchange.dirty[upstream] = None

    def forwarded(self, item: Item, upstream: Upstream, upstream_id: str) -> None:
        """An SMSC took it."""
        self._exchange.totals["forwarded"] += 1
        if item.message.wanted is Wanted.NONE or not upstream_id:
            self._exchange.store.end(item.id)
            self._exchange.ended(cdr_of(item, Outcome.DELIVERED, "accepted"))
            return
        self._exchange.store.awaits(item, upstream_id, item.expires + _REPORT_S)
        upstream.awaits(upstream_id, item.id)

    def refused_upstream(self, item: Item, said: str) -> None:
        """An SMSC will not have it: its sender learns so."""
        self._exchange.totals["refused_upstream"] += 1
        self.reject(item, f"smsc {item.smsc}: {said}")

    def throttled(self, item: Item, upstream: Upstream, said: str) -> None:
        """An SMSC wants it later: at the head of the queue again, or to the dead letters after enough tries."""
        item.attempts += 1
        traffic = self._exchange.registry.class_of.get(item.traffic)
        if traffic is not None and item.attempts >= traffic.attempts:
            self.dead(item, said)
            return
        upstream.put_back(item)

    def in_doubt(self, item: Item) -> None:
        """Sent, and no answer: the class says what to do."""
        self._exchange.totals["in_doubt"] += 1
        traffic = self._exchange.registry.class_of.get(item.traffic)
        rule = traffic.in_doubt if traffic is not None else InDoubt.ASK
        if rule is InDoubt.RESEND:
            self._exchange.event("gateway.resolved", {"id": str(item.id), "how": "resent", "smsc": item.smsc})
            item.stage, item.reason = Stage.QUEUED, "in_doubt_resent"
            self._exchange.store.moved(item)
            self.queue(item)
            return
        self._exchange.event(
            "gateway.in_doubt",
            {"id": str(item.id), "account": item.account, "smsc": item.smsc, "entry": item.entry, "rule": rule.value},
        )
        if rule is InDoubt.DROP:
            self._exchange.store.end(item.id)
            self._exchange.ended(cdr_of(item, Outcome.IN_DOUBT, "not sent again"))
            return
        item.stage, item.reason = Stage.DOUBT, item.reason or "no_answer"
        self._exchange.store.moved(item)

    def dead(self, item: Item, reason: str) -> None:
        """Nobody takes it: it lies where a person sees it."""
        self._exchange.totals["dead"] += 1
        item.stage, item.reason = Stage.DEAD, reason[:120]
        self._exchange.store.moved(item)
        self._exchange.event(
            "gateway.dead_lettered",
            {"id": str(item.id), "account": item.account, "smsc": item.smsc or None, "reason": item.reason,
             "entry": item.entry},
        )  # fmt: skip

    def unwritable(self, item: Item, why: str) -> None:
        """The SMSC's protocol cannot carry it."""
        self.dead(item, f"unwritable: {why}")

    def expired(self, item: Item) -> None:
        self._exchange.totals["expired"] += 1
        self.end_with_report(item, State.EXPIRED)
        self._exchange.ended(cdr_of(item, Outcome.EXPIRED, item.stage.name.lower()))

    def reject(self, item: Item, by: str) -> None:
        """It ends here: refused by the screen, a person or an SMSC."""
        self.end_with_report(item, State.REJECTED)
        self._exchange.ended(cdr_of(item, Outcome.REFUSED, by))

    def reported(self, handle: int, report: Report) -> None:
        """What became of a message: its account is told, and it ends."""
        awaited = self._exchange.store.awaited(handle)
        if awaited is None or not report.state.is_final:
            return
        outcome = _OUTCOMES.get(report.state, Outcome.REFUSED)
        self._exchange.totals["delivered" if outcome is Outcome.DELIVERED else "undelivered"] += 1
        if awaited.wanted == Wanted.NONE or (awaited.wanted == Wanted.FAILURE and report.state is State.DELIVERED):
            self._exchange.store.end(handle)
        else:
            done = report.done.timestamp() if report.done is not None else self._exchange.seconds()
            owed = Owed(
                awaited.id, awaited.account, awaited.protocol, awaited.peer_id, awaited.source, awaited.destination,
                awaited.accepted, report.state, report.stat, report.error, done, self._exchange.seconds() + _REPORT_S,
            )  # fmt: skip
            self._exchange.store.owes(owed)
            self.tell(owed)
        self._exchange.ended(cdr_of(awaited, outcome, report.stat or report.state.name.lower()))

    def never_reported(self, handle: int) -> None:
        awaited = self._exchange.store.awaited(handle)
        if awaited is not None:
            self._exchange.store.end(handle)
            self._exchange.totals["unreported"] += 1
            self._exchange.ended(cdr_of(awaited, Outcome.IN_DOUBT, "no report came"))

    def unmatched(self, number: int) -> None:
        """A report whose message nobody knows; it may be another worker's, who took it."""
        if number in self._handed_over:
            self._handed_over.discard(number)
            return
        self._exchange.totals["reports_unmatched"] += 1
        self._exchange.store.end(number)

    def handed_over(self, number: int) -> None:
        """Another worker knew the message of a report that is parked here."""
        self._handed_over.add(number)
        self._exchange.store.end(number)
        self._exchange.wake()

    def take_over(self, one: Owed | Originated) -> None:
        """From another worker: its account is connected here."""
        if one.id in self._exchange.store.owed or one.id in self._exchange.store.originated:
            return
        if isinstance(one, Owed):
            self._exchange.store.owes(one)
        else:
            self._exchange.store.originate(one)
        self.tell(one)

    def end_with_report(self, item: Item, state: State) -> None:
        """End an item, and let its account know."""
        if item.message.wanted is Wanted.NONE:
            self._exchange.store.end(item.id)
            return
        owed = owed_for(item, state, self._exchange.seconds())
        self._exchange.store.owes(owed)
        self.tell(owed)

    def originated(self, message: ShortMessage, protocol: str) -> bool:
        """A subscriber wrote to an access code: its owner gets it. False: nobody has that code."""
        name = self._exchange.codes.owner(message.destinations[0])
        if name is None:
            self._exchange.totals["originated_unrouted"] += 1
            return False
        one = Originated(
            self._exchange.store.next_id(),
            name,
            protocol,
            message,
            self._exchange.seconds(),
            self._exchange.seconds() + _REPORT_S,
        )
        self._exchange.store.originate(one)
        self.tell(one)
        self._exchange.totals["originated"] += 1
        return True

    def tell(self, one: Owed | Originated) -> None:
        partner = self._exchange.partners.get(one.account)
        if partner is not None:
            partner.tell(one)

    def told(self, one: Owed | Originated) -> None:
        self._exchange.store.end(one.id)

    def undeliverable(self, one: Owed | Originated) -> None:
        """Its account refuses it again and again, or has no way to hear it."""
        self._exchange.totals["untold"] += 1
        self._exchange.store.end(one.id)

    def hold_over(self, item: Item) -> None:
        traffic = self._exchange.registry.class_of.get(item.traffic)
        if traffic is not None and traffic.after_hold == "refuse":
            self.reject(item, "hold_over")
            return
        item.stage, item.reason = Stage.QUEUED, "hold_over"
        self._exchange.store.moved(item)
        self.queue(item)


_OUTCOMES: Final = {
    State.DELIVERED: Outcome.DELIVERED,
    State.ACCEPTED: Outcome.DELIVERED,
    State.EXPIRED: Outcome.EXPIRED,
    State.UNKNOWN: Outcome.IN_DOUBT,
}


def owed_for(item: Item, state: State, now: float) -> Owed:
    """The report of a message that ends here, with us."""
    return Owed(
        item.id, item.account, item.protocol, item.peer_id, item.message.source, item.destination, item.accepted,
        state, "", "", now, now + _REPORT_S,
    )  # fmt: skip


def cdr_of(one: Item | Awaited, outcome: Outcome, detail: str) -> Cdr:
    return Cdr(
        id=one.id,
        account=one.account,
        protocol=one.protocol,
        peer_id=one.peer_id,
        source=one.message.source if isinstance(one, Item) else one.source,
        destination=one.destination,
        smsc=one.smsc,
        accepted=one.accepted,
        entry=one.entry,
        outcome=outcome.value,
        detail=detail,
        verdict=one.verdict if isinstance(one, Item) else 0,
        ended=time.time(),
    )
