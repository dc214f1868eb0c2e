"""Who a peer says it is, and whether that is so, in every protocol.

CMPP and SMGP prove a secret by a digest that holds the time (a repeated digest within the allowed skew is the caller's
to refuse: `proof_of` names it); SGIP and SMPP send it in clear, so that only TLS or a private line protects it. Whoever
is refused learns no more than that: an account that does not exist and a wrong secret have one answer, found in the
same time.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

from mingbai.kernel.errors import BadValue
from mingbai.protocols import cmpp, sgip, smgp, smpp
from mingbai.protocols.pdu import Pdu, text_of
from mingbai.protocols.serials import parts_of_stamp, with_year

SKEW: Final = timedelta(minutes=10)  # of the peer's clock; the field has no year and no zone


class Direction(Enum):
    """What a connection is for, as its client sees it."""

    SEND = "send"
    RECEIVE = "receive"
    BOTH = "both"


class Denied(Enum):
    """Why a login is refused, as far as the peer is told."""

    CREDENTIALS = "credentials"
    ADDRESS = "address"  # CMPP and SGIP have no word for it: as wrong credentials
    VERSION = "version"
    TOO_MANY = "too_many"
    BUSY = "busy"


_NOBODY: Final = b"\0nobody"  # a secret that no account has: the same work where there is no account

_CMPP: Final = {
    Denied.CREDENTIALS: cmpp.ConnectStatus.AUTHENTICATION,
    Denied.ADDRESS: cmpp.ConnectStatus.AUTHENTICATION,
    Denied.VERSION: cmpp.ConnectStatus.VERSION,
    Denied.TOO_MANY: cmpp.ConnectStatus.OTHER,
    Denied.BUSY: cmpp.ConnectStatus.OTHER,
}
_SGIP: Final = {
    Denied.CREDENTIALS: sgip.Result.BAD_LOGIN,
    Denied.ADDRESS: sgip.Result.BAD_LOGIN,
    Denied.VERSION: sgip.Result.LOGIN_TYPE,
    Denied.TOO_MANY: sgip.Result.TOO_MANY_LINKS,
    Denied.BUSY: sgip.Result.NODE_BUSY,
}
_SMGP: Final = {
    Denied.CREDENTIALS: smgp.Status.AUTHENTICATION,
    Denied.ADDRESS: smgp.Status.IP_ADDRESS,
    Denied.VERSION: smgp.Status.VERSION,
    Denied.TOO_MANY: smgp.Status.TOO_MANY_LINKS,
    Denied.BUSY: smgp.Status.BUSY,
}
_SMPP: Final = {
    Denied.CREDENTIALS: smpp.Status.ESME_RBINDFAIL,  # not RINVPASWD beside RINVSYSID: that would tell which names exist
    Denied.ADDRESS: smpp.Status.ESME_RBINDFAIL,
    Denied.VERSION: smpp.Status.ESME_RBINDFAIL,
    Denied.TOO_MANY: smpp.Status.ESME_RALYBND,
    Denied.BUSY: smpp.Status.ESME_RSYSERR,
}
_BINDS: Final = (smpp.BindReceiver, smpp.BindTransmitter, smpp.BindTransceiver)
_MODES: Final = {Direction.SEND: 0, Direction.RECEIVE: 1, Direction.BOTH: 2}
_LOGIN_TYPES: Final = {Direction.SEND: 1, Direction.RECEIVE: 2, Direction.BOTH: 1}


def claimed(login: Pdu) -> str:
    """The account that a login names. Raises BadValue for a PDU that is no login."""
    if isinstance(login, cmpp.Connect):
        return text_of(login.source_addr)
    if isinstance(login, sgip.Bind):
        return text_of(login.login_name)
    if isinstance(login, smgp.Login):
        return text_of(login.client_id)
    if isinstance(login, _BINDS):
        return text_of(login.system_id)
    raise _no_login(login)


def direction_of(login: Pdu) -> Direction:
    """CMPP's connections always carry both. SGIP's login_type 2 is a gateway that comes to deliver."""
    if isinstance(login, smgp.Login):
        return {0: Direction.SEND, 1: Direction.RECEIVE}.get(login.login_mode, Direction.BOTH)
    if isinstance(login, sgip.Bind):
        return Direction.RECEIVE if login.login_type == sgip.LoginType.SMG_TO_SP else Direction.SEND
    if isinstance(login, smpp.BindTransmitter):
        return Direction.SEND
    return Direction.RECEIVE if isinstance(login, smpp.BindReceiver) else Direction.BOTH


def make_login(
    protocol: str,
    account: str,
    secret: bytes,
    *,
    sequence: Any,  # Any: a number, or SGIP's three
    now: datetime,
    version: int = 0,
    direction: Direction = Direction.BOTH,
) -> Pdu:
    """What a client sends first. now: in the operator's zone. Raises BadValue for what the protocol has no room for."""
    name = account.encode()
    if protocol == "cmpp":
        stamped = cmpp.timestamp_of(now)
        digest = cmpp.auth_source(name, secret, stamped)
        return cmpp.Connect(
            sequence=sequence, source_addr=name, auth_source=digest, version=version or cmpp.V3, timestamp=stamped
        )
    if protocol == "sgip":
        kind = _LOGIN_TYPES[direction]
        return sgip.Bind(sequence=sequence, login_type=kind, login_name=name, login_password=secret)
    if protocol == "smgp":
        stamped = smgp.timestamp_of(now)
        return smgp.Login(
            sequence=sequence,
            client_id=name,
            auth_client=smgp.auth_client(name, secret, stamped),
            login_mode=_MODES[direction],
            timestamp=stamped,
            client_version=version or smgp.V3,
        )
    if protocol == "smpp":
        bind = {
            Direction.SEND: smpp.BindTransmitter,
            Direction.RECEIVE: smpp.BindReceiver,
            Direction.BOTH: smpp.BindTransceiver,
        }[direction]
        return bind(sequence=sequence, system_id=name, password=secret, interface_version=version or smpp.VERSION_34)
    raise BadValue(field="protocol", value=protocol, expected="cmpp, sgip, smgp or smpp")


