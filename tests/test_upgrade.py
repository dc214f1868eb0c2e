"""A data directory of the previous release goes on: verified, served, searched, decided on, backed up and restored."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode

import pytest

from mingbai.ledger import KeyStore, StreamReader, verify
from tests.test_server import Serving, until

pytestmark = [pytest.mark.slow]
PREVIOUS = Path(__file__).parent / "data" / "release-0.1.0"


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    shutil.copytree(PREVIOUS, data)
    for path in [data, *data.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    return data


class Browser:
    """Somebody who signs in by the one-time link."""

    def __init__(self, link: str) -> None:
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self._root = link.split("/welcome/")[0]
        page = self.get(link)
        token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[0]
        word = "correct horse battery"
        self.get(link, {"csrfmiddlewaretoken": token, "password": word, "again": word})

    def get(self, path: str, fields: dict[str, str] | None = None) -> str:
        url = path if path.startswith("http") else self._root + path
        body = urlencode(fields).encode() if fields is not None else None
        with self._open.open(urllib.request.Request(url, body, {"Accept-Language": "en"}), timeout=30) as answer:
            return str(answer.read().decode())


@pytest.fixture
def serving(previous: Path, tmp_path: Path) -> Iterator[Serving]:
    found = Serving(previous, tmp_path / "log")
    try:
        until(lambda: "Ctrl-C" in found.said(), "it says where it is")
        yield found
    finally:
        found.stop()


def mingbai(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mingbai.cli", *(str(argument) for argument in arguments)]
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=env, check=False)


def test_what_the_previous_release_recorded_is_served_backed_up_and_restored(serving: Serving, tmp_path: Path) -> None:
    data = serving.data
    (link,) = re.findall(r"http://\S+/welcome/\S+", serving.said())
    admin = Browser(link)
    page = admin.get("/messages/")
    assert "1069" in page  # decisions of 0.1.0, numbers masked
    until(lambda: (data / "run" / "pulse.json").exists(), "the worker follows the old ledger")

    done = mingbai("backup", tmp_path / "copy.tar", "--data", data)
    assert done.returncode == 0, done.stderr
    assert "batch" in done.stdout
    assert serving.stop() == 0
    assert verify(data).ok

    done = mingbai("restore", tmp_path / "copy.tar", "--data", tmp_path / "restored")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verify" in done.stdout
    keys = KeyStore.open_or_create(tmp_path / "restored" / "keys.json")
    texts = [
        row["text"]
        for _, originals in StreamReader(tmp_path / "restored", "batch", keys).entries_with_originals(["seq", "kind"])
        for row in originals.to_pylist()
    ]
    assert any("代开各类发票" in (text or "") for text in texts)

    again = Serving(tmp_path / "restored", tmp_path / "again.log")
    try:
        until(lambda: "Ctrl-C" in again.said(), "the copy is served")
        assert "welcome" not in again.said()  # the administrator is in the copy
    finally:
        again.stop()


def test_the_previous_release_still_verifies_by_the_new_one(previous: Path) -> None:
    report = verify(previous)
    assert report.ok, report.findings
    assert report.streams[0].rows > 5
