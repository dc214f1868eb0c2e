"""The vault: numbers, times and texts, encrypted under a key per day and class, deleted by destroying the key.

A commit's originals of one class are one ciphertext, a *blob*: AES-256-GCM over a zstd-compressed Arrow record batch.
While a segment is open its blobs ride in the segment's `sealed` column, so that one sync makes entry and originals
durable together; sealing moves them to `vault/<day>/<first seq>.<class>`. The entry keeps the SHA-256 of each blob, so
changed ciphertext is found without any key, and ciphertext may go while the entry stays.

    blob   = header (56) + ciphertext
    header = "MBV1", class uint8, flags uint8 (1: zstd), 2 zero bytes, day int32 (days since 1970, UTC),
             commit uint64, first seq uint64, rows uint32, length of ciphertext uint32, key id (8), nonce (12)
    the additional data of the encryption is "mingbai vault 1\\n", the stream's name, "\\n", the header
    plaintext = length uint32 of the message below, then that Arrow IPC message (zstd of it if flag 1)

Data keys are files of their own (see DataKeys). Days are UTC.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Verdict
from mingbai.ledger.entries import TIME, VaultClass
from mingbai.ledger.files import FileOps, make_dirs, write_new
from mingbai.ledger.keys import KeyStore

_HEADER = struct.Struct("<4sBBHiQQII8s12s")
BLOB_HEADER_BYTES = _HEADER.size
_MAGIC = b"MBV1"
_ZSTD = 1
_COMPRESS_FROM = 1024  # bytes; below, zstd's fixed cost (15 us a call) buys little
_COMPRESS, _DECOMPRESS = pa.Codec("zstd", 1), pa.Codec("zstd")
_KEY_HEADER = struct.Struct("<4siB3x8s8s")
_KEY_MAGIC = b"MBK1"
_KEY_BYTES = _KEY_HEADER.size + 12 + 48 + 32
_EPOCH = date(1970, 1, 1)

_ROW = pa.field("row", pa.uint32(), nullable=False)  # row within the commit
_TEXT_ROWS = pa.schema([_ROW, pa.field("text", pa.string())])
_NUMBER_ROWS = pa.schema(
    [_ROW, pa.field("sender", pa.string()), pa.field("receiver", pa.string()), pa.field("time", TIME)]
)
_CLASS_BY_LABEL = {kind.label: kind for kind in VaultClass}
CLASS_ROWS = {
    VaultClass.NUMBERS: _NUMBER_ROWS,
    VaultClass.ALLOWED: _TEXT_ROWS,
    VaultClass.STOPPED: _TEXT_ROWS,
}


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many days originals are kept; 0 = never stored. A day ends at midnight UTC, so what was stored on day D
    is kept until the end of D + days, and not longer."""

    allowed_text_days: int = 7
    stopped_text_days: int = 150
    numbers_days: int = 150

    def __post_init__(self) -> None:
        for name in ("allowed_text_days", "stopped_text_days", "numbers_days"):
            if getattr(self, name) < 0:
                raise BadValue(field=name, value=getattr(self, name), expected="0 or more days")

    def days(self, kind: VaultClass) -> int:
        return {
            VaultClass.NUMBERS: self.numbers_days,
            VaultClass.ALLOWED: self.allowed_text_days,
            VaultClass.STOPPED: self.stopped_text_days,
        }[kind]


def day_number(at_us: int) -> int:
    """Days since 1970-01-01 (UTC) of a time in microseconds."""
    return at_us // 86_400_000_000


def day_name(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).isoformat()


def today(now: datetime) -> int:
    return (now.astimezone(UTC).date() - _EPOCH).days


# -- data keys ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DataKey:
    """One day's key of one class, unwrapped."""

    id: bytes
    day: int
    kind: VaultClass
    path: str
    cipher: AESGCM


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The file of one wrapped data key, as its name says: `2026-11-24.numbers.0123456789abcdef.key`."""

    day: int
    kind: VaultClass
    id: bytes
    path: Path

    @classmethod
    def parse(cls, path: Path) -> KeyFile | None:
        """None for a name that is no key file's."""
        parts = path.name.split(".")
        if len(parts) != 4 or parts[3] != "key" or len(parts[2]) != 16 or parts[1] not in _CLASS_BY_LABEL:
            return None
        day = parse_day(parts[0])
        try:
            key_id = bytes.fromhex(parts[2])
        except ValueError:
            return None
        return None if day is None else cls(day, _CLASS_BY_LABEL[parts[1]], key_id, path)


