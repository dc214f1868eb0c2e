"""Taking decisions out of the house: lists for a spreadsheet or a program, masked as the person sees them.

A list that was cut says so in its last line: a row with words in its first cell (CSV), `{"truncated": true, "rows": n}`
(JSON Lines). Whoever gets the file handed on has not seen the page.

A spreadsheet runs what begins with = + - @ as a formula, and messages are written by strangers: such a cell gets an
apostrophe in front (OWASP, "CSV Injection").
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Final

from django.utils.translation import gettext as _

from mingbai.connectors.ledger_index import Hit, Query, Scope
from mingbai.contexts.audit import services as audit
from mingbai.contexts.messaging.queries.traffic import Shown, covers, search_page, shown_all, text_page
from mingbai.contexts.messaging.words import reason_label
from mingbai.contexts.people.policy import Action, Rights
from mingbai.kernel.clock import format_utc

FORMATS: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
MAX_S: Final = 60.0  # a browser waits no longer
# Half a minute of decrypting; a larger share of the ledger is read with `mingbai ledger query`.
MAX_ROWS: Final = 50_000
_AT_A_TIME = 1000
_IN_MEMORY = 8 << 20
COLUMNS = (
    "id", "time", "verdict", "category", "score", "text", "sender", "receiver", "access_code", "campaign", "rules",
    "reasons",
)  # fmt: skip
_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "＝",
    "＋",
    "－",
    "＠",
)  # full-width too: some programs read them alike


@dataclass(frozen=True, slots=True)
class Exported:
    """file: at its beginning; is_cut: there was more, in rows (MAX_ROWS) or in time."""

    file: IO[bytes]
    rows: int
    is_cut: bool


def export_messages(
    query: Query,
    who: tuple[bytes, ...],
    words: tuple[str, ...],
    *,
    scope: Scope,
    rights: Rights,
    kind: str,
    actor: str,
    asked: str,
    now: datetime,
) -> Exported:
    """Write what fits into a temporary file, newest first, and record that it was taken. asked: the search as its
    address says it (numbers stand in it as pseudonyms)."""
    file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - the answer closes it
    rows = 0
    is_cut = False
    if kind == "csv":
        file.write(b"\xef\xbb\xbf" + csv_line(COLUMNS))  # the mark lets Excel read UTF-8
    for hits, has_more in _pages(query, who, words, scope, rights):
        for one in shown_all(hits, rights):
            file.write(csv_line(tuple(_row(one).values())) if kind == "csv" else _json_line(_row(one)))
        rows += len(hits)
        is_cut = has_more
    if is_cut:
        file.write(_cut_line(kind, rows))
    file.seek(0)
    data = {"rows": rows, "is_cut": is_cut, "format": kind, "search": asked[:1000]}
    audit.append("messages.exported", actor=actor, data=data, now=now)
    return Exported(file, rows, is_cut)


def _pages(
    query: Query, who: tuple[bytes, ...], words: tuple[str, ...], scope: Scope, rights: Rights
) -> Iterator[tuple[tuple[Hit, ...], bool]]:
    """Hits, and whether there are more. Words are looked for only in texts that the person may read."""
    cursor: str | None = None
    rows = 0
    readable = rights.reach(Action.SEE_TEXT)
    deadline = time.monotonic() + MAX_S
    while rows < MAX_ROWS and time.monotonic() < deadline:
        most = min(_AT_A_TIME, MAX_ROWS - rows)
        if words:
            page = text_page(query, who, words, most, cursor, scope)
            found = [one.hit for one in page.found]
            hits = tuple(hit for hit in found if covers(readable, hit.access_code, hit.receiver))
            cursor = page.next_cursor
        else:
            hits, cursor, _is_cut = search_page(query, who, most, cursor, scope)
        rows += len(hits)
        yield hits, cursor is not None
        if cursor is None:
            return


def _cut_line(kind: str, rows: int) -> bytes:
    if kind == "csv":
        words = _("Cut after %(rows)s messages; older ones are left out.") % {"rows": rows}
        return csv_line((f"# {words}", *[""] * (len(COLUMNS) - 1)))
    return _json_line({"truncated": True, "rows": rows})


def _row(one: Shown) -> dict[str, Any]:  # Any: JSON values
    return {
        "id": str(one.id),
        "time": format_utc(one.at),
        "verdict": one.verdict.label,
        "category": one.category.label,
        "score": round(one.score, 4),
        "text": one.text,
        "sender": one.sender,
        "receiver": one.receiver,
        "access_code": one.access_code,
        "campaign": one.campaign,
        "rules": list(one.rules),
        "reasons": [reason_label(code) for code in one.reasons],
    }


def csv_line(values: tuple[object, ...]) -> bytes:
    """One line of CSV (RFC 4180) in UTF-8, safe to open in a spreadsheet."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([safe_cell(value) for value in values])
    return line.getvalue().encode()


def safe_cell(value: object) -> object:
    """Numbers as they are; a text that a spreadsheet would run, with an apostrophe before it."""
    if isinstance(value, int | float):
        return value
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _json_line(row: dict[str, Any]) -> bytes:  # Any: JSON values
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()
