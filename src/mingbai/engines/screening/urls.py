"""URLs in a message, also hidden ones, and what is noteworthy about them. Offline: nothing is looked up anywhere.

`find` reads one text, `find_batch` the rows of a batch that the kernel's `url_scan.url_candidate` picked. Plainly
written URLs are found by the compiled scanner on the bytes as they are. A row with a sign of hiding is first folded:
full width and fancy letters to plain ones, invisible characters out, 。点 (dot) and spaced dots to dots, with a map
back, so that the positions given are those of the original text. Then the same scanner runs, with stricter demands.

Not found, on purpose: e-mail addresses, names without a known suffix, numbers and versions, file names, and words
joined by a forgotten space ("明天见.Bye", "ok.thanks", "see you.in"): see `url_hosts.host_in`.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter, ne
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening import url_scan
from mingbai.engines.screening.url_hosts import CACHED_HOSTS, Evidence, Host, UrlFlag, host_in, suffixes

_MAX_FOLDED_CHARS = 4096  # as much as the kernel reads of a message
_INVISIBLE = frozenset(
    "\u00ad\u034f\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\ufe0e\ufe0f\u20e3"
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


class Url(NamedTuple):
    """One URL. `start`, `end`: characters of the original text, end exclusive. `path`: what follows the host."""

    start: int
    end: int
    host: Host
    flags: int  # of `UrlFlag`
    path: str


@dataclass(frozen=True, slots=True)
class UrlTable:
    """URLs of a batch, in row order: `urls[i]` stands in row `rows[i]`."""

    rows: npt.NDArray[np.int64]
    urls: Sequence[Url]

    @property
    def flags(self) -> npt.NDArray[np.uint8]:
        return np.fromiter(map(attrgetter("flags"), self.urls), np.uint8, len(self.urls))

    @property
    def keys(self) -> npt.NDArray[np.uint64]:
        """`Host.key` of each, for tables of hosts seen."""
        return np.fromiter(map(attrgetter("host.key"), self.urls), np.uint64, len(self.urls))


def find(text: str) -> list[Url]:
    """The URLs of a text, in order, not overlapping."""
    content = text.encode("utf-8", "surrogatepass")
    data = np.frombuffer(content, np.uint8)
    offsets = np.array([0, len(data)], np.int64)
    rows, kinds = np.zeros(1, np.int64), np.zeros(1, np.uint8)
    url_scan.candidate_kinds(data, offsets, rows, kinds, url_scan.TABLES)
    if not kinds[0]:
        return []
    runs = _scan(data, offsets, rows, kinds)
    if kinds[0] & url_scan.HIDDEN or _rows_to_retry(runs).size:
        return _hidden([0], [text])[1]
    return _plain(content, runs)[1]


def find_batch(
    texts: pa.StringArray, rows: npt.NDArray[np.int64], kinds: npt.NDArray[np.uint8] | None = None
) -> UrlTable:
    """The URLs of some rows of a batch; for each row what `find` gives.

    rows: ascending row numbers without nulls; kinds: `url_candidate` of each of them, looked up here when not given.
    """
    if pa.types.is_dictionary(texts.type) or pa.types.is_string_view(texts.type):
        texts = texts.cast(pa.string())
    offsets, data = _buffers(texts)
    rows = np.ascontiguousarray(rows, np.int64)
    if kinds is None:
        kinds = np.empty(len(rows), np.uint8)
        url_scan.candidate_kinds(data, offsets, rows, kinds, url_scan.TABLES)
    runs = _scan(data, offsets, rows, kinds)
    hidden = rows[(kinds & url_scan.HIDDEN) != 0]
    retry = _rows_to_retry(runs)
    if retry.size:
        runs = runs[~np.isin(runs[:, url_scan.ROW], retry)]
        hidden = np.union1d(hidden, retry)
    found_in, found = _plain(data, runs)
    if hidden.size:
        chosen = hidden.tolist()
        for row, url in zip(*_hidden(chosen, [texts[row].as_py() for row in chosen]), strict=True):
            place = bisect_right(found_in, row)  # few rows hide anything
            found_in.insert(place, row)
            found.insert(place, url)
    return UrlTable(np.array(found_in, np.int64), found)


def _buffers(texts: pa.StringArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Offsets (n + 1, into the data) and bytes of a string or large_string array, without copying the bytes."""
    _, offsets, data = texts.buffers()
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    starts = np.frombuffer(offsets, kind)[texts.offset : texts.offset + len(texts) + 1]
    content = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return starts.astype(np.int64), content


