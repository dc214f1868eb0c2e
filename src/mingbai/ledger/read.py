"""Reading a stream, beside its writer or without one: entries over sealed and open segments, and the originals of rows.

A reader takes no lock and never waits. It sees every commit that is wholly in the files when it gets there, which may
include one whose sync is still under way. A segment that is sealed meanwhile is followed to its new file.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mingbai.kernel.clock import as_utc, to_micros
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Verdict
from mingbai.ledger.entries import ENTRY, TIME, VaultClass
from mingbai.ledger.errors import LedgerDamaged
from mingbai.ledger.keys import KeyStore
from mingbai.ledger.segments import (
    BadBytes,
    OpenCommit,
    Segment,
    list_segments,
    scan_open,
    scan_sealed,
    sealed_path,
    stream_dir,
    streams_dir,
)
from mingbai.ledger.vault import Blob, BlobIndex, DataKeys, day_number, decrypt, vault_path

_BATCH_ROWS = 65_536  # small commits are joined up to this


class Kept(StrEnum):
    """Whether an original can be given."""

    KEPT = "kept"
    NO_LONGER_KEPT = "no_longer_kept"  # its time was over: the key is destroyed
    NEVER_KEPT = "never_kept"  # not given to the ledger, or its retention was 0
    UNREADABLE = "unreadable"  # the key cannot be opened (lost), or the ciphertext was changed


# What `originals` gives: one row a row asked for.
ORIGINAL = pa.schema(
    [
        pa.field("seq", pa.uint64(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("text_kept", pa.string(), nullable=False),  # Kept
        pa.field("sender", pa.string()),
        pa.field("receiver", pa.string()),
        pa.field("time", TIME),
        pa.field("numbers_kept", pa.string(), nullable=False),  # Kept
    ]
)


def list_streams(data_dir: Path | str) -> list[str]:
    """Names of the streams of a data directory, sorted; empty if there is no ledger yet."""
    folder = streams_dir(Path(data_dir))
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


@dataclass(frozen=True, slots=True)
class _Range:
    first_seq: int
    last_seq: int | None
    since_us: int | None
    until_us: int | None

    def has_seqs(self, first: int, following: int | None) -> bool:
        """Whether rows first..following-1 can be within; `following` None: not known."""
        return (self.last_seq is None or first <= self.last_seq) and (following is None or following > self.first_seq)

    def chosen(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows within; the batch itself if all are. Needs the columns `seq` and `at`."""
        mask = None
        seq = np.asarray(batch.column("seq"))
        if seq[0] < self.first_seq or (self.last_seq is not None and seq[-1] > self.last_seq):
            mask = seq >= np.uint64(self.first_seq)
            if self.last_seq is not None:
                mask &= seq <= np.uint64(self.last_seq)
        if self.since_us is not None or self.until_us is not None:
            at = np.asarray(batch.column("at").view(pa.int64()))
            mask = np.ones(len(at), bool) if mask is None else mask
            if self.since_us is not None:
                mask &= at >= self.since_us
            if self.until_us is not None:
                mask &= at < self.until_us
        return batch if mask is None or mask.all() else batch.filter(pa.array(mask))


