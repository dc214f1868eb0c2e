from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.kernel.clock import EPOCH
from mingbai.kernel.errors import BadValue
from mingbai.kernel.ids import IdSource, time_of, uuid7

NOW = datetime(2026, 11, 24, 8, 30, 0, 123_456, tzinfo=UTC)
MILLISECONDS = st.integers(0, 253_402_300_799_999)  # to the end of year 9999, where datetime ends
COUNTERS = st.integers(0, 2**42 - 1)
RANDOMS = st.integers(0, 2**32 - 1)


def test_the_example_of_rfc_9562_appendix_a6() -> None:
    # unix_ts_ms 0x017F22E279B0, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F
    counter = (0xCC3 << 30) | (0x18C4DC0C0C07398F >> 32)
    made = uuid7(0x017F22E279B0, counter, 0x18C4DC0C0C07398F & 0xFFFF_FFFF)
    assert made == UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")
    assert time_of(made) == datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)


@given(MILLISECONDS, COUNTERS, RANDOMS)
def test_version_variant_and_time_stand_where_the_rfc_puts_them(millisecond: int, counter: int, tail: int) -> None:
    made = uuid7(millisecond, counter, tail)
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert time_of(made) == EPOCH + timedelta(milliseconds=millisecond)


@given(MILLISECONDS, COUNTERS, RANDOMS, MILLISECONDS, COUNTERS, RANDOMS)
def test_ids_sort_by_time_then_counter(m1: int, c1: int, r1: int, m2: int, c2: int, r2: int) -> None:
    assert (uuid7(m1, c1, r1).bytes < uuid7(m2, c2, r2).bytes) == ((m1, c1, r1) < (m2, c2, r2))


@given(st.lists(st.integers(-5_000, 5_000), min_size=2, max_size=50), st.integers())
def test_ids_of_one_source_increase_whatever_the_clock_does(steps_us: list[int], seed: int) -> None:
    source = IdSource(random.Random(seed).getrandbits)
    now, made = NOW, []
    for step in steps_us:
        now += timedelta(microseconds=step)
        made.append(source.new(now).bytes)
    assert all(earlier < later for earlier, later in itertools.pairwise(made))


def test_a_full_counter_borrows_the_next_millisecond() -> None:
    highest: Callable[[int], int] = lambda bits: 2**bits - 1  # noqa: E731 - one line says it
    source = IdSource(highest)
    first = source.new(NOW)
    source._counter = 2**42 - 1  # after 2^41 more ids, which no test can make
    borrowed = source.new(NOW)
    assert time_of(first) == NOW.replace(microsecond=123_000)
    assert time_of(borrowed) == NOW.replace(microsecond=124_000)
    assert borrowed > first


def test_the_same_randomness_gives_the_same_ids(seed: int) -> None:
    one, other = (IdSource(random.Random(seed).getrandbits) for _ in range(2))
    assert [one.new(NOW) for _ in range(3)] == [other.new(NOW) for _ in range(3)]


def test_sources_do_not_meet() -> None:
    assert IdSource().new(NOW) != IdSource().new(NOW)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadValue, match="counter"):
        uuid7(0, 2**42, 0)
    with pytest.raises(BadValue, match="millisecond"):
        IdSource().new(datetime(1969, 12, 31, tzinfo=UTC))
    with pytest.raises(BadValue, match="version 7"):
        time_of(UUID("00000000-0000-4000-8000-000000000000"))
