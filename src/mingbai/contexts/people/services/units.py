"""Units: provinces, their branches, and partners, each with the access codes that belong to it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction

from mingbai.contexts.audit import services as audit
from mingbai.contexts.people.choices import UnitKind
from mingbai.contexts.people.models import Assignment, Unit
from mingbai.kernel.errors import BadValue

# An access code has up to 21 digits (YD/T 1214: 106 and what follows); two digits would be half the country's traffic.
_PREFIX = re.compile(r"[0-9]{3,21}", re.ASCII)
# What a unit may hang below. A partner may belong to a branch, a province, another partner or nobody.
_PARENTS = {
    UnitKind.PROVINCE: (),
    UnitKind.BRANCH: (UnitKind.PROVINCE, UnitKind.BRANCH),
    UnitKind.PARTNER: (UnitKind.PROVINCE, UnitKind.BRANCH, UnitKind.PARTNER),
}


def create_unit(
    code: str,
    *,
    kind: str,
    name: str,
    actor: str,
    now: datetime,
    parent: Unit | None = None,
    access_codes: Iterable[str] = (),
) -> Unit:
    """A new unit. access_codes: prefixes, digits only. Raises BadValue naming the field."""
    unit = Unit(code=code.strip(), kind=kind, name=name.strip(), parent=parent)
    unit.access_codes = _checked(access_codes, unit)
    _validate(unit)
    with transaction.atomic():
        unit.save(force_insert=True)
        audit.append("unit.created", actor=actor, subject=f"unit:{unit.code}", data=_data(unit), now=now)
    return unit


def change_unit(
    unit: Unit, *, actor: str, now: datetime, name: str, parent: Unit | None, access_codes: Iterable[str]
) -> Unit:
    """Name, place and access codes; code and kind stay what they were. Raises BadValue."""
    before = _data(unit)
    unit.name, unit.parent = name.strip(), parent
    unit.access_codes = _checked(access_codes, unit)
    _validate(unit)
    after = _data(unit)
    if before == after:
        return unit
    with transaction.atomic():
        unit.save()
        audit.append(
            "unit.changed", actor=actor, subject=f"unit:{unit.code}", data={"before": before, "after": after}, now=now
        )
    return unit


def delete_unit(unit: Unit, *, actor: str, now: datetime) -> None:
    """A unit that nothing hangs on. Raises BadValue while units are below it or somebody has a role for it."""
    if unit.children.exists():
        raise BadValue(field="unit", value=unit.code, expected="a unit without units below it")
    if Assignment.objects.filter(unit=unit).exists():
        raise BadValue(field="unit", value=unit.code, expected="a unit for which nobody has a role any more")
    with transaction.atomic():
        data = _data(unit)
        unit.delete()
        audit.append("unit.deleted", actor=actor, subject=f"unit:{unit.code}", data=data, now=now)


def _data(unit: Unit) -> dict[str, object]:
    return {
        "code": unit.code,
        "kind": str(unit.kind),
        "name": unit.name,
        "parent": unit.parent.code if unit.parent else None,
        "access_codes": list(unit.access_codes),
    }


def _validate(unit: Unit) -> None:
    try:
        unit.full_clean(exclude=("parent",))
    except ValidationError as error:
        for field, messages in error.message_dict.items():
            raise BadValue(field=field, value=getattr(unit, field, ""), expected=" ".join(messages)) from error
    allowed = _PARENTS[UnitKind(unit.kind)]
    if unit.parent is not None and unit.parent.kind not in allowed:
        wanted = f"one of {', '.join(allowed)}" if allowed else "none: a province is at the top"
        raise BadValue(field="parent", value=unit.parent.code, expected=wanted)
    above = unit.parent
    while above is not None:
        if above.pk == unit.pk:
            raise BadValue(
                field="parent", value=unit.parent and unit.parent.code, expected="a unit that is not below it"
            )
        above = above.parent


def _checked(codes: Iterable[str], unit: Unit) -> list[str]:
    given = sorted({code.strip() for code in codes if code.strip()})
    for code in given:
        if not _PREFIX.fullmatch(code):
            raise BadValue(field="access_codes", value=code, expected="3 to 21 digits each")
    for other in Unit.objects.exclude(pk=unit.pk):
        for code in given:
            for theirs in other.access_codes:
                if code == theirs:
                    raise BadValue(
                        field="access_codes", value=code, expected=f"a prefix that {other.code} does not have"
                    )
                overlaps = code.startswith(theirs) or theirs.startswith(code)
                # One partner must never read another's messages; a province reads those of its branches and partners.
                if overlaps and unit.kind == other.kind == UnitKind.PARTNER and not _related(unit, other):
                    expected = f"a prefix that does not overlap with {theirs} of {other.code}"
                    raise BadValue(field="access_codes", value=code, expected=expected)
    return given


def _related(one: Unit, other: Unit) -> bool:
    """Whether one lies above the other."""
    for low, high in ((one, other), (other, one)):
        seen: set[object] = set()
        above = low.parent
        while above is not None and above.pk not in seen:
            if above.pk == high.pk:
                return True
            seen.add(above.pk)
            above = above.parent
    return False
