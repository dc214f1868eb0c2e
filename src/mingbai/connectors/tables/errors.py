"""What stops a run of tables: an input that cannot be read at all, a column that is not there, an output that cannot
be written.

A row that cannot be read is none of these: it becomes a `Reject` and the run goes on (see `rejects`).
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Sequence

from mingbai.kernel.errors import BadValue, MingbaiError


class InputUnreadable(MingbaiError):
    """A file that is missing, forbidden, of another format than it says, or fails while it is read."""

    code = "input_unreadable"
    template = "{path}: cannot be read: {detail}"


class MissingColumn(MingbaiError):
    """A column was asked for that an input does not have."""

    code = "missing_column"
    template = "{path}: no column {column!r} (asked for as {option}); found: {found}.{hint}"


class UnknownFormat(BadValue):
    """The format of a file does not follow from its name and was not given."""

    code = "unknown_format"


class OutputCannotWrite(MingbaiError):
    """The output cannot be written: disk full, no permission, no such directory, reader gone. Nothing is left
    behind.
    """

    code = "output_cannot_write"
    template = "{path}: cannot be written: {detail}"
    retryable = True  # after room, permission or directory has been provided


def missing_column(path: str, column: str, option: str, found: Sequence[str]) -> MissingColumn:
    """The error for a column that is not there, naming what is and the closest of it."""
    lowered = {name.lower().strip(): name for name in found}
    close = difflib.get_close_matches(column.lower(), lowered, n=1, cutoff=0.5)
    hint = f" Did you mean {lowered[close[0]]!r}?" if close else ""
    shown = ", ".join(repr(name if len(name) <= 40 else name[:39] + "…") for name in found[:20])
    shown += ", …" if len(found) > 20 else ""
    return MissingColumn(path=path, column=column, option=option, found=shown or "none", hint=hint)


def input_unreadable(path: str, error: BaseException | str) -> InputUnreadable:
    """The error for an input, from what the system or the decoder said."""
    return InputUnreadable(path=path, detail=_detail(error))


def output_cannot_write(path: str, error: BaseException | str) -> OutputCannotWrite:
    """The error for an output, from what the system said. `data["errno"]` lets a caller tell a closed pipe from a
    full disk.
    """
    number = error.errno if isinstance(error, OSError) else None
    return OutputCannotWrite(path=path, detail=_detail(error), errno=number)


def _detail(error: BaseException | str) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        name = errno.errorcode.get(error.errno, str(error.errno))
        return f"{error.strerror or error} ({name})"
    return str(error)
