"""Signing in: throttled, without telling who exists, never into a session that somebody else began."""

from __future__ import annotations

import base64
import hmac
import re
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.test import Client
from django.urls import reverse

from mingbai.contexts.audit import queries as audit
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.services import accounts, sessions
from mingbai.kernel.clock import utc_now
from mingbai.settings import Settings
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db
Make = Callable[..., Account]
LOGIN = "/accounts/login/"


def visitor() -> Client:
    return Client(headers={"accept-language": "en"})


def sign_in(client: Client, who: Account | str, password: str = PASSWORD, **more: str) -> Any:  # Any: a response
    name = who if isinstance(who, str) else who.username
    return client.post(LOGIN, {"login": name, "password": password, **more})


def is_in(client: Client) -> bool:
    return bool(client.get(reverse("my_account")).status_code == 200)


def code_of(secret: str, moment: float) -> str:
    """TOTP by RFC 6238, written anew here: what an authenticator app shows."""
    digest = hmac.digest(base64.b32decode(secret), struct.pack(">Q", int(moment) // 30), "sha1")
    at = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[at : at + 4])[0] & 0x7FFFFFFF) % 10**6:06d}"


def test_name_and_password_open_the_console(account: Make) -> None:
    client, clerk = visitor(), account("reviewer")
    assert sign_in(client, clerk).headers["Location"] == "/"
    assert is_in(client)
    client.post(reverse("account_logout"))
    assert not is_in(client)
    kinds = [entry.kind for entry in audit.entries(subject=clerk.ref)]
    assert kinds[:2] == ["session.closed", "session.opened"]


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(account: Make) -> None:
    clerk = account("reviewer")
    inactive = account("reviewer")
    accounts.deactivate(inactive, actor="system", now=utc_now())
    answers = []
    for name in (clerk.username, "nobody-of-this-name", inactive.username):
        response = sign_in(visitor(), name, "wrong " + PASSWORD)
        text = re.sub(r'name="csrfmiddlewaretoken" value="\w+"|"X-CSRFToken": "\w+"', "", response.content.decode())
        answers.append((response.status_code, text.replace(name, "")))
    assert answers[0] == answers[1] == answers[2]


def test_a_refused_sign_in_is_an_entry_without_the_name_that_was_typed(account: Make) -> None:
    sign_in(visitor(), "my-password-typed-into-the-wrong-field", "x")
    (entry,) = audit.entries(kinds=["session.refused"])
    assert "wrong-field" not in str(entry.data)


def test_guessing_is_stopped_for_the_right_password_too(account: Make) -> None:
    clerk = account("reviewer")
    for _ in range(5):
        sign_in(visitor(), clerk, "wrong")
    client = visitor()
    response = sign_in(client, clerk)
    assert response.status_code in (200, 429)
    assert not is_in(client)
    other = account("reviewer")  # and only for that name
    assert sign_in(client, other).status_code == 302


def test_trying_many_names_from_one_address_is_stopped(account: Make) -> None:
    statuses = [sign_in(visitor(), f"name-{n}", "wrong").status_code for n in range(31)]
    text = sign_in(visitor(), account("reviewer")).status_code
    assert 429 in statuses or text != 302


def test_the_session_gets_a_new_key_at_the_sign_in(account: Make) -> None:
    client = visitor()
    client.get(LOGIN)
    session = client.session
    session["planted"] = "by somebody else"
    session.save()
    client.cookies["mingbai_session"] = before = session.session_key or ""
    sign_in(client, account("reviewer"))
    assert client.cookies["mingbai_session"].value != before
    thief = visitor()
    thief.cookies["mingbai_session"] = before
    assert not is_in(thief)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "\x01//evil.example",
    ],
)
def test_nobody_is_sent_to_another_site(account: Make, elsewhere: str) -> None:
    client = visitor()
    response = client.post(
        f"{LOGIN}?next=x", {"login": account("reviewer").username, "password": PASSWORD, "next": elsewhere}
    )
    assert response.headers["Location"] == "/"
    for name in ("set_language", "set_theme"):
        moved = client.post(reverse(name), {"language": "en", "theme": "dark", "next": elsewhere})
        assert moved.headers["Location"] == "/"


