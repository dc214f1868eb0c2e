"""Signing in through the operator's own directory: a real OpenID Connect provider, on loopback."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.test import Client
from django.urls import reverse

from mingbai.contexts.audit import queries as audit
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.services import accounts
from mingbai.kernel.clock import utc_now

pytestmark = pytest.mark.django_db
Make = Callable[..., Account]


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """Address of a provider that knows three people."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own library's, about its own library
        from oidc_provider_mock import User, run_server_in_thread  # type: ignore[import-untyped]  # ships none

    people = [
        User(sub="s-1", claims={"preferred_username": "li.na", "email": "li.na@example.org", "name": "李娜"}),
        User(sub="s-2", claims={"preferred_username": "stranger", "email": "li.na@example.org"}),
        User(sub="s-3", claims={"email": "li.na@example.org"}),
    ]
    with run_server_in_thread(user_claims=people) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
def directory(provider: str, settings: Any) -> str:  # Any: pytest-django's
    settings.SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {
            "OAUTH_PKCE_ENABLED": True,
            "APPS": [
                {
                    "provider_id": "directory", "name": "Directory", "client_id": "mingbai", "secret": "a secret",
                    "settings": {"server_url": provider},
                }
            ],
        }
    }  # fmt: skip
    return provider


def go(client: Client, sub: str, *, deny: bool = False) -> Any:  # Any: a response
    """What a browser does: the button, the provider's form, the way back."""
    begun = client.post(reverse("openid_connect_login", args=["directory"]))
    assert begun.status_code == 302, begun.content
    given = {"action": "deny"} if deny else {"sub": sub}
    answer = httpx.post(begun.headers["Location"], data=given)
    back = urlsplit(answer.headers["location"])
    return client.get(f"{back.path}?{back.query}")


def visitor() -> Client:
    return Client(headers={"accept-language": "en"})


def is_in(client: Client) -> bool:
    return bool(client.get(reverse("my_account")).status_code == 200)


def test_who_has_an_account_signs_in_again_and_again(account: Make, directory: str) -> None:
    clerk = account("reviewer", username="li.na")
    for _ in range(2):
        client = visitor()
        assert go(client, "s-1").status_code == 302
        assert is_in(client)
    assert audit.entries(kinds=["session.opened"], subject=clerk.ref).count() == 2


@pytest.mark.parametrize("sub", ["s-2", "s-3", "never-seen"])
def test_a_person_nobody_made_an_account_for_is_refused(account: Make, directory: str, sub: str) -> None:
    """Also with the e-mail address of somebody who has one: in many directories people change their own."""
    account("reviewer", username="li.na", email="li.na@example.org")
    client = visitor()
    response = go(client, sub)
    assert response.headers["Location"] == reverse("account_login")
    assert "no account for you here" in client.get(reverse("account_login")).content.decode()
    assert not is_in(client)
    assert Account.objects.count() == 1


def test_a_deactivated_account_stays_out(account: Make, directory: str) -> None:
    clerk = account("reviewer", username="li.na")
    client = visitor()
    go(client, "s-1")
    accounts.deactivate(clerk, actor="system", now=utc_now())
    again = visitor()
    go(again, "s-1")
    assert not is_in(client)
    assert not is_in(again)


def test_whoever_says_no_at_the_directory_is_not_in(account: Make, directory: str) -> None:
    account("reviewer", username="li.na")
    client = visitor()
    go(client, "s-1", deny=True)
    assert not is_in(client)


def test_an_answer_that_this_browser_did_not_ask_for_is_refused(account: Make, directory: str) -> None:
    """Otherwise somebody could sign a victim's browser in as themselves."""
    account("reviewer", username="li.na")
    begun = visitor().post(reverse("openid_connect_login", args=["directory"]))
    answer = httpx.post(begun.headers["Location"], data={"sub": "s-1"})
    back = urlsplit(answer.headers["location"])
    victim = visitor()
    victim.get(f"{back.path}?{back.query}")
    assert not is_in(victim)


def test_the_directory_answers_for_its_own_second_factor(
    account: Make, directory: str, settings: Any
) -> None:  # Any: as above
    console = settings.MINGBAI.console.model_copy(update={"require_second_factor": True})
    settings.MINGBAI = settings.MINGBAI.model_copy(update={"console": console})
    account("administrator", username="li.na")
    client = visitor()
    go(client, "s-1")
    assert is_in(client)
