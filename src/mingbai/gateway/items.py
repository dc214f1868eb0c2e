"""What the gateway has on its hands: messages on their way to a peer, and reports on their way back.

Each is a row of the journal too: `record` gives what is written, `*_of` reads it back. An item is one message to one
recipient, or one part of it: what one answer and one report belong to.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Final

from mingbai.kernel.clock import from_micros, to_micros
from mingbai.protocols.long_messages import Mark, MarkKind
from mingbai.protocols.messages import ShortMessage, Wanted
from mingbai.protocols.receipts import State
from mingbai.protocols.text import Encoding, coding_of


class Stage(IntEnum):
    """Where an item stands. Values are stored."""

    PENDING = 1  # a part that waits for the others
    HELD = 2  # a person decides
    QUEUED = 3  # for an SMSC
    SENT = 4  # to an SMSC, which has not answered
    DEAD = 7  # nobody took it: a person decides
    DOUBT = 8  # sent, and nobody knows whether it arrived: a person decides


class Outcome(StrEnum):
    """How an item ended; each ends once. The words are those of the CDR."""

    DELIVERED = "delivered"  # the report says so, or the SMSC took it and no report was wanted
    REFUSED = "refused"  # by the screen, a person, or a peer: `detail` says which
    EXPIRED = "expired"
    DEAD_LETTER = "dead_letter"  # given up by a person
    IN_DOUBT = "in_doubt"  # `detail` says how it was resolved


class Kind(IntEnum):
    """First item of a record. Values are stored."""

    ACCEPT = 1
    MOVE = 2
    AWAIT = 3
    REPORT = 4
    END = 5
    ORIGINATED = 6
    STRAY = 7
    META = 8
    CDR = 9


# Plain numbers: looking one up in an enum costs more than the rest of a record.
_ACCEPT, _MOVE, _AWAIT, _REPORT, _ORIGINATED = (
    int(kind) for kind in (Kind.ACCEPT, Kind.MOVE, Kind.AWAIT, Kind.REPORT, Kind.ORIGINATED)
)

Record = tuple[Any, ...]  # Any: what MessagePack carries


@dataclass(slots=True, eq=False)
class Item:
    """A message that is not finished. Times are seconds since 1970.

    peer_id: the id that its sender was told, as `protocols.reports` writes ids. entry: its decision's sequence number
    in the worker's ledger stream, 0 while there is none. group: what the parts of one message have in common. fields:
    what a part brought of IMSI, MSC, cell and device, while it waits for the others.
    """

    id: int
    account: str
    protocol: str
    peer_id: str
    message: ShortMessage
    stage: Stage
    accepted: float
    expires: float
    traffic: str
    entry: int = 0
    group: int = 0
    verdict: int = 0
    smsc: str = ""
    tried: tuple[str, ...] = ()  # SMSCs that failed it
    attempts: int = 0
    due: float = 0.0  # of a held or pending one: when it is decided all the same
    reason: str = ""
    segment: int = 0  # of the journal, where its newest whole record stands
    fields: dict[str, str] | None = None

    @property
    def destination(self) -> str:
        return self.message.destinations[0]

    def record(self) -> Record:
        record = (
            _ACCEPT,
            self.id,
            self.account,
            self.protocol,
            self.peer_id,
            packed(self.message, self.protocol),
            int(self.stage),
            self.accepted,
            self.expires,
            self.traffic,
            self.entry,
            self.group,
            self.verdict,
            self.smsc,
            self.attempts,
            self.due,
            self.reason,
        )
        return record if self.fields is None or self.stage is not Stage.PENDING else (*record, self.fields)

    def move_record(self) -> Record:
        """What may change while it is here."""
        return (
            _MOVE,
            self.id,
            int(self.stage),
            self.smsc,
            self.attempts,
            self.due,
            self.reason,
            self.entry,
            self.verdict,
        )

    def moved(self, record: Record) -> None:
        _, _, stage, self.smsc, self.attempts, self.due, self.reason, self.entry, self.verdict = record
        self.stage = Stage(stage)


def item_of(record: Record, segment: int) -> Item:
    (_, number, account, protocol, peer_id, message, stage, accepted, expires, traffic, entry, group, verdict, smsc,
     attempts, due, reason, *fields) = record  # fmt: skip
    return Item(
        number, account, protocol, peer_id, unpacked(message, protocol), Stage(stage), accepted, expires, traffic,
        entry=entry, group=group, verdict=verdict, smsc=smsc, attempts=attempts, due=due, reason=reason,
        segment=segment, fields=fields[0] if fields else None,
    )  # fmt: skip


@dataclass(slots=True, eq=False)
class Awaited:
    """A message that an SMSC took, until its report comes."""

    id: int
    account: str
    protocol: str
    peer_id: str
    source: str
    destination: str
    accepted: float
    wanted: int
    smsc: str
    upstream_id: str
    entry: int
    expires: float
    segment: int = 0

    def record(self) -> Record:
        return (
            _AWAIT, self.id, self.account, self.protocol, self.peer_id, self.source, self.destination,
            self.accepted, self.wanted, self.smsc, self.upstream_id, self.entry, self.expires,
        )  # fmt: skip


def awaited_of(record: Record, segment: int) -> Awaited:
    found = Awaited(*record[1:])
    found.segment = segment
    return found


@dataclass(slots=True, eq=False)
class Owed:
    """A report that its account has not answered yet."""

    id: int
    account: str
    protocol: str
    peer_id: str
    source: str
    destination: str
    accepted: float
    state: State
    stat: str
    error: str
    done: float
    expires: float
    attempts: int = 0
    segment: int = 0

    def record(self) -> Record:
        return (
            _REPORT, self.id, self.account, self.protocol, self.peer_id, self.source, self.destination,
            self.accepted, int(self.state), self.stat, self.error, self.done, self.expires,
        )  # fmt: skip


def owed_of(record: Record, segment: int) -> Owed:
    found = Owed(*record[1:])
    found.segment = segment
    found.state = State(found.state)
    return found


@dataclass(slots=True, eq=False)
class Originated:
    """A message of a subscriber to a provider, until the provider answers."""

    id: int
    account: str
    protocol: str  # whose coding octet the message has
    message: ShortMessage
    accepted: float
    expires: float
    attempts: int = 0
    segment: int = 0

    def record(self) -> Record:
        return (
            _ORIGINATED, self.id, self.account, self.protocol, packed(self.message, self.protocol),
            self.accepted, self.expires,
        )  # fmt: skip


def originated_of(record: Record, segment: int) -> Originated:
    _, number, account, protocol, message, accepted, expires = record
    return Originated(number, account, protocol, unpacked(message, protocol), accepted, expires, segment=segment)


# ---- messages in records

_ENCODINGS: Final = list(Encoding)


def packed(message: ShortMessage, protocol: str) -> Record:
    """A message as plain values. protocol: whose octet its coding has."""
    mark = message.mark
    coding = message.coding
    record = (
        message.source,
        message.destinations,
        message.content,
        coding.octet,
        coding.encoding.value,
        message.has_header,
        None if mark is None else (mark.kind.value, mark.ref, mark.total, mark.number),
        int(message.wanted),
        message.service,
        message.protocol_id,
        message.priority,
        None if message.at is None else to_micros(message.at),
        None if message.valid_until is None else to_micros(message.valid_until),
    )
    return (*record, message.optional) if message.optional else record


def unpacked(record: Record, protocol: str) -> ShortMessage:
    (source, destinations, content, octet, encoding, has_header, mark, wanted, service, protocol_id, priority, at,
     valid_until, *optional) = record  # fmt: skip
    coding = coding_of(_coded(protocol), octet)
    if coding.encoding.value != encoding:  # the account's own alphabet behind coding 0
        coding = coding_of(_coded(protocol), octet, Encoding(encoding))
    return ShortMessage(
        source=source,
        destinations=tuple(destinations),
        content=content,
        coding=coding,
        has_header=has_header,
        mark=None if mark is None else Mark(MarkKind(mark[0]), *mark[1:]),
        wanted=Wanted(wanted),
        service=service,
        protocol_id=protocol_id,
        priority=priority,
        at=_moment(at),
        valid_until=_moment(valid_until),
        optional=tuple((tag, value) for tag, value in optional[0]) if optional else (),
    )


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _coded(protocol: str) -> str:
    """HTTP has no coding octet of its own: its messages are coded as CMPP's."""
    return "cmpp" if protocol == "http" else protocol
