"""Deciding at the review desk: one answer a message, taken back while nothing was done because of it.

Whoever decides shows the lease by which they hold the message (`services.review_queue`); the same lease twice gives the
same answer, so that a repeated request does nothing twice.

What a held message's decision does is done by whoever follows the control stream (`message.released`,
`message.refused`); `mark_acted` says that it was done, and from then on there is no way back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from mingbai.contexts.audit import services as audit
from mingbai.contexts.audit.statements import Table
from mingbai.contexts.messaging import policy
from mingbai.contexts.messaging.models.review import (
    DecisionSource,
    ItemKind,
    ItemState,
    LabelSource,
    ReviewDecision,
    ReviewItem,
)
from mingbai.contexts.messaging.services.appeals import ToFree, answer_appeal, to_free, withdraw_answer
from mingbai.contexts.messaging.services.labels import record_label, withdraw_label
from mingbai.contexts.messaging.services.review_queue import ITEMS, ONCE, LeaseLost, lease_to, put, take_now, why_lost
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.policy import Reach
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.verdicts import Category, Verdict
from mingbai.settings import ReviewSettings

UNDO_S: Final = 120  # a slip is noticed at once; later, another decision is the honest way
_MIN_ANSWER: Final = 5
_MAX_NOTE: Final = 500
_DECISIONS: Final = Table(ReviewDecision)  # why: audit.statements
_SOURCE: Final = {
    ItemKind.HELD: LabelSource.REVIEW,
    ItemKind.FLAGGED: LabelSource.REVIEW,
    ItemKind.SECOND: LabelSource.SECOND,
    ItemKind.APPEAL: LabelSource.APPEAL,
}


class NothingToUndo(MingbaiError):
    """There is no decision that can be taken back. why: none, too_late, acted, second, deadline."""

    code = "nothing_to_undo"
    template = "there is nothing to undo ({why})"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says about a message."""

    verdict: Verdict
    category: Category
    note: str = ""
    ask_second: bool = False


# -- deciding


def decide(
    item_id: int,
    account: Account,
    lease: UUID,
    answer: Answer,
    *,
    now: datetime,
    review: ReviewSettings,
    actor: str = "",
) -> ReviewDecision:
    """Decide a message. The same lease again gives the same decision, whatever it says.

    actor: as the entry names who decided, such as a token; "" for the account.
    Raises LeaseLost (nothing was recorded), BadValue where an appeal is answered without words, ScreenerUnavailable
    where one is upheld and nobody can say what its exception is.
    """
    freed = _what_it_frees(item_id, account, lease, answer)
    with transaction.atomic():
        decision, entry = _decide(item_id, account, lease, answer, freed, actor or account.ref, now, review)
        _append(entry, now)
    return decision


def decide_and_take(
    item_id: int,
    account: Account,
    lease: UUID,
    answer: Answer,
    *,
    now: datetime,
    review: ReviewSettings,
    reach: Reach,
    queue: str = "",
) -> tuple[ReviewDecision, ReviewItem | None]:
    """`decide`, then `take`, in one transaction: one sync to the disk for each message that a person works on."""
    freed = _what_it_frees(item_id, account, lease, answer)
    with transaction.atomic():
        decision, entry = _decide(item_id, account, lease, answer, freed, account.ref, now, review)
        following = take_now(account, now, review, reach, queue)
        _append(entry, now)  # last: the chain's head is locked from here on
    return decision, following


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: str
    actor: str
    subject: str
    data: dict[str, object]


def _append(entry: _Entry | None, now: datetime) -> None:
    if entry is not None:
        audit.append(entry.kind, actor=entry.actor, subject=entry.subject, data=entry.data, now=now)


def _what_it_frees(item_id: int, account: Account, lease: UUID, answer: Answer) -> ToFree | None:
    """Of an answer that upholds an appeal. Appeals are answered with words: other decisions ask nothing here."""
    if answer.verdict != Verdict.ALLOW or not _says_something(answer.note):
        return None
    mine = ReviewItem.objects.filter(pk=item_id, holder=account, lease=lease, kind=ItemKind.APPEAL).first()
    return None if mine is None else to_free(mine)


