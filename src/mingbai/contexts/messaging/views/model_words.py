"""What codes about models are called on the pages; and the shipped model's measures, as its card gives them."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

LANGUAGES: dict[str, Promise] = {"chinese": _("Chinese"), "english": _("English")}

# `engines.screening.profiles.Feature` and `Level`.
FEATURES: dict[str, Promise] = {
    "score_chinese": _("Score, Chinese"),
    "score_english": _("Score, English"),
    "language": _("Language"),
    "category": _("Category"),
    "length": _("Length"),
    "links": _("Links"),
    "evasion": _("Disguise"),
    "grams_chinese": _("Wording, Chinese"),
    "grams_english": _("Wording, English"),
}
LEVELS: dict[str, tuple[Promise, str, str]] = {
    "stable": (_("Stable"), "good", "check"),
    "watch": (_("Watch"), "warn", "eye"),
    "shifted": (_("Shifted"), "bad", "triangle-alert"),
    "too_few": (_("Too few messages"), "", "circle-question-mark"),
}
BINS: dict[str, Promise] = {
    "chinese": _("Chinese"),
    "english": _("English"),
    "none": _("No link"),
    "plain": _("Plain"),
    "hidden": _("Hidden"),
    "both": _("Plain and hidden"),
    "evasive": _("Disguised"),
    "other": _("Others"),
    "personal": _("Personal"),
    "notification": _("Notification"),
    "advertising": _("Advertising"),
    "fraud": _("Fraud"),
    "illegal_trade": _("Illegal trade"),
}

# `engines.screening.comparison.Regression`.
REGRESSIONS: dict[str, Promise] = {
    "more_false_blocks": _("More legitimate messages are blocked"),
    "less_recall": _("Fewer unwanted messages are stopped at its own threshold"),
    "less_recall_at_0_1_percent": _("Fewer unwanted messages are stopped at 0.1 % of the legitimate ones"),
    "lower_macro_f1": _("Categories are told apart less well (macro-F1)"),
    "more_gold_mistakes": _("More gold messages are answered wrongly"),
}

# docs/reference/model-card.md, "How good it is", cross-validated; a test compares.
SHIPPED_RECALL: tuple[tuple[str, float, float], ...] = (("chinese", 0.920, 0.966), ("english", 0.862, 0.951))
SHIPPED_MACRO_F1 = 0.929

RUN_PAGE = 50
