"""The gateway under load: a provider that speaks CMPP in, an SMSC that speaks SMPP out, both in C, beside a floor.

    python -m benchmarks gateway [--messages 50000] [--windows 16 128] [--rounds 3] [--peers kannel]
                                 [--workers 2] [--sessions] [--folder DIR]

- *gateway*: `mingbai gateway` as it is deployed: each SUBMIT is screened, entered into the ledger, journalled and
  synced before its answer, carried to the SMSC, and its report brought back and answered. The rate counts a message
  when its report was answered; `answers/s` when its SUBMIT was.
- *floor*: a uvloop server that answers the same octets with a header of 12: one leg, nothing read, nothing kept. The
  same in C says how much the load itself could ask for.
- *kannel*: Kannel (Debian `kannel`, `kannel-extras`) with its file store: `mtbatch` hands the messages to bearerbox,
  that to the same SMSC; smsbox calls a URL for each report. Its store is written and never synced, it screens nothing,
  and there is no window in front of it, hence no round trip.

Contenders take turns round by round; printed are medians. CPU is what the kernel charged the contender's processes
(utime + stime) for a message, less what they use when idle. All share one machine: look at the ratios and the CPU.
Then: the round trip at half of the rate of the first window, by the clock; `--workers`: CPU a message with so many
processes on one port and four connections, beside one; `--sessions`: 2,000 quiet connections with heartbeats beside
200 busy ones. No message may be lost, doubled or refused on its way: the run fails where one was.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa

from mingbai.connectors.batch.engine import decide
from mingbai.connectors.gateway_registry import publish_registry, read_registry
from mingbai.connectors.ledger_access import open_keys
from mingbai.connectors.policy_follower import PolicyFollower
from mingbai.connectors.rulebook_cache import RulebookCache
from mingbai.engines import scenarios
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.schema import MESSAGE
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Verdict
from mingbai.settings import load_settings
from tests.peers.mail import free_port

SECRET: Final = "sec-8-oc"  # noqa: S105 - of servers on the loopback; SMPP has room for eight octets
LOGINS: Final = {"busy": "901234", "quiet-1": "901235", "quiet-2": "901236"}
SOURCE: Final = "10690001"
OCTETS: Final = 80
TEXTS: Final = 20_000
SOURCE_CODE: Final = Path(__file__).parent / "load" / "load.c"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_HEAD: Final = struct.Struct(">III")

Said = dict[str, Any]  # Any: JSON


# ------------------------------------------------------------------------------------------------------------ the load
class Load:
    """The C program, compiled into `folder`; each message of a run has a number of its own."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "load"
        subprocess.run(
            ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(self.program), str(SOURCE_CODE)], check=True
        )
        self.texts = folder / "texts"
        self.texts.write_bytes(texts())
        self._first = 0
        self._logins = 0

    def sp(self, port: int, *, messages: int, window: int, connections: int = 1, idle: int = 0,
           rate: float = 0.0, **more: object) -> subprocess.Popen[bytes]:  # fmt: skip
        """A provider, begun. more: further options of the program; True for a flag."""
        words: dict[str, object] = {
            "port": port, "texts": self.texts, "messages": messages, "window": window, "connections": connections,
            "idle": idle, "rate": rate, "secret": SECRET, "source": SOURCE, "first": self._first,
            "logins": self._logins, **more,
        }  # fmt: skip
        self._first += messages
        self._logins += connections + idle
        arguments = [
            word
            for name, value in words.items()
            for word in ([f"--{name}"] if value is True else [f"--{name}", str(value)])
        ]
        return subprocess.Popen([str(self.program), "sp", *arguments], stdout=subprocess.PIPE)

    def take_numbers(self, count: int) -> list[str]:
        """Recipients for messages that another program sends."""
        first, self._first = self._first, self._first + count
        return [f"138{number:08d}" for number in range(first, first + count)]


def ended(sp: subprocess.Popen[bytes], seconds: float = 600.0) -> Said:
    output, _ = sp.communicate(timeout=seconds)
    if sp.returncode > 1:
        sys.exit(f"the provider ended with {sp.returncode}")
    found: Said = json.loads(output)
    return found


