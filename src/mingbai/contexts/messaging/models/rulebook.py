"""Tables of the rulebook: its versions, and which of them was in force from when on."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from mingbai.contexts.messaging.models.runs import new_id


class RulebookState(models.TextChoices):
    DRAFT = "draft", _("Draft")
    SUBMITTED = "submitted", _("Submitted")
    IN_FORCE = "in_force", _("Now in force")
    SUPERSEDED = "superseded", _("Superseded")
    REJECTED = "rejected", _("Rejected")
    WITHDRAWN = "withdrawn", _("Withdrawn")


class RulebookVersion(models.Model):
    """One version: a whole TOML text. It changes while it is a draft and never after."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    number = models.PositiveIntegerField(unique=True)  # from 1, as people call it
    state = models.CharField(max_length=16, choices=RulebookState.choices, default=RulebookState.DRAFT)
    text = models.TextField()
    comment = models.CharField(max_length=500, blank=True)  # what it changes and why
    base = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    revision = models.PositiveIntegerField(default=1)  # one more with each save: a stale edit is noticed
    content = models.CharField(
        max_length=64
    )  # SHA-256 of the text, as the policy store and the ledger's status name it
    author = models.UUIDField(null=True, blank=True)  # account; null: shipped
    editors = models.JSONField(default=list)  # ids of all accounts that saved it, the author's too
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    submitted_by = models.UUIDField(null=True, blank=True)
    submitted_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.UUIDField(null=True, blank=True)  # who approved or rejected
    decided_at = models.DateTimeField(null=True, blank=True)
    decision = models.CharField(max_length=500, blank=True)  # the approver's words

    class Meta:
        ordering = ("-number",)
        indexes = (models.Index(fields=("state", "-number")),)
        constraints = (
            models.UniqueConstraint(
                name="messaging_rulebook_one_in_force", fields=("state",), condition=models.Q(state="in_force")
            ),
        )

    def __str__(self) -> str:
        return f"version {self.number}"

    @property
    def ref(self) -> str:
        """How entries name it."""
        return f"rulebook:{self.id}"

    @property
    def is_shipped(self) -> bool:
        return self.author is None

    def is_by(self, account: object) -> bool:
        """Whether this account wrote any of it, or submitted it."""
        return str(account) in self.editors or account in (self.author, self.submitted_by)


class RulebookTerm(models.Model):
    """A version came into force. The latest term is the present; a version that is put back gets another one."""

    class How(models.TextChoices):
        SHIPPED = "shipped", _("Shipped")
        APPROVED = "approved", _("Approved")
        ROLLED_BACK = "rolled_back", _("Put back")
        FOUND = "found", _("Found in the data directory")

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    seq = models.PositiveIntegerField(unique=True)  # from 1
    version = models.ForeignKey(RulebookVersion, on_delete=models.PROTECT, related_name="terms")
    how = models.CharField(max_length=16, choices=How.choices)
    reason = models.CharField(max_length=500, blank=True)
    by = models.UUIDField(null=True, blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ("-seq",)

    def __str__(self) -> str:
        return f"{self.version_id} from {self.at}"
