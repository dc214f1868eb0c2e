"""What the control stream does by itself: sign its head, and note where the ledger's streams end."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from pathlib import Path

from mingbai.connectors.ledger_access import open_keys
from mingbai.connectors.ledger_heads import LedgerHeads
from mingbai.contexts.audit.services import cross_heads, sign_head
from mingbai.settings import Settings


@lru_cache(maxsize=4)
def ledger_heads(data_dir: Path) -> LedgerHeads:
    """One a process and data directory: it remembers how far it read."""
    return LedgerHeads(data_dir)


def anchor_heads(settings: Settings, now: datetime) -> None:
    """Cross first, so that the signature vouches for that too."""
    cross_heads(ledger_heads(settings.data).heads(), now=now)
    sign_head(open_keys(settings), now=now)


JOBS = (("anchor heads", 60.0, anchor_heads, True),)
