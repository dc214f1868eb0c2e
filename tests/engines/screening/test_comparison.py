"""Two models on the same reviewed messages, and who is held back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from mingbai.engines import scenarios
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.comparison import (
    HELD_BACK_ONE_IN,
    Regression,
    Reviewed,
    compare,
    is_held_back,
    scores_of,
    split,
)
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rules import CompiledRules
from mingbai.engines.screening.screen import screen
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category, Verdict
from tests.engines.screening.test_screen import NOW


@pytest.fixture(scope="module")
def shipped() -> Model:
    return Model.load()


@pytest.fixture(scope="module")
def reviewed() -> list[Reviewed]:
    batch = scenarios.generate(4, 1200).to_pydict()
    rows = zip(batch["text"], batch["category"], strict=True)
    return [Reviewed(text, Category(category), origin=str(row)) for row, (text, category) in enumerate(rows)]


def stricter(model: Model) -> Model:
    """The same model that blocks whatever it would flag."""
    languages = [language._replace(block_at=language.flag_at) for language in (model.chinese, model.english)]
    return replace(model, chinese=languages[0], english=languages[1])


def test_one_message_in_five_is_held_back_whatever_the_model(reviewed: list[Reviewed]) -> None:
    learnt, held = split(reviewed)
    assert len(learnt) + len(held) == len(reviewed)
    assert abs(len(held) / len(reviewed) - 1 / HELD_BACK_ONE_IN) < 0.05
    assert split(list(reversed(reviewed))) == (learnt[::-1], held[::-1])


def test_copies_that_differ_in_numbers_fall_on_one_side() -> None:
    for start in range(30):
        sides = {is_held_back(f"第{start}组：您的订单{number}已发货，电话1380000{number:04d}") for number in range(20)}
        assert len(sides) == 1


def test_gold_is_never_learnt_from_nor_what_reads_like_it() -> None:
    texts = [
        f"尾号{number}的快递放在{'东南西北'[number % 4]}门了，编号甲{chr(0x4E00 + number)}" for number in range(60)
    ]
    reviewed = [Reviewed(text, Category.NOTIFICATION) for text in texts]
    gold = Reviewed(texts[7].replace("7", "9"), Category.NOTIFICATION, is_gold=True)
    learnt, held = split([*reviewed, gold])
    assert gold in held
    assert texts[7] not in [one.text for one in learnt]


def test_scores_are_those_of_the_screen(shipped: Model, reviewed: list[Reviewed]) -> None:
    texts = [one.text for one in reviewed[:300]]
    policy = Policy(shipped, CompiledRules.none(), NOW)
    decided = screen(pa.record_batch({"text": pa.array(texts)}), policy, Counters())[0]
    assert np.array_equal(scores_of(shipped, texts).score, decided.column("score").to_numpy())


def test_a_model_is_no_worse_than_itself(shipped: Model, reviewed: list[Reviewed]) -> None:
    found = compare(shipped, shipped, reviewed)
    assert not found.is_worse
    assert found.changes == ()
    assert found.present == found.candidate
    assert found.legitimate + found.unwanted == found.messages == len(reviewed)
    assert sum(figures.rows for figures in found.present.categories.values()) == found.messages


def test_a_stricter_model_catches_more_and_is_called_worse_for_its_false_blocks(
    shipped: Model, reviewed: list[Reviewed]
) -> None:
    found = compare(shipped, stricter(shipped), reviewed)
    assert (found.candidate.recall_at_block or 0) > (found.present.recall_at_block or 0)
    assert found.candidate.recall_at_0_1_percent == found.present.recall_at_0_1_percent
    assert found.candidate.false_blocks == found.present.false_blocks + found.present.false_flags
    assert found.regressions == (Regression.MORE_FALSE_BLOCKS,)
    back = compare(stricter(shipped), shipped, reviewed)
    assert Regression.LESS_RECALL in back.regressions
    assert Regression.MORE_FALSE_BLOCKS not in back.regressions


def test_every_message_whose_verdict_changes_is_listed_the_bad_news_first(
    shipped: Model, reviewed: list[Reviewed]
) -> None:
    found = compare(shipped, stricter(shipped), reviewed)
    assert len(found.changes) == found.better + found.worse > 0
    assert [change.is_better for change in found.changes] == sorted(change.is_better for change in found.changes)
    for change in found.changes:
        source = reviewed[int(change.origin)]
        assert (change.text, change.truth) == (source.text, source.category)
        assert (change.old, change.new) == (Verdict.FLAG, Verdict.BLOCK)
        assert change.is_better is source.is_unwanted
        assert change.old_score == change.new_score
    assert len(compare(shipped, stricter(shipped), reviewed, limit=2).changes) == 2


def test_one_gold_message_more_that_is_wrong_is_named(shipped: Model, reviewed: list[Reviewed]) -> None:
    candidate = stricter(shipped)
    worse = next(change for change in compare(shipped, candidate, reviewed).changes if not change.is_better)
    gold = [replace(one, is_gold=one.text == worse.text) for one in reviewed]
    found = compare(shipped, candidate, gold)
    assert found.gold >= 1
    assert Regression.MORE_GOLD_MISTAKES in found.regressions
    assert found.changes[0].is_gold


def test_without_messages_there_is_nothing_to_compare(shipped: Model) -> None:
    with pytest.raises(BadValue, match="held_back"):
        compare(shipped, shipped, [])


def test_figures_of_what_is_not_there_are_left_open(shipped: Model) -> None:
    found = compare(shipped, shipped, [Reviewed("好的，晚上见", Category.PERSONAL)])
    assert found.present.recall_at_block is None
    assert found.present.recall_at_0_1_percent is None
    assert found.present.macro_f1 is None
    assert found.present.false_blocks == 0
