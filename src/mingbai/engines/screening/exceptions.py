"""Freeing a message that was wrongly stopped: this message passes from now on, and nothing that only resembles it.

Theory of operation. A person looks at one message and decides that it may pass. What is freed is its *key*, and a later
message passes if its key is the same: whatever the model, the campaign, its links or the rules say, because a person
decided about exactly this text. A spammer who copies a freed text must not get anything of his own through with it, so
the key holds everything that could carry him, and where there is doubt two keys differ:

- the letters, as the screen reads them: any other word is another key;
- the links, host and path, also hidden ones;
- every run of Latin letters, digits and signs, *as it was written*: a phone makes its links and its numbers from these
  very characters, so one more dot, another width, a capital in a path or an invisible character is another key. Only
  in plain Latin words capitals do not count. Chinese that touches a link may be part of it, and counts as written too;
- the sender, in E.164 where it is a number, and the access code;
- of a text longer than the screen reads, the whole text.

What is left for a copy to differ in is how its Chinese is written (traditional, split, spaced, with signs between),
which the screen reads through anyway. The first eight bytes of a key are the engine's hash of the text as it was read:
with them `screen` looks only at rows that can be meant. An exception ends at a time that its owner set.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from string import punctuation
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening import reading, urls
from mingbai.engines.screening.freed import KEY_BYTES, FreedMessage
from mingbai.kernel.msisdn import BadMsisdn, Msisdn

_HASH_BYTES: Final = 8  # of a key: the engine's hash of the normalised text
_FORMAT: Final = 1  # of what a key is made of; a change makes every exception of before void, which is the safe side
_READ_WHOLE: Final = reading.MAX_LETTERS  # a text of so many characters is read to its end


@dataclass(frozen=True, slots=True)
class KeyParts:
    """What a key is made of, for a person to see. `runs`: Latin letters, digits and signs as written."""

    read_as: str
    links: tuple[str, ...]
    runs: tuple[str, ...]
    sender: str | None
    access_code: str | None
    whole: str | None  # of a text that is not read to its end

    @property
    def numbers(self) -> tuple[str, ...]:
        """The runs that have a digit: phone numbers, accounts, amounts, codes."""
        return tuple(run for run in self.runs if any(char.isdigit() for char in run))


@dataclass(frozen=True, slots=True)
class Exceptions:
    """The exceptions in force. Make one with `of` or `none`."""

    items: tuple[FreedMessage, ...] = ()
    _by_key: dict[bytes, FreedMessage] = field(default_factory=dict, repr=False, compare=False)
    _text_hashes: npt.NDArray[np.uint64] = field(
        default_factory=lambda: np.zeros(0, np.uint64), repr=False, compare=False
    )

    @classmethod
    def none(cls) -> Exceptions:
        return cls()

    @classmethod
    def of(cls, items: Iterable[FreedMessage]) -> Exceptions:
        """Of two exceptions with one key the one that ends later counts."""
        by_key: dict[bytes, FreedMessage] = {}
        for item in sorted(items, key=lambda one: (one.expires_at, one.id)):
            by_key[bytes.fromhex(item.key)] = item
        kept = tuple(sorted(by_key.values(), key=lambda one: one.id))
        hashes = np.array(sorted(int.from_bytes(key[:_HASH_BYTES], "big") for key in by_key), np.uint64)
        return cls(kept, by_key, hashes)

    def __bool__(self) -> bool:
        return bool(self.items)

    @property
    def version(self) -> str:
        """64 hex digits: equal for equal exceptions."""
        rows = [[i.id, i.key, i.owner, i.expires_at.timestamp(), int(i.category)] for i in self.items]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def freed(
        self,
        batch: pa.RecordBatch,
        rows: npt.NDArray[np.int64],
        text_hashes: npt.NDArray[np.uint64],
        at: datetime,
    ) -> list[tuple[int, FreedMessage]]:
        """Which of some rows of a `MESSAGE` batch are freed, and by what.

        rows: those that would not simply pass; text_hashes: of all rows; at: the time, where a message brings none.
        """
        meant = rows[np.isin(text_hashes[rows], self._text_hashes)]
        found = []
        for row in meant.tolist():
            text, sender, access_code, time = (_value(batch, name, row) for name in _FIELDS)
            parts = key_parts(str(text or ""), _text(sender), _text(access_code))
            item = self._by_key.get(key_of(parts, int(text_hashes[row])))
            if item is not None and (time if isinstance(time, datetime) else at) < item.expires_at:
                found.append((row, item))
        return found


_FIELDS: Final = ("text", "sender", "access_code", "time")


def _value(batch: pa.RecordBatch, name: str, row: int) -> object:
    index = batch.schema.get_field_index(name)
    value: object = batch.column(index)[row].as_py() if index >= 0 else None
    return value


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def key_parts(text: str, sender: str | None, access_code: str | None) -> KeyParts:
    """What the key of one message is made of."""
    letters, links = "", list[str]()
    if text:
        letters, _ = reading.normalised(text)
        links = [url.host.name + url.path for url in urls.find(text)]
    return KeyParts(
        read_as=letters,
        links=tuple(links),
        runs=tuple(_runs(text)),
        sender=_sender(sender),
        access_code=(access_code or "").strip() or None,
        whole=text if len(text) > _READ_WHOLE else None,
    )


def key_of(parts: KeyParts, text_hash: int) -> bytes:
    """The key: `KEY_BYTES` bytes. text_hash: the engine's hash of the normalised text (`Readings.text_hash`)."""
    content = [_FORMAT, parts.read_as, parts.links, parts.runs, parts.sender, parts.access_code, parts.whole]
    digest = hashlib.sha256(json.dumps(content).encode()).digest()
    return text_hash.to_bytes(_HASH_BYTES, "big") + digest[: KEY_BYTES - _HASH_BYTES]


