"""The engine inside a real local Spark: bit-equal scores with a run in this process."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from mingbai.connectors.batch.engine import decide
from mingbai.connectors.policies import read_policy
from mingbai.connectors.spark import DECISION_COLUMNS, screen_dataframe
from mingbai.engines.scenarios import generate
from mingbai.engines.screening.campaigns import Counters
from mingbai.kernel.errors import SchemaMismatch
from mingbai.kernel.verdicts import Category, Reason, Verdict

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.needs("java"), pytest.mark.slow]
NOW = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
SOURCE = read_policy(rulebook=None, model=None, now=NOW)


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local[2]")
        .appName("mingbai")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.session.timeZone", "Asia/Shanghai")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


def test_scores_are_equal_bit_for_bit(spark: SparkSession) -> None:
    texts = generate(11, 600).column("text").to_pylist()
    senders = [f"139{number:08d}" for number in range(600)]
    times = [NOW] * 600
    rows = list(zip(range(600), texts, senders, times, strict=True))
    df = spark.createDataFrame(rows, "number int, text string, sender string, time timestamp").repartition(4)
    found = sorted(screen_dataframe(df, SOURCE).collect(), key=lambda row: row["number"])
    batch = pa.record_batch({"text": texts, "sender": senders, "time": pa.array(times, pa.timestamp("us", "UTC"))})
    own = decide(batch, SOURCE.policy(), Counters()).decisions.to_pylist()
    assert len(found) == len(own) == 600
    for row, decision in zip(found, own, strict=True):
        assert struct.pack("f", row["score"]) == struct.pack("f", decision["score"])
        assert row["category"] == Category(decision["category"]).label
        assert [(span["start"], span["end"]) for span in row["spans"]] == [
            (span["start"], span["end"]) for span in decision["spans"]
        ]
        # What was seen before differs by partition; nothing else may.
        seen = {Reason.CAMPAIGN_BURST.label, Reason.URL_NEW_HOST.label}
        reasons = {Reason(code).label for code in decision["reasons"]}
        assert set(row["reasons"]) - seen == reasons - seen
        if not seen & (set(row["reasons"]) | reasons):
            assert row["verdict"] == Verdict(decision["verdict"]).label


def test_the_frames_own_columns_stay_and_names_are_checked(spark: SparkSession) -> None:
    df = spark.createDataFrame([(1, "你好"), (2, None)], "id int, body string")
    found = screen_dataframe(df, SOURCE, text_column="body")
    assert found.columns == ["id", "body", *DECISION_COLUMNS]
    assert sorted(row["id"] for row in found.collect()) == [1, 2]
    with pytest.raises(SchemaMismatch, match="body"):
        screen_dataframe(df, SOURCE)
    with pytest.raises(SchemaMismatch, match="sender"):
        screen_dataframe(df, SOURCE, text_column="body", sender_column="who")
