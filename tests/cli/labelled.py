"""Labelled files made by the generator, for the tests of `train` and `evaluate`."""

from __future__ import annotations

from pathlib import Path

from mingbai.engines import scenarios
from mingbai.kernel.verdicts import Category

QUICK = ("--epochs", "2", "--scenario-rows", "0")


def write_labelled(path: Path, rows: int, *, seed: int = 5) -> list[str]:
    """A TSV of generated messages with their categories; returns the texts."""
    made = scenarios.generate(seed, rows).to_pydict()
    texts = [" ".join(text.split()) for text in made["text"]]
    labels = [Category(value).label for value in made["category"]]
    lines = [f"{label}\t{text}\n" for label, text in zip(labels, texts, strict=True)]
    path.write_text("label\ttext\n" + "".join(lines), encoding="utf-8")
    return texts
