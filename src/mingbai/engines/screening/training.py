"""Training: labelled texts -> the model file, reproducible from a seed.

For each language: read the rows, choose the grams that get a slot, fit the network four times leaving out a quarter
of the clusters each time (never a message whose near-duplicate was learnt from), and once on everything. All that is
fixed on development data comes from the left-out logits: the forest and its interval of doubt, the score table and
the thresholds.

The figures in the report are cross-validated, so they rest on three quarters of the data each; `evaluation` measures
the shipped model on files it has not seen. Files that name the source in `SOURCES_APART` teach but do not set
thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any  # scipy's and LightGBM's objects are untyped

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening import alphabet, forest, model
from mingbai.engines.screening.examples import LABELS, Examples, Label, LabelledFile, assemble, clusters
from mingbai.engines.screening.fitting import FitSettings, Network, fit
from mingbai.engines.screening.model import LanguageModel, Model
from mingbai.engines.screening.profiles import profile_of
from mingbai.engines.screening.rounding import choose, encode, first_look, rounded, second_look, tell
from mingbai.kernel.errors import BadValue

__all__ = ["LABELS", "Label", "LabelledFile", "TrainingReport", "TrainingSettings", "train"]

B1 = npt.NDArray[np.bool_]
F32 = npt.NDArray[np.float32]
I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

FOLDS = 4
# Doubtful: at most this share of messages (of the development data, legitimate and unwanted together).
DOUBT_SHARE = 0.018
BLOCKED_LEGITIMATE = 0.001
FLAGGED_LEGITIMATE = 0.01
KNOTS = 40
REFERENCE_ROWS = 20_000  # messages whose profile the file keeps, for drift to be measured against
# Fake-base-station texts are unpunctuated and nearly all unwanted: their few legitimate ones set no threshold.
SOURCES_APART = ("scenario:", "zh_fbs")


@dataclass(frozen=True, slots=True)
class LanguageSettings:
    fit: FitSettings
    forest: forest.ForestSettings = field(default_factory=forest.ForestSettings)
    bits: int = 18
    copy_weight: float = 0.5  # of a disguised copy in the loss
    # Of an unwanted message in the loss. Less than 1: what counts is where the few highest legitimate messages stand.
    unwanted_weight: float = 1.0


# Targets are 0 and 1. Smoothed by 0.05 the Chinese recall is the same, but logits stay under 3 and evidence suffers.
CHINESE = LanguageSettings(FitSettings(epochs=24, step=0.3, head_step=0.04, dropout=0.75), unwanted_weight=0.3)
# English gains nothing from a second look (cross-validated recall 0.8005 with, 0.8008 without).
ENGLISH = LanguageSettings(
    FitSettings(epochs=20, step=0.08, head_step=0.04, dropout=0.75),
    forest.ForestSettings(trees=0),
    bits=17,
    unwanted_weight=0.5,
)


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """All knobs, with the shipped model's values."""

    chinese: LanguageSettings = CHINESE
    english: LanguageSettings = ENGLISH
    scenario_rows: int = 6000  # generated messages a language
    # Real handset messages are few beside news clauses that pass for legitimate messages in one corpus.
    source_weights: Mapping[str, float] = field(default_factory=lambda: {"zh_raw11k": 4.0})


@dataclass(frozen=True, slots=True)
class LanguageReport:
    """Cross-validated figures of one language. recall: at that share of blocked legitimate messages."""

    rows: dict[str, int]
    copies: int
    grams: int
    clusters: int
    recall_at_0_1_percent: float
    recall_at_0_5_percent: float
    first_look_recall_at_0_1_percent: float
    doubt_share: float
    block_at: float
    flag_at: float


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What `train` did. version: of the model written."""

    version: str
    seed: int
    chinese: LanguageReport
    english: LanguageReport


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of one language as the fit sees them."""

    pointers: I64
    grams: U64
    counts: I32
    unwanted: B1
    category: I8
    weight: F32
    origin: I64  # within these rows; a copy whose original reads as the other language is its own
    is_copy: B1
    cluster: I64
    apart: B1
    sources: list[str]
    texts: list[str]


