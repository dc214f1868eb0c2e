"""Accounts and their first password."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from mingbai.contexts.audit import services as audit
from mingbai.contexts.people.choices import Role
from mingbai.contexts.people.models import Account, Assignment, Invitation, Unit
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.msisdn import Msisdn

INVITATION_HOURS = 24


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
    account.number = Msisdn.parse(number).e164 if number else ""
    account.set_unusable_password()
    _validate(account)
    with transaction.atomic():
        account.save(force_insert=True)
        audit.append("account.created", actor=actor, subject=account.ref, data={"username": account.username}, now=now)
    return account


def _validate(account: Account) -> None:
    try:
        account.full_clean(exclude=("password",))
    except ValidationError as error:
        for field, messages in error.message_dict.items():
            value = getattr(account, field, "")
            raise BadValue(field=field, value=value, expected=" ".join(messages)) from error


def assign_role(account: Account, role: str, *, actor: str, now: datetime, unit: Unit | None = None) -> Assignment:
    """Give a role, for the whole operator or one unit. Raises BadValue where the role needs a unit of another kind."""
    from mingbai.contexts.people.policy import widest_scope

    if role not in Role.values:
        raise BadValue(field="role", value=role, expected=f"one of {', '.join(Role.values)}")
    widest = widest_scope(role)
    if widest == "partner" and (unit is None or unit.kind != "partner"):
        raise BadValue(field="unit", value=unit and unit.code, expected=f"a partner: {role} is limited to one")
    if widest == "branch" and (unit is None or unit.kind == "partner"):
        raise BadValue(
            field="unit", value=unit and unit.code, expected=f"a province or branch: {role} is limited to one"
        )
    if widest == "own" and not account.number:
        raise BadValue(field="number", value="", expected=f"the subscriber's number: {role} reaches only that")
    with transaction.atomic():
        assignment, is_new = Assignment.objects.get_or_create(account=account, team=None, role=role, unit=unit)
        if is_new:
            data = {"role": role, "unit": unit.code if unit else None}
            audit.append("role.assigned", actor=actor, subject=account.ref, data=data, now=now)
    return assignment


def invite(account: Account, *, actor: str, now: datetime, hours: int = INVITATION_HOURS) -> str:
    """A secret for a one-time link; older links of the account stop working. Whoever has it sets the password."""
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
    holders = Account.objects.filter(is_active=True, assignments__role=Role.ADMINISTRATOR)
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
