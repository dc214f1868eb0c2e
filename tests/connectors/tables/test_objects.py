"""The JSON scanner against Python's own parser."""

from __future__ import annotations

import json
from typing import Any  # JSON values are of any type

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mingbai.connectors.tables.objects import MAX_DEPTH, Kind, members_of

NAMES = ["text", "a", "号码"]


def scanned(line: bytes) -> dict[str, tuple[Kind, str | None, str | None]] | None:
    """Member to its kind, its value as text and its JSON text; None if the line is no object."""
    data = np.frombuffer(line, np.uint8)
    found = members_of(data, np.array([0]), np.array([len(data)]), NAMES)
    if not found.is_object[0]:
        return None
    row = np.array([0])
    return {
        name: (
            Kind(found.kind[0, number]),
            found.strings(number, row)[0][0].as_py(),
            found.texts(number, row)[0].as_py(),
        )
        for number, name in enumerate(NAMES)
    }


def refuse(name: str) -> None:
    raise ValueError(name)


def parsed(line: bytes) -> dict[str, Any] | None:  # JSON values are of any type
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def has_lone_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def check(line: bytes) -> None:
    expected = parsed(line)
    found = scanned(line)
    assert (found is None) == (expected is None)
    if found is None or expected is None:
        return
    for name in NAMES:
        value = expected.get(name)
        kind, as_text, as_json = found[name]
        if value is None:
            assert (kind, as_text, as_json) == (Kind.NOTHING, None, None)
            continue
        assert as_json is not None
        assert json.loads(as_json) == value
        if isinstance(value, str):
            assert kind in (Kind.STRING, Kind.ESCAPED)
            if not has_lone_surrogate(value):
                assert as_text == value
        else:
            assert as_text == as_json
            expected_kind = {bool: Kind.BOOLEAN, int: Kind.NUMBER, float: Kind.NUMBER}.get(type(value), Kind.NESTED)
            assert kind is expected_kind


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), values, max_size=6), st.booleans(), st.booleans())
def test_every_object_is_read_as_python_reads_it(value: dict[str, Any], ascii_only: bool, is_wide: bool) -> None:
    line = json.dumps(value, ensure_ascii=ascii_only, indent=1 if is_wide else None)
    try:
        encoded = line.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot hold
        encoded = json.dumps(value).encode("utf-8")
    check(encoded)


TOKENS = [
    *'{}[]",:\\ \t0159.-+eE',
    '"text"',
    '"a":',
    "true",
    "false",
    "null",
    "NaN",
    "\\u00e9",
    "\\ud83d",
    "\\ude00",
    "\\n",
    "好",
    "x",
]


@given(st.lists(st.sampled_from(TOKENS), max_size=25).map("".join))
@example('{"text":"\\ud83d\\ude00"}')
@example('{"text":"\\ud83d\\ud83d\\ude00"}')
@example('{"text":1,"text":"2"}')
@example('{"\\u0074ext":"x"}')
@example('{"a":-}')
@example('{"a":01}')
@example('{"a":1.}')
@example('{"a":1e+}')
@example('{"a":-0.0e-0}')
@example('{"a":"\\x"}')
@example('{"a":"\x01"}')
@example('{"a":"')
@example('{"a":tru}')
@example("{,}")
@example('{"a":1,}')
@example('{"a":[1,]}')
@example('{"a":[{}],"text":{"text":"inner"}} ')
@example('{"a":1}}')
@example('{"a":1}{"a":2}')
@example("[{}]")
@example("")
def test_every_line_is_an_object_exactly_if_python_says_so(line: str) -> None:
    check(line.encode("utf-8"))


@pytest.mark.parametrize("shape", ['{{"a":{0}1{1}}}'])
def test_nesting_is_bounded(shape: str) -> None:
    assert scanned(shape.format("[" * MAX_DEPTH, "]" * MAX_DEPTH).encode()) is not None
    assert scanned(shape.format("[" * (MAX_DEPTH + 1), "]" * (MAX_DEPTH + 1)).encode()) is None
    assert scanned(('{"a":' * 100_000).encode()) is None


def test_number_keeps_its_digits() -> None:
    digits = "123456789012345678901234567890.10"
    found = scanned(b'{"a":' + digits.encode() + b"}")
    assert found is not None
    assert found["a"] == (Kind.NUMBER, digits, digits)


def test_lone_surrogate_is_reported_by_its_row() -> None:
    lines = [b'{"text":"fine"}', b'{"text":"\\ud800"}', b'{"text":"\\ude00\\ud83d"}', b'{"text":"\\ud83d\\ude00"}']
    data = np.frombuffer(b"".join(lines), np.uint8)
    ends = np.cumsum([len(line) for line in lines])
    found = members_of(data, ends - [len(line) for line in lines], ends, ["text"])
    texts, lone = found.strings(0, np.arange(4))
    assert lone.tolist() == [1, 2]
    assert [texts[0].as_py(), texts[3].as_py()] == ["fine", "😀"]
