"""What goes from a gateway to a provider in every protocol: reports, and messages from handsets.

A `Report` says what became of a message, whatever protocol it came by; written anew, it says the same in another.
`messages` does as much for what goes the other way, `answers` for what is said to both.

The words of the peer go on where the other protocol has room and they do not contradict the state; where a time is not
known, zeros stand. Nothing here knows which message an id belongs to, or whether a report was wanted.

Rules: CMPP 2.0 and 3.0 DELIVER, SGIP 1.2 REPORT, SMGP 3.0 DELIVER, SMPP 3.4 appendix B and 5.1.3.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any, Final

from mingbai.kernel.errors import BadValue
from mingbai.protocols import cmpp, sgip, smgp, smpp
from mingbai.protocols.answers import (
    Refusal,
    answer_deliver,
    answer_submit,
    cmpp_id,
    id_of_answer,
    refusal_of,
    refuse_submit,
    sgip_id,
    smgp_id,
)
from mingbai.protocols.long_messages import Mark, MarkKind
from mingbai.protocols.messages import (  # the same rules for both directions, told apart by file only
    MOST_OCTETS,
    USUAL,
    Habits,
    ShortMessage,
    _address,
    _bare,
    _plain,
    _recoded,
    _with_86,
)
from mingbai.protocols.pdu import MalformedPdu, Pdu, text_of, tlv
from mingbai.protocols.receipts import (
    Receipt,
    State,
    format_receipt,
    receipt_tlvs,
    sgip_of,
    state_of_sgip,
    state_of_word,
    word_of,
)
from mingbai.protocols.text import coding_of

# Whoever carries messages takes the answers from here too.
__all__ = [
    "Refusal",
    "Report",
    "answer_deliver",
    "answer_submit",
    "id_of_answer",
    "read_deliver",
    "refusal_of",
    "refuse_submit",
    "write_deliver",
    "write_report",
]


@dataclass(slots=True)  # not frozen: that would double the price of an object for each PDU
class Report:
    """message_id: as `id_of_answer` gave it. source: the access code the message came from; destination: the handset.

    stat: the peer's own word, empty in SGIP, which has none; error: the network's code, empty where it is zero.
    """

    message_id: str
    state: State
    stat: str = ""
    error: str = ""
    source: str = ""
    destination: str = ""
    submitted: datetime | None = None
    done: datetime | None = None


# ------------------------------------------------------------------------------------------------------------- reading
def read_deliver(pdu: Pdu, now: datetime, habits: Habits = USUAL) -> Report | ShortMessage:
    """What a DELIVER, SGIP's REPORT, a deliver_sm or data_sm holds: a report, or a message from a handset.

    Of a message `at` is when it was received: SMGP says so, for the others it is `now`. Raises BadValue for another
    PDU, and for a report that names no message.
    """
    try:
        read = _READERS[type(pdu)]
    except KeyError:
        expected = "a report or a message from a handset"
        raise BadValue(field="pdu", value=type(pdu).__name__, expected=expected) from None
    return read(pdu, now, habits)


def _read_cmpp(pdu: cmpp.Deliver, now: datetime, habits: Habits) -> Report | ShortMessage:
    if pdu.registered_delivery != 1:
        return ShortMessage(
            source=text_of(pdu.src_terminal_id),
            destinations=(text_of(pdu.dest_id),),
            content=pdu.msg_content,
            coding=coding_of("cmpp", pdu.msg_fmt, habits.alphabet),
            has_header=bool(pdu.tp_udhi),
            service=text_of(pdu.service_id),
            protocol_id=pdu.tp_pid,
            at=now,
        )
    try:
        said = cmpp.report_of(pdu.msg_content)
    except MalformedPdu:
        raise BadValue(field="report", value=len(pdu.msg_content), expected="60 or 71 octets") from None
    if not said.msg_id:
        raise _names_nothing()
    stat = text_of(said.stat)
    return Report(
        str(said.msg_id),
        state_of_word(stat),
        stat,
        "",
        text_of(pdu.dest_id),
        text_of(said.dest_terminal_id) or text_of(pdu.src_terminal_id),
        _moment(text_of(said.submit_time), habits.zone),
        _moment(text_of(said.done_time), habits.zone),
    )


def _read_sgip(pdu: sgip.Deliver, now: datetime, habits: Habits) -> ShortMessage:
    return ShortMessage(
        source=text_of(pdu.user_number),
        destinations=(text_of(pdu.sp_number),),
        content=pdu.message_content,
        coding=coding_of("sgip", pdu.message_coding, habits.alphabet),
        has_header=bool(pdu.tp_udhi),
        protocol_id=pdu.tp_pid,
        at=now,
    )


def _read_sgip_report(pdu: sgip.Report, now: datetime, habits: Habits) -> Report:
    if not any(pdu.submit_sequence):
        raise _names_nothing()
    return Report(
        sgip.name_text(pdu.submit_sequence),
        state_of_sgip(pdu.state, pdu.error_code),
        error=str(pdu.error_code or ""),
        destination=text_of(pdu.user_number),
    )


def _read_smgp(pdu: smgp.Deliver, now: datetime, habits: Habits) -> Report | ShortMessage:
    source, destination = text_of(pdu.src_term_id), text_of(pdu.dest_term_id)
    if pdu.is_report != 1:
        tlvs = pdu.tlvs
        total, number = _octet(tlvs, smgp.Tag.PK_TOTAL, 1), _octet(tlvs, smgp.Tag.PK_NUMBER, 1)
        return ShortMessage(
            source=source,
            destinations=(destination,),
            content=pdu.msg_content,
            coding=coding_of("smgp", pdu.msg_format, habits.alphabet),
            has_header=bool(_octet(tlvs, smgp.Tag.TP_UDHI, 0)),
            mark=Mark(MarkKind.COUNT, 0, total, number) if total > 1 else None,
            protocol_id=_octet(tlvs, smgp.Tag.TP_PID, 0),
            at=_moment(text_of(pdu.recv_time), habits.zone) or now,
        )
    said = smgp.parse_report(pdu.msg_content)
    if not said.id.strip(b"\0"):
        raise _names_nothing()
    return Report(
        said.id.hex() if len(said.id) == 10 else said.id.decode("latin-1"),
        state_of_word(said.stat),
        said.stat,
        _error(said.err),
        destination,  # of the report: the access code
        source,
        _moment(said.submit_date, habits.zone),
        _moment(said.done_date, habits.zone),
    )


def _octet(tlvs: tuple[tuple[int, bytes], ...], tag: int, absent: int) -> int:
    value = tlv(tlvs, tag) if tlvs else None
    return value[-1] if value else absent


def _read_smpp(pdu: smpp.DeliverSm | smpp.DataSm, now: datetime, habits: Habits) -> Report | ShortMessage:
    source = _address(pdu.source_addr_ton, pdu.source_addr)
    destination = _address(pdu.dest_addr_ton, pdu.destination_addr)
    said = smpp.receipt_of(pdu, habits.zone)
    if said is None:
        return ShortMessage(
            source=source,
            destinations=(destination,),
            content=smpp.content_of(pdu),
            coding=coding_of("smpp", pdu.data_coding, habits.alphabet),
            has_header=bool(pdu.esm_class & _UDHI),
            mark=smpp.sar_mark(pdu.tlvs) if pdu.tlvs else None,
            service=text_of(pdu.service_type),
            protocol_id=0 if isinstance(pdu, smpp.DataSm) else pdu.protocol_id,
            at=now,
            optional=smpp.carried(pdu.tlvs) if pdu.tlvs else (),
        )
    if not said.message_id:
        raise _names_nothing()
    error = _error(said.error)
    if not error and said.network_error is not None:
        error = str(said.network_error[1] or "")
    stat = said.stat or word_of(said.state)  # TLVs alone say the state by its number
    return Report(said.message_id, said.state, stat, error, destination, source, said.submitted, said.done)


_UDHI: Final = int(smpp.EsmClass.UDHI)  # arithmetic with an IntFlag makes an object each time


def _error(said: str) -> str:
    """Zeros say that there was none."""
    return said if said.strip("0") else ""


@lru_cache(4096)  # they are to the minute, and most reports of a minute say the same two
def _moment(said: str, zone: tzinfo) -> datetime | None:
    """YYMMDDhhmm, with seconds, or SMGP's recv_time with a year of four digits; None for what is no time."""
    if not (said.isascii() and said.isdigit()) or len(said) not in (10, 12, 14):
        return None
    full = said if len(said) == 14 else f"20{said:0<12}"
    try:
        year, month, day = int(full[:4]), int(full[4:6]), int(full[6:8])
        hour, minute, second = int(full[8:10]), int(full[10:12]), int(full[12:])
        return datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):  # zeros, for one: not known
        return None


