"""A `Link` on a socket of asyncio.

Everything that came with one wake-up is handled together, and everything that has to go out is written at once: a
window of 128 requests costs two system calls. A peer that does not read stops being read (its own backlog is the only
one that grows), and is cut off when it stays so: nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from mingbai.gateway.meter import Rate
from mingbai.kernel.clock import utc_now
from mingbai.protocols.link import Event, Link

Handler = Callable[["Connection", Sequence[Event]], None]

_UNREAD_MOST: Final = 1 << 20  # octets that a peer may leave unread before it is not read any more
_STALLED_S: Final = 30.0
_REST_S: Final = 0.1


class Connection(asyncio.Protocol):
    """One peer. `handler` gets what happened, in order, and may call `link` and then `flush`.

    make: the link, made when the connection is there (its clock is the loop's).
    """

    def __init__(self, make: Callable[[float], Link], handler: Handler, *, stalled_s: float = _STALLED_S) -> None:
        self._make = make
        self._handler = handler
        self._stalled_s = stalled_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = float("inf")  # when the timer wakes; uvloop's handles of the near future cannot say it
        self._stall: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None
        self.link: Link
        self.peer: tuple[str, int] = ("", 0)
        self.account: Any = None  # Any: whom the handler knows behind it
        self.dialect: Any = None  # Any: the link's, once the handler knows it
        self.requests: dict[int, Any] = {}  # Any: requests whose answer says nothing without them (SGIP)
        self.refused = 0
        self.since = utc_now()
        self.rate = Rate()  # of requests in both directions; whoever shows it samples it
        self.direction: Any = None  # Any: `logins.Direction`, from its login
        self.token = ""  # what its account is counted under
        self.touched = False  # its link has something to write that nobody flushed yet
        self.is_stalled = False

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's own are no subclass of it
        self._transport = transport
        transport.set_write_buffer_limits(high=_UNREAD_MOST)
        self.peer = (transport.get_extra_info("peername") or ("", 0))[:2]
        self.link = self._make(self._loop.time())
        self._handler(self, ())
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._happened(self.link.receive(data, self._loop.time()))

    def connection_lost(self, error: Exception | None) -> None:
        for timer in (self._timer, self._stall, self._rest):
            if timer is not None:
                timer.cancel()
        events = self.link.cut()
        if events:
            self._handler(self, events)

    def pause_writing(self) -> None:
        self.is_stalled = True
        if self._transport is not None:
            self._transport.pause_reading()
        self._stall = self._loop.call_later(self._stalled_s, self.abort)

    def resume_writing(self) -> None:
        self.is_stalled = False
        if self._stall is not None:
            self._stall.cancel()
        if self._rest is None:
            self._read_on()

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # -- for the handler

    @property
    def is_tls(self) -> bool:
        return self._transport is not None and self._transport.get_extra_info("ssl_object") is not None

    @property
    def certificate_sha256(self) -> str | None:
        """Of the peer's certificate, where TLS asked for one and it was verified."""
        if self._transport is None:
            return None
        found: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        shown = None if found is None else found.getpeercert(binary_form=True)
        return None if shown is None else hashlib.sha256(shown).hexdigest()

    def flush(self) -> None:
        """Write what the link has to say, and wake when it next has something to do."""
        transport = self._transport
        if transport is None:
            return
        output = self.link.take_output()
        if output and not transport.is_closing():
            transport.write(output)
        if self.link.is_over:
            transport.close()  # after what was written
            return
        due = self.link.due
        if self._timer is not None and self._due <= due:
            return  # it wakes early enough, and then sees
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._tick) if due != float("inf") else None

    def rest(self) -> None:
        """Read nothing more for a moment: whoever sends more than it may costs little, and others do not feel it."""
        if self._rest is None and not self.is_stalled and self._transport is not None:
            self._transport.pause_reading()
            self._rest = self._loop.call_later(_REST_S, self._rested)

    def _rested(self) -> None:
        self._rest = None
        if not self.is_stalled:
            self._read_on()

    def leave(self) -> None:
        """Finish what was begun, then close."""
        self._happened(self.link.leave(self._loop.time()))

    def abort(self) -> None:
        """Close at once; what is unwritten is dropped."""
        if self._transport is not None:
            self._transport.abort()

    # -- within

    def _tick(self) -> None:
        self._timer = None
        self._happened(self.link.tick(self._loop.time()))

    def _happened(self, events: Sequence[Event]) -> None:
        if events:
            self._handler(self, events)
        self.flush()
