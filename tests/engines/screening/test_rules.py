"""Rules at work: conditions, conflicts, and that rows never see each other."""

from __future__ import annotations

import pickle
import random
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mingbai.engines.screening import codes, senders
from mingbai.engines.screening.contact_numbers import stands_alone
from mingbai.engines.screening.reading import letters_of, tables
from mingbai.engines.screening.regexes import BLOCK_ROWS, Regex, RegexSet
from mingbai.engines.screening.rule_outcome import RuleOutcome, Seen
from mingbai.engines.screening.rulebook import load_shipped, parse
from mingbai.engines.screening.rulebook_types import NumberPattern
from mingbai.engines.screening.rules import CompiledRules, keyword_nids
from mingbai.engines.screening.trie import find_all
from mingbai.engines.screening.urls import find_batch
from mingbai.kernel.verdicts import Category, Reason, Verdict

pytestmark = pytest.mark.slow

HEAD = '[rulebook]\nname = "test"\nversion = "1"\ntime_zone = "Asia/Shanghai"\n'
RULE = '[[rule]]\nid = "{id}"\ncategory = "{category}"\naction = "{action}"\nowner = "desk"\nreason = "because"\n'
NOW = datetime(2026, 1, 1, 4, tzinfo=UTC)  # noon in Shanghai


def rules(*entries: str, head: str = HEAD) -> CompiledRules:
    """entries: `id action` on the first line (category spam), the fields of the rule below."""
    text = head
    for entry in entries:
        name, _, lines = entry.partition("\n")
        rule_id, action, *category = name.split()
        text += RULE.format(id=rule_id, action=action, category=category[0] if category else "spam") + lines + "\n"
    return CompiledRules.of(parse(text, keyword_nids))


def apply(
    compiled: CompiledRules,
    texts: Sequence[str | None],
    *,
    now: datetime = NOW,
    score: Sequence[float] | None = None,
    category: Sequence[int] | None = None,
    **columns: Sequence[object],
) -> RuleOutcome:
    """As `screen` calls it, with the keyword hits that its kernel finds."""
    batch = pa.record_batch({"text": pa.array(texts, pa.string()), **{k: pa.array(v) for k, v in columns.items()}})
    hits = []
    for row, text in enumerate(texts):
        letters, places = letters_of(np.frombuffer((text or "").encode() or b"\0", np.uint8), tables())
        for keyword, start, end in find_all(compiled.keywords, letters).tolist():
            hits.append((row, keyword, int(places[start]), int(places[end - 1]) + 1))
    seen = Seen(
        np.array(score or [0.0] * len(texts), np.float32),
        np.array(category or [0] * len(texts), np.uint8),
        np.array(hits, np.int32).reshape(-1, 4),
    )
    links = find_batch(batch.column("text"), np.flatnonzero([t is not None for t in texts]))
    return compiled.apply(batch, seen, links, now)


def fired(outcome: RuleOutcome) -> list[list[str]]:
    result: list[list[str]] = outcome.rules.to_pylist()
    return result


def marked(outcome: RuleOutcome, texts: Sequence[str]) -> list[str]:
    return [texts[row][start:end] for row, start, end in outcome.spans.tolist()]


# ---- conditions


def test_any_keyword_fires_and_is_marked_in_the_original_text() -> None:
    texts = ["请加微信详聊", "请 加-微.信 详聊", "没有"]
    outcome = apply(rules('a block\nkeywords = ["加微信", "刷单"]'), texts)
    assert fired(outcome) == [["a"], ["a"], []]
    assert outcome.action.tolist() == [Verdict.BLOCK, Verdict.BLOCK, RuleOutcome.NONE]
    assert marked(outcome, texts) == ["加微信", "加-微.信"]
    assert outcome.reasons[Reason.RULE_KEYWORD].tolist() == [True, True, False]


def test_all_keywords_must_be_there_and_none_of_the_excluding() -> None:
    compiled = rules('a block\nkeywords_all = ["转账", "安全账户"]\nkeywords_none = ["警方"]')
    texts = ["请转账到安全账户", "请转账", "警方提醒：转账到安全账户都是骗局", "安全账户转账转账"]
    assert fired(apply(compiled, texts)) == [["a"], [], [], ["a"]]


