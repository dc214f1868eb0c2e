"""What the overview says: counts of a window beside the window before, and the health of the parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from mingbai.connectors.ledger_index import EVERYTHING, Overview, Query, Scope
from mingbai.connectors.screening_client import ScreenerUnavailable
from mingbai.contexts.messaging.models import Freed
from mingbai.contexts.messaging.queries.traffic import index, installed_settings, status_client
from mingbai.kernel.errors import MingbaiError
from mingbai.kernel.verdicts import Category, Verdict

SPANS = ("hour", "today", "day", "month")
UNWANTED = (Category.ADVERTISING, Category.FRAUD, Category.ILLEGAL_TRADE)


@dataclass(frozen=True, slots=True)
class Window:
    since: datetime
    until: datetime
    step_s: int


def window(span: str, now: datetime) -> Window:
    """since, until and the step of the series. Days and hours begin as clocks in the console's time zone do."""
    local = timezone.localtime(now)
    minute = local.replace(second=0, microsecond=0)
    until = minute + timedelta(minutes=1)
    if span == "hour":
        return Window(until - timedelta(hours=1), until, 60)
    if span == "today":
        since = local.replace(hour=0, minute=0, second=0, microsecond=0)
        step = 300 if until - since <= timedelta(hours=6) else 1800
        return Window(since, until, step)
    if span == "month":
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        return Window(midnight - timedelta(days=29), until, 86_400)
    hour = minute.replace(minute=0)
    return Window(hour - timedelta(hours=23), until, 3600)


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of a window and of the one before of the same length (None: nothing was recorded then)."""

    now: Overview
    before: dict[Verdict, int] | None
    freed: int  # messages of a stop that a person undid in the window

    @property
    def stopped(self) -> int:
        return stopped_of(self.now.verdicts)

    @property
    def stopped_share(self) -> float | None:
        return self.stopped / self.now.messages if self.now.messages else None

    @property
    def change(self) -> float | None:
        """Of the number of messages, as a share of before."""
        messages = sum((self.before or {}).values())
        return self.now.messages / messages - 1 if messages else None

    @property
    def stopped_change(self) -> float | None:
        before = stopped_of(self.before) if self.before is not None else 0
        return self.stopped / before - 1 if before else None


def stopped_of(verdicts: Mapping[Verdict, int]) -> int:
    return verdicts[Verdict.HOLD] + verdicts[Verdict.BLOCK]


def summary(span: str, scope: Scope, now: datetime) -> Summary:
    """Raises IndexBehind while a long ledger is indexed for the first time."""
    chosen = window(span, now)
    counts = index().overview(chosen.since, chosen.until, scope, step_s=chosen.step_s)
    length = now - chosen.since
    earlier = timedelta(days=1) if span == "today" else length
    before = index().count(Query(since=chosen.since - earlier, until=now - earlier), scope)
    return Summary(counts, before if any(before.values()) else None, freed_count(chosen.since, chosen.until, scope))


def freed_count(since: datetime, until: datetime, scope: Scope = EVERYTHING) -> int:
    """Messages that were held or blocked and that a person freed."""
    rows = Freed.objects.filter(created_at__gte=since, created_at__lt=until, verdict__gte=int(Verdict.HOLD))
    if scope.is_everything:
        return rows.count()
    prefixes = scope.access_codes or ()
    codes = rows.values_list("access_code", flat=True)
    return sum(1 for code in codes if code and code.startswith(tuple(prefixes)))


def screener_status() -> dict[str, Any] | None:  # Any: JSON, see ScreeningClient.status
    """What the screener says about itself; None: it does not answer."""
    try:
        found: dict[str, Any] = status_client().status()  # Any: as above
    except (ScreenerUnavailable, MingbaiError, OSError):
        return None
    return found


def disk() -> dict[str, Any] | None:  # Any: JSON of the job
    """The worker's last forecast; None before the first."""
    try:
        text = (installed_settings().data / "run" / "disk.json").read_text(encoding="utf-8")
        found: dict[str, Any] = json.loads(text)  # Any: as above
    except (OSError, ValueError):
        return None
    return found
