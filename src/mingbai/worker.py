"""Jobs: one loop over things that are due. No queue: what is due stands in a table, and a crash loses no job.

Each job is a function `(settings, now) -> None` with the seconds between its turns. A job that fails is logged, raises
an alarm on the system page and is tried again at its next turn; the others go on. Jobs that may take long run in a
thread of their own, so that a deadline of half a second is not behind a replay of ten million messages.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Final

from django.db import close_old_connections, connections

from mingbai.kernel.clock import utc_now
from mingbai.settings import Settings

log = logging.getLogger(__name__)

Work = Callable[[Settings, datetime], None]

_PATIENCE_S: Final = 15.0  # at the end, for all jobs together: they are begun anew when somebody starts us again


@dataclass(frozen=True, slots=True)
class Job:
    """name: as the system page shows it; is_long: may take minutes, and gets a thread of its own."""

    name: str
    every_s: float
    work: Work
    is_long: bool = False


def jobs() -> list[Job]:
    """Everything that is done without a person asking."""
    from mingbai.contexts.messaging import jobs as messaging
    from mingbai.contexts.people import jobs as people

    return [
        *(Job(name, every_s, work, is_long) for name, every_s, work, is_long in messaging.JOBS),
        *(Job(name, every_s, work, is_long) for name, every_s, work, is_long in people.JOBS),
    ]


def run_worker(settings: Settings) -> None:
    """Until SIGTERM."""
    stop = threading.Event()

    def _stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    given = jobs()
    (settings.data / "run" / JOBS_NAME).unlink(missing_ok=True)  # of a worker before this one
    threads = [
        threading.Thread(target=_loop, args=(settings, [job], stop), name=job.name, daemon=True)
        for job in given
        if job.is_long
    ]
    threads.append(
        threading.Thread(
            target=_loop, args=(settings, [job for job in given if not job.is_long], stop), name="short", daemon=True
        )
    )
    for thread in threads:
        thread.start()
    while not stop.wait(1.0):
        if not all(thread.is_alive() for thread in threads):  # a loop never returns by itself
            log.critical("a thread of the worker is gone")
            break
    stop.set()
    end = time.monotonic() + _PATIENCE_S
    for thread in threads:
        thread.join(timeout=max(0.0, end - time.monotonic()))


def _loop(settings: Settings, given: list[Job], stop: threading.Event) -> None:
    due = {job.name: 0.0 for job in given}
    while not stop.is_set():
        for job in given:
            if stop.is_set() or time.monotonic() < due[job.name]:
                continue
            note_outcome(settings, job, run_job(settings, job), utc_now())
            due[job.name] = time.monotonic() + job.every_s
        stop.wait(max(0.01, min(due.values()) - time.monotonic()))
    connections.close_all()


_failing: dict[str, dict[str, object]] = {}  # job -> since when and how often in a row
_noting = threading.Lock()
JOBS_NAME = "jobs.json"


def note_outcome(settings: Settings, job: Job, is_done: bool, now: datetime) -> None:
    """Keep DATA/run/jobs.json: the jobs that fail now, for the system page. Written when something changes."""
    with _noting:
        before = _failing.get(job.name)
        if is_done:
            if before is None:
                return
            del _failing[job.name]
        else:
            times = int(str(before["times"])) + 1 if before is not None else 1
            _failing[job.name] = {"since": before["since"] if before else now.isoformat(), "times": times}
            if times > 1 and times & (times - 1):  # the page needs no exact count
                return
        folder = settings.data / "run"
        folder.mkdir(exist_ok=True, mode=0o700)
        new = folder / f"{JOBS_NAME}.new"
        new.write_text(json.dumps(_failing), encoding="utf-8")
        new.replace(folder / JOBS_NAME)


def _place(error: BaseException) -> str:
    """File and line of ours in which it was raised."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "mingbai" in frame.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def run_job(settings: Settings, job: Job) -> bool:
    """One turn. False where it failed."""
    close_old_connections()
    try:
        job.work(settings, utc_now())
    except Exception as error:  # whatever it is, the other jobs go on
        # The words of an error may quote a message, so only its kind and place are logged.
        fields = {"job": job.name, "error": type(error).__name__, "place": _place(error)}
        log.error("a job failed and is tried again at its next turn", extra=fields)
        return False
    return True
