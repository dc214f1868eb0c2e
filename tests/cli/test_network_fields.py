"""IMSI, MSC, cell and device at the command line: columns of a file, options of `explain`."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mingbai.ledger import StreamReader
from tests.cli.conftest import CHAT, Run

pytestmark = pytest.mark.slow

RULES = """
[rulebook]
name = "persons"
version = "1"

[[rule]]
id = "sim.farm"
category = "fraud"
action = "block"
owner = "anti-fraud desk"
reason = "SIM cards that were sold as a set"
imsis = ["460017*"]

[[rule]]
id = "box"
category = "fraud"
action = "block"
owner = "anti-fraud desk"
reason = "a device that only SIM boxes are"
devices = ["35209900"]
cells = ["460-00-7-*"]
"""
ROWS = (
    f"text,sender,imsi,cell,imei\n{CHAT},13900000001,460017000000001,,\n"
    f"{CHAT},13900000002,460020000000001,460-00-7-9,352099001761481\n{CHAT},13900000003,,460-00-8-1,\n"
)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    (tmp_path / "persons.toml").write_text(RULES, encoding="utf-8")
    return tmp_path / "persons.toml"


def _decided(path: Path) -> list[tuple[str, bool]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row["verdict"], "field.absent" in row["reasons"]) for row in rows]


def test_columns_are_found_by_their_names_or_named(run: Run, book: Path, tmp_path: Path) -> None:
    day, out = tmp_path / "day.csv", tmp_path / "o.jsonl"
    day.write_text(ROWS, encoding="utf-8")
    assert run("screen", day, "--rules", book, "--device-column", "imei", "-o", out).code == 0
    # The first brings neither cell nor device, which `box` looks at; the third is in another cell.
    assert _decided(out) == [("block", True), ("block", False), ("allow", True)]
    assert run("screen", day, "--rules", book, "-o", out).code == 0
    assert _decided(out) == [("block", True), ("allow", True), ("allow", True)]
    arguments = ("--imsi-column", "", "--cell-column", "", "-o", out)
    assert run("screen", day, "--rules", book, *arguments).code == 0
    assert _decided(out) == [("allow", True)] * 3
    done = run("screen", day, "--rules", book, "--msc-column", "vmsc", "-o", out)
    assert done.code == 2 and "vmsc" in done.err


def test_a_column_of_that_name_and_another_meaning_is_left_alone(run: Run, book: Path, tmp_path: Path) -> None:
    day, out = tmp_path / "day.parquet", tmp_path / "o.jsonl"
    columns = {"text": [CHAT], "imsi": ["460017000000001"], "device": pa.array([{"maker": "x"}]), "cell": [7]}
    pq.write_table(pa.table(columns), day)
    assert run("screen", day, "--rules", book, "-o", out).code == 0
    assert _decided(out) == [("block", False)]
    done = run("screen", day, "--rules", book, "--device-column", "device", "-o", out)
    assert done.code == 2 and "device" in done.err


def test_they_are_not_recorded(run: Run, book: Path, tmp_path: Path) -> None:
    day = tmp_path / "day.csv"
    day.write_text(ROWS, encoding="utf-8")
    data = tmp_path / "data"
    assert run("screen", day, "--rules", book, "--ledger", "--data", data, "-o", tmp_path / "o.csv").code == 0
    rows = [row for batch in StreamReader(data, "batch").entries() for row in batch.to_pylist()]
    assert any(row["rules"] == ["sim.farm"] for row in rows)
    for path in data.rglob("*"):
        assert not path.is_file() or b"460017000000001" not in path.read_bytes(), path


def test_explain_takes_them_and_names_what_was_not_applied(run: Run, book: Path) -> None:
    done = run("explain", CHAT, "--rules", book, "--cell", "460-00-7-1")
    assert "rule sim.farm was not applied: a field is absent" in done.out
    assert "rule box was not applied" in done.out
    assert "does not bring the field that it looks at" in done.out
    assert "规则 sim.farm 未适用：缺少字段" in run("explain", CHAT, "--rules", book, "--lang", "zh").out
    arguments = ("--imsi", "460017000000009", "--msc", "8613900123", "--device", "35209900")
    found = json.loads(run("explain", CHAT, "--rules", book, "--json", *arguments).out)
    assert [rule["id"] for rule in found["rules"]] == ["sim.farm"]
    assert (found["verdict"], found["not_applied"]) == ("block", ["box"])
