"""Kannel beside `benchmarks/gateway.py`: mtbatch -> bearerbox with its file store -> SMSC, reports by URL."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks._load import SECRET, SOURCE, Load, Said, Server
from tests.peers.foreign.kannel import Kannel

CONTENT: Final = "Your parcel is at the shop, code 482913"  # 40 characters; mtbatch sends one text to all
_PATIENCE_S: Final = 20.0


def serve_web() -> None:
    """In a process of its own: the provider's web server that hears reports. SIGUSR1: how many so far."""
    import json
    import signal

    import uvloop

    heard = {"reports": 0, "last": 0.0}

    class Web(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport  # Any: uvloop's own are no subclass of asyncio's
            self.rest = b""

        def data_received(self, data: bytes) -> None:
            *whole, self.rest = (self.rest + data).split(b"\r\n\r\n")
            heard["reports"] += len(whole)
            heard["last"] = time.monotonic()
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * len(whole))

    def tell() -> None:
        print(json.dumps(heard), flush=True)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Web, "127.0.0.1", 0)
        loop.add_signal_handler(signal.SIGUSR1, tell)
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()

    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


class Batch:
    """bearerbox and smsbox, bound to the SMSC for as long as the `with` lasts."""

    has_reports = True

    def __init__(self, folder: Path, smsc: Server, window: int) -> None:
        self._folder = folder
        self._smsc = smsc
        self._kannel = Kannel(
            connect=f"127.0.0.1:{smsc.port}", system_id="kannel", password=SECRET, window=window, enquire_link_s=3600
        )
        written = self._kannel._configuration
        store = f'group = core\nstore-type = file\nstore-location = "{folder / "kannel.store"}"\nstore-dump-freq = 10\n'
        written.write_text(written.read_text().replace("group = core\n", store, 1))

    def __enter__(self) -> Self:
        self._kannel.__enter__()
        self.pids = [process.pid for process in self._kannel._processes]
        self._web = Server([sys.executable, "-c", "from benchmarks._kannel import serve_web; serve_web()"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._web.__exit__(None, None, None)
        self._kannel.close()

    def send(self, load: Load, messages: int) -> Said:
        """A turn, until the last report reached the URL; `smsc`: what the SMSC says of it."""
        content, receivers = self._folder / "content", self._folder / "receivers"
        content.write_text(CONTENT)
        receivers.write_text("".join(f"{number}\n" for number in load.take_numbers(messages)))
        url = f"http://127.0.0.1:{self._web.port}/report?to=%p&state=%d"
        before = self._web.summary()["reports"]

        def ask() -> Said:
            found = self._web.summary()
            return {**found, "reports": found["reports"] - before}

        began = time.monotonic()
        subprocess.run(
            ["mtbatch", "-v", "4", "-b", "127.0.0.1", "-p", str(self._kannel._smsbox_port), "-f", SOURCE,
             "-D", "3", "-u", url, str(content), str(receivers)],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        heard = self._heard(messages, ask)
        time.sleep(0.3)  # the SMSC hears that its last receipts were taken
        told = self._smsc.summary()
        return {
            "answered": messages, "accepted": messages, "reports": heard["reports"], "doubled": 0, "undelivered": 0,
            "gone": 0, "refused": {}, "seconds": heard["last"] - began, "answer_seconds": told["seconds"], "smsc": told,
        }  # fmt: skip

    @staticmethod
    def _heard(messages: int, ask: Callable[[], Said]) -> Said:
        """Waits until all reports came, or none comes any more."""
        moved, known, found = time.monotonic(), -1, ask()
        while found["reports"] < messages and time.monotonic() - moved < _PATIENCE_S:
            if found["reports"] != known:
                moved, known = time.monotonic(), found["reports"]
            time.sleep(0.05)
            found = ask()
        return found
