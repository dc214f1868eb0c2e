"""`mingbai replay`: what a change would newly stop and newly free, and what it cannot answer."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import CHAT, RULES, SPAM, Run

FREE = RULES.replace('action = "block"', 'action = "allow"').replace("一起吃饭", "惠民贷")


def test_a_new_rule_stops_what_was_recorded_as_allowed(run: Run, messages: Path, rules: Path) -> None:
    assert run("screen", messages, "--ledger", "-o", "o.csv").code == 0
    done = run("replay", "--rules", rules)
    assert done.code == 0
    assert "newly stop 1 and newly free 0 of 2 messages" in done.out
    assert "rule:no-dinners" in done.out


def test_a_removed_rule_frees_what_was_recorded_as_stopped(run: Run, messages: Path, rules: Path) -> None:
    assert run("screen", messages, "--rules", rules, "--ledger", "-o", "o.csv").code == 0
    rules.write_text(FREE, encoding="utf-8")
    done = run("replay", "--rules", rules)
    assert "of 2 messages" in done.out
    assert "Newly freed" in done.out
    assert "一起吃饭" in done.out


def test_messages_whose_text_is_gone_are_counted_and_judged_by_their_hash(
    run: Run, messages: Path, rules: Path, tmp_path: Path
) -> None:
    (tmp_path / "mingbai.toml").write_text("[ledger]\nallowed_text_days = 0\nstopped_text_days = 0\n")
    assert run("screen", messages, "--ledger", "-o", "o.csv").code == 0
    (tmp_path / "mingbai.toml").unlink()
    assert run("screen", messages, "--ledger", "-o", "o.csv").code == 0
    done = run("replay", "--rules", rules)
    assert "of 2 messages" in done.out
    assert "2 messages cannot be answered" in done.out
    assert "it was never kept: 2" in done.out
    assert "1 of them would be stopped" in done.out


def test_files_are_decided_by_both_policies(run: Run, messages: Path, rules: Path) -> None:
    done = run("replay", "--rules", rules, "--input", messages)
    assert done.code == 0
    assert "newly stop 1" in done.out


def test_only_the_time_asked_for_is_replayed(run: Run, messages: Path, rules: Path) -> None:
    assert run("screen", messages, "--ledger", "-o", "o.csv").code == 0
    done = run("replay", "--rules", rules, "--until", "2020-01-01T00:00:00Z")
    assert "of 0 messages" in done.out
    assert run("replay", "--rules", rules, "--since", "yesterday").code == 2


def test_examples_show_no_number(run: Run, tmp_path: Path, rules: Path) -> None:
    (tmp_path / "m.csv").write_text(f"text\n{CHAT}，电话13900001111\n{SPAM}\n", encoding="utf-8")
    done = run("replay", "--rules", rules, "--input", "m.csv")
    assert "一起吃饭" in done.out
    assert "13900001111" not in done.out


def test_without_a_change_it_asks_for_one(run: Run) -> None:
    done = run("replay")
    assert done.code == 2
    assert "--rules" in done.err
