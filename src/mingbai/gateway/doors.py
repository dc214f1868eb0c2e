"""Where providers and SMSCs come in: a listener for each protocol, and who they are.

A login is looked at once: source address, name, secret, certificate, how many connections there are already. Whoever is
refused hears one and the same thing, whatever was wrong, and waits longer each time.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from mingbai.connectors.gateway_registry import Account, Smsc, unseal
from mingbai.gateway.connection import Connection
from mingbai.gateway.intake import is_network
from mingbai.gateway.limits import LoginGuard
from mingbai.gateway.partner import Partner
from mingbai.gateway.upstream import Upstream, dialect_of
from mingbai.kernel.errors import BadValue
from mingbai.protocols import cmpp, sgip, smgp, smpp
from mingbai.protocols.link import Answered, Asked, Event, Gone, Link, LoginAnswered, LoginAsked, Refused, Timers
from mingbai.protocols.logins import (
    Denied,
    Direction,
    claimed,
    deny,
    direction_of,
    grant,
    is_right,
    make_login,
    proof_of,
)
from mingbai.protocols.pdu import Pdu

if TYPE_CHECKING:
    from mingbai.gateway.exchange import Exchange

log = logging.getLogger(__name__)

DEFAULT_PORTS: Final = {"cmpp": 7890, "sgip": 8801, "smgp": 8890, "smpp": 2775, "http": 8090}
_TO_US: Final = (
    cmpp.Submit2, cmpp.Submit3, sgip.Submit, smgp.Submit, smgp.Submit13, smpp.SubmitSm, smpp.SubmitMulti, smpp.DataSm,
)  # fmt: skip
_FROM_SMSC: Final = (sgip.Deliver, sgip.Report)
_MOST_CONNECTIONS: Final = 10_000
_MOST_UNKNOWN: Final = 500  # connections that nobody logged in on yet
_CALL_IDLE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where one protocol is listened for."""

    protocol: str
    host: str
    port: int
    tls: bool = False

    @classmethod
    def parse(cls, protocol: str, text: str) -> Place:
        """`HOST:PORT`, or `tls:HOST:PORT`. Raises BadValue."""
        bare = text.removeprefix("tls:")
        host, _, port = bare.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise BadValue(field=protocol, value=text, expected="HOST:PORT, or tls:HOST:PORT")
        return cls(protocol, host.strip("[]"), int(port), text.startswith("tls:"))


class Certificate:
    """The gateway's own, read again when its files change: connections that are there stay."""

    def __init__(self, certificate: Path, key: Path, ca: Path | None) -> None:
        """Raises OSError, ssl.SSLError."""
        self._files = (certificate, key, *([ca] if ca else []))
        self._ca = ca
        self._mark = self._marks()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load()

    def _load(self) -> None:
        self.context.load_cert_chain(self._files[0], self._files[1])
        if self._ca is not None:
            self.context.load_verify_locations(self._ca)
            self.context.verify_mode = ssl.CERT_OPTIONAL  # an account that names a certificate must bring it

    def _marks(self) -> list[float]:
        return [path.stat().st_mtime for path in self._files]

    def poll(self) -> bool:
        """True if another one is in force. Raises OSError, ssl.SSLError: the old one stays."""
        marks = self._marks()
        if marks == self._mark:
            return False
        self._mark = marks
        self._load()
        return True


