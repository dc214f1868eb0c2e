"""The review desk by the API: what waits, take one, decide, skip, undo; campaign-wide decisions; the team's figures."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from mingbai.contexts.messaging import policy
from mingbai.contexts.messaging.api.traffic import CategoryName, VerdictName
from mingbai.contexts.messaging.models import CampaignDecision, Gold, ItemKind, ReviewDecision, ReviewItem
from mingbai.contexts.messaging.queries import review as queries
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.services import review as services
from mingbai.contexts.messaging.services import review_queue, review_team
from mingbai.contexts.people.http_api import NotFound, actor, allowed, found, own_account, reach
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.queries import account_called, rights_of
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category, Verdict

router = Router(tags=["review"])
_WEB = Any  # what ninja makes a document from
_MAX_ID = 2**63 - 1


class QueueOut(Schema):
    kind: str
    category: str
    waiting: int
    oldest: datetime
    next_deadline: datetime | None


class QueueList(Schema):
    items: list[QueueOut]


class ItemOut(Schema):
    """One message to decide, held by the caller until `lease_until`. lease: give it back with the decision."""

    id: int
    lease: UUID
    lease_until: datetime | None
    message: UUID
    at: datetime
    verdict: str
    category: str
    score: float
    deadline: datetime | None
    text: str
    not_kept: str
    reasons: list[str]


class TakeIn(Schema):
    queue: str = Field("", max_length=64, description="kind.category.language, or its beginning; empty: everything")


class TakeOut(Schema):
    """item: null: nothing waits for this person."""

    item: ItemOut | None


class DecideIn(Schema):
    lease: UUID
    verdict: VerdictName
    category: CategoryName
    note: str = Field("", max_length=2000)
    ask_second: bool = False


class LeaseIn(Schema):
    lease: UUID


class ReviewDecisionOut(Schema):
    """exception: what an upheld appeal lets pass from now on; no_exception: why none was made (text_gone,
    sender_gone, entry_gone, freed_already), "" otherwise."""

    id: UUID
    message: UUID
    verdict: str
    category: str
    at: datetime
    exception: UUID | None = None
    no_exception: str = ""


class PreviewIn(Schema):
    verdict: VerdictName
    category: CategoryName


class PreviewOut(Schema):
    """What a decision on the whole campaign would reach; `token` confirms exactly this."""

    items: int
    held: int
    receivers: int
    token: str


class ConfirmIn(Schema):
    token: str = Field(max_length=4000)


class CampaignDecided(Schema):
    id: UUID
    decided: int


class Undone(Schema):
    count: int


class GoldIn(Schema):
    message: UUID
    verdict: VerdictName
    category: CategoryName
    note: str = Field("", max_length=500)


class GoldOut(Schema):
    id: UUID


class GoldRow(GoldOut):
    message: UUID
    verdict: str
    category: str
    note: str
    is_active: bool
    given: int
    right: int


class GoldList(Schema):
    items: list[GoldRow]


class Agreement(Schema):
    """Cohen's kappa of n messages that two people decided; strength: in words (Landis and Koch), "" for too few."""

    kappa: float | None
    n: int
    strength: str


class PersonOut(Schema):
    account: str
    decided: int
    mean_s: float | None
    per_hour: float
    agreement: Agreement
    gold_right: int
    gold_given: int


class PairOut(Schema):
    one: str
    other: str
    agreement: Agreement


class HeldOut(Schema):
    """A message in somebody's hands, or one whose time is over."""

    id: int
    message: UUID
    kind: str
    category: str
    holder: str
    taken_at: datetime | None
    deadline: datetime | None


class CampaignDecisionOut(Schema):
    id: UUID
    campaign: str
    verdict: str
    category: str
    by: str
    at: datetime
    items: int
    held: int
    undone_at: datetime | None


class CampaignDecisionList(Schema):
    items: list[CampaignDecisionOut]


class DisagreementOut(Schema):
    """decision: of the second opinion, which is what settling names."""

    decision: UUID
    message: UUID
    first: str
    first_verdict: str
    first_category: str
    second: str
    second_verdict: str
    second_category: str
    at: datetime


class DisagreementList(Schema):
    items: list[DisagreementOut]


class SettleIn(Schema):
    verdict: VerdictName
    category: CategoryName
    note: str = Field(min_length=5, max_length=500)


class ReassignIn(Schema):
    to: str = Field(min_length=1, max_length=64, description="username of a reviewer")


