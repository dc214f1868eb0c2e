"""CMPP 2.0 and 3.0 (China Mobile): every PDU between a provider and a gateway, digests, message ids, reports.

Both versions speak on one port, and only the version octet of CONNECT tells them apart: `version_of(frame)` before the
session begins, `decode(frame, version)` from then on. A class whose layout differs ends in its version (`Submit2`,
`Submit3`); the others serve both. 0x21, which peers of 2.0 send, is 2.0. FWD and the MT_ROUTE family, spoken between
gateways only, stay `Unknown` and pass through.

Where libraries disagree (CANCEL_RESP, ACTIVE_TEST_RESP), the PDU says what is taken.
"""

from __future__ import annotations

import enum
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mingbai.kernel.errors import BadValue
from mingbai.protocols.pdu import (
    RESPONSE,
    Codec,
    Header,
    Layout,
    MalformedPdu,
    Pdu,
    any_command,
    exactly,
    many,
    octets,
    pdu,
    remainder,
    sized,
    uint,
)
from mingbai.protocols.serials import Serials, stamp

DEFAULT_PORT = 7890
V2, V3 = 0x20, 0x30
# SUBMIT of 3.0 with its 99 recipients and 255 octets of text has 3,594; other gateways take 4 KiB too.
MOST = 4096
HEADER = Header("CMPP", octets=12, most=MOST)

CONNECT, TERMINATE, SUBMIT, DELIVER, QUERY, CANCEL, ACTIVE_TEST = 1, 2, 4, 5, 6, 7, 8
MAX_RECIPIENTS = 99


# -------------------------------------------------------------------------------------------------------------- PDUs
@pdu(header=HEADER)
class CmppPdu(Pdu):
    """Any PDU of CMPP."""

    sequence: int = uint(4)


@pdu()
class Unknown(CmppPdu):
    """A command that is not declared here; goes out as it came."""

    command: int = any_command()
    body: bytes = remainder()


@pdu(CONNECT)
class Connect(CmppPdu):
    """The provider signs in. `version` chooses the codec of the session."""

    source_addr: bytes = octets(6)
    auth_source: bytes = exactly(16, secret=True)
    version: int = uint(1, V2)
    timestamp: int = uint(4)


@pdu(CONNECT | RESPONSE)
class ConnectResp2(CmppPdu):
    status: int = uint(1)
    auth_ismg: bytes = exactly(16, secret=True)
    version: int = uint(1, V2)


@pdu(CONNECT | RESPONSE)
class ConnectResp3(CmppPdu):
    status: int = uint(4)
    auth_ismg: bytes = exactly(16, secret=True)
    version: int = uint(1, V3)


@pdu(TERMINATE)
class Terminate(CmppPdu):
    pass


@pdu(TERMINATE | RESPONSE)
class TerminateResp(CmppPdu):
    pass


@pdu(SUBMIT)
class Submit2(CmppPdu):
    """A message from the provider to at most 99 recipients. `msg_id` is the gateway's to give: 0 here."""

    msg_id: int = uint(8)
    pk_total: int = uint(1, 1)
    pk_number: int = uint(1, 1)
    registered_delivery: int = uint(1)
    msg_level: int = uint(1)
    service_id: bytes = octets(10)
    fee_user_type: int = uint(1)
    fee_terminal_id: bytes = octets(21)
    tp_pid: int = uint(1)
    tp_udhi: int = uint(1)
    msg_fmt: int = uint(1)
    msg_src: bytes = octets(6)
    fee_type: bytes = octets(2)
    fee_code: bytes = octets(6)
    valid_time: bytes = octets(17)
    at_time: bytes = octets(17)
    src_id: bytes = octets(21)
    dest_terminal_id: tuple[bytes, ...] = many(21)
    msg_content: bytes = sized()
    reserve: bytes = octets(8)


