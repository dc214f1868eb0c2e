"""What the house says inside an error, a finding or a rejected row, in the reader's language.

The rooms that say it know no language: an error's data holds English sentences, with values in them already. Here the
sentence is recognised by its template (`locale/<language>.toml`: English with {1}, {2}, ... where values stand) and
said again. Values are said again too if they are sentences themselves. What is not recognised stays English; a test
finds every sentence of the source that has no translation.
"""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from mingbai.kernel.errors import MingbaiError

LANGUAGES = ("en", "zh")
# Data of errors that are sentences of ours. Everything else (fields, paths, values a user gave) is left alone.
SENTENCES = ("expected", "what", "cause", "detail", "problem", "hint", "found", "target")
_DEPTH = 4  # sentences within sentences; the house has no more


def message_of(error: MingbaiError, language: str) -> str:
    """The error's own message, made from its fields in that language (one of LANGUAGES)."""
    if language == "en":
        return str(error)
    data = dict(error.data)
    for key, value in data.items():
        if isinstance(value, str) and key in SENTENCES:
            data[key] = translated(value, language)
        elif isinstance(value, str) and key == "value":
            data[key] = translated(value, language, table="values")
    template = _tables(language)["templates"].get(type(error).template, type(error).template)
    problems = data.get("problems")
    if "listing" in data and isinstance(problems, Sequence):
        data["listing"] = "\n".join(problem_line(problem, language) for problem in problems)
    try:
        return template.format(**data)
    except (KeyError, IndexError):  # a translation that names a field which is not there
        return str(error)


def message_again(text: str, language: str) -> str:
    """A message that was kept as text (`str(error)`), in that language: recognised by its template as sentences are."""
    if language == "en":
        return text
    for pattern, other in _kept(language):
        match = pattern.fullmatch(text)
        if match is not None:
            return _with_pieces(other, {key: _piece(key, one, language) for key, one in match.groupdict().items()})
    return translated(text, language)


def _with_pieces(template: str, pieces: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)(?:![rs])?\}", lambda place: pieces[place[1]], template)


def _piece(key: str, value: str, language: str) -> str:
    if key == "value":
        quote = value[0] if value[:1] in ("'", '"') and value[-1:] == value[:1] else ""
        inner = value[1:-1] if quote else value
        return quote + translated(inner, language, table="values") + quote
    return translated(value, language) if key in SENTENCES else value


@cache
def _kept(language: str) -> list[tuple[re.Pattern[str], str]]:
    """The templates as patterns, the ones with the most words of their own first."""
    templates = _tables(language)["templates"]
    found = []
    for english, other in templates.items():
        parsed = list(string.Formatter().parse(english))
        seen: set[str] = set()
        pattern = ""
        for literal, name, _, _ in parsed:
            pattern += re.escape(literal)
            if name:
                pattern += f"(?P={name})" if name in seen else f"(?P<{name}>.*?)"
                seen.add(name)
        words = sum(len(literal) for literal, _, _, _ in parsed)
        found.append((words, re.compile(pattern, re.DOTALL), other))
    found.sort(key=lambda entry: -entry[0])
    return [(pattern, other) for _, pattern, other in found]


def problem_line(problem: object, language: str) -> str:
    """One line about one thing wrong with a rulebook: an item of `RulebookInvalid.problems`."""
    said = _tables(language)["said"] if language != "en" else {}

    def piece(english: str) -> str:
        return said.get(english, english)

    fields = {name: getattr(problem, name) for name in ("file", "line", "rule", "field", "value", "expected")}
    place = f"{fields['file']}:{fields['line']}:" if fields["line"] else f"{fields['file']}:"
    rule = piece(" rule {1}:").replace("{1}", str(fields["rule"])) if fields["rule"] else ""
    name = f" {fields['field']}:" if fields["field"] else ""
    got = piece(" got {1},").replace("{1}", str(fields["value"])) if fields["value"] else ""
    expected = piece(" expected {1}").replace("{1}", translated(str(fields["expected"]), language))
    return place + rule + name + got + expected


def translated(text: str, language: str, *, table: str = "said") -> str:
    """An English sentence of the house (or several, one a line) in that language.

    table: `said`; or `values`, for what stands where a user's own value may stand too.
    """
    if language == "en":
        return text
    return "\n".join(_said(line, language, table, _DEPTH) for line in text.split("\n"))


def _said(text: str, language: str, table: str, depth: int) -> str:
    if depth == 0 or not text:
        return text
    catalogue = _catalogue(language, table)
    if text in catalogue.exact:
        return catalogue.exact[text]
    for pattern, translation in catalogue.patterns:
        match = pattern.fullmatch(text)
        if match is not None:
            values = ["", *(_said(group, language, table, depth - 1) for group in match.groups())]
            return _filled(translation, values)
    return text


def _filled(translation: str, values: Sequence[str]) -> str:
    """The translation with {1}, {2}, ... replaced, in one pass: a value may hold braces."""
    return re.sub(r"\{(\d)\}", lambda place: values[int(place[1])], translation)


@dataclass(frozen=True, slots=True)
class _Catalogue:
    exact: Mapping[str, str]
    patterns: Sequence[tuple[re.Pattern[str], str]]  # the ones with the most words of their own first


@cache
def _catalogue(language: str, table: str) -> _Catalogue:
    tables = _tables(language)
    entries = tables[table] if table == "values" else tables["said"] | tables["system"]
    exact = {english: other for english, other in entries.items() if "{1}" not in english}
    patterns = []
    for english, other in entries.items():
        if english[0] in " ;,":  # the end of a sentence: what comes before it is one of its own
            english, other = "{0}" + english, "{0}" + other
        if english not in exact:
            patterns.append((english, other))
    patterns.sort(key=lambda entry: -len(re.sub(r"\{\d\}", "", entry[0])))
    return _Catalogue(exact, [_compiled(english, other) for english, other in patterns])


def _compiled(english: str, other: str) -> tuple[re.Pattern[str], str]:
    """The pattern of a template, and the translation with its places numbered as the pattern's groups."""
    places = re.findall(r"\{(\d)\}", english)
    numbers = {place: str(group) for group, place in enumerate(places, 1)}
    literal = re.split(r"\{\d\}", english)
    pattern = "(.*?)".join(re.escape(piece) for piece in literal)
    return re.compile(pattern, re.DOTALL), re.sub(r"\{(\d)\}", lambda place: f"{{{numbers[place[1]]}}}", other)


@cache
def _tables(language: str) -> dict[str, dict[str, str]]:
    return read_tables(language)


def read_tables(language: str) -> dict[str, dict[str, str]]:
    """The language's tables: `templates` of errors; `said`; `values`; `system` (what the operating system says)."""
    content = (files(__package__) / "locale" / f"{language}.toml").read_text(encoding="utf-8")
    tables: dict[str, dict[str, str]] = tomllib.loads(content)
    return tables
