"""Decisions by the API: search, one decision, unmasking, freeing, appeals, evidence, export."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.http import FileResponse, HttpRequest, QueryDict
from ninja import Field, Router, Schema, Status
from ninja.params.functions import Query as Param

from mingbai.connectors.ledger_index import Decision, Hit, Query, pseudonyms_of
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.queries.explained import explained
from mingbai.contexts.messaging.queries.freed import FreedException, exception, exceptions, freeable
from mingbai.contexts.messaging.queries.review import appeals_about
from mingbai.contexts.messaging.queries.searches import saved_searches
from mingbai.contexts.messaging.services import searches
from mingbai.contexts.messaging.services.appeals import open_appeal
from mingbai.contexts.messaging.services.evidence import export_evidence
from mingbai.contexts.messaging.services.exports import export_messages
from mingbai.contexts.messaging.services.freeing import DEFAULT_DAYS, MAX_DAYS, end_exception, free_message, message_ref
from mingbai.contexts.messaging.services.unmask import FIELDS, unmask
from mingbai.contexts.messaging.views.filters import saved_query, search_of
from mingbai.contexts.people.http_api import MAX_LIMIT, NotFound, actor, allowed, own_account, reach
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.queries import names_of
from mingbai.kernel.clock import as_utc, utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category, Reason, Verdict

router = Router(tags=["decisions"])
VerdictName = Literal["allow", "flag", "hold", "block"]
CategoryName = Literal["personal", "notification", "advertising", "fraud", "illegal_trade"]
SpanName = Literal["hour", "today", "day", "week", "month"]
_WEB = Any  # what ninja makes a document from


class DecisionOut(Schema):
    """One decision, as the token may see it. text: null where it is not kept; then `not_kept` says why."""

    id: UUID
    at: datetime
    verdict: str
    category: str
    score: float
    access_code: str
    campaign: str
    rules: list[str]
    reasons: list[str]
    text: str | None
    text_masked: bool
    not_kept: str
    sender: str
    receiver: str


class DecisionPage(Schema):
    items: list[DecisionOut]
    next: str | None = None
    is_cut: bool = False  # time was over before the page was full: `next` goes on


class Part(Schema):
    start: int
    end: int


class Why(Schema):
    """spans: recorded with the decision; read_as and without: what the screener says today, null if it is down."""

    spans: list[Part]
    read_as: str | None
    without_verdict: str | None
    without_score: float | None


class AppealAnswer(Schema):
    """is_upheld: null while it waits; no_exception: why an upheld one frees nothing, "" otherwise."""

    id: UUID
    at: datetime
    words: str
    is_upheld: bool | None
    answer: str
    answered_at: datetime | None
    no_exception: str


class OneDecision(DecisionOut):
    """appeals: one's own, and everybody's for a token that may read texts; newest first."""

    stream: str
    seq: int
    model: str | None
    rulebook: str | None
    why: Why
    appeals: list[AppealAnswer]


class Reasoned(Schema):
    reason: str = Field(min_length=1, max_length=500)


class FreeIn(Reasoned):
    days: int = Field(DEFAULT_DAYS, ge=1, le=MAX_DAYS)


class ExceptionOut(Schema):
    id: UUID
    message: UUID
    owner: str
    reason: str
    created_at: datetime
    expires_at: datetime
    state: str
    hits: int | None


class ExceptionList(Schema):
    items: list[ExceptionOut]


class AppealIn(Schema):
    words: str = Field(min_length=1, max_length=4000)


class AppealOut(Schema):
    id: str


class DoneOut(Schema):
    """What a person or a job did about a message. what: kind of entry."""

    at: datetime
    what: str
    by: str
    reason: str


class DoneList(Schema):
    items: list[DoneOut]


class SearchOut(Schema):
    """query: as in the address of the page of messages; numbers stand in it as pseudonyms."""

    id: UUID
    name: str
    query: str
    is_own: bool
    is_shared: bool
    owner: str


class SearchList(Schema):
    items: list[SearchOut]


class SearchIn(Schema):
    name: str = Field(min_length=1, max_length=80)
    query: str = Field("", max_length=2000)
    is_shared: bool = False


# -- decisions


@router.get("/messages", auth=allowed(Action.SEE_MESSAGES), response={200: DecisionPage})
def search(
    request: HttpRequest,
    since: datetime | None = None,
    until: datetime | None = None,
    verdict: list[VerdictName] = Param([], max_length=4),
    category: list[CategoryName] = Param([], max_length=5),
    campaign: str | None = Param(None, max_length=16),
    sender: str | None = Param(None, max_length=64, description="the number, in clear; the search is recorded"),
    receiver: str | None = Param(None, max_length=64, description="the number, in clear; the search is recorded"),
    access_code: str | None = Param(None, max_length=32, description="the start of it"),
    rule: str | None = Param(None, max_length=120),
    min_score: float | None = Param(None, ge=0, le=1),
    max_score: float | None = Param(None, ge=0, le=1),
    text: str | None = Param(None, min_length=1, max_length=200, description="words that the text holds; is recorded"),
    cursor: str | None = Param(None, max_length=4000),
    limit: int = Param(50, ge=1, le=MAX_LIMIT),
) -> dict[str, _WEB]:
    """Newest first. Texts and numbers are masked unless the token may see them."""
    now = utc_now()
    scope = traffic.scope_of(reach(request, Action.SEE_MESSAGES))
    query = Query(
        since=None if since is None else as_utc(since, "since"),
        until=None if until is None else as_utc(until, "until"),
        verdicts=tuple(Verdict[name.upper()] for name in verdict),
        categories=tuple(Category[name.upper()] for name in category),
        campaign=None if campaign is None else campaign_number(campaign),
        senders=_number(request, sender, "sender", now),
        receivers=_number(request, receiver, "receiver", now),
        access_codes=(access_code,) if access_code else (),
        rules=(rule,) if rule else (),
        min_score=min_score,
        max_score=max_score,
    )
    if text is not None:
        scope = traffic.scope_of(reach(request, Action.SEE_TEXT))  # whose words are masked is not found by them
        searches.note_text_search(actor=actor(request), since=query.since, until=query.until, now=now)
        found = traffic.index().text_search(query, tuple(text.split()[:8]), limit, cursor, scope)
        hits, next_cursor, is_cut = [one.hit for one in found.found], found.next_cursor, found.is_cut
    else:
        page = traffic.index().search(query, limit, cursor, scope)
        hits, next_cursor, is_cut = list(page.hits), page.next_cursor, page.is_cut
    rights = request.rights  # type: ignore[attr-defined]  # set by the gate
    return {
        "items": [_shown(one) for one in traffic.shown_all(hits, rights)],
        "next": next_cursor,
        "is_cut": is_cut,
    }


@router.get("/messages/{uuid:id}", auth=allowed(Action.SEE_MESSAGES), response={200: OneDecision})
def decision(request: HttpRequest, id: UUID) -> dict[str, _WEB]:
    """One decision, with why."""
    hit, found = _visible(request, id, Action.SEE_MESSAGES)
    return _whole(request, hit, found, unmasked=False)


@router.get("/messages/{uuid:id}/history", auth=allowed(Action.SEE_MESSAGES), response={200: DoneList})
def message_history(request: HttpRequest, id: UUID) -> dict[str, _WEB]:
    """What was done about it, newest first."""
    _visible(request, id, Action.SEE_MESSAGES)
    entries = list(audit.entries(subject=message_ref(id))[:100])
    names = names_of([entry.actor for entry in entries])
    return {
        "items": [
            {
                "at": entry.at,
                "what": entry.kind,
                "by": names.get(entry.actor, entry.actor),
                "reason": str(entry.data.get("reason") or entry.data.get("note") or ""),
            }
            for entry in entries
        ]
    }


@router.post("/messages/{uuid:id}/unmask", auth=allowed(Action.UNMASK), response={200: OneDecision})
def unmask_message(request: HttpRequest, id: UUID, given: Reasoned) -> dict[str, _WEB]:
    """The decision with its numbers and text; the reason is recorded and the auditor sees it."""
    hit, found = _visible(request, id, Action.UNMASK)
    unmask(hit, fields=FIELDS, reason=given.reason, actor=actor(request), now=utc_now())
    return _whole(request, hit, found, unmasked=True)


@router.post("/messages/{uuid:id}/free", auth=allowed(Action.FREE_MESSAGE), response={201: ExceptionOut})
def free(request: HttpRequest, id: UUID, given: FreeIn) -> Status[dict[str, _WEB]]:
    """Let exactly this message pass: same normalised text, links, contact numbers and sender. Another link does not."""
    hit, found = _visible(request, id, Action.FREE_MESSAGE)
    passing = freeable(hit, found)
    if passing.why_not == "passed":
        raise BadValue(field="id", value=str(id), expected="a message that was flagged, held or blocked")
    if passing.key is None:
        raise BadValue(field="id", value=str(id), expected="a message whose text and sender are still kept")
    made = free_message(
        hit,
        passing.key,
        owner_id=own_account(request).pk,
        reason=given.reason,
        days=given.days,
        hosts=passing.hosts,
        data_dir=traffic.installed_settings().data,
        now=utc_now(),
        actor=actor(request),
    )
    row = exception(made.pk, utc_now())
    assert row is not None
    return Status(201, _exception(row))


@router.post("/messages/{uuid:id}/appeal", auth=allowed(Action.APPEAL), response={201: AppealOut})
def appeal(request: HttpRequest, id: UUID, given: AppealIn) -> Status[dict[str, _WEB]]:
    """Ask a person to look again at a message that was stopped."""
    hit, _found = _visible(request, id, Action.APPEAL)
    if hit.verdict < Verdict.HOLD:
        raise BadValue(field="id", value=str(id), expected="a message that was held or blocked")
    made = open_appeal(hit, words=given.words, by=actor(request), now=utc_now())
    return Status(201, {"id": str(made.pk)})


@router.post("/messages/{uuid:id}/evidence", auth=allowed(Action.EXPORT_EVIDENCE), response={200: bytes})
def evidence(request: HttpRequest, id: UUID) -> FileResponse:
    """A ZIP with which anybody can check offline that the decision stands in the record unchanged."""
    hit, _found = _visible(request, id, Action.EXPORT_EVIDENCE)
    file = export_evidence(hit, actor=actor(request), now=utc_now())
    return FileResponse(file, filename=f"mingbai-evidence-{id}.zip", as_attachment=True, content_type="application/zip")


class ExportIn(Schema):
    """kind: csv for a spreadsheet, jsonl for programs. query: as in the address of the page of messages."""

    kind: Literal["csv", "jsonl"] = "csv"
    query: str = Field("period=day", max_length=2000)


@router.post("/messages/export", auth=allowed(Action.EXPORT_MESSAGES), response={200: bytes})
def export(request: HttpRequest, given: ExportIn) -> FileResponse:
    """What fits, newest first, masked as the token may see it; that it was taken is recorded."""
    rights = request.rights  # type: ignore[attr-defined]  # set by the gate
    now = utc_now()
    asked = search_of(QueryDict(given.query), now)
    for name, expected in asked.problems.items():
        raise BadValue(field=f"query.{name}", value=asked.first(name), expected=str(expected))
    made = export_messages(
        asked.query,
        asked.who,
        asked.words if rights.may(Action.SEE_TEXT) else (),
        scope=traffic.scope_of(reach(request, Action.EXPORT_MESSAGES)),
        rights=rights,
        kind=given.kind,
        actor=actor(request),
        asked=asked.to_query(),
        now=now,
    )
    response = FileResponse(
        made.file, as_attachment=True, filename=f"messages.{given.kind}", content_type="application/octet-stream"
    )
    response.headers["X-Rows"] = str(made.rows)
    response.headers["X-Is-Cut"] = "yes" if made.is_cut else "no"
    return response


# -- saved searches


@router.get("/searches", auth=allowed(Action.SEE_MESSAGES), response={200: SearchList})
def list_searches(request: HttpRequest) -> dict[str, _WEB]:
    """One's own first, then those that people of the same teams share."""
    return {"items": saved_searches(own_account(request).pk)}


