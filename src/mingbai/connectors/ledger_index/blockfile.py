"""Block files: `DATA/index/<stream>/<first seq>-<last seq>.block`, written once, mapped into memory to be read.

    "MBIX" + format uint32 + length of the header uint32 + SHA-256 of the header (32), the header as JSON, zeros up to
    a multiple of 64; then the columns, each at a multiple of 64. The header names stream, rows, chain hashes, and of
    each column its type, count, place and CRC-32.

Opening checks the header and the size; `is_whole` reads every byte. A file that fails either is no index: whoever finds
it goes to the ledger instead, and the owner makes it anew.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mingbai.connectors.ledger_index.block import COLUMN_TYPES, Block, BlockHead
from mingbai.connectors.ledger_index.rows import CODED, Array
from mingbai.ledger.files import FileOps, make_dirs, write_new

_PREFIX = struct.Struct("<4sII32s")
_MAGIC, _FORMAT = b"MBIX", 1
_ALIGN = 64
_NAME = re.compile(r"(\d{20})-(\d{20})\.block")


@dataclass(frozen=True, slots=True)
class BlockName:
    """What a file's name says: the seqs that it covers."""

    first_seq: int
    last_seq: int
    path: Path

    @property
    def rows(self) -> int:
        return self.last_seq - self.first_seq + 1


def index_dir(data_dir: Path, stream: str) -> Path:
    return data_dir / "index" / stream


def list_blocks(folder: Path) -> list[BlockName]:
    """The block files of a stream by first seq; of two that begin alike, the longer first."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    matches = [match for match in map(_NAME.fullmatch, names) if match]
    blocks = [BlockName(int(match[1]), int(match[2]), folder / match[0]) for match in matches]
    return sorted(blocks, key=lambda block: (block.first_seq, -block.last_seq))


def write_block(folder: Path, stream: str, block: Block, ops: FileOps) -> Path:
    """Put the file in place, whole or not at all. Raises OSError."""
    places: dict[str, list[object]] = {}
    offset = 0
    for name, array in block.arrays.items():
        places[name] = [array.dtype.str.lstrip("<|"), len(array), offset, zlib.crc32(_bytes(array))]
        offset += _aligned(array.nbytes)
    head = block.head
    document = {
        "stream": stream,
        "first_seq": head.first_seq,
        "rows": head.rows,
        "min_at": head.min_at,
        "max_at": head.max_at,
        "min_ms": head.min_ms,
        "max_ms": head.max_ms,
        "before": head.before.hex(),
        "after": head.after.hex(),
        "columns": places,
        "bytes": offset,
    }
    header = json.dumps(document, separators=(",", ":")).encode()
    prefix = _PREFIX.pack(_MAGIC, _FORMAT, len(header), hashlib.sha256(header).digest())
    chunks: list[bytes | memoryview] = [
        prefix,
        header,
        bytes(_aligned(len(prefix) + len(header)) - len(prefix + header)),
    ]
    for array in block.arrays.values():
        chunks += [_bytes(array), bytes(_aligned(array.nbytes) - array.nbytes)]
    path = folder / f"{head.first_seq:020d}-{head.last_seq:020d}.block"
    make_dirs(ops, folder)
    write_new(ops, path, chunks)
    return path


def open_block(path: Path, stream: str) -> Block | None:
    """The block, or None if this is no whole block file of the stream. Raises FileNotFoundError."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(_PREFIX.size)
        if len(prefix) < _PREFIX.size:
            return None
        magic, version, length, sha256 = _PREFIX.unpack(prefix)
        if (magic, version) != (_MAGIC, _FORMAT) or length > size:
            return None
        header = file.read(length)
        if hashlib.sha256(header).digest() != sha256:
            return None
        document = json.loads(header)
        base = _aligned(_PREFIX.size + length)
        if document["stream"] != stream or size != base + document["bytes"]:
            return None
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    arrays: dict[str, Array] = {
        name: np.frombuffer(mapped, np.dtype(kind), count, base + offset)
        for name, (kind, count, offset, _) in document["columns"].items()
    }
    if not _has_columns(arrays, document["rows"]):
        return None
    names = ("first_seq", "rows", "min_at", "max_at", "min_ms", "max_ms")
    head = BlockHead(
        **{name: document[name] for name in names},
        before=bytes.fromhex(document["before"]),
        after=bytes.fromhex(document["after"]),
    )
    return Block(head, arrays)


def is_whole(path: Path) -> bool:
    """Whether every column has the checksum that the header says. Reads the whole file."""
    try:
        with open(path, "rb") as file:
            magic, _, length, sha256 = _PREFIX.unpack(file.read(_PREFIX.size))
            header = file.read(length)
            if magic != _MAGIC or hashlib.sha256(header).digest() != sha256:
                return False
            base = _aligned(_PREFIX.size + length)
            for kind, count, offset, crc in json.loads(header)["columns"].values():
                file.seek(base + offset)
                if zlib.crc32(file.read(np.dtype(kind).itemsize * count)) != crc:
                    return False
    except (OSError, struct.error):
        return False
    return True


def _has_columns(arrays: dict[str, Array], rows: int) -> bool:
    per_row = ["verdict", "category", "score", *(f"{name}.code" for name in CODED)]
    return (
        all(name in arrays and arrays[name].dtype == np.dtype(kind) for name, kind in COLUMN_TYPES.items())
        and all(name in arrays and len(arrays[name]) == rows for name in per_row)
        and rows > 0
    )


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def _bytes(array: Array) -> memoryview:
    return memoryview(np.ascontiguousarray(array).view(np.uint8).data)
