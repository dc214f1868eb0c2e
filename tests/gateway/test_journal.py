"""The journal: what was written is read back, whatever cut it off; damage stops a start and changes nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mingbai.gateway.journal import Journal, JournalCannotWrite, JournalDamaged
from mingbai.ledger import KeyStore
from mingbai.ledger.files import Bytes, FileOps


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore.open_or_create(tmp_path / "keys.json")


def _read(folder: Path, keys: KeyStore) -> list[Any]:
    return [record for frame in Journal(folder, keys).replay() for record in frame.records]


def test_records_come_back_in_order_over_files(tmp_path: Path, keys: KeyStore) -> None:
    journal = Journal(tmp_path / "j", keys, limit=300)
    for number in range(50):
        journal.write([(1, number, b"octets", "文", None), (2, number)])
    journal.close()
    assert len(journal.segments) > 5
    found = _read(tmp_path / "j", keys)
    assert found == [r for n in range(50) for r in ([1, n, b"octets", "文", None], [2, n])]


def test_nothing_of_it_can_be_read_without_the_keys(tmp_path: Path, keys: KeyStore) -> None:
    journal = Journal(tmp_path / "j", keys)
    journal.write([(1, "13800138000", "a text that nobody else reads")])
    journal.close()
    (path,) = (tmp_path / "j").glob("*.log")
    assert b"13800138000" not in path.read_bytes()
    other = KeyStore.open_or_create(tmp_path / "other.json")
    with pytest.raises(JournalDamaged, match="key that is not here"):
        _read(tmp_path / "j", other)


def test_a_tail_cut_anywhere_loses_only_the_frame_that_was_cut(tmp_path: Path, keys: KeyStore) -> None:
    journal = Journal(tmp_path / "j", keys)
    ends = []
    (path,) = [tmp_path / "j" / "journal-0000000001.log"]
    for number in range(4):
        journal.write([(1, number)])
        ends.append(path.stat().st_size)
    journal.close()
    whole = path.read_bytes()
    for size in range(ends[0], len(whole)):
        path.write_bytes(whole[:size])
        expected = [[1, n] for n, end in enumerate(ends) if end <= size]
        assert _read(tmp_path / "j", keys) == expected
        assert path.stat().st_size == max(end for end in ends if end <= size), "the torn frame is cut"
        again = Journal(tmp_path / "j", keys)  # goes on in a new file, and a later start reads both
        assert len(list(again.replay())) == len(expected)
        again.write([(9, 9)])
        again.close()
        assert _read(tmp_path / "j", keys) == [*expected, [9, 9]]
        (tmp_path / "j" / "journal-0000000002.log").unlink()


def test_a_file_that_was_only_begun_is_taken_away(tmp_path: Path, keys: KeyStore) -> None:
    journal = Journal(tmp_path / "j", keys)
    journal.write([(1, 1)])
    journal.close()
    for begun in (b"", b"MB", b"MBJ1", b"MBJ1\0\0\1\0{"):
        (tmp_path / "j" / "journal-0000000002.log").write_bytes(begun)
        assert _read(tmp_path / "j", keys) == [[1, 1]]
        assert not (tmp_path / "j" / "journal-0000000002.log").exists()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_octet_in_what_was_acknowledged_stops_the_start(
    tmp_path: Path, keys: KeyStore, data: st.DataObject
) -> None:
    folder = tmp_path / "j"
    for old in folder.glob("*") if folder.is_dir() else ():
        old.unlink()
    journal = Journal(folder, keys)
    for number in range(3):
        journal.write([(1, number)])
    journal.close()
    path = folder / "journal-0000000001.log"
    second = Journal(folder, keys)
    list(second.replay())
    second.write([(1, 3)])
    second.close()
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    with pytest.raises(JournalDamaged):
        _read(folder, keys)


class _FullDisk(FileOps):
    """Takes so many more octets, then is full; a short write is written short, as Linux does."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write_at(self, fd: int, offset: int, chunks: Sequence[Bytes]) -> None:
        whole = b"".join(bytes(chunk) for chunk in chunks)
        fits = whole[: self.room]
        super().write_at(fd, offset, (fits,))
        self.room -= len(fits)
        if len(fits) < len(whole):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_takes_nothing_and_loses_nothing(tmp_path: Path, keys: KeyStore) -> None:
    ops = _FullDisk(2000)
    journal = Journal(tmp_path / "j", keys, ops=ops)
    kept = 0

    def fill() -> None:
        nonlocal kept
        while True:
            journal.write([(1, kept, "x" * 50)])
            kept += 1

    with pytest.raises(JournalCannotWrite, match="No space"):
        fill()
    assert kept > 5
    with pytest.raises(JournalCannotWrite):
        journal.write([(1, "again", "x" * 50)])
    ops.room = 10_000
    journal.write([(1, "room again")])
    journal.close()
    found = _read(tmp_path / "j", keys)
    assert [row[1] for row in found] == [*range(kept), "room again"]


class _BadSync(FileOps):
    fails = False

    def sync(self, fd: int) -> None:
        if self.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync(fd)


def test_a_file_whose_sync_failed_is_not_written_again(tmp_path: Path, keys: KeyStore) -> None:
    ops = _BadSync()
    journal = Journal(tmp_path / "j", keys, ops=ops)
    journal.write([(1, 1)])
    ops.fails = True
    with pytest.raises(JournalCannotWrite):
        journal.sync()
    with pytest.raises(JournalCannotWrite):
        journal.write([(1, 2)])
    ops.fails = False
    journal.write([(1, 3)])
    journal.sync()
    assert journal.segment == 2


def test_only_the_oldest_file_goes(tmp_path: Path, keys: KeyStore) -> None:
    journal = Journal(tmp_path / "j", keys, limit=10)
    for number in range(3):
        journal.write([(1, number)])
    with pytest.raises(AssertionError):
        journal.remove(2)
    journal.remove(1)
    journal.close()
    assert _read(tmp_path / "j", keys) == [[1, 1], [1, 2]]
