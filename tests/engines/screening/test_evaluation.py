"""Evaluation counts right and tells no text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from mingbai.engines import scenarios
from mingbai.engines.screening.evaluation import evaluate
from mingbai.engines.screening.examples import LabelledFile
from mingbai.engines.screening.model import Model
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category


def generated(rows: int) -> list[LabelledFile]:
    batch = scenarios.generate(77, rows).to_pydict()
    labels = [Category(value).label for value in batch["category"]]
    half = rows // 2
    return [
        LabelledFile("first", batch["text"][:half], labels[:half]),
        LabelledFile("second", batch["text"][half:], labels[half:]),
    ]


def test_figures_add_up_and_no_text_is_told() -> None:
    files = generated(1200)
    report = evaluate(Model.load(), files, rate=0.0)
    assert report.version == Model.load().version
    unwanted = sum(Category[label.upper()] >= Category.ADVERTISING for file in files for label in file.labels)
    assert sum(figures.pooled.unwanted for figures in report.languages.values()) == unwanted
    assert sum(figures.pooled.legitimate for figures in report.languages.values()) == 1200 - unwanted
    for figures in report.languages.values():
        assert sum(source.unwanted for source in figures.sources.values()) == figures.pooled.unwanted
        assert figures.pooled.at_0_1_percent is not None
        assert figures.pooled.at_0_5_percent is not None
        assert 0 <= figures.pooled.at_0_1_percent <= figures.pooled.at_0_5_percent <= 1
        assert figures.disguises == {}
    assert sum(figures.rows for figures in report.categories.values()) <= 1200
    told = json.dumps(dataclasses.asdict(report), ensure_ascii=False)
    assert not any(text in told for file in files for text in file.texts if len(text) > 5)


def test_disguises_are_measured_at_the_clean_threshold() -> None:
    report = evaluate(Model.load(), generated(400), rate=0.3)
    chinese = report.languages["chinese"]
    assert {"mixed", "homophone", "pad"} <= set(chinese.disguises)
    assert {"emoji", "traditional", "fullwidth", "mixed"} == set(chinese.odd_styles)
    for figure in (*chinese.disguises.values(), *chinese.odd_styles.values()):
        assert 0 <= figure.clean <= 1
        assert 0 <= figure.disguised <= 1


def test_picture_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "curve.png"
    evaluate(Model.load(), generated(400), rate=0.0, picture=path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_nothing_to_evaluate_is_refused() -> None:
    with pytest.raises(BadValue, match="no messages"):
        evaluate(Model.load(), [])
