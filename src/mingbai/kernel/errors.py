"""The one family of errors.

Each subclass has a stable `code`, its data as fields and a message made from them, so that API, screen and CLI can
render (and translate) it and nobody parses its text. `retryable` says whether the same call can succeed later.
"""

from __future__ import annotations

from typing import ClassVar


class MingbaiError(Exception):
    """Root of the family. Subclasses set `code` and `template`; keyword arguments fill the template."""

    code: ClassVar[str] = "error"
    template: ClassVar[str] = "{detail}"
    retryable: ClassVar[bool] = False

    def __init__(self, **data: object) -> None:
        self.data = data
        super().__init__(self.template.format(**data))

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions pickle by positional arguments; ours are keyword data (they cross process pools and Spark).
        return (_rebuild, (type(self), self.data))


def _rebuild(cls: type[MingbaiError], data: dict[str, object]) -> MingbaiError:
    return cls(**data)


class BadValue(MingbaiError):
    """A field holds something it must not: names the field, the value and what was expected."""

    code = "bad_value"
    template = "{field}: got {value!r}, expected {expected}"


class SchemaMismatch(MingbaiError):
    """A batch lacks a column or has it in another type."""

    code = "schema_mismatch"
    template = "column {field}: got {value}, expected {expected}"
