"""An operator's rulebook: what it is made of and what identifies it.

A rulebook is a TOML file, with long lists in text files beside it; docs/reference/rulebook.md describes it to those
who write it. `rulebook.load` and `parse` make an immutable `Rulebook` of it or raise `RulebookInvalid` with every
problem found in one pass. Nothing is changed in place, so a bad file can never replace a good rulebook: the caller
keeps what it has until it holds a new one. `rules.CompiledRules` makes it run.

Rules are for spam, fraud, illegal trade, the protection of brands and numbers, and delivery. The list of categories is
closed and none is for opinion: that is policy of the project, not a gap.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import Enum, StrEnum

from mingbai.kernel.errors import MingbaiError
from mingbai.kernel.verdicts import Category, Verdict

MAX_PRIORITY = 1000
MAX_KEYWORDS_ALL = 32  # each needs a bit of its own in `rules`
TAC_DIGITS, IMEI_DIGITS = 8, 14  # type of a device, and type with serial number: 3GPP TS 23.003, 6.2


class RuleCategory(StrEnum):
    """What a rule protects from. Closed: a new member needs a decision of the project, and none is for opinion."""

    SPAM = "spam"
    FRAUD = "fraud"
    ILLEGAL_TRADE = "illegal_trade"
    BRAND_PROTECTION = "brand_protection"
    NUMBER_PROTECTION = "number_protection"
    DELIVERY = "delivery"

    @property
    def message_category(self) -> Category | None:
        """What a message stopped by such a rule is; None leaves the model's answer."""
        return _MESSAGE_CATEGORY.get(self)


_MESSAGE_CATEGORY = {
    RuleCategory.SPAM: Category.ADVERTISING,
    RuleCategory.FRAUD: Category.FRAUD,
    RuleCategory.BRAND_PROTECTION: Category.FRAUD,
    RuleCategory.ILLEGAL_TRADE: Category.ILLEGAL_TRADE,
}


@dataclass(frozen=True, slots=True)
class NumberPattern:
    """A phone number (`text`: digits) or a contact id such as QQ or WeChat; `is_prefix` stands for a trailing `*`."""

    kind: str  # "phone" or "contact"
    text: str
    is_prefix: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. All conditions that are present must hold; within one list, one entry is enough."""

    id: str
    category: RuleCategory
    action: Verdict
    priority: int
    owner: str
    reason: str
    line: int  # where it stands in the rulebook file
    enabled: bool = True
    valid_from: datetime | None = None  # UTC, inclusive
    valid_to: datetime | None = None  # UTC, exclusive
    keywords: tuple[str, ...] = ()
    keywords_all: tuple[str, ...] = ()
    keywords_none: tuple[str, ...] = ()
    normalised: bool = True  # keywords are matched on the normalised text; else literally, by Hyperscan
    case: bool = False  # regexes and literal keywords: upper and lower case differ
    regexes: tuple[str, ...] = ()
    on: str = "original"  # text the regexes read: "original" or "normalised"
    domains: tuple[str, ...] = ()  # a host is matched by itself and by its parents
    urls: tuple[str, ...] = ()  # host/path patterns with `*`
    numbers: tuple[NumberPattern, ...] = ()
    senders: tuple[str, ...] = ()  # exact, or a prefix with trailing `*`
    access_codes: tuple[str, ...] = ()  # prefixes
    signatures: tuple[str, ...] = ()  # exact once normalised, or a prefix with trailing `*`
    imsis: tuple[str, ...] = ()  # these four: exact, or a prefix with trailing `*`; see `network_fields`
    mscs: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    hours: tuple[tuple[int, int], ...] = ()  # minutes of the local day, [from, to); from > to goes over midnight
    message_category: tuple[Category, ...] = ()
    score_min: float | None = None  # inclusive
    score_max: float | None = None  # inclusive

    def is_valid_at(self, now: datetime) -> bool:
        """Whether the rule is switched on at `now` (aware)."""
        return (
            self.enabled
            and (self.valid_from is None or self.valid_from <= now)
            and (self.valid_to is None or now < self.valid_to)
        )


@dataclass(frozen=True, slots=True)
class Rulebook:
    """A whole, valid rulebook. `digest` identifies its meaning: comments, layout and line numbers do not change it."""

    name: str
    version: str
    time_zone: str  # IANA name or +HH:MM
    rules: tuple[Rule, ...]
    digest: str  # SHA-256 of the canonical form, hexadecimal


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a rulebook. `line` 0: the file as a whole; `rule` is the id, or `#3` for the third rule."""

    file: str
    line: int
    rule: str
    field: str
    value: str
    expected: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        rule = f" rule {self.rule}:" if self.rule else ""
        name = f" {self.field}:" if self.field else ""
        got = f" got {self.value}," if self.value else ""
        return f"{place}:{rule}{name}{got} expected {self.expected}"


class RulebookInvalid(MingbaiError):
    """A rulebook is refused as a whole; `problems` has everything that must be mended."""

    code = "rulebook_invalid"
    template = "{source} is not a valid rulebook ({count} to mend)\n{listing}"

    @classmethod
    def of(cls, source: str, problems: Sequence[Problem]) -> RulebookInvalid:
        listing = "\n".join(str(p) for p in problems)
        return cls(source=source, count=len(problems), listing=listing, problems=tuple(problems))

    @property
    def problems(self) -> tuple[Problem, ...]:
        problems = self.data["problems"]
        assert isinstance(problems, tuple)
        return problems


def digest_of(name: str, version: str, zone: str, rules: Sequence[Rule]) -> str:
    """`Rulebook.digest` of a rulebook with these parts. The order of rules counts: it breaks ties."""
    canonical = {"name": name, "version": version, "time_zone": zone, "rules": [_canonical(rule) for rule in rules]}
    return hashlib.sha256(json.dumps(canonical, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _canonical(rule: Rule) -> dict[str, object]:
    """A rule as JSON values; what has its default is left out, so that a field added later changes no digest."""
    result: dict[str, object] = {}
    for f in fields(rule):
        value = getattr(rule, f.name)
        if f.name != "line" and value != f.default:
            result[f.name] = _json(value)
    return result


def _json(value: object) -> object:
    if isinstance(value, tuple):
        return sorted((_json(v) for v in value), key=json.dumps)  # every list is a set of alternatives
    if isinstance(value, NumberPattern):
        return f"{value.kind}:{value.text}{'*' if value.is_prefix else ''}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.value if isinstance(value, Enum) else value
