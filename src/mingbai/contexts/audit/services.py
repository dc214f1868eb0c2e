"""Appending to the control stream, in the caller's own transaction: state and entry commit or roll back together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from django.db import transaction

from mingbai.contexts.audit.models import Entry, Head
from mingbai.contexts.audit.policy import GENESIS, entry_hash
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.ids import IdSource, time_of, uuid7


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
    with transaction.atomic():
        head = _locked_head()
        at = now or utc_now()
        seq = head.seq + 1
        id = _next_id(head, at)
        digest = entry_hash(
            bytes(head.hash), seq=seq, id=id, at=at, kind=kind, actor=actor, subject=subject, data=given
        )
        entry = Entry.objects.create(
            seq=seq, id=id, at=at, kind=kind, actor=actor, subject=subject, data=given, hash=digest
        )
        head.seq, head.hash, head.last_id = seq, digest, id
        head.save(update_fields=("seq", "hash", "last_id"))
    return entry


def _locked_head() -> Head:
    """The head's row, ours until the transaction ends (on SQLite the transaction itself is the lock)."""
    head = Head.objects.select_for_update().filter(pk=1).first()
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
