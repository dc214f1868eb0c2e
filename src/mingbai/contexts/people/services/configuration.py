"""People as a document: what is there, and the steps from there to what a file wants.

A file says how the accounts, teams and units that it names shall be; what it does not name stays as it is. Applying it
again changes nothing. Every step is one of the services, so that it is checked and recorded as if a person had done it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from django.db.models import Prefetch
from pydantic import BaseModel, ConfigDict, Field

from mingbai.contexts.people.choices import Role, UnitKind
from mingbai.contexts.people.models import Account, Assignment, Team, Token, Unit, Webhook
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.services import accounts, roles, teams, tokens, units, webhooks
from mingbai.kernel.errors import BadValue
from mingbai.ledger import KeyStore

Code = Annotated[str, Field(min_length=1, max_length=64)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RoleWanted(_Part):
    """A role, for the whole operator or one unit (code)."""

    role: Role
    unit: str = ""


class UnitWanted(_Part):
    code: Code
    name: str
    kind: UnitKind
    parent: str = ""
    access_codes: tuple[str, ...] = ()


class TeamWanted(_Part):
    code: Code
    name: str
    members: tuple[str, ...] = ()  # usernames
    roles: tuple[RoleWanted, ...] = ()


class AccountWanted(_Part):
    username: Code
    name: str = ""
    email: str = ""
    number: str = ""
    language: str = ""
    skills: tuple[str, ...] = ()
    active: bool = True
    roles: tuple[RoleWanted, ...] = ()


class TokenWanted(_Part):
    account: Code
    name: str
    scopes: tuple[Action, ...]
    expires_at: datetime
    rate_per_minute: int = 600


class WebhookWanted(_Part):
    name: str
    url: str
    kinds: tuple[str, ...]
    active: bool = True


class PeopleWanted(_Part):
    """The tables of a file that belong to people."""

    unit: tuple[UnitWanted, ...] = ()
    account: tuple[AccountWanted, ...] = ()
    team: tuple[TeamWanted, ...] = ()
    token: tuple[TokenWanted, ...] = ()
    webhook: tuple[WebhookWanted, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One change. sign: + makes, ~ changes, - takes away; what: account, role, …; `run` does it, and may return a
    secret that is shown this once. The steps of a plan are run in order, in one transaction."""

    sign: str
    what: str
    name: str
    run: Callable[[], str | None] = field(compare=False)
    changes: tuple[tuple[str, str, str], ...] = ()  # field, before, after


def plan(wanted: PeopleWanted, *, actor: str, now: datetime, keys: Callable[[], KeyStore]) -> list[Step]:
    """What has to be done. Raises BadValue for a file that names what neither it nor the system has."""
    steps: list[Step] = []
    _check_names(wanted)
    for unit in _parents_first(wanted.unit):
        steps += _unit_steps(unit, actor, now)
    for account in wanted.account:
        steps += _account_steps(account, actor, now)
    for team in wanted.team:
        steps += _team_steps(team, actor, now)
    for account in wanted.account:
        held = Assignment.objects.filter(account__username=account.username)
        steps += _role_steps("account", account.username, account.roles, held, actor, now)
    for team in wanted.team:
        steps += _role_steps("team", team.code, team.roles, Assignment.objects.filter(team__code=team.code), actor, now)
    for token in wanted.token:
        steps += _token_steps(token, actor, now)
    for webhook in wanted.webhook:
        steps += _webhook_steps(webhook, actor, now, keys)
    return steps


