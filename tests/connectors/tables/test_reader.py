from __future__ import annotations

import io
import os
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mingbai.connectors.tables import InputUnreadable, MissingColumn, Reject, UnknownFormat, read_messages
from mingbai.kernel.errors import BadValue

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.connectors.tables.conftest import ReadAll, WriteFile


def none(reject: Reject) -> None:
    pytest.fail(str(reject))


def test_rows_are_numbered_over_all_inputs_and_rejected_rows_take_a_number(
    read: ReadAll, file: WriteFile, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"text": ["e", None, "f"]}), tmp_path / "c.parquet")
    paths = [
        file("a.csv", "text,x\na,1\nbad\nb,2\n"),
        file("b.jsonl", '{"text":"c"}\noops\n{"text":"d"}\n'),
        str(tmp_path / "c.parquet"),
        file("d.tsv", "text\ng\n"),
    ]
    found = read(*paths)
    assert found.texts == list("abcdefg")
    assert found.numbers == [0, 2, 3, 5, 6, 8, 9]
    assert [(reject.file, reject.line, reject.row) for reject in found.rejects] == [
        (paths[0], 3, 1),
        (paths[1], 2, 4),
        (paths[2], 2, 7),
    ]


def test_column_that_one_of_the_files_has_is_null_in_the_others(read: ReadAll, file: WriteFile) -> None:
    found = read(
        file("a.csv", "text,time\na,2024-05-01 08:00:00\n"),
        file("b.csv", "sender,text\n1,b\n"),
        file("c.tsv", "text\nc\n"),
    )
    assert found.reader.schema.names == ["text", "sender", "time"]
    assert found.rows == [
        {"text": "a", "sender": None, "time": datetime(2024, 5, 1, tzinfo=UTC)},
        {"text": "b", "sender": "1", "time": None},
        {"text": "c", "sender": None, "time": None},
    ]


def test_columns_are_taken_by_the_names_that_are_given(read: ReadAll, file: WriteFile) -> None:
    path = file("a.csv", "短信内容,主叫,被叫,端口,时间\n您好,1,2,3,20240501080000\n")
    options = {"sender": "主叫", "receiver": "被叫", "access_code": "端口", "time": "时间"}
    found = read(path, text_column="短信内容", **{f"{role}_column": name for role, name in options.items()})
    assert found.rows == [
        {"text": "您好", "sender": "1", "receiver": "2", "access_code": "3", "time": datetime(2024, 5, 1, tzinfo=UTC)}
    ]


def test_one_column_may_serve_twice(read: ReadAll, file: WriteFile) -> None:
    found = read(file("a.csv", "text,port\na,1069\n"), sender_column="port", access_code_column="port")
    assert found.rows == [{"text": "a", "sender": "1069", "access_code": "1069"}]


def test_empty_name_leaves_a_column_out(read: ReadAll, file: WriteFile) -> None:
    path = file("a.csv", "text,time\na,half past nine\n")
    assert read(path).causes == [(2, "time", "bad_time")]
    assert read(path, time_column="").rows == [{"text": "a"}]


def test_missing_column_stops_the_run_before_it_begins_and_names_the_closest(read: ReadAll, file: WriteFile) -> None:
    good, bad = file("a.csv", "text,sender\na,1\n"), file("b.csv", "Text,sendr,other\nb,1,2\n")
    with pytest.raises(MissingColumn) as caught:
        read(good, bad)
    assert caught.value.data["path"] == bad
    assert "no column 'text' (asked for as text_column); found: 'Text', 'sendr', 'other'. Did you mean 'Text'?" in str(
        caught.value
    )
    with pytest.raises(MissingColumn, match="Did you mean 'sendr'"):
        read(bad, text_column="Text", sender_column="sender")


