"""How long people wait for the ledger: overview, search, free text, over as many decisions as you ask for.

    python -m benchmarks ledger_search [--rows 100_000_000] [--folder DIR] [--keep] [--rounds 5] [--no-peer]

Makes a ledger by the ledger's own writer (real files: chained, sealed, they verify): 100 days of decisions in sealed
hours, of which the last day (at most a million, at most a tenth) has its numbers and texts encrypted in the vault, in
commits of 1000; the days before have pseudonyms only. Then builds the index and measures, in this process:

- *overview* of the last 24 hours, of 30 days and of everything; of 30 days within a branch's scope;
- *search* by a sender, a receiver, a campaign, an access code, and for something rare that no key finds;
- *campaign*: the whole page of the largest one;
- *free text* over the last day: a word that is rare, and one that does not occur (every text is decrypted).

*cold*: the first time in a new process (the files are in the page cache if memory holds them, as after a day's work).
*median*: of `--rounds` later calls; *CPU*: of one call, all threads. *peer*: DuckDB over the same Parquet files
(`mingbai ledger query`), which has no index. *floor*: what cannot be spared: for counts, one pass over a byte per
decision of the window; for text, reading the day's vault files and their AES-256-GCM on all cores. The folder is kept
with `--keep`, and used again if it is there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mingbai.connectors.ledger_index import LedgerIndex, Query, Scope, disk_forecast, pseudonyms_of
from mingbai.connectors.ledger_query import run_query
from mingbai.engines import scenarios
from mingbai.kernel.clock import to_micros
from mingbai.kernel.verdicts import Category, Verdict
from mingbai.ledger import KeyStore, Ledger, LedgerOptions, Retention, StreamReader
from mingbai.ledger.entries import Rows, decision_rows

NOW = datetime(2026, 11, 24, 23, 59, tzinfo=UTC)
STREAM = "api"
DAYS = 100
RARE = "青花瓷拍卖行"  # put into one text of twenty thousand
PAIR = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())]))


class Traffic:
    """Made-up decisions: a third from 2,000 campaigns of very different size, the rest single; 400 access codes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.campaigns = self.rng.integers(1, 1 << 62, 2000).astype(np.uint64)
        self.fingerprints = self.rng.bytes(32 * 2000)
        self.share = 1 / np.arange(1, 2001)
        self.share /= self.share.sum()
        self.codes = pa.array([f"1069{n:04d}" for n in range(400)])
        self.rules = pa.array([[f"kw-{n}"] for n in range(400)] + [[f"kw-{n}", f"re-{n % 90}"] for n in range(200)])
        self.reasons = pa.array([[1], [2], [2, 10], [10], [12, 2, 10], [3]], pa.list_(pa.uint16()))
        self.texts = scenarios.generate(seed, 50_000).column("text")

    def batch(self, rows: int, with_text: bool) -> pa.RecordBatch:
        rng = self.rng
        bulk = rng.random(rows) < 0.35
        which = rng.choice(2000, rows, p=self.share)
        campaign = np.where(bulk, self.campaigns[which], rng.integers(1 << 62, 1 << 63, rows).astype(np.uint64))
        stopped = (bulk & (which % 3 > 0)) | (rng.random(rows) < 0.01)
        verdict = np.where(stopped, np.where(rng.random(rows) < 0.1, 2, 3), np.where(rng.random(rows) < 0.02, 1, 0))
        category = np.where(stopped, 2 + which % 3, rng.integers(0, 2, rows))
        prints = np.frombuffer(rng.bytes(32 * rows), np.uint8).reshape(rows, 32).copy()
        prints[bulk] = np.frombuffer(self.fingerprints, np.uint8).reshape(-1, 32)[which[bulk]]
        rules = np.where(stopped, rng.integers(0, 600, rows), -1)
        normalised = np.where(bulk, campaign + rng.integers(0, 20, rows).astype(np.uint64), campaign)
        columns = {
            "verdict": pa.array(verdict, pa.uint8()),
            "category": pa.array(category, pa.uint8()),
            "score": pa.array(np.where(stopped, 0.9, 0.1) + rng.random(rows) / 10, pa.float32()),
            "reasons": self.reasons.take(pa.array(np.where(stopped, rng.integers(1, 6, rows), 0))),
            "rules": self.rules.take(pa.array(rules, mask=rules < 0)),
            "campaign": pa.array(campaign),
            "fingerprint": pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), rows, [None, pa.py_buffer(prints)]),
            "access_code": self.codes.take(pa.array(rng.integers(0, 400, rows), mask=rng.random(rows) < 0.5)),
            "model": pa.array(["zh-2026.11"]).take(pa.array(np.zeros(rows, np.int32))),
            "rulebook": pa.array(["rules-7"]).take(pa.array(np.zeros(rows, np.int32))),
            "normalised": pa.array(normalised),
            "sender": numbers("+8613", rng.zipf(1.3, rows) % 300_000 + 100_000_000),
            "receiver": numbers("+8615", rng.integers(0, 20_000_000, rows) + 100_000_000),
        }
        if with_text:
            texts = self.texts.take(pa.array(rng.integers(0, len(self.texts), rows)))
            rare = pa.array(np.where(rng.random(rows) < 1 / 20_000, RARE, ""))
            codes = pa.array(rng.integers(0, 10**6, rows)).cast(pa.string())  # no two messages are alike
            columns["text"] = pc.binary_join_element_wise(texts, rare, codes, "")
        return pa.record_batch(columns)


