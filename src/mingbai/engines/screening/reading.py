"""Reading one message: UTF-8 bytes -> letters. Compiled by numba; no Python object per message.

Theory of operation. A message is read in three steps, each a short loop over scratch arrays that stay in the L1 cache;
the third is the module `grams`.

1. `decode` turns bytes into *letters* (uint16 nids, see `alphabet`): dropped characters leave no letter but a *mark*
   event (what stands between two letters). It keeps each letter's character offset in the original text, so every
   later finding can be marked there.
2. `repair` undoes what needs neighbours: split characters (讠正), numerals in long runs (一三八零零), letters for
   digits in numbers (l38OO) and digits for letters in words (c4sh). Only messages whose flags ask for it pay.
3. `grams` hashes what the model looks at.

The hash constants are the odd 64-bit constants of xxHash and SplitMix.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mingbai.engines.screening import alphabet
from mingbai.engines.screening.jit import Number, inline, int64, kernel, uint32, uint64

MAX_LETTERS: Final = 2048  # a 16-part message; what follows is not read (reason `truncated`)
MAX_MARKS: Final = 2048
LANE: Final = 0xFFF  # a lane of `decode`'s packed counts

K1: Final = np.uint64(0x9E3779B97F4A7C15)
K2: Final = np.uint64(0xC2B2AE3D27D4EB4F)
K3: Final = np.uint64(0x165667B19E3779F9)
K4: Final = np.uint64(0xD6E8FEB86659FD93)
K5: Final = np.uint64(0xA24BAED4963EE407)
K6: Final = np.uint64(0x9FB21C651E98DF25)
K7: Final = np.uint64(0xD1B54A32D192ED03)
K8: Final = np.uint64(0x8CB92BA72F3D8DD7)

F_DIGIT: Final = np.uint32(alphabet.DIGIT)
F_LATIN: Final = np.uint32(alphabet.LATIN)
F_COMPONENT: Final = np.uint32(alphabet.COMPONENT)
F_INVISIBLE: Final = np.uint32(alphabet.INVISIBLE)
F_DOT: Final = np.uint32(alphabet.DOT)
F_SLASH: Final = np.uint32(alphabet.SLASH)
M_SPACE: Final = np.uint32(alphabet.Mark.SPACE)
M_STOP: Final = np.uint32(alphabet.Mark.STOP)
M_SLASH: Final = np.uint32(alphabet.Mark.SLASH_)
M_SIGN: Final = np.uint32(alphabet.Mark.SIGN)
M_COLON: Final = np.uint32(alphabet.Mark.COLON)

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]


class Tables(NamedTuple):
    """What reading needs, all read only. A named tuple, because numba takes it as one argument."""

    alphabet: U32
    counting: U64  # [32]: flag bits 20..24 -> what they add to the packed counts of `decode`
    sounds: U16
    pinyin: U16
    numerals: U16
    split_keys: U32
    split_wholes: U16


@cache
def tables() -> Tables:
    """The alphabet's tables, ready for the compiled functions."""
    counting = np.zeros(32, np.uint64)
    for flags in range(32):
        counting[flags] = sum((flags >> bit & 1) << 12 * bit for bit in range(5))
    counting.setflags(write=False)
    return Tables(
        alphabet.table(), counting, alphabet.sounds(), alphabet.pinyin_trie(), alphabet.numerals(), *alphabet.splits()
    )


@inline
def is_chinese(hanzi: Number, latin: Number) -> Number:
    """Which of the two models reads a message: the Chinese one as soon as a quarter of its letters are Chinese."""
    return hanzi * 3 >= latin and hanzi > 0


