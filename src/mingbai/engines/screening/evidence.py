"""Evidence: the letters of a message that made its score, as spans of the original text.

The score is differentiable where the message stands: a gram's share of the logit is its lanes times the gradient of the
logit by the lane sums. Each gram spreads its share evenly over the letters it covers; letters are then taken, heaviest
first, until what they carry makes up the distance to the threshold. So the evidence is what the verdict hangs on, no
more: taking it out takes the message below the threshold (docs/reference/model-card.md gives how often), and no message
has more than `MOST` of its letters named.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from mingbai.engines.screening.jit import Number, float32, inline, int64, outline, uint32, uint64
from mingbai.engines.screening.model import HIDDEN, LANE_BIAS, LANES, LanguageModel
from mingbai.engines.screening.reading import Tables
from mingbai.engines.screening.scoring import F32, I32, Scratch, read_grams

MOST: Final = 0.28  # share of the letters that may be named; the promise is 0.30 of the characters
STEPS: Final = 32  # resolution of "heaviest first"
OVERLAP: Final = 1.0  # removing a letter also removes its neighbours' shares of the same grams


@inline
def logit_at(x: F32, y: F32, score: Number) -> Number:
    """The logit whose score is `score`: the inverse of `scoring.calibrate`."""
    last = x.shape[0] - 1
    for k in range(1, last + 1):
        if y[k] >= score:
            rise = y[k] - y[k - 1]
            return x[k - 1] + (x[k] - x[k - 1]) * (score - y[k - 1]) / rise if rise > 0 else x[k]
    return x[last]


@outline
def weigh(
    r: Number,
    model: LanguageModel,
    n: Number,
    m: Number,
    d: Number,
    g: Number,
    hanzi: Number,
    latin: Number,
    blocked: bool,
    tables: Tables,
    s: Scratch,
    spans: I32,
    used: Number,
) -> Number:
    """Append the spans of row r to `spans` (row, start, end in characters) from index `used`; returns the new `used`.

    s holds the message as `scoring.score` left it.
    """
    if n == 0:
        return used
    read_grams(n, m, d, hanzi, latin, tables, True, s)
    shrink = float32(1.0) / np.sqrt(float32(s.lanes[LANES] + 1))
    gradient = s.features  # free here: the forest has spoken
    for lane in range(LANES):
        slope = model.skip[0] if lane == 0 else float32(0.0)
        for j in range(HIDDEN):
            if s.hidden[j] > float32(0.0):
                slope += model.hidden_weights[lane, j] * model.output_weights[j, 0]
        gradient[lane] = slope * model.lane_scale[lane] * shrink
    weight = s.weights
    for j in range(uint64(n + 1)):
        weight[j] = float32(0.0)
    shift = uint64(model.shift)
    tag_shift = shift - uint64(8)
    for k in range(uint64(g)):
        h = s.grams[k]
        e = model.table[h >> shift]
        if (e >> uint64(56)) != ((h >> tag_shift) & uint64(0xFF)):
            continue
        share = float32(0.0)
        for lane in range(LANES):
            share += float32(int64((e >> uint64(8 * lane)) & uint64(0xFF)) - LANE_BIAS) * gradient[lane]
        start = s.owner[k] >> uint32(16)
        end = s.owner[k] & uint32(0xFFFF)
        share /= float32(max(end - start, uint32(1)))
        weight[start] += share
        weight[end] -= share
    # weight holds differences; make it the weight of each letter, smoothed over its neighbours: words stay whole.
    running = float32(0.0)
    for j in range(uint64(n)):
        running += weight[j]
        weight[j] = running
    heaviest = float32(0.0)
    before = float32(0.0)
    for j in range(uint64(n)):
        here = weight[j]
        after = weight[j + uint64(1)] if j + uint64(1) < uint64(n) else float32(0.0)
        smooth = float32(0.25) * (before + after) + float32(0.5) * here
        before = here
        weight[j] = smooth
        heaviest = max(heaviest, smooth)
    if heaviest <= float32(0.0):
        return used
    target = logit_at(model.calibration_logit, model.calibration_score, model.block_at if blocked else model.flag_at)
    if model.doubt_low < model.doubt_high:
        target = min(target, model.doubt_low)
    need = float32(s.logits[0] - target) + float32(0.3)
    totals = s.features[64 : 64 + STEPS]
    counts = s.features[128 : 128 + STEPS]
    for q in range(STEPS):
        totals[q] = float32(0.0)
        counts[q] = float32(0.0)
    scale = float32(STEPS) / heaviest
    for j in range(uint64(n)):
        w = weight[j]
        if w > float32(0.0):
            q = min(int64(w * scale), STEPS - 1)
            totals[q] += w
            counts[q] += float32(1.0)
    most = float32(MOST) * float32(n)
    taken = float32(0.0)
    named = float32(0.0)
    cut = STEPS
    while cut > 1 and (named == float32(0.0) or (taken * float32(OVERLAP) < need and named + counts[cut - 1] <= most)):
        cut -= 1
        taken += totals[cut]
        named += counts[cut]
    floor = float32(cut) / scale
    j = 0
    while j < n:
        if weight[j] >= floor:
            e = j + 1
            while e < n and weight[e] >= floor:
                e += 1
            if used < spans.shape[0]:
                spans[used, 0] = r
                spans[used, 1] = s.pos[j]
                spans[used, 2] = s.pos[e - 1] + uint32(1)
            used += 1
            j = e
        else:
            j += 1
    return used
