"""What the rooms below say, in the language of the page."""

from __future__ import annotations

from django.utils.translation import get_language

from mingbai.kernel.errors import MingbaiError
from mingbai.kernel.translations import message_of, translated


def said(error: MingbaiError) -> str:
    """An error of the house, as the person on the page reads."""
    return message_of(error, _language())


def said_so(sentence: str) -> str:
    """One of the house's sentences (`expected`, `what`, …)."""
    return translated(sentence, _language())


def _language() -> str:
    return "zh" if (get_language() or "").startswith("zh") else "en"
