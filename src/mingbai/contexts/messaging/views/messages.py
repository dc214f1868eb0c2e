"""Messages: search the ledger, keep a search, take the result along. One decision has a module of its own."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages as flash
from django.http import FileResponse, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from mingbai.connectors.ledger_index import TextPage, pseudonyms_of
from mingbai.contexts.audit.words import said
from mingbai.contexts.messaging.queries.searches import saved_searches
from mingbai.contexts.messaging.queries.traffic import (
    Shown,
    counted,
    keys,
    originals,
    scope_of,
    search_page,
    shown,
    shown_all,
    text_page,
)
from mingbai.contexts.messaging.services import exports
from mingbai.contexts.messaging.services.searches import (
    delete_search,
    note_number_search,
    note_text_search,
    save_search,
)
from mingbai.contexts.messaging.views import decision, freeing
from mingbai.contexts.messaging.views.filters import (
    PERIODS,
    Search,
    chips,
    hex_of,
    saved_query,
    search_of,
)
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.masking import masked_number
from mingbai.kernel.msisdn import BadMsisdn, Msisdn
from mingbai.kernel.verdicts import Category, Reason, Verdict

PAGE_ROWS = 50
_KEPT = ("who", "sender", "receiver", "n", "text_hash", "reason")  # conditions that the form has no field for
_CAMPAIGN = re.compile(r"[0-9a-fA-F]{16}")
_NUMBER = re.compile(r"\+?[0-9][0-9 ().-]{4,24}")
_RULE = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)+")


@requires(Action.SEE_MESSAGES)
@require_GET
def message_list(request: RequestWithRights) -> HttpResponse:
    """The search and its page of results. `q` is the box at the top of every page: it says what it was taken for."""
    now = utc_now()
    if "q" in request.GET:
        return _quick(request, request.GET["q"].strip())
    search = search_of(request.GET, now)
    rights = request.rights
    scope = scope_of(rights.reach(Action.SEE_MESSAGES))
    cursor = request.GET.get("cursor") or None
    context: dict[str, Any] = {  # Any: what templates take
        "now": now, "search": search, "chips": chips(search), "problems": search.problems, "cursor": cursor,
        "periods": [{"name": name, "label": words[0]} for name, words in PERIODS.items()],
        "verdicts": list(Verdict), "categories": list(Category), "reasons": list(Reason),
        "may_text": rights.may(Action.SEE_TEXT), "may_export": rights.may(Action.EXPORT_MESSAGES),
        "may_free": rights.may(Action.FREE_MESSAGE), "may_appeal": rights.may(Action.APPEAL),
        "saved": saved_searches(request.user.pk), "query": search.to_query(), "form": _form(search),
        "is_own": scope.receivers is not None, "most_rows": exports.MAX_ROWS,
        "kept": [(name, search.first(name)) for name in _KEPT if search.first(name)],
    }  # fmt: skip
    if search.words and context["may_text"]:
        if cursor is None:
            query = search.query
            note_text_search(actor=request.user.ref, since=query.since, until=query.until, now=now)
        text_scope = scope_of(rights.reach(Action.SEE_TEXT))
        page = text_page(search.query, search.who, search.words, PAGE_ROWS, cursor, text_scope)
        context |= _text_results(page, request)
        next_cursor = page.next_cursor
    else:
        hits, next_cursor, is_cut = search_page(search.query, search.who, PAGE_ROWS, cursor, scope)
        context |= {"rows": shown_all(hits, rights), "is_cut": is_cut}
        if not search.is_empty and cursor is None:
            counts = counted(search.query, search.who, scope)
            if counts is not None:
                context["total"] = sum(counts.values())
                context["stopped"] = counts[Verdict.HOLD] + counts[Verdict.BLOCK]
    if next_cursor:
        context["next_url"] = f"?{urlencode({'cursor': next_cursor})}&{search.to_query()}"
    if cursor:
        context["first_url"] = f"?{search.to_query()}"
    return render(request, "messaging/messages.html", context)


def _text_results(page: TextPage, request: RequestWithRights) -> dict[str, Any]:  # Any: what templates take
    found = originals([(one.hit.stream, one.hit.seq) for one in page.found])
    rows: list[Shown] = [shown(one.hit, found.get((one.hit.stream, one.hit.seq)), request.rights) for one in page.found]
    unread = page.no_longer_kept + page.never_kept + page.unreadable
    return {"rows": rows, "is_cut": page.is_cut, "text_page": page, "unread": unread}


def _form(search: Search) -> dict[str, Any]:  # Any: what templates take
    """What the form shows again. A number is not: it stands in the address as a pseudonym, and as a chip."""
    return {
        name: search.first(name)
        for name in (
            "period",
            "since",
            "until",
            "access_code",
            "campaign",
            "rule",
            "reason",
            "min_score",
            "max_score",
            "words",
        )
    } | {"verdict": search.given.get("verdict", []), "category": search.given.get("category", [])}


def _quick(request: RequestWithRights, text: str) -> HttpResponse:
    """One box for all: a number, a campaign, an id, a rule, or words."""
    if not text:
        return redirect("messages")
    try:
        return redirect("message", UUID(text))
    except ValueError:
        pass
    if _CAMPAIGN.fullmatch(text) and not text.isdigit():
        return redirect(f"{reverse('messages')}?{urlencode({'campaign': text.lower()})}")
    if _NUMBER.fullmatch(text):
        return _by_number(request, text, "who", {})
    if _RULE.fullmatch(text) or not request.rights.may(Action.SEE_TEXT):
        return redirect(f"{reverse('messages')}?{urlencode({'rule': text})}")
    return redirect(f"{reverse('messages')}?{urlencode({'period': 'day', 'words': text})}")


@requires(Action.SEE_MESSAGES)
@require_POST
def find(request: RequestWithRights) -> HttpResponse:
    """The form. A number goes no further than here: the address gets its pseudonym, the audit an entry."""
    given = search_of(request.POST, utc_now()).given
    rest: dict[str, object] = {
        name: values for name, values in given.items() if name not in ("who", "sender", "receiver", "n")
    }
    if rest.get("since") or rest.get("until"):
        rest.pop("period", None)
    number = request.POST.get("number", "").strip()
    if number:
        by = request.POST.get("number_as", "who")
        return _by_number(request, number, by if by in ("who", "sender", "receiver") else "who", rest)
    for name in ("who", "sender", "receiver", "n"):  # asked for before, and kept
        if name in given and request.POST.get("keep_number"):
            rest[name] = given[name]
    return redirect(f"{reverse('messages')}?{urlencode(rest, doseq=True)}")


def _by_number(request: RequestWithRights, number: str, by: str, rest: dict[str, object]) -> HttpResponse:
    hashes = pseudonyms_of(keys(), number)
    note_number_search(_canonical(number), by="either" if by == "who" else by, actor=request.user.ref, now=utc_now())
    query = {by: hex_of(hashes), "n": masked_number(_canonical(number)), **rest}
    return redirect(f"{reverse('messages')}?{urlencode(query, doseq=True)}")


def _canonical(number: str) -> str:
    try:
        return Msisdn.parse(number).e164
    except BadMsisdn:
        return number


@requires(Action.EXPORT_MESSAGES)
@require_POST
def export(request: RequestWithRights) -> HttpResponse | FileResponse:
    """The search's result as a file, as this person sees it: masked where the page is."""
    now = utc_now()
    search = search_of(request.POST, now)
    kind = request.POST.get("format", "csv")
    if kind not in exports.FORMATS:
        raise BadValue(field="format", value=kind, expected=", ".join(exports.FORMATS))
    scope = scope_of(request.rights.reach(Action.EXPORT_MESSAGES))
    words = search.words if request.rights.may(Action.SEE_TEXT) else ()
    made = exports.export_messages(
        search.query, search.who, words, scope=scope, rights=request.rights, kind=kind, actor=request.user.ref,
        asked=search.to_query(), now=now,
    )  # fmt: skip
    name = f"mingbai-messages-{now:%Y%m%d-%H%M%S}.{kind}"
    response = FileResponse(made.file, as_attachment=True, filename=name, content_type=exports.FORMATS[kind])
    response.headers["X-Rows"] = str(made.rows)
    response.headers["X-Is-Cut"] = "yes" if made.is_cut else "no"
    return response


@requires(Action.SEE_MESSAGES)
@require_POST
def search_save(request: RequestWithRights) -> HttpResponse:
    query = saved_query(request.POST.get("query", ""))
    try:
        save_search(
            request.user.pk,
            request.POST.get("name", ""),
            query,
            is_shared=bool(request.POST.get("is_shared")),
            now=utc_now(),
        )
    except BadValue as error:
        flash.error(request, said(error))
    else:
        flash.success(request, _("The search is saved."))
    return redirect(f"{reverse('messages')}?{query}")


@requires(Action.SEE_MESSAGES)
@require_POST
def search_delete(request: RequestWithRights, id: UUID) -> HttpResponse:
    delete_search(request.user.pk, id, now=utc_now())
    flash.success(request, _("The saved search is gone."))
    return redirect("messages")


urlpatterns = [
    path("messages/", message_list, name="messages"),
    path("messages/find/", find, name="messages_find"),
    path("messages/export/", export, name="messages_export"),
    path("messages/searches/", search_save, name="search_save"),
    path("messages/searches/<uuid:id>/delete/", search_delete, name="search_delete"),
    *freeing.urlpatterns,
    *decision.urlpatterns,
]
