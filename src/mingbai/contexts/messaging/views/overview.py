"""The overview: what goes through, what is stopped, whether everything works."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from mingbai.connectors.ledger_index import CampaignCount, IndexBehind, Overview, Query, Scope
from mingbai.contexts.messaging.queries import overview as queries
from mingbai.contexts.messaging.queries.traffic import campaign_text, index, may_read_all, originals, scope_of
from mingbai.contexts.messaging.words import reason_word
from mingbai.contexts.people.policy import Action, Rights
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.kernel.clock import utc_now
from mingbai.kernel.masking import masked
from mingbai.kernel.verdicts import Category, Reason, Verdict

SPAN_WORDS = {"hour": _("Last hour"), "today": _("Today"), "day": _("24 hours"), "month": _("30 days")}
_LISTED = 8
_RATE_OVER = timedelta(minutes=1)
_ALARM_WORDS = {
    "policy_unusable": _("A published policy cannot be used; the one before stays in force"),
    "ledger_cannot_write": _("The ledger cannot write: messages are answered with try-later"),
    "messages_unscreened": _("Messages passed without being screened"),
    "shadow_behind": _("The shadow model does not keep up; it is skipped at times"),
}


@requires(Action.SEE_OVERVIEW)
@require_GET
def overview(request: RequestWithRights) -> HttpResponse:
    """The page; asked by htmx, only its live part."""
    now = utc_now()
    span = request.GET.get("span", "today")
    if span not in queries.SPANS:
        span = "today"
    scope = scope_of(request.rights.reach(Action.SEE_OVERVIEW))
    context: dict[str, Any] = {
        "now": now,
        "span": span,
        "spans": _spans(span),
        "is_all": scope.is_everything,
    }  # Any: what templates take
    try:
        found = queries.summary(span, scope, now)
        context |= {"found": found, **_charts(found.now, span, request.rights, now)}
        context["rate"] = _rate(scope, now)
    except IndexBehind as error:
        context["behind"] = error
    context |= _health(now)
    is_fragment = request.headers.get("HX-Request") == "true"
    return render(request, "messaging/_overview.html" if is_fragment else "messaging/overview.html", context)


def _spans(chosen: str) -> list[dict[str, object]]:
    return [
        {"name": name, "label": SPAN_WORDS[name], "is_chosen": name == chosen, "url": f"?{urlencode({'span': name})}"}
        for name in queries.SPANS
    ]


def _rate(scope: Scope, now: datetime) -> float:
    """Messages a second, over the last minute."""
    counts = index().count(Query(since=now - _RATE_OVER, until=now), scope)
    return sum(counts.values()) / _RATE_OVER.total_seconds()


def _charts(found: Overview, span: str, rights: Rights, now: datetime) -> dict[str, Any]:  # Any: what templates take
    window = {"since": found.since.isoformat(timespec="minutes"), "until": found.until.isoformat(timespec="minutes")}
    by_category = _by_category(found)
    return {
        "labels": [bucket.start for bucket in found.series],
        "series": [
            {"verdict": verdict, "values": [bucket.verdicts[verdict] for bucket in found.series]} for verdict in Verdict
        ],
        "total_spark": [bucket.messages for bucket in found.series],
        "stopped_spark": [bucket.verdicts[Verdict.HOLD] + bucket.verdicts[Verdict.BLOCK] for bucket in found.series],
        "categories": [
            {
                "category": category,
                "messages": messages,
                "stopped": stopped,
                "share": stopped / messages if messages else None,
                "url": _messages_url(category=category.label, **window),
            }
            for category, (messages, stopped) in by_category.items()
        ],
        "campaigns": _campaigns(found, rights),
        "rules": [
            {"label": rule, "value": count, "url": _messages_url(rule=rule, **window)}
            for rule, count in _rules(found)[:_LISTED]
        ],
        "reasons": [
            {"label": reason_word(code), "value": count, "url": _messages_url(reason=str(code), **window)}
            for code, count in [
                (code, count) for code, count in found.reasons.items() if code != Reason.MODEL_LEGITIMATE
            ][:_LISTED]
        ],
        "access_codes": [
            {
                "label": code or _("without access code"),
                "value": count,
                "url": _messages_url(access_code=code, **window) if code else "",
            }
            for code, count in list(found.access_codes.items())[:_LISTED]
        ],
        "messages_url": _messages_url(**window),
        "stopped_url": _messages_url(verdict=["hold", "block"], **window),
        "flagged": found.verdicts[Verdict.FLAG],
        "held": found.verdicts[Verdict.HOLD],
    }


def _rules(found: Overview) -> list[tuple[str, int]]:
    """Rules without the marks of exceptions (`freed:...`), which have a page of their own."""
    return [(rule, count) for rule, count in found.rules.items() if not rule.startswith("freed:")]


def _by_category(found: Overview) -> dict[Category, tuple[int, int]]:
    counts = {category: [0, 0] for category in Category}
    for (verdict, category), count in found.mix.items():
        counts[category][0] += count
        counts[category][1] += count if verdict >= Verdict.HOLD else 0
    return {category: (messages, stopped) for category, (messages, stopped) in counts.items()}


def _campaigns(found: Overview, rights: Rights) -> list[dict[str, Any]]:  # Any: as above
    """The largest, most stopped messages first; each with a text as this person may see it."""
    listed: dict[int, CampaignCount] = {}
    for one in (*found.stopped_campaigns, *found.campaigns):
        listed.setdefault(one.campaign, one)
    chosen = list(listed.values())[:_LISTED]
    may_campaigns = rights.may(Action.SEE_CAMPAIGNS)
    texts = originals([one.example for one in chosen])
    see, read = rights.reach(Action.SEE_OVERVIEW), rights.reach(Action.SEE_TEXT)
    is_clear = may_read_all(see, read)
    rows = []
    for one in chosen:
        text = texts.get(one.example, {}).get("text") or ""
        rows.append(
            {
                "id": campaign_text(one.campaign),
                "url": reverse("campaign", args=[campaign_text(one.campaign)]) if may_campaigns else "",
                "messages": one.messages,
                "stopped": one.stopped,
                "share": one.stopped / one.messages,
                "last_at": one.last_at,
                "text": text if is_clear else masked(text),
            }
        )
    return rows


def _messages_url(**query: object) -> str:
    return f"{reverse('messages')}?{urlencode({key: value for key, value in query.items() if value}, doseq=True)}"


def _health(now: datetime) -> dict[str, Any]:  # Any: as above
    status = queries.screener_status()
    disk = queries.disk()
    newest = index().search(Query(), limit=1).hits
    return {
        "status": status,
        "published_at": _moment((status or {}).get("policy", {}).get("published_at")),
        "latency": (status or {}).get("latency_ms") or {},
        "alarms": [
            {
                "word": _ALARM_WORDS.get(alarm["code"], alarm["code"]),
                "count": alarm["count"],
                "since": _moment(alarm.get("since")),
                "detail": alarm.get("detail", ""),
            }
            for alarm in (status or {}).get("alarms", [])
        ],
        "newest_at": newest[0].at if newest else None,
        "disk": disk,
        "is_disk_low": disk is not None and disk["days_left"] is not None and disk["days_left"] < 14,
    }


def _moment(value: object) -> datetime | None:
    return parse_datetime(value) if isinstance(value, str) else None


urlpatterns = [path("overview/", overview, name="overview")]
