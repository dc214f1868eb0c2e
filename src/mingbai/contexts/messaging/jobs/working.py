"""How the worker carries out runs: each in a process of its own, watched by a heartbeat a second.

What a run needs from the database (a rulebook's text, labels) is read here and handed over; what it found comes back
and is kept with the row. Killed at any moment, the worker leaves a row whose heartbeat stops, and the process it had
started ends because its input does; the next worker begins the run again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mingbai.connectors.long_work import LongWork, WorkFailed
from mingbai.contexts.messaging.models import Run
from mingbai.contexts.messaging.services import runs
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import MingbaiError
from mingbai.settings import Settings

log = logging.getLogger(__name__)

Request = Callable[[Run], Mapping[str, Any]]  # Any: JSON
Keep = Callable[[Run, Mapping[str, Any]], None]
_BEAT_S = 1.0


def work_one(settings: Settings, kinds: Sequence[str], request: Request, keep: Keep | None = None) -> bool:
    """Take the run that is due and carry it to its end. False: none was due.

    request: what a run is given beside its kind and what was asked. keep: called with the result of one that is done,
    before the row says so; called again after a crash, so it does the same twice.
    """
    run = runs.take(kinds, now=utc_now())
    if run is None:
        return False
    try:
        given = {"kind": run.kind, "asked": run.asked, **request(run)}
    except MingbaiError as error:
        runs.finish(run, None, now=utc_now(), is_cancelled=False, error=str(error))
        return True
    work = LongWork(settings.data, given)
    try:
        _follow(run, work, keep)
    except WorkFailed as error:
        runs.finish(run, None, now=utc_now(), is_cancelled=False, error=str(error))
    finally:
        work.close()
    return True


def _follow(run: Run, work: LongWork, keep: Keep | None) -> None:
    done, total, found = 0, 0, {}
    is_stopping = False
    while True:
        news = work.wait_news(_BEAT_S)
        if news is not None and "error" in news:
            runs.finish(run, None, now=utc_now(), is_cancelled=is_stopping, error=str(news["error"]))
            return
        if news is not None and "result" in news:
            is_cancelled = bool(news.get("is_cancelled"))
            if keep is not None and not is_cancelled:
                keep(run, news["result"])
            runs.finish(run, news["result"], now=utc_now(), is_cancelled=is_cancelled)
            return
        if news is not None:
            found = {key: value for key, value in news["progress"].items() if key not in ("done", "total")}
            done, total = news["progress"].get("done", done), news["progress"].get("total", total)
        goes_on = runs.beat(run, now=utc_now(), done=done, total=total, found=found)
        if goes_on is None:  # another process took it: this one has nothing to say
            return
        if not goes_on and not is_stopping:
            is_stopping = True
            work.stop()
