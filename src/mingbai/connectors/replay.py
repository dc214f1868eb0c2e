"""Replay: what would a changed rulebook or model newly block, and newly free, of traffic that was decided before?

Two sources: what the ledger recorded, where the text is still kept; and files, decided by the policy in force and by
the new one. The recorded verdict is what was; the new one is what `screen` says now, with counters that begin empty,
as they did then. Where a text is no longer kept, the keyed hash of what it was read as still tells whether the same
text was answered elsewhere; what remains is counted as not answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mingbai.connectors.batch.engine import screen_stream
from mingbai.connectors.batch.run import MAX_CAMPAIGNS
from mingbai.connectors.tables import MessageReader
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.screen import screen
from mingbai.kernel.verdicts import Category, Verdict
from mingbai.ledger import Kept, KeyStore, Kind, StreamReader

MAX_EXAMPLES = 10
MAX_UNANSWERED_KEPT = 5_000_000  # hashes held to be looked up at the end: 85 MB; more are only counted
_BATCH_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Example:
    """One message whose fate would change; `text` is the original, not masked."""

    old: Verdict
    new: Verdict
    category: Category
    text: str
    spans: tuple[tuple[int, int], ...]
    rules: tuple[str, ...]


@dataclass(slots=True)
class Change:
    """Messages that change in one direction. by_hash: not answered, but the same text was, and changes so."""

    count: int = 0
    by_hash: int = 0
    examples: list[Example] = field(default_factory=list)
    rules: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Replayed:
    """What a replay found. Stopped means held or blocked. no_text: why a text could not be had, and how many."""

    answered: int = 0
    unchanged: int = 0
    shifted: int = 0  # another verdict, on the same side: flag to allow, hold to block
    blocked: Change = field(default_factory=Change)
    freed: Change = field(default_factory=Change)
    no_text: Counter[Kept] = field(default_factory=Counter)
    unscreened: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None

    @property
    def unanswered(self) -> int:
        return sum(self.no_text.values())


@dataclass(frozen=True, slots=True)
class _Recorded:
    batch: pa.RecordBatch
    verdicts: npt.NDArray[np.uint8]
    hashes: pa.Array


def replay_ledger(
    data_dir: Path,
    streams: list[str],
    keys: KeyStore,
    policy: Policy,
    *,
    threads: int,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Replayed:
    """Decide anew what the streams recorded. since, until: by the time of the decision, `until` excluded."""
    result = Replayed()
    unanswered: list[tuple[pa.Array, npt.NDArray[np.uint8]]] = []
    changed: dict[bytes, bool] = {}  # hash of a text that changes -> is it newly blocked
    items = _recorded(data_dir, streams, keys, since, until, result, unanswered)
    for done in screen_stream(items, lambda item: item.batch, policy, Counters(MAX_CAMPAIGNS), threads=threads):
        result.unscreened += done.decided.unscreened
        blocked, freed = _compare(result, done.batch, done.item.verdicts, done.decided.decisions)
        for rows, is_blocked in ((blocked, True), (freed, False)):
            for value in done.item.hashes.take(pa.array(rows)).to_pylist() if rows.size else ():
                if value is not None:
                    changed[value] = is_blocked
    for hashes, verdicts in unanswered:
        for is_blocked, change, was in (
            (True, result.blocked, verdicts < Verdict.HOLD),
            (False, result.freed, verdicts >= Verdict.HOLD),
        ):
            known = pa.array([value for value, way in changed.items() if way is is_blocked], hashes.type)
            hit = pc.is_in(hashes, value_set=known, skip_nulls=True).to_numpy(zero_copy_only=False)
            change.by_hash += int((hit & was).sum())
    return result


def replay_tables(reader: MessageReader, old: Policy, new: Policy, *, threads: int) -> Replayed:
    """Decide the messages of files by two policies."""
    result = Replayed()
    old_counters = Counters(MAX_CAMPAIGNS)
    for done in screen_stream(reader, lambda item: item.batch, new, Counters(MAX_CAMPAIGNS), threads=threads):
        before, updates = screen(done.batch, old, old_counters)
        old_counters.apply(updates)
        result.unscreened += done.decided.unscreened
        _compare(result, done.batch, before.column("verdict").to_numpy(), done.decided.decisions)
    return result


def _recorded(
    data_dir: Path,
    streams: list[str],
    keys: KeyStore,
    since: datetime | None,
    until: datetime | None,
    result: Replayed,
    unanswered: list[tuple[pa.Array, npt.NDArray[np.uint8]]],
) -> Iterator[_Recorded]:
    """Recorded messages whose text is kept, as `MESSAGE` batches; the others are counted into `result`."""
    columns = ["at", "kind", "verdict", "access_code", "text_hash"]
    held = 0
    for stream in streams:
        reader = StreamReader(data_dir, stream, keys)
        for entries, originals in reader.entries_with_originals(columns, since=since, until=until):
            is_sms = pc.equal(entries.column("kind"), Kind.SMS_SCREENED.value)
            entries, originals = entries.filter(is_sms), originals.filter(is_sms)
            if not entries.num_rows:
                continue
            result.first_at = result.first_at or entries.column("at")[0].as_py()
            result.last_at = entries.column("at")[-1].as_py()
            is_kept = pc.equal(originals.column("text_kept"), Kept.KEPT.value)
            gone = pc.invert(is_kept)
            for item in pc.value_counts(originals.column("text_kept").filter(gone)).to_pylist():
                result.no_text[Kept(item["values"])] += item["counts"]
            lost = entries.filter(gone)
            if lost.num_rows and held < MAX_UNANSWERED_KEPT:
                held += lost.num_rows
                unanswered.append((lost.column("text_hash"), lost.column("verdict").to_numpy()))
            entries, originals = entries.filter(is_kept), originals.filter(is_kept)
            # A message without a time of its own happened when it was decided.
            times = pc.coalesce(originals.column("time"), entries.column("at"))
            message = pa.record_batch(
                {
                    "text": originals.column("text"),
                    "sender": originals.column("sender"),
                    "receiver": originals.column("receiver"),
                    "access_code": entries.column("access_code"),
                    "time": times,
                }
            )
            verdicts = entries.column("verdict").to_numpy()
            for at in range(0, entries.num_rows, _BATCH_ROWS):
                part = slice(at, at + _BATCH_ROWS)
                hashes = entries.column("text_hash").slice(at, _BATCH_ROWS)
                yield _Recorded(message.slice(at, _BATCH_ROWS), verdicts[part], hashes)


def _compare(
    result: Replayed, batch: pa.RecordBatch, old: npt.NDArray[np.uint8], decisions: pa.RecordBatch
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count one batch; returns the rows newly blocked and newly freed."""
    new = decisions.column("verdict").to_numpy()
    was, will = old >= Verdict.HOLD, new >= Verdict.HOLD
    result.answered += batch.num_rows
    result.unchanged += int((old == new).sum())
    result.shifted += int(((old != new) & (was == will)).sum())
    blocked, freed = np.flatnonzero(~was & will), np.flatnonzero(was & ~will)
    for change, rows in ((result.blocked, blocked), (result.freed, freed)):
        change.count += rows.size
        if rows.size:
            fired = decisions.column("rules").take(pa.array(rows))
            for item in pc.value_counts(fired.flatten()).to_pylist():
                change.rules[item["values"]] += item["counts"]
        for row in rows[: MAX_EXAMPLES - len(change.examples)].tolist():
            change.examples.append(
                Example(
                    old=Verdict(int(old[row])),
                    new=Verdict(int(new[row])),
                    category=Category(decisions.column("category")[row].as_py()),
                    text=batch.column("text")[row].as_py() or "",
                    spans=tuple((span["start"], span["end"]) for span in decisions.column("spans")[row].as_py()),
                    rules=tuple(decisions.column("rules")[row].as_py()),
                )
            )
    return blocked, freed
