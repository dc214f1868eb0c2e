"""Tables of messages and decisions in files: readers, writers and the file of rejected rows.

A table comes in as CSV, TSV, JSON Lines or Parquet and goes out as Parquet, CSV or JSON Lines; `-` is a standard
stream. Any number of files of any size pass through in constant memory. What cannot be read of a row never stops the
run: the row keeps its number and becomes a `Reject`. What stops the run (no such file, no such column, a full disk)
is an error of the MingbaiError family. Nothing here knows what a verdict means or whether a file is wanted; that is
for the command line.

Path of a row: `files` (bytes) -> `encodings` (UTF-8) -> `records` (lines and fields) -> `delimited` | `jsonlines`, or
`parquet` (columns and faults) -> `reader` (typed, numbered, in equal batches) ... `writer` (`values` as text) ->
`files`.
"""

from mingbai.connectors.tables.errors import InputUnreadable, MissingColumn, OutputCannotWrite, UnknownFormat
from mingbai.connectors.tables.formats import STANDARD_STREAM, Format, format_of
from mingbai.connectors.tables.reader import InputBatch, MessageReader, read_messages
from mingbai.connectors.tables.rejects import Cause, OnReject, Reject, RejectsWriter
from mingbai.connectors.tables.writer import OUTPUT, OutputWriter, open_output, output_schema

__all__ = [
    "OUTPUT",
    "STANDARD_STREAM",
    "Cause",
    "Format",
    "InputBatch",
    "InputUnreadable",
    "MessageReader",
    "MissingColumn",
    "OnReject",
    "OutputCannotWrite",
    "OutputWriter",
    "Reject",
    "RejectsWriter",
    "UnknownFormat",
    "format_of",
    "open_output",
    "output_schema",
    "read_messages",
]