def train(
    files: Sequence[LabelledFile],
    out: Path,
    seed: int = 1,
    settings: TrainingSettings | None = None,
    labels: Mapping[str, Label] = LABELS,
) -> TrainingReport:
    """Train on `files` and generated scenarios, and write the model file `out`.

    The same files, seed and settings give the same model on the same kind of processor. Needs the extra `train`
    (LightGBM). Raises BadValue for an unknown label or when a language has too few rows of either kind.
    """
    settings = settings or TrainingSettings()
    examples = assemble(files, seed, settings.scenario_rows, labels)
    pointers, grams, counts = model.read_column(pa.array(examples.texts, pa.string()))
    languages: list[LanguageModel] = []
    reports: list[LanguageReport] = []
    for name, chinese, knobs in (("chinese", 1, settings.chinese), ("english", 0, settings.english)):
        rows = _select(examples, pointers, grams, counts, np.flatnonzero(counts[:, 0] == chinese), knobs, settings)
        apart = rows.apart | rows.is_copy
        for kind, wanted in (("legitimate", False), ("unwanted", True)):
            if np.count_nonzero(rows.unwanted[~apart] == wanted) < 20 * FOLDS:
                raise BadValue(
                    field="files", value=f"too few {kind} {name} messages", expected=f"at least {20 * FOLDS}"
                )
        trained, report = _train_language(rows, knobs, seed)
        languages.append(trained)
        reports.append(report)
    about: dict[str, object] = {
        "seed": seed,
        "sources": {file.source: len(file.texts) for file in files},
        "scenario_rows": settings.scenario_rows,
        "unwanted_share": [_share(report) for report in reports],
    }
    bare = Model(languages[0], languages[1], alphabet.version(), model.reading_version(), about)
    own = [text for row, text in enumerate(examples.texts) if examples.origin[row] == row]
    some = own[:: -(-len(own) // REFERENCE_ROWS)]
    about["reference"] = profile_of(some, bare, "the messages it was trained on").to_dict()
    made = replace(bare, about=about)
    made.save(out)
    return TrainingReport(made.version, seed, reports[0], reports[1])


def _share(report: LanguageReport) -> float:
    return round(report.doubt_share, 5)


def _select(
    examples: Examples,
    pointers: I64,
    grams: U64,
    counts: I32,
    chosen: I64,
    knobs: LanguageSettings,
    settings: TrainingSettings,
) -> _Rows:
    at, taken = take_rows(pointers, grams, chosen)
    place = np.full(len(examples.texts), -1, np.int64)
    place[chosen] = np.arange(chosen.size)
    origin = place[np.array(examples.origin, np.int64)[chosen]]
    is_copy = np.array(examples.origin, np.int64)[chosen] != chosen
    origin = np.where(origin < 0, np.arange(chosen.size), origin)
    sources = [examples.source[row] for row in chosen]
    weight = np.array(examples.weight, np.float32)[chosen]
    weight *= np.where(is_copy, np.float32(knobs.copy_weight), np.float32(1.0))
    unwanted = np.array(examples.unwanted)[chosen]
    # Not of a generated one: newer lures are known from these alone.
    is_generated = np.array([source.startswith("scenario:") for source in sources], np.bool_)
    weight *= np.where(unwanted & ~is_generated, np.float32(knobs.unwanted_weight), np.float32(1.0))
    weight *= np.array([settings.source_weights.get(source, 1.0) for source in sources], np.float32)
    own = np.flatnonzero(~is_copy)
    cluster = np.arange(chosen.size)
    cluster[own] = own[clusters(*take_rows(at, taken, own))]
    # A generated message belongs to the cluster of its scenario: its words are one author's.
    scenario: dict[str, int] = {}
    for row in own:
        if sources[row].startswith("scenario:"):
            cluster[row] = scenario.setdefault(sources[row], int(row))
    cluster = cluster[origin]
    return _Rows(
        at, taken, counts[chosen], unwanted, np.array(examples.category, np.int8)[chosen],
        weight, origin, is_copy, cluster, np.array([source.startswith(SOURCES_APART) for source in sources]), sources,
        [examples.texts[row] for row in chosen],
    )  # fmt: skip


def take_rows(pointers: I64, values: Any, chosen: I64) -> tuple[I64, Any]:  # values: an array of any type
    """The CSR rows `chosen`, in that order."""
    sizes = np.diff(pointers)[chosen]
    at = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return at, values[np.arange(at[-1]) - np.repeat(at[:-1], sizes) + np.repeat(pointers[chosen], sizes)]


def _train_language(rows: _Rows, knobs: LanguageSettings, seed: int) -> tuple[LanguageModel, LanguageReport]:
    known, information = tell(rows.pointers, rows.grams, rows.cluster, rows.unwanted.astype(np.float32))
    chosen = choose(known, information, knobs.bits, 1 << knobs.bits)
    pointers, features = encode(rows.pointers, rows.grams, chosen)
    proportions = proportions_of(rows.counts, np.diff(rows.pointers), np.diff(pointers))
    target = rows.unwanted.astype(np.float32)
    order = np.random.default_rng(seed).permutation(rows.cluster.size)
    fold = (order % FOLDS)[rows.cluster]

    def fitted(learn: I64, number: int) -> Network:
        at, taken = take_rows(pointers, features, learn)
        network = fit(
            at, taken, proportions[learn], target[learn], rows.category[learn], rows.weight[learn], chosen.size,
            knobs.fit, seed + number,
        )  # fmt: skip
        network.lanes[np.bincount(taken, minlength=chosen.size) == 0] = 0  # never shown: says nothing
        return network

    logits = np.empty(rows.unwanted.size, np.float32)
    for number in range(FOLDS):
        out = np.flatnonzero(fold == number)
        partial = rounded(fitted(np.flatnonzero(fold != number), number), chosen, knobs.bits)
        at, taken = take_rows(rows.pointers, rows.grams, out)
        logits[out] = first_look(at, taken, rows.counts[out], partial)[0][:, 0]
    whole = rounded(fitted(np.arange(rows.unwanted.size), FOLDS), chosen, knobs.bits)

    judged = ~rows.is_copy & ~rows.apart
    final, whole, share = _look_again(
        rows, pointers, features, proportions, chosen, logits, fold, judged, whole, knobs, seed
    )
    whole = _with_scores(whole, final[judged], rows.unwanted[judged])
    counted = np.flatnonzero(~rows.is_copy)
    names, sizes = np.unique([rows.sources[row].split(":")[0] for row in counted], return_counts=True)
    report = LanguageReport(
        rows=dict(zip(names.tolist(), sizes.tolist(), strict=True)),
        copies=int(rows.is_copy.sum()),
        grams=int(chosen.size),
        clusters=int(np.unique(rows.cluster).size),
        recall_at_0_1_percent=recall(final[judged], rows.unwanted[judged], 0.001),
        recall_at_0_5_percent=recall(final[judged], rows.unwanted[judged], 0.005),
        first_look_recall_at_0_1_percent=recall(logits[judged], rows.unwanted[judged], 0.001),
        doubt_share=share,
        block_at=float(whole.block_at),
        flag_at=float(whole.flag_at),
    )
    return whole, report


def proportions_of(counts: I32, sizes: I64, matched: I64) -> F32:
    """`model.proportions` of many rows."""
    n = counts[:, 1].astype(np.float32)
    one = np.float32(1.0)
    return np.stack(
        [
            np.sqrt(np.minimum(n, np.float32(1024))) / np.float32(32),
            counts[:, 2].astype(np.float32) / (n + one),
            counts[:, 4].astype(np.float32) / (n + one),
            counts[:, 5].astype(np.float32) / (n + one),
            matched.astype(np.float32) / (sizes + 1).astype(np.float32),
            one / np.sqrt(n + one),
        ],
        axis=1,
    )


def _look_again(
    rows: _Rows, pointers: I64, features: I32, proportions: F32, chosen: U64, logits: F32, fold: I64, judged: B1,
    whole: LanguageModel, knobs: LanguageSettings, seed: int,
) -> tuple[F32, LanguageModel, float]:  # fmt: skip
    """Grow the forest on the doubtful. Returns left-out final logits, the model with its forest, the share in doubt."""
    if knobs.forest.trees == 0:
        return logits, whole, 0.0
    legitimate = np.sort(logits[judged & ~rows.unwanted])
    suspicious = logits > _quantile(legitimate, 1 - knobs.forest.suspicious)
    doubt = _doubt(logits[judged], rows.unwanted[judged])
    in_doubt = (logits > doubt[0]) & (logits < doubt[1])
    if not in_doubt.any():
        return logits, whole, 0.0
    grams = forest.counts_matrix(pointers, features, chosen.size)
    points = forest.points_matrix(rows.texts)
    extra = np.concatenate([proportions, logits[:, None]], axis=1)
    # The corpora's own balance: the weights of the first look are not used.
    weight = np.where(rows.is_copy, np.float32(0.5), np.float32(1.0)).astype(np.float32)
    # Every third copy is enough, and faster; with none, pinyin costs a point more.
    taught = ~rows.is_copy | (np.arange(logits.size) % 3 == 0)
    again = logits.copy()
    telling = written = np.empty(0, np.int64)
    booster: Any = None  # LightGBM

    def seen(some: B1) -> Any:  # scipy's matrix
        return forest.beside(grams[some][:, telling], points[some][:, written], extra[some])

    for number in range(FOLDS + 1):
        learn = suspicious & taught & (fold != number)
        own = learn & ~rows.is_copy
        telling = forest.choose_grams(grams[own], rows.unwanted[own], chosen, knobs.forest)
        written = forest.choose_points(points[own], rows.unwanted[own], rows.cluster[own], knobs.forest)
        booster = forest.grow(seen(learn), rows.unwanted[learn], weight[learn], knobs.forest, seed)
        test = in_doubt & (fold == number)
        if test.any():
            again[test] = forest.log_odds(booster, seen(test))
    low, high = np.quantile(again[in_doubt], [0.005, 0.995])
    factor = (doubt[1] - doubt[0]) / (high - low)
    stretch = (float(factor), float(doubt[0] - low * factor))
    final = logits.copy()
    final[in_doubt] = np.clip(
        again[in_doubt] * np.float32(stretch[0]) + np.float32(stretch[1]), np.float32(doubt[0]), np.float32(doubt[1])
    )
    whole = forest.planted(whole, booster, chosen[telling], written, doubt, stretch, knobs.forest.key_bits)
    return final, whole, float(in_doubt[judged].mean())


def _quantile(rising: F32, share: float) -> float:
    return float(rising[min(int(rising.size * share), rising.size - 1)])


def _doubt(logits: F32, unwanted: B1) -> tuple[float, float]:
    """The interval around the blocking logit: as many legitimate messages below as the share allows, a few above."""
    legitimate = np.sort(logits[~unwanted])
    best, found = 0, (0.0, 0.0)
    for low_share in (0.001, 0.0015, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012):
        for high_share in (0.0007, 0.0005, 0.0003, 0.0002, 0.0):
            low = _quantile(legitimate, 1 - low_share)
            high = _quantile(legitimate, 1 - high_share)
            if high <= low or ((logits > low) & (logits < high)).mean() > DOUBT_SHARE:
                continue
            # Of all intervals that fit, the one that holds most mistakes of the first look.
            cut = _quantile(legitimate, 1 - BLOCKED_LEGITIMATE)
            inside = (logits > low) & (logits < high)
            mistakes = int(np.count_nonzero(inside & (unwanted != (logits > cut))))
            if mistakes > best:
                best, found = mistakes, (low, high)
    return found


def recall(logits: F32, unwanted: B1, blocked_legitimate: float) -> float:
    """Share of unwanted rows above the logit that blocks that share of the legitimate ones."""
    legitimate = np.sort(logits[~unwanted])[::-1]
    return float((logits[unwanted] > legitimate[int(legitimate.size * blocked_legitimate)]).mean())


def _with_scores(trained: LanguageModel, logits: F32, unwanted: B1) -> LanguageModel:
    """The score table and the thresholds, from left-out logits.

    Log-odds of bins of messages, made rising (pool adjacent violators), with a least slope: no two logits share a
    score, so that ranking by score is ranking by logit.
    """
    order = np.argsort(logits, kind="stable")
    spam = np.sort(logits[unwanted])
    # Half of the knots follow the unwanted messages, half the suspicious legitimate ones.
    legitimate = np.sort(logits[~unwanted])
    edges = np.unique(
        np.concatenate(
            [
                np.quantile(spam, np.linspace(0.02, 0.98, KNOTS // 2)),
                np.quantile(legitimate, 1 - np.geomspace(0.0005, 0.5, KNOTS // 2)),
            ]
        )
    )
    bins = np.searchsorted(edges, logits[order], side="right")
    total = np.bincount(bins, minlength=edges.size + 1).astype(np.float64)
    positive = np.bincount(bins, weights=unwanted[order], minlength=edges.size + 1)
    middle = np.bincount(bins, weights=logits[order], minlength=edges.size + 1) / np.maximum(total, 1)
    used = total > 0
    x, rate, mass = middle[used], ((positive + 0.5) / (total + 1.0))[used], total[used]
    y = _rising(np.log(rate / (1 - rate)), mass)
    x = np.concatenate([[x[0] - 20], x, [x[-1] + 20]])
    y = np.concatenate([[y[0] - 4], y, [y[-1] + 2]])
    y = y + 0.05 * (x - x.mean())
    points = np.unique(np.concatenate([x, np.linspace(x[1], x[-2], KNOTS)]))
    table_x = points.astype(np.float32)
    table_y = (1 / (1 + np.exp(-np.interp(points, x, y)))).astype(np.float32)
    keep = np.concatenate([[True], (np.diff(table_x) > 0) & (np.diff(table_y) > 0)])
    trained = trained._replace(calibration_logit=table_x[keep], calibration_score=table_y[keep])
    block = np.float32(_quantile(legitimate, 1 - BLOCKED_LEGITIMATE))
    flag = np.float32(_quantile(legitimate, 1 - FLAGGED_LEGITIMATE))
    # At or above is blocked, so the threshold lies just above the highest legitimate message that passes.
    return trained._replace(
        flag_at=np.nextafter(model.calibrated(trained, flag), np.float32(1)),
        block_at=np.nextafter(model.calibrated(trained, block), np.float32(1)),
    )


def _rising(values: npt.NDArray[np.float64], mass: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Pool adjacent violators: the nearest rising sequence, weighted by `mass`."""
    blocks: list[list[float]] = []
    for value, weight in zip(values.tolist(), mass.tolist(), strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            v, w, n = blocks.pop()
            u = blocks[-1]
            u[0] = (u[0] * u[1] + v * w) / (u[1] + w)
            u[1] += w
            u[2] += n
    return np.array([value for value, _, count in blocks for _ in range(int(count))])


def final_logits(trained: Model, texts: pa.Array) -> tuple[F32, F32, B1]:
    """Final spam logits, all first logits float32[n, 6] and whether each text reads as Chinese, for evaluation."""
    pointers, grams, counts = model.read_column(texts)
    data, ends = model.text_bytes(texts)
    chinese = counts[:, 0] == 1
    final = np.empty(counts.shape[0], np.float32)
    first = np.empty((counts.shape[0], 6), np.float32)
    for language, chosen in ((trained.chinese, np.flatnonzero(chinese)), (trained.english, np.flatnonzero(~chinese))):
        at, taken = take_rows(pointers, grams, chosen)
        logits, inputs = first_look(at, taken, counts[chosen], language)
        first[chosen] = logits
        final[chosen] = second_look(at, taken, data, ends[chosen], ends[chosen + 1], logits, inputs, language)
    return final, first, chinese
