"""Django's SQLite backend, whose write transactions take turns.

SQLite lets one transaction write and has no queue for the others: each tries again after a sleep that grows to 100 ms,
and under load one may be unlucky until its timeout ("database is locked"). Here a writer first waits for a file lock
beside the database, which the kernel hands on at once, across threads and processes. Who writes without it (another
program) only makes SQLite's own waiting come back.
"""

from __future__ import annotations

import fcntl
import os
from typing import Any

from django.db.backends.sqlite3 import base


class DatabaseWrapper(base.DatabaseWrapper):
    """One connection, that is one thread."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # Any: Django's own
        super().__init__(*arguments, **named)
        self._turn: int | None = None
        self._is_my_turn = False

    def _start_transaction_under_autocommit(self) -> None:
        self._wait_for_turn()
        try:
            super()._start_transaction_under_autocommit()
        except BaseException:
            self._end_turn()
            raise

    def _commit(self) -> Any:  # Any: as Django has it
        try:
            return super()._commit()
        finally:
            # A commit that failed leaves the transaction open: Django rolls it back, and the turn ends there.
            if self.connection is None or not self.connection.in_transaction:
                self._end_turn()

    def _rollback(self) -> Any:  # Any: as above
        try:
            return super()._rollback()
        finally:
            self._end_turn()

    def _close(self) -> Any:  # Any: as above
        try:
            return super()._close()
        finally:
            self._end_turn()
            if self._turn is not None:
                os.close(self._turn)
                self._turn = None

    def _wait_for_turn(self) -> None:
        if self.is_in_memory_db():
            return
        if self._turn is None:
            self._turn = os.open(f"{self.settings_dict['NAME']}-turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        self._is_my_turn = True

    def _end_turn(self) -> None:
        if self._is_my_turn and self._turn is not None:
            self._is_my_turn = False
            fcntl.flock(self._turn, fcntl.LOCK_UN)
