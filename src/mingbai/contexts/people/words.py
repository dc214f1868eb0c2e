"""Actions and scopes in words, for the matrix, tokens and documentation."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from mingbai.contexts.people.policy import Action

ACTIONS: dict[Action, Promise] = {
    Action.SEE_OVERVIEW: _("See the overview"),
    Action.SEE_MESSAGES: _("Search and open decisions, masked"),
    Action.SEE_TEXT: _("Read messages as they were sent"),
    Action.UNMASK: _("See numbers and text in full, for a reason"),
    Action.EXPORT_MESSAGES: _("Export messages"),
    Action.EXPORT_EVIDENCE: _("Export signed evidence"),
    Action.SEE_CAMPAIGNS: _("See campaigns"),
    Action.DECIDE_CAMPAIGN: _("Decide a whole campaign"),
    Action.FREE_MESSAGE: _("Free a message that was wrongly stopped"),
    Action.APPEAL: _("Appeal against a decision"),
    Action.REVIEW: _("Decide at the review desk"),
    Action.LEAD_REVIEW: _("See and steer the review team"),
    Action.SEE_RULES: _("See the rulebook"),
    Action.WRITE_RULES: _("Write rules and submit them"),
    Action.APPROVE_RULES: _("Approve rules, roll back"),
    Action.SEE_MODEL: _("See the model and its measures"),
    Action.MANAGE_MODEL: _("Train models and propose a switch"),
    Action.APPROVE_MODEL: _("Approve the switch of a model"),
    Action.SEE_PEOPLE: _("See accounts and rights"),
    Action.MANAGE_PEOPLE: _("Make accounts, give and take rights"),
    Action.MANAGE_TOKENS: _("Make tokens of one's own"),
    Action.MANAGE_SYSTEM: _("Webhooks, storage, backup"),
    Action.SEE_AUDIT: _("Read the record of who did what"),
    Action.ASK_ABOUT_OWN_DATA: _("Ask about own data"),
    Action.ANSWER_DATA_REQUESTS: _("Answer requests about own data"),
    Action.SCREEN: _("Screen messages through the API"),
    Action.SEE_GATEWAY: _("See the SMS gateway"),
    Action.OPERATE_GATEWAY: _("Steer the SMS gateway: connections, dead letters, modes"),
    Action.MANAGE_GATEWAY: _("Change the SMS gateway's accounts and routes"),
}

SCOPES: dict[str, Promise] = {
    "all": _("all"),
    "branch": _("province or branch"),
    "partner": _("partner"),
    "own": _("own"),
}
