"""What the gateway has taken on and not finished yet, on the disk: an append-only log that a restart reads back.

    DATA/gateway/<worker>/journal-<number>.log

A record is written before what it says is done: a message before it is acknowledged, the mark that it goes upstream
before it goes, its end after. `write` puts records into the file, where a kill of the process cannot lose them; `sync`
makes them survive a power cut. Who acknowledges syncs first; who only marks lets the next sync carry his mark.

A file is: magic, length, header (JSON: the file's own key, wrapped under the ledger's master; the host's boot), then
frames: length (uint32, big-endian), AES-256-GCM of records as MessagePack, the nonce being the frame's number. What
follows the last whole frame was never acknowledged and is cut. Files are removed from the oldest on, once nothing in
them is unfinished (`store` says when).
"""

from __future__ import annotations

import json
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mingbai.kernel.errors import MingbaiError
from mingbai.ledger import KeyStore
from mingbai.ledger.files import FileOps, make_dirs

_MAGIC: Final = b"MBJ1"
_LENGTH: Final = struct.Struct(">I")
_BOUND_TO: Final = b"mingbai.gateway.journal"
_MOST_FRAME: Final = 64 << 20
SEGMENT_BYTES: Final = 64 << 20

Record = Sequence[Any]  # Any: what MessagePack carries; the first item says which record it is


class JournalCannotWrite(MingbaiError):
    """The disk refused. Nothing of the call was kept; try again."""

    code = "journal_cannot_write"
    template = "{path}: {cause}"
    retryable = True


