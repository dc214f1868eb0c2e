"""Tables of messaging, one module a subject. Only `services` writes them."""

from mingbai.contexts.messaging.models.traffic import Freed, SavedSearch

__all__ = ["Freed", "SavedSearch"]
