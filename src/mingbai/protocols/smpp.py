"""SMPP 3.4 and 5.0: every PDU, its statuses and TLVs, times, and what a session needs to answer.

`SMPP_34` and `SMPP_50` are codecs (protocols.pdu): `decode` a frame, `encode` a PDU, octet for octet. 5.0 changes no
layout of 3.4; it adds the broadcast PDUs, statuses and TLVs. `codec_of` chooses by the interface_version of a bind.

Peers differ from the standard in small things, and all of these are kept as they came: a response without its body (the
standard allows it with an error only), TLVs that nobody knows, sequence numbers above 0x7FFFFFFF, octets behind the
last field.

Rules: SMPP 3.4 issue 1.2 (clause numbers below are its own), SMPP 5.0.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from mingbai.kernel.errors import BadValue
from mingbai.protocols.long_messages import Mark, MarkKind, Part, part_of
from mingbai.protocols.pdu import (
    RESPONSE,
    Codec,
    Header,
    MalformedPdu,
    Pdu,
    Tlv,
    any_command,
    cstring,
    own,
    pdu,
    remainder,
    sized,
    tlv,
    tlvs,
    uint,
)
from mingbai.protocols.receipts import Receipt, State, parse_receipt
from mingbai.protocols.text import Encoding, coding_of

VERSION_34, VERSION_50 = 0x34, 0x50
LAST_SEQUENCE = 0x7FFF_FFFF
# 64 KiB of message_payload, and the longest of all that stands before it: 255 recipients of submit_multi.
HEADER = Header("SMPP", octets=16, most=65_536 + 8_192)


# ----------------------------------------------------------------------------------------------------------- statuses
class Status(enum.IntEnum):
    """command_status (5.1.3; from 0x100 on of 5.0). `words` is what an operator reads."""

    words: str

    def __new__(cls, value: int, words: str = "") -> Status:
        made = int.__new__(cls, value)
        made._value_ = value
        made.words = words
        return made

    ESME_ROK = 0x00, "no error"
    ESME_RINVMSGLEN = 0x01, "message length is invalid"
    ESME_RINVCMDLEN = 0x02, "command length is invalid"
    ESME_RINVCMDID = 0x03, "command id is invalid"
    ESME_RINVBNDSTS = 0x04, "not allowed in this bind state"
    ESME_RALYBND = 0x05, "already bound"
    ESME_RINVPRTFLG = 0x06, "priority flag is invalid"
    ESME_RINVREGDLVFLG = 0x07, "registered delivery flag is invalid"
    ESME_RSYSERR = 0x08, "system error"
    ESME_RINVSRCADR = 0x0A, "source address is invalid"
    ESME_RINVDSTADR = 0x0B, "destination address is invalid"
    ESME_RINVMSGID = 0x0C, "message id is invalid"
    ESME_RBINDFAIL = 0x0D, "bind failed"
    ESME_RINVPASWD = 0x0E, "password is wrong"
    ESME_RINVSYSID = 0x0F, "system id is unknown"
    ESME_RCANCELFAIL = 0x11, "cancel_sm failed"
    ESME_RREPLACEFAIL = 0x13, "replace_sm failed"
    ESME_RMSGQFUL = 0x14, "message queue is full"
    ESME_RINVSERTYP = 0x15, "service type is invalid"
    ESME_RINVNUMDESTS = 0x33, "number of destinations is invalid"
    ESME_RINVDLNAME = 0x34, "distribution list is unknown"
    ESME_RINVDESTFLAG = 0x40, "destination flag is invalid"
    ESME_RINVSUBREP = 0x42, "submit with replace is not possible"
    ESME_RINVESMCLASS = 0x43, "esm_class is invalid"
    ESME_RCNTSUBDL = 0x44, "cannot submit to this distribution list"
    ESME_RSUBMITFAIL = 0x45, "submit_sm failed"
    ESME_RINVSRCTON = 0x48, "source type of number is invalid"
    ESME_RINVSRCNPI = 0x49, "source numbering plan is invalid"
    ESME_RINVDSTTON = 0x50, "destination type of number is invalid"
    ESME_RINVDSTNPI = 0x51, "destination numbering plan is invalid"
    ESME_RINVSYSTYP = 0x53, "system type is invalid"
    ESME_RINVREPFLAG = 0x54, "replace_if_present flag is invalid"
    ESME_RINVNUMMSGS = 0x55, "number of messages is invalid"
    ESME_RTHROTTLED = 0x58, "throttled: more than the agreed rate"
    ESME_RINVSCHED = 0x61, "scheduled delivery time is invalid"
    ESME_RINVEXPIRY = 0x62, "validity period is invalid"
    ESME_RINVDFTMSGID = 0x63, "predefined message is unknown"
    ESME_RX_T_APPN = 0x64, "receiver: temporary error"
    ESME_RX_P_APPN = 0x65, "receiver: permanent error"
    ESME_RX_R_APPN = 0x66, "receiver: message rejected"
    ESME_RQUERYFAIL = 0x67, "query_sm failed"
    ESME_RINVOPTPARSTREAM = 0xC0, "TLVs cannot be read"
    ESME_ROPTPARNOTALLWD = 0xC1, "a TLV is not allowed here"
    ESME_RINVPARLEN = 0xC2, "length of a parameter is invalid"
    ESME_RMISSINGOPTPARAM = 0xC3, "a TLV is missing"
    ESME_RINVOPTPARAMVAL = 0xC4, "value of a TLV is invalid"
    ESME_RDELIVERYFAILURE = 0xFE, "delivery failed"
    ESME_RUNKNOWNERR = 0xFF, "unknown error"
    ESME_RSERTYPUNAUTH = 0x100, "not authorised for this service type"
    ESME_RPROHIBITED = 0x101, "operation is prohibited"
    ESME_RSERTYPUNAVAIL = 0x102, "service type is unavailable"
    ESME_RSERTYPDENIED = 0x103, "service type is denied"
    ESME_RINVDCS = 0x104, "data coding is invalid"
    ESME_RINVSRCADDRSUBUNIT = 0x105, "source subunit is invalid"
    ESME_RINVDSTADDRSUBUNIT = 0x106, "destination subunit is invalid"
    ESME_RINVBCASTFREQINT = 0x107, "broadcast frequency interval is invalid"
    ESME_RINVBCASTALIAS_NAME = 0x108, "broadcast alias is invalid"
    ESME_RINVBCASTAREAFMT = 0x109, "broadcast area format is invalid"
    ESME_RINVNUMBCAST_AREAS = 0x10A, "number of broadcast areas is invalid"
    ESME_RINVBCASTCNTTYPE = 0x10B, "broadcast content type is invalid"
    ESME_RINVBCASTMSGCLASS = 0x10C, "broadcast message class is invalid"
    ESME_RBCASTFAIL = 0x10D, "broadcast_sm failed"
    ESME_RBCASTQUERYFAIL = 0x10E, "query_broadcast_sm failed"
    ESME_RBCASTCANCELFAIL = 0x10F, "cancel_broadcast_sm failed"
    ESME_RINVBCAST_REP = 0x110, "number of broadcasts is invalid"
    ESME_RINVBCASTSRVGRP = 0x111, "broadcast service group is invalid"
    ESME_RINVBCASTCHANIND = 0x112, "broadcast channel is invalid"


_STATUSES: Mapping[int, Status] = {int(status): status for status in Status}
# The sender must slow down, and send the same again later.
SLOW_DOWN = frozenset((Status.ESME_RTHROTTLED, Status.ESME_RMSGQFUL))
# The same PDU may be taken later.
RETRYABLE = SLOW_DOWN | {Status.ESME_RSYSERR, Status.ESME_RX_T_APPN, Status.ESME_RSERTYPUNAVAIL}


def name_of(status: int) -> str:
    """`ESME_RTHROTTLED`; of a number without a name, the number and whose it is (5.1.3)."""
    if (known := _STATUSES.get(status)) is not None:
        return known.name
    return f"0x{status:08X}, {'of the vendor' if 0x400 <= status <= 0x4FF else 'reserved'}"


# --------------------------------------------------------------------------------------------------------------- TLVs
class Tag(enum.IntEnum):
    """Tags of optional parameters (5.3.1; 0x0428 and from 0x0600 on of 5.0). 0x1400 to 0x3FFF are for vendors."""

    DEST_ADDR_SUBUNIT = 0x0005
    DEST_NETWORK_TYPE = 0x0006
    DEST_BEARER_TYPE = 0x0007
    DEST_TELEMATICS_ID = 0x0008
    SOURCE_ADDR_SUBUNIT = 0x000D
    SOURCE_NETWORK_TYPE = 0x000E
    SOURCE_BEARER_TYPE = 0x000F
    SOURCE_TELEMATICS_ID = 0x0010
    QOS_TIME_TO_LIVE = 0x0017
    PAYLOAD_TYPE = 0x0019
    ADDITIONAL_STATUS_INFO_TEXT = 0x001D
    RECEIPTED_MESSAGE_ID = 0x001E
    MS_MSG_WAIT_FACILITIES = 0x0030
    PRIVACY_INDICATOR = 0x0201
    SOURCE_SUBADDRESS = 0x0202
    DEST_SUBADDRESS = 0x0203
    USER_MESSAGE_REFERENCE = 0x0204
    USER_RESPONSE_CODE = 0x0205
    SOURCE_PORT = 0x020A
    DESTINATION_PORT = 0x020B
    SAR_MSG_REF_NUM = 0x020C
    LANGUAGE_INDICATOR = 0x020D
    SAR_TOTAL_SEGMENTS = 0x020E
    SAR_SEGMENT_SEQNUM = 0x020F
    SC_INTERFACE_VERSION = 0x0210
    CALLBACK_NUM_PRES_IND = 0x0302
    CALLBACK_NUM_ATAG = 0x0303
    NUMBER_OF_MESSAGES = 0x0304
    CALLBACK_NUM = 0x0381
    DPF_RESULT = 0x0420
    SET_DPF = 0x0421
    MS_AVAILABILITY_STATUS = 0x0422
    NETWORK_ERROR_CODE = 0x0423
    MESSAGE_PAYLOAD = 0x0424
    DELIVERY_FAILURE_REASON = 0x0425
    MORE_MESSAGES_TO_SEND = 0x0426
    MESSAGE_STATE = 0x0427
    CONGESTION_STATE = 0x0428
    USSD_SERVICE_OP = 0x0501
    BROADCAST_CHANNEL_INDICATOR = 0x0600
    BROADCAST_CONTENT_TYPE = 0x0601
    BROADCAST_CONTENT_TYPE_INFO = 0x0602
    BROADCAST_MESSAGE_CLASS = 0x0603
    BROADCAST_REP_NUM = 0x0604
    BROADCAST_FREQUENCY_INTERVAL = 0x0605
    BROADCAST_AREA_IDENTIFIER = 0x0606
    BROADCAST_ERROR_STATUS = 0x0607
    BROADCAST_AREA_SUCCESS = 0x0608
    BROADCAST_END_TIME = 0x0609
    BROADCAST_SERVICE_GROUP = 0x060A
    BILLING_IDENTIFICATION = 0x060B
    SOURCE_NETWORK_ID = 0x060D
    DEST_NETWORK_ID = 0x060E
    SOURCE_NODE_ID = 0x060F
    DEST_NODE_ID = 0x0610
    DEST_ADDR_NP_RESOLUTION = 0x0611
    DEST_ADDR_NP_INFORMATION = 0x0612
    DEST_ADDR_NP_COUNTRY = 0x0613
    DISPLAY_TIME = 0x1201
    SMS_SIGNAL = 0x1203
    MS_VALIDITY = 0x1204
    ALERT_ON_MESSAGE_DELIVERY = 0x130C
    ITS_REPLY_TYPE = 0x1380
    ITS_SESSION_INFO = 0x1383


def number_of(found: tuple[Tlv, ...], tag: int) -> int | None:
    """The integer that a TLV holds; None where it is absent or empty. Its width is taken as it comes."""
    value = tlv(found, tag)
    return int.from_bytes(value) if value else None


# ------------------------------------------------------------------------------------------------ fields of one octet
class EsmClass(enum.IntFlag):
    """esm_class (5.2.12). The mode (two bits) and the type (four) are numbers: compare `mode` and `type`."""

    DATAGRAM = 0x01
    FORWARD = 0x02
    STORE_AND_FORWARD = 0x03
    RECEIPT = 0x04
    DELIVERY_ACK = 0x08
    USER_ACK = 0x10
    CONVERSATION_ABORT = 0x18
    INTERMEDIATE = 0x20
    UDHI = 0x40
    REPLY_PATH = 0x80

    @property
    def mode(self) -> int:
        return self & 0x03

    @property
    def type(self) -> int:
        return self & 0x3C


class Registered(enum.IntFlag):
    """registered_delivery (5.2.17). The lowest two bits are a number: which receipts are wanted."""

    RECEIPT = 0x01
    RECEIPT_OF_FAILURE = 0x02
    RECEIPT_OF_SUCCESS = 0x03  # 5.0; reserved in 3.4
    DELIVERY_ACK = 0x04
    USER_ACK = 0x08
    INTERMEDIATE = 0x10


def wants_receipt(registered_delivery: int, state: State) -> bool:
    """Did the sender ask for a receipt of this state?"""
    if not state.is_final:
        return bool(registered_delivery & Registered.INTERMEDIATE)
    wanted = registered_delivery & 0x03
    if wanted == Registered.RECEIPT:
        return True
    is_success = state in (State.DELIVERED, State.ACCEPTED)
    return wanted == (Registered.RECEIPT_OF_SUCCESS if is_success else Registered.RECEIPT_OF_FAILURE)


# --------------------------------------------------------------------------------------------------------------- PDUs
@pdu(header=HEADER)
class SmppPdu(Pdu):
    """What stands behind length and command in each of them."""

    status: int = uint(4)
    sequence: int = uint(4)


@pdu()
class Unknown(SmppPdu):
    """A command that has no declaration: answer `generic_nack`, status 0x03."""

    command: int = any_command()
    body: bytes = remainder()


@pdu()
class _Bind(SmppPdu):
    system_id: bytes = cstring(16)
    password: bytes = cstring(9, secret=True)
    system_type: bytes = cstring(13)
    interface_version: int = uint(1, VERSION_34)
    addr_ton: int = uint(1)
    addr_npi: int = uint(1)
    address_range: bytes = cstring(41)


@pdu()
class _BindResp(SmppPdu):
    """system_id is None where the body is absent: with an error, or from a careless peer."""

    system_id: bytes | None = cstring(16, None, optional=True)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu(0x01)
class BindReceiver(_Bind):
    """The ESME asks to receive (4.1.3)."""


@pdu(0x02)
class BindTransmitter(_Bind):
    """The ESME asks to send (4.1.1)."""


@pdu(0x09)
class BindTransceiver(_Bind):
    """The ESME asks to do both (4.1.5)."""


@pdu(RESPONSE | 0x01)
class BindReceiverResp(_BindResp):
    """TLV sc_interface_version says what the SMSC speaks (4.1.4)."""


@pdu(RESPONSE | 0x02)
class BindTransmitterResp(_BindResp):
    """See BindReceiverResp (4.1.2)."""


@pdu(RESPONSE | 0x09)
class BindTransceiverResp(_BindResp):
    """See BindReceiverResp (4.1.6)."""


@pdu(0x0B)
class Outbind(SmppPdu):
    """The SMSC asks the ESME to bind (4.1.7). It has no response: the bind is."""

    system_id: bytes = cstring(16)
    password: bytes = cstring(9, secret=True)


@pdu(0x06)
class Unbind(SmppPdu):
    """The session ends (4.2.1)."""


@pdu(RESPONSE | 0x06)
class UnbindResp(SmppPdu):
    """Sent when all that was under way is answered (4.2.2)."""


@pdu(RESPONSE)
class GenericNack(SmppPdu):
    """The answer to what cannot be read (4.3.1)."""


@pdu(0x15)
class EnquireLink(SmppPdu):
    """Heartbeat (4.11.1)."""


@pdu(RESPONSE | 0x15)
class EnquireLinkResp(SmppPdu):
    """Heartbeat answered (4.11.2)."""


@pdu()
class _From(SmppPdu):
    service_type: bytes = cstring(6)
    source_addr_ton: int = uint(1)
    source_addr_npi: int = uint(1)
    source_addr: bytes = cstring(21)


@pdu()
class _Sm(_From):
    dest_addr_ton: int = uint(1)
    dest_addr_npi: int = uint(1)
    destination_addr: bytes = cstring(21)
    esm_class: int = uint(1)
    protocol_id: int = uint(1)
    priority_flag: int = uint(1)
    schedule_delivery_time: bytes = cstring(17)
    validity_period: bytes = cstring(17)
    registered_delivery: int = uint(1)
    replace_if_present_flag: int = uint(1)
    data_coding: int = uint(1)
    sm_default_msg_id: int = uint(1)
    short_message: bytes = sized(length=1)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu()
class _IdResp(SmppPdu):
    """message_id is None where the body is absent: with an error, or from a careless peer."""

    message_id: bytes | None = cstring(65, None, optional=True)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu(0x04)
class SubmitSm(_Sm):
    """A message to one recipient (4.4.1)."""


@pdu(RESPONSE | 0x04)
class SubmitSmResp(_IdResp):
    """The id by which its receipts come (4.4.2)."""


@pdu(0x05)
class DeliverSm(_Sm):
    """A message or receipt to the ESME (4.6.1)."""


@pdu(RESPONSE | 0x05)
class DeliverSmResp(_IdResp):
    """message_id is unused: one NUL (4.6.2)."""


@dataclass(frozen=True, slots=True)
class SmeAddress:
    """One recipient of submit_multi (4.5.1.1, flag 1)."""

    ton: int
    npi: int
    address: bytes


@dataclass(frozen=True, slots=True)
class ListName:
    """A distribution list as recipient of submit_multi (4.5.1.2, flag 2)."""

    name: bytes


@dataclass(frozen=True, slots=True)
class Unsuccess:
    """A recipient of submit_multi that was not taken (4.5.2.1)."""

    ton: int
    npi: int
    address: bytes
    error: int


Recipient = SmeAddress | ListName


def _read_cstring(frame: bytes, at: int, most: int) -> tuple[bytes, int]:
    stop = frame.find(b"\0", at, at + most)
    if stop < 0:
        raise IndexError(f"no NUL within {most} octets")
    return frame[at:stop], stop + 1


def _write_cstring(field: str, value: bytes, most: int) -> bytes:
    if len(value) >= most or b"\0" in value:
        raise BadValue(field=field, value=value, expected=f"at most {most - 1} octets without a NUL")
    return value + b"\0"


def _write_octet(field: str, value: int) -> bytes:
    if not 0 <= value <= 255:
        raise BadValue(field=field, value=value, expected="an integer from 0 to 255")
    return bytes((value,))


def _read_recipients(frame: bytes, at: int) -> tuple[tuple[Recipient, ...], int]:
    recipients: list[Recipient] = []
    count, at = frame[at], at + 1
    for _ in range(count):
        flag, at = frame[at], at + 1
        if flag == 1:
            ton, npi = frame[at], frame[at + 1]
            address, at = _read_cstring(frame, at + 2, 21)
            recipients.append(SmeAddress(ton, npi, address))
        elif flag == 2:
            name, at = _read_cstring(frame, at, 21)
            recipients.append(ListName(name))
        else:
            raise IndexError(f"dest_flag {flag}")
    return tuple(recipients), at


def _write_recipients(recipients: tuple[Recipient, ...]) -> bytes:
    octets = _write_octet("number_of_dests", len(recipients))
    for recipient in recipients:
        if isinstance(recipient, ListName):
            octets += b"\x02" + _write_cstring("dl_name", recipient.name, 21)
        else:
            octets += b"\x01" + _write_octet("dest_addr_ton", recipient.ton)
            octets += _write_octet("dest_addr_npi", recipient.npi)
            octets += _write_cstring("destination_addr", recipient.address, 21)
    return octets


def _read_unsuccess(frame: bytes, at: int) -> tuple[tuple[Unsuccess, ...] | None, int]:
    if at == len(frame):
        return None, at
    failed: list[Unsuccess] = []
    count, at = frame[at], at + 1
    for _ in range(count):
        ton, npi = frame[at], frame[at + 1]
        address, at = _read_cstring(frame, at + 2, 21)
        if at + 4 > len(frame):
            raise IndexError("error_status_code")
        failed.append(Unsuccess(ton, npi, address, int.from_bytes(frame[at : at + 4])))
        at += 4
    return tuple(failed), at


def _write_unsuccess(failed: tuple[Unsuccess, ...] | None) -> bytes:
    if failed is None:
        return b""
    octets = _write_octet("no_unsuccess", len(failed))
    for each in failed:
        octets += _write_octet("dest_addr_ton", each.ton) + _write_octet("dest_addr_npi", each.npi)
        octets += _write_cstring("destination_addr", each.address, 21)
        if not 0 <= each.error <= 0xFFFF_FFFF:
            raise BadValue(field="error_status_code", value=each.error, expected="an integer from 0 to 4294967295")
        octets += each.error.to_bytes(4)
    return octets


@pdu(0x21)
class SubmitMulti(_From):
    """A message to several recipients (4.5.1); 254 at most by the standard."""

    recipients: tuple[Recipient, ...] = own(_read_recipients, _write_recipients)
    esm_class: int = uint(1)
    protocol_id: int = uint(1)
    priority_flag: int = uint(1)
    schedule_delivery_time: bytes = cstring(17)
    validity_period: bytes = cstring(17)
    registered_delivery: int = uint(1)
    replace_if_present_flag: int = uint(1)
    data_coding: int = uint(1)
    sm_default_msg_id: int = uint(1)
    short_message: bytes = sized(length=1)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu(RESPONSE | 0x21)
class SubmitMultiResp(SmppPdu):
    """One id for all, and who was not taken (4.5.2). Both are None where the body is absent."""

    message_id: bytes | None = cstring(65, None, optional=True)
    unsuccess: tuple[Unsuccess, ...] | None = own(_read_unsuccess, _write_unsuccess, None)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu(0x103)
class DataSm(SmppPdu):
    """A message whose text is in message_payload (4.7.1)."""

    service_type: bytes = cstring(6)
    source_addr_ton: int = uint(1)
    source_addr_npi: int = uint(1)
    source_addr: bytes = cstring(65)
    dest_addr_ton: int = uint(1)
    dest_addr_npi: int = uint(1)
    destination_addr: bytes = cstring(65)
    esm_class: int = uint(1)
    registered_delivery: int = uint(1)
    data_coding: int = uint(1)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu(RESPONSE | 0x103)
class DataSmResp(_IdResp):
    """As SubmitSmResp (4.7.2)."""


@pdu(0x03)
class QuerySm(SmppPdu):
    """What became of a message? (4.8.1)"""

    message_id: bytes = cstring(65)
    source_addr_ton: int = uint(1)
    source_addr_npi: int = uint(1)
    source_addr: bytes = cstring(21)


@pdu(RESPONSE | 0x03)
class QuerySmResp(SmppPdu):
    """Its state, and since when (4.8.2). All are None where the body is absent."""

    message_id: bytes | None = cstring(65, None, optional=True)
    final_date: bytes | None = cstring(17, None, optional=True)
    message_state: int | None = uint(1, None, optional=True)
    error_code: int | None = uint(1, None, optional=True)


@pdu(0x08)
class CancelSm(SmppPdu):
    """Do not deliver (4.9.1)."""

    service_type: bytes = cstring(6)
    message_id: bytes = cstring(65)
    source_addr_ton: int = uint(1)
    source_addr_npi: int = uint(1)
    source_addr: bytes = cstring(21)
    dest_addr_ton: int = uint(1)
    dest_addr_npi: int = uint(1)
    destination_addr: bytes = cstring(21)


@pdu(RESPONSE | 0x08)
class CancelSmResp(SmppPdu):
    """Status only (4.9.2)."""


@pdu(0x07)
class ReplaceSm(SmppPdu):
    """Another text for a message that waits (4.10.1). TLVs (message_payload) are of 5.0."""

    message_id: bytes = cstring(65)
    source_addr_ton: int = uint(1)
    source_addr_npi: int = uint(1)
    source_addr: bytes = cstring(21)
    schedule_delivery_time: bytes = cstring(17)
    validity_period: bytes = cstring(17)
    registered_delivery: int = uint(1)
    sm_default_msg_id: int = uint(1)
    short_message: bytes = sized(length=1)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu(RESPONSE | 0x07)
class ReplaceSmResp(SmppPdu):
    """Status only (4.10.2)."""


@pdu(0x102)
class AlertNotification(SmppPdu):
    """A handset is there again (4.12.1). It has no response."""

    source_addr_ton: int = uint(1)
    source_addr_npi: int = uint(1)
    source_addr: bytes = cstring(65)
    esme_addr_ton: int = uint(1)
    esme_addr_npi: int = uint(1)
    esme_addr: bytes = cstring(65)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu(0x111)
class BroadcastSm(_From):
    """To all handsets of an area, which stands in TLVs (5.0 4.4.1)."""

    message_id: bytes = cstring(65)
    priority_flag: int = uint(1)
    schedule_delivery_time: bytes = cstring(17)
    validity_period: bytes = cstring(17)
    replace_if_present_flag: int = uint(1)
    data_coding: int = uint(1)
    sm_default_msg_id: int = uint(1)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu(RESPONSE | 0x111)
class BroadcastSmResp(_IdResp):
    """Areas that failed stand in TLVs (5.0 4.4.2)."""


@pdu(0x112)
class QueryBroadcastSm(SmppPdu):
    """What became of a broadcast? (5.0 4.6.1)"""

    message_id: bytes = cstring(65)
    source_addr_ton: int = uint(1)
    source_addr_npi: int = uint(1)
    source_addr: bytes = cstring(21)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu(RESPONSE | 0x112)
class QueryBroadcastSmResp(_IdResp):
    """State and areas stand in TLVs (5.0 4.6.3)."""


@pdu(0x113)
class CancelBroadcastSm(SmppPdu):
    """End a broadcast (5.0 4.6.2)."""

    service_type: bytes = cstring(6)
    message_id: bytes = cstring(65)
    source_addr_ton: int = uint(1)
    source_addr_npi: int = uint(1)
    source_addr: bytes = cstring(21)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu(RESPONSE | 0x113)
class CancelBroadcastSmResp(SmppPdu):
    """Status only (5.0 4.6.4)."""


PDUS_34: tuple[type[SmppPdu], ...] = (
    *(BindReceiver, BindReceiverResp, BindTransmitter, BindTransmitterResp, BindTransceiver, BindTransceiverResp),
    *(Outbind, Unbind, UnbindResp, GenericNack, EnquireLink, EnquireLinkResp, AlertNotification),
    *(SubmitSm, SubmitSmResp, SubmitMulti, SubmitMultiResp, DeliverSm, DeliverSmResp, DataSm, DataSmResp),
    *(QuerySm, QuerySmResp, CancelSm, CancelSmResp, ReplaceSm, ReplaceSmResp),
)
PDUS_50: tuple[type[SmppPdu], ...] = (
    *PDUS_34,
    *(BroadcastSm, BroadcastSmResp, QueryBroadcastSm, QueryBroadcastSmResp, CancelBroadcastSm, CancelBroadcastSmResp),
)
SMPP_34: Codec[SmppPdu] = Codec(HEADER, PDUS_34, Unknown)
SMPP_50: Codec[SmppPdu] = Codec(HEADER, PDUS_50, Unknown)


def codec_of(interface_version: int) -> Codec[SmppPdu]:
    """For a session whose bind named this version. Numbers below 0x34 (some write 34 in decimal) are taken as 3.4."""
    return SMPP_50 if interface_version >= VERSION_50 else SMPP_34


def next_sequence(last: int) -> int:
    """1 to 0x7FFFFFFF, and again (5.1.4)."""
    return last + 1 if 0 <= last < LAST_SEQUENCE else 1


# ------------------------------------------------------------------------------------------------------------- answers
def answer(
    request: SmppPdu,
    status: int = Status.ESME_ROK,
    *,
    message_id: bytes | None = None,
    unsuccess: tuple[Unsuccess, ...] = (),
    system_id: bytes = b"",
    tlvs: tuple[Tlv, ...] = (),
) -> SmppPdu:
    """The response to a request, under its sequence. An Unknown one gets a generic_nack, whatever the status.

    message_id: for responses that carry one, system_id for those to a bind; where they are not given there stands one
    NUL. With an error the body is left out, but for TLVs (a vendor's reason behind a firewall's block), which have to
    stand behind a field. Raises BadValue for a PDU that has no response.
    """
    if isinstance(request, Unknown):
        return GenericNack(sequence=request.sequence, status=Status.ESME_RINVCMDID)
    kind = _RESPONSES.get(request.command)
    if kind is None:
        raise BadValue(field="request", value=type(request).__name__, expected="a request that has a response")
    made = kind(status=status, sequence=request.sequence)
    has_body = status == Status.ESME_ROK or bool(tlvs) or message_id is not None
    if isinstance(made, _BindResp):
        made.system_id = system_id if has_body else None
        made.tlvs = tlvs
    elif isinstance(made, _IdResp | SubmitMultiResp):
        made.message_id = (message_id or b"") if has_body else None
        made.tlvs = tlvs
        if isinstance(made, SubmitMultiResp) and has_body:
            made.unsuccess = unsuccess
    elif isinstance(made, QuerySmResp) and isinstance(request, QuerySm) and has_body:
        made.message_id, made.final_date = request.message_id, b""
        made.message_state, made.error_code = State.UNKNOWN, 0
    return made


_RESPONSES = {each.command & ~RESPONSE: each for each in PDUS_50 if each.command & RESPONSE and each is not GenericNack}


def answer_malformed(error: MalformedPdu) -> SmppPdu | None:
    """For a frame that was whole and could not be read: status 0x02 in its own response, if it is a request with one.

    Anything else gets a generic_nack; a response gets nothing, lest two peers answer each other for ever.
    """
    if error.command & RESPONSE or not isinstance(error.sequence, int):
        return None
    kind = _RESPONSES.get(error.command, GenericNack)
    return kind(status=Status.ESME_RINVCMDLEN, sequence=error.sequence)


# ------------------------------------------------------------------------------------------------------------ contents
# As plain numbers: each operation on an IntFlag costs as much as reading a message's text.
_UDHI, _TYPE, _RECEIPTS = int(EsmClass.UDHI), 0x3C, (int(EsmClass.RECEIPT), int(EsmClass.INTERMEDIATE))
Message = SubmitSm | DeliverSm | SubmitMulti | DataSm | ReplaceSm


def content_of(message: Message) -> bytes:
    """short_message, or message_payload where that is empty (5.3.2.32: only one of them is used)."""
    short = b"" if isinstance(message, DataSm) else message.short_message
    return short or tlv(message.tlvs, Tag.MESSAGE_PAYLOAD) or b""


def part_of_message(message: SubmitSm | DeliverSm | SubmitMulti | DataSm, default: Encoding | None = None) -> Part:
    """The content taken apart, for `long_messages.Joiner` and for reading. default: what the peer means by coding 0."""
    return part_of(
        content_of(message),
        coding_of("smpp", message.data_coding, default),
        has_header=bool(message.esm_class & _UDHI),
        beside=sar_mark(message.tlvs) if message.tlvs else None,
    )


def sar_mark(found: tuple[Tlv, ...]) -> Mark | None:
    """The mark in sar_* TLVs; None unless all three are there (5.3.2.22 to 24)."""
    ref = number_of(found, Tag.SAR_MSG_REF_NUM)
    total = number_of(found, Tag.SAR_TOTAL_SEGMENTS)
    number = number_of(found, Tag.SAR_SEGMENT_SEQNUM)
    return None if ref is None or total is None or number is None else Mark(MarkKind.SAR, ref, total, number)


def sar_tlvs(mark: Mark) -> tuple[Tlv, ...]:
    """The inverse. Raises BadValue for a mark that the TLVs cannot hold."""
    if not (mark.is_sound and 0 <= mark.ref <= 0xFFFF):
        raise BadValue(field="part", value=mark, expected="a sound mark, its reference in 16 bits")
    return (
        (Tag.SAR_MSG_REF_NUM, mark.ref.to_bytes(2)),
        (Tag.SAR_TOTAL_SEGMENTS, bytes((mark.total,))),
        (Tag.SAR_SEGMENT_SEQNUM, bytes((mark.number,))),
    )


# Written anew where they are needed, or said by whoever bills and numbers the nodes, which is not the sender.
_NOT_CARRIED = frozenset(
    map(
        int,
        (
            Tag.MESSAGE_PAYLOAD, Tag.SAR_MSG_REF_NUM, Tag.SAR_TOTAL_SEGMENTS, Tag.SAR_SEGMENT_SEQNUM,
            Tag.RECEIPTED_MESSAGE_ID, Tag.MESSAGE_STATE, Tag.NETWORK_ERROR_CODE, Tag.SC_INTERFACE_VERSION,
            Tag.CONGESTION_STATE, Tag.BILLING_IDENTIFICATION, Tag.SOURCE_NETWORK_ID, Tag.SOURCE_NODE_ID,
        ),
    )
)  # fmt: skip


def carried(found: tuple[Tlv, ...]) -> tuple[Tlv, ...]:
    """The optional parameters of a message that go on with it, in their order: all, the unknown and the vendors' too,
    but for those that belong to one leg."""
    return tuple(one for one in found if one[0] not in _NOT_CARRIED)


def receipt_of(message: DeliverSm | DataSm, zone: tzinfo = UTC) -> Receipt | None:
    """The receipt that a deliver_sm or data_sm is; None for a message.

    Told by esm_class, or by TLV receipted_message_id with it: peers that forget the one send the other.
    """
    if (message.esm_class & _TYPE) not in _RECEIPTS and tlv(message.tlvs, Tag.RECEIPTED_MESSAGE_ID) is None:
        return None
    first: dict[int, bytes] = {}
    for tag, value in message.tlvs:
        first.setdefault(tag, value)
    return parse_receipt(content_of(message), first, zone)


# --------------------------------------------------------------------------------------------------------------- times
_TIME = "YYMMDDhhmmss, tenths, then two digits and + - or R (7.1.1)"


def parse_time(raw: bytes, now: datetime) -> datetime | None:
    """schedule_delivery_time, validity_period or final_date in UTC; None where it is empty (7.1.1).

    now: what a relative time (`000002000000000R`, two days) counts from. Raises BadValue.
    """
    if not raw:
        return None
    digits, sign = raw[:15], raw[15:]
    if len(raw) != 16 or not digits.isdigit() or sign not in (b"+", b"-", b"R"):
        raise BadValue(field="time", value=raw.decode("latin-1"), expected=_TIME)
    year, month, day, hour, minute, second = (int(digits[place : place + 2]) for place in range(0, 12, 2))
    tenth, quarters = int(digits[12:13]), int(digits[13:15])
    try:
        if sign == b"R":
            months = now.year * 12 + now.month - 1 + 12 * year + month
            begin = _same_day(now, months // 12, months % 12 + 1)
            return (begin + timedelta(days=day, hours=hour, minutes=minute, seconds=second)).astimezone(UTC)
        offset = timedelta(minutes=15 * quarters if sign == b"+" else -15 * quarters)
        local = datetime(2000 + year, month, day, hour, minute, second, tenth * 100_000, tzinfo=timezone(offset))
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadValue(field="time", value=raw.decode("latin-1"), expected=_TIME) from None


def _same_day(moment: datetime, year: int, month: int) -> datetime:
    """The moment in another month, on its last day where that is shorter."""
    for day in (moment.day, 30, 29):
        try:
            return moment.replace(year=year, month=month, day=day)
        except ValueError:
            if day <= 28:
                raise
    return moment.replace(year=year, month=month, day=28)


def format_time(moment: datetime, zone: tzinfo = UTC) -> bytes:
    """An absolute time, to the tenth of a second, in the peer's zone. Raises BadValue if the format cannot hold it."""
    local = moment.astimezone(zone)
    offset = local.utcoffset() or timedelta()
    quarters, seconds = divmod(abs(offset).seconds, 900)
    if seconds or quarters > 48 or not 2000 <= local.year <= 2099:
        raise BadValue(field="time", value=local.isoformat(), expected="2000 to 2099, in a zone of quarter hours")
    tenth = local.microsecond // 100_000
    return f"{local:%y%m%d%H%M%S}{tenth}{quarters:02d}{'-' if offset < timedelta() else '+'}".encode()


def format_period(period: timedelta) -> bytes:
    """A relative time, to the second: `000002000000000R` is two days. Raises BadValue above 99 days or below zero."""
    seconds = int(period.total_seconds())
    days, hour, minute = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60
    if not 0 <= seconds or days > 99:
        raise BadValue(field="period", value=str(period), expected="0 to 99 days")
    return f"0000{days:02d}{hour:02d}{minute:02d}{seconds % 60:02d}000R".encode()
