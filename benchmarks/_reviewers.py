"""Simulated reviewers at a real `mingbai serve`: real processes, real HTTP, real database and ledger.

For `python -m benchmarks review_desk` and for the test that kills processes while people work. The client is as thin as
one can be (a socket, a regular expression), because it shares the machine with what it measures.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa

_ITEM = re.compile(rb'name="item" value="(\d+)"')
_LEASE = re.compile(rb'name="lease" value="([0-9a-f-]{36})"')
_TODAY = re.compile(rb'name="today" value="(\d+)"')
_LOST = b"Your answer was not recorded"
_CSRF = "c" * 32
ANSWERS = ("allow.notification", "block.advertising", "block.fraud", "block.illegal_trade")


class Serve:
    """`mingbai serve` on a free port of this machine, with its own data directory. A context manager."""

    def __init__(self, data: Path, database_url: str = "", more: Mapping[str, str] | None = None) -> None:
        self.data = data
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.environment = {
            **os.environ,
            "MINGBAI_DATA": str(data),
            "MINGBAI_CONSOLE__ADDRESS": f"127.0.0.1:{self.port}",
            "MINGBAI_CONSOLE__REQUIRE_SECOND_FACTOR": "false",
            **({"MINGBAI_DATABASE_URL": database_url} if database_url else {}),
            **(more or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Serve:
        log = (self.data / "serve.log").open("wb")
        command = [sys.executable, "-m", "mingbai.cli", "serve", "--data", str(self.data)]
        command += ["--console", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        self.wait_ready()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def wait_ready(self, seconds: float = 120.0) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
                    if answer.status == 200 and self.pids().keys() >= {"web", "worker", "screener"}:
                        return
            except OSError:
                pass
            assert self.process is not None
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError((self.data / "serve.log").read_text(errors="replace")[-2000:])

    def pids(self) -> dict[str, int]:
        try:
            found: dict[str, int] = json.loads((self.data / "run" / "parts.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    def django(self, code: str, *arguments: str) -> Any:
        """What a piece of Python prints as JSON, run with the server's settings and database."""
        head = "import django; django.setup()\n"
        done = subprocess.run(
            [sys.executable, "-c", head + code, *arguments],
            env={**self.environment, "DJANGO_SETTINGS_MODULE": "mingbai.console.settings"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        return json.loads(done.stdout)


# Sessions are made in the database: signing 400 people in would measure Argon2.
_PEOPLE = """
import json, sys
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.db import transaction
from mingbai.contexts.people.services.accounts import create_account
from mingbai.contexts.people.services.roles import assign_role
from mingbai.kernel.clock import utc_now
store = import_module(settings.SESSION_ENGINE).SessionStore
keys = []
with transaction.atomic():
    for n in range(int(sys.argv[1])):
        who = create_account(f"reviewer-{n:04d}", actor="system", now=utc_now())
        assign_role(who, "reviewer", actor="system", now=utc_now())
        session = store()
        session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(who.pk), settings.AUTHENTICATION_BACKENDS[0]
        session[HASH_SESSION_KEY] = who.get_session_auth_hash()
        session.create()
        keys.append(session.session_key)
print(json.dumps(keys))
"""

_WAITING = """
import json
from mingbai.contexts.messaging.models import ReviewItem
print(json.dumps(ReviewItem.objects.filter(state="waiting").count()))
"""

_QUEUED = """
import json
from mingbai.contexts.messaging.models import ReviewItem
print(json.dumps(ReviewItem.objects.filter(kind__in=("held", "flagged")).count()))
"""

# What the database says of every decision that people made, and whether the chain of entries is whole.
_RECORDED = """
import json
from collections import Counter
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.messaging.models import ReviewDecision, ReviewItem
rows = ReviewDecision.objects.filter(source="person", undone_at=None).values_list("item_id", "account__username")
decided = Counter(item for item, _ in rows)
told = Counter(entry.data.get("decision") for entry in audit.entries(
    kinds=["message.released", "message.refused", "message.reviewed"]) if entry.data.get("by") == "person")
print(json.dumps({
    "decided": {str(item): count for item, count in decided.items()},
    "who": {str(item): who for item, who in rows},
    "twice": sum(count > 1 for count in decided.values()) + sum(count > 1 for count in told.values()),
    "entries": len(told), "chain": audit.verify().problem,
    "items": ReviewItem.objects.count(),
    "entries_queued_twice": ReviewItem.objects.filter(kind__in=("held", "flagged")).count()
        - ReviewItem.objects.filter(kind__in=("held", "flagged")).values("stream", "seq").distinct().count(),
}))
"""


def people(server: Serve, n: int) -> list[str]:
    """n reviewers who are signed in: their session keys."""
    found: list[str] = server.django(_PEOPLE, str(n))
    return found


def waiting(server: Serve) -> int:
    return int(server.django(_WAITING))


def queued(server: Serve) -> int:
    """Entries of the ledger that became an item, waiting or done."""
    return int(server.django(_QUEUED))


def recorded(server: Serve) -> dict[str, Any]:
    found: dict[str, Any] = server.django(_RECORDED)
    return found


def write_ledger(data: Path, rows: int, *, stream: str = "batch", seed: int = 1) -> None:
    """Held and flagged messages of made-up traffic, in commits of 256, as a gateway writes them."""
    from mingbai.engines import scenarios
    from mingbai.ledger import FileKeys, KeyStore, Ledger, Retention

    rng = np.random.default_rng(seed)
    texts = scenarios.generate(seed, min(rows, 2000)).column("text").to_pylist()
    keys = KeyStore.open_or_create(FileKeys(data / "keys.json"))
    now = datetime.now(UTC)
    spans = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())]))
    with Ledger.open(data, stream=stream, keys=keys, now=now, retention=Retention(7, 150, 150)) as ledger:
        for start in range(0, rows, 256):
            n = min(256, rows - start)
            chosen = [texts[(start + place) % len(texts)] for place in range(n)]
            batch = pa.record_batch(
                {
                    "verdict": pa.array(np.where(rng.random(n) < 0.5, 2, 1), pa.uint8()),
                    "category": pa.array(rng.choice([2, 3, 4], n), pa.uint8()),
                    "score": pa.array(rng.random(n), pa.float32()),
                    "reasons": pa.array([[10]] * n, pa.list_(pa.uint16())),
                    "rules": pa.array([["kw-1"]] * n, pa.list_(pa.string())),
                    "spans": pa.array([[{"start": 0, "end": 2}]] * n, spans),
                    "campaign": pa.array(rng.integers(1, max(2, rows // 20), n), pa.uint64()),
                    "access_code": pa.array(["10690001"] * n),
                    "text": pa.array(chosen),
                    "normalised": pa.array(chosen),
                    "sender": pa.array([f"106900{k % 900:05d}" for k in range(n)]),
                    "receiver": pa.array([f"+86138{rng.integers(10**8):08d}" for _ in range(n)]),
                }
            )
            ledger.record(batch, now=datetime.now(UTC))


@dataclass
class Log:
    """What the reviewers saw."""

    given: dict[int, set[int]] = field(default_factory=dict)  # item -> reviewers that it was shown to
    decided: dict[int, int] = field(default_factory=dict)  # item -> reviewer, acknowledged
    lost: int = 0
    retries: int = 0
    took_s: list[float] = field(default_factory=list)  # of each decision
    errors: list[str] = field(default_factory=list)

    @property
    def given_twice(self) -> int:
        return sum(len(who) > 1 for who in self.given.values())


class Reviewer:
    """One person: takes a message, reads it for `pause_s`, decides, gets the next."""

    def __init__(self, number: int, port: int, session: str, log: Log, pause_s: float) -> None:
        self._number = number
        self._port = port
        self._log = log
        self._pause_s = pause_s
        self._random = random.Random(number)
        self._head = (
            f"Host: 127.0.0.1:{port}\r\n"
            f"Cookie: mingbai_session={session}; mingbai_csrf={_CSRF}; mingbai_language=en\r\n"
            f"X-CSRFToken: {_CSRF}\r\nHX-Request: true\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        )
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def work(self, until: float) -> None:
        """Until a moment of the monotonic clock. A request without an answer is repeated as it was."""
        await asyncio.sleep(self._random.random() * self._pause_s)
        held = self._held(await self._surely("/review/take/", {}))
        while time.monotonic() < until:
            if held is None:
                await asyncio.sleep(self._pause_s)
                held = self._held(await self._surely("/review/take/", {}))
                continue
            await asyncio.sleep(self._pause_s * (0.8 + 0.4 * self._random.random()))
            item, lease, today = held
            form = {"item": str(item), "lease": lease, "today": today, "queue": ""}
            form["answer"] = ANSWERS[item % len(ANSWERS)]
            began = time.perf_counter()
            page = await self._surely("/review/decide/", form)
            self._log.took_s.append(time.perf_counter() - began)
            if _LOST in page:
                self._log.lost += 1
            else:
                self._log.decided[item] = self._number
            held = self._held(page)
        if self._streams is not None:
            self._streams[1].close()

    def _held(self, page: bytes) -> tuple[int, str, str] | None:
        """Item, lease and how many it says were decided today: what the form sends back."""
        item, lease, today = _ITEM.search(page), _LEASE.search(page), _TODAY.search(page)
        if item is None or lease is None or today is None:
            return None
        self._log.given.setdefault(int(item[1]), set()).add(self._number)
        return int(item[1]), lease[1].decode(), today[1].decode()

    async def _surely(self, path: str, form: dict[str, str]) -> bytes:
        for _ in range(600):
            try:
                status, page = await asyncio.wait_for(self._post(path, form), 30)
            except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                status, page = 0, b""
            if status == 200:
                return page
            if status:
                self._log.errors.append(f"{path} {status}")
            self._log.retries += 1
            self._streams = None
            await asyncio.sleep(0.1 + 0.2 * self._random.random())
        raise RuntimeError(f"{path}: no answer")

    async def _post(self, path: str, form: dict[str, str]) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        body = urlencode(form)
        writer.write(f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        page = await reader.readexactly(int(length[1])) if length else b""
        if not length and b"chunked" in head.lower():
            raise ValueError("an answer without a length")
        return status, page


async def bare_pages(port: int, until: float, took_s: list[float]) -> None:
    """The peer: how long /healthz takes meanwhile, which asks the database one question."""
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while time.monotonic() < until:
        await asyncio.sleep(0.2)
        began = time.perf_counter()
        try:
            if streams is None:
                streams = await asyncio.open_connection("127.0.0.1", port)
            streams[1].write(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            head = await asyncio.wait_for(streams[0].readuntil(b"\r\n\r\n"), 10)
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            await streams[0].readexactly(int(length[1]) if length else 0)
        except (OSError, EOFError, TimeoutError):
            streams = None
            continue
        took_s.append(time.perf_counter() - began)
