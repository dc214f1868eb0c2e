"""What the review desk decides about messages of the gateway reaches it: once, in sequence, and not what was undone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from mingbai.connectors.gateway_commands import CommandFollower
from mingbai.contexts.messaging.models import ReviewDecision, ReviewItem
from mingbai.contexts.messaging.services import review, review_queue, review_team
from mingbai.contexts.messaging.services.gateway_orders import GRACE, carry_decisions
from mingbai.contexts.messaging.services.review import Answer, NothingToUndo
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.policy import Reach
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Category, Verdict
from tests.contexts.messaging.review_ledger import Sms, queue

pytestmark = pytest.mark.django_db
Accounts = Callable[..., Account]
EVERYTHING = Reach(is_all=True)
NOW = utc_now()
LATER = NOW + GRACE + timedelta(seconds=1)


@pytest.fixture(autouse=True)
def held(data_dir: Path) -> None:
    for path in (data_dir / "gateway").glob("commands.jsonl*"):
        path.unlink()
    messages = [Sms(f"代开发票 {place}", Verdict.HOLD, campaign=0xABC) for place in range(3)]
    queue(settings.MINGBAI, messages, now=NOW - timedelta(seconds=1), stream="gateway-1")


def decide(account: Account, verdict: Verdict) -> ReviewItem:
    review_settings = settings.MINGBAI.review
    item = review_queue.take(account, now=NOW, review=review_settings, reach=EVERYTHING)
    assert item is not None
    assert item.lease is not None
    answer = Answer(verdict, Category.FRAUD)
    review.decide(item.pk, account, item.lease, answer, now=NOW, review=review_settings)
    return item


def orders(data_dir: Path) -> list[tuple[Any, ...]]:  # Any: JSON
    return [(one["op"], one["stream"], one["seq"]) for one in CommandFollower(data_dir, None).poll()]


def test_decisions_reach_the_gateway_after_a_moment_and_once(account: Accounts, data_dir: Path) -> None:
    reviewer = account("reviewer")
    first, second = decide(reviewer, Verdict.ALLOW), decide(reviewer, Verdict.BLOCK)
    assert carry_decisions(now=NOW) == 0
    assert carry_decisions(now=LATER) == 2
    assert carry_decisions(now=LATER) == 0
    assert orders(data_dir) == [("release", "gateway-1", first.seq), ("refuse", "gateway-1", second.seq)]


def test_what_was_carried_cannot_be_undone(account: Accounts) -> None:
    reviewer = account("reviewer")
    decide(reviewer, Verdict.ALLOW)
    carry_decisions(now=LATER)
    assert ReviewDecision.objects.get().acted_at == LATER
    with pytest.raises(NothingToUndo):
        review.undo(reviewer, now=LATER, review=settings.MINGBAI.review)


def test_what_was_undone_in_time_is_not_carried(account: Accounts, data_dir: Path) -> None:
    reviewer = account("reviewer")
    decide(reviewer, Verdict.ALLOW)
    review.undo(reviewer, now=NOW, review=settings.MINGBAI.review)
    assert carry_decisions(now=LATER) == 0
    assert orders(data_dir) == []


def test_a_whole_campaign_is_carried_message_by_message(account: Accounts, data_dir: Path) -> None:
    lead = account("team_lead")
    preview = review_team.preview_campaign(f"{0xABC:016x}", Verdict.BLOCK, Category.FRAUD, lead, reach=EVERYTHING)
    review_team.decide_campaign(preview.token, lead, now=NOW, reach=EVERYTHING)
    assert carry_decisions(now=LATER) == 3
    assert len(set(orders(data_dir))) == 3
    assert {op for op, *_ in orders(data_dir)} == {"refuse"}


def test_a_deadline_is_carried_at_once(data_dir: Path) -> None:
    late = NOW + timedelta(days=2)
    assert review.apply_deadlines(now=late) == 3
    assert carry_decisions(now=late) == 3


def test_messages_that_are_not_the_gateways_are_left_alone(account: Accounts, data_dir: Path) -> None:
    ReviewItem.objects.update(stream="api")
    decide(account("reviewer"), Verdict.ALLOW)
    assert carry_decisions(now=LATER) == 0
    assert orders(data_dir) == []
    assert ReviewDecision.objects.get().acted_at is None
