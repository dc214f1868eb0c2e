"""A short message as every protocol means it: read from any SUBMIT, written as any other.

The gateway screens, routes and keeps a `ShortMessage`; what came in by CMPP can go out by SMPP and its report come back
by CMPP. Content goes on octet for octet wherever the other protocol has the same coding (all have UCS-2 and GB18030);
only where it has not is the text written anew, and a part of a long message that would not fit then is refused here:
parts go on as they came or the joined text is split again, never something in between.

Fees are not translated: the three Chinese protocols number them differently and by contract, so a route says them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from enum import IntEnum
from typing import Final

from mingbai.kernel.errors import BadValue
from mingbai.protocols import cmpp, sgip, smgp, smpp
from mingbai.protocols.long_messages import Mark, MarkKind, Part, limit_of, part_of
from mingbai.protocols.pdu import Pdu, Tlv, text_of, tlv
from mingbai.protocols.text import Coding, Encoding, best_coding, coding_of, decode, encode

MOST_OCTETS: Final = 140  # of a short message's content on the air, GSM 03.40, 9.2.3.16


class Wanted(IntEnum):
    """Which reports the sender wants."""

    NONE = 0
    FAILURE = 1
    ALL = 2


@dataclass(slots=True)  # not frozen: that would double the price of an object for each PDU; it is replaced, not changed
class ShortMessage:
    """content: with its user data header where `has_header`. at, valid_until: None where the sender says nothing.

    mark: of a part, where it stands beside the content (CMPP's pk_total, SMGP's TLVs, SMPP's sar_*). optional: further
    parameters of SMPP, known and unknown, as `smpp.carried` leaves them; another protocol has no place for them.
    """

    source: str
    destinations: tuple[str, ...]
    content: bytes
    coding: Coding
    has_header: bool = False
    mark: Mark | None = None
    wanted: Wanted = Wanted.NONE
    service: str = ""
    protocol_id: int = 0
    priority: int = 0
    at: datetime | None = None
    valid_until: datetime | None = None
    optional: tuple[Tlv, ...] = ()

    def part(self) -> Part:
        """The content taken apart: header, mark, text."""
        return part_of(self.content, self.coding, has_header=self.has_header, beside=self.mark)


@dataclass(frozen=True, slots=True)
class Habits:
    """What a peer means by what the standard leaves open. alphabet: by coding 0; zone: of its times."""

    alphabet: Encoding | None = None
    zone: tzinfo = UTC
    fields: dict[str, bytes | int] = field(default_factory=dict)  # of each SUBMIT to it: fees, corporation, msg_src


USUAL: Final = Habits()


# ------------------------------------------------------------------------------------------------------------- reading
def read_submit(pdu: Pdu, now: datetime, habits: Habits = USUAL) -> ShortMessage:
    """The message in a SUBMIT, submit_sm, submit_multi or data_sm, or in a deliver_sm by which an SMSC hands it on.

    Raises BadValue: a time that cannot be read, no recipient, or a PDU that is none of these.
    """
    for kinds, read in _READERS:
        if isinstance(pdu, kinds):
            found = read(pdu, now, habits)
            if not found.destinations or not all(found.destinations):
                raise BadValue(field="destination", value="", expected="a number")
            return found
    raise BadValue(field="pdu", value=type(pdu).__name__, expected="a message from a service provider")


def _read_cmpp(pdu: cmpp.Submit, now: datetime, habits: Habits) -> ShortMessage:
    mark = Mark(MarkKind.COUNT, 0, pdu.pk_total, pdu.pk_number) if pdu.pk_total > 1 else None
    return ShortMessage(
        source=text_of(pdu.src_id),
        destinations=tuple(map(text_of, pdu.dest_terminal_id)),
        content=pdu.msg_content,
        coding=coding_of("cmpp", pdu.msg_fmt, habits.alphabet),
        has_header=bool(pdu.tp_udhi),
        mark=mark,
        wanted=Wanted.ALL if pdu.registered_delivery == 1 else Wanted.NONE,
        service=text_of(pdu.service_id),
        protocol_id=pdu.tp_pid,
        priority=min(3, pdu.msg_level),
        at=_time(pdu.at_time, now, habits),
        valid_until=_time(pdu.valid_time, now, habits),
    )


def _read_sgip(pdu: sgip.Submit, now: datetime, habits: Habits) -> ShortMessage:
    wanted = {sgip.ReportFlag.ON_ERROR: Wanted.FAILURE, sgip.ReportFlag.ALWAYS: Wanted.ALL}
    return ShortMessage(
        source=text_of(pdu.sp_number),
        destinations=tuple(map(text_of, pdu.user_number)),
        content=pdu.message_content,
        coding=coding_of("sgip", pdu.message_coding, habits.alphabet),
        has_header=bool(pdu.tp_udhi),
        wanted={int(flag): found for flag, found in wanted.items()}.get(pdu.report_flag, Wanted.NONE),
        service=text_of(pdu.service_type),
        protocol_id=pdu.tp_pid,
        priority=min(3, pdu.priority),
        at=_time(pdu.schedule_time, now, habits),
        valid_until=_time(pdu.expire_time, now, habits),
    )


def _read_smgp(pdu: smgp.Submit | smgp.Submit13, now: datetime, habits: Habits) -> ShortMessage:
    total, number = _octet(pdu, smgp.Tag.PK_TOTAL, 1), _octet(pdu, smgp.Tag.PK_NUMBER, 1)
    return ShortMessage(
        source=text_of(pdu.src_term_id),
        destinations=tuple(map(text_of, pdu.dest_term_id)),
        content=pdu.msg_content,
        coding=coding_of("smgp", pdu.msg_format, habits.alphabet),
        has_header=bool(_octet(pdu, smgp.Tag.TP_UDHI, 0)),
        mark=Mark(MarkKind.COUNT, 0, total, number) if total > 1 else None,
        wanted=Wanted.ALL if pdu.need_report == 1 else Wanted.NONE,
        service=text_of(pdu.service_id),
        protocol_id=_octet(pdu, smgp.Tag.TP_PID, 0),
        priority=min(3, pdu.priority),
        at=_time(pdu.at_time, now, habits),
        valid_until=_time(pdu.valid_time, now, habits),
    )


def _octet(pdu: smgp.Submit | smgp.Submit13, tag: int, absent: int) -> int:
    value = tlv(pdu.tlvs, tag)
    return value[-1] if value else absent


def _read_smpp(pdu: smpp.SubmitSm | smpp.SubmitMulti | smpp.DataSm, now: datetime, habits: Habits) -> ShortMessage:
    receipts = pdu.registered_delivery & 3  # 5.2.17
    found = ShortMessage(
        source=_address(pdu.source_addr_ton, pdu.source_addr),
        destinations=_recipients(pdu),
        content=smpp.content_of(pdu),
        coding=coding_of("smpp", pdu.data_coding, habits.alphabet),
        has_header=bool(pdu.esm_class & smpp.EsmClass.UDHI),
        mark=smpp.sar_mark(pdu.tlvs) if pdu.tlvs else None,
        wanted=(Wanted.NONE, Wanted.ALL, Wanted.FAILURE, Wanted.NONE)[receipts],
        service=text_of(pdu.service_type),
        optional=smpp.carried(pdu.tlvs) if pdu.tlvs else (),
    )
    if isinstance(pdu, smpp.DataSm):  # it has none of the rest
        return found
    return replace(
        found,
        protocol_id=pdu.protocol_id,
        priority=min(3, pdu.priority_flag),
        at=_time(pdu.schedule_delivery_time, now, habits),
        valid_until=_time(pdu.validity_period, now, habits),
    )


def _read_handed_on(pdu: smpp.DeliverSm, now: datetime, habits: Habits) -> ShortMessage:
    """An SMSC speaks of a subscriber's message: it has taken it, and wants no report."""
    return ShortMessage(
        source=_address(pdu.source_addr_ton, pdu.source_addr),
        destinations=(_address(pdu.dest_addr_ton, pdu.destination_addr),),
        content=smpp.content_of(pdu),
        coding=coding_of("smpp", pdu.data_coding, habits.alphabet),
        has_header=bool(pdu.esm_class & smpp.EsmClass.UDHI),
        mark=smpp.sar_mark(pdu.tlvs) if pdu.tlvs else None,
        service=text_of(pdu.service_type),
        protocol_id=pdu.protocol_id,
        priority=min(3, pdu.priority_flag),
        at=_time(pdu.schedule_delivery_time, now, habits),
        valid_until=_time(pdu.validity_period, now, habits),
        optional=smpp.carried(pdu.tlvs) if pdu.tlvs else (),
    )


def _recipients(pdu: smpp.SubmitSm | smpp.SubmitMulti | smpp.DataSm) -> tuple[str, ...]:
    if not isinstance(pdu, smpp.SubmitMulti):
        return (_address(pdu.dest_addr_ton, pdu.destination_addr),)
    found = []
    for one in pdu.recipients:
        if not isinstance(one, smpp.SmeAddress):
            raise BadValue(field="destination", value=text_of(one.name), expected="a number: lists are not kept here")
        found.append(_address(one.ton, one.address))
    return tuple(found)


def _address(ton: int, address: bytes) -> str:
    """A number; `+` before it where the peer says that it is international (5.2.5)."""
    said = text_of(address)
    return f"+{said}" if ton == 1 and said and not said.startswith("+") else said


def _time(raw: bytes, now: datetime, habits: Habits) -> datetime | None:
    """CMPP, SGIP and SMGP write times as SMPP 3.4 does (7.1.1); without the zone in the field, too."""
    if not raw:
        return None
    said = raw.partition(b"\0")[0].strip()
    if len(said) == 12 and said.isdigit():
        try:
            return datetime.strptime(said.decode(), "%y%m%d%H%M%S").replace(tzinfo=habits.zone).astimezone(UTC)
        except ValueError:
            pass  # said below
    return smpp.parse_time(said, now)


_READERS: Final[tuple[tuple[tuple[type[Pdu], ...], Callable[..., ShortMessage]], ...]] = (
    ((cmpp.Submit2, cmpp.Submit3), _read_cmpp),
    ((smpp.SubmitSm, smpp.SubmitMulti, smpp.DataSm), _read_smpp),
    ((smgp.Submit, smgp.Submit13), _read_smgp),
    ((sgip.Submit,), _read_sgip),
    ((smpp.DeliverSm,), _read_handed_on),
)


# ------------------------------------------------------------------------------------------------------------- writing
def write_submit(message: ShortMessage, protocol: str, version: int = 0, habits: Habits = USUAL) -> Pdu:
    """The message as a protocol's SUBMIT, without a sequence.

    version: as the dialect says it; 0 for the newest. Raises BadValue for what the protocol cannot carry: more than
    one recipient in SMPP (send one for each), a part whose text does not fit in the other's coding.
    """
    written = _recoded(message, protocol, habits)
    try:
        write = _WRITERS[protocol]
    except KeyError:
        raise BadValue(field="protocol", value=protocol, expected="cmpp, sgip, smgp or smpp") from None
    made = write(written, version, habits)
    for name, value in habits.fields.items():
        setattr(made, name, value)
    return made


_OCTET_OF: Final = {
    Encoding.ASCII: 0,
    Encoding.UCS2: 8,
    Encoding.GB18030: 15,
    Encoding.BINARY: 4,
}
_SMPP_OCTET_OF: Final = {
    **_OCTET_OF,
    Encoding.ASCII: 1,
    Encoding.LATIN1: 3,
    Encoding.JIS: 5,
    Encoding.CYRILLIC: 6,
    Encoding.HEBREW: 7,
    Encoding.KOREAN: 14,
}


def _recoded(message: ShortMessage, protocol: str, habits: Habits) -> ShortMessage:
    """With a coding that the other side has."""
    coding = message.coding
    if coding_of(protocol, coding.octet, habits.alphabet) == coding:
        return message  # the same octet means the same there
    octets = _SMPP_OCTET_OF if protocol == "smpp" else _OCTET_OF
    octet = octets.get(coding.encoding)
    if octet is not None:
        return replace(message, coding=coding_of(protocol, octet, habits.alphabet))
    part = message.part()
    header = message.content[: len(message.content) - len(part.payload)]
    text = decode(part.payload, coding).text
    best = best_coding(text, protocol, habits.alphabet)
    written = encode(text, best)
    content = header + written
    if len(written) > limit_of(best.encoding, len(header)) and (header or message.mark is not None):
        expected = f"at most {MOST_OCTETS} octets in the other protocol's coding"
        raise BadValue(field="content", value=len(content), expected=expected)
    return replace(message, content=content, coding=best)


def _write_cmpp(message: ShortMessage, version: int, habits: Habits) -> Pdu:
    kind = cmpp.Submit2 if version >> 4 == 2 else cmpp.Submit3
    mark = message.part().mark
    return kind(
        src_id=_bare(message.source),
        dest_terminal_id=tuple(map(_bare, message.destinations)),
        msg_content=message.content,
        msg_fmt=message.coding.octet,
        tp_udhi=int(message.has_header),
        tp_pid=message.protocol_id,
        pk_total=mark.total if mark else 1,
        pk_number=mark.number if mark else 1,
        registered_delivery=int(message.wanted is not Wanted.NONE),
        msg_level=message.priority,
        service_id=message.service.encode()[:10],
        at_time=_written(message.at, habits),
        valid_time=_written(message.valid_until, habits),
    )


def _write_sgip(message: ShortMessage, version: int, habits: Habits) -> Pdu:
    flags = {
        Wanted.ALL: sgip.ReportFlag.ALWAYS,
        Wanted.FAILURE: sgip.ReportFlag.ON_ERROR,
        Wanted.NONE: sgip.ReportFlag.NEVER,
    }
    return sgip.Submit(
        sp_number=_bare(message.source),
        user_number=tuple(_with_86(_bare(one)) for one in message.destinations),
        charge_number=sgip.SP_PAYS,
        message_content=message.content,
        message_coding=message.coding.octet,
        tp_udhi=int(message.has_header),
        tp_pid=message.protocol_id,
        report_flag=int(flags[message.wanted]),
        priority=message.priority,
        service_type=message.service.encode()[:10],
        schedule_time=_written(message.at, habits),
        expire_time=_written(message.valid_until, habits),
    )


def _write_smgp(message: ShortMessage, version: int, habits: Habits) -> Pdu:
    mark = message.part().mark
    tlvs: list[tuple[int, bytes]] = []
    if message.protocol_id:
        tlvs.append((int(smgp.Tag.TP_PID), bytes((message.protocol_id,))))
    if message.has_header:
        tlvs.append((int(smgp.Tag.TP_UDHI), b"\x01"))
    if mark:
        tlvs.append((int(smgp.Tag.PK_TOTAL), bytes((mark.total,))))
        tlvs.append((int(smgp.Tag.PK_NUMBER), bytes((mark.number,))))
    kind = smgp.Submit13 if version and version >> 4 == 1 else smgp.Submit
    return kind(
        src_term_id=_bare(message.source),
        dest_term_id=tuple(map(_bare, message.destinations)),
        msg_content=message.content,
        msg_format=message.coding.octet,
        need_report=int(message.wanted is not Wanted.NONE),
        priority=message.priority,
        service_id=message.service.encode()[:10],
        at_time=_written(message.at, habits),
        valid_time=_written(message.valid_until, habits),
        tlvs=tuple(tlvs),
    )


def _write_smpp(message: ShortMessage, version: int, habits: Habits) -> Pdu:
    if len(message.destinations) != 1:
        raise BadValue(field="destination", value=len(message.destinations), expected="1 number a submit_sm")
    source, destination = message.source, message.destinations[0]
    tlvs = message.optional
    if message.mark is not None and message.mark.kind is MarkKind.SAR:
        tlvs = (*smpp.sar_tlvs(message.mark), *tlvs)
    content = message.content
    if len(content) > _MOST_SHORT:
        tlvs, content = (*tlvs, (int(smpp.Tag.MESSAGE_PAYLOAD), content)), b""
    return smpp.SubmitSm(
        source_addr_ton=int(source.startswith("+")),
        source_addr_npi=int(source.startswith("+")),
        source_addr=_plain(source.removeprefix("+")),
        dest_addr_ton=int(destination.startswith("+")),
        dest_addr_npi=int(destination.startswith("+")),
        destination_addr=_plain(destination.removeprefix("+")),
        esm_class=int(smpp.EsmClass.UDHI) if message.has_header else 0,
        protocol_id=message.protocol_id,
        priority_flag=message.priority,
        registered_delivery=(0, 2, 1)[message.wanted],
        data_coding=message.coding.octet,
        short_message=content,
        service_type=message.service.encode()[:5],
        schedule_delivery_time=_written(message.at, habits),
        validity_period=_written(message.valid_until, habits),
        tlvs=tlvs,
    )


_MOST_SHORT: Final = 254  # 5.2.21: sm_length; 255 is reserved

_WRITERS: Final[dict[str, Callable[[ShortMessage, int, Habits], Pdu]]] = {
    "cmpp": _write_cmpp,
    "sgip": _write_sgip,
    "smgp": _write_smgp,
    "smpp": _write_smpp,
}


def _plain(number: str) -> bytes:
    return number.encode("ascii", "replace")


def _bare(number: str) -> bytes:
    """CMPP, SGIP and SMGP write digits alone, also of international numbers."""
    return _plain(number.removeprefix("+"))


def _with_86(number: bytes) -> bytes:
    """SGIP writes mobile numbers with 86 before them."""
    return b"86" + number if len(number) == 11 and number.startswith(b"1") else number


def _written(moment: datetime | None, habits: Habits) -> bytes:
    return b"" if moment is None else smpp.format_time(moment, habits.zone)
