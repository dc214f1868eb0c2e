"""Numbers that begin with the time and never repeat: message ids of CMPP and SMGP, sequences of SGIP.

Each protocol gives so many numbers to a unit of time. When a unit is used up the next one is borrowed from the future,
and when the clock goes back the numbers do not: they run on from the last one. So a number repeats only after a year,
for none of them holds the year. Who restarts says which number was the last (or a later one).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from mingbai.kernel.errors import BadValue


class Serials:
    """unit: what the time is cut to, a second or a minute; capacity: numbers in each; after: the last one given out."""

    __slots__ = ("_capacity", "_counter", "_moment", "_unit", "_until")

    @classmethod
    def resumed(
        cls, unit: timedelta, capacity: int, now: datetime | None, time: Sequence[int], counter: int
    ) -> Serials:
        """After the last number that was given out before a restart. time: month, day, hour, minute, and second.

        Raises BadValue without `now`, from which the year is known.
        """
        if now is None:
            raise BadValue(field="now", value=None, expected="a time, to know the year of the last id")
        month, day, hour, minute, second = (*time, 0)[:5]
        return cls(unit, capacity, (with_year(now, month, day, hour, minute, second), counter))

    def __init__(self, unit: timedelta, capacity: int, after: tuple[datetime, int] | None = None) -> None:
        self._unit, self._capacity = unit, capacity
        self._moment: datetime | None = None
        self._until: datetime | None = None
        self._counter = 0
        if after is not None:
            self._moment, self._counter = after
            self._until = self._moment + unit

    def next(self, now: datetime) -> tuple[datetime, int]:
        """The beginning of a unit of time, as `now` tells it (its zone is the caller's choice), and a number in it."""
        if self._until is None or now >= self._until:
            second = 0 if self._unit > timedelta(seconds=1) else now.second
            self._begin(now.replace(second=second, microsecond=0))
        else:
            self._counter += 1
            if self._counter >= self._capacity:
                self._begin(self._until)
        assert self._moment is not None
        return self._moment, self._counter

    def _begin(self, moment: datetime) -> None:
        self._moment, self._until, self._counter = moment, moment + self._unit, 0


def with_year(now: datetime, month: int, day: int, hour: int, minute: int, second: int = 0) -> datetime:
    """The moment nearest to `now`, in its zone, that a time without a year can mean. Raises BadValue if none can."""
    found = []
    for year in (now.year - 1, now.year, now.year + 1):
        try:
            found.append(now.replace(year, month, day, hour, minute, second, microsecond=0))
        except ValueError:  # no such day, in this year at least
            pass
    if not found:
        said = f"{month:02}{day:02}{hour:02}{minute:02}{second:02}"
        raise BadValue(field="time", value=said, expected="month, day, hour, minute and second of a day that exists")
    return min(found, key=lambda moment: abs(moment - now))


def stamp(moment: datetime) -> int:
    """MMDDHHMMSS as a number, as three of the protocols write the time: no year, no zone (the caller chooses it)."""
    return (((moment.month * 100 + moment.day) * 100 + moment.hour) * 100 + moment.minute) * 100 + moment.second


def parts_of_stamp(stamped: int) -> list[int]:
    """Month, day, hour, minute and second of a `stamp`, whether or not there is such a time."""
    return [stamped // 100**place % 100 for place in (4, 3, 2, 1, 0)]
