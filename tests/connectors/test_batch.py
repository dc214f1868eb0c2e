"""Files -> engine -> ledger and output: order, threads, the failure rule, and nothing written before it is durable."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mingbai.connectors.batch.engine import MAX_TRIES, decide, screen_stream, unscreened
from mingbai.connectors.batch.record import Recorder, e164
from mingbai.connectors.batch.run import Progress, screen_tables
from mingbai.connectors.batch.tally import MAX_CAMPAIGNS, Tally
from mingbai.connectors.ledger_access import STREAM, open_keys, open_ledger
from mingbai.connectors.policies import ModelUnreadable, PolicySource, read_policy
from mingbai.connectors.tables import open_output, read_messages
from mingbai.engines.scenarios.traffic import traffic
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.schema import DECISION, MESSAGE
from mingbai.kernel.verdicts import Reason, Verdict
from mingbai.ledger import Kept, LedgerClosed, StreamReader, verify
from mingbai.settings import Settings

NOW = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
OFFER = "【惠民贷】无抵押无担保，黑户白户都能做，当天放款最高50万，加薇信：kd{}"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return read_policy(rulebook=None, model=None, now=NOW).policy()


@pytest.fixture(scope="module")
def day() -> pa.RecordBatch:
    return traffic(3, 3000, NOW.date()).select(MESSAGE.names)


def parts(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    return (batch.slice(at, rows) for at in range(0, batch.num_rows, rows))


def decided(batch: pa.RecordBatch, policy: Policy, threads: int, rows: int = 100) -> pa.RecordBatch:
    stream = screen_stream(parts(batch, rows), lambda part: part, policy, Counters(), threads=threads)
    return pa.concat_batches([result.decided.decisions for result in stream])


# -- the engine over a stream --


def test_the_result_does_not_depend_on_the_number_of_threads(day: pa.RecordBatch, policy: Policy) -> None:
    alone = decided(day, policy, 1)
    assert alone.num_rows == day.num_rows
    for threads in (2, 5):
        assert decided(day, policy, threads).equals(alone)


def test_results_come_in_the_order_of_the_input(policy: Policy) -> None:
    texts = [f"第{number}次提醒" for number in range(57)]
    stream = screen_stream(
        enumerate(texts), lambda item: pa.record_batch({"text": [item[1]]}), policy, Counters(), threads=4
    )
    assert [result.item[0] for result in stream] == list(range(57))


def test_a_later_batch_knows_the_campaign_of_an_earlier_one(policy: Policy) -> None:
    batches = [pa.record_batch({"text": [OFFER.format(8800 + number)]}) for number in range(3)]
    stream = screen_stream(batches, lambda part: part, policy, Counters(), threads=2)
    ids = {result.decided.decisions.column("campaign")[0].as_py() for result in stream}
    assert len(ids) == 1
    assert ids != {0}


def test_memory_holds_no_more_than_three_waves(day: pa.RecordBatch, policy: Policy) -> None:
    taken = 0

    def source() -> Iterator[pa.RecordBatch]:
        nonlocal taken
        for part in parts(day, 10):
            taken += 1
            yield part

    given = 0
    for _result in screen_stream(source(), lambda part: part, policy, Counters(), threads=2):
        given += 1
        assert taken - given < 3 * 16
    assert given == 300


def test_an_error_of_the_source_passes_through(policy: Policy) -> None:
    def source() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"text": ["你好"]})
        raise OSError("the device failed")

    with pytest.raises(OSError, match="the device failed"):
        list(screen_stream(source(), lambda part: part, policy, Counters(), threads=2))


# -- the failure rule --


def with_bad_times(rows: int, bad: set[int]) -> pa.RecordBatch:
    """Messages whose time column is text, which the engine turns into numbers: it fails on those that are none."""
    texts = [OFFER.format(row) for row in range(rows)]
    times = ["soon" if row in bad else "1772337600000000" for row in range(rows)]
    return pa.record_batch({"text": texts, "time": times})


def test_messages_the_engine_fails_on_pass_unscreened_and_the_others_are_decided(
    policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    found = decide(with_bad_times(40, {7, 31}), policy, Counters())
    rows = found.decisions.to_pylist()
    good = decide(with_bad_times(40, set()), policy, Counters()).decisions.to_pylist()
    assert found.unscreened == 2
    for number, row in enumerate(rows):
        if number in (7, 31):
            assert (row["verdict"], row["reasons"]) == (Verdict.ALLOW, [Reason.UNSCREENED])
        else:
            assert (row["verdict"], row["score"]) == (good[number]["verdict"], good[number]["score"])
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert OFFER[:10] not in caplog.text


def test_an_engine_that_fails_on_everything_is_not_asked_for_ever(policy: Policy) -> None:
    found = decide(with_bad_times(5000, set(range(5000))), policy, Counters())
    assert found.unscreened == 5000
    assert set(found.decisions.column("verdict").to_pylist()) == {Verdict.ALLOW}
    assert len(found.updates) < MAX_TRIES


def test_unscreened_decisions_have_the_schema_of_decisions() -> None:
    for rows in (0, 3):
        made = unscreened(rows)
        made.validate(full=True)
        assert made.schema.equals(DECISION)


# -- record before output --


def write_csv(path: Path, count: int) -> None:
    lines = [f"{OFFER.format(number)},138{number:08d},1390000{number:04d}\n" for number in range(count)]
    path.write_text("text,sender,receiver\n" + "".join(lines), encoding="utf-8")


def test_decisions_are_recorded_with_their_originals(tmp_path: Path, policy: Policy) -> None:
    write_csv(tmp_path / "a.csv", 250)
    settings = Settings(data=tmp_path / "data")
    seen: list[Progress] = []
    with open_ledger(settings, now=NOW) as ledger, open_output(tmp_path / "o.parquet") as output:
        recorder = Recorder(ledger, policy, lambda: NOW)
        reader = read_messages([tmp_path / "a.csv"], on_reject=lambda reject: None, batch_rows=100)
        tally = screen_tables(reader, policy, threads=2, output=output, recorder=recorder, on_progress=seen.append)
        recorder.finish()
    assert tally.messages == recorder.rows == pq.read_table(tmp_path / "o.parquet").num_rows == 250
    assert [progress.messages for progress in seen] == [100, 200, 250]
    reader_of = StreamReader(settings.data, STREAM, open_keys(settings))
    columns = ["kind", "verdict", "model", "rulebook", "text_hash", "campaign"]
    found = list(reader_of.entries_with_originals(columns))
    entries = pa.Table.from_batches([entry for entry, _ in found])
    originals = pa.Table.from_batches([original for _, original in found])
    is_sms = pa.compute.equal(entries.column("kind"), "sms.screened")
    entries, originals = entries.filter(is_sms), originals.filter(is_sms)
    assert originals.column("text").to_pylist() == [OFFER.format(number) for number in range(250)]
    assert originals.column("sender")[0].as_py() == "+8613800000000"
    assert set(originals.column("text_kept").to_pylist()) == {Kept.KEPT}
    assert set(entries.column("model").to_pylist()) == {policy.model.version}
    assert entries.column("text_hash").null_count == 0
    assert verify(settings.data).ok


def test_no_row_is_written_whose_entry_is_not_durable(tmp_path: Path, policy: Policy) -> None:
    write_csv(tmp_path / "a.csv", 50)
    ledger = open_ledger(Settings(data=tmp_path / "data"), now=NOW)
    ledger.close()
    reader = read_messages([tmp_path / "a.csv"], on_reject=lambda reject: None)
    with pytest.raises(LedgerClosed), open_output(tmp_path / "o.csv") as output:
        screen_tables(reader, policy, threads=1, output=output, recorder=Recorder(ledger, policy, lambda: NOW))
    assert output.rows == 0
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("13800000000", "+8613800000000"),
        ("86 138 0000 0000", "+8613800000000"),
        ("+8613800000000", "+8613800000000"),
        ("10690000", "10690000"),
        ("ACME", "ACME"),
    ],
)
def test_one_number_has_one_form_in_the_record(written: str, kept: str) -> None:
    assert e164(pa.array([written, None])).to_pylist() == [kept, None]


# -- counts --


def test_a_tally_counts_verdicts_rules_and_campaigns(policy: Policy) -> None:
    batch = pa.record_batch({"text": [OFFER.format(number) for number in range(6)] + ["晚上一起吃饭吗"]})
    found = decide(batch, policy, Counters())
    tally = Tally()
    tally.add(batch, found.decisions, found.unscreened)
    tally.add(batch, found.decisions, found.unscreened)
    assert tally.messages == sum(tally.verdicts.values()) == sum(tally.categories.values()) == 14
    campaign, counted = tally.top_campaigns(1)[0]
    assert campaign == found.decisions.column("campaign")[0].as_py()
    assert counted.messages == 12
    assert counted.example == OFFER.format(0)


def test_a_tally_keeps_the_large_campaigns_when_there_are_too_many() -> None:
    tally = Tally()
    rows = MAX_CAMPAIGNS + 1
    batch = pa.record_batch({"text": ["a"] * (rows + 9)})
    decisions = unscreened(rows + 9)
    place = decisions.schema.get_field_index("campaign")
    ids = pa.array([1] * 10 + list(range(2, rows + 1)), pa.uint64())
    tally.add(batch, decisions.set_column(place, DECISION.field("campaign"), ids), 0)
    assert len(tally.campaigns) <= MAX_CAMPAIGNS
    assert tally.campaigns[1].messages == 10


# -- policies --


def test_a_model_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadable, match="No such file"):
        read_policy(rulebook=None, model=tmp_path / "none.npz", now=NOW)


def test_equal_sources_have_equal_keys() -> None:
    assert PolicySource(NOW).key == PolicySource(NOW).key
    assert PolicySource(NOW).key != PolicySource(NOW, block_at=0.5).key
