"""Sealing: what the entry says is what lies there, and nothing half-done counts."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.ledger import KeyStore, Kind, Ledger, LedgerOptions, StreamReader, verify
from mingbai.ledger.sealing import Seal

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.ledger.conftest import Traffic

QUIET = LedgerOptions(background_sealing=False)


def test_the_entry_names_every_file_by_its_hash(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    with Ledger.open(data, stream="batch", keys=keys, now=now, options=QUIET) as ledger:
        receipt = ledger.record(traffic(9), now=now)
        (seal,) = ledger.seal(now=now)
    said = [
        json.loads(row["data"])
        for batch in StreamReader(data, "batch").entries(["kind", "data"])
        for row in batch.to_pylist()
        if row["kind"] == Kind.SEGMENT_SEALED
    ]
    assert said == [seal.to_data()]
    assert Seal.from_data(said[0]) == seal
    assert (seal.segment, seal.last_seq, seal.commits) == (1, receipt.last_seq, receipt.commit)
    assert seal.chain == receipt.chain.hex()
    folder = data / "ledger" / "batch"
    files = {folder / "entries" / f"{1:020d}.parquet": seal.parquet}
    for name, file in seal.vault.items():
        assert file is not None
        files[folder / "vault" / "2026-11-24" / f"{1:020d}.{name}"] = file
    for path, file in files.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
        assert path.stat().st_size == file.bytes


def test_a_row_group_is_made_of_whole_commits(
    data: Path, keys: KeyStore, now: datetime, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mingbai.ledger.sealing.ROW_GROUP_ROWS", 20)
    with Ledger.open(data, stream="batch", keys=keys, now=now, options=QUIET) as ledger:
        receipts = [ledger.record(traffic(7, start * 7), now=now) for start in range(10)]
        ledger.seal(now=now)
    file = pq.ParquetFile(data / "ledger" / "batch" / "entries" / f"{1:020d}.parquet")
    assert file.num_row_groups == 4
    for group in range(file.num_row_groups):
        assert file.read_row_group(group)["link"][0].as_py() is not None
    reader = StreamReader(data, "batch", keys)
    for place, receipt in enumerate(receipts):
        found = reader.originals(range(receipt.first_seq, receipt.last_seq + 1)).column("text").to_pylist()
        assert found == traffic(7, place * 7).column("text").to_pylist()
    assert verify(data).ok


def test_sealing_an_empty_hour_is_no_error(data: Path, keys: KeyStore, now: datetime) -> None:
    with Ledger.open(data, stream="batch", keys=keys, now=now, options=QUIET) as ledger:
        for hour in range(3):
            assert len(ledger.seal(now=now + timedelta(hours=hour))) == 1
    assert verify(data).ok


GOOD: dict[str, object] = {
    "segment": 1,
    "last_seq": 2,
    "commits": 1,
    "day": "2026-11-24",
    "chain": "00",
    "parquet": {"sha256": "a", "bytes": 1},
    "vault": {},
}
JUNK = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(JUNK)
def test_garbage_is_no_seal(value: object) -> None:
    assert Seal.from_data(GOOD) is not None
    for name in GOOD:
        Seal.from_data({**GOOD, name: value})
    assert Seal.from_data({"segment": value}) is None
