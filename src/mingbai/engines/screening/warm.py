"""`python -m mingbai.engines.screening.warm`: compile every kernel once, so that nobody waits for it later.

Screens a few built-in messages with the shipped model, in every shape that traffic has: both languages, links, hidden
links, rules, campaigns that come again. numba keeps what it compiled beside the sources.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rescreen import rescreen
from mingbai.engines.screening.rulebook import parse
from mingbai.engines.screening.rules import CompiledRules, keyword_nids
from mingbai.engines.screening.screen import screen

TEXTS = (
    "【某某银行】您的验证码是482913，5分钟内有效，请勿告诉他人。",
    "晚上一起吃饭吗？老地方见。",
    "恭喜您被抽中，点击 www.example-prize.top/a 领取，加薇信 abc12345，回T退订",
    "急用钱找我，秒到账，无抵押，威❤信：b❤c❤8❤8，网址 example点com",
    "Your parcel is held, pay the fee at http://192.0.2.10/pay or it is returned",
    "See you at seven, I'll bring the tickets.",
    "FREE entry, w1n ca$h now, text YES to 80085 or call 020 7946 0000",
    "",
)
RULEBOOK = """
[rulebook]
name = "warm"
version = "1"
[[rule]]
id = "keywords"
category = "spam"
action = "flag"
owner = "nobody"
reason = "compiles the trie"
keywords = ["抽中", "秒到账"]
[[rule]]
id = "numbers"
category = "spam"
action = "flag"
owner = "nobody"
reason = "compiles numbers and regexes"
regexes = ["text YES"]
numbers = ["02079460000"]
"""


def warm() -> int:
    """Screen the built-in messages; returns how many were decided."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = len(TEXTS)
    batch = pa.record_batch(
        {
            "text": pa.array(TEXTS, pa.string()),
            "sender": pa.array([f"+86138000000{row:02d}" for row in range(rows)], pa.string()),
            "receiver": pa.array([f"+86139000000{row:02d}" for row in range(rows)], pa.string()),
            "access_code": pa.array(["10690000"] * rows, pa.string()),
            "time": pa.array([start + timedelta(seconds=row) for row in range(rows)], pa.timestamp("us", "UTC")),
        }
    )
    rules = CompiledRules.of(parse(RULEBOOK, keyword_nids, source="built in"))
    counters = Counters(1_000)
    decided = 0
    for policy in (Policy(Model.load(), CompiledRules.none(), start), Policy(Model.load(), rules, start, flag_at=0.0)):
        for part in (batch, batch.select(["text"])):
            decisions, updates = screen(part, policy, counters)
            counters.apply(updates)
            decided += decisions.num_rows
            # And decided anew from what would have been recorded of them: replay has a kernel of its own.
            version = pa.array([policy.model.version] * rows)
            rescreen(part, decisions.append_column("model", version), policy)
    return decided


def main() -> None:
    started = time.monotonic()
    decided = warm()
    # A program's own door, like dev.py: it prints.
    print(f"kernels are compiled: {decided} messages decided in {time.monotonic() - started:.1f} s")  # noqa: T201


if __name__ == "__main__":
    main()
