"""Sealing: turning a closed segment into Parquet, so that no crash between two steps loses or doubles a row.

    1. vault files: temporary, sync, rename         a crash before step 3 leaves files without a seal:
    2. Parquet file: temporary, sync, rename          the next start removes them and begins again
    3. entry `segment.sealed` with the SHA-256 of each file, committed to the chain
    4. the open file is removed                      a crash between 3 and 4: the next start removes it

The open file stays the truth until 4, and readers prefer it where both exist. The Parquet rows keep the link of every
commit, so the chain can be walked through sealed segments, and the content digest of every commit can be computed anew.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mingbai.ledger.chain import Link
from mingbai.ledger.entries import SEALED, VaultClass
from mingbai.ledger.errors import LedgerDamaged
from mingbai.ledger.files import FileOps, make_dirs
from mingbai.ledger.segments import BadBytes, OpenCommit, open_path, scan_open, sealed_path
from mingbai.ledger.vault import Blob, DataKeys, day_name, day_number, parse_day, vault_path

log = logging.getLogger(__name__)

_WRITE_BYTES = 1 << 20  # pyarrow writes page by page
ROW_GROUP_ROWS = 65_536  # DuckDB reads row groups of 100,000 or so in parallel; Spark plans tasks by them

# Columns whose values repeat are stored as a dictionary, the two that ascend as differences; both are plain Parquet.
_REPEATED = [
    "kind", "sender", "epoch", "access_code", "campaign", "fingerprint", "verdict", "category",
    "reasons.list.element", "rules.list.element", "model", "rulebook",
]  # fmt: skip
_ASCENDING = {"seq": "DELTA_BINARY_PACKED", "at": "DELTA_BINARY_PACKED"}


@dataclass(frozen=True, slots=True)
class SealedFile:
    sha256: str
    bytes: int
    keys: tuple[str, ...] = ()  # of a vault file: ids of the data keys that open it


@dataclass(frozen=True, slots=True)
class Seal:
    """What the entry `segment.sealed` says."""

    segment: int  # seq of its first row
    last_seq: int
    commits: int
    day: int
    chain: str  # hex, after its last commit
    parquet: SealedFile
    vault: dict[str, SealedFile | None]  # by class; None: its key was destroyed before the sealing

    def to_data(self) -> dict[str, object]:
        def file(sealed: SealedFile | None) -> object:
            if sealed is None:
                return None
            data: dict[str, object] = {"sha256": sealed.sha256, "bytes": sealed.bytes}
            return data | {"keys": list(sealed.keys)} if sealed.keys else data

        return {
            "segment": self.segment,
            "last_seq": self.last_seq,
            "commits": self.commits,
            "day": day_name(self.day),
            "chain": self.chain,
            "parquet": file(self.parquet),
            "vault": {name: file(sealed) for name, sealed in self.vault.items()},
        }

    @classmethod
    def from_data(cls, data: Mapping[str, object]) -> Seal | None:
        """The seal of a `segment.sealed` entry, or None if the data is none."""

        def file(item: object) -> SealedFile:
            if not isinstance(item, dict):
                raise TypeError
            return SealedFile(str(item["sha256"]), int(item["bytes"]), tuple(str(key) for key in item.get("keys", ())))

        try:
            day, vault = parse_day(str(data["day"])), data["vault"]
            if day is None or not isinstance(vault, dict) or not set(vault) <= {kind.label for kind in VaultClass}:
                return None
            return cls(
                segment=int(str(data["segment"])),
                last_seq=int(str(data["last_seq"])),
                commits=int(str(data["commits"])),
                day=day,
                chain=str(data["chain"]),
                parquet=file(data["parquet"]),
                vault={name: None if item is None else file(item) for name, item in vault.items()},
            )
        except (KeyError, TypeError, ValueError):
            return None


def write_sealed(stream: Path, first_seq: int, data_keys: DataKeys, ops: FileOps) -> Seal:
    """Steps 1 and 2. Raises LedgerDamaged if the open file is not whole: damage must not be sealed in."""
    source = open_path(stream, first_seq)
    parquet = _HashedFile(ops, sealed_path(stream, first_seq))
    vault: dict[VaultClass, _HashedFile | None] = {}
    day = 0
    last: Link | None = None
    commits = 0
    try:
        with pq.ParquetWriter(
            pa.PythonFile(parquet, mode="w"),
            SEALED.with_metadata({"mingbai.ledger": "1", "mingbai.stream": stream.name}),
            compression="zstd",
            use_dictionary=_REPEATED,
            column_encoding=_ASCENDING,
            write_page_checksum=True,
            store_schema=True,
        ) as writer:
            group: list[pa.RecordBatch] = []
            for commit in _whole_commits(source):
                if last is None:
                    day = day_number(commit.link.at_us)
                last = commit.link
                commits += 1
                batch = commit.batch()
                for raw in batch.column("sealed")[0].as_py() or []:
                    _keep_blob(stream, first_seq, Blob.parse(raw), vault, data_keys, ops)
                group.append(batch.select(SEALED.names))
                if sum(b.num_rows for b in group) >= ROW_GROUP_ROWS:
                    _write_group(writer, group)
            if group:
                _write_group(writer, group)
        if last is None:
            raise LedgerDamaged(path=str(source), offset=0, what="no commit in it")
        files = [file for file in vault.values() if file is not None]
        for file in files:
            file.finish()
        parquet.finish()
    except BaseException:
        parquet.abandon()
        for begun in vault.values():
            if begun is not None:
                begun.abandon()
        raise
    return Seal(
        segment=first_seq,
        last_seq=last.next_seq - 1,
        commits=commits,
        day=day,
        chain=last.chain.hex(),
        parquet=parquet.result(),
        vault={kind.label: None if file is None else file.result() for kind, file in sorted(vault.items())},
    )


def remove_unfinished(stream: Path, first_seq: int, ops: FileOps) -> None:
    """Take away what a crash between steps 1 and 3 left of a segment's sealing."""
    for path in sealed_files(stream, first_seq):
        log.warning("removing the remains of an unfinished sealing", extra={"path": str(path)})
        ops.unlink(path)
        ops.sync_dir(path.parent)