@inline
def decode(
    data: U8, start: Number, stop: Number, table: U32, counting: U64, buf: U16, pos: U32, marks: U32, digits: U16
) -> tuple[int, int, int, int, int, int]:
    """Read data[start:stop], valid UTF-8, into letters.

    Fills buf (letters), pos (character offset of each letter), marks (letter index << 16 | mark class) and digits
    (letter index of each digit). Returns (letters, marks, digits, flags or-ed over all characters, counts, characters
    read); counts holds lanes of 12 bits: digits, Latin, Chinese letters, rewritten characters, Chinese numerals.
    """
    i = uint64(start)
    end = uint64(stop)
    n = uint64(0)
    m = uint64(0)
    d = uint64(0)
    chars = uint32(0)
    flags = uint32(0)
    counts = uint64(0)
    low = uint32(0x3F)
    while i < end and n < uint64(MAX_LETTERS) and m < uint64(MAX_MARKS):
        c = uint32(data[i])
        if c >= uint32(0xE0) and c < uint32(0xF0):
            if i + uint64(2) >= end:
                break
            c = (
                ((c & uint32(0x0F)) << uint32(12))
                | ((uint32(data[i + uint64(1)]) & low) << uint32(6))
                | (uint32(data[i + uint64(2)]) & low)
            )
            i += uint64(3)
        elif c < uint32(0x80):
            i += uint64(1)
        elif c < uint32(0xE0):
            if i + uint64(1) >= end:
                break
            c = ((c & uint32(0x1F)) << uint32(6)) | (uint32(data[i + uint64(1)]) & low)
            i += uint64(2)
        else:
            if i + uint64(3) >= end:
                break
            c = (
                ((c & uint32(7)) << uint32(18))
                | ((uint32(data[i + uint64(1)]) & low) << uint32(12))
                | ((uint32(data[i + uint64(2)]) & low) << uint32(6))
                | (uint32(data[i + uint64(3)]) & low)
            )
            i += uint64(4)
            c = min(c, uint32(0x1FFFF))
        t = table[c]
        letter = t & uint32(0xFFFF)
        kind = (t >> uint32(16)) & uint32(15)
        flags |= t
        counts += counting[(t >> uint32(20)) & uint32(31)]
        buf[n] = letter
        pos[n] = chars
        marks[m] = (uint32(n) << uint32(16)) | kind
        digits[d] = n
        chars += uint32(1)
        n += uint64(letter != uint32(0))
        m += uint64(kind != uint32(0))
        d += uint64((t >> uint32(20)) & uint32(1))
    return int64(n), int64(m), int64(d), int64(flags), int64(counts), int64(chars)


@inline
def is_digit(c: Number) -> Number:
    return c >= 48 and c <= 57


@inline
def is_letter(c: Number) -> Number:
    return c >= 97 and c <= 122


@inline
def shrink(marks: U32, m: Number, at: Number) -> None:
    """A letter at index `at` was merged into its left neighbour: move the marks after it."""
    for k in range(m):
        if (marks[k] >> uint32(16)) > uint32(at):
            marks[k] -= uint32(0x10000)


@inline
def join_splits(buf: U16, pos: U32, n: Number, marks: U32, m: Number, keys: U32, wholes: U16) -> Number:
    """讠正 -> 证. Returns the new number of letters."""
    out = 0
    j = 0
    while j < n:
        c = buf[j]
        if j + 1 < n:
            key = (uint32(c) << uint32(16)) | uint32(buf[j + 1])
            k = np.searchsorted(keys, key)
            if k < keys.shape[0] and keys[k] == key:
                shrink(marks, m, out)
                buf[out] = wholes[k]
                pos[out] = pos[j]
                out += 1
                j += 2
                continue
        buf[out] = c
        pos[out] = pos[j]
        out += 1
        j += 1
    return out


@inline
def read_numerals(buf: U16, n: Number, numerals: U16) -> Number:
    """一三八零零... -> digits, in runs of five and more of which two are numerals. True if any changed."""
    changed = False
    j = 0
    while j < n:
        k = j
        han = 0
        while k < n and (is_digit(buf[k]) or numerals[buf[k]] != 0):
            if numerals[buf[k]] != 0:
                han += 1
            k += 1
        if k - j >= 5 and han >= 2:
            for q in range(j, k):
                if numerals[buf[q]] != 0:
                    buf[q] = numerals[buf[q]]
            changed = True
        j = k + 1 if k == j else k
    return changed


@inline
def digit_for(c: Number) -> Number:
    """Digit that a letter imitates, 0 for none."""
    if c == 111:  # o
        return 48
    if c == 108 or c == 105:  # l i
        return 49
    if c == 122:  # z
        return 50
    if c == 115:  # s
        return 53
    return 0


@inline
def letter_for(c: Number) -> Number:
    """Letter that a digit imitates."""
    if c == 48:
        return 111
    if c == 49:
        return 105
    if c == 50:
        return 122
    if c == 51:
        return 101
    if c == 52:
        return 97
    if c == 53:
        return 115
    if c == 54:
        return 103
    if c == 55:
        return 116
    if c == 56:
        return 98
    return 103


