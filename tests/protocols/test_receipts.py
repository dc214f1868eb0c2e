from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.kernel.errors import BadValue
from mingbai.protocols.receipts import (
    FINAL_STATES,
    MESSAGE_STATE,
    NETWORK_ERROR_CODE,
    RECEIPTED_MESSAGE_ID,
    Ambiguous,
    IdMatcher,
    Match,
    Receipt,
    Relation,
    Sgip,
    State,
    canonical,
    format_receipt,
    parse_receipt,
    receipt_tlvs,
    response_forms,
    sgip_of,
    state_of_sgip,
    state_of_word,
    word_of,
)

CHINA = timezone(timedelta(hours=8))
NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


# ------------------------------------------------------------------------------------------------------------- states
@pytest.mark.parametrize("state", list(State))
def test_every_state_has_its_word_and_its_numbers(state: State) -> None:
    assert len(word_of(state)) == 7
    assert sgip_of(state) == FINAL_STATES[state][1]
    back = state_of_word(word_of(state))
    assert back is {State.SCHEDULED: State.ENROUTE, State.SKIPPED: State.UNKNOWN}.get(state, state)


@pytest.mark.parametrize(
    "state", [State.ENROUTE, State.DELIVERED, State.EXPIRED, State.UNDELIVERABLE, State.UNKNOWN, State.REJECTED]
)
def test_states_that_sgip_knows_come_back(state: State) -> None:
    sgip = sgip_of(state)
    assert state_of_sgip(sgip.state, sgip.error) is state


def test_sgip_in_words() -> None:
    assert sgip_of(State.DELIVERED) == Sgip(0, 0)
    assert state_of_sgip(1, 77) is State.ENROUTE
    assert state_of_sgip(2, 77) is State.UNDELIVERABLE
    assert state_of_sgip(9) is State.UNKNOWN


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("DELIVRD", State.DELIVERED),
        ("delivered", State.DELIVERED),
        (" DELIVERD ", State.DELIVERED),
        ("ACCEPTED", State.ACCEPTED),
        ("REJECTED", State.REJECTED),
        ("UNDELIVERABLE", State.UNDELIVERABLE),
        ("MK:0012", State.UNDELIVERABLE),
        ("RT:0148", State.UNDELIVERABLE),
        ("", State.UNKNOWN),
        ("WHATEVER", State.UNKNOWN),
    ],
)
def test_words_as_peers_spell_them(word: str, state: State) -> None:
    assert state_of_word(word) is state


def test_only_two_states_are_not_final() -> None:
    assert [state for state in State if not state.is_final] == [State.SCHEDULED, State.ENROUTE]


# ----------------------------------------------------------------------------------------------------------- text form
def test_a_published_receipt() -> None:
    # github.com/hujm2023/go-sms-protocol smpp/smpp34/pdu_deliver_sm_test.go
    content = (
        b"id:7a44aaba-336f-4a92-9502-dd106aa7369f sub:001 dlvrd:001 submit date:231123193758"
        b" done date:231123193800 stat:DELIVRD err:000 text:"
    )
    receipt = parse_receipt(content, zone=CHINA)
    assert receipt.message_id == "7a44aaba-336f-4a92-9502-dd106aa7369f"
    assert (receipt.state, receipt.stat, receipt.error) == (State.DELIVERED, "DELIVRD", "000")
    assert (receipt.sub, receipt.delivered, receipt.text) == (1, 1, b"")
    assert receipt.submitted == datetime(2023, 11, 23, 11, 37, 58, tzinfo=UTC)
    assert receipt.done == datetime(2023, 11, 23, 11, 38, tzinfo=UTC)
    assert receipt.raw == content
    assert receipt.is_readable


@pytest.mark.parametrize(
    ("content", "message_id", "state", "text"),
    [
        (b"ID:1f STAT:EXPIRED ERR:001 TEXT:hi", "1f", State.EXPIRED, b"hi"),
        (b"stat:REJECTD id: 0012", "0012", State.REJECTED, b""),
        (
            b"id:1 Submit_Date:2311231937 Done_Date:2311231938 stat:UNDELIV err:005 txt:x",
            "1",
            State.UNDELIVERABLE,
            b"x",
        ),
        (b"text:hello id:9 stat:DELIVRD", "9", State.DELIVERED, b"hello "),
        (b"id:9 stat:DELIVRD text:my id:10 stat:EXPIRED", "9", State.DELIVERED, b"my id:10 stat:EXPIRED"),
        (b"id=77,stat=DELIVRD,err=0", "77", State.DELIVERED, b""),
        (b"id:5\0\0 stat:ACCEPTD\0", "5", State.ACCEPTED, b""),
        (b"id:5 stat:MA:0001 err:1", "5", State.UNDELIVERABLE, b""),
        (b"id:5 id:6 stat:DELETED", "5", State.DELETED, b""),
        ("id:5 stat:DELIVRD text:您好".encode("gb18030")[:-1], "5", State.DELIVERED, "您好".encode("gb18030")[:-1]),
        (b"kid:5 you", "", State.UNKNOWN, b""),
        (b"", "", State.UNKNOWN, b""),
    ],
)
def test_receipts_as_peers_write_them(content: bytes, message_id: str, state: State, text: bytes) -> None:
    receipt = parse_receipt(content)
    assert (receipt.message_id, receipt.state, receipt.text) == (message_id, state, text)
    assert receipt.is_readable == bool(message_id)