class Server:
    """The C program's other modes, and the floor: a process that says its port first."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.pids = [self._process.pid]

    def summary(self) -> Said:
        """Of an SMSC, since the last one."""
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGUSR1)
        found: Said = json.loads(self._process.stdout.readline())
        return found

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


# --------------------------------------------------------------------------------------------------------- contenders
def serve_floor() -> None:
    """In a process of its own: answers each frame with its header, all of a wake-up in one write."""
    import uvloop

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport  # Any: uvloop's own are no subclass of asyncio's
            self.rest = b""

        def data_received(self, data: bytes) -> None:
            data = self.rest + data if self.rest else data
            at, size, out = 0, len(data), []
            while size - at >= 12:
                length, command, sequence = _HEAD.unpack_from(data, at)
                if size - at < length:
                    break
                out.append(_HEAD.pack(12, command | 0x80000000, sequence))
                at += length
            self.rest = data[at:]
            self.transport.write(b"".join(out))

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()

    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


class Gateway:
    """Workers of `mingbai gateway` on one port, with one account that sends, two that are quiet, and one SMSC."""

    def __init__(self, data: Path, smsc: Server, workers: int = 1) -> None:
        self.port = free_port()
        data.mkdir()
        (data / "run").mkdir()
        shared = {
            "protocol": "cmpp", "secret": SECRET, "access_codes": ["1069"], "addresses": ["127.0.0.0/8"],
            "rate_per_s": 0, "window": 1024, "connections": 1024, "skew_s": 0,
        }  # fmt: skip
        row = {
            "name": "smsc", "protocol": "smpp", "login": "ming", "secret": SECRET, "window": 128,
            "address": f"127.0.0.1:{smsc.port}",
        }  # fmt: skip
        wanted = read_registry(
            {
                "accounts": [{"name": name, "login": login, **shared} for name, login in LOGINS.items()],
                "smscs": [row],
                "routes": [{"name": "all", "to": ["smsc"]}],
            }
        )
        publish_registry(data, wanted, open_keys(load_settings(data=data)), now=utc_now(), by="benchmark")
        ports = dict.fromkeys(("SGIP", "SMGP", "SMPP", "HTTP", "METRICS"), "off")
        environment = {
            **os.environ,
            **{f"MINGBAI_GATEWAY__{name}": value for name, value in ports.items()},
            "MINGBAI_GATEWAY__CMPP": f"127.0.0.1:{self.port}",
            "MINGBAI_GATEWAY__WORKERS": str(workers),
            "MINGBAI_DATA": str(data),
        }
        code = "from mingbai.server import run_part; from mingbai.settings import load_settings; import os; "
        names = [f"gateway-{worker}" for worker in range(1, workers + 1)]
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", f"{code}run_part('{name}', load_settings(), os.getppid())"], env=environment
            )
            for name in names
        ]
        self.pids = [process.pid for process in self._processes]
        until = time.monotonic() + 120
        while not all((data / "run" / f"{name}.ready").exists() for name in names):
            if time.monotonic() > until or any(process.poll() is not None for process in self._processes):
                self.__exit__(None, None, None)
                sys.exit("the gateway did not start")
            time.sleep(0.05)
        time.sleep(1.5)  # it binds to the SMSC

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


# ----------------------------------------------------------------------------------------------------------- measuring
def cpu_s(pids: Sequence[int]) -> float:
    """What the kernel charged these processes, in seconds."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def rss_mib(pids: Sequence[int]) -> float:
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * _PAGE / (1 << 20)


def idle_cpu(pids: Sequence[int], seconds: float = 2.0) -> float:
    """Seconds of CPU a second, when nothing is asked."""
    before = cpu_s(pids)
    time.sleep(seconds)
    return (cpu_s(pids) - before) / seconds


class Turn:
    """One run of one contender: what came of it, and the CPU that it took."""

    def __init__(self, pids: Sequence[int], idle: float, work: Callable[[], Said]) -> None:
        before, began = cpu_s(pids), time.monotonic()
        self.said = work()
        used, took = cpu_s(pids) - before, time.monotonic() - began
        messages = self.said["answered"]
        self.cpu_us = max(0.0, used - idle * took) / messages * 1e6
        self.rate = messages / self.said["seconds"]
        self.answer_rate = messages / self.said["answer_seconds"]
        self.p50, self.p99 = (self.said.get(name, float("nan")) / 1e3 for name in ("p50_us", "p99_us"))
        self.rss = rss_mib(pids)


