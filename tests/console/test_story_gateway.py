"""What people do with the SMS gateway in a browser, with a real gateway, a real provider and a real SMSC behind it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mingbai.connectors import gateway_live
from tests.cli.conftest import command
from tests.console.browser import Visit, World, eventually, now_text, serving, told
from tests.test_server import free_port

pytestmark = [pytest.mark.slow, pytest.mark.needs("chromium")]
SECRET = "s3cret-8"  # SMPP has room for eight octets
PATIENCE_S = 240.0  # a gateway that starts for the first time compiles its engine
STAY = 10**9  # messages: more than anybody waits for


@contextmanager
def simulated(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """`mingbai simulate …` as a process, until it is told to stop."""
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        command("simulate", *arguments), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def smsc(port: int, log: Path, *arguments: object) -> Any:  # Any: a context manager of a process
    place = ("--listen", f"127.0.0.1:{port}")
    return simulated(
        "smsc", "--protocol", "smpp", "--login", "us", "--secret", SECRET, "--log", log, *place, *arguments
    )


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A console with a gateway, which the other stories do without."""
    folder = Path(tempfile.mkdtemp(prefix="mingbai-story-"))
    try:
        with serving(folder / "data", gateway_workers=1) as found:
            eventually(lambda: gateway_live.live(found.data), "the gateway runs", PATIENCE_S)
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def provider(world: World, login: str, texts: Path, *arguments: object) -> Any:  # Any: as above
    place = ("--connect", f"127.0.0.1:{world.gateway['smpp']}", "--login", login, "--secret", SECRET)
    return simulated("sp", "--protocol", "smpp", *place, "--source", "10690001", "--texts", texts, *arguments)


def came(log: Path) -> list[str]:
    """Texts that the SMSC was given."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return [one["text"] for one in found if one["event"] == "message"]


def applied(world: World, tmp_path: Path, name: str, port: int, *, attempts: int = 10) -> None:
    """An account, an SMSC, a route between them and their class, by `mingbai apply`."""
    file = tmp_path / "gateway.toml"
    file.write_text(
        f"""
[[gateway.class]]
name = "{name}"
attempts = {attempts}
[[gateway.smsc]]
name = "{name}"
protocol = "smpp"
login = "us"
secret = "{SECRET}"
address = "127.0.0.1:{port}"
[[gateway.account]]
name = "{name}"
protocol = "smpp"
login = "{name}"
secret = "{SECRET}"
access_codes = ["1069"]
addresses = ["127.0.0.0/8"]
traffic = "{name}"
[[gateway.route]]
name = "{name}"
order = 1
accounts = ["{name}"]
to = ["{name}"]
""",
        encoding="utf-8",
    )
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run(command("apply", file, "--yes", "--data", world.data), env=env, check=True, timeout=120)


def connections(world: World, name: str) -> set[str]:
    """Ids of an account's connections that are logged in."""
    found = [one for worker in gateway_live.live(world.data) for one in worker["connections"]]
    return {one["id"] for one in found if (one["side"], one["name"], one["state"]) == ("account", name, "bound")}


def file_of(tmp_path: Path, *texts: str) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def row_form(seen: Visit, kind: str, given: dict[str, str]) -> None:
    """Fill a new row's form and send it; it must be taken."""
    page = seen.open(f"/gateway/new/{kind}/")
    for field, value in given.items():
        if page.locator(f"select[name={field}]").count():
            page.select_option(f"[name={field}]", value)
        else:
            page.fill(f"[name={field}]", value)
    page.locator("main form .form-actions .btn-primary").click()
    page.wait_for_url(f"**/gateway/{kind}/")


@told(0)
def test_an_account_added_by_the_form_logs_in_is_bounced_and_bypassed(
    world: World, visit: Callable[..., Visit], tmp_path: Path, language: str, device: str
) -> None:
    name, port, log = f"n{now_text()}", free_port(), tmp_path / "smsc.jsonl"
    login = f"l{name[-9:]}"
    admin = visit("admin", language, device)
    with smsc(port, log):
        peer = {"name": name, "protocol": "smpp", "secret": SECRET}
        row_form(admin, "smscs", {**peer, "login": "us", "address": f"127.0.0.1:{port}"})
        row_form(admin, "accounts", {**peer, "login": login, "access_codes": "1069", "addresses": "127.0.0.0/8"})
        row_form(admin, "routes", {"name": name, "order": "1", "to": name, "accounts": name})
        text = f"您的取件码是 {now_text()}"
        with provider(world, login, file_of(tmp_path, text), "--count", STAY, "--rate", 1, "--reconnect"):
            first = eventually(lambda: connections(world, name), "the provider is logged in", PATIENCE_S)
            eventually(lambda: text in came(log), "its message is at the SMSC", PATIENCE_S)
            page = admin.open("/gateway/")
            page.locator(f"a[href='/gateway/accounts/{name}/bounce/']").click()
            page.locator("dialog[open] .btn-primary").click()
            eventually(lambda: connections(world, name) - first, "it has another connection", PATIENCE_S)
    _bypass_and_back(admin, name)


