"""Jobs of the review desk: follow the ledger, keep the deadlines, take leases back.

The first two have threads of their own: nothing that takes long may stand before a verification code that is held.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import numpy as np
import pyarrow as pa

from mingbai.connectors.ledger_heads import LedgerHeads
from mingbai.connectors.ledger_index.source import Piece, Source
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.services import review, review_queue
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Verdict
from mingbai.ledger import Kept, StreamReader, list_streams
from mingbai.settings import Settings

MOST_ROWS: Final = 400_000  # a turn: an old ledger is read in many
# Of an old ledger, what was flagged long ago is of no use to anybody; what is held must be brought to its end.
FLAGGED_DAYS: Final = 7
_LANGUAGE_ROWS: Final = 400

_LOOK_EVERY: Final = timedelta(seconds=30)  # of an hour that is sealed, a look reads its links

_sources: dict[tuple[Path, str], Source] = {}
_looked: dict[tuple[Path, str], datetime] = {}
_lock = threading.Lock()


def follow_ledger(settings: Settings, now: datetime) -> None:
    """Queue what the machine decided to hold or flag since the last turn, of every stream."""
    for stream in list_streams(settings.data):
        follow_stream(settings, stream, now)
    find_languages(settings)


def follow_stream(settings: Settings, stream: str, now: datetime) -> int:
    """One stream. Returns how many entries were read. Raises LedgerDamaged."""
    source = _source(settings.data, stream)
    next_seq = _within(settings, stream, review_queue.cursor_of(stream), now)
    rows = 0
    for piece in source.pieces(next_seq):
        screened = list(_concerned(piece, now))
        is_ours = review_queue.queue_screened(
            stream, screened, first_seq=piece.first_seq, next_seq=piece.next_seq, now=now, review=settings.review
        )
        rows += piece.rows.num_rows
        if not is_ours or rows >= MOST_ROWS:
            break
    return rows


def _within(settings: Settings, stream: str, next_seq: int, now: datetime) -> int:
    """From where to read on: `next_seq`, or the end of a ledger that ends before it, as one from a backup may.

    Looked at when this process first reads a stream and then now and then, always with a reader that remembers nothing.
    """
    place = settings.data, stream
    looked = _looked.get(place)
    if looked is not None and abs(now - looked) < _LOOK_EVERY:
        return next_seq
    if Source(settings.data, stream).chain_after(next_seq - 1) is None:
        end, _chain = LedgerHeads(settings.data).heads().get(stream, (0, b""))
        if end + 1 < next_seq:  # else it went on otherwise than it was read: reading says what is wrong
            with _lock:
                _sources.pop(place, None)
            if review_queue.rewind(stream, from_seq=next_seq, to_seq=end + 1, now=now):
                next_seq = end + 1
            else:
                next_seq = review_queue.cursor_of(stream)
    _looked[place] = now
    return next_seq


def _source(data: Path, stream: str) -> Source:
    with _lock:
        return _sources.setdefault((data, stream), Source(data, stream))


def _concerned(piece: Piece, now: datetime) -> Iterator[review_queue.Screened]:
    verdicts = np.asarray(piece.rows.column("verdict").fill_null(255))
    places = np.flatnonzero((verdicts == Verdict.HOLD) | (verdicts == Verdict.FLAG))
    if not len(places):
        return
    long_ago = now - timedelta(days=FLAGGED_DAYS)
    for row in piece.rows.take(pa.array(places)).to_pylist():
        if row["verdict"] == Verdict.FLAG and row["at"] < long_ago:
            continue
        yield review_queue.Screened(
            seq=row["seq"], entry_id=UUID(bytes=row["id"]), at=row["at"], verdict=row["verdict"],
            category=row["category"], score=row["score"], reasons=tuple(row["reasons"] or ()),
            access_code=row["access_code"] or "",
            campaign=f"{row['campaign']:016x}" if row["campaign"] else "",
            text_hash=row["text_hash"].hex() if row["text_hash"] else "",
            receiver=row["receiver"].hex() if row["receiver"] else "",
        )  # fmt: skip


def find_languages(settings: Settings) -> None:
    """Say in which language new items are, for queues and skills. After they were queued: a held code does not wait
    for it, and the first who takes one meanwhile gets it as of any language."""
    waiting = review_queue.without_language(_LANGUAGE_ROWS)
    by_stream: dict[str, dict[int, int]] = {}
    for item_id, stream, seq in waiting:
        by_stream.setdefault(stream, {})[seq] = item_id
    for stream, ids in by_stream.items():
        originals = StreamReader(settings.data, stream, traffic.keys()).originals(ids)
        found = {ids[row["seq"]]: language_of(row["text"], row["text_kept"]) for row in originals.to_pylist()}
        review_queue.set_languages(found)


def language_of(text: str | None, kept: str) -> str:
    """zh for a text with a Chinese character, en for another, - where the text is not kept."""
    if text is None or kept != Kept.KEPT:
        return "-"
    return "zh" if any("\u3400" <= character <= "\u9fff" for character in text) else "en"


def keep_deadlines(settings: Settings, now: datetime) -> None:
    """Held messages whose time is over get what their class says."""
    while review.apply_deadlines(now=utc_now()) >= review_queue.ONCE:
        pass


def return_leases(settings: Settings, now: datetime) -> None:
    """Messages whose holder left go back to their queues."""
    review_queue.return_expired(now=now)


JOBS = (
    ("follow the ledger for review", 0.3, follow_ledger, True),
    ("deadlines of held messages", 0.25, keep_deadlines, True),
    ("return leases", 1.0, return_leases, False),
)
