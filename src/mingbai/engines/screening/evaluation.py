"""How good the model is on labelled messages: figures only, never a text.

All figures are of the model alone, without rules and campaigns. The threshold is read off the evaluated legitimate
messages (what the ranking allows at 0.1 % and 0.5 % blocked), and beside it stand the figures at the model's own
`block_at`, fixed when it was trained, which is what an operator gets. Sources in `SOURCES_APART` set no threshold
but are measured at it.

Disguise is measured at the threshold of clean messages: unwanted messages as `scenarios.evasion` disguises them, and
legitimate ones in the odd styles of honest people, against the same messages as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.scenarios import evasion
from mingbai.engines.screening.examples import LABELS, Label, LabelledFile, guess_category, meaning
from mingbai.engines.screening.model import LanguageModel, Model, calibrated
from mingbai.engines.screening.training import SOURCES_APART, final_logits
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category

B1 = npt.NDArray[np.bool_]
F32 = npt.NDArray[np.float32]

SMALLEST_CLASS = 50  # a category with fewer rows is left out of macro-F1
DISGUISED_ROWS = 2000  # unwanted messages per kind of disguise and language
STYLED_ROWS = 6000  # legitimate messages per odd style and language


@dataclass(frozen=True, slots=True)
class Recall:
    """Of one group. Shares 0..1; None where a group has no such messages.

    at_0_1_percent, at_0_5_percent: unwanted messages stopped when that share of the legitimate ones is blocked.
    at_block, blocked_legitimate: at the model's own threshold. blocked_at_0_1_percent: legitimate ones of this group
    blocked at the language's 0.1 %.
    """

    legitimate: int
    unwanted: int
    at_0_1_percent: float | None
    at_0_5_percent: float | None
    at_block: float | None
    blocked_at_0_1_percent: float | None
    blocked_legitimate: float | None


@dataclass(frozen=True, slots=True)
class CategoryFigures:
    rows: int
    precision: float
    recall: float
    f1: float
    stopped_at_0_1_percent: float


@dataclass(frozen=True, slots=True)
class Disguise:
    """clean, disguised: shares stopped (of legitimate messages: blocked) at the 0.1 % threshold of clean messages."""

    rows: int
    clean: float
    disguised: float


@dataclass(frozen=True, slots=True)
class LanguageFigures:
    pooled: Recall
    second_look_share: float
    sources: dict[str, Recall]
    labels: dict[str, Recall]
    disguises: dict[str, Disguise]
    odd_styles: dict[str, Disguise]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """`macro_f1`: over the categories with at least 50 rows, of rows whose category the source or plain words give."""

    version: str
    languages: dict[str, LanguageFigures]
    categories: dict[str, CategoryFigures]
    macro_f1: float | None
    confusion: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Table:
    texts: list[str]
    source: list[str]
    label: list[str]
    unwanted: B1
    category: npt.NDArray[np.int64]
    logits: F32
    guess: npt.NDArray[np.int64]
    chinese: B1
    apart: B1


def evaluate(
    trained: Model,
    files: Sequence[LabelledFile],
    *,
    labels: Mapping[str, Label] = LABELS,
    rate: float = 0.3,
    seed: int = 1,
    picture: Path | None = None,
) -> EvaluationReport:
    """Measure `trained` on `files`.

    rate, seed: of the disguises (rate 0: none). picture: where to draw precision over recall, a PNG (needs matplotlib,
    in the extra `train`). Raises BadValue for an unknown label or files without a message.
    """
    table = _score(trained, files, labels)
    languages: dict[str, LanguageFigures] = {}
    stopped = np.zeros(table.unwanted.size, np.bool_)
    for name, chosen, model in (
        ("chinese", table.chinese, trained.chinese),
        ("english", ~table.chinese, trained.english),
    ):
        pool = chosen & ~table.apart
        if not np.any(pool & ~table.unwanted) or not np.any(pool & table.unwanted):
            continue
        scores = np.array([calibrated(model, logit) for logit in table.logits[chosen]], np.float32)
        blocked = np.zeros(table.unwanted.size, np.bool_)
        blocked[chosen] = scores >= model.block_at
        legitimate = table.logits[pool & ~table.unwanted]
        cuts = (_cut(legitimate, 0.001), _cut(legitimate, 0.005))
        stopped[chosen] = table.logits[chosen] > cuts[0]
        sources = np.array(table.source)
        names = np.array(table.label)
        second = (
            (table.logits > model.doubt_low) & (table.logits < model.doubt_high) if _has_forest(model) else pool & False
        )
        languages[name] = LanguageFigures(
            pooled=_recall(table, pool, cuts, blocked),
            second_look_share=float(second[pool].mean()),
            sources={
                source: _recall(table, chosen & (sources == source), cuts, blocked)
                for source in sorted(set(sources[chosen].tolist()))
            },
            labels={
                label: _recall(table, chosen & (names == label), cuts, blocked)
                for label in sorted(set(names[chosen].tolist()))
            },
            disguises=_disguises(trained, table, pool & table.unwanted, cuts[0], name == "chinese", rate, seed),
            odd_styles=_odd_styles(trained, table, pool & ~table.unwanted, cuts[0], rate, seed),
        )
    categories, macro, confusion = _categories(table, stopped)
    if picture is not None:
        _draw(table, picture)
    return EvaluationReport(trained.version, languages, categories, macro, confusion)


def _has_forest(model: LanguageModel) -> bool:
    return bool(model.doubt_low < model.doubt_high)


def _score(trained: Model, files: Sequence[LabelledFile], labels: Mapping[str, Label]) -> _Table:
    texts = [text for file in files for text in file.texts]
    if not texts:
        raise BadValue(field="files", value="no messages", expected="at least one labelled message")
    names = [label for file in files for label in file.labels]
    meant = [guess_category(text, meaning(name, labels)) for text, name in zip(texts, names, strict=True)]
    # What spam without a category is about was guessed from words for training; it is no truth to measure against.
    given = [meaning(name, labels).category for name in names]
    category = [
        -1 if label.category is None or (label.unwanted and known is None) else int(label.category)
        for label, known in zip(meant, given, strict=True)
    ]
    logits, first, chinese = final_logits(trained, pa.array(texts, pa.string()))
    sources = [file.source for file in files for _ in file.texts]
    return _Table(
        texts,
        sources,
        names,
        np.array([label.unwanted for label in meant], np.bool_),
        np.array(category),
        logits,
        np.argmax(first[:, 1:], axis=1),
        chinese,
        np.array([source.startswith(SOURCES_APART) for source in sources], np.bool_),
    )


def _cut(legitimate: F32, share: float) -> float:
    falling = np.sort(legitimate)[::-1]
    return float(falling[int(falling.size * share)])


def _mean(values: B1) -> float | None:
    return round(float(values.mean()), 5) if values.size else None


def _recall(table: _Table, chosen: B1, cuts: tuple[float, float], blocked: B1) -> Recall:
    spam, ham = chosen & table.unwanted, chosen & ~table.unwanted
    return Recall(
        legitimate=int(ham.sum()),
        unwanted=int(spam.sum()),
        at_0_1_percent=_mean(table.logits[spam] > cuts[0]),
        at_0_5_percent=_mean(table.logits[spam] > cuts[1]),
        at_block=_mean(blocked[spam]),
        blocked_at_0_1_percent=_mean(table.logits[ham] > cuts[0]),
        blocked_legitimate=_mean(blocked[ham]),
    )


def _stopped(trained: Model, texts: Sequence[str], cut: float) -> float:
    # A disguise can make Chinese read as Latin (pinyin): scored as the engine would, by the other language's model,
    # whose blocking threshold then counts.
    logits, _, chinese = final_logits(trained, pa.array(list(texts), pa.string()))
    hit = logits > cut
    return float(hit.mean()) if chinese.size else 0.0


def _disguises(
    trained: Model, table: _Table, chosen: B1, cut: float, chinese: bool, rate: float, seed: int
) -> dict[str, Disguise]:
    rows = np.flatnonzero(chosen)
    if rate <= 0:
        return {}
    found: dict[str, Disguise] = {}
    rng = np.random.default_rng(seed)
    for kind in evasion.CHINESE_KINDS if chinese else evasion.ENGLISH_KINDS:
        drawn = rng.choice(rows, min(rows.size, DISGUISED_ROWS), replace=False)
        disguised = evasion.perturb([table.texts[row] for row in drawn], kind, rate, seed)
        clean = float((table.logits[drawn] > cut).mean())
        found[kind] = Disguise(drawn.size, round(clean, 5), round(_stopped(trained, disguised, cut), 5))
    return found


def _odd_styles(trained: Model, table: _Table, chosen: B1, cut: float, rate: float, seed: int) -> dict[str, Disguise]:
    rows = np.flatnonzero(chosen)
    if rate <= 0:
        return {}
    found: dict[str, Disguise] = {}
    rng = np.random.default_rng(seed)
    for style in evasion.ODD_STYLES:
        drawn = rng.choice(rows, min(rows.size, STYLED_ROWS), replace=False)
        styled = evasion.odd_style([table.texts[row] for row in drawn], style, rate, seed)
        clean = float((table.logits[drawn] > cut).mean())
        found[style] = Disguise(drawn.size, round(clean, 5), round(_stopped(trained, styled, cut), 5))
    return found


def _categories(
    table: _Table, stopped: B1
) -> tuple[dict[str, CategoryFigures], float | None, dict[str, dict[str, int]]]:
    known = table.category >= 0
    figures: dict[str, CategoryFigures] = {}
    confusion: dict[str, dict[str, int]] = {}
    sizes = {category: int(np.count_nonzero(table.category == category)) for category in Category}
    for category, size in sizes.items():
        if size < SMALLEST_CLASS:
            continue
        true, said = table.category == category, (table.guess == category) & known
        hits = int(np.count_nonzero(true & said))
        precision = hits / max(int(said.sum()), 1)
        share = hits / size
        f1 = 2 * precision * share / max(precision + share, 1e-9)
        figures[category.label] = CategoryFigures(
            size, round(precision, 5), round(share, 5), round(f1, 5), round(float(stopped[true].mean()), 5)
        )
        confusion[category.label] = {
            other.label: int(np.count_nonzero(true & (table.guess == other))) for other in Category
        }
    macro = sum(one.f1 for one in figures.values()) / len(figures) if figures else None
    return figures, macro, confusion


def _draw(table: _Table, picture: Path) -> None:
    """Precision over recall, a line a language."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for name, chosen in (("Chinese", table.chinese), ("English", ~table.chinese)):
        pool = chosen & ~table.apart
        unwanted = table.unwanted[pool]
        if not unwanted.any() or unwanted.all():
            continue
        hits = np.cumsum(unwanted[np.argsort(-table.logits[pool], kind="stable")])
        axes.plot(hits / unwanted.sum(), hits / np.arange(1, hits.size + 1), label=f"{name} ({hits.size:,} messages)")
    axes.set(xlabel="recall: unwanted messages stopped", ylabel="precision: stopped messages that are unwanted")
    axes.set(xlim=(0.5, 1.0), ylim=(0.8, 1.002), title="Precision and recall over all thresholds")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figure.savefig(picture, format="png")
