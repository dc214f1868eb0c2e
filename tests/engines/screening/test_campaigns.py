"""Campaigns: one text in disguise is one campaign, and people are counted once."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mingbai.engines.screening import campaigns
from mingbai.engines.screening.campaigns import Counters, CounterUpdates, Table

BINS = campaigns.BINS


def sight(
    counters: Counters, prints: np.ndarray, senders: list[int], receivers: list[int], hours: list[int]
) -> tuple[np.ndarray, np.ndarray, CounterUpdates]:
    n = len(prints)
    own = Table.empty(n)
    campaign, seen = np.zeros(n, np.uint64), np.zeros((n, 3), np.uint32)
    base = counters.table
    campaigns.sight(
        prints.astype(np.uint16), (prints != campaigns.EMPTY).sum(1).astype(np.uint8),
        np.array(senders, np.uint64), np.array(receivers, np.uint64), np.array(hours, np.uint32),
        base.index, base.ids, base.prints, base.hours, base.messages, base.bits, base.used,
        own.index, own.ids, own.prints, own.hours, own.messages, own.bits, own.used,
        campaigns.new_index(2 * n), campaign, seen,
    )  # fmt: skip
    return campaign, seen, CounterUpdates(own, frozenset())


def hashes(*values: int) -> list[int]:
    return [int.from_bytes(hashlib.blake2b(str(v).encode(), digest_size=8).digest()) for v in values]


def fingerprints(seed: int, rows: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 0xFFFF, (rows, BINS))


def test_equal_fingerprints_are_one_campaign_and_people_count_once() -> None:
    prints = np.repeat(fingerprints(1, 1), 6, 0)
    campaign, seen, _ = sight(Counters(), prints, hashes(1, 1, 2, 2, 3, 3), hashes(1, 2, 3, 4, 5, 6), [7] * 6)
    assert len(set(campaign.tolist())) == 1 and campaign[0] != 0
    assert seen[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert seen[-1, 1] == 3 and seen[-1, 2] == 6


def test_a_few_changed_bins_stay_in_the_campaign_and_unrelated_texts_do_not() -> None:
    first = fingerprints(2, 1)
    near = first.copy()
    near[0, [0, 7, 15]] += 1
    campaign, _, _ = sight(Counters(), np.concatenate([first, near, fingerprints(3, 1)]), [0] * 3, [0] * 3, [0] * 3)
    assert campaign[0] == campaign[1] != campaign[2]


def test_screening_in_batches_counts_like_screening_at_once() -> None:
    rng = np.random.default_rng(5)
    prints = fingerprints(4, 20)[rng.integers(0, 20, 400)]
    senders, receivers = hashes(*rng.integers(1, 50, 400)), hashes(*rng.integers(1, 90, 400))
    hours = np.sort(rng.integers(100, 104, 400)).tolist()
    whole, seen, _ = sight(Counters(), prints, senders, receivers, hours)
    counters = Counters()
    parts, counted = [], []
    for k in range(0, 400, 37):
        cut = slice(k, k + 37)
        c, s, update = sight(counters, prints[cut], senders[cut], receivers[cut], hours[cut])
        counters.apply(update)
        parts.append(c)
        counted.append(s)
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert np.concatenate(counted)[:, 1:].tolist() == seen[:, 1:].tolist()


def test_sightings_older_than_two_hours_are_forgotten() -> None:
    counters = Counters()
    prints = fingerprints(6, 1)
    for hour, expected in ((10, 1), (11, 2), (12, 2), (15, 1)):
        _, seen, update = sight(counters, prints, hashes(hour), [0], [hour])
        counters.apply(update)
        assert seen[0, 1] == expected


@given(st.permutations(range(6)))
@settings(max_examples=30, deadline=None)
def test_updates_of_several_processes_merge_in_any_order(order: list[int]) -> None:
    prints = fingerprints(8, 3)
    updates = [sight(Counters(), prints, hashes(k, k + 1, 9), hashes(k, 2 * k, 5), [50] * 3)[2] for k in range(1, 7)]
    merged, straight = Counters(), Counters()
    for k in order:
        merged.apply(updates[k])
    for update in updates:
        straight.apply(update)
    for campaign in straight.table.ids[:3].tolist():
        assert merged.sighting(campaign) == straight.sighting(campaign)


def test_the_table_stays_within_its_limit() -> None:
    counters = Counters(limit=2000)
    for hour in range(12):
        prints = fingerprints(100 + hour, 700)
        _, _, update = sight(counters, prints, [0] * 700, [0] * 700, [hour] * 700)
        counters.apply(update)
        assert len(counters.table) <= 2000
    assert counters.table.hours[: len(counters.table)].min() >= 9


@pytest.mark.parametrize("people", [1, 5, 20, 100, 400])
def test_distinct_people_are_estimated(people: int) -> None:
    counters = Counters()
    prints = np.repeat(fingerprints(9, 1), 3 * people, 0)
    campaign, _, update = sight(counters, prints, hashes(*range(1, people + 1)) * 3, [0] * 3 * people, [1] * 3 * people)
    counters.apply(update)
    sighting = counters.sighting(int(campaign[0]))
    assert sighting is not None
    assert sighting.messages == 3 * people
    assert sighting.senders == pytest.approx(people, rel=0.15, abs=1)


def test_a_column_of_numbers_hashes_apart_and_empty_is_nobody() -> None:
    column = pa.array(["13800138000", "", "13800138001", "13800138000"])
    _, offsets, data = column.buffers()
    out = np.zeros(4, np.uint64)
    campaigns.hash_column(np.frombuffer(data, np.uint8), np.frombuffer(offsets, np.int32)[:5], out)
    assert out[0] == out[3] != out[2] and out[1] == 0
