"""A block: up to a million consecutive entries of a stream, sorted so that few pages answer a question.

Per row: verdict, category, score, a code for each repeating value. Per commit (strictly, per run of rows of one
moment): the time. Per key (sender, receiver, campaign, text): the distinct values in order, the rows of each, and the
value of each row. And what whole blocks are asked for again and again, ready-made: counts by minute, verdict and
category, by code, and the largest campaigns.

A block is in memory (entries that nobody has indexed yet) or lies in a file (blockfile.py); both answer alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mingbai.connectors.ledger_index.rows import CODED, KEYED, NO_VERDICT, Array, Coded, Rows
from mingbai.kernel.verdicts import Verdict

MAX_BLOCK_ROWS = 1 << 20  # rows of a block are uint32, and a damaged one is made anew in seconds
# Campaigns whose counts are kept with the block. One that is in no block's list has fewer messages than the smallest
# of 1024 in every million: it is not among the ten that a page shows.
TOP_CAMPAIGNS = 1024
US_PER_MINUTE = 60_000_000
MIX = 256  # verdict * MIX + category


@dataclass(frozen=True, slots=True)
class BlockHead:
    """Where a block lies. before, after: chain hash of the ledger before its first and after its last commit."""

    first_seq: int
    rows: int
    min_at: int
    max_at: int
    min_ms: int  # of the millisecond in the ids
    max_ms: int
    before: bytes
    after: bytes

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.rows - 1


class Block:
    """Columns by name, see `COLUMN_TYPES`; sizes are checked where a file is opened."""

    def __init__(self, head: BlockHead, arrays: Mapping[str, Array]) -> None:
        self.head = head
        self.arrays = arrays
        self._values: dict[str, list[Any]] = {}  # Any: see rows.Coded
        self._totals: dict[str, dict[Any, int]] = {}  # Any: as above
        self._is_in_order: bool | None = None

    @property
    def rows(self) -> int:
        return self.head.rows

    def codes(self, name: str) -> Array:
        return self.arrays[f"{name}.code"]

    def values(self, name: str) -> list[Any]:  # Any: see rows.Coded
        """What the codes of a repeating column stand for."""
        known = self._values.get(name)
        if known is None:
            known = self._values[name] = json.loads(self.arrays[f"{name}.values"].tobytes())
        return known

    def totals(self, name: str) -> dict[Any, int]:  # Any: see totals_of
        """Decisions of the whole block by value of a repeating column."""
        known = self._totals.get(name)
        if known is None:
            known = self._totals[name] = totals_of(name, self.values(name), self.arrays[f"{name}.count"])
        return known

    def key_values(self, name: str) -> Array:
        """Distinct keys, ascending; a row's place in it is its code."""
        return self.arrays[f"{name}.key"]

    def rows_of_key(self, name: str, key: int) -> Array:
        """Rows with the key, ascending."""
        keys = self.key_values(name)
        place = int(np.searchsorted(keys, np.uint64(key)))
        if place == len(keys) or int(keys[place]) != key:
            return np.empty(0, np.uint32)
        start = self.arrays[f"{name}.start"]
        return self.arrays[f"{name}.order"][int(start[place]) : int(start[place + 1])]

    def keys_of_rows(self, name: str, rows: Array | int) -> Array:
        """The key of each row (uint64; 0 for none)."""
        return self.key_values(name)[self.codes(name)[rows]]

    def at(self, rows: Array | int) -> Array:
        """Time of each row, microseconds."""
        runs = np.searchsorted(self.arrays["run.start"], rows, side="right") - 1
        return self.arrays["run.at"][runs]

    def of_runs(self, values: Array, rows: Array) -> Array:
        """The values of the rows' runs, row for row. rows: ascending; so runs are looked up, of which there are few."""
        bounds = np.searchsorted(rows, self.arrays["run.start"])
        return np.repeat(values, np.diff(bounds, append=len(rows)))

    def every_at(self) -> Array:
        return self.spread(self.arrays["run.at"])

    def spread(self, values: Array) -> Array:
        """Values of runs as values of rows."""
        ends = np.append(self.arrays["run.start"][1:], self.rows)
        lengths = ends.astype(np.int64) - self.arrays["run.start"]
        return np.repeat(values, lengths)

    def is_within(self, since_us: int | None, until_us: int | None) -> bool:
        head = self.head
        return (since_us is None or since_us <= head.min_at) and (until_us is None or head.max_at < until_us)

    def is_outside(self, since_us: int | None, until_us: int | None) -> bool:
        head = self.head
        return (since_us is not None and head.max_at < since_us) or (until_us is not None and head.min_at >= until_us)

    @property
    def is_in_order(self) -> bool:
        """Whether the clock never stepped back between its rows."""
        if self._is_in_order is None:
            at = self.arrays["run.at"]
            self._is_in_order = bool(np.all(at[1:] >= at[:-1]))
        return self._is_in_order

    def window(self, since_us: int | None, until_us: int | None) -> slice | Array:
        """The rows of a time window: a slice where the clock never stepped back, else rows."""
        if self.is_within(since_us, until_us):
            return slice(0, self.rows)
        at, start = self.arrays["run.at"], self.arrays["run.start"]
        low = self.head.min_at if since_us is None else since_us
        high = self.head.max_at + 1 if until_us is None else until_us
        if self.is_in_order:
            ends = np.append(start, self.rows)
            return slice(int(ends[np.searchsorted(at, low)]), int(ends[np.searchsorted(at, high)]))
        every = self.every_at()
        return np.flatnonzero((every >= low) & (every < high))

    def rows_of_ms(self, ms: int) -> list[tuple[int, int]]:
        """Row ranges (end excluded) whose ids carry the millisecond."""
        ends = np.append(self.arrays["run.start"], self.rows)
        return [(int(ends[run]), int(ends[run + 1])) for run in np.flatnonzero(self.arrays["run.ms"] == ms)]

    def to_rows(self) -> Rows:
        """The rows that it was made from."""
        return Rows(
            first_seq=self.head.first_seq,
            at=self.every_at(),
            id_ms=self.spread(self.arrays["run.ms"]),
            verdict=np.asarray(self.arrays["verdict"]),
            category=np.asarray(self.arrays["category"]),
            score=np.asarray(self.arrays["score"]),
            coded={name: Coded(np.asarray(self.codes(name)), self.values(name)) for name in CODED},
            keyed={name: self.key_values(name)[self.codes(name)] for name in KEYED},
        )


