"""Each foreign peer against the independent one: so that a later failure against the gateway is about the gateway."""

from __future__ import annotations

import pytest

from tests.peers.foreign import node_smpp, python_clients
from tests.peers.foreign.kannel import Kannel
from tests.peers.independent_peer import Option, smsc, sp

pytestmark = pytest.mark.needs("node")

CHINESE = "【明白】您的验证码是824193，请勿告诉他人。"
ENGLISH = "Your code is 824193 [do not tell] @home"
MO = ["13900139000,1069000001,TD @1", "13900139000,1069000001,退订"]


# ------------------------------------------------------------------------------------------------------------ node-smpp
@pytest.mark.needs("npm")
@pytest.mark.parametrize(("text", "coding"), [(ENGLISH, 0), (CHINESE, 8)], ids=["GSM 03.38", "UCS-2"])
def test_node_smpp_as_client(text: str, coding: int) -> None:
    options: dict[str, Option] = {"text": text, "coding": coding, "want_report": True, "want_mo": 2, "to": "8613,8615"}
    with smsc("smpp", alphabet="gsm7", mo=MO) as server, node_smpp.client(connect=server.address, **options) as client:
        end = client.end()
        server.stop()
    assert [message["text"] for message in server.all("message")] == [text, text]
    assert sorted(message["to"] for message in server.all("message")) == [["8613"], ["8615"]]
    ids = {message["id"] for message in server.all("message")}
    assert {(report["id"], report["stat"], report["state"]) for report in client.all("report")} == {
        (id, "DELIVRD", 2) for id in ids
    }
    assert [message["text"] for message in client.all("mo")] == ["TD @1", "退订"]
    assert (end["accepted"], end["unanswered"]) == (2, 0)


@pytest.mark.needs("npm")
def test_node_smpp_as_client_with_the_text_in_message_payload() -> None:
    with smsc("smpp") as server:
        with node_smpp.client(connect=server.address, text=CHINESE * 9, coding=8, payload=True) as client:
            client.end()
        assert server.take("message")["text"] == CHINESE * 9


@pytest.mark.needs("npm")
def test_node_smpp_as_client_hears_a_refusal() -> None:
    with smsc("smpp", statuses="88") as server:
        with node_smpp.client(connect=server.address) as client:
            assert client.take("answer")["status"] == 88
            assert client.end()["refused"] == 1
        with node_smpp.client(connect=server.address, secret="wrong") as client:
            assert client.take("login")["status"] == 0xE
            client.end()


@pytest.mark.needs("npm")
def test_node_smpp_as_server() -> None:
    options: dict[str, Option] = {
        "text": CHINESE,
        "coding": 8,
        "want_report": True,
        "want_mo": 2,
        "count": 3,
        "window": 2,
    }
    with node_smpp.server(mo=MO) as server, sp("smpp", connect=server.address, alphabet="gsm7", **options) as client:
        end = client.end()
        server.stop()
    assert [message["text"] for message in server.all("message")] == [CHINESE] * 3
    assert {report["id"] for report in client.all("report")} == {"n1", "n2", "n3"}
    assert [message["text"] for message in client.all("mo")] == ["TD @1", "退订"]
    assert (end["accepted"], end["reports"], end["mo"]) == (3, 3, 2)


# -------------------------------------------------------------------------------------------------- clients from PyPI
def test_smpplib_as_client() -> None:
    pytest.importorskip("smpplib")
    for text in (ENGLISH, CHINESE, CHINESE * 4):
        with (
            smsc("smpp", alphabet="gsm7", mo=MO[1:]) as server,
            python_clients.smpplib(connect=server.address, text=text, want_report=True, want_mo=1) as client,
        ):
            end = client.end()
            server.stop()
        assert "".join(message["text"] for message in server.all("message")) == text
        reported = {(report["id"], report["stat"]) for report in client.all("report")}
        assert reported == {(message["id"], "DELIVRD") for message in server.all("message")}
        assert [message["text"] for message in client.all("mo")] == ["退订"]
        assert end["accepted"] == end["reports"] == len(server.all("message"))


