"""Messages from tables: any number of files, of any size, as batches of equal length.

Every row of the input takes a number, good or bad, over all files. The same rows come in the same batches however
they are stored (format, encoding, how many files), so that what depends on a batch's borders, such as the counters of
campaigns, does not depend on that either. Memory is a batch, a block and a record, or `MAX_BATCH_BYTES` if that is
more: very long texts come in shorter batches.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mingbai.connectors.tables.blocks import Block, Fault, TableFile, Wanted
from mingbai.connectors.tables.delimited import DelimitedFile
from mingbai.connectors.tables.errors import missing_column
from mingbai.connectors.tables.formats import STANDARD_STREAM, Format, format_of
from mingbai.connectors.tables.jsonlines import JSON, JsonLinesFile
from mingbai.connectors.tables.parquet import ParquetFile
from mingbai.connectors.tables.rejects import Cause, OnReject, Reject
from mingbai.connectors.tables.times import DEFAULT_ZONE, EXPECTED, TIMESTAMP, times_of, zone_named
from mingbai.connectors.tables.values import as_strings
from mingbai.engines.screening.schema import NETWORK
from mingbai.kernel.errors import BadValue, SchemaMismatch

MAX_BATCH_BYTES = 64 << 20
_ROLES = ("text", "sender", "receiver", "access_code", "time", *NETWORK.names)


@dataclass(frozen=True, slots=True)
class InputBatch:
    """n messages in input order.

    batch: columns of `MESSAGE` and `NETWORK`; `text` always, the optional ones if any file has them (null where a file
    has not).
    rows: their numbers over the whole input, 0-based. kept: the input's own columns, n rows, of
    `MessageReader.kept_schema`; None unless asked for. bytes_read: of the whole input so far, for a progress bar
    against `MessageReader.total_bytes`.
    """

    batch: pa.RecordBatch
    rows: NDArray[np.int64]
    kept: pa.RecordBatch | None
    bytes_read: int


@dataclass(frozen=True, slots=True)
class _Piece:
    message: pa.RecordBatch
    rows: NDArray[np.int64]
    kept: pa.RecordBatch | None

    @property
    def nbytes(self) -> int:
        return int(self.message.nbytes + (self.kept.nbytes if self.kept is not None else 0))

    def part(self, at: int, length: int) -> _Piece:
        kept = None if self.kept is None else self.kept.slice(at, length)
        return _Piece(self.message.slice(at, length), self.rows[at : at + length], kept)


class MessageReader(Iterator[InputBatch]):
    """An iterator of batches. When it exists, all files have been looked at: what stops a run stops it before it
    begins.

    schema, kept_schema: of the batches. total_bytes: None if a pipe is among the inputs. rows: numbers given so far.
    accepted, rejected: rows so far, which make `rows` in sum; causes: the rejected ones by cause.
    """

    def __init__(
        self,
        files: Sequence[TableFile],
        wanted: Sequence[Wanted],
        kept_schema: pa.Schema | None,
        batch_rows: int,
        zone: str,
        on_reject: OnReject,
    ) -> None:
        self._files = files
        self._wanted = wanted
        self._batch_rows = batch_rows
        self._zone = zone_named(zone)
        self._on_reject = on_reject
        found = {role for one in wanted for role in one.message}
        self.schema = pa.schema(
            [(role, TIMESTAMP if role == "time" else pa.string()) for role in _ROLES if role in found or role == "text"]
        )
        self.kept_schema = kept_schema
        sizes = [file.size for file in files]
        self.total_bytes = None if None in sizes else sum(size for size in sizes if size is not None)
        self.rows = self.accepted = self.rejected = 0
        self.causes: Counter[Cause] = Counter()
        self._bytes_read = 0
        self._batches = self._read()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> InputBatch:
        return next(self._batches)

    def _read(self) -> Iterator[InputBatch]:
        pending: list[_Piece] = []
        held = size = 0
        for piece in self._pieces():
            pending.append(piece)
            held += len(piece.rows)
            size += piece.nbytes
            if held < self._batch_rows and size < MAX_BATCH_BYTES:
                continue
            whole = _joined(pending)
            at = 0
            while held - at >= self._batch_rows or (size >= MAX_BATCH_BYTES and at < held):
                yield self._batch(whole.part(at, self._batch_rows))
                at += self._batch_rows
            pending = [whole.part(at, held)] if at < held else []
            held = max(0, held - at)
            size = sum(rest.nbytes for rest in pending)
        if pending:
            yield self._batch(_joined(pending))

    def _batch(self, piece: _Piece) -> InputBatch:
        return InputBatch(piece.message, piece.rows, piece.kept, self._bytes_read)

    def _pieces(self) -> Iterator[_Piece]:
        done = 0
        for file, wanted in zip(self._files, self._wanted, strict=True):
            for block in file.blocks(wanted):
                self._bytes_read = done + file.position
                piece = self._piece(file, wanted, block)
                if len(piece.rows):
                    yield piece
            done += file.size if file.size is not None else file.position
            self._bytes_read = done

    def _piece(self, file: TableFile, wanted: Wanted, block: Block) -> _Piece:
        message, good, faults = dict(block.message), block.good, list(block.faults)
        kept = [self._kept(field, block) for field in self.kept_schema or ()]
        if "time" in message:
            asked = message["time"]
            message["time"], bad = times_of(asked, self._zone)
            for at in bad.tolist():
                shown = as_strings(asked.slice(at, 1))[0].as_py()[:40]
                detail = f"{shown!r} is no time, expected {EXPECTED}"
                column, line = wanted.message["time"], int(block.lines[at])
                faults.append(Fault(int(good[at]), line, column, Cause.BAD_TIME, detail, block.raw(at)))
            if len(bad):
                left = np.delete(np.arange(len(good)), bad)
                message = {role: values.take(pa.array(left)) for role, values in message.items()}
                kept = [values.take(pa.array(left)) for values in kept]
                good = good[left]
        for fault in sorted(faults, key=lambda fault: fault.ordinal):
            self._reject(file, fault)
        rows = good + self.rows
        self.rows += block.total
        self.accepted += len(good)
        columns = [self._column(field, message, len(good)) for field in self.schema]
        return _Piece(
            pa.RecordBatch.from_arrays(columns, schema=self.schema),
            rows,
            None if self.kept_schema is None else pa.RecordBatch.from_arrays(kept, schema=self.kept_schema),
        )

    def _reject(self, file: TableFile, fault: Fault) -> None:
        self.rejected += fault.rows
        self.causes[fault.cause] += fault.rows
        row = self.rows + fault.ordinal
        self._on_reject(
            Reject(file.path, fault.line, fault.column, fault.cause, fault.detail, fault.raw, row, fault.rows)
        )

    def _column(self, field: pa.Field, message: dict[str, pa.Array], n: int) -> pa.Array:
        values = message.get(field.name)
        if values is None:
            return pa.nulls(n, field.type)
        if field.name in ("text", "time"):
            return values
        # An empty cell says that there is no such value; CSV cannot say it otherwise.
        return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)

    def _kept(self, field: pa.Field, block: Block) -> pa.Array:
        values = block.kept.get(field.name)
        if values is None:
            return pa.nulls(len(block.good), field.type)
        return values if values.type == field.type else as_strings(values)


def read_messages(
    paths: Sequence[str | os.PathLike[str]],
    *,
    on_reject: OnReject,
    format: str | Format | None = None,
    text_column: str = "text",
    sender_column: str | None = None,
    receiver_column: str | None = None,
    access_code_column: str | None = None,
    time_column: str | None = None,
    network_columns: Mapping[str, str | None] | None = None,
    keep_columns: bool = False,
    zone: str = DEFAULT_ZONE,
    encoding: str | None = None,
    batch_rows: int = 10_000,
    block_bytes: int = 1 << 20,
) -> MessageReader:
    """Open tables of messages; `-` is standard input.

    format: of all inputs; None takes each file's extension. An optional column is taken by its own name (`sender`,
    `receiver`, `access_code`, `time`) if a file has it; None means that, a name demands that column of every file,
    and an empty name leaves it out; network_columns: the same for the columns of `NETWORK`. zone: of times that name
    none. encoding: of text files; None recognises it. on_reject: called for each bad row, in order. Raises
    InputUnreadable, MissingColumn, SchemaMismatch, UnknownFormat and BadValue before anything is read; InputUnreadable
    also while reading, when a device fails.
    """
    names = [os.fspath(path) for path in paths]
    if not names:
        raise BadValue(field="inputs", value=[], expected="at least one file, or - for standard input")
    if names.count(STANDARD_STREAM) > 1:
        raise BadValue(field="inputs", value=STANDARD_STREAM, expected="standard input at most once")
    if batch_rows < 1:
        raise BadValue(field="batch_rows", value=batch_rows, expected="at least 1")
    asked = {
        "text": text_column,
        "sender": sender_column,
        "receiver": receiver_column,
        "access_code": access_code_column,
        "time": time_column,
        **dict.fromkeys(NETWORK.names),
        **(network_columns or {}),
    }
    files = [_opened(name, format_of(name, format), encoding, block_bytes) for name in names]
    wanted = [_wanted(file, asked, keep_columns) for file in files]
    return MessageReader(files, wanted, _kept_schema(files) if keep_columns else None, batch_rows, zone, on_reject)


def _opened(path: str, format: Format, encoding: str | None, block_bytes: int) -> TableFile:
    if format is Format.PARQUET:
        return ParquetFile(path)
    if format is Format.JSONL:
        return JsonLinesFile(path, encoding=encoding, block_bytes=block_bytes)
    return DelimitedFile(path, format, encoding=encoding, block_bytes=block_bytes)


def _wanted(file: TableFile, asked: dict[str, str | None], keep_columns: bool) -> Wanted:
    found = file.columns.names if file.columns is not None else []
    message: dict[str, str] = {}
    for role, name in asked.items():
        if name == "" and role != "text":
            continue
        if name is not None and name not in found and file.columns is not None:
            raise missing_column(file.path, name, f"{role}_column", found)
        is_chance = name is None and role in NETWORK.names  # `device` and `cell` are names of other things too
        if is_chance and role in found and file.columns is not None and not _fits(role, file.columns.field(role).type):
            continue
        if name is not None or role in found:
            message[role] = name if name is not None else role
    for role, name in message.items():
        if file.columns is not None and name in found:
            _check_type(file.path, role, name, file.columns.field(name).type)
    return Wanted(message, tuple(found) if keep_columns else ())


def _check_type(path: str, role: str, name: str, kind: pa.DataType) -> None:
    if not _fits(role, kind):
        expected = {"text": "strings", "time": "strings, numbers or timestamps"}.get(role, "strings or numbers")
        raise SchemaMismatch(field=f"{name!r} of {path}", value=kind, expected=expected)


def _fits(role: str, kind: pa.DataType) -> bool:
    is_text = pa.types.is_string(kind) or pa.types.is_binary(kind) or kind == JSON
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    is_time = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    return is_text or pa.types.is_null(kind) or (role != "text" and is_number) or (role == "time" and is_time)


def _kept_schema(files: Sequence[TableFile]) -> pa.Schema:
    """All columns of all files, in order of appearance; of different types in two files: strings."""
    kinds: dict[str, pa.DataType] = {}
    for file in files:
        for field in file.columns or ():
            kind = kinds.setdefault(field.name, field.type)
            if kind != field.type:
                kinds[field.name] = pa.string()
    return pa.schema(list(kinds.items()))


def _joined(pieces: Sequence[_Piece]) -> _Piece:
    if len(pieces) == 1:
        return pieces[0]
    kept = [piece.kept for piece in pieces if piece.kept is not None]
    return _Piece(
        pa.concat_batches([piece.message for piece in pieces]),
        np.concatenate([piece.rows for piece in pieces]),
        pa.concat_batches(kept) if kept else None,
    )
