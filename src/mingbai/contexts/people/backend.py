"""Who a session belongs to: allauth's backend, which reads the account of each request by a statement written once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from allauth.account.auth_backends import AuthenticationBackend

from mingbai.contexts.audit.statements import Table
from mingbai.contexts.people.models import Account

_ACCOUNTS = Table(Account)


class AccountBackend(AuthenticationBackend):  # type: ignore[misc]  # allauth has no types
    """Named in AUTHENTICATION_BACKENDS."""

    def get_user(self, user_id: Any) -> Account | None:  # Any: what the session says
        found = _ACCOUNTS.first("WHERE id = %s", user_id if isinstance(user_id, UUID) else UUID(str(user_id)))
        return found if found is not None and self.user_can_authenticate(found) else None
