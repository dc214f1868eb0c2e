from __future__ import annotations

import importlib
import re
from pathlib import Path

import mingbai
from mingbai.kernel.errors import BadValue, MingbaiError, SchemaMismatch

PACKAGE = Path(mingbai.__file__).parent
DEFINES_ERROR = re.compile(r"^class \w+\((?:MingbaiError|BadValue|\w+Error)\)", re.MULTILINE)


def family(root: type[MingbaiError]) -> list[type[MingbaiError]]:
    return [root, *(member for child in root.__subclasses__() for member in family(child))]


def test_a_message_names_field_value_and_expectation() -> None:
    error = BadValue(field="priority", value=-1, expected="a whole number from 0 to 999")
    assert str(error) == "priority: got -1, expected a whole number from 0 to 999"
    assert error.data == {"field": "priority", "value": -1, "expected": "a whole number from 0 to 999"}
    assert not error.retryable


def test_each_error_of_the_house_has_a_code_of_its_own() -> None:
    for path in PACKAGE.rglob("*.py"):
        if DEFINES_ERROR.search(path.read_text(encoding="utf-8")):
            importlib.import_module(".".join(("mingbai", *path.relative_to(PACKAGE).with_suffix("").parts)))
    codes = [member.code for member in family(MingbaiError) if member.__module__.startswith("mingbai.")]
    assert len(codes) > 5
    assert sorted(codes) == sorted(set(codes))


def test_a_schema_mismatch_names_the_column() -> None:
    error = SchemaMismatch(field="text", value="int64", expected="string")
    assert str(error) == "column text: got int64, expected string"
