"""The middle of the screener, with a real ledger and without a process: what fails, and what it leaves behind."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mingbai.connectors.batch.engine import decide
from mingbai.connectors.policy_follower import InForce
from mingbai.connectors.screening_client import ScreenerBusy
from mingbai.connectors.screening_wire import MAX_ROWS, as_messages
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rules import CompiledRules
from mingbai.gateway.meter import Alarms, Meter
from mingbai.gateway.pipeline import MAX_WAITING_ROWS, UNSCREENED, Answer, Pipeline, Submission
from mingbai.gateway.shadow import Agreement, compare
from mingbai.kernel.errors import MingbaiError
from mingbai.kernel.verdicts import Category, Reason, Verdict
from mingbai.ledger import FileOps, KeyStore, Ledger, LedgerCannotWrite, LedgerOptions, StreamReader

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SPAM = "【惠民贷】无抵押无担保，黑户白户都能做，当天放款最高50万，加薇信：kd8866，或致电13900001111"
CHAT = "晚上一起吃饭吗？我大概六点半到你家楼下"


class Disk(FileOps):
    """A disk that can be full."""

    is_full = False

    def write_at(self, fd: int, offset: int, chunks: Sequence[bytes | bytearray | memoryview]) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write_at(fd, offset, chunks)


def in_force(policy: Policy | None = None) -> InForce:
    given = policy or Policy(Model.load(), CompiledRules.none(), NOW)
    return InForce(None, given, None, NOW, given.versions, None)


def messages(*texts: str, time: datetime | None = None) -> pa.RecordBatch:
    times = pa.array([time] * len(texts), pa.timestamp("us", "UTC"))
    return as_messages(pa.record_batch({"text": pa.array(texts, pa.string()), "time": times}))


@dataclass
class Bench:
    """A pipeline over a ledger in a folder."""

    data: Path
    disk: Disk = field(default_factory=Disk)
    alarms: Alarms = field(default_factory=Alarms)
    policy: InForce = field(default_factory=in_force)
    seen: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = KeyStore.open_or_create(self.data / "keys.json")
        options = LedgerOptions(background_sealing=False)
        self.ledger = Ledger.open(
            self.data, stream="api", keys=self.keys, now=NOW, options=options, ops=self.disk
        )  # fmt: skip
        self.pipeline = Pipeline(
            self.ledger,
            lambda: self.policy,
            self.alarms,
            on_decided=lambda batch, decisions, policy: self.seen.append(decisions.num_rows),
            clock=lambda: NOW,
        )

    def submit(self, batch: pa.RecordBatch) -> tuple[threading.Event, list[Answer | MingbaiError]]:
        done, answers = threading.Event(), list[Answer | MingbaiError]()

        def reply(answer: Answer | MingbaiError) -> None:
            answers.append(answer)
            done.set()

        self.pipeline.submit(Submission(batch, reply, time.monotonic()))
        return done, answers

    def ask(self, *texts: str) -> Answer | MingbaiError:
        done, answers = self.submit(messages(*texts))
        assert done.wait(120)
        return answers[0]

    def codes(self) -> list[object]:
        return [alarm["code"] for alarm in self.alarms.documents(NOW)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    made.pipeline.start()
    yield made
    made.pipeline.stop()
    made.ledger.close()


def test_a_full_disk_leaves_no_trace_in_the_counters_and_the_next_batch_goes_through(bench: Bench) -> None:
    bench.disk.is_full = True
    refused = bench.ask(SPAM)
    assert isinstance(refused, LedgerCannotWrite) and bench.codes() == ["ledger_cannot_write"]
    assert len(bench.pipeline.counters.table) == 0 and bench.seen == []
    bench.disk.is_full = False
    assert isinstance(bench.ask(SPAM), Answer)
    assert len(bench.pipeline.counters.table) == 1 and bench.codes() == [] and bench.seen == [1]


def test_where_the_engine_fails_messages_pass_and_are_recorded_and_an_alarm_is_raised(bench: Bench) -> None:
    broken = bench.policy.policy.model.chinese._replace(table=np.zeros(0, np.float64))  # compiled code refuses its type
    model = replace(bench.policy.policy.model, chinese=broken)
    bench.policy = replace(bench.policy, policy=replace(bench.policy.policy, model=model))
    answer = bench.ask(SPAM, CHAT)
    assert isinstance(answer, Answer)
    assert answer.batch.column("verdict").to_pylist() == [Verdict.ALLOW, Verdict.ALLOW]
    assert answer.batch.column("reasons").to_pylist() == [[Reason.UNSCREENED]] * 2
    assert bench.codes() == [UNSCREENED]
    recorded = StreamReader(bench.data, "api", bench.keys).originals(range(answer.first_seq, answer.first_seq + 2))
    assert recorded.column("text").to_pylist() == [SPAM, CHAT]


def test_requests_that_wait_become_one_commit_and_each_gets_its_own_rows(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    asked = [bench.submit(messages(*[f"{CHAT}{number}-{row}" for row in range(number + 1)])) for number in range(5)]
    bench.pipeline.start()
    bench.pipeline.stop()  # answers everything first
    bench.ledger.close()
    assert bench.seen == [15] and bench.pipeline.waiting_rows == 0
    next_seq = None
    for number, (done, answers) in enumerate(asked):
        (answer,) = answers
        assert done.is_set() and isinstance(answer, Answer) and answer.batch.num_rows == number + 1
        assert next_seq in (None, answer.first_seq)
        next_seq = answer.first_seq + number + 1


def test_too_much_waiting_is_refused_and_can_be_tried_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    large = messages(*[CHAT] * MAX_ROWS)
    for _ in range(MAX_WAITING_ROWS // MAX_ROWS):
        bench.submit(large)
    with pytest.raises(ScreenerBusy) as refused:
        bench.submit(messages(CHAT))
    assert refused.value.retryable
    bench.ledger.close()


def test_a_message_without_a_time_happens_now_and_is_recorded_without_one(bench: Bench) -> None:
    answer = bench.ask(CHAT)
    assert isinstance(answer, Answer)
    (original,) = StreamReader(bench.data, "api", bench.keys).originals([answer.first_seq]).to_pylist()
    assert original["time"] is None


# ---- shadow, meter, alarms


def test_agreement_is_counted_by_what_stops_and_category() -> None:
    policy = in_force().policy
    agreement = Agreement("one", "other", 1, NOW)
    batch = messages(SPAM, CHAT)
    decided = decide(batch, policy, Counters(8)).decisions
    lenient = decide(batch, replace(policy, flag_at=1.0, block_at=1.0), Counters(8)).decisions
    compare(agreement, decided, lenient)
    compare(agreement, lenient, decided)
    category = Category(decided.column("category")[0].as_py())
    assert (agreement.messages, agreement.agree) == (4, 2)
    assert dict(agreement.freed) == {category: 1} == dict(agreement.stopped)


def test_the_meter_tells_rate_and_latency_of_the_last_minute() -> None:
    meter = Meter(1000.0)
    assert meter.latency_ms(1000.5, 0.5) is None and meter.rate_per_s(1000.5) == 0
    for number in range(100):
        meter.add(1000.0 + number / 10, 1, 0.002 if number < 99 else 0.5)
    p50, p99, worst = (meter.latency_ms(1010.0, share) for share in (0.5, 0.99, 1.0))
    assert p50 is not None and p99 is not None and worst is not None
    assert p50 == p99 == pytest.approx(2, rel=0.13) and worst == pytest.approx(500, rel=0.13)
    assert meter.rate_per_s(1010.0) == 10.0 and meter.messages == 100
    assert meter.rate_per_s(1080.0) == 0 and meter.latency_ms(1080.0, 0.5) is None


def test_an_alarm_counts_stands_until_it_is_cleared_and_fades() -> None:
    alarms = Alarms()
    alarms.raise_("a", "first", NOW)
    alarms.raise_("a", "second", NOW + timedelta(minutes=9))
    alarms.raise_("b", "other", NOW)
    (a,) = alarms.documents(NOW + timedelta(minutes=11))
    assert (a["code"], a["count"], a["detail"]) == ("a", 2, "second")
    alarms.clear("a")
    assert alarms.documents(NOW) == []
