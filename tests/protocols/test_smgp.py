from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.kernel.errors import BadValue
from mingbai.protocols import smgp
from mingbai.protocols.pdu import MalformedPdu, tlv
from tests.protocols.strategies import pdus

NOW = datetime(2026, 11, 25, 12, 10, 52, tzinfo=timezone(timedelta(hours=8)))
ID = bytes.fromhex("01006111251210012345")

# hujm2023/go-sms-protocol (MIT), smgp/smgp30, pdu_login_test.go, pdu_deliver_test.go and pdu_submit_test.go.
LOGIN = "0000002a00000001000000017465737469640000ca0eff036f70aa1116b8e5df1d55cf48003cdc73be30"
DELIVER = (
    "00000067000000030000007b01020304050607080901010f0000000000000000000000000000313036393030303030300000000000000000"
    "0000003137353030303030303030000000000000000000000e68656c6c6f2074657374206d73670000000000000000"
)
SUBMIT_RESP = "0000001a80000002000004d20102030405060708090100000000"
REPORT = bytes.fromhex(
    "69643a01601712291424100007207375623a30303120646c7672643a303031205375626d697420646174653a3233313232393134323420646f"
    "6e6520646174653a3233313232393134323420737461743a52543a30313438206572723a31343820546578743a000000000000000000000000"
    "0000000000000000"
)


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (
            LOGIN,
            smgp.Login(
                sequence=1,
                client_id=b"testid",
                auth_client=bytes.fromhex("ca0eff036f70aa1116b8e5df1d55cf48"),
                login_mode=smgp.LoginMode.SEND,
                timestamp=1021080510,
            ),
        ),
        (
            DELIVER,
            smgp.Deliver(
                sequence=123,
                msg_id=bytes.fromhex("01020304050607080901"),
                is_report=1,
                msg_format=smgp.MsgFormat.GB18030,
                src_term_id=b"1069000000",
                dest_term_id=b"17500000000",
                msg_content=b"hello test msg",
            ),
        ),
        (SUBMIT_RESP, smgp.SubmitResp(sequence=1234, msg_id=bytes.fromhex("01020304050607080901"))),
        ("0000000c8000000400000001", smgp.ActiveTestResp(sequence=1)),
        ("0000000d800000040000000100", smgp.ActiveTestResp(sequence=1, reserved=0)),
    ],
)
def test_frames_of_other_implementations(octets: str, expected: smgp.SmgpPdu) -> None:
    frame = bytes.fromhex(octets)
    assert smgp.decode(frame) == expected
    assert smgp.encode(expected) == frame


@pytest.mark.parametrize("version", [smgp.V13, smgp.V3])
@given(st.data())
def test_every_pdu_comes_back_as_it_went(version: int, data: st.DataObject) -> None:
    codec = smgp.codec_of(version)
    message = data.draw(st.sampled_from(list(codec.pdus.values())).flatmap(pdus))
    assert codec.decode(message.encode()) == message


def test_version_1_3_has_no_fixed_fee() -> None:
    old, new = smgp.Submit13(dest_term_id=(b"1",)), smgp.Submit(dest_term_id=(b"1",))
    assert len(new.encode()) - len(old.encode()) == 6
    assert smgp.decode(old.encode(), smgp.V13) == old
    assert smgp.version_of(smgp.Login(client_version=smgp.V13).encode()) == smgp.V13
    assert smgp.version_of(old.encode()) is None


def test_lengths_are_those_of_the_standard() -> None:
    assert len(smgp.Login().encode()) == 12 + 30
    assert len(smgp.LoginResp().encode()) == 12 + 21
    assert len(smgp.SubmitResp().encode()) == len(smgp.DeliverResp().encode()) == 12 + 14
    assert len(smgp.Exit().encode()) == len(smgp.ActiveTest().encode()) == 12
    assert len(smgp.Submit(dest_term_id=(b"1",) * 100, msg_content=bytes(255)).encode()) <= smgp.MOST


