"""Make the pictures of the console: `python docs/images/console.py`, with chromium and the Noto CJK fonts installed.

A real `mingbai serve` with the people and the traffic of the browser tests; nothing is retouched. Colours are
reduced to a palette, so that a picture stays small.
"""

from __future__ import annotations

import io
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.console.browser import Visit, World, eventually, serving, sit_down  # noqa: E402 - found through the line above

HERE = Path(__file__).resolve().parent / "console"
RULE = """
[[rule]]
id = "spam.messenger-contact"
category = "spam"
action = "block"
owner = "author"
reason = "An offer whose only way to buy is a private messenger account"
keywords = ["微信号", "加微信", "加薇信"]
"""


def first_row(seen: Visit) -> None:
    target = seen.page.locator("tbody .row-link").first.get_attribute("href")
    seen.open(str(target))


def one_on_the_desk(seen: Visit) -> None:
    """The first message of the queue of frauds, with what it is read as."""
    eventually(lambda: seen.open("/review/").locator("form:has(input[value*='fraud']) button").count(), "one waits")
    seen.page.locator("form:has(input[value*='fraud']) button").first.click()
    seen.page.wait_for_selector("#decide")
    seen.page.keyboard.press("e")
    seen.page.wait_for_selector("#reading:not(:has(button))")


def draft_with_a_replay(seen: Visit) -> None:
    """A rule at the end of a draft, replayed over the traffic of the week."""
    page = seen.page
    page.keyboard.press("n")
    page.wait_for_selector(".codebox.is-painted")
    draft = page.url.removeprefix(seen.world.url)
    page.focus("#code")
    page.keyboard.press("Control+End")
    page.keyboard.insert_text(RULE)
    page.fill("#comment", "Offers that are sold by messenger only, seen again since Monday")
    page.click("button[formaction$='/replay/']")
    page.wait_for_url(re.compile("/rulebook/replays/"))
    page.wait_for_selector(".tabs .count", timeout=60_000)
    seen.open(draft).wait_for_selector(".codebox.is-painted")
    page.focus("#code")
    page.keyboard.press("Control+End")
    page.evaluate("document.getElementById('code').scrollTop = 1e6; window.scrollTo(0, document.body.scrollHeight)")


def measured(seen: Visit) -> None:
    seen.page.locator("form.filters button").click()
    eventually(lambda: seen.open("/model/drift/").locator("tbody tr").count(), "drift has been measured", 120)


@dataclass(frozen=True)
class Picture:
    name: str
    who: str
    path: str
    make: Callable[[Visit], None] | None = None
    language: str = "en"
    width: int = 1440
    height: int = 900
    theme: str = "light"


PICTURES = [
    Picture("overview.en", "lead", "/overview/"),
    Picture("overview.dark", "lead", "/overview/", theme="dark"),
    Picture("overview.phone", "lead", "/overview/", language="zh", width=390),
    Picture("message.zh", "lead", "/messages/?verdict=block", first_row, language="zh"),
    Picture("message.en", "lead", "/messages/?verdict=block", first_row),
    Picture("campaign.zh", "lead", "/campaigns/", first_row, language="zh"),
    Picture("review.zh", "reviewer", "/review/", one_on_the_desk, language="zh", theme="dark"),
    Picture("rulebook.en", "author", "/rulebook/", draft_with_a_replay, height=1000),
    Picture("drift.en", "author", "/model/drift/", measured, height=1200),
    Picture("audit.en", "auditor", "/audit/"),
    Picture("rights.zh", "admin", "/people/rights/", language="zh"),
]


def take(world: World) -> None:
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for one in PICTURES:
            seen = sit_down(world, chromium, one.who, one.language, one.width, one.theme, one.height)
            page = seen.open(one.path)
            if one.make is not None:
                one.make(seen)
            page.wait_for_function("() => document.fonts.status === 'loaded'")
            picture = Image.open(io.BytesIO(page.screenshot()))
            picture = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
            picture.save(HERE / f"{one.name}.png", optimize=True)
            seen.context.close()
        chromium.close()


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data") as found:
        take(found)
