"""Accounts, their roles, sessions and second factors, by the API; and who am I."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Field, Router, Schema, Status
from ninja.params.functions import Query

from mingbai.contexts.people import queries
from mingbai.contexts.people.api.tokens import TokenOut
from mingbai.contexts.people.choices import Role
from mingbai.contexts.people.http_api import (
    MAX_LIMIT,
    NotFound,
    Page,
    actor,
    allowed,
    found,
    from_cursor,
    is_whole,
    own_account,
    reach,
    to_cursor,
)
from mingbai.contexts.people.models import Account, Assignment, Token, Unit
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.services import accounts, roles, sessions, tokens
from mingbai.contexts.people.services.accounts import ERASED
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.masking import masked_number

router = Router(tags=["people"])
_WEB = Any  # what ninja makes a document from


class RoleOut(Schema):
    id: UUID
    role: str
    unit: str | None = None  # code; null: the whole operator


class AccountOut(Schema):
    id: UUID
    username: str
    name: str
    email: str
    number: str  # masked
    is_active: bool
    language: str
    skills: list[str]
    created_at: datetime
    roles: list[RoleOut]
    teams: list[str]


class AccountPage(Page):
    items: list[AccountOut]


class AccountIn(Schema):
    username: str = Field(max_length=64)
    name: str = Field("", max_length=120)
    email: str = Field("", max_length=254)
    number: str = Field("", max_length=32)
    language: str = Field("", max_length=10)
    role: Role | None = Field(None, description="its first role; needed where the caller manages some units only")
    unit: str | None = Field(None, max_length=64, description="code; what the first role is limited to")


class AccountChange(Schema):
    name: str | None = Field(None, max_length=120)
    email: str | None = Field(None, max_length=254)
    number: str | None = Field(None, max_length=32)
    language: str | None = Field(None, max_length=10)
    skills: list[Annotated[str, Field(max_length=64)]] | None = Field(None, max_length=50)
    is_active: bool | None = None


class Me(Schema):
    """Whose token this is and what it may do."""

    account: str
    token: str
    scopes: list[str]
    expires_at: datetime


class RoleIn(Schema):
    role: Role
    unit: str | None = Field(None, max_length=64, description="code; null: the whole operator")


class MeChange(Schema):
    """What everybody may change about themselves."""

    name: str | None = Field(None, max_length=120)
    email: str | None = Field(None, max_length=254)
    language: str | None = Field(None, max_length=10)


class SessionOut(Schema):
    id: int
    address: str
    program: str  # what the browser calls itself
    since: datetime
    last_seen_at: datetime
    is_over: bool


class SessionList(Schema):
    items: list[SessionOut]


class Security(Schema):
    """What of somebody opens the console beside the password. tokens: of theirs that are in use."""

    second_factors: list[str]
    needs_second_factor: bool
    tokens: list[TokenOut]


class Count(Schema):
    count: int


class Invitation(Schema):
    """A one-time link, shown this once."""

    url: str
    hours: int


@router.get("/me", auth=allowed(), response={200: Me}, operation_id="me")
def me(request: HttpRequest) -> dict[str, _WEB]:
    token: Token = request.token  # type: ignore[attr-defined]  # set by the gate
    rights = request.rights  # type: ignore[attr-defined]  # as above
    return {
        "account": token.account.username,
        "token": token.name,
        "scopes": sorted(rights.actions),
        "expires_at": token.expires_at,
    }


# -- accounts


@router.get("/accounts", auth=allowed(Action.SEE_PEOPLE), response={200: AccountPage})
def list_accounts(
    request: HttpRequest,
    text: str = Query("", max_length=100, description="part of the username, name or e-mail"),
    role: Role | None = None,
    cursor: str | None = Query(None, max_length=500),
    limit: int = Query(100, ge=1, le=MAX_LIMIT),
) -> dict[str, _WEB]:
    after = from_cursor(cursor)
    rights = request.rights  # type: ignore[attr-defined]  # set by the gate
    listed = queries.accounts_listed(rights, words=text, role=role or "")
    if after is not None:
        listed = listed.filter(username__gt=str(after.get("after", "")).replace("\x00", ""))
    page = list(listed[: limit + 1])
    next_cursor = to_cursor({"after": page[limit - 1].username}) if len(page) > limit else None
    return {"items": [account_out(account) for account in page[:limit]], "next": next_cursor}


@router.post("/accounts", auth=allowed(Action.MANAGE_PEOPLE), response={201: AccountOut})
def create_account(request: HttpRequest, given: AccountIn) -> Status[dict[str, _WEB]]:
    """With its first role, in one. Who manages some units only must give a role within them."""
    now, wanted = utc_now(), given.dict(exclude={"role", "unit"})
    if given.role is None and not is_whole(request, Action.MANAGE_PEOPLE):
        raise BadValue(field="role", value="", expected="a role: without one the account lies outside of your units")
    with transaction.atomic():
        account = accounts.create_account(actor=actor(request), now=now, **wanted)
        if given.role is not None:
            roles.assign_role(
                account, given.role, actor=actor(request), now=now, unit=_unit(given.unit), within=_within(request)
            )
    return Status(201, account_out(account))


@router.get("/accounts/{uuid:id}", auth=allowed(Action.SEE_PEOPLE), response={200: AccountOut})
def get_account(request: HttpRequest, id: UUID) -> dict[str, _WEB]:
    return account_out(_reachable(request, id))


@router.patch("/accounts/{uuid:id}", auth=allowed(Action.MANAGE_PEOPLE), response={200: AccountOut})
def change_account(request: HttpRequest, id: UUID, given: AccountChange) -> dict[str, _WEB]:
    account = _reachable(request, id)
    now, wanted = utc_now(), given.dict(exclude_unset=True)
    wanted = {name: value for name, value in wanted.items() if value is not None}
    is_active = wanted.pop("is_active", None)
    with transaction.atomic():  # all of it or nothing
        if wanted:
            account = accounts.change_account(account, actor=actor(request), now=now, **wanted)
        if is_active is True:
            account = accounts.reactivate(account, actor=actor(request), now=now)
        elif is_active is False:
            account = accounts.deactivate(account, actor=actor(request), now=now)
    return account_out(account)


@router.post("/accounts/{uuid:id}/invitation", auth=allowed(Action.MANAGE_PEOPLE), response={201: Invitation})
def invite(request: HttpRequest, id: UUID) -> Status[dict[str, _WEB]]:
    account = _reachable(request, id)
    secret = accounts.invite(account, actor=actor(request), now=utc_now())
    return Status(201, {"url": request.build_absolute_uri(f"/welcome/{secret}/"), "hours": accounts.INVITATION_HOURS})


@router.post("/accounts/{uuid:id}/roles", auth=allowed(Action.MANAGE_PEOPLE), response={201: RoleOut})
def assign_role(request: HttpRequest, id: UUID, given: RoleIn) -> Status[dict[str, _WEB]]:
    account = _reachable(request, id)
    made = roles.assign_role(
        account, given.role, actor=actor(request), now=utc_now(), unit=_unit(given.unit), within=_within(request)
    )
    return Status(201, role_out(made))


@router.delete("/roles/{uuid:id}", auth=allowed(Action.MANAGE_PEOPLE), response={204: None})
def remove_role(request: HttpRequest, id: UUID) -> Status[None]:
    """Of an account or a team."""
    row = found(Assignment.objects.select_related("account", "team", "unit"), "role", id)
    if row.account is not None:
        _reachable(request, row.account.pk, what="role", named=id)
    elif not is_whole(request, Action.MANAGE_PEOPLE):
        raise NotFound(what="role", id=id)
    roles.remove_role(row, actor=actor(request), now=utc_now(), within=_within(request))
    return Status(204, None)


# -- what opens the console for somebody


@router.get("/accounts/{uuid:id}/security", auth=allowed(Action.SEE_PEOPLE), response={200: Security})
def security(request: HttpRequest, id: UUID) -> dict[str, _WEB]:
    account = _reachable(request, id)
    kinds = Authenticator.objects.filter(user_id=account.pk).order_by("created_at").values_list("type", flat=True)
    return {
        "second_factors": [str(kind) for kind in kinds],
        "needs_second_factor": queries.needs_second_factor(queries.rights_of(account)),
        "tokens": list(account.tokens.filter(revoked_at=None, expires_at__gt=utc_now())),
    }


@router.get("/accounts/{uuid:id}/sessions", auth=allowed(Action.SEE_PEOPLE), response={200: SessionList})
def list_sessions(request: HttpRequest, id: UUID) -> dict[str, _WEB]:
    return {"items": _sessions(_reachable(request, id))}


@router.delete("/accounts/{uuid:id}/sessions", auth=allowed(Action.MANAGE_PEOPLE), response={200: Count})
def sign_out(request: HttpRequest, id: UUID) -> dict[str, _WEB]:
    """Out of every browser, and its one-time links end too."""
    account = _reachable(request, id)
    return {"count": sessions.sign_out_everywhere(account, actor=actor(request), now=utc_now())}


@router.delete("/accounts/{uuid:id}/sessions/{int:session}", auth=allowed(Action.MANAGE_PEOPLE), response={204: None})
def end_session(request: HttpRequest, id: UUID, session: int) -> Status[None]:
    account = _reachable(request, id)
    is_number = 0 < session < 2**63  # what the database can hold
    if not is_number or not sessions.end_session(account, session, actor=actor(request), now=utc_now()):
        raise NotFound(what="session", id=session)
    return Status(204, None)


@router.delete("/accounts/{uuid:id}/second-factors", auth=allowed(Action.MANAGE_PEOPLE), response={200: Count})
def reset_second_factors(request: HttpRequest, id: UUID) -> dict[str, _WEB]:
    """New ones are set up at the next sign-in. Never one's own; a new password by the same person is refused."""
    account = _reachable(request, id)
    roles.check_not_own(account, actor(request))
    return {"count": sessions.reset_second_factors(account, actor=actor(request), now=utc_now())}


