"""Reading: ranges, columns, beside a writer, and with other tools."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mingbai.kernel.errors import BadValue
from mingbai.ledger import (
    ENTRY,
    ORIGINAL,
    KeyStore,
    Ledger,
    LedgerDamaged,
    LedgerOptions,
    StreamReader,
    list_streams,
    verify,
)

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.ledger.conftest import Traffic

QUIET = LedgerOptions(background_sealing=False)


@pytest.fixture
def written(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> Path:
    """60 decisions, one a second: two sealed segments and an open one."""
    with Ledger.open(data, stream="batch", keys=keys, now=now, options=QUIET) as ledger:
        for second in range(60):
            if second in (20, 40):
                ledger.seal(now=now + timedelta(seconds=second))
            ledger.record(traffic(1, second), now=now + timedelta(seconds=second))
    return data


def seqs(batches: object) -> list[int]:
    return [seq for batch in batches for seq in batch.column("seq").to_pylist()]  # type: ignore[attr-defined]  # batches


def test_all_entries_come_in_order(written: Path) -> None:
    batches = list(StreamReader(written, "batch").entries())
    assert all(batch.schema.equals(ENTRY) for batch in batches)
    everything = seqs(batches)
    assert everything == list(range(1, len(everything) + 1))
    assert len(everything) >= 60


@pytest.mark.parametrize(("first", "last"), [(1, 1), (5, 5), (10, 30), (22, 45), (60, None), (63, 1000), (500, None)])
def test_a_range_of_seqs(written: Path, first: int, last: int | None) -> None:
    everything = seqs(StreamReader(written, "batch").entries())
    expected = [seq for seq in everything if first <= seq and (last is None or seq <= last)]
    reader = StreamReader(written, "batch")
    assert seqs(reader.entries(["seq"], first_seq=first, last_seq=last)) == expected
    pairs = list(reader.entries_with_originals(["seq"], first_seq=first, last_seq=last))
    assert seqs(entries for entries, _ in pairs) == expected
    assert seqs(originals for _, originals in pairs) == expected


def test_a_range_of_time_has_its_end_left_out(written: Path, now: datetime) -> None:
    since, until = now + timedelta(seconds=15), now + timedelta(seconds=25)
    batches = list(StreamReader(written, "batch").entries(["at", "kind"], since=since, until=until))
    times = {at for batch in batches for at in batch.column("at").to_pylist()}
    assert (min(times), max(times)) == (since, until - timedelta(seconds=1))
    assert batches[0].schema.names == ["at", "kind"]
    pairs = list(StreamReader(written, "batch").entries_with_originals(["seq", "at"], since=since, until=until))
    assert sum(entries.num_rows for entries, _ in pairs) == sum(batch.num_rows for batch in batches)


def test_originals_stand_beside_their_entries(written: Path, keys: KeyStore, traffic: Traffic) -> None:
    reader = StreamReader(written, "batch", keys)
    texts = []
    for entries, originals in reader.entries_with_originals(["seq", "kind", "verdict"]):
        assert originals.schema.equals(ORIGINAL)
        assert entries.column("seq") == originals.column("seq")
        for kind, original in zip(entries.column("kind").to_pylist(), originals.to_pylist(), strict=True):
            if kind == "sms.screened":
                texts.append(original["text"])
                assert (original["text_kept"], original["numbers_kept"]) == ("kept", "kept")
            else:
                assert (original["text_kept"], original["numbers_kept"]) == ("never_kept", "never_kept")
    assert texts == traffic(60).column("text").to_pylist()


def test_originals_come_in_the_order_asked(written: Path, keys: KeyStore) -> None:
    reader = StreamReader(written, "batch", keys)
    asked = [50, 3, 29, 3, 62]
    assert reader.originals(asked).column("seq").to_pylist() == asked
    assert reader.originals([]).num_rows == 0
    with pytest.raises(BadValue, match="seq: got 9999"):
        reader.originals([3, 9999])


def test_an_unknown_column_is_named(written: Path) -> None:
    with pytest.raises(BadValue, match="columns: got 'text'"):
        next(StreamReader(written, "batch").entries(["text"]))


def test_a_time_without_zone_is_refused(written: Path, now: datetime) -> None:
    with pytest.raises(BadValue, match="since"):
        next(StreamReader(written, "batch").entries(since=now.replace(tzinfo=None)))


def test_a_stream_that_does_not_exist_is_empty(data: Path) -> None:
    assert list(StreamReader(data, "batch").entries()) == []
    assert list_streams(data) == []


def test_without_keys_originals_say_so(written: Path) -> None:
    rows = StreamReader(written, "batch").originals([3]).to_pylist()
    assert (rows[0]["text_kept"], rows[0]["text"]) == ("unreadable", None)


def test_a_reader_follows_the_writer(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    reader = StreamReader(data, "batch", keys)
    read = 0
    with Ledger.open(data, stream="batch", keys=keys, now=now, options=QUIET) as ledger:
        for turn in range(12):
            receipt = ledger.record(traffic(3, turn * 3), now=now)
            if turn % 4 == 3:
                ledger.seal(now=now)
            new = seqs(reader.entries(["seq"], first_seq=read + 1))
            assert new[0] == read + 1
            read = new[-1]
            assert read >= receipt.last_seq
            texts = reader.originals(range(receipt.first_seq, receipt.last_seq + 1)).column("text").to_pylist()
            assert texts == traffic(3, turn * 3).column("text").to_pylist()


def test_a_segment_sealed_while_it_is_read_is_read_to_its_end(
    data: Path, keys: KeyStore, now: datetime, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mingbai.ledger.read._BATCH_ROWS", 1)  # so that each commit comes by itself
    with Ledger.open(data, stream="batch", keys=keys, now=now, options=QUIET) as ledger:
        for start in range(5):
            ledger.record(traffic(2, start * 2), now=now)
            if start == 2:
                ledger.seal(now=now)
        expected = seqs(StreamReader(data, "batch").entries(["seq"]))
        batches = StreamReader(data, "batch").entries(["seq"])
        first = seqs([next(batches)])
        ledger.seal(now=now)
        assert first + seqs(batches) == expected


def test_an_unfinished_commit_at_the_end_is_not_read(written: Path) -> None:
    everything = seqs(StreamReader(written, "batch").entries(["seq"]))
    (path,) = (written / "ledger" / "batch" / "entries").glob("*.arrows")
    path.write_bytes(path.read_bytes()[:-100])
    assert seqs(StreamReader(written, "batch").entries(["seq"])) == everything[:-1]


def test_damage_is_an_error_after_the_rows_before_it(written: Path) -> None:
    (path,) = (written / "ledger" / "batch" / "entries").glob("*.arrows")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(LedgerDamaged, match=r"\.arrows, byte \d+"):
        list(StreamReader(written, "batch").entries())


def test_duckdb_reads_sealed_segments_as_they_are(written: Path) -> None:
    files = written / "ledger" / "batch" / "entries" / "*.parquet"
    database = duckdb.connect()
    database.execute(f"CREATE VIEW entries AS SELECT * FROM read_parquet('{files}')")

    def rows(query: str) -> list[tuple[object, ...]]:
        return database.execute(query).fetchall()

    screened = "FROM entries WHERE kind = 'sms.screened'"
    assert rows(f"SELECT verdict, count(*), max(len(spans)) {screened} GROUP BY 1 ORDER BY 1") == [
        (0, 10, 0),
        (1, 10, 2),
        (2, 10, 2),
        (3, 10, 2),
    ]
    assert rows("SELECT count(*) FROM entries WHERE list_contains(reasons, 10)") == [(30,)]
    assert rows("SELECT count(DISTINCT sender) FROM entries") == [(10,)]
    assert rows("SELECT spans[2].start FROM entries WHERE verdict = 3 LIMIT 1") == [(5,)]


def test_arrow_tools_read_an_open_segment_as_it_is(written: Path) -> None:
    (path,) = (written / "ledger" / "batch" / "entries").glob("*.arrows")
    table = pa.ipc.open_stream(path).read_all()
    assert sum(kind == "sms.screened" for kind in table["kind"].to_pylist()) == 20
    counted = duckdb.from_arrow(table).aggregate("count(*)", "verdict").fetchall()
    assert (5,) in counted


def test_sealed_rows_are_the_open_ones(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    with Ledger.open(data, stream="batch", keys=keys, now=now, options=QUIET) as ledger:
        for start in range(4):
            ledger.record(traffic(9, start * 9), now=now)
        before = pa.Table.from_batches(StreamReader(data, "batch").entries())
        ledger.seal(now=now)
    (path, *_) = sorted((data / "ledger" / "batch" / "entries").glob("*.parquet"))
    after = pq.read_table(path)
    assert after.drop_columns(["link"]).equals(before)
    assert after.schema.names == [*ENTRY.names, "link"]


Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(1, 12)),
        st.tuples(st.sampled_from(["seal", "restart", "event", "head", "tomorrow"]), st.just(0)),
    ),
    max_size=14,
)


@pytest.mark.slow
@settings(
    max_examples=settings().max_examples // 4,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS, roll=st.sampled_from([5, 20, 1000]))
def test_any_life_of_a_stream_reads_back_what_was_recorded(
    tmp_path_factory: pytest.TempPathFactory,
    keys: KeyStore,
    now: datetime,
    traffic: Traffic,
    steps: list[Step],
    roll: int,
) -> None:
    data = tmp_path_factory.mktemp("life")
    options = LedgerOptions(max_segment_rows=roll, background_sealing=False)

    def opened() -> Ledger:
        return Ledger.open(data, stream="batch", keys=keys, now=now, options=options)

    texts: list[str] = []
    heads = []
    ledger = opened()
    for step, rows in steps:
        if step == "record":
            batch = traffic(rows, len(texts))
            receipt = ledger.record(batch, now=now)
            texts += batch.column("text").to_pylist()
            assert receipt.rows == rows
        elif step == "seal":
            ledger.seal(now=now)
        elif step == "event":
            ledger.record_event("policy.published", {"n": len(texts)}, now=now)
        elif step == "head":
            heads.append(ledger.sign_head(now=now))
        elif step == "tomorrow":
            now += timedelta(days=1)
        else:
            ledger.close()
            ledger = opened()
    ledger.close()
    found = []
    reader = StreamReader(data, "batch", keys)
    for entries, originals in reader.entries_with_originals(["kind"]):
        rows_of = zip(entries.column("kind").to_pylist(), originals.column("text").to_pylist(), strict=True)
        found += [text for kind, text in rows_of if kind == "sms.screened"]
    assert found == texts
    everything = seqs(reader.entries(["seq"]))
    assert everything == list(range(1, len(everything) + 1))
    anchor = b"".join(head.to_json() + b"\n" for head in heads) or None
    report = verify(data, anchor=anchor, public_key=keys.public_key)
    assert report.ok, [str(finding) for finding in report.findings]
    assert report.streams[0].rows == len(everything)


@pytest.mark.slow
@pytest.mark.needs("java")
def test_spark_reads_sealed_segments_as_they_are(written: Path) -> None:
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        frame = session.read.parquet(str(written / "ledger" / "batch" / "entries"), pathGlobFilter="*.parquet")
        screened = frame.where("kind = 'sms.screened'")
        counted = {row["verdict"]: row["count"] for row in screened.groupBy("verdict").count().collect()}
        assert counted == {0: 10, 1: 10, 2: 10, 3: 10}
        row = screened.where("verdict = 3").orderBy("seq").first()
        assert row is not None
        assert (row["reasons"], row["spans"][1]["end"], len(row["sender"])) == ([2, 10], 9, 16)
    finally:
        session.stop()


def test_a_reader_that_knows_the_key_forgets_it_with_the_day(
    data: Path, keys: KeyStore, now: datetime, traffic: Traffic
) -> None:
    with Ledger.open(data, stream="batch", keys=keys, now=now, options=QUIET) as ledger:
        ledger.record(traffic(4), now=now)
        reader = StreamReader(data, "batch", keys)
        assert reader.originals([2]).column("text_kept").to_pylist() == ["kept"]
        ledger.expire(now=now + timedelta(days=8))  # the ciphertext is still there, in the open segment
        assert reader.originals([2]).column("text_kept").to_pylist() == ["no_longer_kept"]
        assert reader.originals([3]).column("text_kept").to_pylist() == ["kept"]
