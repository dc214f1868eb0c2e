"""What the ledger's tests share: keys, a day, and made-up traffic."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from mingbai.ledger import KeyStore

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

Traffic = Callable[..., pa.RecordBatch]


@pytest.fixture
def now() -> datetime:
    """A noon, so that a few hours more are still the same day (UTC)."""
    return NOW


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore.open_or_create(tmp_path / "secret" / "keys.json")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def traffic() -> Traffic:
    """`traffic(rows, start=0)`: decided messages, all made from their number, every fourth value missing."""
    return make_traffic


def make_traffic(rows: int, start: int = 0) -> pa.RecordBatch:
    numbers = range(start, start + rows)
    verdicts = [n % 4 for n in numbers]
    return pa.record_batch(
        {
            "verdict": pa.array(verdicts, pa.uint8()),
            "category": pa.array([n % 5 for n in numbers], pa.uint8()),
            "score": pa.array([n % 100 / 100 for n in numbers], pa.float32()),
            "reasons": pa.array([[2, 10] if n % 4 else [1] for n in numbers], pa.list_(pa.uint16())),
            "rules": pa.array([[f"kw.{n % 7}"] if n % 4 else None for n in numbers], pa.list_(pa.string())),
            "spans": pa.array(
                [[{"start": 0, "end": 2}, {"start": 5, "end": 9}] if n % 4 else [] for n in numbers],
                pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())])),
            ),
            "campaign": pa.array([n % 3 or None for n in numbers], pa.uint64()),
            "fingerprint": pa.array([random.Random(n).randbytes(32) for n in numbers], pa.binary(32)),
            "access_code": pa.array(["10690001" if n % 3 else None for n in numbers]),
            "model": ["zh-2026.11"] * rows,
            "rulebook": ["rules-7"] * rows,
            "text": [f"第{n}条:您的包裹 please call 400-{n:06d}" for n in numbers],
            "normalised": [f"第0条您的包裹pleasecall{n % 5}" for n in numbers],
            "sender": [f"106{n % 10:08d}" for n in numbers],
            "receiver": pa.array([f"+86138{n:08d}" if n % 4 != 3 else None for n in numbers]),
            "time": pa.array([1_795_000_000_000_000 + n for n in numbers], pa.timestamp("us", "UTC")),
        }
    )
