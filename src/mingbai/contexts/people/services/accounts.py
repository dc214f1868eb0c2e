"""Accounts and their first password."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from mingbai.contexts.audit import services as audit
from mingbai.contexts.people.choices import Role
from mingbai.contexts.people.models import Account, Invitation
from mingbai.contexts.people.services.roles import (
    administrators,
    check_not_own,
    check_two_people,
    keeps_an_administrator,
)
from mingbai.contexts.people.services.roles import (
    assign_role as assign_role,  # for who looks for it beside the accounts
)
from mingbai.contexts.people.services.sessions import end_sessions
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.masking import masked, masked_number
from mingbai.kernel.msisdn import Msisdn

INVITATION_HOURS = 24
ERASED = "erased-"  # what the name of an account begins with whose person asked for erasure


class InvitationInvalid(MingbaiError):
    """A one-time link that is unknown, used or expired."""

    code = "invitation_invalid"
    template = "this link is not valid: it was used, it has expired, or it was copied incompletely"


def create_account(
    username: str, *, actor: str, now: datetime, name: str = "", email: str = "", number: str = "", language: str = ""
) -> Account:
    """A new account without a password and without rights. Raises BadValue."""
    account = Account(
        username=username.strip(), name=name.strip(), email=email.strip(), language=language, created_at=now
    )
    account.number = Msisdn.parse(number, "number").e164 if number else ""
    account.set_unusable_password()
    _validate(account)
    with transaction.atomic():
        account.save(force_insert=True)
        audit.append(
            "account.created", actor=actor, subject=account.ref, data={"username": masked(account.username)}, now=now
        )
    return account


def _validate(account: Account) -> None:
    try:
        account.full_clean(exclude=("password",))
    except ValidationError as error:
        for field, messages in error.message_dict.items():
            value = getattr(account, field, "")
            raise BadValue(field=field, value=value, expected=" ".join(messages)) from error


def change_account(
    account: Account,
    *,
    actor: str,
    now: datetime,
    name: str | None = None,
    email: str | None = None,
    number: str | None = None,
    language: str | None = None,
    skills: Sequence[str] | None = None,
) -> Account:
    """Change what is given. Raises BadValue; OwnRights for one's own number, which says what "own" means."""
    before = _values(account)
    if name is not None:
        account.name = name.strip()
    if email is not None:
        account.email = email.strip()
    if number is not None:
        account.number = Msisdn.parse(number, "number").e164 if number.strip() else ""
    if language is not None:
        account.language = language
    if skills is not None:
        account.skills = sorted({skill.strip() for skill in skills if skill.strip()})
    after = _values(account)
    changed = sorted(field for field in after if before[field] != after[field])
    if "number" in changed:
        check_not_own(account, actor)
        if not account.number and account.assignments.filter(role=Role.SUBSCRIBER).exists():
            raise BadValue(field="number", value="", expected="a number, while the account is a subscriber's")
    _validate(account)
    if not changed:
        return account
    with transaction.atomic():
        account.save()
        data = {
            "before": {field: _told(account, field, before[field]) for field in changed},
            "after": {field: _told(account, field, after[field]) for field in changed},
        }
        audit.append("account.changed", actor=actor, subject=account.ref, data=data, now=now)
    return account


def _values(account: Account) -> dict[str, object]:
    return {
        "name": account.name,
        "email": account.email,
        "number": account.number,
        "language": account.language,
        "skills": list(account.skills),
    }


def _told(account: Account, field: str, value: object) -> object:
    """For an entry, which is kept for ever: no number, no address, and of a subscriber not the name either."""
    if field == "number":
        return masked_number(str(value))
    if field == "email":
        return f"…@{str(value).rpartition('@')[2]}" if value else ""
    if field == "name" and account.number:
        return "…" if value else ""
    return value


def deactivate(account: Account, *, actor: str, now: datetime) -> Account:
    """Out at once, in every browser and by every token. Raises OwnRights, LastAdministrator."""
    check_not_own(account, actor)
    with keeps_an_administrator():
        if Account.objects.filter(pk=account.pk, is_active=True).update(is_active=False):
            ended = end_sessions(account)
            Invitation.objects.filter(account=account, used_at=None).delete()
            audit.append("account.deactivated", actor=actor, subject=account.ref, data={"sessions": ended}, now=now)
    account.refresh_from_db()
    return account


def reactivate(account: Account, *, actor: str, now: datetime) -> Account:
    """May sign in again, with the rights as they stand. Raises OwnRights."""
    check_not_own(account, actor)
    with transaction.atomic():
        if (
            Account.objects.filter(pk=account.pk, is_active=False)
            .exclude(username__startswith=ERASED)
            .update(is_active=True)
        ):
            audit.append("account.reactivated", actor=actor, subject=account.ref, now=now)
    account.refresh_from_db()
    return account


def invite(account: Account, *, actor: str, now: datetime, hours: int = INVITATION_HOURS) -> str:
    """A secret for a one-time link; older links of the account stop working. Whoever has it sets the password.

    Raises TwoPeople where the same person has just reset the account's second factors.
    """
    if account.has_usable_password():
        check_two_people(account, "factors.reset", actor=actor, now=now)
    secret = secrets.token_urlsafe(32)
    with transaction.atomic():
        Invitation.objects.filter(account=account, used_at=None).delete()
        Invitation.objects.create(
            token_hash=_hash(secret), account=account, created_at=now, expires_at=now + timedelta(hours=hours)
        )
        audit.append("account.invited", actor=actor, subject=account.ref, data={"hours": hours}, now=now)
    return secret


def invited(secret: str, *, now: datetime) -> Account:
    """The account that a link is for. Raises InvitationInvalid."""
    found = Invitation.objects.filter(token_hash=_hash(secret)).select_related("account").first()
    if found is None or found.used_at is not None or found.expires_at <= now or not found.account.is_active:
        raise InvitationInvalid()
    return found.account


def accept_invitation(secret: str, password: str, *, now: datetime) -> Account:
    """Set the password and use the link up. Raises InvitationInvalid, or ValidationError for a weak password."""
    account = invited(secret, now=now)
    validate_password(password, account)
    with transaction.atomic():
        taken = Invitation.objects.filter(token_hash=_hash(secret), used_at=None).update(used_at=now)
        if not taken:
            raise InvitationInvalid()
        account.set_password(password)
        account.save(update_fields=("password",))
        audit.append("invitation.accepted", actor=account.ref, subject=account.ref, now=now)
    return account


def first_administrator(*, now: datetime, username: str = "admin", actor: str = "system") -> str | None:
    """On a system where no administrator can sign in: an invitation for one. None where one can."""
    holders = administrators()
    if any(account.has_usable_password() for account in holders):
        return None
    with transaction.atomic():
        account = holders.first() or Account.objects.filter(username=username).first()
        if account is None:
            account = create_account(username, actor=actor, now=now, name="")
        assign_role(account, Role.ADMINISTRATOR, actor=actor, now=now)
        return invite(account, actor=actor, now=now, hours=INVITATION_HOURS)


def accounts_by_id(ids: Iterable[str]) -> dict[str, Account]:
    return {str(account.pk): account for account in Account.objects.filter(pk__in=list(ids))}


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def remember_language(account: Account, language: str) -> None:
    """What the person chose, for mails and their next browser. Of no interest to an auditor: no entry."""
    Account.objects.filter(pk=account.pk).update(language=language)


def account_for_directory(username: str) -> Account | None:
    """The active account that an administrator made under the directory's name for this person."""
    if not username:
        return None
    return Account.objects.filter(username__iexact=username, is_active=True).first()
