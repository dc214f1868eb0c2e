"""What becomes of a message, given what was decided about it and who stands where. Pure: one table, read by a person in
`docs/explanation/failure.md` and by the gateway here."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from mingbai.connectors.gateway_registry import Account, Mode, OnBlock, OnFailure, OnFlag, TrafficClass
from mingbai.kernel.verdicts import Verdict


class Action(IntEnum):
    """The last step of a verdict."""

    FORWARD = 0
    WARN = 1  # forward with the class's warning before the text
    HOLD = 2
    SWALLOW = 3  # accept, and report truthfully that it was rejected
    REFUSE = 4  # the protocol's own error
    TRY_LATER = 5


_UNSCREENED: Final = {
    OnFailure.FORWARD: Action.FORWARD,
    OnFailure.HOLD: Action.HOLD,
    OnFailure.TRY_LATER: Action.TRY_LATER,
}


def action_of(verdict: int, account: Account, traffic: TrafficClass, mode: Mode, *, is_unscreened: bool) -> Action:
    """mode: the one that holds here and now (a route's, else the account's)."""
    if mode is not Mode.ENFORCE:
        return Action.FORWARD  # observe: recorded, and all go on; bypass: a person ordered it
    if is_unscreened:
        return _UNSCREENED[traffic.unscreened]
    if verdict == Verdict.BLOCK:
        return Action.SWALLOW if account.blocked is OnBlock.SWALLOW else Action.REFUSE
    if verdict == Verdict.HOLD:
        return Action.HOLD
    if verdict == Verdict.FLAG and traffic.flagged is OnFlag.WARN:
        return Action.WARN
    return Action.FORWARD