@pytest.mark.parametrize(
    ("digits", "moment"),
    [
        (b"2311231937", datetime(2023, 11, 23, 19, 37, tzinfo=UTC)),
        (b"231123193758", datetime(2023, 11, 23, 19, 37, 58, tzinfo=UTC)),
        (b"202311231937", datetime(2023, 11, 23, 19, 37, tzinfo=UTC)),
        (b"20231123193758", datetime(2023, 11, 23, 19, 37, 58, tzinfo=UTC)),
        (b"2313231937", None),
        (b"0000000000", None),
        (b"23112319375", None),
        (b"yesterday!", None),
    ],
)
def test_times_of_many_lengths(digits: bytes, moment: datetime | None) -> None:
    assert parse_receipt(b"id:1 done date:" + digits + b" stat:DELIVRD").done == moment


def test_tlvs_are_believed_before_the_text() -> None:
    tlvs = {RECEIPTED_MESSAGE_ID: b"abc\0", MESSAGE_STATE: b"\x08", NETWORK_ERROR_CODE: b"\x03\x00\x15"}
    receipt = parse_receipt(b"id:123 stat:DELIVRD err:000", tlvs)
    assert (receipt.message_id, receipt.state, receipt.stat) == ("abc", State.REJECTED, "DELIVRD")
    assert receipt.network_error == (3, 21)
    assert parse_receipt(b"", tlvs).is_readable
    broken = {RECEIPTED_MESSAGE_ID: b"", MESSAGE_STATE: b"\x63", NETWORK_ERROR_CODE: b"\x03"}
    assert parse_receipt(b"id:123 stat:DELIVRD", broken).state is State.DELIVERED
    assert parse_receipt(b"id:123 stat:DELIVRD", broken).message_id == "123"


@given(st.binary(max_size=200), st.dictionaries(st.sampled_from([0x1E, 0x423, 0x427]), st.binary(max_size=5)))
def test_any_octets_are_a_receipt_of_some_kind(content: bytes, tlvs: dict[int, bytes]) -> None:
    assert parse_receipt(content, tlvs).raw == content


@given(
    st.lists(
        st.sampled_from([b"id:12", b"stat:DELIVRD", b"err:0", b"text:", b"done date:2311231937", b" ", b"\0", b"sub:1"])
    )
)
def test_keys_in_any_order_are_a_receipt_of_some_kind(pieces: list[bytes]) -> None:
    parse_receipt(b" ".join(pieces))


ROUND = [state for state in State if state not in (State.SCHEDULED, State.SKIPPED)]


@given(
    st.from_regex(r"\A[0-9A-Za-z-]{1,64}\Z"),
    st.sampled_from(ROUND),
    st.datetimes(NOON.replace(tzinfo=None, year=2000), NOON.replace(tzinfo=None, year=2099)),
    st.binary(max_size=30),
)
def test_what_is_written_is_read(message_id: str, state: State, done: datetime, text: bytes) -> None:
    minute = done.replace(second=0, microsecond=0, tzinfo=CHINA)
    receipt = Receipt(message_id, state, submitted=minute, done=minute, text=text, network_error=(3, 21))
    read = parse_receipt(format_receipt(receipt, CHINA), dict(receipt_tlvs(receipt)), CHINA)
    assert (read.message_id, read.state, read.done, read.text) == (message_id, state, minute, text[:20])
    assert read.network_error == (3, 21)
    plain = parse_receipt(format_receipt(receipt, CHINA), zone=CHINA)
    assert (plain.message_id, plain.state) == (message_id, state)


def test_the_text_form_of_the_standard() -> None:
    receipt = Receipt("0123456789", State.DELIVERED, submitted=NOON, done=NOON, text=b"12345678901234567890123")
    assert format_receipt(receipt) == (
        b"id:0123456789 sub:001 dlvrd:001 submit date:2611251200 done date:2611251200 stat:DELIVRD err:000"
        b" text:12345678901234567890"
    )
    with pytest.raises(BadValue, match="message_id"):
        format_receipt(Receipt("x" * 65, State.DELIVERED))
    with pytest.raises(BadValue, match="network_error_code"):
        receipt_tlvs(Receipt("1", State.DELIVERED, network_error=(300, 0)))


