"""Tables of the screening model: which there are, which was in force from when on, which runs in the shadow."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from mingbai.contexts.messaging.models.runs import Run, new_id


class ModelState(models.TextChoices):
    CANDIDATE = "candidate", _("Candidate")
    PROPOSED = "proposed", _("Proposed")
    IN_FORCE = "in_force", _("Now in force")
    SUPERSEDED = "superseded", _("Superseded")
    REJECTED = "rejected", _("Rejected")


class ScreeningModel(models.Model):
    """One model. Its file lies in the policy store, named by its version; the shipped one in the program."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    version = models.CharField(max_length=12, unique=True)  # hexadecimal: of all that a score depends on
    state = models.CharField(max_length=16, choices=ModelState.choices, default=ModelState.CANDIDATE)
    is_shipped = models.BooleanField(default=False)
    is_shadow = models.BooleanField(default=False)  # decides beside the one in force; only counted
    base = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    note = models.CharField(max_length=500, blank=True)
    facts = models.JSONField(default=dict)  # size, thresholds, languages: read from its file
    report = models.JSONField(null=True, blank=True)  # of learning
    comparison = models.JSONField(null=True, blank=True)  # with its base, on the same held-back messages
    made_by = models.UUIDField(null=True, blank=True)
    made_at = models.DateTimeField()
    proposed_by = models.UUIDField(null=True, blank=True)
    proposed_at = models.DateTimeField(null=True, blank=True)
    proposal = models.CharField(max_length=500, blank=True)
    decided_by = models.UUIDField(null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decision = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("-made_at",)
        constraints = (
            models.UniqueConstraint(
                name="messaging_model_one_in_force", fields=("state",), condition=models.Q(state="in_force")
            ),
            models.UniqueConstraint(
                name="messaging_model_one_shadow", fields=("is_shadow",), condition=models.Q(is_shadow=True)
            ),
        )

    def __str__(self) -> str:
        return self.version

    @property
    def ref(self) -> str:
        """How entries name it."""
        return f"model:{self.version}"


class ModelTerm(models.Model):
    """A model came into force. The latest term is the present."""

    class How(models.TextChoices):
        SHIPPED = "shipped", _("Shipped")
        APPROVED = "approved", _("Approved")
        WENT_BACK = "went_back", _("Put back")
        FOUND = "found", _("Found in the data directory")

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    seq = models.PositiveIntegerField(unique=True)  # from 1
    model = models.ForeignKey(ScreeningModel, on_delete=models.PROTECT, related_name="terms")
    how = models.CharField(max_length=16, choices=How.choices)
    reason = models.CharField(max_length=500, blank=True)
    by = models.UUIDField(null=True, blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ("-seq",)

    def __str__(self) -> str:
        return f"{self.model_id} from {self.at}"


class ShadowCount(models.Model):
    """How a shadow model agreed with the one in force, over about a minute: an entry `model.shadowed` of the ledger."""

    id = models.BigAutoField(primary_key=True)
    stream = models.CharField(max_length=64)
    seq = models.BigIntegerField()
    model = models.CharField(max_length=12)
    shadow = models.CharField(max_length=12)
    since = models.DateTimeField()
    until = models.DateTimeField(db_index=True)
    messages = models.BigIntegerField()
    agree = models.BigIntegerField()
    skipped = models.BigIntegerField(default=0)
    stopped = models.JSONField(default=dict)  # category -> messages that only the shadow would stop
    freed = models.JSONField(default=dict)  # category -> messages that only the one in force stops

    class Meta:
        constraints = (models.UniqueConstraint(name="messaging_shadow_once", fields=("stream", "seq")),)

    def __str__(self) -> str:
        return f"{self.shadow} beside {self.model}"
