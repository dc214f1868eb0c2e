from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mingbai.kernel.errors import BadValue
from mingbai.protocols.long_messages import (
    Element,
    Joined,
    Joiner,
    Mark,
    MarkKind,
    Outcome,
    Part,
    UserDataHeader,
    limit_of,
    part_of,
    parts_of,
    parts_of_octets,
    pieces_of,
)
from mingbai.protocols.text import Coding, Encoding, Flag, coding_of, decode
from tests.protocols.test_text import TEXTUAL, alphabet

T = TypeVar("T")
UCS2 = coding_of("cmpp", 8)
BINARY = coding_of("cmpp", 4)


# -------------------------------------------------------------------------------------------------- user data header
def test_a_published_part() -> None:
    # github.com/hujm2023/go-sms-protocol longsms_test.go
    part = part_of(bytes.fromhex("050003120202" + "61" * 30), BINARY, has_header=True)
    assert part.mark == Mark(MarkKind.UDH_8, ref=0x12, total=2, number=2)
    assert part.payload == b"a" * 30


def test_a_mark_of_16_bits_and_what_stands_beside_it() -> None:
    content = bytes.fromhex("11 05 04 0b84 23f0 70 01 00 08 04 1234 03 01 22 00") + b"payload"
    part = part_of(content, BINARY, has_header=True)
    assert part.mark == Mark(MarkKind.UDH_16, 0x1234, 3, 1)
    assert part.header is not None
    assert part.header.ports == (2948, 9200)  # WAP push
    assert part.header.is_for_sim
    assert [element.id for element in part.header.elements] == [0x05, 0x70, 0x08, 0x22]
    assert bytes(part.header) + part.payload == content
    assert not part.is_readable


@given(st.binary(max_size=60))
def test_a_header_that_can_be_read_keeps_its_octets(content: bytes) -> None:
    part = part_of(content, UCS2, has_header=True)
    assert part.content == content
    if part.header is None:
        assert part.is_damaged
        assert part.payload == content
        assert not part.is_readable
    else:
        assert bytes(part.header) + part.payload == content
    assert part.mark is None or part.mark.is_sound


@pytest.mark.parametrize("content", ["", "05", "050003120202"[:10], "0500 05 12 02 02", "01 00", "04 00 03 12 02"])
def test_a_damaged_header_is_said_and_nothing_is_lost(content: str) -> None:
    octets = bytes.fromhex(content)
    with pytest.raises(BadValue, match="user data header"):
        UserDataHeader.parse(octets)
    assert part_of(octets, UCS2, has_header=True).is_damaged


@pytest.mark.parametrize("mark", ["12 00 01", "12 02 00", "12 02 03"])
def test_a_mark_that_cannot_be_is_no_mark(mark: str) -> None:
    part = part_of(bytes.fromhex("05 00 03" + mark) + b"hi", BINARY, has_header=True)
    assert part.mark is None
    assert part.payload == b"hi"


def test_the_header_is_believed_before_what_stands_beside_it() -> None:
    beside = Mark(MarkKind.COUNT, 0, 3, 1)
    content = bytes.fromhex("050003120202") + b"hi"
    with_header = part_of(content, BINARY, has_header=True, beside=beside)
    assert with_header.mark == Mark(MarkKind.UDH_8, 0x12, 2, 2)
    sar = Mark(MarkKind.SAR, 700, 2, 1)
    assert part_of(b"hi", BINARY, has_header=False, beside=sar).mark == sar
    assert part_of(b"hi", BINARY, has_header=False, beside=Mark(MarkKind.COUNT, 0, 1, 1)).mark is None


def test_a_mark_that_no_header_holds_is_refused() -> None:
    for mark in (Mark(MarkKind.UDH_8, 256, 2, 1), Mark(MarkKind.UDH_16, 65536, 2, 1), Mark(MarkKind.SAR, 1, 2, 1)):
        with pytest.raises(BadValue, match="reference"):
            UserDataHeader.of(mark)
    with pytest.raises(BadValue, match="part: got '3 of 2'"):
        UserDataHeader.of(Mark(MarkKind.UDH_8, 1, 2, 3))


# --------------------------------------------------------------------------------------------------------------- split
@pytest.mark.parametrize(
    ("encoding", "alone", "part", "wide_part"),
    [
        (Encoding.UCS2, 70, 67, 66),
        (Encoding.GSM7, 160, 153, 152),
        (Encoding.GSM7_PACKED, 160, 153, 152),
        (Encoding.ASCII, 160, 153, 152),
        (Encoding.LATIN1, 140, 134, 133),
        (Encoding.GB18030, 140, 134, 133),
    ],
)
def test_what_fits(encoding: Encoding, alone: int, part: int, wide_part: int) -> None:
    coding = Coding(encoding, 0)
    assert len(parts_of("x" * alone, coding, 1)) == 1
    assert len(parts_of("x" * (alone + 1), coding, 1)) == 2
    assert len(parts_of("x" * 2 * part, coding, 1)) == 2
    assert len(parts_of("x" * (2 * part + 1), coding, 1)) == 3
    assert len(parts_of("x" * 2 * wide_part, coding, 1, is_wide=True)) == 2
    assert len(parts_of("x" * (2 * wide_part + 1), coding, 1, is_wide=True)) == 3


