"""Codes of the ledger as a person reads them: reasons in plain words, what is kept, what was done to a message.

Verdicts and categories have their words beside their icons (`console/templatetags/ui.py`), for templates.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from mingbai.kernel.verdicts import Reason

REASONS: dict[int, Promise] = {
    Reason.MODEL_LEGITIMATE: _("The model takes it for legitimate"),
    Reason.MODEL_SPAM: _("The model's score passed the blocking threshold"),
    Reason.MODEL_DOUBTFUL: _("The model is in doubt: its score lies between the thresholds"),
    Reason.MODEL_SECOND_STAGE: _("A second, closer look decided"),
    Reason.RULE_KEYWORD: _("A rule's keyword is in it"),
    Reason.RULE_REGEX: _("A rule's pattern matches"),
    Reason.RULE_URL: _("It has a link that a rule names"),
    Reason.RULE_NUMBER: _("It has a number or contact that a rule names"),
    Reason.RULE_CONDITION: _("A rule's conditions hold"),
    Reason.RULE_ALLOW: _("An allow rule lets it pass"),
    Reason.RULE_FREED: _("A person freed exactly this message"),
    Reason.URL_LOOKALIKE: _("Its link imitates a protected brand"),
    Reason.URL_SHORTENER: _("Its link hides behind a shortener"),
    Reason.URL_RAW_ADDRESS: _("Its link is a bare network address"),
    Reason.URL_HIDDEN: _("Its link is written so that a filter misses it"),
    Reason.URL_NEW_HOST: _("Its link leads to a host not seen before"),
    Reason.CAMPAIGN_BURST: _("The same text came from many senders or went to many receivers"),
    Reason.EVASION: _("It is written to get past a filter"),
    Reason.PROTECTED_CODE: _("It is a verification code, which the model alone may not block"),
    Reason.UNSCREENED: _("It could not be screened, and so it passed"),
    Reason.TRUNCATED: _("It is over-long: only its first part was read"),
    Reason.UNREADABLE: _("It is binary or damaged: nobody can say what it says"),
    Reason.FIELD_ABSENT: _("A rule was not applied: the message does not bring the field that it looks at"),
}

# Where nothing can be shown, why. Keys are values of `ledger.Kept`.
KEPT: dict[str, Promise] = {
    "no_longer_kept": _("No longer kept: its time was over and the key is destroyed"),
    "never_kept": _("Never kept: not recorded, or kept for 0 days by setting"),
    "withheld": _("Withheld: the person asked for erasure"),
    "unreadable": _("Cannot be read: its key cannot be opened, or its bytes were changed"),
}

# Why exactly this message cannot be freed. Keys are stored with appeals that were upheld without an exception.
WHY_NOT_FREED: dict[str, Promise] = {
    "passed": _("This message was let pass: there is nothing to free."),
    "text_gone": _("Its text is no longer kept, so exactly this message cannot be recognised again."),
    "sender_gone": _("Its sender is no longer kept, so exactly this message cannot be recognised again."),
    "entry_gone": _("Its decision is no longer in the record, so exactly this message cannot be recognised again."),
    "freed_already": _("This message is freed already."),
}

# Entries of the control stream about one message.
DONE: dict[str, Promise] = {
    "message.unmasked": _("Looked at unmasked"),
    "message.freed": _("Freed by a person"),
    "exception.ended": _("Exception ended early"),
    "exception.expired": _("Exception expired"),
    "message.released": _("Released"),
    "message.refused": _("Refused"),
    "message.held": _("Held"),
    "message.decided": _("Decided at the review desk"),
    "message.reviewed": _("Decided at the review desk"),
    "review.decided": _("Decided at the review desk"),
    "review.undone": _("Decision undone"),
    "appeal.opened": _("Appeal made"),
    "appeal.answered": _("Appeal answered"),
    "evidence.exported": _("Evidence exported"),
}


def reason_word(code: int) -> str:
    """A reason in plain words. A code that a newer version wrote is shown as it is."""
    words = REASONS.get(code)
    return str(words) if words is not None else str(_("Reason %(code)s")) % {"code": code}


def reason_words(codes: Iterable[int]) -> list[str]:
    return [reason_word(code) for code in codes]


def reason_label(code: int) -> str:
    """The dotted name, as files and the API have it."""
    try:
        return Reason(code).label
    except ValueError:
        return str(code)


def done_word(kind: str) -> str:
    """What an entry about a message says. A kind without words is shown as it is."""
    words = DONE.get(kind)
    return str(words) if words is not None else kind
