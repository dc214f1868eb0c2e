"""A command that answers in two seconds cannot load packages that nobody asked for.

pyarrow looks for pandas at its first scalar and numba for SciPy at its first call, to convert or speed up what Mingbai
never does. Where the extras `train` or `spark` have installed them, that costs a second at every start. The verbs that
work without them say so here; results are the same as in an installation that does not have them.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_UNUSED = frozenset({"pandas", "scipy"})


class _Unused(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _UNUSED:
            raise ModuleNotFoundError(f"{fullname} is not used by this command", name=fullname)
        return None


def collect_seldom() -> None:
    """Look for cyclic garbage a hundred times less often than Python does by itself.

    Loading a thousand modules makes hundreds of thousands of objects that stay: looking through them again and again
    takes a tenth of a start, and finds nothing. A run over files makes hardly any cycles.
    """
    gc.set_threshold(70_000, 10, 10)


def leave_out_unused() -> None:
    """From now on this process does not load pandas and SciPy, unless it has already."""
    if not any(isinstance(finder, _Unused) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Unused())
