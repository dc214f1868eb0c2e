"""The engine over a stream of batches: on threads, in order, with counters, under the failure rule.

Batches go through in *waves*. All batches of a wave are screened side by side against the same counters; then their
updates are applied in order, and the next wave begins. What a batch sees therefore depends on its number alone, never
on how many threads there are or how fast they were: one thread and sixty-four give equal bytes. Waves start with one
batch, so that a small file knows its campaigns at once, and grow to `MAX_WAVE`, so that a large one keeps the cores
busy: there a burst is seen up to `MAX_WAVE` batches later than it could be.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa

from mingbai.engines.screening.campaigns import EMPTY, Counters, CounterUpdates
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.schema import DECISION, column
from mingbai.engines.screening.screen import screen_and_hash
from mingbai.kernel.verdicts import Category, Reason, Verdict

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_WAVE = 16
# A wave is at most this part of the batches before it: a file of n batches sees its first quarter one by one.
_GROWTH = 4
# Calls to find the messages at fault in a batch that fails: enough for four of 8192 rows, each found in 26 calls. When
# they are used up, what has not been tried passes unscreened too.
MAX_TRIES = 128
_HASH = pa.uint64()


@dataclass(frozen=True, slots=True)
class Decided:
    """`DECISION` rows of one batch, what it adds to the counters, and how many rows the engine failed on.

    text_hashes: uint64, the hash of each text as it was read, null in those rows; None where nothing was screened.
    """

    decisions: pa.RecordBatch
    updates: tuple[CounterUpdates, ...]
    unscreened: int
    text_hashes: pa.Array | None = None


@dataclass(frozen=True, slots=True)
class Screened(Generic[T]):
    """One item of the stream with its decisions."""

    item: T
    batch: pa.RecordBatch
    decided: Decided


def decide(batch: pa.RecordBatch, policy: Policy, counters: Counters) -> Decided:
    """`screen`, and where it fails the written rule (docs/explanation/failure.md): the messages concerned are allowed
    with reason `unscreened`, an alarm is raised, the others keep their decisions.
    """
    tries = MAX_TRIES

    def attempt(part: pa.RecordBatch) -> Decided:
        nonlocal tries
        tries -= 1
        try:
            decisions, updates, hashes = screen_and_hash(part, policy, counters)
            return Decided(decisions, (updates,), 0, column(_HASH, hashes))
        except Exception as error:  # whatever it is, a message must not be lost to it
            if part.num_rows > 1 and tries > 0:
                middle = part.num_rows // 2
                halves = [attempt(part.slice(0, middle)), attempt(part.slice(middle))]
                return Decided(
                    pa.concat_batches([half.decisions for half in halves]),
                    tuple(update for half in halves for update in half.updates),
                    sum(half.unscreened for half in halves),
                    pa.concat_arrays([half.text_hashes for half in halves if half.text_hashes is not None]),
                )
            # The text of the error may quote the message, so only its kind is logged.
            alarm = {"rows": part.num_rows, "error": type(error).__name__}
            log.error("messages pass unscreened: the engine failed", extra=alarm)
            return Decided(unscreened(part.num_rows), (), part.num_rows, pa.nulls(part.num_rows, _HASH))

    if batch.num_rows == 0:
        return Decided(unscreened(0), (), 0)
    return attempt(batch)


def unscreened(rows: int) -> pa.RecordBatch:
    """Decisions for messages that the engine failed on: allowed, and the reason says so."""
    values: dict[str, pa.Array] = {
        "verdict": pa.array(np.full(rows, Verdict.ALLOW, np.uint8)),
        "category": pa.array(np.full(rows, Category.PERSONAL, np.uint8)),
        "score": pa.array(np.zeros(rows, np.float32)),
        "reasons": pa.array([[int(Reason.UNSCREENED)]] * rows, DECISION.field("reasons").type),
        "campaign": pa.array(np.zeros(rows, np.uint64)),
        "fingerprint": pa.array([np.full(16, EMPTY, np.uint16).tobytes()] * rows, pa.binary(32)),
    }
    columns = [values[field.name] if field.name in values else pa.array([[]] * rows, field.type) for field in DECISION]
    return pa.RecordBatch.from_arrays(columns, schema=DECISION)


def screen_stream(
    items: Iterable[T],
    batch_of: Callable[[T], pa.RecordBatch],
    policy: Policy,
    counters: Counters,
    *,
    threads: int,
) -> Iterator[Screened[T]]:
    """Decide batches of `MESSAGE` as they come; results come in order, counters are applied as they do.

    While one wave is screened, the next is read from `items` and the last is with the caller: memory is three waves,
    however long the stream. An exception of `items` passes through.
    """
    source = iter(items)
    done = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="screen") as pool:

        def start(wave: list[T]) -> list[tuple[T, pa.RecordBatch, Future[Decided]]]:
            batches = [batch_of(item) for item in wave]
            futures = [pool.submit(decide, batch, policy, counters) for batch in batches]
            return list(zip(wave, batches, futures, strict=True))

        running = start(list(islice(source, 1)))
        while running:
            done += len(running)
            following = list(islice(source, min(MAX_WAVE, max(1, done // _GROWTH))))
            results = [Screened(item, batch, future.result()) for item, batch, future in running]
            for result in results:
                for update in result.decided.updates:
                    counters.apply(update)
            running = start(following)
            yield from results
