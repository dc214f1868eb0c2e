"""Reviewed messages as training data: a reference and the right answer, never the text.

One label an entry and source; a later one of the same source replaces it. Gold is kept apart: whoever is measured with
a message must not have taught the machine with it, nor may the machine be measured with what it learnt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from mingbai.contexts.audit.statements import Table
from mingbai.contexts.messaging.models.review import Label, LabelSource
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category, Verdict

# Who is believed when sources disagree, strongest first: an answer that somebody wrote a reason for, then a second
# look, then the first.
_STRENGTH: Final = {
    LabelSource.APPEAL: 0,
    LabelSource.FREED: 1,
    LabelSource.SECOND: 2,
    LabelSource.REVIEW: 3,
}
_CHUNK: Final = 2000
_LABELS = Table(Label)
_REPLACED: Final = ("verdict", "category", "by", "at", "withdrawn_at", "text_hash", "campaign")
_REPLACE: Final = "ON CONFLICT (entry_id, source) DO UPDATE SET " + ", ".join(
    f'"{name}" = EXCLUDED."{name}"' for name in _REPLACED
)


@dataclass(frozen=True, slots=True)
class Labelled:
    """What is known of one message."""

    stream: str
    seq: int
    entry_id: UUID
    verdict: Verdict
    category: Category
    source: str
    by: str
    at: datetime


def record_label(
    *,
    stream: str,
    seq: int,
    entry_id: UUID,
    verdict: int,
    category: int,
    source: str,
    by: str,
    now: datetime,
    text_hash: str = "",
    campaign: str = "",
) -> None:
    """Keep the right answer of a message. Part of the caller's transaction, whose entry records it.

    text_hash, campaign: hexadecimal, as items have them; with them the desk finds similar messages decided before.
    Raises BadValue for an unknown source.
    """
    if source not in LabelSource.values:
        raise BadValue(field="source", value=source, expected=f"one of {', '.join(LabelSource.values)}")
    label = Label(
        stream=stream, seq=seq, entry_id=entry_id, text_hash=text_hash, campaign=campaign,
        verdict=int(verdict), category=int(category), source=source, by=by, at=now,
    )  # fmt: skip
    _LABELS.insert(label, _REPLACE)


def record_labels(labels: list[Label]) -> None:
    """Many at once."""
    Label.objects.bulk_create(
        labels,
        batch_size=500,
        update_conflicts=True,
        unique_fields=["entry_id", "source"],
        update_fields=_REPLACED,
    )


def withdraw_label(entry_id: UUID, source: str, *, now: datetime) -> None:
    """The decision that gave it was undone."""
    withdraw_labels([entry_id], source, now=now)


def withdraw_labels(entry_ids: Iterable[UUID], source: str, *, now: datetime) -> None:
    Label.objects.filter(entry_id__in=list(entry_ids), source=source, withdrawn_at=None).update(withdrawn_at=now)


def for_learning(*, since: datetime | None = None, until: datetime | None = None) -> Iterator[Labelled]:
    """One label a message, the best that is known, in order of the ledger; gold and what was withdrawn left out."""
    gold = Label.objects.filter(source=LabelSource.GOLD, withdrawn_at=None)
    found = Label.objects.filter(withdrawn_at=None).exclude(entry_id__in=gold.values("entry_id"))
    if since is not None:
        found = found.filter(at__gte=since)
    if until is not None:
        found = found.filter(at__lt=until)
    held: list[Label] = []
    for label in found.order_by("stream", "seq").iterator(chunk_size=_CHUNK):
        if held and held[0].entry_id != label.entry_id:
            yield _best(held)
            held = []
        held.append(label)
    if held:
        yield _best(held)


def _best(labels: list[Label]) -> Labelled:
    one = min(labels, key=lambda label: _STRENGTH.get(LabelSource(label.source), 9))
    return Labelled(
        one.stream, one.seq, one.entry_id, Verdict(one.verdict), Category(one.category), one.source, one.by, one.at
    )
