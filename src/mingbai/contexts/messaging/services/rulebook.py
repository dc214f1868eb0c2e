"""What people do with the rulebook: write, submit, approve, put back. Each is one transaction with its entry.

A version comes into force in two steps: the row and its entry commit, then the text is published for the screener
(`connectors.policy_store`). A crash between them is mended by `publish_present`, which the worker repeats: what the
rows say is what holds. Whoever wrote a version never approves it.
"""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from mingbai.connectors import policy_store
from mingbai.connectors.screening_client import CheckedRulebook, RulebookProblem, ScreeningClient
from mingbai.contexts.audit import services as audit
from mingbai.contexts.messaging.models import RulebookState, RulebookTerm, RulebookVersion
from mingbai.kernel.errors import BadValue, MingbaiError

log = logging.getLogger(__name__)

MAX_TEXT = 2 << 20  # characters: twenty times what a rulebook of thousands of rules takes
MAX_WORDS = 500


class StaleEdit(MingbaiError):
    """Somebody else saved the draft since this person opened it."""

    code = "stale_edit"
    template = "revision: version {number} was opened at revision {opened} and is at {saved} now: nothing was saved"


class WrongState(MingbaiError):
    """A version cannot take this step from where it is."""

    code = "wrong_state"
    template = "state: version {number} is {state}, expected {expected}"


class SamePerson(MingbaiError):
    """Two people are needed, and this one has had the first part."""

    code = "same_person"
    template = "approved by: whoever wrote or submitted {what} cannot approve it, expected a second person"


class BaseIsOld(MingbaiError):
    """Another version came into force since this one was begun; what that one changed would be lost unseen."""

    code = "base_is_old"
    template = "base: version {number} was made from version {base}, and version {present} is in force now"


class HasProblems(MingbaiError):
    """A rulebook is not valid. `problems` has each with its line."""

    code = "rulebook_has_problems"
    template = "text: version {number} has {count} to mend, expected a valid rulebook"

    @property
    def problems(self) -> tuple[RulebookProblem, ...]:
        found = self.data["problems"]
        assert isinstance(found, tuple)
        return found


# ---- the first version


def ensure_first(*, now: datetime) -> RulebookVersion:
    """The version in force; makes version 1 of what is shipped on a system that has none."""
    present = RulebookVersion.objects.filter(state=RulebookState.IN_FORCE).first()
    if present is not None:
        return present
    data = _data()
    shipped = policy_store.shipped_rulebook_text()
    found = policy_store.rulebook_text(data, policy_store.current(data))
    with transaction.atomic():
        present = RulebookVersion.objects.select_for_update().filter(state=RulebookState.IN_FORCE).first()
        if present is not None:
            return present
        first = _new(1, shipped, now, comment="", state=RulebookState.SUPERSEDED)
        _begin(first, RulebookTerm.How.SHIPPED, now, by=None)
        audit.append(
            "rulebook.shipped", actor="system", subject=first.ref, data={"number": 1, "content": first.content}, now=now
        )
        if found != shipped:  # the database is new, the data directory is not
            second = _new(2, found, now, comment="", state=RulebookState.SUPERSEDED, base=first)
            _begin(second, RulebookTerm.How.FOUND, now, by=None)
            audit.append(
                "rulebook.found",
                actor="system",
                subject=second.ref,
                data={"number": 2, "content": second.content},
                now=now,
            )
            return second
        return first


def _new(
    number: int, text: str, now: datetime, *, comment: str, state: str, base: RulebookVersion | None = None
) -> RulebookVersion:
    return RulebookVersion.objects.create(
        number=number,
        state=state,
        text=text,
        comment=comment,
        base=base,
        content=policy_store.rulebook_version(text),
        created_at=now,
        changed_at=now,
    )


# ---- drafts


def begin_draft(
    *, by: UUID, now: datetime, start_from: RulebookVersion | None = None, actor: str = ""
) -> RulebookVersion:
    """A new draft with the text of a version (left out: the one in force). Its base is the version in force."""
    present = ensure_first(now=now)
    with transaction.atomic():
        _lock()
        draft = _new(
            _next_number(), (start_from or present).text, now, comment="", state=RulebookState.DRAFT, base=present
        )
        draft.author = by
        draft.editors = [str(by)]
        draft.save(update_fields=("author", "editors"))
        audit.append(
            "rulebook.drafted",
            actor=actor or _ref(by),
            subject=draft.ref,
            data={"number": draft.number, "base": present.number, "from": (start_from or present).number},
            now=now,
        )
    return draft


