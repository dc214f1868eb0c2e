"""Entries of the control stream in words, in the reader's language, made when they are shown (never stored as prose).

A kind has an icon and a sentence with places: %(actor)s, %(subject)s and the fields of its data. A kind that is not
here is shown by its name. Follow pretix (`logentry_display`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from mingbai.contexts.audit.queries import Entry
from mingbai.contexts.people.choices import RequestKind, Role
from mingbai.contexts.people.queries import names_of

# kind -> icon, sentence
SENTENCES: dict[str, tuple[str, Promise]] = {
    "account.created": ("user-plus", gettext_lazy("%(actor)s made the account %(subject)s")),
    "account.changed": ("pencil", gettext_lazy("%(actor)s changed %(changed)s of %(subject)s")),
    "account.invited": ("mail", gettext_lazy("%(actor)s made a one-time link for %(subject)s")),
    "account.deactivated": ("user-x", gettext_lazy("%(actor)s deactivated %(subject)s")),
    "account.reactivated": ("user", gettext_lazy("%(actor)s reactivated %(subject)s")),
    "account.signed_out": ("log-out", gettext_lazy("%(actor)s signed %(subject)s out everywhere")),
    "invitation.accepted": ("key-round", gettext_lazy("%(subject)s set a password by the one-time link")),
    "password.changed": ("key-round", gettext_lazy("%(subject)s changed the password")),
    "factor.added": ("shield-check", gettext_lazy("%(subject)s added a second factor (%(type)s)")),
    "factor.removed": ("shield-x", gettext_lazy("%(subject)s removed a second factor (%(type)s)")),
    "factors.reset": ("shield-alert", gettext_lazy("%(actor)s reset the second factors of %(subject)s")),
    "session.opened": ("log-in", gettext_lazy("%(subject)s signed in from %(address)s")),
    "session.closed": ("log-out", gettext_lazy("%(subject)s signed out")),
    "session.ended": ("log-out", gettext_lazy("%(actor)s ended a session of %(subject)s")),
    "session.refused": ("ban", gettext_lazy("A sign-in from %(address)s was refused")),
    "role.assigned": ("award", gettext_lazy("%(actor)s gave %(subject)s the role %(role)s (%(unit)s)")),
    "role.removed": ("minus", gettext_lazy("%(actor)s took the role %(role)s (%(unit)s) from %(subject)s")),
    "team.created": ("users", gettext_lazy("%(actor)s made the team %(name)s")),
    "team.changed": ("users", gettext_lazy("%(actor)s renamed the team %(code)s")),
    "team.deleted": ("users", gettext_lazy("%(actor)s deleted the team %(name)s")),
    "team.joined": ("user-plus", gettext_lazy("%(actor)s put %(subject)s into the team %(name)s")),
    "team.left": ("user-x", gettext_lazy("%(actor)s took %(subject)s out of the team %(name)s")),
    "unit.created": ("building-2", gettext_lazy("%(actor)s made the unit %(code)s")),
    "unit.changed": ("building-2", gettext_lazy("%(actor)s changed the %(subject)s")),
    "unit.deleted": ("building-2", gettext_lazy("%(actor)s deleted the unit %(code)s")),
    "token.created": ("key-round", gettext_lazy("%(actor)s made the token %(name)s for %(subject)s")),
    "token.revoked": ("key-round", gettext_lazy("%(actor)s revoked the token %(name)s of %(subject)s")),
    "data_request.opened": ("shield-user", gettext_lazy("%(subject)s asked about own data: %(kind)s")),
    "data_request.answered": ("shield-user", gettext_lazy("%(actor)s answered the request of %(subject)s: %(kind)s")),
    "data_request.refused": ("shield-x", gettext_lazy("%(actor)s refused the request of %(subject)s: %(kind)s")),
    "data_request.erased": ("trash-2", gettext_lazy("%(actor)s erased the data of %(subject)s")),
    "data_request.fetched": ("download", gettext_lazy("%(actor)s fetched the answer: %(kind)s")),
    "data_request.expired": ("hourglass", gettext_lazy("The answer to %(subject)s expired: %(kind)s")),
    "data_request.due_soon": ("hourglass", gettext_lazy("The request of %(subject)s is due soon: %(kind)s")),
    "data_request.overdue": ("octagon-alert", gettext_lazy("The request of %(subject)s is overdue: %(kind)s")),
    "head.signed": ("badge-check", gettext_lazy("The head of this record was signed")),
    "heads.crossed": ("link", gettext_lazy("The heads of the ledger's streams were written down here")),
    "evidence.exported": ("file-down", gettext_lazy("%(actor)s exported %(count)s entries as evidence")),
    "audit.exported": ("file-down", gettext_lazy("%(actor)s exported %(count)s entries")),
    "audit.verified": ("scan-search", gettext_lazy("%(actor)s verified this record: %(result)s")),
    "webhook.created": ("webhook", gettext_lazy("%(actor)s made the webhook %(name)s")),
    "webhook.changed": ("webhook", gettext_lazy("%(actor)s changed the webhook %(name)s")),
    "webhook.deleted": ("webhook", gettext_lazy("%(actor)s deleted the webhook %(name)s")),
    "webhook.gave_up": ("webhook", gettext_lazy("A delivery to the webhook %(name)s was given up")),
    "webhook.resent": ("webhook", gettext_lazy("%(actor)s sent a delivery again to the webhook %(name)s")),
    # of the contexts above: words about their entries, nothing of their code
    "message.unmasked": ("eye", gettext_lazy("%(actor)s looked at %(fields)s of a message: %(reason)s")),
    "message.freed": ("circle-check", gettext_lazy("%(actor)s freed a message")),
    "message.reviewed": ("gavel", gettext_lazy("%(actor)s decided a message")),
    "message.released": ("send", gettext_lazy("A held message was released")),
    "message.refused": ("ban", gettext_lazy("A held message was refused")),
    "messages.released": ("send", gettext_lazy("Held messages of a campaign were released")),
    "messages.refused": ("ban", gettext_lazy("Held messages of a campaign were refused")),
    "messages.held": ("circle-pause", gettext_lazy("Messages of a campaign are held again")),
    "messages.exported": ("file-down", gettext_lazy("%(actor)s exported messages")),
    "messages.searched": ("search", gettext_lazy("%(actor)s searched for a number or for words")),
    "search.saved": ("bookmark", gettext_lazy("%(actor)s saved a search")),
    "search.deleted": ("bookmark", gettext_lazy("%(actor)s deleted a saved search")),
    "exception.ended": ("undo-2", gettext_lazy("%(actor)s ended an exception")),
    "exception.expired": ("hourglass", gettext_lazy("An exception expired")),
    "appeal.opened": ("scale", gettext_lazy("%(actor)s appealed against a decision")),
    "appeal.answered": ("scale", gettext_lazy("%(actor)s answered an appeal")),
    "review.undone": ("undo-2", gettext_lazy("%(actor)s undid a decision")),
    "review.rewound": (
        "undo-2",
        gettext_lazy("The ledger's stream %(stream)s ends before what the desk had read: it goes on from %(to_seq)s"),
    ),
    "review.skipped": ("arrow-right", gettext_lazy("%(actor)s passed a message on")),
    "lease.returned": ("refresh-cw", gettext_lazy("A message went back to its queue")),
    "lease.reassigned": ("refresh-cw", gettext_lazy("%(actor)s gave a message to somebody else")),
    "campaign.decided": ("megaphone", gettext_lazy("%(actor)s decided a whole campaign")),
    "campaign.undone": ("undo-2", gettext_lazy("%(actor)s undid the decision on a campaign")),
    "gold.made": ("star", gettext_lazy("%(actor)s made a message a test")),
    "gold.retired": ("star", gettext_lazy("%(actor)s retired a test")),
    "rulebook.drafted": ("scroll-text", gettext_lazy("%(actor)s began draft %(number)s of the rulebook")),
    "rulebook.saved": ("scroll-text", gettext_lazy("%(actor)s saved draft %(number)s of the rulebook")),
    "rulebook.rebased": ("scroll-text", gettext_lazy("%(actor)s brought draft %(number)s up to date")),
    "rulebook.withdrawn": ("scroll-text", gettext_lazy("%(actor)s withdrew draft %(number)s")),
    "rulebook.reopened": ("scroll-text", gettext_lazy("%(actor)s reopened draft %(number)s")),
    "rulebook.submitted": ("send", gettext_lazy("%(actor)s submitted draft %(number)s of the rulebook")),
    "rulebook.approved": ("circle-check", gettext_lazy("%(actor)s approved rulebook %(number)s: it is in force")),
    "rulebook.rejected": ("circle-slash", gettext_lazy("%(actor)s rejected draft %(number)s")),
    "rulebook.rolled_back": ("rotate-ccw", gettext_lazy("%(actor)s rolled the rulebook back")),
    "rulebook.shipped": ("scroll-text", gettext_lazy("The shipped rulebook is version 1")),
    "rulebook.found": ("scroll-text", gettext_lazy("A rulebook was found in force and taken over")),
    "rulebook.exported": ("file-down", gettext_lazy("%(actor)s exported the rulebook")),
    "model.shipped": ("brain-circuit", gettext_lazy("The model that came with the program is known: %(subject)s")),
    "model.found": ("brain-circuit", gettext_lazy("A model was found in use and taken over: %(subject)s")),
    "model.learnt": ("brain-circuit", gettext_lazy("%(actor)s had a model learnt: %(subject)s")),
    "model.shadow_started": ("brain-circuit", gettext_lazy("%(actor)s let a model decide in the shadow: %(subject)s")),
    "model.shadow_stopped": ("brain-circuit", gettext_lazy("%(actor)s switched the shadow off")),
    "model.proposed": ("send", gettext_lazy("%(actor)s proposed a model: %(subject)s")),
    "model.approved": ("circle-check", gettext_lazy("%(actor)s approved a model, which is in force: %(subject)s")),
    "model.rejected": ("circle-slash", gettext_lazy("%(actor)s rejected a model: %(subject)s")),
    "model.went_back": ("rotate-ccw", gettext_lazy("%(actor)s put a model back: %(subject)s")),
    "run.asked": ("play", gettext_lazy("%(actor)s started a run over past messages")),
    "run.cancelled": ("x", gettext_lazy("%(actor)s cancelled a run")),
    "run.finished": ("check", gettext_lazy("A run over past messages finished")),
    "gateway.row_added": ("plus", gettext_lazy("%(actor)s added %(subject)s to the gateway")),
    "gateway.row_changed": ("pencil", gettext_lazy("%(actor)s changed %(fields)s of %(subject)s at the gateway")),
    "gateway.row_removed": ("minus", gettext_lazy("%(actor)s removed %(subject)s from the gateway")),
    "gateway.portability_changed": ("replace", gettext_lazy("%(actor)s changed the gateway's file of ported numbers")),
    "gateway.mode_changed": (
        "shield-check",
        gettext_lazy("%(actor)s switched %(subject)s from %(before)s to %(after)s"),
    ),
    "gateway.bypass_ordered": (
        "shield-alert",
        gettext_lazy("%(actor)s let %(subject)s pass unscreened until %(until)s"),
    ),
    "gateway.bounce_ordered": ("refresh-cw", gettext_lazy("%(actor)s had the connections of %(subject)s made anew")),
    "gateway.resend_ordered": ("send", gettext_lazy("%(actor)s had %(count)s messages sent again")),
    "gateway.drop_ordered": ("trash-2", gettext_lazy("%(actor)s had %(count)s messages given up")),
    "configuration.applied": ("file-text", gettext_lazy("%(actor)s applied a configuration file: %(count)s changes")),
    "disk.low": ("hard-drive", gettext_lazy("The disk is filling up")),
    "disk.enough": ("hard-drive", gettext_lazy("The disk has room again")),
}

# What an auditor looks for first: somebody saw what is masked, or somebody's way in was changed.
LOUD = frozenset(
    {
        *("message.unmasked", "factors.reset", "evidence.exported", "messages.exported", "data_request.overdue"),
        "gateway.bypass_ordered",
    }
)

# code, words, prefixes of kinds
AREAS: tuple[tuple[str, Promise, tuple[str, ...]], ...] = (
    ("unmasked", gettext_lazy("Looks at masked data"), ("message.unmasked",)),
    ("signin", gettext_lazy("Signing in"), ("session.", "password.", "factor.", "factors.", "invitation.")),
    ("people", gettext_lazy("People and rights"), ("account.", "role.", "team.", "unit.", "token.")),
    ("requests", gettext_lazy("Requests about own data"), ("data_request.",)),
    ("messages", gettext_lazy("Messages"), ("message.", "messages.", "search.", "exception.")),
    ("review", gettext_lazy("Review"), ("review.", "appeal.", "lease.", "campaign.", "gold.")),
    ("rules", gettext_lazy("Rulebook and model"), ("rulebook.", "model.", "run.")),
    ("record", gettext_lazy("This record"), ("head.", "heads.", "audit.", "evidence.")),
    ("gateway", gettext_lazy("Gateway"), ("gateway.",)),
    ("system", gettext_lazy("System"), ("webhook.", "disk.", "configuration.")),
)

_JOB_WORDS = gettext_lazy("Mingbai itself")
_FIELDS = {
    "name": gettext_lazy("the name"),
    "email": gettext_lazy("the e-mail address"),
    "number": gettext_lazy("the number"),
    "language": gettext_lazy("the language"),
    "skills": gettext_lazy("the skills"),
    "sender": gettext_lazy("the sender"),
    "receiver": gettext_lazy("the receiver"),
    "text": gettext_lazy("the text"),
}
_MODES = {
    "enforce": gettext_lazy("enforce"),
    "observe": gettext_lazy("observe"),
    "bypass": gettext_lazy("bypass"),
}
_FACTORS = {
    "totp": gettext_lazy("authenticator app"),
    "webauthn": gettext_lazy("passkey"),
    "recovery_codes": gettext_lazy("recovery codes"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """One entry for the screen."""

    entry: Entry
    icon: str
    sentence: str
    actor: str
    subject: str
    is_loud: bool
    data: list[tuple[str, str]]  # fields as they stand, for who wants to see more


def told(entries: Iterable[Entry]) -> list[Told]:
    """Entries in words, in the language that is active."""
    rows = list(entries)
    refs = {row.actor for row in rows} | {row.subject for row in rows}
    names = names_of(refs)
    return [_told(row, names) for row in rows]


def _told(entry: Entry, names: Mapping[str, str]) -> Told:
    actor, subject = name_of(entry.actor, names), name_of(entry.subject, names)
    icon, sentence = SENTENCES.get(entry.kind, ("file-text", None))
    words = _Places({name: _value(name, value, entry.kind) for name, value in entry.data.items()})
    words |= {"actor": actor, "subject": subject}
    if "after" in entry.data and isinstance(entry.data["after"], dict):
        words["changed"] = _joined(str(_FIELDS.get(name, name)) for name in entry.data["after"])
    text = entry.kind if sentence is None else str(sentence) % words
    data = [(name, _plain(value)) for name, value in entry.data.items()]
    return Told(entry, icon, text, actor, subject, entry.kind in LOUD, data)


def name_of(ref: str, names: Mapping[str, str]) -> str:
    """What a ref is called on the screen."""
    kind, _colon, id = ref.partition(":")
    if ref in names:
        return names[ref]
    if kind in ("job", "system"):
        return str(_JOB_WORDS)
    if kind == "unit":
        return _("unit %(code)s") % {"code": id}
    if kind == "message":
        return _("message %(id)s") % {"id": id[-12:]}
    if kind == "model":
        return _("model %(version)s") % {"version": id}
    if kind == "gateway":
        return id.partition(":")[2] or id
    if kind == "account":
        return _("account %(id)s") % {"id": id[-12:]}
    return ref


class _Places(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "–"


def _value(name: str, value: Any, kind: str) -> str:  # Any: a JSON value
    if name == "role" and value in Role.values:
        return str(Role(value).label)
    if name == "unit" and value is None:
        return _("whole operator")
    if name == "kind" and value in RequestKind.values:
        return str(RequestKind(value).label)
    if name == "type":
        return str(_FACTORS.get(str(value), value))
    if name == "fields" and isinstance(value, list):
        return _joined(str(_FIELDS.get(str(item), item)) for item in value)
    if kind == "gateway.mode_changed" and name in ("before", "after"):
        return str(_MODES.get(str(value), value))
    if kind == "audit.verified" and name == "result":
        return _("whole") if value == "ok" else str(value)
    return _plain(value)


def _plain(value: Any) -> str:  # Any: as above
    if value is None or value == "":
        return "–"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value[:12]) + (" …" if len(value) > 12 else "")
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(item)}" for name, item in value.items())
    text = str(value)
    return text if len(text) <= 300 else f"{text[:300]} …"


def _joined(words: Iterable[str]) -> str:
    return _(", ").join(words)
