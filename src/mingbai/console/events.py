"""Server-sent events (WHATWG HTML, section 9.2): tells open pages that something changed, so that they fetch it.

An event carries no data about messages: a page asks for its fragment, and rights are checked there. Whoever listens
must be signed in; the session is looked up once, and again each minute.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from mingbai.console.settings import MINGBAI

PULSE_NAME = "pulse.json"  # written by the worker, once a second while something happens
_EVERY_S = 1.0
_CHECK_S = 60.0
_SILENCE_S = 15.0  # a comment keeps proxies from closing an idle connection
_MOST = 2000

Scope = dict[str, Any]  # Any: ASGI's own types
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Events:
    """The ASGI application of `/events/`."""

    def __init__(self) -> None:
        self._open = 0

    async def __call__(self, scope: Scope, receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
        if not await asyncio.to_thread(_is_signed_in, _cookie(scope)):
            await _answer(send, 401)
            return
        if self._open >= _MOST:
            await _answer(send, 503)
            return
        self._open += 1
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await self._stream(scope, send, gone)
        except OSError:
            pass  # the browser left between two events
        finally:
            self._open -= 1
            gone.cancel()

    async def _stream(self, scope: Scope, send: Send, gone: asyncio.Task[None]) -> None:
        headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _event(send, b"retry: 3000\n\n")
        path = MINGBAI.data / "run" / PULSE_NAME
        known, quiet, checked = b"", 0.0, 0.0
        while not gone.done():
            pulse = _read(path)
            if pulse != known:
                known, quiet = pulse, 0.0
                await _event(send, b"event: live\ndata: " + pulse + b"\n\n")
            elif quiet >= _SILENCE_S:
                quiet = 0.0
                await _event(send, b": still here\n\n")
            await asyncio.wait([gone], timeout=_EVERY_S)
            quiet += _EVERY_S
            checked += _EVERY_S
            if checked >= _CHECK_S:
                checked = 0.0
                if not await asyncio.to_thread(_is_signed_in, _cookie(scope)):
                    await _event(send, b"event: signed-out\ndata: {}\n\n")
                    break
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def write_pulse(folder: Path, pulse: dict[str, object]) -> None:
    """Say what is new (small JSON, without personal data); readers see the old or the new one, never half."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PULSE_NAME
    new = path.with_suffix(".new")
    new.write_text(json.dumps(pulse, sort_keys=True), encoding="utf-8")
    new.replace(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes().replace(b"\n", b" ") or b"{}"
    except OSError:
        return b"{}"


async def _event(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _answer(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _cookie(scope: Scope) -> str:
    from django.conf import settings

    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                found = SimpleCookie(value.decode("latin-1")).get(settings.SESSION_COOKIE_NAME)
            except CookieError:
                return ""
            return found.value if found else ""
    return ""


def _is_signed_in(session_key: str) -> bool:
    from importlib import import_module

    from django.conf import settings
    from django.contrib.auth import get_user
    from django.http import HttpRequest

    if not session_key:
        return False
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return bool(get_user(request).is_authenticated)
