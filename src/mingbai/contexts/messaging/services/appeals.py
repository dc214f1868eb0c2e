"""Appeals: somebody says that a message was wrongly stopped, and a person at the review desk answers.

An appeal that is upheld frees the message as `services.freeing` does from a page: exactly it passes for a while, and
whoever answered owns the exception. Its key has the reading, the links, the contact numbers, the sender and the access
code, all from the ledger and none from the appellant, so that an appeal opens the door to no other message. Where the
original is no longer kept there is no key: then the answer stands, and the appeal says that no exception was made.

The appellant's words are personal data: `held` and `erase` serve requests about them (`people.services.data_requests`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import QuerySet

from mingbai.connectors.ledger_index import Hit
from mingbai.contexts.audit import services as audit
from mingbai.contexts.messaging import policy
from mingbai.contexts.messaging.models import Freed
from mingbai.contexts.messaging.models.review import Appeal, ItemKind, ItemState, ReviewDecision, ReviewItem
from mingbai.contexts.messaging.queries.freed import Freeable, freeable
from mingbai.contexts.messaging.queries.traffic import hit_of, index, installed_settings
from mingbai.contexts.messaging.services import freeing
from mingbai.contexts.messaging.services.review_queue import new_item, screened_of
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.queries import refs_of
from mingbai.kernel.clock import format_utc
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.verdicts import Verdict

MIN_WORDS: Final = 5
MAX_WORDS: Final = 4000
ENTRY_GONE: Final = "entry_gone"  # beside the codes of `Freeable.why_not`
FREED_ALREADY: Final = "freed_already"


class AppealOpen(MingbaiError):
    """An appeal about this message is waiting already."""

    code = "appeal_open"
    template = "an appeal about message {message} waits for its answer already"


def open_appeal(hit: Hit, *, words: str, by: str, now: datetime, language: str = "") -> Appeal:
    """Somebody says that this message was wrongly stopped: a person answers within a day.

    by: as entries name the appellant. Raises BadValue for words that say nothing, AppealOpen if one waits already.
    """
    row = screened_of(hit, language)
    if not MIN_WORDS <= len(words.strip()) <= MAX_WORDS:
        raise BadValue(field="words", value=words.strip()[:40], expected=f"{MIN_WORDS} to {MAX_WORDS} characters")
    with transaction.atomic():
        waiting = ReviewItem.objects.filter(kind=ItemKind.APPEAL, entry_id=row.entry_id).exclude(state=ItemState.DONE)
        if waiting.exists():
            raise AppealOpen(message=str(row.entry_id))
        item = new_item(hit.stream, row, ItemKind.APPEAL, now)
        item.deadline = item.due = now + timedelta(hours=policy.APPEAL_HOURS)
        item.save(force_insert=True)
        appeal = Appeal.objects.create(item=item, words=words.strip(), by=by, at=now)
        data = {"appeal": str(appeal.id), "stream": hit.stream, "seq": hit.seq}
        audit.append("appeal.opened", actor=by, subject=item.subject, data=data, now=now)
    return appeal


# -- the answer


@dataclass(frozen=True, slots=True)
class ToFree:
    """What upholding an appeal frees: the decision and its key, or why there is none."""

    hit: Hit | None
    found: Freeable | None


def to_free(item: ReviewItem) -> ToFree:
    """Read the original and ask the screener, before the transaction: nobody shall wait for the screener in it.

    Raises what `ScreeningClient.free_key` raises: an appeal is upheld with its exception, or a moment later.
    """
    decision = index().decision(item.stream, item.seq)
    if decision is None:
        return ToFree(None, None)
    hit = hit_of(decision)
    return ToFree(hit, freeable(hit, decision)) if hit.id == item.entry_id else ToFree(None, None)


def answer_appeal(
    item: ReviewItem, decision: ReviewDecision, account: Account, freed: ToFree | None, *, actor: str, now: datetime
) -> dict[str, object]:
    """Keep the answer, and free the message if it is upheld. Part of the caller's transaction.

    freed: of an answer that upholds. Returns what the entry of the answer says about the exception.
    """
    is_upheld = decision.verdict == Verdict.ALLOW
    appeal = Appeal.objects.select_for_update().get(item=item)
    appeal.answer, appeal.is_upheld, appeal.answered_at, appeal.no_exception = decision.note, is_upheld, now, ""
    told: dict[str, object] = {"appeal": str(appeal.id)}
    if is_upheld:
        if freed is None or freed.hit is None or freed.found is None:
            appeal.no_exception = ENTRY_GONE
        elif freed.found.key is None:
            appeal.no_exception = freed.found.why_not
        else:
            try:
                row = freeing.free_message(
                    freed.hit, freed.found.key, owner_id=account.pk, reason=decision.note,
                    days=freeing.DEFAULT_DAYS, hosts=freed.found.hosts, data_dir=installed_settings().data, now=now,
                    actor=actor, decision=decision,
                )  # fmt: skip
                told["exception"] = str(row.id)
            except freeing.FreedAlready:
                appeal.no_exception = FREED_ALREADY
        if appeal.no_exception:
            told["no_exception"] = appeal.no_exception
    appeal.save(update_fields=("answer", "is_upheld", "answered_at", "no_exception"))
    return told


def withdraw_answer(item: ReviewItem, decision: ReviewDecision, *, actor: str, now: datetime) -> None:
    """The answer is undone: the appeal waits again, and the exception that it made is over."""
    Appeal.objects.filter(item=item).update(answer="", is_upheld=None, answered_at=None, no_exception="")
    freeing.withdraw_exception(decision, actor=actor, data_dir=installed_settings().data, now=now)


# -- requests about personal data


def held(account: Account) -> list[dict[str, Any]]:  # Any: JSON values
    """What somebody wrote in appeals, and what they were answered."""
    return [
        {
            "appeal": str(row.id),
            "message": str(row.item.entry_id),
            "at": format_utc(row.at),
            "words": row.words,
            "answer": row.answer,
            "is_upheld": row.is_upheld,
            "answered_at": None if row.answered_at is None else format_utc(row.answered_at),
        }
        for row in _appeals_of(account).select_related("item")
    ]


def erase(account: Account, now: datetime) -> int:
    """Words of the appellant, and the answers to them, which may repeat them. That there was an appeal stays, with its
    outcome; so does an exception, which names its message only. Part of the caller's transaction and entry."""
    rows = _appeals_of(account)
    count = rows.count()
    decisions = ReviewDecision.objects.filter(item__appeal__in=rows)
    Freed.objects.filter(decision__in=decisions).update(reason="")
    decisions.update(note="")
    rows.update(words="", answer="")
    return count


def _appeals_of(account: Account) -> QuerySet[Appeal]:
    return Appeal.objects.filter(by__in=refs_of(account)).order_by("at")
