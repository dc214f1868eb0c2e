"""`mingbai demo`: the whole show on the real engine and ledger, in both languages."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mingbai.ledger import verify
from tests.cli.conftest import Run


@pytest.mark.slow
def test_a_day_is_decided_recorded_and_proved(run: Run, tmp_path: Path) -> None:
    done = run("demo", "--no-console", "--messages", "2000", "--data", tmp_path / "kept")
    assert done.code == 0, done.err
    assert "of 2,000 messages are stopped" in done.out
    assert "Three hard cases" in done.out
    assert "✓ The ledger is whole" in done.out
    assert "✕ demo: changed" in done.out  # the copy with one bit changed
    assert verify(tmp_path / "kept").ok
    assert pq.read_table(tmp_path / "kept" / "day.parquet").num_rows == 2000
    assert max(len(line) for line in done.out.splitlines()) <= 120
    again = run("demo", "--no-console", "--messages", "2000", "--data", tmp_path / "kept")
    assert again.code == 2
    assert "empty" in again.err


@pytest.mark.slow
def test_the_show_is_there_in_chinese_at_80_columns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = run("demo", "--no-console", "--messages", "1000", "--lang", "zh")
    assert done.code == 0, done.err
    for said in ("拦下了什么，为什么", "三个难例", "✓ 账本完整", "接下来试试"):
        assert said in done.out


def test_a_day_of_no_size_is_refused(run: Run) -> None:
    done = run("demo", "--no-console", "--messages", "3")
    assert done.code == 2
    assert "1,000" in done.err
