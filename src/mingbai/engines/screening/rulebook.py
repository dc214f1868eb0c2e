"""Reading a rulebook from its file: every problem in one pass, each at its line.

`load` and `parse` return a whole, valid `Rulebook` or raise `RulebookInvalid`. Each reader below takes one field of one
rule, reports what is wrong with it and returns something harmless, so that the pass goes on and a person mends a file
once, not once per error.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from enum import Enum
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from mingbai.engines.screening import regexes
from mingbai.engines.screening.rulebook_types import (
    MAX_KEYWORDS_ALL,
    MAX_PRIORITY,
    NumberPattern,
    Problem,
    Rule,
    Rulebook,
    RulebookInvalid,
    RuleCategory,
    digest_of,
)
from mingbai.engines.screening.toml_lines import KeyLines, TableLines, table_lines
from mingbai.engines.screening.trie import MAX_KEYWORD_NIDS
from mingbai.engines.screening.url_hosts import canonical_domain
from mingbai.kernel.verdicts import Category, Verdict

__all__ = ["Problem", "Rule", "Rulebook", "RulebookInvalid", "load", "load_shipped", "parse", "time_zone"]

Normalise = Callable[[str], Sequence[int]]
"""Text -> nids, the normalised characters that keywords are matched on (see `alphabet`)."""
ReadFile = Callable[[str], bytes]
"""Name of a list file, relative to the rulebook -> its bytes. Raises OSError."""

_T = TypeVar("_T")
_E = TypeVar("_E", bound=Enum)

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\s*-\s*(?:([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00))")
_PHONE = re.compile(r"\+?[0-9][0-9 ()-]*")
_IMSI = re.compile(r"[0-9]{6,15}|[0-9]{3,14}\*")
_DEVICE = re.compile(r"[0-9]{8}|[0-9]{14,16}|[0-9]{2,13}\*")
_CONTACT = re.compile(r"(?i:qq|wx|vx|wechat|微信)\s*[:：]\s*([A-Za-z0-9_-]+)")
_OFFSET = re.compile(r"([+-])(0[0-9]|1[0-4]):([0-5][0-9])")
_ANCHOR = re.compile(r"(?<!\\)(?:\\\\)*(?:\\[AzZG]|\(\?\^|\(\?[a-zA-Z]*-[a-zA-Z]*m)")
_TOML_PLACE = re.compile(r"\(at line (\d+), column \d+\)")

_SCALARS = (
    "id",
    "category",
    "action",
    "priority",
    "owner",
    "reason",
    "enabled",
    "valid_from",
    "valid_to",
    "normalised",
)
_MORE_SCALARS = ("case", "on", "score_min", "score_max")
_NETWORK = ("imsis", "mscs", "cells", "devices")
_WITH_FILE = ("keywords", "keywords_none", "domains", "numbers", "senders", "access_codes", "signatures", *_NETWORK)
_LISTS = (*_WITH_FILE, "keywords_all", "regexes", "urls", "hours", "message_category")
_KNOWN = {*_SCALARS, *_MORE_SCALARS, *_LISTS, *(f"{name}_file" for name in _WITH_FILE)}
_CONDITIONS = [
    *("keywords", "keywords_all", "regexes", "domains", "urls", "numbers", "senders", "access_codes", "signatures"),
    *(*_NETWORK, "hours", "message_category", "score_min", "score_max"),
]


def load(path: str | Path, normalise: Normalise) -> Rulebook:
    """Read a rulebook file and the lists beside it. Raises RulebookInvalid, also when a file cannot be read."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        problem = Problem(str(path), 0, "", "", error.strerror or type(error).__name__, "a file that can be read")
        raise RulebookInvalid.of(str(path), [problem]) from error
    return parse(content, normalise, source=str(path), read_file=lambda name: (path.parent / name).read_bytes())


def load_shipped(normalise: Normalise) -> Rulebook:
    """The rulebook in the package, `data/rulebook.toml`."""
    content = resources.files("mingbai.engines.screening").joinpath("data/rulebook.toml").read_bytes()
    return parse(content, normalise, source="rulebook.toml")