def _says_something(note: str) -> bool:
    return len(" ".join(note.split())) >= _MIN_ANSWER


def _decide(
    item_id: int,
    account: Account,
    lease: UUID,
    answer: Answer,
    freed: ToFree | None,
    actor: str,
    now: datetime,
    review: ReviewSettings,
) -> tuple[ReviewDecision, _Entry | None]:
    item = ITEMS.first("WHERE id = %s", item_id, lock=True)
    if item is None or item.state != ItemState.TAKEN or item.lease != lease or item.holder_id != account.pk:
        known = ReviewDecision.objects.filter(lease=lease, account=account, item_id=item_id).first()
        if known is None:
            raise LeaseLost(why=why_lost(item))
        return known, None
    note = answer.note.strip()[:_MAX_NOTE]
    if item.kind == ItemKind.APPEAL and not _says_something(note):
        expected = f"a reason for the appellant, {_MIN_ANSWER} characters or more"
        raise BadValue(field="note", value=note, expected=expected)
    decision = ReviewDecision(
        item=item, kind=item.kind, source=DecisionSource.PERSON, account=account, lease=lease,
        verdict=int(answer.verdict), category=int(answer.category), note=note, at=now,
        seconds=None if item.taken_at is None else (now - item.taken_at).total_seconds(),
    )  # fmt: skip
    if item.kind == ItemKind.SECOND and item.first is not None:
        decision.is_right = (item.first.verdict, item.first.category) == (decision.verdict, decision.category)
    elif item.kind == ItemKind.GOLD and item.gold is not None:
        decision.is_right = (item.gold.verdict, item.gold.category) == (decision.verdict, decision.category)
    _DECISIONS.insert(decision)
    put(item, ItemState.DONE)
    _label(item, decision, account.ref, now)
    if item.kind in (ItemKind.HELD, ItemKind.FLAGGED) and (
        answer.ask_second or policy.is_sampled(str(item.entry_id), "second", review.second_opinion_percent)
    ):
        _ask_second(item, decision, account, now)
    told = facts(item, decision)
    if item.kind == ItemKind.APPEAL:
        told |= answer_appeal(item, decision, account, freed, actor=actor, now=now)
    return decision, _Entry(_entry_kind(item.kind, answer.verdict), actor, item.subject, told)


def _entry_kind(kind: str, verdict: int) -> str:
    if kind == ItemKind.HELD:
        return "message.released" if verdict == Verdict.ALLOW else "message.refused"
    return "appeal.answered" if kind == ItemKind.APPEAL else "message.reviewed"


def facts(item: ReviewItem, decision: ReviewDecision) -> dict[str, object]:
    """What an entry says about a decision: enough to act on it and to find it."""
    return {
        "stream": item.stream,
        "seq": item.seq,
        "verdict": Verdict(decision.verdict).label,
        "category": Category(decision.category).label,
        "by": decision.source,
        "kind": item.kind,
        "decision": str(decision.id),
    }


def _label(item: ReviewItem, decision: ReviewDecision, by: str, now: datetime) -> None:
    source = _SOURCE.get(ItemKind(item.kind))
    if source is not None:
        record_label(
            stream=item.stream, seq=item.seq, entry_id=item.entry_id, verdict=decision.verdict,
            category=decision.category, source=source, by=by, now=now, text_hash=item.text_hash, campaign=item.campaign,
        )  # fmt: skip


