"""Several workers of one gateway: a report, or a subscriber's message, that comes to another worker than it is for."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from mingbai.kernel.clock import utc_now
from mingbai.protocols.receipts import State
from mingbai.protocols.text import decode
from tests.gateway.rig import HAM, Provider, Smsc, registry, running, story


@story
async def test_a_report_finds_its_message_and_its_account_over_the_workers(tmp_path: Path) -> None:
    smsc = await Smsc("smpp", reports=False).start()
    wanted = registry([smsc], ["cmpp"])
    async with (
        running(tmp_path, wanted, worker=1, workers=2) as first,
        running(tmp_path, wanted, worker=2, workers=2, metrics="off", http="off") as second,
    ):
        provider = await Provider("cmpp", first.ports["cmpp"]).start()
        await first.until(lambda: len(smsc.connections) == 2)
        by_port = {
            one.link.peer if hasattr(one.link, "peer") else one.peer[1]: one for one in smsc.connections
        }  # both are the gateway's; the second worker's is told by its own socket
        for number in range(10):
            provider.text(f"{HAM}{number}")
        await first.until(lambda: first.gateway.exchange.store.awaiting == 10)
        (upstream,) = second.gateway.exchange.upstreams.values()
        (mine,) = upstream.connections
        assert mine._transport is not None
        own_port = mine._transport.get_extra_info("sockname")[1]
        for place, message in enumerate(smsc.received):
            smsc._report(by_port[own_port], message, str(1001 + place))
        await provider.until(lambda: len(provider.reports) == 10)
        assert {one.state for one in provider.reports} == {State.DELIVERED}
        assert {one.message_id for one in provider.reports} == {one for one, _ in provider.answers}
        await second.until(lambda: not second.gateway.exchange.store.is_dirty)
        assert second.gateway.exchange.totals["reports_unmatched"] == 0
        url = f"http://127.0.0.1:{first.gateway.live.ports['metrics']}"
        async with aiohttp.ClientSession() as client:
            async with client.get(f"{url}/metrics") as answer:
                shown = await answer.text()
            for worker in ("1", "2"):
                assert f'mingbai_gateway_smsc_connections{{name="smsc-0",worker="{worker}"}} 1.0' in shown
            second.gateway.alarms.raise_("journal_cannot_write", "full", utc_now())
            async with client.get(f"{url}/readyz") as answer:
                assert answer.status == 503 and (await answer.json())["problems"] == ["journal_cannot_write"]
    await smsc.stop()


@story
async def test_a_subscribers_message_goes_to_the_worker_that_its_provider_is_connected_to(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    wanted = registry([smsc], ["cmpp"])
    async with (
        running(tmp_path, wanted, worker=1, workers=2) as first,
        running(tmp_path, wanted, worker=2, workers=2, metrics="off", http="off"),
    ):
        await first.until(lambda: len(smsc.connections) == 2)
        for connection in list(smsc.connections):
            smsc.connections.append(connection)
            smsc.originate("13800138000", "10690001", "T")
        provider = await Provider("cmpp", first.ports["cmpp"]).start()
        await provider.until(lambda: len(provider.messages) == 2)
        assert [decode(one.content, one.coding).text for one in provider.messages] == ["T", "T"]
    await smsc.stop()


@story
async def test_a_report_of_no_message_stays_parked_and_is_counted_once(tmp_path: Path) -> None:
    smsc = await Smsc("smpp", reports=False).start()
    wanted = registry([smsc], ["cmpp"])
    async with (
        running(tmp_path, wanted, worker=1, workers=2) as first,
        running(tmp_path, wanted, worker=2, workers=2, metrics="off", http="off") as second,
    ):
        provider = await Provider("cmpp", first.ports["cmpp"]).start()
        provider.text()
        await first.until(lambda: len(smsc.received) == 1)
        smsc._report(smsc.connections[0], smsc.received[0], "987654321")
        smsc._report(smsc.connections[1], smsc.received[0], "987654322")
        await first.until(
            lambda: (
                sum(
                    upstream.matcher.parked
                    for each in (first, second)
                    for upstream in each.gateway.exchange.upstreams.values()
                )
                == 2
            )
        )
        assert not provider.reports
    await smsc.stop()