class Doors:
    """All listeners of one worker, and the connections behind them."""

    def __init__(self, exchange: Exchange, certificate: Certificate | None, *, reuse_port: bool = False) -> None:
        self._exchange = exchange
        self._certificate = certificate
        self._reuse_port = reuse_port
        self._servers: list[asyncio.Server] = []
        self.guard = LoginGuard()
        self._counter = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections: set[Connection] = set()
        self._unknown: set[Connection] = set()  # that nobody logged in on yet
        self._logging_in: set[Connection] = set()
        self.refused_logins = 0
        self.ports: dict[str, int] = {}
        exchange.call_back = self._call_back

    async def open(self, places: Sequence[Place]) -> None:
        """Raises OSError where something else listens, BadValue for TLS without a certificate."""
        for place in places:
            if place.tls and self._certificate is None:
                raise BadValue(field=place.protocol, value="tls", expected="gateway.tls_certificate and tls_key too")
            server = await self._exchange.loop.create_server(
                lambda protocol=place.protocol: self._connection(protocol),
                place.host,
                place.port,
                ssl=self._certificate.context if place.tls and self._certificate else None,
                reuse_port=self._reuse_port or None,
                backlog=1024,
            )
            self._servers.append(server)
            self.ports[place.protocol + ("+tls" if place.tls else "")] = server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Let nobody in any more; who is in stays."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            if connection.account is None:
                connection.leave()

    @property
    def unknown(self) -> int:
        """Connections that nobody logged in on yet."""
        return len(self._unknown)

    # -- connections

    def _connection(self, protocol: str) -> Connection:
        dialect = dialect_of(protocol, 0, self._exchange.sgip_sequences)

        def make(now: float) -> Link:
            return Link(dialect, Timers(), window=16, is_server=True, now=now)

        connection = Connection(make, self._happened)
        connection.dialect = dialect
        return connection

    def _happened(self, connection: Connection, events: Sequence[Event]) -> None:
        if not events:
            self._came(connection)
            return
        submits: list[Pdu] = []
        party = connection.account
        for event in events:
            if isinstance(event, Asked):
                self._asked(connection, party, event.pdu, submits)
            elif isinstance(event, Answered):
                if isinstance(party, Partner):
                    party.answered(event)
            elif isinstance(event, LoginAsked):
                if connection in self._logging_in:  # a second one before the first was answered
                    connection.abort()
                    continue
                self._logging_in.add(connection)
                task = self._exchange.loop.create_task(self._log_in(connection, event.pdu))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif isinstance(event, Refused):
                connection.refused += 1
            elif isinstance(event, Gone):
                self._gone(connection, event)
        if submits and isinstance(party, Partner):
            self._exchange.submits(connection, party, submits)
        if party is not None:
            self._exchange.wake(party)

    def _asked(self, connection: Connection, party: Any, pdu: Pdu, submits: list[Pdu]) -> None:  # Any: who logged in
        if isinstance(party, Upstream):
            if isinstance(pdu, _FROM_SMSC):
                party.asked(connection, pdu)
                return
        elif (isinstance(pdu, _TO_US) or _is_handed_on(party, pdu)) and connection.direction is not Direction.RECEIVE:
            submits.append(pdu)
            return
        connection.link.answer(declined(pdu))
        connection.refused += 1

    def _came(self, connection: Connection) -> None:
        self._counter += 1
        connection.token = f"{id(self):x}-{self._counter}"
        self.connections.add(connection)
        self._unknown.add(connection)
        if len(self.connections) > _MOST_CONNECTIONS or self.unknown > _MOST_UNKNOWN:
            connection.abort()

    def _gone(self, connection: Connection, event: Gone) -> None:
        self.connections.discard(connection)
        self._unknown.discard(connection)
        self._logging_in.discard(connection)
        party = connection.account
        if party is None:
            return
        party.connections.discard(connection)
        if isinstance(party, Partner):
            party.not_told(event.in_doubt)
            self._exchange.loop.create_task(self._exchange.shared.left(party.account.name, connection.token))

    # -- logins

    async def _log_in(self, connection: Connection, login: Pdu) -> None:
        """Answer a login. One answer for all that is wrong, after the same work."""
        address, now = connection.peer[0], self._exchange.loop_time()
        if connection.link.is_over:
            return
        if self.guard.wait_s(address, now) > 0:
            self._deny(connection, login, Denied.BUSY, None, "too many failures")
            return
        if isinstance(login, cmpp.Connect) and login.version >> 4 not in (2, 3):
            self._deny(connection, login, Denied.VERSION, None, "a version that is not spoken here", counts=False)
            return
        name = claimed(login)
        protocol = connection.dialect.name
        account = self._exchange.registry.by_login.get((protocol, name))
        smsc = self._smsc_behind(protocol, name, login) if account is None else None
        known: Account | Smsc | None = account or smsc
        secret = None if known is None or not known.active else unseal(self._exchange.keys, known.secret)
        zone = ZoneInfo(known.zone) if known is not None else ZoneInfo("Asia/Shanghai")
        skew = timedelta(seconds=account.skew_s) if account is not None and account.skew_s else None
        moment = self._exchange.now().astimezone(zone)
        is_proven = is_right(login, secret or None, now=moment, skew=skew if account is not None else timedelta(0))
        if not is_proven or known is None or secret is None:
            self._deny(connection, login, Denied.CREDENTIALS, account, "wrong name or secret")
            return
        if account is not None and not self._is_allowed(connection, account):
            self._deny(connection, login, Denied.CREDENTIALS, account, "from an address or without the certificate")
            return
        proof = proof_of(login)
        if proof is not None and not await self._exchange.shared.use_proof(
            proof, address, now, 2.0 * (account.skew_s if account is not None and account.skew_s else 86_400)
        ):
            self._deny(connection, login, Denied.CREDENTIALS, account, "a digest that was used before")
            return
        if account is not None and not await self._exchange.shared.may_connect(
            account.name, account.connections, connection.token
        ):
            self._deny(connection, login, Denied.TOO_MANY, account, "too many connections", counts=False)
            return
        self.guard.succeeded(address)
        self._let_in(connection, login, secret, account, smsc)

    def _let_in(
        self, connection: Connection, login: Pdu, secret: bytes, account: Account | None, smsc: Smsc | None
    ) -> None:
        if connection.link.is_over:
            if account is not None:
                self._exchange.loop.create_task(self._exchange.shared.left(account.name, connection.token))
            return
        self._unknown.discard(connection)
        party: Partner | Upstream
        if account is not None:
            party = self._exchange.partners[account.name]
            connection.link.window = account.window
        else:
            assert smsc is not None
            party = self._exchange.upstreams[smsc.name]
            connection.link.window = 0  # it brings; what goes to it goes by its own connections
        connection.account = party
        connection.direction = direction_of(login)
        if isinstance(party, Partner):
            party.connections.add(connection)
        connection.link.let_in(grant(login, secret), self._exchange.loop_time())
        connection.flush()
        self._exchange.wake(party)

    def _deny(
        self,
        connection: Connection,
        login: Pdu,
        why: Denied,
        account: Account | None,
        said: str,
        *,
        counts: bool = True,
    ) -> None:
        address, now = connection.peer[0], self._exchange.loop_time()
        self.refused_logins += 1
        failures = self.guard.failed(address, now) if counts and why is Denied.CREDENTIALS else 0
        log.warning("a login was refused", extra={"address": address, "why": said})
        if failures == 3 or (failures and failures % 100 == 0):
            name = account.name if account is not None else None
            self._exchange.event(
                "gateway.login_refused", {"account": name, "address": address, "why": said, "count": failures}
            )
            self._exchange.alarms.raise_("logins_refused", f"{failures} from {address}", self._exchange.now())
        if not connection.link.is_over:
            gone = connection.link.refuse(deny(login, why))
            self._gone(connection, gone)
            connection.flush()

    def _is_allowed(self, connection: Connection, account: Account) -> bool:
        if not self.is_address_allowed(connection.peer[0], account):
            return False
        if not account.certificate:
            return True
        shown = connection.certificate_sha256
        return shown is not None and hmac.compare_digest(shown, account.certificate)

    @staticmethod
    def is_address_allowed(text: str, account: Account) -> bool:
        """Whether an account may come from this address."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in ipaddress.ip_network(one) for one in account.addresses)

    def _smsc_behind(self, protocol: str, name: str, login: Pdu) -> Smsc | None:
        """SGIP: the SMSC's own gateway connects to bring reports and messages."""
        if protocol != "sgip":
            return None
        return next(
            (one for one in self._exchange.registry.smscs if one.protocol.value == "sgip" and one.login == name), None
        )

    # -- SGIP: connections to a provider

    def _call_back(self, partner: Partner) -> None:
        partner.is_calling = True
        task = self._exchange.loop.create_task(self._call(partner))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call(self, partner: Partner) -> None:
        """Connect to a provider that wants its reports brought, until there is nothing more to bring for a while."""
        account = partner.account
        assert account.callback is not None
        host, _, port = account.callback.rpartition(":")
        dialect = dialect_of("sgip", 0, self._exchange.sgip_sequences)
        loop = self._exchange.loop
        ended: asyncio.Future[None] = loop.create_future()

        def make(now: float) -> Link:
            return Link(dialect, Timers(idle=_CALL_IDLE_S), window=account.window, is_server=False, now=now)

        def handler(connection: Connection, events: Sequence[Event]) -> None:
            if connection.account is None:
                connection.account, connection.dialect = partner, dialect
                connection.direction = Direction.RECEIVE
                login = make_login(
                    "sgip",
                    account.login,
                    unseal(self._exchange.keys, account.secret),
                    sequence=dialect.next_sequence(),
                    now=self._exchange.now(),
                    direction=Direction.RECEIVE,
                )
                connection.link.log_in(login, loop.time())
            for event in events:
                if isinstance(event, LoginAnswered) and event.is_in:
                    partner.connections.add(connection)
                elif isinstance(event, Answered):
                    partner.answered(event)
                elif isinstance(event, Asked):
                    connection.link.answer(declined(event.pdu))
                elif isinstance(event, Gone):
                    partner.connections.discard(connection)
                    partner.is_calling = False
                    partner.not_told(event.in_doubt)
                    if not ended.done():
                        ended.set_result(None)
            self._exchange.wake(partner)

        try:
            await asyncio.wait_for(
                loop.create_connection(lambda: Connection(make, handler), host.strip("[]"), int(port)), 10.0
            )
            await ended
        except (OSError, TimeoutError) as error:
            log.warning("a provider cannot be called", extra={"account": account.name, "error": str(error)})
        await asyncio.sleep(1.0)
        partner.is_calling = False
        self._exchange.wake(partner)


