"""IMSI, MSC, cell and device out of optional parameters: text, MAP's octets, and what is neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.engines.screening.schema import NETWORK
from mingbai.protocols.optional_fields import PATTERNS, field_of, fits, read_fields

IMSI = "460017000000001"


def tbcd(digits: str) -> bytes:
    """As MAP writes digits: the lower four bits first, a filler behind an odd number."""
    padded = digits + "F" * (len(digits) % 2)
    return bytes(int(padded[at + 1] + padded[at], 16) for at in range(0, len(padded), 2))


def test_the_fields_are_those_that_the_screen_looks_at() -> None:
    assert list(PATTERNS) == NETWORK.names


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("imsi", IMSI.encode(), IMSI),
        ("imsi", IMSI.encode() + b"\0", IMSI),
        ("imsi", b" 460017000000001 \0\0", IMSI),
        ("imsi", bytes.fromhex("64007100000000f1"), "460017000000001"),
        ("device", bytes.fromhex("5302990071168401"), "3520990017614810"),
        ("device", b"35209900", "35209900"),
        ("msc", b"+8613900123", "+8613900123"),
        ("msc", b"\x91" + bytes.fromhex("683109103254f6"), "8613900123456"),
        ("msc", b"msc-7.example", "msc-7.example"),
        ("cell", b"460-00-1A2B-00F1\0", "460-00-1A2B-00F1"),
        ("cell", bytes.fromhex("64f0001a2b00f1"), None),  # no text: which of its many forms this is, nobody says
        ("imsi", b"", None),
        ("imsi", b"12345", None),
        ("device", b"3520990", None),
        ("imsi", b"4600170000000012345", None),
        ("imsi", b"46001700000000x", None),
        ("imsi", b"\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ("device", "３５２０９９００".encode(), None),
        ("msc", "北京".encode(), None),
        ("msc", b"", None),
        ("cell", b"one two", None),
    ],
)
def test_a_value_is_text_or_octets_of_map_or_absent(name: str, value: bytes, said: str | None) -> None:
    assert field_of(name, value) == said


@given(st.one_of(st.text("0123456789", min_size=6, max_size=15), st.text("0123456789", min_size=15, max_size=15)))
def test_an_imsi_is_read_from_text_and_from_tbcd(digits: str) -> None:
    assert field_of("imsi", digits.encode()) == digits
    if len(digits) == 15:  # its last octet has a filler, which no text has
        assert field_of("imsi", tbcd(digits)) == digits


@given(st.sampled_from(list(PATTERNS)), st.binary(max_size=80))
def test_whatever_comes_is_read_or_absent(name: str, value: bytes) -> None:
    said = field_of(name, value)
    assert said is None or fits(name, said)


def test_the_first_of_a_tag_counts_and_other_tags_are_left_alone() -> None:
    tlvs = ((0x1501, b"460017000000001"), (0x1501, b"460020000000001"), (0x0424, b"payload"), (0x1502, b"\xff"))
    assert read_fields(tlvs, {"imsi": 0x1501, "cell": 0x1502, "msc": 0x1503}) == {"imsi": "460017000000001"}
