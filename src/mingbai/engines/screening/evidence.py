"""Evidence: the letters of a message that made its score, as spans of the original text.

Letters are taken in rounds until the message without them is below the threshold, or too many are named. In each round
a gram's share of the logit is its lanes times the gradient of the logit by the lane sums, averaged over the way from a
message without grams to this one (integrated gradients, Sundararajan et al. 2017; exact here, the head being piecewise
linear): where the head has saturated, the gradient at the message itself would say nothing. Each gram spreads its share
over the letters it covers, and the heaviest letters go, with every gram that touches one. The head then scores what is
left, so the rounds see the message come down. `python -m benchmarks evidence` measures how true the evidence is.
"""

from __future__ import annotations

from typing import Final

from mingbai.engines.screening.grams import (
    gram_of_letter,
    gram_of_pair,
    gram_of_sounds,
    latin_grams,
    mark_grams,
    may_spell,
    number_grams,
    sound_out,
)
from mingbai.engines.screening.jit import Number, float32, inline, int64, outline, uint32, uint64
from mingbai.engines.screening.model import HIDDEN, LANE_BIAS, LANES, LanguageModel
from mingbai.engines.screening.reading import U64, Tables, is_chinese
from mingbai.engines.screening.scoring import F32, I32, Scratch, run_head

MOST: Final = 0.28  # share of the letters that may be named; the promise is 0.30 of the characters
ROUND: Final = 0.05  # share of the letters that go in a round
SLACK: Final = 0.35  # and of the way down, for the same reason
MARGIN: Final = 0.3  # logits to go below the threshold: the cut leaves new neighbours behind
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

    s holds the message as `scoring.score` left it; its sums, inputs and logits are used up.
    """
    if n == 0:
        return used
    g = own_grams(n, m, d, hanzi, latin, tables, s)
    known = keep_matched(model.table, uint64(model.shift), g, s)
    target = logit_at(model.calibration_logit, model.calibration_score, model.block_at if blocked else model.flag_at)
    target -= float32(MARGIN) + float32(SLACK) * max(s.logits[0] - target, float32(0.0))
    gone = s.gone
    for j in range(uint64(n)):
        gone[j] = 0
    most = max(int64(MOST * n), 1)
    step = max(int64(ROUND * n), 1)
    named = int64(0)
    while s.logits[0] >= target and named < most:
        weigh_letters(model, n, known, s)
        fresh = take(n, min(step, most - named), s)
        if fresh == 0:
            break
        named += fresh
        matched = drop_grams(known, s)
        left = float32(n - named) / float32(n)
        run_head(
            model,
            s.lanes,
            matched,
            int64(float32(g) * left),
            n - named,
            int64(float32(m) * left),
            int64(float32(hanzi) * left),
            int64(float32(latin) * left),
            s,
        )
    j = 0
    while j < n:
        if gone[j] != 0:
            e = j + 1
            while e < n and gone[e] != 0:
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


@inline
def own_grams(n: Number, m: Number, d: Number, hanzi: Number, latin: Number, tables: Tables, s: Scratch) -> Number:
    """The message's grams once more, each with the letters it covers: s.grams, s.owner. Returns their number."""
    buf = s.buf
    if not is_chinese(hanzi, latin):
        g = latin_grams(buf, n, s.marks, m, False, s.origin, s.grams, s.owner, True, s.mins)
        return number_grams(buf, n, s.digits, d, s.grams, s.owner, True, g)
    spelled = may_spell(buf, n)
    ns = sound_out(buf, n, tables.sounds, tables.pinyin, s.snd, s.origin) if spelled else n
    g = uint64(0)
    pair = uint64(0)
    run = uint64(0)
    for j in range(uint64(n)):
        c = uint64(buf[j])
        c = uint64(48) if c - uint64(48) < uint64(10) else c
        pair = ((pair << uint64(16)) | c) & uint64(0xFFFFFFFF)
        run = (run + uint64(1)) * uint64(c == uint64(120))
        end = uint32(j + uint64(1))
        s.grams[g] = gram_of_letter(c, run)
        s.owner[g] = (uint32(j) << uint32(16)) | end
        s.grams[g + uint64(1)] = gram_of_pair(pair)
        s.owner[g + uint64(1)] = (uint32(j - min(j, uint64(1))) << uint32(16)) | end
        g += uint64(2)
    y = uint64(0)
    for j in range(uint64(ns)):
        sound = s.snd[j] if spelled else tables.sounds[buf[j]]
        y = ((y << uint64(16)) | uint64(sound)) & uint64(0xFFFFFFFFFFFF)
        first = j - min(j, uint64(2))
        start = uint32(s.origin[first]) if spelled else uint32(first)
        end = uint32(j + uint64(1))
        if spelled:
            end = uint32(s.origin[j + uint64(1)]) if j + uint64(1) < uint64(ns) else uint32(n)
        s.grams[g] = gram_of_sounds(y)
        s.owner[g] = (start << uint32(16)) | end
        g += uint64(1)
    g = mark_grams(buf, n, s.marks, m, s.grams, s.owner, True, int64(g))
    return number_grams(buf, n, s.digits, d, s.grams, s.owner, True, g)


