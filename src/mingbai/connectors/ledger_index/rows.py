"""Rows of the ledger as numbers: what the index keeps of each entry, before it is sorted into a block.

Repeating values (access code, reasons, rules, versions) are codes into a dictionary; hashes are cut to their first
8 bytes, big-endian. Two hashes that share those are told apart by the entry itself, which a search reads in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Array = npt.NDArray[Any]  # Any: of many widths; the block's table of columns says which

NO_VERDICT = 255  # of control entries, which are no decisions
US_PER_MS = 1000

# The columns of `ENTRY` that an index is made from.
COLUMNS = (
    "seq", "id", "at", "sender", "receiver", "access_code", "text_hash", "campaign", "verdict", "category", "score",
    "reasons", "rules", "model", "rulebook",
)  # fmt: skip
CODED = ("access_code", "reasons", "rules", "version")
KEYED = ("sender", "receiver", "campaign", "text")


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of repeating values: one code a row, and what each code stands for.

    values: JSON values. access_code: text or None; reasons: list of numbers; rules: list of ids; version: [model,
    rulebook], each text or None.
    """

    codes: Array
    values: list[Any]  # Any: JSON, as described

    @classmethod
    def joined(cls, parts: Sequence[Coded]) -> Coded:
        """One column of all rows. Equal values get one code."""
        places: dict[str, int] = {}
        values: list[Any] = []  # Any: as above
        codes = []
        for part in parts:
            table = np.empty(len(part.values), np.uint32)
            for code, value in enumerate(part.values):
                place = places.setdefault(repr(value), len(values))
                if place == len(values):
                    values.append(value)
                table[code] = place
            codes.append(table[part.codes] if len(table) else part.codes.astype(np.uint32))
        return cls(np.concatenate(codes), values)

    def without_unused(self) -> Coded:
        used = np.bincount(self.codes, minlength=len(self.values)) > 0
        table = (np.cumsum(used) - 1).astype(np.uint32)
        return Coded(table[self.codes], [value for value, is_used in zip(self.values, used, strict=True) if is_used])


@dataclass(frozen=True, slots=True)
class Rows:
    """n consecutive entries of one stream. at: microseconds; id_ms: the millisecond in each id; keyed: uint64, 0 for
    none."""

    first_seq: int
    at: Array
    id_ms: Array
    verdict: Array
    category: Array
    score: Array
    coded: dict[str, Coded]
    keyed: dict[str, Array]

    @property
    def count(self) -> int:
        return len(self.at)

    @classmethod
    def of_entries(cls, batch: pa.RecordBatch) -> Rows:
        """From entries with the columns `COLUMNS`, at least one, of consecutive seq."""
        verdict = np.asarray(batch.column("verdict").fill_null(NO_VERDICT))
        campaign = np.asarray(batch.column("campaign").fill_null(0))
        return cls(
            first_seq=int(batch.column("seq")[0].as_py()),
            at=np.asarray(batch.column("at").view(pa.int64())),
            id_ms=_prefixes(batch.column("id")) >> np.uint64(16),
            verdict=verdict,
            category=np.asarray(batch.column("category").fill_null(NO_VERDICT)),
            score=np.asarray(batch.column("score").fill_null(float("nan"))),
            coded={
                "access_code": _texts(batch.column("access_code")),
                "reasons": _numbers(batch.column("reasons")),
                "rules": _lists(batch.column("rules")),
                "version": _pairs(batch.column("model"), batch.column("rulebook")),
            },
            keyed={
                "sender": _prefixes(batch.column("sender")),
                "receiver": _prefixes(batch.column("receiver")),
                "campaign": campaign,
                "text": _prefixes(batch.column("text_hash")),
            },
        )

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """Parts that follow one another."""
        if len(parts) == 1:
            return parts[0]

        def column(name: str) -> Array:
            return np.concatenate([getattr(part, name) for part in parts])

        return cls(
            first_seq=parts[0].first_seq,
            at=column("at"),
            id_ms=column("id_ms"),
            verdict=column("verdict"),
            category=column("category"),
            score=column("score"),
            coded={name: Coded.joined([part.coded[name] for part in parts]) for name in CODED},
            keyed={name: np.concatenate([part.keyed[name] for part in parts]) for name in KEYED},
        )


def key_of(digest: bytes) -> int:
    """What a keyed hash is found by."""
    return int.from_bytes(digest[:8], "big")


def _prefixes(column: pa.Array) -> Array:
    """The first 8 of 16 bytes as a number; 0 for null."""
    if column.null_count == len(column):
        return np.zeros(len(column), np.uint64)
    raw = np.frombuffer(column.buffers()[1], ">u8", count=2 * len(column), offset=16 * column.offset)
    values = raw[::2].astype(np.uint64)
    if column.null_count:
        values[np.asarray(column.is_null())] = 0
    return values


def _texts(column: pa.Array) -> Coded:
    encoded = column.dictionary_encode()
    values: list[Any] = encoded.dictionary.to_pylist()  # Any: JSON values
    codes = encoded.indices
    if codes.null_count:
        codes = codes.fill_null(len(values))
        values.append(None)
    return Coded(np.asarray(codes).astype(np.uint32), values)


def _pairs(model: pa.Array, rulebook: pa.Array) -> Coded:
    one, other = _texts(model), _texts(rulebook)
    width = max(1, len(other.values))
    codes = one.codes.astype(np.int64) * width + other.codes
    values = [[a, b] for a in one.values for b in other.values]
    return Coded(codes, values).without_unused()


def _numbers(column: pa.Array) -> Coded:
    values = np.asarray(column.flatten()).astype(np.int64)
    return _combinations(_lengths(column), values, list(range(int(values.max(initial=0)) + 1)))


def _lists(column: pa.Array) -> Coded:
    encoded = column.flatten().fill_null("").dictionary_encode()
    return _combinations(_lengths(column), np.asarray(encoded.indices).astype(np.int64), encoded.dictionary.to_pylist())


def _lengths(column: pa.Array) -> Array:
    return np.asarray(pc.list_value_length(column).fill_null(0)).astype(np.int64)


def _combinations(lengths: Array, values: Array, names: list[Any]) -> Coded:  # Any: numbers or texts
    """Lists as codes of the distinct lists. values: of all lists, one after the other, as places in `names`."""
    starts = np.cumsum(lengths) - lengths
    codes = np.zeros(len(lengths), np.int64)
    found: list[list[Any]] = [[]]  # Any: as above
    rows = np.flatnonzero(lengths)
    place = 0
    while len(rows):  # lists that agree up to here share a code
        keys = codes[rows] * len(names) + values[starts[rows] + place]
        distinct, inverse = _distinct(keys)
        codes[rows] = inverse + len(found)
        found += [[*found[key // len(names)], names[key % len(names)]] for key in distinct.tolist()]
        place += 1
        rows = rows[lengths[rows] > place]
    return Coded(codes, found).without_unused()


_DENSE = 1 << 22


def _distinct(keys: Array) -> tuple[Array, Array]:
    """As np.unique with inverse; without sorting where keys are small."""
    top = int(keys.max()) + 1
    if top > max(_DENSE, 4 * len(keys)):
        distinct, inverse = np.unique(keys, return_inverse=True)
        return distinct, inverse
    present = np.zeros(top, bool)
    present[keys] = True
    return np.flatnonzero(present), (np.cumsum(present) - 1)[keys]