@router.delete("/accounts/{uuid:id}/tokens/{uuid:token}", auth=allowed(Action.MANAGE_PEOPLE), response={204: None})
def revoke_token_of(request: HttpRequest, id: UUID, token: UUID) -> Status[None]:
    """Somebody else's token."""
    account = _reachable(request, id)
    tokens.revoke_token(
        found(Token.objects.filter(account=account), "token", token), actor=actor(request), now=utc_now()
    )
    return Status(204, None)


# -- oneself


@router.patch("/me", auth=allowed(), response={200: AccountOut})
def change_me(request: HttpRequest, given: MeChange) -> dict[str, _WEB]:
    """One's own name, e-mail and language."""
    wanted = {name: value for name, value in given.dict(exclude_unset=True).items() if value is not None}
    return account_out(accounts.change_account(own_account(request), actor=actor(request), now=utc_now(), **wanted))


@router.get("/me/sessions", auth=allowed(), response={200: SessionList})
def my_sessions(request: HttpRequest) -> dict[str, _WEB]:
    return {"items": _sessions(own_account(request))}


@router.delete("/me/sessions/{int:session}", auth=allowed(), response={204: None})
def end_my_session(request: HttpRequest, session: int) -> Status[None]:
    is_number = 0 < session < 2**63  # as above
    if not is_number or not sessions.end_session(own_account(request), session, actor=actor(request), now=utc_now()):
        raise NotFound(what="session", id=session)
    return Status(204, None)


