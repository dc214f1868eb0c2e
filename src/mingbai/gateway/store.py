"""The gateway's memory of what is unfinished, and the journal behind it: one never knows more than the other.

Whoever changes something calls a method here, which changes the memory and queues the record; `flush` writes all queued
records as one frame, before anything leaves that depends on them. The order of a wake-up is therefore: read what came,
decide, `flush`, write to the sockets. What has to survive a power cut too (an acknowledgement) waits for `durable`.

One thread's business (the loop's), but for `Journal.write` and `sync`, which the pipeline calls for new messages.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from mingbai.gateway.items import (
    Awaited,
    Item,
    Kind,
    Originated,
    Owed,
    Record,
    Stage,
    awaited_of,
    item_of,
    originated_of,
    owed_of,
)
from mingbai.gateway.journal import Journal, JournalCannotWrite, boot_id

log = logging.getLogger(__name__)

_MOST_SEGMENTS: Final = 8
_RESTING_S: Final = 30.0  # a file may hold records whose items the loop has not heard of yet


_STRAY, _END, _CDR, _META = (int(kind) for kind in (Kind.STRAY, Kind.END, Kind.CDR, Kind.META))
_Unfinished = Item | Awaited | Owed | Originated


@dataclass(slots=True)
class Recovered:
    """What a start finds. in_doubt: sent, and nobody heard an answer."""

    in_doubt: list[Item] = field(default_factory=list)
    strays: list[Record] = field(default_factory=list)
    cdrs: list[Record] = field(default_factory=list)  # ends whose lines may not be in the file
    meta: dict[str, Any] = field(default_factory=dict)  # Any: JSON
    is_new_boot: bool = False
    last_entry: int = 0
    last_peer_ids: dict[str, str] = field(default_factory=dict)  # by protocol: the newest id that was given out


class Store:
    """See above. worker: 0 to 63, in the ids."""

    def __init__(self, journal: Journal, worker: int, clock: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self._worker = worker
        self._clock = clock
        self._last_id = 0
        self._out: list[Record] = []
        self._in_out: list[_Unfinished] = []  # whose records are in `_out`: they learn their file
        self._live: Counter[int] = Counter()
        self._began: dict[int, float] = {}
        self._awaiting: dict[int, bytes] = {}
        self._encoder = msgspec.msgpack.Encoder()
        self.items: dict[int, Item] = {}
        self.owed: dict[int, Owed] = {}
        self.originated: dict[int, Originated] = {}

    # -- a start

    def recover(self) -> Recovered:
        """Read the journal. Raises JournalDamaged."""
        found = Recovered()
        awaiting: dict[int, Awaited] = {}
        strays: dict[int, Record] = {}
        for frame in self._journal.replay():
            for record in frame.records:
                self._replayed(record, frame.segment, awaiting, strays, found)
        for number, one in awaiting.items():
            self._awaiting[number] = self._packed(one)
        unfinished: list[_Unfinished] = [*self.items.values(), *awaiting.values()]
        unfinished += [*self.owed.values(), *self.originated.values()]
        self._live.update(one.segment for one in unfinished)
        found.strays = list(strays.values())
        found.is_new_boot = self._journal.last_boot not in (None, boot_id())
        found.in_doubt = [one for one in self.items.values() if one.stage is Stage.SENT]
        return found

    def _replayed(
        self,
        record: Record,
        segment: int,
        awaiting: dict[int, Awaited],
        strays: dict[int, Record],
        found: Recovered,
    ) -> None:
        kind, number = record[0], record[1]
        if kind == Kind.META:
            found.meta |= number
            found.last_peer_ids |= number.get("last_peer_ids", {})
            if "cdrs_until" in number:
                found.cdrs = [one for one in found.cdrs if one[-1] > number["cdrs_until"]]
            return
        if kind == Kind.CDR:
            found.cdrs.append(record[2:])
            return
        self._last_id = max(self._last_id, number)
        if kind == Kind.MOVE:
            if (item := self.items.get(number)) is not None:
                item.moved(record)
        elif kind == Kind.ACCEPT:
            item = item_of(record, segment)
            self.items[number] = item
            found.last_entry = max(found.last_entry, item.entry)
            found.last_peer_ids[item.protocol] = max(
                item.peer_id, found.last_peer_ids.get(item.protocol, ""), key=_id_order
            )
        elif kind == Kind.STRAY:
            strays[number] = record
        else:
            for each in (self.items, awaiting, self.owed, self.originated, strays):
                each.pop(number, None)
            if kind == Kind.AWAIT:
                awaiting[number] = awaited_of(record, segment)
            elif kind == Kind.REPORT:
                owed = self.owed[number] = owed_of(record, segment)
                found.last_peer_ids[owed.protocol] = max(
                    owed.peer_id, found.last_peer_ids.get(owed.protocol, ""), key=_id_order
                )
            elif kind == Kind.ORIGINATED:
                self.originated[number] = originated_of(record, segment)

    # -- ids

    def next_id(self) -> int:
        """Increasing, over restarts too: microseconds and the worker."""
        number = max(self._last_id + 64, int(self._clock() * 1e6) << 6)
        self._last_id = number = (number & ~63) | self._worker
        return number

    # -- changes

    def took(self, item: Item, segment: int) -> None:
        """An item whose record the pipeline has written and synced."""
        item.segment = segment
        self._live[segment] += 1
        self.items[item.id] = item

    def accept(self, item: Item) -> None:
        """A new item, whose record goes with the next `flush`."""
        self.items[item.id] = item
        self._queue(item.record(), item)

    def moved(self, item: Item) -> None:
        self._out.append(item.move_record())

    def rewritten(self, item: Item) -> None:
        """Its message is another now: the whole record anew."""
        self._live[item.segment] -= 1
        self._queue(item.record(), item)

    def awaits(self, item: Item, upstream_id: str, expires: float) -> Awaited:
        """An SMSC took it; a report is to come."""
        message = item.message
        one = Awaited(
            item.id, item.account, item.protocol, item.peer_id, message.source, message.destinations[0], item.accepted,
            int(message.wanted), item.smsc, upstream_id, item.entry, expires,
        )  # fmt: skip
        self._forget(item)
        self._queue(one.record(), one)
        self._awaiting[one.id] = self._packed(one)
        return one

    def awaited(self, number: int) -> Awaited | None:
        found = self._awaiting.get(number)
        return None if found is None else _unpacked(found)

    @property
    def awaiting(self) -> int:
        return len(self._awaiting)

    def all_awaited(self) -> Iterable[Awaited]:
        return map(_unpacked, self._awaiting.values())

    def owes(self, owed: Owed) -> None:
        """A report that its account has to get, in place of what stood under its id."""
        self._drop(owed.id)
        self.owed[owed.id] = owed
        self._queue(owed.record(), owed)

    def count(self, owed: Owed) -> None:
        """One whose record the pipeline has written: `segment` says where."""
        self._live[owed.segment] += 1

    def originate(self, one: Originated) -> None:
        self.originated[one.id] = one
        self._queue(one.record(), one)

    def stray(self, smsc: str, message_id: str, values: Record) -> int:
        """A report that belongs to no message yet."""
        number = self.next_id()
        self._out.append((_STRAY, number, smsc, message_id, values, self._clock()))
        return number

    def end(self, number: int) -> None:
        """Finished: nothing of it is kept."""
        self._drop(number)
        self._out.append((_END, number))

    def ended(self, number: int, cdr: Record) -> None:
        """How something ended: its line goes into the file within a second, and into the journal at once."""
        self._out.append((_CDR, number, *cdr))

    def note(self, meta: dict[str, Any]) -> None:  # Any: JSON
        """Something that a start wants to know."""
        self._out.append((_META, meta))

    # -- the disk

    @property
    def is_dirty(self) -> bool:
        return bool(self._out)

    def flush(self) -> None:
        """Write what is queued. Raises JournalCannotWrite: it stays queued, and nothing of it may leave."""
        if not self._out:
            return
        segment = self._journal.write(self._out)
        self._out.clear()
        for one in self._in_out:
            if one.segment == -1:
                if type(one) is Awaited:
                    packed = self._awaiting.get(one.id)
                    if packed is None:
                        continue  # its report came before this
                    self._awaiting[one.id] = _SEGMENT.pack(segment) + packed[_SEGMENT.size :]
                one.segment = segment
                self._live[segment] += 1
        self._in_out.clear()
        self._began.setdefault(segment, self._clock())

    def compact(self) -> None:
        """Remove files in which nothing is unfinished; where old items keep many, write those anew."""
        while len(self._journal.segments) > 1:
            oldest = self._journal.segments[0]
            if self._clock() - self._began.setdefault(oldest, self._clock()) < _RESTING_S:
                return
            if self._live[oldest] > 0:
                if len(self._journal.segments) <= _MOST_SEGMENTS:
                    return
                self._rewrite(oldest)
            self.flush()
            self._journal.sync()
            self._journal.remove(oldest)
            self._live.pop(oldest, None)
            self._began.pop(oldest, None)

    def _rewrite(self, segment: int) -> None:
        unfinished: list[_Unfinished] = [*self.items.values(), *self.owed.values(), *self.originated.values()]
        unfinished += self.all_awaited()
        for one in unfinished:
            if one.segment == segment:
                self._live[segment] -= 1
                self._queue(one.record(), one)

    # -- within

    def _queue(self, record: Record, one: _Unfinished) -> None:
        one.segment = -1
        self._out.append(record)
        self._in_out.append(one)

    def _forget(self, item: Item) -> None:
        if self.items.pop(item.id, None) is not None and item.segment >= 0:
            self._live[item.segment] -= 1

    def _drop(self, number: int) -> None:
        packed = self._awaiting.pop(number, None)
        if packed is not None:
            segment: int = _SEGMENT.unpack_from(packed)[0]
            if segment >= 0:
                self._live[segment] -= 1
            return
        found: _Unfinished | None = self.owed.pop(number, None) or self.items.pop(number, None)
        if found is None:
            found = self.originated.pop(number, None)
        if found is not None:
            if found.segment >= 0:
                self._live[found.segment] -= 1
            else:
                found.segment = -2  # its record is queued, and counts for nothing any more

    def _packed(self, one: Awaited) -> bytes:
        return _SEGMENT.pack(one.segment) + self._encoder.encode(one.record())


_SEGMENT: Final = struct.Struct(">i")


def _unpacked(packed: bytes) -> Awaited:
    return awaited_of(_DECODER.decode(memoryview(packed)[_SEGMENT.size :]), _SEGMENT.unpack_from(packed)[0])


_DECODER: Final = msgspec.msgpack.Decoder()


def _id_order(peer_id: str) -> tuple[int, str]:
    """Ids of one protocol grow, but for the turn of the year: as numbers, written in digits of either radix."""
    return len(peer_id), peer_id


class Durable:
    """Tells the loop when what it wrote is on the disk: a thread that syncs, one sync for all who wait meanwhile."""

    def __init__(self, journal: Journal, on_failure: Callable[[JournalCannotWrite], None]) -> None:
        self._journal = journal
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def then(self, done: Callable[[], None]) -> None:
        """Call `done` on the loop once everything written before is on the disk."""
        with self._changed:
            self._waiting.append(done)
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._is_stopping:
                    self._changed.wait()
                if not self._waiting:
                    return
                group, self._waiting = self._waiting, []
            try:
                self._journal.sync()
            except JournalCannotWrite as error:
                log.error("the journal cannot be synced", extra={"error": str(error)})
                self._loop.call_soon_threadsafe(self._on_failure, error)
                continue  # nobody is answered: the peers ask again
            self._loop.call_soon_threadsafe(_call_all, group)


def _call_all(group: list[Callable[[], None]]) -> None:
    for each in group:
        each()