def test_optional_parameters_keep_their_order_and_unknown_ones_pass() -> None:
    given_tlvs = ((0x0014, b"?"), (smgp.Tag.TP_UDHI, b"\1"), (smgp.Tag.MSG_SRC, b"900001\0\0"), (0x0014, b""))
    message = smgp.Submit(dest_term_id=(b"13300000000",), msg_content=b"x", tlvs=given_tlvs)
    found = smgp.decode(message.encode())
    assert isinstance(found, smgp.Submit)
    assert found.tlvs == given_tlvs
    assert found.encode() == message.encode()
    assert tlv(found.tlvs, smgp.Tag.TP_UDHI) == b"\1"


def test_an_optional_parameter_beyond_the_frame_is_not_believed() -> None:
    frame = bytearray(smgp.Submit(sequence=5, tlvs=((smgp.Tag.TP_UDHI, b"\1"),)).encode())
    frame[-3:-1] = b"\xff\xff"
    with pytest.raises(MalformedPdu, match="tlvs 0x0002: got 65535, expected at most 1 octets") as caught:
        smgp.decode(bytes(frame))
    assert smgp.refusal(caught.value) == smgp.SubmitResp(sequence=5, status=smgp.Status.STRUCTURE)


def test_answers_have_the_sequence_of_their_request() -> None:
    assert smgp.answer(smgp.Submit13(sequence=7), msg_id=ID) == smgp.SubmitResp(sequence=7, msg_id=ID)
    assert smgp.answer(smgp.ActiveTest(sequence=7)) == smgp.ActiveTestResp(sequence=7)


def test_commands_between_gateways_pass_through() -> None:
    frame = bytes.fromhex("00000010 00000005 00000017 01020304")
    assert smgp.decode(frame) == smgp.Unknown(command=smgp.FORWARD, sequence=23, body=b"\1\2\3\4")
    assert smgp.decode(frame).encode() == frame


def test_digests_are_of_id_nuls_secret_and_time() -> None:
    said = b"testid" + b"\0" * 7 + b"pw" + b"0301000000"
    assert smgp.auth_client(b"testid\0\0", b"pw", 301000000) == hashlib.md5(said, usedforsecurity=False).digest()
    answered = hashlib.md5(b"\0\0\0\x15" + bytes(16) + b"pw", usedforsecurity=False).digest()
    assert smgp.auth_server(smgp.Status.AUTHENTICATION, bytes(16), b"pw") == answered
    assert smgp.timestamp_of(NOW) == 1125121052


# --------------------------------------------------------------------------------------------------------- message ids
def test_a_message_id_is_digits() -> None:
    parts = smgp.MessageId.of(ID)
    assert parts == smgp.MessageId(gateway=10061, month=11, day=25, hour=12, minute=10, counter=12345)
    assert bytes(parts) == ID
    assert str(parts) == "01006111251210012345"
    with pytest.raises(BadValue, match="msg_id: got 'ff010203040506070809', expected 20 digits in BCD"):
        smgp.MessageId.of(bytes.fromhex("ff010203040506070809"))
    with pytest.raises(BadValue, match="counter: got 1000000"):
        bytes(smgp.MessageId(1, 1, 1, 1, 1, 10**6))


def test_ids_never_repeat_at_200000_a_second_nor_after_a_restart() -> None:
    """The million of the minute 12:10 ends in the first second; the next minute is borrowed."""
    last = bytes.fromhex("01006111251210900000")
    seen = {last}
    now = NOW
    for _ in range(2):
        ids = smgp.MessageIds(10061, after=last, now=now)
        for k in range(200_000):
            last = ids.next(now + timedelta(microseconds=5 * k))
            seen.add(last)
        now += timedelta(seconds=1)
    assert len(seen) == 400_001
    assert str(smgp.MessageId.of(last)) == "01006111251211300000"


# ------------------------------------------------------------------------------------------------------------- reports
TOLD = smgp.Report(
    id=ID, sub=1, dlvrd=1, submit_date="2611251210", done_date="2611251211", stat="DELIVRD", err="000", text=b""
)


