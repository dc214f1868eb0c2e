"""Freeing a message that was wrongly stopped, and the list of what is freed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages as flash
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from mingbai.connectors.ledger_index import Decision, Hit
from mingbai.contexts.audit.words import said
from mingbai.contexts.messaging.queries.freed import Freeable, exception, exception_of, exceptions, freeable
from mingbai.contexts.messaging.queries.traffic import covers, found_decision, installed_settings, scope_of, shown
from mingbai.contexts.messaging.services.freeing import (
    DEFAULT_DAYS,
    MAX_DAYS,
    FreedAlready,
    end_exception,
    free_message,
)
from mingbai.contexts.messaging.words import WHY_NOT_FREED
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.masking import masked_number

DAYS = (7, DEFAULT_DAYS, 90, MAX_DAYS)


@requires(Action.FREE_MESSAGE)
@require_http_methods(["GET", "POST"])
def free(request: RequestWithRights, id: UUID) -> HttpResponse:
    """GET: what would pass, as a dialog or (without script) a page. POST: let it pass."""
    now = utc_now()
    hit, decision = visible(request, id, Action.FREE_MESSAGE)
    found, problem = _freeable(hit, decision)
    key = found.key
    known = exception_of(id, now)
    if known is not None and known.is_in_force:
        problem = _("This message is freed already.")
    given_days = request.POST.get("days", str(DEFAULT_DAYS))
    if request.method == "POST" and key is not None and not problem:
        try:
            free_message(
                hit, key, owner_id=request.user.pk, reason=request.POST.get("reason", ""),
                days=int(given_days) if given_days.isdigit() else 0, hosts=found.hosts,
                data_dir=installed_settings().data, now=now,
            )  # fmt: skip
        except (BadValue, FreedAlready) as error:
            problem = said(error)
        else:
            flash.success(request, _("Freed. The same message passes from now on; a changed link is screened anew."))
            return _done(request, reverse("message", args=[id]))
    is_clear = covers(request.rights.reach(Action.SEE_TEXT), hit.access_code, hit.receiver)
    context: dict[str, Any] = {  # Any: what templates take
        "message": shown(hit, decision.original, request.rights), "key": key, "problem": problem, "days": DAYS,
        "chosen_days": given_days, "reason": request.POST.get("reason", ""), "now": now,
        "sender": masked_number(key.sender) if key and key.sender else "", "is_clear": is_clear,
        "numbers": [masked_number(number) for number in key.numbers] if key else [],
        "next": request.POST.get("next") or request.headers.get("HX-Current-URL", ""),
    }  # fmt: skip
    return as_dialog(request, "messaging/free.html", context, is_problem=request.method == "POST")


def _freeable(hit: Hit, decision: Decision) -> tuple[Freeable, str]:
    """What would pass, or why it cannot be said."""
    try:
        found = freeable(hit, decision)
    except MingbaiError as error:
        return Freeable(None), said(error)
    return found, str(WHY_NOT_FREED[found.why_not]) if found.why_not else ""


@requires(Action.SEE_MESSAGES)
@require_GET
def freed(request: RequestWithRights) -> HttpResponse:
    """Exceptions: what passes, who answers for it, how often it was used."""
    now = utc_now()
    scope = scope_of(request.rights.reach(Action.SEE_MESSAGES))
    if scope.receivers is not None:
        raise Http404
    is_all = request.GET.get("all") == "1"
    rows = exceptions(scope, now, in_force_only=not is_all)
    context = {
        "rows": rows, "now": now, "is_all": is_all, "in_force": sum(row.is_in_force for row in rows),
        "hits": sum(row.hits or 0 for row in rows), "may_end": request.rights.may(Action.FREE_MESSAGE),
    }  # fmt: skip
    return render(request, "messaging/freed.html", context)


@requires(Action.FREE_MESSAGE)
@require_http_methods(["GET", "POST"])
def end(request: RequestWithRights, id: UUID) -> HttpResponse:
    now = utc_now()
    row = exception(id, now)
    reach = request.rights.reach(Action.FREE_MESSAGE)
    if row is None or reach is None or not reach.covers(access_code=row.access_code):
        raise Http404
    problem = ""
    if request.method == "POST":
        try:
            end_exception(
                id,
                actor=request.user.ref,
                reason=request.POST.get("reason", ""),
                data_dir=installed_settings().data,
                now=now,
            )
        except BadValue as error:
            problem = said(error)
        else:
            flash.success(request, _("The exception is over: the message is screened like any other."))
            return _done(request, reverse("freed"))
    context = {"row": row, "problem": problem, "reason": request.POST.get("reason", ""), "now": now}
    return as_dialog(request, "messaging/freed_end.html", context, is_problem=bool(problem))


# -- shared by the pages of one message


def visible(request: RequestWithRights, id: UUID, action: Action) -> tuple[Hit, Decision]:
    """The decision, if this person may see it and do that with it; else there is none (404)."""
    found = found_decision(id, request.rights)
    if found is None:
        raise Http404
    hit, decision = found
    if not covers(request.rights.reach(action), hit.access_code, hit.receiver):
        raise Http404
    return hit, decision


def as_dialog(
    request: RequestWithRights, template: str, context: dict[str, Any], *, is_problem: bool
) -> HttpResponse:  # Any: what templates take
    """For htmx a dialog, without script a page of its own. 422: what was sent has a problem, and is shown again."""
    is_fragment = request.headers.get("HX-Request") == "true"
    layout = "messaging/fragment.html" if is_fragment else "base.html"
    return render(
        request, template, {**context, "layout": layout, "is_fragment": is_fragment}, status=422 if is_problem else 200
    )


def _done(request: RequestWithRights, default: str) -> HttpResponse:
    """Back to where the person was, if that is within this console."""
    wanted = request.POST.get("next", "")
    target = default
    if url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()}):
        target = wanted
    if request.headers.get("HX-Request") == "true":
        response = HttpResponse(status=204)
        response.headers["HX-Redirect"] = target
        return response
    return redirect(target)


urlpatterns = [
    path("messages/freed/", freed, name="freed"),
    path("messages/freed/<uuid:id>/end/", end, name="freed_end"),
    path("messages/<uuid:id>/free/", free, name="message_free"),
]
