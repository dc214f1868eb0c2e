"""Counts by the API: overview, health, campaigns."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema

from mingbai.connectors.ledger_index import Query
from mingbai.contexts.messaging.api.traffic import DecisionOut, SpanName, campaign_number, decision_out, reason_label
from mingbai.contexts.messaging.queries import overview as overviews
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.people.http_api import NotFound, allowed, reach
from mingbai.contexts.people.policy import Action
from mingbai.kernel.clock import utc_now

router = Router(tags=["decisions"])
_WEB = Any  # what ninja makes a document from


class Step(Schema):
    start: datetime
    verdicts: dict[str, int]


class CampaignOut(Schema):
    id: str
    messages: int
    stopped: int
    first_at: datetime
    last_at: datetime


class HealthOut(Schema):
    """screener: what it says of itself, null: it does not answer. disk: the last forecast, null before the first."""

    screener: dict[str, Any] | None  # Any: JSON, as `mingbai screener` answers
    disk: dict[str, Any] | None  # Any: JSON, see docs/reference/cli.md
    newest: datetime | None  # of the decisions within the caller's scope


class OverviewOut(Schema):
    """Counts of a window, exact."""

    since: datetime
    until: datetime
    messages: int
    verdicts: dict[str, int]
    categories: dict[str, int]
    reasons: dict[str, int]
    rules: dict[str, int]
    series: list[Step]
    campaigns: list[CampaignOut]
    freed: int


class CampaignList(Schema):
    items: list[CampaignOut]


class VariantOut(Schema):
    messages: int
    stopped: int
    example: DecisionOut | None


class OneCampaign(Schema):
    id: str
    messages: int
    verdicts: dict[str, int]
    senders: int
    receivers: int
    access_codes: dict[str, int]
    growth: list[Step]
    variants: list[VariantOut]


@router.get("/overview", auth=allowed(Action.SEE_OVERVIEW), response={200: OverviewOut})
def overview(request: HttpRequest, span: SpanName = "day") -> dict[str, _WEB]:
    now = utc_now()
    scope = traffic.scope_of(reach(request, Action.SEE_OVERVIEW))
    window = overviews.window(span, now)
    found = traffic.index().overview(window.since, window.until, scope, step_s=window.step_s)
    return {
        "since": found.since,
        "until": found.until,
        "messages": found.messages,
        "verdicts": {verdict.label: count for verdict, count in found.verdicts.items()},
        "categories": {category.label: count for category, count in found.categories.items()},
        "reasons": {reason_label(code): count for code, count in found.reasons.items()},
        "rules": found.rules,
        "series": [_step(bucket) for bucket in found.series],
        "campaigns": [_campaign(one) for one in found.campaigns],
        "freed": overviews.freed_count(window.since, window.until, scope),
    }


@router.get("/health", auth=allowed(Action.SEE_OVERVIEW), response={200: HealthOut})
def health(request: HttpRequest) -> dict[str, _WEB]:
    """Does everything work: the screener with its policy and alarms, the disk, how fresh the newest decision is."""
    scope = traffic.scope_of(reach(request, Action.SEE_OVERVIEW))
    newest = traffic.index().search(Query(), 1, None, scope).hits
    return {
        "screener": overviews.screener_status(),
        "disk": overviews.disk(),
        "newest": newest[0].at if newest else None,
    }


@router.get("/campaigns", auth=allowed(Action.SEE_CAMPAIGNS), response={200: CampaignList})
def campaigns(request: HttpRequest, span: SpanName = "day", stopped: bool = False) -> dict[str, _WEB]:
    """The largest of a window; stopped: by messages that were stopped."""
    window = overviews.window(span, utc_now())
    scope = traffic.scope_of(reach(request, Action.SEE_CAMPAIGNS))
    found = traffic.index().overview(window.since, window.until, scope, step_s=window.step_s)
    return {"items": [_campaign(one) for one in (found.stopped_campaigns if stopped else found.campaigns)]}


@router.get("/campaigns/{id}", auth=allowed(Action.SEE_CAMPAIGNS), response={200: OneCampaign})
def campaign(request: HttpRequest, id: str, span: SpanName = "week") -> dict[str, _WEB]:
    number = campaign_number(id)
    window = overviews.window(span, utc_now())
    scope = traffic.scope_of(reach(request, Action.SEE_CAMPAIGNS))
    found = traffic.index().campaign(number, window.since, window.until, scope)
    if not found.messages:
        raise NotFound(what="campaign", id=id)
    variants = []
    for variant in found.variants:
        decision = traffic.index().decision(*variant.example, scope)
        example = None if decision is None else decision_out(request, traffic.hit_of(decision), decision.original)
        variants.append({"messages": variant.messages, "stopped": variant.stopped, "example": example})
    return {
        "id": id,
        "messages": found.messages,
        "verdicts": {verdict.label: count for verdict, count in found.verdicts.items()},
        "senders": found.senders,
        "receivers": found.receivers,
        "access_codes": {code or "": count for code, count in found.access_codes.items()},
        "growth": [_step(bucket) for bucket in found.growth],
        "variants": variants,
    }


# -- documents


def _campaign(one: Any) -> dict[str, _WEB]:  # Any: a CampaignCount
    return {
        "id": traffic.campaign_text(one.campaign),
        "messages": one.messages,
        "stopped": one.stopped,
        "first_at": one.first_at,
        "last_at": one.last_at,
    }


def _step(bucket: Any) -> dict[str, _WEB]:  # Any: a Bucket
    return {
        "start": bucket.start,
        "verdicts": {verdict.label: count for verdict, count in bucket.verdicts.items()},
    }
