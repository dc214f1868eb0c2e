"""How a field of a PDU is declared: `msg_id: int = uint(8)`, `src_id: bytes = octets(21)`.

Each of these functions says how the field lies in the frame. They give `Any`, so that the attribute has the type that
its annotation says.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Tlv = tuple[int, bytes]


class Kind(enum.Enum):
    """How a field lies in the frame."""

    UINT = "integer"
    UINTS = "integers"
    OCTETS = "octets, NUL-padded"
    EXACTLY = "octets"
    MANY = "count, then octets each"
    SIZED = "length, then octets"
    CSTRING = "octets to a NUL"
    TLVS = "TLVs"
    REMAINDER = "octets to the end"
    OWN = "own"
    COMMAND = "command"
    SURPLUS = "surplus"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a declaration. `width` counts octets (of an item, of many), `prefix` those of a count or length."""

    kind: Kind
    width: int = 0
    prefix: int = 0
    times: int = 1
    default: object = None
    optional: bool = False
    secret: bool = False
    read: Callable[[bytes, int], tuple[Any, int]] | None = None  # Any: whatever the field holds
    write: Callable[[Any], bytes] | None = None  # Any: as above
    name: str = ""

    @property
    def is_fixed(self) -> bool:
        return self.kind in (Kind.UINT, Kind.UINTS, Kind.OCTETS, Kind.EXACTLY) and not self.optional

    @property
    def wire(self) -> str:
        """How tables write it: u4, s21, 3 x u4, u1 + s21 each, ..."""
        match self.kind:
            case Kind.UINT | Kind.COMMAND:
                said = f"u{self.width}"
            case Kind.UINTS:
                said = f"{self.times} x u{self.width}"
            case Kind.OCTETS:
                said = f"s{self.width}"
            case Kind.EXACTLY:
                said = f"{self.width} octets"
            case Kind.MANY:
                said = f"u{self.prefix} count, s{self.width} each"
            case Kind.SIZED:
                said = f"u{self.prefix} length, octets"
            case Kind.CSTRING:
                said = f"c{self.width}"
            case _:
                said = self.kind.value
        return f"{said} (may be absent)" if self.optional else said


def uint(width: int, default: int | None = 0, *, optional: bool = False) -> Any:
    """An unsigned integer of 1, 2, 4 or 8 octets. Absent, where that is allowed, is None."""
    return Field(Kind.UINT, width, default=default, optional=optional)


def uints(width: int, times: int) -> Any:
    """A tuple of integers, one after the other."""
    return Field(Kind.UINTS, width, times=times, default=(0,) * times)


def octets(width: int, default: bytes | None = b"", *, optional: bool = False, secret: bool = False) -> Any:
    """Text of fixed width: without the NULs at its end in the attribute, padded with them on the wire.

    Garbage behind an inner NUL stays, for it has to go out again; `text_of` reads what was meant.
    """
    return Field(Kind.OCTETS, width, default=default, optional=optional, secret=secret)


def exactly(width: int, *, secret: bool = False) -> Any:
    """As many octets as said, kept whole: digests, packed numbers."""
    return Field(Kind.EXACTLY, width, default=bytes(width), secret=secret)


def many(width: int, *, count: int = 1) -> Any:
    """A count of so many octets, then a tuple of texts of fixed width."""
    return Field(Kind.MANY, width, prefix=count, default=())


def sized(*, length: int = 1) -> Any:
    """A length of so many octets, then the content."""
    return Field(Kind.SIZED, prefix=length, default=b"")


def cstring(most: int, default: bytes | None = b"", *, optional: bool = False, secret: bool = False) -> Any:
    """Text that ends at a NUL; `most` counts the NUL too."""
    return Field(Kind.CSTRING, most, default=default, optional=optional, secret=secret)


def tlvs() -> Any:
    """Optional parameters to the end of the frame, in their order, known or not: ((tag, value), ...)."""
    return Field(Kind.TLVS, default=())


def remainder() -> Any:
    """All octets to the end of the frame."""
    return Field(Kind.REMAINDER, default=b"")


def own(read: Callable[[bytes, int], tuple[Any, int]], write: Callable[[Any], bytes], default: object = ()) -> Any:
    """A field with functions of its own: `read(frame, at)` gives the value and where it ends, `write` its octets.

    `read` may raise IndexError or struct.error where the frame ends too early, `write` BadValue.
    """
    return Field(Kind.OWN, default=default, read=read, write=write)


def any_command() -> Any:
    """The command of a PDU that has no declaration."""
    return Field(Kind.COMMAND, 4, default=0)


def surplus() -> Any:
    """What stands behind the last field."""
    return Field(Kind.SURPLUS, default=b"")


def tlv(found: tuple[Tlv, ...], tag: int) -> bytes | None:
    """The first value with this tag."""
    for each, value in found:
        if each == tag:
            return value
    return None


def text_of(raw: bytes) -> str:
    """What a field of fixed width says: to its first NUL, without blanks around it.

    Never raises. Fields are ASCII by every standard; what is not is GB18030 in the field, or else taken octet by octet.
    """
    if raw.isalnum():  # nearly always: digits
        return raw.decode("ascii")
    said = raw.partition(b"\0")[0].strip()
    try:
        return said.decode("ascii" if said.isascii() else "gb18030")
    except UnicodeDecodeError:
        return said.decode("latin-1")
