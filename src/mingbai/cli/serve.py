"""`mingbai serve`: the console, its worker and the screener, with one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mingbai.cli.console import show_alarms, stdout
from mingbai.cli.words import _
from mingbai.settings import Settings, load_settings


def serve(
    *,
    data: Annotated[Path | None, Parameter(help=_("Data directory; left out, the one that is set."))] = None,
    console: Annotated[
        str | None, Parameter(help=_("HOST:PORT of the console; left out, the one that is set (this machine only)."))
    ] = None,
) -> int:
    """Exit code: 0 stopped as told, 2 could not start."""
    settings = load_settings(data=data, console=console)
    show_alarms()
    from mingbai.server import serve as run

    run(settings, lambda link: announce(settings, link))
    return 0


def announce(settings: Settings, link: str | None) -> None:
    """Say where the console is, and how the first administrator gets in."""
    from mingbai.contexts.people.services.accounts import INVITATION_HOURS
    from mingbai.server import base_url

    out = stdout()
    out.print(_("The console is at {url}").format(url=base_url(settings)), soft_wrap=True, markup=False)
    if link is not None:
        say = _("There is no administrator yet. This link makes one; it works once, for {hours} hours:")
        out.print(say.format(hours=INVITATION_HOURS), soft_wrap=True, markup=False)
        out.print(link, soft_wrap=True, markup=False, style="bold")
    out.print(_("Ctrl-C stops it."), style="dim")
