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
import numpy.typing as npt
import pyarrow as pa

from mingbai.kernel.clock import as_utc, to_micros
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Verdict
from mingbai.ledger.entries import ENTRY, TIME, VaultClass
from mingbai.ledger.errors import LedgerDamaged
from mingbai.ledger.keys import KeyStore
from mingbai.ledger.segments import (
    BadBytes,
    OpenCommit,
    list_segments,
    scan_open,
    scan_sealed,
    sealed_path,
    stream_dir,
    streams_dir,
)
from mingbai.ledger.vault import Blob, BlobIndex, DataKeys, day_number, decrypt, vault_path
from mingbai.ledger.withheld import COLUMNS as WITHHELD_COLUMNS
from mingbai.ledger.withheld import Withheld

_BATCH_ROWS = 65_536  # small commits are joined up to this
_OPEN_VAULT_FILES = 16


class Kept(StrEnum):
    """Whether an original can be given."""

    KEPT = "kept"
    NO_LONGER_KEPT = "no_longer_kept"  # its time was over: the key is destroyed
    NEVER_KEPT = "never_kept"  # not given to the ledger, or its retention was 0
    UNREADABLE = "unreadable"  # the key cannot be opened (lost), or the ciphertext was changed
    WITHHELD = "withheld"  # still stored, but the person asked for erasure: nobody gets it (withheld.py)


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
class Range:
    """Entries by seq, both ends within, and by time in microseconds; None: no end."""

    first_seq: int
    last_seq: int | None
    since_us: int | None
    until_us: int | None

    def has_seqs(self, first: int, following: int | None) -> bool:
        """Whether rows first..following-1 can be within; `following` None: not known."""
        return (self.last_seq is None or first <= self.last_seq) and (following is None or following > self.first_seq)

    def chosen(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows within; the batch itself if all are. Needs the columns `seq` and `at`."""
        mask = self.mask(batch)
        return batch if mask is None else batch.filter(pa.array(mask))

    def mask(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_] | None:
        """Which rows are within; None if all are. Needs `seq` and `at`, which may be there twice."""
        mask = None
        seq, at = (batch.column(batch.schema.get_all_field_indices(name)[-1]) for name in _SEQ_AND_AT)
        seq = np.asarray(seq)
        if seq[0] < self.first_seq or (self.last_seq is not None and seq[-1] > self.last_seq):
            mask = seq >= np.uint64(self.first_seq)
            if self.last_seq is not None:
                mask &= seq <= np.uint64(self.last_seq)
        if self.since_us is not None or self.until_us is not None:
            at = np.asarray(at.view(pa.int64()))
            mask = np.ones(len(at), bool) if mask is None else mask
            if self.since_us is not None:
                mask &= at >= self.since_us
            if self.until_us is not None:
                mask &= at < self.until_us
        return None if mask is None or mask.all() else mask


@dataclass(frozen=True, slots=True)
class Commit:
    """Rows of one commit (or, where whole row groups are asked for, of several) and the segment they lie in."""

    segment: int
    rows: pa.RecordBatch

    @property
    def first_seq(self) -> int:
        return int(self.rows.column("seq")[0].as_py())

    @property
    def day(self) -> int:
        return day_number(self.rows.column("at")[0].value)


class StreamReader:
    """One stream, open for reading. Entries need no keys; originals do."""

    def __init__(self, data_dir: Path | str, stream: str, keys: KeyStore | None = None) -> None:
        """Raises BadValue for a name that is no stream name. A stream that does not exist has no entries."""
        self.stream = stream
        self._folder = stream_dir(Path(data_dir), stream)
        self._data_keys = DataKeys(self._folder, keys)
        self._withheld = Withheld(Path(data_dir))
        self._indexes: OrderedDict[tuple[int, int, VaultClass], BlobIndex] = OrderedDict()

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
            batch = chosen.chosen(commit.rows)
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
        needed = list(dict.fromkeys([*names, *self._for_originals()]))
        held: list[Commit] = []
        rows = 0
        for commit in self._commits(chosen, needed, whole_groups=False):
            held.append(commit)
            rows += commit.rows.num_rows
            if rows >= _BATCH_ROWS:
                yield from self._with_originals(held, names, chosen)
                held, rows = [], 0
        if held:
            yield from self._with_originals(held, names, chosen)

    def _with_originals(
        self, commits: list[Commit], names: list[str], chosen: Range
    ) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        originals = self._originals(commits)
        entries = pa.concat_batches([commit.rows.select([*names, *_SEQ_AND_AT]) for commit in commits])
        mask = chosen.mask(entries)
        if mask is not None:
            entries, originals = entries.filter(pa.array(mask)), originals.filter(pa.array(mask))
        if entries.num_rows:
            yield pa.RecordBatch.from_arrays(entries.columns[: len(names)], names=names), originals

    def originals(self, seqs: Iterable[int]) -> pa.RecordBatch:
        """`ORIGINAL` rows of the entries asked for, in the order asked. Raises BadValue for a seq that is not there."""
        wanted = [int(seq) for seq in seqs]
        ordered = sorted(set(wanted))
        found: dict[int, tuple[Commit, int]] = {}
        place = 0
        while place < len(ordered):
            run = place
            while run + 1 < len(ordered) and ordered[run + 1] - ordered[run] < _BATCH_ROWS:
                run += 1
            chosen = Range(ordered[place], ordered[run], None, None)
            for commit in self._commits(chosen, self._for_originals(), whole_groups=False):
                first = commit.first_seq
                inside = [seq for seq in ordered[place : run + 1] if first <= seq < first + commit.rows.num_rows]
                found.update((seq, (commit, seq - first)) for seq in inside)
            place = run + 1
        missing = [seq for seq in ordered if seq not in found]
        if missing:
            raise BadValue(field="seq", value=missing[0], expected=f"an entry of stream {self.stream}")
        if not wanted:
            return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in ORIGINAL], schema=ORIGINAL)
        commits = list({id(commit): commit for commit, _ in found.values()}.values())
        starts: dict[int, int] = {}
        rows = 0
        for commit in commits:
            starts[id(commit)] = rows
            rows += commit.rows.num_rows
        places = [starts[id(found[seq][0])] + found[seq][1] for seq in wanted]
        return self._originals(commits).take(pa.array(places, pa.int64()))

    # -- commits

    def _commits(self, chosen: Range, columns: list[str], *, whole_groups: bool) -> Iterator[Commit]:
        """Commits that can hold rows of the range, with the columns (those the file has).

        The one place that looks for them: whoever knows where they lie finds them in its own way
        (`connectors.ledger_index.originals`), and what is kept, withheld or given out stays decided here.
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
                        yield Commit(segment.first_seq, batch)
                    continue
                except OSError as error:
                    if segment.open.exists():
                        raise LedgerDamaged(path=str(segment.open), offset=0, what=str(error)) from error
            # sealed, perhaps only since the listing
            path = sealed_path(self._folder, segment.first_seq)
            for batch in self._sealed_commits(path, chosen, columns, whole_groups):
                if int(batch.column("seq")[0].as_py()) > given:
                    yield Commit(segment.first_seq, batch)

    def _open_commits(self, path: Path, chosen: Range, columns: list[str], is_last: bool) -> Iterator[pa.RecordBatch]:
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
        self, path: Path, chosen: Range, columns: list[str], whole_groups: bool
    ) -> Iterator[pa.RecordBatch]:
        kept = [name for name in columns if name != "sealed"]
        try:
            yield from scan_sealed(path, kept, chosen.first_seq, chosen.last_seq, whole_groups=whole_groups)
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise LedgerDamaged(path=str(path), offset=0, what=f"cannot be read: {error}") from error

    # -- originals

    def _for_originals(self) -> list[str]:
        """Columns that `_originals` needs."""
        columns = ["seq", "at", "verdict", "vault", "sealed"]
        return columns if self._withheld.is_empty() else [*columns, *WITHHELD_COLUMNS]

    def _hide_withheld(self, commits: list[Commit], text: _Opened, numbers: _Opened) -> None:
        start = 0
        for commit in commits:
            end = start + commit.rows.num_rows
            if set(WITHHELD_COLUMNS) <= set(commit.rows.schema.names):
                hidden = np.flatnonzero(self._withheld.mask(commit.rows)) + start
                text.hide(hidden)
                numbers.hide(hidden)
            start = end

    def _originals(self, commits: list[Commit]) -> pa.RecordBatch:
        """`ORIGINAL` rows of whole commits, in order (columns seq, at, verdict, vault, and `sealed` of open ones)."""
        rows = sum(commit.rows.num_rows for commit in commits)
        verdicts = np.concatenate([np.asarray(commit.rows.column("verdict").fill_null(255)) for commit in commits])
        text, numbers = _Opened(rows), _Opened(rows)
        start = 0
        for commit in commits:
            end = start + commit.rows.num_rows
            day = commit.day
            blobs = self._blobs(commit, day)
            for kind in {item["class"] for item in commit.rows.column("vault")[0].as_py() or []}:
                plain, state = self._opened(VaultClass(kind), day, blobs)
                if kind == VaultClass.NUMBERS:
                    numbers.add(plain, state, start, np.ones(end - start, bool))
                else:
                    is_allowed = verdicts[start:end] == Verdict.ALLOW
                    text.add(plain, state, start, is_allowed if kind == VaultClass.ALLOWED else ~is_allowed)
            start = end
        if not self._withheld.is_empty():
            self._hide_withheld(commits, text, numbers)
        given = [numbers.column(name, ORIGINAL.field(name).type) for name in _NUMBER_NAMES]
        nothing = np.ones(rows, bool)
        for column in given:
            nothing &= np.asarray(column.is_null())
        numbers.states[nothing & (numbers.states == _STATES.index(Kept.KEPT))] = _STATES.index(Kept.NEVER_KEPT)
        return pa.RecordBatch.from_arrays(
            [
                pa.concat_arrays([commit.rows.column("seq") for commit in commits]),
                text.column("text", pa.string()),
                text.kept(),
                *given,
                numbers.kept(),
            ],
            schema=ORIGINAL,
        )

    def _opened(
        self, kind: VaultClass, day: int, blobs: Callable[[VaultClass], Blob | None]
    ) -> tuple[pa.RecordBatch | None, Kept]:
        blob = blobs(kind)
        key = None if blob is None else self._data_keys.get(day, kind, blob.key_id)
        if blob is None or key is None:
            return None, Kept.UNREADABLE if self._data_keys.has(day, kind) else Kept.NO_LONGER_KEPT
        plain = decrypt(blob, key, self.stream)
        return plain, Kept.UNREADABLE if plain is None else Kept.KEPT

    def _blobs(self, commit: Commit, day: int) -> Callable[[VaultClass], Blob | None]:
        """Where the ciphertext of a commit is found: within the batch, or in a vault file."""
        if "sealed" in commit.rows.schema.names:
            parsed = [Blob.parse(raw) for raw in commit.rows.column("sealed")[0].as_py() or []]
            by_class = {blob.kind: blob for blob in parsed if blob is not None}
            return by_class.get

        def from_file(kind: VaultClass) -> Blob | None:
            index = self._index(commit.segment, day, kind)
            return None if index is None else index.get(commit.first_seq)

        return from_file

    def _index(self, segment: int, day: int, kind: VaultClass) -> BlobIndex | None:
        key = (segment, day, kind)
        index = self._indexes.get(key)
        if index is None:
            try:
                index = self._indexes[key] = BlobIndex(vault_path(self._folder, day, segment, kind))
            except OSError:  # expired since, or damaged: `_opened` tells which
                return None
            if len(self._indexes) > _OPEN_VAULT_FILES:
                self._indexes.popitem(last=False)
        return index


