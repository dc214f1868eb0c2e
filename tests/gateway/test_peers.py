"""Peers that share no code with the gateway, on both of its sides: the independent one, and those that strangers wrote.

They are processes of their own, and what drives them blocks: `heard` waits in a thread, so that the gateway goes on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import pytest

from mingbai.connectors.gateway_registry import Registry, read_registry
from mingbai.kernel.clock import utc_now
from mingbai.protocols.logins import make_login
from tests.gateway.rig import HAM, SECRET, SPAM, ZONE, Running, running, sgip_sequences, story
from tests.peers.foreign import node_smpp, python_clients
from tests.peers.foreign.kannel import Kannel
from tests.peers.independent_peer import LOOPBACK, Event, Option, Program, decode, raw, smsc, sp
from tests.peers.mail import free_port

pytestmark = pytest.mark.needs("node")

P = ParamSpec("P")
T = TypeVar("T")

PROTOCOLS: Final = ("cmpp2", "cmpp3", "sgip", "smgp", "smpp")
PAIRS: Final = [
    *((one, "smpp") for one in PROTOCOLS),
    *(("cmpp3", other) for other in PROTOCOLS if other != "smpp"),
    ("cmpp2", "cmpp3"),
    ("sgip", "smgp"),
    ("smpp", "cmpp3"),
    ("smpp", "sgip"),
]
TEXTS: Final = {0: "Your parcel is at the station, code 8-2-3016.", 8: HAM, 15: HAM + "㐂"}
CODECS: Final = {0: "ascii", 8: "utf-16-be", 15: "gb18030"}
LOGIN, PASSWORD = "900001", "888888"
HANDSET: Final = "13900139000"
PUBLISHED: list[dict[str, Any]] = json.loads(  # Any: JSON
    (Path(__file__).parents[1] / "peers" / "published_frames.json").read_text(encoding="utf-8")
)["frames"]
_WAITING: Final = ThreadPoolExecutor(16, "peer")  # not the loop's own threads: the gateway writes its events in those


@pytest.fixture(autouse=True)
def _operators_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logins say the time of the operator's zone; the peers say that of their process."""
    monkeypatch.setenv("TZ", "Asia/Shanghai")


async def heard(call: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    return await asyncio.get_running_loop().run_in_executor(_WAITING, partial(call, *given, **named))


def family(protocol: str) -> str:
    return "cmpp" if protocol.startswith("cmpp") else protocol


def proves(protocol: str) -> bool | None:
    """What a peer says of a digest; None where the protocol has none."""
    return True if family(protocol) in ("cmpp", "smgp") else None


def bare(number: str) -> str:
    """SGIP's numbers have 86 before them."""
    return number.removeprefix("86")


def content_of(message: Event) -> str:
    fields = message["fields"]
    found: str = fields.get("msg_content", fields.get("content", fields.get("short_message")))
    return found


@dataclass
class Line:
    """A gateway with one peer's protocol in front and another's behind it."""

    protocol: str
    gateway: Running
    server: Program
    backs: list[int]  # where SGIP's providers are called

    def sp(self, place: int, **options: Option) -> Program:
        """The provider of account `place`; it sends from its own access code."""
        way_in: dict[str, Option] = {"listen": f"{LOOPBACK}:{self.backs[place]}"} if self.protocol == "sgip" else {}
        given: dict[str, Any] = {  # Any: options of `client`
            "login": f"90000{place}",
            "secret": PASSWORD,
            "source": f"1069000{place}",
        }
        return sp(self.protocol, connect=self.address, **{**given, **way_in, **options})

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.gateway.ports[family(self.protocol)]}"


def account(protocol: str, place: int, **given: object) -> dict[str, object]:
    return {
        "name": f"sp-{place}", "protocol": family(protocol), "login": f"90000{place}", "secret": PASSWORD,
        "access_codes": [f"1069000{place}"], "addresses": ["127.0.0.0/8"], "rate_per_s": 0, "window": 64, **given,
    }  # fmt: skip


