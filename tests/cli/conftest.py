"""The command line as a person meets it: arguments in, text and an exit code out; and as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mingbai.cli import main
from mingbai.cli.words import use_language

SPAM = "【惠民贷】无抵押无担保，黑户白户都能做，当天放款最高50万，加薇信：kd8866，或致电13900001111"
CHAT = "晚上一起吃饭吗？我大概六点半到你家楼下"
RULES = """
[rulebook]
name = "test"
version = "7"
[[rule]]
id = "no-dinners"
category = "spam"
action = "block"
owner = "test team"
reason = "dinners are off"
keywords = ["一起吃饭"]
"""


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory of the test's own; every command takes it by MINGBAI_DATA."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINGBAI_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def run(data: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a command in this process, in English unless `--lang` says otherwise."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("COLUMNS", "120")
    finders = list(sys.meta_path)

    def call(*arguments: object) -> Ran:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    yield call
    sys.meta_path[:] = finders  # a command may shut out packages that other tests use
    use_language("en")


@pytest.fixture
def program(data: Path) -> Run:
    """Run the program as a process of its own."""

    def call(*arguments: object, input: str | None = None, **env: str) -> Ran:
        done = subprocess.run(
            command(*arguments),
            input=input,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env={**os.environ, "LC_ALL": "C.UTF-8", "COLUMNS": "100", **env},
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return call


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mingbai.cli", *(str(argument) for argument in arguments)]


@pytest.fixture
def messages(tmp_path: Path) -> Path:
    """A small file: one offer of a loan, one friend, one empty line's worth of nothing wrong."""
    path = tmp_path / "messages.csv"
    path.write_text(f"text,sender\n{SPAM},13900000001\n{CHAT},13900000002\n", encoding="utf-8")
    return path


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(RULES, encoding="utf-8")
    return path
