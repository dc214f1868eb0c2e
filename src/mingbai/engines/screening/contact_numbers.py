"""Whether a number that the keyword matcher found in a message is that number, and not a part of a longer one.

The matcher sees digits and letters without what stands between them, so "138 0013-8000" is found as 13800138000, and so
is the middle of an order number. Here the original text decides.
"""

from __future__ import annotations

from mingbai.engines.screening.rulebook_types import NumberPattern

_CALL_PREFIXES = frozenset({"86", "086", "0086", "17951", "17911", "12593", "0"})
_LABELS = frozenset({"", "qq", "q", "v", "wx", "vx", "weixin", "wechat"})  # written right before an account's name
_MAX_DIGITS = 20


def stands_alone(number: NumberPattern, text: str, start: int, end: int) -> bool:
    """Whether text[start:end], which reads like `number`, stands alone (a prefix: begins a number).

    A phone number may have a country code or call prefix before it. A prefix needs at least one more digit behind it,
    with single spaces or hyphens between digits allowed.
    """
    if number.kind == "contact":
        begin = start
        while begin > 0 and _is_name(text[begin - 1]):
            begin -= 1
        goes_on = end < len(text) and _is_name(text[end])
        return text[begin:start].lower() in _LABELS and goes_on == number.is_prefix
    begin = start
    while begin > 0 and text[begin - 1].isdigit():
        begin -= 1
    if begin < start and text[begin:start] not in _CALL_PREFIXES:
        return False
    more = 0
    at = end
    while at < len(text) and more < _MAX_DIGITS:
        if text[at].isdigit():
            more += 1
        elif not (number.is_prefix and text[at] in " -" and text[at + 1 : at + 2].isdigit()):
            break
        at += 1
    return 0 < more <= _MAX_DIGITS - len(number.text) if number.is_prefix else more == 0


def _is_name(char: str) -> bool:
    """Whether a character can belong to the name of an account."""
    return char.isascii() and (char.isalnum() or char in "_-")
