"""Reads about people that other rooms need: whose rights, which units."""

from __future__ import annotations

from collections import defaultdict
from uuid import UUID

from django.db.models import Q

from mingbai.contexts.people.models import Account, Assignment, Token, Unit
from mingbai.contexts.people.policy import Action, Assigned, Rights


def rights_of(account: Account, token: Token | None = None) -> Rights:
    """Everything the account may do, by its own roles and its teams'; a token narrows it."""
    if not account.is_active:
        return Rights()
    rows = list(
        Assignment.objects.filter(Q(account=account) | Q(team__members=account))
        .values_list("role", "unit_id", "unit__code", "unit__kind")
        .distinct()
    )
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
