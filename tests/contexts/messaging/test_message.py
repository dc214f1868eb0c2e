"""One decision: what is shown to whom, unmasking, appeal, evidence; also without a screener or the text."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.test import Client

from mingbai.connectors.ledger_evidence import check_evidence
from mingbai.connectors.ledger_index import Hit, Query
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.people.services import units
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Category, Reason, Verdict
from mingbai.ledger import FileKeys, KeyStore, Ledger, Retention
from tests.contexts.messaging.review_ledger import Sms, batch_of, write

pytestmark = pytest.mark.django_db

SENDER = "+8613812345678"
TEXT = "中奖<img src=x onerror=alert(1)>请加 13987654321"


@pytest.fixture
def stopped(data_dir: Path) -> Hit:
    rows = [
        Sms(TEXT, Verdict.BLOCK, Category.FRAUD, 0.97, (Reason.MODEL_SPAM, Reason.EVASION), 0xABC, sender=SENDER),
        Sms("中奖请加 13900000000", Verdict.BLOCK, Category.FRAUD, 0.9, campaign=0xABC, sender=SENDER),
        Sms("明天开会", Verdict.ALLOW, Category.PERSONAL, 0.01),
    ]
    write(data_dir, rows, now=utc_now() - timedelta(minutes=1))
    return next(hit for hit in traffic.index().search(Query()).hits if hit.score > 0.95)


def test_a_decision_says_what_why_and_where_it_stands(stopped: Hit, client_for: Callable[..., Client]) -> None:
    page = client_for("reviewer").get(f"/messages/{stopped.id}/").content.decode()
    assert "The model&#x27;s score passed the blocking threshold" in page
    assert "It is written to get past a filter" in page
    assert "kw-1" in page
    assert '<mark class="marked' in page
    assert "In the same campaign" in page
    assert "mingbai ledger verify --stream api" in page


def test_it_is_shown_without_a_screener_and_says_so(stopped: Hit, client_for: Callable[..., Client]) -> None:
    page = client_for("reviewer").get(f"/messages/{stopped.id}/").content.decode()
    assert "The screener does not answer" in page


def test_markup_in_the_text_is_inert(stopped: Hit, client_for: Callable[..., Client]) -> None:
    page = client_for("reviewer").get(f"/messages/{stopped.id}/").content.decode()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_numbers_are_masked_until_a_reason_is_given_and_again_afterwards(
    stopped: Hit, client_for: Callable[..., Client]
) -> None:
    client = client_for("reviewer")
    address = f"/messages/{stopped.id}/"
    assert SENDER not in client.get(address).content.decode()
    refused = client.post(f"{address}unmask/", {"reason": "why"})
    assert refused.status_code == 422
    assert SENDER not in refused.content.decode()
    assert not audit.entries(kinds=["message.unmasked"]).exists()
    answer = client.post(f"{address}unmask/", {"reason": "complaint 4711"})
    assert (answer.status_code, answer.headers["Location"]) == (302, address)
    assert SENDER not in answer.content.decode()
    assert SENDER in client.get(address).content.decode()  # this once: what is loaded again is masked, and no new look
    (entry,) = audit.entries(subject=f"message:{stopped.id}")
    assert (entry.kind, entry.actor) == ("message.unmasked", client.account.ref)  # type: ignore[attr-defined]  # of the fixture
    assert entry.data == {"fields": ["sender", "receiver", "text"], "reason": "complaint 4711"}
    page = client.get(address).content.decode()
    assert SENDER not in page
    assert "complaint 4711" in page  # in the history of the message


def test_the_auditor_reads_the_text_only_after_a_reason(stopped: Hit, client_for: Callable[..., Client]) -> None:
    client = client_for("auditor")
    assert "13987654321" not in client.get(f"/messages/{stopped.id}/").content.decode()
    answer = client.post(f"/messages/{stopped.id}/unmask/", {"reason": "yearly inspection"}, follow=True)
    assert "13987654321" in answer.content.decode()


def test_a_reason_shows_one_message_within_a_minute_and_to_nobody_who_lost_the_right(
    stopped: Hit, data_dir: Path, client_for: Callable[..., Client]
) -> None:
    write(data_dir, [Sms("另一条", Verdict.BLOCK, sender=SENDER)], now=utc_now())
    other = next(hit for hit in traffic.index().search(Query()).hits if hit.id != stopped.id)
    client = client_for("reviewer")
    client.post(f"/messages/{stopped.id}/unmask/", {"reason": "complaint 4711"})
    assert SENDER not in client.get(f"/messages/{other.id}/").content.decode()
    session = client.session
    session["unmask_once"] = session["unmask_once"] | {"until": (utc_now() - timedelta(seconds=1)).isoformat()}
    session.save()
    assert SENDER not in client.get(f"/messages/{stopped.id}/").content.decode()
    assert "unmask_once" not in client.session


@pytest.mark.parametrize("role", ["rule_author", "administrator"])
def test_who_may_not_unmask_is_refused(stopped: Hit, client_for: Callable[..., Client], role: str) -> None:
    assert client_for(role).post(f"/messages/{stopped.id}/unmask/", {"reason": "out of interest"}).status_code == 403


def test_what_lies_outside_the_scope_does_not_exist(stopped: Hit, client_for: Callable[..., Client]) -> None:
    unit = units.create_unit(
        "north", kind="branch", name="North", access_codes=["10699"], actor="system", now=utc_now()
    )
    client = client_for("branch_manager", unit)
    for path in ("", "unmask/", "appeal/"):
        assert client.get(f"/messages/{stopped.id}/{path}").status_code == 404
    assert client.post(f"/messages/{stopped.id}/unmask/", {"reason": "just looking"}).status_code == 404
    assert client_for("reviewer").get(f"/messages/{uuid4()}/").status_code == 404
    assert not audit.entries(kinds=["message.unmasked"]).exists()


def test_a_text_whose_time_is_over_leaves_verdict_reasons_and_proof(
    data_dir: Path, client_for: Callable[..., Client]
) -> None:
    keys = KeyStore.open_or_create(FileKeys(data_dir / "keys.json"))
    then = utc_now() - timedelta(days=30)
    with Ledger.open(data_dir, stream="api", keys=keys, now=then, retention=Retention(7, 7, 7)) as ledger:
        ledger.record(batch_of([Sms(TEXT, Verdict.BLOCK)]), now=then)
    with Ledger.open(data_dir, stream="api", keys=keys, now=utc_now(), retention=Retention(7, 7, 7)) as ledger:
        ledger.expire(now=utc_now())
    (hit,) = traffic.index().search(Query(verdicts=(Verdict.BLOCK,))).hits
    page = client_for("team_lead").get(f"/messages/{hit.id}/").content.decode()
    assert "No longer kept" in page
    assert "A rule&#x27;s keyword is in it" in page
    assert "中奖" not in page
    dialog = client_for("team_lead").get(f"/messages/{hit.id}/free/").content.decode()
    assert "cannot be recognised again" in dialog


def test_a_subscriber_appeals_and_the_appeal_is_queued_once(stopped: Hit, client_for: Callable[..., Client]) -> None:
    client = client_for("subscriber", number="+8613800000001")
    page = client.get(f"/messages/{stopped.id}/").content.decode()
    assert "Appeal" in page
    assert "Proof" not in page
    assert client.post(f"/messages/{stopped.id}/appeal/", {"words": "no"}).status_code == 422
    answer = client.post(f"/messages/{stopped.id}/appeal/", {"words": "这是我朋友发的"})
    assert answer.status_code == 302
    assert client.post(f"/messages/{stopped.id}/appeal/", {"words": "这是我朋友发的"}).status_code == 422
    assert [entry.kind for entry in audit.entries(subject=f"message:{stopped.id}")] == ["appeal.opened"]


def test_what_was_let_pass_cannot_be_appealed(stopped: Hit, client_for: Callable[..., Client]) -> None:
    (hit,) = traffic.index().search(Query(verdicts=(Verdict.ALLOW,))).hits
    client = client_for("subscriber", number="+8613800000001")
    assert client.post(f"/messages/{hit.id}/appeal/", {"words": "let me complain"}).status_code == 422


def test_evidence_is_checked_without_this_system_and_is_an_entry(
    stopped: Hit, client_for: Callable[..., Client]
) -> None:
    client = client_for("regulator")
    response = client.post(f"/messages/{stopped.id}/evidence/")
    file = io.BytesIO(b"".join(response.streaming_content))  # type: ignore[attr-defined]  # a FileResponse
    proved = check_evidence(file, traffic.keys().public_key)
    assert (proved.id, proved.stream, proved.seq) == (stopped.id, stopped.stream, stopped.seq)
    assert proved.entry["verdict"] == Verdict.BLOCK
    with zipfile.ZipFile(file) as archive:
        assert not any(SENDER.encode() in archive.read(name) for name in archive.namelist())
    assert audit.entries(kinds=["evidence.exported"]).count() == 1
    assert client_for("reviewer").post(f"/messages/{stopped.id}/evidence/").status_code == 403


def test_the_dialog_is_a_page_of_its_own_without_script(stopped: Hit, client_for: Callable[..., Client]) -> None:
    client = client_for("reviewer")
    page = client.get(f"/messages/{stopped.id}/unmask/").content.decode()
    assert "<html" in page
    fragment = client.get(f"/messages/{stopped.id}/unmask/", headers={"hx-request": "true"}).content.decode()
    assert "<html" not in fragment
    assert "<dialog" in fragment
