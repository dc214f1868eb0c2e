"""How an entry of the control stream is hashed. Pure; docs/reference/ledger.md gives the same in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from mingbai.kernel.clock import format_utc

GENESIS = hashlib.sha256(b"mingbai control stream 1\n").digest()


def entry_hash(
    before: bytes,
    *,
    seq: int,
    id: UUID | str,
    at: datetime,
    kind: str,
    actor: str,
    subject: str,
    data: Mapping[str, object],
) -> bytes:
    """SHA-256(hash before + JSON of the entry: keys sorted, no spaces, UTF-8). Raises ValueError if that is no JSON."""
    document = {
        "seq": seq,
        "id": str(id),
        "at": format_utc(at),
        "kind": kind,
        "actor": actor,
        "subject": subject,
        "data": data,
    }
    return hashlib.sha256(before + canonical(document)).digest()


def canonical(document: Mapping[str, object]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def spreadsheet_cell(text: str) -> str:
    """Text for a CSV that people open in a spreadsheet, where a cell that begins with one of these signs is a formula.

    An apostrophe in front keeps it text (OWASP, CSV Injection).
    """
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠") and text else text
