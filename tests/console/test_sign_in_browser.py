"""A passkey, from the first link to the next sign-in, in a real browser with a virtual authenticator (WebAuthn level 3,
section 11; Chrome DevTools Protocol, domain WebAuthn)."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.urls import reverse

from mingbai.contexts.audit import queries as audit
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.services import accounts
from mingbai.kernel.clock import utc_now
from tests.conftest import PASSWORD

pytestmark = [pytest.mark.slow, pytest.mark.needs("chromium"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(live_server: Any) -> Iterator[Any]:  # Any: playwright and pytest-django, used in this file only
    """A page of a browser that has an authenticator built in: it says yes at once."""
    from playwright.sync_api import sync_playwright

    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # playwright runs a loop in this thread; Django would refuse
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            context = browser.new_context(locale="en-US")
            page = context.new_page()
            session = context.new_cdp_session(page)
            session.send("WebAuthn.enable")
            session.send(
                "WebAuthn.addVirtualAuthenticator",
                {
                    "options": {
                        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True,
                        "hasUserVerification": True, "isUserVerified": True, "automaticPresenceSimulation": True,
                    }
                },
            )  # fmt: skip
            page.set_default_timeout(20_000)
            yield page
            browser.close()
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def test_a_new_administrator_comes_in_by_link_and_passkey(
    page: Any, live_server: Any, account: Callable[..., Account], settings: Any
) -> None:
    console = settings.MINGBAI.console.model_copy(update={"require_second_factor": True})
    settings.MINGBAI = settings.MINGBAI.model_copy(update={"console": console})
    address = live_server.url.replace("127.0.0.1", "localhost")  # a passkey belongs to a name, not to an address
    who = account("administrator", username="chen")
    secret = accounts.invite(who, actor="system", now=utc_now())

    page.goto(f"{address}{reverse('welcome', args=[secret])}")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Set the password").click()
    page.wait_for_url(re.compile(reverse("second_factor")))
    page.get_by_role("link", name=re.compile("Passkey")).click()
    page.wait_for_url(re.compile(reverse("mfa_add_webauthn")))
    page.get_by_label("Name").fill("laptop")
    if page.locator("input[name=passwordless]").count():
        page.locator("input[name=passwordless]").check()
    page.locator("#mfa_webauthn_add, button[type=submit], form button").last.click()
    page.wait_for_url(re.compile("/accounts/2fa/"))
    page.wait_for_load_state()
    page.goto(f"{address}{reverse('my_account')}")
    assert page.get_by_role("heading", name="My account").is_visible()
    assert audit.entries(kinds=["factor.added"], subject=who.ref).exists()

    page.context.clear_cookies()
    page.goto(f"{address}{reverse('account_login')}?next={reverse('my_account')}")
    page.get_by_role("button", name=re.compile("passkey", re.IGNORECASE)).click()
    page.wait_for_url(lambda url: urlsplit(url).path == reverse("my_account"))
    assert page.get_by_role("heading", name="My account").is_visible()
