"""The alphabet of the screen: what each Unicode character is read as.

One `uint32` per code point below U+20000 (`TABLE_SIZE`; everything above shares the last entry):

    bits  0..15  nid   the character it is read as (a BMP code point), 0 = no letter: dropped from the normalised text
    bits 16..19  mark  `Mark` class of a dropped character (space, comma, emoji ...), 0 for letters
    bits 20..    flags `DIGIT`, `LATIN`, `HANZI`, `REWRITTEN` ...

So width, case, script style (circled, mathematical, superscript), traditional forms, accents and homoglyphs are folded
by one look-up, and invisible characters, combining marks, spaces and punctuation vanish from the normalised text.
What needs its neighbours (split characters, pinyin between characters, numerals in other scripts) is `reading`'s work.

A second table gives the sound of a character: toneless pinyin with the mergers that Southern Mandarin makes and
spammers use (zh/z, ch/c, sh/s, -ng/-n), so that 薇信, 威信 and 微信 sound alike.

Sources: Unicode NFKC and categories (`unicodedata`), OpenCC's character table, pypinyin's readings, Unicode
confusables; the TSV files beside this module. The built tables are versioned data: `version` is their hash.
"""

from __future__ import annotations

import hashlib
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
import numpy.typing as npt

TABLE_SIZE: Final = 0x20000
SHIPPED: Final = "alphabet.npz"
UNICODE: Final = "14.0.0"  # of `unicodedata` when the shipped table was made

DIGIT: Final = 1 << 20
LATIN: Final = 1 << 21
HANZI: Final = 1 << 22
REWRITTEN: Final = 1 << 23  # not written the plain way: another width, script style, traditional form or look-alike
NUMERAL: Final = 1 << 24  # 一二三 壹贰叁 〇零: a digit only inside a long run of such
COMPONENT: Final = 1 << 25  # half of a split character that honest text hardly ever holds alone (讠 艮 攵)
INVISIBLE: Final = 1 << 26  # zero-width, control, combining
SLASH: Final = 1 << 27  # `/`: there may be a URL
DOT: Final = 1 << 28  # 点: the word that a host name's dot is hidden in


class Mark:
    """Classes of characters that are no letters. The model sees them only as what stands between two letters."""

    NONE: Final = 0
    SPACE: Final = 1
    COMMA: Final = 2
    STOP: Final = 3
    EXCLAMATION: Final = 4
    QUESTION: Final = 5
    OPEN: Final = 6  # 【 [ and the like
    CLOSE: Final = 7
    COLON: Final = 8
    SLASH_: Final = 9
    QUOTE: Final = 10  # quotes and round brackets
    MONEY: Final = 11
    SIGN: Final = 12
    EMOJI: Final = 13


_MARKS: Final[dict[str, int]] = {
    **dict.fromkeys(" \t\r\n\u3000\u00a0", Mark.SPACE),
    **dict.fromkeys(",，、;；﹐﹑､", Mark.COMMA),
    **dict.fromkeys(".。．｡﹒…·•", Mark.STOP),
    **dict.fromkeys("!！﹗", Mark.EXCLAMATION),
    **dict.fromkeys("?？﹖", Mark.QUESTION),
    **dict.fromkeys("[［【〔『「〖{｛﹝", Mark.OPEN),
    **dict.fromkeys("]］】〕』」〗}｝﹞", Mark.CLOSE),
    **dict.fromkeys(":：﹕︰", Mark.COLON),
    **dict.fromkeys("/／\\＼", Mark.SLASH_),
    **dict.fromkeys("\"'“”‘’＂＇()（）《》〈〉<>＜＞﹙﹚", Mark.QUOTE),
    **dict.fromkeys("$￥¥£€%％＄￡元", Mark.MONEY),
}
_MARKS.pop("元")
_DOTS: Final = "點点"
_NUMERALS: Final = {
    **dict(zip("〇一二三四五六七八九", "0123456789", strict=True)),
    **dict(zip("零壹贰叁肆伍陆柒捌玖", "0123456789", strict=True)),
    **dict(zip("○◯貳參叄陸", "002336", strict=True)),
    "两": "2",
    "幺": "1",
    "弌": "1",
    "弍": "2",
    "弎": "3",
}
_SIGNS_READ_AS: Final = {
    "➕": "加",
    "╋": "加",
    "✚": "加",
    "㊉": "加",
    "㊣": "正",
    "囍": "喜",
    "卍": "万",
    "○": "〇",
    "◯": "〇",
}
_MERGERS: Final = (("zh", "z"), ("ch", "c"), ("sh", "s"))


def _rows(name: str) -> list[list[str]]:
    text = files(__package__).joinpath("data", name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]


def _letter(ch: str) -> str:
    """First letter or digit of the compatibility form, without accents, lower case; '' when there is none."""
    for c in unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", ch)):
        if unicodedata.category(c)[0] in "LN":
            digit = unicodedata.digit(c, None)
            return str(digit) if digit is not None else c.lower()[:1]
    return ""


def _enclosed(cp: int) -> str:
    """Letters in squares, circles and flags, which have no compatibility form."""
    for start in (0x1F130, 0x1F150, 0x1F170, 0x1F1E6):
        if start <= cp < start + 26:
            return chr(ord("a") + cp - start)
    for start, first in ((0x2776, 1), (0x2780, 1), (0x278A, 1), (0x24F5, 1)):  # dingbat and double circled digits
        if start <= cp < start + 9:
            return str(first + cp - start)
    return {0x24FF: "0", 0x1F10B: "0", 0x1F10C: "0", 0x24EA: "0"}.get(cp, "")


