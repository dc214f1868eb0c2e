"""The review desk: messages come from the ledger, go to one person at a time, and leave with one decision.

A person holds a message by a *lease*: a random token with an end. Whoever decides shows it, so that a late answer never
overwrites another's; the same token twice gives the same answer, so that a repeated request does nothing twice. All of
this rests on row locks within one transaction: on PostgreSQL `SKIP LOCKED` lets everybody take another row, on SQLite a
write transaction is alone anyway.

What a held message's decision does is done by whoever follows the control stream (`message.released`,
`message.refused`); `mark_acted` says that it was done, and from then on there is no way back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import Q, Value
from django.db.models.functions import Concat, Length, Substr

from mingbai.connectors.ledger_index import Hit
from mingbai.contexts.audit import services as audit
from mingbai.contexts.audit.statements import Table
from mingbai.contexts.messaging import policy
from mingbai.contexts.messaging.models.review import (
    Appeal,
    DecisionSource,
    ItemKind,
    ItemState,
    LabelSource,
    LedgerCursor,
    ReviewDecision,
    ReviewItem,
)
from mingbai.contexts.messaging.models.review import Gold as GoldMessage
from mingbai.contexts.messaging.services.labels import record_label, withdraw_label
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.policy import Reach
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.verdicts import Category, Verdict
from mingbai.settings import ReviewSettings

FOLLOWER: Final = "review"
UNDO_S: Final = 120  # a slip is noticed at once; later, another decision is the honest way
LONGEST_LOOK_S: Final = 900  # a page left open overnight keeps nothing
_GOLD_NOT_BEFORE: Final = timedelta(seconds=60)  # no test while somebody's message is about to run out of time
_MIN_ANSWER: Final = 5
_MAX_NOTE: Final = 500
ONCE: Final = 500  # rows a turn of a job

# What each decision asks and writes is written here once (why: audit.statements).
_ITEMS, _DECISIONS = Table(ReviewItem), Table(ReviewDecision)
_MINE: Final = "WHERE holder_id = %s AND state = 'taken' ORDER BY taken_at DESC LIMIT 1"
_NEXT: Final = (
    "WHERE state = 'waiting' AND (not_for_id IS NULL OR not_for_id <> %s)"
    " AND (skipped_by_id IS NULL OR skipped_by_id <> %s) ORDER BY priority, due, id LIMIT 1"
)
_SOURCE: Final = {
    ItemKind.HELD: LabelSource.REVIEW,
    ItemKind.FLAGGED: LabelSource.REVIEW,
    ItemKind.SECOND: LabelSource.SECOND,
    ItemKind.APPEAL: LabelSource.APPEAL,
}


class LeaseLost(MingbaiError):
    """The message is not this person's any more. why: returned, rule, campaign, decided, gone."""

    code = "lease_lost"
    template = "this message is no longer yours ({why}); your answer was not recorded"


class NothingToUndo(MingbaiError):
    """There is no decision that can be taken back. why: none, too_late, acted, second, deadline."""

    code = "nothing_to_undo"
    template = "there is nothing to undo ({why})"


class AppealOpen(MingbaiError):
    """An appeal about this message is waiting already."""

    code = "appeal_open"
    template = "an appeal about message {message} waits for its answer already"


