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

# Arrow knows changes of summer time only as far as the zone files list them one by one, to 2037; Python by their rule
# too.
_ARROW_FROM, _ARROW_UNTIL = datetime(1970, 1, 1), datetime(2037, 1, 1)  # noqa: DTZ001 local times

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = pa.scalar(datetime.min.replace(tzinfo=UTC), TIMESTAMP)
_LAST = pa.scalar(datetime.max.replace(tzinfo=UTC), TIMESTAMP)
_MICROSECOND = timedelta(microseconds=1)
_UNIX = re.compile(r"-?(?:\d{9,11}(?:\.\d{1,9})?|\d{12,13}|\d{15,16})", re.ASCII)
_UNIX_SCALE = {10: 1_000_000, 13: 1000, 16: 1}  # microseconds by number of digits
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d))?", re.ASCII)
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[ T][\d:.,Z+-]+)?", re.ASCII)
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
    if not _ISO.fullmatch(value):  # what else fromisoformat takes (week dates, any separator) nobody writes on purpose
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
        values = pa.array([_digits(value) for value in values.to_pylist()], pa.string())
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
    return times, _failed(values, times)


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
        limits = pc.min_max(local)
        first, last = limits["min"].as_py(), limits["max"].as_py()
        if first is None:
            return local.cast(TIMESTAMP)
        if first >= _ARROW_FROM and last < _ARROW_UNTIL:
            return pc.assume_timezone(local, zone.key, ambiguous="earliest", nonexistent="raise").cast(TIMESTAMP)
    except (pa.ArrowInvalid, ValueError, OverflowError):
        pass  # an hour that the clock skipped, a year that Python's calendar has not, a zone that only Python knows
    return pa.array([_utc_or_none(moment, zone) for moment in local], TIMESTAMP)


def _utc_or_none(moment: pa.Scalar, zone: ZoneInfo) -> datetime | None:
    try:
        local = moment.as_py()
    except (ValueError, OverflowError):
        return None
    return None if local is None else _utc(local, zone)


def _digits(number: float | None) -> str | None:
    """A float as the digits that were meant; NaN is what pandas makes of a missing number."""
    if number is None or number != number:
        return None
    return str(int(number)) if abs(number) < 2**53 and number == int(number) else repr(number)


def _utc(moment: datetime, zone: ZoneInfo) -> datetime | None:
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        return None


def _from_timestamps(values: pa.Array, zone: ZoneInfo) -> tuple[pa.Array, NDArray[np.int64]]:
    target = pa.timestamp("us", values.type.tz)
    try:
        micros = values.cast(options=pc.CastOptions(target_type=target, allow_time_truncate=True))
    except pa.ArrowInvalid:  # a number that is no moment in microseconds
        micros = pa.array([_or_none(value, target) for value in values], target)
    if values.type.tz is None:
        times = _utc_of_local(micros, zone)
    else:
        is_in_calendar = pc.and_(pc.greater_equal(micros, _FIRST), pc.less_equal(micros, _LAST))
        times = pc.if_else(is_in_calendar, micros.cast(TIMESTAMP), pa.scalar(None, TIMESTAMP))
    return times, _failed(values, times)


def _or_none(value: pa.Scalar, target: pa.DataType) -> pa.Scalar | None:
    try:
        return value.cast(target)
    except pa.ArrowInvalid:
        return None


def _failed(values: pa.Array, times: pa.Array) -> NDArray[np.int64]:
    """Where there was a value and is no time."""
    failed = pc.and_(pc.is_valid(values), pc.is_null(times))
    return np.flatnonzero(failed.to_numpy(zero_copy_only=False)).astype(np.int64)
