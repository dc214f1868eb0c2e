"""The API under requests that nobody thought of: no fault of ours, and every answer as it is described.

Schemathesis makes requests from the OpenAPI document, valid ones and broken ones, for the console in this process with
its real database, a real ledger and a real screener. `dev.py soak` tries many more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.schemas import BaseSchema

from mingbai.connectors.ledger_index import EVERYTHING, Query
from mingbai.connectors.screening_client import ScreeningClient
from mingbai.contexts.messaging.jobs import review as review_jobs
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.services import rulebook, runs
from mingbai.contexts.people import policy
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.policy import MATRIX
from mingbai.kernel.clock import utc_now
from tests.conftest import LOOPS
from tests.console.api_calls import Call, api_of, calls

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

EXAMPLES = max(4, round(40 * LOOPS))  # of each operation
_CHECKS = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
_TEXTS = (
    "您的验证码是 482913",
    "代开发票 加薇信 abc12345 点数低",
    "恭喜中奖！点击 http://win-prize.top/x 领取 10 万元",
)


@functools.cache
def schema() -> BaseSchema:
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app=WSGIHandler())


@pytest.fixture(scope="module")
def messages(screener: ScreeningClient) -> list[str]:
    """Ids of messages that the screener decided and recorded."""
    columns = {
        "text": pa.array([text for text in _TEXTS for _ in range(4)]),
        "sender": pa.array(["13800000001"] * 12),
        "receiver": pa.array([f"139000000{place:02d}" for place in range(12)]),
        "access_code": pa.array(["10690001"] * 12),
    }
    return [str(id) for id in screener.screen(pa.record_batch(columns)).ids]


def _existing(account: Account, messages: list[str]) -> dict[str, list[str]]:
    """What there is, by the first word of an address: so that not only 404 is tried."""
    now = utc_now()
    review_jobs.follow_ledger(traffic.installed_settings(), now)
    draft = rulebook.begin_draft(by=account.pk, now=now)
    run = runs.ask("drift", subject="model", asked={"n": 1}, now=now, by=account.pk)
    campaigns = {
        traffic.campaign_text(hit.campaign) for hit in traffic.index().search(Query(), 50, None, EVERYTHING).hits
    }
    return {
        "messages": messages,
        "campaigns": sorted(campaigns - {""}) or ["00000000000000ff"],
        "accounts": [str(account.pk)],
        "rulebook": [str(draft.pk)],
        "runs": [str(run.pk)],
        "audit": ["1", "2"],
        "review": ["1", "2", "3"],
    }


@pytest.mark.parametrize("call", calls(), ids=lambda call: call.name)
def test_no_request_makes_a_fault_and_every_answer_is_as_described(
    call: Call, account: Callable[..., Account], messages: list[str]
) -> None:
    role = next(role for role in policy.roles() if not call.actions or any(role in MATRIX[a] for a in call.actions))
    api = api_of(account(role))
    existing = _existing(account("reviewer"), messages).get(call.path.partition("/")[0], [])
    operation = schema()[f"/api/v1/{call.path}"][call.method]
    strategies = [operation.as_strategy(generation_mode=mode) for mode in _modes(call)]
    checks = CHECKS.get_by_names(_CHECKS)

    @given(case=st.one_of(strategies), data=st.data())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    def tried(case: Any, data: Any) -> None:  # Any: of schemathesis and hypothesis
        if existing and "id" in (case.path_parameters or {}) and data.draw(st.booleans()):
            case.path_parameters["id"] = data.draw(st.sampled_from(existing))
        response = case.call(headers={"Authorization": f"Bearer {api.secret}"})
        # 503 is an answer: a part is not there yet, such as the first model, and a retry helps.
        assert response.status_code < 500 or response.status_code == 503, case.as_curl_command()
        case.validate_response(response, checks=checks)

    tried()


def _modes(call: Call) -> list[GenerationMode]:
    takes_something = call.operation.get("parameters") or call.operation.get("requestBody")
    return [GenerationMode.POSITIVE, GenerationMode.NEGATIVE] if takes_something else [GenerationMode.POSITIVE]
