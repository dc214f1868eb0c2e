"""Members of JSON objects, found in bytes of UTF-8 without a Python object for each. The grammar is RFC 8259, nothing
more.

Values are spans of the source, so that a value that is kept stays as it was written (`1.10`, or an integer of 30
digits). Of a name given twice the last value holds, as in Python and in browsers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

MAX_DEPTH = 512  # of nesting; Python's own parser gives up at about a thousand


class Kind(IntEnum):
    """What a value is. ESCAPED: a string with a backslash in it."""

    NOTHING = 0  # null, or no such member
    STRING = 1
    ESCAPED = 2
    NUMBER = 3
    BOOLEAN = 4
    NESTED = 5


@dataclass(frozen=True, slots=True)
class Members:
    """Members of n objects by the k names that were asked for.

    is_object: which of the n texts are objects. kind (n x k): `Kind`. start, end (n x k): of the value in `data`, of
    a string without its quotes. Rows that are no objects mean nothing.
    """

    data: NDArray[np.uint8]
    is_object: NDArray[np.bool_]
    kind: NDArray[np.uint8]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    has_others: bool

    def strings(self, member: int, rows: NDArray[np.int64]) -> tuple[pa.Array, NDArray[np.int64]]:
        """Strings decoded, other values as their JSON text; and the places among `rows` where a string holds a lone
        surrogate.
        """
        kind, start, end = self.kind[rows, member], self.start[rows, member], self.end[rows, member]
        return _array(self.data, kind, start, end)

    def texts(self, member: int, rows: NDArray[np.int64]) -> pa.Array:
        """The JSON text of each value, of strings too; null for null."""
        kind, start, end = self.kind[rows, member], self.start[rows, member], self.end[rows, member]
        quoted = (kind == Kind.STRING) | (kind == Kind.ESCAPED)
        plain = np.where(kind == Kind.NOTHING, Kind.NOTHING, Kind.NUMBER).astype(np.uint8)
        return _array(self.data, plain, start - quoted, end + quoted)[0]


def members_of(
    data: NDArray[np.uint8], start: NDArray[np.int64], end: NDArray[np.int64], names: Sequence[str]
) -> Members:
    """Read the texts `data[start:end]`, of valid UTF-8, as objects."""
    keys = [name.encode("utf-8") for name in names]
    offsets = np.zeros(len(keys) + 1, np.int64)
    np.cumsum([len(key) for key in keys], out=offsets[1:])
    shape = (len(start), len(keys))
    is_object = np.zeros(len(start), np.bool_)
    kind, value_start, value_end = np.zeros(shape, np.uint8), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    key_data = np.frombuffer(b"".join(keys), np.uint8)
    has_others = _members(
        data, start, end, key_data, offsets, np.empty(MAX_DEPTH, np.bool_), is_object, kind, value_start, value_end
    )
    return Members(data, is_object, kind, value_start, value_end, has_others)


def _array(
    data: NDArray[np.uint8], kind: NDArray[np.uint8], start: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[pa.Array, NDArray[np.int64]]:
    lengths = np.where(kind == Kind.NOTHING, 0, end - start)
    out = np.empty(
        int(lengths.sum()), np.uint8
    )  # decoding never lengthens: \uXXXX is six bytes and gives at most three
    offsets = np.zeros(len(kind) + 1, np.int32)
    lone = np.zeros(len(kind), np.bool_)
    _copy_values(data, kind, start, end, out, offsets, lone)
    valid = None
    if not kind.all():
        valid = pa.py_buffer(np.packbits(kind != Kind.NOTHING, bitorder="little"))
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(out)]
    return pa.Array.from_buffers(pa.string(), len(kind), buffers), np.flatnonzero(lone).astype(np.int64)


@njit(nogil=True, cache=True)
def _blanks_end(data: NDArray[np.uint8], i: int, end: int) -> int:
    while i < end and (data[i] == 32 or data[i] == 9 or data[i] == 13 or data[i] == 10):
        i += 1
    return i


@njit(nogil=True, cache=True)
def _hex(data: NDArray[np.uint8], i: int, end: int) -> int:
    """The number in four hexadecimal digits at `i`; -1 if there are none."""
    if i + 4 > end:
        return -1
    value = 0
    for at in range(i, i + 4):
        c = data[at]
        if 48 <= c <= 57:
            value = value * 16 + (c - 48)
        elif 65 <= c <= 70:
            value = value * 16 + (c - 55)
        elif 97 <= c <= 102:
            value = value * 16 + (c - 87)
        else:
            return -1
    return value


@njit(nogil=True, cache=True)
def _string_end(data: NDArray[np.uint8], i: int, end: int) -> tuple[int, bool]:
    """Where the closing quote is of a string whose content begins at `i`, -1 if nowhere, and whether it has escapes."""
    escaped = False
    while i < end:
        c = data[i]
        if c == 34:
            return i, escaped
        if c < 32:
            return -1, False
        i += 1
        if c == 92:
            escaped = True
            if i == end:
                return -1, False
            c = data[i]
            i += 1
            if c == 117:  # u
                if _hex(data, i, end) < 0:
                    return -1, False
                i += 4
            elif not (
                c == 34 or c == 92 or c == 47 or c == 98 or c == 102 or c == 110 or c == 114 or c == 116
            ):  # " \ / b f n r t
                return -1, False
    return -1, False


@njit(nogil=True, cache=True)
def _digits_end(data: NDArray[np.uint8], i: int, end: int) -> int:
    while i < end and 48 <= data[i] <= 57:
        i += 1
    return i


@njit(nogil=True, cache=True)
def _number_end(data: NDArray[np.uint8], i: int, end: int) -> int:
    """Where the number ends that begins at `i`; -1 if it is none."""
    if i < end and data[i] == 45:
        i += 1
    if i < end and data[i] == 48:
        i += 1
    else:
        first = i
        i = _digits_end(data, i, end)
        if i == first:
            return -1
    if i < end and data[i] == 46:
        first = i + 1
        i = _digits_end(data, first, end)
        if i == first:
            return -1
    if i < end and (data[i] == 101 or data[i] == 69):
        i += 1
        if i < end and (data[i] == 43 or data[i] == 45):
            i += 1
        first = i
        i = _digits_end(data, first, end)
        if i == first:
            return -1
    return i


@njit(nogil=True, cache=True)
def _key_end(data: NDArray[np.uint8], i: int, end: int) -> int:
    """Where the value begins of the member whose name begins at `i`; -1 if there is none."""
    if i >= end or data[i] != 34:
        return -1
    closing, _ = _string_end(data, i + 1, end)
    if closing < 0:
        return -1
    i = _blanks_end(data, closing + 1, end)
    if i >= end or data[i] != 58:
        return -1
    return _blanks_end(data, i + 1, end)


@njit(nogil=True, cache=True)
def _scalar_end(data: NDArray[np.uint8], i: int, end: int) -> tuple[int, int]:
    """Where the string, number or word ends that begins at `i` (-1: it is none), and its kind."""
    if i >= end:
        return -1, 0
    c = data[i]
    if c == 34:
        closing, escaped = _string_end(data, i + 1, end)
        if closing < 0:
            return -1, 0
        return closing + 1, 2 if escaped else 1
    if c == 116 and i + 4 <= end and data[i + 1] == 114 and data[i + 2] == 117 and data[i + 3] == 101:
        return i + 4, 4
    if (
        c == 102
        and i + 5 <= end
        and data[i + 1] == 97
        and data[i + 2] == 108
        and data[i + 3] == 115
        and data[i + 4] == 101
    ):
        return i + 5, 4
    if c == 110 and i + 4 <= end and data[i + 1] == 117 and data[i + 2] == 108 and data[i + 3] == 108:
        return i + 4, 0
    return _number_end(data, i, end), 3


@njit(nogil=True, cache=True)
def _value_end(data: NDArray[np.uint8], i: int, end: int, stack: NDArray[np.bool_]) -> tuple[int, int]:
    """Where the value ends that begins at `i` (-1: it is none), and its kind. stack: room for the open brackets, True
    for an object.
    """
    depth = 0
    kind = 5
    while True:
        # A value begins here.
        if i >= end:
            return -1, 0
        if data[i] == 123 or data[i] == 91:
            is_object = data[i] == 123
            i = _blanks_end(data, i + 1, end)
            if i < end and data[i] == (125 if is_object else 93):
                i += 1
            else:
                if depth == len(stack):
                    return -1, 0
                stack[depth] = is_object
                depth += 1
                if is_object:
                    i = _key_end(data, i, end)
                    if i < 0:
                        return -1, 0
                continue
        else:
            i, scalar = _scalar_end(data, i, end)
            if i < 0:
                return -1, 0
            if depth == 0:
                kind = scalar
        # A value has ended: what is around it goes on or ends too.
        while True:
            if depth == 0:
                return i, kind
            i = _blanks_end(data, i, end)
            if i >= end:
                return -1, 0
            is_object = stack[depth - 1]
            if data[i] == 44:
                i = _blanks_end(data, i + 1, end)
                if is_object:
                    i = _key_end(data, i, end)
                    if i < 0:
                        return -1, 0
                break
            if data[i] != (125 if is_object else 93):
                return -1, 0
            depth -= 1
            i += 1


@njit(nogil=True, cache=True)
def _unescape(data: NDArray[np.uint8], i: int, end: int, out: NDArray[np.uint8], to: int) -> tuple[int, bool]:
    """Decode the content of a valid string into `out` from `to` on. Returns where it ends there, and whether a
    surrogate is alone.
    """
    lone = False
    while i < end:
        c = data[i]
        i += 1
        if c != 92:
            out[to] = c
            to += 1
            continue
        c = data[i]
        i += 1
        if c != 117:
            if c == 98:
                c = 8
            elif c == 102:
                c = 12
            elif c == 110:
                c = 10
            elif c == 114:
                c = 13
            elif c == 116:
                c = 9
            out[to] = c
            to += 1
            continue
        code = _hex(data, i, end)
        i += 4
        if 0xD800 <= code < 0xDC00 and i + 6 <= end and data[i] == 92 and data[i + 1] == 117:
            low = _hex(data, i + 2, end)
            if 0xDC00 <= low < 0xE000:
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                i += 6
        if 0xD800 <= code < 0xE000:
            lone = True
            code = 0xFFFD
        if code < 0x80:
            out[to] = code
            to += 1
        elif code < 0x800:
            out[to] = 0xC0 | code >> 6
            out[to + 1] = 0x80 | code & 0x3F
            to += 2
        elif code < 0x10000:
            out[to] = 0xE0 | code >> 12
            out[to + 1] = 0x80 | code >> 6 & 0x3F
            out[to + 2] = 0x80 | code & 0x3F
            to += 3
        else:
            out[to] = 0xF0 | code >> 18
            out[to + 1] = 0x80 | code >> 12 & 0x3F
            out[to + 2] = 0x80 | code >> 6 & 0x3F
            out[to + 3] = 0x80 | code & 0x3F
            to += 4
    return to, lone


@njit(nogil=True, cache=True)
def _key_number(
    data: NDArray[np.uint8], start: int, end: int, keys: NDArray[np.uint8], offsets: NDArray[np.int64], expected: int
) -> int:
    """Which of the keys the bytes are; -1 for none. `expected` is tried first: objects of one file mostly have one
    order.
    """
    k = len(offsets) - 1
    for turn in range(k):
        key = expected + turn
        if key >= k:
            key -= k
        at = offsets[key]
        if offsets[key + 1] - at != end - start:
            continue
        same = True
        for i in range(end - start):
            if data[start + i] != keys[at + i]:
                same = False
                break
        if same:
            return key
    return -1


@njit(nogil=True, cache=True)
def _members(
    data: NDArray[np.uint8],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    keys: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    stack: NDArray[np.bool_],
    is_object: NDArray[np.bool_],
    kind: NDArray[np.uint8],
    value_start: NDArray[np.int64],
    value_end: NDArray[np.int64],
) -> bool:
    """Fill the last four. Returns whether there are members that were not asked for."""
    k = len(offsets) - 1
    has_others = False
    for row in range(len(start)):
        last = end[row]
        i = _blanks_end(data, start[row], last)
        if i == last or data[i] != 123:
            continue
        i = _blanks_end(data, i + 1, last)
        closed = i < last and data[i] == 125
        expected = 0
        while not closed:
            if i >= last or data[i] != 34:
                break
            closing, escaped = _string_end(data, i + 1, last)
            if closing < 0:
                break
            if escaped:
                decoded = np.empty(closing - i, np.uint8)
                length, _ = _unescape(data, i + 1, closing, decoded, 0)
                key = _key_number(decoded, 0, length, keys, offsets, expected)
            else:
                key = _key_number(data, i + 1, closing, keys, offsets, expected)
            i = _key_end(data, i, last)
            if i < 0:
                break
            after, found = _value_end(data, i, last, stack)
            if after < 0:
                break
            if key < 0:
                has_others = True
            else:
                quotes = 1 if found == 1 or found == 2 else 0
                kind[row, key] = found
                value_start[row, key] = i + quotes
                value_end[row, key] = after - quotes
                expected = key + 1 if key + 1 < k else 0
            i = _blanks_end(data, after, last)
            if i >= last:
                break
            if data[i] == 125:
                closed = True
            elif data[i] == 44:
                i = _blanks_end(data, i + 1, last)
            else:
                break
        if closed:
            is_object[row] = _blanks_end(data, i + 1, last) == last
    return has_others


@njit(nogil=True, cache=True)
def _copy_values(
    data: NDArray[np.uint8],
    kind: NDArray[np.uint8],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    out: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    lone: NDArray[np.bool_],
) -> None:
    to = 0
    for row in range(len(kind)):
        if kind[row] == 2:
            to, lone[row] = _unescape(data, start[row], end[row], out, to)
        elif kind[row] != 0:
            for i in range(start[row], end[row]):
                out[to] = data[i]
                to += 1
        offsets[row + 1] = to
