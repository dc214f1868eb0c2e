"""Whether reasons are true: does the named evidence carry the verdict?

    python -m benchmarks evidence [--corpus FOLDER] [--language zh|en] [--messages 20000] [--model FILE]

For messages that the model blocks: the share of characters that the marks cover; how many fall below the threshold when
the marked characters are taken out; and how many fall when as many other characters are taken out, in spans of the same
lengths at random places that touch no mark.
"""

from __future__ import annotations

import argparse
import random
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.screening import messages
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rules import CompiledRules
from mingbai.engines.screening.screen import screen
from mingbai.kernel.verdicts import Reason

Spans = list[tuple[int, int]]


def without(text: str, spans: Spans) -> str:
    """The text with the spans (ascending) taken out."""
    at, out = 0, []
    for start, end in spans:
        out.append(text[at:start])
        at = end
    return "".join([*out, text[at:]])


def elsewhere(text: str, spans: Spans, rnd: random.Random) -> Spans:
    """Spans of the same lengths at random places that touch none of `spans`; what does not fit is cut shorter."""
    free = [True] * len(text)
    for start, end in spans:
        free[start:end] = [False] * (end - start)
    chosen = []
    for size in sorted((end - start for start, end in spans), reverse=True):
        for length in range(size, 0, -1):
            places = [k for k in range(len(text) - length + 1) if all(free[k : k + length])]
            if places:
                k = rnd.choice(places)
                free[k : k + length] = [False] * length
                chosen.append((k, k + length))
                break
    return sorted(chosen)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--corpus", type=Path)
    arguments.add_argument("--language", default="zh", choices=("zh", "en"))
    arguments.add_argument("--messages", type=int, default=20_000)
    arguments.add_argument("--model", type=Path)
    given = arguments.parse_args()
    policy = Policy(Model.load(given.model), CompiledRules.none(), datetime(2026, 1, 1, tzinfo=UTC))
    rnd = random.Random(11)
    texts = messages(given.messages, given.corpus, given.language)

    def spam(batch: list[str]) -> tuple[np.ndarray, list[Spans]]:
        rows = screen(pa.RecordBatch.from_pydict({"text": batch}), policy, Counters())[0]
        blocked = np.array([int(Reason.MODEL_SPAM) in r for r in rows.column("reasons").to_pylist()])
        return blocked, [[(s["start"], s["end"]) for s in each] for each in rows.column("spans").to_pylist()]

    blocked, spans = spam(texts)
    rows = np.flatnonzero(blocked).tolist()
    share = np.array([sum(e - s for s, e in spans[r]) / len(texts[r]) for r in rows])
    fell = ~spam([without(texts[r], spans[r]) for r in rows])[0]
    other = ~spam([without(texts[r], elsewhere(texts[r], spans[r], rnd)) for r in rows])[0]
    print(f"{len(rows)} of {len(texts)} messages blocked by the model")
    high, most = np.quantile(share, 0.99), share.max()
    print(
        f"named evidence: median {np.median(share):.1%} of the characters, 99th percentile {high:.1%}, most {most:.1%}"
    )
    print(f"below the threshold without the evidence: {fell.mean():.1%}")
    print(f"below the threshold without as many other characters: {other.mean():.1%}")


if __name__ == "__main__":
    main()
