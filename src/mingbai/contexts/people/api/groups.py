"""Units and teams, by the API."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from mingbai.contexts.people import queries
from mingbai.contexts.people.api.accounts import RoleIn, RoleOut, role_out
from mingbai.contexts.people.choices import UnitKind
from mingbai.contexts.people.http_api import actor, allowed, found, is_whole, reach, whole
from mingbai.contexts.people.models import Account, Team, Unit
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.services import roles, teams, units
from mingbai.kernel.clock import utc_now

router = Router(tags=["people"])
_WEB = Any  # what ninja makes a document from


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
    access_codes: list[Annotated[str, Field(max_length=32)]] = Field(default_factory=list, max_length=10_000)


class UnitChange(Schema):
    name: str | None = Field(None, max_length=120)
    parent: str | None = Field(None, max_length=64)
    access_codes: list[Annotated[str, Field(max_length=32)]] | None = Field(None, max_length=10_000)


class TeamOut(Schema):
    code: str
    name: str
    members: list[str]
    roles: list[RoleOut]


class TeamList(Schema):
    items: list[TeamOut]


class TeamChange(Schema):
    name: str = Field(max_length=120)


class TeamIn(Schema):
    code: str = Field(max_length=64)
    name: str = Field(max_length=120)


@router.get("/units", auth=allowed(Action.SEE_PEOPLE), response={200: UnitList})
def list_units(request: HttpRequest) -> dict[str, _WEB]:
    within = queries.units_within(reach(request, Action.SEE_PEOPLE))
    return {"items": [_unit_out(row.unit) for row in queries.unit_tree(within)]}


@router.post("/units", auth=allowed(Action.MANAGE_PEOPLE), response={201: UnitOut})
def create_unit(request: HttpRequest, given: UnitIn) -> Status[dict[str, _WEB]]:
    whole(request, Action.MANAGE_PEOPLE)
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


@router.patch("/units/{slug:code}", auth=allowed(Action.MANAGE_PEOPLE), response={200: UnitOut})
def change_unit(request: HttpRequest, code: str, given: UnitChange) -> dict[str, _WEB]:
    whole(request, Action.MANAGE_PEOPLE)
    unit = found(Unit.objects.select_related("parent"), "unit", code, "code")
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


@router.delete("/units/{slug:code}", auth=allowed(Action.MANAGE_PEOPLE), response={204: None})
def delete_unit(request: HttpRequest, code: str) -> Status[None]:
    whole(request, Action.MANAGE_PEOPLE)
    unit = found(Unit.objects.select_related("parent"), "unit", code, "code")
    units.delete_unit(unit, actor=actor(request), now=utc_now())
    return Status(204, None)


@router.get("/teams", auth=allowed(Action.SEE_PEOPLE), response={200: TeamList})
def list_teams(request: HttpRequest) -> dict[str, _WEB]:
    if not is_whole(request, Action.SEE_PEOPLE):
        return {"items": []}
    return {"items": [_team_out(team) for team in Team.objects.prefetch_related("members", "assignments__unit")]}


@router.post("/teams", auth=allowed(Action.MANAGE_PEOPLE), response={201: TeamOut})
def create_team(request: HttpRequest, given: TeamIn) -> Status[dict[str, _WEB]]:
    whole(request, Action.MANAGE_PEOPLE)
    return Status(201, _team_out(teams.create_team(given.code, name=given.name, actor=actor(request), now=utc_now())))


@router.patch("/teams/{slug:code}", auth=allowed(Action.MANAGE_PEOPLE), response={200: TeamOut})
def rename_team(request: HttpRequest, code: str, given: TeamChange) -> dict[str, _WEB]:
    whole(request, Action.MANAGE_PEOPLE)
    return _team_out(teams.rename_team(_team(code), name=given.name, actor=actor(request), now=utc_now()))


@router.delete("/teams/{slug:code}", auth=allowed(Action.MANAGE_PEOPLE), response={204: None})
def delete_team(request: HttpRequest, code: str) -> Status[None]:
    whole(request, Action.MANAGE_PEOPLE)
    teams.delete_team(_team(code), actor=actor(request), now=utc_now())
    return Status(204, None)


@router.put("/teams/{slug:code}/members/{uuid:id}", auth=allowed(Action.MANAGE_PEOPLE), response={204: None})
def add_member(request: HttpRequest, code: str, id: UUID) -> Status[None]:
    whole(request, Action.MANAGE_PEOPLE)
    account = found(Account.objects.all(), "account", id)
    teams.add_member(_team(code), account, actor=actor(request), now=utc_now())
    return Status(204, None)


@router.delete("/teams/{slug:code}/members/{uuid:id}", auth=allowed(Action.MANAGE_PEOPLE), response={204: None})
def remove_member(request: HttpRequest, code: str, id: UUID) -> Status[None]:
    whole(request, Action.MANAGE_PEOPLE)
    account = found(Account.objects.all(), "account", id)
    teams.remove_member(_team(code), account, actor=actor(request), now=utc_now())
    return Status(204, None)


@router.post("/teams/{slug:code}/roles", auth=allowed(Action.MANAGE_PEOPLE), response={201: RoleOut})
def assign_team_role(request: HttpRequest, code: str, given: RoleIn) -> Status[dict[str, _WEB]]:
    whole(request, Action.MANAGE_PEOPLE)
    made = roles.assign_team_role(_team(code), given.role, actor=actor(request), now=utc_now(), unit=_unit(given.unit))
    return Status(201, role_out(made))


# -- documents


def _unit_out(unit: Unit) -> dict[str, _WEB]:
    return {
        "code": unit.code,
        "name": unit.name,
        "kind": unit.kind,
        "parent": unit.parent.code if unit.parent else None,
        "access_codes": unit.access_codes,
    }


def _team_out(team: Team) -> dict[str, _WEB]:
    return {
        "code": team.code,
        "name": team.name,
        "members": [account.username for account in team.members.all()],
        "roles": [role_out(given) for given in team.assignments.all()],
    }


def _unit(code: str | None) -> Unit | None:
    return None if code is None else found(Unit.objects.all(), "unit", code, "code")


def _team(code: str) -> Team:
    return found(Team.objects.all(), "team", code, "code")
