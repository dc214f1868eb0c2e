"""The command line: parse, call one thing, present. It decides nothing and knows no table.

`main` is the program `mingbai`. A verb's module is imported when the verb is used: `mingbai --help` imports neither the
engine nor the ledger, and answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 done with something to look at, 2 nothing done."""
    from mingbai.cli.fast_start import collect_seldom
    from mingbai.cli.words import choose_language, use_language

    collect_seldom()
    chosen, rest = choose_language(sys.argv[1:] if arguments is None else arguments)
    use_language(chosen)
    from mingbai.cli.app import run

    return run(rest)
