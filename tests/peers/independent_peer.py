"""Programs that print one JSON object a line, driven from a test; and the independent peer (tests/peers/independent).

`sp`, `smsc` and `raw` start the peer and stop it at the end of a `with`; options are those of peer.js, `_` for `-`.

    with smsc("cmpp2", login="900001", secret="888888") as server:
        with sp("cmpp2", connect=server.address, coding=8, text="您好", want_report=True) as client:
            assert client.take("login")["digest"]
            report = client.take("report", stat="DELIVRD")
            assert client.end()["reports"] == 1

A wait has a time limit, so that a peer that falls silent fails its test with what was said until then; no test asserts
how long anything took.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Event = dict[str, Any]  # Any: JSON
Option = str | int | float | bool | Sequence[str]

PEER = Path(__file__).parent / "independent" / "peer.js"
WAIT_S = 30.0  # far longer than anything here takes on a busy machine
LOOPBACK = "127.0.0.1"


class PeerError(AssertionError):
    """A program did not say what a test waited for; shows what it said."""


class Events:
    """What somebody said, in the order in which it came. `take` gives each event out once."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._taken: set[int] = set()
        self._said = threading.Condition()
        self._is_over = False

    def note(self, event: Event) -> None:
        with self._said:
            self.events.append(event)
            self._said.notify_all()

    def take(self, event: str, *, within_s: float = WAIT_S, **fields: object) -> Event:
        """The first event of this name with these fields that was not taken before; waits for it."""
        wanted = {"event": event, **fields}

        def search() -> int | None:
            for place, said in enumerate(self.events):
                if place not in self._taken and all(said.get(name) == wanted[name] for name in wanted):
                    return place
            return None

        with self._said:
            self._said.wait_for(lambda: self._is_over or search() is not None, timeout=within_s)
            place = search()
            if place is None:
                raise PeerError(self._complaint(f"no {event!r} with {fields}"))
            self._taken.add(place)
            return self.events[place]

    def all(self, event: str) -> list[Event]:
        """Every event of this name so far, taken or not."""
        with self._said:
            return [said for said in self.events if said.get("event") == event]

    def _complaint(self, what: str) -> str:
        return "\n".join([what, *(json.dumps(event, ensure_ascii=False) for event in self.events[-30:])])


class Program(Events):
    """A process that prints its events as JSON lines."""

    def __init__(self, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.command = [str(part) for part in command]
        self._errors: list[str] = []
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            encoding="utf-8",
            errors="replace",
        )
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)]
        for thread in self._threads:
            thread.start()

    @property
    def port(self) -> int:
        """The port on which it said that it listens."""
        with self._said:
            self._said.wait_for(lambda: self._is_over or self._listening() is not None, timeout=WAIT_S)
            port = self._listening()
        if port is None:
            raise PeerError(self._complaint("it does not listen"))
        return port

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def release_reports(self) -> None:
        """Has `smsc(..., hold_reports=True)` send what it holds back."""
        self.process.send_signal(signal.SIGUSR2)

    # ------------------------------------------------------------------------------------------------- how it ends
    def end(self, *, within_s: float = WAIT_S) -> Event:
        """Waits until it has ended by itself; gives its `end` event."""
        self._wait(within_s)
        return self.take("end")

    def stop(self, *, within_s: float = WAIT_S) -> Event:
        """Asks it to end (SIGTERM) and gives its `end` event."""
        self.process.send_signal(signal.SIGTERM)
        return self.end(within_s=within_s)

    def close(self) -> None:
        """Ends it, whatever it does."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:  # it ended before it read what was written
                pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------ within
    def _wait(self, within_s: float) -> None:
        try:
            self.process.wait(timeout=within_s)
        except subprocess.TimeoutExpired:
            raise PeerError(self._complaint("it does not end")) from None
        for thread in self._threads:
            thread.join()
        if self.process.returncode:
            raise PeerError(self._complaint(f"it ended with {self.process.returncode}"))

    def _listening(self) -> int | None:
        return next((int(said["port"]) for said in self.events if said.get("event") == "listening"), None)

    def _hear(self, line: str) -> None:
        if line.startswith("{"):
            self.note(json.loads(line))
        else:
            self._errors.append(line)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._hear(line)
        with self._said:
            self._is_over = True
            self._said.notify_all()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._errors.append(line)

    def _complaint(self, what: str) -> str:
        return f"{super()._complaint(what)}\n{' '.join(self.command)}\n{''.join(self._errors[-30:])}"


class Frames(Program):
    """The peer's verb `raw`: frames byte for byte, and whatever comes back."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self._frames: list[bytes] = []
        self._given = 0
        super().__init__(command)

    def send(self, frame: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(frame.hex() + "\n")
        self.process.stdin.flush()

    def receive(self, *, within_s: float = WAIT_S) -> bytes | None:
        """The next frame; None when the other side has closed."""
        with self._said:
            if not self._said.wait_for(lambda: len(self._frames) > self._given or self._is_over, timeout=within_s):
                raise PeerError(self._complaint("no frame came"))
            if len(self._frames) == self._given:
                return None
            self._given += 1
            return self._frames[self._given - 1]

    def _hear(self, line: str) -> None:
        if line.startswith("{"):
            super()._hear(line)
            return
        with self._said:
            self._frames.append(bytes.fromhex(line))
            self._said.notify_all()


# ------------------------------------------------------------------------------------------------ the independent peer
def node() -> str:
    """Node's program: Debian's package has called it both names."""
    found = shutil.which("node") or shutil.which("nodejs")
    assert found is not None, "Node is missing: mark the test with needs('node')"
    return found


def sp(protocol: str, *, connect: str, **options: Option) -> Program:
    """A service provider that logs in, submits, and waits for what it asked for. Starts at once; use it in a `with`."""
    return Program([node(), PEER, "sp", *arguments({"protocol": protocol, "connect": connect, **options})])


@contextmanager
def smsc(protocol: str, **options: Option) -> Iterator[Program]:
    """An operator's gateway on a free port of loopback (`address`), listening when the `with` begins."""
    listen = {"protocol": protocol, "listen": f"{LOOPBACK}:0"}
    with Program([node(), PEER, "smsc", *arguments({**listen, **options})]) as program:
        assert program.port
        yield program


def raw(connect: str, **options: Option) -> Frames:
    """A connection for frames of the test's own. Starts at once; use it in a `with`."""
    return Frames([node(), PEER, "raw", *arguments({"connect": connect, **options})])


def decode(protocol: str, frames: Iterable[bytes], **options: Option) -> list[Event]:
    """What the independent peer reads in these frames, and the same written anew (`again`)."""
    lines = "".join(f"{frame.hex()}\n" for frame in frames)
    command = [node(), str(PEER), "decode", *arguments({"protocol": protocol, **options})]
    done = subprocess.run(command, input=lines, capture_output=True, encoding="utf-8", check=True, timeout=WAIT_S)
    return [json.loads(line) for line in done.stdout.splitlines()]


def arguments(options: Mapping[str, Option]) -> list[str]:
    """`want_report=True, mo=["a,b,c"]` as `--want-report --mo a,b,c`; False and an empty list leave an option out."""
    made: list[str] = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            made += [option] if value else []
        elif isinstance(value, str | int | float):
            made += [f"{option}={value}"]
        else:
            made += [f"{option}={one}" for one in value]
    return made
