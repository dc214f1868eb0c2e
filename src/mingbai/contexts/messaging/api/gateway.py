"""The SMS gateway by the API: its accounts, SMSCs, routes, classes and ranges; what it does now; orders to it.

A secret goes in and never comes back. Numbers come masked. An order is recorded when the answer comes; the gateway
carries it out within a second, or when it is back.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status
from ninja.params.functions import Query

from mingbai.contexts.messaging.models import GatewayKind, GatewayRow
from mingbai.contexts.messaging.queries import gateway as queries
from mingbai.contexts.messaging.services import gateway
from mingbai.contexts.people.http_api import (
    MAX_LIMIT,
    NotFound,
    Page,
    actor,
    allowed,
    from_cursor,
    to_cursor,
    whole,
)
from mingbai.contexts.people.policy import Action
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue

router = Router(tags=["gateway"])
_WEB = Any  # what ninja makes a document from
_MOST_LISTED = 500


class GatewayRowOut(Schema):
    """kind: accounts, smscs, routes, classes, ranges. document: as docs/reference/configuration.md describes it; of a
    secret only whether there is one (`has_secret`)."""

    kind: str
    name: str
    document: dict[str, Any]  # Any: JSON
    updated_at: datetime
    updated_by: str


class GatewayRowPage(Page):
    items: list[GatewayRowOut]


class GatewayRowIn(Schema):
    """A secret that is left out stays as it is."""

    document: dict[str, Any]  # Any: JSON


class PortabilityOut(Schema):
    file: str


class PortabilityIn(Schema):
    """file: an absolute path on the gateway's machine; lines `number,network`. Empty: none."""

    file: str = Field(max_length=1000)


class LiveOut(Schema):
    """What the gateway's workers say now, added up; docs/gateway.md describes the documents."""

    is_running: bool
    workers_missing: int
    workers: list[dict[str, Any]]  # Any: JSON, here and below
    totals: dict[str, Any]
    accounts: list[dict[str, Any]]
    smscs: list[dict[str, Any]]
    connections: list[dict[str, Any]]
    alarms: list[dict[str, Any]]
    certificates: list[dict[str, Any]]


class WaitingOut(Schema):
    """A message that waits for a person. stream, seq: its decision in the ledger."""

    id: str
    worker: str
    account: str
    smsc: str | None
    source: str
    destination: str
    at: datetime | None
    reason: str
    attempts: int
    expires_at: datetime | None
    protocol: str
    stream: str
    seq: int | None


class WaitingPage(Page):
    """total: of all, by the workers that answer; is_running: whether any does."""

    items: list[WaitingOut]
    total: int
    is_running: bool


class IdsIn(Schema):
    ids: list[str] = Field(min_length=1, max_length=gateway.MOST_AT_ONCE)


class Ordered(Schema):
    ordered: int


class BounceIn(Schema):
    kind: Literal["accounts", "smscs"]
    name: str = Field(min_length=1, max_length=32)


class ModeIn(Schema):
    """A bypass needs the name again as `confirmation` and an end within 24 hours. inherit: of a route, as the account
    says."""

    mode: Literal["enforce", "observe", "bypass", "inherit"]
    until: datetime | None = None
    confirmation: str = Field("", max_length=32)


@router.get("/gateway/live", auth=allowed(Action.SEE_GATEWAY), response={200: LiveOut}, operation_id="gateway_live")
def live(request: HttpRequest) -> dict[str, _WEB]:
    whole(request, Action.SEE_GATEWAY)
    found = queries.live()
    names = ("workers", "totals", "accounts", "smscs", "connections", "alarms", "certificates")
    return {
        "is_running": found.is_running,
        "workers_missing": found.missing,
        **{name: getattr(found, name) for name in names},
    }


@router.get("/gateway/dead", auth=allowed(Action.SEE_GATEWAY), response={200: WaitingPage}, operation_id="gateway_dead")
def dead(
    request: HttpRequest,
    cursor: str | None = Query(None, max_length=500),
    limit: int = Query(100, ge=1, le=_MOST_LISTED),
) -> dict[str, _WEB]:
    """Messages that could not be delivered, oldest first."""
    return _waiting(request, "dead", cursor, limit)


@router.get(
    "/gateway/doubt", auth=allowed(Action.SEE_GATEWAY), response={200: WaitingPage}, operation_id="gateway_doubt"
)
def doubt(
    request: HttpRequest,
    cursor: str | None = Query(None, max_length=500),
    limit: int = Query(100, ge=1, le=_MOST_LISTED),
) -> dict[str, _WEB]:
    """Messages that were sent and never answered, oldest first."""
    return _waiting(request, "doubt", cursor, limit)


def _waiting(request: HttpRequest, which: str, cursor: str | None, limit: int) -> dict[str, _WEB]:
    whole(request, Action.SEE_GATEWAY)
    after = (from_cursor(cursor) or {}).get("after", "")
    if not (isinstance(after, str) and (after == "" or (after.isascii() and after.isdigit() and len(after) <= 20))):
        raise BadValue(field="cursor", value=cursor, expected="the `next` of an earlier answer")
    found = queries.waiting(which, after=after, limit=limit)
    following = None if found.next is None else to_cursor({"after": found.next})
    return {"items": found.items, "total": found.total, "is_running": found.is_running, "next": following}


