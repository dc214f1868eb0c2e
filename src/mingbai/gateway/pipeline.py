"""Messages -> decisions -> ledger -> answers.

One thread does it all, a batch at a time: what arrived while it was busy is the next batch. So a batch closes as soon
as the writer is free, nobody waits for a batch to fill, and under load each sync of the disk carries more. Nothing is
answered before its entry is on the disk; where the ledger cannot write, every caller of the batch is told so, nothing
counts as seen, and the next batch tries again.

Counters are applied after the entry: a batch that was not recorded leaves no trace.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from mingbai.connectors.batch.engine import Decided, decide, unscreened
from mingbai.connectors.batch.record import normalised_hashes, record_rows
from mingbai.connectors.batch.run import MAX_CAMPAIGNS
from mingbai.connectors.policy_follower import InForce
from mingbai.connectors.screening_client import ScreenerBusy, ScreenerFailed
from mingbai.connectors.screening_wire import ANSWER
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.exceptions import Exceptions
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.schema import MESSAGE, TIME, joined
from mingbai.gateway.meter import Alarms
from mingbai.kernel.clock import to_micros, utc_now
from mingbai.kernel.errors import MingbaiError
from mingbai.kernel.verdicts import Reason, Verdict
from mingbai.ledger import Ledger, LedgerCannotWrite, LedgerError, Receipt

log = logging.getLogger(__name__)

# A batch takes what waits, up to this: some 10 ms of work, so that one large request does not hold up the small ones.
MAX_BATCH_ROWS: Final = 4096
MAX_WAITING_ROWS: Final = 200_000  # some 60 MB; who comes then is told to try again
UNSCREENED: Final = "messages_unscreened"  # the alarm


@dataclass(frozen=True, slots=True)
class Answer:
    """Recorded decisions (columns of `ANSWER`), and what decided."""

    batch: pa.RecordBatch
    first_seq: int
    policy: int
    versions: dict[str, str]
    unscreened: int = 0  # rows of the whole batch that the engine failed on: reason `unscreened` says which


@dataclass(frozen=True, slots=True)
class Submission:
    """Messages on their way. reply: called once, from the pipeline's thread, with the answer or the error.

    is_bypassed: a person ordered that these are not screened; recorded they are, with reason `unscreened`. token: the
    caller's own.
    """

    batch: pa.RecordBatch  # exactly `MESSAGE`, and any of `NETWORK`
    reply: Callable[[Answer | MingbaiError], None]
    received: float  # time.monotonic()
    is_bypassed: bool = False
    unreadable: tuple[int, ...] = ()  # rows that are no text: flagged, whatever the engine makes of an empty one
    token: Any = None  # Any: see above


Seen = Callable[[pa.RecordBatch, pa.RecordBatch, InForce], None]
Recorded = Callable[[Sequence[tuple[Submission, Answer]]], None]


class Pipeline:
    """The thread. `submit` may be called from any other; `stop` finishes what was submitted."""

    def __init__(
        self,
        ledger: Ledger,
        in_force: Callable[[], InForce],
        alarms: Alarms,
        *,
        on_decided: Seen,
        on_recorded: Recorded | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """on_decided: sees each batch with its decisions after it was answered; must return at once.

        on_recorded: what else has to be on the disk before anybody is answered. Where it raises a MingbaiError, all of
        the batch are told so.
        """
        self.counters = Counters(MAX_CAMPAIGNS)
        self._ledger = ledger
        self._in_force = in_force
        self._alarms = alarms
        self._on_decided = on_decided
        self._on_recorded = on_recorded
        self._clock = clock
        self._queue: deque[Submission] = deque()
        self._waiting_rows = 0
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="pipeline")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Answer everything that was submitted, and end."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def waiting_rows(self) -> int:
        return self._waiting_rows

    def submit(self, submission: Submission) -> None:
        """Raises ScreenerBusy: too much is waiting."""
        with self._changed:
            if self._waiting_rows >= MAX_WAITING_ROWS:
                raise ScreenerBusy(waiting=self._waiting_rows)
            self._queue.append(submission)
            self._waiting_rows += submission.batch.num_rows
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._is_stopping:
                    self._changed.wait()
                if not self._queue:
                    return
                group = self._take()
            self._process(group)

    def _take(self) -> list[Submission]:
        group = [self._queue.popleft()]
        rows = group[0].batch.num_rows
        while (
            self._queue
            and rows + self._queue[0].batch.num_rows <= MAX_BATCH_ROWS
            and self._queue[0].is_bypassed is group[0].is_bypassed
        ):
            group.append(self._queue.popleft())
            rows += group[-1].batch.num_rows
        self._waiting_rows -= rows
        return group

    def _process(self, group: list[Submission]) -> None:
        """Decide, record, answer. Whatever happens, every submission gets its reply."""
        now = self._clock()
        in_force = self._in_force()
        try:
            batch = joined([one.batch for one in group])
            timed = _with_time(batch, now)
            policy = _without_expired(in_force.policy, now)
            if group[0].is_bypassed:
                decided = Decided(unscreened(batch.num_rows), (), 0)
            else:
                decided = _flag_unreadable(group, decide(timed, policy, self.counters))
            hashes = _hashes(batch, policy) if decided.text_hashes is None else decided.text_hashes
            rows = record_rows(batch, decided.decisions, in_force.versions, hashes)
            receipt = self._ledger.record(rows, now=now)
            answers = self._answers(group, decided, receipt, in_force)
            if self._on_recorded is not None:
                self._on_recorded(answers)
        except MingbaiError as error:
            self._refuse(group, error, now)
            return
        except Exception as error:  # a bug, or memory: the callers must hear of it, and the next batch may succeed
            log.exception("a batch failed", extra={"requests": len(group)})
            self._refuse(group, ScreenerFailed(failure="internal_error", detail=type(error).__name__), now)
            return
        for update in decided.updates:
            self.counters.apply(update)
        self._alarms.clear(LedgerCannotWrite.code)
        if decided.unscreened:
            self._alarms.raise_(UNSCREENED, "the engine failed on messages", now, count=decided.unscreened)
        for one, answer in answers:
            one.reply(answer)
        if not group[0].is_bypassed:
            self._on_decided(timed, decided.decisions, in_force)

    @staticmethod
    def _answers(
        group: list[Submission], decided: Decided, receipt: Receipt, in_force: InForce
    ) -> list[tuple[Submission, Answer]]:
        whole = pa.RecordBatch.from_arrays([receipt.ids, *decided.decisions.columns], schema=ANSWER)
        answers, place = [], 0
        for one in group:
            count = one.batch.num_rows
            part = whole.slice(place, count)
            first = receipt.first_seq + place
            answers.append((one, Answer(part, first, in_force.version, in_force.versions, decided.unscreened)))
            place += count
        return answers

    def _refuse(self, group: list[Submission], error: MingbaiError, now: datetime) -> None:
        code = error.code if isinstance(error, LedgerError) else ScreenerFailed.code
        log.error("nothing of a batch was recorded", extra={"error": error.code, "requests": len(group)})
        self._alarms.raise_(code, str(error), now)
        for one in group:
            one.reply(error)


def _flag_unreadable(group: list[Submission], decided: Decided) -> Decided:
    """Nothing is known against what nobody can read, and nothing for it: at least a flag, and the reason."""
    chosen, place = [], 0
    for one in group:
        chosen += [place + row for row in one.unreadable]
        place += one.batch.num_rows
    if not chosen:
        return decided
    columns = dict(zip(decided.decisions.schema.names, decided.decisions.columns, strict=True))
    verdicts, reasons = columns["verdict"].to_pylist(), columns["reasons"].to_pylist()
    for row in chosen:
        verdicts[row] = max(verdicts[row], int(Verdict.FLAG))
        reasons[row] = [*reasons[row], int(Reason.UNREADABLE)]
    columns["verdict"] = pa.array(verdicts, pa.uint8())
    columns["reasons"] = pa.array(reasons, columns["reasons"].type)
    batch = pa.RecordBatch.from_arrays(list(columns.values()), schema=decided.decisions.schema)
    return replace(decided, decisions=batch)


def _with_time(batch: pa.RecordBatch, now: datetime) -> pa.RecordBatch:
    """The batch as the rules judge it: a message that brings no time of its own happens now."""
    index = MESSAGE.get_field_index("time")
    if not batch.column(index).null_count:
        return batch
    filled = pc.fill_null(batch.column(index), pa.scalar(to_micros(now), TIME))
    return batch.set_column(index, MESSAGE.field(index), filled)


def _without_expired(policy: Policy, now: datetime) -> Policy:
    """Without exceptions that are over by our own clock: a message's own time may say otherwise, and is not ours."""
    if not any(item.expires_at <= now for item in policy.exceptions.items):
        return policy
    return replace(policy, exceptions=Exceptions.of(i for i in policy.exceptions.items if now < i.expires_at))


def _hashes(batch: pa.RecordBatch, policy: Policy) -> pa.Array:
    """Hashes of the texts as read; nulls where the engine fails, because the decision is recorded all the same."""
    try:
        return normalised_hashes(batch, policy)
    except Exception as error:
        log.error("no hash of the normalised texts: the engine failed", extra={"error": type(error).__name__})
        return pa.nulls(batch.num_rows, pa.uint64())
