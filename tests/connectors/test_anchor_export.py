"""Anchors leave the house: real mail and web servers on loopback take them, refuse them, or stall."""

from __future__ import annotations

import email
import email.policy
import json
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pyarrow as pa
import pytest
from aiosmtpd.smtp import Envelope
from pydantic import SecretStr

from mingbai.connectors.anchor_export import (
    AnchorStateUnusable,
    Delivery,
    export_heads,
    is_export_due,
    sign_and_export,
)
from mingbai.connectors.ledger_access import open_ledger
from mingbai.ledger import Head, StreamReader, read_anchors, verify
from mingbai.settings import AnchorSettings, Settings
from tests.peers.mail import PASSWORD, USER, free_port, mail_server, make_certificate, stalling_server, web_server

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 24, 8, 30, tzinfo=UTC)
KEEPER = "keeper@regulator.example"


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's TLS, with a certificate that this process trusts."""
    context = make_certificate(tmp_path / "localhost.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "localhost.pem"))
    return context


def settings_with(tmp_path: Path, **anchors: object) -> Settings:
    return Settings(data=tmp_path / "data", anchors=AnchorSettings.model_validate(anchors))


def mail_settings(tmp_path: Path, url: str, **more: object) -> Settings:
    return settings_with(tmp_path, mail_to=KEEPER, mail_from="mingbai@operator.example", smtp_url=url, **more)


def new_head(settings: Settings, stream: str = "batch", now: datetime = NOW) -> Head:
    """One more decision, and the head that covers it."""
    decision = pa.record_batch(
        {
            "verdict": pa.array([3], pa.uint8()),
            "category": pa.array([3], pa.uint8()),
            "score": pa.array([0.9], pa.float32()),
        }
    )
    with open_ledger(settings, now=now, stream=stream) as ledger:
        ledger.record(decision, now=now)
        return ledger.sign_head(now=now)


def export(settings: Settings, *heads: Head, now: datetime = NOW) -> Delivery:
    (delivery,) = export_heads(settings, heads, now=now)
    return delivery


def parts(envelope: Envelope) -> tuple[EmailMessage, bytes, str]:
    """A mail, the content of its one attachment, and that one's name."""
    assert isinstance(envelope.content, bytes)
    mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    (attachment,) = mail.iter_attachments()
    content = attachment.get_content()
    assert isinstance(content, bytes)
    return mail, content, attachment.get_filename() or ""


def state_of(settings: Settings) -> dict[str, list[dict[str, list[str]]]]:
    content: dict[str, list[dict[str, list[str]]]] = json.loads((settings.data / "anchors/state.json").read_bytes())
    return content


# -- mail --


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_mail_goes_encrypted_and_its_attachment_verifies_the_ledger(
    tmp_path: Path, tls: ssl.SSLContext, scheme: str
) -> None:
    with mail_server(starttls=tls if scheme == "smtp" else None, tls=tls if scheme == "smtps" else None) as (port, box):
        login = {"smtp_user": USER, "smtp_password": PASSWORD} if scheme == "smtp" else {}
        settings = mail_settings(tmp_path, f"{scheme}://localhost:{port}", **login)
        head = new_head(settings)
        delivery = export(settings, head)
    assert (delivery.error, delivery.taken, delivery.waiting) == (None, (head,), 0)
    (envelope,) = box.mails
    assert envelope.rcpt_tos == [KEEPER]
    assert box.logins == (["good"] if scheme == "smtp" else [])
    mail, content, name = parts(envelope)
    assert name == "mingbai-anchor-20261124T083000Z.jsonl"
    body = mail.get_body()
    assert body is not None
    assert "mingbai ledger verify --anchor FILE" in body.get_content()
    assert "请妥善保存" in body.get_content()
    saved = tmp_path / name
    saved.write_bytes(content)
    (report,) = verify(settings.data, anchor=saved).streams
    assert (report.findings, report.anchored_seq) == ([], head.seq)
    # ... and finds what was cut off since
    (segment,) = (settings.data / "ledger/batch/entries").iterdir()
    segment.write_bytes(segment.read_bytes()[:-1000])
    assert not verify(settings.data, anchor=saved).ok


def test_a_refused_login_is_named_and_the_anchor_waits(tmp_path: Path, tls: ssl.SSLContext) -> None:
    with mail_server(starttls=tls) as (port, box):
        url = f"smtp://localhost:{port}"
        settings = mail_settings(tmp_path, url, smtp_user=USER, smtp_password="wrong")
        head = new_head(settings)
        delivery = export(settings, head)
        assert delivery.error is not None
        assert str(delivery.error) == f"mail to {KEEPER} did not take the anchor: the login was refused (535)"
        assert delivery.waiting == 1
        assert not box.mails
        mended = mail_settings(tmp_path, url, smtp_user=USER, smtp_password=PASSWORD)
        assert export(mended).taken == (head,)
    assert parts(box.mails[0])[1] == head.to_json() + b"\n"


def test_neither_password_nor_mail_crosses_a_network_in_the_clear(tmp_path: Path) -> None:
    with mail_server() as (port, box):  # offers no STARTTLS; 127.1 is loopback, but not known by that name
        settings = mail_settings(tmp_path, f"smtp://127.1:{port}", smtp_user=USER, smtp_password=PASSWORD)
        delivery = export(settings, new_head(settings))
    assert delivery.error is not None
    assert "no encryption" in str(delivery.error)
    assert (box.mails, box.logins) == ([], [])


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    stranger = make_certificate(tmp_path / "stranger.pem")
    with mail_server(tls=stranger) as (port, box):
        settings = mail_settings(tmp_path, f"smtps://localhost:{port}")
        delivery = export(settings, new_head(settings))
    assert delivery.error is not None
    assert "certificate is not valid" in str(delivery.error)
    assert not box.mails


def test_each_mailbox_is_a_target_of_its_own(tmp_path: Path) -> None:
    with mail_server() as (port, box):
        box.refused.add("gone@regulator.example")
        anchors = {"mail_to": f"gone@regulator.example, {KEEPER}", "mail_from": "m@operator.example"}
        settings = settings_with(tmp_path, smtp_url=f"smtp://localhost:{port}", **anchors)
        head = new_head(settings)
        gone, kept = export_heads(settings, [head], now=NOW)
        assert gone.error is not None
        assert "the mailbox was refused (550)" in str(gone.error)
        assert kept.taken == (head,)
        assert [item["targets"] for item in state_of(settings)["waiting"]] == [["mail:gone@regulator.example"]]
        export_heads(settings, [], now=NOW)
        assert len(box.mails) == 1  # who has it does not get it again


def test_what_was_missed_while_the_server_was_down_comes_with_the_next_mail(tmp_path: Path) -> None:
    port = free_port()
    settings = mail_settings(tmp_path, f"smtp://localhost:{port}")
    first = new_head(settings)
    missed = export(settings, first)
    assert missed.error is not None
    assert "refused" in str(missed.error).lower()
    later = NOW + timedelta(hours=1)
    second = new_head(settings, now=later)
    with mail_server(port=port) as (_, box):
        assert export(settings, second, now=later).taken == (first, second)
    (envelope,) = box.mails
    content = parts(envelope)[1]
    assert read_anchors(content) == [first, second]
    (report,) = verify(settings.data, anchor=content).streams
    assert (report.anchors, report.anchored_seq) == (2, second.seq)
    assert state_of(settings)["waiting"] == []


@pytest.mark.parametrize("dribble", [b"", b"220-wait\r\n"], ids=["silent", "dribbling"])
def test_a_mail_server_that_stalls_is_given_up(tmp_path: Path, dribble: bytes) -> None:
    with stalling_server(dribble) as port:
        settings = mail_settings(tmp_path, f"smtp://localhost:{port}", timeout_s=1)
        delivery = export(settings, new_head(settings))
    assert delivery.error is not None
    assert str(delivery.error).endswith("no answer within 1 s")
    assert delivery.waiting == 1


# -- web-hook --


def test_a_web_hook_gets_the_document_its_event_and_its_signature(tmp_path: Path, tls: ssl.SSLContext) -> None:
    with web_server(tls=tls) as (port, posts):
        settings = settings_with(tmp_path, webhook_url=f"https://localhost:{port}/hook?token=s3cret")
        head = new_head(settings)
        delivery = export(settings, head)
    assert (delivery.error, delivery.taken) == (None, (head,))
    assert posts.paths == ["/hook?token=s3cret"]
    (body,), (headers,) = posts.bodies, posts.headers
    assert Head.from_document(json.loads(body)) == head
    assert headers["Content-Type"] == "application/json"
    assert headers["Mingbai-Event"] == "head.exported"
    assert headers["Mingbai-Signature"] == f"ed25519={head.signature.hex()}"
    assert headers["Mingbai-Delivery"] == head.sha256.hex()
    assert verify(settings.data, anchor=body).ok
    assert "s3cret" not in delivery.target + repr(settings)
    assert "s3cret" not in (settings.data / "anchors/state.json").read_text()


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with web_server() as (port, posts):
        posts.answers.append(307)
        settings = settings_with(tmp_path, webhook_url=f"http://127.0.0.1:{port}/hook")
        delivery = export(settings, new_head(settings))
    assert delivery.error is not None
    assert str(delivery.error).endswith("answered 307: redirects are not followed")
    assert posts.paths == ["/hook"]


def test_a_web_hook_that_fails_half_way_goes_on_where_it_failed(tmp_path: Path) -> None:
    with web_server() as (port, posts):
        posts.answers += [503, 200, 500]
        settings = settings_with(tmp_path, webhook_url=f"http://127.0.0.1:{port}/")
        heads = [new_head(settings, now=NOW + timedelta(minutes=minute)) for minute in range(3)]
        assert export(settings, heads[0]).waiting == 1
        half = export(settings, *heads[1:])
        assert (half.taken, half.waiting) == ((heads[0],), 2)
        assert export(settings).taken == (heads[1], heads[2])
        assert export(settings).taken == ()
    assert [json.loads(body)["seq"] for body in posts.bodies] == [heads[i].seq for i in (0, 0, 1, 1, 2)]


@pytest.mark.parametrize("dribble", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["silent", "dribbling"])
def test_a_web_hook_that_stalls_is_given_up(tmp_path: Path, dribble: bytes) -> None:
    with stalling_server(dribble) as port:
        settings = settings_with(tmp_path, webhook_url=f"http://127.0.0.1:{port}/", timeout_s=1)
        delivery = export(settings, new_head(settings))
    assert delivery.error is not None
    assert str(delivery.error).endswith("no answer within 1 s")


# -- file --


def test_a_file_gets_each_anchor_once(tmp_path: Path) -> None:
    target = tmp_path / "share" / "anchors.jsonl"
    settings = settings_with(tmp_path, file=target)
    first, second = new_head(settings), new_head(settings)
    assert export(settings, first).error is not None  # the share is not mounted
    target.parent.mkdir()
    target.write_bytes(first.to_json()[:50])  # what a crash left of a line
    assert export(settings, second).taken == (first, second)
    export(settings, second)
    assert target.read_bytes().splitlines()[1:] == [first.to_json(), second.to_json()]


# -- state --


def test_an_export_is_due_after_the_interval_or_when_something_waits(tmp_path: Path) -> None:
    assert not is_export_due(settings_with(tmp_path), now=NOW)  # no target
    target = tmp_path / "anchors.jsonl"
    settings = settings_with(tmp_path, file=target, interval_s=600)
    assert is_export_due(settings, now=NOW)  # never yet
    assert export(settings, new_head(settings)).error is None
    assert not is_export_due(settings, now=NOW + timedelta(seconds=599))
    assert is_export_due(settings, now=NOW + timedelta(seconds=600))
    target.unlink()
    target.mkdir()
    assert export(settings, new_head(settings)).error is not None
    assert is_export_due(settings, now=NOW + timedelta(seconds=1))


def test_a_target_that_is_not_set_for_a_while_misses_nothing(tmp_path: Path) -> None:
    both = settings_with(tmp_path, file=tmp_path / "a.jsonl", webhook_url=f"http://127.0.0.1:{free_port()}/")
    head = new_head(both)
    taken, failed = export_heads(both, [head], now=NOW)
    assert (taken.error, failed.waiting) == (None, 1)
    only_file = settings_with(tmp_path, file=tmp_path / "a.jsonl")
    export(only_file, new_head(only_file))
    with web_server() as (port, posts):
        again = settings_with(tmp_path, file=tmp_path / "a.jsonl", webhook_url=f"http://127.0.0.1:{port}/")
        export_heads(again, [], now=NOW)
    assert [json.loads(body)["seq"] for body in posts.bodies] == [head.seq]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": 2}', b'{"format": 1, "waiting": [{"head": {}}]}'])
def test_a_damaged_state_is_named_and_never_overwritten(tmp_path: Path, content: bytes) -> None:
    settings = settings_with(tmp_path, file=tmp_path / "a.jsonl")
    head = new_head(settings)
    export(settings, head)
    path = settings.data / "anchors/state.json"
    path.write_bytes(content)
    with pytest.raises(AnchorStateUnusable, match=r"state\.json"):
        export(settings, head)
    with pytest.raises(AnchorStateUnusable):
        is_export_due(settings, now=NOW)
    assert path.read_bytes() == content


def test_the_state_lies_outside_what_the_ledger_verifies(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, file=tmp_path / "a.jsonl")
    export(settings, new_head(settings))
    assert verify(settings.data, anchor=tmp_path / "a.jsonl").ok
    assert (settings.data / "anchors/state.json").stat().st_mode & 0o077 == 0


def test_exports_at_the_same_time_send_each_anchor_once(tmp_path: Path) -> None:
    with web_server() as (port, posts):
        settings = settings_with(tmp_path, webhook_url=f"http://127.0.0.1:{port}/")
        heads = [new_head(settings, f"s{number}") for number in range(6)]
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(lambda head: export(settings, head), heads))
    assert sorted(json.loads(body)["stream"] for body in posts.bodies) == [f"s{number}" for number in range(6)]
    assert state_of(settings)["waiting"] == []


