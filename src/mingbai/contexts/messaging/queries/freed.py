"""Exceptions: what freeing would let pass; what people freed, whether it is in force, how often it was used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from mingbai.connectors.ledger_index import Decision, Hit, IndexBehind, Query, Scope
from mingbai.connectors.screening_client import FreeKey
from mingbai.contexts.messaging.models import Freed
from mingbai.contexts.messaging.queries.traffic import client, index
from mingbai.kernel.verdicts import Category, Verdict

RULE_PREFIX = "freed:"  # of the mark that a decision carries when an exception let it pass


@dataclass(frozen=True, slots=True)
class Freeable:
    """What freeing a message lets pass; without a key, why there is none: a code of `WHY_NOT_FREED` (`words`)."""

    key: FreeKey | None
    why_not: str = ""

    @property
    def hosts(self) -> list[str]:
        """Of the links that pass: enough to recognise an exception, without the path that may name a person."""
        links = self.key.links if self.key is not None else ()
        hosts = [urlsplit(link if "//" in link else f"//{link}").hostname or "" for link in links]
        return sorted({host for host in hosts if host})


def freeable(hit: Hit, decision: Decision) -> Freeable:
    """The key is of the original as the ledger has it. Raises what `ScreeningClient.free_key` raises."""
    original = decision.original or {}
    if hit.verdict < Verdict.FLAG:
        return Freeable(None, "passed")
    if original.get("text") is None:
        return Freeable(None, "text_gone")
    if hit.sender is not None and original.get("sender") is None:
        return Freeable(None, "sender_gone")
    return Freeable(client().free_key(original["text"], sender=original.get("sender"), access_code=hit.access_code))


@dataclass(frozen=True, slots=True)
class FreedException:
    """One exception. hits: messages that passed by it; None while the index is being built."""

    id: UUID
    entry_id: UUID
    verdict: Verdict
    category: Category
    access_code: str
    hosts: tuple[str, ...]
    rules: tuple[str, ...]
    owner: str
    reason: str
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    end_reason: str
    state: str  # in_force, ended, expired
    hits: int | None

    @property
    def is_in_force(self) -> bool:
        return self.state == "in_force"


def exceptions(scope: Scope, now: datetime, *, in_force_only: bool = False, limit: int = 200) -> list[FreedException]:
    """Newest first, those within the scope."""
    rows = Freed.objects.select_related("owner")
    if in_force_only:
        rows = rows.filter(ended_at=None, expires_at__gt=now)
    if not scope.is_everything:
        prefixes = scope.access_codes or ()
        rows = rows.filter(
            pk__in=[pk for pk, code in rows.values_list("pk", "access_code") if code and code.startswith(prefixes)]
        )
    return [_exception(row, scope, now) for row in rows[:limit]]


def exception_of(entry_id: UUID, now: datetime) -> FreedException | None:
    """The newest exception that was made for this decision."""
    row = Freed.objects.select_related("owner").filter(entry_id=entry_id).first()
    return None if row is None else _exception(row, Scope(), now)


def exception(id: UUID, now: datetime) -> FreedException | None:
    row = Freed.objects.select_related("owner").filter(pk=id).first()
    return None if row is None else _exception(row, Scope(), now)


def _exception(row: Freed, scope: Scope, now: datetime) -> FreedException:
    try:
        hits: int | None = sum(
            index().count(Query(rules=(f"{RULE_PREFIX}{row.pk}",), since=row.created_at), scope).values()
        )
    except IndexBehind:
        hits = None
    is_over = row.ended_by == "job:exceptions" or (row.ended_at is None and row.expires_at <= now)
    state = "expired" if is_over else "in_force" if row.ended_at is None else "ended"
    return FreedException(
        id=row.pk, entry_id=row.entry_id, verdict=Verdict(row.verdict), category=Category(row.category),
        access_code=row.access_code, hosts=tuple(row.links), rules=tuple(row.rules), owner=str(row.owner),
        reason=row.reason, created_at=row.created_at, expires_at=row.expires_at, ended_at=row.ended_at,
        end_reason=row.end_reason, state=state, hits=hits,
    )  # fmt: skip
