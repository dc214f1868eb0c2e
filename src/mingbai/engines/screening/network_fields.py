"""What the network knows of a message between persons beside its text, and what rules ask of it.

IMSI, MSC, cell and device come from an SMSC's optional fields or from a feed (`schema.NETWORK`), and not from every
SMSC. A condition over a field that a message does not bring does not hold, so its rule stays silent; where nothing but
absent fields keeps a rule from firing, the decision says so (`Reason.FIELD_ABSENT`). A message that came through an
access code is not between persons: nobody expects such fields of it, and nothing is said.

The fields identify a subscriber. They are looked at here and kept nowhere: the ledger's rows have no place for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mingbai.engines.screening.rulebook_types import IMEI_DIGITS, TAC_DIGITS
from mingbai.engines.screening.schema import NETWORK, has_text

Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

_FIRST: Final = 42  # above the bits of `rules`, whose last is that of the thirty-second of `keywords_all`
BITS: Final = {name: 1 << (_FIRST + place) for place, name in enumerate(NETWORK.names)}
ALL_BITS: Final = np.uint64(sum(BITS.values()))


def entry_forms(name: str, entry: str) -> Iterator[str]:
    """An entry of a rule as `folded` writes the field: exact, or a prefix with `*` at its end.

    A type of device (TAC) stands for all devices of that type. An IMEI is compared by its first fourteen digits: the
    fifteenth is a check digit, which networks send as 0, and of sixteen the last two are the software's (3GPP TS
    23.003, 6.2).
    """
    if name == "device" and not entry.endswith("*"):
        yield entry if TAC_DIGITS < len(entry) < IMEI_DIGITS else f"{entry[:IMEI_DIGITS]}*"
    else:
        yield entry.lower().removeprefix("+") if name == "msc" else entry.lower()


def folded(name: str, column: pa.Array) -> pa.Array:
    """A field of a batch as `entry_forms` writes it."""
    column = pc.utf8_lower(column)
    return pc.utf8_ltrim(column, characters="+") if name == "msc" else column


def absent_bits(batch: pa.RecordBatch) -> U64 | None:
    """For each row the fields that it does not bring and could have; None if there is no such row."""
    rows = batch.num_rows
    between_persons = np.ones(rows, np.bool_)
    if has_text(batch, "access_code"):
        between_persons = ~_is_there(batch, "access_code")
    if not between_persons.any():
        return None
    absent = np.zeros(rows, np.uint64)
    for name, bit in BITS.items():
        missing = between_persons & ~_is_there(batch, name) if has_text(batch, name) else between_persons
        absent[missing] |= np.uint64(bit)
    return absent if absent.any() else None


def _is_there(batch: pa.RecordBatch, name: str) -> Bools:
    column = batch.column(batch.schema.get_field_index(name))
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    column = column.cast(pa.string())
    there = pc.greater(pc.binary_length(column), 0).fill_null(False)
    return np.asarray(there.to_numpy(zero_copy_only=False), np.bool_)


def only_absent(required: U64, found: U64, absent: U64) -> Bools:
    """Whether nothing of what a rule requires is missing but fields that are absent. Arrays over (row, rule) pairs."""
    missing = required & ~found
    return np.asarray((missing != 0) & ((missing & ~(absent & ALL_BITS)) == 0), np.bool_)
