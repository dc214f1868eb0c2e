"""The rulebook as everybody reads it: what is in force, which rules hit, its history. Drafts: `rulebook_draft`."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from mingbai.connectors.screening_client import ScreenerUnavailable
from mingbai.contexts.audit import services as audit
from mingbai.contexts.messaging.models import RulebookState, RulebookVersion
from mingbai.contexts.messaging.queries import rulebook as queries
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.services import rulebook as services
from mingbai.contexts.messaging.views import rulebook_draft as draft
from mingbai.contexts.messaging.views.rulebook_words import CATEGORIES, PERIODS, category_options, period_of
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Verdict

_MOST_HIT = 12


def screener_status() -> dict[str, Any] | None:  # Any: JSON
    try:
        return traffic.client().status()
    except ScreenerUnavailable:
        return None


@requires(Action.SEE_RULES)
@require_GET
def overview(request: RequestWithRights) -> HttpResponse:
    """What is in force, what waits, who is hit most."""
    now = utc_now()
    version = services.ensure_first(now=now)
    term = queries.present_term()
    waiting = list(queries.open_versions())
    days = period_of(request.GET.get("days"))
    rules = queries.rules_of(version.text, now=now)
    figures = queries.rule_figures(rules, request.rights, since=now - timedelta(days=days), until=now)
    hit = sorted((rule for rule in figures.rules if rule.hits), key=lambda rule: -rule.hits)
    previous = queries.previous_in_force()
    queries.name_people(waiting, "author")
    return render(request, "messaging/rulebook.html", {
        "version": version, "term": term, "now": now,
        "drafts": [one for one in waiting if one.state == RulebookState.DRAFT],
        "submitted": [one for one in waiting if one.state == RulebookState.SUBMITTED],
        "rules": rules, "in_force": sum(rule.is_in_force for rule in rules),
        "bars": [_bar(rule, days) for rule in hit[:_MOST_HIT]],
        "wrong": sorted((rule for rule in hit if rule.freed), key=lambda rule: -rule.freed)[:_MOST_HIT],
        "figures": figures,
        "days": days, "periods": PERIODS, "previous": previous,
        "confirmed": queries.is_confirmed(version, screener_status()),
        "may": _may(request),
    })  # fmt: skip


def _may(request: RequestWithRights) -> dict[str, bool]:
    return {
        "write": request.rights.may(Action.WRITE_RULES),
        "approve": request.rights.may(Action.APPROVE_RULES),
        "messages": request.rights.may(Action.SEE_MESSAGES),
    }


def _bar(rule: queries.RuleRow, days: int) -> dict[str, object]:
    url = reverse("rulebook_rule", args=[rule.id]) + "?" + urlencode({"days": days})
    wrong = _("%(count)s freed") % {"count": rule.freed} if rule.freed else ""
    return {"label": rule.id, "value": rule.hits, "url": url, "verdict": rule.action, "note": wrong}


@requires(Action.SEE_RULES)
@require_GET
def in_force(request: RequestWithRights) -> HttpResponse:
    """A fragment: whether the screener decides by what was approved. Asks again until it does."""
    version = services.ensure_first(now=utc_now())
    confirmed = queries.is_confirmed(version, screener_status())
    context = {
        "version": version,
        "confirmed": confirmed,
        "term": queries.present_term(),
        "previous": queries.previous_in_force(),
        "may": _may(request),
    }
    return render(request, "messaging/rulebook_in_force.html", context)


@requires(Action.SEE_RULES)
@require_GET
def rules(request: RequestWithRights) -> HttpResponse:
    """Every rule in force by category, with its owner, reason, validity, hits and false blocks."""
    context = _table(request)
    return render(request, "messaging/rulebook_rules.html", context)


def _table(request: RequestWithRights) -> dict[str, Any]:  # Any: what templates take
    now = utc_now()
    version = services.ensure_first(now=now)
    days = period_of(request.GET.get("days"))
    wanted = {name: request.GET.get(name, "").strip() for name in ("q", "category", "action", "state")}
    found = queries.rule_figures(
        queries.rules_of(version.text, now=now), request.rights, since=now - timedelta(days=days), until=now
    )
    listed = [rule for rule in found.rules if _fits(rule, wanted)]
    groups = []
    for code, word in CATEGORIES.items():
        members = [rule for rule in listed if rule.category == code]
        if members:
            members.sort(key=lambda rule: (-rule.hits, rule.id))
            hits, freed = sum(rule.hits for rule in members), sum(rule.freed for rule in members)
            groups.append({"code": code, "word": word, "rules": members, "hits": hits, "freed": freed})
    return {
        "version": version, "now": now, "days": days, "periods": PERIODS, "groups": groups, "wanted": wanted,
        "count": len(listed), "total": len(found.rules), "is_behind": found.is_behind, "categories": category_options(),
        "actions": list(Verdict), "query": urlencode({**{k: v for k, v in wanted.items() if v}, "days": days}),
    }  # fmt: skip


def _fits(rule: queries.RuleRow, wanted: dict[str, str]) -> bool:
    words = wanted["q"].casefold()
    state = wanted["state"]
    return (
        (not words or any(words in field.casefold() for field in (rule.id, rule.owner, rule.reason)))
        and (not wanted["category"] or rule.category == wanted["category"])
        and (not wanted["action"] or rule.action.label == wanted["action"])
        and (not state or (state == "in_force") == rule.is_in_force)
    )


_COLUMNS = (
    "id", "category", "action", "priority", "owner", "reason", "enabled", "valid_from", "valid_to", "is_in_force",
    "hits", "freed",
)  # fmt: skip


@requires(Action.SEE_RULES)
@require_GET
def export(request: RequestWithRights) -> HttpResponse:
    """The table as CSV, for the auditor. A cell that a spreadsheet would take for a formula gets an apostrophe."""
    context = _table(request)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    for group in context["groups"]:
        for rule in group["rules"]:
            values = [getattr(rule, name) for name in _COLUMNS]
            writer.writerow([_cell(value.label if isinstance(value, Verdict) else str(value)) for value in values])
    version = context["version"]
    audit.append(
        "rulebook.exported",
        actor=request.user.ref,
        subject=version.ref,
        data={"number": version.number, "rules": context["count"], "filter": context["wanted"]},
    )
    response = HttpResponse("\ufeff" + out.getvalue(), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="rules-version-{version.number}.csv"'
    return response


def _cell(text: str) -> str:
    return f"'{text}" if text[:1] in "=+-@\t\r" and not text.lstrip("-").isdigit() else text


@requires(Action.SEE_RULES)
@require_GET
def rule(request: RequestWithRights, rule_id: str) -> HttpResponse:
    """One rule: what it says, what it hit, where its messages are."""
    now = utc_now()
    version = services.ensure_first(now=now)
    days = period_of(request.GET.get("days"))
    found = [one for one in queries.rules_of(version.text, now=now) if one.id == rule_id]
    if not found:
        raise Http404
    since = now - timedelta(days=days)
    row = queries.rule_figures(found, request.rights, since=since, until=now).rules[0]
    text = queries.rule_text(version.text, rule_id)
    return render(request, "messaging/rulebook_rule.html", {
        "version": version, "rule": row, "text": text, "days": days, "periods": PERIODS, "now": now,
        "category_word": CATEGORIES.get(row.category, row.category),
        "growth": queries.rule_growth(rule_id, request.rights, since=since, until=now),
        "may": _may(request),
    })  # fmt: skip


@requires(Action.SEE_RULES)
@require_GET
def history(request: RequestWithRights) -> HttpResponse:
    """Every version, and which was in force from when on."""
    services.ensure_first(now=utc_now())
    terms = list(queries.history()[:200])
    listed = list(queries.versions()[:200])
    queries.name_people(terms, "by")
    queries.name_people(listed, "author", "decided_by")
    return render(request, "messaging/rulebook_history.html", {
        "terms": terms, "versions": listed,
        "been": {term.version_id for term in terms}, "present": terms[0].version_id, "may": _may(request),
    })  # fmt: skip


def found_version(id: UUID) -> RulebookVersion:
    found = RulebookVersion.objects.select_related("base").filter(pk=id).first()
    if found is None:
        raise Http404
    return found


@requires(Action.SEE_RULES)
@require_GET
def differences(request: RequestWithRights, id: UUID) -> HttpResponse:
    """One version against another: its base, or whichever number is asked for; in one column or side by side."""
    version = found_version(id)
    number = request.GET.get("with", "")
    asked = int(number) if number.isdecimal() and len(number) < 9 else 0
    other = RulebookVersion.objects.filter(number=asked).first()
    other = other or version.base or services.ensure_first(now=utc_now())
    return render(request, "messaging/rulebook_differences.html", {
        "version": version, "other": other, "found": queries.difference(other.text, version.text),
        "is_side": request.GET.get("view") == "side",
        "numbers": RulebookVersion.objects.exclude(pk=version.pk).values_list("number", flat=True)[:200],
    })  # fmt: skip


@requires(Action.APPROVE_RULES)
@require_POST
def roll_back(request: RequestWithRights, id: UUID) -> HttpResponse:
    """One click: a version that was in force before is in force again."""
    found_version(id)
    try:
        version = services.roll_back(id, by=request.user.pk, now=utc_now(), reason=request.POST.get("reason", ""))
    except services.WrongState as error:
        text = _("Version %(number)s cannot be put back: it is in force, or it never was.") % error.data
        messages.error(request, text)
    else:
        messages.success(request, _("Version %(number)s is put back.") % {"number": version.number})
    return redirect("rulebook")


urlpatterns = [
    path("rulebook/", overview, name="rulebook"),
    path("rulebook/in-force/", in_force, name="rulebook_in_force"),
    path("rulebook/rules/", rules, name="rulebook_rules"),
    path("rulebook/rules.csv", export, name="rulebook_export"),
    path("rulebook/rules/<path:rule_id>/", rule, name="rulebook_rule"),
    path("rulebook/history/", history, name="rulebook_history"),
    path("rulebook/<uuid:id>/differences/", differences, name="rulebook_differences"),
    path("rulebook/<uuid:id>/roll-back/", roll_back, name="rulebook_roll_back"),
    *draft.urlpatterns,
]