def test_a_report_of_another_implementation() -> None:
    assert smgp.parse_report(REPORT) == smgp.Report(
        id=bytes.fromhex("01601712291424100007"),
        sub=1,
        dlvrd=1,
        submit_date="2312291424",
        done_date="2312291424",
        stat="RT:0148",
        err="148",
    )


def test_a_report_is_written_in_122_octets() -> None:
    written = smgp.format_report(TOLD)
    assert len(written) == 122
    assert written.startswith(b"id:" + ID + b" sub:001 dlvrd:001 submit date:2611251210 done date:2611251211 stat:DEL")
    assert smgp.parse_report(written) == TOLD


@pytest.mark.parametrize(
    ("written", "changed"),
    [
        (b"id:%s sub:001 dlvrd:001 Submit_Date:2611251210 done_date:2611251211 stat:DELIVRD err:000 txt:", {}),
        (b"id:%ssSub:001sdlvrd:001ssubmit date:2611251210sdone date:2611251211sstat:DELIVRDserr:000stext:", {}),
        (b"id:%ssub:001dlvrd:001submit date:2611251210done date:2611251211stat:DELIVRDerr:000text:", {}),
        (b"id:%s sub:001 dlvrd:001 submit date:2611251210 done date:2611251211 stat:DELIVRD\0 err:000\0\0\0", {}),
        (b"id:%s stat:UNDELIV",
         {"sub": None, "dlvrd": None, "submit_date": "", "done_date": "", "stat": "UNDELIV", "err": ""}),
        (b"id:%s sub:001 dlvrd:001 submit date:2611251210 done date:2611251211 stat:DELIVRD err:000 text:a stat:b ",
         {"text": b"a stat:b "}),
        (b"id:%s sub: dlvrd:x submit date: done date:2611251211 stat:MK:0012 err:12 Text:",
         {"sub": None, "dlvrd": None, "submit_date": "", "stat": "MK:0012", "err": "12"}),
    ],
)  # fmt: skip
def test_reports_are_read_as_gateways_write_them(written: bytes, changed: dict[str, object]) -> None:
    expected = {name: getattr(TOLD, name) for name in TOLD.__slots__} | changed
    assert smgp.parse_report(written.replace(b"%s", ID)) == smgp.Report(**expected)


@pytest.mark.parametrize("octets", [b" stat:XYZ ", b"s sub:001 ", bytes(10), b"\xff" * 10, b"err:err:er"])
def test_the_id_is_ten_raw_octets_whatever_they_look_like(octets: bytes) -> None:
    written = smgp.format_report(TOLD).replace(ID, octets)
    assert smgp.parse_report(written) == smgp.Report(
        id=octets, sub=1, dlvrd=1, submit_date="2611251210", done_date="2611251211", stat="DELIVRD", err="000"
    )


def test_an_id_that_is_written_out_is_taken_for_its_digits() -> None:
    written = smgp.format_report(TOLD).replace(ID, ID.hex().encode())
    assert smgp.parse_report(written) == TOLD
    assert smgp.parse_report(b"id:12345 sub:001 stat:DELIVRD").id == b"12345"


def test_a_text_cut_in_a_character_is_read_to_there() -> None:
    text = "短信已送达".encode("gb18030")[:-1]
    report = smgp.parse_report(smgp.format_report(TOLD)[:102] + text)
    assert report.text == text
    assert report.text_read == "短信已送"


@given(st.one_of(st.binary(max_size=160), st.binary(max_size=60).map(lambda b: b"id:" + ID + b" sub:" + b + b"stat:")))
def test_no_report_raises(content: bytes) -> None:
    assert isinstance(smgp.parse_report(content), smgp.Report)
    assert isinstance(smgp.parse_report(content).text_read, str)


def test_a_report_that_does_not_fit_is_refused() -> None:
    with pytest.raises(BadValue, match="stat: got 'SHORT', expected 7 octets"):
        smgp.format_report(smgp.Report(id=ID, stat="SHORT"))


def test_codes_have_words() -> None:
    assert set(smgp.STATUS_WORDS) == set(smgp.Status)
