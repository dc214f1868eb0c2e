"""Text files of any encoding that operators' systems write, as blocks of UTF-8.

One file has one encoding. It is recognised, in this order:
1. a byte order mark of UTF-8, UTF-16 (either order) or GB18030;
2. UTF-16 without a mark: the first window holds NUL bytes (the upper halves of ASCII, so at least of delimiters and
   line ends), and in one of the two orders it is everyday text with line ends. If the same bytes are valid UTF-8,
   UTF-16 would be nearly all ASCII: then a third of them have to be NUL, lest a few stray NULs be taken for UTF-16;
3. UTF-8 or GB18030 by the first window that begins with a byte outside ASCII (up to there both read alike): each line
   of it that is not ASCII votes, for UTF-8 if it is that (a cut last character aside), for GB18030 if it is valid and
   most of its characters are everyday ones (level 1 and the symbols of GB 2312), which torn UTF-8 and Latin-1 hardly
   ever give. With few votes the window grows. On a tie it is UTF-8.
A row that does not decode in its file's encoding is rejected; it is never guessed to be in another one, because bytes
that happen to be valid elsewhere would be screened as a text that nobody sent. Legacy encodings outside these (Big5,
Shift JIS, Latin-1) are not recognised.

Undecodable places are carried through as byte sequences that are invalid in UTF-8 (encoded surrogates), so that the
row, once it is cut out, is found to be undecodable. A file whose only line ends are CR (classic Mac OS, and still a
choice in Excel) gets LF instead. Source of the byte ranges: GB 18030-2022, clause 5; RFC 3629; RFC 2781.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol

from mingbai.connectors.tables.files import InputTorn
from mingbai.kernel.errors import BadValue

WINDOW = 256 * 1024  # bytes looked at for a decision: some thousand messages


class Encoding(StrEnum):
    UTF_8 = "utf-8"
    UTF_16_LE = "utf-16-le"
    UTF_16_BE = "utf-16-be"
    GB18030 = "gb18030"


_MARKS = (
    (codecs.BOM_UTF8, Encoding.UTF_8),
    (codecs.BOM_UTF16_LE, Encoding.UTF_16_LE),
    (codecs.BOM_UTF16_BE, Encoding.UTF_16_BE),
    (b"\x84\x31\x95\x33", Encoding.GB18030),
)
_ALIASES = {
    "utf8": "utf-8",
    "utf-8-sig": "utf-8",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "gbk": "gb18030",
    "gb2312": "gb18030",
}
_NON_ASCII = re.compile(rb"[\x80-\xff]")
# ASCII, general and Chinese punctuation, Chinese characters, full-width forms, surrogates (emoji): nine in ten
# characters of a message table. Of Chinese read in the wrong order two in five are.
_EVERYDAY = re.compile("[\t\n\r -~\u2010-\u203b\u3000-\u303f\u4e00-\u9fff\uff00-\uffef\U00010000-\U0010ffff]")
_EVERYDAY_SHARE = 0.9
# Nearly all of UTF-16 that is nearly all ASCII: half of the bytes are NUL, and line feeds are line ends.
_NUL_SHARE_IF_UTF8, _LINE_END_SHARE_IF_UTF8 = 0.35, 0.9
# One Chinese character in 256 has the byte of a line feed: three of them to a line end in lines of 768 characters.
_LINE_END_SHARE = 0.25
# A character of GB18030 outside ASCII, and those that everyday text is made of: rows 1 to 3, 8 and 16 to 55. Four
# bytes are so particular a form that they count too.
_GB_CHARACTER = re.compile(rb"[\x81-\xfe](?:[\x30-\x39][\x81-\xfe][\x30-\x39]|[\x40-\x7e\x80-\xfe])")
_GB_EVERYDAY = re.compile(rb"[\xa1-\xa3\xa8\xb0-\xd7][\xa1-\xfe]|....", re.DOTALL)
_ENOUGH_VOTES = 16
_LARGEST_WINDOW = 16 * WINDOW


def encoding_named(name: str) -> Encoding:
    """The encoding of that name. Raises BadValue."""
    normal = name.lower().replace("_", "-")
    normal = _ALIASES.get(normal, normal)
    try:
        return Encoding(normal)
    except ValueError:
        raise BadValue(field="encoding", value=name, expected=", ".join(Encoding)) from None


def marked(head: bytes) -> tuple[Encoding, int] | None:
    """Encoding and length of the byte order mark that `head` begins with."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    return None


def unmarked_utf16(head: bytes) -> Encoding | None:
    """The byte order of UTF-16 that `head`, the first window of a file, shows without a mark; None: no UTF-16."""
    nuls, feeds = head.count(0), head.count(b"\n")
    is_utf8 = _decodes(head, Encoding.UTF_8)
    if nuls < 2 or (is_utf8 and nuls < _NUL_SHARE_IF_UTF8 * len(head)):
        return None
    for encoding in (Encoding.UTF_16_LE, Encoding.UTF_16_BE):
        text = head[: len(head) & ~1].decode(encoding, "replace")
        is_everyday = len(_EVERYDAY.findall(text)) >= _EVERYDAY_SHARE * len(text)
        line_end_share = _LINE_END_SHARE_IF_UTF8 if is_utf8 else _LINE_END_SHARE
        if is_everyday and text.count("\n") >= line_end_share * feeds:
            return encoding
    return None


