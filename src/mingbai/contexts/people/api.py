"""People, by the API: who am I, accounts, roles, teams, units, tokens, webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from ninja import Field, Router, Schema, Status
from ninja.params.functions import Query

from mingbai.connectors.ledger_access import open_keys
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.people.choices import Role, UnitKind
from mingbai.contexts.people.http_api import (
    MAX_LIMIT,
    PROBLEMS,
    NotFound,
    actor,
    allowed,
    from_cursor,
    reach,
    to_cursor,
)
from mingbai.contexts.people.models import Account, Assignment, Delivery, Team, Token, Unit, Webhook
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.services import accounts, roles, teams, tokens, units, webhooks
from mingbai.kernel.clock import as_utc, utc_now
from mingbai.kernel.errors import BadValue

router = Router(tags=["people"])


class Page(Schema):
    """Where a list goes on: give `next` as `cursor`; null: this was all."""

    next: str | None = None


class RoleOut(Schema):
    id: UUID
    role: str
    unit: str | None = None  # code; null: the whole operator


class AccountOut(Schema):
    id: UUID
    username: str
    name: str
    email: str
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


class AccountChange(Schema):
    name: str | None = Field(None, max_length=120)
    email: str | None = Field(None, max_length=254)
    language: str | None = Field(None, max_length=10)
    skills: list[str] | None = None
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


class Invitation(Schema):
    """A one-time link, shown this once."""

    url: str
    hours: int


class UnitOut(Schema):
    code: str
    name: str
    kind: str
    parent: str | None
    access_codes: list[str]


class UnitList(Schema):
    items: list[UnitOut]


class UnitIn(Schema):
    code: str = Field(max_length=64)
    name: str = Field(max_length=120)
    kind: UnitKind
    parent: str | None = Field(None, max_length=64)
    access_codes: list[str] = Field(default_factory=list, max_length=10_000)


class UnitChange(Schema):
    name: str | None = Field(None, max_length=120)
    parent: str | None = Field(None, max_length=64)
    access_codes: list[str] | None = Field(None, max_length=10_000)


class TeamOut(Schema):
    code: str
    name: str
    members: list[str]
    roles: list[RoleOut]


class TeamList(Schema):
    items: list[TeamOut]


class TeamIn(Schema):
    code: str = Field(max_length=64)
    name: str = Field(max_length=120)


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
    scopes: list[Action]
    expires_at: datetime
    rate_per_minute: int = Field(600, ge=1, le=60_000)


class NewToken(Schema):
    """The secret is shown this once."""

    token: TokenOut
    secret: str


class WebhookOut(Schema):
    id: UUID
    name: str
    host: str  # of its address; the rest of it may hold a secret
    kinds: list[str]
    is_active: bool
    due: int
    failed: int


class WebhookList(Schema):
    items: list[WebhookOut]


class WebhookIn(Schema):
    name: str = Field(max_length=80)
    url: str = Field(max_length=500)
    kinds: list[str] = Field(max_length=100)


class WebhookChange(Schema):
    url: str | None = Field(None, max_length=500)
    kinds: list[str] | None = Field(None, max_length=100)
    is_active: bool | None = None


class NewWebhook(Schema):
    """The secret is shown this once."""

    webhook: WebhookOut
    secret: str


@router.get("/me", auth=allowed(), response={200: Me, **PROBLEMS}, operation_id="me")
def me(request: HttpRequest) -> dict[str, Any]:  # Any: ninja makes the document
    token: Token = request.token  # type: ignore[attr-defined]  # set by the gate
    rights = request.rights  # type: ignore[attr-defined]  # as above
    return {
        "account": token.account.username,
        "token": token.name,
        "scopes": sorted(rights.actions),
        "expires_at": token.expires_at,
    }


# -- accounts


@router.get("/accounts", auth=allowed(Action.SEE_PEOPLE), response={200: AccountPage, **PROBLEMS})
def list_accounts(
    request: HttpRequest,
    text: str = Query("", max_length=100, description="part of the username or name"),
    cursor: str | None = Query(None, max_length=500),
    limit: int = Query(100, ge=1, le=MAX_LIMIT),
) -> dict[str, Any]:  # Any: as above
    after = from_cursor(cursor)
    found = _visible(request)
    if text:
        found = found.filter(Q(username__icontains=text) | Q(name__icontains=text))
    if after is not None:
        found = found.filter(username__gt=str(after.get("after", "")))
    page = list(found.order_by("username")[: limit + 1])
    next_cursor = to_cursor({"after": page[limit - 1].username}) if len(page) > limit else None
    return {"items": [_account(account) for account in page[:limit]], "next": next_cursor}


@router.post("/accounts", auth=allowed(Action.MANAGE_PEOPLE), response={201: AccountOut, **PROBLEMS})
def create_account(request: HttpRequest, given: AccountIn) -> Status[dict[str, Any]]:  # Any: as above
    account = accounts.create_account(actor=actor(request), now=utc_now(), **given.dict())
    return Status(201, _account(account))


@router.get("/accounts/{uuid:id}", auth=allowed(Action.SEE_PEOPLE), response={200: AccountOut, **PROBLEMS})
def get_account(request: HttpRequest, id: UUID) -> dict[str, Any]:  # Any: as above
    return _account(_found(_visible(request), "account", id))


@router.patch("/accounts/{uuid:id}", auth=allowed(Action.MANAGE_PEOPLE), response={200: AccountOut, **PROBLEMS})
def change_account(request: HttpRequest, id: UUID, given: AccountChange) -> dict[str, Any]:  # Any: as above
    account = _found(_visible(request), "account", id)
    now, wanted = utc_now(), given.dict(exclude_unset=True)
    is_active = wanted.pop("is_active", None)
    if wanted:
        account = accounts.change_account(account, actor=actor(request), now=now, **wanted)
    if is_active is True:
        account = accounts.reactivate(account, actor=actor(request), now=now)
    elif is_active is False:
        account = accounts.deactivate(account, actor=actor(request), now=now)
    return _account(account)


@router.post(
    "/accounts/{uuid:id}/invitation", auth=allowed(Action.MANAGE_PEOPLE), response={201: Invitation, **PROBLEMS}
)
def invite(request: HttpRequest, id: UUID) -> Status[dict[str, Any]]:  # Any: as above
    account = _found(_visible(request), "account", id)
    secret = accounts.invite(account, actor=actor(request), now=utc_now())
    return Status(201, {"url": request.build_absolute_uri(f"/welcome/{secret}/"), "hours": accounts.INVITATION_HOURS})


@router.post("/accounts/{uuid:id}/roles", auth=allowed(Action.MANAGE_PEOPLE), response={201: RoleOut, **PROBLEMS})
def assign_role(request: HttpRequest, id: UUID, given: RoleIn) -> Status[dict[str, Any]]:  # Any: as above
    account = _found(_visible(request), "account", id)
    made = roles.assign_role(account, given.role, actor=actor(request), now=utc_now(), unit=_unit(given.unit))
    return Status(201, _role(made))


@router.delete("/roles/{uuid:id}", auth=allowed(Action.MANAGE_PEOPLE), response={204: None, **PROBLEMS})
def remove_role(request: HttpRequest, id: UUID) -> Status[None]:
    roles.remove_role(_found(Assignment.objects.all(), "role", id), actor=actor(request), now=utc_now())
    return Status(204, None)


# -- units and teams


@router.get("/units", auth=allowed(Action.SEE_PEOPLE), response={200: UnitList, **PROBLEMS})
def list_units(request: HttpRequest) -> dict[str, Any]:  # Any: as above
    within = reach(request, Action.SEE_PEOPLE)
    found = Unit.objects.select_related("parent")
    return {"items": [_unit_out(unit) for unit in found if within.is_all or unit.code in within.units]}


@router.post("/units", auth=allowed(Action.MANAGE_PEOPLE), response={201: UnitOut, **PROBLEMS})
def create_unit(request: HttpRequest, given: UnitIn) -> Status[dict[str, Any]]:  # Any: as above
    made = units.create_unit(
        given.code,
        kind=given.kind,
        name=given.name,
        parent=_unit(given.parent),
        access_codes=given.access_codes,
        actor=actor(request),
        now=utc_now(),
    )
    return Status(201, _unit_out(made))


@router.patch("/units/{slug:code}", auth=allowed(Action.MANAGE_PEOPLE), response={200: UnitOut, **PROBLEMS})
def change_unit(request: HttpRequest, code: str, given: UnitChange) -> dict[str, Any]:  # Any: as above
    unit = _unit(code)
    assert unit is not None
    wanted = given.dict(exclude_unset=True)
    changed = units.change_unit(
        unit,
        name=wanted.get("name") or unit.name,
        parent=_unit(wanted["parent"]) if "parent" in wanted else unit.parent,
        access_codes=wanted["access_codes"] if wanted.get("access_codes") is not None else unit.access_codes,
        actor=actor(request),
        now=utc_now(),
    )
    return _unit_out(changed)


@router.delete("/units/{slug:code}", auth=allowed(Action.MANAGE_PEOPLE), response={204: None, **PROBLEMS})
def delete_unit(request: HttpRequest, code: str) -> Status[None]:
    unit = _unit(code)
    assert unit is not None
    units.delete_unit(unit, actor=actor(request), now=utc_now())
    return Status(204, None)


@router.get("/teams", auth=allowed(Action.SEE_PEOPLE), response={200: TeamList, **PROBLEMS})
def list_teams(request: HttpRequest) -> dict[str, Any]:  # Any: as above
    if not reach(request, Action.SEE_PEOPLE).is_all:
        return {"items": []}
    return {"items": [_team_out(team) for team in Team.objects.prefetch_related("members", "assignments__unit")]}


@router.post("/teams", auth=allowed(Action.MANAGE_PEOPLE), response={201: TeamOut, **PROBLEMS})
def create_team(request: HttpRequest, given: TeamIn) -> Status[dict[str, Any]]:  # Any: as above
    return Status(201, _team_out(teams.create_team(given.code, name=given.name, actor=actor(request), now=utc_now())))


@router.delete("/teams/{slug:code}", auth=allowed(Action.MANAGE_PEOPLE), response={204: None, **PROBLEMS})
def delete_team(request: HttpRequest, code: str) -> Status[None]:
    teams.delete_team(_team(code), actor=actor(request), now=utc_now())
    return Status(204, None)


@router.put(
    "/teams/{slug:code}/members/{uuid:id}", auth=allowed(Action.MANAGE_PEOPLE), response={204: None, **PROBLEMS}
)
def add_member(request: HttpRequest, code: str, id: UUID) -> Status[None]:
    account = _found(Account.objects.all(), "account", id)
    teams.add_member(_team(code), account, actor=actor(request), now=utc_now())
    return Status(204, None)


@router.delete(
    "/teams/{slug:code}/members/{uuid:id}", auth=allowed(Action.MANAGE_PEOPLE), response={204: None, **PROBLEMS}
)
def remove_member(request: HttpRequest, code: str, id: UUID) -> Status[None]:
    account = _found(Account.objects.all(), "account", id)
    teams.remove_member(_team(code), account, actor=actor(request), now=utc_now())
    return Status(204, None)


@router.post("/teams/{slug:code}/roles", auth=allowed(Action.MANAGE_PEOPLE), response={201: RoleOut, **PROBLEMS})
def assign_team_role(request: HttpRequest, code: str, given: RoleIn) -> Status[dict[str, Any]]:  # Any: as above
    made = roles.assign_team_role(_team(code), given.role, actor=actor(request), now=utc_now(), unit=_unit(given.unit))
    return Status(201, _role(made))


# -- tokens: one's own


@router.get("/tokens", auth=allowed(Action.MANAGE_TOKENS), response={200: TokenList, **PROBLEMS})
def list_tokens(request: HttpRequest) -> dict[str, Any]:  # Any: as above
    return {"items": list(Token.objects.filter(account=_self(request)))}


@router.post("/tokens", auth=allowed(Action.MANAGE_TOKENS), response={201: NewToken, **PROBLEMS})
def create_token(request: HttpRequest, given: TokenIn) -> Status[dict[str, Any]]:  # Any: as above
    """A token never makes one that may do more than itself."""
    rights = request.rights  # type: ignore[attr-defined]  # set by the gate
    for scope in given.scopes:
        if not rights.may(scope):
            raise BadValue(field="scopes", value=scope, expected="rights that this token itself has")
    if given.expires_at.tzinfo is None:
        raise BadValue(field="expires_at", value=str(given.expires_at), expected="a time with its zone")
    made, secret = tokens.create_token(_self(request), actor=actor(request), now=utc_now(), **given.dict())
    return Status(201, {"token": made, "secret": secret})


@router.delete("/tokens/{uuid:id}", auth=allowed(Action.MANAGE_TOKENS), response={204: None, **PROBLEMS})
def revoke_token(request: HttpRequest, id: UUID) -> Status[None]:
    token = _found(Token.objects.filter(account=_self(request)), "token", id)
    tokens.revoke_token(token, actor=actor(request), now=utc_now())
    return Status(204, None)


# -- webhooks


@router.get("/webhooks", auth=allowed(Action.MANAGE_SYSTEM), response={200: WebhookList, **PROBLEMS})
def list_webhooks(request: HttpRequest) -> dict[str, Any]:  # Any: as above
    return {"items": [_webhook(webhook) for webhook in Webhook.objects.all()]}


@router.post("/webhooks", auth=allowed(Action.MANAGE_SYSTEM), response={201: NewWebhook, **PROBLEMS})
def create_webhook(request: HttpRequest, given: WebhookIn) -> Status[dict[str, Any]]:  # Any: as above
    made, secret = webhooks.create_webhook(
        given.name, given.url, given.kinds, actor=actor(request), now=utc_now(), keys=open_keys(settings.MINGBAI)
    )
    return Status(201, {"webhook": _webhook(made), "secret": secret})


@router.patch("/webhooks/{uuid:id}", auth=allowed(Action.MANAGE_SYSTEM), response={200: WebhookOut, **PROBLEMS})
def change_webhook(request: HttpRequest, id: UUID, given: WebhookChange) -> dict[str, Any]:  # Any: as above
    webhook = _found(Webhook.objects.all(), "webhook", id)
    wanted = given.dict(exclude_unset=True)
    return _webhook(webhooks.change_webhook(webhook, actor=actor(request), now=utc_now(), **wanted))


@router.delete("/webhooks/{uuid:id}", auth=allowed(Action.MANAGE_SYSTEM), response={204: None, **PROBLEMS})
def delete_webhook(request: HttpRequest, id: UUID) -> Status[None]:
    webhooks.delete_webhook(_found(Webhook.objects.all(), "webhook", id), actor=actor(request), now=utc_now())
    return Status(204, None)


# -- documents


def _account(account: Account) -> dict[str, Any]:  # Any: as above
    return {
        "id": account.pk,
        "username": account.username,
        "name": account.name,
        "email": account.email,
        "is_active": account.is_active,
        "language": account.language,
        "skills": account.skills,
        "created_at": account.created_at,
        "roles": [_role(given) for given in account.assignments.select_related("unit")],
        "teams": [team.code for team in account.teams.all()],
    }


def _role(given: Assignment) -> dict[str, Any]:  # Any: as above
    return {"id": given.pk, "role": given.role, "unit": given.unit.code if given.unit else None}


def _unit_out(unit: Unit) -> dict[str, Any]:  # Any: as above
    return {
        "code": unit.code,
        "name": unit.name,
        "kind": unit.kind,
        "parent": unit.parent.code if unit.parent else None,
        "access_codes": unit.access_codes,
    }


def _team_out(team: Team) -> dict[str, Any]:  # Any: as above
    return {
        "code": team.code,
        "name": team.name,
        "members": [account.username for account in team.members.all()],
        "roles": [_role(given) for given in team.assignments.all()],
    }


def _webhook(webhook: Webhook) -> dict[str, Any]:  # Any: as above
    from urllib.parse import urlsplit

    states = list(Delivery.objects.filter(webhook=webhook).exclude(state="delivered").values_list("state", flat=True))
    return {
        "id": webhook.pk,
        "name": webhook.name,
        "host": urlsplit(webhook.url).hostname or "",
        "kinds": webhook.kinds,
        "is_active": webhook.is_active,
        "due": states.count("due"),
        "failed": states.count("failed"),
    }


def _self(request: HttpRequest) -> Account:
    account: Account = request.token.account  # type: ignore[attr-defined]  # set by the gate
    return account


def _visible(request: HttpRequest) -> QuerySet[Account]:
    """The accounts within the caller's reach: all, or those who have a role in one of the caller's units."""
    action = Action.SEE_PEOPLE if request.method == "GET" else Action.MANAGE_PEOPLE
    within = reach(request, action)
    if within.is_all:
        return Account.objects.all()
    return Account.objects.filter(assignments__unit__code__in=within.units).distinct()


def _found(within: QuerySet[Any], what: str, id: UUID) -> Any:  # Any: one of ours, as the caller's query
    found = within.filter(pk=id).first()
    if found is None:
        raise NotFound(what=what, id=id)
    return found


def _unit(code: str | None) -> Unit | None:
    if code is None:
        return None
    found = Unit.objects.filter(code=code).select_related("parent").first()
    if found is None:
        raise NotFound(what="unit", id=code)
    return found


def _team(code: str) -> Team:
    found = Team.objects.filter(code=code).first()
    if found is None:
        raise NotFound(what="team", id=code)
    return found


# -- the control stream


class EntryOut(Schema):
    """One entry. actor and subject: account:<id>, token:<id>, message:<id>, …"""

    seq: int
    id: UUID
    at: datetime
    kind: str
    actor: str
    subject: str
    data: dict[str, Any]  # Any: JSON, by kind
    hash: str


class EntryPage(Page):
    items: list[EntryOut]


class Verified(Schema):
    """ok: every entry is as it was written; else what is wrong, and at which seq."""

    ok: bool
    entries: int
    head: str
    problem: str | None
    at_seq: int | None


@router.get("/audit", auth=allowed(Action.SEE_AUDIT), response={200: EntryPage, **PROBLEMS}, tags=["audit"])
def list_entries(
    request: HttpRequest,
    kind: list[str] = Query([], max_length=20),
    entry_actor: str = Query("", alias="actor", max_length=80),
    subject: str = Query("", max_length=120),
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str | None = Query(None, max_length=500),
    limit: int = Query(100, ge=1, le=MAX_LIMIT),
) -> dict[str, Any]:  # Any: as above
    """Newest first. kind: exact, or the beginning with a dot (`rulebook.`)."""
    position = from_cursor(cursor)
    before = position.get("before") if position is not None else None
    found = audit.entries(
        kinds=[one for one in kind if one and "\x00" not in one],
        actor=entry_actor.replace("\x00", ""),
        subject=subject.replace("\x00", ""),
        since=None if since is None else as_utc(since, "since"),
        until=None if until is None else as_utc(until, "until"),
        before_seq=before if isinstance(before, int) and 0 <= before < 2**63 else None,
    )
    page = list(found[: limit + 1])
    following = to_cursor({"before": page[limit - 1].seq}) if len(page) > limit else None
    items = [
        {
            "seq": entry.seq,
            "id": entry.id,
            "at": entry.at,
            "kind": entry.kind,
            "actor": entry.actor,
            "subject": entry.subject,
            "data": entry.data,
            "hash": bytes(entry.hash).hex(),
        }
        for entry in page[:limit]
    ]
    return {"items": items, "next": following}


@router.post("/audit/verify", auth=allowed(Action.SEE_AUDIT), response={200: Verified, **PROBLEMS}, tags=["audit"])
def verify_entries(request: HttpRequest) -> dict[str, Any]:  # Any: as above
    """Walk the whole chain."""
    found = audit.verify()
    return {
        "ok": found.ok,
        "entries": found.entries,
        "head": found.head.hex(),
        "problem": found.problem,
        "at_seq": found.at_seq,
    }
