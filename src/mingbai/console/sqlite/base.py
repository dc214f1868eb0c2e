"""Django's SQLite backend, whose write transactions take turns and share their syncs to the disk.

SQLite lets one transaction write and has no queue for the others: each tries again after a sleep that grows to 100 ms,
and under load one may be unlucky until its timeout ("database is locked"). Here a writer first waits for a file lock
beside the database, which the kernel hands on at once, across threads and processes. Who writes without it (another
program) only makes SQLite's own waiting come back.

With `synchronous=FULL` each COMMIT syncs the write-ahead log while everybody else waits. Here a transaction commits
without (`NORMAL`, which keeps the database whole: SQLite syncs the log itself before it moves anything out of it), ends
its turn, and then waits for a sync that began after its commit; one sync serves all who wait. `commit` returns only
then: what was acknowledged is on the disk. Others may see a change a moment before it is there; whoever acts on it
outside of the house writes that down first, and that sync covers both. A single statement without a transaction keeps
`FULL`.
"""

from __future__ import annotations

import fcntl
import os
from typing import Any, Final

from django.db.backends.sqlite3 import base

from mingbai.console.sqlite.shared_sync import SharedSync

_SYNC: Final = SharedSync()  # a process of ours has one database
_CHECKPOINT_EACH: Final = 200  # commits of one connection; each decision at the review desk is some 15 pages of 4 KiB


class DatabaseWrapper(base.DatabaseWrapper):
    """One connection, that is one thread."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # Any: Django's own
        super().__init__(*arguments, **named)
        self._turn: int | None = None
        self._is_my_turn = False
        self._log: int | None = None
        self._commits = 0

    def _start_transaction_under_autocommit(self) -> None:
        if self.is_in_memory_db():
            super()._start_transaction_under_autocommit()  # type: ignore[misc]  # the stubs leave it out
            return
        self._wait_for_turn()
        try:
            self.connection.execute("PRAGMA synchronous=NORMAL")
            super()._start_transaction_under_autocommit()  # type: ignore[misc]  # the stubs leave it out
        except BaseException:
            self._end_turn()
            raise

    def _commit(self) -> Any:  # Any: as Django has it
        is_ours, found = self._is_my_turn, None
        try:
            found = super()._commit()  # type: ignore[misc]  # the stubs leave it out
        finally:
            self._end_turn()  # not after a commit that failed: Django rolls it back, and the turn ends there
        if is_ours and self.connection is not None:
            _SYNC.wait(self._sync_log)
            self._commits += 1
            if self._commits % _CHECKPOINT_EACH == 0:  # here nobody waits for it but this one
                self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return found

    def _rollback(self) -> Any:  # Any: as above
        try:
            return super()._rollback()  # type: ignore[misc]  # the stubs leave it out
        finally:
            self._end_turn()

    def _close(self) -> Any:  # Any: as above
        try:
            return super()._close()  # type: ignore[misc]  # the stubs leave it out
        finally:
            self._is_my_turn = False  # closing the file ends it too
            for handle in (self._turn, self._log):
                if handle is not None:
                    os.close(handle)
            self._turn = self._log = None

    def _sync_log(self) -> None:
        # SQLite removes the log with its last connection: as long as this one is open, this is the file.
        if self._log is None:
            self._log = os.open(f"{self.settings_dict['NAME']}-wal", os.O_RDWR | os.O_CLOEXEC)
        os.fdatasync(self._log)

    def _wait_for_turn(self) -> None:
        if self._turn is None:
            self._turn = os.open(f"{self.settings_dict['NAME']}-turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        self._is_my_turn = True

    def _end_turn(self) -> None:
        if not self._is_my_turn or self._turn is None or self.connection.in_transaction:
            return
        self._is_my_turn = False
        try:
            self.connection.execute("PRAGMA synchronous=FULL")
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)
