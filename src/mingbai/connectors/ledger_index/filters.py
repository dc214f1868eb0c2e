"""Which rows of a block a query means. Pure: block and query in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mingbai.connectors.ledger_index.block import Block
from mingbai.connectors.ledger_index.query import Query, Scope, window_us
from mingbai.connectors.ledger_index.rows import NO_VERDICT, Array, key_of

NO_ROWS: Array = np.empty(0, np.int64)
_COMPARED = 8  # codes up to which comparing with each (a vector instruction) beats a look-up for every row
_FEW = 1 / 16  # of the rows, from which on picking them one by one beats looking at all


class Filter:
    """A query and a scope, made ready once for many blocks."""

    def __init__(self, query: Query, scope: Scope) -> None:
        self.query = query
        self.scope = scope
        self.since_us, self.until_us = window_us(query.since, query.until)
        keyed: list[tuple[str, Iterable[bytes]]] = []
        if query.senders:
            keyed.append(("sender", query.senders))
        if query.receivers:
            keyed.append(("receiver", query.receivers))
        if scope.receivers is not None:
            keyed.append(("receiver", scope.receivers))
        if query.text_hash is not None:
            keyed.append(("text", (query.text_hash,)))
        self._keys: list[tuple[str, tuple[int, ...]]] = [
            (name, tuple(dict.fromkeys(map(key_of, hashes)))) for name, hashes in keyed
        ]
        if query.campaign is not None:
            self._keys.append(("campaign", (query.campaign,)))
        self._verdicts = _table_of(query.verdicts) if query.verdicts else np.arange(256) != NO_VERDICT
        self._categories = _table_of(query.categories)
        self._coded: list[tuple[str, Callable[[Any], bool]]] = []  # Any: see rows.Coded
        if query.access_codes:
            self._coded.append(("access_code", _begins_with(query.access_codes)))
        if scope.access_codes is not None:
            self._coded.append(("access_code", _begins_with(scope.access_codes)))
        if query.rules:
            self._coded.append(("rules", _holds_any(frozenset(query.rules))))
        if query.reasons:
            self._coded.append(("reasons", _holds_any(frozenset(map(int, query.reasons)))))

    @property
    def is_only_a_window(self) -> bool:
        """Whether it means every decision of its time."""
        query = self.query
        asks = query.verdicts or query.categories or query.min_score is not None or query.max_score is not None
        return not (self._keys or self._coded or asks)

    def rows(self, block: Block) -> Array:
        """The rows meant, ascending. Rows are found by a part of each hash: `is_hit` has the last word."""
        if block.is_outside(self.since_us, self.until_us):
            return NO_ROWS
        tests = self._tests(block)
        if not all(test.passes.any() for test in tests if test.passes is not None):
            return NO_ROWS  # no value of this block fits
        chosen: slice | Array
        if self._keys:
            chosen = self._rows_of_keys(block)
            if not block.is_within(self.since_us, self.until_us):
                at = block.at(chosen)
                low = block.head.min_at if self.since_us is None else self.since_us
                high = block.head.max_at + 1 if self.until_us is None else self.until_us
                chosen = chosen[(at >= low) & (at < high)]
        else:
            chosen = block.window(self.since_us, self.until_us)
        return _narrowed(chosen, tests)

    def _rows_of_keys(self, block: Block) -> Array:
        """Rows that have one of the keys of each list: the shortest list's rows, tried against the others."""
        found = [[block.rows_of_key(name, key) for key in keys] for name, keys in self._keys]
        sizes = [sum(map(len, rows)) for rows in found]
        best = int(np.argmin(sizes))
        if not sizes[best]:
            return NO_ROWS
        chosen = found[best][0] if len(found[best]) == 1 else np.sort(np.concatenate(found[best]))
        for place, (name, keys) in enumerate(self._keys):
            if place != best:
                chosen = chosen[np.isin(block.keys_of_rows(name, chosen), np.array(keys, np.uint64))]
        return chosen

    def _tests(self, block: Block) -> list[_Test]:
        """What the columns are asked, in the order in which that is least work: the fewest rows are left first."""
        coded: list[tuple[int, _Test]] = []
        for name, holds in self._coded:
            passes = np.fromiter((holds(value) for value in block.values(name)), bool)
            coded.append((int(block.arrays[f"{name}.count"][passes].sum()), _Test(block.codes(name), passes)))
        coded.sort(key=lambda one: one[0])
        tests = [test for _, test in coded]
        is_rare = bool(coded) and coded[0][0] < block.rows * _FEW
        tests.insert(1 if is_rare else 0, _Test(block.arrays["verdict"], self._verdicts))
        if self.query.categories:
            tests.append(_Test(block.arrays["category"], self._categories))
        if self.query.min_score is not None or self.query.max_score is not None:
            tests.append(_Test(block.arrays["score"], None, self.query.min_score, self.query.max_score))
        return tests

    def is_hit(self, sender: bytes | None, receiver: bytes | None, text_hash: bytes | None) -> bool:
        """Whether the whole hashes of a row that `rows` gave are those asked for."""
        query, own = self.query, self.scope.receivers
        return (
            (not query.senders or sender in query.senders)
            and (not query.receivers or receiver in query.receivers)
            and (query.text_hash is None or text_hash == query.text_hash)
            and (own is None or receiver in own)
        )


