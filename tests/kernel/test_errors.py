from __future__ import annotations

from mingbai.kernel.errors import BadValue, MingbaiError, SchemaMismatch


def families(root: type[MingbaiError]) -> list[type[MingbaiError]]:
    return [root, *(member for child in root.__subclasses__() for member in families(child))]


def test_a_message_names_field_value_and_expectation() -> None:
    error = BadValue(field="priority", value=-1, expected="a whole number from 0 to 999")
    assert str(error) == "priority: got -1, expected a whole number from 0 to 999"
    assert error.data == {"field": "priority", "value": -1, "expected": "a whole number from 0 to 999"}
    assert not error.retryable


def test_each_error_has_a_code_of_its_own() -> None:
    import mingbai.kernel.money
    import mingbai.kernel.msisdn
    import mingbai.settings  # noqa: F401 - imported so that their errors count

    codes = [family.code for family in families(MingbaiError)]
    assert len(codes) == len(set(codes)), sorted(codes)


def test_a_schema_mismatch_names_the_column() -> None:
    error = SchemaMismatch(field="text", value="int64", expected="string")
    assert str(error) == "column text: got int64, expected string"
