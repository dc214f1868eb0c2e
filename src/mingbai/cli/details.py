"""What the rooms below say, in the language that the command line speaks (`kernel.translations`)."""

from __future__ import annotations

from mingbai.cli.words import language
from mingbai.kernel import translations
from mingbai.kernel.errors import MingbaiError


def message_of(error: MingbaiError) -> str:
    """The error's own message, made from its fields in the reader's language."""
    return translations.message_of(error, language())


def problem_line(problem: object) -> str:
    """One line about one thing wrong with a rulebook."""
    return translations.problem_line(problem, language())


def translated(text: str, *, table: str = "said") -> str:
    """An English sentence of the house (or several, one a line) in the reader's language."""
    return translations.translated(text, language(), table=table)
