"""Tokens: keys for programs. Each acts as its account, does less than it, and ends within a year."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction

from mingbai.contexts.audit import services as audit
from mingbai.contexts.people.models import Account, Token
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.queries import rights_of
from mingbai.kernel.clock import format_utc
from mingbai.kernel.errors import BadValue

PREFIX = "mb_"  # so that a scanner of source code knows one when it sees it
MOST_DAYS = 366
MOST_A_MINUTE = 60_000
_MOST_TOKENS = 50


def create_token(
    account: Account,
    *,
    name: str,
    scopes: Iterable[str],
    expires_at: datetime,
    actor: str,
    now: datetime,
    rate_per_minute: int = 600,
) -> tuple[Token, str]:
    """The token and its secret, which is given here once and kept nowhere.

    scopes: values of `Action`, each one that the account has. Raises BadValue naming the field.
    """
    name = name.strip()
    if not 1 <= len(name) <= 80:
        raise BadValue(field="name", value=name, expected="1 to 80 characters")
    own = {action.value for action in rights_of(account).actions}
    wanted = sorted(set(scopes))
    if not wanted:
        raise BadValue(field="scopes", value=wanted, expected="at least one right")
    for scope in wanted:
        if scope not in own:
            raise BadValue(field="scopes", value=scope, expected="rights that the account itself has")
    if not now < expires_at <= now + timedelta(days=MOST_DAYS):
        raise BadValue(field="expires_at", value=format_utc(expires_at), expected="a time within the next year")
    if not 1 <= rate_per_minute <= MOST_A_MINUTE:
        raise BadValue(field="rate_per_minute", value=rate_per_minute, expected=f"1 to {MOST_A_MINUTE}")
    if account.tokens.filter(revoked_at=None, expires_at__gt=now).count() >= _MOST_TOKENS:
        raise BadValue(field="account", value=account.username, expected=f"fewer than {_MOST_TOKENS} tokens in use")
    secret = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        token = Token.objects.create(
            account=account,
            name=name,
            prefix=secret[:9],
            token_hash=token_hash(secret),
            scopes=wanted,
            rate_per_minute=rate_per_minute,
            created_at=now,
            expires_at=expires_at,
        )
        data = {"token": str(token.pk), "name": name, "scopes": wanted, "expires_at": format_utc(expires_at)}
        audit.append("token.created", actor=actor, subject=account.ref, data=data, now=now)
    return token, secret


def revoke_token(token: Token, *, actor: str, now: datetime) -> None:
    """From now on it opens nothing. A second time changes nothing."""
    with transaction.atomic():
        if Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now):
            data = {"token": str(token.pk), "name": token.name}
            audit.append("token.revoked", actor=actor, subject=token.account.ref, data=data, now=now)
    token.refresh_from_db()


def token_hash(secret: str) -> bytes:
    """What is kept of a token. 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).digest()


def grantable(account: Account) -> list[Action]:
    """What a token of this account can be given."""
    own = rights_of(account).actions
    return [action for action in Action if action in own]