_NUMBER_NAMES = ("sender", "receiver", "time")
_SEQ_AND_AT = ("seq", "at")
_STATES = list(Kept)


class _Opened:
    """Opened ciphertext of many commits, gathered so that the columns are made once for all of them."""

    def __init__(self, rows: int) -> None:
        self.states = np.full(rows, _STATES.index(Kept.NEVER_KEPT), np.uint8)
        self._places = np.full(rows, -1, np.int64)
        self._plain: list[pa.RecordBatch] = []
        self._count = 0

    def add(self, plain: pa.RecordBatch | None, state: Kept, start: int, concerned: npt.NDArray[np.bool_]) -> None:
        """One blob of the commit that begins at row `start`; where it cannot be opened, `state` is that of its rows."""
        if plain is None:
            self.states[start : start + len(concerned)][concerned] = _STATES.index(state)
            return
        rows = np.asarray(plain.column("row")) + np.int64(start)
        self.states[rows] = _STATES.index(Kept.KEPT)
        self._places[rows] = np.arange(self._count, self._count + len(rows))
        self._plain.append(plain)
        self._count += len(rows)

    def hide(self, rows: npt.NDArray[np.int64]) -> None:
        """Rows whose original is given to nobody, where there is one."""
        rows = rows[self.states[rows] == _STATES.index(Kept.KEPT)]
        self._places[rows] = -1
        self.states[rows] = _STATES.index(Kept.WITHHELD)

    def column(self, name: str, kind: pa.DataType) -> pa.Array:
        if not self._plain:
            return pa.nulls(len(self._places), kind)
        values = pa.concat_arrays([plain.column(name) for plain in self._plain])
        return values.take(pa.array(self._places, mask=self._places < 0))

    def kept(self) -> pa.Array:
        return pa.array(_STATES, pa.string()).take(pa.array(self.states))


def _checked(columns: Sequence[str] | None) -> list[str]:
    names = ENTRY.names if columns is None else list(columns)
    for name in names:
        if name not in ENTRY.names:
            raise BadValue(field="columns", value=name, expected=f"one of {', '.join(ENTRY.names)}")
    return list(names)


def _range(first_seq: int, last_seq: int | None, since: datetime | None, until: datetime | None) -> Range:
    return Range(
        first_seq,
        last_seq,
        None if since is None else to_micros(as_utc(since, "since")),
        None if until is None else to_micros(as_utc(until, "until")),
    )
