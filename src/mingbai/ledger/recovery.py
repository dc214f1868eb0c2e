"""What a start finds, and makes whole again: temporary files, an unfinished sealing, a torn tail.

The rule for the tail: every commit was synced before the next one was written, so what a crash can leave behind the
last whole commit is a part of *one* commit that nobody was told about. That is cut, kept aside in `cut/`, and said in
the chain. Anything else, such as a bad commit with another behind it, is damage to acknowledged bytes: the start stops
with LedgerDamaged and touches nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mingbai.ledger.anchors import Head
from mingbai.ledger.chain import Link, genesis
from mingbai.ledger.entries import Kind, VaultClass
from mingbai.ledger.errors import LedgerDamaged
from mingbai.ledger.files import FileOps, make_dirs, write_new
from mingbai.ledger.sealing import Seal, remove_unfinished, sealed_files
from mingbai.ledger.segments import BadBytes, OpenCommit, Segment, entries_dir, list_segments, scan_open, sealed_path
from mingbai.ledger.vault import vault_path

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tail:
    """Where a stream ends: everything the next commit needs to know."""

    segment: int  # first seq of the open segment
    opened_us: int
    segment_rows: int
    size: int  # bytes of the open file that are committed
    next_seq: int
    commit: int  # number of the last commit
    chain: bytes
    at_us: int
    head: bytes | None  # SHA-256 of the last signed head
    head_us: int  # when that was signed; without one, when the stream began

    @classmethod
    def after(cls, before: Tail | None, link: Link, size: int, *, rolls: bool, head: Head | None) -> Tail:
        """The tail when a commit of `size` bytes was added, in a new segment if `rolls`."""
        opens = before is None or rolls
        tail = cls(
            segment=link.first_seq if before is None or opens else before.segment,
            opened_us=link.at_us if before is None or opens else before.opened_us,
            segment_rows=link.rows + (0 if before is None or opens else before.segment_rows),
            size=size + (0 if before is None or opens else before.size),
            next_seq=link.next_seq,
            commit=link.commit,
            chain=link.chain,
            at_us=link.at_us,
            head=None if before is None else before.head,
            head_us=link.at_us if before is None else before.head_us,
        )
        return tail if head is None else replace(tail, head=head.sha256, head_us=link.at_us)


@dataclass(frozen=True, slots=True)
class Recovered:
    tail: Tail | None  # None: nothing was ever recorded
    unsealed: tuple[int, ...]  # closed segments that are not sealed yet
    cut: dict[str, object] | None  # data of the `tail.cut` entry, if a torn tail was cut
    public_key: bytes | None  # of the signing key that the stream was last written with


def recover(stream: Path, ops: FileOps) -> Recovered:
    """Make a stream ready for writing. The caller holds its lock.

    Raises LedgerDamaged (before anything is changed in `entries`), or OSError as the disk gives it.
    """
    segments = list_segments(stream)
    if not segments:
        _remove_temporary(stream, ops)
        if any((stream / "vault").glob("*/*")):
            raise LedgerDamaged(path=str(entries_dir(stream)), offset=0, what="all entries are missing")
        return Recovered(None, (), None, None)
    last = segments[-1]
    if last.open is None:
        raise LedgerDamaged(path=str(entries_dir(stream)), offset=0, what=f"no open segment follows {last.sealed}")
    end = _read_end(last.open)
    _remove_temporary(stream, ops)
    unsealed = []
    for place, segment in enumerate(segments[:-1]):
        if segment.open is None:
            continue
        if sealed_files(stream, segment.first_seq):
            if _is_sealed(stream, segment, segments[place + 1 :]):
                ops.unlink(segment.open)
                ops.sync_dir(segment.open.parent)
                continue
            remove_unfinished(stream, segment.first_seq, ops)
        unsealed.append(segment.first_seq)
    cut = None if end.bad is None else _cut(stream, last.open, end.tail, end.bad, ops)
    return Recovered(end.tail, tuple(unsealed), cut, end.public_key)


def control_entries(batch: pa.RecordBatch) -> Iterator[tuple[str, dict[str, object]]]:
    """(kind, data) of the rows that carry data; data that is no JSON object is given as {}."""
    rows = batch.select(["kind", "data"]).filter(pc.is_valid(batch.column("data")))
    for row in rows.to_pylist():
        try:
            data = json.loads(row["data"])
        except (ValueError, RecursionError):
            data = {}
        yield row["kind"], data if isinstance(data, dict) else {}


def _remove_temporary(stream: Path, ops: FileOps) -> None:
    for folder in (entries_dir(stream), stream / "keys", stream / "cut", *(stream / "vault").glob("*/")):
        for leftover in sorted(folder.glob("*.tmp")):
            ops.unlink(leftover)


@dataclass(slots=True)
class _End:
    """What the open segment says, while it is being read."""

    tail: Tail
    public_key: bytes | None = None
    bad: BadBytes | None = None


_TELLING = [kind.encode() for kind in (Kind.HEAD_SIGNED, Kind.KEY_ROTATED, Kind.KEY_REPLACED)]


def _read_end(path: Path) -> _End:
    end: _End | None = None
    for item in scan_open(path):
        if end is not None and end.bad is not None:
            raise LedgerDamaged(path=str(path), offset=end.bad.offset, what=f"{end.bad.what}, and more follows")
        if isinstance(item, OpenCommit):
            end = _extend(path, end, item)
        elif end is None or (item.link is not None and item.link.commit > end.tail.commit + 1):
            raise LedgerDamaged(path=str(path), offset=item.offset, what=item.what)
        else:
            end.bad = item
    if end is None:
        raise LedgerDamaged(path=str(path), offset=0, what="the segment is empty")
    return end


def _extend(path: Path, end: _End | None, commit: OpenCommit) -> _End:
    link, size = commit.link, len(commit.frame.data)
    if end is None:
        end = _End(Tail.after(None, link, commit.frame.end, rolls=True, head=None))
    else:
        tail = end.tail
        if not link.follows(tail.chain) or link.commit != tail.commit + 1 or link.first_seq != tail.next_seq:
            what = "a whole commit that does not follow the one before"
            raise LedgerDamaged(path=str(path), offset=commit.frame.offset, what=what)
        end.tail = Tail.after(tail, link, size, rolls=False, head=None)
        if not any(mark in commit.frame.data for mark in _TELLING):
            return end
    try:
        for kind, data in control_entries(commit.batch()):
            _note(end, kind, data, link, path)
    except (ValueError, KeyError) as error:  # the bytes are whole, so somebody else wrote them
        what = f"an entry of the ledger's own makes no sense: {error}"
        raise LedgerDamaged(path=str(path), offset=commit.frame.offset, what=what) from error
    return end


def _note(end: _End, kind: str, data: dict[str, object], link: Link, path: Path) -> None:
    if kind == Kind.HEAD_SIGNED:
        end.tail = replace(end.tail, head=Head.from_document(data).sha256, head_us=link.at_us)
    elif kind == Kind.SEGMENT_OPENED:
        before, head = data["previous_chain"], data["previous_head"]
        if not link.follows(genesis(path.parent.parent.name) if before is None else bytes.fromhex(str(before))):
            raise LedgerDamaged(path=str(path), offset=0, what="the first commit does not follow what it names")
        end.tail = replace(end.tail, head=None if head is None else bytes.fromhex(str(head)))
        end.public_key = bytes.fromhex(str(data["public_key"]))
    elif kind in (Kind.KEY_ROTATED, Kind.KEY_REPLACED) and "new_public_key" in data:
        end.public_key = bytes.fromhex(str(data["new_public_key"]))


def _is_sealed(stream: Path, segment: Segment, later: list[Segment]) -> bool:
    """Whether a later segment holds the entry that seals this one, and every file that it names is there.

    The files come before the entry, so one without them is no crash of ours: somebody copied or took away files. The
    open segment is then all there is of these rows: it is sealed again, never removed.
    """
    for other in later:
        for batch in _control_batches(other):
            for kind, data in control_entries(batch):
                seal = Seal.from_data(data) if kind == Kind.SEGMENT_SEALED else None
                if seal is not None and seal.segment == segment.first_seq:
                    return all(path.exists() for path in _files_of(stream, seal))
    return False


def _files_of(stream: Path, seal: Seal) -> Iterator[Path]:
    yield sealed_path(stream, seal.segment)
    for kind in VaultClass:
        if seal.vault.get(kind.label) is not None:
            yield vault_path(stream, seal.day, seal.segment, kind)


def _control_batches(segment: Segment) -> Iterator[pa.RecordBatch]:
    if segment.open is not None:
        for item in scan_open(segment.open):
            if isinstance(item, OpenCommit) and b"segment.sealed" in item.frame.data:
                yield item.batch()
    elif segment.sealed is not None:
        yield from pq.read_table(segment.sealed, columns=["kind", "data"]).to_batches()


def _cut(stream: Path, path: Path, tail: Tail, bad: BadBytes, ops: FileOps) -> dict[str, object]:
    with open(path, "rb") as file:
        file.seek(tail.size)
        torn = file.read()
    sha256 = hashlib.sha256(torn).hexdigest()
    make_dirs(ops, stream / "cut")
    write_new(ops, stream / "cut" / f"{tail.segment:020d}.{tail.size}.{sha256[:16]}", [torn])
    fd = ops.open(path)
    try:
        ops.truncate(fd, tail.size)
        ops.sync(fd)
    finally:
        ops.close(fd)
    log.warning("cut a torn tail", extra={"stream": stream.name, "bytes": len(torn), "why": bad.what})
    return {"segment": tail.segment, "offset": tail.size, "bytes": len(torn), "sha256": sha256}
