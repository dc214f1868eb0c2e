"""What a worker shows of itself: live state on a Unix socket for the console, metrics and health on a loopback port.

Read-only, never stored. `DATA/run/gateway-<worker>.sock` answers JSON (`connectors.gateway_live` reads it); numbers are
in clear there, because the file belongs to the operator's account alone and the console masks them for people.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from mingbai.connectors.screening_client import socket_address
from mingbai.gateway.connection import Connection
from mingbai.gateway.http_door import HttpDoor
from mingbai.gateway.items import Item, Stage
from mingbai.gateway.metrics import TOTALS, metrics_of
from mingbai.gateway.partner import Partner
from mingbai.gateway.upstream import Upstream
from mingbai.kernel.clock import format_utc, utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.masking import masked_number
from mingbai.protocols.text import decode

if TYPE_CHECKING:
    from mingbai.gateway.worker import Gateway

_NOT_READY: Final = frozenset(("ledger_cannot_write", "journal_cannot_write"))
_MOST_LISTED: Final = 500


class Live:
    """The servers of one worker."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._runners: list[web.AppRunner] = []
        self._is_open = False
        self.ports: dict[str, int] = {}

    async def open(self) -> None:
        """Raises OSError where a port is taken."""
        gateway, settings = self._gateway, self._gateway.settings
        app = web.Application()
        app.router.add_get("/live", self._live)
        app.router.add_get("/dead", self._dead)
        app.router.add_get("/doubt", self._doubt)
        app.router.add_get("/message/{id}", self._message)
        gateway.siblings.routes(app)
        runner = await self._runner(app)
        await web.SockSite(runner, _unix_socket(gateway)).start()
        if settings.gateway.metrics and gateway.worker == 1:
            shown = web.Application()
            shown.router.add_get("/metrics", self._metrics)
            shown.router.add_get("/healthz", self._healthz)
            shown.router.add_get("/readyz", self._readyz)
            await self._serve("metrics", shown, settings.gateway.metrics)
        if settings.gateway.http:
            await self._serve("http", HttpDoor(gateway.exchange, gateway.doors).app, settings.gateway.http)
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False
        for runner in self._runners:
            await runner.cleanup()
        with contextlib.suppress(OSError):
            _path(self._gateway).unlink()

    async def _runner(self, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0)
        await runner.setup()
        self._runners.append(runner)
        return runner

    async def _serve(self, name: str, app: web.Application, place: str) -> None:
        is_tls = place.startswith("tls:")
        host, _, port = place.removeprefix("tls:").rpartition(":")
        context = self._gateway.tls_context if is_tls else None
        if is_tls and context is None:
            raise BadValue(field=name, value="tls", expected="gateway.tls_certificate and tls_key too")
        runner = await self._runner(app)
        site = web.TCPSite(
            runner,
            host.strip("[]"),
            int(port),
            ssl_context=context,
            reuse_port=self._gateway.settings.gateway.workers > 1 or None,
        )
        await site.start()
        self.ports[name] = runner.addresses[0][1]

    # -- JSON

    async def _live(self, request: web.Request) -> web.Response:
        return web.json_response(self.document())

    def document(self) -> dict[str, Any]:  # Any: JSON
        gateway, exchange, now = self._gateway, self._gateway.exchange, utc_now()
        at = time.monotonic()
        store = exchange.store
        stages = _stages(store.items.values())
        return {
            "worker": str(gateway.worker),
            "pid": os.getpid(),
            "started_at": format_utc(gateway.started),
            "registry": gateway.registry.in_force.version,
            "registry_problem": gateway.registry.problem,
            "policy": gateway.policy_version,
            "alarms": gateway.alarms.documents(now),
            "problems": self._problems(),
            "connections": list(self._connections(now)),
            "smscs": [_smsc_document(one, exchange.store.items.values()) for one in exchange.upstreams.values()],
            "accounts": [_account_document(one, now) for one in exchange.partners.values()],
            "totals": {
                **{name: exchange.totals[name] for name in TOTALS},
                "held": stages[Stage.HELD],
                "queued": stages[Stage.QUEUED],
                "in_flight": stages[Stage.SENT],
                "pending_parts": stages[Stage.PENDING],
                "dead": stages[Stage.DEAD],
                "in_doubt": stages[Stage.DOUBT],
                "waiting_reports": store.awaiting,
                "reports_to_tell": len(store.owed) + len(store.originated),
                "messages_per_s": round(exchange.meter.rate_per_s(at), 3),
                "latency_ms": {
                    "p50": exchange.meter.latency_ms(at, 0.5),
                    "p99": exchange.meter.latency_ms(at, 0.99),
                },
            },
            "refusals": dict(exchange.refusals),
            "logins_refused": gateway.doors.refused_logins,
            "certificates": gateway.certificates(),
        }

    def _connections(self, now: datetime) -> Iterator[dict[str, Any]]:  # Any: JSON
        for upstream in self._gateway.exchange.upstreams.values():
            for connection in upstream.connections:
                yield _connection_document(connection, "smsc", upstream.smsc.name, now)
        for connection in self._gateway.doors.connections:
            party = connection.account
            if isinstance(party, Partner):
                yield _connection_document(connection, "account", party.account.name, now)
            elif isinstance(party, Upstream):
                yield _connection_document(connection, "smsc", party.smsc.name, now)
            else:
                yield _connection_document(connection, "account", "", now)

    async def _dead(self, request: web.Request) -> web.Response:
        return await self._list(request, Stage.DEAD)

    async def _doubt(self, request: web.Request) -> web.Response:
        return await self._list(request, Stage.DOUBT)

    async def _list(self, request: web.Request, stage: Stage) -> web.Response:
        try:
            after, limit = int(request.query.get("after", "0")), int(request.query.get("limit", "100"))
        except ValueError:
            return web.json_response({"error": "after, limit: whole numbers"}, status=422)
        found = sorted(
            (one for one in self._gateway.exchange.store.items.values() if one.stage is stage), key=lambda one: one.id
        )
        chosen = [one for one in found if one.id > after][: min(limit, _MOST_LISTED)]
        items = [self._item_document(one) for one in chosen]
        return web.json_response({"items": items, "total": len(found)})

    async def _message(self, request: web.Request) -> web.Response:
        number = request.match_info["id"]
        found = self._gateway.exchange.store.items.get(int(number)) if number.isdigit() else None
        if found is None:
            return web.json_response({"error": "no such message"}, status=404)
        part = found.message.part()
        text = decode(part.payload, found.message.coding).text if part.is_readable else ""
        return web.json_response({**self._item_document(found), "text": text})

    def _item_document(self, item: Item) -> dict[str, Any]:  # Any: JSON
        return {
            "id": str(item.id),
            "worker": str(self._gateway.worker),
            "account": item.account,
            "smsc": item.smsc or None,
            "source": item.message.source,
            "destination": item.destination,
            "at": format_utc(datetime.fromtimestamp(item.accepted, UTC)),
            "reason": item.reason,
            "attempts": item.attempts,
            "expires_at": format_utc(datetime.fromtimestamp(item.expires, UTC)),
            "protocol": item.protocol,
            "stream": f"gateway-{self._gateway.worker}",
            "seq": item.entry or None,
        }

    # -- health

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=metrics_of(await self._all()), content_type="text/plain", charset="utf-8")

    async def _all(self) -> list[dict[str, Any]]:  # Any: JSON
        """What this worker and each other that answers say of themselves."""
        return [self.document(), *await self._gateway.siblings.documents()]

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        """Whether messages can be taken: who balances between hosts asks this."""
        wrong = sorted({problem for document in await self._all() for problem in document["problems"]})
        return web.json_response({"ready": not wrong, "problems": wrong}, status=503 if wrong else 200)

    def _problems(self) -> list[str]:
        """Why messages cannot be taken now."""
        wrong = [str(one["code"]) for one in self._gateway.alarms.documents(utc_now()) if one["code"] in _NOT_READY]
        if self._gateway.exchange.is_full:
            wrong.append("full")
        return wrong if self._is_open else [*wrong, "closed"]


