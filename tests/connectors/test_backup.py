"""Backup and restore: a copy taken while the ledger is written verifies; one that is cut or changed is refused."""

from __future__ import annotations

import itertools
import json
import os
import tarfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mingbai.connectors.backup import BackupFailed, BackupUnreadable, extract_backup, read_manifest, write_backup
from mingbai.ledger import KeyStore, Ledger, LedgerOptions, StreamReader, verify

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)


def _rows(count: int, start: int) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "verdict": pa.array(np.arange(count) % 4, pa.uint8()),
            "category": pa.array(np.zeros(count), pa.uint8()),
            "score": pa.array(np.zeros(count), pa.float32()),
            "text": pa.array([f"message {start + n}" for n in range(count)]),
            "sender": pa.array([f"+8613800{start + n:06d}" for n in range(count)]),
        }
    )


def _ledger(data: Path, max_segment_rows: int = 1_000_000) -> Ledger:
    keys = KeyStore.open_or_create(data / "keys.json")
    return Ledger.open(data, stream="api", keys=keys, now=NOW, options=LedgerOptions(max_segment_rows=max_segment_rows))


def _no_database(folder: Path) -> None:
    return None


def test_a_backup_taken_while_the_ledger_is_written_verifies_and_holds_all_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    stop, acknowledged = threading.Event(), []
    with _ledger(data, max_segment_rows=1000) as ledger:

        def write() -> None:
            for number in itertools.count():
                if stop.is_set():
                    return
                at = NOW + timedelta(milliseconds=number)
                acknowledged.append(ledger.record(_rows(37, number * 37), now=at).last_seq)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            while len(acknowledged) < 60:
                pass
            known = acknowledged[-1]
            made = write_backup(data, tmp_path / "b.tar", now=NOW, copy_database=_no_database)
        finally:
            stop.set()
            writer.join()
    assert made.streams == ("api",)
    assert made.has_keys
    assert os.stat(made.path).st_mode & 0o777 == 0o600

    extract_backup(tmp_path / "b.tar", tmp_path / "restored")
    report = verify(tmp_path / "restored")
    assert report.ok, report.findings
    assert report.streams[0].last_seq >= known

    keys = KeyStore.open_or_create(tmp_path / "restored" / "keys.json")
    (original,) = StreamReader(tmp_path / "restored", "api", keys).originals([known]).to_pylist()
    assert original["text"].startswith("message ")
    with Ledger.open(tmp_path / "restored", stream="api", keys=keys, now=NOW + timedelta(hours=1)) as again:
        again.record(_rows(5, 0), now=NOW + timedelta(hours=1))
    assert verify(tmp_path / "restored").ok


def test_a_torn_tail_is_left_out(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with _ledger(data) as ledger:
        last = ledger.record(_rows(10, 0), now=NOW).last_seq
    (segment,) = (data / "ledger" / "api" / "entries").glob("*.arrows")
    with segment.open("ab") as file:
        file.write(b"\xff\xff\xff\xff half of a commit")
    write_backup(data, tmp_path / "b.tar", now=NOW, copy_database=_no_database)
    extract_backup(tmp_path / "b.tar", tmp_path / "restored")
    report = verify(tmp_path / "restored")
    assert report.ok, report.findings
    assert report.streams[0].last_seq == last


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    (data / "policies").mkdir(parents=True)
    (data / "policies" / "current.json").write_text("{}")
    with _ledger(data) as ledger:
        ledger.record(_rows(50, 0), now=NOW)
    (data / "console.key").write_text("secret")
    return write_backup(data, tmp_path / "b.tar", now=NOW, copy_database=_no_database).path


def test_every_cut_of_a_backup_is_refused_and_leaves_nothing_behind(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    for size in (0, 1, 511, 512, len(content) // 2, content.rindex(b'"format"')):
        (tmp_path / "cut.tar").write_bytes(content[:size])
        with pytest.raises(BackupUnreadable):
            extract_backup(tmp_path / "cut.tar", tmp_path / "restored")
        assert not (tmp_path / "restored").exists()
        assert not list(tmp_path.glob(".restore-*"))


def test_a_changed_byte_is_found(whole: Path, tmp_path: Path) -> None:
    content = bytearray(whole.read_bytes())
    with tarfile.open(whole) as tar:
        member = next(item for item in tar if item.name.endswith(".arrows"))
    content[member.offset_data + member.size // 2] ^= 1
    (tmp_path / "changed.tar").write_bytes(content)
    with pytest.raises(BackupUnreadable, match=r"\.arrows is not as it was"):
        extract_backup(tmp_path / "changed.tar", tmp_path / "restored")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_a_file_that_would_land_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as tar:
        (tmp_path / "x").write_text("x")
        tar.add(tmp_path / "x", name)
        manifest = {"format": "mingbai backup 1", "version": "0", "created_at": "", "streams": [], "database": ""}
        (tmp_path / "m").write_text(json.dumps({**manifest, "has_keys": False, "files": {}}))
        tar.add(tmp_path / "m", "manifest.json")
    with pytest.raises(BackupUnreadable, match=r"no file of a backup|not as it was"):
        extract_backup(evil, tmp_path / "restored")
    assert not (tmp_path / "evil").exists()


def test_keys_can_be_left_out(whole: Path, tmp_path: Path) -> None:
    made = write_backup(tmp_path / "data", tmp_path / "bare.tar", now=NOW, copy_database=_no_database, with_keys=False)
    assert not read_manifest(made.path).has_keys
    with tarfile.open(made.path) as tar:
        names = tar.getnames()
    assert not {"keys.json", "console.key"} & set(names)
    with tarfile.open(whole) as tar:
        assert {"keys.json", "console.key", "policies/current.json"} <= set(tar.getnames())


def test_nothing_is_overwritten(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="overwrites nothing"):
        write_backup(tmp_path / "data", whole, now=NOW, copy_database=_no_database)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(BackupUnreadable, match="empty"):
        extract_backup(whole, tmp_path / "full")
    assert (tmp_path / "full" / "mine").read_text() == "x"


def test_a_full_disk_leaves_no_half_backup(whole: Path, tmp_path: Path) -> None:
    # /dev/full answers every write with ENOSPC; the partial file is a link to it.
    target = tmp_path / "full.tar"
    (tmp_path / "full.tar.partial").symlink_to("/dev/full")
    with pytest.raises(BackupFailed, match="No space left"):
        write_backup(tmp_path / "data", target, now=NOW, copy_database=_no_database)
    assert not target.exists()
    assert not (tmp_path / "full.tar.partial").is_symlink()
