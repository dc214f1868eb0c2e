"""Long computations that somebody asked for: a replay of rules, learning a model, a comparison. A row is a run.

What a run does happens in a process of its own (`connectors.long_work`); the row says how far it is, and is all that a
crash leaves: a run whose heartbeat stopped is started again.
"""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.db import models
from django.utils.translation import gettext_lazy as _

from mingbai.kernel.clock import utc_now
from mingbai.kernel.ids import IdSource


def new_id() -> UUID:
    """A UUIDv7: rows sort by when they were made."""
    return IdSource().new(utc_now())


class RunKind(models.TextChoices):
    REPLAY_RULES = "replay_rules", _("Replay of rules")
    LEARN = "learn", _("Learning")
    COMPARE = "compare", _("Comparison")
    DRIFT = "drift", _("Drift")


class RunState(models.TextChoices):
    QUEUED = "queued", _("Waiting")
    RUNNING = "running", _("Running")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


class Run(models.Model):
    """One long computation."""

    OPEN: ClassVar[tuple[str, ...]] = (RunState.QUEUED, RunState.RUNNING)

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=32, choices=RunKind.choices)
    state = models.CharField(max_length=16, choices=RunState.choices, default=RunState.QUEUED)
    subject = models.CharField(max_length=120)  # what it is about: rulebook:<uuid>, model:<version>
    asked = models.JSONField(default=dict)  # what `connectors.long_work` is given
    result = models.JSONField(null=True, blank=True)  # counts and references; never texts or numbers
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    found = models.JSONField(default=dict)  # counts on the way, such as newly_blocked
    attempt = models.PositiveSmallIntegerField(default=0)
    is_cancel_asked = models.BooleanField(default=False)
    error = models.CharField(max_length=500, blank=True)
    asked_by = models.UUIDField(null=True, blank=True)  # account; null: the machine itself
    asked_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-asked_at",)
        indexes = (models.Index(fields=("state", "kind", "asked_at")), models.Index(fields=("subject", "-asked_at")))

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject}"

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN

    @property
    def share(self) -> float:
        """How far it is, 0 to 1."""
        if self.state == RunState.DONE:
            return 1.0
        return min(1.0, self.done / self.total) if self.total else 0.0
