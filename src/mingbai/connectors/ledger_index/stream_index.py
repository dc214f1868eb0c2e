"""The index of one stream: which blocks can be trusted, what they do not cover, and how the owner extends them.

A block counts if its file is whole and its chain hashes fit: those of a block to its neighbour's, the newest one's to
the ledger's. Whatever no such block covers is read from the ledger itself, so an answer never lacks a durable entry;
only its time tells that an index is missing.

The folder's listing is the index: a file appears under its name when it is whole, and of files that overlap the longer
counts. So there is no list that a crash could leave wrong, and readers need no lock.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from mingbai.connectors.ledger_index.block import MAX_BLOCK_ROWS, Block, make_block
from mingbai.connectors.ledger_index.blockfile import (
    BlockName,
    index_dir,
    is_whole,
    list_blocks,
    open_block,
    write_block,
)
from mingbai.connectors.ledger_index.rows import Rows
from mingbai.connectors.ledger_index.source import Piece, Source
from mingbai.kernel.clock import to_micros
from mingbai.ledger import LedgerDamaged, LedgerLocked
from mingbai.ledger.files import FileOps, StreamLock, make_dirs

log = logging.getLogger(__name__)

# Rows that stay unindexed until there are more, and for how long at most. A reader sorts so many in 10 ms, once.
MIN_BLOCK_ROWS = 16_384
MAX_TAIL_AGE_US = 300_000_000
_MERGE_RATIO = 4  # a block is joined to the one before unless that is so much larger: each row is rewritten 4 times
_GAP_BLOCKS = 4  # blocks made from unindexed closed segments that are kept for the next question


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the stream, and how to get its block. is_indexed: it is at hand; else it is made from entries."""

    first_seq: int
    last_seq: int
    load: Callable[[], Block]
    is_indexed: bool = True


@dataclass(slots=True)
class _Tail:
    """Blocks in memory from the open segment: of entries that no file covers yet."""

    first_seq: int
    next_seq: int
    after: bytes | None
    blocks: list[Block] = field(default_factory=list)


_Key = tuple[str, int, int, int]  # of a file: name, inode, size, time of change


