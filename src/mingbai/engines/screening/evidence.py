"""Evidence: the letters of a message that made its score, as spans of the original text.

One *unit* after the other (a Chinese letter, a word of other scripts) is taken out of the message, always the one that
the logit is thought to lose most by, until the message is below its threshold or as much as may be named is named.
The letters are a linked list: with a unit go the grams that touch it, and its neighbours make new ones. Only grams of
marks, numbers and words are not made anew, so what is left is read once more, as a message of its own, before it counts
as below.

What a unit is worth is the sum of the shares of its grams. A gram's share of the logit is its lanes times the gradient
of the logit by the lane sums, averaged over the way from a message without grams to this one (integrated gradients,
Sundararajan et al. 2017; exact here, the head being piecewise linear): where the head has saturated, the gradient at
the message itself would say nothing. `python -m benchmarks evidence` measures how true the evidence is.
"""

from __future__ import annotations

from typing import Final

from mingbai.engines.screening.grams import gram_of_five, gram_of_pair, gram_of_sounds, gram_of_three
from mingbai.engines.screening.jit import Number, float32, inline, int32, int64, uint32, uint64
from mingbai.engines.screening.model import EMPTY_SLOT, HIDDEN, LANE_BIAS, LANES, LanguageModel
from mingbai.engines.screening.reading import U64, Tables, find_digits, is_chinese, is_letter
from mingbai.engines.screening.scoring import (
    F32,
    I32,
    I64,
    SHAPE_SOUNDS,
    SHAPE_SPELLED,
    Scratch,
    read_grams,
    run_head,
    sum_lanes,
)

MOST: Final = 0.30  # share of the characters that may be named
MARGIN: Final = 0.02  # logits to go below the threshold
LEAST: Final = 0.2  # logits that a gradient is used for at least
LONGEST: Final = 6  # letters of a unit: a link without an end must not use up all that may be named
CHECKS: Final = 3  # times that what is left is read again
ONE: Final = 1 << 20  # shares are fixed point: a logit of 1.0
KNOWN: Final = 1 << 56  # in a slot here: the model knows the gram


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
def weigh(
    r: Number,
    model: LanguageModel,
    n: Number,
    m: Number,
    hanzi: Number,
    latin: Number,
    g: Number,
    blocked: bool,
    tables: Tables,
    s: Scratch,
    spans: I32,
    used: Number,
) -> Number:
    """Append the spans of row r to `spans` (row, start, end in characters) from index `used`; returns the new `used`.

    s holds the message as `scoring.score` left it, g grams; its sums and inputs are used up.
    """
    if n == 0:
        return used
    chinese = is_chinese(hanzi, latin)
    target = logit_at(model.calibration_logit, model.calibration_score, model.block_at if blocked else model.flag_at)
    # In doubt the forest would decide, which is too dear to ask here: what is left must be beyond doubt.
    target = min(target, model.doubt_low) if model.doubt_low < model.doubt_high else target
    target -= float32(MARGIN)
    # Whether letters and sounds are one to one. Told now: what is read again below may be spelled otherwise.
    sounded = chinese and s.shape[SHAPE_SPELLED] == 0
    tail = link(model, n, g, chinese, sounded, tables, s)
    units = find_units(n, m, chinese, s)
    for k in range(uint64(m)):
        s.whole_marks[k] = s.marks[k]
    budget = int64(float32(MOST) * float32(s.pos[n]))
    left = int64(n)
    checks = int64(0)
    need = int64(0)
    while left > 0:
        if need <= 0:
            # As much as the gradient asked for is gone. See where that leaves the message, first without reading it.
            estimate(model, g, n, left, m, hanzi, latin, s)
            if s.logits[0] < target:
                if checks == CHECKS:
                    break
                checks += 1
                read_again(model, n, m, hanzi, latin, chinese, tables, s)
                if s.logits[0] < target:
                    break
            need = int64(max(s.logits[0] - target, float32(LEAST)) * float32(ONE))
            find_gradient(model, s)
            spread(n, g, tail, units, chinese, s)
        best = int32(0)
        for u in range(uint64(units)):
            key = s.keys[u]
            best = key if key > best else best
        if best == int32(0):
            break
        u = uint64(2047) - uint64(best & int32(2047))
        s.keys[u] = int32(0)
        a = int64(s.first[u])
        b = int64(s.first[u + uint64(1)])
        size = int64(s.pos[b] - s.pos[a])
        if size > budget:
            continue
        budget -= size
        left -= b - a
        need -= take(model, u, g, tail, chinese, sounded, s)
    gone = s.gone
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
def estimate(
    model: LanguageModel,
    g: Number,
    n: Number,
    left: Number,
    m: Number,
    hanzi: Number,
    latin: Number,
    s: Scratch,
) -> None:
    """s.logits of what is left: its lanes are known, its proportions nearly."""
    share = float32(left) / float32(n)
    run_head(
        model,
        s.lanes,
        s.lanes[LANES],
        int64(float32(g) * share),
        left,
        m,
        int64(float32(hanzi) * share),
        int64(float32(latin) * share),
        s,
    )


