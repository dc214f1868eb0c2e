"""From a fitted network to the arrays of `model.LanguageModel`, and scoring rows of grams with them, compiled.

Which grams get a slot is settled before the fit (`choose`), so that what is fitted is what will be scored: of the grams
that enough clusters hold, the most telling come first, and one that finds its slot taken is left out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import uint64

from mingbai.engines.screening.fitting import Network
from mingbai.engines.screening.jit import kernel
from mingbai.engines.screening.model import (
    EMPTY_SLOT,
    INPUTS,
    LANE_BIAS,
    LANES,
    NO_FEATURE,
    OUTPUTS,
    LanguageModel,
)
from mingbai.engines.screening.scoring import count_points

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

MIN_CLUSTERS = 5  # near-duplicate clusters that a gram must occur in: no feature identifies one message


def tell(pointers: I64, grams: U64, clusters: I64, unwanted: F32) -> tuple[U64, npt.NDArray[np.float64]]:
    """Grams that `MIN_CLUSTERS` clusters or more hold (sorted), and the bits a message that it tells of `unwanted`."""
    known, number = np.unique(grams, return_inverse=True)
    order = np.argsort(clusters, kind="stable")
    spread, having, spam = _tally(pointers, number, clusters, unwanted, order, known.size)
    frequent = spread >= MIN_CLUSTERS
    having, spam = having.astype(np.float64), spam.astype(np.float64)
    n, total = float(unwanted.size), float(unwanted.sum())
    rest = np.maximum(n - having, 1.0)
    information = entropy(total / n) - having / n * entropy(spam / having) - rest / n * entropy((total - spam) / rest)
    return known[frequent], information[frequent]


@kernel
def _tally(
    pointers: I64, number: I64, clusters: I64, unwanted: F32, order: I64, size: int
) -> tuple[I64, I64, npt.NDArray[np.float64]]:
    """Per gram: clusters, rows and unwanted rows that hold it. order: of the rows, cluster by cluster."""
    spread = np.zeros(size, np.int64)
    having = np.zeros(size, np.int64)
    spam = np.zeros(size, np.float64)
    last_cluster = np.full(size, -1, np.int64)
    last_row = np.full(size, -1, np.int64)
    for r in order:
        for q in range(pointers[r], pointers[r + 1]):
            g = number[q]
            if last_row[g] != r:
                last_row[g] = r
                having[g] += 1
                spam[g] += unwanted[r]
                if last_cluster[g] != clusters[r]:
                    last_cluster[g] = clusters[r]
                    spread[g] += 1
    return spread, having, spam


def entropy(p: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
    """Bits of a coin that falls heads with probability p."""
    q = np.clip(p, 1e-12, 1 - 1e-12)
    return np.asarray(-(q * np.log2(q) + (1 - q) * np.log2(1 - q)))


def choose(grams: U64, information: npt.NDArray[np.float64], bits: int, limit: int) -> U64:
    """The grams (sorted) that get a slot of a table of 2**bits slots, at most `limit`."""
    order = np.argsort(-information, kind="stable")
    slots = grams[order] >> np.uint64(64 - bits)
    _, first = np.unique(slots, return_index=True)
    return np.sort(grams[order[np.sort(first)[:limit]]])


def encode(pointers: I64, grams: U64, chosen: U64) -> tuple[I64, I32]:
    """Rows of gram hashes -> rows of numbers 0..chosen.size-1; the grams without a number are left out."""
    at = np.searchsorted(chosen, grams)
    at[at == chosen.size] = 0
    known = chosen[at] == grams
    ends = np.concatenate([[0], np.cumsum(known)])[pointers]
    return ends.astype(np.int64), at[known].astype(np.int32)


def rounded(network: Network, chosen: U64, bits: int) -> LanguageModel:
    """Lanes rounded to 8 bits, in their table; forest, calibration and thresholds are still empty."""
    shift = np.uint64(64 - bits)
    # One step of a lane is 1/127 of its largest weight. Clipping the largest 0.05 % cost English 3 points of recall.
    reach = np.maximum(np.abs(network.lanes).max(axis=0), 1e-6)
    lane_scale = (reach / 127).astype(np.float32)
    whole = np.clip(np.rint(network.lanes / lane_scale), -127, 127).astype(np.int64) + LANE_BIAS
    slots = (chosen >> np.uint64(int(shift) - 8) & np.uint64(0xFF)) << np.uint64(56)
    for lane in range(LANES):
        slots |= whole[:, lane].astype(np.uint64) << np.uint64(8 * lane)
    table = np.full(1 << bits, EMPTY_SLOT, np.uint64)
    table[chosen >> shift] = slots
    return LanguageModel(
        table=table,
        shift=shift,
        lane_scale=lane_scale,
        hidden_weights=network.hidden_weights,
        hidden_bias=network.hidden_bias,
        output_weights=network.output_weights,
        output_bias=network.output_bias,
        skip=network.skip,
        doubt_low=np.float32(0),
        doubt_high=np.float32(0),
        forest_keys=np.full(2, NO_FEATURE, np.uint32),
        forest_shift=np.uint64(63),
        forest_points=np.empty(0, np.uint16),
        forest_counts=np.int64(0),
        forest_bias=np.float32(0),
        forest_roots=np.empty(0, np.int32),
        forest_feature=np.empty(0, np.int16),
        forest_threshold=np.empty(0, np.float32),
        forest_child=np.empty((0, 2), np.int32),
        forest_leaf=np.empty(0, np.float32),
        forest_ends=np.zeros(1, np.int32),
        forest_cut=np.empty(0, np.float32),
        forest_tree=np.empty(0, np.uint16),
        forest_mask=np.empty(0, np.uint32),
        forest_start=np.empty(0, np.uint32),
        forest_first=np.empty(0, np.int32),
        calibration_logit=np.array([-1, 1], np.float32),
        calibration_score=np.array([0, 1], np.float32),
        flag_at=np.float32(1),
        block_at=np.float32(1),
    )


@kernel
def first_look(pointers: I64, grams: U64, counts: I32, model: LanguageModel) -> tuple[F32, F32]:
    """Logits float32[n, 6] and head inputs float32[n, 13] of rows of grams, exactly as `Model.reference_score`."""
    rows = pointers.size - 1
    logits = np.empty((rows, OUTPUTS), np.float32)
    inputs = np.empty((rows, INPUTS), np.float32)
    hidden = model.hidden_bias.size
    one = np.float32(1.0)
    h = np.empty(hidden, np.float32)
    sums = np.empty(LANES, np.int64)
    for r in range(rows):
        sums[:] = 0
        matched = 0
        for q in range(pointers[r], pointers[r + 1]):
            gram = grams[q]
            slot = model.table[gram >> model.shift]
            if (slot >> uint64(56)) == ((gram >> (model.shift - uint64(8))) & uint64(0xFF)):
                matched += 1
                for lane in range(LANES):
                    sums[lane] += np.int64((slot >> uint64(8 * lane)) & uint64(0xFF)) - LANE_BIAS
        x = inputs[r]
        shrink = one / np.sqrt(np.float32(matched + 1))
        for lane in range(LANES):
            x[lane] = np.float32(sums[lane]) * model.lane_scale[lane] * shrink
        n = np.float32(counts[r, 1])
        size = pointers[r + 1] - pointers[r]
        x[LANES] = np.sqrt(np.float32(min(counts[r, 1], 1024))) / np.float32(32.0)
        x[LANES + 1] = np.float32(counts[r, 2]) / (n + one)
        x[LANES + 2] = np.float32(counts[r, 4]) / (n + one)
        x[LANES + 3] = np.float32(counts[r, 5]) / (n + one)
        x[LANES + 4] = np.float32(matched) / np.float32(size + 1)
        x[LANES + 5] = one / np.sqrt(n + one)
        for j in range(hidden):
            h[j] = model.hidden_bias[j]
        for i in range(INPUTS):
            for j in range(hidden):
                h[j] += x[i] * model.hidden_weights[i, j]
        for o in range(OUTPUTS):
            logits[r, o] = model.output_bias[o] + model.skip[o] * x[0]
        for j in range(hidden):
            for o in range(OUTPUTS):
                logits[r, o] += max(h[j], np.float32(0.0)) * model.output_weights[j, o]
    return logits, inputs


@kernel
def count_grams(start: int, stop: int, grams: U64, keys: U32, shift: np.uint64, features: F32) -> None:
    """Add the counts of one row's grams to `features`."""
    for q in range(start, stop):
        key = keys[grams[q] >> uint64(shift)]
        if (key & np.uint32(0xFFFF)) != np.uint32(NO_FEATURE) and uint64(key >> np.uint32(16)) == (
            (grams[q] >> uint64(24)) & uint64(0xFFFF)
        ):
            features[key & np.uint32(0xFFFF)] += np.float32(1.0)


