"""Makes the derived tables in `data/evasion/`; run by hand when the libraries or the choice of characters change.

    python -m mingbai.engines.scenarios.tables

writes `syllables.tsv` (syllable, its common characters), `traditional.tsv` (simplified, traditional and variant forms)
and `radicals.tsv` (character, compatibility and radical code points that look the same). The other files of the folder
are written by hand. Needs `pypinyin` (MIT) and `opencc-python-reimplemented` (Apache-2.0); nothing at run time does.
"""

from __future__ import annotations

import importlib
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).parent / "data" / "evasion"


def common_characters() -> str:
    """GB 2312 level 1: the 3,755 characters in common use."""
    rows = (bytes([first, second]) for first in range(0xB0, 0xD8) for second in range(0xA1, 0xFF))
    return "".join(row.decode("gb2312", errors="ignore") for row in rows)


def known_characters() -> str:
    """GB 2312 levels 1 and 2: 6,763 characters."""
    rows = (bytes([first, second]) for first in range(0xB0, 0xF8) for second in range(0xA1, 0xFF))
    return "".join(row.decode("gb2312", errors="ignore") for row in rows)


def syllables() -> dict[str, str]:
    """Toneless syllable -> its common characters, by the most frequent reading."""
    # By name: the module is installed only where tables are made, and mypy must pass on both kinds of machine.
    lazy_pinyin: Callable[[str], list[str]] = importlib.import_module("pypinyin").lazy_pinyin
    table: dict[str, str] = defaultdict(str)
    for char in common_characters():
        table[lazy_pinyin(char)[0].replace("ü", "v")] += char
    return dict(sorted(table.items()))


def traditional() -> dict[str, str]:
    """Simplified character -> traditional form, then the forms of Taiwan and Hong Kong where they differ."""
    table: dict[str, str] = {}
    opencc = importlib.import_module("opencc")
    converters = [opencc.OpenCC(name) for name in ("s2t", "s2tw", "s2hk")]
    for char in known_characters():
        forms = dict.fromkeys(str(converter.convert(char)) for converter in converters)
        forms.pop(char, None)
        if forms:
            table[char] = "".join(form for form in forms if len(form) == 1)
    return {char: forms for char, forms in table.items() if forms}


def radicals() -> dict[str, str]:
    """Character -> Kangxi radicals, CJK radical supplements and compatibility ideographs whose NFKC form it is."""
    table: dict[str, str] = defaultdict(str)
    for block in (range(0x2E80, 0x2FE0), range(0xF900, 0xFB00), range(0x3220, 0x3248), range(0x3280, 0x32B1)):
        for point in block:
            plain = unicodedata.normalize("NFKC", chr(point)).strip("()")
            if len(plain) == 1 and plain != chr(point) and "一" <= plain <= "鿿":
                table[plain] += chr(point)
    return dict(sorted(table.items()))


def write(name: str, table: dict[str, str]) -> None:
    lines = [f"{key}\t{value}\n" for key, value in table.items()]
    (FOLDER / name).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write("syllables.tsv", syllables())
    write("traditional.tsv", traditional())
    write("radicals.tsv", radicals())
