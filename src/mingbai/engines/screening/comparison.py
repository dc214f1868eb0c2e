"""Two models on the same reviewed messages: which is better, where, and which messages change their verdict.

The messages are those that neither model learnt from: a fixed fifth, told by the text alone (`is_held_back`), and the
gold messages, whose answer several people agreed on. Everything is of the models alone, at their own thresholds,
without rules and campaigns. `regressions` names every figure that is worse: a person decides whether it is worth it,
but nobody switches to a worse model without having been told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening import reading
from mingbai.engines.screening.kernel import CHINESE
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rules import CompiledRules
from mingbai.engines.screening.schema import text_buffers
from mingbai.engines.screening.screen import read_rows
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category, Verdict

Bools = npt.NDArray[np.bool_]
F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

HELD_BACK_ONE_IN: Final = 5
SMALLEST_CLASS: Final = 10  # a category with fewer messages is left out of macro-F1
MAX_CHANGES: Final = 1000
BLOCKED_LEGITIMATE: Final = 0.001
# A share that falls by less is not called worse, nor one that falls by a single message: that says nothing.
# Counts of legitimate and of gold messages have no such tolerance.
TOLERANCE: Final = 0.002
_SOME_DAY: Final = datetime(2026, 1, 1, tzinfo=UTC)  # no rule asks for the time: there are none


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A message that a person decided. category: the truth; weight: in learning, 1 is usual; origin: the caller's own
    reference, given back in lists; is_gold: never learnt from."""

    text: str
    category: Category
    weight: float = 1.0
    sender: str | None = None
    origin: str = ""
    is_gold: bool = False

    @property
    def is_unwanted(self) -> bool:
        return self.category >= Category.ADVERTISING


class Regression(StrEnum):
    """What is worse than before."""

    MORE_FALSE_BLOCKS = "more_false_blocks"
    LESS_RECALL = "less_recall"
    LESS_RECALL_AT_0_1_PERCENT = "less_recall_at_0_1_percent"
    LOWER_MACRO_F1 = "lower_macro_f1"
    MORE_GOLD_MISTAKES = "more_gold_mistakes"


