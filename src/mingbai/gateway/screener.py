"""The screener: the one process that loads the engine, holds the counters and writes the ledger stream `api`.

It listens on a Unix socket in the data directory (`connectors.screening_wire` has the frames) and answers:

    screen          messages (body) -> their decisions and entry ids, when they are on the disk
    explain         one message (body), rulebook?, model? -> why
    check_rulebook  rulebook -> its problems, or what is in it
    try_rulebook    rulebook, messages (body) -> decisions by the draft and by the policy in force
    free_key        one message (body) -> what freeing it would free
    status          -> policy, rate, latency, queue, counters, alarms

The socket is asyncio's; messages are decided by one thread (`pipeline`), questions are answered by two others, the
policy is followed by one more. A kill at any moment loses nothing that was answered: entries are on the disk before the
answer, and the next start goes on behind the last whole one. SIGTERM and SIGINT finish what was asked, then end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from mingbai.connectors.batch.engine import decide
from mingbai.connectors.ledger_access import open_ledger
from mingbai.connectors.policy_follower import InForce, PolicyFollower
from mingbai.connectors.rulebook_cache import RulebookCache
from mingbai.connectors.screening_client import ScreenerUnavailable, one_message, socket_address
from mingbai.connectors.screening_wire import (
    BadFrame,
    Frame,
    FrameDecoder,
    as_messages,
    batch_bytes,
    error_document,
    read_batch,
    socket_path,
)
from mingbai.engines.screening.campaigns import Counters
from mingbai.gateway.keeper import Keeper
from mingbai.gateway.meter import Alarms, Meter
from mingbai.gateway.pipeline import Answer, Pipeline, Submission
from mingbai.gateway.questions import Questions
from mingbai.gateway.shadow import Shadow
from mingbai.kernel.clock import format_utc, utc_now
from mingbai.kernel.errors import MingbaiError
from mingbai.ledger import Ledger, LedgerLocked
from mingbai.ledger.files import FileOps, make_dirs
from mingbai.settings import Settings, load_settings

log = logging.getLogger(__name__)

STREAM: Final = "api"
_CHUNK: Final = 1 << 18
_MAX_AT_ONCE: Final = 32  # requests of one connection that are under way; the next is read when one is answered
_QUESTION_THREADS: Final = 2
_LOCK_PATIENCE_S: Final = 10.0  # a killed screener lets go of the ledger when the kernel has cleared it away
# Threads share one interpreter lock. Python's 5 ms between two of them would be added to an answer whenever somebody
# compiles a rulebook; the engine itself runs without the lock.
_SWITCH_S: Final = 0.001


def run_screener(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises the errors of `open_ledger`, OSError where the socket cannot be made."""
    sys.setswitchinterval(_SWITCH_S)
    started = utc_now()
    with open_patiently(settings, STREAM, started) as ledger:
        rulebooks = RulebookCache()
        follower = PolicyFollower(settings.data, now=started, rulebooks=rulebooks)
        warm(follower.in_force, started)
        screener = Screener(settings, ledger, follower, rulebooks, started)
        asyncio.run(screener.serve())


def open_patiently(settings: Settings, stream: str, now: datetime) -> Ledger:
    """Open a stream for writing; waits a little for a writer that was killed and is not cleared away yet."""
    patience = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            return open_ledger(settings, now=now, stream=stream)
        except LedgerLocked:
            if time.monotonic() > patience:
                raise
            time.sleep(0.05)


def warm(in_force: InForce, now: datetime) -> None:
    """Load what the first message would wait for."""
    message = one_message({"text": "回复T退订 www.example.com, reply STOP", "sender": "+8613800138000", "time": now})
    decide(message, in_force.policy, Counters(1))


