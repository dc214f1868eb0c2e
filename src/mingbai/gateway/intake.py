"""From a provider's requests to rows for the screen: account checks, the place of the access-code checks, parts.

What is refused here was never taken on, and is answered at once by the protocol's own error. What passes becomes rows,
one for each recipient; a part of a long message waits in the journal, is answered, and the joined text is the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mingbai.connectors.gateway_registry import Mode, Party, Protocol, Route, TrafficClass
from mingbai.gateway.connection import Connection
from mingbai.gateway.disposition import Action
from mingbai.gateway.items import Item, Owed, Stage
from mingbai.kernel.errors import BadValue
from mingbai.protocols.long_messages import Joined, limit_of, parts_of
from mingbai.protocols.messages import MOST_OCTETS, ShortMessage, Wanted, read_submit
from mingbai.protocols.optional_fields import read_fields
from mingbai.protocols.pdu import Pdu
from mingbai.protocols.reports import Refusal, answer_submit, refuse_submit
from mingbai.protocols.text import Encoding, Flag, best_coding, decode

if TYPE_CHECKING:
    from mingbai.gateway.exchange import Exchange
    from mingbai.gateway.partner import Partner

_WHY: Final = {
    "destination": Refusal.BAD_DESTINATION,
    "time": Refusal.BAD_TIME,
    "content": Refusal.BAD_CONTENT,
}


@dataclass(slots=True, eq=False)
class Ask:
    """One SUBMIT that is not answered yet. reply: writes the answer, given the refusal or None.

    fields: IMSI, MSC, cell and device, of what it brings; None: nothing.
    """

    connection: Connection | None
    pdu: Any  # Any: of the protocol; HTTP's own request
    partner: Partner
    peer_id: str
    received: float
    fields: dict[str, str] | None = None
    open_rows: int = 0
    accepted: int = 0
    refusal: Refusal | None = None
    blocked: list[Item] = field(default_factory=list)  # of recipients that the screen refused


@dataclass(slots=True, eq=False)
class Row:
    """What is decided together: a message to one recipient, or all parts of one."""

    text: str
    source: str
    items: list[Item]
    partner: Partner
    traffic: TrafficClass
    mode: Mode
    ask: Ask | None  # None: its parts were answered already
    fields: dict[str, str] | None = None
    is_readable: bool = True
    action: Action = Action.FORWARD
    verdict: int = 0
    entry: int = 0
    segment: int = 0
    owed: list[Owed] = field(default_factory=list)


class Intake:
    """Turns requests into rows. The exchange gathers them and answers what is refused."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def submits(self, connection: Connection, partner: Partner, pdus: Sequence[Pdu]) -> None:
        """All SUBMITs of one wake-up of one connection."""
        exchange, account = self._exchange, partner.account
        over = max(0, connection.link.asked - account.window)
        wanted = len(pdus) - over
        allowed = exchange.shared.take(account.name, account.rate_per_s, wanted, exchange.loop_time()) if wanted else 0
        if allowed < len(pdus):
            connection.rest()
        now = exchange.now()
        received = exchange.loop_time()
        for place, pdu in enumerate(pdus):
            if place >= allowed:
                partner.throttled += 1
                self._refuse(connection, pdu, Refusal.THROTTLED, partner)
                continue
            try:
                message = read_submit(pdu, now, partner.habits)
            except BadValue as error:
                why = next((why for name, why in _WHY.items() if name in str(error.data["field"])), Refusal.BAD_CONTENT)
                self._refuse(connection, pdu, why, partner)
                continue
            ask = Ask(connection, pdu, partner, "", received)
            if account.fields:
                ask.fields = read_fields(getattr(pdu, "tlvs", ()), account.fields) or None
                if message.optional:  # who somebody is and where stays with us
                    named = frozenset(account.fields.values())
                    message.optional = tuple(one for one in message.optional if one[0] not in named)
            self.message(message, ask, now)

    def message(self, message: ShortMessage, ask: Ask, now: datetime) -> None:
        """One message that was read; `ask` is answered here or when its rows are decided."""
        exchange, partner = self._exchange, ask.partner
        account = partner.account
        traffic = exchange.registry.class_of[account.traffic]
        refusal, routes = self._checked(message, partner, traffic, now)
        if refusal is not None:
            exchange.answer(ask, refusal)
            return
        seconds = now.timestamp()
        expires = seconds + 3600.0 * traffic.validity_hours
        if message.valid_until is not None:
            expires = min(expires, message.valid_until.timestamp())
        ask.peer_id = exchange.peer_id(partner.protocol, ask.pdu)
        marked = message.part() if message.has_header or message.mark is not None else None
        is_part = marked is not None and marked.mark is not None and marked.mark.total > 1
        ask.open_rows = 0 if is_part else len(message.destinations)
        is_cut = partner.protocol == "http" or self._is_too_long(message, partner, routes)
        pieces = _pieces(message, exchange.store.next_id()) if is_cut else [message]
        for place, destination in enumerate(message.destinations):
            items = [
                Item(
                    exchange.store.next_id(), account.name, partner.protocol, ask.peer_id,
                    piece if len(message.destinations) == 1 else replace(piece, destinations=(destination,)),
                    Stage.PENDING if is_part else Stage.QUEUED, seconds, expires, account.traffic,
                )
                for piece in pieces
            ]  # fmt: skip
            item = items[0]
            mode = _mode(routes[place], partner, now)
            if is_part:
                assert marked is not None
                item.due, item.fields = seconds + traffic.part_wait_s, ask.fields
                exchange.store.accept(item)
                for joined in partner.joiner.add(
                    account.name, message.source, destination, marked, item, exchange.seconds()
                ):
                    self.joined(partner, joined)
            else:
                if marked is None:
                    text, is_readable = _text(message), message.coding.encoding is not Encoding.BINARY
                else:
                    text, is_readable = marked.text.text, marked.is_readable
                if partner.absent:
                    partner.note_absent(ask.fields)
                exchange.screen(
                    Row(text, message.source, items, partner, traffic, mode, ask, ask.fields, is_readable=is_readable)
                )
        if is_part:  # it is answered when it is on the disk: the verdict on the joined text governs the rest
            partner.accepted += 1
            exchange.pending(ask)

    def joined(self, partner: Partner, joined: Joined[Item]) -> None:
        """All parts that came, or that will have come: one row."""
        exchange = self._exchange
        items = [held.token for held in joined.held if held.token.stage is Stage.PENDING]
        if not items:
            return
        now = exchange.now()
        first = items[0]
        for item in items:
            item.group = first.id
        found = exchange.routes.find(partner.account.name, first.message.source, first.destination)
        traffic = exchange.registry.class_of[partner.account.traffic]
        is_readable = all(held.part.is_readable for held in joined.held)
        fields: dict[str, str] = {}
        for item in reversed(items):  # of a field that several parts bring, the first one's counts
            fields |= item.fields or {}
        if partner.absent:
            partner.note_absent(fields)
        exchange.screen(
            Row(
                joined.text.text, first.message.source, items, partner, traffic,
                _mode(found[0] if found else None, partner, now), None, fields or None, is_readable=is_readable,
            )
        )  # fmt: skip

    # -- within

    def _checked(
        self, message: ShortMessage, partner: Partner, traffic: TrafficClass, now: datetime
    ) -> tuple[Refusal | None, list[Route | None]]:
        """Why it is refused, and the route of each recipient."""
        account, exchange = partner.account, self._exchange
        if not account.active:
            return Refusal.NOT_ALLOWED, []
        if not message.source or not partner.may_send(message.source):
            return Refusal.BAD_SOURCE, []
        if message.valid_until is not None and message.valid_until <= now:
            return Refusal.BAD_TIME, []
        if exchange.is_full:
            return Refusal.QUEUE_FULL, []
        refusal = exchange.check_access_code(account, message)
        if refusal is not None:
            return refusal, []
        routes: list[Route | None] = []
        for destination in message.destinations:
            if not _is_number(destination):
                return Refusal.BAD_DESTINATION, []
            found = exchange.routes.find(account.name, message.source, destination)
            if found is None:
                return Refusal.NO_ROUTE, []
            routes.append(found[0])
        return None, routes

    def _is_too_long(self, message: ShortMessage, partner: Partner, routes: list[Route | None]) -> bool:
        """Whether it came whole by SMPP, whose messages have any length, and an SMSC of its routes takes parts only."""
        if partner.protocol != "smpp" or message.has_header or message.mark is not None:
            return False
        encoding = message.coding.encoding
        if encoding is Encoding.BINARY or len(message.content) <= _room(encoding):
            return False
        known = self._exchange.registry.smsc_of
        return any(known[name].protocol is not Protocol.SMPP for one in routes if one for name in one.to)

    def _refuse(self, connection: Connection, pdu: Pdu, why: Refusal, partner: Partner) -> None:
        partner.refused += 1
        self._exchange.counted(why)
        connection.link.answer(refuse_submit(pdu, why))
        connection.refused += 1
        connection.touched = True


