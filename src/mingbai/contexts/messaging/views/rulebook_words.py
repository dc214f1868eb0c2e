"""What the rulebook's codes are called on its pages, and what the editor proposes."""

from __future__ import annotations

from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

# Values of `engines.screening.rulebook_types.RuleCategory`, which pages do not load: the engine is not theirs.
CATEGORIES: dict[str, Promise] = {
    "fraud": _("Fraud"),
    "illegal_trade": _("Illegal trade"),
    "spam": _("Spam"),
    "brand_protection": _("Brand protection"),
    "number_protection": _("Number protection"),
    "delivery": _("Delivery"),
}
ACTIONS = ("allow", "flag", "hold", "block")
MESSAGE_CATEGORIES = ("personal", "notification", "advertising", "fraud", "illegal_trade")

PERIODS: dict[int, Promise] = {1: _("24 hours"), 7: _("7 days"), 30: _("30 days"), 150: _("150 days")}

# Fields of a rule, as docs/reference/rulebook.md gives them: what the editor proposes at the start of a line.
FIELDS: dict[str, tuple[str, Promise]] = {
    "id": ('""', _("Name of the rule: a-z 0-9 . _ -")),
    "category": ('""', _("What it protects from")),
    "action": ('""', _("allow, flag, hold or block")),
    "priority": ("0", _("-1000 to 1000; the highest decides")),
    "owner": ('""', _("Who answers for it")),
    "reason": ('""', _("Why it is there, in plain words")),
    "enabled": ("true", _("false switches it off")),
    "valid_from": ("", _("First day or moment")),
    "valid_to": ("", _("Last day, or the moment it ends")),
    "keywords": ('[""]', _("One of them is in the text")),
    "keywords_all": ('[""]', _("Every one of them is in the text")),
    "keywords_none": ('[""]', _("None of them is in the text")),
    "normalised": ("false", _("false: keywords as written")),
    "regexes": ("['']", _("One of them matches")),
    "on": ('""', _("original or normalised text")),
    "case": ("true", _("Upper and lower case differ")),
    "domains": ('[""]', _("A link's host is one of them or below")),
    "urls": ('[""]', _("A link looks like one of them; * is anything")),
    "numbers": ('[""]', _("A number or contact in the text")),
    "senders": ('[""]', _("The sender is one of them")),
    "access_codes": ('[""]', _("The access code begins with one of them")),
    "signatures": ('[""]', _("The signature in 【】 is one of them")),
    "imsis": ('[""]', _("Between persons: the sender's IMSI is one of them")),
    "mscs": ('[""]', _("Between persons: the MSC is one of them")),
    "cells": ('[""]', _("Between persons: the cell is one of them")),
    "devices": ('[""]', _("Between persons: the device is one of them, by IMEI or type")),
    "hours": ('["22:00-08:00"]', _("Local time of the message")),
    "message_category": ('[""]', _("What the model calls the message")),
    "score_min": ("0.5", _("The model's score is not below")),
    "score_max": ("0.5", _("The model's score is not above")),
}
HEAD_FIELDS = ("name", "version", "time_zone")


def category_options() -> list[tuple[str, str]]:
    return [(code, str(word)) for code, word in CATEGORIES.items()]


def period_of(given: str | None) -> int:
    """Days of a period that a page offers; 7 for anything else."""
    return int(given) if given and given.isdecimal() and len(given) < 5 and int(given) in PERIODS else 7


def completions(rule_ids: list[str]) -> dict[str, Any]:  # Any: JSON for editor.js
    """What the editor proposes, in the page's language."""
    values = {
        "category": list(CATEGORIES),
        "action": list(ACTIONS),
        "message_category": list(MESSAGE_CATEGORIES),
        "on": ["original", "normalised"],
        "id": rule_ids,
        "enabled": ["true", "false"],
        "normalised": ["true", "false"],
        "case": ["true", "false"],
    }
    words = {
        **{f"category.{code}": str(word) for code, word in CATEGORIES.items()},
        **{
            f"action.{code}": word
            for code, word in zip(ACTIONS, (_now("Allow"), _now("Flag"), _now("Hold"), _now("Block")), strict=True)
        },
    }
    return {
        "fields": [{"name": name, "value": value, "help": str(words)} for name, (value, words) in FIELDS.items()],
        "head": list(HEAD_FIELDS),
        "values": values,
        "words": words,
        "says": {
            "line": _now("line %(line)s"),
            "checking": _now("Checking…"),
            "valid": _now("Valid: %(count)s rules"),
            "problems": _now("%(count)s to mend"),
            "unavailable": _now("The screener does not answer: the draft can be saved, but not checked now."),
            "expected": _now("expected %(expected)s"),
            "got": _now("got %(value)s"),
            "proposals": _now("Proposals"),
        },
    }
