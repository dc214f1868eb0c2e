"""Rulebooks that were read and compiled, kept for a while, by their text.

Compiling takes seconds, because of the regexes. A draft is checked, tried, checked again and then published: with this
it is compiled once, and is in force as soon as its publication is noticed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from mingbai.engines.screening.rulebook import parse
from mingbai.engines.screening.rulebook_types import Rulebook
from mingbai.engines.screening.rules import CompiledRules, keyword_nids

_KEPT: Final = 8  # of some MB each: the one in force, the one before, and what a few people work on


class RulebookCache:
    """Thread-safe. Two threads that ask for the same new text at once both compile it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Rulebook, CompiledRules]] = OrderedDict()

    def compiled(self, text: str, *, source: str = "rulebook") -> tuple[Rulebook, CompiledRules]:
        """A rulebook, ready to run. source: its name in problems. Raises RulebookInvalid with every problem."""
        with self._lock:
            known = self._kept.get(text)
            if known is not None:
                self._kept.move_to_end(text)
                return known
        book = parse(text, keyword_nids, source=source)
        made = book, CompiledRules.of(book)
        with self._lock:
            self._kept[text] = made
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made
