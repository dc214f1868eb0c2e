"""The queues of the review desk: messages come in from the ledger, and go to one person at a time.

A person holds a message by a *lease*: a random token with an end. Whoever decides shows it (`services.review`), so that
a late answer never overwrites another's. All of this rests on row locks within one transaction: on PostgreSQL `SKIP
LOCKED` lets everybody take another row, on SQLite a write transaction is alone anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.db.models import Q, Value
from django.db.models.functions import Concat, Length, Substr

from mingbai.connectors.ledger_index import Hit
from mingbai.contexts.audit import services as audit
from mingbai.contexts.audit.statements import Table
from mingbai.contexts.messaging import policy
from mingbai.contexts.messaging.models.review import (
    DecisionSource,
    ItemKind,
    ItemState,
    LedgerCursor,
    ReviewDecision,
    ReviewItem,
)
from mingbai.contexts.messaging.models.review import Gold as GoldMessage
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.policy import Reach
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.verdicts import Category, Verdict
from mingbai.settings import ReviewSettings

FOLLOWER: Final = "review"
LONGEST_LOOK_S: Final = 900  # a page left open overnight keeps nothing
_GOLD_NOT_BEFORE: Final = timedelta(seconds=60)  # no test while somebody's message is about to run out of time
ONCE: Final = 500  # rows a turn of a job
FROM_LEDGER: Final = (ItemKind.HELD, ItemKind.FLAGGED)

# What each decision asks and writes is written here once (why: audit.statements).
ITEMS: Final = Table(ReviewItem)
_MINE: Final = "WHERE holder_id = %s AND state = 'taken' ORDER BY taken_at DESC LIMIT 1"
_NEXT: Final = (
    "WHERE state = 'waiting' AND (not_for_id IS NULL OR not_for_id <> %s)"
    " AND (skipped_by_id IS NULL OR skipped_by_id <> %s) ORDER BY priority, due, id LIMIT 1"
)


class LeaseLost(MingbaiError):
    """The message is not this person's any more. why: returned, rule, campaign, decided, gone."""

    code = "lease_lost"
    template = "this message is no longer yours ({why}); your answer was not recorded"


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
            new_item(stream, row, ItemKind.HELD if row.verdict == Verdict.HOLD else ItemKind.FLAGGED, now, review)
            for row in rows
            if row.verdict == Verdict.HOLD or (row.verdict == Verdict.FLAG and review.flagged)
        ]
        _create(items)
        cursor.next_seq = next_seq
        cursor.save(update_fields=("next_seq",))
    return True


def _create(items: list[ReviewItem]) -> None:
    """Each entry once: of a stream that was read again some are here, which only their ids say."""
    try:
        with transaction.atomic():
            ReviewItem.objects.bulk_create(items, batch_size=200)
    except IntegrityError:
        ids = [item.entry_id for item in items]
        known: set[UUID] = set()
        for start in range(0, len(ids), ONCE):
            found = ReviewItem.objects.filter(entry_id__in=ids[start : start + ONCE], kind__in=FROM_LEDGER)
            known.update(found.values_list("entry_id", flat=True))
        ReviewItem.objects.bulk_create([item for item in items if item.entry_id not in known], batch_size=200)


def rewind(stream: str, *, from_seq: int, to_seq: int, now: datetime) -> bool:
    """Go on from `to_seq`, since the ledger ends before it although it was read up to `from_seq - 1`: it was put back
    from a backup. Messages that wait and are not in it any more leave the desk; what was decided about such stays.

    False: another follower was here first, nothing was done.
    """
    with transaction.atomic():
        moved = LedgerCursor.objects.filter(name=FOLLOWER, stream=stream, next_seq=from_seq).update(next_seq=to_seq)
        if not moved:
            return False
        lost = ReviewItem.objects.filter(stream=stream, seq__gte=to_seq).exclude(state=ItemState.DONE)
        count = lost.exclude(kind=ItemKind.APPEAL).delete()[1].get(ReviewItem._meta.label, 0)
        data = {"stream": stream, "from_seq": from_seq, "to_seq": to_seq, "withdrawn": count}
        audit.append("review.rewound", actor="job:review", data=data, now=now)
    return True


