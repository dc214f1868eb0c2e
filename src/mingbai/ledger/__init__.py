"""The ledger: what was decided, why, by which versions; append-only, hash-chained, provable.

    keys = KeyStore.open_or_create(data_dir / "keys.json")
    with Ledger.open(data_dir, stream="batch", keys=keys, now=now, retention=Retention(7, 150, 150)) as ledger:
        receipt = ledger.record(decisions, now=now)        # columns of RECORD; returns when it is on the disk
    report = verify(data_dir, anchor=Path("anchors.jsonl"))

docs/reference/ledger.md describes the files exactly; docs/explanation/personal-data.md what is kept for how long.
"""

from mingbai.ledger.anchors import AnchorUnreadable, Head, anchor_bytes, parse_public_key, read_anchors
from mingbai.ledger.entries import ENTRY, RECORD, Kind, VaultClass
from mingbai.ledger.errors import (
    KeysChanged,
    KeysReadOnly,
    KeysUnusable,
    LedgerCannotWrite,
    LedgerClosed,
    LedgerDamaged,
    LedgerError,
    LedgerLocked,
)
from mingbai.ledger.files import FileOps
from mingbai.ledger.keys import CommandKeys, FileKeys, KeyProvider, KeyRing, KeyStore, fingerprint, import_keys
from mingbai.ledger.read import ORIGINAL, Kept, StreamReader, list_streams
from mingbai.ledger.report import Fault, Finding, StreamReport, VerifyReport
from mingbai.ledger.rotation import rotate_master_key, rotate_pseudonym_key, rotate_signing_key
from mingbai.ledger.sealing import Seal
from mingbai.ledger.vault import Retention
from mingbai.ledger.verify import verify
from mingbai.ledger.withheld import Withheld, forget_withheld, read_withheld, withhold
from mingbai.ledger.writer import Expired, Ledger, LedgerOptions, Receipt

__all__ = [
    "ENTRY",
    "ORIGINAL",
    "RECORD",
    "AnchorUnreadable",
    "CommandKeys",
    "Expired",
    "Fault",
    "FileKeys",
    "FileOps",
    "Finding",
    "Head",
    "Kept",
    "KeyProvider",
    "KeyRing",
    "KeyStore",
    "KeysChanged",
    "KeysReadOnly",
    "KeysUnusable",
    "Kind",
    "Ledger",
    "LedgerCannotWrite",
    "LedgerClosed",
    "LedgerDamaged",
    "LedgerError",
    "LedgerLocked",
    "LedgerOptions",
    "Receipt",
    "Retention",
    "Seal",
    "StreamReader",
    "StreamReport",
    "VaultClass",
    "VerifyReport",
    "Withheld",
    "anchor_bytes",
    "fingerprint",
    "forget_withheld",
    "import_keys",
    "list_streams",
    "parse_public_key",
    "read_anchors",
    "read_withheld",
    "rotate_master_key",
    "rotate_pseudonym_key",
    "rotate_signing_key",
    "verify",
    "withhold",
]
