"""The policy: what a decision depends on besides traffic and counters. Immutable, versioned, swapped whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from mingbai.engines.screening.exceptions import Exceptions
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.rules import CompiledRules
from mingbai.kernel.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Burst:
    """When one text in many copies is itself a reason: distinct people within two hours."""

    senders: int = 20  # persons that send it; service codes are one sender however many they reach
    receivers: int = 100  # people that one text from persons reaches


@dataclass(frozen=True, slots=True)
class Policy:
    """One snapshot of model, rules and limits.

    at: the time that rules are judged by where a message brings none.
    flag_at, block_at: scores that replace the model's own thresholds, for both languages.
    lookalike: what a host that imitates a protected brand is worth at least.
    exceptions: messages that a person freed.
    """

    model: Model
    rules: CompiledRules
    at: datetime
    burst: Burst = field(default_factory=Burst)
    flag_at: float | None = None
    block_at: float | None = None
    lookalike: Verdict = Verdict.HOLD
    exceptions: Exceptions = field(default_factory=Exceptions.none)

    @property
    def versions(self) -> dict[str, str]:
        """What a ledger entry names: `model` and `rulebook`."""
        return {"model": self.model.version, "rulebook": self.rules.version}