@inline
def read_again(
    model: LanguageModel, n: Number, m: Number, hanzi: Number, latin: Number, chinese: bool, tables: Tables, s: Scratch
) -> None:
    """s.lanes and s.logits of what is left, read as a message of its own.

    What reads as the other language is as good as gone.
    """
    gone = s.gone
    before = uint32(0)
    at = int64(0)
    marks = int64(0)
    for k in range(m):
        place = int64(s.whole_marks[k] >> uint32(16))
        while at < place:
            before += uint32(gone[at])
            at += 1
        # A mark between two letters that go is inside of what is named.
        if place == 0 or place == n or gone[place - 1] == 0 or gone[place] == 0:
            s.marks[marks] = s.whole_marks[k] - (before << uint32(16))
            marks += 1
    left = int64(0)
    for j in range(uint64(n)):
        c = s.whole[j]
        if gone[j] == 0:
            s.buf[left] = c
            left += 1
        else:
            latin -= int64(is_letter(c))
            hanzi -= int64(c >= 0x3400)
    if is_chinese(hanzi, latin) != chinese:
        s.logits[0] = model.calibration_logit[0]
        return
    d = find_digits(s.buf, left, s.digits)
    g = read_grams(left, marks, d, hanzi, latin, False, tables, s)
    s.lanes[LANES] = sum_lanes(s.grams, g, model.table, model.shift, s.lanes)
    run_head(model, s.lanes, s.lanes[LANES], g, left, marks, hanzi, latin, s)


@inline
def slot_of(model: LanguageModel, h: Number) -> Number:
    """What the model has for a gram: its lanes, and `KNOWN`; neutral lanes if it has nothing."""
    e = model.table[h >> uint64(model.shift)]
    tag = (h >> (uint64(model.shift) - uint64(8))) & uint64(0xFF)
    known = (e & uint64(0x00FFFFFFFFFFFFFF)) | uint64(KNOWN)
    return known if (e >> uint64(56)) == tag else uint64(EMPTY_SLOT)


