"""A day of traffic: its schema, its mix, its hours, and campaigns that look like campaigns."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import TypedDict

import pytest

from mingbai.engines.scenarios import SCENARIOS, traffic
from mingbai.engines.scenarios.traffic import MOBILE_HEADS, TRAFFIC, access_code_of
from mingbai.kernel.verdicts import Category

DAY = date(2026, 3, 4)


class Row(TypedDict):
    text: str
    sender: str
    receiver: str
    access_code: str | None
    time: datetime
    category: int
    scenario: str


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    found: list[Row] = traffic(1, 6000, DAY).to_pylist()
    return found


def test_same_seed_and_day_give_the_same_traffic() -> None:
    assert traffic(2, 300, DAY).equals(traffic(2, 300, DAY))
    assert not traffic(2, 300, DAY).equals(traffic(3, 300, DAY))


@pytest.mark.parametrize("count", [0, 1, 7, 300])
def test_any_number_of_rows_in_the_documented_schema(count: int) -> None:
    batch = traffic(4, count, DAY)
    assert batch.schema.equals(TRAFFIC)
    assert batch.num_rows == count


def test_rows_come_in_order_of_time_within_the_chinese_day(rows: list[Row]) -> None:
    times = [row["time"] for row in rows]
    midnight = datetime(2026, 3, 3, 16, tzinfo=UTC)
    assert times == sorted(times)
    assert midnight <= times[0]
    assert times[-1] < midnight + timedelta(days=1)


def test_mix_is_mostly_honest_and_every_category_occurs(rows: list[Row]) -> None:
    categories = Counter(Category(row["category"]) for row in rows)
    honest = (categories[Category.PERSONAL] + categories[Category.NOTIFICATION]) / len(rows)
    assert 0.84 <= honest <= 0.91
    assert set(categories) == set(Category)
    assert all(SCENARIOS[row["scenario"]].category == row["category"] for row in rows)


def test_night_is_quiet(rows: list[Row]) -> None:
    hours = Counter((row["time"] + timedelta(hours=8)).hour for row in rows if row["category"] < Category.ADVERTISING)
    assert sum(hours[hour] for hour in range(1, 5)) < sum(hours[hour] for hour in range(9, 13)) / 5


def test_service_senders_extend_their_access_code_and_people_have_none(rows: list[Row]) -> None:
    for row in rows:
        if row["access_code"] is not None:
            assert row["sender"].startswith(row["access_code"])
            assert re.fullmatch(r"1069\d{7}", row["access_code"])
        if row["category"] == Category.PERSONAL:
            assert row["access_code"] is None


def test_subscribers_have_numbers_that_nobody_has(rows: list[Row]) -> None:
    assert all(re.fullmatch(r"\d{11}", row["receiver"]) and row["receiver"][:3] in MOBILE_HEADS for row in rows)


def test_signature_decides_the_access_code(rows: list[Row]) -> None:
    codes: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        match = re.search("【([^】]+)】$", row["text"])
        if match and row["access_code"] and SCENARIOS[row["scenario"]].sender == "service":
            codes[match[1]].append(row["access_code"])
    assert len(codes) > 50
    assert all(set(found) == {access_code_of(signature)} for signature, found in codes.items())


def test_campaigns_are_bursts_of_near_duplicates(rows: list[Row]) -> None:
    bursts: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["category"] >= Category.ADVERTISING:
            bursts[row["scenario"]].append(row)
    _, largest = max(bursts.items(), key=lambda item: len(item[1]))
    times = sorted(row["time"] for row in largest)
    # At least 20 of one scenario within some hour, where chance would give one or two.
    assert any(later - earlier <= timedelta(hours=1) for earlier, later in zip(times, times[19:], strict=False))
