"""What traffic looks like to a model, and how far two looks lie apart."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mingbai.engines import scenarios
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.profiles import (
    MIN_MESSAGES,
    SCORE_BINS,
    SHOWN_BUCKETS,
    Feature,
    FeatureDrift,
    Level,
    Profile,
    compare_profiles,
    generated_reference,
    profile_of,
    reference_of,
)
from mingbai.kernel.errors import BadValue


@pytest.fixture(scope="module")
def shipped() -> Model:
    return Model.load()


def texts(seed: int, rows: int = 2000, **how: str) -> list[str]:
    found: list[str] = scenarios.generate(seed, rows, **how).column("text").to_pylist()
    return found


def by_feature(found: tuple[FeatureDrift, ...]) -> dict[Feature, FeatureDrift]:
    return {one.feature: one for one in found}


def test_every_message_is_counted_once_in_each_histogram(shipped: Model) -> None:
    some = texts(1, 900)
    profile = profile_of(some, shipped, "test")
    histograms = profile.histograms
    assert profile.messages == 900
    for feature in (Feature.LANGUAGE, Feature.CATEGORY, Feature.LENGTH, Feature.LINKS, Feature.EVASION):
        assert sum(histograms[feature].values()) == 900
    assert sum(histograms[Feature.SCORE_CHINESE].values()) == histograms[Feature.LANGUAGE]["chinese"]
    assert sum(histograms[Feature.SCORE_ENGLISH].values()) == histograms[Feature.LANGUAGE]["english"]
    assert len(histograms[Feature.SCORE_CHINESE]) == SCORE_BINS


def test_messages_are_counted_as_they_are(shipped: Model) -> None:
    profile = profile_of(["好的", "see you at http://www.example.com/a then", ""], shipped, "test")
    assert profile.histograms[Feature.LANGUAGE] == {"chinese": 1, "english": 2}
    assert profile.histograms[Feature.LENGTH]["0"] == 2
    assert profile.histograms[Feature.LINKS]["plain"] == 1


def test_the_same_kind_of_traffic_is_stable(shipped: Model) -> None:
    found = compare_profiles(profile_of(texts(1), shipped, "a"), profile_of(texts(2), shipped, "b"))
    assert {one.feature for one in found} == set(Feature)
    assert {one.level for one in found} == {Level.STABLE}
    assert all(one.psi >= 0 for one in found)
    for one in found:
        assert sum(bin.expected for bin in one.bins) == pytest.approx(1)
        assert sum(bin.actual for bin in one.bins) == pytest.approx(1)


def test_a_profile_does_not_differ_from_itself(shipped: Model) -> None:
    profile = profile_of(texts(1, 600), shipped, "a")
    assert all(one.psi == pytest.approx(0) for one in compare_profiles(profile, profile))


def test_a_new_campaign_shifts_the_scores_and_the_grams(shipped: Model) -> None:
    """Half of the traffic becomes one lure in many copies."""
    lure = [f"【内蒙古】元宇宙藏品空投{number}，http://a{number}.example.top/x 速领" for number in range(2000)]
    found = by_feature(compare_profiles(profile_of(texts(1), shipped, "a"), profile_of(texts(2) + lure, shipped, "b")))
    assert found[Feature.GRAMS_CHINESE].level is not Level.STABLE
    assert found[Feature.LINKS].level is Level.SHIFTED
    assert found[Feature.GRAMS_ENGLISH].level is Level.STABLE
    assert len(found[Feature.GRAMS_CHINESE].bins) == SHOWN_BUCKETS + 1


def test_another_language_is_seen(shipped: Model) -> None:
    both, english = profile_of(texts(1), shipped, "a"), profile_of(texts(2, language="en"), shipped, "b")
    found = by_feature(compare_profiles(both, english))
    assert found[Feature.LANGUAGE].level is Level.SHIFTED
    assert found[Feature.SCORE_CHINESE].level is Level.TOO_FEW


def test_of_few_messages_nothing_is_said(shipped: Model) -> None:
    few = profile_of(texts(2, MIN_MESSAGES - 1), shipped, "b")
    assert {one.level for one in compare_profiles(profile_of(texts(1), shipped, "a"), few)} == {Level.TOO_FEW}


def test_a_profile_is_kept_as_json(shipped: Model) -> None:
    profile = profile_of(texts(1, 50), shipped, "a")
    assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))) == profile


@pytest.mark.parametrize("wrong", [None, [], {}, {"model": "a"}, {"histograms": {"mood": {}}}])
def test_what_is_no_profile_is_refused(wrong: object) -> None:
    with pytest.raises(BadValue, match="reference"):
        Profile.from_dict(wrong)


def test_the_shipped_reference_is_that_of_the_shipped_model(shipped: Model) -> None:
    """Retrained? `generated_reference(Model.load()).to_dict()` goes into data/model.reference.json."""
    assert reference_of(shipped) == generated_reference(shipped)


def test_a_model_brings_its_own_reference_or_none(shipped: Model) -> None:
    profile = profile_of(texts(1, 50), shipped, "a")
    assert reference_of(replace(shipped, about={"reference": profile.to_dict()})) == profile
    other = replace(shipped, chinese=shipped.chinese._replace(flag_at=shipped.chinese.block_at))
    assert reference_of(other) is None
