"""`mingbai ledger`: what a person asks of the record."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mingbai.connectors.ledger_access import open_ledger
from mingbai.ledger import FileKeys, KeyStore
from mingbai.settings import Settings
from tests.cli.conftest import Run

pytestmark = pytest.mark.slow


@pytest.fixture
def recorded(run: Run, messages: Path, rules: Path, data: Path) -> Path:
    assert run("screen", messages, "--rules", rules, "--ledger", "-o", "o.csv").code == 0
    return data


def test_a_whole_record_verifies(run: Run, recorded: Path) -> None:
    done = run("ledger", "verify")
    assert done.code == 0
    assert "The record is whole" in done.out
    assert "without an anchor nobody can vouch" in done.out


def test_a_changed_byte_is_found_and_named(run: Run, recorded: Path) -> None:
    (segment,) = (recorded / "ledger" / "batch" / "entries").iterdir()
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    done = run("ledger", "verify")
    assert done.code == 1
    assert "changed" in done.out
    assert segment.name in done.out


def test_an_anchor_covers_what_was_there_and_says_what_it_does_not(
    run: Run, recorded: Path, messages: Path, tmp_path: Path
) -> None:
    assert run("ledger", "export-anchor", tmp_path / "anchor.jsonl").code == 0
    assert run("screen", messages, "--ledger", "-o", "o2.csv").code == 0
    done = run("ledger", "verify", "--anchor", tmp_path / "anchor.jsonl")
    assert done.code == 0
    assert "nobody can vouch" in done.out
    assert "SHA256:" in done.out


def test_a_truncated_record_is_found_with_an_anchor_only(
    run: Run, recorded: Path, messages: Path, tmp_path: Path
) -> None:
    (segment,) = (recorded / "ledger" / "batch" / "entries").iterdir()
    before = segment.read_bytes()
    assert run("screen", messages, "--ledger", "-o", "o2.csv").code == 0
    assert run("ledger", "export-anchor", tmp_path / "anchor.jsonl").code == 0
    segment.write_bytes(before)
    assert run("ledger", "verify").code == 0
    assert run("ledger", "verify", "--anchor", tmp_path / "anchor.jsonl").code == 1


def test_the_last_entries_are_shown_without_numbers_or_texts(run: Run, recorded: Path) -> None:
    done = run("ledger", "show", "-n", "3")
    assert done.code == 0
    assert "rule:no-dinners" in done.out
    assert "吃饭" not in done.out
    assert "1390000" not in done.out


def test_sql_sees_sealed_and_open_segments_alike(run: Run, recorded: Path, messages: Path) -> None:
    settings = Settings(data=recorded)
    now = datetime.now(UTC)
    with open_ledger(settings, now=now) as ledger:
        ledger.seal(now=now)
    assert run("screen", messages, "--ledger", "-o", "o2.csv").code == 0
    sql = "SELECT count(*) AS n, count(DISTINCT sender) AS senders FROM entries WHERE kind = 'sms.screened'"
    done = run("ledger", "query", sql, "--csv")
    assert done.code == 0
    assert list(csv.DictReader(done.out.splitlines())) == [{"n": "4", "senders": "2"}]
    twice = "SELECT count(*) AS n FROM entries a JOIN entries b USING (stream, seq)"
    assert int(run("ledger", "query", twice, "--csv").out.splitlines()[1]) > 4


def test_a_query_cannot_read_other_files(run: Run, recorded: Path, messages: Path) -> None:
    done = run("ledger", "query", f"SELECT * FROM read_csv('{messages}')")
    assert done.code == 2
    assert "惠民贷" not in done.out + done.err


def test_a_query_that_is_no_sql_says_so(run: Run, recorded: Path) -> None:
    done = run("ledger", "query", "SELEKT 1")
    assert done.code == 2
    assert "syntax error" in done.err


def test_what_is_over_is_deleted_and_the_record_still_verifies(run: Run, recorded: Path) -> None:
    assert "nothing to delete" in run("ledger", "expire").out
    old = datetime.now(UTC) - timedelta(days=400)
    keys = KeyStore.open_or_create(FileKeys(recorded / "keys.json"))
    with open_ledger(Settings(data=recorded), now=old, stream="old") as ledger:
        import pyarrow as pa

        ledger.record(
            pa.record_batch(
                {
                    "verdict": pa.array([3], pa.uint8()),
                    "category": pa.array([3], pa.uint8()),
                    "score": pa.array([1.0], pa.float32()),
                    "text": ["old"],
                    "sender": ["+8613900000001"],
                }
            ),
            now=old,
        )
    assert keys.public_key
    done = run("ledger", "expire")
    assert done.code == 0
    assert "text of flagged and stopped messages" in done.out
    assert "numbers and times" in done.out
    assert run("ledger", "verify").code == 0


def test_keys_come_back_from_a_backup(run: Run, recorded: Path, tmp_path: Path) -> None:
    (tmp_path / "phrase").write_text("correct horse battery\n")
    assert run("ledger", "keys", "backup", tmp_path / "backup", "--passphrase-file", tmp_path / "phrase").code == 0
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
    before = (recorded / "keys.json").read_bytes()
    again = run("ledger", "keys", "restore", tmp_path / "backup", "--passphrase-file", tmp_path / "phrase")
    assert again.code == 0  # the same keys: nothing to overwrite
    (recorded / "keys.json").unlink()
    assert run("ledger", "keys", "restore", tmp_path / "backup", "--passphrase-file", tmp_path / "phrase").code == 0
    assert (recorded / "keys.json").read_bytes() == before
    (tmp_path / "phrase").write_text("wrong horse battery\n")
    wrong = run("ledger", "keys", "restore", tmp_path / "backup", "--passphrase-file", tmp_path / "phrase")
    assert wrong.code == 2
    assert "wrong passphrase" in wrong.err


@pytest.mark.parametrize("which", ["master", "signing", "pseudonym"])
def test_a_rotated_key_leaves_a_record_that_verifies_and_goes_on(
    run: Run, recorded: Path, messages: Path, which: str
) -> None:
    assert run("ledger", "keys", "rotate", which).code == 0
    assert run("screen", messages, "--ledger", "-o", "o2.csv").code == 0
    assert run("ledger", "verify").code == 0


def test_without_a_ledger_each_command_says_how_to_begin_one(run: Run) -> None:
    for words in (["verify"], ["show"], ["query", "SELECT 1"], ["expire"], ["export-anchor", "a.jsonl"]):
        done = run("ledger", *words)
        assert done.code == 2
        assert "--ledger" in done.err


def test_keys_of_another_ledger_are_refused(run: Run, recorded: Path, messages: Path) -> None:
    (recorded / "keys.json").unlink()
    done = run("screen", messages, "--ledger", "-o", "o2.csv")
    assert done.code == 2
    assert "was written with signing key" in done.err
