"""The second look: a forest of decision trees (LightGBM) over counts, flattened into the arrays of `model`.

Counted are grams, and code points of the message as it was sent: normalising takes out how a message is written, which
tells legitimate senders apart from others among the messages that the first look doubts.

It learns from out-of-fold first logits, so that it meets in training what it will meet in use, and only on messages
that the first look finds at all suspicious. Its log-odds are stretched onto the interval of doubt, whose logits it
replaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any  # LightGBM's models, and the JSON they print, are untyped

import numpy as np
import numpy.typing as npt

from mingbai.engines.screening import alphabet
from mingbai.engines.screening.model import INPUTS, LANES, NO_FEATURE, PROPORTIONS, LanguageModel
from mingbai.engines.screening.rounding import MIN_CLUSTERS, entropy
from mingbai.engines.screening.scoring import MAX_TREES

B1 = npt.NDArray[np.bool_]
F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]

POINTS = 0x10000  # code points that can be features: those of the BMP


@dataclass(frozen=True, slots=True)
class ForestSettings:
    """Knobs of the forest; the values were found best for their cost on development data."""

    grams: int = 4000
    points: int = 1000  # code points
    trees: int = 200
    leaves: int = 31
    learning_rate: float = 0.08
    feature_share: float = 0.3  # of the features, tried for each tree
    suspicious: float = 0.1  # learns from messages above the logit that this share of legitimate ones passes
    key_bits: int = 16


def counts_matrix(pointers: I64, features: I32, width: int) -> Any:  # scipy's matrices are untyped
    """Rows of numbered grams -> sparse counts float32[n, width]."""
    import scipy.sparse

    # Copied, because summing sorts the arrays in place.
    matrix = scipy.sparse.csr_matrix(
        (np.ones(features.size, np.float32), features, pointers), shape=(pointers.size - 1, width), copy=True
    )
    matrix.sum_duplicates()
    return matrix


def points_matrix(texts: Sequence[str]) -> Any:  # scipy's matrix
    """Texts -> sparse counts float32[n, POINTS] of their code points."""
    points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    ends = np.cumsum([0, *map(len, texts)])
    counted = points < POINTS
    pointers = np.concatenate([[0], np.cumsum(counted)])[ends]
    return counts_matrix(pointers, points[counted].astype(np.int32), POINTS)


def choose_grams(counts: Any, unwanted: B1, chosen: U64, settings: ForestSettings) -> I64:  # scipy's matrix
    """The most telling columns of `counts` (rows: suspicious originals), each with a key slot of its own, sorted."""
    information = _information(_presence(counts), unwanted)
    order = np.argsort(-information, kind="stable")[: 2 * settings.grams]
    slots = chosen[order] >> np.uint64(64 - settings.key_bits)
    _, first = np.unique(slots, return_index=True)
    return np.sort(order[np.sort(first)[: settings.grams]])


def choose_points(counts: Any, unwanted: B1, cluster: I64, settings: ForestSettings) -> I64:  # scipy's matrix
    """The most telling code points of the same rows, sorted: each in `MIN_CLUSTERS` clusters of them, and no digit.

    What the alphabet reads as a digit ('８', '⑧') counts as one: nothing learns from a number but its shape.
    """
    import scipy.sparse

    have = _presence(counts)
    _, number = np.unique(cluster, return_inverse=True)
    row = np.arange(cluster.size)
    together = scipy.sparse.csr_matrix((np.ones(row.size, np.float32), (number, row))) @ have
    information = _information(have, unwanted)
    information[together.getnnz(axis=0) < MIN_CLUSTERS] = 0
    information[alphabet.table()[:POINTS] & np.uint32(alphabet.DIGIT) != 0] = 0
    order = np.argsort(-information, kind="stable")[: settings.points]
    return np.sort(order[information[order] > 0])


def _presence(counts: Any) -> Any:  # scipy's matrices
    have = counts.copy()
    have.data[:] = 1
    return have


def _information(have: Any, unwanted: B1) -> F64:  # scipy's matrix
    """Bits a row that each column tells of `unwanted`; 0 for a column that few rows have."""
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
    return information


def beside(grams: Any, points: Any, extra: F32) -> Any:  # scipy's matrices
    """What the forest sees of each row: chosen counts, and float32[n, 7]: the proportions and the first logit."""
    import scipy.sparse

    return scipy.sparse.hstack([grams, points, scipy.sparse.csr_matrix(extra)]).tocsr()


def grow(data: Any, unwanted: B1, weight: F32, settings: ForestSettings, seed: int) -> Any:  # scipy, LightGBM
    """Fit the forest on rows of `beside`."""
    import lightgbm

    parameters = {
        "objective": "binary", "num_leaves": settings.leaves, "learning_rate": settings.learning_rate,
        "min_data_in_leaf": 20, "feature_fraction": settings.feature_share, "lambda_l2": 1.0, "num_threads": 1,
        "seed": seed, "deterministic": True, "force_row_wise": True, "verbose": -1,
    }  # fmt: skip
    return lightgbm.train(parameters, lightgbm.Dataset(data, unwanted.astype(np.int8), weight=weight), settings.trees)


def log_odds(booster: Any, data: Any) -> F32:  # LightGBM, scipy
    return np.asarray(booster.predict(data, raw_score=True), np.float32)


def planted(
    model: LanguageModel,
    booster: Any,
    grams: U64,
    points: I64,
    doubt: tuple[float, float],
    stretch: tuple[float, float],
    key_bits: int,
) -> LanguageModel:  # booster: LightGBM
    """The model with the forest. grams, points: the hash and the code point of each count, in the order of `beside`.

    stretch: (factor, offset) of the log-odds.
    """
    counts = grams.size + points.size
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
        if number >= counts:  # six proportions, the logit -> their places behind the seven lanes
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
    features = np.full(POINTS if points.size else 0, NO_FEATURE, np.uint16)
    features[points] = np.arange(grams.size, counts, dtype=np.uint16)
    factor, offset = stretch
    # A threshold is rounded down: float32 values compare with it as they did with the double.
    cuts = np.array(threshold, np.float64)
    low = cuts.astype(np.float32)
    low = np.where(low > cuts, np.nextafter(low, np.float32(-np.inf)), low)
    assert INPUTS == LANES + PROPORTIONS
    planted = model._replace(
        doubt_low=np.float32(doubt[0]),
        doubt_high=np.float32(doubt[1]),
        forest_keys=keys,
        forest_shift=np.uint64(64 - key_bits),
        forest_points=features,
        forest_counts=np.int64(counts),
        forest_bias=np.float32(offset),
        forest_roots=np.array(roots, np.int32),
        forest_feature=np.array(feature, np.int16),
        forest_threshold=low.astype(np.float32),
        forest_child=np.array(child, np.int32).reshape(-1, 2),
        forest_leaf=(np.array(leaf) * factor).astype(np.float32),
    )
    return with_masks(planted)


def with_masks(model: LanguageModel) -> LanguageModel:
    """The model with its trees also by feature: which leaves each comparison excludes when it goes right.

    Of a message's five thousand counts all but a hundred are zero, and zero goes left nearly everywhere, so the kernel
    looks at the comparisons of the others only. Source: Lucchese et al. 2015, QuickScorer. Raises ValueError for a tree
    with more than 32 leaves, or too many trees.
    """
    comparisons: list[tuple[int, float, int, int]] = []  # feature, cut, tree, mask
    first: list[int] = []
    size: list[int] = []
    leaves = 0

    def leaves_below(node: int, tree: int) -> tuple[int, int]:
        nonlocal leaves
        if node < 0:
            assert ~node == leaves, "leaves are numbered from the left"
            leaves += 1
            return ~node, ~node + 1
        left, right = model.forest_child[node].tolist()
        start, middle = leaves_below(left, tree)
        end = leaves_below(right, tree)[1]
        excluded = ((1 << (middle - start)) - 1) << (start - first[tree])
        comparisons.append(
            (int(model.forest_feature[node]), float(model.forest_threshold[node]), tree, 0xFFFFFFFF & ~excluded)
        )
        return start, end

    if model.forest_roots.size > MAX_TREES:
        raise ValueError(f"{model.forest_roots.size} trees, expected at most {MAX_TREES}")
    for tree, root in enumerate(model.forest_roots.tolist()):
        first.append(leaves)
        leaves_below(root, tree)
        size.append(leaves - first[tree])
        if size[tree] > 32:
            raise ValueError(f"tree {tree} has {size[tree]} leaves, expected at most 32")
    start = [(1 << count) - 1 for count in size]
    counted = []
    for feature, cut, tree, mask in sorted(comparisons):
        if feature < model.forest_counts and cut < 0:
            start[tree] &= mask  # zero goes right as well
        else:
            counted.append((feature, cut, tree, mask))
    features = np.array([feature for feature, *_ in counted], np.int64)
    return model._replace(
        forest_ends=np.searchsorted(features, np.arange(int(model.forest_counts) + INPUTS + 2)).astype(np.int32),
        forest_cut=np.array([cut for _, cut, _, _ in counted], np.float32),
        forest_tree=np.array([tree for _, _, tree, _ in counted], np.uint16),
        forest_mask=np.array([mask for *_, mask in counted], np.uint32),
        forest_start=np.array(start, np.uint32),
        forest_first=np.array(first, np.int32),
    )