class Renewed(Schema):
    lease_until: datetime | None


class ReviewTeamOut(Schema):
    since: datetime
    until: datetime
    waiting: int
    overdue: list[HeldOut]
    by_rule: int
    queues: list[QueueOut]
    leases: list[HeldOut]
    people: list[PersonOut]
    agreement: Agreement
    pairs: list[PairOut]
    campaigns: list[CampaignDecisionOut]


@router.get("/review/queues", auth=allowed(Action.REVIEW, Action.LEAD_REVIEW), response={200: QueueList})
def queues(request: HttpRequest) -> dict[str, _WEB]:
    """What waits for people."""
    return {"items": [_queue(one) for one in queries.backlog()]}


@router.post("/review/take", auth=allowed(Action.REVIEW), response={200: TakeOut})
def take(request: HttpRequest, given: TakeIn) -> dict[str, _WEB]:
    """The message that one works on: what one holds, else the next. Nobody else gets it while the lease lasts."""
    item = review_queue.take(
        own_account(request),
        now=utc_now(),
        review=traffic.installed_settings().review,
        reach=reach(request, Action.REVIEW),
        queue=given.queue,
    )
    return {"item": None if item is None else _item(item)}


@router.post("/review/items/{id}/decide", auth=allowed(Action.REVIEW), response={200: ReviewDecisionOut})
def decide(request: HttpRequest, id: int, given: DecideIn) -> dict[str, _WEB]:
    """Decide. The same lease again gives the same decision; a lease that is lost gives 409, and nothing is recorded."""
    answer = services.Answer(
        Verdict[given.verdict.upper()], Category[given.category.upper()], given.note, given.ask_second
    )
    made = services.decide(
        _known(id),
        own_account(request),
        given.lease,
        answer,
        now=utc_now(),
        review=traffic.installed_settings().review,
        actor=actor(request),
    )
    return _decision(made)


@router.post("/review/items/{id}/skip", auth=allowed(Action.REVIEW), response={204: None})
def skip(request: HttpRequest, id: int, given: LeaseIn) -> Status[None]:
    """Leave it to somebody else."""
    review_queue.skip(_known(id), own_account(request), given.lease, now=utc_now(), actor=actor(request))
    return Status(204, None)


@router.post("/review/items/{id}/keep", auth=allowed(Action.REVIEW), response={200: Renewed})
def keep(request: HttpRequest, id: int, given: LeaseIn) -> dict[str, _WEB]:
    """Hold it longer. A lease that is lost gives 409."""
    account = own_account(request)
    review = traffic.installed_settings().review
    if not review_queue.renew(_known(id), account, given.lease, now=utc_now(), review=review):
        raise review_queue.LeaseLost(why="lost")
    item = queries.item_of(id, account)
    return {"lease_until": None if item is None else item.lease_until}


@router.post("/review/undo", auth=allowed(Action.REVIEW), response={200: ItemOut})
def undo(request: HttpRequest) -> dict[str, _WEB]:
    """Take back one's last decision, and hold the message again."""
    item = services.undo(
        own_account(request), now=utc_now(), review=traffic.installed_settings().review, actor=actor(request)
    )
    return _item(item)


@router.post("/review/leave", auth=allowed(Action.REVIEW), response={204: None})
def leave(request: HttpRequest) -> Status[None]:
    """Stop working: what one holds goes back at once."""
    review_queue.return_leases_of(own_account(request), now=utc_now(), actor=actor(request))
    return Status(204, None)


@router.post("/campaigns/{id}/preview", auth=allowed(Action.DECIDE_CAMPAIGN), response={200: PreviewOut})
def preview_campaign(request: HttpRequest, id: str, given: PreviewIn) -> dict[str, _WEB]:
    shown = review_team.preview_campaign(
        id,
        Verdict[given.verdict.upper()],
        Category[given.category.upper()],
        own_account(request),
        reach=reach(request, Action.DECIDE_CAMPAIGN),
    )
    return {"items": shown.items, "held": shown.held, "receivers": shown.receivers, "token": shown.token}


@router.post("/campaign-decisions", auth=allowed(Action.DECIDE_CAMPAIGN), response={200: CampaignDecided})
def decide_campaign(request: HttpRequest, given: ConfirmIn) -> dict[str, _WEB]:
    """Carry out what a preview showed, and never more."""
    made = review_team.decide_campaign(
        given.token,
        own_account(request),
        now=utc_now(),
        reach=reach(request, Action.DECIDE_CAMPAIGN),
        actor=actor(request),
    )
    return {"id": made.pk, "decided": made.items}


