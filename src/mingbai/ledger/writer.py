"""The writer of one stream: group commit, rolling and sealing of segments, retention.

Group commit without a thread of its own: a caller puts its rows into the queue and takes the commit lock. Whoever holds
the lock commits everything that waits, in one message with one sync, and gives each waiter its receipt; the others find
theirs ready when they get the lock. While one sync runs, the next commit fills.

The order that makes an acknowledgement true: data key durable, then rows + ciphertext + link in one write, then sync,
then the receipt. A write or sync that fails cuts the file back to the last commit and raises LedgerCannotWrite: nothing
of it was acknowledged, and the caller may come again. A file whose *sync* failed is never written again (Linux reports
a lost page once and then calls it clean); the next commit opens a new segment.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from mingbai.kernel.clock import from_micros, to_micros
from mingbai.kernel.errors import BadValue
from mingbai.ledger.anchors import Head, sign_head
from mingbai.ledger.chain import genesis
from mingbai.ledger.entries import (
    ENTRY,
    RESERVED,
    US_PER_DAY,
    EntryIds,
    Kind,
    Rows,
    VaultClass,
    control_row,
    decision_rows,
    joined,
)
from mingbai.ledger.errors import KeysChanged, LedgerCannotWrite, LedgerClosed, LedgerError
from mingbai.ledger.files import FileOps, StreamLock, make_dirs, write_new
from mingbai.ledger.keys import KeyStore, fingerprint
from mingbai.ledger.recovery import Tail, recover
from mingbai.ledger.sealing import Seal, write_sealed
from mingbai.ledger.segments import EncodedCommit, encode_commit, entries_dir, open_path, schema_message, stream_dir
from mingbai.ledger.vault import DataKeys, Retention, day_name, encrypt_commit, today

log = logging.getLogger(__name__)

_VERDICT = ENTRY.get_field_index("verdict")
_ID = ENTRY.get_field_index("id")


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """When the writer does what by itself."""

    max_segment_rows: int = 1_000_000  # a start re-reads the open segment: under a second at this size
    max_segment_bytes: int = 256 << 20
    max_segment_age_s: float = 3600.0  # an hour's entries are Parquet soon after the hour
    max_commit_rows: int = 16_384  # what waits beyond goes into the next commit: bounds memory and latency
    head_interval_s: float = 60.0  # how often a signed head goes into the chain
    background_sealing: bool = True  # seal in a thread; False: only `seal` does


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof for the caller: its rows are on the disk."""

    stream: str
    first_seq: int
    rows: int
    commit: int
    chain: bytes  # chain hash after the commit
    ids: pa.Array = field(repr=False, compare=False)  # binary(16): the entries' ids, one a row

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.rows - 1


@dataclass(frozen=True, slots=True)
class Expired:
    """One day's originals of one class that were deleted."""

    day: str
    kind: VaultClass


@dataclass(slots=True)
class _Waiter:
    rows: Rows
    receipt: Receipt | None = None
    error: LedgerError | None = None

    @property
    def is_done(self) -> bool:
        return self.receipt is not None or self.error is not None


