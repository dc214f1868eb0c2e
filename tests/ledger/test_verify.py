"""Tampering of every kind is found, and the report says where."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mingbai.ledger import (
    Fault,
    FileOps,
    Head,
    KeyStore,
    Ledger,
    LedgerOptions,
    Retention,
    StreamReport,
    VerifyReport,
    anchor_bytes,
    rotate_signing_key,
    verify,
)
from mingbai.ledger.chain import Link
from mingbai.ledger.segments import OpenCommit, encode_commit, scan_open
from mingbai.ledger.vault import Blob

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.ledger.conftest import Traffic

QUIET = LedgerOptions(head_interval_s=2, background_sealing=False)


@dataclass
class Story:
    """A stream with two sealed segments, an open one, an expiry and an anchor after each segment."""

    data: Path
    keys: KeyStore
    heads: list[Head]

    @property
    def folder(self) -> Path:
        return self.data / "ledger" / "batch"

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file() and path.stat().st_size)

    @property
    def sealed(self) -> list[Path]:
        return sorted((self.folder / "entries").glob("*.parquet"))

    @property
    def open(self) -> Path:
        (path,) = (self.folder / "entries").glob("*.arrows")
        return path

    def commits(self) -> list[OpenCommit]:
        return [item for item in scan_open(self.open) if isinstance(item, OpenCommit)]

    def check(self, *heads: Head) -> StreamReport:
        report: VerifyReport = verify(self.data, anchor=anchor_bytes(heads) if heads else None)
        (stream,) = report.streams
        assert report.ok == (not stream.findings)
        return stream

    @contextmanager
    def changed(self, path: Path, content: bytes) -> Iterator[None]:
        before = path.read_bytes()
        path.write_bytes(content)
        try:
            yield
        finally:
            path.write_bytes(before)


def write_story(data: Path, keys: KeyStore, now: datetime, traffic: Traffic, start: int = 0) -> list[Head]:
    heads = []
    begin = now - timedelta(days=3)
    retention = Retention(allowed_text_days=2)
    with Ledger.open(data, stream="batch", keys=keys, now=begin, options=QUIET, retention=retention) as ledger:
        for when, first in ((begin, start), (now, start + 18)):
            for commit in range(3):
                ledger.record(traffic(6, first + commit * 6), now=when + timedelta(seconds=commit))
            heads.append(ledger.sign_head(now=when))
            ledger.seal(now=when)
        later = now + timedelta(minutes=30)
        ledger.expire(now=later)
        ledger.record_event("policy.published", {"rulebook": "rules-8"}, now=later)
        for commit in range(3):
            ledger.record(traffic(6, start + 36 + commit * 6), now=later)
        heads.append(ledger.sign_head(now=later))
    return heads


@pytest.fixture
def story(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> Story:
    return Story(data, keys, write_story(data, keys, now, traffic))


def test_a_sound_ledger_is_ok_and_says_what_is_vouched_for(story: Story) -> None:
    report = story.check()
    assert report.findings == []
    assert (report.segments, report.sealed, report.anchored_seq) == (4, 3, None)
    assert report.unvouched_rows == report.last_seq == report.rows
    assert report.heads > 4
    assert report.expired == ["2026-11-21.allowed"]
    anchored = story.check(*story.heads)
    assert anchored.findings == []
    assert (anchored.anchors, anchored.anchored_seq) == (3, story.heads[-1].seq)
    assert anchored.unvouched_rows == 1  # the row of the last head itself


def test_no_key_is_needed(story: Story, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "secret")
    assert story.check(*story.heads).findings == []


@pytest.mark.slow
def test_a_changed_byte_is_found_in_every_file(story: Story, seed: int, loops: Callable[[int], int]) -> None:
    rng = random.Random(seed)
    for path in story.files():
        clean = path.read_bytes()
        everywhere = range(0, len(clean), max(1, len(clean) // loops(200)))
        for offset in {0, len(clean) - 1, *(min(o + rng.randrange(97), len(clean) - 1) for o in everywhere)}:
            content = bytearray(clean)
            content[offset] ^= 1 << rng.randrange(8)
            with story.changed(path, bytes(content)):
                report = story.check()
            shown = [finding.path for finding in report.findings]
            assert str(path.relative_to(story.data)) in shown, f"{path.name} byte {offset}"


def test_a_changed_commit_is_located(story: Story) -> None:
    for commit in story.commits():
        content = bytearray(story.open.read_bytes())
        content[commit.frame.offset + 500] ^= 1
        with story.changed(story.open, bytes(content)):
            finding = next(f for f in story.check().findings if f.path.endswith(".arrows"))
        first = story.commits()[0]
        assert finding.fault is Fault.CHANGED
        assert finding.offset == (0 if commit.link == first.link else commit.frame.offset)
        assert (finding.commit, finding.first_seq) == (commit.link.commit, commit.link.first_seq)
        assert finding.last_seq == commit.link.next_seq - 1
        assert f"commit {commit.link.commit}" in str(finding)


def test_a_changed_ciphertext_is_located(story: Story) -> None:
    path = next((story.folder / "vault").rglob("*.stopped"))
    content = bytearray(path.read_bytes())
    second = content.index(b"MBV1", 4)
    content[second + 70] ^= 1
    with story.changed(path, bytes(content)):
        (finding,) = story.check().findings
    assert (finding.fault, finding.offset) == (Fault.CHANGED, second)
    assert finding.commit is not None


@pytest.mark.parametrize("cut", [1, 16, 200])
def test_a_shortened_file_is_found(story: Story, cut: int) -> None:
    for path in story.files():
        with story.changed(path, path.read_bytes()[:-cut]):
            assert story.check().findings, path


def test_added_bytes_are_found(story: Story) -> None:
    for path in [*story.files(), story.folder / "lock"]:
        for added in (b"\0", bytes(8), b"MBL1" + bytes(200)):
            with story.changed(path, path.read_bytes() + added):
                assert story.check().findings, path


def test_a_missing_file_is_found(story: Story) -> None:
    for path in story.files():
        content = path.read_bytes()
        path.unlink()
        assert story.check().findings, path
        path.write_bytes(content)
    assert story.check().findings == []


def test_a_missing_segment_says_which_rows(story: Story) -> None:
    second = story.sealed[1]
    second.unlink()
    finding = next(f for f in story.check().findings if f.fault is Fault.MISSING)
    assert finding.first_seq == int(second.stem)
    assert finding.last_seq == int(story.sealed[1].stem) - 1


def test_a_foreign_file_is_found(story: Story) -> None:
    for name in ("entries/notes.txt", "entries/00000000000000009999.parquet", "vault/2026-11-21/x.numbers", "other"):
        path = story.folder / name
        path.write_bytes(b"PAR1")
        assert any(f.fault in (Fault.ADDED, Fault.MISSING) for f in story.check().findings), name
        path.unlink()
    (story.data / "ledger" / "stray").write_bytes(b"")
    assert not verify(story.data).ok


def test_swapped_segments_are_found(story: Story) -> None:
    first, second, *_ = story.sealed
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    assert {f.fault for f in story.check().findings} >= {Fault.CHANGED}


def test_commits_in_another_order_are_found(story: Story) -> None:
    content = story.open.read_bytes()
    _, second, third, *_ = story.commits()
    swapped = content[: second.frame.offset] + third.frame.data + second.frame.data + content[third.frame.end :]
    with story.changed(story.open, swapped):
        faults = [f.fault for f in story.check().findings]
    assert faults[0] is Fault.OUT_OF_ORDER


def test_a_commit_taken_out_or_doubled_is_found(story: Story) -> None:
    content = story.open.read_bytes()
    _, second, *_ = story.commits()
    without = content[: second.frame.offset] + content[second.frame.end :]
    doubled = content[: second.frame.end] + content[second.frame.offset :]
    for changed in (without, doubled):
        with story.changed(story.open, changed):
            assert any(f.fault is Fault.OUT_OF_ORDER for f in story.check().findings)


def test_cutting_off_at_a_commit_is_found_with_the_anchor(story: Story) -> None:
    content = story.open.read_bytes()
    for commit in story.commits()[-4:-2]:  # those before hold the seals
        with story.changed(story.open, content[: commit.frame.end]):
            assert story.check().findings == []  # nobody can tell
            (finding,) = story.check(*story.heads).findings
        assert finding.fault is Fault.ANCHOR
        assert finding.first_seq == commit.link.next_seq
        assert finding.last_seq == story.heads[-1].seq
        assert "cut off" in finding.what


def test_a_ledger_rewritten_from_the_start_is_found_with_any_anchor(
    story: Story, tmp_path: Path, now: datetime, traffic: Traffic
) -> None:
    insider = tmp_path / "insider"
    write_story(insider, story.keys, now, traffic, start=4)  # the same keys, other decisions
    stranger = tmp_path / "stranger"
    write_story(stranger, KeyStore.open_or_create(tmp_path / "other.json"), now, traffic)
    for forged in (insider, stranger):
        assert verify(forged).ok
        for head in story.heads:
            report = verify(forged, anchor=anchor_bytes([head]))
            assert [f.fault for f in report.findings] == [Fault.ANCHOR]
    assert not verify(stranger, public_key=story.keys.public_key).ok


def test_a_missing_stream_is_found_with_the_anchor(story: Story) -> None:
    shutil.rmtree(story.folder)
    assert verify(story.data).ok  # nothing there
    assert {f.fault for f in verify(story.data, anchor=anchor_bytes(story.heads)).findings} == {
        Fault.MISSING,
        Fault.ANCHOR,
    }


def reforge(path: Path, before: bytes, change: Callable[[dict[str, object]], None]) -> None:
    """Rewrite an open segment with changed entries, and every digest and link computed anew."""
    content = b""
    for commit in (item for item in scan_open(path) if isinstance(item, OpenCommit)):
        batch = commit.batch()
        rows = batch.drop_columns(["vault", "sealed", "link"]).to_pylist()
        for row in rows:
            change(row)
        again = pa.RecordBatch.from_pylist(
            rows, schema=pa.schema([batch.schema.field(n) for n in batch.schema.names[:-3]])
        )
        blobs = [Blob.parse(raw) for raw in batch.column("sealed")[0].as_py() or []]
        header = path.read_bytes()[: commit.frame.offset] if not content else b""
        encoded = encode_commit(
            again.columns,
            [blob for blob in blobs if blob is not None],
            header=header,
            before=before,
            commit=commit.link.commit,
            first_seq=commit.link.first_seq,
            at_us=commit.link.at_us,
        )
        content += b"".join(encoded.chunks)
        before = encoded.link.chain
    path.write_bytes(content)


def last_chain(parquet: Path) -> bytes:
    links = [raw for raw in pq.read_table(parquet)["link"].to_pylist() if raw is not None]
    link = Link.parse(links[-1])
    assert link is not None
    return link.chain


def test_sealed_rows_changed_together_with_their_seal_are_found(story: Story, now: datetime) -> None:
    """The hardest forgery: the Parquet file, the entry that names its hash and the whole chain behind it are rewritten;
    only the rows before the anchor keep their links. Their content digests give it away."""
    target = story.sealed[-1]
    reforge(story.open, last_chain(target), lambda row: None)
    assert story.check(*story.heads[:2]).findings == []  # the tool itself leaves no trace before the third anchor

    table = pq.read_table(target)
    verdicts = [0 if v == 3 else v for v in table["verdict"].to_pylist()]
    forged = table.set_column(
        table.schema.get_field_index("verdict"), table.schema.field("verdict"), pa.array(verdicts, pa.uint8())
    )
    pq.write_table(forged, target, row_group_size=len(forged))
    digest = hashlib.sha256(target.read_bytes()).hexdigest()

    def change(row: dict[str, object]) -> None:
        if row["kind"] == "segment.sealed":
            data = json.loads(str(row["data"]))
            if data["segment"] == int(target.stem):
                data["parquet"] = {"sha256": digest, "bytes": target.stat().st_size}
                row["data"] = json.dumps(data, sort_keys=True, separators=(",", ":"))

    reforge(story.open, last_chain(target), change)
    findings = story.check(*story.heads[:2]).findings
    assert findings
    assert any("rows are not those that were written" in f.what for f in findings)


def test_rewriting_after_the_last_anchor_is_named_as_unvouched(story: Story) -> None:
    def change(row: dict[str, object]) -> None:
        if row["verdict"] == 3:
            row["verdict"] = 0

    reforge(story.open, last_chain(story.sealed[-1]), change)
    report = story.check(*story.heads[:2])
    assert [f.fault for f in report.findings] in ([], [Fault.CHANGED])  # a signed head within may give it away
    assert report.unvouched_rows == report.last_seq - story.heads[1].seq
    assert Fault.ANCHOR in {f.fault for f in story.check(*story.heads).findings}


def test_a_head_signed_by_a_stranger_is_found(story: Story, tmp_path: Path) -> None:
    stranger = KeyStore.open_or_create(tmp_path / "stranger.json")

    def change(row: dict[str, object]) -> None:
        if row["kind"] == "head.signed":
            data = json.loads(str(row["data"]))
            data["public_key"] = stranger.public_key.hex()
            data["signature"] = stranger.sign(Head.from_document(data).signed_bytes()).hex()
            row["data"] = json.dumps(data, sort_keys=True, separators=(",", ":"))

    reforge(story.open, last_chain(story.sealed[-1]), change)
    assert Fault.SIGNATURE in {f.fault for f in story.check().findings}


def test_an_anchor_of_another_key_is_found(story: Story, tmp_path: Path) -> None:
    other = KeyStore.open_or_create(tmp_path / "other.json")
    report = verify(story.data, anchor=anchor_bytes(story.heads), public_key=other.public_key)
    assert {f.fault for f in report.findings} == {Fault.SIGNATURE}
    assert verify(story.data, anchor=anchor_bytes(story.heads), public_key=story.keys.public_key).ok


def test_a_doctored_anchor_is_found(story: Story) -> None:
    lines = anchor_bytes(story.heads[:1]).replace(b'"seq":', b'"seq":1')
    report = verify(story.data, anchor=lines)
    assert Fault.SIGNATURE in {f.fault for f in report.findings}


def test_a_new_signing_key_is_followed_both_ways(story: Story, now: datetime) -> None:
    old = story.keys.public_key
    later = now + timedelta(days=4)
    new = rotate_signing_key(story.data, story.keys, now=later)
    with Ledger.open(story.data, stream="batch", keys=story.keys, now=later, options=QUIET) as ledger:
        story.heads.append(ledger.sign_head(now=later))
    for known in (old, new):
        report = verify(story.data, anchor=anchor_bytes(story.heads), public_key=known)
        assert report.ok, report.findings
    assert len(report.signed_by) == 2
    assert old != new


def test_verifying_beside_a_writer_finds_nothing(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    """The writer stands still in the middle of a write: half a commit is in the file, and it holds the lock."""
    seen: list[VerifyReport] = []

    class Halfway(FileOps):
        armed = False

        def write_at(self, fd: int, offset: int, chunks: Sequence[bytes | bytearray | memoryview]) -> None:
            whole = b"".join(chunks)
            if not self.armed:
                super().write_at(fd, offset, [whole])
                return
            self.armed = False
            super().write_at(fd, offset, [whole[: len(whole) // 2]])
            checker = threading.Thread(target=lambda: seen.append(verify(data)))
            checker.start()
            waiting.wait(60)
            super().write_at(fd, offset, [whole])
            checker.join()

    waiting = threading.Event()
    ops = Halfway()
    with Ledger.open(data, stream="batch", keys=keys, now=now, ops=ops, options=QUIET) as ledger:
        ledger.record(traffic(5), now=now)
        ops.armed = True
        waiting.set()
        ledger.record(traffic(5), now=now)
    assert seen[0].ok, seen[0].findings


def test_an_empty_data_directory_is_ok(data: Path) -> None:
    assert verify(data).ok
    assert verify(data).streams == []