@router.post("/searches", auth=allowed(Action.SEE_MESSAGES), response={201: SearchOut})
def save_search(request: HttpRequest, given: SearchIn) -> Status[dict[str, _WEB]]:
    owner = own_account(request)
    query = saved_query(given.query)
    row = searches.save_search(
        owner.pk, given.name, query, is_shared=given.is_shared, now=utc_now(), actor=actor(request)
    )
    shown = {"id": row.pk, "name": row.name, "query": row.query, "is_shared": row.is_shared}
    return Status(201, {**shown, "is_own": True, "owner": str(owner)})


@router.delete("/searches/{uuid:id}", auth=allowed(Action.SEE_MESSAGES), response={204: None})
def delete_search(request: HttpRequest, id: UUID) -> Status[None]:
    owner = own_account(request).pk
    if not any(one.id == id and one.is_own for one in saved_searches(owner)):
        raise NotFound(what="search", id=id)
    searches.delete_search(owner, id, now=utc_now(), actor=actor(request))
    return Status(204, None)


# -- exceptions


@router.get("/exceptions", auth=allowed(Action.SEE_MESSAGES), response={200: ExceptionList})
def list_exceptions(request: HttpRequest, in_force: bool = True) -> dict[str, _WEB]:
    """Messages that were freed, and how often each exception was used."""
    scope = traffic.scope_of(reach(request, Action.SEE_MESSAGES))
    if scope.receivers is not None:
        return {"items": []}
    return {"items": [_exception(row) for row in exceptions(scope, utc_now(), in_force_only=in_force)]}


