"""How long the disk lasts: what the ledger and its index take, and how fast they grow."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from mingbai.kernel.clock import as_utc

_DAYS = 7  # a week has its Sunday


@dataclass(frozen=True, slots=True)
class DiskForecast:
    """Bytes, and days. growth_per_day: of the last whole days (at most seven), None before the first whole day is over;
    vault and index are counted with it. days_left: until the disk is full at that rate; None: not known, or no growth.
    """

    ledger_bytes: int  # entries, open and sealed
    vault_bytes: int  # ciphertext of sealed segments: goes when its time is over
    index_bytes: int
    growth_per_day: int | None
    days_measured: int
    disk_bytes: int
    free_bytes: int
    days_left: float | None


def disk_forecast(data_dir: Path | str, now: datetime) -> DiskForecast:
    """Measure the folder and look ahead. Raises OSError if the folder's disk cannot be asked."""
    root = Path(data_dir)
    today = as_utc(now).date()
    totals = {"ledger": 0, "vault": 0, "index": 0}
    by_day: dict[date, int] = {}
    for kind, size, day in _files(root):
        totals[kind] += size
        if kind != "index":  # merging gives old blocks new dates; its share is added below
            by_day[day] = by_day.get(day, 0) + size
    usage = shutil.disk_usage(root)
    days = [today - timedelta(days=back) for back in range(1, _DAYS + 1)]
    first = min(by_day, default=today)
    measured = [day for day in days if day >= first]
    growth = None
    if measured:
        kept = totals["ledger"] + totals["vault"]
        share = 1 + totals["index"] / kept if kept else 1.0
        growth = round(sum(by_day.get(day, 0) for day in measured) * share / len(measured))
    return DiskForecast(
        ledger_bytes=totals["ledger"],
        vault_bytes=totals["vault"],
        index_bytes=totals["index"],
        growth_per_day=growth,
        days_measured=len(measured),
        disk_bytes=usage.total,
        free_bytes=usage.free,
        days_left=usage.free / growth if growth else None,
    )


def _files(root: Path) -> Iterator[tuple[str, int, date]]:
    for base, kind in ((root / "ledger", "ledger"), (root / "index", "index")):
        for folder, _, names in os.walk(base):
            is_vault = kind == "ledger" and f"{os.sep}vault" in folder[len(str(base)) :]
            for name in names:
                try:
                    stat = os.stat(os.path.join(folder, name))
                except FileNotFoundError:  # sealed, merged or expired since the listing
                    continue
                day = datetime.fromtimestamp(stat.st_mtime, UTC).date()
                yield "vault" if is_vault else kind, stat.st_size, day
