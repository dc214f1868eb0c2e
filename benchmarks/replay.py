"""Replay of a changed rulebook over the record, beside the full screen and the physical floor, in one run.

    python -m benchmarks replay [--messages 1000000] [--rounds 3] [--threads 2] [--keywords 1000] [--folder DIR]

The record is made first: a generated day of 100,000 messages, decided by the shipped model, recorded over and over with
its numbers and texts encrypted. Then, on the same threads and in turns:

- *floor*: the entries read and the originals decrypted, and nothing done with them;
- *rules*: `replay_rules`, the new rulebook being the shipped one and `--keywords` more words, one in fifty of which
  occurs, so that there is something to list;
- *model*: `replay_model`, every message read by the model again.

Printed are medians of the time that passed and of processor time (of all threads, so that a neighbour's load shows
less). `--folder` keeps the record for another run, and should lie on the disk that you ask about.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pyarrow as pa

from benchmarks.screening import keywords
from mingbai.connectors.batch.record import record_rows
from mingbai.connectors.replay_record import Piece, pieces_of, replay_model, replay_rules
from mingbai.engines import scenarios
from mingbai.engines.screening import rescreen
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rulebook import parse
from mingbai.engines.screening.rules import CompiledRules, keyword_nids
from mingbai.engines.screening.schema import MESSAGE, text_buffers
from mingbai.engines.screening.screen import read_rows, screen
from mingbai.ledger import KeyStore, Ledger, StreamReader

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
STREAM = "bench"
DAY_ROWS = 100_000
COMMIT_ROWS = 2048
COLUMNS = ["seq", "id", "at", "kind", "verdict", "access_code", "text_hash", *rescreen.RECORDED]


def make_record(folder: Path, keys: KeyStore, policy: Policy, messages: int) -> None:
    """Record `messages` decisions."""
    day = scenarios.traffic(1, DAY_ROWS, date(2026, 11, 24)).select(MESSAGE.names)
    counters = Counters(250_000)
    commits: list[pa.RecordBatch] = []
    for start in range(0, DAY_ROWS, COMMIT_ROWS):
        batch = day.slice(start, COMMIT_ROWS)
        decisions, updates = screen(batch, policy, counters)
        counters.apply(updates)
        hashes = pa.array(read_rows(*text_buffers(batch), policy).text_hash)
        commits.append(record_rows(batch, decisions, policy.versions, hashes))
    with Ledger.open(folder, stream=STREAM, keys=keys, now=NOW) as ledger:
        done = 0
        while done < messages:
            for commit in commits:
                rows = commit.slice(0, messages - done)
                if rows.num_rows:
                    ledger.record(rows, now=NOW + timedelta(milliseconds=done))
                done += rows.num_rows
        ledger.seal(now=NOW)


def changed_rules(count: int) -> CompiledRules:
    """The shipped rulebook, and one rule more."""
    content = (files("mingbai.engines.screening") / "data" / "rulebook.toml").read_text(encoding="utf-8")
    texts = scenarios.generate(7, 20_000, language="zh").column("text").to_pylist()
    listed = ", ".join(f'"{word}"' for word in keywords(texts, count))
    head = '[[rule]]\nid = "bench"\ncategory = "spam"\naction = "block"\nowner = "b"\nreason = "b"'
    return CompiledRules.of(parse(f"{content}\n{head}\nkeywords = [{listed}]\n", keyword_nids))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--messages", type=int, default=1_000_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--keywords", type=int, default=1000)
    arguments.add_argument("--folder", type=Path)
    given = arguments.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="mingbai-replay-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        measure(folder, given.messages, given.rounds, given.threads, given.keywords)
    finally:
        if given.folder is None:
            shutil.rmtree(folder)


def measure(folder: Path, messages: int, rounds: int, threads: int, words: int) -> None:
    keys = KeyStore.open_or_create(folder / "keys.json")
    recorded = Policy(Model.load(), CompiledRules.none(), NOW)
    if not pieces_of(folder, [STREAM]):
        start = time.perf_counter()
        make_record(folder, keys, recorded, messages)
        print(f"{messages:,} messages recorded in {time.perf_counter() - start:.0f} s")
    changed = Policy(recorded.model, changed_rules(words), NOW)

    def read(piece: Piece) -> int:
        reader = StreamReader(folder, STREAM, keys)
        found = reader.entries_with_originals(COLUMNS, first_seq=piece.first_seq, last_seq=piece.last_seq)
        return sum(entries.num_rows for entries, _ in found)

    def floor() -> object:
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(read, pieces_of(folder, [STREAM])))

    contenders: dict[str, Callable[[], object]] = {
        "floor: read and decrypt": floor,
        "rules: replay_rules": lambda: replay_rules(folder, [STREAM], keys, changed, threads=threads),
        "model: replay_model": lambda: replay_model(folder, [STREAM], keys, changed, threads=threads),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    found = replay_rules(folder, [STREAM], keys, changed, threads=threads)
    for _ in range(rounds):
        for name, work in contenders.items():
            begun, used = time.perf_counter(), time.process_time()
            work()
            times[name].append((time.perf_counter() - begun, time.process_time() - used))
    said = f"{found.blocked.count:,} newly stopped, {found.freed.count:,} newly freed, {found.rescored:,} scored again"
    print(f"{found.answered:,} messages, {threads} threads; {said}")
    least = statistics.median(taken[1] for taken in times["floor: read and decrypt"])
    print(f"{'contender':26} {'s':>8} {'k msg/s':>9} {'s per 10 million':>17} {'CPU s of it':>12} {'x floor, CPU':>13}")
    for name, taken in times.items():
        wall, used = (statistics.median(column) for column in zip(*taken, strict=True))
        each = 1e7 / found.answered
        print(
            f"{name:26} {wall:8.2f} {found.answered / wall / 1e3:9.0f} {wall * each:17.1f} {used * each:12.1f}"
            f" {used / least:13.2f}"
        )


if __name__ == "__main__":
    main()
