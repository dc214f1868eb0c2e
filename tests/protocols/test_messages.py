"""Any protocol in, any protocol out: what a message means stays, and its octets wherever they can."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.gateway.items import packed, unpacked
from mingbai.kernel.errors import BadValue
from mingbai.protocols import cmpp, sgip, smgp, smpp
from mingbai.protocols.long_messages import Mark, MarkKind, parts_of
from mingbai.protocols.messages import Habits, ShortMessage, Wanted, read_submit, write_submit
from mingbai.protocols.pdu import Pdu
from mingbai.protocols.text import Encoding, coding_of, decode, encode

NOW = datetime(2026, 11, 25, 4, tzinfo=UTC)
CHINA = timezone(timedelta(hours=8))
KINDS = [("cmpp", 0x20), ("cmpp", 0x30), ("sgip", 0), ("smgp", 0x30), ("smgp", 0x13), ("smpp", 0x34)]
pairs = pytest.mark.parametrize(
    ("first", "second"), list(itertools.product(KINDS, KINDS)), ids=lambda kind: f"{kind[0]}-{kind[1]:02x}"
)
one_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind[0]}-{kind[1]:02x}")


def message(protocol: str, text: str = "您的验证码是1234", octet: int = 8, **more: object) -> ShortMessage:
    coding = coding_of(protocol, octet)
    made = ShortMessage("10690001", ("13800000000",), encode(text, coding), coding)
    return replace(made, **more)  # type: ignore[arg-type]  # fields of a ShortMessage


def through(given: ShortMessage, *kinds: tuple[str, int], habits: Habits = Habits()) -> ShortMessage:  # noqa: B008 - frozen
    """Written and read by each protocol in turn, each time over the wire."""
    for protocol, version in kinds:
        pdu = write_submit(given, protocol, version, habits)
        pdu.sequence = (1, 2, 3) if protocol == "sgip" else 7
        given = read_submit(again(pdu, protocol, version), NOW, habits)
    return given


def again(pdu: Pdu, protocol: str, version: int) -> Pdu:
    frame = pdu.encode()
    match protocol:
        case "cmpp":
            return cmpp.decode(frame, version)
        case "sgip":
            return sgip.decode(frame)
        case "smgp":
            return smgp.decode(frame, version)
    return smpp.codec_of(version).decode(frame)


def number(said: str) -> str:
    return said.removeprefix("86")


@pairs
def test_a_message_keeps_its_meaning_through_any_two_protocols(first: tuple[str, int], second: tuple[str, int]) -> None:
    given = message(
        first[0],
        wanted=Wanted.ALL,
        service="HELP",
        priority=2,
        at=datetime(2026, 11, 25, 6, 30, tzinfo=UTC),
        valid_until=datetime(2026, 11, 27, tzinfo=UTC),
    )
    found = through(given, first, second, habits=Habits(zone=CHINA))
    assert found.content == given.content
    assert found.part().text.text == "您的验证码是1234"
    assert (found.source, [number(one) for one in found.destinations]) == ("10690001", ["13800000000"])
    assert (found.wanted, found.priority, found.service) == (Wanted.ALL, 2, "HELP")
    assert (found.at, found.valid_until) == (given.at, given.valid_until)


@pairs
def test_parts_of_a_long_message_go_on_as_they_came(first: tuple[str, int], second: tuple[str, int]) -> None:
    coding = coding_of(first[0], 8)
    parts = parts_of("【明白】" + "这是一条很长的短信，" * 12, coding, 77)
    for content in parts:
        found = through(_part(content, first[0]), first, second)
        assert found.content == content
        assert found.has_header
        mark = found.part().mark
        assert mark is not None
        assert (mark.ref, mark.total) == (77, len(parts))


def _part(content: bytes, protocol: str) -> ShortMessage:
    return ShortMessage("10690001", ("13800000000",), content, coding_of(protocol, 8), has_header=True)


@pytest.mark.parametrize("text", ["meeting at 3", "price: 5€ [net]", "验证码 1234 😀"])
@pairs
def test_text_stays_text_where_the_coding_has_to_change(
    first: tuple[str, int], second: tuple[str, int], text: str
) -> None:
    for octet in (0, 8, 15):
        coding = coding_of(first[0], octet)
        try:
            given = message(first[0], text, octet)
        except BadValue:
            continue  # not a text of that alphabet
        found = through(given, first, second)
        assert found.part().text.text == text, coding


def test_flash_messages_stay_flash() -> None:
    found = through(message("cmpp", "警报", 24), ("cmpp", 0x30), ("smpp", 0x34))
    assert found.coding.is_flash
    assert found.part().text.text == "警报"


def test_who_wants_only_failures_gets_them_where_the_protocol_can_say_so() -> None:
    given = message("sgip", wanted=Wanted.FAILURE)
    assert through(given, ("sgip", 0), ("smpp", 0x34)).wanted is Wanted.FAILURE
    assert through(given, ("cmpp", 0x30)).wanted is Wanted.ALL  # it knows only all or none
    assert through(replace(given, wanted=Wanted.NONE), ("sgip", 0), ("smgp", 0x30)).wanted is Wanted.NONE


def test_many_recipients_go_where_they_can() -> None:
    many = message("cmpp", destinations=("13800000000", "13800000001"))
    assert len(through(many, ("cmpp", 0x20), ("smgp", 0x30)).destinations) == 2
    with pytest.raises(BadValue, match="1 number"):
        write_submit(many, "smpp")
    recipients = (smpp.SmeAddress(1, 1, b"8613800000000"), smpp.SmeAddress(0, 1, b"13800000001"))
    found = read_submit(smpp.SubmitMulti(recipients=recipients, short_message=b"x"), NOW)
    assert found.destinations == ("+8613800000000", "13800000001")
    with pytest.raises(BadValue, match="destination"):
        read_submit(smpp.SubmitMulti(recipients=(smpp.ListName(b"all"),)), NOW)


@one_kind
def test_who_sends_to_nobody_is_told_so(kind: tuple[str, int]) -> None:
    pdu = write_submit(message(kind[0]), *kind)
    for name in ("dest_terminal_id", "user_number", "dest_term_id"):
        if hasattr(pdu, name):
            setattr(pdu, name, ())
    if isinstance(pdu, smpp.SubmitSm):
        pdu.destination_addr = b""
    with pytest.raises(BadValue, match="destination"):
        read_submit(pdu, NOW)


@one_kind
def test_a_time_that_cannot_be_read_is_named(kind: tuple[str, int]) -> None:
    pdu = write_submit(message(kind[0]), *kind)
    for name in ("valid_time", "expire_time", "validity_period"):
        if hasattr(pdu, name):
            setattr(pdu, name, b"tomorrow")
    with pytest.raises(BadValue, match="tomorrow"):
        read_submit(pdu, NOW)


def test_times_without_a_zone_are_the_peers() -> None:
    pdu = cmpp.Submit3(dest_terminal_id=(b"1",), valid_time=b"261126120000", at_time=b"000000010000000R")
    found = read_submit(pdu, NOW, Habits(zone=CHINA))
    assert found.valid_until == datetime(2026, 11, 26, 4, tzinfo=UTC)
    assert found.at == NOW + timedelta(hours=1)


def test_long_content_goes_into_the_payload_and_a_part_that_grows_is_refused() -> None:
    long = message("smpp", "x" * 300, 1)
    pdu = write_submit(long, "smpp")
    assert isinstance(pdu, smpp.SubmitSm)
    assert pdu.short_message == b""
    assert read_submit(pdu, NOW).content == long.content
    gsm = coding_of("smpp", 0)
    part = replace(
        message("smpp"), content=bytes((5, 0, 3, 1, 2, 1)) + "ä".encode("latin-1") * 130, coding=gsm, has_header=True
    )
    grown = replace(part, content=part.content[:6] + b"\x7b" * 130)  # ä 130 times in GSM 7-bit
    with pytest.raises(BadValue, match="140 octets"):
        write_submit(grown, "cmpp")


def test_marks_beside_the_content_come_along() -> None:
    part = message("smpp", mark=Mark(MarkKind.SAR, 300, 3, 2))
    assert through(part, ("smpp", 0x34)).mark == part.mark
    for kind in (("cmpp", 0x30), ("smgp", 0x30)):
        found = through(part, kind).mark
        assert found is not None
        assert (found.total, found.number) == (3, 2)


def test_a_route_says_fees_and_the_corporation() -> None:
    habits = Habits(fields={"msg_src": b"900001", "fee_type": b"01"})
    pdu = write_submit(message("smpp"), "cmpp", 0x30, habits)
    assert isinstance(pdu, cmpp.Submit3)
    assert (pdu.msg_src, pdu.fee_type) == (b"900001", b"01")


def test_an_alphabet_is_the_peers() -> None:
    pdu = smpp.SubmitSm(destination_addr=b"1", data_coding=0, short_message="é".encode("latin-1"))
    assert read_submit(pdu, NOW, Habits(alphabet=Encoding.LATIN1)).part().text.text == "é"


@given(st.sampled_from(KINDS), st.sampled_from(KINDS), st.integers(0, 255), st.binary(max_size=140))
def test_any_content_goes_through_or_says_why_not(
    first: tuple[str, int], second: tuple[str, int], octet: int, content: bytes
) -> None:
    coding = coding_of(first[0], octet)
    given = ShortMessage("10690001", ("13800000000",), content, coding)
    found = through(given, first)
    assert (found.content, found.coding) == (content, coding)
    try:
        onward = through(found, second)
    except BadValue:
        return
    assert onward.content == content or onward.part().text.text == decode(content, coding).text


def test_optional_parameters_go_on_between_peers_that_have_them() -> None:
    """Known and unknown alike; but not what belongs to one leg, or to whoever bills."""
    tags = smpp.Tag
    going = ((int(tags.SOURCE_PORT), b"\x0b\x84"), (0x1403, b"\x01\x02"), (0x3FFF, b""), (0x7777, b"\xff" * 70))
    staying = (
        (int(tags.BILLING_IDENTIFICATION), b"free"),
        (int(tags.RECEIPTED_MESSAGE_ID), b"1\0"),
        (int(tags.SOURCE_NODE_ID), b"123456"),
    )
    asked = smpp.SubmitSm(source_addr=b"10690001", destination_addr=b"13800000000", short_message=b"hi", data_coding=1)
    asked.tlvs = (going[0], staying[0], *going[1:], *staying[1:])
    found = read_submit(again(asked, "smpp", 0x34), NOW)
    assert found.optional == going
    assert through(found, ("smpp", 0x34)).optional == going
    assert through(found, ("cmpp", 0x30)).optional == (), "another protocol has no place for them"
    long = replace(found, content=b"x" * 300, coding=coding_of("smpp", 1), mark=Mark(MarkKind.SAR, 7, 2, 1))
    back = through(long, ("smpp", 0x34))
    assert (back.content, back.mark, back.optional) == (long.content, long.mark, going)
    assert unpacked(packed(back, "smpp"), "smpp") == back, "nor does a restart lose them"
