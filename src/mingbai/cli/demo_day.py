"""The demo's day: generated traffic, decided slice by slice as the clock goes, with the truth beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.connectors.batch.engine import decide
from mingbai.connectors.batch.record import Recorder
from mingbai.connectors.batch.tally import Tally
from mingbai.connectors.policies import read_policy
from mingbai.engines.scenarios.traffic import CHINA, traffic
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.schema import DECISION, MESSAGE
from mingbai.kernel.verdicts import Category, Reason, Verdict

HOURS = 24


@dataclass(frozen=True, slots=True)
class Shown:
    """One decided message, for the screen."""

    row: int
    text: str
    time: datetime  # China Standard Time
    verdict: Verdict
    category: Category
    score: float
    reasons: tuple[Reason, ...]
    rules: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class SeenCampaign:
    """One campaign over the whole day, counted exactly."""

    id: int
    messages: int
    stopped: int
    senders: int
    receivers: int
    first: datetime
    last: datetime
    by_hour: tuple[int, ...]
    example: Shown


@dataclass(frozen=True, slots=True)
class Truth:
    """Verdicts against what the generator knows. Stopped: held or blocked; caught: flagged as well."""

    legitimate: int
    legitimate_stopped: int
    legitimate_flagged: int
    unwanted: int
    unwanted_stopped: int
    unwanted_flagged: int
    by_category: dict[Category, tuple[int, int, int]]  # messages, stopped, flagged
    codes: int
    codes_stopped: int


@dataclass(slots=True)
class Day:
    """The day so far. `screen` moves it on."""

    traffic: pa.RecordBatch
    policy: Policy
    counters: Counters = field(default_factory=lambda: Counters(100_000))
    tally: Tally = field(default_factory=Tally)
    done: int = 0
    engine_s: float = 0.0
    ledger_s: float = 0.0
    _decisions: list[pa.RecordBatch] = field(default_factory=list)
    by_hour: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((HOURS, 2), np.int64))  # passed, stopped
    clock: datetime | None = None
    latest: list[Shown] = field(default_factory=list)  # stopped last, newest first

    @property
    def messages(self) -> int:
        return int(self.traffic.num_rows)

    def screen(self, recorder: Recorder, frames: int) -> Iterator[Day]:
        """Decide the day in `frames` equal parts of its clock, each recorded before it is shown."""
        messages = self.traffic.select(MESSAGE.names)
        hours = self._hours()
        times = np.asarray(self.traffic.column("time").cast(pa.int64()))
        start = int(times[0])
        step = (int(times[-1]) - start) // frames + 1
        for frame in range(frames):
            first, last = np.searchsorted(times, (start + frame * step, start + (frame + 1) * step))
            for at in range(int(first), int(last), 128):
                self._slice(messages.slice(at, min(128, int(last) - at)), at, hours, recorder)
            self.clock = datetime.fromtimestamp((start + (frame + 1) * step) / 1e6, CHINA)
            yield self

    def _slice(self, batch: pa.RecordBatch, at: int, hours: npt.NDArray[np.int64], recorder: Recorder) -> None:
        began = time.perf_counter()
        decided = decide(batch, self.policy, self.counters)
        for update in decided.updates:
            self.counters.apply(update)
        between = time.perf_counter()
        recorder.record(batch, decided.decisions, at=self._at(batch))
        self.ledger_s += time.perf_counter() - between
        self.engine_s += between - began
        self.tally.add(batch, decided.decisions, decided.unscreened)
        self._decisions.append(decided.decisions)
        self.done += batch.num_rows
        stopped = decided.decisions.column("verdict").to_numpy() >= Verdict.HOLD
        part = hours[at : at + batch.num_rows]
        np.add.at(self.by_hour, (part, stopped.astype(np.int64)), 1)
        for row in np.flatnonzero(stopped)[-3:].tolist():
            self.latest.insert(0, self._shown(at + row, decided.decisions.slice(row, 1)))
        del self.latest[3:]

    @staticmethod
    def _at(batch: pa.RecordBatch) -> datetime:
        """When the demo says that a slice was decided: when its last message came. Its clock is the day's own."""
        at: datetime = batch.column("time")[-1].as_py()
        return at

    def _hours(self) -> npt.NDArray[np.int64]:
        micros = np.asarray(self.traffic.column("time").cast(pa.int64()))
        return (micros // 3_600_000_000 + 8) % HOURS

    @property
    def decisions(self) -> pa.RecordBatch:
        return pa.concat_batches(self._decisions) if self._decisions else pa.RecordBatch.from_pylist([], DECISION)

    def shown(self, row: int) -> Shown:
        """A decided message by its place in the day."""
        return self._shown(row, self.decisions.slice(row, 1))

    def _shown(self, row: int, decision: pa.RecordBatch) -> Shown:
        (found,) = decision.to_pylist()
        return Shown(
            row=row,
            text=self.traffic.column("text")[row].as_py(),
            time=self.traffic.column("time")[row].as_py().astimezone(CHINA),
            verdict=Verdict(found["verdict"]),
            category=Category(found["category"]),
            score=found["score"],
            reasons=tuple(Reason(code) for code in found["reasons"]),
            rules=tuple(found["rules"]),
            spans=tuple((span["start"], span["end"]) for span in found["spans"]),
        )

    # -- what can be said at the end of it

    def examples(self, limit: int) -> list[Shown]:
        """Stopped messages as different from each other as can be: one a scenario, categories in turn."""
        decisions = self.decisions
        verdicts = decisions.column("verdict").to_numpy()
        lengths = np.array([len(text) for text in self.traffic.column("text").to_pylist()])
        scenarios = self.traffic.column("scenario").to_pylist()
        truths = self.traffic.column("category").to_numpy()
        wrong = truths < Category.ADVERTISING
        by_category: dict[int, list[int]] = {}
        seen: set[str] = set()
        candidates = np.flatnonzero((verdicts == Verdict.BLOCK) & ~wrong & (lengths >= 24) & (lengths <= 90))
        for row in np.random.default_rng(self.messages).permutation(candidates).tolist():
            if scenarios[row] not in seen:
                seen.add(scenarios[row])
                by_category.setdefault(int(decisions.column("category")[row].as_py()), []).append(row)
        order = (Category.FRAUD, Category.ILLEGAL_TRADE, Category.ADVERTISING)
        chosen: list[int] = []
        while len(chosen) < limit and any(by_category.get(category) for category in order):
            for category in order:
                if by_category.get(category) and len(chosen) < limit:
                    chosen.append(by_category[category].pop(0))
        return [self.shown(row) for row in sorted(chosen)]

    def campaigns(self, limit: int) -> list[SeenCampaign]:
        """The largest campaigns that were stopped at least in part, one a scenario."""
        decisions = self.decisions
        ids = decisions.column("campaign").to_numpy()
        stopped = decisions.column("verdict").to_numpy() >= Verdict.HOLD
        hours = self._hours()
        senders, receivers = (np.array(self.traffic.column(name).to_pylist()) for name in ("sender", "receiver"))
        scenarios = self.traffic.column("scenario").to_pylist()
        found, counts = np.unique(ids[stopped & (ids != 0)], return_counts=True)
        result: list[SeenCampaign] = []
        seen: set[str] = set()
        for campaign in found[np.argsort(-counts, kind="stable")].tolist():
            rows = np.flatnonzero(ids == np.uint64(campaign))
            hit = rows[stopped[rows]]
            scenario = scenarios[int(hit[0])]
            if scenario in seen or len(rows) < 2:
                continue
            seen.add(scenario)
            first, last = self.shown(int(rows[0])), self.shown(int(rows[-1]))
            result.append(
                SeenCampaign(
                    id=campaign,
                    messages=len(rows),
                    stopped=len(hit),
                    senders=len(set(senders[rows].tolist())),
                    receivers=len(set(receivers[rows].tolist())),
                    first=first.time,
                    last=last.time,
                    by_hour=tuple(np.bincount(hours[rows], minlength=HOURS).tolist()),
                    example=self.shown(int(hit[0])),
                )
            )
            if len(result) == limit:
                break
        return result

    def truth(self) -> Truth:
        truths = self.traffic.column("category").to_numpy()
        verdicts = self.decisions.column("verdict").to_numpy()
        stopped, flagged = verdicts >= Verdict.HOLD, verdicts == Verdict.FLAG
        unwanted = truths >= Category.ADVERTISING
        codes = np.array(
            [
                name.startswith("notification.") and "code" in name
                for name in self.traffic.column("scenario").to_pylist()
            ]
        )
        by_category = {
            category: (
                int((truths == category).sum()),
                int((stopped & (truths == category)).sum()),
                int((flagged & (truths == category)).sum()),
            )
            for category in Category
        }
        return Truth(
            legitimate=int((~unwanted).sum()),
            legitimate_stopped=int((~unwanted & stopped).sum()),
            legitimate_flagged=int((~unwanted & flagged).sum()),
            unwanted=int(unwanted.sum()),
            unwanted_stopped=int((unwanted & stopped).sum()),
            unwanted_flagged=int((unwanted & flagged).sum()),
            by_category=by_category,
            codes=int(codes.sum()),
            codes_stopped=int((codes & stopped).sum()),
        )

    def write(self, path: Path) -> None:
        """The day's messages, with the truth, as Parquet."""
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_batches([self.traffic]), path)


def begin_day(seed: int, messages: int, day: date, policy: Policy) -> Day:
    """A day before its first message. The kernels are loaded, so that what is timed later is deciding."""
    begun = Day(traffic(seed, messages, day), policy)
    counters = Counters(1000)
    for update in decide(begun.traffic.select(MESSAGE.names).slice(0, 1000), policy, counters).updates:
        counters.apply(update)
    return begun


def demo_policy(rules: Path | None, model: Path | None, *, now: datetime) -> Policy:
    """The shipped model and rulebook, unless others are given."""
    with as_file(files("mingbai.engines.screening") / "data" / "rulebook.toml") as shipped:
        return read_policy(rulebook=rules or shipped, model=model, now=now).policy()
