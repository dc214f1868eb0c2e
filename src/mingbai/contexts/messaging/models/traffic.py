"""Tables of what people do with traffic: messages they freed, searches they saved."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import models

from mingbai.kernel.clock import utc_now
from mingbai.kernel.ids import IdSource


def new_id() -> UUID:
    """A UUIDv7: rows sort by when they were made."""
    return IdSource().new(utc_now())


class Freed(models.Model):
    """An exception: exactly this message passes until it expires. No text and no number: those stay in the ledger.

    key: what `policy_store.FreedMessage` compares, a keyless hash of reading, links, contacts, sender and access code.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    key = models.CharField(max_length=64)
    entry_id = models.UUIDField(db_index=True)  # the decision that was wrong
    stream = models.CharField(max_length=64)
    seq = models.BigIntegerField()
    decided_at = models.DateTimeField()
    verdict = models.PositiveSmallIntegerField()  # as it was recorded: kernel.verdicts.Verdict
    category = models.PositiveSmallIntegerField()
    score = models.FloatField()
    rules = models.JSONField(default=list)  # that stopped it: whose fault a wrong block is
    access_code = models.CharField(max_length=32, blank=True)
    links = models.JSONField(default=list)  # hosts of the links that pass with it
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500)
    decision = models.ForeignKey(
        "ReviewDecision", null=True, blank=True, on_delete=models.SET_NULL, related_name="exceptions"
    )  # the answer that upheld an appeal; undoing it ends the exception
    created_at = models.DateTimeField(db_index=True)
    expires_at = models.DateTimeField(db_index=True)
    ended_at = models.DateTimeField(null=True, blank=True)  # ended early, or marked as expired by the job
    ended_by = models.CharField(max_length=80, blank=True)
    end_reason = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(
                name="messaging_freed_once", fields=("key",), condition=models.Q(ended_at__isnull=True)
            ),
        )

    def __str__(self) -> str:
        return f"freed {self.id}"


class SavedSearch(models.Model):
    """A search with a name. Only its owner changes it; shared, the owner's teams see it too."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=80)
    query = models.CharField(max_length=2000)  # as in the address; numbers stand in it as pseudonyms
    is_shared = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=utc_now)

    class Meta:
        ordering = ("name",)
        constraints = (models.UniqueConstraint(name="messaging_saved_search_name", fields=("owner", "name")),)

    def __str__(self) -> str:
        return self.name
