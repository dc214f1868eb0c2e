from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.kernel.errors import BadValue
from mingbai.protocols.long_messages import Joiner, Mark, MarkKind, Outcome
from mingbai.protocols.pdu import RESPONSE, BrokenStream, Field, Kind, MalformedPdu, tlv
from mingbai.protocols.receipts import Receipt, State, format_receipt, receipt_tlvs
from mingbai.protocols.smpp import (
    HEADER,
    LAST_SEQUENCE,
    PDUS_34,
    PDUS_50,
    RETRYABLE,
    SLOW_DOWN,
    SMPP_34,
    SMPP_50,
    AlertNotification,
    BindReceiver,
    BindTransceiver,
    BindTransceiverResp,
    BroadcastSm,
    CancelSm,
    DataSm,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    EsmClass,
    GenericNack,
    ListName,
    Outbind,
    QuerySm,
    QuerySmResp,
    Registered,
    SmeAddress,
    SmppPdu,
    Status,
    SubmitMulti,
    SubmitMultiResp,
    SubmitSm,
    SubmitSmResp,
    Tag,
    Unbind,
    Unknown,
    Unsuccess,
    answer,
    answer_malformed,
    codec_of,
    content_of,
    format_period,
    format_time,
    name_of,
    next_sequence,
    number_of,
    parse_time,
    part_of_message,
    receipt_of,
    sar_mark,
    sar_tlvs,
    wants_receipt,
)
from mingbai.protocols.text import Encoding

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)

# Frames from the tests of public projects, each with its source.
GOSMS = "github.com/hujm2023/go-sms-protocol smpp/smpp34"
RECEIPT = (
    "000000df000000050000000000006264000101393139383030303030323835000101534841414449000101010000010101018469643a3761343461"
    "6162612d333336662d346139322d393530322d646431303661613733363966207375623a30303120646c7672643a303031207375626d697420"
    "646174653a32333131323331393337353820646f6e6520646174653a32333131323331393338303020737461743a44454c4956524420657272"
    "3a30303020746578743a001e002437613434616162612d333336662d346139322d393530322d646431303661613733363966"
)
GOLDEN: list[tuple[str, str, SmppPdu]] = [
    (f"{GOSMS}/pdu_enquire_link_test.go", "00000010000000150000000000000005", EnquireLink(sequence=5)),
    (f"{GOSMS}/pdu_unbind_test.go", "00000010000000060000000000000003", Unbind(sequence=3)),
    (
        f"{GOSMS}/pdu_submit_sm_test.go",
        "0000003580000004000000005221ac3831303039343665342d356138662d343835642d386536342d65646639616133373761323200",
        SubmitSmResp(sequence=1377938488, message_id=b"100946e4-5a8f-485d-8e64-edf9aa377a22"),
    ),
    (
        "github.com/linxGnu/gosmpp pdu/BindRequest_test.go",
        "0000003600000009000000000000000d73797374656d5f69645f66616b650070617373776f7264006f6e6c79002c1765656d70745900",
        BindTransceiver(
            sequence=13,
            system_id=b"system_id_fake",
            password=b"password",
            system_type=b"only",
            interface_version=44,
            addr_ton=23,
            addr_npi=101,
            address_range=b"emptY",
        ),
    ),
    (
        f"{GOSMS}/pdu_deliver_sm_test.go",
        RECEIPT,
        DeliverSm(
            sequence=25188,
            source_addr_ton=1,
            source_addr_npi=1,
            source_addr=b"919800000285",
            dest_addr_ton=1,
            dest_addr_npi=1,
            destination_addr=b"SHAADI",
            esm_class=1,
            protocol_id=1,
            priority_flag=1,
            registered_delivery=1,
            replace_if_present_flag=1,
            data_coding=1,
            sm_default_msg_id=1,
            short_message=(
                b"id:7a44aaba-336f-4a92-9502-dd106aa7369f sub:001 dlvrd:001 submit date:231123193758"
                b" done date:231123193800 stat:DELIVRD err:000 text:"
            ),
            tlvs=((0x001E, b"7a44aaba-336f-4a92-9502-dd106aa7369f"),),
        ),
    ),
]


