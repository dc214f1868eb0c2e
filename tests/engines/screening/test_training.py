"""Training on generated messages: small, but the whole way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mingbai.engines import scenarios
from mingbai.engines.screening import model
from mingbai.engines.screening.examples import Label, LabelledFile, clusters, guess_category, meaning
from mingbai.engines.screening.fitting import FitSettings
from mingbai.engines.screening.forest import ForestSettings
from mingbai.engines.screening.model import NO_FEATURE, Model
from mingbai.engines.screening.rounding import MIN_CLUSTERS, choose, tell
from mingbai.engines.screening.training import LanguageSettings, TrainingSettings, final_logits, recall, train
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category

SMALL = LanguageSettings(FitSettings(epochs=8, step=0.3), ForestSettings(grams=200, trees=3, leaves=7), bits=16)
SETTINGS = TrainingSettings(SMALL, SMALL, scenario_rows=100)


def generated(seed: int, rows: int) -> list[LabelledFile]:
    batch = scenarios.generate(seed, rows).to_pydict()
    return [LabelledFile("generated", batch["text"], [Category(value).label for value in batch["category"]])]


@pytest.mark.slow
def test_same_files_and_seed_give_the_same_model_and_another_seed_another(tmp_path: Path) -> None:
    files = generated(5, 1600)
    labels = list(files[0].labels)
    labels[::40] = ["ham" if label == "fraud" else "fraud" for label in labels[::40]]  # mistakes, to be in doubt of
    files = [LabelledFile("generated", files[0].texts, labels)]
    reports = [train(files, tmp_path / f"{n}.npz", seed, SETTINGS) for n, seed in enumerate((1, 1, 2))]
    assert reports[0] == reports[1]
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "1.npz").read_bytes()
    assert reports[2].version != reports[0].version
    trained = Model.load(tmp_path / "0.npz")
    assert trained.version == reports[0].version
    for figures in (reports[0].chinese, reports[0].english):
        assert 0 <= figures.recall_at_0_1_percent <= figures.recall_at_0_5_percent <= 1
        assert figures.doubt_share <= 0.02
    assert reports[0].chinese.doubt_share > 0
    points = trained.chinese.forest_points != NO_FEATURE
    assert points.any()
    assert not points[ord("0") : ord("9") + 1].any()
    fresh = scenarios.generate(99, 600, language="zh").to_pydict()
    logits = final_logits(trained, pa.array(fresh["text"], pa.string()))[0]
    unwanted = np.array(fresh["unwanted"])
    in_order = logits[unwanted][:, None] > logits[~unwanted][None, :]
    assert in_order.mean() > 0.8  # of pairs; a model that learnt nothing gets half of them right


def test_unknown_label_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="'politics'"):
        train([LabelledFile("a", ["text"], ["politics"])], tmp_path / "m.npz", 1, SETTINGS)


def test_too_few_messages_are_refused(tmp_path: Path) -> None:
    files = [LabelledFile("a", ["hello there", "buy now"], ["ham", "spam"])]
    with pytest.raises(BadValue, match="too few"):
        train(files, tmp_path / "m.npz", 1, SETTINGS)
    assert not (tmp_path / "m.npz").exists()


def test_labels_mean_what_the_mapping_says() -> None:
    assert meaning("AD:Loan") == Label(True, Category.ADVERTISING)
    assert meaning("FR:Phishing(Bank)") == Label(True, Category.FRAUD)
    assert meaning("IL:Gambling") == Label(True, Category.ILLEGAL_TRADE)
    assert meaning("ham_p2p") == Label(False, Category.PERSONAL)
    assert meaning("0") == Label(False)
    assert meaning("illegal_trade") == Label(True, Category.ILLEGAL_TRADE)


def test_plain_words_settle_an_open_category_and_never_a_given_one() -> None:
    notice = "【某某银行】您尾号1234的账户余额100元"
    assert guess_category(notice, Label(False)) == Label(False, Category.NOTIFICATION)
    assert guess_category("代开发票", Label(True)) == Label(True, Category.ILLEGAL_TRADE)
    assert guess_category(notice, Label(False, Category.PERSONAL)) == Label(False, Category.PERSONAL)
    assert guess_category("your prize is waiting", Label(True)) == Label(True)


def test_near_duplicates_share_a_cluster_and_others_do_not() -> None:
    texts = [
        "【商城】全场五折，满二百减五十，地址解放路12号，电话13800000001，欢迎光临",
        "【商城】全场五折，满二百减五十，地址解放路88号，电话13900000002，欢迎光临",
        "妈，今天晚上加班，不回家吃饭了，你们先吃",
    ]
    pointers, grams, _ = model.read_column(pa.array(texts, pa.string()))
    found = clusters(pointers, grams)
    assert found[0] == found[1] != found[2]


def test_a_feature_occurs_in_at_least_five_clusters() -> None:
    pointers = np.arange(11, dtype=np.int64)  # ten rows of one gram each
    grams = np.array([1 << 60] * 6 + [2 << 60] * 4, np.uint64)
    unwanted = np.array([1] * 6 + [0] * 4, np.float32)
    rows = np.arange(10, dtype=np.int64)
    assert MIN_CLUSTERS == 5
    assert tell(pointers, grams, rows, unwanted)[0].tolist() == [1 << 60]
    together = np.array([0, 0, 0, 1, 2, 3, 6, 7, 8, 9], np.int64)  # the first gram is in four clusters only
    assert tell(pointers, grams, together, unwanted)[0].size == 0


def test_the_more_telling_gram_keeps_a_slot_that_two_want() -> None:
    grams = np.array([1, 2, 1 << 60], np.uint64)
    assert choose(grams, np.array([0.1, 0.3, 0.2]), bits=4, limit=10).tolist() == [2, 1 << 60]


def test_recall_is_read_at_the_share_of_blocked_legitimate_messages() -> None:
    logits = np.array([*range(1000), 998.5, 999.5, 5.0], np.float32)
    unwanted = np.array([False] * 1000 + [True] * 3)
    assert recall(logits, unwanted, 0.001) == pytest.approx(2 / 3)
