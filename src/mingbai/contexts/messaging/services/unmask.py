"""Looking at numbers and texts in full: only for a reason, which the auditor reads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mingbai.connectors.ledger_index import Hit
from mingbai.contexts.audit import services as audit
from mingbai.contexts.messaging.services.freeing import checked_reason, message_ref

FIELDS = ("sender", "receiver", "text")


def unmask(hit: Hit, *, fields: Sequence[str], reason: str, actor: str, now: datetime) -> None:
    """Record that somebody looks at a message unmasked, before it is shown. Raises BadValue for no reason."""
    data = {"fields": [name for name in FIELDS if name in fields], "reason": checked_reason(reason)}
    audit.append("message.unmasked", actor=actor, subject=message_ref(hit.id), data=data, now=now)
