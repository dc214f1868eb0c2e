"""Strings as JSON strings (RFC 8259, 7) and as cells of CSV (RFC 4180), without a Python object for each."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

_PLAIN, _SHORT, _LONG = 0, 1, 2  # written as it is; as a backslash and a letter; as \\u00XX


def _json_escapes() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    kinds, letters = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    kinds[:32] = _LONG
    for character, letter in zip(b'"\\\n\r\t\b\f', b'"\\nrtbf', strict=True):
        kinds[character], letters[character] = _SHORT, letter
    return kinds, letters


_KINDS, _LETTERS = _json_escapes()
_WIDTHS = np.array([1, 2, 6], np.int64)[_KINDS]


def as_json_strings(values: pa.Array) -> pa.Array:
    """Each string in quotes and escaped; null stays null."""
    data, offsets = _parts(values)
    ends = np.zeros(len(values) + 1, np.int64)
    _json_ends(data, offsets, _WIDTHS, ends)
    out = np.empty(ends[-1], np.uint8)
    _write_json(data, offsets, _KINDS, _LETTERS, ends, out)
    return _array(values, ends, out)


def as_csv_cells(values: pa.Array) -> pa.Array:
    """Each string as a cell, null as an empty one.

    Quoted where a delimiter, a quote or a line end is inside, or a blank at a border, which some readers would strip.
    """
    data, offsets = _parts(values)
    ends = np.zeros(len(values) + 1, np.int64)
    _csv_ends(data, offsets, ends)
    out = np.empty(ends[-1], np.uint8)
    _write_csv(data, offsets, ends, out)
    return _array(values, ends, out, keep_null=False)


def _parts(values: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Bytes and offsets of a string array; what lies under a null is cut away."""
    if values.null_count:
        values = values.fill_null("")
    _, offsets, data = values.buffers()
    where = (
        np.frombuffer(offsets, np.int32, len(values) + 1, 4 * values.offset) if len(values) else np.zeros(1, np.int32)
    )
    return np.frombuffer(data or b"", np.uint8), where


def _array(values: pa.Array, ends: NDArray[np.int64], out: NDArray[np.uint8], *, keep_null: bool = True) -> pa.Array:
    if ends[-1] >= 2**31:
        raise OverflowError("a batch of text is too long to be written; batches have at most tens of megabytes")
    is_valid = None
    if keep_null and values.null_count:
        is_valid = pa.py_buffer(np.packbits(values.is_valid().to_numpy(zero_copy_only=False), bitorder="little"))
    buffers = [is_valid, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(out)]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


@njit(nogil=True, cache=True)
def _json_ends(
    data: NDArray[np.uint8], offsets: NDArray[np.int32], widths: NDArray[np.int64], ends: NDArray[np.int64]
) -> None:
    for row in range(len(offsets) - 1):
        size = 2
        for i in range(offsets[row], offsets[row + 1]):
            size += widths[data[i]]
        ends[row + 1] = ends[row] + size


@njit(nogil=True, cache=True)
def _write_json(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    kinds: NDArray[np.uint8],
    letters: NDArray[np.uint8],
    ends: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    for row in range(len(offsets) - 1):
        to = ends[row]
        out[to] = 34
        to += 1
        for i in range(offsets[row], offsets[row + 1]):
            c = data[i]
            if kinds[c] == 0:
                out[to] = c
                to += 1
            elif kinds[c] == 1:
                out[to] = 92
                out[to + 1] = letters[c]
                to += 2
            else:
                out[to] = 92
                out[to + 1] = 117
                out[to + 2] = 48
                out[to + 3] = 48
                out[to + 4] = 48 + (c >> 4)
                low = c & 15
                out[to + 5] = 48 + low if low < 10 else 87 + low
                to += 6
        out[to] = 34


@njit(nogil=True, cache=True)
def _csv_ends(data: NDArray[np.uint8], offsets: NDArray[np.int32], ends: NDArray[np.int64]) -> None:
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        quotes = 0
        special = False
        for i in range(start, end):
            c = data[i]
            if c == 34:
                quotes += 1
            elif c == 44 or c == 10 or c == 13:
                special = True
        if end > start:
            first, last = data[start], data[end - 1]
            special = special or first == 32 or first == 9 or last == 32 or last == 9
        size = end - start
        if special or quotes > 0:
            size += quotes + 2
        ends[row + 1] = ends[row] + size


@njit(nogil=True, cache=True)
def _write_csv(
    data: NDArray[np.uint8], offsets: NDArray[np.int32], ends: NDArray[np.int64], out: NDArray[np.uint8]
) -> None:
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        to = ends[row]
        is_quoted = ends[row + 1] - to > end - start
        if is_quoted:
            out[to] = 34
            to += 1
        for i in range(start, end):
            c = data[i]
            out[to] = c
            to += 1
            if c == 34:
                out[to] = 34
                to += 1
        if is_quoted:
            out[to] = 34
