"""Make the pictures of the demo: `python docs/images/make.py`, with chromium and the Noto CJK, Noto emoji and
DejaVu fonts installed.

The demo runs on a recording console, and chromium takes a picture of what it wrote. Nothing is retouched: parts of the
show are left out so that a picture fits a page, and nothing is added.
"""

from __future__ import annotations

import io
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
from mingbai.connectors.batch.record import Recorder
from mingbai.connectors.ledger_access import open_ledger
from mingbai.kernel.clock import utc_now
from mingbai.settings import Settings

HERE = Path(__file__).resolve().parent
COLUMNS = 100
SEED, MESSAGES = 20260501, 20_000
# Noto Sans Mono CJK has Chinese characters of exactly two Latin widths (half an em each), so columns stay straight; but
# bars and signs in it are as wide as a Chinese character, so those come from DejaVu, scaled to the same half em.
SIZE_PX, LINE_PX, MARGIN_PX = 14, 20, 18
FONTS = 'Signs, "Noto Sans Mono CJK SC", "Noto Color Emoji", monospace'
PAGE = f"""<!doctype html><meta charset="utf-8"><style>{{stylesheet}}
@font-face {{{{ font-family: Signs; src: local("DejaVu Sans Mono"); size-adjust: 83.05%;
  unicode-range: U+2190-21FF, U+2500-25FF, U+2600-27BF, U+B7, U+2013; }}}}
body {{{{ margin: 0; background: {{background}}; color: {{foreground}}; }}}}
pre {{{{ margin: 0; padding: {MARGIN_PX}px; font: {SIZE_PX}px/{LINE_PX}px {FONTS}; }}}}
</style><pre><code style="font-family: inherit">{{code}}</code></pre>"""


def record(language: str) -> Console:
    """The first parts of the demo."""
    use_language(language)
    console = Console(record=True, width=COLUMNS, force_terminal=True, color_system="truecolor", file=io.StringIO())
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
    return console


def main() -> None:
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((path for name in names if (path := shutil.which(name))), None)
    if browser is None:
        sys.exit("docs/images/make.py: chromium is not installed")
    for language in ("en", "zh"):
        console = record(language)
        lines = console.export_text(clear=False).rstrip("\n").count("\n") + 1
        width = COLUMNS * SIZE_PX // 2 + 2 * MARGIN_PX
        height = lines * LINE_PX + 2 * MARGIN_PX
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "demo.html"
            page.write_text(console.export_html(theme=MONOKAI, code_format=PAGE), encoding="utf-8")
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
            options += [f"--window-size={width},{height}", "--force-device-scale-factor=1.5"]
            target = HERE / f"demo.{language}.png"
            command = [browser, *options, f"--screenshot={target}", page.as_uri()]
            subprocess.run(command, check=True, capture_output=True)
        print(f"{target.name}: {lines} lines")  # noqa: T201


if __name__ == "__main__":
    main()
