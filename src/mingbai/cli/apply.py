"""`mingbai apply` and `mingbai export`: what can be set in the console, as a file."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.text import Text

from mingbai.cli.console import say_plain, show_alarms, stdout
from mingbai.cli.words import _
from mingbai.kernel.clock import utc_now
from mingbai.settings import load_settings

if TYPE_CHECKING:
    from mingbai.contexts.people.services.configuration import Step

Data = Annotated[Path | None, Parameter(help=_("Data directory; left out, the one that is set."))]
_STYLES = {"+": "green", "~": "yellow", "-": "red"}
NOT_DONE = 1


def apply(
    file: Annotated[Path, Parameter(help=_("What shall be so: a TOML file (docs/reference/configuration.md)."))],
    /,
    *,
    data: Data = None,
    yes: Annotated[bool, Parameter(negative=(), help=_("Do it without asking."))] = False,
) -> int:
    """Exit code: 0 applied or nothing to do, 1 the plan was not carried out, 2 the file is wrong."""
    settings = load_settings(data=data)
    show_alarms()
    from mingbai.server import prepare

    prepare(settings)
    from mingbai.console.configuration import apply as carry_out
    from mingbai.console.configuration import plan, read_file

    now, actor = utc_now(), f"apply:{getpass.getuser()}"
    steps = plan(read_file(file), actor=actor, now=now)
    out = stdout()
    if not steps:
        out.print(_("Nothing to do: it is so already."))
        return 0
    for step in steps:
        out.print(step_line(step), soft_wrap=True)
    if not yes and not _is_agreed(len(steps)):
        out.print(_("Nothing was changed."))
        return NOT_DONE
    secrets = carry_out(steps, actor=actor, now=utc_now())
    out.print(_("{count} changes made, in one transaction.").format(count=len(steps)), style="green")
    for step, secret in secrets:
        say = _("Secret of {what} {name}, shown this once:")
        out.print(say.format(what=_noun(step.what), name=step.name), markup=False)
        say_plain(secret)
    return 0


def export(*, data: Data = None) -> int:
    """Exit code: 0 written to standard output, 2 not."""
    settings = load_settings(data=data)
    show_alarms()
    from mingbai.server import prepare

    prepare(settings)
    from mingbai.console.configuration import export as written

    sys.stdout.write(written(now=utc_now()))
    return 0


def step_line(step: Step) -> Text:
    """`~ account li   name: 李 → 李四`."""
    line = Text(f"{step.sign} {_noun(step.what)} {step.name}", style=_STYLES[step.sign])
    for name, before, after in step.changes:
        line.append(f"   {name}: {before or '–'} → {after or '–'}", style="dim")
    return line


def _noun(what: str) -> str:
    nouns = {
        "account": _("account"),
        "gateway": _("gateway"),
        "gateway.account": _("gateway account"),
        "gateway.class": _("traffic class"),
        "gateway.range": _("number range"),
        "gateway.route": _("route"),
        "gateway.smsc": _("SMSC"),
        "member": _("member"),
        "role": _("role"),
        "rulebook": _("rulebook"),
        "team": _("team"),
        "token": _("token"),
        "unit": _("unit"),
        "webhook": _("webhook"),
    }
    return nouns[what]


def _is_agreed(count: int) -> bool:
    if not sys.stdin.isatty():
        stdout().print(_("Not a terminal: --yes carries it out."))
        return False
    stdout().print(_("Carry out these {count} changes? [y/N]").format(count=count), end=" ")
    return sys.stdin.readline().strip().lower() in ("y", "yes", "是")
