"""A small real ledger for tests of the review desk, written by the ledger itself, without the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from mingbai.contexts.messaging.jobs import review as jobs
from mingbai.kernel.verdicts import Category, Reason, Verdict
from mingbai.ledger import FileKeys, KeyStore, Ledger, Retention
from mingbai.settings import Settings

RETENTION = Retention(7, 150, 150)


@dataclass(frozen=True)
class Sms:
    """One decided message."""

    text: str
    verdict: Verdict = Verdict.HOLD
    category: Category = Category.FRAUD
    score: float = 0.7
    reasons: Sequence[int] = (Reason.RULE_KEYWORD,)
    campaign: int = 0
    access_code: str = "10690001"
    sender: str = "106900011234"
    receiver: str = "+8613800000001"


def batch_of(messages: Sequence[Sms]) -> pa.RecordBatch:
    spans = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())]))
    return pa.record_batch(
        {
            "verdict": pa.array([int(sms.verdict) for sms in messages], pa.uint8()),
            "category": pa.array([int(sms.category) for sms in messages], pa.uint8()),
            "score": pa.array([sms.score for sms in messages], pa.float32()),
            "reasons": pa.array([list(map(int, sms.reasons)) for sms in messages], pa.list_(pa.uint16())),
            "rules": pa.array([["kw-1"] for _ in messages], pa.list_(pa.string())),
            "spans": pa.array([[{"start": 0, "end": 2}] for _ in messages], spans),
            "campaign": pa.array([sms.campaign for sms in messages], pa.uint64()),
            "access_code": pa.array([sms.access_code for sms in messages]),
            "text": pa.array([sms.text for sms in messages]),
            "normalised": pa.array([sms.text for sms in messages]),
            "sender": pa.array([sms.sender for sms in messages]),
            "receiver": pa.array([sms.receiver for sms in messages]),
        }
    )


def write(data_dir: Path, messages: Sequence[Sms], *, now: datetime, stream: str = "api") -> None:
    """Record them as one commit, decided at `now`."""
    keys = KeyStore.open_or_create(FileKeys(data_dir / "keys.json"))
    with Ledger.open(data_dir, stream=stream, keys=keys, now=now, retention=RETENTION) as ledger:
        ledger.record(batch_of(messages), now=now)


def queue(settings: Settings, messages: Sequence[Sms], *, now: datetime, stream: str = "api") -> None:
    """Record them, and let the job queue them."""
    write(settings.data, messages, now=now, stream=stream)
    jobs.follow_ledger(settings, now)