@inline
def undo_leet(buf: U16, n: Number, marks: U32, m: Number, digits: U16, d: Number) -> Number:
    """Letters and digits that stand in for each other inside one unbroken word. True if any changed.

    A number (seven long at least, three digits, and every letter imitates one): the letters become digits. Otherwise,
    with at least two letters and no fewer letters than digits, each run of at most two digits that follows a letter
    becomes letters.
    """
    changed = False
    k = 0
    done = 0
    for i in range(d):
        at = int64(digits[i])
        if at < done:
            continue
        before = at > 0 and is_letter(buf[at - 1])
        if not before and not (at + 1 < n and (is_letter(buf[at + 1]) or is_digit(buf[at + 1]))):
            continue
        while k < m and int64(marks[k] >> uint32(16)) <= at:
            k += 1
        start = at
        edge = int64(marks[k - 1] >> uint32(16)) if k > 0 else 0
        stop = int64(marks[k] >> uint32(16)) if k < m else n
        while start > edge and start > done and is_letter(buf[start - 1]):
            start -= 1
        e = at
        count = 0
        letters = at - start
        posing = 0
        for q in range(start, at):
            posing += int64(digit_for(buf[q]) != 0)
        while e < stop and (is_digit(buf[e]) or is_letter(buf[e])):
            if is_digit(buf[e]):
                count += 1
            else:
                letters += 1
                posing += int64(digit_for(buf[e]) != 0)
            e += 1
        done = max(e, at + 1)
        if letters == 0:
            continue
        if count >= 3 and count + letters >= 7 and posing == letters:
            for q in range(start, e):
                if is_letter(buf[q]):
                    buf[q] = digit_for(buf[q])
            changed = True
        elif letters >= 2 and count <= letters:
            q = at
            while q < e:
                if is_digit(buf[q]):
                    r = q
                    while r < e and is_digit(buf[r]):
                        r += 1
                    if r - q <= 2 and q > start:
                        for z in range(q, r):
                            buf[z] = letter_for(buf[z])
                        changed = True
                    q = r
                else:
                    q += 1
    return changed


@inline
def repair(
    buf: U16,
    pos: U32,
    n: Number,
    marks: U32,
    m: Number,
    digits: U16,
    d: Number,
    flags: Number,
    counts: Number,
    numerals: U16,
    split_keys: U32,
    split_wholes: U16,
) -> tuple[int, int]:
    """Step 2. Returns the new numbers of letters and of digits."""
    changed = False
    if flags & F_COMPONENT:
        n = join_splits(buf, pos, n, marks, m, split_keys, split_wholes)
        changed = True
    if (counts >> 48) & LANE >= 5:
        changed |= read_numerals(buf, n, numerals)
    if (flags & F_DIGIT) and (flags & F_LATIN):
        if changed:
            d = find_digits(buf, n, digits)
        changed |= undo_leet(buf, n, marks, m, digits, d)
    if changed:
        d = find_digits(buf, n, digits)
    return n, d


@inline
def find_digits(buf: U16, n: Number, digits: U16) -> Number:
    d = 0
    for j in range(n):
        digits[d] = j
        d += int64(is_digit(buf[j]))
    return d


@inline
def may_hold_url(buf: U16, n: Number, marks: U32, m: Number, flags: Number, latin: Number) -> Number:
    """Whether to look for a URL: a slash, or a stop (also 点, or the word "dot") with letters on both sides.

    Whatever else stands between the letters (brackets, spaces, invisible characters) has left no letter, so it does not
    matter here. Digits count when there are four groups of them, as in an address.
    """
    if latin >= 2 and flags & F_SLASH:
        return True
    groups = 0
    for k in range(m):
        kind = marks[k] & uint32(15)
        at = int64(marks[k] >> uint32(16))
        if at == 0 or at >= n:
            continue
        if kind == M_STOP:
            before = buf[at - 1]
            after = buf[at]
            if (is_letter(before) or is_digit(before)) and (is_letter(after) or is_digit(after)):
                groups += 1
                if is_letter(before) or is_letter(after) or groups >= 3:
                    return True
        elif kind == M_SPACE and at + 3 < n and buf[at] == 100 and buf[at + 1] == 111 and buf[at + 2] == 116:
            return True
    if latin >= 2 and flags & F_DOT:
        for j in range(1, n - 1):
            if buf[j] == 0x70B9 and is_letter(buf[j + 1]) and (is_letter(buf[j - 1]) or is_digit(buf[j - 1])):
                return True
    return False


@kernel
def letters_of(data: U8, tables: Tables) -> tuple[U16, U32]:
    """One text as it is read: its letters after repair, and the character offset of each in the original."""
    buf = np.empty(MAX_LETTERS + 8, np.uint16)
    pos = np.empty(MAX_LETTERS + 8, np.uint32)
    marks = np.empty(MAX_MARKS + 8, np.uint32)
    digits = np.empty(MAX_LETTERS + 8, np.uint16)
    n, m, d, flags, counts, _chars = decode(
        data, 0, data.shape[0], tables.alphabet, tables.counting, buf, pos, marks, digits
    )
    n, d = repair(
        buf, pos, n, marks, m, digits, d, flags, counts, tables.numerals, tables.split_keys, tables.split_wholes
    )
    return buf[:n].copy(), pos[:n].copy()


def normalised(text: str) -> tuple[str, list[int]]:
    """The text as the screen reads it, and for each of its letters the place in the original it stands at."""
    content = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
    letters, places = letters_of(content, tables())
    return "".join(map(chr, letters.tolist())), places.tolist()


def nids(text: str) -> list[int]:
    """The letters of a text as numbers, as keywords are matched on them."""
    return [ord(c) for c in normalised(text)[0]]
