"""JSON Lines: one object a line (RFC 8259), lines found by `records`.

Every value keeps its meaning: a column whose values in the first window are all strings (or null) is a string column;
any other is of type JSON (Arrow's `arrow.json`), each value its JSON text, so that a number stays a number in JSON
Lines written from it. NaN and Infinity are no JSON. Of a name given twice the last value holds, as everywhere in
Python. A lone surrogate (`\\ud800`) is no character and cannot be stored as UTF-8: its row is rejected. What is kept
are the columns of the first window; a name that first appears later is left out, and a warning says so.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mingbai.connectors.tables.blocks import Block, Fault, Wanted
from mingbai.connectors.tables.encodings import WINDOW, Utf8Blocks
from mingbai.connectors.tables.faults import excerpt, faults_of, torn_block
from mingbai.connectors.tables.files import InputFile
from mingbai.connectors.tables.objects import MAX_DEPTH, Kind, members_of
from mingbai.connectors.tables.records import LINES, Records, records_of
from mingbai.connectors.tables.rejects import Cause, escaped

log = logging.getLogger(__name__)

JSON = pa.json_(pa.string())

_TEXT = (Kind.STRING, Kind.ESCAPED)
_TEXT_OR_NUMBER = (Kind.NOTHING, Kind.NUMBER, *_TEXT)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


class JsonLinesFile:
    """One JSON Lines file. `columns`: the names in the first window, in order of appearance."""

    def __init__(self, path: str, *, encoding: str | None = None, block_bytes: int = 1 << 20) -> None:
        self.path = path
        self._encoding = encoding
        self._block_bytes = block_bytes
        self._file = InputFile(path)
        self._has_warned = False
        self.columns = self._first_columns()

    @property
    def position(self) -> int:
        return self._file.position

    @property
    def size(self) -> int | None:
        return self._file.size

    def blocks(self, wanted: Wanted) -> Iterator[Block]:
        text = Utf8Blocks(self._file, encoding=self._encoding, block_bytes=self._block_bytes)
        records: Records | None = None
        try:
            for records in records_of(text, LINES, 1):
                yield self._block(records, wanted, text)
            if text.torn is not None and (records is None or not records.unfinished):
                yield torn_block(text, records)
        finally:
            self._file.close()

    def _block(self, records: Records, wanted: Wanted, text: Utf8Blocks) -> Block:
        faults = {fault.ordinal: fault for fault in faults_of(records, 0, text, [])}

        def fault(record: int, column: str, cause: Cause, detail: str) -> None:
            raw = escaped(records.raw(record), transcoded=text.transcoded)
            faults.setdefault(record, Fault(record, int(records.line[record]), column, cause, detail, raw))

        names = wanted.columns
        found = members_of(records.data, records.start, records.end, names)
        readable = np.ones(len(records), bool)
        readable[list(faults)] = False
        for record in np.flatnonzero(readable & ~found.is_object).tolist():
            fault(record, "", *_no_object(records.raw(record).decode("utf-8")))
        rows = np.flatnonzero(readable & found.is_object)
        for role, name in wanted.message.items():
            kind = found.kind[rows, names.index(name)]
            allowed = _TEXT if role == "text" else _TEXT_OR_NUMBER
            for at in np.flatnonzero(~np.isin(kind, allowed)):
                fault(int(rows[at]), name, *_wrong(role, Kind(kind[at])))
        columns: dict[str, pa.Array] = {}
        for name in names:
            if name in wanted.message.values() or self._is_string(name):
                columns[name], lone = found.strings(names.index(name), rows)
                for record in rows[lone].tolist():
                    fault(record, name, Cause.LONE_SURROGATE, "half a surrogate pair, which is no character")
        is_good = np.ones(len(records), bool)
        is_good[list(faults)] = False
        if not is_good[rows].all():
            columns = {name: values.filter(pa.array(is_good[rows])) for name, values in columns.items()}
        good = np.flatnonzero(is_good)
        message = {}
        for role, name in wanted.message.items():
            numbers = np.flatnonzero(found.kind[good, names.index(name)] == Kind.NUMBER)
            message[role] = _with_whole_numbers(columns[name], numbers) if len(numbers) else columns[name]
        kept = {}
        for name in wanted.kept:
            if self._is_string(name):
                kept[name] = columns[name]
            else:
                kept[name] = pa.ExtensionArray.from_storage(JSON, found.texts(names.index(name), good))
        if wanted.kept and found.has_others and not self._has_warned:
            self._has_warned = True
            log.warning(
                "members that first appear after the beginning of a file are not kept", extra={"file": self.path}
            )
        raw = partial(excerpt, records, good, text.transcoded)
        ordered = [faults[record] for record in sorted(faults)]
        return Block(len(records), good, records.line[good], message, kept, raw, ordered)

    def _is_string(self, name: str) -> bool:
        return self.columns is not None and name in self.columns.names and self.columns.field(name).type != JSON

    def _first_columns(self) -> pa.Schema | None:
        head = self._file.peek(2 * WINDOW)
        utf8 = b"".join(Utf8Blocks(io.BytesIO(head), encoding=self._encoding))
        only_strings: dict[str, bool] = {}
        for line in utf8.split(b"\n"):
            with contextlib.suppress(ValueError, RecursionError):  # a bad row, which the run reports, or a cut one
                value = _parse(line.decode("utf-8"))
                if isinstance(value, dict):
                    for name, held in value.items():
                        only_strings[name] = only_strings.get(name, True) and (held is None or isinstance(held, str))
        encodable = {name: is_string for name, is_string in only_strings.items() if _is_encodable(name)}
        if not encodable:
            return None
        return pa.schema([(name, pa.string() if is_string else JSON) for name, is_string in encodable.items()])


def _parse(line: str) -> object:
    """The value of a line. Raises ValueError or RecursionError."""
    return _decoder.decode(line)


def _no_object(line: str) -> tuple[Cause, str]:
    """What is wrong with a line that is no object."""
    if not line.strip(" \t\r"):
        return Cause.BAD_JSON, "blanks only, expected an object"
    try:
        value = _parse(line)
    except ValueError as error:
        return Cause.BAD_JSON, str(error)
    except RecursionError:
        value = {}
    if type(value) is dict:
        return Cause.BAD_JSON, f"nested deeper than {MAX_DEPTH} levels"
    kinds = {type(None): "null", bool: "true or false", str: "a string", list: "an array"}
    return Cause.NOT_AN_OBJECT, f"{kinds.get(type(value), 'a number')}, expected an object"


def _wrong(role: str, kind: Kind) -> tuple[Cause, str]:
    """What is wrong with a value of that kind in a column of the message."""
    if kind is Kind.NOTHING:
        return Cause.TEXT_MISSING, "no text, or null; expected a string"
    named = {Kind.NUMBER: "a number", Kind.BOOLEAN: "true or false", Kind.NESTED: "an array or object"}[kind]
    return Cause.WRONG_TYPE, f"{named}, expected {'a string' if role == 'text' else 'a string or a number'}"


def _with_whole_numbers(values: pa.Array, numbers: NDArray[np.int64]) -> pa.Array:
    """The values; numbers among them as programs write that lack integers, 13800000000.0 and 1.38e10, as
    13800000000.
    """
    texts = values.to_pylist()
    for at in numbers.tolist():
        if not texts[at].isdecimal():
            number = float(texts[at])
            if abs(number) < 2**53 and number.is_integer():
                texts[at] = str(int(number))
    return pa.array(texts, pa.string())


def _is_encodable(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)