def _scan(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    kinds: npt.NDArray[np.uint8],
) -> npt.NDArray[np.int64]:
    """Runs of the rows that are not HIDDEN, in order."""
    out = np.empty((len(rows) + 16, url_scan.COLUMNS), np.int64)
    count = url_scan.scan_rows(data, offsets, rows, kinds, out, url_scan.TABLES)
    if count > len(out):
        out = np.empty((count, url_scan.COLUMNS), np.int64)
        url_scan.scan_rows(data, offsets, rows, kinds, out, url_scan.TABLES)
    return out[:count]


def _rows_to_retry(runs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Rows that turned out not to be plain."""
    rows: npt.NDArray[np.int64] = runs[(runs[:, url_scan.EVIDENCE] & url_scan.RETRY) != 0, url_scan.ROW]
    return rows


def _plain(content: bytes | npt.NDArray[np.uint8], runs: npt.NDArray[np.int64]) -> tuple[list[int], list[Url]]:
    """Rows and URLs of the runs that are hosts, at the positions that the scanner counted.

    content: what was scanned; runs: overwritten.
    """
    rows: list[int] = []
    found: list[Url] = []
    if not len(runs):
        return rows, found
    # Only the bytes from the first run to the last, as one `bytes`, whose slices are cheap and can be looked up.
    base = int(runs[0, url_scan.START])
    octets = content[base : int(runs[:, url_scan.END].max())]
    octets = octets if isinstance(octets, bytes) else octets.tobytes()
    runs[:, url_scan.START : url_scan.END + 1] -= base
    last_row, free_from = -1, 0
    for row, start, host_start, host_end, end, evidence, first_char, chars in runs.tolist():
        if row != last_row:
            last_row, free_from = row, 0
        if first_char < free_from:
            continue  # a second reading of what has been accepted
        answer = _host_of(octets[host_start:host_end], evidence)
        if answer is None:
            continue
        host, flags, length = answer
        path = ""
        if length:
            chars = host_start - start + length  # scheme and user are ASCII
        elif end > host_end:
            path = octets[host_end:end].decode("ascii")
        free_from = first_char + chars
        rows.append(row)
        found.append(Url._make((first_char, free_from, host, flags, path)))
    return rows, found


_NOT_PLAIN = Evidence.HIDDEN | Evidence.USERINFO
_OFFICIAL, _HIDDEN = int(UrlFlag.OFFICIAL), int(UrlFlag.HIDDEN)


@lru_cache(CACHED_HOSTS)
def _host_of(run: bytes, evidence: int) -> tuple[Host, int, int] | None:
    """The host at the beginning of a run, its flags as written here, and its characters, 0 for the whole run."""
    text = run.decode("utf-8", "replace")
    answer = host_in(text, evidence)
    if answer is None:
        return None
    host, length = answer
    # A brand's own host is never held against a message, however it was written.
    is_odd = evidence & _NOT_PLAIN and not host.flags & _OFFICIAL
    return host, host.flags | _HIDDEN if is_odd else host.flags, length if length < len(text) else 0


# ---- hidden URLs


class _Folded:
    """A text in which URLs are plain, with a map back: character i stands for the original from `origin[i]` on, and is
    not what stood there where `changed[i]` is 1."""

    __slots__ = ("changed", "origin", "text")

    def __init__(self, text: str) -> None:
        self.origin: Sequence[int] = range(len(text))
        if text.isascii():
            self.text = text
            self.changed = bytearray(len(text))
            return
        skips = not _INVISIBLE.isdisjoint(text)
        if skips:
            self.origin = [position for position, char in enumerate(text) if char not in _INVISIBLE]
            text = "".join([text[position] for position in self.origin])
        self.text = text.translate(_FOLDS)
        self.changed = bytearray(map(ne, text, self.text))
        if skips:
            expected = 0
            for i, position in enumerate(self.origin):
                if position != expected:
                    self.changed[i] = 1
                expected = position + 1

    def replace(self, spans: list[tuple[int, int, str]]) -> None:
        """Put a text of at most the span's length in place of each span; spans ascend and do not overlap."""
        if not spans:
            return
        origin = list(self.origin)
        for start, end, text in reversed(spans):
            origin[start:end] = origin[start : start + len(text)]  # the first of what it stands for
            self.text = self.text[:start] + text + self.text[end:]
            self.changed[start:end] = b"\1" * len(text)
            if not text and start < len(self.changed):
                self.changed[start] = 1  # what follows stands closer than it was written
        self.origin = origin


def _fold(char: str) -> str:
    """The ASCII character that a fancy one stands for, else the character itself."""
    code = ord(char)
    for first in (0x1F150, 0x1F170, 0x1F1E6):  # letters in black circles, in black squares, regional indicators
        if first <= code < first + 26:
            return chr(ord("a") + code - first)
    plain = unicodedata.normalize("NFKC", char)
    return plain if len(plain) == 1 and plain.isascii() else char


class _Folds(dict[int, int]):
    """`_fold` as a table for `str.translate`, filled as characters come."""

    def __missing__(self, code: int) -> int:
        plain = code if code < 0x80 else ord(_fold(chr(code)))
        if len(self) < _MAX_FOLDS:
            self[code] = plain
        return plain


_MAX_FOLDS = 1 << 14
_FOLDS = _Folds()


_SPACED_OUT = re.compile(r"(?<![0-9A-Za-z])[0-9A-Za-z@](?: [0-9A-Za-z./:_@。点點-]){5,}(?![0-9A-Za-z])")
_DOT = re.compile(
    r"(?<=[0-9A-Za-z])(?:"
    r" *[\[({] *(?P<bracketed>\.|dot|点|點) *[\])}] *"
    r"| *(?P<sign>[点點·｡。]) *"
    r"| +(?P<word>dot) +"
    r"|(?: +\. *|\. +)"
    r")(?=[0-9A-Za-z])",
    re.IGNORECASE,
)
_LAST_RUN = re.compile(r"[0-9A-Za-z_.-]+$")
_NEXT_LABEL = re.compile(r"([0-9A-Za-z-]+)(.?)")


def _fold_dots(folded: _Folded) -> None:
    text = folded.text
    spaced_out: list[tuple[int, int, str]] = []
    for match in _SPACED_OUT.finditer(text):
        if any(sign in match[0] for sign in ".。点點"):
            for position, char in enumerate(match[0], match.start()):
                if char in " 。点點":
                    spaced_out.append((position, position + 1, "" if char == " " else "."))
    folded.replace(spaced_out)
    text = folded.text
    dots: list[tuple[int, int, str]] = []
    before, done = "", 0  # what stands before a sign, its earlier signs replaced
    for match in _DOT.finditer(text):
        before = (before + text[done : match.start()])[-128:]
        done = match.end()
        left = _LAST_RUN.search(before)
        right = _NEXT_LABEL.match(text, match.end())
        if left and right and _is_dot(match, left[0].lower(), right[1], right[2]):
            dots.append((match.start(), match.end(), "."))
            before += "."
        else:
            before += match[0]
    folded.replace(dots)


def _is_dot(sign: re.Match[str], left: str, label: str, after: str) -> bool:
    """Whether a sign between a run (`left`) and a label stands for a dot; after: the character behind the label."""
    has_www = left == "www" or left.startswith("www.")
    starts_sentence = label.istitle()
    label = label.lower()
    is_sure = suffixes().classes.get(label) == "sure" and not after.isalnum()
    if sign["bracketed"] or sign["sign"] in ("点", "點", "·"):
        return label[0].isalpha() or has_www
    last = left.rpartition(".")[2]
    is_complete = left.count(".") > has_www and suffixes().classes.get(last, "word") != "word"
    is_country = (is_sure and len(label) == 2) or f"{last}.{label}" in suffixes().public
    if sign["sign"]:  # 。 ends a sentence unless a host goes on behind it
        goes_on = after != "" and after in ".。点點"
        return label != "www" and (not is_complete or is_country or goes_on)
    if is_complete:
        return is_country
    return has_www or (is_sure and not starts_sentence)


def _hidden(rows: list[int], texts: list[str]) -> tuple[list[int], list[Url]]:
    """Rows and URLs of rows that hide something, found in the folded texts; positions are those of the originals."""
    folded = [_Folded(text[:_MAX_FOLDED_CHARS]) for text in texts]
    for one in folded:
        _fold_dots(one)
    parts = [one.text.encode("utf-8", "surrogatepass") for one in folded]
    content = b"".join(parts)
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    numbers = np.arange(len(parts), dtype=np.int64)
    runs = _scan(np.frombuffer(content, np.uint8), offsets, numbers, np.zeros(len(parts), np.uint8))
    for run in runs:
        row, start, host_start, host_end, _, _, first_char, _ = run.tolist()
        # A full-width colon or slash before the host is how Chinese keyboards write it, and hides nothing.
        first = first_char + host_start - start
        length = len(content[host_start:host_end].decode("utf-8", "replace"))
        if 1 in folded[row].changed[first : first + length]:
            run[url_scan.EVIDENCE] |= Evidence.HIDDEN
        run[url_scan.EVIDENCE] &= ~url_scan.RETRY
    found_in, urls = _plain(content, runs)
    return [rows[number] for number in found_in], [
        url._replace(start=folded[number].origin[url.start], end=folded[number].origin[url.end - 1] + 1)
        for number, url in zip(found_in, urls, strict=True)
    ]