@dataclass(frozen=True, slots=True)
class CategoryFigures:
    """Shares 0..1. stopped: of the messages of this category, blocked at the model's threshold."""

    rows: int
    precision: float
    recall: float
    f1: float
    stopped: float


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """One model on the messages. Shares 0..1, None where there are no such messages.

    recall_at_0_1_percent: unwanted messages stopped when that share of the legitimate ones is blocked (with fewer than
    a thousand legitimate ones: none of them). recall_at_block: at the model's own threshold. false_blocks, false_flags:
    legitimate ones blocked, flagged; missed: unwanted ones that would simply pass. macro_f1: over categories with at
    least `SMALLEST_CLASS` messages. gold_mistakes: gold messages blocked or passed wrongly.
    """

    version: str
    recall_at_0_1_percent: float | None
    recall_at_block: float | None
    false_blocks: int
    false_flags: int
    missed: int
    macro_f1: float | None
    gold_mistakes: int
    categories: dict[Category, CategoryFigures]


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """One message that the two models decide differently. `text` is not masked."""

    text: str
    truth: Category
    old: Verdict
    new: Verdict
    old_score: float
    new_score: float
    is_better: bool
    origin: str
    is_gold: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """changes: those for the worse first. better, worse: how many in all."""

    messages: int
    legitimate: int
    unwanted: int
    gold: int
    present: ModelFigures
    candidate: ModelFigures
    changes: tuple[VerdictChange, ...]
    better: int
    worse: int
    regressions: tuple[Regression, ...]

    @property
    def is_worse(self) -> bool:
        return bool(self.regressions)


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model says of n texts, as the screen computes it."""

    score: F32
    category: U8
    is_chinese: Bools
    notes: U8  # bits as in `kernel`
    verdict: U8


def scores_of(model: Model, texts: Sequence[str]) -> Scores:
    """Score texts with the compiled kernel."""
    policy = Policy(model, CompiledRules.none(), _SOME_DAY)
    batch = pa.record_batch({"text": pa.array(texts, pa.string())})
    # No row reaches these thresholds, so that nothing is spent on evidence.
    seen = read_rows(*text_buffers(batch), replace(policy, flag_at=np.inf, block_at=np.inf))
    chinese = (seen.notes & CHINESE) != 0
    flag_at = np.where(chinese, model.chinese.flag_at, model.english.flag_at)
    block_at = np.where(chinese, model.chinese.block_at, model.english.block_at)
    verdict = np.where(
        seen.score >= block_at, Verdict.BLOCK, np.where(seen.score >= flag_at, Verdict.FLAG, Verdict.ALLOW)
    )
    return Scores(seen.score, seen.category, chinese, seen.notes, verdict.astype(np.uint8))


def split_key(text: str) -> bytes:
    """What tells on which side a text falls: of what it is read as, without digits, so that the numbered copies of one
    wording fall on one side."""
    letters, _ = reading.normalised(text)
    return hashlib.sha256("".join(char for char in letters if not char.isdigit()).encode("utf-8", "replace")).digest()


def is_held_back(text: str) -> bool:
    """Whether a reviewed message is kept for judging models and never learnt from; one in five is."""
    return int.from_bytes(split_key(text)[:2], "big") * HELD_BACK_ONE_IN < 65536


def split(reviewed: Sequence[Reviewed]) -> tuple[list[Reviewed], list[Reviewed]]:
    """(to learn from, held back). Gold messages, and whatever reads like one of them, are held back or left out."""
    gold = {split_key(one.text) for one in reviewed if one.is_gold}
    learnt: list[Reviewed] = []
    held: list[Reviewed] = []
    for one in reviewed:
        if one.is_gold or is_held_back(one.text):
            held.append(one)
        elif split_key(one.text) not in gold:
            learnt.append(one)
    return learnt, held


def compare(present: Model, candidate: Model, held_back: Sequence[Reviewed], *, limit: int = MAX_CHANGES) -> Comparison:
    """Measure both models on messages that neither learnt from. limit: verdict changes listed.

    Raises BadValue if there are no messages.
    """
    if not held_back:
        raise BadValue(field="held_back", value="no messages", expected="at least one reviewed message")
    texts = [one.text for one in held_back]
    truth = np.array([int(one.category) for one in held_back], np.uint8)
    gold = np.array([one.is_gold for one in held_back], np.bool_)
    unwanted = truth >= Category.ADVERTISING
    old, new = scores_of(present, texts), scores_of(candidate, texts)
    before = _figures(present, old, truth, gold)
    after = _figures(candidate, new, truth, gold)
    changed = np.flatnonzero(old.verdict != new.verdict)
    better = np.where(unwanted, new.verdict > old.verdict, new.verdict < old.verdict)
    stricter_first = sorted(changed.tolist(), key=lambda row: (bool(better[row]), not gold[row], row))
    changes = tuple(
        VerdictChange(
            text=texts[row],
            truth=held_back[row].category,
            old=Verdict(int(old.verdict[row])),
            new=Verdict(int(new.verdict[row])),
            old_score=float(old.score[row]),
            new_score=float(new.score[row]),
            is_better=bool(better[row]),
            origin=held_back[row].origin,
            is_gold=bool(gold[row]),
        )
        for row in stricter_first[:limit]
    )
    return Comparison(
        messages=len(texts),
        legitimate=int((~unwanted).sum()),
        unwanted=int(unwanted.sum()),
        gold=int(gold.sum()),
        present=before,
        candidate=after,
        changes=changes,
        better=int(better[changed].sum()),
        worse=int((~better[changed]).sum()),
        regressions=tuple(_regressions(before, after, max(TOLERANCE, 1.5 / max(int(unwanted.sum()), 1)))),
    )


def _figures(model: Model, scores: Scores, truth: U8, gold: Bools) -> ModelFigures:
    unwanted = truth >= Category.ADVERTISING
    blocked, flagged = scores.verdict == Verdict.BLOCK, scores.verdict == Verdict.FLAG
    at_cut = None
    if unwanted.any() and not unwanted.all():
        falling = np.sort(scores.score[~unwanted])[::-1]
        at_cut = float((scores.score[unwanted] > falling[int(falling.size * BLOCKED_LEGITIMATE)]).mean())
    categories: dict[Category, CategoryFigures] = {}
    for category in Category:
        true, said = truth == category, scores.category == category
        if true.any():
            hits = int((true & said).sum())
            precision, recall = hits / max(int(said.sum()), 1), hits / int(true.sum())
            f1 = 2 * precision * recall / max(precision + recall, 1e-9)
            stopped = float(blocked[true].mean())
            categories[category] = CategoryFigures(int(true.sum()), precision, recall, f1, stopped)
    counted = [figures.f1 for figures in categories.values() if figures.rows >= SMALLEST_CLASS]
    wrong = np.where(unwanted, scores.verdict == Verdict.ALLOW, blocked)
    return ModelFigures(
        version=model.version,
        recall_at_0_1_percent=at_cut,
        recall_at_block=float(blocked[unwanted].mean()) if unwanted.any() else None,
        false_blocks=int((blocked & ~unwanted).sum()),
        false_flags=int((flagged & ~unwanted).sum()),
        missed=int((unwanted & (scores.verdict == Verdict.ALLOW)).sum()),
        macro_f1=sum(counted) / len(counted) if counted else None,
        gold_mistakes=int((wrong & gold).sum()),
        categories=categories,
    )


def _regressions(before: ModelFigures, after: ModelFigures, tolerance: float) -> list[Regression]:
    found = []
    if after.false_blocks > before.false_blocks:
        found.append(Regression.MORE_FALSE_BLOCKS)
    for regression, old, new in (
        (Regression.LESS_RECALL, before.recall_at_block, after.recall_at_block),
        (Regression.LESS_RECALL_AT_0_1_PERCENT, before.recall_at_0_1_percent, after.recall_at_0_1_percent),
        (Regression.LOWER_MACRO_F1, before.macro_f1, after.macro_f1),
    ):
        if old is not None and new is not None and new < old - tolerance:
            found.append(regression)
    if after.gold_mistakes > before.gold_mistakes:
        found.append(Regression.MORE_GOLD_MISTAKES)
    return found
