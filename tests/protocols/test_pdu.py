from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.kernel.errors import BadValue
from mingbai.protocols.pdu import (
    BrokenStream,
    Codec,
    Frames,
    Header,
    Layout,
    MalformedPdu,
    Pdu,
    Tlv,
    any_command,
    cstring,
    exactly,
    many,
    octets,
    own,
    pdu,
    reference,
    remainder,
    sized,
    text_of,
    tlv,
    tlvs,
    uint,
    uints,
)
from tests.protocols.strategies import pdus

HEADER = Header("TEST", octets=16, most=1000)


def read_pairs(frame: bytes, at: int) -> tuple[tuple[int, ...], int]:
    count = frame[at]
    found = tuple(frame[at + 1 + k] for k in range(count))
    return found, at + 1 + count


@pdu(header=HEADER)
class Base(Pdu):
    status: int = uint(4)
    sequence: int = uint(4)


@pdu(1)
class Everything(Base):
    """One field of each kind."""

    small: int = uint(1, 7)
    name: bytes = octets(5)
    triple: tuple[int, int, int] = uints(2, 3)
    digest: bytes = exactly(4, secret=True)
    numbers: tuple[bytes, ...] = many(3)
    between: int = uint(1)
    address: bytes = cstring(8)
    ton: int = uint(1)
    npi: int = uint(1)
    password: bytes = cstring(9, secret=True)
    pairs: tuple[int, ...] = own(read_pairs, lambda v: bytes((len(v), *v)))
    content: bytes = sized(length=2)
    reserve: bytes = octets(2)
    tlvs: tuple[Tlv, ...] = tlvs()


@pdu(2)
class Short(Base):
    """All of it may be absent."""

    text: bytes | None = cstring(5, optional=True)
    number: int | None = uint(2, optional=True)
    name: bytes | None = octets(3, optional=True)


@pdu()
class Other(Base):
    command: int = any_command()
    body: bytes = remainder()


CODEC: Codec[Base] = Codec(HEADER, [Everything, Short], Other)
OWN = {"pairs": st.lists(st.integers(0, 255), max_size=4).map(tuple)}


# ------------------------------------------------------------------------------------------------------------- frames
def frame(body: bytes) -> bytes:
    return (len(body) + 4).to_bytes(4, "big") + body


BODIES = st.lists(st.binary(min_size=4, max_size=60), max_size=12)


@given(BODIES, st.data())
def test_a_stream_that_is_cut_anywhere_gives_the_same_frames(bodies: list[bytes], data: st.DataObject) -> None:
    whole = [frame(body) for body in bodies]
    stream = b"".join(whole)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    frames = Frames(8, 100)
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += frames.feed(stream[begin:end])
    assert found == whole
    assert frames.waiting == 0


def test_frames_come_octet_by_octet_too() -> None:
    whole = [frame(b"abcd"), frame(bytes(90))]
    frames = Frames(8, 100)
    assert [found for octet in b"".join(whole) for found in frames.feed(bytes((octet,)))] == whole


@pytest.mark.parametrize("length", [0, 7, 101, 2**32 - 1])
def test_a_length_that_no_frame_has_breaks_the_stream_and_keeps_the_frames_before_it(length: int) -> None:
    frames = Frames(8, 100)
    with pytest.raises(BrokenStream, match=f"got {length}, expected 8 to 100") as caught:
        frames.feed(frame(b"abcd") + length.to_bytes(4, "big") + b"more")
    assert caught.value.frames == [frame(b"abcd")]
    with pytest.raises(BrokenStream) as again:
        frames.feed(frame(b"abcd"))
    assert again.value.frames == []


# --------------------------------------------------------------------------------------------------------------- PDUs
def is_sayable(message: Short) -> bool:
    """Behind an absent field there is none."""
    values = [message.text, message.number, message.name]
    absent = [value is None for value in values]
    return absent == sorted(absent)


@given(st.one_of(pdus(Everything, **OWN), pdus(Short).filter(is_sayable), pdus(Other).filter(lambda p: p.command > 2)))
def test_what_is_written_is_read_again(message: Base) -> None:
    written = message.encode()
    assert int.from_bytes(written[:4], "big") == len(written)
    assert CODEC.decode(written) == message


@given(pdus(Everything, **OWN), st.binary(max_size=3))
def test_surplus_octets_are_kept(message: Everything, rest: bytes) -> None:
    message.rest = rest
    found = CODEC.decode(message.encode())
    assert found.rest == rest
    assert found.encode() == message.encode()


@given(pdus(Everything, **OWN), st.data())
def test_each_truncation_names_a_field_or_leaves_the_surplus(message: Everything, data: st.DataObject) -> None:
    written = message.encode()
    size = data.draw(st.integers(16, len(written) - 1))
    cut = size.to_bytes(4, "big") + written[4:size]
    error = fault_of(cut)
    if error is None:
        assert CODEC.decode(cut).encode() == cut
    else:
        assert error.data["protocol"] == "TEST"
        assert error.data["pdu"] == "Everything"
        assert str(error.data["field"]).split()[0] in {f.name for f in Everything.FIELDS}
        assert (error.command, error.sequence) == (1, message.sequence)


def fault_of(cut: bytes) -> MalformedPdu | None:
    try:
        CODEC.decode(cut)
    except MalformedPdu as error:
        return error
    return None


