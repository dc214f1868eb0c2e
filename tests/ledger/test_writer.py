"""Recording: receipts, group commit, segments, heads, retention."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from mingbai.kernel.errors import BadValue, SchemaMismatch
from mingbai.ledger import (
    RECORD,
    FileOps,
    KeysChanged,
    KeyStore,
    Kind,
    Ledger,
    LedgerCannotWrite,
    LedgerClosed,
    LedgerLocked,
    LedgerOptions,
    Retention,
    StreamReader,
    verify,
)

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.ledger.conftest import Traffic

QUIET = LedgerOptions(background_sealing=False)


def kinds(data: Path, stream: str = "batch") -> list[str]:
    batches = StreamReader(data, stream).entries(["kind"])
    return [kind for batch in batches for kind in batch.column("kind").to_pylist()]


def event_data(data: Path, kind: str) -> list[dict[str, object]]:
    found = []
    for batch in StreamReader(data, "batch").entries(["kind", "data"]):
        found += [json.loads(row["data"]) for row in batch.to_pylist() if row["kind"] == kind]
    return found


def test_what_was_recorded_is_read_back(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    batch = traffic(10)
    with Ledger.open(data, stream="batch", keys=keys, now=now) as ledger:
        receipt = ledger.record(batch, now=now)
    assert (receipt.stream, receipt.rows, receipt.first_seq, receipt.last_seq) == ("batch", 10, 2, 11)
    (entries,) = StreamReader(data, "batch").entries(first_seq=receipt.first_seq)
    for name in ("verdict", "category", "score", "reasons", "rules", "spans", "campaign", "fingerprint", "access_code"):
        assert entries.column(name).to_pylist() == batch.column(name).to_pylist(), name
    assert entries.column("seq").to_pylist() == list(range(2, 12))
    assert set(entries.column("at").to_pylist()) == {now}
    originals = StreamReader(data, "batch", keys).originals(range(2, 12))
    for name in ("text", "sender", "receiver", "time"):
        assert originals.column(name).to_pylist() == batch.column(name).to_pylist(), name
    assert set(originals.column("text_kept").to_pylist()) == {"kept"}


def test_the_first_row_of_a_stream_says_who_writes_it(data: Path, keys: KeyStore, now: datetime) -> None:
    Ledger.open(data, stream="batch", keys=keys, now=now).close()
    assert kinds(data) == ["segment.opened"]
    (opened,) = event_data(data, "segment.opened")
    assert opened["public_key"] == keys.public_key.hex()
    assert opened["previous_chain"] is None


def test_seqs_go_on_over_restarts(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    seqs = []
    for start in range(3):
        with Ledger.open(data, stream="batch", keys=keys, now=now) as ledger:
            seqs.append(ledger.record(traffic(4, start * 4), now=now).first_seq)
    assert seqs == [2, 6, 10]
    assert verify(data).ok


def test_streams_are_apart(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    with (
        Ledger.open(data, stream="gateway-1", keys=keys, now=now) as one,
        Ledger.open(data, stream="gateway-2", keys=keys, now=now) as two,
    ):
        assert one.record(traffic(2), now=now).first_seq == two.record(traffic(2), now=now).first_seq == 2
    report = verify(data)
    assert report.ok
    assert [stream.stream for stream in report.streams] == ["gateway-1", "gateway-2"]
    assert report.streams[0].chain != report.streams[1].chain


@pytest.mark.parametrize("name", ["", "..", "a/b", "UPPER", "x" * 65, ".hidden"])
def test_a_stream_name_is_a_plain_folder_name(data: Path, keys: KeyStore, now: datetime, name: str) -> None:
    with pytest.raises(BadValue, match="stream"):
        Ledger.open(data, stream=name, keys=keys, now=now)


def test_a_bad_batch_records_nothing(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    with Ledger.open(data, stream="batch", keys=keys, now=now) as ledger:
        with pytest.raises(SchemaMismatch):
            ledger.record(traffic(3).drop_columns(["verdict"]), now=now)
        assert ledger.record(traffic(3), now=now).first_seq == 2


def test_a_second_writer_is_told_so(data: Path, keys: KeyStore, now: datetime) -> None:
    with (
        Ledger.open(data, stream="batch", keys=keys, now=now),
        pytest.raises(LedgerLocked, match="held by another writer") as caught,
    ):
        Ledger.open(data, stream="batch", keys=keys, now=now)
    assert caught.value.retryable
    Ledger.open(data, stream="batch", keys=keys, now=now).close()  # free again


def test_the_lock_ends_with_its_process(data: Path, keys: KeyStore, now: datetime) -> None:
    script = (
        "import os, sys; from datetime import datetime, UTC; from mingbai.ledger import *\n"
        "Ledger.open(sys.argv[1], stream='batch', keys=KeyStore.open_or_create(sys.argv[2]), now=datetime.now(UTC))\n"
        "os.kill(os.getpid(), 9)"
    )
    key_file = data.parent / "secret" / "keys.json"
    run = subprocess.run([sys.executable, "-c", script, data, key_file], env={**os.environ}, check=False)
    assert run.returncode == -9
    Ledger.open(data, stream="batch", keys=keys, now=now).close()


def test_a_closed_ledger_says_so(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    ledger = Ledger.open(data, stream="batch", keys=keys, now=now)
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerClosed):
        ledger.record(traffic(1), now=now)


# -- group commit


class GatedSync(FileOps):
    """A disk whose next sync waits until somebody opens the gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.syncing = threading.Event()

    def sync(self, fd: int) -> None:
        self.syncing.set()
        assert self.gate.wait(60)
        super().sync(fd)


