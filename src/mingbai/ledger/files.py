"""Every operation of the ledger that changes the disk goes through `FileOps`.

One small object instead of calls to `os`, for two reasons: the tests record the order of writes, syncs and renames and
replay every prefix of it (a power cut at every point), and the benchmark puts a slow disk under the same code.
It holds no state. Reading is done with plain `os` calls elsewhere: a read cannot lose anything.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path

from mingbai.ledger.errors import LedgerLocked

Bytes = bytes | bytearray | memoryview

DIR_MODE = 0o700  # entries hold pseudonyms and the vault personal data: for the operator's account only
FILE_MODE = 0o600


class FileOps:
    """The real disk. Each method raises OSError as the system does."""

    def mkdir(self, path: Path) -> None:
        os.mkdir(path, DIR_MODE)

    def create(self, path: Path) -> int:
        """Create or empty a file; returns the descriptor, open for writing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)

    def open(self, path: Path) -> int:
        """Open an existing file for writing."""
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def write_at(self, fd: int, offset: int, chunks: Sequence[Bytes]) -> None:
        """Write all chunks one after the other from `offset` (bytes); a short write is continued."""
        left = [memoryview(chunk).cast("B") for chunk in chunks if len(chunk)]
        while left:
            done = os.pwritev(fd, left, offset)
            offset += done
            while left and done >= len(left[0]):
                done -= len(left[0])
                left.pop(0)
            if done:
                left[0] = left[0][done:]

    def sync(self, fd: int) -> None:
        """Return when the file's bytes and its length are on the disk."""
        os.fdatasync(fd)

    def sync_dir(self, path: Path) -> None:
        """Return when the folder's names (after create, rename, unlink) are on the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def rmdir(self, path: Path) -> None:
        os.rmdir(path)

    def close(self, fd: int) -> None:
        os.close(fd)


def make_dirs(ops: FileOps, path: Path) -> None:
    """Create `path` and what is missing above it, durably."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        try:
            ops.mkdir(folder)
        except FileExistsError:  # another writer was faster; its sync may not have happened yet, so sync anyway
            pass
        ops.sync_dir(folder.parent)


def write_new(ops: FileOps, path: Path, chunks: Sequence[Bytes]) -> None:
    """Put a whole file in place: it is there completely or not at all, whenever the power goes.

    Writes `<path>.tmp`, syncs, renames, syncs the folder. A failed call leaves no temporary file behind.
    """
    temporary = path.with_name(path.name + ".tmp")
    fd = ops.create(temporary)
    try:
        try:
            ops.write_at(fd, 0, chunks)
            ops.sync(fd)
        finally:
            ops.close(fd)
        ops.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    ops.sync_dir(path.parent)


class StreamLock:
    """The one-writer lock of a stream: an advisory lock (flock) on an empty file, freed by the kernel when the process
    ends, however it ends."""

    def __init__(self, path: Path, stream: str) -> None:
        """Raises LedgerLocked if another writer holds it."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        for patience in (True, True, True, False):  # `has_writer` holds it for microseconds
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if patience:
                    time.sleep(0.01)
        os.close(self._fd)
        raise LedgerLocked(stream=stream, path=str(path))

    def release(self) -> None:
        os.close(self._fd)


def has_writer(lock_path: Path) -> bool:
    """Whether a writer holds the stream at this moment."""
    try:
        fd = os.open(lock_path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
