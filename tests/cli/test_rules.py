"""`mingbai rules`: a rulebook is checked whole, and a first one is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run

pytestmark = pytest.mark.slow


def test_a_valid_rulebook_is_said_to_be_valid(run: Run, rules: Path) -> None:
    done = run("rules", "check", rules)
    assert done.code == 0
    assert "test 7 is valid" in done.out
    assert "1 rules, 1 of them in force" in done.out


def test_every_error_of_a_rulebook_is_named_with_its_line(run: Run, rules: Path) -> None:
    rules.write_text(rules.read_text(encoding="utf-8").replace('"spam"', '"opinion"').replace('"block"', '"burn"'))
    done = run("rules", "check", rules)
    assert done.code == 2
    assert "rules.toml:7: rule no-dinners: category" in done.err
    assert "rules.toml:8: rule no-dinners: action" in done.err


@pytest.mark.parametrize("words", [[], ["--lang", "zh"], ["--shipped"]])
def test_the_rulebook_to_start_from_is_valid(run: Run, tmp_path: Path, words: list[str]) -> None:
    assert run("rules", "init", "first.toml", *words).code == 0
    assert run("rules", "check", "first.toml").code == 0


def test_a_file_that_is_there_is_not_overwritten(run: Run, rules: Path) -> None:
    before = rules.read_bytes()
    done = run("rules", "init", rules)
    assert done.code == 2
    assert "File exists" in done.err
    assert rules.read_bytes() == before


def test_the_first_rulebook_stops_invoices_and_not_warnings(run: Run, tmp_path: Path) -> None:
    assert run("rules", "init", "first.toml").code == 0
    (tmp_path / "m.csv").write_text(
        "text\n代开发❤票，各行业都有，开票加薇信\n【反诈中心】凡是要求转账到安全账户的都是诈骗，请勿相信\n",
        encoding="utf-8",
    )
    assert run("screen", "m.csv", "--rules", "first.toml", "-o", "o.csv").code == 0
    offer, warning = (tmp_path / "o.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert ",block," in offer
    assert "rule." in offer
    assert "rule." not in warning
