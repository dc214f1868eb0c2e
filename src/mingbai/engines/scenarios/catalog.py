"""The registry of scenarios: what the grammar files in `data/` define, validated as a whole.

A scenario's id is dotted and starts with the name of its category (`fraud.etc`); ids of English scenarios carry `en`
as their second part (`fraud.en.toll`). Ids are stable: figures per scenario are compared over versions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from mingbai.engines.scenarios.grammar import Line, Scope, Section, SlotDefinition, Writer, read_sections
from mingbai.kernel.verdicts import Category

LANGUAGES = ("zh", "en")
_ID = re.compile(r"[a-z_]+(\.[a-z0-9_]+)+\Z")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of message. `write` gives its bare text, `sign` its signature (None: it never has one)."""

    id: str
    category: Category
    language: str
    about: str
    sender: str
    signed: str
    weight: float
    write: Writer
    sign: Writer | None

    @property
    def is_unwanted(self) -> bool:
        return self.category >= Category.ADVERTISING


@cache
def scenarios() -> Mapping[str, Scenario]:
    """All scenarios of the package by id, in the order of the files. Raises BadGrammar."""
    found: dict[str, Scenario] = {}
    data = files(__package__) / "data"
    for language in LANGUAGES:
        found.update(load_folder(data / language, language))
    return found


def load_folder(folder: Traversable, language: str) -> dict[str, Scenario]:
    """Scenarios of every `*.txt` in a folder; `_shared.txt` gives the slots that all of them see. Raises BadGrammar.

    An operator's own folder is read the same way.
    """
    shared: dict[str, SlotDefinition] = {}
    found: dict[str, Scenario] = {}
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if not entry.name.endswith(".txt"):
            continue
        own, *sections = read_sections(entry.read_text(encoding="utf-8"), f"{language}/{entry.name}")
        if entry.name.startswith("_"):
            shared.update(own.slots)
            continue
        for section in sections:
            scenario = _compile(section, own.slots, shared, language)
            if scenario.id in found:
                raise section.place.bad(f"scenario {scenario.id!r} defined twice", "one definition")
            found[scenario.id] = scenario
    return found


def _compile(
    section: Section, own: dict[str, SlotDefinition], shared: dict[str, SlotDefinition], language: str
) -> Scenario:
    categories = {category.label: category for category in Category}
    head, _, rest = section.id.partition(".")
    if not _ID.match(section.id) or head not in categories:
        raise section.place.bad(
            f"scenario id {section.id!r}", "category.name, category one of " + ", ".join(categories)
        )
    if (language == "en") != rest.startswith("en."):
        raise section.place.bad(
            f"scenario id {section.id!r} in folder {language}", "`en` as the second part of English ids only"
        )
    scope = Scope(section.slots, own, shared)
    place = section.slots["text"].place
    write = scope.writer("text", place)
    sign: Writer | None = None
    if section.signed != "never":
        sign = scope.writer("sign", Line(place.text, place.file, place.number))
    for name, slot in section.slots.items():
        if name not in scope.used:
            raise slot.place.bad(f"slot {name!r} is never used by {section.id!r}", "a reference to it, or its removal")
    return Scenario(
        section.id,
        categories[head],
        language,
        section.about,
        section.sender,
        section.signed,
        section.weight,
        write,
        sign,
    )
