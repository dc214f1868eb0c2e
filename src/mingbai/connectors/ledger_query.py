"""SQL over the ledger: DuckDB on the entries of all streams, sealed and open alike.

Sealed segments are read by DuckDB itself, as Parquet; open ones come from the ledger's reader. What a query sees holds
no number and no text: those are encrypted elsewhere. Before the query runs, the connection is shut off from the network
and from every file outside the ledger's folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from mingbai.kernel.errors import MingbaiError
from mingbai.ledger import ENTRY, StreamReader
from mingbai.ledger.segments import list_segments, stream_dir, streams_dir


class QueryRefused(MingbaiError):
    """DuckDB could not run a query; `detail` is what it said."""

    code = "query_refused"
    template = "{detail}"


@dataclass(frozen=True, slots=True)
class Result:
    columns: list[str]
    rows: list[tuple[object, ...]]


def run_query(data_dir: Path, streams: list[str], sql: str) -> Result:
    """Run one query. The table `entries` has a column `stream` and those of `ENTRY`.

    Raises QueryRefused for anything that DuckDB refuses, LedgerDamaged if open segments cannot be read.
    """
    connection = duckdb.connect(":memory:")
    try:
        columns = ", ".join(f'"{name}"' for name in ENTRY.names)  # `at` is a word of SQL
        parts: list[tuple[str, str]] = []
        for number, stream in enumerate(streams):
            segments = list_segments(stream_dir(data_dir, stream))
            sealed = [str(segment.sealed) for segment in segments if segment.open is None and segment.sealed]
            still_open = [segment.first_seq for segment in segments if segment.open is not None]
            if sealed:
                connection.read_parquet(sealed).create_view(f"sealed_{number}")
                parts.append((stream, f"sealed_{number}"))
            if still_open:  # the last ones: entries from the first of them on
                reader = StreamReader(data_dir, stream)
                held = pa.Table.from_batches(reader.entries(first_seq=min(still_open)), ENTRY)
                connection.register(f"open_{number}", held)
                parts.append((stream, f"open_{number}"))
        selects = [f"SELECT {_quoted(stream)} AS stream, {columns} FROM {view}" for stream, view in parts]  # noqa: S608 - quoted, and names of ours
        connection.execute("CREATE VIEW entries AS " + " UNION ALL ".join(selects))
        connection.execute(f"SET allowed_directories = [{_quoted(str(streams_dir(data_dir)))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        found = connection.execute(sql)
        names = [column[0] for column in found.description or []]
        return Result(names, found.fetchall() if names else [])
    except duckdb.Error as error:
        raise QueryRefused(detail=str(error)) from error
    finally:
        connection.close()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
