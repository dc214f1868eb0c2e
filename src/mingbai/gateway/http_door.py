"""Messages by HTTP and JSON, for whoever speaks no SMS protocol.

    POST /v1/messages          {"from", "to": [...], "text", "report": true, "valid_until", "service"}; of a network
                               also "imsi", "msc", "cell", "device"
    GET  /v1/reports?limit=N   reports and messages of subscribers that wait; POST /v1/reports/taken {"ids": [...]}

Signed in by HTTP Basic: the account's login and secret. The same checks, decisions and failure rules as for every other
protocol; errors are problems (RFC 9457). A text of any length is split here. An answer of 202 means: on the disk.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from mingbai.connectors.gateway_registry import Account, unseal
from mingbai.gateway.doors import Doors
from mingbai.gateway.intake import Ask
from mingbai.gateway.items import Originated, Owed
from mingbai.gateway.partner import Partner
from mingbai.kernel.clock import format_utc, parse_utc
from mingbai.kernel.errors import BadValue
from mingbai.protocols.messages import ShortMessage, Wanted
from mingbai.protocols.optional_fields import PATTERNS, fits
from mingbai.protocols.receipts import word_of
from mingbai.protocols.reports import Refusal
from mingbai.protocols.text import Encoding, best_coding, coding_of, decode, encode

if TYPE_CHECKING:
    from mingbai.gateway.exchange import Exchange

_MOST_BODY: Final = 64 << 10
_MOST_RECIPIENTS: Final = 100
_MOST_TEXT: Final = 2000
_STATUS: Final = {
    Refusal.THROTTLED: 429,
    Refusal.TRY_LATER: 503,
    Refusal.QUEUE_FULL: 503,
    Refusal.SYSTEM: 503,
    Refusal.BLOCKED: 403,
    Refusal.NOT_ALLOWED: 403,
    Refusal.BAD_SOURCE: 403,
}
_FIELDS: Final = frozenset(("from", "to", "text", "report", "valid_until", "service", *PATTERNS))


class Waiting:
    """A request in the place of a PDU: the exchange answers it."""

    def __init__(self) -> None:
        self.future: asyncio.Future[tuple[str, Refusal | None]] = asyncio.get_running_loop().create_future()

    def answered(self, peer_id: str, refusal: Refusal | None) -> None:
        if not self.future.done():
            self.future.set_result((peer_id, refusal))


class HttpDoor:
    """The application; `app` is served by whoever owns the port."""

    def __init__(self, exchange: Exchange, doors: Doors) -> None:
        self._exchange = exchange
        self._doors = doors
        self.app = web.Application(client_max_size=_MOST_BODY, middlewares=[_problems])
        self.app.router.add_post("/v1/messages", self._submit)
        self.app.router.add_get("/v1/reports", self._reports)
        self.app.router.add_post("/v1/reports/taken", self._taken)

    async def _submit(self, request: web.Request) -> web.Response:
        partner = self._partner(request)
        given = await _json(request)
        exchange = self._exchange
        now = exchange.now()
        account = partner.account
        message, fields = read_message(given, now), read_network_fields(given, account)
        if not exchange.shared.take(account.name, account.rate_per_s, 1, exchange.loop_time()):
            partner.throttled += 1
            exchange.counted(Refusal.THROTTLED)
            raise _problem(429, "throttled", f"at most {account.rate_per_s} messages a second")
        waiting = Waiting()
        exchange.message(message, Ask(None, waiting, partner, "", exchange.loop_time(), fields), now)
        peer_id, refusal = await waiting.future
        if refusal is not None:
            raise _problem(_STATUS.get(refusal, 422), refusal.name.lower(), "the message was not taken")
        return web.json_response({"id": peer_id, "to": list(message.destinations)}, status=202)

    async def _reports(self, request: web.Request) -> web.Response:
        partner = self._partner(request)
        try:
            limit = min(1000, max(1, int(request.query.get("limit", "100"))))
        except ValueError:
            raise _problem(422, "bad_value", "limit: expected a whole number") from None
        return web.json_response({"items": [_document(one) for one in list(partner.outbox)[:limit]]})

    async def _taken(self, request: web.Request) -> web.Response:
        partner = self._partner(request)
        given = await _json(request)
        ids = given.get("ids")
        if not isinstance(ids, list):
            raise _problem(422, "bad_value", "ids: expected a list")
        wanted = {str(one) for one in ids}
        taken = [one for one in partner.outbox if str(one.id) in wanted]
        for one in taken:
            partner.outbox.remove(one)
            self._exchange.dispatch.told(one)
        self._exchange.wake(partner)
        return web.json_response({"taken": len(taken)})

    def _partner(self, request: web.Request) -> Partner:
        """Who asks. Raises a problem that says nothing of why."""
        address, now = request.remote or "", self._exchange.loop_time()
        if self._doors.guard.wait_s(address, now) > 0:
            raise _problem(429, "too_many_failures", "try again later")
        name, secret = _basic(request.headers.get("Authorization", ""))
        account = self._exchange.registry.by_login.get(("http", name))
        known = b"\0nobody" if account is None or not account.active else unseal(self._exchange.keys, account.secret)
        is_proven = bool(known) and hmac.compare_digest(known, secret) and account is not None
        if not is_proven or account is None or not self._doors.is_address_allowed(address, account):
            self._doors.guard.failed(address, now)
            raise _problem(401, "not_signed_in", "name or secret are wrong")
        self._doors.guard.succeeded(address)
        return self._exchange.partners[account.name]


def read_message(given: dict[str, Any], now: datetime) -> ShortMessage:  # Any: JSON
    """Raises a problem that names the field."""
    for name in given:
        if name not in _FIELDS:
            raise _problem(422, "bad_value", f"{name}: no such field; there are {', '.join(sorted(_FIELDS))}")
    to = given.get("to")
    numbers = [to] if isinstance(to, str) else to
    if not isinstance(numbers, list) or not 0 < len(numbers) <= _MOST_RECIPIENTS:
        raise _problem(422, "bad_value", f"to: expected 1 to {_MOST_RECIPIENTS} numbers")
    text = given.get("text")
    if not isinstance(text, str) or not 0 < len(text) <= _MOST_TEXT:
        raise _problem(422, "bad_value", f"text: expected 1 to {_MOST_TEXT} characters")
    valid_until = None
    if given.get("valid_until") is not None:
        try:
            valid_until = parse_utc(str(given["valid_until"]))
        except BadValue as error:
            raise _problem(422, "bad_value", f"valid_until: expected {error.data['expected']}") from None
    coding = best_coding(text, "cmpp")
    if coding.encoding not in (Encoding.ASCII, Encoding.UCS2, Encoding.GB18030):
        coding = coding_of("cmpp", 8)
    return ShortMessage(
        source=str(given.get("from", "")),
        destinations=tuple(str(one) for one in numbers),
        content=encode(text, coding),
        coding=coding,
        wanted=Wanted.ALL if given.get("report", False) else Wanted.NONE,
        service=str(given.get("service", ""))[:10],
        valid_until=valid_until,
    )


def read_network_fields(given: dict[str, Any], account: Account) -> dict[str, str] | None:  # Any: JSON
    """What a feed knows of a message between persons; None: nothing. Raises a problem that names the field."""
    found = {}
    for name, pattern in PATTERNS.items():
        value = given.get(name)
        if value is None:
            continue
        if name not in account.brought:
            raise _problem(422, "bad_value", f'{name}: only of an account whose party is "network"')
        if not isinstance(value, str) or not fits(name, value):
            raise _problem(422, "bad_value", f"{name}: expected a text like {pattern}")
        found[name] = value
    return found or None


def _document(one: Owed | Originated) -> dict[str, object]:
    if isinstance(one, Owed):
        return {
            "kind": "report",
            "id": str(one.id),
            "message": one.peer_id,
            "to": one.destination,
            "state": one.state.name.lower(),
            "stat": one.stat or word_of(one.state),
            "at": format_utc(datetime.fromtimestamp(one.done, UTC)),
        }
    return {
        "kind": "message",
        "id": str(one.id),
        "from": one.message.source,
        "to": one.message.destinations[0],
        "text": decode(one.message.part().payload, one.message.coding).text,
        "at": format_utc(datetime.fromtimestamp(one.accepted, UTC)),
    }


def _basic(header: str) -> tuple[str, bytes]:
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            name, colon, secret = base64.b64decode(credentials, validate=True).partition(b":")
            if colon:
                return name.decode(), secret
        except (binascii.Error, UnicodeDecodeError):
            pass  # said by the caller
    return "", b""


async def _json(request: web.Request) -> dict[str, Any]:  # Any: JSON
    try:
        given = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise _problem(400, "no_json", "expected a JSON object") from None
    if not isinstance(given, dict):
        raise _problem(400, "no_json", "expected a JSON object")
    return given


class _Problem(Exception):
    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


def _problem(status: int, code: str, detail: str) -> _Problem:
    return _Problem(status, code, detail)


@web.middleware
async def _problems(request: web.Request, handler: Any) -> web.StreamResponse:  # Any: aiohttp's handler
    try:
        answer: web.StreamResponse = await handler(request)
        return answer
    except _Problem as problem:
        headers = {"WWW-Authenticate": 'Basic realm="mingbai"'} if problem.status == 401 else {}
        if problem.status in (429, 503):
            headers["Retry-After"] = "1"
        return web.json_response(
            {"type": f"urn:mingbai:{problem.code}", "title": problem.code, "status": problem.status,
             "detail": problem.detail},
            status=problem.status, headers=headers, content_type="application/problem+json",
        )  # fmt: skip