@inline
def link(
    model: LanguageModel, n: Number, g: Number, chinese: bool, sounded: bool, tables: Tables, s: Scratch
) -> Number:
    """The letters as a list, number j of it being letter j - 1, with the slots of the grams that end at each.

    s.single: grams of one letter, or three of other scripts; s.double: of two, or five; s.triple: of three sounds,
    where letters and sounds are one to one. What stands behind them in s.grams, from the index returned, has its
    letters in s.reach and its slots in s.tail.
    """
    tail = 2 * int64(n)
    for j in range(uint64(n + 2)):
        s.prev[j + uint64(1)] = j
        s.next[j] = j + uint64(1)
    s.prev[0] = 0
    s.next[n + 1] = n + 1
    s.single[n + 1] = uint64(EMPTY_SLOT)
    s.double[n + 1] = uint64(EMPTY_SLOT)
    s.triple[n + 1] = uint64(EMPTY_SLOT)
    for j in range(uint64(n)):
        at = j + uint64(1)
        s.gone[j] = 0
        s.whole[j] = s.buf[j]
        s.single[at] = slot_of(model, s.grams[j + j])
        s.double[at] = slot_of(model, s.grams[j + at])
        c = uint64(s.buf[j])
        c = uint64(48) if c - uint64(48) < uint64(10) else c
        s.code[at] = c if chinese else (c ^ (c >> uint64(8))) & uint64(0xFF)
    s.code[0] = 0
    if sounded:
        s.sound[0] = 0
        for j in range(uint64(n)):
            s.triple[j + uint64(1)] = slot_of(model, s.grams[uint64(tail) + j])
            s.sound[j + uint64(1)] = tables.sounds[s.buf[j]]
        tail += n
    else:
        for j in range(uint64(n)):
            s.triple[j + uint64(1)] = uint64(EMPTY_SLOT)
    if chinese and not sounded:
        ns = s.shape[SHAPE_SOUNDS]
        for k in range(ns):
            end = s.origin[k + 1] if k + 1 < ns else n
            s.owner[tail + k] = (uint32(s.origin[max(k - 2, 0)]) << uint32(16)) | uint32(end)
    for i in range(uint64(tail), uint64(g)):
        s.tail[i - uint64(tail)] = slot_of(model, s.grams[i])
        s.reach[i - uint64(tail)] = s.owner[i]
    return tail


@inline
def find_units(n: Number, m: Number, chinese: bool, s: Scratch) -> Number:
    """What is taken as one: s.first (first letter of each, then n) and s.unit (of each letter). Returns how many."""
    if chinese:
        for j in range(uint64(n + 1)):
            s.first[j] = j
            s.unit[j] = j
        return int64(n)
    units = int64(0)
    at = int64(0)
    for k in range(m + 1):
        stop = int64(n) if k == m else int64(s.marks[k] >> uint32(16))
        while at < stop:
            s.first[units] = at
            end = min(stop, at + LONGEST)
            for j in range(at, end):
                s.unit[j] = units
            units += 1
            at = end
    s.first[units] = n
    return units


@inline
def find_gradient(model: LanguageModel, s: Scratch) -> None:
    """s.pull: what a gram's lanes are worth now, fixed point, for `share_of`."""
    w = model.hidden_weights
    v = model.output_weights
    x = s.inputs
    x0, x1, x2, x3, x4, x5, x6 = x[0], x[1], x[2], x[3], x[4], x[5], x[6]
    x7, x8, x9, x10, x11, x12 = x[7], x[8], x[9], x[10], x[11], x[12]
    zero = float32(0.0)
    s0, s1, s2, s3, s4, s5, s6 = model.skip[0], zero, zero, zero, zero, zero, zero
    slope = s.hidden  # of each hidden unit (ReLU), averaged over the way
    for j in range(HIDDEN):
        base = model.hidden_bias[j]
        base += x7 * w[7, j] + x8 * w[8, j] + x9 * w[9, j] + x10 * w[10, j] + x11 * w[11, j] + x12 * w[12, j]
        rise = x0 * w[0, j] + x1 * w[1, j] + x2 * w[2, j] + x3 * w[3, j] + x4 * w[4, j] + x5 * w[5, j] + x6 * w[6, j]
        rise = rise + float32(1e-6)
        slope[j] = (max(base + rise, zero) - max(base, zero)) / rise
    for j in range(HIDDEN):
        u = slope[j] * v[j, 0]
        s0 += u * w[0, j]
        s1 += u * w[1, j]
        s2 += u * w[2, j]
        s3 += u * w[3, j]
        s4 += u * w[4, j]
        s5 += u * w[5, j]
        s6 += u * w[6, j]
    k = model.lane_scale
    one = float32(ONE) * s.shrink[0]
    g0, g1, g2, g3 = int64(s0 * k[0] * one), int64(s1 * k[1] * one), int64(s2 * k[2] * one), int64(s3 * k[3] * one)
    g4, g5, g6 = int64(s4 * k[4] * one), int64(s5 * k[5] * one), int64(s6 * k[6] * one)
    s.pull[0] = (uint64(g0) << uint64(32)) + uint64(g4)
    s.pull[1] = (uint64(g1) << uint64(32)) + uint64(g5)
    s.pull[2] = (uint64(g2) << uint64(32)) + uint64(g6)
    s.pull[3] = uint64(g3) << uint64(32)
    s.pull[4] = uint64((g0 + g1 + g2 + g3 + g4 + g5 + g6) * LANE_BIAS)


