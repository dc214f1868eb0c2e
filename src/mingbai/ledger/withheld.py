"""Originals that are given to nobody any more, because the person they concern asked for erasure.

The vault's keys serve a day and a class, not a person, so that one person's ciphertext cannot be destroyed alone before
its day's key is. Until then the law that asks for the record allows storing and nothing else (Personal Information
Protection Law, article 47). So `StreamReader`, the one door to originals, looks into this list: who stands in it, by
pseudonym, is left out of every page, search, export, replay and training.

    DATA/withheld.json   {"format": "mingbai withheld 1", "withheld": [{"names", "before", "until"}, ...]}

names: the pseudonyms of one number; before: messages decided earlier are withheld, later ones are new business;
until: when the last key of those days is destroyed, and the line can go. The list holds no number. Deleting it shows
again what is still stored, so whoever restores a backup restores it too.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mingbai.kernel.clock import format_utc, parse_utc, to_micros
from mingbai.kernel.errors import BadValue
from mingbai.ledger.errors import LedgerDamaged
from mingbai.ledger.files import FileOps, write_new

_FORMAT = "mingbai withheld 1"
COLUMNS = ("sender", "receiver")  # what `Withheld.mask` looks at, beside `at`


@dataclass(frozen=True, slots=True)
class Withholding:
    """One person. names: pseudonyms of the number, 16 bytes each."""

    names: frozenset[bytes]
    before: datetime
    until: datetime


class Withheld:
    """The list of a data directory, read again when its file changes."""

    def __init__(self, data_dir: Path) -> None:
        self._path = _path(data_dir)
        self._stamp: tuple[int, int] | None = None
        self._before: dict[bytes, int] = {}  # pseudonym -> microseconds

    def is_empty(self) -> bool:
        """Raises LedgerDamaged if the list cannot be read: then nobody's originals are given."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            self._stamp, self._before = None, {}
            return True
        stamp = found.st_ino, found.st_mtime_ns
        if stamp != self._stamp:
            before: dict[bytes, int] = {}
            for item in _read(self._path):
                for name in item.names:
                    before[name] = max(before.get(name, 0), to_micros(item.before))
            self._before, self._stamp = before, stamp
        return not self._before

    def mask(self, rows: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """Which entries (columns sender, receiver, at) are withheld."""
        hidden = np.zeros(rows.num_rows, bool)
        names = pa.array(list(self._before), pa.binary(16))
        for column in COLUMNS:
            values = rows.column(column)
            for row in np.flatnonzero(np.asarray(pc.fill_null(pc.is_in(values, value_set=names), False))):
                at = rows.column("at")[int(row)].value
                hidden[row] |= at < self._before[values[int(row)].as_py()]
        return hidden


def withhold(
    data_dir: Path, names: Iterable[bytes], *, before: datetime, until: datetime, ops: FileOps | None = None
) -> None:
    """Withhold what was decided before a moment about these pseudonyms of one number; durable when it returns."""
    item = Withholding(frozenset(names), before, until)
    if not item.names or any(len(name) != 16 for name in item.names):
        raise BadValue(field="names", value=len(item.names), expected="pseudonyms of 16 bytes")
    path = _path(data_dir)
    with _alone(data_dir):
        others = [known for known in (_read(path) if path.exists() else []) if known.names != item.names]
        _write(path, [*others, item], ops)


def forget_withheld(data_dir: Path, *, now: datetime, ops: FileOps | None = None) -> int:
    """Drop the lines whose originals are all destroyed. Returns how many."""
    path = _path(data_dir)
    if not path.exists():
        return 0
    with _alone(data_dir):
        known = _read(path)
        kept = [item for item in known if item.until > now]
        if len(kept) < len(known):
            _write(path, kept, ops)
    return len(known) - len(kept)


def read_withheld(data_dir: Path) -> list[Withholding]:
    """The whole list. Raises LedgerDamaged."""
    path = _path(data_dir)
    return _read(path) if path.exists() else []


def _path(data_dir: Path) -> Path:
    return data_dir / "withheld.json"


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    handle = os.open(data_dir / "withheld.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(path: Path) -> list[Withholding]:
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != _FORMAT:
            raise ValueError(f"its format is not {_FORMAT!r}")
        return [
            Withholding(
                frozenset(bytes.fromhex(name) for name in item["names"]),
                parse_utc(item["before"], "before"),
                parse_utc(item["until"], "until"),
            )
            for item in document["withheld"]
        ]
    except (OSError, ValueError, KeyError, TypeError, BadValue) as error:
        raise LedgerDamaged(
            path=str(path), offset=0, what=f"the list of withheld numbers is unusable: {error}"
        ) from error


def _write(path: Path, items: list[Withholding], ops: FileOps | None) -> None:
    document = {
        "format": _FORMAT,
        "withheld": [
            {
                "names": sorted(name.hex() for name in item.names),
                "before": format_utc(item.before),
                "until": format_utc(item.until),
            }
            for item in items
        ],
    }
    write_new(ops or FileOps(), path, [json.dumps(document, indent=1).encode() + b"\n"])
