"""Split a corpus for an honest measurement: near-duplicate clusters stay whole, one in four is held out.

    python -m benchmarks hold_out --corpus FOLDER --out FOLDER

Writes OUT/learn and OUT/judge with the files of the corpus (TSV: label, text). Then:

    mingbai train OUT/learn/zh_*.tsv OUT/learn/en_*.tsv --out OUT/model.npz --seed 1
    mingbai evaluate OUT/judge/zh_*.tsv OUT/judge/en_*.tsv --model OUT/model.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa

from mingbai.engines.screening.examples import clusters
from mingbai.engines.screening.model import read_column

HELD_OUT = 0.25
SEED = 9


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--corpus", type=Path)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    if given.corpus is None or given.out is None:
        print("nothing to split without --corpus and --out: left out")
        return
    for language in ("zh", "en"):
        heads: dict[str, str] = {}
        rows: list[tuple[str, str]] = []
        for path in sorted(given.corpus.glob(f"{language}_*.tsv")):
            heads[path.name], *lines = path.read_text(encoding="utf-8").split("\n")
            rows += [(path.name, line) for line in lines if "\t" in line]
        texts = pa.array([line.split("\t", 1)[1] for _, line in rows], pa.string())
        pointers, grams, _ = read_column(texts)
        chosen = np.random.default_rng(SEED).random(len(rows)) < HELD_OUT
        judged = chosen[clusters(pointers, grams)].tolist()
        for folder, wanted in (("learn", False), ("judge", True)):
            (given.out / folder).mkdir(parents=True, exist_ok=True)
            for name, head in heads.items():
                lines = [line for (file, line), is_judged in zip(rows, judged, strict=True)
                         if file == name and is_judged is wanted]  # fmt: skip
                (given.out / folder / name).write_text("\n".join([head, *lines, ""]), encoding="utf-8")
        print(f"{language}: {len(rows)} messages, {np.mean(judged):.1%} held out")


if __name__ == "__main__":
    main()
