"""Where in a TOML file each table, key and array element stands.

The standard library's tomllib gives values without positions, and an error in a rulebook of ten thousand lines is of no
use without its line. This module reads a text that tomllib has already accepted and returns line numbers only; it never
judges or converts a value. Grammar: TOML 1.0, https://toml.io/en/v1.0.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_PIECE = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?!")'  # multi-line basic string; up to two quotes may precede the closing three
    r"|'''.*?'''(?!')"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|\n|[\[\]{},=]"
    r"|[ \t\r]+"
    r"|[^\s\[\]{},=#\"']+"
    r"|.",
    re.DOTALL,
)


@dataclass(slots=True)
class KeyLines:
    """Line of a key and, if its value is an array, the line of each element."""

    line: int
    elements: list[int] = field(default_factory=list)


@dataclass(slots=True)
class TableLines:
    """A `[name]` or `[[name]]` header and the keys below it. What precedes the first header has name "" and line 1."""

    name: str
    line: int
    keys: dict[str, KeyLines] = field(default_factory=dict)


def table_lines(text: str) -> list[TableLines]:
    """Positions in a valid TOML text, in file order; lines count from 1.

    A name or key is given as written, without quotes and outer blanks; a dotted key stays dotted.
    """
    table = TableLines("", 1)
    tables = [table]
    line = 1
    pending: list[str] = []  # pieces of a header or key that is not complete yet
    value: KeyLines | None = None  # the key whose value is being read
    depth = 0
    expect_element = False
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece == "\n":
            line += 1
            if depth == 0:
                if value is None and pending and pending[0] == "[":
                    table = TableLines(_name(pending), line - 1)
                    tables.append(table)
                pending, value = [], None
            continue
        if piece[0] in " \t\r#":
            continue
        if value is None:
            if piece == "=":
                value = table.keys.setdefault(_name(pending), KeyLines(line))
                pending, depth, expect_element = [], 0, False
            else:
                pending.append(piece)
        else:
            if depth == 1 and expect_element and piece not in ",]":
                value.elements.append(line)
                expect_element = False
            if piece in "[{":
                depth += 1
                expect_element = depth == 1 and piece == "["
            elif piece in "]}":
                depth -= 1
            elif piece == "," and depth == 1:
                expect_element = True
        line += piece.count("\n")
    if value is None and pending and pending[0] == "[":
        tables.append(TableLines(_name(pending), line))
    return tables


def _name(pieces: list[str]) -> str:
    return "".join(piece.strip("\"'") for piece in pieces if piece not in ("[", "]"))