# ------------------------------------------------------------------------------------------------------ whose message
@pytest.mark.parametrize(
    ("response", "receipt", "relation"),
    [
        ("0A3F", "a3f", Relation.SAME),
        ("000123", "123", Relation.SAME),
        ("0x0A3F", "A3F", Relation.SAME),
        (" 7A44-b ", "7a44-B", Relation.SAME),
        ("0000A3F1", "41969", Relation.HEX_THEN_DECIMAL),
        ("41969", "A3F1", Relation.DECIMAL_THEN_HEX),
        ("0", "000", Relation.SAME),
    ],
)
def test_ids_that_peers_spell_differently(response: str, receipt: str, relation: Relation) -> None:
    matcher: IdMatcher[None] = IdMatcher()
    matcher.add(response, 7, 0.0)
    matcher.add("55555555", 8, 0.0)
    assert matcher.match(receipt, 1.0) == Match(7, relation)
    assert matcher.match(receipt, 1.0) is None
    assert len(matcher) == 1


def test_forms_of_an_id() -> None:
    assert response_forms("0010") == {
        Relation.SAME: "10",
        Relation.HEX_THEN_DECIMAL: "a",
        Relation.DECIMAL_THEN_HEX: "16",
    }
    assert response_forms("7") == {Relation.SAME: "7"}
    assert response_forms("xyz") == {Relation.SAME: "xyz"}
    assert response_forms("  ") == {}
    assert canonical("0x00FF") == "ff"


@given(st.text(max_size=70))
def test_any_id_is_its_own(message_id: str) -> None:
    matcher: IdMatcher[None] = IdMatcher()
    matcher.add(message_id, 1, 0.0)
    found = matcher.match(message_id, 0.0)
    assert found == Match(1, Relation.SAME) if canonical(message_id) else found is None


def test_two_messages_that_could_be_meant_are_both_said() -> None:
    matcher: IdMatcher[None] = IdMatcher()
    matcher.add("100", 1, 0.0)
    matcher.add("64", 2, 0.0)  # 100 in hexadecimal
    assert matcher.match("100", 1.0) == Ambiguous((1, 2))
    assert len(matcher) == 2
    known: IdMatcher[None] = IdMatcher(relation=Relation.HEX_THEN_DECIMAL)
    known.add("100", 1, 0.0)
    known.add("64", 2, 0.0)
    assert known.match("100", 1.0) == Match(2, Relation.HEX_THEN_DECIMAL)
    assert known.match("100", 1.0) is None  # never the message of the same digits
    twice: IdMatcher[None] = IdMatcher()
    twice.add("7f", 1, 0.0)
    twice.add("007F", 2, 0.0)
    assert twice.match("7F", 0.0) == Ambiguous((1, 2))


def _spell(relation: Relation, number: int) -> tuple[str, str]:
    """An id as the peer writes it in the response and in the receipt."""
    return {
        Relation.SAME: (f"{number:010d}", f"{number:d}"),
        Relation.HEX_THEN_DECIMAL: (f"{number:08X}", f"{number:d}"),
        Relation.DECIMAL_THEN_HEX: (f"{number:d}", f"{number:08x}"),
    }[relation]


@pytest.mark.parametrize("relation", list(Relation))
@pytest.mark.parametrize("is_sequential", [True, False])
@pytest.mark.parametrize("is_known", [True, False])
def test_receipts_in_any_order_find_their_messages(
    relation: Relation, is_sequential: bool, is_known: bool, seed: int, loops: Callable[[int], int]
) -> None:
    rng = random.Random(seed)
    count = loops(50_000)
    numbers = range(1, count + 1) if is_sequential else rng.sample(range(1, 1 << 48), count)
    waiting = list(enumerate(numbers))
    matcher: IdMatcher[None] = IdMatcher(relation=relation if is_known else None)
    for handle, number in waiting:
        matcher.add(_spell(relation, number)[0], handle, 0.0)
    rng.shuffle(waiting)
    unsure = 0
    for handle, number in waiting:
        found = matcher.match(_spell(relation, number)[1], 1.0)
        if isinstance(found, Ambiguous):
            assert handle in found.handles
            unsure += 1
        else:
            assert found is not None
            assert found.handle == handle
    assert matcher.habit is relation
    assert len(matcher) == unsure
    # Until a habit is shown, short numbers that follow each other can be read both ways.
    assert unsure == 0 if is_known or not is_sequential else unsure < 0.1 * count + 60


