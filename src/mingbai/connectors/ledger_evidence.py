"""Evidence of one entry: what somebody needs to check, far from this system, that it stands in the record unchanged.

A ZIP of four files. `commit.arrow`: the rows that were written together with the entry, without ciphertext (whom they
concern stands in them as keyed hashes only). `links.bin`: the links of that commit and of all after it up to the next
signed head, 128 bytes each. `evidence.json`: which row it is, the chain hash before, the signed head, and a signature
over all that. `README.txt`: how to check.

    python -m mingbai.connectors.ledger_evidence evidence.zip [--public-key HEX]

Checking needs no key, no ledger and no network. It proves that the row is one that the head vouches for; whose key
signed the head, whoever checks compares with the one that the operator published.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import pyarrow as pa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mingbai.connectors.ledger_index.source import Source
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.ledger import KeyStore, Kind
from mingbai.ledger.anchors import Head
from mingbai.ledger.chain import LINK_BYTES, Link
from mingbai.ledger.content import content_digest
from mingbai.ledger.segments import OpenCommit, list_segments, scan_open, scan_sealed_commits, sealed_path, stream_dir

FORMAT = "mingbai.evidence 1"
_README = """Evidence of one entry of a Mingbai ledger / 明白账本中一条记录的证据

Check it on any machine / 在任何机器上验证:
    pip install mingbai
    python -m mingbai.connectors.ledger_evidence THIS-FILE.zip --public-key HEX

HEX is the operator's public key, as it was published (64 hex digits) / HEX 为运营商公布的公钥（64 位十六进制）.
"""


class EvidenceUnusable(MingbaiError):
    """Evidence that does not prove what it says: `what` is the first thing that does not fit."""

    code = "evidence_unusable"
    template = "this evidence proves nothing: {what}"


@dataclass(frozen=True, slots=True)
class Proved:
    """What evidence proves. head: None while no head was signed after the entry: then only the export's own signature
    vouches for it."""

    stream: str
    seq: int
    id: UUID
    entry: dict[str, Any]  # Any: columns of ENTRY
    head: Head | None
    public_key: bytes


def write_evidence(data_dir: Path, stream: str, seq: int, keys: KeyStore, file: IO[bytes]) -> None:
    """Write the ZIP. Reads the entry's segment once. Raises BadValue for a seq that is not there."""
    rows: pa.RecordBatch | None = None
    links: list[Link] = []
    head: Head | None = None
    for link, batch in _commits(data_dir, stream, seq):
        if link.next_seq <= seq:
            continue
        if rows is None:
            rows = _without_bytes(batch)
        links.append(link)
        head = _head_in(batch, links[0].next_seq - 1)
        if head is not None:
            links = [one for one in links if one.commit <= head.commit]
            break
    if rows is None or not links:
        raise BadValue(field="seq", value=seq, expected=f"an entry of stream {stream}")
    chain_before = Source(data_dir, stream).chain_after(links[0].first_seq - 1)
    if chain_before is None:
        raise BadValue(field="seq", value=seq, expected="a ledger whose entries before it are there")
    place = seq - links[0].first_seq
    told: dict[str, object] = {
        "format": FORMAT,
        "stream": stream,
        "seq": seq,
        "row": place,
        "id": str(UUID(bytes=rows.column("id")[place].as_py())),
        "chain_before": chain_before.hex(),
        "links_sha256": hashlib.sha256(b"".join(link.to_bytes() for link in links)).hexdigest(),
        "head": None if head is None else head.to_document(),
        "public_key": keys.public_key.hex(),
    }
    document = {**told, "signature": keys.sign(_canonical(told)).hex()}
    arrow = io.BytesIO()
    with pa.ipc.new_file(arrow, rows.schema) as writer:
        writer.write_batch(rows)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("evidence.json", json.dumps(document, ensure_ascii=False, indent=1) + "\n")
        archive.writestr("commit.arrow", arrow.getvalue())
        archive.writestr("links.bin", b"".join(link.to_bytes() for link in links))
        archive.writestr("README.txt", _README)