class JournalDamaged(MingbaiError):
    """A file that was acknowledged cannot be read. Nothing was changed: a person has to decide."""

    code = "journal_damaged"
    template = "{path}: at byte {offset}: {what}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """Records of one frame, as a start finds them. segment: the number of their file."""

    segment: int
    records: list[Any]  # Any: as above


class Journal:
    """One worker's log. Thread-safe. `replay` is read once, before the first `write`."""

    def __init__(self, folder: Path, keys: KeyStore, *, ops: FileOps | None = None, limit: int = SEGMENT_BYTES) -> None:
        """Raises OSError. The caller holds the worker's lock: one process writes a folder."""
        self._folder = folder
        self._keys = keys
        self._ops = ops or FileOps()
        self._limit = limit
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._size = 0
        self._frames = 0
        self._cipher: AESGCM | None = None
        self._encoder = msgspec.msgpack.Encoder()
        self._must_roll = True
        self._written = 0  # frames since the start, over all files
        self._synced = 0
        self.last_boot: str | None = None
        make_dirs(self._ops, folder)
        self._numbers = sorted(int(path.stem.partition("-")[2]) for path in folder.glob("journal-*.log"))

    # -- reading back

    def replay(self) -> Iterator[Replayed]:
        """Everything that is there, oldest first; cuts a torn tail. Raises JournalDamaged."""
        for number in tuple(self._numbers):
            path = self._path(number)
            content = path.read_bytes()
            is_last = number == self._numbers[-1]
            opened = self._open_header(path, content, is_last=is_last)
            if opened is None:  # it was killed while it began this file
                self._ops.unlink(path)
                self._numbers.remove(number)
                continue
            cipher, at = opened
            frame = 0
            while at < len(content):
                end, whole = self._frame_at(content, at)
                records = None if whole is None else _decrypted(cipher, frame, whole)
                if records is None:
                    if not is_last or (end is not None and end < len(content)):
                        raise JournalDamaged(path=str(path), offset=at, what="not what was written here")
                    self._cut(path, at)
                    break
                assert end is not None
                yield Replayed(number, records)
                at, frame = end, frame + 1

    def _open_header(self, path: Path, content: bytes, *, is_last: bool) -> tuple[AESGCM, int] | None:
        begin = len(_MAGIC) + _LENGTH.size
        try:
            if content[: len(_MAGIC)] != _MAGIC:
                raise ValueError("it does not begin as a journal")
            size = _LENGTH.unpack_from(content, len(_MAGIC))[0]
            header = json.loads(content[begin : begin + size])
            boot = str(header["boot"])
            bound_to = _BOUND_TO + boot.encode()
            key = self._keys.unwrap(bytes.fromhex(header["master"]), bytes.fromhex(header["key"]), bound_to)
        except (ValueError, KeyError, TypeError, struct.error) as error:
            if is_last and len(content) < 4096:
                return None  # torn while it was begun
            raise JournalDamaged(path=str(path), offset=0, what=str(error)) from None
        if key is None:
            raise JournalDamaged(path=str(path), offset=0, what="it is encrypted under a key that is not here any more")
        self.last_boot = boot
        return AESGCM(key), begin + size

    def _cut(self, path: Path, size: int) -> None:
        """Take away a frame that was not written to its end: nobody was told about it."""
        fd = self._ops.open(path)
        try:
            self._ops.truncate(fd, size)
            self._ops.sync(fd)
        finally:
            self._ops.close(fd)

    @staticmethod
    def _frame_at(content: bytes, at: int) -> tuple[int | None, bytes | None]:
        if at + _LENGTH.size > len(content):
            return None, None
        size = _LENGTH.unpack_from(content, at)[0]
        end = at + _LENGTH.size + size
        if size > _MOST_FRAME or end > len(content):
            return None, None
        return end, content[at + _LENGTH.size : end]

    # -- writing

    @property
    def segment(self) -> int:
        """The number of the file that is written now."""
        return self._numbers[-1] if self._numbers else 0

    @property
    def segments(self) -> tuple[int, ...]:
        return tuple(self._numbers)

    def write(self, records: Sequence[Record]) -> int:
        """Put records into the file as one frame: all of them or none. Returns the number of their file.

        Raises JournalCannotWrite.
        """
        if not records:
            return self.segment
        plain = self._encoder.encode(records)
        with self._lock:
            try:
                if self._must_roll or self._size >= self._limit:
                    self._begin()
                assert self._fd is not None and self._cipher is not None
                frame = self._cipher.encrypt(self._frames.to_bytes(12, "big"), plain, None)
                self._must_roll = True  # should this fail, nobody knows what the file holds from here on
                try:
                    self._ops.write_at(self._fd, self._size, (_LENGTH.pack(len(frame)), frame))
                except OSError:
                    self._ops.truncate(self._fd, self._size)  # a full disk lets go, at least
                    self._must_roll = False
                    raise
                self._must_roll = False
            except OSError as error:
                raise self._cannot(error) from error
            self._size += _LENGTH.size + len(frame)
            self._frames += 1
            self._written += 1
            return self._numbers[-1]

    def sync(self) -> None:
        """Return when everything written before the call is on the disk. Raises JournalCannotWrite."""
        with self._lock:
            if self._fd is None or self._synced == self._written:
                return
            fd, upto = os.dup(self._fd), self._written
        try:
            self._ops.sync(fd)
        except OSError as error:
            self._must_roll = True  # Linux reports a lost page once: this file is not written again
            raise self._cannot(error) from error
        finally:
            os.close(fd)
        self._synced = max(self._synced, upto)

    @property
    def is_synced(self) -> bool:
        return self._synced == self._written

    def remove(self, number: int) -> None:
        """Remove the oldest file: nothing in it is unfinished."""
        with self._lock:
            assert number == self._numbers[0] != self._numbers[-1], "only from the oldest on, and never the open one"
            self._ops.unlink(self._path(number))
            self._numbers.pop(0)

    def close(self) -> None:
        self.sync()
        with self._lock:
            if self._fd is not None:
                self._ops.close(self._fd)
                self._fd, self._must_roll = None, True

    # -- within

    def _begin(self) -> None:
        """A new file; the one before it stays as it is."""
        if self._fd is not None:
            self._ops.sync(self._fd)
            self._ops.close(self._fd)
            self._fd = None
        key = AESGCM.generate_key(256)
        boot = boot_id()
        wrapped = self._keys.wrap(key, _BOUND_TO + boot.encode())
        master = self._keys.ring.master[-1].id.hex()
        header = json.dumps({"master": master, "key": wrapped.hex(), "boot": boot}).encode()
        number = self.segment + 1
        path = self._path(number)
        fd = self._ops.create(path)
        try:
            begin = _MAGIC + _LENGTH.pack(len(header)) + header
            self._ops.write_at(fd, 0, (begin,))
            self._ops.sync(fd)
            self._ops.sync_dir(self._folder)
        except BaseException:
            self._ops.close(fd)
            path.unlink(missing_ok=True)
            raise
        self._fd, self._size, self._frames, self._cipher = fd, len(begin), 0, AESGCM(key)
        self._numbers.append(number)
        self._must_roll = False

    def _path(self, number: int) -> Path:
        return self._folder / f"journal-{number:010d}.log"

    def _cannot(self, error: OSError) -> JournalCannotWrite:
        return JournalCannotWrite(path=str(self._folder), cause=error.strerror or str(error))


def _decrypted(cipher: AESGCM, frame: int, content: bytes) -> list[Any] | None:  # Any: as above
    try:
        records = msgspec.msgpack.decode(cipher.decrypt(frame.to_bytes(12, "big"), content, None))
    except (InvalidTag, msgspec.DecodeError):
        return None
    return records if isinstance(records, list) else None


def boot_id() -> str:
    """Of this start of the host (Linux): another one means that the page cache was lost in between."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
