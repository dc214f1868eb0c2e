"""Typographic habits of senders: punctuation, spacing, capitals, abbreviations, and where the signature stands.

These are habits of honest writers and spammers alike, not evasions (those are in `evasion.py`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_ZH_HALF = str.maketrans("，。！？：；（）、", ",.!?:;(),")
_ZH_BARE = re.compile("[，。！？：；、,;!~]+")
# Two marks in a row, left by a slot that came out empty: the last one stands.
_ZH_DOUBLED = re.compile("[，、；：。](?=[，。；！：？、])|(?<=[？！])，")
_ZH_STOPS = re.compile("[，。；]")
_LINK = re.compile(r"(?:https?://|www\.)\S+|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[a-z]{2,}\b(?:/\S*)?")


def _outside_links(text: str, change: Callable[[str], str]) -> str:
    """Apply `change` to everything but links, which stay usable."""
    parts: list[str] = []
    end = 0
    for match in _LINK.finditer(text):
        parts += [change(text[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*parts, change(text[end:])])


def chinese_style(text: str, rng: random.Random) -> str:
    """Six in ten stay as the grammar wrote them; the others take one habit of punctuation."""
    text = _ZH_DOUBLED.sub("", text).strip("，、；： ")
    draw = rng.random()
    if draw < 0.58:
        return text
    if draw < 0.68:
        return _outside_links(text, lambda part: part.translate(_ZH_HALF))
    if draw < 0.74:
        return _outside_links(text, lambda part: _ZH_BARE.sub(" ", part)).strip()
    if draw < 0.80:
        return _outside_links(text, lambda part: _ZH_BARE.sub("", part)).strip()
    if draw < 0.86:
        return _outside_links(text, lambda part: part.replace("。", "！"))
    if draw < 0.92:
        return text.rstrip("。！!.~")
    if draw < 0.95:
        return _outside_links(text, lambda part: _ZH_STOPS.sub(lambda stop: rng.choice("，。；,; "), part))
    if draw < 0.97:
        return _outside_links(text, lambda part: part.replace("！", "!!").replace("。", "～"))
    return _LINK.sub(lambda link: f" {link[0]} ", text).strip()


_ABBREVIATIONS = (
    (re.compile(r"\byou\b", re.IGNORECASE), "u"),
    (re.compile(r"\byour\b", re.IGNORECASE), "ur"),
    (re.compile(r"\bare\b", re.IGNORECASE), "r"),
    (re.compile(r"\bplease\b", re.IGNORECASE), "pls"),
    (re.compile(r"\band\b", re.IGNORECASE), "&"),
    (re.compile(r"\bto\b", re.IGNORECASE), "2"),
    (re.compile(r"\bfor\b", re.IGNORECASE), "4"),
    (re.compile(r"\btomorrow\b", re.IGNORECASE), "tmrw"),
    (re.compile(r"\bmessage\b", re.IGNORECASE), "msg"),
    (re.compile(r"\baccount\b", re.IGNORECASE), "acct"),
    (re.compile(r"\bnumber\b", re.IGNORECASE), "no."),
    (re.compile(r"\bwith\b", re.IGNORECASE), "w/"),
    (re.compile(r"\bthanks\b", re.IGNORECASE), "thx"),
    (re.compile(r"\bminutes\b", re.IGNORECASE), "mins"),
)
# A sentence's first letter, unless a link starts there.
_SENTENCE = re.compile(r"(?:^|(?<=[.!?] )|(?<=\n))[a-z](?=[a-z']*(?:[ ,!?]|$))")
# A space before a mark, and spaces in a row, left by a slot that came out empty.
_EN_GAPS = re.compile(r" +([.,!?](?=[ .,]|$)| )")
_EN_MARKS = re.compile(r"[.,!?;:'\"]+(?=\s|$)")


def _abbreviated(part: str, rng: random.Random) -> str:
    for pattern, short in _ABBREVIATIONS:
        if rng.random() < 0.5:
            part = pattern.sub(short, part)
    return part


def _misspelt(part: str, rng: random.Random) -> str:
    """One slip of the thumb in about every eighth word of at least four letters."""
    words = part.split(" ")
    for index, word in enumerate(words):
        if len(word) >= 4 and word.isalpha() and rng.random() < 0.12:
            at = 1 + int(rng.random() * (len(word) - 2))
            kind = rng.random()
            if kind < 0.4:
                word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
            elif kind < 0.7:
                word = word[:at] + word[at + 1 :]
            else:
                word = word[:at] + word[at] + word[at:]
            words[index] = word
    return " ".join(words)


def english_style(text: str, rng: random.Random) -> str:
    """Half stay as the grammar wrote them; the others take one or two habits of case, spelling or punctuation."""
    text = _EN_GAPS.sub(lambda gap: gap[1], text).strip(" ,")
    if rng.random() < 0.85:
        text = _SENTENCE.sub(lambda start: start[0].upper(), text)
    draw = rng.random()
    if draw < 0.5:
        return text
    if draw < 0.60:
        text = _outside_links(text, str.lower)
    elif draw < 0.67:
        text = _outside_links(text, lambda part: _EN_MARKS.sub("", part))
    elif draw < 0.75:
        text = _outside_links(text, lambda part: _abbreviated(part, rng))
    elif draw < 0.81:
        text = _outside_links(text, lambda part: _misspelt(part, rng))
    elif draw < 0.85:
        text = _outside_links(text, lambda part: _EN_MARKS.sub("", part).lower())
    elif draw < 0.88:
        text = text.upper()
    elif draw < 0.91:
        text = _outside_links(text, lambda part: part.replace("'", ""))
    elif draw < 0.94:
        text = text.rstrip(".!") + rng.choice(["", "!", "!!", "...", " .", " Thanks"])
    elif draw < 0.97:
        text = text.replace("'", "’").replace(" - ", " – ")
    else:
        text = text.replace(". ", rng.choice([".  ", "\n", ".\n", " - "]))
    return text


def place_signature(text: str, signature: str, language: str, rng: random.Random) -> str:
    """The signature before or after the text. China: mostly 【name】 in front; English: `Name:` in front or behind."""
    if text.lower().startswith(signature.lower()):
        return text
    draw = rng.random()
    if language == "zh":
        if draw < 0.66:
            return f"【{signature}】{text}"
        if draw < 0.90:
            return f"{text}【{signature}】"
        if draw < 0.95:
            return f"{text}[{signature}]"
        return f"[{signature}]{text}" if draw < 0.98 else f"{text}{signature}"
    if draw < 0.5:
        return f"{signature}: {text}"
    if draw < 0.6:
        return f"[{signature}] {text}"
    if draw < 0.7:
        return f"{signature} - {text}"
    return f"{text} - {signature}" if draw < 0.85 else f"{text} {signature}"
