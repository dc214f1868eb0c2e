"""SGIP 1.2 (China Unicom): every PDU between a provider and a gateway, and the twelve octets that name a message.

There is no message id: the header's sequence (node, time, counter) is it, and REPORT repeats that of the SUBMIT. Links
go both ways: the gateway dials the provider's own port for DELIVER and REPORT. There is no heartbeat and no digest.
USERRPT, TRACE and the commands between nodes have no declaration: `Unknown` passes them through.
"""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from typing import Any

from mingbai.kernel.errors import BadValue
from mingbai.protocols.pdu import (
    RESPONSE,
    Codec,
    Header,
    MalformedPdu,
    Pdu,
    any_command,
    many,
    octets,
    pdu,
    remainder,
    sized,
    uint,
    uints,
)
from mingbai.protocols.serials import Serials, parts_of_stamp, stamp

DEFAULT_PORT = 8801
# SUBMIT with 100 recipients and 255 octets of text has 2,498.
MOST = 4096
HEADER = Header("SGIP", octets=20, most=MOST, words=3)

BIND, UNBIND, SUBMIT, DELIVER, REPORT, USERRPT, TRACE = 1, 2, 3, 4, 5, 0x11, 0x1000
MAX_RECIPIENTS = 100
SP_PAYS = b"0" * 21  # as charge_number; empty: the recipient pays

MessageName = tuple[int, int, int]  # node, MMDDHHMMSS, counter


# -------------------------------------------------------------------------------------------------------------- PDUs
@pdu(header=HEADER)
class SgipPdu(Pdu):
    """Any PDU of SGIP."""

    sequence: MessageName = uints(4, 3)


@pdu()
class Unknown(SgipPdu):
    """A command that is not declared here; goes out as it came."""

    command: int = any_command()
    body: bytes = remainder()


@pdu()
class Response(SgipPdu):
    """What all responses but UNBIND_RESP say. `reserve` is None where the peer sends none."""

    result: int = uint(1)
    reserve: bytes | None = octets(8, optional=True)


@pdu(BIND)
class Bind(SgipPdu):
    login_type: int = uint(1, 1)
    login_name: bytes = octets(16)
    login_password: bytes = octets(16, secret=True)
    reserve: bytes = octets(8)


@pdu(BIND | RESPONSE)
class BindResp(Response):
    pass


@pdu(UNBIND)
class Unbind(SgipPdu):
    pass


@pdu(UNBIND | RESPONSE)
class UnbindResp(SgipPdu):
    pass


@pdu(SUBMIT)
class Submit(SgipPdu):
    """A message from the provider to 1 to 100 recipients, their numbers with 86."""

    sp_number: bytes = octets(21)
    charge_number: bytes = octets(21)
    user_number: tuple[bytes, ...] = many(21)
    corp_id: bytes = octets(5)
    service_type: bytes = octets(10)
    fee_type: int = uint(1)
    fee_value: bytes = octets(6)
    given_value: bytes = octets(6)
    agent_flag: int = uint(1)
    more_late_to_mt: int = uint(1)
    priority: int = uint(1)
    expire_time: bytes = octets(16)
    schedule_time: bytes = octets(16)
    report_flag: int = uint(1)
    tp_pid: int = uint(1)
    tp_udhi: int = uint(1)
    message_coding: int = uint(1)
    message_type: int = uint(1)
    message_content: bytes = sized(length=4)
    reserve: bytes = octets(8)


@pdu(SUBMIT | RESPONSE)
class SubmitResp(Response):
    pass


@pdu(DELIVER)
class Deliver(SgipPdu):
    """A message from a handset."""

    user_number: bytes = octets(21)
    sp_number: bytes = octets(21)
    tp_pid: int = uint(1)
    tp_udhi: int = uint(1)
    message_coding: int = uint(1)
    message_content: bytes = sized(length=4)
    reserve: bytes = octets(8)


@pdu(DELIVER | RESPONSE)
class DeliverResp(Response):
    pass


@pdu(REPORT)
class Report(SgipPdu):
    """What became of the SUBMIT whose sequence is `submit_sequence`, for one of its recipients."""

    submit_sequence: MessageName = uints(4, 3)
    report_type: int = uint(1)
    user_number: bytes = octets(21)
    state: int = uint(1)
    error_code: int = uint(1)
    reserve: bytes = octets(8)


@pdu(REPORT | RESPONSE)
class ReportResp(Response):
    pass


RESPONSES: dict[type[SgipPdu], type[SgipPdu]] = {
    Bind: BindResp,
    Unbind: UnbindResp,
    Submit: SubmitResp,
    Deliver: DeliverResp,
    Report: ReportResp,
}
CODEC: Codec[SgipPdu] = Codec(HEADER, [*RESPONSES, *RESPONSES.values()], Unknown)


def decode(frame: bytes) -> SgipPdu:
    """The PDU in a frame. Raises MalformedPdu."""
    return CODEC.decode(frame)


def encode(message: SgipPdu) -> bytes:
    """Raises BadValue where a field does not fit."""
    return message.encode()


def answer(request: SgipPdu, **fields: Any) -> SgipPdu:  # Any: whatever the response declares
    """The response that fits, with the same sequence. Raises KeyError for a PDU that is no request."""
    return RESPONSES[type(request)](sequence=request.sequence, **fields)


