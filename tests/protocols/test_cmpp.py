from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.kernel.errors import BadValue
from mingbai.protocols import cmpp
from mingbai.protocols.pdu import MalformedPdu
from mingbai.protocols.serials import with_year
from tests.protocols.strategies import pdus

CHINA = timezone(timedelta(hours=8))
NOW = datetime(2026, 11, 25, 12, 10, 52, 250_000, tzinfo=CHINA)

# Frames of other projects' own tests: hujm2023/go-sms-protocol (MIT), cmpp/cmpp20 and cmpp/cmpp30, pdu_*_test.go; the
# SUBMIT_RESP of bigwhite/gocmpp (Apache-2.0), submit_test.go.
ACTIVE_TEST = "0000000c0000000800000017"
ACTIVE_TEST_RESP = "0000000d800000080000001700"
CONNECT = "00000027000000010000001739303030303190d00c1d517abd0b4f65f6bcf8535d16213cdc73be"
SUBMIT_2 = (
    "000000b000000004000000170000000000000000010101017465737400000000000002313335303030303236393600000000000000000000"
    "00000039303030303130323130000000003135313130353133313535353130312b0000000000000000000000000000000000003930303030"
    "310000000000000000000000000000000131333530303030323639360000000000000000000011676f207375626d697420636f6e74656e74"
    "0000000000000000"
)
SUBMIT_3 = (
    "000000cc00000004000000170000000000000000010101017465737400000000000002313335303030303236393600000000000000000000"
    "00000000000000000000000000000839303030303130323130000000003135313130353133313535353130312b0000000000000000000000"
    "0000000000000039303030303100000000000000000000000000000001313335303030303236393600000000000000000000000000000000"
    "00000000000009676f207375626d69740000000000000000000000000000000000000000"
)
DELIVER_2 = (
    "000000670000000500000005b525628000010000393030303031000000000000000000000000000000000000000000000000000000003133"
    "3431323334303030300000000000000000000000125468697320697320612074657374204d4f2e0000000000000000"
)
DELIVER_RESP_3 = "000000188000000500000001b4c553000001000000000000"
SUBMIT_RESP_2 = "000000158000000400000017b2b9da800001000000"
SHARED = {
    "sequence": 23, "registered_delivery": 1, "msg_level": 1, "service_id": b"test", "fee_user_type": 2,
    "fee_terminal_id": b"13500002696", "msg_src": b"900001", "fee_type": b"02", "fee_code": b"10",
    "valid_time": b"151105131555101+", "src_id": b"900001", "dest_terminal_id": (b"13500002696",),
}  # fmt: skip


@pytest.mark.parametrize(
    ("octets", "version", "expected"),
    [
        (ACTIVE_TEST, cmpp.V2, cmpp.ActiveTest(sequence=23)),
        (ACTIVE_TEST_RESP, cmpp.V3, cmpp.ActiveTestResp(sequence=23)),
        (
            ACTIVE_TEST_RESP[:6] + "0c" + ACTIVE_TEST_RESP[8:-2],
            cmpp.V3,
            cmpp.ActiveTestResp(sequence=23, reserved=None),
        ),
        (
            CONNECT,
            cmpp.V2,
            cmpp.Connect(
                sequence=23,
                source_addr=b"900001",
                auth_source=bytes.fromhex("90d00c1d517abd0b4f65f6bcf8535d16"),
                version=0x21,
                timestamp=1021080510,
            ),
        ),
        (SUBMIT_2, cmpp.V2, cmpp.Submit2(msg_content=b"go submit content", **SHARED)),  # type: ignore[arg-type]  # mixed
        (SUBMIT_3, cmpp.V3, cmpp.Submit3(msg_fmt=8, msg_content=b"go submit", **SHARED)),  # type: ignore[arg-type]  # mixed
        (
            DELIVER_2,
            cmpp.V2,
            cmpp.Deliver2(
                sequence=5,
                msg_id=13052947396898652160,
                dest_id=b"900001",
                src_terminal_id=b"13412340000",
                msg_content=b"This is a test MO.",
            ),
        ),
        (DELIVER_RESP_3, cmpp.V3, cmpp.DeliverResp3(sequence=1, msg_id=13025908756704198656)),
        (SUBMIT_RESP_2, cmpp.V2, cmpp.SubmitResp2(sequence=23, msg_id=12878564852733378560)),
    ],
)
def test_frames_of_other_implementations(octets: str, version: int, expected: cmpp.CmppPdu) -> None:
    frame = bytes.fromhex(octets)
    assert cmpp.decode(frame, version) == expected
    assert cmpp.encode(expected) == frame


@pytest.mark.parametrize("version", [cmpp.V2, 0x21, cmpp.V3])
@given(st.data())
def test_every_pdu_comes_back_as_it_went(version: int, data: st.DataObject) -> None:
    codec = cmpp.codec_of(version)
    message = data.draw(st.sampled_from(list(codec.pdus.values())).flatmap(pdus))
    assert codec.decode(message.encode()) == message


