"""How a message is read: the compiled reading is its plain Python definition, and undoes what spammers do."""

from __future__ import annotations

import random
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mingbai.engines.screening import alphabet, model, reading, reference
from mingbai.engines.screening.reading import normalised

pytestmark = pytest.mark.slow

HALVES = [chr(int(key) >> 16) + chr(int(key) & 0xFFFF) for key in alphabet.splits()[0]]
TRICKY = [
    *"讠正艮一二三四五六七八九〇壹0123456789olizsOLabcweixinjiaxx点。.,!！ 　【】/\u200b😀𝓐ＡＢ１①②發薇é",
    *HALVES,
]
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
evasive = st.lists(st.sampled_from(TRICKY), max_size=60).map("".join)


def assert_reads_as_defined(texts: list[str]) -> None:
    pointers, grams, counts = model.read_column(pa.array(texts, pa.string()))
    for k, text in enumerate(texts):
        r = reference.read(text)
        assert grams[pointers[k] : pointers[k + 1]].tolist() == r.grams, text
        numbers = [r.is_chinese, len(r.letters), len(r.marks), r.characters, r.chinese, r.latin, len(r.digits)]
        assert counts[k].tolist() == numbers, text
        assert normalised(text) == ("".join(r.letters), r.places), text


@given(st.lists(anything | evasive, min_size=1, max_size=8))
@settings(max_examples=300, deadline=None)
def test_compiled_reading_is_the_plain_definition(texts: list[str]) -> None:
    assert_reads_as_defined(texts)


def test_compiled_reading_is_the_plain_definition_at_its_limits() -> None:
    long = reading.MAX_LETTERS + 100
    assert_reads_as_defined(
        ["", "\0", "a" * long, "。" * long, "1" * long, "讠正" * long, "一" * long, "wei" * long, "😀" * long]
    )


def test_random_unicode_reads_as_defined(seed: int) -> None:
    rnd = random.Random(seed)
    ranges = [(1, 0xD7FF), (0xE000, 0x10FFFF), (32, 126), (0x4E00, 0x9FA5), (0xFF00, 0xFFEF), (0x1D400, 0x1D7FF)]
    texts = ["".join(chr(rnd.randint(*rnd.choice(ranges))) for _ in range(rnd.randrange(40))) for _ in range(3000)]
    assert_reads_as_defined(texts)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("ＦＲＥＥ　ＭＯＮＥＹ", "freemoney"),
        ("𝓯𝓻𝓮𝓮 𝐦𝐨𝐧𝐞𝐲", "freemoney"),
        ("ⓕⓡⓔⓔ ㊣", "free正"),
        ("frее mоnеу", "freemoney"),  # Cyrillic
        ("f\u200br\u200ce\u00ade", "free"),
        ("f.r*e-e m_o|n e y", "freemoney"),
        ("fr33 c4sh", "freecash"),
        ("發票優惠", "发票优惠"),
        ("发😀票🎁优💰惠", "发票优惠"),
        ("发 票、优*惠", "发票优惠"),
        ("讠正券开户", "证券开户"),
        ("钅艮彳亍卡", "银行卡"),
        ("一三八零零一三八零零零", "13800138000"),
        ("①③⑧００１３８０００", "13800138000"),
        ("l38OOl38OOO", "13800138000"),
        ("➕V信", "加v信"),
        ("é à ü", "eau"),
    ],
)
def test_disguises_are_read_through(written: str, read_as: str) -> None:
    assert normalised(written)[0] == read_as


@pytest.mark.parametrize("text", ["二零一四年", "我们三个人一起去", "第一二三页", "2nite", "20th", "win2000"])
def test_honest_numerals_and_numbers_stay_as_they_are(text: str) -> None:
    assert normalised(text)[0] == text


@pytest.mark.parametrize("disguise", ["加薇信", "加威信", "加微信", "加wei信", "加weixin"])
def test_homophones_and_pinyin_share_their_sounds(disguise: str) -> None:
    plain = set(reference.read("请加微信详谈").grams)
    other = set(reference.read(f"请{disguise}详谈").grams)
    unrelated = set(reference.read("请加班改图详谈").grams)
    assert len(plain & other) > len(plain & unrelated)


def test_a_number_is_known_by_its_shape_and_never_by_its_digits() -> None:
    a = reference.read("请致电13912345678联系").grams
    b = reference.read("请致电18700009999联系").grams
    assert a == b


def test_each_letter_keeps_its_place_in_the_original() -> None:
    text = "【ＡＢ】發\u200b票，讠正"
    letters, places = normalised(text)
    assert letters == "ab发票证"
    assert [text[p] for p in places] == ["Ａ", "Ｂ", "發", "票", "讠"]


def test_the_shipped_alphabet_is_what_its_sources_make() -> None:
    built, shipped = alphabet.build(), alphabet.table()
    if unicodedata.unidata_version == alphabet.UNICODE:
        assert np.array_equal(built, shipped)
    else:  # a newer Unicode only adds characters
        known = np.flatnonzero(shipped)
        assert np.mean(built[known] == shipped[known]) > 0.99
