"""Power cuts and kill -9: nothing acknowledged is lost, and the chain verifies, wherever the crash falls.

Power: every operation on the disk is recorded, the record is cut at every point, and what a disk may then hold is
built: what was not synced is dropped, kept, or torn. Kill: a real process is killed in the middle of writing.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mingbai.ledger import (
    FileOps,
    Head,
    KeyStore,
    Ledger,
    LedgerOptions,
    Receipt,
    Retention,
    StreamReader,
    anchor_bytes,
    verify,
)

if TYPE_CHECKING:
    from tests.ledger.conftest import Traffic

QUIET = LedgerOptions(max_segment_rows=16, head_interval_s=1, background_sealing=False)
RETENTION = Retention(allowed_text_days=7)


# -- a disk that remembers what was synced


@dataclass
class SimulatedFile:
    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # (offset, bytes), or (size, None): truncate

    def content(self, keep: Callable[[int], bool], rng: random.Random | None) -> bytes:
        """What is read after the crash; `keep(i)`: whether pending change i reached the disk, in part if `rng`."""
        out = bytearray(self.durable)
        for place, (offset, data) in enumerate(self.pending):
            if not keep(place):
                continue
            if data is None:
                out[offset:] = bytes(max(0, offset - len(out)))
                continue
            if len(out) < offset + len(data):
                out.extend(bytes(offset + len(data) - len(out)))
            for start in range(0, len(data), 512):  # a sector is written wholly or not at all
                if rng is None or rng.random() < 0.5:
                    out[offset + start : offset + min(start + 512, len(data))] = data[start : start + 512]
            if rng is not None and rng.random() < 0.3:
                del out[offset + rng.randrange(len(data)) :]  # nor need the new length be there
        return bytes(out)


@dataclass
class SimulatedFolder:
    durable: dict[str, SimulatedFile | SimulatedFolder] = field(default_factory=dict)
    pending: list[dict[str, SimulatedFile | SimulatedFolder | None]] = field(default_factory=list)  # None: removed

    def entries(self, keep: Callable[[int], bool]) -> dict[str, SimulatedFile | SimulatedFolder]:
        now = dict(self.durable)
        for place, change in enumerate(self.pending):
            if keep(place):
                for name, what in change.items():
                    if what is None:
                        now.pop(name, None)
                    else:
                        now[name] = what
        return now

    def live(self) -> dict[str, SimulatedFile | SimulatedFolder]:
        return self.entries(lambda _: True)


class RecordingDisk(FileOps):
    """The real disk, and beside it the record of what was asked of it. One thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[tuple[object, ...]] = []
        self._paths: dict[int, Path] = {}

    def _log(self, *event: object) -> None:
        self.events.append(event)

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self._log("mkdir", path)

    def create(self, path: Path) -> int:
        fd = super().create(path)
        self._paths[fd] = path
        self._log("create", path)
        return fd

    def open(self, path: Path) -> int:
        fd = super().open(path)
        self._paths[fd] = path
        return fd

    def write_at(self, fd: int, offset: int, chunks: Sequence[bytes | bytearray | memoryview]) -> None:
        super().write_at(fd, offset, chunks)
        self._log("write", self._paths[fd], offset, b"".join(chunks))

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self._log("sync", self._paths[fd])

    def sync_dir(self, path: Path) -> None:
        super().sync_dir(path)
        self._log("sync_dir", path)

    def truncate(self, fd: int, size: int) -> None:
        super().truncate(fd, size)
        self._log("truncate", self._paths[fd], size)

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        for fd, path in self._paths.items():
            if path == old:
                self._paths[fd] = new
        self._log("rename", old, new)

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._log("unlink", path)

    def rmdir(self, path: Path) -> None:
        super().rmdir(path)
        self._log("rmdir", path)