def test_a_page_of_ours_is_where_one_goes_on(account: Make) -> None:
    client = visitor()
    wanted = client.get(reverse("my_account")).headers["Location"]
    assert wanted == f"{LOGIN}?next=/me/"
    response = client.post(wanted, {"login": account("reviewer").username, "password": PASSWORD, "next": "/me/"})
    assert response.headers["Location"] == "/me/"


def test_the_form_needs_its_own_token(account: Make) -> None:
    client = Client(enforce_csrf_checks=True)
    response = client.post(LOGIN, {"login": account("reviewer").username, "password": PASSWORD})
    assert response.status_code == 403
    assert not is_in(client)


def test_a_session_that_is_ended_is_out_at_the_next_click(account: Make) -> None:
    clerk, one, two = account("reviewer"), visitor(), visitor()
    for client in (one, two):
        sign_in(client, clerk)
        assert is_in(client)
    first = UserSession.objects.get(session_key=one.cookies["mingbai_session"].value)
    assert sessions.end_session(clerk, first.pk, actor="system", now=utc_now())
    assert (is_in(one), is_in(two)) == (False, True)
    assert not sessions.end_session(account(), first.pk, actor="system", now=utc_now())
    assert sessions.sign_out_everywhere(clerk, actor="system", now=utc_now()) == 1
    assert not is_in(two)


def test_nobody_ends_a_session_of_somebody_else(account: Make, client_for: Callable[..., Client]) -> None:
    victim = account("reviewer")
    client = visitor()
    sign_in(client, victim)
    assert is_in(client)
    session = UserSession.objects.get(user_id=victim.pk)
    browser = client_for("administrator")
    wrong = reverse("account_act", args=[account("reviewer").pk, "end-session"])
    assert browser.post(wrong, {"session": session.pk}).status_code == 404
    assert is_in(client)
    browser.post(reverse("account_act", args=[victim.pk, "end-session"]), {"session": session.pk})
    assert not is_in(client)


def test_a_new_password_ends_the_other_sessions(account: Make) -> None:
    clerk, one, two = account("reviewer"), visitor(), visitor()
    sign_in(one, clerk)
    sign_in(two, clerk)
    new = "another long 密码 here"
    one.post(reverse("account_change_password"), {"oldpassword": PASSWORD, "password1": new, "password2": new})
    assert not is_in(two)
    assert audit.entries(kinds=["password.changed"], subject=clerk.ref).exists()


def test_nobody_signs_up_by_themselves() -> None:
    response = visitor().post(
        reverse("account_signup"), {"username": "new", "password1": PASSWORD, "password2": PASSWORD}
    )
    assert response.status_code in (200, 302, 403, 404)
    assert not Account.objects.filter(username="new").exists()


# -- the second factor


def set_up_app(client: Client) -> str:
    """An authenticator app, as a person sets it up. Returns its secret."""
    url = reverse("mfa_activate_totp")
    page = client.get(url)
    if page.status_code == 302:  # the password again, as some time has passed
        assert page.headers["Location"].startswith(reverse("account_reauthenticate"))
        assert client.post(page.headers["Location"], {"password": "wrong"}).status_code == 200
        page = client.post(page.headers["Location"], {"password": PASSWORD}, follow=True)
    assert page.status_code == 200
    secret = str(page.context["form"].secret)
    assert client.post(url, {"code": "000000"}).status_code == 200
    assert client.post(url, {"code": code_of(secret, time.time())}).status_code == 302
    return secret


