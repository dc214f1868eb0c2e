"""The two batches of the screen: `MESSAGE` goes in, `DECISION` comes out, row for row."""

from __future__ import annotations

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
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if not pa.types.is_string(column.type):
        raise SchemaMismatch(field=name, value=str(column.type), expected="string")
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


def has_text(batch: pa.RecordBatch, name: str) -> bool:
    """Whether the batch has this optional text column with anything in it."""
    index = batch.schema.get_field_index(name)
    return index >= 0 and bool(batch.column(index).null_count < batch.num_rows)
