"""POST /api/v1/screen with a real screener: durable before it is answered, as the engine says, once for each key."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from mingbai.connectors.ledger_index import EVERYTHING, Query
from mingbai.connectors.screening_client import ScreeningClient, one_message
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.services import units
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Category, Reason, Verdict
from mingbai.ledger import RECORD
from tests.console.api_calls import Api, api_of

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
Accounts = Callable[..., Account]

TEXTS = (
    "【工商银行】您尾号1234的账户于5月6日支出人民币200.00元",
    "代开发票 加薇信 abc12345 点数低",
    "您的验证码是 482913，五分钟内有效",
    "恭喜中奖！点击 http://win-prize.top/x 领取 10 万元",
)


def recorded() -> dict[str, Any]:  # Any: a Hit
    """Everything in the ledger, by id: tests look at what came to it."""
    found: dict[str, Any] = {}  # Any: as above
    cursor = None
    while True:
        page = traffic.index().search(Query(), 1000, cursor, EVERYTHING)
        found |= {str(hit.id): hit for hit in page.hits}
        cursor = page.next_cursor
        if cursor is None:
            return found


def decisions_of(answer: Any) -> list[dict[str, Any]]:  # Any: Django's test answer; JSON
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = json.loads(answer.content)["decisions"]  # Any: JSON
    return found


def test_what_is_answered_is_recorded_and_is_what_the_engine_says(account: Accounts, screener: ScreeningClient) -> None:
    api = api_of(account("reviewer"))
    made = decisions_of(api("POST", "screen", {"messages": [{"text": text} for text in TEXTS]}))
    kept = recorded()
    assert [one["id"] in kept for one in made] == [True] * len(TEXTS)
    for one in made:
        hit = kept[one["id"]]
        assert (hit.verdict.label, hit.category.label) == (one["verdict"], one["category"])
        assert hit.score == pytest.approx(one["score"])
    # Explaining records nothing and asks the same engine.
    for text, one in zip(TEXTS, made, strict=True):
        again = screener.screen(pa.record_batch({"text": [text]})).decisions.to_pylist()[0]
        assert Verdict(again["verdict"]).label == one["verdict"]
        assert Category(again["category"]).label == one["category"]
        assert again["score"] == pytest.approx(one["score"])
        assert again["spans"] == one["spans"]
    assert {one["verdict"] for one in made} >= {"allow", "block"}


def test_a_thousand_messages_are_decided_in_order_and_one_more_is_refused(
    account: Accounts, screener: ScreeningClient
) -> None:
    api = api_of(account("reviewer"))
    before = set(recorded())
    texts = [f"{TEXTS[place % len(TEXTS)]} 第{place}条" for place in range(1000)]
    made = decisions_of(api("POST", "screen", {"messages": [{"text": text} for text in texts]}))
    assert len({one["id"] for one in made}) == 1000
    assert set(recorded()) - before == {one["id"] for one in made}
    alone = decisions_of(api("POST", "screen", {"messages": [{"text": texts[1]}]}))[0]
    assert alone["score"] == pytest.approx(made[1]["score"])
    answer = api("POST", "screen", {"messages": [{"text": "x"}] * 1001})
    assert answer.status_code == 422
    assert len(set(recorded()) - before) == 1001


def test_a_repeated_key_gets_the_first_answer_and_decides_nothing(account: Accounts, screener: ScreeningClient) -> None:
    api = api_of(account("reviewer"))
    body = {"messages": [{"text": TEXTS[1]}]}
    before = set(recorded())
    first = api("POST", "screen", body, Idempotency_Key="batch-7")
    again = api("POST", "screen", body, Idempotency_Key="batch-7")
    assert first.status_code == again.status_code == 200
    assert first.content == again.content
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(set(recorded()) - before) == 1
    other = api("POST", "screen", {"messages": [{"text": "other"}]}, Idempotency_Key="batch-7")
    assert other.status_code == 422
    assert len(set(recorded()) - before) == 1


def test_a_service_provider_screens_messages_of_its_own_access_codes_only(
    account: Accounts, screener: ScreeningClient
) -> None:
    shop = units.create_unit(
        "shop", kind="partner", name="Shop", access_codes=["10690001"], actor="system", now=utc_now()
    )
    api = api_of(account("service_provider", shop))
    before = set(recorded())
    own = {"text": TEXTS[2], "access_code": "106900017"}
    assert api("POST", "screen", {"messages": [own]}).status_code == 200
    for foreign in ({"text": TEXTS[2]}, {"text": TEXTS[2], "access_code": "10690002"}):
        answer = api("POST", "screen", {"messages": [own, foreign]})
        assert answer.status_code == 403
    assert len(set(recorded()) - before) == 1
    items = json.loads(api("GET", "messages").content)["items"]
    assert [item["access_code"] for item in items] == ["106900017"]


def test_any_text_is_decided_and_a_wrong_field_is_named(account: Accounts, screener: ScreeningClient) -> None:
    api = api_of(account("reviewer"))
    before = set(recorded())
    odd = ["\x00", "a\x00b", "‮", "\u0000\ufeff", "🎁" * 50, "\\u0000", "  ", "\x1b[2J", "x" * 10_000]
    assert len(decisions_of(api("POST", "screen", {"messages": [{"text": text} for text in odd]}))) == len(odd)
    for message, field in (
        ({"text": ""}, "text"),
        ({"text": "x" * 10_001}, "text"),
        ({"text": "x", "time": "2026-01-01T00:00:00"}, "time"),
        ({"text": "x", "sender": "1" * 65}, "sender"),
        ({"text": 5}, "text"),
        ({}, "text"),
    ):
        answer = api("POST", "screen", {"messages": [message]})
        assert answer.status_code == 422, message
        assert field in json.loads(answer.content)["errors"][0]["field"]
    assert len(set(recorded()) - before) == len(odd)


def test_a_message_keeps_the_time_that_it_names(account: Accounts, screener: ScreeningClient) -> None:
    api = api_of(account("reviewer"))
    at = (utc_now() - timedelta(hours=1)).replace(microsecond=0)
    for time in (at.isoformat(), at.isoformat().replace("+00:00", "Z")):
        assert api("POST", "screen", {"messages": [{"text": "x", "time": time}]}).status_code == 200


def test_no_token_no_decision(screener: ScreeningClient) -> None:
    before = recorded().keys()
    assert Api("mb_wrong")("POST", "screen", {"messages": [{"text": "x"}]}).status_code == 401
    assert recorded().keys() == before


def test_what_the_network_knows_of_a_message_is_taken_looked_at_and_not_kept(
    account: Accounts, screener: ScreeningClient
) -> None:
    api = api_of(account("reviewer"))
    fields = {"imsi": "460017000000001", "msc": "8613900123", "cell": "460-00-7-9", "device": "35209900"}
    made = decisions_of(api("POST", "screen", {"messages": [{"text": TEXTS[0], **fields}, {"text": TEXTS[0]}]}))
    assert made[0]["verdict"] == made[1]["verdict"]
    assert not set(fields) & set(RECORD.names)
    for name, value in (("imsi", "46001x"), ("device", "352099"), ("cell", ""), ("msc", "a b")):
        answer = api("POST", "screen", {"messages": [{"text": TEXTS[0], name: value}]})
        assert answer.status_code == 422 and name in answer.content.decode()
    rulebook = RULES.format(imsi=fields["imsi"])
    (found,) = screener.try_rulebook(rulebook, one_message({"text": TEXTS[2], **fields})).draft
    assert (found["verdict"], found["rules"]) == (Verdict.BLOCK, ["sim"])
    (found,) = screener.try_rulebook(rulebook, one_message({"text": TEXTS[2]})).draft
    assert found["rules"] == [] and int(Reason.FIELD_ABSENT) in found["reasons"]
    assert screener.explain(TEXTS[2], rulebook=rulebook)["not_applied"] == ["sim"]


RULES = """
[rulebook]
name = "t"
version = "1"

[[rule]]
id = "sim"
category = "fraud"
action = "block"
owner = "desk"
reason = "a sold SIM card"
imsis = ["{imsi}"]
"""
