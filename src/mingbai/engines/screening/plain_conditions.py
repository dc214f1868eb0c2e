"""The conditions of a rule that are plain comparisons: hours, category and score.

They are arrays over rules, so that one comparison settles any number of (row, rule) pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening.rulebook import time_zone
from mingbai.engines.screening.rulebook_types import Rulebook

Bools = npt.NDArray[np.bool_]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PlainConditions:
    """Hours, category and score of every rule, as arrays over rules: checked on (row, rule) pairs at once."""

    zone: str
    hour_slots: I64  # row of `hours` for a rule that has some, else -1
    hours: Bools  # [slots, 1440] minutes of the local day
    categories: I64  # bit mask of `Category`, 0: any
    score_min: F32
    score_max: F32

    @classmethod
    def of(cls, rulebook: Rulebook) -> PlainConditions:
        rules = rulebook.rules
        timed = [index for index, rule in enumerate(rules) if rule.hours]
        slots = np.full(len(rules), -1, np.int64)
        slots[timed] = np.arange(len(timed))
        hours = np.zeros((max(len(timed), 1), 1440), np.bool_)
        for slot, index in enumerate(timed):
            for begin, end in rules[index].hours:
                minutes = np.arange(begin, end if end > begin else end + 1440) % 1440
                hours[slot, minutes] = True
        return cls(
            rulebook.time_zone,
            slots,
            hours,
            np.array([sum(1 << c for c in rule.message_category) for rule in rules], np.int64),
            # float32 like the score itself, or 0.9 would lie above a score of 0.9
            np.array([-np.inf if rule.score_min is None else rule.score_min for rule in rules], np.float32),
            np.array([np.inf if rule.score_max is None else rule.score_max for rule in rules], np.float32),
        )

    def hold(self, rows: I64, rules: I64, scores: F32, categories: U8, minutes: Callable[[], I64]) -> Bools:
        """For each (row, rule) pair whether the rule's plain conditions hold. scores, categories and
        minutes of the local day are of all rows; minutes are asked for only when a rule has hours.
        """
        score = scores[rows]
        holds: Bools = (score >= self.score_min[rules]) & (score <= self.score_max[rules])
        wanted = self.categories[rules]
        holds &= (wanted == 0) | ((wanted >> categories[rows]) & 1).astype(np.bool_)
        slots = self.hour_slots[rules]
        timed = np.flatnonzero(slots >= 0)
        if len(timed):
            holds[timed] &= self.hours[slots[timed], minutes()[rows[timed]]]
        return holds


def micros_of(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


_QUARTER_US = 15 * 60 * 1_000_000


def local_minutes(batch: pa.RecordBatch, at: datetime, zone: str) -> I64:
    """Minute of the local day of each row; a row without a time has that of `at`."""
    moment = micros_of(at)
    index = batch.schema.get_field_index("time")
    if index < 0:
        micros = np.full(batch.num_rows, moment, np.int64)
    else:
        column = batch.column(index).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
        micros = column.fill_null(moment).to_numpy(zero_copy_only=False)
    # Zones change their offset at whole quarters of an hour, so one look-up a quarter is enough.
    quarters, inverse = np.unique(micros // _QUARTER_US, return_inverse=True)
    offsets = np.fromiter((_offset_minutes(int(q), zone) for q in quarters), np.int64, len(quarters))
    minutes: I64 = (micros // 60_000_000 + offsets[inverse]) % 1440
    return minutes


@lru_cache(1 << 12)
def _offset_minutes(quarter: int, zone: str) -> int:
    """Offset of the zone from UTC in a quarter of an hour since 1970; beyond the calendar that of its ends."""
    seconds = min(max(quarter * 900, -62_000_000_000), 253_000_000_000)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    offset = moment.astimezone(time_zone(zone)).utcoffset()
    return int(offset.total_seconds() // 60) if offset is not None else 0
