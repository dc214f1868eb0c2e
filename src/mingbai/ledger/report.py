"""What `verify` reports: data, for the command line, the console and the API to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Fault(StrEnum):
    """Kinds of finding. Any of them makes the report not ok."""

    CHANGED = "changed"  # bytes differ from what was written
    MISSING = "missing"  # rows, a file or a folder are gone
    ADDED = "added"  # a file that the ledger did not write, or that nothing in the chain names
    OUT_OF_ORDER = "out_of_order"  # whole commits, but not in the place they were written to
    TORN = "torn"  # bytes behind the last whole commit: a crash in the middle of a write, or bytes cut off by hand
    ANCHOR = "anchor"  # the ledger is not the one that the anchor saw: cut off or rewritten
    SIGNATURE = "signature"  # a head or anchor is not signed by the key that it should be


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault and where it is. A place that is not known or has no meaning is None."""

    stream: str
    fault: Fault
    path: str  # relative to the data directory
    what: str
    offset: int | None = None  # bytes from the start of the file
    commit: int | None = None
    first_seq: int | None = None
    last_seq: int | None = None

    def __str__(self) -> str:
        place = [self.path]
        if self.offset is not None:
            place.append(f"byte {self.offset}")
        if self.commit is not None:
            place.append(f"commit {self.commit}")
        if self.first_seq is not None:
            rows = f"row {self.first_seq}" if self.last_seq == self.first_seq else f"rows {self.first_seq}"
            place.append(rows if self.last_seq in (None, self.first_seq) else f"{rows}-{self.last_seq}")
        return f"{self.stream}: {self.fault}: {', '.join(place)}: {self.what}"


@dataclass(slots=True)
class StreamReport:
    """What was found in one stream."""

    stream: str
    segments: int = 0
    sealed: int = 0
    commits: int = 0
    rows: int = 0
    last_seq: int = 0
    chain: bytes = b""
    last_at: datetime | None = None
    heads: int = 0  # signed heads in the chain that were checked
    anchors: int = 0  # anchors that the stream agrees with
    anchored_seq: int | None = None  # every row up to here is as the last of these anchors saw it
    expired: list[str] = field(default_factory=list)  # `<day>.<class>` deleted by destroying its key
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # worth knowing, no fault

    @property
    def unvouched_rows(self) -> int:
        """Rows after the last anchor: consistent in themselves, but a forger could have rewritten them."""
        return self.last_seq - (self.anchored_seq or 0)


@dataclass(slots=True)
class VerifyReport:
    """What was found in a data directory. `signed_by`: fingerprints of the keys that the anchors are signed with."""

    streams: list[StreamReport]
    signed_by: list[str]
    is_key_given: bool  # False: anchors were checked with the key they name themselves; compare the fingerprints

    @property
    def findings(self) -> list[Finding]:
        return [finding for stream in self.streams for finding in stream.findings]

    @property
    def ok(self) -> bool:
        """Nothing was found. Look at `unvouched_rows` too: that is what no anchor covers."""
        return not self.findings
