"""What a team lead does at the review desk: whole campaigns, gold messages, disagreements, who has what.

actor: as the entry names who did it, such as a token; "" for the account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.core import signing
from django.db import transaction
from django.db.models import Count, Max, Q, QuerySet

from mingbai.contexts.audit import services as audit
from mingbai.contexts.messaging.models.review import (
    CampaignDecision,
    DecisionSource,
    Gold,
    ItemKind,
    ItemState,
    Label,
    LabelSource,
    ReviewDecision,
    ReviewItem,
)
from mingbai.contexts.messaging.services.labels import (
    record_label,
    record_labels,
    withdraw_labels,
)
from mingbai.contexts.messaging.services.review import NothingToUndo
from mingbai.contexts.messaging.services.review_queue import LONGEST_LOOK_S, LeaseLost, lease_to, within
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.policy import Reach
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.verdicts import Category, Verdict
from mingbai.settings import ReviewSettings

PREVIEW_S: Final = 600
CAMPAIGN_UNDO_S: Final = 600
_REFERENCES: Final = 500  # of messages in one entry
_SALT: Final = "mingbai.review.campaign"
_WHOLE: Final = (ItemKind.HELD, ItemKind.FLAGGED)


class PreviewInvalid(MingbaiError):
    """A confirmation that belongs to no preview of this person, or to one that is too old."""

    code = "preview_invalid"
    template = "this preview is no longer valid: look at it again before you decide"


@dataclass(frozen=True, slots=True)
class Preview:
    """What a decision on a campaign would reach. token: confirms exactly this; later messages are not in it."""

    campaign: str
    verdict: Verdict
    category: Category
    items: int
    held: int
    flagged: int
    taken: int  # of them: in somebody's hands now
    receivers: int
    token: str


def preview_campaign(campaign: str, verdict: Verdict, category: Category, account: Account, *, reach: Reach) -> Preview:
    """Count, change nothing. campaign: 16 hexadecimal digits. Raises BadValue."""
    counts = _open_items(campaign, reach).aggregate(
        items=Count("id"),
        held=Count("id", filter=Q(kind=ItemKind.HELD)),
        taken=Count("id", filter=Q(state=ItemState.TAKEN)),
        receivers=Count("receiver", distinct=True, filter=~Q(receiver="")),
        last=Max("id"),
    )
    told = {
        "campaign": campaign, "verdict": int(verdict), "category": int(category), "by": str(account.pk),
        "last": counts["last"] or 0, "items": counts["items"],
    }  # fmt: skip
    return Preview(
        campaign, verdict, category, counts["items"], counts["held"], counts["items"] - counts["held"],
        counts["taken"], counts["receivers"], signing.dumps(told, salt=_SALT),
    )  # fmt: skip


def _open_items(campaign: str, reach: Reach) -> QuerySet[ReviewItem]:
    is_hex = len(campaign) == 16 and all(digit in "0123456789abcdef" for digit in campaign)
    if not is_hex or campaign == "0" * 16:
        raise BadValue(field="campaign", value=campaign[:40], expected="16 hexadecimal digits, lower case")
    found = ReviewItem.objects.filter(within(reach), campaign=campaign, kind__in=_WHOLE)
    return found.exclude(state=ItemState.DONE)


def decide_campaign(token: str, account: Account, *, now: datetime, reach: Reach, actor: str = "") -> CampaignDecision:
    """Decide all that the preview counted and that is still open; never more. Whoever holds one of them is told so.

    Raises PreviewInvalid. A token that was used decides what it left open, that is nothing.
    """
    actor = actor or account.ref
    try:
        told = signing.loads(token, salt=_SALT, max_age=PREVIEW_S)
    except signing.BadSignature as error:
        raise PreviewInvalid() from error
    if told["by"] != str(account.pk):
        raise PreviewInvalid()
    with transaction.atomic():
        items = list(
            _open_items(told["campaign"], reach).filter(pk__lte=told["last"]).select_for_update().order_by("pk")
        )
        whole = CampaignDecision.objects.create(
            campaign=told["campaign"], verdict=told["verdict"], category=told["category"], account=account, at=now,
            items=len(items), held=sum(item.kind == ItemKind.HELD for item in items),
        )  # fmt: skip
        decisions = [
            ReviewDecision(
                item=item, kind=item.kind, source=DecisionSource.CAMPAIGN, account=account, verdict=whole.verdict,
                category=whole.category, at=now, campaign_decision=whole,
            )
            for item in items
        ]  # fmt: skip
        ReviewDecision.objects.bulk_create(decisions, batch_size=200)
        _close(items)
        record_labels([_label_of(item, whole, account, now) for item in items])
        data = {
            "campaign": whole.campaign, "verdict": Verdict(whole.verdict).label,
            "category": Category(whole.category).label, "items": whole.items, "held": whole.held,
            "previewed": told["items"], "decision": str(whole.id),
        }  # fmt: skip
        audit.append("campaign.decided", actor=actor, subject=f"campaign:{whole.campaign}", data=data, now=now)
        held = [item for item in items if item.kind == ItemKind.HELD]
        kind = "messages.released" if whole.verdict == Verdict.ALLOW else "messages.refused"
        _append_many(kind, held, whole, actor, now)
    return whole


def _append_many(kind: str, items: Sequence[ReviewItem], whole: CampaignDecision, actor: str, now: datetime) -> None:
    """Entries that name each message, some hundred in one: what sends or refuses them needs the references."""
    for start in range(0, len(items), _REFERENCES):
        part = [[item.stream, item.seq, str(item.entry_id)] for item in items[start : start + _REFERENCES]]
        data = {"by": "campaign", "decision": str(whole.id), "messages": part}
        audit.append(kind, actor=actor, subject=f"campaign:{whole.campaign}", data=data, now=now)


def _close(items: Sequence[ReviewItem]) -> None:
    for start in range(0, len(items), _REFERENCES):
        ReviewItem.objects.filter(pk__in=[item.pk for item in items[start : start + _REFERENCES]]).update(
            state=ItemState.DONE, holder=None, lease=None, lease_until=None
        )


def _label_of(item: ReviewItem, decision: CampaignDecision, account: Account, now: datetime) -> Label:
    return Label(
        stream=item.stream, seq=item.seq, entry_id=item.entry_id, text_hash=item.text_hash, campaign=item.campaign,
        verdict=decision.verdict, category=decision.category, source=LabelSource.REVIEW, by=account.ref, at=now,
    )  # fmt: skip


def undo_campaign(decision_id: UUID, account: Account, *, now: datetime, actor: str = "") -> int:
    """Everything that one decision on a campaign decided waits again, but for what was acted on. Returns how many.

    Raises NothingToUndo for one that is undone already or older than ten minutes.
    """
    actor = actor or account.ref
    with transaction.atomic():
        whole = CampaignDecision.objects.select_for_update().filter(pk=decision_id).first()
        if whole is None or whole.undone_at is not None:
            raise NothingToUndo(why="none")
        if now - whole.at > timedelta(seconds=CAMPAIGN_UNDO_S):
            raise NothingToUndo(why="too_late")
        open_again = list(whole.decisions.filter(acted_at=None, undone_at=None).select_related("item"))
        items = [decision.item for decision in open_again]
        for start in range(0, len(items), _REFERENCES):
            part = open_again[start : start + _REFERENCES]
            ReviewItem.objects.filter(pk__in=[decision.item_id for decision in part]).update(state=ItemState.WAITING)
            ReviewDecision.objects.filter(pk__in=[decision.pk for decision in part]).update(undone_at=now)
            withdraw_labels([decision.item.entry_id for decision in part], LabelSource.REVIEW, now=now)
        whole.undone_at = now
        whole.save(update_fields=("undone_at",))
        data = {"campaign": whole.campaign, "decision": str(whole.id), "items": len(items)}
        audit.append("campaign.undone", actor=actor, subject=f"campaign:{whole.campaign}", data=data, now=now)
        _append_many("messages.held", [item for item in items if item.kind == ItemKind.HELD], whole, actor, now)
    return len(items)


# -- gold


def make_gold(
    entry_id: UUID,
    verdict: Verdict,
    category: Category,
    account: Account,
    *,
    now: datetime,
    note: str = "",
    actor: str = "",
) -> Gold:
    """A decided message becomes a test with this right answer; it teaches no model from now on.

    Raises BadValue for a message that was not decided at this desk.
    """
    with transaction.atomic():
        item = ReviewItem.objects.filter(entry_id=entry_id, kind__in=_WHOLE, state=ItemState.DONE).first()
        if item is None:
            raise BadValue(field="message", value=str(entry_id), expected="a message that was decided at this desk")
        gold, _ = Gold.objects.update_or_create(
            entry_id=entry_id,
            defaults={
                "stream": item.stream, "seq": item.seq, "verdict": int(verdict), "category": int(category),
                "note": note.strip()[:300], "is_active": True, "by": account, "at": now,
            },
        )  # fmt: skip
        record_label(
            stream=item.stream, seq=item.seq, entry_id=entry_id, verdict=verdict, category=category,
            source=LabelSource.GOLD, by=account.ref, now=now, text_hash=item.text_hash, campaign=item.campaign,
        )  # fmt: skip
        data = {"verdict": verdict.label, "category": category.label}
        audit.append("gold.made", actor=actor or account.ref, subject=item.subject, data=data, now=now)
    return gold


def retire_gold(gold_id: UUID, account: Account, *, now: datetime, actor: str = "") -> None:
    """It is given to nobody any more; what it measured stays. It was seen by many: it still teaches no model."""
    with transaction.atomic():
        gold = Gold.objects.select_for_update().filter(pk=gold_id, is_active=True).first()
        if gold is None:
            raise BadValue(field="gold", value=str(gold_id), expected="a gold message that is in use")
        gold.is_active = False
        gold.save(update_fields=("is_active",))
        audit.append("gold.retired", actor=actor or account.ref, subject=f"message:{gold.entry_id}", now=now)


# -- disagreements, leases


def settle(
    decision_id: UUID,
    verdict: Verdict,
    category: Category,
    account: Account,
    *,
    now: datetime,
    note: str,
    actor: str = "",
) -> ReviewDecision:
    """The team lead's word where first and second opinion differ. decision_id: of the second opinion.

    A held message gets what the lead says, if nothing was sent yet: an entry tells whoever acts on it.
    Raises BadValue without a reason, NothingToUndo where there is no open disagreement.
    """
    if len(note.strip()) < 5:
        raise BadValue(field="note", value=note.strip(), expected="a reason, 5 characters or more")
    with transaction.atomic():
        second = (
            ReviewDecision.objects.select_for_update(of=("self",))
            .select_related("item__first__item")
            .filter(pk=decision_id, kind=ItemKind.SECOND, is_right=False, settled_at=None, undone_at=None)
            .first()
        )
        if second is None or second.item.first is None:
            raise NothingToUndo(why="none")
        first = second.item.first
        item = first.item
        settled = ReviewDecision.objects.create(
            item=item, kind=item.kind, source=DecisionSource.SETTLED, account=account, verdict=int(verdict),
            category=int(category), note=note.strip()[:500], at=now,
        )  # fmt: skip
        second.settled_at = now
        second.save(update_fields=("settled_at",))
        record_label(
            stream=item.stream, seq=item.seq, entry_id=item.entry_id, verdict=verdict, category=category,
            source=LabelSource.SECOND, by=account.ref, now=now, text_hash=item.text_hash, campaign=item.campaign,
        )  # fmt: skip
        data = {
            "stream": item.stream, "seq": item.seq, "verdict": verdict.label, "category": category.label,
            "by": "settled", "kind": item.kind, "decision": str(settled.id), "first": str(first.id),
            "second": str(second.id),
        }  # fmt: skip
        kind = "message.reviewed"
        if item.kind == ItemKind.HELD and first.verdict != int(verdict) and first.acted_at is None:
            kind = "message.released" if verdict == Verdict.ALLOW else "message.refused"
        audit.append(kind, actor=actor or account.ref, subject=item.subject, data=data, now=now)
    return settled


def reassign(
    item_id: int, to: Account, account: Account, *, now: datetime, review: ReviewSettings, actor: str = ""
) -> ReviewItem:
    """Give a waiting or taken message to one person: it is what they see next. Raises LeaseLost if it is decided."""
    with transaction.atomic():
        item = (
            ReviewItem.objects.select_for_update()
            .filter(pk=item_id)
            .exclude(state=ItemState.DONE)
            .exclude(kind=ItemKind.GOLD)
            .first()
        )
        if item is None:
            raise LeaseLost(why="decided")
        if item.not_for_id == to.pk:
            raise BadValue(field="to", value=to.username, expected="somebody who did not give the first opinion")
        before = str(item.holder_id) if item.holder_id else None
        # Long enough to finish what they are at; a lease that nobody picks up returns as any other.
        lease_to(item, to, now, now + timedelta(seconds=max(review.lease_s, LONGEST_LOOK_S)))
        data = {"item": item.pk, "to": str(to.pk), "from": before}
        audit.append("lease.reassigned", actor=actor or account.ref, subject=item.subject, data=data, now=now)
    return item
