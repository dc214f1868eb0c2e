"""How long the disk lasts."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mingbai.connectors.ledger_index import LedgerIndex, disk_forecast
from tests.connectors.ledger_index.conftest import Operator

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def put(path: Path, size: int, at: datetime) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (at.timestamp(), at.timestamp()))


def test_growth_is_that_of_the_last_whole_days(tmp_path: Path) -> None:
    for back in range(11):
        at = NOW - timedelta(days=back)
        size = 5000 if back == 0 else 1000 if back <= 7 else 9000
        put(tmp_path / "ledger" / "api" / "entries" / f"{back:020d}.parquet", size, at)
        put(tmp_path / "ledger" / "api" / "vault" / f"{at.date()}" / f"{back:020d}.numbers", 500, at)
    put(tmp_path / "keys.json", 10**6, NOW)
    seen = disk_forecast(tmp_path, NOW)
    assert (seen.ledger_bytes, seen.vault_bytes, seen.index_bytes) == (5000 + 7000 + 27000, 5500, 0)
    assert (seen.growth_per_day, seen.days_measured) == (1500, 7)
    assert seen.days_left == pytest.approx(seen.free_bytes / 1500)


def test_the_first_day_has_no_forecast(operator: Operator) -> None:
    operator.write("api", 5)
    LedgerIndex(operator.data).advance(operator.now + timedelta(hours=1))
    seen = disk_forecast(operator.data, datetime.now(UTC))
    assert seen.ledger_bytes > 0 and seen.index_bytes > 0
    assert seen.growth_per_day is None and seen.days_left is None
    assert 0 < seen.free_bytes <= seen.disk_bytes


def test_an_empty_folder_takes_nothing(tmp_path: Path) -> None:
    seen = disk_forecast(tmp_path, NOW)
    assert (seen.ledger_bytes, seen.vault_bytes, seen.index_bytes, seen.growth_per_day) == (0, 0, 0, None)
