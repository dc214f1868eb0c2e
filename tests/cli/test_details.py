"""Errors and findings of the rooms below the command line, in the reader's language."""

from __future__ import annotations

import errno
import importlib
import os
import pkgutil
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import mingbai
from mingbai.cli.details import message_of, translated
from mingbai.cli.labels import fault_word
from mingbai.cli.words import LANGUAGES, use_language
from mingbai.connectors.tables.errors import input_unreadable, missing_column
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.translations import read_tables as read_details
from mingbai.ledger import Fault
from tests.cli.conftest import Run
from tests.cli.sentences import sentences, values

pytestmark = pytest.mark.slow

OTHERS = [language for language in LANGUAGES if language != "en"]
CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture
def chinese() -> Iterator[None]:
    use_language("zh")
    yield
    use_language("en")


# One needs a package that is not there everywhere; the other is the server's own, and waits for a database.
NOT_IMPORTED = ("mingbai.connectors.spark", "mingbai.console.asgi")


def speaks(template: str) -> bool:
    return any(char.isalpha() for char in template)


def templates() -> dict[str, str]:
    """The template of each error of the house, and its class."""
    for module in pkgutil.walk_packages(mingbai.__path__, "mingbai."):
        if not module.name.endswith("__main__") and module.name not in NOT_IMPORTED:
            importlib.import_module(module.name)
    return {
        error.template: error.__qualname__
        for error in subclasses(MingbaiError)
        if error.__module__.startswith("mingbai.")
    }


def subclasses(kind: type[MingbaiError]) -> Iterator[type[MingbaiError]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


@pytest.mark.parametrize("language", OTHERS)
def test_every_template_of_an_error_is_translated_with_the_same_fields(language: str) -> None:
    table = read_details(language)["templates"]
    found = templates()
    assert not {template: kind for template, kind in found.items() if template not in table}
    assert not table.keys() - found.keys()
    for english, other in table.items():
        names = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in (english, other)]
        assert names[0] == names[1], english


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_of_the_source_is_translated(language: str) -> None:
    tables = read_details(language)
    assert not {text: at for text, at in sentences().items() if speaks(text) and text not in tables["said"]}
    assert not {text: at for text, at in values().items() if speaks(text) and text not in tables["values"]}


@pytest.mark.parametrize("language", OTHERS)
def test_no_translation_is_left_of_what_is_said_no_more(language: str) -> None:
    tables = read_details(language)
    assert not tables["said"].keys() - sentences().keys()
    assert not tables["values"].keys() - values().keys()
    assert not tables["system"].keys() - {os.strerror(code) for code in errno.errorcode}


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_no_place_that_the_sentence_has_not(language: str) -> None:
    for name, table in read_details(language).items():
        if name == "templates":
            continue
        for english, other in table.items():
            assert set(re.findall(r"\{\d\}", other)) <= set(re.findall(r"\{\d\}", english)), english
            assert other.strip(), english


def test_the_search_finds_what_stands_in_the_source() -> None:
    found = sentences()
    for known in (
        "a time with its zone: ...Z, ...+08:00",  # a keyword
        "{1}, and cannot be read: {2}",  # added to a sentence
        "no file of a ledger",  # an argument of a function that reports
        "{1} is no time, expected {2}",  # a name that is passed on
        " (did you mean {1}?)",  # a sentence within one
        "the login was refused ({1})",  # what a function returns
    ):
        assert known in found


@pytest.mark.parametrize(
    ("english", "expected"),
    [
        ("1 or more", "1 或更大"),
        ("a whole number from 0 to 3650", "0 到 3650 的整数"),
        ("a whole number from -10 to 10", "-10 到 10 的整数"),
        ("one of a, b; rules are never for opinion", "以下之一：a, b；规则绝不针对观点"),
        ("a known key", "已知的键"),
        ("a known key (did you mean owner?)", "已知的键（是不是 owner？）"),
        (
            "the file is not the one that was sealed, and cannot be read: Invalid {1} magic",
            "文件不是当初封存的那个，而且读不了：Invalid {1} magic",
        ),
        ("No such file or directory (ENOENT)", "没有这个文件或目录（ENOENT）"),
        ("null, expected an object", "null，应为对象"),
        ("3 fields, expected 2 as in the header", "3 个字段，应与表头一样为 2 个"),
        ("what nobody has translated", "what nobody has translated"),
    ],
)
def test_a_sentence_is_said_again_with_its_values(chinese: None, english: str, expected: str) -> None:
    assert translated(english) == expected


