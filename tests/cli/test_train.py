"""`mingbai train`, the whole way: labelled files in, a model file out that `screen` uses."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from mingbai.cli import main
from mingbai.engines.screening.model import Model
from tests.cli.conftest import Run
from tests.cli.labelled import QUICK, write_labelled


@dataclass(frozen=True)
class Trained:
    files: list[Path]
    first: Path  # seed 1
    again: Path  # seed 1
    other: Path  # seed 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Three models of the same two files."""
    folder = tmp_path_factory.mktemp("trained")
    files = [folder / "one.tsv", folder / "two.tsv"]
    for seed, path in enumerate(files, 5):
        write_labelled(path, 400, seed=seed)
    made = [folder / "first.npz", folder / "again.npz", folder / "other.npz"]
    for seed, path in zip((1, 1, 2), made, strict=True):
        assert main(["train", *map(str, files), "--out", str(path), "--seed", str(seed), *QUICK]) == 0
    return Trained(files, *made)


@pytest.mark.slow
def test_the_same_files_and_seed_give_the_same_bytes_and_another_seed_another_model(trained: Trained) -> None:
    assert trained.first.read_bytes() == trained.again.read_bytes()
    assert Model.load(trained.first).version != Model.load(trained.other).version


@pytest.mark.slow
def test_the_model_knows_where_it_comes_from(trained: Trained) -> None:
    about = Model.load(trained.first).about
    assert about["seed"] == 1
    assert about["sources"] == {"one": 400, "two": 400}
    assert about["scenario_rows"] == 0


@pytest.mark.slow
def test_another_process_makes_the_same_bytes(program: Run, trained: Trained, tmp_path: Path) -> None:
    done = program("train", *trained.files, "--out", tmp_path / "m.npz", *QUICK)
    assert done.code == 0, done.err
    assert (tmp_path / "m.npz").read_bytes() == trained.first.read_bytes()
    assert Model.load(trained.first).version in done.out


@pytest.mark.slow
def test_screen_uses_the_trained_file(run: Run, trained: Trained, messages: Path) -> None:
    scores = []
    for options in ([], ["--model", trained.first], ["--model", trained.other]):
        done = run("screen", messages, "--ledger", "-o", "o.csv", *options)
        assert done.code == 0, done.err
        with open("o.csv", encoding="utf-8-sig") as file:
            scores.append([row["score"] for row in csv.DictReader(file)])
    assert len({tuple(row) for row in scores}) == 3
    noted = run("ledger", "query", "SELECT DISTINCT model FROM entries WHERE model IS NOT NULL", "--csv").out
    for path in (trained.first, trained.other):
        assert Model.load(path).version in noted


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_at_80_columns_no_name_and_no_figure_is_lost(
    run: Run, trained: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, language: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    from mingbai.cli.console import stdout

    stdout.cache_clear()  # a console reads its width when it is made
    done = run("--lang", language, "train", *trained.files, "--out", tmp_path / "m.npz", *QUICK)
    stdout.cache_clear()
    assert done.code == 0, done.err
    names = ("Chinese", "English") if language == "en" else ("中文", "英文")
    for name in names:
        (row,) = [line for line in done.out.splitlines() if line.split()[:1] == [name]]
        assert re.fullmatch(r"\S+ +\d+ +[01]\.\d{3} +[01]\.\d{3} +\d+\.\d\d % +[01]\.\d{3} +[01]\.\d{3}", row.strip())
    assert "…" not in done.out


HEAD = "label\ttext\n"


@pytest.mark.parametrize(
    ("content", "options", "parts"),
    [
        (b"text\tother\nhello\tx\n", [], ["bad.tsv", "no column 'label'", "'text', 'other'"]),
        (b"label\tbody\nham\thello\n", [], ["bad.tsv", "no column 'text'"]),
        (b"label\ttext\nham\thello\n", ["--label-column", "labels"], ["'labels'", "Did you mean 'label'?"]),
        (b"label\ttext\nham\thello\npolitics\tyo\n", [], ["bad.tsv, row 2, column label", "'politics'", "one of 0"]),
        (b"label\ttext\n\thello\n", [], ["bad.tsv, row 1, column label: got ''"]),
        (b"", [], ["bad.tsv", "no column 'label'"]),
        (HEAD.encode(), [], ["bad.tsv: got 'no rows', expected at least one message"]),
        (HEAD.encode() + b"ham\t\x81\xff\xfe\x80\n", [], ["bad.tsv: got '1 rows, none of which can be read'"]),
        (HEAD.encode() + "spam\t恭喜您中奖了\n".encode() * 90, [], ["too few legitimate chinese messages", "80"]),
        (HEAD.encode() + "ham\tsee you\nham\t晚上一起吃饭\n".encode() * 90, [], ["too few unwanted chinese"]),
    ],
    ids=["no-label", "no-text", "misspelt", "unknown", "blank", "empty", "header", "undecodable", "spam", "ham"],
)  # fmt: skip
def test_a_bad_file_is_named_with_what_is_wrong_and_no_model_is_written(
    run: Run, tmp_path: Path, content: bytes, options: list[str], parts: list[str]
) -> None:
    bad = tmp_path / "bad.tsv"
    bad.write_bytes(content)
    for command in (["train", bad, "--out", "m.npz", *QUICK], ["evaluate", bad, "--rate", "0"]):
        done = run(*command, *options)
        if command[0] == "evaluate" and "too few" in parts[0]:
            assert done.code == 0  # categories can be measured; recall cannot, and it says so
            assert "No recall" in done.out
            continue
        assert done.code == 2
        for part in parts:
            assert part in done.err
        assert len(done.err.splitlines()) == 1
    assert not Path("m.npz").exists()


def test_a_file_that_is_not_there_is_named(run: Run) -> None:
    for command in (["train", "gone.tsv", "--out", "m.npz"], ["evaluate", "gone.tsv"]):
        done = run(*command)
        assert (done.code, done.out) == (2, "")
        assert "gone.tsv" in done.err


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ([], "FILES"),
        (["a.tsv", "--epochs", "0"], "--epochs: got 0"),
        (["a.tsv", "--scenario-rows", "-1"], "--scenario-rows: got -1"),
        (["a.tsv", "--seed", "one"], "--seed: got 'one'"),
    ],
)
def test_a_wrong_option_is_named(run: Run, options: list[str], part: str) -> None:
    done = run("train", *options, "--out", "m.npz")
    assert done.code == 2
    assert part in done.err


@pytest.mark.slow
def test_rows_that_cannot_be_read_are_counted_and_the_rest_is_learnt(
    run: Run, trained: Trained, tmp_path: Path
) -> None:
    worse = tmp_path / "worse.tsv"
    worse.write_bytes(trained.files[0].read_bytes() + b"ham\t\x81\xff\xfe\x80\n")
    done = run("train", worse, trained.files[1], "--out", "m.npz", *QUICK)
    assert done.code == 1
    assert "1 rows could not be read" in done.err
    assert Model.load(Path("m.npz")).about["sources"] == {"worse": 400, "two": 400}


@pytest.mark.slow
def test_a_model_that_cannot_be_written_says_so(run: Run, trained: Trained) -> None:
    done = run("train", *trained.files, "--out", "no/such/folder/m.npz", *QUICK)
    assert done.code == 2
    assert "no/such/folder/m.npz" in done.err
    assert "fault of Mingbai" not in done.err