def test_a_receipt_that_overtakes_its_response_is_parked() -> None:
    matcher: IdMatcher[str] = IdMatcher(park_s=60)
    assert matcher.match("41969", 0.0) is None
    assert matcher.park("41969", "enroute", 0.0, is_final=False) == []
    assert matcher.park("41969", "delivered", 1.0) == []
    assert matcher.add("A3F2", 1, 2.0) == []
    assert matcher.add("0000A3F1", 2, 2.0) == ["enroute", "delivered"]
    assert (len(matcher), matcher.parked) == (1, 0)
    matcher.park("5", "late", 3.0)
    assert matcher.expire(62.0) == ([], [])
    assert matcher.expire(63.0) == ([], ["late"])
    assert matcher.add("5", 3, 64.0) == []


def test_a_parked_receipt_goes_by_the_relation_that_is_known() -> None:
    matcher: IdMatcher[str] = IdMatcher(relation=Relation.HEX_THEN_DECIMAL)
    matcher.park("16", "of 0x10", 0.0)
    matcher.park("7", "of 0x7", 0.0)
    assert matcher.add("16", 1, 0.0) == []
    assert matcher.add("10", 2, 0.0) == ["of 0x10"]
    assert matcher.add("07", 3, 0.0) == ["of 0x7"]


def test_an_intermediate_receipt_leaves_its_message_waiting() -> None:
    matcher: IdMatcher[str] = IdMatcher()
    matcher.park("1", "enroute", 0.0, is_final=False)
    assert matcher.add("1", 5, 0.0) == ["enroute"]
    for _ in range(3):
        assert matcher.match("1", 1.0, is_final=False) == Match(5, Relation.SAME)
    assert matcher.match("1", 1.0) == Match(5, Relation.SAME)
    assert matcher.match("1", 1.0) is None


def test_the_park_is_bounded() -> None:
    matcher: IdMatcher[int] = IdMatcher(max_parked=2)
    crowded = [matcher.park(str(number), number, 0.0) for number in range(4)]
    assert crowded == [[], [], [0], [1]]
    assert matcher.add("1", 9, 0.0) == []
    assert matcher.add("3", 9, 0.0) == [3]


def test_messages_are_forgotten_in_time(seed: int) -> None:
    matcher: IdMatcher[None] = IdMatcher(timeout_s=100)
    rng = random.Random(seed)
    names = [f"{rng.randrange(1 << 64):x}-{number}" for number in range(3_000)]
    for number, name in enumerate(names):
        matcher.add(name, number, 1_000.0 + number // 1_000 * 50)
    before = matcher.octets
    assert matcher.match(names[0], 1_099.0, is_final=False) is not None
    assert matcher.match(names[0], 1_100.0) is None
    assert matcher.match(names[1_000], 1_100.0, is_final=False) is not None
    over: list[int] = []
    for _ in range(16):
        over += matcher.expire(1_100.0)[0]
    assert sorted(over) == list(range(1_000))
    assert len(matcher) == 2_000
    assert all(
        matcher.match(name, 1_100.0) == Match(place, Relation.SAME)
        for place, name in enumerate(names)
        if place >= 1_000
    )
    for _ in range(16):
        assert matcher.expire(5_000.0) == ([], [])
    assert matcher.octets <= before


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=200))
def test_a_matcher_is_a_multiset_of_ids(steps: list[tuple[bool, int]]) -> None:
    matcher: IdMatcher[None] = IdMatcher(relation=Relation.SAME)
    waiting: dict[int, list[int]] = {}
    for handle, (is_response, number) in enumerate(steps):
        name, same = f"id-{number}", waiting.setdefault(number, [])
        if is_response:
            matcher.add(name, handle, 0.0)
            same.append(handle)
            continue
        found = matcher.match(name, 0.0)
        if isinstance(found, Ambiguous):
            assert sorted(found.handles) == same
            assert len(same) > 1
        elif found is None:
            assert not same
        else:
            assert [found.handle] == same
            same.clear()
    assert len(matcher) == sum(map(len, waiting.values()))


def test_a_million_messages_take_little_memory(loops: Callable[[int], int]) -> None:
    matcher: IdMatcher[None] = IdMatcher()
    count = loops(1_000_000)
    for number in range(count):
        matcher.add(f"{number * 7919:08X}", number, 0.0)
    assert len(matcher) == count
    assert matcher.octets / count < 60


def test_values_that_make_no_sense_are_refused() -> None:
    for name in ("timeout_s", "park_s", "max_parked"):
        wrong: dict[str, Any] = {name: 0}  # Any: arguments of two types
        with pytest.raises(BadValue, match=name):
            IdMatcher(**wrong)
    matcher: IdMatcher[None] = IdMatcher()
    with pytest.raises(BadValue, match="handle"):
        matcher.add("1", 1 << 64, 0.0)
    assert matcher.add("", 1, 0.0) == []
    assert matcher.match("", 0.0) is None
