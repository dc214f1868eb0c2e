from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mingbai.connectors.tables import InputUnreadable, MissingColumn
from mingbai.kernel.errors import SchemaMismatch

if TYPE_CHECKING:
    from tests.connectors.tables.conftest import ReadAll, WriteFile

EIGHT = datetime(2024, 5, 1, tzinfo=UTC)
TEXT_TYPES = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.dictionary(pa.int32(), pa.string()),
]


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., str]:
    """`parquet({"text": [...]}, row_group_size=...)` writes a file and gives its path."""

    def write(columns: dict[str, pa.Array | list[object]], name: str = "a.parquet", **options: object) -> str:
        path = tmp_path / name
        pq.write_table(pa.table(columns), path, **options)
        return str(path)

    return write


def unchecked(values: list[bytes | None]) -> pa.Array:
    """A string array that may hold what is not UTF-8."""
    return pa.array(values, pa.binary()).view(pa.string())


@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_text_of_every_type_is_read(read: ReadAll, parquet: Callable[..., str], kind: pa.DataType) -> None:
    texts = ["您好", "", "hi", "您好", "a\0b"]
    values = pa.array(texts).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(texts).cast(kind)
    found = read(parquet({"text": values}, row_group_size=2))
    assert found.texts == texts
    assert found.numbers == [0, 1, 2, 3, 4]


def test_null_text_is_rejected_by_the_row_of_its_file(read: ReadAll, parquet: Callable[..., str]) -> None:
    found = read(parquet({"text": ["a", None, "b", None]}, row_group_size=3))
    assert found.texts == ["a", "b"]
    assert found.causes == [(2, "text", "text_missing"), (4, "text", "text_missing")]
    assert [reject.row for reject in found.rejects] == [1, 3]


@pytest.mark.parametrize("kind", [kind for kind in TEXT_TYPES if kind != pa.string_view()], ids=str)
def test_text_that_is_not_utf_8_is_rejected(read: ReadAll, parquet: Callable[..., str], kind: pa.DataType) -> None:
    values = unchecked([b"good", b"bad \xff", None, "好".encode()[:2], "好".encode()])
    if pa.types.is_dictionary(kind):
        values = values.dictionary_encode()
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        values = values.cast(kind)
    elif pa.types.is_large_string(kind):
        values = values.cast(pa.large_binary()).view(kind)
    found = read(parquet({"text": values, "id": [1, 2, 3, 4, 5]}), keep_columns=True)
    assert found.texts == ["good", "好"]
    assert found.causes == [(2, "text", "undecodable"), (3, "text", "text_missing"), (4, "text", "undecodable")]
    assert found.rejects[0].raw == "bad \\xff"
    assert [row["id"] for row in found.kept] == [1, 5]


def test_bad_string_in_another_column_costs_its_row_only_if_the_column_is_read(
    read: ReadAll, parquet: Callable[..., str]
) -> None:
    nested = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), unchecked([b"fine", b"\xff"]))
    path = parquet({"text": ["a", "b"], "note": unchecked([b"\xff", b"fine"]), "tags": nested})
    assert read(path).texts == ["a", "b"]
    found = read(path, keep_columns=True)
    assert found.causes == [(1, "note", "undecodable"), (2, "tags", "undecodable")]


def test_numbers_of_senders_become_their_digits(read: ReadAll, parquet: Callable[..., str]) -> None:
    path = parquet(
        {
            "text": ["a", "b", "c", "d"],
            "sender": pa.array([13800000000, None, 1, 2], pa.int64()),
            "receiver": pa.array([13800000000.0, None, float("nan"), 1.5]),
            "access_code": pa.array([b"10690001", b"", None, b"106"]),
        }
    )
    assert read(path).rows == [
        {"text": "a", "sender": "13800000000", "receiver": "13800000000", "access_code": "10690001"},
        {"text": "b", "sender": None, "receiver": None, "access_code": None},
        {"text": "c", "sender": "1", "receiver": None, "access_code": None},
        {"text": "d", "sender": "2", "receiver": "1.5", "access_code": "106"},
    ]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([EIGHT], pa.timestamp("ns", "UTC")),
        pa.array([datetime(2024, 5, 1, 8)], pa.timestamp("ms")),  # noqa: DTZ001 as a table has it
        pa.array(["2024-05-01 08:00:00"]),
        pa.array([1714521600]),
    ],
    ids=str,
)
def test_times_of_every_type_are_read(read: ReadAll, parquet: Callable[..., str], values: pa.Array) -> None:
    assert read(parquet({"text": ["a"], "time": values})).rows == [{"text": "a", "time": EIGHT}]


def test_text_of_another_type_stops_the_run_before_it_begins(read: ReadAll, parquet: Callable[..., str]) -> None:
    with pytest.raises(SchemaMismatch, match=r"'text' of .*int64, expected strings"):
        read(parquet({"text": [1]}))
    with pytest.raises(SchemaMismatch, match=r"'sender' of .*bool, expected strings or numbers"):
        read(parquet({"text": ["a"], "sender": [True]}))
    with pytest.raises(MissingColumn, match="'text'"):
        read(parquet({"message": ["a"]}))


def test_names_with_dots_and_names_given_twice_are_read(read: ReadAll, tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], names=["msg.text", "msg", "msg"])
    pq.write_table(table, tmp_path / "a.parquet")
    found = read(str(tmp_path / "a.parquet"), text_column="msg.text", keep_columns=True)
    assert found.texts == ["a"]
    assert found.kept == [{"msg.text": "a", "msg": "b"}]


def test_row_group_that_cannot_be_decoded_is_one_reject_of_its_rows(read: ReadAll, parquet: Callable[..., str]) -> None:
    texts = [f"message {number}" for number in range(300)]
    path = parquet({"text": texts}, row_group_size=100, compression="zstd", use_dictionary=False)
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(Path(path).read_bytes())
    content[start + 60 : start + 80] = bytes(20)
    Path(path).write_bytes(content)
    found = read(path)
    assert found.texts == texts[:100] + texts[200:]
    assert found.numbers == [*range(100), *range(200, 300)]
    assert [(r.line, r.row, r.rows, str(r.cause)) for r in found.rejects] == [(101, 100, 100, "unreadable")]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"text\na\n", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_file_that_is_no_parquet_stops_the_run_before_it_begins(read: ReadAll, file: WriteFile, content: bytes) -> None:
    with pytest.raises(InputUnreadable, match=r"a\.parquet: cannot be read"):
        read(file("a.parquet", content))


def test_file_without_rows_is_an_empty_table(read: ReadAll, parquet: Callable[..., str]) -> None:
    assert read(parquet({"text": pa.array([], pa.string())})).rows == []


def test_large_values_come_in_smaller_batches(read: ReadAll, parquet: Callable[..., str]) -> None:
    texts = ["x" * (1 << 20)] * 80 + ["y" * ((16 << 20) + 1)]
    found = read(parquet({"text": texts}, use_dictionary=False))
    assert found.texts == texts[:80]
    assert found.causes == [(81, "text", "line_too_long")]


def test_row_groups_do_not_change_the_rows(read: ReadAll, parquet: Callable[..., str]) -> None:
    numbers = np.random.default_rng(1).integers(0, 5, 1000)
    texts = [None if number == 0 else f"text {number}" for number in numbers.tolist()]
    whole = read(parquet({"text": texts}, "a.parquet", row_group_size=1000))
    parts = read(parquet({"text": texts}, "b.parquet", row_group_size=7))
    assert (whole.rows, whole.numbers, whole.causes) == (parts.rows, parts.numbers, parts.causes)
