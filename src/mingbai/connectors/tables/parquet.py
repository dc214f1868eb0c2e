"""Parquet, read a row group at a time and within it in small batches, so that memory does not grow with the row group.

Text may be string, large string, string view, binary or dictionary-encoded. A string that is not valid UTF-8 costs
its row. A row group that cannot be decoded costs the rest of that row group, which is one reject of many rows. A file
whose footer cannot be read, or contradicts itself, is no table at all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mingbai.connectors.tables.blocks import Block, Fault, Wanted
from mingbai.connectors.tables.errors import input_unreadable
from mingbai.connectors.tables.files import InputFile
from mingbai.connectors.tables.records import MAX_RECORD_BYTES
from mingbai.connectors.tables.rejects import Cause, escaped

BATCH_ROWS = 10_000
_BATCH_BYTES = 32 << 20  # of decoded values; wide rows come in smaller batches
_READ_BYTES = 1 << 20  # read-ahead within a column


class ParquetFile:
    """One Parquet file. `columns` has the file's types, with dictionaries, views and extension types resolved."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = InputFile(path)
        self._spooled: BinaryIO | None = None if self._file.size is not None else self._spool()
        self._rows_read = 0
        try:
            with self._opened() as file:
                about = file.metadata
                groups = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
                kinds: dict[str, pa.DataType] = {}
                for field in file.schema_arrow:
                    kinds.setdefault(field.name, resolved(field.type))
        except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a name that is not UTF-8
            raise input_unreadable(path, _first_line(error)) from error
        if min(groups, default=0) < 0 or sum(groups) != about.num_rows:
            raise input_unreadable(path, "its row groups do not have the number of rows that its footer says")
        self._rows = about.num_rows
        self.columns = pa.schema(list(kinds.items()))

    @property
    def position(self) -> int:
        return int((self._file.size or 0) * self._rows_read / max(1, self._rows))

    @property
    def size(self) -> int | None:
        return self._file.size

    def blocks(self, wanted: Wanted) -> Iterator[Block]:
        with self._opened() as file:
            first = 1  # number of the next row in the file
            for group in range(file.metadata.num_row_groups):
                about = file.metadata.row_group(group)
                end = first + about.num_rows
                bytes_per_row = max(1, about.total_byte_size // max(1, about.num_rows))
                size = max(1, min(BATCH_ROWS, _BATCH_BYTES // bytes_per_row))
                said = "it has fewer rows than its footer says"
                try:
                    for batch in file.iter_batches(size, row_groups=[group], columns=wanted.columns, use_threads=False):
                        if 0 < batch.num_rows <= end - first:
                            block = self._block(batch, first, wanted)
                            first += batch.num_rows
                            self._rows_read = first - 1
                            yield block
                except (pa.ArrowException, OSError, ValueError) as error:
                    said = _first_line(error)
                if first < end:
                    yield _lost(first, end - first, said)
                first = end
        if self._spooled is not None:
            self._spooled.close()

    def _block(self, batch: pa.RecordBatch, first: int, wanted: Wanted) -> Block:
        faults: dict[int, tuple[str, Cause, str]] = {}
        columns: dict[str, pa.Array] = {}
        for name in wanted.columns:
            values = columns[name] = resolve(batch.column(batch.schema.names.index(name)))
            for row in _invalid(values):
                faults.setdefault(row, (name, Cause.UNDECODABLE, "the value is not valid UTF-8"))
        message: dict[str, pa.Array] = {}
        for role, name in wanted.message.items():
            is_time = role == "time" and not _is_text(columns[name].type)
            values = message[role] = columns[name] if is_time else _as_text(columns[name])
            if pa.types.is_binary(columns[name].type):
                for row in _invalid(values):
                    faults.setdefault(row, (name, Cause.UNDECODABLE, "the bytes are not valid UTF-8"))
        text, text_name = message["text"], wanted.message["text"]
        for row in _places(text.is_null()):
            faults.setdefault(row, (text_name, Cause.TEXT_MISSING, "null, expected a string"))
        for row in _places(pc.greater(pc.binary_length(text), MAX_RECORD_BYTES)):
            faults.setdefault(row, (text_name, Cause.LINE_TOO_LONG, f"longer than {MAX_RECORD_BYTES} bytes"))
        raw = text.view(pa.binary())

        def excerpt(row: int) -> str:
            return escaped(raw[row].as_py() or b"")

        found = [Fault(row, first + row, *fault, excerpt(row)) for row, fault in sorted(faults.items())]
        good = np.delete(np.arange(batch.num_rows), np.array(sorted(faults), np.int64))
        if found:
            message = {role: values.take(pa.array(good)) for role, values in message.items()}
            columns = {name: values.take(pa.array(good)) for name, values in columns.items()}
        kept = {name: columns[name] for name in wanted.kept}
        return Block(batch.num_rows, good, first + good, message, kept, lambda at: excerpt(int(good[at])), found)

    def _opened(self) -> pq.ParquetFile:
        # pre_buffer would hold the column chunks of a whole row group, and so would reading without a buffer.
        return pq.ParquetFile(self._spooled or self.path, buffer_size=_READ_BYTES, pre_buffer=False)

    def _spool(self) -> BinaryIO:
        """Parquet is read from its end: a pipe goes to an unnamed temporary file first."""
        spooled = tempfile.TemporaryFile()  # noqa: SIM115 closed when the blocks are read
        while block := self._file.read(_READ_BYTES):
            spooled.write(block)
        spooled.seek(0)
        return spooled


def resolved(kind: pa.DataType) -> pa.DataType:
    """The type of `resolve`d values: no dictionaries, views or extension types, and 32-bit offsets."""
    if pa.types.is_dictionary(kind):
        return resolved(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return resolved(kind.storage_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    return kind


def resolve(values: pa.Array) -> pa.Array:
    """The same values in the `resolved` type. Strings are not checked."""
    if pa.types.is_dictionary(values.type):
        return resolve(values.dictionary_decode())
    if isinstance(values.type, pa.BaseExtensionType):
        return resolve(values.storage)
    kind = resolved(values.type)
    return values if values.type == kind else values.cast(kind)


def _invalid(values: pa.Array) -> list[int]:
    """Places whose strings, also nested ones, are not valid UTF-8."""
    if _is_valid(values):
        return []
    return [row for row in range(len(values)) if not _is_valid(values.take(pa.array([row])))]


def _is_valid(values: pa.Array) -> bool:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _places(condition: pa.Array) -> list[int]:
    """Where the condition is true; null is not."""
    return np.flatnonzero(pc.fill_null(condition, False).to_numpy(zero_copy_only=False)).tolist()


def _as_text(values: pa.Array) -> pa.Array:
    """Strings of a column of the message. Binary is taken as it is; 13800000000.0 becomes 13800000000, and NaN null."""
    if pa.types.is_string(values.type):
        return values
    if pa.types.is_binary(values.type):
        return values.view(pa.string())
    if not pa.types.is_floating(values.type):
        return values.cast(pa.string())
    doubles = values.cast(pa.float64())
    known = pc.if_else(pc.is_finite(doubles), doubles, pa.scalar(None, pa.float64()))
    is_whole = pc.and_(pc.equal(known, pc.floor(known)), pc.less(pc.abs(known), 2.0**53))
    whole = pc.if_else(is_whole, known, pa.scalar(None, pa.float64())).cast(pa.int64())
    return pc.coalesce(whole.cast(pa.string()), known.cast(pa.string()))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _lost(first: int, rows: int, said: str) -> Block:
    detail = f"the row group cannot be decoded from here on, {rows} rows are lost ({said})"
    fault = Fault(0, first, "", Cause.UNREADABLE, detail, "", rows)
    return Block(rows, np.empty(0, np.int64), np.empty(0, np.int64), {}, {}, lambda _: "", [fault])


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
