"""Make the pictures of the console: `python docs/images/console.py`, with chromium and the Noto CJK fonts installed.

A real `mingbai serve` with the people and the traffic of the browser tests; nothing is retouched. Colours are
reduced to a palette, so that a picture stays small.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.console.browser import World, serving, sit_down  # noqa: E402 - found through the line above

HERE = Path(__file__).resolve().parent / "console"
# name, who, language, width, theme, page; "row" opens the first row of its list
PICTURES = [
    ("overview.zh", "lead", "zh", 1440, "light", "/overview/", False),
    ("overview.en", "lead", "en", 1440, "light", "/overview/", False),
    ("overview.dark", "lead", "en", 1440, "dark", "/overview/", False),
    ("overview.phone", "lead", "zh", 390, "light", "/overview/", False),
    ("message.zh", "lead", "zh", 1440, "light", "/messages/?verdict=block", True),
    ("message.en", "lead", "en", 1440, "light", "/messages/?verdict=block", True),
    ("review.zh", "reviewer", "zh", 1440, "dark", "/review/", False),
    ("rulebook.en", "author", "en", 1440, "light", "/rulebook/", False),
    ("drift.en", "author", "en", 1440, "light", "/model/drift/", False),
    ("campaign.zh", "lead", "zh", 1440, "light", "/campaigns/", True),
    ("audit.en", "auditor", "en", 1440, "light", "/audit/", False),
    ("rights.zh", "admin", "zh", 1440, "light", "/people/rights/", False),
]


def take(world: World) -> None:
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, who, language, width, theme, path, row in PICTURES:
            seen = sit_down(world, chromium, who, language, width, theme)
            page = seen.open(path)
            if row:
                target = page.locator("tbody .row-link").first.get_attribute("href")
                seen.open(str(target))
            page.wait_for_function("() => document.fonts.status === 'loaded'")
            picture = Image.open(io.BytesIO(page.screenshot()))
            picture = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
            picture.save(HERE / f"{name}.png", optimize=True)
            seen.context.close()
        chromium.close()


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data") as found:
        take(found)