class StreamIndex:
    """One stream's index, for reading and for its owner. Safe to use from several threads."""

    def __init__(self, data_dir: Path, stream: str, ops: FileOps | None = None) -> None:
        self.stream = stream
        self.folder = index_dir(data_dir, stream)
        self.source = Source(data_dir, stream)
        self._ops = ops or FileOps()
        self._lock = threading.RLock()
        self._opened: dict[str, tuple[_Key, Block | None]] = {}
        self._bad: set[_Key] = set()
        self._tail: _Tail | None = None
        self._gaps: OrderedDict[tuple[int, int], Block] = OrderedDict()
        self._checked = 0

    # -- reading

    def parts(self) -> list[Part]:
        """The whole stream as it is now, newest part first. Raises LedgerDamaged where the ledger cannot be read."""
        with self._lock:
            parts: list[Part] = []
            expected = 1
            for _, block in self._usable():
                parts += self._gap_parts(expected, block.head.first_seq - 1)
                parts.append(_loaded(block))
                expected = block.head.last_seq + 1
            segments = self.source.segments()
            tail_start = max(expected, segments[-1].first_seq) if segments else expected
            parts += self._gap_parts(expected, tail_start - 1)
            parts += [_loaded(block) for block in self._tail_blocks(tail_start)]
            return parts[::-1]

    def forget_damaged(self) -> bool:
        """Read every block's bytes; those that are not what was written are not used again. Whether there were any."""
        with self._lock:
            found = False
            for name, _ in self._usable():
                if not is_whole(name.path):
                    self._bad.add(_key(name.path))
                    found = True
            return found

    def _usable(self) -> list[tuple[BlockName, Block]]:
        """Blocks that can be trusted, by seq."""
        for _ in range(5):  # the owner may put others in their place between listing and opening
            try:
                return self._proved(self._opened_blocks())
            except FileNotFoundError:
                continue
        return []

    def _opened_blocks(self) -> list[tuple[BlockName, Block]]:
        blocks = []
        expected = 1
        names = list_blocks(self.folder)
        for name in names:
            if name.first_seq < expected:
                continue
            block = self._open(name)
            if block is not None:
                blocks.append((name, block))
                expected = name.last_seq + 1
        present = {name.path.name for name in names}
        for gone in [known for known in self._opened if known not in present]:
            del self._opened[gone]
        return blocks

    def _open(self, name: BlockName) -> Block | None:
        key = _key(name.path)
        if key in self._bad:
            return None
        known = self._opened.get(name.path.name)
        if known is None or known[0] != key:
            block = open_block(name.path, self.stream)
            if block is not None and (block.head.first_seq, block.head.last_seq) != (name.first_seq, name.last_seq):
                block = None
            known = self._opened[name.path.name] = (key, block)
        return known[1]

    def _proved(self, blocks: list[tuple[BlockName, Block]]) -> list[tuple[BlockName, Block]]:
        """Those that fit the ledger as it is now."""
        kept: list[tuple[BlockName, Block]] = []
        for name, block in reversed(blocks):
            following = kept[-1][1].head if kept else None
            if following is not None and following.first_seq == block.head.last_seq + 1:
                fits = following.before == block.head.after
            else:
                fits = self.source.chain_after(block.head.last_seq) == block.head.after
            if fits:
                kept.append((name, block))
        return kept[::-1]

    def _gap_parts(self, first_seq: int, last_seq: int) -> list[Part]:
        """Parts for entries of closed segments that no block covers."""
        if last_seq < first_seq:
            return []
        starts = [segment.first_seq for segment in self.source.segments()]
        cuts = [first_seq, *(seq for seq in starts if first_seq < seq <= last_seq), last_seq + 1]
        return [self._gap_part(start, end - 1) for start, end in pairwise(cuts)]

    def _gap_part(self, first_seq: int, last_seq: int) -> Part:
        def load() -> Block:
            with self._lock:
                block = self._gaps.get((first_seq, last_seq))
                if block is None:
                    pieces = list(self.source.pieces(first_seq, last_seq))
                    if not pieces:
                        raise LedgerDamaged(path=str(self.folder), offset=0, what=f"seq {first_seq} is not there")
                    block = self._gaps[first_seq, last_seq] = _block_of(pieces, b"")
                    if len(self._gaps) > _GAP_BLOCKS:
                        self._gaps.popitem(last=False)
                return block

        return Part(first_seq, last_seq, load, is_indexed=False)

    def _tail_blocks(self, first_seq: int) -> list[Block]:
        """Blocks of the entries from `first_seq` on, which lies in the last segment: made once, then only added to."""
        tail = self._tail
        if tail is None or tail.first_seq != first_seq or self.source.chain_after(tail.next_seq - 1) != tail.after:
            tail = self._tail = _Tail(first_seq, first_seq, self.source.chain_after(first_seq - 1))
        pieces: list[Piece] = []
        rows = 0
        for piece in self.source.pieces(tail.next_seq):
            if tail.after is not None and not piece.first.follows(tail.after):
                break  # being cut and written anew: the next question sees it
            pieces.append(piece)
            rows += piece.rows.num_rows
            tail.next_seq, tail.after = piece.next_seq, piece.after
            if rows >= MAX_BLOCK_ROWS:
                tail.blocks.append(_block_of(pieces, b""))
                pieces, rows = [], 0
        if pieces:
            tail.blocks.append(_block_of(pieces, b""))
        while len(tail.blocks) > 1 and _is_due(tail.blocks[-2], tail.blocks[-1]):
            tail.blocks[-2:] = [_joined(tail.blocks[-2], tail.blocks[-1])]
        return list(tail.blocks)

    # -- owning

    def advance(self, now: datetime, max_rows: int) -> int:
        """Index what is new, up to about `max_rows`; drop what does not fit the ledger. Returns rows indexed; 0 also if
        somebody else owns the index at this moment. Raises OSError, LedgerDamaged."""
        if not self.source.segments():
            return 0
        make_dirs(self._ops, self.folder)
        try:
            lock = StreamLock(self.folder / "lock", self.stream)
        except LedgerLocked:
            return 0
        try:
            with self._lock:
                self._clean_up()
                indexed = sum(self._write(pieces, before) for pieces, before in self._missing(now, max_rows))
                self._merge()
                return indexed
        finally:
            lock.release()

    def _clean_up(self) -> None:
        """Remove what a crash left and what is no use; read one block's bytes each time, so that all are in turn."""
        for leftover in sorted(self.folder.glob("*.tmp")):
            self._ops.unlink(leftover)
        usable = self._usable()
        if usable:
            self._checked = (self._checked + 1) % len(usable)
            name, _ = usable[self._checked]
            if not is_whole(name.path):
                log.warning("a block of the index is damaged", extra={"path": str(name.path)})
                del usable[self._checked]
        kept = {name.path for name, _ in usable}
        for name in list_blocks(self.folder):
            if name.path not in kept:
                log.info("removing a block of the index", extra={"path": str(name.path)})
                self._remove(name)

    def _missing(self, now: datetime, max_rows: int) -> Iterator[tuple[list[Piece], bytes]]:
        """What no block covers, in portions of a block, each with the chain hash before it."""
        rows = 0
        expected, before = 1, self.source.genesis
        gaps: list[tuple[int, bytes, int | None]] = []
        for _, block in self._usable():
            if block.head.first_seq > expected:
                gaps.append((expected, before, block.head.first_seq - 1))
            expected, before = block.head.last_seq + 1, block.head.after
        for first_seq, chain, last_seq in [*gaps, (expected, before, None)]:
            for pieces in _portions(self.source.pieces(first_seq, last_seq), chain):
                count = sum(piece.rows.num_rows for piece in pieces)
                oldest = pieces[0].first.at_us
                if last_seq is None and count < MIN_BLOCK_ROWS and to_micros(now) - oldest < MAX_TAIL_AGE_US:
                    return
                yield pieces, chain
                chain = pieces[-1].after
                rows += count
                if rows >= max_rows:
                    return

    def _write(self, pieces: list[Piece], before: bytes) -> int:
        block = _block_of(pieces, before)
        write_block(self.folder, self.stream, block, self._ops)
        return block.rows

    def _merge(self) -> None:
        """Join neighbours until each block is much larger than the next, or full."""
        blocks = self._usable()
        place = len(blocks) - 1
        while place > 0:
            (one_name, one), (other_name, other) = blocks[place - 1], blocks[place]
            if one.head.last_seq + 1 == other.head.first_seq and _is_due(one, other):
                block = _joined(one, other)
                path = write_block(self.folder, self.stream, block, self._ops)
                self._remove(one_name)
                self._remove(other_name)
                blocks[place - 1 : place + 1] = [(BlockName(block.head.first_seq, block.head.last_seq, path), block)]
            place -= 1

    def _remove(self, name: BlockName) -> None:
        self._ops.unlink(name.path)
        self._ops.sync_dir(self.folder)


