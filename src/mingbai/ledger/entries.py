"""The columns: what `Ledger.record` takes, what an entry keeps, what goes to the vault.

An entry says what was decided, by which versions and why, without saying about whom: sender, receiver and text appear
only as keyed hashes. The originals become rows of `Private`, which the vault encrypts.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Protocol

import numpy as np
import pyarrow as pa

from mingbai.kernel.clock import to_micros
from mingbai.kernel.errors import BadValue, SchemaMismatch

TIME = pa.timestamp("us", "UTC")
_SPANS = pa.list_(pa.struct([pa.field("start", pa.int32()), pa.field("end", pa.int32())]))


class Kind(StrEnum):
    """Kinds of entry that the ledger itself writes or reads. Other rooms add theirs: dotted, past tense."""

    SMS_SCREENED = "sms.screened"
    SEGMENT_OPENED = "segment.opened"
    SEGMENT_SEALED = "segment.sealed"
    TAIL_CUT = "tail.cut"
    HEAD_SIGNED = "head.signed"
    HEAD_EXPORTED = "head.exported"
    VAULT_EXPIRED = "vault.expired"
    KEY_ROTATED = "key.rotated"  # a new key that the old one vouches for
    KEY_REPLACED = "key.replaced"  # a new signing key without the old one: the keys were lost


# Only the ledger writes these: a start and `verify` act upon what they say.
RESERVED = frozenset(set(Kind) - {Kind.SMS_SCREENED, Kind.HEAD_EXPORTED})


class VaultClass(IntEnum):
    """What is kept together, under one key a day, and deleted together. Values are stored."""

    NUMBERS = 1  # sender, receiver and the message's own time
    ALLOWED = 2  # text of messages with verdict allow
    STOPPED = 3  # text of messages with any other verdict: a person may have to look at it

    @property
    def label(self) -> str:
        return self.name.lower()


# What `Ledger.record` takes. Only verdict, category and score must be there; any other column may be absent or null.
RECORD = pa.schema(
    [
        pa.field("verdict", pa.uint8(), nullable=False),  # kernel.verdicts.Verdict
        pa.field("category", pa.uint8(), nullable=False),  # kernel.verdicts.Category
        pa.field("score", pa.float32(), nullable=False),  # 0..1
        pa.field("reasons", pa.list_(pa.uint16())),  # kernel.verdicts.Reason
        pa.field("rules", pa.list_(pa.string())),  # ids of rules that fired
        pa.field("spans", _SPANS),  # characters of the original text, end exclusive
        pa.field("campaign", pa.uint64()),
        pa.field("fingerprint", pa.binary(32)),
        pa.field("access_code", pa.string()),
        pa.field("model", pa.string()),  # version of the model that decided
        pa.field("rulebook", pa.string()),  # version of the rulebook that decided
        pa.field("kind", pa.string()),  # absent or null: sms.screened
        # To the vault and into keyed hashes only; never stored in the clear:
        pa.field("text", pa.string()),
        pa.field("normalised", pa.binary()),  # string, binary or uint64 (a template hash); only its keyed hash is kept
        pa.field("sender", pa.string()),
        pa.field("receiver", pa.string()),
        pa.field("time", TIME),  # the message's own time, as its source gave it
    ]
)

# An entry, as every reader sees it.
ENTRY = pa.schema(
    [
        pa.field("seq", pa.uint64(), nullable=False),  # dense within a stream, from 1
        pa.field("id", pa.binary(16), nullable=False),  # UUIDv7
        pa.field("at", TIME, nullable=False),  # when it was decided (or happened)
        pa.field("kind", pa.string(), nullable=False),
        pa.field("sender", pa.binary(16)),  # pseudonym: keyed hash
        pa.field("receiver", pa.binary(16)),
        pa.field("epoch", pa.uint16()),  # which pseudonym key made the keyed hashes of this row
        pa.field("access_code", pa.string()),
        pa.field("text_hash", pa.binary(16)),  # keyed hash of the normalised text
        pa.field("campaign", pa.uint64()),
        pa.field("fingerprint", pa.binary(32)),
        pa.field("verdict", pa.uint8()),
        pa.field("category", pa.uint8()),
        pa.field("score", pa.float32()),
        pa.field("reasons", pa.list_(pa.uint16())),
        pa.field("rules", pa.list_(pa.string())),
        pa.field("spans", _SPANS),
        pa.field("model", pa.string()),
        pa.field("rulebook", pa.string()),
        pa.field("data", pa.string()),  # JSON, of control entries
        # On a commit's first row: class and SHA-256 of each ciphertext that holds originals of the commit.
        pa.field("vault", pa.list_(pa.struct([pa.field("class", pa.uint8()), pa.field("sha256", pa.binary(32))]))),
    ]
)
SEALED = ENTRY.append(pa.field("link", pa.binary()))
OPEN = ENTRY.append(pa.field("sealed", pa.list_(pa.binary()))).append(pa.field("link", pa.binary()))

_BODY = pa.schema([field for field in ENTRY if field.name not in ("seq", "id", "at", "vault")])
_BODY_NAMES = _BODY.names
PRIVATE = pa.schema(
    [
        pa.field("text", pa.string()),
        pa.field("sender", pa.string()),
        pa.field("receiver", pa.string()),
        pa.field("time", TIME),
    ]
)
MAX_ROWS = 1 << 20  # rows of one `record` call, which is one commit: it is held in memory several times over


class Pseudonymiser(Protocol):
    """The part of `KeyStore` that entries need."""

    @property
    def epoch(self) -> int: ...

    def number_hashes(self, numbers: pa.Array) -> pa.Array: ...

    def text_hashes(self, texts: pa.Array) -> pa.Array: ...


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows on their way into a commit: entry columns that need no seq, and what the vault will encrypt."""

    body: pa.RecordBatch
    private: pa.RecordBatch | None
    at_us: int

    @property
    def count(self) -> int:
        return int(self.body.num_rows)


