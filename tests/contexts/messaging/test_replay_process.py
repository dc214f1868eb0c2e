"""Replays by the real worker of `mingbai serve`: cancelled in the midst, and begun again after a kill -9."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks import _reviewers as desk
from mingbai.connectors.long_work import WORK
from mingbai.contexts.messaging.models import RunKind
from mingbai.kernel.verdicts import Verdict
from mingbai.ledger import FileKeys, KeyStore, Ledger
from tests.contexts.messaging.review_ledger import RETENTION, Sms, batch_of

COMMITS, ROWS = 30, 20_000  # so many that a replay takes seconds

# Asks for a replay, waits until it is in the midst, does something about it, and waits for its end. One process: what
# starts Python anew for each look misses the midst.
_SCRIPT = """
import json, os, signal, sys, time
from datetime import timedelta
from pathlib import Path
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.messaging.models import Run, RunKind
from mingbai.contexts.messaging.services import rulebook, runs
from mingbai.contexts.people.services.accounts import create_account
from mingbai.kernel.clock import utc_now

what, parts = sys.argv[1], Path(sys.argv[2])
now = utc_now()
author = create_account(f"author-{what}", actor="system", now=now)
asked = {"since": (now - timedelta(days=1)).isoformat(), "until": now.isoformat(), "against": "record"}
version = rulebook.ensure_first(now=now)
run = runs.ask(RunKind.REPLAY_RULES, subject=f"rulebook:{version.pk}", asked=asked, now=now, by=author.pk)

def wait(claim, seconds=200):
    end = time.monotonic() + seconds
    while True:
        run.refresh_from_db()
        if claim(run):
            return
        assert time.monotonic() < end, (run.state, run.attempt, run.done, run.total, run.error)
        time.sleep(0.02)

def worker():
    return json.loads(parts.read_text())["worker"]

wait(lambda run: run.state == "running" and 0 < run.done < run.total)
at, done, killed = time.monotonic(), run.done, None
if what == "cancel":
    runs.cancel(run.pk, by=author.pk, now=utc_now())
else:
    killed = worker()
    os.kill(killed, signal.SIGKILL)
wait(lambda run: not run.is_open)
print(json.dumps({
    "state": run.state, "attempt": run.attempt, "done": done, "total": run.total, "result": run.result,
    "error": run.error, "seconds": time.monotonic() - at, "is_other_worker": killed != worker(),
    "kinds": sorted(entry.kind for entry in audit.entries(kinds=["run."]) if entry.data["run"] == str(run.pk)),
}))
"""


def test_each_kind_of_run_is_carried_out_by_something() -> None:
    assert set(RunKind.values) <= WORK.keys()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[desk.Serve]:
    rows = [Sms(f"第{n}条通知：您的包裹 {n * 7919} 已到，请到 {n % 97} 号柜取件", Verdict.BLOCK) for n in range(ROWS)]
    batch, now = batch_of(rows), datetime.now(UTC)
    keys = KeyStore.open_or_create(FileKeys(tmp_path / "keys.json"))
    with Ledger.open(tmp_path, stream="api", keys=keys, now=now, retention=RETENTION) as ledger:
        for _ in range(COMMITS):
            ledger.record(batch, now=now)
    with desk.Serve(tmp_path, os.environ.get("MINGBAI_TEST_DATABASE_URL", "")) as running:
        yield running


def replay(server: desk.Serve, what: str) -> dict[str, Any]:
    found: dict[str, Any] = server.django(_SCRIPT, what, str(server.data / "run" / "parts.json"))
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_replay_in_the_midst_is_cancelled_and_one_whose_worker_was_killed_is_begun_again(server: desk.Serve) -> None:
    cancelled = replay(server, "cancel")
    assert (cancelled["state"], cancelled["attempt"], cancelled["error"]) == ("cancelled", 1, "")
    assert cancelled["seconds"] < 10
    assert cancelled["result"]["is_cancelled"]
    assert cancelled["result"]["answered"] < COMMITS * ROWS
    assert cancelled["kinds"] == ["run.asked", "run.cancelled", "run.finished"]

    killed = replay(server, "kill")
    assert (killed["state"], killed["attempt"], killed["error"]) == ("done", 2, "")
    assert killed["is_other_worker"]
    assert killed["result"]["answered"] == COMMITS * ROWS, "nothing of what the first attempt found is in it"
    assert killed["kinds"] == ["run.asked", "run.finished"]
