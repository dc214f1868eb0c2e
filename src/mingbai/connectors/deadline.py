"""A time limit for a whole conversation with a peer.

A socket's own timeout counts from byte to byte, so that a peer who sends one now and then holds us for ever. Here the
connection is shut down when the time is over, whatever is being waited for.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Deadline:
    """`watch` what shall end in time; `is_over` tells afterwards whether that was why it ended."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._watched: list[socket.socket] = []

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def watch(self, connection: socket.socket) -> None:
        # A second descriptor of it: shutting that down ends the connection, whatever TLS has wrapped around the first.
        self._watched.append(connection.dup())

    def _end(self) -> None:
        self._over.set()
        for connection in list(self._watched):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # the other side was faster
                pass

    def _close(self) -> None:
        for connection in self._watched:
            connection.close()


@contextmanager
def within(seconds: float) -> Iterator[Deadline]:
    """`with within(20) as deadline: … deadline.watch(connection)`."""
    deadline = Deadline()
    timer = threading.Timer(seconds, deadline._end)
    timer.daemon = True
    timer.start()
    try:
        yield deadline
    finally:
        timer.cancel()
        timer.join()
        deadline._close()
