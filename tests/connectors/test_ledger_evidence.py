"""Evidence: it proves one row with nothing but the file, and any change of it shows."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from mingbai.connectors.ledger_evidence import EvidenceUnusable, check_evidence, main, write_evidence
from mingbai.kernel.errors import BadValue
from mingbai.ledger import FileKeys, KeyStore, Ledger, LedgerOptions, Retention, StreamReader

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def _batch(start: int, rows: int) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "verdict": pa.array([3] * rows, pa.uint8()),
            "category": pa.array([3] * rows, pa.uint8()),
            "score": pa.array([0.9] * rows, pa.float32()),
            "text": pa.array([f"第 {start + row} 条" for row in range(rows)]),
            "receiver": pa.array(["+8613812345678"] * rows),
        }
    )


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore.open_or_create(FileKeys(tmp_path / "keys.json"))


@pytest.fixture
def ledger(tmp_path: Path, keys: KeyStore) -> Path:
    """Forty rows in eight commits; a segment sealed in between; a head after the sixth commit."""
    options = LedgerOptions(max_segment_rows=1000, head_interval_s=86_400)
    for part in range(2):
        with Ledger.open(
            tmp_path, stream="api", keys=keys, now=NOW, retention=Retention(7, 7, 7), options=options
        ) as ledger:
            for commit in range(4):
                ledger.record(_batch(20 * part + 5 * commit, 5), now=NOW + timedelta(seconds=commit))
                if part and commit == 1:
                    ledger.sign_head(now=NOW + timedelta(seconds=10))
    return tmp_path


def _decisions(data_dir: Path) -> list[int]:
    """Seqs of the forty rows."""
    seqs: list[int] = []
    for batch in StreamReader(data_dir, "api").entries(["seq", "kind"]):
        for row in batch.to_pylist():
            if row["kind"] == "sms.screened":
                seqs.append(row["seq"])
    return seqs


def _last(data_dir: Path) -> int:
    return max(int(batch.column("seq")[-1].as_py()) for batch in StreamReader(data_dir, "api").entries(["seq"]))


def _written(data_dir: Path, seq: int, keys: KeyStore) -> io.BytesIO:
    file = io.BytesIO()
    write_evidence(data_dir, "api", seq, keys, file)
    return file


def test_each_row_is_proved_by_its_evidence_alone(ledger: Path, keys: KeyStore) -> None:
    for seq in range(1, _last(ledger) + 1):
        proved = check_evidence(_written(ledger, seq, keys), keys.public_key)
        assert proved.seq == seq
        assert proved.entry["seq"] == seq
        assert proved.entry["kind"] != "sms.screened" or proved.entry["verdict"] == 3
        if proved.head is not None:
            assert proved.head.seq >= seq


def test_a_row_before_a_head_is_vouched_for_by_the_head(ledger: Path, keys: KeyStore) -> None:
    first = _decisions(ledger)[0]
    proved = check_evidence(_written(ledger, first, keys), keys.public_key)
    assert proved.head is not None
    assert proved.head.is_signed()


def _changed(file: io.BytesIO, name: str, change: Callable[[bytes], bytes]) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(out, "w") as new:
        for one in old.namelist():
            content = old.read(one)
            new.writestr(one, change(content) if one == name else content)
    return out


def _flip(content: bytes) -> bytes:
    return content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]


def _other_row(content: bytes) -> bytes:
    document = json.loads(content)
    document["row"] += 1
    return json.dumps(document).encode()


def _other_verdict(content: bytes) -> bytes:
    with pa.ipc.open_file(pa.py_buffer(content)) as reader:
        table = reader.read_all()
    place = table.schema.get_field_index("verdict")
    changed = table.set_column(place, table.schema.field(place), pa.array([0] * table.num_rows, pa.uint8()))
    out = io.BytesIO()
    with pa.ipc.new_file(out, changed.schema) as writer:
        writer.write_table(changed)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("links.bin", _flip),
        ("links.bin", lambda content: content[:-128]),
        ("commit.arrow", _other_verdict),
        ("evidence.json", _other_row),
        ("evidence.json", lambda content: b"{}"),
        ("links.bin", lambda content: b""),
    ],
)
def test_any_change_shows(ledger: Path, keys: KeyStore, name: str, change: Callable[[bytes], bytes]) -> None:
    file = _written(ledger, _decisions(ledger)[7], keys)
    with pytest.raises(EvidenceUnusable):
        check_evidence(_changed(file, name, change), keys.public_key)


def test_evidence_signed_with_another_key_is_refused(ledger: Path, keys: KeyStore) -> None:
    with pytest.raises(EvidenceUnusable):
        check_evidence(_written(ledger, _decisions(ledger)[0], keys), bytes(32))


def test_no_text_and_no_number_is_in_it(ledger: Path, keys: KeyStore) -> None:
    with zipfile.ZipFile(_written(ledger, _decisions(ledger)[3], keys)) as archive:
        for name in archive.namelist():
            assert "第".encode() not in archive.read(name)
            assert b"13812345678" not in archive.read(name)


def test_a_row_that_is_not_there_has_no_evidence(ledger: Path, keys: KeyStore) -> None:
    with pytest.raises(BadValue):
        _written(ledger, 10_000, keys)


def test_the_program_says_what_is_proved(
    ledger: Path, keys: KeyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evidence.zip"
    path.write_bytes(_written(ledger, _decisions(ledger)[0], keys).getvalue())
    assert main([str(path), "--public-key", keys.public_key.hex()]) == 0
    assert "vouched for by a head" in capsys.readouterr().out
    assert main([str(path), "--public-key", "00" * 32]) == 1
