"""The forest: which code points it counts, and that the arrays decide as LightGBM's own prediction."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from mingbai.engines.screening import forest, model
from mingbai.engines.screening.forest import ForestSettings
from mingbai.engines.screening.model import LANES, NO_FEATURE, Model
from mingbai.engines.screening.rounding import MIN_CLUSTERS, choose, encode, first_look
from mingbai.engines.screening.training import final_logits

LETTERS = "加我微信Ａa，❤\U0001f381"


def random_texts(seed: int, rows: int) -> list[str]:
    rng = random.Random(seed)
    return ["中中中" + "".join(rng.choices(LETTERS, k=rng.randrange(30))) for _ in range(rows)]


def test_code_points_are_counted_per_text_and_those_beyond_the_bmp_are_not() -> None:
    texts = ["", *random_texts(3, 50), "\U0001f381", "ａａa\uffff"]
    counts = forest.points_matrix(texts)
    assert counts.shape == (len(texts), 0x10000)
    for row, text in enumerate(texts):
        found = counts[row].tocoo()
        expected = Counter(ord(c) for c in text if ord(c) < 0x10000)
        assert dict(zip(found.col.tolist(), found.data.tolist(), strict=True)) == expected


def test_a_counts_matrix_leaves_its_inputs_as_they_were() -> None:
    pointers, features = np.array([0, 3, 4], np.int64), np.array([5, 1, 5, 2], np.int32)
    assert forest.counts_matrix(pointers, features, 6).toarray().tolist() == [[0, 1, 0, 0, 0, 2], [0, 0, 1, 0, 0, 0]]
    assert pointers.tolist() == [0, 3, 4]
    assert features.tolist() == [5, 1, 5, 2]


def test_chosen_code_points_occur_in_five_clusters_and_are_no_digits() -> None:
    # Every one of these tells the first ten rows from the last ten.
    texts = ["甲乙8８⑧"] * 10 + ["丙"] * 10
    unwanted = np.arange(20) < 10
    counts = forest.points_matrix(texts)
    apart = np.arange(20)
    assert MIN_CLUSTERS == 5
    chosen = forest.choose_points(counts, unwanted, apart, ForestSettings())
    assert "".join(map(chr, chosen)) == "丙乙甲"
    together = np.where(unwanted, apart % 4, apart)  # 甲 and 乙 are in four clusters
    chosen = forest.choose_points(counts, unwanted, together, ForestSettings())
    assert "".join(map(chr, chosen)) == "丙"
    assert forest.choose_points(counts, unwanted, apart, ForestSettings(points=1)).size == 1


@pytest.mark.parametrize("points", [0, 6])
def test_a_planted_forest_decides_as_lightgbm_predicts(points: int) -> None:
    pytest.importorskip("lightgbm")
    shipped = Model.load()
    texts = random_texts(1, 600)
    settings = ForestSettings(grams=40, points=points, trees=12, leaves=12, feature_share=1.0, key_bits=10)
    rng = np.random.default_rng(1)
    # Only code points tell a full-width letter from its ASCII twin, only grams see two letters together.
    unwanted = np.array([text.count("Ａ") + 2 * text.count("加我") + rng.random() > 2 for text in texts])
    pointers, grams, counts = model.read_column(pa.array(texts, pa.string()))
    logits, inputs = first_look(pointers, grams, counts, shipped.chinese)
    known = np.unique(grams)
    chosen = choose(known, np.ones(known.size), settings.key_bits, 400)
    of_grams = forest.counts_matrix(*encode(pointers, grams, chosen), chosen.size)
    of_points = forest.points_matrix(texts)
    telling = forest.choose_grams(of_grams, unwanted, chosen, settings)
    written = forest.choose_points(of_points, unwanted, np.arange(len(texts)), settings)
    extra = np.concatenate([inputs[:, LANES:], logits[:, :1]], axis=1)
    seen = forest.beside(of_grams[:, telling], of_points[:, written], extra)
    booster = forest.grow(seen, unwanted, np.ones(len(texts), np.float32), settings, 1)
    planted = forest.planted(shipped.chinese, booster, chosen[telling], written, (-99, 99), (2.0, 0.5), 10)
    trained = replace(shipped, chinese=planted)

    expected = booster.predict(seen, raw_score=True) * 2.0 + 0.5
    found, _, chinese = final_logits(trained, pa.array(texts, pa.string()))
    assert chinese.all()
    assert np.abs(found - expected).max() < 1e-4
    for text, logit in zip(texts[:50], found[:50], strict=True):
        assert trained.reference_score(text).logit == logit
    assert written.size == planted.forest_counts - telling.size == points
    assert np.count_nonzero(planted.forest_points != NO_FEATURE) == points
    kinds = np.searchsorted(
        [telling.size, telling.size + points, telling.size + points + LANES], planted.forest_feature, "right"
    )
    assert set(kinds.tolist()) == ({0, 1, 3} if points else {0, 3})  # grams, code points, proportions and the logit
