"""Replay of the record at speed: a changed rulebook or another model over millions of recorded messages, in parallel.

What `replay` asks with `screen` and counters that begin empty, this asks with `rescreen`: where only rules change, the
score stands in the record and the model need not read the message again; and a burst, which depends on what had been
counted at the time, is one where it was recorded as one. So rows are independent, the record is cut into pieces, each
read, decrypted and decided by one thread, and the pieces are put together in their order: the answer is the same for
any number of threads. A replay can be watched and stopped.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa

from mingbai.connectors.replay import Findings, Replayed, recorded_messages
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rescreen import rescreen
from mingbai.engines.screening.screen import screen
from mingbai.kernel.clock import as_utc
from mingbai.ledger import KeyStore, StreamReader
from mingbai.ledger.segments import list_segments, stream_dir

MAX_LISTED = 1000  # messages listed in each direction
PIECE_ROWS = 131_072  # two row groups of a sealed segment: small enough to watch, large enough to cost nothing
# Times of a stream rise, but for a clock that was set back: by less than this, or entries near the ends are missed.
CLOCK_SLACK = timedelta(hours=1)
_PATIENCE_S = 0.1  # between two looks at whether to stop


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is: entries gone through, of how many; and what it found so far."""

    done: int
    total: int
    newly_blocked: int
    newly_freed: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of entries of one stream, both ends included."""

    stream: str
    first_seq: int
    last_seq: int


def replay_rules(
    data_dir: Path,
    streams: Sequence[str],
    keys: KeyStore,
    policy: Policy,
    *,
    threads: int,
    present: Policy | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    prefixes: Sequence[str] = (),
    limit: int = MAX_LISTED,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Replayed:
    """What `policy` would decide otherwise than was recorded. Fast where its model is the one that decided then.

    present: compare with what this policy would decide now, instead of what was recorded. since, until: by the time of
    the decision, `until` excluded. prefixes: only messages whose access code begins with one of them. limit: messages
    listed in each direction, the earliest ones. on_progress, should_stop: called by this thread, many times a second;
    when should_stop says so, what was found until then is returned, with `is_cancelled`.
    Raises LedgerDamaged where bytes of the record are damaged, BadValue for a time without a zone.
    """
    given = _Question(data_dir, keys, policy, present, since, until, tuple(prefixes), limit, trust=True)
    return _replay(given, streams, threads, on_progress, should_stop)


def replay_model(
    data_dir: Path,
    streams: Sequence[str],
    keys: KeyStore,
    policy: Policy,
    *,
    threads: int,
    present: Policy | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    prefixes: Sequence[str] = (),
    limit: int = MAX_LISTED,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Replayed:
    """As `replay_rules`, with every message read by `policy.model`, whatever the record says of its score."""
    given = _Question(data_dir, keys, policy, present, since, until, tuple(prefixes), limit, trust=False)
    return _replay(given, streams, threads, on_progress, should_stop)


@dataclass(frozen=True, slots=True)
class _Question:
    data_dir: Path
    keys: KeyStore
    policy: Policy
    present: Policy | None
    since: datetime | None
    until: datetime | None
    prefixes: tuple[str, ...]
    limit: int
    trust: bool

    def answer(self, piece: Piece, limit: int, stop: threading.Event) -> Findings:
        """Replay one piece of a stream."""
        findings = Findings(limit)
        messages = recorded_messages(
            StreamReader(self.data_dir, piece.stream, self.keys),
            findings,
            since=self.since,
            until=self.until,
            first_seq=piece.first_seq,
            last_seq=piece.last_seq,
            prefixes=self.prefixes,
        )
        for item in messages:
            if stop.is_set():
                break
            new, read = rescreen(item.batch, item.entries, self.policy, trust=self.trust)
            old = item.entries
            if self.present is not None:
                old, _ = rescreen(item.batch, item.entries, self.present)
            findings.result.rescored += read
            findings.compare(item.batch, old, new, item, self._spans)
        return findings

    def _spans(self, messages: pa.RecordBatch) -> pa.Array:
        return screen(messages, self.policy, Counters(1))[0].column("spans")


def _replay(
    question: _Question,
    streams: Sequence[str],
    threads: int,
    on_progress: Callable[[Progress], None] | None,
    should_stop: Callable[[], bool] | None,
) -> Replayed:
    pieces = pieces_of(question.data_dir, streams, since=question.since, until=question.until)
    total = sum(piece.last_seq - piece.first_seq + 1 for piece in pieces)
    findings, stop, done = Findings(question.limit), threading.Event(), 0
    found = findings.result
    with ThreadPoolExecutor(threads, thread_name_prefix="replay") as pool:
        ahead: deque[tuple[Piece, Future[Findings]]] = deque()
        waiting = deque(pieces)
        try:
            while ahead or (waiting and not stop.is_set()):
                while waiting and len(ahead) <= threads and not stop.is_set():
                    piece = waiting.popleft()
                    wanted = question.limit - min(len(found.blocked.examples), len(found.freed.examples))
                    ahead.append((piece, pool.submit(question.answer, piece, wanted, stop)))
                piece, future = ahead.popleft()
                while not wait((future,), timeout=_PATIENCE_S).done:
                    if should_stop is not None and should_stop():
                        stop.set()
                findings.merge(future.result())
                done += piece.last_seq - piece.first_seq + 1
                if on_progress is not None and not stop.is_set():
                    on_progress(Progress(done, total, found.blocked.count, found.freed.count))
                if should_stop is not None and (ahead or waiting) and should_stop():
                    stop.set()
        except BaseException:
            stop.set()  # the other pieces need not be finished
            raise
    found.is_cancelled = stop.is_set()
    return findings.finish()


def pieces_of(
    data_dir: Path, streams: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
) -> list[Piece]:
    """The streams in pieces of `PIECE_ROWS`, in order, without those that lie wholly outside the time asked for."""
    return [piece for stream in streams for piece in _pieces(data_dir, stream, since, until)]


def _pieces(data_dir: Path, stream: str, since: datetime | None, until: datetime | None) -> list[Piece]:
    segments = list_segments(stream_dir(data_dir, stream))
    if not segments:
        return []
    reader = StreamReader(data_dir, stream)
    last = segments[-1].first_seq - 1
    for batch in reader.entries(["seq"], first_seq=segments[-1].first_seq):
        last = batch.column("seq")[-1].as_py()
    firsts = range(segments[0].first_seq, last + 1, PIECE_ROWS)

    def time_of(seq: int) -> datetime:
        at: datetime = next(reader.entries(["at"], first_seq=seq, last_seq=seq)).column("at")[0].as_py()
        return at

    begin, end = 0, len(firsts)
    if since is not None:
        begin = max(0, bisect_right(firsts, as_utc(since, "since") - CLOCK_SLACK, key=time_of) - 1)
    if until is not None:
        end = bisect_left(firsts, as_utc(until, "until") + CLOCK_SLACK, key=time_of)
    return [Piece(stream, first, min(first + PIECE_ROWS - 1, last)) for first in firsts[begin:end]]
