"""Fitting one language's network: gram embeddings and head together, by stochastic gradient descent, compiled.

The network is the one of `model` before its lanes are rounded: lane sums over a message's grams, shrunk by
sqrt(1 + matched grams), with six proportions into one hidden layer; lane 0 also goes straight to the outputs. One
message a step, AdaGrad step sizes, which fall linearly to zero. Two things keep it from learning the corpus by heart:
each message shows only a random part of its grams in each pass (`dropout`), and each weight decays when it is used.

One thread, one random stream from the seed: the same input gives the same weights on the same kind of processor.
Sources: Cheng et al. 2016 (wide and deep), Joulin et al. 2017 (bag of n-grams), Duchi et al. 2011 (AdaGrad).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import uint64

from mingbai.engines.screening.jit import inline, kernel
from mingbai.engines.screening.model import HIDDEN, INPUTS, LANES, OUTPUTS

F32 = npt.NDArray[np.float32]
I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Knobs of the fit, with the values that the shipped model was found best with (docs/reference/model-card.md)."""

    epochs: int = 6
    step: float = 0.1  # AdaGrad's step for the lanes
    head_step: float = 0.02
    dropout: float = 0.4  # share of a message's grams hidden in a pass
    decay: float = 1e-6  # of lanes, at each use
    category_weight: float = 0.3  # of the category loss beside the spam loss
    squares: float = 0.1  # AdaGrad's sums of squares before the first step: the larger, the shorter the first steps


class Network(NamedTuple):
    """lanes float32[V, 7]; the rest as in `model.LanguageModel`, unrounded and with lane_scale 1."""

    lanes: F32
    hidden_weights: F32
    hidden_bias: F32
    output_weights: F32
    output_bias: F32
    skip: F32


def fit(
    pointers: I64,
    features: I32,
    proportions: F32,
    unwanted: F32,
    category: I8,
    weight: F32,
    vocabulary: int,
    settings: FitSettings,
    seed: int,
    start: Network | None = None,
) -> Network:
    """Fit on rows in CSR form.

    features: per gram its number 0..vocabulary-1, with repeats. proportions: float32[n, 6]. unwanted: target 0..1.
    category: -1 unknown. weight: of each row's loss. start: go on from this network (left as it is), not from chance.
    """
    rng = np.random.default_rng(seed)
    # One cache line a gram: its lanes, then AdaGrad's sums for lane 0 and for the others.
    memory = np.zeros((vocabulary, 16), np.float32)
    memory[:, 1:LANES] = rng.standard_normal((vocabulary, LANES - 1)) * 0.1
    memory[:, LANES : LANES + 2] = settings.squares
    hidden = HIDDEN
    network = Network(
        memory[:, :LANES],
        (rng.standard_normal((INPUTS, hidden)) / np.sqrt(INPUTS)).astype(np.float32),
        np.zeros(hidden, np.float32),
        (rng.standard_normal((hidden, OUTPUTS)) * 0.2).astype(np.float32),
        np.zeros(OUTPUTS, np.float32),
        np.array([1, 0, 0, 0, 0, 0], np.float32),
    )
    if start is not None:
        memory[:, :LANES] = start.lanes
        network = Network(memory[:, :LANES], *(array.copy() for array in start[1:]))
    rows = pointers.size - 1
    order = np.concatenate([rng.permutation(rows) for _ in range(settings.epochs)])
    _descend(
        pointers, features, proportions, unwanted, category, weight, order, memory, *network[1:],
        np.float32(settings.step), np.float32(settings.head_step), np.float32(settings.dropout),
        np.float32(settings.decay), np.float32(settings.category_weight), seed,
    )  # fmt: skip
    return network._replace(lanes=np.ascontiguousarray(memory[:, :LANES]))


