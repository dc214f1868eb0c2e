"""`mingbai replay`: what a changed rulebook or model would newly block and newly free, before it is switched on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.text import Text

from mingbai.cli.console import say_plain, show_alarms, stdout
from mingbai.cli.fast_start import leave_out_unused
from mingbai.cli.labels import category_word, verdict_text
from mingbai.cli.marks import marked
from mingbai.cli.summary import table
from mingbai.cli.words import _
from mingbai.kernel.clock import parse_utc, utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.masking import masked
from mingbai.settings import load_settings

if TYPE_CHECKING:
    from mingbai.connectors.replay import Change, Replayed


def replay(
    *,
    rules: Annotated[Path | None, Parameter(help=_("The new rulebook."))] = None,
    model: Annotated[Path | None, Parameter(help=_("The new model."))] = None,
    input: Annotated[
        list[str] | None,
        Parameter(consume_multiple=True, negative=(), help=_(
            "Files, instead of the record: decided by the policy that is set and by the new one."
        )),
    ] = None,
    text_column: Annotated[str, Parameter(help=_("Column that holds the text."))] = "text",
    since: Annotated[str | None, Parameter(help=_(
        "Only from this time on, such as 2026-11-24T08:00:00+08:00."
    ))] = None,
    until: Annotated[str | None, Parameter(help=_("Only before this time."))] = None,
    stream: Annotated[str | None, Parameter(help=_("Only this stream; left out, all of them."))] = None,
    threads: Annotated[int | None, Parameter(help=_("Threads; left out, one a core. The result is the same."))] = None,
    data: Annotated[Path | None, Parameter(help=_("Data directory; left out, MINGBAI_DATA, or ~/.mingbai."))] = None,
) -> int:  # fmt: skip
    """Exit code: 0 replayed, 2 not."""
    if rules is None and model is None:
        raise BadValue(field="--rules", value=None, expected="a rulebook, or --model with a model")
    settings = load_settings(data=data)
    show_alarms()
    start = None if since is None else parse_utc(since, "--since")
    end = None if until is None else parse_utc(until, "--until")
    count = threads or len(os.sched_getaffinity(0))

    leave_out_unused()
    from mingbai.cli.ledger import streams_of
    from mingbai.connectors.ledger_access import open_keys
    from mingbai.connectors.policies import read_policy
    from mingbai.connectors.replay import replay_ledger, replay_tables
    from mingbai.connectors.tables import read_messages

    now = utc_now()
    set_rules, set_model = settings.screening.rulebook, settings.screening.model
    new = read_policy(rulebook=rules or set_rules, model=model or set_model, now=now).policy()
    if input:
        old = read_policy(rulebook=set_rules, model=set_model, now=now).policy()
        reader = read_messages(input, on_reject=lambda reject: None, text_column=text_column)
        found = replay_tables(reader, old, new, threads=count)
    else:
        names = streams_of(settings, stream)
        found = replay_ledger(settings.data, names, open_keys(settings), new, threads=count, since=start, until=end)
    show_replay(found)
    return 0


def show_replay(found: Replayed) -> None:
    """The answer, the examples, and what could not be answered."""
    console = stdout()
    console.print()
    said = _("It would newly stop {blocked} and newly free {freed} of {answered} messages.")
    answer = said.format(
        blocked=f"{found.blocked.count:,}", freed=f"{found.freed.count:,}", answered=f"{found.answered:,}"
    )
    console.print(Text(answer, style="bold"))
    for title, change in ((_("Newly stopped"), found.blocked), (_("Newly freed"), found.freed)):
        if change.count:
            _show_change(title, change)
    if found.shifted:
        said = _("{count} more would change between allow and flag, or hold and block.")
        console.print(Text(said.format(count=f"{found.shifted:,}")))
    if found.unanswered:
        _show_unanswered(found)
    if found.unscreened:
        said = _("ALARM: {count} messages could not be screened and passed as allowed (reason unscreened)")
        say_plain(said.format(count=f"{found.unscreened:,}"), style="bold red")


def _show_change(title: str, change: Change) -> None:
    console = stdout()
    result = table((_("Before"), "left"), (_("After"), "left"), (_("Message"), "left"), title=title)
    for number in (0, 1):
        result.columns[number].no_wrap = True
    for example in change.examples:
        text = marked(masked(example.text), example.spans, example.new, console)
        rules = "".join(f" rule:{rule}" for rule in example.rules)
        text.append(f"  {category_word(example.category)}{rules}", style="dim")
        result.add_row(verdict_text(example.old), verdict_text(example.new), text)
    console.print(result)
    for rule, count in change.rules.most_common(5):
        console.print(Text(f"  rule:{rule}  {count:,}", style="dim"))


def _show_unanswered(found: Replayed) -> None:
    from mingbai.ledger import Kept

    console = stdout()
    why = {
        Kept.NO_LONGER_KEPT: _("its time was over"),
        Kept.NEVER_KEPT: _("it was never kept"),
        Kept.UNREADABLE: _("its key or its bytes are lost"),
        Kept.WITHHELD: _("its subscriber asked for erasure"),
    }
    said = _("{count} messages cannot be answered, because their text is not there:")
    console.print(Text(said.format(count=f"{found.unanswered:,}"), style="yellow"))
    for kept, count in found.no_text.items():
        console.print(Text(f"  {why.get(kept, kept.value)}: {count:,}", style="yellow"))
    if found.blocked.by_hash or found.freed.by_hash:
        said = _("By the hash of what they were read as, {blocked} of them would be stopped and {freed} freed.")
        shown = said.format(blocked=f"{found.blocked.by_hash:,}", freed=f"{found.freed.by_hash:,}")
        console.print(Text("  " + shown, style="yellow"))