US_PER_DAY = 86_400_000_000


def decision_rows(batch: pa.RecordBatch, keys: Pseudonymiser, now: datetime) -> Rows:
    """Entry rows from a `RECORD` batch. Raises SchemaMismatch or BadValue naming the column."""
    rows = batch.num_rows
    if not 0 < rows <= MAX_ROWS:
        raise BadValue(field="batch", value=f"{rows} rows", expected=f"1 to {MAX_ROWS} rows")
    columns = batch.columns
    given = {
        place.field.name: columns[place.index]
        if place.is_plain and not columns[place.index].null_count
        else _column(batch, place)
        for place in _places(batch.schema)
    }
    private = pa.RecordBatch.from_arrays([given[name] for name in PRIVATE.names], schema=PRIVATE)
    kind = given["kind"]
    if kind.null_count:
        given["kind"] = (
            kind.fill_null(Kind.SMS_SCREENED) if kind.null_count < rows else _repeat(Kind.SMS_SCREENED, rows)
        )
    given["sender"] = keys.number_hashes(given["sender"])
    given["receiver"] = keys.number_hashes(given["receiver"])
    given["epoch"] = _epochs(keys.epoch, rows)
    given["text_hash"] = keys.text_hashes(given["normalised"])
    given["data"] = _no_strings(rows)
    body = pa.RecordBatch.from_arrays([given[name] for name in _BODY_NAMES], schema=_BODY)
    return Rows(body, private, to_micros(now))


def control_row(kind: str, data: Mapping[str, object], at_us: int) -> Rows:
    """One entry without traffic: a kind and JSON data. Raises BadValue if `data` is not JSON."""
    try:
        text = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise BadValue(field="data", value=data, expected=f"a JSON object ({error})") from error
    if not kind:
        raise BadValue(field="kind", value=kind, expected="a dotted event name in the past tense")
    columns = [pa.array([{"kind": str(kind), "data": text}.get(field.name)], field.type) for field in _BODY]
    return Rows(pa.RecordBatch.from_arrays(columns, schema=_BODY), None, at_us)


