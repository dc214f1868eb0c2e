"""Reads about the rulebook: versions with the names of people, rules with what they hit, replays."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import QuerySet

from mingbai.connectors import policy_store
from mingbai.connectors.ledger_index import IndexBehind, Query
from mingbai.contexts.messaging.models import Freed, RulebookState, RulebookTerm, RulebookVersion, Run, RunKind
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.people.policy import Action, Rights
from mingbai.contexts.people.services.accounts import accounts_by_id
from mingbai.kernel.masking import masked
from mingbai.kernel.verdicts import Category, Verdict

# A rule's text is found again by its line: `id = "..."` stands once in a valid rulebook.
_ID_LINE = re.compile(r"^\s*id\s*=\s*(['\"])(?P<id>[^'\"]+)\1", re.MULTILINE)
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")


# ---- versions


def versions() -> QuerySet[RulebookVersion]:
    return RulebookVersion.objects.select_related("base").defer("text", "base__text")


def history() -> QuerySet[RulebookTerm]:
    """Terms, newest first."""
    return RulebookTerm.objects.select_related("version").defer("version__text")


def present_term() -> RulebookTerm | None:
    return RulebookTerm.objects.select_related("version").first()


def open_versions() -> QuerySet[RulebookVersion]:
    """Drafts and what waits for approval."""
    return versions().filter(state__in=(RulebookState.DRAFT, RulebookState.SUBMITTED))


def previous_in_force() -> RulebookVersion | None:
    """The version that was in force before the present one: what one click goes back to."""
    terms = list(RulebookTerm.objects.select_related("version")[:20])
    return next((term.version for term in terms[1:] if term.version_id != terms[0].version_id), None)


def is_confirmed(version: RulebookVersion, status: Mapping[str, Any] | None) -> bool | None:  # Any: JSON
    """Whether the screener decides by this version; None: it does not answer. status: of the screener."""
    if status is None:
        return None
    snapshot = policy_store.current(traffic.installed_settings().data)
    part = snapshot.rulebook if snapshot is not None else None
    published = part.version if part is not None else _shipped_content()
    return published == version.content and status["policy"]["version"] == (snapshot.version if snapshot else 0)


@cache
def _shipped_content() -> str:
    return policy_store.rulebook_version(policy_store.shipped_rulebook_text())


def name_people(rows: Iterable[Any], *fields: str) -> None:  # Any: rows of any table that name accounts by id
    """Give each row `<field>_name`, what the account is called; "" for none."""
    rows = list(rows)
    ids = {str(id) for row in rows for field in fields if (id := getattr(row, field)) is not None}
    found = accounts_by_id(ids) if ids else {}
    for row in rows:
        for field in fields:
            account = found.get(str(getattr(row, field)))
            setattr(row, f"{field}_name", "" if account is None else str(account))


# ---- rules


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule as a table shows it. hits: decisions in the period in which it fired; freed: stopped by it and freed."""

    id: str
    line: int
    category: str
    action: Verdict
    priority: int
    owner: str
    reason: str
    enabled: bool
    valid_from: str
    valid_to: str
    is_in_force: bool
    hits: int = 0
    freed: int = 0

    @property
    def wrong_share(self) -> float | None:
        """Share of its hits that people freed; None without hits."""
        return self.freed / self.hits if self.hits else None


def rules_of(text: str, *, now: datetime) -> list[RuleRow]:
    """The rules of a text. A text that is no TOML has none."""
    return [
        replace(rule, is_in_force=rule.enabled and (first is None or first <= now) and (last is None or now < last))
        for rule, first, last in _read(text)
    ]


