"""Segments: the files that hold a stream's entries.

    <data>/ledger/<stream>/entries/<first seq>.arrows    open: Arrow IPC stream, one record batch a commit (chain.py)
                                   <first seq>.parquet   sealed: the same rows without ciphertext
                           vault/<day>/<first seq>.<class>   ciphertext of a sealed segment (vault.py)
                           keys/<day>.<class>.key            wrapped data keys
                           cut/<first seq>.<offset>          what was cut off as torn, kept for a look
                           lock                              one writer

A segment's name is the seq of its first row (20 digits), so a listing is an index. Where both files of a segment exist,
the open one counts: sealing (sealing.py) removes it last. The first row of every segment is `segment.opened`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mingbai.kernel.errors import BadValue
from mingbai.ledger.chain import (
    LINK_BYTES,
    MAGIC,
    Frame,
    Link,
    frame_digest,
    link_column,
    read_frame,
)
from mingbai.ledger.content import content_digest
from mingbai.ledger.entries import ENTRY, OPEN
from mingbai.ledger.vault import Blob

_VAULT, _SEALED = ENTRY.field("vault").type, OPEN.field("sealed").type
_CLASS, _DIGEST = (field.type for field in _VAULT.value_type)
_NAME = re.compile(r"(\d{20})\.(arrows|parquet)")
_STREAM = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def streams_dir(data_dir: Path) -> Path:
    return data_dir / "ledger"


def stream_dir(data_dir: Path, stream: str) -> Path:
    """Raises BadValue for a name that is no plain folder name."""
    if not _STREAM.fullmatch(stream):
        raise BadValue(field="stream", value=stream, expected="1-64 of a-z 0-9 _ -, starting with a letter or digit")
    return streams_dir(data_dir) / stream


def entries_dir(stream: Path) -> Path:
    return stream / "entries"


def open_path(stream: Path, first_seq: int) -> Path:
    return entries_dir(stream) / f"{first_seq:020d}.arrows"


def sealed_path(stream: Path, first_seq: int) -> Path:
    return entries_dir(stream) / f"{first_seq:020d}.parquet"


@dataclass(frozen=True, slots=True)
class Segment:
    """Which files of one segment are there."""

    first_seq: int
    open: Path | None
    sealed: Path | None


def list_segments(stream: Path) -> list[Segment]:
    """All segments of a stream in order; an empty list if there is none."""
    found: dict[int, dict[str, Path]] = {}
    folder = entries_dir(stream)
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    for name in names:
        match = _NAME.fullmatch(name)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = folder / name
    return [Segment(seq, files.get("arrows"), files.get("parquet")) for seq, files in sorted(found.items())]


# -- writing one commit ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EncodedCommit:
    """The bytes of one commit, ready to write, and its link."""

    chunks: list[bytes | memoryview]
    size: int
    link: Link


def encode_commit(
    columns: list[pa.Array], blobs: list[Blob], *, header: bytes, before: bytes, commit: int, first_seq: int, at_us: int
) -> EncodedCommit:
    """Serialise the rows with their ciphertext and close them with the link.

    columns: those of `ENTRY` but `vault`; header: the schema message if this is a segment's first commit, else empty.
    """
    rows = len(columns[0])
    vault = _first_row_list(rows, _vault_digests(blobs), _VAULT)
    sealed = _first_row_list(rows, _ciphertexts(blobs), _SEALED)
    columns = [*columns, vault, sealed, link_column(rows)]
    batch = pa.RecordBatch.from_arrays(columns, schema=OPEN)
    message = batch.serialize()
    view = memoryview(message)
    if view[-LINK_BYTES:] != bytes(LINK_BYTES):  # rests on the order of buffers in the Arrow format; never seen false
        raise AssertionError("pyarrow did not put the last column's value at the end of the message")
    link = Link.make(
        before,
        rows=rows,
        commit=commit,
        first_seq=first_seq,
        at_us=at_us,
        digest=frame_digest(header, view),
        content=content_digest(batch, columns),
    )
    return EncodedCommit([header, view[:-LINK_BYTES], link.to_bytes()], len(header) + len(view), link)


def schema_message(stream: str, first_seq: int) -> bytes:
    """The Arrow schema message that opens a segment, naming the format, the stream and the segment."""
    schema = OPEN.with_metadata(
        {"mingbai.ledger": "1", "mingbai.stream": stream, "mingbai.segment": f"{first_seq:020d}"}
    )
    return bytes(schema.serialize().to_pybytes())


def _vault_digests(blobs: list[Blob]) -> pa.Array:
    count = len(blobs)
    classes = pa.Array.from_buffers(_CLASS, count, [None, pa.py_buffer(bytes(blob.kind for blob in blobs))], 0)
    digests = pa.Array.from_buffers(_DIGEST, count, [None, pa.py_buffer(b"".join(blob.sha256 for blob in blobs))], 0)
    return pa.Array.from_buffers(_VAULT.value_type, count, [None], 0, children=[classes, digests])


def _ciphertexts(blobs: list[Blob]) -> pa.Array:
    ends = np.array([0, *accumulate(len(blob.raw) for blob in blobs)], np.int32)
    raw = b"".join(blob.raw for blob in blobs)
    return pa.Array.from_buffers(pa.binary(), len(blobs), [None, pa.py_buffer(ends), pa.py_buffer(raw)], 0)


def _first_row_list(rows: int, values: pa.Array, kind: pa.DataType) -> pa.Array:
    """A list column whose first row holds `values`; the other rows are null."""
    offsets = np.full(rows + 1, len(values), np.int32)
    offsets[0] = 0
    bitmap = bytearray((rows + 7) // 8)
    bitmap[0] = 1
    return pa.Array.from_buffers(kind, rows, [pa.py_buffer(bitmap), pa.py_buffer(offsets)], rows - 1, children=[values])


# -- reading an open segment -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenCommit:
    """A whole commit of an open segment: its link fits its bytes."""

    frame: Frame
    link: Link
    schema: pa.Schema

    def batch(self) -> pa.RecordBatch:
        return pa.ipc.read_record_batch(pa.py_buffer(self.frame.data), self.schema)


@dataclass(frozen=True, slots=True)
class BadBytes:
    """A stretch of an open segment that is no whole commit. `link`: the one found at its end, if any."""

    offset: int
    end: int
    link: Link | None
    what: str


def scan_open(path: Path, size: int | None = None) -> Iterator[OpenCommit | BadBytes]:
    """What the file holds, in order, up to `size` bytes. Every byte belongs to exactly one item.

    A commit is yielded if its digest fits its bytes; whether it follows the one before is for the caller to check.
    After bad bytes the scan goes on behind the next link, so that damage in the middle does not hide what comes after.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if size is None:
            size = os.fstat(fd).st_size
        header_frame = read_frame(fd, 0, size)
        header = header_frame.data if header_frame is not None else b""
        schema = OPEN
        offset, start = len(header), 0  # `start`: where the present commit's bytes begin (0: with the schema message)
        while start < size:
            frame = read_frame(fd, offset, size) if header else None
            link = frame.link() if frame is not None else None
            if frame is None or link is None:
                bad = _up_to_next_link(fd, start, size)
                yield bad
                offset = start = bad.end
                continue
            if frame_digest(header if start == 0 else b"", frame.data) != link.digest:
                yield BadBytes(start, frame.end, link, "bytes do not match the commit's digest")
            else:
                if start == 0:  # only now are the header's bytes known to be what was written
                    schema = _read_schema(header)
                yield OpenCommit(frame, link, schema)
            offset = start = frame.end
    finally:
        os.close(fd)


