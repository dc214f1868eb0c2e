"""Reads of the review desk: one message as its reviewer sees it, what waits, who decides how fast and how well."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import Avg, Count, Min, Q
from django.utils import timezone

from mingbai.contexts.audit.statements import Table, answer
from mingbai.contexts.messaging import policy
from mingbai.contexts.messaging.models.review import (
    Appeal,
    CampaignDecision,
    DecisionSource,
    Gold,
    ItemKind,
    ItemState,
    Label,
    ReviewDecision,
    ReviewItem,
)
from mingbai.contexts.messaging.queries.read_ahead import Opened, open_message
from mingbai.contexts.messaging.queries.traffic import kept_words
from mingbai.contexts.messaging.words import reason_words
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.queries import refs_of
from mingbai.contexts.people.services.accounts import accounts_by_id
from mingbai.kernel.masking import masked_number
from mingbai.kernel.verdicts import Category, Verdict

_SIMILAR: Final = 3
# Asked with each message (why so: audit.statements). Blind: not what somebody said about this very message.
_LABELS = Table(Label)
_LIKE: Final = (
    "WHERE %s = %%s AND withdrawn_at IS NULL AND source <> 'gold' AND entry_id <> %%s"
    f" ORDER BY at DESC LIMIT {_SIMILAR}"
)
_OTHERS: Final = (
    "SELECT COUNT(*) FROM (SELECT 1 FROM messaging_reviewitem WHERE campaign = %s AND state = 'waiting'"
    " AND kind IN ('held', 'flagged') LIMIT 1000) AS others"
)
_BACKLOG_S: Final = 3.0  # counting a hundred thousand waiting ones takes a while; everybody may share the answer


@dataclass(frozen=True, slots=True)
class Similar:
    """A message with the same text, or of the same campaign, that somebody decided before."""

    verdict: Verdict
    category: Category
    at: datetime
    is_same_text: bool


@dataclass(frozen=True, slots=True)
class Desk:
    """One message as its reviewer sees it: the same for every kind, so that a second opinion and gold stay unknown."""

    item: ReviewItem
    text: str
    not_kept: str
    spans: list[dict[str, object]]
    reasons: list[str]
    rules: tuple[str, ...]
    sender: str
    receiver: str
    appeal: Appeal | None
    similar: list[Similar]
    waiting_in_campaign: int

    @property
    def is_appeal(self) -> bool:
        return self.item.kind == ItemKind.APPEAL

    @property
    def is_held(self) -> bool:
        return self.item.verdict == Verdict.HOLD


def desk(item: ReviewItem) -> Desk:
    """Everything that the desk shows of an item."""
    opened = open_message(item)
    text = opened.text or ""
    return Desk(
        item=item,
        text=text,
        not_kept="" if opened.text is not None else kept_words(opened.text_kept),
        spans=_spans(opened, len(text)),
        reasons=reason_words(opened.reasons),
        rules=opened.rules,
        sender=masked_number(opened.sender),
        receiver=masked_number(opened.receiver),
        appeal=Appeal.objects.filter(item=item).first() if item.kind == ItemKind.APPEAL else None,
        similar=_similar(item),
        waiting_in_campaign=_waiting_in_campaign(item),
    )


def appeal_answered(decision: ReviewDecision) -> Appeal | None:
    """The appeal that a decision answered, if it did."""
    if decision.kind != ItemKind.APPEAL or decision.undone_at is not None:
        return None
    return Appeal.objects.filter(item_id=decision.item_id).first()


def appeals_about(entry_id: UUID, account: Account, *, is_clear: bool) -> list[Appeal]:
    """Appeals of a message, newest first: one's own, and everybody's for whom may read what people write (is_clear)."""
    found = Appeal.objects.filter(item__entry_id=entry_id).order_by("-at")
    if not is_clear:
        found = found.filter(by__in=refs_of(account))
    return list(found)


def _spans(opened: Opened, length: int) -> list[dict[str, object]]:
    return [{"start": start, "end": end} for start, end in opened.spans if 0 <= start < end <= length]


def _similar(item: ReviewItem) -> list[Similar]:
    found = {
        label.pk: label
        for name, value in (("text_hash", item.text_hash), ("campaign", item.campaign))
        if value
        for label in _LABELS.rows(_LIKE % name, value, item.entry_id)
    }
    return [
        Similar(
            Verdict(label.verdict), Category(label.category), label.at,
            bool(item.text_hash) and label.text_hash == item.text_hash,
        )
        for label in sorted(found.values(), key=lambda label: label.at, reverse=True)[:_SIMILAR]
    ]  # fmt: skip


def _waiting_in_campaign(item: ReviewItem) -> int:
    """Others of the campaign that wait here; counted up to 1000."""
    if not item.campaign:
        return 0
    return int(answer(_OTHERS, item.campaign)[0][0])


def held_by(account: Account) -> ReviewItem | None:
    """What this person works on."""
    return ReviewItem.objects.filter(holder=account, state=ItemState.TAKEN).order_by("-taken_at").first()


def item_of(item_id: int, account: Account) -> ReviewItem | None:
    """An item, if this person holds it."""
    return ReviewItem.objects.filter(pk=item_id, holder=account, state=ItemState.TAKEN).first()


def decided_today(account: Account, now: datetime) -> int:
    """Decisions of this person since midnight, where they are."""
    midnight = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)
    return ReviewDecision.objects.filter(
        account=account, source=DecisionSource.PERSON, at__gte=midnight, undone_at=None
    ).count()


def can_undo(account: Account, now: datetime, within_s: int) -> bool:
    return ReviewDecision.objects.filter(
        account=account, source=DecisionSource.PERSON, undone_at=None, acted_at=None,
        at__gt=now - timedelta(seconds=within_s),
    ).exists()  # fmt: skip


# -- what waits


@dataclass(frozen=True, slots=True)
class Queue:
    """Messages of one kind and category that wait."""

    kind: str
    category: Category
    waiting: int
    oldest: datetime
    next_deadline: datetime | None

    @property
    def name(self) -> str:
        return f"{self.kind}.{self.category.label}"

    @property
    def kind_word(self) -> str:
        return str(ItemKind(self.kind).label)


class _Backlog:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._found: list[Queue] = []

    def get(self) -> list[Queue]:
        with self._lock:
            if time.monotonic() - self._at > _BACKLOG_S:
                self._found = _count_backlog()
                self._at = time.monotonic()
            return self._found

    def forget(self) -> None:
        with self._lock:
            self._at = float("-inf")


_backlog = _Backlog()


def backlog(*, fresh: bool = False) -> list[Queue]:
    """Queues with something in them; some seconds old. fresh: counted now."""
    if fresh:
        _backlog.forget()
    return _backlog.get()


def _count_backlog() -> list[Queue]:
    rows = (
        ReviewItem.objects.filter(state=ItemState.WAITING)
        .values("kind", "category", "priority")
        .annotate(waiting=Count("id"), oldest=Min("queued_at"), next_deadline=Min("deadline"))
        .order_by("priority", "-waiting")
    )
    return [
        Queue(row["kind"], Category(row["category"]), row["waiting"], row["oldest"], row["next_deadline"])
        for row in rows
    ]


# -- the team


@dataclass(frozen=True, slots=True)
class Person:
    """One person's work over a window."""

    account: Account
    decided: int
    mean_s: float | None
    per_hour: float
    agreement: policy.Kappa
    gold: policy.Share