def refusal(error: MalformedPdu) -> SgipPdu | None:
    """The answer to a request that could not be read: parameter format. None if it was no request that we know."""
    return CODEC.refusal(error, int(Result.PARAMETER_FORMAT))


# ----------------------------------------------------------------------------------------------------- codes and words
class LoginType(enum.IntEnum):
    SP_TO_SMG = 1
    SMG_TO_SP = 2
    SMG_TO_SMG = 3
    SMG_TO_GNS = 4
    GNS_TO_SMG = 5
    GNS_TO_GNS = 6
    TEST = 11


class Coding(enum.IntEnum):
    ASCII = 0
    WRITE_CARD = 3
    BINARY = 4
    UCS2 = 8
    GBK = 15


class ReportFlag(enum.IntEnum):
    ON_ERROR = 0
    ALWAYS = 1
    NEVER = 2
    MONTHLY_FEE = 3  # a record of a monthly fee: nothing is sent to the handset


class ReportType(enum.IntEnum):
    SUBMIT = 0
    DELIVER = 1


class State(enum.IntEnum):
    DELIVERED = 0
    WAITING = 1
    FAILED = 2


class Result(enum.IntEnum):
    """Of responses, and `error_code` of REPORT."""

    OK = 0
    BAD_LOGIN = 1
    LOGIN_TWICE = 2
    TOO_MANY_LINKS = 3
    LOGIN_TYPE = 4
    PARAMETER_FORMAT = 5
    PHONE_NUMBER = 6
    MESSAGE_ID = 7
    MESSAGE_LENGTH = 8
    SEQUENCE = 9
    GNS_OPERATION = 10
    NODE_BUSY = 11
    DESTINATION_UNREACHABLE = 21
    ROUTE_ERROR = 22
    NO_ROUTE = 23
    CHARGE_NUMBER = 24
    USER_UNREACHABLE = 25
    HANDSET_FULL = 26
    HANDSET_WITHOUT_SMS = 27
    HANDSET_ERROR = 28
    UNKNOWN_USER = 29
    NOT_PROVIDED = 30
    BAD_DEVICE = 31
    SYSTEM_FAILURE = 32
    SMSC_FULL = 33


RESULT_WORDS = {
    Result.OK: "accepted",
    Result.BAD_LOGIN: "the name or the password is wrong",
    Result.LOGIN_TWICE: "signed in already",
    Result.TOO_MANY_LINKS: "too many links",
    Result.LOGIN_TYPE: "the login type is wrong",
    Result.PARAMETER_FORMAT: "a parameter has a wrong format",
    Result.PHONE_NUMBER: "a phone number is wrong",
    Result.MESSAGE_ID: "the message id is wrong",
    Result.MESSAGE_LENGTH: "the length of the message is wrong",
    Result.SEQUENCE: "the sequence is wrong or was used already",
    Result.GNS_OPERATION: "the operation on the name server failed",
    Result.NODE_BUSY: "the node is busy",
    Result.DESTINATION_UNREACHABLE: "the destination cannot be reached",
    Result.ROUTE_ERROR: "the route is wrong",
    Result.NO_ROUTE: "there is no route",
    Result.CHARGE_NUMBER: "the number to charge is wrong",
    Result.USER_UNREACHABLE: "the user cannot be reached",
    Result.HANDSET_FULL: "the memory of the handset is full",
    Result.HANDSET_WITHOUT_SMS: "the handset has no short messages",
    Result.HANDSET_ERROR: "the handset could not receive",
    Result.UNKNOWN_USER: "the user is not known",
    Result.NOT_PROVIDED: "the function is not provided",
    Result.BAD_DEVICE: "the device is wrong",
    Result.SYSTEM_FAILURE: "the system failed",
    Result.SMSC_FULL: "the message centre is full",
}


# ----------------------------------------------------------------------------------------------------------- sequences
def name_text(name: MessageName) -> str:
    """Node, time and counter, ten digits each: how logs write a message's name."""
    return f"{name[0]:010}{name[1]:010}{name[2]:010}"


class Sequences:
    """Gives out sequences, each once, over links and restarts.

    node: the code of this node, no two processes the same; after: the last one that was given out before a restart (or
    any later one), with `now` to know its year.
    """

    __slots__ = ("_moment", "_node", "_serials", "_stamp")

    def __init__(self, node: int, *, after: MessageName | None = None, now: datetime | None = None) -> None:
        if not 0 <= node < 1 << 32:
            raise BadValue(field="node", value=node, expected=f"an integer from 0 to {(1 << 32) - 1}")
        self._node = node
        unit, capacity = timedelta(seconds=1), 1 << 32
        if after is None:
            self._serials = Serials(unit, capacity)
        else:
            self._serials = Serials.resumed(unit, capacity, now, parts_of_stamp(after[1]), after[2])
        self._moment: datetime | None = None
        self._stamp = 0

    def next(self, now: datetime) -> MessageName:
        """A sequence that no call gave before. `now` in the zone that they shall show, the same at every call."""
        moment, counter = self._serials.next(now)
        if moment is not self._moment:
            self._moment, self._stamp = moment, stamp(moment)
        return self._node, self._stamp, counter