def check_evidence(file: IO[bytes] | Path, public_key: bytes | None = None) -> Proved:
    """Check everything that can be checked with the file alone. public_key: who has to have signed.

    Raises EvidenceUnusable, naming what does not fit.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            document = json.loads(archive.read("evidence.json"))
            raw = archive.read("links.bin")
            rows = (
                pa.ipc.open_file(pa.py_buffer(archive.read("commit.arrow"))).read_all().combine_chunks().to_batches()[0]
            )
        signature = bytes.fromhex(document.pop("signature"))
        signer = bytes.fromhex(document["public_key"])
        before = bytes.fromhex(document["chain_before"])
        head = None if document["head"] is None else _head_of(document["head"])
        place = document["row"]
        links = [Link.parse(raw[at : at + LINK_BYTES]) for at in range(0, len(raw), LINK_BYTES)]
    except (
        OSError,
        KeyError,
        ValueError,
        IndexError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        pa.ArrowException,
    ) as error:
        raise EvidenceUnusable(what=f"it cannot be read ({type(error).__name__})") from error
    if public_key is not None and signer != public_key:
        raise EvidenceUnusable(what="it is signed with another key")
    _check_signature(signer, signature, _canonical(document))
    if document["format"] != FORMAT or document["links_sha256"] != hashlib.sha256(raw).hexdigest():
        raise EvidenceUnusable(what="the links are not those that were signed")
    for link in links:
        if link is None or not link.follows(before):
            raise EvidenceUnusable(what="a link does not follow the one before")
        before = link.chain
    first = links[0] if links else None
    if first is None or content_digest(rows) != first.content or first.rows != rows.num_rows:
        raise EvidenceUnusable(what="the rows are not those of the commit")
    entry = rows.slice(place, 1).to_pylist()[0]
    if entry["seq"] != document["seq"] or str(UUID(bytes=entry["id"])) != document["id"]:
        raise EvidenceUnusable(what="the row is another one")
    if head is not None:
        if not head.is_signed() or head.stream != document["stream"] or head.chain != before:
            raise EvidenceUnusable(what="the signed head does not vouch for these links")
        if public_key is not None and head.public_key != public_key:
            raise EvidenceUnusable(what="the head is signed with another key")
    return Proved(document["stream"], document["seq"], UUID(document["id"]), entry, head, signer)


def _commits(data_dir: Path, stream: str, seq: int) -> Iterator[tuple[Link, pa.RecordBatch]]:
    """Commits of the segment that holds `seq`, and of all after it."""
    folder = stream_dir(data_dir, stream)
    segments = list_segments(folder)
    start = max((place for place, one in enumerate(segments) if one.first_seq <= seq), default=0)
    for segment in segments[start:]:
        try:
            if segment.open is not None:
                for item in scan_open(segment.open):
                    if isinstance(item, OpenCommit):
                        yield item.link, item.batch()
                continue
        except FileNotFoundError:  # sealed since the listing
            pass
        for commit in scan_sealed_commits(sealed_path(folder, segment.first_seq)):
            yield commit.link, commit.rows


def _head_in(batch: pa.RecordBatch, seq: int) -> Head | None:
    """A head among these rows that covers `seq`."""
    for kind, data in zip(batch.column("kind").to_pylist(), batch.column("data").to_pylist(), strict=True):
        if kind == Kind.HEAD_SIGNED and data:
            head = _head_of(json.loads(data))
            if head.seq >= seq:
                return head
    return None


def _head_of(document: dict[str, Any]) -> Head:  # Any: JSON
    return Head.from_document(document)


def _without_bytes(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows without ciphertext and link: the content digest leaves both out."""
    return batch.select([name for name in batch.schema.names if name not in ("sealed", "link")])


def _check_signature(public_key: bytes, signature: bytes, message: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise EvidenceUnusable(what="its signature does not fit") from None


def _canonical(document: dict[str, Any]) -> bytes:  # Any: JSON
    return json.dumps(document, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check the evidence of one entry.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--public-key", type=bytes.fromhex, default=None)
    given = parser.parse_args(arguments)
    try:
        proved = check_evidence(given.file, given.public_key)
    except EvidenceUnusable as error:
        sys.stdout.write(f"✕ {error}\n")
        return 1
    vouched = f"a head signed at {proved.head.at.isoformat()}" if proved.head else "the export's signature alone"
    sys.stdout.write(f"✓ {proved.id}: row {proved.seq} of stream {proved.stream}, vouched for by {vouched}\n")
    sys.stdout.write(f"  signed with public key {proved.public_key.hex()}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
