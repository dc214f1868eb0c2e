"""Records of a CSV, TSV or JSON Lines file, found in blocks of UTF-8 without a Python object for each.

Grammar. A physical line ends at LF, or CR LF; a lone CR is content. An empty line is no record. Fields of CSV follow
RFC 4180: a field that begins with `"` ends at the next `"` that is not doubled and may hold delimiters and line ends;
elsewhere `"` is content. TSV is read as it stands, one line a record and every tab a border: no quoting and no
escapes, as public message corpora are written (thousands of their messages begin with a `"`). A line of JSON Lines is
one record with one field.

A fault costs one line. When quoting goes wrong (text after a closing quote, or no closing quote within
`MAX_QUOTED_LINES` lines, `MAX_RECORD_BYTES` bytes or before the end), only the first physical line of the record is
rejected, and reading goes on with the line after it: a lost quote cannot swallow the file. What is found does not
depend on how the bytes were cut into blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from mingbai.connectors.tables.rejects import Cause

# The longest concatenated SMS has 255 parts of 153 characters (3GPP TS 23.040, 9.2.3.24.1), 39,015 in all: it cannot
# have more line ends, and one with a thousand is not a message.
MAX_QUOTED_LINES = 1000
MAX_RECORD_BYTES = 16 << 20  # the memory that one row may take; a message and its columns need a thousandth

_LF = 10
_MAX_FIELDS = 1 << 20  # spans held at a time: 24 MiB
_NO_BYTE = -1  # a delimiter or quote that no byte equals


class Status(IntEnum):
    GOOD = 0
    FIELD_COUNT = 1
    STRAY_QUOTE = 2
    UNTERMINATED = 3
    TOO_LONG = 4


CAUSES = {
    Status.FIELD_COUNT: Cause.FIELD_COUNT,
    Status.STRAY_QUOTE: Cause.STRAY_QUOTE,
    Status.UNTERMINATED: Cause.UNTERMINATED_QUOTE,
    Status.TOO_LONG: Cause.LINE_TOO_LONG,
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """delimiter and quote as byte values; -1 for none."""

    delimiter: int
    quote: int


CSV = Dialect(ord(","), ord('"'))
TSV = Dialect(ord("\t"), _NO_BYTE)
LINES = Dialect(_NO_BYTE, _NO_BYTE)


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one stretch of a file, n of them in order, good and bad.

    data: the bytes. start, end: of each record (without its line end). line: 1-based physical line. status: `Status`.
    fields: how many fields were counted. field_start, field_end (n x width): content without the enclosing quotes.
    doubled (n x width): how many `""` the field holds. The last three are meaningful in good rows only.
    """

    data: NDArray[np.uint8]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    line: NDArray[np.int64]
    status: NDArray[np.int64]
    fields: NDArray[np.int64]
    field_start: NDArray[np.int64]
    field_end: NDArray[np.int64]
    doubled: NDArray[np.int64]
    unfinished: bool  # the last record ends with the file, without a line end

    def __len__(self) -> int:
        return len(self.start)

    def raw(self, record: int) -> bytes:
        return self.data[self.start[record] : self.end[record]].tobytes()

    def column(self, field: int, records: NDArray[np.int64]) -> pa.Array:
        """Field number `field` of the given records as a string array (its UTF-8 is not checked here)."""
        start, end = self.field_start[records, field], self.field_end[records, field]
        doubled = self.doubled[records, field]
        offsets = np.zeros(len(records) + 1, np.int64)
        np.cumsum(end - start - doubled, out=offsets[1:])
        data = np.empty(offsets[-1], np.uint8)
        _gather(self.data, start, end, doubled, offsets, data)
        # 32-bit offsets: a stretch is at most a block and a record long.
        buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
        return pa.Array.from_buffers(pa.string(), len(records), buffers)


