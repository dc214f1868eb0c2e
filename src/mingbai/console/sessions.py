"""Sessions in the database, read with each request: by a statement that is written once, unpacked once.

Nothing is remembered about a session but what its row said: a session that was ended is gone with the next request.
"""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.utils import timezone

from mingbai.contexts.audit import statements

_ROW = "SELECT session_data FROM django_session WHERE session_key = %s AND expire_date > %s"


class SessionStore(DatabaseStore):
    """One session."""

    def load(self) -> dict[str, Any]:  # Any: as Django has it
        found = statements.answer(_ROW, self.session_key, timezone.now())
        if not found:
            self._session_key = None
            return {}
        return deepcopy(_unpacked(found[0][0]))


@lru_cache(2000)
def _unpacked(text: str) -> dict[str, Any]:  # Any: as above
    """What the signed text says. Checking the signature takes longer than reading the row."""
    found: dict[str, Any] = SessionStore().decode(text)  # Any: as above
    return found