class Ledger:
    """One stream, open for writing. Thread-safe. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        folder: Path,
        keys: KeyStore,
        retention: Retention,
        options: LedgerOptions,
        ops: FileOps,
    ) -> None:
        """Use `Ledger.open`."""
        self.stream = folder.name
        self._folder = folder
        self._keys = keys
        self._retention = retention
        self._options = options
        self._ops = ops
        self._data_keys = DataKeys(folder, keys, ops)
        self._ids = EntryIds()
        self._queue: deque[_Waiter] = deque()
        self._commit_lock = threading.Lock()  # guards what follows
        self._tail: Tail | None = None
        self._fd: int | None = None
        self._is_dirty = False  # a commit began and did not end: its bytes may be there, unacknowledged
        self._must_roll = False  # a sync failed: do not write this file again
        self._is_closed = False
        self._unsealed: list[int] = []
        self._seal_lock = threading.Lock()  # taken before the commit lock: one sealing, or expiry, at a time
        self._seal_now = threading.Condition()
        self._is_stopping = False
        self._sealer: threading.Thread | None = None

    @classmethod
    def open(
        cls,
        data_dir: Path | str,
        *,
        stream: str,
        keys: KeyStore,
        now: datetime,
        retention: Retention | None = None,
        options: LedgerOptions | None = None,
        ops: FileOps | None = None,
        accept_new_keys: bool = False,
    ) -> Ledger:
        """Open a stream for writing, making it if it is not there; cuts a torn tail and says so in the chain.

        accept_new_keys: go on with other keys than the stream was written with, because those are lost. The chain says
        so; what the old keys encrypted stays unreadable.

        Raises LedgerLocked (another writer), LedgerDamaged (acknowledged bytes changed or missing: nothing is touched),
        LedgerCannotWrite (disk), KeysChanged, BadValue (stream name).
        """
        folder = stream_dir(Path(data_dir), stream)
        ledger = cls(folder, keys, retention or Retention(), options or LedgerOptions(), ops or FileOps())
        ledger._start(now, accept_new_keys=accept_new_keys)
        return ledger

    def _start(self, now: datetime, *, accept_new_keys: bool) -> None:
        try:
            make_dirs(self._ops, entries_dir(self._folder))
            self._writer_lock = StreamLock(self._folder / "lock", self.stream)
        except OSError as error:
            raise self._cannot_write(error) from error
        try:
            found = recover(self._folder, self._ops)
            self._tail, self._unsealed = found.tail, list(found.unsealed)
            old, new = found.public_key, self._keys.public_key
            if old is not None and old != new and not accept_new_keys:
                raise KeysChanged(
                    stream=self.stream, source=self._keys.source, found=fingerprint(new), expected=fingerprint(old)
                )
            if found.tail is None:
                with self._commit_lock:
                    self._commit([], to_micros(now))  # a stream is provable from the moment that it exists
            if found.cut is not None:
                self.record_own(Kind.TAIL_CUT, found.cut, now=now)
            if old is not None and old != new:
                data = {"old_public_key": old.hex(), "new_public_key": new.hex()}
                self.record_own(Kind.KEY_REPLACED, data, now=now)
        except OSError as error:
            self._let_go()
            raise self._cannot_write(error) from error
        except BaseException:
            self._let_go()
            raise
        self._wake_sealer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the stream. What was acknowledged is on the disk already; the open segment is continued at the
        next start. Waits for a sealing under way."""
        with self._seal_now:
            self._is_stopping = True
            self._seal_now.notify_all()
        if self._sealer is not None:
            self._sealer.join()
        with self._commit_lock:
            if self._is_closed:
                return
            self._let_go()

    def _let_go(self) -> None:
        self._is_closed = True
        if self._fd is not None:
            self._ops.close(self._fd)
            self._fd = None
        self._writer_lock.release()

    # -- recording

    def record(self, decisions: pa.RecordBatch, *, now: datetime) -> Receipt:
        """Append one entry a row of `decisions` (columns of `RECORD`); returns when they are on the disk.

        Raises SchemaMismatch or BadValue (nothing recorded), LedgerCannotWrite (nothing acknowledged; try again).
        """
        return self._submit(decision_rows(decisions, self._keys, now))

    def record_event(self, kind: str, data: Mapping[str, object], *, now: datetime) -> Receipt:
        """Append one entry without traffic: `kind` and JSON data. No personal data belongs into it: it is neither
        encrypted nor ever deleted.

        Raises BadValue for a kind that only the ledger writes, and for data that is no JSON; else as `record`.
        """
        if kind in RESERVED:
            raise BadValue(field="kind", value=kind, expected="a kind that the ledger does not keep for itself")
        return self.record_own(kind, data, now=now)

    def record_own(self, kind: str, data: Mapping[str, object], *, now: datetime) -> Receipt:
        """`record_event` for the ledger's own kinds; for this room only."""
        return self._submit(control_row(kind, data, to_micros(now)))

    def sign_head(self, *, now: datetime) -> Head:
        """Sign the chain as it stands, and put the head into it. The result is an anchor: see `anchor_bytes`."""
        at_us = to_micros(now)
        with self._commit_lock:
            head = self._commit([], at_us, signs=True)
        assert head is not None
        return head

    def _submit(self, rows: Rows) -> Receipt:
        waiter = _Waiter(rows)
        self._queue.append(waiter)
        while not waiter.is_done:
            with self._commit_lock:
                if not waiter.is_done:
                    self._commit_group(self._take_group())
        if waiter.receipt is None:
            assert waiter.error is not None
            raise waiter.error
        return waiter.receipt

    def _take_group(self) -> list[_Waiter]:
        """The waiting calls that go into the next commit: in order, of one day, at least one."""
        group = [self._queue.popleft()]
        rows = group[0].rows.count
        day = group[0].rows.at_us // US_PER_DAY
        while self._queue:
            following = self._queue[0].rows
            rows += following.count
            if rows > self._options.max_commit_rows or following.at_us // US_PER_DAY != day:
                break
            group.append(self._queue.popleft())
        return group

    def _commit_group(self, group: list[_Waiter]) -> None:
        """Commit, and give every waiter its receipt or the error: nobody may wait for ever."""
        failure: LedgerError | None = None
        try:
            self._commit(group, group[0].rows.at_us)
        except LedgerError as error:
            failure = error
        except BaseException as error:
            failure = LedgerCannotWrite(stream=self.stream, path=str(self._folder), cause=repr(error))
            raise
        finally:
            for waiter in group:
                if waiter.receipt is None:
                    waiter.error = failure

    def _commit(self, group: list[_Waiter], at_us: int, *, signs: bool = False, rolls: bool = False) -> Head | None:
        """One commit: the ledger's own rows that are due, then the group's. Holds the commit lock.

        signs: put a signed head into it, due or not; rolls: begin a new segment. Returns the head it carries, if any.
        Raises LedgerCannotWrite, having cut back what it wrote.
        """
        if self._is_closed:
            raise LedgerClosed(stream=self.stream)
        before = self._tail
        try:
            self._clean_up()
            rolls = rolls or self._is_segment_over(at_us)
            head = self._head(at_us) if signs or self._is_head_due(at_us) else None
            own = [self._opening_row(at_us)] if rolls else []
            if head is not None:
                own.append(control_row(Kind.HEAD_SIGNED, head.to_document(), at_us))
            encoded, ids = self._encode([*own, *(waiter.rows for waiter in group)], at_us, is_first=rolls)
            self._is_dirty = True
            if rolls:
                self._begin_segment(encoded)
            else:
                self._append(encoded)
        except OSError as error:
            raise self._cannot_write(error) from error
        self._tail = Tail.after(before, encoded.link, encoded.size, rolls=rolls, head=head)
        self._is_dirty = False  # only now: whatever interrupts before, the commit did not happen
        if rolls and before is not None:
            self._unsealed.append(before.segment)
            self._wake_sealer()
        link = encoded.link
        place = len(own)  # each of the ledger's own parts is one row
        for waiter in group:
            count = waiter.rows.count
            chosen = ids.slice(place, count)
            waiter.receipt = Receipt(self.stream, link.first_seq + place, count, link.commit, link.chain, chosen)
            place += count
        return head

    def _is_segment_over(self, at_us: int) -> bool:
        tail, options = self._tail, self._options
        return (
            tail is None
            or self._must_roll
            or at_us // US_PER_DAY != tail.opened_us // US_PER_DAY  # a segment is of one day, like its vault keys
            or tail.segment_rows >= options.max_segment_rows
            or tail.size >= options.max_segment_bytes
            or abs(at_us - tail.opened_us) >= options.max_segment_age_s * 1e6
        )

    def _is_head_due(self, at_us: int) -> bool:
        tail = self._tail
        return tail is not None and abs(at_us - tail.head_us) >= self._options.head_interval_s * 1e6

    def _opening_row(self, at_us: int) -> Rows:
        tail = self._tail
        data = {
            "format": 1,
            "stream": self.stream,
            "previous_chain": None if tail is None else tail.chain.hex(),
            "previous_head": None if tail is None or tail.head is None else tail.head.hex(),
            "public_key": self._keys.public_key.hex(),
        }
        return control_row(Kind.SEGMENT_OPENED, data, at_us)

    def _head(self, at_us: int) -> Head:
        tail = self._tail
        assert tail is not None
        return sign_head(
            self._keys,
            stream=self.stream,
            seq=tail.next_seq - 1,
            commit=tail.commit,
            chain=tail.chain,
            at=from_micros(at_us),
            previous=tail.head,
        )

    def _encode(self, parts: list[Rows], at_us: int, *, is_first: bool) -> tuple[EncodedCommit, pa.Array]:
        """The commit's bytes, and the ids of its rows."""
        tail = self._tail
        first_seq = 1 if tail is None else tail.next_seq
        commit = 1 if tail is None else tail.commit + 1
        columns, private = joined(parts, first_seq, self._ids)
        blobs = []
        if private is not None:
            blobs = encrypt_commit(
                private,
                columns[_VERDICT],
                self._data_keys,
                self._retention,
                stream=self.stream,
                day=at_us // US_PER_DAY,
                commit=commit,
                first_seq=first_seq,
            )
        encoded = encode_commit(
            columns,
            blobs,
            header=schema_message(self.stream, first_seq) if is_first else b"",
            before=genesis(self.stream) if tail is None else tail.chain,
            commit=commit,
            first_seq=first_seq,
            at_us=at_us,
        )
        return encoded, columns[_ID]

    # -- the file

    def _begin_segment(self, encoded: EncodedCommit) -> None:
        """A segment appears with its first commit, whole or not at all."""
        self._must_roll = True  # should this fail, the next commit takes the same place
        try:
            write_new(self._ops, open_path(self._folder, encoded.link.first_seq), encoded.chunks)
        except OSError:
            self._try_clean_up()
            raise
        if self._fd is not None:
            self._ops.close(self._fd)
            self._fd = None
        self._must_roll = False

    def _append(self, encoded: EncodedCommit) -> None:
        tail = self._tail
        assert tail is not None
        if self._fd is None:
            self._fd = self._ops.open(open_path(self._folder, tail.segment))
        try:
            self._ops.write_at(self._fd, tail.size, encoded.chunks)
            try:
                self._ops.sync(self._fd)
            except OSError:
                self._must_roll = True
                raise
        except OSError:
            self._try_clean_up()
            raise

    def _try_clean_up(self) -> None:
        try:
            self._clean_up()
        except OSError:  # it stays to be done before the next commit
            log.exception("cannot remove what a failed commit left", extra={"stream": self.stream})

    def _clean_up(self) -> None:
        """Remove what a commit that did not end may have left: bytes behind the last commit, or a segment begun."""
        if not self._is_dirty:
            return
        if self._fd is not None and self._tail is not None:
            self._ops.truncate(self._fd, self._tail.size)
            self._ops.sync(self._fd)
        begun = open_path(self._folder, 1 if self._tail is None else self._tail.next_seq)
        if begun.exists():
            self._ops.unlink(begun)
            self._ops.sync_dir(begun.parent)
        self._is_dirty = False

    def _cannot_write(self, error: OSError) -> LedgerCannotWrite:
        cause = os.strerror(error.errno) if error.errno else str(error)
        return LedgerCannotWrite(stream=self.stream, path=str(error.filename or self._folder), cause=cause)

    # -- sealing

    def seal(self, *, now: datetime) -> list[Seal]:
        """Close the open segment and seal everything that is closed. Returns what was sealed.

        Raises LedgerCannotWrite, LedgerDamaged (an open file was changed since it was written: it stays as it is).
        """
        with self._commit_lock:
            if self._tail is not None:
                self._commit([], to_micros(now), rolls=True)
        return self._seal_closed()

    def _seal_closed(self) -> list[Seal]:
        """Seal every closed segment. One that cannot be sealed does not keep the others from it."""
        seals = []
        failure: LedgerError | None = None
        with self._seal_lock:
            for first_seq in list(self._unsealed):
                try:
                    seals.append(self._seal_one(first_seq))
                except LedgerError as error:
                    failure = failure or error
        if failure is not None:
            raise failure
        return seals

    def _seal_one(self, first_seq: int) -> Seal:
        """The four steps of sealing.py. Holds the seal lock; the commit lock only for the entry."""
        try:
            seal = write_sealed(self._folder, first_seq, self._data_keys, self._ops)
            with self._commit_lock:
                assert self._tail is not None
                at_us = self._tail.at_us  # no clock here: the entry carries the time of the last commit
                self._commit([_Waiter(control_row(Kind.SEGMENT_SEALED, seal.to_data(), at_us))], at_us)
            self._unsealed.remove(first_seq)
            path = open_path(self._folder, first_seq)
            self._ops.unlink(path)
            self._ops.sync_dir(path.parent)
        except OSError as error:
            raise self._cannot_write(error) from error
        return seal

    def _wake_sealer(self) -> None:
        if not self._options.background_sealing or not self._unsealed:
            return
        with self._seal_now:
            if self._sealer is None and not self._is_stopping:
                self._sealer = threading.Thread(target=self._seal_in_background, name="ledger-sealer", daemon=True)
                self._sealer.start()
            self._seal_now.notify_all()

    def _seal_in_background(self) -> None:
        """Seal whenever a segment was closed. A failure leaves the segment open, which loses nothing; the next closed
        segment, or the next start, brings another try."""
        failed = 0  # closed segments that could not be sealed
        while True:
            with self._seal_now:
                while not self._is_stopping and len(self._unsealed) <= failed:
                    self._seal_now.wait()
                if self._is_stopping:
                    return
            try:
                self._seal_closed()
            except LedgerError:
                log.exception("sealing failed", extra={"stream": self.stream})
            failed = len(self._unsealed)

    # -- retention

    def expire(self, *, now: datetime) -> list[Expired]:
        """Delete the originals whose time is over: say so in the chain, destroy the day's key, remove the ciphertext.

        In that order: a crash in between leaves a key that the next call destroys (and says so again), never
        ciphertext that is gone without a word. Call it at every start and once a day.
        """
        with self._seal_lock:
            present = dict.fromkeys((file.day, file.kind) for file in self._data_keys.files())
            due = [(day, kind) for day, kind in present if today(now) - day > self._retention.days(kind)]
            if not due:
                return []
            expired = [Expired(day_name(day), kind) for day, kind in due]
            listed = [{"day": item.day, "class": item.kind.label} for item in expired]
            self.record_own(Kind.VAULT_EXPIRED, {"keys": listed}, now=now)
            try:
                for day, kind in due:
                    with self._commit_lock:
                        self._data_keys.destroy(day, kind)
                    folder = self._folder / "vault" / day_name(day)
                    for path in sorted(folder.glob(f"*.{kind.label}")):
                        self._ops.unlink(path)
                    if folder.is_dir():
                        self._ops.sync_dir(folder)
                        if not any(folder.iterdir()):
                            self._ops.rmdir(folder)
            except OSError as error:
                raise self._cannot_write(error) from error
            return expired
