"""Scoring one message in compiled code, on the arrays of `model`. `Model.reference_score` is its definition.

The order of every float32 operation is the reference's and there is no fast-math, so both agree bit for bit.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mingbai.engines.screening.grams import (
    MAX_GRAMS,
    chinese_grams,
    latin_grams,
    mark_grams,
    may_spell,
    number_grams,
    sound_out,
)
from mingbai.engines.screening.jit import Number, float32, inline, int64, outline, uint32, uint64
from mingbai.engines.screening.model import HIDDEN, INPUTS, LANE_BIAS, LANES, NO_FEATURE, OUTPUTS, LanguageModel
from mingbai.engines.screening.reading import MAX_LETTERS, MAX_MARKS, U8, U16, U32, U64, Tables, is_chinese

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

STORED_HITS: Final = 32 * MAX_LETTERS  # as many keyword hits as a message can have: 32 lengths from each letter
MAX_FOREST_FEATURES: Final = 8192


class Scratch(NamedTuple):
    """Working memory of one thread."""

    buf: U16
    pos: U32
    marks: U32
    digits: U16
    snd: U16
    origin: U16
    grams: U64
    owner: U32
    mins: U32
    inputs: F32
    hidden: F32
    logits: F32
    lanes: I64
    features: F32
    hits: I32
    weights: I64  # of letters, fixed point
    gone: U8  # letters taken as evidence


def new_scratch() -> Scratch:
    """Working memory for one thread; the kernel allocates none."""
    return Scratch(
        np.empty(MAX_LETTERS + 8, np.uint16),
        np.empty(MAX_LETTERS + 8, np.uint32),
        np.empty(MAX_MARKS + 8, np.uint32),
        np.empty(MAX_LETTERS + 8, np.uint16),
        np.empty(MAX_LETTERS + 8, np.uint16),
        np.empty(MAX_LETTERS + 8, np.uint16),
        np.empty(MAX_GRAMS + 64, np.uint64),
        np.empty(MAX_GRAMS + 64, np.uint32),
        np.empty(16, np.uint32),
        np.empty(INPUTS, np.float32),
        np.empty(HIDDEN, np.float32),
        np.empty(OUTPUTS, np.float32),
        np.empty(8, np.int64),
        np.zeros(MAX_FOREST_FEATURES, np.float32),
        np.empty((STORED_HITS, 3), np.int32),
        np.empty(MAX_LETTERS + 8, np.int64),
        np.empty(MAX_LETTERS + 8, np.uint8),
    )


@inline
def sum_lanes(grams: U64, g: Number, table: U64, shift: Number, lanes: I64) -> Number:
    """Lane sums over g grams into lanes[0..6] (bias taken off); returns the number of matched grams.

    Four 16-bit sums share a uint64, so they are unloaded every 256 grams. Nothing is stored on the way: a store a gram
    costs more than the look-up (the arrays' addresses agree in their low 12 bits), and few messages are weighed again.
    """
    low = uint64(0x00FF00FF00FF00FF)
    for lane in range(8):
        lanes[lane] = 0
    matched = uint64(0)
    tag_shift = uint64(shift) - uint64(8)
    k = uint64(0)
    end = uint64(g)
    while k < end:
        stop = min(end, k + uint64(256))
        even = uint64(0)
        odd = uint64(0)
        while k < stop:
            h = grams[k]
            e = table[h >> uint64(shift)]
            hit = uint64((e >> uint64(56)) == ((h >> tag_shift) & uint64(0xFF)))
            e &= uint64(0) - hit
            even += e & low
            odd += (e >> uint64(8)) & low
            matched += hit
            k += uint64(1)
        for lane in range(4):
            lanes[2 * lane] += int64((even >> uint64(16 * lane)) & uint64(0xFFFF))
            lanes[2 * lane + 1] += int64((odd >> uint64(16 * lane)) & uint64(0xFFFF))
    for lane in range(LANES):
        lanes[lane] -= int64(matched) * LANE_BIAS
    return int64(matched)


@inline
def run_head(
    model: LanguageModel,
    lanes: I64,
    matched: Number,
    g: Number,
    n: Number,
    m: Number,
    hanzi: Number,
    latin: Number,
    s: Scratch,
) -> None:
    """Lane sums and proportions -> s.inputs, s.logits. The order of every float32 operation is the reference's."""
    one = float32(1.0)
    shrink = one / np.sqrt(float32(matched + 1))
    inputs = s.inputs
    for lane in range(LANES):
        inputs[lane] = float32(lanes[lane]) * model.lane_scale[lane] * shrink
    letters = float32(n)
    inputs[LANES] = np.sqrt(float32(min(n, 1024))) / float32(32.0)
    inputs[LANES + 1] = float32(m) / (letters + one)
    inputs[LANES + 2] = float32(hanzi) / (letters + one)
    inputs[LANES + 3] = float32(latin) / (letters + one)
    inputs[LANES + 4] = float32(matched) / float32(g + 1)
    inputs[LANES + 5] = one / np.sqrt(letters + one)
    # Written out: with the inputs in registers the loop over hidden units becomes vector code (eight times faster).
    x0, x1, x2, x3, x4, x5, x6 = inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], inputs[5], inputs[6]
    x7, x8, x9, x10, x11, x12 = inputs[7], inputs[8], inputs[9], inputs[10], inputs[11], inputs[12]
    w = model.hidden_weights
    bias = model.hidden_bias
    hidden = s.hidden
    for j in range(HIDDEN):
        h = bias[j]
        h += x0 * w[0, j]
        h += x1 * w[1, j]
        h += x2 * w[2, j]
        h += x3 * w[3, j]
        h += x4 * w[4, j]
        h += x5 * w[5, j]
        h += x6 * w[6, j]
        h += x7 * w[7, j]
        h += x8 * w[8, j]
        h += x9 * w[9, j]
        h += x10 * w[10, j]
        h += x11 * w[11, j]
        h += x12 * w[12, j]
        hidden[j] = max(h, float32(0.0))
    v = model.output_weights
    c = model.output_bias
    k = model.skip
    l0, l1, l2 = c[0] + k[0] * x0, c[1] + k[1] * x0, c[2] + k[2] * x0
    l3, l4, l5 = c[3] + k[3] * x0, c[4] + k[4] * x0, c[5] + k[5] * x0
    for j in range(HIDDEN):
        h = hidden[j]
        l0 += h * v[j, 0]
        l1 += h * v[j, 1]
        l2 += h * v[j, 2]
        l3 += h * v[j, 3]
        l4 += h * v[j, 4]
        l5 += h * v[j, 5]
    logits = s.logits
    logits[0], logits[1], logits[2], logits[3], logits[4], logits[5] = l0, l1, l2, l3, l4, l5


