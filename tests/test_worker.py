"""The worker's loop: a job that fails is tried again, said on the system page, and does not hold up the others."""

from __future__ import annotations

import json
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from mingbai import worker
from mingbai.settings import Settings
from mingbai.worker import Job

pytestmark = pytest.mark.django_db


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path)


def test_a_failing_job_is_noted_until_it_works_again(settings: Settings) -> None:
    fails = [True]

    def work(_: Settings, now: datetime) -> None:
        if fails[0]:
            raise OSError("a message that must not be logged")

    job, path = Job("test job", 1.0, work), settings.data / "run" / "jobs.json"
    from mingbai.kernel.clock import utc_now

    for _ in range(3):
        worker.note_outcome(settings, job, worker.run_job(settings, job), utc_now())
    assert list(json.loads(path.read_text())) == ["test job"]
    fails[0] = False
    worker.note_outcome(settings, job, worker.run_job(settings, job), utc_now())
    assert json.loads(path.read_text()) == {}


def test_the_words_of_an_error_are_not_logged(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    def work(_: Settings, now: datetime) -> None:
        raise ValueError("text of a message")

    assert not worker.run_job(settings, Job("test job", 1.0, work))
    assert "text of a message" not in caplog.text
    assert caplog.records[0].error == "ValueError"  # type: ignore[attr-defined]  # a field of the record


def test_other_jobs_go_on_beside_one_that_fails(settings: Settings) -> None:
    stop, turns = threading.Event(), {"good": 0, "bad": 0}

    def good(_: Settings, now: datetime) -> None:
        turns["good"] += 1

    def bad(_: Settings, now: datetime) -> None:
        turns["bad"] += 1
        raise RuntimeError

    jobs = [Job("bad", 0.01, bad), Job("good", 0.01, good)]
    thread = threading.Thread(target=worker._loop, args=(settings, jobs, stop))
    thread.start()
    while min(turns.values()) < 3:
        time.sleep(0.01)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_every_job_has_a_name_of_its_own() -> None:
    names = [job.name for job in worker.jobs()]
    assert len(names) == len(set(names))
    from mingbai.contexts.people.views.system import JOBS  # here: it needs Django to be set up

    assert set(names) == set(JOBS)  # what the system page calls them