@dataclass(frozen=True, slots=True)
class Screened:
    """A decision of the machine, as the ledger has it, without text and numbers. category, verdict: codes."""

    seq: int
    entry_id: UUID
    at: datetime
    verdict: int
    category: int
    score: float
    reasons: tuple[int, ...] = ()
    access_code: str = ""
    campaign: str = ""
    text_hash: str = ""
    receiver: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says about a message."""

    verdict: Verdict
    category: Category
    note: str = ""
    ask_second: bool = False


def without_language(limit: int) -> list[tuple[int, str, int]]:
    """Items whose language was not looked at yet, as (id, stream, seq): those that come next, first."""
    found = ReviewItem.objects.filter(language="").exclude(state=ItemState.DONE).order_by("priority", "due")
    return list(found.values_list("pk", "stream", "seq")[:limit])


def set_languages(found: Mapping[int, str]) -> None:
    """Item -> language. No entry: nobody decided anything."""
    by_language: dict[str, list[int]] = {}
    for item_id, language in found.items():
        by_language.setdefault(language, []).append(item_id)
    with transaction.atomic():
        for language, ids in by_language.items():
            chosen = ReviewItem.objects.filter(pk__in=ids)
            chosen.update(language=language, queue=Concat(Substr("queue", 1, Length("queue") - 1), Value(language)))


def screened_of(hit: Hit, language: str = "") -> Screened:
    """What the desk keeps of a decision."""
    return Screened(
        seq=hit.seq, entry_id=hit.id, at=hit.at, verdict=hit.verdict, category=hit.category, score=hit.score,
        reasons=hit.reasons, access_code=hit.access_code or "", language=language,
        campaign=f"{hit.campaign:016x}" if hit.campaign else "",
        text_hash=hit.text_hash.hex() if hit.text_hash else "",
        receiver=hit.receiver.hex() if hit.receiver else "",
    )  # fmt: skip


# -- from the ledger


def cursor_of(stream: str) -> int:
    """The seq from which the desk goes on reading."""
    found = LedgerCursor.objects.filter(name=FOLLOWER, stream=stream).first()
    return 1 if found is None else found.next_seq


def queue_screened(
    stream: str, rows: Sequence[Screened], *, first_seq: int, next_seq: int, now: datetime, review: ReviewSettings
) -> bool:
    """Queue what a person has to see of the entries `first_seq` to `next_seq - 1`, and remember to go on from there.

    False: another follower was here first, nothing was done. No entry: what is queued is a view of the ledger.
    """
    with transaction.atomic():
        cursor, _ = LedgerCursor.objects.select_for_update().get_or_create(name=FOLLOWER, stream=stream)
        if cursor.next_seq != first_seq:
            return False
        items = [
            _new_item(stream, row, ItemKind.HELD if row.verdict == Verdict.HOLD else ItemKind.FLAGGED, now, review)
            for row in rows
            if row.verdict == Verdict.HOLD or (row.verdict == Verdict.FLAG and review.flagged)
        ]
        ReviewItem.objects.bulk_create(items, batch_size=200)
        cursor.next_seq = next_seq
        cursor.save(update_fields=("next_seq",))
    return True


def _new_item(
    stream: str, row: Screened, kind: ItemKind, now: datetime, review: ReviewSettings | None = None
) -> ReviewItem:
    item = ReviewItem(
        kind=kind,
        stream=stream,
        seq=row.seq,
        entry_id=row.entry_id,
        at=row.at,
        access_code=row.access_code[:64],
        verdict=int(row.verdict),
        category=int(row.category),
        score=float(row.score),
        campaign=row.campaign,
        text_hash=row.text_hash,
        receiver=row.receiver,
        language=row.language,
        queue=policy.queue_name(kind, row.category, row.language),
        priority=policy.PRIORITY[kind],
        due=row.at,
        queued_at=now,
    )
    if kind == ItemKind.HELD and review is not None:
        which = policy.hold_class(row.category, row.reasons)
        item.hold_class = which
        item.deadline = item.due = row.at + policy.hold_limit(which, review.hold_minutes)
    return item


def open_appeal(hit: Hit, *, words: str, by: str, now: datetime, language: str = "") -> Appeal:
    """Somebody says that this message was wrongly stopped: a person answers within a day.

    by: as entries name the appellant. Raises BadValue for words that say nothing, AppealOpen if one waits already.
    """
    row = screened_of(hit, language)
    if not _MIN_ANSWER <= len(words.strip()) <= 4000:
        raise BadValue(field="words", value=words.strip()[:40], expected=f"{_MIN_ANSWER} to 4000 characters")
    with transaction.atomic():
        waiting = ReviewItem.objects.filter(kind=ItemKind.APPEAL, entry_id=row.entry_id).exclude(state=ItemState.DONE)
        if waiting.exists():
            raise AppealOpen(message=str(row.entry_id))
        item = _new_item(hit.stream, row, ItemKind.APPEAL, now)
        item.deadline = item.due = now + timedelta(hours=policy.APPEAL_HOURS)
        item.save(force_insert=True)
        appeal = Appeal.objects.create(item=item, words=words.strip(), by=by, at=now)
        data = {"appeal": str(appeal.id), "stream": hit.stream, "seq": hit.seq}
        audit.append("appeal.opened", actor=by, subject=item.subject, data=data, now=now)
    return appeal


# -- giving out


def take(
    account: Account, *, now: datetime, review: ReviewSettings, reach: Reach, queue: str = ""
) -> ReviewItem | None:
    """The message that this person works on now: the one they hold, else the next one; None: nothing waits for them.

    queue: `kind.category.language` or its beginning; "" for everything within the person's skills. A lease is no
    entry: each ends in one, as a decision, a skip or a return.
    """
    with transaction.atomic():
        return _take(account, now, review, reach, queue)


def _take(account: Account, now: datetime, review: ReviewSettings, reach: Reach, queue: str) -> ReviewItem | None:
    lease_until = now + timedelta(seconds=review.lease_s)
    mine = _ITEMS.first(_MINE, account.pk, lock=True)
    if mine is not None:
        if mine.lease_until is None or mine.lease_until < lease_until:
            mine.lease_until = lease_until
            _ITEMS.update(mine, "lease_until")
        return mine
    item = _next(account, reach, queue)
    if item is None:
        return None
    gold = _gold_instead(item, account, now, review)
    return lease_to(gold or item, account, now, lease_until)


def _next(account: Account, reach: Reach, queue: str) -> ReviewItem | None:
    """The waiting message that comes next for this person, locked."""
    if reach.is_all and not queue and not policy.skill_of(account.skills).is_limited:
        return _ITEMS.first(_NEXT, account.pk, account.pk, skip_locked=True)
    waiting = (
        ReviewItem.objects.select_for_update(skip_locked=True)
        .filter(state=ItemState.WAITING)
        .order_by("priority", "due", "id")
    )
    return waiting.filter(_for_whom(account, reach), _of_queue(account, queue)).first()


def lease_to(item: ReviewItem, account: Account, now: datetime, until: datetime) -> ReviewItem:
    item.state, item.holder, item.lease, item.taken_at, item.lease_until = (
        ItemState.TAKEN, account, uuid4(), now, until,
    )  # fmt: skip
    if item._state.adding:
        item.save(force_insert=True)
    else:
        _ITEMS.update(item, "state", "holder_id", "lease", "taken_at", "lease_until")
    return item


def _for_whom(account: Account, reach: Reach) -> Q:
    given = Q(not_for=None) | ~Q(not_for=account)
    given &= Q(skipped_by=None) | ~Q(skipped_by=account)
    return given & within(reach)


def within(reach: Reach) -> Q:
    """Items that a right covers."""
    if reach.is_all:
        return Q()
    chosen = Q(pk__in=())
    for prefix in reach.access_codes:
        chosen |= Q(access_code__startswith=prefix)
    return chosen


def _of_queue(account: Account, queue: str) -> Q:
    chosen = Q()
    if queue:
        kind, category, language = (*queue.split("."), "", "")[:3]
        if kind:
            chosen &= Q(kind=kind)
        if category:
            chosen &= Q(category=_category_code(category))
        if language:
            chosen &= Q(language=language)
        return chosen
    skill = policy.skill_of(account.skills)
    if skill.categories:
        chosen &= Q(category__in=[_category_code(word) for word in skill.categories])
    if skill.languages:
        chosen &= Q(language__in=[*skill.languages, "", "-"])
    return chosen


def _category_code(label: str) -> int:
    if label not in policy.CATEGORIES:
        raise BadValue(field="queue", value=label[:40], expected=f"a category: {', '.join(policy.CATEGORIES)}")
    return int(Category[label.upper()])


def _gold_instead(item: ReviewItem, account: Account, now: datetime, review: ReviewSettings) -> ReviewItem | None:
    """Now and then a message whose answer is known, looking like the one it stands for."""
    if not policy.is_sampled(f"{account.pk}:{item.pk}", "gold", review.gold_percent):
        return None
    if item.deadline is not None and item.deadline < now + _GOLD_NOT_BEFORE:
        return None
    last = ReviewDecision.objects.filter(account=account).order_by("-at").first()
    if last is not None and last.kind == ItemKind.GOLD:  # else one message would bring them all
        return None
    gold = (
        GoldMessage.objects.filter(is_active=True)
        .exclude(items__decisions__account=account)
        .exclude(by=account)
        .order_by("?")
        .first()
    )
    if gold is None:
        return None
    like = ReviewItem.objects.filter(entry_id=gold.entry_id, kind__in=(ItemKind.HELD, ItemKind.FLAGGED)).first()
    if like is None:
        return None
    return ReviewItem(
        kind=ItemKind.GOLD, stream=gold.stream, seq=gold.seq, entry_id=gold.entry_id, at=like.at,
        access_code=like.access_code, verdict=like.verdict, category=like.category, score=like.score,
        campaign=like.campaign, text_hash=like.text_hash, language=like.language,
        queue=policy.queue_name(ItemKind.GOLD, like.category, like.language),
        priority=policy.PRIORITY["gold"], due=now, queued_at=now, gold=gold,
    )  # fmt: skip


def renew(item_id: int, account: Account, lease: UUID, *, now: datetime, review: ReviewSettings) -> bool:
    """The page is still open. False: the message is not theirs any more, or was looked at for too long."""
    since = now - timedelta(seconds=LONGEST_LOOK_S)
    return bool(
        ReviewItem.objects.filter(
            pk=item_id, holder=account, lease=lease, state=ItemState.TAKEN, taken_at__gt=since
        ).update(lease_until=now + timedelta(seconds=review.lease_s))
    )


def skip(item_id: int, account: Account, lease: UUID, *, now: datetime) -> None:
    """Give the message back; this person does not get it again. Raises LeaseLost."""
    with transaction.atomic():
        item = _held(item_id, account, lease)
        item.skipped_by = account
        _give_back(item, account.ref, "review.skipped", now)


def return_lease(item_id: int, *, actor: str, now: datetime) -> None:
    """A team lead takes a message from whoever holds it; it goes to its queue. Raises LeaseLost if nobody does."""
    with transaction.atomic():
        item = ReviewItem.objects.select_for_update().filter(pk=item_id, state=ItemState.TAKEN).first()
        if item is None:
            raise LeaseLost(why="gone")
        _give_back(item, actor, "lease.returned", now)


def return_leases_of(account: Account, *, now: datetime) -> int:
    """Everything that somebody who leaves still holds goes back. Returns how many."""
    with transaction.atomic():
        held = list(ReviewItem.objects.select_for_update().filter(holder=account, state=ItemState.TAKEN))
        for item in held:
            _give_back(item, account.ref, "lease.returned", now)
    return len(held)


def return_expired(*, now: datetime) -> int:
    """Leases whose time is over go back to their queues. Returns how many."""
    with transaction.atomic():
        expired = list(
            ReviewItem.objects.select_for_update(skip_locked=True).filter(state=ItemState.TAKEN, lease_until__lte=now)[
                :ONCE
            ]
        )
        for item in expired:
            _give_back(item, "job:leases", "lease.returned", now)
    return len(expired)


def _give_back(item: ReviewItem, actor: str, kind: str, now: datetime) -> None:
    holder, subject, pk = item.holder_id, item.subject, item.pk
    if item.kind == ItemKind.GOLD:
        item.delete()  # nobody waits for it
    else:
        _put(item, ItemState.WAITING, "skipped_by_id")
    audit.append(kind, actor=actor, subject=subject, data={"item": pk, "holder": str(holder)}, now=now)


def _put(item: ReviewItem, state: ItemState, *more: str) -> None:
    item.state, item.holder, item.lease, item.lease_until = state, None, None, None
    _ITEMS.update(item, "state", "holder_id", "lease", "lease_until", *more)


def _held(item_id: int, account: Account, lease: UUID) -> ReviewItem:
    """The item, locked. Raises LeaseLost where this lease does not hold it."""
    item = _ITEMS.first("WHERE id = %s", item_id, lock=True)
    if item is None or item.state != ItemState.TAKEN or item.lease != lease or item.holder_id != account.pk:
        raise LeaseLost(why=_why_lost(item))
    return item


def _why_lost(item: ReviewItem | None) -> str:
    if item is None:
        return "gone"
    if item.state != ItemState.DONE:
        return "returned"
    last = item.decisions.filter(undone_at=None).order_by("-at").first()
    return {DecisionSource.RULE: "rule", DecisionSource.CAMPAIGN: "campaign"}.get(
        DecisionSource(last.source) if last is not None else DecisionSource.PERSON, "decided"
    )


# -- deciding


def decide(
    item_id: int, account: Account, lease: UUID, answer: Answer, *, now: datetime, review: ReviewSettings
) -> ReviewDecision:
    """Decide a message. The same lease again gives the same decision, whatever it says.

    Raises LeaseLost (nothing was recorded), BadValue where an appeal is answered without words.
    """
    with transaction.atomic():
        decision, entry = _decide(item_id, account, lease, answer, now, review)
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
    with transaction.atomic():
        decision, entry = _decide(item_id, account, lease, answer, now, review)
        following = _take(account, now, review, reach, queue)
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


def _decide(
    item_id: int, account: Account, lease: UUID, answer: Answer, now: datetime, review: ReviewSettings
) -> tuple[ReviewDecision, _Entry | None]:
    item = _ITEMS.first("WHERE id = %s", item_id, lock=True)
    if item is None or item.state != ItemState.TAKEN or item.lease != lease or item.holder_id != account.pk:
        known = ReviewDecision.objects.filter(lease=lease, account=account, item_id=item_id).first()
        if known is None:
            raise LeaseLost(why=_why_lost(item))
        return known, None
    note = answer.note.strip()[:_MAX_NOTE]
    if item.kind == ItemKind.APPEAL and len(note) < _MIN_ANSWER:
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
    _put(item, ItemState.DONE)
    _label(item, decision, account.ref, now)
    if item.kind in (ItemKind.HELD, ItemKind.FLAGGED) and (
        answer.ask_second or policy.is_sampled(str(item.entry_id), "second", review.second_opinion_percent)
    ):
        _ask_second(item, decision, account, now)
    if item.kind == ItemKind.APPEAL:
        Appeal.objects.filter(item=item).update(answer=note, is_upheld=answer.verdict == Verdict.ALLOW, answered_at=now)
    return decision, _Entry(_entry_kind(item.kind, answer.verdict), account.ref, item.subject, facts(item, decision))


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


def undo(account: Account, *, now: datetime, review: ReviewSettings) -> ReviewItem:
    """Take back this person's last decision; they hold the message again. Raises NothingToUndo."""
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
        _undone(item, decision, now)
        lease_to(item, account, now, now + timedelta(seconds=review.lease_s))
        audit.append("review.undone", actor=account.ref, subject=item.subject, data=facts(item, decision), now=now)
    return item


def _undone(item: ReviewItem, decision: ReviewDecision, now: datetime) -> None:
    decision.undone_at = now
    decision.save(update_fields=("undone_at",))
    source = _SOURCE.get(ItemKind(item.kind))
    if source is not None:
        withdraw_label(item.entry_id, source, now=now)
    if item.kind == ItemKind.APPEAL:
        Appeal.objects.filter(item=item).update(answer="", is_upheld=None, answered_at=None)


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