def _ask_second(item: ReviewItem, decision: ReviewDecision, account: Account, now: datetime) -> None:
    """The same message for somebody else, who does not see the first answer nor that there is one."""
    ReviewItem.objects.create(
        kind=ItemKind.SECOND, stream=item.stream, seq=item.seq, entry_id=item.entry_id, at=item.at,
        access_code=item.access_code, verdict=item.verdict, category=item.category, score=item.score,
        campaign=item.campaign, text_hash=item.text_hash, receiver=item.receiver, language=item.language,
        queue=policy.queue_name(ItemKind.SECOND, item.category, item.language),
        priority=policy.PRIORITY["second"], due=now, queued_at=now, not_for=account, first=decision,
    )  # fmt: skip


def undo(account: Account, *, now: datetime, review: ReviewSettings, actor: str = "") -> ReviewItem:
    """Take back this person's last decision; they hold the message again. Raises NothingToUndo."""
    actor = actor or account.ref
    with transaction.atomic():
        decision = (
            ReviewDecision.objects.filter(account=account, source=DecisionSource.PERSON, undone_at=None)
            .order_by("-at")
            .first()
        )
        if decision is None:
            raise NothingToUndo(why="none")
        item = ReviewItem.objects.select_for_update().get(pk=decision.item_id)
        decision = ReviewDecision.objects.select_for_update().get(pk=decision.pk)
        if decision.undone_at is not None:
            raise NothingToUndo(why="none")
        if now - decision.at > timedelta(seconds=UNDO_S):
            raise NothingToUndo(why="too_late")
        if decision.acted_at is not None:
            raise NothingToUndo(why="acted")
        if item.kind == ItemKind.HELD and item.deadline is not None and item.deadline <= now:
            raise NothingToUndo(why="deadline")
        seconds = decision.second_items.select_for_update()
        if any(second.state == ItemState.DONE for second in seconds):
            raise NothingToUndo(why="second")
        seconds.all().delete()
        _undone(item, decision, actor, now)
        lease_to(item, account, now, now + timedelta(seconds=review.lease_s))
        audit.append("review.undone", actor=actor, subject=item.subject, data=facts(item, decision), now=now)
    return item


def _undone(item: ReviewItem, decision: ReviewDecision, actor: str, now: datetime) -> None:
    decision.undone_at = now
    decision.save(update_fields=("undone_at",))
    source = _SOURCE.get(ItemKind(item.kind))
    if source is not None:
        withdraw_label(item.entry_id, source, now=now)
    if item.kind == ItemKind.APPEAL:
        withdraw_answer(item, decision, actor=actor, now=now)


def mark_acted(decision_ids: Iterable[UUID], *, now: datetime) -> int:
    """Their messages were sent, or their senders told: they cannot be undone any more. Returns how many were new.

    For the follower of `message.released` and `message.refused`, which writes its own entry.
    """
    found = ReviewDecision.objects.filter(pk__in=list(decision_ids), acted_at=None, undone_at=None)
    return found.update(acted_at=now)


# -- without a person


def apply_deadlines(*, now: datetime) -> int:
    """Held messages whose time is over get what their class says. Returns how many."""
    with transaction.atomic():
        late = list(
            ReviewItem.objects.select_for_update(skip_locked=True)
            .filter(kind=ItemKind.HELD, deadline__lte=now)
            .exclude(state=ItemState.DONE)
            .order_by("deadline")[:ONCE]
        )
        decisions = []
        for item in late:
            then = policy.HOLD_RULES[policy.HoldClass(item.hold_class)].then
            decisions.append(
                ReviewDecision(
                    item=item, kind=item.kind, source=DecisionSource.RULE, verdict=int(then),
                    category=item.category, at=now,
                )
            )  # fmt: skip
        ReviewDecision.objects.bulk_create(decisions)
        ReviewItem.objects.filter(pk__in=[item.pk for item in late]).update(
            state=ItemState.DONE, holder=None, lease=None, lease_until=None
        )
        for item, decision in zip(late, decisions, strict=True):
            data = facts(item, decision) | {"class": item.hold_class, "deadline": item.deadline and str(item.deadline)}
            kind = _entry_kind(item.kind, decision.verdict)
            audit.append(kind, actor="job:deadlines", subject=item.subject, data=data, now=now)
    return len(late)
