"""One's own tokens, by the API."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from mingbai.contexts.people.http_api import actor, allowed, found, own_account
from mingbai.contexts.people.models import Token
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.services import tokens
from mingbai.kernel.clock import as_utc, utc_now
from mingbai.kernel.errors import BadValue

router = Router(tags=["people"])
_WEB = Any  # what ninja makes a document from


class TokenOut(Schema):
    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    rate_per_minute: int
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class TokenList(Schema):
    items: list[TokenOut]


class TokenIn(Schema):
    name: str = Field(max_length=80)
    scopes: list[Action] = Field(min_length=1, max_length=len(Action))
    expires_at: datetime
    rate_per_minute: int = Field(600, ge=1, le=60_000)


class NewToken(Schema):
    """The secret is shown this once."""

    token: TokenOut
    secret: str


@router.get("/tokens", auth=allowed(Action.MANAGE_TOKENS), response={200: TokenList})
def list_tokens(request: HttpRequest) -> dict[str, _WEB]:
    return {"items": list(Token.objects.filter(account=own_account(request)))}


@router.post("/tokens", auth=allowed(Action.MANAGE_TOKENS), response={201: NewToken})
def create_token(request: HttpRequest, given: TokenIn) -> Status[dict[str, _WEB]]:
    """A token never makes one that may do more than itself."""
    rights = request.rights  # type: ignore[attr-defined]  # set by the gate
    for scope in given.scopes:
        if not rights.may(scope):
            raise BadValue(field="scopes", value=scope, expected="rights that this token itself has")
    wanted = given.dict() | {"expires_at": as_utc(given.expires_at, "expires_at")}
    made, secret = tokens.create_token(own_account(request), actor=actor(request), now=utc_now(), **wanted)
    return Status(201, {"token": made, "secret": secret})


@router.delete("/tokens/{uuid:id}", auth=allowed(Action.MANAGE_TOKENS), response={204: None})
def revoke_token(request: HttpRequest, id: UUID) -> Status[None]:
    token = found(Token.objects.filter(account=own_account(request)), "token", id)
    tokens.revoke_token(token, actor=actor(request), now=utc_now())
    return Status(204, None)
