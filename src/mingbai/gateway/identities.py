"""The ids that this worker gives to messages, in the form of each protocol, none of them twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from mingbai.protocols import cmpp, sgip, smgp

if TYPE_CHECKING:
    from mingbai.gateway.store import Store

_CODES: Final = 1 << 16  # of gateways; each has 64 workers, which makes CMPP's 22 bits


class Identities:
    """code: of this gateway, 0 to 65,535; worker: 0 to 63; node: of SGIP.

    last: the newest id of each protocol that a run before this one gave out, as the journal knows it. The unit of time
    that it was taken from (CMPP: second, SMGP: minute) counts as used up.
    """

    def __init__(
        self, code: int, worker: int, node: int, *, clock: Callable[[], datetime], last: Mapping[str, str]
    ) -> None:
        self._clock = clock
        now = clock()
        own = (code % _CODES) * 64 + worker
        after_cmpp = _used_up_cmpp(last["cmpp"]) if last.get("cmpp") else None
        after_smgp = _used_up_smgp(last["smgp"]) if last.get("smgp") else None
        self._cmpp = cmpp.MessageIds(own, after=after_cmpp, now=now)
        self._smgp = smgp.MessageIds(own % 1_000_000, after=after_smgp, now=now)
        self._sequences = sgip.Sequences((node + worker) & 0xFFFFFFFF, after=_this_second(node, now), now=now)
        self._counter = (int(time.time() * 1e6) << 6) | worker
        self._last: dict[str, str] = {}

    def sgip(self) -> Any:  # Any: SGIP's three numbers
        return self._sequences.next(self._clock())

    def peer_id(self, protocol: str, request: Any) -> str:  # Any: a PDU, or HTTP's request
        """As `protocols.reports` writes ids."""
        if protocol == "cmpp":
            found = self._last["cmpp"] = str(self._cmpp.next(self._clock()))
        elif protocol == "smgp":
            found = self._last["smgp"] = self._smgp.next(self._clock()).hex()
        elif protocol == "sgip":
            found = sgip.name_text(request.sequence)
        else:
            self._counter = max(self._counter + 64, (int(time.time() * 1e6) << 6) | (self._counter & 63))
            found = str(self._counter)
        return found

    def deliver_id(self, protocol: str) -> int:
        """Of a DELIVER itself, where the protocol has one."""
        if protocol == "cmpp":
            return self._cmpp.next(self._clock())
        return int.from_bytes(self._smgp.next(self._clock())) if protocol == "smgp" else 0

    def note(self, store: Store) -> None:
        """Leave the last ones for the next start."""
        if self._last:
            store.note({"last_peer_ids": self._last})


def _used_up_cmpp(last: str) -> int:
    return int(last) | 0xFFFF


def _used_up_smgp(last: str) -> bytes:
    return bytes(replace(smgp.MessageId.of(bytes.fromhex(last)), counter=999_999))


def _this_second(node: int, now: datetime) -> tuple[int, int, int]:
    """SGIP has 2^32 numbers a second: a start takes another thousandth of them than the one before it."""
    begin = int(time.time() * 1000) % 1000 * 4_000_000
    stamped = int(f"{now.month}{now.day:02}{now.hour:02}{now.minute:02}{now.second:02}")
    return node, stamped, begin
