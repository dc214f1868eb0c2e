"""Durable decisions a second: the ledger beside the physical floor and a peer, in one run.

    python -m benchmarks ledger_append [--rows 1000] [--commits 20] [--rounds 7] [--folder DIR]

- *ledger*: `Ledger.record` as the product calls it, rows as really stored: pseudonyms and text hash made, numbers and
  text encrypted, reasons, rules and spans, content digest and chain; a receipt only after the sync.
- *floor*: the bytes that those commits put into the file, written and synced, and nothing else.
- *peer*: SQLite (WAL, synchronous=FULL: as durable) gets the same columns ready-made, so it neither hashes nor encrypts
  nor chains. What it is spared is what the ledger is for; the ratio says what that costs.
- *5 ms sync*: the ledger on a disk whose every sync takes at least 5 ms, alone and with four callers (group commit).

Contenders take turns round by round, each with `--commits` commits. Printed are medians, the fastest turn (what a quiet
machine gives), and the time as a multiple of the ledger's. A row counts when its commit is on the disk. The folder
should lie on the disk that you ask about.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from mingbai.engines import scenarios
from mingbai.ledger import FileOps, KeyStore, Ledger, LedgerOptions, StreamReader, verify

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
CALLERS = 4


class SlowDisk(FileOps):
    """Every sync takes at least 5 ms, as on a disk without a write cache."""

    def sync(self, fd: int) -> None:
        until = time.perf_counter() + 0.005
        super().sync(fd)
        time.sleep(max(0.0, until - time.perf_counter()))


def decisions(rows: int, seed: int) -> pa.RecordBatch:
    """A batch as a screen gives it: a third stopped, with rules and two spans each; 2 of 3 senders repeat."""
    rnd, rng = random.Random(seed), np.random.default_rng(seed)
    stopped = rng.random(rows) < 0.33
    pair = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())]))
    return pa.record_batch(
        {
            "verdict": pa.array(np.where(stopped, 3, 0), pa.uint8()),
            "category": pa.array(np.where(stopped, 3, 1), pa.uint8()),
            "score": pa.array(rng.random(rows), pa.float32()),
            "reasons": pa.array([[2, 10] if s else [1] for s in stopped], pa.list_(pa.uint16())),
            "rules": pa.array([[f"kw-{rnd.randrange(500)}"] if s else [] for s in stopped], pa.list_(pa.string())),
            "spans": pa.array([[{"start": 3, "end": 9}, {"start": 20, "end": 31}] if s else [] for s in stopped], pair),
            "campaign": pa.array(rng.integers(0, 1 << 62, rows), pa.uint64()),
            "fingerprint": pa.array([rnd.randbytes(32) for _ in range(rows)], pa.binary(32)),
            "access_code": pa.array([f"1069{rnd.randrange(50):04d}" for _ in range(rows)]),
            "text": scenarios.generate(seed, rows).column("text"),
            "normalised": pa.array(rng.integers(0, 1 << 62, rows), pa.uint64()),
            "sender": pa.array([f"106{rnd.randrange(rows // 3 + 1):08d}" for _ in range(rows)]),
            "receiver": pa.array([f"+86138{rnd.randrange(10**8):08d}" for _ in range(rows)]),
            "time": pa.array(
                [NOW - timedelta(seconds=rnd.randrange(60)) for _ in range(rows)], pa.timestamp("us", "UTC")
            ),
            "model": pa.array(["zh-2026.11"] * rows),
            "rulebook": pa.array(["rules-7"] * rows),
        }
    )


class Ours:
    """The ledger; `callers` threads share the commits of a turn."""

    def __init__(self, folder: Path, ops: FileOps | None = None, callers: int = 1) -> None:
        self.data = folder
        self.callers = callers
        keys = KeyStore.open_or_create(folder / "keys.json")
        options = LedgerOptions(background_sealing=False)
        self.ledger = Ledger.open(folder, stream="bench", keys=keys, now=NOW, ops=ops, options=options)

    def turn(self, batches: list[pa.RecordBatch]) -> None:
        def record(part: list[pa.RecordBatch]) -> None:
            for batch in part:
                self.ledger.record(batch, now=NOW)

        if self.callers == 1:
            record(batches)
            return
        threads = [threading.Thread(target=record, args=(batches[n :: self.callers],)) for n in range(self.callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class Floor:
    """write and fdatasync of as many bytes a commit as the ledger writes."""

    def __init__(self, folder: Path, ops: FileOps) -> None:
        self.ops = ops
        self.fd = os.open(folder / "floor", os.O_WRONLY | os.O_CREAT, 0o600)
        self.end = 0
        self.commits: list[bytes] = []

    def turn(self, batches: list[pa.RecordBatch]) -> None:
        for number in range(len(batches)):
            content = self.commits[number % len(self.commits)]
            self.ops.write_at(self.fd, self.end, [content])
            self.ops.sync(self.fd)
            self.end += len(content)


class Peer:
    """SQLite with the columns of an entry, and a commit's ciphertext as one row of a second table."""

    def __init__(self, folder: Path) -> None:
        self.db = sqlite3.connect(folder / "peer.sqlite", isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.rows: list[list[tuple[object, ...]]] = []
        self.vault: list[bytes] = []
        self.seq = 0

    def prepare(self, entries: list[pa.RecordBatch], sealed: list[bytes]) -> None:
        """Turn what the ledger stored into rows; not part of the time."""
        names = [name for name in entries[0].schema.names if name not in ("seq", "vault")]
        columns = "".join(f', "{name}"' for name in names)
        self.db.execute(f"CREATE TABLE entry (seq INTEGER PRIMARY KEY{columns})")
        self.db.execute("CREATE TABLE vault (first_seq INTEGER PRIMARY KEY, sealed BLOB)")
        marks = ", ?" * len(names)
        self.insert = f"INSERT INTO entry VALUES (?{marks})"  # noqa: S608  # question marks
        for batch in entries:
            self.rows.append([tuple(_plain(row[name]) for name in names) for row in batch.to_pylist()])
        self.vault = sealed

    def turn(self, batches: list[pa.RecordBatch]) -> None:
        for number in range(len(batches)):
            rows = self.rows[number % len(self.rows)]
            self.db.execute("BEGIN IMMEDIATE")
            self.db.execute("INSERT INTO vault VALUES (?, ?)", (self.seq, self.vault[number % len(self.vault)]))
            numbered = ((seq, *row) for seq, row in enumerate(rows, self.seq))
            self.db.executemany(self.insert, numbered)
            self.db.execute("COMMIT")
            self.seq += len(rows)


def _plain(value: object) -> object:
    """As SQLite takes it: lists as JSON, times as microseconds."""
    if isinstance(value, list):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, datetime):
        return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    if isinstance(value, int) and value >= 1 << 63:
        return value - (1 << 64)
    return value


