"""Links on real sockets: many at once, slow readers, silent peers, cut connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mingbai.gateway.connection import Connection
from mingbai.protocols import cmpp
from mingbai.protocols.dialects import CmppDialect
from mingbai.protocols.link import Answered, Asked, End, Event, Gone, Link, LoginAnswered, LoginAsked, Phase, Timers

TIMERS = Timers(login=0.3, heartbeat=30, answer=60)


@dataclass
class Gateway:
    """Lets everybody in and answers every request at once."""

    timers: Timers = TIMERS
    stalled_s: float = 30.0
    connections: list[Connection] = field(default_factory=list)
    ends: list[Gone] = field(default_factory=list)
    asked: int = 0
    port: int = 0

    def handle(self, connection: Connection, events: Sequence[Event]) -> None:
        if not events and connection not in self.connections:
            self.connections.append(connection)
        for event in events:
            if isinstance(event, LoginAsked):
                connection.link.let_in(cmpp.answer(event.pdu), asyncio.get_running_loop().time())
            elif isinstance(event, Asked):
                self.asked += 1
                connection.link.answer(cmpp.answer(event.pdu, msg_id=self.asked))
            elif isinstance(event, Gone):
                self.ends.append(event)

    def make(self, now: float) -> Link:
        return Link(CmppDialect(), self.timers, window=16, is_server=True, now=now)


@asynccontextmanager
async def listening(gateway: Gateway) -> AsyncIterator[Gateway]:
    loop = asyncio.get_running_loop()
    made = lambda: Connection(gateway.make, gateway.handle, stalled_s=gateway.stalled_s)  # noqa: E731 - a factory
    server = await loop.create_server(made, "127.0.0.1", 0)
    gateway.port = server.sockets[0].getsockname()[1]
    try:
        yield gateway
    finally:
        server.close()
        for connection in gateway.connections:
            connection.abort()
        await server.wait_closed()


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]  # a coroutine


def submit(sequence: int) -> bytes:
    return cmpp.Submit3(sequence=sequence, dest_terminal_id=(b"13800000000",), msg_content=b"x" * 100).encode()


async def log_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(CONNECT)
    await asyncio.wait_for(reader.readexactly(33), 60)


CONNECT = cmpp.Connect(sequence=1, source_addr=b"900001", version=0x30).encode()


def test_a_provider_of_ours_sends_a_thousand_messages() -> None:
    answers: list[int] = []
    gone: list[Gone] = []

    class Provider:
        left = 1000

        def handle(self, connection: Connection, events: Sequence[Event]) -> None:
            now = asyncio.get_running_loop().time()
            if not events:
                connection.link.log_in(cmpp.Connect(sequence=1, version=0x30), now)
            for event in events:
                if isinstance(event, Answered):
                    answers.append(event.pdu.msg_id)
                elif isinstance(event, LoginAnswered):
                    assert event.is_in
                elif isinstance(event, Gone):
                    gone.append(event)
            while self.left and connection.link.room:
                connection.link.ask(cmpp.Submit3(msg_content=b"x"), self.left, now)
                self.left -= 1
            if not self.left and len(answers) == 1000 and not connection.link.is_over:
                asyncio.get_running_loop().call_soon(connection.leave)

    async def story() -> None:
        async with listening(Gateway()) as gateway:
            provider = Provider()
            make = lambda now: Link(CmppDialect(), TIMERS, window=16, is_server=False, now=now)  # noqa: E731 - as above
            await asyncio.get_running_loop().create_connection(
                lambda: Connection(make, provider.handle), "127.0.0.1", gateway.port
            )
            await until(lambda: bool(gone) and bool(gateway.ends))
            assert gateway.ends == [Gone(End.PEER_LEFT)]

    run(story)
    assert sorted(answers) == list(range(1, 1001))
    assert gone == [Gone(End.WE_LEFT)]


def test_who_does_not_read_is_not_read_and_is_cut_off_while_others_go_on() -> None:
    async def story() -> None:
        async with listening(Gateway(stalled_s=0.5)) as gateway:
            greedy = socket.create_connection(("127.0.0.1", gateway.port))
            greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            greedy.setblocking(False)
            greedy.send(CONNECT)
            await until(lambda: bool(gateway.connections) and gateway.connections[0].link.phase is Phase.BOUND)
            flood = b"".join(submit(number) for number in range(2, 400))
            sent = 0
            stalled = asyncio.get_running_loop().time() + 20
            while not any(connection.is_stalled for connection in gateway.connections):
                assert asyncio.get_running_loop().time() < stalled
                try:
                    sent += greedy.send(flood)
                except BlockingIOError:
                    await asyncio.sleep(0.001)
                await asyncio.sleep(0)
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            await log_in(reader, writer)
            writer.write(submit(2))
            await asyncio.wait_for(reader.readexactly(24), 60)
            unread = [one for one in gateway.connections if one.is_stalled]
            assert len(unread) == 1
            await until(lambda: Gone(End.CUT) in gateway.ends)
            writer.write(submit(3))
            await asyncio.wait_for(reader.readexactly(24), 60)
            writer.close()
            greedy.close()

    run(story)


def test_who_says_nothing_is_sent_away_and_who_is_cut_off_is_noticed() -> None:
    async def story() -> None:
        async with listening(Gateway()) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            assert await asyncio.wait_for(reader.read(), 60) == b""
            assert gateway.ends == [Gone(End.LOGIN_TIMEOUT)]
            writer.close()
            _, second = await asyncio.open_connection("127.0.0.1", gateway.port)
            second.write(CONNECT)
            await until(lambda: len(gateway.connections) == 2)
            second.transport.abort()
            await until(lambda: gateway.ends[1:] == [Gone(End.CUT)])

    run(story)


def test_who_does_not_wait_for_the_answer_to_its_login_is_sent_away() -> None:
    async def story() -> None:
        async with listening(Gateway()) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(CONNECT + submit(2))
            assert await asyncio.wait_for(reader.read(), 60) == b""
            assert gateway.ends == [Gone(End.OUT_OF_TURN)]
            assert gateway.asked == 0
            writer.close()

    run(story)


def test_octets_that_are_no_cmpp_close_that_connection_alone() -> None:
    async def story() -> None:
        async with listening(Gateway()) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            web, browser = await asyncio.open_connection("127.0.0.1", gateway.port)
            browser.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await asyncio.wait_for(web.read(), 60) == b""
            await log_in(reader, writer)
            writer.write(submit(2))
            await asyncio.wait_for(reader.readexactly(24), 60)
            assert gateway.ends == [Gone(End.BROKEN_STREAM)]
            for one in (writer, browser):
                one.close()

    run(story)
