"""A search as the address has it: read, checked, said in words, written again. Numbers are pseudonyms in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from mingbai.connectors.ledger_index import Query
from mingbai.contexts.audit.words import said
from mingbai.contexts.messaging.words import reason_word
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category, Reason, Verdict

PERIODS = {
    "hour": (gettext_lazy("Last hour"), timedelta(hours=1)),
    "day": (gettext_lazy("24 hours"), timedelta(days=1)),
    "week": (gettext_lazy("7 days"), timedelta(days=7)),
    "month": (gettext_lazy("30 days"), timedelta(days=30)),
}
# What an address may hold, in the order in which it is written.
NAMES = (
    "period", "since", "until", "verdict", "category", "who", "sender", "receiver", "n", "access_code", "campaign",
    "rule", "reason", "min_score", "max_score", "words", "text_hash",
)  # fmt: skip
_HEX = re.compile(r"[0-9a-f]{32}(?:,[0-9a-f]{32})*")
_CAMPAIGN = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Search:
    """One search. given: name -> values as in the address; who: pseudonyms that are sender or receiver."""

    given: Mapping[str, list[str]]
    query: Query
    who: tuple[bytes, ...] = ()
    words: tuple[str, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)  # name -> what is wrong; such a part is left out

    @property
    def is_empty(self) -> bool:
        return not self.given

    def to_query(self, **changed: str | None) -> str:
        """The address's query, with some names changed or (None) left out."""
        pairs = [(name, value) for name in NAMES if name not in changed for value in self.given.get(name, [])]
        pairs += [(name, value) for name, value in changed.items() if value]
        return urlencode(pairs)

    def first(self, name: str) -> str:
        return (self.given.get(name) or [""])[0]


def search_of(data: QueryDict, now: datetime) -> Search:
    """Read an address. What cannot be read is a problem, and left out of the query."""
    given = {name: [v for v in data.getlist(name) if v.strip()] for name in NAMES}
    given = {name: values for name, values in given.items() if values}
    problems: dict[str, str] = {}
    parts: dict[str, object] = {}

    def read(name: str, into: str, make: object) -> None:
        if name not in given:
            return
        try:
            parts[into] = make(given[name])  # type: ignore[operator]  # a function of the values
        except BadValue as error:
            problems[name] = said(error)
        except ValueError:
            problems[name] = _("%(value)s cannot be read") % {"value": given[name][0][:80]}

    read("period", "since", lambda values: now - _period(values[0]))
    read("since", "since", lambda values: _moment(values[0], "since"))
    read("until", "until", lambda values: _moment(values[0], "until"))
    read("verdict", "verdicts", lambda values: tuple(_member(Verdict, value, "verdict") for value in values))
    read("category", "categories", lambda values: tuple(_member(Category, value, "category") for value in values))
    for name in ("sender", "receiver"):
        read(name, f"{name}s", lambda values: _hashes(values[0]))
    read("access_code", "access_codes", lambda values: tuple(value.strip() for value in values))
    read("campaign", "campaign", lambda values: _campaign(values[0]))
    read("rule", "rules", lambda values: tuple(value.strip() for value in values))
    read("reason", "reasons", lambda values: tuple(Reason(int(value)) for value in values))
    read("min_score", "min_score", lambda values: _share(values[0], "min_score"))
    read("max_score", "max_score", lambda values: _share(values[0], "max_score"))
    read("text_hash", "text_hash", lambda values: _hashes(values[0])[0])
    read("who", "who", lambda values: _hashes(values[0]))
    who = parts.pop("who", ())
    words = tuple(" ".join(given.get("words", [])).split())[:8]
    try:
        query = Query(**parts)  # type: ignore[arg-type]  # each read above as the query has it
    except BadValue as error:
        problems[str(error.data["field"])] = said(error)
        query = Query()
    return Search(given, query, who, words, problems)  # type: ignore[arg-type]  # pseudonyms, as `_hashes` gives them


def saved_query(text: str) -> str:
    """A query text with what an address may hold, and nothing else."""
    return urlencode([(name, value) for name, value in parse_qsl(text) if name in NAMES and value])


