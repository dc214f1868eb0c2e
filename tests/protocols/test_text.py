from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.kernel.errors import BadValue
from mingbai.protocols.text import (
    Coding,
    Encoding,
    Flag,
    best_coding,
    coding_of,
    decode,
    encode,
    pack_septets,
    unpack_septets,
)

BASIC = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCXYZÄÖÑÜ§¿abcxyzäöñüà"
EXTENSION = "\f^{}\\[~]|€"
PEOPLE = st.text(st.characters(exclude_categories=["Cs"]))


def alphabet(encoding: Encoding) -> st.SearchStrategy[str]:
    """Texts that the encoding holds."""
    if encoding in (Encoding.GSM7, Encoding.GSM7_PACKED):
        return st.text(BASIC + EXTENSION)
    if encoding in (Encoding.UCS2, Encoding.GB18030, Encoding.UTF8):
        return PEOPLE
    # Left out: three characters that Shift JIS and EUC-KR write as another one.
    return st.text(st.characters(codec=encoding.value.replace(" ", "-"), exclude_characters="¥‾\u3164"))


TEXTUAL = [encoding for encoding in Encoding if encoding is not Encoding.BINARY]


@pytest.mark.parametrize("encoding", TEXTUAL, ids=lambda encoding: encoding.name)
@given(data=st.data())
def test_what_was_encoded_is_read_back_exactly(encoding: Encoding, data: st.DataObject) -> None:
    coding = Coding(encoding, 0)
    text = data.draw(alphabet(encoding))
    if encoding is Encoding.UCS2 and text.startswith("\ufffe"):
        return  # U+FFFE is no character: at the beginning it is a byte order mark of the other order
    if encoding is Encoding.GSM7_PACKED and text.endswith("\r"):
        text += "."  # a carriage return at the end may come back as two (3GPP TS 23.038 6.1.2.3.1)
    read = decode(encode(text, coding), coding)
    assert read.text == text
    assert read.is_exact


@given(
    st.binary(),
    st.sampled_from(["cmpp", "sgip", "smgp", "smpp"]),
    st.integers(0, 255),
    st.sampled_from([None, Encoding.ASCII, Encoding.GSM7, Encoding.GSM7_PACKED, Encoding.LATIN1, Encoding.GB18030]),
    st.integers(0, 6),
)
def test_any_octets_are_read_under_any_coding(
    content: bytes, protocol: str, octet: int, default: Encoding | None, fill_bits: int
) -> None:
    coding = coding_of(protocol, octet, default)
    read = decode(content, coding, fill_bits)
    read.text.encode()  # a lone surrogate would not go into UTF-8
    assert coding.octet == octet
    if "\ufffd" in read.text and coding.encoding in (Encoding.ASCII, Encoding.GSM7):
        assert not read.is_exact


@pytest.mark.parametrize(
    ("protocol", "octet", "encoding", "message_class"),
    [
        ("cmpp", 0, Encoding.ASCII, None),
        ("cmpp", 3, Encoding.BINARY, None),  # writes the card
        ("cmpp", 4, Encoding.BINARY, None),
        ("sgip", 8, Encoding.UCS2, None),
        ("smgp", 15, Encoding.GB18030, None),
        ("cmpp", 17, Encoding.ASCII, 1),
        ("cmpp", 24, Encoding.UCS2, 0),  # flash, in Chinese
        ("cmpp", 25, Encoding.UCS2, 1),
        ("cmpp", 0xF0, Encoding.ASCII, 0),
        ("cmpp", 0xF5, Encoding.BINARY, 1),
        ("smpp", 0, Encoding.GSM7, None),
        ("smpp", 1, Encoding.ASCII, None),
        ("smpp", 2, Encoding.BINARY, None),
        ("smpp", 3, Encoding.LATIN1, None),
        ("smpp", 4, Encoding.BINARY, None),
        ("smpp", 6, Encoding.CYRILLIC, None),
        ("smpp", 8, Encoding.UCS2, None),
        ("smpp", 15, Encoding.GB18030, None),
        ("smpp", 0x10, Encoding.GSM7, 0),
        ("smpp", 0x18, Encoding.UCS2, 0),
        ("smpp", 0xC8, Encoding.GSM7, None),  # a message waits
        ("smpp", 0xE0, Encoding.UCS2, None),
        ("smpp", 0x58, Encoding.UCS2, 0),  # to be deleted once it was read
    ],
)
def test_what_an_octet_means(protocol: str, octet: int, encoding: Encoding, message_class: int | None) -> None:
    coding = coding_of(protocol, octet)
    assert (coding.encoding, coding.message_class, coding.is_known) == (encoding, message_class, True)
    assert coding.is_flash == (message_class == 0)


def test_zero_means_what_the_peer_means_by_it() -> None:
    assert decode(b"\x00\xa3", coding_of("smpp", 0, Encoding.LATIN1)).text == "\x00£"
    assert decode(b"\x00\x01", coding_of("smpp", 0, Encoding.GSM7)).text == "@£"
    assert decode(pack_septets(b"\x00\x01"), coding_of("smpp", 0, Encoding.GSM7_PACKED)).text == "@£"
    with pytest.raises(BadValue, match="default alphabet: got 'UCS-2', expected ASCII, GSM 7-bit"):
        coding_of("smpp", 0, Encoding.UCS2)
    with pytest.raises(BadValue, match="protocol: got 'ucp'"):
        coding_of("ucp", 0)
    with pytest.raises(BadValue, match="msg_fmt: got 256"):
        coding_of("cmpp", 256)


