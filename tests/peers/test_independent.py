"""The independent peer against itself and against what others published: it has to be right to judge the gateway."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.peers.independent_peer import LOOPBACK, Option, Program, decode, raw, smsc, sp
from tests.peers.mail import free_port

pytestmark = pytest.mark.needs("node")

PROTOCOLS = ("cmpp2", "cmpp3", "sgip", "smgp", "smpp")
PUBLISHED: list[dict[str, Any]] = json.loads(  # Any: JSON
    Path(__file__).with_name("published_frames.json").read_text(encoding="utf-8")
)["frames"]
NUMBERS = "13800138000,13800138001"
TEXTS = {
    0: "Your code is 824193. Do not tell anybody.",
    8: "【明白】您的验证码是824193😀，请勿告诉他人。",
    15: "【明白】您的驗證碼是824193😀，請勿告訴他人。㐂𠮷",  # two octets, four, and four beyond the basic plane
}


@contextmanager
def conversation(
    protocol: str, *, server: dict[str, Option], client: dict[str, Option]
) -> Iterator[tuple[Program, Program]]:
    """A server and a client of the protocol that speaks to it; in SGIP with the way back."""
    with ExitStack() as stack:
        back = f"{LOOPBACK}:{free_port()}"
        way_back: dict[str, Option] = {"report_to": back} if protocol == "sgip" else {}
        there = stack.enter_context(smsc(protocol, **way_back, **server))
        way_in: dict[str, Option] = {"listen": back} if protocol == "sgip" else {}
        here = stack.enter_context(sp(protocol, connect=there.address, **way_in, **client))
        yield there, here


# -------------------------------------------------------------------------------------------------- whole conversations
@pytest.mark.parametrize("coding", TEXTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_text_arrives_and_each_recipient_is_reported(protocol: str, coding: int) -> None:
    client: dict[str, Option] = {"coding": coding, "text": TEXTS[coding], "to": NUMBERS, "want_report": True}
    with conversation(protocol, server={}, client=client) as (there, here):
        end = here.end()
        assert here.take("login")["digest"] is (True if protocol in ("cmpp2", "cmpp3", "smgp") else None)
        ids = {answer["id"] for answer in here.all("answer")}
        reports = [(report["id"], report["stat"], report["from"]) for report in here.all("report")]
        got = there.stop()

    assert {message["text"] for message in there.all("message")} == {TEXTS[coding]}
    assert {message["id"] for message in there.all("message")} == ids
    assert {number for message in there.all("message") for number in message["to"]} == set(NUMBERS.split(","))
    assert sorted(number for _, _, number in reports) == sorted(NUMBERS.split(","))
    assert {stat for _, stat, _ in reports} == {"DELIVRD"}
    assert {id for id, _, _ in reports} == ids
    assert (end["reports"], end["unanswered"], got["reports"], got["undelivered"]) == (2, 0, 2, 0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_long_text_arrives_in_parts_and_each_part_is_reported(protocol: str) -> None:
    for coding, room, wide in ((0, 159, False), (8, 140, True), (15, 140, False)):
        text = (TEXTS[coding] * 9)[:301]
        client: dict[str, Option] = {"coding": coding, "text": text, "long": True, "want_report": True, "ref": 258}
        with conversation(protocol, server={}, client={**client, "wide": wide}) as (there, here):
            end = here.end()
            there.stop()
        parts = there.all("message")
        assert len(parts) > 1
        assert "".join(part["text"] for part in parts) == text
        marks = [(part["udh"]["ref"], part["udh"]["total"], part["udh"]["part"]) for part in parts]
        assert marks == [(258 if wide else 2, len(parts), place) for place in range(1, len(parts) + 1)]
        for part in parts:
            content = part["fields"].get(
                "msg_content", part["fields"].get("content", part["fields"].get("short_message"))
            )
            assert len(bytes.fromhex(content)) <= room
        assert end["reports"] == end["accepted"] == len(parts)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_message_from_a_handset_reaches_the_client(protocol: str) -> None:
    mo = ["13900139000,1069000001,TD", "13900139000,1069000001,退订, 谢谢"]
    with conversation(protocol, server={"mo": mo}, client={"count": 0, "want_mo": 2}) as (there, here):
        here.end()
        assert there.stop()["mo"] == 2
    assert [(event["from"], event["to"], event["text"]) for event in here.all("mo")] == [
        ("13900139000", "1069000001", "TD"),
        ("13900139000", "1069000001", "退订, 谢谢"),
    ]


@pytest.mark.parametrize(
    ("protocol", "status"), [("cmpp2", 3), ("cmpp3", 3), ("sgip", 1), ("smgp", 21), ("smpp", 0xE)], ids=PROTOCOLS
)
def test_wrong_secret_is_refused_on_both_sides(protocol: str, status: int) -> None:
    with conversation(protocol, server={}, client={"secret": "wrong"}) as (there, here):
        assert here.end()["submitted"] == 0
        login = here.take("login")
        assert login["status"] == status
        assert login["digest"] is not True  # the server's digest is made with the other secret
        assert there.stop()["refused"] == 1


def test_server_of_cmpp_3_serves_2_and_server_of_2_refuses_3() -> None:
    with smsc("cmpp3") as server:
        for protocol in ("cmpp2", "cmpp3"):
            with sp(protocol, connect=server.address) as client:
                assert client.end()["accepted"] == 1
            assert server.take("login")["speaks"] == protocol
    with smsc("cmpp2") as server, sp("cmpp3", connect=server.address) as client:
        client.end()
        assert client.take("login")["status"] == 4


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_refused_messages_are_counted_and_not_reported(protocol: str) -> None:
    client: dict[str, Option] = {"count": 40, "window": 3, "want_report": True}
    with conversation(protocol, server={"statuses": "0,8"}, client=client) as (there, here):
        end = here.end()
        there.stop()
    assert (end["accepted"], end["refused"], end["reports"]) == (20, 20, 20)
    assert len(there.all("message")) == 40


def test_report_may_overtake_the_answer() -> None:
    client: dict[str, Option] = {"want_report": True}
    with conversation("cmpp2", server={"report_first": True, "answer_delay_ms": 50}, client=client) as (_, here):
        here.end()
    assert [event["event"] for event in here.events if event["event"] in ("answer", "report")] == ["report", "answer"]


def test_link_that_only_sends_gets_its_reports_on_the_one_that_receives() -> None:
    for protocol in ("smgp", "smpp"):
        with (
            smsc(protocol) as server,
            sp(protocol, connect=server.address, mode="receive", count=0, stay=True) as receiver,
        ):
            receiver.take("login", status=0)
            with sp(protocol, connect=server.address, mode="send", want_report=True, stay=True) as sender:
                answer = sender.take("answer")
                receiver.take("report", id=answer["id"])
                assert sender.stop()["reports"] == 0


def test_reports_wait_when_the_sp_does_not_listen() -> None:
    with smsc("sgip", report_to=f"{LOOPBACK}:{free_port()}") as server:
        with sp("sgip", connect=server.address, want_report=True, stay=True) as client:
            client.take("answer", status=0)
            assert "ECONNREFUSED" in server.take("back")["error"]
            client.stop()
        assert server.stop()["undelivered"] == 1


@pytest.mark.parametrize("protocol", ["cmpp2", "cmpp3", "smgp", "smpp"])
def test_heartbeats_are_answered(protocol: str) -> None:
    with conversation(protocol, server={}, client={"count": 0, "heartbeat_s": 0.02, "stay": True}) as (there, here):
        here.take("heartbeat-answer")
        here.take("heartbeat-answer")
        here.stop()
        assert there.stop()["heartbeats"] >= 2


def test_unanswered_messages_are_counted() -> None:
    with smsc("smpp", no_answer=True) as server, sp("smpp", connect=server.address, stay=True) as client:
        server.take("message")
        assert client.stop()["unanswered"] == 1


def test_default_alphabet_of_smpp_is_agreed_with_the_peer() -> None:
    text = "Price [5€] @ {now}: à ñ"
    with smsc("smpp", alphabet="gsm7") as server:
        with sp("smpp", connect=server.address, alphabet="gsm7", text=text) as client:
            client.end()
        message = server.take("message")
    assert message["text"] == text
    assert bytes.fromhex(message["fields"]["short_message"]).startswith(b"Price \x1b\x3c5\x1b\x65\x1b\x3e \x00 ")


def test_gb18030_is_written_as_python_writes_it(seed: int) -> None:
    chance = random.Random(seed)
    blocks = [(0x20, 0x7E), (0x391, 0x3A9), (0x4E00, 0x9FA5), (0x3400, 0x4DB5), (0xAC00, 0xD7A3), (0x20000, 0x2A6D6)]
    texts = ["".join(chr(chance.randint(*chance.choice(blocks))) for _ in range(30)) for _ in range(3)]
    with smsc("cmpp2") as server:
        for text in texts:
            with sp("cmpp2", connect=server.address, coding=15, text=text) as client:
                client.end()
            message = server.take("message")
            assert (message["text"], message["fields"]["msg_content"]) == (text, text.encode("gb18030").hex())


# ----------------------------------------------------------------------------------------------------- published frames
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_published_frames_are_read_and_written_again(protocol: str) -> None:
    rows = [row for row in PUBLISHED if row["protocol"] == protocol]
    for row, read in zip(rows, decode(protocol, [bytes.fromhex(row["hex"]) for row in rows]), strict=True):
        assert (read["name"], read["sequence"], read["again"]) == (row["name"], row["sequence"], row["hex"]), row[
            "source"
        ]
        assert {name: read["fields"][name] for name in row["fields"]} == row["fields"], row["source"]


def _published(protocol: str, name: str) -> bytes:
    return next(bytes.fromhex(row["hex"]) for row in PUBLISHED if (row["protocol"], row["name"]) == (protocol, name))


def test_published_logins_have_right_digests() -> None:
    """Secrets: `888888` in gocmpp's connect_test.go, `testauth` in go-sms-protocol's pdu_login_test.go."""
    connect, login = _published("cmpp2", "CONNECT"), _published("smgp", "LOGIN")
    assert decode("cmpp2", [connect], secret="888888")[0]["digest"] is True
    assert decode("cmpp2", [connect], secret="888889")[0]["digest"] is False
    assert decode("smgp", [login], secret="testauth")[0]["digest"] is True


@pytest.mark.parametrize("protocol", ["cmpp2", "cmpp3"])
def test_published_login_gets_the_published_answer(protocol: str) -> None:
    """gocmpp's answers to one login, octet for octet: the digest covers the status as 1 octet in 2.0, as 4 in 3.0."""
    connect = bytearray(_published("cmpp2", "CONNECT"))
    if protocol == "cmpp3":
        connect[34] = 0x30  # the version, which the client's digest does not cover
    with smsc("cmpp3", login="900001", secret="888888") as server, raw(server.address) as client:
        client.send(bytes(connect))
        assert client.receive() == _published(protocol, "CONNECT_RESP")


