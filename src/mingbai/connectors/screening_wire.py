"""What the screener and its clients say to each other over a Unix socket. Sans-IO: bytes in, values out.

A frame is: length of the header (uint32, big-endian), length of the body (uint32), header, body. The header is a JSON
object. The body, where there is one, is a stream of Arrow IPC with one record batch.

A request's header has `id` (the client's number for it) and `op`, and what the operation takes. Its answer has the same
`id`, and `result` or `error`: the `code`, `data`, `message` and `retryable` of a `MingbaiError`. Answers may come in
another order than the requests.

Both ends belong to one program and one account (the socket has mode 0600), so there is no version and no greeting; what
is wrong on the wire all the same is refused with `BadFrame`, and the connection ends.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from mingbai.engines.screening.schema import DECISION, MESSAGE, NETWORK
from mingbai.kernel.errors import BadValue, MingbaiError, SchemaMismatch

PREFIX: Final = struct.Struct(">II")
# A rulebook travels in the header: one with a hundred thousand keywords has some 3 MB.
MAX_HEADER_BYTES: Final = 16 << 20
MAX_BODY_BYTES: Final = 64 << 20
MAX_ROWS: Final = 10_000  # messages of one request: some 3 MB, and under 0.1 s of work
_COLUMNS: Final = (*MESSAGE.names, *NETWORK.names)
ANSWER: Final = pa.schema([pa.field("id", pa.binary(16), nullable=False), *DECISION])


class BadFrame(MingbaiError):
    """Bytes that are no frame, or a frame that is no request or answer."""

    code = "bad_frame"
    template = "{field}: got {value}, expected {expected}"


@dataclass(frozen=True, slots=True)
class Frame:
    """One request or answer."""

    header: dict[str, Any]  # Any: JSON
    body: bytes = b""

    def to_bytes(self) -> bytes:
        """Raises BadFrame for what the other end would refuse."""
        header = json.dumps(self.header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        _check_size("header", len(header), MAX_HEADER_BYTES)
        _check_size("body", len(self.body), MAX_BODY_BYTES)
        return b"".join((PREFIX.pack(len(header), len(self.body)), header, self.body))


def _check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise BadFrame(field=f"{name} of a frame", value=f"{size} bytes", expected=f"{limit} bytes at most")


@dataclass(slots=True)
class FrameDecoder:
    """Collects bytes until they are frames. After BadFrame it is of no more use: nobody knows where a frame begins."""

    _held: bytearray = field(default_factory=bytearray)

    def receive(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete. Raises BadFrame."""
        self._held += data
        frames = []
        while len(self._held) >= PREFIX.size:
            header_size, body_size = PREFIX.unpack_from(self._held)
            _check_size("header", header_size, MAX_HEADER_BYTES)
            _check_size("body", body_size, MAX_BODY_BYTES)
            end = PREFIX.size + header_size + body_size
            if len(self._held) < end:
                break
            header = _header(bytes(self._held[PREFIX.size : PREFIX.size + header_size]))
            frames.append(Frame(header, bytes(self._held[end - body_size : end])))
            del self._held[:end]
        return frames

    @property
    def is_amid(self) -> bool:
        """Whether a frame has begun and is not whole."""
        return bool(self._held)


def _header(content: bytes) -> dict[str, Any]:
    try:
        header = json.loads(content)
    except (ValueError, RecursionError):
        raise BadFrame(field="header of a frame", value=repr(content[:40]), expected="JSON in UTF-8") from None
    if not isinstance(header, dict):
        raise BadFrame(field="header of a frame", value=type(header).__name__, expected="a JSON object")
    return header


def error_document(error: MingbaiError) -> dict[str, object]:
    """An error as JSON. Values that JSON does not know travel as text."""
    data = json.loads(json.dumps(error.data, default=str))
    return {"code": error.code, "data": data, "message": str(error), "retryable": error.retryable}


# ---- batches


def batch_bytes(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def read_batch(body: bytes) -> pa.RecordBatch:
    """The batch of a body. Raises BadFrame if it is not one whole, valid batch."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            batch = reader.read_next_batch()
        batch.validate(full=True)
        batch.schema.names  # noqa: B018 - a name that is no UTF-8 raises ValueError, which `validate` leaves out
    except (pa.ArrowException, OSError, StopIteration, ValueError) as error:
        raise BadFrame(
            field="body of a frame", value=f"{len(body)} bytes ({type(error).__name__})", expected="one Arrow batch"
        ) from None
    return batch


def as_messages(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with exactly the columns of `MESSAGE`, absent ones null, and what it has of `NETWORK`; no text is null.

    Raises SchemaMismatch for a column that is unknown, there twice, missing or of another meaning, BadValue for no rows
    or more than `MAX_ROWS`.
    """
    rows = batch.num_rows
    if not 0 < rows <= MAX_ROWS:
        raise BadValue(field="messages", value=rows, expected=f"1 to {MAX_ROWS}")
    for name in batch.schema.names:
        if name not in _COLUMNS:
            raise SchemaMismatch(field=name, value="a column", expected=f"columns among {', '.join(_COLUMNS)}")
    columns = []
    schema = pa.schema([*MESSAGE, *(field_ for field_ in NETWORK if field_.name in batch.schema.names)])
    for field_ in schema:
        if batch.schema.names.count(field_.name) > 1 or (field_.name == "text" and "text" not in batch.schema.names):
            raise SchemaMismatch(field=field_.name, value="not there once", expected=str(field_.type))
        index = batch.schema.get_field_index(field_.name)
        column = pa.nulls(rows, field_.type) if index < 0 else _as(batch.column(index), field_)
        columns.append(column.fill_null("") if field_.name == "text" else column)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _as(column: pa.Array, wanted: pa.Field) -> pa.Array:
    kind = column.type
    if kind == wanted.type:
        return column
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    stringy = pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)
    is_zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    if not (pa.types.is_null(kind) or (is_zoned if pa.types.is_timestamp(wanted.type) else stringy)):
        raise SchemaMismatch(field=wanted.name, value=str(kind), expected=str(wanted.type))
    try:
        return column.cast(wanted.type)
    except pa.ArrowException as error:
        raise SchemaMismatch(field=wanted.name, value=f"{kind} ({error})", expected=str(wanted.type)) from None


# ---- the socket's place


def socket_path(data_dir: Path) -> Path:
    return data_dir / "run" / "screener.sock"
