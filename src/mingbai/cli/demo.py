"""`mingbai demo`: a day of generated traffic, decided by the real engine, kept in a real ledger, shown as it happens.

What the numbers on the screen say is measured here and now: nothing is prepared but the seed.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.live import Live

from mingbai.cli.console import show_alarms, stdout
from mingbai.cli.fast_start import leave_out_unused
from mingbai.cli.words import _
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.settings import Settings, load_settings

if TYPE_CHECKING:
    from mingbai.cli.demo_day import Day

SEED = 20260501
_SHOW_S = 6.0  # what the day takes on a terminal; elsewhere it takes what the engine takes
_FRAMES = 96  # a quarter of an hour of the day each


def demo(
    *,
    messages: Annotated[int, Parameter(help=_("How many messages the day has."))] = 20_000,
    seed: Annotated[int, Parameter(help=_("Another seed makes another day."))] = SEED,
    data: Annotated[
        Path | None, Parameter(help=_("Keep the ledger and the day's messages in this directory, which must be new."))
    ] = None,
    rules: Annotated[Path | None, Parameter(help=_("Your rulebook, instead of the shipped one."))] = None,
    model: Annotated[Path | None, Parameter(help=_("Your model, instead of the shipped one."))] = None,
    console: Annotated[
        str | None, Parameter(help=_("HOST:PORT of the console; left out, the next free port from 8080 on."))
    ] = None,
    no_console: Annotated[bool, Parameter(negative=(), help=_("End after the show, without the console."))] = False,
    seconds: Annotated[float | None, Parameter(help=_("How long the console runs; left out, until Ctrl-C."))] = None,
) -> int:
    """Exit code: 0 shown, 2 not."""
    if not 1000 <= messages <= 1_000_000:
        raise BadValue(field="--messages", value=messages, expected="1,000 to 1,000,000")
    if data is not None and data.exists() and any(data.iterdir()):
        raise BadValue(field="--data", value=str(data), expected="a directory that is not there yet, or empty")
    show_alarms()
    leave_out_unused()
    with ExitStack() as stack:
        folder = data
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="mingbai-demo-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        settings = load_settings(data=folder, console=console)
        live = not no_console
        run_demo(stdout(), settings, messages=messages, seed=seed, rules=rules, model=model, kept=data, goes_on=live)
        if live:
            from mingbai.cli.demo_console import free_address, free_listeners, run_console

            address = console or free_address(settings.console.address)
            settings = load_settings(data=folder, console=address, gateway=free_listeners(settings))
            run_console(stdout(), settings, seed=seed, seconds=seconds, kept=data)
    return 0


def run_demo(
    console: Console,
    settings: Settings,
    *,
    messages: int,
    seed: int,
    rules: Path | None = None,
    model: Path | None = None,
    kept: Path | None = None,
    pace_s: float | None = None,
    goes_on: bool = False,
) -> None:
    """The whole show on `console`. pace_s: how long the day takes on the screen; None: as fits the console.

    goes_on: the console comes after it; so record today's messages until now too.
    """
    from mingbai.cli import demo_show
    from mingbai.cli.demo_day import begin_day, demo_policy
    from mingbai.cli.demo_ledger import prove
    from mingbai.connectors.batch.record import Recorder
    from mingbai.connectors.ledger_access import open_ledger

    day_of = (utc_now() - timedelta(days=1)).date()
    console.print(demo_show.title(messages, seed))
    with console.status(_("Making up a day of messages…")):
        policy = demo_policy(rules, model or settings.screening.model, now=utc_now())
        day = begin_day(seed, messages, day_of, policy)
    pace = pace_s if pace_s is not None else (_SHOW_S if console.is_terminal else 0.0)
    with open_ledger(settings, now=utc_now(), stream="demo") as ledger:
        recorder = Recorder(ledger, policy, utc_now)
        if console.is_terminal:
            with Live(demo_show.live(day, console), console=console, refresh_per_second=12, transient=True) as live:
                for _frame in paced(day.screen(recorder, _FRAMES), pace):
                    live.update(demo_show.live(day, console))
        else:
            for _frame in day.screen(recorder, _FRAMES):
                pass
        ledger.sign_head(now=utc_now())
        anchor = ledger.sign_head(now=utc_now())
        if goes_on:
            from mingbai.cli.demo_console import record_today

            with console.status(_("Deciding today's messages until now…")):
                record_today(recorder, policy, day.counters, seed=seed, messages=messages, now=utc_now())
            anchor = ledger.sign_head(now=utc_now())
    for part in demo_show.answer(day, console):
        console.print(part)
    console.print(demo_show.stopped_examples(day, console))
    console.print(demo_show.campaigns(day, console))
    console.print(demo_show.hard_cases(policy, console))
    console.print(demo_show.truth(day))
    console.print(demo_show.proof(prove(settings, anchor), console))
    if kept is not None:
        day.write(kept / "day.parquet")
    console.print(demo_show.what_next(kept))


def paced(frames: Iterator[Day], seconds: float) -> Iterator[Day]:
    """The frames, not faster than would fill so many seconds."""
    started = time.monotonic()
    for number, frame in enumerate(frames, 1):
        yield frame
        ahead = started + seconds * number / _FRAMES - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
