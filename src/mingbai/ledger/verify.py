"""Verifying: is every byte of the ledger what was written, and does it reach as far as the anchors say?

Needs no key. Checked for each stream: every file belongs; every commit's bytes, rows and place in the chain; every
sealed file against the hash that the chain holds; every ciphertext; every signed head; every anchor. A finding says
where: file, byte, commit, rows. Verifying changes nothing and may run beside the writer; if files were sealed or
expired meanwhile, what looked wrong is looked at again.

Two limits, and the report says so: what comes after the last anchor could have been rewritten by somebody who
recomputed the whole chain behind it; and a torn tail looks the same as bytes cut off by hand, so it is a finding until
the next start has cut it (and said so in the chain).
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mingbai.kernel.clock import from_micros
from mingbai.kernel.errors import BadValue
from mingbai.ledger.anchors import Head, linked_public_keys, read_anchors
from mingbai.ledger.chain import Link, genesis, read_frame
from mingbai.ledger.content import content_digest
from mingbai.ledger.entries import Kind, VaultClass
from mingbai.ledger.files import has_writer
from mingbai.ledger.keys import fingerprint
from mingbai.ledger.recovery import control_entries
from mingbai.ledger.report import Fault, Finding, StreamReport, VerifyReport
from mingbai.ledger.sealing import Seal
from mingbai.ledger.segments import (
    BadBytes,
    OpenCommit,
    SealedCommit,
    Segment,
    list_segments,
    scan_open,
    scan_sealed_commits,
    streams_dir,
)
from mingbai.ledger.vault import Blob, KeyFile, day_name, read_blobs, read_key_file, vault_path

_READ_ERRORS = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, TypeError, MemoryError)
_ENTRY_FILE = re.compile(r"entries/\d{20}\.(arrows|parquet)")
_VAULT_FILE = re.compile(r"vault/\d{4}-\d\d-\d\d/\d{20}\.(numbers|allowed|stopped)")
_CUT_FILE = re.compile(r"cut/\d{20}\.\d+\.([0-9a-f]{16})")
_ATTEMPTS = 5  # beside a writer, a look is repeated if files moved under it


def verify(
    data_dir: Path | str,
    *,
    anchor: Path | bytes | None = None,
    public_key: bytes | None = None,
    stream: str | None = None,
) -> VerifyReport:
    """Verify every stream of a data directory, or one.

    anchor: an anchor file, or its content; public_key: the 32 bytes that the operator noted, else the anchors are
    checked with the key that they name. Raises AnchorUnreadable; everything wrong with the ledger is in the report.
    """
    data_dir = Path(data_dir)
    anchors: list[Head] = []
    if anchor is not None:
        content, source = (anchor, "anchor") if isinstance(anchor, bytes) else (anchor.read_bytes(), str(anchor))
        anchors = read_anchors(content, source)
    folder = streams_dir(data_dir)
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    names = sorted(present | {head.stream for head in anchors})
    if stream is not None:
        names = [stream]
    reports = [
        _verify_stream(data_dir, name, [head for head in anchors if head.stream == name], public_key) for name in names
    ]
    return VerifyReport(
        streams=reports,
        signed_by=sorted({fingerprint(head.public_key) for head in anchors}),
        is_key_given=public_key is not None,
    )


def _verify_stream(data_dir: Path, name: str, anchors: list[Head], public_key: bytes | None) -> StreamReport:
    folder = streams_dir(data_dir) / name
    for _ in range(_ATTEMPTS):
        before = _listing(folder)
        walk = _Walk(data_dir, folder, anchors, public_key)
        try:
            report = walk.run()
        except OSError as error:  # a file went away under us, or the disk cannot read it
            report = walk.broken_off(error)
        if not report.findings or _listing(folder) == before:
            break
    return report


def _listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class _Walk:
    """One pass over a stream. Where something is wrong it says so, and goes on from what the files claim."""

    def __init__(self, data_dir: Path, folder: Path, anchors: list[Head], public_key: bytes | None) -> None:
        self._data_dir = data_dir
        self._folder = folder
        self._stream = folder.name
        self._anchors = anchors
        self._public_key = public_key
        self._report = StreamReport(folder.name)
        # where the walk stands
        self._chain = genesis(folder.name)
        self._next_seq = 1
        self._commit = 0
        self._is_after_gap = False  # the next commit is taken as it is: what is wrong before it was reported
        self._head: bytes | None = None
        # what the chain says elsewhere
        self._seals: dict[int, Seal] = {}
        self._hashes: dict[int, tuple[str, int]] = {}  # of Parquet files, by first seq
        self._expired: set[tuple[str, str]] = set()
        self._signers: set[bytes] = set()  # keys that may sign heads: announced, or linked with an announced one
        self._vouched: set[bytes] = set()  # keys that may sign anchors: the given one, and what is linked with it
        self._blamed: set[bytes] = set()  # foreign keys that were reported
        self._needed_keys: set[tuple[int, VaultClass, str]] = set()  # day, class, key id
        self._anchors_at: dict[int, list[Head]] = {}
        self._anchors_met: set[bytes] = set()

    def run(self) -> StreamReport:
        report = self._report
        if self._folder.exists() and not self._folder.is_dir():
            self._found(Fault.ADDED, self._folder, "no folder of a stream")
            return report
        segments = list_segments(self._folder)
        if not segments:
            self._found(Fault.MISSING, self._folder / "entries", "there are no entries", first_seq=1)
        self._check_names()
        self._collect(segments)
        for head in self._anchors:
            self._anchors_at.setdefault(head.seq, []).append(head)
        for place, segment in enumerate(segments):
            self._check_segment(segment, is_last=place + 1 == len(segments))
        self._check_vault({segment.first_seq for segment in segments if segment.open is not None})
        self._check_keys()
        self._check_anchors()
        report.segments = len(segments)
        report.sealed = sum(segment.open is None for segment in segments)
        report.last_seq = self._next_seq - 1
        report.chain = self._chain
        report.expired = sorted(f"{day}.{kind}" for day, kind in self._expired)
        return report

    def broken_off(self, error: OSError) -> StreamReport:
        """The report if a file could not be read at all."""
        self._found(Fault.MISSING, self._folder, f"cannot be read: {error}")
        return self._report

    def _found(
        self,
        fault: Fault,
        path: Path,
        what: str,
        *,
        offset: int | None = None,
        commit: int | None = None,
        first_seq: int | None = None,
        last_seq: int | None = None,
    ) -> None:
        shown = str(path.relative_to(self._data_dir))
        self._report.findings.append(Finding(self._stream, fault, shown, what, offset, commit, first_seq, last_seq))

    # -- files

    def _check_names(self) -> None:
        for path in sorted(self._folder.rglob("*")):
            name = str(path.relative_to(self._folder))
            if path.is_dir():
                continue
            cut = _CUT_FILE.fullmatch(name)
            if name.endswith(".tmp"):
                self._report.notes.append(f"{name}: left by a crash, or being written; the next start removes it")
            elif name == "lock":
                if path.stat().st_size:
                    self._found(Fault.CHANGED, path, "the lock file is not empty", offset=0)
            elif cut is not None:
                if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(cut[1]):
                    self._found(Fault.CHANGED, path, "torn bytes kept aside are not those that were cut")
            elif name.startswith("keys/"):
                if KeyFile.parse(path) is None:
                    self._found(Fault.ADDED, path, "no file of a ledger")
            elif not (_ENTRY_FILE.fullmatch(name) or _VAULT_FILE.fullmatch(name)):
                self._found(Fault.ADDED, path, "no file of a ledger")

    # -- what later entries say about earlier files

    def _collect(self, segments: list[Segment]) -> None:
        """Seals, expiries, signing keys; from the end backwards, so that a file's hash is known before it is parsed."""
        changes: list[dict[str, object]] = []
        announced: set[bytes] = set()
        for segment in reversed(segments):
            for kind, data in self._control_entries(segment):
                if kind == Kind.SEGMENT_SEALED:
                    seal = Seal.from_data(data)
                    if seal is not None:
                        self._seals[seal.segment] = seal
                elif kind == Kind.VAULT_EXPIRED:
                    listed = data.get("keys")
                    for item in listed if isinstance(listed, list) else []:
                        self._expired.add((str(item.get("day")), str(item.get("class"))))
                elif kind == Kind.TAIL_CUT:
                    cut = f"{data.get('bytes')} bytes at {data.get('offset')} of segment {data.get('segment')}"
                    self._report.notes.append(f"a start cut off a torn tail: {cut}, kept in cut/")
                elif kind == Kind.KEY_ROTATED:
                    changes.append(data)
                elif kind == Kind.KEY_REPLACED:
                    announced.add(_hex(data.get("new_public_key")) or b"")
                    self._report.notes.append(
                        "the signing key was replaced without the old one (lost keys); anchors of the old key do not "
                        "vouch for what the new one signed"
                    )
                elif kind == Kind.SEGMENT_OPENED and data.get("previous_chain") is None:
                    announced.add(_hex(data.get("public_key")) or b"")
        self._signers = linked_public_keys(announced, changes)
        if self._public_key is not None:
            self._vouched = linked_public_keys([self._public_key], changes)
            if not self._vouched & self._signers:
                what = "the public key given never signed this stream"
                self._found(Fault.SIGNATURE, self._folder, what)

    def _control_entries(self, segment: Segment) -> Iterator[tuple[str, dict[str, object]]]:
        telling = (Kind.SEGMENT_SEALED, Kind.VAULT_EXPIRED, Kind.KEY_ROTATED, Kind.KEY_REPLACED, Kind.TAIL_CUT)
        marks = [kind.encode() for kind in telling]
        if segment.sealed is not None:
            self._hashes[segment.first_seq] = _hash_file(segment.sealed)
        try:
            if segment.open is not None:
                for item in scan_open(segment.open):
                    if isinstance(item, OpenCommit):
                        first = item.link.first_seq == segment.first_seq
                        if first or any(mark in item.frame.data for mark in marks):
                            yield from control_entries(item.batch())
            elif segment.sealed is not None:
                with pq.ParquetFile(segment.sealed, page_checksum_verification=True) as file:
                    for batch in file.iter_batches(columns=["kind", "data"]):
                        yield from control_entries(batch)
        except _READ_ERRORS:
            return  # the forward pass reports it

    # -- segments

    def _check_segment(self, segment: Segment, *, is_last: bool) -> None:
        path = segment.open or segment.sealed
        assert path is not None
        if segment.first_seq != self._next_seq and not self._is_after_gap:
            if segment.first_seq > self._next_seq:
                self._found(
                    Fault.MISSING,
                    path,
                    "rows between the segment before and this one are missing",
                    first_seq=self._next_seq,
                    last_seq=segment.first_seq - 1,
                )
            else:
                self._found(Fault.OUT_OF_ORDER, path, "its name is not that of the next row", first_seq=self._next_seq)
            self._is_after_gap = True
        if segment.open is not None:
            self._check_open(segment.open, is_last=is_last)
        else:
            self._check_sealed(path, segment.first_seq)
            if is_last:
                self._found(Fault.MISSING, path, "the open segment that follows is missing", first_seq=self._next_seq)
        seal, hashed = self._seals.get(segment.first_seq), self._hashes.get(segment.first_seq)
        if segment.open is not None and hashed is not None:
            if seal is None:
                self._report.notes.append(f"{path.name}: its sealing is not finished")
            elif (seal.parquet.sha256, seal.parquet.bytes) != hashed and segment.sealed is not None:
                self._found(Fault.CHANGED, segment.sealed, "the file is not the one that was sealed")

    def _check_open(self, path: Path, *, is_last: bool) -> None:
        is_first = True
        for item in scan_open(path):
            if isinstance(item, OpenCommit):
                self._check_commit(item, path, item.frame.offset, opens=is_first)
            elif item.link is None and is_last and self._came_later(path, item):
                return
            else:
                self._bad_bytes(path, item, is_last=is_last)
            is_first = False

    def _bad_bytes(self, path: Path, bad: BadBytes, *, is_last: bool) -> None:
        link = bad.link
        fits = link is not None and link.first_seq == self._next_seq and link.commit == self._commit + 1
        if link is None and is_last:
            size = bad.end - bad.offset
            what = f"{size} bytes after the last whole commit: a write that a crash cut short, or a commit cut by hand"
            self._found(Fault.TORN, path, what, offset=bad.offset, commit=self._commit + 1, first_seq=self._next_seq)
        else:
            last_seq = link.next_seq - 1 if link is not None and fits else None
            self._found(
                Fault.CHANGED,
                path,
                bad.what,
                offset=bad.offset,
                commit=self._commit + 1,
                first_seq=self._next_seq,
                last_seq=last_seq,
            )
        if link is not None and fits:
            self._advance(link)
        else:
            self._is_after_gap = True

    def _came_later(self, path: Path, bad: BadBytes) -> bool:
        """Whether the bytes at the end were a commit being written: beside a writer, wait for the rest of it."""
        for _ in range(100):
            with open(path, "rb") as file:
                frame = read_frame(file.fileno(), bad.offset, path.stat().st_size)
            if frame is not None and frame.link() is not None:
                return True
            if not has_writer(self._folder / "lock"):
                return False
            time.sleep(0.01)
        return False

    def _check_sealed(self, path: Path, first_seq: int) -> None:
        seal = self._seals.get(first_seq)
        is_sealed = seal is not None and self._hashes[first_seq] == (seal.parquet.sha256, seal.parquet.bytes)
        known = len(self._report.findings)
        broken: Exception | None = None
        try:
            for place, commit in enumerate(scan_sealed_commits(path)):
                self._check_commit(commit, path, None, opens=place == 0)
        except _READ_ERRORS as error:
            broken = error
        if seal is None:
            self._found(Fault.ADDED, path, "no entry of the chain names this file", first_seq=first_seq)
        elif not is_sealed:
            what = "the file is not the one that was sealed"
            if broken is not None:
                what += f", and cannot be read: {str(broken).splitlines()[0][:200]}"
            elif len(self._report.findings) == known:
                what += "; the values of its rows are still the same"
            self._found(Fault.CHANGED, path, what, first_seq=first_seq, last_seq=seal.last_seq)
        elif broken is not None:
            self._found(Fault.CHANGED, path, f"cannot be read: {str(broken)[:200]}", first_seq=first_seq)
        if seal is not None and (broken is not None or not is_sealed):
            chain = _hex(seal.chain)
            self._next_seq = seal.last_seq + 1
            self._chain = chain if chain is not None else self._chain
            self._is_after_gap = True
        elif seal is not None:
            if self._next_seq != seal.last_seq + 1 or self._chain.hex() != seal.chain:
                self._found(Fault.CHANGED, path, "ends elsewhere than its seal says", first_seq=first_seq)
            for label, file in seal.vault.items():
                if file is not None:
                    self._needed_keys.update((seal.day, VaultClass[label.upper()], key) for key in file.keys)

    # -- commits

    def _check_commit(self, commit: OpenCommit | SealedCommit, path: Path, offset: int | None, *, opens: bool) -> None:
        link = commit.link
        before = None if self._is_after_gap else self._chain
        fault, what = Fault.CHANGED, None
        batch: pa.RecordBatch | None = None
        if before is not None and (link.first_seq, link.commit) != (self._next_seq, self._commit + 1):
            fault = Fault.OUT_OF_ORDER
            what = f"found commit {link.commit} from row {link.first_seq}; row {self._next_seq} should follow here"
        elif before is not None and not link.follows(before):
            what = "the commit does not follow the one before"
        try:
            batch = commit.batch()
            batch.validate(full=True)
            if not _is_dense(batch, link) or content_digest(batch) != link.content:
                what = what or "rows are not those that were written"
            self._check_blobs(batch, link, path, offset)
            self._check_entries(batch, link, before, path, opens=opens)
        except _READ_ERRORS as error:
            what = what or f"rows cannot be read: {str(error).splitlines()[0][:200]}"
        if what is not None:
            self._found(
                fault,
                path,
                what,
                offset=offset,
                commit=link.commit,
                first_seq=link.first_seq,
                last_seq=link.next_seq - 1,
            )
        self._report.commits += 1
        self._report.rows += link.rows
        self._advance(link)

    def _advance(self, link: Link) -> None:
        self._chain = link.chain
        self._next_seq = link.next_seq
        self._commit = link.commit
        self._is_after_gap = False
        self._report.last_at = _time(link.at_us)
        for head in self._anchors_at.get(link.next_seq - 1, []):
            if head.chain == link.chain and head.commit == link.commit:
                self._anchors_met.add(head.sha256)

    def _check_blobs(self, batch: pa.RecordBatch, link: Link, path: Path, offset: int | None) -> None:
        """Ciphertext in an open segment against the digests in the entry (which the content digest covers)."""
        if "sealed" not in batch.schema.names:
            return
        raws = batch.column("sealed")[0].as_py() or []
        listed = [(item["class"], item["sha256"]) for item in batch.column("vault")[0].as_py() or []]
        blobs = [Blob.parse(raw) for raw in raws]
        if [None if blob is None else (int(blob.kind), blob.sha256) for blob in blobs] != listed:
            self._found(
                Fault.CHANGED,
                path,
                "ciphertext is not what the entry says",
                offset=offset,
                commit=link.commit,
                first_seq=link.first_seq,
                last_seq=link.next_seq - 1,
            )
        for blob in blobs:
            if blob is not None:
                self._needed_keys.add((blob.day, blob.kind, blob.key_id.hex()))

    def _check_entries(
        self, batch: pa.RecordBatch, link: Link, before: bytes | None, path: Path, *, opens: bool
    ) -> None:
        has_opened = False
        if batch.column("data").null_count < batch.num_rows:
            for kind, data in control_entries(batch):
                if kind == Kind.HEAD_SIGNED:
                    self._check_head(data, link, before, path)
                elif kind == Kind.SEGMENT_OPENED:
                    has_opened = True
                    named = data.get("previous_chain")
                    expected = None if link.commit == 1 else (before or b"").hex()
                    if before is not None and named != expected:
                        self._found(
                            Fault.CHANGED, path, "names another chain as the one before it", first_seq=link.first_seq
                        )
        if opens and not has_opened:
            self._found(Fault.CHANGED, path, "does not begin with `segment.opened`", first_seq=link.first_seq)

    def _check_head(self, data: dict[str, object], link: Link, before: bytes | None, path: Path) -> None:
        try:
            head = Head.from_document(data)
        except ValueError as error:
            self._found(Fault.SIGNATURE, path, f"a signed head is damaged: {error}", commit=link.commit)
            return
        if not head.is_signed():
            self._found(Fault.SIGNATURE, path, "the signature of a head is not valid", commit=link.commit)
        elif head.public_key not in self._signers:
            if head.public_key not in self._blamed:
                self._blamed.add(head.public_key)
                what = f"heads are signed by a key that the chain does not name: {fingerprint(head.public_key)}"
                self._found(Fault.SIGNATURE, path, what, commit=link.commit)
        elif before is not None and (head.stream, head.seq, head.chain) != (self._stream, link.first_seq - 1, before):
            self._found(
                Fault.CHANGED, path, "a signed head saw another chain before this commit", commit=link.commit,
                first_seq=1, last_seq=link.first_seq - 1,
            )  # fmt: skip
        elif self._head is not None and before is not None and head.previous != self._head:
            self._found(Fault.CHANGED, path, "a signed head does not name the head before it", commit=link.commit)
        self._head = head.sha256
        self._report.heads += 1

    # -- vault

    def _check_vault(self, open_segments: set[int]) -> None:
        named: set[Path] = set()
        for seal in self._seals.values():
            for label, sealed in seal.vault.items():
                path = vault_path(self._folder, seal.day, seal.segment, VaultClass[label.upper()])
                if sealed is None:
                    continue
                named.add(path)
                try:
                    hashed = _hash_file(path)
                except FileNotFoundError:
                    if (day_name(seal.day), label) not in self._expired:
                        what = "ciphertext is missing, and no entry says that it expired"
                        self._found(Fault.MISSING, path, what, first_seq=seal.segment, last_seq=seal.last_seq)
                    continue
                if hashed != (sealed.sha256, sealed.bytes):
                    self._locate_in_vault(path, seal, VaultClass[label.upper()])
        for path in sorted((self._folder / "vault").glob("*/*")):
            first = path.name.split(".")[0]
            if (
                path in named
                or path.name.endswith(".tmp")
                or not _VAULT_FILE.fullmatch(str(path.relative_to(self._folder)))
            ):
                continue  # the names that are no vault files were reported already
            if first.isdigit() and int(first) in open_segments:
                self._report.notes.append(f"{path.name}: its sealing is not finished")
            else:
                self._found(Fault.ADDED, path, "no entry of the chain names this file")

    def _locate_in_vault(self, path: Path, seal: Seal, kind: VaultClass) -> None:
        """Say which commit's ciphertext was changed, as far as the sealed entries can still tell."""
        expected: dict[int, bytes] = {}
        try:
            parquet = self._folder / "entries" / f"{seal.segment:020d}.parquet"
            for commit in scan_sealed_commits(parquet):
                for item in commit.rows.column("vault")[0].as_py() or []:
                    if item["class"] == kind:
                        expected[commit.link.first_seq] = item["sha256"]
        except _READ_ERRORS:
            expected = {}
        what = "ciphertext is not what was sealed"
        for offset, blob in read_blobs(path):
            if blob is None or (expected and expected.get(blob.first_seq) != blob.sha256):
                self._found(
                    Fault.CHANGED,
                    path,
                    what,
                    offset=offset,
                    commit=None if blob is None else blob.commit,
                    first_seq=seal.segment,
                    last_seq=seal.last_seq,
                )
                return
        self._found(Fault.CHANGED, path, what, first_seq=seal.segment, last_seq=seal.last_seq)

    def _check_keys(self) -> None:
        for day, kind, key_id in sorted(self._needed_keys):
            path = self._folder / "keys" / f"{day_name(day)}.{kind.label}.{key_id}.key"
            if not path.exists() and (day_name(day), kind.label) not in self._expired:
                what = "the data key is missing, and no entry says that it was destroyed"
                self._found(Fault.MISSING, path, what)
        for path in sorted((self._folder / "keys").glob("*.key")):
            file = KeyFile.parse(path)
            if file is None or read_key_file(path) is not None or not path.exists():
                continue
            if (day_name(file.day), file.kind.label) in self._expired:
                self._report.notes.append(f"{path.name}: overwritten; the next expiry removes it")
            else:
                self._found(Fault.CHANGED, path, "a wrapped data key does not match its checksum")

    # -- anchors

    def _check_anchors(self) -> None:
        for head in sorted(self._anchors, key=lambda head: head.seq):
            when = head.at.isoformat()
            if not head.is_signed():
                self._found(Fault.SIGNATURE, self._folder, f"the anchor of {when} has no valid signature")
            elif self._public_key is not None and head.public_key not in self._vouched:
                what = f"the anchor of {when} is signed by another key ({fingerprint(head.public_key)})"
                self._found(Fault.SIGNATURE, self._folder, what)
            elif head.sha256 in self._anchors_met:
                self._report.anchors += 1
                self._report.anchored_seq = head.seq
            elif head.seq >= self._next_seq:
                self._found(
                    Fault.ANCHOR,
                    self._folder,
                    f"the anchor of {when} saw row {head.seq}, the ledger ends before: it was cut off",
                    first_seq=self._next_seq,
                    last_seq=head.seq,
                )
            else:
                self._found(
                    Fault.ANCHOR,
                    self._folder,
                    f"the anchor of {when} saw another chain at row {head.seq}: what lies before was rewritten",
                    first_seq=(self._report.anchored_seq or 0) + 1,
                    last_seq=head.seq,
                )


def _is_dense(batch: pa.RecordBatch, link: Link) -> bool:
    seq = batch.column("seq")
    expected = np.arange(link.first_seq, link.next_seq, dtype=np.uint64)
    return bool(seq.null_count == 0 and batch.num_rows == link.rows and np.array_equal(np.asarray(seq), expected))


def _hash_file(path: Path) -> tuple[str, int]:
    """SHA-256 (hex) and size in bytes."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()


def _time(at_us: int) -> datetime | None:
    try:
        return from_micros(at_us)
    except BadValue:
        return None


def _hex(value: object) -> bytes | None:
    try:
        return bytes.fromhex(value) if isinstance(value, str) else None
    except ValueError:
        return None
