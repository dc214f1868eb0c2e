"""What traffic looks like to a model, in a few histograms, and how far two such looks lie apart.

A model was made for messages of a certain kind. When senders write otherwise, or other people send, its figures no
longer hold, long before anybody complains. A `Profile` counts what can be seen without knowing the truth: scores,
lengths, languages, categories, links, evasion, and which grams are frequent. Two profiles are compared by the
population stability index, with the limits that credit scoring has used for decades: below 0.1 stable, from 0.25 on
shifted (Siddiqi 2006, Credit Risk Scorecards; what it measures: Yurdakul 2018).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines import scenarios
from mingbai.engines.screening import model as models
from mingbai.engines.screening.comparison import scores_of
from mingbai.engines.screening.kernel import EVASIVE
from mingbai.engines.screening.model import Model
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category

SCORE_BINS: Final = 20
LENGTHS: Final = (0, 10, 20, 35, 50, 70, 100, 140, 210, 350)  # letters from which a bin begins
GRAM_BUCKETS: Final = 1024
SHOWN_BUCKETS: Final = 64  # the most frequent of the reference; the others are one bin
WATCH_AT: Final = 0.1
SHIFTED_AT: Final = 0.25
# With B bins, two samples of n messages of the same traffic differ by about 2 B / n: 0.08 here, so nearly "watch".
MIN_MESSAGES: Final = 500
SHIPPED: Final = "model.reference.json"

_SOME_DAY: Final = date(2026, 1, 1)
_PSEUDO: Final = 0.5  # added to each bin: an empty one is not infinitely far


class Feature(StrEnum):
    """What is counted."""

    SCORE_CHINESE = "score_chinese"
    SCORE_ENGLISH = "score_english"
    LANGUAGE = "language"
    CATEGORY = "category"
    LENGTH = "length"
    LINKS = "links"
    EVASION = "evasion"
    GRAMS_CHINESE = "grams_chinese"
    GRAMS_ENGLISH = "grams_english"


class Level(StrEnum):
    """How far a feature has moved; `too_few`: fewer than `MIN_MESSAGES` messages, so that nothing can be said."""

    STABLE = "stable"
    WATCH = "watch"
    SHIFTED = "shifted"
    TOO_FEW = "too_few"


@dataclass(frozen=True, slots=True)
class Profile:
    """Histograms of messages as one model sees them. source: what the messages are, in a few words.

    histograms: of each feature the count by bin. Scores: "0.00", "0.05", ... by where the bin begins; lengths likewise;
    grams: number of the bucket, by hash.
    """

    model: str
    source: str
    messages: int
    histograms: Mapping[Feature, Mapping[str, int]]

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        counts = {str(feature): dict(counts) for feature, counts in self.histograms.items()}
        return {"model": self.model, "source": self.source, "messages": self.messages, "histograms": counts}

    @classmethod
    def from_dict(cls, values: object) -> Profile:
        """The other way. Raises BadValue."""
        try:
            if not isinstance(values, dict):
                raise TypeError
            histograms = {
                Feature(name): {str(label): int(count) for label, count in counts.items()}
                for name, counts in values["histograms"].items()
            }
            return cls(str(values["model"]), str(values["source"]), int(values["messages"]), histograms)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadValue(field="reference", value=type(values).__name__, expected="a profile of messages") from error


@dataclass(frozen=True, slots=True)
class Bin:
    """Shares 0..1 of the messages (of grams: of the grams) in one bin."""

    label: str
    expected: float
    actual: float


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One feature of two profiles. psi: population stability index, 0 for equal shares."""

    feature: Feature
    psi: float
    level: Level
    bins: tuple[Bin, ...]


