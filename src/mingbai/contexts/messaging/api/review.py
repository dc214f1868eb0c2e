"""The review desk by the API: what waits, take one, decide, skip, undo; campaign-wide decisions; the team's figures."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from mingbai.contexts.messaging.api.traffic import CategoryName, VerdictName
from mingbai.contexts.messaging.models import ReviewItem
from mingbai.contexts.messaging.queries import review as queries
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.services import review as services
from mingbai.contexts.messaging.services import review_team
from mingbai.contexts.people.http_api import PROBLEMS, NotFound, allowed, reach
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.policy import Action
from mingbai.kernel.clock import utc_now
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


class DecisionOut(Schema):
    id: UUID
    message: UUID
    verdict: str
    category: str
    at: datetime


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


class PersonOut(Schema):
    account: str
    decided: int
    mean_s: float | None
    per_hour: float


class TeamOut(Schema):
    since: datetime
    until: datetime
    waiting: int
    overdue: int
    queues: list[QueueOut]
    people: list[PersonOut]


@router.get("/review/queues", auth=allowed(Action.REVIEW, Action.LEAD_REVIEW), response={200: QueueList, **PROBLEMS})
def queues(request: HttpRequest) -> dict[str, _WEB]:
    """What waits for people."""
    return {"items": [_queue(one) for one in queries.backlog()]}


@router.post("/review/take", auth=allowed(Action.REVIEW), response={200: TakeOut, **PROBLEMS})
def take(request: HttpRequest, given: TakeIn) -> dict[str, _WEB]:
    """The message that one works on: what one holds, else the next. Nobody else gets it while the lease lasts."""
    item = services.take(
        _account(request),
        now=utc_now(),
        review=traffic.installed_settings().review,
        reach=reach(request, Action.REVIEW),
        queue=given.queue,
    )
    return {"item": None if item is None else _item(item)}


@router.post("/review/items/{id}/decide", auth=allowed(Action.REVIEW), response={200: DecisionOut, **PROBLEMS})
def decide(request: HttpRequest, id: int, given: DecideIn) -> dict[str, _WEB]:
    """Decide. The same lease again gives the same decision; a lease that is lost gives 409, and nothing is recorded."""
    answer = services.Answer(
        Verdict[given.verdict.upper()], Category[given.category.upper()], given.note, given.ask_second
    )
    made = services.decide(
        _known(id),
        _account(request),
        given.lease,
        answer,
        now=utc_now(),
        review=traffic.installed_settings().review,
    )
    return {
        "id": made.pk,
        "message": made.item.entry_id,
        "verdict": Verdict(made.verdict).label,
        "category": Category(made.category).label,
        "at": made.at,
    }


@router.post("/review/items/{id}/skip", auth=allowed(Action.REVIEW), response={204: None, **PROBLEMS})
def skip(request: HttpRequest, id: int, given: LeaseIn) -> Status[None]:
    """Leave it to somebody else."""
    services.skip(_known(id), _account(request), given.lease, now=utc_now())
    return Status(204, None)


@router.post("/review/undo", auth=allowed(Action.REVIEW), response={200: ItemOut, **PROBLEMS})
def undo(request: HttpRequest) -> dict[str, _WEB]:
    """Take back one's last decision, and hold the message again."""
    item = services.undo(_account(request), now=utc_now(), review=traffic.installed_settings().review)
    return _item(item)


@router.post("/review/leave", auth=allowed(Action.REVIEW), response={204: None, **PROBLEMS})
def leave(request: HttpRequest) -> Status[None]:
    """Stop working: what one holds goes back at once."""
    services.return_leases_of(_account(request), now=utc_now())
    return Status(204, None)


@router.post("/campaigns/{id}/preview", auth=allowed(Action.DECIDE_CAMPAIGN), response={200: PreviewOut, **PROBLEMS})
def preview_campaign(request: HttpRequest, id: str, given: PreviewIn) -> dict[str, _WEB]:
    found = review_team.preview_campaign(
        id,
        Verdict[given.verdict.upper()],
        Category[given.category.upper()],
        _account(request),
        reach=reach(request, Action.DECIDE_CAMPAIGN),
    )
    return {"items": found.items, "held": found.held, "receivers": found.receivers, "token": found.token}


@router.post("/campaigns/decide", auth=allowed(Action.DECIDE_CAMPAIGN), response={200: CampaignDecided, **PROBLEMS})
def decide_campaign(request: HttpRequest, given: ConfirmIn) -> dict[str, _WEB]:
    """Carry out what a preview showed, and never more."""
    made = review_team.decide_campaign(
        given.token, _account(request), now=utc_now(), reach=reach(request, Action.DECIDE_CAMPAIGN)
    )
    return {"id": made.pk, "decided": made.items}


@router.post(
    "/campaigns/decisions/{uuid:id}/undo", auth=allowed(Action.DECIDE_CAMPAIGN), response={200: Undone, **PROBLEMS}
)
def undo_campaign(request: HttpRequest, id: UUID) -> dict[str, _WEB]:
    return {"count": review_team.undo_campaign(id, _account(request), now=utc_now())}


@router.get("/review/team", auth=allowed(Action.LEAD_REVIEW), response={200: TeamOut, **PROBLEMS})
def team(request: HttpRequest, days: Literal[1, 7, 30] = 7) -> dict[str, _WEB]:
    found = queries.team(utc_now(), days)
    return {
        "since": found.since,
        "until": found.until,
        "waiting": found.waiting,
        "overdue": len(found.overdue),
        "queues": [_queue(one) for one in found.queues],
        "people": [
            {
                "account": person.account.username,
                "decided": person.decided,
                "mean_s": person.mean_s,
                "per_hour": person.per_hour,
            }
            for person in found.people
        ],
    }


@router.post("/review/gold", auth=allowed(Action.LEAD_REVIEW), response={201: GoldOut, **PROBLEMS})
def make_gold(request: HttpRequest, given: GoldIn) -> Status[dict[str, _WEB]]:
    """A decided message becomes a test with a known answer."""
    made = review_team.make_gold(
        given.message,
        Verdict[given.verdict.upper()],
        Category[given.category.upper()],
        _account(request),
        now=utc_now(),
        note=given.note,
    )
    return Status(201, {"id": made.pk})


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
    """A number that the database can hold: another is of no message."""
    if not 0 < id <= _MAX_ID:
        raise NotFound(what="item", id=id)
    return id


def _account(request: HttpRequest) -> Account:
    account: Account = request.token.account  # type: ignore[attr-defined]  # set by the gate
    return account