class DataKeys:
    """The wrapped data keys of one stream: `keys/<day>.<class>.<key id>.key`, 120 bytes each.

    "MBK1", day int32, class uint8, 3 zero bytes, master id (8), key id (8): the header (28); nonce (12); AES-256-GCM
    of the key under the master (48), additional data "mingbai data key 1\n" + stream + "\n" + header; SHA-256 of all
    before (32), so that damage shows without a key. A day and class has one key, but for a day on which the master was
    lost.
    """

    def __init__(self, stream_dir: Path, keys: KeyStore | None, ops: FileOps | None = None) -> None:
        self.folder = stream_dir / "keys"
        self._stream = stream_dir.name
        self._keys = keys
        self._ops = ops or FileOps()
        self._opened: dict[bytes, DataKey] = {}
        self._current: dict[tuple[int, VaultClass], DataKey] = {}

    def files(self) -> list[KeyFile]:
        """Every key that is there, oldest day first."""
        parsed = [KeyFile.parse(path) for path in sorted(self.folder.glob("*.key"))]
        return [file for file in parsed if file is not None]

    def has(self, day: int, kind: VaultClass) -> bool:
        """Whether any key of that day and class is there: if not, it was destroyed, or never was."""
        return any(True for _ in self.folder.glob(f"{day_name(day)}.{kind.label}.*.key"))

    def get(self, day: int, kind: VaultClass, key_id: bytes) -> DataKey | None:
        """The key, or None if it was destroyed (also by another process, just now) or this ring cannot open it."""
        known = self._opened.get(key_id)
        if known is not None and (known.day, known.kind) == (day, kind) and os.path.exists(known.path):
            return known
        self._opened.pop(key_id, None)
        return self._open(KeyFile(day, kind, key_id, self._path(day, kind, key_id)))

    def current(self, day: int, kind: VaultClass) -> DataKey:
        """The key to encrypt with. A new one is durable before it is returned."""
        known = self._current.get((day, kind))
        if known is None:
            found = (self._open(file) for file in self.files() if (file.day, file.kind) == (day, kind))
            known = next((key for key in found if key is not None), None) or self._create(day, kind)
            self._current = {(day, kind): known} | {at: key for at, key in self._current.items() if at[0] == day}
        return known

    def rewrap(self, file: KeyFile) -> bool:
        """Wrap under the current master key instead. False if the ring cannot open the key (it is left alone)."""
        plain = self._unwrap(file)
        if plain is not None:
            self._write(file, plain)
        return plain is not None

    def destroy(self, day: int, kind: VaultClass) -> None:
        """Overwrite the wrapped key with random bytes, sync, remove, sync: from here on nobody reads that day."""
        self._current.pop((day, kind), None)
        for file in self.files():
            if (file.day, file.kind) == (day, kind):
                self._opened.pop(file.id, None)
                fd = self._ops.open(file.path)
                try:
                    self._ops.write_at(fd, 0, [os.urandom(_KEY_BYTES)])
                    self._ops.sync(fd)
                finally:
                    self._ops.close(fd)
                self._ops.unlink(file.path)
                self._ops.sync_dir(self.folder)

    def _path(self, day: int, kind: VaultClass, key_id: bytes) -> Path:
        return self.folder / f"{day_name(day)}.{kind.label}.{key_id.hex()}.key"

    def _open(self, file: KeyFile) -> DataKey | None:
        plain = self._unwrap(file)
        if plain is None:
            return None
        if len(self._opened) > 4096:  # a reader walking years of days
            self._opened.clear()
        key = self._opened[file.id] = DataKey(file.id, file.day, file.kind, str(file.path), AESGCM(plain))
        return key

    def _unwrap(self, file: KeyFile) -> bytes | None:
        raw = read_key_file(file.path)
        if raw is None or self._keys is None:
            return None
        header = raw[: _KEY_HEADER.size]
        _, day, kind, master_id, key_id = _KEY_HEADER.unpack(header)
        if (day, kind, key_id) != (file.day, file.kind, file.id):
            return None
        return self._keys.unwrap(master_id, raw[_KEY_HEADER.size : -32], self._bound_to(header))

    def _create(self, day: int, kind: VaultClass) -> DataKey:
        key_id, plain = os.urandom(8), os.urandom(32)
        file = KeyFile(day, kind, key_id, self._path(day, kind, key_id))
        make_dirs(self._ops, self.folder)
        self._write(file, plain)
        key = self._opened[key_id] = DataKey(key_id, day, kind, str(file.path), AESGCM(plain))
        return key

    def _write(self, file: KeyFile, plain: bytes) -> None:
        if self._keys is None:
            raise BadValue(field="keys", value=None, expected="a KeyStore")
        header = _KEY_HEADER.pack(_KEY_MAGIC, file.day, file.kind, self._keys.ring.master[-1].id, file.id)
        content = header + self._keys.wrap(plain, self._bound_to(header))
        write_new(self._ops, file.path, [content, hashlib.sha256(content).digest()])

    def _bound_to(self, header: bytes) -> bytes:
        return b"mingbai data key 1\n" + self._stream.encode() + b"\n" + header


