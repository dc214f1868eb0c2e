"""`--hostile` of `benchmarks/gateway.py`: what a well-behaved provider feels of others that misbehave beside it.

It sends by the clock, at a quarter of what one connection with the first window reaches, so that nothing of its own
makes it wait. Turns of it alone and beside one of the others alternate; printed are medians, and their ratio.

- *slow reader*: logs in, sends as fast as the sockets take, reads no answer. Measured once the gateway lets it wait.
- *half-open*: four connections in the middle of their traffic whose process was stopped (SIGSTOP): no answer, no end.
- *silent*: 200 connections that never log in; those that the gateway closes are opened again.
- *flooder*: an account of 100 messages a second that sends with a window of 128 as fast as it is refused.
- *stalled SMSC*: it lets the gateway in and answers nothing more; an account of its own sends 200 a second to it.
"""

from __future__ import annotations

import select
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

from benchmarks._gateway import Gateway, account, smsc_row
from benchmarks._load import Load, Server, ended

SHARE: Final = 0.25
GOAL: Final = 1.2
_FAR: Final = 50_000_000  # numbers of recipients that no well-behaved provider uses
_LIMIT_PER_S, _STALLED_PER_S, _HALF_OPEN_PER_S = 100, 200, 100.0
_SILENT: Final = 200
_ENDLESS: Final = 20_000_000
_LOGINS: Final = {"calm": "902001", "deaf": "902002", "half": "902003", "flood": "902004", "stuck": "902005"}


def registry(smsc: Server, stalled: Server) -> dict[str, object]:
    """Whoever misbehaves has a usual account: a limit, a window."""
    limits = {"rate_per_s": _LIMIT_PER_S, "window": 16, "connections": 8}
    rows = [
        account("calm", _LOGINS["calm"]),
        account("deaf", _LOGINS["deaf"], **limits),
        account("half", _LOGINS["half"], **limits),
        account("flood", _LOGINS["flood"], **{**limits, "window": 128}),
        account("stuck", _LOGINS["stuck"]),
    ]
    routes = [{"name": "all", "to": ["smsc"]}, {"name": "stuck", "to": ["stalled"], "accounts": ["stuck"], "order": 1}]
    return {"accounts": rows, "smscs": [smsc_row("smsc", smsc), smsc_row("stalled", stalled)], "routes": routes}


class Beside:
    """Whoever misbehaves, each for as long as its `with` lasts."""

    def __init__(self, load: Load, gateway: Gateway) -> None:
        self._load = load
        self._gateway = gateway

    def _sp(self, login: str, **more: object) -> subprocess.Popen[bytes]:
        options: dict[str, object] = {"patience": 600, "first": _FAR, "login": _LOGINS[login], **more}
        return self._load.sp(self._gateway.port, **options)  # type: ignore[arg-type]  # by their names

    @contextmanager
    def slow_reader(self) -> Iterator[None]:
        with _ending(self._sp("deaf", messages=1, window=1, deaf=True)) as reader:
            assert reader.stdout is not None
            if not select.select([reader.stdout], [], [], 60.0)[0]:  # it says when it cannot write any more
                print("the slow reader was never made to wait: it is a flooder here")
            yield

    @contextmanager
    def half_open(self) -> Iterator[None]:
        with _ending(self._sp("half", messages=_ENDLESS, window=16, connections=4, rate=_HALF_OPEN_PER_S)) as peer:
            time.sleep(1.0)
            peer.send_signal(signal.SIGSTOP)
            yield

    @contextmanager
    def silent(self) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=_keep_silent, args=(self._gateway.port, stop), daemon=True)
        thread.start()
        time.sleep(0.5)
        try:
            yield
        finally:
            stop.set()
            thread.join()

    @contextmanager
    def flooder(self) -> Iterator[None]:
        with _ending(self._sp("flood", messages=_ENDLESS, window=128)):
            time.sleep(1.5)  # the burst that its limit allows is over
            yield

    @contextmanager
    def stalled(self) -> Iterator[None]:
        with _ending(self._sp("stuck", messages=_ENDLESS, window=1024, rate=_STALLED_PER_S)):
            time.sleep(1.5)  # the window to the SMSC is full, and its queue grows
            yield


