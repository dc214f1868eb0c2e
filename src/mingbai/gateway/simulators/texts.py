"""What a simulated provider sends: texts of a file or of the generator, to numbers in turn, in parts where long."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mingbai.kernel.errors import BadValue
from mingbai.protocols.long_messages import Mark, MarkKind, limit_of, parts_of, pieces_of
from mingbai.protocols.messages import ShortMessage, Wanted
from mingbai.protocols.text import Coding, best_coding, coding_of, encode

ENCODINGS: Final = ("auto", "ucs2", "gb18030", "ascii", "gsm7")
_OCTETS: Final = {"ucs2": 8, "gb18030": 15, "ascii": 0, "gsm7": 0}
_GENERATED: Final = 2_000  # different texts; after them they come again, to other numbers
_LONG: Final = 300  # characters at least of a long message: more than one part in every coding
_DIGITS: Final = 11  # of a number whose prefix is given
_NUMBER: Final = re.compile(r"\+?[0-9]{1,20}", re.ASCII)  # 21 octets in three of the protocols


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One submission. number: of the message (from 1), the same for all its parts."""

    number: int
    message: ShortMessage


def read_texts(path: Path) -> list[str]:
    """One a line; of a line with tabs, what stands behind the last one. Raises BadValue."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue(field="--texts", value=str(path), expected="a file of texts in UTF-8") from error
    found = [text for line in lines if (text := line.rpartition("\t")[2].strip())]
    if not found:
        raise BadValue(field="--texts", value=str(path), expected="at least one text")
    return found


def generated_texts(seed: int, encoding: str) -> list[str]:
    """Wanted and unwanted texts, mixed; English ones where the coding has no Chinese."""
    from mingbai.engines import scenarios  # takes seconds: not for who brings texts

    language = "en" if encoding in ("ascii", "gsm7") else None
    texts: list[str] = scenarios.generate(seed, _GENERATED, language=language).column("text").to_pylist()
    return texts


def read_numbers(path: Path) -> list[str]:
    """One a line. Raises BadValue."""
    try:
        found = [line.strip() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue(field="--to-file", value=str(path), expected="a file of numbers") from error
    if not found:
        raise BadValue(field="--to-file", value=str(path), expected="at least one number")
    for number in found:
        if not _NUMBER.fullmatch(number):
            raise BadValue(field="--to-file", value=number, expected="numbers of at most 20 digits")
    return found


class Outbox:
    """The messages of one run, the same for the same seed.

    to: a prefix that is filled up to eleven digits, or `numbers`. Raises BadValue.
    """

    def __init__(
        self,
        *,
        protocol: str,
        source: str,
        count: int,
        texts: Sequence[str],
        to: str,
        numbers: Sequence[str] = (),
        encoding: str = "auto",
        long_share: float = 0.0,
        sar: bool = False,
        wants_reports: bool = False,
        seed: int = 0,
    ) -> None:
        if encoding not in ENCODINGS:
            raise BadValue(field="--encoding", value=encoding, expected=", ".join(ENCODINGS))
        if sar and protocol != "smpp":
            raise BadValue(field="--sar", value=protocol, expected="smpp")
        if encoding == "gsm7" and protocol != "smpp":
            raise BadValue(field="--encoding", value=encoding, expected="another: only SMPP has GSM 7-bit")
        if not numbers and not (to.isascii() and to.isdigit() and len(to) < _DIGITS):
            raise BadValue(field="--to", value=to, expected="the first digits of a number")
        self._protocol, self._source, self._count = protocol, source, count
        self._texts, self._to, self._numbers = texts, to, numbers
        self._encoding, self._long_share, self._sar = encoding, long_share, sar
        self._wanted = Wanted.ALL if wants_reports else Wanted.NONE
        self._random = random.Random(seed)

    def __iter__(self) -> Iterator[Outgoing]:
        room = 10 ** (_DIGITS - len(self._to)) if not self._numbers else 0
        for number in range(1, self._count + 1):
            text = self._texts[(number - 1) % len(self._texts)]
            if self._long_share and self._random.random() < self._long_share:
                text = " ".join([text] * (_LONG // max(1, len(text)) + 1))
            if self._numbers:
                to = self._numbers[(number - 1) % len(self._numbers)]
            else:
                to = f"{self._to}{number % room:0{_DIGITS - len(self._to)}}"
            for message in self._messages(text, to, number):
                yield Outgoing(number, message)

    def _messages(self, text: str, to: str, number: int) -> Iterator[ShortMessage]:
        coding, text = self._coded(text)
        if self._sar:
            limit = limit_of(coding.encoding)
            pieces = pieces_of(text, coding.encoding, limit)
            for place, piece in enumerate(pieces, 1):
                mark = Mark(MarkKind.SAR, number & 0xFFFF, len(pieces), place) if len(pieces) > 1 else None
                yield self._message(to, encode(piece, coding), coding, mark=mark)
            return
        parts = parts_of(text, coding, number & 0xFF)
        for content in parts:
            yield self._message(to, content, coding, has_header=len(parts) > 1)

    def _coded(self, text: str) -> tuple[Coding, str]:
        """The coding, and the text with question marks for what it does not have."""
        if self._encoding == "auto":
            return best_coding(text, self._protocol), text
        octet = 1 if self._encoding == "ascii" and self._protocol == "smpp" else _OCTETS[self._encoding]
        coding = coding_of(self._protocol, octet)
        if self._encoding == "ascii":
            return coding, text.encode("ascii", "replace").decode()
        try:
            encode(text, coding)
        except BadValue:
            text = text.encode("ascii", "replace").decode()
        return coding, text

    def _message(
        self, to: str, content: bytes, coding: Coding, *, has_header: bool = False, mark: Mark | None = None
    ) -> ShortMessage:
        return ShortMessage(
            source=self._source,
            destinations=(to,),
            content=content,
            coding=coding,
            has_header=has_header,
            mark=mark,
            wanted=self._wanted,
        )
