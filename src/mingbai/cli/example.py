"""`mingbai example`: files to begin with, commented, that work as they are."""

from __future__ import annotations

import re
import secrets
import string
import sys
from importlib.resources import files
from typing import Annotated

from cyclopts import Parameter

from mingbai.cli.words import _, language
from mingbai.kernel.errors import BadValue

EXAMPLES = ("gateway.toml",)
_SECRET = re.compile(r"\{secret(\d+)\}")
_LETTERS = string.ascii_letters + string.digits  # nothing that a shell, a TOML string or an old SMSC takes otherwise


def example(
    name: Annotated[str, Parameter(help=_("Which file: gateway.toml."))] = EXAMPLES[0],
    /,
) -> int:
    """Print it. Each secret in it is a new random one, so that no two systems have the same."""
    if name not in EXAMPLES:
        raise BadValue(field="name", value=name, expected=f"one of {', '.join(EXAMPLES)}")
    sys.stdout.write(text(name, language()))
    return 0


def text(name: str, language: str) -> str:
    """The example in a language, with secrets of its own."""
    stem, _dot, ending = name.rpartition(".")
    template = files("mingbai.cli") / "templates" / f"{stem}.{language}.{ending}"
    return _SECRET.sub(lambda place: _secret(int(place[1])), template.read_text(encoding="utf-8"))


def _secret(length: int) -> str:
    """length: characters; SMPP's passwords have 8 at most (SMPP 3.4, 5.2.2), those of SGIP 16 (SGIP 1.2, 4.2.3.1)."""
    return "".join(secrets.choice(_LETTERS) for _place in range(length))
