"""What the life of a connection needs to know of each protocol: which PDU logs in, beats, leaves, asks and answers.

A `Dialect` belongs to one connection: it remembers the version that the login agreed on, and counts its sequences.
CMPP 2 and 3 share a port, as SMPP 3.4 and 5.0 do; whoever listens learns the version with the login.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, Final

from mingbai.protocols import cmpp, sgip, smgp, smpp
from mingbai.protocols.pdu import RESPONSE, Codec, Header, MalformedPdu, Pdu


class Role(Enum):
    """What a PDU is for."""

    LOGIN = "login"
    LOGIN_ANSWER = "login answer"
    HEARTBEAT = "heartbeat"
    HEARTBEAT_ANSWER = "heartbeat answer"
    LEAVE = "leave"
    LEAVE_ANSWER = "leave answer"
    REQUEST = "request"
    ANSWER = "answer"
    NOTICE = "notice"  # a request that wants no answer
    UNKNOWN = "unknown"  # well framed, of a command that the standard does not have


Sequences = Callable[[], Any]  # Any: a number, or SGIP's three


def numbers(last: int = 0, most: int = 0xFFFFFFFF) -> Sequences:
    """1, 2, ... to `most`, and 1 again."""

    def count() -> Iterator[int]:
        at = last
        while True:
            at = at + 1 if at < most else 1
            yield at

    return count().__next__


class Dialect:
    """One connection's protocol. The subclasses below say what differs."""

    name: str
    header: Header
    roles: Mapping[type[Pdu], Role]

    def __init__(self, codec: Codec[Any], sequences: Sequences) -> None:  # Any: the PDU class of the protocol
        self._codec = codec
        self.next_sequence = sequences
        self.feed = self.header.frames().feed

    def decode(self, frame: bytes) -> Any:  # Any: as above
        """Raises MalformedPdu."""
        return self._codec.decode(frame)

    def role(self, pdu: Pdu) -> Role:
        return self.roles.get(type(pdu), Role.UNKNOWN)

    def heartbeat(self) -> Pdu | None:
        """A new one; None: the protocol has none."""
        raise NotImplementedError

    def leave(self) -> Pdu:
        raise NotImplementedError

    def simple_answer(self, pdu: Any) -> Pdu:  # Any: as above
        """To a heartbeat or a farewell."""
        raise NotImplementedError

    def complaint(self, error: MalformedPdu) -> Pdu | None:
        """What the standard answers to a frame that cannot be read; None: nothing."""
        raise NotImplementedError

    def unknown(self, pdu: Any) -> Pdu | None:  # Any: as above
        """What it answers to a command that it does not have. The three Chinese protocols skip it by its length."""
        return None

    def out_of_turn(self, pdu: Any) -> Pdu | None:  # Any: as above
        """What it answers to a request before the login, or to a second login."""
        return None

    def is_ok(self, pdu: Any) -> bool:  # Any: as above
        """Whether an answer says yes."""
        return bool(getattr(pdu, "status", getattr(pdu, "result", 0)) == 0)


def _roles(
    responses: Mapping[Any, Any], *, login: tuple[Any, ...], leave: tuple[Any, ...], beat: tuple[Any, ...] = ()
) -> dict[type[Pdu], Role]:  # Any: PDU classes; each protocol has its own base
    """login, leave, beat: requests; their responses follow from `responses`."""
    found: dict[type[Pdu], Role] = {}
    for request, response in responses.items():
        for among, asks, answers in (
            (login, Role.LOGIN, Role.LOGIN_ANSWER),
            (leave, Role.LEAVE, Role.LEAVE_ANSWER),
            (beat, Role.HEARTBEAT, Role.HEARTBEAT_ANSWER),
            ((request,), Role.REQUEST, Role.ANSWER),
        ):
            if request in among:
                found[request], found[response] = asks, answers
                break
    return found


class CmppDialect(Dialect):
    """CMPP 2.0 and 3.0. version: as a client; a server takes that of the CONNECT."""

    name = "cmpp"
    header = cmpp.HEADER
    roles: Mapping[type[Pdu], Role] = {
        **_roles(cmpp.RESPONSES, login=(cmpp.Connect,), leave=(cmpp.Terminate,), beat=(cmpp.ActiveTest,)),
        cmpp.ConnectResp2: Role.LOGIN_ANSWER,
    }
    _SHORT_ANSWER: Final = 30  # octets of a CONNECT_RESP of 2.0, one-octet status and all

    def __init__(self, *, version: int = cmpp.V3, sequences: Sequences | None = None) -> None:
        super().__init__(cmpp.codec_of(version), sequences or numbers())
        self.version = version

    def decode(self, frame: bytes) -> cmpp.CmppPdu:
        """Raises MalformedPdu."""
        command = frame[4:8]
        if command == b"\x80\0\0\x01":  # whoever is older answers in its own version, whatever was asked
            self.speak(0x20 if len(frame) <= self._SHORT_ANSWER else cmpp.V3)
        elif command == b"\0\0\0\x01" and (asked := cmpp.version_of(frame)) is not None and asked >> 4 in (2, 3):
            self.speak(asked)
        found: cmpp.CmppPdu = self._codec.decode(frame)
        return found

    def speak(self, version: int) -> None:
        """From now on by this version."""
        self.version, self._codec = version, cmpp.codec_of(version)

    def heartbeat(self) -> Pdu:
        return cmpp.ActiveTest(sequence=self.next_sequence())

    def leave(self) -> Pdu:
        return cmpp.Terminate(sequence=self.next_sequence())

    def simple_answer(self, pdu: Any) -> Pdu:  # Any: as above
        return cmpp.answer(pdu)

    def complaint(self, error: MalformedPdu) -> Pdu | None:
        return cmpp.refusal(error, self.version)