def _names_nothing() -> BadValue:
    return BadValue(field="message_id", value="", expected="the id of the message that the report is about")


_READERS: Final[dict[type[Pdu], Callable[[Any, datetime, Habits], Report | ShortMessage]]] = {  # Any: the PDU's class
    cmpp.Deliver2: _read_cmpp,
    cmpp.Deliver3: _read_cmpp,
    sgip.Deliver: _read_sgip,
    sgip.Report: _read_sgip_report,
    smgp.Deliver: _read_smgp,
    smpp.DeliverSm: _read_smpp,
    smpp.DataSm: _read_smpp,
}


# ----------------------------------------------------------------------------------------------------- writing reports
def write_report(report: Report, protocol: str, version: int = 0, habits: Habits = USUAL, *, own_id: int = 0) -> Pdu:
    """The report as a protocol carries it, without a sequence.

    version: as the dialect says it; 0 for the newest. own_id: of the DELIVER itself, in CMPP (eight octets) and SMGP
    (ten, as a number). Raises BadValue for a message_id that is not of the protocol's form.
    """
    try:
        write = _REPORT_WRITERS[protocol]
    except KeyError:
        raise _no_protocol(protocol) from None
    return write(report, version, habits.zone, own_id)


def _report_cmpp(report: Report, version: int, zone: tzinfo, own_id: int) -> Pdu:
    is_2 = version >> 4 == 2
    source, destination = _bare(report.source), _bare(report.destination)
    content = (cmpp.Report2 if is_2 else cmpp.Report3)(
        msg_id=cmpp_id(report.message_id),
        stat=_stat(report.stat, report.state).encode(),
        submit_time=_digits(report.submitted, zone).encode(),
        done_time=_digits(report.done, zone).encode(),
        dest_terminal_id=destination,
    ).encode()
    return (cmpp.Deliver2 if is_2 else cmpp.Deliver3)(
        msg_id=own_id, dest_id=source, src_terminal_id=destination, registered_delivery=1, msg_content=content
    )


