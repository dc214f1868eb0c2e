"""What spammers do to text so that a filter misses it, for training and for measuring how well screening holds.

Every kind takes a rate: the probability that a place it can change (a character, a word, a gap) is changed; 0 leaves the
text as it is. The texts stay readable for a person. Tables are data files in `data/evasion/`; `odd_style` is the counterpart
for honest writers, so that a model learns that odd letters alone are no crime.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import pyarrow as pa

from mingbai.kernel.errors import BadValue

Table = dict[str, Sequence[str]]

ZERO_WIDTH = ("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u180e", "\u034f", "\ufe0f", "\u200e", "\u2061")
COMBINING = ("\u0336", "\u0332", "\u0335", "\u0307", "\u0323", "\u0301", "\u0338")
SIGNS = (" ", " ", " ", ".", "-", "_", "*", "·", "|", "~", "/", "^", "'", ",", "、", "。", "`", "+", "=", ":", "　", "•", "—", "#", "@", "丶", "丿", "灬", "卩", "\u00a0", "\u2009", "…", "°", "¨", "″")
EN_SIGNS = (" ", " ", ".", "-", "_", "*", "·", "|", "~", "/", "^", "'", ",", "`", "+", "\u00a0", "\u2009", "•", "\\", "=")
EMOJI = tuple("😀😂🤣😊😍🥰😘😎🤩😉👍👌🙏💪🎉🎁🎊🔥⭐✨💥💯❤💕💖🌹🌸🍀🌈☀⚡💰💵💴🧧💳📱📞☎✅✔❗‼⚠🔔📢👉👇👈🔗🏆🥇🎰🎲🃏♠♥♦♣🚀📈🈶🈲㊗㊙🉐🐂🐶🍎🍉🍓🚗✈🏠💊💋👙🔞🆘🆕🆓🔴🟢🔵")
EMOJI_WORDS: Table = {
    "钱": ("💰", "💵", "🪙"), "奖": ("🏆", "🎁"), "礼": ("🎁",), "红包": ("🧧",), "电话": ("☎️", "📞"), "手机": ("📱",), "卡": ("💳",), "加": ("➕", "+"),
    "心": ("❤️", "♥"), "火": ("🔥",), "赚": ("💰",), "点": ("👉", "•"), "送": ("🎁",), "牛": ("🐂", "🐮"), "马": ("🐴",), "鸡": ("🐔",), "花": ("🌸",),
    "车": ("🚗",), "房": ("🏠",), "飞机": ("✈️",), "药": ("💊",), "水": ("💧",), "日": ("☀️",), "月": ("🌙",), "星": ("⭐",), "王": ("👑",), "中": ("🀄", "㊥"),
    "发": ("🀅",), "白": ("🀆",), "男": ("👨", "♂"), "女": ("👩", "♀"), "妹": ("👧",), "天": ("☁️",), "金": ("🪙", "㊎"), "木": ("🌲",), "土": ("㊏",), "一": ("1️⃣",),
    "微信": ("💬", "🛰️"), "群": ("👥",), "赌": ("🎰", "🎲"), "牌": ("🃏",), "彩": ("🌈",), "票": ("🎫", "🧾"), "信": ("✉️", "📧"), "快": ("⚡",), "好": ("👌", "👍"),
    "money": ("💰",), "cash": ("💵",), "phone": ("📱",), "call": ("📞",), "gift": ("🎁",), "win": ("🏆",), "free": ("🆓",), "car": ("🚗",), "card": ("💳",), "love": ("❤️",),
    "hot": ("🔥",), "click": ("👉",), "link": ("🔗",), "package": ("📦",), "parcel": ("📦",), "bank": ("🏦",), "ok": ("👌", "🆗"), "new": ("🆕",), "key": ("🔑",),
}  # fmt: skip
NUMERALS: tuple[str, ...] = (
    "〇零Oo⓪０○洞", "一壹①⒈¹l１㈠幺", "二贰②⒉²２㈡两", "三叁③⒊³３㈢", "四肆④⒋⁴４㈣", "五伍⑤⒌⁵５㈤", "六陆⑥⒍⁶６㈥", "七柒⑦⒎⁷７㈦拐", "八捌⑧⒏⁸８㈧", "九玖⑨⒐⁹９㈨勾",
)  # fmt: skip
# Mathematical alphabets and their like: code point of `A` (or of `a` for the lower-case-only sets).
MATH_UPPER = (0x1D400, 0x1D434, 0x1D468, 0x1D4D0, 0x1D56C, 0x1D5A0, 0x1D5D4, 0x1D608, 0x1D63C, 0x1D670)
MATH_DIGIT = (0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6)
LOOKALIKE_SYLLABLES = (("zh", "z"), ("ch", "c"), ("sh", "s"), ("ang", "an"), ("eng", "en"), ("ing", "in"), ("l", "n"), ("h", "f"))


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables, read once: each maps a character (or word) to what may stand for it."""

    traditional: Table
    syllable: dict[str, str]
    homophone: Table
    split: Table
    lookalike: Table
    radical: Table
    keyword: Table
    homoglyph: Table
    leet: Table
    pads: dict[str, Sequence[str]]


