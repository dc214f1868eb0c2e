"""SMGP 3.0 (China Telecom), and its 1.3 form: every PDU between a provider and a gateway, digests, ids, report text.

The version octet of LOGIN tells the form: 0x13 has no `fixed_fee` in SUBMIT (`Submit13`). Optional parameters are kept
in their order, known or not (`Tag` names the known ones). Commands between gateways (FORWARD, QUERY_TE_ROUTE, ...)
and QUERY have no declaration: `Unknown` passes them through.

A report comes as text, and every gateway writes it in its own way: `parse_report` reads octets by keys and never
raises.
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
    MalformedPdu,
    Pdu,
    Tlv,
    any_command,
    exactly,
    many,
    octets,
    pdu,
    remainder,
    sized,
    tlvs,
    uint,
)
from mingbai.protocols.serials import Serials, stamp

DEFAULT_PORT = 8890
V13, V3 = 0x13, 0x30
# SUBMIT with 100 recipients, 255 octets of text and every known TLV stays under 2,700.
MOST = 4096
HEADER = Header("SMGP", octets=12, most=MOST)

LOGIN, SUBMIT, DELIVER, ACTIVE_TEST, FORWARD, EXIT, QUERY = 1, 2, 3, 4, 5, 6, 7
MAX_RECIPIENTS = 100


# -------------------------------------------------------------------------------------------------------------- PDUs
@pdu(header=HEADER)
class SmgpPdu(Pdu):
    """Any PDU of SMGP."""

    sequence: int = uint(4)


@pdu()
class Unknown(SmgpPdu):
    """A command that is not declared here; goes out as it came."""

    command: int = any_command()
    body: bytes = remainder()


@pdu(LOGIN)
class Login(SmgpPdu):
    client_id: bytes = octets(8)
    auth_client: bytes = exactly(16, secret=True)
    login_mode: int = uint(1, 2)
    timestamp: int = uint(4)
    client_version: int = uint(1, V3)


@pdu(LOGIN | RESPONSE)
class LoginResp(SmgpPdu):
    status: int = uint(4)
    auth_server: bytes = exactly(16, secret=True)
    server_version: int = uint(1, V3)


@pdu(SUBMIT)
class Submit(SmgpPdu):
    """A message from the provider to at most 100 recipients."""

    msg_type: int = uint(1, 6)
    need_report: int = uint(1)
    priority: int = uint(1)
    service_id: bytes = octets(10)
    fee_type: bytes = octets(2)
    fee_code: bytes = octets(6)
    fixed_fee: bytes = octets(6)
    msg_format: int = uint(1)
    valid_time: bytes = octets(17)
    at_time: bytes = octets(17)
    src_term_id: bytes = octets(21)
    charge_term_id: bytes = octets(21)
    dest_term_id: tuple[bytes, ...] = many(21)
    msg_content: bytes = sized()
    reserve: bytes = octets(8)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu(SUBMIT)
class Submit13(SmgpPdu):
    """As `Submit`, in version 1.3."""

    msg_type: int = uint(1, 6)
    need_report: int = uint(1)
    priority: int = uint(1)
    service_id: bytes = octets(10)
    fee_type: bytes = octets(2)
    fee_code: bytes = octets(6)
    msg_format: int = uint(1)
    valid_time: bytes = octets(17)
    at_time: bytes = octets(17)
    src_term_id: bytes = octets(21)
    charge_term_id: bytes = octets(21)
    dest_term_id: tuple[bytes, ...] = many(21)
    msg_content: bytes = sized()
    reserve: bytes = octets(8)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu(SUBMIT | RESPONSE)
class SubmitResp(SmgpPdu):
    msg_id: bytes = exactly(10)
    status: int = uint(4)


@pdu(DELIVER)
class Deliver(SmgpPdu):
    """To the provider: a message from a handset or, where `is_report` is 1, a report (`parse_report`)."""

    msg_id: bytes = exactly(10)
    is_report: int = uint(1)
    msg_format: int = uint(1)
    recv_time: bytes = octets(14)
    src_term_id: bytes = octets(21)
    dest_term_id: bytes = octets(21)
    msg_content: bytes = sized()
    reserve: bytes = octets(8)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu(DELIVER | RESPONSE)
class DeliverResp(SmgpPdu):
    msg_id: bytes = exactly(10)
    status: int = uint(4)


@pdu(ACTIVE_TEST)
class ActiveTest(SmgpPdu):
    """The heartbeat, from either side."""


@pdu(ACTIVE_TEST | RESPONSE)
class ActiveTestResp(SmgpPdu):
    """Empty by the standard; some peers send an octet."""

    reserved: int | None = uint(1, None, optional=True)


@pdu(EXIT)
class Exit(SmgpPdu):
    pass


@pdu(EXIT | RESPONSE)
class ExitResp(SmgpPdu):
    pass


RESPONSES: dict[type[SmgpPdu], type[SmgpPdu]] = {
    Login: LoginResp,
    Submit: SubmitResp,
    Submit13: SubmitResp,
    Deliver: DeliverResp,
    ActiveTest: ActiveTestResp,
    Exit: ExitResp,
}
_PDUS = [*RESPONSES, *dict.fromkeys(RESPONSES.values())]
CODEC: Codec[SmgpPdu] = Codec(HEADER, [each for each in _PDUS if each is not Submit13], Unknown)
CODEC_13: Codec[SmgpPdu] = Codec(HEADER, [each for each in _PDUS if each is not Submit], Unknown)


def codec_of(version: int) -> Codec[SmgpPdu]:
    """The codec for the version octet of LOGIN: 1.x has its own, all others are read as 3.0."""
    return CODEC_13 if version >> 4 == 1 else CODEC


def version_of(frame: bytes) -> int | None:
    """The version octet of a LOGIN, or None if the frame is something else."""
    if len(frame) < HEADER.octets + 30 or HEADER.command_of(frame) != LOGIN:
        return None
    return frame[HEADER.octets + 29]


def decode(frame: bytes, version: int = V3) -> SmgpPdu:
    """The PDU in a frame. In a hot loop take `codec_of(version).decode` once. Raises MalformedPdu."""
    return codec_of(version).decode(frame)


def encode(message: SmgpPdu) -> bytes:
    """Raises BadValue where a field does not fit."""
    return message.encode()


def answer(request: SmgpPdu, **fields: Any) -> SmgpPdu:  # Any: whatever the response declares
    """The response that fits, with the same sequence. Raises KeyError for a PDU that is no request."""
    return RESPONSES[type(request)](sequence=request.sequence, **fields)


def refusal(error: MalformedPdu) -> SmgpPdu | None:
    """The answer to a request that could not be read: structure error. None if it was no request that we know."""
    return CODEC.refusal(error, int(Status.STRUCTURE))


# ----------------------------------------------------------------------------------------------------- codes and words
class Tag(enum.IntEnum):
    """Optional parameters. Those without a remark have one octet."""

    TP_PID = 1
    TP_UDHI = 2
    LINK_ID = 3  # 20 octets
    CHARGE_USER_TYPE = 4
    CHARGE_TERM_TYPE = 5
    CHARGE_TERM_PSEUDO = 6  # any length
    DEST_TERM_TYPE = 7
    DEST_TERM_PSEUDO = 8  # any length
    PK_TOTAL = 9
    PK_NUMBER = 10
    SUBMIT_MSG_TYPE = 11
    SP_DEAL_RESULT = 12
    SRC_TERM_TYPE = 13
    SRC_TERM_PSEUDO = 14  # any length
    NODES_COUNT = 15
    MSG_SRC = 16  # 8 octets
    SRC_TYPE = 17
    M_SERVICE_ID = 18  # 21 octets


class LoginMode(enum.IntEnum):
    SEND = 0
    RECEIVE = 1
    BOTH = 2


class MsgType(enum.IntEnum):
    FROM_HANDSET = 0
    TO_HANDSET = 6
    PEER_TO_PEER = 7


class MsgFormat(enum.IntEnum):
    ASCII = 0
    WRITE_CARD = 3
    BINARY = 4
    UCS2 = 8
    GB18030 = 15


class Status(enum.IntEnum):
    """Of responses."""

    OK = 0
    BUSY = 1
    TOO_MANY_LINKS = 2
    STRUCTURE = 10
    COMMAND = 11
    DUPLICATE_SEQUENCE = 12
    IP_ADDRESS = 20
    AUTHENTICATION = 21
    VERSION = 22
    MSG_TYPE = 30
    PRIORITY = 31
    FEE_TYPE = 32
    FEE_CODE = 33
    MSG_FORMAT = 34
    TIME_FORMAT = 35
    LENGTH = 36
    EXPIRED = 37
    QUERY_TYPE = 38
    ROUTE = 39
    FIXED_FEE = 40
    UPDATE_TYPE = 41
    ROUTE_ID = 42
    SERVICE_ID = 43
    VALID_TIME = 44
    AT_TIME = 45
    SRC_TERM_ID = 46
    DEST_TERM_ID = 47
    CHARGE_TERM_ID = 48
    SP_CODE = 49
    SOURCE_GATEWAY = 56
    QUERY_NUMBER = 57
    NO_ROUTE = 58


STATUS_WORDS = {
    Status.OK: "accepted",
    Status.BUSY: "the system is busy",
    Status.TOO_MANY_LINKS: "too many links",
    Status.STRUCTURE: "the message has a wrong structure",
    Status.COMMAND: "the command is not known",
    Status.DUPLICATE_SEQUENCE: "the sequence was used already",
    Status.IP_ADDRESS: "the IP address is not allowed",
    Status.AUTHENTICATION: "the digest is wrong",
    Status.VERSION: "the version is too high",
    Status.MSG_TYPE: "msg_type is wrong",
    Status.PRIORITY: "the priority is wrong",
    Status.FEE_TYPE: "the fee type is wrong",
    Status.FEE_CODE: "the fee code is wrong",
    Status.MSG_FORMAT: "the format of the text is wrong",
    Status.TIME_FORMAT: "the format of a time is wrong",
    Status.LENGTH: "the length of the text is wrong",
    Status.EXPIRED: "the time of validity is over",
    Status.QUERY_TYPE: "the type of the query is wrong",
    Status.ROUTE: "the route is wrong",
    Status.FIXED_FEE: "the fixed fee is wrong",
    Status.UPDATE_TYPE: "the type of the update is wrong",
    Status.ROUTE_ID: "the route is not known",
    Status.SERVICE_ID: "the service is not known",
    Status.VALID_TIME: "the time of validity is wrong",
    Status.AT_TIME: "the time of sending is wrong",
    Status.SRC_TERM_ID: "the source is wrong",
    Status.DEST_TERM_ID: "a recipient is wrong",
    Status.CHARGE_TERM_ID: "the number to charge is wrong",
    Status.SP_CODE: "the code of the provider is wrong",
    Status.SOURCE_GATEWAY: "the source gateway is wrong",
    Status.QUERY_NUMBER: "the number asked for is wrong",
    Status.NO_ROUTE: "there is no matching route",
}


# ------------------------------------------------------------------------------------------------------------- digests
def timestamp_of(moment: datetime) -> int:
    """MMDDHHMMSS as a number, in the zone of `moment` (the operator's, by custom)."""
    return stamp(moment)


def auth_client(client_id: bytes, secret: bytes, timestamp: int) -> bytes:
    """The digest in LOGIN: MD5 of id (without its padding), seven NULs, secret, time in ten digits."""
    given = client_id.rstrip(b"\0") + bytes(7) + secret + b"%010d" % timestamp
    return hashlib.md5(given, usedforsecurity=False).digest()


def auth_server(status: int, client_digest: bytes, secret: bytes) -> bytes:
    """The digest in LOGIN_RESP: MD5 of status in four octets, LOGIN's digest, secret."""
    given = status.to_bytes(4, "big") + client_digest + secret
    return hashlib.md5(given, usedforsecurity=False).digest()


# --------------------------------------------------------------------------------------------------------- message ids
@dataclass(frozen=True, slots=True)
class MessageId:
    """The parts of the ten octets, in BCD: six digits of the gateway's code, MMDDhhmm, six of a counter."""

    gateway: int
    month: int
    day: int
    hour: int
    minute: int
    counter: int

    @classmethod
    def of(cls, value: bytes) -> MessageId:
        """Raises BadValue where it is not BCD: gateways do send others."""
        digits = value.hex()
        if len(digits) != 20 or not digits.isdecimal():
            raise BadValue(field="msg_id", value=digits, expected="20 digits in BCD")
        month, day, hour, minute = (int(digits[k : k + 2]) for k in range(6, 14, 2))
        return cls(int(digits[:6]), month, day, hour, minute, int(digits[14:]))

    def __bytes__(self) -> bytes:
        """Raises BadValue where a part has more than its digits."""
        for name, digits in (("gateway", 6), ("month", 2), ("day", 2), ("hour", 2), ("minute", 2), ("counter", 6)):
            part: int = getattr(self, name)
            if not 0 <= part < 10**digits:
                raise BadValue(field=name, value=part, expected=f"an integer from 0 to {10**digits - 1}")
        return bytes.fromhex(str(self))

    def __str__(self) -> str:
        """Its 20 digits."""
        time = f"{self.month:02}{self.day:02}{self.hour:02}{self.minute:02}"
        return f"{self.gateway:06}{time}{self.counter:06}"


class MessageIds:
    """Gives out ids, each once. Above 1,000,000 a minute the next minutes are borrowed.

    gateway: the code of this gateway, six digits, no two processes the same; after: the last id that was given out
    before a restart (or any later one), with `now` to know its year.
    """

    __slots__ = ("_gateway", "_head", "_moment", "_serials")

    def __init__(self, gateway: int, *, after: bytes | None = None, now: datetime | None = None) -> None:
        if not 0 <= gateway < 10**6:
            raise BadValue(field="gateway", value=gateway, expected="an integer from 0 to 999999")
        self._gateway = gateway
        unit, capacity = timedelta(minutes=1), 10**6
        if after is None:
            self._serials = Serials(unit, capacity)
        else:
            last = MessageId.of(after)
            time = (last.month, last.day, last.hour, last.minute)
            self._serials = Serials.resumed(unit, capacity, now, time, last.counter)
        self._moment: datetime | None = None
        self._head = ""

    def next(self, now: datetime) -> bytes:
        """An id that no call gave before. `now` in the zone that the ids shall show, the same at every call."""
        moment, counter = self._serials.next(now)
        if moment is not self._moment:
            self._moment = moment
            self._head = str(MessageId(self._gateway, moment.month, moment.day, moment.hour, moment.minute, 0))[:14]
        return bytes.fromhex(f"{self._head}{counter:06}")


# ------------------------------------------------------------------------------------------------------------- reports
@dataclass(frozen=True, slots=True)
class Report:
    """What a report says. What it leaves out is None or empty. Times are YYMMDDhhmm as they came."""

    id: bytes = b""
    sub: int | None = None
    dlvrd: int | None = None
    submit_date: str = ""
    done_date: str = ""
    stat: str = ""
    err: str = ""
    text: bytes = b""

    @property
    def text_read(self) -> str:
        """`text` as GB18030, which is how gateways write it; a character that was cut off at the end is left out."""
        return self.text.decode("gb18030", "ignore")


# Separators are blanks, or the letter "s" (of gateways that meant "\s"), or nothing: so keys are looked for.
_KEY = re.compile(rb"(submit[ _]?date|done[ _]?date|dlvrd|sub|stat|err|te?xt):", re.IGNORECASE)
_ID = re.compile(rb"\s*id:", re.IGNORECASE)
_DIGITS = re.compile(rb"[0-9]+")
_WORD = re.compile(rb"[^\s\0]*")
_ID_OCTETS, _STAT_OCTETS, _ERR_OCTETS, _TEXT_OCTETS = 10, 7, 3, 20


def parse_report(content: bytes) -> Report:
    """The report in `msg_content`, read by its keys. Never raises.

    `id` has ten raw octets by the standard, which may look like blanks or keys; one of another length (digits as text)
    ends where the next key begins, and 20 digits are taken for the BCD that they spell.
    """
    found: dict[str, bytes] = {}
    at = 0
    if (head := _ID.match(content)) is not None:
        at = _end_of_id(content, head.end())
        found["id"] = _id_of(content[head.end() : at])
    name = ""
    begins = at
    while True:
        key = _KEY.search(content, at)
        if name:
            found.setdefault(name, content[begins : key.start() if key else len(content)])
        if key is None:
            break
        name = key[1].lower().replace(b" ", b"_").decode()
        begins = at = key.end()
        if name in ("text", "txt"):
            found["text"] = content[begins:].rstrip(b"\0")
            break
    return Report(
        id=found.get("id", b""),
        sub=_number(found.get("sub")),
        dlvrd=_number(found.get("dlvrd")),
        submit_date=_digits(found.get("submit_date", found.get("submitdate"))),
        done_date=_digits(found.get("done_date", found.get("donedate"))),
        stat=_word(found.get("stat"), _STAT_OCTETS),
        err=_word(found.get("err"), _ERR_OCTETS),
        text=found.get("text", b""),
    )


def format_report(report: Report) -> bytes:
    """The usual 122 octets. Raises BadValue where a value does not fit its place."""
    for name, value, expected in (
        ("id", report.id, _ID_OCTETS),
        ("stat", report.stat, _STAT_OCTETS),
        ("err", report.err, _ERR_OCTETS),
        ("submit_date", report.submit_date, 10),
        ("done_date", report.done_date, 10),
    ):
        if len(value) != expected:
            raise BadValue(field=name, value=value, expected=f"{expected} octets")
    if len(report.text) > _TEXT_OCTETS:
        raise BadValue(field="text", value=f"{len(report.text)} octets", expected=f"at most {_TEXT_OCTETS} octets")
    said = (
        f" sub:{report.sub or 0:03} dlvrd:{report.dlvrd or 0:03} submit date:{report.submit_date}"
        f" done date:{report.done_date} stat:{report.stat} err:{report.err} text:"
    )
    return b"id:" + report.id + said.encode("ascii", "replace") + report.text.ljust(_TEXT_OCTETS, b"\0")


def _end_of_id(content: bytes, begin: int) -> int:
    """Where the value of `id:` ends: after ten octets if a key or nothing stands there, else before the next key."""
    stop = begin + _ID_OCTETS
    if stop >= len(content) or _KEY.match(content, stop) or _KEY.match(content, stop + 1):
        return min(stop, len(content))
    key = _KEY.search(content, begin)
    return key.start() if key else min(stop, len(content))


def _id_of(value: bytes) -> bytes:
    if len(value) == _ID_OCTETS:
        return value
    value = value.strip(b" \0")
    digits = _DIGITS.match(value)
    if digits is not None and len(digits[0]) == 2 * _ID_OCTETS:
        return bytes.fromhex(digits[0].decode())
    return value


def _digits(value: bytes | None) -> str:
    found = _DIGITS.search(value) if value else None
    return found[0].decode() if found else ""


def _number(value: bytes | None) -> int | None:
    digits = _digits(value)[:9]
    return int(digits) if digits else None


def _word(value: bytes | None, octets_usual: int) -> str:
    """Without blanks and NULs, and without the "s" that separates it from the next key."""
    if value is None:
        return ""
    found = _WORD.match(value.lstrip())
    word = found[0] if found else b""
    if len(word) == octets_usual + 1 and word.endswith(b"s"):
        word = word[:-1]
    return word.decode("latin-1")
