"""The scanner of CSV, TSV and lines against a plain reference, on well-formed, torn and adversarial input."""

from __future__ import annotations

import csv
import io
import itertools
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mingbai.connectors.tables.records import CSV, LINES, TSV, Dialect, Status, records_of

# What a test sees of a record: line, status, its fields if it is good, else its bytes.
Seen = tuple[int, Status, list[bytes] | bytes]


def seen(blocks: list[bytes], dialect: Dialect, width: int, *, lines: int = 1000, size: int = 1 << 24) -> list[Seen]:
    result: list[Seen] = []
    for records in records_of(blocks, dialect, width, max_record_bytes=size, max_quoted_lines=lines):
        assert len(records) > 0
        everything = np.arange(len(records))
        columns = [
            [value.as_buffer().to_pybytes() for value in records.column(field, everything).view("binary")]
            if (records.status == Status.GOOD).all()
            else None
            for field in range(width)
        ]
        for record in range(len(records)):
            status = Status(records.status[record])
            found: list[bytes] | bytes = records.raw(record)
            if status is Status.GOOD:
                one = np.array([record])
                fields = [records.column(field, one).view("binary")[0].as_py() for field in range(width)]
                assert all(
                    column is None or column[record] == value for column, value in zip(columns, fields, strict=True)
                )
                found = fields
            result.append((int(records.line[record]), status, found))
    return result


_QUOTED = re.compile(rb'"((?:[^"]|"")*+)"')


def reference(data: bytes, dialect: Dialect, width: int, max_lines: int) -> list[Seen]:
    """The grammar in the docstring of `records`, in plain Python, without a limit of bytes."""
    result: list[Seen] = []
    delimiter = bytes([dialect.delimiter]) if dialect.delimiter >= 0 else None
    at, line = 0, 1
    while at < len(data):
        feed = data.find(b"\n", at)
        first_end = len(data) if feed < 0 else feed
        if data[at:first_end] in (b"", b"\r"):
            at, line = first_end + 1, line + 1
            continue
        fields: list[bytes] = []
        start, status, feeds = at, Status.GOOD, 0
        while True:
            is_last = False
            if dialect.quote >= 0 and data[at : at + 1] == b'"':
                match = _QUOTED.match(data, at)
                inside = data[at:] if match is None else match[1]
                feeds += inside.count(b"\n")
                if match is None or feeds >= max_lines:
                    status = Status.UNTERMINATED
                    break
                fields.append(match[1].replace(b'""', b'"'))
                at = match.end()
                rest = data[at : at + 2]
                if rest[:1] == b"\n" or rest in (b"\r\n", b"\r", b""):
                    is_last = True
                    end = at
                    at = min(len(data), data.find(b"\n", at) + 1) if b"\n" in rest else len(data)
                elif rest[:1] != delimiter:
                    status = Status.STRAY_QUOTE
                    break
                else:
                    at += 1
            else:
                ends = [
                    found
                    for found in (data.find(delimiter, at) if delimiter else -1, data.find(b"\n", at))
                    if found >= 0
                ]
                stop = min(ends, default=len(data))
                field = data[at:stop]
                is_last = data[stop : stop + 1] in (b"\n", b"")
                if is_last and field.endswith(b"\r"):
                    field = field[:-1]
                fields.append(field)
                end = at + len(field)
                at = stop + 1
            if is_last:
                break
        if status is Status.GOOD:
            if len(fields) != width:
                result.append((line, Status.FIELD_COUNT, data[start:end]))
            else:
                result.append((line, Status.GOOD, fields))
            line += feeds + 1
        else:
            raw = data[start:first_end]
            result.append((line, status, raw.removesuffix(b"\r")))
            at, line = first_end + 1, line + 1
    return result


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(borders)]


ADVERSARIAL = st.lists(
    st.sampled_from(
        [b'"', b'""', b",", b"\t", b"\n", b"\r", b"\r\n", b"a", b"bc", b" ", b'"a"', b'x,"', b'",\n', "好".encode()]
    ),
    max_size=40,
).map(b"".join)