@inline
def keep_matched(table: U64, shift: Number, g: Number, s: Scratch) -> Number:
    """Reduce s.grams and s.owner to the grams that the model knows; s.grams then holds slots. Returns how many."""
    known = int64(0)
    for i in range(uint64(g)):
        h = s.grams[i]
        e = table[h >> shift]
        s.grams[known] = e
        s.owner[known] = s.owner[i]
        known += int64((e >> uint64(56)) == ((h >> (shift - uint64(8))) & uint64(0xFF)))
    for i in range(uint64(known)):
        # The tag has done its work: its byte now says that the gram is still there.
        s.grams[i] |= uint64(0xFF) << uint64(56)
    return known


@inline
def weigh_letters(model: LanguageModel, n: Number, known: Number, s: Scratch) -> None:
    """s.weights: each letter's part of the logit of what is left (fixed point), smoothed so that words stay whole."""
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
    k = model.lane_scale
    one = float32(ONE)
    g0, g1, g2, g3 = int64(s0 * k[0] * one), int64(s1 * k[1] * one), int64(s2 * k[2] * one), int64(s3 * k[3] * one)
    g4, g5, g6 = int64(s4 * k[4] * one), int64(s5 * k[5] * one), int64(s6 * k[6] * one)
    bias = (g0 + g1 + g2 + g3 + g4 + g5 + g6) * LANE_BIAS
    weight = s.weights
    for j in range(uint64(n + 1)):
        weight[j] = int64(0)
    low = uint64(0xFF)
    for i in range(uint64(known)):
        e = s.grams[i]
        if e == uint64(0):
            continue
        share = (
            int64(e & low) * g0
            + int64((e >> uint64(8)) & low) * g1
            + int64((e >> uint64(16)) & low) * g2
            + int64((e >> uint64(24)) & low) * g3
            + int64((e >> uint64(32)) & low) * g4
            + int64((e >> uint64(40)) & low) * g5
            + int64((e >> uint64(48)) & low) * g6
            - bias
        )
        start = s.owner[i] >> uint32(16)
        end = s.owner[i] & uint32(0xFFFF)
        # Taking one letter takes the whole gram; half of its share each lies between that and an even split.
        if end > start + uint32(1):
            share >>= 1
        for j in range(start, end):
            weight[j] += share
    before = int64(0)
    for j in range(uint64(n)):
        here = weight[j]
        after = weight[j + uint64(1)]
        weight[j] = (before + 2 * here + after) >> 2
        before = here


@inline
def take(n: Number, count: Number, s: Scratch) -> Number:
    """Mark the `count` heaviest letters in s.gone, as far as they weigh anything. Returns how many."""
    taken = int64(0)
    while taken < count:
        best = int64(-1)
        heaviest = int64(0)
        for j in range(n):
            if s.gone[j] == 0 and s.weights[j] > heaviest:
                heaviest = s.weights[j]
                best = int64(j)
        if best < 0:
            break
        s.gone[best] = 1
        taken += 1
    return taken


@inline
def drop_grams(known: Number, s: Scratch) -> Number:
    """Take the grams that touch a letter that is gone out of the sums; returns how many are left."""
    left = int64(0)
    for i in range(uint64(known)):
        e = s.grams[i]
        if e == uint64(0):
            continue
        hit = uint32(0)
        for j in range(s.owner[i] >> uint32(16), s.owner[i] & uint32(0xFFFF)):
            hit |= uint32(s.gone[j])
        if hit != uint32(0):
            for lane in range(LANES):
                s.lanes[lane] -= int64((e >> uint64(8 * lane)) & uint64(0xFF)) - LANE_BIAS
            s.grams[i] = uint64(0)
        else:
            left += 1
    return left
