"""Teams: groups of accounts that share roles. Who joins a team gets its roles, so nobody adds themselves to one."""

from __future__ import annotations

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction

from mingbai.contexts.audit import services as audit
from mingbai.contexts.people.models import Account, Team
from mingbai.contexts.people.services.roles import check_not_own, keeps_an_administrator
from mingbai.kernel.errors import BadValue


def create_team(code: str, *, name: str, actor: str, now: datetime) -> Team:
    """A team without members and roles. Raises BadValue."""
    team = Team(code=code.strip(), name=name.strip())
    _validate(team)
    with transaction.atomic():
        team.save(force_insert=True)
        audit.append("team.created", actor=actor, subject=_ref(team), data=_data(team), now=now)
    return team


def rename_team(team: Team, *, name: str, actor: str, now: datetime) -> Team:
    """Raises BadValue."""
    before, team.name = team.name, name.strip()
    _validate(team)
    if team.name != before:
        with transaction.atomic():
            team.save(update_fields=("name",))
            data = {"code": team.code, "before": {"name": before}, "after": {"name": team.name}}
            audit.append("team.changed", actor=actor, subject=_ref(team), data=data, now=now)
    return team


def delete_team(team: Team, *, actor: str, now: datetime) -> None:
    """The team goes, and with it what its members had through it. Raises OwnRights, LastAdministrator."""
    for member in team.members.all():
        check_not_own(member, actor)
    subject, data = _ref(team), {**_data(team), "members": [str(member.pk) for member in team.members.all()]}
    with keeps_an_administrator():
        team.delete()
        audit.append("team.deleted", actor=actor, subject=subject, data=data, now=now)


def add_member(team: Team, account: Account, *, actor: str, now: datetime) -> None:
    """Raises OwnRights."""
    check_not_own(account, actor)
    if team.members.filter(pk=account.pk).exists():
        return
    with transaction.atomic():
        team.members.add(account)
        audit.append("team.joined", actor=actor, subject=account.ref, data=_data(team), now=now)


def remove_member(team: Team, account: Account, *, actor: str, now: datetime) -> None:
    """Raises OwnRights, LastAdministrator."""
    check_not_own(account, actor)
    if not team.members.filter(pk=account.pk).exists():
        return
    with keeps_an_administrator():
        team.members.remove(account)
        audit.append("team.left", actor=actor, subject=account.ref, data=_data(team), now=now)


def _ref(team: Team) -> str:
    return f"team:{team.pk}"


def _data(team: Team) -> dict[str, object]:
    return {"code": team.code, "name": team.name}


def _validate(team: Team) -> None:
    try:
        team.full_clean()
    except ValidationError as error:
        for field, messages in error.message_dict.items():
            raise BadValue(field=field, value=getattr(team, field, ""), expected=" ".join(messages)) from error
