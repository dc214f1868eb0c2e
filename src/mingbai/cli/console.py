"""The terminal: two consoles, a progress bar, and the log on standard error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from mingbai.cli.words import _

if TYPE_CHECKING:
    from mingbai.connectors.batch.run import Progress


@cache
def stdout() -> Console:
    return Console(highlight=False)


@cache
def stderr() -> Console:
    return Console(stderr=True, highlight=False)


def say_plain(text: str, style: str = "") -> None:
    """One line on standard error, as it stands."""
    stderr().print(text, style=style, markup=False, soft_wrap=True)


@contextmanager
def progress_bar(shown: bool | None, title: str) -> Iterator[Callable[[Progress], None] | None]:
    """A progress bar on standard error for a run over files; None: only on a terminal. Gives what the run calls."""
    if not (stderr().is_terminal if shown is None else shown):
        yield None
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=stderr(), transient=shown is None, refresh_per_second=5) as bar:
        task = bar.add_task(title, total=None, said="")

        def update(progress: Progress) -> None:
            said = _("{count} messages").format(count=f"{progress.messages:,}")
            bar.update(task, completed=progress.bytes_read, total=progress.total_bytes, said=said)

        yield update


class _Alarms(logging.Handler):
    """Log records as one line each. Fields (numbers, kinds; never a text) follow the message."""

    def emit(self, record: logging.LogRecord) -> None:
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}
        shown = "".join(f" {key}={value}" for key, value in fields.items())
        line = Text(f"mingbai: {record.levelname.lower()}: {_(str(record.msg))}{shown}")
        stderr().print(line, style="bold red" if record.levelno >= logging.ERROR else "yellow", soft_wrap=True)


_STANDARD_FIELDS = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


def show_alarms() -> None:
    """Warnings and errors of the program's log go to standard error."""
    logger = logging.getLogger("mingbai")
    if not any(isinstance(handler, _Alarms) for handler in logger.handlers):
        logger.addHandler(_Alarms(logging.WARNING))
        logger.propagate = False