@router.delete("/exceptions/{uuid:id}", auth=allowed(Action.FREE_MESSAGE), response={204: None})
def delete_exception(request: HttpRequest, id: UUID, reason: str = Param(min_length=1, max_length=500)) -> Status[None]:
    """End it before its time."""
    row = exception(id, utc_now())
    if row is None or not reach(request, Action.FREE_MESSAGE).covers(access_code=row.access_code):
        raise NotFound(what="exception", id=id)
    end_exception(id, actor=actor(request), reason=reason, data_dir=traffic.installed_settings().data, now=utc_now())
    return Status(204, None)


# -- documents


def _visible(request: HttpRequest, id: UUID, action: Action) -> tuple[Hit, Decision]:
    rights = request.rights  # type: ignore[attr-defined]  # set by the gate
    found = traffic.found_decision(id, rights)
    if found is None or not traffic.covers(rights.reach(action), found[0].access_code, found[0].receiver):
        raise NotFound(what="message", id=id)
    return found


def _whole(request: HttpRequest, hit: Hit, found: Decision, *, unmasked: bool) -> dict[str, _WEB]:
    rights = request.rights  # type: ignore[attr-defined]  # set by the gate
    one = traffic.shown(hit, found.original, rights, unmasked=unmasked)
    why = explained(hit, found, is_clear=not one.is_text_masked, now=utc_now())
    return {
        **_shown(one),
        "stream": hit.stream,
        "seq": hit.seq,
        "model": hit.model,
        "rulebook": hit.rulebook,
        "why": {
            "spans": [{"start": span["start"], "end": span["end"]} for span in found.entry.get("spans") or []],
            "read_as": why.read_as or None,
            "without_verdict": None if why.without_verdict is None else Verdict(why.without_verdict).label,
            "without_score": why.without_score,
        },
        "appeals": [
            {
                "id": row.pk,
                "at": row.at,
                "words": row.words,
                "is_upheld": row.is_upheld,
                "answer": row.answer,
                "answered_at": row.answered_at,
                "no_exception": row.no_exception,
            }
            for row in appeals_about(hit.id, own_account(request), is_clear=not one.is_text_masked)
        ],
    }


