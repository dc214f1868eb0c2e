"""Who may do what, how far: one table. Pure; docs/reference/rights.md is written from it and tests walk it.

Everything that is not in the table is denied. A cell gives the widest scope of a right: an assignment of a role names
a unit (or none), and what a person reaches is what both allow. Rights add up over a person's roles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Action(StrEnum):
    """Things a person can do. One or more URLs belong to each."""

    SEE_OVERVIEW = "see_overview"
    SEE_MESSAGES = "see_messages"  # search and open decisions, text and numbers masked
    SEE_TEXT = "see_text"  # text as it was sent
    UNMASK = "unmask"  # numbers (and text), after giving a reason, which is recorded
    EXPORT_MESSAGES = "export_messages"
    EXPORT_EVIDENCE = "export_evidence"
    SEE_CAMPAIGNS = "see_campaigns"
    DECIDE_CAMPAIGN = "decide_campaign"
    FREE_MESSAGE = "free_message"
    APPEAL = "appeal"
    REVIEW = "review"
    LEAD_REVIEW = "lead_review"  # backlog, people, gold messages, second opinions
    SEE_RULES = "see_rules"
    WRITE_RULES = "write_rules"
    APPROVE_RULES = "approve_rules"
    SEE_MODEL = "see_model"
    MANAGE_MODEL = "manage_model"
    APPROVE_MODEL = "approve_model"
    SEE_PEOPLE = "see_people"
    MANAGE_PEOPLE = "manage_people"
    MANAGE_TOKENS = "manage_tokens"  # one's own; with MANAGE_PEOPLE everybody's
    MANAGE_SYSTEM = "manage_system"  # webhooks, retention, disk, backup
    SEE_AUDIT = "see_audit"
    ASK_ABOUT_OWN_DATA = "ask_about_own_data"
    ANSWER_DATA_REQUESTS = "answer_data_requests"
    SCREEN = "screen"  # POST /api/v1/screen
    SEE_GATEWAY = "see_gateway"  # connections, live traffic, accounts and routes; numbers masked, no secret ever
    OPERATE_GATEWAY = "operate_gateway"  # bounce connections, resend and drop messages, switch an account's mode
    MANAGE_GATEWAY = "manage_gateway"  # accounts, SMSCs, routes, classes, ranges


_ROLES: Final = (
    "administrator",
    "rule_author",
    "rule_approver",
    "reviewer",
    "team_lead",
    "branch_manager",
    "auditor",
    "regulator",
    "service_provider",
    "subscriber",
)

# a = all, b = province or branch, p = partner, o = own, . = denied
#                                     adm aut app rev led bra aud reg par sub
_TABLE: Final[Mapping[Action, str]] = {
    Action.SEE_OVERVIEW:             " a   a   a   a   a   b   a   a   p   . ",
    Action.SEE_MESSAGES:             " a   a   a   a   a   b   a   a   p   o ",
    Action.SEE_TEXT:                 " .   a   a   a   a   .   .   .   p   o ",
    Action.UNMASK:                   " .   .   .   a   a   b   a   a   .   . ",
    Action.EXPORT_MESSAGES:          " .   a   a   .   a   b   a   a   p   . ",
    Action.EXPORT_EVIDENCE:          " .   .   .   .   .   .   a   a   .   . ",
    Action.SEE_CAMPAIGNS:            " a   a   a   a   a   b   a   a   p   . ",
    Action.DECIDE_CAMPAIGN:          " .   .   .   .   a   .   .   .   .   . ",
    Action.FREE_MESSAGE:             " .   .   a   a   a   .   .   .   .   . ",
    Action.APPEAL:                   " .   .   .   .   .   b   .   .   p   o ",
    Action.REVIEW:                   " .   .   .   a   a   .   .   .   .   . ",
    Action.LEAD_REVIEW:              " .   .   .   .   a   .   a   .   .   . ",
    Action.SEE_RULES:                " a   a   a   a   a   b   a   a   .   . ",
    Action.WRITE_RULES:              " .   a   .   .   .   .   .   .   .   . ",
    Action.APPROVE_RULES:            " .   .   a   .   .   .   .   .   .   . ",
    Action.SEE_MODEL:                " a   a   a   a   a   .   a   a   .   . ",
    Action.MANAGE_MODEL:             " .   a   .   .   .   .   .   .   .   . ",
    Action.APPROVE_MODEL:            " .   .   a   .   .   .   .   .   .   . ",
    Action.SEE_PEOPLE:               " a   .   .   .   a   b   a   .   .   . ",
    Action.MANAGE_PEOPLE:            " a   .   .   .   .   .   .   .   .   . ",
    Action.MANAGE_TOKENS:            " a   a   a   a   a   b   a   a   p   . ",
    Action.MANAGE_SYSTEM:            " a   .   .   .   .   .   .   .   .   . ",
    Action.SEE_AUDIT:                " .   .   .   .   .   .   a   a   .   . ",
    Action.ASK_ABOUT_OWN_DATA:       " .   .   .   .   .   .   .   .   .   o ",
    Action.ANSWER_DATA_REQUESTS:     " a   .   .   .   .   .   .   .   .   . ",
    Action.SCREEN:                   " .   a   .   a   a   .   .   .   p   . ",
    Action.SEE_GATEWAY:              " a   .   .   .   a   .   a   a   .   . ",
    Action.OPERATE_GATEWAY:          " a   .   .   .   a   .   .   .   .   . ",
    Action.MANAGE_GATEWAY:           " a   .   .   .   .   .   .   .   .   . ",
}  # fmt: skip

_LETTERS: Final = {"a": "all", "b": "branch", "p": "partner", "o": "own"}


def _matrix() -> dict[Action, dict[str, str]]:
    matrix: dict[Action, dict[str, str]] = {}
    for action in Action:
        cells = _TABLE[action].split()
        matrix[action] = {role: _LETTERS[cell] for role, cell in zip(_ROLES, cells, strict=True) if cell != "."}
    return matrix


MATRIX: Final[Mapping[Action, Mapping[str, str]]] = _matrix()  # action -> role -> widest scope

# Subscribers belong to no unit: whoever is limited to one answers none of their requests. The gateway carries the
# traffic of all units: whoever is limited to one neither sees nor changes it.
OF_THE_WHOLE: Final = frozenset(
    {Action.ANSWER_DATA_REQUESTS, Action.SEE_GATEWAY, Action.OPERATE_GATEWAY, Action.MANAGE_GATEWAY}
)

# Scopes from wide to narrow. A role whose scope is `branch` or `partner` must be given with a unit of that kind.
_WIDTH: Final = ("all", "branch", "partner", "own")


@dataclass(frozen=True, slots=True)
class Assigned:
    """One role a person has, by themselves or through a group.

    unit: code of the unit it is limited to, "" for the whole operator; kind: its kind; access_codes: prefixes of the
    access codes of the unit and all units below it.
    """

    role: str
    unit: str = ""
    kind: str = ""
    access_codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reach:
    """Which traffic a right covers: all of it, or messages of these access codes, or to these receivers."""

    is_all: bool = False
    access_codes: tuple[str, ...] = ()
    receivers: tuple[str, ...] = ()  # E.164, the subscriber's own
    units: tuple[str, ...] = ()  # codes of the units that gave it

    def union(self, other: Reach) -> Reach:
        return Reach(
            self.is_all or other.is_all,
            tuple(dict.fromkeys(self.access_codes + other.access_codes)),
            tuple(dict.fromkeys(self.receivers + other.receivers)),
            tuple(dict.fromkeys(self.units + other.units)),
        )

    def covers(self, *, access_code: str | None, receiver: str | None = None) -> bool:
        """Whether one message lies within."""
        if self.is_all:
            return True
        if access_code and any(access_code.startswith(prefix) for prefix in self.access_codes):
            return True
        return receiver is not None and receiver in self.receivers


@dataclass(frozen=True, slots=True)
class Rights:
    """What one person (or token) may do. Made for each request; denies what it does not know."""

    assigned: tuple[Assigned, ...] = ()
    number: str = ""  # the subscriber's own, E.164
    only: frozenset[Action] | None = None  # a token's scopes: never more than these
    _reach: dict[Action, Reach | None] = field(default_factory=dict, compare=False)

    def may(self, action: Action) -> bool:
        return self.reach(action) is not None

    def reach(self, action: Action) -> Reach | None:
        """How far the right goes; None: denied."""
        if action not in self._reach:
            self._reach[action] = self._find(action)
        return self._reach[action]

    @property
    def actions(self) -> frozenset[Action]:
        return frozenset(action for action in Action if self.may(action))

    def _find(self, action: Action) -> Reach | None:
        if self.only is not None and action not in self.only:
            return None
        found: Reach | None = None
        for given in self.assigned:
            reach = reach_of(action, given, self.number)
            if reach is not None:
                found = reach if found is None else found.union(reach)
        return found


def reach_of(action: Action, given: Assigned, number: str = "") -> Reach | None:
    """What one assigned role gives for an action; None: nothing."""
    widest = MATRIX[action].get(given.role)
    if widest is None:
        return None
    if widest == "own":
        return Reach(receivers=(number,)) if number else None
    if given.unit and action in OF_THE_WHOLE:
        return None
    if given.unit:
        is_too_wide = widest == "partner" and given.kind != "partner"
        return None if is_too_wide else Reach(access_codes=given.access_codes, units=(given.unit,))
    return Reach(is_all=True) if widest == "all" else None


def widest_scope(role: str) -> str:
    """The widest scope of any right of a role: what its assignment may be given for."""
    scopes = {cells[role] for cells in MATRIX.values() if role in cells}
    return next(scope for scope in _WIDTH if scope in scopes)


# Who can change what many rely on, or look into everything, is not let in by a password alone.
SECOND_FACTOR_ROLES: Final = frozenset({"administrator", "rule_approver", "team_lead", "auditor", "regulator"})


def roles() -> Iterable[str]:
    return _ROLES
