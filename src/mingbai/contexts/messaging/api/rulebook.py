"""The rulebook by the API: read, draft, check, try, replay, submit, approve, roll back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import pyarrow as pa
from django.http import HttpRequest
from ninja import Field, Router, Schema, Status
from ninja.params.functions import Query as Param

from mingbai.contexts.messaging.api.screening import MAX_TEXT
from mingbai.contexts.messaging.models import RulebookVersion, Run
from mingbai.contexts.messaging.models.runs import RunKind
from mingbai.contexts.messaging.queries import overview, traffic
from mingbai.contexts.messaging.queries import rulebook as queries
from mingbai.contexts.messaging.services import rulebook as services
from mingbai.contexts.messaging.services import runs
from mingbai.contexts.people.http_api import (
    MAX_LIMIT,
    NotFound,
    actor,
    allowed,
    found,
    from_cursor,
    to_cursor,
)
from mingbai.contexts.people.policy import Action
from mingbai.kernel.clock import format_utc, utc_now
from mingbai.kernel.verdicts import Verdict

router = Router(tags=["rulebook"])
_WEB = Any  # what ninja makes a document from


class VersionOut(Schema):
    id: UUID
    number: int
    state: str
    comment: str
    revision: int
    content: str  # SHA-256 of the text
    created_at: datetime
    changed_at: datetime
    submitted_at: datetime | None
    decided_at: datetime | None
    decision: str


class WholeVersion(VersionOut):
    text: str


class VersionPage(Schema):
    items: list[VersionOut]
    next: str | None = None


class DraftIn(Schema):
    """start_from: the version whose text it begins with; left out, the one in force."""

    start_from: UUID | None = None


class SaveIn(Schema):
    text: str = Field(max_length=2_000_000)
    comment: str = Field("", max_length=500)
    revision: int = Field(ge=1, le=2**31 - 1)


class SubmitIn(Schema):
    revision: int = Field(ge=1, le=2**31 - 1)
    comment: str = Field(max_length=500)


class WordsIn(Schema):
    words: str = Field("", max_length=500)


class TextIn(Schema):
    text: str = Field(max_length=2_000_000)


class ProblemOut(Schema):
    line: int
    rule: str
    field: str
    value: str
    expected: str


class CheckOut(Schema):
    is_valid: bool
    problems: list[ProblemOut]
    rules: int


class TryIn(Schema):
    text: str = Field(max_length=2_000_000)
    messages: list[Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]] = Field(min_length=1, max_length=200)


class TriedOut(Schema):
    draft: str
    in_force: str
    rules: list[str]


class TryOut(Schema):
    items: list[TriedOut]


class ReplayIn(Schema):
    """against: what was recorded at the time, or what the version in force would decide today."""

    days: int = Field(7, ge=1, le=366)
    against: Literal["recorded", "in_force"] = "recorded"


class RunOut(Schema):
    """Where a long computation is. result: counts; the messages it found are under `…/messages`."""

    id: UUID
    kind: str
    state: str
    subject: str
    done: int
    total: int
    asked_at: datetime
    finished_at: datetime | None
    found: dict[str, Any]  # Any: counts on the way
    result: dict[str, Any] | None  # Any: counts, by kind
    error: str

    @staticmethod
    def resolve_result(run: Run) -> dict[str, Any] | None:  # Any: as above
        """Without references to messages: who may see which is asked where they are listed."""
        if run.result is None:
            return None
        return {
            name: {key: part for key, part in value.items() if key != "examples"} if isinstance(value, dict) else value
            for name, value in run.result.items()
            if name != "changes"
        }


class RunList(Schema):
    items: list[RunOut]


class ChangedOut(Schema):
    """A recorded message whose verdict would change, as the token may see it."""

    id: str
    at: str
    old: str
    new: str
    category: str
    rules: list[str]
    old_rules: list[str]
    access_code: str
    text: str
    not_kept: str


class ChangedPage(Schema):
    items: list[ChangedOut]
    total: int
    next: str | None = None


class RuleOut(Schema):
    """One rule in force. hits: decisions of the period in which it fired; freed: of them wrongly stopped."""

    id: str
    line: int
    category: str
    action: str
    priority: int
    owner: str
    reason: str
    enabled: bool
    valid_from: str
    valid_to: str
    is_in_force: bool
    hits: int
    freed: int


class RuleList(Schema):
    """is_behind: the ledger is still being indexed, and hits are not counted yet."""

    items: list[RuleOut]
    version: int
    is_behind: bool


class OneRule(RuleOut):
    text: str


class TermOut(Schema):
    """From when on which version was in force, and how that came."""

    seq: int
    version: UUID
    number: int
    how: str
    by: UUID | None
    at: datetime
    reason: str


class TermList(Schema):
    items: list[TermOut]


class LineOut(Schema):
    """kind: "", removed, added or skipped."""

    kind: str
    old_no: int | None
    new_no: int | None
    text: str


class DifferenceOut(Schema):
    added: int
    removed: int
    lines: list[LineOut]


class InForceOut(WholeVersion):
    """is_confirmed: the screener decides by it; null: the screener does not answer."""

    is_confirmed: bool | None


class RevisionIn(Schema):
    revision: int = Field(ge=1, le=2**31 - 1)


@router.get("/rulebook", auth=allowed(Action.SEE_RULES), response={200: InForceOut})
def in_force(request: HttpRequest) -> dict[str, _WEB]:
    """The version in force, and whether the screener has it."""
    version = services.ensure_first(now=utc_now())
    is_confirmed = queries.is_confirmed(version, overview.screener_status())
    return {**{name: getattr(version, name) for name in WholeVersion.model_fields}, "is_confirmed": is_confirmed}


@router.get("/rulebook/rules", auth=allowed(Action.SEE_RULES), response={200: RuleList})
def rules(
    request: HttpRequest,
    days: int = Param(7, ge=1, le=366),
    category: str = Param("", max_length=32),
    text: str = Param("", max_length=100, description="part of id, owner or reason"),
) -> dict[str, _WEB]:
    """Rules of the version in force with what they hit, as far as the right reaches; most hits first."""
    version = services.ensure_first(now=utc_now())
    figures = _figures(request, queries.rules_of(version.text, now=utc_now()), days)
    words = text.casefold()
    listed = [
        rule
        for rule in figures.rules
        if (not category or rule.category == category)
        and (not words or any(words in field.casefold() for field in (rule.id, rule.owner, rule.reason)))
    ]
    listed.sort(key=lambda rule: (-rule.hits, rule.id))
    return {"items": [_rule(rule) for rule in listed], "version": version.number, "is_behind": figures.is_behind}


@router.get("/rulebook/rules/{path:id}", auth=allowed(Action.SEE_RULES), response={200: OneRule})
def rule(request: HttpRequest, id: str, days: int = Param(7, ge=1, le=366)) -> dict[str, _WEB]:
    """One rule: what it says and what it hit."""
    version = services.ensure_first(now=utc_now())
    named = [one for one in queries.rules_of(version.text, now=utc_now()) if one.id == id]
    if not named:
        raise NotFound(what="rule", id=id)
    return {**_rule(_figures(request, named, days).rules[0]), "text": queries.rule_text(version.text, id)}


@router.get("/rulebook/history", auth=allowed(Action.SEE_RULES), response={200: TermList})
def history(request: HttpRequest) -> dict[str, _WEB]:
    """What was in force from when on, newest first; at most 200."""
    services.ensure_first(now=utc_now())
    names = ("seq", "how", "by", "at", "reason")
    return {
        "items": [
            {**{name: getattr(term, name) for name in names}, "version": term.version_id, "number": term.version.number}
            for term in queries.history()[:200]
        ]
    }


@router.get("/rulebook/versions", auth=allowed(Action.SEE_RULES), response={200: VersionPage})
def versions(
    request: HttpRequest,
    cursor: str | None = Param(None, max_length=500),
    limit: int = Param(50, ge=1, le=MAX_LIMIT),
) -> dict[str, _WEB]:
    """Newest first."""
    before = from_cursor(cursor)
    listed = queries.versions().order_by("-number")
    if before is not None and isinstance(before.get("before"), int):
        listed = listed.filter(number__lt=max(0, min(before["before"], 2**31 - 1)))
    page = list(listed[: limit + 1])
    following = to_cursor({"before": page[limit - 1].number}) if len(page) > limit else None
    return {"items": page[:limit], "next": following}


@router.get("/rulebook/versions/{uuid:id}", auth=allowed(Action.SEE_RULES), response={200: WholeVersion})
def version(request: HttpRequest, id: UUID) -> RulebookVersion:
    return _found(id)


@router.get(
    "/rulebook/versions/{uuid:id}/differences",
    auth=allowed(Action.SEE_RULES),
    response={200: DifferenceOut},
)
def differences(request: HttpRequest, id: UUID, since: UUID | None = None) -> queries.Difference:
    """What the version changes about another one: about its base, where `since` names none."""
    version = _found(id)
    other = _found(since) if since else version.base or services.ensure_first(now=utc_now())
    return queries.difference(other.text, version.text)


@router.post("/rulebook/versions", auth=allowed(Action.WRITE_RULES), response={201: WholeVersion})
def begin(request: HttpRequest, given: DraftIn) -> Status[RulebookVersion]:
    """A new draft."""
    start = _found(given.start_from) if given.start_from else None
    made = services.begin_draft(by=_by(request), now=utc_now(), start_from=start, actor=actor(request))
    return Status(201, made)


@router.put("/rulebook/versions/{uuid:id}", auth=allowed(Action.WRITE_RULES), response={200: WholeVersion})
def save(request: HttpRequest, id: UUID, given: SaveIn) -> RulebookVersion:
    """Keep a new text of a draft. revision: the one that was read; an older one gives 409."""
    _found(id)
    return services.save_draft(
        id,
        given.text,
        comment=given.comment,
        revision=given.revision,
        by=_by(request),
        now=utc_now(),
        actor=actor(request),
    )


@router.post("/rulebook/versions/{uuid:id}/submit", auth=allowed(Action.WRITE_RULES), response={200: VersionOut})
def submit(request: HttpRequest, id: UUID, given: SubmitIn) -> RulebookVersion:
    """Ask a second person for approval."""
    _found(id)
    return services.submit(
        id,
        revision=given.revision,
        comment=given.comment,
        by=_by(request),
        now=utc_now(),
        client=traffic.client(),
        actor=actor(request),
    )


@router.post("/rulebook/versions/{uuid:id}/withdraw", auth=allowed(Action.WRITE_RULES), response={200: VersionOut})
def withdraw(request: HttpRequest, id: UUID) -> RulebookVersion:
    _found(id)
    return services.withdraw(id, by=_by(request), now=utc_now(), actor=actor(request))


@router.post("/rulebook/versions/{uuid:id}/rebase", auth=allowed(Action.WRITE_RULES), response={200: VersionOut})
def rebase(request: HttpRequest, id: UUID, given: RevisionIn) -> RulebookVersion:
    """Say that the draft was compared with what is in force now."""
    _found(id)
    return services.rebase_draft(id, revision=given.revision, by=_by(request), now=utc_now(), actor=actor(request))


@router.post("/rulebook/versions/{uuid:id}/reopen", auth=allowed(Action.WRITE_RULES), response={200: VersionOut})
def reopen(request: HttpRequest, id: UUID) -> RulebookVersion:
    """What waits for approval is a draft again."""
    _found(id)
    return services.reopen(id, by=_by(request), now=utc_now(), actor=actor(request))


@router.post("/rulebook/versions/{uuid:id}/approve", auth=allowed(Action.APPROVE_RULES), response={200: VersionOut})
def approve(request: HttpRequest, id: UUID, given: WordsIn) -> RulebookVersion:
    """Put it in force. Never by who wrote or submitted any of it."""
    _found(id)
    return services.approve(
        id, by=_by(request), now=utc_now(), client=traffic.client(), words=given.words, actor=actor(request)
    )


@router.post("/rulebook/versions/{uuid:id}/reject", auth=allowed(Action.APPROVE_RULES), response={200: VersionOut})
def reject(request: HttpRequest, id: UUID, given: WordsIn) -> RulebookVersion:
    _found(id)
    return services.reject(id, words=given.words, by=_by(request), now=utc_now(), actor=actor(request))


@router.post("/rulebook/versions/{uuid:id}/roll-back", auth=allowed(Action.APPROVE_RULES), response={200: VersionOut})
def roll_back(request: HttpRequest, id: UUID, given: WordsIn) -> RulebookVersion:
    """Put a version back that was in force before."""
    _found(id)
    return services.roll_back(id, by=_by(request), now=utc_now(), reason=given.words, actor=actor(request))


@router.post("/rulebook/check", auth=allowed(Action.WRITE_RULES), response={200: CheckOut})
def check(request: HttpRequest, given: TextIn) -> dict[str, _WEB]:
    """What is wrong with a text, with lines."""
    checked = traffic.client().check_rulebook(given.text)
    return {"is_valid": checked.is_valid, "problems": list(checked.problems), "rules": len(checked.rules)}


@router.post("/rulebook/try", auth=allowed(Action.WRITE_RULES), response={200: TryOut})
def try_text(request: HttpRequest, given: TryIn) -> dict[str, _WEB]:
    """Messages by a draft and by what is in force; nothing is recorded."""
    texts = pa.array(given.messages, pa.string())
    tried = traffic.client().try_rulebook(given.text, pa.record_batch({"text": texts}))
    return {
        "items": [
            {
                "draft": Verdict(draft["verdict"]).label,
                "in_force": Verdict(present["verdict"]).label,
                "rules": draft["rules"],
            }
            for draft, present in zip(tried.draft, tried.present, strict=True)
        ]
    }


@router.post(
    "/rulebook/versions/{uuid:id}/replay",
    auth=allowed(Action.WRITE_RULES, Action.APPROVE_RULES),
    response={202: RunOut},
)
def replay(request: HttpRequest, id: UUID, given: ReplayIn) -> Status[Run]:
    """Decide past traffic anew by this version; look at `/runs/<id>` for how far it is and what it found."""
    draft, now = _found(id), utc_now()
    until = now.replace(second=0, microsecond=0) + timedelta(minutes=1)  # the same for a request that comes twice
    asked = {
        "since": format_utc(until - timedelta(days=given.days)),
        "until": format_utc(until),
        "days": given.days,
        "against": given.against,
        "content": draft.content,
    }
    run = runs.ask(RunKind.REPLAY_RULES, subject=draft.ref, asked=asked, now=now, by=_by(request), actor=actor(request))
    return Status(202, run)


@router.get("/runs", auth=allowed(Action.SEE_RULES, Action.SEE_MODEL), response={200: RunList})
def list_runs(
    request: HttpRequest, kind: Literal["replay_rules", "learn", "compare", "drift"] | None = None
) -> dict[str, _WEB]:
    """Newest first, at most 100."""
    listed = Run.objects.filter(kind__in=_kinds(request, Action.SEE_RULES, Action.SEE_MODEL))
    return {"items": list((listed.filter(kind=kind) if kind else listed)[:100])}


@router.get("/runs/{uuid:id}", auth=allowed(Action.SEE_RULES, Action.SEE_MODEL), response={200: RunOut})
def run(request: HttpRequest, id: UUID) -> Run:
    """A long computation: a replay, learning, a comparison, a measure of drift."""
    return _run(request, id, Action.SEE_RULES, Action.SEE_MODEL)


@router.get("/runs/{uuid:id}/messages", auth=allowed(Action.SEE_RULES), response={200: ChangedPage})
def replayed_messages(
    request: HttpRequest,
    id: UUID,
    side: Literal["blocked", "freed"] = "blocked",
    cursor: str | None = Param(None, max_length=500),
    limit: int = Param(50, ge=1, le=200),
) -> dict[str, _WEB]:
    """What a replay would newly stop, or newly let pass."""
    start = (from_cursor(cursor) or {}).get("start", 0)
    start = start if isinstance(start, int) and 0 <= start < 1_000_000 else 0
    found_run = _run(request, id, Action.SEE_RULES, None)
    rights = request.rights  # type: ignore[attr-defined]  # set by the gate
    rows, total = queries.changed_messages(found_run, side, rights, start=start, count=limit)
    return {
        "items": [_changed(row) for row in rows],
        "total": total,
        "next": to_cursor({"start": start + limit}) if start + limit < total else None,
    }


@router.post(
    "/runs/{uuid:id}/cancel",
    auth=allowed(Action.WRITE_RULES, Action.APPROVE_RULES, Action.MANAGE_MODEL, Action.APPROVE_MODEL),
    response={200: RunOut},
)
def cancel(request: HttpRequest, id: UUID) -> Run:
    rights = request.rights  # type: ignore[attr-defined]  # set by the gate
    rules_right = next((a for a in (Action.WRITE_RULES, Action.APPROVE_RULES) if rights.may(a)), None)
    model_right = next((a for a in (Action.MANAGE_MODEL, Action.APPROVE_MODEL) if rights.may(a)), None)
    run_ = _run(request, id, rules_right, model_right)
    return runs.cancel(run_.pk, by=_by(request), now=utc_now(), actor=actor(request))


def _figures(request: HttpRequest, rows: list[queries.RuleRow], days: int) -> queries.Figures:
    now = utc_now()
    rights = request.rights  # type: ignore[attr-defined]  # set by the gate
    return queries.rule_figures(rows, rights, since=now - timedelta(days=days), until=now)


def _rule(row: queries.RuleRow) -> dict[str, _WEB]:
    return {**{name: getattr(row, name) for name in RuleOut.model_fields}, "action": row.action.label}


def _changed(row: queries.ChangedMessage) -> dict[str, _WEB]:
    return {
        **{name: getattr(row, name) for name in ("id", "at", "rules", "old_rules", "access_code", "text", "not_kept")},
        "old": row.old.label,
        "new": row.new.label,
        "category": row.category.label,
    }


def _kinds(request: HttpRequest, for_rules: Action | None, for_model: Action | None) -> list[str]:
    """Kinds of run that the caller may see: replays with the one right, what is about models with the other."""
    rights = request.rights  # type: ignore[attr-defined]  # set by the gate
    kinds: list[str] = []
    if for_rules is not None and rights.may(for_rules):
        kinds.append(RunKind.REPLAY_RULES)
    if for_model is not None and rights.may(for_model):
        kinds += [RunKind.LEARN, RunKind.COMPARE, RunKind.DRIFT]
    return kinds


def _found(id: UUID) -> RulebookVersion:
    return found(RulebookVersion.objects.select_related("base"), "rulebook version", id)


def _run(request: HttpRequest, id: UUID, for_rules: Action | None, for_model: Action | None) -> Run:
    return found(Run.objects.filter(kind__in=_kinds(request, for_rules, for_model)), "run", id)


def _by(request: HttpRequest) -> UUID:
    id: UUID = request.token.account.pk  # type: ignore[attr-defined]  # set by the gate
    return id
