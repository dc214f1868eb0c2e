"""The model by the API: which there are, learn, compare, shadow, propose, approve, back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status
from ninja.params.functions import Query as Param

from mingbai.contexts.messaging.api.rulebook import RunOut
from mingbai.contexts.messaging.models import Run, ScreeningModel
from mingbai.contexts.messaging.queries import model as queries
from mingbai.contexts.messaging.queries import overview
from mingbai.contexts.messaging.services import model as services
from mingbai.contexts.people.http_api import NotFound, actor, allowed, found, from_cursor, to_cursor
from mingbai.contexts.people.policy import Action
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import MingbaiError

router = Router(tags=["model"])
_WEB = Any  # what ninja makes a document from


class ModelOut(Schema):
    version: str
    state: str
    is_shipped: bool
    is_shadow: bool
    note: str
    made_at: datetime
    facts: dict[str, Any]  # Any: what its file says of itself
    report: dict[str, Any] | None  # Any: of learning
    comparison: dict[str, Any] | None  # Any: with its base, on the same held-back messages

    @staticmethod
    def resolve_comparison(model: ScreeningModel) -> dict[str, Any] | None:  # Any: as above
        """Figures only: the messages are under `…/changes`."""
        if model.comparison is None:
            return None
        return {name: value for name, value in model.comparison.items() if name != "changes"}


class ShadowOut(Schema):
    """How a shadow decided beside the model in force. stopped: only the shadow would stop; freed: only it frees."""

    since: datetime
    until: datetime
    messages: int
    agree: int
    skipped: int
    stopped: dict[str, int]
    freed: dict[str, int]


class ModelTermOut(Schema):
    version: str
    how: str
    by: UUID | None
    at: datetime
    reason: str


class ModelHistory(Schema):
    """terms: newest first; labels: reviewed messages there are to learn from, by category; gold apart."""

    terms: list[ModelTermOut]
    labels: dict[str, int]
    is_confirmed: bool | None  # the screener decides by the newest; null: it does not answer


class ModelChangedOut(Schema):
    id: str
    truth: str
    old: str
    new: str
    old_score: float
    new_score: float
    is_better: bool
    is_gold: bool
    text: str
    not_kept: str


class ModelChangedPage(Schema):
    items: list[ModelChangedOut]
    total: int
    next: str | None = None


class ModelList(Schema):
    items: list[ModelOut]


class NothingToLearn(MingbaiError):
    """No message has been reviewed."""

    code = "nothing_to_learn"
    template = "there is nothing to learn from yet: no message has been reviewed"


class ModelWordsIn(Schema):
    words: str = Field("", max_length=500)


class ShadowIn(Schema):
    """version: null switches the shadow off."""

    version: str | None = Field(None, max_length=12)


class DriftIn(Schema):
    days: int = Field(7, ge=1, le=366)


@router.get("/models", auth=allowed(Action.SEE_MODEL), response={200: ModelList})
def models(request: HttpRequest) -> dict[str, _WEB]:
    return {"items": list(queries.models())}


@router.post("/models/learn", auth=allowed(Action.MANAGE_MODEL), response={202: RunOut})
def learn(request: HttpRequest) -> Status[Run]:
    """Learn from all reviewed messages, beginning from the model in force."""
    counts = queries.label_counts()
    if not sum(count for name, count in counts.items() if name != "gold"):
        raise NothingToLearn()
    return Status(202, services.ask_learning(by=_by(request), now=utc_now(), actor=actor(request)))


@router.post("/models/drift", auth=allowed(Action.MANAGE_MODEL, Action.APPROVE_MODEL), response={202: RunOut})
def drift(request: HttpRequest, given: DriftIn) -> Status[Run]:
    """Measure how recent traffic differs from what the model was trained on."""
    now = utc_now()
    until = now.replace(second=0, microsecond=0) + timedelta(minutes=1)  # the same for a request that comes twice
    since = until - timedelta(days=given.days)
    return Status(202, services.ask_drift(since=since, until=until, by=_by(request), now=now, actor=actor(request)))


@router.put("/models/shadow", auth=allowed(Action.MANAGE_MODEL), response={204: None})
def shadow(request: HttpRequest, given: ShadowIn) -> Status[None]:
    """Let a model decide beside the one in force, only counted."""
    if given.version is not None:
        _found(given.version)
    services.set_shadow(given.version, by=_by(request), now=utc_now(), actor=actor(request))
    return Status(204, None)


@router.post("/models/back", auth=allowed(Action.APPROVE_MODEL), response={200: ModelOut})
def back(request: HttpRequest, given: ModelWordsIn) -> ScreeningModel:
    """Put the model back that was in force before."""
    return services.go_back(by=_by(request), now=utc_now(), reason=given.words, actor=actor(request))


@router.get("/models/drift", auth=allowed(Action.SEE_MODEL), response={200: RunOut})
def last_drift(request: HttpRequest) -> Run:
    """The newest measurement that came to an end, feature by feature."""
    newest = queries.last_drift()
    if newest is None:
        raise NotFound(what="measurement of drift", id="newest")
    return newest


@router.get("/models/history", auth=allowed(Action.SEE_MODEL), response={200: ModelHistory})
def history(request: HttpRequest) -> dict[str, _WEB]:
    """Which model decided from when on, and what there is to learn from."""
    present = queries.in_force()
    names = ("how", "by", "at", "reason")
    terms = [
        {**{name: getattr(term, name) for name in names}, "version": term.model.version}
        for term in queries.terms()[:100]
    ]
    is_confirmed = None if present is None else queries.is_confirmed(present, overview.screener_status())
    return {"terms": terms, "labels": queries.label_counts(), "is_confirmed": is_confirmed}


@router.get("/models/shadow", auth=allowed(Action.SEE_MODEL), response={200: ShadowOut})
def shadow_agreement(request: HttpRequest, days: int = Param(7, ge=1, le=366)) -> queries.Agreement:
    """How the shadow agrees with the model in force; 404 without a shadow or before its first count."""
    shadow = queries.shadow()
    counts = queries.agreement(shadow.version, since=utc_now() - timedelta(days=days)) if shadow else None
    if counts is None:
        raise NotFound(what="count of a shadow", id=shadow.version if shadow else "")
    return counts


@router.get("/models/{version}", auth=allowed(Action.SEE_MODEL), response={200: ModelOut})
def model(request: HttpRequest, version: str) -> ScreeningModel:
    return _found(version)


@router.get("/models/{version}/changes", auth=allowed(Action.SEE_MODEL), response={200: ModelChangedPage})
def changes(
    request: HttpRequest,
    version: str,
    only: Literal["", "better", "worse", "gold"] = "",
    cursor: str | None = Param(None, max_length=500),
    limit: int = Param(50, ge=1, le=200),
) -> dict[str, _WEB]:
    """Held-back messages on which it differs from the model in force, as of its last comparison."""
    start = (from_cursor(cursor) or {}).get("start", 0)
    start = start if isinstance(start, int) and 0 <= start < 1_000_000 else 0
    rights = request.rights  # type: ignore[attr-defined]  # set by the gate
    compared = _found(version).comparison
    rows, total = (
        queries.changed_verdicts(compared, rights, start=start, count=limit, only=only) if compared else ([], 0)
    )
    return {
        "items": [
            {
                **{name: getattr(row, name) for name in ModelChangedOut.model_fields},
                "truth": row.truth.label,
                "old": row.old.label,
                "new": row.new.label,
            }
            for row in rows
        ],
        "total": total,
        "next": to_cursor({"start": start + limit}) if start + limit < total else None,
    }


@router.post(
    "/models/{version}/compare",
    auth=allowed(Action.MANAGE_MODEL, Action.APPROVE_MODEL),
    response={202: RunOut},
)
def compare(request: HttpRequest, version: str) -> Status[Run]:
    """Compare with the model in force on the same held-back messages."""
    _found(version)
    return Status(202, services.ask_comparison(version, by=_by(request), now=utc_now(), actor=actor(request)))


@router.post("/models/{version}/propose", auth=allowed(Action.MANAGE_MODEL), response={200: ModelOut})
def propose(request: HttpRequest, version: str, given: ModelWordsIn) -> ScreeningModel:
    """Ask a second person to put it in force."""
    _found(version)
    return services.propose(version, words=given.words, by=_by(request), now=utc_now(), actor=actor(request))


@router.post("/models/{version}/approve", auth=allowed(Action.APPROVE_MODEL), response={200: ModelOut})
def approve(request: HttpRequest, version: str, given: ModelWordsIn) -> ScreeningModel:
    """Put it in force. Never by who proposed it or had it learnt."""
    _found(version)
    return services.approve(version, words=given.words, by=_by(request), now=utc_now(), actor=actor(request))


@router.post(
    "/models/{version}/reject",
    auth=allowed(Action.APPROVE_MODEL, Action.MANAGE_MODEL),
    response={200: ModelOut},
)
def reject(request: HttpRequest, version: str, given: ModelWordsIn) -> ScreeningModel:
    _found(version)
    return services.reject(version, words=given.words, by=_by(request), now=utc_now(), actor=actor(request))


def _found(version: str) -> ScreeningModel:
    return found(queries.models(), "model", version, "version")


def _by(request: HttpRequest) -> UUID:
    id: UUID = request.token.account.pk  # type: ignore[attr-defined]  # set by the gate
    return id
