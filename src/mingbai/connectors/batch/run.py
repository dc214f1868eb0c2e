"""A run over tables: files -> engine -> ledger and output. Nothing is shown as decided before its entry is durable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mingbai.connectors.batch.engine import screen_stream
from mingbai.connectors.batch.tally import Tally
from mingbai.connectors.tables import MessageReader, OutputWriter
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.policy import Policy

if TYPE_CHECKING:
    from mingbai.connectors.batch.record import Recorder

# Campaigns that the counters of a run keep (about 1 kB each at most). A quarter million is some days of a province's
# bulk traffic within two hours, and keeps ten million messages well under 1 GiB.
MAX_CAMPAIGNS = 250_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. total_bytes: None if a pipe is among the inputs."""

    messages: int
    bytes_read: int
    total_bytes: int | None


def screen_tables(
    reader: MessageReader,
    policy: Policy,
    *,
    threads: int,
    counters: Counters | None = None,
    output: OutputWriter | None = None,
    recorder: Recorder | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    with_campaigns: bool = True,
) -> Tally:
    """Decide everything that the reader gives. Returns the counts; with_campaigns: also of campaigns, which costs time.

    For each batch, in input order: recorded (if there is a recorder) and durable, then written to the output. Raises
    what reader, recorder and output raise; what was recorded stays recorded. The output is the caller's to close.
    """
    tally = Tally(with_campaigns=with_campaigns)
    counters = counters if counters is not None else Counters(MAX_CAMPAIGNS)
    for result in screen_stream(reader, lambda item: item.batch, policy, counters, threads=threads):
        item, decisions = result.item, result.decided.decisions
        if recorder is not None:
            recorder.record(result.batch, decisions, text_hashes=result.decided.text_hashes)
        if output is not None:
            output.write(item.rows, decisions, item.kept)
        tally.add(result.batch, decisions, result.decided.unscreened)
        if on_progress is not None:
            on_progress(Progress(tally.messages, item.bytes_read, reader.total_bytes))
    return tally