def test_lengths_are_those_of_the_standard() -> None:
    """Body lengths that other implementations have, for n recipients and a text of so many octets."""
    for n in (1, 2, 99):
        numbers = (b"13800138000",) * n
        assert len(cmpp.Submit2(dest_terminal_id=numbers, msg_content=b"abc").encode()) == 12 + 117 + 21 * n + 1 + 3 + 8
        long = cmpp.Submit3(dest_terminal_id=numbers, msg_content=bytes(255)).encode()
        assert len(long) == 12 + 129 + 32 * n + 1 + 1 + 255 + 20
        assert len(long) <= cmpp.MOST
    assert len(cmpp.Connect().encode()) == 39
    assert (len(cmpp.ConnectResp2().encode()), len(cmpp.ConnectResp3().encode())) == (30, 33)
    assert (len(cmpp.Query().encode()), len(cmpp.QueryResp().encode())) == (12 + 27, 12 + 51)
    assert (len(cmpp.Report2().encode()), len(cmpp.Report3().encode())) == (60, 71)


@pytest.mark.parametrize(
    ("octet", "codec"), [(0x20, cmpp.CODEC_2), (0x21, cmpp.CODEC_2), (0x30, cmpp.CODEC_3), (0x31, cmpp.CODEC_3)]
)
def test_connect_chooses_the_codec(octet: int, codec: object) -> None:
    frame = cmpp.Connect(version=octet).encode()
    assert cmpp.version_of(frame) == octet
    assert cmpp.codec_of(octet) is codec


def test_only_a_whole_connect_has_a_version() -> None:
    assert cmpp.version_of(bytes.fromhex(ACTIVE_TEST)) is None
    assert cmpp.version_of(bytes.fromhex(SUBMIT_2)) is None
    assert cmpp.version_of(bytes.fromhex(CONNECT)[:-5]) is None
    with pytest.raises(BadValue, match="version: got 127"):
        cmpp.codec_of(0x7F)


def test_answers_have_the_sequence_and_the_width_of_their_request() -> None:
    assert cmpp.answer(cmpp.Submit2(sequence=7), msg_id=1, result=8) == cmpp.SubmitResp2(sequence=7, msg_id=1, result=8)
    assert cmpp.answer(cmpp.Submit3(sequence=7), msg_id=1) == cmpp.SubmitResp3(sequence=7, msg_id=1)
    assert cmpp.answer(cmpp.Connect(sequence=1, version=0x21)) == cmpp.ConnectResp2(sequence=1)
    assert cmpp.answer(cmpp.Connect(sequence=1, version=0x30)) == cmpp.ConnectResp3(sequence=1)
    assert {request.command | 0x80000000 for request in cmpp.RESPONSES} == {r.command for r in cmpp.RESPONSES.values()}


def test_a_request_that_cannot_be_read_is_refused_by_its_structure() -> None:
    broken = bytearray(bytes.fromhex(SUBMIT_2))
    broken[12 + 117 + 21] = 200  # the length of the text, beyond the frame
    with pytest.raises(MalformedPdu, match="msg_content: got 200, expected at most 25 octets") as caught:
        cmpp.decode(bytes(broken), cmpp.V2)
    assert cmpp.refusal(caught.value, cmpp.V2) == cmpp.SubmitResp2(sequence=23, result=cmpp.Result.STRUCTURE)
    assert cmpp.refusal(caught.value, cmpp.V3) == cmpp.SubmitResp3(sequence=23, result=cmpp.Result.STRUCTURE)
    with pytest.raises(MalformedPdu) as caught:
        cmpp.decode(bytes.fromhex("00000010 80000004 00000017 00000000"))
    assert cmpp.refusal(caught.value) is None


def test_commands_between_gateways_pass_through() -> None:
    frame = bytes.fromhex("00000010 00000009 00000017 01020304")
    assert cmpp.decode(frame) == cmpp.Unknown(command=9, sequence=23, body=b"\1\2\3\4")
    assert cmpp.decode(frame).encode() == frame


def test_garbage_behind_a_nul_goes_out_again() -> None:
    message = cmpp.Submit2(
        src_id=b"1069\0\0garbage", dest_terminal_id=(b"13800138000\0x",), reserve=b"\0\0\0\0\0\0\0\1"
    )
    assert cmpp.decode(message.encode(), cmpp.V2) == message


# ------------------------------------------------------------------------------------------------------------- digests
def test_digests_of_other_implementations() -> None:
    """bigwhite/gocmpp, connect_test.go: user 900001, secret 888888."""
    digest = cmpp.auth_source(b"900001", b"888888", 1021080510)
    assert digest.hex() == "90d00c1d517abd0b4f65f6bcf8535d16"
    assert cmpp.auth_source(b"9000\0\0", "密".encode("gb18030"), 1) == cmpp.auth_source(
        b"9000", "密".encode("gb18030"), 1
    )


