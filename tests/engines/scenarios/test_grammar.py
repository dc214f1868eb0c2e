"""The grammar: what an expression expands to, and that a mistake is named with file and line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mingbai.engines.scenarios.catalog import Scenario, load_folder
from mingbai.engines.scenarios.grammar import BadGrammar, Draw

HEAD = "@scenario fraud.test\n@about a test\n@signed never\n"


def write_folder(folder: Path, text: str, shared: str = "") -> Path:
    (folder / "family.txt").write_text(text, encoding="utf-8")
    (folder / "_shared.txt").write_text(shared, encoding="utf-8")
    return folder


def only_scenario(folder: Path, text: str, shared: str = "") -> Scenario:
    (scenario,) = load_folder(write_folder(folder, text, shared), "zh").values()
    return scenario


def expansions(folder: Path, line: str, shared: str = "") -> set[str]:
    """All that 300 draws of one skeleton give."""
    scenario = only_scenario(folder, HEAD + "text:\n  " + line + "\n", shared)
    return {scenario.write(Draw(random.Random(seed))) for seed in range(300)}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a[b|c]d", {"abd", "acd"}),
        ("a[b|c|]", {"ab", "ac", "a"}),
        ("a[b]?c", {"abc", "ac"}),
        ("[a[b|c]|d]", {"ab", "ac", "d"}),
        ("<x|y|>", {"xy", "yx"}),
        ("{1-3}", {"1", "2", "3"}),
        (r"\[a\|b\] \{c\}", {"[a|b] {c}"}),
        (r"one\ntwo\_", {"one\ntwo "}),
        ("a | b", {"a", "b"}),
    ],
)
def test_expression_expands_to_all_of_its_wordings_and_no_other(tmp_path: Path, line: str, expected: set[str]) -> None:
    assert expansions(tmp_path, line) == expected


def test_random_slots_give_their_length_and_alphabet(tmp_path: Path) -> None:
    for text in expansions(tmp_path, "{#4} {@5} {^2} {1.0-2.5}"):
        digits, letters, capitals, number = text.split(" ")
        assert len(digits) == 4
        assert digits.isdigit()
        assert len(letters) == 5
        assert letters == letters.lower()
        assert len(capitals) == 2
        assert capitals.isupper()
        assert 1.0 <= float(number) <= 2.5


def test_scenario_overrides_file_and_file_overrides_shared(tmp_path: Path) -> None:
    shared = "frame: {who} {what} {where}\nwho: shared\nwhat: shared\nwhere: shared\n"
    text = "who: file\nwhat: file\n" + HEAD + "who: scenario\ntext: {frame}\n"
    assert only_scenario(tmp_path, text, shared).write(Draw(random.Random(1))) == "scenario file shared"


def test_kept_slot_and_record_say_the_same_throughout_a_message(tmp_path: Path) -> None:
    shared = "bank(name, site):\n  A, a.example\n  B, b.example\nnumber!: {1-1000000}\n"
    for text in expansions(tmp_path, "{bank.name} {bank.site} {number} {number}", shared):
        name, site, first, second = text.split(" ")
        assert site == f"{name.lower()}.example"
        assert first == second


def test_campaign_keeps_wording_and_changes_values(tmp_path: Path) -> None:
    shared = "name~: [Ann|Bob|Cem|Dia|Eve]\n"
    scenario = only_scenario(tmp_path, HEAD + "text: {name} [one|two|three|four] {#6} [a|b|c|d]\n", shared)
    texts = [scenario.write(Draw(random.Random(7), random.Random(seed))) for seed in range(50)]
    wordings = {(text.split(" ")[1], text.split(" ")[3]) for text in texts}
    values = {(text.split(" ")[0], text.split(" ")[2]) for text in texts}
    assert len(wordings) == 1
    assert len(values) == 50


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (HEAD + "text:\n  {missing}\n", 5, "unknown slot {missing}"),
        (HEAD + "text:\n  [a|b\n", 5, "not closed"),
        (HEAD + "text:\n  a]b\n", 5, "closes nothing"),
        (HEAD + "text:\n  {name\n", 5, "not closed"),
        (HEAD + "text:\n  {9-1}\n", 5, "range"),
        (HEAD + "text: a\nspare: b\n", 5, "never used"),
        (HEAD + "text: a\ntext: b\n", 5, "defined twice"),
        (HEAD + "text: {a}\na: {b}\nb: {a}\n", 6, "contains itself"),
        (HEAD + "text:\n", 4, "no alternatives"),
        (HEAD + "text: {r.x}\nr(a, b):\n  1, 2\n", 4, "slot {r.x}"),
        (HEAD + "text: {r.a}\nr(a, b):\n  1, 2, 3\n", 6, "3 fields"),
        ("@scenario fraud.test\n@signed never\ntext: a\n", 1, "no `@about`"),
        ("@scenario fraud.test\n@about a test\n", 1, "no `text:`"),
        ("@scenario other.test\n@about a test\n@signed never\ntext: a\n", 1, "scenario id"),
        ("@scenario fraud.en.test\n@about a test\n@signed never\ntext: a\n", 1, "folder zh"),
        ("@scenario fraud.test\n@sender nobody\n", 2, "nobody"),
        ("@scenario fraud.test\n@weight heavy\n", 2, "heavy"),
        ("@scenario fraud.test\n@colour red\n", 2, "unknown directive"),
        ("@about too early\n", 1, "before any scenario"),
        ("  indented\n", 1, "belongs to no slot"),
        ("what is this\n", 1, "not a definition"),
        (HEAD + "text: a\n" + HEAD + "text: a\n", 5, "defined twice"),
    ],
)
def test_mistake_is_refused_with_file_line_and_expectation(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(BadGrammar) as refusal:
        load_folder(write_folder(tmp_path, text), "zh")
    assert refusal.value.data["file"] == "zh/family.txt"
    assert refusal.value.data["line"] == line
    assert words in str(refusal.value)
    assert "expected" in str(refusal.value)


def test_operators_folder_adds_a_scenario_without_code(tmp_path: Path) -> None:
    scenario = only_scenario(
        tmp_path, "@scenario fraud.mine\n@about mine\n@sender spoofed\nsign: S\ntext: pay {yuan}\n", "yuan: 1\n"
    )
    assert (scenario.id, scenario.sender, scenario.is_unwanted) == ("fraud.mine", "spoofed", True)
