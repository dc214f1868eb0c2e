"""Hypothesis makes PDUs from their declarations: each field with any value that it can hold on the wire."""

from __future__ import annotations

from typing import Any, TypeVar

from hypothesis import strategies as st

from mingbai.protocols.pdu import Field, Kind, Layout

L = TypeVar("L", bound=Layout)


def values(field: Field, **own: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:  # Any: what fields hold
    """What one field can hold. `own`: by name, for fields with functions of their own."""
    made: st.SearchStrategy[Any]
    match field.kind:
        case Kind.UINT | Kind.COMMAND:
            made = st.integers(0, 256**field.width - 1)
        case Kind.UINTS:
            made = st.tuples(*[st.integers(0, 256**field.width - 1)] * field.times)
        case Kind.OCTETS:
            made = _texts(field.width)
        case Kind.EXACTLY:
            made = st.binary(min_size=field.width, max_size=field.width)
        case Kind.MANY:
            made = st.lists(_texts(field.width), max_size=6).map(tuple)
        case Kind.SIZED:
            made = st.binary(max_size=255)
        case Kind.CSTRING:
            made = st.binary(max_size=field.width - 1).map(lambda text: text.replace(b"\0", b"."))
        case Kind.TLVS:
            made = st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=40)), max_size=5).map(tuple)
        case Kind.REMAINDER:
            made = st.binary(max_size=60)
        case Kind.SURPLUS:
            made = st.just(b"")
        case Kind.OWN:
            made = own[field.name]
    return st.one_of(st.none(), made) if field.optional else made


def _texts(width: int) -> st.SearchStrategy[bytes]:
    """What is read has no NUL at its end; within it garbage may follow one."""
    return st.binary(max_size=width).map(lambda text: text.rstrip(b"\0"))


def pdus(cls: type[L], **own: st.SearchStrategy[Any]) -> st.SearchStrategy[L]:  # Any: as above
    """Objects of a declared class that can be written."""
    return st.builds(cls, **{field.name: values(field, **own) for field in cls.FIELDS})
