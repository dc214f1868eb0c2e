"""The whole console in a real browser: a `mingbai serve` with people and traffic, and Chromium in front of it.

`world` is made once for a run. Whatever a page says to the browser's console (an error in a script, something that the
policy forbade), and whatever it asks of another address, is kept and fails the test that opened it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from mingbai.connectors.screening_client import ScreeningClient
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Verdict
from tests.conftest import LOOPS
from tests.console.world import PLACES
from tests.test_server import free_port, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Request, Response

AXE = Path(__file__).with_name("axe.min.js")
PATIENCE_S = 240.0  # a first start compiles the engine
WIDTHS = {"desktop": 1440, "tablet": 768, "phone": 390}
MOST_TABS = 250  # a page with more stops than this is not for people who have no mouse


def told(turn: int) -> pytest.MarkDecorator:
    """Where a story happens that changes something: in each language, at a desk and on a phone.

    `dev.py soak` tells it in all four places, `dev.py test` in two that differ in both, by turns.
    """
    places = PLACES if LOOPS >= 1 else PLACES[turn % 2 :: 2]
    return pytest.mark.parametrize(("language", "device"), places)


@dataclass
class World:
    """A running console: where it is, a session of each of its people, and a door to the screener."""

    url: str
    data: Path
    sessions: dict[str, str]
    access_code: str  # of the service provider
    number: str  # of the subscriber
    links: dict[str, str]  # of newcomers, one for each of PLACES: language-device -> one-time link
    candidate: str  # version of a model that is not in force
    gateway: dict[str, int]  # protocol -> port
    client: ScreeningClient

    def screen(self, texts: Sequence[str], **columns: str) -> list[str]:
        """Have messages decided now, with the same sender, receiver, access code for all; their ids."""
        batch = {"text": list(texts), **{name: [value] * len(texts) for name, value in columns.items()}}
        return [str(one) for one in self.client.screen(pa.record_batch(batch)).ids]

    def verdict(self, text: str, **columns: str) -> Verdict:
        batch = pa.record_batch({"text": [text], **{name: [value] for name, value in columns.items()}})
        return Verdict(self.client.screen(batch).decisions.column("verdict")[0].as_py())


@contextmanager
def serving(data: Path, *, gateway_workers: int = 0) -> Iterator[World]:
    """Make the people and the traffic, start `mingbai serve`, stop it at the end."""
    env = {**os.environ, "LC_ALL": "C.UTF-8", "MINGBAI_CONSOLE__REQUIRE_SECOND_FACTOR": "false"}
    for name in ("DJANGO_SETTINGS_MODULE", "MINGBAI_DATA", "MINGBAI_DATABASE_URL"):
        env.pop(name, None)
    made = subprocess.run(
        [sys.executable, "-m", "tests.console.world", str(data)],
        env=env, stdout=subprocess.PIPE, timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    known = json.loads(made.stdout)
    known["gateway"] = {name: free_port() for name in ("cmpp", "sgip", "smgp", "smpp", "http", "metrics")}
    env |= {f"MINGBAI_GATEWAY__{name.upper()}": f"127.0.0.1:{port}" for name, port in known["gateway"].items()}
    env["MINGBAI_GATEWAY__WORKERS"] = str(gateway_workers)
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mingbai.cli", "serve", "--data", str(data), "--console", address]
    with (data / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    client = ScreeningClient(data)
    try:
        client.wait_until_ready(PATIENCE_S)
        until(lambda: "Ctrl-C" in (data / "serve.log").read_text(errors="replace"), "the console says where it is")
        yield World(url=f"http://{address}", data=data, client=client, **known)
    finally:
        client.close()
        process.terminate()
        process.wait(40)


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="mingbai-story-"))
    try:
        with serving(folder / "data") as found:
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as driver, pytest.MonkeyPatch.context() as patch:
        # The driver keeps an event loop in this thread; the tests themselves are not asynchronous.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@dataclass
class Visit:
    """One person at one browser; what went wrong in it."""

    world: World
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go there; the page must answer below 400."""
        answer = self.page.goto(self.world.url + path)
        assert answer is not None
        assert answer.status < 400, f"{path}: {answer.status}"
        return self.page

    def fragment(self, part: str) -> str:
        return self.page.inner_text(part)

    def watch(self) -> None:
        page = self.page
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._note_request)
        page.on("response", self._note_response)

    def _note_request(self, request: Request) -> None:
        if urlsplit(request.url).netloc not in ("", urlsplit(self.world.url).netloc):
            self.complaints.append(f"asked of another origin: {request.url}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 500:
            self.complaints.append(f"{response.status}: {response.request.method} {response.url}")


@pytest.fixture
def visit(world: World, chromium: Browser) -> Iterator[Callable[..., Visit]]:
    """`visit("auditor", "zh", "phone", theme="dark")`: somebody signed in at a browser; "" is nobody."""
    opened: list[Visit] = []

    def make(who: str = "", language: str = "en", device: str = "desktop", theme: str = "light") -> Visit:
        found = sit_down(world, chromium, who, language, WIDTHS[device], theme)
        opened.append(found)
        return found

    yield make
    for one in opened:
        one.context.close()
    assert [said for one in opened for said in one.complaints] == []


def sit_down(
    world: World, chromium: Browser, who: str = "", language: str = "en", width: int = 1440, theme: str = "light",
    height: int = 900, **more: Any,
) -> Visit:  # Any: what a context of the driver takes  # fmt: skip
    context = chromium.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        locale="zh-CN" if language == "zh" else "en-US",
        timezone_id="Asia/Shanghai",
        has_touch=width < 500,
        reduced_motion="reduce",  # what is read is the end of a change of colour, not its middle
        **more,
    )
    if who:
        cookie = {"name": "mingbai_session", "value": world.sessions[who], "url": world.url}
        context.add_cookies([cookie])  # type: ignore[list-item]  # a TypedDict of the driver
    page = context.new_page()
    page.set_default_timeout(90_000)
    found = Visit(world, context, page)
    found.watch()
    return found


def reach(page: Page, target: str) -> None:
    """Go on by the Tab key until the focus is on what this CSS selector names."""
    for _press in range(MOST_TABS):
        if page.evaluate("target => document.activeElement.matches(target)", target):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{page.url}: no way to {target} by the Tab key")


def follow(page: Page, target: str) -> None:
    """Reach a link or a button, press Enter, and wait for the page it leads to."""
    reach(page, target)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def choose(page: Page, target: str, value: str) -> None:
    """Reach a list of choices and go down in it until this value stands there."""
    reach(page, target)
    page.keyboard.press("Home")
    for _press in range(page.locator(f"{target} option").count()):
        if page.input_value(target) == value:
            return
        page.keyboard.press("ArrowDown")
    raise AssertionError(f"{page.url}: {target} has no {value}")


def eventually(claim: Callable[[], Any], what: str, seconds: float = 120.0) -> Any:  # Any: whatever is truthy
    """What `claim` gives as soon as it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError):
            if found := claim():
                return found
        time.sleep(0.1)
    raise AssertionError(f"in {seconds:g} s it was never so: {what}")


def axe(page: Page) -> list[str]:
    """What axe-core finds, by rule and place. Evaluated by the driver: the page's policy stays in force."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    result = page.evaluate("axe.run()")
    return [f"{one['id']}: {node['html'][:160]}" for one in result["violations"] for node in one["nodes"]]


def now_text() -> str:
    """Something that no other message holds."""
    return re.sub(r"\D", "", utc_now().isoformat())[-12:]