class Screener:
    """The process's parts, put together. `serve` runs them."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        follower: PolicyFollower,
        rulebooks: RulebookCache,
        started: datetime,
    ) -> None:
        self._data_dir = settings.data
        self._follower = follower
        self._started = started
        self._alarms = Alarms()
        self._meter = Meter(time.monotonic())
        self._shadow = Shadow(ledger, self._alarms)
        self._pipeline = Pipeline(ledger, self._in_force, self._alarms, on_decided=self._shadow.offer)
        self._questions = Questions(settings.data, self._in_force, rulebooks)
        self._pool = ThreadPoolExecutor(_QUESTION_THREADS, thread_name_prefix="question")
        self._keeper = Keeper(
            ledger,
            follower,
            self._alarms,
            head_interval_s=float(settings.ledger.head_interval_s),
            messages=lambda: self._meter.messages,
        )
        self._is_closing = False
        self._under_way: set[asyncio.Task[None]] = set()

    def _in_force(self) -> InForce:
        return self._follower.in_force

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        end = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end.set)
        self._pipeline.start()
        self._shadow.start()
        self._keeper.start()
        listening, place = _listen(self._data_dir)
        server = await asyncio.start_unix_server(self._connected, sock=listening)
        log.info("the screener is ready", extra={"policy": self._in_force().version})
        try:
            await end.wait()
        finally:
            _withdraw(socket_path(self._data_dir), place)
            server.close()
            self._is_closing = True
            while self._under_way:
                await asyncio.wait(self._under_way)
            await asyncio.to_thread(self._finish)

    def _finish(self) -> None:
        self._pipeline.stop()
        self._shadow.stop()
        self._keeper.stop()
        self._pool.shutdown()

    # ---- connections

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder()
        room = asyncio.Semaphore(_MAX_AT_ONCE)
        try:
            while data := await reader.read(_CHUNK):
                for frame in decoder.receive(data):
                    await room.acquire()
                    task = asyncio.create_task(self._serve_one(frame, writer))
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)
                    task.add_done_callback(lambda _: room.release())
                await writer.drain()
        except BadFrame as error:
            log.warning("a client sent what is no frame", extra={"error": str(error)})
            writer.write(Frame({"id": None, "error": error_document(error)}).to_bytes())
        except (ConnectionError, asyncio.CancelledError):
            pass  # gone; or the loop ends, which is the only one to cancel this task, and asks a stream for no more
        finally:
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _serve_one(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        received = time.monotonic()
        number, op = frame.header.get("id"), frame.header.get("op")
        rows = 0
        try:
            if self._is_closing:
                raise ScreenerUnavailable(detail="it is stopping")
            if op == "screen":
                answer = await self._screen(frame, received)
                rows = answer.batch.num_rows
                header = {
                    "id": number,
                    "result": {
                        "stream": STREAM,
                        "first_seq": answer.first_seq,
                        "policy": answer.policy,
                        **answer.versions,
                    },
                }
                content = Frame(header, batch_bytes(answer.batch)).to_bytes()
            elif op == "status":
                content = Frame({"id": number, "result": self._status()}).to_bytes()
            else:
                result = await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, frame)
                content = Frame({"id": number, "result": result}).to_bytes()
        except MingbaiError as error:
            content = Frame({"id": number, "error": error_document(error)}).to_bytes()
        except Exception as error:
            log.exception("a question failed", extra={"op": str(op)})
            document = {"code": "internal_error", "data": {}, "message": type(error).__name__, "retryable": False}
            content = Frame({"id": number, "error": document}).to_bytes()
        if not writer.is_closing():
            writer.write(content)
        if rows:
            done = time.monotonic()
            self._meter.add(done, rows, done - received)

    async def _screen(self, frame: Frame, received: float) -> Answer:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer | MingbaiError] = loop.create_future()

        def reply(answer: Answer | MingbaiError) -> None:
            loop.call_soon_threadsafe(future.set_result, answer)

        self._pipeline.submit(Submission(as_messages(read_batch(frame.body)), reply, received))
        answer = await asyncio.shield(future)
        if isinstance(answer, MingbaiError):
            raise answer
        return answer

    def _answer(self, frame: Frame) -> dict[str, Any]:
        """A question; in a thread of the pool."""
        now = utc_now()
        given = frame.header
        match given.get("op"):
            case "explain":
                return self._questions.explain(_messages(frame), given.get("rulebook"), given.get("model"), now)
            case "check_rulebook":
                return self._questions.check_rulebook(given.get("rulebook"), now)
            case "try_rulebook":
                return self._questions.try_rulebook(given.get("rulebook"), _messages(frame), now)
            case "free_key":
                return self._questions.free_key(_messages(frame))
            case other:
                raise BadFrame(field="op", value=repr(other), expected="an operation of the screener")

    # ---- status

    def _status(self) -> dict[str, Any]:
        at, now = time.monotonic(), utc_now()
        in_force = self._in_force()
        snapshot, policy = in_force.snapshot, in_force.policy
        return {
            "pid": os.getpid(),
            "started_at": format_utc(self._started),
            "policy": {
                "version": in_force.version,
                "published_at": None if snapshot is None else format_utc(snapshot.published_at),
                "published_by": None if snapshot is None else snapshot.published_by,
                "in_force_since": format_utc(in_force.since),
                "rulebook": in_force.versions["rulebook"],
                "rulebook_name": policy.rules.rulebook.name,
                "model": in_force.versions["model"],
                "shadow_model": in_force.shadow_model,
                "exceptions": len(policy.exceptions.items),
            },
            "messages": self._meter.messages,
            "rate_per_s": round(self._meter.rate_per_s(at), 3),
            "latency_ms": {"p50": self._meter.latency_ms(at, 0.5), "p99": self._meter.latency_ms(at, 0.99)},
            "queue_rows": self._pipeline.waiting_rows,
            "counters": {
                "campaigns": len(self._pipeline.counters.table),
                "hosts": len(self._pipeline.counters.hosts),
            },
            "alarms": self._alarms.documents(now),
            "shadow": self._shadow.document(),
        }


def _messages(frame: Frame) -> pa.RecordBatch:
    return as_messages(read_batch(frame.body))


def _listen(data_dir: Path) -> tuple[socket.socket, int]:
    """Bind the socket in place of one that a killed screener left; returns it and the inode of its name.

    The ledger's lock was taken before, so no other screener of this data directory is alive.
    """
    path = socket_path(data_dir)
    make_dirs(FileOps(), path.parent)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with socket_address(new) as address:
            listening.bind(address)
        new.chmod(0o600)  # before its name is known, and in a folder that only we may enter
        listening.listen(128)
        place = new.stat().st_ino
        new.rename(path)
    except BaseException:
        listening.close()
        raise
    return listening, place


def _withdraw(path: Path, place: int) -> None:
    """Take the name away, so that who comes now hears at once that nobody is there."""
    with contextlib.suppress(OSError):
        if path.stat().st_ino == place:
            path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mingbai.gateway.screener", description="The screening process.")
    parser.add_argument("--data", type=Path, help="data directory")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    run_screener(load_settings(data=parser.parse_args().data))


if __name__ == "__main__":
    main()