def test_in_english_nothing_is_touched() -> None:
    assert translated("a known key (did you mean owner?)") == "a known key (did you mean owner?)"


def test_what_a_user_wrote_is_never_translated(chinese: None) -> None:
    error = BadValue(field="1 or more", value="a message", expected="1 or more")
    assert message_of(error) == "1 or more：得到 'a message'，应为 1 或更大"


def test_names_in_a_message_stay_as_they_are(chinese: None) -> None:
    said = message_of(missing_column("a.csv", "txt", "text_column", ["text", "none"]))
    assert "'text', 'none'" in said
    assert said.endswith("是不是 'text'？")
    assert message_of(input_unreadable("a.csv", OSError(2, "No such file or directory"))) == (
        "a.csv：读不了：没有这个文件或目录（ENOENT）"
    )


def test_each_fault_has_its_word() -> None:
    for language in LANGUAGES:
        use_language(language)
        try:
            words = [fault_word(fault) for fault in Fault]
        finally:
            use_language("en")
        assert len(set(words)) == len(words)


# -- as a person meets them --


def english_words(text: str, *known: str) -> list[str]:
    """Words of three letters and more that are English, but for names of things."""
    for name in known:
        text = text.replace(name, "")
    return re.findall(r"[A-Za-z]{3,}", text)


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        (["screen", "gone.csv"], ["gone.csv", "ENOENT", "mingbai"]),
        (["screen", "messages.csv", "--threads", "0"], ["--threads", "mingbai"]),
        (["screen", "messages.csv", "--zone", "Mars"], ["Mars", "zone", "mingbai", "IANA", "Asia/Shanghai"]),
        (["screen", "messages.csv", "--text-column", "no"], ["messages.csv", "text", "_column", "sender", "mingbai"]),
        (["screen", "-", "-"], ["inputs", "mingbai"]),
        (["ledger", "verify", "--public-key", "12"], ["public_key", "mingbai", "Ed25519"]),
        (["evaluate", "messages.csv", "--rate", "7"], ["--rate", "mingbai"]),
    ],
)  # fmt: skip
def test_an_error_of_the_command_line_is_chinese_throughout(
    run: Run, messages: Path, arguments: list[str], known: list[str]
) -> None:
    assert run("screen", messages, "--ledger", "-o", "o.csv").code == 0
    done = run("--lang", "zh", *arguments)
    assert done.code == 2
    assert CHINESE.search(done.err)
    assert not english_words(done.err, *known)


def test_problems_of_a_rulebook_are_chinese(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('[rulebook]\nname = "n"\nversion = "1"\n[[rule]]\nid = "A B"\nkeyword = ["x"]\nscore_min = 7\n')
    done = run("--lang", "zh", "rules", "check", bad)
    assert done.code == 2
    assert "应为 1 到 64 个 a-z 0-9 . _ - 字符" in done.err
    assert "应为 已知的键（是不是 keywords？）" in done.err
    assert "应为 0 到 1 的数" in done.err
    assert "expected" not in done.err


def test_a_wrong_setting_is_told_in_chinese(run: Run, messages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINGBAI_LEDGER__NUMBERS_DAYS", "many")
    done = run("--lang", "zh", "screen", messages)
    assert done.code == 2
    assert "ledger.numbers_days：得到 'many'，应为 0 到 3650 的整数（来自 MINGBAI_LEDGER__NUMBERS_DAYS）" in done.err


def test_findings_of_a_verification_are_chinese(run: Run, messages: Path, data: Path) -> None:
    assert run("screen", messages, "--ledger", "-o", "o.csv").code == 0
    (segment,) = (data / "ledger/batch/entries").iterdir()
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    (data / "ledger/batch/added.txt").write_text("")
    done = run("--lang", "zh", "ledger", "verify")
    assert done.code == 1
    assert "batch: 多出: ledger/batch/added.txt: 不是账本的文件" in done.out
    assert "字节与提交的摘要不符" in done.out
    assert "被改动" in done.out
    findings = [line for line in done.out.splitlines() if "✕" in line]
    assert not english_words("\n".join(findings), "ledger/batch/", "entries/", ".arrows", "added.txt", "batch")


def test_a_rejected_row_is_told_in_chinese(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_bytes(b"text,time\nhello,never\n\xff\xfe\x81,2026-01-01\n1,2,3\n")
    done = run("--lang", "zh", "screen", bad)
    assert done.code == 1
    assert "第 2 行：剔除：'never' 不是时间，应为 ISO 8601" in done.err
    assert "3 个字段，应与表头一样为 2 个" in done.err
