"""Sessions and second factors of other people: what an administrator ends when a laptop or a telephone is lost."""

from __future__ import annotations

from datetime import datetime

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db import transaction

from mingbai.contexts.audit import services as audit
from mingbai.contexts.people.models import Account, Invitation
from mingbai.contexts.people.services.roles import OwnRights, check_two_people


def end_session(account: Account, session_id: int, *, actor: str, now: datetime) -> bool:
    """End one session. False if the account has no such session (any more)."""
    session = UserSession.objects.filter(user_id=account.pk, pk=session_id).first()
    if session is None:
        return False
    with transaction.atomic():
        session.end()
        audit.append("session.ended", actor=actor, subject=account.ref, data={"address": session.ip}, now=now)
    return True


def sign_out_everywhere(account: Account, *, actor: str, now: datetime) -> int:
    """End every session of the account, and its one-time links. Returns how many sessions."""
    with transaction.atomic():
        ended = end_sessions(account)
        Invitation.objects.filter(account=account, used_at=None).delete()
        audit.append("account.signed_out", actor=actor, subject=account.ref, data={"sessions": ended}, now=now)
    return ended


def reset_second_factors(account: Account, *, actor: str, now: datetime) -> int:
    """Take all second factors away and end all sessions: the person sets up new ones at the next sign-in.

    Raises OwnRights: one's own are changed on one's own page, which asks for the password again; TwoPeople where the
    same person has just made a password link for the account.
    """
    if actor == account.ref:
        raise OwnRights()
    if account.has_usable_password():
        check_two_people(account, "account.invited", actor=actor, now=now)
    with transaction.atomic():
        found = list(Authenticator.objects.filter(user_id=account.pk))
        types = sorted({str(authenticator.type) for authenticator in found})
        for authenticator in found:
            authenticator.delete()
        ended = end_sessions(account)
        data = {"types": types, "sessions": ended}
        audit.append("factors.reset", actor=actor, subject=account.ref, data=data, now=now)
    return len(found)


def end_sessions(account: Account) -> int:
    """Without an entry: for a change that has its own."""
    sessions = list(UserSession.objects.filter(user_id=account.pk))
    for session in sessions:
        session.end()
    return len(sessions)