def joined(parts: list[Rows], first_seq: int, ids: EntryIds) -> tuple[list[pa.Array], pa.RecordBatch | None]:
    """The `ENTRY` columns without `vault`, and the private rows (aligned; None if nobody has any)."""
    if len(parts) == 1:
        body, private = parts[0].body, parts[0].private
    else:
        body = pa.concat_batches([part.body for part in parts])
        private = None
        if any(part.private is not None for part in parts):
            private = pa.concat_batches([_private_or_null(part) for part in parts])
    rows = body.num_rows
    if len(parts) == 1:
        at = np.full(rows, parts[0].at_us, np.int64)
    else:
        at = np.repeat(np.array([part.at_us for part in parts], np.int64), [part.count for part in parts])
    seq = np.arange(first_seq, first_seq + rows, dtype=np.uint64)
    return [_numbers(seq, _SEQ), ids.new(at, first_seq), _numbers(at, TIME), *body.columns], private


def _private_or_null(part: Rows) -> pa.RecordBatch:
    if part.private is not None:
        return part.private
    return pa.RecordBatch.from_arrays([pa.nulls(part.count, field.type) for field in PRIVATE], schema=PRIVATE)


class EntryIds:
    """Makes the `id` column: UUIDv7 with the layout of `kernel.ids` (millisecond, 42-bit counter, 32 random bits).

    The counter is the row's seq, shifted by a random number for each opening of a stream: ids of a stream ascend with
    seq, also when the clock steps back (then the last millisecond stays in use).
    """

    def __init__(self) -> None:
        self._shift = secrets.randbits(41)
        self._millisecond = 0

    def new(self, at_us: np.ndarray, first_seq: int) -> pa.Array:
        """One id a row. at_us: int64, microseconds since 1970."""
        rows = len(at_us)
        first, last = int(at_us[0]), int(at_us[-1])
        if first == last and (rows == 1 or bool((at_us == first).all())):  # one call's rows, as nearly always
            self._millisecond = max(first // 1000, self._millisecond)
            high: np.uint64 | np.ndarray = np.uint64((self._millisecond << 16) | 0x7000)
        else:
            ms = np.maximum.accumulate(np.maximum(at_us // 1000, self._millisecond)).astype(np.uint64)
            self._millisecond = int(ms[-1])
            high = (ms << np.uint64(16)) | np.uint64(0x7000)
        counter = np.arange(first_seq + self._shift, first_seq + self._shift + rows, dtype=np.uint64)
        counter &= _COUNTER
        raw = np.empty((rows, 2), np.uint64)
        raw[:, 0] = (counter >> _HIGH_BITS) | high
        counter <<= _RANDOM_BITS
        counter &= _LOW
        counter |= _VARIANT
        counter |= np.frombuffer(os.urandom(4 * rows), np.uint32)
        raw[:, 1] = counter
        if sys.byteorder == "little":
            raw.byteswap(inplace=True)  # a UUID begins with its highest byte
        return pa.Array.from_buffers(_ID, rows, [None, pa.py_buffer(raw)], 0)


_SEQ, _ID = pa.uint64(), pa.binary(16)
_COUNTER, _VARIANT = np.uint64((1 << 42) - 1), np.uint64(1 << 63)
_HIGH_BITS, _RANDOM_BITS = np.uint64(30), np.uint64(32)  # of the counter only its lower 30 bits stand in the low half
_LOW = np.uint64(((1 << 30) - 1) << 32)


def _numbers(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)], 0)


# Batches come in few sizes, and an array never changes: what says the same in every row is made once.
_SIZES = 64
_STRING = pa.string()


@lru_cache(_SIZES)
def _epochs(epoch: int, rows: int) -> pa.Array:
    return _numbers(np.full(rows, epoch, np.uint16), pa.uint16())


@lru_cache(_SIZES)
def _no_strings(rows: int) -> pa.Array:
    return pa.nulls(rows, _STRING)


@lru_cache(_SIZES)
def _repeat(value: str, rows: int) -> pa.Array:
    raw = value.encode()
    offsets = np.arange(0, len(raw) * rows + 1, len(raw), dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(raw * rows)], 0)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a batch has a `RECORD` column: its index (-1: nowhere, or more than once), and whether its type is that."""

    field: pa.Field
    index: int
    is_same_type: bool

    @property
    def is_plain(self) -> bool:
        """Whether the column can be taken as it is, if nothing in it is null."""
        return self.index >= 0 and self.is_same_type


_last_places: tuple[pa.Schema, list[_Place]] | None = None  # callers come with the same schema again and again


def _places(schema: pa.Schema) -> list[_Place]:
    global _last_places
    known = _last_places
    if known is not None and known[0].equals(schema):
        return known[1]
    places = []
    for field in RECORD:
        index = schema.get_field_index(field.name)
        places.append(_Place(field, index, index >= 0 and schema.field(index).type == field.type))
    _last_places = schema, places
    return places


def _column(batch: pa.RecordBatch, place: _Place) -> pa.Array:
    """The column in its `RECORD` type (`normalised`: also string or 8 bytes); nulls if it may be absent and is."""
    field, rows = place.field, batch.num_rows
    if place.index < 0:
        if not field.nullable or batch.schema.names.count(field.name) > 1:
            raise SchemaMismatch(field=field.name, value="not there once", expected=str(field.type))
        return _no_strings(rows) if field.type.equals(_STRING) else pa.nulls(rows, field.type)
    column = batch.column(place.index)
    if not field.nullable and column.null_count:
        raise SchemaMismatch(field=field.name, value=f"{column.null_count} nulls", expected=f"{field.type}, no nulls")
    if place.is_same_type:
        return column
    if pa.types.is_null(column.type):
        return pa.nulls(rows, field.type)
    if field.name == "normalised" and column.type == pa.uint64():
        return column.view(pa.binary(8))
    if field.name == "normalised" and column.type == pa.string():
        return column
    if field.name == "spans" and column.type.equals(_DECIDED_SPANS) and not column.null_count:
        return _with_nullable_ends(column)
    if not _same_meaning(column.type, field.type):
        raise SchemaMismatch(field=field.name, value=str(column.type), expected=str(field.type))
    try:
        return column.cast(field.type)
    except pa.ArrowException as error:
        raise SchemaMismatch(field=field.name, value=f"{column.type} ({error})", expected=str(field.type)) from error


# What the engine gives: its ends are never null. The same memory says it with the ledger's type; a cast costs tenfold.
_DECIDED_SPANS = pa.list_(pa.struct([pa.field(name, pa.int32(), nullable=False) for name in ("start", "end")]))


def _with_nullable_ends(column: pa.ListArray) -> pa.ListArray:
    marks = column.values
    if column.offset or marks.offset or marks.null_count:
        return column.cast(_SPANS)
    ends = [marks.field(place) for place in range(2)]
    marks = pa.Array.from_buffers(_SPANS.value_type, len(marks), [None], 0, children=ends)
    return pa.Array.from_buffers(_SPANS, len(column), [None, column.buffers()[1]], 0, children=[marks])


def _same_meaning(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a cast only changes the layout: large or dictionary strings, other child names of a list."""
    if pa.types.is_dictionary(given):
        given = given.value_type
    if pa.types.is_list(wanted):
        return bool(pa.types.is_list(given) or pa.types.is_large_list(given))
    if pa.types.is_string(wanted) or pa.types.is_binary(wanted):
        stringy = pa.types.is_string(given) or pa.types.is_large_string(given) or pa.types.is_string_view(given)
        binary = pa.types.is_binary(given) or pa.types.is_large_binary(given) or pa.types.is_fixed_size_binary(given)
        return bool(stringy or (binary and pa.types.is_binary(wanted)))
    if pa.types.is_fixed_size_binary(wanted):
        return bool(pa.types.is_binary(given) or pa.types.is_fixed_size_binary(given))
    return bool(given == wanted)
