"""kill -9 of any process while people work at the review desk: nothing is given twice, nothing acknowledged is lost.

Real processes of `mingbai serve`, real HTTP, a real ledger that goes on growing. A tenth of it in `dev.py test`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks import _reviewers as desk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
REVIEWERS = 50
MESSAGES = 3000
KILLS = 60  # of the whole loop
PARTS = ("web", "worker", "screener")


def test_killing_any_process_while_people_review_loses_nothing(
    tmp_path: Path, loops: Callable[[int], int], seed: int
) -> None:
    rng = random.Random(seed)
    kills = loops(KILLS)
    database_url = os.environ.get("MINGBAI_TEST_DATABASE_URL", "")
    with desk.Serve(tmp_path, database_url) as server:
        sessions = desk.people(server, REVIEWERS)
        desk.write_ledger(tmp_path, MESSAGES)
        log = desk.Log()

        async def killer() -> None:
            for number in range(kills):
                await asyncio.sleep(1.0 + 2.0 * rng.random())
                # Each part in turn, so that the tenth of the loop kills each of them too.
                pid = server.pids().get(PARTS[number % len(PARTS)])
                if pid is not None:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                if number % 10 == 5:
                    stream = f"more{number}"
                    await asyncio.to_thread(desk.write_ledger, tmp_path, 300, stream=stream, seed=number)

        async def work_for(seconds: float) -> None:
            end = time.monotonic() + seconds
            work = [
                desk.Reviewer(number, server.port, session, log, pause_s=0.7).work(end)
                for number, session in enumerate(sessions)
            ]
            await asyncio.gather(*work)

        async def everybody() -> None:
            killing = asyncio.create_task(killer())
            await asyncio.gather(killing, work_for(5 + 2.5 * kills))
            calm = 0
            while len(log.decided) <= REVIEWERS and calm < 12:  # a slow machine spent the time on its starts
                calm += 1
                await work_for(10)

        asyncio.run(everybody())
        server.wait_ready()
        wait_until_all_is_queued(server, MESSAGES + 300 * len(range(5, kills, 10)))
        found = desk.recorded(server)

    assert log.given_twice == 0, [item for item, who in log.given.items() if len(who) > 1]
    for item, number in log.decided.items():
        assert found["decided"].get(str(item)) == 1, f"item {item} was acknowledged, and is recorded not once"
        assert found["who"][str(item)] == f"reviewer-{number:04d}"
    assert found["twice"] == 0
    assert found["entries"] == len(found["decided"]), "each decision has its entry"
    assert found["entries_queued_twice"] == 0
    assert found["chain"] is None
    assert len(log.decided) > REVIEWERS, "people could work"


def wait_until_all_is_queued(server: desk.Serve, entries: int) -> None:
    """Every entry that was written becomes an item, whatever was killed in between."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if desk.queued(server) == entries:
            return
        time.sleep(0.5)
    raise AssertionError(f"{desk.queued(server)} of {entries} entries were queued")