def test_the_status_is_hashed_in_its_width_on_the_wire() -> None:
    digest = bytes(16)
    assert cmpp.auth_ismg(0, digest, b"x", 0x21) == cmpp.auth_ismg(0, digest, b"x", cmpp.V2)
    assert cmpp.auth_ismg(0, digest, b"x", cmpp.V2) != cmpp.auth_ismg(0, digest, b"x", cmpp.V3)


def test_the_timestamp_is_a_number_of_ten_digits() -> None:
    assert cmpp.timestamp_of(datetime(2026, 3, 1, tzinfo=CHINA)) == 301000000 == 0x11F0E540
    assert cmpp.timestamp_of(NOW) == 1125121052


# --------------------------------------------------------------------------------------------------------- message ids
def test_a_message_id_has_parts() -> None:
    """bigwhite/gocmpp, submit_test.go."""
    parts = cmpp.MessageId.of(0xB2B9DA8000010000)
    assert parts == cmpp.MessageId(month=11, day=5, hour=14, minute=29, second=42, gateway=1, sequence=0)
    assert int(parts) == 0xB2B9DA8000010000
    assert str(parts) == "1105142942000000100000"
    assert cmpp.MessageId.parse(str(parts)) == parts
    with pytest.raises(BadValue, match="sequence: got 65536, expected an integer from 0 to 65535"):
        int(cmpp.MessageId(1, 1, 1, 1, 1, 1, 65536))
    with pytest.raises(BadValue, match="msg_id: got '１', expected 22 digits"):
        cmpp.MessageId.parse("１")


@given(st.integers(0, 2**64 - 1))
def test_any_number_is_a_message_id(value: int) -> None:
    assert int(cmpp.MessageId.of(value)) == value


def test_ids_never_repeat_at_200000_a_second_nor_after_a_restart() -> None:
    ids = cmpp.MessageIds(42)
    seen: set[int] = set()
    now = NOW
    last = 0
    for _ in range(2):
        for k in range(200_000):
            last = ids.next(now + timedelta(microseconds=5 * k))
            seen.add(last)
        ids = cmpp.MessageIds(42, after=last, now=now)  # restarted, with the clock behind its ids
        now += timedelta(seconds=1)
    assert len(seen) == 400_000
    assert {cmpp.MessageId.of(each).gateway for each in seen} == {42}
    # 400,000 ids from 12:10:52 on take what seven seconds have, so the last is of 12:10:58.
    assert str(cmpp.MessageId.of(last)).startswith("1125121058")


def test_ids_do_not_go_back_with_the_clock() -> None:
    ids = cmpp.MessageIds(1)
    first = ids.next(NOW)
    assert ids.next(NOW - timedelta(hours=1)) == first + 1
    assert cmpp.MessageId.of(ids.next(NOW + timedelta(seconds=1))).sequence == 0


def test_ids_run_on_over_the_turn_of_the_year() -> None:
    eve = datetime(2026, 12, 31, 23, 59, 59, tzinfo=CHINA)
    last = cmpp.MessageIds(1).next(eve + timedelta(seconds=1, microseconds=1))
    again = cmpp.MessageIds(1, after=last, now=eve)  # the clock was set back before the new year
    assert again.next(eve) == last + 1
    assert cmpp.MessageId.of(again.next(eve + timedelta(seconds=9))).second == 8


def test_a_time_without_a_year_is_the_nearest_one() -> None:
    assert with_year(NOW, 1, 2, 3, 4, 5).year == 2027
    assert with_year(NOW, 11, 26, 0, 0).year == 2026
    assert with_year(datetime(2027, 3, 1, tzinfo=UTC), 2, 29, 0, 0).year == 2028
    with pytest.raises(BadValue, match="time: got '0230000000'"):
        with_year(NOW, 2, 30, 0, 0)


def test_a_last_id_needs_the_year_and_a_gateway_its_bits() -> None:
    with pytest.raises(BadValue, match="now: got None"):
        cmpp.MessageIds(1, after=0xB2B9DA8000010000)
    with pytest.raises(BadValue, match="gateway: got 4194304"):
        cmpp.MessageIds(1 << 22)


# ------------------------------------------------------------------------------------------------------------- reports
def test_a_report_is_read_by_its_length() -> None:
    told = cmpp.Report2(msg_id=7, stat=b"MK:0012", submit_time=b"2611250410", done_time=b"2611250411",
                        dest_terminal_id=b"13800138000", smsc_sequence=9)  # fmt: skip
    assert cmpp.report_of(told.encode()) == told
    three = cmpp.Report3(msg_id=7, stat=b"DELIVRD", dest_terminal_id=b"13800138000", smsc_sequence=9)
    assert cmpp.report_of(three.encode()) == three
    with pytest.raises(MalformedPdu, match="smsc_sequence: got 4, expected at most 3 octets"):
        cmpp.report_of(told.encode()[:-1])


def test_codes_have_words() -> None:
    assert set(cmpp.RESULT_WORDS) == set(cmpp.Result)
    assert set(cmpp.CONNECT_WORDS) == set(cmpp.ConnectStatus)
    assert all(len(word) == 7 for word in cmpp.STAT_WORDS)