def _report_sgip(report: Report, version: int, zone: tzinfo, own_id: int) -> Pdu:
    of_state = sgip_of(report.state)
    error = of_state.error
    if not report.stat and len(report.error) <= 3 and report.error.isascii() and report.error.isdigit():
        came = int(report.error)  # from SGIP: its own code says more than the state
        if of_state.state == 2 and came < 256 and state_of_sgip(2, came) is report.state:
            error = came
    return sgip.Report(
        submit_sequence=sgip_id(report.message_id),
        user_number=_with_86(_bare(report.destination)),
        state=of_state.state,
        error_code=error,
    )


def _report_smgp(report: Report, version: int, zone: tzinfo, own_id: int) -> Pdu:
    is_delivered = int(report.state is State.DELIVERED)
    said = smgp.Report(
        id=smgp_id(report.message_id),
        sub=1,
        dlvrd=is_delivered,
        submit_date=_digits(report.submitted, zone),
        done_date=_digits(report.done, zone),
        stat=_stat(report.stat, report.state).ljust(7),
        err=_three(report.error),
    )
    return smgp.Deliver(
        msg_id=_ten_octets(own_id),
        is_report=1,
        recv_time=_received(report.done, zone),
        src_term_id=_bare(report.destination),
        dest_term_id=_bare(report.source),
        msg_content=smgp.format_report(said),
    )


