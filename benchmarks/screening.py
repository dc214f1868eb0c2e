"""The full screen beside its peers and the physical floor, in one run.

    python -m benchmarks screening [--messages 50000] [--rounds 9] [--corpus FOLDER] [--language zh|en]

Every contender handles the same messages on one thread; they take turns round by round and thread CPU time is compared,
so that a neighbour's load hits all alike. What is printed are medians and their ratios. The screen is `screen()` as the
product calls it: shipped model, a rulebook with 10,000 keywords, reasons, spans, campaigns, URLs, Arrow in and out.
Messages come from the scenario generator, or from the TSV files (label, text) of a corpus folder.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from mingbai.engines import scenarios
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.reading import nids
from mingbai.engines.screening.rulebook import parse
from mingbai.engines.screening.rules import CompiledRules
from mingbai.engines.screening.screen import screen

SLOW_SHARE = 16  # peers that are ten times slower and more get every 16th message


def messages(count: int, corpus: Path | None, language: str, seed: int = 7) -> list[str]:
    """`count` distinct-ish texts in random order."""
    rnd = random.Random(seed)
    if corpus is None:
        return list(scenarios.generate(seed, count, language=language).column("text").to_pylist())
    texts = []
    for path in sorted(corpus.glob(f"{language}_*.tsv")):
        lines = path.read_text(encoding="utf-8").split("\n")[1:]
        texts += [line.split("\t", 1)[1] for line in lines if "\t" in line]
    rnd.shuffle(texts)
    return (texts * (count // len(texts) + 1))[:count]


def keywords(texts: list[str], count: int, seed: int = 3) -> list[str]:
    """Joins of one span's beginning and another's end: true beginnings, rare hits; one in fifty a true span."""
    rnd = random.Random(seed)
    spans: list[str] = []
    while len(spans) < 4 * count:
        text = rnd.choice(texts)
        size = rnd.choice((4, 5, 6, 7, 8)) * (2 if text.isascii() else 1)
        at = rnd.randrange(max(1, len(text) - size))
        span = "".join(c for c in text[at : at + size] if c.isalnum() and not c.isdigit())
        if len(span) >= 4:
            spans.append(span)
    chosen = dict.fromkeys(spans[: count // 50])
    while len(chosen) < count:
        first, second = rnd.choice(spans), rnd.choice(spans)
        chosen[first[: (len(first) + 1) // 2] + second[len(second) // 2 :]] = None
    return list(chosen)


def rulebook(words: list[str]) -> CompiledRules:
    listed = ", ".join(f'"{w}"' for w in words)
    text = f"""
[rulebook]
name = "benchmark"
version = "1"
time_zone = "Asia/Shanghai"

[[rule]]
id = "bench-keywords"
category = "spam"
action = "flag"
priority = 1
owner = "benchmarks"
reason = "keywords of the benchmark"
keywords = [{listed}]
"""
    return CompiledRules.of(parse(text, nids))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--messages", type=int, default=50_000)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--corpus", type=Path)
    arguments.add_argument("--language", default="zh", choices=("zh", "en"))
    arguments.add_argument("--model", type=Path)
    given = arguments.parse_args()
    texts = messages(given.messages, given.corpus, given.language)
    some = texts[::SLOW_SHARE]
    octets = [t.encode() for t in texts]
    column = pa.array(texts, pa.string())
    batches = [pa.RecordBatch.from_arrays([column[k : k + 8192]], ["text"]) for k in range(0, len(texts), 8192)]
    small = [pa.RecordBatch.from_arrays([column[k : k + 256]], ["text"]) for k in range(0, len(texts), 256)]
    words = keywords(texts, 10_000)
    policy = Policy(Model.load(given.model), rulebook(words), datetime(2026, 1, 1, tzinfo=UTC))

    contenders: dict[str, tuple[Callable[[], object], int]] = {
        "floor: copy the bytes": (lambda: bytes(bytearray(column.buffers()[2])), len(texts)),
        "floor: bytes.decode a message": (lambda: [b.decode() for b in octets], len(texts)),
        "screen, 8,192 rows a call": (lambda: [screen(b, policy, Counters()) for b in batches], len(texts)),
        "screen, 256 rows a call": (lambda: [screen(b, policy, Counters()) for b in small], len(texts)),
        **peers(texts, some, words),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for work, _ in contenders.values():
        work()
    for _ in range(given.rounds):
        for name, (work, count) in contenders.items():
            start = time.thread_time()
            work()
            times[name].append((time.thread_time() - start) / count)
    ours = statistics.median(times["screen, 8,192 rows a call"])
    decode = statistics.median(times["floor: bytes.decode a message"])
    characters = sum(map(len, texts)) / len(texts)
    decisions = pa.concat_arrays([screen(b, policy, Counters())[0].column("verdict") for b in batches])
    stopped = np.mean(decisions.to_numpy() > 0)
    print(
        f"{len(texts)} messages of {characters:.1f} characters, {stopped:.0%} not simply allowed; one thread, CPU time"
    )
    print(f"{'contender':36} {'k msg/s':>9} {'ns/char':>8} {'x decode':>9} {'screen is':>10}")
    for name, taken in times.items():
        t = statistics.median(taken)
        print(f"{name:36} {1e-3 / t:9.1f} {t / characters * 1e9:8.2f} {t / decode:9.2f} {t / ours:9.2f}x")


def peers(texts: list[str], some: list[str], words: list[str]) -> dict[str, tuple[Callable[[], object], int]]:
    """What a team would use instead; each does a part of the screen's work. Missing ones are left out, and said."""
    out: dict[str, tuple[Callable[[], object], int]] = {}
    labels = np.arange(len(texts)) % 2
    try:
        import ahocorasick

        automaton = ahocorasick.Automaton()
        for k, word in enumerate(words):
            automaton.add_word(word, k)
        automaton.make_automaton()
        out["pyahocorasick, 10,000 keywords"] = (lambda: sum(1 for t in some for _ in automaton.iter(t)), len(some))
    except ImportError:
        print("pyahocorasick is not installed: left out")
    try:
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.linear_model import SGDClassifier

        vectorizer = HashingVectorizer(analyzer="char", ngram_range=(1, 3), alternate_sign=False, norm=None)
        classifier = SGDClassifier(loss="log_loss", max_iter=2, tol=None, random_state=0)
        classifier.fit(vectorizer.transform(some), labels[: len(some)])
        out["scikit-learn hashing + linear"] = (lambda: classifier.predict(vectorizer.transform(some)), len(some))
    except ImportError:
        print("scikit-learn is not installed: left out")
    try:
        import tempfile

        import fasttext

        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as lines:
            for text, label in zip(some, labels, strict=False):
                lines.write(f"__label__{label} {' '.join(text)}".replace("\n", " ") + "\n")
            lines.flush()
            settings = {"dim": 10, "wordNgrams": 3, "bucket": 1 << 20, "epoch": 1, "thread": 1, "verbose": 0}
            fitted = fasttext.train_supervised(lines.name, **settings)
        out["fastText, spacing included"] = (
            lambda: fitted.predict([" ".join(t.replace("\n", " ")) for t in some]),
            len(some),
        )
    except ImportError:
        print("fastText is not installed: left out")
    return out


if __name__ == "__main__":
    main()
