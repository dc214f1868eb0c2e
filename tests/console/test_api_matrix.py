"""The matrix on every operation of the API; foreign ids, foreign scopes, narrow tokens; nothing secret comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.urls import URLResolver, get_resolver
from ninja import Schema

from mingbai.connectors.ledger_index import EVERYTHING, Query
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.people import policy
from mingbai.contexts.people.models import Account, Delivery, Unit, Webhook
from mingbai.contexts.people.policy import MATRIX, Action
from mingbai.contexts.people.services import units
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Category, Verdict
from tests.console.api_calls import NOBODY, Api, api_of, calls
from tests.contexts.messaging.review_ledger import Sms, write

pytestmark = pytest.mark.django_db
Accounts = Callable[..., Account]


@pytest.mark.slow
@pytest.mark.parametrize("role", list(policy.roles()))
def test_each_role_gets_what_the_matrix_says_and_nothing_else(role: str, account: Accounts, data_dir: Path) -> None:
    api = api_of(account(role)) if any(role in cells for cells in MATRIX.values()) else Api()
    wrong = []
    for call in calls():
        may = not call.actions or any(role in MATRIX[action] for action in call.actions)
        status = api(call.method, call.filled(), {} if call.method in ("POST", "PUT", "PATCH") else None).status_code
        if may and (status == 403 or (status >= 500 and status != 503)):  # 503: no screener runs here
            wrong.append(f"{call.name}: {role} has the right and gets {status}")
        elif not may and status != 403:
            wrong.append(f"{call.name}: {role} lacks the right and gets {status}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_a_token_without_the_scope_gets_nothing_whatever_its_account_may(account: Accounts, data_dir: Path) -> None:
    people = {role: account(role) for role in policy.roles()}
    narrow: dict[tuple[str, tuple[Action, ...]], Api] = {}
    wrong = []
    for call in calls():
        if not call.actions:
            continue
        role = next(role for role in policy.roles() if any(role in MATRIX[action] for action in call.actions))
        key = role, call.actions
        if key not in narrow:
            others = [action.value for action in Action if role in MATRIX[action] and action not in call.actions]
            narrow[key] = api_of(people[role], others)
        status = narrow[key](call.method, call.filled()).status_code
        if status != 403:
            wrong.append(f"{call.name}: {status}")
    assert not wrong, "\n".join(wrong)


# Operations on an id for which a foreign one is not "there is none".
_NO_ID = {"review_preview_campaign"}  # counts what is open of any campaign: zero


@pytest.mark.slow
def test_a_foreign_id_is_not_found(account: Accounts, data_dir: Path) -> None:
    people = {role: api_of(account(role)) for role in policy.roles()}
    wrong = []
    for call in calls():
        if "{" not in call.path or call.name in _NO_ID:
            continue
        role = next(role for role in policy.roles() if not call.actions or any(role in MATRIX[a] for a in call.actions))
        query = "?reason=because" if call.name == "traffic_delete_exception" else ""
        answer = people[role](call.method, call.filled() + query, call.body())
        if answer.status_code != 404:
            wrong.append(f"{call.name} by {role}: {answer.status_code} {answer.content[:200]!r}")
        elif answer.headers["Content-Type"] != "application/problem+json":
            wrong.append(f"{call.name}: {answer.headers['Content-Type']}")
    assert not wrong, "\n".join(wrong)


# -- scopes


def _unit(code: str, kind: str, prefix: str) -> Unit:
    return units.create_unit(code, kind=kind, name=code, access_codes=[prefix], actor="system", now=utc_now())


@pytest.fixture
def traffic_of_two(data_dir: Path) -> dict[str, str]:
    """Access code -> id of a held message that came through it."""
    mine = Sms("我们的消息 一二三", Verdict.HOLD, Category.FRAUD, 0.6, access_code="106900010", campaign=0xA)
    theirs = Sms("他们的消息 四五六", Verdict.HOLD, Category.FRAUD, 0.6, access_code="10690002", campaign=0xB)
    write(data_dir, [mine, theirs], now=utc_now() - timedelta(minutes=2))
    return {hit.access_code or "": str(hit.id) for hit in traffic.index().search(Query(), 10, None, EVERYTHING).hits}


def _scoped(account: Accounts) -> list[Api]:
    branch, partner = _unit("north", "branch", "10690001"), _unit("shop", "partner", "106900010")
    return [
        api_of(account("branch_manager", branch)),
        api_of(account("service_provider", partner)),
        api_of(account("auditor", branch)),
        api_of(account("reviewer", branch)),
        api_of(account("team_lead", branch)),
    ]


def test_messages_of_other_units_do_not_exist(account: Accounts, traffic_of_two: dict[str, str]) -> None:
    mine, theirs = traffic_of_two["106900010"], traffic_of_two["10690002"]
    for api in _scoped(account):
        items = json.loads(api("GET", "messages").content)["items"]
        assert [item["id"] for item in items] == [mine]
        assert api("GET", f"messages/{mine}").status_code == 200
        for call in (call for call in calls() if call.path.startswith("messages/{id}")):
            body = call.body()
            answer = api(call.method, call.filled(id=theirs), body)
            assert answer.status_code in (403, 404), f"{call.name}: {answer.status_code}"
            assert "他们的消息" not in answer.content.decode()
        assert api("GET", "campaigns/000000000000000b").status_code == 404
        assert api("GET", "campaigns/000000000000000a").status_code == 200
        assert json.loads(api("GET", "overview").content)["messages"] == 1
        listed = json.loads(api("GET", "campaigns").content)["items"]
        assert "000000000000000b" not in [one["id"] for one in listed]


def test_a_subscriber_sees_their_own_messages_only(account: Accounts, data_dir: Path) -> None:
    own = Sms("给您的消息", Verdict.BLOCK, Category.ADVERTISING, 0.9, receiver="+8613900000001")
    other = Sms("给别人的消息", Verdict.BLOCK, Category.ADVERTISING, 0.9, receiver="+8613900000002")
    write(data_dir, [own, other], now=utc_now() - timedelta(minutes=2))
    api = api_of(account("subscriber", number="+8613900000001"))
    items = json.loads(api("GET", "messages").content)["items"]
    assert [item["text"] for item in items] == ["给您的消息"]
    ids = [str(hit.id) for hit in traffic.index().search(Query(), 10, None, EVERYTHING).hits]
    statuses = {id: api("GET", f"messages/{id}").status_code for id in ids}
    assert sorted(statuses.values()) == [200, 404]
    foreign = next(id for id, status in statuses.items() if status == 404)
    assert api("POST", f"messages/{foreign}/appeal", {"words": "please"}).status_code == 404


def test_an_administrator_of_one_unit_changes_nothing_beyond_it(account: Accounts) -> None:
    north, south = _unit("north", "branch", "10690001"), _unit("south", "branch", "10690002")
    api = api_of(account("administrator", north))
    inside, outside = account("reviewer", north), account("reviewer", south)
    whole = account("auditor")
    assert api("GET", f"accounts/{inside.pk}").status_code == 200
    for foreign in (outside, whole):
        assert api("GET", f"accounts/{foreign.pk}").status_code == 404
        assert api("PATCH", f"accounts/{foreign.pk}", {"name": "x"}).status_code == 404
        assert api("POST", f"accounts/{foreign.pk}/invitation").status_code == 404
        assert api("POST", f"accounts/{foreign.pk}/roles", {"role": "reviewer", "unit": "north"}).status_code == 404
        role = foreign.assignments.get()
        assert api("DELETE", f"roles/{role.pk}").status_code == 404
    listed = {one["username"] for one in json.loads(api("GET", "accounts").content)["items"]}
    assert inside.username in listed
    assert not listed & {outside.username, whole.username}
    # A right for everything, or for another unit, is not theirs to give.
    for unit in (None, "south"):
        answer = api("POST", f"accounts/{inside.pk}/roles", {"role": "administrator", "unit": unit})
        assert answer.status_code == 422, unit
    assert api("POST", "accounts", {"username": "neu"}).status_code == 422
    assert api("POST", "accounts", {"username": "neu", "role": "reviewer", "unit": "south"}).status_code == 422
    assert not Account.objects.filter(username="neu").exists()
    assert api("POST", "accounts", {"username": "neu", "role": "reviewer", "unit": "north"}).status_code == 201
    # Teams, units and webhooks reach beyond a unit.
    made = {"code": "t", "name": "T"}
    assert api("POST", "teams", made).status_code == 404
    assert api("POST", "units", {**made, "kind": "branch"}).status_code == 404
    assert api("DELETE", "units/south").status_code == 404
    assert api("GET", "webhooks").status_code == 404


def test_the_record_of_the_whole_operator_is_not_for_an_auditor_of_one_unit(account: Accounts) -> None:
    part = api_of(account("auditor", _unit("north", "branch", "10690001")))
    for path in ("audit", "audit/head", "audit/1"):
        assert part("GET", path).status_code == 404
    for path in ("audit/verify", "audit/evidence", "audit/csv"):
        assert part("POST", path, {}).status_code == 404
    api = api_of(account("auditor"))
    assert json.loads(api("POST", "audit/verify").content)["ok"] is True
    seq = json.loads(api("GET", "audit/head").content)["seq"]
    assert json.loads(api("GET", f"audit/{seq}").content)["kind"] == "audit.verified"


def test_nobody_changes_their_own_rights_with_a_token(account: Accounts) -> None:
    me = account("administrator")
    api = api_of(me)
    for answer in (
        api("POST", f"accounts/{me.pk}/roles", {"role": "auditor"}),
        api("DELETE", f"roles/{me.assignments.get().pk}"),
        api("PATCH", f"accounts/{me.pk}", {"is_active": False, "name": "not kept"}),
        api("DELETE", f"accounts/{me.pk}/second-factors"),
    ):
        assert answer.status_code == 409
        assert json.loads(answer.content)["code"] == "own_rights"
    me.refresh_from_db()
    assert me.name != "not kept"


# -- secrets


def test_secrets_and_addresses_are_shown_once_and_never_again(account: Accounts, data_dir: Path) -> None:
    api = api_of(account("administrator"))
    url = "https://hooks.example.com/t/very-secret-path"
    made = api("POST", "webhooks", {"name": "siem", "url": url, "kinds": ["account."]}, Idempotency_Key="w")
    assert made.status_code == 201
    hook = json.loads(made.content)
    token = api("POST", "tokens", {"name": "t", "scopes": ["see_people"], "expires_at": _tomorrow()})
    shown = json.loads(token.content)
    Delivery.objects.create(webhook=Webhook.objects.get(), entry_seq=1, body="{}", state="failed", last_status="500")
    everybody = [api, api_of(account("auditor")), api_of(account("regulator"))]
    secrets = (hook["secret"], "very-secret-path", shown["secret"], api.secret)
    for call in (call for call in calls() if call.method == "GET"):
        for one in everybody:
            path = call.filled(id=hook["webhook"]["id"]) if call.path.startswith("webhooks") else call.filled()
            text = one("GET", path).content.decode(errors="replace")
            assert not any(secret in text for secret in secrets), call.name
    changed = api("PATCH", f"webhooks/{hook['webhook']['id']}", {"url": url + "2"})
    assert "very-secret-path" not in changed.content.decode()
    delivery = json.loads(api("GET", f"webhooks/{hook['webhook']['id']}/deliveries").content)["items"][0]
    again = json.loads(api("POST", f"deliveries/{delivery['id']}/again").content)
    assert (again["state"], again["attempts"]) == ("due", 0)


def _tomorrow() -> str:
    return (utc_now() + timedelta(days=1)).isoformat()


# -- everything a person can do


# Addresses that change something (by POST) -> the operation that does the same, or why there is none.
_SAME: dict[str, str | tuple[str, ...]] = {
    "account_act": (
        "accounts_assign_role", "accounts_remove_role", "groups_add_member", "groups_remove_member",
        "accounts_change_account", "accounts_sign_out", "accounts_reset_second_factors", "accounts_end_session",
        "accounts_revoke_token_of",
    ),
    "account_edit": "accounts_change_account", "account_invite": "accounts_invite",
    "audit_csv": "audit_audit_csv", "audit_evidence": "audit_audit_evidence", "audit_verify": "audit_verify_entries",
    "data_request_answer": ("data_requests_answer_data_request", "data_requests_refuse_data_request"),
    "freed_end": "traffic_delete_exception", "message_appeal": "traffic_appeal", "message_evidence": "traffic_evidence",
    "gateway": "gateway_live", "gateway_bounce": "gateway_bounce", "gateway_dead": "gateway_dead",
    "gateway_decision": "traffic_decision", "gateway_doubt": "gateway_doubt", "gateway_live": "gateway_live",
    "gateway_mode": "gateway_set_mode", "gateway_order": ("gateway_resend", "gateway_drop"),
    "gateway_portability": ("gateway_get_portability", "gateway_put_portability"), "gateway_row": "gateway_get_row",
    "gateway_row_new": "gateway_put_row", "gateway_row_remove": "gateway_delete_row",
    "gateway_rows": "gateway_list_rows",
    "message_free": "traffic_free", "message_unmask": "traffic_unmask_message", "messages_export": "traffic_export",
    "messages_find": "traffic_search", "model_approve": "model_approve", "model_back": "model_back",
    "model_compare": "model_compare", "model_learn": "model_learn", "model_measure_drift": "model_drift",
    "model_propose": "model_propose", "model_reject": "model_reject", "model_run_cancel": "rulebook_cancel",
    "model_shadow": "model_shadow", "my_account": "accounts_change_me",
    "my_data_ask": "data_requests_ask_about_own_data", "my_data_fetch": "data_requests_fetch_own_data",
    "my_token_revoke": "tokens_revoke_token", "my_tokens": "tokens_create_token",
    "people_new": ("accounts_create_account", "accounts_invite"),
    "people_team": (
        "groups_rename_team", "groups_delete_team", "groups_add_member", "groups_remove_member",
        "groups_assign_team_role", "accounts_remove_role",
    ),
    "people_unit": "groups_change_unit", "unit_new": "groups_create_unit", "unit_delete": "groups_delete_unit",
    "team_new": "groups_create_team",
    "review_campaign": ("review_preview_campaign", "review_decide_campaign"),
    "review_campaign_undo": "review_undo_campaign", "review_decide": "review_decide", "review_gold": "review_make_gold",
    "review_gold_retire": "review_retire_gold", "review_keep": "review_keep", "review_leave": "review_leave",
    "review_reassign": "review_reassign", "review_return": "review_return_lease", "review_settle": "review_settle",
    "review_skip": "review_skip", "review_take": "review_take", "review_undo": "review_undo",
    "rulebook_approve": "rulebook_approve", "rulebook_ask_replay": "rulebook_replay",
    "rulebook_check": "rulebook_check", "rulebook_new": "rulebook_begin", "rulebook_rebase": "rulebook_rebase",
    "rulebook_reject": "rulebook_reject", "rulebook_reopen": "rulebook_reopen",
    "rulebook_replay_cancel": "rulebook_cancel", "rulebook_roll_back": "rulebook_roll_back",
    "rulebook_save": "rulebook_save", "rulebook_submit": "rulebook_submit", "rulebook_try": "rulebook_try_text",
    "rulebook_withdraw": "rulebook_withdraw", "search_delete": "traffic_delete_search",
    "search_save": "traffic_save_search",
    "webhook_new": "webhooks_create_webhook", "webhook_switch": "webhooks_change_webhook",
    "webhook_delete": "webhooks_delete_webhook", "delivery_again": "webhooks_send_again",
    # Read by GET; here for the same list of what is shown.
    "overview": ("overview", "overview_health"), "messages": "traffic_search",
    "message": ("traffic_decision", "traffic_message_history"), "freed": "traffic_list_exceptions",
    "campaigns": "overview_campaigns", "campaign": "overview_campaign", "review": "review_queues",
    "review_lead": ("review_team", "review_disagreements", "review_list_gold", "review_list_campaign_decisions"),
    "rulebook": "rulebook_in_force", "rulebook_in_force": "rulebook_in_force", "rulebook_rules": "rulebook_rules",
    "rulebook_export": "rulebook_rules", "rulebook_rule": "rulebook_rule", "rulebook_history": "rulebook_history",
    "rulebook_differences": "rulebook_differences", "rulebook_version": "rulebook_version",
    "rulebook_replay": ("rulebook_run", "rulebook_replayed_messages"),
    "model": ("model_models", "model_history", "model_shadow_agreement"), "model_in_force": "model_history",
    "model_drift": "model_last_drift", "model_run": "rulebook_run", "model_one": ("model", "model_changes"),
    "people": "accounts_list_accounts", "people_teams": "groups_list_teams", "people_units": "groups_list_units",
    "account": ("accounts_get_account", "accounts_security", "accounts_list_sessions"),
    "audit": "audit_list_entries", "audit_entry": "audit_get_entry", "my_data": "data_requests_my_requests",
    "data_requests": "data_requests_list_data_requests", "data_request": "data_requests_get_data_request",
    "system": ("overview_health", "webhooks_list_webhooks", "webhooks_list_deliveries"),
    "usersessions_list": ("accounts_my_sessions", "accounts_end_my_session"),
}  # fmt: skip
_NONE = {
    "home": "it only leads to the page that fits the role",
    "set_language": "a cookie of the browser; an account's own language is accounts_change_me",
    "set_theme": "a cookie of the browser",
    "health": "open to all already, for load balancers",
    "api_reference": "the same as openapi.json, for people",
    "openapi": "it is part of the API",
    "welcome": "sets the first password in a browser",
    "second_factor": "set up in a browser, where the person is",
    "people_matrix": "a fixed table: docs/reference/rights.md",
    "review_reading": "a fragment; the text and reasons come with review_take",
}
# Pages that have no operation with reason: signing in and what belongs to it is for a person in a browser.
_PREFIXES = ("account_", "mfa_", "socialaccount_", "openid_connect_")


def _pages(resolver: URLResolver | None = None, before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for item in (get_resolver() if resolver is None else resolver).url_patterns:
        route = before + str(item.pattern)
        if isinstance(item, URLResolver):
            found |= _pages(item, route)
        elif not route.startswith("api/v1/"):
            found[str(item.name)] = route
    return found


def test_everything_that_a_page_does_an_operation_does() -> None:
    names = {call.name for call in calls()}
    pages = _pages()
    for page, same in _SAME.items():
        assert page in pages, f"{page} is no page any more"
        for one in (same,) if isinstance(same, str) else same:
            assert one in names, f"{page}: there is no operation {one}"
    known = set(_SAME) | set(_NONE)
    left = {
        name: route
        for name, route in pages.items()
        if name not in known and not (name.startswith(_PREFIXES) and route.startswith("accounts/"))
    }
    assert not left, f"pages without an operation, and without a reason: {left}"


def test_an_operation_says_everything_about_itself() -> None:
    ids: list[str] = []
    for call in calls():
        told: dict[str, Any] = call.operation  # Any: JSON
        ids.append(call.name)
        assert told["summary"]
        assert len(told["tags"]) == 1
        assert told["security"] == [{"token": []}]
        for status in ("400", "401", "403", "404", "409", "422", "429", "503"):
            content = {str(code): answer for code, answer in told["responses"].items()}[status]["content"]
            assert list(content) == ["application/problem+json"], call.name
    assert len(ids) == len(set(ids)) > 100


def test_no_two_shapes_of_the_api_have_one_name() -> None:
    """The document has one place for each name: the second would take the first one's."""
    found: dict[str, set[str]] = {}
    waiting = list(Schema.__subclasses__())
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        if one.__module__.startswith("mingbai."):
            found.setdefault(one.__name__, set()).add(one.__module__)
    assert calls()
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}


def test_the_reference_is_a_page_for_everybody_who_is_signed_in(client_for: Callable[..., Any]) -> None:
    page = client_for("service_provider").get("/api/").content.decode()
    assert page.count("<details id=") == len(calls())
    assert "curl -X POST" in page
    assert NOBODY not in page