def _check_names(wanted: PeopleWanted) -> None:
    """Everything that the file refers to must be in it or in the system."""
    known_units = {unit.code for unit in wanted.unit} | set(Unit.objects.values_list("code", flat=True))
    known_people = {account.username for account in wanted.account} | set(
        Account.objects.values_list("username", flat=True)
    )
    for kind, holders in (("account", wanted.account), ("team", wanted.team)):
        for holder in holders:
            name = holder.username if isinstance(holder, AccountWanted) else holder.code
            for given in holder.roles:
                if given.unit and given.unit not in known_units:
                    raise BadValue(field=f"{kind} {name}: roles.unit", value=given.unit, expected="the code of a unit")
    for unit in wanted.unit:
        if unit.parent and unit.parent not in known_units:
            raise BadValue(field=f"unit {unit.code}: parent", value=unit.parent, expected="the code of a unit")
    for team in wanted.team:
        for member in team.members:
            if member not in known_people:
                raise BadValue(field=f"team {team.code}: members", value=member, expected="a username")
    for token in wanted.token:
        if token.account not in known_people:
            raise BadValue(field=f"token {token.name}: account", value=token.account, expected="a username")
    for what, names in (
        ("unit", [unit.code for unit in wanted.unit]),
        ("account", [account.username for account in wanted.account]),
        ("team", [team.code for team in wanted.team]),
        ("webhook", [webhook.name for webhook in wanted.webhook]),
        ("token", [f"{token.account}/{token.name}" for token in wanted.token]),
    ):
        for name in names:
            if names.count(name) > 1:
                raise BadValue(field=what, value=name, expected=f"each {what} once")


def _parents_first(wanted: Iterable[UnitWanted]) -> list[UnitWanted]:
    left = {unit.code: unit for unit in wanted}
    ordered: list[UnitWanted] = []
    while left:
        ready = [unit for unit in left.values() if unit.parent not in left]
        if not ready:
            raise BadValue(field="unit: parent", value=sorted(left), expected="a tree: no unit is above itself")
        for unit in ready:
            ordered.append(left.pop(unit.code))
    return ordered


def _unit_steps(wanted: UnitWanted, actor: str, now: datetime) -> list[Step]:
    present = Unit.objects.filter(code=wanted.code).select_related("parent").first()
    codes = sorted(wanted.access_codes)

    def parent() -> Unit | None:
        return Unit.objects.get(code=wanted.parent) if wanted.parent else None

    if present is None:

        def create() -> None:
            units.create_unit(
                wanted.code,
                kind=wanted.kind,
                name=wanted.name,
                parent=parent(),
                access_codes=codes,
                actor=actor,
                now=now,
            )

        return [Step("+", "unit", wanted.code, create)]
    if present.kind != wanted.kind:
        field_name = f"unit {wanted.code}: kind"
        raise BadValue(field=field_name, value=wanted.kind, expected=f"{present.kind}: a unit keeps its kind")
    changes = _differences(
        {
            "name": (present.name, wanted.name),
            "parent": (present.parent.code if present.parent else "", wanted.parent),
            "access_codes": (sorted(present.access_codes), codes),
        }
    )
    if not changes:
        return []

    def change() -> None:
        units.change_unit(present, name=wanted.name, parent=parent(), access_codes=codes, actor=actor, now=now)

    return [Step("~", "unit", wanted.code, change, changes)]


def _account_steps(wanted: AccountWanted, actor: str, now: datetime) -> list[Step]:
    present = Account.objects.filter(username__iexact=wanted.username).first()

    def found() -> Account:
        return Account.objects.get(username__iexact=wanted.username)

    steps: list[Step] = []
    if present is None:

        def create() -> None:
            made = accounts.create_account(
                wanted.username,
                name=wanted.name,
                email=wanted.email,
                number=wanted.number,
                language=wanted.language,
                actor=actor,
                now=now,
            )
            if wanted.skills:
                accounts.change_account(made, skills=list(wanted.skills), actor=actor, now=now)
            if not wanted.active:
                accounts.deactivate(made, actor=actor, now=now)

        return [Step("+", "account", wanted.username, create)]
    from mingbai.kernel.msisdn import Msisdn

    number = Msisdn.parse(wanted.number).e164 if wanted.number else ""
    changes = _differences(
        {
            "name": (present.name, wanted.name),
            "email": (present.email, wanted.email),
            "number": (present.number, number),
            "language": (present.language, wanted.language or present.language),
            "skills": (list(present.skills), list(wanted.skills)),
        }
    )
    if changes:
        new = {name: getattr(wanted, name) for name, _, _ in changes}
        if "skills" in new:
            new["skills"] = list(wanted.skills)

        def change() -> None:
            accounts.change_account(found(), actor=actor, now=now, **new)

        shown = tuple(
            ("number", "***", "***") if name == "number" else (name, before, after) for name, before, after in changes
        )
        steps.append(Step("~", "account", wanted.username, change, shown))
    if wanted.active != present.is_active:

        def switch() -> None:
            (accounts.reactivate if wanted.active else accounts.deactivate)(found(), actor=actor, now=now)

        before, after = (str(state).lower() for state in (present.is_active, wanted.active))
        steps.append(Step("~", "account", wanted.username, switch, (("active", before, after),)))
    return steps


