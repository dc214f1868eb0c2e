"""A second model in the shadow: it sees the messages that the first one decided, and decides nothing.

It works in a thread of its own, behind the answers, with counters of its own. What it cannot keep up with is skipped
and counted, so it never holds up traffic. Once a minute the counts go into the ledger (`model.shadowed`): how often
both agree on stopping, and what the shadow would newly stop or free, by category.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.connectors.batch.engine import decide
from mingbai.connectors.batch.run import MAX_CAMPAIGNS
from mingbai.connectors.policy_follower import InForce
from mingbai.engines.screening.campaigns import Counters
from mingbai.gateway.meter import Alarms
from mingbai.kernel.clock import format_utc, utc_now
from mingbai.kernel.errors import MingbaiError
from mingbai.kernel.verdicts import Category, Verdict
from mingbai.ledger import Ledger

log = logging.getLogger(__name__)

KIND: Final = "model.shadowed"  # of the ledger entry
BEHIND: Final = "shadow_behind"  # the alarm
_EVERY_S: Final = 60.0
_MAX_WAITING: Final = 64  # batches; what comes beyond is skipped


@dataclass(slots=True)
class Agreement:
    """Counts since `start`, of one pair of models under one policy. stopped, freed: by the category of the model that
    stops, which the other one would let pass."""

    model: str
    shadow: str
    policy: int
    start: datetime
    agree: int = 0
    skipped: int = 0
    stopped: Counter[Category] = field(default_factory=Counter)
    freed: Counter[Category] = field(default_factory=Counter)

    @property
    def messages(self) -> int:
        return self.agree + self.stopped.total() + self.freed.total()

    def is_of(self, in_force: InForce) -> bool:
        return self.policy == in_force.version

    def document(self) -> dict[str, object]:
        return {
            "model": self.model,
            "shadow": self.shadow,
            "policy": self.policy,
            "from": format_utc(self.start),
            "messages": self.messages,
            "agree": self.agree,
            "skipped": self.skipped,
            "stopped": {category.label: count for category, count in sorted(self.stopped.items())},
            "freed": {category.label: count for category, count in sorted(self.freed.items())},
        }


class Shadow:
    """The thread. `offer` never waits."""

    def __init__(
        self, ledger: Ledger, alarms: Alarms, *, every_s: float = _EVERY_S, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._ledger = ledger
        self._alarms = alarms
        self._every_s = every_s
        self._clock = clock
        self._counters = Counters(MAX_CAMPAIGNS)
        self._queue: queue.Queue[tuple[pa.RecordBatch, pa.RecordBatch, InForce] | None] = queue.Queue(_MAX_WAITING)
        self._agreement: Agreement | None = None
        self._skipped = 0
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """See what was offered, record the counts, end."""
        self._queue.put(None)
        self._thread.join()

    def offer(self, batch: pa.RecordBatch, decisions: pa.RecordBatch, in_force: InForce) -> None:
        """Let the shadow see a batch that was decided and answered; returns at once."""
        if in_force.shadow is None:
            return
        try:
            self._queue.put_nowait((batch, decisions, in_force))
        except queue.Full:
            self._skipped += batch.num_rows
            self._alarms.raise_(BEHIND, "the shadow model skips messages", self._clock(), count=batch.num_rows)

    def document(self) -> dict[str, object] | None:
        """The counts that are not in the ledger yet; None without a shadow model."""
        agreement = self._agreement
        return None if agreement is None else agreement.document()

    def _run(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=self._wait_s())
            except queue.Empty:
                self._flush()
                continue
            if item is None:
                self._flush()
                return
            try:
                self._see(*item)
            except Exception as error:  # a shadow that fails must not end: the next batch may do
                log.error("the shadow model failed", extra={"error": type(error).__name__})
            if self._wait_s() <= 0:
                self._flush()

    def _wait_s(self) -> float:
        if self._agreement is None:
            return self._every_s
        passed = (self._clock() - self._agreement.start).total_seconds()
        return max(0.0, self._every_s - passed)

    def _see(self, batch: pa.RecordBatch, decisions: pa.RecordBatch, in_force: InForce) -> None:
        assert in_force.shadow is not None and in_force.shadow_model is not None
        if self._agreement is not None and not self._agreement.is_of(in_force):
            self._flush()
        if self._agreement is None:
            models = in_force.versions["model"], in_force.shadow_model
            self._agreement = Agreement(*models, in_force.version, self._clock())
        decided = decide(batch, in_force.shadow, self._counters)
        for update in decided.updates:
            self._counters.apply(update)
        compare(self._agreement, decisions, decided.decisions)

    def _flush(self) -> None:
        """Record the counts, if there are any, and begin anew. What cannot be recorded is counted on."""
        agreement = self._agreement
        if agreement is None:
            return
        agreement.skipped, self._skipped = agreement.skipped + self._skipped, 0
        now = self._clock()
        try:
            self._ledger.record_event(KIND, {**agreement.document(), "to": format_utc(now)}, now=now)
        except MingbaiError as error:
            log.error("the counts of the shadow model are not recorded yet", extra={"error": error.code})
            return
        self._agreement = None


def compare(agreement: Agreement, decisions: pa.RecordBatch, shadows: pa.RecordBatch) -> None:
    """Count one batch. Stopped means held or blocked."""
    stops, would = (_verdicts(one) >= Verdict.HOLD for one in (decisions, shadows))
    agreement.agree += int((stops == would).sum())
    for rows, counted, source in (
        (would & ~stops, agreement.stopped, shadows),
        (stops & ~would, agreement.freed, decisions),
    ):
        categories, counts = np.unique(source.column("category").to_numpy()[rows], return_counts=True)
        for category, count in zip(categories.tolist(), counts.tolist(), strict=True):
            counted[Category(category)] += count


def _verdicts(decisions: pa.RecordBatch) -> npt.NDArray[np.uint8]:
    verdicts: npt.NDArray[np.uint8] = decisions.column("verdict").to_numpy()
    return verdicts
