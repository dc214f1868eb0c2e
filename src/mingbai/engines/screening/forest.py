"""The second look: a forest of decision trees (LightGBM) over gram counts, flattened into the arrays of `model`.

It learns from out-of-fold first logits, so that it meets in training what it will meet in use, and only on messages
that the first look finds at all suspicious. Its log-odds are stretched onto the interval of doubt, whose logits it
replaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any  # LightGBM's models, and the JSON they print, are untyped

import numpy as np
import numpy.typing as npt

from mingbai.engines.screening.model import INPUTS, LANES, NO_FEATURE, PROPORTIONS, LanguageModel
from mingbai.engines.screening.rounding import entropy

B1 = npt.NDArray[np.bool_]
F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class ForestSettings:
    """Knobs of the forest; the values were found best for their cost on development data."""

    grams: int = 4000
    trees: int = 200
    leaves: int = 31
    learning_rate: float = 0.08
    feature_share: float = 0.3  # of the features, tried for each tree
    suspicious: float = 0.1  # learns from messages above the logit that this share of legitimate ones passes
    key_bits: int = 16


def counts_matrix(pointers: I64, features: I32, width: int) -> Any:  # scipy's matrices are untyped
    """Rows of numbered grams -> sparse counts float32[n, width]."""
    import scipy.sparse

    matrix = scipy.sparse.csr_matrix(
        (np.ones(features.size, np.float32), features, pointers), shape=(pointers.size - 1, width)
    )
    matrix.sum_duplicates()
    return matrix


def choose_grams(counts: Any, unwanted: B1, chosen: U64, settings: ForestSettings) -> I64:  # scipy's matrix
    """The most telling columns of `counts` (rows: suspicious originals), each with a key slot of its own, sorted."""
    have = counts.copy()
    have.data[:] = 1
    spam = np.asarray(have[unwanted].sum(axis=0)).ravel()
    total = np.asarray(have.sum(axis=0)).ravel().astype(np.float64)
    n, positive = float(unwanted.size), float(unwanted.sum())
    rest = np.maximum(n - total, 1.0)
    information = (
        entropy(positive / n)
        - total / n * entropy(spam / np.maximum(total, 1))
        - rest / n * entropy((positive - spam) / rest)
    )
    information[total < 8] = 0
    order = np.argsort(-information, kind="stable")[: 2 * settings.grams]
    slots = chosen[order] >> np.uint64(64 - settings.key_bits)
    _, first = np.unique(slots, return_index=True)
    return np.sort(order[np.sort(first)[: settings.grams]])


def grow(
    counts: Any, extra: F32, unwanted: B1, weight: F32, settings: ForestSettings, seed: int
) -> Any:  # scipy, LightGBM
    """Fit the forest. extra: float32[n, 7]: the proportions and the first logit."""
    import lightgbm
    import scipy.sparse

    data = scipy.sparse.hstack([counts, scipy.sparse.csr_matrix(extra)]).tocsr()
    parameters = {
        "objective": "binary", "num_leaves": settings.leaves, "learning_rate": settings.learning_rate,
        "min_data_in_leaf": 20, "feature_fraction": settings.feature_share, "lambda_l2": 1.0, "num_threads": 1,
        "seed": seed, "deterministic": True, "force_row_wise": True, "verbose": -1,
    }  # fmt: skip
    return lightgbm.train(parameters, lightgbm.Dataset(data, unwanted.astype(np.int8), weight=weight), settings.trees)


def log_odds(booster: Any, counts: Any, extra: F32) -> F32:  # LightGBM, scipy
    import scipy.sparse

    data = scipy.sparse.hstack([counts, scipy.sparse.csr_matrix(extra)]).tocsr()
    return np.asarray(booster.predict(data, raw_score=True), np.float32)


def planted(
    model: LanguageModel,
    booster: Any,
    grams: U64,
    doubt: tuple[float, float],
    stretch: tuple[float, float],
    key_bits: int,
) -> LanguageModel:  # booster: LightGBM
    """The model with the forest. grams: the hash of each count feature. stretch: (factor, offset) of the log-odds."""
    roots: list[int] = []
    feature: list[int] = []
    threshold: list[float] = []
    child: list[list[int]] = []
    leaf: list[float] = []

    def flatten(node: dict[str, Any]) -> int:  # LightGBM's JSON
        if "leaf_value" in node:
            leaf.append(node["leaf_value"])
            return ~(len(leaf) - 1)
        at = len(feature)
        number = int(node["split_feature"])
        if number >= grams.size:  # six proportions, the logit -> their places behind the seven lanes
            number += LANES
        feature.append(number)
        threshold.append(node["threshold"])
        child.append([0, 0])
        child[at] = [flatten(node["left_child"]), flatten(node["right_child"])]
        return at

    for tree in booster.dump_model()["tree_info"]:
        roots.append(flatten(tree["tree_structure"]))
    keys = np.full(1 << key_bits, NO_FEATURE, np.uint32)
    tags = (grams >> np.uint64(24) & np.uint64(0xFFFF)).astype(np.uint32)
    keys[grams >> np.uint64(64 - key_bits)] = tags << np.uint32(16) | np.arange(grams.size, dtype=np.uint32)
    factor, offset = stretch
    # A threshold is rounded down: float32 values compare with it as they did with the double.
    cuts = np.array(threshold, np.float64)
    low = cuts.astype(np.float32)
    low = np.where(low > cuts, np.nextafter(low, np.float32(-np.inf)), low)
    assert INPUTS == LANES + PROPORTIONS
    return model._replace(
        doubt_low=np.float32(doubt[0]),
        doubt_high=np.float32(doubt[1]),
        forest_keys=keys,
        forest_shift=np.uint64(64 - key_bits),
        forest_grams=np.int64(grams.size),
        forest_bias=np.float32(offset),
        forest_roots=np.array(roots, np.int32),
        forest_feature=np.array(feature, np.int16),
        forest_threshold=low.astype(np.float32),
        forest_child=np.array(child, np.int32).reshape(-1, 2),
        forest_leaf=(np.array(leaf) * factor).astype(np.float32),
    )
