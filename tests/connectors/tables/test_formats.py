from __future__ import annotations

import pytest

from mingbai.connectors.tables import Format, UnknownFormat, format_of


@pytest.mark.parametrize(
    ("path", "format"),
    [
        ("a.csv", Format.CSV),
        ("day.1/A.CSV", Format.CSV),
        ("a.tsv", Format.TSV),
        ("a.jsonl", Format.JSONL),
        ("a.ndjson", Format.JSONL),
        ("a.parquet", Format.PARQUET),
        ("a.csv.gz", Format.CSV),
        ("a.b.jsonl.GZ", Format.JSONL),
    ],
)
def test_format_follows_from_the_extension(path: str, format: Format) -> None:
    assert format_of(path, None) is format


def test_given_format_holds_whatever_the_extension() -> None:
    assert format_of("export.txt", "tsv") is Format.TSV
    assert format_of("export.csv", "NDJSON") is Format.JSONL
    assert format_of("-", Format.PARQUET) is Format.PARQUET


@pytest.mark.parametrize("path", ["a", "a.txt", "a.json", "csv", ".csv", "a.gz", "a.parquet.gz"])
def test_unknown_extension_is_an_error_that_names_the_ones_there_are(path: str) -> None:
    with pytest.raises(UnknownFormat) as caught:
        format_of(path, None)
    assert caught.value.code == "unknown_format"
    assert caught.value.data["value"] == path
    assert "parquet" in str(caught.value)


def test_standard_stream_needs_a_format() -> None:
    with pytest.raises(UnknownFormat, match="'-' has no extension"):
        format_of("-", None)


def test_format_outside_those_allowed_is_refused() -> None:
    with pytest.raises(UnknownFormat, match="csv, jsonl"):
        format_of("a.parquet", None, allowed=frozenset({Format.CSV, Format.JSONL}))
    with pytest.raises(UnknownFormat, match="csv, jsonl"):
        format_of("a.csv", "xlsx", allowed=frozenset({Format.CSV, Format.JSONL}))