def _report_smpp(report: Report, version: int, zone: tzinfo, own_id: int) -> Pdu:
    source, destination = report.destination, report.source  # the handset speaks to the access code
    said = Receipt(
        report.message_id,
        report.state,
        _stat(report.stat, report.state),
        _three(report.error),
        report.submitted,
        report.done,
    )
    return smpp.DeliverSm(
        source_addr_ton=int(source.startswith("+")),
        source_addr_npi=int(source.startswith("+")),
        source_addr=_plain(source.removeprefix("+")),
        dest_addr_ton=int(destination.startswith("+")),
        dest_addr_npi=int(destination.startswith("+")),
        destination_addr=_plain(destination.removeprefix("+")),
        esm_class=int(smpp.EsmClass.RECEIPT),
        short_message=format_receipt(said, zone),
        tlvs=tuple(receipt_tlvs(said)),
    )


_REPORT_WRITERS: Final[dict[str, Callable[[Report, int, tzinfo, int], Pdu]]] = {
    "cmpp": _report_cmpp,
    "sgip": _report_sgip,
    "smgp": _report_smgp,
    "smpp": _report_smpp,
}
# What can stand in seven places and is no key of a receipt's text: DELIVRD, MK:0012, 0045.
_WORD: Final = re.compile(r"(?:[A-Za-z]{2}:)?[0-9A-Za-z_.+-]{1,7}", re.ASCII)
_GOOD: Final = frozenset((State.DELIVERED, State.ACCEPTED, State.ENROUTE, State.SCHEDULED))


@lru_cache(4096)  # operators have some hundred words
def _stat(word: str, state: State) -> str:
    """The peer's word if it fits and says no other state; else the usual one. A node's code tells why it failed."""
    if len(word) <= 7 and _WORD.fullmatch(word):
        meant = state_of_word(word)
        if meant is state or (meant is State.UNDELIVERABLE and state not in _GOOD):
            return word
    return word_of(state)


def _three(error: str) -> str:
    return error.zfill(3) if len(error) <= 3 and error.isascii() and error.isalnum() else "000"


@lru_cache(4096)  # most reports of a second say the same
def _digits(moment: datetime | None, zone: tzinfo) -> str:
    """YYMMDDhhmm; zeros where it is not known."""
    if moment is None:
        return "0000000000"
    local = moment.astimezone(zone)
    return f"{local.year % 100:02}{local.month:02}{local.day:02}{local.hour:02}{local.minute:02}"


def _received(moment: datetime | None, zone: tzinfo) -> bytes:
    """YYYYMMDDhhmmss."""
    return b"" if moment is None else moment.astimezone(zone).strftime("%Y%m%d%H%M%S").encode()


def _ten_octets(number: int) -> bytes:
    try:
        return number.to_bytes(10)
    except OverflowError:
        raise BadValue(field="own_id", value=number, expected="a number of ten octets") from None


def _no_protocol(protocol: str) -> BadValue:
    return BadValue(field="protocol", value=protocol, expected="cmpp, sgip, smgp or smpp")


# ------------------------------------------------------------------------------------------ writing what handsets sent
def write_deliver(
    message: ShortMessage, protocol: str, version: int = 0, habits: Habits = USUAL, *, own_id: int = 0
) -> Pdu:
    """A message from a handset (source) to a provider's access code (destination), without a sequence.

    Octets go on as `messages.write_submit` says; a mark in sar_* TLVs becomes a user data header where there are none.
    own_id: as for `write_report`. Raises BadValue for what the protocol cannot carry.
    """
    try:
        write = _DELIVER_WRITERS[protocol]
    except KeyError:
        raise _no_protocol(protocol) from None
    if len(message.destinations) != 1:
        raise BadValue(field="destination", value=len(message.destinations), expected="1 access code")
    written = _recoded(message, protocol, habits)
    if protocol != "smpp" and written.mark is not None and written.mark.kind is MarkKind.SAR:
        written = _with_header(written)
    return write(written, version, habits.zone, own_id)


