"""The compiled screen scores as `Model.reference_score` defines it, bit for bit."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mingbai.engines import scenarios
from mingbai.engines.screening import kernel
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rules import CompiledRules
from mingbai.engines.screening.schema import text_buffers
from mingbai.engines.screening.screen import read_rows

MODEL = Model.load()
POLICY = Policy(MODEL, CompiledRules.none(), datetime(2026, 1, 1, tzinfo=UTC))


def assert_scores_as_defined(texts: list[str]) -> None:
    seen = read_rows(*text_buffers(pa.RecordBatch.from_pydict({"text": texts})), POLICY)
    for k, text in enumerate(texts):
        expected = MODEL.reference_score(text)
        assert seen.score[k] == expected.score and seen.logit[k] == expected.logit, text
        assert seen.category[k] == expected.category, text
        assert bool(seen.notes[k] & kernel.SECOND_LOOK) == expected.second_look, text


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_any_text_scores_as_defined(texts: list[str]) -> None:
    assert_scores_as_defined(texts)


def test_messages_score_as_defined(seed: int) -> None:
    assert_scores_as_defined(scenarios.generate(seed, 400).column("text").to_pylist())


def test_disguised_messages_score_as_defined(seed: int) -> None:
    texts = scenarios.generate(seed, 200, language="zh").column("text").to_pylist()
    assert_scores_as_defined(scenarios.perturb(texts, "mixed", 0.5, seed))


def test_the_model_file_holds_no_digits_of_a_phone_number() -> None:
    # Digits never reach the model: numbers of one shape read alike, so no weight can depend on them.
    a, b = "请致电13800138000或13912345678", "请致电18600000001或15999999999"
    assert MODEL.reference_score(a).logit == MODEL.reference_score(b).logit
