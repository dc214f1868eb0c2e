"""The index is disposable: deleted, damaged, cut off in the middle of a write or made from another ledger, it never
changes an answer, and its owner makes it whole again."""

from __future__ import annotations

import random
import shutil
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from mingbai.connectors.ledger_index import EVERYTHING, IndexBehind, LedgerIndex, Query, index
from mingbai.kernel.verdicts import Verdict
from mingbai.ledger import FileOps, Ledger
from mingbai.ledger.files import StreamLock
from tests.connectors.ledger_index.conftest import OPTIONS, Operator
from tests.connectors.ledger_index.test_answers import check, check_overview

pytestmark = [pytest.mark.usefixtures("small_blocks"), pytest.mark.slow]  # seconds each: they are about many files

EVERY = Query()
HOUR = timedelta(hours=1)


def blocks(operator: Operator, stream: str = "api") -> list[Path]:
    return sorted((operator.data / "index" / stream).glob("*.block"))


def check_all(answering: LedgerIndex, operator: Operator) -> None:
    check(answering, operator, EVERY, EVERYTHING)
    check(answering, operator, Query(campaign=7), EVERYTHING)
    check_overview(answering, operator, operator.now - 2 * HOUR, operator.now + HOUR, EVERYTHING)


def covered(operator: Operator) -> int:
    """Rows that the files cover."""
    spans = [tuple(int(part) for part in path.stem.split("-")) for path in blocks(operator)]
    return sum(last - first + 1 for first, last in spans)


def test_the_owner_indexes_everything_once_and_merges(operator: Operator) -> None:
    owner = LedgerIndex(operator.data)
    for _ in range(30):
        operator.write("api", 3, rows=20)
        owner.advance(operator.now)
    assert owner.advance(operator.now + HOUR) < 60  # what was too little until now
    assert owner.advance(operator.now + HOUR) == 0
    last = max(row["seq"] for row in operator.entries())
    assert covered(operator) == last
    assert len(blocks(operator)) < 12
    check_all(LedgerIndex(operator.data), operator)


def test_a_deleted_index_is_made_again(operator: Operator) -> None:
    operator.write("api", 30)
    reader = LedgerIndex(operator.data)
    reader.advance(operator.now + HOUR)
    shutil.rmtree(operator.data / "index")
    check_all(reader, operator)
    assert reader.advance(operator.now + HOUR) == max(row["seq"] for row in operator.entries())
    check_all(reader, operator)