def _sender(written: str | None) -> str | None:
    written = (written or "").strip()
    try:
        return Msisdn.parse(written).e164 if written else None
    except BadMsisdn:
        return written


_GAP, _HAN, _SIGN, _BODY = 0, 1, 2, 3


def _runs(text: str) -> list[str]:
    """What must be written alike: of each stretch of characters between spaces and foreign punctuation its runs of
    letters, digits and signs; the whole stretch, Chinese too, if there may be a link in it."""
    runs = []
    start = 0
    kinds = [_kind(char) for char in text]
    for place, kind in enumerate([*kinds, _GAP]):
        if kind == _GAP:
            if _BODY in kinds[start:place]:
                stretch = text[start:place]
                if "." in stretch.strip(punctuation) or "/" in stretch:
                    runs.append(stretch)
                else:
                    runs.extend(_between_chinese(stretch, kinds[start:place]))
            start = place + 1
    return runs


def _between_chinese(stretch: str, kinds: list[int]) -> Iterator[str]:
    """The runs with at least one letter or digit; plain Latin words in lower case and without the signs around them."""
    start = 0
    for place, kind in enumerate([*kinds, _HAN]):
        if kind == _HAN:
            if _BODY in kinds[start:place]:
                run = stretch[start:place]
                word = run.strip(punctuation)
                yield word.lower() if word.isascii() and word.isalpha() else run
            start = place + 1


@lru_cache(1 << 16)
def _kind(char: str) -> int:
    """What a character is to a run.

    Invisible characters count as signs: within a number or link they make another one, between Chinese they do not
    matter. Everything unknown is part of a run, so that nobody writes his own text in it.
    """
    code = ord(char)
    if char.isspace():
        return _GAP
    if code < 0x80:
        return _BODY if char.isalnum() else _SIGN
    if 0x3400 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x2E80 <= code <= 0x2FDF or code == 0x3007:
        return _HAN  # compared as it was read
    if 0xFE00 <= code <= 0xFE0F or code in (0x034F, 0x20E3):  # how a character looks; not letters
        return _SIGN
    category = unicodedata.category(char)
    if category in ("Cc", "Cf"):
        return _SIGN
    return _GAP if category[0] in "PSZ" else _BODY