def check(said: Said, smsc: Said, messages: int, problems: list[str], who: str) -> None:
    """Every message went out once, and every report came back once."""
    right = {"accepted": messages, "reports": messages, "doubled": 0, "undelivered": 0, "gone": 0}
    problems += [f"{who}: {name} {said[name]}, not {value}" for name, value in right.items() if said[name] != value]
    if said["refused"]:
        problems.append(f"{who}: refused {said['refused']}")
    right = {"received": messages, "doubled": 0, "confirmed": messages}
    problems += [f"{who}, SMSC: {key} {smsc[key]}, not {value}" for key, value in right.items() if smsc[key] != value]


class Table:
    """Turns by contender; medians, and ratios to the floor of the same window."""

    def __init__(self) -> None:
        self.turns: dict[tuple[str, int], list[Turn]] = {}

    def add(self, name: str, window: int, turn: Turn) -> None:
        self.turns.setdefault((name, window), []).append(turn)

    def median(self, name: str, window: int, field: str) -> float:
        return statistics.median(getattr(turn, field) for turn in self.turns[name, window])

    def show(self) -> None:
        print(f"{'contender':26} {'W':>4} {'msg/s':>9} {'answers/s':>10} {'p50 ms':>8} {'p99 ms':>8} "
              f"{'CPU us/msg':>11} {'RSS MiB':>8} {'CPU x floor':>12}")  # fmt: skip
        for name, window in self.turns:
            rate, answers, p50, p99, cpu, rss = (
                self.median(name, window, field) for field in ("rate", "answer_rate", "p50", "p99", "cpu_us", "rss")
            )
            floor = self.median("floor: uvloop, header", window, "cpu_us")
            ratio = cpu / floor if floor else float("nan")
            print(f"{name:26} {window:>4} {rate:>9,.0f} {answers:>10,.0f} {p50:>8.2f} {p99:>8.2f} {cpu:>11.1f} "
                  f"{rss:>8.0f} {ratio:>12.1f}")  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- runs
