"""Spark: the same `screen`, on every executor, over a DataFrame of any size.

`mapInArrow` hands each partition over as Arrow batches, and the engine's own function decides them: scores are equal
bit for bit to those of a run in one process. What differs is what was seen before: every partition counts campaigns
for itself, so bursts, and the ids of near-duplicate campaigns, are those of a partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from mingbai.connectors.policies import PolicySource
from mingbai.kernel.errors import SchemaMismatch
from mingbai.kernel.verdicts import Category, Reason, Verdict

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

    from mingbai.engines.screening.policy import Policy

_policies: dict[object, Policy] = {}  # of this executor process, by source; Spark reuses its Python workers
_MAX_CAMPAIGNS = 250_000  # as a run over files keeps


def screen_dataframe(
    df: DataFrame,
    policy_source: PolicySource,
    *,
    text_column: str = "text",
    sender_column: str | None = None,
    receiver_column: str | None = None,
    access_code_column: str | None = None,
    time_column: str | None = None,
) -> DataFrame:
    """`df` with the decision columns behind its own: verdict, category (labels), score, reasons (labels), rules, spans,
    campaign (16 hex digits, empty for none).

    Columns are taken by name; an optional one that is not named is used if `df` has it under its own name. Raises
    SchemaMismatch for a column that is not there, before anything runs.
    """
    asked = {
        "text": text_column,
        "sender": sender_column,
        "receiver": receiver_column,
        "access_code": access_code_column,
        "time": time_column,
    }
    columns = {}
    for role, name in asked.items():
        if name is not None and name not in df.columns:
            raise SchemaMismatch(field=role, value=name, expected=f"one of {', '.join(df.columns)}")
        if name is not None or role in df.columns:
            columns[role] = name or role
    for name in DECISION_COLUMNS:
        if name in df.columns:
            raise SchemaMismatch(field=name, value="a column of the input", expected="a name that is free")
    return df.mapInArrow(lambda batches: _screen_partition(batches, policy_source, columns), _schema(df))


DECISION_COLUMNS = ("verdict", "category", "score", "reasons", "rules", "spans", "campaign")


def _schema(df: DataFrame) -> StructType:
    from pyspark.sql import types

    span = types.StructType([types.StructField(name, types.IntegerType(), False) for name in ("start", "end")])
    kinds = {
        "verdict": types.StringType(),
        "category": types.StringType(),
        "score": types.FloatType(),
        "reasons": types.ArrayType(types.StringType()),
        "rules": types.ArrayType(types.StringType()),
        "spans": types.ArrayType(span),
        "campaign": types.StringType(),
    }
    return types.StructType([*df.schema.fields, *(types.StructField(name, kinds[name]) for name in DECISION_COLUMNS)])


def _screen_partition(
    batches: Iterable[pa.RecordBatch], source: PolicySource, columns: dict[str, str]
) -> Iterator[pa.RecordBatch]:
    """Runs on an executor."""
    from mingbai.connectors.batch.engine import decide
    from mingbai.engines.screening.campaigns import Counters

    policy = _policy(source)
    counters = Counters(_MAX_CAMPAIGNS)
    for batch in batches:
        message = pa.record_batch({role: _as_message(role, batch.column(name)) for role, name in columns.items()})
        decided = decide(message, policy, counters)
        for update in decided.updates:
            counters.apply(update)
        added = _readable(decided.decisions)
        yield pa.RecordBatch.from_arrays([*batch.columns, *added], names=[*batch.schema.names, *DECISION_COLUMNS])


def _readable(decisions: pa.RecordBatch) -> list[pa.Array]:
    """`DECISION_COLUMNS` of a batch: labels for codes, which Spark has no unsigned types for."""
    reasons = decisions.column("reasons")
    labels = pa.array([Reason(code).label for code in reasons.values.to_pylist()], pa.string())
    campaigns = [f"{campaign:016x}" if campaign else "" for campaign in decisions.column("campaign").to_pylist()]
    return [
        pa.array([Verdict(code).label for code in decisions.column("verdict").to_pylist()], pa.string()),
        pa.array([Category(code).label for code in decisions.column("category").to_pylist()], pa.string()),
        decisions.column("score"),
        pa.ListArray.from_arrays(reasons.offsets, labels),
        decisions.column("rules"),
        decisions.column("spans"),
        pa.array(campaigns, pa.string()),
    ]


def _as_message(role: str, values: pa.Array) -> pa.Array:
    if role == "time":
        return values.cast(pa.timestamp("us", "UTC"))
    return values.cast(pa.string())


def _policy(source: PolicySource) -> Policy:
    """The compiled policy: once a process, not once a partition."""
    if source.key not in _policies:
        _policies.clear()
        _policies[source.key] = source.policy()
    return _policies[source.key]
