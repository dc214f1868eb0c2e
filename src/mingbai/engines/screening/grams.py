"""Grams: what the model looks at in a message, hashed. Step 3 of reading (see `reading`), compiled by numba.

Chinese: characters (1, 2), sounds (3), marks with their neighbours, number shapes. Others: letters (3, 5) across word
boundaries, words (1, 2), number shapes. Digits count as one symbol; a number is known by its shape (length, 1xx mobile,
400, 106 ...) and never by its digits. `reference` has the same in plain Python.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from mingbai.engines.screening import alphabet
from mingbai.engines.screening.jit import Number, inline, int64, kernel, uint32, uint64
from mingbai.engines.screening.reading import (
    K1,
    K2,
    K4,
    K5,
    K6,
    K7,
    K8,
    LANE,
    M_COLON,
    M_SIGN,
    M_SLASH,
    M_STOP,
    MAX_LETTERS,
    MAX_MARKS,
    U8,
    U16,
    U32,
    U64,
    Tables,
    decode,
    is_chinese,
    is_letter,
    repair,
)

MAX_GRAMS: Final = 8 * MAX_LETTERS + 3 * MAX_MARKS  # 5 a letter, 3 a number, 3 a mark
EDGE: Final = np.uint64(0xFFFF)  # stands for "before the first letter" and "after the last"


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
def number_grams(buf: U16, n: Number, digits: U16, d: Number, grams: U64, owner: U32, g: Number) -> Number:
    """Shapes of numbers: kind and length, alone and with the letter on either side. owner: see `latin_grams`."""
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
        wider = (uint32(max(j - 1, 0)) << uint32(16)) | uint32(e)
        grams[g] = (shape ^ code) * K5
        grams[g + 1] = (shape | (uint64(1) << uint64(48)) | before) * K6
        grams[g + 2] = (shape | (uint64(2) << uint64(48)) | after) * K7
        owner[g] = at
        owner[g + 1] = wider
        owner[g + 2] = (uint32(j) << uint32(16)) | uint32(min(e + 1, n))
        g += 3
    return g


@inline
def mark_grams(buf: U16, n: Number, marks: U32, m: Number, grams: U64, owner: U32, g: Number) -> Number:
    """What stands between two letters, with the letters. owner: see `latin_grams`."""
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
        left = uint32(max(at - 1, 0))
        right = uint32(min(at + 1, n))
        grams[g] = (base | (before << uint64(16)) | after) * K5
        grams[g + 1] = (base | (uint64(1) << uint64(48)) | before) * K6
        grams[g + 2] = (base | (uint64(2) << uint64(48)) | after) * K7
        owner[g] = (left << uint32(16)) | right
        owner[g + 1] = (left << uint32(16)) | (left + uint32(1))
        owner[g + 2] = ((right - uint32(1)) << uint32(16)) | right
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
def gram_of_three(x: Number) -> Number:
    """x: letters, 8 bits each, the last three count."""
    return ((x & uint64(0xFFFFFF)) | (uint64(5) << uint64(48))) * K1


@inline
def gram_of_five(x: Number) -> Number:
    """x: letters, 8 bits each, the last five count."""
    return ((x & uint64(0xFFFFFFFFFF)) | (uint64(7) << uint64(48))) * K4


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
        h = z * K4  # high bits of a product mix all the lower ones: no second round is needed
        b = h >> uint64(60)
        v = uint32((h >> uint64(28)) & uint64(0xFFFFFFFF)) if spoken and z >> uint64(32) else uint32(0xFFFFFFFF)
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
    windows: U64,
    grams: U64,
    owner: U32,
    mins: U32,
) -> Number:
    """Letters 3 and 5 across word boundaries; words 1 and 2. Fills the fingerprint's minima.

    Measured and left out: letters 4 (cross-validated recall at 0.1 % is 0.809 without and 0.800 with).

    links: there may be a link, so leave what `find_links` finds (into linked) out of the fingerprint. windows: filled
    with the eight letters up to each. owner: filled for the grams of words with the letters they cover, first << 16 |
    end; grams of letters stand two a letter, so theirs are known.
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
        x = (x << uint64(8)) | c
        windows[j] = x
        grams[g] = gram_of_three(x)
        grams[g + uint64(1)] = gram_of_five(x)
        g += uint64(2)
        spoken = c != uint64(48) and not (links and linked[j] != 0)
        z = ((z << uint64(8)) | c) & uint64(0xFFFFFFFFFF) if spoken else z
        h = z * K4
        b = h >> uint64(60)
        v = uint32((h >> uint64(28)) & uint64(0xFFFFFFFF)) if spoken and z >> uint64(32) else uint32(0xFFFFFFFF)
        mins[b] = min(mins[b], v)
    # Words: runs of letters between marks.
    before = uint64(0)
    before_at = uint64(0)
    at = uint64(0)
    for k in range(m + 1):
        stop = uint64(n) if k == m else uint64(marks[k] >> uint32(16))
        if stop == at:
            continue
        w = word_hash(windows, at, stop)
        grams[g] = w * K6
        grams[g + uint64(1)] = (before ^ (w * K8)) * K7
        owner[g] = (uint32(at) << uint32(16)) | uint32(stop)
        owner[g + uint64(1)] = (uint32(before_at) << uint32(16)) | uint32(stop)
        g += uint64(2)
        before = w
        before_at = at
        at = stop
    return int64(g)


@inline
def word_hash(windows: U64, at: Number, stop: Number) -> Number:
    """Hash of a word by its length and its last sixteen letters, from the windows: no letter is read again."""
    size = stop - at
    w = windows[stop - uint64(1)]
    if size < uint64(8):
        w &= (uint64(1) << (uint64(8) * size)) - uint64(1)
    elif size > uint64(8):
        head = windows[stop - uint64(9)]
        if size < uint64(16):
            head &= (uint64(1) << (uint64(8) * (size - uint64(8)))) - uint64(1)
        w ^= head * K8
    w = (w ^ (size << uint64(56))) * K5
    return w ^ (w >> uint64(32))


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
    windows = np.empty(MAX_LETTERS + 8, np.uint64)
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
            g = mark_grams(buf, n, marks, m, grams, owner, g)
            info[r, 0] = 1
        else:
            g = latin_grams(buf, n, marks, m, False, origin, windows, grams, owner, mins)
        g = number_grams(buf, n, digits, d, grams, owner, g)
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