def _stages(items: Iterable[Item]) -> dict[Stage, int]:
    found = dict.fromkeys(Stage, 0)
    for item in items:
        found[item.stage] += 1
    return found


def _connection_document(connection: Connection, side: str, name: str, now: datetime) -> dict[str, Any]:  # Any: JSON
    link = connection.link
    version = getattr(connection.dialect, "version", 0)
    at = asyncio.get_running_loop().time()
    return {
        "id": connection.token or f"{id(connection):x}",
        "side": side,
        "name": name,
        "protocol": connection.dialect.name if connection.dialect is not None else "",
        "version": f"{version >> 4}.{version & 15}" if version else "1.2",
        "peer": f"{connection.peer[0]}:{connection.peer[1]}",
        "tls": connection.is_tls,
        "state": link.phase.value,
        "since": format_utc(connection.since),
        "in_flight": link.in_flight,
        "window": link.window,
        "asked": link.asked,
        "received": link.received,
        "sent": link.sent,
        "refused": connection.refused,
        "rate_per_s": round(connection.rate.per_s, 1),
        "is_stalled": connection.is_stalled,
        "last_error": None if link.ended is None else link.ended.value,
        "last": [
            {
                "at": format_utc(now - timedelta(seconds=at - when)),
                "direction": way,
                "pdu": type(pdu).__name__,
                "about": about(pdu),
            }
            for when, way, pdu in link.recent
        ],
    }


