"""Reading the control stream: lists for people, and the proof that nothing in it was changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from mingbai.contexts.audit.models import Entry, Head
from mingbai.contexts.audit.policy import GENESIS, entry_hash


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` found. problem: None if the chain is whole; else what is wrong and at which seq."""

    entries: int
    head: bytes
    problem: str | None = None
    at_seq: int | None = None

    @property
    def ok(self) -> bool:
        return self.problem is None


def entries(
    *,
    kinds: Sequence[str] = (),
    actor: str = "",
    subject: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    before_seq: int | None = None,
) -> QuerySet[Entry]:
    """Entries, newest first. kinds: exact, or a prefix that ends with a dot (`rulebook.`)."""
    found = Entry.objects.order_by("-seq")
    exact = [kind for kind in kinds if not kind.endswith(".")]
    prefixes = [kind for kind in kinds if kind.endswith(".")]
    if exact or prefixes:
        from django.db.models import Q

        chosen = Q(kind__in=exact)
        for prefix in prefixes:
            chosen |= Q(kind__startswith=prefix)
        found = found.filter(chosen)
    if actor:
        found = found.filter(actor=actor)
    if subject:
        found = found.filter(subject=subject)
    if since is not None:
        found = found.filter(at__gte=since)
    if until is not None:
        found = found.filter(at__lt=until)
    if before_seq is not None:
        found = found.filter(seq__lt=before_seq)
    return found


def after(seq: int, limit: int = 1000) -> Iterator[Entry]:
    """Entries after `seq`, oldest first: how a reader follows the stream."""
    yield from Entry.objects.filter(seq__gt=seq).order_by("seq")[:limit]


def head() -> tuple[int, bytes]:
    """Sequence number and hash of the last entry; (0, genesis) of an empty stream."""
    found = Head.objects.filter(pk=1).first()
    return (0, GENESIS) if found is None else (found.seq, bytes(found.hash))


def verify() -> Verified:
    """Walk the whole chain."""
    before, seq = GENESIS, 0
    for entry in Entry.objects.order_by("seq").iterator(chunk_size=2000):
        if entry.seq != seq + 1:
            return Verified(seq, before, f"entry {seq + 1} is missing", seq + 1)
        digest = entry_hash(
            before,
            seq=entry.seq,
            id=entry.id,
            at=entry.at,
            kind=entry.kind,
            actor=entry.actor,
            subject=entry.subject,
            data=entry.data,
        )
        if digest != bytes(entry.hash):
            return Verified(seq, before, f"entry {entry.seq} was changed", entry.seq)
        before, seq = digest, entry.seq
    known_seq, known = head()
    if (known_seq, known) != (seq, before):
        return Verified(seq, before, f"entries after {seq} are missing", seq + 1)
    return Verified(seq, before)
