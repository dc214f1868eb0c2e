"""The gateway under load: a provider that speaks CMPP in, an SMSC that speaks SMPP out, both in C, beside a floor.

    python -m benchmarks gateway [--messages 50000] [--windows 16 128] [--rounds 3] [--peers kannel jasmin]
                                 [--workers 2] [--sessions] [--reports N] [--hostile] [--live] [--folder DIR]

- *gateway*: `mingbai gateway` as it is deployed: each SUBMIT is screened, entered into the ledger, journalled and
  synced before its answer, carried to the SMSC, and its report brought back and answered. The rate counts a message
  when its report was answered; `answers/s` when its SUBMIT was.
- *floor*: a uvloop server that answers the same octets with a header of 12: one leg, nothing read, nothing kept. The
  same in C says how much the load itself could ask for.
- *kannel*: Kannel (Debian `kannel`, `kannel-extras`) with its file store: `mtbatch` hands the messages to bearerbox,
  that to the same SMSC; smsbox calls a URL for each report. Its store is written and never synced, it screens nothing,
  and there is no window in front of it, hence no round trip.
- *jasmin*: Jasmin 0.11.1, RabbitMQ and Redis (Debian `rabbitmq-server`, `redis-server`), see `_jasmin.py`: SMPP in,
  SMPP out, no reports; the rate is that at which the messages reached the SMSC, by its clock. Beside it stands the
  gateway with a provider by SMPP, reports included.

Contenders take turns round by round; printed are medians. CPU is what the kernel charged the contender's processes
(utime + stime) for a message, less what they use when idle. All share one machine: look at the ratios and the CPU.
Then: the round trip at half of the rate of the first window, by the clock; `--workers`: CPU a message with so many
processes on one port and four connections, beside one; `--sessions`: 2,000 quiet connections with heartbeats beside
200 busy ones. No message may be lost, doubled or refused on its way: the run fails where one was.

Each by itself, on a gateway of its own: `--reports N`, all receipts of N messages after a restart (`_reports.py`);
`--hostile`, others that misbehave beside a provider (`_hostile.py`); `--live`, how soon a change is in force
(`_live.py`). `--only` leaves the comparison out, where one of these is asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import struct
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import _hostile, _live, _reports
from benchmarks._gateway import LOGINS, Gateway, usual
from benchmarks._load import Load, Said, Server, ended
from benchmarks._turns import FLOOR, Table, Turn, check, idle_cpu, rss_mib

_HEAD: Final = struct.Struct(">III")


# ----------------------------------------------------------------------------------------------------------- the floor
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


# ---------------------------------------------------------------------------------------------------------------- runs
class Bench:
    """One gateway, one SMSC, the floors, and whoever else takes part, for the whole run."""

    def __init__(self, folder: Path, load: Load, given: argparse.Namespace, stack: ExitStack) -> None:
        self.folder = folder
        self.given = given
        self.load = load
        self.problems: list[str] = []
        code = "from benchmarks.gateway import serve_floor; serve_floor()"
        self.smsc = stack.enter_context(self.load.smsc())
        self.floors = {
            FLOOR: stack.enter_context(Server([sys.executable, "-c", code])),
            "floor: C, header": stack.enter_context(self.load.floor()),
        }
        self.gateway = stack.enter_context(Gateway(folder / "data", usual(self.smsc)))
        self.idle = idle_cpu(self.gateway.pids)

    def carry(self, gateway: Gateway, idle: float, window: int, **more: Any) -> Turn:  # Any: of `Load.sp`
        """A turn of a gateway, checked."""
        more = {"messages": self.given.messages, **more}
        port = gateway.smpp_port if more.get("smpp") else gateway.port

        def work() -> Said:
            return ended(self.load.sp(port, window=window, **more))

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
        table, widest = Table(), max(self.given.windows)
        peers: dict[str, Any] = {}  # Any: Batch or Jasmin
        with ExitStack() as stack:
            if "kannel" in self.given.peers:
                from benchmarks._kannel import Batch

                peers["kannel, file store"] = stack.enter_context(Batch(self.folder, self.smsc, widest))
            if "jasmin" in self.given.peers:
                from benchmarks._jasmin import Jasmin

                peers["jasmin, no reports"] = stack.enter_context(Jasmin(self.folder, self.smsc, widest))
            self.carry(self.gateway, self.idle, 16, messages=min(2000, self.given.messages))  # warms up
            for _ in range(self.given.rounds):
                for window in self.given.windows:
                    for name in self.floors:
                        table.add(name, window, self.floor(name, window))
                    table.add("gateway", window, self.carry(self.gateway, self.idle, window))
                if "jasmin" in self.given.peers:
                    table.add("gateway, SMPP in", widest, self.carry(self.gateway, self.idle, widest, smpp=True))
                for name, peer in peers.items():
                    turn = Turn(peer.pids, 0.0, partial(peer.send, self.load, self.given.messages))
                    table.add(name, widest, turn)
                    check(turn.said, turn.said["smsc"], self.given.messages, self.problems, name, peer.has_reports)
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
            with Gateway(self.folder / f"data-{count}", usual(self.smsc), count) as gateway:
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


def compare(folder: Path, load: Load, given: argparse.Namespace) -> tuple[float, list[str]]:
    """Everything that takes turns. Returns the rate of the first window, and what was wrong."""
    with ExitStack() as stack:
        bench = Bench(folder, load, given, stack)
        table = bench.compare()
        print(f"{given.messages} messages a turn, median of {given.rounds} rounds, load {os.getloadavg()[0]:.1f}; "
              f"idle the gateway takes {bench.idle * 100:.1f}% of a core")  # fmt: skip
        table.show()
        bench.half_load(table)
        if given.sessions:
            bench.sessions()
        if given.workers:
            bench.workers()
        return table.median("gateway", given.windows[0], "rate"), bench.problems


def top_rate(folder: Path, load: Load, given: argparse.Namespace) -> float:
    """The rate of the first window, where nothing was compared."""
    with load.smsc() as smsc, Gateway(folder / "data-rate", usual(smsc)) as gateway:
        turns = [
            ended(load.sp(gateway.port, messages=given.messages, window=given.windows[0])) for _ in range(given.rounds)
        ]
    return float(statistics.median(said["answered"] / said["seconds"] for said in turns))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=50_000, help="a turn")
    parser.add_argument("--windows", type=int, nargs="+", default=[16, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=[], choices=["kannel", "jasmin"])
    parser.add_argument("--workers", type=int, default=0, help="also so many processes beside one")
    parser.add_argument("--sessions", action="store_true")
    parser.add_argument("--reports", type=int, default=0, help="so many wait for their receipts over a restart")
    parser.add_argument("--first-id", type=int, default=1_000_000_001, help="of the SMSC's ids in --reports")
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a turn in --hostile")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--only", action="store_true", help="just --reports, --hostile, --live: no comparison")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk that you ask about")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix=".gateway-", dir=given.folder))
    problems: list[str] = []
    rate = 0.0
    try:
        load = Load(folder)
        if not given.only:
            rate, problems = compare(folder, load, given)
        if given.reports:
            _reports.bring_back(folder, load, given.reports, given.first_id, problems)
        if given.hostile:
            rate = rate or top_rate(folder, load, given)
            _hostile.measure(folder, load, rate, given.rounds, given.seconds, problems)
        if given.live:
            _live.measure(folder, load, problems)
        for problem in problems:
            print(f"WRONG: {problem}")
        return 1 if problems else 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
