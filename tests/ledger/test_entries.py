"""What `record` takes, and what becomes of it in an entry."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from mingbai.kernel.errors import BadValue, SchemaMismatch
from mingbai.kernel.ids import time_of
from mingbai.ledger import RECORD, KeyStore
from mingbai.ledger.entries import EntryIds, control_row, decision_rows

LEAST = {
    "verdict": pa.array([0, 3], pa.uint8()),
    "category": pa.array([0, 3], pa.uint8()),
    "score": pa.array([0.1, 0.9], pa.float32()),
}


def body(keys: KeyStore, now: datetime, **columns: pa.Array) -> pa.RecordBatch:
    return decision_rows(pa.record_batch({**LEAST, **columns}), keys, now).body


def test_verdict_category_and_score_are_enough(keys: KeyStore, now: datetime) -> None:
    rows = decision_rows(pa.record_batch(LEAST), keys, now)
    assert rows.body.column("kind").to_pylist() == ["sms.screened", "sms.screened"]
    assert rows.body.column("sender").null_count == 2
    assert rows.private is not None
    assert rows.private.column("text").null_count == 2


@pytest.mark.parametrize("missing", ["verdict", "category", "score"])
def test_a_missing_column_is_named(keys: KeyStore, now: datetime, missing: str) -> None:
    columns = {name: column for name, column in LEAST.items() if name != missing}
    with pytest.raises(SchemaMismatch, match=f"column {missing}"):
        decision_rows(pa.record_batch(columns), keys, now)


def test_a_null_verdict_is_refused(keys: KeyStore, now: datetime) -> None:
    with pytest.raises(SchemaMismatch, match="column verdict: got 1 nulls"):
        body(keys, now, verdict=pa.array([0, None], pa.uint8()))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("text", pa.array([1, 2])),
        ("sender", pa.array([138, 139])),
        ("verdict", pa.array([0, 3], pa.int64())),
        ("reasons", pa.array(["a", "b"])),
        ("time", pa.array([0, 1], pa.timestamp("us"))),
        ("fingerprint", pa.array([b"short", b"er"])),
    ],
)
def test_a_column_of_another_meaning_is_refused(keys: KeyStore, now: datetime, name: str, column: pa.Array) -> None:
    with pytest.raises(SchemaMismatch, match=f"column {name}: got"):
        body(keys, now, **{name: column})


def test_a_column_given_twice_is_refused(keys: KeyStore, now: datetime) -> None:
    batch = pa.RecordBatch.from_arrays([*LEAST.values(), LEAST["score"]], names=[*LEAST, "score"])
    with pytest.raises(SchemaMismatch, match="column score: got not there once"):
        decision_rows(batch, keys, now)


def test_the_layout_of_strings_and_lists_does_not_matter(keys: KeyStore, now: datetime) -> None:
    plain = body(keys, now, model=pa.array(["m", "m"]), rules=pa.array([["a"], None], pa.list_(pa.string())))
    other = body(
        keys,
        now,
        model=pa.array(["m", "m"]).dictionary_encode(),
        rules=pa.array([["a"], None], pa.large_list(pa.large_string())),
    )
    assert plain == other
    nothing = body(keys, now, model=pa.nulls(2))
    assert nothing.column("model").null_count == 2


def test_normalised_text_may_be_a_string_bytes_or_a_template_hash(keys: KeyStore, now: datetime) -> None:
    as_text = body(keys, now, normalised=pa.array(["abcdefgh", None]))
    as_bytes = body(keys, now, normalised=pa.array([b"abcdefgh", None]))
    as_hash = body(keys, now, normalised=pa.array([int.from_bytes(b"abcdefgh", "little"), None], pa.uint64()))
    assert as_text.column("text_hash").null_count == 1
    assert as_text.column("text_hash") == as_bytes.column("text_hash") == as_hash.column("text_hash")


def test_neither_text_nor_numbers_are_in_an_entry(keys: KeyStore, now: datetime) -> None:
    private = {name: pa.array([f"{name} 13800138000"] * 2) for name in ("text", "sender", "receiver", "normalised")}
    assert b"13800138000" not in body(keys, now, **private).serialize().to_pybytes()


def test_an_empty_batch_and_a_time_without_zone_are_refused(keys: KeyStore, now: datetime) -> None:
    with pytest.raises(BadValue, match="batch"):
        decision_rows(pa.RecordBatch.from_pylist([], schema=RECORD), keys, now)
    with pytest.raises(BadValue, match="zone"):
        body(keys, now.replace(tzinfo=None))


@pytest.mark.parametrize("data", [{"a": object()}, {"a": float("nan")}, {"a": "\ud800"}])
def test_event_data_must_be_json(data: dict[str, object]) -> None:
    with pytest.raises(BadValue, match="data"):
        control_row("policy.published", data, 0)


def test_an_event_needs_a_kind() -> None:
    with pytest.raises(BadValue, match="kind"):
        control_row("", {}, 0)


def uuids(column: pa.Array) -> list[UUID]:
    return [UUID(bytes=raw) for raw in column.to_pylist()]


def test_ids_are_uuid7_of_their_time_and_ascend(now: datetime) -> None:
    ids = EntryIds()
    at = int(now.timestamp() * 1e6)
    made = uuids(ids.new(np.full(1000, at, np.int64), 1)) + uuids(ids.new(np.full(10, at, np.int64), 1001))
    assert all(one < other for one, other in itertools.pairwise(made))
    assert {time_of(one) for one in made} == {now}
    assert {one.variant for one in made} == {"specified in RFC 4122"}


def test_ids_ascend_when_the_clock_steps_back(now: datetime) -> None:
    ids = EntryIds()
    at = int(now.timestamp() * 1e6)
    before = uuids(ids.new(np.array([at], np.int64), 1))
    after = uuids(ids.new(np.array([at - 5_000_000, at - 4_000_000], np.int64), 2))
    assert before[0] < after[0] < after[1]
    assert time_of(after[0]) == now
    assert time_of(uuids(ids.new(np.array([at + 1_000_000], np.int64), 4))[0]) == now + timedelta(seconds=1)
