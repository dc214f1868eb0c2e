"""The rulebook by the API: read, draft, check, try, replay, submit, approve, roll back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pyarrow as pa
from django.http import HttpRequest
from ninja import Field, Router, Schema, Status
from ninja.params.functions import Query as Param

from mingbai.contexts.messaging.api.screening import MAX_TEXT
from mingbai.contexts.messaging.models import RulebookVersion, Run
from mingbai.contexts.messaging.models.runs import RunKind
from mingbai.contexts.messaging.queries import rulebook as queries
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.services import rulebook as services
from mingbai.contexts.messaging.services import runs
from mingbai.contexts.people.http_api import MAX_LIMIT, PROBLEMS, NotFound, actor, allowed, from_cursor, to_cursor
from mingbai.contexts.people.policy import Action
from mingbai.kernel.clock import format_utc, utc_now
from mingbai.kernel.verdicts import Verdict

router = Router(tags=["rulebook"])
_WEB = Any  # what ninja makes a document from


class VersionOut(Schema):
    id: UUID
    number: int
    state: str
    comment: str
    revision: int
    content: str  # SHA-256 of the text
    created_at: datetime
    changed_at: datetime
    submitted_at: datetime | None
    decided_at: datetime | None
    decision: str


class WholeVersion(VersionOut):
    text: str


class VersionPage(Schema):
    items: list[VersionOut]
    next: str | None = None


class DraftIn(Schema):
    """start_from: the version whose text it begins with; left out, the one in force."""

    start_from: UUID | None = None


class SaveIn(Schema):
    text: str = Field(max_length=2_000_000)
    comment: str = Field("", max_length=500)
    revision: int = Field(ge=1, le=2**31 - 1)


class SubmitIn(Schema):
    revision: int = Field(ge=1, le=2**31 - 1)
    comment: str = Field(max_length=500)


class WordsIn(Schema):
    words: str = Field("", max_length=500)


class TextIn(Schema):
    text: str = Field(max_length=2_000_000)


class ProblemOut(Schema):
    line: int
    rule: str
    field: str
    value: str
    expected: str


class CheckOut(Schema):
    is_valid: bool
    problems: list[ProblemOut]
    rules: int


class TryIn(Schema):
    text: str = Field(max_length=2_000_000)
    messages: list[str] = Field(min_length=1, max_length=200)


class TriedOut(Schema):
    draft: str
    in_force: str
    rules: list[str]


class TryOut(Schema):
    items: list[TriedOut]


class ReplayIn(Schema):
    days: int = Field(7, ge=1, le=366)


class RunOut(Schema):
    id: UUID
    kind: str
    state: str
    done: int
    total: int
    found: dict[str, Any]  # Any: counts on the way
    result: dict[str, Any] | None  # Any: counts and references
    error: str


@router.get("/rulebook", auth=allowed(Action.SEE_RULES), response={200: WholeVersion, **PROBLEMS})
def in_force(request: HttpRequest) -> RulebookVersion:
    """The version in force."""
    return services.ensure_first(now=utc_now())


@router.get("/rulebook/versions", auth=allowed(Action.SEE_RULES), response={200: VersionPage, **PROBLEMS})
def versions(
    request: HttpRequest,
    cursor: str | None = Param(None, max_length=500),
    limit: int = Param(50, ge=1, le=MAX_LIMIT),
) -> dict[str, _WEB]:
    """Newest first."""
    before = from_cursor(cursor)
    found = queries.versions().order_by("-number")
    if before is not None and isinstance(before.get("before"), int):
        found = found.filter(number__lt=min(before["before"], 2**31 - 1))
    page = list(found[: limit + 1])
    following = to_cursor({"before": page[limit - 1].number}) if len(page) > limit else None
    return {"items": page[:limit], "next": following}


@router.get("/rulebook/versions/{uuid:id}", auth=allowed(Action.SEE_RULES), response={200: WholeVersion, **PROBLEMS})
def version(request: HttpRequest, id: UUID) -> RulebookVersion:
    return _found(id)


@router.post("/rulebook/versions", auth=allowed(Action.WRITE_RULES), response={201: WholeVersion, **PROBLEMS})
def begin(request: HttpRequest, given: DraftIn) -> Status[RulebookVersion]:
    """A new draft."""
    start = _found(given.start_from) if given.start_from else None
    made = services.begin_draft(by=_by(request), now=utc_now(), start_from=start, actor=actor(request))
    return Status(201, made)


@router.put("/rulebook/versions/{uuid:id}", auth=allowed(Action.WRITE_RULES), response={200: WholeVersion, **PROBLEMS})
def save(request: HttpRequest, id: UUID, given: SaveIn) -> RulebookVersion:
    """Keep a new text of a draft. revision: the one that was read; an older one gives 409."""
    _found(id)
    return services.save_draft(
        id,
        given.text,
        comment=given.comment,
        revision=given.revision,
        by=_by(request),
        now=utc_now(),
        actor=actor(request),
    )


@router.post(
    "/rulebook/versions/{uuid:id}/submit", auth=allowed(Action.WRITE_RULES), response={200: VersionOut, **PROBLEMS}
)
def submit(request: HttpRequest, id: UUID, given: SubmitIn) -> RulebookVersion:
    """Ask a second person for approval."""
    _found(id)
    return services.submit(
        id,
        revision=given.revision,
        comment=given.comment,
        by=_by(request),
        now=utc_now(),
        client=traffic.client(),
        actor=actor(request),
    )


@router.post(
    "/rulebook/versions/{uuid:id}/withdraw", auth=allowed(Action.WRITE_RULES), response={200: VersionOut, **PROBLEMS}
)
def withdraw(request: HttpRequest, id: UUID) -> RulebookVersion:
    _found(id)
    return services.withdraw(id, by=_by(request), now=utc_now(), actor=actor(request))


@router.post(
    "/rulebook/versions/{uuid:id}/approve", auth=allowed(Action.APPROVE_RULES), response={200: VersionOut, **PROBLEMS}
)
def approve(request: HttpRequest, id: UUID, given: WordsIn) -> RulebookVersion:
    """Put it in force. Never by who wrote or submitted any of it."""
    _found(id)
    return services.approve(
        id, by=_by(request), now=utc_now(), client=traffic.client(), words=given.words, actor=actor(request)
    )


@router.post(
    "/rulebook/versions/{uuid:id}/reject", auth=allowed(Action.APPROVE_RULES), response={200: VersionOut, **PROBLEMS}
)
def reject(request: HttpRequest, id: UUID, given: WordsIn) -> RulebookVersion:
    _found(id)
    return services.reject(id, words=given.words, by=_by(request), now=utc_now(), actor=actor(request))


@router.post(
    "/rulebook/versions/{uuid:id}/roll-back", auth=allowed(Action.APPROVE_RULES), response={200: VersionOut, **PROBLEMS}
)
def roll_back(request: HttpRequest, id: UUID, given: WordsIn) -> RulebookVersion:
    """Put a version back that was in force before."""
    _found(id)
    return services.roll_back(id, by=_by(request), now=utc_now(), reason=given.words, actor=actor(request))


@router.post("/rulebook/check", auth=allowed(Action.SEE_RULES), response={200: CheckOut, **PROBLEMS})
def check(request: HttpRequest, given: TextIn) -> dict[str, _WEB]:
    """What is wrong with a text, with lines."""
    found = traffic.client().check_rulebook(given.text)
    return {"is_valid": found.is_valid, "problems": list(found.problems), "rules": len(found.rules)}


@router.post("/rulebook/try", auth=allowed(Action.SEE_RULES), response={200: TryOut, **PROBLEMS})
def try_text(request: HttpRequest, given: TryIn) -> dict[str, _WEB]:
    """Messages by a draft and by what is in force; nothing is recorded."""
    texts = pa.array([text[:MAX_TEXT] for text in given.messages], pa.string())
    found = traffic.client().try_rulebook(given.text, pa.record_batch({"text": texts}))
    return {
        "items": [
            {
                "draft": Verdict(draft["verdict"]).label,
                "in_force": Verdict(present["verdict"]).label,
                "rules": draft["rules"],
            }
            for draft, present in zip(found.draft, found.present, strict=True)
        ]
    }


@router.post(
    "/rulebook/versions/{uuid:id}/replay",
    auth=allowed(Action.WRITE_RULES, Action.APPROVE_RULES),
    response={202: RunOut, **PROBLEMS},
)
def replay(request: HttpRequest, id: UUID, given: ReplayIn) -> Status[Run]:
    """Decide past traffic anew by this version; look at `/runs/<id>` for how far it is and what it found."""
    draft, now = _found(id), utc_now()
    until = now.replace(second=0, microsecond=0) + timedelta(minutes=1)  # the same for a request that comes twice
    asked = {
        "since": format_utc(until - timedelta(days=given.days)),
        "until": format_utc(until),
        "days": given.days,
        "against": "recorded",
        "content": draft.content,
    }
    run = runs.ask(RunKind.REPLAY_RULES, subject=draft.ref, asked=asked, now=now, by=_by(request), actor=actor(request))
    return Status(202, run)


@router.get("/runs/{uuid:id}", auth=allowed(Action.SEE_RULES, Action.SEE_MODEL), response={200: RunOut, **PROBLEMS})
def run(request: HttpRequest, id: UUID) -> Run:
    """A long computation: a replay, learning, a comparison, a measure of drift."""
    return _run(id)


@router.post(
    "/runs/{uuid:id}/cancel", auth=allowed(Action.WRITE_RULES, Action.MANAGE_MODEL), response={200: RunOut, **PROBLEMS}
)
def cancel(request: HttpRequest, id: UUID) -> Run:
    return runs.cancel(_run(id).pk, by=_by(request), now=utc_now(), actor=actor(request))


def _found(id: UUID) -> RulebookVersion:
    found = RulebookVersion.objects.filter(pk=id).first()
    if found is None:
        raise NotFound(what="rulebook version", id=id)
    return found


def _run(id: UUID) -> Run:
    found = Run.objects.filter(pk=id).first()
    if found is None:
        raise NotFound(what="run", id=id)
    return found


def _by(request: HttpRequest) -> UUID:
    id: UUID = request.token.account.pk  # type: ignore[attr-defined]  # set by the gate
    return id