@router.post("/campaign-decisions/{uuid:id}/undo", auth=allowed(Action.DECIDE_CAMPAIGN), response={200: Undone})
def undo_campaign(request: HttpRequest, id: UUID) -> dict[str, _WEB]:
    """Everything that it decided waits again, but for what was acted on; within ten minutes."""
    found(CampaignDecision.objects.all(), "campaign decision", id)
    return {"count": review_team.undo_campaign(id, own_account(request), now=utc_now(), actor=actor(request))}


@router.get("/campaign-decisions", auth=allowed(Action.LEAD_REVIEW), response={200: CampaignDecisionList})
def list_campaign_decisions(request: HttpRequest) -> dict[str, _WEB]:
    """Decisions on whole campaigns, newest first; at most 200."""
    rows = CampaignDecision.objects.select_related("account").order_by("-at")[:200]
    return {"items": [_campaign_decision(row) for row in rows]}


# -- the team


@router.get("/review/team", auth=allowed(Action.LEAD_REVIEW), response={200: ReviewTeamOut})
def team(request: HttpRequest, days: Literal[1, 7, 30] = 7) -> dict[str, _WEB]:
    """Is the desk keeping up, and do people judge alike?"""
    shown = queries.team(utc_now(), days)
    return {
        "since": shown.since,
        "until": shown.until,
        "waiting": shown.waiting,
        "overdue": [_held(item) for item in shown.overdue],
        "by_rule": shown.by_rule,
        "queues": [_queue(one) for one in shown.queues],
        "leases": [_held(item) for item in shown.leases],
        "people": [
            {
                "account": person.account.username,
                "decided": person.decided,
                "mean_s": person.mean_s,
                "per_hour": person.per_hour,
                "agreement": _agreement(person.agreement),
                "gold_right": person.gold.k,
                "gold_given": person.gold.n,
            }
            for person in shown.people
        ],
        "agreement": _agreement(shown.kappa),
        "pairs": [
            {"one": pair.one.username, "other": pair.other.username, "agreement": _agreement(pair.kappa)}
            for pair in shown.pairs
        ],
        "campaigns": [_campaign_decision(row) for row in shown.campaigns],
    }


@router.post("/review/items/{id}/return", auth=allowed(Action.DECIDE_CAMPAIGN), response={204: None})
def return_lease(request: HttpRequest, id: int) -> Status[None]:
    """Take a message out of somebody's hands: it waits again."""
    review_queue.return_lease(_known(id), actor=actor(request), now=utc_now())
    return Status(204, None)


@router.post("/review/items/{id}/reassign", auth=allowed(Action.DECIDE_CAMPAIGN), response={204: None})
def reassign(request: HttpRequest, id: int, given: ReassignIn) -> Status[None]:
    """Give it to one person: it is what they see next."""
    item, to = _known(id), account_called(given.to)
    if to is None or not to.is_active or not rights_of(to).may(Action.REVIEW):
        raise BadValue(field="to", value=given.to, expected="the username of a reviewer")
    review = traffic.installed_settings().review
    review_team.reassign(item, to, own_account(request), now=utc_now(), review=review, actor=actor(request))
    return Status(204, None)


@router.get("/review/disagreements", auth=allowed(Action.DECIDE_CAMPAIGN), response={200: DisagreementList})
def disagreements(request: HttpRequest) -> dict[str, _WEB]:
    """Second opinions that differ from the first and wait for the lead's word; at most 50, oldest first."""
    return {
        "items": [
            {
                "decision": second.pk,
                "message": second.item.entry_id,
                "first": str(second.item.first.account or ""),
                "first_verdict": Verdict(second.item.first.verdict).label,
                "first_category": Category(second.item.first.category).label,
                "second": str(second.account or ""),
                "second_verdict": Verdict(second.verdict).label,
                "second_category": Category(second.category).label,
                "at": second.at,
            }
            for second in queries.open_disagreements()[:50]
        ]
    }


