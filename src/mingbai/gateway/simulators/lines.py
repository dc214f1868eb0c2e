"""A simulator's end of a connection: where it is, which protocol and version it speaks, its TLS, its log.

Whoever runs tests counts what stands in the log: each line is written whole, before anybody is answered, so that it is
there when the process is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from mingbai.gateway.connection import Connection
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.protocols import cmpp, sgip, smgp, smpp
from mingbai.protocols.dialects import CmppDialect, Dialect, SgipDialect, SmgpDialect, SmppDialect
from mingbai.protocols.messages import ShortMessage
from mingbai.protocols.pdu import Pdu

T = TypeVar("T")

PROTOCOLS: Final = ("cmpp", "sgip", "smgp", "smpp")
_VERSIONS: Final = {
    "cmpp": {"2": 0x20, "2.0": 0x20, "3": 0x30, "3.0": 0x30},
    "sgip": {"1.2": 0},
    "smgp": {"1.3": 0x13, "3": 0x30, "3.0": 0x30},
    "smpp": {"3.4": 0x34, "5": 0x50, "5.0": 0x50},
}


def version_number(protocol: str, version: str) -> int:
    """What the dialects call it; 0 for what was left out. Raises BadValue."""
    if protocol not in PROTOCOLS:
        raise BadValue(field="protocol", value=protocol, expected="cmpp, sgip, smgp or smpp")
    if not version:
        return 0
    try:
        return _VERSIONS[protocol][version]
    except KeyError:
        raise BadValue(field="version", value=version, expected=", ".join(_VERSIONS[protocol])) from None


def place_of(text: str, *, field: str) -> tuple[str, int]:
    """HOST:PORT; an IPv6 address in brackets. Raises BadValue."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise BadValue(field=field, value=text, expected="HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def share_of(value: float, *, field: str) -> float:
    """A share from 0 to 1. Raises BadValue."""
    if not 0 <= value <= 1:
        raise BadValue(field=field, value=value, expected="0 to 1")
    return value


class Node:
    """The name of this process in numbers that must not repeat: sequences of SGIP, ids of messages.

    Each is its own, so that several simulators, one after the other or at once, never give out the same.
    """

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        chance = random.SystemRandom()
        self._sgip = sgip.Sequences(3_000_000_000 + chance.randrange(10**9))
        self._cmpp = cmpp.MessageIds(chance.randrange(1 << 22))
        self._smgp = smgp.MessageIds(chance.randrange(10**6))
        self._smpp = (int(utc_now().timestamp()) & 0xFFFFFFF) << 32 | chance.randrange(1 << 12) << 20

    def sequence(self) -> sgip.MessageName:
        return self._sgip.next(utc_now())

    def number(self) -> int:
        """Of the next message, as the protocol numbers them; SGIP has its sequences."""
        if self._protocol == "cmpp":
            return self._cmpp.next(utc_now())
        if self._protocol == "smgp":
            return int.from_bytes(self._smgp.next(utc_now()))
        self._smpp += 1
        return self._smpp

    def dialect(self, version: int) -> Dialect:
        """Of a new connection. version: 0 for the newest."""
        if self._protocol == "cmpp":
            return CmppDialect(version=version or cmpp.V3)
        if self._protocol == "smgp":
            return SmgpDialect(version=version or smgp.V3)
        if self._protocol == "smpp":
            return SmppDialect(version=version or smpp.VERSION_34)
        return SgipDialect(sequences=self.sequence)


class Peer(Connection):
    """A connection that can turn deaf. is_caller: we dialled, and log in."""

    is_caller = False
    is_deaf = False
    taken = 0  # messages that came by it

    def stall(self) -> None:
        """Read nothing more, and stay connected."""
        self.is_deaf = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.is_deaf:
            super().resume_writing()


def declined(request: Any) -> Pdu:  # Any: the PDU class of the protocol
    """The answer to what a simulator does not do: queries, cancellations."""
    if isinstance(request, smpp.SmppPdu):
        return smpp.answer(request, smpp.Status.ESME_RINVCMDID)
    if isinstance(request, cmpp.CmppPdu):
        return cmpp.answer(request)
    return smgp.answer(request) if isinstance(request, smgp.SmgpPdu) else sgip.answer(request)


def server_tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """None without a certificate. Raises BadValue for files that cannot be used."""
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise BadValue(field="--tls-cert", value=str(certificate), expected="a certificate with its key") from error
    return context


def client_tls(authority: Path | None) -> ssl.SSLContext:
    """authority: whose certificates are believed; None: those of the system. Raises BadValue."""
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise BadValue(field="--tls-ca", value=str(authority), expected="certificates (PEM)") from error


class Lines:
    """A file of JSON lines: appended to, each with one write. None: nothing is written."""

    def __init__(self, path: Path | None) -> None:
        self._file = -1
        if path is not None:
            try:
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            except OSError as error:
                raise BadValue(field="--log", value=str(path), expected="a file that can be written") from error

    def write(self, event: str, **fields: object) -> None:
        if self._file >= 0:
            said = {"event": event, **fields, "at": utc_now().isoformat(timespec="milliseconds")}
            os.write(self._file, json.dumps(said, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def text_and_part(message: ShortMessage) -> tuple[str, dict[str, int] | None]:
    """What a handset would show of it, and which part of a long message it is."""
    part = message.part()
    mark = part.mark
    return part.text.text, None if mark is None else {"ref": mark.ref, "total": mark.total, "number": mark.number}


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Of values in their order; None without any."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def run_loop(story: Callable[[], Coroutine[Any, Any, T]]) -> T:  # Any: nobody sends into it
    """Run to the end, on uvloop where it is there."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(story())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(story())
