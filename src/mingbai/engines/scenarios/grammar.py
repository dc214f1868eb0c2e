"""The grammar that scenarios are written in: one readable text file per family, many wordings per line.

A file holds slots and scenarios. What stands before the first `@scenario` belongs to the whole file; what follows
belongs to that scenario and overrides the file's slots, which override those of `_shared.txt` in the same folder. A
slot is looked up when it is used, so a shared skeleton such as `{greeting}{matter}{action}` takes the scenario's words.

    # a comment
    @scenario fraud.toll
    @about    Road toll said to be unpaid, link to a card form
    @sender   spoofed              service | person | spoofed | any
    @signed   seldom               never | seldom | often | always
    greeting: Dear driver | Hi[ there]?
    road(name, site):              a record: its fields go together within one message
      Sunny Pass, sunny-pass.example
    text:
      {greeting}, you owe {2-9}.{#2} to {road.name}. Pay at {road.site}

`[a|b|]` takes one of its parts, `[a]?` takes it two times in three, `<a|b>` takes all in any order, `{slot}` and
`{slot.field}` expand a slot, `{10-99}` and `{1.0-9.9}` a number of the range, `{#4}` four digits, `{@5}` five small
letters or digits, `{^2}` two capitals. `name!:` keeps its first expansion for the rest of the message; `name~:` is what
a sender changes from message to message of one campaign (names, links), as he does numbers. A line of a slot is one
alternative (or several, split by `|`); a backslash takes the next character as it is; backslash and n is a new line,
backslash and underscore a space.

Nothing here draws at random by itself: the caller hands in a `Draw`. Bad grammar is refused with file and line.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mingbai.kernel.errors import MingbaiError

SENDERS = ("service", "person", "spoofed", "any")
SIGNED = ("never", "seldom", "often", "always")
_DIRECTIVES = {"@scenario", "@about", "@sender", "@signed", "@weight"}
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_DEFINITION = re.compile(r"([a-z][a-z0-9_]*)(!|~|\(([a-z0-9_, ]+)\))?:(?:\s+(.*))?\Z")
_NUMBER = re.compile(r"(\d+(?:\.(\d+))?)-(\d+(?:\.\d+)?)\Z")
_RANDOM = re.compile(r"([#@^])(\d{1,2})\Z")
_DIGITS = "0123456789"
# Without l, o, 0 and 1, as real short-link makers do.
_LOWER = "abcdefghijkmnpqrstuvwxyz23456789"
_UPPER = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_ALPHABETS = {"#": _DIGITS, "@": _LOWER, "^": _UPPER}


class BadGrammar(MingbaiError):
    """A grammar file breaks the rules above: names file, line, what is wrong and what was expected."""

    code = "bad_grammar"
    template = "{file}:{line}: {problem}; expected {expected}"


class Draw:
    """The randomness and the memory of one message: `memo` keeps records and `!` slots.

    `random` (0 <= x < 1) chooses the wording, `values` the numbers, letters and `~` slots. Two generators make a
    campaign: the same wording again and again with other values.
    """

    __slots__ = ("memo", "random", "values")

    def __init__(self, wording: random.Random, values: random.Random | None = None) -> None:
        self.random = wording.random
        self.values = (values or wording).random
        self.memo: dict[str, str | tuple[str, ...]] = {}


Writer = Callable[[Draw], str]


@dataclass(frozen=True, slots=True)
class Line:
    """One alternative as written, with the place to name when it is wrong."""

    text: str
    file: str
    number: int

    def bad(self, problem: str, expected: str) -> BadGrammar:
        return BadGrammar(file=self.file, line=self.number, problem=problem, expected=expected)


@dataclass(slots=True)
class SlotDefinition:
    """A named list of alternatives. `fields` is empty unless it is a record."""

    name: str
    place: Line
    is_kept: bool
    is_varied: bool
    fields: tuple[str, ...]
    lines: list[Line]


@dataclass(slots=True)
class Section:
    """The slots of one scenario, or (with an empty id) those before the first scenario of a file."""

    place: Line
    id: str = ""
    about: str = ""
    sender: str = "any"
    signed: str = "seldom"
    weight: float = 1.0
    slots: dict[str, SlotDefinition] = field(default_factory=dict)


def read_sections(text: str, file: str) -> list[Section]:
    """Sections of one file, the file's own first. `file` only serves messages. Raises BadGrammar."""
    section = Section(place=Line("", file, 1))
    sections = [section]
    slot: SlotDefinition | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        stripped = raw.strip()
        if not stripped or stripped.startswith("#"):
            continue
        line = Line(stripped, file, number)
        if raw[0] in " \t":
            if slot is None:
                raise line.bad("an indented line belongs to no slot", "`name:` on a line above it")
            slot.lines.append(line)
        elif stripped.startswith("@"):
            slot = None
            section = _read_directive(line, section, sections)
        else:
            slot = _read_definition(line, section)
    for section in sections:
        for slot in section.slots.values():
            if not slot.lines:
                raise slot.place.bad(f"slot {slot.name!r} has no alternatives", "at least one")
        if section.id and "text" not in section.slots:
            raise section.place.bad(f"scenario {section.id!r} has no `text:` slot", "its skeletons under `text:`")
        if section.id and not section.about:
            raise section.place.bad(f"scenario {section.id!r} has no `@about`", "one line of description")
    return sections