def to_one(accounts: Sequence[dict[str, object]], protocol: str, port: int, **given: object) -> Registry:
    """One SMSC, to which everything goes."""
    version = "2.0" if protocol == "cmpp2" else ""
    row = {
        "name": "smsc", "protocol": family(protocol), "login": "ming", "secret": SECRET.decode(),
        "address": f"{LOOPBACK}:{port}", "version": version, **given,
    }  # fmt: skip
    return read_registry({"accounts": accounts, "smscs": [row], "routes": [{"name": "all", "to": ["smsc"]}]})


@asynccontextmanager
async def between(
    data: Path,
    protocol: str,
    other: str,
    *,
    accounts: int = 1,
    given: dict[str, object] | None = None,
    row: dict[str, object] | None = None,
    **options: Option,
) -> AsyncIterator[Line]:
    """given: of each account; row: of the SMSC's; options: of the peer that is the SMSC."""
    sgip_port = free_port()
    backs = [free_port() if protocol == "sgip" else 0 for _ in range(accounts)]
    way_back: dict[str, Option] = {"report_to": f"{LOOPBACK}:{sgip_port}"} if other == "sgip" else {}
    with smsc(other, login="ming", secret=SECRET.decode(), **{**way_back, **options}) as server:
        rows = [
            account(protocol, place, **({"callback": f"{LOOPBACK}:{back}"} if back else {}), **(given or {}))
            for place, back in enumerate(backs)
        ]
        wanted = to_one(rows, other, server.port, **(row or {}))
        async with running(data, wanted, sgip=f"{LOOPBACK}:{sgip_port}") as gateway:
            yield Line(protocol, gateway, server, backs)


# ------------------------------------------------------------------------------------------------ the independent peer
@pytest.mark.parametrize(("protocol", "other"), PAIRS)
@story
async def test_one_peers_messages_reach_the_other_and_all_comes_back(protocol: str, other: str, tmp_path: Path) -> None:
    mo = [f"{HANDSET},10690003,TD", f"{HANDSET},1069000319,退订, 谢谢"]
    two = "13800138000,13800138009"
    async with between(tmp_path, protocol, other, accounts=4, mo=mo) as line:
        with ExitStack() as stack:
            clients = [
                line.sp(place, coding=coding, text=text, to=two if place == 0 else f"1380013800{place}",
                        want_report=True)
                for place, (coding, text) in enumerate(TEXTS.items())
            ]  # fmt: skip
            clients.append(
                line.sp(3, coding=8, text=HAM * 6, long=True, to="13800138003", want_report=True, want_mo=2, wait_s=20)
            )
            for client in clients:
                stack.enter_context(client)
            ends = await asyncio.gather(*(heard(client.end) for client in clients))
        await line.gateway.until(lambda: not line.gateway.gateway.exchange.store.owed)
        end = await heard(line.server.stop)
        assert not line.gateway.gateway.exchange.store.items
        assert {row["outcome"] for row in line.gateway.cdrs()} == {"delivered"}

    for client in clients:
        login = client.take("login")
        assert (login["status"], login["digest"]) == (0, proves(protocol))
    logins = line.server.all("login")
    assert {(login["status"], login["digest"]) for login in logins} == {(0, proves(other))}
    if family(other) == "cmpp":
        assert {login["speaks"] for login in logins} == {other}

    for place, (coding, text) in enumerate(TEXTS.items()):
        sent = [one for one in line.server.all("message") if one["from"] == f"1069000{place}"]
        assert {(one["text"], content_of(one)) for one in sent} == {(text, text.encode(CODECS[coding]).hex())}
        assert {one["coding"] for one in sent} <= ({0, 1} if coding == 0 else {coding})  # 1: SMPP's ASCII
        wanted = two.split(",") if place == 0 else [f"1380013800{place}"]
        assert sorted(bare(number) for one in sent for number in one["to"]) == wanted
        _reported(clients[place], wanted)
    parts = [one for one in line.server.all("message") if one["from"] == "10690003"]
    parts.sort(key=lambda one: one["udh"]["part"])
    assert len(parts) > 1 and "".join(one["text"] for one in parts) == HAM * 6
    assert [(one["udh"]["total"], one["udh"]["part"]) for one in parts] == [
        (len(parts), number) for number in range(1, len(parts) + 1)
    ]
    _reported(clients[3], ["13800138003"] * len(parts))
    assert [(bare(one["from"]), one["to"], one["text"]) for one in clients[3].all("mo")] == [
        (HANDSET, "10690003", "TD"),
        (HANDSET, "1069000319", "退订, 谢谢"),
    ]
    assert [one["unanswered"] for one in ends] == [0] * 4
    assert (end["reports"], end["mo"], end["undelivered"]) == (len(line.server.all("message")), 2, 0)


