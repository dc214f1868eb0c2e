"""kill -9 of the gateway and of the SMSC under load: every message id is accounted for, none is lost, none doubled."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from mingbai.connectors.gateway_registry import publish_registry
from mingbai.connectors.ledger_access import open_keys
from mingbai.kernel.clock import utc_now
from mingbai.ledger import verify
from mingbai.protocols.receipts import State
from mingbai.protocols.reports import Report
from mingbai.protocols.text import decode
from mingbai.settings import load_settings
from tests.gateway.rig import HAM, Provider, Smsc, registry, story
from tests.peers.mail import free_port


class Process:
    """`mingbai gateway` with one worker, killed and started again."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        ports = {name: "off" for name in ("SGIP", "SMGP", "SMPP", "HTTP", "METRICS")}
        environment = {
            **os.environ,
            **{f"MINGBAI_GATEWAY__{name}": value for name, value in ports.items()},
            "MINGBAI_GATEWAY__CMPP": f"127.0.0.1:{self.port}",
            "MINGBAI_GATEWAY__WORKERS": "1",
            "MINGBAI_DATA": str(self.data),
        }
        code = "from mingbai.server import run_part; from mingbai.settings import load_settings; import os, sys; "
        code += "run_part('gateway-1', load_settings(), os.getppid())"
        self._process = subprocess.Popen([sys.executable, "-c", code], env=environment, start_new_session=True)

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        return self._process.wait(60)

    async def live(self, path: str) -> dict[str, Any]:  # Any: JSON
        connector = aiohttp.UnixConnector(str(self.data / "run" / "gateway-1.sock"))
        async with aiohttp.ClientSession(connector=connector) as client, client.get(f"http://gateway{path}") as answer:
            found: dict[str, Any] = await answer.json()
            return found


class Sender:
    """A provider that never gives up: what was not answered is not sent again, because nobody knows."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.accepted: dict[str, str] = {}  # message id -> our own number of it
        self.unanswered: set[str] = set()
        self.reports: list[Report] = []
        self.sent = 0
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        while not self.stopping.is_set():
            provider = Provider("cmpp", self.port, window=32, reports=self.reports)
            try:
                await provider.start()
            except OSError:
                await asyncio.sleep(0.05)
                continue
            if not provider.is_in:
                await asyncio.sleep(0.2)
                continue
            tags: dict[Any, str] = {}
            while provider.gone is None and not self.stopping.is_set():
                assert provider.connection is not None
                for _ in range(min(8, provider.connection.link.room)):
                    self.sent += 1
                    name = f"{self.sent:06d}"
                    tags[provider.text(f"{HAM}#{name}", f"138{self.sent:08d}")] = name
                self._collect(provider, tags)
                await asyncio.sleep(0.004)
            if provider.gone is None:
                with suppress(TimeoutError):
                    await provider.until(lambda: not provider._sent, 20.0)  # noqa: B023 - awaited here
            self._collect(provider, tags)
            self.unanswered |= set(tags.values())
            if provider.gone is None and self.stopping.is_set():
                self.last = provider
                return
            await asyncio.sleep(0.05)

    def _collect(self, provider: Provider, tags: dict[Any, str]) -> None:
        for tag in [tag for tag in tags if tag in provider.by_tag]:
            message_id, refusal = provider.by_tag[tag]
            name = tags.pop(tag)
            if refusal is None:
                assert message_id not in self.accepted, "an id was given out twice"
                self.accepted[message_id] = name


def _name(text: str) -> str:
    return text.partition("#")[2]


@story
async def test_every_id_is_accounted_for_over_kills_of_both_sides(
    tmp_path: Path, loops: Callable[[int], int], seed: int
) -> None:
    rnd = random.Random(seed)
    smsc = await Smsc("smpp").start()
    port = smsc.port
    gateway = Process(tmp_path)
    settings = load_settings(data=tmp_path)
    (tmp_path / "run").mkdir()
    wanted = registry([smsc], ["cmpp"], {"window": 64})
    publish_registry(tmp_path, wanted, open_keys(settings), now=utc_now(), by="test")
    gateway.start()
    sender = Sender(gateway.port)
    running = asyncio.create_task(sender.run())
    loop = asyncio.get_running_loop()
    rounds = max(2, loops(50))
    try:
        for place in range(rounds):
            before = len(sender.accepted)
            async with asyncio.timeout(120):
                while len(sender.accepted) < before + 60:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(rnd.uniform(0, 0.3))
            if place % 3 == 2:
                await smsc.stop()
                await asyncio.sleep(rnd.uniform(0, 0.5))
                await smsc.start(port)
            else:
                await loop.run_in_executor(None, gateway.kill)
                gateway.start()
        before = len(sender.accepted)
        async with asyncio.timeout(120):
            while len(sender.accepted) < before + 60:
                await asyncio.sleep(0.02)
        sender.stopping.set()
        await running

        async def open_ends() -> int:
            totals = (await gateway.live("/live"))["totals"]
            return sum(totals[name] for name in ("queued", "in_flight", "waiting_reports", "reports_to_tell"))

        # The SMSC's reports die with its connections: what waits for one of those waits on, and is counted below.
        known = 10**9
        async with asyncio.timeout(120):
            while (now := await open_ends()) and now != known:
                known = now
                await asyncio.sleep(1.5)
        doubt = (await gateway.live("/doubt?limit=500"))["items"]
        live = (await gateway.live("/live"))["totals"]
        stopped = await loop.run_in_executor(None, gateway.kill, signal.SIGTERM)
        assert stopped == 0, "SIGTERM drains and ends"
    finally:
        running.cancel()
        gateway.kill()
    arrived = Counter(_name(decode(one.part().payload, one.coding).text) for one in smsc.received)
    in_doubt = {item["destination"][3:][-6:] for item in doubt}
    assert len(sender.accepted) > 60 * rounds
    reported = {sender.accepted[one.message_id] for one in sender.reports if one.message_id in sender.accepted}
    for name in sender.accepted.values():
        if name in in_doubt:
            assert arrived[name] <= 1, f"{name} is in doubt, and went more than once"
        else:
            assert arrived[name] == 1, f"{name} was acknowledged, and arrived {arrived[name]} times"
    assert max(arrived.values()) == 1, "none twice"
    assert len(doubt) <= 64 * rounds
    missing = set(sender.accepted.values()) - reported - in_doubt
    assert len(missing) <= live["waiting_reports"], "whoever has no report is waited for still"
    assert {one.state for one in sender.reports} == {State.DELIVERED}
    assert live["queued"] == live["in_flight"] == 0
    ends: Counter[str] = Counter()
    for path in (tmp_path / "gateway" / "1" / "cdr").glob("*.csv"):
        with path.open(encoding="utf-8") as lines:
            ends.update(row["message_id"] for row in csv.DictReader(lines) if row["outcome"] != "refused")
    assert max(ends.values()) == 1, "each id ends once"
    ended = {name for message_id, name in sender.accepted.items() if ends[message_id]}
    assert reported <= ended
    assert len(set(sender.accepted.values()) - ended - in_doubt) <= live["waiting_reports"]
    found = verify(tmp_path)
    assert found.ok, found.findings
    await smsc.stop()
    json.dumps(live)
