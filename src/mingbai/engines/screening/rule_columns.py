"""Columns of a batch as the tables of the rules want them: senders, access codes, signatures, fields of the network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening import network_fields, senders
from mingbai.engines.screening.rulebook import Normalise
from mingbai.engines.screening.schema import has_text, text_buffers

Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]

_FEW_ROWS = 1024  # of a column, which are looked up one by one


def read_column(batch: pa.RecordBatch, name: str, rows: I64 | None) -> pa.Array | None:
    """A column as its table wants it, or those rows of it; None if the batch has none."""
    present = has_text(batch, name)
    if not present and name != "signature":
        return None
    column = batch.column(name if present else "text")
    if rows is not None:
        column = column.take(pa.array(rows))
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    column = column.cast(pa.string())
    if name == "sender":
        return senders.folded_addresses(column)
    if name in network_fields.BITS:
        return network_fields.folded(name, column)
    return column if present else senders.signature_column(column)


def few_values(batch: pa.RecordBatch, name: str, rows: I64 | None) -> list[tuple[int, str]] | None:
    """The rows and values of a column of a small batch, as its table wants them, without nulls; None if the column
    must be read whole (`read_column`)."""
    if batch.num_rows > _FEW_ROWS or name == "signature" or not has_text(batch, name):
        return None
    values = batch.column(name).to_pylist()
    chosen = range(len(values)) if rows is None else rows.tolist()
    found = [(row, value) for row in chosen if (value := values[row]) is not None]
    if name == "access_code":
        return found
    if not all(value.isascii() for _, value in found):  # Arrow knows other small letters than Python
        return None
    leading = "+" if name in ("sender", "msc") else ""
    return [(row, value.lower().lstrip(leading)) for row, value in found]


def match_signatures(table: senders.PrefixTable, column: pa.Array, normalise: Normalise) -> tuple[I64, I64]:
    """Signatures are compared normalised, so that full width or traditional letters do not hide one."""
    encoded = column.dictionary_encode()
    folded = pa.array([folded_signature(s, normalise) for s in encoded.dictionary.to_pylist()], pa.string())
    known, rules = table.match(folded)
    codes_of_rows = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    order = np.argsort(codes_of_rows, kind="stable")
    bounds = np.searchsorted(codes_of_rows[order], np.arange(len(folded) + 1)).astype(np.int64)
    position, rows = senders.expand(known, bounds, order)
    return rows, rules[position]


def folded_signature(signature: str, normalise: Normalise) -> str:
    star = "*" if signature.endswith("*") else ""
    return "".join(map(chr, normalise(signature.removesuffix("*")))) + star


def service_codes(batch: pa.RecordBatch) -> Bools:
    """Whether each message comes from a service: through an access code, or from an address of one."""
    rows = batch.num_rows
    index = batch.schema.get_field_index("access_code")
    access = batch.column(index) if index >= 0 else None
    if access is not None and not access.null_count:
        return np.ones(rows, np.bool_)
    result = np.zeros(rows, np.bool_)
    if rows and has_text(batch, "sender"):
        senders.mark_service_codes(*text_buffers(batch, "sender"), result)
    if access is not None and access.null_count < rows:
        result |= access.is_valid().to_numpy(zero_copy_only=False)
    return result
