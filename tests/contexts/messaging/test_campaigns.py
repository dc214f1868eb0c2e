"""Campaigns: the list of a period, and one of them with its variants."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client

from mingbai.contexts.people.services import units
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Category, Verdict
from tests.contexts.messaging.review_ledger import Sms, write

pytestmark = pytest.mark.django_db
ID = "0000000000000abc"


@pytest.fixture
def campaign(data_dir: Path) -> None:
    rows = [
        *[
            Sms(
                "代开发票 加薇信 a1",
                Verdict.BLOCK,
                Category.ILLEGAL_TRADE,
                0.9,
                campaign=0xABC,
                receiver=f"+861380000000{n}",
            )
            for n in range(4)
        ],
        Sms("代开发票 加微信 a1", Verdict.FLAG, Category.ILLEGAL_TRADE, 0.4, campaign=0xABC, access_code="10690002"),
        Sms("只此一条", Verdict.ALLOW, Category.PERSONAL, 0.0, campaign=0xDDD),
    ]
    write(data_dir, rows, now=utc_now() - timedelta(seconds=30))


def test_the_list_names_the_largest(campaign: None, client_for: Callable[..., Client]) -> None:
    page = client_for("team_lead").get("/campaigns/?span=hour").content.decode()
    assert f"/campaigns/{ID}/" in page
    assert "只此一条" not in page
    assert "80%" in page


def test_one_campaign_shows_variants_with_their_differences(campaign: None, client_for: Callable[..., Client]) -> None:
    page = client_for("team_lead").get(f"/campaigns/{ID}/").content.decode()
    assert "5</span>" in page
    assert "4 stopped (80.0%)" in page
    assert "<del>薇</del><ins>微</ins>" in page
    assert "Decide for all" in page


def test_only_a_lead_decides_for_all(campaign: None, client_for: Callable[..., Client]) -> None:
    assert "Decide for all" not in client_for("reviewer").get(f"/campaigns/{ID}/").content.decode()


def test_a_partner_sees_its_part_of_a_campaign(campaign: None, client_for: Callable[..., Client]) -> None:
    unit = units.create_unit(
        "bank", kind="partner", name="Bank", access_codes=["10690002"], actor="system", now=utc_now()
    )
    other = units.create_unit(
        "shop", kind="partner", name="Shop", access_codes=["10690003"], actor="system", now=utc_now()
    )
    page = client_for("service_provider", unit).get(f"/campaigns/{ID}/").content.decode()
    assert "0 stopped (0.0%)" in page
    assert "加薇信" not in page
    assert client_for("service_provider", other).get(f"/campaigns/{ID}/").status_code == 404


@pytest.mark.parametrize("id", ["0000000000000000", "xyz", "ABCDEF0123456789", "00000000000000ee"])
def test_what_is_no_campaign_is_not_found(campaign: None, client_for: Callable[..., Client], id: str) -> None:
    assert client_for("reviewer").get(f"/campaigns/{id}/").status_code == 404


def test_an_auditor_sees_texts_masked(data_dir: Path, client_for: Callable[..., Client]) -> None:
    write(data_dir, [Sms("加 13987654321", campaign=0xABC) for _ in range(2)], now=utc_now())
    for path in ("", f"{ID}/"):
        assert "13987654321" not in client_for("auditor").get(f"/campaigns/{path}").content.decode()


def test_no_campaign_says_so(data_dir: Path, client_for: Callable[..., Client]) -> None:
    assert "No campaigns in this period" in client_for("auditor").get("/campaigns/").content.decode()
