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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening import url_scan
from mingbai.engines.screening.url_hosts import Evidence, Host, UrlFlag, host_in, suffixes

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
    flags: UrlFlag
    path: str


@dataclass(frozen=True, slots=True)
class UrlTable:
    """URLs of a batch, in row order: `urls[i]` stands in row `rows[i]`."""

    rows: npt.NDArray[np.int64]
    urls: Sequence[Url]

    @property
    def flags(self) -> npt.NDArray[np.uint8]:
        return np.fromiter((u.flags for u in self.urls), np.uint8, len(self.urls))

    @property
    def keys(self) -> npt.NDArray[np.uint64]:
        """`Host.key` of each, for tables of hosts seen."""
        return np.fromiter((u.host.key for u in self.urls), np.uint64, len(self.urls))


def find(text: str) -> list[Url]:
    """The URLs of a text, in order, not overlapping."""
    content = text.encode("utf-8", "surrogatepass")
    data = np.frombuffer(content, np.uint8)
    offsets = np.array([0, len(data)], np.int64)
    rows, kinds = np.zeros(1, np.int64), np.zeros(1, np.uint8)
    url_scan.candidate_kinds(data, offsets, rows, kinds, url_scan.TABLES)
    if not kinds[0]:
        return []
    runs, retry = _scan(data, offsets, rows, kinds)
    if kinds[0] & url_scan.HIDDEN or retry:
        return _find_hidden(text)
    return [url for _, url in _plain(memoryview(content), runs)]


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
    runs, retry = _scan(data, offsets, rows, kinds)
    found = _plain(data.data, [run for run in runs if run[url_scan.ROW] not in retry] if retry else runs)
    hidden = {*rows[(kinds & url_scan.HIDDEN) != 0].tolist(), *retry}
    if hidden:
        for row in hidden:
            found += [(row, url) for url in _find_hidden(texts[row].as_py())]
        found.sort(key=lambda pair: (pair[0], pair[1].start))
    return UrlTable(np.fromiter((r for r, _ in found), np.int64, len(found)), [url for _, url in found])


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
) -> tuple[list[list[int]], set[int]]:
    """Runs of the plain rows, and the rows that turned out not to be plain."""
    out = np.empty((len(rows) + 16, url_scan.COLUMNS), np.int64)
    count = url_scan.scan_rows(data, offsets, rows, kinds, out, url_scan.TABLES)
    if count > len(out):
        out = np.empty((count, url_scan.COLUMNS), np.int64)
        url_scan.scan_rows(data, offsets, rows, kinds, out, url_scan.TABLES)
    runs = out[:count].tolist()
    return runs, {run[url_scan.ROW] for run in runs if run[url_scan.EVIDENCE] & url_scan.RETRY}


def _plain(data: memoryview, runs: list[list[int]]) -> list[tuple[int, Url]]:
    """(row, Url) of the runs that are hosts, at the positions that the scanner counted."""
    found: list[tuple[int, Url]] = []
    last_row, free_from = -1, 0
    for row, start, host_start, host_end, end, evidence, first_char, chars in runs:
        if row != last_row:
            last_row, free_from = row, 0
        if first_char < free_from:
            continue  # a second reading of what has been accepted
        run = str(data[host_start:host_end], "utf-8", "replace")
        answer = host_in(run, evidence)
        if answer is None:
            continue
        host, length = answer
        path = ""
        if length < len(run):
            chars = host_start - start + length  # scheme and user are ASCII
        elif end > host_end:
            path = str(data[host_end:end], "ascii")
        found.append((row, Url(first_char, first_char + chars, host, _flags(host, evidence), path)))
        free_from = first_char + chars
    return found


_NOT_PLAIN = int(Evidence.HIDDEN | Evidence.USERINFO)


def _flags(host: Host, evidence: int) -> UrlFlag:
    """A brand's own host is never held against a message, however it was written."""
    if not evidence & _NOT_PLAIN or host.flags & UrlFlag.OFFICIAL:
        return host.flags
    return host.flags | UrlFlag.HIDDEN


# ---- hidden URLs


class _Folded:
    """A text in which URLs are plain, with a map back: character i stands for the original from `origin[i]` on."""

    def __init__(self, text: str) -> None:
        self.chars: list[str] = []
        self.origin: list[int] = []
        self.changed: list[bool] = []
        skipped = False
        for position, char in enumerate(text):
            if char in _INVISIBLE:
                skipped = True
                continue
            plain = char if char < "\x80" else _fold(char)
            self.chars.append(plain)
            self.origin.append(position)
            self.changed.append(skipped or plain != char)
            skipped = False

    def replace(self, spans: list[tuple[int, int, str]]) -> None:
        """Put a text of at most the span's length in place of each span; spans ascend and do not overlap."""
        for start, end, text in reversed(spans):
            self.origin[start:end] = self.origin[start : start + len(text)]  # the first of what it stands for
            self.chars[start:end] = text
            self.changed[start:end] = [True] * len(text)
            if not text and start < len(self.changed):
                self.changed[start] = True  # what follows stands closer than it was written


@lru_cache(1 << 12)
def _fold(char: str) -> str:
    """The ASCII character that a fancy one stands for, else the character itself."""
    code = ord(char)
    for first in (0x1F150, 0x1F170, 0x1F1E6):  # letters in black circles, in black squares, regional indicators
        if first <= code < first + 26:
            return chr(ord("a") + code - first)
    plain = unicodedata.normalize("NFKC", char)
    return plain if len(plain) == 1 and plain.isascii() else char


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
    text = "".join(folded.chars)
    spaced_out: list[tuple[int, int, str]] = []
    for match in _SPACED_OUT.finditer(text):
        if any(sign in match[0] for sign in ".。点點"):
            for position, char in enumerate(match[0], match.start()):
                if char in " 。点點":
                    spaced_out.append((position, position + 1, "" if char == " " else "."))
    folded.replace(spaced_out)
    text = "".join(folded.chars)
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


def _find_hidden(text: str) -> list[Url]:
    """As `find`, on the folded text; positions are those of the original."""
    folded = _Folded(text[:_MAX_FOLDED_CHARS])
    _fold_dots(folded)
    content = "".join(folded.chars).encode("utf-8", "surrogatepass")
    data = np.frombuffer(content, np.uint8)
    rows, kinds = np.zeros(1, np.int64), np.zeros(1, np.uint8)
    runs, _ = _scan(data, np.array([0, len(data)], np.int64), rows, kinds)
    changed = np.array(folded.changed, np.bool_)
    for run in runs:
        # A full-width colon or slash before the host is how Chinese keyboards write it, and hides nothing.
        first = run[url_scan.FIRST_CHAR] + run[url_scan.HOST_START] - run[url_scan.START]
        length = len(str(content[run[url_scan.HOST_START] : run[url_scan.HOST_END]], "utf-8", "replace"))
        if changed[first : first + length].any():
            run[url_scan.EVIDENCE] |= Evidence.HIDDEN
        run[url_scan.EVIDENCE] &= ~url_scan.RETRY
    return [
        url._replace(start=folded.origin[url.start], end=folded.origin[url.end - 1] + 1)
        for _, url in _plain(memoryview(content), runs)
    ]