def _text(message: ShortMessage) -> str:
    return decode(message.content, message.coding).text


_EVERYWHERE: Final = (Encoding.ASCII, Encoding.UCS2, Encoding.GB18030)  # codings that every protocol has


def _room(encoding: Encoding) -> int:
    """Octets that are one short message in every protocol: what is written anew may need two a character."""
    return limit_of(encoding) if encoding in _EVERYWHERE else MOST_OCTETS // 2


def _pieces(message: ShortMessage, reference: int) -> list[ShortMessage]:
    """A text of any length, in as many parts as it takes; the first one's report stands for all."""
    if len(message.content) <= _room(message.coding.encoding):
        return [message]
    text, coding = decode(message.content, message.coding), message.coding
    if text.flags & (Flag.REPLACED | Flag.CUT):
        return [message]  # nothing that could not be read is written anew
    if coding.encoding not in _EVERYWHERE:
        coding = best_coding(text.text, "cmpp", Encoding.ASCII)
    contents = parts_of(text.text, coding, reference & 0xFF)
    if len(contents) == 1:
        return [message]
    return [
        replace(
            message, content=one, coding=coding, has_header=True, wanted=message.wanted if place == 0 else Wanted.NONE
        )
        for place, one in enumerate(contents)
    ]


def _is_number(destination: str) -> bool:
    bare = destination.removeprefix("+")
    return bare.isascii() and bare.isdigit() and 3 <= len(bare) <= 20


def _mode(route: Route | None, partner: Partner, now: datetime) -> Mode:
    """A route's own mode, unless its bypass is over; else the account's."""
    if route is not None and route.mode is not None:
        is_over = route.mode is Mode.BYPASS and (route.bypass_until is None or route.bypass_until <= now)
        if not is_over:
            return route.mode
    return partner.account.mode_at(now)


def is_network(partner: Partner) -> bool:
    return partner.account.party is Party.NETWORK


def answer_of(ask: Ask, code: int | None) -> Pdu:
    """The answer to a SUBMIT. code: the account's own for a blocked message."""
    if ask.accepted or ask.refusal is None:
        return answer_submit(ask.pdu, ask.peer_id)
    return refuse_submit(ask.pdu, ask.refusal, code=code if ask.refusal is Refusal.BLOCKED else None)


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