def parse(
    content: bytes | str, normalise: Normalise, *, source: str = "rulebook", read_file: ReadFile | None = None
) -> Rulebook:
    """Make a rulebook from the content of its file.

    source: name used in problems; read_file: reads list files (`keywords_file` and its like), None refuses them.
    Raises RulebookInvalid with all problems.
    """
    problems: list[Problem] = []
    text = _decode(content, source, problems) if isinstance(content, bytes) else content
    document = _read_toml(text, source, problems) if text is not None else None
    if text is None or document is None:
        raise RulebookInvalid.of(source, problems)
    name, version, zone, rules = _read_document(document, text, normalise, source, read_file, problems)
    if problems:
        raise RulebookInvalid.of(source, problems)
    return Rulebook(name, version, zone, rules, digest_of(name, version, zone, rules))


def time_zone(name: str) -> tzinfo:
    """`Asia/Shanghai` or `+08:00` -> tzinfo. Raises ValueError for anything else."""
    offset = _OFFSET.fullmatch(name)
    if offset:
        minutes = int(offset[2]) * 60 + int(offset[3])
        return timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # unknown; not a name at all; a folder of the time zone database
        raise ValueError(f"unknown time zone {name!r}") from error


def _read_toml(text: str, source: str, problems: list[Problem]) -> dict[str, object] | None:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a wrong date or a number of too many digits is a plain ValueError
        place = _TOML_PLACE.search(str(error))
        line = int(place[1]) if place else 0
        problems.append(Problem(source, line, "", "", str(error) or "nested too deeply", "TOML 1.0"))
        return None


