"""Replays of a draft over recorded traffic: in a process of their own, watched, cancelled, begun again after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from django.conf import settings
from django.test import Client

from mingbai.connectors.long_work import LongWork, WorkFailed
from mingbai.connectors.screening_client import ScreeningClient
from mingbai.contexts.messaging.jobs.rulebook import carry_out_replays
from mingbai.contexts.messaging.models import RulebookVersion, Run, RunKind, RunState
from mingbai.contexts.messaging.services import runs
from mingbai.kernel.clock import utc_now
from tests.contexts.messaging.screener_process import running_screener, until
from tests.contexts.messaging.test_rulebook import LURE, RULE, begin, form_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]
Clients = Callable[..., Client]
HOME = "晚上七点回家吃饭，妈妈做了鱼"


@pytest.fixture
def recorded(data_dir: Path) -> Iterator[ScreeningClient]:
    """A screener that has decided thirty messages, ten of them the lure."""
    with running_screener(data_dir) as client:
        client.screen(pa.record_batch({"text": [LURE, HOME, f"{HOME}。"] * 10}))
        yield client


def asked(draft: RulebookVersion) -> Run:
    run = Run.objects.get(subject=draft.ref)
    assert run.kind == RunKind.REPLAY_RULES
    return run


def test_a_replay_lists_what_would_be_newly_stopped(recorded: ScreeningClient, client_for: Clients) -> None:
    author, approver = client_for("rule_author"), client_for("rule_approver")
    draft = begin(author)
    answer = author.post(f"/rulebook/{draft.pk}/replay/", form_of(draft, draft.text + RULE) | {"days": "1"})
    assert answer.status_code == 302
    run = asked(draft)
    assert "Waiting for its turn" in author.get(answer.url).content.decode()  # type: ignore[attr-defined]  # a redirect
    again = author.post(f"/rulebook/{draft.pk}/replay/", {"days": "1"})
    assert again.url == answer.url or Run.objects.count() == 2  # type: ignore[attr-defined]  # the minute may have passed

    carry_out_replays(settings.MINGBAI, utc_now())
    run.refresh_from_db()
    assert (run.state, run.error) == (RunState.DONE, "")
    assert run.result is not None
    assert run.result["answered"] == 30
    assert (run.result["blocked"]["count"], run.result["freed"]["count"]) == (10, 0)
    assert run.result["blocked"]["rules"]["fraud.blue-elephant"] == 10
    assert LURE not in str(run.result)  # texts stay in the ledger
    page = approver.get(f"/rulebook/replays/{run.pk}/").content.decode()
    assert "蓝色大象" in page and "fraud.blue-elephant" in page
    assert page.count("/messages/") >= 10
    assert "蓝色大象兑换码已经" not in client_for("branch_manager").get(f"/rulebook/replays/{run.pk}/").content.decode()
    draft.refresh_from_db()
    kept = author.get(f"/rulebook/{draft.pk}/").content.decode()
    assert "10 newly stopped" in kept  # and stays with the draft


def test_a_cancelled_replay_does_not_begin(data_dir: Path, client_for: Clients) -> None:
    author = client_for("rule_author")
    draft = begin(author)
    author.post(f"/rulebook/{draft.pk}/replay/", {"days": "1"})
    run = asked(draft)
    author.post(f"/rulebook/replays/{run.pk}/cancel/")
    carry_out_replays(settings.MINGBAI, utc_now())
    run.refresh_from_db()
    assert (run.state, run.result) == (RunState.CANCELLED, None)
    assert "cancelled before it began" in author.get(f"/rulebook/replays/{run.pk}/").content.decode()


def test_a_run_whose_worker_was_killed_is_begun_again_and_fails_after_three_times(data_dir: Path) -> None:
    now = utc_now()
    run = runs.ask(RunKind.REPLAY_RULES, subject="rulebook:x", asked={}, now=now, by=None)
    for attempt in (1, 2, 3):
        taken = runs.take((RunKind.REPLAY_RULES,), now=now)
        assert taken is not None and (taken.pk, taken.attempt) == (run.pk, attempt)
        assert runs.take((RunKind.REPLAY_RULES,), now=now) is None  # nobody else gets it
        late = taken
        now += runs.STALE_AFTER + timedelta(seconds=1)  # no heartbeat: whoever had it is gone
    assert runs.take((RunKind.REPLAY_RULES,), now=now) is None
    run.refresh_from_db()
    assert run.state == RunState.FAILED
    # A process that only seemed dead has nothing to say any more.
    assert not runs.finish(late, {"answered": 1}, now=now, is_cancelled=False)
    assert runs.beat(late, now=now, done=1, total=2, found={}) is None


def test_a_killed_process_fails_its_run_and_one_that_lost_its_master_ends(data_dir: Path) -> None:
    work = LongWork(data_dir, {"kind": "describe", "asked": {"version": ""}})
    os.kill(work.pid, signal.SIGKILL)
    with pytest.raises(WorkFailed):
        _until_its_end(work)
    work.close()
    code = (
        "import sys, time; from pathlib import Path; from mingbai.connectors.long_work import LongWork; "
        "w = LongWork(Path(sys.argv[1]), {'kind': 'sleep', 'asked': {}}); print(w.pid, flush=True); time.sleep(60)"
    )
    master = subprocess.Popen([sys.executable, "-c", code, str(data_dir)], stdout=subprocess.PIPE, text=True)
    assert master.stdout is not None
    child = int(master.stdout.readline())
    master.kill()
    master.wait()
    master.stdout.close()
    until(lambda: not _is_running(child), "the child ends")


def _until_its_end(work: LongWork) -> None:
    while True:
        work.wait_news(1.0)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