@pdu(SUBMIT)
class Submit3(CmppPdu):
    """As `Submit2`, with numbers of 32 octets that may be pseudonyms (`*_type` 1)."""

    msg_id: int = uint(8)
    pk_total: int = uint(1, 1)
    pk_number: int = uint(1, 1)
    registered_delivery: int = uint(1)
    msg_level: int = uint(1)
    service_id: bytes = octets(10)
    fee_user_type: int = uint(1)
    fee_terminal_id: bytes = octets(32)
    fee_terminal_type: int = uint(1)
    tp_pid: int = uint(1)
    tp_udhi: int = uint(1)
    msg_fmt: int = uint(1)
    msg_src: bytes = octets(6)
    fee_type: bytes = octets(2)
    fee_code: bytes = octets(6)
    valid_time: bytes = octets(17)
    at_time: bytes = octets(17)
    src_id: bytes = octets(21)
    dest_terminal_id: tuple[bytes, ...] = many(32)
    dest_terminal_type: int = uint(1)
    msg_content: bytes = sized()
    link_id: bytes = octets(20)


@pdu(SUBMIT | RESPONSE)
class SubmitResp2(CmppPdu):
    msg_id: int = uint(8)
    result: int = uint(1)


@pdu(SUBMIT | RESPONSE)
class SubmitResp3(CmppPdu):
    msg_id: int = uint(8)
    result: int = uint(4)


@pdu(DELIVER)
class Deliver2(CmppPdu):
    """To the provider: a message from a handset or, where `registered_delivery` is 1, a report (`report_of`)."""

    msg_id: int = uint(8)
    dest_id: bytes = octets(21)
    service_id: bytes = octets(10)
    tp_pid: int = uint(1)
    tp_udhi: int = uint(1)
    msg_fmt: int = uint(1)
    src_terminal_id: bytes = octets(21)
    registered_delivery: int = uint(1)
    msg_content: bytes = sized()
    reserve: bytes = octets(8)


@pdu(DELIVER)
class Deliver3(CmppPdu):
    """As `Deliver2`."""

    msg_id: int = uint(8)
    dest_id: bytes = octets(21)
    service_id: bytes = octets(10)
    tp_pid: int = uint(1)
    tp_udhi: int = uint(1)
    msg_fmt: int = uint(1)
    src_terminal_id: bytes = octets(32)
    src_terminal_type: int = uint(1)
    registered_delivery: int = uint(1)
    msg_content: bytes = sized()
    link_id: bytes = octets(20)


@pdu(DELIVER | RESPONSE)
class DeliverResp2(CmppPdu):
    msg_id: int = uint(8)
    result: int = uint(1)


@pdu(DELIVER | RESPONSE)
class DeliverResp3(CmppPdu):
    msg_id: int = uint(8)
    result: int = uint(4)


@pdu(QUERY)
class Query(CmppPdu):
    """Counts of a day (`time` is YYYYMMDD): of all (type 0), or of the service in `code` (type 1)."""

    time: bytes = octets(8)
    type: int = uint(1)
    code: bytes = octets(10)
    reserve: bytes = octets(8)


@pdu(QUERY | RESPONSE)
class QueryResp(CmppPdu):
    """Messages to handsets (mt) and from them (mo): received, recipients, delivered, waiting, failed."""

    time: bytes = octets(8)
    type: int = uint(1)
    code: bytes = octets(10)
    mt_tlmsg: int = uint(4)
    mt_tlusr: int = uint(4)
    mt_scs: int = uint(4)
    mt_wt: int = uint(4)
    mt_fl: int = uint(4)
    mo_scs: int = uint(4)
    mo_wt: int = uint(4)
    mo_fl: int = uint(4)


@pdu(CANCEL)
class Cancel2(CmppPdu):
    msg_id: int = uint(8)


@pdu(CANCEL)
class Cancel3(CmppPdu):
    msg_id: int = uint(8)


@pdu(CANCEL | RESPONSE)
class CancelResp2(CmppPdu):
    """`success_id` has one octet by the standard; one library (SMSGate) sends four: the others are then in `rest`."""

    success_id: int = uint(1)


@pdu(CANCEL | RESPONSE)
class CancelResp3(CmppPdu):
    success_id: int = uint(4)


