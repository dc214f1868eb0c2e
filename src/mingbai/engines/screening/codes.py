"""Verification codes, which must arrive: a blocked bank code costs more than ten passed adverts.

`is_verification_code` is strict, because what it accepts the model alone may not block: the whole message must be about
one short code, and hold no other way to reach anybody. `WORDS` go into the keyword matcher, so that only messages with
one of them are looked at.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening.url_hosts import UrlFlag
from mingbai.engines.screening.urls import UrlTable

WORDS: Final = (
    *(
        "验证码",
        "校验码",
        "动态码",
        "动态密码",
        "动态口令",
        "短信口令",
        "确认码",
        "随机码",
        "登录码",
        "授权码",
        "短信密码",
    ),
    *(
        "verification code",
        "security code",
        "one time password",
        "one time code",
        "passcode",
        "login code",
        "auth code",
    ),
    *("authentication code", "confirmation code", "access code", "otp", "one time pin"),
)
"""As the normalised text has them: matched without spaces, punctuation and case."""

_MAX_CHARS = 200  # real ones are shorter: a code, what it is for, a warning
_CODE_REACH = 30  # characters between the word and the code
_CODE = re.compile(r"(?<![0-9A-Za-z*])(?:[0-9]{4,8}|[A-Z]{1,3}-[0-9]{4,8}|[0-9]{3}[- ][0-9]{3})(?![0-9A-Za-z])")

# Patterns that begin with plain letters are many times faster than those that ignore case or look around first.
_CHINESE = re.compile("验证码|校验码|动态码|动态密码|动态口令|短信口令|确认码|随机码|登录码|授权码|短信密码")
_KINDS = ("verification", "security", "one[- ]?time", "login", "auth", "authentication", "confirmation", "access")
_ENGLISH = re.compile(
    "|".join(rf"{kind} ?(?:code|password|pin)" for kind in _KINDS) + r"|passcode(?<!\wpasscode)\b|otp(?<!\wotp)\b"
)
_ENGLISH_ENDS = ("code", "password", "pin", "otp")

_LONG_NUMBER = re.compile(r"[0-9][0-9 -]{7,}[0-9]")  # a phone number or account
_CHANNELS = (
    *("微信", "薇信", "加v", "加微", "加薇", "v信", "扣扣", "whatsapp", "telegram", "line id"),
    *("http:", "https:", "www."),
)
_QQ = re.compile(r"\bqq\b")
_LONG_NAME = re.compile(r"[0-9A-Za-z_]{7,}")
_ACCOUNT_NAME = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9_]{7,}")


_OFFICIAL = int(UrlFlag.OFFICIAL)


def verification_codes(texts: pa.Array, links: UrlTable, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """For each text whether it is a verification code. links: URLs of the texts; rows: those with one of `WORDS`."""
    result = np.zeros(len(texts), np.bool_)
    if len(rows):
        linked = links.rows.tolist()
        for row in rows.tolist():
            if is_verification_code(texts[row].as_py(), has_foreign_url=False):
                first, end = bisect_left(linked, row), bisect_right(linked, row)
                result[row] = all(url.flags & _OFFICIAL for url in links.urls[first:end])
    return result


def is_verification_code(text: str, *, has_foreign_url: bool) -> bool:
    """Whether a message brings one verification code and nothing else.

    has_foreign_url: it holds a URL that is not a known brand's own.
    """
    if has_foreign_url or len(text) > _MAX_CHARS:
        return False
    lower = text.lower()
    if not text.isascii():  # letters that ignoring case takes for ASCII ones, though they have other small letters
        lower = text.replace("İ", "i").replace("ı", "i").replace("ſ", "s").lower()
    word = _word(lower)
    if not word:
        return False
    near = text[max(0, word.start() - _CODE_REACH) : word.end() + _CODE_REACH]
    return _CODE.search(near) is not None and not _names_a_way_to_reach(text, lower)


def _word(lower: str) -> re.Match[str] | None:
    """The first word for a code."""
    english = _ENGLISH.search(lower) if any(end in lower for end in _ENGLISH_ENDS) else None
    chinese = None if lower.isascii() else _CHINESE.search(lower)
    if english and chinese:
        return min(english, chinese, key=re.Match.start)
    return english or chinese


def _names_a_way_to_reach(text: str, lower: str) -> bool:
    return (
        any(channel in lower for channel in _CHANNELS)
        or ("qq" in lower and _QQ.search(lower) is not None)
        or _LONG_NUMBER.search(text) is not None
        or any(
            not name.isalpha() and not name.isdigit() and _ACCOUNT_NAME.search(name) is not None
            for name in _LONG_NAME.findall(text)
        )
    )
