"""What the program says, in the reader's language: English in the source, one table per other language in `locale/`.

`_("...")` gives the translation of a constant string; values go in with `.format` afterwards, never before. What has no
translation shows in English; a test lists it. Languages are chosen once, when the program starts: `--lang`, else the
first of LC_ALL, LC_MESSAGES and LANG that is set (POSIX, locale categories). What other rooms say is translated in
`details`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files

LANGUAGES = ("en", "zh")
_table: Mapping[str, str] = {}
_language = "en"


def _(message: str) -> str:
    """The message in the chosen language."""
    return _table.get(message, message)


def language() -> str:
    return _language


def use_language(name: str) -> None:
    """Speak this language (one of LANGUAGES) from now on."""
    global _table, _language
    _language = name
    _table = {} if name == "en" else read_table(name)


def read_table(name: str) -> dict[str, str]:
    """English -> the language, from its file."""
    content = (files(__package__) / "locale" / f"{name}.toml").read_text(encoding="utf-8")
    table: dict[str, str] = tomllib.loads(content)
    return table


def choose_language(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The language, and the arguments without `--lang`. An unknown name is left for the parser to refuse."""
    chosen = _of_environment()
    rest: list[str] = []
    at = 0
    while at < len(arguments):
        word = arguments[at]
        value = arguments[at + 1] if word == "--lang" and at + 1 < len(arguments) else word.removeprefix("--lang=")
        if word == "--":
            rest += arguments[at:]
            break
        if word == "--lang" and value in LANGUAGES:
            at += 1
            chosen = value
        elif word.startswith("--lang=") and value in LANGUAGES:
            chosen = value
        else:
            rest.append(word)
        at += 1
    return chosen, rest


def _of_environment() -> str:
    # The one place beside the settings that looks at the environment: what it says must already be in this language.
    name = next((os.environ[key] for key in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(key)), "")
    return "zh" if name.lower().startswith("zh") else "en"
