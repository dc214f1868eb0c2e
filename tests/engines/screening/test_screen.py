"""The screen as a whole: one verdict a message, with reasons, marks in the original and campaigns."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from typing import Any  # rows of a batch as Python values

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.reading import nids
from mingbai.engines.screening.rulebook import parse
from mingbai.engines.screening.rules import CompiledRules
from mingbai.engines.screening.schema import DECISION
from mingbai.engines.screening.screen import screen
from mingbai.kernel.errors import SchemaMismatch
from mingbai.kernel.verdicts import Category, Reason, Verdict

NOW = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
SPAM = "【惠民贷】无抵押无担保，黑户白户都能做，当天放款最高50万，加薇信：kd8866，或致电13900001111"
CHAT = "晚上一起吃饭吗？我大概六点半到你家楼下"
CODE = "【招商银行】您的验证码是482913，5分钟内有效，请勿告诉他人。"


@cache
def model() -> Model:
    return Model.load()


def policy(rules: str = "", **changes: object) -> Policy:
    compiled = CompiledRules.none()
    if rules:
        head = '[rulebook]\nname = "t"\nversion = "1"\ntime_zone = "Asia/Shanghai"\n'
        compiled = CompiledRules.of(parse(head + rules, nids))
    return Policy(model(), compiled, NOW, **changes)  # type: ignore[arg-type]  # tests pass the field's own type


def rule(**fields: object) -> str:
    defaults = {"id": "r1", "category": "spam", "action": "block", "priority": 10, "owner": "test", "reason": "test"}
    return "[[rule]]\n" + "".join(f"{k} = {v!r}\n" for k, v in (defaults | fields).items())


def batch(texts: list[str], **columns: Sequence[object]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": texts, **columns})


def decide(texts: list[str], given: Policy | None = None, **columns: Sequence[object]) -> list[dict[str, Any]]:
    decisions, _ = screen(batch(texts, **columns), given or policy(), Counters())
    assert decisions.schema.equals(DECISION)
    decisions.validate(full=True)
    rows: list[dict[str, Any]] = decisions.to_pylist()
    return rows


def test_spam_is_blocked_with_evidence_and_chat_and_codes_arrive() -> None:
    spam, chat, code = decide([SPAM, CHAT, CODE])
    assert spam["verdict"] == Verdict.BLOCK and Reason.MODEL_SPAM in spam["reasons"] and spam["spans"]
    assert spam["category"] in (Category.ADVERTISING, Category.FRAUD, Category.ILLEGAL_TRADE)
    assert chat["verdict"] == Verdict.ALLOW and chat["category"] == Category.PERSONAL
    assert code["verdict"] == Verdict.ALLOW and code["category"] == Category.NOTIFICATION


def test_a_disguised_text_scores_like_the_plain_one() -> None:
    disguised = "【惠民贷】无抵 押无担*保，嘿户白户都能做，当夭放款最髙5O万，伽薇信：kd8866，或致电l39OOOOllll"
    assert decide([disguised])[0]["verdict"] == Verdict.BLOCK


def test_an_allow_rule_wins_over_the_model() -> None:
    allowed = policy(rule(action="allow", keywords=["惠民贷"]))
    (row,) = decide([SPAM], allowed)
    assert row["verdict"] == Verdict.ALLOW and row["rules"] == ["r1"] and Reason.RULE_ALLOW in row["reasons"]


@pytest.mark.parametrize("action", ["flag", "hold", "block"])
def test_a_rule_acts_on_what_the_model_lets_pass(action: str) -> None:
    (row,) = decide([CHAT], policy(rule(action=action, keywords=["六点半"])))
    assert row["verdict"] == Verdict[action.upper()]
    assert {"start": CHAT.index("六点半"), "end": CHAT.index("六点半") + 3} in row["spans"]


def test_a_keyword_is_found_through_disguise() -> None:
    (row,) = decide(["晚上六\u200b點 半见"], policy(rule(keywords=["六点半"])))
    assert row["rules"] == ["r1"]


def test_a_host_that_imitates_a_bank_is_held() -> None:
    (row,) = decide(["您的账户需要认证 http://www.lcbc.com.cn/a"])
    assert Reason.URL_LOOKALIKE in row["reasons"] and row["verdict"] >= Verdict.HOLD


def test_one_text_from_many_senders_is_itself_a_reason() -> None:
    texts = [f"老同学聚会改到周{d}晚上，地点还是老地方，收到请回复我一下" for d in "一二三四五六日"] * 6
    senders = [f"1390000{k:04d}" for k in range(len(texts))]
    rows = decide(texts, sender=senders, time=[NOW] * len(texts))
    assert rows[-1]["campaign"] == rows[0]["campaign"] != 0
    assert Reason.CAMPAIGN_BURST not in rows[5]["reasons"] and Reason.CAMPAIGN_BURST in rows[-1]["reasons"]
    assert rows[-1]["verdict"] == Verdict.FLAG


def test_a_service_code_that_reaches_many_is_no_burst() -> None:
    rows = decide(
        [CODE.replace("482913", f"{k:06d}") for k in range(300)],
        sender=["106900001111"] * 300,
        receiver=[f"1390000{k:04d}" for k in range(300)],
        time=[NOW] * 300,
    )
    assert all(Reason.CAMPAIGN_BURST not in row["reasons"] for row in rows)


def test_changed_numbers_names_and_links_stay_one_campaign() -> None:
    texts = [
        f"尊敬的{name}，您的ETC已于{day}日失效，请点击http://etc{day}.example/{link}重新认证，逾期将停用"
        for name, day, link in (("王先生", 3, "aX9"), ("李女士", 14, "q2Z"), ("张三", 28, "m7"))
    ]
    assert len({row["campaign"] for row in decide(texts)}) == 1


def test_scores_do_not_depend_on_batches_or_threads() -> None:
    texts = [SPAM, CHAT, CODE, "Hi mum, this is my new number, please send money", "", "😀", "ok"] * 30
    whole = screen(batch(texts), policy(), Counters())[0].column("score")
    parts = [batch(texts[k : k + 11]) for k in range(0, len(texts), 11)]
    with ThreadPoolExecutor(2) as pool:
        scores = list(pool.map(lambda part: screen(part, policy(), Counters())[0].column("score"), parts))
    assert pa.concat_arrays(scores).equals(whole)


def test_every_kind_of_text_column_is_read() -> None:
    plain = screen(batch([SPAM, CHAT]), policy(), Counters())[0]
    array = pa.array(["x", SPAM, CHAT])
    for column in (array[1:], array[1:].cast(pa.large_string()), array[1:].dictionary_encode()):
        sliced = pa.RecordBatch.from_arrays([column], ["text"])
        assert screen(sliced, policy(), Counters())[0].equals(plain)


def test_a_missing_text_reads_as_empty_and_a_missing_column_is_named() -> None:
    decisions, _ = screen(
        pa.RecordBatch.from_arrays([pa.array([None, SPAM], pa.string())], ["text"]), policy(), Counters()
    )
    assert decisions.column("verdict").to_pylist() == [Verdict.ALLOW, Verdict.BLOCK]
    with pytest.raises(SchemaMismatch, match="text"):
        screen(pa.RecordBatch.from_pydict({"body": ["x"]}), policy(), Counters())
    with pytest.raises(SchemaMismatch, match="int64"):
        screen(pa.RecordBatch.from_pydict({"text": [1]}), policy(), Counters())
    assert (
        screen(pa.RecordBatch.from_arrays([pa.array([], pa.string())], ["text"]), policy(), Counters())[0].num_rows == 0
    )


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_any_text_gets_a_verdict_with_marks_inside_it(texts: list[str]) -> None:
    for text, row in zip(texts, decide(texts, policy(flag_at=0.01)), strict=True):
        assert 0.0 <= row["score"] <= 1.0 and row["reasons"]
        ends = [0]
        for span in row["spans"]:
            assert ends[-1] <= span["start"] < span["end"] <= len(text)
            ends.append(span["end"])


def test_an_over_long_text_is_read_in_part_and_says_so() -> None:
    (row,) = decide(["很长" * 3000])
    assert Reason.TRUNCATED in row["reasons"]