def test_no_character_is_cut() -> None:
    assert pieces_of("a" + "😀" * 40, Encoding.UCS2, 134) == ["a" + "😀" * 33, "😀" * 7]
    assert pieces_of("a" + "€" * 90, Encoding.GSM7, 153) == ["a" + "€" * 76, "€" * 14]
    assert pieces_of("a" + "您" * 80, Encoding.GB18030, 134) == ["a" + "您" * 66, "您" * 14]
    assert pieces_of("aa" + "𠀀" * 40, Encoding.GB18030, 134) == ["aa" + "𠀀" * 33, "𠀀" * 7]
    with pytest.raises(BadValue, match="limit: got 3"):
        pieces_of("😀😀", Encoding.UCS2, 3)


@pytest.mark.parametrize("encoding", TEXTUAL, ids=lambda encoding: encoding.name)
@given(data=st.data())
def test_a_text_that_was_cut_and_joined_is_the_same(encoding: Encoding, data: st.DataObject) -> None:
    coding = Coding(encoding, 8)
    text = "".join(data.draw(alphabet(encoding)) for _ in range(4)) * data.draw(st.integers(1, 12))
    if encoding is Encoding.UCS2 and "\ufffe" in text:
        return  # at the head of a content it is a byte order mark
    is_packed = encoding is Encoding.GSM7_PACKED
    if is_packed:
        text = text.replace("\r", "")  # at the end of a part it may come back as two
    is_wide = data.draw(st.booleans())
    others = data.draw(st.sampled_from([(), (Element(0x05, b"\x0b\x84\x23\xf0"),)]))
    contents = parts_of(text, coding, data.draw(st.integers(0, 255)), is_wide=is_wide, others=others)
    parts = [part_of(content, coding, has_header=len(contents) > 1 or bool(others)) for content in contents]
    room = 160 if encoding in (Encoding.GSM7, Encoding.ASCII) else 140
    assert all(len(content) <= room for content in contents)
    assert "".join(part.text.text for part in parts) == text  # each is readable alone
    assert all(part.text.is_exact for part in parts)
    assert all(part.header is None or part.header.elements[-len(others) :] == others for part in parts if others)
    if len(parts) > 1:
        joiner: Joiner[int] = Joiner()
        order = data.draw(st.permutations(range(len(parts))))
        left = [gone for place in order for gone in joiner.add("a", "1069", "138", parts[place], place, 0.0)]
        assert [joined.outcome for joined in left] == [Outcome.COMPLETE]
        assert left[0].text.text == text
        assert left[0].text.is_exact
        assert [held.token for held in left[0].held] == list(order)
        assert [part.content for part in left[0].parts.values()] == contents


def test_packed_septets_never_leave_their_part() -> None:
    packed = Coding(Encoding.GSM7_PACKED, 0)
    for text in ("x" * 159 + "\r", ("x" * 152 + "\r") * 3, "\r" * 400):
        contents = parts_of(text, packed, 1)
        assert all(len(content) <= 140 for content in contents)
        read = "".join(part_of(content, packed, has_header=len(contents) > 1).text.text for content in contents)
        assert read.replace("\r", "") == text.replace("\r", "")


@given(st.binary(max_size=1000), st.booleans())
def test_octets_are_cut_and_joined(payload: bytes, is_wide: bool) -> None:
    contents = parts_of_octets(payload, 9, is_wide=is_wide)
    parts = [part_of(content, BINARY, has_header=len(contents) > 1) for content in contents]
    assert b"".join(part.payload for part in parts) == payload
    assert all(len(content) <= 140 for content in contents)


def test_more_than_255_parts_are_refused() -> None:
    assert len(parts_of("x" * 67 * 255, UCS2, 1)) == 255
    with pytest.raises(BadValue, match="parts: got 256"):
        parts_of("x" * (67 * 255 + 1), UCS2, 1)
    with pytest.raises(BadValue, match="header elements"):
        parts_of("x", UCS2, 1, others=[Element(0x70, bytes(130))])
    assert limit_of(Encoding.UCS2, 7) == 132


# ---------------------------------------------------------------------------------------------------------------- join
def ucs2_parts(text: str, ref: int = 1) -> list[Part]:
    return [part_of(content, UCS2, has_header=True) for content in parts_of(text, UCS2, ref)]