@dataclass(frozen=True, slots=True)
class Pair:
    """Two people who decided the same messages."""

    one: Account
    other: Account
    kappa: policy.Kappa


@dataclass(frozen=True, slots=True)
class Team:
    """What a team lead looks at. since, until: the window of everything about people."""

    since: datetime
    until: datetime
    queues: list[Queue]
    waiting: int
    overdue: list[ReviewItem]
    by_rule: int
    leases: list[ReviewItem]
    people: list[Person]
    kappa: policy.Kappa
    pairs: list[Pair]
    disagreements: list[ReviewDecision]
    gold: list[dict[str, Any]]  # Any: a gold message and its counts
    campaigns: list[CampaignDecision]
    per_hour: list[tuple[datetime, int]]


def team(now: datetime, days: int = 7) -> Team:
    """The whole page."""
    since = now - timedelta(days=days)
    decided = ReviewDecision.objects.filter(
        source=DecisionSource.PERSON, undone_at=None, at__gte=since, account__isnull=False
    )
    pairs = _pairs(since)
    queues = backlog(fresh=True)
    return Team(
        since=since,
        until=now,
        queues=queues,
        waiting=sum(queue.waiting for queue in queues),
        overdue=list(
            ReviewItem.objects.filter(deadline__lte=now, kind__in=(ItemKind.HELD, ItemKind.APPEAL))
            .exclude(state=ItemState.DONE)
            .order_by("deadline")[:50]
        ),
        by_rule=ReviewDecision.objects.filter(source=DecisionSource.RULE, at__gte=since).count(),
        leases=list(
            ReviewItem.objects.filter(state=ItemState.TAKEN).select_related("holder").order_by("taken_at")[:500]
        ),
        people=_people(decided, pairs),
        kappa=policy.cohens_kappa(_answers(pair) for pair in pairs),
        pairs=_by_pair(pairs),
        disagreements=list(open_disagreements()[:50]),
        gold=gold(),
        campaigns=list(CampaignDecision.objects.select_related("account").order_by("-at")[:10]),
        per_hour=_per_hour(decided, now),
    )


def open_disagreements() -> Any:  # Any: a QuerySet of ReviewDecision with what the page needs
    """Second opinions that differ from the first and wait for the team lead."""
    return (
        ReviewDecision.objects.filter(kind=ItemKind.SECOND, is_right=False, settled_at=None, undone_at=None)
        .select_related("item__first__account", "account")
        .order_by("at")
    )