# -- documents


def account_out(account: Account) -> dict[str, _WEB]:
    return {
        "id": account.pk,
        "username": account.username,
        "name": account.name,
        "email": account.email,
        "number": masked_number(account.number),
        "is_active": account.is_active,
        "language": account.language,
        "skills": account.skills,
        "created_at": account.created_at,
        "roles": [role_out(given) for given in account.assignments.select_related("unit")],
        "teams": [team.code for team in account.teams.all()],
    }


def role_out(given: Assignment) -> dict[str, _WEB]:
    return {"id": given.pk, "role": given.role, "unit": given.unit.code if given.unit else None}


def _sessions(account: Account) -> list[dict[str, _WEB]]:
    return [
        {
            "id": row.pk,
            "address": row.ip,
            "program": row.user_agent,
            "since": row.created_at,
            "last_seen_at": row.last_seen_at,
            "is_over": not row.exists(),
        }
        for row in UserSession.objects.filter(user_id=account.pk).order_by("-last_seen_at")
    ]


def _within(request: HttpRequest) -> frozenset[UUID] | None:
    """Units that the caller may give roles for; None: all."""
    return queries.units_within(reach(request, Action.MANAGE_PEOPLE))


def _unit(code: str | None) -> Unit | None:
    return None if code is None else found(Unit.objects.all(), "unit", code, "code")


def _visible(request: HttpRequest) -> QuerySet[Account]:
    """The accounts within the caller's reach: all, or those whose every role is within the caller's units."""
    action = Action.SEE_PEOPLE if request.method == "GET" else Action.MANAGE_PEOPLE
    return queries.accounts_within(request.rights, action)  # type: ignore[attr-defined]  # set by the gate


def _reachable(request: HttpRequest, id: UUID, what: str = "account", named: UUID | None = None) -> Account:
    """Raises NotFound; of somebody whose data was erased nothing is changed any more."""
    account = _visible(request).filter(pk=id).first()
    if account is None or (request.method != "GET" and account.username.startswith(ERASED)):
        raise NotFound(what=what, id=named or id)
    return account