def totals_of(name: str, values: list[Any], counts: Array) -> dict[Any, int]:  # Any: see rows.Coded
    """Counts by value: of lists, by each item; versions as pairs (model, rulebook)."""
    totals: dict[Any, int] = {}  # Any: as above
    used = np.flatnonzero(counts)
    for code, count in zip(used.tolist(), counts[used].tolist(), strict=True):
        value = values[code]
        items = value if name in ("reasons", "rules") else [tuple(value) if name == "version" else value]
        for item in items:
            totals[item] = totals.get(item, 0) + count
    return totals


def make_block(rows: Rows, before: bytes, after: bytes) -> Block:
    """Sort rows into a block. rows: 1 to MAX_BLOCK_ROWS or so, of whole commits."""
    head = BlockHead(
        first_seq=rows.first_seq,
        rows=rows.count,
        min_at=int(rows.at.min()),
        max_at=int(rows.at.max()),
        min_ms=int(rows.id_ms.min()),
        max_ms=int(rows.id_ms.max()),
        before=before,
        after=after,
    )
    arrays: dict[str, Array] = {"verdict": rows.verdict, "category": rows.category, "score": rows.score}
    is_new = np.empty(rows.count, bool)
    is_new[0] = True
    is_new[1:] = (rows.at[1:] != rows.at[:-1]) | (rows.id_ms[1:] != rows.id_ms[:-1])
    runs = np.flatnonzero(is_new)
    arrays |= {"run.start": runs.astype(np.uint32), "run.at": rows.at[runs], "run.ms": rows.id_ms[runs]}
    is_decision = rows.verdict != NO_VERDICT
    for name, column in rows.coded.items():
        arrays |= _coded(name, column, is_decision)
    for name, keys in rows.keyed.items():
        arrays |= _keyed(name, keys)
    arrays |= _minutes(rows, is_decision)
    arrays |= _top_campaigns(arrays, is_decision & (rows.verdict >= Verdict.HOLD))
    return Block(head, arrays)