@outline
def second_look(model: LanguageModel, g: Number, s: Scratch) -> Number:
    """The forest's logit of a doubtful message."""
    base = model.forest_grams
    features = s.features
    for k in range(base):
        features[k] = float32(0.0)
    shift = model.forest_shift
    for k in range(uint64(g)):
        h = s.grams[k]
        key = model.forest_keys[h >> shift]
        if (key >> uint32(16)) == uint32((h >> uint64(24)) & uint64(0xFFFF)) and (key & uint32(0xFFFF)) != uint32(
            NO_FEATURE
        ):
            features[key & uint32(0xFFFF)] += float32(1.0)
    for i in range(INPUTS):
        features[base + i] = s.inputs[i]
    features[base + INPUTS] = s.logits[0]
    total = model.forest_bias
    for tree in range(model.forest_roots.shape[0]):
        node = int64(model.forest_roots[tree])
        while node >= 0:
            right = int64(features[model.forest_feature[node]] > model.forest_threshold[node])
            node = int64(model.forest_child[node, right])
        total = float32(total + model.forest_leaf[~node])
    return float32(total)


@inline
def calibrate(model: LanguageModel, logit: Number) -> Number:
    """`model.calibrated`, by bisection."""
    x = model.calibration_logit
    y = model.calibration_score
    if logit <= x[0]:
        return y[0]
    last = x.shape[0] - 1
    if logit > x[last]:
        return y[last]
    below = 0
    above = last
    while above - below > 1:
        middle = (below + above) >> 1
        if logit <= x[middle]:
            above = middle
        else:
            below = middle
    slope = float32((y[above] - y[below]) / (x[above] - x[below]))
    return float32(y[below] + float32(float32(logit - x[below]) * slope))


@inline
def read_grams(
    n: Number, m: Number, d: Number, hanzi: Number, latin: Number, links: bool, tables: Tables, s: Scratch
) -> Number:
    """Step 3 of reading: fills s.grams and s.mins. Returns the number of grams. links: there may be a link."""
    for b in range(16):
        s.mins[b] = uint32(0xFFFFFFFF)
    if is_chinese(hanzi, latin):
        spelled = may_spell(s.buf, n)
        ns = sound_out(s.buf, n, tables.sounds, tables.pinyin, s.snd, s.origin) if spelled else n
        g = chinese_grams(s.buf, n, tables.sounds, spelled, s.snd, ns, s.grams, s.mins)
        g = mark_grams(s.buf, n, s.marks, m, s.grams, s.owner, False, g)
    else:
        g = latin_grams(s.buf, n, s.marks, m, links, s.origin, s.grams, s.owner, False, s.mins)
    return number_grams(s.buf, n, s.digits, d, s.grams, s.owner, False, g)


@inline
def score(
    model: LanguageModel, n: Number, m: Number, g: Number, hanzi: Number, latin: Number, s: Scratch
) -> tuple[float, float, int, bool]:
    """(score, logit, category, the forest decided) of the message whose grams lie in s."""
    matched = sum_lanes(s.grams, g, model.table, model.shift, s.lanes)
    s.lanes[LANES] = matched
    run_head(model, s.lanes, matched, g, n, m, hanzi, latin, s)
    logit = s.logits[0]
    second = model.doubt_low < logit and logit < model.doubt_high
    if second:
        logit = min(max(second_look(model, g, s), model.doubt_low), model.doubt_high)
    category = 0
    for c in range(1, OUTPUTS - 1):
        if s.logits[1 + c] > s.logits[1 + category]:
            category = c
    return calibrate(model, logit), logit, category, second
