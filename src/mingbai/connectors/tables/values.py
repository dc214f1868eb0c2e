"""Arrow values of any type as text: cells of CSV (`as_strings`) and values of JSON (`as_json`). Null stays null."""

from __future__ import annotations

import base64
import datetime
import json
import math

import pyarrow as pa
import pyarrow.compute as pc

from mingbai.connectors.tables.jsonlines import JSON
from mingbai.connectors.tables.quoting import as_json_strings


def as_strings(values: pa.Array) -> pa.Array:
    """For people and CSV: a string as it is, a number as its shortest digits, a time as ISO 8601, the rest as JSON."""
    kind = values.type
    if pa.types.is_string(kind):
        return values
    if pa.types.is_null(kind) or _has_digits(kind):
        return values.cast(pa.string())
    if pa.types.is_timestamp(kind):
        return _iso(values)
    return pa.array([_unquoted(text) for text in as_json(values).to_pylist()], pa.string())


def as_json(values: pa.Array) -> pa.Array:
    """The JSON text of each value; a number that JSON lacks (NaN) is null, bytes are base64, durations their count."""
    kind = values.type
    if kind == JSON:
        return values.storage
    if pa.types.is_string(kind):
        return as_json_strings(values)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return values.cast(pa.string())
    if pa.types.is_floating(kind):
        return pc.if_else(pc.is_finite(values), with_point(values.cast(pa.string())), pa.scalar(None, pa.string()))
    if pa.types.is_duration(kind):
        return values.cast(pa.int64()).cast(pa.string())
    if pa.types.is_timestamp(kind) or _has_digits(kind):
        return as_json_strings(as_strings(values))
    texts = [_json_text(value) for value in values.cast(_microseconds(kind), safe=False)]
    return pa.array(texts, pa.string())


def with_point(digits: pa.Array) -> pa.Array:
    """Digits of a float so that they read back as one: `1` is `1.0`."""
    is_whole = pc.match_substring_regex(digits, r"^-?\d+$")
    return pc.if_else(is_whole, pc.binary_join_element_wise(digits, ".0", ""), digits)


def _has_digits(kind: pa.DataType) -> bool:
    kinds = pa.types
    is_number = kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind)
    return bool(is_number or kinds.is_boolean(kind) or kinds.is_date(kind) or kinds.is_time(kind))


def _iso(values: pa.Array) -> pa.Array:
    """`2024-05-01T08:00:00Z`; a timestamp without a zone has none here either."""
    text = pc.replace_substring(values.cast(pa.timestamp(values.type.unit)).cast(pa.string()), " ", "T")
    return pc.binary_join_element_wise(text, "Z", "") if values.type.tz else text


def _unquoted(text: str | None) -> str | None:
    """JSON text as a cell: of a string its content. Half a surrogate pair, which only JSON can hold, becomes `?`."""
    if text is None or not text.startswith('"'):
        return text
    return str(json.loads(text)).encode("utf-8", "replace").decode("utf-8")


def _microseconds(kind: pa.DataType) -> pa.DataType:
    """The type with nanoseconds cut to microseconds, which is what Python's own types hold."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if pa.types.is_duration(kind):
        return pa.duration("us")
    if pa.types.is_time64(kind):
        return pa.time64("us")
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_microseconds(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_microseconds(kind.key_type), _microseconds(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_microseconds(kind.value_type), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(_microseconds(kind.value_type))
    return kind


def _json_text(value: pa.Scalar) -> str | None:
    try:
        held = value.as_py()
    except (ValueError, OverflowError):  # a date that Python's calendar does not reach
        held = "out of range"
    return None if held is None else json.dumps(_plain(held), ensure_ascii=False)


def _plain(value: object) -> object:
    """A value as JSON has it: finite numbers, text, lists and objects."""
    if isinstance(value, dict):
        return {str(name): _plain(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value // datetime.timedelta(microseconds=1)
    return str(value)
