"""Finding runs of host characters in UTF-8 bytes: the compiled part of `urls`.

`url_candidate` is inlined into the screening kernel and says, in one look at a message's bytes, whether it may hold a
URL at all. `scan_rows` lists, for the rows that may, every run that looks like a host, with what stands around it.
Neither decides what is a host: that is `url_hosts.host_in`, in Python and cached.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mingbai.engines.screening.jit import arithmetic, inline, int64, outline, uint64
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

_ALNUM, _DOT, _SIGN, _LETTER_LEAD, _PATH_END, _TRAILING, _LOOK, _SURE_FIRST = 1, 2, 4, 8, 16, 32, 64, 128


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
    for c in b".:dD":
        table[c] |= _LOOK  # may begin what makes a URL of a name before it
    for c in b" cxihtCXIHT":
        table[c] |= _SURE_FIRST  # may begin a top-level domain of class `sure`, or go on after more spaces
    return table


U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


class ScanTables(NamedTuple):
    """Constant tables of the scanner, all read-only; one argument for numba."""

    classes: U8
    suffixes: U64  # open-addressing set of FNV-1a hashes of the top-level domains


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
    tables = ScanTables(_byte_classes(), known)
    for array in tables:
        array.setflags(write=False)
    return tables


TABLES = _tables()


@inline
def _is_alnum(c: int) -> bool:
    return bool((c >= 48 and c <= 57) or ((c | 32) >= 97 and (c | 32) <= 122))


@inline
def _is_fancy(data: U8, i: int) -> bool:
    """Whether the three bytes from i on are a full-width letter or digit, or an enclosed one (① ⓐ)."""
    c, d, e = data[i], data[i + 1], data[i + 2]
    if c == 0xEF:
        letter = (e >= 0x90 and e <= 0x99) or (e >= 0xA1 and e <= 0xBA)
        return bool((d == 0xBC and letter) or (d == 0xBD and e >= 0x81 and e <= 0x9A))
    return bool(c == 0xE2 and d >= 0x91 and d <= 0x93)


@inline
def _left_kind(data: U8, a: int, i: int, classes: U8) -> int:
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
    if i - 3 >= a and _is_fancy(data, i - 3):
        return 2
    is_styled = i - 4 >= a and data[i - 4] == 0xF0 and (data[i - 3] == 0x9D or data[i - 3] == 0x9F)
    return 2 if is_styled else 0


@inline
def _right_kind(data: U8, i: int, b: int, classes: U8) -> int:
    """What begins at byte i, as `_left_kind`; 3 for an ASCII digit."""
    if i >= b:
        return 0
    c = data[i]
    if c >= 48 and c <= 57:
        return 3
    if classes[c] & (_ALNUM | _LETTER_LEAD):
        return 1
    if i + 2 < b and _is_fancy(data, i):
        return 2
    return 2 if i + 3 < b and c == 0xF0 and (data[i + 1] == 0x9D or data[i + 1] == 0x9F) else 0


@outline
def _is_sure_suffix(data: U8, i: int, b: int) -> bool:
    """Whether the word at byte i is a top-level domain of class `sure`."""
    word = uint64(0)
    n = 0
    while i + n < b and n < 5 and _is_alnum(data[i + n]):
        word = (word << uint64(8)) | uint64(data[i + n] | 32)
        n += 1
    return bool(
        word == uint64(0x636F6D)  # com
        or word == uint64(0x636E)  # cn
        or word == uint64(0x78797A)  # xyz
        or word == uint64(0x696375)  # icu
        or word == uint64(0x63796F75)  # cyou
        or word == uint64(0x686B)  # hk
        or word == uint64(0x7477)  # tw
    )


@inline
def _skip_spaces(data: U8, i: int, b: int) -> int:
    while i < b and data[i] == 32:
        i += 1
    return i


@inline
def _invisible_length(data: U8, i: int, b: int) -> int:
    """Bytes of an invisible character at byte i (zero width, direction marks, soft hyphen), 0 if there is none."""
    if i + 2 < b and data[i] == 0xE2:
        if data[i + 1] == 0x80:
            last = data[i + 2]
            return 3 if (last >= 0x8B and last <= 0x8F) or (last >= 0xAA and last <= 0xAE) else 0
        return 3 if data[i + 1] == 0x81 and data[i + 2] >= 0xA0 and data[i + 2] <= 0xAF else 0
    if i + 2 < b and data[i] == 0xEF:
        return 3 if data[i + 1] == 0xBB and data[i + 2] == 0xBF else 0
    return 2 if i + 1 < b and data[i] == 0xC2 and data[i + 1] == 0xAD else 0


@inline
def _sign_length(data: U8, i: int, b: int) -> int:
    """Bytes of a sign at byte i that stands for a dot (。｡．点點·), 0 if there is none."""
    if i + 1 < b and data[i] == 0xC2 and data[i + 1] == 0xB7:
        return 2
    if i + 2 >= b:
        return 0
    c, d, e = data[i], data[i + 1], data[i + 2]
    is_sign = (
        (c == 0xE3 and d == 0x80 and e == 0x82)
        or (c == 0xEF and d == 0xBD and e == 0xA1)
        or (c == 0xEF and d == 0xBC and e == 0x8E)
        or (c == 0xE7 and d == 0x82 and e == 0xB9)
        or (c == 0xE9 and d == 0xBB and e == 0x9E)
    )
    return 3 if is_sign else 0


@inline
def _is_dot_word(data: U8, i: int, b: int) -> bool:
    return bool(i + 2 < b and data[i] | 32 == 100 and data[i + 1] | 32 == 111 and data[i + 2] | 32 == 116)


@outline
def _behind_name(data: U8, a: int, b: int, end: int, classes: U8) -> int:
    """PLAIN or HIDDEN if what stands behind a name that ends at byte `end` makes it look like a URL, else 0."""
    left = _left_kind(data, a, end, classes)
    c = data[end]
    if c == 46 and end + 1 < b:
        right = _right_kind(data, end + 1, b, classes)
        if right:
            return HIDDEN if left == 2 or right == 2 else PLAIN
    if c == 58 and end + 2 < b and data[end + 1] == 47 and data[end + 2] == 47:
        return PLAIN
    if (c == 58 or (c == 0xEF and end + 2 < b and data[end + 1] == 0xBC and data[end + 2] == 0x9A)) and end + 3 < b:
        i = end + 1 if c == 58 else end + 3  # : or ：
        wide_slash = i + 2 < b and data[i] == 0xEF and data[i + 1] == 0xBC and data[i + 2] == 0x8F
        return HIDDEN if wide_slash or (c != 58 and data[i] == 47) else 0
    hop = _invisible_length(data, end, b)
    if hop:
        return HIDDEN if _right_kind(data, end + hop, b, classes) or (end + hop < b and data[end + hop] == 46) else 0
    i = _skip_spaces(data, end, b)
    if i >= b:
        return 0
    spaced = i > end
    bracket = data[i] == 40 or data[i] == 91 or data[i] == 123  # ( [ {
    if bracket:
        i = _skip_spaces(data, i + 1, b)
    hop = 0
    faint = False  # a sign that honest English has too
    if i < b and data[i] == 46:
        hop, faint = 1, not bracket
    elif i < b and (spaced or bracket) and _is_dot_word(data, i, b):
        hop, faint = 3, not bracket
    elif i < b:
        hop = _sign_length(data, i, b)
    if hop == 0:
        return 0
    i += hop
    j = _skip_spaces(data, i, b)
    if bracket:
        if j >= b or not (data[j] == 41 or data[j] == 93 or data[j] == 125):
            return 0
        j = _skip_spaces(data, j + 1, b)
    if hop == 3 and faint and j == i:
        return 0  # a word that begins with "dot"
    right = _right_kind(data, j, b, classes)
    if hop == 1 and faint and _invisible_length(data, i, b):
        return HIDDEN
    if right == 0 or right == 3:
        return 0  # a digit behind: 3点30, 8. 2
    if faint:
        is_www = end - 2 >= a and data[end - 1] | 32 == 119 and data[end - 2] | 32 == 119
        # w w w . c o m
        lone = spaced and j > i and (end - 2 < a or data[end - 2] == 32) and j + 1 < b and data[j + 1] == 32
        if not is_www and not lone and not _is_sure_suffix(data, j, b):
            return 0
    return HIDDEN


@outline
def _before_sign(data: U8, a: int, b: int, i: int, classes: U8) -> int:
    """As `_behind_name`, for a sign at byte i that may stand behind a name, perhaps after spaces and a bracket."""
    while i > a and (data[i - 1] == 32 or data[i - 1] == 40 or data[i - 1] == 91 or data[i - 1] == 123):
        i -= 1
    return _behind_name(data, a, b, i, classes) if _left_kind(data, a, i, classes) else 0


@inline
def _at_sign(data: U8, a: int, b: int, i: int, classes: U8) -> int:
    """PLAIN or HIDDEN if the dot, colon or d at byte i belongs to a URL, else 0."""
    c = data[i]
    d = data[i + 1] if i + 1 < b else 32
    if c == 46:
        before = data[i - 1] if i > a else 32
        if classes[before] & _ALNUM:
            if classes[d] & _ALNUM:
                return PLAIN
            if d == 32 and before | 32 != 119 and not (i + 2 < b and classes[data[i + 2]] & _SURE_FIRST):
                return 0  # the end of a sentence
    elif c | 32 == 100 and d | 32 != 111:
        return 0
    return _before_sign(data, a, b, i, classes)


@inline
def url_candidate(data: U8, a: int, b: int, tables: ScanTables) -> int:
    """PLAIN | HIDDEN if the UTF-8 text data[a:b] may hold a URL, 0 if it cannot.

    tables: `TABLES`. Goes from character to character and looks closer at dots, colons and "dot", and where Latin
    letters or digits end and another script begins. A caller that counts letters can leave out a text without any
    Latin letter, however it is written: no URL is without one but an address in digits, which needs a port or path.
    """
    classes = tables.classes
    flags = 0
    i = a
    was_ascii = False
    while i < b:
        c = data[i]
        if c < 0x80:
            was_ascii = True
            if classes[c] & _LOOK:
                flags |= _at_sign(data, a, b, i, classes)
            i += 1
            continue
        if was_ascii and (c == 0xEF or _sign_length(data, i, b) or _invisible_length(data, i, b)):
            flags |= _before_sign(data, a, b, i, classes)
        was_ascii = False
        i += 3 if c >= 0xE0 and c < 0xF0 else 2 if c < 0xE0 else 4
        if c >= 0xE3 and c < 0xEF:
            continue  # nearly all of Chinese
        if i < b and _left_kind(data, a, i, classes):
            was_ascii = True  # a fancy letter counts as one
            flags |= _behind_name(data, a, b, i, classes)
    return flags


@inline
def _host_end(data: U8, i: int, b: int, classes: U8) -> int:
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


@outline
def _may_be_host(data: U8, a: int, b: int, next_byte: int, known: U64) -> bool:
    """Whether some label but the first is a known top-level domain, or the run is four numbers before a path."""
    h = uint64(_FNV_OFFSET)
    dots = 0
    numeric = True
    for i in range(a, b + 1):
        c = data[i] if i < b else 46
        if c == 46:
            if dots > 0 and h != uint64(_FNV_OFFSET):
                slot = h & uint64(4095)
                while known[slot] != uint64(0):
                    if known[slot] == h:
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


@outline
def _scheme_start(data: U8, a: int, end: int) -> int:
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


@outline
def _is_cut(data: U8, a: int, b: int, start: int, end: int, classes: U8) -> bool:
    """Whether a run with a dot in it has full-width, fancy or invisible characters right beside it."""
    fancy = _left_kind(data, a, start, classes) == 2 or _right_kind(data, end, b, classes) == 2
    if not fancy and _invisible_length(data, end, b) == 0:
        return False
    dots = 0
    for i in range(start, end):
        dots += data[i] == 46
    return dots > 0


@outline
def _is_beside_chinese(data: U8, a: int, b: int, start: int, stop: int) -> bool:
    """Whether a character of a Chinese text, sign or letter, stands beside, perhaps behind one space."""
    left = start - 1
    if left > a and data[left] == 32:
        left -= 1
    right = stop + 1 if stop < b and data[stop] == 32 else stop
    return (left >= a and data[left] >= 0x80) or (right < b and data[right] >= 0xE3 and data[right] <= 0xEF)


@inline
def _next_sign(data: U8, i: int, b: int) -> int:
    """Place of the next byte that can make more of a word: a dot, a colon, a letter beyond ASCII; b if there is none.

    Blocks of 16 bytes are compared as one vector; indexes are unsigned, or numba would check each for being negative.
    """
    k, end = uint64(i), uint64(b)
    while k + uint64(16) <= end:
        found = False
        for j in range(uint64(16)):
            c = data[k + j]
            found |= (c == 46) | (c == 58) | ((c >= 0xC3) & (c <= 0xD3))
        if found:
            break
        k += uint64(16)
    while k < end:
        c = data[k]
        if (c == 46) | (c == 58) | ((c >= 0xC3) & (c <= 0xD3)):
            break
        k += uint64(1)
    return int(int64(k))


@inline
def _count_chars(data: U8, a: int, b: int) -> int:
    count = 0
    for k in range(uint64(a), uint64(b)):  # unsigned, see `_next_sign`
        count += data[k] & 0xC0 != 0x80
    return count


@outline
def _scan(data: U8, a: int, b: int, row: int, out: I64, count: int, tables: ScanTables) -> int:
    """Runs of one row, appended to `out` from `count`; returns the new count, which may exceed the room."""
    classes = tables.classes
    i = a
    counted = a  # bytes before it are counted in `chars`
    chars = 0
    while True:
        sign = _next_sign(data, i, b)
        if sign >= b:
            break
        if data[sign] == 58 and not (sign + 2 < b and data[sign + 1] == 47 and data[sign + 2] == 47):
            i = sign + 1
            continue
        start = sign  # what is left of it in its run is plain letters, digits, hyphens
        while start > i and classes[data[start - 1]] & (_ALNUM | _SIGN):
            start -= 1
        while start < b and not classes[data[start]] & (_ALNUM | _LETTER_LEAD):
            start += 1
        i = start
        kinds = 0
        while i < b:
            kind = classes[data[i]]
            if kind & (_ALNUM | _DOT | _SIGN):
                i += 1
            elif kind & _LETTER_LEAD and i + 1 < b:
                i += 2
            else:
                break
            kinds |= kind
        end = i
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
            if kinds & (_DOT | _LETTER_LEAD) == 0:
                continue  # a word: only dots and letters beyond ASCII make more of it
            if host_start > a and data[host_start - 1] == 64:
                continue  # the domain of an e-mail address
            if end < b and data[end] == 64:
                continue  # and its local part
            beside = (start > a and data[start - 1] >= 0x80) or (end < b and data[end] >= 0x80)
            if beside and _is_cut(data, a, b, start, end, classes):
                evidence = RETRY
            while end > host_start and not classes[data[end - 1]] & _ALNUM and data[end - 1] < 0x80:
                end -= 1
            if evidence == 0 and not _may_be_host(data, host_start, end, data[end] if end < b else 0, tables.suffixes):
                continue
        chars += _count_chars(data, counted, start)
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


@outline
def _emit(
    data: U8,
    a: int,
    b: int,
    row: int,
    start: int,
    host_start: int,
    end: int,
    evidence: int,
    chars: int,
    out: I64,
    count: int,
    classes: U8,
) -> int:
    """Store one run if there is room, with its path; returns where the path ends."""
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
        out[count, ROW] = row
        out[count, START] = start
        out[count, HOST_START] = host_start
        out[count, HOST_END] = end
        out[count, END] = stop
        out[count, EVIDENCE] = evidence
        out[count, FIRST_CHAR] = chars
        out[count, CHARS] = _count_chars(data, start, stop)
    return stop


@arithmetic
def scan_rows(data: U8, offsets: I64, rows: I64, kinds: U8, out: I64, tables: ScanTables) -> int:
    """Runs of the given rows, in order; rows whose kind (`url_candidate`) has HIDDEN are left out.

    data: uint8, offsets: int32 or int64 of an Arrow string array; out: int64[K, COLUMNS]. Returns how many runs there
    are, which may be more than K: then ask again with more room.
    """
    count = 0
    for k in range(rows.shape[0]):
        if kinds[k] & HIDDEN == 0:
            row = rows[k]
            count = _scan(data, int(offsets[row]), int(offsets[row + 1]), row, out, count, tables)
    return count


@arithmetic
def candidate_kinds(data: U8, offsets: I64, rows: I64, kinds: U8, tables: ScanTables) -> None:
    """`url_candidate` of each row, into uint8 `kinds`."""
    for k in range(rows.shape[0]):
        row = rows[k]
        kinds[k] = url_candidate(data, int(offsets[row]), int(offsets[row + 1]), tables)
