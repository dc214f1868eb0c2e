"""What the gateway shows of itself: each worker answers read-only JSON on a Unix socket; asked here, never kept.

    DATA/run/gateway-<worker>.sock     GET /live, /dead, /doubt, /message/ID

A worker that does not answer within moments is one that does not run: pages ask every two seconds, and a web server's
thread is not to wait longer for a figure than a person looks at it. Numbers come in clear; who shows them masks them.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from mingbai.connectors.screening_client import socket_address
from mingbai.kernel.errors import MingbaiError

_TIMEOUT_S: Final = 1.0
_MOST_BYTES: Final = 64 << 20
_NAME = re.compile(r"gateway-([0-9]{1,3})\.sock")
MOST_LISTED: Final = 500  # what a worker gives at once

Document = dict[str, Any]  # Any: JSON


class GatewayUnavailable(MingbaiError):
    """A worker of the gateway does not answer, or not as agreed."""

    code = "gateway_unavailable"
    template = "the gateway does not answer: {detail}"
    retryable = True


@dataclass(frozen=True, slots=True)
class Listed:
    """Messages of a list of all workers, oldest first. total: of all, also of those not given here."""

    items: tuple[Document, ...]
    total: int
    is_whole: bool  # every worker whose socket is there has answered


def workers(data_dir: Path) -> list[str]:
    """Names of the workers that have a socket; whether they run, only asking says."""
    found = [match[1] for path in (data_dir / "run").glob("gateway-*.sock") if (match := _NAME.fullmatch(path.name))]
    return sorted(found, key=int)


def live(data_dir: Path, timeout_s: float = _TIMEOUT_S) -> list[Document]:
    """What each worker that answers says of itself now; none: the gateway does not run."""
    return [document for _, document in _each(data_dir, "/live", timeout_s)]


def listed(data_dir: Path, which: str, *, after: str = "", limit: int = 100, timeout_s: float = _TIMEOUT_S) -> Listed:
    """Dead letters (`dead`) or messages in doubt (`doubt`) after the one with the id `after`, at most `limit`."""
    query = urlencode({"limit": min(limit, MOST_LISTED), **({"after": after} if after else {})})
    answers = _each(data_dir, f"/{which}?{query}", timeout_s)
    items = sorted((one for _, answer in answers for one in _items(answer)), key=lambda one: _order(str(one["id"])))
    total = sum(int(answer.get("total", 0)) for _, answer in answers)
    return Listed(tuple(items[:limit]), total, len(answers) == len(workers(data_dir)))


def message(data_dir: Path, id: str, timeout_s: float = _TIMEOUT_S) -> Document | None:
    """One message that a worker has in hand, with its text; None: no worker that answers has it."""
    found = _each(data_dir, f"/message/{quote(id, safe='')}", timeout_s)
    return found[0][1] if found else None


def _each(data_dir: Path, path: str, timeout_s: float) -> list[tuple[str, Document]]:
    found = []
    for worker in workers(data_dir):
        try:
            found.append((worker, ask(data_dir, worker, path, timeout_s)))
        except GatewayUnavailable:  # its part is missing: whoever shows the figures says which workers they are of
            continue
    return found


def ask(data_dir: Path, worker: str, path: str, timeout_s: float = _TIMEOUT_S) -> Document:
    """One worker's answer. Raises GatewayUnavailable."""
    connection = _Connection(data_dir / "run" / f"gateway-{worker}.sock", timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(_MOST_BYTES)
        if answer.status != 200:
            raise GatewayUnavailable(detail=f"worker {worker}: status {answer.status}")
        found = json.loads(body)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise GatewayUnavailable(detail=f"worker {worker}: {type(error).__name__}") from error
    finally:
        connection.close()
    if not isinstance(found, dict):
        raise GatewayUnavailable(detail=f"worker {worker}: no JSON object")
    return found


def _items(answer: Document) -> Iterable[Document]:
    given = answer.get("items")
    return [one for one in given if isinstance(one, dict) and "id" in one] if isinstance(given, list) else []


def _order(id: str) -> tuple[int, str]:
    """Ids are numbers that grow, as text."""
    return len(id), id


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with socket_address(self._path) as address:
            self.sock.connect(address)
