"""Evidence is well formed for any text, does not depend on what was screened before, and carries the verdict."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.evidence import elsewhere, without
from mingbai.engines import scenarios
from mingbai.engines.screening import evidence, reading
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.jit import Number, arithmetic
from mingbai.engines.screening.model import LANES, LanguageModel, Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.reading import Tables, decode
from mingbai.engines.screening.rules import CompiledRules
from mingbai.engines.screening.scoring import Scratch, new_scratch, read_grams, sum_lanes
from mingbai.engines.screening.screen import screen
from mingbai.kernel.verdicts import Reason

pytestmark = pytest.mark.slow

AT = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = Model.load()
POLICY = Policy(MODEL, CompiledRules.none(), AT)
EVERYTHING = Policy(MODEL, CompiledRules.none(), AT, flag_at=0.0, block_at=0.0)
SPANS = list[tuple[int, int]]

TEXTS = st.text(
    alphabet=st.one_of(
        st.sampled_from("加微信发票贷款中奖点击领取 免费低价，。！123.0oOl:/xz\u200b\ufe0f❤️讠正壹贰"),
        st.sampled_from("free cash win now! txt STOP 08001 http://a.co "),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=120,
)


def marked(texts: list[str], policy: Policy) -> tuple[np.ndarray, list[SPANS]]:
    """Which texts the model blocks, and their spans."""
    rows = screen(pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.string())}), policy, Counters())[0]
    blocked = np.array([int(Reason.MODEL_SPAM) in codes for codes in rows.column("reasons").to_pylist()])
    return blocked, [[(s["start"], s["end"]) for s in spans] for spans in rows.column("spans").to_pylist()]


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4))
@example(["加wei信qian百元，发票，免费加wei信领qu", "贷款 加wei 信领取中奖", "点击领取发票贷款中奖"])
@example(["发票" * 1500, "w1n " * 900, "加❤薇❤信❤" * 200, "a" * 4000, "!?" * 3000 + "发票"])
def test_spans_are_ordered_within_the_text_and_the_same_alone(texts: list[str]) -> None:
    _, together = marked(texts, EVERYTHING)
    for text, spans in zip(texts, together, strict=True):
        places = [place for span in spans for place in span]
        assert places == sorted(places)
        assert all(0 <= start < end <= len(text) for start, end in spans)
        assert marked([text], EVERYTHING)[1] == [spans]


def test_named_evidence_is_short_and_the_message_falls_without_it() -> None:
    # `python -m benchmarks evidence` measures it on real messages. Generated ones lie nearer to the threshold: of them
    # more fall whatever is taken.
    texts = list(dict.fromkeys(scenarios.generate(5, 4000).column("text").to_pylist()))
    blocked, spans = marked(texts, POLICY)
    rows = np.flatnonzero(blocked).tolist()
    assert len(rows) > 300
    shares = np.array([sum(end - start for start, end in spans[r]) / len(texts[r]) for r in rows])
    assert np.quantile(shares, 0.95) <= 0.30
    fell = ~marked([without(texts[r], spans[r]) for r in rows], POLICY)[0]
    rnd = random.Random(3)
    other = ~marked([without(texts[r], elsewhere(texts[r], spans[r], rnd)) for r in rows], POLICY)[0]
    assert fell.mean() > 0.8
    assert other.mean() < 0.25


@arithmetic
def lanes_after(
    data: reading.U8, model: LanguageModel, tables: Tables, unit: int, sums: np.ndarray, s: Scratch
) -> Number:
    """Lanes of a text, with one unit taken out by `evidence.take` if unit >= 0, into sums; returns matched grams."""
    n, m, d, _, counts, chars = decode(
        data, 0, data.shape[0], tables.alphabet, tables.counting, s.buf, s.pos, s.marks, s.digits
    )
    s.pos[n] = chars
    latin, hanzi = (counts >> 12) & reading.LANE, (counts >> 24) & reading.LANE
    chinese = reading.is_chinese(hanzi, latin)
    g = read_grams(n, m, d, hanzi, latin, False, tables, s)
    matched = s.lanes[LANES] = sum_lanes(s.grams, g, model.table, model.shift, s.lanes)
    if unit >= 0:
        evidence.find_gradient(model, s)
        tail = evidence.link(model, n, g, chinese, chinese, tables, s)
        units = evidence.find_units(n, m, chinese, s)
        evidence.spread(n, g, tail, units, chinese, s)
        evidence.take(model, unit, g, tail, chinese, chinese, s)
        matched = s.lanes[LANES]
    for lane in range(LANES):
        sums[lane] = s.lanes[lane]
    return matched


@settings(max_examples=200, deadline=None)
@given(st.text("加微信发票贷款中奖点击领取免费低价您的账户", min_size=2, max_size=40), st.data())
def test_taking_a_letter_leaves_the_sums_of_the_shorter_message(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 1))
    s, tables = new_scratch(), reading.tables()
    left, whole = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    octets = [np.frombuffer(t.encode(), np.uint8) for t in (text, text[:place] + text[place + 1 :])]
    matched = lanes_after(octets[0], MODEL.chinese, tables, place, left, s)
    assert lanes_after(octets[1], MODEL.chinese, tables, -1, whole, s) == matched
    assert left.tolist() == whole.tolist()
