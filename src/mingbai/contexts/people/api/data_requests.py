"""Requests about own data, by the API: a subscriber asks and fetches, an administrator answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import Field, Router, Schema, Status

from mingbai.contexts.people import queries
from mingbai.contexts.people.choices import RequestKind
from mingbai.contexts.people.http_api import NotFound, actor, allowed, found, own_account
from mingbai.contexts.people.models import DataRequest
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.services import data_requests as services
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.masking import masked_number

router = Router(tags=["data requests"])
_WEB = Any  # what ninja makes a document from


class RequestOut(Schema):
    id: UUID
    kind: str
    state: str
    note: str
    answer: str
    created_at: datetime
    due_at: datetime
    answered_at: datetime | None
    result_expires_at: datetime | None


class RequestList(Schema):
    items: list[RequestOut]


class WorkOut(RequestOut):
    """As whoever answers sees it. number: of the subscriber, masked."""

    account: str
    number: str


class WorkList(Schema):
    items: list[WorkOut]


class AskIn(Schema):
    kind: RequestKind
    note: str = Field("", max_length=2000)


class RefuseIn(Schema):
    reason: str = Field(min_length=5, max_length=2000, description="the subscriber reads it")


@router.get("/my-data", auth=allowed(Action.ASK_ABOUT_OWN_DATA), response={200: RequestList})
def my_requests(request: HttpRequest) -> dict[str, _WEB]:
    """Newest first."""
    return {"items": list(own_account(request).data_requests.defer("result").order_by("-created_at"))}


@router.post("/my-data", auth=allowed(Action.ASK_ABOUT_OWN_DATA), response={201: RequestOut})
def ask_about_own_data(request: HttpRequest, given: AskIn) -> Status[DataRequest]:
    """An open request of the same kind is given instead of a second one."""
    days = settings.MINGBAI.review.request_days
    return Status(201, services.ask(own_account(request), given.kind, now=utc_now(), due_days=days, note=given.note))


@router.post("/my-data/{uuid:id}/fetch", auth=allowed(Action.ASK_ABOUT_OWN_DATA), response={200: bytes})
def fetch_own_data(request: HttpRequest, id: UUID) -> HttpResponse:
    """The answer, a ZIP. By POST, as it leaves an entry."""
    asked = found(DataRequest.objects.filter(account=own_account(request)), "request", id)
    try:
        content = services.fetch(asked, actor=actor(request), now=utc_now())
    except BadValue:
        raise NotFound(what="answer that has not expired, to request", id=id) from None
    return HttpResponse(content, content_type="application/octet-stream")


@router.get("/data-requests", auth=allowed(Action.ANSWER_DATA_REQUESTS), response={200: WorkList})
def list_data_requests(
    request: HttpRequest, state: Literal["open", "ready", "refused", "done", "all"] = "open"
) -> dict[str, _WEB]:
    """By the day by which they must be answered; at most 200."""
    rows = queries.data_requests("" if state == "all" else state)[:200]
    return {"items": [_work(row) for row in rows]}


@router.get("/data-requests/{uuid:id}", auth=allowed(Action.ANSWER_DATA_REQUESTS), response={200: WorkOut})
def get_data_request(request: HttpRequest, id: UUID) -> dict[str, _WEB]:
    return _work(found(queries.data_requests(), "request", id))


@router.post("/data-requests/{uuid:id}/answer", auth=allowed(Action.ANSWER_DATA_REQUESTS), response={200: WorkOut})
def answer_data_request(request: HttpRequest, id: UUID) -> dict[str, _WEB]:
    """Do what was asked for: make the archive, or erase."""
    asked = found(queries.data_requests(), "request", id)
    return _work(services.answer(asked, settings.MINGBAI, actor=actor(request), now=utc_now()))


@router.post("/data-requests/{uuid:id}/refuse", auth=allowed(Action.ANSWER_DATA_REQUESTS), response={200: WorkOut})
def refuse_data_request(request: HttpRequest, id: UUID, given: RefuseIn) -> dict[str, _WEB]:
    asked = found(queries.data_requests(), "request", id)
    return _work(services.refuse(asked, reason=given.reason, actor=actor(request), now=utc_now()))


def _work(row: DataRequest) -> dict[str, _WEB]:
    return {
        **{name: getattr(row, name) for name in RequestOut.model_fields},
        "account": row.account.username,
        "number": masked_number(row.account.number),
    }
