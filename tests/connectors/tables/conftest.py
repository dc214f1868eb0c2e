"""Reading a table in a test: write bytes, read them all, and check what holds for every table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # rows of a table hold values of any type

import pytest

from mingbai.connectors.tables import MessageReader, Reject, read_messages

Row = dict[str, Any]  # column to value, of any type


@dataclass(frozen=True)
class Read:
    """All that came of some inputs."""

    reader: MessageReader
    rows: list[Row]
    numbers: list[int]
    kept: list[Row]
    rejects: list[Reject]

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in self.rows]

    @property
    def causes(self) -> list[tuple[int, str, str]]:
        """(line, column, cause) of each reject."""
        return [(reject.line, reject.column, str(reject.cause)) for reject in self.rejects]


ReadAll = Callable[..., Read]
WriteFile = Callable[[str, bytes | str], str]


def read_all(*paths: str, **options: Any) -> Read:  # options: those of read_messages, whose own types check them
    rejects: list[Reject] = []
    reader = read_messages(paths, on_reject=rejects.append, **options)
    rows: list[Row] = []
    numbers: list[int] = []
    kept: list[Row] = []
    for batch in reader:
        assert batch.batch.schema == reader.schema
        assert batch.batch.num_rows == len(batch.rows) <= options.get("batch_rows", 10_000)
        batch.batch.validate(full=True)
        rows += batch.batch.to_pylist()
        numbers += batch.rows.tolist()
        if batch.kept is not None:
            assert batch.kept.schema == reader.kept_schema
            batch.kept.validate(full=True)
            kept += batch.kept.to_pylist()
    # Every row is there once: as a message or as a reject.
    assert (reader.accepted, reader.rejected) == (len(rows), sum(reject.rows for reject in rejects))
    given = numbers + [reject.row + at for reject in rejects for at in range(min(reject.rows, 1000))]
    assert len(set(given)) == len(given)
    assert reader.rows == reader.accepted + reader.rejected
    assert numbers == sorted(numbers)
    assert [reject.row for reject in rejects] == sorted(reject.row for reject in rejects)
    assert sum(reader.causes.values()) == reader.rejected
    return Read(reader, rows, numbers, kept, rejects)


@pytest.fixture
def read() -> ReadAll:
    return read_all


@pytest.fixture
def file(tmp_path: Path) -> WriteFile:
    """`file("a.csv", content)` writes it and gives its path; text is written as UTF-8."""

    def write(name: str, content: bytes | str) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return str(path)

    return write
