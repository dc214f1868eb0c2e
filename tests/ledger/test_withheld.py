"""Who asked for erasure is in no original that anybody reads, while the chain and the rest stay as they were."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mingbai.ledger import (
    Kept,
    KeyStore,
    Ledger,
    LedgerDamaged,
    LedgerOptions,
    Retention,
    StreamReader,
    forget_withheld,
    read_withheld,
    verify,
    withhold,
)
from tests.ledger.conftest import Traffic

ROWS = 40


def write(data: Path, keys: KeyStore, traffic: Traffic, now: datetime, *, rows_a_segment: int) -> None:
    options = LedgerOptions(max_segment_rows=rows_a_segment)
    with Ledger.open(
        data, stream="batch", keys=keys, now=now, retention=Retention(7, 150, 150), options=options
    ) as ledger:
        for start in range(0, ROWS, 10):
            ledger.record(traffic(10, start), now=now + timedelta(minutes=start))


@pytest.mark.parametrize("rows_a_segment", [10, 1_000_000], ids=["sealed", "open"])
def test_originals_of_a_withheld_number_are_given_to_nobody(
    data: Path, keys: KeyStore, traffic: Traffic, now: datetime, rows_a_segment: int
) -> None:
    write(data, keys, traffic, now, rows_a_segment=rows_a_segment)
    reader = StreamReader(data, "batch", keys)
    before = {row["seq"]: row for _, rows in reader.entries_with_originals() for row in rows.to_pylist()}
    receiver = next(row["receiver"] for row in before.values() if row["receiver"] and row["text_kept"] == Kept.KEPT)
    withhold(data, keys.pseudonyms(receiver).values(), before=now + timedelta(days=1), until=now + timedelta(days=151))
    after = {row["seq"]: row for _, rows in reader.entries_with_originals() for row in rows.to_pylist()}
    (asked,) = reader.originals([seq for seq, row in before.items() if row["receiver"] == receiver][:1]).to_pylist()
    concerned = {seq for seq, row in before.items() if receiver in (row["receiver"], row["sender"])}
    assert concerned
    for seq, row in after.items():
        if seq in concerned:
            assert row["text"] is row["sender"] is row["receiver"] is row["time"] is None
            assert row["numbers_kept"] == Kept.WITHHELD
        else:
            assert row == before[seq]
    assert asked["text"] is None and asked["text_kept"] == Kept.WITHHELD
    assert verify(data).ok


def test_messages_after_the_erasure_are_new_business(
    data: Path, keys: KeyStore, traffic: Traffic, now: datetime
) -> None:
    write(data, keys, traffic, now, rows_a_segment=1_000_000)
    reader = StreamReader(data, "batch", keys)
    rows = [row for _, rows in reader.entries_with_originals() for row in rows.to_pylist()]
    receiver = next(row["receiver"] for row in rows if row["receiver"])
    withhold(data, keys.pseudonyms(receiver).values(), before=now, until=now + timedelta(days=151))
    assert [row for _, rows in reader.entries_with_originals() for row in rows.to_pylist()] == rows


def test_a_line_goes_when_its_keys_are_gone(data: Path, keys: KeyStore, now: datetime) -> None:
    data.mkdir()
    for number, days in (("+8613800000001", 1), ("+8613800000002", 9)):
        withhold(data, keys.pseudonyms(number).values(), before=now, until=now + timedelta(days=days))
    assert forget_withheld(data, now=now + timedelta(days=2)) == 1
    assert [item.until for item in read_withheld(data)] == [now + timedelta(days=9)]
    assert "13800000002" not in (data / "withheld.json").read_text()


def test_an_unreadable_list_gives_no_original_at_all(
    data: Path, keys: KeyStore, traffic: Traffic, now: datetime
) -> None:
    write(data, keys, traffic, now, rows_a_segment=1_000_000)
    (data / "withheld.json").write_text('{"format": "mingbai withheld 1", "withheld": [')
    with pytest.raises(LedgerDamaged, match="withheld"):
        list(StreamReader(data, "batch", keys).entries_with_originals())
    assert sum(batch.num_rows for batch in StreamReader(data, "batch").entries()) > ROWS
