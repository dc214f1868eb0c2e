"""Heads and anchors: what is signed, and what is no anchor."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.kernel.errors import BadValue
from mingbai.ledger import AnchorUnreadable, Head, KeyStore, anchor_bytes, parse_public_key, read_anchors, verify
from mingbai.ledger.anchors import key_change, linked_public_keys, sign_head


@pytest.fixture
def head(keys: KeyStore, now: datetime) -> Head:
    return sign_head(keys, stream="batch", seq=41, commit=7, chain=b"c" * 32, at=now, previous=b"p" * 32)


def test_an_anchor_is_one_json_line_a_head(head: Head) -> None:
    lines = anchor_bytes([head, head]).splitlines()
    assert len(lines) == 2
    document = json.loads(lines[0])
    assert document["seq"] == 41
    assert document["at"] == "2026-11-24T12:00:00.000000Z"
    assert read_anchors(anchor_bytes([head])) == [head]
    assert head.sha256 == hashlib.sha256(lines[0]).digest()


def test_every_field_is_signed(head: Head, now: datetime, tmp_path: Path) -> None:
    assert head.is_signed()
    other = KeyStore.open_or_create(tmp_path / "other.json")
    for changed in (
        replace(head, stream="other"),
        replace(head, seq=42),
        replace(head, commit=8),
        replace(head, chain=b"d" * 32),
        replace(head, at=now.replace(year=2027)),
        replace(head, previous=None),
        replace(head, public_key=other.public_key),
        replace(head, public_key=b"short"),
        replace(head, signature=b""),
    ):
        assert not changed.is_signed()


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"", 1), (b"\n\n", 1), (b"no json\n", 1), (b"[]", 1), (b'{"type": "mingbai.head"}', 1), (b"[" * 50_000, 1)],
)
def test_what_is_no_anchor_is_named_by_line(content: bytes, line: int, data: Path) -> None:
    with pytest.raises(AnchorUnreadable, match=f"anchor, line {line}: "):
        verify(data, anchor=content)


def test_the_bad_line_of_an_anchor_file_is_named(head: Head, tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    path.write_bytes(anchor_bytes([head]) + b"{}\n")
    with pytest.raises(AnchorUnreadable, match=r"anchors\.jsonl, line 2"):
        verify(tmp_path, anchor=path)


GOOD: dict[str, object] = {
    "type": "mingbai.head",
    "format": 1,
    "stream": "batch",
    "seq": 1,
    "commit": 1,
    "chain": "00",
    "at": "2026-11-24T12:00:00Z",
    "previous": None,
    "public_key": "00",
    "signature": "00",
}
JUNK = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JUNK))
def test_wrong_types_are_no_anchor(changes: dict[str, object]) -> None:
    with contextlib.suppress(AnchorUnreadable):
        (head,) = read_anchors(json.dumps(GOOD | changes).encode())
        assert not head.is_signed()


def test_a_public_key_is_64_hex_digits(keys: KeyStore) -> None:
    assert parse_public_key(f" {keys.public_key.hex()}\n") == keys.public_key
    for text in ("", "zz" * 32, keys.public_key.hex()[:-2]):
        with pytest.raises(BadValue, match="public_key"):
            parse_public_key(text)


def test_key_changes_link_keys_both_ways(tmp_path: Path) -> None:
    a, b, c = (KeyStore.open_or_create(tmp_path / name) for name in "abc")
    changes = [key_change(a, b), key_change(b, c)]
    everyone = {a.public_key, b.public_key, c.public_key}
    for one in everyone:
        assert linked_public_keys([one], changes) == everyone
    assert linked_public_keys([], changes) == set()


def test_a_key_change_needs_both_signatures(tmp_path: Path) -> None:
    a, b = (KeyStore.open_or_create(tmp_path / name) for name in "ab")
    change = key_change(a, b)
    forgeries: list[dict[str, object]] = [
        {**change, "signed_by_old": change["signed_by_new"]},
        {**change, "signed_by_new": change["signed_by_old"]},
        {**change, "new_public_key": "00" * 32},
        {**change, "new_public_key": "xx"},
        {"what": "signing"},
    ]
    for forged in forgeries:
        assert linked_public_keys([a.public_key], [forged]) == {a.public_key}
