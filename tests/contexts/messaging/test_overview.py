"""The overview: the answer first, within the scope, and what is said when a part is missing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from mingbai.contexts.audit import queries as audit
from mingbai.contexts.messaging.jobs import traffic as jobs
from mingbai.contexts.messaging.queries import overview as queries
from mingbai.contexts.people.services import units
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Category, Verdict
from tests.contexts.messaging.review_ledger import Sms, write

pytestmark = pytest.mark.django_db


def _write(data_dir: Path) -> None:
    rows = [
        Sms("您的快递到了", Verdict.ALLOW, Category.NOTIFICATION, 0.01, access_code="10690002"),
        *[Sms("代开发票", Verdict.BLOCK, Category.ILLEGAL_TRADE, 0.97, campaign=0xABC) for _ in range(3)],
        Sms("疑似", Verdict.FLAG, Category.ADVERTISING, 0.3),
    ]
    write(data_dir, rows, now=utc_now() - timedelta(seconds=20))


def test_the_answer_stands_first(data_dir: Path, client_for: Callable[..., Client]) -> None:
    _write(data_dir)
    page = client_for("team_lead").get("/overview/?span=hour").content.decode()
    assert "3 stopped (60.0%), 0 of them wrongly" in page
    assert "代开发票" in page
    assert "kw-1" in page
    assert page.count("Show as table") >= 2


def test_a_role_that_may_not_read_texts_sees_them_masked(data_dir: Path, client_for: Callable[..., Client]) -> None:
    rows = [Sms("验证码 482913", Verdict.BLOCK, campaign=0xDEF) for _ in range(3)]
    write(data_dir, rows, now=utc_now() - timedelta(seconds=20))
    assert "482913" in client_for("reviewer").get("/overview/?span=hour").content.decode()
    assert "482913" not in client_for("auditor").get("/overview/?span=hour").content.decode()


def test_a_partner_sees_counts_of_its_own_access_codes(data_dir: Path, client_for: Callable[..., Client]) -> None:
    _write(data_dir)
    unit = units.create_unit(
        "bank", kind="partner", name="Bank", access_codes=["10690002"], actor="system", now=utc_now()
    )
    page = client_for("service_provider", unit).get("/overview/?span=hour").content.decode()
    assert "0 stopped (0.0%)" in page
    assert "代开发票" not in page


def test_a_subscriber_has_no_overview(client_for: Callable[..., Client]) -> None:
    assert client_for("subscriber").get("/overview/").status_code == 403


def test_nothing_recorded_says_what_to_do(data_dir: Path, client_for: Callable[..., Client]) -> None:
    page = client_for("administrator").get("/overview/").content.decode()
    assert "No messages in this period" in page
    assert "does not answer" in page  # the screener: health is shown all the same


def test_the_live_part_comes_alone(data_dir: Path, client_for: Callable[..., Client]) -> None:
    _write(data_dir)
    page = client_for("reviewer").get("/overview/?span=hour", headers={"hx-request": "true"}).content.decode()
    assert "<html" not in page
    assert "3 stopped" in page


@pytest.mark.parametrize("span", queries.SPANS)
def test_a_window_holds_now_and_its_steps_divide_it(span: str) -> None:
    now = datetime(2026, 11, 24, 16, 30, 12, tzinfo=UTC)  # half past midnight in Shanghai
    window = queries.window(span, now)
    assert window.since <= now < window.until
    assert (window.until - window.since) / timedelta(seconds=window.step_s) <= 300
    if span == "today":
        assert timezone.localtime(window.since).hour == 0


def test_the_pulse_tells_of_new_decisions_and_of_new_entries(data_dir: Path) -> None:
    jobs.write_pulse(settings.MINGBAI, utc_now())
    path = data_dir / "run" / jobs.PULSE_NAME
    before = json.loads(path.read_text())
    _write(data_dir)
    jobs.write_pulse(settings.MINGBAI, utc_now())
    after = json.loads(path.read_text())
    assert after["seq"] > before["seq"]
    assert after["rate"] > 0


def test_the_index_is_advanced_by_the_job(data_dir: Path) -> None:
    _write(data_dir)
    jobs.advance_index(settings.MINGBAI, utc_now() + timedelta(hours=1))
    assert list((data_dir / "index" / "api").glob("*"))


def test_a_disk_that_fills_up_is_an_entry_once(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = utc_now()
    old = data_dir / "ledger" / "api" / "entries" / "old"
    old.parent.mkdir(parents=True)
    old.write_bytes(bytes(1_000_000))
    yesterday = (now - timedelta(days=1)).timestamp()
    os.utime(old, (yesterday, yesterday))
    for free in (3_000_000, 2_000_000, 900_000_000):  # a megabyte a day
        usage = shutil._ntuple_diskusage(1_000_000_000, 1_000_000_000 - free, free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        jobs.forecast_disk(settings.MINGBAI, now)
    assert [entry.kind for entry in audit.entries(kinds=["disk."])] == ["disk.enough", "disk.low"]
    assert queries.disk() is not None