def save_draft(
    id: UUID, text: str, *, comment: str, revision: int, by: UUID, now: datetime, actor: str = ""
) -> RulebookVersion:
    """Keep a new text. It need not be valid: work is never lost for an error in it.

    revision: what the person had opened. Raises StaleEdit, WrongState or BadValue.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if len(text) > MAX_TEXT:
        raise BadValue(field="text", value=f"{len(text)} characters", expected=f"at most {MAX_TEXT} characters")
    if "\x00" in text:
        raise BadValue(field="text", value="a NUL character", expected="text")
    _check_words("comment", comment)
    with transaction.atomic():
        draft = _locked(id)
        _expect(draft, RulebookState.DRAFT)
        if draft.revision != revision:
            raise StaleEdit(number=draft.number, opened=revision, saved=draft.revision)
        comment = comment.strip()
        if (text, comment) == (draft.text, draft.comment):
            return draft
        before = draft.content
        draft.text, draft.comment = text, comment
        draft.content = policy_store.rulebook_version(text)
        draft.revision += 1
        draft.changed_at = now
        if str(by) not in draft.editors:
            draft.editors = [*draft.editors, str(by)]
        draft.save()
        audit.append(
            "rulebook.saved",
            actor=actor or _ref(by),
            subject=draft.ref,
            data={"number": draft.number, "revision": draft.revision, "before": before, "content": draft.content},
            now=now,
        )
    return draft


def rebase_draft(id: UUID, *, revision: int, by: UUID, now: datetime, actor: str = "") -> RulebookVersion:
    """Say that the draft was compared with the version in force: that is its base from now on. The text stays."""
    with transaction.atomic():
        draft = _locked(id)
        _expect(draft, RulebookState.DRAFT)
        if draft.revision != revision:
            raise StaleEdit(number=draft.number, opened=revision, saved=draft.revision)
        present = ensure_first(now=now)
        if draft.base_id == present.pk:
            return draft
        draft.base = present
        draft.revision += 1
        draft.changed_at = now
        if str(by) not in draft.editors:
            draft.editors = [*draft.editors, str(by)]
        draft.save()
        audit.append(
            "rulebook.rebased",
            actor=actor or _ref(by),
            subject=draft.ref,
            data={"number": draft.number, "base": present.number},
            now=now,
        )
    return draft


def withdraw(id: UUID, *, by: UUID, now: datetime, actor: str = "") -> RulebookVersion:
    """A draft, or one that waits for approval, is given up. It stays in the history."""
    with transaction.atomic():
        draft = _locked(id)
        _expect(draft, RulebookState.DRAFT, RulebookState.SUBMITTED)
        draft.state = RulebookState.WITHDRAWN
        draft.changed_at = now
        draft.save(update_fields=("state", "changed_at"))
        audit.append(
            "rulebook.withdrawn", actor=actor or _ref(by), subject=draft.ref, data={"number": draft.number}, now=now
        )
    return draft


def reopen(id: UUID, *, by: UUID, now: datetime, actor: str = "") -> RulebookVersion:
    """A submitted version becomes a draft again, to be changed."""
    with transaction.atomic():
        draft = _locked(id)
        _expect(draft, RulebookState.SUBMITTED)
        draft.state = RulebookState.DRAFT
        draft.revision += 1
        draft.submitted_at = None
        draft.changed_at = now
        draft.save(update_fields=("state", "revision", "submitted_at", "changed_at"))
        audit.append(
            "rulebook.reopened", actor=actor or _ref(by), subject=draft.ref, data={"number": draft.number}, now=now
        )
    return draft


# ---- two people


def submit(
    id: UUID, *, revision: int, comment: str, by: UUID, now: datetime, client: ScreeningClient, actor: str = ""
) -> RulebookVersion:
    """Ask for approval. Raises HasProblems, BaseIsOld, StaleEdit, WrongState, BadValue or ScreenerUnavailable."""
    _check_words("comment", comment, least=3)
    draft = RulebookVersion.objects.get(pk=id)
    _checked(draft, client)
    with transaction.atomic():
        draft = _locked(id)
        _expect(draft, RulebookState.DRAFT)
        if draft.revision != revision:
            raise StaleEdit(number=draft.number, opened=revision, saved=draft.revision)
        _expect_base(draft, now)
        draft.state = RulebookState.SUBMITTED
        draft.comment = comment.strip()
        draft.submitted_by, draft.submitted_at, draft.changed_at = by, now, now
        draft.save()
        audit.append(
            "rulebook.submitted",
            actor=actor or _ref(by),
            subject=draft.ref,
            data={"number": draft.number, "content": draft.content, "comment": draft.comment},
            now=now,
        )
    return draft


def approve(
    id: UUID, *, by: UUID, now: datetime, client: ScreeningClient, words: str = "", content: str = "", actor: str = ""
) -> RulebookVersion:
    """Put a submitted version in force. content: what the approver read, so that nothing else is approved.

    Raises SamePerson for anybody who wrote any of it or submitted it; BaseIsOld, HasProblems, WrongState, BadValue,
    ScreenerUnavailable.
    """
    _check_words("words", words)
    version = RulebookVersion.objects.get(pk=id)
    _expect(version, RulebookState.SUBMITTED)
    if version.is_by(by):
        raise SamePerson(what=f"version {version.number}")
    _checked(version, client)
    with transaction.atomic():
        version = _locked(id)
        _expect(version, RulebookState.SUBMITTED)
        if version.is_by(by):
            raise SamePerson(what=f"version {version.number}")
        if content and content != version.content:
            raise StaleEdit(number=version.number, opened=content[:12], saved=version.content[:12])
        present = _expect_base(version, now)
        version.decided_by, version.decided_at, version.decision = by, now, words.strip()
        version.save(update_fields=("decided_by", "decided_at", "decision"))
        _begin(version, RulebookTerm.How.APPROVED, now, by=by, reason=words)
        audit.append(
            "rulebook.approved",
            actor=actor or _ref(by),
            subject=version.ref,
            data={
                "number": version.number,
                "content": version.content,
                "instead_of": present.number,
                "author": _ref(version.author) if version.author else "system",
                "words": words.strip(),
            },
            now=now,
        )
        transaction.on_commit(publish_present, robust=True)
    return version


def reject(id: UUID, *, words: str, by: UUID, now: datetime, actor: str = "") -> RulebookVersion:
    """Refuse a submitted version, with a reason for its author."""
    _check_words("words", words, least=3)
    with transaction.atomic():
        version = _locked(id)
        _expect(version, RulebookState.SUBMITTED)
        if version.is_by(by):
            raise SamePerson(what=f"version {version.number}")
        version.state = RulebookState.REJECTED
        version.decided_by, version.decided_at, version.decision = by, now, words.strip()
        version.changed_at = now
        version.save()
        audit.append(
            "rulebook.rejected",
            actor=actor or _ref(by),
            subject=version.ref,
            data={"number": version.number, "words": version.decision},
            now=now,
        )
    return version


def roll_back(id: UUID, *, by: UUID, now: datetime, reason: str = "", actor: str = "") -> RulebookVersion:
    """Put a version back that was in force before. Two people have approved it once; in trouble one is enough."""
    _check_words("reason", reason)
    with transaction.atomic():
        present = ensure_first(now=now)
        version = _locked(id)
        if version.pk == present.pk or not version.terms.exists():
            raise WrongState(number=version.number, state=version.state, expected="one that was in force before")
        _begin(version, RulebookTerm.How.ROLLED_BACK, now, by=by, reason=reason)
        audit.append(
            "rulebook.rolled_back",
            actor=actor or _ref(by),
            subject=version.ref,
            data={
                "number": version.number,
                "content": version.content,
                "instead_of": present.number,
                "reason": reason.strip(),
            },
            now=now,
        )
        transaction.on_commit(publish_present, robust=True)
    return version


def publish_present() -> bool:
    """Make the policy store hold what the rows say. True if it had to be changed. Raises OSError or PolicyUnusable."""
    data = _data()
    is_changed = False
    done = None
    while True:
        term = RulebookTerm.objects.select_related("version").first()
        if term is None or term.pk == done:  # nobody came between reading and publishing
            return is_changed
        current = policy_store.current(data)
        if policy_store.rulebook_text(data, current) != term.version.text:
            by = _ref(term.by) if term.by else "system"
            policy_store.publish(data, now=term.at, by=by, rulebook=term.version.text)
            is_changed = True
        done = term.pk


# ---- within


def _data() -> Path:
    data: Path = settings.MINGBAI.data
    return data


def _ref(account: UUID) -> str:
    return f"account:{account}"


def _lock() -> None:
    """One at a time: version 1 is always there, and its row is the lock (on SQLite the transaction itself is)."""
    RulebookVersion.objects.select_for_update().get(number=1)


def _next_number() -> int:
    last: int = RulebookVersion.objects.aggregate(last=Max("number"))["last"]
    return last + 1


def _locked(id: UUID) -> RulebookVersion:
    _lock()
    return RulebookVersion.objects.select_for_update().get(pk=id)


def _expect(version: RulebookVersion, *states: RulebookState) -> None:
    if version.state not in states:
        raise WrongState(number=version.number, state=version.state, expected=" or ".join(states))


def _expect_base(version: RulebookVersion, now: datetime) -> RulebookVersion:
    present = ensure_first(now=now)
    if version.base_id != present.pk:
        base = version.base.number if version.base else None
        raise BaseIsOld(number=version.number, base=base, present=present.number)
    return present


def _checked(version: RulebookVersion, client: ScreeningClient) -> CheckedRulebook:
    found = client.check_rulebook(version.text)
    if not found.is_valid:
        raise HasProblems(number=version.number, count=len(found.problems), problems=tuple(found.problems))
    return found


def _begin(
    version: RulebookVersion, how: RulebookTerm.How, now: datetime, *, by: UUID | None, reason: str = ""
) -> None:
    """The version is in force from now on, and the one before is not."""
    RulebookVersion.objects.filter(state=RulebookState.IN_FORCE).update(state=RulebookState.SUPERSEDED)
    version.state = RulebookState.IN_FORCE
    version.save(update_fields=("state",))
    last = RulebookTerm.objects.aggregate(last=Max("seq"))["last"] or 0
    RulebookTerm.objects.create(seq=last + 1, version=version, how=how, by=by, at=now, reason=reason.strip())


def _check_words(field: str, value: str, *, least: int = 0) -> None:
    if not least <= len(value.strip()) <= MAX_WORDS:
        raise BadValue(field=field, value=value.strip()[:80], expected=f"{least} to {MAX_WORDS} characters")
