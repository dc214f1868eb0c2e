"""The ledger's secrets: master keys, pseudonym keys, signing keys; where they come from, how they change hands.

- A *master* key (AES-256) wraps the data keys of the vault, one a day and class. It never encrypts anything else, so
  it can be replaced by rewrapping (rotation.py). All masters in the ring can unwrap; the last one wraps.
- A *pseudonym* key (BLAKE2b, keyed: RFC 7693) makes the keyed hashes. A new one is a new epoch: the same number has
  another pseudonym from then on, which is the point. Old epochs stay for searching until they are forgotten.
- A *signing* key (Ed25519, RFC 8032) signs heads and anchors. Verifying needs the public key alone.

The ring is one JSON document. It lives in a file of mode 0600 (`FileKeys`) or behind a command (`CommandKeys`: a
key-management service, a smart card's tool, systemd-creds). No secret is logged or put into an error.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mingbai.kernel.errors import BadValue
from mingbai.ledger.errors import KeysReadOnly, KeysUnusable
from mingbai.ledger.files import FILE_MODE, FileOps, make_dirs, write_new

_FORMAT = "mingbai keys 1"
_EXPORT_FORMAT = "mingbai key export 1"
# scrypt cost: 2**17 x 8 x 128 B = 128 MiB and about half a second, OWASP's recommendation for scrypt
# (Password Storage Cheat Sheet: N=2^17, r=8, p=1).
_SCRYPT = {"n": 1 << 17, "r": 8, "p": 1}
MIN_PASSPHRASE = 12  # characters; the export may lie in a safe for years


@dataclass(frozen=True, slots=True)
class Secret:
    """One 32-byte key and the public name it is referred to by."""

    id: bytes  # 8 bytes
    key: bytes  # 32 bytes

    @classmethod
    def new(cls) -> Secret:
        return cls(os.urandom(8), os.urandom(32))

    def __repr__(self) -> str:
        return f"Secret({self.id.hex()})"


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All secrets. The last of each kind is the current one; `first_epoch` numbers the oldest pseudonym key kept."""

    master: tuple[Secret, ...]
    pseudonym: tuple[Secret, ...]
    signing: tuple[Secret, ...]
    first_epoch: int = 1

    @classmethod
    def new(cls) -> KeyRing:
        return cls((Secret.new(),), (Secret.new(),), (Secret.new(),))

    def to_bytes(self) -> bytes:
        def listed(secrets: tuple[Secret, ...]) -> list[dict[str, str]]:
            return [{"id": s.id.hex(), "key": base64.b64encode(s.key).decode()} for s in secrets]

        document = {
            "format": _FORMAT,
            "master": listed(self.master),
            "pseudonym": listed(self.pseudonym),
            "first_epoch": self.first_epoch,
            "signing": listed(self.signing),
        }
        return json.dumps(document, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes, source: str) -> KeyRing:
        """Raises KeysUnusable, which names what is wrong but never shows the content."""

        def listed(name: str) -> tuple[Secret, ...]:
            found = tuple(
                Secret(bytes.fromhex(item["id"]), base64.b64decode(item["key"], validate=True))
                for item in document[name]
            )
            if not found or any(len(s.id) != 8 or len(s.key) != 32 for s in found):
                raise KeysUnusable(source=source, what=f"`{name}` needs at least one key of 32 bytes with an id of 8")
            return found

        try:
            document = json.loads(raw)
            if document["format"] != _FORMAT:
                raise KeysUnusable(source=source, what=f"`format` is not {_FORMAT!r}")
            epoch = document["first_epoch"]
            if not isinstance(epoch, int) or epoch < 1:
                raise KeysUnusable(source=source, what="`first_epoch` is not a positive number")
            return cls(listed("master"), listed("pseudonym"), listed("signing"), epoch)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
            what = "not a Mingbai key document (damaged, cut, or another file)"
            raise KeysUnusable(source=source, what=what) from None


class KeyProvider(Protocol):
    """Where the key document lies."""

    @property
    def source(self) -> str:
        """Its name for messages; no secret in it."""

    def read(self) -> bytes | None:
        """The document, or None if there is none yet and one may be made."""

    def create(self, document: bytes) -> bytes:
        """Store the first document; returns the one that counts (another process may have been faster)."""

    def replace(self, document: bytes) -> None:
        """Store a changed document, atomically."""


