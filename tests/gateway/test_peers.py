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

P, T = ParamSpec("P"), TypeVar("T")

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
        given: dict[str, Option] = {"login": f"90000{place}", "secret": PASSWORD, "source": f"1069000{place}"}
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
    async with between(
        tmp_path, "smpp", other, accounts=2, alphabet="gsm7"
    ) as line:
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
