"""IMSI, MSC, cell and device of a message between persons, as SMSCs write them into optional parameters of SMPP.

SMPP has no parameters for them, so each vendor took tags of its own, and writes what it likes: text with or without a
NUL, or the octets of MAP. Both are read here. What is neither counts as absent: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from mingbai.protocols.fields import Tlv

PATTERNS: Final = {
    "imsi": "^[0-9]{6,15}$",  # ITU-T E.212: at most 15 digits
    "msc": "^[!-~]{1,64}$",  # a number, or an address
    "cell": "^[!-~]{1,64}$",
    "device": "^[0-9]{8,16}$",  # a type (TAC), an IMEI, or one with its software: 3GPP TS 23.003, 6.2
}
_FITS: Final = {name: re.compile(pattern.removesuffix("$") + r"\Z") for name, pattern in PATTERNS.items()}
_FILLER: Final = 0xF
_LEAST_WHOLE: Final = 14  # digits of an IMSI or IMEI: shorter ones are other octets that look like TBCD


def fits(name: str, text: str) -> bool:
    """Whether a text can be this field."""
    return _FITS[name].match(text) is not None


def read_fields(tlvs: Iterable[Tlv], tags: Mapping[str, int]) -> dict[str, str]:
    """What the optional parameters of a PDU say. tags: of the fields that are looked for, by name.

    Of a tag that is there twice, the first counts, as everywhere. Never raises.
    """
    found = {}
    values: dict[int, bytes] = {}
    for tag, value in tlvs:
        values.setdefault(tag, value)
    for name, tag in tags.items():
        text = field_of(name, values[tag]) if tag in values else None
        if text is not None:
            found[name] = text
    return found


def field_of(name: str, value: bytes) -> str | None:
    """One value, None where it is malformed.

    Text in ASCII, to a NUL if there is one; else, for what is made of digits, MAP's octets (3GPP TS 29.002, 17.7.8):
    TBCD for IMSI and device, whole ones, an address string for the MSC, whose first octet says what kind of number it
    is. Octets that are ASCII digits throughout are text: as TBCD every other digit of theirs would be a 3.
    """
    text = value.rstrip(b"\0").strip()
    if text.isascii() and fits(name, said := text.decode("ascii")):
        return said
    digits = None
    if name in ("imsi", "device") and not text.isdigit():
        digits = _tbcd(value)
        digits = None if digits is None or len(digits) < _LEAST_WHOLE else digits
    elif name == "msc" and value and value[0] & 0x80:
        digits = _tbcd(value[1:])
    return digits if digits is not None and fits(name, digits) else None


def _tbcd(octets: bytes) -> str | None:
    """Two digits an octet, the lower four bits first, a filler behind an odd number of them."""
    nibbles = [half for octet in octets for half in (octet & 15, octet >> 4)]
    if nibbles and nibbles[-1] == _FILLER:
        nibbles.pop()
    return "".join(map(str, nibbles)) if all(half <= 9 for half in nibbles) else None
