from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.kernel.clock import as_utc, format_utc, from_micros, parse_utc, to_micros, utc_now
from mingbai.kernel.errors import BadValue

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=OFFSETS)  # noqa: DTZ001 - zones are drawn
BEIJING = timezone(timedelta(hours=8))


@given(MOMENTS)
def test_text_form_reads_back_as_the_same_moment(moment: datetime) -> None:
    assert parse_utc(format_utc(moment)) == moment


@given(MOMENTS)
def test_microseconds_read_back_as_the_same_moment(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment


@given(MOMENTS, MOMENTS)
def test_text_form_sorts_by_time(one: datetime, other: datetime) -> None:
    assert (format_utc(one) < format_utc(other)) == (one < other)


def test_text_form_is_utc_with_six_decimals() -> None:
    moment = datetime(2026, 11, 24, 16, 30, tzinfo=BEIJING)
    assert format_utc(moment) == "2026-11-24T08:30:00.000000Z"
    assert as_utc(moment).tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T08:00:00+08:00", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("1970-01-01T00:00:00.0000019Z", 1),
    ],
)
def test_rfc_3339_is_read(text: str, micros: int) -> None:
    assert to_micros(parse_utc(text)) == micros


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-24T08:30:00", "2026-11-24", "0001-01-01T00:00:00+08:00"])
def test_a_time_that_is_not_exact_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadValue) as error:
        parse_utc(text, "valid_from")
    assert error.value.data["field"] == "valid_from"


def test_a_time_without_its_zone_is_never_guessed() -> None:
    with pytest.raises(BadValue):
        to_micros(datetime(2026, 11, 24))  # noqa: DTZ001 - the fault under test
    with pytest.raises(BadValue):
        from_micros(2**62)


def test_the_wall_clock_is_utc() -> None:
    assert utc_now().tzinfo is UTC
