"""The content digest: SHA-256 over what the rows of a commit say, independent of the file that holds them.

A commit is hashed twice. The digest of its file bytes finds any changed byte of an open segment, but is gone when the
segment becomes Parquet. The content digest can be computed from either file, so a head signed before the sealing still
vouches for the rows after it. docs/reference/ledger.md gives the same encoding in words, for other languages.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

NOT_CONTENT = frozenset({"sealed", "link"})  # the vault's ciphertext (its digest is content) and the chain itself

Bytes = bytes | memoryview
_Encoder = Callable[[pa.Array, list[Bytes]], None]


def content_digest(batch: pa.RecordBatch, columns: Sequence[pa.Array] | None = None) -> bytes:
    """32 bytes over every column but `sealed` and `link`, in schema order. columns: of the batch, if at hand.

    SHA-256 of: `mingbai content 1\\n`, number of rows (uint32); then a column: length of its name (uint16), name
    (UTF-8), values. All integers little-endian. The values of a column are:

    - bits that say which are not null (bit i % 8 of byte i // 8, lowest first; unused bits 0);
    - fixed width: width bytes a value, zeros where null;
    - string, binary: a length (int32) a value, 0 where null; then the bytes of all values;
    - list: a length (int32) a value, 0 where null; then all elements as one column;
    - struct: its fields, each as a column (a field of a null struct is null).
    """
    out: list[Bytes] = [b"mingbai content 1\n", struct.pack("<I", batch.num_rows)]
    for (prefix, encode), column in zip(_plan(batch.schema), columns or batch.columns, strict=True):
        if encode is not None:
            out.append(prefix)
            encode(column, out)
    return hashlib.sha256(b"".join(out)).digest()


_Plan = list[tuple[bytes, _Encoder | None]]
_last_plan: tuple[pa.Schema, _Plan] | None = None  # hashing a schema costs more than hashing a small commit


def _plan(schema: pa.Schema) -> _Plan:
    global _last_plan
    known = _last_plan
    if known is not None and known[0].equals(schema):
        return known[1]
    plan: _Plan = []
    for field in schema:
        name = field.name.encode()
        plan.append((struct.pack("<H", len(name)) + name, None if field.name in NOT_CONTENT else _encoder(field.type)))
    _last_plan = schema, plan
    return plan


def _encoder(kind: pa.DataType) -> _Encoder:
    if pa.types.is_struct(kind):
        return _struct([_encoder(field.type) for field in kind])
    if pa.types.is_list(kind):
        return _list(_encoder(kind.value_type))
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _binary
    return _fixed(kind.bit_width // 8)


def _fixed(width: int) -> _Encoder:
    def encode(array: pa.Array, out: list[Bytes]) -> None:
        rows, nulls = len(array), array.null_count
        if nulls == 0:
            data = array.buffers()[1]
            start = array.offset * width
            out.append(_all_valid(rows))
            out.append(b"" if data is None else memoryview(data)[start : start + rows * width])
        elif nulls == rows:
            out.append(bytes((rows + 7) // 8 + rows * width))
        else:
            valid = _validity(array, rows, out)
            values = np.zeros((rows, width), np.uint8)
            raw = np.frombuffer(array.buffers()[1], np.uint8, rows * width, array.offset * width)
            values[valid] = raw.reshape(rows, width)[valid]
            out.append(values.tobytes())

    return encode


def _binary(array: pa.Array, out: list[Bytes]) -> None:
    if array.null_count == len(array):
        _nothing(len(array), out)
        return
    array, first, last = _lengths(array, out)
    if last > first:
        out.append(memoryview(array.buffers()[2])[first:last])


def _list(encode_elements: _Encoder) -> _Encoder:
    def encode(array: pa.Array, out: list[Bytes]) -> None:
        if array.null_count == len(array):
            _nothing(len(array), out)
            return
        array, first, last = _lengths(array, out)
        if last > first:  # no elements are a column of no bytes, whatever their type
            elements = array.values
            encode_elements(elements if last - first == len(elements) else elements.slice(first, last - first), out)

    return encode


def _struct(encoders: list[_Encoder]) -> _Encoder:
    def encode(array: pa.Array, out: list[Bytes]) -> None:
        _validity(array, len(array), out)
        if array.null_count:
            fields = array.flatten()  # nulls of the struct become nulls of its fields
        else:
            fields = [array.field(place) for place in range(len(encoders))]
        for encode_field, field in zip(encoders, fields, strict=True):
            encode_field(field, out)

    return encode


def _lengths(array: pa.Array, out: list[Bytes]) -> tuple[pa.Array, int, int]:
    """Write validity and lengths of a string, binary or list array.

    Gives the array (without its nulls, if there is something in the slot of one) and where in its values, or bytes,
    the elements begin and end.
    """
    rows = len(array)
    offsets = _offsets(array)
    lengths = offsets[1:] - offsets[:-1]
    if array.null_count == 0:
        out.append(_all_valid(rows))
        out.append(lengths.tobytes())
        return array, int(offsets[0]), int(offsets[-1])
    valid = _validity(array, rows, out)
    if valid is not None and lengths[~valid].any():
        lengths[~valid] = 0
        array = array.drop_null()
        offsets = _offsets(array)
    out.append(lengths.tobytes())
    return array, int(offsets[0]), int(offsets[-1])


def _nothing(rows: int, out: list[Bytes]) -> None:
    """A string, binary or list column of nulls alone: no bit, no length, no elements."""
    out.append(bytes((rows + 7) // 8 + 4 * rows))


@lru_cache(256)
def _all_valid(rows: int) -> bytes:
    full, rest = divmod(rows, 8)
    return b"\xff" * full + (bytes([(1 << rest) - 1]) if rest else b"")


def _validity(array: pa.Array, rows: int, out: list[Bytes]) -> npt.NDArray[np.bool_] | None:
    """Write the validity bits; give one bool a value, or None if none is null."""
    nulls = array.null_count
    if nulls == 0:
        out.append(_all_valid(rows))
        return None
    if nulls == rows:
        out.append(bytes((rows + 7) // 8))
        return np.zeros(rows, np.bool_)
    bits = np.unpackbits(np.frombuffer(array.buffers()[0], np.uint8), count=array.offset + rows, bitorder="little")[
        array.offset :
    ]
    out.append(np.packbits(bits, bitorder="little").tobytes())
    return bits.view(np.bool_)


def _offsets(array: pa.Array) -> npt.NDArray[np.int32]:
    """The n + 1 offsets of a string, binary or list array, counted in its own buffer."""
    if len(array) == 0:
        return np.zeros(1, np.int32)
    return np.frombuffer(array.buffers()[1], np.int32, len(array) + 1, array.offset * 4)