def test_what_waited_for_a_sync_shares_the_next_one(
    data: Path, keys: KeyStore, now: datetime, traffic: Traffic
) -> None:
    ops = GatedSync()
    with Ledger.open(data, stream="batch", keys=keys, now=now, ops=ops, options=QUIET) as ledger:
        ledger.record(traffic(1), now=now)
        receipts = {}

        def record(number: int) -> None:
            receipts[number] = ledger.record(traffic(number, start=1000 * number), now=now)

        ops.gate.clear()
        ops.syncing.clear()
        first = threading.Thread(target=record, args=(1,))
        first.start()
        assert ops.syncing.wait(60)
        others = [threading.Thread(target=record, args=(number,)) for number in range(2, 8)]
        for thread in others:
            thread.start()
        while len(ledger._queue) < len(others):  # they queue without telling anybody
            threading.Event().wait(0.001)
        ops.gate.set()
        for thread in [first, *others]:
            thread.join()
    assert {receipts[number].commit for number in range(2, 8)} == {receipts[1].commit + 1}
    originals = StreamReader(data, "batch", keys)
    for number, receipt in receipts.items():
        assert receipt.rows == number
        texts = originals.originals(range(receipt.first_seq, receipt.last_seq + 1)).column("text")
        assert texts.to_pylist() == traffic(number, start=1000 * number).column("text").to_pylist()
    assert verify(data).ok


