"""What is done about traffic without anybody asking: the index, the pulse of open pages, exceptions, the disk."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

from mingbai.connectors.ledger_index import IndexBehind, Query, disk_forecast
from mingbai.contexts.audit import queries as audit_queries
from mingbai.contexts.audit import services as audit
from mingbai.contexts.messaging.queries.traffic import index
from mingbai.contexts.messaging.services.freeing import reconcile_exceptions
from mingbai.settings import Settings

PULSE_NAME = "pulse.json"  # what `/events/` follows
DISK_NAME = "disk.json"  # the last forecast: walking the files of a large ledger takes seconds
DISK_ALARM_DAYS = 14  # time to buy a disk
_RATE_OVER = timedelta(minutes=1)


def advance_index(settings: Settings, now: datetime) -> None:
    """Index what is new; this process owns the index."""
    while index().advance(now):
        pass


def write_pulse(settings: Settings, now: datetime) -> None:
    """Tell open pages that there is something new. Nothing new writes nothing."""
    newest = index().search(Query(), limit=1).hits
    try:
        rate = sum(index().count(Query(since=now - _RATE_OVER, until=now)).values()) / _RATE_OVER.total_seconds()
    except IndexBehind:
        rate = 0.0
    pulse: dict[str, object] = {
        "seq": newest[0].seq if newest else 0,
        "stream": newest[0].stream if newest else "",
        "control": audit_queries.head()[0],
        "rate": round(rate, 1),
    }
    write_run_file(settings.data, PULSE_NAME, pulse)


def write_run_file(data_dir: Path, name: str, document: dict[str, object]) -> None:
    """Replace DATA/run/<name>: readers see the old or the new one, never half."""
    folder = data_dir / "run"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / name
    text = json.dumps(document, sort_keys=True)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def forecast_disk(settings: Settings, now: datetime) -> None:
    """Measure, and raise (or end) the alarm as an entry, once each time."""
    forecast = disk_forecast(settings.data, now)
    write_run_file(
        settings.data,
        DISK_NAME,
        {
            "at": now.isoformat(),
            "ledger_bytes": forecast.ledger_bytes + forecast.vault_bytes,
            "index_bytes": forecast.index_bytes,
            "free_bytes": forecast.free_bytes,
            "growth_per_day": forecast.growth_per_day,
            "days_left": forecast.days_left,
        },
    )
    is_low = forecast.days_left is not None and forecast.days_left < DISK_ALARM_DAYS
    last = audit_queries.entries(kinds=("disk.low", "disk.enough")).first()
    was_low = last is not None and last.kind == "disk.low"
    if is_low != was_low:
        data = {"free_bytes": forecast.free_bytes, "days_left": forecast.days_left and round(forecast.days_left, 1)}
        audit.append("disk.low" if is_low else "disk.enough", actor="job:disk", data=data, now=now)


def reconcile(settings: Settings, now: datetime) -> None:
    reconcile_exceptions(settings.data, now=now)


JOBS = [
    ("index the ledger", 0.5, advance_index, True),
    ("pulse", 1.0, write_pulse, True),
    ("exceptions", 2.0, reconcile, False),
    ("disk forecast", 300.0, forecast_disk, True),
]
