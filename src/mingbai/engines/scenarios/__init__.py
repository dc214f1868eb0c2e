"""Scenario generator: labelled messages for training, a day of traffic for the demo, evasions for both."""

from __future__ import annotations

from collections.abc import Mapping

from mingbai.engines.scenarios.catalog import Scenario, scenarios
from mingbai.engines.scenarios.generate import generate

__all__ = ["SCENARIOS", "Scenario", "generate"]

SCENARIOS: Mapping[str, Scenario]


def __getattr__(name: str) -> object:
    # Read when first asked for: parsing the grammar files is no part of importing the engine.
    if name == "SCENARIOS":
        return scenarios()
    raise AttributeError(name)