@lru_cache(maxsize=8)  # reading a rulebook of thousands of rules takes a second, and every page asks for the same
def _read(text: str) -> tuple[tuple[RuleRow, datetime | None, datetime | None], ...]:
    """Rules, each with the first moment of its validity and the first moment after it."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError):
        return ()
    given = document.get("rule", [])
    head = document.get("rulebook", {})
    zone = _zone(head.get("time_zone", "") if isinstance(head, dict) else "")
    found = {one["id"]: text.count("\n", 0, one.start("id")) + 1 for one in _ID_LINE.finditer(text)}
    return tuple(
        _row(rule, found.get(rule["id"], 0), zone)
        for rule in (given if isinstance(given, list) else [])
        if isinstance(rule, dict) and isinstance(rule.get("id"), str)
    )


def _row(
    rule: Mapping[str, Any], line: int, zone: ZoneInfo | None
) -> tuple[RuleRow, datetime | None, datetime | None]:  # Any: TOML
    try:
        action = Verdict[str(rule.get("action", "")).upper()]
    except KeyError:
        action = Verdict.ALLOW
    begins, ends = rule.get("valid_from"), rule.get("valid_to")
    row = RuleRow(
        id=rule["id"],
        line=line,
        category=str(rule.get("category", "")),
        action=action,
        priority=rule["priority"] if isinstance(rule.get("priority"), int) else 0,
        owner=str(rule.get("owner", "")),
        reason=str(rule.get("reason", "")),
        enabled=rule.get("enabled", True) is not False,
        valid_from="" if begins is None else str(begins),
        valid_to="" if ends is None else str(ends),
        is_in_force=False,
    )
    return row, _moment(begins, zone, is_end=False), _moment(ends, zone, is_end=True)


def _zone(name: object) -> ZoneInfo | None:
    try:
        return ZoneInfo(str(name))
    except (KeyError, ValueError, OSError):
        return None  # an offset, or not valid yet: times are taken as UTC, which only colours a table


def _moment(value: object, zone: ZoneInfo | None, *, is_end: bool) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=zone or UTC)
    if isinstance(value, date):
        day = value + timedelta(days=1) if is_end else value
        return datetime.combine(day, time(), zone or UTC)
    return None


@dataclass(frozen=True, slots=True)
class Figures:
    """Rules with their hits. is_behind: the ledger is still being indexed, and hits cannot be counted yet."""

    rules: list[RuleRow]
    is_behind: bool = False

    @property
    def hits(self) -> int:
        return sum(rule.hits for rule in self.rules)

    @property
    def freed(self) -> int:
        return sum(rule.freed for rule in self.rules)


def rule_figures(rules: Sequence[RuleRow], rights: Rights, *, since: datetime, until: datetime) -> Figures:
    """The rules with their hits in a period, as far as this person's right reaches."""
    reach = rights.reach(Action.SEE_RULES)
    try:
        hits = traffic.index().overview(since, until, traffic.scope_of(reach)).rules
    except IndexBehind:
        return Figures(list(rules), is_behind=True)
    freed: Counter[str] = Counter()
    found = Freed.objects.filter(decided_at__gte=since, decided_at__lt=until).values_list("access_code", "rules")
    for code, names in found:
        if reach is not None and reach.covers(access_code=code):
            freed.update(names)
    return Figures([replace(rule, hits=hits.get(rule.id, 0), freed=freed.get(rule.id, 0)) for rule in rules])


# ---- differences

Opcode = tuple[str, int, int, int, int]
_MAX_CELLS = 4_000_000  # lines times lines that are compared exactly; beyond, frequent lines are not looked for
_CONTEXT = 3


@dataclass(frozen=True, slots=True)
class SideRow:
    """One row of two texts side by side. kind: "", removed, added, changed, skipped."""

    kind: str
    old_no: int | None
    old: str
    new_no: int | None
    new: str