class Replay:
    """The disk after the first n events of a record."""

    def __init__(self, root: Path, events: Sequence[tuple[object, ...]]) -> None:
        self.root = root
        self.top = SimulatedFolder()
        for event in events:
            self._apply(event)

    def _folder(self, path: Path) -> SimulatedFolder:
        folder = self.top
        for part in path.relative_to(self.root).parts:
            found = folder.live()[part]
            assert isinstance(found, SimulatedFolder)
            folder = found
        return folder

    def _file(self, path: object) -> SimulatedFile:
        assert isinstance(path, Path)
        found = self._folder(path.parent).live()[path.name]
        assert isinstance(found, SimulatedFile)
        return found

    def _apply(self, event: tuple[object, ...]) -> None:
        match event:
            case ("mkdir", Path() as path):
                self._folder(path.parent).pending.append({path.name: SimulatedFolder()})
            case ("create", Path() as path):
                self._folder(path.parent).pending.append({path.name: SimulatedFile()})
            case ("write", path, int() as offset, bytes() as data):
                self._file(path).pending.append((offset, data))
            case ("truncate", path, int() as size):
                self._file(path).pending.append((size, None))
            case ("sync", path):
                file = self._file(path)
                file.durable = file.content(lambda _: True, None)
                file.pending.clear()
            case ("sync_dir", Path() as path):
                folder = self._folder(path)
                folder.durable = folder.live()
                folder.pending.clear()
            case ("rename", Path() as old, Path() as new):
                moved = self._folder(old.parent).live()[old.name]
                self._folder(new.parent).pending.append({old.name: None, new.name: moved})
            case ("unlink" | "rmdir", Path() as path):
                self._folder(path.parent).pending.append({path.name: None})
            case ("ack", *_):
                pass
            case _:
                raise AssertionError(event)

    def write_to(self, target: Path, mode: str, rng: random.Random) -> None:
        """Build what the disk holds after a crash here: `dropped`, `kept` or `torn`."""

        def keep(_: int) -> bool:
            return mode == "kept" or (mode == "torn" and rng.random() < 0.5)

        def build(folder: SimulatedFolder, path: Path) -> None:
            path.mkdir(exist_ok=True)
            for name, what in folder.entries(keep).items():
                if isinstance(what, SimulatedFolder):
                    build(what, path / name)
                else:
                    (path / name).write_bytes(what.content(keep, rng if mode == "torn" else None))

        build(self.top, target)


def a_life(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> RecordingDisk:
    """A few days with everything in them: commits, segments, sealings, restarts with a torn tail, expiry, heads."""
    disk = RecordingDisk(data.parent)
    start = 0

    def open_ledger(when: datetime) -> Ledger:
        return Ledger.open(data, stream="batch", keys=keys, now=when, ops=disk, options=QUIET, retention=RETENTION)

    def record(ledger: Ledger, rows: int, when: datetime) -> None:
        nonlocal start
        disk._log("ack", ledger.record(traffic(rows, start), now=when), start)
        start += rows

    with open_ledger(now) as ledger:
        for second in range(4):
            record(ledger, 6, now + timedelta(seconds=second))
        ledger.seal(now=now)
        record(ledger, 3, now)
        disk._log("ack", ledger.sign_head(now=now))
    torn = sorted((data / "ledger" / "batch" / "entries").glob("*.arrows"))[-1]
    fd = disk.open(torn)
    disk.write_at(fd, torn.stat().st_size, [b"\xff\xff\xff\xff torn by a crash" * 40])
    disk.close(fd)
    later = now + timedelta(days=8)
    with open_ledger(now) as ledger:
        record(ledger, 5, now)
        record(ledger, 5, later)
        ledger.expire(now=later)
        ledger.seal(now=later)
        record(ledger, 2, later)
        disk._log("ack", ledger.sign_head(now=later))
    return disk


class NoSync(FileOps):
    """For what happens after the crash, where only the outcome counts."""

    def sync(self, fd: int) -> None:
        pass

    def sync_dir(self, path: Path) -> None:
        pass


def assert_nothing_lost(
    data: Path, keys: KeyStore, now: datetime, traffic: Traffic, acknowledged: Sequence[tuple[object, ...]]
) -> None:
    """Open what a crash left, and find everything that was acknowledged before it."""
    with Ledger.open(
        data, stream="batch", keys=keys, now=now, options=QUIET, retention=RETENTION, ops=NoSync()
    ) as ledger:
        ledger.expire(now=now)
        ledger.record(traffic(1), now=now)
        ledger.seal(now=now)
    reader = StreamReader(data, "batch", keys)
    heads = []
    for ack in acknowledged:
        match ack:
            case ("ack", Receipt() as receipt, int() as start):
                expected = traffic(receipt.rows, start)
                rows = range(receipt.first_seq, receipt.last_seq + 1)
                (entries,) = reader.entries(["verdict", "score"], first_seq=rows[0], last_seq=rows[-1])
                assert entries.column("verdict").to_pylist() == expected.column("verdict").to_pylist()
                assert entries.column("score").to_pylist() == expected.column("score").to_pylist()
                originals = reader.originals(rows).to_pylist()
                for found, text in zip(originals, expected.column("text").to_pylist(), strict=True):
                    assert found["text"] == text or found["text_kept"] == "no_longer_kept"
                    assert found["numbers_kept"] == "kept"
            case ("ack", Head() as head):
                heads.append(head)
    report = verify(data, anchor=anchor_bytes(heads) if heads else None, public_key=keys.public_key)
    assert report.ok, [str(finding) for finding in report.findings]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["dropped", "kept", "torn"])
