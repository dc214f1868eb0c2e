"""Learning from reviewed messages: the present model, moved a little, where the data it was trained on is not at hand.

Theory of operation. The fit goes on from the present weights (`fitting.fit` with `start`), with the reviewed messages
and disguised copies of them, as in training. What keeps the model from forgetting everything else:

- *what the present model says is the target* of messages of which nothing is reviewed: generated ones, and recent
  traffic if the caller has some (Li & Hoiem 2016, Learning without Forgetting);
- the head, the forest and the score table stay: only what grams stand for moves, and grams that are new to the model
  may take slots that are empty;
- the result is a point on the line from the old weights to the fitted ones (Wortsman et al. 2022, Robust fine-tuning):
  how far is chosen on reviewed messages that a first fit left out, by log loss, 0 among the choices.

The thresholds are those of the present model, raised where more legitimate messages (left-out and generated ones)
would be blocked than before. They are never lowered: what a review desk sees is no sample of traffic, so it cannot say
how many legitimate messages a lower threshold would cost.

Pure and deterministic: the same model, messages and seed give the same model, bit for bit, on the same kind of machine.
Nothing here looks at the held-back messages but `compare`, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines import scenarios
from mingbai.engines.screening import model as models
from mingbai.engines.screening.comparison import Comparison, Reviewed, compare, scores_of, split, split_key
from mingbai.engines.screening.examples import Examples, Label, add_copies, clusters
from mingbai.engines.screening.fitting import FitSettings, Network, fit
from mingbai.engines.screening.model import EMPTY_SLOT, LANE_BIAS, LANES, LanguageModel, Model
from mingbai.engines.screening.profiles import MIN_MESSAGES, generated_reference, profile_of
from mingbai.engines.screening.rounding import choose, encode, first_look, rounded, tell
from mingbai.engines.screening.training import CHINESE, ENGLISH, proportions_of, take_rows
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category, Verdict

Bools = npt.NDArray[np.bool_]
F32 = npt.NDArray[np.float32]
I8 = npt.NDArray[np.int8]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

MIN_REVIEWED: Final = 40  # messages of a language to learn from; fewer leave its model as it is
LEFT_OUT_ONE_IN: Final = 4  # of the messages to learn from, in the first fit
SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the way to the fitted weights
_GENERATED_APART: Final = 77_000  # added to the seed for generated messages that judge and do not teach


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """Knobs. anchor_weight: in the loss, of a message whose target is what the present model says."""

    fit: FitSettings = field(
        default_factory=lambda: FitSettings(epochs=6, step=0.05, head_step=0.0, dropout=0.4, squares=0.3)
    )
    anchor_weight: float = 0.5
    copy_weight: float = 0.5
    generated_rows: int = 3000  # a language
    reference_rows: int = 5000  # of a generated day, where no background says what traffic looks like
    max_new_grams: int = 8000


@dataclass(frozen=True, slots=True)
class LanguageLearnt:
    """What became of one language's model.

    rows: reviewed messages learnt from; copies: disguised ones of them; anchors: messages that hold the rest in place;
    new_grams: that took an empty slot; share: of the way from the old weights to the fitted ones, 0: unchanged.
    loss_before, loss_after: log loss on left-out reviewed messages. The thresholds are scores.
    """

    rows: int
    copies: int
    anchors: int
    new_grams: int
    share: float
    loss_before: float
    loss_after: float
    flag_at_before: float
    flag_at: float
    block_at_before: float
    block_at: float


@dataclass(frozen=True, slots=True)
class LearnReport:
    """parent, version: of the present and the new model, equal if nothing was gained. A language with too few messages
    is None. comparison: on the held-back messages (None without any); generated: on generated ones."""

    seed: int
    parent: str
    version: str
    learnt: int
    held_back: int
    chinese: LanguageLearnt | None
    english: LanguageLearnt | None
    comparison: Comparison | None
    generated: Comparison

    @property
    def is_worse(self) -> bool:
        """Whether some figure fell, on held-back or on generated messages."""
        return self.generated.is_worse or (self.comparison is not None and self.comparison.is_worse)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of one language. judged: reviewed messages that the first fit leaves out, with their copies."""

    texts: list[str]
    pointers: I64
    grams: U64
    counts: npt.NDArray[np.int32]
    target: F32
    category: I8
    weight: F32
    cluster: I64
    is_reviewed: Bools
    is_copy: Bools
    left_out: Bools


