"""The tables of `evasion.py`, read from `data/evasion/`: what may stand for a character, a word or a sound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

Table = dict[str, Sequence[str]]

# Sounds that speakers of many dialects do not tell apart.
NEAR_SOUNDS = (
    ("zh", "z"),
    ("ch", "c"),
    ("sh", "s"),
    ("ang", "an"),
    ("eng", "en"),
    ("ing", "in"),
    ("l", "n"),
    ("h", "f"),
)


@dataclass(frozen=True, slots=True)
class Tables:
    """Each table maps a character (`keyword`, `emoji_word`: a word) to what may stand for it."""

    traditional: Table
    syllable: dict[str, str]
    homophone: Table
    split: Table
    lookalike: Table
    radical: Table
    keyword: Table
    emoji_word: Table
    homoglyph: Table
    numeral: Table
    leet: Table
    pads: dict[str, Sequence[str]]


@cache
def tables() -> Tables:
    """The tables, from the package's data files."""
    by_syllable = dict(line.split("\t") for line in _lines("syllables.tsv"))
    split, by_part = _read_splits()
    return Tables(
        traditional=_by_tab("traditional.tsv"),
        syllable={char: name for name, chars in by_syllable.items() for char in chars},
        homophone=_homophones(by_syllable),
        split=split,
        lookalike=_lookalikes(by_part),
        radical=_by_tab("radicals.tsv"),
        keyword=_words("keywords.txt"),
        emoji_word=_words("emoji_words.txt"),
        homoglyph=_by_space("homoglyph.txt"),
        numeral=_by_space("numerals.txt"),
        leet=_by_space("leet.txt"),
        pads=_read_pads(),
    )


def _lines(name: str) -> Iterable[str]:
    text = (files(__package__) / "data" / "evasion" / name).read_text(encoding="utf-8")
    return (line for line in text.splitlines() if line and not line.startswith("# "))


def _by_tab(name: str) -> Table:
    return {line[0]: tuple(line.split("\t")[1]) for line in _lines(name)}


def _by_space(name: str) -> Table:
    """`a xyz`: the character, then each character that may stand for it."""
    return {line[0]: tuple(line[2:]) for line in _lines(name)}


def _words(name: str) -> Table:
    """`word one two`: the word, then its forms."""
    return {word: tuple(others) for word, *others in (line.split() for line in _lines(name))}


def _homophones(by_syllable: dict[str, str]) -> Table:
    table: Table = {}
    for name, chars in by_syllable.items():
        near = ""
        for left, right in NEAR_SOUNDS:
            if left in name:
                near += by_syllable.get(name.replace(left, right), "")[:6]
        for at, char in enumerate(chars):
            # Three times the exact sound for once the near one.
            if others := tuple((chars[:at] + chars[at + 1 :]) * 3 + near):
                table[char] = others
    return table


def _read_splits() -> tuple[Table, dict[str, set[str]]]:
    """Character -> ways to write it in parts; and part -> characters that contain it."""
    instead: dict[str, str] = {}
    split: dict[str, list[str]] = {}
    by_part: dict[str, set[str]] = {}
    for line in _lines("split.txt"):
        head, *entries = (line[0] + " " + line[1:]).split() if line[0] == "=" else line.split()
        if head[0] == "~":
            instead[head[1]] = entries[0]
            continue
        for entry in entries:
            whole, rest = entry[0], entry[1:]
            parts = rest if head == "=" else head[1] + rest
            ways = split.setdefault(whole, [])
            ways += [form + parts[1:] for form in instead.get(parts[0], parts[0]) if form + parts[1:] not in ways]
            by_part.setdefault(parts[1:], set()).add(whole)
    return {char: tuple(forms) for char, forms in split.items()}, by_part


def _lookalikes(by_part: dict[str, set[str]]) -> Table:
    """Those written by hand, and characters that share the part which is not the radical."""
    shapes: dict[str, set[str]] = {}
    for line in _lines("lookalike.txt"):
        shapes.setdefault(line[0], set()).update(line[1:])
    for family in by_part.values():
        for char in family:
            shapes.setdefault(char, set()).update(family - {char})
    return {char: tuple(sorted(others)) for char, others in shapes.items() if others}


def _read_pads() -> dict[str, Sequence[str]]:
    pads: dict[str, list[str]] = {}
    language = ""
    for line in _lines("pads.txt"):
        if line.startswith("["):
            language = line.strip("[]")
        else:
            pads.setdefault(language, []).append(line)
    return {language: tuple(lines) for language, lines in pads.items()}