@dataclass(frozen=True, slots=True)
class LineRow:
    """One row of two texts in one column. kind: "", removed, added, skipped."""

    kind: str
    old_no: int | None
    new_no: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What one version changes about another, ready for a page."""

    added: int
    removed: int
    sides: tuple[SideRow, ...]
    lines: tuple[LineRow, ...]


@lru_cache(maxsize=16)
def difference(old: str, new: str) -> Difference:
    """Two versions, line by line; unchanged stretches are folded."""
    before, after = old.splitlines(), new.splitlines()
    codes = _opcodes(before, after)
    sides: list[SideRow] = []
    lines: list[LineRow] = []
    for group in _folded(codes):
        if sides:
            sides.append(SideRow("skipped", None, "…", None, "…"))
            lines.append(LineRow("skipped", None, None, "…"))
        for kind, i, j, k, m in group:
            if kind == "equal":
                sides += [SideRow("", i + n + 1, before[i + n], k + n + 1, after[k + n]) for n in range(j - i)]
                lines += [LineRow("", i + n + 1, k + n + 1, before[i + n]) for n in range(j - i)]
                continue
            lines += [LineRow("removed", n + 1, None, before[n]) for n in range(i, j)]
            lines += [LineRow("added", None, n + 1, after[n]) for n in range(k, m)]
            for n in range(max(j - i, m - k)):
                has_old, has_new = n < j - i, n < m - k
                sides.append(
                    SideRow(
                        "changed" if has_old and has_new else "removed" if has_old else "added",
                        i + n + 1 if has_old else None,
                        before[i + n] if has_old else "",
                        k + n + 1 if has_new else None,
                        after[k + n] if has_new else "",
                    )
                )
    added = sum(m - k for kind, _i, _j, k, m in codes if kind != "equal")
    removed = sum(j - i for kind, i, j, _k, _m in codes if kind != "equal")
    return Difference(added, removed, tuple(sides), tuple(lines))


def _opcodes(before: list[str], after: list[str]) -> list[Opcode]:
    """As `difflib` gives them. What both begin and end with is left out of its search, which takes quadratic time
    for texts as alike as rules are."""
    shortest = min(len(before), len(after))
    head = next((n for n in range(shortest) if before[n] != after[n]), shortest)
    tail = next((n for n in range(shortest - head) if before[-1 - n] != after[-1 - n]), shortest - head)
    some, others = before[head : len(before) - tail], after[head : len(after) - tail]
    is_large = len(some) * len(others) > _MAX_CELLS
    found: list[Opcode] = [("equal", 0, head, 0, head)] if head else []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, some, others, autojunk=is_large).get_opcodes():
        found.append((kind, i + head, j + head, k + head, m + head))
    if tail:
        found.append(("equal", len(before) - tail, len(before), len(after) - tail, len(after)))
    return found


def _folded(codes: list[Opcode]) -> Iterator[list[Opcode]]:
    """Groups of changes with a few lines around each; nothing where there is no change."""
    group: list[Opcode] = []
    last = len(codes) - 1
    for place, (kind, i, j, k, m) in enumerate(codes):
        if kind != "equal":
            group.append((kind, i, j, k, m))
            continue
        size = j - i
        if place == 0:
            keep = min(size, _CONTEXT)
            group.append((kind, j - keep, j, m - keep, m))
        elif place == last:
            keep = min(size, _CONTEXT)
            group.append((kind, i, i + keep, k, k + keep))
        elif size > 2 * _CONTEXT:
            group.append((kind, i, i + _CONTEXT, k, k + _CONTEXT))
            yield group
            group = [(kind, j - _CONTEXT, j, m - _CONTEXT, m)]
        else:
            group.append((kind, i, j, k, m))
    if any(code[0] != "equal" for code in group):
        yield group


# ---- replays


def replays_of(version: RulebookVersion) -> QuerySet[Run]:
    """Newest first."""
    return Run.objects.filter(kind=RunKind.REPLAY_RULES, subject=version.ref)


@dataclass(frozen=True, slots=True)
class ChangedMessage:
    """A recorded message whose fate a draft would change, as this person may see it."""

    id: str
    at: str
    old: Verdict
    new: Verdict
    category: Category
    rules: tuple[str, ...]
    old_rules: tuple[str, ...]
    access_code: str
    text: str
    not_kept: str
    spans: tuple[dict[str, int], ...]


def changed_messages(
    run: Run, side: str, rights: Rights, *, start: int, count: int
) -> tuple[list[ChangedMessage], int]:
    """A page of what would be newly stopped ("blocked") or newly freed ("freed"); and how many the person may see."""
    if not run.result:
        return [], 0
    reach = rights.reach(Action.SEE_MESSAGES)
    listed = [
        one
        for one in run.result[side]["examples"]
        if reach is not None and reach.covers(access_code=one["access_code"])
    ]
    page = listed[start : start + count]
    found = traffic.originals([(one["stream"], one["seq"]) for one in page])
    rows = []
    for one in page:
        original = found.get((one["stream"], one["seq"]), {})
        text = original.get("text")
        may = traffic.covers(rights.reach(Action.SEE_TEXT), one["access_code"], None)
        rows.append(
            ChangedMessage(
                id=one["id"],
                at=one["at"],
                old=Verdict(one["old"]),
                new=Verdict(one["new"]),
                category=Category(one["category"]),
                rules=tuple(one["rules"]),
                old_rules=tuple(one["old_rules"]),
                access_code=one["access_code"],
                text="" if text is None else text if may else masked(text),
                not_kept="" if text is not None else traffic.kept_words(str(original.get("text_kept", "never_kept"))),
                spans=tuple(
                    {"start": start_, "end": end}
                    for start_, end in one["spans"]
                    if text is not None and 0 <= start_ <= end <= len(text)
                ),
            )
        )
    return rows, len(listed)


# ---- one rule


def rule_text(text: str, rule_id: str) -> str:
    """The lines of one rule, from its `[[rule]]` to the next table; "" where it is not found."""
    lines = text.splitlines()
    at = next((n for n, line in enumerate(lines) if (m := _ID_LINE.match(line)) and m["id"] == rule_id), None)
    if at is None:
        return ""
    start = next((n for n in range(at, -1, -1) if lines[n].lstrip().startswith("[[")), at)
    end = next((n for n in range(at + 1, len(lines)) if lines[n].lstrip().startswith("[[")), len(lines))
    block = lines[start:end]
    while block and (not block[-1].strip() or block[-1].lstrip().startswith("#")):  # what belongs to the next one
        block.pop()
    return "\n".join(block)


@dataclass(frozen=True, slots=True)
class Growth:
    """Decisions in which a rule fired, by the day, per verdict."""

    labels: tuple[datetime, ...]
    series: tuple[dict[str, Any], ...]  # Any: what `stacked_chart` takes


_NEWEST_HITS = 1000


def rule_growth(rule_id: str, rights: Rights, *, since: datetime, until: datetime) -> Growth | None:
    """The newest hits of a rule over time; None where there is none. Counted from at most 1,000 of them."""
    scope = traffic.scope_of(rights.reach(Action.SEE_RULES))
    page = traffic.index().search(Query(since=since, until=until, rules=(rule_id,)), limit=_NEWEST_HITS, scope=scope)
    if not page.hits:
        return None
    step = timedelta(hours=1) if until - since <= timedelta(days=2) else timedelta(days=1)
    first = page.hits[-1].at if page.next_cursor else since
    count = int((until - first) / step) + 1
    labels = tuple(until - step * (count - 1 - n) for n in range(count))
    table = {verdict: [0] * count for verdict in Verdict}
    for hit in page.hits:
        place = count - 1 - int((until - hit.at) / step)
        if 0 <= place < count:
            table[hit.verdict][place] += 1
    series = tuple({"verdict": verdict, "values": values} for verdict, values in table.items() if any(values))
    return Growth(labels, series)