def _read_schema(header: bytes) -> pa.Schema:
    schema = pa.ipc.read_schema(pa.py_buffer(header))
    return schema if {"seq", "link"} <= set(schema.names) else OPEN


def _up_to_next_link(fd: int, offset: int, size: int) -> BadBytes:
    """The stretch from `offset` to the end of the next link that is followed by a frame or by the end of the file."""
    window = 1 << 20
    at = offset
    while at < size:
        data = os.pread(fd, window + LINK_BYTES, at)
        found = data.find(MAGIC)
        while 0 <= found < window:
            end = at + found + LINK_BYTES
            link = Link.parse(data[found : found + LINK_BYTES]) if end <= size else None
            if link is not None and (end == size or read_frame(fd, end, size) is not None):
                return BadBytes(offset, end, link, "bytes are no Arrow message")
            found = data.find(MAGIC, found + 1)
        at += window
    return BadBytes(offset, size, None, "bytes are no whole commit")


# -- reading a sealed segment ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SealedCommit:
    """The rows of one commit in a Parquet file."""

    link: Link
    rows: pa.RecordBatch

    def batch(self) -> pa.RecordBatch:
        return self.rows


def scan_sealed_commits(path: Path) -> Iterator[SealedCommit]:
    """The commits of a Parquet segment in order, all columns.

    Raises pyarrow's or the system's error for a file that cannot be read, ValueError for rows that are no commits.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for group in range(file.metadata.num_row_groups):
            for batch in file.read_row_group(group).combine_chunks().to_batches():
                yield from _commits_of(batch)


def scan_sealed(
    path: Path, columns: list[str], first_seq: int, last_seq: int | None, *, whole_groups: bool
) -> Iterator[pa.RecordBatch]:
    """Rows of a Parquet segment in order, by commit or by row group; row groups outside the seq range are not read.

    Raises as `scan_sealed_commits`.
    """
    wanted = list(dict.fromkeys([*columns, "seq", *([] if whole_groups else ["link"])]))
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        place = file.schema_arrow.get_field_index("seq")  # a top-level column before any nested one: also its leaf
        for group in range(file.metadata.num_row_groups):
            known = file.metadata.row_group(group).column(place).statistics
            if known is not None and known.has_min_max:
                if known.max < first_seq:
                    continue
                if last_seq is not None and known.min > last_seq:
                    return
            for batch in file.read_row_group(group, columns=wanted).combine_chunks().to_batches():
                if whole_groups:
                    yield batch.select(columns)
                else:
                    yield from (commit.rows.select(columns) for commit in _commits_of(batch))


def _commits_of(batch: pa.RecordBatch) -> Iterator[SealedCommit]:
    links = batch.column("link")
    starts = np.flatnonzero(np.asarray(links.is_valid()))
    if len(starts) == 0 or starts[0] != 0:
        raise ValueError("a row group does not begin with a commit")
    ends = [*starts[1:].tolist(), batch.num_rows]
    for start, end in zip(starts.tolist(), ends, strict=True):
        link = Link.parse(links[start].as_py())
        if link is None:
            raise ValueError("a link is damaged")
        yield SealedCommit(link, batch.slice(start, end - start))