@inline
def share_of(e: Number, pull: U64) -> Number:
    """A slot's share of the logit, fixed point.

    Two lanes a multiplication: in halves of a word, (a + b << 32) * (h + g << 32) has a * g + b * h on top.
    """
    low = uint64(0x000000FF000000FF)
    t = (e & low) * pull[0]
    t += ((e >> uint64(8)) & low) * pull[1]
    t += ((e >> uint64(16)) & low) * pull[2]
    t += ((e >> uint64(24)) & low) * pull[3]
    return int32(t >> uint64(32)) - int32(pull[4])


@inline
def spread(n: Number, g: Number, tail: Number, units: Number, chinese: bool, s: Scratch) -> None:
    """s.shares of the grams that end at each letter, s.tails of the rest on their units, and s.keys."""
    pull = s.pull
    for j in range(uint64(n + 2)):
        s.share_single[j] = share_of(s.single[j], pull)
        s.share_double[j] = share_of(s.double[j], pull)
    if chinese:
        for j in range(uint64(n + 2)):
            s.share_triple[j] = share_of(s.triple[j], pull)
    for u in range(uint64(units)):
        s.tails[u] = int32(0)
    for i in range(tail, g):
        share = share_of(s.tail[i - tail], pull)
        s.share_tail[i - tail] = share
        first = s.unit[s.reach[i - tail] >> uint32(16)]
        last = s.unit[(s.reach[i - tail] & uint32(0xFFFF)) - uint32(1)]
        for u in range(first, last + 1):
            s.tails[u] += share
    for u in range(uint64(units)):
        s.keys[u] = key_of(u, chinese, s) if s.gone[s.first[u]] == 0 else int32(0)


@inline
def key_of(u: Number, chinese: bool, s: Scratch) -> Number:
    """A unit's weight << 11 | 2047 - u: the greatest key is the heaviest unit, the first of equals. 0: weighs nothing.

    Words are weighed by the letter, two more for each: of two ways to the same loss the shorter is the better evidence.
    """
    a = uint64(s.first[u])
    total = int64(s.tails[u])
    if chinese:
        at = a + uint64(1)
        after = uint64(s.next[at])
        total += int64(s.share_single[at]) + int64(s.share_double[at]) + int64(s.share_double[after])
        total += int64(s.share_triple[at]) + int64(s.share_triple[after])
        total += int64(s.share_triple[s.next[after]])
    else:
        b = uint64(s.first[u + uint64(1)])
        for at in range(a + uint64(1), b + uint64(1)):
            total += int64(s.share_single[at]) + int64(s.share_double[at])
        at = s.next[b]
        total += int64(s.share_single[at]) + int64(s.share_double[at])
        at = s.next[at]
        total += int64(s.share_single[at]) + int64(s.share_double[at])
        at = s.next[at]
        total += int64(s.share_double[at])
        total += int64(s.share_double[s.next[at]])
        total = 2 * total // int64(b - a + uint64(2))
    return int32(min(total >> 4, int64(0xFFFFF)) << 11 | int64(uint64(2047) - u)) if total > 15 else int32(0)


