"""The demo's proof: the record verifies, and a copy of it in which one byte was changed does not."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mingbai.ledger import Finding, Head, StreamReport, anchor_bytes, fingerprint, verify
from mingbai.settings import Settings


@dataclass(frozen=True, slots=True)
class Proof:
    """What verification said. path, offset: the byte of the copy that was changed, and its values."""

    whole: bool
    stream: StreamReport
    signed_by: str
    path: str
    offset: int
    before: int
    after: int
    findings: tuple[Finding, ...]


def prove(settings: Settings, anchor: Head) -> Proof:
    """Verify the data directory; then change one bit of one byte in a copy, and verify that."""
    anchored = anchor_bytes([anchor])
    report = verify(settings.data, anchor=anchored)
    with tempfile.TemporaryDirectory(prefix="mingbai-demo-") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(settings.data / "ledger", copy / "ledger")
        target = max((copy / "ledger").rglob("entries/*"), key=lambda path: path.stat().st_size)
        content = bytearray(target.read_bytes())
        offset = len(content) * 2 // 3
        before = content[offset]
        content[offset] ^= 1
        target.write_bytes(content)
        findings = verify(copy, anchor=anchored).findings
        return Proof(
            whole=report.ok,
            stream=report.streams[0],
            signed_by=fingerprint(anchor.public_key),
            path=str(target.relative_to(copy)),
            offset=offset,
            before=before,
            after=content[offset],
            findings=tuple(findings),
        )
