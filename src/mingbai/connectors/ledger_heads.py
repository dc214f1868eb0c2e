"""Where each stream of the ledger ends now, and whether it still holds what it held: for anchoring it elsewhere."""

from __future__ import annotations

import threading
from pathlib import Path

from mingbai.connectors.ledger_index.source import Source
from mingbai.ledger import LedgerDamaged, list_streams


class LedgerHeads:
    """The heads of a data directory's streams. Remembers how far it read, so that asking again reads only what is new.

    Safe to use from several threads.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._sources: dict[str, Source] = {}
        self._heads: dict[str, tuple[int, bytes]] = {}
        self._lock = threading.Lock()

    def heads(self) -> dict[str, tuple[int, bytes]]:
        """Stream -> seq of the last whole commit's last row and the chain hash after it; streams without one are left
        out. Raises LedgerDamaged."""
        with self._lock:
            for stream in list_streams(self._data_dir):
                found = self._head(stream)
                if found is not None:
                    self._heads[stream] = found
            return dict(self._heads)

    def holds(self, stream: str, seq: int, chain: bytes) -> bool:
        """Whether the stream still has this chain hash after that row."""
        try:
            return self._source(stream).chain_after(seq) == chain
        except (LedgerDamaged, OSError):
            return False

    def _head(self, stream: str) -> tuple[int, bytes] | None:
        source = self._source(stream)
        known = self._heads.get(stream)
        if known is not None and source.chain_after(known[0]) == known[1]:
            last = known
            for piece in source.pieces(known[0] + 1):
                last = piece.next_seq - 1, piece.after
            return last
        for segment in reversed(source.segments()):
            last_of_segment: tuple[int, bytes] | None = None
            for piece in source.pieces(segment.first_seq):
                last_of_segment = piece.next_seq - 1, piece.after
            if last_of_segment is not None:
                return last_of_segment
        return None

    def _source(self, stream: str) -> Source:
        if stream not in self._sources:
            self._sources[stream] = Source(self._data_dir, stream)
        return self._sources[stream]
