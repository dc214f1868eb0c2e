"""Long computations: asked for, taken by the worker, kept alive by a heartbeat, cancelled, done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from mingbai.contexts.audit import services as audit
from mingbai.contexts.messaging.models import Run, RunState

STALE_AFTER = timedelta(seconds=20)  # a heartbeat comes each second; a disk that stalls takes a few
MAX_ATTEMPTS = 3


def ask(
    kind: str, *, subject: str, asked: Mapping[str, Any], now: datetime, by: UUID | None, actor: str = ""
) -> Run:  # Any: JSON
    """Put a run in the queue. One that is still open and asks the same is given back instead."""
    with transaction.atomic():
        for open_one in Run.objects.select_for_update().filter(kind=kind, subject=subject, state__in=Run.OPEN):
            if open_one.asked == dict(asked) and not open_one.is_cancel_asked:
                return open_one
        run = Run.objects.create(kind=kind, subject=subject, asked=dict(asked), asked_by=by, asked_at=now)
        if by is not None:
            data = {"run": str(run.pk), "kind": kind, "asked": dict(asked)}
            audit.append("run.asked", actor=actor or f"account:{by}", subject=subject, data=data, now=now)
    return run


def cancel(id: UUID, *, by: UUID, now: datetime, actor: str = "") -> Run:
    """A run that waits is off at once; one that runs stops within a second and keeps what it found."""
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=id)
        if not run.is_open or run.is_cancel_asked:
            return run
        run.is_cancel_asked = True
        if run.state == RunState.QUEUED:
            run.state, run.finished_at = RunState.CANCELLED, now
        run.save(update_fields=("is_cancel_asked", "state", "finished_at"))
        data = {"run": str(run.pk), "kind": run.kind}
        audit.append("run.cancelled", actor=actor or f"account:{by}", subject=run.subject, data=data, now=now)
    return run


def take(kinds: Sequence[str], *, now: datetime) -> Run | None:
    """The run that is due next, ours now. A run whose heartbeat stopped is due again; too often, and it has failed."""
    stale = Run.objects.filter(kind__in=kinds, state=RunState.RUNNING, heartbeat_at__lt=now - STALE_AFTER)
    stale.filter(attempt__gte=MAX_ATTEMPTS).update(
        state=RunState.FAILED, finished_at=now, error=f"it ended without a word {MAX_ATTEMPTS} times"
    )
    stale.filter(is_cancel_asked=True).update(state=RunState.CANCELLED, finished_at=now)
    stale.update(state=RunState.QUEUED)
    for run in Run.objects.filter(kind__in=kinds, state=RunState.QUEUED).order_by("asked_at", "id")[:5]:
        changed = Run.objects.filter(pk=run.pk, state=RunState.QUEUED).update(
            state=RunState.RUNNING,
            heartbeat_at=now,
            started_at=now,
            attempt=run.attempt + 1,
            done=0,
            total=0,
            found={},
        )
        if changed:
            run.refresh_from_db()
            return run
    return None


def beat(run: Run, *, now: datetime, done: int, total: int, found: Mapping[str, Any]) -> bool | None:  # Any: JSON
    """Say that a run goes on. False: somebody cancelled it, and it should stop. None: it is no longer ours."""
    ours = Run.objects.filter(pk=run.pk, state=RunState.RUNNING, attempt=run.attempt)
    if not ours.update(heartbeat_at=now, done=done, total=total, found=dict(found)):
        return None
    return not ours.filter(is_cancel_asked=True).exists()


def finish(run: Run, result: Mapping[str, Any] | None, *, now: datetime, is_cancelled: bool, error: str = "") -> bool:
    """Keep what a run found. False where it is no longer ours: another process had taken it. Any: JSON."""
    state = RunState.FAILED if error else RunState.CANCELLED if is_cancelled else RunState.DONE
    with transaction.atomic():
        changed = Run.objects.filter(pk=run.pk, state=RunState.RUNNING, attempt=run.attempt).update(
            state=state, result=None if result is None else dict(result), finished_at=now, error=error[:500]
        )
        if changed and run.asked_by is not None:
            data = {"run": str(run.pk), "kind": run.kind, "state": str(state)}
            audit.append("run.finished", actor="job:runs", subject=run.subject, data=data, now=now)
    return bool(changed)
