"""Webhooks and what they still have to tell, by the API. Addresses and secrets never come back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest
from ninja import Field, Router, Schema, Status
from ninja.params.functions import Query

from mingbai.connectors.ledger_access import open_keys
from mingbai.contexts.people.choices import DeliveryState
from mingbai.contexts.people.http_api import (
    MAX_LIMIT,
    Page,
    actor,
    allowed,
    found,
    from_cursor,
    to_cursor,
    whole,
)
from mingbai.contexts.people.models import Delivery, Webhook
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.services import webhooks
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue

router = Router(tags=["webhooks"])
_WEB = Any  # what ninja makes a document from


class WebhookOut(Schema):
    id: UUID
    name: str
    host: str  # of its address; the rest of it may hold a secret
    kinds: list[str]
    is_active: bool
    due: int
    failed: int


class DeliveryOut(Schema):
    """One event on its way. event: seq of the entry; last_status: what the other side said, without its address."""

    id: UUID
    event: int
    state: str
    attempts: int
    next_at: datetime
    last_status: str
    delivered_at: datetime | None


class DeliveryPage(Page):
    items: list[DeliveryOut]


class WebhookList(Schema):
    items: list[WebhookOut]


class WebhookIn(Schema):
    name: str = Field(max_length=80)
    url: str = Field(max_length=500)
    kinds: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(min_length=1, max_length=100)


class WebhookChange(Schema):
    url: str | None = Field(None, max_length=500)
    kinds: list[Annotated[str, Field(min_length=1, max_length=64)]] | None = Field(None, max_length=100)
    is_active: bool | None = None


class NewWebhook(Schema):
    """The secret is shown this once."""

    webhook: WebhookOut
    secret: str


@router.get("/webhooks", auth=allowed(Action.MANAGE_SYSTEM), response={200: WebhookList})
def list_webhooks(request: HttpRequest) -> dict[str, _WEB]:
    whole(request, Action.MANAGE_SYSTEM)
    return {"items": [_webhook(webhook) for webhook in Webhook.objects.all()]}


@router.post("/webhooks", auth=allowed(Action.MANAGE_SYSTEM), response={201: NewWebhook})
def create_webhook(request: HttpRequest, given: WebhookIn) -> Status[dict[str, _WEB]]:
    whole(request, Action.MANAGE_SYSTEM)
    made, secret = webhooks.create_webhook(
        given.name, given.url, given.kinds, actor=actor(request), now=utc_now(), keys=open_keys(settings.MINGBAI)
    )
    return Status(201, {"webhook": _webhook(made), "secret": secret})


@router.patch("/webhooks/{uuid:id}", auth=allowed(Action.MANAGE_SYSTEM), response={200: WebhookOut})
def change_webhook(request: HttpRequest, id: UUID, given: WebhookChange) -> dict[str, _WEB]:
    whole(request, Action.MANAGE_SYSTEM)
    webhook = found(Webhook.objects.all(), "webhook", id)
    wanted = given.dict(exclude_unset=True)
    return _webhook(webhooks.change_webhook(webhook, actor=actor(request), now=utc_now(), **wanted))


@router.delete("/webhooks/{uuid:id}", auth=allowed(Action.MANAGE_SYSTEM), response={204: None})
def delete_webhook(request: HttpRequest, id: UUID) -> Status[None]:
    whole(request, Action.MANAGE_SYSTEM)
    webhooks.delete_webhook(found(Webhook.objects.all(), "webhook", id), actor=actor(request), now=utc_now())
    return Status(204, None)


@router.get("/webhooks/{uuid:id}/deliveries", auth=allowed(Action.MANAGE_SYSTEM), response={200: DeliveryPage})
def list_deliveries(
    request: HttpRequest,
    id: UUID,
    state: Literal["due", "delivered", "failed"] | None = None,
    cursor: str | None = Query(None, max_length=500),
    limit: int = Query(100, ge=1, le=MAX_LIMIT),
) -> dict[str, _WEB]:
    """Newest events first."""
    whole(request, Action.MANAGE_SYSTEM)
    listed = Delivery.objects.filter(webhook=found(Webhook.objects.all(), "webhook", id)).order_by("-entry_seq")
    if state is not None:
        listed = listed.filter(state=state)
    before = (from_cursor(cursor) or {}).get("before")
    if isinstance(before, int) and 0 <= before < 2**63:
        listed = listed.filter(entry_seq__lt=before)
    page = list(listed[: limit + 1])
    following = to_cursor({"before": page[limit - 1].entry_seq}) if len(page) > limit else None
    return {"items": [_delivery(row) for row in page[:limit]], "next": following}


@router.post("/deliveries/{uuid:id}/again", auth=allowed(Action.MANAGE_SYSTEM), response={200: DeliveryOut})
def send_again(request: HttpRequest, id: UUID) -> dict[str, _WEB]:
    """A delivery that was given up is due again."""
    whole(request, Action.MANAGE_SYSTEM)
    delivery = found(Delivery.objects.all(), "delivery", id)
    if delivery.state != DeliveryState.FAILED:
        raise BadValue(field="id", value=str(id), expected="a delivery that was given up")
    webhooks.send_again(delivery, actor=actor(request), now=utc_now())
    delivery.refresh_from_db()
    return _delivery(delivery)


# -- documents


def _delivery(row: Delivery) -> dict[str, _WEB]:
    return {
        "id": row.pk,
        "event": row.entry_seq,
        "state": row.state,
        "attempts": row.attempts,
        "next_at": row.next_at,
        "last_status": row.last_status,
        "delivered_at": row.delivered_at,
    }


def _webhook(webhook: Webhook) -> dict[str, _WEB]:
    counts = dict(Delivery.objects.filter(webhook=webhook).values_list("state").annotate(Count("id")))
    return {
        "id": webhook.pk,
        "name": webhook.name,
        "host": urlsplit(webhook.url).hostname or "",
        "kinds": webhook.kinds,
        "is_active": webhook.is_active,
        "due": counts.get(DeliveryState.DUE, 0),
        "failed": counts.get(DeliveryState.FAILED, 0),
    }
