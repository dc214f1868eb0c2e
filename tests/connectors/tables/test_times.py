from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.connectors.tables.times import TIMESTAMP, parse_time, times_of, zone_named
from mingbai.kernel.errors import BadValue

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
EIGHT = datetime(2024, 5, 1, 0, 0, tzinfo=UTC)  # 08:00 in Shanghai


@pytest.mark.parametrize(
    "value",
    [
        "2024-05-01 08:00:00",
        "2024-05-01T08:00:00",
        "2024-05-01 08:00",
        "2024-05-01T08:00:00.000",
        "2024-05-01T00:00:00Z",
        "2024-05-01T08:00:00+08:00",
        "2024-05-01 08:00:00+0800",
        "2024-04-30T19:00:00-05:00",
        "2024/05/01 08:00:00",
        "2024/5/1 08:00:00",
        "20240501080000",
        "1714521600",
        "1714521600.0",
        "1714521600000",
        "1714521600000000",
        "  2024-05-01 08:00:00 ",
    ],
)
def test_common_ways_to_write_a_time_are_read(value: str) -> None:
    assert parse_time(value, SHANGHAI) == EIGHT
    times, bad = times_of(pa.array([value]), SHANGHAI)
    assert times.to_pylist() == [EIGHT]
    assert bad.tolist() == []


def test_date_is_its_first_moment_in_the_zone() -> None:
    midnight = datetime(2024, 4, 30, 16, 0, tzinfo=UTC)
    for value in ("2024-05-01", "20240501", "2024/5/1"):
        assert parse_time(value, SHANGHAI) == midnight
    assert times_of(pa.array([date(2024, 5, 1)]), SHANGHAI)[0].to_pylist() == [midnight]


def test_fractions_are_kept_to_the_microsecond() -> None:
    assert parse_time("1714521600.1234567", SHANGHAI) == EIGHT + timedelta(microseconds=123456)
    assert parse_time("2024-05-01 08:00:00.000001", SHANGHAI) == EIGHT + timedelta(microseconds=1)


@pytest.mark.parametrize(
    "value",
    [
        "morning",
        "08:30",
        "2024-13-01",
        "2024-02-30 08:00:00",
        "2024-05-01 25:00:00",
        "2024-W18-3",
        "20241301000000",
        "0",
        "12345",
        "99999999999999999999",
        "17145216000000000000",
        "2024-05-01 08:00:00 CST",
        "2024-05-01 08:00:00+99:00",
        "0001-01-01 00:00:00",
        "9999-12-31 23:59:59-08:00",
        "1.7e9",
        "２０２４-05-01",
    ],
)
def test_what_is_no_time_is_said_to_be_none(value: str) -> None:
    assert parse_time(value, SHANGHAI) is None
    times, bad = times_of(pa.array(["2024-05-01", value, None]), SHANGHAI)
    assert bad.tolist() == [1]
    assert times.is_null().to_pylist() == [False, True, True]


def test_empty_and_null_are_no_time_and_no_fault() -> None:
    times, bad = times_of(pa.array(["", None, "2024-05-01 08:00:00"]), SHANGHAI)
    assert times.to_pylist() == [None, None, EIGHT]
    assert bad.tolist() == []
    assert times_of(pa.array([None, ""]), SHANGHAI)[0].to_pylist() == [None, None]
    assert times_of(pa.array([], pa.string()), SHANGHAI)[0].type == TIMESTAMP


def test_hour_that_comes_twice_is_its_first_one_and_a_skipped_hour_is_counted_on() -> None:
    assert parse_time("2024-10-27 02:30:00", BERLIN) == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    assert parse_time("2024-03-31 02:30:00", BERLIN) == datetime(2024, 3, 31, 1, 30, tzinfo=UTC)
    naive = pa.array([datetime(2024, 10, 27, 2, 30), datetime(2024, 3, 31, 2, 30)])  # noqa: DTZ001 as a table has it
    for values in (naive, pa.array(["2024-10-27 02:30:00", "2024-03-31 02:30:00"])):
        assert times_of(values, BERLIN)[0].to_pylist() == [
            datetime(2024, 10, 27, 0, 30, tzinfo=UTC),
            datetime(2024, 3, 31, 1, 30, tzinfo=UTC),
        ]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_every_unit_are_read(unit: str) -> None:
    zoned = pa.array([EIGHT, None], pa.timestamp("us", "UTC")).cast(pa.timestamp(unit, "Europe/Berlin"))
    naive = pa.array([EIGHT.replace(tzinfo=None) + timedelta(hours=8), None]).cast(pa.timestamp(unit))
    for values in (zoned, naive):
        times, bad = times_of(values, SHANGHAI)
        assert (times.type, times.to_pylist(), bad.tolist()) == (TIMESTAMP, [EIGHT, None], [])


def test_moments_outside_the_calendar_are_no_times() -> None:
    for unit in ("s", "ms", "us"):
        for zone in (None, "UTC"):
            values = pa.array([2**62, -(2**62), 0, None]).cast(pa.timestamp(unit, zone))
            times, bad = times_of(values, ZoneInfo("UTC"))
            assert times.to_pylist() == [None, None, datetime(1970, 1, 1, tzinfo=UTC), None]
            assert bad.tolist() == [0, 1]


def test_numbers_are_unix_time() -> None:
    assert times_of(pa.array([1714521600, None, 1714521600000]), SHANGHAI)[0].to_pylist() == [EIGHT, None, EIGHT]
    floats = pa.array([1714521600.0, float("nan"), 1714521600.5])
    times, bad = times_of(floats, SHANGHAI)
    assert times.to_pylist() == [EIGHT, None, EIGHT + timedelta(seconds=0.5)]
    assert bad.tolist() == []


def test_unknown_zone_is_named() -> None:
    for name in ("Asia/Peking", "", "../etc/passwd"):
        with pytest.raises(BadValue, match="IANA"):
            zone_named(name)


written = st.sampled_from(
    [
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%dT%H:%M:%S.%f",
        "%Y%m%d%H%M%S",
        "%Y-%m-%dT%H:%M:%SZ",
        "%Y-%m-%d %H:%M:%S+05:30",
        "%Y-%m-%d",
        "%s",
    ]
)


@given(
    st.lists(st.datetimes(datetime(1972, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=6),  # noqa: DTZ001 local
    st.lists(written, min_size=1, max_size=2),
    st.lists(st.text(alphabet="0123456789-:T Z+./", max_size=20), max_size=1),
    st.sampled_from([SHANGHAI, BERLIN, ZoneInfo("America/New_York")]),
)
def test_a_column_at_once_reads_what_one_by_one_does(
    moments: list[datetime], forms: list[str], odd: list[str], zone: ZoneInfo
) -> None:
    values = [
        str(int(moment.replace(tzinfo=UTC).timestamp())) if form == "%s" else moment.strftime(form)
        for number, moment in enumerate(moments)
        for form in [forms[number % len(forms)]]
    ] + odd
    expected = [parse_time(value, zone) if value else None for value in values]
    times, bad = times_of(pa.array(values), zone)
    assert times.to_pylist() == expected
    assert bad.tolist() == [at for at, value in enumerate(values) if value and expected[at] is None]
    if forms == ["%Y-%m-%d %H:%M:%S+05:30"] and not odd:
        zoned = [m.replace(microsecond=0, tzinfo=timezone(timedelta(hours=5, minutes=30))) for m in moments]
        assert times.to_pylist() == zoned
