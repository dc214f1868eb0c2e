"""IMSI, MSC, cell and device on the gateway's pages: tags in the account's form, and what did not come."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from django.test import Client

from mingbai.cli.example import text
from mingbai.connectors.gateway_registry import registry_path
from mingbai.console.configuration import apply, export, plan, read_file
from mingbai.contexts.messaging.queries import gateway as queries
from mingbai.contexts.messaging.services.gateway import save_row
from mingbai.kernel.clock import utc_now
from tests.connectors.gateway_peer import LIVE, gateway
from tests.contexts.messaging.test_gateway_pages import Clients, _filled, page

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(data_dir: Path, client_for: Clients) -> Client:
    registry_path(data_dir).unlink(missing_ok=True)
    row = {"name": "sp-one", "protocol": "smpp", "login": "smsc", "secret": "pw", "party": "network"}
    save_row("accounts", row, actor="system", now=utc_now())
    return client_for("administrator")


def test_tags_are_set_in_the_accounts_form_in_either_radix(client: Client) -> None:
    path = "/gateway/accounts/sp-one/"
    given = _filled(page(client, path))
    assert client.post(path, {**given, "fields": "imsi=0x1501\ncell = 5379"}).status_code == 302
    after = queries.row("accounts", "sp-one")
    assert after is not None and after.document["fields"] == {"imsi": 0x1501, "cell": 0x1503}
    for wrong, said in (
        ("imei=0x1501", "a field that there is: imsi, msc, cell, device"),
        ("imsi=0x10000", "a TLV tag, 0x0000 to 0xFFFF"),
        ("imsi=1\nmsc=1", "a TLV tag that no other field has"),
    ):
        answer = client.post(path, {**given, "fields": wrong})
        assert answer.status_code == 422 and said in answer.content.decode(), wrong
    answer = client.post(path, {**given, "fields": "imsi=1", "party": "provider"})
    assert answer.status_code == 422 and "none, unless the messages are subscribers" in answer.content.decode()


def test_what_did_not_come_is_added_up_over_the_workers(client: Client, data_dir: Path) -> None:
    live = copy.deepcopy(LIVE)
    live["accounts"][0]["fields_absent"] = {"imsi": 620, "cell": 0}
    with gateway(data_dir, "1", live), gateway(data_dir, "2", live):
        shown = page(client, "/gateway/")
        (account,) = queries.live().accounts
    assert account["fields_absent"] == {"imsi": 1240, "cell": 0}
    assert "Messages without the field: imsi 1,240<" in shown


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_examples_account_of_persons_works_once_its_marks_of_comment_are_gone(
    language: str, data_dir: Path, tmp_path: Path
) -> None:
    registry_path(data_dir).unlink(missing_ok=True)
    example = text("gateway.toml", language)
    begin = example.index("# [[gateway.account]]\n")
    path = tmp_path / "gateway.toml"
    path.write_text(example[begin : example.index("\n\n", begin)].replace("# ", ""), encoding="utf-8")
    apply(plan(read_file(path), actor="apply:root", now=utc_now()), actor="apply:root", now=utc_now())
    row = queries.row("accounts", "smsc-persons")
    assert row is not None
    assert row.document["fields"] == {"imsi": 0x1501, "msc": 0x1502, "cell": 0x1503, "device": 0x1504}
    path.write_text(export(now=utc_now()), encoding="utf-8")
    again = plan(read_file(path), actor="apply:root", now=utc_now())
    assert not [step for step in again if step.name == "smsc-persons"]
