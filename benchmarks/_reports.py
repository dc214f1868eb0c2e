"""`--reports N` of `benchmarks/gateway.py`: N messages wait for their receipts, the gateway is started anew, all come.

The SMSC keeps the receipts of all messages until the gateway was stopped by SIGTERM and started again; then it sends
them shuffled, each with its id in decimal where the submit_sm_resp had hexadecimal. The registry says nothing of that
habit: the gateway has to find it out. Every provider's report has to come back, once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks._gateway import Gateway, usual
from benchmarks._load import Load, Said, Server, ended
from benchmarks._turns import rss_mib

_PATIENCE_S: Final = 60.0
_LONGEST_S: Final = 4 * 3600.0
_CONNECTIONS, _WINDOW = 4, 128


def bring_back(folder: Path, load: Load, count: int, first_id: int, problems: list[str]) -> None:
    """Prints how long each stage took; what is wrong goes to `problems`."""
    options = {"withhold": True, "hex": True, "window": _WINDOW, "first_id": first_id}
    with load.smsc(**options) as smsc, Gateway(folder / "data-reports", usual(smsc)) as gateway:
        empty = rss_mib(gateway.pids)
        sent = ended(
            load.sp(gateway.port, messages=count, window=_WINDOW, connections=_CONNECTIONS, expect=0,
                    patience=_PATIENCE_S),
            _LONGEST_S,
        )  # fmt: skip
        told = _all_withheld(smsc, sent["accepted"])
        full, waiting = rss_mib(gateway.pids), gateway.live()["totals"]["waiting_reports"]
        print(f"{count:,} messages that wait for their reports: taken in {sent['seconds']:.1f} s, "
              f"{count / sent['seconds']:,.0f} msg/s; RSS {empty:.0f} MiB before, {full:.0f} with them")  # fmt: skip
        if (sent["accepted"], told["received"], told["doubled"], waiting) != (count, count, 0, count):
            problems.append(f"reports: {sent['accepted']} accepted, {told['received']} at the SMSC, {waiting} wait")
        stop_s = gateway.stop()
        start_s = gateway.start()
        again = gateway.live()["totals"]["waiting_reports"]
        print(f"restart: stopped within {stop_s:.1f} s, bound again after {start_s:.1f} s with {again:,} that wait; "
              f"RSS {rss_mib(gateway.pids):.0f} MiB")  # fmt: skip
        if again != count:
            problems.append(f"reports: {again} wait after the restart, not {count}")
        _bring(load, smsc, gateway, count, problems)


def _all_withheld(smsc: Server, count: int) -> Said:
    """The SMSC's summary, once all are there or no more come."""
    found, moved, known = smsc.peek(), time.monotonic(), -1
    while found["received"] < count and time.monotonic() - moved < _PATIENCE_S:
        if found["received"] != known:
            moved, known = time.monotonic(), found["received"]
        time.sleep(0.1)
        found = smsc.peek()
    time.sleep(1.0)  # its last answers are on their way
    return smsc.summary()


def _bring(load: Load, smsc: Server, gateway: Gateway, count: int, problems: list[str]) -> None:
    """The receipts go back, and the reports to the provider."""
    taker = load.sp(gateway.port, messages=0, window=_WINDOW, expect=count, patience=_PATIENCE_S)
    until = time.monotonic() + _PATIENCE_S
    while not any(one["side"] == "account" and one["name"] for one in gateway.live()["connections"]):
        if time.monotonic() > until:
            break
        time.sleep(0.1)
    smsc.summary()
    began = time.monotonic()
    smsc.release()
    said = ended(taker, _LONGEST_S)
    took = time.monotonic() - began
    time.sleep(1.0)  # the SMSC hears of the last ones
    told = smsc.summary()
    left = gateway.live()["totals"]
    took_s = said["report_seconds"] or took
    print(f"{said['reports']:,} reports back in {took_s:.1f} s, {said['reports'] / took_s:,.0f} a second; "
          f"RSS {rss_mib(gateway.pids):.0f} MiB, at most {_peak_mib(gateway.pids):.0f}")  # fmt: skip
    right = {"reports": count, "doubled": 0, "undelivered": 0, "gone": 0}
    problems += [f"reports: {name} {said[name]}, not {value}" for name, value in right.items() if said[name] != value]
    right = {"receipts": count, "confirmed": count, "declined": 0, "withheld": 0}
    problems += [f"reports, SMSC: {key} {told[key]}, not {value}" for key, value in right.items() if told[key] != value]
    names = ("waiting_reports", "reports_to_tell", "reports_unmatched")
    problems += [f"reports, left: {name} {left[name]}" for name in names if left[name]]


def _peak_mib(pids: Sequence[int]) -> float:
    """The most that they ever had, since their start."""
    lines = (line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
