"""The ledger as the index reads it: whole commits from a known place on, each proved to follow the one before.

`StreamReader` serves people who ask for a range; an index asks again and again for what came after a certain commit.
So this reader remembers where in the open segment the commits lie, and looks at chain hashes: an index made from
another ledger (a restored backup, a cut tail) does not fit and is noticed at once.
"""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mingbai.connectors.ledger_index.rows import COLUMNS
from mingbai.ledger import LedgerDamaged
from mingbai.ledger.chain import Link, frame_digest, genesis, read_frame
from mingbai.ledger.entries import OPEN
from mingbai.ledger.segments import Segment, entries_dir, list_segments, sealed_path, stream_dir

_SETTLED_NS = 100_000_000  # file systems keep time to 10 ms or better


@dataclass(frozen=True, slots=True)
class Piece:
    """Entries of whole commits, in order. first: the link of the first one; after: chain hash after the last."""

    rows: pa.RecordBatch
    first: Link
    after: bytes

    @property
    def first_seq(self) -> int:
        return self.first.first_seq

    @property
    def next_seq(self) -> int:
        return self.first_seq + int(self.rows.num_rows)


@dataclass(slots=True)
class _Places:
    """Where the commits of an open segment lie, as far as it was read."""

    inode: int
    header: bytes = b""
    starts: list[int] = field(default_factory=list)  # first seqs
    links: list[Link] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    end: int = 0


