"""The time of a message, from what tables hold, as `timestamp[us, UTC]`.

Read are: ISO 8601 dates and times (`2024-05-01`, `2024-05-01T08:00:00+08:00`, a blank for the T, fractions, `Z`,
`+0800`; `/` for `-` in the date), the digits `YYYYMMDDhhmmss` of call and message records and `YYYYMMDD`, and Unix
time in seconds (9 to 11 digits, a fraction allowed), milliseconds (12, 13) or microseconds (15, 16). A time without a
zone is local time of the operator: the earlier one where a clock set back shows it twice, and where it was set
forward the time that the clock would have shown had it not been.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mingbai.kernel.errors import BadValue

DEFAULT_ZONE = "Asia/Shanghai"
TIMESTAMP = pa.timestamp("us", "UTC")
EXPECTED = "ISO 8601, YYYY-MM-DD hh:mm:ss, YYYYMMDDhhmmss or Unix time in s, ms or us"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNIX = re.compile(r"-?(?:\d{9,11}(?:\.\d{1,9})?|\d{12,13}|\d{15,16})", re.ASCII)
_UNIX_SCALE = {10: 1_000_000, 13: 1000, 16: 1}  # microseconds by number of digits
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d))?", re.ASCII)
_SLASHED = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})(.*)", re.ASCII)


def zone_named(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises BadValue."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadValue(field="zone", value=name, expected="an IANA time zone such as Asia/Shanghai") from None


def parse_time(value: str, zone: ZoneInfo) -> datetime | None:
    """The UTC time that `value` says, or None if it says none."""
    value = value.strip()
    if _UNIX.fullmatch(value):
        whole, _, fraction = value.partition(".")
        digits = len(whole.lstrip("-"))
        if digits <= 11:
            sign = -1 if whole.startswith("-") else 1
            micros = int(whole) * 1_000_000 + sign * int((fraction + "000000")[:6])
        else:
            micros = int(whole) * (1000 if digits <= 13 else 1)
        try:
            return _EPOCH + timedelta(microseconds=micros)
        except OverflowError:
            return None
    compact, slashed = _COMPACT.fullmatch(value), _SLASHED.fullmatch(value)
    if compact:
        year, month, day, hour, minute, second = (int(part or 0) for part in compact.groups())
        try:
            moment = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 local time, made UTC below
        except ValueError:
            return None
        return _utc(moment, zone)
    if slashed:
        value = f"{slashed[1]}-{int(slashed[2]):02d}-{int(slashed[3]):02d}{slashed[4]}"
    if (
        len(value) < 10 or value[4] != "-"
    ):  # week dates and the like: written by nobody, and read differently by different programs
        return None
    try:
        return _utc(datetime.fromisoformat(value), zone)
    except ValueError:
        return None


def times_of(values: pa.Array, zone: ZoneInfo) -> tuple[pa.Array, NDArray[np.int64]]:
    """Times of a column, and the places of values that are none (null there, as where the value is null or empty).

    values: strings, timestamps of any unit, dates, or numbers (Unix time).
    """
    if pa.types.is_timestamp(values.type):
        return _from_timestamps(values, zone)
    if pa.types.is_date(values.type):
        return _from_timestamps(values.cast(pa.timestamp("ms")), zone)
    if pa.types.is_floating(values.type):
        # An integral float is a whole number that a missing neighbour made a float (pandas).
        values = pa.array(
            [
                None if v is None else (str(int(v)) if v == v and abs(v) < 1e18 and v == int(v) else repr(v))
                for v in values.to_pylist()
            ],
            pa.string(),
        )
    if not pa.types.is_string(values.type):
        values = values.cast(pa.string())
    values = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
    times = _at_once(values, zone)
    if times is not None:
        return times, np.empty(0, np.int64)
    distinct = pc.dictionary_encode(values)
    moments = [parse_time(value, zone) for value in distinct.dictionary.to_pylist()]
    micros = pa.array([None if moment is None else (moment - _EPOCH) // _MICROSECOND for moment in moments], pa.int64())
    times = micros.take(distinct.indices).cast(TIMESTAMP)
    failed = pc.and_(pc.is_valid(values), pc.is_null(times))
    return times, np.flatnonzero(failed.to_numpy(zero_copy_only=False)).astype(np.int64)


def _at_once(values: pa.Array, zone: ZoneInfo) -> pa.Array | None:
    """What `parse_time` gives for each value, fast, if all are written in one common way; None if they are not."""
    first = next((value for value in values if value.is_valid), None)
    if first is None:
        return pa.nulls(len(values), TIMESTAMP)
    digits = len(first.as_py())
    try:
        if first.as_py().isdigit():
            if digits == 14 and _all(values, r"^\d{14}$"):
                values = pc.replace_substring_regex(values, r"^(....)(..)(..)(..)(..)(..)$", r"\1-\2-\3 \4:\5:\6")
            elif digits in _UNIX_SCALE and _all(values, rf"^\d{{{digits}}}$"):
                return pc.multiply(values.cast(pa.int64()), _UNIX_SCALE[digits]).cast(TIMESTAMP)
            else:
                return None
        if _all(values, r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?$"):
            return _utc_of_local(values.cast(pa.timestamp("us")), zone)
        if _all(values, r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"):
            return values.cast(TIMESTAMP)
    except pa.ArrowInvalid:  # a date or hour that does not exist
        pass
    return None


def _all(values: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _utc_of_local(local: pa.Array, zone: ZoneInfo) -> pa.Array:
    """Timestamps without a zone, which are local times of `zone`, as UTC, by the rule at the head of this module."""
    try:
        return pc.assume_timezone(local, zone.key, ambiguous="earliest", nonexistent="raise").cast(TIMESTAMP)
    except pa.ArrowInvalid:  # an hour that the clock skipped, or a zone that only Python knows
        moments = [None if moment is None else _utc(moment, zone) for moment in local.to_pylist()]
        return pa.array(moments, TIMESTAMP)


def _utc(moment: datetime, zone: ZoneInfo) -> datetime | None:
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        return None


def _from_timestamps(values: pa.Array, zone: ZoneInfo) -> tuple[pa.Array, NDArray[np.int64]]:
    micros = values.cast(pa.timestamp("us", values.type.tz), safe=False)
    none = np.empty(0, np.int64)
    if values.type.tz is not None:
        return micros.cast(TIMESTAMP), none
    return _utc_of_local(micros, zone), none
