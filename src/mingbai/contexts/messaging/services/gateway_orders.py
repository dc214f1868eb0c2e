"""Carries to the gateway what people have decided and ordered: follows the control stream, writes the gateway's file.

Two kinds of entries, each with a cursor of its own, which moves in the transaction that wrote the orders down:
- orders of the gateway's pages (`gateway.bounce_ordered`, …), at once;
- decisions of the review desk on messages that the gateway holds (`message.released`, …). They wait a moment, so that a
  slip can be undone; from then on the decision counts as acted on and there is no way back.

An order has its entry's id, so that one that was written before a crash is not written again after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID, uuid5

from django.conf import settings
from django.db import transaction

from mingbai.connectors.gateway_commands import Order, append_commands
from mingbai.contexts.audit import queries as audit_queries
from mingbai.contexts.audit.queries import Entry
from mingbai.contexts.messaging.models import DecisionSource, LedgerCursor, ReviewDecision
from mingbai.contexts.messaging.services.review import mark_acted

GRACE: Final = timedelta(seconds=10)  # a slip of the finger is noticed at once; a code that is held shall not wait
_AT_ONCE: Final = 200  # entries a turn
_STREAM: Final = "control"
_ORDERED: Final = {
    "gateway.bounce_ordered": "bounce",
    "gateway.resend_ordered": "resend",
    "gateway.drop_ordered": "drop",
}
_DECIDED: Final = {
    "message.released": "release",
    "messages.released": "release",
    "message.refused": "refuse",
    "messages.refused": "refuse",
}
_NO_WAY_BACK: Final = "job:deadlines"  # who decides without a person: nobody undoes it


def carry_orders(*, now: datetime) -> int:
    """What was ordered on the gateway's pages since the last turn. Returns how many orders were written."""
    if not _is_any("gateway orders", list(_ORDERED)):
        return 0
    with transaction.atomic():
        cursor = _cursor("gateway orders")
        entries = _after(cursor, list(_ORDERED))
        orders = [Order(_ORDERED[entry.kind], entry.actor, _fields(entry), str(entry.id)) for entry in entries]
        return _done(cursor, entries, orders, now)


def carry_decisions(*, now: datetime) -> int:
    """What the review desk decided about messages that the gateway holds. Returns how many orders were written."""
    if not _is_any("gateway decisions", list(_DECIDED)):
        return 0
    with transaction.atomic():
        cursor = _cursor("gateway decisions")
        entries: list[Entry] = []
        orders: list[Order] = []
        acted: set[UUID] = set()
        for entry in _after(cursor, list(_DECIDED)):
            if entry.at > now - GRACE and entry.actor != _NO_WAY_BACK:
                break  # those after it wait too: they are read in their sequence
            entries.append(entry)
            for stream, seq in _held(entry):
                decision = _decision(entry, stream, seq)
                if decision is None:
                    continue
                if decision.acted_at is None:
                    acted.add(decision.pk)
                id = entry.id if entry.kind.startswith("message.") else uuid5(entry.id, f"{stream}:{seq}")
                orders.append(Order(_DECIDED[entry.kind], entry.actor, {"stream": stream, "seq": seq}, str(id)))
        mark_acted(acted, now=now)
        return _done(cursor, entries, orders, now)


def _is_any(name: str, kinds: list[str]) -> bool:
    """Asked without a lock: mostly there is nothing, and others want to write."""
    next_seq = LedgerCursor.objects.filter(name=name, stream=_STREAM).values_list("next_seq", flat=True).first() or 1
    return audit_queries.entries(kinds=kinds).filter(seq__gte=next_seq).exists()


def _cursor(name: str) -> LedgerCursor:
    LedgerCursor.objects.get_or_create(name=name, stream=_STREAM)
    return LedgerCursor.objects.select_for_update().get(name=name, stream=_STREAM)


def _after(cursor: LedgerCursor, kinds: list[str]) -> list[Entry]:
    found = audit_queries.entries(kinds=kinds).filter(seq__gte=cursor.next_seq)
    return list(found.order_by("seq")[:_AT_ONCE])


def _done(cursor: LedgerCursor, entries: list[Entry], orders: list[Order], now: datetime) -> int:
    if entries:
        data: Path = settings.MINGBAI.data
        append_commands(data, orders, now=now)
        cursor.next_seq = entries[-1].seq + 1
        cursor.save(update_fields=("next_seq",))
    return len(orders)


def _fields(entry: Entry) -> dict[str, object]:
    names = ("kind", "name") if entry.kind == "gateway.bounce_ordered" else ("ids",)
    return {name: entry.data[name] for name in names}


def _held(entry: Entry) -> Iterator[tuple[str, int]]:
    """Messages of the gateway that an entry is about: stream, seq."""
    if entry.kind.startswith("messages."):
        pairs = [(str(stream), int(seq)) for stream, seq, _id in entry.data["messages"]]
    else:
        pairs = [(str(entry.data["stream"]), int(entry.data["seq"]))]
    yield from (pair for pair in pairs if pair[0].startswith("gateway-"))


def _decision(entry: Entry, stream: str, seq: int) -> ReviewDecision | None:
    """The decision that the entry tells of; None: it was undone, or a team lead's word came in its place."""
    found = ReviewDecision.objects.select_related("item").select_for_update(of=("self",))
    if entry.kind.startswith("messages."):
        decision = found.filter(
            campaign_decision=UUID(str(entry.data["decision"])), item__stream=stream, item__seq=seq
        ).first()
    else:
        decision = found.filter(pk=UUID(str(entry.data["decision"]))).first()
    if decision is None or decision.undone_at is not None:
        return None
    settled = ReviewDecision.objects.filter(item_id=decision.item_id, source=DecisionSource.SETTLED, at__gt=decision.at)
    is_overruled = decision.source != DecisionSource.SETTLED and decision.acted_at is None and settled.exists()
    return None if is_overruled else decision
