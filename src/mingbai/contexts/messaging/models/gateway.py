"""Tables of the SMS gateway: what its registry shall say. What is in force stands in the file that it follows."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from mingbai.contexts.messaging.models.runs import new_id


class GatewayKind(models.TextChoices):
    """Tables of the registry, by their names there."""

    ACCOUNTS = "accounts", _("Accounts")
    SMSCS = "smscs", _("SMSCs")
    ROUTES = "routes", _("Routes")
    CLASSES = "classes", _("Traffic classes")
    RANGES = "ranges", _("Number ranges")


class GatewayRow(models.Model):
    """One row of the registry. document: as `gateway_registry.read_row` has checked it; its secrets are sealed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=16, choices=GatewayKind.choices)
    name = models.CharField(max_length=32)
    document = models.JSONField()
    updated_at = models.DateTimeField()
    updated_by = models.CharField(max_length=80)

    class Meta:
        ordering = ("kind", "name")
        constraints = (models.UniqueConstraint(name="messaging_gateway_row_once", fields=("kind", "name")),)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def ref(self) -> str:
        """How entries name it."""
        return f"gateway:{self.kind}:{self.name}"


class GatewayState(models.Model):
    """One row: the lock under which the registry changes, and what of it is no table. Without it nothing was set yet,
    and nothing is published."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    revision = models.PositiveBigIntegerField(default=0)  # one more with each change
    portability = models.CharField(max_length=1000, blank=True)  # file of ported numbers
    changed_at = models.DateTimeField()
    changed_by = models.CharField(max_length=80)

    def __str__(self) -> str:
        return f"revision {self.revision}"
