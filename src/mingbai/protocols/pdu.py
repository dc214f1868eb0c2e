"""The core of every codec: PDUs, each declared once as a class.

    @pdu(SUBMIT_RESP)
    class SubmitResp(CmppPdu):
        msg_id: int = uint(8)
        result: int = uint(1)

    for frame in frames.feed(data):           # whole frames, however the stream was cut
        message = codec.decode(frame)         # SubmitResp(sequence=7, msg_id=..., result=0)
        message.encode() == frame             # octet for octet, garbage behind a NUL and surplus octets included

One declaration gives decoding, encoding, defaults, equality, `repr` and a table for the reference. The decorator writes
one decoding and one encoding function per class, as `dataclasses` writes `__init__`: consecutive fields of fixed width
are one precompiled `struct.Struct`, and the frame is measured once, at its end. Only when that measure is wrong does
the slow walk (`_first_fault`, `_first_misfit`) look for the field to name.

Nothing here opens a socket, reads a clock or starts a task (as h11 does). Integers are unsigned and big-endian in all
four protocols. What comes from a peer is never trusted: a count or length inside a frame that points beyond it is a
`MalformedPdu`; what we are asked to send and does not fit is a `BadValue`, never cut to fit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, dataclass_transform

from mingbai.kernel.errors import BadValue
from mingbai.protocols.fields import (
    Field,
    Kind,
    Tlv,
    any_command,
    cstring,
    exactly,
    many,
    octets,
    own,
    remainder,
    sized,
    surplus,
    text_of,
    tlv,
    tlvs,
    uint,
    uints,
)
from mingbai.protocols.frames import LENGTH, BrokenStream, Frames, Header, MalformedPdu, ProtocolError, Sequence

if TYPE_CHECKING:
    from typing import Self

# What a module of a protocol takes from here, fields and frames with it.
__all__ = [
    "RESPONSE",
    "BrokenStream",
    "Codec",
    "Field",
    "Frames",
    "Header",
    "Kind",
    "Layout",
    "MalformedPdu",
    "Pdu",
    "ProtocolError",
    "Sequence",
    "Tlv",
    "any_command",
    "cstring",
    "exactly",
    "many",
    "octets",
    "own",
    "pdu",
    "reference",
    "remainder",
    "sized",
    "text_of",
    "tlv",
    "tlvs",
    "uint",
    "uints",
]

RESPONSE = 0x80000000  # a response's command is its request's with this bit, in all four protocols

_NUL = b"\0"
_LETTERS = {1: "B", 2: "H", 4: "I", 8: "Q"}


# ------------------------------------------------------------------------------------------------------- declarations
_T = TypeVar("_T")


@dataclass_transform(kw_only_default=True)
def pdu(command: int | None = None, *, header: Header | None = None) -> Callable[[type[_T]], type[_T]]:
    """Makes a declaration a slotted class with generated `__init__`, `decode` and `encode`.

    command: of a PDU; None for a layout inside another field, and for the class that the PDUs of a protocol share,
    which names the `header` and declares its fields after length and command.
    """

    def declare(cls: type[_T]) -> type[_T]:
        mine = {k: replace(v, name=k) for k, v in vars(cls).items() if isinstance(v, Field)}
        inherited: tuple[Field, ...] = getattr(cls, "FIELDS", ())
        fields = [f for f in (*inherited, *mine.values()) if f.kind is not Kind.SURPLUS]
        last = [f for f in (*inherited, *mine.values()) if f.kind is Kind.SURPLUS]
        body = {k: v for k, v in vars(cls).items() if k not in mine and k not in ("__dict__", "__weakref__")}
        body |= {"__slots__": tuple(mine), "FIELDS": (*fields, *last), "__qualname__": cls.__qualname__}
        if header is not None:
            body["HEADER"] = header
        if command is not None:
            body["command"] = command
        made: Any = type(cls.__name__, cls.__bases__, body)  # Any: the same class, but with slots, as dataclasses do it
        _generate(made)
        return made  # type: ignore[no-any-return]  # as above

    return declare


# --------------------------------------------------------------------------------------------------------- generation
def _generate(cls: type[Any]) -> None:  # Any: the class that is being made; its attributes are the fields
    fields: tuple[Field, ...] = cls.FIELDS
    names = [f.name for f in fields]
    scope: dict[str, Any] = {f"_d{k}": f.default for k, f in enumerate(fields)}  # Any: what generated code may name
    scope |= {"cls": cls, "Z": _NUL, "new": object.__new__, "Short": (struct.error, IndexError)}
    scope |= {"Wrong": (struct.error, TypeError, AttributeError, ValueError)}
    scope |= {"first_fault": _first_fault, "first_misfit": _first_misfit, "tlvs_in": _tlvs_in, "tlvs_out": _tlvs_out}
    signature = "".join(f", {name}=_d{k}" for k, name in enumerate(names))
    lines = [f"def __init__(self{', *' if names else ''}{signature}):"]
    lines += [f" self.{name} = {name}" for name in names] or [" pass"]
    lines += _decoding(cls, scope)
    lines += _encoding(cls, scope)
    exec("\n".join(lines), scope)  # noqa: S102 - of our own declarations, as `dataclasses` does
    scope["__init__"].__qualname__ = f"{cls.__qualname__}.__init__"
    cls.__init__ = scope["__init__"]
    cls.decode = staticmethod(scope["decode"])
    cls.encode = scope["encode"]


def _decoding(cls: type[Any], scope: dict[str, Any]) -> list[str]:  # Any: as in _generate
    """The function that reads a frame. Slices never raise, so one measure at the end finds every overrun before it."""
    header: Header | None = cls.HEADER
    lines: list[str] = []
    late: list[str] = []  # what follows the unpacking of a group
    targets, letters = (["length"], "I") if header else ([], "")
    at: int | str = 0
    serial = 0

    def unpack() -> None:
        nonlocal at, targets, letters
        if targets:
            form = struct.Struct(f">{letters}")
            if targets[0] != "length" and letters == "B":
                lines.append(f"  {targets[0]} = frame[{at}]")
            elif len(targets) == 1 and letters.endswith("s") and letters.count("s") == 1:
                lines.append(f"  {targets[0]} = frame[{at}:{_plus(at, form.size)}]")
            else:
                scope[name := f"unpack{len(scope)}"] = form.unpack_from
                comma = "," if len(targets) == 1 else ""
                lines.append(f"  {', '.join(targets)}{comma} = {name}(frame, {at})")
            if isinstance(at, int):
                at += form.size
            else:
                lines.append(f"  at += {form.size}")
        lines.extend(late)
        late.clear()
        targets, letters = [], ""

    def dynamic() -> None:
        nonlocal at
        if isinstance(at, int):
            lines.append(f"  at = {at}")
            at = "at"

    if header and not any(f.kind is Kind.COMMAND for f in cls.FIELDS):
        letters += "4x"
    fields = sorted(cls.FIELDS, key=lambda f: f.kind is not Kind.COMMAND)
    for field in fields:
        serial += 1
        me, var = f"self.{field.name}", f"v{serial}"
        if field.optional:
            unpack()
            dynamic()
            lines += [f"  if at == size: {me} = None", "  else:"]
            lines += [f" {line}" for line in _one_read(field, me, scope)]
            continue
        match field.kind:
            case Kind.UINT | Kind.COMMAND:
                targets.append(me)
                letters += _LETTERS[field.width]
            case Kind.UINTS:
                parts = [f"{var}_{k}" for k in range(field.times)]
                targets += parts
                letters += _LETTERS[field.width] * field.times
                late.append(f"  {me} = ({', '.join(parts)},)")
            case Kind.EXACTLY:
                targets.append(me)
                letters += f"{field.width}s"
            case Kind.OCTETS:
                targets.append(var)
                letters += f"{field.width}s"
                late.append(f"  {me} = {var}.rstrip(Z)")
            case Kind.MANY | Kind.SIZED:
                targets.append(var)
                letters += _LETTERS[field.prefix]
                unpack()
                if field.kind is Kind.SIZED:
                    lines += [f"  stop = {at} + {var}", f"  {me} = frame[{at}:stop]", "  at = stop"]
                else:
                    width = field.width
                    lines += [
                        f"  stop = {at} + {var} * {width}",
                        f"  if {var} == 1: {me} = (frame[{at}:stop].rstrip(Z),)",
                        # An untrusted count can be 2**32 where it has four octets.
                        *(["  elif stop > size: raise first_fault(cls, frame)"] if field.prefix > 1 else []),
                        f"  else: {me} = tuple([frame[i:i + {width}].rstrip(Z) for i in range({at}, stop, {width})])",
                        "  at = stop",
                    ]
                at = "at"
            case Kind.SURPLUS:
                unpack()
                lines.append(f"  {me} = frame[{at}:] if size > {at} else b''")
            case _:
                unpack()
                dynamic()
                lines += _one_read(field, me, scope)
    measure = f"size < {at}" + (" or length != size" if header else "")
    return [
        "def decode(frame):",
        " self = new(cls)",
        " size = len(frame)",
        " try:",
        *lines,
        " except Short: raise first_fault(cls, frame) from None",
        f" if {measure}: raise first_fault(cls, frame)",
        " return self",
    ]


def _one_read(field: Field, me: str, scope: dict[str, Any]) -> list[str]:  # Any: as in _generate
    """Lines that read one field at `at` and move it."""
    match field.kind:
        case Kind.CSTRING:
            return [
                f"  stop = frame.find(Z, at, at + {field.width})",
                "  if stop < 0: raise first_fault(cls, frame)",
                f"  {me} = frame[at:stop]",
                "  at = stop + 1",
            ]
        case Kind.UINT:
            return [f"  {me} = int.from_bytes(frame[at:at + {field.width}], 'big')", f"  at += {field.width}"]
        case Kind.OCTETS:
            return [f"  {me} = frame[at:at + {field.width}].rstrip(Z)", f"  at += {field.width}"]
        case Kind.TLVS:
            return [f"  {me}, at = tlvs_in(frame, at)"]
        case Kind.REMAINDER:
            return [f"  {me} = frame[at:]", "  at = max(at, size)"]
        case Kind.OWN:
            scope[name := f"read{len(scope)}"] = field.read
            return [f"  {me}, at = {name}(frame, at)"]
        case _:
            raise TypeError(f"{field.name}: {field.kind} cannot be absent")


def _plus(at: int | str, more: int) -> str:
    return str(at + more) if isinstance(at, int) else f"{at} + {more}"


def _encoding(cls: type[Any], scope: dict[str, Any]) -> list[str]:  # Any: as in _generate
    """The function that writes a frame. `struct` cuts what is too long, so widths are compared first."""
    header: Header | None = cls.HEADER
    before: list[str] = []  # lines that make pieces of no fixed length
    checks: list[str] = []
    pieces: list[str] = []  # terms of the sum that is the frame
    fixed = 0
    measured: list[str] = []
    absent: list[tuple[int, str]] = []
    values, letters = [], ""
    if header:
        values, letters = ["length"], "I"
        if not any(f.kind is Kind.COMMAND for f in cls.FIELDS):
            values.append(str(getattr(cls, "command", 0)))
            letters += "I"

    def pack() -> None:
        nonlocal values, letters, fixed
        if values:
            form = struct.Struct(f">{letters}")
            fixed += form.size
            scope[name := f"pack{len(scope)}"] = form.pack
            pieces.append(f"{name}({', '.join(values)})")
        values, letters = [], ""

    for k, field in enumerate(sorted(cls.FIELDS, key=lambda f: f.kind is not Kind.COMMAND)):
        me, var = f"self.{field.name}", f"v{k}"
        if field.is_fixed or field.kind is Kind.COMMAND:
            match field.kind:
                case Kind.UINTS:
                    values += [f"*{me}"]
                    letters += _LETTERS[field.width] * field.times
                case Kind.UINT | Kind.COMMAND:
                    values.append(me)
                    letters += _LETTERS[field.width]
                case _:
                    compare = ">" if field.kind is Kind.OCTETS else "!="
                    checks.append(f"len({var} := {me}) {compare} {field.width}")
                    values.append(var)
                    letters += f"{field.width}s"
            continue
        match field.kind:
            case Kind.MANY:
                width = field.width
                before += [
                    f"  {var}_n = len({me})",
                    f"  if {var}_n == 1: {var} = {me}[0].ljust({width}, Z)",
                    f"  else: {var} = b''.join([one.ljust({width}, Z) for one in {me}])",
                    f"  if len({var}) != {var}_n * {width}: raise first_misfit(self)",
                ]
                values.append(f"{var}_n")
                letters += _LETTERS[field.prefix]
                pack()
            case Kind.SIZED:
                before.append(f"  {var} = {me}")
                values.append(f"len({var})")
                letters += _LETTERS[field.prefix]
                pack()
            case Kind.SURPLUS:
                pack()
                before.append(f"  {var} = {me}")
            case _:
                pack()
                before += _one_write(field, me, var, scope)
        pieces.append(var)
        if field.optional:
            absent.append((len(pieces), me))
        measured.append(f"len({var})")
    for place, name in absent:  # what follows an absent field would be read as that field
        if later := [piece for piece in pieces[place:] if piece.startswith("v")]:
            before.append(f"  if {name} is None and ({' or '.join(later)}): raise first_misfit(self)")
    total = " + ".join([str(fixed), *measured])
    lines = ["def encode(self):", " try:", *before]
    if checks:
        lines.append(f"  if {' or '.join(checks)}: raise first_misfit(self)")
    if header:
        lines += [f"  length = {total}", f"  if length > {header.most}: raise first_misfit(self)"]
    lines += [f"  return {' + '.join(pieces)}", " except Wrong as error: raise first_misfit(self) from error"]
    return lines


def _one_write(field: Field, me: str, var: str, scope: dict[str, Any]) -> list[str]:  # Any: as in _generate
    """Lines that make one field's octets."""
    width = field.width
    match field.kind:
        case Kind.CSTRING:
            make = [f"{var} = {me} + Z", f"if len({var}) > {width} or Z in {me}: raise first_misfit(self)"]
        case Kind.UINT:
            make = [f"{var} = {me}.to_bytes({width}, 'big') if {me} >> {8 * width} == 0 else first_misfit(self)"]
        case Kind.OCTETS:
            make = [f"{var} = {me}.ljust({width}, Z)", f"if len({var}) > {width}: raise first_misfit(self)"]
        case Kind.TLVS:
            make = [f"{var} = tlvs_out({me})"]
        case Kind.REMAINDER:
            make = [f"{var} = {me}"]
        case _:
            scope[name := f"write{len(scope)}"] = field.write
            make = [f"{var} = {name}({me})"]
    if not field.optional:
        return [f"  {line}" for line in make]
    return [f"  if {me} is None: {var} = b''", "  else:", *(f"   {line}" for line in make)]


