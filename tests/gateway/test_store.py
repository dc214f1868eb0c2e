"""What the gateway has on its hands: memory and journal agree, after any history and any restart."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mingbai.gateway.dispatch import owed_for
from mingbai.gateway.items import Item, Originated, Stage, packed, unpacked
from mingbai.gateway.journal import Journal
from mingbai.gateway.store import Store
from mingbai.ledger import KeyStore
from mingbai.protocols.long_messages import Mark, MarkKind
from mingbai.protocols.messages import ShortMessage, Wanted
from mingbai.protocols.receipts import State
from mingbai.protocols.text import Encoding, coding_of


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore.open_or_create(tmp_path / "keys.json")


def _message(text: str = "您好", number: str = "13800138000") -> ShortMessage:
    return ShortMessage("106901", (number,), text.encode("utf-16-be"), coding_of("cmpp", 8), wanted=Wanted.ALL)


def _item(store: Store, **values: object) -> Item:
    return Item(store.next_id(), "sp", "cmpp", "77", _message(), Stage.QUEUED, 1.0, 9e9, "commercial", **values)  # type: ignore[arg-type]  # fields of Item


def _state(store: Store) -> dict[str, object]:
    return {
        "items": {n: (i.stage, i.smsc, i.attempts, i.entry, i.message, i.reason) for n, i in store.items.items()},
        "awaited": sorted((a.id, a.upstream_id, a.account, a.peer_id) for a in store.all_awaited()),
        "owed": sorted((o.id, o.state, o.peer_id) for o in store.owed.values()),
        "originated": sorted(store.originated),
    }


@pytest.mark.parametrize("protocol", ["cmpp", "sgip", "smgp", "smpp", "http"])
def test_a_message_survives_the_journal(protocol: str) -> None:
    coded = "cmpp" if protocol == "http" else protocol
    for octet, alphabet in ((0, None), (8, None), (15, None), (0, Encoding.GB18030), (4, None)):
        message = ShortMessage(
            "106901", ("13800138000",), b"\x05\x00\x03\x07\x02\x01ab", coding_of(coded, octet, alphabet),
            has_header=True, mark=Mark(MarkKind.SAR, 300, 3, 2), wanted=Wanted.FAILURE, service="S", protocol_id=1,
            priority=2,
        )  # fmt: skip
        assert unpacked(packed(message, protocol), protocol) == message


def test_any_history_reads_back_as_it_was(tmp_path: Path, keys: KeyStore) -> None:
    rnd = random.Random(11)
    journal = Journal(tmp_path / "j", keys, limit=4000)
    store = Store(journal, 1)
    list(journal.replay())
    for _ in range(600):
        choice = rnd.random()
        items = list(store.items.values())
        if choice < 0.4 or not items:
            store.accept(_item(store))
        elif choice < 0.55:
            item = rnd.choice(items)
            item.stage = rnd.choice([Stage.SENT, Stage.HELD, Stage.DEAD, Stage.QUEUED])
            item.smsc, item.attempts = rnd.choice(["", "a", "b"]), item.attempts + 1
            store.moved(item)
        elif choice < 0.7:
            store.awaits(rnd.choice(items), f"id{rnd.random()}", 9e9)
        elif choice < 0.8:
            store.end(rnd.choice(items).id)
        elif choice < 0.88:
            item = rnd.choice(items)
            store.owes(owed_for(item, State.REJECTED, 2.0))
        elif choice < 0.92 and store.awaiting:
            awaited = next(iter(store.all_awaited()))
            store.end(awaited.id)
        elif choice < 0.96:
            store.originate(Originated(store.next_id(), "sp", "cmpp", _message(), 1.0, 9e9))
        elif store.owed:
            store.end(next(iter(store.owed)))
        if rnd.random() < 0.4:
            store.flush()
    store.flush()
    journal.close()
    again = Store(Journal(tmp_path / "j", keys), 1)
    again.recover()
    assert _state(again) == _state(store)
    assert again.next_id() > max(store.items, default=0)


def test_files_go_when_nothing_in_them_is_unfinished(tmp_path: Path, keys: KeyStore) -> None:
    now = [1000.0]
    journal = Journal(tmp_path / "j", keys, limit=2000)
    store = Store(journal, 0, clock=lambda: now[0])
    old = _item(store)
    store.accept(old)
    for _ in range(300):
        item = _item(store)
        store.accept(item)
        store.flush()
        store.end(item.id)
        store.flush()
        now[0] += 1
        store.compact()
    assert len(journal.segments) <= 12
    assert old.id in store.items
    journal.close()
    again = Store(Journal(tmp_path / "j", keys), 0)
    again.recover()
    assert list(again.items) == [old.id], "the old one was written anew, the finished ones stay finished"


def test_a_report_that_comes_with_its_answer_ends_the_message_before_it_was_written(
    tmp_path: Path, keys: KeyStore
) -> None:
    journal = Journal(tmp_path / "j", keys)
    store = Store(journal, 0)
    item = _item(store)
    store.accept(item)
    store.flush()
    awaited = store.awaits(item, "7", 9e9)
    assert store.awaited(awaited.id) is not None
    store.end(awaited.id)
    store.flush()
    assert store.awaiting == 0
    journal.close()
    again = Store(Journal(tmp_path / "j", keys), 0)
    assert not again.recover().in_doubt
    assert not again.items and not again.awaiting


def test_what_was_sent_and_not_answered_is_in_doubt_and_nothing_else(tmp_path: Path, keys: KeyStore) -> None:
    journal = Journal(tmp_path / "j", keys)
    store = Store(journal, 0)
    queued, sent, answered = (_item(store) for _ in range(3))
    for item in (queued, sent, answered):
        store.accept(item)
    for item in (sent, answered):
        item.stage, item.smsc = Stage.SENT, "a"
        store.moved(item)
    store.awaits(answered, "x", 9e9)
    store.flush()
    # a kill: nothing is closed
    again = Store(Journal(tmp_path / "j", keys), 0)
    found = again.recover()
    assert [one.id for one in found.in_doubt] == [sent.id]
    assert not found.is_new_boot
    assert again.items[queued.id].stage is Stage.QUEUED
    assert again.awaiting == 1
