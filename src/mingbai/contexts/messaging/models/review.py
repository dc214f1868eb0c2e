"""Tables of the review desk: what waits for a person, who has it, what was decided, and what is known to be right.

An item refers to an entry of the ledger and holds neither text nor number: those are read from the ledger when they
are shown, and go when their time there is over.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from mingbai.contexts.messaging.models.runs import new_id

_PERSON: Final = settings.AUTH_USER_MODEL


class ItemKind(models.TextChoices):
    HELD = "held", _("Held")
    FLAGGED = "flagged", _("Flagged")
    APPEAL = "appeal", _("Appeal")
    SECOND = "second", _("Second opinion")
    GOLD = "gold", _("Gold")


class ItemState(models.TextChoices):
    WAITING = "waiting", _("Waiting")
    TAKEN = "taken", _("Taken")
    DONE = "done", _("Done")


class DecisionSource(models.TextChoices):
    PERSON = "person", _("Person")
    CAMPAIGN = "campaign", _("Whole campaign")
    RULE = "rule", _("Rule of the class")
    SETTLED = "settled", _("Settled by the team lead")


class LedgerCursor(models.Model):
    """How far a follower has read a stream: in the same transaction as what it made of it."""

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=32)
    stream = models.CharField(max_length=64)
    next_seq = models.BigIntegerField(default=1)

    class Meta:
        constraints = (models.UniqueConstraint(name="messaging_cursor_once", fields=("name", "stream")),)

    def __str__(self) -> str:
        return f"{self.name} {self.stream} {self.next_seq}"


class CampaignDecision(models.Model):
    """One decision on all waiting messages of a campaign."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    campaign = models.CharField(max_length=16, db_index=True)
    verdict = models.PositiveSmallIntegerField()
    category = models.PositiveSmallIntegerField()
    account = models.ForeignKey(_PERSON, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField(db_index=True)
    items = models.PositiveIntegerField(default=0)
    held = models.PositiveIntegerField(default=0)
    undone_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"campaign {self.campaign}"


class Gold(models.Model):
    """A message whose right answer is known: given out unmarked, it measures who decides."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    stream = models.CharField(max_length=64)
    seq = models.BigIntegerField()
    entry_id = models.UUIDField(unique=True)
    verdict = models.PositiveSmallIntegerField()  # the right answer
    category = models.PositiveSmallIntegerField()
    note = models.CharField(max_length=300, blank=True)
    is_active = models.BooleanField(default=True)
    by = models.ForeignKey(_PERSON, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"gold {self.entry_id}"


class ReviewItem(models.Model):
    """One message that waits for a person's decision, by reference to its entry in the ledger."""

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=8, choices=ItemKind.choices)
    stream = models.CharField(max_length=64)
    seq = models.BigIntegerField()
    entry_id = models.UUIDField(db_index=True)
    at = models.DateTimeField()  # when the machine decided
    access_code = models.CharField(max_length=64, blank=True)
    verdict = models.PositiveSmallIntegerField()  # the machine's
    category = models.PositiveSmallIntegerField()
    score = models.FloatField()
    campaign = models.CharField(max_length=16, blank=True)  # hexadecimal
    text_hash = models.CharField(max_length=32, blank=True)  # keyed hash of the normalised text
    receiver = models.CharField(max_length=32, blank=True)  # pseudonym, to count receivers
    language = models.CharField(max_length=2, blank=True)
    queue = models.CharField(max_length=40)  # kind.category.language
    hold_class = models.CharField(max_length=24, blank=True)  # policy.HoldClass, of held ones
    deadline = models.DateTimeField(null=True, blank=True)  # after it the class's rule decides, or an appeal is late
    priority = models.PositiveSmallIntegerField()  # small first
    due = models.DateTimeField()  # small first, among equals
    queued_at = models.DateTimeField()

    state = models.CharField(max_length=8, choices=ItemState.choices, default=ItemState.WAITING)
    holder = models.ForeignKey(_PERSON, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    lease = models.UUIDField(null=True, blank=True)  # what the holder must show to decide
    taken_at = models.DateTimeField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    not_for = models.ForeignKey(_PERSON, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    skipped_by = models.ForeignKey(_PERSON, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    first = models.ForeignKey(
        "ReviewDecision", null=True, blank=True, on_delete=models.CASCADE, related_name="second_items"
    )  # of a second opinion: the decision that it repeats, blind
    gold = models.ForeignKey(Gold, null=True, blank=True, on_delete=models.CASCADE, related_name="items")

    class Meta:
        constraints = (
            models.UniqueConstraint(
                # Not stream and seq: in a ledger that was put back from a backup, another entry takes the same place.
                name="messaging_item_once",
                fields=("entry_id",),
                condition=models.Q(kind__in=("held", "flagged")),
            ),
            models.UniqueConstraint(
                name="messaging_item_one_appeal",
                fields=("entry_id",),
                condition=models.Q(kind="appeal") & ~models.Q(state="done"),
            ),
            models.UniqueConstraint(
                name="messaging_item_second_once", fields=("first",), condition=models.Q(kind="second")
            ),
            models.CheckConstraint(
                name="messaging_item_taken_by_one",
                condition=models.Q(state="taken", holder__isnull=False, lease__isnull=False, lease_until__isnull=False)
                | (~models.Q(state="taken") & models.Q(holder__isnull=True, lease__isnull=True)),
            ),
        )
        indexes = (
            models.Index(
                name="messaging_item_next", fields=("priority", "due", "id"), condition=models.Q(state="waiting")
            ),
            models.Index(
                name="messaging_item_queue", fields=("queue", "priority", "due"), condition=models.Q(state="waiting")
            ),
            models.Index(name="messaging_item_holder", fields=("holder",), condition=models.Q(state="taken")),
            models.Index(
                name="messaging_item_deadline",
                fields=("deadline",),
                condition=models.Q(kind="held") & ~models.Q(state="done"),
            ),
            models.Index(name="messaging_item_campaign", fields=("campaign", "state")),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.stream} {self.seq}"

    @property
    def subject(self) -> str:
        """How entries name the message."""
        return f"message:{self.entry_id}"


class ReviewDecision(models.Model):
    """What was decided on an item, by whom. Undone ones stay, marked."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    item = models.ForeignKey(ReviewItem, on_delete=models.CASCADE, related_name="decisions")
    kind = models.CharField(max_length=8, choices=ItemKind.choices)  # the item's
    source = models.CharField(max_length=8, choices=DecisionSource.choices)
    account = models.ForeignKey(_PERSON, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    lease = models.UUIDField(null=True, blank=True, unique=True)  # a repeated request shows the same one
    verdict = models.PositiveSmallIntegerField()
    category = models.PositiveSmallIntegerField()
    note = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField(db_index=True)
    seconds = models.FloatField(null=True, blank=True)  # from being shown to the decision
    is_right = models.BooleanField(null=True, blank=True)  # of gold; of a second opinion: whether it agrees
    settled_at = models.DateTimeField(null=True, blank=True)  # a disagreement, by the team lead
    campaign_decision = models.ForeignKey(
        CampaignDecision, null=True, blank=True, on_delete=models.CASCADE, related_name="decisions"
    )
    acted_at = models.DateTimeField(null=True, blank=True)  # something was sent because of it: no way back
    undone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = (
            models.Index(name="messaging_decision_person", fields=("account", "-at")),
            models.Index(name="messaging_decision_kind", fields=("kind", "at")),
        )

    def __str__(self) -> str:
        return f"decision {self.id}"


class Appeal(models.Model):
    """Somebody says that a message was wrongly stopped."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    item = models.OneToOneField(ReviewItem, on_delete=models.CASCADE, related_name="appeal")
    words = models.TextField()
    by = models.CharField(max_length=80)  # as entries name the appellant
    at = models.DateTimeField()
    answer = models.CharField(max_length=500, blank=True)
    is_upheld = models.BooleanField(null=True, blank=True)
    no_exception = models.CharField(max_length=16, blank=True)  # upheld: why nothing was freed (words.WHY_NOT_FREED)
    answered_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"appeal {self.id}"


class LabelSource(models.TextChoices):
    REVIEW = "review", _("Review")
    SECOND = "second", _("Second opinion")
    FREED = "freed", _("Freed")
    APPEAL = "appeal", _("Appeal")
    GOLD = "gold", _("Gold")


class Label(models.Model):
    """A reviewed message as training data, by reference."""

    id = models.BigAutoField(primary_key=True)
    stream = models.CharField(max_length=64)
    seq = models.BigIntegerField()
    entry_id = models.UUIDField()
    text_hash = models.CharField(max_length=32, blank=True)
    campaign = models.CharField(max_length=16, blank=True)
    verdict = models.PositiveSmallIntegerField()
    category = models.PositiveSmallIntegerField()
    source = models.CharField(max_length=8, choices=LabelSource.choices)
    by = models.CharField(max_length=80)
    at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = (models.UniqueConstraint(name="messaging_label_once", fields=("entry_id", "source")),)
        indexes = (
            models.Index(name="messaging_label_at", fields=("at",)),
            # The desk asks for the newest few like a message; a campaign may have a hundred thousand labels.
            models.Index(name="messaging_label_text", fields=("text_hash", "-at")),
            models.Index(name="messaging_label_campaign", fields=("campaign", "-at")),
        )

    def __str__(self) -> str:
        return f"{self.source} {self.entry_id}"


__all__ = [
    "Appeal",
    "CampaignDecision",
    "DecisionSource",
    "Gold",
    "ItemKind",
    "ItemState",
    "Label",
    "LabelSource",
    "LedgerCursor",
    "ReviewDecision",
    "ReviewItem",
]
