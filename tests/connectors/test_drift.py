"""Drift, from the record of real decisions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from mingbai.connectors.batch.record import Recorder
from mingbai.connectors.drift import measure_drift, profile_of_window, recent_texts
from mingbai.engines.scenarios.traffic import traffic
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.profiles import SCORE_BINS, Feature, Level, reference_of
from mingbai.engines.screening.rules import CompiledRules
from mingbai.engines.screening.schema import MESSAGE
from mingbai.engines.screening.screen import screen
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Verdict
from mingbai.ledger import KeyStore, Ledger, Retention, StreamReader

NOW = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
ROWS = 1500
CHANGED = NOW + timedelta(days=2)  # from then on other people send

Kept = tuple[Path, KeyStore, Model]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Two days of ordinary traffic, then one of English adverts alone."""
    data = tmp_path_factory.mktemp("ledger")
    keys = KeyStore.open_or_create(data / "keys.json")
    model = Model.load()
    policy = Policy(model, CompiledRules.none(), NOW)
    with Ledger.open(data, stream="api", keys=keys, now=NOW) as ledger:
        recorder = Recorder(ledger, policy, lambda: NOW)
        for day in range(3):
            batch = traffic(day, ROWS, NOW.date()).select(MESSAGE.names)
            if day == 2:
                offers = [f"Hot offer {n}! Visit http://www.shop{n}.example.com/sale today" for n in range(ROWS)]
                batch = pa.record_batch({"text": pa.array(offers), "access_code": pa.array(["10690001"] * ROWS)})
            decisions = screen(batch, policy, Counters())[0]
            recorder.record(batch, decisions, at=NOW + timedelta(days=day))
    return data, keys, model


def test_ordinary_traffic_is_compared_with_the_model_s_reference(kept: Kept) -> None:
    data, keys, model = kept
    drift = measure_drift(data, ["api"], keys, model, until=CHANGED)
    reference = reference_of(model)
    assert reference is not None
    assert (drift.model, drift.reference, drift.messages) == (model.version, reference.source, 2 * ROWS)
    levels = {one.feature: one.level for one in drift.features}
    assert levels[Feature.LENGTH] is Level.STABLE
    assert levels[Feature.GRAMS_CHINESE] is Level.STABLE
    assert Level.SHIFTED not in levels.values()


def test_other_senders_are_noticed(kept: Kept) -> None:
    data, keys, model = kept
    before = profile_of_window(data, ["api"], keys, model, until=CHANGED)
    drift = measure_drift(data, ["api"], keys, model, since=CHANGED, reference=before)
    levels = {one.feature: one.level for one in drift.features}
    assert levels[Feature.LANGUAGE] is levels[Feature.LINKS] is Level.SHIFTED
    assert drift.reference_messages == 2 * ROWS


def test_scores_are_given_by_day_and_language(kept: Kept) -> None:
    data, keys, model = kept
    days = measure_drift(data, ["api"], keys, model).days
    assert [(one.day, one.language) for one in days] == sorted((one.day, one.language) for one in days)
    assert sum(sum(one.counts) for one in days) == 3 * ROWS
    assert all(len(one.counts) == SCORE_BINS for one in days)
    assert [one.language for one in days if one.day == CHANGED.date()] == ["english"]


def test_a_sample_is_spread_over_the_time_and_the_same_each_time(kept: Kept) -> None:
    data, keys, model = kept
    drift = measure_drift(data, ["api"], keys, model, sample=600)
    assert drift.messages == 600
    assert {one.day for one in drift.days} == {(NOW + timedelta(days=day)).date() for day in range(3)}
    assert measure_drift(data, ["api"], keys, model, sample=600) == drift


def test_only_messages_of_a_scope_are_counted(kept: Kept) -> None:
    data, keys, model = kept
    assert measure_drift(data, ["api"], keys, model, since=CHANGED, prefixes=("1069000",)).messages == ROWS
    with pytest.raises(BadValue, match="since"):
        measure_drift(data, ["api"], keys, model, prefixes=("999",))


def test_ordinary_texts_are_those_that_were_let_pass(kept: Kept) -> None:
    data, keys, _ = kept
    texts = recent_texts(data, ["api"], keys, until=CHANGED, limit=400)
    assert len(texts) == 400
    reader = StreamReader(data, "api", keys)
    allowed = set()
    for entries, originals in reader.entries_with_originals(["verdict"], until=CHANGED):
        rows = zip(entries.column("verdict").to_pylist(), originals.column("text").to_pylist(), strict=True)
        allowed |= {text for verdict, text in rows if verdict == Verdict.ALLOW}
    assert set(texts) <= allowed


def test_without_texts_or_a_reference_it_says_so(kept: Kept, tmp_path: Path) -> None:
    data, keys, model = kept
    other = Model(
        model.chinese._replace(flag_at=model.chinese.block_at), model.english, model.alphabet_version,
        model.reading_version, {},
    )  # fmt: skip
    with pytest.raises(BadValue, match="reference"):
        measure_drift(data, ["api"], keys, other)
    with pytest.raises(BadValue, match="since"):
        measure_drift(tmp_path, ["api"], keys, model)
    nothing = Retention(allowed_text_days=0, stopped_text_days=0)
    policy = Policy(model, CompiledRules.none(), NOW)
    with Ledger.open(tmp_path, stream="api", keys=keys, now=NOW, retention=nothing) as ledger:
        batch = pa.record_batch({"text": pa.array(["好的"])})
        Recorder(ledger, policy, lambda: NOW).record(batch, screen(batch, policy, Counters())[0], at=NOW)
    with pytest.raises(BadValue, match="since"):
        measure_drift(tmp_path, ["api"], keys, model)
