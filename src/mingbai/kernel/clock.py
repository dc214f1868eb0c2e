"""Time: aware UTC datetimes, to the microsecond, everywhere.

Only the outermost rooms (cli, console, worker, gateway) ask `utc_now`; every function below them takes `now`, so that
a test, a replay or an audit can say when it is. Local time exists on the screen alone. Text form: RFC 3339 with `Z`
and six decimals, so that sorting as text sorts by time. In Arrow: `timestamp[us, UTC]`, the count of `to_micros`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mingbai.kernel.errors import BadValue

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def utc_now() -> datetime:
    """The wall clock. The only place of the program that reads it."""
    return datetime.now(UTC)


def as_utc(moment: datetime, field: str = "time") -> datetime:
    """The same moment in UTC. Raises BadValue, naming `field`, where it carries no time zone: we do not guess one."""
    if moment.utcoffset() is None:
        raise BadValue(field=field, value=moment.isoformat(), expected="a time with its zone: ...Z, ...+08:00")
    return moment.astimezone(UTC)


def parse_utc(text: str, field: str = "time") -> datetime:
    """Read RFC 3339 (`2026-11-24T08:30:00+08:00`, `...Z`; decimals optional, more than six are cut off).

    What else ISO 8601 allows is read too. Raises BadValue for other text and for a time without its zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadValue(field=field, value=text, expected="an RFC 3339 time such as 2026-11-24T08:30:00Z") from None
    try:
        return as_utc(moment, field)
    except OverflowError:  # year 1 or 9999, pushed over the edge by its offset
        raise BadValue(field=field, value=text, expected="a year from 1 to 9999 in UTC") from None


def format_utc(moment: datetime) -> str:
    """`2026-11-24T08:30:00.000000Z`: always 27 characters. Raises BadValue if the time zone is missing."""
    return as_utc(moment).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970-01-01T00:00:00Z, exactly. Raises BadValue if the time zone is missing."""
    return (as_utc(moment) - EPOCH) // _MICROSECOND


def from_micros(micros: int, field: str = "time") -> datetime:
    """The inverse of `to_micros`. Raises BadValue outside the years 1 to 9999."""
    try:
        return EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        raise BadValue(field=field, value=micros, expected="microseconds within the years 1 to 9999") from None