def learn(
    present: Model,
    reviewed: Sequence[Reviewed],
    *,
    seed: int,
    background: Sequence[str] = (),
    on_progress: Callable[[float], None] | None = None,
    settings: LearnSettings | None = None,
) -> tuple[Model, LearnReport]:
    """A new model that also knows what people decided, and how it compares with the present one.

    reviewed: all reviewed messages; those held back are set apart here (`comparison.split`). background: texts of
    recent traffic, unlabelled. on_progress: called with the share done, 0..1. Raises BadValue when there are too few
    messages in both languages, or a weight is not above 0.
    """
    settings = settings or LearnSettings()
    for one in reviewed:
        if not one.weight > 0:
            raise BadValue(field="weight", value=one.weight, expected="a number above 0")
    tell_progress = on_progress or (lambda share: None)
    learnt, held = split(reviewed)
    examples, anchors = _examples(learnt, background, seed, settings)
    pointers, grams, counts = models.read_column(pa.array([*examples.texts, *anchors], pa.string()))
    tell_progress(0.1)
    judges = _generated(seed + _GENERATED_APART, settings.generated_rows)
    parts: list[LanguageLearnt | None] = []
    languages: list[LanguageModel] = []
    for number, is_chinese in enumerate((True, False)):
        language = present.language_of(is_chinese)
        chosen = np.flatnonzero((counts[:, 0] == 1) == is_chinese)
        rows = _select(examples, anchors, learnt, chosen, pointers, grams, counts, language, is_chinese, settings)
        if np.count_nonzero(rows.is_reviewed & ~rows.is_copy) < MIN_REVIEWED:
            languages.append(language)
            parts.append(None)
        else:
            trained, part = _learn_language(present, rows, is_chinese, judges, seed, settings)
            languages.append(trained)
            parts.append(part)
        tell_progress(0.1 + 0.4 * (number + 1))
    if parts == [None, None]:
        raise BadValue(
            field="reviewed", value=f"{len(learnt)} messages to learn from", expected=f"{MIN_REVIEWED} in one language"
        )
    history = present.about.get("learnt")
    bare = Model(languages[0], languages[1], present.alphabet_version, present.reading_version, {})
    # Later traffic is compared with what the model met here: that of the caller, or a generated day.
    reference = generated_reference(bare, seed=seed, rows=settings.reference_rows)
    if len(background) >= MIN_MESSAGES:
        reference = profile_of(background, bare, "recent traffic when the model was made")
    about = {
        **present.about,
        "learnt": [
            *(history if isinstance(history, list) else []),
            {"parent": present.version, "seed": seed, "reviewed": len(learnt), "background": len(background)},
        ],
        "reference": reference.to_dict(),
    }
    made = replace(bare, about=about)
    report = LearnReport(
        seed=seed,
        parent=present.version,
        version=made.version,
        learnt=len(learnt),
        held_back=len(held),
        chinese=parts[0],
        english=parts[1],
        comparison=compare(present, made, held) if held else None,
        generated=compare(present, made, _generated(seed + 2 * _GENERATED_APART, settings.generated_rows)),
    )
    tell_progress(1.0)
    return made, report


def _generated(seed: int, rows: int) -> list[Reviewed]:
    """Generated messages of both languages, with their truth."""
    found: list[Reviewed] = []
    for language in ("zh", "en"):
        batch = scenarios.generate(seed, rows, language=language).to_pydict()
        for text, category in zip(batch["text"], batch["category"], strict=True):
            found.append(Reviewed(text, Category(category)))
    return found


def _examples(
    learnt: Sequence[Reviewed], background: Sequence[str], seed: int, settings: LearnSettings
) -> tuple[Examples, list[str]]:
    """The reviewed messages with their copies, and the texts that hold the rest in place."""
    examples = Examples([], [], [], [], [], [])
    for one in learnt:
        examples.add(one.text, "reviewed", Label(one.is_unwanted, one.category), one.weight)
    add_copies(examples, seed)
    generated = [one.text for one in _generated(seed, settings.generated_rows)]
    return examples, [*generated, *background]


