"""Freeing a message that was wrongly stopped: exactly it passes until a day, its owner named.

The row is the truth, the published policy follows it: at once when the transaction commits, and again and again by the
job, so that a process that dies in between leaves nothing undone. What passes is one key (reading, links, contacts,
sender, access code): a changed link is another message and is screened anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import IntegrityError, transaction

from mingbai.connectors import policy_store
from mingbai.connectors.ledger_index import Hit
from mingbai.contexts.audit import services as audit
from mingbai.contexts.messaging.models import Freed
from mingbai.contexts.messaging.models.review import LabelSource, ReviewDecision
from mingbai.contexts.messaging.services.labels import record_label
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.verdicts import Category, Verdict

if TYPE_CHECKING:
    from mingbai.connectors.screening_client import FreeKey

DEFAULT_DAYS = 30
MAX_DAYS = 365
MIN_REASON = 5


class FreedAlready(MingbaiError):
    """An exception with the same key is in force."""

    code = "freed_already"
    template = "this message is freed already, until {until}"


def free_message(
    hit: Hit,
    key: FreeKey,
    *,
    owner_id: UUID,
    reason: str,
    days: int,
    hosts: Sequence[str],
    data_dir: Path,
    now: datetime,
    actor: str = "",
    decision: ReviewDecision | None = None,
) -> Freed:
    """Let exactly this message pass for `days` days. owner_id: of the account that answers for it; hosts: of its links,
    for the list of exceptions; actor: as the entry names who did it, "" for the owner.

    decision: the answer that upheld an appeal, which has its own label; its words are the appellant's to have erased,
    so that they stand with the exception and not in the entry.
    Raises BadValue (reason, days, a message that was not stopped), FreedAlready.
    """
    reason, actor = checked_reason(reason), actor or f"account:{owner_id}"
    if not 1 <= days <= MAX_DAYS:
        raise BadValue(field="days", value=days, expected=f"1 to {MAX_DAYS} days")
    if hit.verdict < Verdict.FLAG:
        raise BadValue(field="verdict", value=hit.verdict.label, expected="a message that was flagged, held or blocked")
    _end_expired(now=now)
    expires_at = now + timedelta(days=days)
    try:
        with transaction.atomic():
            row = Freed.objects.create(
                key=key.key, entry_id=hit.id, stream=hit.stream, seq=hit.seq, decided_at=hit.at,
                verdict=int(hit.verdict), category=int(hit.category), score=hit.score,
                rules=list(hit.rules), access_code=hit.access_code or "", links=list(hosts), owner_id=owner_id,
                reason=reason, created_at=now, expires_at=expires_at, decision=decision,
            )  # fmt: skip
            data: dict[str, object] = {
                "exception": str(row.id), "verdict": hit.verdict.label, "category": hit.category.label,
                "rules": list(hit.rules), "days": days, "expires_at": expires_at.isoformat(),
            }  # fmt: skip
            if decision is None:
                _record_label(hit, f"account:{owner_id}", now)
                data["reason"] = reason
            else:
                data |= {"by": "appeal", "decision": str(decision.id)}
            audit.append("message.freed", actor=actor, subject=message_ref(hit.id), data=data, now=now)
            transaction.on_commit(lambda: publish_exceptions(data_dir, now=now, by=actor))
    except IntegrityError:
        known = Freed.objects.filter(key=key.key, ended_at=None).first()
        if known is None:
            raise
        raise FreedAlready(until=known.expires_at.isoformat()) from None
    return row


def end_exception(id: UUID, *, actor: str, reason: str, data_dir: Path, now: datetime) -> Freed:
    """End an exception before its time: the message is screened like any other again. Ending it twice is ending it.

    Raises BadValue.
    """
    reason = checked_reason(reason)
    with transaction.atomic():
        row = Freed.objects.select_for_update().filter(pk=id).first()
        if row is None:
            raise BadValue(field="exception", value=str(id), expected="an exception that exists")
        if row.ended_at is None:
            row.ended_at, row.ended_by, row.end_reason = now, actor, reason
            row.save(update_fields=("ended_at", "ended_by", "end_reason"))
            data = {"exception": str(row.id), "reason": reason}
            audit.append("exception.ended", actor=actor, subject=message_ref(row.entry_id), data=data, now=now)
        transaction.on_commit(lambda: publish_exceptions(data_dir, now=now, by=actor))
    return row


def withdraw_exception(decision: ReviewDecision, *, actor: str, data_dir: Path, now: datetime) -> None:
    """The answer that made an exception was undone. Part of the caller's transaction."""
    for row in Freed.objects.select_for_update().filter(decision=decision, ended_at=None):
        row.ended_at, row.ended_by = now, actor
        row.save(update_fields=("ended_at", "ended_by"))
        data = {"exception": str(row.id), "by": "undo", "decision": str(decision.id)}
        audit.append("exception.ended", actor=actor, subject=message_ref(row.entry_id), data=data, now=now)
        transaction.on_commit(lambda: publish_exceptions(data_dir, now=now, by=actor))


def reconcile_exceptions(data_dir: Path, *, now: datetime) -> None:
    """What the job does: expired exceptions end, and the published policy is what the rows say."""
    _end_expired(now=now)
    publish_exceptions(data_dir, now=now, by="job:exceptions")


def publish_exceptions(data_dir: Path, *, now: datetime, by: str) -> None:
    """Publish every exception in force. Says nothing where that is what is published."""

    def in_force() -> list[policy_store.FreedMessage]:
        # Asked under the publication's lock: of two people who free at once, the later publication has both.
        rows = Freed.objects.filter(ended_at=None, expires_at__gt=now).order_by("pk")
        return [
            policy_store.FreedMessage(
                id=str(row.id),
                key=row.key,
                owner=f"account:{row.owner_id}",
                expires_at=row.expires_at,
                category=_legitimate(row.category),
            )
            for row in rows
        ]

    if Freed.objects.exists() or policy_store.current(data_dir) is not None:
        policy_store.publish(data_dir, now=now, by=by, exceptions=in_force)


def message_ref(id: UUID) -> str:
    """How entries name a message."""
    return f"message:{id}"


def checked_reason(reason: str) -> str:
    """Raises BadValue for a reason that says nothing."""
    text = " ".join(reason.split())
    if not MIN_REASON <= len(text) <= 500:
        raise BadValue(field="reason", value=text[:40], expected=f"{MIN_REASON} to 500 characters")
    return text


def _end_expired(*, now: datetime) -> None:
    for row in Freed.objects.filter(ended_at=None, expires_at__lte=now):
        with transaction.atomic():
            if Freed.objects.filter(pk=row.pk, ended_at=None).update(ended_at=now, ended_by="job:exceptions"):
                data = {"exception": str(row.id)}
                subject = message_ref(row.entry_id)
                audit.append("exception.expired", actor="job:exceptions", subject=subject, data=data, now=now)


def _legitimate(category: int) -> Category:
    """What a freed message is said to be: legitimate, whatever it was taken for."""
    return Category(category) if category in (Category.PERSONAL, Category.NOTIFICATION) else Category.NOTIFICATION


def _record_label(hit: Hit, actor: str, now: datetime) -> None:
    """A freed message is a reviewed one: it becomes training data."""
    record_label(
        stream=hit.stream, seq=hit.seq, entry_id=hit.id, verdict=int(Verdict.ALLOW),
        category=int(_legitimate(hit.category)), source=LabelSource.FREED, by=actor, now=now,
        text_hash=hit.text_hash.hex() if hit.text_hash else "", campaign=f"{hit.campaign:016x}" if hit.campaign else "",
    )  # fmt: skip
