"""`mingbai ledger anchor`, and the export at the end of `screen --ledger`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.peers.mail import free_port, web_server

pytestmark = pytest.mark.slow


@pytest.fixture
def recorded(run: Run, messages: Path, data: Path) -> Path:
    assert run("screen", messages, "--ledger", "-o", "o.csv").code == 0
    return data


def test_the_anchor_goes_to_every_target_and_each_is_named(
    run: Run, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web_server() as (port, posts):
        monkeypatch.setenv("MINGBAI_ANCHORS__FILE", str(tmp_path / "anchors.jsonl"))
        monkeypatch.setenv("MINGBAI_ANCHORS__WEBHOOK_URL", f"http://127.0.0.1:{port}/s3cret")
        done = run("ledger", "anchor")
    assert done.code == 0
    assert done.out.splitlines() == [
        f"✓ file {tmp_path / 'anchors.jsonl'}: anchors taken: 1",
        "✓ web-hook at 127.0.0.1: anchors taken: 1",
    ]
    assert len(posts.bodies) == 1
    assert run("ledger", "verify", "--anchor", tmp_path / "anchors.jsonl").code == 0


def test_a_target_that_fails_is_named_and_gets_the_anchor_next_time(
    run: Run, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("MINGBAI_ANCHORS__FILE", str(tmp_path / "anchors.jsonl"))
    monkeypatch.setenv("MINGBAI_ANCHORS__WEBHOOK_URL", f"http://127.0.0.1:{port}/s3cret")
    failed = run("ledger", "anchor")
    assert failed.code == 1
    assert "✓ file" in failed.out
    assert "✕ web-hook at 127.0.0.1 did not take the anchor" in failed.out
    assert "anchors that wait for the next export: 1" in failed.out
    assert "s3cret" not in failed.out + failed.err
    with web_server(port=port) as (_, posts):
        assert run("ledger", "anchor").code == 0
    assert len(posts.bodies) == 2


def test_what_each_target_did_is_told_in_chinese(
    run: Run, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINGBAI_ANCHORS__FILE", str(tmp_path / "a.jsonl"))
    monkeypatch.setenv("MINGBAI_ANCHORS__WEBHOOK_URL", f"http://127.0.0.1:{free_port()}/")
    done = run("--lang", "zh", "ledger", "anchor")
    assert done.out.splitlines() == [
        f"✓ 文件 {tmp_path / 'a.jsonl'}：收下 1 个锚",
        "✕ 网络回调 127.0.0.1 没有收下锚：连接被拒; 1 个锚留待下次再送",
    ]


def test_without_a_target_it_says_what_to_set(run: Run, recorded: Path) -> None:
    done = run("ledger", "anchor")
    assert done.code == 2
    assert "anchors.webhook_url" in done.err


def test_screen_exports_when_the_interval_has_passed_and_only_then(
    run: Run, messages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "anchors.jsonl"
    monkeypatch.setenv("MINGBAI_ANCHORS__FILE", str(target))
    for expected in (1, 1):
        assert run("screen", messages, "--ledger", "-o", "o.csv").code == 0
        assert len(target.read_bytes().splitlines()) == expected
    monkeypatch.setenv("MINGBAI_ANCHORS__INTERVAL_S", "0")
    assert run("screen", messages, "--ledger", "-o", "o.csv").code == 0
    assert len(target.read_bytes().splitlines()) == 2
    assert run("ledger", "verify", "--anchor", target).code == 0


def test_screen_only_warns_when_the_export_fails_and_makes_up_for_it(
    run: Run, messages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("MINGBAI_ANCHORS__WEBHOOK_URL", f"http://127.0.0.1:{port}/")
    done = run("screen", messages, "--ledger", "-o", "o.csv")
    assert done.code == 0
    assert "warning: web-hook at 127.0.0.1 did not take the anchor" in done.err
    with web_server(port=port) as (_, posts):
        again = run("screen", messages, "--ledger", "-o", "o.csv")
    assert again.code == 0
    assert "warning" not in again.err
    assert len(posts.bodies) == 2


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("WEBHOOK_URL", "http://example.org/s3cret", "anchors.webhook_url: got a value that is not shown, expected an"),
        ("WEBHOOK_URL", "https://user:s3cret@example.org/", "anchors.webhook_url: got a value that is not shown"),
        ("SMTP_URL", "smtp://user:s3cret@example.org", "anchors.smtp_url: got a value that is not shown"),
        ("SMTP_URL", "https://example.org", "expected smtp://host:port"),
        ("MAIL_TO", "a@example.org, nobody", "anchors.mail_to: got 'a@example.org, nobody', expected e-mail addresses"),
        ("MAIL_TO", "a@example.org", "anchors.mail_to: needs anchors.smtp_url too"),
        ("SMTP_PASSWORD", "s3cret", "anchors.smtp_password: needs anchors.smtp_user too"),
        ("SMTP_USER", "someone", "anchors.smtp_user: needs anchors.smtp_password too"),
    ],
)  # fmt: skip
def test_a_wrong_setting_stops_the_start_and_shows_no_secret(
    run: Run, messages: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"MINGBAI_ANCHORS__{variable}", value)
    done = run("screen", messages, "--ledger", "-o", "o.csv")
    assert done.code == 2
    assert said in done.err
    assert "s3cret" not in done.err
    assert not Path("o.csv").exists()