def _team_steps(wanted: TeamWanted, actor: str, now: datetime) -> list[Step]:
    present = Team.objects.filter(code=wanted.code).first()

    def found() -> Team:
        return Team.objects.get(code=wanted.code)

    steps: list[Step] = []
    if present is None:

        def create() -> None:
            teams.create_team(wanted.code, name=wanted.name, actor=actor, now=now)

        steps.append(Step("+", "team", wanted.code, create))
    elif present.name != wanted.name:

        def rename() -> None:
            teams.rename_team(found(), name=wanted.name, actor=actor, now=now)

        steps.append(Step("~", "team", wanted.code, rename, (("name", present.name, wanted.name),)))
    now_in = set(present.members.values_list("username", flat=True)) if present is not None else set()
    for sign, names, do in (
        ("+", sorted(set(wanted.members) - now_in), teams.add_member),
        ("-", sorted(now_in - set(wanted.members)), teams.remove_member),
    ):
        for name in names:

            def move(name: str = name, do: Callable[..., object] = do) -> None:
                do(found(), Account.objects.get(username=name), actor=actor, now=now)

            steps.append(Step(sign, "member", f"{wanted.code}: {name}", move))
    return steps


def _role_steps(
    kind: str,
    name: str,
    wanted: Iterable[RoleWanted],
    held: Any,
    actor: str,
    now: datetime,  # Any: a query
) -> list[Step]:
    present = {(given.role, given.unit.code if given.unit else ""): given for given in held.select_related("unit")}
    want = {(str(given.role), given.unit) for given in wanted}
    steps: list[Step] = []
    for role, unit in sorted(want - present.keys()):

        def give(role: str = role, unit: str = unit) -> None:
            place = Unit.objects.get(code=unit) if unit else None
            if kind == "account":
                roles.assign_role(Account.objects.get(username=name), role, unit=place, actor=actor, now=now)
            else:
                roles.assign_team_role(Team.objects.get(code=name), role, unit=place, actor=actor, now=now)

        steps.append(Step("+", "role", f"{name}: {role}{f' ({unit})' if unit else ''}", give))
    for role, unit in sorted(present.keys() - want):

        def take(given: Assignment = present[role, unit]) -> None:
            roles.remove_role(given, actor=actor, now=now)

        steps.append(Step("-", "role", f"{name}: {role}{f' ({unit})' if unit else ''}", take))
    return steps


def _token_steps(wanted: TokenWanted, actor: str, now: datetime) -> list[Step]:
    if wanted.expires_at.tzinfo is None:
        raise BadValue(
            field=f"token {wanted.name}: expires_at",
            value=wanted.expires_at.isoformat(),
            expected="a time with its zone",
        )
    held = Token.objects.filter(
        account__username=wanted.account, name=wanted.name, revoked_at=None, expires_at__gt=now
    ).first()
    scopes = sorted(wanted.scopes)
    if held is not None and (sorted(held.scopes), held.rate_per_minute, held.expires_at) == (
        scopes,
        wanted.rate_per_minute,
        wanted.expires_at,
    ):
        return []
    if wanted.expires_at <= now:
        return []  # its time is over: a file that is applied again years later makes no new one

    def create() -> str:
        if held is not None:
            tokens.revoke_token(held, actor=actor, now=now)
        _, secret = tokens.create_token(
            Account.objects.get(username=wanted.account),
            name=wanted.name,
            scopes=scopes,
            expires_at=wanted.expires_at,
            rate_per_minute=wanted.rate_per_minute,
            actor=actor,
            now=now,
        )
        return secret

    return [Step("+" if held is None else "~", "token", f"{wanted.account}/{wanted.name}", create)]


