"""The end of the demo: the console and the gateway, with today's traffic going on in them.

The history is what the show has just decided, and today's messages until now. What comes after is sent by providers
through the gateway that an operator runs (`demo_gateway`). Two people are made, so that what needs two people can be
tried; both come in by a one-time link.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.text import Text

from mingbai.cli.demo_gateway import Traffic, apply_registry
from mingbai.cli.words import _
from mingbai.connectors.batch.engine import decide
from mingbai.connectors.batch.record import Recorder
from mingbai.engines.scenarios.traffic import CHINA, traffic
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.schema import MESSAGE
from mingbai.kernel.clock import utc_now
from mingbai.settings import Settings

_HISTORY_STEP_US = 300_000_000  # five minutes, so that no bar of a chart is empty for want of messages

# Everything that one person may do without harm to the two-person rule, and the second person.
FIRST = ("administrator", "rule_author", "reviewer", "team_lead", "auditor")
SECOND = ("rule_approver", "reviewer")


def record_today(
    recorder: Recorder, policy: Policy, counters: Counters, *, seed: int, messages: int, now: datetime
) -> int:
    """Decide and record today's messages until now, each batch as if it had been decided then. Returns how many."""
    day = traffic(seed + 1, messages, now.astimezone(CHINA).date())
    batch = day.filter(pc.less(day.column("time"), pa.scalar(now, pa.timestamp("us", "UTC")))).select(MESSAGE.names)
    micros = np.asarray(batch.column("time").cast(pa.int64()))
    cuts = [0, *(np.flatnonzero(np.diff(micros // _HISTORY_STEP_US)) + 1).tolist(), batch.num_rows]
    for first, end in pairwise(cuts):
        part = batch.slice(first, end - first)
        decided = decide(part, policy, counters)
        for update in decided.updates:
            counters.apply(update)
        recorder.record(part, decided.decisions, at=part.column("time")[-1].as_py())
    return int(batch.num_rows)


def make_people(settings: Settings, *, now: datetime) -> dict[str, str]:
    """The demo's two people and their one-time links, by username."""
    from mingbai.contexts.people.services.accounts import assign_role, create_account, invite
    from mingbai.server import base_url

    links = {}
    people = (("demo", _("Demo"), FIRST), ("second", _("Second person"), SECOND))
    for username, name, roles in people:
        account = create_account(username, actor="system", now=now, name=name)
        for role in roles:
            assign_role(account, role, actor="system", now=now)
        links[username] = f"{base_url(settings)}/welcome/{invite(account, actor='system', now=now)}/"
    return links


def free_address(wanted: str) -> str:
    """`wanted`, or the next port of the same host that nobody listens on."""
    parts = urlsplit(f"//{wanted}")
    host, port = parts.hostname or "127.0.0.1", parts.port or 8080
    for candidate in range(port, min(port + 50, 65_536)):
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, candidate))
            return f"{host}:{candidate}"
    return wanted


def free_listeners(settings: Settings) -> dict[str, object]:
    """The gateway's listeners on ports that nobody has, near the usual ones."""
    given = settings.gateway
    names = ("cmpp", "sgip", "smgp", "smpp", "http", "metrics")
    return {name: free_address(getattr(given, name)) for name in names if getattr(given, name)} | {"workers": 1}


def run_console(console: Console, settings: Settings, *, seed: int, seconds: float | None, kept: Path | None) -> None:
    """Serve the console with live traffic until Ctrl-C, or for so many seconds."""
    from mingbai import server

    # A stranger tries the demo for a minute: a second factor would be in the way. `serve` asks for one.
    os.environ["MINGBAI_CONSOLE__REQUIRE_SECOND_FACTOR"] = "false"
    server.prepare(settings)
    links = make_people(settings, now=utc_now())
    flow = Traffic(settings, seed)
    flow.start_smscs()
    apply_registry(settings, flow.registry())
    deadline = None if seconds is None else time.monotonic() + seconds

    def announce(link: str | None) -> None:
        console.print(_("The console is live. Open this link; it works once and lets you choose a password:"))
        # `serve` makes a link for whoever may administer and cannot sign in yet, which ends an older one.
        console.print(Text(f"  {link or links['demo']}", style="bold cyan"), soft_wrap=True)
        console.print(_("What needs a second person (approving rules, a second opinion), in another browser:"))
        console.print(Text(f"  {links['second']}", style="cyan"), soft_wrap=True)
        console.print(Text(_("Four providers send through the gateway, each in its own protocol."), style="dim"))
        console.print(Text(_("Traffic goes on while you look. Ctrl-C ends the demo."), style="dim"))
        flow.start()

    def tick() -> None:
        if deadline is not None and time.monotonic() > deadline:
            raise KeyboardInterrupt

    try:
        server.serve(settings, announce, tick)
    except KeyboardInterrupt:
        pass
    finally:
        flow.stop()
    if kept is not None:
        say = _("Everything is in {path}: mingbai serve --data {path}")
        console.print(say.format(path=kept), markup=False, soft_wrap=True)