def _reported(client: Program, numbers: list[str]) -> None:
    """Each message that was taken, for each of its numbers, under the id of its answer."""
    answers, reports = client.all("answer"), client.all("report")
    assert {answer["status"] for answer in answers} == {0}
    assert {report["id"] for report in reports} == {answer["id"] for answer in answers}
    assert sorted(bare(report["from"]) for report in reports) == numbers
    assert {report["stat"] for report in reports} == {"DELIVRD"}


@pytest.mark.parametrize(
    ("protocol", "status"), [("cmpp2", 9), ("cmpp3", 9), ("sgip", 30), ("smgp", 39), ("smpp", 0x66)], ids=PROTOCOLS
)
@story
async def test_spam_is_refused_with_the_protocols_own_code(protocol: str, status: int, tmp_path: Path) -> None:
    async with between(tmp_path, protocol, "cmpp3", accounts=2) as line:
        with line.sp(0, coding=8, text=SPAM, want_report=True) as bad, line.sp(1, coding=8, text=HAM) as good:
            ends = await asyncio.gather(heard(bad.end), heard(good.end))
        await heard(line.server.take, "message", text=HAM)
    assert bad.take("answer")["status"] == status
    assert [(end["accepted"], end["refused"], end["reports"]) for end in ends] == [(0, 1, 0), (1, 0, 0)]
    assert len(line.server.all("message")) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@story
async def test_a_wrong_secret_opens_nothing_on_either_side(protocol: str, tmp_path: Path) -> None:
    """The provider hears one code; the SMSC refuses us, and what it was to get waits."""
    async with between(tmp_path, protocol, protocol, row={"secret": "wrong"}) as line:
        refused = await heard(line.server.take, "login")
        assert refused["status"] != 0 and refused["digest"] is not True
        with line.sp(0, secret="wrong", text=HAM, coding=8) as client:
            assert (await heard(client.end))["submitted"] == 0
            login = client.take("login")
            assert login["status"] == {"sgip": 1, "smgp": 21, "smpp": 0xD}.get(protocol, 3)
            assert login["digest"] is not True, "no digest of a secret goes to whoever does not know it"
        assert not line.server.all("message")


@pytest.mark.parametrize(
    ("other", "stat", "heard_of"),
    [("cmpp2", "MK:0012", "MK:0012"), ("smgp", "EXPIRED", "EXPIRED"), ("sgip", "UNDELIV", "UNDELIV")],
)
@story
async def test_what_became_of_a_message_is_said_in_the_smscs_own_word(
    other: str, stat: str, heard_of: str, tmp_path: Path
) -> None:
    async with between(tmp_path, "cmpp3", other, stat=stat) as line:
        with line.sp(0, text=HAM, coding=8, want_report=True) as client:
            await heard(client.end)
            report = client.take("report", stat=heard_of)
            assert report["id"] == client.take("answer")["id"]


@pytest.mark.parametrize("other", PROTOCOLS)
@story
async def test_the_alphabet_of_smpp_is_written_anew_where_the_other_protocol_has_it_not(
    other: str, tmp_path: Path
) -> None:
    """GSM 03.38 has @ [ ] where ASCII has others; 153 of its characters and a header are one part everywhere."""
    short = "Your parcel is at the station [box 8-2] @home"
    long = (short + " until eight in the evening. ") * 4
    async with between(tmp_path, "smpp", other, accounts=2, alphabet="gsm7") as line:
        with (
            line.sp(0, text=short, alphabet="gsm7", want_report=True) as one,
            line.sp(1, text=long, alphabet="gsm7", long=True, want_report=True) as other_one,
        ):
            await asyncio.gather(heard(one.end), heard(other_one.end))
    sent = line.server.all("message")
    assert [said["text"] for said in sent if said["from"] == "10690000"] == [short]
    parts = sorted((said for said in sent if said["from"] == "10690001"), key=lambda said: said["udh"]["part"])
    assert len(parts) > 1 and "".join(part["text"] for part in parts) == long
    _reported(one, ["13800138000"])
    _reported(other_one, ["13800138000"] * len(parts))


