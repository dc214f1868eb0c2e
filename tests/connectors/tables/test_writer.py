from __future__ import annotations

import csv
import gzip
import io
import json
import os
import stat
import subprocess
import sys
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any  # cells of a table are of any type

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.connectors.tables import (
    OUTPUT,
    OutputCannotWrite,
    OutputWriter,
    Reject,
    UnknownFormat,
    open_output,
    output_schema,
    read_messages,
)
from mingbai.kernel.verdicts import Category, Reason, Verdict

pytestmark = pytest.mark.slow

FORMATS = ["csv", "jsonl", "parquet"]


def decisions(n: int = 3) -> pa.RecordBatch:
    """Three kinds of decision, repeated."""
    kinds = [
        (Verdict.BLOCK, Category.FRAUD, 0.1, [Reason.MODEL_SPAM, Reason.CAMPAIGN_BURST], 0xABC),
        (Verdict.ALLOW, Category.PERSONAL, 0.0, [], 0),
        (Verdict.FLAG, Category.ILLEGAL_TRADE, 1e-9, [Reason.RULE_KEYWORD], 2**64 - 1),
    ]
    verdicts, categories, scores, reasons, campaigns = zip(*[kinds[row % 3] for row in range(n)], strict=True)
    return pa.record_batch(
        {
            "verdict": pa.array(verdicts, pa.uint8()),
            "category": pa.array(categories, pa.uint8()),
            "score": pa.array(scores, pa.float32()),
            "reasons": pa.array(reasons, pa.list_(pa.uint16())),
            "rules": pa.array([[]] * n, pa.list_(pa.string())),
            "campaign": pa.array(campaigns, pa.uint64()),
        }
    )


def write(path: Path, kept: pa.RecordBatch | None = None, n: int = 3, **options: Any) -> None:  # options of open_output
    with open_output(path, kept.schema if kept is not None else None, **options) as output:
        output.write(np.arange(n), decisions(n), kept)


