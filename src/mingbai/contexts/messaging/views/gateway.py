"""The SMS gateway's pages: its connections and traffic now, what waits for a person, its rows, its modes.

The first two ask the workers again every two seconds. Everything that changes something asks once more first, on a page
of its own where there is no script.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mingbai.connectors.gateway_registry import ROWS, SECRETS, Mode, Registry
from mingbai.contexts.audit.words import said
from mingbai.contexts.messaging.models import GatewayRow
from mingbai.contexts.messaging.queries import gateway as queries
from mingbai.contexts.messaging.queries.traffic import index, scope_of
from mingbai.contexts.messaging.services import gateway as services
from mingbai.contexts.messaging.views.freeing import as_dialog
from mingbai.contexts.messaging.views.gateway_forms import RowForm
from mingbai.contexts.messaging.views.gateway_words import (
    KINDS,
    MODE_BADGES,
    MODES,
    NEW,
    NOW,
    TOTALS,
    alarm_word,
    choice_word,
    detail_words,
    end_word,
    field_words,
    reason_word,
    refusal_word,
    state_words,
)
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.queries import names_of
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue, MingbaiError

_SOON: Final = timedelta(days=30)  # a certificate is renewed before; authorities remind at that distance too
_SHOWN: Final = 100  # messages on a page of dead letters
_MOST_GROUPS: Final = 100  # accounts with connections, on the page that is made anew every two seconds
_MOST_LINES: Final = 50  # connections of one of them
HOURS: Final = (1, 2, 4, 8, 24)
Shown = dict[str, Any]  # Any: what templates take

TABS: Final = (
    ("gateway", (), gettext_lazy("Connections")),
    ("gateway_live", (), gettext_lazy("Live traffic")),
    ("gateway_rows", ("accounts",), gettext_lazy("Accounts")),
    ("gateway_rows", ("smscs",), gettext_lazy("SMSCs")),
    ("gateway_rows", ("routes",), gettext_lazy("Routes")),
    ("gateway_rows", ("classes",), gettext_lazy("Traffic classes")),
    ("gateway_rows", ("ranges",), gettext_lazy("Number ranges")),
    ("gateway_dead", (), gettext_lazy("Dead letters")),
    ("gateway_doubt", (), gettext_lazy("In doubt")),
)


def _page(request: RequestWithRights, url: str, found: queries.LiveGateway | None = None) -> Shown:
    """What each page of the gateway has. found: what the gateway says now, where the page has asked already."""
    totals = (found or queries.live()).totals
    waiting = {"gateway_dead": totals.get("dead", 0), "gateway_doubt": totals.get("in_doubt", 0)}
    tabs = [(reverse(name, args=places), label, waiting.get(name, 0)) for name, places, label in TABS]
    return {
        "now": utc_now(),
        "tabs": [{"url": at, "label": label, "count": count, "is_current": at == url} for at, label, count in tabs],
        "bypasses": queries.bypasses(utc_now()),
        "may_change": request.rights.may(Action.MANAGE_GATEWAY),
        "may_operate": request.rights.may(Action.OPERATE_GATEWAY),
    }


def _is_fragment(request: RequestWithRights) -> bool:
    return request.headers.get("HX-Request") == "true"


# -- now


@requires(Action.SEE_GATEWAY)
@require_GET
def connections(request: RequestWithRights) -> HttpResponse:
    """Who is connected, in which state, how fast, with what errors."""
    found = queries.live()
    by_name: dict[tuple[str, str], list[Shown]] = {}
    for one in found.connections:
        words, tone, _icon = state_words(str(one.get("state", "")))
        last_error = end_word(str(one.get("last_error") or ""))
        key = f"pdus-{one['worker']}-{one['id']}"
        line = {**one, "word": words, "tone": tone, "last_error": last_error, "key": key}
        by_name.setdefault((str(one["side"]), str(one["name"])), []).append(line)
    smscs = [_group("smsc", one, by_name.pop(("smsc", one["name"]), [])) for one in found.smscs]
    accounts = [_group("account", one, by_name.pop(("account", one["name"]), [])) for one in found.accounts]
    strangers = [line for lines in by_name.values() for line in lines]  # have not logged in yet
    connected = [one for one in accounts if one["lines"]]
    idle = [one for one in accounts if not one["lines"]]
    context = {
        **_page(request, reverse("gateway"), found),
        "live": found,
        "smscs": smscs,
        "accounts": connected[:_MOST_GROUPS],
        "more_accounts": max(0, len(connected) - _MOST_GROUPS),
        "idle": idle[:_MOST_GROUPS],
        "more_idle": max(0, len(idle) - _MOST_GROUPS),
        "smscs_up": sum(any(line["is_up"] for line in one["lines"]) for one in smscs),
        "accounts_up": len(connected),
        "accounts_all": len(accounts),
        "strangers": [{"lines": strangers[:_MOST_LINES], "more": max(0, len(strangers) - _MOST_LINES)}]
        if strangers
        else [],
        "alarms": _alarms(found),
        "in_force": queries.in_force(),
    }
    template = "messaging/_gateway_connections.html" if _is_fragment(request) else "messaging/gateway.html"
    return render(request, template, context)


def _group(side: str, one: Mapping[str, Any], lines: list[Shown]) -> Shown:  # Any: JSON
    kind = "smscs" if side == "smsc" else "accounts"
    words, tone, icon = state_words(str(one.get("state", "")))
    mode = str(one.get("mode", ""))
    return {
        **one,
        "kind": kind,
        "word": words if side == "smsc" else "",
        "tone": tone,
        "icon": icon,
        "last_error": end_word(str(one.get("last_error") or "")),
        "mode_word": str(MODES[mode][0]) if mode in MODES else mode,
        "absent": " · ".join(f"{name} {count:,}" for name, count in (one.get("fields_absent") or {}).items() if count),
        "lines": lines[:_MOST_LINES],
        "more": max(0, len(lines) - _MOST_LINES),
    }


def _alarms(found: queries.LiveGateway) -> list[Shown]:
    return [
        {
            "word": alarm_word(str(one.get("code", ""))),
            "detail": detail_words(str(one.get("detail", ""))),
            "since": one.get("since"),
            "worker": one.get("worker"),
        }
        for one in found.alarms
    ]


@requires(Action.SEE_GATEWAY)
@require_GET
def live(request: RequestWithRights) -> HttpResponse:
    """How much passes, how fast, what stops it."""
    found = queries.live()
    refusals = sorted(found.refusals.items(), key=lambda one: -int(one[1]))
    context = {
        **_page(request, reverse("gateway_live"), found),
        "live": found,
        "now_counts": [(words, found.totals[name]) for name, words in NOW if name in found.totals],
        "counts": [(words, found.totals[name]) for name, words in TOTALS if name in found.totals],
        "refusals": [(refusal_word(why), count) for why, count in refusals],
        "certificates": [_certificate(one) for one in found.certificates],
        "smscs": [_group("smsc", one, []) for one in found.smscs],
        "accounts": [_group("account", one, []) for one in found.accounts][: 2 * _MOST_GROUPS],
        "more_accounts": max(0, len(found.accounts) - 2 * _MOST_GROUPS),
        "alarms": _alarms(found),
        "in_force": queries.in_force(),
    }
    template = "messaging/_gateway_live.html" if _is_fragment(request) else "messaging/gateway_live.html"
    return render(request, template, context)


def _certificate(one: Mapping[str, Any]) -> Shown:  # Any: JSON
    end = one.get("not_after")
    left = end - utc_now() if isinstance(end, datetime) else None
    return {
        **one,
        "is_over": left is not None and left <= timedelta(0),
        "is_soon": left is not None and timedelta(0) < left < _SOON,
    }


@requires(Action.OPERATE_GATEWAY)
@require_http_methods(["GET", "POST"])
def bounce(request: RequestWithRights, kind: str, name: str) -> HttpResponse:
    """GET: asks. POST: the connections are closed, so that they log in anew."""
    _row(kind, name)
    if kind not in ("accounts", "smscs"):
        raise Http404
    if request.method == "POST":
        services.bounce(kind, name, actor=request.user.ref, now=utc_now())
        messages.success(request, _("Ordered: the connections of %(name)s are made anew.") % {"name": name})
        return _back(request, reverse("gateway"))
    return as_dialog(request, "messaging/gateway_bounce.html", {"kind": kind, "name": name}, is_problem=False)


def _back(request: RequestWithRights, url: str) -> HttpResponse:
    if not _is_fragment(request):
        return redirect(url)
    response = HttpResponse(status=204)
    response.headers["HX-Redirect"] = url
    return response


# -- what waits for a person


@requires(Action.SEE_GATEWAY)
@require_GET
def dead(request: RequestWithRights) -> HttpResponse:
    return _waiting(request, "dead")


@requires(Action.SEE_GATEWAY)
@require_GET
def doubt(request: RequestWithRights) -> HttpResponse:
    return _waiting(request, "doubt")


def _waiting(request: RequestWithRights, which: str) -> HttpResponse:
    url = reverse(f"gateway_{which}")
    after = request.GET.get("after", "")
    if not (after.isascii() and after.isdigit() and len(after) <= 20):
        after = ""
    found = queries.waiting(which, after=after, limit=_SHOWN)
    context = {
        **_page(request, url),
        "which": which,
        "found": found,
        "items": [{**one, "reason": reason_word(str(one.get("reason") or ""))} for one in found.items],
        "first_url": url if after else "",
        "next_url": f"{url}?after={found.next}" if found.next else "",
        "may_see": request.rights.may(Action.SEE_MESSAGES),
    }
    return render(request, "messaging/gateway_waiting.html", context)


@requires(Action.OPERATE_GATEWAY)
@require_POST
def order(request: RequestWithRights) -> HttpResponse:
    """Send again or give up: asks once more, then orders."""
    act, which, ids = request.POST.get("act", ""), request.POST.get("which", "dead"), request.POST.getlist("id")
    which = "doubt" if which == "doubt" else "dead"
    url = reverse(f"gateway_{which}")
    is_all = request.POST.get("all") == "1"
    if act not in ("resend", "drop") or not (ids or is_all):
        messages.warning(request, _("Choose messages first."))
        return redirect(url)
    if request.POST.get("confirmed") != "1":
        count = min(queries.waiting(which, limit=1).total, services.MOST_IN_ALL) if is_all else len(ids)
        context = {"act": act, "which": which, "ids": ids, "is_all": is_all, "count": count, "back_url": url}
        return render(request, "messaging/gateway_order.html", context)
    try:
        if is_all:
            count = services.order_all(act, which, actor=request.user.ref, now=utc_now())
        else:
            count = (services.resend if act == "resend" else services.drop)(ids, actor=request.user.ref, now=utc_now())
    except BadValue as error:
        messages.error(request, said(error))
    else:
        text = ngettext("Ordered for %(n)s message.", "Ordered for %(n)s messages.", count) % {"n": count}
        messages.success(request, text)
    return redirect(url)


@requires(Action.SEE_MESSAGES)
@require_GET
def decision(request: RequestWithRights, stream: str, seq: int) -> HttpResponse:
    """From a message of the gateway to its decision in the ledger."""
    reach = request.rights.reach(Action.SEE_MESSAGES)
    found = index().decision(stream, seq, scope_of(reach)) if stream.startswith("gateway-") and seq < 2**62 else None
    if found is None:
        raise Http404
    return redirect("message", UUID(bytes=found.entry["id"]))


# -- rows


@requires(Action.SEE_GATEWAY)
@require_GET
def rows(request: RequestWithRights, kind: str) -> HttpResponse:
    one, about = _kind(kind)
    found = queries.rows(kind)
    if kind == "routes":  # in the order in which they count
        found.sort(key=lambda row: (row.document.get("order", 0), row.name))
    people = names_of([row.updated_by for row in found])
    columns = _COLUMNS[kind]
    shown: list[Shown] = [
        {
            "row": row,
            "name": row.name,
            "url": reverse("gateway_row", args=[kind, row.name]),
            "cells": [_cell(kind, name, row.document.get(name)) for name in columns],
            "is_active": row.document.get("active", True),
            "mode": _mode(row),
            "by": people.get(row.updated_by, row.updated_by),
        }
        for row in found
    ]
    if kind == "classes":
        known = {row.name for row in found}
        built_in = [row.model_dump(mode="json") for name, row in Registry().class_of.items() if name not in known]
        shown += [
            {"name": row["name"], "is_active": True, "cells": [_cell(kind, name, row.get(name)) for name in columns]}
            for row in built_in
        ]
    context = {
        **_page(request, reverse("gateway_rows", args=[kind])),
        "kind": kind,
        "one": one,
        "about": about,
        "new_title": str(NEW[kind]),
        "columns": [{"label": field_words(kind, name)[0], "is_number": name in _NUMBERS} for name in columns],
        "rows": shown,
        "total": len(found),
        "has_mode": kind in ("accounts", "routes"),
        "in_force": queries.in_force(),
        "portability": queries.portability() if kind == "ranges" else None,
    }
    return render(request, "messaging/gateway_rows.html", context)


_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "accounts": ("protocol", "login", "traffic", "access_codes", "rate_per_s"),
    "smscs": ("protocol", "address", "login", "connections", "rate_per_s"),
    "routes": ("order", "accounts", "access_codes", "destinations", "networks", "to"),
    "classes": ("unscreened", "in_doubt", "hold_minutes", "after_hold", "flagged"),
    "ranges": ("network", "prefixes"),
}
_NUMBERS: Final = ("rate_per_s", "connections", "order", "hold_minutes")
_CODES: Final = (
    "login",
    "address",
    "access_codes",
    "to",
    "accounts",
    "networks",
    "network",
    "prefixes",
    "destinations",
)


def _cell(kind: str, name: str, value: Any) -> Shown:  # Any: JSON
    is_any = kind == "routes" and name in ("accounts", "access_codes", "destinations", "networks")
    none = _("any") if is_any else _("no limit") if name == "rate_per_s" else "–"
    text = "" if name == "rate_per_s" and value == 0 else _said(name, value)
    return {"text": text, "none": none, "is_number": name in _NUMBERS, "is_code": name in _CODES}


def _said(name: str, value: Any) -> str:  # Any: JSON
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list):
        return ", ".join(str(one) for one in value[:8]) + (" …" if len(value) > 8 else "")
    if isinstance(value, dict):
        return ", ".join(f"{key}={one}" for key, one in value.items())
    text = "" if value is None else choice_word(name, str(value))
    return text if len(text) <= 120 else f"{text[:120]} …"


def _mode(row: GatewayRow) -> Shown | None:
    mode = row.document.get("mode")
    if not mode:
        return None
    is_over = mode == Mode.BYPASS and not ROWS[row.kind].model_validate(row.document).bypass_until > utc_now()  # type: ignore[attr-defined]  # of rows with a mode
    mode = Mode.ENFORCE.value if is_over else mode
    until = row.document.get("bypass_until") if mode == Mode.BYPASS else None
    tone, icon = MODE_BADGES[mode]
    word, about = (str(one) for one in MODES[mode])
    return {
        "code": mode, "word": word, "about": about, "tone": tone, "icon": icon, "until": queries.moment(until),
    }  # fmt: skip


@requires(Action.MANAGE_GATEWAY)
@require_http_methods(["GET", "POST"])
def row_new(request: RequestWithRights, kind: str) -> HttpResponse:
    one, about = _kind(kind)
    form = RowForm(kind, request.POST if request.method == "POST" else None)
    if request.method == "POST" and _save(request, form, is_new=True):
        return redirect("gateway_rows", kind=kind)
    return _form_page(request, kind, form, None, {"one": one, "about": about})


@requires(Action.SEE_GATEWAY)
@require_http_methods(["GET", "POST"])
def row(request: RequestWithRights, kind: str, name: str) -> HttpResponse:
    """One row: as a form for who may change it, as facts for others."""
    one, about = _kind(kind)
    found = _row(kind, name)
    may_change = request.rights.may(Action.MANAGE_GATEWAY)
    if request.method == "POST" and not may_change:
        raise PermissionDenied
    form = RowForm(kind, request.POST if request.method == "POST" else None, found.document)
    if request.method == "POST" and _save(request, form, is_new=False):
        return redirect("gateway_rows", kind=kind)
    return _form_page(request, kind, form if may_change else None, found, {"one": one, "about": about})


def _form_page(
    request: RequestWithRights, kind: str, form: RowForm | None, found: GatewayRow | None, more: Shown
) -> HttpResponse:
    facts: list[tuple[str, str]] = []
    if form is None and found is not None:
        shown = queries.without_secrets(kind, found.document)
        facts = [
            (field_words(kind, name)[0], _said(name, shown[name]) or "–") for name in shown if name in _facts(kind)
        ]
    context = {
        **_page(request, reverse("gateway_rows", args=[kind])),
        **more,
        "kind": kind,
        "new_title": str(NEW[kind]),
        "form": form,
        "row": found,
        "facts": facts,
        "mode": _mode(found) if found is not None else None,
        "has_mode": found is not None and kind in ("accounts", "routes"),
        "can_bounce": found is not None and kind in ("accounts", "smscs"),
        "by": names_of([found.updated_by]).get(found.updated_by, found.updated_by) if found is not None else "",
        "back_url": reverse("gateway_rows", args=[kind]),
    }
    return render(
        request, "messaging/gateway_row.html", context, status=422 if form is not None and form.errors else 200
    )


def _facts(kind: str) -> Iterable[str]:
    return [name for name in ROWS[kind].model_fields if name not in (*SECRETS.get(kind, ()), "mode", "bypass_until")]


def _save(request: RequestWithRights, form: RowForm, *, is_new: bool) -> bool:
    if not form.is_valid():
        return False
    try:
        saved = services.save_row(form.kind, form.document, actor=request.user.ref, now=utc_now(), is_new=is_new)
    except MingbaiError as error:
        form.say(error)
        return False
    messages.success(request, _("%(name)s is saved and in force.") % {"name": saved.name})
    return True


@requires(Action.MANAGE_GATEWAY)
@require_POST
def row_remove(request: RequestWithRights, kind: str, name: str) -> HttpResponse:
    _row(kind, name)
    try:
        services.remove_row(kind, name, actor=request.user.ref, now=utc_now())
    except BadValue as error:
        place = str(error.data.get("field", ""))
        messages.error(request, _("%(name)s is still needed: %(place)s") % {"name": name, "place": place})
        return redirect("gateway_row", kind=kind, name=name)
    messages.success(request, _("%(name)s is removed.") % {"name": name})
    return redirect("gateway_rows", kind=kind)


@requires(Action.MANAGE_GATEWAY)
@require_POST
def portability(request: RequestWithRights) -> HttpResponse:
    try:
        services.set_portability(request.POST.get("file", "").strip(), actor=request.user.ref, now=utc_now())
        messages.success(request, _("The file of ported numbers is set."))
    except BadValue as error:
        messages.error(request, said(error))
    return redirect("gateway_rows", kind="ranges")


# -- modes


@requires(Action.OPERATE_GATEWAY)
@require_http_methods(["GET", "POST"])
def mode(request: RequestWithRights, kind: str, name: str) -> HttpResponse:
    """GET: asks which. POST: switches; a bypass needs the name again and an end."""
    found = _row(kind, name)
    if kind not in ("accounts", "routes"):
        raise Http404
    given, hours = request.POST.get("mode", ""), request.POST.get("hours", "")
    confirmation, problem = request.POST.get("confirmation", "").strip(), ""
    if request.method == "POST":
        now = utc_now()
        until = now + timedelta(hours=int(hours)) if hours in {str(one) for one in HOURS} else None
        try:
            services.set_mode(
                name, given, kind=kind, actor=request.user.ref, now=now, until=until, confirmation=confirmation
            )
        except BadValue as error:
            problem = _problem(error)
        else:
            word = MODES[given][0] if given else _("as the account says")
            messages.success(request, _("%(name)s: %(mode)s.") % {"name": name, "mode": word})
            return _back(request, reverse("gateway_row", args=[kind, name]))
    present = _mode(found)
    choices = [(code, *words) for code, words in MODES.items()]
    if kind == "routes":
        choices.insert(0, ("", _("As the account says"), _("The route changes nothing.")))
    context = {
        "kind": kind, "name": name, "choices": choices, "hours": HOURS, "problem": problem,
        "confirmation": confirmation,
        "chosen": given if request.method == "POST" else (present["code"] if present else ""),
        "chosen_hours": hours or "1",
    }  # fmt: skip
    return as_dialog(request, "messaging/gateway_mode.html", context, is_problem=bool(problem))


def _problem(error: BadValue) -> str:
    field = str(error.data.get("field", ""))
    if field == "confirmation":
        return _("Type the name once more to confirm the bypass.")
    if field == "until":
        return _("A bypass ends within 24 hours.")
    return said(error)


# -- within


def _kind(kind: str) -> tuple[str, str]:
    if kind not in KINDS:
        raise Http404
    one, about = KINDS[kind]
    return str(one), str(about)


def _row(kind: str, name: str) -> GatewayRow:
    _kind(kind)
    found = queries.row(kind, name)
    if found is None:
        raise Http404
    return found


urlpatterns = [
    path("gateway/", connections, name="gateway"),
    path("gateway/live/", live, name="gateway_live"),
    path("gateway/dead/", dead, name="gateway_dead"),
    path("gateway/doubt/", doubt, name="gateway_doubt"),
    path("gateway/order/", order, name="gateway_order"),
    path("gateway/portability/", portability, name="gateway_portability"),
    path("gateway/decision/<str:stream>/<int:seq>/", decision, name="gateway_decision"),
    path("gateway/new/<slug:kind>/", row_new, name="gateway_row_new"),
    path("gateway/<slug:kind>/", rows, name="gateway_rows"),
    path("gateway/<slug:kind>/<str:name>/", row, name="gateway_row"),
    path("gateway/<slug:kind>/<str:name>/remove/", row_remove, name="gateway_row_remove"),
    path("gateway/<slug:kind>/<str:name>/mode/", mode, name="gateway_mode"),
    path("gateway/<slug:kind>/<str:name>/bounce/", bounce, name="gateway_bounce"),
]
