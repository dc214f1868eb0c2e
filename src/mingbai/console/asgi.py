"""What the web server runs: `/events/` is a small asyncio application, everything else Django on threads.

Django stays WSGI: under ASGI it takes a thread hop for each middleware. One front keeps one port, so that a browser
needs no second origin and an operator's proxy no second rule.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mingbai.console import wsgi
from mingbai.console.events import Events
from mingbai.console.settings import MINGBAI
from mingbai.console.wsgi_pages import Pages

Scope = dict[str, Any]  # Any: ASGI's own types
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_pages = Pages(wsgi.application, MINGBAI.console.threads)
_events = Events()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """One connection."""
    if scope["type"] == "http" and scope["path"].startswith("/events/"):
        await _events(scope, receive, send)
    elif scope["type"] == "http":
        await _pages(scope, receive, send)