def sealed_files(stream: Path, first_seq: int) -> list[Path]:
    """Parquet and vault files of a segment that are there."""
    parquet = sealed_path(stream, first_seq)
    return [*sorted((stream / "vault").glob(f"*/{first_seq:020d}.*")), *([parquet] if parquet.exists() else [])]


def _whole_commits(path: Path) -> Iterator[OpenCommit]:
    chain: bytes | None = None
    for item in scan_open(path):
        if isinstance(item, BadBytes):
            raise LedgerDamaged(path=str(path), offset=item.offset, what=item.what)
        if chain is not None and not item.link.follows(chain):
            raise LedgerDamaged(path=str(path), offset=item.frame.offset, what="commit does not follow the one before")
        chain = item.link.chain
        yield item


def _keep_blob(
    stream: Path,
    first_seq: int,
    blob: Blob | None,
    vault: dict[VaultClass, _HashedFile | None],
    data_keys: DataKeys,
    ops: FileOps,
) -> None:
    if blob is None:
        raise LedgerDamaged(path=str(open_path(stream, first_seq)), offset=0, what="ciphertext is no vault blob")
    if blob.kind not in vault:
        alive = data_keys.has(blob.day, blob.kind)
        vault[blob.kind] = _HashedFile(ops, vault_path(stream, blob.day, first_seq, blob.kind)) if alive else None
    file = vault[blob.kind]
    if file is not None:
        file.write(blob.raw)
        file.keys.setdefault(blob.key_id.hex())


def _write_group(writer: pq.ParquetWriter, group: list[pa.RecordBatch]) -> None:
    """One row group of whole commits; empties the list."""
    table = pa.Table.from_batches(group)
    writer.write_table(table, row_group_size=table.num_rows)
    group.clear()


class _HashedFile:
    """A new file that appears under its name only when finished; hashes what is written. File-like for pyarrow."""

    def __init__(self, ops: FileOps, path: Path) -> None:
        self._ops = ops
        self._path = path
        self._temporary = path.with_name(path.name + ".tmp")
        self._hash = hashlib.sha256()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._written = 0
        self.keys: dict[str, None] = {}  # ids of data keys, in order of appearance
        make_dirs(ops, path.parent)
        self._fd: int | None = ops.create(self._temporary)

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= _WRITE_BYTES:
            self._write_held()
        return len(data)

    def _write_held(self) -> None:
        assert self._fd is not None
        self._ops.write_at(self._fd, self._written, [b"".join(self._held)])
        self._written += self._held_bytes
        self._held, self._held_bytes = [], 0

    def tell(self) -> int:
        return self._written + self._held_bytes

    def flush(self) -> None:
        """`finish` writes and syncs."""

    def close(self) -> None:
        """pyarrow closes what it writes to; the file ends with `finish` or `abandon`."""

    @property
    def closed(self) -> bool:
        return False

    def finish(self) -> None:
        assert self._fd is not None
        self._write_held()
        self._ops.sync(self._fd)
        self._ops.close(self._fd)
        self._fd = None
        self._ops.rename(self._temporary, self._path)
        self._ops.sync_dir(self._path.parent)

    def abandon(self) -> None:
        if self._fd is not None:
            self._ops.close(self._fd)
            self._fd = None
        self._temporary.unlink(missing_ok=True)

    def result(self) -> SealedFile:
        return SealedFile(self._hash.hexdigest(), self._written, tuple(self.keys))
