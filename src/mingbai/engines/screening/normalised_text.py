"""A text column as the screen reads it, as UTF-8 again: for regexes that ask for the normalised text.

Only rulebooks with such a regex pay for it: every message is read a second time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mingbai.engines.screening.jit import kernel
from mingbai.engines.screening.reading import MAX_LETTERS, MAX_MARKS, Tables, decode, repair, tables

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


class NormalisedColumn(NamedTuple):
    """`data` and `offsets` as of an Arrow string column; letter i of row r stands at character
    `places[letters[r] + i]` of the original."""

    data: U8
    offsets: I64
    letters: I64
    places: I32

    def original(self, rows: I64, starts: I64, ends: I64) -> tuple[I64, I64]:
        """Spans of letters, one a row, not empty -> spans of the original text, in characters, end exclusive."""
        base = self.letters[rows]
        return self.places[base + starts].astype(np.int64), self.places[base + ends - 1].astype(np.int64) + 1


def normalised_column(data: U8, offsets: I32) -> NormalisedColumn:
    """Read every row of a string column (valid UTF-8 bytes and n + 1 offsets)."""
    rows = len(offsets) - 1
    room = int(offsets[-1] - offsets[0]) + 1  # a letter takes no fewer bytes than it is read as, save digits and Latin
    out: U8 = np.empty(3 * room, np.uint8)
    places: I32 = np.empty(room, np.int32)
    ends: I64 = np.zeros(rows + 1, np.int64)
    letters: I64 = np.zeros(rows + 1, np.int64)
    write_letters(data, offsets, tables(), out, ends, letters, places)
    return NormalisedColumn(out[: max(int(ends[-1]), 1)], ends, letters, places)


@kernel
def write_letters(data: U8, offsets: I32, tables: Tables, out: U8, ends: I64, letters: I64, places: I32) -> None:
    """Letters of each row into `out` as UTF-8 (of the BMP: three bytes at most), their places into `places`."""
    buf = np.empty(MAX_LETTERS + 8, np.uint16)
    pos = np.empty(MAX_LETTERS + 8, np.uint32)
    marks = np.empty(MAX_MARKS + 8, np.uint32)
    digits = np.empty(MAX_LETTERS + 8, np.uint16)
    at = 0
    count = 0
    for row in range(offsets.shape[0] - 1):
        n, m, d, flags, counts, _ = decode(
            data, offsets[row], offsets[row + 1], tables.alphabet, tables.counting, buf, pos, marks, digits
        )
        n, d = repair(
            buf, pos, n, marks, m, digits, d, flags, counts, tables.numerals, tables.split_keys, tables.split_wholes
        )
        for j in range(n):
            c = buf[j]
            if c >= 0xD800 and c < 0xE000:
                c = 0xFFFD  # no character, so no UTF-8 either
            if c < 0x80:
                out[at] = c
                at += 1
            elif c < 0x800:
                out[at] = 0xC0 | (c >> 6)
                out[at + 1] = 0x80 | (c & 0x3F)
                at += 2
            else:
                out[at] = 0xE0 | (c >> 12)
                out[at + 1] = 0x80 | ((c >> 6) & 0x3F)
                out[at + 2] = 0x80 | (c & 0x3F)
                at += 3
            places[count] = pos[j]
            count += 1
        ends[row + 1] = at
        letters[row + 1] = count
