"""The content digest: SHA-256 over what the rows of a commit say, independent of the file that holds them.

A commit is hashed twice. The digest of its file bytes finds any changed byte of an open segment, but is gone when the
segment becomes Parquet. The content digest can be computed from either file, so a head signed before the sealing still
vouches for the rows after it. docs/reference/ledger.md gives the same encoding in words, for other languages.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Protocol

import numpy as np
import pyarrow as pa

NOT_CONTENT = frozenset({"sealed", "link"})  # the vault's ciphertext (its digest is content) and the chain itself


class _Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...


def content_digest(batch: pa.RecordBatch) -> bytes:
    """32 bytes over every column but `sealed` and `link`, in schema order.

    SHA-256 of: `mingbai content 1\\n`, number of rows (uint32); then a column: length of its name (uint16), name
    (UTF-8), values as `_feed` writes them. All integers little-endian.
    """
    digest = hashlib.sha256(b"mingbai content 1\n" + struct.pack("<I", batch.num_rows))
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name not in NOT_CONTENT:
            encoded = name.encode()
            digest.update(struct.pack("<H", len(encoded)) + encoded)
            _feed(digest, column)
    return digest.digest()


def _feed(digest: _Hash, array: pa.Array) -> None:
    """Bits that say which values are there (bit i of byte i//8, lowest first), then the values:

    fixed width: width bytes a value, zeros where null;
    string, binary: a length (int32) a value, 0 where null, then the bytes of all values;
    list: a length (int32) a value, 0 where null, then all elements as one column;
    struct: its fields, each as a column (a field of a null struct is null).
    """
    kind = array.type
    rows = len(array)
    valid = _valid(array)
    if valid is None:
        digest.update(_all_valid(rows))
    else:
        digest.update(np.packbits(valid, bitorder="little").tobytes())
    if pa.types.is_struct(kind):
        for child in array.flatten():
            _feed(digest, child)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        if valid is not None:
            lengths = np.zeros(rows, np.int32)
            array = array.drop_null()
            starts = _offsets(array)
            lengths[valid] = np.diff(starts)
        else:
            starts = _offsets(array)
            lengths = np.diff(starts)
        digest.update(lengths.tobytes())
        data = array.buffers()[2]
        if data is not None and len(starts):
            digest.update(memoryview(data)[int(starts[0]) : int(starts[-1])])
    elif pa.types.is_list(kind):
        lengths = np.zeros(rows, np.int32)
        if valid is not None:
            array = array.drop_null()
            lengths[valid] = np.diff(_offsets(array))
        else:
            lengths = np.diff(_offsets(array))
        digest.update(lengths.tobytes())
        _feed(digest, array.flatten())
    else:
        width = kind.bit_width // 8
        data = array.buffers()[1]
        if data is None or rows == 0:
            digest.update(bytes(rows * width))
            return
        values = np.frombuffer(data, np.uint8, rows * width, array.offset * width)
        if valid is not None:
            values = values.reshape(rows, width).copy()
            values[~valid] = 0
        digest.update(values.tobytes())


def _valid(array: pa.Array) -> np.ndarray | None:
    """One bool a value, or None if none is null."""
    if array.null_count == 0:
        return None
    rows = len(array)
    bitmap = array.buffers()[0]
    if bitmap is None:  # null by type
        return np.zeros(rows, bool)
    bits = np.unpackbits(np.frombuffer(bitmap, np.uint8), count=array.offset + rows, bitorder="little")
    return bits[array.offset :].view(bool)


def _all_valid(rows: int) -> bytes:
    full, rest = divmod(rows, 8)
    return b"\xff" * full + (bytes([(1 << rest) - 1]) if rest else b"")


def _offsets(array: pa.Array) -> np.ndarray:
    """The n + 1 offsets (int32) of a string, binary or list array, counted in its own buffer."""
    if len(array) == 0:
        return np.zeros(1, np.int32)
    return np.frombuffer(array.buffers()[1], np.int32, len(array) + 1, array.offset * 4)