@dataclass(frozen=True, slots=True)
class Chip:
    """One condition in words, and the address without it."""

    label: str
    value: str
    without: str


def chips(search: Search) -> list[Chip]:
    """What is asked for, in words. The number behind a pseudonym stands masked in `n`."""
    words: dict[str, Callable[[str], str]] = {
        "period": lambda value: str(PERIODS[value][0]) if value in PERIODS else value,
        "since": _shown_moment,
        "until": _shown_moment,
        "verdict": _named,
        "category": _named,
        "reason": lambda value: reason_word(int(value)) if value.isdigit() else value,
    }
    labels = {
        "period": _("Period"), "since": _("From"), "until": _("Until"), "verdict": _("Verdict"),
        "category": _("Category"), "who": _("Number"), "sender": _("Sender"), "receiver": _("Receiver"),
        "access_code": _("Access code"), "campaign": _("Campaign"), "rule": _("Rule"), "reason": _("Reason"),
        "min_score": _("Score from"), "max_score": _("Score to"), "words": _("Text"), "text_hash": _("Same text"),
    }  # fmt: skip
    found = []
    for name in NAMES:
        if name == "n" or name not in search.given:
            continue
        values = search.given[name]
        if name in ("who", "sender", "receiver"):
            shown = search.first("n") or f"#{values[0][:8]}"
        elif name == "text_hash":
            shown = f"#{values[0][:8]}"
        else:
            shown = ", ".join(words.get(name, str)(value) for value in values)
        dropped: dict[str, str | None] = {name: None}
        if name in ("who", "sender", "receiver"):
            dropped["n"] = None
        found.append(Chip(labels[name], shown, search.to_query(**dropped)))
    return found


def _named(value: str) -> str:
    """The word of a verdict or category: the same sentences as the badges have."""
    words = {
        "allow": _("Allow"), "flag": _("Flag"), "hold": _("Hold"), "block": _("Block"), "personal": _("Personal"),
        "notification": _("Notification"), "advertising": _("Advertising"), "fraud": _("Fraud"),
        "illegal_trade": _("Illegal trade"),
    }  # fmt: skip
    return words.get(value, value)


def _period(name: str) -> timedelta:
    if name not in PERIODS:
        raise BadValue(field="period", value=name, expected=", ".join(PERIODS))
    return PERIODS[name][1]


def _moment(text: str, name: str) -> datetime:
    """A time as an address or a form has it; without a zone, of the console's."""
    moment = parse_datetime(text.strip().replace(" ", "+") if "T" in text else text.strip())
    if moment is None:
        raise BadValue(field=name, value=text[:80], expected="a time such as 2026-11-24T08:30")
    if timezone.is_aware(moment):
        return moment
    zone = timezone.get_current_timezone()
    assert isinstance(zone, ZoneInfo)
    return moment.replace(tzinfo=zone)


def _shown_moment(text: str) -> str:
    try:
        return timezone.localtime(_moment(text, "since")).strftime("%Y-%m-%d %H:%M")
    except BadValue:
        return text


def _member(kind: type[Verdict] | type[Category], value: str, name: str) -> Verdict | Category:
    try:
        return kind[value.upper()]
    except KeyError:
        raise BadValue(field=name, value=value[:80], expected=", ".join(one.label for one in kind)) from None


def _hashes(text: str) -> tuple[bytes, ...]:
    if not _HEX.fullmatch(text):
        raise BadValue(field="number", value=text[:80], expected="pseudonyms: 32 hex digits, with commas between")
    return tuple(bytes.fromhex(part) for part in text.split(","))


def _campaign(text: str) -> int:
    text = text.strip().lower()
    if not _CAMPAIGN.fullmatch(text) or not int(text, 16):
        raise BadValue(field="campaign", value=text[:80], expected="16 hex digits")
    return int(text, 16)


def _share(text: str, name: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise BadValue(field=name, value=text[:80], expected="a number from 0 to 1")
    return value


def hex_of(hashes: Iterable[bytes]) -> str:
    return ",".join(one.hex() for one in hashes)