def _read_document(
    document: dict[str, object],
    text: str,
    normalise: Normalise,
    source: str,
    read_file: ReadFile | None,
    problems: list[Problem],
) -> tuple[str, str, str, tuple[Rule, ...]]:
    tables = table_lines(text)
    head = next((t for t in tables if t.name == "rulebook"), TableLines("rulebook", 1))
    book = _Fields(document.get("rulebook", {}), head, "", source, problems)
    for key in document.keys() - {"rulebook", "rule"}:
        line = next((t.line for t in tables if t.name.split(".")[0] == key), 0)
        line = line or next((k.line for t in tables for name, k in t.keys.items() if name.split(".")[0] == key), 1)
        problems.append(Problem(source, line, "", key, "", "only [rulebook] and [[rule]] at this level"))
    book.refuse_unknown({"name", "version", "time_zone", "description"})
    book.text("description", default="", longest=2000)
    name = book.text("name", longest=100)
    version = book.text("version", longest=100)
    zone_name = book.text("time_zone", default="", longest=64)
    zone: tzinfo | None = None
    if zone_name:
        try:
            zone = time_zone(zone_name)
        except ValueError:
            book.problem("time_zone", zone_name, "an IANA time zone such as Asia/Shanghai, or an offset such as +08:00")

    entries = document.get("rule", [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        problems.append(Problem(source, 1, "", "rule", _show(entries), "rules as [[rule]] tables"))
        entries = []
    headers = [t for t in tables if t.name == "rule"]
    if len(headers) != len(entries):  # written as an inline array: valid TOML, but lines are not known
        headers = [TableLines("rule", 1) for _ in entries]
    rules = []
    patterns: list[_Pattern] = []
    seen: dict[str, int] = {}
    for number, (entry, header) in enumerate(zip(entries, headers, strict=True), 1):
        label = entry["id"] if isinstance(entry.get("id"), str) and entry["id"] else f"#{number}"
        reader = _Fields(entry, header, label, source, problems, read_file, zone, normalise)
        rule = reader.rule()
        if rule.id in seen:
            reader.problem("id", rule.id, f"an id of its own; line {seen[rule.id]} has it already")
        seen.setdefault(rule.id, header.line)
        rules.append(rule)
        patterns += reader.patterns
    refused = regexes.refused([pattern.regex for pattern in patterns])
    for pattern, message in zip(patterns, refused, strict=True):
        if message:
            pattern.reader.problem("regexes", pattern.at.value, f"what Hyperscan takes; it says: {message}", pattern.at)
    return name, version, zone_name or "UTC", tuple(rules)


def _decode(content: bytes, file: str, problems: list[Problem]) -> str | None:
    try:
        # tomllib takes CRLF as a line end but not a byte order mark, which Windows editors write.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.append(Problem(file, line, "", "", f"byte 0x{content[error.start]:02x}", "text in UTF-8"))
        return None


def _show(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


class Entry(NamedTuple):
    """One element of a list and where it was read."""

    value: str
    file: str
    line: int


class _Pattern(NamedTuple):
    """A regex that waits for Hyperscan's word."""

    reader: _Fields
    at: Entry
    regex: regexes.Regex


class _Fields:
    """Reads the fields of one table and reports what is wrong with them."""

    def __init__(
        self,
        values: object,
        lines: TableLines,
        label: str,
        source: str,
        problems: list[Problem],
        read_file: ReadFile | None = None,
        zone: tzinfo | None = None,
        normalise: Normalise | None = None,
    ) -> None:
        self.lines, self.label, self.source, self.problems = lines, label, source, problems
        self.read_file, self.zone, self.normalise = read_file, zone, normalise
        self.patterns: list[_Pattern] = []
        self.values: dict[str, object] = values if isinstance(values, dict) else {}
        if not isinstance(values, dict):
            self.problem("", values, "a table")

    def problem(self, field: str, value: object, expected: str, at: Entry | None = None) -> None:
        line = self.lines.keys.get(field, KeyLines(self.lines.line)).line
        file, line = (at.file, at.line) if at else (self.source, line)
        shown = "" if value is None else _show(value)
        self.problems.append(Problem(file, line, self.label, field, shown, expected))

    def refuse_unknown(self, known: set[str]) -> None:
        for key in self.values.keys() - known:
            near = difflib.get_close_matches(key, known, 1)
            self.problem(key, None, f"a known key{f' (did you mean {near[0]}?)' if near else ''}")

    # ---- scalars

    def text(self, field: str, default: str | None = None, longest: int = 500) -> str:
        value = self.values.get(field, default)
        if value is None:
            self.problem(field, None, "this key to be present")
        elif not isinstance(value, str) or (default is None and not value.strip()) or len(value) > longest:
            self.problem(field, value, f"a text of 1 to {longest} characters")
        elif _CONTROL.search(value.replace("\n", "")):
            self.problem(field, value, "a text without control characters")
        else:
            return value.strip()
        return ""

    def boolean(self, field: str, default: bool) -> bool:
        value = self.values.get(field, default)
        if not isinstance(value, bool):
            self.problem(field, value, "true or false")
            return default
        return value

    def choice(self, field: str, choices: dict[str, _T], default: str | None = None, remark: str = "") -> _T:
        value = self.values.get(field, default)
        if isinstance(value, str) and value in choices:
            return choices[value]
        self.problem(field, value, f"one of {', '.join(choices)}{remark}")
        return next(iter(choices.values()))

    def priority(self) -> int:
        value = self.values.get("priority", 0)
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_PRIORITY:
            self.problem("priority", value, f"a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}")
            return 0
        return value

    def score(self, field: str) -> float | None:
        value = self.values.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            self.problem(field, value, "a number from 0 to 1")
            return None
        return float(value)

    def moment(self, field: str, *, is_end: bool) -> datetime | None:
        """A date means the whole local day: its first moment, or for an end the first moment after it."""
        value = self.values.get(field)
        if value is None:
            return None
        if not isinstance(value, date):
            self.problem(field, value, "a date or time without quotes: 2026-01-31 or 2026-01-31T08:00:00+08:00")
            return None
        try:
            if not isinstance(value, datetime):
                value = datetime.combine(value, time()) + timedelta(days=is_end)
            if value.tzinfo is None:
                if self.zone is None:
                    self.problem(field, value.isoformat(), "an offset, or time_zone in [rulebook] for local times")
                    return None
                value = value.replace(tzinfo=self.zone)
            return value.astimezone(UTC)
        except OverflowError:
            self.problem(field, value.isoformat(), "a date from year 1 to 9999")
            return None

    # ---- lists

    def entries(self, field: str) -> Iterator[Entry]:
        """Elements of a list field (a single text counts as a list of one), then those of its `_file`."""
        value = self.values.get(field, [])
        items = value if isinstance(value, list) else [value]
        where = self.lines.keys.get(field, KeyLines(self.lines.line))
        lines = where.elements if len(where.elements) == len(items) else [where.line] * len(items)
        if field in self.values and not items:
            self.problem(field, value, "at least one entry, or no such key")
        for item, line in zip(items, lines, strict=True):
            entry = Entry(item.strip() if isinstance(item, str) else "", self.source, line)
            if entry.value and not _CONTROL.search(entry.value):
                yield entry
            else:
                self.problem(field, item, "a text without control characters", entry)
        if field in _WITH_FILE and f"{field}_file" in self.values:
            yield from self._file_entries(f"{field}_file")

    def _file_entries(self, field: str) -> Iterator[Entry]:
        name = self.values[field]
        path = PurePosixPath(name) if isinstance(name, str) else PurePosixPath("/")
        if path.is_absolute() or ".." in path.parts or not path.name or "\0" in path.name:
            self.problem(field, name, "the name of a file in the rulebook's folder or below it")
            return
        if self.read_file is None:
            self.problem(field, name, "no list file here: this rulebook does not come from a folder")
            return
        try:
            content = self.read_file(str(path))
        except OSError as error:
            self.problem(field, name, f"a file that can be read ({error.strerror or type(error).__name__})")
            return
        text = _decode(content, str(path), self.problems)
        found = False
        for number, line in enumerate((text or "").split("\n"), 1):
            value = line.strip()
            if not value or value.startswith("# ") or value == "#":
                continue
            found = True
            entry = Entry(value, str(path), number)
            if _CONTROL.search(value):
                self.problem(field, value, "a text without control characters", entry)
            else:
                yield entry
        if text is not None and not found:
            self.problem(field, name, "a file with at least one entry, one a line")

    def parsed(self, field: str, read: Callable[[str], _T | None], expected: str) -> tuple[_T, ...]:
        """Distinct results of `read` in file order; None from `read` is a problem."""
        results: dict[_T, None] = {}
        for entry in self.entries(field):
            result = read(entry.value)
            if result is None:
                self.problem(field, entry.value, expected, entry)
            else:
                results[result] = None
        return tuple(results)

    def keywords(self, field: str, normalised: bool) -> tuple[str, ...]:
        def read(value: str) -> str | None:
            length = len(self.normalise(value)) if normalised and self.normalise else len(value)
            return value if 1 <= length <= MAX_KEYWORD_NIDS else None

        expected = f"1 to {MAX_KEYWORD_NIDS} characters"
        if normalised:
            expected += " once spaces and punctuation are left out (for others: normalised = false)"
        return self.parsed(field, read, expected)

    def regexes(self, case: bool) -> tuple[str, ...]:
        results: dict[str, None] = {}
        for entry in self.entries("regexes"):
            if len(entry.value) > 1000 or _ANCHOR.search(entry.value):
                expected = "a regex of at most 1000 characters without \\A \\z \\Z \\G or (?-m): ^ and $ are its ends"
                self.problem("regexes", entry.value, expected, entry)
                continue
            results[entry.value] = None
            self.patterns.append(_Pattern(self, entry, regexes.Regex(entry.value, case)))
        return tuple(results)

    # ---- the whole rule

    def rule(self) -> Rule:
        self.refuse_unknown(_KNOWN)
        rule_id = self.text("id", longest=64)
        if rule_id and not _ID.fullmatch(rule_id):
            self.problem("id", rule_id, "1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit")
        normalised = self.boolean("normalised", True)
        case = self.boolean("case", False)
        keywords_all = self.keywords("keywords_all", normalised)
        if len(keywords_all) > MAX_KEYWORDS_ALL:
            self.problem("keywords_all", len(keywords_all), f"at most {MAX_KEYWORDS_ALL} keywords")
            keywords_all = keywords_all[:MAX_KEYWORDS_ALL]
        rule = Rule(
            id=rule_id,
            category=self.choice("category", _labels(RuleCategory), remark="; rules are never for opinion"),
            action=self.choice("action", _labels(Verdict)),
            priority=self.priority(),
            owner=self.text("owner", longest=100),
            reason=self.text("reason"),
            line=self.lines.line,
            enabled=self.boolean("enabled", True),
            valid_from=self.moment("valid_from", is_end=False),
            valid_to=self.moment("valid_to", is_end=True),
            keywords=self.keywords("keywords", normalised),
            keywords_all=keywords_all,
            keywords_none=self.keywords("keywords_none", normalised),
            normalised=normalised,
            case=case,
            regexes=self.regexes(case),
            on=self.choice("on", {"original": "original", "normalised": "normalised"}, "original"),
            domains=self.parsed("domains", canonical_domain, "a domain such as example.com, without scheme or path"),
            urls=self.parsed("urls", _read_url, "a host and path such as *.example.com/pay/*, with at least 4"
                             " characters that are not * and at most 8 *"),
            numbers=self.parsed("numbers", _read_number, "a number of 5 to 20 digits (a prefix with *: 3 to 19), or"
                                " QQ:12345 or wx:name"),
            senders=self.parsed("senders", _read_prefix, "a sender, or its beginning with * at the end"),
            access_codes=self.parsed("access_codes", _read_access_code, "the first 3 to 21 digits of an access code"),
            signatures=self.parsed("signatures", _read_signature, "a signature, or its beginning with * at the end"),
            imsis=self.parsed("imsis", _read_imsi, "an IMSI of 6 to 15 digits, or its first 3 to 14 with * at the end"),
            mscs=self.parsed("mscs", _read_prefix, "an MSC's number or address, or its beginning with * at the end"),
            cells=self.parsed("cells", _read_prefix, "a cell, or its beginning with * at the end"),
            devices=self.parsed("devices", _read_device, "an IMEI of 14 to 16 digits, the 8 of a type, or its first 2"
                                " to 13 digits with * at the end"),
            hours=self.parsed("hours", _read_hours, "hours such as 22:00-08:00"),
            message_category=self.parsed("message_category", _labels(Category).get,
                                         f"some of {', '.join(_labels(Category))}"),
            score_min=self.score("score_min"),
            score_max=self.score("score_max"),
        )  # fmt: skip
        self._check_together(rule)
        return rule

    def _check_together(self, rule: Rule) -> None:
        if not any(name in self.values or f"{name}_file" in self.values for name in _CONDITIONS):
            self.problem("", None, f"at least one condition: {', '.join(_CONDITIONS)}")
        if rule.valid_from and rule.valid_to and rule.valid_to <= rule.valid_from:
            self.problem("valid_to", rule.valid_to.isoformat(), "a time after valid_from")
        if rule.score_min is not None and rule.score_max is not None and rule.score_max < rule.score_min:
            self.problem("score_max", rule.score_max, "a number not below score_min")
        if rule.hours and self.zone is None:
            self.problem("hours", self.values["hours"], "time_zone in [rulebook], because hours are local")
        if "on" in self.values and "regexes" not in self.values:
            self.problem("on", rule.on, "regexes beside it: `on` says which text they read")


def _labels(kind: type[_E]) -> dict[str, _E]:
    return {member.name.lower(): member for member in kind}


def _read_url(value: str) -> str | None:
    value = value.removeprefix("http://").removeprefix("https://")
    literal = value.replace("*", "")
    if " " in value or len(literal) < 4 or value.count("*") > 8 or len(value) > 500:
        return None
    host, slash, path = value.partition("/")
    return host.lower() + slash + path


def _read_number(value: str) -> NumberPattern | None:
    body = value.rstrip("*")
    is_prefix = body != value
    contact = _CONTACT.fullmatch(body)
    if contact:
        return NumberPattern("contact", contact[1].lower(), is_prefix) if 5 <= len(contact[1]) <= 32 else None
    digits = re.sub(r"[^0-9]", "", body)
    if not _PHONE.fullmatch(body) or not (3 if is_prefix else 5) <= len(digits) <= 20 - is_prefix:
        return None
    return NumberPattern("phone", digits, is_prefix)


def _read_prefix(value: str) -> str | None:
    body = value.removesuffix("*")
    return value if body and "*" not in body and len(body) <= 64 else None


def _read_access_code(value: str) -> str | None:
    body = value.removesuffix("*")
    return body if body.isascii() and body.isdecimal() and 3 <= len(body) <= 21 else None


def _read_imsi(value: str) -> str | None:
    """ITU-T E.212: at most 15 digits, of which the first three are the country's."""
    return value if _IMSI.fullmatch(value) else None


def _read_device(value: str) -> str | None:
    return value if _DEVICE.fullmatch(value) else None


def _read_signature(value: str) -> str | None:
    return _read_prefix(value.strip("【】[]"))


def _read_hours(value: str) -> tuple[int, int] | None:
    match = _HOURS.fullmatch(value)
    if not match:
        return None
    begin = int(match[1]) * 60 + int(match[2])
    end = int(match[3] or match[5]) * 60 + int(match[4] or match[6])
    return (begin, end) if begin != end else None