@router.post("/gateway/resend", auth=allowed(Action.OPERATE_GATEWAY), response={202: Ordered})
def resend(request: HttpRequest, given: IdsIn) -> Status[dict[str, _WEB]]:
    """Dead letters and messages in doubt are sent (again)."""
    whole(request, Action.OPERATE_GATEWAY)
    return Status(202, {"ordered": gateway.resend(given.ids, actor=actor(request), now=utc_now())})


@router.post("/gateway/drop", auth=allowed(Action.OPERATE_GATEWAY), response={202: Ordered})
def drop(request: HttpRequest, given: IdsIn) -> Status[dict[str, _WEB]]:
    """Dead letters are given up; messages in doubt count as sent."""
    whole(request, Action.OPERATE_GATEWAY)
    return Status(202, {"ordered": gateway.drop(given.ids, actor=actor(request), now=utc_now())})


@router.post("/gateway/bounce", auth=allowed(Action.OPERATE_GATEWAY), response={202: Ordered})
def bounce(request: HttpRequest, given: BounceIn) -> Status[dict[str, _WEB]]:
    """The connections of an account or SMSC are closed, so that they log in anew."""
    whole(request, Action.OPERATE_GATEWAY)
    gateway.bounce(given.kind, given.name, actor=actor(request), now=utc_now())
    return Status(202, {"ordered": 1})


@router.post("/gateway/{kind}/{name}/mode", auth=allowed(Action.OPERATE_GATEWAY), response={200: GatewayRowOut})
def set_mode(request: HttpRequest, kind: str, name: str, given: ModeIn) -> dict[str, _WEB]:
    """What happens with the verdicts on messages of an account, or on a route, from now on. kind: accounts, routes."""
    whole(request, Action.OPERATE_GATEWAY)
    _found(kind, name)
    row = gateway.set_mode(
        name,
        "" if given.mode == "inherit" else given.mode,
        kind=kind,
        actor=actor(request),
        now=utc_now(),
        until=given.until,
        confirmation=given.confirmation,
    )
    return _row(row)


@router.get("/gateway/portability", auth=allowed(Action.SEE_GATEWAY), response={200: PortabilityOut})
def get_portability(request: HttpRequest) -> dict[str, _WEB]:
    whole(request, Action.SEE_GATEWAY)
    return {"file": queries.portability()}


@router.put("/gateway/portability", auth=allowed(Action.MANAGE_GATEWAY), response={200: PortabilityOut})
def put_portability(request: HttpRequest, given: PortabilityIn) -> dict[str, _WEB]:
    """Which file says what numbers were ported where."""
    whole(request, Action.MANAGE_GATEWAY)
    gateway.set_portability(given.file, actor=actor(request), now=utc_now())
    return {"file": queries.portability()}


@router.get("/gateway/{kind}", auth=allowed(Action.SEE_GATEWAY), response={200: GatewayRowPage})
def list_rows(
    request: HttpRequest,
    kind: str,
    cursor: str | None = Query(None, max_length=500),
    limit: int = Query(100, ge=1, le=MAX_LIMIT),
) -> dict[str, _WEB]:
    """kind: accounts, smscs, routes, classes, ranges. By name."""
    whole(request, Action.SEE_GATEWAY)
    _check_kind(kind)
    after = str((from_cursor(cursor) or {}).get("after", ""))
    page = [row for row in queries.rows(kind) if row.name > after][: limit + 1]
    following = to_cursor({"after": page[limit - 1].name}) if len(page) > limit else None
    return {"items": [_row(row) for row in page[:limit]], "next": following}


@router.get("/gateway/{kind}/{name}", auth=allowed(Action.SEE_GATEWAY), response={200: GatewayRowOut})
def get_row(request: HttpRequest, kind: str, name: str) -> dict[str, _WEB]:
    whole(request, Action.SEE_GATEWAY)
    return _row(_found(kind, name))


@router.put("/gateway/{kind}/{name}", auth=allowed(Action.MANAGE_GATEWAY), response={200: GatewayRowOut})
def put_row(request: HttpRequest, kind: str, name: str, given: GatewayRowIn) -> dict[str, _WEB]:
    """Add a row, or change the one of this name; the document's `name`, if it is there, must be the same."""
    whole(request, Action.MANAGE_GATEWAY)
    _check_kind(kind)
    if given.document.get("name", name) != name:
        raise BadValue(field="name", value=str(given.document["name"])[:100], expected=f"{name}, as in the address")
    document = {field: value for field, value in given.document.items() if not field.startswith("has_")}
    row = gateway.save_row(kind, {**document, "name": name}, actor=actor(request), now=utc_now())
    return _row(row)


@router.delete("/gateway/{kind}/{name}", auth=allowed(Action.MANAGE_GATEWAY), response={204: None})
def delete_row(request: HttpRequest, kind: str, name: str) -> Status[None]:
    """422 where something else of the gateway needs it."""
    whole(request, Action.MANAGE_GATEWAY)
    _check_kind(kind)
    gateway.remove_row(kind, name, actor=actor(request), now=utc_now())
    return Status(204, None)


# -- documents


def _check_kind(kind: str) -> None:
    if kind not in GatewayKind.values:
        raise NotFound(what="table of the gateway", id=kind)


def _found(kind: str, name: str) -> GatewayRow:
    _check_kind(kind)
    row = queries.row(kind, name)
    if row is None:
        raise NotFound(what=kind, id=name)
    return row


def _row(row: GatewayRow) -> dict[str, _WEB]:
    return {
        "kind": row.kind,
        "name": row.name,
        "document": queries.without_secrets(row.kind, row.document),
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
    }
