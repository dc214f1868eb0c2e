"""Long messages: the user data header, cutting a text into parts, and joining parts that come as they please.

A part carries its mark (reference, total, number) in a user data header at the head of its content, or beside it
(SMPP's sar_* TLVs). Screening judges the joined text, so parts wait in a `Joiner` until they are whole; it gives back
each part as it came, octet for octet and with whatever the caller needs to answer it, because parts are never
re-numbered: the sender matches its receipts to each of them.

Nothing here waits, reads a clock or starts a task: the caller says what time it is, and asks `expire`.

Rules: 3GPP TS 23.040 9.2.3.24 (header; .1 and .8 the marks), SMPP 3.4 5.3.2.22 to 24. A header element that we do not
know (ports, WAP push, USIM download) keeps its octets and its place.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mingbai.kernel.errors import BadValue
from mingbai.protocols.text import Coding, Encoding, Flag, Text, decode, encode, octets_of

MAX_PARTS = 255  # total and number are one octet each
_CONCATENATED_8, _CONCATENATED_16 = 0x00, 0x08
_PORTS_8, _PORTS_16 = 0x04, 0x05
_SIM_TOOLKIT = range(0x70, 0x80)
# What one message holds over the air: 140 octets, or 160 septets (3GPP TS 23.040 9.2.3.24).
_OCTETS, _SEPTETS = 140, 160


class MarkKind(enum.Enum):
    """Where the mark stood. References of different kinds never belong together."""

    UDH_8 = "8-bit reference"
    UDH_16 = "16-bit reference"
    SAR = "sar_* TLVs"
    COUNT = "pk_total and pk_number"  # CMPP and SMGP without a header: there is no reference


@dataclass(frozen=True, slots=True)
class Mark:
    """Part `number` of `total` (both from 1) of the message `ref`."""

    kind: MarkKind
    ref: int
    total: int
    number: int

    @property
    def is_sound(self) -> bool:
        """A receiver ignores a mark with a zero or a number above the total (3GPP TS 23.040 9.2.3.24.1)."""
        return 1 <= self.number <= self.total <= MAX_PARTS


# -------------------------------------------------------------------------------------------------- user data header
@dataclass(frozen=True, slots=True)
class Element:
    """One information element, as it came."""

    id: int
    data: bytes

    @property
    def mark(self) -> Mark | None:
        """The mark that this element is, sound or not; None for every other element."""
        if self.id == _CONCATENATED_8 and len(self.data) == 3:
            return Mark(MarkKind.UDH_8, self.data[0], self.data[1], self.data[2])
        if self.id == _CONCATENATED_16 and len(self.data) == 4:
            return Mark(MarkKind.UDH_16, int.from_bytes(self.data[:2]), self.data[2], self.data[3])
        return None

    @property
    def ports(self) -> tuple[int, int] | None:
        """Destination and source port (WAP push goes to 2948); None for every other element."""
        size = {_PORTS_8: 1, _PORTS_16: 2}.get(self.id)
        if size is None or len(self.data) != 2 * size:
            return None
        return int.from_bytes(self.data[:size]), int.from_bytes(self.data[size:])


@dataclass(frozen=True, slots=True)
class UserDataHeader:
    """The elements in their order. `bytes()` gives back what was parsed."""

    elements: tuple[Element, ...]

    def __bytes__(self) -> bytes:
        body = b"".join(bytes((element.id, len(element.data))) + element.data for element in self.elements)
        if len(body) > 255 or any(len(element.data) > 255 for element in self.elements):
            raise BadValue(field="user data header", value=f"{len(body)} octets", expected="at most 255 octets")
        return bytes((len(body),)) + body

    @property
    def mark(self) -> Mark | None:
        """The last sound mark: of an element that repeats, the last one counts (3GPP TS 23.040 9.2.3.24)."""
        marks = [element.mark for element in self.elements]
        return next((mark for mark in reversed(marks) if mark is not None and mark.is_sound), None)

    @property
    def ports(self) -> tuple[int, int] | None:
        return next((element.ports for element in reversed(self.elements) if element.ports is not None), None)

    @property
    def is_for_sim(self) -> bool:
        """Commands for the SIM toolkit: a firewall cannot read them (3GPP TS 23.048)."""
        return any(element.id in _SIM_TOOLKIT for element in self.elements)

    @property
    def fill_bits(self) -> int:
        """Bits between the header and the first of packed septets (3GPP TS 23.040 9.2.3.24)."""
        return -8 * len(bytes(self)) % 7

    @classmethod
    def of(cls, mark: Mark, others: Iterable[Element] = ()) -> UserDataHeader:
        """A header with this mark first, then the others. Raises BadValue for a mark that no header can hold."""
        if not mark.is_sound:
            raise BadValue(field="part", value=f"{mark.number} of {mark.total}", expected="1 to 255, within the total")
        if mark.kind is MarkKind.UDH_8 and 0 <= mark.ref <= 0xFF:
            element = Element(_CONCATENATED_8, bytes((mark.ref, mark.total, mark.number)))
        elif mark.kind is MarkKind.UDH_16 and 0 <= mark.ref <= 0xFFFF:
            element = Element(_CONCATENATED_16, mark.ref.to_bytes(2) + bytes((mark.total, mark.number)))
        else:
            raise BadValue(
                field="reference", value=f"{mark.ref}, {mark.kind.value}", expected="8 or 16 bits, for a header"
            )
        return cls((element, *others))

    @classmethod
    def parse(cls, content: bytes) -> tuple[UserDataHeader, bytes]:
        """The header at the head of the content, and what follows. Raises BadValue if an element leaves its bounds."""
        end = 1 + content[0] if content else 1
        if end > len(content):
            raise BadValue(
                field="user data header", value=content[:16].hex(" "), expected="its length within the content"
            )
        elements, place = [], 1
        while place < end:
            size = content[place + 1] if place + 1 < end else end
            if place + 2 + size > end:
                raise BadValue(
                    field="user data header", value=content[:end].hex(" "), expected="each element within the header"
                )
            elements.append(Element(content[place], content[place + 2 : place + 2 + size]))
            place += 2 + size
        return cls(tuple(elements)), content[end:]


@dataclass(frozen=True, slots=True)
class Part:
    """One content, taken apart. `content` is what came; `payload` is without the header."""

    content: bytes
    coding: Coding
    payload: bytes
    header: UserDataHeader | None = None
    mark: Mark | None = None
    is_damaged: bool = False  # it says that there is a header, and there is none that can be read

    @property
    def text(self) -> Text:
        """This part alone."""
        return decode(self.payload, self.coding, self.header.fill_bits if self.header else 0)

    @property
    def is_readable(self) -> bool:
        """Text for people. What is not (binary, SIM commands, ports, damage) the firewall must flag."""
        if self.is_damaged or self.coding.encoding is Encoding.BINARY or self.coding.is_compressed:
            return False
        return self.header is None or not (self.header.is_for_sim or self.header.ports)


def part_of(content: bytes, coding: Coding, *, has_header: bool, beside: Mark | None = None) -> Part:
    """Take a content apart; never raises.

    has_header: TP_udhi, or 0x40 in esm_class. beside: a mark that stood outside of the content (sar_* TLVs, pk_total),
    used where the header has none: of two that disagree, the header's is the one that handsets go by.
    """
    outside = beside if beside is not None and beside.is_sound and beside.total > 1 else None
    if not has_header:
        return Part(content, coding, content, mark=outside)
    try:
        header, payload = UserDataHeader.parse(content)
    except BadValue:
        return Part(content, coding, content, mark=outside, is_damaged=True)
    return Part(content, coding, payload, header, header.mark or outside)


# --------------------------------------------------------------------------------------------------------------- split
def limit_of(encoding: Encoding, header_octets: int = 0) -> int:
    """Units that one message holds behind a header: septets (ASCII counts as such: it is sent as GSM 7-bit) or octets.

    6 octets of header leave 153 septets, 134 octets, 67 UCS-2 characters; none leaves 160, 140, 70.
    """
    room = _OCTETS - header_octets
    if encoding in (Encoding.GSM7, Encoding.GSM7_PACKED, Encoding.ASCII):
        return room * 8 // 7 if header_octets else _SEPTETS
    return room & ~1 if encoding is Encoding.UCS2 else room


def pieces_of(text: str, encoding: Encoding, limit: int) -> list[str]:
    """Cut a text so that no piece needs more units than the limit (see `limit_of`).

    Never inside a surrogate pair, an escape pair of GSM 7-bit or a character of several octets. Raises BadValue naming
    a character that does not fit, and for a limit that a character exceeds.
    """
    counted = Encoding.GSM7 if encoding is Encoding.GSM7_PACKED else encoding
    whole = encode(text, Coding(counted, 0))
    if len(whole) + (encoding is Encoding.GSM7_PACKED and text.endswith("\r")) <= limit:
        return [text]
    sizes = {character: len(octets_of(character, counted)) for character in set(text)}
    if max(sizes.values()) > limit:
        raise BadValue(field="limit", value=limit, expected=f"room for a character of {encoding.value}")
    pieces, begin, used = [], 0, 0
    for place, character in enumerate(text):
        size = sizes[character]
        # Packed septets that end in a carriage return on an octet's boundary get one more (3GPP TS 23.038 6.1.2.3.1).
        reserve = encoding is Encoding.GSM7_PACKED and character == "\r"
        if used and used + size + reserve > limit:
            pieces.append(text[begin:place])
            begin, used = place, 0
        used += size
    return [*pieces, text[begin:]]


def parts_of(
    text: str, coding: Coding, ref: int, *, is_wide: bool = False, others: Sequence[Element] = ()
) -> list[bytes]:
    """The contents that carry a text: one without a mark if it fits, otherwise parts with their headers in front.

    ref: the reference of this message, 8 bits, or 16 if `is_wide`. others: header elements that each part repeats.
    Raises BadValue for a character that does not fit, and above 255 parts.
    """
    narrow, wide = _rooms(coding.encoding, is_wide, others)
    pieces = pieces_of(text, coding.encoding, narrow)
    if len(pieces) > 1:
        pieces = pieces_of(text, coding.encoding, wide)
    headers = _headers(len(pieces), ref, is_wide, others)
    return [
        (bytes(header) if header else b"") + encode(piece, coding, header.fill_bits if header else 0)
        for header, piece in zip(headers, pieces, strict=True)
    ]


def parts_of_octets(payload: bytes, ref: int, *, is_wide: bool = False, others: Sequence[Element] = ()) -> list[bytes]:
    """As `parts_of`, for binary data: 140 octets alone, 134 (133 with a 16-bit reference) a part."""
    narrow, wide = _rooms(Encoding.BINARY, is_wide, others)
    room = narrow if len(payload) <= narrow else wide
    pieces = [payload[place : place + room] for place in range(0, len(payload), room)] or [b""]
    headers = _headers(len(pieces), ref, is_wide, others)
    return [(bytes(header) if header else b"") + piece for header, piece in zip(headers, pieces, strict=True)]


def _rooms(encoding: Encoding, is_wide: bool, others: Sequence[Element]) -> tuple[int, int]:
    """What fits into the only message, and into one of several."""
    repeated = sum(2 + len(element.data) for element in others)
    alone = 1 + repeated if others else 0
    marked = 1 + (6 if is_wide else 5) + repeated
    if marked > _OCTETS - 4:  # room for the longest character: four octets of GB18030 or UTF-16
        raise BadValue(field="header elements", value=f"{repeated} octets", expected="room for text in each part")
    return limit_of(encoding, alone), limit_of(encoding, marked)


def _headers(total: int, ref: int, is_wide: bool, others: Sequence[Element]) -> list[UserDataHeader | None]:
    if total > MAX_PARTS:
        raise BadValue(field="parts", value=total, expected=f"at most {MAX_PARTS}")
    if total == 1:
        return [UserDataHeader(tuple(others)) if others else None]
    kind = MarkKind.UDH_16 if is_wide else MarkKind.UDH_8
    return [UserDataHeader.of(Mark(kind, ref, total, number), others) for number in range(1, total + 1)]


# ---------------------------------------------------------------------------------------------------------------- join
T = TypeVar("T")


class Outcome(enum.Enum):
    """Why parts leave the joiner."""

    COMPLETE = "complete"
    EXPIRED = "time limit"
    EVICTED = "memory cap"
    REUSED = "reference used again"  # a part with this number came before, and was another: a new message begins


@dataclass(frozen=True, slots=True)
class Assembly:
    """What parts of one message have in common. The reference alone repeats too soon: an 8-bit one after 256."""

    account: str
    source: str
    destination: str
    kind: MarkKind
    ref: int
    total: int


@dataclass(frozen=True, slots=True)
class Held(Generic[T]):
    """A part as it came. `token`: whatever the caller needs to answer it (its link and sequence)."""

    number: int
    part: Part
    token: T


@dataclass(frozen=True, slots=True)
class Joined(Generic[T]):
    """Parts that left together. `held`: all that came, in their order of arrival, repeated ones too."""

    assembly: Assembly
    outcome: Outcome
    held: tuple[Held[T], ...]

    @property
    def parts(self) -> dict[int, Part]:
        """Each part once, by its number, in order. Of copies, the first."""
        first: dict[int, Part] = {}
        for held in self.held:
            first.setdefault(held.number, held.part)
        return dict(sorted(first.items()))

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers of the parts that never came."""
        parts = self.parts
        return tuple(number for number in range(1, self.assembly.total + 1) if number not in parts)

    @property
    def text(self) -> Text:
        """What screening judges: the whole text, with a line break in the place of missing parts.

        Octets are joined before they are read, so that a character which a careless sender has cut in two is whole.
        Neighbours in different codings are read each in its own; packed septets begin anew in each part.
        """
        texts: list[Text] = []
        run, coding, last = b"", None, 0
        for number, part in self.parts.items():
            is_gap = number != last + 1
            is_packed = part.coding.encoding is Encoding.GSM7_PACKED
            if coding is not None and (is_gap or is_packed or part.coding != coding):
                texts.append(decode(run, coding))
                run, coding = b"", None
            if is_gap:
                texts.append(Text("\n", part.coding.encoding))
            if is_packed:
                texts.append(part.text)
            else:
                run, coding = run + part.payload, part.coding
            last = number
        if coding is not None:
            texts.append(decode(run, coding))
        if last < self.assembly.total:
            texts.append(Text("\n", texts[-1].encoding))
        flags = Flag(0)
        for text in texts:
            flags |= text.flags
        return Text("".join(text.text for text in texts), texts[-1].encoding, flags)


