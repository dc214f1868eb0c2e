"""Deciding anew with what was recorded. That it agrees with the screen: tests/connectors/test_replay_record.py."""

from __future__ import annotations

import pyarrow as pa
import pytest

from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rescreen import RECORDED, RESCREENED, rescreen
from mingbai.engines.screening.rules import CompiledRules
from mingbai.engines.screening.screen import screen
from mingbai.kernel.errors import SchemaMismatch
from mingbai.kernel.verdicts import Reason, Verdict
from tests.engines.screening.test_screen import NOW

TEXTS = [
    "晚上一起吃饭吗",
    "【某银行】您的验证码是482913，请勿告诉他人。",
    "",
    "急用钱找我，秒到账，无抵押，加薇信 kd8800",
]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(Model.load(), CompiledRules.none(), NOW)


def recorded(policy: Policy, batch: pa.RecordBatch, **instead: pa.Array) -> pa.RecordBatch:
    """What the ledger keeps of the decisions on a batch."""
    decisions = screen(batch, policy, Counters())[0]
    columns = {name: decisions.column(name) for name in RECORDED if name != "model"}
    columns["model"] = pa.array([policy.model.version] * batch.num_rows)
    return pa.record_batch({**columns, **instead})


def test_the_same_policy_gives_the_same_verdicts_and_reads_few_again(policy: Policy) -> None:
    batch = pa.record_batch({"text": pa.array(TEXTS)})
    decisions = screen(batch, policy, Counters())[0]
    again, read = rescreen(batch, recorded(policy, batch), policy)
    assert again.schema == RESCREENED
    assert all(again.column(name).equals(decisions.column(name)) for name in RESCREENED.names)
    assert read == decisions.column("verdict").to_pylist().count(Verdict.BLOCK) < len(TEXTS)


def test_a_recorded_score_is_believed_and_an_unknown_model_s_is_not(policy: Policy) -> None:
    batch = pa.record_batch({"text": pa.array(TEXTS[:1])})
    flagged = {
        "score": pa.array([0.7], pa.float32()),
        "reasons": pa.array([[int(Reason.MODEL_DOUBTFUL)]], pa.list_(pa.uint16())),
    }
    assert rescreen(batch, recorded(policy, batch, **flagged), policy)[0].column("verdict")[0].as_py() == Verdict.FLAG
    other = recorded(policy, batch, **flagged, model=pa.array(["another"]))
    assert rescreen(batch, other, policy)[0].column("verdict")[0].as_py() == Verdict.ALLOW
    assert rescreen(batch, recorded(policy, batch, **flagged), policy, trust=False)[1] == 1


def test_a_burst_is_one_where_it_was_recorded(policy: Policy) -> None:
    batch = pa.record_batch({"text": pa.array(TEXTS[:1])})
    reasons = pa.array([[int(Reason.MODEL_LEGITIMATE), int(Reason.CAMPAIGN_BURST)]], pa.list_(pa.uint16()))
    found, read = rescreen(batch, recorded(policy, batch, reasons=reasons), policy)
    assert (found.column("verdict")[0].as_py(), read) == (Verdict.FLAG, 0)


def test_rows_without_anything_recorded_are_read_in_full(policy: Policy) -> None:
    batch = pa.record_batch({"text": pa.array(TEXTS)})
    decisions = screen(batch, policy, Counters())[0]
    whole = recorded(policy, batch)
    nothing = pa.record_batch([pa.nulls(len(TEXTS), field.type) for field in whole.schema], names=whole.schema.names)
    found, read = rescreen(batch, nothing, policy)
    assert read == len(TEXTS)
    assert found.column("verdict").equals(decisions.column("verdict"))


def test_no_rows_are_no_work(policy: Policy) -> None:
    batch = pa.record_batch({"text": pa.array([], pa.string())})
    assert rescreen(batch, recorded(policy, batch), policy)[0].num_rows == 0


def test_a_missing_column_is_named(policy: Policy) -> None:
    batch = pa.record_batch({"text": pa.array(TEXTS)})
    with pytest.raises(SchemaMismatch, match="model"):
        rescreen(batch, recorded(policy, batch).drop_columns(["model"]), policy)
