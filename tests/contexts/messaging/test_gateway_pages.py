"""The gateway's pages: what runs, what waits, what can be changed by whom; secrets and numbers are never shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings
from django.test import Client

from mingbai.connectors.gateway_registry import registry_path
from mingbai.connectors.ledger_index import Query
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.messaging.models import GatewayKind
from mingbai.contexts.messaging.queries import gateway as queries
from mingbai.contexts.messaging.queries.traffic import index
from mingbai.contexts.messaging.services.gateway import save_row, set_mode
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Verdict
from tests.connectors.gateway_peer import dead_letter, gateway
from tests.console.test_translations import CHINESE, ENGLISH, Words
from tests.contexts.messaging.review_ledger import Sms, write

pytestmark = pytest.mark.django_db
Clients = Callable[..., Client]
ACCOUNT: dict[str, Any] = {
    "name": "sp-one", "protocol": "cmpp", "login": "900001", "secret": "s3cret-one", "access_codes": ["10690001"],
}  # fmt: skip
SMSC: dict[str, Any] = {"name": "north", "protocol": "smpp", "login": "us", "secret": "pw", "address": "127.0.0.1:2775"}


@pytest.fixture(autouse=True)
def rows(data_dir: Path) -> None:
    registry_path(data_dir).unlink(missing_ok=True)
    now = utc_now()
    save_row("smscs", SMSC, actor="system", now=now)
    save_row("accounts", ACCOUNT, actor="system", now=now)
    save_row("routes", {"name": "all", "to": ["north"]}, actor="system", now=now)


def page(client: Client, path: str, **headers: str) -> str:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200, path
    return str(answer.content.decode())


def flashed(answer: Any) -> str:  # Any: Django's test answer
    return " ".join(str(one) for one in answer.context["messages"])


def test_a_gateway_that_is_down_is_said_to_be(client_for: Clients) -> None:
    client = client_for("auditor")
    for path in ("/gateway/", "/gateway/live/", "/gateway/dead/", "/gateway/doubt/"):
        assert "The gateway is not running" in page(client, path)


def test_connections_show_state_rate_errors_and_masked_packets(client_for: Clients, data_dir: Path) -> None:
    with gateway(data_dir):
        whole = page(client_for("team_lead"), "/gateway/")
        part = page(client_for("auditor"), "/gateway/", **{"HX-Request": "true"})
    for shown in ("connection refused", "41.5", "CMPP 3.0", "logged in", "down: tried again soon", "src_id=10690001*"):
        assert shown in whole
        assert shown in part
    assert "Logins are refused" in whole
    assert "<html" in whole
    assert "<html" not in part
    assert "Connect anew" in whole
    assert "Connect anew" not in part  # an auditor looks


def test_live_traffic_adds_the_workers_up(client_for: Clients, data_dir: Path) -> None:
    with gateway(data_dir, "1"), gateway(data_dir, "2"):
        whole = page(client_for("regulator"), "/gateway/live/")
    assert "83.0" in whole
    assert "2,400" in whole
    assert "17.0" in whole


def test_who_may_change_gets_a_form_and_others_facts(client_for: Clients) -> None:
    form = page(client_for("administrator"), "/gateway/accounts/sp-one/")
    assert 'name="rate_per_s"' in form
    assert 'name="mode"' not in form
    facts = page(client_for("team_lead"), "/gateway/accounts/sp-one/")
    assert 'name="rate_per_s"' not in facts
    assert "900001" in facts
    for html in (form, facts):
        assert "s3cret" not in html
        assert "sealed" not in html
    assert client_for("team_lead").post("/gateway/accounts/sp-one/", {}).status_code == 403


@pytest.mark.parametrize("kind", GatewayKind.values)
def test_every_table_has_its_list_and_its_form(client_for: Clients, kind: str) -> None:
    client = client_for("administrator")
    assert "Add" in page(client, f"/gateway/{kind}/")
    assert 'name="name"' in page(client, f"/gateway/new/{kind}/")


def _filled(html: str) -> dict[str, str]:
    """What a browser would send of a form as it was shown."""
    main = html.split("data-once")[1].split("</form>")[0]
    given = dict(re.findall(r'<input type="(?:text|number)" name="(\w+)" value="([^"]*)"', main))
    given |= {
        name: (re.findall(r'<option value="([^"]*)" selected', options) or [""])[0]
        for name, options in re.findall(r'<select name="(\w+)"(.*?)</select>', main, re.DOTALL)
    }
    given |= {
        name: text.strip()
        for name, text in re.findall(r'<textarea name="(\w+)"[^>]*>(.*?)</textarea>', main, re.DOTALL)
    }
    return given | {name: "on" for name in re.findall(r'<input type="checkbox" name="(\w+)"[^>]*checked', main)}


def test_a_form_sent_as_it_was_shown_changes_nothing(client_for: Clients) -> None:
    client = client_for("administrator")
    for path in ("accounts/sp-one", "smscs/north", "routes/all"):
        answer = client.post(f"/gateway/{path}/", _filled(page(client, f"/gateway/{path}/")))
        assert answer.status_code == 302, answer.content.decode()
    assert not audit.entries(kinds=["gateway.row_changed"]).exists()


def test_a_form_changes_a_row_and_keeps_its_secret(client_for: Clients) -> None:
    client = client_for("administrator")
    given = _filled(page(client, "/gateway/accounts/sp-one/"))
    before = queries.row("accounts", "sp-one")
    client.post("/gateway/accounts/sp-one/", {**given, "rate_per_s": "7", "access_codes": "1069\n1070\n"})
    after = queries.row("accounts", "sp-one")
    assert before is not None
    assert after is not None
    assert (after.document["rate_per_s"], after.document["access_codes"]) == (7, ["1069", "1070"])
    assert after.document["secret"] == before.document["secret"]
    assert audit.entries(kinds=["gateway.row_changed"])[0].actor == client.account.ref  # type: ignore[attr-defined]  # see conftest


def test_an_error_stands_beside_its_field(client_for: Clients) -> None:
    client = client_for("administrator")
    given = _filled(page(client, "/gateway/accounts/sp-one/"))
    for changed, field in (
        ({"addresses": "not-an-address"}, "addresses"),
        ({"window": "0"}, "window"),
        ({"login": "too-long"}, "login"),
        ({"zone": "Mars/Olympus"}, "zone"),
    ):
        answer = client.post("/gateway/accounts/sp-one/", {**given, **changed})
        assert answer.status_code == 422
        assert f'id="id_{field}_error"' in answer.content.decode(), field
    answer = client.post("/gateway/routes/all/", {"order": "1", "to": "nowhere", "active": "on"})
    assert 'id="id_to_error"' in answer.content.decode()


def test_a_new_account_needs_a_secret_and_a_name_of_its_own(client_for: Clients) -> None:
    client = client_for("administrator")
    given = _filled(page(client, "/gateway/new/accounts/")) | {"protocol": "cmpp", "login": "900002"}
    answer = client.post("/gateway/new/accounts/", {**given, "name": "sp-two"})
    assert 'id="id_secret_error"' in answer.content.decode()
    answer = client.post("/gateway/new/accounts/", {**given, "name": "sp-one", "secret": "x9"})
    assert 'id="id_name_error"' in answer.content.decode()
    assert "x9" not in answer.content.decode()
    assert client.post("/gateway/new/accounts/", {**given, "name": "sp-two", "secret": "x9"}).status_code == 302
    assert queries.names("accounts") == ["sp-one", "sp-two"]


def test_what_is_needed_is_not_removed(client_for: Clients) -> None:
    client = client_for("administrator")
    answer = client.post("/gateway/smscs/north/remove/", follow=True)
    assert "routes.all.to" in flashed(answer)
    assert queries.row("smscs", "north") is not None
    client.post("/gateway/routes/all/remove/")
    client.post("/gateway/smscs/north/remove/")
    assert queries.row("smscs", "north") is None


def test_a_bypass_asks_for_the_name_and_stands_on_the_pages(client_for: Clients) -> None:
    client, path = client_for("team_lead"), "/gateway/accounts/sp-one/mode/"
    assert "To confirm the bypass, type sp-one" in page(client, path)
    answer = client.post(path, {"mode": "bypass", "hours": "2"})
    assert answer.status_code == 422
    assert "once more to confirm" in answer.content.decode()
    assert client.post(path, {"mode": "bypass", "hours": "48", "confirmation": "sp-one"}).status_code == 422
    assert client.post(path, {"mode": "bypass", "hours": "2", "confirmation": "sp-one"}).status_code == 302
    for seen in ("", "live/", "dead/", "accounts/", "accounts/sp-one/"):
        assert "sp-one passes unscreened: a bypass is on" in page(client_for("auditor"), f"/gateway/{seen}")
    assert audit.entries(kinds=["gateway.bypass_ordered"]).count() == 1
    assert client.post(path, {"mode": "enforce"}).status_code == 302
    assert client.post("/gateway/routes/all/mode/", {"mode": "observe"}).status_code == 302
    assert client.get("/gateway/smscs/north/mode/").status_code == 404


def test_a_connection_is_made_anew_after_asking(client_for: Clients) -> None:
    client, path = client_for("team_lead"), "/gateway/smscs/north/bounce/"
    assert "Close the connections of north?" in page(client, path)
    assert "<html" not in page(client, path, **{"HX-Request": "true"})
    assert client.post(path, headers={"HX-Request": "true"}).headers["HX-Redirect"] == "/gateway/"
    assert audit.entries(kinds=["gateway.bounce_ordered"])[0].data == {"kind": "smsc", "name": "north"}


def test_dead_letters_are_masked_and_sent_again_after_a_confirmation(client_for: Clients, data_dir: Path) -> None:
    client = client_for("team_lead")
    with gateway(data_dir, dead=[dead_letter(1), dead_letter(2)], doubt=[dead_letter(3)]):
        html = page(client, "/gateway/dead/")
        assert "In doubt" in page(client_for("auditor"), "/gateway/doubt/")
        assert 'name="act"' not in page(client_for("auditor"), "/gateway/dead/")
    assert "13800001234" not in html
    assert "138******34" in html
    assert "/gateway/decision/gateway-1/17/" in html
    asked = client.post("/gateway/order/", {"act": "resend", "which": "dead", "id": ["1", "2"]})
    assert "Send 2 messages again?" in asked.content.decode()
    assert not audit.entries(kinds=["gateway.resend_ordered"]).exists()
    answer = client.post("/gateway/order/", {"act": "resend", "id": ["1", "2"], "confirmed": "1"}, follow=True)
    assert "Ordered for 2 messages." in flashed(answer)
    client.post("/gateway/order/", {"act": "drop", "which": "doubt", "id": ["3"], "confirmed": "1"})
    assert audit.entries(kinds=["gateway.drop_ordered"])[0].data["ids"] == ["3"]
    assert "Choose messages first" in flashed(client.post("/gateway/order/", {"act": "resend"}, follow=True))


def test_a_message_leads_to_its_decision(client_for: Clients, data_dir: Path) -> None:
    write(data_dir, [Sms("代开发票", Verdict.HOLD)], now=utc_now() - timedelta(minutes=1), stream="gateway-1")
    (hit,) = index().search(Query()).hits
    answer = client_for("team_lead").get(f"/gateway/decision/gateway-1/{hit.seq}/")
    assert answer.headers["Location"] == f"/messages/{hit.id}/"
    assert client_for("team_lead").get("/gateway/decision/gateway-1/99/").status_code == 404


@pytest.mark.parametrize("role", ["reviewer", "rule_author", "branch_manager", "service_provider", "subscriber"])
def test_others_see_nothing_of_it(client_for: Clients, role: str) -> None:
    client = client_for(role)
    for path in ("/gateway/", "/gateway/live/", "/gateway/accounts/", "/gateway/dead/"):
        assert client.get(path).status_code == 403
    assert 'href="/gateway/"' not in client.get("/", follow=True).content.decode()


@pytest.mark.parametrize("language", ["zh-hans", "en"])
def test_every_page_speaks_one_language(client_for: Clients, data_dir: Path, language: str) -> None:
    client = client_for("administrator")
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = language
    save_row("classes", {"name": "c-1"}, actor="system", now=utc_now())
    save_row("ranges", {"name": "r-1", "network": "n-1", "prefixes": ["138"]}, actor="system", now=utc_now())
    until = utc_now() + timedelta(hours=1)
    set_mode("sp-one", "bypass", actor="system", now=utc_now(), until=until, confirmation="sp-one")
    foreign = ENGLISH if language == "zh-hans" else CHINESE
    wrong: dict[str, str] = {}
    for is_running in (True, False):
        with gateway(data_dir, dead=[dead_letter(1)], doubt=[dead_letter(2)]) if is_running else nullcontext():
            addresses = ["", "live/", "dead/", "doubt/", "smscs/north/bounce/", "accounts/sp-one/mode/"]
            addresses += ["routes/all/mode/", "accounts/sp-one/", "smscs/north/", "routes/all/", "classes/c-1/"]
            addresses += [f"{start}{kind}/" for kind in GatewayKind.values for start in ("", "new/")]
            for address in addresses:
                said = Words(page(client, f"/gateway/{address}")).said
                wrong |= {text: address for text in said if foreign.search(text)}
    assert not {text for text in wrong if text not in ("简体中文", "English", "【疑似营销信息】")}


def test_an_account_is_pinned_to_a_certificate_as_tools_give_it(client_for: Clients) -> None:
    client = client_for("administrator")
    given = _filled(page(client, "/gateway/accounts/sp-one/"))
    pem, sha256 = _certificate()
    colons = ":".join(sha256[at : at + 2] for at in range(0, 64, 2)).upper()
    for said in (pem, colons, sha256):
        assert client.post("/gateway/accounts/sp-one/", {**given, "certificate": said}).status_code == 302
        row = queries.row("accounts", "sp-one")
        assert row is not None
        assert row.document["certificate"] == sha256
    broken = client.post("/gateway/accounts/sp-one/", {**given, "certificate": "-----BEGIN CERTIFICATE-----"})
    assert broken.status_code == 422


def _certificate() -> tuple[str, str]:
    """One of our own making (PEM), and its SHA-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sp-one")])
    now = utc_now()
    unsigned = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    unsigned = unsigned.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    found = unsigned.sign(key, hashes.SHA256())
    return found.public_bytes(serialization.Encoding.PEM).decode(), found.fingerprint(hashes.SHA256()).hex()


def test_all_dead_letters_are_sent_again_in_one_go(client_for: Clients, data_dir: Path) -> None:
    client = client_for("team_lead")
    letters = [dead_letter(id) for id in range(1, 601)]
    with gateway(data_dir, dead=letters):
        assert "All 600, also of other pages" in page(client, "/gateway/dead/")
        asked = client.post("/gateway/order/", {"act": "resend", "which": "dead", "all": "1"})
        assert "Send 600 messages again?" in asked.content.decode()
        client.post("/gateway/order/", {"act": "resend", "which": "dead", "all": "1", "confirmed": "1"})
    ordered = [entry.data["count"] for entry in audit.entries(kinds=["gateway.resend_ordered"])]
    assert sorted(ordered) == [100, 500]
