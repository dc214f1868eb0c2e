"""The control stream by the API: entries, its head, verification, evidence."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Field, Router, Schema
from ninja.params.functions import Query

from mingbai.connectors.ledger_access import open_keys
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.audit import services as record
from mingbai.contexts.audit.evidence import signed_evidence, to_csv
from mingbai.contexts.audit.jobs import ledger_heads
from mingbai.contexts.people.http_api import (
    MAX_LIMIT,
    NotFound,
    Page,
    actor,
    allowed,
    from_cursor,
    to_cursor,
    whole,
)
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.sentences import told
from mingbai.kernel.clock import as_utc, utc_now
from mingbai.ledger import fingerprint

router = Router(tags=["audit"])
_WEB = Any  # what ninja makes a document from
_MOST_EXPORTED = 100_000


class EntryOut(Schema):
    """One entry. actor and subject: account:<id>, token:<id>, message:<id>, …"""

    seq: int
    id: UUID
    at: datetime
    kind: str
    actor: str
    subject: str
    data: dict[str, Any]  # Any: JSON, by kind
    hash: str


class HeadOut(Schema):
    """Where the stream ends. signed: its last signed head (seq, public key's fingerprint), null before the first."""

    seq: int
    hash: str
    signed_seq: int | None
    signed_by: str | None


class EvidenceIn(Schema):
    """Which entries; at most 100,000, the newest."""

    kind: list[Annotated[str, Field(max_length=64)]] = Field(default_factory=list, max_length=20)
    actor: str = Field("", max_length=80)
    subject: str = Field("", max_length=120)
    since: datetime | None = None
    until: datetime | None = None


class CrossedOut(Schema):
    """A stream of the ledger whose end was written into the control stream; is_there: the ledger still holds that."""

    stream: str
    seq: int
    is_there: bool


class EntryPage(Page):
    items: list[EntryOut]


class Verified(Schema):
    """ok: every entry is as it was written; else what is wrong, and at which seq."""

    ok: bool
    entries: int
    head: str
    problem: str | None
    at_seq: int | None
    signed_to: int
    crossed: list[CrossedOut]


@router.get("/audit", auth=allowed(Action.SEE_AUDIT), response={200: EntryPage})
def list_entries(
    request: HttpRequest,
    kind: list[str] = Query([], max_length=20),
    entry_actor: str = Query("", alias="actor", max_length=80),
    subject: str = Query("", max_length=120),
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str | None = Query(None, max_length=500),
    limit: int = Query(100, ge=1, le=MAX_LIMIT),
) -> dict[str, _WEB]:
    """Newest first. kind: exact, or the beginning with a dot (`rulebook.`)."""
    whole(request, Action.SEE_AUDIT)
    before = (from_cursor(cursor) or {}).get("before")
    asked = EvidenceIn(kind=[one for one in kind if one], actor=entry_actor, subject=subject, since=since, until=until)
    listed = _entries(asked, before if isinstance(before, int) and 0 <= before < 2**63 else None)
    page = list(listed[: limit + 1])
    following = to_cursor({"before": page[limit - 1].seq}) if len(page) > limit else None
    return {"items": [_entry(entry) for entry in page[:limit]], "next": following}


@router.get("/audit/head", auth=allowed(Action.SEE_AUDIT), response={200: HeadOut})
def head(request: HttpRequest) -> dict[str, _WEB]:
    """Write it down elsewhere: what stood before it cannot be changed unnoticed then."""
    whole(request, Action.SEE_AUDIT)
    seq, hash = audit.head()
    signed = audit.last_signed()
    return {
        "seq": seq,
        "hash": hash.hex(),
        "signed_seq": signed.seq if signed else None,
        "signed_by": fingerprint(signed.public_key) if signed else None,
    }


@router.get("/audit/{int:seq}", auth=allowed(Action.SEE_AUDIT), response={200: EntryOut})
def get_entry(request: HttpRequest, seq: int) -> dict[str, _WEB]:
    whole(request, Action.SEE_AUDIT)
    entry = audit.entry(seq) if 0 < seq < 2**63 else None
    if entry is None:
        raise NotFound(what="entry", id=seq)
    return _entry(entry)


@router.post("/audit/verify", auth=allowed(Action.SEE_AUDIT), response={200: Verified})
def verify_entries(request: HttpRequest) -> dict[str, _WEB]:
    """Walk the whole chain, and look whether the ledger still holds what was written here; that is an entry too."""
    whole(request, Action.SEE_AUDIT)
    verified = audit.verify()
    crossed = audit.check_crossed(ledger_heads(settings.MINGBAI.data).holds)
    is_sound = verified.ok and all(stream.is_there for stream in crossed)
    data = {"result": "ok" if is_sound else "problem", "entries": verified.entries, "head": verified.head.hex()}
    if verified.ok:  # not into a chain that is broken: what was found must stay as it was found
        record.append("audit.verified", actor=actor(request), data=data, now=utc_now())
    return {
        "ok": is_sound,
        "entries": verified.entries,
        "head": verified.head.hex(),
        "problem": verified.problem,
        "at_seq": verified.at_seq,
        "signed_to": verified.signed_to,
        "crossed": [{"stream": one.stream, "seq": one.seq, "is_there": one.is_there} for one in crossed],
    }


@router.post("/audit/evidence", auth=allowed(Action.EXPORT_EVIDENCE), response={200: dict[str, Any]})
def audit_evidence(request: HttpRequest, given: EvidenceIn) -> dict[str, _WEB]:
    """Signed, with the hashes to check the entries by; the export is an entry itself."""
    whole(request, Action.EXPORT_EVIDENCE)
    now, keys = utc_now(), open_keys(settings.MINGBAI)
    record.sign_head(keys, now=now)
    rows = list(_entries(given, None)[:_MOST_EXPORTED])
    document = signed_evidence(rows, keys, query=_query(given), actor=actor(request), now=now)
    _note(request, "evidence.exported", given, len(rows))
    return document


@router.post("/audit/csv", auth=allowed(Action.EXPORT_EVIDENCE), response={200: bytes})
def audit_csv(request: HttpRequest, given: EvidenceIn) -> HttpResponse:
    """For a spreadsheet; the export is an entry itself."""
    whole(request, Action.EXPORT_EVIDENCE)
    rows = list(_entries(given, None)[:_MOST_EXPORTED])
    content = to_csv((row.entry, row.actor, row.subject, row.sentence) for row in told(rows))
    _note(request, "audit.exported", given, len(rows))
    return HttpResponse(content, content_type="application/octet-stream")


def _note(request: HttpRequest, kind: str, given: EvidenceIn, count: int) -> None:
    record.append(kind, actor=actor(request), data={"query": _query(given), "count": count}, now=utc_now())


def _query(given: EvidenceIn) -> dict[str, str]:
    told_ = {"kind": ",".join(given.kind), "actor": given.actor, "subject": given.subject, "since": given.since,
             "until": given.until}  # fmt: skip
    return {name: str(value) for name, value in told_.items() if value}


def _entries(asked: EvidenceIn, before: int | None) -> QuerySet[audit.Entry]:
    return audit.entries(
        kinds=asked.kind,
        actor=asked.actor,
        subject=asked.subject,
        since=None if asked.since is None else as_utc(asked.since, "since"),
        until=None if asked.until is None else as_utc(asked.until, "until"),
        before_seq=before,
    )


def _entry(entry: audit.Entry) -> dict[str, _WEB]:
    return {
        "seq": entry.seq,
        "id": entry.id,
        "at": entry.at,
        "kind": entry.kind,
        "actor": entry.actor,
        "subject": entry.subject,
        "data": entry.data,
        "hash": bytes(entry.hash).hex(),
    }
