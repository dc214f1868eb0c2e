"""Reads about people: whose rights, which units, and the lists of the People pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from mingbai.contexts.audit.statements import answer, as_id
from mingbai.contexts.people.choices import RequestState
from mingbai.contexts.people.models import Account, Assignment, DataRequest, Team, Token, Unit
from mingbai.contexts.people.policy import SECOND_FACTOR_ROLES, Action, Assigned, Reach, Rights

# Asked with each request.
_GIVEN: Final = """
    SELECT given.role, given.unit_id, people_unit.code, people_unit.kind
    FROM (
        SELECT role, unit_id FROM people_assignment WHERE account_id = %s
        UNION
        SELECT people_assignment.role, people_assignment.unit_id FROM people_team_members
        JOIN people_assignment ON people_assignment.team_id = people_team_members.team_id
        WHERE people_team_members.account_id = %s
    ) AS given
    LEFT JOIN people_unit ON people_unit.id = given.unit_id
"""


def refs_of(account: Account) -> list[str]:
    """How entries name what somebody did: themselves, or one of their tokens."""
    return [account.ref, *(token.ref for token in account.tokens.all())]


def rights_of(account: Account, token: Token | None = None) -> Rights:
    """Everything the account may do, by its own roles and its teams'; a token narrows it."""
    if not account.is_active:
        return Rights()
    rows = [
        (role, unit and as_id(unit), code, kind) for role, unit, code, kind in answer(_GIVEN, account.pk, account.pk)
    ]
    codes = access_codes_below({unit for _, unit, _, _ in rows} - {None})
    assigned = tuple(
        Assigned(role, unit_code or "", kind or "", tuple(codes.get(unit, ()))) for role, unit, unit_code, kind in rows
    )
    only = None
    if token is not None:
        only = frozenset(action for action in Action if action.value in token.scopes)
    return Rights(assigned, account.number, only)


def access_codes_below(units: set[UUID]) -> dict[UUID, list[str]]:
    """For each unit: the access-code prefixes of itself and of every unit below it."""
    if not units:
        return {}
    children: dict[UUID | None, list[Unit]] = defaultdict(list)
    by_id: dict[UUID, Unit] = {}
    for unit in Unit.objects.only("id", "parent_id", "access_codes"):
        by_id[unit.pk] = unit
        children[unit.parent_id].append(unit)
    found: dict[UUID, list[str]] = {}
    for start in units:
        codes: list[str] = []
        waiting = [by_id[start]] if start in by_id else []
        seen: set[UUID] = set()
        while waiting:
            unit = waiting.pop()
            if unit.pk in seen:
                continue
            seen.add(unit.pk)
            codes += [str(code) for code in unit.access_codes]
            waiting += children[unit.pk]
        found[start] = sorted(set(codes))
    return found


# -- whom somebody may see and manage


def units_within(reach: Reach | None) -> frozenset[UUID] | None:
    """Ids of the units that a right covers, with all below them; None: every unit."""
    if reach is None:
        return frozenset()
    if reach.is_all:
        return None
    children: dict[object, list[UUID]] = defaultdict(list)
    starts = []
    for id, parent, code in Unit.objects.values_list("id", "parent_id", "code"):
        children[parent].append(id)
        if code in reach.units:
            starts.append(id)
    found: set[UUID] = set()
    while starts:
        unit = starts.pop()
        if unit not in found:
            found.add(unit)
            starts += children[unit]
    return frozenset(found)


def accounts_within(rights: Rights, action: Action) -> QuerySet[Account]:
    """Accounts that the right covers: all, or those that have a role within its units and none outside of them."""
    within = units_within(rights.reach(action))
    if within is None:
        return Account.objects.all()
    roles = Assignment.objects.filter(Q(account=OuterRef("pk")) | Q(team__members=OuterRef("pk")))
    outside = roles.filter(Q(unit=None) | ~Q(unit__in=within))
    return Account.objects.filter(Exists(roles), ~Exists(outside))


