from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from mingbai.connectors.tables import InputUnreadable

if TYPE_CHECKING:
    from tests.connectors.tables.conftest import ReadAll, WriteFile


def test_csv_is_read_with_its_columns_and_line_numbers(read: ReadAll, file: WriteFile) -> None:
    path = file("a.csv", 'id,text,sender\n1,"您好, ""A""\n再见",10690001\n\n2,hi,\n3,too,many,fields\n')
    found = read(path)
    assert found.rows == [{"text": '您好, "A"\n再见', "sender": "10690001"}, {"text": "hi", "sender": None}]
    assert found.numbers == [0, 1]
    assert found.causes == [(6, "", "field_count")]
    assert found.rejects[0].row == 2
    assert found.rejects[0].detail == "4 fields, expected 3 as in the header"
    assert found.rejects[0].raw == "3,too,many,fields"


def test_tsv_is_read_as_it_stands(read: ReadAll, file: WriteFile) -> None:
    path = file("a.tsv", 'label\ttext\nham\t"quoted" \\t and, more\nspam\tone\ttoo many\n')
    found = read(path)
    assert found.texts == ['"quoted" \\t and, more']
    assert found.causes == [(3, "", "field_count")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_encoding_gives_the_same_rows(read: ReadAll, file: WriteFile, encoding: str, line_end: str) -> None:
    lines = ["短信内容,text", "一,您好，验证码是123456", '二,"多,\n行"', "三,😀 emoji"]
    path = file("a.csv", (line_end.join(lines) + line_end).encode(encoding))
    assert read(path).texts == ["您好，验证码是123456", "多,\n行", "😀 emoji"]
    assert read(path, keep_columns=True).kept[1] == {"短信内容": "二", "text": "多,\n行"}


def test_undecodable_row_names_the_column_and_shows_the_bytes(read: ReadAll, file: WriteFile) -> None:
    path = file("a.csv", "text,sender\n您好,1\n".encode() + b"a\xffb,2\nok,\xfe\n" + "再见,3\n".encode())
    found = read(path)
    assert found.texts == ["您好", "再见"]
    assert found.numbers == [0, 3]
    assert found.causes == [(3, "text", "undecodable"), (4, "sender", "undecodable")]
    assert found.rejects[0].raw == "a\\xffb,2"
    assert found.rejects[0].detail == "byte 2 of the row is not valid utf-8"


def test_undecodable_rows_of_other_encodings_show_their_own_bytes(read: ReadAll, file: WriteFile) -> None:
    path = file("a.csv", "text,x\n您好您好,1\n".encode("gb18030") + b"a\xffb,2\n")
    assert read(path).rejects[0].raw == "a\\xffb,2"
    path = file("b.csv", "text,x\n好,1\n".encode("utf-16") + "好".encode("utf-16-le") + b"\x00\xd8,\x002\x00\n\x00")
    found = read(path)
    assert found.causes == [(3, "text", "undecodable")]
    assert found.rejects[0].raw == "好\\ud800,2"


def test_nul_byte_costs_its_row(read: ReadAll, file: WriteFile) -> None:
    found = read(file("a.csv", "text,x\ngood,1\nba\0d,2\ngood,\0\n"))
    assert found.texts == ["good"]
    assert found.causes == [(3, "text", "nul_byte"), (4, "x", "nul_byte")]


def test_quoting_faults_cost_a_line_each(read: ReadAll, file: WriteFile) -> None:
    content = 'text,x\n"lost,1\nplain,2\n"stray" quote,3\n"fine ""really""",4\n"open,5'
    found = read(file("a.csv", content))
    assert found.texts == ["plain", 'fine "really"']
    assert found.causes == [(2, "", "stray_quote"), (4, "", "stray_quote"), (6, "", "unterminated_quote")]
    assert [reject.raw for reject in found.rejects] == ['"lost,1', '"stray" quote,3', '"open,5']


def test_line_that_is_too_long_costs_itself_only(read: ReadAll, file: WriteFile) -> None:
    found = read(file("a.csv", "text,x\ngood,1\n" + "x" * (17 << 20) + ",2\ngood too,3\n"))
    assert found.texts == ["good", "good too"]
    assert found.causes == [(3, "", "line_too_long")]
    assert found.rejects[0].raw == "x" * 1000 + "…"


def test_long_rows_below_the_limit_are_read(read: ReadAll, file: WriteFile) -> None:
    long = "长" * (4 << 20)
    assert read(file("a.csv", f'text,x\n"{long}",1\nshort,2\n')).texts == [long, "short"]


def test_last_line_needs_no_end(read: ReadAll, file: WriteFile) -> None:
    for content in ("text\na\nb", "text\na\nb\n", "text\r\na\r\nb\r\n", 'text\n"a"\n"b"', "\n\ntext\na\n\nb\n\n"):
        assert read(file("a.csv", content)).texts == ["a", "b"]


def test_empty_text_is_a_message_and_an_empty_sender_is_none(read: ReadAll, file: WriteFile) -> None:
    found = read(file("a.csv", 'text,sender\n,\n"",""\n'))
    assert found.rows == [{"text": "", "sender": None}] * 2


def test_file_without_rows_is_an_empty_table(read: ReadAll, file: WriteFile) -> None:
    for content in ("", "\n\n", "text,sender\n", "text,sender"):
        found = read(file("a.csv", content), keep_columns=True)
        assert (found.rows, found.rejects) == ([], [])


def test_names_that_are_empty_or_there_twice_are_told_apart(read: ReadAll, file: WriteFile) -> None:
    found = read(file("a.csv", "text,,text,text_2\na,b,c,d\n"), keep_columns=True)
    assert found.texts == ["a"]
    assert found.kept == [{"text": "a", "column_2": "b", "text_2": "c", "text_2_2": "d"}]


@pytest.mark.parametrize(
    "header", [b'"text', b'"te"xt,a', b"text\xff", b"x" * (1 << 20)], ids=["open", "stray", "undecodable", "long"]
)
def test_header_with_a_fault_stops_the_run_before_it_begins(read: ReadAll, file: WriteFile, header: bytes) -> None:
    with pytest.raises(InputUnreadable, match="header"):
        read(file("a.csv", header + b"\na\n"))


def test_compressed_text_is_read(read: ReadAll, file: WriteFile) -> None:
    path = file("a.csv.gz", gzip.compress("text\n您好\n".encode()) + gzip.compress("再见\n".encode()))
    assert read(path).texts == ["您好", "再见"]


def test_torn_compressed_file_gives_what_it_has_and_one_reject(read: ReadAll, file: WriteFile) -> None:
    whole = gzip.compress("".join(["text\n"] + [f"message {number * number}\n" for number in range(50_000)]).encode())
    found = read(file("a.csv.gz", whole[: len(whole) // 2]))
    assert found.texts == [f"message {number * number}" for number in range(len(found.texts))]
    assert len(found.texts) > 100
    assert [str(reject.cause) for reject in found.rejects] == ["unreadable"]
    assert found.rejects[0].line == len(found.texts) + 2
    damaged = whole[: len(whole) // 2] + bytes(100) + whole[len(whole) // 2 + 100 :]
    found = read(file("b.csv.gz", damaged))
    assert found.texts[:100] == [f"message {number * number}" for number in range(100)]
    assert str(found.rejects[-1].cause) == "unreadable"


@pytest.mark.parametrize("content", [gzip.compress(b"text\na\n", mtime=0)[:8], b"text\na\n"])
def test_compressed_file_that_gives_nothing_stops_the_run_before_it_begins(
    read: ReadAll, file: WriteFile, content: bytes
) -> None:
    for name in ("a.csv.gz", "a.jsonl.gz"):
        with pytest.raises(InputUnreadable):
            read(file(name, content))


def test_given_encoding_is_used(read: ReadAll, file: WriteFile) -> None:
    assert read(file("a.csv", "text\n您好\n".encode("gb18030")), encoding="gb18030").texts == ["您好"]
    found = read(file("b.csv", "text\n您好\n".encode("gb18030")), encoding="utf-8")
    assert found.causes == [(2, "text", "undecodable")]
