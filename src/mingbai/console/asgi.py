"""What the web server runs: `/events/` is a small asyncio application, everything else Django on threads.

Django stays WSGI: under ASGI it takes a thread hop for each middleware. One front keeps one port, so that a browser
needs no second origin and an operator's proxy no second rule.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from a2wsgi import WSGIMiddleware

from mingbai.console import wsgi
from mingbai.console.events import Events
from mingbai.console.settings import MINGBAI

Scope = dict[str, Any]  # Any: ASGI's own types
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_pages = WSGIMiddleware(wsgi.application, workers=MINGBAI.console.threads)  # type: ignore[arg-type]  # Django types its own as Any
_events = Events()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """One connection."""
    if scope["type"] == "http" and scope["path"].startswith("/events/"):
        await _events(scope, receive, send)
    elif scope["type"] == "http":

        async def received() -> dict[str, Any]:  # Any: as above
            return await receive()

        async def sent(message: dict[str, Any]) -> None:  # Any: as above
            await send(message)

        # a2wsgi hands these to the event loop from its threads and wants coroutines; granian's own are only awaitable.
        await _pages(scope, received, sent)  # type: ignore[arg-type]  # a2wsgi has its own names for the same types
