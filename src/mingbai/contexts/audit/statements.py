"""Statements that are written once, for the few places where composing a query costs more than answering it.

Somebody at the review desk waits for some fifteen statements with each decision. The database answers most of them in
20 µs; the ORM composes each of them anew, in 200 to 400. A `Table` knows the columns of a model; how values are
converted stays Django's (`get_db_prep_save`, `get_db_converters`), so that the same SQL serves SQLite and PostgreSQL.
It stands here because every context needs it and this is the lowest. Where nobody waits, use the ORM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import Model

M = TypeVar("M", bound=Model)
_Convert = Callable[[Any, Any, Any], Any]  # Any: Django's converters take what their field holds


def answer(sql: str, *values: object) -> list[tuple[Any, ...]]:  # Any: columns as the driver gives them
    """The rows of a query. `%s` stands for a value; ids and times may be given as they are."""
    with connection.cursor() as cursor:
        cursor.execute(sql, [_given(value) for value in values])
        found: list[tuple[Any, ...]] = cursor.fetchall()  # Any: as above
        return found


def run(sql: str, *values: object) -> int:
    """Change rows. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(sql, [_given(value) for value in values])
        return int(cursor.rowcount)


def as_id(value: UUID | str) -> UUID:
    """An id that `answer` gave: SQLite has no type for them."""
    return value if isinstance(value, UUID) else UUID(value)


def _given(value: object) -> Any:  # Any: what the driver takes
    if isinstance(value, UUID):
        return value if connection.features.has_native_uuid_field else value.hex
    return connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value


class Table(Generic[M]):
    """Rows of one model. Names of SQL are the model's columns (`holder_id`); those of methods its attributes."""

    def __init__(self, model: type[M]) -> None:
        self._model = model
        self._fields = model._meta.concrete_fields
        self._by_name = {field.attname: field for field in self._fields}
        self._names = [field.attname for field in self._fields]
        self._updates: dict[tuple[str, ...], str] = {}
        self.name = f'"{model._meta.db_table}"'
        columns = ", ".join(f'{self.name}."{field.column}"' for field in self._fields)
        self._select = f"SELECT {columns} FROM {self.name} "  # noqa: S608 - a model's own names

    def rows(self, rest: str, *values: object, lock: bool = False, skip_locked: bool = False) -> list[M]:
        """What `rest` (WHERE, ORDER BY, LIMIT) finds. lock: until the transaction ends; skip_locked: what is free.

        On SQLite a write transaction is alone: nothing needs a lock.
        """
        sql = self._select + rest
        if (lock or skip_locked) and connection.features.has_select_for_update:
            sql += " " + connection.ops.for_update_sql(skip_locked=skip_locked)
        return [self._row(values) for values in answer(sql, *values)]

    def first(self, rest: str, *values: object, lock: bool = False, skip_locked: bool = False) -> M | None:
        """The first of `rows`. Say LIMIT 1 where there may be more."""
        found = self.rows(rest, *values, lock=lock, skip_locked=skip_locked)
        return found[0] if found else None

    def insert(self, row: M, more: str = "") -> None:
        """Add a row that nobody has to read back. more: ON CONFLICT."""
        fields = [field for field in self._fields if not field.primary_key or row.pk is not None]
        columns = ", ".join(f'"{field.column}"' for field in fields)
        marks = ", ".join(["%s"] * len(fields))
        values = [field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields]
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {self.name} ({columns}) VALUES ({marks}) {more}", values)  # noqa: S608 - as above
        row._state.adding, row._state.db = False, connection.alias

    def update(self, row: M, *names: str) -> None:
        """Write some attributes of a row (`holder_id`, not `holder`)."""
        sql = self._updates.get(names)
        if sql is None:
            columns = ", ".join(f'"{self._by_name[name].column}" = %s' for name in names)
            assert self._model._meta.pk is not None  # each model has one
            sql = f'UPDATE {self.name} SET {columns} WHERE "{self._model._meta.pk.column}" = %s'  # noqa: S608 - as above
            self._updates[names] = sql
        fields: Sequence[Any] = [*(self._by_name[name] for name in names), self._model._meta.pk]  # Any: fields
        values = [field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields]
        with connection.cursor() as cursor:
            cursor.execute(sql, values)

    def _row(self, values: tuple[Any, ...]) -> M:  # Any: columns as the driver gives them
        made = list(values)
        for place, converters, expression in self._converters:
            for convert in converters:
                made[place] = convert(made[place], expression, connection)
        return self._model.from_db(connection.alias, self._names, made)

    @cached_property
    def _converters(self) -> list[tuple[int, list[_Convert], Any]]:  # Any: Django's expression
        found = []
        for place, field in enumerate(self._fields):
            expression = field.get_col(self._model._meta.db_table)  # of a foreign key: what it points to
            converters = [*connection.ops.get_db_converters(expression), *expression.get_db_converters(connection)]
            if converters:
                found.append((place, converters, expression))
        return found
