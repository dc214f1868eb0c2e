"""Decisions to tables: Parquet, CSV or JSON Lines, in input order, whole or not at all (see `files`).

Columns: `row` (int64, over the whole input), `verdict`, `category` (their labels), `score` (float32; as text the
shortest digits that read back as the same float32), `reasons` (labels; a list, in CSV joined by `;`), `campaign` (16
hex digits, empty when there is none), then the kept columns of the input. One of those whose name is taken is called
`input_<name>`.

CSV is UTF-8 without a mark, lines end in LF, null and an empty string are both an empty cell. A kept cell is written
as it came, also if it begins with `=`, `+`, `-` or `@`: the output is data, and a text that was changed would no
longer be the text that was decided on. A spreadsheet runs such a cell as a formula, so `guard_formulas` puts a `'`
before it, for a table that is made to be opened in one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mingbai.connectors.tables.errors import output_cannot_write
from mingbai.connectors.tables.files import OutputFile
from mingbai.connectors.tables.formats import Format, format_of
from mingbai.connectors.tables.quoting import as_csv_cells, as_json_strings
from mingbai.connectors.tables.values import as_json, as_strings, with_point
from mingbai.kernel.verdicts import Category, Reason, Verdict

OUTPUT = pa.schema(
    [
        ("row", pa.int64()),
        ("verdict", pa.string()),
        ("category", pa.string()),
        ("score", pa.float32()),
        ("reasons", pa.list_(pa.string())),
        ("campaign", pa.string()),
    ]
)
# Readers skip by row group and decode one at a time: large enough to compress, small enough to hold twice.
_GROUP_ROWS, _GROUP_BYTES = 131_072, 64 << 20
_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)


def _labels(codes: type[Verdict] | type[Category] | type[Reason]) -> pa.Array:
    """Label by value; null where no member has the value."""
    labels: list[str | None] = [None] * (max(codes) + 1)
    for member in codes:
        labels[member] = member.label
    return pa.array(labels, pa.string())


_VERDICTS, _CATEGORIES, _REASONS = _labels(Verdict), _labels(Category), _labels(Reason)


def output_schema(kept: pa.Schema | None) -> pa.Schema:
    """Columns of an output that keeps the columns of `kept`."""
    fields = list(OUTPUT)
    taken = set(OUTPUT.names)
    own = set(kept.names) if kept is not None else set()
    for field in kept if kept is not None else []:
        name = field.name
        while name in taken or (name != field.name and name in own):
            name = f"input_{name}"
        taken.add(name)
        fields.append(field.with_name(name))
    return pa.schema(fields)


class _Encoder(Protocol):
    """Writes tables of one schema to an OutputFile in one format."""

    def write(self, table: pa.RecordBatch) -> None: ...

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


class OutputWriter:
    """An output being written. As a context manager it is put in its place, or discarded if an exception passes.

    rows: written so far. schema: of the output.
    """

    def __init__(self, file: OutputFile, schema: pa.Schema, encoder: _Encoder) -> None:
        self.schema = schema
        self.rows = 0
        self._file = file
        self._encoder = encoder

    def write(self, rows: NDArray[np.int64], decisions: pa.RecordBatch, kept: pa.RecordBatch | None = None) -> None:
        """Append n rows: their numbers, `DECISION` columns, kept columns.

        Raises OutputCannotWrite; nothing is left behind then.
        """
        columns = [
            pa.array(rows, pa.int64()),
            _VERDICTS.take(decisions.column("verdict")),
            _CATEGORIES.take(decisions.column("category")),
            decisions.column("score"),
            _reasons(decisions.column("reasons")),
            _campaigns(decisions.column("campaign")),
            *(kept.columns if kept is not None else []),
        ]
        self._do(lambda: self._encoder.write(pa.RecordBatch.from_arrays(columns, schema=self.schema)))
        self.rows += len(rows)

    def close(self) -> None:
        """Put the output in its place. Raises OutputCannotWrite."""
        self._do(self._encoder.finish)
        self._file.commit()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._file.discard()
        self._encoder.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            self.discard()
            raise output_cannot_write(self._file.path, error) from error
        except BaseException:
            self.discard()
            raise


def open_output(
    path: str | os.PathLike[str],
    kept_schema: pa.Schema | None = None,
    *,
    format: str | Format | None = None,
    guard_formulas: bool = False,
) -> OutputWriter:
    """Open an output; its format follows from `path`, or is `format`. `-` is standard output.

    kept_schema: of the columns that come with each write. guard_formulas: see the module; CSV only.
    Raises UnknownFormat; OutputCannotWrite if the place cannot be written.
    """
    name = os.fspath(path)
    chosen = format_of(name, format, allowed=frozenset({Format.CSV, Format.JSONL, Format.PARQUET}))
    schema = output_schema(kept_schema)
    file = OutputFile(name)
    if chosen is Format.PARQUET:
        return OutputWriter(file, schema, _Parquet(file, schema))
    if chosen is Format.JSONL:
        return OutputWriter(file, schema, _JsonLines(file, schema))
    return OutputWriter(file, schema, _Csv(file, schema, guard_formulas))


class _Parquet:
    """Row groups of at least a batch and about `_GROUP_ROWS` rows or `_GROUP_BYTES` bytes."""

    def __init__(self, file: OutputFile, schema: pa.Schema) -> None:
        self._sink = _Sink(file)
        self._writer = pq.ParquetWriter(pa.PythonFile(self._sink, mode="w"), schema, compression="zstd")
        self._schema = schema
        self._pending: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def write(self, table: pa.RecordBatch) -> None:
        self._pending.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._write_group()

    def finish(self) -> None:
        self._write_group()
        self._writer.close()

    def abandon(self) -> None:
        # The writer closes itself when it is collected and would write a footer to a file that is gone.
        self._sink.is_abandoned = True
        with contextlib.suppress(pa.ArrowException, OSError):
            self._writer.close()

    def _write_group(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_batches(self._pending, self._schema), row_group_size=self._rows)
        self._pending, self._rows, self._bytes = [], 0, 0


class _Sink:
    """An OutputFile as pyarrow wants a file."""

    closed = False

    def __init__(self, file: OutputFile) -> None:
        self._file = file
        self._at = 0
        self.is_abandoned = False

    def write(self, data: bytes) -> int:
        if not self.is_abandoned:
            self._file.write(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True


class _Csv:
    def __init__(self, file: OutputFile, schema: pa.Schema, guard_formulas: bool) -> None:
        self._file = file
        self._guarded = guard_formulas
        names = as_csv_cells(pa.array(schema.names, pa.string())).to_pylist()
        file.write((",".join(names) + "\n").encode("utf-8"))

    def write(self, table: pa.RecordBatch) -> None:
        cells = []
        for name, values in zip(table.schema.names, table.columns, strict=True):
            text = pc.binary_join(values, ";") if name == "reasons" else as_strings(values)
            if name == "score":
                text = with_point(text)
            if self._guarded and name not in OUTPUT.names:
                is_formula = pc.match_substring_regex(text, r"^[=+\-@\t\r]")
                text = pc.if_else(pc.fill_null(is_formula, False), pc.binary_join_element_wise("'", text, ""), text)
            cells.append(as_csv_cells(text))
        _write_lines(self._file, pc.binary_join_element_wise(pc.binary_join_element_wise(*cells, ","), "\n", ""))

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


class _JsonLines:
    def __init__(self, file: OutputFile, schema: pa.Schema) -> None:
        self._file = file
        keys = as_json_strings(pa.array(schema.names, pa.string())).to_pylist()
        self._before = [("{" if number == 0 else ", ") + key + ": " for number, key in enumerate(keys)]

    def write(self, table: pa.RecordBatch) -> None:
        parts: list[pa.Array | str] = []
        for before, name, values in zip(self._before, table.schema.names, table.columns, strict=True):
            text = _json_lists(values) if name == "reasons" else as_json(values)
            parts += [before, pc.fill_null(text, "null") if text.null_count else text]
        _write_lines(self._file, pc.binary_join_element_wise(*parts, "}\n", ""))

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


def _write_lines(file: OutputFile, lines: pa.Array) -> None:
    """One write for all."""
    if len(lines):
        offsets = np.frombuffer(lines.buffers()[1], np.int32)
        file.write(memoryview(lines.buffers()[2])[offsets[0] : offsets[len(lines)]])


def _json_lists(lists: pa.Array) -> pa.Array:
    """Lists of labels, which need no escapes."""
    joined = pc.binary_join(lists, '", "')
    return pc.if_else(pc.equal(joined, ""), "[]", pc.binary_join_element_wise('["', joined, '"]', ""))


def _reasons(codes: pa.Array) -> pa.Array:
    """list<uint16> of codes to list<string> of labels; a code of a newer version keeps its number."""
    flat = codes.flatten()
    known = pc.if_else(pc.less(flat, len(_REASONS)), flat, 0)
    labels = pc.coalesce(_REASONS.take(known), flat.cast(pa.string()))
    lengths = pc.fill_null(pc.list_value_length(codes), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(codes) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), labels)


def _campaigns(campaigns: pa.Array) -> pa.Array:
    """uint64 to 16 hex digits, 0 to an empty string."""
    numbers = campaigns.to_numpy(zero_copy_only=False).astype(np.uint64)
    digits = _HEX[numbers.astype(">u8").view(np.uint8)]
    offsets = pa.py_buffer(np.arange(len(numbers) + 1, dtype=np.int32) * 16)
    text = pa.Array.from_buffers(pa.string(), len(numbers), [None, offsets, pa.py_buffer(digits)])
    return pc.if_else(pa.array(numbers == 0), "", text)
