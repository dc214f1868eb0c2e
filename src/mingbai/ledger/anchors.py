"""Signed heads and anchors: proof that the chain stood at one place at one time.

A head says: this stream had this chain hash after this row at this time. It is signed (Ed25519) and written into the
chain as an entry `head.signed`; each names the one before. The same document outside the ledger is an *anchor*: a file,
an e-mail, a web-hook body that the operator, a regulator or a court keeps. Whoever holds an anchor can tell whether
anything up to it was changed, cut off or rewritten, with the public key alone. What comes after the last anchor nobody
can vouch for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mingbai.kernel.clock import format_utc, parse_utc
from mingbai.kernel.errors import BadValue
from mingbai.ledger.errors import LedgerError
from mingbai.ledger.keys import KeyStore

_TYPE = "mingbai.head"


class AnchorUnreadable(LedgerError):
    """A line of an anchor file is no anchor."""

    code = "anchor_unreadable"
    template = "{source}, line {line}: {what}"


@dataclass(frozen=True, slots=True)
class Head:
    """A signed head; as a line of JSON outside the ledger, an anchor."""

    stream: str
    seq: int  # of the last row covered
    commit: int  # number of the last commit covered
    chain: bytes  # chain hash after that commit
    at: datetime
    previous: bytes | None  # SHA-256 of the previous head's JSON line, None for the first
    public_key: bytes
    signature: bytes = b""

    def signed_bytes(self) -> bytes:
        """What the signature covers: JSON, keys sorted, no spaces, ASCII."""
        return _canonical(self._fields())

    def to_document(self) -> dict[str, object]:
        return {**self._fields(), "signature": self.signature.hex()}

    def to_json(self) -> bytes:
        """The whole document as one line, without the line feed."""
        return _canonical(self.to_document())

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.to_json()).digest()

    def is_signed(self) -> bool:
        """Whether the signature fits the public key *in the head*; whose key that is, is another question."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(self.signature, self.signed_bytes())
        except (InvalidSignature, ValueError):
            return False
        return True

    def _fields(self) -> dict[str, object]:
        return {
            "type": _TYPE,
            "format": 1,
            "stream": self.stream,
            "seq": self.seq,
            "commit": self.commit,
            "chain": self.chain.hex(),
            "at": format_utc(self.at),
            "previous": None if self.previous is None else self.previous.hex(),
            "public_key": self.public_key.hex(),
        }

    @classmethod
    def from_document(cls, document: object) -> Head:
        """Raises ValueError (with what is wrong) for anything that is no head."""
        try:
            if not isinstance(document, dict) or document["type"] != _TYPE or document["format"] != 1:
                raise ValueError("not a head of format 1")
            previous = document["previous"]
            head = cls(
                stream=document["stream"],
                seq=document["seq"],
                commit=document["commit"],
                chain=bytes.fromhex(document["chain"]),
                at=parse_utc(document["at"], "at"),
                previous=None if previous is None else bytes.fromhex(previous),
                public_key=bytes.fromhex(document["public_key"]),
                signature=bytes.fromhex(document["signature"]),
            )
        except (KeyError, TypeError, BadValue) as error:
            raise ValueError(f"a field is missing or of the wrong type ({error})") from error
        if not (type(document["stream"]) is str and type(document["seq"]) is int and type(document["commit"]) is int):
            raise ValueError("a field is of the wrong type")
        return head


def sign_head(
    keys: KeyStore, *, stream: str, seq: int, commit: int, chain: bytes, at: datetime, previous: bytes | None
) -> Head:
    head = Head(stream, seq, commit, chain, at, previous, keys.public_key)
    return replace(head, signature=keys.sign(head.signed_bytes()))


def anchor_bytes(heads: Iterable[Head]) -> bytes:
    """The content of an anchor file, message or web-hook body: one JSON line a head."""
    return b"".join(head.to_json() + b"\n" for head in heads)


def read_anchors(content: bytes, source: str = "anchor") -> list[Head]:
    """The heads of an anchor file. Raises AnchorUnreadable, naming the line; an empty file is none either."""
    heads = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            heads.append(Head.from_document(json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise AnchorUnreadable(source=source, line=number, what=str(error)) from error
    if not heads:
        raise AnchorUnreadable(source=source, line=1, what="no anchor in it")
    return heads


def parse_public_key(text: str) -> bytes:
    """A public key written as 64 hex digits. Raises BadValue."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise BadValue(field="public_key", value=text, expected="64 hexadecimal digits (Ed25519 public key)")
    return key


def _canonical(document: dict[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


# -- a new signing key -------------------------------------------------------------------------------------------------


def key_change(old: KeyStore, new: KeyStore) -> dict[str, object]:
    """Data of the `key.rotated` entry for a new signing key: both keys sign that one follows the other."""
    statement = _change_statement(old.public_key, new.public_key)
    return {
        "what": "signing",
        "old_public_key": old.public_key.hex(),
        "new_public_key": new.public_key.hex(),
        "signed_by_old": old.sign(statement).hex(),
        "signed_by_new": new.sign(statement).hex(),
    }


def linked_public_keys(known: Iterable[bytes], changes: Iterable[dict[str, object]]) -> set[bytes]:
    """`known` and every key that a chain of key changes, each signed by both its keys, links with one of them."""
    pairs = [pair for change in changes if (pair := _change_pair(change)) is not None]
    linked = set(known)
    while True:
        grown = linked | {key for pair in pairs if linked & set(pair) for key in pair}
        if grown == linked:
            return linked
        linked = grown


def _change_statement(old: bytes, new: bytes) -> bytes:
    return b"mingbai signing key change 1\n" + old + new


def _change_pair(change: dict[str, object]) -> tuple[bytes, bytes] | None:
    names = ("old_public_key", "new_public_key", "signed_by_old", "signed_by_new")
    try:
        old, new, by_old, by_new = (bytes.fromhex(str(change[name])) for name in names)
        for key, signature in ((old, by_old), (new, by_new)):
            Ed25519PublicKey.from_public_bytes(key).verify(signature, _change_statement(old, new))
    except (KeyError, ValueError, InvalidSignature):
        return None
    return old, new
