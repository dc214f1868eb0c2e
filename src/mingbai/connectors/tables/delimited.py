"""CSV and TSV with a header line. The grammar is told in `records`, the encodings in `encodings`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa

from mingbai.connectors.tables.blocks import Block, Wanted
from mingbai.connectors.tables.encodings import WINDOW, Utf8Blocks
from mingbai.connectors.tables.errors import input_unreadable
from mingbai.connectors.tables.faults import excerpt, faults_of, torn_block
from mingbai.connectors.tables.files import InputFile
from mingbai.connectors.tables.formats import Format
from mingbai.connectors.tables.records import CAUSES, CSV, TSV, Records, Status, records_of


class DelimitedFile:
    """One CSV or TSV file. The first record names the columns; all are strings."""

    def __init__(self, path: str, format: Format, *, encoding: str | None = None, block_bytes: int = 1 << 20) -> None:
        self.path = path
        self._dialect = CSV if format is Format.CSV else TSV
        self._encoding = encoding
        self._block_bytes = block_bytes
        self._file = InputFile(path)
        self._names = self._header()
        self.columns = pa.schema([(name, pa.string()) for name in self._names]) if self._names else None

    @property
    def position(self) -> int:
        return self._file.position

    @property
    def size(self) -> int | None:
        return self._file.size

    def blocks(self, wanted: Wanted) -> Iterator[Block]:
        if not self._names:
            return
        text = Utf8Blocks(self._file, encoding=self._encoding, block_bytes=self._block_bytes)
        header_is_due = True
        records: Records | None = None
        try:
            for records in records_of(text, self._dialect, len(self._names)):
                first = 1 if header_is_due else 0
                header_is_due = False
                if len(records) > first:
                    yield self._block(records, first, wanted, text)
            if text.torn is not None and (records is None or not records.unfinished):
                yield torn_block(text, records)
        finally:
            self._file.close()

    def _block(self, records: Records, first: int, wanted: Wanted, text: Utf8Blocks) -> Block:
        faults = faults_of(records, first, text, self._names)
        good = np.delete(np.arange(len(records) - first), np.array([fault.ordinal for fault in faults], np.int64))
        rows = good + first
        columns = {name: records.column(self._names.index(name), rows) for name in wanted.columns}
        message = {role: columns[name] for role, name in wanted.message.items()}
        kept = {name: columns[name] for name in wanted.kept}
        raw = partial(excerpt, records, rows, text.transcoded)
        return Block(len(records) - first, good, records.line[rows], message, kept, raw, faults)

    def _header(self) -> list[str]:
        # Twice the window: the encoding is decided by one window from the first byte outside ASCII, which may lie in
        # the header.
        head = self._file.peek(2 * WINDOW)
        text = Utf8Blocks(io.BytesIO(head), encoding=self._encoding)
        utf8 = b"".join(text)
        width = 1 + utf8.count(self._dialect.delimiter)  # not less than there are
        for records in records_of([utf8], self._dialect, width):
            if records.status[0] not in (Status.GOOD, Status.FIELD_COUNT):
                raise input_unreadable(self.path, f"the header line has a fault: {CAUSES[Status(records.status[0])]}")
            if records.end[0] == len(utf8) and len(head) == 2 * WINDOW:
                raise input_unreadable(self.path, f"the header line is longer than {2 * WINDOW} bytes")
            try:
                names = [records.column(field, np.zeros(1, np.int64))[0].as_py() for field in range(records.fields[0])]
            except UnicodeDecodeError:
                raise input_unreadable(self.path, f"the header line is not valid {text.encoding}") from None
            return _unique(names)
        return []


def _unique(names: list[str]) -> list[str]:
    """Column names as they are; an empty one becomes `column_3`, and one that was there before `text_2`."""
    taken: dict[str, None] = {}
    for number, name in enumerate(names, 1):
        name = name or f"column_{number}"
        wanted, times = name, 1
        while wanted in taken:
            times += 1
            wanted = f"{name}_{times}"
        taken[wanted] = None
    return list(taken)
