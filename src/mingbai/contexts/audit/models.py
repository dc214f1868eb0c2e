"""Tables of the control stream. Rows are added and never changed; `queries.verify` finds one that was."""

from __future__ import annotations

from django.db import models


class Entry(models.Model):
    """One entry of the control stream."""

    seq = models.BigIntegerField(primary_key=True)  # dense, from 1
    id = models.UUIDField(unique=True)  # UUIDv7
    at = models.DateTimeField(db_index=True)
    kind = models.CharField(max_length=64)  # dotted, past tense
    actor = models.CharField(max_length=80)  # account:<uuid>, token:<uuid>, job:<name>, system
    subject = models.CharField(
        max_length=120, blank=True
    )  # what it was about: account:<uuid>, message:<uuid>, rulebook:<id>
    data = models.JSONField(default=dict)
    hash = models.BinaryField(max_length=32)  # SHA-256 over the hash before and this entry

    class Meta:
        ordering = ("seq",)
        indexes = (
            models.Index(fields=("kind", "seq")),
            models.Index(fields=("actor", "seq")),
            models.Index(fields=("subject", "seq")),
        )

    def __str__(self) -> str:
        return f"{self.seq} {self.kind}"


class Head(models.Model):
    """Where the chain ends: one row, locked by whoever appends."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    seq = models.BigIntegerField(default=0)
    hash = models.BinaryField(max_length=32)
    last_id = models.UUIDField(null=True)

    def __str__(self) -> str:
        return f"head at {self.seq}"
