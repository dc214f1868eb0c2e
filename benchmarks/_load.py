"""Both ends of `benchmarks/gateway.py`: the C programs of `load/` as processes, and the texts that they send."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa

from mingbai.connectors.batch.engine import decide
from mingbai.connectors.policy_follower import PolicyFollower
from mingbai.connectors.rulebook_cache import RulebookCache
from mingbai.engines import scenarios
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.schema import MESSAGE
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Verdict

SECRET: Final = "sec-8-oc"  # noqa: S105 - of servers on the loopback; SMPP has room for eight octets
SOURCE: Final = "10690001"
OCTETS: Final = 80
TEXTS: Final = 20_000
SOURCE_CODE: Final = Path(__file__).parent / "load"

Said = dict[str, Any]  # Any: JSON


class Load:
    """The C program, compiled into `folder`; each message of a run has a number of its own."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "load"
        sources = [str(path) for path in sorted(SOURCE_CODE.glob("*.c"))]
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(self.program), *sources], check=True)
        self.texts = folder / "texts"
        self.texts.write_bytes(texts())
        self._first = 0
        self._logins = 0

    def sp(self, port: int, *, messages: int, window: int, connections: int = 1, idle: int = 0,
           rate: float = 0.0, **more: object) -> subprocess.Popen[bytes]:  # fmt: skip
        """A provider, begun. more: further options of the program; True for a flag, False for none."""
        words: dict[str, object] = {
            "port": port, "texts": self.texts, "messages": messages, "window": window, "connections": connections,
            "idle": idle, "rate": rate, "secret": SECRET, "source": SOURCE, "first": self._first,
            "logins": self._logins, **more,
        }  # fmt: skip
        if "first" not in more:
            self._first += messages
        self._logins += connections + idle
        return subprocess.Popen([str(self.program), "sp", *_arguments(words)], stdout=subprocess.PIPE)

    def smsc(self, **more: object) -> Server:
        """An SMSC on a free port. more: options of the program."""
        return Server([str(self.program), "smsc", *_arguments({"port": 0, **more})])

    def floor(self) -> Server:
        return Server([str(self.program), "floor", "--port", "0"])

    def take_numbers(self, count: int) -> list[str]:
        """Recipients for messages that another program sends."""
        first, self._first = self._first, self._first + count
        return [f"138{number:08d}" for number in range(first, first + count)]


def _arguments(words: dict[str, object]) -> list[str]:
    named = {f"--{name.replace('_', '-')}": value for name, value in words.items() if value is not False}
    return [word for name, value in named.items() for word in ([name] if value is True else [name, str(value)])]


def ended(sp: subprocess.Popen[bytes], seconds: float = 600.0) -> Said:
    """What a provider said at its end."""
    output, _ = sp.communicate(timeout=seconds)
    if sp.returncode > 1:
        sys.exit(f"the provider ended with {sp.returncode}")
    found: Said = json.loads(output.splitlines()[-1])
    return found


def stopped(sp: subprocess.Popen[bytes]) -> Said:
    """End a provider that goes on by itself."""
    sp.terminate()
    return ended(sp, 30.0)


class Server:
    """The C program's other modes, and the floor: a process that says its port first."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.pids = [self._process.pid]

    def summary(self) -> Said:
        """Of an SMSC, since the last one."""
        return self._said(signal.SIGUSR1)

    def peek(self) -> Said:
        """The same, and it goes on counting."""
        return self._said(signal.SIGHUP)

    def _said(self, number: signal.Signals) -> Said:
        assert self._process.stdout is not None
        self._process.send_signal(number)
        found: Said = json.loads(self._process.stdout.readline())
        return found

    def release(self) -> None:
        """An SMSC that withheld its receipts sends them now."""
        self._process.send_signal(signal.SIGUSR2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)


def texts() -> bytes:
    """Wanted messages of daily life, each of 40 characters: nothing in them is stopped."""
    found = scenarios.generate(7, 4 * TEXTS)
    rows = zip(*(found.column(name).to_pylist() for name in ("text", "language", "unwanted")), strict=True)
    wanted = [text for text, language, is_unwanted in rows if language == "zh" and not is_unwanted]
    size = OCTETS // 2
    joined = ((text + "。" + other)[:size] for text, other in itertools.pairwise(wanted))
    cut = [text for text in joined if len(text) == size and max(text) < "\ud800"]  # two octets a character
    verdicts = screened(cut)
    return b"".join(
        text.encode("utf-16-be") for text, verdict in zip(cut, verdicts, strict=True) if verdict <= Verdict.FLAG
    )


def screened(found: Sequence[str]) -> list[int]:
    """Their verdicts under the rules that a new installation has."""
    now, count = utc_now(), len(found)
    with tempfile.TemporaryDirectory() as nothing:
        policy = PolicyFollower(Path(nothing), now=now, rulebooks=RulebookCache()).in_force.policy
    columns = [
        pa.array(found),
        pa.array([SOURCE] * count),
        pa.array([f"138{number:08d}" for number in range(count)]),
        pa.array([SOURCE] * count),
        pa.array([now] * count, MESSAGE.field("time").type),
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=MESSAGE)
    verdicts: list[int] = decide(batch, policy, Counters(count)).decisions.column("verdict").to_pylist()
    return verdicts
