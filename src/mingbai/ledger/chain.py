"""The chain: the 128-byte link that ends every commit, and the frames of an open segment.

An open segment is an Arrow IPC stream: a schema message, then one record-batch message a commit. The last column,
`link`, is binary and null in all rows but the first, where it holds 128 bytes; being the last value of the last column,
these are the last bytes of the message. So one write and one sync make rows, ciphertext and chain durable together, any
Arrow reader still reads the file, and a commit is whole exactly if its link fits its bytes.

    link = header (32) + digest (32) + content (32) + chain (32)
    header  = magic "MBL1", rows uint32, commit number uint64, first seq uint64, time int64 (us since 1970)
    digest  = SHA-256 of the message's bytes before the link (for a segment's first commit: schema message + those)
    content = content digest of the rows (content.py)
    chain   = SHA-256(chain of the commit before + header + digest + content)

Nothing here opens a file for writing or knows a key: this is all an independent verifier needs.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

_HEADER = struct.Struct("<4sIQQq")
MAGIC = b"MBL1"
LINK_BYTES = 128
_CONTINUATION = 0xFFFFFFFF
_MAX_METADATA = 1 << 20  # a record-batch header of this schema takes about 2 KiB


@dataclass(frozen=True, slots=True)
class Link:
    """What binds one commit to all before it."""

    rows: int
    commit: int
    first_seq: int
    at_us: int
    digest: bytes
    content: bytes
    chain: bytes

    @property
    def next_seq(self) -> int:
        return self.first_seq + self.rows

    def to_bytes(self) -> bytes:
        return self._signed_part() + self.chain

    def follows(self, chain: bytes) -> bool:
        """Whether this link was computed upon `chain`, the chain hash of the commit before."""
        return hashlib.sha256(chain + self._signed_part()).digest() == self.chain

    def _signed_part(self) -> bytes:
        header = _HEADER.pack(MAGIC, self.rows, self.commit, self.first_seq, self.at_us)
        return header + self.digest + self.content

    @classmethod
    def make(
        cls, before: bytes, *, rows: int, commit: int, first_seq: int, at_us: int, digest: bytes, content: bytes
    ) -> Link:
        head = _HEADER.pack(MAGIC, rows, commit, first_seq, at_us) + digest + content
        return cls(rows, commit, first_seq, at_us, digest, content, hashlib.sha256(before + head).digest())

    @classmethod
    def parse(cls, raw: bytes) -> Link | None:
        """None unless `raw` has the size and the magic of a link."""
        if len(raw) != LINK_BYTES or raw[:4] != MAGIC:
            return None
        _, rows, commit, first_seq, at_us = _HEADER.unpack_from(raw)
        return cls(rows, commit, first_seq, at_us, raw[32:64], raw[64:96], raw[96:])


def genesis(stream: str) -> bytes:
    """The chain hash before a stream's first commit."""
    return hashlib.sha256(b"mingbai ledger 1\n" + stream.encode()).digest()


# -- frames of an open segment -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """One encapsulated Arrow IPC message within a file."""

    offset: int
    data: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.data)

    def link(self) -> Link | None:
        return Link.parse(self.data[-LINK_BYTES:])


def read_frame(fd: int, offset: int, size: int) -> Frame | None:
    """The message that starts at `offset` of a file of `size` bytes, or None if no whole one is there.

    Format: Arrow columnar specification, "Encapsulated message format": 0xFFFFFFFF, int32 length of the metadata
    (padded), the metadata (flatbuffer `Message`), the body, whose length stands in the metadata.
    """
    if size - offset < 8:
        return None
    prefix = os.pread(fd, 8, offset)
    if len(prefix) < 8:
        return None
    continuation, metadata_length = struct.unpack("<Ii", prefix)
    if continuation != _CONTINUATION or not 8 <= metadata_length <= min(_MAX_METADATA, size - offset - 8):
        return None
    body_length = _body_length(os.pread(fd, metadata_length, offset + 8))
    if body_length is None or body_length > size - offset - 8 - metadata_length:
        return None
    length = 8 + metadata_length + body_length
    data = os.pread(fd, length, offset)
    while len(data) < length:  # one pread gives at most 2 GiB
        more = os.pread(fd, length - len(data), offset + len(data))
        if not more:
            return None
        data += more
    return Frame(offset, data)


def _body_length(metadata: bytes) -> int | None:
    """Field 3 (`bodyLength`, int64) of the flatbuffer table `Message`; None if this is no such table."""
    try:
        (table,) = struct.unpack_from("<I", metadata, 0)
        (back,) = struct.unpack_from("<i", metadata, table)
        vtable = table - back
        if vtable < 0:
            return None
        (vtable_bytes,) = struct.unpack_from("<H", metadata, vtable)
        if vtable_bytes < 12:
            return 0  # the field is absent: its default
        (field,) = struct.unpack_from("<H", metadata, vtable + 10)
        if field == 0:
            return 0
        (length,) = struct.unpack_from("<q", metadata, table + field)
    except struct.error:
        return None
    return length if length >= 0 else None


def frame_digest(header: bytes, frame: bytes | bytearray | memoryview) -> bytes:
    """Digest of a commit's file bytes; `header` is the schema message for a segment's first commit, else empty."""
    digest = hashlib.sha256(header)
    digest.update(memoryview(frame)[:-LINK_BYTES])
    return digest.digest()


def link_column(rows: int) -> pa.Array:
    """The `link` column with zeros where the link will be written."""
    return _first_row_binary(rows, bytes(LINK_BYTES))


def _first_row_binary(rows: int, value: bytes) -> pa.Array:
    offsets = np.full(rows + 1, len(value), np.int32)
    offsets[0] = 0
    bitmap = bytearray((rows + 7) // 8)
    bitmap[0] = 1
    return pa.Array.from_buffers(
        pa.binary(), rows, [pa.py_buffer(bitmap), pa.py_buffer(offsets), pa.py_buffer(value)], rows - 1
    )
