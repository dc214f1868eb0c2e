"""What came of one run of one contender of `benchmarks/gateway.py`, and the table of all."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks._load import Said

FLOOR: Final = "floor: uvloop, header"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


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


def check(said: Said, smsc: Said, messages: int, problems: list[str], who: str, has_reports: bool = True) -> None:
    """Every message went out once, and every report came back once."""
    reports = messages if has_reports else 0
    right = {"accepted": messages, "reports": reports, "doubled": 0, "undelivered": 0, "gone": 0}
    problems += [f"{who}: {name} {said[name]}, not {value}" for name, value in right.items() if said[name] != value]
    if said["refused"]:
        problems.append(f"{who}: refused {said['refused']}")
    right = {"received": messages, "doubled": 0, "confirmed": reports}
    problems += [f"{who}, SMSC: {key} {smsc[key]}, not {value}" for key, value in right.items() if smsc[key] != value]


class Table:
    """Turns by contender; medians, and ratios to the floor of the same window."""

    def __init__(self) -> None:
        self.turns: dict[tuple[str, int], list[Turn]] = {}

    def add(self, name: str, window: int, turn: Turn) -> None:
        self.turns.setdefault((name, window), []).append(turn)

    def median(self, name: str, window: int, field: str) -> float:
        return float(statistics.median(getattr(turn, field) for turn in self.turns[name, window]))

    def show(self) -> None:
        print(f"{'contender':26} {'W':>4} {'msg/s':>9} {'answers/s':>10} {'p50 ms':>8} {'p99 ms':>8} "
              f"{'CPU us/msg':>11} {'RSS MiB':>8} {'CPU x floor':>12}")  # fmt: skip
        for name, window in self.turns:
            rate, answers, p50, p99, cpu, rss = (
                self.median(name, window, field) for field in ("rate", "answer_rate", "p50", "p99", "cpu_us", "rss")
            )
            floor = self.median(FLOOR, window, "cpu_us")
            ratio = cpu / floor if floor else float("nan")
            print(f"{name:26} {window:>4} {rate:>9,.0f} {answers:>10,.0f} {p50:>8.2f} {p99:>8.2f} {cpu:>11.1f} "
                  f"{rss:>8.0f} {ratio:>12.1f}")  # fmt: skip