def test_published_smgp_report_is_read_by_its_keys() -> None:
    """Body from go-sms-protocol's pdu_deliver_test.go: the id is 10 raw octets, `Submit` and `Text` are capitalised."""
    words = b" sub:001 dlvrd:001 Submit date:2312291424 done date:2312291424 stat:RT:0148 err:148 Text:"
    body = b"id:" + bytes.fromhex("01601712291424100007") + words + bytes(20)
    head = _published("smgp", "DELIVER")[4:80]  # all before the length of the content
    report = head + bytes([len(body)]) + body + bytes(8)
    report = (len(report) + 4).to_bytes(4, "big") + report
    message = decode("smgp", [report])[0]["message"]
    assert message["event"] == "report"
    assert (message["id"], message["stat"], message["error"]) == ("01601712291424100007", "RT:0148", "148")
    assert (message["submit_time"], message["done_time"]) == ("2312291424", "2312291424")


# -------------------------------------------------------------------------------------------------------- broken frames
def test_unknown_command_is_skipped_and_the_link_goes_on() -> None:
    with smsc("cmpp2") as server, raw(server.address) as client:
        client.send(bytes.fromhex("00000010" + "00000077" + "00000001" + "deadbeef"))
        client.send(_published("cmpp2", "ACTIVE_TEST"))
        assert client.receive() == bytes.fromhex("0000000d800000080000001700")
        assert server.take("unknown")["command"] == 0x77


def test_unknown_command_of_smpp_gets_a_generic_nack() -> None:
    with smsc("smpp") as server, raw(server.address) as client:
        client.send(bytes.fromhex("00000010" + "00000077" + "00000000" + "a2859f22"))
        assert client.receive() == bytes.fromhex("00000010" + "80000000" + "00000003" + "a2859f22")


@pytest.mark.parametrize(
    "frame",
    ["00000003", "7fffffff" + "00000001", "0000000d" + "00000001" + "00000001" + "00"],
    ids=["short", "huge", "cut"],
)
def test_frame_that_cannot_be_read_ends_the_link(frame: str) -> None:
    with smsc("cmpp2") as server, raw(server.address) as client:
        client.send(bytes.fromhex(frame))
        assert client.receive() is None
        server.take("broken")