def _select(
    examples: Examples, anchors: list[str], learnt: Sequence[Reviewed], chosen: I64, pointers: I64, grams: U64,
    counts: npt.NDArray[np.int32], language: LanguageModel, is_chinese: bool, settings: LearnSettings,
) -> _Rows:  # fmt: skip
    at, taken = take_rows(pointers, grams, chosen)
    known = len(examples.texts)
    is_reviewed = chosen < known
    own = chosen[is_reviewed]
    origin = np.array(examples.origin, np.int64)
    said = first_look(at, taken, counts[chosen], language)[0]
    target = (1 / (1 + np.exp(-said[:, 0]))).astype(np.float32)
    category = np.argmax(said[:, 1:], axis=1).astype(np.int8)
    weight = np.full(chosen.size, settings.anchor_weight, np.float32)
    unwanted = np.array(examples.unwanted, np.bool_)[own]
    target[is_reviewed] = unwanted
    category[is_reviewed] = np.array(examples.category, np.int8)[own]
    of_unwanted = (CHINESE if is_chinese else ENGLISH).unwanted_weight
    weight[is_reviewed] = np.array(examples.weight, np.float32)[own] * np.where(unwanted, of_unwanted, 1.0)
    is_copy = np.zeros(chosen.size, np.bool_)
    is_copy[is_reviewed] = origin[own] != own
    weight[is_copy] *= np.float32(settings.copy_weight)
    # A cluster is one wording: of the messages themselves, their copies follow.
    first = np.flatnonzero(is_reviewed & ~is_copy)
    of = {int(chosen[row]): int(first[root]) for row, root in
          zip(first, clusters(*take_rows(at, taken, first)), strict=True)} if first.size else {}  # fmt: skip
    cluster = np.array(
        [of.get(int(origin[row]) if row < known else -1, place) for place, row in enumerate(chosen)], np.int64
    )
    sides = [split_key(one.text)[2] % LEFT_OUT_ONE_IN == 0 for one in learnt]
    left_out = np.zeros(chosen.size, np.bool_)
    left_out[is_reviewed] = np.array(sides, np.bool_)[origin[own]] if own.size else False
    texts = [examples.texts[row] if row < known else anchors[row - known] for row in chosen.tolist()]
    return _Rows(texts, at, taken, counts[chosen], target, category, weight, cluster, is_reviewed, is_copy, left_out)


