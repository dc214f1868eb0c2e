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
from mingbai.engines.screening.reading import (
    U64,
    Tables,
    gram_of_letter,
    gram_of_pair,
    gram_of_sounds,
    is_chinese,
    latin_grams,
    mark_grams,
    may_spell,
    number_grams,
    sound_out,
)
from mingbai.engines.screening.scoring import F32, I32, Scratch

MOST: Final = 0.28  # share of the letters that may be named; the promise is 0.30 of the characters
STEPS: Final = 32  # resolution of "heaviest first"
MARGIN: Final = 0.3  # logits to go below the threshold
ONE: Final = 1 << 20  # shares are fixed point: a logit of 1.0


@inline
def logit_at(x: F32, y: F32, score: Number) -> Number:
    """The logit whose score is `score`: the inverse of `scoring.calibrate`."""
    last = x.shape[0] - 1
    for k in range(1, last + 1):
        if y[k] >= score:
            rise = y[k] - y[k - 1]
            return x[k - 1] + (x[k] - x[k - 1]) * (score - y[k - 1]) / rise if rise > 0 else x[k]
    return x[last]


@inline
def share_of(
    h: Number,
    table: U64,
    shift: Number,
    g0: Number,
    g1: Number,
    g2: Number,
    g3: Number,
    g4: Number,
    g5: Number,
    g6: Number,
    bias: Number,
) -> Number:
    """A gram's share of the logit: its lanes times the gradient g0..g6 (fixed point); 0 if the model has it not."""
    e = table[h >> shift]
    if (e >> uint64(56)) != ((h >> (shift - uint64(8))) & uint64(0xFF)):
        return int64(0)
    low = uint64(0xFF)
    return (
        int64(e & low) * g0
        + int64((e >> uint64(8)) & low) * g1
        + int64((e >> uint64(16)) & low) * g2
        + int64((e >> uint64(24)) & low) * g3
        + int64((e >> uint64(32)) & low) * g4
        + int64((e >> uint64(40)) & low) * g5
        + int64((e >> uint64(48)) & low) * g6
        - bias
    )


@outline
def weigh(
    r: Number,
    model: LanguageModel,
    n: Number,
    m: Number,
    d: Number,
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
    gradient = s.slopes
    scale = float32(1.0) / np.sqrt(float32(s.lanes[LANES] + 1)) * float32(ONE)
    bias = int64(0)
    for lane in range(LANES):
        slope = model.skip[0] if lane == 0 else float32(0.0)
        for j in range(HIDDEN):
            if s.hidden[j] > float32(0.0):
                slope += model.hidden_weights[lane, j] * model.output_weights[j, 0]
        gradient[lane] = int64(slope * model.lane_scale[lane] * scale)
        bias += gradient[lane] * LANE_BIAS
    g0, g1, g2, g3 = gradient[0], gradient[1], gradient[2], gradient[3]
    g4, g5, g6 = gradient[4], gradient[5], gradient[6]
    table = model.table
    shift = uint64(model.shift)
    weight = s.weights
    for j in range(uint64(n + 1)):
        weight[j] = int64(0)
    buf = s.buf
    if is_chinese(hanzi, latin):
        spelled = may_spell(buf, n)
        ns = sound_out(buf, n, tables.sounds, tables.pinyin, s.snd, s.origin) if spelled else n
        x = uint64(0)
        run = uint64(0)
        for j in range(uint64(n)):
            c = uint64(buf[j])
            c = uint64(48) if c - uint64(48) < uint64(10) else c
            x = ((x << uint64(16)) | c) & uint64(0xFFFFFFFF)
            run = (run + uint64(1)) * uint64(c == uint64(120))
            weight[j] += share_of(gram_of_letter(c, run), table, shift, g0, g1, g2, g3, g4, g5, g6, bias)
            share = share_of(gram_of_pair(x), table, shift, g0, g1, g2, g3, g4, g5, g6, bias) >> 1
            weight[j - uint64(j > uint64(0))] += share
            weight[j] += share
        y = uint64(0)
        for j in range(uint64(ns)):
            sound = s.snd[j] if spelled else tables.sounds[buf[j]]
            y = ((y << uint64(16)) | uint64(sound)) & uint64(0xFFFFFFFFFFFF)
            share = share_of(gram_of_sounds(y), table, shift, g0, g1, g2, g3, g4, g5, g6, bias) // 3
            for back in range(uint64(3)):
                k = j - min(back, j)
                weight[s.origin[k] if spelled else k] += share
        g = mark_grams(buf, n, s.marks, m, s.grams, s.owner, True, 0)
    else:
        g = latin_grams(buf, n, s.marks, m, False, s.origin, s.grams, s.owner, True, s.mins)
    g = number_grams(buf, n, s.digits, d, s.grams, s.owner, True, g)
    for k in range(uint64(g)):
        share = share_of(s.grams[k], table, shift, g0, g1, g2, g3, g4, g5, g6, bias)
        if share != 0:
            start = s.owner[k] >> uint32(16)
            end = s.owner[k] & uint32(0xFFFF)
            share //= max(int64(end) - int64(start), 1)
            for j in range(start, end):
                weight[j] += share
    target = logit_at(model.calibration_logit, model.calibration_score, model.block_at if blocked else model.flag_at)
    if model.doubt_low < model.doubt_high:
        target = min(target, float32(model.doubt_low))
    need = int64((s.logits[0] - target + float32(MARGIN)) * float32(ONE))
    return take(r, n, need, s, spans, used)


@inline
def take(r: Number, n: Number, need: Number, s: Scratch, spans: I32, used: Number) -> Number:
    """Take letters, heaviest first, until they carry `need` or are too many; append their runs to `spans`."""
    weight = s.weights
    # Smoothed over the neighbours, so that words stay whole.
    heaviest = int64(0)
    before = int64(0)
    for j in range(uint64(n)):
        here = weight[j]
        after = weight[j + uint64(1)] if j + uint64(1) < uint64(n) else int64(0)
        smooth = (before + 2 * here + after) >> 2
        before = here
        weight[j] = smooth
        heaviest = max(heaviest, smooth)
    if heaviest <= 0:
        return used
    totals = s.totals
    counts = s.counts
    for q in range(STEPS):
        totals[q] = int64(0)
        counts[q] = int64(0)
    step = heaviest // STEPS + 1
    for j in range(uint64(n)):
        if weight[j] > 0:
            q = weight[j] // step
            totals[q] += weight[j]
            counts[q] += 1
    most = int64(MOST * n)
    taken = int64(0)
    named = int64(0)
    cut = int64(STEPS)
    while cut > 0 and (named == 0 or (taken < need and named + counts[cut - 1] <= most)):
        cut -= 1
        taken += totals[cut]
        named += counts[cut]
    floor = max(cut * step, 1)
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
