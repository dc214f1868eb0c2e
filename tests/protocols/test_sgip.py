from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.kernel.errors import BadValue
from mingbai.protocols import sgip
from mingbai.protocols.pdu import MalformedPdu
from tests.protocols.strategies import pdus

NOW = datetime(2026, 11, 25, 12, 10, 52, tzinfo=timezone(timedelta(hours=8)))
NAME = (3010012345, 1125121052, 77)

# hujm2023/go-sms-protocol (MIT), sgip/sgip12, pdu_bind_test.go and pdu_submit_test.go.
BIND = (
    "0000003d000000010000000000000000000000000174657374757365726e616d650000000074657374707764000000000000000000000000"
    "0000000000"
)
SUBMIT = (
    "000000c100000003000000000000000000000000313036393030393000000000000000000000000000313736303035333733303000000000"
    "0000000000000231373630303030303030300000000000000000000031373631313131313131310000000000000000000031323334350000"
    "00000000000000000000000000000000000000000000000079796d6d646468686d6d7373746e6e7079796d6d646468686d6d7373746e6e70"
    "00000000000000000874657374206d73670000000000000000"
)
SUBMIT_RESP = "0000001d80000003000000000000000000000000000000000000000000"


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (BIND, sgip.Bind(login_type=1, login_name=b"testusername", login_password=b"testpwd")),
        (
            SUBMIT,
            sgip.Submit(
                sp_number=b"10690090",
                charge_number=b"17600537300",
                user_number=(b"17600000000", b"17611111111"),
                corp_id=b"12345",
                expire_time=b"yymmddhhmmsstnnp",
                schedule_time=b"yymmddhhmmsstnnp",
                message_content=b"test msg",
            ),
        ),
        (SUBMIT_RESP, sgip.SubmitResp()),
    ],
)
def test_frames_of_other_implementations(octets: str, expected: sgip.SgipPdu) -> None:
    frame = bytes.fromhex(octets)
    assert sgip.decode(frame) == expected
    assert sgip.encode(expected) == frame


@given(st.sampled_from(list(sgip.CODEC.pdus.values())).flatmap(pdus))
def test_every_pdu_comes_back_as_it_went(message: sgip.SgipPdu) -> None:
    assert sgip.decode(message.encode()) == message


def test_lengths_are_those_of_the_standard() -> None:
    for n in (1, 100):
        whole = sgip.Submit(user_number=(b"8613000000000",) * n, message_content=bytes(140)).encode()
        assert len(whole) == 20 + 115 + 21 * n + 4 + 140 + 8 - 4  # the length of the text is within the 115
        assert len(whole) <= sgip.MOST
    assert len(sgip.Bind().encode()) == 20 + 41
    assert len(sgip.Report().encode()) == 20 + 44
    assert len(sgip.ReportResp().encode()) == 20 + 9
    assert len(sgip.Unbind().encode()) == len(sgip.UnbindResp().encode()) == 20


def test_answers_have_the_sequence_of_their_request() -> None:
    assert sgip.answer(sgip.Submit(sequence=NAME), result=8) == sgip.SubmitResp(sequence=NAME, result=8)
    assert sgip.answer(sgip.Unbind(sequence=NAME)) == sgip.UnbindResp(sequence=NAME)


def test_a_response_without_its_reserve_is_accepted() -> None:
    frame = bytes.fromhex("00000015 80000005") + bytes(12) + b"\x09"
    assert sgip.decode(frame) == sgip.ReportResp(result=9, reserve=None)
    assert sgip.decode(frame).encode() == frame


def test_a_text_of_four_gigabytes_is_not_believed() -> None:
    frame = bytearray(sgip.Deliver(sequence=NAME, message_content=b"ab").encode())
    frame[20 + 45 : 20 + 49] = b"\xff\xff\xff\xff"
    with pytest.raises(MalformedPdu, match="message_content: got 4294967295, expected at most 10 octets") as caught:
        sgip.decode(bytes(frame))
    assert caught.value.sequence == NAME
    assert sgip.refusal(caught.value) == sgip.DeliverResp(sequence=NAME, result=sgip.Result.PARAMETER_FORMAT)


def test_commands_between_nodes_pass_through() -> None:
    frame = bytes.fromhex("00000018 00000011 00000001 00000002 00000003 01020304")
    assert sgip.decode(frame) == sgip.Unknown(command=0x11, sequence=(1, 2, 3), body=b"\1\2\3\4")
    assert sgip.decode(frame).encode() == frame


def test_sequences_never_repeat_at_200000_a_second_nor_after_a_restart() -> None:
    sequences = sgip.Sequences(3010012345)
    seen = set()
    now = NOW
    last = NAME
    for _ in range(2):
        for k in range(200_000):
            last = sequences.next(now + timedelta(microseconds=5 * k))
            seen.add(last)
        sequences = sgip.Sequences(3010012345, after=last, now=now)
        now += timedelta(milliseconds=500)  # within the second of the last one
    assert len(seen) == 400_000
    assert last[:2] == (3010012345, 1125121053)
    assert sgip.name_text((3010012345, 125121053, 7)) == "301001234501251210530000000007"


def test_a_node_has_four_octets() -> None:
    with pytest.raises(BadValue, match="node: got -1"):
        sgip.Sequences(-1)
    with pytest.raises(BadValue, match="now: got None"):
        sgip.Sequences(1, after=NAME)


def test_codes_have_words() -> None:
    assert set(sgip.RESULT_WORDS) == set(sgip.Result)