def _lines(name: str) -> Iterable[str]:
    text = (files(__package__) / "data" / "evasion" / name).read_text(encoding="utf-8")
    return (line for line in text.splitlines() if line and not line.startswith("# "))


def _read_splits() -> tuple[Table, dict[str, set[str]]]:
    """Character -> ways to write it in parts; and part -> characters that contain it."""
    instead: dict[str, str] = {}
    split: dict[str, list[str]] = {}
    by_part: dict[str, set[str]] = {}
    for line in _lines("split.txt"):
        head, *entries = line.replace("=", "= ", 1).split() if line[0] == "=" else line.split()
        if head[0] == "~":
            instead[head[1]] = entries[0]
            continue
        for entry in entries:
            whole, rest = entry[0], entry[1:]
            parts = rest if head == "=" else head[1] + rest
            first = instead.get(parts[0], parts[0])
            forms = [form + parts[1:] for form in first]
            split.setdefault(whole, []).extend(form for form in forms if form not in split.get(whole, []))
            by_part.setdefault(parts[1:], set()).add(whole)
    return {char: tuple(forms) for char, forms in split.items()}, by_part


@cache
def tables() -> Tables:
    """The tables, from the package's data files."""
    by_syllable = dict(line.split("\t") for line in _lines("syllables.tsv"))
    syllable = {char: name for name, chars in by_syllable.items() for char in chars}
    homophone: Table = {}
    for name, chars in by_syllable.items():
        near = ""
        for left, right in LOOKALIKE_SYLLABLES:
            if left in name:
                near += by_syllable.get(name.replace(left, right), "")[:6]
        for at, char in enumerate(chars):
            # Three times the exact sound, once the near one.
            homophone[char] = tuple((chars[:at] + chars[at + 1 :]) * 3 + near)
    split, by_part = _read_splits()
    shapes: dict[str, set[str]] = {}
    for line in _lines("lookalike.txt"):
        for char in line.strip()[1:]:
            shapes.setdefault(line[0], set()).add(char)
    for family in by_part.values():
        for char in family:
            shapes.setdefault(char, set()).update(family - {char})
    return Tables(
        traditional={line[0]: tuple(line.split("\t")[1]) for line in _lines("traditional.tsv")},
        syllable=syllable,
        homophone={char: others for char, others in homophone.items() if others},
        split=split,
        lookalike={char: tuple(sorted(others)) for char, others in shapes.items() if others - {char}},
        radical={line[0]: tuple(line.split("\t")[1]) for line in _lines("radicals.tsv")},
        keyword={word: tuple(others) for word, *others in (line.split() for line in _lines("keywords.txt"))},
        homoglyph={line[0]: tuple(line[2:]) for line in _lines("homoglyph.txt")},
        leet={line[0]: tuple(line[2:]) for line in _lines("leet.txt")},
        pads=_read_pads(),
    )


def _read_pads() -> dict[str, Sequence[str]]:
    pads: dict[str, list[str]] = {}
    language = ""
    for line in _lines("pads.txt"):
        if line.startswith("["):
            language = line.strip("[]")
        else:
            pads.setdefault(language, []).append(line)
    return {language: tuple(lines) for language, lines in pads.items()}


def is_han(char: str) -> bool:
    return "㐀" <= char <= "鿿"


def is_chinese(text: str) -> bool:
    """Whether a text counts as Chinese: it has more Han characters than a tenth of its length."""
    return sum(map(is_han, text)) * 10 > len(text)


# --- changes to one character: what it becomes, or None where the kind does not apply ---------------------------------
Change = Callable[[str, random.Random], str | None]


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
    table = tables()
    forms = table.homoglyph.get(char) or table.radical.get(char)
    return forms[int(rng.random() * len(forms))] if forms else None


def _zero_width(char: str, rng: random.Random) -> str | None:
    count = 1 if rng.random() < 0.8 else 2
    return char + "".join(rng.choices(ZERO_WIDTH, k=count))


def _combining(char: str, rng: random.Random) -> str | None:
    return char + rng.choice(COMBINING) if char.isalnum() else None


def _insert(char: str, rng: random.Random) -> str | None:
    return char + rng.choice(SIGNS if is_han(char) else EN_SIGNS)


def _emoji(char: str, rng: random.Random) -> str | None:
    return char + rng.choice(EMOJI)


