"""One decision: what came, how it was read, why it was decided so, what would have to change, and the proof."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages as flash
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mingbai.connectors.ledger_index import Decision, Hit, Query, Scope
from mingbai.contexts.audit import queries as audit_queries
from mingbai.contexts.audit.words import said
from mingbai.contexts.messaging.queries.explained import Explained, explained
from mingbai.contexts.messaging.queries.freed import exception_of
from mingbai.contexts.messaging.queries.review import appeals_about
from mingbai.contexts.messaging.queries.traffic import (
    Shown,
    covers,
    found_decision,
    index,
    scope_of,
    shown,
    shown_all,
)
from mingbai.contexts.messaging.services.appeals import AppealOpen, open_appeal
from mingbai.contexts.messaging.services.evidence import export_evidence
from mingbai.contexts.messaging.services.freeing import message_ref
from mingbai.contexts.messaging.services.unmask import FIELDS, unmask
from mingbai.contexts.messaging.views.freeing import as_dialog, visible
from mingbai.contexts.messaging.words import WHY_NOT_FREED, done_word
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.queries import names_of
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Verdict

_TICKET = "unmask_once"
_TICKET_LASTS = timedelta(minutes=1)
_NEIGHBOURS = 8
_SAME = 6
_ICONS = {
    "message.unmasked": "eye", "message.freed": "lock-open", "exception.ended": "lock", "exception.expired": "lock",
    "message.released": "circle-check", "message.refused": "octagon-x", "appeal.opened": "gavel",
    "appeal.answered": "gavel", "evidence.exported": "file-down",
}  # fmt: skip


@requires(Action.SEE_MESSAGES)
@require_GET
def message(request: RequestWithRights, id: UUID) -> HttpResponse:
    found = found_decision(id, request.rights)
    if found is None:
        raise Http404
    return _page(request, *found, unmasked=_use_ticket(request, found[0]))


@requires(Action.UNMASK)
@require_http_methods(["GET", "POST"])
def message_unmask(request: RequestWithRights, id: UUID) -> HttpResponse:
    """GET: asks for the reason. POST: back to the message, which shows everything, this once.

    A redirect, so that loading the page again neither shows the message again nor records a look that nobody took.
    """
    hit, _decision = visible(request, id, Action.UNMASK)
    reason = request.POST.get("reason", "")
    problem = ""
    if request.method == "POST":
        try:
            unmask(hit, fields=FIELDS, reason=reason, actor=request.user.ref, now=utc_now())
        except BadValue as error:
            problem = said(error)
        else:
            _give_ticket(request, id)
            return redirect("message", id)
    context = {"message": shown(hit, None, request.rights), "problem": problem, "reason": reason, "now": utc_now()}
    return as_dialog(request, "messaging/unmask.html", context, is_problem=bool(problem))


def _give_ticket(request: RequestWithRights, id: UUID) -> None:
    """For one look at one message, of whoever gave the reason, within the time that a redirect takes."""
    request.session[_TICKET] = {"message": str(id), "until": (utc_now() + _TICKET_LASTS).isoformat()}


def _use_ticket(request: RequestWithRights, hit: Hit) -> bool:
    """Whether this look is the one that a reason was given for."""
    ticket = request.session.get(_TICKET)
    if ticket is None or ticket["message"] != str(hit.id):
        return False
    del request.session[_TICKET]
    may = covers(request.rights.reach(Action.UNMASK), hit.access_code, hit.receiver)
    return may and utc_now() <= datetime.fromisoformat(ticket["until"])


@requires(Action.APPEAL)
@require_http_methods(["GET", "POST"])
def message_appeal(request: RequestWithRights, id: UUID) -> HttpResponse:
    """GET: asks why. POST: a person at the review desk answers."""
    hit, decision = visible(request, id, Action.APPEAL)
    words, problem = request.POST.get("words", ""), ""
    if hit.verdict < Verdict.HOLD:
        problem = _("This message was not stopped: there is nothing to appeal against.")
    elif request.method == "POST":
        try:
            open_appeal(hit, words=words, by=request.user.ref, now=utc_now())
        except (BadValue, AppealOpen) as error:
            problem = said(error)
        else:
            flash.success(request, _("The appeal is made. A person reads it; the answer stands on this page."))
            if request.headers.get("HX-Request") == "true":
                response = HttpResponse(status=204)
                response.headers["HX-Redirect"] = f"/messages/{id}/"
                return response
            return redirect("message", id)
    context = {
        "message": shown(hit, decision.original, request.rights), "problem": problem, "words": words, "now": utc_now(),
    }  # fmt: skip
    return as_dialog(request, "messaging/appeal.html", context, is_problem=request.method == "POST")


@requires(Action.EXPORT_EVIDENCE)
@require_POST
def message_evidence(request: RequestWithRights, id: UUID) -> FileResponse:
    """A ZIP with which anybody can check, without this system, that the decision stands in the record unchanged."""
    hit, _decision = visible(request, id, Action.EXPORT_EVIDENCE)
    file = export_evidence(hit, actor=request.user.ref, now=utc_now())
    return FileResponse(file, as_attachment=True, filename=f"mingbai-evidence-{id}.zip", content_type="application/zip")


def _page(request: RequestWithRights, hit: Hit, decision: Decision, *, unmasked: bool) -> HttpResponse:
    now = utc_now()
    rights = request.rights
    one = shown(hit, decision.original, rights, unmasked=unmasked)
    scope = scope_of(rights.reach(Action.SEE_MESSAGES))
    is_own = scope.receivers is not None
    why: Explained = explained(hit, decision, is_clear=not one.is_text_masked, now=now)
    freed = exception_of(hit.id, now)
    may = {
        name: covers(rights.reach(action), hit.access_code, hit.receiver)
        for name, action in {
            "unmask": Action.UNMASK, "free": Action.FREE_MESSAGE, "appeal": Action.APPEAL,
            "evidence": Action.EXPORT_EVIDENCE, "campaign": Action.SEE_CAMPAIGNS, "rules": Action.SEE_RULES,
        }.items()
    }  # fmt: skip
    may["unmask"] = may["unmask"] and not unmasked
    may["free"] = may["free"] and hit.verdict >= Verdict.FLAG and not (freed is not None and freed.is_in_force)
    may["appeal"] = may["appeal"] and hit.verdict >= Verdict.HOLD
    context: dict[str, Any] = {  # Any: what templates take
        "now": now, "message": one, "why": why, "may": may, "freed": freed, "is_own": is_own, "entry": decision.entry,
        "history": _history(hit.id), "original": decision.original or {},
        "appeals": [
            {"appeal": row, "why_not_freed": WHY_NOT_FREED.get(row.no_exception, "")}
            for row in appeals_about(hit.id, request.user, is_clear=not one.is_text_masked)
        ],
    }  # fmt: skip
    if not is_own:
        context |= _around(hit, scope, request)
    return render(request, "messaging/message.html", context)


def _around(hit: Hit, scope: Scope, request: RequestWithRights) -> dict[str, Any]:  # Any: what templates take
    """Other decisions that help to judge this one: its campaign, the same text, the same sender."""
    asked = index()
    neighbours = asked.neighbours(hit.stream, hit.seq, _NEIGHBOURS, scope) if hit.campaign else []
    same = (
        asked.search(Query(text_hash=hit.text_hash), _SAME + 1, None, scope, budget_s=1.0).hits if hit.text_hash else ()
    )
    of_sender = (
        asked.search(Query(senders=(hit.sender,)), _SAME + 1, None, scope, budget_s=1.0).hits if hit.sender else ()
    )
    groups: list[list[Hit]] = [
        neighbours,
        *([one for one in some if one.id != hit.id][:_SAME] for some in (same, of_sender)),
    ]
    listed = {one.id: one for group in groups for one in group}
    known: dict[UUID, Shown] = {one.id: one for one in shown_all(listed.values(), request.rights)}
    names = ("neighbours", "same_text", "of_sender")
    return {name: [known[one.id] for one in group] for name, group in zip(names, groups, strict=True)} | {
        "text_hash": hit.text_hash.hex() if hit.text_hash else "",
    }


def _history(id: UUID) -> list[dict[str, Any]]:  # Any: as above
    """What people and jobs did about this message, newest first."""
    entries = list(audit_queries.entries(subject=message_ref(id))[:30])
    names = names_of([entry.actor for entry in entries])
    return [
        {
            "what": done_word(entry.kind),
            "icon": _ICONS.get(entry.kind, "circle-dot"),
            "who": names.get(entry.actor, entry.actor),
            "at": entry.at,
            "reason": str(entry.data.get("reason") or entry.data.get("note") or ""),
        }
        for entry in entries
    ]


urlpatterns = [
    path("messages/<uuid:id>/", message, name="message"),
    path("messages/<uuid:id>/unmask/", message_unmask, name="message_unmask"),
    path("messages/<uuid:id>/appeal/", message_appeal, name="message_appeal"),
    path("messages/<uuid:id>/evidence/", message_evidence, name="message_evidence"),
]
