"""Frames between screener and client: any split of the bytes, any damage."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mingbai.connectors.screening_wire import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_ROWS,
    PREFIX,
    BadFrame,
    Frame,
    FrameDecoder,
    as_messages,
    batch_bytes,
    read_batch,
)
from mingbai.engines.screening.schema import MESSAGE
from mingbai.kernel.errors import BadValue, SchemaMismatch

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_FRAMES = st.builds(Frame, st.dictionaries(st.text(max_size=8), _VALUES, max_size=4), st.binary(max_size=200))


@given(st.lists(_FRAMES, max_size=4), st.lists(st.integers(0, 2000), max_size=6))
def test_any_split_of_the_bytes_gives_the_same_frames(frames: list[Frame], cuts: list[int]) -> None:
    content = b"".join(frame.to_bytes() for frame in frames)
    decoder = FrameDecoder()
    places = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    found = [frame for start, end in pairwise(places) for frame in decoder.receive(content[start:end])]
    assert found == frames and not decoder.is_amid


@given(st.binary(max_size=300))
@example(PREFIX.pack(MAX_HEADER_BYTES + 1, 0))
@example(PREFIX.pack(2, MAX_BODY_BYTES + 1))
@example(PREFIX.pack(2, 0) + b"[]")
@example(PREFIX.pack(1, 0) + b"\xff")
@example(PREFIX.pack(200_000, 0) + b"[" * 200_000)
def test_any_bytes_are_frames_or_refused(content: bytes) -> None:
    decoder = FrameDecoder()
    try:
        frames = decoder.receive(content)
    except BadFrame:
        return
    assert sum(len(frame.body) for frame in frames) <= len(content)


@given(st.binary(max_size=400))
def test_any_body_is_a_batch_or_refused(body: bytes) -> None:
    with pytest.raises(BadFrame):
        read_batch(body)


@given(st.data())
def test_a_damaged_batch_is_read_or_refused(data: st.DataObject) -> None:
    batch = pa.record_batch({"text": ["恭喜中奖", "晚上吃饭吗"], "sender": [None, "10690001"]})
    content = bytearray(batch_bytes(batch))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        as_messages(read_batch(bytes(content)))
    except (BadFrame, SchemaMismatch, BadValue):
        pass


def test_a_batch_comes_back_as_it_was() -> None:
    batch = pa.record_batch({"text": ["恭喜中奖", ""], "sender": [None, "10690001"]})
    assert read_batch(batch_bytes(batch)).equals(batch)
    assert read_batch(batch_bytes(batch.slice(1))).equals(batch.slice(1))


def test_messages_get_every_column_in_its_type() -> None:
    given = pa.record_batch(
        {"access_code": pa.array([None, "1069"]).dictionary_encode(), "text": pa.array(["a", None], pa.large_string())}
    )
    found = as_messages(given)
    assert found.schema == MESSAGE
    assert found.column("text").to_pylist() == ["a", ""] and found.column("access_code").to_pylist() == [None, "1069"]
    assert found.column("time").null_count == 2


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"sender": ["1"]}, "text"),
        ({"text": [1]}, "text"),
        ({"text": ["a"], "subject": ["b"]}, "subject"),
        ({"text": ["a"], "time": ["2026-01-01"]}, "time"),
        ({"text": ["a"], "time": pa.array([0], pa.timestamp("us"))}, "time"),
        ({"text": ["a"], "sender": pa.array([13800138000], pa.int64())}, "sender"),
    ],
)
def test_a_wrong_column_is_named(columns: dict[str, object], field: str) -> None:
    with pytest.raises(SchemaMismatch) as refused:
        as_messages(pa.record_batch(columns))
    assert refused.value.data["field"] == field


@pytest.mark.parametrize("rows", [0, MAX_ROWS + 1])
def test_no_messages_and_too_many_are_refused(rows: int) -> None:
    with pytest.raises(BadValue, match="messages"):
        as_messages(pa.record_batch({"text": pa.array(["a"] * rows, pa.string())}))


def test_what_the_other_end_would_refuse_is_not_sent() -> None:
    with pytest.raises(BadFrame, match="body"):
        Frame({}, bytes(MAX_BODY_BYTES + 1)).to_bytes()