# ----------------------------------------------------------------------------------------------------------- node-smpp
@pytest.mark.needs("npm")
@pytest.mark.parametrize("other", PROTOCOLS)
@story
async def test_node_smpp_as_client(other: str, tmp_path: Path) -> None:
    mo = [f"{HANDSET},10690000,TD", f"{HANDSET},1069000019,退订"]
    async with between(tmp_path, "smpp", other, accounts=3, mo=mo) as line:
        given: dict[str, Any] = {  # Any: options of `client`
            "connect": line.address,
            "secret": PASSWORD,
            "coding": 8,
            "want_report": True,
        }
        with (
            node_smpp.client(**given, login="900000", source="10690000", text=HAM, want_mo=2) as one,
            node_smpp.client(**given, login="900001", source="10690001", text=HAM * 6, payload=True) as long,
            node_smpp.client(**given, login="900002", source="10690002", text=SPAM) as bad,
        ):
            ends = await asyncio.gather(heard(one.end), heard(long.end), heard(bad.end))
        with node_smpp.client(connect=line.address, login="900000", secret="wrong") as stranger:
            await heard(stranger.end)
            assert stranger.take("login")["status"] == 0xD
    sent = line.server.all("message")
    assert [said["text"] for said in sent if said["from"] == "10690000"] == [HAM]
    assert "".join(said["text"] for said in sent if said["from"] == "10690001") == HAM * 6
    for client in (one, long):
        report = client.take("report")
        assert (report["id"], report["stat"], report["state"]) == (client.take("answer")["id"], "DELIVRD", 2)
    assert [(bare(said["from"]), said["text"]) for said in one.all("mo")] == [(HANDSET, "TD"), (HANDSET, "退订")]
    assert bad.take("answer")["status"] == 0x66
    assert [end["unanswered"] for end in ends] == [0, 0, 0]
    assert len(sent) == (2 if other == "smpp" else len(sent))


@pytest.mark.needs("npm")
@pytest.mark.parametrize("protocol", PROTOCOLS)
@story
async def test_node_smpp_as_smsc(protocol: str, tmp_path: Path) -> None:
    mo = [f"{HANDSET},10690000,TD", f"{HANDSET},1069000019,退订"]
    back = free_port()
    given = {"callback": f"{LOOPBACK}:{back}"} if protocol == "sgip" else {}
    with node_smpp.server(login="ming", secret=SECRET.decode(), mo=mo, statuses="0,0,11") as server:
        wanted = to_one([account(protocol, 0, **given), account(protocol, 1)], "smpp", server.port)
        async with running(tmp_path, wanted) as gateway:
            line = Line(protocol, gateway, server, [back, free_port()])
            with line.sp(0, coding=8, text=HAM, count=2, window=1, want_report=True, want_mo=2) as client:
                end = await heard(client.end)
            with line.sp(1, coding=8, text=HAM) as refused:
                await heard(refused.end)
            await gateway.until(lambda: len(gateway.cdrs()) == 3)
            outcomes = [row["outcome"] for row in gateway.cdrs()]
            stopped = await heard(server.stop)
    assert server.take("login")["command"] == "bind_transceiver"
    assert [said["text"] for said in server.all("message")] == [HAM] * 3
    _reported(client, ["13800138000"] * 2)
    assert [(bare(said["from"]), said["text"]) for said in client.all("mo")] == [(HANDSET, "TD"), (HANDSET, "退订")]
    assert (end["unanswered"], outcomes) == (0, ["delivered", "delivered", "refused"])
    assert (stopped["reports"], stopped["mo"]) == (2, 2)