@contextmanager
def _ending(peer: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A peer that goes on until it is killed: also one that was stopped."""
    try:
        yield peer
    finally:
        peer.kill()
        peer.communicate()


def _keep_silent(port: int, stop: threading.Event) -> None:
    """So many connections that say nothing; whoever is thrown out comes again."""
    silent: list[socket.socket] = []
    while not stop.is_set():
        while len(silent) < _SILENT:
            silent.append(socket.create_connection(("127.0.0.1", port)))
        over, _, _ = select.select(silent, [], [], 0.5)
        for one in over:
            with suppress(OSError):
                if one.recv(1):
                    continue
            silent.remove(one)
            one.close()
    for one in silent:
        one.close()


OTHERS: Final[dict[str, Callable[[Beside], AbstractContextManager[None]]]] = {
    "slow reader": Beside.slow_reader,
    "half-open": Beside.half_open,
    "silent": Beside.silent,
    "flooder": Beside.flooder,
    "stalled SMSC": Beside.stalled,
}


class Calm:
    """The well-behaved provider. Each of its turns is checked: all accepted, all reported."""

    def __init__(self, load: Load, rate: float, seconds: float, problems: list[str]) -> None:
        self._load = load
        self._rate = rate
        self._messages = max(100, int(rate * seconds))
        self._problems = problems

    def turn(self, gateway: Gateway, beside: str) -> tuple[float, float]:
        """The middle and the 99th of a hundred round trips, in ms."""
        said = ended(
            self._load.sp(gateway.port, messages=self._messages, window=1024, rate=self._rate, login=_LOGINS["calm"])
        )
        right = {"accepted": self._messages, "reports": self._messages, "doubled": 0, "undelivered": 0, "gone": 0}
        self._problems += [
            f"beside {beside}: {key} {said[key]}, not {value}" for key, value in right.items() if said[key] != value
        ]
        return said["p50_us"] / 1e3, said["p99_us"] / 1e3


def measure(folder: Path, load: Load, top_rate: float, rounds: int, seconds: float, problems: list[str]) -> None:
    """top_rate: what one connection reaches, in messages a second. Prints a line for each."""
    rate = top_rate * SHARE
    calm = Calm(load, rate, seconds, problems)
    print(f"a well-behaved provider, {rate:,.0f} msg/s by the clock, {seconds:g} s a turn, {rounds} rounds")
    print(f"{'beside':14} {'alone p50 ms':>13} {'p99 ms':>8} {'beside p50 ms':>14} {'p99 ms':>8} {'p50 x':>7} "
          f"{'p99 x':>7}")  # fmt: skip
    for name, other in OTHERS.items():
        with load.smsc() as smsc, load.smsc(mute=True) as stalled:
            data = folder / f"data-{name.replace(' ', '-').lower()}"
            with Gateway(data, registry(smsc, stalled)) as gateway:
                calm.turn(gateway, "nobody")  # warms up
                alone, beside = [], []
                for _ in range(rounds):
                    alone.append(calm.turn(gateway, "nobody"))
                    with other(Beside(load, gateway)):
                        beside.append(calm.turn(gateway, name))
        p50, p99 = (statistics.median(column) for column in zip(*alone, strict=True))
        other_p50, other_p99 = (statistics.median(column) for column in zip(*beside, strict=True))
        mark = "" if other_p99 < GOAL * p99 else "  above the goal of 1.2"
        print(f"{name:14} {p50:>13.2f} {p99:>8.2f} {other_p50:>14.2f} {other_p99:>8.2f} {other_p50 / p50:>7.2f} "
              f"{other_p99 / p99:>7.2f}{mark}", flush=True)  # fmt: skip
