"""Identifiers: UUID version 7 (RFC 9562, section 5.7), which sort by the time they were made.

Layout, most significant bit first: 48 bits of Unix time in milliseconds, version 7, 12 bits, variant 10, 62 bits.
The last two fields hold a 42-bit counter and 32 random bits. Within one millisecond the counter steps up, which keeps
the ids of one source strictly increasing (RFC 9562, section 6.2, method 1; the same widths as CPython 3.14's
`uuid.uuid7`). A new millisecond starts the counter at a random value whose top bit is 0: hard to guess, and room for
2^41 ids. When the clock steps back the last millisecond stays in use, and when the counter is full the next one is
borrowed, as the RFC allows; order is worth more here than the exact millisecond.

Nothing here reads a clock: `now` is an argument.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from mingbai.kernel.clock import from_micros, to_micros
from mingbai.kernel.errors import BadValue

_COUNTER_BITS = 42
_RANDOM_BITS = 32
_COUNTER_FULL = (1 << _COUNTER_BITS) - 1
_LAST_MILLISECOND = (1 << 48) - 1


def uuid7(millisecond: int, counter: int, random: int) -> UUID:
    """Put one UUIDv7 together from its parts: Unix time in ms (48 bits), counter (42 bits), random (32 bits).

    Raises BadValue for a part that does not fit.
    """
    for field, value, limit in (
        ("millisecond", millisecond, _LAST_MILLISECOND),
        ("counter", counter, _COUNTER_FULL),
        ("random", random, (1 << _RANDOM_BITS) - 1),
    ):
        if not 0 <= value <= limit:
            raise BadValue(field=field, value=value, expected=f"a whole number from 0 to {limit}")
    high = (millisecond << 16) | (0x7 << 12) | (counter >> 30)
    low = (0b10 << 62) | ((counter & 0x3FFF_FFFF) << _RANDOM_BITS) | random
    return UUID(int=(high << 64) | low)


def time_of(identifier: UUID) -> datetime:
    """When a UUIDv7 says that it was made (UTC, whole milliseconds). Raises BadValue for another version."""
    if identifier.version != 7:
        raise BadValue(field="id", value=str(identifier), expected="a UUID of version 7")
    return from_micros((identifier.int >> 80) * 1000, "id")


class IdSource:
    """Makes ids that strictly increase. One per writer: it is neither shared between threads nor between processes."""

    def __init__(self, random_bits: Callable[[int], int] = secrets.randbits) -> None:
        """`random_bits(n)` gives n random bits; pass `random.Random(seed).getrandbits` for repeatable ids."""
        self._random_bits = random_bits
        self._millisecond = -1
        self._counter = 0

    def new(self, now: datetime) -> UUID:
        """The next id. Raises BadValue if `now` has no time zone or lies before 1970."""
        millisecond = to_micros(now) // 1000
        if millisecond > self._millisecond:
            self._restart(millisecond)
        elif self._counter == _COUNTER_FULL:
            self._restart(self._millisecond + 1)
        else:
            self._counter += 1
        return uuid7(self._millisecond, self._counter, self._random_bits(_RANDOM_BITS))

    def _restart(self, millisecond: int) -> None:
        self._millisecond = millisecond
        self._counter = self._random_bits(_COUNTER_BITS - 1)
