"""The content digest depends on what rows say, not on how a file or Arrow lays them out."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.ledger.content import content_digest

pytestmark = pytest.mark.slow

SPANS = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())]))


def plain_digest(batch: pa.RecordBatch) -> bytes:
    """The same digest from Python values, written after the reference page and sharing nothing with the real one."""
    out = b"mingbai content 1\n" + struct.pack("<I", batch.num_rows)
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if field.name not in ("sealed", "link"):
            out += struct.pack("<H", len(field.name.encode())) + field.name.encode()
            out += plain_column(column.to_pylist(), field.type)
    return hashlib.sha256(out).digest()


def plain_column(values: Sequence[object], kind: pa.DataType) -> bytes:
    bits = bytearray((len(values) + 7) // 8)
    for place, value in enumerate(values):
        bits[place // 8] |= (value is not None) << place % 8
    out = bytes(bits)
    if pa.types.is_struct(kind):
        for field in kind:
            out += plain_column([None if v is None else v[field.name] for v in values], field.type)  # type: ignore[index]  # a dict
    elif pa.types.is_list(kind):
        lists = [v or [] for v in values]
        out += b"".join(struct.pack("<i", len(v)) for v in lists)  # type: ignore[arg-type]  # a list
        out += plain_column([item for v in lists for item in v], kind.value_type)  # type: ignore[attr-defined]  # a list
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        raws = [b"" if v is None else v.encode() if isinstance(v, str) else v for v in values]
        out += b"".join(struct.pack("<i", len(raw)) for raw in raws) + b"".join(raws)  # type: ignore[arg-type]  # bytes
    else:
        width = kind.bit_width // 8
        for value in values:
            out += bytes(width) if value is None else pa.array([value], kind).buffers()[1].to_pybytes()[:width]
    return out


def columns(rows: int) -> st.SearchStrategy[pa.RecordBatch]:
    def of(values: st.SearchStrategy[object], kind: pa.DataType) -> st.SearchStrategy[pa.Array]:
        return st.lists(st.none() | values, min_size=rows, max_size=rows).map(lambda items: pa.array(items, kind))

    number = st.integers(-(2**31), 2**31 - 1)
    parts = {
        "count": of(st.integers(0, 2**64 - 1), pa.uint64()),
        "code": of(st.integers(0, 2**16 - 1), pa.uint16()),
        "score": of(st.floats(width=32, allow_nan=False), pa.float32()),
        "at": of(st.integers(0, 2**52), pa.timestamp("us", "UTC")),
        "mark": of(st.binary(min_size=16, max_size=16), pa.binary(16)),
        "name": of(st.text(), pa.string()),
        "raw": of(st.binary(), pa.binary()),
        "reasons": of(st.lists(st.none() | st.integers(0, 65535)), pa.list_(pa.uint16())),
        "rules": of(st.lists(st.none() | st.text(max_size=5)), pa.list_(pa.string())),
        "spans": of(st.lists(st.none() | st.fixed_dictionaries({"start": st.none() | number, "end": number})), SPANS),
    }
    return st.fixed_dictionaries(parts).map(pa.record_batch)


@given(st.integers(0, 9).flatmap(columns))
def test_digest_is_the_one_of_the_reference_page(batch: pa.RecordBatch) -> None:
    assert content_digest(batch) == plain_digest(batch)


@given(st.integers(1, 9).flatmap(columns), st.data())
def test_a_slice_has_the_digest_of_its_rows(batch: pa.RecordBatch, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, batch.num_rows))
    part = batch.slice(start, draw.draw(st.integers(0, batch.num_rows - start)))
    assert content_digest(part) == plain_digest(part)


def test_what_lies_under_a_null_does_not_count() -> None:
    bitmap = pa.py_buffer(b"\x05")  # the second of three is null
    offsets = pa.py_buffer(struct.pack("<4i", 0, 1, 3, 4))
    text = pa.Array.from_buffers(pa.string(), 3, [bitmap, offsets, pa.py_buffer(b"aXXb")], 1)
    count = pa.Array.from_buffers(pa.uint16(), 3, [bitmap, pa.py_buffer(struct.pack("<3H", 1, 99, 3))], 1)
    lists = pa.Array.from_buffers(
        pa.list_(pa.uint16()), 3, [bitmap, offsets], 1, children=[pa.array([1, 99, 99, 4], pa.uint16())]
    )
    clean = {
        "text": pa.array(["a", None, "b"]),
        "count": pa.array([1, None, 3], pa.uint16()),
        "lists": pa.array([[1], None, [4]], pa.list_(pa.uint16())),
    }
    dirty = pa.record_batch({"text": text, "count": count, "lists": lists})
    assert content_digest(dirty) == content_digest(pa.record_batch(clean))


@given(st.integers(1, 9).flatmap(columns))
def test_digest_survives_parquet(batch: pa.RecordBatch) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches([batch]), sink)
    again = pq.read_table(pa.BufferReader(sink.getvalue())).combine_chunks().to_batches()[0]
    assert content_digest(again) == content_digest(batch)


def test_ciphertext_and_link_are_not_content() -> None:
    batch = pa.record_batch({"seq": pa.array([1, 2], pa.uint64())})
    more = batch.append_column("sealed", pa.array([b"x", None])).append_column("link", pa.array([b"y", None]))
    assert content_digest(more) == content_digest(batch)


def test_every_value_every_name_and_their_order_count() -> None:
    base = {"a": pa.array([1, 2], pa.uint8()), "b": pa.array(["x", None])}
    seen = {
        content_digest(pa.record_batch(variant))
        for variant in (
            base,
            {**base, "a": pa.array([2, 1], pa.uint8())},
            {**base, "b": pa.array(["x", ""])},
            {**base, "b": pa.array([None, "x"])},
            {"b": base["b"], "a": base["a"]},
            {"aa": base["a"], "b": base["b"]},
        )
    }
    assert len(seen) == 6
