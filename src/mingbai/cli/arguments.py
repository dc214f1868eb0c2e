"""Arguments that may be `-`, a standard stream."""

from __future__ import annotations

from collections.abc import Iterable

from mingbai.kernel.errors import MingbaiError


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
