"""Audit: who did what, in words; whether the record is whole; taking it outside.

It stands here and not with the control stream because it knows people: `audit` is the room below.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.conf import settings as django_settings
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_POST

from mingbai.connectors.ledger_access import open_keys
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.audit import services as record
from mingbai.contexts.audit.evidence import signed_evidence, to_csv
from mingbai.contexts.audit.jobs import ledger_heads
from mingbai.contexts.audit.queries import Entry
from mingbai.contexts.people.models import Account, Token
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.contexts.people.sentences import AREAS, SENTENCES, told
from mingbai.kernel.clock import utc_now
from mingbai.ledger import fingerprint

_PAGE = 50
_MOST_EXPORTED = 100_000


class _Asked:
    """The filters of the page, as they stand in its address."""

    def __init__(self, request: RequestWithRights) -> None:
        self.area = request.GET.get("area", "")
        self.kind = request.GET.get("kind", "").strip()
        self.actor = request.GET.get("actor", "").strip()
        self.subject = request.GET.get("subject", "").strip()
        self.since = _day(request.GET.get("since", ""))
        self.until = _day(request.GET.get("until", ""))
        before = request.GET.get("before", "")
        self.before = int(before) if before.isdecimal() and len(before) < 19 else None

    def entries(self, *, paged: bool = True) -> QuerySet[Entry]:
        kinds = [self.kind] if self.kind else []
        if not kinds and self.area:
            kinds = [kind for code, _words, prefixes in AREAS if code == self.area for kind in prefixes]
            if not kinds:
                raise Http404
        found = audit.entries(
            kinds=kinds,
            since=_start(self.since),
            until=_start(self.until + timedelta(days=1)) if self.until else None,
            before_seq=self.before if paged else None,
        )
        if self.actor:
            found = found.filter(actor__in=_refs(self.actor))
        if self.subject:
            found = found.filter(subject__in=_refs(self.subject))
        return found

    def query(self, **more: object) -> dict[str, str]:
        given = {
            "area": self.area, "kind": self.kind, "actor": self.actor, "subject": self.subject,
            "since": self.since, "until": self.until, **more,
        }  # fmt: skip
        return {name: str(value) for name, value in given.items() if value}


@requires(Action.SEE_AUDIT)
@require_GET
def audit_page(request: RequestWithRights) -> HttpResponse:
    """The entries that fit, newest first."""
    _check_whole(request)
    asked = _Asked(request)
    rows = list(asked.entries()[: _PAGE + 1])
    has_more = len(rows) > _PAGE
    rows = rows[:_PAGE]
    seq, hash = audit.head()
    signed = audit.last_signed()
    context = {
        "rows": told(rows),
        "asked": asked,
        "is_filtered": bool(asked.query()),
        "areas": [(code, words) for code, words, _prefixes in AREAS],
        "kinds": sorted(set(audit.kinds_used()) | set(SENTENCES)),
        "next": f"?{urlencode(asked.query(before=rows[-1].seq))}" if has_more else "",
        "first": f"?{urlencode(asked.query())}" if asked.before else "",
        "export": urlencode(asked.query()),
        "seq": seq,
        "hash": hash.hex(),
        "signed": signed,
        "unmasked": audit.entries(kinds=["message.unmasked"], since=utc_now() - timedelta(days=7)).count(),
        "unmasked_url": f"{reverse('audit')}?area=unmasked",
        "may_export": request.rights.may(Action.EXPORT_EVIDENCE),
        "now": utc_now(),
    }
    return render(request, "people/audit.html", context)


@requires(Action.SEE_AUDIT)
@require_GET
def audit_entry(request: RequestWithRights, seq: int) -> HttpResponse:
    """One entry as it is stored, in a dialog."""
    _check_whole(request)
    entry = audit.entry(seq)
    if entry is None:
        raise Http404
    document = json.dumps(entry.data, ensure_ascii=False, indent=2, sort_keys=True)
    context = {"row": told([entry])[0], "document": document, "hash": bytes(entry.hash).hex()}
    template = "people/audit_entry_dialog.html" if request.headers.get("HX-Request") else "people/audit_entry.html"
    return render(request, template, context)


@requires(Action.SEE_AUDIT)
@require_POST
def audit_verify(request: RequestWithRights) -> HttpResponse:
    """Walk the chain and say what came out; that somebody looked is an entry too."""
    _check_whole(request)
    settings = django_settings.MINGBAI
    found = audit.verify()
    crossed = audit.check_crossed(ledger_heads(settings.data).holds)
    is_whole = found.ok and all(stream.is_there for stream in crossed)
    data = {"result": "ok" if is_whole else "problem", "entries": found.entries, "head": found.head.hex()}
    if found.ok:
        # Not into a chain that is broken: what was found must stay as it was found.
        record.append("audit.verified", actor=request.user.ref, data=data, now=utc_now())
    signed = audit.last_signed()
    context = {
        "found": found, "crossed": crossed, "is_whole": is_whole, "signed": signed, "now": utc_now(),
        "key": fingerprint(signed.public_key) if signed else "",
    }  # fmt: skip
    return render(request, "people/audit_verified.html", context)


@requires(Action.EXPORT_EVIDENCE)
@require_POST
def audit_csv(request: RequestWithRights) -> HttpResponse:
    """What the filters leave, for a spreadsheet."""
    _check_whole(request)
    asked = _Asked(request)
    rows = list(asked.entries(paged=False)[:_MOST_EXPORTED])
    content = to_csv((row.entry, row.actor, row.subject, row.sentence) for row in told(rows))
    _note(request, "audit.exported", asked, rows)
    return _file(content.encode(), "text/csv; charset=utf-8", "csv")


@requires(Action.EXPORT_EVIDENCE)
@require_POST
def audit_evidence(request: RequestWithRights) -> HttpResponse:
    """What the filters leave, signed, with the hashes to check it by."""
    _check_whole(request)
    asked, now = _Asked(request), utc_now()
    keys = open_keys(django_settings.MINGBAI)
    record.sign_head(keys, now=now)
    rows = list(asked.entries(paged=False)[:_MOST_EXPORTED])
    document = signed_evidence(rows, keys, query=asked.query(), actor=request.user.ref, now=now)
    _note(request, "evidence.exported", asked, rows)
    content = json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True).encode()
    return _file(content, "application/json", "json")


def _note(request: RequestWithRights, kind: str, asked: _Asked, rows: Iterable[Entry]) -> None:
    data = {"query": asked.query(), "count": len(list(rows))}
    record.append(kind, actor=request.user.ref, data=data, now=utc_now())


def _file(content: bytes, content_type: str, ending: str) -> HttpResponse:
    response = HttpResponse(content, content_type=content_type)
    name = f"mingbai-record-{utc_now():%Y%m%dT%H%M%SZ}.{ending}"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _check_whole(request: RequestWithRights) -> None:
    """The record is of the whole operator: an auditor of one province has no part of it."""
    reach = request.rights.reach(Action.SEE_AUDIT)
    if reach is None or not reach.is_all:
        raise Http404


def _refs(given: str) -> list[str]:
    """What a person types for somebody: a ref as it stands, a user name (with its tokens), or the start of neither."""
    if ":" in given or given == "system":
        return [given]
    found = [account.ref for account in Account.objects.filter(username__iexact=given)]
    tokens = Token.objects.filter(account__username__iexact=given)
    return [*found, *(token.ref for token in tokens)]


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _start(day: date | None) -> datetime | None:
    """Midnight where the console is."""
    if day is None:
        return None
    return datetime.combine(day, time(), ZoneInfo(django_settings.TIME_ZONE)).astimezone(UTC)


urlpatterns = [
    path("audit/", audit_page, name="audit"),
    path("audit/verify/", audit_verify, name="audit_verify"),
    path("audit/export.csv", audit_csv, name="audit_csv"),
    path("audit/evidence.json", audit_evidence, name="audit_evidence"),
    path("audit/<int:seq>/", audit_entry, name="audit_entry"),
]