def test_conditions_of_a_rule_are_and_lists_are_or() -> None:
    compiled = rules('a flag\nkeywords = ["红包", "礼金"]\ndomains = ["evil.top"]\nsenders = ["106*"]')
    texts = ["红包 http://a.evil.top/x", "礼金 http://evil.top", "红包", "http://evil.top", "红包 http://evil.top"]
    outcome = apply(compiled, texts, sender=["10690", "+8610655", "10690", "10690", "13800138000"])
    assert fired(outcome) == [["a"], ["a"], [], [], []]
    assert outcome.reasons[Reason.RULE_URL].tolist() == [True, True, False, False, False]


def test_keywords_as_written_are_not_normalised() -> None:
    compiled = rules(
        'a flag\nkeywords = ["A.B*"]\nnormalised = false',
        'b flag\nkeywords = ["A.B*"]\nnormalised = false\ncase = true',
    )
    assert fired(apply(compiled, ["xA.B*x", "xa.b*x", "xAB*", "x"])) == [["a", "b"], ["a"], [], []]


def test_regexes_read_the_original_or_the_normalised_text() -> None:
    compiled = rules("a flag\nregexes = ['加\\s*微']", "b flag\nregexes = ['加微信[0-9]+']\non = \"normalised\"")
    texts = ["加 微信１２３", "加微", "无"]
    outcome = apply(compiled, texts)
    assert fired(outcome) == [["a", "b"], ["a"], []]
    assert marked(outcome, texts) == ["加 微", "加 微信１２３", "加微"]
    assert outcome.reasons[Reason.RULE_REGEX].tolist() == [True, True, False]


def test_domains_match_themselves_and_what_is_below() -> None:
    compiled = rules('a block\ndomains = ["evil.top", "1.2.3.4", "中国移动.com"]')
    texts = ["http://evil.top/x", "看x.evil.top", "http://notevil.top", "http://16909060/", "http://中国移动.com"]
    assert fired(apply(compiled, texts)) == [["a"], ["a"], [], ["a"], ["a"]]


def test_url_patterns_are_of_the_whole_host_and_path() -> None:
    compiled = rules('a flag\nurls = ["*.evil.top/pay/*", "exact.com/x"]')
    texts = ["http://a.evil.top/PAY/1", "http://a.evil.top/", "http://exact.com/x", "http://exact.com/xy"]
    assert fired(apply(compiled, texts)) == [["a"], [], ["a"], []]


@pytest.mark.parametrize(
    ("number", "text", "found"),
    [
        ("400-123-4567", "致电4001234567咨询", True),
        ("400-123-4567", "致电400 123 4567。", True),
        ("13800138000", "电话+86-138 0013 8000", True),
        ("13800138000", "电话8613800138000", True),
        ("13800138000", "1.13800138000", True),  # an enumeration
        ("13800138000", "单号913800138000", False),
        ("13800138000", "单号138001380001", False),
        ("170*", "17012345678", True),
        ("170*", "电话170 1234 5678", True),
        ("170*", "价格170元", False),
        ("170*", "1170123", False),
        ("qq:123456", "加QQ123456。", True),
        ("qq:123456", "加QQ1234567", False),
        ("wx:abcd_1", "微信abcd_1哦", True),
        ("wx:abcd_1", "vxabcd_1", True),
        ("wx:abcd_1", "xabcd_1", False),
        ("wx:abcd_1", "微信abcd_12", False),
        ("wx:abcd_1*", "微信abcd_12", True),
    ],
)
def test_numbers_stand_alone_in_the_original(number: str, text: str, found: bool) -> None:
    outcome = apply(rules(f'a flag\nnumbers = ["{number}"]'), [text])
    assert fired(outcome) == ([["a"]] if found else [[]])
    assert outcome.reasons[Reason.RULE_NUMBER].tolist() == [found]


def test_a_number_may_have_a_call_prefix_only() -> None:
    number = NumberPattern("phone", "10086", False)
    assert stands_alone(number, "08610086", 3, 8)
    assert not stands_alone(number, "12310086", 3, 8)


def test_senders_are_exact_or_prefixes_with_or_without_country_code() -> None:
    compiled = rules('a allow\nsenders = ["13800138000", "1069*", "HSBC"]')
    who = ["13800138000", "+8613800138000", "8613800138000", "10691234", "861069", "hsbc", "138001380001", None, ""]
    outcome = apply(compiled, ["x"] * len(who), sender=who)
    assert [bool(f) for f in fired(outcome)] == [True, True, True, True, True, True, False, False, False]
    assert outcome.reasons[Reason.RULE_CONDITION].tolist() == [bool(f) for f in fired(outcome)]
    assert outcome.reasons[Reason.RULE_ALLOW].tolist() == [bool(f) for f in fired(outcome)]


