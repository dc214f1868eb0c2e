"""What a run decided, for a person: the answer first, then verdicts, categories, campaigns, rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mingbai.cli.console import stdout
from mingbai.cli.labels import category_word, verdict_text
from mingbai.cli.marks import bar, marked
from mingbai.cli.words import _
from mingbai.kernel.masking import masked
from mingbai.kernel.verdicts import Category, Verdict

if TYPE_CHECKING:
    from mingbai.connectors.batch.tally import Tally

_TOP = 5


def table(*columns: tuple[str, str], title: str = "") -> Table:
    """A table in the house style. columns: heading and "left" or "right"."""
    result = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold", pad_edge=False)
    for heading, side in columns:
        if side == "right":
            result.add_column(heading, justify="right", no_wrap=True)
        else:
            result.add_column(heading, overflow="fold")
    return result


_LEAST_NAME = 14  # cells that a first column keeps for its names, before they fold
_BETWEEN = 3  # padding, divider, padding
_EDGES = 2
_FOLDED_HEADING = 8  # cells into which a heading without spaces (Chinese) folds


def fitted(result: Table, console: Console) -> Table:
    """The table, made to fit the terminal without losing anything: headings wrap first, then the first column's names.

    Rich left alone cuts the first column down to nothing, because figures do not wrap. Call it when all rows are in.
    """
    if console.measure(result).maximum < console.width:
        return result
    taken = 0
    for column in result.columns[1:]:
        words = [cell_len(word) for word in str(column.header).split()]
        heading = max(min(width, _FOLDED_HEADING) if not str(column.header).isascii() else width for width in words)
        column.width = max([heading, *(_cells(cell) for cell in column.cells)])
        column.no_wrap, column.overflow = False, "fold"
        taken += column.width + _BETWEEN
    names = max(_cells(cell) for cell in [result.columns[0].header, *result.columns[0].cells])
    result.columns[0].width = min(names, max(_LEAST_NAME, console.width - taken - _EDGES))
    return result


def _cells(cell: object) -> int:
    return cell_len(cell.plain if isinstance(cell, Text) else str(cell))


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def summary_line(tally: Tally, *, rejected: int, seconds: float) -> Text:
    """One line: how many, what became of them, how fast."""
    line = Text(_("{count} messages").format(count=f"{tally.messages:,}"))
    for verdict in reversed(Verdict):
        line.append("  ").append_text(verdict_text(verdict)).append(f" {tally.verdicts[verdict]:,}")
    if rejected:
        line.append("  " + _("{count} rows rejected").format(count=f"{rejected:,}"), style="yellow")
    return line.append("  " + _rate(tally.messages, seconds), style="dim")


def show_summary(tally: Tally, *, rejected: int, rejects: Path | None, seconds: float) -> None:
    """The whole summary on standard output."""
    console = stdout()
    console.print()
    console.print(headline(tally))
    console.print()
    console.print(verdict_table(tally))
    if tally.messages:
        console.print(category_table(tally))
    campaigns = campaign_table(tally, console)
    if campaigns is not None:
        console.print(campaigns)
    if tally.rules:
        console.print(rule_table(tally))
    if rejected:
        said = _("{count} rows could not be read").format(count=f"{rejected:,}")
        where = _("see {path}").format(path=rejects) if rejects else _("--rejects FILE keeps them, with line and cause")
        console.print(Text(f"{said}; {where}", style="yellow"))
    console.print(Text(_rate(tally.messages, seconds), style="dim"))


def headline(tally: Tally) -> Text:
    """The answer: how many were stopped."""
    return Text(
        _("{stopped} of {messages} messages are stopped ({share})").format(
            stopped=f"{tally.stopped:,}", messages=f"{tally.messages:,}", share=percent(tally.stopped, tally.messages)
        ),
        style="bold",
    )


def verdict_table(tally: Tally) -> Table:
    result = table((_("Verdict"), "left"), (_("Messages"), "right"), (_("Share"), "right"), ("", "left"))
    for verdict in reversed(Verdict):
        count = tally.verdicts[verdict]
        share = count / tally.messages if tally.messages else 0.0
        result.add_row(verdict_text(verdict), f"{count:,}", percent(count, tally.messages), bar(share, 24, verdict))
    return result


def category_table(tally: Tally) -> Table:
    result = table((_("Category"), "left"), (_("Messages"), "right"), (_("Stopped"), "right"))
    for category in Category:
        if tally.categories[category]:
            stopped = tally.stopped_categories[category]
            result.add_row(
                category_word(category), f"{tally.categories[category]:,}", f"{stopped:,}" if stopped else "–"
            )
    return result


def campaign_table(tally: Tally, console: Console) -> Table | None:
    """The largest stopped campaigns, or the largest of all if none is stopped; None if there are none."""
    top = tally.top_campaigns(_TOP, stopped_only=True) or tally.top_campaigns(_TOP)
    if not top:
        return None
    result = table(
        (_("Campaign"), "left"), (_("Messages"), "right"), (_("Stopped"), "right"), (_("One of them"), "left")
    )
    result.columns[0].no_wrap = True
    for campaign, counted in top:
        text = masked(counted.example)
        example = marked(text, counted.example_spans, counted.example_verdict, console)
        result.add_row(
            f"{campaign:016x}"[:8], f"{counted.messages:,}", f"{counted.stopped:,}" if counted.stopped else "–", example
        )
    return result


def rule_table(tally: Tally) -> Table:
    result = table((_("Rule"), "left"), (_("Messages"), "right"))
    for rule, count in tally.rules.most_common(_TOP):
        result.add_row(rule, f"{count:,}")
    return result


def _rate(messages: int, seconds: float) -> str:
    return _("{seconds:.1f} s, {rate:,.0f} messages a second").format(
        seconds=seconds, rate=messages / seconds if seconds > 0 else 0
    )
