"""Garbage in the files: readers and `verify` answer with a LedgerError or a finding, and never with anything else."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mingbai.kernel.errors import BadValue
from mingbai.ledger import KeyStore, Ledger, LedgerError, LedgerOptions, StreamReader, verify

if TYPE_CHECKING:
    from tests.ledger.conftest import Traffic

QUIET = LedgerOptions(background_sealing=False)


@pytest.fixture
def sound(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> Path:
    with Ledger.open(data, stream="batch", keys=keys, now=now, options=QUIET) as ledger:
        for start in range(3):
            ledger.record(traffic(20, start * 20), now=now)
        ledger.seal(now=now)
        ledger.record(traffic(20, 60), now=now)
    return data


def garble(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    kind = rng.randrange(6)
    at = rng.randrange(len(content) + 1)
    if kind == 0:
        content = bytearray(rng.randbytes(rng.randrange(3000)))
    elif kind == 1:
        content[at : at + rng.randrange(300)] = rng.randbytes(rng.randrange(300))
    elif kind == 2:
        del content[at:]
    elif kind == 3:
        content[at : at + 8] = rng.choice([b"\xff" * 8, bytes(8), b"\xff\xff\xff\x7f" * 2, b"MBL1MBV1"])
    elif kind == 4:
        content += content[rng.randrange(len(content) + 1) :]
    else:
        for _ in range(rng.randrange(1, 30)):
            content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)


def use_everything(data: Path, keys: KeyStore, now: datetime) -> bool:
    """Read, look up, verify, open for writing. Returns whether `verify` found nothing."""
    with contextlib.suppress(LedgerError):
        list(StreamReader(data, "batch").entries())
    with contextlib.suppress(LedgerError):
        list(StreamReader(data, "batch", keys).entries_with_originals())
    with contextlib.suppress(LedgerError, BadValue):  # the seq may be gone
        StreamReader(data, "batch", keys).originals([2, 40])
    report = verify(data)
    with (
        contextlib.suppress(LedgerError),
        Ledger.open(data, stream="batch", keys=keys, now=now, options=QUIET) as ledger,
    ):
        ledger.seal(now=now)
    return report.ok


@pytest.mark.slow
def test_garbled_files_give_errors_of_the_ledger(
    sound: Path, tmp_path: Path, keys: KeyStore, now: datetime, seed: int, loops: Callable[[int], int]
) -> None:
    rng = random.Random(seed)
    files = [path.relative_to(sound) for path in sorted(sound.rglob("*")) if path.is_file() and path.name != "lock"]
    for number in range(loops(1500)):
        copy = tmp_path / "copy"
        shutil.copytree(sound, copy)
        for path in rng.sample(files, rng.choice([1, 1, 1, 2, 3])):
            garble(copy / path, rng)
        clean = all((copy / path).read_bytes() == (sound / path).read_bytes() for path in files)
        assert use_everything(copy, keys, now) is clean, f"round {number}"
        shutil.rmtree(copy)


@pytest.mark.parametrize("folder", ["entries", "vault", "keys", "cut"])
def test_a_folder_that_is_a_file_is_an_error_or_a_finding(
    sound: Path, keys: KeyStore, now: datetime, folder: str
) -> None:
    path = sound / "ledger" / "batch" / folder
    shutil.rmtree(path, ignore_errors=True)
    path.write_bytes(b"no folder")
    assert not use_everything(sound, keys, now)


def test_a_file_that_is_a_folder_is_an_error_or_a_finding(sound: Path, keys: KeyStore, now: datetime) -> None:
    for suffix in ("arrows", "parquet"):
        (path,) = (sound / "ledger" / "batch" / "entries").glob(f"*.{suffix}")
        path.unlink()
        path.mkdir()
        assert not use_everything(sound, keys, now)