def _learn_language(
    present: Model, rows: _Rows, is_chinese: bool, judges: list[Reviewed], seed: int, settings: LearnSettings
) -> tuple[LanguageModel, LanguageLearnt]:
    language = present.language_of(is_chinese)
    vocabulary = _Vocabulary.of(language, rows, settings.max_new_grams)
    features_at, features = vocabulary.encode(rows.pointers, rows.grams)
    proportions = proportions_of(rows.counts, np.diff(rows.pointers), np.diff(features_at))

    def fitted(learnt: I64, number: int) -> Network:
        at, taken = take_rows(features_at, features, learnt)
        return fit(
            at, taken, proportions[learnt], rows.target[learnt], rows.category[learnt], rows.weight[learnt],
            vocabulary.keys.size, settings.fit, seed + number, vocabulary.start,
        )  # fmt: skip

    def with_language(changed: LanguageModel) -> Model:
        chinese, english = (changed, present.english) if is_chinese else (present.chinese, changed)
        return Model(chinese, english, present.alphabet_version, present.reading_version, {})

    judged = np.flatnonzero(rows.left_out & rows.is_reviewed & ~rows.is_copy)
    texts, truth = [rows.texts[row] for row in judged], rows.target[judged] > 0.5
    own = [one.text for one in judges if not one.is_unwanted]
    legitimate = own + [text for text, is_unwanted in zip(texts, truth, strict=True) if not is_unwanted]
    legitimate = [text for text, is_own in zip(legitimate, scores_of(present, legitimate).is_chinese == is_chinese,
                                               strict=True) if is_own]  # fmt: skip
    part = fitted(np.flatnonzero(~rows.left_out), 0)
    tried = [with_language(vocabulary.towards(language, part, share)) for share in SHARES]
    losses = [_log_loss(one, texts, truth) for one in tried]
    blocked = [int((scores_of(one, legitimate).verdict == Verdict.BLOCK).sum()) for one in tried]
    # Rather a smaller step that costs no legitimate message than a larger one and a higher threshold.
    harmless = [number for number in range(len(SHARES)) if blocked[number] <= blocked[0]]
    best = min(harmless, key=lambda number: losses[number])
    if best == 0:
        best = int(np.argmin(losses))
    share = SHARES[best]
    trained = language
    if share:
        flag_at, block_at = _thresholds(present, tried[best], legitimate, is_chinese)
        whole = fitted(np.arange(rows.target.size), 1)
        trained = vocabulary.towards(language, whole, share)._replace(flag_at=flag_at, block_at=block_at)
    return trained, LanguageLearnt(
        rows=int((rows.is_reviewed & ~rows.is_copy).sum()),
        copies=int(rows.is_copy.sum()),
        anchors=int((~rows.is_reviewed).sum()),
        new_grams=vocabulary.new if share else 0,
        share=share,
        loss_before=losses[0],
        loss_after=losses[best],
        flag_at_before=float(language.flag_at),
        flag_at=float(trained.flag_at),
        block_at_before=float(language.block_at),
        block_at=float(trained.block_at),
    )


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """The grams of a table, as far as it knows them: slot and tag of each, `keys`, rising; and the present weights."""

    keys: U64
    bits: int
    start: Network
    new: int

    @classmethod
    def of(cls, language: LanguageModel, rows: _Rows, limit: int) -> _Vocabulary:
        """Those of the model, and the telling ones of the reviewed messages that find their slot empty."""
        bits = 64 - int(language.shift)
        used = np.flatnonzero(language.table != EMPTY_SLOT)
        slots = language.table[used]
        known = (used.astype(np.uint64) << np.uint64(8)) | (slots >> np.uint64(56))
        own = np.flatnonzero(rows.is_reviewed)
        at, grams = take_rows(rows.pointers, rows.grams, own)
        found, information = tell(at, grams >> np.uint64(64 - bits - 8), rows.cluster[own], rows.target[own])
        is_free = language.table[found >> np.uint64(8)] == EMPTY_SLOT
        fresh = choose(found[is_free] << np.uint64(64 - bits - 8), information[is_free], bits, limit)
        keys = np.concatenate([known, fresh >> np.uint64(64 - bits - 8)])
        lanes = np.zeros((keys.size, LANES), np.float32)
        for lane in range(LANES):
            steps = ((slots >> np.uint64(8 * lane)) & np.uint64(0xFF)).astype(np.int64) - LANE_BIAS
            lanes[: known.size, lane] = steps * language.lane_scale[lane]
        order = np.argsort(keys, kind="stable")
        head = (language.hidden_weights, language.hidden_bias, language.output_weights, language.output_bias)
        return cls(keys[order], bits, Network(lanes[order], *head, language.skip), int(fresh.size))

    def encode(self, pointers: I64, grams: U64) -> tuple[I64, npt.NDArray[np.int32]]:
        return encode(pointers, grams >> np.uint64(64 - self.bits - 8), self.keys)

    def towards(self, language: LanguageModel, fitted: Network, share: float) -> LanguageModel:
        """The model with its lanes moved that share of the way; the model itself for 0."""
        if not share:
            return language
        lanes = self.start.lanes + np.float32(share) * (fitted.lanes - self.start.lanes)
        made = rounded(self.start._replace(lanes=lanes), self.keys << np.uint64(64 - self.bits - 8), self.bits)
        return language._replace(table=made.table, lane_scale=made.lane_scale)


def _log_loss(judged: Model, texts: list[str], unwanted: Bools) -> float:
    if not texts:
        return 0.0
    score = np.clip(scores_of(judged, texts).score.astype(np.float64), 1e-4, 1 - 1e-4)
    return float(-np.log(np.where(unwanted, score, 1 - score)).mean())


def _thresholds(
    present: Model, candidate: Model, legitimate: list[str], is_chinese: bool
) -> tuple[np.float32, np.float32]:
    """The present thresholds for flagging and blocking, raised until no more of these are concerned than before.

    What chance makes of it (two standard deviations) is let pass: to be rid of one message costs recall for all.
    """
    before, after = scores_of(present, legitimate).score, scores_of(candidate, legitimate).score
    falling = np.sort(after)[::-1]
    raised = []
    for threshold in (present.language_of(is_chinese).flag_at, present.language_of(is_chinese).block_at):
        allowed = int((before >= threshold).sum())
        allowed += int(2 * np.sqrt(allowed + 1))
        least = np.float32(0) if allowed >= falling.size else np.nextafter(falling[allowed], np.float32(2))
        raised.append(max(threshold, least))
    return raised[0], raised[1]
