"""Msisdn: a subscriber's number, in E.164 from the moment it is parsed.

E.164 (ITU-T): at most 15 digits, country code first, no leading zero. In China (+86) a mobile number has 11 digits and
starts with 13 to 19, an Internet-of-things number 13 digits and starts with 10 or 14, a fixed line 9 to 11 digits: its
area code (10 for Beijing, others from 2 up) without the trunk 0, and the local number (Telecommunication Network
Numbering Plan of the MIIT). Short and access codes (10086, 95588, 1069...) are not a subscriber's: they stay text.

A number is personal data. `str`, `repr` and the error show it masked, so that no log line, traceback or error page
leaks it by accident; whoever needs all of it says `.e164`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mingbai.kernel.errors import BadValue

_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)  # seven digits: the shortest numbers in use (Saint Helena, Niue)
_CHINA = re.compile(r"\+86(?:1[3-9][0-9]{9}|1[04][0-9]{11}|10[2-9][0-9]{7}|[2-9][0-9]{8,10})", re.ASCII)
_CHINA_MOBILE = re.compile(r"(?:86)?(1[3-9][0-9]{9})", re.ASCII)
_SEPARATORS = str.maketrans("", "", " -().\u00a0")
_EXPECTED = "an E.164 number (+8613812345678, 0086..., 86...) or an 11-digit mobile number of China"


class BadMsisdn(BadValue):
    """Not a subscriber's number. The value in the message is masked."""

    code = "bad_msisdn"


@dataclass(frozen=True, slots=True, repr=False, order=True)
class Msisdn:
    """One number. `e164` holds it whole, with its plus sign. Raises BadMsisdn if it is not E.164."""

    e164: str

    def __post_init__(self) -> None:
        pattern = _CHINA if self.e164.startswith("+86") else _E164
        if not pattern.fullmatch(self.e164):
            raise BadMsisdn(field="msisdn", value=mask(self.e164), expected=_EXPECTED)

    @classmethod
    def parse(cls, text: str, field: str = "msisdn") -> Msisdn:
        """Read a number as people and systems write it. Spaces, hyphens, dots and parentheses are dropped.

        `+` and `00` announce a country code; without them only a mobile number of China is taken, with or without its
        86, because any other string of digits is ambiguous. Raises BadMsisdn, naming `field`.
        """
        digits = text.strip().translate(_SEPARATORS)
        if match := _CHINA_MOBILE.fullmatch(digits):
            digits = "+86" + match[1]
        elif digits.startswith("00"):
            digits = "+" + digits[2:]
        try:
            return cls(digits)
        except BadMsisdn:
            raise BadMsisdn(field=field, value=mask(text), expected=_EXPECTED) from None

    @property
    def digits(self) -> str:
        """Without the plus sign, as SMPP and CMPP carry it."""
        return self.e164[1:]

    @property
    def national(self) -> str:
        """As it is dialled at home: for China without +86; other countries' numbers unchanged."""
        return self.e164.removeprefix("+86")

    @property
    def is_chinese_mobile(self) -> bool:
        return self.e164.startswith("+86") and _CHINA_MOBILE.fullmatch(self.digits) is not None

    @property
    def masked(self) -> str:
        """`138****1234`, for the screen."""
        return mask(self.national)

    def __str__(self) -> str:
        return self.masked

    def __repr__(self) -> str:
        return f"Msisdn({self.masked!r})"


def mask(text: str) -> str:
    """Hide the middle of a number: three characters and the last four stay; of a short one only its first and last."""
    if len(text) >= 11:
        return f"{text[:3]}****{text[-4:]}"
    return f"{text[:1]}****{text[-1:]}" if len(text) > 2 else "****"
