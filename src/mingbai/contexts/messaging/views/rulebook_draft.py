"""A draft of the rulebook at work: edit with errors at the place, try on messages, replay, submit, approve.

Every button works as a plain form too. What a person typed is saved before anything else is done with it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pyarrow as pa
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from mingbai.connectors.screening_client import (
    CheckedRulebook,
    RulebookProblem,
    RulebookRefused,
    ScreenerUnavailable,
    Tried,
)
from mingbai.contexts.audit.words import said, said_so
from mingbai.contexts.messaging.models import RulebookState, RulebookVersion, Run, RunKind
from mingbai.contexts.messaging.queries import rulebook as queries
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.services import rulebook as services
from mingbai.contexts.messaging.services import runs
from mingbai.contexts.messaging.views.rulebook_words import PERIODS, completions, period_of
from mingbai.contexts.messaging.words import reason_words
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.kernel.clock import format_utc, utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Verdict

MOST_TRIED = 200  # messages pasted at once: more is what a replay is for
PAGE_ROWS = 50


def _found(id: UUID) -> RulebookVersion:
    version = RulebookVersion.objects.select_related("base").filter(pk=id).first()
    if version is None:
        raise Http404
    return version


def _checked(text: str) -> CheckedRulebook | None:
    """What the screener says of a text; None: it does not answer."""
    try:
        return traffic.client().check_rulebook(text)
    except ScreenerUnavailable:
        return None


@requires(Action.WRITE_RULES)
@require_POST
def new(request: RequestWithRights) -> HttpResponse:
    """A draft from the version in force, or from another one."""
    start = None
    if request.POST.get("from"):
        try:
            start = _found(UUID(request.POST["from"]))
        except ValueError:
            raise Http404 from None
    draft = services.begin_draft(by=request.user.pk, now=utc_now(), start_from=start)
    return redirect("rulebook_version", draft.pk)


@requires(Action.SEE_RULES)
@require_GET
def version(request: RequestWithRights, id: UUID) -> HttpResponse:
    """One version: a draft in the editor, any other to be read."""
    found = _found(id)
    if found.state == RulebookState.DRAFT and request.rights.may(Action.WRITE_RULES):
        return _editor(request, found)
    return _reader(request, found)


def _editor(
    request: HttpRequest,
    draft: RulebookVersion,
    *,
    text: str | None = None,
    comment: str | None = None,
    extra: dict[str, Any] | None = None,  # Any: what templates take
    status: int = 200,
) -> HttpResponse:
    shown = draft.text if text is None else text
    checked = _checked(shown)
    present = services.ensure_first(now=utc_now())
    queries.name_people([draft], "author")
    rule_ids = [rule.id for rule in queries.rules_of(present.text, now=utc_now())]
    context = {
        "version": draft, "text": shown, "comment": draft.comment if comment is None else comment,
        "checked": checked, "problems": problem_rows(checked.problems) if checked else [],
        "present": present, "is_base_old": draft.base_id != present.pk,
        "replays": list(queries.replays_of(draft)[:5]), "periods": PERIODS,
        "completions": completions(rule_ids),
        "changed": queries.difference(present.text, shown), "now": utc_now(),
        **(extra or {}),
    }  # fmt: skip
    return render(request, "messaging/rulebook_edit.html", context, status=status)


def _reader(request: RequestWithRights, found: RulebookVersion) -> HttpResponse:
    present = services.ensure_first(now=utc_now())
    queries.name_people([found], "author", "submitted_by", "decided_by")
    against = present if found.state == RulebookState.SUBMITTED else found.base
    is_own = found.is_by(request.user.pk)
    may_approve = request.rights.may(Action.APPROVE_RULES)
    return render(request, "messaging/rulebook_version.html", {
        "version": found, "present": present, "against": against, "is_own": is_own,
        "found": queries.difference(against.text, found.text) if against else None,
        "is_base_old": found.state == RulebookState.SUBMITTED and found.base_id != present.pk,
        "may_write": request.rights.may(Action.WRITE_RULES), "may_approve": may_approve,
        "replays": list(queries.replays_of(found)[:5]), "terms": list(found.terms.all()[:20]),
        "was_in_force": found.terms.exists(),
    })  # fmt: skip


def problem_rows(problems: tuple[RulebookProblem, ...]) -> list[dict[str, Any]]:  # Any: JSON
    return [
        {"line": one.line, "rule": one.rule, "field": one.field, "value": one.value, "expected": said_so(one.expected)}
        for one in problems
    ]


@requires(Action.WRITE_RULES)
@require_POST
def check(request: RequestWithRights) -> HttpResponse:
    """For the editor: what is wrong with a text, as JSON, while it is typed. Nothing is saved."""
    text = request.POST.get("text", "").replace("\r\n", "\n")
    if len(text) > services.MAX_TEXT:
        raise BadValue(field="text", value=f"{len(text)} characters", expected=f"at most {services.MAX_TEXT}")
    found = _checked(text)
    if found is None:
        return JsonResponse({"available": False}, status=503)
    return JsonResponse(
        {
            "available": True,
            "valid": found.is_valid,
            "problems": problem_rows(found.problems),
            "rules": len(found.rules),
            "name": found.name,
        }
    )


# ---- saving


class _Conflict(Exception):
    """Somebody saved meanwhile: the response shows both texts."""

    def __init__(self, response: HttpResponse) -> None:
        self.response = response


def _save(request: RequestWithRights, id: UUID) -> RulebookVersion:
    """Keep what the form holds. Raises _Conflict with the page that shows both texts."""
    draft = _found(id)
    text = request.POST.get("text")
    if text is None:  # a button outside the editor
        return draft
    comment = request.POST.get("comment", draft.comment)
    revision = request.POST.get("revision", "")
    try:
        return services.save_draft(
            id,
            text,
            comment=comment,
            revision=int(revision) if revision.isdecimal() and len(revision) < 9 else 0,
            by=request.user.pk,
            now=utc_now(),
        )
    except services.StaleEdit:
        draft = _found(id)
        theirs = {"is_conflict": True, "found": queries.difference(draft.text, text.replace("\r\n", "\n"))}
        page = _editor(request, draft, text=text, comment=comment, extra=theirs, status=409)
        raise _Conflict(page) from None
    except services.WrongState:
        messages.error(request, _("Version %(number)s is no longer a draft.") % {"number": draft.number})
        raise _Conflict(redirect("rulebook_version", id)) from None
    except BadValue as error:
        messages.error(request, said(error))
        page = _editor(request, draft, text=text, comment=comment, status=422)
        raise _Conflict(page) from None


@requires(Action.WRITE_RULES)
@require_POST
def save(request: RequestWithRights, id: UUID) -> HttpResponse:
    try:
        draft = _save(request, id)
    except _Conflict as conflict:
        return conflict.response
    messages.success(request, _("Saved."))
    return redirect("rulebook_version", draft.pk)


@requires(Action.WRITE_RULES)
@require_POST
def rebase(request: RequestWithRights, id: UUID) -> HttpResponse:
    """The author compared the draft with what is in force now."""
    draft = _found(id)
    try:
        services.rebase_draft(id, revision=draft.revision, by=request.user.pk, now=utc_now())
    except services.WrongState:
        messages.error(request, _("Version %(number)s is no longer a draft.") % {"number": draft.number})
    return redirect("rulebook_version", id)


# ---- trying


@requires(Action.WRITE_RULES)
@require_POST
def try_out(request: RequestWithRights, id: UUID) -> HttpResponse:
    """Pasted messages, one a line, by the draft and by the version in force. Nothing is recorded or saved."""
    draft = _found(id)
    text = request.POST.get("text", draft.text).replace("\r\n", "\n")
    pasted = [line.strip() for line in request.POST.get("messages", "").splitlines() if line.strip()]
    context: dict[str, Any] = {"tried": [], "pasted": request.POST.get("messages", "")}  # Any: what templates take
    if len(pasted) > MOST_TRIED:
        context["cut"] = MOST_TRIED
        pasted = pasted[:MOST_TRIED]
    if pasted:
        try:
            found = traffic.client().try_rulebook(text, pa.record_batch({"text": pa.array(pasted, pa.string())}))
            context["tried"] = tried_rows(pasted, found)
            context["changes"] = sum(row["is_changed"] for row in context["tried"])
        except RulebookRefused as error:
            context["problems"] = problem_rows(error.problems)
        except ScreenerUnavailable:
            context["unavailable"] = True
    if request.headers.get("HX-Request"):
        return render(request, "messaging/rulebook_tried.html", context)
    return _editor(request, draft, text=text, comment=request.POST.get("comment"), extra=context)


def tried_rows(pasted: list[str], found: Tried) -> list[dict[str, Any]]:  # Any: what templates take
    rows = []
    for text, new, old in zip(pasted, found.draft, found.present, strict=True):
        rows.append(
            {
                "text": text,
                "spans": [{"start": start, "end": end} for start, end in new["spans"] if end <= len(text)],
                "new": Verdict(new["verdict"]),
                "old": Verdict(old["verdict"]),
                "category": new["category"],
                "score": new["score"],
                "rules": new["rules"],
                "old_rules": old["rules"],
                "reasons": reason_words(new["reasons"]),
                "is_changed": new["verdict"] != old["verdict"],
            }
        )
    return rows


# ---- replay


@requires(Action.WRITE_RULES, Action.APPROVE_RULES)
@require_POST
def replay(request: RequestWithRights, id: UUID) -> HttpResponse:
    """Ask for a replay over a period, in the background."""
    try:
        draft = _save(request, id) if request.rights.may(Action.WRITE_RULES) else _found(id)
    except _Conflict as conflict:
        return conflict.response
    checked = _checked(draft.text)
    if checked is not None and not checked.is_valid:
        messages.error(request, _("Mend the rulebook first: it cannot be replayed as it is."))
        return redirect("rulebook_version", draft.pk)
    days = period_of(request.POST.get("days"))
    now = utc_now()
    until = now.replace(second=0, microsecond=0) + timedelta(minutes=1)  # the same for a button pressed twice
    asked = {
        "since": format_utc(until - timedelta(days=days)),
        "until": format_utc(until),
        "days": days,
        "against": "in_force" if request.POST.get("against") == "in_force" else "recorded",
        "content": draft.content,
    }
    run = runs.ask(RunKind.REPLAY_RULES, subject=draft.ref, asked=asked, now=now, by=request.user.pk)
    return redirect("rulebook_replay", run.pk)


def _run(id: UUID) -> tuple[Run, RulebookVersion]:
    run = Run.objects.filter(pk=id, kind=RunKind.REPLAY_RULES).first()
    if run is None:
        raise Http404
    return run, _found(UUID(run.subject.removeprefix("rulebook:")))


@requires(Action.SEE_RULES)
@require_GET
def replayed(request: RequestWithRights, id: UUID) -> HttpResponse:
    """How far a replay is, and what it found: newly stopped and newly freed messages, by rule and category."""
    run, draft = _run(id)
    side = "freed" if request.GET.get("side") == "freed" else "blocked"
    given = request.GET.get("start", "0")
    start = int(given) if given.isdecimal() and len(given) < 6 else 0
    context: dict[str, Any] = {  # Any: what templates take
        "run": run, "version": draft, "side": side, "start": start, "now": utc_now(),
        "is_older": run.result is not None and run.result["content"] != draft.content,
        "since": _moment(run.asked["since"]), "until": _moment(run.asked["until"]),
        "may_cancel": request.rights.may(Action.WRITE_RULES) or request.rights.may(Action.APPROVE_RULES),
        "may_messages": request.rights.may(Action.SEE_MESSAGES),
    }  # fmt: skip
    if run.is_open and request.headers.get("HX-Request"):
        return render(request, "messaging/rulebook_progress.html", context)
    if request.headers.get("HX-Request"):  # it is over: the whole page, once
        response = HttpResponse()
        response.headers["HX-Redirect"] = reverse("rulebook_replay", args=[run.pk])
        return response
    if run.result:
        rows, total = queries.changed_messages(run, side, request.rights, start=start, count=PAGE_ROWS)
        change = run.result[side]
        context |= {
            "rows": rows, "total": total, "change": change,
            "next_start": start + PAGE_ROWS if start + PAGE_ROWS < total else None,
            "previous_start": max(0, start - PAGE_ROWS) if start else None,
            "rule_bars": _bars(change["rules" if side == "blocked" else "old_rules"]),
            "category_counts": change["categories"],
        }  # fmt: skip
    return render(request, "messaging/rulebook_replay.html", context)


def _bars(counts: dict[str, int]) -> list[dict[str, object]]:
    return [{"label": name, "value": count} for name, count in list(counts.items())[:15]]


def _moment(text: str) -> datetime:
    from mingbai.kernel.clock import parse_utc

    return parse_utc(text)


@requires(Action.WRITE_RULES, Action.APPROVE_RULES)
@require_POST
def cancel(request: RequestWithRights, id: UUID) -> HttpResponse:
    run, _draft = _run(id)
    runs.cancel(run.pk, by=request.user.pk, now=utc_now())
    return redirect("rulebook_replay", run.pk)


# ---- two people


@requires(Action.WRITE_RULES)
@require_POST
def submit(request: RequestWithRights, id: UUID) -> HttpResponse:
    """Save, then ask for approval."""
    try:
        draft = _save(request, id)
    except _Conflict as conflict:
        return conflict.response
    try:
        services.submit(
            id,
            revision=draft.revision,
            comment=request.POST.get("comment", draft.comment),
            by=request.user.pk,
            now=utc_now(),
            client=traffic.client(),
        )
    except services.HasProblems:
        return _editor(request, _found(id), extra={"refused": _("Mend what is listed below, then submit.")}, status=422)
    except services.BaseIsOld:
        text = _("Another version came into force meanwhile. Compare, take over what it changed, and confirm.")
        return _editor(request, _found(id), extra={"refused": text}, status=409)
    except BadValue:
        text = _("Say in a few words what the version changes and why: the second person reads it.")
        return _editor(request, _found(id), extra={"refused": text, "needs_comment": True}, status=422)
    except ScreenerUnavailable:
        text = _("The screener does not answer, so the draft could not be checked. It is saved; submit it later.")
        return _editor(request, _found(id), extra={"refused": text}, status=503)
    messages.success(request, _("Submitted. A second person has to approve it."))
    return redirect("rulebook_version", id)


@requires(Action.APPROVE_RULES)
@require_POST
def approve(request: RequestWithRights, id: UUID) -> HttpResponse:
    found = _found(id)
    try:
        services.approve(
            id,
            by=request.user.pk,
            now=utc_now(),
            client=traffic.client(),
            words=request.POST.get("words", ""),
            content=request.POST.get("content", ""),
        )
    except services.SamePerson:
        messages.error(request, _("You wrote or submitted this version: a second person has to approve it."))
        return _with_status(_reader(request, _found(id)), 403)
    except services.BaseIsOld:
        text = _("Another version came into force since this one was begun: its author has to compare.")
        messages.error(request, text)
    except services.HasProblems:
        messages.error(request, _("The version is not valid: it cannot come into force."))
    except (services.WrongState, services.StaleEdit):
        messages.error(request, _("The version was changed since you opened it. Read it again."))
    except ScreenerUnavailable:
        messages.error(request, _("The screener does not answer: nothing was changed. Try again in a moment."))
    else:
        messages.success(request, _("Version %(number)s is approved.") % {"number": found.number})
        return redirect("rulebook")
    return redirect("rulebook_version", id)


def _with_status(response: HttpResponse, status: int) -> HttpResponse:
    response.status_code = status
    return response


@requires(Action.APPROVE_RULES)
@require_POST
def reject(request: RequestWithRights, id: UUID) -> HttpResponse:
    _found(id)
    try:
        services.reject(id, words=request.POST.get("words", ""), by=request.user.pk, now=utc_now())
    except services.SamePerson:
        messages.error(request, _("You wrote or submitted this version: withdraw it instead."))
    except BadValue:
        messages.error(request, _("Say in a few words why: the author reads it."))
    except services.WrongState:
        messages.error(request, _("The version was changed since you opened it. Read it again."))
    else:
        messages.success(request, _("Rejected. The author sees your reason."))
    return redirect("rulebook_version", id)


@requires(Action.WRITE_RULES)
@require_POST
def withdraw(request: RequestWithRights, id: UUID) -> HttpResponse:
    found = _found(id)
    try:
        services.withdraw(id, by=request.user.pk, now=utc_now())
    except services.WrongState:
        messages.error(request, _("The version was changed since you opened it. Read it again."))
    else:
        messages.success(request, _("Version %(number)s is withdrawn.") % {"number": found.number})
    return redirect("rulebook")


@requires(Action.WRITE_RULES)
@require_POST
def reopen(request: RequestWithRights, id: UUID) -> HttpResponse:
    _found(id)
    try:
        services.reopen(id, by=request.user.pk, now=utc_now())
    except services.WrongState:
        messages.error(request, _("The version was changed since you opened it. Read it again."))
    return redirect("rulebook_version", id)


urlpatterns = [
    path("rulebook/new/", new, name="rulebook_new"),
    path("rulebook/check/", check, name="rulebook_check"),
    path("rulebook/replays/<uuid:id>/", replayed, name="rulebook_replay"),
    path("rulebook/replays/<uuid:id>/cancel/", cancel, name="rulebook_replay_cancel"),
    path("rulebook/<uuid:id>/", version, name="rulebook_version"),
    path("rulebook/<uuid:id>/save/", save, name="rulebook_save"),
    path("rulebook/<uuid:id>/rebase/", rebase, name="rulebook_rebase"),
    path("rulebook/<uuid:id>/try/", try_out, name="rulebook_try"),
    path("rulebook/<uuid:id>/replay/", replay, name="rulebook_ask_replay"),
    path("rulebook/<uuid:id>/submit/", submit, name="rulebook_submit"),
    path("rulebook/<uuid:id>/approve/", approve, name="rulebook_approve"),
    path("rulebook/<uuid:id>/reject/", reject, name="rulebook_reject"),
    path("rulebook/<uuid:id>/withdraw/", withdraw, name="rulebook_withdraw"),
    path("rulebook/<uuid:id>/reopen/", reopen, name="rulebook_reopen"),
]
