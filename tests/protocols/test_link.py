"""Connections of every protocol against each other, without a socket: two links and the octets between them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.protocols import cmpp, sgip, smgp, smpp
from mingbai.protocols.dialects import CmppDialect, Dialect, SgipDialect, SmgpDialect, SmppDialect
from mingbai.protocols.link import (
    Answered,
    Asked,
    End,
    Event,
    Gone,
    Link,
    LoginAnswered,
    LoginAsked,
    NotBound,
    Phase,
    Refused,
    Timers,
    Told,
    WindowFull,
)

TIMERS = Timers(login=5, heartbeat=30, answer=60, tries=3, leave=10)
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def names(node: int) -> Callable[[], Any]:
    source = sgip.Sequences(node)
    return lambda: source.next(NOON)


@dataclass
class Way:
    """How one protocol logs in and asks."""

    dialect: Callable[[], Dialect]
    login: Callable[[], Any]
    let_in: Callable[[Any], Any]
    refuse: Callable[[Any], Any]
    submit: Callable[[], Any]
    answer: Callable[[Any], Any]
    has_heartbeat: bool = True


WAYS = {
    "cmpp2": Way(
        lambda: CmppDialect(version=0x20),
        lambda: cmpp.Connect(sequence=1, source_addr=b"900001", version=0x20),
        lambda pdu: cmpp.answer(pdu, version=0x20),
        lambda pdu: cmpp.answer(pdu, status=3),
        lambda: cmpp.Submit2(dest_terminal_id=(b"13800000000",), msg_content=b"hello"),
        lambda pdu: cmpp.answer(pdu, msg_id=7),
    ),
    "cmpp3": Way(
        CmppDialect,
        lambda: cmpp.Connect(sequence=1, source_addr=b"900001", version=0x30),
        lambda pdu: cmpp.answer(pdu, version=0x30),
        lambda pdu: cmpp.answer(pdu, status=3),
        lambda: cmpp.Submit3(dest_terminal_id=(b"13800000000",), msg_content=b"hello"),
        lambda pdu: cmpp.answer(pdu, msg_id=7),
    ),
    "sgip": Way(
        lambda: SgipDialect(sequences=names(3010012345)),
        lambda: sgip.Bind(sequence=(3010012345, 1125120000, 1), login_type=1, login_name=b"sp"),
        sgip.answer,
        lambda pdu: sgip.answer(pdu, result=1),
        lambda: sgip.Submit(user_number=(b"8613000000000",), message_content=b"hello"),
        sgip.answer,
        has_heartbeat=False,
    ),
    "smgp": Way(
        SmgpDialect,
        lambda: smgp.Login(sequence=1, client_id=b"sp", client_version=0x30),
        smgp.answer,
        lambda pdu: smgp.answer(pdu, status=21),
        lambda: smgp.Submit(dest_term_id=(b"18900000000",), msg_content=b"hello"),
        smgp.answer,
    ),
    "smpp": Way(
        SmppDialect,
        lambda: smpp.BindTransceiver(sequence=1, system_id=b"sp"),
        smpp.answer,
        lambda pdu: smpp.answer(pdu, smpp.Status.ESME_RBINDFAIL),
        lambda: smpp.SubmitSm(destination_addr=b"13800000000", short_message=b"hello"),
        lambda pdu: smpp.answer(pdu, message_id=b"a1"),
    ),
}
protocols = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@dataclass
class Pair:
    """A provider (client) and a gateway (server), and one clock."""

    way: Way
    window: int = 4
    now: float = 0.0
    cut: Callable[[], int] = lambda: 1 << 20
    at_client: list[Event] = field(default_factory=list)
    at_server: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = Link(self.way.dialect(), TIMERS, window=self.window, is_server=False, now=self.now)
        self.server = Link(self.way.dialect(), TIMERS, window=self.window, is_server=True, now=self.now)

    def flow(self) -> None:
        """Octets in both directions until nobody has anything to say."""
        while True:
            to_server, to_client = self.client.take_output(), self.server.take_output()
            if not to_server and not to_client:
                return
            self.at_server += self._give(self.server, to_server)
            self.at_client += self._give(self.client, to_client)

    def _give(self, link: Link, data: bytes) -> list[Event]:
        found: list[Event] = []
        while data:
            size = self.cut()
            found += link.receive(data[:size], self.now)
            data = data[size:]
        return found

    def bound(self) -> Pair:
        self.client.log_in(self.way.login(), self.now)
        self.flow()
        asked = self.at_server.pop()
        assert isinstance(asked, LoginAsked)
        self.server.let_in(self.way.let_in(asked.pdu), self.now)
        self.flow()
        answered = self.at_client.pop()
        assert isinstance(answered, LoginAnswered)
        assert answered.is_in
        return self

    def answer_all(self) -> int:
        asked = [event for event in self.at_server if isinstance(event, Asked)]
        for event in asked:
            self.server.answer(self.way.answer(event.pdu))
        self.at_server.clear()
        self.flow()
        return len(asked)

    def wait(self, seconds: float) -> None:
        """Time goes by, each link waking when it said that it must."""
        until = self.now + seconds
        while (due := min(self.client.due, self.server.due)) <= until:
            self.now = max(self.now, due)
            self.at_client += self.client.tick(self.now)
            self.at_server += self.server.tick(self.now)
            self.flow()
        self.now = until


@protocols
def test_a_login_is_answered_and_requests_go_both_ways(way: Way) -> None:
    pair = Pair(way).bound()
    assert pair.client.phase is pair.server.phase is Phase.BOUND
    pair.client.ask(way.submit(), "mine", pair.now)
    pair.server.ask(way.submit(), "theirs", pair.now)
    pair.flow()
    (at_client,), (at_server,) = pair.at_client, pair.at_server
    assert isinstance(at_client, Asked)
    assert isinstance(at_server, Asked)
    pair.now += 0.25
    pair.client.answer(way.answer(at_client.pdu))
    pair.server.answer(way.answer(at_server.pdu))
    pair.flow()
    answered = pair.at_client[1]
    assert isinstance(answered, Answered)
    assert answered.tag == "mine"
    assert answered.seconds == 0.25
    assert isinstance(pair.at_server[1], Answered)
    assert pair.server.asked == pair.client.asked == pair.server.in_flight == 0


@protocols
def test_a_refused_login_ends_on_both_sides(way: Way) -> None:
    pair = Pair(way)
    pair.client.log_in(way.login(), 0)
    pair.flow()
    asked = pair.at_server.pop()
    assert isinstance(asked, LoginAsked)
    assert pair.server.refuse(way.refuse(asked.pdu)) == Gone(End.LOGIN_REFUSED)
    pair.flow()
    assert [type(event) for event in pair.at_client] == [LoginAnswered, Gone]
    with pytest.raises(NotBound, match="closed"):
        pair.client.ask(way.submit(), 1, 0)


@protocols
def test_a_request_before_the_login_ends_the_connection(way: Way) -> None:
    server = Link(way.dialect(), TIMERS, window=4, is_server=True, now=0)
    stranger = way.submit()
    stranger.sequence = way.login().sequence
    events = server.receive(stranger.encode(), 0)
    assert [type(event) for event in events] == [Refused, Gone]
    assert server.ended is End.OUT_OF_TURN
    assert server.asked == 0


def test_smpp_says_what_was_out_of_turn() -> None:
    way = WAYS["smpp"]
    server = Link(way.dialect(), TIMERS, window=4, is_server=True, now=0)
    server.receive(smpp.SubmitSm(sequence=9).encode(), 0)
    answer = smpp.SMPP_34.decode(server.take_output())
    assert (answer.sequence, answer.status) == (9, smpp.Status.ESME_RINVBNDSTS)
    pair = Pair(way).bound()
    pair.server.receive(smpp.BindReceiver(sequence=10).encode(), 0)
    answer = smpp.SMPP_34.decode(pair.server.take_output())
    assert (answer.sequence, answer.status) == (10, smpp.Status.ESME_RALYBND)


@protocols
def test_the_window_is_kept_and_opens_with_each_answer(way: Way) -> None:
    pair = Pair(way, window=3).bound()
    for tag in range(3):
        pair.client.ask(way.submit(), tag, 0)
    assert pair.client.room == 0
    with pytest.raises(WindowFull, match="3 requests"):
        pair.client.ask(way.submit(), 3, 0)
    pair.flow()
    assert pair.server.asked == 3
    last = pair.at_server[-1]
    assert isinstance(last, Asked)
    pair.server.answer(way.answer(last.pdu))  # answers come in any order
    pair.flow()
    assert [event.tag for event in pair.at_client if isinstance(event, Answered)] == [2]
    assert pair.client.room == 1


@protocols
def test_a_quiet_connection_lives_by_heartbeats_and_ends_without_them(way: Way) -> None:
    pair = Pair(way).bound()
    pair.wait(3600)
    assert pair.client.phase is pair.server.phase is Phase.BOUND
    assert not pair.at_client
    alone = Pair(way).bound()
    alone.client.cut()  # the peer vanishes without a word
    now = 0.0
    events: list[Event] = []
    for _ in range(20):
        if alone.server.due == float("inf"):
            break
        now = max(now, alone.server.due)
        events += alone.server.tick(now)
        alone.server.take_output()
    if way.has_heartbeat:
        assert events == [Gone(End.NO_HEARTBEAT)]
        assert now == TIMERS.heartbeat + TIMERS.tries * TIMERS.answer
    else:
        assert events == []  # only its requests could find out


@protocols
def test_a_peer_that_beats_and_does_not_answer_is_left_and_its_requests_are_in_doubt(way: Way) -> None:
    pair = Pair(way).bound()
    pair.client.ask(way.submit(), "first", 0)
    pair.now = 20.0
    pair.client.ask(way.submit(), "second", 20.0)
    pair.flow()
    pair.wait(100)
    gone = pair.at_client[-1]
    assert gone == Gone(End.NO_ANSWER, ("first", "second"))
    assert pair.client.in_flight == 0


@protocols
def test_nobody_who_does_not_log_in_stays(way: Way) -> None:
    server = Link(way.dialect(), TIMERS, window=4, is_server=True, now=100)
    assert server.due == 105
    assert server.tick(104.9) == []
    assert server.tick(105) == [Gone(End.LOGIN_TIMEOUT)]


@protocols
def test_leaving_waits_for_what_was_begun_in_both_directions(way: Way) -> None:
    pair = Pair(way).bound()
    pair.client.ask(way.submit(), "out", 0)
    pair.server.ask(way.submit(), "in", 0)
    pair.flow()
    pair.server.leave(0)
    assert pair.server.phase is Phase.LEAVING
    with pytest.raises(NotBound, match="leaving"):
        pair.server.ask(way.submit(), "late", 0)
    pair.flow()
    assert pair.client.phase is Phase.BOUND  # no farewell yet
    asked = pair.at_client.pop()
    assert isinstance(asked, Asked)
    pair.client.answer(way.answer(asked.pdu))
    pair.flow()
    assert pair.answer_all() == 1
    assert pair.client.ended is End.PEER_LEFT
    assert pair.server.ended is End.WE_LEFT
    assert [event.tag for event in pair.at_client if isinstance(event, Answered)] == ["out"]
    stuck = Pair(way).bound()
    stuck.client.ask(way.submit(), "never", 0)
    stuck.client.leave(0)
    assert stuck.client.tick(TIMERS.leave) == [Gone(End.WE_LEFT, ("never",))]


@protocols
def test_what_cannot_be_read_is_answered_and_the_connection_goes_on(way: Way) -> None:
    pair = Pair(way).bound()
    broken = way.submit()
    broken.sequence = way.login().sequence
    frame = broken.encode()[: pair.server._dialect.header.octets + 6]
    frame = len(frame).to_bytes(4, "big") + frame[4:]
    (refused,) = pair.server.receive(frame, 0)
    assert isinstance(refused, Refused)
    assert refused.error is not None
    assert refused.error.sequence == broken.sequence
    answer = way.dialect().decode(pair.server.take_output())
    assert answer.sequence == broken.sequence
    assert not way.dialect().is_ok(answer)
    unknown = frame[:4] + b"\0\0\x7f\x01" + frame[8:]
    (refused,) = pair.server.receive(unknown, 0)
    assert refused == Refused(None, 0x7F01)
    said = pair.server.take_output()
    assert bool(said) == (pair.server._dialect.name == "smpp")  # a generic_nack; the others skip it
    pair.client.ask(way.submit(), "still", 0)
    pair.flow()
    assert pair.answer_all() == 1


@protocols
def test_a_length_that_no_frame_has_ends_the_connection_after_what_stood_before_it(way: Way) -> None:
    pair = Pair(way).bound()
    pair.client.ask(way.submit(), 1, 0)
    events = pair.server.receive(pair.client.take_output() + b"GET / HTTP/1.1\r\n\r\n", 0)
    assert [type(event) for event in events] == [Asked, Gone]
    assert pair.server.ended is End.BROKEN_STREAM
    assert pair.server.receive(b"more", 1) == []


def test_answers_to_nothing_and_notices_do_no_harm() -> None:
    pair = Pair(WAYS["smpp"]).bound()
    stray = smpp.SubmitSmResp(sequence=77, message_id=b"x")
    notice = smpp.AlertNotification(sequence=78)
    events = pair.client.receive(stray.encode() + notice.encode() + smpp.GenericNack(sequence=5).encode(), 0)
    assert [type(event) for event in events] == [Told]
    assert pair.client.asked == 0


def test_a_generic_nack_answers_the_request_it_names() -> None:
    pair = Pair(WAYS["smpp"]).bound()
    request = smpp.SubmitSm()
    pair.client.ask(request, "refused", 0)
    nack = smpp.GenericNack(sequence=request.sequence, status=smpp.Status.ESME_RINVCMDID)
    (event,) = pair.client.receive(nack.encode(), 1)
    assert isinstance(event, Answered)
    assert event.tag == "refused"


def test_one_port_serves_both_versions_of_cmpp_and_an_older_gateway_is_understood() -> None:
    for version in (0x20, 0x21, 0x30):
        server = CmppDialect()
        server.decode(cmpp.Connect(sequence=1, version=version).encode())
        assert server.version == version
        submit = (cmpp.Submit3 if version == 0x30 else cmpp.Submit2)(sequence=2, msg_content=b"x")
        assert server.decode(submit.encode()) == submit
    client = CmppDialect(version=0x30)
    client.decode(cmpp.ConnectResp2(sequence=1, status=4, version=0x20).encode())
    assert client.version == 0x20
    client.decode(cmpp.ConnectResp3(sequence=1, version=0x30).encode())
    assert client.version == 0x30


@given(st.sampled_from(list(WAYS)), st.integers(0, 2**32), st.integers(1, 9))
def test_every_request_is_answered_once_however_the_stream_is_cut(name: str, seed: int, window: int) -> None:
    chance = random.Random(seed)
    pair = Pair(WAYS[name], window=window, cut=lambda: chance.choice((1, 3, 11, 40, 400)))
    pair.bound()
    tags = itertools.count()
    sent: list[int] = []
    answered: list[int] = []
    for _ in range(30):
        for _ in range(min(pair.client.room, chance.randrange(window + 1))):
            sent.append(next(tags))
            pair.client.ask(pair.way.submit(), sent[-1], pair.now)
        pair.flow()
        pair.now += chance.random()
        waiting = [event for event in pair.at_server if isinstance(event, Asked)]
        chance.shuffle(waiting)
        for event in waiting[: chance.randrange(len(waiting) + 1)]:
            pair.server.answer(pair.way.answer(event.pdu))
            pair.at_server.remove(event)
        pair.flow()
        answered += [event.tag for event in pair.at_client if isinstance(event, Answered)]
        pair.at_client.clear()
    pair.answer_all()
    answered += [event.tag for event in pair.at_client if isinstance(event, Answered)]
    assert sorted(answered) == sent


@given(st.sampled_from(list(WAYS)), st.binary(max_size=200), st.booleans())
def test_octets_of_any_kind_end_in_events(name: str, junk: bytes, is_framed: bool) -> None:
    pair = Pair(WAYS[name]).bound()
    data = (len(junk) + 4).to_bytes(4, "big") + junk if is_framed else junk
    for event in pair.server.receive(data, 0):
        assert isinstance(event, LoginAsked | Asked | Answered | Told | Refused | Gone)
    assert (pair.server.ended is None) == (pair.server.phase is not Phase.CLOSED)