def _with_header(message: ShortMessage) -> ShortMessage:
    """The mark as the header that handsets themselves write: a reference of 16 bits (3GPP TS 23.040, 9.2.3.24.8)."""
    mark = message.mark
    if mark is None or message.has_header or not (mark.is_sound and 0 <= mark.ref <= 0xFFFF):
        return message
    content = b"\x06\x08\x04" + mark.ref.to_bytes(2) + bytes((mark.total, mark.number)) + message.content
    if len(content) > MOST_OCTETS:
        expected = f"at most {MOST_OCTETS} octets with the header of a part"
        raise BadValue(field="content", value=len(content), expected=expected)
    return replace(message, content=content, has_header=True, mark=None)


def _deliver_cmpp(message: ShortMessage, version: int, zone: tzinfo, own_id: int) -> Pdu:
    return (cmpp.Deliver2 if version >> 4 == 2 else cmpp.Deliver3)(
        msg_id=own_id,
        dest_id=_bare(message.destinations[0]),
        service_id=message.service.encode()[:10],
        tp_pid=message.protocol_id,
        tp_udhi=int(message.has_header),
        msg_fmt=message.coding.octet,
        src_terminal_id=_bare(message.source),
        msg_content=message.content,
    )


def _deliver_sgip(message: ShortMessage, version: int, zone: tzinfo, own_id: int) -> Pdu:
    return sgip.Deliver(
        user_number=_with_86(_bare(message.source)),
        sp_number=_bare(message.destinations[0]),
        tp_pid=message.protocol_id,
        tp_udhi=int(message.has_header),
        message_coding=message.coding.octet,
        message_content=message.content,
    )


def _deliver_smgp(message: ShortMessage, version: int, zone: tzinfo, own_id: int) -> Pdu:
    tlvs: list[tuple[int, bytes]] = []
    if message.protocol_id:
        tlvs.append((int(smgp.Tag.TP_PID), bytes((message.protocol_id,))))
    if message.has_header:
        tlvs.append((int(smgp.Tag.TP_UDHI), b"\x01"))
    if message.mark is not None:
        tlvs.append((int(smgp.Tag.PK_TOTAL), bytes((message.mark.total,))))
        tlvs.append((int(smgp.Tag.PK_NUMBER), bytes((message.mark.number,))))
    return smgp.Deliver(
        msg_id=_ten_octets(own_id),
        msg_format=message.coding.octet,
        recv_time=_received(message.at, zone),
        src_term_id=_bare(message.source),
        dest_term_id=_bare(message.destinations[0]),
        msg_content=message.content,
        tlvs=tuple(tlvs),
    )


def _deliver_smpp(message: ShortMessage, version: int, zone: tzinfo, own_id: int) -> Pdu:
    source, destination, content = message.source, message.destinations[0], message.content
    tlvs = message.optional
    if message.mark is not None and message.mark.kind is MarkKind.SAR:
        tlvs = (*smpp.sar_tlvs(message.mark), *tlvs)
    if len(content) > 254:  # 5.2.21: sm_length; 255 is reserved
        tlvs, content = (*tlvs, (int(smpp.Tag.MESSAGE_PAYLOAD), content)), b""
    return smpp.DeliverSm(
        service_type=message.service.encode()[:5],
        source_addr_ton=int(source.startswith("+")),
        source_addr_npi=int(source.startswith("+")),
        source_addr=_plain(source.removeprefix("+")),
        dest_addr_ton=int(destination.startswith("+")),
        dest_addr_npi=int(destination.startswith("+")),
        destination_addr=_plain(destination.removeprefix("+")),
        esm_class=_UDHI if message.has_header else 0,
        protocol_id=message.protocol_id,
        data_coding=message.coding.octet,
        short_message=content,
        tlvs=tlvs,
    )


_DELIVER_WRITERS: Final[dict[str, Callable[[ShortMessage, int, tzinfo, int], Pdu]]] = {
    "cmpp": _deliver_cmpp,
    "sgip": _deliver_sgip,
    "smgp": _deliver_smgp,
    "smpp": _deliver_smpp,
}
