"""Verification codes: told by quick look-ups exactly as by the plain patterns that say what is meant."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from mingbai.engines.screening import codes

WORD = re.compile(
    r"验证码|校验码|动态码|动态密码|动态口令|短信口令|确认码|随机码|登录码|授权码|短信密码"
    r"|(?i:(?:verification|security|one[- ]?time|login|auth|authentication|confirmation|access) ?(?:code|password|pin))"
    r"|(?i:\bpasscode\b|\botp\b)"
)
CODE = re.compile(r"(?<![0-9A-Za-z*])(?:[0-9]{4,8}|[A-Z]{1,3}-[0-9]{4,8}|[0-9]{3}[- ][0-9]{3})(?![0-9A-Za-z])")
WAY_TO_REACH = re.compile(
    r"[0-9][0-9 -]{7,}[0-9]"
    r"|(?i:微信|薇信|加[vV微薇]|[vV]信|\bqq\b|扣扣|whatsapp|telegram|line id)"
    r"|(?i:https?:|www\.)"
    r"|(?<![A-Za-z0-9])(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9_]{7,}"
)


def plain(text: str) -> bool:
    word = WORD.search(text)
    if len(text) > 200 or not word or WAY_TO_REACH.search(text):
        return False
    return CODE.search(text[max(0, word.start() - 30) : word.end() + 30]) is not None


parts = st.sampled_from(
    [
        *codes.WORDS,
        *("Verification Code", "one-time PIN", "xpasscode", "_otp", "OTP", "ſecurity code", "logİn code", "logın pin"),
        *("1234", "12345678", "AB-1234", "123 456", "1380013 8000", "ab12345", "a_b12345", "abcdefg"),
        *("qq", "QQ", "加V", "V信", "whatsapp", "微信", "https:", "http", "www.", "\u212a"),
        *(" ", "，", ".", "-", "你", "的", "is", "password", "é", "your account " * 3),
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(parts, max_size=9).map("".join)))
@example("您的验证码是482913，5分钟内有效")
@example("İİİ Your OTP is 482913")
@example("otp " + "a" * 30 + "1234")
def test_quick_look_ups_say_what_the_plain_patterns_say(text: str) -> None:
    assert codes.is_verification_code(text, has_foreign_url=False) == plain(text)


def test_a_message_about_one_code_is_one_and_with_a_foreign_url_it_is_not() -> None:
    text = "Your verification code is 482913."
    assert codes.is_verification_code(text, has_foreign_url=False)
    assert not codes.is_verification_code(text, has_foreign_url=True)