def build() -> npt.NDArray[np.uint32]:
    """Make the alphabet from its sources. What is shipped was made with `UNICODE`; another version adds characters."""
    simplified = {a: b for a, b in _rows("traditional.tsv")}
    look_alike = {a: b for a, b in _rows("confusables.tsv")}
    components = {half for _, _, rare in _rows("splits.tsv") for half in rare}
    table = np.zeros(TABLE_SIZE, np.uint32)
    for cp in range(TABLE_SIZE):
        ch = chr(cp)
        category = unicodedata.category(ch)
        if category == "Cs":
            continue
        read = _SIGNS_READ_AS.get(ch) or look_alike.get(ch) or _enclosed(cp) or _letter(ch)
        read = look_alike.get(read, read)
        read = simplified.get(read, read)
        if ch in _MARKS or (category[0] in "PZ" and not read) or category in ("Cc", "Cf", "Mn", "Me", "Mc"):
            read = ""
        if read and ord(read) < 0x10000:
            entry = ord(read)
            if read.isascii() and read.isdigit():
                entry |= DIGIT
            elif read.isascii():
                entry |= LATIN
            elif 0x3400 <= ord(read) < 0xA000 or read == "〇":
                entry |= HANZI
            if read != ch.lower():
                entry |= REWRITTEN
            if ch in _NUMERALS:
                entry |= NUMERAL
            if read in components:
                entry |= COMPONENT
        elif ch in _MARKS:
            entry = _MARKS[ch] << 16
        elif category in ("Cc", "Cf", "Mn", "Me", "Mc"):
            entry = INVISIBLE
        elif category[0] == "Z":
            entry = Mark.SPACE << 16
        elif category == "So" and cp >= 0x2190:
            entry = Mark.EMOJI << 16
        else:
            entry = Mark.SIGN << 16
        if ch in "/／\\＼":
            entry |= SLASH
        if ch in _DOTS:
            entry |= DOT
        table[cp] = entry
    return table


def _syllables() -> dict[str, int]:
    """Toneless pinyin -> sound id (1..), after the mergers."""
    ids: dict[str, int] = {}
    return {s: ids.setdefault(_merge(s), len(ids) + 1) for s, _ in _rows("pinyin.tsv")}


def _merge(syllable: str) -> str:
    for long, short in _MERGERS:
        if syllable.startswith(long):
            syllable = short + syllable[2:]
    return syllable[:-1] if syllable.endswith(("ang", "eng", "ing")) else syllable


SOUND_BASE: Final = 0xE800  # sounds live in the private use area, apart from every real character


@cache
def table() -> npt.NDArray[np.uint32]:
    """uint32[0x20000]: the alphabet (see the module's text). Read only.

    Shipped as a file, so that every Python reads alike whatever Unicode it knows, and no start waits for `build`.
    """
    with files(__package__).joinpath("data", SHIPPED).open("rb") as file, np.load(file, allow_pickle=False) as archive:
        shipped: npt.NDArray[np.uint32] = archive["table"]
    shipped.setflags(write=False)
    return shipped


@cache
def sounds() -> npt.NDArray[np.uint16]:
    """uint16[0x10000]: nid -> its sound: `SOUND_BASE` + id for Chinese characters, '0' for digits, else itself."""
    out = np.arange(0x10000, dtype=np.uint16)
    out[0x30:0x3A] = 0x30
    ids = _syllables()
    for syllable, characters in _rows("pinyin.tsv"):
        for ch in characters:
            out[ord(ch)] = SOUND_BASE + ids[syllable]
    out.setflags(write=False)
    return out


@cache
def numerals() -> npt.NDArray[np.uint16]:
    """uint16[0x10000]: nid of a Chinese numeral -> nid of its digit, 0 for the others."""
    out = np.zeros(0x10000, np.uint16)
    for ch, digit in _NUMERALS.items():
        out[ord(ch)] = ord(digit)
    out.setflags(write=False)
    return out


@cache
def pinyin_trie() -> npt.NDArray[np.uint16]:
    """uint16[states, 27]: trie of pinyin over a..z; column 26: the sound of the syllable that ends there, or 0."""
    states: list[list[int]] = [[0] * 27]
    for syllable, sound in _syllables().items():
        at = 0
        for c in syllable:
            column = ord(c) - ord("a")
            if not states[at][column]:
                states[at][column] = len(states)
                states.append([0] * 27)
            at = states[at][column]
        states[at][26] = SOUND_BASE + sound
    out = np.array(states, np.uint16)
    out.setflags(write=False)
    return out


@cache
def splits() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint16]]:
    """Split characters, sorted: keys uint32 (left nid << 16 | right nid), and the nid that each pair is read as."""
    pairs = sorted({(ord(p[0]) << 16 | ord(p[1]), ord(whole)) for p, whole, _ in _rows("splits.tsv")})
    keys, wholes = np.array([k for k, _ in pairs], np.uint32), np.array([v for _, v in pairs], np.uint16)
    keys.setflags(write=False)
    wholes.setflags(write=False)
    return keys, wholes


@cache
def version() -> str:
    """Hash of all tables, 12 hex digits: two screens with the same version read every text alike."""
    digest = hashlib.sha256()
    for array in (table(), sounds(), numerals(), pinyin_trie(), *splits()):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]


if __name__ == "__main__":  # python -m mingbai.engines.screening.alphabet FILE: write the shipped table
    import sys

    np.savez_compressed(sys.argv[1], table=build())
