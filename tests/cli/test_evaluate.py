"""`mingbai evaluate`: figures, a picture, never a text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mingbai.engines.screening.model import Model
from tests.cli.conftest import Run
from tests.cli.labelled import write_labelled


@pytest.fixture
def texts(data: Path) -> list[str]:
    """The texts of `day.tsv` in the current folder."""
    return write_labelled(Path("day.tsv"), 150)


def assert_no_text(shown: str, texts: list[str]) -> None:
    for text in texts:
        for at in range(0, max(1, len(text) - 12), 6):
            assert len(text) < 12 or text[at : at + 12] not in shown


def test_figures_are_shown_and_never_a_text(run: Run, texts: list[str]) -> None:
    done = run("evaluate", "day.tsv", "--rate", "0.2")
    assert done.code == 0, done.err
    for word in ("Recall at 0.1 %", "Macro-F1", "fraud", "homoglyph", "legitimate, emoji"):
        assert word in done.out
    assert_no_text(done.out + done.err, texts)


def test_json_has_the_same_figures_and_no_text(run: Run, texts: list[str]) -> None:
    done = run("evaluate", "day.tsv", "--rate", "0", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    pooled = [language["pooled"] for language in report["languages"].values()]
    assert sum(one["legitimate"] + one["unwanted"] for one in pooled) == 150
    assert all(set(language["sources"]) == {"day"} for language in report["languages"].values())
    assert_no_text(done.out, texts)


def test_the_same_seed_gives_the_same_figures(run: Run, texts: list[str]) -> None:
    shown = [run("evaluate", "day.tsv", "--seed", seed, "--json").out for seed in (1, 1)]
    assert shown[0] == shown[1]


def test_the_picture_is_a_picture(run: Run, texts: list[str]) -> None:
    done = run("evaluate", "day.tsv", "--rate", "0", "--picture", "curve.png")
    assert done.code == 0, done.err
    content = Path("curve.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.rstrip().endswith(b"IEND\xaeB`\x82")
    assert len(content) > 10_000


def test_a_model_that_is_none_is_refused(run: Run, texts: list[str]) -> None:
    Path("m.npz").write_bytes(b"PK\x03\x04 no model")
    for name in ("m.npz", "gone.npz"):
        done = run("evaluate", "day.tsv", "--model", name)
        assert done.code == 2
        assert name in done.err
        assert "fault of Mingbai" not in done.err


def test_the_version_of_the_model_that_is_measured_is_shown(run: Run, texts: list[str]) -> None:
    from mingbai.connectors.policies import read_model

    shipped: Model = read_model(None)
    assert f"Model {shipped.version}" in run("evaluate", "day.tsv", "--rate", "0").out


@pytest.mark.parametrize("rate", ["-0.1", "1.5", "nan"])
def test_a_rate_outside_0_to_1_is_refused(run: Run, texts: list[str], rate: str) -> None:
    done = run("evaluate", "day.tsv", "--rate", rate)
    assert done.code == 2
    assert "--rate" in done.err


@pytest.mark.parametrize("language", ["en", "zh"])
def test_at_80_columns_no_name_and_no_figure_is_lost(
    run: Run, texts: list[str], monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    from mingbai.cli.console import stdout

    name = "q1w2e3r4" * 5
    Path("day.tsv").rename(f"{name}.tsv")
    monkeypatch.setenv("COLUMNS", "80")
    stdout.cache_clear()  # a console reads its width when it is made
    done = run("--lang", language, "evaluate", f"{name}.tsv", "--rate", "0.2")
    stdout.cache_clear()
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in done.out
    whole = "".join(line.split()[0] for line in lines if line.split() and line.split()[0] in _pieces(name, lines))
    assert name in whole
    languages = ("Chinese", "English") if language == "en" else ("中文", "英文")
    for word in languages:
        assert any(
            re.fullmatch(rf"{word} +\d+ +\d+ +[01]\.\d{{3}} +[01]\.\d{{3}} +[01]\.\d{{3}} +\d+\.\d\d %", line.strip())
            for line in lines
        )


def _pieces(name: str, lines: list[str]) -> set[str]:
    """First words that are parts of a folded name."""
    return {word for line in lines if line.split() and (word := line.split()[0]) in name}
