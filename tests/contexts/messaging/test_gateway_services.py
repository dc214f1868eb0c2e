"""The gateway's rows, modes and orders: one transaction each, the registry in force, no secret anywhere in clear."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from mingbai.connectors.gateway_commands import CommandFollower
from mingbai.connectors.gateway_registry import Mode, read_published, registry_path, unseal
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.messaging.models import GatewayRow
from mingbai.contexts.messaging.queries.traffic import keys
from mingbai.contexts.messaging.services import gateway
from mingbai.contexts.messaging.services.gateway import (
    NoSuchRow,
    bounce,
    drop,
    publish_present,
    remove_row,
    resend,
    save_row,
    set_mode,
    set_portability,
)
from mingbai.contexts.messaging.services.gateway_orders import carry_orders
from mingbai.kernel.errors import BadValue

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
BY = "account:li"
ACCOUNT: dict[str, Any] = {
    "name": "sp-one", "protocol": "cmpp", "login": "900001", "secret": "s3cret-one", "access_codes": ["10690001"],
}  # fmt: skip
SMSC: dict[str, Any] = {"name": "north", "protocol": "smpp", "login": "us", "secret": "pw", "address": "127.0.0.1:2775"}
Committed = Callable[..., Any]


@pytest.fixture(autouse=True)
def empty(data_dir: Path) -> None:
    registry_path(data_dir).unlink(missing_ok=True)
    for path in (data_dir / "gateway").glob("commands.jsonl*"):
        path.unlink()


def save(kind: str, document: dict[str, Any], **asked: Any) -> GatewayRow:
    return save_row(kind, document, actor=BY, now=NOW, **asked)


def kinds() -> list[str]:
    return [entry.kind for entry in audit.entries(kinds=["gateway."]).order_by("seq")]


def test_a_row_is_in_force_when_its_transaction_commits(
    data_dir: Path, django_capture_on_commit_callbacks: Committed
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        save("accounts", ACCOUNT)
        assert read_published(data_dir) is None
    published = read_published(data_dir)
    assert published is not None
    account = published.registry.account_of["sp-one"]
    assert unseal(keys(), account.secret) == b"s3cret-one"
    assert (published.version, published.by, published.at) == (1, BY, NOW)


def test_what_a_crash_left_unpublished_is_published_by_the_worker(data_dir: Path) -> None:
    save("accounts", ACCOUNT)  # the test's transaction never commits: as if the process had died
    assert read_published(data_dir) is None
    assert publish_present()
    assert not publish_present()
    published = read_published(data_dir)
    assert published is not None
    assert published.version == 1
    registry_path(data_dir).unlink()
    assert publish_present()


def test_before_anything_was_set_nothing_is_published(data_dir: Path) -> None:
    assert not publish_present()
    assert read_published(data_dir) is None


def test_a_secret_stands_nowhere_in_clear(data_dir: Path) -> None:
    save("accounts", ACCOUNT)
    save("accounts", {**ACCOUNT, "secret": "another-secret"})
    publish_present()
    told = json.dumps([[entry.data, entry.subject] for entry in audit.entries()])
    stored = json.dumps(list(GatewayRow.objects.values_list("document", flat=True)))
    for place in (told, stored, registry_path(data_dir).read_text()):
        assert "s3cret-one" not in place
        assert "another-secret" not in place
    assert audit.entries(kinds=["gateway.row_changed"])[0].data == {"fields": ["secret"]}
    assert "sealed:" not in told


def test_a_secret_that_is_left_out_stays() -> None:
    row = save("accounts", ACCOUNT)
    left_out = {name: value for name, value in ACCOUNT.items() if name != "secret"}
    again = save("accounts", {**left_out, "window": 8})
    assert again.document["secret"] == row.document["secret"]
    assert again.document["window"] == 8


def test_saving_the_same_again_changes_nothing() -> None:
    save("accounts", ACCOUNT)
    save("accounts", ACCOUNT)
    assert kinds() == ["gateway.row_added"]


def test_a_row_that_breaks_the_whole_is_refused() -> None:
    save("accounts", ACCOUNT)
    for kind, document, field in (
        ("accounts", {**ACCOUNT, "name": "sp-two"}, "accounts.sp-two.login"),
        ("routes", {"name": "all", "to": ["nowhere"]}, "routes.all.to"),
        ("accounts", {**ACCOUNT, "name": "sp-three", "login": "900003", "secret": ""}, "secret"),
        ("accounts", {**ACCOUNT, "rate_per_s": -1}, "rate_per_s"),
        ("accounts", {**ACCOUNT, "colour": "red"}, "colour"),
        ("roads", {"name": "a"}, "kind"),
    ):
        with pytest.raises(BadValue) as refused, transaction.atomic():
            save(kind, document)
        assert refused.value.data["field"] == field
    assert kinds() == ["gateway.row_added"]


def test_what_others_need_is_not_removed() -> None:
    save("smscs", SMSC)
    save("routes", {"name": "all", "to": ["north"]})
    with pytest.raises(BadValue, match=r"routes\.all\.to"), transaction.atomic():
        remove_row("smscs", "north", actor=BY, now=NOW)
    remove_row("routes", "all", actor=BY, now=NOW)
    remove_row("smscs", "north", actor=BY, now=NOW)
    assert not GatewayRow.objects.exists()
    with pytest.raises(NoSuchRow):
        remove_row("smscs", "north", actor=BY, now=NOW)


def test_the_key_of_a_certificate_goes_with_it() -> None:
    save("smscs", {**SMSC, "client_certificate": "PEM", "client_key": "KEY"})
    assert save("smscs", {**SMSC, "client_certificate": "PEM"}).document["client_key"]
    assert not save("smscs", SMSC).document["client_key"]


def test_a_bypass_needs_its_name_and_an_end_within_a_day() -> None:
    save("accounts", ACCOUNT)
    until = NOW + timedelta(hours=2)
    for asked, field in (
        ({"until": until}, "confirmation"),
        ({"until": until, "confirmation": "sp-two"}, "confirmation"),
        ({"confirmation": "sp-one"}, "until"),
        ({"confirmation": "sp-one", "until": NOW}, "until"),
        ({"confirmation": "sp-one", "until": NOW + timedelta(hours=25)}, "until"),
    ):
        with pytest.raises(BadValue) as refused:
            set_mode("sp-one", "bypass", actor=BY, now=NOW, **asked)
        assert refused.value.data["field"] == field
    row = set_mode("sp-one", "bypass", actor=BY, now=NOW, until=until, confirmation="sp-one")
    assert gateway.present_registry().account_of["sp-one"].mode_at(NOW) is Mode.BYPASS
    entry = audit.entries(kinds=["gateway.bypass_ordered"])[0]
    assert entry.subject == row.ref
    assert entry.data == {"before": "enforce", "after": "bypass", "until": "2026-11-25T10:00:00.000000Z"}


def test_a_bypass_is_not_ordered_by_saving_a_row_and_outlives_one() -> None:
    until = (NOW + timedelta(hours=2)).isoformat()
    save("accounts", ACCOUNT)
    with pytest.raises(BadValue, match="mode"), transaction.atomic():
        save("accounts", {**ACCOUNT, "mode": "bypass", "bypass_until": until})
    set_mode("sp-one", "bypass", actor=BY, now=NOW, until=NOW + timedelta(hours=2), confirmation="sp-one")
    assert save("accounts", {**ACCOUNT, "window": 9}).document["mode"] == "bypass"
    assert set_mode("sp-one", "enforce", actor=BY, now=NOW).document["bypass_until"] is None
    assert kinds()[-1] == "gateway.mode_changed"


def test_a_route_has_a_mode_too() -> None:
    save("smscs", SMSC)
    save("routes", {"name": "all", "to": ["north"]})
    assert set_mode("all", "observe", kind="routes", actor=BY, now=NOW).document["mode"] == "observe"
    assert set_mode("all", "", kind="routes", actor=BY, now=NOW).document["mode"] is None


def test_orders_are_entries_and_reach_the_gateway_once(data_dir: Path) -> None:
    save("smscs", SMSC)
    bounce("smscs", "north", actor=BY, now=NOW)
    assert resend(["17", "18", "17"], actor=BY, now=NOW) == 2
    assert drop(["19"], actor=BY, now=NOW) == 1
    assert carry_orders(now=NOW) == 3
    assert carry_orders(now=NOW) == 0
    found = [(one["op"], one["by"]) for one in CommandFollower(data_dir, None).poll()]
    assert found == [("bounce", BY), ("resend", BY), ("drop", BY)]
    assert CommandFollower(data_dir, None).poll()[1]["ids"] == ["17", "18"]


def test_an_order_that_was_written_before_a_crash_is_not_written_again(data_dir: Path) -> None:
    resend(["17"], actor=BY, now=NOW)
    point = transaction.savepoint()
    assert carry_orders(now=NOW) == 1
    transaction.savepoint_rollback(point)  # the process died between the file and its own commit
    assert carry_orders(now=NOW) == 1
    assert len(CommandFollower(data_dir, None).poll()) == 1


@pytest.mark.parametrize("ids", [[], ["x"], ["1" * 21], [str(one) for one in range(501)]])
def test_an_order_names_some_messages(ids: list[str]) -> None:
    with pytest.raises(BadValue, match="ids"):
        resend(ids, actor=BY, now=NOW)


def test_the_file_of_ported_numbers_has_an_absolute_path() -> None:
    with pytest.raises(BadValue, match="portability"):
        set_portability("ported.csv", actor=BY, now=NOW)
    set_portability("/var/lib/ported.csv", actor=BY, now=NOW)
    assert gateway.present_registry().portability == "/var/lib/ported.csv"
