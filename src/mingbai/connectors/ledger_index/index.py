"""`LedgerIndex`: the door. One object a process, for all streams of a data directory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import numpy as np

from mingbai.connectors.ledger_index.block import Block
from mingbai.connectors.ledger_index.counts import campaign_view, overview
from mingbai.connectors.ledger_index.filters import Filter
from mingbai.connectors.ledger_index.hits import Place, read_hits
from mingbai.connectors.ledger_index.originals import PlacedReader
from mingbai.connectors.ledger_index.query import (
    EVERYTHING,
    CampaignView,
    Cursor,
    Decision,
    Hit,
    Overview,
    Page,
    Query,
    Scope,
    TextPage,
    window_us,
)
from mingbai.connectors.ledger_index.rows import Array
from mingbai.connectors.ledger_index.search import search
from mingbai.connectors.ledger_index.stream_index import StreamIndex
from mingbai.connectors.ledger_index.texts import text_search
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.verdicts import Verdict
from mingbai.ledger import ENTRY, KeyStore, list_streams
from mingbai.ledger.files import FileOps

MAX_PAGE = 1000
MAX_STEPS = 10_000
MAX_UNINDEXED_ROWS = 4 << 20  # entries of closed segments that a question may sort in memory (72 bytes each)
_SCOPE_COLUMNS = ("verdict", "access_code", "receiver")
T = TypeVar("T")


class IndexBehind(MingbaiError):
    """Too much of the ledger is not indexed (yet) for a count; `search` still works, newest first."""

    code = "index_behind"
    template = "the index is being built: {missing} of {rows} entries are missing"
    retryable = True


class LedgerIndex:
    """Answers what people ask of the ledger. Safe to use from several threads.

    Every answer covers all durable entries, indexed or not. Besides what each method says, all raise BadValue for a
    question that makes no sense, LedgerDamaged where the ledger itself cannot be read, and those that count (all but
    `search`, `text_search`, `find`, `decision`) IndexBehind while a long ledger is being indexed for the first time.
    """

    def __init__(self, data_dir: Path | str, keys: KeyStore | None = None, ops: FileOps | None = None) -> None:
        """keys: for what shows originals (`decision`, `text_search`); ops: how the owner writes."""
        self._data = Path(data_dir)
        self._keys = keys
        self._ops = ops
        self._streams: dict[str, StreamIndex] = {}
        self._lock = threading.Lock()

    def advance(self, now: datetime, *, max_rows: int = 4 << 20) -> int:
        """Index what is new; returns how many rows that were. For one process, which calls it again and again, at once
        after more than 0. A second one that tries gets 0. Use an object of its own for it: who reads through this one
        waits. Raises OSError if the disk refuses: nothing is lost."""
        return sum(index.advance(now, max_rows) for index in self._chosen(None))

    # -- many decisions

    def overview(
        self,
        since: datetime,
        until: datetime,
        scope: Scope = EVERYTHING,
        *,
        stream: str | None = None,
        step_s: int | None = None,
    ) -> Overview:
        """Counts of a window. step_s: of the series, whole minutes from the minute of `since` on; None: what fits."""
        chosen = Filter(Query(since, until, stream), scope)
        if step_s is not None:
            steps = (until - since).total_seconds() / step_s if step_s > 0 else 0
            if step_s <= 0 or step_s % 60 or steps > MAX_STEPS:
                raise BadValue(field="step_s", value=step_s, expected=f"whole minutes, at most {MAX_STEPS} steps")
        return self._answer(lambda: overview(self._blocks(stream, chosen), chosen, since, until, step_s))

    def campaign(
        self, campaign: int, since: datetime | None = None, until: datetime | None = None, scope: Scope = EVERYTHING
    ) -> CampaignView:
        """One campaign: growth, verdicts, senders and receivers, variants. Without a window: all of it."""
        query = Query(since, until, campaign=campaign)
        chosen = Filter(query, scope)
        low, high = window_us(since, until)
        view = self._answer(lambda: campaign_view(self._blocks(None, chosen), chosen, low, high, campaign))
        hashes: dict[tuple[str, int], bytes | None] = {}
        for stream in {variant.example[0] for variant in view.variants}:
            seqs = sorted(variant.example[1] for variant in view.variants if variant.example[0] == stream)
            for batch in self._index(stream).source.entries(seqs, ("seq", "text_hash")):
                hashes.update(((stream, row["seq"]), row["text_hash"]) for row in batch.to_pylist())
        variants = [replace(one, text_hash=hashes[one.example]) for one in view.variants if one.example in hashes]
        return replace(view, variants=tuple(variants))

    def search(
        self,
        query: Query,
        limit: int = 50,
        cursor: str | None = None,
        scope: Scope = EVERYTHING,
        *,
        budget_s: float | None = None,
    ) -> Page:
        """Decisions that fit, newest first. cursor: `next_cursor` of the page before, for the same query and scope.
        budget_s: seconds after which the page is given as far as it is."""
        _check_limit(limit)
        chosen = Filter(query, scope)
        start = None if cursor is None else Cursor.from_text(cursor)
        return self._answer(lambda: search(self._chosen(query.stream), chosen, limit, start, budget_s))

    def count(self, query: Query, scope: Scope = EVERYTHING) -> dict[Verdict, int]:
        """How many decisions fit, by verdict."""
        chosen = Filter(query, scope)

        def counted() -> dict[Verdict, int]:
            counts = np.zeros(256, np.int64)
            for _, block in self._blocks(query.stream, chosen):
                counts += np.bincount(block.arrays["verdict"][chosen.rows(block)], minlength=256)
            return {verdict: int(counts[verdict]) for verdict in Verdict}

        return self._answer(counted)

    def matching(self, query: Query, scope: Scope = EVERYTHING) -> Iterator[tuple[str, Array]]:
        """All that fits, as (stream, ascending seqs), stream by stream from the newest part to the oldest: for exports
        and for decisions on a whole campaign."""
        chosen = Filter(query, scope)
        for stream, block in self._blocks(query.stream, chosen):
            rows = chosen.rows(block)
            if len(rows):
                yield stream, rows + block.head.first_seq

    def text_search(
        self,
        query: Query,
        words: tuple[str, ...],
        limit: int = 50,
        cursor: str | None = None,
        scope: Scope = EVERYTHING,
        *,
        budget_s: float | None = None,
        threads: int | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> TextPage:
        """Decisions that fit and whose original text holds every word, upper and lower case alike, newest first.

        Texts are decrypted on all cores (or `threads`). on_progress(texts looked at, of how many at most).
        """
        _check_limit(limit)
        wanted = tuple(word for word in words if word.strip())
        if not wanted:
            raise BadValue(field="words", value=words, expected="at least one word")
        if self._keys is None:
            raise BadValue(field="keys", value=None, expected="a KeyStore: texts are encrypted")
        keys, chosen = self._keys, Filter(query, scope)
        start = None if cursor is None else Cursor.from_text(cursor)
        return self._answer(
            lambda: text_search(
                self._data,
                keys,
                self._chosen(query.stream),
                chosen,
                wanted,
                limit,
                start,
                budget_s,
                threads,
                on_progress,
            )
        )

    # -- one decision

    def find(self, id: UUID) -> tuple[str, int] | None:
        """Stream and seq of the entry with that id."""
        ms = id.int >> 80
        for index in self._chosen(None):
            for part in index.parts():
                block = part.load()
                if not block.head.min_ms <= ms <= block.head.max_ms:
                    continue
                for start, end in block.rows_of_ms(ms):
                    seqs = range(block.head.first_seq + start, block.head.first_seq + end)
                    for batch in index.source.entries(seqs, ("seq", "id")):
                        ids = batch.column("id").to_pylist()
                        if id.bytes in ids:
                            return index.stream, batch.column("seq")[ids.index(id.bytes)].as_py()
        return None

    def decision(self, stream: str, seq: int, scope: Scope = EVERYTHING) -> Decision | None:
        """The whole entry and its original; None if there is none, or the caller may not see it, or it is none."""
        entry = self._entry(stream, seq, scope, ENTRY.names)
        if entry is None:
            return None
        original = None
        if self._keys is not None:
            reader = PlacedReader(self._data, self._index(stream).source, self._keys)
            (original,) = reader.originals([seq]).to_pylist()
        return Decision(stream, seq, entry, original)

    def neighbours(self, stream: str, seq: int, limit: int = 20, scope: Scope = EVERYTHING) -> list[Hit]:
        """Decisions of the same campaign nearest in the stream, newest first, the decision itself left out: as many
        before as after it, where there are so many."""
        _check_limit(limit)
        entry = self._entry(stream, seq, scope, ("campaign", *_SCOPE_COLUMNS))
        if entry is None or not entry["campaign"]:
            return []
        chosen = Filter(Query(stream=stream, campaign=entry["campaign"]), scope)

        def nearest() -> list[Place]:
            before: list[Place] = []
            after: list[Place] = []
            for _, block in self._blocks(stream, chosen):
                rows = chosen.rows(block)
                here, behind = np.searchsorted(rows + block.head.first_seq, [seq, seq + 1])
                newer = [Place(stream, block, row) for row in rows[behind : behind + limit].tolist()]
                older = [Place(stream, block, row) for row in rows[max(0, here - limit) : here].tolist()]
                after = [*newer, *after][:limit]
                before = [*older, *before][-limit:]
                if len(before) == limit:
                    break
            newer_count = min(len(after), max(limit // 2, limit - len(before)))
            older_count = min(len(before), limit - newer_count)
            return [*before[len(before) - older_count :], *after[:newer_count]]

        return read_hits({stream: self._index(stream).source}, self._answer(nearest)[::-1])

    # -- within

    def _entry(self, stream: str, seq: int, scope: Scope, columns: Sequence[str]) -> dict[str, Any] | None:
        """The entry of a decision that the caller may see. Any: each column its own type."""
        if stream not in list_streams(self._data):
            return None
        for batch in self._index(stream).source.entries([seq], columns):
            (entry,) = batch.to_pylist()
            codes, own = scope.access_codes, scope.receivers
            code, receiver = entry["access_code"], entry["receiver"]
            is_seen = (codes is None or (code is not None and code.startswith(codes))) and (
                own is None or receiver in own
            )
            return dict(entry) if entry["verdict"] is not None and is_seen else None
        return None

    def _index(self, stream: str) -> StreamIndex:
        with self._lock:
            index = self._streams.get(stream)
            if index is None:
                index = self._streams[stream] = StreamIndex(self._data, stream, self._ops)
            return index

    def _chosen(self, stream: str | None) -> list[StreamIndex]:
        """The streams that are there now (or the one that is asked for)."""
        names = list_streams(self._data)
        return [self._index(name) for name in names if stream is None or name == stream]

    def _blocks(self, stream: str | None, chosen: Filter) -> list[tuple[str, Block]]:
        """Blocks that the filter's window touches; of each stream newest first. Raises IndexBehind."""
        parts = [(index.stream, part) for index in self._chosen(stream) for part in index.parts()]
        missing = sum(part.last_seq - part.first_seq + 1 for _, part in parts if not part.is_indexed)
        if missing > MAX_UNINDEXED_ROWS:
            rows = sum(part.last_seq - part.first_seq + 1 for _, part in parts)
            raise IndexBehind(missing=missing, rows=rows)
        loaded = [(name, part.load()) for name, part in parts]
        return [(name, block) for name, block in loaded if not block.is_outside(chosen.since_us, chosen.until_us)]

    def _answer(self, ask: Callable[[], T]) -> T:
        """The answer; if a damaged block spoiled it, the answer without that block."""
        try:
            return ask()
        except (IndexError, ValueError):
            damaged = [index.forget_damaged() for index in self._chosen(None)]
            if not any(damaged):
                raise
            return ask()


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_PAGE:
        raise BadValue(field="limit", value=limit, expected=f"1 to {MAX_PAGE}")