@pdu(ACTIVE_TEST)
class ActiveTest(CmppPdu):
    """The heartbeat, from either side."""


@pdu(ACTIVE_TEST | RESPONSE)
class ActiveTestResp(CmppPdu):
    """`reserved` is None where the peer sends none."""

    reserved: int | None = uint(1, optional=True)


Submit = Submit2 | Submit3
SubmitResp = SubmitResp2 | SubmitResp3
Deliver = Deliver2 | Deliver3
DeliverResp = DeliverResp2 | DeliverResp3
ConnectResp = ConnectResp2 | ConnectResp3

_BOTH: list[type[CmppPdu]] = [Connect, Terminate, TerminateResp, Query, QueryResp, ActiveTest, ActiveTestResp]
_ONLY_2: list[type[CmppPdu]] = [ConnectResp2, Submit2, SubmitResp2, Deliver2, DeliverResp2, Cancel2, CancelResp2]
_ONLY_3: list[type[CmppPdu]] = [ConnectResp3, Submit3, SubmitResp3, Deliver3, DeliverResp3, Cancel3, CancelResp3]
CODEC_2: Codec[CmppPdu] = Codec(HEADER, _BOTH + _ONLY_2, Unknown)
CODEC_3: Codec[CmppPdu] = Codec(HEADER, _BOTH + _ONLY_3, Unknown)

# CONNECT is answered in the version that it names: `answer` knows.
RESPONSES: dict[type[CmppPdu], type[CmppPdu]] = {
    Connect: ConnectResp3,
    Terminate: TerminateResp,
    Submit2: SubmitResp2,
    Submit3: SubmitResp3,
    Deliver2: DeliverResp2,
    Deliver3: DeliverResp3,
    Query: QueryResp,
    Cancel2: CancelResp2,
    Cancel3: CancelResp3,
    ActiveTest: ActiveTestResp,
}


def codec_of(version: int) -> Codec[CmppPdu]:
    """The codec for a version octet. Raises BadValue for one that is neither 2.x nor 3.0."""
    match version >> 4:
        case 2:
            return CODEC_2
        case 3:
            return CODEC_3
    raise BadValue(field="version", value=version, expected="0x20 to 0x2F for CMPP 2, 0x30 to 0x3F for CMPP 3")


def version_of(frame: bytes) -> int | None:
    """The version octet of a CONNECT, or None if the frame is something else."""
    if len(frame) < HEADER.octets + 27 or HEADER.command_of(frame) != CONNECT:
        return None
    return frame[HEADER.octets + 22]


def decode(frame: bytes, version: int = V3) -> CmppPdu:
    """The PDU in a frame. In a hot loop take `codec_of(version).decode` once. Raises MalformedPdu, BadValue."""
    return codec_of(version).decode(frame)


def encode(message: CmppPdu) -> bytes:
    """Raises BadValue where a field does not fit."""
    return message.encode()


def answer(request: CmppPdu, **fields: Any) -> CmppPdu:  # Any: whatever the response declares
    """The response that fits, with the same sequence. Raises KeyError for a PDU that is no request."""
    response = RESPONSES[type(request)]
    if response is ConnectResp3 and request.version < V3:  # type: ignore[attr-defined]  # a Connect
        response = ConnectResp2
    return response(sequence=request.sequence, **fields)


def refusal(error: MalformedPdu, version: int = V3) -> CmppPdu | None:
    """The answer to a request that could not be read: structure error. None if it was no request that we know."""
    return codec_of(version).refusal(error, int(Result.STRUCTURE))


# ----------------------------------------------------------------------------------------------------- codes and words
class ConnectStatus(enum.IntEnum):
    OK = 0
    STRUCTURE = 1
    SOURCE_ADDR = 2
    AUTHENTICATION = 3
    VERSION = 4
    OTHER = 5


