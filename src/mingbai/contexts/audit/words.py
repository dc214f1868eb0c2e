"""What the rooms below say, in the language of the page."""

from __future__ import annotations

from django.utils.translation import get_language
from django.utils.translation import gettext as _

from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.translations import message_again, message_of, translated


def said(error: MingbaiError) -> str:
    """An error of the house, as the person on the page reads it.

    A wrong value without the field's name, which is a code: it stands beside its field, or names itself.
    """
    if type(error) is not BadValue:
        return message_of(error, _language())
    value = error.data.get("value")
    return _("Not accepted: %(value)s. Expected: %(expected)s") % {
        "value": translated(str(value), _language(), table="values") if value not in (None, "") else "–",
        "expected": said_so(str(error.data.get("expected", ""))),
    }


def said_so(sentence: str) -> str:
    """One of the house's sentences (`expected`, `what`, …)."""
    return translated(sentence, _language())


def said_again(message: str) -> str:
    """The message of an error that was kept as text."""
    return message_again(message, _language())


def _language() -> str:
    return "zh" if (get_language() or "").startswith("zh") else "en"
