"""The model by the API: which there are, learn, compare, shadow, propose, approve, back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from mingbai.contexts.messaging.api.rulebook import RunOut
from mingbai.contexts.messaging.models import Run, ScreeningModel
from mingbai.contexts.messaging.queries import model as queries
from mingbai.contexts.messaging.services import model as services
from mingbai.contexts.people.http_api import PROBLEMS, NotFound, actor, allowed
from mingbai.contexts.people.policy import Action
from mingbai.kernel.clock import utc_now

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


class ModelList(Schema):
    items: list[ModelOut]


class WordsIn(Schema):
    words: str = Field("", max_length=500)


class ShadowIn(Schema):
    """version: null switches the shadow off."""

    version: str | None = Field(None, max_length=12)


class DriftIn(Schema):
    days: int = Field(7, ge=1, le=366)


@router.get("/models", auth=allowed(Action.SEE_MODEL), response={200: ModelList, **PROBLEMS})
def models(request: HttpRequest) -> dict[str, _WEB]:
    return {"items": list(queries.models())}


@router.get("/models/{version}", auth=allowed(Action.SEE_MODEL), response={200: ModelOut, **PROBLEMS})
def model(request: HttpRequest, version: str) -> ScreeningModel:
    return _found(version)


@router.post("/models/learn", auth=allowed(Action.MANAGE_MODEL), response={202: RunOut, **PROBLEMS})
def learn(request: HttpRequest) -> Status[Run]:
    """Learn from all reviewed messages, beginning from the model in force."""
    return Status(202, services.ask_learning(by=_by(request), now=utc_now(), actor=actor(request)))


@router.post("/models/drift", auth=allowed(Action.MANAGE_MODEL), response={202: RunOut, **PROBLEMS})
def drift(request: HttpRequest, given: DriftIn) -> Status[Run]:
    """Measure how recent traffic differs from what the model was trained on."""
    now = utc_now()
    since = now - timedelta(days=given.days)
    return Status(202, services.ask_drift(since=since, until=now, by=_by(request), now=now, actor=actor(request)))


@router.put("/models/shadow", auth=allowed(Action.MANAGE_MODEL), response={204: None, **PROBLEMS})
def shadow(request: HttpRequest, given: ShadowIn) -> Status[None]:
    """Let a model decide beside the one in force, only counted."""
    if given.version is not None:
        _found(given.version)
    services.set_shadow(given.version, by=_by(request), now=utc_now(), actor=actor(request))
    return Status(204, None)


@router.post("/models/back", auth=allowed(Action.APPROVE_MODEL), response={200: ModelOut, **PROBLEMS})
def back(request: HttpRequest, given: WordsIn) -> ScreeningModel:
    """Put the model back that was in force before."""
    return services.go_back(by=_by(request), now=utc_now(), reason=given.words, actor=actor(request))


@router.post("/models/{version}/compare", auth=allowed(Action.MANAGE_MODEL), response={202: RunOut, **PROBLEMS})
def compare(request: HttpRequest, version: str) -> Status[Run]:
    """Compare with the model in force on the same held-back messages."""
    _found(version)
    return Status(202, services.ask_comparison(version, by=_by(request), now=utc_now(), actor=actor(request)))


@router.post("/models/{version}/propose", auth=allowed(Action.MANAGE_MODEL), response={200: ModelOut, **PROBLEMS})
def propose(request: HttpRequest, version: str, given: WordsIn) -> ScreeningModel:
    """Ask a second person to put it in force."""
    _found(version)
    return services.propose(version, words=given.words, by=_by(request), now=utc_now(), actor=actor(request))


@router.post("/models/{version}/approve", auth=allowed(Action.APPROVE_MODEL), response={200: ModelOut, **PROBLEMS})
def approve(request: HttpRequest, version: str, given: WordsIn) -> ScreeningModel:
    """Put it in force. Never by who proposed it or had it learnt."""
    _found(version)
    return services.approve(version, words=given.words, by=_by(request), now=utc_now(), actor=actor(request))


@router.post("/models/{version}/reject", auth=allowed(Action.APPROVE_MODEL), response={200: ModelOut, **PROBLEMS})
def reject(request: HttpRequest, version: str, given: WordsIn) -> ScreeningModel:
    _found(version)
    return services.reject(version, words=given.words, by=_by(request), now=utc_now(), actor=actor(request))


def _found(version: str) -> ScreeningModel:
    found = queries.models().filter(version=version[:12]).first()
    if found is None or len(version) > 12:
        raise NotFound(what="model", id=version)
    return found


def _by(request: HttpRequest) -> UUID:
    id: UUID = request.token.account.pk  # type: ignore[attr-defined]  # set by the gate
    return id
