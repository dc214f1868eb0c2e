"""Who has which role, for the whole operator or one unit. Nobody changes their own, and one administrator stays.

`within` of each function: ids of the units that whoever acts may give rights for; None: everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from mingbai.contexts.audit import queries as audit_queries
from mingbai.contexts.audit import services as audit
from mingbai.contexts.people.choices import Role
from mingbai.contexts.people.models import Account, Assignment, Team, Token, Unit
from mingbai.contexts.people.policy import widest_scope
from mingbai.kernel.errors import BadValue, MingbaiError


class TwoPeople(MingbaiError):
    """One person tried both halves of what opens somebody else's account."""

    code = "two_people"
    template = "you have just done the other half: a new password and new second factors need two administrators"


Within = Collection[UUID] | None


class OwnRights(MingbaiError):
    """Somebody tried to change their own rights."""

    code = "own_rights"
    template = "nobody changes their own rights: ask another administrator"


class LastAdministrator(MingbaiError):
    """The change would leave nobody who can administer."""

    code = "last_administrator"
    template = "this is the last administrator who can sign in: make another one first"


def assign_role(
    account: Account, role: str, *, actor: str, now: datetime, unit: Unit | None = None, within: Within = None
) -> Assignment:
    """Give a role to an account. Raises BadValue where the role needs a unit of another kind, OwnRights."""
    check_not_own(account, actor)
    if role in Role.values and widest_scope(role) == "own" and not account.number:
        raise BadValue(field="number", value="", expected=f"the subscriber's number: {role} reaches only that")
    _check_grant(role, unit, within)
    with transaction.atomic():
        assignment, is_new = Assignment.objects.get_or_create(account=account, team=None, role=role, unit=unit)
        if is_new:
            data = {"role": role, "unit": unit.code if unit else None}
            audit.append("role.assigned", actor=actor, subject=account.ref, data=data, now=now)
    return assignment


def assign_team_role(
    team: Team, role: str, *, actor: str, now: datetime, unit: Unit | None = None, within: Within = None
) -> Assignment:
    """Give a role to every member of a team. Raises BadValue, OwnRights for a team of one's own."""
    _check_not_own_team(team, actor)
    _check_grant(role, unit, within)
    with transaction.atomic():
        assignment, is_new = Assignment.objects.get_or_create(account=None, team=team, role=role, unit=unit)
        if is_new:
            data = {"role": role, "unit": unit.code if unit else None, "team": team.code}
            audit.append("role.assigned", actor=actor, subject=f"team:{team.pk}", data=data, now=now)
    return assignment


def remove_role(assignment: Assignment, *, actor: str, now: datetime, within: Within = None) -> None:
    """Take a role away. Raises OwnRights, LastAdministrator, BadValue for a role outside of `within`."""
    if assignment.account is not None:
        check_not_own(assignment.account, actor)
        subject, team = assignment.account.ref, None
    else:
        assert assignment.team is not None
        _check_not_own_team(assignment.team, actor)
        subject, team = f"team:{assignment.team.pk}", assignment.team.code
    _check_within(assignment.unit, within)
    unit = assignment.unit.code if assignment.unit else None
    with keeps_an_administrator():
        assignment.delete()
        data = {"role": assignment.role, "unit": unit, **({"team": team} if team else {})}
        audit.append("role.removed", actor=actor, subject=subject, data=data, now=now)


# -- what may not happen


def check_not_own(account: Account, actor: str) -> None:
    """Raises OwnRights if the actor is this account, itself or by one of its tokens."""
    if actor == account.ref or is_token_of(account, actor):
        raise OwnRights()


def is_token_of(account: Account, actor: str) -> bool:
    kind, _, id = actor.partition(":")
    return kind == "token" and Token.objects.filter(pk=id, account=account).exists()


def _same_person(actor: str) -> list[str]:
    """Every name under which whoever acts may stand in the control stream: the account, and each of its tokens."""
    kind, _, id = actor.partition(":")
    holder = Token.objects.get(pk=id).account_id if kind == "token" else id if kind == "account" else None
    if holder is None:
        return [actor]
    tokens = Token.objects.filter(account_id=holder).values_list("pk", flat=True)
    return [f"account:{holder}", *(f"token:{token}" for token in tokens)]


def _check_not_own_team(team: Team, actor: str) -> None:
    for member in team.members.all():
        check_not_own(member, actor)


def administrators() -> QuerySet[Account]:
    """Active accounts that administer the whole operator, by a role of their own or their team's."""
    whole = {"role": Role.ADMINISTRATOR, "unit": None}
    own = Assignment.objects.filter(**whole, account__isnull=False).values("account_id")
    teams = Assignment.objects.filter(**whole, team__isnull=False).values("team_id")
    return Account.objects.filter(Q(pk__in=own) | Q(teams__in=teams), is_active=True).distinct()


@contextmanager
def keeps_an_administrator() -> Iterator[None]:
    """A transaction after which somebody can still administer, if somebody could before; else LastAdministrator.

    Append the entry within it: the chain's lock lets no second such change come between.
    """
    with transaction.atomic():
        could = _somebody_administers()
        yield
        if could and not _somebody_administers():
            raise LastAdministrator()


def _somebody_administers() -> bool:
    return any(account.has_usable_password() or _has_directory(account) for account in administrators())


def check_two_people(account: Account, other: str, *, actor: str, now: datetime) -> None:
    """A new password link and a reset of second factors together open an account: one person alone does not do both.

    other: the kind of entry of the other half. Where there is one administrator only, they may: the entries remain.
    Raises TwoPeople.
    """
    since = now - timedelta(hours=24)
    done = audit_queries.entries(kinds=[other], subject=account.ref, since=since)
    has_done = done.filter(actor__in=_same_person(actor)).exists()
    if has_done and administrators().count() > 1:
        raise TwoPeople()


def _has_directory(account: Account) -> bool:
    from allauth.socialaccount.models import SocialAccount

    return bool(SocialAccount.objects.filter(user_id=account.pk).exists())


def _check_grant(role: str, unit: Unit | None, within: Within) -> None:
    if role not in Role.values:
        raise BadValue(field="role", value=role, expected=f"one of {', '.join(Role.values)}")
    widest = widest_scope(role)
    if widest == "partner" and (unit is None or unit.kind != "partner"):
        raise BadValue(field="unit", value=unit and unit.code, expected=f"a partner: {role} is limited to one")
    if widest == "branch" and (unit is None or unit.kind == "partner"):
        raise BadValue(
            field="unit", value=unit and unit.code, expected=f"a province or branch: {role} is limited to one"
        )
    _check_within(unit, within)


def _check_within(unit: Unit | None, within: Within) -> None:
    if within is not None and (unit is None or unit.pk not in within):
        raise BadValue(field="unit", value=unit and unit.code, expected="a unit that you administer")
