"""Who comes in: secrets, addresses, certificates, limits; what changes live; what a failing disk does to senders."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
import subprocess
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mingbai.gateway.doors import Place, fingerprint
from mingbai.gateway.limits import InProcess, InRedis, LoginGuard, Proofs, Shared, TokenBucket
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.ledger.files import Bytes, FileOps
from mingbai.protocols import cmpp
from mingbai.protocols.receipts import State
from tests.gateway.rig import HAM, PROTOCOLS, SECRET, SPAM, Provider, Smsc, registry, running, story
from tests.peers.mail import free_port

# ---- logins


@pytest.mark.parametrize("protocol", PROTOCOLS)
@story
async def test_wrong_names_and_wrong_secrets_hear_the_same_and_wait_longer(protocol: str, tmp_path: Path) -> None:
    async with running(tmp_path, registry((), [protocol])) as gateway:
        port = gateway.ports[protocol]
        wrong = await Provider(protocol, port, secret=b"other").start()
        nobody = await Provider(protocol, port, login="999999", secret=b"other").start()
        assert wrong.is_in is nobody.is_in is False
        said = [
            {name: getattr(one.login_answer, name, None) for name in ("status", "result", "auth_ismg", "auth_server")}
            for one in (wrong, nobody)
        ]
        assert said[0] == said[1]
        third = await Provider(protocol, port, secret=b"another").start()
        assert third.is_in is False
        right = await Provider(protocol, port, source="127.0.0.1").start()
        assert right.is_in is False, "this address waits now, whoever it says it is"
        other = await Provider(protocol, port, source="127.0.0.9").start()
        assert other.is_in, "and nobody else"
        await asyncio.sleep(1.2)
        right = await Provider(protocol, port, source="127.0.0.1").start()
        assert right.is_in
        assert "logins_refused" in {alarm["code"] for alarm in gateway.gateway.alarms.documents(utc_now())}


@story
async def test_only_from_the_addresses_of_the_account(tmp_path: Path) -> None:
    async with running(tmp_path, registry((), ["cmpp"], {"addresses": ["127.0.0.2/31"]})) as gateway:
        port = gateway.ports["cmpp"]
        assert (await Provider("cmpp", port).start()).is_in is False
        assert (await Provider("cmpp", port, source="127.0.0.3").start()).is_in
    async with running(tmp_path, registry((), ["cmpp"], {"addresses": []})) as gateway:
        assert (await Provider("cmpp", gateway.ports["cmpp"], source="127.0.0.3").start()).is_in is False


@story
async def test_a_digest_counts_once_but_for_connections_of_one_second(tmp_path: Path) -> None:
    async with running(tmp_path, registry((), ["cmpp"])) as gateway:
        port, now = gateway.ports["cmpp"], utc_now()
        assert (await Provider("cmpp", port).start(now=now)).is_in
        assert (await Provider("cmpp", port).start(now=now)).is_in, "two connections of one second"
        assert (await Provider("cmpp", port, source="127.0.0.2").start(now=now)).is_in is False, "a replay"
        late = await Provider("cmpp", port, source="127.0.0.3").start(now=now - timedelta(hours=1))
        assert late.is_in is False, "its clock is off by more than is allowed"


@story
async def test_no_more_connections_than_agreed(tmp_path: Path) -> None:
    async with running(tmp_path, registry((), ["smpp"], {"connections": 2})) as gateway:
        port = gateway.ports["smpp"]
        first = await Provider("smpp", port).start()
        second = await Provider("smpp", port).start()
        assert first.is_in and second.is_in
        assert (await Provider("smpp", port).start()).is_in is False
        await first.stop()
        await gateway.until(lambda: len(gateway.gateway.doors.connections) == 1)
        assert (await Provider("smpp", port).start()).is_in


@pytest.mark.parametrize(("version", "protocol"), [(0x20, "cmpp"), (0x30, "cmpp"), (0x34, "smpp"), (0x50, "smpp")])
@story
async def test_versions_share_a_port(version: int, protocol: str, tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], [protocol])) as gateway:
        provider = await Provider(protocol, gateway.ports[protocol], version=version).start()
        provider.text()
        await provider.until(lambda: len(provider.reports) == 1)
        assert provider.reports[0].message_id == provider.answers[0][0]
    await smsc.stop()


@pytest.mark.parametrize("version", [0x7F, 0x40, 0x10])
@story
async def test_a_version_that_is_not_spoken_is_told_so(version: int, tmp_path: Path) -> None:
    async with running(tmp_path, registry((), ["cmpp"])) as gateway:
        provider = Provider("cmpp", gateway.ports["cmpp"])
        login = cmpp.Connect(
            sequence=1, source_addr=b"901234", auth_source=bytes(16), version=version, timestamp=0
        ).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        writer.write(login)
        answer = await reader.read()
        assert answer[4:8] == b"\x80\0\0\x01" and 4 in answer[12:16]
        writer.close()


# ---- limits


@story
async def test_a_flood_of_one_account_is_throttled_and_not_felt_by_another(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    wanted = registry([smsc], ["cmpp", "smgp"], {"rate_per_s": 20})
    async with running(tmp_path, wanted) as gateway:
        flood = await Provider("cmpp", gateway.ports["cmpp"]).start()
        calm = await Provider("smgp", gateway.ports["smgp"]).start()
        for number in range(60):
            flood.text(f"{HAM}{number}")
        for number in range(10):
            calm.text(f"{HAM}{number}")
        await flood.until(lambda: len(flood.answers) == 60)
        await calm.until(lambda: len(calm.answers) == 10)
        throttled = [said for _, said in flood.answers if said is not None]
        assert 30 <= len(throttled) <= 40 and set(throttled) == {"cmpp result 8"}
        assert all(said is None for _, said in calm.answers)
    await smsc.stop()


@story
async def test_what_goes_over_the_window_is_answered_by_the_protocols_throttling_code(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["smpp"], {"window": 4})) as gateway:
        provider = await Provider("smpp", gateway.ports["smpp"]).start()
        assert provider.connection is not None
        for number in range(12):
            provider.text(f"{HAM}{number}")
        await provider.until(lambda: len(provider.answers) == 12)
        said = [what for _, what in provider.answers if what is not None]
        assert said and all("88" in what or "58" in what.lower() or "THROTTLED" in what for what in said)
    await smsc.stop()


@pytest.mark.parametrize(
    ("source", "to", "accepted"),
    [("10690001", "13800138000", True), ("95588", "13800138000", False), ("10690001", "abc", False)],
)
@story
async def test_sources_and_recipients_are_checked(source: str, to: str, accepted: bool, tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        tag = provider.text(to=to, source=source)
        await provider.until(lambda: tag in provider.by_tag)
        assert (provider.by_tag[tag][1] is None) is accepted
    await smsc.stop()


@story
async def test_without_a_route_nothing_is_taken(tmp_path: Path) -> None:
    async with running(tmp_path, registry((), ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        tag = provider.text()
        await provider.until(lambda: tag in provider.by_tag)
        assert provider.by_tag[tag][1] is not None
        assert gateway.gateway.exchange.refusals["no_route"] == 1


def test_a_bucket_gives_a_burst_then_its_rate() -> None:
    bucket = TokenBucket.full(10, 0.0)
    assert bucket.take(50, 0.0) == 10
    assert bucket.take(1, 0.05) == 0
    assert bucket.wait_s(0.05) == pytest.approx(0.05)
    assert bucket.take(5, 0.31) == 3
    assert TokenBucket.full(0, 0.0).take(1000, 0.0) == 1000


def test_pauses_grow_and_end() -> None:
    guard = LoginGuard()
    waits = []
    now = 0.0
    for _ in range(12):
        guard.failed("10.0.0.1", now)
        waits.append(guard.wait_s("10.0.0.1", now))
        now += waits[-1]
    assert waits[:2] == [0.0, 0.0] and waits[2:6] == [1.0, 2.0, 4.0, 8.0] and max(waits) == 300.0
    guard.succeeded("10.0.0.1")
    assert guard.wait_s("10.0.0.1", now) == 0.0
    assert guard.wait_s("10.0.0.2", now) == 0.0


def test_a_digest_is_forgotten_when_its_time_is_over() -> None:
    proofs = Proofs()
    assert proofs.use(b"a", "10.0.0.1", 0.0, 60)
    assert proofs.use(b"a", "10.0.0.1", 1.0, 60)
    assert not proofs.use(b"a", "10.0.0.1", 3.0, 60)
    assert not proofs.use(b"a", "10.0.0.2", 1.0, 60)
    assert proofs.use(b"a", "10.0.0.2", 61.0, 60)


@pytest.mark.needs("redis")
@story
async def test_workers_count_together_in_redis_and_go_on_without_it(tmp_path: Path) -> None:
    port = free_port()
    redis = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    try:
        one, two = (InRedis(f"redis://127.0.0.1:{port}/0") for _ in range(2))
        async with asyncio.timeout(60):
            while True:
                await one.beat()
                if not one.is_away:
                    break
                await asyncio.sleep(0.05)
        shared: Sequence[Shared] = (one, two)
        assert await one.may_connect("sp", 2, "a")
        assert await two.may_connect("sp", 2, "b")
        assert not await one.may_connect("sp", 2, "c"), "two connections, on whichever worker"
        await two.left("sp", "b")
        assert await one.may_connect("sp", 2, "c")
        assert await one.use_proof(b"d", "10.0.0.1", 0.0, 60)
        assert not await two.use_proof(b"d", "10.0.0.2", 0.0, 60)
        taken, until = 0, time.monotonic() + 2.0
        while time.monotonic() < until:
            taken += sum(each.take("sp", 100, 10, 0.0) for each in shared)
            await asyncio.sleep(0.005)
        assert 150 <= taken <= 400, "a burst of a second, then the rate, over both workers together"
        redis.kill()
        redis.wait()
        await one.beat()
        assert bool(one.is_away)
        assert one.take("sp", 100, 5, 0.0) == 5, "no message stops for a counter that cannot be asked"
        assert await one.may_connect("sp", 2, "e")
        for each in shared:
            await each.close()
    finally:
        redis.kill()
        redis.wait()


def test_alone_is_the_same_rule() -> None:
    async def tell() -> None:
        alone = InProcess()
        assert await alone.may_connect("sp", 1, "a") and not await alone.may_connect("sp", 1, "b")
        await alone.left("sp", "a")
        assert await alone.may_connect("sp", 1, "b")

    asyncio.run(tell())


# ---- live changes


@story
async def test_a_changed_registry_is_live_within_a_second_and_drops_no_session(tmp_path: Path) -> None:
    first, second = await Smsc("smpp").start(), await Smsc("smpp").start()
    async with running(tmp_path, registry([first], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.text()
        await provider.until(lambda: len(provider.reports) == 1)
        before = list(first.connections)
        changed = registry([first, second], ["cmpp", "smpp"], {"rate_per_s": 7})
        routes = [changed.routes[0].model_copy(update={"to": ("smsc-1",)})]
        gateway.publish(changed.model_copy(update={"routes": tuple(routes)}))
        await gateway.until(lambda: gateway.gateway.exchange.registry.account_of["sp-cmpp"].rate_per_s == 7)
        await gateway.until(lambda: bool(second.connections))
        provider.text()
        await provider.until(lambda: len(provider.reports) == 2)
        assert len(second.received) == 1 and provider.gone is None
        assert list(first.connections) == before and before[0].link.ended is None, "its connection stayed"
        new = await Provider("smpp", gateway.ports["smpp"]).start()
        assert new.is_in
        gateway.publish(registry([first, second], ["cmpp"]))
        await new.until(lambda: new.gone is not None)
        assert provider.gone is None
    await first.stop()
    await second.stop()


@story
async def test_a_damaged_registry_leaves_the_old_one_in_force(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        (tmp_path / "gateway" / "registry.json").write_text("{")
        await gateway.until(lambda: gateway.gateway.registry.problem is not None)
        await gateway.until(
            lambda: "registry_unusable" in {one["code"] for one in gateway.gateway.alarms.documents(utc_now())}
        )
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.text()
        await provider.until(lambda: len(provider.reports) == 1)
    await smsc.stop()


# ---- TLS


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "9",
         "-keyout", key, "-out", certificate, "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@story
async def test_tls_to_an_smsc_which_asks_for_our_certificate(tmp_path: Path) -> None:
    ours, theirs = _certificate(tmp_path, "ours"), _certificate(tmp_path, "theirs")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ours[0]))
    context.load_cert_chain(*theirs)
    context.verify_mode = ssl.CERT_REQUIRED
    smsc = await Smsc("smpp").start(tls=context)
    (row,) = registry([smsc], ["cmpp"]).smscs
    tls = {"tls": True, "ca": theirs[0].read_text(), "client_certificate": ours[0].read_text()}
    shown = row.model_copy(update={**tls, "client_key": ours[1].read_text()})
    stranger = row.model_copy(update={"tls": True})  # trusts what the system trusts, and shows nothing
    async with running(
        tmp_path / "data", registry([smsc], ["cmpp"]).model_copy(update={"smscs": (stranger,)})
    ) as gateway:
        (upstream,) = gateway.gateway.exchange.upstreams.values()
        await gateway.until(lambda: "CERTIFICATE_VERIFY_FAILED" in str(upstream.last_error))
        assert not smsc.connections
        gateway.publish(registry([smsc], ["cmpp"]).model_copy(update={"smscs": (shown,)}))
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.text()
        await provider.until(lambda: len(provider.reports) == 1)
        assert len(smsc.received) == 1
        assert all(connection.is_tls for connection in upstream.connections)
    await smsc.stop()


@story
async def test_tls_a_bound_certificate_and_another_one_without_a_restart(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    ours, theirs = _certificate(tmp_path, "ours"), _certificate(tmp_path, "theirs")
    der = ssl.PEM_cert_to_DER_cert(theirs[0].read_text())
    wanted = registry([smsc], ["smpp"], {"certificate": fingerprint(der)})
    tls: dict[str, Any] = {  # Any: settings
        "tls_certificate": ours[0], "tls_key": ours[1], "tls_client_ca": theirs[0], "smpp": "tls:127.0.0.1:0",
    }  # fmt: skip
    async with running(tmp_path / "data", wanted, **tls) as gateway:
        port = gateway.ports["smpp+tls"]
        context = ssl.create_default_context(cafile=str(ours[0]))
        context.check_hostname = False
        without = await Provider("smpp", port).start(tls=context)
        assert without.is_in is False, "the account names a certificate, and none was shown"
        context.load_cert_chain(*theirs)
        provider = await Provider("smpp", port, source="127.0.0.5").start(tls=context)
        assert provider.is_in
        new = _certificate(tmp_path, "new")
        os.replace(new[1], ours[1])
        os.replace(new[0], ours[0])
        await asyncio.sleep(0.5)
        context = ssl.create_default_context(cafile=str(ours[0]))
        context.check_hostname = False
        context.load_cert_chain(*theirs)
        again = await Provider("smpp", port, source="127.0.0.5").start(tls=context)
        assert again.is_in, "the new certificate is served"
        provider.text()
        await gateway.until(lambda: len(provider.reports) + len(again.reports) == 1)
        assert provider.gone is None, "the connection of the old one stays"
    await smsc.stop()


def test_a_place_is_read_or_refused() -> None:
    assert Place.parse("cmpp", "tls:0.0.0.0:7890") == Place("cmpp", "0.0.0.0", 7890, tls=True)  # noqa: S104 - not bound
    assert Place.parse("cmpp", "[::1]:7890").host == "::1"
    for text in ("7890", "host", "host:port", "host:70000"):
        with pytest.raises(BadValue, match="HOST:PORT"):
            Place.parse("cmpp", text)


# ---- a disk that fails


class _Failing(FileOps):
    fails = False

    def write_at(self, fd: int, offset: int, chunks: Sequence[Bytes]) -> None:
        if self.fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write_at(fd, offset, chunks)


@pytest.mark.parametrize("where", ["ledger", "journal"])
@story
async def test_a_full_disk_acknowledges_nothing_and_is_overcome(where: str, tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        ops: Any = _Failing()  # Any: put under the code that runs
        target: Any = gateway.ledger if where == "ledger" else gateway.gateway.exchange._journal
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.text()
        await provider.until(lambda: len(provider.reports) == 1)
        target._ops = ops
        ops.fails = True
        bad = [provider.text(f"{HAM}{number}") for number in range(3)]
        await provider.until(lambda: len(provider.answers) == 4)
        assert {provider.by_tag[tag][1] for tag in bad} == {"cmpp result 8"}, "try later"
        assert len(smsc.received) == 1
        codes = {alarm["code"] for alarm in gateway.gateway.alarms.documents(utc_now())}
        assert codes & {"ledger_cannot_write", "journal_cannot_write"}
        ops.fails = False
        provider.text()
        await provider.until(lambda: len(provider.reports) == 2)
        assert len(smsc.received) == 2
    await smsc.stop()


# ---- HTTP


@story
async def test_messages_by_http(tmp_path: Path) -> None:
    smsc = await Smsc("cmpp").start()
    async with running(tmp_path, registry([smsc], ["http"])) as gateway:
        url = f"http://127.0.0.1:{gateway.gateway.live.ports['http']}"
        signed = {"Authorization": aiohttp.encode_basic_auth("901234", SECRET.decode())}
        body = {"from": "10690001", "to": ["13800138000"], "text": HAM * 4, "report": True}
        async with aiohttp.ClientSession() as client:
            async with client.post(f"{url}/v1/messages", json=body) as answer:
                assert answer.status == 401
            async with client.post(f"{url}/v1/messages", json=body, headers=signed) as answer:
                assert answer.status == 202, await answer.text()
                given = await answer.json()
            await gateway.until(lambda: len(smsc.received) == 2)
            async with client.post(f"{url}/v1/messages", json={**body, "text": SPAM}, headers=signed) as answer:
                assert answer.status == 403 and (await answer.json())["title"] == "blocked"
            for wrong, field in (({"to": []}, "to"), ({"text": ""}, "text"), ({"extra": 1}, "extra")):
                async with client.post(f"{url}/v1/messages", json={**body, **wrong}, headers=signed) as answer:
                    assert answer.status == 422 and field in (await answer.json())["detail"]
            async with client.post(f"{url}/v1/messages", data=b"{", headers=signed) as answer:
                assert answer.status == 400
            await gateway.until(lambda: bool(gateway.gateway.exchange.partners["sp-http"].outbox))
            async with client.get(f"{url}/v1/reports", headers=signed) as answer:
                (report,) = (await answer.json())["items"]
            assert (report["message"], report["state"]) == (given["id"], "delivered")
            async with client.post(f"{url}/v1/reports/taken", json={"ids": [report["id"]]}, headers=signed) as answer:
                assert (await answer.json()) == {"taken": 1}
            async with client.get(f"{url}/v1/reports", headers=signed) as answer:
                assert (await answer.json())["items"] == []
    await smsc.stop()


@story
async def test_metrics_and_health(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.text()
        await provider.until(lambda: len(provider.reports) == 1)
        url = f"http://127.0.0.1:{gateway.gateway.live.ports['metrics']}"
        async with aiohttp.ClientSession() as client:
            async with client.get(f"{url}/metrics") as answer:
                shown = await answer.text()
            assert 'mingbai_gateway_messages_total{what="delivered",worker="1"} 1.0' in shown
            assert 'mingbai_gateway_smsc_connections{name="smsc-0",worker="1"} 1.0' in shown
            async with client.get(f"{url}/readyz") as answer:
                assert answer.status == 200
            gateway.gateway.alarms.raise_("ledger_cannot_write", "full", utc_now())
            async with client.get(f"{url}/readyz") as answer:
                assert answer.status == 503 and (await answer.json())["problems"] == ["ledger_cannot_write"]
            async with client.get(f"{url}/healthz") as answer:
                assert answer.status == 200
        document = gateway.gateway.live.document()
        (connection,) = [one for one in document["connections"] if one["side"] == "account"]
        assert connection["name"] == "sp-cmpp" and connection["last"]
        assert "13800138000" not in str(connection["last"]), "numbers are masked there"
    await smsc.stop()


@story
async def test_reports_of_a_message_that_expired_upstream(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    smsc.state_of = lambda message: State.EXPIRED
    async with running(tmp_path, registry([smsc], ["smgp"])) as gateway:
        provider = await Provider("smgp", gateway.ports["smgp"]).start()
        provider.text()
        await provider.until(lambda: len(provider.reports) == 1)
        assert provider.reports[0].state is State.EXPIRED
        assert [row["outcome"] for row in gateway.cdrs()] == ["expired"]
    await smsc.stop()