def _bypass_and_back(admin: Visit, name: str) -> None:
    page = admin.open(f"/gateway/accounts/{name}/")
    switch = f"a.btn[href='/gateway/accounts/{name}/mode/']"
    page.locator(switch).click()
    assert not page.locator("#gw-confirm").is_visible()
    page.check("dialog[open] [value=bypass]")
    page.fill("#gw-confirm", "another")
    page.locator("dialog[open] .btn-primary").click()
    page.wait_for_selector("#gw-error")
    admin.complaints.clear()  # a browser says aloud that the server refused
    page.fill("#gw-confirm", name)
    page.locator("dialog[open] .btn-primary").click()
    page.wait_for_selector(f".notice-bad:has-text('{name}')")
    assert name in " ".join(admin.open("/gateway/dead/").locator(".notice-bad").all_inner_texts())
    page = admin.open(f"/gateway/accounts/{name}/")
    page.locator(switch).click()
    page.check("dialog[open] [value=enforce]")
    page.locator("dialog[open] .btn-primary").click()
    page.wait_for_selector(".toast-success")
    assert not page.locator(f".notice-bad:has-text('{name}')").count()


@told(1)
def test_a_dead_letter_is_seen_and_sent_again(
    world: World, visit: Callable[..., Visit], tmp_path: Path, language: str, device: str
) -> None:
    name, port, log = f"n{now_text()}", free_port(), tmp_path / "smsc.jsonl"
    applied(world, tmp_path, name, port, attempts=1)
    texts = [f"您的取件码是 {now_text()}{n}" for n in range(4)]
    admin = visit("admin", language, device)
    chosen = f"tr:has(td:text-is('{name}')) input[name=id]"
    with smsc(port, log, "--rate", 0.01), provider(world, name, file_of(tmp_path, *texts), "--count", len(texts)):
        eventually(lambda: admin.open("/gateway/dead/").locator(chosen).count(), "a dead letter", PATIENCE_S)
    dead = set(texts) - set(came(log))
    with smsc(port, log):
        page = admin.open("/gateway/dead/")
        for box in page.locator(chosen).all():
            box.check()
        page.locator("button[value=resend]").click()
        page.locator("main form .btn-primary").click()
        page.wait_for_url("**/gateway/dead/")
        eventually(lambda: dead & set(came(log)), "it is at the SMSC", PATIENCE_S)


@told(2)
def test_a_held_message_that_a_reviewer_releases_reaches_the_smsc(
    world: World, visit: Callable[..., Visit], tmp_path: Path, language: str, device: str
) -> None:
    name, port, log = f"n{now_text()}", free_port(), tmp_path / "smsc.jsonl"
    applied(world, tmp_path, name, port)
    text = f"客服提醒：请打开共享屏幕办理退款 {now_text()}"
    reviewer = visit("reviewer", language, device)
    with smsc(port, log), provider(world, name, file_of(tmp_path, text), "--count", 1):
        page = reviewer.open("/review/")
        queue = "form:has(input[name=queue][value*='fraud']) button"
        eventually(lambda: page.reload() and page.locator(queue).count(), "something waits", PATIENCE_S)

        def mine_is_here() -> bool:
            """Take what waits, one after the other: what is not ours is left to others."""
            if not page.locator("#decide").count():
                reviewer.open("/review/")
                if not page.locator(queue).count():
                    return False
                page.locator(queue).first.click()
                page.wait_for_selector("#decide, table, .empty")
            if not page.locator("#decide").count():
                return False
            if text in page.inner_text("main"):
                return True
            lease = page.input_value("#decide [name=lease]")
            page.keyboard.press("s")
            page.wait_for_function("old => document.querySelector('#decide [name=lease]')?.value !== old", arg=lease)
            return False

        eventually(mine_is_here, "the message is on the desk", PATIENCE_S)
        assert text not in came(log)
        page.locator("#decide button[value^='allow']").first.click()
        eventually(lambda: text in came(log), "it is at the SMSC", PATIENCE_S)