class StreamReader:
    """One stream, open for reading. Entries need no keys; originals do."""

    def __init__(self, data_dir: Path | str, stream: str, keys: KeyStore | None = None) -> None:
        """Raises BadValue for a name that is no stream name. A stream that does not exist has no entries."""
        self.stream = stream
        self._folder = stream_dir(Path(data_dir), stream)
        self._data_keys = DataKeys(self._folder, keys)
        self._indexes: OrderedDict[Path, BlobIndex | None] = OrderedDict()

    def entries(
        self,
        columns: Sequence[str] | None = None,
        *,
        first_seq: int = 1,
        last_seq: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Entries in order of seq, as batches of the wanted `ENTRY` columns (None: all).

        first_seq, last_seq: both included; since, until: by `at`, `until` excluded.
        Raises BadValue (unknown column, time without zone), LedgerDamaged where bytes are damaged: rows before the
        damage have been given, and `verify` says what is wrong.
        """
        names = _checked(columns)
        chosen = _range(first_seq, last_seq, since, until)
        needed = list(dict.fromkeys([*names, "seq", "at"]))
        held: list[pa.RecordBatch] = []
        rows = 0
        for commit in self._commits(chosen, needed, whole_groups=True):
            batch = chosen.chosen(commit)
            if not batch.num_rows:
                continue
            held.append(batch.select(names))
            rows += batch.num_rows
            if rows >= _BATCH_ROWS:
                yield pa.concat_batches(held)
                held, rows = [], 0
        if held:
            yield pa.concat_batches(held)

    def entries_with_originals(
        self,
        columns: Sequence[str] | None = None,
        *,
        first_seq: int = 1,
        last_seq: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """As `entries`, each batch beside the `ORIGINAL` rows of the same entries."""
        names = _checked(columns)
        chosen = _range(first_seq, last_seq, since, until)
        needed = list(dict.fromkeys([*names, "seq", "at", "verdict", "vault"]))
        held: list[tuple[pa.RecordBatch, pa.RecordBatch]] = []
        rows = 0
        for commit in self._commits(chosen, [*needed, "sealed"], whole_groups=False):
            entries = chosen.chosen(commit)
            if not entries.num_rows:
                continue
            originals = self._originals(commit)
            if entries.num_rows < commit.num_rows:
                places = np.asarray(entries.column("seq")) - np.asarray(commit.column("seq"))[0]
                originals = originals.take(pa.array(places))
            held.append((entries.select(names), originals))
            rows += entries.num_rows
            if rows >= _BATCH_ROWS:
                yield pa.concat_batches([pair[0] for pair in held]), pa.concat_batches([pair[1] for pair in held])
                held, rows = [], 0
        if held:
            yield pa.concat_batches([pair[0] for pair in held]), pa.concat_batches([pair[1] for pair in held])

    def originals(self, seqs: Iterable[int]) -> pa.RecordBatch:
        """`ORIGINAL` rows of the entries asked for, in the order asked. Raises BadValue for a seq that is not there."""
        wanted = [int(seq) for seq in seqs]
        ordered = sorted(set(wanted))
        found: dict[int, tuple[pa.RecordBatch, int]] = {}
        place = 0
        while place < len(ordered):
            run = place
            while run + 1 < len(ordered) and ordered[run + 1] - ordered[run] < _BATCH_ROWS:
                run += 1
            chosen = _Range(ordered[place], ordered[run], None, None)
            for commit in self._commits(chosen, ["seq", "at", "verdict", "vault", "sealed"], whole_groups=False):
                first = commit.column("seq")[0].as_py()
                inside = [seq for seq in ordered[place : run + 1] if first <= seq < first + commit.num_rows]
                if inside:
                    rows = self._originals(commit)
                    found.update((seq, (rows, seq - first)) for seq in inside)
            place = run + 1
        missing = [seq for seq in ordered if seq not in found]
        if missing:
            raise BadValue(field="seq", value=missing[0], expected=f"an entry of stream {self.stream}")
        if not wanted:
            return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in ORIGINAL], schema=ORIGINAL)
        return pa.concat_batches([rows.slice(at, 1) for rows, at in (found[seq] for seq in wanted)])

    # -- commits

    def _commits(self, chosen: _Range, columns: list[str], *, whole_groups: bool) -> Iterator[pa.RecordBatch]:
        """Commits that can hold rows of the range, with the columns (those the file has).

        whole_groups: a sealed segment may give row groups instead of commits.
        """
        segments = list_segments(self._folder)
        for place, segment in enumerate(segments):
            is_last = place + 1 == len(segments)
            if not chosen.has_seqs(segment.first_seq, None if is_last else segments[place + 1].first_seq):
                continue
            given = 0
            if segment.open is not None:
                try:
                    for batch in self._open_commits(segment.open, chosen, columns, is_last):
                        given = int(batch.column("seq")[-1].as_py())
                        yield batch
                    continue
                except OSError as error:
                    if segment.open.exists():
                        raise LedgerDamaged(path=str(segment.open), offset=0, what=str(error)) from error
                    # sealed since the listing
                    segment = Segment(segment.first_seq, None, sealed_path(self._folder, segment.first_seq))
            for batch in self._sealed_commits(segment, chosen, columns, whole_groups):
                if int(batch.column("seq")[0].as_py()) > given:
                    yield batch

    def _open_commits(self, path: Path, chosen: _Range, columns: list[str], is_last: bool) -> Iterator[pa.RecordBatch]:
        bad: BadBytes | None = None
        for item in scan_open(path):
            if bad is not None:
                break
            if isinstance(item, OpenCommit):
                if chosen.has_seqs(item.link.first_seq, item.link.next_seq):
                    yield item.batch().select(columns)
                elif chosen.last_seq is not None and item.link.first_seq > chosen.last_seq:
                    return
            else:
                bad = item
        else:
            if bad is None or is_last:  # at the end of the last segment: a commit under way, or a torn one
                return
        raise LedgerDamaged(path=str(path), offset=bad.offset, what=bad.what)

    def _sealed_commits(
        self, segment: Segment, chosen: _Range, columns: list[str], whole_groups: bool
    ) -> Iterator[pa.RecordBatch]:
        path = segment.sealed
        assert path is not None
        kept = [name for name in columns if name != "sealed"]
        try:
            yield from scan_sealed(path, kept, chosen.first_seq, chosen.last_seq, whole_groups=whole_groups)
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise LedgerDamaged(path=str(path), offset=0, what=f"cannot be read: {error}") from error

    # -- originals

    def _originals(self, commit: pa.RecordBatch) -> pa.RecordBatch:
        """`ORIGINAL` rows of a whole commit (columns seq, at, verdict, vault and, from an open segment, sealed)."""
        rows = commit.num_rows
        seq = commit.column("seq")
        listed = {item["class"] for item in commit.column("vault")[0].as_py() or []}
        blobs = self._blobs(commit)
        day = day_number(commit.column("at").view(pa.int64())[0].as_py())
        verdicts = np.asarray(commit.column("verdict").fill_null(255))

        texts: list[pa.Array] = []
        text_kept = np.full(rows, Kept.NEVER_KEPT.value, dtype=object)
        for kind in (VaultClass.ALLOWED, VaultClass.STOPPED):
            if kind not in listed:
                continue
            plain, state = self._opened(kind, day, blobs)
            if plain is None:
                of_class = verdicts == Verdict.ALLOW if kind is VaultClass.ALLOWED else verdicts != Verdict.ALLOW
                text_kept[of_class] = state.value
            else:
                texts.append(_spread(plain, "text", rows))
                text_kept[np.asarray(plain.column("row"))] = Kept.KEPT.value
        text = pc.coalesce(*texts) if texts else pa.nulls(rows, pa.string())

        numbers: dict[str, pa.Array] = {name: pa.nulls(rows, ORIGINAL.field(name).type) for name in _NUMBER_NAMES}
        numbers_kept = np.full(rows, Kept.NEVER_KEPT.value, dtype=object)
        if VaultClass.NUMBERS in listed:
            plain, state = self._opened(VaultClass.NUMBERS, day, blobs)
            if plain is None:
                numbers_kept[:] = state.value
            else:
                numbers = {name: _spread(plain, name, rows) for name in _NUMBER_NAMES}
                there = np.zeros(rows, bool)
                for column in numbers.values():
                    there |= np.asarray(column.is_valid())
                numbers_kept[there] = Kept.KEPT.value
        return pa.RecordBatch.from_arrays(
            [
                seq,
                text,
                pa.array(text_kept, pa.string()),
                *(numbers[name] for name in _NUMBER_NAMES),
                pa.array(numbers_kept, pa.string()),
            ],
            schema=ORIGINAL,
        )

    def _opened(
        self, kind: VaultClass, day: int, blobs: Callable[[VaultClass], Blob | None]
    ) -> tuple[pa.RecordBatch | None, Kept]:
        if not self._data_keys.has(day, kind):
            return None, Kept.NO_LONGER_KEPT
        blob = blobs(kind)
        if blob is None:
            return None, Kept.UNREADABLE
        key = self._data_keys.get(day, kind, blob.key_id)
        plain = None if key is None else decrypt(blob, key, self.stream)
        return plain, Kept.UNREADABLE if plain is None else Kept.KEPT

    def _blobs(self, commit: pa.RecordBatch) -> Callable[[VaultClass], Blob | None]:
        """Where the ciphertext of a commit is found: within the batch, or in a vault file."""
        if "sealed" in commit.schema.names:
            parsed = [Blob.parse(raw) for raw in commit.column("sealed")[0].as_py() or []]
            by_class = {blob.kind: blob for blob in parsed if blob is not None}
            return by_class.get
        first = int(commit.column("seq")[0].as_py())
        day = day_number(commit.column("at").view(pa.int64())[0].as_py())
        segment = max((s.first_seq for s in list_segments(self._folder) if s.first_seq <= first), default=first)

        def from_file(kind: VaultClass) -> Blob | None:
            index = self._index(vault_path(self._folder, day, segment, kind))
            return None if index is None else index.get(first)

        return from_file

    def _index(self, path: Path) -> BlobIndex | None:
        if path not in self._indexes:
            try:
                self._indexes[path] = BlobIndex(path)
            except OSError:
                return None
            if len(self._indexes) > 16:
                self._indexes.popitem(last=False)
        return self._indexes[path]


_NUMBER_NAMES = ("sender", "receiver", "time")


def _checked(columns: Sequence[str] | None) -> list[str]:
    names = ENTRY.names if columns is None else list(columns)
    for name in names:
        if name not in ENTRY.names:
            raise BadValue(field="columns", value=name, expected=f"one of {', '.join(ENTRY.names)}")
    return list(names)


def _range(first_seq: int, last_seq: int | None, since: datetime | None, until: datetime | None) -> _Range:
    return _Range(
        first_seq,
        last_seq,
        None if since is None else to_micros(as_utc(since, "since")),
        None if until is None else to_micros(as_utc(until, "until")),
    )


def _spread(plain: pa.RecordBatch, name: str, rows: int) -> pa.Array:
    """A column of a blob at the rows of its commit; null elsewhere."""
    places = np.full(rows, -1, np.int64)
    at = np.asarray(plain.column("row"))
    places[at] = np.arange(len(at))
    return plain.column(name).take(pa.array(places, mask=places < 0))