def accounts_listed(
    rights: Rights,
    *,
    words: str = "",
    role: str = "",
    unit: Unit | None = None,
    team: Team | None = None,
    state: str = "",
) -> QuerySet[Account]:
    """The accounts of the People page. words: in name, user name or e-mail; state: active, inactive, or "" for both."""
    found = accounts_within(rights, Action.SEE_PEOPLE).prefetch_related("assignments__unit", "teams__assignments__unit")
    for word in words.split():
        found = found.filter(Q(username__icontains=word) | Q(name__icontains=word) | Q(email__icontains=word))
    if role:
        has_role = Assignment.objects.filter(Q(account=OuterRef("pk")) | Q(team__members=OuterRef("pk")), role=role)
        found = found.filter(Exists(has_role))
    if unit is not None:
        below = units_within(Reach(units=(unit.code,)))
        in_unit = Assignment.objects.filter(
            Q(account=OuterRef("pk")) | Q(team__members=OuterRef("pk")), unit__in=below or ()
        )
        found = found.filter(Exists(in_unit))
    if team is not None:
        found = found.filter(teams=team)
    if state:
        found = found.filter(is_active=state == "active")
    return found.order_by("username")


def assignments_of(account: Account) -> list[Assignment]:
    """Own and through teams, by role."""
    rows = Assignment.objects.filter(Q(account=account) | Q(team__members=account)).select_related("unit", "team")
    return sorted(
        rows, key=lambda row: (row.role, row.unit.code if row.unit else "", row.team.code if row.team else "")
    )


@dataclass(frozen=True, slots=True)
class UnitRow:
    """One line of the unit tree. depth: 0 at the top; people: roles given for exactly this unit."""

    unit: Unit
    depth: int
    people: int


def unit_tree(within: frozenset[UUID] | None = None) -> list[UnitRow]:
    """Units, each above those that belong to it. within: only these (and below them)."""
    children: dict[object, list[Unit]] = defaultdict(list)
    known = {unit.pk: unit for unit in Unit.objects.select_related("parent").order_by("kind", "code")}
    shown = {pk for pk in known if within is None or pk in within}
    for pk in shown:
        unit = known[pk]
        children[unit.parent_id if unit.parent_id in shown else None].append(unit)
    counts: dict[object, int] = defaultdict(int)
    for id in Assignment.objects.filter(unit__in=shown).values_list("unit_id", flat=True):
        counts[id] += 1
    rows: list[UnitRow] = []

    def walk(parent: object, depth: int) -> None:
        for unit in sorted(children[parent], key=lambda unit: (unit.kind, unit.code)):
            rows.append(UnitRow(unit, depth, counts[unit.pk]))
            walk(unit.pk, depth + 1)

    walk(None, 0)
    return rows


def names_of(refs: Iterable[str]) -> dict[str, str]:
    """`account:<uuid>`, `token:<uuid>`, `team:<uuid>` -> what a person calls it; a ref that is unknown is left out."""
    wanted: dict[str, set[UUID]] = defaultdict(set)
    for ref in refs:
        kind, _, id = ref.partition(":")
        try:
            wanted[kind].add(UUID(id))
        except ValueError:
            continue
    found = {account.ref: str(account) for account in Account.objects.filter(pk__in=wanted["account"])}
    for token in Token.objects.filter(pk__in=wanted["token"]).select_related("account"):
        found[token.ref] = f"{token.name} ({token.account})"
    found |= {f"team:{team.pk}": team.name for team in Team.objects.filter(pk__in=wanted["team"])}
    return found


# -- second factors


def has_second_factor(account: Account) -> bool:
    """An authenticator app or a passkey. Recovery codes alone are none."""
    from allauth.mfa.models import Authenticator

    kinds = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
    return bool(Authenticator.objects.filter(user_id=account.pk, type__in=kinds).exists())


def needs_second_factor(rights: Rights) -> bool:
    """Whether a role of theirs asks for one."""
    return any(given.role in SECOND_FACTOR_ROLES for given in rights.assigned)


# -- requests about own data


def data_requests(state: str = "") -> QuerySet[DataRequest]:
    """For the work list: what is open first, by due date; state: one of RequestState, "" for all."""
    found = DataRequest.objects.select_related("account", "answered_by").defer("result")
    return found.filter(state=state) if state else found.order_by("due_at")


def open_data_requests() -> int:
    return DataRequest.objects.filter(state=RequestState.OPEN).count()


def overdue_data_requests(now: datetime) -> QuerySet[DataRequest]:
    return DataRequest.objects.filter(state=RequestState.OPEN, due_at__lt=now)


def account_called(username: str) -> Account | None:
    """The account of that name, active or not; None if there is none."""
    return Account.objects.filter(username__iexact=username).first() if username else None
