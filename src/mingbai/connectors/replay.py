"""Replay: what would a changed rulebook or model newly block, and newly free, of traffic that was decided before?

Two sources: what the ledger recorded, where the text is still kept; and files, decided by the policy in force and by
the new one. The recorded verdict is what was; the new one is what `screen` says now, with counters that begin empty,
as they did then. Where a text is no longer kept, the keyed hash of what it was read as still tells whether the same
text was answered elsewhere; what remains is counted as not answered.

`replay_record` asks the same of the record many times faster, for rulebooks that are tried again and again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID

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
# Of an entry, what a replay needs.
_COLUMNS = (
    *("seq", "id", "at", "kind", "verdict", "category", "score", "reasons", "rules"),
    *("access_code", "text_hash", "model"),
)


@dataclass(frozen=True, slots=True)
class EntryRef:
    """Where a recorded decision stands."""

    stream: str
    seq: int
    id: UUID
    at: datetime
    access_code: str | None


@dataclass(frozen=True, slots=True)
class Example:
    """One message whose fate would change; `text` is the original, not masked.

    category, rules, spans: of the new decision; old_rules: that fired then; entry: None for messages of a file.
    """

    old: Verdict
    new: Verdict
    category: Category
    text: str
    spans: tuple[tuple[int, int], ...]
    rules: tuple[str, ...]
    old_rules: tuple[str, ...] = ()
    entry: EntryRef | None = None


@dataclass(slots=True)
class Change:
    """Messages that change in one direction. by_hash: not answered, but the same text was, and changes so.

    examples: the first ones. rules: that fire now, old_rules: that fired then. categories: of the stopping decision,
    so the new one's for what is newly blocked and the old one's for what is newly freed.
    """

    count: int = 0
    by_hash: int = 0
    examples: list[Example] = field(default_factory=list)
    rules: Counter[str] = field(default_factory=Counter)
    old_rules: Counter[str] = field(default_factory=Counter)
    categories: Counter[Category] = field(default_factory=Counter)
    access_codes: Counter[str] = field(default_factory=Counter)

    def merge(self, later: Change, limit: int) -> None:
        """Add what was found in messages after these."""
        self.count += later.count
        self.by_hash += later.by_hash
        self.examples += later.examples[: limit - len(self.examples)]
        self.rules += later.rules
        self.old_rules += later.old_rules
        self.categories += later.categories
        self.access_codes += later.access_codes


@dataclass(slots=True)
class Replayed:
    """What a replay found. Stopped means held or blocked. no_text: why a text could not be had, and how many.

    rescored: messages that the model had to read again; is_cancelled: it was told to stop, so this is only a part.
    """

    answered: int = 0
    unchanged: int = 0
    shifted: int = 0  # another verdict, on the same side: flag to allow, hold to block
    blocked: Change = field(default_factory=Change)
    freed: Change = field(default_factory=Change)
    no_text: Counter[Kept] = field(default_factory=Counter)
    unscreened: int = 0
    rescored: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    is_cancelled: bool = False

    @property
    def unanswered(self) -> int:
        return sum(self.no_text.values())


@dataclass(frozen=True, slots=True)
class Recorded:
    """Recorded messages whose text is kept: as a `MESSAGE` batch, and their entries (`_COLUMNS`), row for row."""

    stream: str
    batch: pa.RecordBatch
    entries: pa.RecordBatch

    def slice(self, start: int, rows: int) -> Recorded:
        return Recorded(self.stream, self.batch.slice(start, rows), self.entries.slice(start, rows))


class Findings:
    """Gathers a `Replayed` from batch to batch. limit: examples kept in each direction."""

    def __init__(self, limit: int = MAX_EXAMPLES) -> None:
        self.result = Replayed()
        self.limit = limit
        self._unanswered: list[tuple[pa.Array, npt.NDArray[np.uint8]]] = []
        self._held = 0
        self._changed: dict[bytes, bool] = {}  # hash of a text that changes -> is it newly blocked

    def see_times(self, entries: pa.RecordBatch) -> None:
        """Widen the time that the answer is about."""
        at = entries.column("at")
        self.result.first_at = self.result.first_at or at[0].as_py()
        self.result.last_at = at[-1].as_py()

    def lose(self, entries: pa.RecordBatch, kept: pa.Array) -> None:
        """Entries without a text to ask about, and why (`Kept`)."""
        for item in pc.value_counts(kept).to_pylist():
            self.result.no_text[Kept(item["values"])] += item["counts"]
        if entries.num_rows and self._held < MAX_UNANSWERED_KEPT:
            self._held += entries.num_rows
            self._unanswered.append((entries.column("text_hash"), entries.column("verdict").to_numpy()))

    def compare(
        self,
        batch: pa.RecordBatch,
        old: pa.RecordBatch,
        new: pa.RecordBatch,
        item: Recorded | None = None,
        spans_of: Callable[[pa.RecordBatch], pa.Array] | None = None,
    ) -> None:
        """Count one batch of messages. old, new: verdict, category, rules of each; item: their entries, if recorded;
        spans_of: marks some messages, where `new` has no spans."""
        before, after = old.column("verdict").to_numpy(), new.column("verdict").to_numpy()
        was, will = before >= Verdict.HOLD, after >= Verdict.HOLD
        result = self.result
        result.answered += batch.num_rows
        result.unchanged += int((before == after).sum())
        result.shifted += int(((before != after) & (was == will)).sum())
        for change, is_blocked in ((result.blocked, True), (result.freed, False)):
            rows = np.flatnonzero(~was & will if is_blocked else was & ~will)
            if not rows.size:
                continue
            change.count += rows.size
            taken = pa.array(rows)
            _count(change.rules, new.column("rules").take(taken).flatten())
            _count(change.old_rules, old.column("rules").take(taken).flatten())
            categories = (new if is_blocked else old).column("category").to_numpy()[rows]
            for code, count in zip(*np.unique(categories, return_counts=True), strict=True):
                change.categories[Category(int(code))] += int(count)
            if batch.schema.get_field_index("access_code") >= 0:
                _count(change.access_codes, batch.column("access_code").take(taken))
            if item is not None:
                for value in item.entries.column("text_hash").take(taken).to_pylist():
                    if value is not None:
                        self._changed[value] = is_blocked
            some = taken[: self.limit - len(change.examples)]
            if len(some):
                spans = new.column("spans").take(some) if spans_of is None else spans_of(batch.take(some))
                entries = None if item is None else _refs(item.stream, item.entries.take(some))
                change.examples += _examples(batch.take(some), old.take(some), new.take(some), spans, entries)

    def merge(self, later: Findings) -> None:
        """Add what was found in messages after these."""
        mine, theirs = self.result, later.result
        for name in ("answered", "unchanged", "shifted", "unscreened", "rescored"):
            setattr(mine, name, getattr(mine, name) + getattr(theirs, name))
        mine.blocked.merge(theirs.blocked, self.limit)
        mine.freed.merge(theirs.freed, self.limit)
        mine.no_text += theirs.no_text
        mine.first_at = mine.first_at or theirs.first_at
        mine.last_at = theirs.last_at or mine.last_at
        self._changed |= later._changed
        if self._held < MAX_UNANSWERED_KEPT:
            self._held += later._held
            self._unanswered += later._unanswered

    def finish(self) -> Replayed:
        """The answer, with those that have no text judged by the hash of what they were read as."""
        for is_blocked, change in ((True, self.result.blocked), (False, self.result.freed)):
            hashes = [value for value, way in self._changed.items() if way is is_blocked]
            for asked, verdicts in self._unanswered if hashes else ():
                known = pa.array(hashes, asked.type)
                hit = pc.is_in(asked, value_set=known, skip_nulls=True).to_numpy(zero_copy_only=False)
                concerned = verdicts < Verdict.HOLD if is_blocked else verdicts >= Verdict.HOLD
                change.by_hash += int((hit & concerned).sum())
        self._unanswered = []
        return self.result


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
    findings = Findings()

    def items() -> Iterator[Recorded]:
        for stream in streams:
            reader = StreamReader(data_dir, stream, keys)
            for item in recorded_messages(reader, findings, since=since, until=until):
                for start in range(0, item.batch.num_rows, _BATCH_ROWS):
                    yield item.slice(start, _BATCH_ROWS)

    for done in screen_stream(items(), lambda item: item.batch, policy, Counters(MAX_CAMPAIGNS), threads=threads):
        findings.result.unscreened += done.decided.unscreened
        findings.result.rescored += done.batch.num_rows
        findings.compare(done.batch, done.item.entries, done.decided.decisions, done.item)
    return findings.finish()


def replay_tables(reader: MessageReader, old: Policy, new: Policy, *, threads: int) -> Replayed:
    """Decide the messages of files by two policies."""
    findings = Findings()
    old_counters = Counters(MAX_CAMPAIGNS)
    for done in screen_stream(reader, lambda item: item.batch, new, Counters(MAX_CAMPAIGNS), threads=threads):
        before, updates = screen(done.batch, old, old_counters)
        old_counters.apply(updates)
        findings.result.unscreened += done.decided.unscreened
        findings.result.rescored += done.batch.num_rows
        findings.compare(done.batch, before, done.decided.decisions)
    return findings.finish()


def recorded_messages(
    reader: StreamReader,
    findings: Findings,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    first_seq: int = 1,
    last_seq: int | None = None,
    prefixes: Sequence[str] = (),
) -> Iterator[Recorded]:
    """Recorded messages whose text is kept; the others are counted into `findings`.

    prefixes: only of access codes that begin with one of them (none: of all, and those without an access code).
    """
    for entries, originals in reader.entries_with_originals(
        _COLUMNS, first_seq=first_seq, last_seq=last_seq, since=since, until=until
    ):
        chosen = pc.equal(entries.column("kind"), Kind.SMS_SCREENED.value)
        if prefixes:
            chosen = pc.and_(chosen, begins_with(entries.column("access_code"), prefixes))
        entries, originals = _those(entries, chosen), _those(originals, chosen)
        if not entries.num_rows:
            continue
        findings.see_times(entries)
        is_kept = pc.equal(originals.column("text_kept"), Kept.KEPT.value)
        if is_kept.false_count:
            gone = pc.invert(is_kept)
            findings.lose(entries.filter(gone), originals.column("text_kept").filter(gone))
            entries, originals = entries.filter(is_kept), originals.filter(is_kept)
            if not entries.num_rows:
                continue
        message = pa.record_batch(
            {
                "text": originals.column("text"),
                "sender": originals.column("sender"),
                "receiver": originals.column("receiver"),
                "access_code": entries.column("access_code"),
                # A message without a time of its own happened when it was decided.
                "time": pc.coalesce(originals.column("time"), entries.column("at")),
            }
        )
        yield Recorded(reader.stream, message, entries)


def _those(batch: pa.RecordBatch, chosen: pa.BooleanArray) -> pa.RecordBatch:
    """`filter`, which copies everything, only where something is to be left out."""
    return batch.filter(chosen) if chosen.false_count else batch


def begins_with(codes: pa.Array, prefixes: Sequence[str]) -> pa.Array:
    """Which access codes begin with one of the prefixes; never a null."""
    result = pa.array(np.zeros(len(codes), np.bool_))
    for prefix in prefixes:
        result = pc.or_(result, pc.starts_with(codes, prefix).fill_null(False))
    return result


def _count(into: Counter[str], values: pa.Array) -> None:
    for item in pc.value_counts(values.drop_null()).to_pylist():
        into[item["values"]] += item["counts"]


def _refs(stream: str, entries: pa.RecordBatch) -> list[EntryRef]:
    columns = (entries.column(name).to_pylist() for name in ("seq", "id", "at", "access_code"))
    return [EntryRef(stream, seq, UUID(bytes=id), at, code) for seq, id, at, code in zip(*columns, strict=True)]


def _examples(
    batch: pa.RecordBatch, old: pa.RecordBatch, new: pa.RecordBatch, spans: pa.Array, refs: list[EntryRef] | None
) -> Iterator[Example]:
    marks = spans.to_pylist()
    for row in range(batch.num_rows):
        yield Example(
            old=Verdict(old.column("verdict")[row].as_py()),
            new=Verdict(new.column("verdict")[row].as_py()),
            category=Category(new.column("category")[row].as_py()),
            text=batch.column("text")[row].as_py() or "",
            spans=tuple((span["start"], span["end"]) for span in marks[row]),
            rules=tuple(new.column("rules")[row].as_py()),
            old_rules=tuple(old.column("rules")[row].as_py() or ()),
            entry=None if refs is None else refs[row],
        )
