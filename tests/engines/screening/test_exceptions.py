"""Freeing one message: it passes, also disguised; whatever else could carry a spammer does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any  # rows of a batch as Python values

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.exceptions import Exceptions, KeyParts, key_of, key_parts
from mingbai.engines.screening.freed import KEY_BYTES, FreedMessage
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.reading import nids, normalised
from mingbai.engines.screening.rulebook import parse
from mingbai.engines.screening.rules import CompiledRules
from mingbai.engines.screening.schema import MESSAGE, text_buffers
from mingbai.engines.screening.screen import read_rows, screen
from mingbai.engines.screening.urls import find
from mingbai.kernel.verdicts import Category, Reason, Verdict

NOW = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
SENDER = "+8613800138000"
FREED = (
    "【惠民贷】无抵押无担保，黑户白户都能做，当天放款最高50万，加薇信：kd8866，或致电13900001111，"
    "详见 www.huimin-dai.top/Aa1"
)


@cache
def plain_policy() -> Policy:
    return Policy(Model.load(), CompiledRules.none(), NOW)


def row(text: str, sender: str | None = SENDER, access_code: str | None = None, time: datetime | None = None) -> Any:
    return {"text": text, "sender": sender, "receiver": None, "access_code": access_code, "time": time}


def key(text: str, sender: str | None = SENDER, access_code: str | None = None) -> str:
    data, offsets = text_buffers(pa.RecordBatch.from_pylist([row(text)], MESSAGE))
    (text_hash,) = read_rows(data, offsets, plain_policy()).text_hash.tolist()
    return key_of(key_parts(text, sender, access_code), text_hash).hex()


def exception(of: str = FREED, **changes: Any) -> FreedMessage:
    given = FreedMessage("e1", key(of), "Li", NOW + timedelta(days=30))
    return replace(given, **changes)


def freeing(*items: FreedMessage, policy: Policy | None = None) -> Policy:
    return replace(policy or plain_policy(), exceptions=Exceptions.of(items or [exception()]))


def decide(rows: list[Any], policy: Policy) -> list[dict[str, Any]]:
    decisions, _ = screen(pa.RecordBatch.from_pylist(rows, MESSAGE), policy, Counters())
    decisions.validate(full=True)
    found: list[dict[str, Any]] = decisions.to_pylist()
    return found


def test_the_freed_message_passes_and_says_who_freed_it_and_what_had_spoken_against_it() -> None:
    (before,) = decide([row(FREED)], plain_policy())
    (after,) = decide([row(FREED)], freeing())
    assert before["verdict"] == Verdict.BLOCK
    assert after["verdict"] == Verdict.ALLOW and after["category"] == Category.NOTIFICATION
    assert after["reasons"] == sorted({*before["reasons"], Reason.RULE_FREED})
    assert after["rules"] == ["freed:e1"]
    assert after["spans"] == before["spans"] and after["score"] == before["score"]


def test_it_wins_over_a_rule_a_campaign_and_a_lookalike() -> None:
    head = '[rulebook]\nname = "t"\nversion = "1"\n[[rule]]\nid = "stop"\ncategory = "spam"\naction = "block"\n'
    book = parse(head + 'owner = "t"\nreason = "t"\nkeywords = ["惠民贷"]\n', nids)
    strict = replace(plain_policy(), rules=CompiledRules.of(book))
    copied, other = decide([row(FREED), row(FREED + "！来电")], freeing(policy=strict))
    assert copied["verdict"] == Verdict.ALLOW and copied["rules"] == ["freed:e1", "stop"]
    assert other["verdict"] == Verdict.BLOCK and other["rules"] == ["stop"]


@pytest.mark.parametrize(
    "copied",
    [
        FREED.replace("无抵押", "無 抵*押"),
        FREED.replace("黑户", "黑\u200b户"),
        FREED.replace("放款", "放❤款"),
        FREED.replace("，当天", " ！！当天"),
    ],
)
def test_a_copy_that_differs_only_in_how_its_chinese_is_written_passes(copied: str) -> None:
    assert copied != FREED and normalised(copied)[0] == normalised(FREED)[0]
    assert decide([row(copied)], freeing())[0]["verdict"] == Verdict.ALLOW


@pytest.mark.parametrize(
    "changed",
    [
        FREED.replace("huimin-dai", "huimindai"),  # the letters are the same, the host is not
        FREED.replace("www.huimin", "www-huimin"),
        FREED.replace("top/Aa1", "top/aA1"),  # a shortener's paths have capitals
        FREED.replace("top/Aa1", "top/Aa1/"),
        FREED.replace("top/Aa1", "top/A\u200ba1"),  # a phone ends the link before what it cannot have
        FREED.replace("top/Aa1", "top/Ａa1"),
        FREED.replace("top/Aa1", "top/Aa1?1"),
        FREED.replace("13900001111", "13900001112"),
        FREED.replace("13900001111", "1390000111l"),  # read as the same digits, and another number to dial
        FREED.replace("13900001111", "139 0000 1111"),
        FREED.replace("kd8866", "kd8867"),
        FREED.replace("kd8866", "kd88６6"),
        FREED.replace("50万", "5.0万"),
        FREED.replace("黑户", "灰户"),
        FREED + " t.cn/x",
        "回拨95588 " + FREED,
    ],
)
def test_another_link_number_contact_or_word_is_screened_anew(changed: str) -> None:
    (found,) = decide([row(changed)], freeing())
    assert found["verdict"] != Verdict.ALLOW and Reason.RULE_FREED not in found["reasons"]


def test_chinese_that_may_belong_to_a_link_counts_as_written() -> None:
    text = FREED.replace("www.huimin-dai.top/Aa1", "www.huimin-dai.top/领取")
    traditional = text.replace("领取", "領取")
    assert normalised(text)[0] == normalised(traditional)[0]
    assert key(text) != key(traditional)


def test_the_sender_must_be_the_same_however_the_number_is_written() -> None:
    rows = [row(FREED, sender) for sender in (SENDER, "138 0013 8000", "+8613800138001", None)]
    rows.append(row(FREED, access_code="10690001"))
    found = decide(rows, freeing())
    assert [one["verdict"] == Verdict.ALLOW for one in found] == [True, True, False, False, False]


def test_it_ends_when_its_owner_said() -> None:
    ends = exception().expires_at
    rows = [row(FREED, time=ends - timedelta(microseconds=1)), row(FREED, time=ends), row(FREED)]
    assert [one["verdict"] for one in decide(rows, freeing())] == [Verdict.ALLOW, Verdict.BLOCK, Verdict.ALLOW]
    assert decide([row(FREED)], replace(freeing(), at=ends))[0]["verdict"] == Verdict.BLOCK


def test_an_over_long_text_is_freed_with_every_character_of_it() -> None:
    long = FREED + "，凑字数" * 700
    items = [exception(long)]
    tail = long[:-1] + "書"
    copied, changed = decide([row(long), row(tail)], freeing(*items))
    assert copied["verdict"] == Verdict.ALLOW and changed["verdict"] != Verdict.ALLOW


def test_what_passes_anyway_is_left_alone() -> None:
    chat = "晚上一起吃饭吗？我大概六点半到你家楼下"
    (found,) = decide([row(chat)], freeing(exception(chat)))
    assert found["reasons"] == [Reason.MODEL_LEGITIMATE] and found["rules"] == []


def test_of_two_exceptions_for_one_message_the_later_end_counts() -> None:
    long, short = exception(id="long"), exception(id="short", expires_at=NOW + timedelta(days=1))
    assert Exceptions.of([long, short]).items == (long,) == Exceptions.of([short, long]).items
    assert Exceptions.of([long]).version == Exceptions.of([short, long]).version != Exceptions.of([short]).version


def test_a_key_is_thirty_two_bytes_and_says_what_it_holds() -> None:
    assert len(bytes.fromhex(key(""))) == KEY_BYTES
    parts = key_parts("請加V信 kd_8866，或看t.cn/Ab ", "138-0013-8000", "")
    assert parts == KeyParts(
        read_as="请加v信kd8866或看tcnab",
        links=("t.cn/Ab",),
        runs=("v", "kd_8866", "或看t.cn/Ab"),
        sender=SENDER,
        access_code=None,
        whole=None,
    )
    assert parts.numbers == ("kd_8866",)


# ---- any change at all

_CARRIERS = st.sampled_from(list("0123456789abzABZ./-_@:?=&点com\u200bé中鱼Ⅳ１ａ"))


@given(place=st.integers(0, len(FREED)), inserted=st.text(_CARRIERS, min_size=1, max_size=4))
def test_nothing_that_could_carry_a_link_or_number_fits_into_a_freed_text(place: int, inserted: str) -> None:
    changed = FREED[:place] + inserted + FREED[place:]
    if key(changed) == key(FREED):  # then it may not be more than a sign between Chinese
        assert normalised(changed)[0] == normalised(FREED)[0]
        assert [url.host.name + url.path for url in find(changed)] == [u.host.name + u.path for u in find(FREED)]
        assert not any(char.isalnum() for char in inserted)
        assert key_parts(changed, None, None).runs == key_parts(FREED, None, None).runs


@given(place=st.integers(0, len(FREED) - 1), char=st.characters(codec="utf-8"))
def test_a_replaced_letter_digit_or_sign_of_a_link_is_another_key(place: int, char: str) -> None:
    written = FREED[place]
    assume(char != written and written.isascii() and not written.isspace())
    assert key(FREED[:place] + char + FREED[place + 1 :]) != key(FREED)