def _coded(name: str, column: Coded, is_decision: Array) -> dict[str, Array]:
    width = np.min_scalar_type(max(0, len(column.values) - 1))
    codes = column.codes.astype(width)
    text = json.dumps(column.values, ensure_ascii=False, separators=(",", ":")).encode()
    return {
        f"{name}.code": codes,
        f"{name}.values": np.frombuffer(text, np.uint8),
        f"{name}.count": np.bincount(codes[is_decision], minlength=len(column.values)).astype(np.uint32),
    }


def _keyed(name: str, keys: Array) -> dict[str, Array]:
    order = _order(keys)
    ordered = keys[order]
    is_new = np.empty(len(keys), bool)
    is_new[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    starts = np.flatnonzero(is_new)
    codes = np.empty(len(keys), np.uint32)
    codes[order] = np.cumsum(is_new, dtype=np.uint32) - np.uint32(1)
    return {
        f"{name}.key": ordered[starts],
        f"{name}.code": codes,
        f"{name}.start": np.append(starts, len(keys)).astype(np.uint32),
        f"{name}.order": order.astype(np.uint32),
    }


_ROW_BITS = 20  # MAX_BLOCK_ROWS


def _order(keys: Array) -> Array:
    """Rows by key, those of one key ascending. Most keys are hashes, whose upper bits and the row sort as one number,
    five times as fast as a stable sort; where those bits do not tell all keys apart, it is the stable one."""
    if len(keys) <= 1 << _ROW_BITS:
        low = np.uint64((1 << _ROW_BITS) - 1)
        order = np.sort((keys & ~low) | np.arange(len(keys), dtype=np.uint64)) & low
        ordered = keys[order]
        if np.all(ordered[1:] >= ordered[:-1]):
            return order
    return np.argsort(keys, kind="stable")


def _minutes(rows: Rows, is_decision: Array) -> dict[str, Array]:
    """Decisions by minute, verdict and category."""
    minutes = rows.at[is_decision] // US_PER_MINUTE
    mixes = rows.verdict[is_decision].astype(np.int64) * MIX + rows.category[is_decision]
    found, counts = np.unique(minutes * MIX * MIX + mixes, return_counts=True)
    return {
        "minute.at": (found // (MIX * MIX)).astype(np.int32),
        "minute.mix": (found % (MIX * MIX)).astype(np.uint16),
        "minute.count": counts.astype(np.uint32),
    }


def _top_campaigns(arrays: Mapping[str, Array], is_stopped: Array) -> dict[str, Array]:
    """Codes of the largest campaigns, by messages and by messages stopped, with both counts."""
    messages = np.diff(arrays["campaign.start"].astype(np.int64))
    stopped = np.bincount(arrays["campaign.code"][is_stopped], minlength=len(messages))
    chosen = top_codes(arrays["campaign.key"], messages, stopped)
    return {
        "top.code": chosen.astype(np.uint32),
        "top.messages": messages[chosen].astype(np.uint32),
        "top.stopped": stopped[chosen].astype(np.uint32),
    }


def top_codes(keys: Array, messages: Array, stopped: Array) -> Array:
    """Places of the TOP_CAMPAIGNS largest by either count, ascending."""
    many = np.flatnonzero((messages > 1) & (keys != 0))
    if len(many) < TOP_CAMPAIGNS:
        singles = np.flatnonzero((messages == 1) & (keys != 0))
        many = np.concatenate([many, singles[: TOP_CAMPAIGNS - len(many)]])
    chosen = [largest(many, messages[many], TOP_CAMPAIGNS), largest(many, stopped[many], TOP_CAMPAIGNS)]
    return np.unique(np.concatenate(chosen))


def largest(places: Array, counts: Array, limit: int) -> Array:
    """The `limit` places with the largest counts, in any order."""
    if len(places) <= limit:
        return places
    return places[np.argpartition(counts, -limit)[-limit:]]


# Types of a block file's columns, for checking. Codes may be narrower.
COLUMN_TYPES: dict[str, str] = {
    "verdict": "u1", "category": "u1", "score": "f4",
    "run.start": "u4", "run.at": "i8", "run.ms": "u8",
    "minute.at": "i4", "minute.mix": "u2", "minute.count": "u4",
    "top.code": "u4", "top.messages": "u4", "top.stopped": "u4",
    **{f"{name}.values": "u1" for name in CODED}, **{f"{name}.count": "u4" for name in CODED},
    **{f"{name}.{part}": kind for name in KEYED for part, kind in
       (("key", "u8"), ("code", "u4"), ("start", "u4"), ("order", "u4"))},
}  # fmt: skip