def test_access_codes_are_prefixes() -> None:
    outcome = apply(rules('a hold\naccess_codes = ["10690"]'), ["x"] * 3, access_code=["1069012", "10691", None])
    assert fired(outcome) == [["a"], [], []]
    assert fired(apply(rules('a hold\naccess_codes = ["10690"]'), ["x"])) == [[]]  # no such column


def test_signatures_are_read_from_either_end_and_normalised() -> None:
    compiled = rules('a flag\nsignatures = ["中国工商银行", "某某*"]')
    texts = ["【中国工商银行】您好", "您好【中國工商銀行】", "【某某公司】好", "说【中国工商银行】好", "【其他】好"]
    assert fired(apply(compiled, texts)) == [["a"], ["a"], ["a"], [], []]
    given_by_caller = apply(compiled, ["x", "x"], signature=["某某", None])
    assert fired(given_by_caller) == [["a"], []]


def test_hours_are_of_the_rulebooks_time_zone_and_may_go_over_midnight() -> None:
    compiled = rules('night flag\nhours = ["22:00-08:00"]', 'noon flag\nhours = ["12:00-12:01"]')
    times = [
        datetime(2026, 1, 1, 14, 0, tzinfo=UTC),  # 22:00
        datetime(2026, 1, 1, 13, 59, tzinfo=UTC),  # 21:59
        datetime(2026, 1, 1, 0, 0, tzinfo=UTC),  # 08:00
        datetime(2026, 1, 1, 4, 0, 59, tzinfo=UTC),  # 12:00:59
        None,  # judged by the policy's moment, noon
    ]
    outcome = apply(compiled, ["x"] * 5, time=pa.array(times, pa.timestamp("us", "UTC")))
    assert fired(outcome) == [["night"], [], [], ["noon"], ["noon"]]


def test_hours_follow_daylight_saving() -> None:
    compiled = rules('a flag\nhours = ["08:00-09:00"]', head=HEAD.replace("Asia/Shanghai", "Europe/Berlin"))
    times = [datetime(2026, 1, 15, 7, 30, tzinfo=UTC), datetime(2026, 7, 15, 6, 30, tzinfo=UTC)]
    assert fired(apply(compiled, ["x", "x"], time=pa.array(times, pa.timestamp("us", "UTC")))) == [["a"], ["a"]]


def test_category_and_score_limit_a_rule() -> None:
    compiled = rules('a hold\nmessage_category = ["fraud", "advertising"]\nscore_min = 0.9\nscore_max = 0.95')
    outcome = apply(
        compiled,
        ["x"] * 5,
        score=[0.9, 0.89, 0.95, 0.96, 0.92],
        category=[Category.FRAUD, Category.FRAUD, Category.ADVERTISING, Category.FRAUD, Category.PERSONAL],
    )
    assert fired(outcome) == [["a"], [], ["a"], [], []]


def test_a_rule_is_silent_when_disabled_or_out_of_its_time() -> None:
    compiled = rules(
        'off block\nenabled = false\nkeywords = ["x"]',
        'past block\nvalid_to = 2025-12-31\nkeywords = ["x"]',
        'future block\nvalid_from = 2026-01-02\nregexes = ["x"]',
        'now block\nvalid_from = 2026-01-01\nvalid_to = 2026-01-01\nkeywords = ["x"]',
    )
    assert fired(apply(compiled, ["x"])) == [["now"]]
    assert fired(apply(compiled, ["x"], now=datetime(2026, 1, 3, tzinfo=UTC))) == [["future"]]


# ---- conflicts


def test_highest_priority_decides_and_all_are_reported() -> None:
    compiled = rules(
        'low allow\nkeywords = ["x"]',
        'high block\npriority = 5\nkeywords = ["x"]',
        'mid flag\npriority = 1\nkeywords = ["x"]',
    )
    outcome = apply(compiled, ["x"])
    assert fired(outcome) == [["high", "mid", "low"]]
    assert outcome.action.tolist() == [Verdict.BLOCK]
    assert outcome.winner.tolist() == [1]