@dataclass(slots=True)
class _Pending(Generic[T]):
    deadline_s: float
    contents: dict[int, bytes]  # by number, the first that came
    held: list[Held[T]]
    octets: int


# Memory of the objects around a part's octets, and around a message, in CPython 3.11; a test measures them. They are
# counted, so that the cap is one of memory and not of payload.
PART_OVERHEAD_OCTETS = 600
MESSAGE_OVERHEAD_OCTETS = 700


class Joiner(Generic[T]):
    """Holds parts until their message is whole, for at most `timeout_s` from its first part.

    max_octets: memory for all that is held; above it the oldest message goes first, with what came of it. Times are
    seconds of any clock that never goes back. One joiner for an account keeps one sender's flood from others' parts.
    """

    def __init__(self, *, timeout_s: float = 60.0, max_octets: int = 64 << 20) -> None:
        if timeout_s <= 0:
            raise BadValue(field="timeout_s", value=timeout_s, expected="more than 0 seconds")
        if max_octets <= 0:
            raise BadValue(field="max_octets", value=max_octets, expected="more than 0 octets")
        self._timeout_s = timeout_s
        self._max_octets = max_octets
        # By the time of their first part. An OrderedDict gives up its oldest in constant time; a dict searches for it.
        self._pending: OrderedDict[Assembly, _Pending[T]] = OrderedDict()
        self._octets = 0

    def __len__(self) -> int:
        """Messages that wait for parts."""
        return len(self._pending)

    @property
    def octets(self) -> int:
        """Memory that held parts take, never above the cap between calls."""
        return self._octets

    @property
    def next_deadline_s(self) -> float | None:
        """When `expire` has something to give, if no part comes before."""
        return next(iter(self._pending.values())).deadline_s if self._pending else None

    def add(self, account: str, source: str, destination: str, part: Part, token: T, now_s: float) -> list[Joined[T]]:
        """Take in a part with a mark; give all that leaves now: what is complete, and what had to make room.

        An empty list means that the part waits. The same part again (same number, same octets) is kept as a copy, to
        be answered with the others. Raises BadValue for a part without a sound mark.
        """
        mark = part.mark
        if mark is None or not mark.is_sound:
            raise BadValue(field="part", value=mark, expected="a part of a long message, with a sound mark")
        leaving = self.expire(now_s)
        assembly = Assembly(account, source, destination, mark.kind, mark.ref, mark.total)
        pending = self._pending.get(assembly)
        if pending is not None and pending.contents.get(mark.number, part.content) != part.content:
            leaving.append(self._release(assembly, Outcome.REUSED))
            pending = None
        if pending is None:
            pending = self._pending[assembly] = _Pending(now_s + self._timeout_s, {}, [], MESSAGE_OVERHEAD_OCTETS)
            self._octets += MESSAGE_OVERHEAD_OCTETS
        weight = len(part.content) + len(part.payload) + PART_OVERHEAD_OCTETS
        pending.contents.setdefault(mark.number, part.content)
        pending.held.append(Held(mark.number, part, token))
        pending.octets += weight
        self._octets += weight
        if len(pending.contents) == mark.total:
            leaving.append(self._release(assembly, Outcome.COMPLETE))
        while self._octets > self._max_octets:
            leaving.append(self._release(next(iter(self._pending)), Outcome.EVICTED))
        return leaving

    def expire(self, now_s: float) -> list[Joined[T]]:
        """Give up all messages whose time is over, oldest first, with what came of them."""
        leaving = []
        while self._pending:
            assembly, pending = next(iter(self._pending.items()))
            if pending.deadline_s > now_s:
                break
            leaving.append(self._release(assembly, Outcome.EXPIRED))
        return leaving

    def drain(self) -> list[Joined[T]]:
        """Give up all that is held, oldest first: the gateway closes, and each part still gets its answer."""
        return [self._release(assembly, Outcome.EXPIRED) for assembly in list(self._pending)]

    def _release(self, assembly: Assembly, outcome: Outcome) -> Joined[T]:
        pending = self._pending.pop(assembly)
        self._octets -= pending.octets
        return Joined(assembly, outcome, tuple(pending.held))
