"""Searches that people do and keep. A search for a number is an entry: whoever asks about somebody leaves a trace."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction

from mingbai.contexts.audit import services as audit
from mingbai.contexts.messaging.models import SavedSearch
from mingbai.kernel.errors import BadValue
from mingbai.kernel.masking import masked_number

MAX_SAVED = 100


def note_number_search(number: str, *, by: str, actor: str, now: datetime) -> None:
    """by: sender, receiver or either."""
    audit.append("messages.searched", actor=actor, data={"by": by, "number": masked_number(number)}, now=now)


def note_text_search(*, actor: str, since: datetime | None, until: datetime | None, now: datetime) -> None:
    """The words are not kept: they may be somebody's."""
    data = {
        "by": "text",
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
    }
    audit.append("messages.searched", actor=actor, data=data, now=now)


def save_search(
    owner_id: UUID, name: str, query: str, *, is_shared: bool, now: datetime, actor: str = ""
) -> SavedSearch:
    """Keep a search under a name. actor: as the entry names who did it, "" for the owner.

    Raises BadValue (name, query, too many)."""
    actor = actor or f"account:{owner_id}"
    name = " ".join(name.split())
    if not 1 <= len(name) <= 80:
        raise BadValue(field="name", value=name[:80], expected="1 to 80 characters")
    if len(query) > 2000:
        raise BadValue(field="query", value=f"{len(query)} characters", expected="at most 2000 characters")
    try:
        with transaction.atomic():
            if SavedSearch.objects.filter(owner_id=owner_id).count() >= MAX_SAVED:
                raise BadValue(field="name", value=name, expected=f"at most {MAX_SAVED} saved searches a person")
            row = SavedSearch.objects.create(
                owner_id=owner_id, name=name, query=query, is_shared=is_shared, created_at=now
            )
            data = {"name": name, "is_shared": is_shared}
            audit.append("search.saved", actor=actor, subject=f"search:{row.id}", data=data, now=now)
    except IntegrityError:
        raise BadValue(field="name", value=name, expected="a name that none of your searches has") from None
    return row


def delete_search(owner_id: UUID, id: UUID, *, now: datetime, actor: str = "") -> None:
    """actor: as above. Raises BadValue for a search that is not one's own."""
    with transaction.atomic():
        row = SavedSearch.objects.filter(pk=id, owner_id=owner_id).first()
        if row is None:
            raise BadValue(field="search", value=str(id), expected="a search of your own")
        actor = actor or f"account:{owner_id}"
        audit.append("search.deleted", actor=actor, subject=f"search:{id}", data={"name": row.name}, now=now)
        row.delete()
