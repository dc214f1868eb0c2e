"""How the screener does: messages and latency of the last minute, and what is wrong.

Latencies are counted in bins that grow by an eighth, so a percentile is right to about 6 %, which is enough to see
whether something is slow; the benchmark measures exactly.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from mingbai.kernel.clock import format_utc

WINDOW_S: Final = 60
_GROWTH: Final = math.log(1.125)
_FLOOR_MS: Final = 0.05
_BINS: Final = 112  # up to 24 s


class Meter:
    """Counts per second, kept for a minute. Thread-safe. Times are seconds of one monotonic clock."""

    def __init__(self, started: float) -> None:
        self.messages = 0
        self._started = started
        self._lock = threading.Lock()
        self._seconds = np.full(WINDOW_S, -1, np.int64)
        self._rows = np.zeros(WINDOW_S, np.int64)
        self._bins = np.zeros((WINDOW_S, _BINS), np.int64)

    def add(self, at: float, rows: int, latency_s: float) -> None:
        """One request of `rows` messages was answered."""
        second = int(at)
        place = second % WINDOW_S
        milliseconds = max(latency_s * 1000, _FLOOR_MS)
        number = min(int(math.log(milliseconds / _FLOOR_MS) / _GROWTH), _BINS - 1)
        with self._lock:
            if self._seconds[place] != second:
                self._seconds[place], self._rows[place] = second, 0
                self._bins[place] = 0
            self._rows[place] += rows
            self._bins[place, number] += rows
            self.messages += rows

    def rate_per_s(self, now: float) -> float:
        """Messages a second over the last minute, or since the start if that is less."""
        with self._lock:
            rows = int(self._rows[self._recent(now)].sum())
        return rows / max(1.0, min(WINDOW_S, now - self._started))

    def latency_ms(self, now: float, share: float) -> float | None:
        """The latency that this share (0..1) of the last minute's messages did not exceed; None without any."""
        with self._lock:
            bins = self._bins[self._recent(now)].sum(axis=0)
        total = int(bins.sum())
        if total == 0:
            return None
        number = int(np.searchsorted(np.cumsum(bins), max(1, math.ceil(share * total))))
        return round(_FLOOR_MS * math.exp(_GROWTH * (number + 1)), 3)

    def _recent(self, now: float) -> np.ndarray:
        return (self._seconds > int(now) - WINDOW_S) & (self._seconds <= int(now))


class Rate:
    """How fast a counter grows, from samples about a second apart: the last few seconds count most."""

    __slots__ = ("_at", "_count", "per_s")

    def __init__(self) -> None:
        self._at, self._count, self.per_s = 0.0, 0, 0.0

    def sample(self, count: int, now: float) -> None:
        """now: of one monotonic clock."""
        if self._at and now > self._at:
            self.per_s += 0.5 * ((count - self._count) / (now - self._at) - self.per_s)
            if self.per_s < 0.05:
                self.per_s = 0.0
        self._at, self._count = now, count


@dataclass(slots=True)
class _Alarm:
    since: datetime
    last: datetime
    count: int
    detail: str


class Alarms:
    """What is wrong at this moment, by code. Thread-safe.

    An alarm stands until it is cleared; one that nobody clears fades when it was not raised again for `FADE`.
    """

    FADE: Final = timedelta(minutes=10)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alarms: dict[str, _Alarm] = {}

    def raise_(self, code: str, detail: str, now: datetime, *, count: int = 1) -> None:
        with self._lock:
            known = self._alarms.setdefault(code, _Alarm(now, now, 0, detail))
            known.last, known.detail = now, detail
            known.count += count

    def __contains__(self, code: object) -> bool:
        return code in self._alarms

    def clear(self, code: str) -> None:
        with self._lock:
            self._alarms.pop(code, None)

    def documents(self, now: datetime) -> list[dict[str, object]]:
        """The alarms as JSON, the oldest first."""
        with self._lock:
            for code in [code for code, alarm in self._alarms.items() if now - alarm.last > self.FADE]:
                del self._alarms[code]
            return [
                {
                    "code": code,
                    "since": format_utc(alarm.since),
                    "last": format_utc(alarm.last),
                    "count": alarm.count,
                    "detail": alarm.detail,
                }
                for code, alarm in sorted(self._alarms.items(), key=lambda item: item[1].since)
            ]
