"""Keys: made once, mode 0600, never overwritten; hashes, backup, providers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.kernel.errors import BadValue
from mingbai.ledger import CommandKeys, KeyRing, KeysReadOnly, KeyStore, KeysUnusable, fingerprint, import_keys
from mingbai.ledger.keys import restore_key_file, with_new_epoch

pytestmark = pytest.mark.slow

PASSPHRASE = "correct horse battery staple"


def test_the_first_start_makes_a_key_file_that_only_the_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.json"
    before = os.umask(0)
    try:
        keys = KeyStore.open_or_create(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert KeyStore.open_or_create(path).ring == keys.ring
    assert [entry.name for entry in path.parent.iterdir()] == ["keys.json"]


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    KeyStore.open_or_create(path)
    path.chmod(0o640)
    with pytest.raises(KeysUnusable, match="mode is 0640, expected 0600"):
        KeyStore.open_or_create(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"\xff", b'{"format": "mingbai keys 1"}', b"[" * 100_000])
def test_a_file_that_is_no_key_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeysUnusable, match=r"keys\.json"):
        KeyStore.open_or_create(path)
    assert path.read_bytes() == content


@given(st.data())
def test_damage_to_a_key_document_never_gives_other_errors(data: st.DataObject) -> None:
    document = bytearray(KeyRing.new().to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        document[data.draw(st.integers(0, len(document) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(KeysUnusable):
        KeyRing.from_bytes(bytes(document), "test")


def test_secrets_do_not_show_in_errors_and_reprs(tmp_path: Path) -> None:
    keys = KeyStore.open_or_create(tmp_path / "keys.json")
    assert keys.ring.master[0].key.hex() not in repr(keys.ring)
    document = json.loads(keys.ring.to_bytes())
    document["master"][0]["id"] = "xx"
    with pytest.raises(KeysUnusable) as caught:
        KeyRing.from_bytes(json.dumps(document).encode(), "test")
    assert document["master"][0]["key"] not in str(caught.value)


def test_two_first_starts_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    rings: list[KeyRing] = []
    threads = [threading.Thread(target=lambda: rings.append(KeyStore.open_or_create(path).ring)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rings) == 8
    assert len({ring.to_bytes() for ring in rings}) == 1


# -- keyed hashes


def test_pseudonyms_are_keyed_blake2b(tmp_path: Path) -> None:
    keys = KeyStore.open_or_create(tmp_path / "keys.json")
    (hashed,) = keys.number_hashes(pa.array(["+8613800138000"])).to_pylist()
    secret = keys.ring.pseudonym[0].key
    assert hashed == hashlib.blake2b(b"+8613800138000", digest_size=16, key=secret, person=b"mingbai.number").digest()
    assert keys.pseudonyms("+8613800138000") == {1: hashed}
    other = KeyStore.open_or_create(tmp_path / "other.json")
    assert other.number_hashes(pa.array(["+8613800138000"])).to_pylist() != [hashed]
    assert keys.text_hashes(pa.array([b"+8613800138000"])).to_pylist() != [hashed]


@given(st.lists(st.none() | st.text(max_size=4), max_size=300))
def test_hashing_a_column_is_hashing_each_value(values: list[str | None]) -> None:
    keys = KeyStore(KeyRing.new(), CommandKeys(["false"]))
    hashed = keys.number_hashes(pa.array(values, pa.string()))
    one_by_one = {value: keys.pseudonyms(value)[1] for value in values if value is not None}
    assert hashed.to_pylist() == [None if value is None else one_by_one[value] for value in values]
    assert hashed.type == pa.binary(16)


def test_a_sliced_column_is_hashed_where_it_is(tmp_path: Path) -> None:
    keys = KeyStore.open_or_create(tmp_path / "keys.json")
    column = pa.array([None, "a", "b", "a", None] * 100)
    assert keys.number_hashes(column.slice(1, 3)) == keys.number_hashes(column).slice(1, 3)


def test_a_new_epoch_breaks_the_link(tmp_path: Path) -> None:
    keys = KeyStore.open_or_create(tmp_path / "keys.json")
    old = keys.pseudonyms("+8613800138000")[1]
    kept = keys.with_ring(with_new_epoch(keys.ring, forget_old=False))
    assert kept.epoch == 2
    assert kept.pseudonyms("+8613800138000")[1] == old
    assert kept.number_hashes(pa.array(["+8613800138000"])).to_pylist() != [old]
    gone = keys.with_ring(with_new_epoch(keys.ring, forget_old=True))
    assert gone.epoch == 2
    assert list(gone.pseudonyms("+8613800138000")) == [2]
    assert KeyRing.from_bytes(gone.ring.to_bytes(), "test") == gone.ring


# -- backup and escrow


def test_an_export_brings_the_keys_back(tmp_path: Path) -> None:
    keys = KeyStore.open_or_create(tmp_path / "keys.json")
    exported = keys.export_keys(PASSPHRASE)
    for secret in (*keys.ring.master, *keys.ring.pseudonym, *keys.ring.signing):
        assert secret.key not in exported
    assert import_keys(exported, PASSPHRASE) == keys.ring
    restored = restore_key_file(tmp_path / "restored.json", import_keys(exported, PASSPHRASE))
    assert restored.public_key == keys.public_key
    assert (tmp_path / "restored.json").stat().st_mode & 0o777 == 0o600


def test_restoring_never_overwrites_other_keys(tmp_path: Path) -> None:
    keys = KeyStore.open_or_create(tmp_path / "keys.json")
    before = (tmp_path / "keys.json").read_bytes()
    with pytest.raises(BadValue, match="move the present one away"):
        restore_key_file(tmp_path / "keys.json", KeyRing.new())
    assert (tmp_path / "keys.json").read_bytes() == before
    restore_key_file(tmp_path / "keys.json", keys.ring)  # the same ring is no harm


def test_a_wrong_passphrase_or_a_changed_export_is_refused(tmp_path: Path) -> None:
    exported = KeyStore.open_or_create(tmp_path / "keys.json").export_keys(PASSPHRASE)
    with pytest.raises(KeysUnusable, match="wrong passphrase"):
        import_keys(exported, PASSPHRASE + "!")
    document = json.loads(exported)
    document["sealed"] = document["sealed"][:-8] + "AAAAAAA="
    with pytest.raises(KeysUnusable):
        import_keys(json.dumps(document).encode(), PASSPHRASE)
    document = json.loads(exported)
    document["kdf"]["n"] = 1 << 30  # would take a terabyte
    with pytest.raises(KeysUnusable, match="scrypt cost"):
        import_keys(json.dumps(document).encode(), PASSPHRASE)
    for garbage in (b"", b"{}", b"[]", b"\x00", exported[:50]):
        with pytest.raises(KeysUnusable):
            import_keys(garbage, PASSPHRASE)


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="passphrase: got '5 characters'"):
        KeyStore.open_or_create(tmp_path / "keys.json").export_keys("short")


# -- keys from a command


def test_keys_may_come_from_a_command(tmp_path: Path) -> None:
    ring = KeyRing.new()
    (tmp_path / "ring").write_bytes(ring.to_bytes())
    keys = KeyStore.open_or_create(CommandKeys(["cat", str(tmp_path / "ring")]))
    assert keys.ring == ring
    keys.reload()
    with pytest.raises(KeysReadOnly, match="command cat"):
        keys.replace_ring(KeyRing.new())
    assert keys.ring == ring


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (["false"], "ended with status 1"),
        (["/does/not/exist"], "cannot run it"),
        (["echo", "hello"], "not a Mingbai key document"),
        ([sys.executable, "-c", "while True: pass"], "cannot run it: TimeoutExpired"),
    ],
)
def test_a_command_that_gives_no_keys_is_named(command: list[str], what: str) -> None:
    with pytest.raises(KeysUnusable, match=what):
        KeyStore.open_or_create(CommandKeys(command, timeout_s=0.5))


def test_a_fingerprint_is_the_hash_of_the_public_key() -> None:
    assert fingerprint(b"k" * 32) == "SHA256:" + hashlib.sha256(b"k" * 32).hexdigest()