def test_times_without_a_zone_are_in_the_zone_that_is_given(read: ReadAll, file: WriteFile) -> None:
    path = file("a.csv", "text,time\na,2024-05-01 08:00:00\n")
    assert read(path).rows[0]["time"] == datetime(2024, 5, 1, tzinfo=UTC)
    assert read(path, zone="UTC").rows[0]["time"] == datetime(2024, 5, 1, 8, tzinfo=UTC)
    with pytest.raises(BadValue, match="zone"):
        read(path, zone="Mars/Olympus")


def test_bad_time_is_rejected_with_its_line_and_raw_row(read: ReadAll, file: WriteFile) -> None:
    found = read(file("a.csv", "text,time\na,2024-05-01\nb,tomorrow\nc,\n"), keep_columns=True)
    assert found.texts == ["a", "c"]
    assert found.numbers == [0, 2]
    assert [row["text"] for row in found.kept] == ["a", "c"]
    assert found.causes == [(3, "time", "bad_time")]
    assert found.rejects[0].raw == "b,tomorrow"
    assert "'tomorrow' is no time, expected ISO 8601" in found.rejects[0].detail


def test_kept_columns_of_all_files_come_in_order_of_appearance(read: ReadAll, file: WriteFile, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [7], "text": ["c"], "price": [1.5]}), tmp_path / "c.parquet")
    found = read(
        file("a.csv", "id,text\n1,a\n"),
        file("b.jsonl", '{"text":"b","id":2,"more":[1]}\n'),
        str(tmp_path / "c.parquet"),
        keep_columns=True,
    )
    assert found.reader.kept_schema is not None
    assert found.reader.kept_schema.names == ["id", "text", "more", "price"]
    assert found.kept == [
        {"id": "1", "text": "a", "more": None, "price": None},
        {"id": "2", "text": "b", "more": "[1]", "price": None},
        {"id": "7", "text": "c", "more": None, "price": 1.5},
    ]


@pytest.mark.parametrize("batch_rows", [1, 3, 7, 100])
def test_batches_do_not_depend_on_how_rows_are_stored(
    file: WriteFile, tmp_path: Path, batch_rows: int, read: ReadAll
) -> None:
    texts = [f"text {number}" for number in range(50)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=9)
    stored = [
        [str(tmp_path / "a.parquet")],
        [file("a.csv", "text\n" + "\n".join(texts))],
        [file(f"{n}.jsonl", "\n".join(f'{{"text":"{text}"}}' for text in texts[n : n + 8])) for n in range(0, 50, 8)],
    ]
    for paths in stored:
        reader = read_messages(paths, on_reject=none, batch_rows=batch_rows, block_bytes=64)
        sizes = [batch.batch.num_rows for batch in reader]
        assert sizes == [batch_rows] * (50 // batch_rows) + [50 % batch_rows] * (50 % batch_rows > 0)
        assert read(*paths, batch_rows=batch_rows).texts == texts


def test_batches_of_very_long_texts_are_shorter(file: WriteFile, read: ReadAll) -> None:
    path = file("a.jsonl", ('{"text":"' + "x" * (9 << 20) + '"}\n') * 10)
    reader = read_messages([path], on_reject=none)
    sizes = [batch.batch.num_rows for batch in reader]
    assert sum(sizes) == 10
    assert max(sizes) <= 9


def test_bytes_read_rise_to_the_total(file: WriteFile, tmp_path: Path) -> None:
    texts = [f"text {number * number}" for number in range(60_000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "c.parquet")
    paths = [file("a.csv", "text\n" + "\n".join(texts)), str(tmp_path / "c.parquet"), file("b.csv", "text\nlast\n")]
    reader = read_messages(paths, on_reject=none, batch_rows=500, block_bytes=1000)
    read_so_far = [batch.bytes_read for batch in reader]
    assert read_so_far == sorted(read_so_far)
    assert reader.total_bytes == sum(os.path.getsize(path) for path in paths) == read_so_far[-1]
    assert 0 < read_so_far[0] < reader.total_bytes / 2


def standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))