class Result(enum.IntEnum):
    """Of SUBMIT_RESP and DELIVER_RESP. From 9 on only CMPP 3 SUBMIT_RESP has words; in 2.0 it is "other"."""

    OK = 0
    STRUCTURE = 1
    COMMAND = 2
    DUPLICATE_SEQUENCE = 3
    LENGTH = 4
    FEE_CODE = 5
    TOO_LONG = 6
    SERVICE_ID = 7
    FLOW_CONTROL = 8
    NOT_SERVED = 9
    SRC_ID = 10
    MSG_SRC = 11
    FEE_TERMINAL_ID = 12
    DEST_TERMINAL_ID = 13


class MsgFmt(enum.IntEnum):
    """Others are met: they are data coding schemes of GSM 03.38 (17, 25, ...)."""

    ASCII = 0
    WRITE_CARD = 3
    BINARY = 4
    UCS2 = 8
    GB18030 = 15


class TerminalType(enum.IntEnum):
    NUMBER = 0
    PSEUDONYM = 1


CONNECT_WORDS = {
    ConnectStatus.OK: "signed in",
    ConnectStatus.STRUCTURE: "the message has a wrong structure",
    ConnectStatus.SOURCE_ADDR: "the source address is not known",
    ConnectStatus.AUTHENTICATION: "the digest is wrong",
    ConnectStatus.VERSION: "the version is too high",
    ConnectStatus.OTHER: "another error",
}
RESULT_WORDS = {
    Result.OK: "accepted",
    Result.STRUCTURE: "the message has a wrong structure",
    Result.COMMAND: "the command is not known",
    Result.DUPLICATE_SEQUENCE: "the sequence was used already",
    Result.LENGTH: "the length is wrong",
    Result.FEE_CODE: "the fee code is wrong",
    Result.TOO_LONG: "the text is too long",
    Result.SERVICE_ID: "the service is not known",
    Result.FLOW_CONTROL: "too many messages: send more slowly",
    Result.NOT_SERVED: "this gateway does not serve the number",
    Result.SRC_ID: "src_id is wrong",
    Result.MSG_SRC: "msg_src is wrong",
    Result.FEE_TERMINAL_ID: "fee_terminal_id is wrong",
    Result.DEST_TERMINAL_ID: "dest_terminal_id is wrong",
}
# Operators and gateways add their own (MA:0001, CB:0012, ...): any seven characters may come.
STAT_WORDS = {
    "DELIVRD": "delivered",
    "EXPIRED": "not delivered in time",
    "DELETED": "deleted",
    "UNDELIV": "cannot be delivered",
    "ACCEPTD": "accepted for the recipient",
    "UNKNOWN": "not known",
    "REJECTD": "rejected",
}


# ------------------------------------------------------------------------------------------------------------- reports
@pdu()
class Report2(Layout):
    """What a report's `msg_content` holds in 2.0: 60 octets. Times are YYMMDDhhmm."""

    msg_id: int = uint(8)
    stat: bytes = octets(7)
    submit_time: bytes = octets(10)
    done_time: bytes = octets(10)
    dest_terminal_id: bytes = octets(21)
    smsc_sequence: int = uint(4)


@pdu()
class Report3(Layout):
    """As `Report2`, 71 octets."""

    msg_id: int = uint(8)
    stat: bytes = octets(7)
    submit_time: bytes = octets(10)
    done_time: bytes = octets(10)
    dest_terminal_id: bytes = octets(32)
    smsc_sequence: int = uint(4)


Report = Report2 | Report3


def report_of(content: bytes) -> Report:
    """The report in `msg_content`. Its length tells the layout: gateways send 60 octets in 3.0 too.

    Raises MalformedPdu under 60 octets.
    """
    return (Report3 if len(content) >= 71 else Report2).decode(content)


# ------------------------------------------------------------------------------------------------------------- digests
def timestamp_of(moment: datetime) -> int:
    """MMDDHHMMSS as a number, in the zone of `moment` (the operator's, by custom)."""
    return stamp(moment)


def auth_source(source_addr: bytes, secret: bytes, timestamp: int) -> bytes:
    """The digest in CONNECT: MD5 of address (without its padding), nine NULs, secret, time in ten digits."""
    given = source_addr.rstrip(b"\0") + bytes(9) + secret + b"%010d" % timestamp
    return hashlib.md5(given, usedforsecurity=False).digest()