class SgipDialect(Dialect):
    """SGIP 1.2. sequences: those of the node, shared by all its connections, as they are the messages' names."""

    name = "sgip"
    header = sgip.HEADER
    roles = _roles(sgip.RESPONSES, login=(sgip.Bind,), leave=(sgip.Unbind,))

    def __init__(self, *, sequences: Sequences) -> None:
        super().__init__(sgip.CODEC, sequences)

    def heartbeat(self) -> None:
        return None

    def leave(self) -> Pdu:
        return sgip.Unbind(sequence=self.next_sequence())

    def simple_answer(self, pdu: Any) -> Pdu:  # Any: as above
        return sgip.answer(pdu)

    def complaint(self, error: MalformedPdu) -> Pdu | None:
        return sgip.refusal(error)


class SmgpDialect(Dialect):
    """SMGP 3.0, and 1.3 where the LOGIN says so."""

    name = "smgp"
    header = smgp.HEADER
    roles: Mapping[type[Pdu], Role] = {
        **_roles(smgp.RESPONSES, login=(smgp.Login,), leave=(smgp.Exit,), beat=(smgp.ActiveTest,)),
    }

    def __init__(self, *, version: int = smgp.V3, sequences: Sequences | None = None) -> None:
        super().__init__(smgp.codec_of(version), sequences or numbers())
        self.version = version

    def decode(self, frame: bytes) -> smgp.SmgpPdu:
        """Raises MalformedPdu."""
        if frame[4:8] == b"\0\0\0\x01" and (asked := smgp.version_of(frame)) is not None:
            self.version, self._codec = asked, smgp.codec_of(asked)
        found: smgp.SmgpPdu = self._codec.decode(frame)
        return found

    def heartbeat(self) -> Pdu:
        return smgp.ActiveTest(sequence=self.next_sequence())

    def leave(self) -> Pdu:
        return smgp.Exit(sequence=self.next_sequence())

    def simple_answer(self, pdu: Any) -> Pdu:  # Any: as above
        return smgp.answer(pdu)

    def complaint(self, error: MalformedPdu) -> Pdu | None:
        return smgp.refusal(error)


_BINDS: Final = (smpp.BindReceiver, smpp.BindTransmitter, smpp.BindTransceiver)
_BIND_ANSWERS: Final = (smpp.BindReceiverResp, smpp.BindTransmitterResp, smpp.BindTransceiverResp)
_NOTICES: Final = (smpp.Outbind, smpp.AlertNotification)


def _smpp_roles() -> dict[type[Pdu], Role]:
    found: dict[type[Pdu], Role] = {}
    for each in smpp.PDUS_50:
        found[each] = Role.ANSWER if each.command & RESPONSE else Role.REQUEST
    found |= dict.fromkeys(_BINDS, Role.LOGIN) | dict.fromkeys(_BIND_ANSWERS, Role.LOGIN_ANSWER)
    found |= dict.fromkeys(_NOTICES, Role.NOTICE)
    found |= {smpp.EnquireLink: Role.HEARTBEAT, smpp.EnquireLinkResp: Role.HEARTBEAT_ANSWER}
    found |= {smpp.Unbind: Role.LEAVE, smpp.UnbindResp: Role.LEAVE_ANSWER}
    return found


class SmppDialect(Dialect):
    """SMPP 3.4 and 5.0."""

    name = "smpp"
    header = smpp.HEADER
    roles = _smpp_roles()

    def __init__(self, *, version: int = smpp.VERSION_34, sequences: Sequences | None = None) -> None:
        super().__init__(smpp.codec_of(version), sequences or numbers(most=smpp.LAST_SEQUENCE))
        self.version = version

    def decode(self, frame: bytes) -> smpp.SmppPdu:
        """Raises MalformedPdu."""
        found: smpp.SmppPdu = self._codec.decode(frame)
        if isinstance(found, _BINDS):
            self.version, self._codec = found.interface_version, smpp.codec_of(found.interface_version)
        return found

    def heartbeat(self) -> Pdu:
        return smpp.EnquireLink(sequence=self.next_sequence())

    def leave(self) -> Pdu:
        return smpp.Unbind(sequence=self.next_sequence())

    def simple_answer(self, pdu: Any) -> Pdu:  # Any: as above
        return smpp.answer(pdu)

    def complaint(self, error: MalformedPdu) -> Pdu | None:
        return smpp.answer_malformed(error)

    def unknown(self, pdu: Any) -> Pdu | None:  # Any: as above
        return None if pdu.command & RESPONSE else smpp.answer(pdu)

    def out_of_turn(self, pdu: Any) -> Pdu | None:  # Any: as above
        if self.role(pdu) is Role.LOGIN:
            return smpp.answer(pdu, smpp.Status.ESME_RALYBND)
        return smpp.answer(pdu, smpp.Status.ESME_RINVBNDSTS) if self.role(pdu) is Role.REQUEST else None
