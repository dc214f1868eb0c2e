"""A peer of the gateway's live protocol: a real HTTP server on the Unix socket of a worker, with documents to give."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mingbai.connectors.screening_client import socket_address

LAST = {"at": "2026-11-25T08:00:00.000000Z", "direction": "in", "pdu": "Submit2", "about": "src_id=10690001*"}
LIVE: dict[str, Any] = {
    "worker": "1", "pid": 4711, "started_at": "2026-11-25T07:00:00.000000Z", "registry": 1, "registry_problem": None,
    "policy": 0, "alarms": [
        {"code": "logins_refused", "count": 1, "since": "2026-11-25T07:30:00.000000Z", "detail": "203.0.113.9"}
    ],
    "connections": [
        {
            "id": "a17", "side": "account", "name": "sp-one", "protocol": "cmpp", "version": "3.0",
            "peer": "10.0.0.7:50122", "tls": True, "state": "bound", "since": "2026-11-25T07:10:00.000000Z",
            "in_flight": 3, "window": 16, "asked": 5, "received": 1200, "sent": 1190, "refused": 7, "rate_per_s": 41.5,
            "last_error": None, "last": [LAST],
        },
        {
            "id": "s1", "side": "smsc", "name": "north", "protocol": "smpp", "version": "3.4", "peer": "10.0.0.9:2775",
            "tls": False, "state": "open", "since": "2026-11-25T07:10:00.000000Z", "in_flight": 0, "window": 16,
            "asked": 0, "received": 10, "sent": 12, "refused": 0, "rate_per_s": 0.0, "last_error": "enquire_link",
            "last": [],
        },
    ],
    "smscs": [
        {
            "name": "north", "state": "waiting", "queued": 12, "in_flight": 1, "awaiting_reports": 4,
            "rate_per_s": 3.5, "latency_ms": 12.25, "retry_at": "2026-11-25T08:01:00.000000Z",
            "last_error": "connection refused",
        }
    ],
    "accounts": [
        {
            "name": "sp-one", "connections": 1, "rate_per_s": 41.5, "accepted": 1200, "refused": 7, "throttled": 2,
            "waiting_reports": 5, "mode": "bypass", "bypass_until": "2026-11-25T09:00:00.000000Z",
        }
    ],
    "totals": {
        "accepted": 1200, "refused": 7, "forwarded": 1100, "delivered": 1000, "expired": 3, "dead": 2, "in_doubt": 1,
        "held": 4, "queued": 12, "pending_parts": 2, "waiting_reports": 5, "unscreened": 6, "messages_per_s": 41.5,
        "latency_ms": {"p50": 3.5, "p99": 17.0},
    },
    "certificates": [{"name": "gateway", "not_after": "2026-12-05T00:00:00.000000Z"}],
}  # fmt: skip


def dead_letter(id: int, **fields: Any) -> dict[str, Any]:  # Any: JSON
    return {
        "id": str(id), "worker": "1", "account": "sp-one", "smsc": "north", "source": "106900011234",
        "destination": "13800001234", "at": "2026-11-25T07:50:00.000000Z", "reason": "undeliverable", "attempts": 10,
        "expires_at": "2026-11-26T07:50:00.000000Z", "protocol": "cmpp", "stream": "gateway-1", "seq": 17, **fields,
    }  # fmt: skip


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 16


@contextmanager
def gateway(
    data: Path, worker: str = "1", live: dict[str, Any] | None = None, **lists: list[dict[str, Any]]
) -> Iterator[None]:
    """While it is open, a worker of the gateway runs there. lists: `dead`, `doubt`."""
    document = {**(live or LIVE), "worker": worker}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            name = asked.path.strip("/")
            found: Any = None  # Any: JSON
            if name == "live":
                found = document
            elif name in ("dead", "doubt"):
                query = parse_qs(asked.query)
                rows = [one for one in lists.get(name, []) if int(one["id"]) > int(query.get("after", ["0"])[0])]
                found = {"items": rows[: int(query.get("limit", ["100"])[0])], "total": len(lists.get(name, []))}
            elif name.startswith("message/"):
                rows = [one for rows in lists.values() for one in rows if one["id"] == name.removeprefix("message/")]
                found = {**rows[0], "text": "您的验证码 482913"} if rows else None
            body = json.dumps(found if found is not None else {"error": "no such message"}).encode()
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, format: str, *args: object) -> None:
            pass

    path = data / "run" / f"gateway-{worker}.sock"
    path.parent.mkdir(exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    with socket_address(path) as address:
        server = _Server(address, Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
        path.unlink(missing_ok=True)
