"""What every reader yields: a stretch of rows, the good ones as columns and the others as faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mingbai.connectors.tables.rejects import Cause


@dataclass(frozen=True, slots=True)
class Fault:
    """One bad row of a block (`rows` of them, for a stretch of a file that cannot be read). ordinal: its place in the
    block.
    """

    ordinal: int
    line: int
    column: str
    cause: Cause
    detail: str
    raw: str
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to take of a file. message: role (`text`, `sender`, ...) to column name; the role `text` is always there.
    kept: column names.
    """

    message: dict[str, str]
    kept: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        """Every column to read, once."""
        return list(dict.fromkeys([*self.message.values(), *self.kept]))


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of rows of one file.

    total: rows in it, good and bad. good: ordinals of the good rows (0..total-1, rising). lines: their line numbers.
    message: their values by role; strings, `text` without null; `time` of any type that `times.times_of` reads.
    kept: their values by column name, of the types in `TableFile.columns`. raw: the escaped excerpt of the i-th good
    row, for one that turns out bad later.
    """

    total: int
    good: NDArray[np.int64]
    lines: NDArray[np.int64]
    message: dict[str, pa.Array]
    kept: dict[str, pa.Array]
    raw: Callable[[int], str]
    faults: list[Fault] = field(default_factory=list)


class TableFile(Protocol):
    """One input. `columns` are its own, in its order, with the types of the arrays that `blocks` yields; None if it
    holds no readable row to tell them.
    """

    path: str
    columns: pa.Schema | None

    def blocks(self, wanted: Wanted) -> Iterator[Block]:
        """The rows, with what is wanted. May be read once."""

    @property
    def position(self) -> int:
        """Bytes read so far, for a progress bar."""

    @property
    def size(self) -> int | None:
        """Bytes in all; None for a pipe."""