def test_smpplib_as_client_hears_a_refusal() -> None:
    pytest.importorskip("smpplib")
    with smsc("smpp", statuses="0,88") as server, python_clients.smpplib(connect=server.address, count=2) as client:
        end = client.end()
        assert [answer["status"] for answer in client.all("answer")] == [0, 88]
        assert (end["accepted"], end["refused"]) == (1, 1)
    with smsc("smpp") as server, python_clients.smpplib(connect=server.address, secret="wrong") as client:
        client.end()
        assert client.take("login")["status"] == 0xE


@pytest.mark.parametrize("protocol", ["cmpp2", "cmpp3"])
def test_pycmpp_as_client(protocol: str) -> None:
    """It says version 0x21; a server that knows 3.0 as well has to answer in 2.0."""
    pytest.importorskip("pycmpp")
    with (
        smsc(protocol) as server,
        python_clients.pycmpp(connect=server.address, text=CHINESE * 4, to="8613,8615", heartbeat=True) as client,
    ):
        end = client.end()
        server.stop()
    assert client.take("login")["status"] == 0
    assert server.take("login", version=0x21)["digest"] is True
    server.take("goodbye")
    messages = server.all("message")
    assert "".join(message["text"] for message in messages) == CHINESE * 4
    assert [message["udh"]["part"] for message in messages] == list(range(1, len(messages) + 1))
    assert {tuple(message["to"]) for message in messages} == {("8613", "8615")}
    assert [answer["id"] for answer in client.all("answer")] == [message["id"] for message in messages]
    assert (end["accepted"], end["unanswered"]) == (len(messages), 0)


def test_pycmpp_as_client_hears_a_refusal() -> None:
    pytest.importorskip("pycmpp")
    with smsc("cmpp2", statuses="8") as server, python_clients.pycmpp(connect=server.address) as client:
        assert client.take("answer")["status"] == 8
        client.end()
    with smsc("cmpp2") as server, python_clients.pycmpp(connect=server.address, secret="wrong") as client:
        assert client.take("login")["status"] == 3
        assert client.end()["submitted"] == 0


# --------------------------------------------------------------------------------------------------------------- Kannel
@pytest.mark.needs("kannel")
@pytest.mark.parametrize("transceiver", [True, False], ids=["transceiver", "transmitter and receiver"])
def test_kannel_as_client(transceiver: bool) -> None:
    """Reports are held until Kannel has its answers: one that overtakes on the other link it would throw away."""
    with smsc("smpp", alphabet="gsm7", login="kannel", secret="secret", mo=MO, hold_reports=True) as server:
        with Kannel(connect=server.address, system_id="kannel", password="secret", transceiver=transceiver) as kannel:
            tokens = [kannel.send("13800138000", text, sender="1069000001") for text in (ENGLISH, CHINESE, CHINESE * 4)]
            for token in tokens:
                kannel.take("report", token=token, type="accepted")
            server.release_reports()
            for token in tokens:
                report = kannel.take("report", token=token, type="delivered")
                assert (report["from"], report["to"]) == ("13800138000", "1069000001")
            texts = {kannel.take("mo")["text"] for _ in MO}
        server.stop()
    assert texts == {"TD @1", "退订"}
    sent = [message["text"] for message in server.all("message")]
    assert sent[:2] == [ENGLISH, CHINESE]
    assert "".join(sent[2:]) == CHINESE * 4
    modes = sorted(login["mode"] for login in server.all("login"))
    assert modes == (["both"] if transceiver else ["receive", "send"])


@pytest.mark.needs("kannel")
def test_kannel_tells_what_was_refused_and_what_did_not_arrive() -> None:
    with (
        smsc("smpp", login="kannel", secret="secret", statuses="0,69", stat="UNDELIV") as server,
        Kannel(connect=server.address, system_id="kannel", password="secret") as kannel,
    ):
        undelivered = kannel.send("13800138000", ENGLISH, sender="1069000001")
        kannel.take("report", token=undelivered, type="undelivered")
        refused = kannel.send("13800138000", ENGLISH, sender="1069000001")
        kannel.take("report", token=refused, type="rejected")
        kannel.close()


@pytest.mark.needs("kannel")
def test_kannel_with_a_wrong_password_stays_outside() -> None:
    with (
        smsc("smpp", login="kannel", secret="secret") as server,
        Kannel(connect=server.address, system_id="kannel", password="wrong", wait_bound=False) as kannel,
    ):
        assert server.take("login")["status"] == 0xE
        assert not any(link.startswith("online") for link in kannel.links())