def _read_directive(line: Line, section: Section, sections: list[Section]) -> Section:
    word, _, value = line.text.partition(" ")
    value = value.strip()
    if word not in _DIRECTIVES or not value:
        raise line.bad(f"unknown directive {line.text!r}", "one of " + ", ".join(sorted(_DIRECTIVES)) + " and a value")
    if word == "@scenario":
        section = Section(place=line, id=value)
        sections.append(section)
    elif not section.id:
        raise line.bad(f"{word} before any scenario", "`@scenario` first")
    elif word == "@about":
        section.about = value
    elif word == "@sender":
        section.sender = _one_of(line, value, SENDERS)
    elif word == "@signed":
        section.signed = _one_of(line, value, SIGNED)
    else:
        if not re.fullmatch(r"\d+(\.\d+)?", value):
            raise line.bad(f"weight {value!r}", "a number such as 2 or 0.5")
        section.weight = float(value)
    return section


def _one_of(line: Line, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise line.bad(f"value {value!r}", "one of " + ", ".join(allowed))
    return value


def _read_definition(line: Line, section: Section) -> SlotDefinition:
    match = _DEFINITION.match(line.text)
    if match is None:
        raise line.bad(
            f"not a definition: {line.text[:40]!r}", "`name: words`, `@directive value`, or an indented line"
        )
    name, mark, fields, rest = match.groups()
    if name in section.slots:
        raise line.bad(
            f"slot {name!r} defined twice", f"one definition (the other is on line {section.slots[name].place.number})"
        )
    names = tuple(part.strip() for part in fields.split(",")) if fields else ()
    if fields and not all(_NAME.match(part) for part in names):
        raise line.bad(f"fields {fields!r}", "names such as (name, site)")
    slot = SlotDefinition(name, line, mark == "!", mark == "~", names, [])
    if rest:
        slot.lines.append(Line(rest.strip(), line.file, line.number))
    section.slots[name] = slot
    return slot


class Scope:
    """The slots that one scenario can see, nearest first, and the compiled form of those it uses."""

    def __init__(self, *layers: Mapping[str, SlotDefinition]) -> None:
        self._layers = layers
        self._writers: dict[str, Writer] = {}
        self._open: list[str] = []
        self.used: set[str] = set()

    def writer(self, name: str, line: Line) -> Writer:
        """The compiled slot `name` or `name.field`, as referred to from `line`. Raises BadGrammar."""
        ready = self._writers.get(name)
        if ready is not None:
            return ready
        base, _, part = name.partition(".")
        definition = next((layer[base] for layer in self._layers if base in layer), None)
        if definition is None:
            raise line.bad(f"unknown slot {{{name}}}", "a slot of this scenario, this file or _shared.txt")
        if bool(part) != bool(definition.fields) or (part and part not in definition.fields):
            expected = (
                " or ".join(f"{{{base}.{known}}}" for known in definition.fields) or f"{{{base}}} without a field"
            )
            raise line.bad(f"slot {{{name}}}", expected)
        if name in self._open:
            raise line.bad(f"slot {{{name}}} contains itself", "no circle: " + " > ".join([*self._open, name]))
        self._open.append(name)
        self.used.add(base)
        compiled = self._record(definition, part) if definition.fields else self._plain(definition)
        self._open.pop()
        self._writers[name] = compiled
        return compiled

    def _plain(self, definition: SlotDefinition) -> Writer:
        options = [option for line in definition.lines for option in _Parser(line, self).alternatives()]
        choose = _choice(options)
        if definition.is_varied:
            return _varied(choose)
        if not definition.is_kept:
            return choose
        key = definition.name

        def kept(draw: Draw) -> str:
            value = draw.memo.get(key)
            if not isinstance(value, str):
                value = draw.memo[key] = choose(draw)
            return value

        return kept

    def _record(self, definition: SlotDefinition, part: str) -> Writer:
        key = definition.name
        rows: list[tuple[Writer, ...]] = []
        for line in definition.lines:
            cells = [Line(cell.strip(), line.file, line.number) for cell in line.text.split(",")]
            if len(cells) != len(definition.fields):
                raise line.bad(
                    f"{len(cells)} fields in record {key!r}",
                    f"{len(definition.fields)}: " + ", ".join(definition.fields),
                )
            rows.append(tuple(_choice(_Parser(cell, self).alternatives()) for cell in cells))
        index = definition.fields.index(part)

        def cell_of(draw: Draw) -> str:
            value = draw.memo.get(key)
            if not isinstance(value, tuple):
                row = rows[int(draw.random() * len(rows))]
                value = draw.memo[key] = tuple(cell(draw) for cell in row)
            return value[index]

        return cell_of


def _literal(text: str) -> Writer:
    return lambda draw: text


def _choice(options: list[Writer]) -> Writer:
    if len(options) == 1:
        return options[0]
    count = len(options)
    return lambda draw: options[int(draw.random() * count)](draw)


def _sequence(parts: list[Writer]) -> Writer:
    if len(parts) == 1:
        return parts[0]
    return lambda draw: "".join([part(draw) for part in parts])


def _maybe(part: Writer) -> Writer:
    return lambda draw: part(draw) if draw.random() < 0.67 else ""


def _shuffle(parts: list[Writer]) -> Writer:
    def shuffled(draw: Draw) -> str:
        keyed = sorted((draw.random(), index) for index in range(len(parts)))
        return "".join([parts[index](draw) for _, index in keyed])

    return shuffled


def _varied(part: Writer) -> Writer:
    def varied(draw: Draw) -> str:
        wording, draw.random = draw.random, draw.values
        text = part(draw)
        draw.random = wording
        return text

    return varied


def _number(low: str, decimals: str | None, high: str) -> Writer:
    if decimals is None:
        first, span = int(low), int(high) - int(low) + 1
        return lambda draw: str(first + int(draw.values() * span))
    places = len(decimals)
    return lambda draw: f"{float(low) + draw.values() * (float(high) - float(low)):.{places}f}"


def _random_text(alphabet: str, length: int) -> Writer:
    size = len(alphabet)
    return lambda draw: "".join([alphabet[int(draw.values() * size)] for _ in range(length)])


class _Parser:
    """Recursive descent over one alternative line; every error names the line."""

    def __init__(self, line: Line, scope: Scope) -> None:
        self._line = line
        self._text = line.text
        self._at = 0
        self._scope = scope

    def alternatives(self) -> list[Writer]:
        options = self._options(strip=True, close="")
        return options

    def _options(self, *, strip: bool, close: str) -> list[Writer]:
        options: list[Writer] = []
        while True:
            options.append(self._parts(strip))
            char = self._peek()
            if char == "|":
                self._at += 1
            elif char == close:
                self._at += len(close)
                return options
            elif char:
                raise self._line.bad(
                    f"{char!r} at column {self._at + 1} closes nothing", "a backslash before it, or its opening"
                )
            else:
                raise self._line.bad("a bracket is not closed", f"{close!r}")

    def _peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""

    def _parts(self, strip: bool) -> Writer:
        parts: list[Writer] = []
        plain: list[str] = []
        escaped_end = False
        while (char := self._peek()) and char not in "|]>":
            self._at += 1
            if char == "\\":
                follower = self._peek()
                self._at += 1
                plain.append({"n": "\n", "_": " "}.get(follower, follower))
                escaped_end = True
                continue
            escaped_end = False
            if char not in "[{<":
                if not (strip and char == " " and not parts and not plain):
                    plain.append(char)
                continue
            if plain:
                parts.append(_literal("".join(plain)))
                plain = []
            parts.append(self._bracket(char))
        text = "".join(plain)
        if strip and not escaped_end:
            text = text.rstrip(" ")
        if text or not parts:
            parts.append(_literal(text))
        return _sequence(parts)

    def _bracket(self, opening: str) -> Writer:
        if opening == "[":
            choice = _choice(self._options(strip=False, close="]"))
            if self._peek() == "?":
                self._at += 1
                return _maybe(choice)
            return choice
        if opening == "<":
            return _shuffle(self._options(strip=False, close=">"))
        end = self._text.find("}", self._at)
        if end < 0:
            raise self._line.bad("a slot is not closed", "'}'")
        name = self._text[self._at : end]
        self._at = end + 1
        if match := _NUMBER.match(name):
            if float(match[1]) > float(match[3]):
                raise self._line.bad(f"range {{{name}}}", "the smaller number first")
            return _number(match[1], match[2], match[3])
        if match := _RANDOM.match(name):
            return _random_text(_ALPHABETS[match[1]], int(match[2]))
        return self._scope.writer(name, self._line)