def add(joiner: Joiner[T], key: str, part: Part, token: T, now_s: float) -> list[Joined[T]]:
    """Account, source and destination have one letter each."""
    return joiner.add(key[0], key[1], key[2], part, token, now_s)


LONG = "【银行】您的积分即将过期，请登录领取😀" * 10


def test_parts_come_out_of_order_and_twice() -> None:
    first, second, third = ucs2_parts(LONG)
    joiner: Joiner[str] = Joiner()
    assert joiner.add("a", "1069", "138", third, "link 1", 0.0) == []
    assert joiner.add("a", "1069", "138", third, "link 1 again", 1.0) == []
    assert joiner.add("a", "1069", "138", first, "link 2", 2.0) == []
    (joined,) = joiner.add("a", "1069", "138", second, "link 1", 3.0)
    assert (joined.outcome, joined.missing, joined.text.text) == (Outcome.COMPLETE, (), LONG)
    assert [held.token for held in joined.held] == ["link 1", "link 1 again", "link 2", "link 1"]
    assert len(joiner) == joiner.octets == 0


def test_others_messages_are_not_mixed_up() -> None:
    one, two = ucs2_parts("甲" * 100), ucs2_parts("乙" * 100)
    three = ucs2_parts("丙" * 200)  # the same reference, another total
    joiner: Joiner[None] = Joiner()
    for part, key in ((one[0], "ab1"), (two[0], "ab2"), (two[0], "ac1"), (two[0], "bb1"), (three[0], "ab1")):
        assert add(joiner, key, part, None, 0.0) == []
    (joined,) = add(joiner, "ab1", one[1], None, 0.0)
    assert joined.text.text == "甲" * 100
    assert len(joiner) == 4


def test_a_reference_that_is_used_again_begins_anew() -> None:
    old, new = ucs2_parts("旧" * 100), ucs2_parts("新" * 100)
    joiner: Joiner[str] = Joiner()
    add(joiner, "abc", old[0], "old 1", 0.0)
    (given_up,) = add(joiner, "abc", new[0], "new 1", 5.0)
    assert (given_up.outcome, given_up.missing) == (Outcome.REUSED, (2,))
    (joined,) = add(joiner, "abc", new[1], "new 2", 6.0)
    assert joined.text.text == "新" * 100


def test_what_never_becomes_whole_is_given_up_in_time() -> None:
    parts = ucs2_parts(LONG)
    joiner: Joiner[str] = Joiner(timeout_s=60)
    add(joiner, "abc", parts[0], "1", 0.0)
    add(joiner, "abc", parts[2], "3", 59.0)  # a later part gives no more time
    add(joiner, "xyz", parts[1], "2", 30.0)
    assert joiner.next_deadline_s == 60.0
    assert joiner.expire(59.9) == []
    (joined,) = joiner.expire(60.0)
    assert (joined.outcome, joined.missing) == (Outcome.EXPIRED, (2,))
    assert joined.text.text == parts[0].text.text + "\n" + parts[2].text.text
    assert joiner.next_deadline_s == 90.0
    (late,) = add(joiner, "abc", parts[1], "2", 1000.0)  # adding, too, gives up what is over
    assert late.text.text == "\n" + parts[1].text.text + "\n"
    assert [joined.outcome for joined in joiner.drain()] == [Outcome.EXPIRED]
    assert joiner.next_deadline_s is None


def test_above_the_cap_the_oldest_goes_first() -> None:
    part = ucs2_parts(LONG)[0]
    probe: Joiner[int] = Joiner()
    add(probe, "abc", part, 0, 0.0)
    joiner: Joiner[int] = Joiner(max_octets=3 * probe.octets)
    left: list[Joined[int]] = []
    for number in range(5):
        left += joiner.add("a", "b", str(number), part, number, float(number))
        assert joiner.octets <= 3 * probe.octets
    assert [(joined.assembly.destination, joined.outcome) for joined in left] == [
        ("0", Outcome.EVICTED),
        ("1", Outcome.EVICTED),
    ]


