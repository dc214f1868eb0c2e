from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from mingbai.connectors.tables import MissingColumn

if TYPE_CHECKING:
    from tests.connectors.tables.conftest import ReadAll, WriteFile


def test_objects_are_read_with_their_line_numbers(read: ReadAll, file: WriteFile) -> None:
    path = file(
        "a.jsonl",
        '{"text": "您\\n好 \\ud83d\\ude00", "sender": 13800000000, "time": "2024-05-01 08:00:00"}\r\n'
        "\n"
        '  {"sender":1.38e10,"text":"hi","time":1714521600}  \n'
        '{"text":"x","sender":null}',
    )
    found = read(path)
    eight = datetime(2024, 5, 1, tzinfo=UTC)
    assert found.rows == [
        {"text": "您\n好 😀", "sender": "13800000000", "time": eight},
        {"text": "hi", "sender": "13800000000", "time": eight},
        {"text": "x", "sender": None, "time": None},
    ]


@pytest.mark.parametrize(
    ("line", "column", "cause"),
    [
        ('{"text":"cut', "", "bad_json"),
        ('{"text":NaN}', "", "bad_json"),
        ("{'text':'x'}", "", "bad_json"),
        ("   ", "", "bad_json"),
        ('{"text":"tab\there"}', "", "bad_json"),
        ('{"text":"a"}{"text":"b"}', "", "bad_json"),
        ('{"a":' * 100_000, "", "bad_json"),
        ('["text"]', "", "not_an_object"),
        ("null", "", "not_an_object"),
        ('"text"', "", "not_an_object"),
        ("5", "", "not_an_object"),
        ("{}", "text", "text_missing"),
        ('{"text":null}', "text", "text_missing"),
        ('{"text":5}', "text", "wrong_type"),
        ('{"text":["a"]}', "text", "wrong_type"),
        ('{"text":"a","sender":true}', "sender", "wrong_type"),
        ('{"text":"a","sender":{}}', "sender", "wrong_type"),
        ('{"text":"\\ud800"}', "text", "lone_surrogate"),
        ('{"text":"a","sender":"\\ude00\\ud83d"}', "sender", "lone_surrogate"),
        ('{"text":"a","time":"noon"}', "time", "bad_time"),
        ('{"text":"a","time":[1]}', "time", "wrong_type"),
        ('{"text":"nul\0"}', "", "nul_byte"),
    ],
)
def test_bad_line_is_rejected_with_its_cause(
    read: ReadAll, file: WriteFile, line: str, column: str, cause: str
) -> None:
    good = '{"text":"good","sender":"1","time":"2024-05-01"}'
    found = read(file("a.jsonl", f"{good}\n{line}\n{good}\n"))
    assert found.texts == ["good", "good"]
    assert found.numbers == [0, 2]
    assert found.causes == [(2, column, cause)]
    assert found.rejects[0].detail != ""


def test_undecodable_line_is_rejected(read: ReadAll, file: WriteFile) -> None:
    found = read(file("a.jsonl", b'{"text":"good"}\n{"text":"\xff"}\n'))
    assert found.texts == ["good"]
    assert found.causes == [(2, "", "undecodable")]
    assert found.rejects[0].raw == '{"text":"\\xff"}'


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "gb18030"])
def test_every_encoding_gives_the_same_rows(read: ReadAll, file: WriteFile, encoding: str) -> None:
    path = file("a.jsonl", '{"text":"您好，再见"}\n{"text":"A\\\\B"}\n'.encode(encoding))
    assert read(path).texts == ["您好，再见", "A\\B"]


def test_text_may_hold_an_escaped_nul(read: ReadAll, file: WriteFile) -> None:
    assert read(file("a.jsonl", '{"text":"a\\u0000b"}\n')).texts == ["a\0b"]


def test_of_a_name_given_twice_the_last_value_holds(read: ReadAll, file: WriteFile) -> None:
    assert read(file("a.jsonl", '{"text":"first","text":"last"}\n')).texts == ["last"]


def test_kept_values_keep_their_meaning(read: ReadAll, file: WriteFile) -> None:
    found = read(
        file(
            "a.jsonl",
            '{"text":"a","id":10000000000000000000001,"rate":1.10,"tags":["x",{"y":null}],"note":"n","ok":true}\n'
            '{"text":"b","id":"five","note":7,"note2":1}\n',
        ),
        keep_columns=True,
    )
    assert [json.loads(row["id"]) for row in found.kept] == [10000000000000000000001, "five"]
    assert found.kept[0]["rate"] == "1.10"
    assert json.loads(found.kept[0]["tags"]) == ["x", {"y": None}]
    assert [row["text"] for row in found.kept] == ["a", "b"]
    assert found.kept[1] == {
        "text": "b", "id": '"five"', "rate": None, "tags": None, "note": "7", "ok": None, "note2": "1",
    }  # fmt: skip


def test_names_that_first_appear_late_are_not_kept_and_a_warning_says_so(
    read: ReadAll, file: WriteFile, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ['{"text":"first"}'] + ['{"text":"' + "x" * 1000 + '"}'] * 1000 + ['{"text":"last","late":1}']
    with caplog.at_level(logging.WARNING):
        found = read(file("a.jsonl", "\n".join(lines)), keep_columns=True)
    assert found.kept[-1] == {"text": "last"}
    assert [record.message for record in caplog.records] == [
        "members that first appear after the beginning of a file are not kept"
    ]


def test_file_of_bad_lines_only_is_read_to_its_end(read: ReadAll, file: WriteFile) -> None:
    found = read(file("a.jsonl", "oops\n[1]\n"), keep_columns=True)
    assert found.causes == [(1, "", "bad_json"), (2, "", "not_an_object")]


def test_column_that_no_line_has_is_an_error(read: ReadAll, file: WriteFile) -> None:
    with pytest.raises(MissingColumn, match=r"'txt'.*Did you mean 'text'"):
        read(file("a.jsonl", '{"text":"a"}\n'), text_column="txt")