def test_many_threads_get_dense_seqs_and_their_own_rows(
    data: Path, keys: KeyStore, now: datetime, traffic: Traffic
) -> None:
    receipts: dict[int, int] = {}
    options = LedgerOptions(max_segment_rows=40, max_commit_rows=7)
    with Ledger.open(data, stream="batch", keys=keys, now=now, options=options) as ledger:

        def record(worker: int) -> None:
            for turn in range(10):
                start = worker * 1000 + turn * 10
                receipts[start] = ledger.record(traffic(3, start), now=now).first_seq

        threads = [threading.Thread(target=record, args=(worker,)) for worker in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    reader = StreamReader(data, "batch", keys)
    for start, seq in receipts.items():
        found = reader.originals(range(seq, seq + 3)).column("text").to_pylist()
        assert found == traffic(3, start).column("text").to_pylist()
    report = verify(data)
    assert report.ok, report.findings
    assert report.streams[0].segments > 3


def test_a_commit_is_of_one_day(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    ops = GatedSync()
    tomorrow = now + timedelta(days=1)
    with Ledger.open(data, stream="batch", keys=keys, now=now, ops=ops, options=QUIET) as ledger:
        ops.gate.clear()
        ops.syncing.clear()
        threads = [threading.Thread(target=ledger.record, args=(traffic(1),), kwargs={"now": now})]
        threads[0].start()
        assert ops.syncing.wait(60)
        for when in (now, tomorrow, tomorrow):
            threads.append(threading.Thread(target=ledger.record, args=(traffic(1),), kwargs={"now": when}))
            threads[-1].start()
        while len(ledger._queue) < 3:
            threading.Event().wait(0.001)
        ops.gate.set()
        for thread in threads:
            thread.join()
    assert verify(data).ok
    days = {path.name[:10] for path in (data / "ledger" / "batch" / "keys").iterdir()}
    assert days == {"2026-11-24", "2026-11-25"}
    assert len(list((data / "ledger" / "batch" / "entries").iterdir())) >= 2


# -- segments


@pytest.mark.parametrize(
    ("options", "pause"),
    [
        (LedgerOptions(max_segment_rows=5, background_sealing=False), timedelta(0)),
        (LedgerOptions(max_segment_bytes=1, background_sealing=False), timedelta(0)),
        (LedgerOptions(max_segment_age_s=60, background_sealing=False), timedelta(seconds=60)),
        (QUIET, timedelta(days=1)),
    ],
)
def test_a_new_segment_begins_when_one_is_over(
    data: Path, keys: KeyStore, now: datetime, traffic: Traffic, options: LedgerOptions, pause: timedelta
) -> None:
    with Ledger.open(data, stream="batch", keys=keys, now=now, options=options) as ledger:
        ledger.record(traffic(5), now=now)
        ledger.record(traffic(5), now=now + pause)
    opened = event_data(data, "segment.opened")
    assert len(opened) in (2, 3)
    assert len(opened) == len(list((data / "ledger" / "batch" / "entries").iterdir()))
    assert verify(data).ok


def test_segments_are_sealed_in_the_background(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    options = LedgerOptions(max_segment_rows=20)  # more than there will be seals
    with Ledger.open(data, stream="batch", keys=keys, now=now, options=options) as ledger:
        for start in range(5):
            ledger.record(traffic(20, start * 20), now=now)
        ledger.seal(now=now)  # and what the thread has not reached
    entries = sorted(path.suffix for path in (data / "ledger" / "batch" / "entries").iterdir())
    assert entries.count(".arrows") == 1
    assert entries.count(".parquet") >= 5
    assert verify(data).ok


# -- heads


def test_heads_are_signed_at_the_interval(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    with Ledger.open(
        data, stream="batch", keys=keys, now=now, options=LedgerOptions(head_interval_s=60, background_sealing=False)
    ) as ledger:
        for second in range(0, 300, 30):
            ledger.record(traffic(1), now=now + timedelta(seconds=second))
    heads = event_data(data, "head.signed")
    assert len(heads) == 4
    assert [head["previous"] is None for head in heads] == [True, False, False, False]
    assert verify(data).streams[0].heads == 4


def test_heads_go_on_naming_each_other_over_restarts_and_segments(
    data: Path, keys: KeyStore, now: datetime, traffic: Traffic
) -> None:
    heads = []
    for hour in range(4):
        later = now + timedelta(hours=hour)
        with Ledger.open(data, stream="batch", keys=keys, now=later, options=QUIET) as ledger:
            ledger.record(traffic(1), now=later)
            heads.append(ledger.sign_head(now=later + timedelta(minutes=1)))
    named = [head["previous"] for head in event_data(data, "head.signed")]
    assert named[0] is None
    assert None not in named[1:]
    assert heads[0].sha256.hex() in named
    assert verify(data).ok


def test_a_head_covers_all_that_was_acknowledged_before(
    data: Path, keys: KeyStore, now: datetime, traffic: Traffic
) -> None:
    with Ledger.open(data, stream="batch", keys=keys, now=now) as ledger:
        receipt = ledger.record(traffic(3), now=now)
        head = ledger.sign_head(now=now)
    assert (head.seq, head.commit, head.chain) == (receipt.last_seq, receipt.commit, receipt.chain)
    assert head.is_signed()
    assert head.public_key == keys.public_key


# -- retention


def kept(data: Path, keys: KeyStore, seqs: range) -> list[tuple[str, str]]:
    originals = StreamReader(data, "batch", keys).originals(seqs)
    return list(
        zip(originals.column("text_kept").to_pylist(), originals.column("numbers_kept").to_pylist(), strict=True)
    )


@pytest.mark.parametrize("is_sealed", [False, True])
def test_originals_go_when_their_time_is_over(
    data: Path, keys: KeyStore, now: datetime, traffic: Traffic, is_sealed: bool
) -> None:
    retention = Retention(allowed_text_days=7, stopped_text_days=30, numbers_days=60)
    with Ledger.open(data, stream="batch", keys=keys, now=now, retention=retention) as ledger:
        ledger.record(traffic(4), now=now)  # verdicts allow, flag, hold, block
        if is_sealed:
            ledger.seal(now=now)
        rows = range(2, 6)
        assert ledger.expire(now=now + timedelta(days=7)) == []
        assert kept(data, keys, rows) == [("kept", "kept")] * 4
        (gone,) = ledger.expire(now=now + timedelta(days=8))
        assert (gone.day, gone.kind.label) == ("2026-11-24", "allowed")
        assert kept(data, keys, rows) == [("no_longer_kept", "kept")] + [("kept", "kept")] * 3
        assert len(ledger.expire(now=now + timedelta(days=31))) == 1
        assert kept(data, keys, rows) == [("no_longer_kept", "kept")] * 4
        assert len(ledger.expire(now=now + timedelta(days=61))) == 1
        assert kept(data, keys, rows) == [("no_longer_kept", "no_longer_kept")] * 4
        assert ledger.expire(now=now + timedelta(days=61)) == []
    report = verify(data)
    assert report.ok, report.findings
    assert report.streams[0].expired == ["2026-11-24.allowed", "2026-11-24.numbers", "2026-11-24.stopped"]
    assert not list((data / "ledger" / "batch" / "vault").rglob("2026-11-24*"))
    reader = StreamReader(data, "batch", keys)
    assert sum(batch.num_rows for batch in reader.entries()) >= 8  # entries stay


def test_expired_text_is_not_sealed(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    with Ledger.open(data, stream="batch", keys=keys, now=now, options=QUIET) as ledger:
        ledger.record(traffic(4), now=now)
        ledger.expire(now=now + timedelta(days=8))
        (seal, *_) = ledger.seal(now=now + timedelta(days=8))
    assert seal.vault["allowed"] is None
    assert seal.vault["stopped"] is not None
    assert verify(data).ok


def test_retention_of_zero_days_never_stores(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    retention = Retention(allowed_text_days=0, stopped_text_days=0, numbers_days=0)
    with Ledger.open(data, stream="batch", keys=keys, now=now, retention=retention) as ledger:
        ledger.record(traffic(4), now=now)
    assert kept(data, keys, range(2, 6)) == [("never_kept", "never_kept")] * 4
    assert not (data / "ledger" / "batch" / "keys").exists()


def test_only_allowed_text_may_be_left_out(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    with Ledger.open(data, stream="batch", keys=keys, now=now, retention=Retention(allowed_text_days=0)) as ledger:
        ledger.record(traffic(4), now=now)
    assert kept(data, keys, range(2, 6)) == [("never_kept", "kept")] + [("kept", "kept")] * 3


def test_negative_retention_is_refused() -> None:
    with pytest.raises(BadValue, match="numbers_days"):
        Retention(numbers_days=-1)


# -- what must not be in the files


def test_no_number_and_no_text_is_readable_in_any_file(
    data: Path, keys: KeyStore, now: datetime, traffic: Traffic
) -> None:
    with Ledger.open(data, stream="batch", keys=keys, now=now) as ledger:
        ledger.record(traffic(20), now=now)
        ledger.seal(now=now)
        ledger.record(traffic(20, 100), now=now)
    secrets = [secret.key for ring in (keys.ring.master, keys.ring.pseudonym, keys.ring.signing) for secret in ring]
    clear = ["您的包裹".encode(), b"please call", b"13800000", b"10600000", *secrets]
    for path in data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [word for word in clear if word in content], path
            assert path.stat().st_mode & 0o077 == 0, path


# -- keys


def test_other_keys_are_refused_until_accepted(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> None:
    with Ledger.open(data, stream="batch", keys=keys, now=now) as ledger:
        ledger.record(traffic(4), now=now)
        ledger.seal(now=now)
        ledger.record(traffic(4), now=now)
    new = KeyStore.open_or_create(data.parent / "other" / "keys.json")
    with pytest.raises(KeysChanged, match="was written with signing key SHA256"):
        Ledger.open(data, stream="batch", keys=new, now=now)
    with Ledger.open(data, stream="batch", keys=new, now=now, accept_new_keys=True) as ledger:
        receipt = ledger.record(traffic(4), now=now)
        ledger.sign_head(now=now)
    Ledger.open(data, stream="batch", keys=new, now=now).close()  # accepted once is enough
    assert kept(data, new, range(2, 6)) == [("unreadable", "unreadable")] * 4
    assert kept(data, new, range(receipt.first_seq, receipt.last_seq + 1)) == [("kept", "kept")] * 4
    report = verify(data)
    assert report.ok, report.findings
    assert any("replaced" in note for note in report.streams[0].notes)
    assert Kind.KEY_REPLACED in kinds(data)


class BrokenDisk(FileOps):
    """A disk that refuses one operation from some moment on."""

    broken: str | None = None

    def write_at(self, fd: int, offset: int, chunks: Sequence[bytes | bytearray | memoryview]) -> None:
        if self.broken == "write":
            os.pwrite(fd, b"half", offset)
            raise OSError(5, "Input/output error")
        super().write_at(fd, offset, chunks)

    def sync(self, fd: int) -> None:
        if self.broken == "sync":
            raise OSError(5, "Input/output error")
        super().sync(fd)

    def rename(self, old: Path, new: Path) -> None:
        if self.broken == "rename":
            raise OSError(5, "Input/output error")
        super().rename(old, new)

    def sync_dir(self, path: Path) -> None:
        if self.broken == "sync_dir":
            raise OSError(5, "Input/output error")
        super().sync_dir(path)


@pytest.mark.parametrize("broken", ["write", "sync", "rename", "sync_dir"])
@pytest.mark.parametrize("rolls", [False, True])
def test_a_failing_disk_acknowledges_nothing_and_recovers(
    data: Path, keys: KeyStore, now: datetime, traffic: Traffic, broken: str, rolls: bool
) -> None:
    ops = BrokenDisk()
    options = LedgerOptions(max_segment_rows=8 if rolls else 10**6, background_sealing=False)
    with Ledger.open(data, stream="batch", keys=keys, now=now, ops=ops, options=options) as ledger:
        good = [(ledger.record(traffic(8), now=now).first_seq, 0)]
        ops.broken = broken
        if rolls or broken in ("write", "sync"):
            for _ in range(2):
                with pytest.raises(LedgerCannotWrite, match="Input/output error") as caught:
                    ledger.record(traffic(8, 500), now=now)
                assert caught.value.retryable
        ops.broken = None
        good.append((ledger.record(traffic(8, 100), now=now).first_seq, 100))
        ledger.seal(now=now)
        good.append((ledger.record(traffic(8, 200), now=now).first_seq, 200))
    reader = StreamReader(data, "batch", keys)
    for seq, start in good:
        texts = reader.originals(range(seq, seq + 8)).column("text").to_pylist()
        assert texts == traffic(8, start).column("text").to_pylist()
    screened = sum(kind == "sms.screened" for kind in kinds(data))
    assert screened == 24
    assert verify(data).ok
    Ledger.open(data, stream="batch", keys=keys, now=now).close()
    assert "tail.cut" not in kinds(data)


def test_an_interrupted_commit_leaves_nothing_behind(
    data: Path, keys: KeyStore, now: datetime, traffic: Traffic
) -> None:
    class Interrupted(FileOps):
        armed = False

        def sync(self, fd: int) -> None:
            super().sync(fd)
            if self.armed:
                raise KeyboardInterrupt

    ops = Interrupted()
    with Ledger.open(data, stream="batch", keys=keys, now=now, ops=ops, options=QUIET) as ledger:
        ops.armed = True
        with pytest.raises(KeyboardInterrupt):
            ledger.record(traffic(300), now=now)
        with pytest.raises(KeyboardInterrupt):
            ledger.seal(now=now)
        ops.armed = False
        receipt = ledger.record(traffic(2), now=now)
    assert kinds(data).count("sms.screened") == 2
    assert kept(data, keys, range(receipt.first_seq, receipt.last_seq + 1)) == [("kept", "kept")] * 2
    assert verify(data).ok


def test_the_schema_of_record_is_accepted_as_it_is(data: Path, keys: KeyStore, now: datetime) -> None:
    row = {
        "verdict": 3,
        "category": 3,
        "score": 0.5,
        "kind": "sms.released",
        "text": "x",
        "spans": [{"start": 0, "end": 1}],
    }
    batch = pa.RecordBatch.from_pylist([row], schema=RECORD)
    with Ledger.open(data, stream="batch", keys=keys, now=now) as ledger:
        ledger.record(batch, now=now)
    assert kinds(data) == ["segment.opened", "sms.released"]
