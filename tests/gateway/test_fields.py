"""IMSI, MSC, cell and device, by SMPP's TLVs or a feed over HTTP: rules see them, and say so where they are absent."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mingbai.connectors.gateway_registry import Account, read_row
from mingbai.connectors.policy_store import publish
from mingbai.gateway.items import Stage
from mingbai.gateway.simulators.sp import SpOptions, SpSimulator
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Reason, Verdict
from mingbai.ledger import RECORD, StreamReader
from mingbai.protocols import smpp
from mingbai.protocols.long_messages import parts_of
from mingbai.protocols.messages import ShortMessage, Wanted, write_submit
from mingbai.protocols.text import coding_of
from tests.gateway.rig import SECRET, Provider, Running, Smsc, registry, running, story

IMSI, MSC, CELL, DEVICE = "460017000000001", "8613900123", "460-00-1A2B-00F1", "352099001761481"
OTHER = "460020000000001"
CHAT = "晚上一起吃饭吗？我大概六点半到你家楼下"
TAGS = {"imsi": 0x1501, "msc": 0x1502, "cell": 0x1503, "device": 0x1504}
PERSON = {"party": "network", "access_codes": ["13"], "traffic": "personal"}
RULES = """
[rulebook]
name = "person-to-person"
version = "1"

[[rule]]
id = "sim.farm"
category = "fraud"
action = "block"
owner = "anti-fraud desk"
reason = "SIM cards that were sold as a set"
imsis = ["460017*"]
"""


def _publish(data: Path) -> None:
    publish(data, now=utc_now(), by="test", rulebook=RULES)


def _chat(text: str = CHAT, to: str = "13800138000") -> ShortMessage:
    return ShortMessage("13912345678", (to,), text.encode("utf-16-be"), coding_of("smpp", 8), wanted=Wanted.ALL)


def _send(provider: Provider, message: ShortMessage, tlvs: dict[int, bytes], kind: str = "submit_sm") -> int:
    """As the rig sends, with TLVs behind it."""
    assert provider.connection is not None
    pdu: Any = write_submit(message, "smpp")  # Any: what it becomes below
    if kind == "data_sm":
        payload = ((int(smpp.Tag.MESSAGE_PAYLOAD), message.content),)
        pdu = smpp.DataSm(
            source_addr=pdu.source_addr, destination_addr=pdu.destination_addr, data_coding=pdu.data_coding,
            registered_delivery=pdu.registered_delivery, tlvs=payload,
        )  # fmt: skip
    if kind == "deliver_sm":
        pdu = smpp.DeliverSm(
            source_addr=pdu.source_addr, destination_addr=pdu.destination_addr, data_coding=pdu.data_coding,
            short_message=message.content,
        )  # fmt: skip
    pdu.tlvs = (*pdu.tlvs, *tlvs.items())
    tag = len(provider._sent) + len(provider.by_tag) + 1
    provider._sent[tag] = pdu
    provider.connection.link.ask(pdu, tag, asyncio.get_running_loop().time())
    provider.connection.flush()
    return tag


def _entries(gateway: Running) -> list[dict[str, Any]]:
    reader = StreamReader(gateway.settings.data, "gateway-1")
    return [row for batch in reader.entries() for row in batch.to_pylist() if row["kind"] == "sms.screened"]


def _absent(entry: dict[str, Any]) -> bool:
    return int(Reason.FIELD_ABSENT) in entry["reasons"]


async def _metrics(gateway: Running) -> str:
    url = f"http://127.0.0.1:{gateway.gateway.live.ports['metrics']}/metrics"
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return await answer.text()


@pytest.mark.parametrize("kind", ["submit_sm", "data_sm", "deliver_sm"])
@story
async def test_a_rule_sees_what_an_optional_parameter_brings(kind: str, tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    _publish(tmp_path)
    async with running(tmp_path, registry([smsc], ["smpp"], {**PERSON, "fields": TAGS})) as gateway:
        provider = await Provider("smpp", gateway.ports["smpp"]).start()
        named = _send(provider, _chat(), {0x1501: IMSI.encode() + b"\0", 0x1503: CELL.encode()}, kind)
        await provider.until(lambda: named in provider.by_tag)
        other = _send(provider, _chat(), {0x1501: OTHER.encode(), 0x1502: MSC.encode()}, kind)
        await provider.until(lambda: other in provider.by_tag)
        without = _send(provider, _chat(), {}, kind)
        await provider.until(lambda: without in provider.by_tag)
        malformed = _send(provider, _chat(), {0x1501: b"\xff\xfe", 0x1504: b"35209900"}, kind)
        await provider.until(lambda: malformed in provider.by_tag and len(smsc.received) == 3)
        assert provider.by_tag[named][1] is not None
        assert all(provider.by_tag[tag][1] is None for tag in (other, without, malformed))
        entries = _entries(gateway)
        assert [entry["verdict"] for entry in entries] == [Verdict.BLOCK, *[Verdict.ALLOW] * 3]
        assert [_absent(entry) for entry in entries] == [False, False, True, True]
        assert [entry["rules"] for entry in entries] == [["sim.farm"], [], [], []]
        (account,) = gateway.gateway.live.document()["accounts"]
        assert account["fields_absent"] == {"imsi": 2, "msc": 3, "cell": 3, "device": 3}
        assert 'mingbai_gateway_fields_absent_total{account="sp-smpp",field="imsi",worker="1"} 2.0' in await _metrics(
            gateway
        )
        assert not any(tag in TAGS.values() for one in smsc.received for tag, _ in one.optional), "they stay here"
    await smsc.stop()


@story
async def test_a_subscribers_fields_are_kept_nowhere(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    _publish(tmp_path)
    async with running(tmp_path, registry([smsc], ["smpp"], {**PERSON, "fields": TAGS})) as gateway:
        provider = await Provider("smpp", gateway.ports["smpp"]).start()
        _send(provider, _chat(), {0x1501: OTHER.encode(), 0x1504: DEVICE.encode()})
        await provider.until(lambda: len(provider.reports) == 1)
        assert not set(TAGS) & set(RECORD.names)
        for path in tmp_path.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert OTHER.encode() not in content and DEVICE.encode() not in content, path
    await smsc.stop()


@story
async def test_without_tags_and_of_a_provider_nothing_is_looked_at_or_counted(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    _publish(tmp_path)
    async with running(tmp_path, registry([smsc], ["smpp"], {"access_codes": ["13"]})) as gateway:
        provider = await Provider("smpp", gateway.ports["smpp"]).start()
        _send(provider, _chat(), {0x1501: IMSI.encode()})
        await provider.until(lambda: len(provider.reports) == 1)
        (entry,) = _entries(gateway)
        # It came through an access code: such a message has no IMSI, and nothing is said.
        assert entry["verdict"] == Verdict.ALLOW and not _absent(entry)
        (account,) = gateway.gateway.live.document()["accounts"]
        assert account["fields_absent"] == {}
        assert "mingbai_gateway_fields_absent_total{" not in await _metrics(gateway)
    await smsc.stop()


def _parts(text: str) -> list[ShortMessage]:
    coding = coding_of("smpp", 8)
    return [
        ShortMessage("13912345678", ("13800138000",), content, coding, has_header=True, wanted=Wanted.ALL)
        for content in parts_of(text, coding, 7)
    ]


@pytest.mark.parametrize("bearer", [0, 1])
@story
async def test_a_field_of_any_part_counts_for_the_whole_message_also_after_a_restart(
    bearer: int, tmp_path: Path
) -> None:
    smsc = await Smsc("smpp").start()
    _publish(tmp_path)
    parts = _parts(CHAT * 4)
    assert len(parts) == 2
    wanted = registry([smsc], ["smpp"], {**PERSON, "fields": TAGS})
    brought = [{0x1501: IMSI.encode()} if place == bearer else {} for place in range(2)]
    async with running(tmp_path, wanted) as gateway:
        provider = await Provider("smpp", gateway.ports["smpp"]).start()
        _send(provider, parts[0], brought[0])
        await provider.until(lambda: len(provider.answers) == 1)
    async with running(tmp_path, wanted) as gateway:
        (item,) = gateway.gateway.exchange.store.items.values()
        assert item.stage is Stage.PENDING and item.fields == ({"imsi": IMSI} if bearer == 0 else None)
        provider = await Provider("smpp", gateway.ports["smpp"]).start()
        _send(provider, parts[1], brought[1])
        await provider.until(lambda: len(provider.reports) == 2)
        (entry,) = _entries(gateway)
        assert entry["verdict"] == Verdict.BLOCK and not smsc.received
        (account,) = gateway.gateway.live.document()["accounts"]
        assert account["fields_absent"] == {"imsi": 0, "msc": 1, "cell": 1, "device": 1}
    await smsc.stop()


@story
async def test_a_feed_names_them_in_each_message(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    _publish(tmp_path)
    async with running(tmp_path, registry([smsc], ["http"], PERSON)) as gateway:
        url = f"http://127.0.0.1:{gateway.gateway.live.ports['http']}/v1/messages"
        signed = {"Authorization": aiohttp.encode_basic_auth("901234", SECRET.decode())}
        body = {"from": "13912345678", "to": ["13800138000"], "text": CHAT}
        fields = {"imsi": IMSI, "msc": MSC, "cell": CELL, "device": DEVICE}
        async with aiohttp.ClientSession(headers=signed) as client:

            async def submit(**more: object) -> tuple[int, dict[str, Any]]:
                async with client.post(url, json={**body, **more}) as answer:
                    return answer.status, json.loads(await answer.text())

            status, said = await submit(**fields)
            assert status == 403 and said["title"] == "blocked"
            assert (await submit(**{**fields, "imsi": OTHER}))[0] == 202
            assert (await submit(imsi=None))[0] == 202
            for wrong in ({"imsi": "46001x"}, {"device": 35209900}, {"cell": ""}, {"msc": "a b"}):
                status, said = await submit(**wrong)
                assert status == 422 and said["detail"].startswith(f"{next(iter(wrong))}: expected")
        await gateway.until(lambda: len(smsc.received) == 2)
        entries = _entries(gateway)
        assert [entry["verdict"] for entry in entries] == [Verdict.BLOCK, Verdict.ALLOW, Verdict.ALLOW]
        assert [_absent(entry) for entry in entries] == [False, False, True]
        (account,) = gateway.gateway.live.document()["accounts"]
        assert account["fields_absent"] == {"imsi": 1, "msc": 1, "cell": 1, "device": 1}
    await smsc.stop()


@story
async def test_a_providers_message_by_http_has_none(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["http"])) as gateway:
        url = f"http://127.0.0.1:{gateway.gateway.live.ports['http']}/v1/messages"
        signed = {"Authorization": aiohttp.encode_basic_auth("901234", SECRET.decode())}
        body = {"from": "10690001", "to": ["13800138000"], "text": CHAT, "imsi": IMSI}
        async with aiohttp.ClientSession(headers=signed) as client, client.post(url, json=body) as answer:
            assert answer.status == 422
            assert "imsi" in (await answer.json(content_type=None))["detail"]
    assert not smsc.received
    await smsc.stop()


@story
async def test_the_simulated_provider_sends_them(tmp_path: Path) -> None:
    smsc = await Smsc("smpp").start()
    _publish(tmp_path)
    async with running(tmp_path, registry([smsc], ["smpp"], {**PERSON, "fields": TAGS})) as gateway:
        place = f"127.0.0.1:{gateway.ports['smpp']}"
        texts = [CHAT]
        options: dict[str, Any] = {"login": "901234", "secret": SECRET, "source": "13912345678", "count": 3}
        done = await SpSimulator(SpOptions("smpp", place, texts=texts, tlvs=[f"0x1501={IMSI}"], **options)).run()
        assert sum(done.refused.values()) == 3 and done.accepted == 0
        done = await SpSimulator(SpOptions("smpp", place, texts=texts, **options)).run()
        assert done.accepted == 3
        assert [_absent(entry) for entry in _entries(gateway)] == [False] * 3 + [True] * 3
    await smsc.stop()


@pytest.mark.parametrize("tlv", ["0x1501", "0x10000=1", "imsi=1", "0x1501=手机"])
def test_a_tlv_that_makes_no_sense_is_named(tlv: str) -> None:
    with pytest.raises(BadValue, match="--tlv"):
        SpSimulator(SpOptions("smpp", "127.0.0.1:1", tlvs=[tlv]))
    with pytest.raises(BadValue, match="--tlv"):
        SpSimulator(SpOptions("cmpp", "127.0.0.1:1", tlvs=["0x1501=1"]))


# ---- the registry


def _account(**given: object) -> Account:
    row = {"name": "hlr", "protocol": "smpp", "login": "hlr", "party": "network", **given}
    found = read_row("accounts", row)
    assert isinstance(found, Account)
    return found


def test_tags_are_numbers_also_as_a_form_writes_them() -> None:
    assert _account(fields={"imsi": 0x1501, "msc": "0x1502", "cell": "5379"}).fields == {
        "imsi": 0x1501, "msc": 0x1502, "cell": 0x1503,
    }  # fmt: skip
    assert _account().fields == {} and _account().brought == ()
    assert _account(protocol="http").brought == ("imsi", "msc", "cell", "device")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"fields": {"imsi": 0x10000}}, "fields.imsi"),
        ({"fields": {"imsi": -1}}, "fields.imsi"),
        ({"fields": {"imsi": "tag"}}, "fields.imsi"),
        ({"fields": {"imsi": True}}, "fields.imsi"),
        ({"fields": {"imei": 0x1501}}, "fields.imei"),
        ({"fields": {"imsi": 0x1501, "msc": 0x1501}}, "fields.msc"),
        ({"fields": ["imsi"]}, "fields"),
        ({"fields": TAGS, "party": "provider"}, "fields"),
        ({"fields": TAGS, "protocol": "http"}, "fields"),
        ({"fields": TAGS, "protocol": "cmpp"}, "fields"),
    ],
)
def test_a_wrong_tag_is_refused_with_its_place(given: dict[str, object], field: str) -> None:
    with pytest.raises(BadValue) as caught:
        _account(**given)
    assert caught.value.data["field"] == field


@story
async def test_what_no_network_says_by_deliver_sm_is_declined(tmp_path: Path) -> None:
    """A provider's account hands on no subscriber's messages."""
    smsc = await Smsc("smpp").start()
    async with running(tmp_path, registry([smsc], ["smpp"])) as gateway:
        provider = await Provider("smpp", gateway.ports["smpp"]).start()
        tag = _send(provider, _chat(), {}, "deliver_sm")
        await provider.until(lambda: tag in provider.by_tag)
        assert provider.by_tag[tag][1] is not None and not smsc.received and not _entries(gateway)
    await smsc.stop()
