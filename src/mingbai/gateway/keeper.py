"""What a process with a ledger does by itself: follow the policy, sign the chain, delete what is over."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from mingbai.connectors.policy_follower import POLL_S, PolicyFollower
from mingbai.connectors.policy_store import PolicyUnusable
from mingbai.gateway.meter import Alarms
from mingbai.kernel.clock import utc_now
from mingbai.ledger import Ledger, LedgerError

log = logging.getLogger(__name__)

_EXPIRE_EVERY_S: Final = 3600.0


class Keeper:
    """A thread of its own; it outlives whatever it meets. messages: how many were decided so far."""

    def __init__(
        self,
        ledger: Ledger,
        follower: PolicyFollower,
        alarms: Alarms,
        *,
        head_interval_s: float,
        messages: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._follower = follower
        self._alarms = alarms
        self._head_interval_s = head_interval_s
        self._messages = messages
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End, and sign the chain as it stands."""
        self._stopping.set()
        self._thread.join()
        try:
            self._ledger.sign_head(now=utc_now())
        except LedgerError as error:
            log.error("the last head is not signed", extra={"error": error.code})

    def _run(self) -> None:
        signed_at, signed_count, expire_at = time.monotonic(), 0, 0.0
        while not self._stopping.wait(POLL_S):
            at = time.monotonic()
            try:
                self._follow()
                if at - signed_at >= self._head_interval_s:
                    signed_at = at
                    if self._messages() != signed_count:
                        signed_count = self._messages()
                        self._ledger.sign_head(now=utc_now())
                if at >= expire_at:
                    expire_at = at + _EXPIRE_EVERY_S
                    self._ledger.expire(now=utc_now())
            except LedgerError as error:
                self._alarms.raise_(error.code, str(error), utc_now())
                log.error("the ledger could not be kept", extra={"error": error.code})
            except Exception:  # this thread must outlive whatever it meets
                log.exception("keeping failed")

    def _follow(self) -> None:
        now = utc_now()
        self._follower.poll(now)
        if self._follower.problem is not None:
            self._alarms.raise_(PolicyUnusable.code, self._follower.problem, now)
        else:
            self._alarms.clear(PolicyUnusable.code)
