"""The door of the API: tokens, rights, rates, idempotency keys, problems, cursors."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from mingbai.contexts.audit import queries as audit
from mingbai.contexts.people import http_api
from mingbai.contexts.people.models import Account, IdempotencyKey
from mingbai.contexts.people.services.accounts import deactivate
from mingbai.contexts.people.services.tokens import create_token, revoke_token
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from tests.console.api_calls import Api, api_of

pytestmark = pytest.mark.django_db
Accounts = Callable[..., Account]


@pytest.fixture
def api(account: Accounts) -> Callable[..., Api]:
    def make(role: str, *scopes: str, rate: int = 60_000) -> Api:
        return api_of(account(role), scopes or None, rate)

    return make


def problem_of(answer: Any) -> dict[str, Any]:  # Any: as above
    assert answer.headers["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = json.loads(answer.content)
    assert found["status"] == answer.status_code
    assert found["title"]
    return found


def test_without_a_valid_token_nothing_is_told(account: Accounts) -> None:
    holder = account("administrator")
    token, secret = create_token(
        holder,
        name="t",
        scopes=["see_people"],
        expires_at=utc_now() + timedelta(hours=1),
        actor=holder.ref,
        now=utc_now(),
    )
    assert Api(secret)("GET", "accounts").status_code == 200
    for wrong in ("", "nonsense", secret[:-1], secret + "x"):
        answer = Api(wrong)("GET", "accounts")
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert problem_of(answer)["code"] == "not_authenticated"
    revoke_token(token, actor=holder.ref, now=utc_now())
    assert Api(secret)("GET", "accounts").status_code == 401


def test_a_deactivated_account_takes_its_tokens_along(account: Accounts) -> None:
    holder, other = account("administrator"), account("administrator")
    _, secret = create_token(
        holder,
        name="t",
        scopes=["see_people"],
        expires_at=utc_now() + timedelta(hours=1),
        actor=holder.ref,
        now=utc_now(),
    )
    deactivate(holder, actor=other.ref, now=utc_now())
    assert Api(secret)("GET", "accounts").status_code == 401


def test_a_browser_session_opens_nothing_here(account: Accounts) -> None:
    client = Client()
    client.force_login(account("administrator"))
    assert client.get("/api/v1/accounts").status_code == 401


def test_a_token_does_no_more_than_its_scopes(api: Callable[..., Api]) -> None:
    narrow = api("administrator", "see_people")
    assert narrow("GET", "accounts").status_code == 200
    answer = narrow("POST", "accounts", {"username": "new"})
    assert answer.status_code == 403
    assert problem_of(answer)["code"] == "not_allowed"


def test_a_token_never_makes_one_that_may_do_more(api: Callable[..., Api]) -> None:
    narrow = api("administrator", "see_people", "manage_tokens")
    expires = (utc_now() + timedelta(hours=1)).isoformat()
    answer = narrow("POST", "tokens", {"name": "more", "scopes": ["manage_people"], "expires_at": expires})
    assert answer.status_code == 422
    assert problem_of(answer)["errors"][0]["field"] == "scopes"
    answer = narrow("POST", "tokens", {"name": "same", "scopes": ["see_people"], "expires_at": expires})
    assert answer.status_code == 201
    assert Api(json.loads(answer.content)["secret"])("GET", "accounts").status_code == 200


def test_bad_input_names_field_and_expectation(api: Callable[..., Api]) -> None:
    admin = api("administrator")
    for body, field in (({}, "username"), ({"username": "x" * 100}, "username"), ({"username": "a b"}, "username")):
        answer = admin("POST", "accounts", body)
        assert answer.status_code == 422
        assert field in problem_of(answer)["errors"][0]["field"]
        assert problem_of(answer)["errors"][0]["expected"]
    assert admin("POST", "accounts", {"username": "neu", "number": "12"}).status_code == 422
    assert admin("GET", "accounts/018f0000-0000-7000-8000-000000000000").status_code == 404
    assert admin("GET", "accounts?cursor=%%%").status_code == 422


def test_the_same_key_changes_things_once(api: Callable[..., Api]) -> None:
    admin = api("administrator")
    first = admin("POST", "accounts", {"username": "once"}, Idempotency_Key="k1")
    before = audit.head()
    again = admin("POST", "accounts", {"username": "once"}, Idempotency_Key="k1")
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert again.headers["Idempotency-Replayed"] == "true"
    assert audit.head() == before
    other = admin("POST", "accounts", {"username": "other"}, Idempotency_Key="k1")
    assert other.status_code == 422
    assert problem_of(other)["code"] == "idempotency_key_reused"


def test_a_key_of_a_request_that_failed_stays_with_its_answer_and_changes_nothing(api: Callable[..., Api]) -> None:
    admin = api("administrator")
    for _ in range(2):
        answer = admin("POST", "accounts", {"username": "a b"}, Idempotency_Key="k2")
        assert answer.status_code == 422
    assert not Account.objects.filter(username="a b").exists()


def test_an_answer_that_is_kept_for_its_key_opens_with_the_callers_token_only(api: Callable[..., Api]) -> None:
    admin = api("administrator")
    expires = (utc_now() + timedelta(hours=1)).isoformat()
    given = {"name": "new", "scopes": ["see_people"], "expires_at": expires}
    first = admin("POST", "tokens", given, Idempotency_Key="k3")
    again = admin("POST", "tokens", given, Idempotency_Key="k3")
    assert first.content == again.content
    kept = bytes(IdempotencyKey.objects.get(key="k3").response)
    assert json.loads(first.content)["secret"].encode() not in kept
    assert b"secret" not in kept


def test_a_file_is_made_anew_for_the_same_key(api: Callable[..., Api], data_dir: object) -> None:
    admin = api("auditor")
    for _ in range(2):
        answer = admin("POST", "messages/export", {"kind": "jsonl"}, Idempotency_Key="k4")
        assert answer.status_code == 200
        assert "Idempotency-Replayed" not in answer.headers


def test_what_is_no_operation_is_answered_as_a_problem(api: Callable[..., Api]) -> None:
    admin = api("administrator")
    assert problem_of(admin("GET", "nowhere"))["status"] == 404
    assert problem_of(admin("GET", "accounts/no-uuid"))["status"] == 404
    wrong = admin("DELETE", "accounts")
    assert problem_of(wrong)["status"] == 405
    assert "GET" in wrong.headers["Allow"]


def test_a_nul_character_is_refused_before_it_reaches_the_database(api: Callable[..., Api]) -> None:
    admin = api("administrator")
    for answer in (
        admin("POST", "accounts", {"username": "a\x00b"}),
        admin("POST", "accounts", {"username": "a", "name": ["\x00"]}),
        admin("GET", "accounts?text=%00"),
        admin("GET", "accounts/%00"),
    ):
        assert answer.status_code in (404, 422)
        assert problem_of(answer)
    assert admin("POST", "accounts", {"username": "fine", "name": "\\u0000"}).status_code == 201


def test_a_body_that_is_too_large_is_a_problem(api: Callable[..., Api], settings: Any) -> None:  # Any: of pytest-django
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    answer = api("administrator")("POST", "accounts", {"username": "x" * 2000})
    assert answer.status_code == 413
    assert problem_of(answer)["code"] == "too_large"


def test_keys_of_two_tokens_do_not_meet(api: Callable[..., Api]) -> None:
    one, two = api("administrator"), api("administrator")
    assert one("POST", "accounts", {"username": "one"}, Idempotency_Key="k").status_code == 201
    assert two("POST", "accounts", {"username": "two"}, Idempotency_Key="k").status_code == 201
    assert IdempotencyKey.objects.filter(key="k").count() == 2


def test_too_many_requests_are_told_when_to_come_again(
    api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    now, workers = [0.0], settings.MINGBAI.console.workers
    monkeypatch.setattr(http_api, "RATES", http_api.Rates(lambda: now[0]))
    slow = api("administrator", rate=60)
    codes = [slow("GET", "me").status_code for _ in range(20)]
    at_once = int(60 / 4 / workers)  # a quarter of a minute; each process has its part of the rate
    assert codes == [200] * at_once + [429] * (20 - at_once)
    answer = slow("GET", "me")
    assert int(answer.headers["Retry-After"]) >= 1
    assert problem_of(answer)["code"] == "rate_limited"
    now[0] += 2.0 * workers
    assert [slow("GET", "me").status_code for _ in range(3)] == [200, 200, 429]


def test_lists_go_on_with_the_cursor_and_give_each_account_once(api: Callable[..., Api], account: Accounts) -> None:
    admin = api("administrator")
    names = {account(None).username for _ in range(7)}
    seen: list[str] = []
    cursor = ""
    while True:
        page = json.loads(admin("GET", f"accounts?limit=3{cursor}").content)
        seen += [item["username"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert len(seen) == len(set(seen))
    assert names <= set(seen)


@pytest.mark.parametrize("text", ["x", "W10", "bnVsbA", "===", "ü", "MQ"])
def test_a_cursor_that_was_not_made_here_is_refused(text: str) -> None:
    with pytest.raises(BadValue) as caught:
        http_api.from_cursor(text)
    assert caught.value.data["field"] == "cursor"


def test_every_operation_declares_what_it_needs() -> None:
    from mingbai.console.api import api as console_api

    checked = 0
    for _, router in console_api._routers:
        for path, view in router.path_operations.items():
            for operation in view.operations:
                allowed = [auth for auth in operation.auth_callbacks if isinstance(auth, http_api.Allowed)]
                assert allowed, f"{operation.methods} {path} lets anybody in"
                checked += 1
    assert checked > 20


def test_the_description_is_openapi_3_1_and_open_to_all() -> None:
    document = json.loads(Client().get("/api/v1/openapi.json").content)
    assert document["openapi"].startswith("3.1")
    assert "/api/v1/accounts" in document["paths"]
