"""Bytes in and out: input files and standard input, outputs that appear whole or not at all.

An input is read forward once; its first bytes can be looked at before (`peek`) without being lost, also on a pipe.
An output is written to a temporary file beside its place and renamed at the end, after its bytes are on the disk: a
crash or a full disk never leaves half a file under the final name. Standard output and existing special files
(`/dev/null`, a named pipe) are written directly, since renaming over them would replace the device.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import secrets
import stat
import sys
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from mingbai.connectors.tables.errors import input_unreadable, output_cannot_write
from mingbai.connectors.tables.formats import STANDARD_STREAM

_PIECE_BYTES = 64 * 1024


class InputTorn(Exception):
    """A compressed input ends early or is damaged; what came before was delivered."""


class InputFile:
    """One input, opened when first needed. `path` is as given; `-` is standard input; `.gz` is decompressed.

    size: bytes on the disk; None for a pipe. Raises InputUnreadable if there is nothing to read at `path`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.size: int | None = None
        self._raw: BinaryIO | None = None
        self._stream: BinaryIO | gzip.GzipFile | None = None
        self._head = b""  # looked at, not yet delivered
        self._torn: str | None = None
        self._delivered = 0
        if path != STANDARD_STREAM:
            try:
                found = os.stat(path)
            except (OSError, ValueError) as error:  # ValueError: a NUL in the name
                raise input_unreadable(path, error) from error
            if stat.S_ISDIR(found.st_mode):
                raise input_unreadable(path, "it is a directory; name the files in it")
            self.size = found.st_size if stat.S_ISREG(found.st_mode) else None

    def peek(self, size: int) -> bytes:
        """The first `size` bytes, fewer at the end. `read` delivers them too.

        A regular file is closed again, so that thousands of inputs can be looked at before the first is read.
        Raises InputUnreadable also if the file is damaged from its start.
        """
        head = self._read_fully(size)
        if not head and self._torn is not None:
            raise input_unreadable(self.path, self._torn)
        if self.size is None:
            self._head = head
        else:
            self.close()
        return head

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end. Raises InputTorn at the end of what a damaged `.gz` gives."""
        block, self._head = self._head[:size], self._head[size:]
        if len(block) < size:
            block += self._read_fully(size - len(block))
        self._delivered += len(block)
        if not block and self._torn is not None:
            said, self._torn = self._torn, None
            raise InputTorn(said)
        return block

    @property
    def position(self) -> int:
        """Bytes read, of the file as it is on the disk; of a pipe, bytes delivered."""
        if self.size is None or self._raw is None or self._raw.closed:
            return self._delivered
        return self._raw.tell()

    def close(self) -> None:
        if self._raw is not None and self.path != STANDARD_STREAM:
            self._raw.close()
        self._raw = self._stream = self._torn = None

    def _read_fully(self, size: int) -> bytes:
        pieces: list[bytes] = []
        missing = size
        while missing > 0 and self._torn is None:
            try:
                stream = self._opened()
                if isinstance(stream, gzip.GzipFile):
                    # At a damaged place all that this call would have given is lost: little, and of what read gathers
                    # all.
                    piece = stream.read1(min(missing, _PIECE_BYTES))
                else:
                    piece = stream.read(missing)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                self._torn = str(error)
                break
            except OSError as error:
                raise input_unreadable(self.path, error) from error
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _opened(self) -> BinaryIO | gzip.GzipFile:
        if self._stream is None:
            if self.path == STANDARD_STREAM:
                self._raw = sys.stdin.buffer
            else:
                self._raw = open(self.path, "rb", buffering=0)  # noqa: SIM115 closed by close
            is_compressed = self.path.lower().endswith(".gz")
            self._stream = gzip.GzipFile(fileobj=self._raw, mode="rb") if is_compressed else self._raw
        return self._stream


class OutputFile:
    """One output. Write, then `commit` (it appears under its name) or `discard` (nothing of it stays). `.gz` is
    compressed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._temporary: str | None = None
        self._place = self.path
        try:
            if self.path == STANDARD_STREAM:
                self._file: BinaryIO = sys.stdout.buffer
            elif os.path.exists(self.path) and not os.path.isfile(self.path):
                self._file = open(self.path, "wb")  # noqa: SIM115 closed by commit or discard
            else:
                # Through a symbolic link: the file that it names is replaced, not the link.
                self._place = os.path.realpath(self.path)
                folder, name = os.path.split(self._place)
                temporary = os.path.join(folder, f".{name[:60]}.{secrets.token_hex(6)}.part")
                self._file = open(temporary, "xb")  # noqa: SIM115 closed by commit or discard
                self._temporary = temporary
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise output_cannot_write(self.path, error) from error
        self._stream: BinaryIO | gzip.GzipFile = self._file
        if self.path.lower().endswith(".gz"):
            self._stream = gzip.GzipFile(filename="", fileobj=self._file, mode="wb", compresslevel=6, mtime=0)

    def write(self, data: bytes | memoryview) -> None:
        """Write all of `data`. Raises OutputCannotWrite, having discarded what was written."""
        with self._guarded():
            self._stream.write(data)

    def commit(self) -> None:
        """Put the output in its place, on the disk. Raises OutputCannotWrite, having discarded what was written."""
        with self._guarded():
            if self._stream is not self._file:
                self._stream.close()  # ends the compressed stream, not the file
            self._file.flush()
            if self._temporary is None:
                self._close()
                return
            os.fsync(self._file.fileno())
            self._close()
            os.replace(self._temporary, self._place)
            self._temporary = None
            _sync_folder(os.path.dirname(self._place))

    def discard(self) -> None:
        """Leave nothing behind. What went to a standard stream or a device is gone."""
        with contextlib.suppress(OSError):  # what cannot be flushed is not wanted any more
            if self._stream is not self._file:
                self._stream.close()
        with contextlib.suppress(OSError):
            self._close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            self._temporary = None

    def _close(self) -> None:
        if self.path != STANDARD_STREAM:
            self._file.close()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.discard()
            raise output_cannot_write(self.path, error) from error


def _sync_folder(folder: str) -> None:
    """Make a rename in `folder` last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