def is_right(login: Pdu, secret: bytes | None, *, now: datetime, skew: timedelta | None = SKEW) -> bool:
    """Whether the login proves the secret. secret: None where the account does not exist.

    now: in the operator's zone; skew: how far the peer's clock may be off, None: the time is not looked at.
    """
    known = _NOBODY if secret is None else secret
    if isinstance(login, cmpp.Connect):
        digest = cmpp.auth_source(login.source_addr, known, login.timestamp)
        is_proven = hmac.compare_digest(digest, login.auth_source) and _is_timely(login.timestamp, now, skew)
    elif isinstance(login, smgp.Login):
        digest = smgp.auth_client(login.client_id, known, login.timestamp)
        is_proven = hmac.compare_digest(digest, login.auth_client) and _is_timely(login.timestamp, now, skew)
    elif isinstance(login, sgip.Bind):
        is_proven = hmac.compare_digest(known, login.login_password)
    elif isinstance(login, _BINDS):
        is_proven = hmac.compare_digest(known, login.password)
    else:
        raise _no_login(login)
    return is_proven and secret is not None


def proof_of(login: Pdu) -> bytes | None:
    """The digest, of which no second one may come within the skew; None where the secret is sent in clear."""
    if isinstance(login, cmpp.Connect):
        return login.auth_source
    return login.auth_client if isinstance(login, smgp.Login) else None


def grant(login: Pdu, secret: bytes, *, system_id: bytes = b"mingbai") -> Pdu:
    """The answer that lets the peer in, and proves our own knowledge of the secret where the protocol asks for that."""
    if isinstance(login, cmpp.Connect):
        digest = cmpp.auth_ismg(0, login.auth_source, secret, login.version)
        return cmpp.answer(login, status=0, auth_ismg=digest, version=login.version)
    if isinstance(login, smgp.Login):
        digest = smgp.auth_server(0, login.auth_client, secret)
        return smgp.answer(login, status=0, auth_server=digest, server_version=login.client_version)
    if isinstance(login, sgip.Bind):
        return sgip.answer(login, result=0)
    if isinstance(login, _BINDS):
        version = bytes((min(max(login.interface_version, smpp.VERSION_34), smpp.VERSION_50),))
        tlvs = ((int(smpp.Tag.SC_INTERFACE_VERSION), version),)
        return smpp.answer(login, system_id=system_id, tlvs=tlvs)
    raise _no_login(login)


def deny(login: Pdu, why: Denied) -> Pdu:
    """The answer that does not. It holds no digest: one of a wrong secret would help to find the right one."""
    if isinstance(login, cmpp.Connect):
        return cmpp.answer(login, status=int(_CMPP[why]))
    if isinstance(login, smgp.Login):
        return smgp.answer(login, status=int(_SMGP[why]))
    if isinstance(login, sgip.Bind):
        return sgip.answer(login, result=int(_SGIP[why]))
    if isinstance(login, _BINDS):
        return smpp.answer(login, _SMPP[why])
    raise _no_login(login)


def is_server_right(login: Pdu, answer: Pdu, secret: bytes) -> bool:
    """Whether who let us in knows the secret too. SGIP and SMPP have no such proof. Some gateways send no digest
    (zeros): the caller decides whether to talk to them."""
    if isinstance(login, cmpp.Connect) and isinstance(answer, cmpp.ConnectResp2 | cmpp.ConnectResp3):
        version = 0x20 if isinstance(answer, cmpp.ConnectResp2) else cmpp.V3
        digest = cmpp.auth_ismg(answer.status, login.auth_source, secret, version)
        return hmac.compare_digest(digest, answer.auth_ismg)
    if isinstance(login, smgp.Login) and isinstance(answer, smgp.LoginResp):
        digest = smgp.auth_server(answer.status, login.auth_client, secret)
        return hmac.compare_digest(digest, answer.auth_server)
    return True


def _is_timely(stamped: int, now: datetime, skew: timedelta | None) -> bool:
    if skew is None:
        return True
    try:
        return abs(with_year(now, *parts_of_stamp(stamped)) - now) <= skew
    except BadValue:  # no such day or hour
        return False


def _no_login(pdu: Pdu) -> BadValue:
    return BadValue(field="pdu", value=type(pdu).__name__, expected="a login")
