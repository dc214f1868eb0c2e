"""Frames cut from a stream by the length in their first four octets, headers, and what a peer can do wrong.

A length that no frame can have breaks the stream: the next frame cannot be found. A whole frame with a wrong inside
breaks nothing but itself. (h11 makes the same difference between an error of the connection and one of a message.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from mingbai.kernel.errors import MingbaiError

Sequence = int | tuple[int, int, int]  # SGIP has three words, the others one

LENGTH = struct.Struct(">I")
_WORDS = struct.Struct(">3I")


class ProtocolError(MingbaiError):
    """The peer broke the protocol."""

    code = "protocol_error"


class BrokenStream(ProtocolError):
    """A length that no frame can have. The frames behind it cannot be found: close the link.

    `frames` holds the whole frames that stood before it in the same octets.
    """

    code = "broken_stream"
    template = "length of a frame: got {value}, expected {least} to {most}"

    def __init__(self, *, frames: Iterable[bytes] = (), **data: object) -> None:
        super().__init__(**data)
        self.frames = list(frames)


class MalformedPdu(ProtocolError):
    """A whole frame whose inside does not add up. The link can go on: answer with the protocol's structure error.

    data: protocol, pdu, field, value, expected; and for the answer `command` and `sequence`.
    """

    code = "malformed_pdu"
    template = "{protocol} {pdu}, {field}: got {value}, expected {expected}"

    @property
    def command(self) -> int:
        return self.data["command"]  # type: ignore[return-value]  # `data` is typed for every error at once

    @property
    def sequence(self) -> Sequence:
        return self.data["sequence"]  # type: ignore[return-value]  # as above


class Frames:
    """Cuts a stream into frames by the length in their first four octets.

    header, most: the shortest and the longest frame, in octets. Memory is bounded by `most` and one chunk.
    """

    __slots__ = ("_header", "_kept", "_most", "_wanted")

    def __init__(self, header: int, most: int) -> None:
        self._header, self._most = header, most
        self._kept = bytearray()
        self._wanted = 4  # octets to wait for: of a length, or of the frame that it begins

    @property
    def waiting(self) -> int:
        """Octets of a frame that has begun."""
        return len(self._kept)

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are whole now. Raises BrokenStream, again at each further call."""
        kept = self._kept
        if kept:
            kept += data  # in place: a peer that sends octet by octet costs no copy of the frame for each
            if len(kept) < self._wanted:
                return []
            data = bytes(kept)
            kept.clear()
        frames: list[bytes] = []
        keep = frames.append
        header, most, size, length_at = self._header, self._most, len(data), LENGTH.unpack_from
        at, last = 0, size - 4
        self._wanted = 4
        while at <= last:
            (length,) = length_at(data, at)
            if not header <= length <= most:
                self._kept += data[at:]
                raise BrokenStream(value=length, least=header, most=most, frames=frames)
            stop = at + length
            if stop > size:
                self._wanted = length
                break
            keep(data[at:stop])
            at = stop
        if at < size:
            kept += data[at:]
        return frames


@dataclass(frozen=True, slots=True)
class Header:
    """What every PDU of a protocol begins with: length, command, (SMPP: status), sequence.

    octets: of the whole header; most: of the longest PDU to accept; words: of the sequence, the header's last.
    """

    protocol: str
    octets: int
    most: int
    words: int = 1

    def frames(self) -> Frames:
        """One for each direction of each link."""
        return Frames(self.octets, self.most)

    def command_of(self, frame: bytes) -> int:
        return int.from_bytes(frame[4:8], "big")

    def sequence_of(self, frame: bytes) -> Sequence:
        """Zeros where the frame is shorter than a header."""
        whole = frame[: self.octets].ljust(self.octets, b"\0")
        if self.words == 3:
            first, second, third = _WORDS.unpack_from(whole, self.octets - 12)
            return first, second, third
        return int.from_bytes(whole[-4:], "big")
