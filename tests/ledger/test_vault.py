"""The vault: what is encrypted opens only with its key, at its place, unchanged."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.ledger import CommandKeys, KeyRing, KeyStore, Retention, VaultClass
from mingbai.ledger.entries import PRIVATE
from mingbai.ledger.vault import (
    Blob,
    BlobIndex,
    DataKey,
    DataKeys,
    KeyFile,
    decrypt,
    encrypt_commit,
    parse_day,
    read_blobs,
    read_key_file,
)

if TYPE_CHECKING:
    from tests.ledger.conftest import Traffic

DAY = 20781


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "batch").mkdir()
    return tmp_path / "batch"


@pytest.fixture
def data_keys(folder: Path, keys: KeyStore) -> DataKeys:
    return DataKeys(folder, keys)


def blobs(data_keys: DataKeys, traffic: Traffic, rows: int = 8, first_seq: int = 1, **kept: int) -> list[Blob]:
    batch = traffic(rows)
    private = pa.RecordBatch.from_arrays([batch.column(name) for name in PRIVATE.names], schema=PRIVATE)
    return encrypt_commit(
        private,
        batch.column("verdict"),
        data_keys,
        Retention(**kept),
        stream="batch",
        day=DAY,
        commit=7,
        first_seq=first_seq,
    )


def test_a_commit_is_one_ciphertext_a_class(data_keys: DataKeys, traffic: Traffic) -> None:
    made = blobs(data_keys, traffic)
    assert [(blob.kind, blob.rows) for blob in made] == [
        (VaultClass.NUMBERS, 8),
        (VaultClass.ALLOWED, 2),
        (VaultClass.STOPPED, 6),
    ]
    for blob in made:
        key = data_keys.get(DAY, blob.kind, blob.key_id)
        assert key is not None
        plain = decrypt(blob, key, "batch")
        assert plain is not None
        rows = plain.column("row").to_pylist()
        for name in plain.schema.names[1:]:
            assert plain.column(name).to_pylist() == [traffic(8).column(name).to_pylist()[row] for row in rows]


def test_the_same_rows_never_give_the_same_ciphertext(data_keys: DataKeys, traffic: Traffic) -> None:
    one, two = blobs(data_keys, traffic), blobs(data_keys, traffic)
    assert one[0].raw[56:] != two[0].raw[56:]


def test_a_class_with_retention_zero_is_left_out(data_keys: DataKeys, traffic: Traffic) -> None:
    made = blobs(data_keys, traffic, allowed_text_days=0, numbers_days=0)
    assert [blob.kind for blob in made] == [VaultClass.STOPPED]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Blob, DataKey]:
    """One ciphertext and its key."""
    folder = tmp_path_factory.mktemp("example") / "batch"
    data_keys = DataKeys(folder, KeyStore(KeyRing.new(), CommandKeys(["false"])))
    private = pa.RecordBatch.from_pylist([{"text": f"text {n}"} for n in range(8)], schema=PRIVATE)
    verdicts = pa.array([0] * 8, pa.uint8())
    (blob,) = encrypt_commit(private, verdicts, data_keys, Retention(), stream="batch", day=DAY, commit=7, first_seq=1)
    key = data_keys.get(DAY, blob.kind, blob.key_id)
    assert key is not None
    return blob, key


@given(st.data())
def test_any_changed_byte_is_noticed(example: tuple[Blob, DataKey], data: st.DataObject) -> None:
    blob, key = example
    raw = bytearray(blob.raw)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    changed = Blob.parse(bytes(raw))
    assert changed is None or decrypt(changed, key, "batch") is None


def test_a_ciphertext_of_another_stream_does_not_open(example: tuple[Blob, DataKey]) -> None:
    blob, key = example
    assert decrypt(blob, key, "batch") is not None
    assert decrypt(blob, key, "other") is None


def test_a_key_serves_its_day_and_class_only(folder: Path, keys: KeyStore) -> None:
    data_keys = DataKeys(folder, keys)
    made = {data_keys.current(day, kind).id for day in (DAY, DAY + 1) for kind in VaultClass}
    assert len(made) == 6
    again = DataKeys(folder, keys)
    assert {again.current(day, kind).id for day in (DAY, DAY + 1) for kind in VaultClass} == made
    assert [(file.day, file.kind.label) for file in again.files()][:3] == [
        (DAY, "allowed"),
        (DAY, "numbers"),
        (DAY, "stopped"),
    ]


def test_a_key_file_moved_to_another_day_does_not_open(folder: Path, keys: KeyStore) -> None:
    data_keys = DataKeys(folder, keys)
    data_keys.current(DAY, VaultClass.NUMBERS)
    (file,) = data_keys.files()
    moved = file.path.with_name(file.path.name.replace("2026-11-24", "2026-11-25"))
    file.path.rename(moved)
    parsed = KeyFile.parse(moved)
    assert parsed is not None
    assert DataKeys(folder, keys).get(parsed.day, parsed.kind, parsed.id) is None


def test_a_destroyed_key_is_gone(folder: Path, keys: KeyStore, data_keys: DataKeys, traffic: Traffic) -> None:
    made = blobs(data_keys, traffic)
    (path,) = folder.glob("keys/*.allowed.*.key")
    before = path.read_bytes()
    data_keys.destroy(DAY, VaultClass.ALLOWED)
    assert not data_keys.has(DAY, VaultClass.ALLOWED)
    assert data_keys.get(DAY, VaultClass.ALLOWED, made[1].key_id) is None
    assert all(before not in other.read_bytes() for other in folder.rglob("*") if other.is_file())
    assert data_keys.has(DAY, VaultClass.STOPPED)


def test_every_byte_of_a_key_file_is_checked(folder: Path, keys: KeyStore) -> None:
    DataKeys(folder, keys).current(DAY, VaultClass.NUMBERS)
    (path,) = folder.glob("keys/*.key")
    clean = path.read_bytes()
    assert len(clean) == 120
    for place in range(len(clean)):
        changed = bytearray(clean)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert read_key_file(path) is None
    path.write_bytes(clean[:-1])
    assert read_key_file(path) is None


@pytest.mark.parametrize(
    "name",
    [
        "x.key",
        "2026-11-24.numbers.key",
        "2026-1-1.numbers.0011223344556677.key",
        "2026-11-24.all.0011223344556677.key",
        "2026-11-24.numbers.00112233445566zz.key",
    ],
)
def test_other_names_are_no_key_files(name: str) -> None:
    assert KeyFile.parse(Path(name)) is None


def test_a_vault_file_is_indexed_by_commit(folder: Path, data_keys: DataKeys, traffic: Traffic) -> None:
    made = [blobs(data_keys, traffic, rows=5, first_seq=seq)[0] for seq in (1, 6, 11)]
    path = folder / "vault"
    path.write_bytes(b"".join(blob.raw for blob in made))
    index = BlobIndex(path)
    assert index.get(6) == made[1]
    assert index.get(7) is None
    assert [blob for _, blob in read_blobs(path)] == made
    path.write_bytes(b"".join(blob.raw for blob in made)[:-1])
    assert [blob is None for _, blob in read_blobs(path)] == [False, False, True]


@given(st.binary(max_size=300))
def test_garbage_is_no_vault_file(example: tuple[Blob, DataKey], content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        for start in (b"", b"MBV1", example[0].raw):
            path.write_bytes(start + content)
            BlobIndex(path)
            assert sum(blob is None for _, blob in read_blobs(path)) <= 1
    assert Blob.parse(content) is None or content[:4] == b"MBV1"


def test_days_are_written_one_way() -> None:
    assert parse_day("2026-11-24") == DAY
    for other in ("20261124", "2026-11-4", "2026-W48-2", "", "x"):
        assert parse_day(other) is None


def test_a_day_is_utc(now: datetime) -> None:
    assert now.toordinal() - datetime(1970, 1, 1).toordinal() == DAY  # noqa: DTZ001  # a calendar date
