"""What the look-ups of a rulebook found in a batch: triples (row, rule, bit), with their place in the text, if any.

Two ways to keep them, because batches differ by four orders of magnitude: one by one, and as arrays. `rules` says what
comes of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

Triple = tuple[int, int, int, int, int]

# Up to so many hits, or triples, are looked at one by one: an operation on a whole array costs as much as twenty of
# them, and a batch of a gateway seldom has more.
FEW = 256


class Triples:
    """(row, rule, bit, start, end) of everything found; start -1: not a place in the text.

    few: the first ones, one by one; parts: the others, as arrays. Their order is that in which they were found.
    """

    def __init__(self) -> None:
        self.few: list[Triple] = []
        self.parts: list[tuple[I64, I64, U64, I64, I64]] = []

    def __bool__(self) -> bool:
        return bool(self.few or self.parts)

    @property
    def are_few(self) -> bool:
        return not self.parts and len(self.few) <= FEW

    @property
    def rows(self) -> I64:
        """Rows with anything found, ascending."""
        found = [part[0] for part in self.parts]
        return np.unique(np.concatenate([*found, np.array([triple[0] for triple in self.few], np.int64)]))

    def add(self, rows: I64, rules: I64, bits: U64 | int, starts: I64 | None = None, ends: I64 | None = None) -> None:
        if len(rows):
            nowhere = np.full(len(rows), -1, np.int64)
            spread = np.broadcast_to(np.asarray(bits, np.uint64), (len(rows),))
            found = (rows, rules, spread, nowhere if starts is None else starts, nowhere if ends is None else ends)
            if self.are_few and len(rows) <= FEW:
                self.few += zip(*(column.tolist() for column in found), strict=True)
            else:
                self.parts.append(found)

    def add_few(self, found: list[Triple]) -> None:
        if not self.parts:
            self.few += found
        elif found:
            self.parts.append(_as_arrays(found))

    def rows_that_met(self, needed: U64) -> I64:
        """Rows, ascending, in which some rule has all of its bits in `needed`; a rule with none there is left out."""
        if self.are_few:
            return np.array(self._few_that_met(needed), np.int64)
        rows, rules, bits, _, _ = self.arrays(needed != 0)
        order = np.argsort(rows * len(needed) + rules)
        rows, rules, bits = rows[order], rules[order], bits[order]
        first = np.flatnonzero(is_first(rows, rules))
        met = (
            (np.bitwise_or.reduceat(bits, first) & needed[rules[first]]) == needed[rules[first]]
            if len(first)
            else first
        )
        return np.unique(rows[first][met])

    def _few_that_met(self, needed: U64) -> list[int]:
        met: dict[tuple[int, int], int] = {}
        for row, rule, bit, _, _ in self.few:
            met[row, rule] = met.get((row, rule), 0) | bit
        rows = set[int]()
        for (row, rule), bits in met.items():
            wanted = int(needed[rule])
            if wanted and bits & wanted == wanted:
                rows.add(row)
        return sorted(rows)

    def arrays(self, active: Bools) -> tuple[I64, I64, U64, I64, I64]:
        """All of it (there must be some), without rules that are not active."""
        parts = self.parts
        if self.few:
            parts = [_as_arrays(self.few), *parts]
        if len(parts) == 1:
            rows, rules, bits, starts, ends = parts[0]
        else:
            rows, rules, bits, starts, ends = (np.concatenate(column) for column in zip(*parts, strict=True))
        kept = active[rules]
        return (
            (rows, rules, bits, starts, ends)
            if kept.all()
            else (rows[kept], rules[kept], bits[kept], starts[kept], ends[kept])
        )


def _as_arrays(found: list[Triple]) -> tuple[I64, I64, U64, I64, I64]:
    table = np.array(found, np.int64)
    return table[:, 0], table[:, 1], table[:, 2].astype(np.uint64), table[:, 3], table[:, 4]


def is_first(rows: I64, rules: I64) -> Bools:
    """Whether each pair is the first of its kind, equal ones adjacent."""
    return differs_from_last(rows) | differs_from_last(rules)


def differs_from_last(values: I64) -> Bools:
    new = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return new
