"""The rulebook's editor in a real browser, by keyboard alone: proposals, errors at their line, nothing that traps."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from mingbai.contexts.messaging.models import RulebookVersion
from tests.contexts.messaging.screener_process import running_screener
from tests.contexts.messaging.test_rulebook import begin

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs("chromium"), pytest.mark.slow]
_PATIENCE_MS = 120_000


@pytest.fixture
def browser() -> Iterator[Any]:  # Any: playwright's
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as driver, pytest.MonkeyPatch.context() as patch:
        # The driver keeps an event loop in this thread; the test itself is not asynchronous.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


def test_a_rule_is_written_by_keyboard_with_proposals_and_errors_at_their_line(
    browser: Any, live_server: Any, data_dir: Path, client_for: Callable[..., Client]
) -> None:  # Any: playwright's and pytest-django's
    author = client_for("rule_author")
    draft = begin(author)
    context = browser.new_context(locale="en-US")
    cookie = author.cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
    page = context.new_page()
    page.set_default_timeout(_PATIENCE_MS)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    with running_screener(data_dir):
        page.goto(f"{live_server.url}/rulebook/{draft.pk}/")
        page.wait_for_selector(".codebox.is-painted")
        page.focus("#code")
        press, write = page.keyboard.press, page.keyboard.type
        press("Control+End")
        write('\n[[rule]]\nid = "fraud.test"\ncateg')
        page.wait_for_selector("#code-proposals li")
        press("Enter")
        write("frau")
        press("Enter")
        press("End")
        write('\naction = "delete"\n')
        assert page.input_value("#code").endswith('id = "fraud.test"\ncategory = "fraud"\naction = "delete"\n')
        line = page.input_value("#code").rstrip("\n").count("\n") + 1
        page.wait_for_selector(f'.problem[data-line="{line}"]')
        page.wait_for_selector(".codebox-gutter .is-bad")
        press("F8")  # to the first problem; then Tab leaves the editor
        press("Escape")
        press("Tab")
        assert page.evaluate("document.activeElement.id") != "code"
        page.focus("#code")
        press("Control+s")
        page.wait_for_selector("text=Saved.")
        assert "style-src" not in "".join(said) and not said
    draft = RulebookVersion.objects.get(pk=draft.pk)
    assert draft.text.endswith('action = "delete"\n')
    context.close()
