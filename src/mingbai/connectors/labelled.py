"""Labelled messages from files, for training and measuring: one source a file, a text and a label a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

import pyarrow as pa

from mingbai.connectors.tables import OnReject, read_messages
from mingbai.connectors.tables.errors import missing_column
from mingbai.engines.screening.examples import LABELS, LabelledFile, meaning
from mingbai.kernel.errors import BadValue


class UnknownLabel(BadValue):
    """A row's label is none of those that have a meaning. row: 1 for the first message of the file."""

    code = "unknown_label"
    template = "{file}, row {row}, column {field}: got {value!r}, expected {expected}"


def read_labelled(
    paths: Sequence[str], *, on_reject: OnReject, text_column: str = "text", label_column: str = "label"
) -> list[LabelledFile]:
    """Each file whole in memory; a source is named by its file, without extensions.

    Raises what `read_messages` raises; MissingColumn for a file without labels, UnknownLabel, and BadValue for a file
    without a message.
    """
    found = []
    for path in paths:
        reader = read_messages([path], on_reject=on_reject, text_column=text_column, keep_columns=True)
        kept = reader.kept_schema
        if kept is None or label_column not in kept.names:
            raise missing_column(path, label_column, "label_column", kept.names if kept is not None else [])
        texts: list[str] = []
        labels: list[str] = []
        for item in reader:
            assert item.kept is not None
            texts += item.batch.column("text").to_pylist()
            given = [label or "" for label in item.kept.column(label_column).cast(pa.string()).to_pylist()]
            for row, label in zip(item.rows.tolist(), given, strict=True):
                _check(label, path, row + 1, label_column)
            labels += given
        if not texts:
            value = f"{reader.rejected} rows, none of which can be read" if reader.rejected else "no rows"
            raise BadValue(field=path, value=value, expected="at least one message with its label")
        found.append(LabelledFile(PurePath(path).name.split(".")[0], texts, labels))
    return found


def _check(label: str, file: str, row: int, column: str) -> None:
    try:
        meaning(label)
    except BadValue as error:
        expected = "one of " + ", ".join(LABELS)
        raise UnknownLabel(file=file, row=row, field=column, value=label, expected=expected) from error
