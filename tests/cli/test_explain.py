"""`mingbai explain`: one decision, its words, what they were read as, what would change it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import CHAT, SPAM, Run

pytestmark = pytest.mark.slow

DISGUISED = "今晚㊀起吃饭，一❤起❤吃❤饭，老地方见"


def test_the_words_of_a_rule_are_marked_and_what_they_were_read_as(run: Run, rules: Path) -> None:
    done = run("explain", DISGUISED, "--rules", rules)
    assert done.code == 0
    assert "⟦一❤起❤吃❤饭⟧" in done.out
    assert "一起吃饭" in done.out
    assert "was read as" in done.out
    assert "rule no-dinners: dinners are off" in done.out
    assert "test team" in done.out


def test_json_gives_codes_offsets_and_versions(run: Run, rules: Path) -> None:
    done = run("explain", "--json", CHAT, "--rules", rules)
    found = json.loads(done.out)
    assert found["verdict"] == "block"
    assert found["rules"] == [{"id": "no-dinners", "reason": "dinners are off", "owner": "test team"}]
    assert [CHAT[item["start"] : item["end"]] for item in found["evidence"]] == [
        item["written"] for item in found["evidence"]
    ]
    assert any(item["written"] == "一起吃饭" for item in found["evidence"])
    assert found["without_evidence"]["verdict"] != "block"
    assert found["rulebook"].startswith("test 7")
    assert found["model"]
    assert 0 <= found["flag_at"] <= found["block_at"] <= 1


def test_the_score_is_the_one_that_screen_gives(run: Run, messages: Path, tmp_path: Path) -> None:
    assert run("screen", messages, "-o", tmp_path / "o.jsonl").code == 0
    row = json.loads((tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()[0])
    found = json.loads(run("explain", "--json", SPAM).out)
    assert found["score"] == pytest.approx(row["score"], abs=1e-6)
    assert found["reasons"] == row["reasons"]
    assert found["campaign"] == row["campaign"]


def test_the_same_in_chinese(run: Run, rules: Path) -> None:
    done = run("explain", DISGUISED, "--rules", rules, "--lang", "zh")
    assert "拦截" in done.out
    assert "被读作" in done.out
    assert "含有规则的关键词" in done.out


def test_a_message_comes_from_standard_input(program: Run) -> None:
    done = program("explain", "-", "--json", input=f"{CHAT}\n")
    assert done.code == 0
    assert json.loads(done.out)["language"] == "zh"


def test_what_a_message_contains_does_not_move_the_terminal(run: Run) -> None:
    done = run("explain", "hello \x1b[2J\x07 wor\u202eld")
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out


@pytest.mark.parametrize("arguments", [["explain"], ["explain", ""], ["explain", "  "]])
def test_without_a_message_it_says_what_is_missing(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert "TEXT" in done.err
