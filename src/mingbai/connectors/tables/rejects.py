"""Rows that cannot be read: what is said of each, and the file they go to.

A reject is for the operator, who repairs the source: it names file, line, column, cause and the row as it stands.
`raw` is escaped so that every byte can be read off it and no cell starts a formula in a spreadsheet: `\\` is `\\\\`,
a control character or an undecodable byte is `\\xNN`, a leading `= + - @` is `\\xNN` too. It is cut at 1,000
characters. The file holds personal data (a message as it came); like the output it is as private as its directory.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from mingbai.connectors.tables.files import OutputFile
from mingbai.connectors.tables.formats import STANDARD_STREAM, Format, format_of

RAW_CHARACTERS = 1000  # enough to find the row and see the fault; the line number leads to the rest


class Cause(StrEnum):
    """Why a row was rejected. Stable codes: a value keeps its meaning for good."""

    UNDECODABLE = "undecodable"
    FIELD_COUNT = "field_count"
    UNTERMINATED_QUOTE = "unterminated_quote"
    STRAY_QUOTE = "stray_quote"
    LINE_TOO_LONG = "line_too_long"
    NUL_BYTE = "nul_byte"
    BAD_JSON = "bad_json"
    NOT_AN_OBJECT = "not_an_object"
    LONE_SURROGATE = "lone_surrogate"
    TEXT_MISSING = "text_missing"
    WRONG_TYPE = "wrong_type"
    BAD_TIME = "bad_time"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Reject:
    """One row (or, for `unreadable`, `rows` of them in a run) that was left out.

    file: the input as given. line: 1-based physical line on which the row begins; for Parquet the 1-based row of the
    file. column: the column's name, empty if the whole row is at fault. row: 0-based number over the whole input,
    which the row keeps. detail: the cause in a sentence, with what was found and what was expected. raw: see the
    module.
    """

    file: str
    line: int
    column: str
    cause: Cause
    detail: str
    raw: str
    row: int
    rows: int = 1


OnReject = Callable[[Reject], None]
COLUMNS = ("file", "line", "column", "cause", "detail", "row", "rows", "raw")

_FORMULA = re.compile(r"\A[=+\-@]")
_CONTROL = re.compile("[\\\\\x00-\x1f\x7f\x80-\x9f\u2028\u2029\ud800-\udfff]")


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] == "\\":
        return "\\\\"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that did not decode, as Python's surrogateescape carries it
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def escaped(raw: bytes | str, *, transcoded: bool = False) -> str:
    """`raw` as printable text, cut at `RAW_CHARACTERS`. transcoded: the bytes come from `encodings`, which marks
    undecodable ones.
    """
    if isinstance(raw, bytes):
        size = min(len(raw), 4 * RAW_CHARACTERS + 4)  # bytes that hold more characters than are shown
        while 0 < size < len(raw) and raw[size] & 0xC0 == 0x80:
            size -= 1
        raw = raw[:size].decode("utf-8", "surrogatepass" if transcoded else "surrogateescape")
    cut = raw[:RAW_CHARACTERS]
    shown = _CONTROL.sub(_escape, cut)
    if _FORMULA.match(shown):
        shown = f"\\x{ord(shown[0]):02x}{shown[1:]}"
    return shown + ("…" if len(raw) > len(cut) else "")


class RejectsWriter:
    """Writes rejects to CSV or JSON Lines, by the extension of `path`. An instance is an `on_reject` callback.

    The file is made with the first reject. Without any, none is made, but one that is there already is replaced by an
    empty one, lest yesterday's rejects be taken for today's. Memory is constant. Raises OutputCannotWrite,
    UnknownFormat.
    """

    def __init__(self, path: str | os.PathLike[str], *, format: str | Format | None = None) -> None:
        self.path = os.fspath(path)
        self.format = format_of(self.path, format, allowed=frozenset({Format.CSV, Format.JSONL}))
        self.counts: Counter[Cause] = Counter()
        self._file: OutputFile | None = None

    def __call__(self, reject: Reject) -> None:
        self.counts[reject.cause] += reject.rows
        self._opened().write(_line(self.format, [getattr(reject, name) for name in COLUMNS]))

    def close(self) -> None:
        """Put the file in its place."""
        if self._file is None and (self.path == STANDARD_STREAM or not os.path.isfile(self.path)):
            return
        self._opened().commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Also after a failure: the rows rejected so far are as wrong as they were.
        self.close()

    def _opened(self) -> OutputFile:
        if self._file is None:
            self._file = OutputFile(self.path)
            if self.format is Format.CSV:
                self._file.write(_line(self.format, COLUMNS))
        return self._file


def _line(format: Format, values: Sequence[object]) -> bytes:
    if format is Format.JSONL:
        return (json.dumps(dict(zip(COLUMNS, values, strict=True)), ensure_ascii=False) + "\n").encode("utf-8")
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue().encode("utf-8")
