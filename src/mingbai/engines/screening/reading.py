"""Reading one message: UTF-8 bytes -> letters, sounds, grams. Compiled by numba; no Python object per message.

Theory of operation. A message is read in three steps, each a short loop over scratch arrays that stay in the L1 cache:

1. `decode` turns bytes into *letters* (uint16 nids, see `alphabet`): dropped characters leave no letter but a *mark*
   event (what stands between two letters). It keeps each letter's character offset in the original text, so every
   later finding can be marked there.
2. `repair` undoes what needs neighbours: split characters (讠正), numerals in long runs (一三八零零), letters for
   digits in numbers (l38OO) and digits for letters in words (c4sh). Only messages whose flags ask for it pay.
3. `grams` hashes what the model looks at. Chinese: characters (1, 2), sounds (3), marks with their neighbours, number
   shapes. Others: letters (3, 5) across word boundaries, words (1, 2), number shapes. Digits count as one
   symbol; a number is known by its shape (length, 1xx mobile, 400, 106 ...) and never by its digits.

Sources: the design and its measurements follow the prototype "one pass over Arrow buffers"; hash constants are the
odd 64-bit constants of xxHash and SplitMix.
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
MAX_GRAMS: Final = 8 * MAX_LETTERS + 3 * MAX_MARKS  # 5 a letter, 3 a number, 3 a mark

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
F_HANZI: Final = np.uint32(alphabet.HANZI)
F_NUMERAL: Final = np.uint32(alphabet.NUMERAL)
F_COMPONENT: Final = np.uint32(alphabet.COMPONENT)
F_INVISIBLE: Final = np.uint32(alphabet.INVISIBLE)
F_DOT: Final = np.uint32(alphabet.DOT)
F_SLASH: Final = np.uint32(alphabet.SLASH)
M_SPACE: Final = np.uint32(alphabet.Mark.SPACE)
M_STOP: Final = np.uint32(alphabet.Mark.STOP)
M_SLASH: Final = np.uint32(alphabet.Mark.SLASH_)
M_SIGN: Final = np.uint32(alphabet.Mark.SIGN)
M_COLON: Final = np.uint32(alphabet.Mark.COLON)
EDGE: Final = np.uint64(0xFFFF)  # stands for "before the first letter" and "after the last"

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
def may_spell(buf: U16, n: int) -> Number:
    """Whether there is a Latin letter but x, which mostly masks digits: only then can pinyin be among the letters."""
    found = uint32(0)
    for j in range(uint64(n)):
        c = uint32(buf[j])
        found |= uint32(c - uint32(97) < uint32(26)) & uint32(c != uint32(120))
    return found != uint32(0)


@inline
def sound_out(buf: U16, n: Number, sounds: U16, trie: U16, out: U16, origin: U16) -> Number:
    """Letters -> sounds; pinyin between Chinese characters (加wei信) becomes the sound it spells.

    Fills out (sounds) and origin (letter index of each). Returns the number of sounds.
    """
    k = 0
    j = 0
    while j < n:
        c = buf[j]
        if is_letter(c):
            e = j
            while e < n and is_letter(buf[e]):
                e += 1
            # Whole runs only: all of it must be syllables, or it is a word, a name or a link.
            q = j
            first = k
            while q < e:
                state = 0
                best = 0
                best_end = q
                r = q
                while r < e:
                    state = trie[state, buf[r] - 97]
                    if state == 0:
                        break
                    r += 1
                    if trie[state, 26] != 0:
                        best = trie[state, 26]
                        best_end = r
                if best == 0 or (best_end - q < 2):
                    break
                out[k] = best
                origin[k] = q
                k += 1
                q = best_end
            if q < e or e - j > 12:
                k = first
                for r in range(j, e):
                    out[k] = buf[r]
                    origin[k] = r
                    k += 1
            j = e
        else:
            out[k] = sounds[c]
            origin[k] = j
            k += 1
            j += 1
    return k


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


@inline
def number_grams(buf: U16, n: Number, digits: U16, d: Number, grams: U64, owner: U32, owned: bool, g: Number) -> Number:
    """Shapes of numbers: kind and length, alone and with the letter on either side."""
    i = 0
    while i < d:
        j = int64(digits[i])
        e = j + 1
        i += 1
        while i < d and int64(digits[i]) == e:
            e += 1
            i += 1
        length = min(e - j, 15)
        first = buf[j]
        second = buf[j + 1] if j + 1 < e else 0
        kind = 0
        code = uint64(0)
        if length == 11 and first == 49 and second >= 51:
            kind = 1  # mobile number
        elif length >= 7 and (first == 52 or first == 56) and second == 48:
            kind = 2  # 400/800 hotline
        elif length >= 8 and first == 49 and second == 48 and buf[j + 2] == 54:
            kind = 3  # 106 access code
        elif length == 4 and ((first == 49 and second == 57) or (first == 50 and second == 48)):
            kind = 4  # a year
        elif length == 5 and ((first == 57 and second == 53) or (first == 49 and second <= 50)):
            kind = 5  # service number 955xx, 10xxx, 12xxx: public, so known by its digits
            for q in range(j, e):
                code = (code << uint64(8)) | uint64(buf[q])
        elif first == 48:
            kind = 6
        shape = (uint64(0xE1) << uint64(56)) | (uint64(kind) << uint64(40)) | (uint64(length) << uint64(32))
        before = uint64(buf[j - 1]) if j > 0 else EDGE
        after = uint64(buf[e]) if e < n else EDGE
        at = (uint32(j) << uint32(16)) | uint32(e)
        grams[g] = (shape ^ code) * K5
        grams[g + 1] = (shape | (uint64(1) << uint64(48)) | before) * K6
        grams[g + 2] = (shape | (uint64(2) << uint64(48)) | after) * K7
        if owned:
            owner[g] = at
            owner[g + 1] = at
            owner[g + 2] = at
        g += 3
    return g


@inline
def mark_grams(buf: U16, n: Number, marks: U32, m: Number, grams: U64, owner: U32, owned: bool, g: Number) -> Number:
    """What stands between two letters, with the letters."""
    for k in range(m):
        if k > 0 and marks[k] == marks[k - 1]:
            continue  # a run of equal marks (!!!, two spaces) counts once
        at = int64(marks[k] >> uint32(16))
        kind = uint64(marks[k] & uint32(15))
        before = uint64(buf[at - 1]) if at > 0 else EDGE
        after = uint64(buf[at]) if at < n else EDGE
        if before >= uint64(48) and before <= uint64(57):
            before = uint64(48)
        if after >= uint64(48) and after <= uint64(57):
            after = uint64(48)
        base = (uint64(0xE2) << uint64(56)) | (kind << uint64(32))
        span = (uint32(max(at - 1, 0)) << uint32(16)) | uint32(min(at + 1, n))
        grams[g] = (base | (before << uint64(16)) | after) * K5
        grams[g + 1] = (base | (uint64(1) << uint64(48)) | before) * K6
        grams[g + 2] = (base | (uint64(2) << uint64(48)) | after) * K7
        if owned:
            owner[g] = span
            owner[g + 1] = span
            owner[g + 2] = span
        g += 3
    return g


@inline
def gram_of_letter(c: Number, run: Number) -> Number:
    """c: a letter, digits as '0'; run: for x, how many in a row so far (a masked number is known by its length)."""
    return (c | (min(run, uint64(15)) << uint64(16)) | (uint64(1) << uint64(32))) * K1


@inline
def gram_of_pair(x: Number) -> Number:
    """x: two letters, 16 bits each."""
    return x * K2


@inline
def gram_of_sounds(y: Number) -> Number:
    """y: three sounds, 16 bits each."""
    return y * K4


@inline
def chinese_grams(
    buf: U16, n: Number, sounds: U16, spelled: bool, snd: U16, ns: Number, grams: U64, mins: U32
) -> Number:
    """Characters 1 and 2, sounds 3. Fills the fingerprint's minima.

    Measured and left out: sounds 2 and characters 3 (no gain in recall at 0.1 %, a look-up a letter each); single
    characters look redundant and are not (recall falls from 0.80 to 0.63 without them).
    spelled: `sound_out` has filled snd with ns sounds; otherwise each letter has its own.
    """
    g = uint64(0)
    x = uint64(0)
    run = uint64(0)  # of x: a masked number is known by its length
    for j in range(uint64(n)):
        c = uint64(buf[j])
        c = uint64(48) if c - uint64(48) < uint64(10) else c
        x = ((x << uint64(16)) | c) & uint64(0xFFFFFFFF)
        run = (run + uint64(1)) * uint64(c == uint64(120))
        grams[g] = gram_of_letter(c, run)
        grams[g + uint64(1)] = gram_of_pair(x)
        g += uint64(2)
    y = uint64(0)
    z = uint64(0)  # the same over Chinese characters alone: numbers and links change from copy to copy
    for j in range(uint64(ns)):
        sound = uint64(snd[j]) if spelled else uint64(sounds[buf[j]])
        y = ((y << uint64(16)) | sound) & uint64(0xFFFFFFFFFFFF)
        grams[g] = gram_of_sounds(y)
        g += uint64(1)
        spoken = sound >= uint64(alphabet.SOUND_BASE)
        z = ((z << uint64(16)) | sound) & uint64(0xFFFFFFFFFFFF) if spoken else z
        h = z * K4
        h ^= h >> uint64(29)
        h *= K2
        b = h >> uint64(60)
        v = uint32((h >> uint64(20)) & uint64(0xFFFFFFFF)) if spoken and z >> uint64(32) else uint32(0xFFFFFFFF)
        mins[b] = min(mins[b], v)
    return int64(g)


@inline
def find_links(n: Number, marks: U32, m: Number, linked: U16) -> None:
    """linked[j] = 1 for letters of a stretch without spaces that holds a slash or a stop: a link."""
    for j in range(n):
        linked[j] = 0
    start = int64(0)
    link = False
    k = 0
    while k <= m:
        at = int64(n) if k == m else int64(marks[k] >> uint32(16))
        ends = k == m
        joins = False
        while k < m and int64(marks[k] >> uint32(16)) == at:
            kind = marks[k] & uint32(15)
            if kind in (M_STOP, M_SLASH):
                joins = True
            elif kind != M_SIGN and kind != M_COLON:
                ends = True
            k += 1
        if ends or at >= n:
            if link:
                for j in range(start, at):
                    linked[j] = 1
            start = at
            link = False
        elif joins:
            link = True
        if at >= n:
            break


@inline
def latin_grams(
    buf: U16,
    n: Number,
    marks: U32,
    m: Number,
    links: bool,
    linked: U16,
    grams: U64,
    owner: U32,
    owned: bool,
    mins: U32,
) -> Number:
    """Letters 3 and 5 across word boundaries; words 1 and 2. Fills the fingerprint's minima.

    Measured and left out: letters 4 (cross-validated recall at 0.1 % is 0.809 without and 0.800 with).

    links: there may be a link, so leave what `find_links` finds (into linked) out of the fingerprint.
    """
    g = uint64(0)
    x = uint64(0)
    z = uint64(0)  # letters alone, for the fingerprint: numbers and links change from copy to copy
    if links:
        find_links(n, marks, m, linked)
    for j in range(uint64(n)):
        c = uint64(buf[j])
        c = uint64(48) if c - uint64(48) < uint64(10) else c
        c = (c ^ (c >> uint64(8))) & uint64(0xFF)
        x = ((x << uint64(8)) | c) & uint64(0xFFFFFFFFFF)
        grams[g] = ((x & uint64(0xFFFFFF)) | (uint64(5) << uint64(48))) * K1
        grams[g + uint64(1)] = (x | (uint64(7) << uint64(48))) * K4
        if owned:
            end = uint32(j + uint64(1))
            owner[g] = (uint32(j - min(j, uint64(2))) << uint32(16)) | end
            owner[g + uint64(1)] = (uint32(j - min(j, uint64(4))) << uint32(16)) | end
        g += uint64(2)
        spoken = c != uint64(48) and not (links and linked[j] != 0)
        z = ((z << uint64(8)) | c) & uint64(0xFFFFFFFFFF) if spoken else z
        h = z * K4
        h ^= h >> uint64(29)
        h *= K2
        b = h >> uint64(60)
        v = uint32((h >> uint64(20)) & uint64(0xFFFFFFFF)) if spoken and z >> uint64(32) else uint32(0xFFFFFFFF)
        mins[b] = min(mins[b], v)
    # Words: runs of letters between marks.
    before = uint64(0)
    before_at = uint64(0)
    w = uint64(0x51)
    at = uint64(0)
    for k in range(m + 1):
        stop = uint64(n) if k == m else uint64(marks[k] >> uint32(16))
        if stop == at:
            continue
        for q in range(at, stop):
            c = uint64(buf[q])
            c = uint64(48) if c - uint64(48) < uint64(10) else c
            w = (w ^ c) * K5
            w ^= w >> uint64(32)
        grams[g] = w * K6
        grams[g + uint64(1)] = (before ^ (w * K8)) * K7
        if owned:
            owner[g] = (uint32(at) << uint32(16)) | uint32(stop)
            owner[g + uint64(1)] = (uint32(before_at) << uint32(16)) | uint32(stop)
        g += uint64(2)
        before = w
        before_at = at
        at = stop
        w = uint64(0x51)
    return int64(g)


@kernel
def gram_rows(
    data: U8, offsets: npt.NDArray[np.int32], tables: Tables
) -> tuple[npt.NDArray[np.int64], U64, npt.NDArray[np.int32]]:
    """Training's view of a text column.

    Returns (row pointers int64[n + 1], gram hashes uint64[], per row int32[n, 7]: Chinese 1 or other 0, letters, marks,
    characters, Chinese letters, Latin letters, digits).
    """
    rows = offsets.shape[0] - 1
    buf = np.empty(MAX_LETTERS + 8, np.uint16)
    pos = np.empty(MAX_LETTERS + 8, np.uint32)
    marks = np.empty(MAX_MARKS + 8, np.uint32)
    digits = np.empty(MAX_LETTERS + 8, np.uint16)
    snd = np.empty(MAX_LETTERS + 8, np.uint16)
    origin = np.empty(MAX_LETTERS + 8, np.uint16)
    grams = np.empty(MAX_GRAMS + 64, np.uint64)
    owner = np.empty(MAX_GRAMS + 64, np.uint32)
    mins = np.empty(16, np.uint32)
    ptr = np.zeros(rows + 1, np.int64)
    info = np.zeros((rows, 7), np.int32)
    capacity = 1 << 20
    out = np.empty(capacity, np.uint64)
    total = 0
    for r in range(rows):
        n, m, d, flags, counts, chars = decode(
            data, offsets[r], offsets[r + 1], tables.alphabet, tables.counting, buf, pos, marks, digits
        )
        n, d = repair(
            buf, pos, n, marks, m, digits, d, flags, counts, tables.numerals, tables.split_keys, tables.split_wholes
        )
        latin = (counts >> 12) & LANE
        hanzi = (counts >> 24) & LANE
        if is_chinese(hanzi, latin):
            spelled = may_spell(buf, n)
            ns = sound_out(buf, n, tables.sounds, tables.pinyin, snd, origin) if spelled else n
            g = chinese_grams(buf, n, tables.sounds, spelled, snd, ns, grams, mins)
            g = mark_grams(buf, n, marks, m, grams, owner, False, g)
            info[r, 0] = 1
        else:
            g = latin_grams(buf, n, marks, m, False, origin, grams, owner, False, mins)
        g = number_grams(buf, n, digits, d, grams, owner, False, g)
        info[r, 1] = n
        info[r, 2] = m
        info[r, 3] = chars
        info[r, 4] = hanzi
        info[r, 5] = latin
        info[r, 6] = d
        if total + g > capacity:
            capacity = 2 * capacity + g
            bigger = np.empty(capacity, np.uint64)
            bigger[:total] = out[:total]
            out = bigger
        out[total : total + g] = grams[:g]
        total += g
        ptr[r + 1] = total
    return ptr, out[:total], info


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
