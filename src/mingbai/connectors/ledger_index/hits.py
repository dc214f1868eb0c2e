"""Hits: rows of blocks, completed by what only the entry has.

A block knows all of a hit but its id and its whole hashes. Reading these few columns of a row group costs a quarter of
reading all that a hit shows, and the fifty hits of a page lie in up to fifty row groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pyarrow as pa

from mingbai.connectors.ledger_index.block import Block
from mingbai.connectors.ledger_index.query import Hit
from mingbai.connectors.ledger_index.source import Source
from mingbai.kernel.clock import from_micros
from mingbai.kernel.verdicts import Category, Verdict

EXACT_COLUMNS = ("seq", "id", "sender", "receiver", "text_hash")


@dataclass(frozen=True, slots=True)
class Place:
    """A row of a block."""

    stream: str
    block: Block
    row: int

    @property
    def seq(self) -> int:
        return self.block.head.first_seq + self.row


def read_hits(sources: dict[str, Source], places: Sequence[Place]) -> list[Hit]:
    """The hits of rows of decisions, in that order; an entry that is no longer there is left out."""
    exact: dict[tuple[str, int], dict[str, Any]] = {}  # Any: each column its own type, see ENTRY
    for stream, source in sources.items():
        wanted = sorted({place.seq for place in places if place.stream == stream})
        for batch in source.entries(wanted, EXACT_COLUMNS):
            exact.update(((stream, row["seq"]), row) for row in batch.to_pylist())
    return [hit_of(place, exact[place.stream, place.seq]) for place in places if (place.stream, place.seq) in exact]


def hits_of(stream: str, block: Block, entries: pa.RecordBatch) -> list[Hit]:
    """The hits of entries (columns EXACT_COLUMNS) that lie in one block."""
    first = block.head.first_seq
    return [hit_of(Place(stream, block, row["seq"] - first), row) for row in entries.to_pylist()]


def hit_of(place: Place, exact: dict[str, Any]) -> Hit:  # Any: as above
    block, row = place.block, place.row
    arrays = block.arrays

    def value(name: str) -> Any:  # Any: see rows.Coded
        return block.values(name)[int(block.codes(name)[row])]

    model, rulebook = value("version")
    return Hit(
        stream=place.stream,
        seq=place.seq,
        id=UUID(bytes=exact["id"]),
        at=from_micros(int(block.at(row))),
        verdict=Verdict(int(arrays["verdict"][row])),
        category=Category(int(arrays["category"][row])),
        score=float(arrays["score"][row]),
        campaign=int(block.keys_of_rows("campaign", row)) or None,
        sender=exact["sender"],
        receiver=exact["receiver"],
        access_code=value("access_code"),
        text_hash=exact["text_hash"],
        reasons=tuple(value("reasons")),
        rules=tuple(value("rules")),
        model=model,
        rulebook=rulebook,
    )