def what_was_stored(folder: Path) -> tuple[list[bytes], list[pa.RecordBatch], list[bytes]]:
    """The frames of the ledger's commits, their entries, and their ciphertext."""
    from mingbai.ledger.segments import OpenCommit, scan_open

    (path,) = (folder / "ledger" / "bench" / "entries").glob("*.arrows")
    commits = [item for item in scan_open(path) if isinstance(item, OpenCommit)][1:]
    reader = StreamReader(folder, "bench")
    ranges = [(commit.link.first_seq, commit.link.next_seq - 1) for commit in commits]
    entries = [next(reader.entries(first_seq=first, last_seq=last)) for first, last in ranges]
    sealed = [b"".join(commit.batch().column("sealed")[0].as_py()) for commit in commits]
    return [commit.frame.data for commit in commits], entries, sealed


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=1000, help="rows a commit")
    options.add_argument("--commits", type=int, default=20, help="commits a turn")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--folder", type=Path, default=None, help="where to write; default: the temporary folder")
    given = options.parse_args()

    folder = Path(tempfile.mkdtemp(prefix="mingbai-ledger-", dir=given.folder))
    try:
        run(folder, given.rows, given.commits, given.rounds)
    finally:
        shutil.rmtree(folder)


def run(folder: Path, rows: int, commits: int, rounds: int) -> None:
    batches = [decisions(rows, seed) for seed in range(min(commits, 8))]
    turn = [batches[number % len(batches)] for number in range(commits)]

    def place(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    ours = Ours(place("ours"))
    ours.turn(batches)
    frames, entries, sealed = what_was_stored(ours.data)
    floor, slow_floor, peer = (
        Floor(place("floor"), FileOps()),
        Floor(place("slow-floor"), SlowDisk()),
        Peer(place("peer")),
    )
    floor.commits = slow_floor.commits = frames
    peer.prepare(entries, sealed)
    slow = Ours(place("slow"), SlowDisk())
    group = Ours(place("group"), SlowDisk(), callers=CALLERS)
    contenders: dict[str, Callable[[list[pa.RecordBatch]], None]] = {
        "ledger": ours.turn,
        "floor: write + fdatasync": floor.turn,
        "peer: SQLite, WAL, FULL": peer.turn,
        "ledger, 5 ms sync": slow.turn,
        f"ledger, 5 ms sync, {CALLERS} callers": group.turn,
        "floor, 5 ms sync": slow_floor.turn,
    }
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            started, cpu_started = time.perf_counter(), time.process_time()
            contender(turn)
            if number:  # the first round warms up
                taken[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - cpu_started)
    size = statistics.mean(len(frame) for frame in frames)
    print(f"{rows} rows a commit, {size / rows:.0f} bytes a row, {commits} commits a turn, median of {rounds} turns")
    print(f"{'contender':32} {'rows/s':>9} {'ms/commit':>10} {'CPU ms':>7} {'fastest':>9} {'time':>7}")
    base, slow_base = (statistics.median(taken[name]) for name in ("ledger", "ledger, 5 ms sync"))
    for name, times in taken.items():
        median, own = statistics.median(times), slow_base if "5 ms" in name else base
        per_commit, busy = median / commits * 1e3, statistics.median(cpu[name]) / commits * 1e3
        rate, best = rows * commits / median, rows * commits / min(times)
        print(f"{name:32} {rate:>9,.0f} {per_commit:>10.2f} {busy:>7.2f} {best:>9,.0f} {median / own:>6.2f}x")
    for one in (ours, slow, group):
        one.ledger.close()
        report = verify(one.data)
        if not report.ok:
            raise SystemExit(f"the ledger does not verify: {report.findings[0]}")
    started = time.perf_counter()
    report = verify(ours.data)
    rate = report.streams[0].rows / (time.perf_counter() - started)
    print(f"all three ledgers verify, at {rate:,.0f} rows/s")


if __name__ == "__main__":
    main()