def new_item(
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


# -- giving out


def take(
    account: Account, *, now: datetime, review: ReviewSettings, reach: Reach, queue: str = ""
) -> ReviewItem | None:
    """The message that this person works on now: the one they hold, else the next one; None: nothing waits for them.

    queue: `kind.category.language` or its beginning; "" for everything within the person's skills. A lease is no
    entry: each ends in one, as a decision, a skip or a return.
    """
    with transaction.atomic():
        return take_now(account, now, review, reach, queue)


def take_now(account: Account, now: datetime, review: ReviewSettings, reach: Reach, queue: str) -> ReviewItem | None:
    lease_until = now + timedelta(seconds=review.lease_s)
    mine = ITEMS.first(_MINE, account.pk, lock=True)
    if mine is not None:
        if mine.lease_until is None or mine.lease_until < lease_until:
            mine.lease_until = lease_until
            ITEMS.update(mine, "lease_until")
        return mine
    item = _next(account, reach, queue)
    if item is None:
        return None
    gold = _gold_instead(item, account, now, review)
    return lease_to(gold or item, account, now, lease_until)


def _next(account: Account, reach: Reach, queue: str) -> ReviewItem | None:
    """The waiting message that comes next for this person, locked."""
    if reach.is_all and not queue and not policy.skill_of(account.skills).is_limited:
        return ITEMS.first(_NEXT, account.pk, account.pk, skip_locked=True)
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
        ITEMS.update(item, "state", "holder_id", "lease", "taken_at", "lease_until")
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


def skip(item_id: int, account: Account, lease: UUID, *, now: datetime, actor: str = "") -> None:
    """Give the message back; this person does not get it again. Raises LeaseLost."""
    with transaction.atomic():
        item = _held(item_id, account, lease)
        item.skipped_by = account
        _give_back(item, actor or account.ref, "review.skipped", now)


def return_lease(item_id: int, *, actor: str, now: datetime) -> None:
    """A team lead takes a message from whoever holds it; it goes to its queue. Raises LeaseLost if nobody does."""
    with transaction.atomic():
        item = ReviewItem.objects.select_for_update().filter(pk=item_id, state=ItemState.TAKEN).first()
        if item is None:
            raise LeaseLost(why="gone")
        _give_back(item, actor, "lease.returned", now)


def return_leases_of(account: Account, *, now: datetime, actor: str = "") -> int:
    """Everything that somebody who leaves still holds goes back. Returns how many."""
    with transaction.atomic():
        held = list(ReviewItem.objects.select_for_update().filter(holder=account, state=ItemState.TAKEN))
        for item in held:
            _give_back(item, actor or account.ref, "lease.returned", now)
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
        put(item, ItemState.WAITING, "skipped_by_id")
    audit.append(kind, actor=actor, subject=subject, data={"item": pk, "holder": str(holder)}, now=now)


def put(item: ReviewItem, state: ItemState, *more: str) -> None:
    item.state, item.holder, item.lease, item.lease_until = state, None, None, None
    ITEMS.update(item, "state", "holder_id", "lease", "lease_until", *more)


def _held(item_id: int, account: Account, lease: UUID) -> ReviewItem:
    """The item, locked. Raises LeaseLost where this lease does not hold it."""
    item = ITEMS.first("WHERE id = %s", item_id, lock=True)
    if item is None or item.state != ItemState.TAKEN or item.lease != lease or item.holder_id != account.pk:
        raise LeaseLost(why=why_lost(item))
    return item


def why_lost(item: ReviewItem | None) -> str:
    if item is None:
        return "gone"
    if item.state != ItemState.DONE:
        return "returned"
    last = item.decisions.filter(undone_at=None).order_by("-at").first()
    return {DecisionSource.RULE: "rule", DecisionSource.CAMPAIGN: "campaign"}.get(
        DecisionSource(last.source) if last is not None else DecisionSource.PERSON, "decided"
    )