def table(path: Path) -> list[dict[str, Any]]:  # cells are of any type
    """What an ordinary program reads there."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()  # as above
    return rows


def test_csv_has_the_columns_of_the_contract(tmp_path: Path) -> None:
    write(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == (
        "row,verdict,category,score,reasons,campaign\n"
        "0,block,fraud,0.1,model.spam;campaign.burst,0000000000000abc\n"
        "1,allow,personal,0.0,,\n"
        "2,flag,illegal_trade,1e-9,rule.keyword,ffffffffffffffff\n"
    )


def test_json_lines_have_the_columns_of_the_contract(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl")
    rows = table(tmp_path / "out.jsonl")
    assert rows[0] == {
        "row": 0,
        "verdict": "block",
        "category": "fraud",
        "score": 0.1,
        "reasons": ["model.spam", "campaign.burst"],
        "campaign": "0000000000000abc",
    }
    assert (rows[1]["reasons"], rows[1]["campaign"], rows[1]["score"]) == ([], "", 0.0)
    assert [type(row["score"]) for row in rows] == [float, float, float]


def test_parquet_has_the_columns_of_the_contract(tmp_path: Path) -> None:
    write(tmp_path / "out.parquet")
    assert pq.read_schema(tmp_path / "out.parquet").equals(OUTPUT)
    rows = table(tmp_path / "out.parquet")
    assert rows[2]["score"] == pytest.approx(1e-9)
    assert rows[0]["reasons"] == ["model.spam", "campaign.burst"]


def written(format: str, batch: pa.RecordBatch, kept: pa.RecordBatch | None = None) -> bytes:
    """What goes to standard output."""
    before, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO())
    try:
        with open_output("-", kept.schema if kept is not None else None, format=format) as output:
            output.write(np.arange(batch.num_rows), batch, kept)
        stream = sys.stdout.buffer
        assert isinstance(stream, io.BytesIO)
        return stream.getvalue()
    finally:
        sys.stdout = before


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
def test_score_reads_back_as_the_same_float32(scores: list[float]) -> None:
    batch = decisions(len(scores)).set_column(2, "score", pa.array(scores, pa.float32()))
    lines = list(csv.DictReader(io.StringIO(written("csv", batch).decode())))
    assert [np.float32(line["score"]) for line in lines] == [np.float32(score) for score in scores]
    objects = [json.loads(line) for line in written("jsonl", batch).splitlines()]
    assert [np.float32(line["score"]) for line in objects] == [np.float32(score) for score in scores]


def test_reason_of_a_newer_version_keeps_its_number(tmp_path: Path) -> None:
    batch = decisions(1).set_column(3, "reasons", pa.array([[2, 9, 60000]], pa.list_(pa.uint16())))
    with open_output(tmp_path / "out.jsonl") as output:
        output.write(np.array([0]), batch)
    assert table(tmp_path / "out.jsonl")[0]["reasons"] == ["model.spam", "9", "60000"]


def test_sliced_batches_are_written_as_the_rows_they_show(tmp_path: Path) -> None:
    kept = pa.record_batch({"id": pa.array([str(row) for row in range(9)])})
    for format in FORMATS:
        path = tmp_path / f"out.{format}"
        with open_output(path, kept.schema) as output:
            output.write(np.arange(9)[3:6], decisions(9).slice(3, 3), kept.slice(3, 3))
        assert [row["id"] for row in table(path)] == ["3", "4", "5"]
        assert [row["verdict"] for row in table(path)] == ["block", "allow", "flag"]


def test_kept_columns_whose_names_are_taken_are_renamed() -> None:
    names = ["score", "id", "row", "input_row", "input_score"]
    schema = output_schema(pa.schema([(name, pa.string()) for name in names]))
    assert schema.names[6:] == ["input_input_score", "id", "input_input_row", "input_row", "input_score"]
    assert len(set(schema.names)) == len(schema.names)


def test_kept_values_of_every_type_are_written(tmp_path: Path) -> None:
    values: dict[str, pa.Array] = {
        "text": pa.array(['a,"b"\n', " =1+1", None]),
        "whole": pa.array([2**60, -1, None]),
        "real": pa.array([1.0, float("nan"), 1e300]),
        "flag": pa.array([True, False, None]),
        "when": pa.array([0, 1, None], pa.timestamp("ms", "Asia/Shanghai")),
        "local": pa.array([datetime(2024, 5, 1, 8), None, None], pa.timestamp("s")),  # noqa: DTZ001 as a table has it
        "day": pa.array([date(2024, 5, 1), None, None]),
        "price": pa.array([Decimal("1.10"), None, None], pa.decimal128(10, 2)),
        "bytes": pa.array([b"\xff\x00", None, b""]),
        "nested": pa.array([{"a": [1.0, None], "b": b"\xff", "c": timedelta(seconds=1)}, None, {"a": [float("inf")]}]),
        "nanos": pa.array([[1], None, [2**62]], pa.list_(pa.timestamp("ns"))),
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":1.10}', '"\\ud800"', None])),
        "nothing": pa.nulls(3),
    }
    kept = pa.record_batch(values)
    for format in FORMATS:
        write(tmp_path / f"out.{format}", kept)
    cells = table(tmp_path / "out.csv")
    assert {name: cells[0][name] for name in values} == {
        "text": 'a,"b"\n',
        "whole": str(2**60),
        "real": "1",
        "flag": "true",
        "when": "1970-01-01T00:00:00.000Z",
        "local": "2024-05-01T08:00:00",
        "day": "2024-05-01",
        "price": "1.10",
        "bytes": "/wA=",
        "nested": '{"a": [1.0, null], "b": "/w==", "c": 1000000}',
        "nanos": '["1970-01-01T00:00:00"]',
        "json": '{"a":1.10}',
        "nothing": "",
    }
    assert cells[1]["text"] == " =1+1"
    assert cells[1]["json"] == "?"
    objects = table(tmp_path / "out.jsonl")
    assert {name: objects[0][name] for name in values} == {
        "text": 'a,"b"\n',
        "whole": 2**60,
        "real": 1.0,
        "flag": True,
        "when": "1970-01-01T00:00:00.000Z",
        "local": "2024-05-01T08:00:00",
        "day": "2024-05-01",
        "price": "1.10",
        "bytes": "/wA=",
        "nested": {"a": [1.0, None], "b": "/w==", "c": 1000000},
        "nanos": ["1970-01-01T00:00:00"],
        "json": {"a": 1.1},
        "nothing": None,
    }
    assert objects[1]["real"] is None
    assert '"json": {"a":1.10}' in (tmp_path / "out.jsonl").read_text()
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 3


@given(st.lists(st.text(), min_size=1, max_size=10), st.sampled_from(FORMATS))
def test_any_text_reads_back_as_it_was_kept(texts: list[str], format: str) -> None:
    kept = pa.record_batch({"text": pa.array(texts)})
    content = written(format, decisions(len(texts)), kept)
    if format == "csv":
        found = [row["text"] for row in csv.DictReader(io.StringIO(content.decode(), newline=""))]
    elif format == "jsonl":
        found = [json.loads(line)["text"] for line in content.decode().split("\n")[:-1]]
    else:
        found = pq.read_table(io.BytesIO(content)).column("text").to_pylist()
    assert found == texts


def none(reject: Reject) -> None:
    pytest.fail(str(reject))


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_can_be_read_as_input_again(tmp_path: Path, format: str) -> None:
    texts = ['您好, "再见"', "two\nlines", "", "=1+1", "😀"]
    path = tmp_path / f"out.{format}"
    write(path, pa.record_batch({"text": texts, "sender": ["1", None, "3", "4", "5"]}), n=5)
    batches = list(read_messages([path], on_reject=none, keep_columns=True))
    assert batches[0].batch.column("text").to_pylist() == texts
    assert batches[0].batch.column("sender").to_pylist() == ["1", None, "3", "4", "5"]


def test_formulas_are_left_alone_or_guarded(tmp_path: Path) -> None:
    kept = pa.record_batch({"text": ["=cmd()", "+86", "-1", "@x", "plain", None, "\t=x", "a=b", "'"]})
    write(tmp_path / "data.csv", kept, n=9)
    assert [row["text"] for row in table(tmp_path / "data.csv")] == [text or "" for text in kept["text"].to_pylist()]
    write(tmp_path / "sheet.csv", kept, n=9, guard_formulas=True)
    guarded = ["'=cmd()", "'+86", "'-1", "'@x", "plain", "", "'\t=x", "a=b", "'"]
    assert [row["text"] for row in table(tmp_path / "sheet.csv")] == guarded


@pytest.mark.parametrize("format", FORMATS)
def test_output_appears_whole_at_the_end(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"out.{format}"
    path.write_text("old")
    with open_output(path) as output:
        output.write(np.arange(3), decisions())
        assert path.read_text() == "old"
    assert len(table(path)) == 3
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_left_of_an_output_whose_run_fails(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"out.{format}"
    path.write_text("old")
    output = open_output(path)
    output.write(np.arange(3), decisions())
    output.__exit__(RuntimeError, RuntimeError(), None)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", FORMATS)
def test_empty_output_is_a_table_without_rows(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"out.{format}"
    with open_output(path):
        pass
    assert table(path) == []
    if format == "csv":
        assert path.read_text() == "row,verdict,category,score,reasons,campaign\n"


def test_output_has_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "out.csv")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o640


def test_symbolic_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "real" / "out.csv")
    write(tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert len(table(tmp_path / "real" / "out.csv")) == 3


def test_compressed_text_is_written(tmp_path: Path) -> None:
    write(tmp_path / "out.csv.gz")
    assert gzip.decompress((tmp_path / "out.csv.gz").read_bytes()).startswith(b"row,verdict")


def fill(output: OutputWriter) -> None:
    with output:
        for _ in range(100):
            output.write(np.arange(3000), decisions(3000))


@pytest.mark.parametrize("format", FORMATS)
def test_full_disk_is_an_error_that_says_so(format: str) -> None:
    output = open_output("/dev/full", format=format)
    with pytest.raises(OutputCannotWrite, match=r"/dev/full: cannot be written: .*ENOSPC") as caught:
        fill(output)
    assert caught.value.data["errno"] == 28
    assert Path("/dev/full").is_char_device()


TOO_LARGE = """
import resource, signal, sys
import numpy as np
from mingbai.connectors.tables import OutputCannotWrite, open_output
import pyarrow as pa
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
n = 20_000
batch = pa.record_batch({
    "verdict": pa.array([0] * n, pa.uint8()), "category": pa.array([0] * n, pa.uint8()),
    "score": pa.array(np.random.default_rng(1).random(n, np.float32)),
    "reasons": pa.array([[]] * n, pa.list_(pa.uint16())),
    "campaign": pa.array(np.random.default_rng(1).integers(1, 2**62, n), pa.uint64()),
})
try:
    with open_output(sys.argv[1]) as output:
        for _ in range(20):
            output.write(np.arange(n), batch)
except OutputCannotWrite as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet", "out.csv.gz"])
def test_nothing_is_left_behind_when_the_disk_takes_no_more(tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TOO_LARGE, str(tmp_path / name)], capture_output=True, text=True, check=True
    )
    assert f"{name}: cannot be written: File too large (EFBIG)" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["missing/out.csv", "file/out.csv", "nul\0.csv"])
def test_place_that_cannot_be_written_is_an_error_at_once(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputCannotWrite):
        open_output(tmp_path / place)


def test_output_needs_a_format_that_can_be_written() -> None:
    for path in ("out.tsv", "out", "-"):
        with pytest.raises(UnknownFormat):
            open_output(path)


def test_row_groups_are_large(tmp_path: Path) -> None:
    with open_output(tmp_path / "out.parquet") as output:
        for start in range(0, 300_000, 10_000):
            output.write(np.arange(start, start + 10_000), decisions(10_000))
    about = pq.ParquetFile(tmp_path / "out.parquet").metadata
    assert (about.num_rows, about.num_row_groups) == (300_000, 3)
    assert pq.read_table(tmp_path / "out.parquet").column("row").to_pylist() == list(range(300_000))
