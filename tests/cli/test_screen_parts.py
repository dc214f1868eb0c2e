"""What the screen is made of: marks, masks, bars. Characters keep their places, and no number gets through."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mingbai.cli.marks import bar, closed, marked, visible
from mingbai.kernel.masking import masked
from mingbai.kernel.verdicts import Verdict

PLAIN = Console(file=io.StringIO(), color_system=None)
COLOUR = Console(file=io.StringIO(), color_system="truecolor", force_terminal=True)


@given(st.text(max_size=60), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=5))
def test_a_marked_text_is_the_text(text: str, spans: list[tuple[int, int]]) -> None:
    assert marked(text, spans, Verdict.BLOCK, COLOUR).plain == visible(text)
    brackets = marked(text.replace("⟦", "").replace("⟧", ""), spans, Verdict.BLOCK, PLAIN).plain
    assert brackets.replace("⟦", "").replace("⟧", "") == visible(text.replace("⟦", "").replace("⟧", ""))


@given(st.text(max_size=60))
def test_masking_keeps_every_place(text: str) -> None:
    assert len(masked(text)) == len(text)
    assert len(visible(text)) == len(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("致电13900001111", "致电13*********"),
        ("call 020 7946 0000 now", "call 02*********** now"),
        ("加微信abc12345", "加微信ab******"),
        ("点 t.cn/AbCdEf12 领取50元", "点 t.cn/A******* 领取50元"),
        ("9月1日 18:30 到账100元", "9月1日 18:30 到账100元"),
    ],
)
def test_numbers_ids_and_paths_are_masked_and_amounts_are_not(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_mark_never_reorders_or_hides() -> None:
    assert visible("a\u200bb\u202ec\x1b[0m\n") == "a·b·c [0m "


def test_a_bar_fills_with_its_share() -> None:
    assert bar(0.0, 8, Verdict.BLOCK).plain == ""
    assert bar(1.0, 8, Verdict.BLOCK).plain == "█" * 8
    assert bar(0.5, 1, Verdict.BLOCK).plain == "▌"


def test_a_single_letter_between_two_marks_is_marked_too_and_a_sign_or_two_letters_are_not() -> None:
    text = "惠民贷，利率低至三厘"
    assert closed(text, [(0, 1), (2, 3), (4, 5), (7, 8)]) == [(0, 3), (4, 5), (7, 8)]
    assert closed(text, [(2, 4), (1, 3), (9, 99)]) == [(1, 4), (9, 10)]
