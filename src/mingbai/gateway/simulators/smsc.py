"""An SMSC that takes messages, sends reports and messages from handsets, and misbehaves as it is told.

    async with SmscSimulator(SmscOptions("smpp", login="mingbai", secret=b"secret")) as smsc:
        ...                      # a gateway connects to smsc.port
        smsc.received, smsc.summary()

What it does wrong (silence, refusals, lost connections, reports early or out of order, ids in other forms) is what
SMSCs are seen to do; all of it is off by default. It decides by its own seeded random numbers; ids never repeat.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mingbai.gateway.connection import Connection
from mingbai.gateway.limits import TokenBucket
from mingbai.gateway.simulators.bringing import TIMERS, Bringer, Brought
from mingbai.gateway.simulators.lines import (
    Lines,
    Node,
    Peer,
    declined,
    place_of,
    server_tls,
    share_of,
    text_and_part,
    version_number,
)
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.protocols import cmpp, sgip, smgp, smpp
from mingbai.protocols.link import Answered, Asked, Event, Gone, Link, LoginAnswered, LoginAsked
from mingbai.protocols.logins import Denied, Direction, claimed, deny, direction_of, grant, is_right
from mingbai.protocols.messages import ShortMessage, Wanted, read_submit
from mingbai.protocols.pdu import Pdu
from mingbai.protocols.receipts import State, word_of
from mingbai.protocols.reports import (
    Refusal,
    Report,
    answer_submit,
    refuse_submit,
)

ID_FORMS: Final[dict[str, Callable[[int], str]]] = {
    "decimal": str,
    "hex": "{:x}".format,
    "HEX": "{:X}".format,
    "padded": "{:020d}".format,
}
_FAILURES: Final = (State.UNDELIVERABLE, State.EXPIRED, State.REJECTED)
_SUBMITS: Final = frozenset(
    (
        *(cmpp.Submit2, cmpp.Submit3, sgip.Submit, smgp.Submit, smgp.Submit13),
        *(smpp.SubmitSm, smpp.SubmitMulti, smpp.DataSm),
    )
)


@dataclass(frozen=True, slots=True)
class SmscOptions:
    """drop_after, stall_after: messages of one connection after which it is closed, or read no more; 0 never.

    report_to: where SGIP reports are brought, HOST:PORT; share_port: several simulators listen there together.
    """

    protocol: str
    version: str = ""
    listen: str = "127.0.0.1:0"
    login: str = "test"
    secret: bytes = b""
    window: int = 16
    rate_per_s: float = 0.0
    delay_ms: int = 0
    report_delay_ms: int = 0
    report_share: float = 1.0
    id_form: str = "decimal"
    receipt_form: str = ""
    shuffle: bool = False
    early: bool = False
    refuse_share: float = 0.0
    refuse_code: int | None = None
    silent_share: float = 0.0
    drop_after: int = 0
    stall_after: int = 0
    mo_rate_per_s: float = 0.0
    mo_to: str = ""
    report_to: str = ""
    log: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    share_port: bool = False
    keep: bool = True  # what arrived, in `received`
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Received:
    """One message to one recipient. id: as its reports say it; is_answered: whether the sender was told."""

    id: str
    source: str
    destination: str
    text: str
    part: dict[str, int] | None
    at: datetime
    is_answered: bool


class SmscSimulator:
    """See above. Raises BadValue for options that make no sense."""

    def __init__(self, options: SmscOptions) -> None:
        self.options = options
        self._version = version_number(options.protocol, options.version)
        self._host, self.port = place_of(options.listen, field="--listen")
        if options.protocol != "smpp" and (options.id_form != "decimal" or options.receipt_form):
            raise BadValue(field="--id-form", value=options.id_form, expected="decimal: only SMPP leaves the form open")
        for name in (options.id_form, options.receipt_form or options.id_form):
            if name not in ID_FORMS:
                raise BadValue(field="--id-form", value=name, expected=", ".join(ID_FORMS))
        for name in ("report_share", "refuse_share", "silent_share"):
            share_of(getattr(options, name), field=f"--{name.replace('_', '-')}")
        if options.mo_rate_per_s and not options.mo_to:
            raise BadValue(field="--mo-to", value="", expected="an access code")
        self._id_form = ID_FORMS[options.id_form]
        self._receipt_form = ID_FORMS[options.receipt_form or options.id_form]
        self._random = random.Random(options.seed)
        self._failures = itertools.cycle(_FAILURES)
        self._node = Node(options.protocol)
        self._tls = server_tls(options.tls_certificate, options.tls_key)
        self._lines = Lines(options.log)
        self.received: list[Received] = []
        self.connections: set[Peer] = set()
        self._counts: Counter[str] = Counter()
        self._tasks: list[asyncio.Task[None]] = []

    # -- life

    async def __aenter__(self) -> SmscSimulator:
        loop = self._loop = asyncio.get_running_loop()
        self._begun = loop.time()
        self._bucket = TokenBucket.full(self.options.rate_per_s, loop.time())
        bringer = self._bringer = Bringer(self.options, self._node, self._lines, self._random)
        self._server = await loop.create_server(
            self._taken_in,
            self._host,
            self.port,
            ssl=self._tls,
            reuse_port=self.options.share_port or None,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        if self.options.report_to:
            host, port = place_of(self.options.report_to, field="--report-to")
            self._tasks.append(loop.create_task(bringer.keep_calling(host, port, self._happened)))
        if self.options.mo_rate_per_s:
            self._tasks.append(loop.create_task(bringer.keep_originating()))
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._bringer.close()
        self._server.close()
        for connection in list(self.connections):
            connection.leave()
        deadline = self._loop.time() + 2 * TIMERS.leave
        while self.connections and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.abort()
        await self._server.wait_closed()
        self._lines.close()

    def summary(self) -> dict[str, Any]:  # Any: what JSON takes
        """Counts since it began."""
        seconds = self._loop.time() - self._begun
        messages, brought, states = self._counts, self._bringer.counts, self._bringer.states
        return {
            "protocol": self.options.protocol,
            "seconds": round(seconds, 3),
            "received": messages["received"],
            "accepted": messages["accepted"],
            "refused": messages["refused"],
            "throttled": messages["throttled"],
            "silent": messages["silent"],
            "logins": messages["logins"],
            "logins_refused": messages["logins_refused"],
            "reports": {word_of(state): states[word_of(state)] for state in (State.DELIVERED, *_FAILURES)},
            "reports_answered": brought["answered"],
            "reports_refused": brought["refused"],
            "reports_repeated": brought["repeated"],
            "reports_waiting": self._bringer.waiting,
            "mo_sent": brought["mo_sent"],
            "mo_answered": brought["mo_answered"],
            "rate_per_s": round(messages["received"] / seconds, 1) if seconds else 0.0,
        }

    def originate(self, message: ShortMessage) -> None:
        """Send a message from a handset to the gateway; its coding is of this protocol."""
        self._bringer.originate(message)
        self._bringer.pump()

    # -- connections

    def _taken_in(self) -> Peer:
        dialect = self._node.dialect(self._version)
        window = self.options.window
        peer = Peer(lambda now: Link(dialect, TIMERS, window=window, is_server=True, now=now), self._happened)
        peer.dialect = dialect
        return peer

    def _happened(self, connection: Connection, events: Sequence[Event]) -> None:
        assert isinstance(connection, Peer)
        if not events:
            self.connections.add(connection)
        for event in events:
            if isinstance(event, Asked):
                if not connection.is_deaf:
                    self._asked(connection, event.pdu)
                    self._drop(connection)
            elif isinstance(event, Answered):
                self._bringer.answered(event)
            elif isinstance(event, LoginAsked):
                self._login(connection, event.pdu)
            elif isinstance(event, LoginAnswered) and event.is_in:
                self._bringer.add(connection)
            elif isinstance(event, Gone):
                self._gone(connection, event)
        self._bringer.pump()

    def _login(self, connection: Peer, login: Pdu) -> None:
        options = self.options
        secret = options.secret if claimed(login) == options.login else None
        why = Denied.CREDENTIALS
        is_in = is_right(login, secret, now=utc_now(), skew=None)
        if is_in and isinstance(login, cmpp.Connect) and self._version and login.version >> 4 > self._version >> 4:
            is_in, why = False, Denied.VERSION
        if not is_in:
            self._counts["logins_refused"] += 1
            self._gone(connection, connection.link.refuse(deny(login, why)))
            return
        self._counts["logins"] += 1
        connection.link.let_in(grant(login, options.secret, system_id=b"simulator"), self._loop.time())
        if direction_of(login) is not Direction.SEND:
            self._bringer.add(connection)

    def _gone(self, connection: Peer, event: Gone) -> None:
        self.connections.discard(connection)
        self._bringer.discard(connection, event.in_doubt)

    def _drop(self, connection: Peer) -> None:
        """Nothing more is taken from this connection after its last message."""
        drop, stall = self.options.drop_after, self.options.stall_after
        if drop and connection.taken >= drop:
            connection.is_deaf = True
            connection.flush()
            connection.abort()
        elif stall and connection.taken >= stall:
            connection.stall()

    # -- messages

    def _asked(self, connection: Peer, pdu: Any) -> None:  # Any: the PDU class of the protocol
        link, options, counts = connection.link, self.options, self._counts
        if type(pdu) not in _SUBMITS:
            link.answer(declined(pdu))
            return
        if not self._bucket.take(1, self._loop.time()):
            counts["throttled"] += 1
            link.answer(refuse_submit(pdu, Refusal.THROTTLED))
            return
        now = utc_now()
        try:
            message = read_submit(pdu, now)
        except BadValue:
            counts["refused"] += 1
            link.answer(refuse_submit(pdu, Refusal.BAD_CONTENT))
            return
        connection.taken += 1
        counts["received"] += 1
        if options.refuse_share and self._random.random() < options.refuse_share:
            counts["refused"] += 1
            self._lines.write("refused", source=message.source, destination=message.destinations[0])
            link.answer(refuse_submit(pdu, Refusal.BLOCKED, code=options.refuse_code))
            return
        is_last = bool(options.drop_after) and connection.taken >= options.drop_after
        is_silent = is_last or (options.silent_share > 0 and self._random.random() < options.silent_share)
        answered, reported = self._ids(pdu)
        self._keep(message, answered, now, is_answered=not is_silent)
        if is_silent:
            counts["silent"] += 1
            return
        counts["accepted"] += 1
        reports = self._reports(message, reported, now)
        if options.early and reports:
            self._bringer.report(reports, at_once=True)
            self._bringer.pump()
            reports = []
        answer = answer_submit(pdu, answered)
        if options.delay_ms:
            self._loop.call_later(options.delay_ms / 1000, self._answer_late, connection, answer, reports)
        else:
            link.answer(answer)
            self._bringer.report(reports)

    def _answer_late(self, connection: Peer, answer: Pdu, reports: list[Brought]) -> None:
        connection.link.answer(answer)
        connection.flush()
        self._bringer.report(reports)
        self._bringer.pump()

    def _ids(self, pdu: Any) -> tuple[str, str]:  # Any: as above
        """The message's id in the answer, and in its reports."""
        match self.options.protocol:
            case "sgip":
                same = sgip.name_text(pdu.sequence)
            case "smgp":
                same = self._node.number().to_bytes(10).hex()
            case "cmpp":
                same = str(self._node.number())
            case _:
                number = self._node.number()
                return self._id_form(number), self._receipt_form(number)
        return same, same

    def _keep(self, message: ShortMessage, said: str, now: datetime, *, is_answered: bool) -> None:
        text, part = text_and_part(message)
        for destination in message.destinations:
            self._lines.write(
                "message",
                id=said,
                source=message.source,
                destination=destination,
                text=text,
                part=part,
                answered=is_answered,
            )
            if self.options.keep:
                self.received.append(Received(said, message.source, destination, text, part, now, is_answered))

    def _reports(self, message: ShortMessage, said: str, now: datetime) -> list[Brought]:
        if message.wanted is Wanted.NONE:
            return []
        found = []
        for destination in message.destinations:
            is_delivered = self._random.random() < self.options.report_share
            state = State.DELIVERED if is_delivered else next(self._failures)
            if message.wanted is Wanted.ALL or not is_delivered:
                report = Report(said, state, word_of(state), "", message.source, destination, now)
                found.append(Brought(report, said))
        return found
