"""A full disk: a clear error, a file that ends with the last commit, and no restart needed once there is space."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mingbai.ledger import FileOps, KeyStore, Ledger, LedgerCannotWrite, LedgerOptions, StreamReader, verify

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.ledger.conftest import Traffic

SIZE = 400 * 1024


class SmallDisk(FileOps):
    """A stand-in where no real small file system can be mounted: `room` bytes, then ENOSPC within a write."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write_at(self, fd: int, offset: int, chunks: Sequence[bytes | bytearray | memoryview]) -> None:
        data = b"".join(chunks)
        grows = max(0, offset + len(data) - os.fstat(fd).st_size)
        if grows > self.room:
            super().write_at(fd, offset, [data[: len(data) - grows + self.room]])
            self.room = 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= grows
        super().write_at(fd, offset, chunks)

    def truncate(self, fd: int, size: int) -> None:
        self.room += os.fstat(fd).st_size - size
        super().truncate(fd, size)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path | None]:
    """An empty file system of 400 KiB, or None where we may not mount one."""
    point = tmp_path / "small"
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(point)]
    is_mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    yield point if is_mounted else None
    if is_mounted:
        subprocess.run(["umount", str(point)], check=True)


def fill(ledger: Ledger, traffic: Traffic, now: datetime) -> list[int]:
    """Record until the disk is full; the first seqs of what was acknowledged."""
    seqs: list[int] = []
    failure: LedgerCannotWrite | None = None
    while failure is None:
        try:
            seqs.append(ledger.record(traffic(50, len(seqs) * 50), now=now).first_seq)
        except LedgerCannotWrite as error:
            failure = error
    assert failure.retryable
    assert str(failure).startswith("ledger stream batch cannot write /")
    assert str(failure).endswith(": No space left on device")
    return seqs


def assert_kept(data: Path, keys: KeyStore, traffic: Traffic, seqs: list[int]) -> None:
    reader = StreamReader(data, "batch", keys)
    for place, seq in enumerate(seqs):
        texts = reader.originals(range(seq, seq + 50)).column("text").to_pylist()
        assert texts == traffic(50, place * 50).column("text").to_pylist()


def test_a_real_full_disk(
    mounted: Path | None, tmp_path: Path, keys: KeyStore, now: datetime, traffic: Traffic
) -> None:
    small = None if mounted is not None else SmallDisk(SIZE)
    data = (mounted or tmp_path) / "data"
    filler = (mounted or tmp_path) / "filler"
    filler.write_bytes(bytes(100_000))
    if small is not None:
        small.room -= 100_000
    options = LedgerOptions(background_sealing=False)
    with Ledger.open(data, stream="batch", keys=keys, now=now, ops=small, options=options) as ledger:
        seqs = fill(ledger, traffic, now)
        assert seqs
        assert verify(data).ok  # the file ends with the last commit
        with pytest.raises(LedgerCannotWrite):
            ledger.record(traffic(50, 9_000), now=now)
        with pytest.raises(LedgerCannotWrite):
            ledger.seal(now=now)
        assert verify(data).ok

        filler.unlink()
        if small is not None:
            small.room += 100_000
        seqs.append(ledger.record(traffic(50, len(seqs) * 50), now=now).first_seq)
        assert_kept(data, keys, traffic, seqs)
    assert verify(data).ok
    with Ledger.open(data, stream="batch", keys=keys, now=now, ops=small, options=options) as ledger:
        ledger.record(traffic(1), now=now)
    assert_kept(data, keys, traffic, seqs)
    entries = [row for batch in StreamReader(data, "batch").entries(["kind"]) for row in batch.column(0).to_pylist()]
    assert "tail.cut" not in entries


@pytest.mark.parametrize("room", range(0, 60_000, 1_500))
def test_a_disk_that_fills_up_anywhere(data: Path, keys: KeyStore, now: datetime, traffic: Traffic, room: int) -> None:
    """Also within a key file, the first commit of a segment, or a sealing."""
    disk = SmallDisk(10**9)
    options = LedgerOptions(max_segment_rows=120, background_sealing=False)
    with Ledger.open(data, stream="batch", keys=keys, now=now, ops=disk, options=options) as ledger:
        disk.room = room
        seqs: list[int] = []
        full = 0
        while len(seqs) < 4:
            try:
                seqs.append(ledger.record(traffic(50, len(seqs) * 50), now=now).first_seq)
                ledger.seal(now=now)
            except LedgerCannotWrite:
                full += 1
                assert verify(data).ok
                disk.room = 10**9
        ledger.seal(now=now)
    assert full == 1 or disk.room < room
    assert_kept(data, keys, traffic, seqs)
    assert verify(data).ok
    with Ledger.open(data, stream="batch", keys=keys, now=now, ops=disk, options=options):
        pass
    assert verify(data).ok


def test_opening_on_a_full_disk_says_so(data: Path, keys: KeyStore, now: datetime) -> None:
    with pytest.raises(LedgerCannotWrite, match="No space left"):
        Ledger.open(data, stream="batch", keys=keys, now=now, ops=SmallDisk(100))
    Ledger.open(data, stream="batch", keys=keys, now=now).close()
    assert verify(data).ok


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path, keys: KeyStore, now: datetime) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(LedgerCannotWrite, match="Not a directory"):
        Ledger.open(tmp_path / "file" / "data", stream="batch", keys=keys, now=now)
