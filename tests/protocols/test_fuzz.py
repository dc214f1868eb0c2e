"""Whatever a peer sends, a codec raises only what it says: BrokenStream for a stream, MalformedPdu for a frame."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from mingbai.protocols import cmpp, sgip, smgp
from mingbai.protocols.pdu import BrokenStream, Codec, MalformedPdu, Pdu

NUMBERS = (b"13800138000", b"8613900139000")
SAMPLES: dict[str, tuple[Codec[Pdu], list[bytes]]] = {}


def samples(name: str, codec: Codec[Pdu], *more: Pdu) -> None:
    """One PDU of each declaration with its defaults, and some that are full."""
    SAMPLES[name] = (codec, [each().encode() for each in codec.pdus.values()] + [each.encode() for each in more])


REPORT = smgp.Report(bytes(10), 1, 1, "0" * 10, "0" * 10, "DELIVRD", "000")
CONTENT = "验证码 482913".encode("utf-16-be")
samples(
    "cmpp2",
    cmpp.CODEC_2,  # type: ignore[arg-type]  # read only: a codec of a protocol's PDUs is one of PDUs
    cmpp.Submit2(dest_terminal_id=NUMBERS, msg_fmt=8, msg_content=CONTENT),
    cmpp.Deliver2(registered_delivery=1, msg_content=cmpp.Report2(stat=b"DELIVRD").encode()),
)
samples("cmpp3", cmpp.CODEC_3, cmpp.Submit3(dest_terminal_id=NUMBERS, msg_content=CONTENT))  # type: ignore[arg-type]  # as above
samples("sgip", sgip.CODEC, sgip.Submit(user_number=NUMBERS, message_content=CONTENT), sgip.Report())  # type: ignore[arg-type]  # as above
samples(
    "smgp",
    smgp.CODEC,  # type: ignore[arg-type]  # as above
    smgp.Submit(dest_term_id=NUMBERS, msg_content=CONTENT, tlvs=((2, b"\1"), (16, b"900001\0\0"))),
    smgp.Deliver(is_report=1, msg_content=smgp.format_report(REPORT)),
)
samples("smgp13", smgp.CODEC_13, smgp.Submit13(dest_term_id=NUMBERS, msg_content=CONTENT))  # type: ignore[arg-type]  # as above


def mutated(rnd: random.Random, frame: bytes) -> bytes:
    """A frame with octets changed, cut or added; in most cases the length still says the truth, to get inside."""
    octets = bytearray(frame)
    for _ in range(rnd.choice((1, 1, 2, 5, 20))):
        match rnd.randrange(4):
            case 0:
                octets[rnd.randrange(len(octets))] = rnd.choice((0, 1, 0x7F, 0x80, 0xFF, rnd.randrange(256)))
            case 1 if len(octets) > 21:
                del octets[rnd.randrange(8, len(octets)) :]
            case 2:
                at = rnd.randrange(8, len(octets) + 1)
                octets[at:at] = rnd.randbytes(rnd.randrange(1, 30))
            case _:
                octets += rnd.randbytes(rnd.randrange(1, 9))
    if rnd.random() < 0.9:
        octets[:4] = len(octets).to_bytes(4, "big")
    return bytes(octets)


def shown(frame: bytes, codec: Codec[Pdu]) -> bool:
    """Whether it could be read; then it goes out as it came."""
    try:
        found = codec.decode(frame)
    except MalformedPdu as error:
        repr(error), str(error), error.command, error.sequence
        return False
    assert found.encode() == frame, frame.hex()
    assert repr(found)
    return True


@pytest.mark.parametrize("name", SAMPLES)
def test_frames_that_were_changed(name: str, seed: int, loops: Callable[[int], int]) -> None:
    codec, whole = SAMPLES[name]
    rnd = random.Random(f"{seed}-{name}")
    assert all(shown(frame, codec) for frame in whole)
    outcomes = [shown(mutated(rnd, rnd.choice(whole)), codec) for _ in range(loops(50_000))]
    assert any(outcomes)
    assert not all(outcomes)


@pytest.mark.parametrize("name", SAMPLES)
def test_frames_of_random_octets(name: str, seed: int, loops: Callable[[int], int]) -> None:
    codec, _ = SAMPLES[name]
    rnd = random.Random(f"{seed}-{name}-random")
    for _ in range(loops(50_000)):
        body = rnd.choice(list(codec.pdus)).to_bytes(4, "big") + rnd.randbytes(rnd.randrange(300))
        shown((len(body) + 4).to_bytes(4, "big") + body, codec)
        shown(rnd.randbytes(rnd.randrange(60)), codec)


@pytest.mark.parametrize("name", SAMPLES)
def test_streams_that_were_changed(name: str, seed: int, loops: Callable[[int], int]) -> None:
    """The same octets give the same frames, or break at the same place, however they were cut."""
    codec, whole = SAMPLES[name]
    rnd = random.Random(f"{seed}-{name}-streams")
    for _ in range(loops(3_000)):
        stream = bytearray(b"".join(rnd.choices(whole, k=rnd.randrange(1, 9))))
        for _ in range(rnd.randrange(3)):
            stream[rnd.randrange(len(stream))] = rnd.randrange(256)
        cuts = sorted(rnd.randrange(len(stream) + 1) for _ in range(rnd.randrange(9)))
        assert fed(codec, [bytes(stream)]) == fed(
            codec, [bytes(stream[a:b]) for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        )


def fed(codec: Codec[Pdu], chunks: list[bytes]) -> tuple[list[bytes], bool]:
    """The frames, and whether the stream broke."""
    frames = codec.header.frames()
    found: list[bytes] = []
    for chunk in chunks:
        try:
            found += frames.feed(chunk)
        except BrokenStream as broken:
            return found + broken.frames, True
    return found, False
