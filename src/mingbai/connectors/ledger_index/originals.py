"""Originals of a few entries, without listing the stream and without reading the open segment from its start.

`StreamReader` finds a commit of an open segment by reading and hashing all before it: a page that shows one message
would wait for an hour of traffic. `Source` remembers segments and commits, so only those asked for are read. All else,
what is kept and what is withheld above all, stays with `StreamReader`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from mingbai.connectors.ledger_index.source import Source
from mingbai.ledger import KeyStore, StreamReader
from mingbai.ledger.read import Commit, Range
from mingbai.ledger.segments import sealed_path


class PlacedReader(StreamReader):
    """A `StreamReader` that looks up commits where a `Source` knows them to lie."""

    def __init__(self, data_dir: Path, source: Source, keys: KeyStore) -> None:
        super().__init__(data_dir, source.stream, keys)
        self._source = source

    def _commits(self, chosen: Range, columns: list[str], *, whole_groups: bool) -> Iterator[Commit]:
        segments = self._source.segments()
        first = bisect_right([segment.first_seq for segment in segments], chosen.first_seq) - 1
        for segment in segments[max(0, first) :]:
            if not chosen.has_seqs(segment.first_seq, None):
                return
            if segment.open is not None:
                is_last = segment is segments[-1]
                try:
                    for batch in self._source.open_commits(
                        segment.open, chosen.first_seq, chosen.last_seq, is_last=is_last
                    ):
                        yield Commit(segment.first_seq, batch.select(columns))
                    continue
                except FileNotFoundError:  # sealed since the listing: nothing was read of it yet
                    pass
            path = sealed_path(self._folder, segment.first_seq)
            for batch in self._sealed_commits(path, chosen, columns, whole_groups):
                yield Commit(segment.first_seq, batch)
