"""The two batches of the screen: `MESSAGE` goes in, `DECISION` comes out, row for row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.kernel.errors import SchemaMismatch

TIME: Final = pa.timestamp("us", tz="UTC")

MESSAGE: Final = pa.schema(
    [
        pa.field("text", pa.string()),  # decoded; parts of a long message already joined
        pa.field("sender", pa.string()),
        pa.field("receiver", pa.string()),
        pa.field("access_code", pa.string()),  # 106... code with sub-code, if it came through one
        pa.field("time", TIME),
    ]
)
"""Columns of a batch of messages. Only `text` must be there; a check that needs an absent column stays silent."""

NETWORK: Final = pa.schema(
    [
        pa.field("imsi", pa.string()),  # of the sender, digits
        pa.field("msc", pa.string()),  # global title or address of the MSC that it was sent from
        pa.field("cell", pa.string()),  # as the SMSC writes it
        pa.field("device", pa.string()),  # IMEI, or the first eight digits of one (TAC)
    ]
)
"""Further columns of a batch of messages between persons, any or none of them: see `network_fields`."""

SPAN: Final = pa.struct([pa.field("start", pa.int32(), nullable=False), pa.field("end", pa.int32(), nullable=False)])

DECISION: Final = pa.schema(
    [
        pa.field("verdict", pa.uint8(), nullable=False),  # kernel.verdicts.Verdict
        pa.field("category", pa.uint8(), nullable=False),  # kernel.verdicts.Category
        pa.field("score", pa.float32(), nullable=False),  # probability of being unwanted, 0..1
        pa.field("reasons", pa.list_(pa.uint16()), nullable=False),  # kernel.verdicts.Reason
        pa.field("rules", pa.list_(pa.string()), nullable=False),  # ids of the rules that fired
        pa.field("spans", pa.list_(SPAN), nullable=False),  # character offsets in the original text, end exclusive
        pa.field("campaign", pa.uint64(), nullable=False),  # near-duplicate group, 0 = too short to tell
        pa.field("fingerprint", pa.binary(32), nullable=False),  # sixteen uint16 minima; see campaigns.py
    ]
)


def joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of exactly `MESSAGE` and any of `NETWORK` as one; a column that only some have is null in the others."""
    width = len(MESSAGE)
    if all(batch.num_columns == width for batch in batches):
        return pa.concat_batches(batches)
    names = {name for batch in batches for name in batch.schema.names}
    schema = pa.schema([*MESSAGE, *(field for field in NETWORK if field.name in names)])
    whole = [
        pa.RecordBatch.from_arrays(
            [
                batch.column(field.name) if field.name in batch.schema.names else pa.nulls(batch.num_rows, field.type)
                for field in schema
            ],
            schema=schema,
        )
        for batch in batches
    ]
    return pa.concat_batches(whole)


def column(kind: pa.DataType, values: npt.NDArray[np.generic], *children: pa.Array) -> pa.Array:
    """An Arrow array without nulls over the memory of `values`; for a list, `values` are the offsets of its child.

    What `pa.array` does at a third of the price, which counts when a batch is one message.
    """
    rows = len(values) - 1 if children else len(values)
    return pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(values)], children=list(children))


def text_buffers(batch: pa.RecordBatch, name: str = "text") -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """The UTF-8 bytes and the int32 offsets (n + 1) of a string column, without a copy where Arrow allows.

    A null reads as the empty text. Raises SchemaMismatch if the column is missing or is no text.
    """
    index = batch.schema.get_field_index(name)
    if index < 0:
        raise SchemaMismatch(field=name, value="no such column", expected="string")
    column = batch.column(index)
    if not isinstance(column, pa.StringArray):
        column = _as_strings(column, name)
    if column.null_count:
        column = column.fill_null("")
    _, offsets, data = column.buffers()
    rows = len(column)
    if rows == 0 or offsets is None:
        return np.zeros(1, np.uint8), np.zeros(rows + 1, np.int32)
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + rows + 1]
    # numba cannot index an array of no bytes: an all-empty column gets one byte that nothing points at.
    octets = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)
    return octets, ends


def _as_strings(column: pa.Array, name: str) -> pa.StringArray:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if not pa.types.is_string(column.type):
        raise SchemaMismatch(field=name, value=str(column.type), expected="string")
    return column


def has_text(batch: pa.RecordBatch, name: str) -> bool:
    """Whether the batch has this optional text column with anything in it."""
    index = batch.schema.get_field_index(name)
    return index >= 0 and bool(batch.column(index).null_count < batch.num_rows)


def micros(batch: pa.RecordBatch) -> npt.NDArray[np.int64] | None:
    """The column `time` in microseconds since 1970, 0 where it is null; None if there is no such column."""
    index = batch.schema.get_field_index("time")
    if index < 0:
        return None
    column = batch.column(index)
    if len(column) and column.null_count == 0 and column.type.equals(TIME):
        return np.frombuffer(column.buffers()[1], np.int64, len(column), column.offset * 8)
    values: npt.NDArray[np.int64] = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return values