def test_a_power_cut_at_any_point_loses_nothing_acknowledged(
    tmp_path: Path, keys: KeyStore, now: datetime, traffic: Traffic, mode: str, seed: int, loops: Callable[[int], int]
) -> None:
    (tmp_path / "live").mkdir()
    disk = a_life(tmp_path / "live" / "data", keys, now, traffic)
    rng = random.Random(seed)
    tried = set()
    for cut in range(len(disk.events) + 1):
        acknowledged = [event for event in disk.events[:cut] if event[0] == "ack"]
        for _ in range(loops(10) if mode == "torn" else 1):
            target = tmp_path / "after"
            target.mkdir()
            Replay(tmp_path / "live", disk.events[:cut]).write_to(target, mode, rng)
            state = (len(acknowledged), fingerprint_of(target))
            if state not in tried:
                tried.add(state)
                try:
                    assert_nothing_lost(target / "data", keys, now + timedelta(days=9), traffic, acknowledged)
                except BaseException:
                    print(f"after event {cut}: {[str(part)[:90] for part in disk.events[cut - 1]]}")  # noqa: T201
                    raise
            shutil.rmtree(target)


def fingerprint_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


def test_nothing_is_acknowledged_before_its_sync(
    tmp_path: Path, keys: KeyStore, now: datetime, traffic: Traffic
) -> None:
    """The test above would not notice a disk model that is too kind: here, the model with the syncs taken out loses."""
    disk = a_life(tmp_path / "data", keys, now, traffic)
    unsynced = [event for event in disk.events if event[0] != "sync"]
    (tmp_path / "after").mkdir()
    Replay(tmp_path, unsynced).write_to(tmp_path / "after", "dropped", random.Random(0))
    assert not verify(tmp_path / "after" / "data").ok


# -- kill -9

WRITER = """
import importlib.util, sys, threading
from datetime import UTC, datetime
from pathlib import Path
from mingbai.ledger import KeyStore, Ledger, LedgerOptions

helper, data, key_file, start = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
spec = importlib.util.spec_from_file_location("traffic", helper)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
options = LedgerOptions(max_segment_rows=300, head_interval_s=0.001)
keys = KeyStore.open_or_create(key_file)
ledger = Ledger.open(data, stream="batch", keys=keys, now=datetime.now(UTC), options=options)
printing = threading.Lock()

def write(worker):
    number = start + worker * 1_000_000
    while True:
        rows = 1 + number % 40
        receipt = ledger.record(module.make_traffic(rows, number), now=datetime.now(UTC))
        with printing:
            print(number, receipt.first_seq, receipt.rows, receipt.chain.hex(), flush=True)
        number += rows

for worker in range(3):
    threading.Thread(target=write, args=(worker,)).start()
"""


@pytest.mark.slow
def test_kill_in_the_middle_of_writing_loses_nothing_acknowledged(
    tmp_path: Path, keys: KeyStore, now: datetime, traffic: Traffic, seed: int, loops: Callable[[int], int]
) -> None:
    rng = random.Random(seed)
    helper = Path(__file__).with_name("conftest.py")
    key_file = tmp_path / "secret" / "keys.json"
    acknowledged: list[tuple[int, int, int]] = []
    cuts = 0
    for number in range(loops(200)):
        if number % 10 == 0:  # a new stream now and then; between, the same one is killed again and again
            data, acknowledged = tmp_path / f"data{number}", []
        command: list[str | Path] = [sys.executable, "-c", WRITER, helper, data, key_file, str(number * 10_000_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(rng.randrange(1, 60))]
            for _ in range(rng.randrange(20_000)):  # a moment, so that the kill does not always follow a line
                pass
            writer.send_signal(signal.SIGKILL)
            lines += writer.stdout.readlines()
        for line in lines:
            if line.endswith("\n"):
                start, seq, rows, _ = line.split()
                acknowledged.append((int(start), int(seq), int(rows)))
        with Ledger.open(data, stream="batch", keys=keys, now=now) as ledger:
            ledger.record(traffic(1), now=now)
        report = verify(data, public_key=keys.public_key)
        assert report.ok, [str(finding) for finding in report.findings]
        cuts += len(list((data / "ledger" / "batch").glob("cut/*")))
        reader = StreamReader(data, "batch", keys)
        wanted = [seq + row for _, seq, rows in acknowledged for row in range(rows)]
        expected = [text for start, _, rows in acknowledged for text in traffic(rows, start).column("text").to_pylist()]
        assert reader.originals(wanted).column("text").to_pylist() == expected
    assert acknowledged