def decision_out(request: HttpRequest, hit: Hit, original: dict[str, _WEB] | None) -> dict[str, _WEB]:
    return _shown(traffic.shown(hit, original, request.rights))  # type: ignore[attr-defined]  # set by the gate


def _shown(one: traffic.Shown) -> dict[str, _WEB]:
    return {
        "id": one.id,
        "at": one.at,
        "verdict": one.verdict.label,
        "category": one.category.label,
        "score": one.score,
        "access_code": one.access_code,
        "campaign": one.campaign,
        "rules": list(one.rules),
        "reasons": [reason_label(code) for code in one.reasons],
        "text": None if one.not_kept else one.text,
        "text_masked": one.is_text_masked,
        "not_kept": one.not_kept,
        "sender": one.sender,
        "receiver": one.receiver,
    }


def _exception(row: FreedException) -> dict[str, _WEB]:
    return {
        "id": row.id,
        "message": row.entry_id,
        "owner": row.owner,
        "reason": row.reason,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "state": row.state,
        "hits": row.hits,
    }


def reason_label(code: int) -> str:
    try:
        return Reason(code).label
    except ValueError:  # written by a newer version
        return str(code)


def campaign_number(id: str) -> int:
    try:
        number = int(id, 16) if len(id) == 16 else 0
    except ValueError:
        number = 0
    if not 0 < number < 1 << 64:
        raise BadValue(field="campaign", value=id, expected="16 hex digits")
    return number


def _number(request: HttpRequest, number: str | None, by: str, now: datetime) -> tuple[bytes, ...]:
    """Pseudonyms of a number; that it was searched for is an entry, with the number masked."""
    if number is None:
        return ()
    searches.note_number_search(number, by=by, actor=actor(request), now=now)
    return pseudonyms_of(traffic.keys(), number)
