"""`mingbai screen`: exit codes, columns, rejects, the record, the summary."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mingbai.ledger import StreamReader, verify
from tests.cli.conftest import CHAT, SPAM, Run, command

pytestmark = pytest.mark.slow


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_row_gets_its_decision_in_input_order(run: Run, messages: Path, rules: Path, tmp_path: Path) -> None:
    done = run("screen", messages, "--rules", rules, "--output", tmp_path / "o.csv")
    assert done.code == 0
    rows = rows_of(tmp_path / "o.csv")
    assert list(rows[0]) == ["row", "verdict", "category", "score", "reasons", "campaign"]
    assert [row["row"] for row in rows] == ["0", "1"]
    assert rows[1]["verdict"] == "block"
    assert "rule.keyword" in rows[1]["reasons"].split(";")
    assert 0 <= float(rows[0]["score"]) <= 1
    assert len(rows[0]["campaign"]) == 16
    int(rows[0]["campaign"], 16)
    assert done.out == ""
    assert "2 messages" in done.err


def test_the_inputs_own_columns_are_kept_when_asked(run: Run, messages: Path, tmp_path: Path) -> None:
    assert run("screen", messages, "--keep-columns", "-o", tmp_path / "o.jsonl").code == 0
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == [SPAM, CHAT]
    assert rows[0]["sender"] == "13900000001"


def test_formats_give_the_same_decisions(run: Run, messages: Path, tmp_path: Path) -> None:
    table = pa.table({"text": [SPAM, CHAT], "sender": ["13900000001", "13900000002"]})
    pq.write_table(table, tmp_path / "m.parquet")
    (tmp_path / "m.tsv").write_text(f"text\tsender\n{SPAM}\t13900000001\n{CHAT}\t13900000002\n", encoding="gb18030")
    for name in ("m.parquet", "m.tsv", "messages.csv"):
        assert run("screen", tmp_path / name, "-o", tmp_path / f"{name}.out.parquet").code == 0
    outputs = [pq.read_table(tmp_path / f"{name}.out.parquet") for name in ("m.parquet", "m.tsv", "messages.csv")]
    assert outputs[0].equals(outputs[1])
    assert outputs[0].equals(outputs[2])
    assert pa.types.is_list(outputs[0].schema.field("reasons").type)


def test_rows_are_numbered_over_all_files(run: Run, messages: Path, tmp_path: Path) -> None:
    assert run("screen", messages, messages, "-o", tmp_path / "o.csv").code == 0
    assert [row["row"] for row in rows_of(tmp_path / "o.csv")] == ["0", "1", "2", "3"]


def test_a_bad_row_goes_to_the_rejects_and_the_run_goes_on(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"text,sender\nhello,1\nbroken\nagain,2\n")
    done = run("screen", tmp_path / "m.csv", "-o", tmp_path / "o.csv", "--rejects", tmp_path / "r.csv")
    assert done.code == 1
    assert [row["row"] for row in rows_of(tmp_path / "o.csv")] == ["0", "2"]
    (reject,) = rows_of(tmp_path / "r.csv")
    assert (reject["line"], reject["cause"]) == ("3", "field_count")


def test_without_a_rejects_file_bad_rows_are_named_on_standard_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"text,sender\nhello,1\n" + b"broken\n" * 9)
    done = run("screen", tmp_path / "m.csv", "-o", tmp_path / "o.csv")
    assert done.code == 1
    assert "line 3: rejected" in done.err
    assert "--rejects FILE" in done.err
    assert "9 rows rejected" in done.err


def test_without_output_a_summary_is_shown(run: Run, messages: Path, rules: Path) -> None:
    done = run("screen", messages, "--rules", rules)
    assert done.code == 0
    assert "of 2 messages are stopped" in done.out
    assert "no-dinners" in done.out


def test_the_summary_shows_no_number_of_anybody(run: Run, tmp_path: Path) -> None:
    texts = [SPAM.replace("13900001111", f"1390000{number:04d}") for number in range(5)]
    (tmp_path / "m.csv").write_text("text\n" + "\n".join(texts) + "\n", encoding="utf-8")
    done = run("screen", tmp_path / "m.csv")
    assert "惠民贷" in done.out
    assert "1390000" not in done.out


def test_the_summary_is_there_in_chinese(run: Run, messages: Path) -> None:
    done = run("screen", messages, "--lang", "zh")
    assert "条短信中" in done.out
    assert "放行" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["screen"], "at least one file"),
        (["screen", "none.csv"], "none.csv: cannot be read"),
        (["screen", "messages.csv", "--text-column", "body"], "no column 'body'"),
        (["screen", "messages.csv", "--output", "o.txt"], ".parquet"),
        (["screen", "messages.csv", "--rules", "none.toml"], "none.toml"),
        (["screen", "messages.csv", "--model", "none.npz"], "none.npz: cannot be read"),
        (["screen", "messages.csv", "--threads", "0"], "1 or more"),
        (["screen", "messages.csv", "--thread", "2"], "unknown option --thread"),
        (["screen", "messages.csv", "--threads", "two"], "--threads"),
        (["screen", "-"], "format"),
        (["scren"], "unknown command"),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_one_message(
    run: Run, messages: Path, arguments: list[str], said: str
) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_bad_rulebook_stops_the_start_with_all_its_errors(run: Run, messages: Path, tmp_path: Path) -> None:
    bad = '[rulebook]\nname = "t"\nversion = "1"\n[[rule]]\nid = "x"\ncategory = "opinion"\naction = "burn"\n'
    (tmp_path / "bad.toml").write_text(bad, encoding="utf-8")
    done = run("screen", messages, "--rules", tmp_path / "bad.toml", "-o", tmp_path / "o.csv")
    assert done.code == 2
    assert "bad.toml:6: rule x: category" in done.err
    assert "bad.toml:7: rule x: action" in done.err
    assert not (tmp_path / "o.csv").exists()


def test_decisions_are_recorded_before_they_are_written(run: Run, messages: Path, data: Path, tmp_path: Path) -> None:
    done = run("screen", messages, "--ledger", "-o", tmp_path / "o.csv")
    assert done.code == 0
    assert "recorded: 2 decisions" in done.err
    report = verify(data)
    assert report.ok
    assert report.streams[0].heads == 1
    entries = pa.Table.from_batches(StreamReader(data, "batch").entries(["kind", "verdict"]))
    assert entries.column("kind").to_pylist().count("sms.screened") == 2


def test_a_file_on_standard_input_comes_out_on_standard_output(program: Run) -> None:
    done = program("screen", "-", "--format", "csv", "--output", "-", input=f"text\n{SPAM}\n{CHAT}\n")
    assert done.code == 0
    assert done.out.splitlines()[0] == "row,verdict,category,score,reasons,campaign"
    assert len(done.out.splitlines()) == 3


def test_the_language_follows_the_environment(program: Run) -> None:
    assert "用法" in program("--help", LC_ALL="zh_CN.UTF-8").out
    assert "Usage" in program("--help", LC_ALL="", LANG="en_US.UTF-8").out


def test_help_needs_neither_engine_nor_ledger(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom mingbai.cli import main\nassert main(['--help']) == 0\n"
        "heavy = {'numba', 'pyarrow', 'duckdb', 'cryptography', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_progress_is_shown_on_standard_error_when_asked(program: Run, messages: Path, tmp_path: Path) -> None:
    done = program("screen", messages, "-o", tmp_path / "o.csv", "--progress")
    assert "Screening" in done.err
    assert done.out == ""


@pytest.mark.slow
def test_kill_in_the_middle_loses_nothing_acknowledged(
    data: Path, tmp_path: Path, run: Run, loops: Callable[[int], int], seed: int
) -> None:
    path = tmp_path / "many.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("text,sender\n")
        file.writelines(f"{SPAM.replace('kd8866', f'kd{number}')},139{number:08d}\n" for number in range(60_000))
    (tmp_path / "mingbai.toml").write_text("[screening]\nbatch_rows = 500\n")
    rng = random.Random(seed)
    output = tmp_path / "o.csv"
    acknowledged = 0
    for _round in range(loops(20)):
        child = subprocess.Popen(
            command("screen", path, "--ledger", "--output", output),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "MINGBAI_DATA": str(data)},
        )
        try:
            target = acknowledged + rng.randrange(1000, 50_000)
            while child.poll() is None and durable(data) < target:
                time.sleep(0.01)
            child.send_signal(signal.SIGKILL)
        finally:
            child.wait()
        seen = durable(data)
        assert seen >= acknowledged
        if output.exists():  # it was put there at the very end, before the signal came: then it is whole
            assert len(rows_of(output)) == 60_000
            output.unlink()
        acknowledged = seen
    done = run("screen", path, "--ledger", "--output", output)
    assert done.code == 0
    assert len(rows_of(output)) == 60_000
    assert verify(data).ok
    assert durable(data) >= acknowledged + 60_000


def durable(data: Path) -> int:
    """Entries that a reader sees: at least those that were acknowledged."""
    try:
        return sum(batch.num_rows for batch in StreamReader(data, "batch").entries(["seq"]))
    except FileNotFoundError:
        return 0