def _pairs(since: datetime) -> list[ReviewDecision]:
    return list(
        ReviewDecision.objects.filter(kind=ItemKind.SECOND, undone_at=None, at__gte=since, item__first__isnull=False)
        .select_related("item__first__account", "account")
        .order_by("at")
    )


def _answer(decision: ReviewDecision) -> str:
    return f"{decision.verdict}.{decision.category}"


def _answers(second: ReviewDecision) -> tuple[str, str]:
    assert second.item.first is not None  # chosen so
    return _answer(second.item.first), _answer(second)


def _by_pair(seconds: Iterable[ReviewDecision]) -> list[Pair]:
    """Each pair in one order, so that who came first does not make two of them."""
    found: dict[tuple[Account, Account], list[tuple[str, str]]] = defaultdict(list)
    for second in seconds:
        first = second.item.first
        if first is None or first.account is None or second.account is None:
            continue
        one, other = _answers(second)
        if str(first.account.pk) <= str(second.account.pk):
            found[first.account, second.account].append((one, other))
        else:
            found[second.account, first.account].append((other, one))
    pairs = [Pair(*accounts, policy.cohens_kappa(answers)) for accounts, answers in found.items()]
    return sorted(pairs, key=lambda pair: -pair.kappa.n)


def _people(decided: Any, seconds: list[ReviewDecision]) -> list[Person]:  # Any: a QuerySet of ReviewDecision
    by_person: dict[object, list[tuple[str, str]]] = defaultdict(list)
    for second in seconds:
        first = second.item.first
        if first is None:
            continue
        one, other = _answers(second)
        by_person[first.account_id].append((one, other))
        by_person[second.account_id].append((other, one))
    gold = {
        row["account"]: (row["right"], row["n"])
        for row in decided.filter(kind=ItemKind.GOLD)
        .values("account")
        .annotate(n=Count("id"), right=Count("id", filter=Q(is_right=True)))
    }
    rows = list(
        decided.values("account").annotate(n=Count("id"), mean=Avg("seconds", filter=Q(seconds__lt=600))).order_by("-n")
    )
    accounts = accounts_by_id([str(row["account"]) for row in rows])
    people = []
    for row in rows:
        right, n = gold.get(row["account"], (0, 0))
        people.append(
            Person(
                accounts[str(row["account"])], row["n"], row["mean"], 3600 / row["mean"] if row["mean"] else 0.0,
                policy.cohens_kappa(by_person[row["account"]]), policy.wilson(right, n),
            )
        )  # fmt: skip
    return people


def gold() -> list[dict[str, Any]]:  # Any: as in Team
    """Gold messages with their counts, those in use first."""
    rows = Gold.objects.annotate(
        n=Count("items__decisions", filter=Q(items__decisions__undone_at=None)),
        right=Count("items__decisions", filter=Q(items__decisions__undone_at=None, items__decisions__is_right=True)),
    ).order_by("-is_active", "-at")[:100]
    return [{"gold": row, "share": policy.wilson(row.right, row.n)} for row in rows]


def _per_hour(decided: Any, now: datetime) -> list[tuple[datetime, int]]:  # Any: as above
    """Decisions of the last 24 hours, by the hour."""
    start = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=23)
    counts = [0] * 24
    for at in decided.filter(at__gte=start).values_list("at", flat=True).iterator():
        counts[int((at - start).total_seconds() // 3600)] += 1
    return [(start + timedelta(hours=hour), count) for hour, count in enumerate(counts)]


@dataclass(frozen=True, slots=True)
class Past:
    """One decision about a message, for its history."""

    at: datetime
    by: str
    source: str
    kind: str
    verdict: Verdict
    category: Category
    note: str
    undone_at: datetime | None


def history(entry_id: UUID) -> list[Past]:
    """What was decided about a message at the desk, oldest first; what only measured somebody is left out."""
    rows = (
        ReviewDecision.objects.filter(item__entry_id=entry_id)
        .exclude(kind=ItemKind.GOLD)
        .select_related("account")
        .order_by("at")
    )
    return [
        Past(
            row.at, str(row.account) if row.account else "", row.source, row.kind, Verdict(row.verdict),
            Category(row.category), row.note, row.undone_at,
        )
        for row in rows
    ]  # fmt: skip


def decided_item(entry_id: UUID) -> ReviewItem | None:
    """The decided item of a message, which can become gold."""
    return ReviewItem.objects.filter(
        entry_id=entry_id, kind__in=(ItemKind.HELD, ItemKind.FLAGGED), state=ItemState.DONE
    ).first()


def recently_decided(limit: int = 20) -> list[ReviewDecision]:
    """For choosing gold: decided by people, newest first."""
    return list(
        ReviewDecision.objects.filter(
            source=DecisionSource.PERSON, kind__in=(ItemKind.HELD, ItemKind.FLAGGED), undone_at=None
        )
        .exclude(item__entry_id__in=Gold.objects.filter(is_active=True).values("entry_id"))
        .select_related("item", "account")
        .order_by("-at")[:limit]
    )
