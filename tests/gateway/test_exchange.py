"""Messages through the gateway on real sockets: every protocol in, every protocol out, reports and messages back."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

import pytest

from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Reason, Verdict
from mingbai.ledger import StreamReader
from mingbai.protocols.long_messages import parts_of
from mingbai.protocols.messages import ShortMessage, Wanted
from mingbai.protocols.receipts import State
from mingbai.protocols.reports import Refusal
from mingbai.protocols.text import coding_of, decode
from tests.gateway.rig import (
    HAM,
    PROTOCOLS,
    SPAM,
    Callback,
    Provider,
    Running,
    Smsc,
    registry,
    running,
    story,
)


def _texts(smsc: Smsc) -> list[str]:
    return [decode(one.part().payload, one.coding).text for one in smsc.received]


def _parts(text: str, protocol: str = "cmpp", to: str = "13800138000", reference: int = 7) -> list[ShortMessage]:
    coding = coding_of(protocol, 8)
    return [
        ShortMessage("10690001", (to,), content, coding, has_header=True, wanted=Wanted.ALL)
        for content in parts_of(text, coding, reference)
    ]


def _entries(gateway: Running) -> list[dict[str, object]]:
    reader = StreamReader(gateway.settings.data, "gateway-1")
    return [row for batch in reader.entries() for row in batch.to_pylist() if row["kind"] == "sms.screened"]


@pytest.mark.parametrize(("protocol", "other"), [*itertools.product(PROTOCOLS, PROTOCOLS)])
@story
async def test_any_protocol_in_any_out_and_the_report_back(protocol: str, other: str, tmp_path: Path) -> None:
    smsc = await Smsc(other).start()
    callback = await Callback().start()
    given = {"callback": f"127.0.0.1:{callback.port}"} if protocol == "sgip" else {}
    async with running(tmp_path, registry([smsc], [protocol], given)) as gateway:
        provider = await Provider(protocol, gateway.ports[protocol]).start()
        assert provider.is_in
        if other == "sgip":  # its SMSC calls us to bring reports
            caller = await Provider("sgip", gateway.ports["sgip"], login="ming").start()
            assert caller.is_in
            smsc.connections.clear()
            assert caller.connection is not None
            caller_connection = caller.connection
            smsc.ask = lambda connection, pdu: Smsc.ask(smsc, caller_connection, pdu)  # type: ignore[method-assign]
        for number in range(20):
            provider.text(f"{HAM}{number}", f"1380013{number:04d}")
        await provider.until(lambda: len(provider.answers) == 20)
        ids = {message_id for message_id, _ in provider.answers}
        assert len(ids) == 20 and all(said is None for _, said in provider.answers)
        told = callback.reports if protocol == "sgip" else provider.reports
        await gateway.until(lambda: len(told) == 20)
        assert {one.message_id for one in told} == ids
        assert {one.state for one in told} == {State.DELIVERED}
        assert not gateway.gateway.exchange.store.items
        await gateway.until(lambda: not gateway.gateway.exchange.store.owed)
        assert sorted(_texts(smsc)) == sorted(f"{HAM}{number}" for number in range(20))
        assert all(smsc.login_ok)
        assert [row["outcome"] for row in gateway.cdrs()] == ["delivered"] * 20
        assert len(_entries(gateway)) == 20
        await provider.stop()
    await smsc.stop()
    await callback.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@story
async def test_a_subscribers_message_comes_to_whoever_has_the_code(protocol: str, tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    callback = await Callback().start()
    given = {"callback": f"127.0.0.1:{callback.port}"} if protocol == "sgip" else {}
    async with running(tmp_path, registry([smsc], [protocol], given)) as gateway:
        provider = await Provider(protocol, gateway.ports[protocol]).start()
        await gateway.until(lambda: bool(smsc.connections))
        smsc.originate("13800138000", "106900019", "TD 退订")
        messages = callback.messages if protocol == "sgip" else provider.messages
        await gateway.until(lambda: len(messages) == 1)
        (message,) = messages
        assert message.source.endswith("13800138000") and message.destinations == ("106900019",)
        assert decode(message.content, message.coding).text == "TD 退订"
        await gateway.until(lambda: not gateway.gateway.exchange.store.originated)
        smsc.originate("13800138000", "95588", "nobody has that code")
        await gateway.until(lambda: gateway.gateway.exchange.totals["originated_unrouted"] == 1)
    await smsc.stop()
    await callback.stop()


@story
async def test_optional_parameters_of_smpp_reach_the_smsc(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    optional = ((0x1403, b"vendor"), (0x7777, b""))
    async with running(tmp_path, registry([smsc], ["smpp"])) as gateway:
        provider = await Provider("smpp", gateway.ports["smpp"]).start()
        provider.text(optional=optional)
        await provider.until(lambda: len(provider.reports) == 1)
        assert [one.optional for one in smsc.received] == [optional]
        await provider.stop()
    await smsc.stop()


# ---- verdicts


@pytest.mark.parametrize("protocol", ["cmpp", "smgp", "smpp"])
@story
async def test_a_blocked_message_is_refused_and_goes_nowhere(protocol: str, tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], [protocol])) as gateway:
        provider = await Provider(protocol, gateway.ports[protocol]).start()
        bad, good = provider.text(SPAM), provider.text(HAM)
        await provider.until(lambda: len(provider.answers) == 2 and len(provider.reports) == 1)
        assert provider.by_tag[bad][1] is not None and provider.by_tag[good][1] is None
        assert _texts(smsc) == [HAM]
        assert sorted((row["outcome"], row["detail"]) for row in gateway.cdrs()) == [
            ("delivered", "DELIVRD"),
            ("refused", "screen"),
        ]
    await smsc.stop()


@story
async def test_the_operator_chooses_the_code_of_a_blocked_message(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["smpp"], {"blocked_code": 0x66})) as gateway:
        provider = await Provider("smpp", gateway.ports["smpp"]).start()
        tag = provider.text(SPAM)
        await provider.until(lambda: bool(provider.answers))
        assert "66" in str(provider.by_tag[tag][1])
    await smsc.stop()


@story
async def test_swallowed_is_accepted_and_truthfully_reported(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["cmpp"], {"blocked": "swallow"})) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        tag = provider.text(SPAM)
        await provider.until(lambda: len(provider.reports) == 1)
        message_id, said = provider.by_tag[tag]
        assert said is None
        assert (provider.reports[0].message_id, provider.reports[0].state) == (message_id, State.REJECTED)
        assert not smsc.received
    await smsc.stop()


@story
async def test_observing_decides_records_and_forwards_all(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["cmpp"], {"mode": "observe"})) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.text(SPAM)
        await provider.until(lambda: len(provider.reports) == 1)
        assert _texts(smsc) == [SPAM]
        assert [row["verdict"] for row in _entries(gateway)] == [Verdict.BLOCK]
    await smsc.stop()


@story
async def test_a_bypass_forwards_unscreened_until_it_is_over(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        until = utc_now() + timedelta(seconds=8)
        bypassed = registry([smsc], ["cmpp"], {"mode": "bypass", "bypass_until": until})
        gateway.publish(bypassed)
        await gateway.until(lambda: "bypass_in_force" in gateway.gateway.alarms)
        provider.text(SPAM)
        await provider.until(lambda: len(provider.reports) == 1)
        (entry,) = _entries(gateway)
        assert entry["reasons"] == [Reason.UNSCREENED]
        await gateway.until(lambda: utc_now() > until)
        await gateway.until(lambda: "bypass_in_force" not in gateway.gateway.alarms)
        tag = provider.text(SPAM)
        await provider.until(lambda: tag in provider.by_tag)
        assert provider.by_tag[tag][1] is not None
    await smsc.stop()


@story
async def test_a_held_message_waits_for_a_person(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    doubtful = "恭喜您获得贷款额度，详询客服"
    wanted = registry([smsc], ["cmpp"], classes=[{"name": "commercial", "unscreened": "hold"}])
    async with running(tmp_path, wanted) as gateway:
        _break_engine(gateway)
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.text(doubtful)
        provider.text(doubtful, "13800138001")
        await provider.until(lambda: len(provider.answers) == 2)
        assert not smsc.received and not provider.reports, "an answer, and no report before somebody decided"
        first, second = sorted(one.entry for one in gateway.gateway.exchange.store.items.values())
        assert gateway.gateway.exchange.orders.release(first) == 1
        await provider.until(lambda: len(provider.reports) == 1)
        assert provider.reports[0].state is State.DELIVERED and len(smsc.received) == 1
        assert gateway.gateway.exchange.orders.refuse_held(second) == 1
        await provider.until(lambda: len(provider.reports) == 2)
        assert provider.reports[1].state is State.REJECTED and len(smsc.received) == 1
        assert gateway.gateway.exchange.orders.release(second) == 0, "once"
    await smsc.stop()


def _break_engine(gateway: Running) -> None:
    """The model becomes what nothing can be computed with: a real failure of the engine, for every message."""
    from dataclasses import replace

    follower = gateway.gateway._follower
    follower.in_force = replace(follower.in_force, policy=replace(follower.in_force.policy, model=None))  # type: ignore[arg-type]


@pytest.mark.parametrize(("rule", "said", "arrives"), [("forward", None, 1), ("try_later", "8", 0)])
@story
async def test_the_failure_rule_of_the_class(rule: str, said: str | None, arrives: int, tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    wanted = registry([smsc], ["cmpp"], classes=[{"name": "commercial", "unscreened": rule}])
    async with running(tmp_path, wanted) as gateway:
        _break_engine(gateway)
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        tag = provider.text(HAM)
        await provider.until(lambda: tag in provider.by_tag)
        answer = provider.by_tag[tag][1]
        assert answer is None if said is None else said in str(answer)
        await gateway.until(lambda: len(smsc.received) == arrives)
        assert [row["reasons"] for row in _entries(gateway)] == [[Reason.UNSCREENED]]
        assert "messages_unscreened" in {alarm["code"] for alarm in gateway.gateway.alarms.documents(utc_now())}
    await smsc.stop()


# ---- long messages


@story
async def test_parts_are_answered_at_once_judged_together_and_go_on_as_they_came(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    text = HAM * 6
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        parts = _parts(text)
        for part in parts[1:]:
            provider.send(part)
        await provider.until(lambda: len(provider.answers) == len(parts) - 1)
        assert not smsc.received and not _entries(gateway)
        provider.send(parts[0])
        await provider.until(lambda: len(provider.reports) == len(parts))
        assert {one.message_id for one in provider.reports} == {one for one, _ in provider.answers}
        assert sorted(one.content for one in smsc.received) == sorted(part.content for part in parts)
        assert len(_entries(gateway)) == 1
    await smsc.stop()


@story
async def test_spam_over_several_parts_is_stopped_and_each_part_reported(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        parts = _parts(SPAM * 3)
        assert len(parts) > 1
        for part in parts:
            provider.send(part)
        await provider.until(lambda: len(provider.reports) == len(parts))
        assert {one.state for one in provider.reports} == {State.REJECTED}
        assert not smsc.received
    await smsc.stop()


@story
async def test_a_part_that_never_comes_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    wanted = registry([smsc], ["cmpp"], classes=[{"name": "commercial", "part_wait_s": 1}])
    async with running(tmp_path, wanted) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.send(_parts(HAM * 6)[0])
        await provider.until(lambda: len(provider.reports) == 1)
        assert len(smsc.received) == 1
    await smsc.stop()


@story
async def test_a_pending_part_survives_a_restart(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    parts = _parts(HAM * 4)
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.send(parts[0])
        await provider.until(lambda: len(provider.answers) == 1)
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        for part in parts[1:]:
            provider.send(part)
        await provider.until(lambda: len(provider.reports) == len(parts))
        assert len(smsc.received) == len(parts)
    await smsc.stop()


@story
async def test_many_recipients_have_one_id_and_a_report_each(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        numbers = [f"138001380{number:02d}" for number in range(99)]
        provider.text(HAM, numbers)
        await provider.until(lambda: len(provider.reports) == 99)
        assert len(provider.answers) == 1
        assert {one.message_id for one in provider.reports} == {provider.answers[0][0]}
        assert sorted(one.destination for one in provider.reports) == numbers
    await smsc.stop()


@story
async def test_a_doubtful_message_goes_on_with_its_warning(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    wanted = registry([smsc], ["cmpp"], classes=[{"name": "commercial", "flagged": "warn", "warning": "【疑似】"}])
    async with running(tmp_path, wanted) as gateway:
        exchange = gateway.gateway.exchange
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        candidates = [f"春季特惠，全场{number}折，欢迎到店选购" for number in range(1, 9)]
        for text in candidates:
            provider.text(text)
        await provider.until(lambda: len(provider.answers) == len(candidates))
        accepted = sum(said is None for _, said in provider.answers)
        await provider.until(lambda: len(provider.reports) == accepted)
        flagged = [row for row in _entries(gateway) if row["verdict"] == Verdict.FLAG]
        assert len([text for text in _texts(smsc) if text.startswith("【疑似】")]) == len(flagged)
        assert exchange.totals["delivered"] == accepted
    await smsc.stop()


# ---- SMSCs


@story
async def test_what_waits_for_an_smsc_goes_when_it_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mingbai.gateway.upstream._DOWN_S", 0.5)
    smsc = await Smsc("smpp").start()
    port = smsc.port
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.text()
        await provider.until(lambda: len(provider.reports) == 1)
        await smsc.stop()
        for number in range(30):
            provider.text(f"{HAM}{number}")
        await provider.until(lambda: len(provider.answers) == 31)
        await gateway.until(lambda: "smsc_down" in gateway.gateway.alarms)
        await smsc.start(port)
        await provider.until(lambda: len(provider.reports) == 31)
        await gateway.until(lambda: "smsc_down" not in gateway.gateway.alarms)
        assert len(smsc.received) == 31
    await smsc.stop()


@story
async def test_the_next_smsc_of_the_route_takes_over(tmp_path: Path) -> None:
    first, second = await Smsc("smpp").start(), await Smsc("cmpp").start()
    async with running(tmp_path, registry([first, second], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        await gateway.until(lambda: bool(first.connections and second.connections))
        provider.text()
        await provider.until(lambda: len(provider.reports) == 1)
        assert (len(first.received), len(second.received)) == (1, 0)
        await first.stop()
        for number in range(20):
            provider.text(f"{HAM}{number}")
        await provider.until(lambda: len(provider.reports) == 21)
        assert len(second.received) == 20
    await second.stop()


@story
async def test_a_throttling_smsc_is_asked_again_in_order_and_never_in_vain(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    calls = itertools.count()
    smsc.refuse = lambda message: Refusal.THROTTLED if next(calls) % 5 == 4 else None
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        for number in range(40):
            provider.text(f"{HAM}{number}")
        await provider.until(lambda: len(provider.reports) == 40)
        assert len(smsc.received) == 40
        assert len(set(_texts(smsc))) == 40, "none was sent twice"
    await smsc.stop()


@story
async def test_a_refusal_of_the_smsc_comes_back_as_a_report(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    smsc.refuse = lambda message: Refusal.BAD_DESTINATION
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.text()
        await provider.until(lambda: len(provider.reports) == 1)
        assert provider.reports[0].state is State.REJECTED
        (row,) = gateway.cdrs()
        assert row["outcome"] == "refused" and row["detail"].startswith("smsc smsc-0")
    await smsc.stop()


@story
async def test_after_enough_tries_a_message_is_a_dead_letter_that_a_person_can_send_again(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    smsc.refuse = lambda message: Refusal.THROTTLED
    wanted = registry([smsc], ["cmpp"], classes=[{"name": "commercial", "attempts": 2}])
    async with running(tmp_path, wanted) as gateway:
        exchange = gateway.gateway.exchange
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.text()
        provider.text(to="13800138001")
        await gateway.until(lambda: exchange.totals["dead"] == 2)
        assert not provider.reports
        first, second = sorted(exchange.store.items)
        smsc.refuse = lambda message: None
        assert exchange.orders.resend([first]) == 1
        await provider.until(lambda: len(provider.reports) == 1)
        assert exchange.orders.drop([second, first]) == 1
        await provider.until(lambda: len(provider.reports) == 2)
        assert provider.reports[1].state is State.UNDELIVERABLE
        assert sorted(row["outcome"] for row in gateway.cdrs()) == ["dead_letter", "delivered"]
    await smsc.stop()


@pytest.mark.parametrize(("rule", "outcome"), [("resend", "delivered"), ("drop", "in_doubt"), ("ask", None)])
@story
async def test_sent_and_not_answered_is_in_doubt(rule: str, outcome: str | None, tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    port = smsc.port
    wanted = registry([smsc], ["cmpp"], classes=[{"name": "commercial", "in_doubt": rule}])
    async with running(tmp_path, wanted) as gateway:
        exchange = gateway.gateway.exchange
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        await gateway.until(lambda: bool(smsc.connections))
        smsc.is_silent = True
        for number in range(3):
            provider.text(f"{HAM}{number}")
        await gateway.until(lambda: len(smsc.received) == 3)
        await smsc.stop()
        await gateway.until(lambda: exchange.totals["in_doubt"] == 3)
        smsc.is_silent = False
        await smsc.start(port)
        if outcome is None:
            assert [one.stage.name for one in exchange.store.items.values()] == ["DOUBT"] * 3
            assert exchange.orders.resend(list(exchange.store.items)) == 3
            outcome = "delivered"
        if outcome == "delivered":
            await provider.until(lambda: len(provider.reports) == 3)
        assert [row["outcome"] for row in gateway.cdrs()] == [outcome] * 3
    await smsc.stop()


@story
async def test_a_report_that_overtakes_its_answer_is_not_lost(tmp_path: Path) -> None:
    smsc = await Smsc("smpp", early=True).start()
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        for number in range(20):
            provider.text(f"{HAM}{number}")
        await provider.until(lambda: len(provider.reports) == 20)
        assert not gateway.gateway.exchange.store.awaiting
    await smsc.stop()


@story
async def test_ids_in_another_radix_are_matched(tmp_path: Path) -> None:
    smsc = await Smsc("smpp", report_id=lambda said: format(int(said), "X").zfill(12)).start()
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        for number in range(30):
            provider.text(f"{HAM}{number}", f"1380013{number:04d}")
        await provider.until(lambda: len(provider.reports) == 30)
        assert len({one.message_id for one in provider.reports}) == 30
    await smsc.stop()


@story
async def test_reports_that_are_waited_for_are_matched_after_a_restart(tmp_path: Path) -> None:
    smsc = await Smsc("smpp", reports=False).start()
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        for number in range(10):
            provider.text(f"{HAM}{number}")
        await gateway.until(lambda: gateway.gateway.exchange.store.awaiting == 10)
        ids = {message_id for message_id, _ in provider.answers}
    late = list(smsc.received)
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        await gateway.until(lambda: bool(smsc.connections))
        for place, message in reversed(list(enumerate(late))):
            smsc._report(smsc.connections[-1], message, str(1001 + place))
        await gateway.until(lambda: len(gateway.gateway.exchange.store.owed) == 10)
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        await provider.until(lambda: len(provider.reports) == 10)
        assert {one.message_id for one in provider.reports} == ids
        provider.text()
        await provider.until(lambda: len(provider.answers) == 1)
        assert provider.answers[0][0] not in ids, "a start gives out no id twice"
    await smsc.stop()


@story
async def test_reports_wait_for_an_account_that_is_away(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.text()
        await provider.until(lambda: len(provider.answers) == 1)
        assert provider.connection is not None
        provider.connection.abort()
        await gateway.until(lambda: len(gateway.gateway.exchange.store.owed) == 1)
        again = await Provider("cmpp", gateway.ports["cmpp"]).start()
        await again.until(lambda: len(again.reports) == 1)
        assert again.reports[0].message_id == provider.answers[0][0]
    await smsc.stop()


@story
async def test_an_expired_message_ends_as_expired(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    await smsc.stop()
    async with running(tmp_path, registry([smsc], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.text(valid_until=utc_now() + timedelta(seconds=2))
        tag = provider.text(valid_until=utc_now() - timedelta(minutes=2))
        await provider.until(lambda: len(provider.reports) == 1)
        assert provider.reports[0].state is State.EXPIRED
        assert provider.by_tag[tag][1] is not None, "one that is over already is not taken"
        assert [row["outcome"] for row in gateway.cdrs()] == ["expired"]


@story
async def test_what_waits_for_an_smsc_that_is_away_goes_by_the_next_one_as_soon_as_that_comes(tmp_path: Path) -> None:
    first, second = await Smsc("smpp").start(), await Smsc("smpp").start()
    port = second.port
    await first.stop()
    await second.stop()
    async with running(tmp_path, registry([first, second], ["cmpp"])) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        for number in range(5):
            provider.text(f"{HAM}{number}")
        await provider.until(lambda: len(provider.answers) == 5)
        await second.start(port)
        await provider.until(lambda: len(provider.reports) == 5, 30.0)
        assert len(second.received) == 5
    await second.stop()


@story
async def test_a_start_without_a_readable_registry_waits_for_one(tmp_path: Path) -> None:
    smsc = await Smsc("smpp", reports=False).start()
    port = smsc.port
    wanted = registry([smsc], ["cmpp"])
    async with running(tmp_path, wanted) as gateway:
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        provider.text()
        await gateway.until(lambda: gateway.gateway.exchange.store.awaiting == 1)
        await smsc.stop()
        provider.text(to="13800138001")
        await provider.until(lambda: len(provider.answers) == 2)
    path = tmp_path / "gateway" / "registry.json"
    whole = path.read_text()
    path.write_text("{")
    await smsc.start(port)
    async with running(tmp_path, wanted, publishes=False) as gateway:
        exchange = gateway.gateway.exchange
        assert [one.stage.name for one in exchange.store.items.values()] == ["QUEUED"]
        path.write_text(whole)
        await gateway.until(lambda: len(smsc.received) == 2)
        smsc._report(smsc.connections[-1], smsc.received[0], "1001")
        provider = await Provider("cmpp", gateway.ports["cmpp"]).start()
        await provider.until(lambda: len(provider.reports) == 1)
        assert exchange.totals["dead"] == 0
    await smsc.stop()