@kernel
def _descend(
    pointers: I64,
    features: I32,
    proportions: F32,
    unwanted: F32,
    category: I8,
    weight: F32,
    order: I64,
    memory: F32,
    w1: F32,
    b1: F32,
    w2: F32,
    b2: F32,
    skip: F32,
    step: np.float32,
    head_step: np.float32,
    dropout: np.float32,
    decay: np.float32,
    category_weight: np.float32,
    seed: int,
) -> None:
    hidden = b1.size
    # The head is moved once in `BATCH` messages, by the sum of their gradients.
    s_w1 = np.full(w1.shape, np.float32(0.1))
    s_b1 = np.full(b1.shape, np.float32(0.1))
    s_w2 = np.full(w2.shape, np.float32(0.1))
    s_b2 = np.full(b2.shape, np.float32(0.1))
    s_skip = np.full(skip.shape, np.float32(0.1))
    d_w1 = np.zeros(w1.shape, np.float32)
    d_b1 = np.zeros(b1.shape, np.float32)
    d_w2 = np.zeros(w2.shape, np.float32)
    d_b2 = np.zeros(b2.shape, np.float32)
    d_skip = np.zeros(skip.shape, np.float32)
    sums = np.zeros(8, np.float32)
    x = np.zeros(INPUTS, np.float32)
    h = np.zeros(hidden, np.float32)
    z = np.zeros(OUTPUTS, np.float32)
    dz = np.zeros(OUTPUTS, np.float32)
    dh = np.zeros(hidden, np.float32)
    dx = np.zeros(INPUTS, np.float32)
    kept = np.zeros(1 << 15, np.int32)
    zero = np.float32(0.0)
    one = np.float32(1.0)
    threshold = np.uint64(dropout * 16777216.0)
    state = uint64(seed) * uint64(0x9E3779B97F4A7C15) + uint64(1)
    steps = order.size
    for t in range(steps):
        r = order[t]
        fall = one - np.float32(t) / np.float32(steps)
        size = pointers[r + 1] - pointers[r]
        # Forward, over the grams that stay.
        sums[:] = zero
        n = 0
        for q in range(pointers[r], pointers[r + 1]):
            state ^= state << uint64(13)
            state ^= state >> uint64(7)
            state ^= state << uint64(17)
            kept[n] = features[q]
            n += int((state >> uint64(40)) >= threshold)
        for q in range(n):
            f = kept[q]
            for k in range(8):  # with the first sum of AdaGrad, which is not used: eight are one vector
                sums[k] += memory[f, k]
        scale = one / (np.sqrt(np.float32(size + 1)) * (one - dropout))
        for k in range(LANES):
            x[k] = sums[k] * scale
        for k in range(proportions.shape[1]):
            x[LANES + k] = proportions[r, k]
        for j in range(hidden):
            h[j] = b1[j]
        for i in range(INPUTS):
            for j in range(hidden):
                h[j] += x[i] * w1[i, j]
        for o in range(OUTPUTS):
            z[o] = b2[o] + skip[o] * x[0]
        for j in range(hidden):
            h[j] = max(h[j], zero)
            for o in range(OUTPUTS):
                z[o] += h[j] * w2[j, o]
        # Loss: cross entropy of the spam logit, and of the category where it is known.
        dz[0] = weight[r] * (one / (one + np.exp(-z[0])) - unwanted[r])
        top = z[1]
        for o in range(2, OUTPUTS):
            top = max(top, z[o])
        total = zero
        for o in range(1, OUTPUTS):
            dz[o] = np.exp(z[o] - top)
            total += dz[o]
        for o in range(1, OUTPUTS):
            if category[r] < 0:
                dz[o] = zero
            else:
                dz[o] = category_weight * weight[r] * (dz[o] / total - np.float32(category[r] == o - 1))
        # Backward.
        for i in range(INPUTS):
            dx[i] = zero
        for j in range(hidden):
            dh[j] = zero
            if h[j] > zero:
                for o in range(OUTPUTS):
                    dh[j] += dz[o] * w2[j, o]
        for i in range(LANES):
            for j in range(hidden):
                dx[i] += dh[j] * w1[i, j]
        for o in range(OUTPUTS):
            dx[0] += dz[o] * skip[o]
            d_b2[o] += dz[o]
            d_skip[o] += dz[o] * x[0]
        for j in range(hidden):
            d_b1[j] += dh[j]
            for o in range(OUTPUTS):
                d_w2[j, o] += dz[o] * h[j]
        for i in range(INPUTS):
            for j in range(hidden):
                d_w1[i, j] += dh[j] * x[i]
        if t % BATCH == BATCH - 1:
            rate = head_step * fall
            _move(w1.ravel(), d_w1.ravel(), s_w1.ravel(), rate)
            _move(b1, d_b1, s_b1, rate)
            _move(w2.ravel(), d_w2.ravel(), s_w2.ravel(), rate)
            _move(b2, d_b2, s_b2, rate)
            _move(skip, d_skip, s_skip, rate)
        # All grams of a message have the same gradient.
        rate = step * fall
        keep = one - rate * decay
        first = dx[0] * scale
        first_square = first * first
        others_square = zero
        for k in range(1, LANES):
            dx[k] *= scale
            others_square += dx[k] * dx[k] / np.float32(LANES - 1)
            dx[k] *= rate
        first *= rate
        for q in range(n):
            f = kept[q]
            memory[f, LANES] += first_square
            memory[f, LANES + 1] += others_square
            memory[f, 0] = memory[f, 0] * keep - first / np.sqrt(memory[f, LANES])
            inverse = one / np.sqrt(memory[f, LANES + 1])
            for k in range(1, LANES):
                memory[f, k] = memory[f, k] * keep - dx[k] * inverse


@inline
def _move(weights: F32, gradient: F32, squares: F32, rate: np.float32) -> None:
    for i in range(weights.size):
        squares[i] += gradient[i] * gradient[i]
        weights[i] -= rate * gradient[i] / np.sqrt(squares[i])
        gradient[i] = np.float32(0.0)


@kernel
def forward(pointers: I64, features: I32, proportions: F32, network: Network) -> F32:
    """Logits float32[n, 6] of rows, before rounding."""
    rows = pointers.size - 1
    out = np.zeros((rows, OUTPUTS), np.float32)
    hidden = network.hidden_bias.size
    x = np.zeros(INPUTS, np.float32)
    h = np.zeros(hidden, np.float32)
    for r in range(rows):
        x[:] = np.float32(0.0)
        for q in range(pointers[r], pointers[r + 1]):
            for k in range(LANES):
                x[k] += network.lanes[features[q], k]
        scale = np.float32(1.0) / np.sqrt(np.float32(pointers[r + 1] - pointers[r] + 1))
        for k in range(LANES):
            x[k] *= scale
        for k in range(proportions.shape[1]):
            x[LANES + k] = proportions[r, k]
        for j in range(hidden):
            h[j] = network.hidden_bias[j]
        for i in range(INPUTS):
            for j in range(hidden):
                h[j] += x[i] * network.hidden_weights[i, j]
        for o in range(OUTPUTS):
            out[r, o] = network.output_bias[o] + network.skip[o] * x[0]
        for j in range(hidden):
            for o in range(OUTPUTS):
                out[r, o] += max(h[j], np.float32(0.0)) * network.output_weights[j, o]
    return out
