"""Django's WSGI application behind an ASGI server: the body is read here, a thread answers, the answer goes back whole.

One hop to a thread and one back for an ordinary page. An answer that goes on (an export) is sent part by part from its
own thread, which waits for each part: a slow reader slows its download and nothing else.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

Scope = dict[str, Any]  # Any: ASGI's own types
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]  # Any: PEP 3333

_MOST_BODY: Final = 64 << 20  # Django's own limit is lower and answers better; this one keeps memory
_PART: Final = 256 << 10
_SWITCH_S: Final = 0.0002


class Pages:
    """The ASGI application. threads: how many requests are at work at once; others wait in line."""

    def __init__(self, application: WsgiApplication, threads: int) -> None:
        # Whoever has the database's turn gives Python's lock away with each statement, and waits this long to get it
        # back from a thread that computes: with the usual 5 ms a transaction of ten took 50, and everybody waited.
        sys.setswitchinterval(_SWITCH_S)
        self._application = application
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="page")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None:
            return
        if len(body) > _MOST_BODY:
            await _whole(send, 413, [], b"")
            return
        loop = asyncio.get_running_loop()
        answer = _Answer(send, loop)
        status, headers, rest = await loop.run_in_executor(self._pool, self._run, environ(scope, body), answer)
        if answer.is_begun:
            await send({"type": "http.response.body", "body": rest, "more_body": False})
        else:
            await _whole(send, status, headers, rest)

    def _run(
        self, given: dict[str, Any], answer: _Answer
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:  # Any: PEP 3333
        parts = bytearray()
        found = self._application(given, answer.start)
        try:
            for part in found:
                parts += part
                if len(parts) >= _PART:
                    answer.send_part(bytes(parts))
                    parts.clear()
        finally:
            close = getattr(found, "close", None)
            if close is not None:
                close()
        return answer.status, answer.headers, bytes(parts)


class _Answer:
    """What the WSGI application says of its answer, and the way out for a long one."""

    def __init__(self, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_begun = False
        self._send = send
        self._loop = loop

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        self.status = int(status.split(" ", 1)[0])
        self.headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]

    def send_part(self, part: bytes) -> None:
        """From the answer's thread. Raises what the server raises when the reader is gone."""
        asyncio.run_coroutine_threadsafe(self._part(part), self._loop).result()

    async def _part(self, part: bytes) -> None:
        if not self.is_begun:
            self.is_begun = True
            await self._send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await self._send({"type": "http.response.body", "body": part, "more_body": True})


async def _body(receive: Receive) -> bytes | None:
    """The whole body, cut where it is too long; None if the client left."""
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts += message.get("body", b"")
        if not message.get("more_body", False) or len(parts) > _MOST_BODY:
            return bytes(parts)


async def _whole(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def environ(scope: Scope, body: bytes) -> dict[str, Any]:  # Any: PEP 3333
    """PEP 3333's dictionary. Headers with `_` are left out: they could pass for ones with `-`."""
    server = scope.get("server") or ("localhost", 80)
    client = scope.get("client") or ("", 0)
    given: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if "_" in name or name == "content-length":
            continue
        key = "CONTENT_TYPE" if name == "content-type" else "HTTP_" + name.upper().replace("-", "_")
        if key in given:
            given[key] += ("; " if key == "HTTP_COOKIE" else ",") + value
        else:
            given[key] = value
    return given
