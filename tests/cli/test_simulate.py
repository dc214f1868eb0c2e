"""The simulators as programs: an SMSC and a provider, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Run, command


@contextmanager
def smsc(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and where it listens."""
    process = subprocess.Popen(
        command("simulate", "smsc", "--login", "9001", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "LC_ALL": "C.UTF-8", "SMSC_SECRET": "明1"},
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"127\.0\.0\.1:\d+", said)
        assert found is not None, said + process.stderr.read()
        yield process, found[0]
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


@pytest.mark.parametrize("protocol", ["cmpp", "smgp", "smpp"])
def test_a_provider_talks_to_an_smsc_until_that_is_told_to_stop(run: Run, tmp_path: Path, protocol: str) -> None:
    texts, log = tmp_path / "texts.tsv", tmp_path / "smsc.jsonl"
    texts.write_text("ham\tmeeting at 3\nspam\t【明白】您的验证码是1234\n", encoding="utf-8")
    with smsc("--protocol", protocol, "--secret-env", "SMSC_SECRET", "--log", log) as (process, place):
        ran = run(
            *("simulate", "sp", "--protocol", protocol, "--connect", place, "--login", "9001", "--secret", "明1"),
            *("--count", 40, "--texts", texts, "--want-reports", "--json"),
        )
        assert (ran.code, ran.err) == (0, "")
        summary = json.loads(ran.out)
        assert (summary["submitted"], summary["accepted"], summary["reports"]) == (40, 40, {"DELIVRD": 40})
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
        said = json.loads(out)
        assert (said["received"], said["reports_answered"]) == (40, 40)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    arrived = [line["text"] for line in lines if line["event"] == "message"]
    assert sorted(set(arrived)) == ["meeting at 3", "【明白】您的验证码是1234"]
    assert len(arrived) == 40


def test_a_person_reads_the_summary_and_a_wrong_secret_is_said(run: Run) -> None:
    with smsc("--protocol", "cmpp", "--secret", "right", "--refuse-share", 1, "--refuse-code", 45) as (_, place):
        given = ("simulate", "sp", "--protocol", "cmpp", "--connect", place, "--login", "9001", "--count", 5)
        ran = run(*given, "--secret", "right", "--encoding", "ascii", "--lang", "zh")
        assert ran.code == 0
        assert "提交: 5" in ran.out
        assert "拒收，cmpp result 45: 5" in ran.out
        ran = run(*given, "--secret", "wrong", "--encoding", "ascii")
        assert (ran.code, ran.out) == (2, "")
        assert "could not log in: " in ran.err
        assert place in ran.err


def test_an_smsc_ends_by_itself_after_its_seconds(program: Run) -> None:
    ran = program("simulate", "smsc", "--protocol", "smpp", "--login", "a", "--secret", "b", "--seconds", 0.2)
    assert ran.code == 0
    assert json.loads(ran.out)["received"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("smsc", "--protocol", "cmpp", "--login", "a"), "--secret"),
        (("smsc", "--protocol", "cmpp", "--login", "a", "--secret", "b", "--secret-env", "C"), "--secret"),
        (("smsc", "--protocol", "cmpp", "--login", "a", "--secret-env", "NO_SUCH_NAME"), "NO_SUCH_NAME"),
        (("smsc", "--protocol", "ucp", "--login", "a", "--secret", "b"), "cmpp, sgip, smgp or smpp"),
        (("smsc", "--protocol", "cmpp", "--login", "a", "--secret", "b", "--listen", "192.0.2.1:1"), "--listen"),
        (("smsc", "--protocol", "cmpp", "--login", "a", "--secret", "b", "--log", "/nowhere/log"), "--log"),
        (("smsc", "--protocol", "cmpp", "--login", "a", "--secret", "b", "--tls-cert", "/nowhere"), "--tls-cert"),
        (("sp", "--protocol", "cmpp", "--login", "a", "--secret", "b", "--connect", "x"), "--connect"),
        (
            ("sp", "--protocol", "cmpp", "--login", "a", "--secret", "b", "--connect", "x:1", "--texts", "/nowhere"),
            "--texts",
        ),
    ],
)
def test_wrong_arguments_are_named(run: Run, arguments: tuple[str, ...], said: str) -> None:
    ran = run("simulate", *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_provider_that_is_told_to_stop_says_how_far_it_came(tmp_path: Path) -> None:
    log = tmp_path / "smsc.jsonl"
    with smsc("--protocol", "smgp", "--secret", "x", "--log", log) as (_, place):
        process = subprocess.Popen(
            command(
                *("simulate", "sp", "--protocol", "smgp", "--connect", place, "--login", "9001", "--secret", "x"),
                *("--count", 100_000, "--rate", 50, "--encoding", "ascii", "--json"),
            ),
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            deadline = time.monotonic() + 30
            while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0
    said = json.loads(out)
    assert 0 < said["submitted"] < 100_000
    assert said["accepted"] == said["submitted"]


def test_reports_of_sgip_are_brought_to_the_provider(run: Run) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        back = f"127.0.0.1:{probe.getsockname()[1]}"
    with smsc("--protocol", "sgip", "--secret", "x", "--report-to", back) as (_, place):
        ran = run(
            *("simulate", "sp", "--protocol", "sgip", "--connect", place, "--login", "9001", "--secret", "x"),
            *("--count", 20, "--encoding", "ascii", "--want-reports", "--listen", back, "--json"),
        )
    assert ran.code == 0
    said = json.loads(ran.out)
    assert said["messages"] == 20
    assert said["reports"] == {"DELIVRD": said["submitted"]}  # a long one has a report for each part