def _smsc_document(upstream: Upstream, items: Iterable[Item]) -> dict[str, Any]:  # Any: JSON
    return {
        "name": upstream.smsc.name,
        "protocol": upstream.smsc.protocol.value,
        "address": upstream.smsc.address,
        "state": upstream.state,
        "connections": upstream.bound,
        "queued": len(upstream.queue),
        "in_flight": upstream.in_flight,
        "awaiting_reports": len(upstream.matcher),
        "sent": upstream.sent,
        "rate_per_s": round(upstream.rate.per_s, 1),
        "latency_ms": None if upstream.latency_s is None else round(upstream.latency_s * 1000, 3),
        "retry_at": None if upstream.retry_at is None else format_utc(upstream.retry_at),
        "last_error": upstream.last_error,
    }


def _account_document(partner: Partner, now: datetime) -> dict[str, Any]:  # Any: JSON
    account = partner.account
    return {
        "name": account.name,
        "protocol": partner.protocol,
        "connections": len(partner.connections),
        "rate_per_s": round(partner.rate.per_s, 1),
        "accepted": partner.accepted,
        "refused": partner.refused,
        "throttled": partner.throttled,
        "waiting_reports": len(partner.outbox),
        "fields_absent": {name: partner.absent[name] for name in account.brought},
        "mode": account.mode_at(now).value,
        "bypass_until": None if account.bypass_until is None else format_utc(account.bypass_until),
    }


def about(pdu: Any) -> str:  # Any: a PDU of any protocol
    """What a page may show of a PDU: numbers masked, no text, no secret."""
    parts = []
    for name in _SHOWN:
        value = getattr(pdu, name, None)
        if value is None or value == b"" or value == ():
            continue
        if isinstance(value, tuple):
            value = value[0] if len(value) == 1 else f"{len(value)} numbers"
        text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
        parts.append(f"{name}={masked_number(text) if name in _NUMBERS else text}")
    return " ".join(parts)


_NUMBERS: Final = frozenset(
    ("dest_terminal_id", "user_number", "dest_term_id", "destination_addr", "src_terminal_id", "source_addr")
)
_SHOWN: Final = (
    "sequence", "status", "result", "msg_id", "message_id", "src_id", "sp_number", "src_term_id", "source_addr",
    "dest_terminal_id", "user_number", "dest_term_id", "destination_addr", "msg_fmt", "data_coding", "message_coding",
    "msg_format", "registered_delivery", "is_report", "pk_total", "pk_number", "esm_class",
)  # fmt: skip


def _path(gateway: Gateway) -> Any:  # Any: a Path
    return gateway.settings.data / "run" / f"gateway-{gateway.worker}.sock"


def _unix_socket(gateway: Gateway) -> socket.socket:
    path = _path(gateway)
    path.parent.mkdir(exist_ok=True, mode=0o700)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with socket_address(new) as address:
            listening.bind(address)
        new.chmod(0o600)
        listening.listen(64)
        new.rename(path)
    except BaseException:
        listening.close()
        raise
    return listening
