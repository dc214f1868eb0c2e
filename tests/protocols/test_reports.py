"""A report, a message from a handset and an answer say the same in every protocol."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.kernel.errors import BadValue
from mingbai.protocols import cmpp, sgip, smgp, smpp
from mingbai.protocols.long_messages import Mark, MarkKind, parts_of
from mingbai.protocols.messages import Habits, ShortMessage, write_submit
from mingbai.protocols.pdu import Pdu
from mingbai.protocols.receipts import State, state_of_word, word_of
from mingbai.protocols.reports import (
    Refusal,
    Report,
    answer_deliver,
    answer_submit,
    id_of_answer,
    read_deliver,
    refusal_of,
    refuse_submit,
    write_deliver,
    write_report,
)
from mingbai.protocols.text import coding_of, encode

NOW = datetime(2026, 11, 25, 4, 7, 9, tzinfo=UTC)
CHINA = timezone(timedelta(hours=8))
KINDS = [("cmpp", 0x20), ("cmpp", 0x30), ("sgip", 0), ("smgp", 0x30), ("smgp", 0x13), ("smpp", 0x34), ("smpp", 0x50)]
name_of_kind = lambda kind: f"{kind[0]}-{kind[1]:02x}"  # noqa: E731 - two decorators share it
pairs = pytest.mark.parametrize(("first", "second"), list(itertools.product(KINDS, KINDS)), ids=name_of_kind)
one_kind = pytest.mark.parametrize("kind", KINDS, ids=name_of_kind)

IDS = {
    "cmpp": str(0xBB2C_41C9_0000_0007),
    "sgip": "301001234511250407090000000042",
    "smgp": "01006111251207012345",
    "smpp": "3f0A-17",
}


def again(pdu: Pdu, protocol: str, version: int) -> Pdu:
    """Over the wire."""
    pdu.sequence = (1, 2, 3) if protocol == "sgip" else 7
    frame = pdu.encode()
    match protocol:
        case "cmpp":
            return cmpp.decode(frame, version)
        case "sgip":
            return sgip.decode(frame)
        case "smgp":
            return smgp.decode(frame, version)
    return smpp.codec_of(version).decode(frame)


def report(protocol: str, **more: object) -> Report:
    made = Report(
        message_id=IDS[protocol],
        state=State.DELIVERED,
        stat="DELIVRD",
        source="10690001",
        destination="8613800000000",
        submitted=datetime(2026, 11, 25, 4, 5, tzinfo=UTC),
        done=datetime(2026, 11, 25, 4, 6, tzinfo=UTC),
    )
    return replace(made, **more)  # type: ignore[arg-type]  # fields of a Report


def carried(given: Report, kind: tuple[str, int], habits: Habits = Habits()) -> Report:  # noqa: B008 - frozen
    found = read_deliver(again(write_report(given, *kind, habits, own_id=99), *kind), NOW, habits)
    assert isinstance(found, Report)
    return found


# ------------------------------------------------------------------------------------------------------------- reports
@pairs
@pytest.mark.parametrize("state", [State.DELIVERED, State.EXPIRED, State.UNDELIVERABLE, State.REJECTED])
def test_a_report_says_the_same_in_any_two_protocols(
    first: tuple[str, int], second: tuple[str, int], state: State
) -> None:
    habits = Habits(zone=CHINA)
    came = carried(report(first[0], state=state, stat=word_of(state)), first, habits)
    went = carried(replace(came, message_id=IDS[second[0]]), second, habits)
    assert (went.message_id, went.state) == (IDS[second[0]], state)
    assert went.destination == "8613800000000"
    if second[0] != "sgip":
        assert went.stat == word_of(state)
        if first[0] != "sgip":  # it says neither the code nor times
            assert went.source == "10690001"
            assert (went.submitted, went.done) == (came.submitted, came.done)
            assert went.done == datetime(2026, 11, 25, 4, 6, tzinfo=UTC)


@one_kind
def test_the_word_of_a_network_node_goes_on(kind: tuple[str, int]) -> None:
    found = carried(report(kind[0], state=State.UNDELIVERABLE, stat="MK:0012"), kind)
    assert found.state is State.UNDELIVERABLE
    assert found.stat == ("" if kind[0] == "sgip" else "MK:0012")


@pytest.mark.parametrize(
    ("stat", "state", "written"),
    [
        ("DELIVERED", State.DELIVERED, "DELIVRD"),  # nine letters in seven places
        ("OK", State.DELIVERED, "DELIVRD"),  # a word that says nothing to others
        ("DELIVRD", State.REJECTED, "REJECTD"),  # the state was decided anew
        ("MK:0012", State.EXPIRED, "MK:0012"),
        ("MK:0012", State.DELIVERED, "DELIVRD"),
        ("验证", State.UNDELIVERABLE, "UNDELIV"),
        ("", State.UNKNOWN, "UNKNOWN"),
        ("0045", State.UNKNOWN, "0045"),
        ("MA:1", State.UNDELIVERABLE, "MA:1"),
    ],
)
@pytest.mark.parametrize("kind", [("cmpp", 0x20), ("smgp", 0x30), ("smpp", 0x34)], ids=name_of_kind)
def test_a_word_that_does_not_fit_or_says_another_state_is_replaced(
    kind: tuple[str, int], stat: str, state: State, written: str
) -> None:
    assert carried(report(kind[0], stat=stat, state=state), kind).stat == written


def test_sgip_keeps_its_own_error_and_words_do_not_become_one() -> None:
    full = Report(IDS["sgip"], State.UNDELIVERABLE, error="26", destination="8613800000000")
    assert carried(full, ("sgip", 0)).error == "26"
    from_smpp = replace(full, stat="UNDELIV", error="026")  # there 26 is a network's own number
    assert carried(from_smpp, ("sgip", 0)).error == "21"
    assert carried(replace(full, message_id="a"), ("smpp", 0x34)).error == "026"


def test_times_that_are_not_known_stay_unknown() -> None:
    for kind in (("cmpp", 0x30), ("smgp", 0x30), ("smpp", 0x34)):
        found = carried(report(kind[0], submitted=None, done=None), kind)
        assert (found.submitted, found.done) == (None, None)


@pytest.mark.parametrize("kind", KINDS[:5], ids=name_of_kind)
@pytest.mark.parametrize("wrong", ["", "x", "-1", "１２", "1" * 29, "1" * 31, "zz" * 10])
def test_an_id_of_another_form_is_refused(kind: tuple[str, int], wrong: str) -> None:
    with pytest.raises(BadValue, match="message_id"):
        write_report(report(kind[0], message_id=wrong), *kind)


def test_a_report_that_names_no_message_is_refused() -> None:
    nothing = [
        cmpp.Deliver3(registered_delivery=1, msg_content=cmpp.Report3(stat=b"DELIVRD").encode()),
        cmpp.Deliver2(registered_delivery=1, msg_content=b"short"),
        sgip.Report(user_number=b"8613800000000"),
        smgp.Deliver(is_report=1, msg_content=b"stat:DELIVRD err:000"),
        smpp.DeliverSm(esm_class=4, short_message=b"stat:DELIVRD err:000"),
    ]
    for pdu in nothing:
        with pytest.raises(BadValue):
            read_deliver(pdu, NOW)


def test_other_pdus_are_refused() -> None:
    for pdu in (cmpp.ActiveTest(), cmpp.Submit3(), smpp.SubmitSm()):
        with pytest.raises(BadValue, match="handset"):
            read_deliver(pdu, NOW)
        with pytest.raises(BadValue, match="handset"):
            answer_deliver(pdu)
    with pytest.raises(BadValue, match="protocol"):
        write_report(report("cmpp"), "ucp")


# Octets in the shape that gateways send them.
def test_a_report_of_cmpp_2_in_its_sixty_octets() -> None:
    content = (
        bytes.fromhex("bb2c41c900000007")
        + b"MK:0012"
        + b"2611251205"
        + b"2611251206"
        + b"13800000000".ljust(21, b"\0")
        + bytes.fromhex("0000002a")
    )
    assert len(content) == 60
    pdu = cmpp.Deliver2(dest_id=b"10690001", src_terminal_id=b"13800000000", registered_delivery=1, msg_content=content)
    found = read_deliver(pdu, NOW, Habits(zone=CHINA))
    assert found == Report(
        IDS["cmpp"],
        State.UNDELIVERABLE,
        "MK:0012",
        "",
        "10690001",
        "13800000000",
        datetime(2026, 11, 25, 4, 5, tzinfo=UTC),
        datetime(2026, 11, 25, 4, 6, tzinfo=UTC),
    )


def test_a_report_of_smgp_with_its_ten_octets_of_id() -> None:
    pdu = smgp.Deliver(
        is_report=1,
        src_term_id=b"18900000000",
        dest_term_id=b"10690001",
        msg_content=b"id:"
        + bytes.fromhex("01006111251207012345")
        + b" sub:001 dlvrd:001 submit date:2611251205"
        b" done date:2611251206 stat:DELIVRD err:000 text:\xc4\xfa\xba\xc3".ljust(112, b"\0"),
    )
    found = read_deliver(pdu, NOW, Habits(zone=CHINA))
    assert isinstance(found, Report)
    assert (found.message_id, found.state, found.error) == (IDS["smgp"], State.DELIVERED, "")
    assert (found.source, found.destination) == ("10690001", "18900000000")
    assert found.submitted == datetime(2026, 11, 25, 4, 5, tzinfo=UTC)


def test_a_receipt_of_smpp_by_text_and_by_tlvs() -> None:
    text = b"id:0017ab sub:001 dlvrd:000 submit date:2611250405 done date:2611250406 stat:UNDELIV err:027 text:hello"
    by_text = smpp.DeliverSm(
        source_addr_ton=1, source_addr=b"8613800000000", destination_addr=b"10690001", esm_class=4, short_message=text
    )
    found = read_deliver(by_text, NOW)
    assert isinstance(found, Report)
    assert (found.message_id, found.state, found.error) == ("0017ab", State.UNDELIVERABLE, "027")
    assert (found.source, found.destination) == ("10690001", "+8613800000000")
    by_tlvs = smpp.DataSm(
        destination_addr=b"10690001",
        esm_class=4,
        tlvs=((0x001E, b"17AB\0"), (0x0427, b"\x08"), (0x0423, b"\x03\x00\x1b")),
    )
    found = read_deliver(by_tlvs, NOW)
    assert isinstance(found, Report)
    assert (found.message_id, found.state, found.stat, found.error) == ("17AB", State.REJECTED, "REJECTD", "27")


def test_a_report_of_sgip() -> None:
    pdu = sgip.Report(
        submit_sequence=(3010012345, 1125040709, 42), user_number=b"8613000000000", state=2, error_code=25
    )
    found = read_deliver(pdu, NOW)
    assert found == Report(IDS["sgip"], State.EXPIRED, "", "25", "", "8613000000000")


def test_reports_are_written_as_the_standards_have_them() -> None:
    made = write_report(report("cmpp"), "cmpp", 0x20, own_id=5)
    assert isinstance(made, cmpp.Deliver2)
    assert (made.msg_id, made.registered_delivery, len(made.msg_content)) == (5, 1, 60)
    assert len(write_report(report("cmpp"), "cmpp").msg_content) == 71  # type: ignore[attr-defined]  # a Deliver3
    made = write_report(report("smgp"), "smgp", own_id=0x01006111251207012346)
    assert isinstance(made, smgp.Deliver)
    assert (made.msg_id.hex(), made.is_report, len(made.msg_content)) == ("01006111251207012346", 1, 122)
    assert made.recv_time == b"20261125040600"
    made = write_report(report("smpp"), "smpp")
    assert isinstance(made, smpp.DeliverSm)
    assert made.esm_class == 4
    assert made.short_message == (
        b"id:3f0A-17 sub:001 dlvrd:001 submit date:2611250405 done date:2611250406 stat:DELIVRD err:000 text:"
    )
    assert made.tlvs == ((0x001E, b"3f0A-17\0"), (0x0427, b"\x02"))
    with pytest.raises(BadValue, match="own_id"):
        write_report(report("smgp"), "smgp", own_id=1 << 80)


minutes = st.integers(981_000_000, 4_000_000_000).map(lambda second: datetime.fromtimestamp(second - second % 60, UTC))
SAID = {
    "cmpp": st.integers(1, (1 << 64) - 1).map(str),
    "smgp": st.binary(min_size=10, max_size=10).filter(any).map(bytes.hex),
    "sgip": st.tuples(*[st.integers(1, (1 << 32) - 1)] * 3).map(sgip.name_text),
    "smpp": st.from_regex(r"[0-9A-Za-z-]{1,64}", fullmatch=True),
}
words = st.sampled_from([*(word_of(state) for state in State), "MA:0001", "CB:0012", "DB:0140", "RT:1", "0045"])


@one_kind
@given(data=st.data())
def test_every_report_comes_back_as_it_went(kind: tuple[str, int], data: st.DataObject) -> None:
    stat = data.draw(words)
    given = Report(
        data.draw(SAID[kind[0]]),
        state_of_word(stat),
        stat,
        data.draw(st.sampled_from(["", "001", "027", "999"])) if kind[0] in ("smgp", "smpp") else "",
        data.draw(st.from_regex(r"[0-9]{3,20}", fullmatch=True)),
        data.draw(st.from_regex(r"86[0-9]{11}", fullmatch=True)),
        data.draw(st.none() | minutes),
        data.draw(st.none() | minutes),
    )
    habits = Habits(zone=data.draw(st.sampled_from([UTC, CHINA])))
    found = carried(given, kind, habits)
    if kind[0] == "sgip":
        assert (found.message_id, found.destination) == (given.message_id, given.destination)
        assert carried(found, kind, habits) == found
    else:
        assert found == given


@given(st.binary(max_size=160), st.integers(0, 255))
def test_no_octets_make_the_reader_fail_otherwise(content: bytes, octet: int) -> None:
    for pdu in (
        cmpp.Deliver3(registered_delivery=1, msg_content=content),
        cmpp.Deliver2(registered_delivery=octet, msg_fmt=octet, msg_content=content),
        smgp.Deliver(is_report=1, msg_content=content),
        smpp.DeliverSm(esm_class=octet, data_coding=octet, short_message=content),
    ):
        try:
            read_deliver(pdu, NOW)
        except BadValue:
            pass


# --------------------------------------------------------------------------------------------------- from the handset
def message(protocol: str, text: str = "退订", octet: int = 8, **more: object) -> ShortMessage:
    coding = coding_of(protocol, octet)
    made = ShortMessage("8613800000000", ("10690001",), encode(text, coding), coding)
    return replace(made, **more)  # type: ignore[arg-type]  # fields of a ShortMessage


def delivered(given: ShortMessage, kind: tuple[str, int]) -> ShortMessage:
    found = read_deliver(again(write_deliver(given, *kind, own_id=99), *kind), NOW)
    assert isinstance(found, ShortMessage)
    return found


@pairs
@pytest.mark.parametrize(("text", "octet"), [("退订", 8), ("退订", 15), ("TD 1", 0)])
def test_a_message_from_a_handset_keeps_its_meaning_through_any_two_protocols(
    first: tuple[str, int], second: tuple[str, int], text: str, octet: int
) -> None:
    found = delivered(delivered(message(first[0], text, octet, protocol_id=1), first), second)
    assert found.part().text.text == text
    assert (found.source, found.destinations, found.protocol_id) == ("8613800000000", ("10690001",), 1)
    assert found.at == NOW


@pairs
def test_parts_from_a_handset_go_on_as_they_came(first: tuple[str, int], second: tuple[str, int]) -> None:
    for content in parts_of("这是手机发来的一条很长的短信，" * 8, coding_of(first[0], 8), 77):
        given = message(first[0], content=content, has_header=True)
        found = delivered(delivered(given, first), second)
        assert found.content == content
        assert found.part().mark == given.part().mark


@one_kind
def test_a_mark_in_tlvs_becomes_a_header_where_there_are_none(kind: tuple[str, int]) -> None:
    mark = Mark(MarkKind.SAR, 0x0142, 2, 1)
    found = delivered(message("smpp", mark=mark), kind).part()
    assert found.mark is not None
    assert (found.mark.ref, found.mark.total, found.mark.number) == (0x0142, 2, 1)
    assert found.text.text == "退订"
    if kind[0] != "smpp":
        with pytest.raises(BadValue, match="content"):
            write_deliver(message("smpp", "长" * 69, mark=mark), *kind)


def test_a_long_text_of_smpp_comes_in_its_payload() -> None:
    assert delivered(message("smpp", "长" * 200), ("smpp", 0x34)).part().text.text == "长" * 200


def test_one_message_goes_to_one_access_code() -> None:
    with pytest.raises(BadValue, match="destination"):
        write_deliver(message("cmpp", destinations=("1", "2")), "cmpp")
    with pytest.raises(BadValue, match="protocol"):
        write_deliver(message("cmpp"), "ucp")


def test_smgp_says_when_it_was_received() -> None:
    found = read_deliver(smgp.Deliver(recv_time=b"20261125120501", msg_content=b"hi"), NOW, Habits(zone=CHINA))
    assert isinstance(found, ShortMessage)
    assert found.at == datetime(2026, 11, 25, 4, 5, 1, tzinfo=UTC)


# ------------------------------------------------------------------------------------------------------------- answers
def submit(kind: tuple[str, int]) -> Pdu:
    made = write_submit(ShortMessage("10690001", ("13800000000",), b"hi", coding_of(kind[0], 0)), *kind)
    made.sequence = (3010012345, 1125040709, 42) if kind[0] == "sgip" else 7
    return made


def over(answer: Pdu, kind: tuple[str, int]) -> Pdu:
    sequence = answer.sequence
    found = again(answer, *kind)
    found.sequence = sequence
    return found


@one_kind
def test_the_answer_says_the_id_as_the_reports_will(kind: tuple[str, int]) -> None:
    request = submit(kind)
    answer = over(answer_submit(request, IDS[kind[0]]), kind)
    assert answer.sequence == request.sequence
    assert id_of_answer(answer, request) == id_of_answer(answer) == IDS[kind[0]]
    assert refusal_of(answer) is None


def test_submit_multi_and_data_sm_are_answered_in_kind() -> None:
    multi = smpp.SubmitMulti(sequence=3, recipients=(smpp.SmeAddress(1, 1, b"8613800000000"),))
    for request, kind in ((multi, smpp.SubmitMultiResp), (smpp.DataSm(sequence=4), smpp.DataSmResp)):
        taken = over(answer_submit(request, "17ab"), ("smpp", 0x34))
        assert isinstance(taken, kind)
        assert (id_of_answer(taken), taken.sequence, refusal_of(taken)) == ("17ab", request.sequence, None)
        refused = over(refuse_submit(request, Refusal.BLOCKED), ("smpp", 0x34))
        assert isinstance(refused, kind)
        assert refusal_of(refused) == ("smpp status 0x66", False)


@one_kind
@pytest.mark.parametrize("why", list(Refusal))
def test_every_refusal_is_one_and_says_whether_to_try_again(kind: tuple[str, int], why: Refusal) -> None:
    request = submit(kind)
    answer = over(refuse_submit(request, why), kind)
    assert answer.sequence == request.sequence
    assert id_of_answer(answer, request) == ""
    found = refusal_of(answer)
    assert found is not None
    is_temporary = why in (Refusal.THROTTLED, Refusal.TRY_LATER, Refusal.QUEUE_FULL, Refusal.SYSTEM)
    assert found[1] is is_temporary


@pytest.mark.parametrize(
    ("kind", "why", "code", "said"),
    [
        (("cmpp", 0x20), Refusal.THROTTLED, None, "cmpp result 8"),
        (("sgip", 0), Refusal.THROTTLED, None, "sgip result 11"),
        (("smgp", 0x30), Refusal.THROTTLED, None, "smgp status 1"),
        (("smpp", 0x34), Refusal.THROTTLED, None, "smpp status 0x58"),
        (("smpp", 0x34), Refusal.QUEUE_FULL, None, "smpp status 0x14"),
        (("smpp", 0x34), Refusal.BLOCKED, 0x45, "smpp status 0x45"),
        (("cmpp", 0x30), Refusal.BLOCKED, 70, "cmpp result 70"),
    ],
    ids=str,
)
def test_the_code_is_the_protocols_or_the_operators(
    kind: tuple[str, int], why: Refusal, code: int | None, said: str
) -> None:
    found = refusal_of(over(refuse_submit(submit(kind), why, code=code), kind))
    assert found is not None
    assert found[0] == said


def test_a_nack_never_accepts() -> None:
    assert refusal_of(smpp.GenericNack(status=0)) == ("smpp status 0x00", False)
    assert id_of_answer(smpp.GenericNack()) == ""


def test_what_is_no_submit_has_no_such_answer() -> None:
    for pdu in (cmpp.ActiveTest(), smpp.EnquireLink()):
        for call in (lambda p: answer_submit(p, "1"), lambda p: refuse_submit(p, Refusal.SYSTEM), id_of_answer):
            with pytest.raises(BadValue, match="pdu"):
                call(pdu)
        with pytest.raises(BadValue, match="pdu"):
            refusal_of(pdu)
    with pytest.raises(BadValue, match="message_id"):
        answer_submit(submit(("cmpp", 0x30)), "ab")


@one_kind
def test_what_is_delivered_is_answered_under_its_sequence(kind: tuple[str, int]) -> None:
    for made in (write_report(report(kind[0]), *kind, own_id=99), write_deliver(message(kind[0]), *kind, own_id=99)):
        request = again(made, *kind)
        taken, later = answer_deliver(request), answer_deliver(request, is_ok=False)
        assert taken.sequence == later.sequence == request.sequence
        if kind[0] in ("cmpp", "smgp"):
            assert taken.msg_id == request.msg_id  # type: ignore[attr-defined]  # both have one
        assert refusal_of(over(taken, kind)) is None
        refused = refusal_of(over(later, kind))
        assert refused is not None
        assert refused[1]
