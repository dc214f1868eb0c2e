"""Arguments that name files, and those that may be `-`, a standard stream."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from mingbai.kernel.errors import MingbaiError


class FileUnusable(MingbaiError):
    """A file that a command was to read or write, and the system did not let it."""

    code = "file_unusable"
    template = "{path}: {detail}"


class UnknownOption(MingbaiError):
    """A word that looks like an option, where files stand."""

    code = "unknown_option"
    template = "unknown option {name}"


def refuse_options(words: Iterable[str]) -> None:
    """Files may be called `-`, and the parser therefore lets every hyphen through: this does not.

    Raises UnknownOption.
    """
    for word in words:
        if word.startswith("-") and word != "-":
            raise UnknownOption(name=word)


def refuse_unwritable(path: Path) -> None:
    """Said before the work of minutes, not after it. Raises FileUnusable."""
    if path.is_dir():
        code = errno.EISDIR
    elif not path.parent.is_dir():
        code = errno.ENOENT
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        code = errno.EACCES
    else:
        return
    raise FileUnusable(path=str(path), detail=os.strerror(code))
