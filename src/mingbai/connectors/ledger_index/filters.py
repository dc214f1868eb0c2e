"""Which rows of a block a query means. Pure: block and query in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mingbai.connectors.ledger_index.block import Block
from mingbai.connectors.ledger_index.query import Query, Scope, window_us
from mingbai.connectors.ledger_index.rows import NO_VERDICT, Array, key_of

NO_ROWS: Array = np.empty(0, np.int64)


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
        self._verdicts = np.zeros(256, bool)
        self._verdicts[[int(verdict) for verdict in query.verdicts] or slice(0, NO_VERDICT)] = True
        self._categories = np.zeros(256, bool)
        self._categories[[int(category) for category in query.categories]] = True
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
        tables = [self._table(block, name, holds) for name, holds in self._coded]
        if any(table is None for _, table in tables):
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
        mask = self._verdicts[block.arrays["verdict"][chosen]]
        if self.query.categories:
            mask &= self._categories[block.arrays["category"][chosen]]
        for name, table in tables:
            assert table is not None
            mask &= table[block.codes(name)[chosen]]
        if self.query.min_score is not None:
            mask &= block.arrays["score"][chosen] >= np.float32(self.query.min_score)
        if self.query.max_score is not None:
            mask &= block.arrays["score"][chosen] <= np.float32(self.query.max_score)
        if isinstance(chosen, slice):
            rows: Array = np.flatnonzero(mask) + chosen.start
        else:
            rows = chosen[mask].astype(np.int64)
        return rows

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

    def _table(
        self, block: Block, name: str, holds: Callable[[Any], bool]
    ) -> tuple[str, Array | None]:  # Any: as above
        table = np.fromiter((holds(value) for value in block.values(name)), bool)
        return name, table if table.any() else None

    def is_hit(self, sender: bytes | None, receiver: bytes | None, text_hash: bytes | None) -> bool:
        """Whether the whole hashes of a row that `rows` gave are those asked for."""
        query, own = self.query, self.scope.receivers
        return (
            (not query.senders or sender in query.senders)
            and (not query.receivers or receiver in query.receivers)
            and (query.text_hash is None or text_hash == query.text_hash)
            and (own is None or receiver in own)
        )


def _begins_with(prefixes: tuple[str, ...]) -> Callable[[Any], bool]:  # Any: a text or None
    return lambda value: value is not None and value.startswith(prefixes)


def _holds_any(wanted: frozenset[Any]) -> Callable[[Any], bool]:  # Any: ids of rules, or reason codes
    return lambda values: not wanted.isdisjoint(values)
