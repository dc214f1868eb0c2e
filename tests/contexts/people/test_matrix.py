"""The matrix on every URL: without a declared right nobody enters, without the right the answer is 403, with it not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from mingbai.contexts.people import policy
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.policy import MATRIX, OF_THE_WHOLE, Action, Assigned, Reach, Rights
from mingbai.contexts.people.rights import PUBLIC, SIGNED_IN, needs_of
from tests.conftest import client_of

# What a place in an address is filled with: something that does not exist, so that nothing is changed.
_PLACES = {
    "uuid": "0193aaaa-0000-7000-8000-000000000000",
    "int": "999999999",
    "slug": "no-such",
    "str": "nothing",
    "path": "nothing",
}


def _filled(converter: str) -> str:
    return _PLACES["uuid" if converter.startswith("uuid") else converter]


def urls(resolver: URLResolver | None = None, before: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every address of the console, places filled, with its view."""
    for item in (resolver or get_resolver()).url_patterns:
        route = before + str(item.pattern)
        if isinstance(item, URLResolver):
            yield from urls(item, route)
        elif isinstance(item, URLPattern):
            filled = re.sub(r"<(?:(\w+):)?\w+>", lambda found: _filled(found[1] or "str"), route)
            yield "/" + re.sub(r"\(\?P<\w+>[^)]*\)", "1", filled).replace("^", "").replace("$", ""), item.callback


OURS = [(url, view) for url, view in urls() if not url.startswith("/api/")]


@pytest.mark.parametrize(("url", "view"), OURS, ids=[url for url, _ in OURS])
def test_every_view_declares_what_it_needs(url: str, view: Callable[..., Any]) -> None:
    needs = needs_of(view)
    assert needs is not None, f"{url}: decorate its view with @requires(Action.X), @signed_in or @public"
    if not isinstance(needs, str):
        assert needs
        assert all(isinstance(action, Action) for action in needs)


def _answer(client: Client, url: str) -> int:
    """Status of a GET, or of a POST where that is the only way. Nothing exists, so that nothing changes."""
    status = client.get(url).status_code
    return client.post(url).status_code if status == 405 else status


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("role", [None, *policy.roles()])
def test_each_role_enters_where_the_matrix_says_so_and_nowhere_else(
    role: str | None, account: Callable[..., Account], data_dir: object
) -> None:
    client = client_of(account(role))
    client.raise_request_exception = False
    wrong = []
    for url, view in OURS:
        needs = needs_of(view)
        if needs in (PUBLIC, SIGNED_IN) or not isinstance(needs, tuple):
            continue
        may = any(role in MATRIX[action] for action in needs)
        status = _answer(client, url)
        if may and status == 403:
            wrong.append(f"{url}: {role} has the right and gets {status}")
        elif may and status == 500:
            wrong.append(f"{url}: {role} gets {status}")
        elif not may and status != 403:
            wrong.append(f"{url}: {role} lacks the right and gets {status}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.django_db
def test_who_is_not_signed_in_is_sent_to_the_sign_in() -> None:
    client = Client()
    for url, view in OURS:
        if needs_of(view) == PUBLIC:
            continue
        response = client.get(url)
        assert response.status_code == 302, url
        assert response.headers["Location"].startswith("/accounts/login/?next="), url
        fragment = client.get(url, headers={"HX-Request": "true"})
        assert fragment.status_code == 401, url


# -- the policy itself: pure


def rights(role: str, unit: str = "", kind: str = "", codes: tuple[str, ...] = (), number: str = "") -> Rights:
    return Rights((Assigned(role, unit, kind, codes),), number)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("role", list(policy.roles()))
def test_a_right_reaches_what_both_the_matrix_and_the_assignment_allow(role: str, action: Action) -> None:
    scope = MATRIX[action].get(role)
    whole = rights(role, number="+8613800000001").reach(action)
    province = rights(role, "gansu", "province", ("10690001",), "+8613800000001").reach(action)
    partner = rights(role, "acme", "partner", ("10690002",), "+8613800000001").reach(action)
    if scope is None:
        assert whole is province is partner is None
    elif scope == "all":
        assert whole == Reach(is_all=True)
        if action in OF_THE_WHOLE:
            assert province is partner is None
            return
        assert province == Reach(access_codes=("10690001",), units=("gansu",))
    elif scope == "branch":
        assert whole is None
        assert province == Reach(access_codes=("10690001",), units=("gansu",))
    elif scope == "partner":
        assert whole is province is None
        assert partner == Reach(access_codes=("10690002",), units=("acme",))
    else:
        assert scope == "own"
        assert whole == province == Reach(receivers=("+8613800000001",))


def test_rights_of_several_roles_add_up() -> None:
    both = Rights((Assigned("reviewer", "a", "branch", ("1069",)), Assigned("auditor", "b", "branch", ("1070",))))
    reach = both.reach(Action.UNMASK)
    assert reach is not None
    assert reach.access_codes == ("1069", "1070")
    assert both.reach(Action.REVIEW) == Reach(access_codes=("1069",), units=("a",))


def test_a_token_never_does_more_than_its_scopes() -> None:
    narrowed = Rights((Assigned("auditor"),), only=frozenset({Action.SEE_AUDIT}))
    assert narrowed.actions == {Action.SEE_AUDIT}


def test_places_are_ids_that_do_not_exist() -> None:
    assert UUID(_PLACES["uuid"]).version == 7