@kernel
def second_look(
    pointers: I64, grams: U64, data: U8, starts: I32, stops: I32, logits: F32, inputs: F32, model: LanguageModel
) -> F32:
    """Final spam logits float32[n]: the forest's where the first is doubtful. Row r is data[starts[r]:stops[r]]."""
    rows = pointers.size - 1
    out = np.empty(rows, np.float32)
    count = model.forest_counts
    features = np.zeros(count + INPUTS + 1, np.float32)
    touched = np.empty(count + 1, np.uint16)
    for r in range(rows):
        logit = logits[r, 0]
        if logit > model.doubt_low and logit < model.doubt_high:
            features[:] = np.float32(0.0)
            count_grams(pointers[r], pointers[r + 1], grams, model.forest_keys, model.forest_shift, features)
            count_points(data, starts[r], stops[r], model.forest_points, features, touched, 0)
            for i in range(INPUTS):
                features[count + i] = inputs[r, i]
            features[count + INPUTS] = logit
            total = model.forest_bias
            for tree in range(model.forest_roots.size):
                node = model.forest_roots[tree]
                while node >= 0:
                    right = features[model.forest_feature[node]] > model.forest_threshold[node]
                    node = model.forest_child[node, int(right)]
                total += model.forest_leaf[~node]
            logit = min(max(total, model.doubt_low), model.doubt_high)
        out[r] = logit
    return out
