"""POST /api/v1/screen while no screener runs: the caller is told to come again, and nothing is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mingbai.connectors.ledger_index import EVERYTHING, Query
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.people.models import Account, IdempotencyKey
from tests.console.api_calls import api_of
from tests.contexts.messaging.screener_process import running_screener

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


def _count() -> int:
    return len(traffic.index().search(Query(), 10, None, EVERYTHING).hits)


def test_without_a_screener_a_retry_is_asked_for_and_nothing_is_kept(
    account: Callable[..., Account], data_dir: Path
) -> None:
    api = api_of(account("reviewer"))
    body = {"messages": [{"text": "您的验证码是 482913"}]}
    answer = api("POST", "screen", body, Idempotency_Key="k")
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1
    assert _count() == 0
    assert not IdempotencyKey.objects.exists()  # a failure is no answer to keep
    with running_screener(data_dir):
        assert api("POST", "screen", body, Idempotency_Key="k").status_code == 200
        assert _count() == 1
