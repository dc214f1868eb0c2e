"""The review desk under people: how long a decision takes, beside a bare page, and whether anything is given twice.

    python -m benchmarks review_desk [--reviewers 400] [--seconds 60] [--pause 5] [--messages 40000]
                                     [--database-url URL]

Starts a real `mingbai serve` (SQLite, or PostgreSQL by URL: an empty database) with a ledger of its own, then lets so
many people take a message, look at it for `--pause` seconds, decide, and get the next one in the answer. Timed is the
whole request of a decision as the browser sees it: decision, entry of the control stream, next lease (one transaction,
synced to the disk), the next message read from the encrypted ledger, rendered. The peer is `/healthz` at the same time
on the same server: what the way there and back and one question to the database cost. Client and server share the
machine.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import _reviewers as desk


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviewers", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pause", type=float, default=5.0, help="seconds that a person looks at a message")
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--database-url", default="")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mingbai-desk-"))
    try:
        with desk.Serve(folder, given.database_url) as server:
            return run(server, given)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(server: desk.Serve, given: argparse.Namespace) -> int:
    sessions = desk.people(server, given.reviewers)
    desk.write_ledger(server.data, given.messages)
    until = time.monotonic() + 300
    while desk.waiting(server) < given.messages and time.monotonic() < until:
        time.sleep(1)
    log, bare = desk.Log(), list[float]()

    async def everybody() -> None:
        end = time.monotonic() + given.seconds
        work = [
            desk.Reviewer(number, server.port, session, log, given.pause).work(end)
            for number, session in enumerate(sessions)
        ]
        await asyncio.gather(desk.bare_pages(server.port, end, bare), *work)

    began = time.monotonic()
    asyncio.run(everybody())
    seconds = time.monotonic() - began
    found = desk.recorded(server)
    lost = [item for item in log.decided if str(item) not in found["decided"]]
    print(f"{given.reviewers} reviewers, one decision each {given.pause:g} s, {seconds:.0f} s: ", end="")
    print(f"{len(log.took_s)} decisions, {len(log.took_s) / seconds:.1f} a second")
    p50, p99, longest = (at(log.took_s, percent) for percent in (50, 99, 100))
    print(f"decision   p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   max {longest:7.1f} ms")
    print(f"bare page  p50 {at(bare, 50):7.1f} ms   p99 {at(bare, 99):7.1f} ms")
    print(f"ratio      p50 {at(log.took_s, 50) / at(bare, 50):7.1f}      p99 {at(log.took_s, 99) / at(bare, 99):7.1f}")
    wrong = {
        "given to two people": log.given_twice,
        "acknowledged and lost": len(lost),
        "recorded twice": found["twice"],
        "queued twice": found["entries_queued_twice"],
        "answers refused": log.lost,
        "errors": len(log.errors),
        "chain": 0 if found["chain"] is None else 1,
    }
    print("; ".join(f"{name}: {count}" for name, count in wrong.items()))
    return 1 if any(wrong.values()) else 0


def at(values: list[float], percent: float) -> float:
    """The percentile in milliseconds."""
    ordered = sorted(values)
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")


if __name__ == "__main__":
    sys.exit(main())