def auth_ismg(status: int, source_digest: bytes, secret: bytes, version: int = V3) -> bytes:
    """The digest in CONNECT_RESP: MD5 of status as on the wire (1 octet in 2.0, 4 in 3.0), CONNECT's digest, secret."""
    width = 1 if version < V3 else 4
    given = status.to_bytes(width, "big") + source_digest + secret
    return hashlib.md5(given, usedforsecurity=False).digest()


# --------------------------------------------------------------------------------------------------------- message ids
@dataclass(frozen=True, slots=True)
class MessageId:
    """The parts of the eight octets: 4, 5, 5, 6, 6 bits of time, 22 of the gateway's code, 16 of a counter."""

    month: int
    day: int
    hour: int
    minute: int
    second: int
    gateway: int
    sequence: int

    @classmethod
    def of(cls, value: int) -> MessageId:
        return cls(
            month=value >> 60 & 0xF,
            day=value >> 55 & 0x1F,
            hour=value >> 50 & 0x1F,
            minute=value >> 44 & 0x3F,
            second=value >> 38 & 0x3F,
            gateway=value >> 16 & 0x3FFFFF,
            sequence=value & 0xFFFF,
        )

    @classmethod
    def parse(cls, text: str) -> MessageId:
        """The inverse of `str`. Raises BadValue."""
        if not re.fullmatch(r"[0-9]{22}", text):
            raise BadValue(field="msg_id", value=text, expected="22 digits")
        month, day, hour, minute, second = (int(text[k : k + 2]) for k in range(0, 10, 2))
        return cls(month, day, hour, minute, second, int(text[10:17]), int(text[17:]))

    def __int__(self) -> int:
        """Raises BadValue where a part has more than its bits."""
        value = 0
        for name, bits in _PARTS:
            part: int = getattr(self, name)
            if not 0 <= part < 1 << bits:
                raise BadValue(field=name, value=part, expected=f"an integer from 0 to {(1 << bits) - 1}")
            value = value << bits | part
        return value

    def __str__(self) -> str:
        """As people write it: MMDDHHMMSS, seven digits of the gateway, five of the counter."""
        time = f"{self.month:02}{self.day:02}{self.hour:02}{self.minute:02}{self.second:02}"
        return f"{time}{self.gateway:07}{self.sequence:05}"


_PARTS = (("month", 4), ("day", 5), ("hour", 5), ("minute", 6), ("second", 6), ("gateway", 22), ("sequence", 16))


class MessageIds:
    """Gives out ids, each once. Above 65,536 a second the next seconds are borrowed.

    gateway: the code of this gateway, 22 bits, no two processes the same; after: the last id that was given out before
    a restart (or any later one), with `now` to know its year.
    """

    __slots__ = ("_gateway", "_head", "_moment", "_serials")

    def __init__(self, gateway: int, *, after: int | None = None, now: datetime | None = None) -> None:
        if not 0 <= gateway < 1 << 22:
            raise BadValue(field="gateway", value=gateway, expected=f"an integer from 0 to {(1 << 22) - 1}")
        self._gateway = gateway
        unit, capacity = timedelta(seconds=1), 1 << 16
        if after is None:
            self._serials = Serials(unit, capacity)
        else:
            last = MessageId.of(after)
            time = (last.month, last.day, last.hour, last.minute, last.second)
            self._serials = Serials.resumed(unit, capacity, now, time, last.sequence)
        self._moment: datetime | None = None
        self._head = 0

    def next(self, now: datetime) -> int:
        """An id that no call gave before. `now` in the zone that the ids shall show, the same at every call."""
        moment, sequence = self._serials.next(now)
        if moment is not self._moment:
            self._moment = moment
            parts = (moment.month, moment.day, moment.hour, moment.minute, moment.second, self._gateway, 0)
            self._head = int(MessageId(*parts))
        return self._head | sequence