def numbers(prefix: str, values: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(pa.scalar(prefix), pa.array(values).cast(pa.string()), "")


class History:
    """Old decisions, fast: batches turned into entry rows once, and taken again and again with new pseudonyms, texts,
    campaigns and fingerprints (random bytes, which is what keyed hashes look like). One row in twenty keeps its own, so
    that a number can be searched for."""

    def __init__(self, traffic: Traffic, keys: KeyStore, rows: int) -> None:
        self.rng = traffic.rng
        batches = [traffic.batch(rows, with_text=False) for _ in range(24)]
        self.rows = [decision_rows(batch, keys, NOW) for batch in batches]
        self.is_bulk = [np.isin(np.asarray(batch.column("campaign")), traffic.campaigns) for batch in batches]

    def take(self, number: int, at: datetime) -> Rows:
        body, is_bulk = self.rows[number % 24].body, self.is_bulk[number % 24]
        rows = body.num_rows
        keeps = np.arange(rows) % 20 == 0
        columns = {name: body.column(name) for name in body.schema.names}
        columns["receiver"] = self._renewed(columns["receiver"], keeps)
        columns["text_hash"] = self._renewed(columns["text_hash"], keeps | is_bulk)
        columns["fingerprint"] = self._renewed(columns["fingerprint"], is_bulk)
        fresh = self.rng.integers(1 << 62, 1 << 63, rows).astype(np.uint64)
        columns["campaign"] = pa.array(np.where(is_bulk, np.asarray(columns["campaign"]), fresh))
        return Rows(pa.RecordBatch.from_arrays(list(columns.values()), schema=body.schema), None, to_micros(at))

    def _renewed(self, column: pa.Array, keeps: np.ndarray) -> pa.Array:
        width = column.type.byte_width
        raw = np.frombuffer(self.rng.bytes(width * len(column)), np.uint8).reshape(-1, width).copy()
        raw[keeps] = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, width)[keeps]
        return pa.Array.from_buffers(column.type, len(column), [None, pa.py_buffer(raw)])


