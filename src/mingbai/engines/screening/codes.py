"""Verification codes, which must arrive: a blocked bank code costs more than ten passed adverts.

`is_verification_code` is strict, because what it accepts the model alone may not block: the whole message must be about
one short code, and hold no other way to reach anybody. `WORDS` go into the keyword matcher, so that only messages with
one of them are looked at.
"""

from __future__ import annotations

import re
from typing import Final

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
_WORD = re.compile(
    r"验证码|校验码|动态码|动态密码|动态口令|短信口令|确认码|随机码|登录码|授权码|短信密码"
    r"|(?i:(?:verification|security|one[- ]?time|login|auth|authentication|confirmation|access) ?(?:code|password|pin))"
    r"|(?i:\bpasscode\b|\botp\b)"
)
_CODE = re.compile(r"(?<![0-9A-Za-z*])(?:[0-9]{4,8}|[A-Z]{1,3}-[0-9]{4,8}|[0-9]{3}[- ][0-9]{3})(?![0-9A-Za-z])")
_WAY_TO_REACH = re.compile(
    r"[0-9][0-9 -]{7,}[0-9]"  # a phone number or account
    r"|(?i:微信|薇信|加[vV微薇]|[vV]信|\bqq\b|扣扣|whatsapp|telegram|line id)"
    r"|(?i:https?:|www\.)"
    r"|(?<![A-Za-z0-9])(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9_]{7,}"  # an account name
)


def is_verification_code(text: str, *, has_foreign_url: bool) -> bool:
    """Whether a message brings one verification code and nothing else.

    has_foreign_url: it holds a URL that is not a known brand's own.
    """
    if has_foreign_url or len(text) > _MAX_CHARS:
        return False
    word = _WORD.search(text)
    if not word or _WAY_TO_REACH.search(text):
        return False
    near = text[max(0, word.start() - _CODE_REACH) : word.end() + _CODE_REACH]
    return _CODE.search(near) is not None
