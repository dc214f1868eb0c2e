"""Tables of messaging, one module a subject. Only `services` writes them."""

from mingbai.contexts.messaging.models.gateway import GatewayKind, GatewayRow, GatewayState
from mingbai.contexts.messaging.models.model import ModelState, ModelTerm, ScreeningModel, ShadowCount
from mingbai.contexts.messaging.models.review import (
    Appeal,
    CampaignDecision,
    DecisionSource,
    Gold,
    ItemKind,
    ItemState,
    Label,
    LabelSource,
    LedgerCursor,
    ReviewDecision,
    ReviewItem,
)
from mingbai.contexts.messaging.models.rulebook import RulebookState, RulebookTerm, RulebookVersion
from mingbai.contexts.messaging.models.runs import Run, RunKind, RunState
from mingbai.contexts.messaging.models.traffic import Freed, SavedSearch

__all__ = [
    "Appeal",
    "CampaignDecision",
    "DecisionSource",
    "Freed",
    "GatewayKind",
    "GatewayRow",
    "GatewayState",
    "Gold",
    "ItemKind",
    "ItemState",
    "Label",
    "LabelSource",
    "LedgerCursor",
    "ModelState",
    "ModelTerm",
    "ReviewDecision",
    "ReviewItem",
    "RulebookState",
    "RulebookTerm",
    "RulebookVersion",
    "Run",
    "RunKind",
    "RunState",
    "SavedSearch",
    "ScreeningModel",
    "ShadowCount",
]