@pytest.mark.parametrize("octet", [0x0C, 0x84, 0xF8])
def test_a_reserved_octet_is_read_in_the_default_alphabet_and_said_so(octet: int) -> None:
    assert decode(b"hello", coding_of("cmpp", octet)).text == "hello"
    assert decode(b"hello", coding_of("cmpp", octet)).flags == Flag.UNKNOWN_CODING


def test_compressed_and_binary_content_is_no_text() -> None:
    assert decode(b"hello", coding_of("cmpp", 0x20)).flags == Flag.COMPRESSED
    assert decode(b"hello", coding_of("cmpp", 4)).flags == Flag.BINARY
    for octet in (0x20, 4):
        with pytest.raises(BadValue, match="a coding of text, not of data"):
            encode("hello", coding_of("cmpp", octet))


@pytest.mark.parametrize(("protocol", "octet"), [("cmpp", 0), ("smpp", 0), ("smpp", 1)])
@pytest.mark.parametrize("text", ["您好", "联通", "退订回T", "【银行】您的积分即将过期，请登录"])
@pytest.mark.parametrize("written", [Encoding.GB18030, Encoding.UTF8])
def test_chinese_under_ascii_is_read_as_what_it_is(protocol: str, octet: int, text: str, written: Encoding) -> None:
    read = decode(encode(text, Coding(written, 0)), coding_of(protocol, octet))
    assert (read.text, read.encoding, read.flags) == (text, written, Flag.OTHER_CODING)
    assert not read.is_exact


def test_utf8_under_gb18030_is_read_where_it_is_no_gb18030() -> None:
    read = decode("免费领取礼".encode(), coding_of("cmpp", 15))
    assert (read.text, read.encoding) == ("免费领取礼", Encoding.UTF8)


def test_gb18030_that_ends_inside_a_character_keeps_what_is_whole() -> None:
    for whole in ("您好", "您𠀀"):
        read = decode(whole.encode("gb18030")[:-1], coding_of("cmpp", 15))
        assert read.text.startswith("您\ufffd")
        assert read.flags == Flag.CUT
    assert decode(b"\xff\xff", coding_of("cmpp", 15)).flags == Flag.REPLACED


def test_ucs2_of_odd_length_loses_its_last_octet_and_says_so() -> None:
    read = decode("您好".encode("utf-16-be") + b"\x4f", coding_of("cmpp", 8))
    assert (read.text, read.flags) == ("您好", Flag.ODD)


def test_ucs2_has_emoji_and_no_lone_surrogates() -> None:
    assert decode("😀您".encode("utf-16-be"), coding_of("cmpp", 8)).text == "😀您"
    read = decode(b"\xd8\x3d\x60\xa8", coding_of("cmpp", 8))
    assert (read.text, read.flags) == ("\ufffd您", Flag.REPLACED)
    assert decode("\ufeff您".encode("utf-16-le"), coding_of("cmpp", 8)).text == "您"


def test_escapes_of_gsm_7_bit() -> None:
    gsm = coding_of("smpp", 0)
    assert decode(b"\x1b\x65\x1b\x2f", gsm).text == "€\\"
    assert decode(b"\x1b\x41b", gsm).text == "Ab"  # no such extension: the basic character, as handsets do
    assert decode(b"\x1b\x41b", gsm).flags == Flag.ESCAPE
    assert decode(b"a\x1b\x1bb", gsm).text == "a b"
    assert decode(b"a\x1b", gsm).text == "a"
    assert decode(b"a\x1b", gsm).flags == Flag.CUT


@pytest.mark.parametrize(
    ("septets", "packed"),
    [
        # github.com/hujm2023/go-sms-protocol datacoding/gsm7encoding/gsm7_test.go
        (b"123456789", "31d98c56b3dd7039"),
        (b"12", "3119"),
        # github.com/hujm2023/go-sms-protocol datacoding, TestGSM7Packed
        (b"Hello world", "c8329bfd06dddf723619"),
    ],
)
def test_packed_septets(septets: bytes, packed: str) -> None:
    assert pack_septets(septets).hex() == packed
    assert unpack_septets(bytes.fromhex(packed), count=len(septets)) == septets


@given(st.lists(st.integers(0, 127)).map(bytes), st.integers(0, 6))
def test_septets_lie_as_in_one_long_number(septets: bytes, fill_bits: int) -> None:
    packed = pack_septets(septets, fill_bits)
    assert unpack_septets(packed, fill_bits, len(septets)) == septets
    number = sum(septet << (7 * place) for place, septet in enumerate(septets)) << fill_bits
    assert int.from_bytes(packed, "little") == number


def test_seven_spare_bits_are_filled_and_read_as_nothing() -> None:
    packed = coding_of("smpp", 0, Encoding.GSM7_PACKED)
    assert encode("1234567", packed).hex() == "31d98c56b3dd1a"  # a carriage return, not `@` (23.038 6.1.2.3.1)
    assert decode(encode("1234567", packed), packed).text == "1234567"
    assert decode(encode("1234567\r", packed), packed).text == "1234567\r\r"  # which prints as one


@pytest.mark.parametrize(
    ("text", "protocol", "octet"),
    [
        ("hello", "cmpp", 0),
        ("£5", "cmpp", 8),
        ("£5 €", "smpp", 0),
        ("您好", "smpp", 8),
        ("", "sgip", 0),
    ],
)
def test_the_narrowest_coding_that_every_handset_reads(text: str, protocol: str, octet: int) -> None:
    assert best_coding(text, protocol).octet == octet


def test_a_character_that_does_not_fit_is_named() -> None:
    with pytest.raises(BadValue, match=r"text, character 3: got 'U\+60A8 您', expected a character of GSM 7-bit"):
        encode("€a您", coding_of("smpp", 0))
    with pytest.raises(BadValue, match=r"U\+D83D"):
        encode("\ud83d", coding_of("cmpp", 8))
