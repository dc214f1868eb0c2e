"""Messages for the review desk, read from the ledger some hundred at a time, before somebody asks for them.

To open one message the ledger has to decrypt the commit, and often to read the row group, that it lies in: tens of
milliseconds, whether one message of it is wanted or two hundred. People at the desk want the next ones in the queue. So
the first who needs one brings its neighbours along, and a thread fetches more before they run out. What was fetched is
forgotten after half a minute: text stays in memory no longer than it is of use.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection

from mingbai.contexts.messaging.models.review import ItemState, ReviewItem
from mingbai.contexts.messaging.queries import traffic
from mingbai.ledger import Kept, StreamReader

log = logging.getLogger(__name__)

AHEAD: Final = 160
_NEAR: Final = 40  # of the same queue as the one asked for
_KEPT_S: Final = 30.0
_COLUMNS: Final = ("seq", "id", "reasons", "rules", "spans", "model", "rulebook")
_SPAN_ROWS: Final = 50_000  # seqs that one reading may span: what lies further apart is read when it comes nearer

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Opened:
    """One message. text, sender, receiver: None where they are not kept; text_kept says why (a value of `Kept`)."""

    id: UUID | None  # of the entry; None: there is none
    text: str | None
    text_kept: str
    sender: str
    receiver: str
    reasons: tuple[int, ...] = ()
    rules: tuple[str, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


class ReadAhead:
    """What this process has read. Safe to use from many threads; one of them reads at a time."""

    def __init__(self, upcoming: Callable[[str], Iterable[Place]], read: Callable[[list[Place]], dict[Place, Opened]]):
        self._upcoming = upcoming
        self._read = read
        self._known: dict[Place, tuple[float, Opened]] = {}
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._left = 0  # of those read ahead, how many were not asked for yet, at most
        self._is_fetching = False

    def get(self, place: Place, id: UUID, queue: str) -> Opened:
        """One message; from memory, or with its neighbours from the ledger. id: of its entry, which must be that."""
        found = self._from_memory(place, id)
        if found is None:
            with self._reading:  # whoever waited here most likely finds it now
                found = self._from_memory(place, id)
                if found is None:
                    self._fetch(place, queue)
                    found = self._from_memory(place, id)
        else:
            self._fetch_soon(queue)
        return found or Opened(None, None, Kept.UNREADABLE, "", "")

    def look_ahead(self, queue: str) -> None:
        """Read what comes next, before anybody asks."""
        with self._reading:
            self._fetch(None, queue)

    def _from_memory(self, place: Place, id: UUID) -> Opened | None:
        with self._lock:
            found = self._known.get(place)
            if found is None or found[1].id != id or time.monotonic() - found[0] > _KEPT_S:
                return None
            self._left -= 1
            return found[1]

    def _fetch(self, place: Place | None, queue: str) -> None:
        coming = [one for one in self._upcoming(queue) if one != place]
        near = coming if place is None else [one for one in coming if one[0] == place[0]]
        if place is not None:
            near = [one for one in near if abs(one[1] - place[1]) < _SPAN_ROWS]
        now = time.monotonic()
        with self._lock:
            self._known = {one: held for one, held in self._known.items() if now - held[0] <= _KEPT_S}
            wanted = [one for one in near if one not in self._known or now - self._known[one][0] > _KEPT_S / 2]
        read = self._read([*([place] if place is not None else []), *wanted])
        with self._lock:
            self._known.update((one, (now, opened)) for one, opened in read.items())
            self._left = len(near)

    def _fetch_soon(self, queue: str) -> None:
        with self._lock:
            if self._left > AHEAD // 2 or self._left <= 0 or self._is_fetching:
                return
            self._is_fetching = True
        threading.Thread(target=self._fetch_in_background, args=(queue,), name="read ahead", daemon=True).start()

    def _fetch_in_background(self, queue: str) -> None:
        try:
            self.look_ahead(queue)
        except Exception as error:  # the next who needs one reads it, and sees what is wrong
            log.warning("reading ahead failed: %s", type(error).__name__)
        finally:
            with self._lock:
                self._is_fetching = False
            connection.close()


def upcoming(queue: str) -> list[Place]:
    """The next messages of the desk, and of one queue, as (stream, seq)."""
    waiting = ReviewItem.objects.filter(state=ItemState.WAITING).order_by("priority", "due", "id")
    places = [*waiting.values_list("stream", "seq")[:AHEAD]]
    places += waiting.filter(queue=queue).values_list("stream", "seq")[:_NEAR]
    return list(dict.fromkeys(places))


def read(places: list[Place]) -> dict[Place, Opened]:
    """From the ledger. Entries that are not there are left out."""
    found: dict[Place, Opened] = {}
    settings, keys = traffic.installed_settings(), traffic.keys()
    for stream in {place[0] for place in places}:
        reader = StreamReader(settings.data, stream, keys)
        for near in _groups(sorted({place[1] for place in places if place[0] == stream})):
            entries = {
                row["seq"]: row
                for batch in reader.entries(_COLUMNS, first_seq=near[0], last_seq=near[-1])
                for row in _rows(batch, near)
            }
            there = [seq for seq in near if seq in entries]
            for original in reader.originals(there).to_pylist() if there else ():
                found[stream, original["seq"]] = _opened(entries[original["seq"]], original)
    return found


def _rows(batch: Any, wanted: list[int]) -> list[dict[str, Any]]:  # Any: Arrow ships no types; columns of ENTRY
    import numpy as np
    import pyarrow as pa

    seqs = np.asarray(batch.column("seq"))
    chosen = np.flatnonzero(np.isin(seqs, np.array(wanted, seqs.dtype)))
    rows: list[dict[str, Any]] = batch.take(pa.array(chosen)).to_pylist()  # Any: as above
    return rows


def _groups(seqs: list[int]) -> list[list[int]]:
    groups: list[list[int]] = []
    for seq in seqs:
        if groups and seq - groups[-1][0] < _SPAN_ROWS:
            groups[-1].append(seq)
        else:
            groups.append([seq])
    return groups


def _opened(entry: dict[str, Any], original: dict[str, Any]) -> Opened:  # Any: columns of ENTRY and ORIGINAL
    return Opened(
        UUID(bytes=entry["id"]),
        original["text"],
        original["text_kept"],
        original["sender"] or "",
        original["receiver"] or "",
        tuple(entry["reasons"] or ()),
        tuple(entry["rules"] or ()),
        tuple((span["start"], span["end"]) for span in entry["spans"] or ()),
    )


_ahead = ReadAhead(upcoming, read)


def open_message(item: ReviewItem) -> Opened:
    """The message of an item."""
    return _ahead.get((item.stream, item.seq), item.entry_id, item.queue)


def warm_desk() -> None:
    """Read the messages that come next, so that the first person at the desk finds them here."""
    _ahead.look_ahead("")