_TLV = struct.Struct(">HH")


def _tlvs_in(frame: bytes, at: int) -> tuple[tuple[Tlv, ...], int]:
    found: list[Tlv] = []
    last = len(frame) - 4
    while at <= last:
        tag, length = _TLV.unpack_from(frame, at)
        stop = at + 4 + length
        found.append((tag, frame[at + 4 : stop]))
        at = stop
    return tuple(found), at


def _tlvs_out(given: tuple[Tlv, ...]) -> bytes:
    return b"".join([_TLV.pack(tag, len(value)) + value for tag, value in given])


# --------------------------------------------------------------------------------------------------------- slow walks
def _first_fault(cls: type[Any], frame: bytes) -> MalformedPdu:  # Any: as in _generate
    """Says which field of a frame that could not be read is the first that does not fit."""
    header: Header | None = cls.HEADER
    size = len(frame)

    def fault(field: str, value: object, expected: str) -> MalformedPdu:
        data: dict[str, object] = {"protocol": "", "command": 0, "sequence": 0}
        if header:
            data = {
                "protocol": header.protocol,
                "command": header.command_of(frame),
                "sequence": header.sequence_of(frame),
            }
        return MalformedPdu(pdu=cls.__name__, field=field, value=value, expected=expected, **data)

    def beyond(field: Field, needed: int) -> MalformedPdu:
        return fault(field.name, needed, f"at most {max(0, size - at)} octets, what is left of the frame")

    if header and size < header.octets:
        return fault("length", size, f"at least {header.octets} octets")
    if header and LENGTH.unpack_from(frame)[0] != size:
        return fault("length", LENGTH.unpack_from(frame)[0], f"{size}, the octets of the frame")
    at = 8 if header else 0
    for field in cls.FIELDS:
        if field.kind in (Kind.COMMAND, Kind.SURPLUS) or (field.optional and at == size):
            continue
        needed = field.width * field.times
        match field.kind:
            case Kind.MANY | Kind.SIZED:
                if at + field.prefix > size:
                    return beyond(field, field.prefix)
                value = int.from_bytes(frame[at : at + field.prefix], "big")
                at += field.prefix
                needed = value * field.width if field.kind is Kind.MANY else value
            case Kind.CSTRING:
                stop = frame.find(_NUL, at, at + field.width)
                if stop < 0:
                    return fault(field.name, f"{size - at} octets", f"a NUL within {field.width} octets")
                needed = stop + 1 - at
            case Kind.TLVS:
                while at + 4 <= size:
                    tag, length = _TLV.unpack_from(frame, at)
                    at += 4
                    if at + length > size:
                        return fault(
                            f"{field.name} 0x{tag:04X}",
                            length,
                            f"at most {size - at} octets, what is left of the frame",
                        )
                    at += length
                needed = 0
            case Kind.OWN:
                assert field.read is not None
                try:
                    needed = field.read(frame, at)[1] - at
                except (IndexError, struct.error):
                    return beyond(field, size - at + 1)
            case _:
                pass
        if at + needed > size:
            return beyond(field, needed)
        at += needed
    return fault("rest", size - at, "a frame that the fields fill")