@pytest.mark.parametrize(("source", "frame", "message"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_published_frames(source: str, frame: str, message: SmppPdu) -> None:
    octets = bytes.fromhex(frame)
    assert SMPP_34.decode(octets) == message
    assert message.encode() == octets


def test_a_published_receipt_is_told_by_its_tlv() -> None:
    message = SMPP_34.decode(bytes.fromhex(RECEIPT))
    assert isinstance(message, DeliverSm)
    receipt = receipt_of(message)  # its esm_class says nothing of a receipt
    assert receipt is not None
    assert (receipt.message_id, receipt.state) == ("7a44aaba-336f-4a92-9502-dd106aa7369f", State.DELIVERED)


# ---------------------------------------------------------------------------------------------------------- round trip
LETTERS = st.integers(1, 255)
TLVS = st.lists(
    st.tuples(st.one_of(st.sampled_from(list(Tag)).map(int), st.integers(0, 0xFFFF)), st.binary(max_size=20)),
    max_size=4,
).map(tuple)


def _cstring(most: int) -> st.SearchStrategy[bytes]:
    return st.lists(LETTERS, max_size=most - 1).map(bytes)


OCTET = st.integers(0, 255)
ADDRESS = _cstring(21)
OWN: dict[str, st.SearchStrategy[Any]] = {  # Any: whatever the field holds
    "recipients": st.lists(
        st.one_of(st.builds(SmeAddress, OCTET, OCTET, ADDRESS), st.builds(ListName, ADDRESS)), max_size=4
    ).map(tuple),
    "unsuccess": st.lists(st.builds(Unsuccess, OCTET, OCTET, ADDRESS, st.integers(0, 2**32 - 1)), max_size=3).map(
        tuple
    ),
}


def _values(field: Field) -> st.SearchStrategy[Any]:  # Any: as above
    match field.kind:
        case Kind.UINT | Kind.COMMAND:
            return st.integers(0, 256**field.width - 1)
        case Kind.CSTRING:
            return _cstring(field.width)
        case Kind.SIZED:
            return st.binary(max_size=255)
        case Kind.TLVS:
            return TLVS
        case Kind.OWN:
            return OWN[field.name]
        case _:
            raise AssertionError(field)


@st.composite
def messages(draw: st.DrawFn, kinds: tuple[type[SmppPdu], ...] = PDUS_50) -> SmppPdu:
    kind = draw(st.sampled_from(kinds))
    fields = [field for field in kind.FIELDS if field.kind is not Kind.SURPLUS]
    if any(field.optional for field in fields) and draw(st.booleans()):
        fields = fields[:2]  # status and sequence: a response without its body
    return kind(**{field.name: draw(_values(field)) for field in fields})


@pytest.mark.parametrize("kind", PDUS_50, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_pdu_comes_back_as_it_was_sent(kind: type[SmppPdu], data: st.DataObject) -> None:
    message = data.draw(messages((kind,)))
    frame = message.encode()
    assert len(frame) == int.from_bytes(frame[:4])
    read = SMPP_50.decode(frame)
    assert read == message
    assert read.encode() == frame
    assert kind.__doc__


@given(st.lists(messages(), max_size=5), st.data())
def test_a_stream_cut_anywhere_gives_the_same_pdus(sent: list[SmppPdu], data: st.DataObject) -> None:
    stream = b"".join(message.encode() for message in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    frames = HEADER.frames()
    read = [
        SMPP_50.decode(frame)
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for frame in frames.feed(stream[begin:end])
    ]
    assert read == sent
    assert frames.waiting == 0


@given(messages(), st.data())
def test_damage_is_malformed_or_goes_out_as_it_came(message: SmppPdu, data: st.DataObject) -> None:
    octets = bytearray(message.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(OCTET)
    octets += data.draw(st.binary(max_size=40))
    try:
        found = HEADER.frames().feed(bytes(octets))
    except BrokenStream as broken:
        found = broken.frames
    for frame in found:
        for codec in (SMPP_34, SMPP_50):
            try:
                read = codec.decode(frame)
            except MalformedPdu as error:
                replies = answer_malformed(error) is not None
                is_request = not error.command & RESPONSE
            else:
                replies = is_request = True
                assert read.encode() == frame
                assert repr(read)
            assert replies == is_request


@given(st.sampled_from(PDUS_50), st.binary(max_size=120))
def test_any_body_is_malformed_or_goes_out_as_it_came(kind: type[SmppPdu], body: bytes) -> None:
    frame = (16 + len(body)).to_bytes(4) + kind.command.to_bytes(4) + bytes(8) + body
    try:
        read = SMPP_50.decode(frame)
    except MalformedPdu as error:
        named = error.data["pdu"]
    else:
        named = type(read).__name__
        assert read.encode() == frame
    assert named == kind.__name__


@given(messages())
def test_every_shorter_frame_is_malformed_or_goes_out_as_it_came(message: SmppPdu) -> None:
    whole = message.encode()
    for size in range(16, len(whole)):
        frame = size.to_bytes(4) + whole[4:size]
        try:
            assert SMPP_50.decode(frame).encode() == frame
        except MalformedPdu:
            pass


def test_commands_are_those_of_the_standard() -> None:
    assert {each.command for each in PDUS_34} == {
        *(1, 2, 3, 4, 5, 6, 7, 8, 9, 0x0B, 0x15, 0x21, 0x102, 0x103, 0x8000_0000),
        *(0x8000_0000 | each for each in (1, 2, 3, 4, 5, 6, 7, 8, 9, 0x15, 0x21, 0x103)),
    }
    assert {each.command & ~RESPONSE for each in set(PDUS_50) - set(PDUS_34)} == {0x111, 0x112, 0x113}
    assert [codec_of(version) for version in (0x33, 0x34, 0x50)] == [SMPP_34, SMPP_34, SMPP_50]
    broadcast = BroadcastSm(message_id=b"1").encode()
    assert isinstance(SMPP_50.decode(broadcast), BroadcastSm)
    assert isinstance(SMPP_34.decode(broadcast), Unknown)


# -------------------------------------------------------------------------------------------------------------- limits
def test_64_kib_of_payload_pass_and_no_more() -> None:
    payload = bytes(65_535)
    message = SubmitSm(sequence=1, tlvs=((Tag.MESSAGE_PAYLOAD, payload),))
    (frame,) = HEADER.frames().feed(message.encode())
    assert tlv(SMPP_34.decode(frame).tlvs, Tag.MESSAGE_PAYLOAD) == payload  # type: ignore[attr-defined]  # a submit_sm
    many = SubmitMulti(recipients=tuple(SmeAddress(1, 1, b"8" * 20) for _ in range(255)), tlvs=message.tlvs)
    assert HEADER.frames().feed(many.encode())
    for length in (15, HEADER.most + 1):
        with pytest.raises(BrokenStream):
            HEADER.frames().feed(length.to_bytes(4))


def test_what_does_not_fit_is_refused_with_its_name() -> None:
    for field, message in (
        ("system_id", BindReceiver(system_id=b"x" * 16)),
        ("source_addr", SubmitSm(source_addr=b"1\x002")),
        ("short_message", SubmitSm(short_message=b"x" * 256)),
        ("esm_class", SubmitSm(esm_class=256)),
        ("message_id", SubmitSmResp(message_id=b"x" * 65)),
        ("number_of_dests", SubmitMulti(recipients=(ListName(b"x"),) * 256)),
        ("dl_name", SubmitMulti(recipients=(ListName(b"x" * 21),))),
        ("dest_addr_ton", SubmitMulti(recipients=(SmeAddress(300, 1, b"1"),))),
        ("error_status_code", SubmitMultiResp(message_id=b"", unsuccess=(Unsuccess(1, 1, b"1", 2**32),))),
    ):
        with pytest.raises(BadValue, match=field):
            message.encode()
    with pytest.raises(BadValue, match="password: got '13 octets'"):
        BindReceiver(password=b"correct-horse").encode()
    assert "correct" not in repr(BindReceiver(password=b"correct"))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("00 01 01 31", "source_addr"),  # no NUL
        ("00 01 01" + "31" * 21 + "00", "source_addr"),  # longer than it may be
        ("00 01 01 3100 01 01 3200 00 00 00 00 00 00 00 00 00 05 6162", "short_message"),
        ("00 01 01 3100 01 01 3200 00 00 00 00 00 00 00 00 00 01 61 0424 00ff 61", "tlvs 0x0424"),
    ],
)
def test_an_inner_length_never_reaches_beyond_its_frame(body: str, field: str) -> None:
    octets = bytes.fromhex(body)
    frame = (16 + len(octets)).to_bytes(4) + bytes.fromhex("00000004 00000000 00000007") + octets
    with pytest.raises(MalformedPdu) as caught:
        SMPP_34.decode(frame)
    assert caught.value.data["field"] == field
    assert answer_malformed(caught.value) == SubmitSmResp(sequence=7, status=Status.ESME_RINVCMDLEN)


# ------------------------------------------------------------------------------------------------------------- answers
def test_an_answer_repeats_the_sequence_as_it_came() -> None:
    large = 0xA285_9F22  # above what the standard allows; met in the field
    for each in PDUS_50:
        if each.command & RESPONSE or each in (Outbind, AlertNotification):
            continue
        for status in (0, Status.ESME_RTHROTTLED):
            reply = SMPP_50.decode(answer(each(sequence=large), status).encode())
            assert (reply.command, reply.sequence, reply.status) == (each.command | RESPONSE, large, status)
    for unanswered in (Outbind(), AlertNotification(), SubmitSmResp()):
        with pytest.raises(BadValue, match="a request that has a response"):
            answer(unanswered)


def test_bodies_of_answers() -> None:
    submit = SubmitSm(sequence=9)
    assert answer(submit, message_id=b"1f") == SubmitSmResp(sequence=9, message_id=b"1f")
    assert len(answer(submit, Status.ESME_RSUBMITFAIL).encode()) == 16
    assert answer(DeliverSm(sequence=9)).encode()[16:] == b"\0"
    assert answer(BindTransceiver(sequence=1), system_id=b"smsc", tlvs=((Tag.SC_INTERFACE_VERSION, b"\x34"),)) == (
        BindTransceiverResp(sequence=1, system_id=b"smsc", tlvs=((0x0210, b"\x34"),))
    )
    reasoned = answer(submit, Status.ESME_RX_R_APPN, tlvs=((0x1400, b"R1007"),))  # why the firewall blocked it
    assert SMPP_34.decode(reasoned.encode()) == reasoned
    failed = (Unsuccess(1, 1, b"8613800000001", Status.ESME_RINVDSTADR),)
    assert answer(SubmitMulti(sequence=2), message_id=b"7", unsuccess=failed) == SubmitMultiResp(
        sequence=2, message_id=b"7", unsuccess=failed
    )
    assert len(answer(SubmitMulti(), Status.ESME_RSYSERR).encode()) == 16
    assert answer(QuerySm(message_id=b"5")) == QuerySmResp(
        message_id=b"5", final_date=b"", message_state=State.UNKNOWN, error_code=0
    )
    assert answer(EnquireLink(sequence=4)) == EnquireLinkResp(sequence=4)
    assert answer(CancelSm(sequence=4), Status.ESME_RCANCELFAIL).status == 0x11


def test_an_unknown_command_gets_a_generic_nack_and_keeps_its_octets() -> None:
    frame = bytes.fromhex("00000014 00010203 00000000 00000008 61626364")
    unknown = SMPP_34.decode(frame)
    assert isinstance(unknown, Unknown)
    assert unknown.encode() == frame
    assert answer(unknown) == GenericNack(sequence=8, status=Status.ESME_RINVCMDID)


def test_responses_without_a_body_are_read_whatever_their_status() -> None:
    for kind in (SubmitSmResp, DeliverSmResp, BindTransceiverResp, QuerySmResp, SubmitMultiResp):
        for status in (0, 8):
            frame = (16).to_bytes(4) + kind.command.to_bytes(4) + status.to_bytes(4) + (1).to_bytes(4)
            assert SMPP_34.decode(frame).encode() == frame


def test_sequence_numbers_go_round() -> None:
    assert [next_sequence(last) for last in (0, 1, LAST_SEQUENCE - 1, LAST_SEQUENCE, 0xA285_9F22)] == [
        *(1, 2, LAST_SEQUENCE, 1, 1),
    ]


def test_statuses_have_names_and_words() -> None:
    assert name_of(0x58) == "ESME_RTHROTTLED"
    assert name_of(0x401) == "0x00000401, of the vendor"
    assert name_of(0x77) == "0x00000077, reserved"
    assert len({status.words for status in Status}) == len(Status)
    assert SLOW_DOWN < RETRYABLE
    assert Status(0x45) is Status.ESME_RSUBMITFAIL


# ------------------------------------------------------------------------------------------------------------ contents
def test_the_parts_of_a_message_are_told_by_header_or_by_tlvs() -> None:
    mark = Mark(MarkKind.SAR, 700, 2, 1)
    sar = SubmitSm(data_coding=8, short_message="您".encode("utf-16-be"), tlvs=sar_tlvs(mark))
    assert sar_mark(sar.tlvs) == mark
    assert part_of_message(sar).mark == mark
    header = SubmitSm(data_coding=4, esm_class=EsmClass.UDHI, short_message=bytes.fromhex("050003120202") + b"a")
    assert part_of_message(header).mark == Mark(MarkKind.UDH_8, 0x12, 2, 2)
    other = SubmitSm(
        data_coding=8, short_message="好".encode("utf-16-be"), tlvs=sar_tlvs(Mark(MarkKind.SAR, 700, 2, 2))
    )
    joiner: Joiner[int] = Joiner()
    assert joiner.add("a", "b", "c", part_of_message(other), 2, 0.0) == []
    (joined,) = joiner.add("a", "b", "c", part_of_message(sar), 1, 0.0)
    assert (joined.outcome, joined.text.text) == (Outcome.COMPLETE, "您好")
    with pytest.raises(BadValue, match="part"):
        sar_tlvs(Mark(MarkKind.SAR, 1, 2, 3))
    assert sar_mark(((Tag.SAR_MSG_REF_NUM, b"\1"),)) is None


def test_the_text_is_read_as_the_peer_means_it() -> None:
    message = SubmitSm(short_message=b"\x00\xa3")
    assert part_of_message(message, Encoding.LATIN1).text.text == "\0£"
    payload = DataSm(data_coding=8, tlvs=((Tag.MESSAGE_PAYLOAD, "您好".encode("utf-16-be")),))
    assert content_of(payload) == "您好".encode("utf-16-be")
    assert part_of_message(payload).text.text == "您好"
    assert content_of(SubmitSm()) == b""
    assert number_of(((Tag.USER_MESSAGE_REFERENCE, b"\x01\x02"),), Tag.USER_MESSAGE_REFERENCE) == 258
    assert number_of((), Tag.CONGESTION_STATE) is None


def test_receipts_go_there_and_back() -> None:
    receipt = Receipt("1f", State.REJECTED, submitted=NOW, done=NOW, error="066", text=b"hi")
    message = DeliverSm(
        esm_class=EsmClass.RECEIPT, short_message=format_receipt(receipt), tlvs=tuple(receipt_tlvs(receipt))
    )
    decoded = SMPP_34.decode(message.encode())
    assert isinstance(decoded, DeliverSm)
    read = receipt_of(decoded)
    assert read is not None
    assert (read.message_id, read.state, read.error, read.done) == ("1f", State.REJECTED, "066", NOW)
    assert receipt_of(DeliverSm(short_message=b"id:1 stat:DELIVRD")) is None  # a message that only looks like one
    assert receipt_of(DeliverSm(esm_class=EsmClass.DELIVERY_ACK, short_message=b"ok")) is None


def test_which_receipts_are_wanted() -> None:
    wanted = {
        (flags, state): wants_receipt(flags, state)
        for flags in (0, 1, 2, 3, Registered.INTERMEDIATE)
        for state in (State.DELIVERED, State.REJECTED, State.ENROUTE)
    }
    assert [key for key, yes in wanted.items() if yes] == [
        (1, State.DELIVERED),
        (1, State.REJECTED),
        (2, State.REJECTED),
        (3, State.DELIVERED),
        (Registered.INTERMEDIATE, State.ENROUTE),
    ]
    assert EsmClass(0x47).mode == EsmClass.STORE_AND_FORWARD
    assert EsmClass(0x47).type == EsmClass.RECEIPT


# --------------------------------------------------------------------------------------------------------------- times
@pytest.mark.parametrize(
    ("raw", "moment"),
    [
        (b"", None),
        (b"261125120000000+", NOW),
        (b"261125200000032+", NOW),  # China: 32 quarters ahead
        (b"261125070000020-", NOW),
        (b"261125120000500+", NOW + timedelta(milliseconds=500)),
        (b"000000000015000R", NOW + timedelta(seconds=15)),  # github.com/hujm2023/go-sms-protocol, submit_sm
        (b"000002030000000R", NOW + timedelta(days=2, hours=3)),
        (b"010300000000000R", datetime(2028, 2, 25, 12, 0, tzinfo=UTC)),
        (b"000300000000000R", datetime(2027, 2, 25, 12, 0, tzinfo=UTC)),
    ],
)
def test_times(raw: bytes, moment: datetime | None) -> None:
    assert parse_time(raw, NOW) == moment


def test_a_month_later_is_never_beyond_it() -> None:
    last = datetime(2027, 1, 31, 12, 0, tzinfo=UTC)
    assert parse_time(b"000100000000000R", last) == datetime(2027, 2, 28, 12, 0, tzinfo=UTC)
    assert parse_time(b"010100000000000R", last) == datetime(2028, 2, 29, 12, 0, tzinfo=UTC)


@given(st.datetimes(NOW.replace(tzinfo=None, year=2001), NOW.replace(tzinfo=None, year=2099)), st.integers(-48, 48))
def test_absolute_times_come_back(moment: datetime, quarters: int) -> None:
    zone = timezone(timedelta(minutes=15 * quarters))
    there = moment.replace(tzinfo=zone, microsecond=moment.microsecond // 100_000 * 100_000)
    assert parse_time(format_time(there, zone), NOW) == there


@given(st.integers(0, 99 * 86_400))
def test_periods_come_back(seconds: int) -> None:
    assert parse_time(format_period(timedelta(seconds=seconds)), NOW) == NOW + timedelta(seconds=seconds)


@given(st.binary(max_size=17))
def test_other_times_are_refused(raw: bytes) -> None:
    try:
        read = parse_time(raw, NOW)
    except BadValue:
        return
    assert read is None or len(raw) == 16


def test_times_that_no_field_holds_are_refused() -> None:
    for bad in (b"261325120000000+", b"26112512000000+", b"261125120000099+", b"26112512000000x+"):
        with pytest.raises(BadValue, match="time"):
            parse_time(bad, NOW)
    with pytest.raises(BadValue, match="time"):
        format_time(NOW.replace(year=2100))
    for period in (timedelta(days=100), timedelta(seconds=-1)):
        with pytest.raises(BadValue, match="period"):
            format_period(period)


def test_many_frames_of_garbage_raise_nothing_else(loops: Callable[[int], int], seed: int) -> None:
    rng = random.Random(seed)
    seeds = [bytes.fromhex(frame) for _, frame, _ in GOLDEN]
    for _ in range(loops(20_000)):
        frame = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 6)):
            frame[rng.randrange(16, len(frame)) if len(frame) > 16 else 15] = rng.randrange(256)
        del frame[rng.randrange(16, len(frame) + 1) :]
        frame[:4] = len(frame).to_bytes(4)
        try:
            read = SMPP_50.decode(bytes(frame))
        except MalformedPdu:
            continue
        assert read.encode() == frame
        if isinstance(read, DeliverSm):
            receipt_of(read)
            assert part_of_message(read).text is not None
