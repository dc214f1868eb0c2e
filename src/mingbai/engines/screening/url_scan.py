"""Finding runs of host characters in UTF-8 bytes: the compiled part of `urls`.

`url_candidate` is inlined into the screening kernel and says, in one look at a message's bytes, whether it may hold a
URL at all. `scan_rows` lists, for the rows that may, every run that looks like a host, with what stands around it.
Neither decides what is a host: that is `url_hosts.host_in`, in Python and cached.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit, uint8, uint64

from mingbai.engines.screening.url_hosts import suffixes

PLAIN = 1  # `url_candidate`: a URL may be written as it should be
HIDDEN = 2  # ... or with something else for a dot, spaces, full width, invisible characters

COLUMNS = 8
ROW, START, HOST_START, HOST_END, END, EVIDENCE, FIRST_CHAR, CHARS = range(COLUMNS)
"""Columns of the runs found. START to END are byte offsets into the buffer: START of the scheme if there is one, else
of the host; END of the path. FIRST_CHAR: characters of the row before START; CHARS: characters from START to END. After
a scheme, a run that goes on with letters of another script is listed twice, the shorter first."""

_SCHEME, _PATH, _CHINESE, _HIDDEN, _USERINFO = 1, 2, 4, 8, 16  # url_hosts.Evidence, as numba takes plain numbers only
RETRY = 64  # in EVIDENCE: the run goes on in full width or after something invisible, so the row must be read as HIDDEN
_FNV_OFFSET, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3  # FNV-1a, 64 bits

_ALNUM, _DOT, _SIGN, _LETTER_LEAD, _PATH_END, _TRAILING = 1, 2, 4, 8, 16, 32


def _byte_classes() -> npt.NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for c in b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        table[c] |= _ALNUM
    table[ord(".")] |= _DOT
    table[[ord("-"), ord("_")]] |= _SIGN
    table[0xC3:0xCA] |= _LETTER_LEAD  # first bytes of Latin letters with accents,
    table[0xCD:0xD4] |= _LETTER_LEAD  # of Greek and Cyrillic
    table[:0x21] |= _PATH_END
    table[0x7F:] |= _PATH_END
    for c in b'"<>`\\^{|}':
        table[c] |= _PATH_END
    for c in b".,;:!?)]'":
        table[c] |= _TRAILING  # belongs to the sentence, not to the path that it follows
    return table


def _marks() -> npt.NDArray[np.uint8]:
    """Bytes at which `url_candidate` looks closer: signs, and the last byte of what stands for them."""
    table = np.zeros(256, np.uint8)
    for c in b".:dD":
        table[c] = 1
    for sign in (
        "。",
        "｡",
        "．",
        "点",
        "點",
        "·",
        "：",
        "\u200b",
        "\u200c",
        "\u200d",
        "\u200e",
        "\u200f",
        "\u2060",
        "\ufeff",
        "\u00ad",
    ):
        table[sign.encode()[-1]] = 1
    return table


class ScanTables(NamedTuple):
    """Constant tables of the scanner, all read-only; one argument for numba."""

    classes: npt.NDArray[np.uint8]
    marks: npt.NDArray[np.uint8]
    suffixes: npt.NDArray[np.uint64]  # open-addressing set of FNV-1a hashes of the top-level domains


def _tables() -> ScanTables:
    known = np.zeros(4096, np.uint64)
    for suffix in suffixes().classes:
        h = _FNV_OFFSET
        for byte in suffix.encode():
            h = (h ^ byte) * _FNV_PRIME & 0xFFFFFFFFFFFFFFFF
        slot = h & 4095
        while known[slot]:
            slot = (slot + 1) & 4095
        known[slot] = h
    tables = ScanTables(_byte_classes(), _marks(), known)
    for array in tables:
        array.setflags(write=False)
    return tables


TABLES = _tables()


@njit(inline="always")
def _is_alnum(c):  # type: ignore[no-untyped-def]  # numba infers the types
    return (c >= 48 and c <= 57) or ((c | 32) >= 97 and (c | 32) <= 122)


@njit(cache=True, nogil=True)
def _left_kind(data, a, i, classes):  # type: ignore[no-untyped-def]  # numba infers the types
    """What ends just before byte i: 1 a letter or digit, 2 a full-width or other fancy one, 0 anything else."""
    if i <= a:
        return 0
    c = data[i - 1]
    if classes[c] & _ALNUM:
        return 1
    if c < 0x80 or i - 2 < a:
        return 0
    if classes[data[i - 2]] & _LETTER_LEAD:
        return 1
    if i - 3 >= a and data[i - 3] == 0xEF and (data[i - 2] == 0xBC or data[i - 2] == 0xBD):
        return 2
    if i - 3 >= a and data[i - 3] == 0xE2 and data[i - 2] >= 0x91 and data[i - 2] <= 0x93:
        return 2
    if i - 4 >= a and data[i - 4] == 0xF0 and (data[i - 3] == 0x9D or data[i - 3] == 0x9F):
        return 2
    return 0


@njit(cache=True, nogil=True)
def _right_kind(data, i, b, classes):  # type: ignore[no-untyped-def]  # numba infers the types
    """What begins at byte i, as `_left_kind`; 3 for an ASCII digit."""
    if i >= b:
        return 0
    c = data[i]
    if c >= 48 and c <= 57:
        return 3
    if classes[c] & (_ALNUM | _LETTER_LEAD):
        return 1
    if i + 2 < b and c == 0xEF and (data[i + 1] == 0xBC or data[i + 1] == 0xBD):
        return 2
    if i + 2 < b and c == 0xE2 and data[i + 1] >= 0x91 and data[i + 1] <= 0x93:
        return 2
    if i + 3 < b and c == 0xF0 and (data[i + 1] == 0x9D or data[i + 1] == 0x9F):
        return 2
    return 0


@njit(cache=True, nogil=True)
def _is_sure_suffix(data, i, b):  # type: ignore[no-untyped-def]  # numba infers the types
    """Whether the word at byte i is a suffix of class `sure`, or letters with spaces between (c o m)."""
    word = uint64(0)
    n = 0
    while i + n < b and n < 5 and _is_alnum(data[i + n]):
        word = (word << uint64(8)) | uint64(data[i + n] | 32)
        n += 1
    if n == 1 and i + 2 < b and data[i + 1] == 32 and _is_alnum(data[i + 2]):
        return True
    return (
        word == uint64(0x636F6D)  # com
        or word == uint64(0x636E)  # cn
        or word == uint64(0x78797A)  # xyz
        or word == uint64(0x696375)  # icu
        or word == uint64(0x63796F75)  # cyou
        or word == uint64(0x686B)  # hk
        or word == uint64(0x7477)  # tw
    )


@njit(cache=True, nogil=True)
def _closer_look(data, a, b, i, classes):  # type: ignore[no-untyped-def]  # numba infers the types
    """The flags for one mark at byte i, which may be the last byte of the sign."""
    c = data[i]
    if c == 58:  # ":"
        if i + 2 < b and data[i + 1] == 47 and data[i + 2] == 47:
            return PLAIN
        return HIDDEN if i + 3 < b and data[i + 1] == 0xEF and data[i + 2] == 0xBC and data[i + 3] == 0x8F else 0
    if c == 46:  # "."
        left = _left_kind(data, a, i, classes)
        right = _right_kind(data, i + 1, b, classes)
        if left and right:
            return HIDDEN if left == 2 or right == 2 else PLAIN
        if i > a and i + 1 < b and (data[i - 1] == 40 or data[i - 1] == 91 or data[i - 1] == 123):  # ( [ {
            return HIDDEN if data[i + 1] == 41 or data[i + 1] == 93 or data[i + 1] == 125 else 0
    elif c == 100 or c == 68:  # "dot"
        if i + 3 >= b or i - 1 < a or (data[i + 1] | 32) != 111 or (data[i + 2] | 32) != 116:
            return 0
        before, after = data[i - 1], data[i + 3]
        opened = before == 32 or before == 40 or before == 91 or before == 123
        closed = after == 32 or after == 41 or after == 93 or after == 125
        if not (opened and closed):
            return 0
    begin = i  # first byte of the sign
    end = i + 1
    invisible = False
    if c == 100 or c == 68:
        begin, end = i - 1, i + 4
    elif c >= 0x80:
        if i - 2 >= a and (
            (data[i - 2] == 0xE2 and (data[i - 1] == 0x80 or data[i - 1] == 0x81))
            or (data[i - 2] == 0xEF and data[i - 1] == 0xBB and c == 0xBF)
        ):
            begin, invisible = i - 2, True
        elif i - 1 >= a and data[i - 1] == 0xC2 and (c == 0xAD or c == 0xB7):
            begin, invisible = i - 1, c == 0xAD
        elif i - 2 >= a and data[i - 2] == 0xEF and data[i - 1] == 0xBC and c == 0x9A:  # ：
            slash = i + 1 < b and data[i + 1] == 47
            wide_slash = i + 3 < b and data[i + 1] == 0xEF and data[i + 2] == 0xBC and data[i + 3] == 0x8F
            return HIDDEN if slash or wide_slash else 0
        elif i - 2 >= a and (
            (data[i - 2] == 0xE3 and data[i - 1] == 0x80 and c == 0x82)  # 。
            or (data[i - 2] == 0xEF and data[i - 1] == 0xBD and c == 0xA1)  # ｡
            or (data[i - 2] == 0xEF and data[i - 1] == 0xBC and c == 0x8E)  # ．
            or (data[i - 2] == 0xE7 and data[i - 1] == 0x82 and c == 0xB9)  # 点
            or (data[i - 2] == 0xE9 and data[i - 1] == 0xBB and c == 0x9E)  # 點
        ):
            begin = i - 2
        else:
            return 0
    if invisible:
        left = begin > a and (data[begin - 1] == 46 or _left_kind(data, a, begin, classes) > 0)
        right = end < b and (data[end] == 46 or _right_kind(data, end, b, classes) > 0)
        return HIDDEN if left and right else 0
    while begin > a and (data[begin - 1] == 32 or data[begin - 1] == 40 or data[begin - 1] == 91):
        begin -= 1
    while end < b and (data[end] == 32 or data[end] == 41 or data[end] == 93):
        end += 1
    if _left_kind(data, a, begin, classes) == 0:
        return 0
    right = _right_kind(data, end, b, classes)
    if right == 0 or right == 3:
        return 0  # a digit behind: 3点30, 8. 2
    is_www = begin - 3 >= a and (data[begin - 1] | 32) == 119 and (data[begin - 2] | 32) == 119
    if c < 0x80 and not is_www and not _is_sure_suffix(data, end, b):
        return 0  # ". " and " dot " are ordinary English
    return HIDDEN


@njit(inline="always")
def url_candidate(data, a, b, tables):  # type: ignore[no-untyped-def]  # numba infers the types
    """PLAIN | HIDDEN if the UTF-8 text data[a:b] may hold a URL, 0 if it cannot.

    tables: `TABLES`. Costs one table look-up a byte, and a closer look at dots, colons and what stands for them.
    """
    flags = 0
    for i in range(uint64(a), uint64(b)):
        if tables.marks[data[i]]:
            flags |= _closer_look(data, a, b, np.int64(i), tables.classes)
    return flags


@njit(inline="always")
def _host_end(data, i, b, classes):  # type: ignore[no-untyped-def]  # numba infers the types
    """End of the run of host characters that begins at byte i."""
    while i < b:
        kind = classes[data[i]]
        if kind & (_ALNUM | _DOT | _SIGN):
            i += 1
        elif kind & _LETTER_LEAD and i + 1 < b:
            i += 2
        else:
            break
    return i


@njit(cache=True, nogil=True)
def _may_be_host(data, a, b, next_byte, suffixes):  # type: ignore[no-untyped-def]  # numba infers the types
    """Whether some label but the first is a known top-level domain, or the run is four numbers before a path."""
    h = uint64(_FNV_OFFSET)
    dots = 0
    numeric = True
    for i in range(a, b + 1):
        c = data[i] if i < b else uint8(46)
        if c == 46:
            if dots > 0 and h != uint64(_FNV_OFFSET):
                slot = h & uint64(4095)
                while suffixes[slot] != uint64(0):
                    if suffixes[slot] == h:
                        return True
                    slot = (slot + uint64(1)) & uint64(4095)
            dots += 1
            h = uint64(_FNV_OFFSET)
            continue
        if c >= 0x80:
            return True  # letters beyond ASCII: let Python look
        if c >= 65 and c <= 90:
            c |= 32
        if c > 57:
            numeric = False
        h = (h ^ uint64(c)) * uint64(_FNV_PRIME)
    return numeric and dots == 4 and (next_byte == 47 or next_byte == 58)


@njit(cache=True, nogil=True)
def _scheme_start(data, a, end):  # type: ignore[no-untyped-def]  # numba infers the types
    """Start of http, https, hxxp, hxxps or ftp that ends at `end`, or -1."""
    i = end - 1
    if i >= a and (data[i] | 32) == 115:
        i -= 1
    if i - 3 >= a and (data[i] | 32) == 112 and (data[i - 3] | 32) == 104:
        t1, t2 = data[i - 1] | 32, data[i - 2] | 32
        if (t1 == 116 and t2 == 116) or (t1 == 120 and t2 == 120):
            return i - 3
    if i - 2 >= a and (data[i] | 32) == 112 and (data[i - 1] | 32) == 116 and (data[i - 2] | 32) == 102:
        return i - 2
    return -1


@njit(cache=True, nogil=True)
def _is_cut(data, a, b, start, end, classes):  # type: ignore[no-untyped-def]  # numba infers the types
    """Whether a run with a dot in it has full-width, fancy or invisible characters right beside it."""
    if _left_kind(data, a, start, classes) != 2 and _right_kind(data, end, b, classes) != 2:
        if not (end + 2 < b and data[end] == 0xE2 and (data[end + 1] == 0x80 or data[end + 1] == 0x81)):
            return False
        if data[end + 1] == 0x80 and not (data[end + 2] >= 0x8B and data[end + 2] <= 0x8F):
            return False
    return np.any(data[start:end] == 46)


@njit(cache=True, nogil=True)
def _is_beside_chinese(data, a, b, start, stop):  # type: ignore[no-untyped-def]  # numba infers the types
    """Whether a character of a Chinese text, sign or letter, stands beside, perhaps behind one space."""
    left = start - 1
    if left > a and data[left] == 32:
        left -= 1
    right = stop + 1 if stop < b and data[stop] == 32 else stop
    return (left >= a and data[left] >= 0x80) or (right < b and data[right] >= 0xE3 and data[right] <= 0xEF)


@njit(cache=True, nogil=True)
def _scan(data, a, b, row, out, count, tables):  # type: ignore[no-untyped-def]  # numba infers the types
    """Runs of one row, appended to `out` from `count`; returns the new count, which may exceed the room."""
    classes = tables.classes
    i = a
    counted = a  # bytes before it are counted in `chars`
    chars = 0
    while i < b:
        if not classes[data[i]] & (_ALNUM | _LETTER_LEAD):
            i += 1
            continue
        start = i
        end = _host_end(data, i, b, classes)
        i = end
        host_start, wide_end = start, -1
        evidence = 0
        if end + 2 < b and data[end] == 58 and data[end + 1] == 47 and data[end + 2] == 47:
            scheme = _scheme_start(data, start, end)
            if scheme < 0:
                continue
            start = scheme
            evidence |= _SCHEME
            if data[scheme + 1] | 32 == 120:  # hxxp
                evidence |= _HIDDEN
            host_start = end + 3
            while host_start < b and data[host_start] == 47:
                host_start += 1
            j = host_start  # user:password@
            while j < b and not classes[data[j]] & _PATH_END and data[j] != 47 and data[j] != 63 and data[j] != 35:
                if data[j] == 64:
                    host_start = j + 1
                    evidence |= _USERINFO
                j += 1
            if host_start < b and data[host_start] == 91:  # [IPv6]
                end = host_start + 1
                while end < b and (_is_alnum(data[end]) or data[end] == 58 or data[end] == 46):
                    end += 1
                if end < b and data[end] == 93:
                    end += 1
            else:
                end = _host_end(data, host_start, b, classes)
                wide_end = end
                while wide_end < b and wide_end - host_start < 250:
                    if data[wide_end] < 0x80 and not classes[data[wide_end]] & (_ALNUM | _DOT | _SIGN):
                        break
                    wide_end += 1
                while wide_end < b and data[wide_end] & 0xC0 == 0x80:
                    wide_end += 1
        else:
            if host_start > a and data[host_start - 1] == 64:
                continue  # the domain of an e-mail address
            if end < b and data[end] == 64:
                continue  # and its local part
            if _is_cut(data, a, b, start, end, classes):
                evidence = RETRY
            while end > host_start and not classes[data[end - 1]] & _ALNUM and data[end - 1] < 0x80:
                end -= 1
            if evidence == 0 and not _may_be_host(
                data, host_start, end, data[end] if end < b else uint8(0), tables.suffixes
            ):
                continue
        for k in range(counted, start):
            chars += data[k] & 0xC0 != 0x80
        counted = start
        if wide_end <= end:
            i = max(i, _emit(data, a, b, row, start, host_start, end, evidence, chars, out, count, classes))
            count += 1
        else:
            if end > host_start:
                _emit(data, a, b, row, start, host_start, end, evidence, chars, out, count, classes)
                count += 1
            _emit(data, a, b, row, start, host_start, wide_end, evidence, chars, out, count, classes)
            count += 1
            i = max(i, end)
    return count


@njit(cache=True, nogil=True)
def _emit(data, a, b, row, start, host_start, end, evidence, chars, out, count, classes):  # type: ignore[no-untyped-def]
    """Store one run if there is room, with its path; returns where the path ends."""  # numba infers the types
    while end > host_start and data[end - 1] == 46:
        end -= 1
    stop = end
    if stop + 1 < b and data[stop] == 58 and data[stop + 1] >= 48 and data[stop + 1] <= 57:
        stop += 1
        while stop < b and data[stop] >= 48 and data[stop] <= 57:
            stop += 1
        evidence |= _PATH
    if stop < b and (data[stop] == 47 or data[stop] == 63 or data[stop] == 35):
        while stop < b and not classes[data[stop]] & _PATH_END:
            stop += 1
        evidence |= _PATH
        while stop > end + 1 and classes[data[stop - 1]] & _TRAILING:
            stop -= 1
    if _is_beside_chinese(data, a, b, start, stop):
        evidence |= _CHINESE
    if count < out.shape[0]:
        length = 0
        for k in range(start, stop):
            length += data[k] & 0xC0 != 0x80
        out[count, ROW] = row
        out[count, START] = start
        out[count, HOST_START] = host_start
        out[count, HOST_END] = end
        out[count, END] = stop
        out[count, EVIDENCE] = evidence
        out[count, FIRST_CHAR] = chars
        out[count, CHARS] = length
    return stop


@njit(cache=True, nogil=True)
def scan_rows(data, offsets, rows, kinds, out, tables):  # type: ignore[no-untyped-def]  # numba infers the types
    """Runs of the given rows, in order; rows whose kind (`url_candidate`) has HIDDEN are left out.

    data: uint8, offsets: int32 or int64 of an Arrow string array; out: int64[K, COLUMNS]. Returns how many runs there
    are, which may be more than K: then ask again with more room.
    """
    count = 0
    for k in range(rows.shape[0]):
        if kinds[k] & HIDDEN == 0:
            row = rows[k]
            count = _scan(data, np.int64(offsets[row]), np.int64(offsets[row + 1]), row, out, count, tables)
    return count


@njit(cache=True, nogil=True)
def candidate_kinds(data, offsets, rows, kinds, tables):  # type: ignore[no-untyped-def]  # numba infers the types
    """`url_candidate` of each row, into uint8 `kinds`."""
    for k in range(rows.shape[0]):
        row = rows[k]
        kinds[k] = url_candidate(data, np.int64(offsets[row]), np.int64(offsets[row + 1]), tables)
