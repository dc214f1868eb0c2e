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
MAX_FOREST_FEATURES: Final = 1 << 15  # as many as `forest_feature` can number
SHAPE_SOUNDS: Final = 0  # places in `Scratch.shape`: how many sounds,
SHAPE_SPELLED: Final = 1  # and whether some of them came from pinyin

MAX_TREES: Final = 1 << 12
LOWEST_BIT: Final = np.zeros(37, np.int64)
for _place in range(32):
    LOWEST_BIT[(1 << _place) % 37] = _place


class Scratch(NamedTuple):
    """Working memory of one thread."""

    # The message, as reading leaves it.
    buf: U16
    words: U64  # the memory of buf, four letters a word
    pos: U32
    marks: U32
    digits: U16
    snd: U16
    origin: U16
    grams: U64
    owner: U32
    windows: U64
    mins: U32
    shape: I64  # of the last `read_grams`, by SHAPE_SOUNDS and SHAPE_SPELLED
    # What the model makes of it.
    inputs: F32
    shrink: F32  # [1], of the last `run_head`
    hidden: F32
    logits: F32
    lanes: I64  # seven sums, then the number of matched grams
    features: F32  # of the forest; zero between messages
    touched: U16  # features that are not zero
    alive: U32  # leaves of each tree that may still be the one
    hits: I32
    # Evidence. The message before anything was taken out of it:
    whole: U16
    whole_marks: U32
    # its letters as a list (number j is letter j - 1), with the slots and shares of the grams that end at each:
    prev: U16
    next: U16
    code: U64
    sound: U64
    single: U64
    double: U64
    triple: U64
    tail: U64  # slots of the other grams
    reach: U32  # and the letters they cover, first << 16 | end
    pull: U64
    share_single: I32
    share_double: I32
    share_triple: I32
    share_tail: I32
    tails: I32  # of each unit, the shares of the other grams
    first: U16  # letter of each unit
    unit: U16  # of each letter
    keys: I32  # of each unit
    gone: U8  # letters named


