"""Roles: given for the whole operator or a unit; nobody changes their own; one administrator stays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from mingbai.contexts.audit import queries as audit
from mingbai.contexts.audit import services as entries
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.policy import Action, Assigned, Rights
from mingbai.contexts.people.queries import accounts_within, assignments_of, rights_of, units_within
from mingbai.contexts.people.services import accounts, roles, sessions, teams, units
from mingbai.contexts.people.services.roles import LastAdministrator, OwnRights, TwoPeople
from mingbai.contexts.people.services.tokens import create_token
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue

pytestmark = pytest.mark.django_db
Make = Callable[..., Account]


def test_every_change_of_rights_is_an_entry(account: Make) -> None:
    administrator, clerk = account("administrator"), account()
    given = roles.assign_role(clerk, "reviewer", actor=administrator.ref, now=utc_now())
    roles.remove_role(given, actor=administrator.ref, now=utc_now())
    found = audit.entries(subject=clerk.ref, actor=administrator.ref)
    assert [(entry.kind, entry.data) for entry in found] == [
        ("role.removed", {"role": "reviewer", "unit": None}),
        ("role.assigned", {"role": "reviewer", "unit": None}),
    ]
    assert audit.verify().ok


def test_giving_a_role_twice_changes_nothing(account: Make) -> None:
    clerk = account("reviewer")
    seq = audit.head()[0]
    roles.assign_role(clerk, "reviewer", actor="system", now=utc_now())
    assert audit.head()[0] == seq
    assert len(assignments_of(clerk)) == 1


def test_nobody_changes_their_own_rights(account: Make) -> None:
    administrator, other = account("administrator"), account("administrator")
    now = utc_now()
    team = teams.create_team("desk", name="Desk", actor=other.ref, now=now)
    with pytest.raises(OwnRights):
        roles.assign_role(administrator, "auditor", actor=administrator.ref, now=now)
    with pytest.raises(OwnRights):
        roles.remove_role(assignments_of(administrator)[0], actor=administrator.ref, now=now)
    with pytest.raises(OwnRights):
        teams.add_member(team, administrator, actor=administrator.ref, now=now)
    teams.add_member(team, administrator, actor=other.ref, now=now)
    with pytest.raises(OwnRights):
        roles.assign_team_role(team, "auditor", actor=administrator.ref, now=now)
    with pytest.raises(OwnRights):
        accounts.deactivate(administrator, actor=administrator.ref, now=now)
    with pytest.raises(OwnRights):
        accounts.change_account(administrator, number="13800000001", actor=administrator.ref, now=now)
    assert {row.role for row in assignments_of(administrator)} == {"administrator"}


def test_the_last_administrator_stays(account: Make) -> None:
    first, second = account("administrator"), account("administrator")
    now = utc_now()
    accounts.deactivate(first, actor=second.ref, now=now)
    with pytest.raises(LastAdministrator):
        accounts.deactivate(second, actor="system", now=now)
    with pytest.raises(LastAdministrator):
        roles.remove_role(assignments_of(second)[0], actor="system", now=now)
    second.refresh_from_db()
    assert second.is_active  # and nothing was half done
    assert rights_of(second).may(Action.MANAGE_PEOPLE)
    assert audit.verify().ok


def test_an_administrator_by_team_counts_as_one(account: Make) -> None:
    first, second = account("administrator"), account()
    now = utc_now()
    team = teams.create_team("admins", name="Admins", actor="system", now=now)
    roles.assign_team_role(team, "administrator", actor="system", now=now)
    teams.add_member(team, second, actor="system", now=now)
    accounts.deactivate(first, actor=second.ref, now=now)
    with pytest.raises(LastAdministrator):
        teams.remove_member(team, second, actor="system", now=now)
    with pytest.raises(LastAdministrator):
        teams.delete_team(team, actor="system", now=now)


@pytest.mark.parametrize(
    ("role", "kind"), [("branch_manager", None), ("branch_manager", "partner"), ("service_provider", "province")]
)
def test_a_limited_role_needs_a_unit_of_its_kind(account: Make, role: str, kind: str | None) -> None:
    now = utc_now()
    unit = units.create_unit("some", kind=kind, name="Some", actor="system", now=now) if kind else None
    with pytest.raises(BadValue) as error:
        roles.assign_role(account(), role, unit=unit, actor="system", now=now)
    assert error.value.data["field"] == "unit"


def test_a_subscriber_needs_a_number(account: Make) -> None:
    with pytest.raises(BadValue) as error:
        roles.assign_role(account(), "subscriber", actor="system", now=utc_now())
    assert error.value.data["field"] == "number"


def test_an_administrator_of_a_province_stays_within_it(account: Make) -> None:
    now = utc_now()
    gansu = units.create_unit("gansu", kind="province", name="Gansu", actor="system", now=now)
    lanzhou = units.create_unit("lanzhou", kind="branch", name="Lanzhou", parent=gansu, actor="system", now=now)
    hunan = units.create_unit("hunan", kind="province", name="Hunan", actor="system", now=now)
    limited = account("administrator", gansu)
    here, there = account("reviewer", lanzhou), account("reviewer", hunan)
    both = account("reviewer", lanzhou)
    roles.assign_role(both, "reviewer", unit=hunan, actor="system", now=now)
    rights = rights_of(limited)
    assert set(accounts_within(rights, Action.MANAGE_PEOPLE)) == {limited, here}
    within = units_within(rights.reach(Action.MANAGE_PEOPLE))
    assert within == frozenset({gansu.pk, lanzhou.pk})
    for unit in (None, hunan):
        with pytest.raises(BadValue):
            roles.assign_role(here, "reviewer", unit=unit, actor=limited.ref, now=now, within=within)
    roles.assign_role(here, "team_lead", unit=lanzhou, actor=limited.ref, now=now, within=within)
    assert there not in accounts_within(rights, Action.SEE_PEOPLE)


def test_a_new_password_and_new_factors_need_two_administrators(account: Make) -> None:
    one, two, clerk = account("administrator"), account("administrator"), account("reviewer")
    now = utc_now()
    accounts.invite(clerk, actor=one.ref, now=now)
    with pytest.raises(TwoPeople):
        sessions.reset_second_factors(clerk, actor=one.ref, now=now)
    sessions.reset_second_factors(clerk, actor=two.ref, now=now)
    with pytest.raises(TwoPeople):
        accounts.invite(clerk, actor=two.ref, now=now)


def test_a_lone_administrator_can_still_help(account: Make) -> None:
    one, clerk = account("administrator"), account("reviewer")
    accounts.invite(clerk, actor=one.ref, now=utc_now())
    sessions.reset_second_factors(clerk, actor=one.ref, now=utc_now())


def test_entries_hold_no_number_and_no_name_of_a_subscriber(account: Make) -> None:
    now = utc_now()
    someone = accounts.create_account("13812345678", name="Zhang San", number="13812345678", actor="system", now=now)
    accounts.change_account(someone, name="Zhang Er", number="13887654321", actor="system", now=now)
    told = str([entry.data for entry in audit.entries(subject=someone.ref)])
    for secret in ("13812345678", "13887654321", "Zhang"):
        assert secret not in told


def test_a_token_of_the_same_person_is_no_second_person(account: Make) -> None:
    now = utc_now()
    admin, _other, clerk = account("administrator"), account("administrator"), account("reviewer")
    expires = now + timedelta(hours=1)
    token, _ = create_token(admin, name="t", scopes=["manage_people"], expires_at=expires, actor=admin.ref, now=now)
    entries.append("account.invited", actor=admin.ref, subject=clerk.ref, now=now)
    with pytest.raises(TwoPeople):
        roles.check_two_people(clerk, "account.invited", actor=token.ref, now=now)


def test_whoever_is_limited_to_a_unit_answers_no_requests_about_own_data() -> None:
    limited = Rights((Assigned("administrator", "js", "province", ("1069",)),))
    assert not limited.may(Action.ANSWER_DATA_REQUESTS)
    assert limited.may(Action.MANAGE_PEOPLE)
    assert Rights((Assigned("administrator"),)).may(Action.ANSWER_DATA_REQUESTS)
