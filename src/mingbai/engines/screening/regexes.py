"""Many regexes over many messages, by Hyperscan.

Messages are scanned in blocks of rows, because a call costs as much as a message. The rows of a block are copied one
after the other with a line feed between, and the patterns compiled so that `^` and `$` also match at line feeds: what
the block scan reports is at least every row in which a pattern matches, and perhaps more (a match across two rows,
or at a line feed inside a message). Every row reported is then scanned alone, with its own bytes and the pattern as
written, which also gives where the match begins. So rows never see each other, and a row without a match costs no
Python.

Patterns that could match in a row but not in the block are refused beforehand: `\\A`, `\\z`, `\\Z`, `\\G` and a
switched-off m flag (see `rulebook`). Hyperscan knows no look-around and no back-references, so nothing else can tell
the difference.
Source: Hyperscan Developer's Reference, "Compiling Patterns", https://intel.github.io/hyperscan/dev-reference/.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import hyperscan
import numpy as np
import numpy.typing as npt

from mingbai.engines.screening.jit import arithmetic

BLOCK_ROWS = 256
MAX_BYTES = 16384  # of a message that a regex reads, about what the kernel reads; bounds the matches in one row

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

_COMMON = hyperscan.HS_FLAG_UTF8  # not UCP, in which Hyperscan has no \b: \w, \d and \b are of ASCII


class Regex(NamedTuple):
    """A pattern in Hyperscan's dialect of PCRE; `case`: upper and lower case differ."""

    pattern: str
    case: bool


def refused(patterns: Sequence[Regex]) -> list[str]:
    """Hyperscan's own words about each pattern that it does not take, "" for those that it does."""
    if not patterns or not _refusal(tuple(patterns)):
        return [""] * len(patterns)
    return [_refusal((pattern,)) for pattern in patterns]


def _refusal(patterns: tuple[Regex, ...], flag: int = hyperscan.HS_FLAG_MULTILINE) -> str:
    try:
        _compiled(patterns, flag)
    except hyperscan.error as error:
        return str(error)
    return ""


# Compiling takes seconds, and most changes of a rulebook leave its regexes as they are: the sets of the rulebook in
# force, of the one before and of a draft stay compiled.
_KEPT: Final = 16


@lru_cache(_KEPT)
def _compiled(patterns: tuple[Regex, ...], flag: int, without: frozenset[int] = frozenset()) -> hyperscan.Database:
    """without: patterns that do not get the flag. Raises hyperscan.error."""
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[p.pattern.encode() for p in patterns],
        ids=list(range(len(patterns))),
        elements=len(patterns),
        flags=[
            _COMMON | (0 if i in without else flag) | (0 if p.case else hyperscan.HS_FLAG_CASELESS)
            for i, p in enumerate(patterns)
        ],
    )
    return database


@lru_cache(_KEPT)
def _startless(patterns: tuple[Regex, ...]) -> frozenset[int]:
    """Patterns, as with a gap of `.{0,40}`, that are too large for Hyperscan if it must say where a match begins."""
    start = hyperscan.HS_FLAG_SOM_LEFTMOST
    if not _refusal(patterns, start):
        return frozenset()
    return frozenset(i for i, p in enumerate(patterns) if _refusal((p,), start))