def _numerals(char: str, rng: random.Random) -> str | None:
    if not "0" <= char <= "9":
        return None
    forms = NUMERALS[ord(char) - 48]
    return forms[int(rng.random() * len(forms))]


def _mathematical(char: str, rng: random.Random) -> str | None:
    if "A" <= char <= "Z" or "a" <= char <= "z":
        offset = ord(char) - (65 if char <= "Z" else 71)
        draw = rng.random()
        if draw < 0.7:
            return chr(rng.choice(MATH_UPPER) + offset)
        if draw < 0.85:
            return chr(0x24B6 + offset)
        return chr((0x1F130 if rng.random() < 0.5 else 0x1F170) + offset % 26)
    if "0" <= char <= "9":
        return chr(rng.choice(MATH_DIGIT) + ord(char) - 48)
    return None


def _typo(char: str, rng: random.Random) -> str | None:
    """A slip of the thumb on one letter: missing, doubled, a neighbouring key."""
    if not char.isascii() or not char.isalpha():
        return None
    draw = rng.random()
    if draw < 0.3:
        return ""
    if draw < 0.55:
        return char * 2
    near = _NEIGHBOURS[char.lower()]
    return near[int(rng.random() * len(near))]


_KEY_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {
    key: [row[at] for at in (column - 1, column + 1) if 0 <= at < len(row)] + [below[column] for below in _KEY_ROWS if below is not row and column < len(below)]
    for row in _KEY_ROWS
    for column, key in enumerate(row)
}


def _each(text: str, change: Change, rate: float, rng: random.Random) -> str:
    draw = rng.random
    return "".join([changed if draw() < rate and (changed := change(char, rng)) is not None else char for char in text])


# --- changes to words and whole messages ------------------------------------------------------------------------------
def _swap_words(text: str, table: Table, rate: float, rng: random.Random) -> str:
    """Each occurrence of a word of the table becomes one of its forms with probability `rate`."""
    for word, forms in table.items():
        if word in text:
            head, *tail = text.split(word)
            text = head + "".join((rng.choice(forms) if rng.random() < rate else word) + part for part in tail)
    return text


def _swap_letters(text: str, rate: float, rng: random.Random) -> str:
    """Exchange neighbours inside words, then slips on single letters; `rate` is per letter."""
    chars = list(text)
    at = 1
    while at < len(chars) - 1:
        if chars[at].isalpha() and chars[at + 1].isalpha() and rng.random() < rate * 0.4:
            chars[at], chars[at + 1] = chars[at + 1], chars[at]
            at += 1
        at += 1
    return _each("".join(chars), _typo, rate * 0.6, rng)


def _pad(text: str, rate: float, rng: random.Random) -> str:
    """Harmless words before, after or inside; at rate 0.3 about a third of the message is padding."""
    pads = tables().pads["zh" if is_chinese(text) else "en"]
    stop = "，。 ；~！" if is_chinese(text) else ".,  ;"
    budget = rate * len(text) * 1.5
    while budget > 0:
        if budget < 12 and rng.random() > budget / 12:
            break
        pad = rng.choice(pads)
        mark = rng.choice(stop)
        draw = rng.random()
        if draw < 0.35:
            text = pad + mark + text
        elif draw < 0.8:
            text = text + mark + pad
        else:
            at = rng.randrange(len(text) + 1)
            text = text[:at] + mark + pad + mark + text[at:]
        budget -= len(pad)
    return text


def _mix(text: str, kinds: Sequence[tuple[Change, int]], words: Table, rate: float, rng: random.Random) -> str:
    """Half the messages use all kinds, the others two to four: a real spammer has habits."""
    chosen = list(kinds) if rng.random() < 0.5 else rng.sample(list(kinds), rng.randint(2, 4))
    changes = [change for change, _ in chosen]
    weights = [weight for _, weight in chosen]
    text = _swap_words(text, words, rate, rng)

    def any_change(char: str, rng: random.Random) -> str | None:
        # Up to three tries, so that the rate holds although most kinds apply to few characters.
        for change in rng.choices(changes, weights, k=3):
            changed = change(char, rng)
            if changed is not None:
                return changed
        return None

    text = _each(text, any_change, rate, rng)
    return _pad(text, rate, rng) if rng.random() < 0.15 else text


def _zh_mixed(text: str, rate: float, rng: random.Random) -> str:
    kinds: list[tuple[Change, int]] = [
        (_traditional, 3), (_from(tables().homophone), 3), (_pinyin, 2), (_from(tables().split), 3), (_from(tables().lookalike), 3), (_fullwidth, 2),
        (_homoglyph, 2), (_zero_width, 1), (_insert, 2), (_emoji, 1), (_numerals, 2), (_mathematical, 1), (_combining, 1),
    ]  # fmt: skip
    return _mix(text, kinds, tables().keyword, rate, rng)


