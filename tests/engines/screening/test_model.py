"""The model file, and the plain scorer that the compiled ones must equal."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mingbai.engines.screening import alphabet, model
from mingbai.engines.screening.model import EMPTY_SLOT, Model, ModelMismatch, calibrated
from mingbai.engines.screening.training import final_logits
from mingbai.kernel.errors import BadValue

TEXTS = [
    "明天几点吃饭",
    "【某某银行】您的验证码是123456，请勿告诉他人",
    "澳门娱乐城注册送88元，加微信abc123，详情www.example.cc",
    "代开发票，点数低，电话13800000000",
    "Win a free prize now, call 09061234567!",
    "hi mum how r u",
    "",
    "🎁🎁🎁",
    "12345",
]


SHIPPED = Model.load()


@pytest.fixture
def shipped() -> Model:
    return SHIPPED


def test_saved_model_is_read_back_the_same(shipped: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    shipped.save(path)
    again = Model.load(path)
    assert again.version == shipped.version
    assert again.about == shipped.about
    again.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_version_changes_with_any_array(shipped: Model) -> None:
    leaf = np.append(shipped.chinese.forest_leaf, np.float32(0))
    assert replace(shipped, chinese=shipped.chinese._replace(forest_leaf=leaf)).version != shipped.version
    moved = shipped.english._replace(block_at=np.nextafter(shipped.english.block_at, np.float32(1)))
    assert replace(shipped, english=moved).version != shipped.version


def test_model_of_another_alphabet_is_refused(shipped: Model, tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    replace(shipped, alphabet_version="0123456789ab").save(path)
    with pytest.raises(ModelMismatch, match=f"0123456789ab.*{alphabet.version()}"):
        Model.load(path)


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04 torn"])
def test_what_is_no_model_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(BadValue, match="model file"):
        Model.load(path)


def test_shipped_model_was_trained_for_this_reading(shipped: Model) -> None:
    assert shipped.alphabet_version == alphabet.version()
    assert shipped.reading_version == model.reading_version()


def test_empty_slots_say_nothing(shipped: Model) -> None:
    for language in (shipped.chinese, shipped.english):
        empty = language.table[language.table >> np.uint64(56) == 0]
        neutral = np.count_nonzero(empty == EMPTY_SLOT)
        assert neutral > 0.9 * empty.size  # the others hold a gram whose tag is 0


def test_thresholds_and_score_table_rise(shipped: Model) -> None:
    for language in (shipped.chinese, shipped.english):
        assert 0 < language.flag_at < language.block_at < 1
        assert (np.diff(language.calibration_logit) > 0).all()
        assert (np.diff(language.calibration_score) > 0).all()
        logits = np.linspace(
            language.calibration_logit[0] - 1, language.calibration_logit[-1] + 1, 500, dtype=np.float32
        )
        scores = [calibrated(language, logit) for logit in logits]
        assert scores == sorted(scores)
        assert 0 <= scores[0] < scores[-1] <= 1


def test_forest_nodes_point_to_nodes_and_leaves(shipped: Model) -> None:
    for language in (shipped.chinese, shipped.english):
        child = language.forest_child
        assert (child < language.forest_feature.size).all()
        assert (~child[child < 0] < language.forest_leaf.size).all()
        # Every node lies behind its parent, so each walk ends.
        assert (np.where(child >= 0, child, 2**30) > np.arange(child.shape[0])[:, None]).all()


def assert_compiled_equals_plain(trained: Model, texts: list[str]) -> None:
    logits, first, _ = final_logits(trained, pa.array(texts, pa.string()))
    for row, text in enumerate(texts):
        scored = trained.reference_score(text)
        assert scored.logit == logits[row], text
        assert (scored.category_logits == first[row, 1:]).all(), text


def test_compiled_scoring_equals_plain_scoring(shipped: Model) -> None:
    assert_compiled_equals_plain(shipped, TEXTS)


def test_compiled_forest_equals_plain_forest(shipped: Model) -> None:
    everything = [
        language._replace(doubt_low=np.float32(-99), doubt_high=np.float32(99))
        for language in (shipped.chinese, shipped.english)
    ]
    always = replace(shipped, chinese=everything[0], english=everything[1])
    assert_compiled_equals_plain(always, TEXTS)
    assert always.reference_score(TEXTS[0]).second_look


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60).filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text)))
def test_any_text_has_a_finite_score(text: str) -> None:
    scored = SHIPPED.reference_score(text)
    assert np.isfinite(scored.logit)
    assert 0 <= scored.score <= 1


def test_a_number_is_known_by_its_shape_only() -> None:
    """No feature can hold a phone number: other digits of the same shape give the same grams."""
    rng = random.Random(7)
    for frame in ("联系电话{}谢谢", "call {} now", "QQ{}加我", "account {} balance"):
        for first in ("13", "15", "18", "8620", "7"):
            one, other = (first + "".join(rng.choices("13579", k=9)) for _ in range(2))
            same = model.read(frame.format(one))[0] == model.read(frame.format(other))[0]
            assert same.all(), frame