@pytest.mark.parametrize("damage", ["cut", "header", "empty", "body", "name"])
def test_a_damaged_block_is_noticed_and_made_again(operator: Operator, damage: str) -> None:
    operator.write("api", 60)
    LedgerIndex(operator.data).advance(operator.now + HOUR)
    victim = operator.rng.choice(blocks(operator))
    raw = bytearray(victim.read_bytes())
    if damage == "cut":
        del raw[len(raw) // 2 :]
    elif damage == "header":
        raw[100] ^= 1
    elif damage == "empty":
        raw.clear()
    elif damage == "body":
        raw[-4000:] = bytes(byte ^ 0x5A for byte in raw[-4000:])
    if damage == "name":
        victim.rename(victim.with_name(f"{10**6:020d}-{10**6 + 50:020d}.block"))
    else:
        victim.unlink()
        victim.write_bytes(bytes(raw))
    if damage != "body":  # bytes of columns are checked by the owner, or where they make no sense
        check_all(LedgerIndex(operator.data), operator)
    owner = LedgerIndex(operator.data)
    for _ in range(len(blocks(operator)) + 1):
        owner.advance(operator.now + HOUR)
    assert covered(operator) == max(row["seq"] for row in operator.entries())
    check_all(LedgerIndex(operator.data), operator)
    check_all(owner, operator)


def test_columns_that_make_no_sense_are_not_used(operator: Operator) -> None:
    operator.write("api", 60)
    reader = LedgerIndex(operator.data)
    reader.advance(operator.now + HOUR)
    for path in blocks(operator):
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 3 :] = b"\xff" * (len(raw) - len(raw) // 3)
        path.unlink()
        path.write_bytes(bytes(raw))
    fresh = LedgerIndex(operator.data)
    check_overview(fresh, operator, operator.now - 2 * HOUR, operator.now + HOUR, EVERYTHING)
    check_all(fresh, operator)


def test_an_index_of_another_ledger_is_not_believed(operator: Operator, tmp_path: Path) -> None:
    """A restored backup: the same beginning, then other entries under the same seqs."""
    operator.write("api", 20)
    operator.close()
    backup = tmp_path / "backup"
    shutil.copytree(operator.data / "ledger", backup)
    operator.write("api", 20)
    live = LedgerIndex(operator.data)
    live.advance(operator.now + HOUR)
    check_all(live, operator)
    operator.close()
    shutil.rmtree(operator.data / "ledger")
    shutil.copytree(backup, operator.data / "ledger")
    operator._changed()
    check_all(live, operator)  # shorter than its index
    check_all(LedgerIndex(operator.data), operator)
    operator.write("api", 25)
    check_all(live, operator)  # other entries in the same places
    check_all(LedgerIndex(operator.data), operator)
    live.advance(operator.now + HOUR)
    assert covered(operator) == max(row["seq"] for row in operator.entries())
    check_all(live, operator)


def test_a_tail_that_was_cut_and_written_anew_is_read_anew(operator: Operator) -> None:
    operator.write("api", 10)
    reader = LedgerIndex(operator.data)
    check_all(reader, operator)
    operator.close()
    (path,) = (operator.data / "ledger" / "api" / "entries").glob("*.arrows")
    with open(path, "r+b") as file:  # the last commit is torn
        file.truncate(path.stat().st_size - 10)
    operator.open("api")
    operator.write("api", 2)
    check_all(reader, operator)
    reader.advance(operator.now + HOUR)
    check_all(reader, operator)


class Stopped(Exception):
    pass


class StoppingDisk(FileOps):
    """The real disk, until the operation of that number: from there on nothing happens any more."""

    def __init__(self, stop_at: int) -> None:
        self.left = stop_at

    def _tick(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Stopped

    def create(self, path: Path) -> int:
        self._tick()
        return super().create(path)

    def write_at(self, fd, offset, chunks) -> None:  # type: ignore[no-untyped-def]  # as in FileOps
        if self.left == 0:  # half of it gets there
            whole = b"".join(bytes(chunk) for chunk in chunks)
            super().write_at(fd, offset, [whole[: len(whole) // 2]])
        self._tick()
        super().write_at(fd, offset, chunks)

    def sync(self, fd: int) -> None:
        self._tick()
        super().sync(fd)

    def rename(self, old: Path, new: Path) -> None:
        self._tick()
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self._tick()
        super().unlink(path)

    def sync_dir(self, path: Path) -> None:
        self._tick()
        super().sync_dir(path)


def test_an_owner_that_stops_anywhere_leaves_a_usable_index(operator: Operator, tmp_path: Path) -> None:
    operator.write("api", 12)
    LedgerIndex(operator.data).advance(operator.now + HOUR)
    operator.write("api", 40)
    last = max(row["seq"] for row in operator.entries())
    before = tmp_path / "before"
    shutil.copytree(operator.data / "index", before)
    for stop_at in range(1000):
        shutil.rmtree(operator.data / "index")
        shutil.copytree(before, operator.data / "index")
        try:
            LedgerIndex(operator.data, ops=StoppingDisk(stop_at)).advance(operator.now + HOUR)
        except Stopped:
            is_over = False
        else:
            is_over = True
        reader = LedgerIndex(operator.data)
        assert sum(reader.count(EVERY).values()) == len(operator.entries())
        assert {hit.seq for hit in reader.search(Query(campaign=8), 1000).hits} == {
            row["seq"] for row in operator.expected(Query(campaign=8))
        }
        LedgerIndex(operator.data).advance(operator.now + HOUR)
        assert covered(operator) == last
        assert not list((operator.data / "index" / "api").glob("*.tmp"))
        if is_over:
            assert stop_at > 5
            break
    check_all(LedgerIndex(operator.data), operator)


def test_readers_answer_while_the_owner_and_the_writer_work(operator: Operator) -> None:
    """Counts only ever grow, and every page is whole."""
    operator.write("api", 5)
    reader = LedgerIndex(operator.data)
    stop = threading.Event()
    faults: list[BaseException] = []

    def read(shared: bool) -> None:
        mine = reader if shared else LedgerIndex(operator.data)
        last = 0
        try:
            while not stop.is_set():
                known = durable[0]
                count = sum(mine.count(EVERY).values())
                assert count >= max(last, known)
                last = count
                assert len(mine.search(EVERY, 30).hits) == 30
        except BaseException as error:  # whatever it is, the test must say it
            faults.append(error)

    durable = [len(operator.entries())]
    threads = [threading.Thread(target=read, args=(shared,)) for shared in (True, True, False)]
    for thread in threads:
        thread.start()
    owner = LedgerIndex(operator.data)
    for turn in range(25):
        operator.write("api", 2)
        durable[0] = len(operator.entries())
        owner.advance(operator.now)
        if turn % 5 == 4:
            operator.open("api").seal(now=operator.now)
        if turn == 15:
            shutil.rmtree(operator.data / "index")
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults, faults[0]
    check_all(reader, operator)


def test_a_second_owner_does_nothing(operator: Operator) -> None:
    operator.write("api", 10)
    folder = operator.data / "index" / "api"
    folder.mkdir(parents=True)
    lock = StreamLock(folder / "lock", "api")
    assert LedgerIndex(operator.data).advance(operator.now + HOUR) == 0
    lock.release()
    assert LedgerIndex(operator.data).advance(operator.now + HOUR) > 0


def test_a_long_ledger_without_an_index_says_so_instead_of_taking_all_memory(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "MAX_UNINDEXED_ROWS", 100)
    operator.write("api", 20)
    operator.open("api").seal(now=operator.now)
    reader = LedgerIndex(operator.data)
    with pytest.raises(IndexBehind) as error:
        reader.count(EVERY)
    assert error.value.retryable
    assert len(reader.search(EVERY, 5).hits) == 5  # newest first, as far as a page needs
    reader.advance(operator.now + HOUR)
    check_all(reader, operator)


def test_an_empty_ledger_has_empty_answers(operator: Operator) -> None:
    reader = LedgerIndex(operator.data)
    assert reader.advance(operator.now) == 0
    assert reader.search(EVERY).hits == ()
    assert reader.count(EVERY) == dict.fromkeys(Verdict, 0)
    with Ledger.open(operator.data, stream="api", keys=operator.keys, now=operator.now, options=OPTIONS):
        assert reader.search(EVERY).next_cursor is None
        assert reader.count(EVERY) == dict.fromkeys(Verdict, 0)
        assert reader.campaign(5).messages == 0
    assert random.Random(1).random() < 1
