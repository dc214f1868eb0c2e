"""The compiled screen scores as `Model.reference_score` defines it, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mingbai.engines import scenarios
from mingbai.engines.screening import kernel
from mingbai.engines.screening.forest import with_masks
from mingbai.engines.screening.model import INPUTS, NO_FEATURE, LanguageModel, Model, read
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rules import CompiledRules
from mingbai.engines.screening.schema import text_buffers
from mingbai.engines.screening.screen import read_rows
from mingbai.engines.screening.training import final_logits

pytestmark = pytest.mark.slow

MODEL = Model.load()
COUNTS, TREES, DEPTH = 64, 20, 5
MESSAGES = scenarios.generate(7, 60).column("text").to_pylist()
# The first and the last code point of each length in UTF-8, and neighbours of the surrogates.
EDGES = [
    "",
    "\x00\x7f",
    "\x80\u07ff",
    "\u0800\ud7ff\ue000\uffff",
    "\U00010000\U0010ffff",
    "中\U0001f381中Ａa",
    "ＡＡＡ",
]


def doubting(language: LanguageModel, seed: int) -> LanguageModel:
    """The model in doubt of every message, with a random forest over 32 grams, 32 sets of code points and the head."""
    rng = np.random.default_rng(seed)
    keys = np.full(1 << 12, NO_FEATURE, np.uint32)
    for gram in np.unique(np.concatenate([read(text)[0] for text in MESSAGES])).tolist():
        keys[gram >> 52] = (gram >> 24 & 0xFFFF) << 16 | gram % (COUNTS // 2)
    points = rng.integers(COUNTS // 2, COUNTS, 0x10000).astype(np.uint16)
    points[rng.random(points.size) < 0.2] = NO_FEATURE
    nodes = (1 << DEPTH) - 1  # of a tree; node k has the children 2k + 1 and 2k + 2
    child = np.array([[2 * k + 1, 2 * k + 2] for k in range(nodes)])
    trees = [np.where(child < nodes, child + t * nodes, ~(child - nodes + t * (nodes + 1))) for t in range(TREES)]
    grown = language._replace(
        doubt_low=np.float32(-99),
        doubt_high=np.float32(99),
        forest_keys=keys,
        forest_shift=np.uint64(52),
        forest_points=points,
        forest_counts=np.int64(COUNTS),
        forest_bias=np.float32(0.1),
        forest_roots=np.arange(TREES, dtype=np.int32) * nodes,
        forest_feature=rng.integers(0, COUNTS + INPUTS + 1, TREES * nodes).astype(np.int16),
        forest_threshold=rng.choice([-0.5, 0, 0.5, 1, 2], TREES * nodes).astype(np.float32),
        forest_child=np.concatenate(trees).astype(np.int32),
        forest_leaf=rng.normal(size=TREES * (nodes + 1)).astype(np.float32),
    )
    return with_masks(grown)


DOUBTING = replace(MODEL, chinese=doubting(MODEL.chinese, 1), english=doubting(MODEL.english, 2))


def assert_scores_as_defined(texts: list[str], model: Model = MODEL) -> None:
    policy = Policy(model, CompiledRules.none(), datetime(2026, 1, 1, tzinfo=UTC))
    seen = read_rows(*text_buffers(pa.RecordBatch.from_pydict({"text": texts})), policy)
    for k, text in enumerate(texts):
        expected = model.reference_score(text)
        assert seen.score[k] == expected.score and seen.logit[k] == expected.logit, text
        assert seen.category[k] == expected.category, text
        assert bool(seen.notes[k] & kernel.SECOND_LOOK) == expected.second_look, text


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_any_text_scores_as_defined(texts: list[str]) -> None:
    assert_scores_as_defined(texts)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_any_text_in_doubt_scores_as_defined(texts: list[str]) -> None:
    assert_scores_as_defined(texts, DOUBTING)


def test_messages_in_doubt_score_as_defined() -> None:
    texts = [*MESSAGES, *EDGES, *scenarios.perturb(MESSAGES, "mixed", 0.5, 3), "ａ中" * 3000]
    assert_scores_as_defined(texts, DOUBTING)
    assert DOUBTING.reference_score(texts[0]).second_look
    logits = final_logits(DOUBTING, pa.array(texts, pa.string()).slice(1))[0]
    assert logits.tolist() == [DOUBTING.reference_score(text).logit for text in texts[1:]]


def counting(character: str, more_than: float) -> Model:
    """Chinese messages get the logit 1 if they hold the character more often than that, otherwise -1."""
    points = np.full(0x10000, NO_FEATURE, np.uint16)
    points[ord(character)] = 0
    one_tree = DOUBTING.chinese._replace(
        forest_keys=np.full(2, NO_FEATURE, np.uint32),
        forest_shift=np.uint64(63),
        forest_points=points,
        forest_counts=np.int64(1),
        forest_bias=np.float32(0),
        forest_roots=np.zeros(1, np.int32),
        forest_feature=np.zeros(1, np.int16),
        forest_threshold=np.array([more_than], np.float32),
        forest_child=np.array([[~0, ~1]], np.int32),
        forest_leaf=np.array([-1, 1], np.float32),
    )
    return replace(MODEL, chinese=with_masks(one_tree))


def test_in_doubt_it_counts_how_a_character_was_written() -> None:
    # The same after normalising, so the first look cannot tell them apart.
    assert (read("请加ＡＡＡＡ的微信")[0] == read("请加AAAA的微信")[0]).all()
    texts = ["请加ＡＡＡＡ的微信", "请加AAAA的微信", "请加AＡＡＡ的微信"]
    model = counting("Ａ", 3.5)
    assert [model.reference_score(text).logit for text in texts] == [1, -1, -1]
    assert_scores_as_defined(texts, model)


def test_in_doubt_every_length_of_utf_8_is_counted() -> None:
    edges = "\0\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff"
    texts = [f"请加{c}的微信" for c in edges + "\U00010000\U0001ffff\U0010ffff"]
    for k, edge in enumerate(edges):
        model = counting(edge, 0.5)
        assert [model.reference_score(text).logit for text in texts] == [1 if n == k else -1 for n in range(len(texts))]
        assert_scores_as_defined(texts, model)


def test_messages_score_as_defined(seed: int) -> None:
    assert_scores_as_defined(scenarios.generate(seed, 400).column("text").to_pylist())


def test_disguised_messages_score_as_defined(seed: int) -> None:
    texts = scenarios.generate(seed, 200, language="zh").column("text").to_pylist()
    assert_scores_as_defined(scenarios.perturb(texts, "mixed", 0.5, seed))


def test_the_model_file_holds_no_digits_of_a_phone_number() -> None:
    # Digits never reach the model: numbers of one shape read alike, so no weight can depend on them.
    a, b = "请致电13800138000或13912345678", "请致电18600000001或15999999999"
    assert MODEL.reference_score(a).logit == MODEL.reference_score(b).logit
