"""`mingbai serve`: the console, its worker, the screener and the gateway, with one command; `gateway` and `console` run
a part of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mingbai.cli.console import show_alarms, stdout
from mingbai.cli.words import _
from mingbai.settings import Settings, load_settings

_LISTENER = _("HOST:PORT, tls:HOST:PORT or off; left out, the one that is set.")
Data = Annotated[Path | None, Parameter(help=_("Data directory; left out, the one that is set."))]
Address = Annotated[
    str | None, Parameter(help=_("HOST:PORT of the console; left out, the one that is set (this machine only)."))
]
Cmpp = Annotated[str | None, Parameter(help=_("CMPP 2.0 and 3.0: {where}").format(where=_LISTENER))]
Sgip = Annotated[str | None, Parameter(help=_("SGIP 1.2: {where}").format(where=_LISTENER))]
Smgp = Annotated[str | None, Parameter(help=_("SMGP 3.0: {where}").format(where=_LISTENER))]
Smpp = Annotated[str | None, Parameter(help=_("SMPP 3.4 and 5.0: {where}").format(where=_LISTENER))]
Http = Annotated[str | None, Parameter(help=_("Messages by HTTP and JSON: {where}").format(where=_LISTENER))]
Workers = Annotated[int | None, Parameter(help=_("Gateway processes; left out, as set."))]


def serve(
    *,
    data: Data = None,
    console: Address = None,
    cmpp: Cmpp = None,
    sgip: Sgip = None,
    smgp: Smgp = None,
    smpp: Smpp = None,
    http: Http = None,
    workers: Workers = None,
) -> int:
    """Exit code: 0 stopped as told, 2 could not start."""
    given = {"cmpp": cmpp, "sgip": sgip, "smgp": smgp, "smpp": smpp, "http": http, "workers": workers}
    settings = load_settings(data=data, console=console, gateway=_given(given))
    show_alarms()
    from mingbai.server import serve as run

    def tell(link: str | None) -> None:
        announce(settings, link)

    run(settings, tell)
    return 0


def console(*, data: Data = None, console: Address = None) -> int:
    """Exit code: 0 stopped as told, 2 could not start."""
    settings = load_settings(data=data, console=console)
    show_alarms()
    from mingbai.server import serve as run

    run(settings, lambda link: announce(settings, link, with_gateway=False), with_gateway=False)
    return 0


def gateway(
    *,
    data: Data = None,
    cmpp: Cmpp = None,
    sgip: Sgip = None,
    smgp: Smgp = None,
    smpp: Smpp = None,
    http: Http = None,
    workers: Workers = None,
) -> int:
    """Exit code: 0 stopped as told, 2 could not start."""
    given = {"cmpp": cmpp, "sgip": sgip, "smgp": smgp, "smpp": smpp, "http": http, "workers": workers}
    settings = load_settings(data=data, gateway=_given(given))
    show_alarms()
    from mingbai.server import carry

    carry(settings, lambda: announce_gateway(settings))
    return 0


def _given(options: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in options.items() if value is not None}


def announce(settings: Settings, link: str | None, *, with_gateway: bool = True) -> None:
    """Say where the console is, and how the first administrator gets in."""
    from mingbai.contexts.people.services.accounts import INVITATION_HOURS
    from mingbai.server import base_url

    out = stdout()
    out.print(_("The console is at {url}").format(url=base_url(settings)), soft_wrap=True, markup=False)
    if with_gateway and settings.gateway.workers:
        announce_gateway(settings, is_open=False)
    if link is not None:
        say = _("There is no administrator yet. This link makes one; it works once, for {hours} hours:")
        out.print(say.format(hours=INVITATION_HOURS), soft_wrap=True, markup=False)
        out.print(link, soft_wrap=True, markup=False, style="bold")
    out.print(_("Ctrl-C stops it."), style="dim")


def announce_gateway(settings: Settings, *, is_open: bool = True) -> None:
    """Say where messages are taken. is_open: else its engine still starts, which the console does not wait for."""
    places = {name.upper(): getattr(settings.gateway, name) for name in ("cmpp", "sgip", "smgp", "smpp", "http")}
    shown = ", ".join(f"{name} {place}" for name, place in places.items() if place)
    say = _("The gateway listens: {places}") if is_open else _("The gateway opens within a minute: {places}")
    stdout().print(say.format(places=shown), soft_wrap=True, markup=False)