def _portions(pieces: Iterator[Piece], chain: bytes) -> Iterator[list[Piece]]:
    """Pieces that follow `chain` and one another, grouped up to the size of a block."""
    held: list[Piece] = []
    rows = 0
    for piece in pieces:
        if not piece.first.follows(chain):
            what = f"the commit at seq {piece.first_seq} does not follow the one before"
            raise LedgerDamaged(path="", offset=0, what=what)
        if held and rows + piece.rows.num_rows > MAX_BLOCK_ROWS:
            yield held
            held, rows = [], 0
        held.append(piece)
        rows += piece.rows.num_rows
        chain = piece.after
    if held:
        yield held


def _block_of(pieces: list[Piece], before: bytes) -> Block:
    rows = pieces[0].rows if len(pieces) == 1 else pa.concat_batches([piece.rows for piece in pieces])
    return make_block(Rows.of_entries(rows), before, pieces[-1].after)


def _is_due(one: Block, other: Block) -> bool:
    """Whether two neighbours should be one."""
    return one.rows < _MERGE_RATIO * other.rows and one.rows + other.rows <= MAX_BLOCK_ROWS


def _joined(one: Block, other: Block) -> Block:
    return make_block(Rows.joined([one.to_rows(), other.to_rows()]), one.head.before, other.head.after)


def _loaded(block: Block) -> Part:
    return Part(block.head.first_seq, block.head.last_seq, lambda: block)


def _key(path: Path) -> _Key:
    stat = os.stat(path)
    return path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns
