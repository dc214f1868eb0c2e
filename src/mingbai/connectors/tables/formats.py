"""Which format a table has: by the extension of its name, or as given.

`.csv`, `.tsv`, `.jsonl` or `.ndjson`, `.parquet`; the text formats also as `.gz`. `-` (standard input or output) has
no name, so its format has to be given. A format that is given holds for every path, whatever its extension.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath

from mingbai.connectors.tables.errors import UnknownFormat

STANDARD_STREAM = "-"


class Format(StrEnum):
    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    PARQUET = "parquet"


_EXTENSIONS = {
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".parquet": Format.PARQUET,
}
_EXPECTED = ".csv, .tsv, .jsonl, .ndjson or .parquet, or an explicit format"


def format_of(path: str, given: str | Format | None, *, allowed: frozenset[Format] = frozenset(Format)) -> Format:
    """The format of `path`. Raises UnknownFormat when neither the name nor `given` says it, or it is not among
    `allowed`.
    """
    if given is not None:
        wanted = "ndjson" if str(given).lower() == "ndjson" else str(given).lower()
        found = {**{str(f): f for f in Format}, "ndjson": Format.JSONL}.get(wanted)
        if found is None or found not in allowed:
            raise UnknownFormat(field="format", value=str(given), expected=_names(allowed))
        return found
    if path == STANDARD_STREAM:
        raise UnknownFormat(
            field="format", value=None, expected=f"{_names(allowed)}, because {path!r} has no extension"
        )
    suffixes = [suffix.lower() for suffix in PurePath(path).suffixes]
    is_compressed = suffixes[-1:] == [".gz"]
    if is_compressed:
        suffixes.pop()
    found = _EXTENSIONS.get(suffixes[-1]) if suffixes else None
    if found is Format.PARQUET and is_compressed:
        raise UnknownFormat(field="path", value=path, expected=".parquet, which is compressed inside")
    if found is None:
        raise UnknownFormat(field="path", value=path, expected=_EXPECTED)
    if found not in allowed:
        raise UnknownFormat(field="path", value=path, expected=_names(allowed))
    return found


def _names(allowed: frozenset[Format]) -> str:
    return ", ".join(sorted(allowed))
