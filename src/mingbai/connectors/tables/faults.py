"""Which records of a text file are no rows, why, and in which column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mingbai.connectors.tables.blocks import Block, Fault
from mingbai.connectors.tables.encodings import Utf8Blocks
from mingbai.connectors.tables.records import CAUSES, MAX_QUOTED_LINES, MAX_RECORD_BYTES, Records, Status
from mingbai.connectors.tables.rejects import Cause, escaped


def faults_of(records: Records, first: int, text: Utf8Blocks, names: Sequence[str]) -> list[Fault]:
    """The records from number `first` on that are no rows, in order. names: of the columns; empty for JSON Lines."""
    found: dict[int, tuple[str, Cause, str]] = {}
    for record in (np.flatnonzero(records.status[first:] != Status.GOOD) + first).tolist():
        status = Status(records.status[record])
        found[record] = ("", CAUSES[status], _sentence(status, int(records.fields[record]), len(names)))
    for record, position in _undecodable(records, first):
        detail = f"byte {position + 1} of the row is not valid {text.encoding}"
        if text.transcoded:
            detail = f"part of the row is not valid {text.encoding}"
        found.setdefault(record, (_column_at(records, record, position, names), Cause.UNDECODABLE, detail))
    for record, position in _nul(records, first):
        detail = f"byte {position + 1} of the row is NUL, which no text file holds"
        found.setdefault(record, (_column_at(records, record, position, names), Cause.NUL_BYTE, detail))
    if text.torn is not None and records.unfinished:
        found[len(records) - 1] = ("", Cause.UNREADABLE, _torn_sentence(text.torn))
    faults = []
    for record, (column, cause, detail) in sorted(found.items()):
        raw = escaped(records.raw(record), transcoded=text.transcoded)
        faults.append(Fault(record - first, int(records.line[record]), column, cause, detail, raw))
    return faults


def torn_block(text: Utf8Blocks, last: Records | None) -> Block:
    """The end of a file whose rest is lost after the records `last`, as one bad row."""
    line = 1 if last is None else int(last.line[-1]) + last.raw(len(last) - 1).count(b"\n") + 1
    fault = Fault(0, line, "", Cause.UNREADABLE, _torn_sentence(text.torn or ""), "")
    return Block(1, np.empty(0, np.int64), np.empty(0, np.int64), {}, {}, lambda _: "", [fault])


def excerpt(records: Records, rows: NDArray[np.int64], transcoded: bool, good: int) -> str:
    """The escaped record of the row that is number `good` of `rows`."""
    return escaped(records.raw(int(rows[good])), transcoded=transcoded)


def _torn_sentence(said: str) -> str:
    return f"the compressed file is damaged or cut off here, and what follows is lost ({said})"


def _sentence(status: Status, fields: int, width: int) -> str:
    if status is Status.FIELD_COUNT:
        return f"{fields} field{'s' * (fields != 1)}, expected {width} as in the header"
    if status is Status.STRAY_QUOTE:
        return 'text after the closing quote of a field; a quote inside a quoted field is written ""'
    if status is Status.UNTERMINATED:
        limits = f"{MAX_QUOTED_LINES} lines, {MAX_RECORD_BYTES} bytes or the end of the file"
        return f"a field is opened by a quote that is not closed within {limits}"
    return f"the line is longer than {MAX_RECORD_BYTES} bytes"


def _undecodable(records: Records, first: int) -> Iterator[tuple[int, int]]:
    """(record, position of the first bad byte) of records that are not valid UTF-8."""
    if first == len(records) or _is_utf8(records.data[records.start[first] : records.end[-1]]):
        return
    for record in range(first, len(records)):
        try:
            records.raw(record).decode("utf-8")
        except UnicodeDecodeError as error:
            yield record, error.start  # of the first bad byte


def _is_utf8(data: NDArray[np.uint8]) -> bool:
    offsets = pa.py_buffer(np.array([0, len(data)], np.int64))
    whole = pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(data)])
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _nul(records: Records, first: int) -> Iterator[tuple[int, int]]:
    begin = int(records.start[first]) if first < len(records) else len(records.data)
    stretch = records.data[begin : records.end[-1]]
    if stretch.all():
        return
    seen = -1
    for position in np.flatnonzero(stretch == 0) + begin:
        record = int(np.searchsorted(records.start, position, side="right")) - 1
        if record != seen and position < records.end[record]:
            yield record, int(position - records.start[record])
            seen = record


def _column_at(records: Records, record: int, position: int, names: Sequence[str]) -> str:
    """The name of the column in which a byte of a good record lies."""
    if not names or records.status[record] != Status.GOOD:
        return ""
    field = int(np.searchsorted(records.field_start[record], records.start[record] + position, side="right")) - 1
    return names[max(field, 0)]
