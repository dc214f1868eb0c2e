"""The gateway by the API: rows without their secrets, modes with a confirmation, lists masked, orders once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mingbai.connectors.gateway_registry import registry_path
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.people.models import Account
from mingbai.kernel.clock import utc_now
from tests.connectors.gateway_peer import dead_letter, gateway
from tests.console.api_calls import Api, api_of

pytestmark = pytest.mark.django_db
Accounts = Callable[..., Account]
ACCOUNT = {"protocol": "cmpp", "login": "900001", "secret": "s3cret-one", "access_codes": ["10690001"]}


@pytest.fixture
def api(account: Accounts, data_dir: Path) -> Api:
    registry_path(data_dir).unlink(missing_ok=True)
    return api_of(account("administrator"))


def read(answer: Any, status: int = 200) -> Any:  # Any: Django's test answer, JSON
    assert answer.status_code == status, answer.content
    return json.loads(answer.content) if answer.content else None


def test_a_row_comes_back_without_its_secret(api: Api) -> None:
    made = read(api("PUT", "gateway/accounts/sp-one", {"document": ACCOUNT}))
    assert made["document"]["has_secret"]
    again = read(api("PUT", "gateway/accounts/sp-one", {"document": {**made["document"], "window": 8}}))
    assert again["document"]["window"] == 8
    for path in ("gateway/accounts", "gateway/accounts/sp-one"):
        body = api("GET", path).content.decode()
        assert "s3cret" not in body
        assert "sealed" not in body
    assert read(api("DELETE", "gateway/accounts/sp-one"), 204) is None
    assert api("GET", "gateway/accounts/sp-one").status_code == 404


def test_a_field_that_is_wrong_is_named(api: Api) -> None:
    answer = api("PUT", "gateway/accounts/sp-one", {"document": {**ACCOUNT, "window": 0}})
    assert read(answer, 422)["errors"][0]["field"] == "window"
    answer = api("PUT", "gateway/accounts/sp-one", {"document": {**ACCOUNT, "name": "other"}})
    assert read(answer, 422)["errors"][0]["field"] == "name"
    answer = api("PUT", "gateway/routes/all", {"document": {"to": ["nowhere"]}})
    assert read(answer, 422)["errors"][0]["field"] == "routes.all.to"
    assert api("PUT", "gateway/roads/all", {"document": {}}).status_code == 404


def test_lists_go_on_with_a_cursor(api: Api) -> None:
    for number in range(5):
        document = {**ACCOUNT, "login": f"90000{number}"}
        read(api("PUT", f"gateway/accounts/sp-{number}", {"document": document}))
    first = read(api("GET", "gateway/accounts?limit=3"))
    rest = read(api("GET", f"gateway/accounts?limit=3&cursor={first['next']}"))
    assert [one["name"] for one in (*first["items"], *rest["items"])] == [f"sp-{number}" for number in range(5)]
    assert rest["next"] is None


def test_a_bypass_needs_its_confirmation(api: Api) -> None:
    read(api("PUT", "gateway/accounts/sp-one", {"document": ACCOUNT}))
    until = (utc_now() + timedelta(hours=1)).isoformat()
    path = "gateway/accounts/sp-one/mode"
    assert read(api("POST", path, {"mode": "bypass", "until": until}), 422)["errors"][0]["field"] == "confirmation"
    found = read(api("POST", path, {"mode": "bypass", "until": until, "confirmation": "sp-one"}))
    assert found["document"]["mode"] == "bypass"
    assert read(api("POST", path, {"mode": "observe"}))["document"]["bypass_until"] is None
    assert api("POST", "gateway/accounts/nobody/mode", {"mode": "observe"}).status_code == 404


def test_live_figures_come_from_the_workers(api: Api, data_dir: Path) -> None:
    assert not read(api("GET", "gateway/live"))["is_running"]
    with gateway(data_dir, "1"), gateway(data_dir, "2"):
        found = read(api("GET", "gateway/live"))
    assert found["is_running"]
    assert found["totals"]["accepted"] == 2400
    assert found["totals"]["latency_ms"] == {"p50": 3.5, "p99": 17.0}
    assert [(one["name"], one["accepted"]) for one in found["accounts"]] == [("sp-one", 2400)]
    assert len(found["connections"]) == 4


def test_dead_letters_come_masked_and_page_by_page(api: Api, data_dir: Path) -> None:
    with gateway(data_dir, dead=[dead_letter(id) for id in range(1, 6)]):
        first = read(api("GET", "gateway/dead?limit=3"))
        rest = read(api("GET", f"gateway/dead?limit=3&cursor={first['next']}"))
        assert [one["id"] for one in (*first["items"], *rest["items"])] == ["1", "2", "3", "4", "5"]
        assert first["total"] == 5
        assert first["items"][0]["destination"] == "138******34"
        assert first["items"][0]["seq"] == 17
    assert not read(api("GET", "gateway/doubt"))["is_running"]


def test_an_order_is_an_entry_and_a_repeated_request_none(api: Api) -> None:
    for _ in range(2):
        assert read(api("POST", "gateway/resend", {"ids": ["17"]}, Idempotency_Key="one"), 202) == {"ordered": 1}
    assert audit.entries(kinds=["gateway.resend_ordered"]).count() == 1
    assert read(api("POST", "gateway/drop", {"ids": ["18", "19"]}), 202) == {"ordered": 2}
    assert api("POST", "gateway/bounce", {"kind": "smscs", "name": "nobody"}).status_code == 404
    read(api("PUT", "gateway/accounts/sp-one", {"document": ACCOUNT}))
    assert read(api("POST", "gateway/bounce", {"kind": "accounts", "name": "sp-one"}), 202) == {"ordered": 1}


def test_a_team_lead_operates_and_changes_nothing(account: Accounts, data_dir: Path) -> None:
    lead, auditor = api_of(account("team_lead")), api_of(account("auditor"))
    assert lead("POST", "gateway/resend", {"ids": ["17"]}).status_code == 202
    assert lead("PUT", "gateway/accounts/sp-one", {"document": ACCOUNT}).status_code == 403
    assert auditor("GET", "gateway/live").status_code == 200
    assert auditor("POST", "gateway/resend", {"ids": ["17"]}).status_code == 403


def test_the_file_of_ported_numbers_is_set(api: Api) -> None:
    assert read(api("PUT", "gateway/portability", {"file": "/var/lib/ported.csv"})) == {"file": "/var/lib/ported.csv"}
    assert read(api("GET", "gateway/portability")) == {"file": "/var/lib/ported.csv"}
    assert read(api("PUT", "gateway/portability", {"file": "ported.csv"}), 422)["errors"][0]["field"] == "portability"
