"""Learning from reviewed messages: new lures are caught, honest messages freed, and the rest stays where it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mingbai.engines import scenarios
from mingbai.engines.screening.comparison import Regression, Reviewed, compare, scores_of, split
from mingbai.engines.screening.learning import MIN_REVIEWED, LearnReport, LearnSettings, learn
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.profiles import reference_of
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category

SEED = 5
QUICK = LearnSettings(generated_rows=800, reference_rows=1000)


def lures(rng: random.Random, count: int) -> Iterator[str]:
    """A wording that the shipped model has not met and mostly lets pass."""
    for _ in range(count):
        parts = (
            ("亲爱的藏友", "尊敬的玩家", "各位老师"),
            ("元宇宙数字藏品", "鲸探数藏", "链上盲盒"),
            ("今晚八点空投", "限时合成翻倍", "内测名额发放"),
            ("进群私聊管理员", "联系小助手登记", "找客服姐姐上车"),
            ("，手慢无", "，错过再等一年", f"，名额仅剩{rng.randint(2, 30)}个"),
        )
        yield "，".join(rng.choice(part) for part in parts)


def notices(rng: random.Random, count: int) -> Iterator[str]:
    for _ in range(count):
        parts = (
            ("【社区服务】各位业主", "【业委会】尊敬的住户", "【物业中心】各位邻居"),
            ("本周六", "明早九点", "周日下午"),
            ("小区停车位抽签", "电梯维保停用", "优惠采暖费缴纳点开放"),
            (f"请携带房产证到{rng.randint(1, 30)}号楼", f"咨询电话{rng.randint(60000000, 69999999)}", "逾期不再受理"),
        )
        yield "，".join(rng.choice(part) for part in parts) + "。"


@pytest.fixture(scope="module")
def shipped() -> Model:
    return Model.load()


@pytest.fixture(scope="module")
def reviewed() -> list[Reviewed]:
    rng = random.Random(SEED)
    found = [Reviewed(text, Category.FRAUD, origin=f"lure {n}") for n, text in enumerate(lures(rng, 120))]
    found += [Reviewed(text, Category.NOTIFICATION, origin=f"notice {n}") for n, text in enumerate(notices(rng, 120))]
    gold = [replace(one, is_gold=True) for one in found[:5]]
    return [*gold, *found[5:]]


@pytest.fixture(scope="module")
def learnt(shipped: Model, reviewed: list[Reviewed]) -> tuple[Model, LearnReport]:
    return learn(shipped, reviewed, seed=SEED, settings=QUICK)


def test_a_new_lure_is_caught_in_messages_it_has_not_seen(learnt: tuple[Model, LearnReport]) -> None:
    _, report = learnt
    found = report.comparison
    assert found is not None
    assert (found.present.recall_at_block or 0) < 0.7
    assert (found.candidate.recall_at_block or 0) > 0.95
    assert found.candidate.false_blocks == 0
    assert found.better > found.worse == 0
    assert not found.is_worse
    assert found.gold == 5


def test_the_rest_stays_where_it_was(shipped: Model, learnt: tuple[Model, LearnReport]) -> None:
    model, _ = learnt
    batch = scenarios.generate(SEED + 1, 3000, language="zh").to_pydict()
    rows = zip(batch["text"], batch["category"], strict=True)
    found = compare(shipped, model, [Reviewed(text, Category(category)) for text, category in rows])
    assert found.better + found.worse < 0.05 * found.messages
    assert abs((found.candidate.recall_at_block or 0) - (found.present.recall_at_block or 0)) < 0.03
    assert abs((found.candidate.macro_f1 or 0) - (found.present.macro_f1 or 0)) < 0.03
    assert found.candidate.false_blocks <= found.present.false_blocks + 3


def test_a_language_without_reviewed_messages_is_left_alone(shipped: Model, learnt: tuple[Model, LearnReport]) -> None:
    model, report = learnt
    assert report.english is None
    for field in shipped.english._fields:
        assert np.array_equal(getattr(model.english, field), getattr(shipped.english, field)), field


def test_thresholds_are_never_lowered(learnt: tuple[Model, LearnReport]) -> None:
    part = learnt[1].chinese
    assert part is not None
    assert part.block_at >= part.block_at_before
    assert part.flag_at >= part.flag_at_before
    assert part.loss_after < part.loss_before
    assert part.new_grams > 0


def test_the_same_messages_and_seed_give_the_same_file(
    shipped: Model, reviewed: list[Reviewed], learnt: tuple[Model, LearnReport]
) -> None:
    again, report = learn(shipped, reviewed, seed=SEED, settings=QUICK)
    assert again.to_bytes() == learnt[0].to_bytes()
    assert report == learnt[1]
    assert learn(shipped, reviewed, seed=SEED + 1, settings=QUICK)[0].version != again.version


def test_the_file_says_what_it_was_made_from(shipped: Model, learnt: tuple[Model, LearnReport], tmp_path: Path) -> None:
    model, report = learnt
    (tmp_path / "learnt.npz").write_bytes(model.to_bytes())
    again = Model.load(tmp_path / "learnt.npz")
    assert again.version == model.version == report.version
    assert again.version != shipped.version == report.parent
    assert again.about["learnt"] == [
        {"parent": shipped.version, "seed": SEED, "reviewed": report.learnt, "background": 0}
    ]
    reference = reference_of(again)
    assert reference is not None
    assert reference.model == again.version


def test_a_file_s_model_screens_as_its_reference_says(learnt: tuple[Model, LearnReport]) -> None:
    """The kernel reads the changed table as the plain definition does."""
    model = learnt[0]
    texts = [*lures(random.Random(1), 15), *notices(random.Random(1), 15), "see you at seven", ""]
    assert scores_of(model, texts).score.tolist() == [model.reference_score(text).score for text in texts]


def test_held_back_messages_are_not_looked_at(shipped: Model, reviewed: list[Reviewed]) -> None:
    """With other answers to them the model is the same."""
    _, held = split(reviewed)
    lied = [replace(one, category=Category.PERSONAL) if one in held else one for one in reviewed]
    assert (
        learn(shipped, lied, seed=SEED, settings=QUICK)[0].version
        == learn(shipped, reviewed, seed=SEED, settings=QUICK)[0].version
    )


def test_learning_what_is_wrong_is_not_silent(shipped: Model) -> None:
    """Reviewers call lures honest; the gold messages, which they did not decide, tell."""
    texts = list(dict.fromkeys(lures(random.Random(SEED), 400)))
    gold = [Reviewed(text, Category.FRAUD, is_gold=True) for text in texts[:30]]
    model, report = learn(
        shipped, [*gold, *(Reviewed(text, Category.NOTIFICATION) for text in texts[30:])], seed=SEED, settings=QUICK
    )
    found = report.comparison
    assert found is not None
    assert model.version != shipped.version
    assert found.candidate.gold_mistakes > found.present.gold_mistakes
    assert Regression.MORE_GOLD_MISTAKES in found.regressions
    assert report.is_worse


def test_progress_rises_to_the_end(shipped: Model, reviewed: list[Reviewed]) -> None:
    seen: list[float] = []
    learn(shipped, reviewed, seed=SEED, background=["好的，明天见"] * 10, on_progress=seen.append, settings=QUICK)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_too_few_messages_are_refused(shipped: Model) -> None:
    few = [Reviewed(text, Category.FRAUD) for text in lures(random.Random(1), MIN_REVIEWED // 2)]
    with pytest.raises(BadValue, match="reviewed"):
        learn(shipped, few, seed=SEED, settings=QUICK)
    with pytest.raises(BadValue, match="weight"):
        learn(shipped, [Reviewed("a", Category.FRAUD, weight=0.0)], seed=SEED, settings=QUICK)
