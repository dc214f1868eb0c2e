"""Everything that the ledger holds about one subscriber's number: what they may ask for, and what erasure withholds.

A search by pseudonym, in every epoch whose key is kept; originals as far as they are kept. Entries made under a
pseudonym key that was forgotten cannot be linked to a number by anybody, so that they are no longer about one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mingbai.connectors.ledger_access import open_keys
from mingbai.connectors.ledger_index import LedgerIndex, Query, pseudonyms_of
from mingbai.kernel.clock import format_utc
from mingbai.kernel.verdicts import Reason
from mingbai.ledger import StreamReader, withhold
from mingbai.settings import Settings

_PAGE = 1000
_NEAR = 4096  # originals that lie closer are read in one go


@dataclass(frozen=True, slots=True)
class SubscriberRecord:
    """messages: newest first, each a JSON document; is_cut: there are more than were asked for."""

    messages: list[dict[str, Any]]  # Any: JSON values
    is_cut: bool


def record_of(settings: Settings, number: str, *, limit: int = 20_000) -> SubscriberRecord:
    """Messages to and from a number (E.164) with the decisions on them. Raises KeysUnusable, LedgerDamaged."""
    keys = open_keys(settings)
    index = LedgerIndex(settings.data, keys)
    names = pseudonyms_of(keys, number)
    found: dict[tuple[str, int], dict[str, Any]] = {}  # Any: JSON values
    is_cut = False
    for direction, query in (("received", Query(receivers=names)), ("sent", Query(senders=names))):
        cursor: str | None = None
        while True:
            page = index.search(query, min(_PAGE, limit), cursor)
            for hit in page.hits:
                found.setdefault(
                    (hit.stream, hit.seq),
                    {
                        "id": str(hit.id),
                        "direction": direction,
                        "decided_at": format_utc(hit.at),
                        "verdict": hit.verdict.name.lower(),
                        "category": hit.category.name.lower(),
                        "score": round(float(hit.score), 4),
                        "reasons": [_reason(code) for code in hit.reasons],
                        "access_code": hit.access_code,
                    },
                )
            cursor = page.next_cursor
            if cursor is None:
                break
            if len(found) >= limit:
                is_cut = True
                break
    _add_originals(settings, keys, found)
    return SubscriberRecord(sorted(found.values(), key=lambda row: str(row["decided_at"]), reverse=True), is_cut)


def _add_originals(settings: Settings, keys: Any, found: dict[tuple[str, int], dict[str, Any]]) -> None:  # Any: JSON
    for stream in sorted({name for name, _ in found}):
        reader = StreamReader(settings.data, stream, keys)
        for seqs in _groups(sorted(seq for name, seq in found if name == stream)):
            for original in reader.originals(seqs).to_pylist():
                row = found[stream, original["seq"]]
                time = original["time"]
                row |= {
                    "sent_at": None if time is None else format_utc(time),
                    "sender": original["sender"],
                    "receiver": original["receiver"],
                    "numbers": original["numbers_kept"],
                    "text": original["text"],
                    "text_is": original["text_kept"],
                }


def _groups(seqs: list[int]) -> list[list[int]]:
    groups: list[list[int]] = []
    for seq in seqs:
        if groups and seq - groups[-1][-1] <= _NEAR:
            groups[-1].append(seq)
        else:
            groups.append([seq])
    return groups


def _reason(code: int) -> str:
    try:
        return Reason(code).name.lower()
    except ValueError:  # of a newer version
        return str(code)


def kept_until(settings: Settings, *, now: datetime) -> datetime:
    """When the last original that is stored now will have been destroyed, as the retention is set."""
    kept = settings.ledger
    days = max(kept.allowed_text_days, kept.stopped_text_days, kept.numbers_days)
    # Stored today, kept that many full days after it, destroyed by the expiry that follows: a day of grace for that.
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days=days + 2)


def withhold_number(settings: Settings, number: str, *, now: datetime) -> datetime:
    """From now on nobody gets an original of the number's messages until now. Returns until when they are stored."""
    until = kept_until(settings, now=now)
    names = pseudonyms_of(open_keys(settings), number)
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    withhold(settings.data, names, before=now, until=until)
    return until
