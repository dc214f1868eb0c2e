from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.connectors.tables import Cause, OutputCannotWrite, Reject, RejectsWriter, UnknownFormat
from mingbai.connectors.tables.rejects import RAW_CHARACTERS, escaped


def reject(raw: str = "x", row: int = 0, rows: int = 1) -> Reject:
    return Reject("dir/a.csv", 7, "text", Cause.UNDECODABLE, 'byte 1, "here"', raw, row, rows)


def test_rejects_are_written_as_csv(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    with RejectsWriter(path) as rejects:
        rejects(reject('a,"b"'))
        rejects(reject("c", 5, 3))
    rows = list(csv.DictReader(path.open(encoding="utf-8", newline="")))
    assert rows[0] == {
        "file": "dir/a.csv",
        "line": "7",
        "column": "text",
        "cause": "undecodable",
        "detail": 'byte 1, "here"',
        "row": "0",
        "rows": "1",
        "raw": 'a,"b"',
    }
    assert (rows[1]["row"], rows[1]["rows"]) == ("5", "3")
    assert rejects.counts == {Cause.UNDECODABLE: 4}


def test_rejects_are_written_as_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    with RejectsWriter(path) as rejects:
        rejects(reject("您好"))
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {
            "file": "dir/a.csv",
            "line": 7,
            "column": "text",
            "cause": "undecodable",
            "detail": 'byte 1, "here"',
            "row": 0,
            "rows": 1,
            "raw": "您好",
        }
    ]


def test_without_rejects_no_file_is_made_and_an_old_one_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    with RejectsWriter(path):
        pass
    assert list(tmp_path.iterdir()) == []
    path.write_text("yesterday")
    with RejectsWriter(path):
        pass
    assert path.read_text() == "file,line,column,cause,detail,row,rows,raw\n"


def test_rejects_so_far_are_kept_when_the_run_fails(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    rejects = RejectsWriter(path)
    rejects(reject())
    rejects.__exit__(RuntimeError, RuntimeError(), None)
    assert len(path.read_text().splitlines()) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_rejects_go_to_csv_or_json_lines_only(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat, match="csv, jsonl"):
        RejectsWriter(tmp_path / "rejects.parquet")


def test_rejects_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    rejects = RejectsWriter(tmp_path / "missing" / "rejects.csv")
    with pytest.raises(OutputCannotWrite, match="ENOENT"):
        rejects(reject())


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain, 您好", "plain, 您好"),
        (b"\xff\xfea", "\\xff\\xfea"),
        ("tab\tnul\0line\n", "tab\\x09nul\\x00line\\x0a"),
        ("back\\slash", "back\\\\slash"),
        ("=1+1", "\\x3d1+1"),
        ("+86", "\\x2b86"),
        ("-1", "\\x2d1"),
        ("@cmd", "\\x40cmd"),
        ("a=b", "a=b"),
        ("\u2028", "\\u2028"),
    ],
)
def test_raw_rows_are_escaped_so_that_every_byte_can_be_read_off(raw: str | bytes, shown: str) -> None:
    assert escaped(raw) == shown


def test_raw_rows_are_cut() -> None:
    assert escaped("好" * (RAW_CHARACTERS + 1)) == "好" * RAW_CHARACTERS + "…"
    assert escaped(("😀" * (RAW_CHARACTERS + 1)).encode()) == "😀" * RAW_CHARACTERS + "…"
    assert escaped(("😀" * RAW_CHARACTERS).encode()) == "😀" * RAW_CHARACTERS
    assert escaped(("a" + "\ud800" * 5000).encode("utf-8", "surrogatepass"), transcoded=True).endswith("\\ud800…")


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_different_rows_look_different(one: bytes, other: bytes) -> None:
    assert (escaped(one) == escaped(other)) == (one == other)
    assert escaped(one).isprintable() or not one.decode("utf-8", "replace").isprintable()
