"""Counting over blocks: what the overview and a campaign's page show. Exact, but for which campaigns are looked at.

A block that lies wholly in the window, asked without a scope, answers with the counts it keeps; any other is counted by
its rows. So a month costs little more than its first and its last block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from mingbai.connectors.ledger_index.block import MIX, US_PER_MINUTE, Block, largest, top_codes, totals_of
from mingbai.connectors.ledger_index.filters import Filter
from mingbai.connectors.ledger_index.query import Bucket, CampaignCount, CampaignView, Overview, Variant
from mingbai.connectors.ledger_index.rows import CODED, Array
from mingbai.kernel.clock import from_micros
from mingbai.kernel.verdicts import Category, Verdict

_TOP_VALUES = 50  # rules and access codes that an overview names
_TOP_LISTED = 10  # campaigns that it names
_CANDIDATES = 40  # campaigns that are counted exactly, to name the ten
_VARIANTS = 50
_STEPS_S = (60, 300, 900, 3600, 10_800, 86_400)
_SERIES_POINTS = 300
_DAY_S = 86_400


def step_for(since_us: int, until_us: int) -> int:
    """Seconds of a series' step: the shortest that gives a number of points that a chart can show."""
    span_s = (until_us - since_us) / 1e6
    whole_days = _DAY_S * -(-int(span_s) // (_DAY_S * _SERIES_POINTS))
    return next((step for step in _STEPS_S if span_s / step <= _SERIES_POINTS), whole_days)


@dataclass(slots=True)
class _Series:
    """Decisions by step and verdict-with-category. Steps are counted from the minute in which the window begins."""

    start_us: int
    step_us: int
    steps: int
    counts: dict[int, Array] = field(default_factory=dict)  # mix -> decisions by step

    @classmethod
    def over(cls, since_us: int, until_us: int, step_s: int) -> _Series:
        start = since_us // US_PER_MINUTE * US_PER_MINUTE
        return cls(start, step_s * 1_000_000, max(1, -(-(until_us - start) // (step_s * 1_000_000))))

    def add_rows(self, block: Block, rows: Array) -> None:
        steps = (block.arrays["run.at"] - self.start_us) // self.step_us  # of each run: rows outside are not chosen
        self._add(block.of_runs(steps, rows), _mixes(block, rows), None)

    def add(self, at_us: Array, mixes: Array, counts: Array) -> None:
        self._add((at_us - self.start_us) // self.step_us, mixes, counts)

    def _add(self, steps: Array, mixes: Array, counts: Array | None) -> None:
        if not len(mixes):
            return
        table = np.zeros(1 << 16, bool)
        table[mixes] = True
        present = np.flatnonzero(table)
        places = np.zeros(1 << 16, np.int64)
        places[present] = np.arange(len(present))
        keys = steps * len(present) + places[mixes]
        found = np.bincount(keys, weights=counts, minlength=self.steps * len(present))
        table_of = found.astype(np.int64).reshape(self.steps, len(present))
        for column, mix in enumerate(present.tolist()):
            known = self.counts.get(mix)
            self.counts[mix] = table_of[:, column] if known is None else known + table_of[:, column]

    def mix(self) -> dict[tuple[Verdict, Category], int]:
        return {
            (Verdict(mix // MIX), Category(mix % MIX)): int(counts.sum()) for mix, counts in sorted(self.counts.items())
        }

    def buckets(self) -> tuple[Bucket, ...]:
        by_verdict = {verdict: np.zeros(self.steps, np.int64) for verdict in Verdict}
        for mix, counts in self.counts.items():
            by_verdict[Verdict(mix // MIX)] += counts
        lists = {verdict: counts.tolist() for verdict, counts in by_verdict.items()}
        return tuple(
            Bucket(
                from_micros(self.start_us + step * self.step_us), {verdict: lists[verdict][step] for verdict in Verdict}
            )
            for step in range(self.steps)
        )


def overview(
    blocks: Sequence[tuple[str, Block]], chosen: Filter, since: datetime, until: datetime, step_s: int | None
) -> Overview:
    """Count the blocks (each with its stream's name; of one stream newest first) over the filter's window."""
    since_us, until_us = chosen.since_us, chosen.until_us
    assert since_us is not None and until_us is not None
    step_s = step_s or step_for(since_us, until_us)
    series = _Series.over(since_us, until_us, step_s)
    counters: dict[str, Counter[Any]] = {name: Counter() for name in CODED}  # Any: text, number or pair
    places = [_Place(stream, block, chosen) for stream, block in blocks]
    places = [place for place in places if place.rows is None or len(place.rows)]
    whole = [place.block.arrays for place in places if place.rows is None]
    if whole:
        minutes, mixes, counts = (
            np.concatenate([arrays[name] for arrays in whole]) for name in ("minute.at", "minute.mix", "minute.count")
        )
        series.add(minutes.astype(np.int64) * US_PER_MINUTE, mixes, counts)
    for place in places:
        if place.rows is not None:
            series.add_rows(place.block, place.rows)
        for name in CODED:
            _add(counters[name], place.totals(name))
    versions = counters["version"]
    mix = series.mix()
    by_messages, by_stopped = _campaigns(places)
    return Overview(
        since=since,
        until=until,
        step_s=step_s,
        messages=sum(mix.values()),
        mix=mix,
        reasons=dict(counters["reasons"].most_common()),
        rules=dict(counters["rules"].most_common(_TOP_VALUES)),
        access_codes=dict(counters["access_code"].most_common(_TOP_VALUES)),
        models=_folded((pair[0], count) for pair, count in versions.items()),
        rulebooks=_folded((pair[1], count) for pair, count in versions.items()),
        series=series.buckets(),
        campaigns=by_messages,
        stopped_campaigns=by_stopped,
    )


def _add(into: Counter[Any], totals: dict[Any, int]) -> None:  # Any: text, number or pair
    for value, count in totals.items():
        into[value] += count


def _folded(items: Iterable[tuple[str | None, int]]) -> dict[str | None, int]:
    counter: Counter[str | None] = Counter()
    for key, count in items:
        counter[key] += count
    return dict(counter.most_common())


def _mixes(block: Block, rows: Array) -> Array:
    return block.arrays["verdict"][rows].astype(np.int64) * MIX + block.arrays["category"][rows]


class _Place:
    """A block within a window. rows: those that count; None: every decision of it does."""

    def __init__(self, stream: str, block: Block, chosen: Filter) -> None:
        self.stream = stream
        self.block = block
        is_whole = chosen.is_only_a_window and block.is_within(chosen.since_us, chosen.until_us)
        self.rows: Array | None = None if is_whole else chosen.rows(block)
        self._chosen: Array | None = None
        self._counted: tuple[Array, Array, Array] | None = None

    def totals(self, name: str) -> dict[Any, int]:  # Any: text, number or pair
        """Decisions by value of a repeating column; by reason or rule, not by list of them."""
        block = self.block
        if self.rows is None:
            return block.totals(name)
        counts = np.bincount(block.codes(name)[self.rows], minlength=len(block.values(name)))
        return totals_of(name, block.values(name), counts)

    def top_campaigns(self) -> tuple[Array, Array, Array]:
        """Keys of the largest campaigns of this place, messages and stopped of each."""
        if self.rows is None:
            arrays = self.block.arrays
            return self.block.key_values("campaign")[arrays["top.code"]], arrays["top.messages"], arrays["top.stopped"]
        codes, messages, stopped = self._counted_rows(self.rows)
        keys = self.block.key_values("campaign")
        chosen = top_codes(codes if keys[0] == 0 else codes + 1, messages, stopped)  # 0: no campaign
        return keys[codes[chosen]], messages[chosen], stopped[chosen]

    def count_campaigns(self, wanted: Array) -> tuple[Array, Array]:
        """Messages and stopped of each campaign (ascending keys), exact."""
        messages, stopped = np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.int64)
        if self.rows is not None:
            codes, all_messages, all_stopped = self._counted_rows(self.rows)
            here, places = _found(self.block.key_values("campaign"), wanted)
            is_chosen, counted = _found(codes, places)
            messages[here[is_chosen]], stopped[here[is_chosen]] = all_messages[counted], all_stopped[counted]
            return messages, stopped
        arrays = self.block.arrays
        here, places = _found(self.block.key_values("campaign"), wanted)
        start = arrays["campaign.start"]
        messages[here] = start[places + 1].astype(np.int64) - start[places]
        is_top, tops = _found(arrays["top.code"], places)
        stopped[here[is_top]] = arrays["top.stopped"][tops]
        for place in np.delete(here, is_top).tolist():  # few messages, or they would be in the list
            rows = self.block.rows_of_key("campaign", int(wanted[place]))
            stopped[place] = np.count_nonzero(self.block.arrays["verdict"][rows] >= Verdict.HOLD)
        return messages, stopped

    def _counted_rows(self, rows: Array) -> tuple[Array, Array, Array]:
        """Codes of campaigns, ascending, messages and stopped of each within the rows."""
        if self._counted is None:
            codes, keys = self.block.codes("campaign")[rows], self.block.key_values("campaign")
            is_stopped = self.block.arrays["verdict"][rows] >= Verdict.HOLD
            if _is_little(rows, keys):
                marked = np.sort(codes << np.uint32(1) | is_stopped)  # a block has fewer than 2**31 codes
                ordered = marked >> np.uint32(1)
                starts = _starts(ordered)
                stopped = np.append(0, np.cumsum(marked & np.uint32(1), dtype=np.int64))
                ends = np.append(starts[1:], len(ordered))
                self._counted = ordered[starts], ends - starts, stopped[ends] - stopped[starts]
            else:
                counts = (np.bincount(chosen, minlength=len(keys)) for chosen in (codes, codes[is_stopped]))
                self._counted = np.arange(len(keys)), next(counts), next(counts)
        return self._counted

    def rows_of_campaign(self, campaign: int) -> Array:
        """Rows that count, of one campaign, ascending."""
        rows = self.block.rows_of_key("campaign", campaign)
        if self.rows is None or not len(rows):
            return rows
        if self._chosen is None:
            self._chosen = np.zeros(self.block.rows, bool)
            self._chosen[self.rows] = True
        return rows[self._chosen[rows]]


def _is_little(rows: Array, keys: Array) -> bool:
    """Whether to sort what the rows have, rather than to go over every key of the block."""
    return len(rows) * 4 < len(keys)


def _starts(ordered: Array) -> Array:
    """Where each value begins in values that are in order; at least one."""
    return np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])


def _found(keys: Array, wanted: Array) -> tuple[Array, Array]:
    """Which of `wanted` are in `keys` (ascending), as places in either."""
    places = np.searchsorted(keys, wanted)
    here = np.flatnonzero(places < len(keys))
    here = here[keys[places[here]] == wanted[here]]
    return here, places[here]


def _campaigns(places: list[_Place]) -> tuple[tuple[CampaignCount, ...], tuple[CampaignCount, ...]]:
    """The largest campaigns by messages and by messages stopped."""
    tops = [place.top_campaigns() for place in places]
    if not tops:
        return (), ()
    keys, inverse = np.unique(np.concatenate([top[0] for top in tops]), return_inverse=True)
    messages = np.bincount(inverse, weights=np.concatenate([top[1] for top in tops]), minlength=len(keys))
    stopped = np.bincount(inverse, weights=np.concatenate([top[2] for top in tops]), minlength=len(keys))
    every = np.arange(len(keys))
    wanted = keys[np.union1d(largest(every, messages, _CANDIDATES), largest(every, stopped, _CANDIDATES))]
    counts = [place.count_campaigns(wanted) for place in places]
    exact = list(
        zip(
            wanted.tolist(),
            np.sum([count[0] for count in counts], axis=0).tolist(),
            np.sum([count[1] for count in counts], axis=0).tolist(),
            strict=True,
        )
    )
    by_messages = sorted((one for one in exact if one[1] > 1), key=lambda one: (-one[1], one[0]))[:_TOP_LISTED]
    by_stopped = sorted((one for one in exact if one[1] > 1 and one[2]), key=lambda one: (-one[2], one[0]))[
        :_TOP_LISTED
    ]
    ends = _Ends(places)
    made = {one: CampaignCount(*one, *ends.of(one[0])) for one in {*by_messages, *by_stopped}}
    return tuple(made[one] for one in by_messages), tuple(made[one] for one in by_stopped)


class _Ends:
    """The first and the last message of campaigns, looked for in the places where they can be."""

    def __init__(self, places: list[_Place]) -> None:
        self._from_old = sorted(places, key=lambda place: place.block.head.min_at)
        self._from_new = sorted(places, key=lambda place: -place.block.head.max_at)

    def of(self, campaign: int) -> tuple[datetime, datetime, tuple[str, int]]:
        """When the first and the last message came, and where the newest is, as (stream, seq)."""
        first, last = 1 << 63, -1
        newest = ("", 0)
        for place in self._from_old:
            if first <= place.block.head.min_at:
                break
            first = min([first, *self._times(place, campaign)])
        for place in self._from_new:
            if last >= place.block.head.max_at:
                break
            if (at := max(self._times(place, campaign), default=-1)) > last:
                last = at
                newest = place.stream, place.block.head.first_seq + int(place.rows_of_campaign(campaign)[-1])
        return from_micros(first), from_micros(last), newest

    @staticmethod
    def _times(place: _Place, campaign: int) -> list[int]:
        """First and last time of the campaign in the place; empty if it is not there."""
        rows = place.rows_of_campaign(campaign)
        if not len(rows):
            return []
        at = place.block.at(rows[[0, -1]] if place.block.is_in_order else rows)
        return [int(at.min()), int(at.max())]


def campaign_view(
    blocks: Sequence[tuple[str, Block]], chosen: Filter, since_us: int | None, until_us: int | None, campaign: int
) -> CampaignView:
    """Everything of one campaign (`chosen` asks for it). since_us, until_us: None takes the first or last message."""
    found = [(stream, block, rows) for stream, block in blocks if len(rows := chosen.rows(block))]
    times = [block.at(rows[[0, -1]] if block.is_in_order else rows) for _, block, rows in found]
    first = min((int(at.min()) for at in times), default=None)
    last = max((int(at.max()) for at in times), default=None)
    low = since_us if since_us is not None else first or 0
    high = until_us if until_us is not None else (last or 0) + 1
    step_s = step_for(low, high)
    series = _Series.over(low, high, step_s)
    codes: Counter[str | None] = Counter()
    rules: Counter[str] = Counter()
    for _, block, rows in found:
        series.add_rows(block, rows)
        for name, counter in (("access_code", codes), ("rules", rules)):
            counts = np.bincount(block.codes(name)[rows], minlength=len(block.values(name)))
            _add(counter, totals_of(name, block.values(name), counts))
    mix = series.mix()
    distinct = {
        name: _distinct([_present(block, name, rows) for _, block, rows in found]) for name in ("sender", "receiver")
    }
    variants, variant_count = _variants(found)
    return CampaignView(
        campaign=campaign,
        messages=sum(mix.values()),
        verdicts={v: sum(count for key, count in mix.items() if key[0] == v) for v in Verdict},
        categories={c: sum(count for key, count in mix.items() if key[1] == c) for c in Category},
        first_at=None if first is None else from_micros(first),
        last_at=None if last is None else from_micros(last),
        step_s=step_s,
        growth=series.buckets(),
        senders=distinct["sender"],
        receivers=distinct["receiver"],
        access_codes=dict(codes.most_common(_TOP_VALUES)),
        rules=dict(rules.most_common(_TOP_VALUES)),
        variant_count=variant_count,
        variants=variants,
    )


def _distinct(parts: list[Array]) -> int:
    """How many distinct keys there are, 0 (none) left out."""
    if not parts:
        return 0
    keys = np.sort(np.concatenate(parts))  # faster than np.unique where nearly all differ
    return int(np.count_nonzero(keys[1:] != keys[:-1])) + int(keys[0] != 0)


def _present(block: Block, name: str, rows: Array) -> Array:
    """Distinct keys of some rows, at least one, ascending."""
    codes, keys = block.codes(name)[rows], block.key_values(name)
    if _is_little(rows, keys):
        codes.sort()
        found: Array = keys[codes[_starts(codes)]]
    else:
        is_present = np.zeros(len(keys), bool)
        is_present[codes] = True
        found = keys[is_present]
    return found


def _variants(found: list[tuple[str, Block, Array]]) -> tuple[tuple[Variant, ...], int]:
    """Texts of a campaign, most frequent first, and how many there are. The hashes are still the key's 8 bytes."""
    if not found:
        return (), 0
    parts = [_texts(block, rows) for _, block, rows in found]
    keys, messages, stopped, ats, rows = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    places = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    order = np.argsort(keys, kind="stable")
    starts = _starts(keys[order])
    ends = np.append(starts[1:], len(order))
    totals, stops = np.add.reduceat(messages[order], starts), np.add.reduceat(stopped[order], starts)
    chosen = largest(np.arange(len(starts)), totals, _VARIANTS)
    variants = []
    for group in chosen[np.lexsort((chosen, -totals[chosen]))].tolist():
        same = order[starts[group] : ends[group]]
        newest = int(same[np.argmax(ats[same])])
        stream, block, _ = found[int(places[newest])]
        key = int(keys[newest])
        example = stream, block.head.first_seq + int(rows[newest])
        text = key.to_bytes(8, "big") if key else None
        variants.append(Variant(text, int(totals[group]), int(stops[group]), example))
    return tuple(variants), len(starts)


def _texts(block: Block, rows: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Of each text that the rows (at least one) have: key, messages, stopped; time and row of the newest message."""
    is_stopped = block.arrays["verdict"][rows] >= Verdict.HOLD
    low = np.uint64(32)
    marked = np.sort(
        block.codes("text")[rows].astype(np.uint64) << low | rows.astype(np.uint64) << np.uint64(1) | is_stopped
    )
    codes = marked >> low
    starts = _starts(codes)
    ends = np.append(starts[1:], len(marked))
    newest = (marked[ends - 1] & np.uint64(0xFFFFFFFF)) >> np.uint64(1)
    stopped = np.add.reduceat((marked & np.uint64(1)).astype(np.int64), starts)
    return block.key_values("text")[codes[starts]], ends - starts, stopped, block.at(newest), newest
