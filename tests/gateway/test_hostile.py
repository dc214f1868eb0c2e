"""Peers that send what they should not, or nothing, or do not read: nobody else notices, and nothing of them stays."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mingbai.kernel.clock import utc_now
from mingbai.protocols.logins import make_login
from mingbai.protocols.messages import ShortMessage, Wanted, write_submit
from mingbai.protocols.text import coding_of
from tests.gateway.rig import (
    HAM,
    PROTOCOLS,
    SECRET,
    ZONE,
    Provider,
    Running,
    Smsc,
    registry,
    running,
    sgip_sequences,
    story,
)


def _login(protocol: str, number: int) -> bytes:
    sequence = sgip_sequences() if protocol == "sgip" else number
    return make_login(protocol, "901234", SECRET, sequence=sequence, now=utc_now().astimezone(ZONE)).encode()


def _submit(protocol: str, number: int) -> bytes:
    message = ShortMessage(
        "10690001", ("13800138000",), HAM.encode("utf-16-be"), coding_of(protocol, 8), wanted=Wanted.ALL
    )
    pdu = write_submit(message, protocol)
    pdu.sequence = sgip_sequences() if protocol == "sgip" else number
    return pdu.encode()


def _malformed(rnd: random.Random, protocol: str) -> Iterator[bytes]:
    """Frames with a right length and something wrong behind it, so that the connection may stay; then others."""
    good = [_login(protocol, 1), _submit(protocol, 2)]
    while True:
        frame = bytearray(rnd.choice(good))
        kind = rnd.random()
        if kind < 0.5:
            for _ in range(rnd.randrange(1, 6)):
                frame[rnd.randrange(8, len(frame))] = rnd.randrange(256)
        elif kind < 0.75:
            frame = frame[: rnd.randrange(12, len(frame))]
            frame[:4] = len(frame).to_bytes(4)
        elif kind < 0.9:
            frame[4:8] = rnd.randbytes(4)
        else:
            frame += rnd.randbytes(rnd.randrange(1, 60))
            frame[:4] = len(frame).to_bytes(4)
        yield bytes(frame)


async def _attack(port: int, protocol: str, frames: int, seed: int) -> int:
    """Send so many malformed frames, on as many connections as it takes; returns how many were sent."""
    rnd = random.Random(seed)
    source = _malformed(rnd, protocol)
    sent = 0
    while sent < frames:
        local = f"127.0.0.{rnd.randrange(20, 250)}"
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(local, 0))
        with contextlib.suppress(ConnectionError, RuntimeError):  # uvloop's word for a transport that closed meanwhile
            if rnd.random() < 0.7:
                writer.write(_login(protocol, 1))
            for _ in range(rnd.randrange(1, 200)):
                chunk = b"".join(next(source) for _ in range(16))
                cut = rnd.randrange(1, len(chunk))
                writer.write(chunk[:cut])
                writer.write(chunk[cut:])
                sent += 16
                await writer.drain()
                await asyncio.sleep(0)
                if reader.at_eof() or sent >= frames:
                    break
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1 << 16), 0.001)
        with contextlib.suppress(ConnectionError, RuntimeError):
            if rnd.random() < 0.2:
                writer.write(rnd.randbytes(rnd.randrange(1, 200)))
            writer.close()
            await writer.wait_closed()
    return sent


async def _calm(gateway: Running, provider: Provider, until: asyncio.Event) -> int:
    """A provider that goes on meanwhile; every message of its own is answered and reported."""
    count = 0
    while not until.is_set():
        tag = provider.text(f"{HAM}{count}")
        await provider.until(lambda: tag in provider.by_tag, 20.0)  # noqa: B023 - awaited here
        assert provider.by_tag[tag][1] is None
        count += 1
    await provider.until(lambda: len(provider.reports) == count, 20.0)
    return count


@story
async def test_malformed_frames_harm_nobody_and_leave_nothing(
    tmp_path: Path, loops: Callable[[int], int], seed: int
) -> None:
    smsc = await Smsc("smpp").start()
    total = loops(1_000_000)
    wanted = registry([smsc], [*PROTOCOLS, "http"], {"connections": 1000})
    accounts = (*wanted.accounts, wanted.accounts[0].model_copy(update={"name": "calm", "login": "calm"}))
    async with running(tmp_path, wanted.model_copy(update={"accounts": accounts})) as gateway:
        done = asyncio.Event()
        provider = await Provider("cmpp", gateway.ports["cmpp"], login="calm").start()
        calm = asyncio.create_task(_calm(gateway, provider, done))
        before = 0
        for round_ in range(4):
            sent = await asyncio.gather(
                *(
                    _attack(gateway.ports[protocol], protocol, total // 16, seed + 10 * round_ + place)
                    for place, protocol in enumerate(PROTOCOLS)
                )
            )
            assert sum(sent) >= total // 4
            await gateway.until(lambda: len(gateway.gateway.doors.connections) == 1)
            assert gateway.gateway.doors.unknown == 0
            gc.collect()
            objects = len(gc.get_objects())
            if round_ == 1:
                before = objects
        assert objects < before * 1.3, "what they sent is forgotten"
        done.set()
        assert await calm > 0
        assert provider.gone is None
    await smsc.stop()


@story
async def test_connections_that_say_nothing_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mingbai.gateway import doors
    from mingbai.protocols.link import Timers

    monkeypatch.setattr(doors, "Timers", lambda **given: Timers(**{"login": 0.5, **given}))
    async with running(tmp_path, registry((), ["cmpp"])) as gateway:
        silent = [socket.create_connection(("127.0.0.1", gateway.ports["cmpp"])) for _ in range(20)]
        await gateway.until(lambda: len(gateway.gateway.doors.connections) == 20)
        await gateway.until(lambda: not gateway.gateway.doors.connections)
        assert gateway.gateway.doors.unknown == 0
        for one in silent:
            one.close()


@story
async def test_a_half_open_peer_is_found_by_its_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mingbai.gateway import doors
    from mingbai.protocols.link import Timers

    monkeypatch.setattr(
        doors, "Timers", lambda **given: Timers(**{"heartbeat": 0.2, "answer": 0.2, "tries": 3, **given})
    )
    async with running(tmp_path, registry((), ["cmpp"])) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.ports["cmpp"])
        writer.write(_login("cmpp", 1))
        await reader.readexactly(33)
        await gateway.until(lambda: len(gateway.gateway.exchange.partners["sp-cmpp"].connections) == 1)
        await gateway.until(lambda: not gateway.gateway.exchange.partners["sp-cmpp"].connections)
        heard = await reader.read()
        assert heard.count(b"\0\0\0\x0c\0\0\0\x08") == 3, "ACTIVE_TEST, three times"
        writer.close()


@story
async def test_a_provider_that_does_not_read_is_not_read_either_and_others_go_on(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    wanted = registry([smsc], ["cmpp", "smgp"], {"window": 1000, "rate_per_s": 0})
    async with running(tmp_path, wanted) as gateway:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", gateway.ports["cmpp"]))
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(raw, _login("cmpp", 1))
        await gateway.until(lambda: bool(gateway.gateway.exchange.partners["sp-cmpp"].connections))
        flood = b"".join(_submit("cmpp", number)[:12] + _submit("cmpp", 3)[12:] for number in range(500))

        async def push() -> None:
            with contextlib.suppress(ConnectionError):
                for _ in range(400):
                    await loop.sock_sendall(raw, flood)

        pushing = asyncio.create_task(push())
        (connection,) = gateway.gateway.exchange.partners["sp-cmpp"].connections
        calm = await Provider("smgp", gateway.ports["smgp"]).start()
        for number in range(50):
            tag = calm.text(f"{HAM}{number}")
            await calm.until(lambda: tag in calm.by_tag)  # noqa: B023 - awaited here
        await calm.until(lambda: len(calm.reports) == 50)
        assert connection._transport is not None
        assert connection._transport.get_write_buffer_size() < 4 << 20
        pushing.cancel()
        raw.close()
    await smsc.stop()
