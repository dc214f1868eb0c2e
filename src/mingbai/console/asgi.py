"""What the web server runs: `/events/` is a small asyncio application, everything else Django on threads.

Django stays WSGI: under ASGI it takes a thread hop for each middleware. One front keeps one port, so that a browser
needs no second origin and an operator's proxy no second rule.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from django.template.loader import get_template

from mingbai.console import wsgi
from mingbai.console.events import Events
from mingbai.console.settings import MINGBAI
from mingbai.console.warm import warm_soon
from mingbai.console.wsgi_pages import Pages

Scope = dict[str, Any]  # Any: ASGI's own types
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def _wait_for_database() -> None:
    """The supervisor brings the database up to date while this process loads; nobody is answered before that."""
    ready = MINGBAI.data / "run" / "ready"
    deadline = time.monotonic() + 600  # a large migration takes minutes
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.02)


import_module("mingbai.console.urls")  # loaded now, beside what the supervisor does, and not by the first who asks
get_template("account/login.html")
_wait_for_database()
_pages = Pages(wsgi.application, MINGBAI.console.threads)
_events = Events()
warm_soon()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """One connection."""
    if scope["type"] == "http" and scope["path"].startswith("/events/"):
        await _events(scope, receive, send)
    elif scope["type"] == "http":
        await _pages(scope, receive, send)