def _first_misfit(pdu: Layout) -> BadValue:
    """Says which field of a PDU that could not be written holds what it must not."""
    absent = ""
    for field in pdu.FIELDS:
        value = getattr(pdu, field.name, None)
        if value is None and field.optional:
            absent = absent or field.name
            continue
        if absent and (field.optional or value):
            return BadValue(field=absent, value=None, expected=f"a value, for {field.name} behind it has one")
        if (expected := _misfit(field, value)) is None:
            continue
        if field.kind is Kind.MANY and isinstance(value, tuple):
            value = f"{len(value)} texts"  # numbers of people, as a rule
        if isinstance(value, bytes) and (field.secret or field.kind is Kind.SIZED):
            value = f"{len(value)} octets"  # errors are logged, secrets and texts of messages are not
        return BadValue(field=field.name, value=value, expected=expected)
    most = pdu.HEADER.most if pdu.HEADER else 0
    return BadValue(field="length", value=type(pdu).__name__, expected=f"a PDU of at most {most} octets")


def _misfit(field: Field, value: object) -> str | None:
    """What was expected where it is not so."""
    width = field.width
    match field.kind:
        case Kind.UINT | Kind.COMMAND:
            return None if _is_uint(value, width) else f"an integer from 0 to {256**width - 1}"
        case Kind.UINTS:
            fits = isinstance(value, tuple) and len(value) == field.times and all(_is_uint(v, width) for v in value)
            return None if fits else f"{field.times} integers from 0 to {256**width - 1}"
        case Kind.OCTETS:
            return None if isinstance(value, bytes) and len(value) <= width else f"at most {width} octets"
        case Kind.EXACTLY:
            return None if isinstance(value, bytes) and len(value) == width else f"{width} octets"
        case Kind.CSTRING:
            fits = isinstance(value, bytes) and len(value) < width and _NUL not in value
            return None if fits else f"at most {width - 1} octets without a NUL"
        case Kind.SIZED:
            most = 256**field.prefix - 1
            return None if isinstance(value, bytes) and len(value) <= most else f"at most {most} octets"
        case Kind.MANY:
            most = 256**field.prefix - 1
            fits = isinstance(value, tuple) and len(value) <= most
            fits = fits and all(isinstance(v, bytes) and len(v) <= width for v in value)  # type: ignore[attr-defined]  # a tuple
            return None if fits else f"at most {most} texts of at most {width} octets"
        case Kind.TLVS:
            fits = isinstance(value, tuple) and all(_is_tlv(each) for each in value)
            return None if fits else "pairs of a tag and at most 65535 octets"
        case Kind.REMAINDER | Kind.SURPLUS:
            return None if isinstance(value, bytes) else "octets"
        case _:
            return None


