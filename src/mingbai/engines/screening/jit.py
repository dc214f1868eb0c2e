"""numba's decorator, typed once.

`nogil` so that plain threads run screens side by side, `cache` so that a process starts warm, never `fastmath`: the
same text gives bit-equal scores on every thread split.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba

_njit: Any = numba.njit  # Any: numba's own types leave out the option `_nrt`

Number = Any  # Any: a number of compiled code, whose machine type numba infers

# These give a number its machine type. For the type checker a number is an int or a float there, so
# what a cast returns has to fit both: Any.
int32: Any = numba.int32  # Any: see above
int64: Any = numba.int64  # Any: see above
uint32: Any = numba.uint32  # Any: see above
uint64: Any = numba.uint64  # Any: see above
float32: Any = numba.float32  # Any: see above

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile an entry point that Python calls."""
    compiled: Callable[P, R] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return compiled


def arithmetic(function: Callable[P, R]) -> Callable[P, R]:
    """Compile an entry point that allocates nothing: without numba's reference counting, which costs an atomic
    increment for every array taken out of a tuple, more than the work on a short message."""
    compiled: Callable[P, R] = _njit(cache=True, nogil=True, error_model="numpy", _nrt=False)(function)
    return compiled


def inline(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a part that only compiled functions call; always inlined, and without allocations."""
    compiled: Callable[P, R] = _njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)(
        function
    )
    return compiled


def outline(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a part that few messages need: called, not inlined, so that the common path stays small."""
    compiled: Callable[P, R] = _njit(cache=True, nogil=True, error_model="numpy", _nrt=False)(function)
    return compiled
