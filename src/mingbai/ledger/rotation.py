"""New keys for old: master (rewrapping), pseudonym (a new epoch), signing.

Each needs every stream's writer stopped (LedgerLocked says which is not): a writer holds the keys in memory. Each
leaves an entry `key.rotated` in every stream. A crash in the middle loses nothing; run it again.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mingbai.ledger.anchors import key_change
from mingbai.ledger.entries import Kind
from mingbai.ledger.files import FileOps
from mingbai.ledger.keys import (
    KeyStore,
    with_new_epoch,
    with_new_master,
    with_new_signing_key,
    with_only_current_master,
)
from mingbai.ledger.read import list_streams
from mingbai.ledger.segments import stream_dir
from mingbai.ledger.vault import DataKeys
from mingbai.ledger.writer import Ledger, LedgerOptions


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """How many data keys were wrapped anew, and how many the ring could not open (they are left as they are)."""

    done: int
    unreadable: int


def rotate_master_key(data_dir: Path, keys: KeyStore, *, now: datetime, ops: FileOps | None = None) -> Rewrapped:
    """Make a new master key, wrap every data key under it, forget the old master key(s).

    Order: the ring with both is stored, then every key is rewrapped, then the ring with the new one alone is stored;
    at every moment the stored ring opens every stored data key. An export made before is worthless afterwards.
    """
    done = unreadable = 0
    with ExitStack() as open_ledgers:
        ledgers = _open_all(open_ledgers, data_dir, keys, now)
        keys.replace_ring(with_new_master(keys.ring))
        for ledger in ledgers:
            data_keys = DataKeys(stream_dir(data_dir, ledger.stream), keys, ops)
            for file in data_keys.files():
                if data_keys.rewrap(file):
                    done += 1
                else:
                    unreadable += 1
            ledger.record_own(Kind.KEY_ROTATED, {"what": "master", "id": keys.ring.master[-1].id.hex()}, now=now)
        keys.replace_ring(with_only_current_master(keys.ring))
    return Rewrapped(done, unreadable)


def rotate_pseudonym_key(data_dir: Path, keys: KeyStore, *, now: datetime, forget_old: bool) -> int:
    """Begin a new epoch of pseudonyms; returns its number.

    From now on the same number has another pseudonym. While the old key is kept, a search for a number still finds the
    entries of old epochs; `forget_old` destroys it: nobody can link or search them any more, and they stay verifiable.
    """
    with ExitStack() as open_ledgers:
        ledgers = _open_all(open_ledgers, data_dir, keys, now)
        epoch = keys.epoch + 1
        for ledger in ledgers:
            data = {"what": "pseudonym", "epoch": epoch, "forgot_old": forget_old}
            ledger.record_own(Kind.KEY_ROTATED, data, now=now)
        keys.replace_ring(with_new_epoch(keys.ring, forget_old=forget_old))
    return epoch


def rotate_signing_key(data_dir: Path, keys: KeyStore, *, now: datetime) -> bytes:
    """Make a new signing key; returns its public key, to be noted where the old one was.

    The entry is signed by both keys, so whoever knows one of them can follow to the other.
    """
    ring = with_new_signing_key(keys.ring)
    with ExitStack() as open_ledgers:
        ledgers = _open_all(open_ledgers, data_dir, keys, now)
        change = key_change(keys, keys.with_ring(ring))
        for ledger in ledgers:
            ledger.record_own(Kind.KEY_ROTATED, change, now=now)
        keys.replace_ring(ring)
    return keys.public_key


def _open_all(stack: ExitStack, data_dir: Path, keys: KeyStore, now: datetime) -> list[Ledger]:
    options = LedgerOptions(background_sealing=False)
    return [
        stack.enter_context(Ledger.open(data_dir, stream=name, keys=keys, now=now, options=options))
        for name in list_streams(data_dir)
    ]
