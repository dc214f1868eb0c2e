"""Make the pictures of the demo: `python docs/images/make.py`, with chromium and CJK fonts installed.

The demo runs on a recording console, which gives the SVG; chromium takes the PNG of it. Nothing is retouched: parts of
the show are left out so that a picture fits a page, and nothing is added.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from mingbai.cli import demo_show
from mingbai.cli.demo_day import begin_day, demo_policy
from mingbai.cli.words import use_language
from mingbai.connectors.batch.record import Recorder, open_ledger
from mingbai.kernel.clock import utc_now
from mingbai.settings import Settings

HERE = Path(__file__).resolve().parent
WIDTH = 100
SEED, MESSAGES = 20260501, 20_000
# A CJK font of exactly two Latin widths keeps the columns straight.
FONTS = '"Noto Sans Mono CJK SC", "DejaVu Sans Mono", monospace'


def record(language: str) -> str:
    """The first parts of the demo as SVG."""
    use_language(language)
    console = Console(
        record=True, width=WIDTH, force_terminal=True, color_system="truecolor", file=open("/dev/null", "w")
    )  # noqa: SIM115
    with tempfile.TemporaryDirectory() as folder:
        policy = demo_policy(None, None, now=utc_now())
        day = begin_day(SEED, MESSAGES, utc_now().date(), policy)
        with open_ledger(Settings(data=Path(folder)), now=utc_now(), stream="demo") as ledger:
            for _frame in day.screen(Recorder(ledger, policy, utc_now), 96):
                pass
    console.print(demo_show.title(MESSAGES, SEED))
    for part in demo_show.answer(day, console):
        console.print(part)
    console.print(demo_show.stopped_examples(day, console))
    console.print(demo_show.campaigns(day, console))
    console.print(demo_show.hard_cases(policy, console))
    svg = console.export_svg(title="mingbai demo", theme=MONOKAI)
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # a picture fetches nothing
    return svg.replace("Fira Code, monospace", FONTS.replace('"', "'"))


def main() -> None:
    browser = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if browser is None:
        sys.exit("docs/images/make.py: chromium is not installed")
    for language in ("en", "zh"):
        svg = record(language)
        width, height = (round(float(value)) for value in re.findall(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', svg)[0])
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "demo.html"
            page.write_text(f'<meta charset="utf-8"><body style="margin:0">{svg}', encoding="utf-8")
            options = [
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                f"--window-size={width},{height}",
            ]
            target = HERE / f"demo.{language}.png"
            subprocess.run(
                [browser, *options, f"--screenshot={target}", page.as_uri()], check=True, capture_output=True
            )
        print(f"{target.name}: {width} x {height}")  # noqa: T201


if __name__ == "__main__":
    main()
