"""A rulebook made to run: which rules fire on which rows of a batch, and what comes of it.

Theory of operation. Every condition of a rule that is looked up (keywords, regexes, hosts, numbers, senders, ...) has a
bit; a look-up gives triples (row, rule, bit). The triples of one row and rule are or-ed, and the rule fires where all
bits that it requires are there, the bit of its excluding keywords is not, and its plain conditions (hours, category,
score) hold. All of it is whole-array work; Python touches only rows in which something was found, so a row without a
hit costs nothing here.

Conflicts. All rules that fire are reported. The one with the highest priority decides; at equal priority allow wins,
because a message blocked in error costs its reader more than an advert that arrives; then the stricter action (so that
a rule that only flags does not switch off one that blocks); then the rule that stands first in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening import codes, contact_numbers, network_fields, reading, senders
from mingbai.engines.screening.normalised_text import normalised_column
from mingbai.engines.screening.plain_conditions import PlainConditions, local_minutes, micros_of
from mingbai.engines.screening.regexes import Regex, RegexSet
from mingbai.engines.screening.rule_columns import (
    few_values,
    folded_signature,
    match_signatures,
    read_column,
    service_codes,
)
from mingbai.engines.screening.rule_outcome import NO_PAIRS, RuleOutcome, Seen, silence
from mingbai.engines.screening.rulebook import Normalise
from mingbai.engines.screening.rulebook_types import NumberPattern, Rule, Rulebook, digest_of
from mingbai.engines.screening.schema import text_buffers
from mingbai.engines.screening.trie import KeywordMatcher, compile_keywords
from mingbai.engines.screening.triples import FEW, Triple, Triples, differs_from_last, is_first
from mingbai.engines.screening.url_hosts import raw_address
from mingbai.engines.screening.urls import UrlTable
from mingbai.kernel.verdicts import Reason, Verdict

Bools = npt.NDArray[np.bool_]
F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

KEYWORDS, REGEXES, DOMAINS, URLS, NUMBERS, SENDERS, ACCESS_CODES, SIGNATURES, PLAIN = (1 << i for i in range(9))
KEYWORDS_NONE = 1 << 9
FIRST_OF_ALL = 10  # bit of the first of `keywords_all`, of which there are at most 32
ALL_OF_ALL = ((1 << 32) - 1) << FIRST_OF_ALL
TEXT = KEYWORDS | REGEXES | DOMAINS | URLS | NUMBERS | ALL_OF_ALL

_COLUMN_BITS = {"sender": SENDERS, "access_code": ACCESS_CODES, "signature": SIGNATURES, **network_fields.BITS}
_CONDITION_OF = {name: f"{name}s" for name in network_fields.BITS}  # column: field of `Rule`
_CACHED_HOSTS = 1 << 16
_NEVER = 1 << 62  # microseconds since 1970, beyond any date
_CODE = -1  # stands for a rule in the targets of `codes.WORDS`


def keyword_nids(text: str) -> list[int]:
    """A keyword as messages are read: the `Normalise` of the engine's own alphabet."""
    content = np.frombuffer(text.encode("utf-8", "replace") or b"\0", np.uint8)
    letters, _ = reading.letters_of(content, reading.tables())
    nids: list[int] = letters.tolist()
    return nids


@dataclass(frozen=True, slots=True)
class _Targets:
    """For each keyword or pattern the conditions that it answers: offsets into the three columns."""

    offsets: I64
    rules: I64
    bits: U64
    numbers: I64  # index into `CompiledRules.number_patterns`, -1 for keywords

    @classmethod
    def of(cls, count: int, targets: Iterable[tuple[int, int, int, int]]) -> _Targets:
        """targets: (keyword or pattern, rule, bit, number)."""
        table = np.array(sorted(set(targets)), np.int64).reshape(-1, 4)
        offsets = np.searchsorted(table[:, 0], np.arange(count + 1)).astype(np.int64)
        return cls(offsets, table[:, 1], table[:, 2].astype(np.uint64), table[:, 3])