def test_the_cap_is_one_of_memory(loops: Callable[[int], int]) -> None:
    contents = parts_of(LONG, UCS2, 7)
    joiner: Joiner[tuple[int]] = Joiner()
    count = loops(20_000)
    tracemalloc.start()
    try:
        for number in range(2 * count):
            content = bytes(bytearray(contents[number // count]))  # octets of its own
            part = part_of(content, UCS2, has_header=True)
            joiner.add("account", "1069", f"138{number % count:08d}", part, (number,), 0.0)
        measured, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(joiner) == count
    assert 0.7 * measured < joiner.octets < 1.5 * measured


def test_a_character_that_the_sender_cut_is_whole_again() -> None:
    octets = "您好😀再见".encode("utf-16-be")
    for cut in range(1, len(octets)):
        parts = [
            part_of(bytes((5, 0, 3, 1, 2, number)) + half, UCS2, has_header=True)
            for number, half in ((1, octets[:cut]), (2, octets[cut:]))
        ]
        joiner: Joiner[None] = Joiner()
        add(joiner, "abc", parts[0], None, 0.0)
        (joined,) = add(joiner, "abc", parts[1], None, 0.0)
        assert joined.text.text == "您好😀再见"
        assert joined.text.is_exact


def test_parts_in_different_codings_are_read_each_in_its_own() -> None:
    ascii_coding = coding_of("cmpp", 0)
    head = part_of(bytes((5, 0, 3, 1, 3, 1)) + "您".encode("utf-16-be"), UCS2, has_header=True)
    middle = part_of(bytes((5, 0, 3, 1, 3, 2)) + b"http", ascii_coding, has_header=True)
    tail = part_of(bytes((5, 0, 3, 1, 3, 3)) + b"data", BINARY, has_header=True)
    joiner: Joiner[None] = Joiner()
    add(joiner, "abc", tail, None, 0.0)
    add(joiner, "abc", head, None, 0.0)
    (joined,) = add(joiner, "abc", middle, None, 0.0)
    assert joined.text.text == "您http"
    assert joined.text.flags == Flag.BINARY


def test_a_part_without_a_mark_is_refused() -> None:
    joiner: Joiner[None] = Joiner()
    with pytest.raises(BadValue, match="a part of a long message"):
        add(joiner, "abc", part_of(b"hi", BINARY, has_header=False), None, 0.0)
    for name in ("timeout_s", "max_octets"):
        wrong: dict[str, Any] = {name: 0}  # Any: arguments of two types
        with pytest.raises(BadValue, match=name):
            Joiner(**wrong)


class JoinerMachine(RuleBasedStateMachine):
    """Parts of many messages, in any order, again and again: each token leaves exactly once, and nothing is mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.joiner: Joiner[int] = Joiner(timeout_s=10, max_octets=12_000)
        self.now = 0.0
        self.inside: dict[int, tuple[str, int, int, bytes]] = {}
        self.tokens = 0

    def take(self, left: list[Joined[int]]) -> None:
        for joined in left:
            assert joined.held
            contents: dict[int, bytes] = {}
            for held in joined.held:
                destination, ref, number, content = self.inside.pop(held.token)
                assert destination == joined.assembly.destination
                assert ref == joined.assembly.ref
                assert number == held.number
                assert content == held.part.content
                assert contents.setdefault(number, content) == content
            assert list(joined.parts) == sorted(contents)
            assert bool(joined.missing) == (joined.outcome is not Outcome.COMPLETE)
            assert decode(b"", UCS2).text == ""

    @rule(
        destination=st.sampled_from("ab"),
        ref=st.integers(0, 2),
        total=st.integers(1, 3),
        number=st.integers(1, 3),
        body=st.sampled_from([b"one", b"two"]),
        step=st.sampled_from([0.0, 0.5, 4.0]),
    )
    def add(self, destination: str, ref: int, total: int, number: int, body: bytes, step: float) -> None:
        self.now += step
        number = min(number, total)
        content = bytes((5, 0, 3, ref, total, number)) + body
        self.tokens += 1
        self.inside[self.tokens] = (destination, ref, number, content)
        part = part_of(content, BINARY, has_header=True)
        self.take(self.joiner.add("account", "1069", destination, part, self.tokens, self.now))

    @rule(step=st.sampled_from([1.0, 11.0]))
    def expire(self, step: float) -> None:
        self.now += step
        self.take(self.joiner.expire(self.now))
        assert self.joiner.next_deadline_s is None or self.joiner.next_deadline_s > self.now

    @rule()
    def drain(self) -> None:
        self.take(self.joiner.drain())
        assert not self.inside

    @invariant()
    def within_the_cap(self) -> None:
        assert self.joiner.octets <= 12_000
        assert (self.joiner.octets == 0) == (not self.inside)


TestJoiner = JoinerMachine.TestCase
TestJoiner.settings = settings(max_examples=30, stateful_step_count=40)


def test_many_messages_at_once_come_out_whole(seed: int, loops: Callable[[int], int]) -> None:
    rng = random.Random(seed)
    joiner: Joiner[None] = Joiner()
    texts = {str(number): f"{number}，" * rng.randrange(40, 90) for number in range(loops(2_000))}
    queue = [(name, part) for name, text in texts.items() for part in ucs2_parts(text, rng.randrange(256))]
    rng.shuffle(queue)
    for name, part in queue:
        if part.mark is None:
            assert part.text.text == texts.pop(name)
            continue
        for joined in joiner.add("account", "1069", name, part, None, 0.0):
            assert joined.text.text == texts.pop(joined.assembly.destination)
    assert not texts
