"""What a sender's address says about it, and looking addresses up in long lists, a column at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mingbai.engines.screening.jit import arithmetic

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_MIN_PERSON_DIGITS = 10  # shorter numbers are service numbers: 10086, 95588, 12306, 88888888


@arithmetic
def mark_service_codes(data: U8, offsets: I32, found: Bools) -> None:
    """Whether each address is a service's: letters, a short number, or one that begins with 106, 95 or 96 (China).

    An empty address is nobody's. Source of the Chinese ranges: 电信网编号计划 (2017), 106 and 95/96 access codes.
    """
    for row in range(found.shape[0]):
        begin, end = offsets[row], offsets[row + 1]
        digits = 0
        other = False
        first = begin
        if end - begin > 2 and data[begin] == 43 and data[begin + 1] == 56 and data[begin + 2] == 54:
            first = begin + 3  # +86
        elif end - begin > 11 and data[begin] == 56 and data[begin + 1] == 54:
            first = begin + 2
        for i in range(first, end):
            c = data[i]
            if c >= 48 and c <= 57:
                digits += 1
            elif c != 32 and c != 43 and c != 45:
                other = True
        is_106 = end - first >= 3 and data[first] == 49 and data[first + 1] == 48 and data[first + 2] == 54
        is_95 = end - first >= 2 and data[first] == 57 and (data[first + 1] == 53 or data[first + 1] == 54)
        found[row] = other or (digits > 0 and (digits < _MIN_PERSON_DIGITS or is_106 or is_95))


@dataclass(frozen=True, slots=True)
class _Level:
    """Entries of one length: the first `length` characters of a value are looked up (0: the whole value)."""

    length: int
    values: pa.Array
    offsets: I64
    rules: I64

    def places(self) -> dict[str, int]:
        """Where each value stands."""
        return {value: place for place, value in enumerate(self.values.to_pylist())}


_PLACES = 1 << 18


class PrefixTable:
    """Which rules name a value: entries that are exact, or prefixes with a trailing `*`. Immutable, picklable."""

    def __init__(self, entries: Iterable[tuple[str, int]]) -> None:
        """entries: (entry, rule)."""
        by_length: dict[int, dict[str, dict[int, None]]] = {}
        for entry, rule in entries:
            text = entry.removesuffix("*")
            length = len(text) if entry.endswith("*") else 0
            by_length.setdefault(length, {}).setdefault(text, {})[rule] = None
        self._levels = [_level(length, rules) for length, rules in sorted(by_length.items())]
        self._places: list[dict[str, int]] | None = None  # `_Level.places`, once somebody needs them

    def __getstate__(self) -> dict[str, list[_Level] | None]:
        return {"_levels": self._levels, "_places": None}

    @property
    def reads_few(self) -> bool:
        """Whether `match_few` may be used: its tables cost some 150 bytes an entry."""
        return sum(len(level.values) for level in self._levels) <= _PLACES

    def __bool__(self) -> bool:
        return bool(self._levels)

    def match(self, values: pa.Array) -> tuple[I64, I64]:
        """(rows, rules) of every entry that names the value of a row; null is named by none."""
        rows: list[I64] = [np.zeros(0, np.int64)]
        rules: list[I64] = [np.zeros(0, np.int64)]
        for level in self._levels:
            keys = pc.utf8_slice_codeunits(values, 0, level.length) if level.length else values
            index = pc.index_in(keys, value_set=level.values, skip_nulls=True)
            hit = np.flatnonzero(index.is_valid().to_numpy(zero_copy_only=False))
            if len(hit):
                entry = index.drop_null().to_numpy().astype(np.int64)
                position, named = expand(entry, level.offsets, level.rules)
                rows.append(hit[position])
                rules.append(named)
        return np.concatenate(rows), np.concatenate(rules)

    def match_few(self, values: Sequence[tuple[int, str]]) -> list[tuple[int, int]]:
        """`match` for some rows and their values, one by one: (row, rule) of every entry that names the value."""
        found: list[tuple[int, int]] = []
        if self._places is None:
            self._places = [level.places() for level in self._levels]
        for level, places in zip(self._levels, self._places, strict=True):
            length = level.length
            for row, value in values:
                place = places.get(value[:length] if length else value)
                if place is not None:
                    named = level.rules[level.offsets[place] : level.offsets[place + 1]]
                    found += [(row, rule) for rule in named.tolist()]
        return found


def _level(length: int, rules: dict[str, dict[int, None]]) -> _Level:
    offsets = np.zeros(len(rules) + 1, np.int64)
    np.cumsum([len(r) for r in rules.values()], out=offsets[1:])
    flat = np.fromiter((r for named in rules.values() for r in named), np.int64, int(offsets[-1]))
    return _Level(length, pa.array(list(rules), pa.string()), offsets, flat)


def address_forms(entry: str) -> Iterator[str]:
    """A sender as written in a rule, in the forms that `folded_addresses` may give it.

    Upper and lower case are the same, a leading + is left out, and a mainland mobile number (or the beginning of one)
    also stands for itself with 86 before it.
    """
    entry = entry.lower().removeprefix("+")
    yield entry
    digits = entry.removesuffix("*")
    if digits.isdecimal() and digits[0] == "1" and (len(digits) == 11 or (entry != digits and len(digits) >= 3)):
        yield "86" + entry


def folded_addresses(column: pa.Array) -> pa.Array:
    """Senders of a batch as `address_forms` writes them."""
    return pc.utf8_ltrim(pc.utf8_lower(column), characters="+")


def expand(indexes: I64, offsets: I64, targets: I64) -> tuple[I64, I64]:
    """A list of targets for each index -> (position in `indexes`, target) of every pair."""
    counts = offsets[indexes + 1] - offsets[indexes]
    position = np.repeat(np.arange(len(indexes), dtype=np.int64), counts)
    first = np.cumsum(counts) - counts
    place = np.arange(len(position), dtype=np.int64) - first[position] + offsets[indexes][position]
    return position, targets[place]


def signature_column(texts: pa.Array) -> pa.Array:
    """The 【signature】 at the beginning or else the end of each message, null where there is none."""
    front = pc.struct_field(pc.extract_regex(texts, r"^\s*【(?P<signature>[^【】]{1,30})】"), "signature")
    back = pc.struct_field(pc.extract_regex(texts, r"【(?P<signature>[^【】]{1,30})】\s*$"), "signature")
    return pc.coalesce(front, back)