def new_scratch() -> Scratch:
    """Working memory for one thread; the kernel allocates none."""
    letters, grams, marks = MAX_LETTERS + 8, MAX_GRAMS + 64, MAX_MARKS + 8
    words = np.zeros(letters // 4, np.uint64)
    return Scratch(
        buf=words.view(np.uint16),
        words=words,
        pos=np.zeros(letters, np.uint32),
        marks=np.zeros(marks, np.uint32),
        digits=np.zeros(letters, np.uint16),
        snd=np.zeros(letters, np.uint16),
        origin=np.zeros(letters, np.uint16),
        grams=np.zeros(grams, np.uint64),
        owner=np.zeros(grams, np.uint32),
        windows=np.zeros(letters, np.uint64),
        mins=np.zeros(16, np.uint32),
        shape=np.zeros(2, np.int64),
        inputs=np.zeros(INPUTS, np.float32),
        shrink=np.zeros(1, np.float32),
        hidden=np.zeros(HIDDEN, np.float32),
        logits=np.zeros(OUTPUTS, np.float32),
        lanes=np.zeros(8, np.int64),
        features=np.zeros(MAX_FOREST_FEATURES, np.float32),
        touched=np.zeros(MAX_FOREST_FEATURES, np.uint16),
        alive=np.zeros(MAX_TREES, np.uint32),
        hits=np.zeros((STORED_HITS, 3), np.int32),
        whole=np.zeros(letters, np.uint16),
        whole_marks=np.zeros(marks, np.uint32),
        prev=np.zeros(letters, np.uint16),
        next=np.zeros(letters, np.uint16),
        code=np.zeros(letters, np.uint64),
        sound=np.zeros(letters, np.uint64),
        single=np.zeros(letters, np.uint64),
        double=np.zeros(letters, np.uint64),
        triple=np.zeros(letters, np.uint64),
        tail=np.zeros(grams, np.uint64),
        reach=np.zeros(grams, np.uint32),
        pull=np.zeros(5, np.uint64),
        share_single=np.zeros(letters, np.int32),
        share_double=np.zeros(letters, np.int32),
        share_triple=np.zeros(letters, np.int32),
        share_tail=np.zeros(grams, np.int32),
        tails=np.zeros(letters, np.int32),
        first=np.zeros(letters, np.uint16),
        unit=np.zeros(letters, np.uint16),
        keys=np.zeros(letters, np.int32),
        gone=np.zeros(letters, np.uint8),
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
    s.shrink[0] = shrink
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


@inline
def count_points(
    data: U8, start: Number, stop: Number, points: U16, features: F32, touched: U16, used: Number
) -> Number:
    """Add the code points of data[start:stop], valid UTF-8, to the features that `points` gives them.

    Features that were zero are listed in `touched` from index `used`; returns the new `used`.
    """
    i = uint64(start)
    end = uint64(stop)
    low = uint32(0x3F)
    while i < end:
        c = uint32(data[i])
        if c < uint32(0x80):
            i += uint64(1)
        elif c < uint32(0xE0):
            if i + uint64(1) >= end:
                break
            c = ((c & uint32(0x1F)) << uint32(6)) | (uint32(data[i + uint64(1)]) & low)
            i += uint64(2)
        elif c < uint32(0xF0):
            if i + uint64(2) >= end:
                break
            c = (
                ((c & uint32(0x0F)) << uint32(12))
                | ((uint32(data[i + uint64(1)]) & low) << uint32(6))
                | (uint32(data[i + uint64(2)]) & low)
            )
            i += uint64(3)
        else:  # beyond the BMP
            i += uint64(4)
            continue
        if c < uint32(points.shape[0]):
            feature = points[c]
            if uint32(feature) != uint32(NO_FEATURE):
                if features[feature] == float32(0.0):
                    touched[used] = feature
                    used += 1
                features[feature] += float32(1.0)
    return used


@inline
def exclude(model: LanguageModel, feature: Number, value: Number, alive: U32) -> None:
    """Take from each tree the leaves that a feature of this value does not lead to."""
    for k in range(uint64(model.forest_ends[feature]), uint64(model.forest_ends[feature + 1])):
        if value <= model.forest_cut[k]:
            break
        alive[model.forest_tree[k]] &= model.forest_mask[k]


@inline
def lowest_bit(v: Number) -> Number:
    """Place of the lowest bit set in a uint32 that is not 0: of 32 powers of two no two agree modulo 37."""
    return LOWEST_BIT[(v & (uint32(0) - v)) % uint32(37)]


@outline
def second_look(model: LanguageModel, data: U8, start: Number, stop: Number, g: Number, s: Scratch) -> Number:
    """The forest's logit of the doubtful message data[start:stop]. s.features is zero before and after.

    The definition walks each tree from its root (`model.forest_child`). Here the leaf that it would come to is what is
    left when every comparison that goes right has excluded the leaves on its left, and that leaf's left neighbours
    (`forest.with_masks`).
    """
    base = model.forest_counts
    features = s.features
    alive = s.alive
    shift = model.forest_shift
    trees = uint64(model.forest_start.shape[0])
    for t in range(trees):
        alive[t] = model.forest_start[t]
    used = int64(0)
    for k in range(uint64(g)):
        h = s.grams[k]
        key = model.forest_keys[h >> shift]
        feature = key & uint32(0xFFFF)
        if (key >> uint32(16)) == uint32((h >> uint64(24)) & uint64(0xFFFF)) and feature != uint32(NO_FEATURE):
            if features[feature] == float32(0.0):
                s.touched[used] = feature
                used += 1
            features[feature] += float32(1.0)
    used = count_points(data, start, stop, model.forest_points, features, s.touched, used)
    for k in range(uint64(used)):
        feature = s.touched[k]
        exclude(model, feature, features[feature], alive)
        features[feature] = float32(0.0)
    for i in range(INPUTS):
        exclude(model, uint64(base) + uint64(i), s.inputs[i], alive)
    exclude(model, uint64(base) + uint64(INPUTS), s.logits[0], alive)
    total = model.forest_bias
    for t in range(trees):
        total = float32(total + model.forest_leaf[model.forest_first[t] + lowest_bit(alive[t])])
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
        s.shape[SHAPE_SOUNDS] = ns
        s.shape[SHAPE_SPELLED] = int64(spelled)
        g = mark_grams(s.buf, n, s.marks, m, s.grams, s.owner, g)
    else:
        g = latin_grams(s.buf, n, s.marks, m, links, s.origin, s.windows, s.grams, s.owner, s.mins)
    return number_grams(s.buf, n, s.digits, d, s.grams, s.owner, g)


@inline
def score(
    model: LanguageModel,
    data: U8,
    start: Number,
    stop: Number,
    n: Number,
    m: Number,
    g: Number,
    hanzi: Number,
    latin: Number,
    s: Scratch,
) -> tuple[float, float, int, bool]:
    """(score, logit, category, the forest decided) of the message data[start:stop], whose grams lie in s."""
    matched = sum_lanes(s.grams, g, model.table, model.shift, s.lanes)
    s.lanes[LANES] = matched
    run_head(model, s.lanes, matched, g, n, m, hanzi, latin, s)
    logit = s.logits[0]
    second = model.doubt_low < logit and logit < model.doubt_high
    if second:
        logit = min(max(second_look(model, data, start, stop, g, s), model.doubt_low), model.doubt_high)
    category = 0
    for c in range(1, OUTPUTS - 1):
        if s.logits[1 + c] > s.logits[1 + category]:
            category = c
    return calibrate(model, logit), logit, category, second
