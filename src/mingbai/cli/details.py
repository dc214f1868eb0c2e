"""What the rooms below say inside an error, a finding or a rejected row, in the reader's language.

Those rooms know no language: an error's data holds English sentences, with values in them already. Here the sentence is
recognised by its template (`locale/<language>-details.toml`: English with {1}, {2}, ... where values stand) and said
again. Values are said again too if they are sentences themselves. What is not recognised stays English; a test finds
every sentence of the source that has no translation.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Protocol

from mingbai.cli.words import _, language
from mingbai.kernel.errors import MingbaiError

# Data of errors that are sentences of ours. Everything else (fields, paths, values a user gave) is left alone.
SENTENCES = ("expected", "what", "cause", "detail", "problem", "hint", "found", "target")
_DEPTH = 4  # sentences within sentences; the house has no more


class Problem(Protocol):
    """A thing wrong with a rulebook, as `RulebookInvalid.problems` holds it."""

    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def rule(self) -> str: ...
    @property
    def field(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def expected(self) -> str: ...


def message_of(error: MingbaiError) -> str:
    """The error's own message, made from its fields in the reader's language."""
    data = dict(error.data)
    for key, value in data.items():
        if isinstance(value, str) and key in SENTENCES:
            data[key] = translated(value)
        elif isinstance(value, str) and key == "value":
            data[key] = translated(value, table="values")
    problems = data.get("problems")
    if "listing" in data and isinstance(problems, Sequence):
        data["listing"] = "\n".join(problem_line(problem) for problem in problems)
    try:
        return _(type(error).template).format(**data)
    except (KeyError, IndexError):  # a translation that names a field which is not there
        return str(error)


def problem_line(problem: Problem) -> str:
    """One line about one thing wrong with a rulebook."""
    place = f"{problem.file}:{problem.line}:" if problem.line else f"{problem.file}:"
    rule = _(" rule {id}:").format(id=problem.rule) if problem.rule else ""
    name = f" {problem.field}:" if problem.field else ""
    got = _(" got {value},").format(value=problem.value) if problem.value else ""
    return place + rule + name + got + _(" expected {expected}").format(expected=translated(problem.expected))


def translated(text: str, *, table: str = "said") -> str:
    """An English sentence of the house (or several, one a line) in the reader's language.

    table: `said`; or `values`, for what stands where a user's own value may stand too.
    """
    if language() == "en":
        return text
    return "\n".join(_said(line, table, _DEPTH) for line in text.split("\n"))


def _said(text: str, table: str, depth: int) -> str:
    if depth == 0 or not text:
        return text
    catalogue = _catalogue(language(), table)
    if text in catalogue.exact:
        return catalogue.exact[text]
    for pattern, translation in catalogue.patterns:
        match = pattern.fullmatch(text)
        if match is not None:
            values = ["", *(_said(group, table, depth - 1) for group in match.groups())]
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
def _catalogue(name: str, table: str) -> _Catalogue:
    tables = read_details(name)
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
def read_details(name: str) -> dict[str, dict[str, str]]:
    """The language's tables: `said`, `values`, `system` (what the operating system says)."""
    content = (files(__package__) / "locale" / f"{name}-details.toml").read_text(encoding="utf-8")
    tables: dict[str, dict[str, str]] = tomllib.loads(content)
    return tables
