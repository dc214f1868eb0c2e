"""Call detail records: how each message ended, one line each, a file an hour, signed; for settlement and for proof.

    DATA/gateway/<worker>/cdr/<account>-<hour>.csv        closed: with <same name>.sig beside it
    DATA/gateway/<worker>/cdr/<account>-<hour>.csv.open   still written

A closed file's SHA-256 goes into the ledger (`gateway.cdr_closed`) and is signed with the ledger's key (Ed25519), so
that an account can check it without us. Recipients are masked: settlement counts, it does not read.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

from mingbai.kernel.masking import masked_number
from mingbai.ledger import KeyStore
from mingbai.ledger.files import FileOps, make_dirs

log = logging.getLogger(__name__)

COLUMNS: Final = (
    "id", "account", "protocol", "message_id", "source", "destination", "smsc", "accepted", "ended", "outcome",
    "detail", "verdict", "entry",
)  # fmt: skip


@dataclass(slots=True)
class Cdr:
    """One message's end. Times are seconds since 1970. entry: its decision in the worker's ledger stream."""

    id: int
    account: str
    protocol: str
    peer_id: str
    source: str
    destination: str
    smsc: str
    accepted: float
    entry: int
    outcome: str
    detail: str
    verdict: int
    ended: float

    def record(self) -> tuple[Any, ...]:  # Any: what MessagePack carries
        return (
            self.id, self.account, self.protocol, self.peer_id, self.source, self.destination, self.smsc, self.accepted,
            self.entry, self.outcome, self.detail, self.verdict, self.ended,
        )  # fmt: skip


def _quoted(text: str) -> str:
    """As RFC 4180 writes what may hold a comma."""
    if "," in text or '"' in text or "\n" in text:
        return '"' + text.replace('"', '""').replace("\n", " ") + '"'
    return text


class CdrWriter:
    """One worker's files. All on one thread; lines are handed to the system at each `flush`."""

    def __init__(
        self,
        folder: Path,
        keys: KeyStore,
        *,
        on_closed: Callable[[str, dict[str, object]], None],
        clock: Callable[[], datetime],
        ops: FileOps | None = None,
    ) -> None:
        """on_closed: writes an event of the ledger. Files that a kill left open are closed at once."""
        self._folder = folder
        self._keys = keys
        self._on_closed = on_closed
        self._clock = clock
        self._ops = ops or FileOps()
        self._hour = ""
        self._open: dict[str, TextIO] = {}
        self._lines: dict[str, list[str]] = {}
        self._second, self._written = -1, ""
        make_dirs(self._ops, folder)

    def write(self, cdr: Cdr) -> None:
        """Take a line; `flush` hands it to the system."""
        line = ",".join(
            (
                str(cdr.id), cdr.account, cdr.protocol, _quoted(cdr.peer_id), _quoted(cdr.source),
                masked_number(cdr.destination), cdr.smsc, self._time(cdr.accepted), self._time(cdr.ended), cdr.outcome,
                _quoted(cdr.detail), str(cdr.verdict), str(cdr.entry or ""),
            )
        )  # fmt: skip
        self._lines.setdefault(cdr.account, []).append(line + "\n")

    def restore(self, cdrs: Iterable[Cdr]) -> int:
        """Lines that a kill kept from the file, as the journal has them; those that are there already are left out.

        Call it before anything is written. Returns how many were missing.
        """
        known: set[str] = set()
        for path in self._folder.glob("*.csv.open"):
            known |= {line.partition(",")[0] for line in path.read_text("utf-8", "replace").splitlines()}
        missing = [cdr for cdr in cdrs if str(cdr.id) not in known]
        for cdr in missing:
            self.write(cdr)
        return len(missing)

    def flush(self) -> None:
        """Hand the lines to the system, and close the files of an hour that is over. Raises OSError."""
        hour = self._clock().astimezone(UTC).strftime("%Y%m%dT%H")
        if hour != self._hour:
            self.close()
            self._hour = hour
        lines, self._lines = self._lines, {}
        for account, rows in lines.items():
            self._file(account).writelines(rows)
        for file in self._open.values():
            file.flush()

    def _time(self, seconds: float) -> str:
        """As `format_utc`, to the millisecond; most lines are of the same second as the one before."""
        whole = int(seconds)
        if whole != self._second:
            self._second = whole
            self._written = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._written}.{int((seconds - whole) * 1000):03d}Z"

    def close(self) -> None:
        """Close and sign what is open, also what an earlier run left."""
        for file in self._open.values():
            file.close()
        self._open.clear()
        for path in sorted(self._folder.glob("*.csv.open")):
            self._close_one(path)

    def _file(self, account: str) -> TextIO:
        if account not in self._open:
            path = self._folder / f"{account}-{self._hour}.csv.open"
            done = path.with_suffix("")
            if done.exists():  # a restart within the hour: another part
                parts = len(list(self._folder.glob(f"{account}-{self._hour}*.csv")))
                path = self._folder / f"{account}-{self._hour}.{parts}.csv.open"
            is_new = not path.exists()
            file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8")
            if is_new:
                file.write(",".join(COLUMNS) + "\n")
            self._open[account] = file
        return self._open[account]

    def _close_one(self, path: Path) -> None:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a kill may have left half a line
        if whole != content:
            os.truncate(path, len(whole))
        digest = hashlib.sha256(whole).hexdigest()
        target = path.with_suffix("")
        signature = target.with_name(target.name + ".sig")
        signature.write_text(
            f"sha256 {digest}\ned25519 {self._keys.sign(b'mingbai cdr ' + digest.encode()).hex()}\n"
            f"public {self._keys.public_key.hex()}\n"
        )
        os.chmod(signature, 0o600)
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        path.rename(target)
        self._ops.sync_dir(self._folder)
        self._on_closed(
            "gateway.cdr_closed", {"file": target.name, "sha256": digest, "rows": max(0, whole.count(b"\n") - 1)}
        )