@inline
def swap(slots: U64, shares: I32, at: Number, e: Number, pull: U64, lanes: I64) -> Number:
    """Put slot e where another was; the lanes and the share follow. Returns what the logit is thought to lose."""
    old = slots[at]
    for k in range(LANES + 1):  # the last is `KNOWN`: the number of matched grams
        shift = uint64(8 * k)
        lanes[k] += int64((e >> shift) & uint64(0xFF)) - int64((old >> shift) & uint64(0xFF))
    share = share_of(e, pull)
    lost = int64(shares[at]) - int64(share)
    slots[at] = e
    shares[at] = share
    return lost


@inline
def take(model: LanguageModel, u: Number, g: Number, tail: Number, chinese: bool, sounded: bool, s: Scratch) -> Number:
    """Take unit u out: s.lanes, the list, shares and keys follow. Returns what the logit is thought to lose."""
    pull = s.pull
    lanes = s.lanes
    nothing = uint64(EMPTY_SLOT)
    a = uint64(s.first[u])
    b = uint64(s.first[u + uint64(1)])
    reach = 2 if chinese else 4  # letters before and after that a gram with one of these may hold
    lost = int64(0)
    for at in range(a + uint64(1), b + uint64(1)):
        s.gone[at - uint64(1)] = 1
        lost += swap(s.single, s.share_single, at, nothing, pull, lanes)
        lost += swap(s.double, s.share_double, at, nothing, pull, lanes)
        if sounded:
            lost += swap(s.triple, s.share_triple, at, nothing, pull, lanes)
    before = uint64(s.prev[a + uint64(1)])
    after = uint64(s.next[b])
    s.next[before] = after
    s.prev[after] = before
    # The letters behind have new neighbours: their grams are other ones.
    at = after
    for k in range(reach):
        if s.next[at] == at:
            break
        back = uint64(s.prev[at])
        if chinese:
            if k == 0:
                pair = gram_of_pair((s.code[back] << uint64(16)) | s.code[at])
                lost += swap(s.double, s.share_double, at, slot_of(model, pair), pull, lanes)
            if sounded:
                y = (s.sound[s.prev[back]] << uint64(32)) | (s.sound[back] << uint64(16)) | s.sound[at]
                lost += swap(s.triple, s.share_triple, at, slot_of(model, gram_of_sounds(y)), pull, lanes)
        else:
            x = s.code[at]
            for place in range(1, 5):
                x |= s.code[back] << uint64(8 * place)
                back = uint64(s.prev[back])
            if k < 2:
                lost += swap(s.single, s.share_single, at, slot_of(model, gram_of_three(x)), pull, lanes)
            lost += swap(s.double, s.share_double, at, slot_of(model, gram_of_five(x)), pull, lanes)
        at = uint64(s.next[at])
    first_key, last_key = int64(u), int64(u)
    for i in range(uint64(g - tail)):
        first = int64(s.unit[s.reach[i] >> uint32(16)])
        last = int64(s.unit[(s.reach[i] & uint32(0xFFFF)) - uint32(1)])
        if first <= int64(u) and int64(u) <= last and s.tail[i] != nothing:
            share = swap(s.tail, s.share_tail, i, nothing, pull, lanes)
            lost += share
            for k in range(first, last + 1):
                s.tails[k] -= int32(share)
            first_key, last_key = min(first_key, first), max(last_key, last)
    # Every unit within reach of the new joint, and those that a gram of marks or words tied to this one.
    back = before
    at = after
    for _ in range(reach):
        if back != uint64(0):
            first_key = min(first_key, int64(s.unit[back - uint64(1)]))
        if s.next[at] != at:
            last_key = max(last_key, int64(s.unit[at - uint64(1)]))
        back = uint64(s.prev[back])
        at = uint64(s.next[at])
    for k in range(uint64(first_key), uint64(last_key + 1)):
        if s.keys[k] != int32(0):
            s.keys[k] = key_of(k, chinese, s)
    return lost
