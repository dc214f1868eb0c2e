"""What people order of the gateway: one file, appended by the control plane, followed by every gateway worker.

    DATA/gateway/commands.jsonl      one JSON object a line: id, at, by, op and what the op needs
    DATA/gateway/commands.jsonl.1    the file before it, moved aside at 16 MB

An order is on the disk before `append_command` returns, so that a gateway that is down finds it when it comes back; the
gateway answers with an entry `gateway.commanded` in its own stream. A line that a crash tore is closed by the next
append and skipped by everybody. No order holds a number, a text or a secret.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mingbai.kernel.clock import as_utc, format_utc
from mingbai.kernel.errors import BadValue
from mingbai.kernel.ids import IdSource
from mingbai.ledger.files import FILE_MODE, FileOps, make_dirs

log = logging.getLogger(__name__)

OPS: Final[dict[str, tuple[str, ...]]] = {
    "release": ("stream", "seq"),  # a held message goes on
    "refuse": ("stream", "seq"),  # a held message is refused
    "resend": ("ids",),  # dead letters and messages in doubt are sent (again)
    "drop": ("ids",),  # dead letters are given up; messages in doubt count as sent
    "bounce": ("kind", "name"),  # connections of an account or SMSC are closed, so that they log in anew
}
ROTATE_AT: Final = 16 << 20  # bytes: some hundred thousand orders
_LOOK_BACK: Final = 1 << 20  # bytes: how far a repeated order is looked for
_READ_ONCE: Final = 4 << 20


def commands_path(data_dir: Path) -> Path:
    return data_dir / "gateway" / "commands.jsonl"


@dataclass(frozen=True, slots=True)
class Order:
    """One order to write. id: of one that may have been written before, when whoever wrote it died before it could
    say so: it is not written twice. None: a new one."""

    op: str
    by: str
    fields: Mapping[str, Any]  # Any: JSON
    id: str | None = None


def append_command(
    data_dir: Path, op: str, *, now: datetime, by: str, id: str | None = None, **fields: Any
) -> str:  # Any: JSON
    """Write one order down; returns its id when it is on the disk.

    Raises BadValue for an order that no gateway would understand, OSError.
    """
    return append_commands(data_dir, [Order(op, by, fields, id)], now=now)[0]


def append_commands(data_dir: Path, orders: Sequence[Order], *, now: datetime, ops: FileOps | None = None) -> list[str]:
    """Write orders down, in one sync; returns their ids. Raises as `append_command`, and then none is written."""
    for order in orders:
        _check(order.op, order.fields)
    if not orders:
        return []
    ops, source, at = ops or FileOps(), IdSource(), format_utc(as_utc(now, "now"))
    ids = [order.id or str(source.new(now)) for order in orders]
    path = commands_path(data_dir)
    make_dirs(ops, path.parent)
    with _only_one(path.parent):
        there = _there(path, {order.id for order in orders if order.id is not None})
        lines = [
            _line({"id": id, "at": at, "by": order.by, "op": order.op, **order.fields})
            for id, order in zip(ids, orders, strict=True)
            if id not in there
        ]
        if lines:
            _rotate(path, ops)
            _write(path, lines, ops)
    return ids


def _line(order: Mapping[str, Any]) -> bytes:  # Any: JSON
    return json.dumps(order, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _write(path: Path, lines: list[bytes], ops: FileOps) -> None:
    is_new = not path.exists()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        size = os.fstat(fd).st_size
        is_torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        ops.write_at(fd, size, [b"\n" if is_torn else b"", *lines])
        ops.sync(fd)
    finally:
        os.close(fd)
    if is_new:
        ops.sync_dir(path.parent)


def _check(op: str, fields: Mapping[str, Any]) -> None:  # Any: JSON
    wanted = OPS.get(op)
    if wanted is None:
        raise BadValue(field="op", value=op, expected=f"one of {', '.join(OPS)}")
    if set(fields) != set(wanted):
        raise BadValue(field=op, value=", ".join(sorted(fields)), expected=f"the fields {', '.join(wanted)}")
    for name in wanted:
        value = fields[name]
        if name == "seq":
            is_right = isinstance(value, int) and not isinstance(value, bool) and value > 0
        elif name == "ids":
            is_right = isinstance(value, list) and bool(value) and all(isinstance(one, str) and one for one in value)
        else:
            is_right = isinstance(value, str) and bool(value)
        if not is_right or (name == "kind" and value not in ("account", "smsc")):
            expected = {"seq": "a number above 0", "ids": "a list of ids", "kind": "account or smsc"}
            raise BadValue(field=name, value=str(value)[:100], expected=expected.get(name, "a text"))


def _rotate(path: Path, ops: FileOps) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return
    if size >= ROTATE_AT:
        ops.rename(path, _before(path))
        ops.sync_dir(path.parent)


def _before(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _there(path: Path, ids: set[str]) -> set[str]:
    """Which of these orders were written lately."""
    found: set[str] = set()
    for one in (path, _before(path)) if ids else ():
        try:
            with one.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LOOK_BACK))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            continue
        found |= {id for id in ids if f'{{"id":"{id}",' in text}
    return found


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    fd = os.open(folder / "commands.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class CommandFollower:
    """Reads orders in their sequence, each once. `poll` costs one stat where nothing is new.

    after: id of the last order that was carried out; the next one is the first that comes. None, or one that is in
    neither file any more: everything that is still there, which does nothing a second time.
    """

    def __init__(self, data_dir: Path, after: str | None) -> None:
        self._path = commands_path(data_dir)
        self._fd: int | None = None
        self._inode = 0
        self._offset = 0
        self._after = after

    def poll(self) -> list[dict[str, Any]]:  # Any: JSON
        """Orders that are new. A last line without its end is left for the next time. Raises OSError."""
        found: list[dict[str, Any]] = []  # Any: as above
        if self._fd is None and not self._open(_before(self._path)):
            self._open(self._path)
        while self._fd is not None:
            is_moved = self._inode_of(self._path) != self._inode  # asked before reading: nobody appends to a moved file
            found += self._read()
            if not is_moved or not self._move_on():
                break
        if self._after is not None and found:
            found = self._skip(found)
        return found

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _move_on(self) -> bool:
        """To the file after the one that was read to its end. False: there is none yet."""
        before = self._inode_of(_before(self._path))
        following = self._path if before in (self._inode, None) else _before(self._path)
        kept = self._fd, self._inode, self._offset
        if self._inode_of(following) in (None, self._inode):
            return False
        self._fd = None
        if not self._open(following):
            self._fd, self._inode, self._offset = kept
            return False
        if kept[0] is not None:
            os.close(kept[0])
        return True

    def _open(self, path: Path) -> bool:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._inode, self._offset = os.fstat(self._fd).st_ino, 0
        return True

    @staticmethod
    def _inode_of(path: Path) -> int | None:
        try:
            return path.stat().st_ino
        except FileNotFoundError:
            return None

    def _read(self) -> list[dict[str, Any]]:  # Any: as above
        assert self._fd is not None
        found: list[dict[str, Any]] = []  # Any: as above
        left = b""
        while data := os.pread(self._fd, _READ_ONCE, self._offset + len(left)):
            whole, end, left_now = (left + data).rpartition(b"\n")
            left = left_now
            if end:
                self._offset += len(whole) + 1
                found += [one for line in whole.split(b"\n") if (one := _command(line)) is not None]
        return found

    def _skip(self, found: list[dict[str, Any]]) -> list[dict[str, Any]]:  # Any: as above
        """Without what was carried out before; looked for once, in what was there at the start."""
        place = next((at for at, one in enumerate(found) if one.get("id") == self._after), None)
        self._after = None
        return found if place is None else found[place + 1 :]


def _command(line: bytes) -> dict[str, Any] | None:  # Any: as above
    if not line.strip():
        return None
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "id" not in found:
        log.warning("a torn line among the orders is skipped")
        return None
    return found
