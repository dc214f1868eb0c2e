"""`mingbai serve` as a real tree of processes: it starts, says the one-time link, survives kill -9, stops in order."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from mingbai.connectors.screening_client import ScreeningClient

pytestmark = [pytest.mark.slow]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Serving:
    """A running `mingbai serve`."""

    def __init__(self, data: Path, log: Path) -> None:
        self.data, self.log, self.port = data, log, free_port()
        env = {**os.environ, "LC_ALL": "C.UTF-8", "MINGBAI_CONSOLE__REQUIRE_SECOND_FACTOR": "false"}
        env.pop("DJANGO_SETTINGS_MODULE", None)
        command = [sys.executable, "-m", "mingbai.cli", "serve", "--data", str(data)]
        command += ["--console", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, env=env, stdout=log.open("wb"), stderr=subprocess.STDOUT)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return str(answer.read().decode())

    def parts(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self.data / "run" / "parts.json").read_text())
        return found

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(90)


def until(claim: Callable[[], object], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if claim():
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.1)
    raise AssertionError(f"in {seconds:g} s it was never so: {what}")


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    found = Serving(tmp_path / "data", tmp_path / "log")
    try:
        until(lambda: "ok" in found.get("/healthz"), "the console answers")
        until(lambda: "Ctrl-C" in found.said(), "it says where it is")
        yield found
    finally:
        found.stop()


def test_the_first_start_gives_a_link_that_works_once(serving: Serving) -> None:
    (link,) = re.findall(r"http://\S+/welcome/\S+", serving.said())
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def page(path: str, fields: dict[str, str] | None = None) -> tuple[int, str]:
        from urllib.parse import urlencode

        body = urlencode(fields).encode() if fields is not None else None
        request = urllib.request.Request(path, body, {"Accept-Language": "en"})
        try:
            with browser.open(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    status, first = page(link)
    assert status == 200
    token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', first)[0]
    weak = {"csrfmiddlewaretoken": token, "password": "12345", "again": "12345"}
    assert page(link, weak)[0] == 200  # stays on the page: too weak
    strong = {"csrfmiddlewaretoken": token, "password": "correct horse battery", "again": "correct horse battery"}
    assert page(link, strong)[0] == 200
    status, people = page(link.split("/welcome/")[0] + "/people/")
    assert status == 200
    assert 'name="login"' not in people  # signed in as an administrator, not asked to sign in
    assert page(link)[0] == 410
    assert page(link, strong)[0] in (403, 410)

    assert serving.stop() == 0
    again = Serving(serving.data, serving.log)
    try:
        until(lambda: "Ctrl-C" in again.said(), "it says where it is")
        assert "welcome" not in again.said()  # there is an administrator now
    finally:
        again.stop()


def test_a_second_serve_on_the_same_data_is_refused(serving: Serving, tmp_path: Path) -> None:
    other = Serving(serving.data, tmp_path / "other.log")
    assert other.process.wait(120) == 2
    assert "another `mingbai serve`" in other.said()
    assert "ok" in serving.get("/healthz")


def test_an_address_in_use_is_said_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "mingbai.cli", "serve", "--data", str(tmp_path / "d"), "--console", address]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={**os.environ, "LC_ALL": "C.UTF-8"}, check=False
        )
    assert done.returncode == 2
    assert "console.address" in done.stderr
    assert address in done.stderr


@pytest.mark.parametrize("part", ["web", "worker", "screener"])
def test_a_part_that_is_killed_comes_back_and_the_others_stay(serving: Serving, part: str) -> None:
    until(lambda: len(serving.parts()) == 3, "three parts run")
    before = serving.parts()
    below = children(before[part])
    assert bool(below) == (part == "web")
    os.kill(before[part], signal.SIGKILL)
    until(lambda: serving.parts().get(part) not in (None, before[part]), f"{part} runs again")
    until(lambda: not alive(below), "what it had started has ended")
    until(lambda: "ok" in serving.get("/healthz"), "the console answers")
    after = serving.parts()
    assert {name: pid for name, pid in after.items() if name != part} == {
        name: pid for name, pid in before.items() if name != part
    }


def test_when_the_supervisor_is_killed_nothing_stays_behind(serving: Serving) -> None:
    until(lambda: len(serving.parts()) == 3, "three parts run")
    pids = [*serving.parts().values()]
    pids += [child for pid in pids for child in children(pid)]
    serving.process.kill()
    serving.process.wait(10)
    until(lambda: not alive(pids), "its parts have ended")


_FORKS = """
import os, signal, sys, time
from mingbai import server
signal.signal(signal.SIGTERM, lambda number, frame: None)  # as a web server that notes it and looks later
server._end_forks_too()
if not (child := os.fork()):
    print("begun", flush=True)
    time.sleep(60)  # it loads its pages: its own handlers are not there yet
    os._exit(7)
sys.stdin.read(1)
os.kill(child, signal.SIGTERM)
print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


def test_a_process_that_is_still_loading_heeds_a_stop() -> None:
    """It must not take the signal with the handler of the one that forked it, which would be waited for for ever."""
    with subprocess.Popen(
        [sys.executable, "-c", _FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        said, _ = process.communicate("x", timeout=50)
    assert int(said) == signal.SIGTERM


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.append(pid)
    return found


def test_a_stop_is_clean(serving: Serving) -> None:
    until(lambda: len(serving.parts()) == 3, "three parts run")
    with closing(ScreeningClient(serving.data)) as client:
        client.wait_until_ready(120)
        client.status()  # its connection stays open
        assert serving.stop() == 0
    assert "Traceback" not in serving.said()
    assert (serving.data / "keys.json").stat().st_mode & 0o077 == 0 if (serving.data / "keys.json").exists() else True
    assert (serving.data / "console.key").stat().st_mode & 0o077 == 0
