"""Several workers on one port: a peer's connection is with one of them, and its message or report may be another's.

What a worker cannot place it offers to the others over their Unix sockets, many at a time: a report whose message it
does not know, a report or a subscriber's message for an account that is connected elsewhere. Who takes something has it
on the disk before it says so, and the giver forgets it only then; a kill in between tells an account twice, never not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec
from aiohttp import web

from mingbai.gateway.items import Kind, Originated, Owed, Record, originated_of, owed_of
from mingbai.gateway.upstream import report_of

if TYPE_CHECKING:
    from mingbai.gateway.exchange import Exchange

log = logging.getLogger(__name__)

_EVERY_S: Final = 0.05
_MOST: Final = 500
_PATIENCE_S: Final = 2.0


class Siblings:
    """One worker's side of both: what it offers, and what it takes. All on the loop's thread."""

    def __init__(self, exchange: Exchange, run_dir: Path, worker: int) -> None:
        self._exchange = exchange
        self._run_dir = run_dir
        self._own = f"gateway-{worker}.sock"
        self._encoder = msgspec.msgpack.Encoder()
        self._clients: dict[Path, aiohttp.ClientSession] = {}
        self._strays: dict[int, tuple[str, Record]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._exchange.on_stray = self._stray
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for client in self._clients.values():
            await client.close()

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/siblings/reports", self._take_reports)
        app.router.add_post("/siblings/owed", self._take_owed)

    # -- offering

    def _stray(self, number: int, smsc: str, values: Record) -> None:
        self._strays[number] = (smsc, values)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            others = self._others()
            try:
                if self._strays:
                    await self._offer_strays(others)
                await self._offer_owed(others)
            except Exception:  # one round must not end all rounds
                log.exception("a round failed")

    async def _offer_strays(self, others: Sequence[Path]) -> None:
        offered = dict(list(self._strays.items())[:_MOST])
        for number in offered:
            del self._strays[number]
        for path in others:
            rows = [(number, smsc, values) for number, (smsc, values) in offered.items()]
            for number in await self._post(path, "reports", rows):
                offered.pop(number, None)
                self._exchange.dispatch.handed_over(number)
            if not offered:
                return

    async def _offer_owed(self, others: Sequence[Path]) -> None:
        for partner in list(self._exchange.partners.values()):
            if not partner.outbox or partner.receivers or partner.account.callback:
                continue
            waiting = [one for one in list(partner.outbox)[:_MOST] if not one.attempts]
            for path in others:
                taken = set(await self._post(path, "owed", [one.record() for one in waiting]))
                if taken:
                    for one in [one for one in partner.outbox if one.id in taken]:
                        partner.outbox.remove(one)
                        self._exchange.dispatch.told(one)
                    self._exchange.wake(partner)
                    break

    async def _post(self, path: Path, what: str, rows: Sequence[Any]) -> list[int]:  # Any: MessagePack
        """Ids of what the other took; none where it is away."""
        client = self._client(path)
        try:
            async with client.post(f"http://sibling/siblings/{what}", data=self._encoder.encode(rows)) as answer:
                if answer.status != 200:
                    return []
                taken: list[int] = msgspec.msgpack.decode(await answer.read())
                return taken
        except (aiohttp.ClientError, OSError, TimeoutError):
            return []

    def _client(self, path: Path) -> aiohttp.ClientSession:
        client = self._clients.get(path)
        if client is None:
            timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
            client = self._clients[path] = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(path)), timeout=timeout
            )
        return client

    async def documents(self) -> list[dict[str, Any]]:  # Any: JSON
        """What the others that answer say of themselves, as `Live.document`."""
        return [one for one in await asyncio.gather(*map(self._document, self._others())) if one is not None]

    async def _document(self, path: Path) -> dict[str, Any] | None:  # Any: as above
        try:
            async with self._client(path).get("http://sibling/live") as answer:
                found: dict[str, Any] = await answer.json()
                return found if answer.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None

    def _others(self) -> list[Path]:
        return sorted(path for path in self._run_dir.glob("gateway-*.sock") if path.name != self._own)

    # -- taking

    async def _take_reports(self, request: web.Request) -> web.Response:
        """Reports of messages that went out by this worker."""
        exchange = self._exchange
        taken = []
        for number, smsc, values in msgspec.msgpack.decode(await request.read()):
            upstream = exchange.upstreams.get(smsc)
            if upstream is not None and upstream.is_own(report_of(values)):
                upstream.reported(report_of(values))
                taken.append(number)
        await self._durable()
        return web.Response(body=self._encoder.encode(taken))

    async def _take_owed(self, request: web.Request) -> web.Response:
        """What an account has to be told that is connected here."""
        exchange = self._exchange
        taken = []
        for record in msgspec.msgpack.decode(await request.read()):
            one: Owed | Originated = owed_of(record, -1) if record[0] == Kind.REPORT else originated_of(record, -1)
            partner = exchange.partners.get(one.account)
            if partner is not None and partner.receivers:
                exchange.dispatch.take_over(one)
                taken.append(one.id)
        await self._durable()
        return web.Response(body=self._encoder.encode(taken))

    async def _durable(self) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell() -> None:
            if not done.done():
                done.set_result(None)

        self._exchange.when_durable(tell)
        await done
