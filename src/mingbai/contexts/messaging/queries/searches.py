"""Saved searches: one's own, and those that people of the same teams share."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import Q

from mingbai.contexts.messaging.models import SavedSearch


@dataclass(frozen=True, slots=True)
class Saved:
    id: UUID
    name: str
    query: str
    is_own: bool
    is_shared: bool
    owner: str


def saved_searches(account_id: UUID) -> list[Saved]:
    """What the account can open, its own first."""
    mates = get_user_model().objects.filter(teams__members=account_id).values("pk")
    rows = SavedSearch.objects.filter(Q(owner_id=account_id) | Q(is_shared=True, owner__in=mates)).select_related(
        "owner"
    )
    found = [
        Saved(row.pk, row.name, row.query, row.owner_id == account_id, row.is_shared, str(row.owner)) for row in rows
    ]
    return sorted(found, key=lambda one: (not one.is_own, one.name))