@given(
    ADVERSARIAL,
    st.sampled_from([CSV, TSV, LINES]),
    st.integers(1, 4),
    st.integers(1, 5),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_scanner_finds_what_the_reference_finds_however_the_bytes_are_cut(
    data: bytes, dialect: Dialect, width: int, max_lines: int, places: list[int]
) -> None:
    expected = reference(data, dialect, width, max_lines)
    assert seen([data], dialect, width, lines=max_lines) == expected
    assert seen(cut(data, places), dialect, width, lines=max_lines) == expected


@given(ADVERSARIAL, st.sampled_from([CSV, TSV, LINES]), st.integers(1, 12), st.lists(st.integers(0, 200), max_size=6))
@example('x,"好",\n"'.encode(), CSV, 6, [8])  # the limit lies on a delimiter
@example('x,"好",abc\ny'.encode(), CSV, 6, [8])
def test_limits_hold_at_the_same_places_however_the_bytes_are_cut(
    data: bytes, dialect: Dialect, size: int, places: list[int]
) -> None:
    whole = seen([data], dialect, 2, lines=3, size=size)
    assert seen(cut(data, places), dialect, 2, lines=3, size=size) == whole
    assert seen([bytes([byte]) for byte in data], dialect, 2, lines=3, size=size) == whole


@given(
    st.lists(st.lists(st.text(alphabet='ab",\n 好', max_size=8), min_size=3, max_size=3), max_size=20),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_what_pythons_csv_module_writes_is_read_back(rows: list[list[str]], line_end: str, all_quoted: bool) -> None:
    stream = io.StringIO(newline="")
    if all_quoted:
        csv.writer(stream, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows(rows)
    else:
        csv.writer(stream, lineterminator=line_end).writerows(rows)
    found = seen([stream.getvalue().encode()], CSV, 3)
    assert [status for _, status, _ in found] == [Status.GOOD] * len(rows)
    assert [fields for _, _, fields in found] == [[cell.encode() for cell in row] for row in rows]


def test_lost_quote_costs_its_own_line_only() -> None:
    data = b'1,"lost\n2,plain\n3,"fine, really"\n4,x\n'
    assert seen([data], CSV, 2) == [
        (1, Status.STRAY_QUOTE, b'1,"lost'),
        (2, Status.GOOD, [b"2", b"plain"]),
        (3, Status.GOOD, [b"3", b"fine, really"]),
        (4, Status.GOOD, [b"4", b"x"]),
    ]


def test_lost_quote_before_many_plain_lines_costs_its_own_line_only() -> None:
    plain = [b"%d,plain" % number for number in range(5000)]
    found = seen([b"\n".join([b'0,"lost', *plain])], CSV, 2)
    assert found[0] == (1, Status.UNTERMINATED, b'0,"lost')
    assert [fields for _, _, fields in found[1:]] == [line.split(b",") for line in plain]
    assert [line for line, _, _ in found] == list(range(1, 5002))


def test_field_of_many_lines_is_one_record_and_line_numbers_go_on_behind_it() -> None:
    data = b'a,"1\n2\r\n3"\r\n\r\nb,"x"\n'
    assert seen([data], CSV, 2) == [(1, Status.GOOD, [b"a", b"1\n2\r\n3"]), (5, Status.GOOD, [b"b", b"x"])]


def test_quote_inside_a_plain_field_is_content() -> None:
    assert seen([b'he said "hi",x\n'], CSV, 2) == [(1, Status.GOOD, [b'he said "hi"', b"x"])]


def test_tsv_has_no_quoting_and_no_escapes() -> None:
    data = b'0\t"quoted" and "\n1\ta\\tb,c\n'
    assert seen([data], TSV, 2) == [(1, Status.GOOD, [b"0", b'"quoted" and "']), (2, Status.GOOD, [b"1", b"a\\tb,c"])]


def test_line_that_is_too_long_is_cut_off_and_the_next_one_read() -> None:
    data = b"ok\n" + b"x" * 100 + b"\nok again\n"
    expected = [(1, Status.GOOD, [b"ok"]), (2, Status.TOO_LONG, b"x" * 21), (3, Status.GOOD, [b"ok again"])]
    assert seen([data], LINES, 1, size=20) == expected


def test_quoted_field_that_is_too_long_costs_its_first_line() -> None:
    data = b'a,"' + b"xxxxxxxxx\n" * 10 + b'"\nb,c\n'
    found = seen([data], CSV, 2, size=50)
    assert found[0] == (1, Status.UNTERMINATED, b'a,"xxxxxxxxx')
    assert found[-1] == (12, Status.GOOD, [b"b", b"c"])


@pytest.mark.parametrize("width", [1, 3, 300_000])
def test_wide_tables_are_scanned_in_bounded_room(width: int) -> None:
    row = b",".join([b"x"] * width)
    found = seen([row + b"\n" + row + b",more\n" + row], CSV, 1) if width == 1 else None
    statuses = [
        int(status)
        for records in records_of([row + b"\n\n" + row + b",more\n" + row], CSV, width)
        for status in records.status
    ]
    assert statuses == [Status.GOOD, Status.FIELD_COUNT, Status.GOOD]
    assert found is None or len(found) == 3
