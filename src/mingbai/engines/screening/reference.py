"""How a message is read, in plain Python: what `reading` and `grams` (compiled) must agree with, gram for gram.

It shares the tables of `alphabet` and the hash constants, and no code. Slow (some thousand messages a second) and meant
for tests and for readers; `Model.reference_score` does the same for what follows the grams.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from mingbai.engines.screening import alphabet, reading

M64 = (1 << 64) - 1
K1, K2, K3, K4, K5, K6, K7, K8 = (
    int(k) for k in (reading.K1, reading.K2, reading.K3, reading.K4, reading.K5, reading.K6, reading.K7, reading.K8)
)
EDGE = 0xFFFF
LEET = dict(zip("0123456789", "oizeasgtbg", strict=True))
POSING = {"o": "0", "l": "1", "i": "1", "z": "2", "s": "5"}


@dataclass
class Read:
    """letters, each with its character offset; marks: (index of the letter that follows, class); grams in order."""

    letters: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    marks: list[tuple[int, int]] = field(default_factory=list)
    characters: int = 0
    is_chinese: bool = False
    chinese: int = 0
    latin: int = 0
    grams: list[int] = field(default_factory=list)

    @property
    def digits(self) -> list[int]:
        return [i for i, c in enumerate(self.letters) if _digit(c)]


def read(text: str) -> Read:
    """Letters, marks and grams of one text (without lone surrogates)."""
    r = Read()
    table = alphabet.table()
    flags = numerals = 0
    for ch in text:
        if len(r.letters) >= reading.MAX_LETTERS or len(r.marks) >= reading.MAX_MARKS:
            break
        entry = int(table[min(ord(ch), alphabet.TABLE_SIZE - 1)])
        flags |= entry
        r.chinese += bool(entry & alphabet.HANZI)
        r.latin += bool(entry & alphabet.LATIN)
        numerals += bool(entry & alphabet.NUMERAL)
        mark = entry >> 16 & 15
        if mark:
            r.marks.append((len(r.letters), mark))
        if entry & 0xFFFF:
            r.letters.append(chr(entry & 0xFFFF))
            r.places.append(r.characters)
        r.characters += 1
    if flags & alphabet.COMPONENT:
        _join_splits(r)
    if numerals >= 5:
        _read_numerals(r)
    if flags & alphabet.DIGIT and flags & alphabet.LATIN:
        _undo_leet(r)
    r.is_chinese = r.chinese > 0 and r.chinese * 3 >= r.latin
    if r.is_chinese:
        _chinese_grams(r)
        _mark_grams(r)
    else:
        _latin_grams(r)
    _number_grams(r)
    return r


def _digit(c: str) -> bool:
    return "0" <= c <= "9"


def _latin(c: str) -> bool:
    return "a" <= c <= "z"


def _join_splits(r: Read) -> None:
    keys, wholes = alphabet.splits()
    pairs = {chr(int(k) >> 16) + chr(int(k) & 0xFFFF): chr(int(w)) for k, w in zip(keys, wholes, strict=True)}
    i = 0
    while i + 1 < len(r.letters):
        whole = pairs.get(r.letters[i] + r.letters[i + 1])
        if whole is not None:
            r.letters[i : i + 2] = [whole]
            del r.places[i + 1]
            r.marks = [(at - (at > i), kind) for at, kind in r.marks]
        i += 1


def _read_numerals(r: Read) -> None:
    table = alphabet.numerals()
    i = 0
    while i < len(r.letters):
        j = i
        while j < len(r.letters) and (_digit(r.letters[j]) or table[ord(r.letters[j])]):
            j += 1
        run = r.letters[i:j]
        if len(run) >= 5 and sum(not _digit(c) for c in run) >= 2:
            r.letters[i:j] = [c if _digit(c) else chr(table[ord(c)]) for c in run]
        i = max(j, i + 1)


def _words(r: Read) -> list[tuple[int, int]]:
    """Stretches of letters between marks."""
    cuts = sorted({0, len(r.letters), *(at for at, _ in r.marks)})
    return [(a, b) for a, b in pairwise(cuts) if a < b]


def _undo_leet(r: Read) -> None:
    for start, stop in _words(r):
        i = start
        while i < stop:
            j = i
            while j < stop and (_digit(r.letters[j]) or _latin(r.letters[j])):
                j += 1
            _undo_leet_in(r, i, j)
            i = max(j, i + 1)


def _undo_leet_in(r: Read, start: int, stop: int) -> None:
    run = r.letters[start:stop]
    digits = [i for i, c in enumerate(run) if _digit(c)]
    letters = [c for c in run if _latin(c)]
    if not digits or not letters:
        return
    if len(digits) >= 3 and len(run) >= 7 and all(c in POSING for c in letters):
        r.letters[start:stop] = [POSING.get(c, c) for c in run]
    elif len(letters) >= 2 and len(digits) <= len(letters):
        i = 0
        while i < len(run):
            j = i
            while j < len(run) and _digit(run[j]):
                j += 1
            if 0 < j - i <= 2 and i > 0:
                run[i:j] = [LEET[c] for c in run[i:j]]
            i = max(j, i + 1)
        r.letters[start:stop] = run


def _folded(c: str) -> int:
    return 48 if _digit(c) else ord(c)


def _sounds(r: Read) -> list[int]:
    """One sound a letter; a run of Latin letters that is wholly pinyin becomes its syllables."""
    table = alphabet.sounds()
    out: list[int] = []
    i = 0
    while i < len(r.letters):
        if not _latin(r.letters[i]):
            out.append(int(table[ord(r.letters[i])]))
            i += 1
            continue
        j = i
        while j < len(r.letters) and _latin(r.letters[j]):
            j += 1
        run = "".join(r.letters[i:j])
        spelled = _syllables(run) if len(run) <= 12 else None
        out += [ord(c) for c in run] if spelled is None else spelled
        i = j
    return out


def _syllables(run: str) -> list[int] | None:
    trie = alphabet.pinyin_trie()
    out: list[int] = []
    at = 0
    while at < len(run):
        state, best, end = 0, 0, at
        for k in range(at, len(run)):
            state = int(trie[state, ord(run[k]) - 97])
            if not state:
                break
            if trie[state, 26]:
                best, end = int(trie[state, 26]), k + 1
        if not best or end - at < 2:
            return None
        out.append(best)
        at = end
    return out


def _chinese_grams(r: Read) -> None:
    before = run = 0
    for c in map(_folded, r.letters):
        run = run + 1 if c == 0x78 else 0
        r.grams += [(c | min(run, 15) << 16 | 1 << 32) * K1 & M64, (before << 16 | c) * K2 & M64]
        before = c
    window = 0
    for s in _sounds(r):
        window = (window << 16 | s) & 0xFFFFFFFFFFFF
        r.grams.append(window * K4 & M64)


def _latin_grams(r: Read) -> None:
    window = 0
    for c in map(_folded, r.letters):
        window = (window << 8 | (c ^ c >> 8) & 0xFF) & 0xFFFFFFFFFF
        r.grams += [
            ((window & 0xFFFFFF) | 5 << 48) * K1 & M64,
            (window | 7 << 48) * K4 & M64,
        ]
    before = 0
    for start, stop in _words(r):
        octets = bytes((c ^ c >> 8) & 0xFF for c in map(_folded, r.letters[start:stop]))
        word = int.from_bytes(octets[-8:], "big") ^ int.from_bytes(octets[-16:-8], "big") * K8 & M64
        word = (word ^ len(octets) << 56 & M64) * K5 & M64
        word ^= word >> 32
        r.grams += [word * K6 & M64, (before ^ word * K8 & M64) * K7 & M64]
        before = word


def _mark_grams(r: Read) -> None:
    for k, (at, kind) in enumerate(r.marks):
        if k and r.marks[k - 1] == (at, kind):
            continue
        before = _folded(r.letters[at - 1]) if at else EDGE
        after = _folded(r.letters[at]) if at < len(r.letters) else EDGE
        base = 0xE2 << 56 | kind << 32
        r.grams += [
            (base | before << 16 | after) * K5 & M64,
            (base | 1 << 48 | before) * K6 & M64,
            (base | 2 << 48 | after) * K7 & M64,
        ]


def _number_grams(r: Read) -> None:
    letters = r.letters
    i = 0
    while i < len(letters):
        j = i
        while j < len(letters) and _digit(letters[j]):
            j += 1
        if j > i:
            number = "".join(letters[i:j])
            length = min(len(number), 15)
            kind, code = _shape(number, length)
            shape = 0xE1 << 56 | kind << 40 | length << 32
            before = ord(letters[i - 1]) if i else EDGE
            after = ord(letters[j]) if j < len(letters) else EDGE
            r.grams += [
                (shape ^ code) * K5 & M64,
                (shape | 1 << 48 | before) * K6 & M64,
                (shape | 2 << 48 | after) * K7 & M64,
            ]
        i = max(j, i + 1)


def _shape(number: str, length: int) -> tuple[int, int]:
    """Kind of a number, and for a public service number its digits."""
    if length == 11 and number[0] == "1" and number[1] >= "3":
        return 1, 0  # mobile
    if length >= 7 and number[0] in "48" and number[1] == "0":
        return 2, 0  # 400, 800
    if length >= 8 and number.startswith("106"):
        return 3, 0  # access code
    if length == 4 and number[:2] in ("19", "20"):
        return 4, 0  # year
    if length == 5 and (number.startswith("95") or number[:2] in ("10", "11", "12")):
        return 5, int.from_bytes(number.encode(), "big")
    return (6, 0) if number[0] == "0" else (0, 0)