def make_ledger(folder: Path, rows: int) -> None:
    """Days of history, then the last day with its texts."""
    traffic = Traffic(7)
    keys = KeyStore.open_or_create(folder / "keys.json")
    last_day = min(1_000_000, rows // 10)
    per_hour = (rows - last_day) // ((DAYS - 1) * 24)
    day = NOW.replace(hour=0, minute=0)
    started = time.perf_counter()
    nothing = Retention(allowed_text_days=0, stopped_text_days=0, numbers_days=0)
    options = LedgerOptions(max_segment_age_s=3600, max_commit_rows=1 << 20)
    first = day - timedelta(days=DAYS - 1)
    with Ledger.open(folder, stream=STREAM, keys=keys, now=first, retention=nothing, options=options) as ledger:
        parts = -(-per_hour // 8192)
        history = History(traffic, keys, per_hour // parts)
        for hour in range((DAYS - 1) * 24):
            for part in range(parts):
                at = first + timedelta(hours=hour, seconds=3600 * part / parts)
                ledger._submit(history.take(hour * parts + part, at))
            if hour % 480 == 479:
                done = (hour + 1) * per_hour
                print(f"   {done:,} decisions, {done / (time.perf_counter() - started):,.0f}/s", flush=True)
        ledger.seal(now=day - timedelta(seconds=1))
    with Ledger.open(folder, stream=STREAM, keys=keys, now=day, retention=Retention(), options=options) as ledger:
        commits = last_day // 1000
        for commit in range(commits):
            at = day + timedelta(seconds=86_000 * commit / commits)
            ledger.record(traffic.batch(1000, with_text=True), now=at)
    (folder / "made.json").write_text(json.dumps({"rows": rows, "last_day": last_day}))
    print(f"   made in {time.perf_counter() - started:,.0f} s", flush=True)


class Questions:
    """What people ask, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = KeyStore.open_or_create(folder / "keys.json")
        self.index = LedgerIndex(folder, self.keys)
        self.day = NOW.replace(hour=0, minute=0)
        until = NOW + timedelta(minutes=1)
        campaign = int(np.random.default_rng(7).integers(1, 1 << 62, 2000)[0])
        sender = pseudonyms_of(self.keys, f"+8613{100_000_000 + 4321}")
        receiver = pseudonyms_of(self.keys, f"+8615{100_000_000 + 12_345_678}")
        index, day = self.index, Query(since=self.day, until=until)
        branch = Scope(access_codes=("106900",))
        everything = datetime(2026, 1, 1, tzinfo=UTC)
        rare = Query(rules=("kw-17",), verdicts=(Verdict.HOLD,), categories=(Category.ADVERTISING,), min_score=0.9999)
        self.ask: dict[str, Callable[[], object]] = {
            "overview, 24 h": lambda: index.overview(self.day, until),
            "overview, 30 days": lambda: index.overview(until - timedelta(days=30), until),
            "overview, 30 days in a branch": lambda: index.overview(until - timedelta(days=30), until, branch),
            "overview, everything": lambda: index.overview(everything, until),
            "search: sender": lambda: index.search(Query(senders=sender)),
            "search: receiver": lambda: index.search(Query(receivers=receiver)),
            "search: campaign": lambda: index.search(Query(campaign=campaign)),
            "search: access code": lambda: index.search(Query(access_codes=("10690017",))),
            "search: rare, no key": lambda: index.search(rare),
            "count: campaign": lambda: index.count(Query(campaign=campaign)),
            "campaign page": lambda: index.campaign(campaign),
            "text: a rare word, day": lambda: index.text_search(day, (RARE,)),
            "text: no such word, day": lambda: index.text_search(day, ("没有这个词",)),
        }
        since = self.day.isoformat()
        month = (until - timedelta(days=30)).isoformat()
        counts = (
            "SELECT verdict, category, count(*) FROM entries WHERE verdict IS NOT NULL AND \"at\" >= '{}' GROUP BY ALL"
        )
        hits = 'SELECT * FROM entries WHERE {} ORDER BY "at" DESC LIMIT 50'
        self.peer = {
            "overview, 24 h": counts.format(since),
            "overview, 30 days": counts.format(month),
            "search: sender": hits.format(f"sender = unhex('{sender[0].hex()}')"),
            "search: receiver": hits.format(f"receiver = unhex('{receiver[0].hex()}')"),
            "search: campaign": hits.format(f"campaign = {campaign}"),
        }

    def floors(self) -> dict[str, Callable[[], object]]:
        rows = json.loads((self.folder / "made.json").read_text())["rows"]
        month = np.zeros(max(1, rows * 30 // DAYS), np.uint8)
        last = np.zeros(max(1, rows // DAYS), np.uint8)
        paths = sorted((self.folder / "ledger" / STREAM / "vault").glob(f"{self.day.date()}/*.*"))
        cipher = AESGCM(bytes(32))
        blob = cipher.encrypt(bytes(12), bytes(64_000), None)

        def decrypt(path: Path) -> None:
            for _ in range(len(path.read_bytes()) // len(blob)):
                cipher.decrypt(bytes(12), blob, None)

        def text() -> None:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(decrypt, [path for path in paths if path.suffix != ".numbers"]))

        return {
            "overview, 24 h": lambda: np.bincount(last),
            "overview, 30 days": lambda: np.bincount(month),
            "text: no such word, day": text,
        }


def timed(ask: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    started = clock()
    ask()
    return (clock() - started) * 1e3


def measure(folder: Path, rounds: int, with_peer: bool) -> None:
    questions = Questions(folder)
    floors = questions.floors()
    print(f"{'question':32} {'cold ms':>9} {'median ms':>10} {'worst ms':>9} {'CPU ms':>7} {'peer':>8} {'floor':>8}")
    for name, ask in questions.ask.items():
        command = [sys.executable, "-m", "benchmarks", "ledger_search", "--folder", str(folder), "--one", name]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        cold = float(ran.stdout.split()[-1])
        ask()
        times = [timed(ask) for _ in range(rounds)]
        median = statistics.median(times)
        cpu = timed(ask, time.process_time)
        peer = floor = ""
        if with_peer and name in questions.peer:
            peer_ms = timed(partial(run_query, folder, [STREAM], questions.peer[name]))
            peer = f"{peer_ms / median:.1f}x"
        if name in floors:
            floors[name]()
            floor = f"{statistics.median(timed(floors[name]) for _ in range(rounds)) / median:.2f}x"
        print(
            f"{name:32} {cold:>9,.0f} {median:>10,.1f} {max(times):>9,.0f} {cpu:>7,.0f} {peer:>8} {floor:>8}",
            flush=True,
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=lambda text: int(text.replace("_", "")), default=100_000_000)
    options.add_argument("--folder", type=Path, default=None, help="where to write; default: the temporary folder")
    options.add_argument("--keep", action="store_true", help="do not delete the folder")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--no-peer", action="store_true")
    options.add_argument("--one", help=argparse.SUPPRESS)
    given = options.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="mingbai-search-"))
    if given.one:
        print(timed(Questions(folder).ask[given.one]))
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if not (folder / "made.json").exists():
            make_ledger(folder, given.rows)
        rows = json.loads((folder / "made.json").read_text())["rows"]
        index = LedgerIndex(folder)
        started = time.perf_counter()
        indexed = 0
        while step := index.advance(NOW + timedelta(hours=1)):
            indexed += step
        taken = time.perf_counter() - started
        if indexed:
            print(f"   indexed {indexed:,} entries in {taken:,.0f} s, {indexed / taken:,.0f}/s", flush=True)
        disk = disk_forecast(folder, NOW)
        for name in ("ledger", "vault", "index"):
            size = getattr(disk, f"{name}_bytes")
            print(f"   {name:7} {size / 1e9:6.2f} GB, {size / rows:.0f} bytes a decision")
        print(
            f"   {sum(1 for _ in StreamReader(folder, STREAM).entries(['seq']))} batches of entries, {rows:,} decisions"
        )
        measure(folder, given.rounds, not given.no_peer)
    finally:
        if not given.keep and given.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