# ---------------------------------------------------------------------------------------------------- clients from PyPI
@pytest.mark.parametrize("other", ["cmpp3", "smpp"])
@story
async def test_smpplib_as_client(other: str, tmp_path: Path) -> None:
    pytest.importorskip("smpplib")
    english = "Your parcel is at the station [box 8-2] @home"
    mo = [f"{HANDSET},10690001,退订"]
    async with between(tmp_path, "smpp", other, accounts=4, mo=mo, alphabet="gsm7") as line:
        given: dict[str, Any] = {  # Any: options of `client`
            "connect": line.address,
            "secret": PASSWORD,
            "want_report": True,
        }
        texts = (english, HAM, HAM * 6, SPAM)
        with ExitStack() as stack:
            clients = [
                stack.enter_context(
                    python_clients.smpplib(
                        **given, login=f"90000{place}", source=f"1069000{place}", text=text, want_mo=int(place == 1)
                    )
                )
                for place, text in enumerate(texts)
            ]
            ends = await asyncio.gather(*(heard(client.end) for client in clients))
    for place, text in enumerate(texts[:3]):
        sent = [said for said in line.server.all("message") if said["from"] == f"1069000{place}"]
        sent.sort(key=lambda said: said["udh"]["part"] if said["udh"] else 0)
        assert "".join(said["text"] for said in sent) == text
        reported = {(report["id"], report["stat"]) for report in clients[place].all("report")}
        assert reported == {(answer["id"], "DELIVRD") for answer in clients[place].all("answer")}
    assert [said["text"] for said in clients[1].all("mo")] == ["退订"]
    assert clients[3].take("answer")["status"] == 0x66 or ends[3]["refused"] == 1


@story
async def test_pycmpp_as_client(tmp_path: Path) -> None:
    """It says version 0x21, and leaves `src_id` empty: who sends is not known, and each part is refused for that."""
    pytest.importorskip("pycmpp")
    async with between(tmp_path, "cmpp2", "smpp") as line:
        with python_clients.pycmpp(
            connect=line.address, login="900000", secret=PASSWORD, text=HAM * 6, to="13800138000,13800138001"
        ) as client:
            end = await heard(client.end)
        with python_clients.pycmpp(connect=line.address, login="900000", secret="wrong") as stranger:
            assert (await heard(stranger.end))["submitted"] == 0
    assert client.take("login", status=0)["version"] == 0x21
    assert {answer["status"] for answer in client.all("answer")} == {10}
    assert (end["submitted"], end["refused"], end["unanswered"]) == (3, 3, 0)
    assert stranger.take("login")["status"] == 3
    assert not line.server.all("message")


# --------------------------------------------------------------------------------------------------------------- Kannel
@pytest.mark.needs("kannel")
@pytest.mark.parametrize("transceiver", [True, False], ids=["transceiver", "transmitter and receiver"])
@story
async def test_kannel_as_client(transceiver: bool, tmp_path: Path) -> None:
    """Reports are held until Kannel has its answers: one that overtakes on the other link it would throw away."""
    english = "Your parcel is at the station [box 8-2] @home"
    mo = [f"{HANDSET},10690000,TD @1", f"{HANDSET},1069000019,退订"]
    async with between(tmp_path, "smpp", "cmpp3", mo=mo, hold_reports=True) as line:
        kannel = await heard(
            Kannel, connect=line.address, system_id="900000", password=PASSWORD, transceiver=transceiver
        )
        try:
            await heard(kannel.__enter__)
            tokens = [
                await heard(kannel.send, "13800138000", text, sender="10690000") for text in (english, HAM, HAM * 6)
            ]
            for token in tokens:
                await heard(kannel.take, "report", token=token, type="accepted")
            line.server.release_reports()
            for token in tokens:
                report = await heard(kannel.take, "report", token=token, type="delivered")
                assert report["to"] == "10690000"
            bad = await heard(kannel.send, "13800138000", SPAM, sender="10690000")
            await heard(kannel.take, "report", token=bad, type="rejected")
            texts = {(await heard(kannel.take, "mo"))["text"] for _ in mo}
        finally:
            await heard(kannel.close)
    assert texts == {"TD @1", "退订"}
    sent = line.server.all("message")
    assert [said["text"] for said in sent][:2] == [english, HAM]
    assert "".join(said["text"] for said in sent[2:]) == HAM * 6


