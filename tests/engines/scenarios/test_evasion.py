"""Evasions and odd styles: each kind changes the text, keeps it readable as Unicode, and rate 0 is the identity."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.engines.scenarios import CHINESE_KINDS, ENGLISH_KINDS, ODD_STYLES, generate, odd_style, perturb
from mingbai.engines.scenarios.evasion_tables import tables
from mingbai.engines.scenarios.tables import radicals
from mingbai.kernel.errors import BadValue

CHINESE = generate(21, 60, language="zh", families=["fraud", "illegal_trade"])["text"].to_pylist()
ENGLISH = generate(21, 60, language="en", families=["fraud", "illegal_trade"])["text"].to_pylist()
ALL_KINDS = sorted({*CHINESE_KINDS, *ENGLISH_KINDS})


@pytest.mark.parametrize(
    ("kind", "texts"),
    [*((kind, CHINESE) for kind in CHINESE_KINDS), *((kind, ENGLISH) for kind in ENGLISH_KINDS)],
)
def test_kind_changes_most_messages_and_leaves_them_decodable(kind: str, texts: list[str]) -> None:
    changed = perturb(texts, kind, 0.3, 1)
    assert len(changed) == len(texts)
    assert sum(new != old for new, old in zip(changed, texts, strict=True)) >= len(texts) * 0.6
    assert all(text.encode("utf-8").decode("utf-8") == text for text in changed)
    assert all(text for text in changed)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_rate_zero_is_the_identity(kind: str) -> None:
    assert perturb(CHINESE + ENGLISH, kind, 0.0, 1) == CHINESE + ENGLISH


@pytest.mark.parametrize("kind", ODD_STYLES)
def test_odd_style_changes_honest_messages_and_rate_zero_is_the_identity(kind: str) -> None:
    honest = ["明天一起吃饭吗？记得带钱，我在学校门口等你。", "Ok see you at 5, thanks!"] * 20
    assert odd_style(honest, kind, 0.0, 1) == honest
    changed = odd_style(honest, kind, 0.6, 1)
    assert sum(new != old for new, old in zip(changed, honest, strict=True)) >= 10


def test_same_seed_gives_the_same_disguise_and_another_seed_another() -> None:
    assert perturb(CHINESE, "mixed", 0.3, 5) == perturb(CHINESE, "mixed", 0.3, 5)
    assert perturb(CHINESE, "mixed", 0.3, 5) != perturb(CHINESE, "mixed", 0.3, 6)


def test_higher_rate_changes_more() -> None:
    def share(rate: float) -> float:
        pairs = zip(perturb(CHINESE, "fullwidth", rate, 2), CHINESE, strict=True)
        return sum(sum(new != old for new, old in zip(changed, text, strict=True)) for changed, text in pairs)

    assert share(0.1) < share(0.3) < share(0.9)


def test_arrow_arrays_are_taken_and_null_is_an_empty_text() -> None:
    assert perturb(pa.array(["加微信", None]), "pinyin", 1.0, 1)[1] == ""


def test_unknown_kind_style_and_rate_are_named() -> None:
    with pytest.raises(BadValue, match="kind: got 'rot13'"):
        perturb(["a"], "rot13", 0.3, 1)
    with pytest.raises(BadValue, match=r"rate: got 1\.5"):
        perturb(["a"], "typo", 1.5, 1)
    with pytest.raises(BadValue, match="kind: got 'leet'"):
        odd_style(["a"], "leet", 0.3, 1)


@given(text=st.text(), kind=st.sampled_from(ALL_KINDS), rate=st.floats(0, 1), seed=st.integers(0, 99))
def test_any_text_survives_any_kind(text: str, kind: str, rate: float, seed: int) -> None:
    (changed,) = perturb([text], kind, rate, seed)
    assert isinstance(changed, str)


@given(text=st.text(), kind=st.sampled_from(ODD_STYLES), seed=st.integers(0, 99))
def test_any_text_survives_any_style(text: str, kind: str, seed: int) -> None:
    (changed,) = odd_style([text], kind, 0.5, seed)
    assert isinstance(changed, str)


@pytest.mark.parametrize(
    ("kind", "text", "allowed"),
    [
        ("numerals", "8", "八捌⑧⒏⁸８㈧"),
        ("fullwidth", "a", "ａ"),
        ("leet", "e", "3€"),
        ("lookalike", "微", "薇徽徵溦嶶"),
    ],
)
def test_substitutes_come_from_the_table(kind: str, text: str, allowed: str) -> None:
    assert {perturb([text], kind, 1.0, seed)[0] for seed in range(60)} <= set(allowed)


def test_split_writes_a_character_as_its_parts() -> None:
    assert {perturb(["钱"], "split", 1.0, seed)[0] for seed in range(20)} == {"钅戋", "金戋"}


def test_tables_are_broad_and_never_map_a_character_to_itself() -> None:
    found = tables()
    assert len(found.split) > 1000
    assert len(found.lookalike) > 700
    assert len(found.homophone) > 3500
    assert len(found.traditional) > 2000
    assert len(found.keyword) > 200
    for table in (found.traditional, found.homophone, found.lookalike, found.radical, found.homoglyph, found.leet):
        assert not [char for char, forms in table.items() if char in forms]


def test_mathematical_letters_fold_back_to_what_they_stood_for() -> None:
    (changed,) = perturb(["Claim your prize now 2025"], "mathematical", 1.0, 3)
    folded = unicodedata.normalize("NFKC", changed)
    # Negative squared letters have no compatibility form; all others come back.
    assert sum(a.lower() == b.lower() for a, b in zip(folded, "Claim your prize now 2025", strict=False)) > 15


def test_radical_table_is_what_its_maker_gives() -> None:
    assert {char: "".join(forms) for char, forms in tables().radical.items()} == radicals()