class Source:
    """One stream. Remembers places in the open segment. Safe to use from several threads."""

    def __init__(self, data_dir: Path, stream: str) -> None:
        self.stream = stream
        self._folder = stream_dir(data_dir, stream)
        self._open: dict[Path, _Places] = {}
        self._listed: tuple[int, list[Segment]] | None = None
        self._lock = threading.Lock()

    @property
    def genesis(self) -> bytes:
        return genesis(self.stream)

    def segments(self) -> list[Segment]:
        """All segments in order. Listing years of hours takes time, so the list is kept while the folder is unchanged;
        a folder changed just now may change again within the resolution of its time."""
        folder = entries_dir(self._folder)
        try:
            changed = os.stat(folder).st_mtime_ns
        except FileNotFoundError:
            return []
        known = self._listed
        if known is None or known[0] != changed:
            known = changed, list_segments(self._folder)
            self._listed = known if time.time_ns() - changed > _SETTLED_NS else None
        return known[1]

    def pieces(self, first_seq: int, last_seq: int | None = None) -> Iterator[Piece]:
        """Commits from the one that begins with `first_seq` (up to the one that holds `last_seq`).

        Ends where the ledger ends. Raises LedgerDamaged, also where no commit begins with `first_seq` although the
        ledger goes on.
        """
        segments = self.segments()
        expected = first_seq
        for place, segment in enumerate(segments):
            is_last = place + 1 == len(segments)
            if not is_last and segments[place + 1].first_seq <= expected:
                continue
            if last_seq is not None and segment.first_seq > last_seq:
                return
            for piece in self._segment_pieces(segment, expected, last_seq, is_last=is_last):
                if piece.first_seq != expected:
                    what = f"a commit begins with seq {piece.first_seq}, expected {expected}"
                    raise LedgerDamaged(path=str(self._folder / "entries"), offset=0, what=what)
                expected = piece.next_seq
                yield piece

    def chain_after(self, last_seq: int) -> bytes | None:
        """Chain hash after the commit that ends with `last_seq`; None if none does."""
        if last_seq == 0:
            return self.genesis
        segment = self._segment_of(last_seq)
        if segment is None:
            return None
        if segment.open is not None:
            try:
                places = self._read_places(segment.open)
                at = bisect_right(places.starts, last_seq) - 1
                if at < 0 or places.links[at].next_seq != last_seq + 1:
                    return None
                return places.links[at].chain
            except FileNotFoundError:
                pass
        for _, links in self._sealed_groups(segment.first_seq, ["seq"], last_seq, last_seq):
            for link in links:
                if link.next_seq == last_seq + 1:
                    return link.chain
        return None

    def entries(self, seqs: Sequence[int], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Entries of ascending seqs with the columns, by commit or row group; those that are not there are left out."""
        segments = self.segments()
        starts = [segment.first_seq for segment in segments]
        place = bisect_left(seqs, starts[0]) if starts else len(seqs)
        while place < len(seqs):
            at = bisect_right(starts, seqs[place]) - 1
            end = len(seqs) if at + 1 == len(starts) else bisect_left(seqs, starts[at + 1])
            yield from self._segment_entries(segments[at], seqs[place:end], columns)
            place = end

    def open_commits(
        self, path: Path, first_seq: int, last_seq: int | None, *, is_last: bool
    ) -> Iterator[pa.RecordBatch]:
        """Commits of an open segment that hold seqs of the range, whole, with all columns.

        is_last: it is the stream's last segment, whose last commit may be under way. Raises FileNotFoundError when it
        was sealed, LedgerDamaged.
        """
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            places = self._read_places(path, fd)
            start = bisect_right(places.starts, first_seq) - 1
            for _, batch in self._checked(path, fd, places, max(0, start), last_seq, is_last=is_last):
                yield batch
        finally:
            os.close(fd)

    # -- segments

    def _segment_of(self, seq: int) -> Segment | None:
        segments = self.segments()
        at = bisect_right([segment.first_seq for segment in segments], seq) - 1
        return segments[at] if at >= 0 else None

    def _segment_pieces(
        self, segment: Segment, first_seq: int, last_seq: int | None, *, is_last: bool
    ) -> Iterator[Piece]:
        if segment.open is not None:
            try:
                fd = os.open(segment.open, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # sealed since the listing
                pass
            else:
                try:
                    yield from self._open_pieces(segment.open, fd, first_seq, last_seq, is_last=is_last)
                finally:
                    os.close(fd)
                return
        for batch, links in self._sealed_groups(segment.first_seq, list(COLUMNS), first_seq, last_seq):
            start = next((place for place, link in enumerate(links) if link.first_seq >= first_seq), None)
            if start is not None:
                skipped = links[start].first_seq - links[0].first_seq
                yield Piece(batch.slice(skipped), links[start], links[-1].chain)

    def _open_pieces(
        self, path: Path, fd: int, first_seq: int, last_seq: int | None, *, is_last: bool
    ) -> Iterator[Piece]:
        places = self._read_places(path, fd)
        start = bisect_left(places.starts, first_seq)
        for link, batch in self._checked(path, fd, places, start, last_seq, is_last=is_last):
            yield Piece(batch.select(COLUMNS), link, link.chain)
        is_to_end = last_seq is None or not places.starts or last_seq >= places.starts[-1]
        if is_to_end and not is_last and places.end < os.fstat(fd).st_size:
            raise LedgerDamaged(path=str(path), offset=places.end, what="bytes are no whole commit")

    def _checked(
        self, path: Path, fd: int, places: _Places, start: int, last_seq: int | None, *, is_last: bool
    ) -> Iterator[tuple[Link, pa.RecordBatch]]:
        """Commits from the one in that place on, whose bytes are what their links say."""
        size = os.fstat(fd).st_size
        for at in range(start, len(places.starts)):
            if last_seq is not None and places.starts[at] > last_seq:
                return
            frame = read_frame(fd, places.offsets[at], size)
            link = None if frame is None else frame.link()
            header = places.header if at == 0 else b""
            if frame is None or link is None or frame_digest(header, frame.data) != link.digest:
                if is_last and at + 1 == len(places.starts):
                    self._open.pop(path, None)  # a commit under way, or one that is being cut
                    return
                what = "bytes do not match the commit's digest"
                raise LedgerDamaged(path=str(path), offset=places.offsets[at], what=what)
            yield link, pa.ipc.read_record_batch(pa.py_buffer(frame.data), OPEN)

    def _read_places(self, path: Path, fd: int | None = None) -> _Places:
        """Where the commits lie, read on from where the last call ended. Raises FileNotFoundError."""
        if fd is not None:
            with self._lock:
                return self._read_on(path, fd)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return self._read_places(path, fd)
        finally:
            os.close(fd)

    def _read_on(self, path: Path, fd: int) -> _Places:
        stat = os.fstat(fd)
        places = self._open.get(path)
        if places is None or places.inode != stat.st_ino or places.end > stat.st_size or not self._is_same(fd, places):
            if len(self._open) > 8:
                self._open.clear()
            places = self._open[path] = _Places(stat.st_ino)
            header = read_frame(fd, 0, stat.st_size)
            if header is None:
                return places
            places.header = header.data
            places.end = header.end
        while (frame := read_frame(fd, places.end, stat.st_size)) is not None:
            link = frame.link()
            if link is None:
                break
            places.links.append(link)
            places.offsets.append(frame.offset)
            places.end = frame.end
            places.starts.append(link.first_seq)  # last: other threads look here first
        return places

    def _is_same(self, fd: int, places: _Places) -> bool:
        """Whether the last commit that was seen still ends where it did: a tail may have been cut and written anew."""
        if not places.links:
            return True
        raw = os.pread(fd, 128, places.end - 128)
        return Link.parse(raw) == places.links[-1]

    def _sealed_groups(
        self, segment: int, columns: list[str], first_seq: int, last_seq: int | None
    ) -> Iterator[tuple[pa.RecordBatch, list[Link]]]:
        """Row groups that hold seqs of the range, each with the links of its commits."""
        path = sealed_path(self._folder, segment)
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                place = file.schema_arrow.get_field_index("seq")
                for group in range(file.metadata.num_row_groups):
                    known = file.metadata.row_group(group).column(place).statistics
                    if known.max < first_seq:
                        continue
                    if last_seq is not None and known.min > last_seq:
                        return
                    table = file.read_row_group(group, columns=[*columns, "link"]).combine_chunks()
                    (batch,) = table.to_batches()
                    links = [Link.parse(raw) for raw in batch.column("link").drop_null().to_pylist()]
                    whole = [link for link in links if link is not None]
                    if not whole or len(whole) != len(links) or whole[0].first_seq != known.min:
                        raise ValueError("a row group does not begin with a commit")
                    yield batch.select(columns), whole
        except (pa.ArrowException, OSError, ValueError, AttributeError) as error:
            raise LedgerDamaged(path=str(path), offset=0, what=f"cannot be read: {error}") from error

    def _segment_entries(
        self, segment: Segment, seqs: Sequence[int], columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        names = list(columns)
        if segment.open is not None:
            try:
                fd = os.open(segment.open, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                pass
            else:
                try:
                    yield from self._open_entries(segment.open, fd, seqs, names)
                finally:
                    os.close(fd)
                return
        path = sealed_path(self._folder, segment.first_seq)
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                place = file.schema_arrow.get_field_index("seq")
                for group in range(file.metadata.num_row_groups):
                    known = file.metadata.row_group(group).column(place).statistics
                    wanted = seqs[bisect_left(seqs, known.min) : bisect_right(seqs, known.max)]
                    if len(wanted):
                        (batch,) = file.read_row_group(group, columns=names).combine_chunks().to_batches()
                        rows = np.asarray(wanted, np.int64) - known.min
                        yield batch.select(names).take(pa.array(rows))
        except (pa.ArrowException, OSError, ValueError, AttributeError) as error:
            raise LedgerDamaged(path=str(path), offset=0, what=f"cannot be read: {error}") from error

    def _open_entries(self, path: Path, fd: int, seqs: Sequence[int], names: list[str]) -> Iterator[pa.RecordBatch]:
        places = self._read_places(path, fd)
        size = os.fstat(fd).st_size
        at = 0
        while at < len(seqs):
            commit = bisect_right(places.starts, seqs[at]) - 1
            if commit < 0:
                at += 1
                continue
            link = places.links[commit]
            end = bisect_left(seqs, link.next_seq)
            frame = read_frame(fd, places.offsets[commit], size) if end > at else None
            if frame is not None:
                batch = pa.ipc.read_record_batch(pa.py_buffer(frame.data), OPEN).select(names)
                yield batch.take(pa.array(np.asarray(seqs[at:end], np.int64) - link.first_seq))
            at = max(end, at + 1)
