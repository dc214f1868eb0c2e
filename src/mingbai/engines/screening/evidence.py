"""Evidence: the letters of a message that made its score, as spans of the original text.

A gram's share of the logit is its lanes times the gradient of the logit by the lane sums, averaged over the way from a
message without grams to this one (integrated gradients, Sundararajan et al. 2017; exact here, the head being piecewise
linear): where the head has saturated, the gradient at the message itself would say nothing. Each gram spreads its share
evenly over the letters it covers; letters are then taken, heaviest first, until what they carry makes up the distance
to the threshold. So the evidence is what the verdict hangs on, no more: taking it out takes the message below the
threshold (`python -m benchmarks evidence` measures how often). No message has more than `MOST` of its letters named.
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
STEPS: Final = 64  # resolution of "heaviest first"
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


@inline
def share_of_way(base: Number, rise: Number) -> Number:
    """For how much of the way from base to base + rise a hidden unit (ReLU) is on, 0..1."""
    end = base + rise
    if base > float32(0.0):
        return float32(1.0) if end > float32(0.0) else base / (base - end)
    return end / (end - base) if end > float32(0.0) else float32(0.0)


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
    w = model.hidden_weights
    v = model.output_weights
    x = s.inputs
    x0, x1, x2, x3, x4, x5, x6 = x[0], x[1], x[2], x[3], x[4], x[5], x[6]
    x7, x8, x9, x10, x11, x12 = x[7], x[8], x[9], x[10], x[11], x[12]
    zero = float32(0.0)
    s0, s1, s2, s3, s4, s5, s6 = model.skip[0], zero, zero, zero, zero, zero, zero
    for j in range(HIDDEN):
        base = model.hidden_bias[j]
        base += x7 * w[7, j] + x8 * w[8, j] + x9 * w[9, j] + x10 * w[10, j] + x11 * w[11, j] + x12 * w[12, j]
        rise = x0 * w[0, j] + x1 * w[1, j] + x2 * w[2, j] + x3 * w[3, j] + x4 * w[4, j] + x5 * w[5, j] + x6 * w[6, j]
        u = share_of_way(base, rise) * v[j, 0]
        s0 += u * w[0, j]
        s1 += u * w[1, j]
        s2 += u * w[2, j]
        s3 += u * w[3, j]
        s4 += u * w[4, j]
        s5 += u * w[5, j]
        s6 += u * w[6, j]
    scale = float32(1.0) / np.sqrt(float32(s.lanes[LANES] + 1)) * float32(ONE)
    k = model.lane_scale
    g0, g1, g2, g3 = (
        int64(s0 * k[0] * scale),
        int64(s1 * k[1] * scale),
        int64(s2 * k[2] * scale),
        int64(s3 * k[3] * scale),
    )
    g4, g5, g6 = int64(s4 * k[4] * scale), int64(s5 * k[5] * scale), int64(s6 * k[6] * scale)
    bias = (g0 + g1 + g2 + g3 + g4 + g5 + g6) * LANE_BIAS
    table = model.table
    shift = uint64(model.shift)
    weight = s.weights
    for j in range(uint64(n + 1)):
        weight[j] = int64(0)
    buf = s.buf
    if is_chinese(hanzi, latin):
        spelled = may_spell(buf, n)
        ns = sound_out(buf, n, tables.sounds, tables.pinyin, s.snd, s.origin) if spelled else n
        pair = uint64(0)
        run = uint64(0)
        for j in range(uint64(n)):
            c = uint64(buf[j])
            c = uint64(48) if c - uint64(48) < uint64(10) else c
            pair = ((pair << uint64(16)) | c) & uint64(0xFFFFFFFF)
            run = (run + uint64(1)) * uint64(c == uint64(120))
            weight[j] += share_of(gram_of_letter(c, run), table, shift, g0, g1, g2, g3, g4, g5, g6, bias)
            share = share_of(gram_of_pair(pair), table, shift, g0, g1, g2, g3, g4, g5, g6, bias) >> 1
            weight[j - uint64(j > uint64(0))] += share
            weight[j] += share
        y = uint64(0)
        for j in range(uint64(ns)):
            sound = s.snd[j] if spelled else tables.sounds[buf[j]]
            y = ((y << uint64(16)) | uint64(sound)) & uint64(0xFFFFFFFFFFFF)
            share = share_of(gram_of_sounds(y), table, shift, g0, g1, g2, g3, g4, g5, g6, bias) // 3
            for back in range(uint64(3)):
                i = j - min(back, j)
                weight[s.origin[i] if spelled else i] += share
        g = mark_grams(buf, n, s.marks, m, s.grams, s.owner, True, 0)
    else:
        g = latin_grams(buf, n, s.marks, m, False, s.origin, s.grams, s.owner, True, s.mins)
    g = number_grams(buf, n, s.digits, d, s.grams, s.owner, True, g)
    for i in range(uint64(g)):
        share = share_of(s.grams[i], table, shift, g0, g1, g2, g3, g4, g5, g6, bias)
        if share != 0:
            start = s.owner[i] >> uint32(16)
            end = s.owner[i] & uint32(0xFFFF)
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
    down = int64(0)  # a power of two: dividing by anything else costs more than all the rest
    while (heaviest >> down) >= STEPS:
        down += 1
    for j in range(uint64(n)):
        if weight[j] > 0:
            q = weight[j] >> down
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
    floor = max(cut << down, 1)
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
