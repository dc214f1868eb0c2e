"""What a start does with what a crash left: cut only what nobody was told about, and refuse to touch damage."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mingbai.ledger import KeyStore, Ledger, LedgerDamaged, LedgerOptions, Receipt, StreamReader, verify
from mingbai.ledger.segments import OpenCommit, scan_open

if TYPE_CHECKING:
    from tests.ledger.conftest import Traffic

QUIET = LedgerOptions(background_sealing=False)


class Stream:
    """A closed stream of a few commits, to be damaged and opened again."""

    def __init__(self, data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
        self.data, self.keys, self.now, self.traffic = data, keys, now, traffic
        self.folder = data / "ledger" / "batch"
        with self.open() as ledger:
            self.receipts = [ledger.record(traffic(5, start), now=now) for start in (0, 5, 10)]

    def open(self) -> Ledger:
        return Ledger.open(self.data, stream="batch", keys=self.keys, now=self.now, options=QUIET)

    @property
    def file(self) -> Path:
        return sorted((self.folder / "entries").glob("*.arrows"))[-1]

    def commits(self) -> list[OpenCommit]:
        return [item for item in scan_open(self.file) if isinstance(item, OpenCommit)]

    def texts(self, receipt: Receipt) -> list[str]:
        rows = range(receipt.first_seq, receipt.last_seq + 1)
        found: list[str] = StreamReader(self.data, "batch", self.keys).originals(rows).column("text").to_pylist()
        return found

    def assert_complete(self) -> None:
        for place, receipt in enumerate(self.receipts):
            assert self.texts(receipt) == self.traffic(5, place * 5).column("text").to_pylist()


@pytest.fixture
def stream(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> Stream:
    return Stream(data, keys, now, traffic)


def test_torn_tail_is_cut_at_next_start(stream: Stream) -> None:
    whole = stream.file.read_bytes()
    extra = stream.commits()[-1].frame.data
    for size in (1, 7, 8, 9, 100, len(extra) // 2, len(extra) - 1):
        stream.file.write_bytes(whole + extra[:size])
        assert not verify(stream.data).ok
        with stream.open():
            pass
        stream.assert_complete()
        assert verify(stream.data).ok
        whole = stream.file.read_bytes()


def test_a_cut_is_kept_aside_and_said_in_the_chain(stream: Stream) -> None:
    size = stream.file.stat().st_size
    with open(stream.file, "ab") as file:
        file.write(b"torn bytes")
    stream.open().close()
    (kept,) = (stream.folder / "cut").iterdir()
    assert kept.read_bytes() == b"torn bytes"
    assert any("cut off a torn tail: 10 bytes" in note for note in verify(stream.data).streams[0].notes)
    last = stream.commits()[-1].batch().to_pylist()[-1]
    assert last["kind"] == "tail.cut"
    assert json.loads(last["data"]) == {
        "segment": 1,
        "offset": size,
        "bytes": 10,
        "sha256": hashlib.sha256(b"torn bytes").hexdigest(),
    }


def test_a_whole_commit_with_lost_pages_is_cut(stream: Stream) -> None:
    """After a power cut the length may be there and the bytes not."""
    commits = stream.commits()
    last = commits[-1].frame
    content = bytearray(stream.file.read_bytes())
    content[last.offset + 512 : last.offset + 1024] = bytes(512)
    stream.file.write_bytes(content)
    stream.open().close()
    stream.receipts.pop()
    stream.assert_complete()
    assert verify(stream.data).ok


def test_zeros_at_the_end_are_cut(stream: Stream) -> None:
    with open(stream.file, "ab") as file:
        file.write(bytes(100_000))
    stream.open().close()
    stream.assert_complete()
    assert verify(stream.data).ok


def test_damage_before_a_whole_commit_stops_the_start_and_changes_nothing(stream: Stream) -> None:
    for commit in stream.commits()[:-1]:
        content = bytearray(stream.file.read_bytes())
        clean = bytes(content)
        for offset in (commit.frame.offset + 4, commit.frame.offset + 300, commit.frame.end - 40):
            content[:] = clean
            content[offset] ^= 0x10
            stream.file.write_bytes(content)
            with pytest.raises(LedgerDamaged, match="byte"):
                stream.open()
            assert stream.file.read_bytes() == content
        stream.file.write_bytes(clean)
    stream.open().close()


def test_bytes_torn_out_of_the_middle_stop_the_start(stream: Stream) -> None:
    first, second, *_ = stream.commits()
    content = stream.file.read_bytes()
    stream.file.write_bytes(content[: second.frame.offset] + content[second.frame.end :])
    with pytest.raises(LedgerDamaged, match="does not follow"):
        stream.open()
    assert first.link.rows


def test_a_missing_open_segment_stops_the_start(stream: Stream) -> None:
    with stream.open() as ledger:
        ledger.seal(now=stream.now)
    stream.file.unlink()
    with pytest.raises(LedgerDamaged, match="no open segment"):
        stream.open()


def test_missing_entries_beside_a_vault_stop_the_start(stream: Stream) -> None:
    with stream.open() as ledger:
        ledger.seal(now=stream.now)
    for path in (stream.folder / "entries").iterdir():
        path.unlink()
    with pytest.raises(LedgerDamaged, match="all entries are missing"):
        stream.open()


def test_temporary_files_are_removed(stream: Stream) -> None:
    left = [stream.folder / "entries" / "00000000000000000018.arrows.tmp", stream.folder / "keys" / "x.key.tmp"]
    for path in left:
        path.write_bytes(b"half")
    assert verify(stream.data).ok
    assert len(verify(stream.data).streams[0].notes) == 2
    stream.open().close()
    assert not any(path.exists() for path in left)


def test_a_sealing_without_its_entry_is_done_again(stream: Stream) -> None:
    """A crash between the files and the entry: they are there, and nothing names them."""
    with stream.open() as ledger:
        before = stream.file.read_bytes()
        ledger.seal(now=stream.now)
        sealed = sorted((stream.folder / "entries").glob("*.parquet"))[0]
        content = sealed.read_bytes()
    opened = stream.commits()[0]
    stream.file.write_bytes(stream.file.read_bytes()[: opened.frame.end])  # without `segment.sealed`
    sealed.with_suffix(".arrows").write_bytes(before)
    report = verify(stream.data)
    assert report.ok, report.findings
    assert any("not finished" in note for note in report.streams[0].notes)
    with stream.open() as ledger:
        assert not sealed.exists()
        stream.assert_complete()
        assert ledger.seal(now=stream.now)[0].segment == 1
    assert sealed.exists()
    assert content[:4] == b"PAR1"
    stream.assert_complete()
    assert verify(stream.data).ok


def test_a_sealing_that_only_lacked_the_removal_is_finished(stream: Stream) -> None:
    before = stream.file.read_bytes()
    with stream.open() as ledger:
        ledger.seal(now=stream.now)
        ledger.seal(now=stream.now)  # so that the seal itself is in a sealed segment
    left = stream.folder / "entries" / f"{1:020d}.arrows"
    left.write_bytes(before)
    assert verify(stream.data).ok
    stream.assert_complete()
    stream.open().close()
    assert not left.exists()
    assert left.with_suffix(".parquet").exists()
    stream.assert_complete()
    assert verify(stream.data).ok


def test_a_changed_open_segment_is_not_sealed_in(stream: Stream) -> None:
    with stream.open() as ledger:
        ledger.record(stream.traffic(3), now=stream.now)
        content = bytearray(stream.file.read_bytes())
        content[3000] ^= 1
        stream.file.write_bytes(content)
        with pytest.raises(LedgerDamaged):
            ledger.seal(now=stream.now)
    assert (stream.folder / "entries" / f"{1:020d}.arrows").exists()
    assert not list((stream.folder / "entries").glob("*.parquet"))
    assert not verify(stream.data).ok


def test_an_open_segment_whose_sealed_file_is_missing_is_sealed_again_and_never_removed(stream: Stream) -> None:
    """Copies of a directory in use can hold the entry that seals a segment without the files that it names."""
    closed = stream.file
    whole = closed.read_bytes()
    with stream.open() as ledger:
        (seal,) = ledger.seal(now=stream.now)
    parquet = stream.folder / "entries" / f"{seal.segment:020d}.parquet"
    assert parquet.exists() and not closed.exists()
    for missing in (parquet, *sorted((stream.folder / "vault").rglob(f"{seal.segment:020d}.*"))):
        missing.unlink()
        closed.write_bytes(whole)
        with stream.open() as ledger:
            stream.assert_complete()
            (again,) = ledger.seal(now=stream.now)[:1]
            assert again.segment == seal.segment
        report = verify(stream.data)
        assert report.ok, report.findings
        stream.assert_complete()