@dataclass(frozen=True, slots=True)
class _Columns:
    """Look-ups of one column: for rules that must look at every row, and for those that a text condition narrows."""

    everywhere: senders.PrefixTable
    narrowed: senders.PrefixTable


@dataclass(frozen=True, slots=True)
class _Moment:
    """What of a rulebook is valid at a moment."""

    at: datetime
    active: Bools
    # Text read, patterns, conditions that they answer, and the bits that a rule must have before (None: every row).
    patterns: list[tuple[str, RegexSet, _Targets, U64 | None]]
    plain: list[int]  # rules of hours, category and score alone


class _Fired(NamedTuple):
    """Pairs that fire, by row and then by rank."""

    rows: I64
    rules: I64
    bits: U64
    spans: I32  # `RuleOutcome.spans`
    kept_back: I64  # `RuleOutcome.kept_back`


_NOTHING = _Fired(
    np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros((0, 3), np.int32), NO_PAIRS
)


@dataclass(frozen=True)
class CompiledRules:
    """A rulebook, compiled. Immutable and picklable; `apply` may run in several threads."""

    rulebook: Rulebook
    keywords: KeywordMatcher  # for the kernel; also holds `codes.WORDS`
    number_patterns: tuple[NumberPattern, ...]
    _keyword_targets: _Targets
    _patterns: dict[tuple[str, bool], tuple[RegexSet, _Targets]]  # by text read, and whether others narrow
    _domains: dict[str, list[int]]
    _urls: list[tuple[list[str], int]]
    _columns: dict[str, _Columns]  # those of `_COLUMN_BITS` that some rule asks for
    _required: U64
    _with_fields: I64  # rules that ask for a field of `schema.NETWORK`
    _before_patterns: U64  # text conditions of each rule that are looked up before its regexes
    _plain: PlainConditions
    _rank: I64
    _valid: tuple[I64, I64]  # microseconds since 1970 from which and until which each rule is active
    _actions: U8
    _categories: U8  # `_stands_for`
    _ids: pa.Array
    _hosts: dict[str, tuple[int, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )  # cache of `_domain_rules`
    _answers: dict[int, list[tuple[int, int, int]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # cache of `_answer`
    _moments: list[_Moment] = field(default_factory=list, init=False, repr=False, compare=False)  # cache of `_moment`

    @classmethod
    def none(cls) -> CompiledRules:
        """No rules at all."""
        return cls.of(Rulebook("none", "0", "UTC", (), digest_of("none", "0", "UTC", ())))

    @classmethod
    def of(cls, rulebook: Rulebook, normalise: Normalise = keyword_nids) -> CompiledRules:
        """Compile. normalise: what the rulebook was validated with. Takes up to seconds for a large rulebook."""
        rules = rulebook.rules
        words: list[Sequence[int]] = []
        targets: list[tuple[int, int, int, int]] = []
        number_patterns: list[NumberPattern] = []
        patterns: dict[tuple[str, bool], list[tuple[Regex, int, int]]] = {}
        required = np.zeros(len(rules), np.uint64)
        for word in codes.WORDS:
            targets.append((len(words), _CODE, 0, -1))
            words.append(normalise(word))
        for index, rule in enumerate(rules):
            required[index] = _required(rule)
            for bit, keyword in _keywords(rule):
                if rule.normalised:
                    targets.append((len(words), index, bit, -1))
                    words.append(normalise(keyword))
                else:
                    kind = ("original", _before_patterns(rule) != 0)
                    patterns.setdefault(kind, []).append((Regex(_literal(keyword), rule.case), index, bit))
            for number in rule.numbers:
                targets.append((len(words), index, NUMBERS, len(number_patterns)))
                words.append(normalise(number.text))
                number_patterns.append(number)
            for pattern in rule.regexes:
                kind = (rule.on, _before_patterns(rule) != 0)
                patterns.setdefault(kind, []).append((Regex(pattern, rule.case), index, REGEXES))
        matcher, ids = compile_keywords(words)
        compiled = {
            kind: (
                RegexSet([regex for regex, _, _ in entries]),
                _Targets.of(len(entries), ((i, index, bit, -1) for i, (_, index, bit) in enumerate(entries))),
            )
            for kind, entries in patterns.items()
        }
        domains: dict[str, list[int]] = {}
        for index, rule in enumerate(rules):
            for domain in rule.domains:
                domains.setdefault(raw_address(domain) or domain, []).append(index)
        columns = {
            "sender": [(f, i) for i, r in enumerate(rules) for e in r.senders for f in senders.address_forms(e)],
            "access_code": [(e + "*", i) for i, r in enumerate(rules) for e in r.access_codes],
            "signature": [(folded_signature(e, normalise), i) for i, r in enumerate(rules) for e in r.signatures],
        }
        for name, condition in _CONDITION_OF.items():
            columns[name] = [
                (form, i)
                for i, rule in enumerate(rules)
                for entry in getattr(rule, condition)
                for form in network_fields.entry_forms(name, entry)
            ]
        return cls(
            rulebook=rulebook,
            keywords=matcher,
            number_patterns=tuple(number_patterns),
            _keyword_targets=_Targets.of(
                matcher.count, ((int(ids[word]), rule, bit, number) for word, rule, bit, number in targets)
            ),
            _patterns=compiled,
            _domains=domains,
            _urls=[(url.lower().split("*"), index) for index, rule in enumerate(rules) for url in rule.urls],
            _columns={
                name: _Columns(
                    senders.PrefixTable((e, i) for e, i in entries if not int(required[i]) & TEXT),
                    senders.PrefixTable((e, i) for e, i in entries if int(required[i]) & TEXT),
                )
                for name, entries in columns.items()
                if entries
            },
            _required=required,
            _with_fields=np.flatnonzero(required & network_fields.ALL_BITS),
            _before_patterns=np.array([_before_patterns(rule) for rule in rules], np.uint64),
            _plain=PlainConditions.of(rulebook),
            _rank=_ranks(rules),
            _valid=(
                np.array(
                    [
                        _NEVER if not r.enabled else -_NEVER if r.valid_from is None else micros_of(r.valid_from)
                        for r in rules
                    ],
                    np.int64,
                ),
                np.array([_NEVER if r.valid_to is None else micros_of(r.valid_to) for r in rules], np.int64),
            ),
            _actions=np.array([int(rule.action) for rule in rules], np.uint8),
            _categories=np.array([_stands_for(rule) for rule in rules], np.uint8),
            _ids=pa.array([rule.id for rule in rules], pa.string()),
        )

    @property
    def version(self) -> str:
        """Name, version and digest, as a ledger entry names the rulebook that decided."""
        return f"{self.rulebook.name} {self.rulebook.version} {self.rulebook.digest[:12]}"

    @property
    def reads_links(self) -> bool:
        """Whether some rule asks for hosts or URLs."""
        return bool(self._domains or self._urls)

    def apply(
        self, batch: pa.RecordBatch, seen: Seen, links: UrlTable, at: datetime, codes_in: Bools | None = None
    ) -> RuleOutcome:
        """Which rules fire on which rows of a batch.

        batch: columns of `MESSAGE`, n rows, and `signature` if the caller knows it better than the text; seen: score,
        category and keyword hits of the rows; links: their URLs; at: aware, the moment at which rules must be valid,
        and the time of messages that bring none; codes_in: rows in which to look for verification codes (None: all).
        """
        n = batch.num_rows
        moment = self._moment(at)
        triples = Triples()
        codes_at = self._match_keywords(batch, seen, triples)
        if codes_in is not None:
            codes_at = codes_at[codes_in[codes_at]]
        self._match_links(links, triples)
        self._match_regexes(batch, moment, triples)
        self._match_columns(batch, triples)
        self._match_plain(n, moment, triples)
        absent = network_fields.absent_bits(batch) if len(self._with_fields) else None
        if absent is not None:
            self._match_absent(absent, triples)
        code = codes.verification_codes(batch.column("text"), links, codes_at)
        service_code = service_codes(batch)
        if not triples:
            return silence(n, code, service_code)
        minutes = lru_cache(1)(lambda: local_minutes(batch, at, self._plain.zone))
        if absent is None and triples.are_few:
            fired = self._settle_few(triples, moment.active, seen, minutes)
        else:
            fired = self._settle(triples, moment.active, seen, minutes, absent)
        outcome = self._outcome(n, fired, code, service_code) if len(fired.rows) else silence(n, code, service_code)
        return replace(outcome, kept_back=fired.kept_back) if len(fired.kept_back) else outcome

    def _settle(
        self, triples: Triples, active: Bools, seen: Seen, minutes: Callable[[], I64], absent: U64 | None
    ) -> _Fired:
        rows, rules, bits, starts, ends = triples.arrays(active)
        order = np.argsort(rows * len(self._rank) + self._rank[rules], kind="stable")
        rows, rules, bits, starts, ends = rows[order], rules[order], bits[order], starts[order], ends[order]
        new = is_first(rows, rules)
        first = np.flatnonzero(new)
        pair_bits = np.bitwise_or.reduceat(bits, first) if len(first) else bits
        pair_rows, pair_rules = rows[first], rules[first]
        required = self._required[pair_rules]
        holds = self._plain.hold(pair_rows, pair_rules, seen.score, seen.category, minutes)
        holds &= (pair_bits & np.uint64(KEYWORDS_NONE)) == 0
        fires = holds & ((pair_bits & required) == required)
        kept_back = NO_PAIRS
        if absent is not None:
            lacks = holds & network_fields.only_absent(required, pair_bits, absent[pair_rows])
            kept_back = np.stack([pair_rows[lacks], pair_rules[lacks]], axis=1)
        if not fires.any():
            return _NOTHING._replace(kept_back=kept_back)
        where = fires[np.cumsum(new) - 1] & (starts >= 0) & (bits != KEYWORDS_NONE)
        spans = np.stack([rows[where], starts[where], ends[where]], axis=1).astype(np.int32)
        return _Fired(pair_rows[fires], pair_rules[fires], pair_bits[fires], spans, kept_back)

    def _settle_few(self, triples: Triples, active: Bools, seen: Seen, minutes: Callable[[], I64]) -> _Fired:
        """`_settle`, one pair after the other."""
        pairs: dict[tuple[int, int], int] = {}
        for row, rule, bit, _, _ in triples.few:
            pairs[row, rule] = pairs.get((row, rule), 0) | bit
        met = [
            (row, int(self._rank[rule]), rule, bits)
            for (row, rule), bits in pairs.items()
            if active[rule] and not bits & KEYWORDS_NONE and bits & (need := int(self._required[rule])) == need
        ]
        if not met:
            return _NOTHING
        met.sort()
        table = np.array(met, np.int64)
        rows, rules, bits = table[:, 0], table[:, 2], table[:, 3].astype(np.uint64)
        fires = self._plain.hold(rows, rules, seen.score, seen.category, minutes)
        places = {(met[k][0], met[k][2]): k for k in np.flatnonzero(fires).tolist()}
        spans = [
            (places[row, rule], row, start, end)
            for row, rule, _, start, end in triples.few
            if start >= 0 and (row, rule) in places
        ]
        spans.sort(key=itemgetter(0))
        found = np.array([span[1:] for span in spans], np.int32).reshape(-1, 3)
        return _Fired(rows[fires], rules[fires], bits[fires], found, NO_PAIRS)

    def _moment(self, at: datetime) -> _Moment:
        if self._moments and self._moments[0].at is at:
            return self._moments[0]
        micros = micros_of(at)
        active = (self._valid[0] <= micros) & (micros < self._valid[1])
        patterns = []
        for (text, is_narrowed), (regexes, targets) in self._patterns.items():
            if active[targets.rules].any():
                needed = np.zeros(len(self._rank), np.uint64)
                needed[targets.rules] = self._before_patterns[targets.rules]
                needed[~active] = 0
                patterns.append((text, regexes, targets, needed if is_narrowed else None))
        plain = np.flatnonzero(active & (self._required == PLAIN)).tolist()
        self._moments[:] = [moment := _Moment(at, active, patterns, plain)]
        return moment

    def _outcome(self, n: int, fired: _Fired, code: Bools, service_code: Bools) -> RuleOutcome:
        """fired: at least one pair."""
        rows, rules, bits = fired.rows, fired.rules, fired.bits
        first = np.flatnonzero(differs_from_last(rows))  # of each row's pairs, which are in the order of rank
        decided, deciding = rows[first], rules[first]
        winner = np.full(n, -1, np.int32)
        winner[decided] = deciding
        action = np.full(n, RuleOutcome.NONE, np.uint8)
        action[decided] = self._actions[deciding]
        category = np.full(n, RuleOutcome.NONE, np.uint8)
        category[decided] = self._categories[deciding]
        offsets = np.zeros(n + 1, np.int32)
        np.cumsum(np.bincount(rows, minlength=n), out=offsets[1:])
        present = int(np.bitwise_or.reduce(bits))
        nowhere = np.zeros(n, np.bool_)

        def mask(pairs: Bools) -> Bools:
            if not pairs.any():
                return nowhere
            result = np.zeros(n, np.bool_)
            result[rows[pairs]] = True
            return result

        def having(kinds: int) -> Bools:
            return mask((bits & np.uint64(kinds)) != 0) if present & kinds else nowhere

        return RuleOutcome(
            action=action,
            category=category,
            winner=winner,
            rules=pa.ListArray.from_arrays(pa.array(offsets), self._ids.take(pa.array(rules))),
            spans=fired.spans,
            reasons={
                Reason.RULE_KEYWORD: having(KEYWORDS | ALL_OF_ALL),
                Reason.RULE_REGEX: having(REGEXES),
                Reason.RULE_URL: having(DOMAINS | URLS),
                Reason.RULE_NUMBER: having(NUMBERS),
                Reason.RULE_CONDITION: mask((bits & np.uint64(TEXT)) == 0),
                Reason.RULE_ALLOW: mask(self._actions[rules] == Verdict.ALLOW),
            },
            fires=True,
            code=code,
            service_code=service_code,
        )

    # ---- look-ups

    def _match_keywords(self, batch: pa.RecordBatch, seen: Seen, triples: Triples) -> I64:
        """Keywords and numbers from the kernel's hits; returns the rows that hold one of `codes.WORDS`."""
        if len(seen.hits) <= FEW:
            return np.array(self._match_few_keywords(batch, seen.hits.tolist(), triples), np.int64)
        hits = seen.hits.astype(np.int64)
        targets = self._keyword_targets
        position, target = senders.expand(hits[:, 1], targets.offsets, np.arange(len(targets.rules)))
        rows, starts, ends = hits[position, 0], hits[position, 2], hits[position, 3]
        rules, bits, numbers = targets.rules[target], targets.bits[target], targets.numbers[target]
        is_rule = rules != _CODE
        for k in np.flatnonzero(numbers >= 0).tolist() if self.number_patterns else ():
            text = batch.column("text")[int(rows[k])].as_py()
            number = self.number_patterns[int(numbers[k])]
            is_rule[k] = contact_numbers.stands_alone(number, text, int(starts[k]), int(ends[k]))
        triples.add(rows[is_rule], rules[is_rule], bits[is_rule], starts[is_rule], ends[is_rule])
        with_code: I64 = rows[rules == _CODE]
        return np.asarray(with_code[differs_from_last(with_code)], np.int64)  # hits come row by row

    def _match_few_keywords(self, batch: pa.RecordBatch, hits: list[list[int]], triples: Triples) -> list[int]:
        """`_match_keywords`, one hit after the other."""
        with_code: list[int] = []
        found: list[Triple] = []
        for row, keyword, start, end in hits:
            for rule, bit, number in self._answers.get(keyword) or self._answer(keyword):
                if rule == _CODE:
                    if not with_code or with_code[-1] != row:
                        with_code.append(row)
                    continue
                if number >= 0:
                    text = batch.column("text")[row].as_py()
                    if not contact_numbers.stands_alone(self.number_patterns[number], text, start, end):
                        continue
                found.append((row, rule, bit, start, end))
        triples.add_few(found)
        return with_code

    def _answer(self, keyword: int) -> list[tuple[int, int, int]]:
        """(rule, bit, number) of the conditions that a keyword answers."""
        targets = self._keyword_targets
        part = slice(int(targets.offsets[keyword]), int(targets.offsets[keyword + 1]))
        columns = (column[part].tolist() for column in (targets.rules, targets.bits, targets.numbers))
        if len(self._answers) >= _CACHED_HOSTS:
            self._answers.clear()
        self._answers[keyword] = answer = list(zip(*columns, strict=True))
        return answer

    def _match_regexes(self, batch: pa.RecordBatch, moment: _Moment, triples: Triples) -> None:
        """Comes last of the text conditions: where a rule has others, only rows that met those are scanned."""
        for text, regexes, targets, needed in moment.patterns:
            chosen = None
            if needed is not None:
                chosen = triples.rows_that_met(needed)
                if not len(chosen):
                    continue
            data, offsets = text_buffers(batch)
            normalised = normalised_column(data, offsets) if text == "normalised" else None
            buffers: tuple[U8, I32 | I64] = (data, offsets)
            if normalised:
                buffers = normalised.data, normalised.offsets
            matches = regexes.scan(*buffers, None if chosen is None else chosen.tolist())
            if not len(matches):
                continue
            position, target = senders.expand(matches[:, 1], targets.offsets, np.arange(len(targets.rules)))
            rows, starts, ends = matches[position, 0], matches[position, 2], matches[position, 3]
            if normalised:
                starts, ends = normalised.original(rows, starts, ends)
            triples.add(rows, targets.rules[target], targets.bits[target], starts, ends)

    def _match_links(self, links: UrlTable, triples: Triples) -> None:
        if not links.urls or not self.reads_links:
            return
        found: list[Triple] = []
        for row, url in zip(links.rows.tolist(), links.urls, strict=True):
            name = url.host.name
            rules = self._hosts.get(name)
            if rules is None:
                rules = self._domain_rules(name)
            for rule in rules:
                found.append((row, rule, DOMAINS, url.start, url.end))
            if self._urls:
                target = f"{name}{url.path}".lower()
                found += [
                    (row, rule, URLS, url.start, url.end) for parts, rule in self._urls if _is_like(target, parts)
                ]
        triples.add_few(found)

    def _domain_rules(self, name: str) -> tuple[int, ...]:
        """Rules that name the host or a domain above it."""
        found: list[int] = []
        parent = name
        while parent:
            found += self._domains.get(parent, ())
            parent = parent.partition(".")[2]
        if len(self._hosts) >= _CACHED_HOSTS:
            self._hosts.clear()
        self._hosts[name] = rules = tuple(found)
        return rules

    def _match_columns(self, batch: pa.RecordBatch, triples: Triples) -> None:
        """What is not text: looked up in every row, or only in rows where a text condition was met."""
        found_rows = np.zeros(0, np.int64)
        if triples and any(columns.narrowed for columns in self._columns.values()):
            found_rows = triples.rows
        for name, columns in self._columns.items():
            bit = _COLUMN_BITS[name]
            for table, rows in ((columns.everywhere, None), (columns.narrowed, found_rows)):
                if not table or (rows is not None and not len(rows)):
                    continue
                few = few_values(batch, name, rows) if table.reads_few else None
                if few is not None:
                    triples.add_few([(row, rule, bit, -1, -1) for row, rule in table.match_few(few)])
                    continue
                column = read_column(batch, name, rows)
                if column is None:
                    continue
                hit, rules = (
                    match_signatures(table, column, keyword_nids) if name == "signature" else table.match(column)
                )
                triples.add(hit if rows is None else rows[hit], rules, bit)

    def _match_absent(self, absent: U64, triples: Triples) -> None:
        """A rule that asks for fields alone is thought of wherever all of them are absent."""
        for rule in self._with_fields.tolist():
            required = self._required[rule]
            if not required & ~network_fields.ALL_BITS:
                rows = np.flatnonzero((absent & required) == required)
                triples.add(rows, np.full(len(rows), rule, np.int64), 0)

    def _match_plain(self, n: int, moment: _Moment, triples: Triples) -> None:
        """Rules of hours, category and score alone are tried on every row."""
        for rule in moment.plain:
            triples.add(np.arange(n, dtype=np.int64), np.full(n, rule, np.int64), PLAIN)


# ---- compiling


def _keywords(rule: Rule) -> Iterable[tuple[int, str]]:
    yield from ((KEYWORDS, keyword) for keyword in rule.keywords)
    yield from ((1 << (FIRST_OF_ALL + i), keyword) for i, keyword in enumerate(rule.keywords_all))
    yield from ((KEYWORDS_NONE, keyword) for keyword in rule.keywords_none)


def _required(rule: Rule) -> int:
    present = {
        KEYWORDS: rule.keywords,
        REGEXES: rule.regexes,
        DOMAINS: rule.domains,
        URLS: rule.urls,
        NUMBERS: rule.numbers,
        SENDERS: rule.senders,
        ACCESS_CODES: rule.access_codes,
        SIGNATURES: rule.signatures,
        **{network_fields.BITS[name]: getattr(rule, condition) for name, condition in _CONDITION_OF.items()},
    }
    bits = sum(bit for bit, values in present.items() if values)
    bits |= ((1 << len(rule.keywords_all)) - 1) << FIRST_OF_ALL
    return bits or PLAIN


def _before_patterns(rule: Rule) -> int:
    """Bits of the text conditions that are looked up before the rule's patterns."""
    by_pattern = REGEXES if rule.normalised else REGEXES | KEYWORDS | ALL_OF_ALL
    return _required(rule) & TEXT & ~by_pattern


def _ranks(rules: Sequence[Rule]) -> I64:
    """Place of each rule in the order in which rules decide; see the module's text."""
    strictness = {Verdict.ALLOW: 0, Verdict.BLOCK: 1, Verdict.HOLD: 2, Verdict.FLAG: 3}
    order = sorted(range(len(rules)), key=lambda i: (-rules[i].priority, strictness[rules[i].action], i))
    ranks = np.empty(len(rules), np.int64)
    ranks[order] = np.arange(len(rules))
    return ranks


def _stands_for(rule: Rule) -> int:
    category = rule.category.message_category
    return RuleOutcome.NONE if category is None or rule.action == Verdict.ALLOW else int(category)


def _literal(keyword: str) -> str:
    """A keyword as a regex that matches nothing else. Every ASCII sign may be escaped in PCRE, letters may not."""
    return "".join("\\" + c if c.isascii() and not c.isalnum() else c for c in keyword)


# ---- matching


def _is_like(text: str, parts: Sequence[str]) -> bool:
    """Whether a text is like a pattern that was split at its stars. Linear: each part is taken where it comes first."""
    first, *middle = parts
    if not middle:
        return text == first
    last = middle.pop()
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
