"""New keys, lost keys: what can be read afterwards, and that the ledger verifies all the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mingbai.ledger import (
    FileOps,
    KeyStore,
    Kind,
    Ledger,
    LedgerLocked,
    LedgerOptions,
    StreamReader,
    import_keys,
    list_streams,
    rotate_master_key,
    rotate_pseudonym_key,
    rotate_signing_key,
    verify,
)
from mingbai.ledger.keys import restore_key_file

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.ledger.conftest import Traffic

QUIET = LedgerOptions(background_sealing=False)


@pytest.fixture
def streams(data: Path, keys: KeyStore, now: datetime, traffic: Traffic) -> Path:
    """Two streams of two days each."""
    for name in ("one", "two"):
        with Ledger.open(data, stream=name, keys=keys, now=now, options=QUIET) as ledger:
            ledger.record(traffic(8), now=now - timedelta(days=1))
            ledger.record(traffic(8, 8), now=now)
    return data


def texts(data: Path, keys: KeyStore, stream: str = "one") -> list[str | None]:
    found = []
    for entries, originals in StreamReader(data, stream, keys).entries_with_originals(["kind"]):
        pairs = zip(entries.column("kind").to_pylist(), originals.column("text").to_pylist(), strict=True)
        found += [text for kind, text in pairs if kind == "sms.screened"]
    return found


def stored(data: Path) -> KeyStore:
    return KeyStore.open_or_create(data.parent / "secret" / "keys.json")


def test_a_new_master_key_rewraps_every_data_key(
    streams: Path, keys: KeyStore, now: datetime, traffic: Traffic
) -> None:
    old = keys.ring
    before = {path: path.read_bytes() for path in streams.rglob("*.key")}
    rewrapped = rotate_master_key(streams, keys, now=now)
    assert (rewrapped.done, rewrapped.unreadable) == (len(before), 0)
    assert all(path.read_bytes() != content for path, content in before.items())
    assert [secret.id for secret in stored(streams).ring.master] == [keys.ring.master[-1].id]
    assert keys.ring.master[-1].id != old.master[-1].id
    for name in list_streams(streams):
        assert texts(streams, stored(streams), name) == traffic(16).column("text").to_pylist()
        assert set(texts(streams, keys.with_ring(old), name)) == {None}  # the old master opens nothing any more
    assert verify(streams).ok


def test_a_rotation_needs_the_writers_stopped(streams: Path, keys: KeyStore, now: datetime) -> None:
    ring = keys.ring
    with Ledger.open(streams, stream="two", keys=keys, now=now), pytest.raises(LedgerLocked, match="two"):
        rotate_master_key(streams, keys, now=now)
    assert stored(streams).ring == keys.ring == ring


def test_a_crash_anywhere_in_a_rotation_loses_no_key(
    streams: Path, keys: KeyStore, now: datetime, traffic: Traffic
) -> None:
    class Crash(BaseException):
        pass

    class Fragile(FileOps):
        left = 0

        def write_at(self, fd: int, offset: int, chunks: Sequence[bytes | bytearray | memoryview]) -> None:
            if self.left == 0:
                raise Crash
            self.left -= 1
            super().write_at(fd, offset, chunks)

    expected = traffic(16).column("text").to_pylist()
    finished = 0
    for writes in range(0, 14, 2):
        ops = Fragile()
        ops.left = writes
        now_keys = stored(streams)
        try:
            rotate_master_key(streams, now_keys, now=now, ops=ops)
            finished += 1
        except Crash:
            pass
        for name in list_streams(streams):
            assert texts(streams, stored(streams), name) == expected
    assert 0 < finished < 7
    assert rotate_master_key(streams, stored(streams), now=now).unreadable == 0
    assert len(stored(streams).ring.master) == 1
    assert verify(streams).ok


def pseudonyms(data: Path) -> dict[int, set[bytes]]:
    found: dict[int, set[bytes]] = {}
    for batch in StreamReader(data, "one").entries(["epoch", "sender"]):
        for row in batch.to_pylist():
            if row["sender"] is not None:
                found.setdefault(row["epoch"], set()).add(row["sender"])
    return found


@pytest.mark.parametrize("forget_old", [False, True])
def test_a_new_pseudonym_key_breaks_the_link(
    streams: Path, keys: KeyStore, now: datetime, traffic: Traffic, forget_old: bool
) -> None:
    assert rotate_pseudonym_key(streams, keys, now=now, forget_old=forget_old) == 2
    with Ledger.open(streams, stream="one", keys=stored(streams), now=now, options=QUIET) as ledger:
        ledger.record(traffic(16), now=now)
    found = pseudonyms(streams)
    assert set(found) == {1, 2}
    assert found[1].isdisjoint(found[2])
    known = stored(streams).pseudonyms("10600000003")
    assert known[2] in found[2]
    assert (1 in known) is not forget_old
    if not forget_old:
        assert known[1] in found[1]
    assert verify(streams).ok


def test_a_rotation_is_said_in_every_stream(streams: Path, keys: KeyStore, now: datetime) -> None:
    rotate_master_key(streams, keys, now=now)
    rotate_pseudonym_key(streams, keys, now=now, forget_old=True)
    rotate_signing_key(streams, keys, now=now)
    for name in list_streams(streams):
        said = []
        for batch in StreamReader(streams, name).entries(["kind", "data"]):
            said += [json.loads(row["data"])["what"] for row in batch.to_pylist() if row["kind"] == Kind.KEY_ROTATED]
        assert said == ["master", "pseudonym", "signing"]


def test_after_a_new_signing_key_the_stream_goes_on(streams: Path, keys: KeyStore, now: datetime) -> None:
    old = keys.public_key
    rotate_signing_key(streams, keys, now=now)
    assert stored(streams).public_key == keys.public_key != old
    for _ in range(2):
        with Ledger.open(streams, stream="one", keys=stored(streams), now=now, options=QUIET) as ledger:
            ledger.sign_head(now=now)
            ledger.seal(now=now)
    assert verify(streams, public_key=old).ok
    assert verify(streams, public_key=keys.public_key).ok


def test_lost_keys_leave_a_ledger_that_verifies_and_says_what_it_cannot_read(
    streams: Path, keys: KeyStore, now: datetime, traffic: Traffic
) -> None:
    exported = keys.export_keys("kept in the safe of the notary")
    (streams.parent / "secret" / "keys.json").unlink()
    new = stored(streams)  # a first start would make new ones
    assert verify(streams, public_key=keys.public_key).ok
    originals = StreamReader(streams, "one", new).originals([2, 3]).to_pylist()
    assert [row["text_kept"] for row in originals] == ["unreadable", "unreadable"]
    assert [row["text"] for row in originals] == [None, None]

    (streams.parent / "secret" / "keys.json").unlink()
    restored = restore_key_file(
        streams.parent / "secret" / "keys.json", import_keys(exported, "kept in the safe of the notary")
    )
    assert texts(streams, restored) == traffic(16).column("text").to_pylist()
    with Ledger.open(streams, stream="one", keys=restored, now=now) as ledger:
        ledger.record(traffic(1), now=now)
    assert verify(streams, public_key=keys.public_key).ok
