"""Statements written once read and write what the ORM does, on either database."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from django.db import connection, transaction

from mingbai.contexts.audit import services
from mingbai.contexts.audit.models import Entry, Head
from mingbai.contexts.audit.statements import Table, answer, as_id, run

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)


def test_a_row_reads_back_as_the_orm_gives_it() -> None:
    made = services.append("thing.done", actor="system", data={"n": [1, "二"]}, now=NOW)
    orm = Entry.objects.get(pk=made.seq)
    read = Table(Entry).first("WHERE id = %s AND at = %s", made.id, NOW)
    assert read is not None
    for field in Entry._meta.concrete_fields:
        one, other = getattr(read, field.attname), getattr(orm, field.attname)
        assert (bytes(one), type(one)) == (bytes(other), type(other)) if field.attname == "hash" else one == other
    assert not read._state.adding and read.data == {"n": [1, "二"]}


def test_an_update_writes_the_named_attributes_alone() -> None:
    services.append("thing.done", actor="system", now=NOW)
    head = Head.objects.get(pk=1)
    head.seq, head.last_id = 41, UUID(int=7)
    Table(Head).update(head, "last_id")
    assert Head.objects.values_list("seq", "last_id").get(pk=1) == (1, UUID(int=7))
    assert run("UPDATE audit_head SET seq = %s WHERE last_id = %s", 5, UUID(int=7)) == 1
    assert as_id(answer("SELECT last_id FROM audit_head WHERE seq = %s", 5)[0][0]) == UUID(int=7)


def test_a_lock_can_be_asked_for_on_either_database() -> None:
    services.append("thing.done", actor="system", now=NOW)
    with transaction.atomic():
        assert len(Table(Head).rows("WHERE id = 1", lock=True)) == 1
        assert len(Table(Head).rows("WHERE id = 1", skip_locked=True)) == 1
    assert connection.vendor in ("sqlite", "postgresql")