def test_at_equal_priority_allow_wins_then_the_stricter() -> None:
    entries = [f'{action} {action}\nkeywords = ["x"]' for action in ("flag", "hold", "block")]
    assert fired(apply(rules(*entries), ["x"])) == [["block", "hold", "flag"]]
    outcome = apply(rules(*entries, 'ok allow\nkeywords = ["x"]'), ["x"])
    assert fired(outcome)[0][0] == "ok"
    assert outcome.action.tolist() == [Verdict.ALLOW]


def test_a_stopping_rule_says_what_the_message_is() -> None:
    compiled = rules(
        'a block illegal_trade\nkeywords = ["发票"]',
        'b hold brand_protection\nkeywords = ["银行"]',
        'c block delivery\nkeywords = ["投诉"]',
        'd allow fraud\nkeywords = ["妈妈"]',
    )
    outcome = apply(compiled, ["发票", "银行", "投诉", "妈妈", "无"])
    assert outcome.category.tolist() == [Category.ILLEGAL_TRADE, Category.FRAUD, 255, 255, 255]


# ---- rows do not see each other


def test_a_regex_does_not_match_across_rows() -> None:
    compiled = rules("a flag\nregexes = ['foo\\s*bar', 'a[^z]+b', '^end$']")
    texts = ["foo", "bar", "foo\nbar", "a", "b", "x", "end", "x\nend", "end\nx", "aXb"]
    assert [bool(f) for f in fired(apply(compiled, texts))] == [
        *(False, False, True, False, False, False, True, False, False, True)
    ]


patterns = st.sampled_from(
    [
        "ab",
        "a+b",
        "^a",
        "b$",
        "a.c",
        "a[^b]c",
        r"\bab\b",
        "a\\sb",
        "(?:ab){2,}",
        "中.{1,3}文",
        "文$",
        "[^a]b",
        "a{2}.*c",
        "B",
    ]
)


@given(
    st.lists(patterns, min_size=1, max_size=5, unique=True),
    st.lists(st.text(st.sampled_from("abc \n中文B"), max_size=12), max_size=20),
)
@example(["b$", "ab"], ["BBBBBBBB中中b"])
def test_block_scan_is_the_same_as_one_row_at_a_time(expressions: list[str], texts: list[str]) -> None:
    regexes = RegexSet([Regex(e, True) for e in expressions])
    column = pa.array(["", *texts], pa.string())
    offsets = np.frombuffer(column.buffers()[1], np.int32)[: len(column) + 1]
    data = np.frombuffer((column.buffers()[2] or pa.py_buffer(b"")).to_pybytes() + b"\0", np.uint8)
    found = {(int(r) - 1, expressions[p]) for r, p, _, _ in regexes.scan(data, offsets)}
    expected = {(i, e) for i, text in enumerate(texts) for e in expressions if re.search(e, text, re.ASCII)}
    assert found == expected


def test_matches_give_their_place_also_where_hyperscan_cannot() -> None:
    """A gap in UTF-8 mode is too large a pattern for Hyperscan to say where a match begins."""
    regexes = RegexSet([Regex("失效.{0,40}(?:https?:|[a-z0-9-]+\\.[a-z]{2,})", False), Regex("b+", False)])
    assert regexes._startless == {0}
    text = "前面 失效 失效，请登录 http://x 后面 bb"
    data = np.frombuffer(text.encode(), np.uint8)
    found = regexes.scan(data, np.array([0, len(data)], np.int64))
    assert [text[a:b] for _, _, a, b in found] == ["失效，请登录 http:", "bb"]


def test_long_columns_are_scanned_in_blocks() -> None:
    texts = ["x" * (i % 7) for i in range(3 * BLOCK_ROWS + 5)]
    wanted = [0, BLOCK_ROWS - 1, BLOCK_ROWS, len(texts) - 1]
    for row in wanted:
        texts[row] += "HIT"
    outcome = apply(rules("a flag\nregexes = ['HIT$']"), texts)
    assert np.flatnonzero(outcome.winner >= 0).tolist() == wanted