# ----------------------------------------------------------------------------------------------------- published frames
OWNERS: Final[dict[str, dict[str, object]]] = {  # whose logins were published; their clocks stand still
    "cmpp2": {"login": "900001", "secret": "888888", "skew_s": 0, "access_codes": ["900001"]},
    "cmpp3": {"login": "900001", "secret": "888888", "skew_s": 0, "access_codes": ["900001"]},
    "sgip": {"login": "testusername", "secret": "testpwd", "access_codes": ["10690090"]},
    "smgp": {"login": "testid", "secret": "testauth", "skew_s": 0},
    "smpp": {"login": "system_id_fake", "secret": "password", "access_codes": ["12345"]},
}
LOGINS: Final = {"cmpp2": "CONNECT", "sgip": "BIND", "smgp": "LOGIN", "smpp": "bind_transceiver"}
# The ends that two of them name: one is past, one is no time.
ENDS: Final = (b"151105131555101+", b"yymmddhhmmsstnnp")


def published(protocol: str, name: str) -> bytes:
    return next(bytes.fromhex(row["hex"]) for row in PUBLISHED if (row["protocol"], row["name"]) == (protocol, name))


def published_login(protocol: str) -> bytes:
    """CMPP's is of 2.0; its digest does not cover the version, so that it is one of 3.0 too."""
    if protocol != "cmpp3":
        return published(protocol, LOGINS[protocol])
    connect = bytearray(published("cmpp2", "CONNECT"))
    connect[34] = 0x30
    return bytes(connect)


@asynccontextmanager
async def owned(data: Path, protocol: str) -> AsyncIterator[tuple[Line, str]]:
    """A gateway that knows whose frames were published, and a provider beside; the listener's address."""
    with smsc("smpp", login="ming", secret=SECRET.decode()) as server:
        owner = account(protocol, 0, connections=16, **OWNERS[protocol])
        beside = "smgp" if protocol == "sgip" else "sgip"
        wanted = to_one([owner, account(beside, 1)], "smpp", server.port)
        async with running(data, wanted) as gateway:
            line = Line(beside, gateway, server, [0, free_port()])
            yield line, f"{LOOPBACK}:{gateway.ports[family(protocol)]}"


async def _is_served(line: Line) -> None:
    """Somebody else is still served."""
    with line.sp(1, coding=8, text=HAM) as client:
        assert (await heard(client.end))["accepted"] == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@story
async def test_published_frames_are_answered(protocol: str, tmp_path: Path) -> None:
    """Byte for byte: the login, which opens, then every other frame in the order of the file; none ends the link."""
    frames = [
        bytes.fromhex(row["hex"])
        for row in PUBLISHED
        if row["protocol"] == protocol and row["name"] not in (*LOGINS.values(), "unbind")
    ]
    async with owned(tmp_path, protocol) as (line, address):
        answers: list[bytes] = []
        with raw(address) as client:
            client.send(published_login(protocol))
            opened = await heard(client.receive)
            assert opened is not None
            for frame in frames:
                client.send(frame)
                if frame[4] & 0x80 == 0:  # a request; answers that nobody waits for have none
                    answer = await heard(client.receive)
                    assert answer is not None
                    answers.append(answer)
        if protocol.startswith("cmpp"):
            assert opened == published(protocol, "CONNECT_RESP")
        await _is_served(line)
    requests = [frame for frame in frames if frame[4] & 0x80 == 0]
    said = decode(protocol, [opened, *answers])
    assert [one["again"] for one in said] == [frame.hex() for frame in (opened, *answers)]
    asked = decode(protocol, requests)
    assert [(one["name"].upper(), one["sequence"]) for one in said[1:]] == [
        (f"{one['name']}_resp".upper(), one["sequence"]) for one in asked
    ]


def _own_login(protocol: str) -> bytes:
    """Of this minute, with a digest of its own each second."""
    owner = OWNERS[protocol]
    version = {"cmpp2": 0x20, "cmpp3": 0x30}.get(protocol, 0)
    sequence = sgip_sequences() if protocol == "sgip" else 1
    login = make_login(
        family(protocol), str(owner["login"]), str(owner["secret"]).encode(),
        sequence=sequence, now=utc_now().astimezone(ZONE), version=version,
    )  # fmt: skip
    return login.encode()


