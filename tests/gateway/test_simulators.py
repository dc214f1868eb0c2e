"""The simulators against each other: what the one sends arrives at the other, and every misbehaviour is counted."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from mingbai.gateway.simulators.lines import run_loop
from mingbai.gateway.simulators.smsc import SmscOptions, SmscSimulator
from mingbai.gateway.simulators.sp import SpOptions, SpSimulator, SpSummary
from mingbai.kernel.errors import BadValue
from mingbai.protocols.messages import ShortMessage
from mingbai.protocols.text import coding_of, encode

KINDS = [("cmpp", "2"), ("cmpp", "3"), ("sgip", ""), ("smgp", "1.3"), ("smgp", "3"), ("smpp", "3.4"), ("smpp", "5.0")]
every_kind = pytest.mark.parametrize("kind", KINDS, ids="-".join)
SECRET = b"\xe6\x98\x8e1"  # not ASCII
TEXTS = ("【明白】您的验证码是1234，请勿告诉他人", "meeting at 3", "price [net] 5€")


def smsc_options(kind: tuple[str, str], **more: Any) -> SmscOptions:  # Any: options
    return SmscOptions(kind[0], kind[1], login="9001", secret=SECRET, **more)


def sp_options(kind: tuple[str, str], port: int, **more: Any) -> SpOptions:  # Any: options
    given = SpOptions(
        kind[0], f"127.0.0.1:{port}", kind[1], login="9001", secret=SECRET, texts=TEXTS, count=30, wants_reports=True
    )
    return replace(given, **more)


def run(story: Callable[[], Awaitable[Any]]) -> Any:  # Any: what the story gives
    return run_loop(story)  # type: ignore[arg-type]  # a coroutine


def talk(kind: tuple[str, str], smsc_more: dict[str, Any], **sp_more: Any) -> tuple[SmscSimulator, SpSummary]:
    """An SMSC, and a provider that talks to it to the end."""

    async def story() -> tuple[SmscSimulator, SpSummary]:
        callback = free_port() if kind[0] == "sgip" else 0
        if callback:
            smsc_more["report_to"] = f"127.0.0.1:{callback}"
            sp_more["listen"] = f"127.0.0.1:{callback}"
        async with SmscSimulator(smsc_options(kind, **smsc_more)) as smsc:
            return smsc, await SpSimulator(sp_options(kind, smsc.port, **sp_more)).run()

    found: tuple[SmscSimulator, SpSummary] = run(story)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@every_kind
def test_everything_arrives_and_every_report_comes_back(kind: tuple[str, str]) -> None:
    smsc, done = talk(kind, {}, connections=2)
    assert (done.problem, done.messages, done.submitted, done.accepted, done.refused) == ("", 30, 30, 30, {})
    assert (done.reports, done.reports_missing, done.reports_unmatched) == ({"DELIVRD": 30}, 0, 0)
    assert (done.unanswered, done.ids_repeated, done.connections_lost) == (0, 0, 0)
    assert Counter(one.text for one in smsc.received) == dict.fromkeys(TEXTS, 10)
    assert len({one.destination for one in smsc.received}) == len({one.id for one in smsc.received}) == 30
    assert {one.source for one in smsc.received} == {"10690001"}
    said = smsc.summary()
    assert (said["received"], said["accepted"], said["reports_answered"], said["logins"]) == (30, 30, 30, 2)
    assert done.latency_p99_ms is not None


@every_kind
def test_long_messages_go_in_parts(kind: tuple[str, str]) -> None:
    for sar in (False, True) if kind[0] == "smpp" else (False,):
        smsc, done = talk(kind, {}, count=4, long_share=1.0, sar=sar)
        assert done.messages == 4
        assert done.submitted == done.reports["DELIVRD"] == len(smsc.received) > 8
        parts = [one.part for one in smsc.received if one.destination.endswith("1")]
        assert [part and part["number"] for part in parts] == list(range(1, len(parts) + 1))
        whole = "".join(one.text for one in smsc.received if one.destination.endswith("1"))
        assert whole.startswith(f"{TEXTS[0]} {TEXTS[0]}")


@pytest.mark.parametrize("encoding", ["ucs2", "gb18030", "ascii", "gsm7"])
@pytest.mark.parametrize("kind", [("cmpp", "3"), ("smpp", "3.4")], ids="-".join)
def test_each_coding_is_read_as_it_was_written(kind: tuple[str, str], encoding: str) -> None:
    if encoding == "gsm7" and kind[0] != "smpp":
        with pytest.raises(BadValue, match="--encoding"):
            SpSimulator(sp_options(kind, 1, encoding=encoding))
        return
    smsc, _ = talk(kind, {}, count=3, encoding=encoding)
    said = {one.text for one in smsc.received}
    assert "meeting at 3" in said
    assert (TEXTS[0] in said) is (encoding in ("ucs2", "gb18030"))


@every_kind
def test_throttling_is_honoured_or_counted(kind: tuple[str, str]) -> None:
    smsc, done = talk(kind, {"rate_per_s": 20.0})
    assert done.throttled > 0
    assert (done.accepted, done.refused) == (30, {})
    assert smsc.summary()["throttled"] == done.throttled
    _, hasty = talk(kind, {"rate_per_s": 1.0}, retries=False)
    assert sum(hasty.refused.values()) + hasty.accepted == 30
    assert hasty.refused


@every_kind
def test_failures_and_refusals_have_their_shares(kind: tuple[str, str]) -> None:
    _, done = talk(kind, {"report_share": 0.0})
    assert done.reports == {"UNDELIV": 10, "EXPIRED": 10, "REJECTD": 10}
    smsc, refused = talk(kind, {"refuse_share": 0.5, "refuse_code": 45})
    (code,) = refused.refused
    assert "45" in code or "0x2d" in code
    assert refused.accepted + refused.refused[code] == 30
    assert len(smsc.received) == refused.accepted < 30


@every_kind
def test_reports_may_come_early_late_and_out_of_order(kind: tuple[str, str]) -> None:
    for more in ({"early": True, "delay_ms": 30}, {"early": True}, {"shuffle": True, "report_delay_ms": 20}):
        _, done = talk(kind, more)
        assert (done.reports, done.reports_missing, done.reports_unmatched) == ({"DELIVRD": 30}, 0, 0)


def test_shuffled_reports_are_out_of_order(tmp_path: Path) -> None:
    log = tmp_path / "smsc.jsonl"
    talk(("cmpp", "3"), {"shuffle": True, "log": log})
    lines = read(log)
    sent = [one["id"] for one in lines if one["event"] == "message"]
    reported = [one["id"] for one in lines if one["event"] == "report"]
    assert sorted(sent) == sorted(reported)
    assert sent != reported


def read(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("id_form", "receipt_form", "base"), [("decimal", "hex", 16), ("hex", "padded", 10), ("HEX", "HEX", 16)]
)
def test_ids_of_smpp_come_in_the_forms_that_were_asked_for(
    tmp_path: Path, id_form: str, receipt_form: str, base: int
) -> None:
    log = tmp_path / "smsc.jsonl"
    _, done = talk(
        ("smpp", "3.4"), {"id_form": id_form, "receipt_form": receipt_form, "log": log}, count=3, wait_reports_s=0.3
    )
    lines = read(log)
    answers = {int(one["id"], 10 if id_form == "decimal" else 16) for one in lines if one["event"] == "message"}
    assert {int(one["id"], base) for one in lines if one["event"] == "report"} == answers
    is_same = id_form == receipt_form
    assert (done.reports_unmatched, done.reports_missing) == ((0, 0) if is_same else (3, 3))
    with pytest.raises(BadValue, match="--id-form"):
        SmscSimulator(smsc_options(("cmpp", ""), id_form="hex"))


@every_kind
def test_silence_leaves_messages_in_doubt(kind: tuple[str, str]) -> None:
    smsc, done = talk(kind, {"silent_share": 1.0}, count=3, answer_s=0.2)
    assert (done.accepted, done.unanswered, done.resent, done.connections_lost) == (0, 3, 0, 1)
    assert [one.is_answered for one in smsc.received] == [False] * 3


@every_kind
def test_a_lost_connection_is_dialled_again_and_only_resending_doubles(kind: tuple[str, str]) -> None:
    smsc, done = talk(kind, {"drop_after": 8}, reconnects=True)
    assert done.connections_lost > 0
    assert done.unanswered > 0
    assert done.resent == 0
    assert len(smsc.received) <= 30
    smsc, done = talk(kind, {"drop_after": 8}, reconnects=True, resends=True)
    assert (done.accepted, done.unsent, done.resent) == (30, 0, done.unanswered)
    arrived = {one.destination.removeprefix("86") for one in smsc.received}
    assert arrived == {f"1380000{number:04}" for number in range(1, 31)}
    assert done.submitted == 30 + done.resent


def test_who_reads_no_more_is_left_by_the_timer() -> None:
    smsc, done = talk(("smpp", "3.4"), {"stall_after": 5}, answer_s=0.3, wait_reports_s=0.3, window=4)
    assert len(smsc.received) == 5
    assert 0 < done.unanswered <= 4


@every_kind
def test_messages_from_handsets_arrive(kind: tuple[str, str]) -> None:
    async def story() -> None:
        callback = free_port() if kind[0] == "sgip" else 0
        to = f"127.0.0.1:{callback}" if callback else ""
        async with SmscSimulator(smsc_options(kind, mo_rate_per_s=100.0, mo_to="10690001", report_to=to)) as smsc:
            coding = coding_of(kind[0], 8)
            smsc.originate(ShortMessage("8613900000009", ("10690001",), encode("退订", coding), coding))
            sp = SpSimulator(sp_options(kind, smsc.port, rate_per_s=100.0, listen=to))
            done = await sp.run()
            assert done.mo > 3
            assert done.rate_per_s < 150
            assert smsc.summary()["mo_answered"] >= done.mo - 16

    run(story)


def test_the_log_of_each_side_says_what_passed(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "sp.jsonl", tmp_path / "smsc.jsonl"
    talk(("cmpp", "3"), {"log": theirs, "mo_rate_per_s": 50, "mo_to": "10690001"}, log=ours, rate_per_s=100)
    sent, taken = read(ours), read(theirs)
    events = Counter(one["event"] for one in sent)
    assert (events["submit"], events["answer"], events["report"]) == (30, 30, 30)
    messages = [one for one in taken if one["event"] == "message"]
    assert {one["id"] for one in messages} == {one["id"] for one in sent if one["event"] == "report"}
    assert {one["text"] for one in messages} == set(TEXTS)
    assert set(messages[0]) == {"event", "id", "source", "destination", "text", "part", "answered", "at"}
    assert Counter(one["event"] for one in taken)["report_answer"] == 30
    assert datetime.fromisoformat(messages[0]["at"]).tzinfo is UTC or messages[0]["at"].endswith("+00:00")


@every_kind
def test_a_wrong_secret_is_no_way_in(kind: tuple[str, str]) -> None:
    smsc, done = talk(kind, {}, secret=b"wrong")
    assert not done.is_logged_in
    assert "refused" in done.problem
    assert smsc.summary()["logins_refused"] == 1
    assert done.submitted == 0


def test_nobody_there_is_said() -> None:
    done = run(SpSimulator(sp_options(("smpp", ""), free_port())).run)
    assert done.problem
    assert not done.is_logged_in


def test_a_provider_of_cmpp_3_is_told_that_2_is_spoken_here() -> None:
    async def story() -> SpSummary:
        async with SmscSimulator(smsc_options(("cmpp", "2"))) as smsc:
            return await SpSimulator(sp_options(("cmpp", "3"), smsc.port)).run()

    assert "code 4" in run(story).problem


def test_tls(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    more = {"tls_certificate": certificate, "tls_key": key}
    _, done = talk(("smpp", "3.4"), dict(more), tls=True, tls_authority=certificate)
    assert done.reports == {"DELIVRD": 30}
    _, refused = talk(("smpp", "3.4"), dict(more), tls=True)  # nobody vouches for it
    assert "certificate" in refused.problem


def self_signed(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "simulator")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, secret


def test_several_share_a_port_and_never_an_id() -> None:
    async def story() -> None:
        first = SmscSimulator(smsc_options(("cmpp", "3"), share_port=True))
        async with first:
            listen = f"127.0.0.1:{first.port}"
            async with SmscSimulator(smsc_options(("cmpp", "3"), share_port=True, listen=listen)) as second:
                done = await SpSimulator(sp_options(("cmpp", "3"), first.port, connections=4)).run()
                assert (done.accepted, done.ids_repeated) == (30, 0)
                assert len(first.received) + len(second.received) == 30

    run(story)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"protocol": "ucp"}, "protocol"),
        ({"version": "9"}, "version"),
        ({"connect": "nowhere"}, "--connect"),
        ({"to": "1380000000000"}, "--to"),
        ({"to_file": Path("/nowhere")}, "--to-file"),
        ({"long_share": 2.0}, "--long-share"),
        ({"encoding": "utf8"}, "--encoding"),
        ({"window": 0}, "--window"),
        ({"sar": True}, "--sar"),
        ({"listen": "127.0.0.1:1"}, "--listen"),
        ({"source": "1" * 22}, "src_id"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(BadValue, match=named):
        SpSimulator(sp_options(("cmpp", "3"), 1, **wrong))
    if "protocol" in wrong or "version" in wrong:
        with pytest.raises(BadValue, match=named):
            SmscSimulator(replace(smsc_options(("cmpp", "3")), **wrong))
