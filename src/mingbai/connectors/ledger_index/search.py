"""Search: hits newest first over several streams, page by page."""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence

from mingbai.connectors.ledger_index.block import Block
from mingbai.connectors.ledger_index.filters import NO_ROWS, Filter
from mingbai.connectors.ledger_index.hits import Place, read_hits
from mingbai.connectors.ledger_index.query import Cursor, Hit, Page
from mingbai.connectors.ledger_index.rows import Array
from mingbai.connectors.ledger_index.stream_index import StreamIndex


class Walk:
    """The rows of one stream that a filter means, newest first. below: seqs from here on are left out."""

    def __init__(self, index: StreamIndex, chosen: Filter, below: int | None) -> None:
        self.stream = index.stream
        self.source = index.source
        self._filter = chosen
        self._parts = index.parts()
        end = self._parts[0].last_seq + 1 if self._parts else 1
        self._below = end if below is None else min(below, end)
        self._block: Block | None = None
        self._seqs: Array = NO_ROWS  # of the block, descending; the first `_given` of them were given
        self._ats: Array = NO_ROWS
        self._given = 0
        self._next_part = 0

    @property
    def is_over(self) -> bool:
        return self._given == len(self._seqs) and self._next_part == len(self._parts)

    @property
    def below(self) -> int:
        """Where another walk has to begin to go on from here."""
        return int(self._seqs[self._given]) + 1 if self._given < len(self._seqs) else self._below

    def fill(self, deadline: float | None) -> bool:
        """Look for the next row. False if time was over first (deadline: of the monotonic clock)."""
        while self._given == len(self._seqs) and self._next_part < len(self._parts):
            if deadline is not None and time.monotonic() > deadline:
                return False
            part = self._parts[self._next_part]
            self._next_part += 1
            if part.first_seq >= self._below:
                continue
            block = part.load()
            rows = self._filter.rows(block)
            seqs = rows + block.head.first_seq
            if part.last_seq >= self._below:
                rows, seqs = rows[seqs < self._below], seqs[seqs < self._below]
            self._block = block
            self._seqs, self._ats, self._given = seqs[::-1], block.at(rows)[::-1], 0
            self._below = block.head.first_seq
        return True

    @property
    def head_at(self) -> int | None:
        """Time of the next row; None: there is none."""
        return int(self._ats[self._given]) if self._given < len(self._seqs) else None

    def take(self) -> Place:
        assert self._block is not None
        self._given += 1
        return Place(self.stream, self._block, int(self._seqs[self._given - 1]) - self._block.head.first_seq)


def search(
    indexes: Sequence[StreamIndex], chosen: Filter, limit: int, cursor: Cursor | None, budget_s: float | None
) -> Page:
    """One page of the decisions that the filter means, over all the streams."""
    deadline = None if budget_s is None else time.monotonic() + budget_s
    below = {} if cursor is None else cursor.below
    walks = {index.stream: Walk(index, chosen, below.get(index.stream)) for index in indexes}
    sources = {name: walk.source for name, walk in walks.items()}
    hits: list[Hit] = []
    in_time = True
    while len(hits) < limit and in_time and not all(walk.is_over for walk in walks.values()):
        places, in_time = _next_rows(list(walks.values()), limit - len(hits), deadline)
        hits += [hit for hit in read_hits(sources, places) if chosen.is_hit(hit.sender, hit.receiver, hit.text_hash)]
    in_time = all([walk.fill(deadline) for walk in walks.values()]) and in_time
    is_over = all(walk.is_over for walk in walks.values())
    rest = None if is_over else Cursor({name: walk.below for name, walk in walks.items()}).to_text()
    return Page(tuple(hits), rest, is_cut=not in_time and len(hits) < limit)


def _next_rows(walks: list[Walk], limit: int, deadline: float | None) -> tuple[list[Place], bool]:
    """The next rows, newest first; and whether time sufficed."""
    heads: list[tuple[int, int]] = []
    for place, walk in enumerate(walks):
        if not walk.fill(deadline):
            return [], False
        if walk.head_at is not None:
            heapq.heappush(heads, (-walk.head_at, place))
    rows: list[Place] = []
    while heads and len(rows) < limit:
        walk = walks[heads[0][1]]
        rows.append(walk.take())
        if len(rows) < limit and not walk.fill(deadline):
            return rows, False
        if walk.head_at is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (-walk.head_at, heads[0][1]))
    return rows, True
