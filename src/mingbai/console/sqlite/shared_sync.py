"""One sync to the disk for everybody who waits for one.

A sync takes milliseconds, and as long as the disk is busy many. It covers whatever was written before it began: so
whoever comes while one is running waits for the next one, together with all the others who do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class SharedSync:
    """Safe to use from many threads."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._asked = 0
        self._done = 0
        self._is_running = False
        self.waiting = 0  # for the sync of somebody else

    def wait(self, sync: Callable[[], None]) -> None:
        """Returns once a sync has ended that began after this call; `sync` is how, where it falls to the caller.

        Raises what `sync` raises, to the one who ran it; the others try themselves.
        """
        with self._turn:
            self._asked += 1
            mine = self._asked
            self.waiting += 1
            while self._done < mine and self._is_running:
                self._turn.wait()
            self.waiting -= 1
            if self._done >= mine:
                return
            self._is_running = True
            covered = self._asked
        is_done = False
        try:
            sync()
            is_done = True
        finally:
            with self._turn:
                self._is_running = False
                self._done = max(self._done, covered) if is_done else self._done
                self._turn.notify_all()