def test_standard_input_is_read_in_every_format(
    read: ReadAll, monkeypatch: pytest.MonkeyPatch, file: WriteFile, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"text": ["您好", "b"]}), tmp_path / "a.parquet")
    contents = {
        "csv": "text\n您好\nb\n".encode("gb18030"),
        "tsv": b"text\n\xe6\x82\xa8\xe5\xa5\xbd\nb\n",
        "ndjson": '{"text":"您好"}\n{"text":"b"}\n'.encode(),
        "parquet": (tmp_path / "a.parquet").read_bytes(),
    }
    for format, content in contents.items():
        standard_input(monkeypatch, content)
        found = read("-", format=format)
        assert found.texts == ["您好", "b"]
        assert found.reader.total_bytes is None


def test_standard_input_is_read_once_and_only_with_a_format(read: ReadAll, monkeypatch: pytest.MonkeyPatch) -> None:
    standard_input(monkeypatch, b"text\na\n")
    with pytest.raises(UnknownFormat):
        read("-")
    with pytest.raises(BadValue, match="at most once"):
        read("-", "-", format="csv")


def test_named_pipe_is_read_without_losing_its_beginning(read: ReadAll, tmp_path: Path) -> None:
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    rows = "".join(f"text {number}\n" for number in range(100_000))
    writer = threading.Thread(target=lambda: path.write_text("text\n" + rows))
    writer.start()
    found = read(str(path))
    writer.join()
    assert len(found.texts) == 100_000
    assert found.texts[:2] == ["text 0", "text 1"]


@pytest.mark.parametrize("name", ["missing.csv", "missing.parquet", ".", "nul\0.csv"])
def test_input_that_is_not_there_stops_the_run_before_it_begins(
    read: ReadAll, file: WriteFile, tmp_path: Path, name: str
) -> None:
    good = file("a.csv", "text\na\n")
    with pytest.raises(InputUnreadable) as caught:
        read(good, str(tmp_path / name), format="csv" if name == "." else None)
    assert caught.value.code == "input_unreadable"


def test_options_that_make_no_sense_are_named(read: ReadAll, file: WriteFile) -> None:
    path = file("a.csv", "text\na\n")
    for options, field in (({"batch_rows": 0}, "batch_rows"), ({"encoding": "klingon"}, "encoding")):
        with pytest.raises(BadValue, match=field):
            read(path, **options)
    with pytest.raises(BadValue, match="inputs"):
        read()


cells = st.text(alphabet='ab",\n\t 好😀\\{}:', max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(cells, cells), max_size=15),
    st.sampled_from(["csv", "tsv", "jsonl"]),
    st.sampled_from(["utf-8", "utf-16", "gb18030"]),
    st.lists(st.tuples(st.integers(0, 500), st.binary(min_size=1, max_size=2)), max_size=4),
    st.integers(1, 40),
    st.integers(1, 5),
)
def test_blocks_and_batches_do_not_change_what_is_read(
    read: ReadAll,
    file: WriteFile,
    rows: list[tuple[str, str]],
    format: str,
    encoding: str,
    damage: list[tuple[int, bytes]],
    block_bytes: int,
    batch_rows: int,
) -> None:
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in row] for row in rows]
    lines = {
        "csv": ["text,sender", *(",".join(row) for row in quoted)],
        "tsv": ["text\tsender", *("\t".join(row) for row in rows)],
        "jsonl": ['{"text":"first"}', *(f'{{"text":"{text}","sender":"{sender}"}}' for text, sender in rows)],
    }[format]
    content = ("\n".join(lines) + "\n").encode(encoding)
    for at, inserted in damage:
        place = min(len(content), at + 40)
        content = content[:place] + inserted + content[place:]
    path = file(f"a.{format}", content)
    try:
        whole = read(path, keep_columns=True)
    except (InputUnreadable, MissingColumn):
        return
    parts = read(path, keep_columns=True, block_bytes=block_bytes, batch_rows=batch_rows)
    assert (parts.rows, parts.numbers, parts.kept, parts.rejects) == (
        whole.rows,
        whole.numbers,
        whole.kept,
        whole.rejects,
    )
