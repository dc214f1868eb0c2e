"""Reading the control stream: lists for people, and the proof that nothing in it was changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from mingbai.contexts.audit.models import Entry as Entry  # what the functions below give
from mingbai.contexts.audit.models import Head
from mingbai.contexts.audit.policy import GENESIS, entry_hash
from mingbai.ledger.anchors import Head as SignedHead


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` found. problem: None if the chain is whole; else what is wrong and at which seq."""

    entries: int
    head: bytes
    problem: str | None = None
    at_seq: int | None = None
    signed_to: int = 0  # the last entry that a signature vouches for

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


def entry(seq: int) -> Entry | None:
    return Entry.objects.filter(seq=seq).first()


def after(seq: int, limit: int = 1000) -> Iterator[Entry]:
    """Entries after `seq`, oldest first: how a reader follows the stream."""
    yield from Entry.objects.filter(seq__gt=seq).order_by("seq")[:limit]


def head() -> tuple[int, bytes]:
    """Sequence number and hash of the last entry; (0, genesis) of an empty stream."""
    found = Head.objects.filter(pk=1).first()
    return (0, GENESIS) if found is None else (found.seq, bytes(found.hash))


def crossed_heads() -> dict[str, tuple[int, bytes]]:
    """Where each stream of the ledger ended when that was last written here: stream -> seq, chain hash."""
    entry = Entry.objects.filter(kind="heads.crossed").order_by("-seq").first()
    if entry is None:
        return {}
    return {name: (int(head["seq"]), bytes.fromhex(head["chain"])) for name, head in entry.data["streams"].items()}


def last_signed() -> SignedHead | None:
    """The last signed head of the control stream."""
    entry = Entry.objects.filter(kind="head.signed").order_by("-seq").first()
    return None if entry is None else SignedHead.from_document(entry.data)


def verify(public_keys: Collection[bytes] = ()) -> Verified:
    """Walk the whole chain: every hash, every signed head in it, and where it ends.

    public_keys: those that may have signed; empty: each head is checked with the key that it names.
    """
    before, seq = GENESIS, 0
    previous: bytes | None = None
    signed = 0
    rows = Entry.objects.order_by("seq").values_list("seq", "id", "at", "kind", "actor", "subject", "data", "hash")
    for number, id, at, kind, actor, subject, data, known in rows.iterator(chunk_size=2000):
        if number != seq + 1:
            return Verified(seq, before, f"entry {seq + 1} is missing", seq + 1, signed)
        digest = entry_hash(before, seq=number, id=id, at=at, kind=kind, actor=actor, subject=subject, data=data)
        if digest != bytes(known):
            return Verified(seq, before, f"entry {number} was changed", number, signed)
        if kind == "head.signed":
            problem, previous = _check_signed(data, seq, before, previous, public_keys)
            if problem:
                return Verified(seq, before, f"entry {number}: {problem}", number, signed)
            signed = seq
        before, seq = digest, number
    known_seq, known_hash = head()
    if (known_seq, known_hash) != (seq, before):
        return Verified(seq, before, f"entries after {seq} are missing", seq + 1, signed)
    return Verified(seq, before, signed_to=signed)


def _check_signed(
    data: object, seq: int, chain: bytes, previous: bytes | None, public_keys: Collection[bytes]
) -> tuple[str, bytes | None]:
    """What is wrong with a signed head that should stand for this place ("": nothing), and its hash."""
    try:
        signed = SignedHead.from_document(data)
    except ValueError as error:
        return f"it is no signed head ({error})", None
    if (signed.seq, signed.chain) != (seq, chain):
        return "its signed head is of another chain", None
    if signed.previous != previous:
        return "a signed head before it is missing", None
    if not signed.is_signed() or (public_keys and signed.public_key not in public_keys):
        return "its signature does not fit", None
    return "", signed.sha256


@dataclass(frozen=True, slots=True)
class CrossedHead:
    """A stream of the ledger: where it ended when that was written here, and whether it still holds that."""

    stream: str
    seq: int
    is_there: bool


def check_crossed(holds: Callable[[str, int, bytes], bool]) -> list[CrossedHead]:
    """holds: asks the ledger whether a stream has this chain hash after that row."""
    return [
        CrossedHead(stream, seq, holds(stream, seq, chain)) for stream, (seq, chain) in sorted(crossed_heads().items())
    ]


# -- evidence


def with_hash_before(found: Sequence[Entry]) -> list[tuple[Entry, bytes]]:
    """Each entry beside the hash of the one before it, so that whoever gets them can compute its own again."""
    wanted = {entry.seq - 1 for entry in found}
    known = dict(Entry.objects.filter(seq__in=wanted).values_list("seq", "hash")) if wanted else {}
    return [(entry, GENESIS if entry.seq == 1 else bytes(known[entry.seq - 1])) for entry in found]


def kinds_used() -> list[str]:
    return list(Entry.objects.order_by("kind").values_list("kind", flat=True).distinct())