def read_key_file(path: Path) -> bytes | None:
    """The bytes of a data-key file, or None if it cannot be read or its own checksum fails."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    whole = len(raw) == _KEY_BYTES and raw[:4] == _KEY_MAGIC and hashlib.sha256(raw[:-32]).digest() == raw[-32:]
    return raw if whole else None


def parse_day(name: str) -> int | None:
    """`2026-11-24` -> days since 1970; None for anything else."""
    try:
        day = date.fromisoformat(name)
    except ValueError:
        return None
    return (day - _EPOCH).days if day.isoformat() == name else None


# -- blobs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Blob:
    """A ciphertext and what its header says in the clear."""

    kind: VaultClass
    day: int
    commit: int
    first_seq: int
    rows: int
    raw: bytes

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.raw).digest()

    @property
    def key_id(self) -> bytes:
        return self.raw[36:44]

    @classmethod
    def parse(cls, raw: bytes) -> Blob | None:
        """A blob that fills `raw` exactly, or None."""
        if len(raw) < _HEADER.size:
            return None
        magic, kind, _, _, day, commit, first_seq, rows, length, _, _ = _HEADER.unpack_from(raw)
        if magic != _MAGIC or len(raw) != _HEADER.size + length or kind not in CLASS_ROWS:
            return None
        return cls(VaultClass(kind), day, commit, first_seq, rows, raw)


def encrypt_commit(
    private: pa.RecordBatch,
    verdicts: pa.Array,
    data_keys: DataKeys,
    retention: Retention,
    *,
    stream: str,
    day: int,
    commit: int,
    first_seq: int,
) -> list[Blob]:
    """The blobs of one commit: at most one a class, none for a class without rows or with retention 0.

    private: `PRIVATE` columns, one row a row of the commit; verdicts: uint8, null for control entries (treated as
    stopped: only a decision to let pass makes a text short-lived).
    """
    blobs = []
    number_columns = [private.column(name) for name in ("sender", "receiver", "time")]
    if retention.numbers_days and any(column.null_count < len(column) for column in number_columns):
        rows = _places(np.arange(private.num_rows, dtype=np.uint32))
        batch = pa.RecordBatch.from_arrays([rows, *number_columns], schema=_NUMBER_ROWS)
        blobs.append((VaultClass.NUMBERS, batch))
    text = private.column("text")
    if text.null_count < len(text):
        if verdicts.null_count:
            verdicts = verdicts.fill_null(255)
        allowed = np.frombuffer(verdicts.buffers()[1], np.uint8, len(verdicts), verdicts.offset) == int(Verdict.ALLOW)
        for kind, chosen in ((VaultClass.ALLOWED, allowed), (VaultClass.STOPPED, ~allowed)):
            if text.null_count:
                chosen = chosen & np.asarray(text.is_valid())
            if retention.days(kind) and chosen.any():
                rows = _places(chosen.nonzero()[0].astype(np.uint32))
                kept = text if len(rows) == len(text) else text.take(rows)
                blobs.append((kind, pa.RecordBatch.from_arrays([rows, kept], schema=_TEXT_ROWS)))
    return [
        _encrypt(batch, kind, data_keys.current(day, kind), stream, day, commit, first_seq) for kind, batch in blobs
    ]


def _places(rows: npt.NDArray[np.uint32]) -> pa.Array:
    return pa.Array.from_buffers(_ROW.type, len(rows), [None, pa.py_buffer(rows)], 0)


def _encrypt(
    batch: pa.RecordBatch, kind: VaultClass, key: DataKey, stream: str, day: int, commit: int, first_seq: int
) -> Blob:
    message = batch.serialize()
    flags = 0
    plain = struct.pack("<I", message.size) + message.to_pybytes()
    if message.size >= _COMPRESS_FROM:
        flags = _ZSTD
        plain = plain[:4] + _COMPRESS.compress(message, asbytes=True)
    nonce = os.urandom(12)  # random: under 2**32 blobs a key, a repeat is less likely than 2**-32 (SP 800-38D, 8.3)
    header = _HEADER.pack(
        _MAGIC, kind, flags, 0, day, commit, first_seq, batch.num_rows, len(plain) + 16, key.id, nonce
    )
    raw = header + key.cipher.encrypt(nonce, plain, _additional(stream, header))
    return Blob(kind, day, commit, first_seq, batch.num_rows, raw)


def decrypt(blob: Blob, key: DataKey, stream: str) -> pa.RecordBatch | None:
    """The rows (`CLASS_ROWS[blob.kind]`), or None if the key is not the one, or a byte was changed."""
    header = blob.raw[: _HEADER.size]
    flags, nonce = header[5], header[44:56]
    if blob.key_id != key.id:
        return None
    try:
        plain = key.cipher.decrypt(nonce, blob.raw[_HEADER.size :], _additional(stream, header))
    except InvalidTag:
        return None
    (size,) = struct.unpack_from("<I", plain)
    message = _DECOMPRESS.decompress(plain[4:], size) if flags & _ZSTD else pa.py_buffer(plain[4:])
    return pa.ipc.read_record_batch(message, CLASS_ROWS[blob.kind])


def _additional(stream: str, header: bytes) -> bytes:
    return b"mingbai vault 1\n" + stream.encode() + b"\n" + header


# -- vault files of sealed segments ------------------------------------------------------------------------------------


def vault_path(stream_dir: Path, day: int, first_seq: int, kind: VaultClass) -> Path:
    return stream_dir / "vault" / day_name(day) / f"{first_seq:020d}.{kind.label}"


def read_blobs(path: Path) -> Iterator[tuple[int, Blob | None]]:
    """(offset, blob) of a vault file in order; (offset, None) once, where the bytes are no blob."""
    with open(path, "rb") as file:
        offset = 0
        while header := file.read(_HEADER.size):
            length = _HEADER.unpack(header)[8] if len(header) == _HEADER.size and header[:4] == _MAGIC else -1
            blob = Blob.parse(header + file.read(length)) if length >= 16 else None
            yield offset, blob
            if blob is None:
                return
            offset += len(blob.raw)


class BlobIndex:
    """Where in a vault file the blob of each commit lies: by the commit's first seq. Keeps the file open."""

    def __init__(self, path: Path) -> None:
        """Reads the headers only. Raises OSError. What follows damage is not found."""
        self._places: dict[int, tuple[int, int]] = {}
        self._file = open(path, "rb")  # noqa: SIM115  # closed with the index
        offset = 0
        while len(header := self._file.read(_HEADER.size)) == _HEADER.size and header[:4] == _MAGIC:
            fields = _HEADER.unpack(header)
            length = _HEADER.size + fields[8]
            self._places[fields[6]] = (offset, length)
            offset += length
            self._file.seek(offset)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def get(self, first_seq: int) -> Blob | None:
        place = self._places.get(first_seq)
        if place is None:
            return None
        offset, length = place
        return Blob.parse(os.pread(self._file.fileno(), length, offset))
