"""What is done for models without anybody asking: the shipped one is made known, what the rows say holds, runs are
carried out, the shadow's counts are gathered, drift is measured once a day.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pyarrow.compute as pc

from mingbai.connectors.long_work import LongWork, WorkFailed
from mingbai.contexts.messaging.jobs.working import work_one
from mingbai.contexts.messaging.models import ModelState, Run, RunKind, RunState, ScreeningModel, ShadowCount
from mingbai.contexts.messaging.queries import model as queries
from mingbai.contexts.messaging.services import labels
from mingbai.contexts.messaging.services import model as services
from mingbai.kernel.clock import parse_utc, utc_now
from mingbai.kernel.errors import BadValue
from mingbai.ledger import StreamReader, list_streams
from mingbai.settings import Settings

_DRIFT_EVERY = timedelta(days=1)
_DRIFT_OVER = timedelta(days=7)
_STREAM = "api"  # the screener's, which writes the shadow's counts


def keep_model_in_force(settings: Settings, now: datetime) -> None:
    """Mends what a crash between an approval and its publication leaves behind."""
    services.publish_present()


def carry_out_runs(settings: Settings, now: datetime) -> None:
    _know_shipped(settings, now)
    while work_one(settings, (RunKind.LEARN, RunKind.COMPARE, RunKind.DRIFT), _request, _keep):
        pass


_known_shipped: set[str] = set()  # data directories whose shipped model this process has seen to


def _know_shipped(settings: Settings, now: datetime) -> None:
    if str(settings.data) in _known_shipped:
        return
    services.note_shipped(describe(settings, ""), now=now)
    for version in ScreeningModel.objects.filter(facts={}).values_list("version", flat=True):
        services.keep_facts(version, describe(settings, version))
    _known_shipped.add(str(settings.data))


def describe(settings: Settings, version: str) -> Mapping[str, Any]:  # Any: JSON
    """The facts of a model, read by a process that may load the engine. Raises WorkFailed."""
    work = LongWork(settings.data, {"kind": "describe", "asked": {"version": version}})
    try:
        while True:
            news = work.wait_news(1.0)
            if news is not None and "error" in news:
                raise WorkFailed(detail=str(news["error"]))
            if news is not None and "result" in news:
                found: Mapping[str, Any] = news["result"]  # Any: JSON
                return found
    finally:
        work.close()


def _request(run: Run) -> Mapping[str, Any]:  # Any: JSON
    if run.kind == RunKind.DRIFT:
        return {}
    reviewed = [
        {"stream": one.stream, "seq": one.seq, "id": str(one.entry_id), "category": int(one.category)}
        for one in labels.for_learning()
    ]
    reviewed += [
        {"stream": one.stream, "seq": one.seq, "id": str(one.entry_id), "category": int(one.category), "is_gold": True}
        for one in queries.gold_labels()
    ]
    if not reviewed:
        raise BadValue(field="reviewed", value=0, expected="reviewed messages: none has been decided yet")
    return {"reviewed": reviewed}


def _keep(run: Run, result: Mapping[str, Any]) -> None:  # Any: JSON
    if run.kind == RunKind.LEARN:
        services.keep_candidate(run, result, now=utc_now())
    elif run.kind == RunKind.COMPARE:
        services.keep_comparison(run, result)


def measure_drift_daily(settings: Settings, now: datetime) -> None:
    """The last seven days, once a day: the page has it ready."""
    is_in_force = ScreeningModel.objects.filter(state=ModelState.IN_FORCE).exists()
    if not is_in_force or not list_streams(settings.data):
        return  # nothing to measure, or nothing to measure with, yet
    if not Run.objects.filter(kind=RunKind.DRIFT, asked_at__gte=now - _DRIFT_EVERY).exists():
        until = now.replace(minute=0, second=0, microsecond=0)
        services.ask_drift(since=until - _DRIFT_OVER, until=until, by=None, now=now)
    old = Run.objects.filter(
        kind=RunKind.DRIFT, asked_by=None, state=RunState.DONE, asked_at__lt=now - 90 * _DRIFT_EVERY
    )
    old.delete()


def gather_shadow_counts(settings: Settings, now: datetime) -> None:
    """Entries `model.shadowed` of the screener's stream, since the last one that was gathered."""
    shadow = ScreeningModel.objects.filter(is_shadow=True).first()
    last = ShadowCount.objects.filter(stream=_STREAM).order_by("-seq").first()
    if shadow is None and (last is None or last.until < now - timedelta(minutes=5)):
        return
    since = now - timedelta(days=1)
    if last is not None:
        since = max(since, last.until - timedelta(minutes=1))
    services.keep_shadow_counts(read_shadow_counts(settings, last.seq + 1 if last else 1, since))


def read_shadow_counts(settings: Settings, first_seq: int, since: datetime) -> list[ShadowCount]:
    """What the screener wrote of the shadow from an entry and a time on."""
    if _STREAM not in list_streams(settings.data):
        return []
    rows: list[ShadowCount] = []
    reader = StreamReader(settings.data, _STREAM)
    for batch in reader.entries(["seq", "kind", "data"], first_seq=first_seq, since=since):
        hits = batch.filter(pc.equal(batch.column("kind"), "model.shadowed"))
        for row in hits.to_pylist():
            data = json.loads(row["data"])
            rows.append(
                ShadowCount(
                    stream=_STREAM, seq=row["seq"], model=data["model"], shadow=data["shadow"],
                    since=parse_utc(data["from"]), until=parse_utc(data["to"]), messages=data["messages"],
                    agree=data["agree"], skipped=data["skipped"], stopped=data["stopped"], freed=data["freed"],
                )
            )  # fmt: skip
    return rows


JOBS = (
    ("keep the model in force", 1.0, keep_model_in_force, False),
    ("carry out model runs", 0.5, carry_out_runs, True),
    ("gather shadow counts", 15.0, gather_shadow_counts, True),
    ("measure drift", 600.0, measure_drift_daily, False),
)
