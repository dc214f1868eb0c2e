"""Links and frames: what makes a commit whole, and what garbage never does."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mingbai.ledger.chain import LINK_BYTES, Link, frame_digest, genesis, link_column, read_frame

BEFORE = genesis("batch")


def link(**changes: object) -> Link:
    fields: dict[str, object] = {"rows": 3, "commit": 7, "first_seq": 20, "at_us": 5, "digest": b"d" * 32}
    return Link.make(BEFORE, **(fields | {"content": b"c" * 32} | changes))  # type: ignore[arg-type]  # by name


def test_a_link_is_its_128_bytes() -> None:
    raw = link().to_bytes()
    assert len(raw) == LINK_BYTES
    assert raw[:4] == b"MBL1"
    assert Link.parse(raw) == link()
    assert raw[96:] == hashlib.sha256(BEFORE + raw[:96]).digest()
    assert link().follows(BEFORE)
    assert not link().follows(genesis("other"))


def test_every_field_of_a_link_is_chained() -> None:
    for change in ({"rows": 4}, {"commit": 8}, {"first_seq": 21}, {"at_us": 6}, {"digest": b"D" * 32}):
        assert link(**change).chain != link().chain
    assert link(content=b"C" * 32).chain != link().chain


@given(st.binary(max_size=200))
def test_garbage_is_no_link(raw: bytes) -> None:
    assert Link.parse(raw) is None or raw[:4] == b"MBL1"


def message(rows: int) -> bytes:
    batch = pa.record_batch({"seq": pa.array(range(rows), pa.uint64()), "link": link_column(rows)})
    return bytes(batch.serialize().to_pybytes())


def test_the_link_comes_last_in_a_message() -> None:
    for rows in (1, 2, 7, 8, 9, 1000):
        assert message(rows)[-LINK_BYTES:] == bytes(LINK_BYTES)


def frames(path: Path, content: bytes) -> list[bytes]:
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    try:
        found, offset = [], 0
        while (frame := read_frame(fd, offset, len(content))) is not None:
            found.append(frame.data)
            offset = frame.end
    finally:
        os.close(fd)
    return found


def test_frames_are_read_one_after_the_other(tmp_path: Path) -> None:
    messages = [message(1), message(5), message(300)]
    assert frames(tmp_path / "f", b"".join(messages)) == messages


def test_a_cut_frame_is_none(tmp_path: Path) -> None:
    whole = message(3)
    for size in range(len(whole)):
        assert frames(tmp_path / "f", whole[:size]) == []


@given(st.data())
def test_a_changed_byte_gives_another_digest(data: st.DataObject) -> None:
    whole = bytearray(message(3))
    digest = frame_digest(b"", whole)
    whole[data.draw(st.integers(0, len(whole) - LINK_BYTES - 1))] ^= data.draw(st.integers(1, 255))
    assert frame_digest(b"", whole) != digest


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xff\xff\xff\x08\x00\x00\x00", message(2)[:60]]))
def test_garbage_never_reads_beyond_the_file(start: bytes, raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        content = start + raw
        assert sum(len(frame) for frame in frames(Path(folder) / "f", content)) <= len(content)
