"""The ledger of a data directory, as the settings say: its keys, how long originals are kept, a stream to write."""

from __future__ import annotations

from datetime import datetime

from mingbai.ledger import CommandKeys, FileKeys, KeyProvider, KeyStore, Ledger, LedgerOptions, Retention
from mingbai.settings import Settings

STREAM = "batch"  # what `mingbai screen` writes; each gateway process will have its own


def key_provider(settings: Settings) -> KeyProvider:
    """Where the keys lie, as set."""
    if settings.ledger.keys_command:
        return CommandKeys(settings.ledger.keys_command)
    return FileKeys(settings.ledger.keys or settings.data / "keys.json")


def open_keys(settings: Settings) -> KeyStore:
    """The ledger's keys; a key file that does not exist is made. Raises KeysUnusable."""
    return KeyStore.open_or_create(key_provider(settings))


def retention_of(settings: Settings) -> Retention:
    kept = settings.ledger
    return Retention(kept.allowed_text_days, kept.stopped_text_days, kept.numbers_days)


def open_ledger(settings: Settings, *, now: datetime, stream: str = STREAM, accept_new_keys: bool = False) -> Ledger:
    """A stream of the data directory, open for writing. Raises the errors of `Ledger.open` and KeysUnusable."""
    kept = settings.ledger
    return Ledger.open(
        settings.data,
        stream=stream,
        keys=open_keys(settings),
        now=now,
        retention=retention_of(settings),
        options=LedgerOptions(
            max_segment_rows=kept.max_segment_rows,
            max_segment_age_s=kept.max_segment_age_s,
            max_commit_rows=kept.max_commit_rows,
            head_interval_s=kept.head_interval_s,
        ),
        accept_new_keys=accept_new_keys,
    )
