"""Everything a person sees exists in every language, and no translation is left behind."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import mingbai
import mingbai.cli
from mingbai.cli import labels
from mingbai.cli.words import LANGUAGES, choose_language, read_table, use_language
from mingbai.kernel.verdicts import Category, Reason, Verdict

CLI = Path(mingbai.cli.__file__).parent
# What the log says to people is translated where it is shown.
LOGGED = re.compile(r'log\.(?:warning|error|exception|critical)\(\s*"([^"]+)"')


def messages() -> Iterator[tuple[str, str]]:
    """Every constant that is handed to `_`, every alarm: text and where it stands."""
    for path in sorted(CLI.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                (argument,) = node.args
                if isinstance(argument, ast.Constant):
                    yield str(argument.value), f"{path.name}:{node.lineno}"
    for path in Path(mingbai.__file__).parent.rglob("*.py"):
        for said in LOGGED.findall(path.read_text(encoding="utf-8")):
            yield said, path.name


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


OTHERS = [language for language in LANGUAGES if language != "en"]


@pytest.mark.parametrize("language", OTHERS)
def test_everything_said_is_translated(language: str) -> None:
    table = read_table(language)
    missing = {text: where for text, where in messages() if text not in table}
    assert not missing


@pytest.mark.parametrize("language", OTHERS)
def test_no_translation_is_left_of_what_is_said_no_more(language: str) -> None:
    said = {text for text, _ in messages()}
    assert not [text for text in read_table(language) if text not in said]


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_names_the_same_fields(language: str) -> None:
    for english, other in read_table(language).items():
        assert fields(english) == fields(other), english
        assert other.strip(), english


def test_only_constants_are_translated() -> None:
    for path in CLI.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                assert not isinstance(node.args[0], ast.JoinedStr), f"{path.name}:{node.lineno}"


def test_each_verdict_category_and_reason_has_words() -> None:
    for language in LANGUAGES:
        use_language(language)
        try:
            words = [labels.verdict_word(verdict) for verdict in Verdict]
            words += [labels.category_word(category) for category in Category]
            words += [labels.reason_words(reason) for reason in Reason]
        finally:
            use_language("en")
        assert len(set(words)) == len(words)


@pytest.mark.parametrize(
    ("environment", "arguments", "language"),
    [
        ({}, [], "en"),
        ({"LANG": "zh_CN.UTF-8"}, [], "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "en_US.UTF-8"}, [], "en"),
        ({"LC_MESSAGES": "zh_CN"}, [], "zh"),
        ({"LANG": "zh_CN.UTF-8"}, ["--lang", "en"], "en"),
        ({}, ["--lang=zh"], "zh"),
    ],
)
def test_the_language_is_chosen_by_option_then_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], arguments: list[str], language: str
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert choose_language([*arguments, "screen", "a.csv"]) == (language, ["screen", "a.csv"])


def test_a_message_may_contain_the_word_lang() -> None:
    assert choose_language(["explain", "--", "--lang", "zh"])[1] == ["explain", "--", "--lang", "zh"]
    assert choose_language(["explain", "--lang", "xx"])[1] == ["explain", "--lang", "xx"]