def utf8_or_gb18030(window: bytes) -> tuple[Encoding, int]:
    """Decide by `window`, which begins at the first byte outside ASCII of a file. Also: how many lines voted."""
    lines = window.split(b"\n")
    if len(lines) > 1:
        lines.pop()  # perhaps cut in the middle of a character
    utf8 = gb18030 = 0
    for line in lines:
        if line.isascii():
            continue
        if _decodes(line, Encoding.UTF_8):
            utf8 += 1
        elif _is_everyday_gb18030(line):
            gb18030 += 1
    return (Encoding.GB18030 if gb18030 > utf8 else Encoding.UTF_8), utf8 + gb18030


def _is_everyday_gb18030(line: bytes) -> bool:
    characters = _GB_CHARACTER.findall(line)
    everyday = sum(1 for character in characters if _GB_EVERYDAY.fullmatch(character))
    return 2 * everyday > len(characters) and _decodes(line, Encoding.GB18030)


def _decodes(line: bytes, encoding: Encoding) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)("strict").decode(line)  # incremental: a cut last character is no fault
    except UnicodeDecodeError:
        return False
    return True


class Readable(Protocol):
    def read(self, size: int, /) -> bytes:
        """The next `size` bytes, fewer only at the end. May raise InputTorn."""


class Utf8Blocks:
    """The bytes of a text file as UTF-8, block by block, without a byte order mark.

    After the first block `encoding` is what was recognised (UTF-8 while only ASCII was seen); `transcoded` says that
    invalid places are encoded surrogates. Blocks are cut anywhere, also within a character.
    """

    def __init__(self, file: Readable, *, encoding: str | None = None, block_bytes: int = 1 << 20) -> None:
        self._file = file
        self._block_bytes = block_bytes
        self._given = encoding_named(encoding) if encoding else None
        self.encoding = Encoding.UTF_8
        self.torn: str | None = None  # what was wrong with a file that ended before its end

    @property
    def transcoded(self) -> bool:
        return self.encoding is not Encoding.UTF_8

    def __iter__(self) -> Iterator[bytes]:
        blocks = self._converted()
        head = b""
        for block in blocks:
            head += block
            if len(head) >= WINDOW:
                break
        if b"\r" in head and b"\n" not in head:
            yield head.replace(b"\r", b"\n")
            for block in blocks:
                yield block.replace(b"\r", b"\n")
        else:
            yield head
            yield from blocks

    def _converted(self) -> Iterator[bytes]:
        pending = self._fill(b"", max(WINDOW, self._block_bytes))
        found = marked(pending)
        decided = self._given
        if found and (decided is None or decided is found[0]):
            decided, skipped = found
            pending = pending[skipped:]
        elif decided is None:
            decided = unmarked_utf16(pending[:WINDOW])
        while decided is None and pending:
            first = _NON_ASCII.search(pending)
            if first is None:
                yield pending
                pending = self._read(self._block_bytes)
                continue
            if first.start():
                yield pending[: first.start()]
            pending, decided = self._decide(pending[first.start() :])
        self.encoding = decided or Encoding.UTF_8
        convert = _pass if self.encoding is Encoding.UTF_8 else _Transcoder(self.encoding)
        while pending:
            yield convert(pending, False)
            pending = self._read(self._block_bytes)
        yield convert(b"", True)

    def _decide(self, pending: bytes) -> tuple[bytes, Encoding]:
        """`pending`, which begins outside ASCII, with what had to be read to decide."""
        size = WINDOW
        while True:
            pending = self._fill(pending, size)
            decided, votes = utf8_or_gb18030(pending[:size])
            if votes >= _ENOUGH_VOTES or len(pending) < size or size >= _LARGEST_WINDOW:
                return pending, decided
            size *= 2

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except InputTorn as error:
            self.torn = str(error)
            return b""

    def _fill(self, start: bytes, size: int) -> bytes:
        return start + self._read(size - len(start)) if len(start) < size else start


def _pass(block: bytes, final: bool) -> bytes:
    return block


class _Transcoder:
    """Blocks of a file to UTF-8. What does not decode becomes an encoded surrogate: of an undecodable byte U+DC80 and
    on, of a surrogate in UTF-16 that is alone itself.
    """

    def __init__(self, encoding: Encoding) -> None:
        self._is_utf16 = encoding is not Encoding.GB18030
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass" if self._is_utf16 else "surrogateescape")
        self._held = b""  # the first half of a unit of UTF-16

    def __call__(self, block: bytes, final: bool) -> bytes:
        half = ""
        if self._is_utf16:
            block = self._held + block
            whole = len(block) & ~1
            block, self._held = block[:whole], block[whole:]
            if final and self._held:
                half = "\udc80"
        return (self._decoder.decode(block, final) + half).encode("utf-8", "surrogatepass")
