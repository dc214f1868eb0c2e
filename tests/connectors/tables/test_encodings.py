from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.connectors.tables.encodings import WINDOW, Encoding, Utf8Blocks, encoding_named
from mingbai.kernel.errors import BadValue

CHINESE = "text,sender\n您好，验证码是123456，请勿告诉他人,10690001\n恭喜您中奖了！点击链接领取,10690002\n"
ENGLISH = "text,sender\nyour code is 123456,10690001\nyou have won! click here,10690002\n"


class Pieces:
    """A file that gives its bytes in pieces of a fixed size at most, as `InputFile.read` with a small block does."""

    def __init__(self, content: bytes) -> None:
        self._stream = io.BytesIO(content)

    def read(self, size: int, /) -> bytes:
        return self._stream.read(size)


def decoded(content: bytes, *, encoding: str | None = None, block_bytes: int = 1 << 20) -> tuple[bytes, Encoding]:
    blocks = Utf8Blocks(Pieces(content), encoding=encoding, block_bytes=block_bytes)
    return b"".join(blocks), blocks.encoding


@pytest.mark.parametrize("text", [CHINESE, ENGLISH, CHINESE.replace("\n", "\r\n"), "text\n好\n", "text\n"])
@pytest.mark.parametrize("name", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"])
def test_encoding_is_recognised_with_and_without_a_mark(text: str, name: str) -> None:
    content, encoding = decoded(text.encode(name))
    assert content.decode() == text
    if not text.isascii():
        assert encoding.value in (name.replace("-sig", ""), f"{name}-le")


def test_gb18030_mark_is_recognised() -> None:
    content, encoding = decoded(("\ufeff" + CHINESE).encode("gb18030"))
    assert (content.decode(), encoding) == (CHINESE, Encoding.GB18030)


def test_four_byte_gb18030_is_read() -> None:
    text = "text\n𠮷野家😀㐂\n您好\n"
    assert decoded(text.encode("gb18030"))[0].decode() == text


def test_long_chinese_in_utf_16_without_a_mark_is_recognised() -> None:
    # Bytes of Chinese characters equal line feeds and NULs (一 is U+4E00): they must not speak against UTF-16.
    text = "text\n" + "".join(
        "".join(chr(0x4E00 + 37 * n % 0x5000) for n in range(m, m + 600)) + "\n" for m in range(20)
    )
    assert text.encode("utf-16-le").count(b"\n") > 2 * text.count("\n")
    assert decoded(text.encode("utf-16-le")) == (text.encode(), Encoding.UTF_16_LE)
    assert decoded(text.encode("utf-16-be")) == (text.encode(), Encoding.UTF_16_BE)


@pytest.mark.parametrize(
    "content", [b"text\na\0b\0\n", b"text\nab\0\0\n\0\0\n", b"te\0x\0t", b"\0\0\0\0", b"text\n\0\n"]
)
def test_stray_nul_bytes_do_not_make_utf_16(content: bytes) -> None:
    assert decoded(content) == (content, Encoding.UTF_8)


def test_few_bad_rows_do_not_make_a_utf_8_file_gb18030() -> None:
    content = CHINESE.encode() + "大家好\n".encode("gb18030") + b"\xff\xfe\n"
    assert decoded(content) == (content, Encoding.UTF_8)


def test_few_bad_rows_do_not_make_a_gb18030_file_utf_8() -> None:
    content = CHINESE.encode("gb18030") + "大家好\n".encode()
    assert decoded(content)[1] is Encoding.GB18030


def test_bytes_of_neither_encoding_are_left_for_the_rows_to_fail() -> None:
    content = b"text\ncaf\xe9 au lait\n\xff\n"
    assert decoded(content) == (content, Encoding.UTF_8)


@pytest.mark.parametrize(
    "row",
    [
        b"\xe4\xbd\xa0\xe5,1",
        "您好".encode()[:-1] + b" and bye",
        b"caf\xe9\xe9s",
        "謝謝您的惠顧，歡迎再來".encode("big5"),
    ],
)
def test_one_torn_or_foreign_row_among_english_ones_does_not_make_gb18030(row: bytes) -> None:
    content = ENGLISH.encode() + row + b"\n"
    assert decoded(content) == (content, Encoding.UTF_8)


def test_decision_waits_for_the_first_byte_outside_ascii() -> None:
    ascii_rows = b"text,sender\n" + b"hello,1\n" * (WINDOW // 4)
    text = "您好，欢迎光临\n" * 20
    assert decoded(ascii_rows + text.encode("gb18030")) == (ascii_rows + text.encode(), Encoding.GB18030)
    assert decoded(ascii_rows + text.encode()) == (ascii_rows + text.encode(), Encoding.UTF_8)


def test_one_odd_row_among_english_does_not_decide_for_the_chinese_that_follows() -> None:
    content = b"text\ncaf\xe9\xe9s\n" + b"hello\n" * (WINDOW // 5) + "您好\n".encode() * 100
    assert decoded(content)[1] is Encoding.UTF_8


def test_file_whose_only_line_ends_are_carriage_returns_is_read() -> None:
    for name in ("utf-8", "utf-16", "gb18030"):
        assert decoded("text\r您好\r再见\r".encode(name))[0].decode() == "text\n您好\n再见\n"
    assert decoded(b"text\ra\nb\r\n")[0] == b"text\ra\nb\r\n"


def test_undecodable_places_are_invalid_in_the_output_and_the_lines_around_them_whole() -> None:
    content, _ = decoded("text\n您好\n".encode("gb18030") + b"\x81\n\xff\xff,x\n" + "再见\n".encode("gb18030"))
    lines = content.split(b"\n")
    assert [lines[0].decode(), lines[1].decode(), lines[4].decode()] == ["text", "您好", "再见"]
    for line in lines[2:4]:
        with pytest.raises(UnicodeDecodeError):
            line.decode("utf-8")


def test_lone_surrogate_and_half_a_unit_in_utf_16_are_invalid_in_the_output() -> None:
    content, _ = decoded("text\n好\n".encode("utf-16") + b"\x00\xd8\n\x00" + b"a\x00b")
    lines = content.split(b"\n")
    assert lines[1].decode() == "好"
    for line in lines[2:]:
        with pytest.raises(UnicodeDecodeError):
            line.decode("utf-8")


def test_given_encoding_is_not_questioned() -> None:
    assert decoded("您好\n".encode("gb18030"), encoding="GBK") == ("您好\n".encode(), Encoding.GB18030)
    assert decoded("好\n".encode("utf-16-be"), encoding="utf_16_be")[0].decode() == "好\n"
    assert decoded("您好\n".encode("gb18030"), encoding="utf8")[1] is Encoding.UTF_8


def test_unknown_encoding_names_those_there_are() -> None:
    with pytest.raises(BadValue, match="utf-8, utf-16-le, utf-16-be, gb18030"):
        encoding_named("big5")


@given(
    st.lists(st.sampled_from(["hello,1", "您好，再见", "𠮷😀", "", "\x00", "a\rb"]), max_size=30),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"]),
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), max_size=3),
    st.integers(1, 50),
)
def test_blocks_do_not_change_what_is_read(
    lines: list[str], name: str, damage: list[tuple[int, bytes]], block_bytes: int
) -> None:
    content = ("text\n" + "\n".join(lines)).encode(name)
    for at, inserted in damage:
        content = content[:at] + inserted + content[at:]
    assert decoded(content, block_bytes=block_bytes) == decoded(content)
