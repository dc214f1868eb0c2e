"""Appending to the control stream, in the caller's own transaction: state and entry commit or roll back together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from django.db import transaction

from mingbai.contexts.audit.models import Entry, Head
from mingbai.contexts.audit.policy import GENESIS, entry_hash
from mingbai.contexts.audit.statements import Table
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.ids import IdSource, time_of, uuid7
from mingbai.ledger.anchors import Head as SignedHead
from mingbai.ledger.anchors import sign_head as signed_head
from mingbai.ledger.keys import KeyStore

_ENTRIES, _HEADS = Table(Entry), Table(Head)


def append(
    kind: str,
    *,
    actor: str,
    subject: str = "",
    data: Mapping[str, object] | None = None,
    now: datetime | None = None,
) -> Entry:
    """Append one entry. Returns it; it is durable when the caller's transaction commits.

    The chain's head is locked until then, so append late in a transaction. data: JSON without numbers, texts or
    secrets; an entry is never deleted. now: left out, the moment of the append.
    Raises BadValue for data that is no JSON or a kind or subject that is too long.
    """
    given = dict(data or {})
    try:
        given = json.loads(json.dumps(given, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BadValue(field="data", value=given, expected=f"a JSON object ({error})") from error
    for field, value, most in (("kind", kind, 64), ("actor", actor, 80), ("subject", subject, 120)):
        if len(value) > most or (not value and field != "subject"):
            raise BadValue(field=field, value=value, expected=f"1 to {most} characters")
    with transaction.atomic(savepoint=False):  # together with the caller's change, or not at all
        head = _locked_head()
        at = now or utc_now()
        seq = head.seq + 1
        id = _next_id(head, at)
        digest = entry_hash(
            bytes(head.hash), seq=seq, id=id, at=at, kind=kind, actor=actor, subject=subject, data=given
        )
        entry = Entry(seq=seq, id=id, at=at, kind=kind, actor=actor, subject=subject, data=given, hash=digest)
        _ENTRIES.insert(entry)
        head.seq, head.hash, head.last_id = seq, digest, id
        _HEADS.update(head, "seq", "hash", "last_id")
    return entry


STREAM = "control"
_OWN_KINDS = ("head.signed", "heads.crossed")  # said about the chains themselves: no reason to sign or cross again


def sign_head(keys: KeyStore, *, now: datetime) -> SignedHead | None:
    """Sign where the chain stands, and write the signed head into it as an entry `head.signed`.

    None (and no entry) if nothing but heads was written since the last one.
    """
    with transaction.atomic():
        head = _locked_head()
        last = Entry.objects.filter(kind="head.signed").order_by("-seq").first()
        fresh = Entry.objects.exclude(kind__in=_OWN_KINDS)
        if not (fresh if last is None else fresh.filter(seq__gt=last.seq)).exists():
            return None
        previous = None if last is None else SignedHead.from_document(last.data).sha256
        signed = signed_head(
            keys, stream=STREAM, seq=head.seq, commit=head.seq, chain=bytes(head.hash), at=now, previous=previous
        )
        append("head.signed", actor="job:sign head", data=signed.to_document(), now=now)
    return signed


def cross_heads(heads: Mapping[str, tuple[int, bytes]], *, now: datetime) -> Entry | None:
    """Write where the ledger's streams end (stream -> seq, chain hash) as an entry `heads.crossed`, so that neither
    record can be rewritten without the other. Each entry names every stream; None if none moved."""
    from mingbai.contexts.audit.queries import crossed_heads

    with transaction.atomic():
        _locked_head()
        known = crossed_heads()
        now_known = {**known, **heads}  # a stream whose files are gone stays named, so that somebody asks where it is
        if now_known == known:
            return None
        streams = {name: {"seq": seq, "chain": chain.hex()} for name, (seq, chain) in sorted(now_known.items())}
        return append("heads.crossed", actor="job:cross heads", data={"streams": streams}, now=now)


def _locked_head() -> Head:
    """The head's row, ours until the transaction ends (on SQLite the transaction itself is the lock)."""
    head = _HEADS.first("WHERE id = 1", lock=True)
    if head is None:
        Head.objects.get_or_create(pk=1, defaults={"hash": GENESIS})
        head = Head.objects.select_for_update().get(pk=1)
    return head


def _next_id(head: Head, at: datetime) -> UUID:
    """A UUIDv7 that sorts after the one before, whatever the clock did."""
    new = IdSource().new(at)
    if head.last_id is None or new > head.last_id:
        return new
    last = head.last_id
    millisecond = int(time_of(last).timestamp() * 1000)
    return max(uuid7(millisecond + 1, 0, new.int & 0xFFFF_FFFF), new)