def _en_mixed(text: str, rate: float, rng: random.Random) -> str:
    kinds: list[tuple[Change, int]] = [
        (_from(tables().leet), 3), (_homoglyph, 3), (_zero_width, 1), (_insert, 2), (_fullwidth, 2), (_typo, 2), (_mathematical, 2), (_combining, 1), (_emoji, 1),
    ]  # fmt: skip
    return _mix(text, kinds, {}, rate, rng)


def _mixed(text: str, rate: float, rng: random.Random) -> str:
    return (_zh_mixed if is_chinese(text) else _en_mixed)(text, rate, rng)


def _whole(change: Change) -> Callable[[str, float, random.Random], str]:
    return lambda text, rate, rng: _each(text, change, rate, rng)


Kind = Callable[[str, float, random.Random], str]


@cache
def _kinds() -> dict[str, Kind]:
    return {
        "trad": _whole(_traditional),
        "homophone": _whole(_from(tables().homophone)),
        "pinyin": _whole(_pinyin),
        "split": _whole(_from(tables().split)),
        "lookalike": _whole(_from(tables().lookalike)),
        "keyword_swap": lambda text, rate, rng: _swap_words(text, tables().keyword, min(1.0, rate * 2), rng),
        "fullwidth": _whole(_fullwidth),
        "homoglyph": _whole(_homoglyph),
        "zero_width": _whole(_zero_width),
        "combining": _whole(_combining),
        "insert": _whole(_insert),
        "emoji": lambda text, rate, rng: _each(_swap_words(text, EMOJI_WORDS, rate, rng), _emoji, rate * 0.6, rng),
        "pad": _pad,
        "numerals": _whole(_numerals),
        "leet": _whole(_from(tables().leet)),
        "typo": _swap_letters,
        "mathematical": _whole(_mathematical),
        "mixed": _mixed,
    }


CHINESE_KINDS = ("trad", "homophone", "pinyin", "split", "lookalike", "keyword_swap", "fullwidth", "homoglyph", "zero_width", "combining", "insert", "emoji", "pad", "numerals", "mixed")
ENGLISH_KINDS = ("leet", "homoglyph", "zero_width", "combining", "insert", "fullwidth", "typo", "pad", "emoji", "mathematical", "mixed")
ODD_STYLES = ("emoji", "traditional", "fullwidth", "mixed")


def perturb(texts: pa.StringArray | Sequence[str], kind: str, rate: float, seed: int) -> list[str]:
    """The texts as a spammer would disguise them; the same for the same arguments.

    kind: one of CHINESE_KINDS or ENGLISH_KINDS (`mixed` and `pad` look at each text's own language). rate: 0..1, the
    probability that a place is changed; 0 returns the texts unchanged. Raises BadValue for another kind or rate.
    """
    kinds = _kinds()
    if kind not in kinds:
        raise BadValue(field="kind", value=kind, expected="one of " + ", ".join(kinds))
    change = kinds[kind]
    plain = _as_list(texts, rate)
    rng = random.Random(f"perturb:{kind}:{rate}:{seed}")
    return [change(text, rate, rng) if rate else text for text in plain]


def odd_style(texts: pa.StringArray | Sequence[str], kind: str, rate: float, seed: int) -> list[str]:
    """The texts as honest people with odd habits write them; the same for the same arguments.

    kind: one of ODD_STYLES. For half of the messages `rate` is the probability of each place, for the others the
    probability that the whole message is written so (people who write traditional write it throughout). Raises BadValue.
    """
    if kind not in ODD_STYLES:
        raise BadValue(field="kind", value=kind, expected="one of " + ", ".join(ODD_STYLES))
    plain = _as_list(texts, rate)
    rng = random.Random(f"odd:{kind}:{rate}:{seed}")
    return [_odd(text, kind, rate, rng) if rate else text for text in plain]


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
    # People put emoji at clause ends and at the end, seldom inside a word.
    ends = set("，。！？,.!?~ ")
    text = "".join(char + rng.choice(EMOJI) if char in ends and rng.random() < rate else char for char in text)
    if rng.random() < max(rate, 0.4):
        text += rng.choice(EMOJI) * rng.choice((1, 1, 1, 2, 3))
    return _each(text, _emoji, rate * 0.15, rng)


def _as_list(texts: pa.StringArray | Sequence[str], rate: float) -> list[str]:
    if not 0.0 <= rate <= 1.0:
        raise BadValue(field="rate", value=rate, expected="0 to 1")
    if isinstance(texts, pa.Array | pa.ChunkedArray):
        return [text or "" for text in texts.to_pylist()]
    return list(texts)
