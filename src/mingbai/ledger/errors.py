"""What can go wrong with the ledger, one class a cause. `retryable` says whether the same call can succeed later."""

from __future__ import annotations

from typing import ClassVar

from mingbai.kernel.errors import MingbaiError


class LedgerError(MingbaiError):
    """Root of the ledger's errors."""

    code: ClassVar[str] = "ledger_error"


class LedgerCannotWrite(LedgerError):
    """The disk refused (full, quota, I/O error). Nothing of the call was acknowledged; the file was cut back to the
    last commit, and the same call works again once the disk does."""

    code = "ledger_cannot_write"
    template = "ledger stream {stream} cannot write {path}: {cause}"
    retryable = True


class LedgerLocked(LedgerError):
    """Another process writes this stream: there is one writer a stream."""

    code = "ledger_locked"
    template = "ledger stream {stream} is held by another writer (lock file {path})"
    retryable = True


class LedgerClosed(LedgerError):
    """The ledger object was closed."""

    code = "ledger_closed"
    template = "ledger stream {stream} is closed"


class LedgerDamaged(LedgerError):
    """Acknowledged bytes are missing or changed. Nothing is cut or repaired; `mingbai ledger verify` tells what."""

    code = "ledger_damaged"
    template = "{path}, byte {offset}: {what}"


class KeysUnusable(LedgerError):
    """The key file or provider gave nothing that can be used as keys."""

    code = "keys_unusable"
    template = "keys from {source}: {what}"


class KeysReadOnly(LedgerError):
    """The provider cannot store keys; the message says what to do instead."""

    code = "keys_read_only"
    template = "keys from {source} cannot be written by Mingbai: {what}"


class KeysChanged(LedgerError):
    """The keys are not those that the stream was written with. Restore them from the backup; if they are lost, open
    the stream with `accept_new_keys`: the record goes on and still verifies, old originals stay unreadable."""

    code = "keys_changed"
    template = "ledger stream {stream} was written with signing key {expected}, but {source} has {found}"
