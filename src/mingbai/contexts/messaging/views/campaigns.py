"""Campaigns: the same text, or nearly, to many: how it grew, in which variants, who sends and who gets it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_GET

from mingbai.connectors.ledger_index import CampaignCount, CampaignView, IndexBehind, Query, Scope
from mingbai.contexts.messaging.queries.overview import SPANS, window
from mingbai.contexts.messaging.queries.traffic import (
    campaign_text,
    index,
    may_read_all,
    originals,
    scope_of,
    shown_all,
)
from mingbai.contexts.messaging.views.overview import SPAN_WORDS
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.kernel.clock import utc_now
from mingbai.kernel.masking import masked
from mingbai.kernel.verdicts import Category, Verdict

_ID = re.compile(r"[0-9a-f]{16}")
_EXAMPLES = 12
_VARIANTS = 20


@requires(Action.SEE_CAMPAIGNS)
@require_GET
def campaigns(request: RequestWithRights) -> HttpResponse:
    """The largest of a period: most messages, or most stopped."""
    now = utc_now()
    span = request.GET.get("span", "day")
    span = span if span in SPANS else "day"
    by = "stopped" if request.GET.get("by") == "stopped" else "messages"
    scope = scope_of(request.rights.reach(Action.SEE_CAMPAIGNS))
    context: dict[str, Any] = {  # Any: what templates take
        "now": now, "span": span, "by": by,
        "spans": [{"name": name, "label": SPAN_WORDS[name], "is_chosen": name == span} for name in SPANS],
    }  # fmt: skip
    chosen = window(span, now)
    try:
        found = index().overview(chosen.since, chosen.until, scope, step_s=chosen.step_s)
        listed = {one.campaign: one for one in (*found.campaigns, *found.stopped_campaigns)}
        rows = sorted(listed.values(), key=lambda one: -(one.stopped if by == "stopped" else one.messages))
        context["rows"] = _rows(rows, chosen.since, chosen.until, scope, request)
        context["stopped"] = sum(one.stopped for one in rows)
    except IndexBehind as error:
        context["behind"] = error
    return render(request, "messaging/campaigns.html", context)


def _rows(
    found: list[CampaignCount], since: datetime, until: datetime, scope: Scope, request: RequestWithRights
) -> list[dict[str, Any]]:  # Any: what templates take
    texts = originals([one.example for one in found])
    rows = []
    for one in found:
        view = index().campaign(one.campaign, since, until, scope)
        text = texts.get(one.example, {}).get("text") or ""
        rows.append(
            {
                "id": campaign_text(one.campaign), "text": _as_allowed(text, request), "messages": one.messages,
                "stopped": one.stopped, "share": one.stopped / one.messages, "senders": view.senders,
                "receivers": view.receivers, "first_at": one.first_at, "last_at": one.last_at,
                "variants": view.variant_count, "growth": _few_points([bucket.messages for bucket in view.growth]),
            }
        )  # fmt: skip
    return rows


@requires(Action.SEE_CAMPAIGNS)
@require_GET
def campaign(request: RequestWithRights, id: str) -> HttpResponse:
    """One campaign, whole: everything of it that this person may see."""
    now = utc_now()
    if not _ID.fullmatch(id) or not int(id, 16):
        raise Http404
    number = int(id, 16)
    scope = scope_of(request.rights.reach(Action.SEE_CAMPAIGNS))
    try:
        view = index().campaign(number, None, None, scope)
    except IndexBehind as error:
        return render(request, "messaging/campaign.html", {"behind": error, "id": id, "now": now})
    if not view.messages:
        raise Http404
    newest = index().search(Query(campaign=number), _EXAMPLES, None, scope).hits
    stopped = view.verdicts[Verdict.HOLD] + view.verdicts[Verdict.BLOCK]
    may = {
        "decide": request.rights.may(Action.DECIDE_CAMPAIGN),
        "free": request.rights.may(Action.FREE_MESSAGE),
        "appeal": request.rights.may(Action.APPEAL),
    }
    context: dict[str, Any] = {  # Any: as above
        "now": now, "id": id, "view": view, "stopped": stopped, "share": stopped / view.messages, "may": may,
        "labels": [bucket.start for bucket in view.growth],
        "series": [{"verdict": v, "values": [bucket.verdicts[v] for bucket in view.growth]} for v in Verdict],
        "variants": _variants(view, request), "rows": shown_all(newest, request.rights),
        "category": max(Category, key=lambda one: view.categories.get(one, 0)),
        "access_codes": [
            {"label": code, "value": count} for code, count in list(view.access_codes.items())[:10] if code is not None
        ],
        "rules": [{"label": rule, "value": count} for rule, count in list(view.rules.items())[:10]],
        "lasted": (view.last_at - view.first_at) if view.first_at and view.last_at else timedelta(0),
        "verdicts": [{"verdict": v, "value": count} for v, count in view.verdicts.items() if count],
    }  # fmt: skip
    return render(request, "messaging/campaign.html", context)


def _variants(view: CampaignView, request: RequestWithRights) -> list[dict[str, Any]]:  # Any: as above
    """Distinct texts, the most frequent first; each to be compared with the first."""
    chosen = view.variants[:_VARIANTS]
    texts = originals([variant.example for variant in chosen])
    rows = []
    for variant in chosen:
        original = texts.get(variant.example, {})
        rows.append(
            {
                "text": _as_allowed(original.get("text") or "", request), "messages": variant.messages,
                "stopped": variant.stopped, "share": variant.stopped / variant.messages,
                "text_hash": variant.text_hash.hex() if variant.text_hash else "",
            }
        )  # fmt: skip
    return rows


def _as_allowed(text: str, request: RequestWithRights) -> str:
    """A text that stands for many: in full only for somebody who may read all of them."""
    see, read = request.rights.reach(Action.SEE_CAMPAIGNS), request.rights.reach(Action.SEE_TEXT)
    return text if may_read_all(see, read) else masked(text)


def _few_points(values: list[int], most: int = 40) -> list[int]:
    """A long series folded, so that a small line shows its shape."""
    size = -(-len(values) // most)
    return [sum(values[at : at + size]) for at in range(0, len(values), size)] if values else []


urlpatterns = [
    path("campaigns/", campaigns, name="campaigns"),
    path("campaigns/<str:id>/", campaign, name="campaign"),
]