class FileKeys:
    """A file of mode 0600. A file that others may read is refused: the secret must be taken as known."""

    def __init__(self, path: Path, ops: FileOps | None = None) -> None:
        self.path = path
        self._ops = ops or FileOps()

    @property
    def source(self) -> str:
        return str(self.path)

    def read(self) -> bytes | None:
        try:
            with open(self.path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode & 0o777
                if mode & 0o077:
                    raise KeysUnusable(
                        source=self.source, what=f"mode is {mode:04o}, expected 0600: others may read it"
                    )
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeysUnusable(source=self.source, what=str(error)) from error

    def create(self, document: bytes) -> bytes:
        temporary = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.new")
        try:
            make_dirs(self._ops, self.path.parent)
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            try:
                self._ops.write_at(fd, 0, [document])
                self._ops.sync(fd)
                os.link(temporary, self.path)  # unlike rename, fails if the file is there already
            finally:
                os.close(fd)
                os.unlink(temporary)
            self._ops.sync_dir(self.path.parent)
        except FileExistsError:
            return self.read() or document
        except OSError as error:
            raise KeysUnusable(source=self.source, what=f"cannot make it: {error}") from error
        return document

    def replace(self, document: bytes) -> None:
        write_new(self._ops, self.path, [document])


class CommandKeys:
    """The standard output of a command, for example `["vault", "kv", "get", "-field=ring", "mingbai"]`.

    The command is run without a shell at every start, and must end with status 0 within `timeout_s`.
    """

    def __init__(self, command: Sequence[str], timeout_s: float = 30.0) -> None:
        if not command:
            raise BadValue(field="command", value=command, expected="a program and its arguments")
        self._command = list(command)
        self._timeout_s = timeout_s

    @property
    def source(self) -> str:
        return f"command {self._command[0]}"

    def read(self) -> bytes:
        try:
            run = subprocess.run(self._command, capture_output=True, timeout=self._timeout_s, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KeysUnusable(source=self.source, what=f"cannot run it: {type(error).__name__}") from error
        if run.returncode != 0:
            raise KeysUnusable(source=self.source, what=f"it ended with status {run.returncode}")
        return run.stdout

    def create(self, document: bytes) -> bytes:
        raise KeysReadOnly(source=self.source, what="make a ring with `KeyRing.new()` and store it there")

    def replace(self, document: bytes) -> None:
        raise KeysReadOnly(source=self.source, what="rotate with a key file, then store the new document there")


class KeyStore:
    """The ring in use: hashes, signs, wraps. Safe to use from several threads."""

    def __init__(self, ring: KeyRing, provider: KeyProvider) -> None:
        self._provider = provider
        self._use(ring)

    @classmethod
    def open_or_create(cls, where: Path | str | KeyProvider) -> KeyStore:
        """Read the keys; a key file that does not exist is made, with new keys and mode 0600.

        Raises KeysUnusable if there is something, but not usable keys: nothing is ever overwritten.
        """
        provider = FileKeys(Path(where)) if isinstance(where, Path | str) else where
        document = provider.read()
        if document is None:
            document = provider.create(KeyRing.new().to_bytes())
        return cls(KeyRing.from_bytes(document, provider.source), provider)

    @property
    def ring(self) -> KeyRing:
        return self._ring

    @property
    def source(self) -> str:
        return self._provider.source

    def replace_ring(self, ring: KeyRing) -> None:
        """Store the changed ring, then use it. Raises KeysReadOnly if the provider cannot store."""
        self._provider.replace(ring.to_bytes())
        self._use(ring)

    def with_ring(self, ring: KeyRing) -> KeyStore:
        """Another ring in use, stored nowhere."""
        return KeyStore(ring, self._provider)

    def reload(self) -> None:
        """Read the ring again: another process may have rotated it."""
        document = self._provider.read()
        if document is None:
            raise KeysUnusable(source=self.source, what="it is gone")
        self._use(KeyRing.from_bytes(document, self.source))

    def _use(self, ring: KeyRing) -> None:
        self._ring = ring
        self._masters = {secret.id: AESGCM(secret.key) for secret in ring.master}
        self._signer = Ed25519PrivateKey.from_private_bytes(ring.signing[-1].key)
        # With the pseudonyms of numbers seen lately. One value, so that no thread has the one of another key.
        self._numbers: tuple[hashlib.blake2b, dict[bytes, bytes]] = (
            _hash_base(ring.pseudonym[-1], b"mingbai.number"),
            {},
        )
        self._texts = _hash_base(ring.pseudonym[-1], b"mingbai.text")

    # -- keyed hashes

    @property
    def epoch(self) -> int:
        """Which pseudonym key new entries use."""
        return self._ring.first_epoch + len(self._ring.pseudonym) - 1

    def number_hashes(self, numbers: pa.Array) -> pa.Array:
        """Pseudonyms (16 bytes) of numbers (string), null where null. Hash E.164 numbers: the hash knows no prefix."""
        return _hash_column(*self._numbers, numbers)

    def text_hashes(self, texts: pa.Array) -> pa.Array:
        """Keyed hashes (16 bytes) of normalised texts (string or binary), null where null."""
        return _hash_column(self._texts, None, texts)

    def pseudonyms(self, number: str) -> dict[int, bytes]:
        """The pseudonym of one number in every epoch whose key is kept: epoch -> 16 bytes. For searching."""
        return {
            self._ring.first_epoch + place: _hash(_hash_base(secret, b"mingbai.number"), number.encode())
            for place, secret in enumerate(self._ring.pseudonym)
        }

    # -- signatures

    @property
    def public_key(self) -> bytes:
        """Ed25519 public key, 32 bytes."""
        return self._signer.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._signer.sign(message)

    # -- data keys

    def wrap(self, data_key: bytes, bound_to: bytes) -> bytes:
        """Encrypt a data key under the current master key, `ring.master[-1]`. Returns nonce + ciphertext."""
        nonce = os.urandom(12)
        return nonce + self._masters[self._ring.master[-1].id].encrypt(nonce, data_key, bound_to)

    def unwrap(self, master_id: bytes, wrapped: bytes, bound_to: bytes) -> bytes | None:
        """The data key, or None if this ring cannot open it (the master is lost or the bytes were changed)."""
        master = self._masters.get(master_id)
        if master is None:
            return None
        try:
            return master.decrypt(wrapped[:12], wrapped[12:], bound_to)
        except (InvalidTag, ValueError):
            return None

    # -- backup and escrow

    def export_keys(self, passphrase: str) -> bytes:
        """The whole ring, encrypted under a passphrase (scrypt, AES-256-GCM): for a safe or an escrow agent.

        Raises BadValue for a passphrase under 12 characters.
        """
        if len(passphrase) < MIN_PASSPHRASE:
            raise BadValue(
                field="passphrase", value=f"{len(passphrase)} characters", expected=f"at least {MIN_PASSPHRASE}"
            )
        salt, nonce = os.urandom(16), os.urandom(12)
        sealed = AESGCM(_stretch(passphrase, salt, _SCRYPT)).encrypt(
            nonce, self._ring.to_bytes(), _EXPORT_FORMAT.encode()
        )
        document = {
            "format": _EXPORT_FORMAT,
            "kdf": {"name": "scrypt", **_SCRYPT, "salt": salt.hex()},
            "cipher": "AES-256-GCM",
            "nonce": nonce.hex(),
            "sealed": base64.b64encode(sealed).decode(),
        }
        return json.dumps(document, indent=1).encode() + b"\n"


def import_keys(exported: bytes, passphrase: str) -> KeyRing:
    """The ring of an export. Raises KeysUnusable: wrong passphrase, damaged, or another file."""
    source = "key export"
    try:
        document = json.loads(exported)
        if document["format"] != _EXPORT_FORMAT:
            raise KeysUnusable(source=source, what=f"`format` is not {_EXPORT_FORMAT!r}")
        kdf = document["kdf"]
        cost = {name: int(kdf[name]) for name in _SCRYPT}
        if cost != _SCRYPT:  # a doctored file must not make us take all memory
            raise KeysUnusable(source=source, what=f"scrypt cost {cost}, expected {_SCRYPT}")
        key = _stretch(passphrase, bytes.fromhex(kdf["salt"]), cost)
        ring = AESGCM(key).decrypt(
            bytes.fromhex(document["nonce"]), base64.b64decode(document["sealed"]), _EXPORT_FORMAT.encode()
        )
    except InvalidTag:
        raise KeysUnusable(source=source, what="wrong passphrase, or the export was changed") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        raise KeysUnusable(source=source, what="not a key export (damaged, cut or another file)") from None
    return KeyRing.from_bytes(ring, source)


def restore_key_file(path: Path, ring: KeyRing) -> KeyStore:
    """Put an imported ring in place as a key file. Raises BadValue if the file exists with another ring."""
    provider = FileKeys(path)
    if provider.create(ring.to_bytes()) != ring.to_bytes():
        raise BadValue(field="path", value=str(path), expected="no key file: move the present one away first")
    return KeyStore(ring, provider)


def with_new_master(ring: KeyRing) -> KeyRing:
    return replace(ring, master=(*ring.master, Secret.new()))


def with_only_current_master(ring: KeyRing) -> KeyRing:
    return replace(ring, master=ring.master[-1:])


def with_new_epoch(ring: KeyRing, *, forget_old: bool) -> KeyRing:
    """A new pseudonym key. `forget_old`: nobody can link or search the entries of earlier epochs any more."""
    added = (*ring.pseudonym, Secret.new())
    if forget_old:
        return replace(ring, pseudonym=added[-1:], first_epoch=ring.first_epoch + len(added) - 1)
    return replace(ring, pseudonym=added)


def with_new_signing_key(ring: KeyRing) -> KeyRing:
    """A new signing key; the old one is not kept, as verifying needs only its public half, which the chain has."""
    return replace(ring, signing=(Secret.new(),))


def fingerprint(public_key: bytes) -> str:
    """What people compare: `SHA256:` and 64 hex digits of the public key's SHA-256."""
    return "SHA256:" + hashlib.sha256(public_key).hexdigest()


def _stretch(passphrase: str, salt: bytes, cost: dict[str, int]) -> bytes:
    return Scrypt(salt=salt, length=32, **cost).derive(passphrase.encode())


def _hash_base(secret: Secret, purpose: bytes) -> hashlib.blake2b:
    """A keyed BLAKE2b to copy for each value; `person` keeps numbers and texts apart under one key."""
    return hashlib.blake2b(digest_size=16, key=secret.key, person=purpose)


def _hash(base: hashlib.blake2b, value: bytes) -> bytes:
    state = base.copy()
    state.update(value)
    return state.digest()


_DIGEST = pa.binary(16)
_FEW = 512  # rows; below, looking for repeats costs more than hashing them


def _hash_column(base: hashlib.blake2b, known: dict[bytes, bytes] | None, column: pa.Array) -> pa.Array:
    """Hash each distinct value once: a sender of a thousand messages costs one hash. known: hashes to remember."""
    rows = len(column)
    if column.null_count == rows:
        return pa.nulls(rows, pa.binary(16))
    if rows <= _FEW and not column.null_count:
        return _hash_values(base, known, column)
    encoded = column.dictionary_encode()
    return _hash_values(base, None, encoded.dictionary).take(encoded.indices)


_KNOWN = 1 << 14  # numbers; traffic repeats senders, and few are awake at once


def _hash_values(base: hashlib.blake2b, known: dict[bytes, bytes] | None, values: pa.Array) -> pa.Array:
    listed = (values.view(pa.binary()) if pa.types.is_string(values.type) else values).to_pylist()
    digests = []
    if known is None:
        for value in listed:
            state = base.copy()
            state.update(value)
            digests.append(state.digest())
    else:
        if len(known) > _KNOWN:
            known.clear()
        for value in listed:
            digest = known.get(value)
            if digest is None:
                digest = known[value] = _hash(base, value)
            digests.append(digest)
    return pa.Array.from_buffers(_DIGEST, len(digests), [None, pa.py_buffer(b"".join(digests))], 0)