def test_rules_give_the_same_on_slices_of_a_batch() -> None:
    compiled = CompiledRules.of(load_shipped(keyword_nids))
    rng = random.Random(3)
    bits = [
        "代开发票",
        "正规",
        "澳门新葡京",
        "送88",
        "安全账户",
        "转账",
        "警方提醒",
        "ETC失效 http://x.top",
        "你好",
        "unpaid toll http://a.top",
    ]
    texts = [" ".join(rng.choices(bits, k=3)) for _ in range(300)]
    whole = apply(compiled, texts)
    parts = [apply(compiled, texts[i : i + 37]) for i in range(0, 300, 37)]
    assert fired(whole) == [f for part in parts for f in fired(part)]
    assert whole.action.tolist() == [a for part in parts for a in part.action.tolist()]


# ---- the outcome as a whole


def test_no_rules_say_nothing() -> None:
    outcome = apply(CompiledRules.none(), ["你好", None, ""])
    assert fired(outcome) == [[], [], []]
    assert outcome.action.tolist() == [RuleOutcome.NONE] * 3
    assert len(outcome.spans) == 0
    assert not any(mask.any() for mask in outcome.reasons.values())


def test_an_empty_batch_is_fine() -> None:
    outcome = apply(rules('a flag\nkeywords = ["x"]', "b flag\nregexes = ['y']", "c flag\nscore_min = 0.1"), [])
    assert fired(outcome) == []


def test_compiled_rules_can_be_pickled_and_shared_by_threads() -> None:
    compiled = rules('a flag\nkeywords = ["微信"]', "b flag\nregexes = ['[0-9]{3}']", 'c hold\nsenders = ["1*"]')
    texts = [f"微信{i}" if i % 3 else f"x{i:03}" for i in range(600)]
    senders_of = ["1" if i % 5 == 0 else "2" for i in range(600)]
    expected = fired(apply(compiled, texts, sender=senders_of))
    copy: CompiledRules = pickle.loads(pickle.dumps(compiled))
    assert copy.version == compiled.version
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: fired(apply(copy, texts, sender=senders_of)), range(8)):
            assert result == expected


def test_overlong_messages_are_matched_in_what_is_read_of_them() -> None:
    text = "中" * 6000 + "HIT"
    assert fired(apply(rules("a flag\nregexes = ['HIT', '中']", "b flag\nregexes = ['HIT']"), [text, "HIT"])) == [
        ["a"],
        ["a", "b"],
    ]


# ---- what must arrive, and who sends


@pytest.mark.parametrize(
    ("text", "is_code"),
    [
        ("【某某银行】您的验证码是123456，5分钟内有效，请勿泄露。", True),
        ("123456是您的动态密码", True),
        ("Your verification code is 4821. Do not share it.", True),
        ("G-482193 is your login code", True),
        ("验证码错误请重试", False),  # no code
        ("验证码123456，加微信abc12345领红包", False),
        ("验证码123456，详询13800138000", False),
        ("澳门赌场开户送88，客服QQ123456789，验证码1234", False),
        ("code 1234", False),
        ("验证码123456 " + "广告" * 120, False),
    ],
)
def test_only_plain_verification_codes_are_protected(text: str, is_code: bool) -> None:
    assert apply(CompiledRules.none(), [text]).code.tolist() == [is_code]


def test_a_code_with_a_foreign_link_is_not_protected() -> None:
    text = "您的验证码是123456，请登录 {} 验证"
    texts = [text.format("www.icbc.com.cn"), text.format("icbc-login.top")]
    assert not codes.is_verification_code(texts[1], has_foreign_url=True)
    assert apply(CompiledRules.none(), texts).code.tolist() == [False, False]  # any link written out is one too many


def test_service_codes_are_told_from_people() -> None:
    who = [
        "10690123456789",
        "+8610655",
        "95588",
        "10086",
        "HSBC",
        "13800138000",
        "+8613800138000",
        "",
        None,
        "+14155550123",
    ]
    outcome = apply(CompiledRules.none(), ["x"] * len(who), sender=who)
    assert outcome.service_code.tolist() == [True, True, True, True, True, False, False, False, False, False]
    assert apply(CompiledRules.none(), ["x"], access_code=["10690"]).service_code.tolist() == [True]


def test_prefix_table_reports_every_rule_of_an_entry() -> None:
    table = senders.PrefixTable([("10*", 1), ("10*", 2), ("106", 3), ("1*", 1)])
    rows, named = table.match(pa.array(["106", "2", None, "1"]))
    assert sorted(zip(rows.tolist(), named.tolist(), strict=True)) == [(0, 1), (0, 1), (0, 2), (0, 3), (3, 1)]