def test_nothing_follows_a_field_that_is_absent() -> None:
    with pytest.raises(BadValue, match="text: got None, expected a value, for number behind it has one"):
        Short(text=None, number=1, name=None).encode()
    with pytest.raises(BadValue, match="name: got None, expected a value, for rest behind it has one"):
        Short(text=b"a", number=1, name=None, rest=b"x").encode()
    assert len(Short(text=None, number=None, name=None).encode()) == 16


@pytest.mark.parametrize(
    ("octets_given", "field"),
    [
        (b"", "length"),
        (bytes(15), "length"),
        (bytes.fromhex("00000011 00000001 00000000 00000005"), "length"),
        (bytes.fromhex("00000010 00000001 00000000 00000005"), "small"),
        (bytes.fromhex("00000013 00000002 00000000 00000005 313233"), "text"),
        (bytes.fromhex("00000018 00000002 00000000 00000005 31323334353637 00"), "text"),
    ],
)
def test_what_does_not_add_up_is_named(octets_given: bytes, field: str) -> None:
    with pytest.raises(MalformedPdu) as caught:
        CODEC.decode(octets_given)
    assert caught.value.data["field"] == field


def test_a_count_beyond_the_frame_is_not_believed() -> None:
    written = bytearray(Everything(sequence=9).encode())
    written[16 + 1 + 5 + 6 + 4] = 200
    with pytest.raises(MalformedPdu, match="numbers: got 600, expected at most 10 octets"):
        CODEC.decode(bytes(written))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"small": 256}, "small: got 256, expected an integer from 0 to 255"),
        ({"small": None}, "small: got None"),
        ({"name": b"123456"}, "name: got b'123456', expected at most 5 octets"),
        ({"name": "text"}, "name: got 'text'"),
        ({"triple": (1, 2)}, "triple: got .*3 integers from 0 to 65535"),
        ({"digest": b"123"}, "digest: got '3 octets', expected 4 octets"),
        ({"numbers": (b"1", b"1234")}, "numbers: got .*at most 255 texts of at most 3 octets"),
        ({"numbers": (b"1",) * 256}, "numbers: got"),
        ({"address": b"12345678"}, "address: got .*at most 7 octets without a NUL"),
        ({"address": b"1\0"}, "address: got"),
        ({"password": b"secretsecret"}, "password: got '12 octets'"),
        ({"content": bytes(65536)}, "content: got '65536 octets', expected at most 65535 octets"),
        ({"content": bytes(999)}, "length: got 'Everything', expected a PDU of at most 1000 octets"),
        ({"tlvs": ((1, "x"),)}, "tlvs: got"),
        ({"rest": None}, "rest: got None, expected octets"),
        ({"sequence": -1}, "sequence: got -1"),
    ],
)
def test_what_does_not_fit_is_refused_and_never_cut(fields: dict[str, object], said: str) -> None:
    with pytest.raises(BadValue, match=said):
        Everything(**fields).encode()  # type: ignore[arg-type]  # wrong ones, on purpose


def test_errors_and_repr_show_no_secret() -> None:
    message = Everything(password=b"hunter2", digest=b"\xaa\xbb\xcc\xdd")
    assert "hunter2" not in repr(message)
    assert "password=<7 octets>" in repr(message)
    assert "\\xaa" not in repr(message)
    assert "small=7" in repr(message)


def test_a_command_without_a_declaration_goes_out_as_it_came() -> None:
    given_octets = bytes.fromhex("00000013 80000077 00000001 00000002 616200")
    found = CODEC.decode(given_octets)
    assert found == Other(command=0x80000077, status=1, sequence=2, body=b"ab\0")
    assert found.is_response
    assert found.encode() == given_octets


def test_pdus_are_slotted_values() -> None:
    message = Everything(sequence=3, name=b"a")
    assert message == Everything(sequence=3, name=b"a") != Everything(sequence=3)
    assert message != Short(sequence=3)
    assert pickle.loads(pickle.dumps(message)) == copy.copy(message) == message
    with pytest.raises(AttributeError):
        message.nonsense = 1  # type: ignore[attr-defined]  # that is the test
    with pytest.raises(TypeError):
        Everything(nonsense=1)  # type: ignore[call-arg]  # as above


def test_a_declaration_is_its_own_reference() -> None:
    rows = dict(reference(Everything))
    assert rows["sequence"] == "u4"
    assert rows["name"] == "s5"
    assert rows["numbers"] == "u1 count, s3 each"
    assert rows["content"] == "u2 length, octets"
    assert dict(reference(Short))["number"] == "u2 (may be absent)"


def test_a_layout_needs_no_header() -> None:
    @pdu()
    class Inside(Layout):
        number: int = uint(8)
        name: bytes = octets(3)

    assert Inside(number=1, name=b"ab").encode() == b"\0\0\0\0\0\0\0\1ab\0"
    assert Inside.decode(b"\0\0\0\0\0\0\0\1ab\0more") == Inside(number=1, name=b"ab", rest=b"more")
    with pytest.raises(MalformedPdu, match="name: got 3, expected at most 1 octets"):
        Inside.decode(b"\0\0\0\0\0\0\0\1a")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"106900001234", "106900001234"),
        (b" 13800138000 \0\0garbage", "13800138000"),
        (b"\0\0", ""),
        ("短信".encode("gb18030"), "短信"),
        (b"caf\xe9", "café"),
    ],
)
def test_a_field_says_what_stands_before_its_first_nul(raw: bytes, text: str) -> None:
    assert text_of(raw) == text


def test_an_optional_parameter_is_found_by_its_tag() -> None:
    found = ((1, b"a"), (2, b"b"), (1, b"c"))
    assert tlv(found, 1) == b"a"
    assert tlv(found, 3) is None