def records_of(
    blocks: Iterable[bytes],
    dialect: Dialect,
    width: int,
    *,
    max_record_bytes: int = MAX_RECORD_BYTES,
    max_quoted_lines: int = MAX_QUOTED_LINES,
) -> Iterator[Records]:
    """The records of a file from blocks of its UTF-8, in non-empty stretches. width: the number of fields that a good
    record has.

    Memory is a block and a record. A record is never spread over two stretches.
    """
    source = iter(blocks)
    rest = b""
    line, skipping, last = 1, False, False
    bounds = (dialect.delimiter, dialect.quote, width, max_record_bytes, max_quoted_lines)
    while not last:
        parts, size = [rest], 0
        while not last and (
            size == 0 or size < len(rest)
        ):  # as much again as is held: the work on a long record stays linear
            block = next(source, None)
            last = block is None
            if block is not None:
                parts.append(block)
                size += len(block)
        data = np.frombuffer(b"".join(parts), np.uint8)
        position = 0
        while position < len(data):
            room = max(1, min(int(np.count_nonzero(data[position:] == _LF)) + 1, _MAX_FIELDS // width))
            rows, spans = np.empty((5, room), np.int64), np.empty((3, room, width), np.int64)
            count, reached, skipping, line = _scan(data, position, last, skipping, line, bounds, rows, spans)
            if count:
                unfinished = last and reached == len(data) and data[-1] != _LF
                start, end, lines, status, fields = rows[:, :count]
                field_start, field_end, doubled = spans[:, :count]
                yield Records(data, start, end, lines, status, fields, field_start, field_end, doubled, unfinished)
            if reached == position:
                break  # what is left is a part of a record
            position = reached
        rest = data[position:].tobytes()


@njit(nogil=True, cache=True)
def _quoted_end(
    data: NDArray[np.uint8], i: int, limit: int, last: bool, quote: int, feeds_left: int
) -> tuple[int, int, int, int]:
    """Where the closing quote is of a field whose content begins at `i`; -1: not before `limit`, -2: not within
    `feeds_left` line feeds.

    Also: doubled quotes, line feeds and the place of the first one (-1: none).
    """
    doubled = 0
    feeds = 0
    first_feed = -1
    while i < limit:
        if data[i] == quote:
            if i + 1 == len(data) and not last:
                break  # the next byte decides whether it is doubled
            if i + 1 < len(data) and data[i + 1] == quote:
                doubled += 1
                i += 2
                continue
            return i, doubled, feeds, first_feed
        if data[i] == 10:
            if feeds == 0:
                first_feed = i
            feeds += 1
            if feeds == feeds_left:
                return -2, doubled, feeds, first_feed
        i += 1
    return -1, doubled, feeds, first_feed


@njit(nogil=True, cache=True)
def _record(
    data: NDArray[np.uint8],
    start: int,
    limit: int,
    last: bool,
    bounds: tuple[int, int, int, int, int],
    row: int,
    out_start: NDArray[np.int64],
    out_end: NDArray[np.int64],
    out_doubled: NDArray[np.int64],
) -> tuple[int, int, int, int, int, int]:
    """One record from `start` on; limit: where it has become too long or the data ends.

    Returns status (-1: not all here yet), where it ends and the next one begins (in a fault: where it was noticed),
    and how many fields and line feeds it has, and where the first of these is (-1: none).
    """
    delimiter, quote, width, max_record_bytes, max_quoted_lines = bounds
    n = len(data)
    fields = feeds = 0
    first_feed = after = -1
    i = start
    while True:  # one field a round
        doubled = 0
        if i < limit and data[i] == quote:
            begin = i + 1
            end, doubled, more_feeds, feed = _quoted_end(data, begin, limit, last, quote, max_quoted_lines - feeds)
            if first_feed < 0:
                first_feed = feed
            feeds += more_feeds
            if end < 0:
                is_fault = end == -2 or limit < n or last
                return (3 if is_fault else -1), limit, limit, fields, feeds, first_feed
            i = end + 1
            if i == n:
                if not last:
                    return -1, i, i, fields, feeds, first_feed
                after = n
            elif data[i] == 10:
                after = i + 1
            elif data[i] == 13 and i + 1 == n:
                if not last:
                    return -1, i, i, fields, feeds, first_feed
                after = n
            elif data[i] == 13 and data[i + 1] == 10:
                after = i + 2
            elif data[i] != delimiter:
                return 2, i, i, fields, feeds, first_feed
            record_end = i
        else:
            begin = i
            while i < limit and data[i] != delimiter and data[i] != 10:
                i += 1
            if i - start > max_record_bytes:
                return 4, i, i, fields, feeds, first_feed
            if i == n:
                if not last:
                    return -1, i, i, fields, feeds, first_feed
                after = n
            elif data[i] == 10:
                after = i + 1
            end = i
            if after >= 0 and end > begin and data[end - 1] == 13:
                end -= 1
            record_end = end
        if fields < width:
            out_start[row, fields] = begin
            out_end[row, fields] = end
            out_doubled[row, fields] = doubled
        fields += 1
        if after >= 0:
            return (0 if fields == width else 1), record_end, after, fields, feeds, first_feed
        i += 1  # over the delimiter


@njit(nogil=True, cache=True)
def _scan(
    data: NDArray[np.uint8],
    position: int,
    last: bool,
    skipping: bool,
    line: int,
    bounds: tuple[int, int, int, int, int],
    rows: NDArray[np.int64],
    spans: NDArray[np.int64],
) -> tuple[int, int, bool, int]:
    """Find the records from `position` on. bounds: delimiter, quote, width, bytes of a record and lines of a quoted
    field.

    Fills rows (start, end, line, status, fields) and spans (field starts, ends, doubled quotes). Returns how many
    there are, where the next one begins, whether the rest of a line that is too long is still to be skipped, and the
    number of the line there. last: no bytes follow `data`.
    """
    n = len(data)
    max_record_bytes = bounds[3]
    i = position
    count = 0
    while i < n and count < rows.shape[1]:
        if skipping:
            while i < n and data[i] != 10:
                i += 1
            if i < n:
                skipping = False
                i += 1
                line += 1
            continue
        if data[i] == 10:
            i += 1
            line += 1
            continue
        if data[i] == 13:
            if i + 1 == n:
                if not last:
                    break
                i += 1
                continue
            if data[i + 1] == 10:
                i += 2
                line += 1
                continue
        start = i
        limit = min(n, start + max_record_bytes + 1)
        status, end, after, fields, feeds, first_feed = _record(
            data, start, limit, last, bounds, count, spans[0], spans[1], spans[2]
        )
        if status < 0:
            break
        lines = feeds + 1
        if status > 1:
            # A fault of quoting or length costs the first physical line.
            end = first_feed
            if end < 0:
                end = min(after, limit)
                while end < limit and data[end] != 10:
                    end += 1
                if end == n and not last and limit == n:
                    break
            skipping = end == limit and limit < n
            if skipping or end - start > max_record_bytes:
                status = 4
            elif first_feed >= 0:
                status = 2 if status == 2 else 3
            after = end if skipping else min(n, end + 1)
            lines = 0 if skipping else 1
            if not skipping and end > start and data[end - 1] == 13:
                end -= 1
        rows[0, count] = start
        rows[1, count] = end
        rows[2, count] = line
        rows[3, count] = status
        rows[4, count] = fields
        count += 1
        line += lines
        i = after
    return count, i, skipping, line


@njit(nogil=True, cache=True)
def _gather(
    data: NDArray[np.uint8],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    doubled: NDArray[np.int64],
    offsets: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Copy fields beside each other, `""` as `"`."""
    for row in range(len(start)):
        to = offsets[row]
        if doubled[row] == 0:
            for i in range(start[row], end[row]):
                out[to] = data[i]
                to += 1
        else:
            i = start[row]
            while i < end[row]:
                out[to] = data[i]
                to += 1
                i += 2 if data[i] == 34 else 1