def _webhook_steps(wanted: WebhookWanted, actor: str, now: datetime, keys: Callable[[], KeyStore]) -> list[Step]:
    present = Webhook.objects.filter(name=wanted.name).first()
    if present is None:

        def create() -> str:
            made, secret = webhooks.create_webhook(
                wanted.name, wanted.url, wanted.kinds, actor=actor, now=now, keys=keys()
            )
            if not wanted.active:
                webhooks.change_webhook(made, actor=actor, now=now, is_active=False)
            return secret

        return [Step("+", "webhook", wanted.name, create)]
    changes = _differences(
        {
            "kinds": (list(present.kinds), list(wanted.kinds)),
            "active": (present.is_active, wanted.active),
        }
    )
    if present.url != wanted.url:
        changes = (*changes, ("url", "***", "***"))  # an address may hold a secret
    if not changes:
        return []

    def change() -> None:
        webhooks.change_webhook(
            present, url=wanted.url, kinds=wanted.kinds, is_active=wanted.active, actor=actor, now=now
        )

    return [Step("~", "webhook", wanted.name, change, changes)]


def _differences(pairs: dict[str, tuple[object, object]]) -> tuple[tuple[str, str, str], ...]:
    return tuple((name, _said(old), _said(new)) for name, (old, new) in pairs.items() if old != new)


def _said(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


# -- export ------------------------------------------------------------------------------------------------------------


def export(*, now: datetime) -> dict[str, list[dict[str, object]]]:
    """Everything here as a document that `plan` finds nothing to do for. No secret is in it, and no password."""

    def role_rows(given: Iterable[Assignment]) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = [
            {"role": one.role, **({"unit": one.unit.code} if one.unit else {})} for one in given
        ]
        return sorted(rows, key=lambda row: (str(row["role"]), str(row.get("unit", ""))))

    with_units = Prefetch("assignments", Assignment.objects.select_related("unit"))
    document: dict[str, list[dict[str, object]]] = {
        "unit": [
            {
                "code": unit.code,
                "name": unit.name,
                "kind": unit.kind,
                "parent": unit.parent.code if unit.parent else "",
                "access_codes": sorted(unit.access_codes),
            }
            for unit in Unit.objects.select_related("parent").order_by("code")
        ],
        "account": [
            {
                "username": account.username,
                "name": account.name,
                "email": account.email,
                "number": account.number,
                "language": account.language,
                "skills": list(account.skills),
                "active": account.is_active,
                "roles": role_rows(account.assignments.all()),
            }
            for account in Account.objects.prefetch_related(with_units).order_by("username")
        ],
        "team": [
            {
                "code": team.code,
                "name": team.name,
                "members": sorted(account.username for account in team.members.all()),
                "roles": role_rows(team.assignments.all()),
            }
            for team in Team.objects.prefetch_related(with_units, "members").order_by("code")
        ],
        "token": [
            {
                "account": token.account.username,
                "name": token.name,
                "scopes": sorted(token.scopes),
                "expires_at": token.expires_at,
                "rate_per_minute": token.rate_per_minute,
            }
            for token in Token.objects.filter(revoked_at=None, expires_at__gt=now)
            .select_related("account")
            .order_by("account__username", "name")
        ],
        "webhook": [
            {"name": webhook.name, "url": webhook.url, "kinds": list(webhook.kinds), "active": webhook.is_active}
            for webhook in Webhook.objects.order_by("name")
        ],
    }
    return {name: rows for name, rows in document.items() if rows}
