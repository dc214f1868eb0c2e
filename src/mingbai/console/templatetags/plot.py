"""Where things of a chart stand: ticks, labels, points. Pure arithmetic; `charts` makes the SVG of it.

A plot is 100 wide and 100 high, y downwards as in SVG. Labels of the axes are few: a person reads three or four.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from mingbai.kernel.errors import BadValue

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)  # what people count in


def y_ticks(top: float, intervals: int = 4, whole: bool = False) -> list[float]:
    """Evenly spaced ticks from 0 to at least `top`, at most `intervals` steps of a round size."""
    if top <= 0:
        return [0.0, 1.0]
    raw = top / intervals
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in _STEPS if size * factor >= raw * (1 - 1e-9))
    if whole:
        step = max(1.0, math.ceil(step))
    count = max(1, math.ceil(top / step - 1e-9))
    return [step * n for n in range(count + 1)]


def x_ticks(count: int, most: int = 5) -> list[int]:
    """Which of `count` positions carry a label: evenly spaced, from the first."""
    if count <= most:
        return list(range(count))
    step = math.ceil((count - 1) / (most - 1))
    return list(range(0, count, step))


def x_words(labels: Sequence[object]) -> list[str]:
    """Labels as text. Times are local: the hour within two days, the date beyond, both where they are needed."""
    moments = [label for label in labels if isinstance(label, datetime)]
    if len(moments) != len(labels) or not moments:
        return [str(label) for label in labels]
    reach = max(moments) - min(moments)
    step = reach / max(1, len(moments) - 1)
    if reach <= timedelta(minutes=10):
        form = "%H:%M:%S"
    elif reach <= timedelta(days=1):
        form = "%H:%M"
    elif step >= timedelta(days=1):
        form = "%m-%d"
    else:
        form = "%m-%d %H:%M"
    return [timezone.localtime(moment).strftime(form) for moment in moments]


def points(values: Sequence[float | None], top: float) -> list[list[tuple[float, float]]]:
    """Runs of (x, y) without gaps: a None ends a run. One value stands in the middle."""
    runs: list[list[tuple[float, float]]] = [[]]
    last = max(1, len(values) - 1)
    for i, value in enumerate(values):
        if value is None:
            runs.append([])
            continue
        x = 50.0 if len(values) == 1 else i * 100 / last
        runs[-1].append((round(x, 2), round(100 - value * 100 / top, 2)))
    return [run for run in runs if run]


def same_length(field: str, values: Sequence[object], labels: Sequence[object]) -> None:
    """Raises BadValue where a series has not one value for each label."""
    if len(values) != len(labels):
        raise BadValue(field=field, value=len(values), expected=f"{len(labels)} values, one for each label")
