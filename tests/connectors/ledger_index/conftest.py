"""Small random ledgers, and answers counted the plain way: by reading every entry."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mingbai.connectors.ledger_index import EVERYTHING, Query, Scope, stream_index
from mingbai.ledger import KeyStore, Ledger, LedgerOptions, Retention, StreamReader, list_streams

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
OPTIONS = LedgerOptions(max_segment_rows=300, max_segment_age_s=1e9, head_interval_s=40, background_sealing=False)

CODES = ["10690001", "10690002", "1069111", "95588", None]
SENDERS = [f"+8613800000{n:03d}" for n in range(6)]
RECEIVERS = [f"+8613900000{n:03d}" for n in range(30)]
TEXTS = ["您的快递已到 please collect", "恭喜中奖 HTTP://t.cn/a1", "验证码 123456", "加微信 abc 领取", "今晚吃什么"]


def traffic(rng: random.Random, rows: int) -> pa.RecordBatch:
    """Decided messages in which everything repeats, and anything may be missing."""

    def some(values: list[Any], missing: float = 0.1) -> list[Any]:
        return [None if rng.random() < missing else rng.choice(values) for _ in range(rows)]

    texts = some(TEXTS)
    return pa.record_batch(
        {
            "verdict": pa.array([rng.randrange(4) for _ in range(rows)], pa.uint8()),
            "category": pa.array([rng.randrange(5) for _ in range(rows)], pa.uint8()),
            "score": pa.array([rng.randrange(11) / 10 for _ in range(rows)], pa.float32()),
            "reasons": pa.array(some([[1], [2, 10], [2], [10, 2], []]), pa.list_(pa.uint16())),
            "rules": pa.array(some([["kw.a"], ["kw.a", "kw.b"], ["re.c"], []]), pa.list_(pa.string())),
            "campaign": pa.array(some([0, 7, 8, 9, 2**63 + 5], 0.2), pa.uint64()),
            "access_code": pa.array(some(CODES, 0.0), pa.string()),
            "model": pa.array(some(["m1", "m2"]), pa.string()),
            "rulebook": pa.array(some(["r1"]), pa.string()),
            "text": pa.array(texts, pa.string()),
            "normalised": pa.array([None if text is None else text.lower() for text in texts], pa.string()),
            "sender": pa.array(some(SENDERS), pa.string()),
            "receiver": pa.array(some(RECEIVERS), pa.string()),
        }
    )


@dataclass
class Operator:
    """A ledger of some streams, its keys, and a clock that the test moves."""

    data: Path
    keys: KeyStore
    rng: random.Random
    now: datetime = START
    retention: Retention = field(default_factory=Retention)
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    _known: list[dict[str, Any]] | None = None

    def open(self, stream: str) -> Ledger:
        if stream not in self.ledgers:
            self.ledgers[stream] = Ledger.open(
                self.data, stream=stream, keys=self.keys, now=self.now, options=OPTIONS, retention=self.retention
            )
        return self.ledgers[stream]

    def _changed(self) -> None:
        self._known = None

    def write(self, stream: str, commits: int, *, rows: int = 40, step_s: float = 30) -> None:
        self._changed()
        for _ in range(commits):
            self.now += timedelta(seconds=self.rng.random() * step_s)
            self.open(stream).record(traffic(self.rng, self.rng.randrange(1, rows)), now=self.now)

    def live(self, stream: str, steps: int) -> None:
        """Append, seal, reopen and step the clock back, in a random order."""
        for _ in range(steps):
            what = self.rng.random()
            if what < 0.7:
                self.write(stream, 1)
            elif what < 0.85:
                self.open(stream).seal(now=self.now)
            elif what < 0.92:
                self.now -= timedelta(seconds=20)
            else:
                self.close()

    def close(self) -> None:
        for ledger in self.ledgers.values():
            ledger.close()
        self.ledgers.clear()

    def entries(self) -> list[dict[str, Any]]:
        """Every decision of every stream, with its stream's name."""
        if self._known is None:
            self._known = [
                row | {"stream": stream}
                for stream in list_streams(self.data)
                for batch in StreamReader(self.data, stream).entries()
                for row in batch.to_pylist()
                if row["verdict"] is not None
            ]
        return self._known

    def expected(self, query: Query, scope: Scope = EVERYTHING) -> list[dict[str, Any]]:
        return [row for row in self.entries() if fits(row, query) and is_visible(row, scope)]


def fits(row: dict[str, Any], query: Query) -> bool:
    """What a query means, said once more and plainly."""
    low = None if query.min_score is None else float(np.float32(query.min_score))
    high = None if query.max_score is None else float(np.float32(query.max_score))
    score = row["score"]
    return all(
        [
            query.since is None or row["at"] >= query.since,
            query.until is None or row["at"] < query.until,
            query.stream is None or row["stream"] == query.stream,
            not query.verdicts or row["verdict"] in query.verdicts,
            not query.categories or row["category"] in query.categories,
            query.campaign is None or row["campaign"] == query.campaign,
            not query.senders or row["sender"] in query.senders,
            not query.receivers or row["receiver"] in query.receivers,
            not query.access_codes or (row["access_code"] or "-").startswith(query.access_codes),
            not query.rules or set(query.rules) & set(row["rules"] or ()),
            not query.reasons or set(query.reasons) & set(row["reasons"] or ()),
            low is None or score >= low,
            high is None or score <= high,
            query.text_hash is None or row["text_hash"] == query.text_hash,
        ]
    )


def is_visible(row: dict[str, Any], scope: Scope) -> bool:
    codes, own = scope.access_codes, scope.receivers
    return (codes is None or (row["access_code"] or "-").startswith(codes)) and (own is None or row["receiver"] in own)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a ledger of hundreds of rows has many blocks, and merges them."""
    monkeypatch.setattr(stream_index, "MIN_BLOCK_ROWS", 50)
    monkeypatch.setattr(stream_index, "MAX_BLOCK_ROWS", 400)


@pytest.fixture
def operator(tmp_path: Path, seed: int) -> Iterator[Operator]:
    made = Operator(tmp_path / "data", KeyStore.open_or_create(tmp_path / "keys.json"), random.Random(seed))
    yield made
    made.close()
