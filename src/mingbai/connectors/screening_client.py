"""The screener, as the console and the API ask it: decide, explain, check a rulebook, try one, free a message, status.

The screener is a process of its own (`gateway.screener`): it alone loads the engine, holds the counters and writes the
ledger stream of what comes in through the API. This client loads no compiled code.

A client may be shared by threads; each thread has a connection, which is made when it is needed and made anew when the
screener was restarted. A question that changes nothing is asked a second time then. `screen` is not, once it was sent:
it may have been decided and recorded although no answer came, and the caller has to know.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pyarrow as pa

from mingbai.connectors.screening_wire import (
    Frame,
    FrameDecoder,
    as_messages,
    batch_bytes,
    read_batch,
    socket_path,
)
from mingbai.engines.screening.schema import DECISION, MESSAGE, NETWORK
from mingbai.kernel.errors import BadValue, MingbaiError, SchemaMismatch
from mingbai.ledger.errors import LedgerCannotWrite

_MAX_SOCKET_PATH: Final = 100  # `sun_path` holds 108 bytes; longer ones go by way of /proc
_CHUNK: Final = 1 << 18


class ScreenerUnavailable(MingbaiError):
    """Nobody answered: the screener is not running, was restarted, or takes too long."""

    code = "screener_unavailable"
    template = "the screener does not answer: {detail}"
    retryable = True


class ScreenerBusy(MingbaiError):
    """More messages wait than the screener takes. Nothing of the call was decided; try again."""

    code = "screener_busy"
    template = "the screener has {waiting} messages waiting"
    retryable = True


class ScreenerFailed(MingbaiError):
    """The screener refused or failed for another reason; `failure` is its code, `detail` what it said."""

    code = "screener_failed"
    template = "{failure}: {detail}"


@dataclass(frozen=True, slots=True)
class RulebookProblem:
    """One thing to mend. line 0: the rulebook as a whole; rule: its id, or `#3` for the third."""

    line: int
    rule: str
    field: str
    value: str
    expected: str


class RulebookRefused(MingbaiError):
    """A draft that is no valid rulebook; `problems` has everything that must be mended."""

    code = "rulebook_refused"
    template = "the rulebook is not valid ({count} to mend)"

    @property
    def problems(self) -> tuple[RulebookProblem, ...]:
        return tuple(RulebookProblem(**problem) for problem in _rows(self.data["problems"]))


def _rows(given: object) -> list[dict[str, Any]]:
    assert isinstance(given, list)
    return given


@dataclass(frozen=True, slots=True)
class Screened:
    """Decisions that are in the ledger. Row i is entry `ids[i]`, seq `first_seq + i` of `stream`.

    policy: number of the publication that decided, 0 for what is shipped; model, rulebook: as ledger entries name them.
    """

    ids: list[UUID]
    decisions: pa.RecordBatch  # `DECISION`
    stream: str
    first_seq: int
    policy: int
    model: str
    rulebook: str


@dataclass(frozen=True, slots=True)
class CheckedRulebook:
    """What reading a draft found. Without problems: its name, version and digest, and a document for each rule."""

    problems: tuple[RulebookProblem, ...]
    name: str = ""
    version: str = ""
    digest: str = ""
    rules: tuple[dict[str, Any], ...] = ()  # Any: JSON

    @property
    def is_valid(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class Tried:
    """Decisions on the same messages by a draft and by the rulebook in force; nothing was recorded.

    A row: verdict, category, score, reasons (codes), rules (ids), spans ([start, end] of the original text).
    """

    draft: list[dict[str, Any]]  # Any: JSON
    present: list[dict[str, Any]]  # Any: JSON


@dataclass(frozen=True, slots=True)
class FreeKey:
    """What freeing a message would free (`engines.screening.exceptions`): `key`, 64 hex digits, and its parts."""

    key: str
    read_as: str
    links: tuple[str, ...]
    numbers: tuple[str, ...]
    sender: str | None
    access_code: str | None


class ScreeningClient:
    """Asks the screener of a data directory."""

    def __init__(self, data_dir: Path, *, timeout_s: float = 15.0, question_timeout_s: float = 60.0) -> None:
        """timeout_s: for `screen` and `status`; question_timeout_s: for what may compile a large rulebook first."""
        self._path = socket_path(data_dir)
        self._timeout_s = timeout_s
        self._question_timeout_s = question_timeout_s
        self._local = threading.local()

    def screen(self, batch: pa.RecordBatch) -> Screened:
        """Decide and record messages (columns of `MESSAGE`, at most `MAX_ROWS`); returns when they are on the disk.

        Raises SchemaMismatch or BadValue (nothing happened), LedgerCannotWrite or ScreenerBusy (nothing was
        acknowledged, and nothing is recorded), ScreenerUnavailable (it may or may not have been recorded).
        """
        result, body = self._ask("screen", {}, as_messages(batch), self._timeout_s, repeats=False)
        answer = read_batch(body)
        return Screened(
            ids=[UUID(bytes=value) for value in answer.column("id").to_pylist()],
            decisions=answer.select(DECISION.names),
            stream=result["stream"],
            first_seq=result["first_seq"],
            policy=result["policy"],
            model=result["model"],
            rulebook=result["rulebook"],
        )

    def explain(
        self,
        text: str,
        *,
        sender: str | None = None,
        receiver: str | None = None,
        access_code: str | None = None,
        time: datetime | None = None,
        rulebook: str | None = None,
        model: str | None = None,
    ) -> dict[str, Any]:
        """The document of `mingbai explain --json`. rulebook: a draft (TOML) in place of the one in force; model: the
        version of one in the policy store. Raises RulebookRefused, BadValue."""
        message = {"text": text, "sender": sender, "receiver": receiver, "access_code": access_code, "time": time}
        given = {"rulebook": rulebook, "model": model}
        return self._ask("explain", given, one_message(message))[0]

    def check_rulebook(self, toml: str) -> CheckedRulebook:
        """Read a draft and say everything that is wrong with it, or what is in it."""
        result, _ = self._ask("check_rulebook", {"rulebook": toml})
        problems = tuple(RulebookProblem(**problem) for problem in result["problems"])
        if problems:
            return CheckedRulebook(problems)
        return CheckedRulebook((), result["name"], result["version"], result["digest"], tuple(result["rules"]))

    def try_rulebook(self, toml: str, batch: pa.RecordBatch) -> Tried:
        """Decide messages by a draft and by the rulebook in force. Raises RulebookRefused."""
        result, _ = self._ask("try_rulebook", {"rulebook": toml}, as_messages(batch))
        return Tried(result["draft"], result["present"])

    def free_key(self, text: str, *, sender: str | None = None, access_code: str | None = None) -> FreeKey:
        """The key of a message, for an exception, and what it consists of."""
        message = {"text": text, "sender": sender, "access_code": access_code}
        result, _ = self._ask("free_key", {}, one_message(message))
        return FreeKey(
            key=result["key"],
            read_as=result["read_as"],
            links=tuple(result["links"]),
            numbers=tuple(result["numbers"]),
            sender=result["sender"],
            access_code=result["access_code"],
        )

    def status(self) -> dict[str, Any]:
        """How the screener does: policy, rate, latency, queue, alarms, counters (see `gateway.screener`)."""
        return self._ask("status", {}, None, self._timeout_s)[0]

    def wait_until_ready(self, timeout_s: float) -> dict[str, Any]:
        """The status, as soon as there is one. Raises ScreenerUnavailable."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                return self.status()
            except ScreenerUnavailable:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def close(self) -> None:
        """Close this thread's connection."""
        self._drop()

    # ---- one question

    def _ask(
        self,
        op: str,
        given: Mapping[str, object],
        batch: pa.RecordBatch | None = None,
        timeout_s: float | None = None,
        *,
        repeats: bool = True,
    ) -> tuple[dict[str, Any], bytes]:
        body = b"" if batch is None else batch_bytes(batch)
        number = self._next()
        content = Frame({"id": number, "op": op, **given}, body).to_bytes()
        for is_last in (False, True):
            was_sent = False
            try:
                connection = self._connection()
                connection.settimeout(timeout_s or self._question_timeout_s)
                connection.sendall(content)
                was_sent = True
                answer = self._answer(connection, number)
                break
            except OSError as error:
                self._drop()
                if is_last or isinstance(error, FileNotFoundError) or (was_sent and not repeats):
                    raise ScreenerUnavailable(detail=error.strerror or str(error) or type(error).__name__) from error
        if "error" in answer.header:
            raise _error(answer.header["error"])
        result: dict[str, Any] = answer.header["result"]
        return result, answer.body

    def _next(self) -> int:
        number: int = getattr(self._local, "number", 0) + 1
        self._local.number = number
        return number

    def _answer(self, connection: socket.socket, number: int) -> Frame:
        decoder = FrameDecoder()
        while True:
            data = connection.recv(_CHUNK)
            if not data:
                raise ConnectionResetError("the connection was closed")
            for frame in decoder.receive(data):
                if frame.header.get("id") == number:
                    return frame
                if "error" in frame.header and frame.header.get("id") is None:  # it could not read the question
                    return frame

    def _connection(self) -> socket.socket:
        """This thread's connection; a new one if there is none, if it was closed, or if this is another process."""
        held: tuple[int, socket.socket] | None = getattr(self._local, "held", None)
        if held is not None and held[0] == os.getpid() and not _has_ended(held[1]):
            return held[1]
        self._drop()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self._timeout_s)
            with socket_address(self._path) as address:
                connection.connect(address)
        except BaseException:
            connection.close()
            raise
        self._local.held = os.getpid(), connection
        return connection

    def _drop(self) -> None:
        held: tuple[int, socket.socket] | None = getattr(self._local, "held", None)
        if held is not None:
            held[1].close()
            self._local.held = None


def one_message(fields: Mapping[str, object]) -> pa.RecordBatch:
    """A batch of one message."""
    columns = {name: pa.array([fields.get(name)], MESSAGE.field(name).type) for name in MESSAGE.names}
    columns |= {name: pa.array([fields[name]], pa.string()) for name in NETWORK.names if fields.get(name) is not None}
    return as_messages(pa.record_batch(columns))


def _has_ended(connection: socket.socket) -> bool:
    """Whether something waits to be read: between two questions that can only be the end."""
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(0))


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """A name for a socket that the kernel takes, however long the path is."""
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


_ERRORS: Final = {
    kind.code: kind
    for kind in (
        *(BadValue, SchemaMismatch, LedgerCannotWrite, RulebookRefused),
        *(ScreenerUnavailable, ScreenerBusy, ScreenerFailed),
    )
}


def _error(document: Mapping[str, Any]) -> MingbaiError:
    kind = _ERRORS.get(document["code"])
    if kind is not None:
        return kind(**document["data"])
    return ScreenerFailed(failure=document["code"], detail=document["message"])
