"""The pages about people: what is found, what a button does, what a foreign id answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from mingbai.contexts.audit import queries as audit
from mingbai.contexts.people.models import Account, Unit
from mingbai.contexts.people.services import accounts, data_requests, roles, teams, units
from mingbai.kernel.clock import utc_now
from tests.conftest import PASSWORD, client_of

pytestmark = pytest.mark.django_db
Make = Callable[..., Account]
Browser = Callable[..., Client]


def body(response: Any) -> str:  # Any: a response of Django's test client
    return str(response.content.decode())


@pytest.fixture
def gansu() -> Unit:
    now = utc_now()
    return units.create_unit("gansu", kind="province", name="Gansu", access_codes=["10690001"], actor="system", now=now)


@pytest.mark.parametrize("language", ["en", "zh-hans"])
@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("administrator", ["people", "people_new", "people_teams", "people_units", "unit_new", "people_matrix"]),
        ("administrator", ["data_requests", "my_account", "my_tokens"]),
        ("auditor", ["people", "audit", "people_matrix"]),
        ("branch_manager", ["people", "people_teams", "people_units", "people_matrix", "my_account"]),
        ("subscriber", ["my_data", "my_account"]),
    ],
)
def test_pages_open_in_both_languages(client_for: Browser, role: str, names: list[str], language: str) -> None:
    client = client_for(role)
    client.cookies["mingbai_language"] = language
    for name in names:
        response = client.get(reverse(name))
        assert response.status_code == 200, name
        assert f'lang="{language}"' in body(response)
        assert not re.search(
            r"<[a-z][^>]*\son[a-z]+=|<style|\sstyle=|<script(?![^>]*(?:\ssrc=|application/json))", body(response)
        ), name


def test_a_new_account_comes_with_a_link_that_works_once(client_for: Browser) -> None:
    browser = client_for("administrator")
    given = {"username": "li.na", "name": "李娜", "role": "reviewer"}
    page = body(browser.post(reverse("people_new"), given))
    (link,) = set(re.findall(r"http://testserver(/welcome/[\w-]+/)", page))
    visitor = Client(headers={"accept-language": "en"})
    assert "li.na" in body(visitor.get(link))
    weak = visitor.post(link, {"password": "1234567890", "again": "1234567890"})
    assert weak.status_code == 200
    assert visitor.post(link, {"password": PASSWORD, "again": PASSWORD}).status_code == 302
    assert visitor.get(reverse("my_account")).status_code == 200
    assert Client().get(link).status_code == 410
    made = Account.objects.get(username="li.na")
    assert [row.role for row in made.assignments.all()] == ["reviewer"]
    kinds = [entry.kind for entry in audit.entries(subject=made.ref)]
    assert kinds == ["session.opened", "invitation.accepted", "account.invited", "role.assigned", "account.created"]


def test_a_refused_role_leaves_no_account_behind(client_for: Browser) -> None:
    page = client_for("administrator").post(reverse("people_new"), {"username": "x.y", "role": "branch_manager"})
    assert "province or branch" in body(page)
    assert not Account.objects.filter(username="x.y").exists()


def test_the_list_is_searched_and_filtered(client_for: Browser, account: Make, gansu: Unit) -> None:
    browser = client_for("auditor")
    account("reviewer", gansu, username="wang", name="王芳")
    account("reviewer", username="zhao", name="赵敏")
    assert "王芳" in body(browser.get(reverse("people"), {"q": "芳"}))
    found = body(browser.get(reverse("people"), {"unit": "gansu"}))
    assert "王芳" in found and "赵敏" not in found
    assert "王芳" not in body(browser.get(reverse("people"), {"role": "auditor"}))
    assert "王芳" not in body(browser.get(reverse("people"), {"state": "inactive"}))


def test_markup_in_a_name_stays_text(client_for: Browser, account: Make) -> None:
    nasty = account("reviewer", name="<img src=x onerror=alert(1)>")
    browser = client_for("administrator")
    for url in (reverse("people"), reverse("account", args=[nasty.pk])):
        assert "<img src=x" not in body(browser.get(url))
        assert "&lt;img src=x" in body(browser.get(url))


def test_a_branch_manager_sees_their_own_people_only(client_for: Browser, account: Make, gansu: Unit) -> None:
    browser = client_for("branch_manager", gansu)
    inside, outside = account("reviewer", gansu, name="Inside"), account("reviewer", name="Outside")
    page = body(browser.get(reverse("people")))
    assert "Inside" in page and "Outside" not in page
    assert browser.get(reverse("account", args=[inside.pk])).status_code == 200
    assert browser.get(reverse("account", args=[outside.pk])).status_code == 404
    assert browser.post(reverse("account_act", args=[inside.pk, "deactivate"])).status_code == 403


def test_an_administrator_of_a_province_cannot_touch_others(client_for: Browser, account: Make, gansu: Unit) -> None:
    browser = client_for("administrator", gansu)
    inside, outside = account("reviewer", gansu), account("reviewer")
    for act in ("deactivate", "assign", "sign-out", "reset-factors"):
        assert browser.post(reverse("account_act", args=[outside.pk, act])).status_code == 404
    assert browser.post(reverse("account_invite", args=[outside.pk])).status_code == 404
    assert browser.get(reverse("account_edit", args=[outside.pk])).status_code == 404
    assert browser.get(reverse("unit_new")).status_code == 404
    browser.post(reverse("account_act", args=[inside.pk, "assign"]), {"role": "administrator", "unit": ""})
    assert {row.role for row in inside.assignments.all()} == {"reviewer"}
    browser.post(reverse("account_act", args=[inside.pk, "assign"]), {"role": "team_lead", "unit": "gansu"})
    assert {row.role for row in inside.assignments.all()} == {"reviewer", "team_lead"}
    browser.post(reverse("account_act", args=[inside.pk, "deactivate"]))
    inside.refresh_from_db()
    assert not inside.is_active


def test_buttons_on_an_account_say_what_they_did_or_why_not(client_for: Browser, account: Make) -> None:
    browser = client_for("administrator")
    clerk, own = account("reviewer"), browser.account  # type: ignore[attr-defined]  # set by the fixture
    url = reverse("account_act", args=[clerk.pk, "deactivate"])
    assert "signed out everywhere" in body(browser.post(url, follow=True))
    url = reverse("account_act", args=[own.pk, "deactivate"])
    assert "ask another administrator" in body(browser.post(url, follow=True))
    assert browser.post(reverse("account_act", args=[clerk.pk, "nonsense"])).status_code == 404


def test_a_team_gives_its_members_its_roles(client_for: Browser, account: Make) -> None:
    browser, clerk = client_for("administrator"), account()
    browser.post(reverse("team_new"), {"code": "night", "name": "Night shift"})
    url = reverse("people_team", args=["night"])
    browser.post(url, {"act": "assign", "role": "reviewer"})
    browser.post(url, {"act": "join", "account": clerk.username})
    assert client_of(clerk).get(reverse("my_account")).status_code == 200
    assert "Reviewer" in body(client_of(clerk).get(reverse("my_account")))
    assert "Night shift" in body(browser.get(url))
    browser.post(url, {"act": "delete"})
    assert "Reviewer" not in body(client_of(clerk).get(reverse("my_account")))


def test_units_are_made_changed_and_deleted(client_for: Browser, gansu: Unit) -> None:
    browser = client_for("administrator")
    given = {
        "code": "lanzhou",
        "kind": "branch",
        "name": "Lanzhou",
        "parent": "gansu",
        "access_codes": "106900012\n1069x",
    }
    assert "digits" in body(browser.post(reverse("unit_new"), given))
    browser.post(reverse("unit_new"), {**given, "access_codes": "106900012"})
    assert [row.access_codes for row in gansu.children.all()] == [["106900012"]]
    url = reverse("people_unit", args=["gansu"])
    loop = browser.post(url, {"name": "Gansu", "parent": "lanzhou", "access_codes": "10690001"})
    assert loop.status_code == 200  # refused: a province hangs below nothing
    assert "units below it" in body(browser.post(reverse("unit_delete", args=["gansu"]), follow=True))
    browser.post(reverse("unit_delete", args=["lanzhou"]))
    browser.post(reverse("unit_delete", args=["gansu"]))
    assert not Unit.objects.exists()


def test_partners_never_share_an_access_code(gansu: Unit) -> None:
    from mingbai.kernel.errors import BadValue

    now = utc_now()
    units.create_unit("a", kind="partner", name="A", access_codes=["1069500"], actor="system", now=now)
    for code in ("1069500", "10695001", "1069"):
        with pytest.raises(BadValue) as error:
            units.create_unit("b", kind="partner", name="B", access_codes=[code], actor="system", now=now)
        assert error.value.data["field"] == "access_codes"
    units.create_unit("b", kind="partner", name="B", parent=gansu, access_codes=["106900015"], actor="system", now=now)


def test_a_token_is_shown_once_and_does_no_more_than_its_account(client_for: Browser) -> None:
    browser = client_for("auditor")
    url = reverse("my_tokens")
    page = body(browser.post(url, {"name": "nightly", "days": "30", "scopes": ["see_audit"]}))
    (secret,) = set(re.findall(r"mb_[\w-]{43}", page))
    assert secret not in body(browser.get(url))
    me = browser.account  # type: ignore[attr-defined]  # set by the fixture
    token = me.tokens.get()
    assert token.expires_at - utc_now() < timedelta(days=30)
    browser.post(url, {"name": "too much", "days": "30", "scopes": ["manage_people"]})
    assert me.tokens.count() == 1
    assert secret not in str([entry.data for entry in audit.entries()])
    browser.post(reverse("my_token_revoke", args=[token.pk]))
    token.refresh_from_db()
    assert token.revoked_at is not None


def test_another_persons_token_is_not_there(client_for: Browser) -> None:
    one, two = client_for("auditor"), client_for("auditor")
    one.post(reverse("my_tokens"), {"name": "mine", "days": "30", "scopes": ["see_audit"]})
    token = one.account.tokens.get()  # type: ignore[attr-defined]  # set by the fixture
    assert two.post(reverse("my_token_revoke", args=[token.pk])).status_code == 404


def test_a_subscriber_asks_and_an_administrator_answers_in_time(
    client_for: Browser, account: Make, data_dir: object
) -> None:
    someone = client_for("subscriber")
    browser = client_for("administrator")
    someone.post(reverse("my_data_ask"), {"kind": "export", "note": "<b>please</b>"})
    request = someone.account.data_requests.get()  # type: ignore[attr-defined]  # set by the fixture
    assert str(someone.account) in body(browser.get(reverse("data_requests")))  # type: ignore[attr-defined]  # as above
    page = body(browser.get(reverse("data_request", args=[request.pk])))
    assert "&lt;b&gt;please" in page
    answer = reverse("data_request_answer", args=[request.pk])
    assert "Answered" in body(browser.post(answer, {"act": "do"}, follow=True))
    assert "answered already" in body(browser.post(answer, {"act": "do"}, follow=True))
    fetch = reverse("my_data_fetch", args=[request.pk])
    assert client_for("subscriber").post(fetch).status_code == 404
    assert someone.post(fetch).content.startswith(b"PK")
    asked = data_requests.ask(account("subscriber"), "access", now=utc_now(), due_days=15)
    refused = reverse("data_request_answer", args=[asked.pk])
    browser.post(refused, {"act": "refuse", "reason": "We do not know that it is you."})
    assert "know that it is you" in body(client_of(asked.account).get(reverse("my_data")))


def test_a_deactivated_account_is_out_at_once(client_for: Browser) -> None:
    clerk = client_for("reviewer")
    assert clerk.get(reverse("my_account")).status_code == 200
    accounts.deactivate(clerk.account, actor="system", now=utc_now())  # type: ignore[attr-defined]  # set by the fixture
    assert clerk.get(reverse("my_account")).status_code == 302


def test_a_role_that_is_taken_away_is_gone_at_the_next_click(client_for: Browser) -> None:
    clerk = client_for("auditor")
    assert clerk.get(reverse("audit")).status_code == 200
    (row,) = clerk.account.assignments.all()  # type: ignore[attr-defined]  # set by the fixture
    roles.remove_role(row, actor="system", now=utc_now())
    assert clerk.get(reverse("audit")).status_code == 403


def test_teams_outside_of_ones_units_are_not_there(client_for: Browser, account: Make, gansu: Unit) -> None:
    now = utc_now()
    team = teams.create_team("far", name="Far", actor="system", now=now)
    teams.add_member(team, account("reviewer"), actor="system", now=now)
    browser = client_for("branch_manager", gansu)
    assert browser.get(reverse("people_team", args=["far"])).status_code == 404
    assert "Far" not in body(browser.get(reverse("people_teams")))


def test_who_may_make_tokens_finds_the_reference_of_the_api(client_for: Browser) -> None:
    for role, finds in (("reviewer", True), ("subscriber", False)):
        clerk = client_for(role)
        page = body(clerk.get(reverse("my_account")))
        assert ('href="/api/"' in page) is finds == (reverse("my_tokens") in page), role
    assert client_for("reviewer").get("/api/").status_code == 200