class RegexSet:
    """Compiled patterns; immutable, picklable, and safe to use from several threads at once."""

    def __init__(self, patterns: Sequence[Regex]) -> None:
        """Raises hyperscan.error for a pattern that `refused` would have named."""
        self.patterns = tuple(patterns)
        self._compile()

    def _compile(self) -> None:
        self._block = _compiled(self.patterns, hyperscan.HS_FLAG_MULTILINE)
        self._startless = _startless(self.patterns)
        self._row = _compiled(self.patterns, hyperscan.HS_FLAG_SOM_LEFTMOST, self._startless)
        self._local = threading.local()

    def __getstate__(self) -> tuple[tuple[Regex, ...], frozenset[int], bytes, bytes]:
        return self.patterns, self._startless, hyperscan.dumpb(self._block), hyperscan.dumpb(self._row)

    def __setstate__(self, state: tuple[tuple[Regex, ...], frozenset[int], bytes, bytes]) -> None:
        self.patterns, self._startless, block, row = state
        self._local = threading.local()
        try:
            self._block = hyperscan.loadb(block, hyperscan.HS_MODE_BLOCK)
            self._row = hyperscan.loadb(row, hyperscan.HS_MODE_BLOCK)
        except hyperscan.error:  # compiled by another release or for another processor
            self._compile()

    def _scratches(self) -> tuple[hyperscan.Scratch, hyperscan.Scratch]:
        """Hyperscan's working memory, which two scans must not share."""
        if not hasattr(self._local, "scratches"):
            self._local.scratches = hyperscan.Scratch(self._block), hyperscan.Scratch(self._row)
        scratches: tuple[hyperscan.Scratch, hyperscan.Scratch] = self._local.scratches
        return scratches

    def scan(self, data: U8, offsets: I32 | I64, rows: Sequence[int] | None = None) -> I64:
        """Where patterns match: int64[matches, 4] of (row, pattern, start, end), characters of the row, end exclusive.

        data, offsets: valid UTF-8 bytes and n + 1 offsets of an Arrow string column; rows: only these (None: all).
        Matches of one pattern that overlap are one. Ordered by row, then pattern, then start.
        """
        found: list[tuple[int, int, int, int]] = []
        for row in self._candidates(data, offsets) if rows is None else rows:
            content = data[offsets[row] : min(offsets[row + 1], offsets[row] + MAX_BYTES)].tobytes()
            if len(content) == MAX_BYTES:
                content = content.decode("utf-8", "ignore").encode()
            matches = self._scan_row(content)
            for pattern in {m[0] for m in matches} & self._startless:
                end = min(m[2] for m in matches if m[0] == pattern)
                matches = [m for m in matches if m[0] != pattern]
                matches.append((pattern, self._start(pattern, content[:end]), end))
            found += [(row, *span) for span in _merged(matches, content)]
        return np.array(found, np.int64).reshape(-1, 4)

    def _scan_row(self, content: bytes) -> list[tuple[int, int, int]]:
        """(pattern, start, end) of every match in a message, in bytes; start is 0 for `_startless` patterns."""
        matches: list[tuple[int, int, int]] = []

        def on_match(pattern: int, start: int, end: int, flags: int, context: object) -> None:
            matches.append((pattern, start, end))

        self._row.scan(content, on_match, scratch=self._scratches()[1])
        return matches

    def _start(self, pattern: int, content: bytes) -> int:
        """Where the shortest match of the pattern that ends with the content begins: by halving, in bytes."""
        borders = [i for i, byte in enumerate(content) if byte & 0xC0 != 0x80]
        low, high = 0, len(borders) - 1  # it matches from borders[low] on
        while low < high:
            middle = (low + high + 1) // 2
            tail = content[borders[middle] :]
            if any(m[0] == pattern and m[2] == len(tail) for m in self._scan_row(tail)):
                low = middle
            else:
                high = middle - 1
        return borders[low]

    def _candidates(self, data: U8, offsets: I32 | I64) -> list[int]:
        """Rows in which something may match, ascending."""
        scratch, _ = self._scratches()
        ends: list[int] = []

        def on_match(pattern: int, start: int, end: int, flags: int, context: object) -> None:
            ends.append(end)

        rows: set[int] = set()
        count = len(offsets) - 1
        starts: I64 = np.empty(BLOCK_ROWS, np.int64)
        for first in range(0, count, BLOCK_ROWS):
            last = min(first + BLOCK_ROWS, count)
            block: U8 = np.empty(int(offsets[last] - offsets[first]) + last - first, np.uint8)
            used = join_rows(data, offsets, first, last, block, starts)
            ends.clear()
            # One line feed more: at the very end of 17 bytes Hyperscan misses `b$` (found by the test that compares).
            self._block.scan(block[:used].tobytes() + b"\n", on_match, scratch=scratch)
            if ends:
                inside = np.searchsorted(starts[: last - first], np.unique(np.array(ends, np.int64)) - 1, "right") - 1
                rows.update((inside + first).tolist())
        return sorted(rows)


@arithmetic
def join_rows(data: U8, offsets: I32 | I64, first: int, last: int, block: U8, starts: I64) -> int:
    """Copy rows first..last into `block`, each cut to MAX_BYTES and followed by a line feed; returns the bytes written.

    starts: where each begins.
    """
    at = 0
    for row in range(first, last):
        starts[row - first] = at
        begin = offsets[row]
        end = min(offsets[row + 1], begin + MAX_BYTES)
        while end > begin and end < offsets[row + 1] and data[end] & 0xC0 == 0x80:
            end -= 1
        for i in range(begin, end):
            block[at] = data[i]
            at += 1
        block[at] = 10
        at += 1
    return at


def _merged(matches: list[tuple[int, int, int]], content: bytes) -> list[tuple[int, int, int]]:
    """Overlapping matches of a pattern made one, byte offsets turned into characters."""
    spans: list[list[int]] = []
    for pattern, start, end in sorted(matches):
        if spans and spans[-1][0] == pattern and start < spans[-1][2]:
            spans[-1][2] = max(spans[-1][2], end)
        else:
            spans.append([pattern, start, end])
    return [(p, len(content[:start].decode()), len(content[:end].decode())) for p, start, end in spans]