@pytest.mark.parametrize("protocol", [one for one in PROTOCOLS if one != "smgp"])  # no SUBMIT of SMGP was published
@story
async def test_a_published_message_arrives(protocol: str, tmp_path: Path) -> None:
    """Without the end that it names: one is past, one is no time."""
    submit = published(protocol, "submit_sm" if protocol == "smpp" else "SUBMIT")
    for end in ENDS:
        submit = submit.replace(end, bytes(len(end)))
    async with owned(tmp_path, protocol) as (line, address):
        with raw(address) as client:
            client.send(_own_login(protocol))
            assert await heard(client.receive) is not None
            client.send(submit)
            answer = await heard(client.receive)
            assert answer is not None
            sent = await heard(line.server.take, "message")
            await line.gateway.until(lambda: line.gateway.gateway.exchange.totals["forwarded"] > 0)
    (asked,), (said,) = decode(protocol, [submit]), decode(protocol, [answer])
    assert (said["status"], said["fields"].get("result", 0)) == (0, 0)
    message = asked["message"]
    assert (sent["from"], content_of(sent)) == (message["from"], message["content"])
    assert sent["to"][0] in message["to"]


def _malformed(frame: bytes, header: int) -> list[bytes]:
    """Right lengths with something wrong behind them, and wrong lengths."""
    cut, long = frame[:-5], frame + bytes(7)
    return [
        len(cut).to_bytes(4) + cut[4:],
        len(long).to_bytes(4) + long[4:],
        header.to_bytes(4) + frame[4:header],
        frame[:header] + b"\xff" * (len(frame) - header),
        frame[:4] + b"\0\0\0\x77" + frame[8:],
        (header - 1).to_bytes(4) + frame[4:],
        b"\x7f\xff\xff\xff" + frame[4:],
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@story
async def test_a_broken_frame_is_answered_or_ends_its_own_link_alone(protocol: str, tmp_path: Path) -> None:
    names = {"smgp": "DELIVER", "smpp": "submit_sm"}
    frame = published(protocol, names.get(protocol, "SUBMIT"))
    beat = {"smpp": "00000010000000150000000000000009", "sgip": "0000001400000002" + "00000009" * 3}
    goes_on = bytes.fromhex(beat.get(protocol, f"0000000c{8 if protocol != 'smgp' else 4:08x}00000009"))
    last = int.from_bytes(goes_on[4:8]) | 0x80000000

    logins: list[bytes] = []

    async def tell(address: str, broken: bytes) -> list[bytes]:
        """What came for it, to the answer of a heartbeat (SGIP: of a good-bye) or the end of the link."""
        heard_of: list[bytes] = []
        with raw(address) as client:
            client.send(_own_login(protocol))
            opened = await heard(client.receive)
            assert opened is not None
            logins.append(opened)
            client.send(broken)
            client.send(goes_on)
            while (came := await heard(client.receive)) is not None:
                if came[4] & 0x80 == 0:
                    continue  # a report of what another link sent
                heard_of.append(came)
                if int.from_bytes(came[4:8]) == last:
                    break
        return heard_of

    async with owned(tmp_path, protocol) as (line, address):
        broken = _malformed(frame, {"sgip": 20, "smpp": 16}.get(protocol, 12))
        answers = await asyncio.gather(*(tell(address, one) for one in broken))
        await _is_served(line)
        await heard(line.server.take, "message", text=HAM)
    assert answers[-1] == answers[-2] == [], "nothing can be read behind a length that is none"
    unknown = answers[-3]
    assert int.from_bytes(unknown[-1][4:8]) == last, "a command that is not known is passed over"
    whole = [one for came in answers for one in came]
    for one, said in zip(whole, decode(protocol, whole), strict=True):
        assert said["again"] == one.hex()
    assert {(said["status"], said["fields"].get("status", 0)) for said in decode(protocol, logins)} == {(0, 0)}