def _is_handed_on(party: Any, pdu: Pdu) -> bool:  # Any: who logged in
    """An SMSC that logs in as a network's account may hand a subscriber's message on by deliver_sm."""
    return (
        isinstance(pdu, smpp.DeliverSm)
        and isinstance(party, Partner)
        and is_network(party)
        and smpp.receipt_of(pdu) is None
    )


def declined(pdu: Pdu) -> Pdu:
    """The answer to a request that the gateway does not serve: queries, cancellations, requests of a mere receiver."""
    if isinstance(pdu, smpp.SmppPdu):
        if isinstance(pdu, smpp.QuerySm):
            return smpp.answer(pdu, smpp.Status.ESME_RQUERYFAIL)
        if isinstance(pdu, smpp.CancelSm):
            return smpp.answer(pdu, smpp.Status.ESME_RCANCELFAIL)
        if isinstance(pdu, smpp.ReplaceSm):
            return smpp.answer(pdu, smpp.Status.ESME_RREPLACEFAIL)
        return smpp.answer(pdu, smpp.Status.ESME_RINVBNDSTS)
    if isinstance(pdu, cmpp.Query):
        return cmpp.answer(pdu, time=pdu.time, type=pdu.type, code=pdu.code)
    if isinstance(pdu, cmpp.Cancel2 | cmpp.Cancel3):
        return cmpp.answer(pdu, success_id=1)
    if isinstance(pdu, cmpp.Deliver2 | cmpp.Deliver3):
        return cmpp.answer(pdu, msg_id=pdu.msg_id, result=int(cmpp.Result.COMMAND))
    if isinstance(pdu, cmpp.CmppPdu):
        return cmpp.answer(pdu, result=int(cmpp.Result.COMMAND))
    if isinstance(pdu, smgp.Deliver):
        return smgp.answer(pdu, msg_id=pdu.msg_id, status=int(smgp.Status.COMMAND))
    if isinstance(pdu, smgp.SmgpPdu):
        return smgp.answer(pdu, status=int(smgp.Status.COMMAND))
    assert isinstance(pdu, sgip.SgipPdu)
    return sgip.answer(pdu, result=int(sgip.Result.LOGIN_TYPE))


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate in DER, as accounts name it."""
    return hashlib.sha256(certificate).hexdigest()
