"""Evidence of one decision, for somebody who does not trust this system: the entry and the proof of it."""

from __future__ import annotations

import io
from datetime import datetime
from typing import IO

from mingbai.connectors.ledger_evidence import write_evidence
from mingbai.connectors.ledger_index import Hit
from mingbai.contexts.audit import services as audit
from mingbai.contexts.messaging.queries.traffic import installed_settings, keys
from mingbai.contexts.messaging.services.freeing import message_ref


def export_evidence(hit: Hit, *, actor: str, now: datetime) -> IO[bytes]:
    """The ZIP of `connectors.ledger_evidence`, at its beginning; that it was taken is an entry."""
    file = io.BytesIO()
    write_evidence(installed_settings().data, hit.stream, hit.seq, keys(), file)
    file.seek(0)
    data = {"stream": hit.stream, "seq": hit.seq}
    audit.append("evidence.exported", actor=actor, subject=message_ref(hit.id), data=data, now=now)
    return file
