"""Every page in a real Chromium: nothing for axe to find, nothing the policy forbids, nothing wider than the window,
nothing heavy, nothing from elsewhere; in both languages, light and dark, on a desktop, a tablet and a phone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.conftest import LOOPS
from tests.console.browser import WIDTHS, Visit, World, axe, eventually, sit_down

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.needs("chromium")]

MOST_BYTES = 300_000  # "no page over 300 KB"
# (who, page); where a list stands after the page, its first row is opened.
PAGES = [
    ("", "/accounts/login/", ""),
    ("lead", "/overview/", ""),
    ("lead", "/messages/", ""),
    ("lead", "/messages/?verdict=block", ".row-link"),
    ("lead", "/messages/freed/", ""),
    ("lead", "/campaigns/", ""),
    ("lead", "/campaigns/", ".row-link"),
    ("lead", "/review/team/", ""),
    ("reviewer", "/review/", ""),
    ("author", "/rulebook/", ""),
    ("author", "/rulebook/rules/", ""),
    ("author", "/rulebook/rules/", ".row-link"),
    ("author", "/rulebook/history/", ""),
    ("author", "/model/", ""),
    ("author", "/model/", ".row-link"),
    ("author", "/model/drift/", ""),
    ("admin", "/people/", ""),
    ("admin", "/people/", "tr:nth-child(3) .row-link"),
    ("admin", "/people/new/", ""),
    ("admin", "/people/rights/", ""),
    ("admin", "/people/teams/", ""),
    ("admin", "/people/units/", ""),
    ("admin", "/people/units/yunxin/", ""),
    ("admin", "/people/requests/", ""),
    ("admin", "/me/", ""),
    ("admin", "/me/tokens/", ""),
    ("admin", "/accounts/2fa/", ""),
    ("admin", "/accounts/sessions/", ""),
    ("auditor", "/audit/", ""),
    ("auditor", "/audit/3/", ""),
    ("partner", "/overview/", ""),
    ("partner", "/messages/", ""),
    ("subscriber", "/messages/", ""),
    ("subscriber", "/messages/?verdict=block", ".row-link"),
    ("subscriber", "/my-data/", ""),
]
# In `dev.py test` each page is read once a width; in `dev.py soak` in each language and light.
WAYS = {
    "desktop": [("en", "light"), ("zh", "dark"), ("en", "dark"), ("zh", "light")],
    "tablet": [("zh", "light"), ("en", "light")],
    "phone": [("zh", "dark"), ("en", "light"), ("zh", "light"), ("en", "dark")],
}


def name_of(value: object) -> str:
    return str(value).replace("/", " ").strip() or "-"


@pytest.mark.parametrize(("who", "path", "row"), PAGES, ids=name_of)
def test_a_page_is_whole(world: World, visit: Callable[..., Visit], who: str, path: str, row: str) -> None:
    for device, ways in WAYS.items():
        for language, theme in ways if LOOPS >= 1 else ways[:1]:
            seen = visit(who, language, device, theme)
            session = seen.context.new_cdp_session(seen.page)
            loaded: list[float] = []
            session.send("Network.enable")
            session.on(
                "Network.loadingFinished", lambda event, loaded=loaded: loaded.append(event["encodedDataLength"])
            )
            page = seen.open(path)
            if row:
                target = page.locator("tbody").locator(row).first.get_attribute("href")
                assert target
                loaded.clear()
                session.send("Network.clearBrowserCache")
                seen.open(target)
            page.wait_for_function("() => document.fonts.status === 'loaded'")
            assert 2_000 < sum(loaded) < MOST_BYTES
            assert page.get_attribute("html", "lang") == ("en" if language == "en" else "zh-hans")
            assert page.locator("h1").count() == 1
            assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]
            if device != "tablet":  # its layout lies between the two others
                assert axe(page) == [], (device, language, theme)


def test_the_overview_is_live_and_its_chart_opens_as_a_table(world: World, visit: Callable[..., Visit]) -> None:
    for language in ("en", "zh"):
        page = visit("lead", language).open("/overview/")
        page.wait_for_selector(".live[data-state=live]")
        before = page.inner_text(".answer-value")
        assert before[0].isdigit()
        page.evaluate("window.stays = true")
        world.screen(["明天下午三点开会，别忘了带材料"] * 3)
        eventually(lambda: page.inner_text(".answer-value") != before, "the number has moved")  # noqa: B023 - at once
        assert page.evaluate("window.stays")  # without a reload
        page.focus(".chart summary")
        page.keyboard.press("Enter")
        assert page.locator(".chart details[open] table tbody tr").count() > 3


def test_no_page_of_the_frame_needs_a_mouse(world: World, chromium: Browser) -> None:
    """Skip link, then the navigation; `g m` goes to the messages, `/` searches, `?` lists the keys, Escape closes."""
    world.screen(["您的快递已到驿站，请凭码领取"], sender="106990000777", receiver="+8613800001111")
    seen = sit_down(world, chromium, "lead")
    page = seen.open("/overview/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main"
    page.keyboard.press("g")
    page.keyboard.press("m")
    page.wait_for_url("**/messages/")
    page.keyboard.press("/")
    page.keyboard.type("106990000777")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/messages/?" in url)
    eventually(lambda: page.reload() and page.locator("tbody .row-link").count() == 1, "the message is found")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url.rstrip("/").rpartition("/")[2].count("-") == 4)
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.keyboard.press("Escape")
    assert not page.is_visible("#keys")
    seen.context.close()
    assert seen.complaints == []