# -- all streams --


def test_every_stream_is_signed_and_the_chain_says_where_its_anchor_went(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, file=tmp_path / "a.jsonl")
    for stream in ("one", "two"):
        new_head(settings, stream)
    exported = sign_and_export(settings, ["one", "two"], clock=lambda: NOW)
    assert exported.ok
    heads = {head.stream: head for head in read_anchors((tmp_path / "a.jsonl").read_bytes())}
    assert set(heads) == {"one", "two"}
    for stream, head in heads.items():
        rows = [row for batch in StreamReader(settings.data, stream).entries() for row in batch.to_pylist()]
        (noted,) = [json.loads(row["data"]) for row in rows if row["kind"] == "head.exported"]
        assert noted == {"to": "file", "seq": head.seq, "head": head.sha256.hex()}


def test_a_stream_that_is_being_written_does_not_hold_up_the_others(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, file=tmp_path / "a.jsonl")
    for stream in ("one", "two"):
        new_head(settings, stream)
    with open_ledger(settings, now=NOW, stream="one"):
        exported = sign_and_export(settings, ["one", "two"], clock=lambda: NOW)
    assert not exported.ok
    assert list(exported.unsigned) == ["one"]
    assert [head.stream for head in read_anchors((tmp_path / "a.jsonl").read_bytes())] == ["two"]


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    settings = mail_settings(tmp_path, "smtp://localhost", smtp_user=USER, smtp_password=PASSWORD)
    assert settings.anchors.smtp_password == SecretStr(PASSWORD)
    assert PASSWORD not in repr(settings) + str(settings)