class Bench:
    """One gateway, one SMSC, the floors, and whoever else takes part, for the whole run."""

    def __init__(self, folder: Path, given: argparse.Namespace, stack: ExitStack) -> None:
        self.folder = folder
        self.given = given
        self.load = Load(folder)
        self.problems: list[str] = []
        program = str(self.load.program)
        code = "from benchmarks.gateway import serve_floor; serve_floor()"
        self.smsc = stack.enter_context(Server([program, "smsc", "--port", "0"]))
        self.floors = {
            "floor: uvloop, header": stack.enter_context(Server([sys.executable, "-c", code])),
            "floor: C, header": stack.enter_context(Server([program, "floor", "--port", "0"])),
        }
        self.gateway = stack.enter_context(Gateway(folder / "data", self.smsc))
        self.idle = idle_cpu(self.gateway.pids)

    def carry(self, gateway: Gateway, idle: float, window: int, **more: Any) -> Turn:  # Any: of `Load.sp`
        """A turn of a gateway, checked."""
        more = {"messages": self.given.messages, **more}

        def work() -> Said:
            return ended(self.load.sp(gateway.port, window=window, **more))

        turn = Turn(gateway.pids, idle, work)
        time.sleep(0.3)  # the SMSC hears that its last receipt was taken
        check(turn.said, self.smsc.summary(), more["messages"], self.problems, f"gateway, W={window}")
        return turn

    def floor(self, name: str, window: int) -> Turn:
        server = self.floors[name]
        messages = max(self.given.messages, 200_000)

        def work() -> Said:
            return ended(self.load.sp(server.port, messages=messages, window=window, floor=True))

        return Turn(server.pids, 0.0, work)

    def compare(self) -> Table:
        """The turns."""
        table = Table()
        peers: dict[str, Any] = {}  # Any: a contender of `_peers`
        with ExitStack() as stack:
            if "kannel" in self.given.peers:
                from benchmarks._kannel import Batch

                peers["kannel, file store"] = stack.enter_context(
                    Batch(self.folder, self.smsc, max(self.given.windows))
                )
            self.carry(self.gateway, self.idle, 16, messages=min(2000, self.given.messages))  # warms up
            for _ in range(self.given.rounds):
                for window in self.given.windows:
                    for name in self.floors:
                        table.add(name, window, self.floor(name, window))
                    table.add("gateway", window, self.carry(self.gateway, self.idle, window))
                for name, peer in peers.items():
                    turn = Turn(peer.pids, 0.0, lambda peer=peer: peer.send(self.load, self.given.messages))
                    table.add(name, max(self.given.windows), turn)
                    check(turn.said, turn.said["smsc"], self.given.messages, self.problems, name)
        return table

    def half_load(self, table: Table) -> None:
        """What the gateway adds to a round trip when it is half as busy as it can be."""
        window = self.given.windows[0]
        rate = table.median("gateway", window, "rate") / 2
        messages = max(500, min(self.given.messages, int(rate * 20)))
        turn = self.carry(self.gateway, self.idle, 1024, messages=messages, rate=rate)
        print(f"half load, {rate:,.0f} msg/s by the clock: round trip p50 {turn.p50:.2f} ms, p99 {turn.p99:.2f} ms, "
              f"longest {turn.said['max_us'] / 1e3:.1f} ms; CPU {turn.cpu_us:.1f} us a message")  # fmt: skip

    def workers(self) -> None:
        """CPU a message where processes share the port, over the same four connections."""
        found = {}
        for count in (1, self.given.workers):
            with Gateway(self.folder / f"data-{count}", self.smsc, count) as gateway:
                idle = idle_cpu(gateway.pids)
                more = {"connections": 8, "messages": self.given.messages}
                self.carry(gateway, idle, 16, **{**more, "messages": 2000})
                turns = [self.carry(gateway, idle, 16, **more) for _ in range(self.given.rounds)]
                found[count] = statistics.median(turn.cpu_us for turn in turns)
                rate = statistics.median(turn.rate for turn in turns)
                print(f"{count} workers, 8 connections of W=16: {rate:,.0f} msg/s, CPU {found[count]:.1f} us a "
                      f"message, RSS {turns[-1].rss:.0f} MiB")  # fmt: skip
        print(f"{self.given.workers} workers beside 1: {found[self.given.workers] / found[1]:.2f}x CPU a message")

    def sessions(self) -> None:
        """2,000 quiet connections and 200 busy ones, heartbeats each 5 s on all of them."""
        empty = rss_mib(self.gateway.pids)
        quiet_s, port = 30.0, self.gateway.port
        quiet = [
            self.load.sp(port, messages=0, window=1, idle=999, login=LOGINS[name], heartbeat=5.0, seconds=quiet_s)
            for name in ("quiet-1", "quiet-2")
        ]
        time.sleep(8)
        settled = rss_mib(self.gateway.pids)
        busy = self.carry(self.gateway, self.idle, 4, connections=200, heartbeat=5.0, seconds=quiet_s / 2)
        told = [ended(one) for one in quiet]
        beats = sum(one["beats"] for one in (*told, busy.said))
        late = sum(one["late_beats"] for one in (*told, busy.said))
        longest = max(one["longest_beat_s"] for one in (*told, busy.said))
        print(f"2,000 quiet + 200 busy connections: RSS {empty:.0f} MiB before, {settled:.0f} with the quiet ones, "
              f"{busy.rss:.0f} with all; {busy.rate:,.0f} msg/s, p99 {busy.p99:.1f} ms; {beats} heartbeats, "
              f"{late} not answered within 1 s, longest {longest * 1e3:.0f} ms")  # fmt: skip
        if late or any(one["gone"] for one in told):
            self.problems.append(f"sessions: {late} late heartbeats, {sum(one['gone'] for one in told)} gone")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=50_000, help="a turn")
    parser.add_argument("--windows", type=int, nargs="+", default=[16, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=[], choices=["kannel"])
    parser.add_argument("--workers", type=int, default=0, help="also so many processes beside one")
    parser.add_argument("--sessions", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk that you ask about")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix=".gateway-", dir=given.folder))
    try:
        with ExitStack() as stack:
            bench = Bench(folder, given, stack)
            table = bench.compare()
            print(f"{given.messages} messages a turn, median of {given.rounds} rounds, load {os.getloadavg()[0]:.1f}; "
                  f"idle the gateway takes {bench.idle * 100:.1f}% of a core")  # fmt: skip
            table.show()
            bench.half_load(table)
            if given.sessions:
                bench.sessions()
            if given.workers:
                bench.workers()
        for problem in bench.problems:
            print(f"WRONG: {problem}")
        return 1 if bench.problems else 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
