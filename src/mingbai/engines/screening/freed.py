"""A message that a person freed, as it is stored and published. What it does stands in `exceptions`, which loads the
engine; this does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mingbai.kernel.verdicts import Category

KEY_BYTES: Final = 32
RULE_PREFIX: Final = "freed:"  # no rule's id can have a colon


@dataclass(frozen=True, slots=True)
class FreedMessage:
    """One exception. key: 64 hex digits of `exceptions.key_of`; category: what the owner says that the message is."""

    id: str
    key: str
    owner: str
    expires_at: datetime  # aware; from then on the message is screened as any other
    category: Category = Category.NOTIFICATION

    @property
    def rule(self) -> str:
        """What a decision names among its rules when this exception freed it."""
        return RULE_PREFIX + self.id