@router.post(
    "/review/disagreements/{uuid:id}/settle",
    auth=allowed(Action.DECIDE_CAMPAIGN),
    response={200: ReviewDecisionOut},
)
def settle(request: HttpRequest, id: UUID, given: SettleIn) -> dict[str, _WEB]:
    """Both answers stay as they were given; the lead's is the label."""
    found(ReviewDecision.objects.filter(kind=ItemKind.SECOND), "disagreement", id)
    made = review_team.settle(
        id,
        Verdict[given.verdict.upper()],
        Category[given.category.upper()],
        own_account(request),
        now=utc_now(),
        note=given.note,
        actor=actor(request),
    )
    return _decision(made)


@router.get("/review/gold", auth=allowed(Action.LEAD_REVIEW), response={200: GoldList})
def list_gold(request: HttpRequest) -> dict[str, _WEB]:
    """Gold messages and how often they were decided right; at most 100."""
    return {
        "items": [
            {
                "id": row["gold"].pk,
                "message": row["gold"].entry_id,
                "verdict": Verdict(row["gold"].verdict).label,
                "category": Category(row["gold"].category).label,
                "note": row["gold"].note,
                "is_active": row["gold"].is_active,
                "given": row["gold"].n,
                "right": row["gold"].right,
            }
            for row in queries.gold()
        ]
    }


@router.post("/review/gold", auth=allowed(Action.DECIDE_CAMPAIGN), response={201: GoldOut})
def make_gold(request: HttpRequest, given: GoldIn) -> Status[dict[str, _WEB]]:
    """A decided message becomes a test with a known answer."""
    made = review_team.make_gold(
        given.message,
        Verdict[given.verdict.upper()],
        Category[given.category.upper()],
        own_account(request),
        now=utc_now(),
        note=given.note,
        actor=actor(request),
    )
    return Status(201, {"id": made.pk})


@router.delete("/review/gold/{uuid:id}", auth=allowed(Action.DECIDE_CAMPAIGN), response={204: None})
def retire_gold(request: HttpRequest, id: UUID) -> Status[None]:
    """It is given to nobody any more; what it measured stays."""
    found(Gold.objects.filter(is_active=True), "gold message", id)
    review_team.retire_gold(id, own_account(request), now=utc_now(), actor=actor(request))
    return Status(204, None)


# -- documents


def _held(item: ReviewItem) -> dict[str, _WEB]:
    return {
        "id": item.pk,
        "message": item.entry_id,
        "kind": item.kind,
        "category": Category(item.category).label,
        "holder": item.holder.username if item.holder else "",
        "taken_at": item.taken_at,
        "deadline": item.deadline,
    }


def _agreement(kappa: policy.Kappa) -> dict[str, _WEB]:
    return {"kappa": kappa.value, "n": kappa.n, "strength": kappa.strength}


def _campaign_decision(row: CampaignDecision) -> dict[str, _WEB]:
    return {
        "id": row.pk,
        "campaign": row.campaign,
        "verdict": Verdict(row.verdict).label,
        "category": Category(row.category).label,
        "by": str(row.account or ""),
        "at": row.at,
        "items": row.items,
        "held": row.held,
        "undone_at": row.undone_at,
    }


def _decision(made: ReviewDecision) -> dict[str, _WEB]:
    appeal = queries.appeal_answered(made)
    return {
        "id": made.pk,
        "message": made.item.entry_id,
        "verdict": Verdict(made.verdict).label,
        "category": Category(made.category).label,
        "at": made.at,
        "exception": None if appeal is None else made.exceptions.values_list("pk", flat=True).first(),
        "no_exception": "" if appeal is None else appeal.no_exception,
    }


def _queue(one: queries.Queue) -> dict[str, _WEB]:
    return {
        "kind": str(one.kind),
        "category": one.category.label,
        "waiting": one.waiting,
        "oldest": one.oldest,
        "next_deadline": one.next_deadline,
    }


def _item(item: ReviewItem) -> dict[str, _WEB]:
    desk = queries.desk(item)
    return {
        "id": item.pk,
        "lease": item.lease,
        "lease_until": item.lease_until,
        "message": item.entry_id,
        "at": item.at,
        "verdict": Verdict(item.verdict).label,
        "category": Category(item.category).label,
        "score": item.score,
        "deadline": item.deadline,
        "text": desk.text,
        "not_kept": str(desk.not_kept),
        "reasons": [str(reason) for reason in desk.reasons],
    }


def _known(id: int) -> int:
    """The number of an item that there is. Raises NotFound; also for a number that the database cannot hold."""
    if not 0 < id <= _MAX_ID or not ReviewItem.objects.filter(pk=id).exists():
        raise NotFound(what="item", id=id)
    return id
