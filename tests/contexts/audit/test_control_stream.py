"""The control stream: whatever is changed behind its back is found, and it is tied to the ledger and to signatures."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from mingbai.connectors.ledger_access import open_keys, open_ledger
from mingbai.connectors.ledger_heads import LedgerHeads
from mingbai.contexts.audit import queries, services
from mingbai.contexts.audit.evidence import check_evidence, signed_evidence, to_csv
from mingbai.contexts.audit.jobs import anchor_heads
from mingbai.contexts.audit.models import Entry, Head
from mingbai.contexts.audit.policy import GENESIS, entry_hash, spreadsheet_cell
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from tests.ledger.conftest import make_traffic

pytestmark = pytest.mark.django_db


@pytest.fixture
def some() -> list[Entry]:
    return [
        services.append("thing.done", actor="system", subject=f"thing:{n}", data={"n": n, "字": "“明白”"})
        for n in range(6)
    ]


def test_entries_are_numbered_hashed_and_sorted_by_id(some: list[Entry]) -> None:
    assert [entry.seq for entry in some] == [1, 2, 3, 4, 5, 6]
    assert [entry.id for entry in some] == sorted(entry.id for entry in some)
    before = GENESIS
    for entry in Entry.objects.order_by("seq"):
        before = entry_hash(
            before, seq=entry.seq, id=entry.id, at=entry.at, kind=entry.kind, actor=entry.actor,
            subject=entry.subject, data=entry.data,
        )  # fmt: skip
        assert before == bytes(entry.hash)
    found = queries.verify()
    assert (found.ok, found.entries, found.head) == (True, 6, before)


def test_the_clock_going_back_keeps_the_order() -> None:
    now = utc_now()
    first = services.append("thing.done", actor="system", now=now)
    second = services.append("thing.done", actor="system", now=now - timedelta(days=1))
    assert second.id > first.id
    assert queries.verify().ok


def test_a_change_that_fails_leaves_no_entry(some: list[Entry]) -> None:
    with transaction.atomic():
        services.append("thing.done", actor="system")
        transaction.set_rollback(True)
    assert queries.head()[0] == 6
    assert services.append("thing.done", actor="system").seq == 7
    assert queries.verify().ok


@pytest.mark.parametrize(
    ("sql", "at_seq"),
    [
        ("UPDATE audit_entry SET kind = 'thing.undone' WHERE seq = 3", 3),
        ("UPDATE audit_entry SET actor = 'account:x' WHERE seq = 4", 4),
        ("UPDATE audit_entry SET data = '{}' WHERE seq = 2", 2),
        ("DELETE FROM audit_entry WHERE seq = 3", 3),
        ("DELETE FROM audit_entry WHERE seq = 6", 6),
        ("DELETE FROM audit_entry", 1),
    ],
)
def test_what_is_changed_behind_its_back_is_found(some: list[Entry], sql: str, at_seq: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
    found = queries.verify()
    assert not found.ok
    assert found.at_seq == at_seq


@pytest.mark.parametrize("bad", [{"x": float("nan")}, {"x": b"bytes"}, {"x": object()}])
def test_data_that_is_no_json_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(BadValue):
        services.append("thing.done", actor="system", data=bad)
    assert queries.head()[0] == 0


# -- signed heads


def test_a_head_is_signed_when_something_happened(some: list[Entry], data_dir: Path) -> None:
    keys = open_keys(settings.MINGBAI)
    signed = services.sign_head(keys, now=utc_now())
    assert signed is not None
    assert signed.is_signed()
    assert (signed.stream, signed.seq, signed.chain) == ("control", 6, bytes(some[-1].hash))
    assert services.sign_head(keys, now=utc_now()) is None
    services.append("thing.done", actor="system")
    second = services.sign_head(keys, now=utc_now())
    assert second is not None
    assert second.previous == signed.sha256
    found = queries.verify([keys.public_key])
    assert (found.ok, found.entries, found.signed_to) == (True, 9, 8)
    assert not queries.verify([bytes(32)]).ok


def _rehash_from(seq: int) -> None:
    """What somebody does who holds the database, but not the signing key: compute the rest of the chain anew."""
    before = bytes(Entry.objects.get(seq=seq - 1).hash)
    for entry in Entry.objects.filter(seq__gte=seq).order_by("seq"):
        before = entry_hash(
            before, seq=entry.seq, id=entry.id, at=entry.at, kind=entry.kind, actor=entry.actor,
            subject=entry.subject, data=entry.data,
        )  # fmt: skip
        Entry.objects.filter(seq=entry.seq).update(hash=before)
    Head.objects.update(hash=before)


def test_a_chain_computed_anew_does_not_fit_its_signed_head(some: list[Entry], data_dir: Path) -> None:
    services.sign_head(open_keys(settings.MINGBAI), now=utc_now())
    Entry.objects.filter(seq=3).update(actor="account:somebody-else")
    _rehash_from(3)
    found = queries.verify()
    assert found.at_seq == 7
    assert "another chain" in str(found.problem)


def test_a_head_taken_out_is_missed_by_the_next(some: list[Entry], data_dir: Path) -> None:
    keys = open_keys(settings.MINGBAI)
    for _ in range(3):
        services.append("thing.done", actor="system")
        services.sign_head(keys, now=utc_now())
    Entry.objects.filter(seq=8).update(kind="thing.done")
    _rehash_from(8)
    found = queries.verify()
    assert not found.ok


# -- crossed with the ledger


def _record(rows: int, now: datetime) -> None:
    with open_ledger(settings.MINGBAI, now=now, stream="api") as ledger:
        ledger.record(make_traffic(rows), now=now)


def test_the_ledgers_heads_are_written_down_when_they_move(data_dir: Path) -> None:
    now = utc_now()
    anchor_heads(settings.MINGBAI, now)
    assert queries.head()[0] == 0
    _record(20, now)
    anchor_heads(settings.MINGBAI, now)
    anchor_heads(settings.MINGBAI, now)
    assert [entry.kind for entry in queries.entries()] == ["heads.crossed"]  # nothing to sign: nobody did anything
    first = queries.crossed_heads()["api"]
    _record(10, now + timedelta(minutes=1))
    anchor_heads(settings.MINGBAI, now)
    assert queries.crossed_heads()["api"][0] > first[0]
    heads = LedgerHeads(data_dir)
    assert heads.heads() == queries.crossed_heads()
    assert [stream.is_there for stream in queries.check_crossed(heads.holds)] == [True]
    assert heads.holds("api", *first)


def test_a_ledger_that_was_cut_or_replaced_is_found(data_dir: Path) -> None:
    import shutil

    now = utc_now()
    _record(20, now)
    anchor_heads(settings.MINGBAI, now)
    shutil.rmtree(data_dir / "ledger" / "api")
    assert [found.is_there for found in queries.check_crossed(LedgerHeads(data_dir).holds)] == [False]
    _record(20, now)
    assert [found.is_there for found in queries.check_crossed(LedgerHeads(data_dir).holds)] == [False]


# -- outside


def test_evidence_can_be_checked_without_the_database(some: list[Entry], data_dir: Path) -> None:
    keys = open_keys(settings.MINGBAI)
    services.sign_head(keys, now=utc_now())
    document = signed_evidence(some[1:3], keys, query={"kind": "thing.done"}, actor="account:x", now=utc_now())
    sent = json.loads(json.dumps(document))
    assert check_evidence(sent) == []
    assert check_evidence(sent, lambda key: False) == ["signed with an unknown key"]
    sent["entries"][0]["actor"] = "account:other"
    assert check_evidence(sent) == ["the signature does not fit", "entry 2 was changed"]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "＝"])
def test_no_cell_is_a_formula(sign: str) -> None:
    assert spreadsheet_cell(f"{sign}cmd|' /C calc'!A0").startswith("'")
    assert spreadsheet_cell("harmless = text") == "harmless = text"
    entry = services.append("thing.done", actor=f"{sign}HYPERLINK(1)", data={"x": 1})
    line = to_csv([(entry, f"{sign}1+1", "", f"{sign}2")])
    for cell in line.splitlines()[1].split(","):
        assert not cell.strip('"').startswith(sign)


# -- the page


@pytest.fixture
def auditor(client_for: Callable[..., Client]) -> Client:
    return client_for("auditor")


def page(browser: Client, **asked: str) -> str:
    return browser.get(reverse("audit"), asked).content.decode()


def test_entries_are_told_in_words_and_filtered(auditor: Client, account: Callable[..., object]) -> None:
    account("reviewer", name="王芳")
    services.append("message.unmasked", actor=auditor.account.ref, subject="message:x",  # type: ignore[attr-defined]  # set by the fixture
                    data={"fields": ["sender"], "reason": "complaint 4711"})  # fmt: skip
    assert "gave 王芳 the role Reviewer (whole operator)" in page(auditor)
    only = page(auditor, area="unmasked")
    assert "looked at the sender of a message: complaint 4711" in only
    assert "look closely" in only
    assert "王芳" not in only
    auditor.cookies["mingbai_language"] = "zh-hans"
    assert "授予 王芳 角色“审核员”（全公司）" in page(auditor)
    assert "王芳" not in page(auditor, until="2020-01-01")
    assert "王芳" in page(auditor, kind="role.assigned", actor="system")
    assert auditor.get(reverse("audit"), {"area": "nonsense"}).status_code == 404


def test_a_kind_that_nobody_knows_is_shown_by_its_name(auditor: Client) -> None:
    entry = services.append("later.invented", actor="job:x", data={"<b>": "</script><script>alert(1)</script>"})
    shown = page(auditor)
    assert "later.invented" in shown
    detail = auditor.get(reverse("audit_entry", args=[entry.seq])).content.decode()
    assert "<script>alert" not in detail
    assert "&lt;script&gt;alert" in detail


def test_verifying_says_what_is_wrong_and_where(auditor: Client, some: list[Entry], data_dir: Path) -> None:
    whole = auditor.post(reverse("audit_verify")).content.decode()
    assert "The record is whole" in whole
    assert queries.entries(kinds=["audit.verified"]).count() == 1
    Entry.objects.filter(seq=2).update(data={"n": 99})
    broken = auditor.post(reverse("audit_verify")).content.decode()
    assert "The chain breaks at entry 2" in broken
    assert queries.entries(kinds=["audit.verified"]).count() == 1  # a broken chain is left as it was found


def test_exports_are_entries_themselves(auditor: Client, some: list[Entry], data_dir: Path) -> None:
    table = auditor.post(reverse("audit_csv") + "?kind=thing.done")
    assert table.headers["Content-Disposition"].startswith("attachment")
    assert len(table.content.decode().splitlines()) == 7
    document = json.loads(auditor.post(reverse("audit_evidence") + "?kind=thing.done").content)
    assert check_evidence(document) == []
    assert len(document["entries"]) == 6
    assert document["head"]["seq"] > 6
    kinds = [entry.kind for entry in queries.entries(actor=auditor.account.ref)]  # type: ignore[attr-defined]  # set by the fixture
    assert {"audit.exported", "evidence.exported"} <= set(kinds)


def test_an_auditor_of_one_province_has_no_part_of_the_record(
    client_for: Callable[..., Client],
) -> None:
    from mingbai.contexts.people.services import units

    unit = units.create_unit("gansu", kind="province", name="Gansu", actor="system", now=utc_now())
    browser = client_for("auditor", unit)
    assert browser.get(reverse("audit")).status_code == 404
    assert browser.post(reverse("audit_csv")).status_code == 404