def test_a_code_is_asked_for_and_works_once(
    account: Make, django_capture_on_commit_callbacks: Any
) -> None:  # Any: pytest-django's
    clerk, client = account("reviewer"), visitor()
    sign_in(client, clerk)
    with django_capture_on_commit_callbacks(execute=True):
        secret = set_up_app(client)
    assert secret not in str(list(Authenticator.objects.values_list("data", flat=True)))  # encrypted where it lies
    assert audit.entries(kinds=["factor.added"], subject=clerk.ref).exists()
    again = visitor()
    asked = sign_in(again, clerk)
    assert asked.headers["Location"] == reverse("mfa_authenticate")
    assert not is_in(again)
    again.post(reverse("mfa_authenticate"), {"code": "123456"})
    assert not is_in(again)
    code = code_of(secret, time.time() + 30)  # the step after the one that the set-up used up
    again.post(reverse("mfa_authenticate"), {"code": code})
    assert is_in(again)
    third = visitor()
    sign_in(third, clerk)
    third.post(reverse("mfa_authenticate"), {"code": code})
    assert not is_in(third)


@pytest.fixture
def factor_required(settings: Any) -> None:  # Any: pytest-django's
    given: Settings = settings.MINGBAI
    console = given.console.model_copy(update={"require_second_factor": True})
    settings.MINGBAI = given.model_copy(update={"console": console})


@pytest.mark.usefixtures("factor_required")
@pytest.mark.parametrize("role", ["administrator", "rule_approver", "team_lead", "auditor", "regulator"])
def test_who_can_hurt_many_sets_up_a_second_factor_first(account: Make, role: str) -> None:
    who, client = account(role), visitor()
    sign_in(client, who)
    for name in ("my_account", "people", "audit", "home"):
        assert client.get(reverse(name)).headers["Location"] == reverse("second_factor"), name
    assert client.get(reverse("my_account"), headers={"HX-Request": "true"}).headers["HX-Redirect"]
    assert client.get(reverse("second_factor")).status_code == 200
    set_up_app(client)
    assert is_in(client)
    sessions.reset_second_factors(who, actor="system", now=utc_now())
    assert not is_in(client)


@pytest.mark.usefixtures("factor_required")
@pytest.mark.parametrize("role", ["reviewer", "rule_author", "branch_manager", "service_provider", "subscriber"])
def test_others_may_do_without(account: Make, role: str) -> None:
    client = visitor()
    sign_in(client, account(role))
    assert is_in(client)


@pytest.mark.usefixtures("factor_required")
def test_recovery_codes_alone_are_no_second_factor(account: Make) -> None:
    who, client = account("administrator"), visitor()
    sign_in(client, who)
    Authenticator.objects.create(user=who, type=Authenticator.Type.RECOVERY_CODES, data={})
    assert not is_in(client)


@pytest.mark.usefixtures("factor_required")
def test_the_link_of_a_new_administrator_leads_to_the_second_factor() -> None:
    secret = accounts.first_administrator(now=utc_now())
    client = visitor()
    client.post(reverse("welcome", args=[secret]), {"password": PASSWORD, "again": PASSWORD})
    assert client.get("/").headers["Location"] == reverse("second_factor")
    set_up_app(client)  # without asking for the password again
    assert is_in(client)


def test_a_link_that_has_expired_opens_nothing(account: Make) -> None:
    from datetime import timedelta

    secret = accounts.invite(account(), actor="system", now=utc_now() - timedelta(hours=25))
    url = reverse("welcome", args=[secret])
    assert visitor().get(url).status_code == 410
    assert visitor().post(url, {"password": PASSWORD, "again": PASSWORD}).status_code == 410


def test_a_newer_link_replaces_the_older(account: Make) -> None:
    clerk = account()
    old, new = (accounts.invite(clerk, actor="system", now=utc_now()) for _ in range(2))
    assert visitor().get(reverse("welcome", args=[old])).status_code == 410
    assert visitor().get(reverse("welcome", args=[new])).status_code == 200