def profile_of(texts: Sequence[str], model: Model, source: str) -> Profile:
    """Count messages as `model` sees them."""
    scores = scores_of(model, texts)
    pointers, grams, counts = models.read_column(pa.array(texts, pa.string()))
    chinese = scores.is_chinese
    histograms: dict[Feature, Mapping[str, int]] = {
        Feature.LANGUAGE: {"chinese": int(chinese.sum()), "english": int((~chinese).sum())},
        Feature.CATEGORY: {one.label: int((scores.category == one).sum()) for one in Category},
        Feature.LENGTH: _counted(np.searchsorted(LENGTHS, counts[:, 1], side="right") - 1, [str(n) for n in LENGTHS]),
        Feature.LINKS: _counted((scores.notes >> 4) & 3, ["none", "plain", "hidden", "both"]),
        Feature.EVASION: _counted((scores.notes & EVASIVE) != 0, ["plain", "evasive"]),
    }
    spread = np.repeat(chinese, np.diff(pointers))
    buckets = (grams >> np.uint64(64 - GRAM_BUCKETS.bit_length() + 1)).astype(np.int64)
    for score_of, grams_of, is_language, is_gram in (
        (Feature.SCORE_CHINESE, Feature.GRAMS_CHINESE, chinese, spread),
        (Feature.SCORE_ENGLISH, Feature.GRAMS_ENGLISH, ~chinese, ~spread),
    ):
        histograms[score_of] = _counted(score_bins(scores.score[is_language]), list(SCORE_LABELS))
        histograms[grams_of] = _counted(buckets[is_gram], [str(bucket) for bucket in range(GRAM_BUCKETS)])
    return Profile(model.version, source, len(texts), histograms)


SCORE_LABELS: Final = tuple(f"{number / SCORE_BINS:.2f}" for number in range(SCORE_BINS))


def score_bins(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Bin of each score."""
    return np.minimum((scores * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)


def _counted(bins: npt.NDArray[np.generic], labels: Sequence[str]) -> dict[str, int]:
    found = np.bincount(bins.astype(np.int64), minlength=len(labels)).tolist()
    return dict(zip(labels, found, strict=True))


def compare_profiles(reference: Profile, recent: Profile) -> tuple[FeatureDrift, ...]:
    """How far each feature of `recent` lies from `reference`; features that either lacks are left out."""
    found = []
    for feature in Feature:
        if feature not in reference.histograms or feature not in recent.histograms:
            continue
        expected, actual = dict(reference.histograms[feature]), dict(recent.histograms[feature])
        if feature in (Feature.GRAMS_CHINESE, Feature.GRAMS_ENGLISH):
            expected, actual = _most_frequent(expected, actual)
        bins = _shares(expected, actual)
        psi = float(sum((one.actual - one.expected) * np.log(one.actual / one.expected) for one in bins))
        found.append(FeatureDrift(feature, psi, _level(psi, _messages(feature, reference, recent)), bins))
    return tuple(found)


def _most_frequent(expected: dict[str, int], actual: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    labels = sorted(expected, key=lambda label: (-expected[label], label))[:SHOWN_BUCKETS]
    cut = []
    for counts in (expected, actual):
        some = {label: counts.get(label, 0) for label in labels}
        cut.append({**some, "other": sum(counts.values()) - sum(some.values())})
    return cut[0], cut[1]


def _shares(expected: dict[str, int], actual: dict[str, int]) -> tuple[Bin, ...]:
    labels = list(dict.fromkeys([*expected, *actual]))
    padding = _PSEUDO * len(labels)
    of_expected, of_actual = sum(expected.values()) + padding, sum(actual.values()) + padding
    return tuple(
        Bin(label, (expected.get(label, 0) + _PSEUDO) / of_expected, (actual.get(label, 0) + _PSEUDO) / of_actual)
        for label in labels
    )


def _messages(feature: Feature, *profiles: Profile) -> int:
    """Messages that the feature is about, in the profile with fewer."""
    language = feature.rpartition("_")[2]
    return min(profile.histograms.get(Feature.LANGUAGE, {}).get(language, profile.messages) for profile in profiles)


def _level(psi: float, messages: int) -> Level:
    if messages < MIN_MESSAGES:
        return Level.TOO_FEW
    return Level.SHIFTED if psi >= SHIFTED_AT else Level.WATCH if psi >= WATCH_AT else Level.STABLE


def generated_reference(model: Model, *, seed: int = 1, rows: int = 20_000) -> Profile:
    """The profile of a generated day, for a model whose training data is not at hand.

    The file beside the shipped model is this profile of it; a test compares them, so it is made anew with the model.
    """
    day = scenarios.traffic(seed, rows, _SOME_DAY)
    return profile_of(day.column("text").to_pylist(), model, f"a generated day of traffic, seed {seed}")


def reference_of(model: Model) -> Profile | None:
    """The profile that a model brings: of what it was trained on, or for the shipped one of a generated day. None if
    it brings none."""
    own = model.about.get("reference")
    if own is not None:
        return Profile.from_dict(own)
    shipped = _shipped()
    return shipped if shipped is not None and shipped.model == model.version else None


@cache
def _shipped() -> Profile | None:
    file = files(__package__) / "data" / SHIPPED
    return Profile.from_dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None
