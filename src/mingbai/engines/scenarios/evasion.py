"""What spammers do to text so that a filter misses it, for training and for measuring how well screening holds.

Every kind takes a rate: the probability that a place it can change (a character, a word, a gap) is changed; 0 leaves
the text as it is. The texts stay readable for a person. `odd_style` is the counterpart for honest writers, so that a
model learns that odd letters alone are no crime.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache

import pyarrow as pa

from mingbai.engines.scenarios.evasion_tables import Table, tables
from mingbai.kernel.errors import BadValue

CHINESE_KINDS = (
    "trad",
    "homophone",
    "pinyin",
    "split",
    "lookalike",
    "keyword_swap",
    "fullwidth",
    "homoglyph",
    "zero_width",
    "combining",
    "insert",
    "emoji",
    "pad",
    "numerals",
    "mixed",
)
ENGLISH_KINDS = (
    "leet",
    "homoglyph",
    "zero_width",
    "combining",
    "insert",
    "fullwidth",
    "typo",
    "pad",
    "emoji",
    "mathematical",
    "mixed",
)
ODD_STYLES = ("emoji", "traditional", "fullwidth", "mixed")

# Zero-width space, joiners, word joiner, byte order mark, soft hyphen, vowel separator, grapheme joiner, variation
# selector, left-to-right mark, function application.
ZERO_WIDTH = tuple("\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u034f\ufe0f\u200e\u2061")
# Strokes through, lines below, dots and accents.
COMBINING = tuple("\u0336\u0332\u0335\u0307\u0323\u0301\u0338")
SIGNS = tuple("   .-_*·|~/^',、。`+=:　•—#@丶丿灬卩\u00a0\u2009…°¨″")
ENGLISH_SIGNS = tuple("  .-_*·|~/^',`+\u00a0\u2009•\\=")
EMOJI = tuple(
    "😀😂🤣😊😍🥰😘😎🤩😉👍👌🙏💪🎉🎁🎊🔥⭐✨💥💯❤💕💖🌹🌸🍀🌈☀⚡💰💵💴🧧💳📱📞☎✅✔❗‼⚠🔔📢👉👇👈🔗🏆🥇🎰🎲🃏♠♥♦♣🚀📈🈶🈲㊗㊙🉐🐂🐶🍎🍉🍓🚗✈🏠💊💋👙🔞🆘🆕🆓🔴🟢🔵"
)
# Code points of bold, italic, script, fraktur, sans-serif and monospace A, and of the digit 0 of five sets.
MATHEMATICAL_A = (0x1D400, 0x1D434, 0x1D468, 0x1D4D0, 0x1D56C, 0x1D5A0, 0x1D5D4, 0x1D608, 0x1D63C, 0x1D670)
MATHEMATICAL_0 = (0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6)
CIRCLED_A, SQUARED_A, NEGATIVE_SQUARED_A = 0x24B6, 0x1F130, 0x1F170

Change = Callable[[str, random.Random], str | None]  # a character -> what it becomes, None where it does not apply
Kind = Callable[[str, float, random.Random], str]  # a text, the rate -> the changed text


def perturb(texts: pa.StringArray | Sequence[str], kind: str, rate: float, seed: int) -> list[str]:
    """The texts as a spammer would disguise them; the same for the same arguments.

    kind: one of CHINESE_KINDS or ENGLISH_KINDS (`mixed` and `pad` look at each text's own language). rate: 0..1, the
    probability that a place is changed; 0 returns the texts unchanged. Raises BadValue for another kind or rate.
    """
    kinds = _kinds()
    if kind not in kinds:
        raise BadValue(field="kind", value=kind, expected="one of " + ", ".join(kinds))
    plain = _as_list(texts, rate)
    rng = random.Random(f"perturb:{kind}:{rate}:{seed}")
    return [kinds[kind](text, rate, rng) if rate else text for text in plain]


def odd_style(texts: pa.StringArray | Sequence[str], kind: str, rate: float, seed: int) -> list[str]:
    """The texts as honest people with odd habits write them; the same for the same arguments.

    kind: one of ODD_STYLES. For half of the messages `rate` is the probability of each place, for the others that of
    the whole message (people who write traditional characters write them throughout). Raises BadValue.
    """
    if kind not in ODD_STYLES:
        raise BadValue(field="kind", value=kind, expected="one of " + ", ".join(ODD_STYLES))
    plain = _as_list(texts, rate)
    rng = random.Random(f"odd:{kind}:{rate}:{seed}")
    return [_odd(text, kind, rate, rng) if rate else text for text in plain]


def is_han(char: str) -> bool:
    return "㐀" <= char <= "鿿"


def is_chinese(text: str) -> bool:
    """Whether a text counts as Chinese: more than a tenth of its characters are Han."""
    return sum(map(is_han, text)) * 10 > len(text)


def _as_list(texts: pa.StringArray | Sequence[str], rate: float) -> list[str]:
    if not 0.0 <= rate <= 1.0:
        raise BadValue(field="rate", value=rate, expected="0 to 1")
    if isinstance(texts, pa.Array | pa.ChunkedArray):
        return [text or "" for text in texts.to_pylist()]
    return list(texts)


# --- one character ----------------------------------------------------------------------------------------------------
def _from(table: Table) -> Change:
    def change(char: str, rng: random.Random) -> str | None:
        forms = table.get(char)
        return forms[int(rng.random() * len(forms))] if forms else None

    return change


def _traditional(char: str, rng: random.Random) -> str | None:
    forms = tables().traditional.get(char)
    if not forms:
        return None
    return forms[0] if len(forms) == 1 or rng.random() < 0.8 else forms[1]


def _pinyin(char: str, rng: random.Random) -> str | None:
    syllable = tables().syllable.get(char)
    if syllable is None:
        return None
    draw = rng.random()
    if draw < 0.7:
        return syllable
    if draw < 0.8:
        return syllable.capitalize()
    if draw < 0.88:
        return syllable[0]
    return syllable.upper() if draw < 0.93 else f" {syllable} "


def _fullwidth(char: str, rng: random.Random) -> str | None:
    if "!" <= char <= "~":
        return chr(ord(char) + 0xFEE0)
    return "\u3000" if char == " " else None


def _homoglyph(char: str, rng: random.Random) -> str | None:
    forms = tables().homoglyph.get(char) or tables().radical.get(char)
    return forms[int(rng.random() * len(forms))] if forms else None


def _zero_width(char: str, rng: random.Random) -> str | None:
    return char + "".join(rng.choices(ZERO_WIDTH, k=1 if rng.random() < 0.8 else 2))


def _combining(char: str, rng: random.Random) -> str | None:
    return char + rng.choice(COMBINING) if char.isalnum() else None


def _insert(char: str, rng: random.Random) -> str | None:
    return char + rng.choice(SIGNS if is_han(char) else ENGLISH_SIGNS)


def _emoji(char: str, rng: random.Random) -> str | None:
    return char + rng.choice(EMOJI)


def _mathematical(char: str, rng: random.Random) -> str | None:
    """Mathematical, circled and squared letters, mathematical digits."""
    if "0" <= char <= "9":
        return chr(rng.choice(MATHEMATICAL_0) + ord(char) - ord("0"))
    if not (char.isascii() and char.isalpha()):
        return None
    # Both orders of the alphabet follow each other: 26 capitals, then 26 small letters.
    place = ord(char) - ord("A") if char.isupper() else ord(char) - ord("a") + 26
    draw = rng.random()
    if draw < 0.7:
        return chr(rng.choice(MATHEMATICAL_A) + place)
    if draw < 0.85:
        return chr(CIRCLED_A + place)
    return chr((SQUARED_A if rng.random() < 0.5 else NEGATIVE_SQUARED_A) + place % 26)


_KEY_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {
    key: [row[at] for at in (column - 1, column + 1) if 0 <= at < len(row)]
    + [other[column] for other in _KEY_ROWS if other is not row and column < len(other)]
    for row in _KEY_ROWS
    for column, key in enumerate(row)
}


def _slip(char: str, rng: random.Random) -> str | None:
    """A letter missing, doubled, or its neighbour on the keyboard."""
    if not (char.isascii() and char.isalpha()):
        return None
    draw = rng.random()
    if draw < 0.3:
        return ""
    return char * 2 if draw < 0.55 else rng.choice(_NEIGHBOURS[char.lower()])


def _each(text: str, change: Change, rate: float, rng: random.Random) -> str:
    draw = rng.random
    return "".join([new if draw() < rate and (new := change(char, rng)) is not None else char for char in text])


# --- words and whole messages -----------------------------------------------------------------------------------------
def _swap_words(text: str, table: Table, rate: float, rng: random.Random) -> str:
    """Each occurrence of a word of the table becomes one of its forms with probability `rate`."""
    for word, forms in table.items():
        if word in text:
            head, *tail = text.split(word)
            text = head + "".join((rng.choice(forms) if rng.random() < rate else word) + part for part in tail)
    return text


def _keyword_swap(text: str, rate: float, rng: random.Random) -> str:
    # Keywords are few: at the bare rate most messages would stay as they are.
    return _swap_words(text, tables().keyword, min(1.0, rate * 2), rng)


def _emoji_everywhere(text: str, rate: float, rng: random.Random) -> str:
    return _each(_swap_words(text, tables().emoji_word, rate, rng), _emoji, rate * 0.6, rng)


def _typo(text: str, rate: float, rng: random.Random) -> str:
    """Neighbours exchanged inside words, then slips on single letters; `rate` is per letter."""
    chars = list(text)
    at = 1
    while at < len(chars) - 1:
        if chars[at].isalpha() and chars[at + 1].isalpha() and rng.random() < rate * 0.4:
            chars[at], chars[at + 1] = chars[at + 1], chars[at]
            at += 1
        at += 1
    return _each("".join(chars), _slip, rate * 0.6, rng)


def _pad(text: str, rate: float, rng: random.Random) -> str:
    """Harmless words before, after or inside; at rate 0.3 about a third of the message is padding."""
    pads = tables().pads["zh" if is_chinese(text) else "en"]
    marks = "，。 ；~！" if is_chinese(text) else ".,  ;"
    budget = rate * len(text) * 1.5
    while budget > 0 and (budget >= 12 or rng.random() < budget / 12):
        pad, mark, draw = rng.choice(pads), rng.choice(marks), rng.random()
        if draw < 0.35:
            text = pad + mark + text
        elif draw < 0.8:
            text = text + mark + pad
        else:
            at = rng.randrange(len(text) + 1)
            text = text[:at] + mark + pad + mark + text[at:]
        budget -= len(pad)
    return text


def _mixed(text: str, rate: float, rng: random.Random) -> str:
    """Half the messages use all kinds, the others two to four: a real spammer has habits."""
    kinds = _chinese_mix() if is_chinese(text) else _english_mix()
    chosen = list(kinds) if rng.random() < 0.5 else rng.sample(kinds, rng.randint(2, 4))
    changes = [change for change, _ in chosen]
    weights = [weight for _, weight in chosen]
    if is_chinese(text):
        text = _swap_words(text, tables().keyword, rate, rng)

    def any_change(char: str, rng: random.Random) -> str | None:
        # Up to three tries, so that the rate holds although most kinds apply to few characters.
        for change in rng.choices(changes, weights, k=3):
            changed = change(char, rng)
            if changed is not None:
                return changed
        return None

    text = _each(text, any_change, rate, rng)
    return _pad(text, rate, rng) if rng.random() < 0.15 else text


@cache
def _chinese_mix() -> tuple[tuple[Change, int], ...]:
    """Changes and their weights."""
    return (
        (_traditional, 3),
        (_from(tables().homophone), 3),
        (_pinyin, 2),
        (_from(tables().split), 3),
        (_from(tables().lookalike), 3),
        (_fullwidth, 2),
        (_homoglyph, 2),
        (_zero_width, 1),
        (_insert, 2),
        (_emoji, 1),
        (_from(tables().numeral), 2),
        (_mathematical, 1),
        (_combining, 1),
    )


@cache
def _english_mix() -> tuple[tuple[Change, int], ...]:
    return (
        (_from(tables().leet), 3),
        (_homoglyph, 3),
        (_zero_width, 1),
        (_insert, 2),
        (_fullwidth, 2),
        (_slip, 2),
        (_mathematical, 2),
        (_combining, 1),
        (_emoji, 1),
    )


def _whole(change: Change) -> Kind:
    return lambda text, rate, rng: _each(text, change, rate, rng)


@cache
def _kinds() -> dict[str, Kind]:
    return {
        "trad": _whole(_traditional),
        "homophone": _whole(_from(tables().homophone)),
        "pinyin": _whole(_pinyin),
        "split": _whole(_from(tables().split)),
        "lookalike": _whole(_from(tables().lookalike)),
        "keyword_swap": _keyword_swap,
        "fullwidth": _whole(_fullwidth),
        "homoglyph": _whole(_homoglyph),
        "zero_width": _whole(_zero_width),
        "combining": _whole(_combining),
        "insert": _whole(_insert),
        "emoji": _emoji_everywhere,
        "pad": _pad,
        "numerals": _whole(_from(tables().numeral)),
        "leet": _whole(_from(tables().leet)),
        "typo": _typo,
        "mathematical": _whole(_mathematical),
        "mixed": _mixed,
    }


# --- honest writers ---------------------------------------------------------------------------------------------------
def _odd(text: str, kind: str, rate: float, rng: random.Random) -> str:
    if rng.random() < 0.5:
        if rng.random() >= rate:
            return text
        rate = 1.0
    if kind == "mixed":
        for part in rng.sample(("emoji", "traditional", "fullwidth"), 2):
            text = _restyle(text, part, rate * 0.7, rng)
        return text
    return _restyle(text, kind, rate, rng)


def _restyle(text: str, kind: str, rate: float, rng: random.Random) -> str:
    if kind == "traditional":
        return _each(text, _traditional, rate, rng)
    if kind == "fullwidth":
        return _each(text, _fullwidth, rate, rng)
    # People put emoji at the ends of clauses, seldom inside a word.
    ends = set("，。！？,.!?~ ")
    text = "".join([char + rng.choice(EMOJI) if char in ends and rng.random() < rate else char for char in text])
    if rng.random() < max(rate, 0.4):
        text += rng.choice(EMOJI) * rng.choice((1, 1, 1, 2, 3))
    return _each(text, _emoji, rate * 0.15, rng)
