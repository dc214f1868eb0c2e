"""Search in the original texts while they are kept: decrypt what fits the query, look for the words, forget it again.

There is no index of words: it would keep in the clear what the vault encrypts, and outlive the keys that are destroyed.
So every text that the query leaves is decrypted, on all cores; what is found is given with its text, nothing is stored.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mingbai.connectors.ledger_index.block import Block
from mingbai.connectors.ledger_index.filters import Filter
from mingbai.connectors.ledger_index.hits import EXACT_COLUMNS, hits_of
from mingbai.connectors.ledger_index.query import Cursor, Found, TextPage
from mingbai.connectors.ledger_index.rows import Array
from mingbai.connectors.ledger_index.stream_index import Part, StreamIndex
from mingbai.ledger import Kept, KeyStore, StreamReader

_RANGE_ROWS = (
    131_072  # of closed segments, at a time: some row groups, as each read begins with a listing of the folder
)
_SPARSE_ROWS = 4096  # rows between two that fit, from which on those between are not decrypted


@dataclass(frozen=True, slots=True)
class _Range:
    """Rows to look at: ascending seqs, close to one another."""

    stream: str
    block: Block
    seqs: Array
    newest_at: int
    rows: int  # of the part that the seqs were chosen from: what is got through with them


@dataclass(frozen=True, slots=True)
class _Looked:
    """What a range gave. found: newest first."""

    found: list[Found]
    searched: int
    states: dict[str, int]


def text_search(
    data_dir: Path,
    keys: KeyStore,
    indexes: Sequence[StreamIndex],
    chosen: Filter,
    words: tuple[str, ...],
    limit: int,
    cursor: Cursor | None,
    budget_s: float | None,
    threads: int | None,
    on_progress: Callable[[int, int], None] | None,
) -> TextPage:
    """One page of decisions whose text holds every word. See `LedgerIndex.text_search`."""
    deadline = None if budget_s is None else time.monotonic() + budget_s
    below = {} if cursor is None else cursor.below
    parts = {index.stream: index.parts() for index in indexes}
    bounds = {
        name: min(below.get(name, list_[0].last_seq + 1), list_[0].last_seq + 1)
        for name, list_ in parts.items()
        if list_
    }
    ranges = _newest_first(
        [_ranges(index, parts[index.stream], chosen, bounds[index.stream]) for index in indexes if parts[index.stream]]
    )
    total = sum(max(0, bound - 1) for bound in bounds.values())
    rest = dict(bounds)
    found: list[Found] = []
    states: dict[str, int] = {}
    searched = done = 0
    is_over = True
    workers = threads or os.cpu_count() or 1
    with ThreadPoolExecutor(workers, thread_name_prefix="text-search") as pool:

        def start(item: _Range) -> tuple[_Range, Future[_Looked]]:
            return item, pool.submit(_look, data_dir, keys, chosen, words, item)

        running = [start(item) for item in islice(ranges, workers + 1)]
        while running:
            item, future = running.pop(0)
            looked = future.result()
            found += looked.found
            searched += looked.searched
            for state, count in looked.states.items():
                states[state] = states.get(state, 0) + count
            done += item.rows
            rest[item.stream] = int(item.seqs[0])
            if on_progress is not None:
                on_progress(min(done, total), total)
            if len(found) >= limit or (deadline is not None and time.monotonic() > deadline):
                is_over = not running and next(ranges, None) is None
                break
            running += [start(item) for item in islice(ranges, 1)]
        for _, future in running:
            future.cancel()
    by_stream = [[item for item in found if item.hit.stream == name] for name in rest]
    found = list(heapq.merge(*by_stream, key=lambda item: -item.hit.at.timestamp()))  # keeps each stream's own order
    if len(found) > limit:  # what is left of the last range comes again with the next page
        for left in found[limit:]:
            rest[left.hit.stream] = max(rest[left.hit.stream], left.hit.seq + 1)
        found, is_over = found[:limit], False
    return TextPage(
        found=tuple(found),
        next_cursor=None if is_over else Cursor(rest).to_text(),
        is_cut=not is_over and len(found) < limit,
        searched=searched,
        no_longer_kept=states.get(Kept.NO_LONGER_KEPT, 0),
        never_kept=states.get(Kept.NEVER_KEPT, 0),
        unreadable=states.get(Kept.UNREADABLE, 0),
    )


def _ranges(index: StreamIndex, parts: list[Part], chosen: Filter, below: int) -> Iterator[_Range]:
    """The rows of a stream that fit, newest first, in ranges that are read at one go."""
    segments = index.source.segments()
    open_from = segments[-1].first_seq if segments else 0  # reading any of the open segment reads it from its start
    for part in parts:
        if part.first_seq >= below:
            continue
        block = part.load()
        rows = chosen.rows(block)
        seqs = rows + block.head.first_seq
        seqs = seqs[seqs < below]
        if not len(seqs):
            continue
        is_cut = np.diff(seqs) > _SPARSE_ROWS
        is_cut |= (np.diff(seqs // _RANGE_ROWS) > 0) & (seqs[1:] < open_from)
        is_cut |= (seqs[:-1] < open_from) & (seqs[1:] >= open_from)
        cuts = [0, *(np.flatnonzero(is_cut) + 1).tolist(), len(seqs)]
        ats = block.at(rows[: len(seqs)])
        end = min(part.last_seq + 1, below)
        for first, last in reversed(list(pairwise(cuts))):
            start = part.first_seq if first == 0 else int(seqs[first])
            yield _Range(index.stream, block, seqs[first:last], int(ats[last - 1]), end - start)
            end = start


def _newest_first(streams: list[Iterator[_Range]]) -> Iterator[_Range]:
    yield from heapq.merge(*streams, key=lambda item: -item.newest_at)


def _look(data_dir: Path, keys: KeyStore, chosen: Filter, words: tuple[str, ...], item: _Range) -> _Looked:
    reader = StreamReader(data_dir, item.stream, keys)
    first, last = int(item.seqs[0]), int(item.seqs[-1])
    found: list[Found] = []
    states: dict[str, int] = {}
    searched = 0
    for entries, originals in reader.entries_with_originals(EXACT_COLUMNS, first_seq=first, last_seq=last):
        seqs = np.asarray(entries.column("seq")).astype(np.int64)
        fits = np.zeros(len(seqs), bool)
        fits[item.seqs[np.searchsorted(item.seqs, seqs[0]) : np.searchsorted(item.seqs, seqs[-1] + 1)] - seqs[0]] = True
        if not fits.all():
            mask = pa.array(fits)
            entries, originals = entries.filter(mask), originals.filter(mask)
        for value in pc.value_counts(originals.column("text_kept")).to_pylist():
            states[value["values"]] = states.get(value["values"], 0) + value["counts"]
        texts = originals.column("text")
        searched += len(texts) - texts.null_count
        places = pa.array(np.flatnonzero(holding(texts, words)))
        chosen_texts = texts.take(places).to_pylist()
        for hit, text in zip(hits_of(item.stream, item.block, entries.take(places)), chosen_texts, strict=True):
            if chosen.is_hit(hit.sender, hit.receiver, hit.text_hash):
                found.append(Found(hit, text))
    return _Looked(found[::-1], searched, states)


def holding(texts: pa.Array, words: tuple[str, ...]) -> Array:
    """Which texts (string) hold every word, upper and lower case alike; null holds none."""
    mask: Array = np.ones(len(texts), bool)
    for word in sorted(words, key=len, reverse=True):
        has_case = word.lower() != word.upper()
        mask &= np.asarray(pc.match_substring(texts, word, ignore_case=has_case).fill_null(False))
        if not mask.any():
            break
    return mask