@dataclass(frozen=True, slots=True)
class _Test:
    """What a column must be. passes: by code; None: a score, between both bounds."""

    column: Array
    passes: Array | None
    least: float | None = None
    most: float | None = None

    def of(self, chosen: slice | Array) -> Array:
        """Which of the rows pass."""
        values = self.column[chosen]
        if self.passes is None:
            mask = np.ones(len(values), bool) if self.least is None else values >= np.float32(self.least)
            return mask if self.most is None else mask & (values <= np.float32(self.most))
        for codes, is_right in ((np.flatnonzero(self.passes), True), (np.flatnonzero(~self.passes), False)):
            if len(codes) <= _COMPARED:
                if len(values) and int(values.max()) >= len(self.passes):
                    raise IndexError("a code without a value: the block is damaged")
                mask = np.zeros(len(values), bool)
                for code in codes.tolist():
                    mask |= values == values.dtype.type(code)
                return mask if is_right else ~mask
        return np.take(self.passes, values)  # twice as fast as by index, where codes are narrow


def _narrowed(chosen: slice | Array, tests: list[_Test]) -> Array:
    """The rows that pass all tests. All rows are looked at while most pass, then only those that are left."""
    mask: Array | None = None
    rows = None if isinstance(chosen, slice) else chosen
    for test in tests:
        passed = test.of(chosen if rows is None else rows)
        if rows is not None:
            rows = rows[passed]
            continue
        mask = passed if mask is None else mask & passed
        if np.count_nonzero(mask) < len(mask) * _FEW:
            rows = _rows_in(chosen, mask)
    found: Array = (_rows_in(chosen, mask) if rows is None else rows).astype(np.int64)
    return found


def _rows_in(chosen: slice | Array, mask: Array | None) -> Array:
    assert isinstance(chosen, slice) and mask is not None
    found: Array = np.flatnonzero(mask) + chosen.start
    return found


def _table_of(codes: Iterable[int]) -> Array:
    table = np.zeros(256, bool)
    table[[int(code) for code in codes]] = True
    return table


def _begins_with(prefixes: tuple[str, ...]) -> Callable[[Any], bool]:  # Any: a text or None
    return lambda value: value is not None and value.startswith(prefixes)


def _holds_any(wanted: frozenset[Any]) -> Callable[[Any], bool]:  # Any: ids of rules, or reason codes
    return lambda values: not wanted.isdisjoint(values)