def _is_uint(value: object, width: int) -> bool:
    return isinstance(value, int) and 0 <= value < 256**width


def _is_tlv(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    tag, content = value
    return _is_uint(tag, 2) and isinstance(content, bytes) and len(content) < 65_536


# ------------------------------------------------------------------------------------------------ layouts, PDUs, codecs
@pdu()
class Layout:
    """A declared run of fields. `rest` holds what stood behind the last one."""

    FIELDS: ClassVar[tuple[Field, ...]]
    HEADER: ClassVar[Header | None] = None
    rest: bytes = surplus()

    if TYPE_CHECKING:  # generated

        @classmethod
        def decode(cls, frame: bytes) -> Self:
            """Raises MalformedPdu."""

        def encode(self) -> bytes:
            """Raises BadValue."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, f.name) == getattr(other, f.name) for f in self.FIELDS)

    __hash__ = None  # type: ignore[assignment]  # values can be changed, as of a dataclass with eq

    def __repr__(self) -> str:
        said = []
        for field in self.FIELDS:
            value = getattr(self, field.name)
            if field.kind is not Kind.SURPLUS or value:
                shown = f"<{len(value)} octets>" if field.secret and value is not None else repr(value)
                said.append(f"{field.name}={shown}")
        return f"{type(self).__name__}({', '.join(said)})"


class Pdu(Layout):
    """A layout behind a header. Each protocol makes its own class of this one, with its header's fields."""

    __slots__ = ()
    command: int
    sequence: Sequence

    @property
    def is_response(self) -> bool:
        return self.command >= RESPONSE


def reference(cls: type[Layout]) -> list[tuple[str, str]]:
    """The declaration as rows of a table: name and how it is written on the wire."""
    return [(f.name, f.wire) for f in cls.FIELDS if f.kind is not Kind.SURPLUS]


_P = TypeVar("_P", bound=Pdu)


class Codec(Generic[_P]):
    """The PDUs of one version of a protocol. A command without a declaration becomes `unknown`, and goes out as is."""

    __slots__ = ("_decoders", "_unknown", "header", "pdus")

    def __init__(self, header: Header, pdus: Iterable[type[_P]], unknown: type[_P]) -> None:
        self.header = header
        self.pdus = {each.command: each for each in pdus}
        self._decoders = {LENGTH.pack(command): each.decode for command, each in self.pdus.items()}
        self._unknown = unknown.decode

    def refusal(self, error: MalformedPdu, code: int) -> _P | None:
        """The response to a request that could not be read, with that code where it has a place for one.

        None for what is no request that we know: two peers that answer each other's responses would never end.
        """
        response = self.pdus.get(error.command | RESPONSE)
        if error.command & RESPONSE or response is None:
            return None
        made = response()
        made.sequence = error.sequence
        for name in ("status", "result", "success_id"):
            if hasattr(made, name):
                setattr(made, name, code)
        return made

    def decode(self, frame: bytes) -> _P:
        """Raises MalformedPdu."""
        return self._decoders.get(frame[4:8], self._unknown)(frame)
