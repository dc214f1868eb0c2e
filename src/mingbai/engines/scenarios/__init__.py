"""Scenario generator: labelled messages for training, a day of traffic for the demo, evasions for both."""

from __future__ import annotations

from collections.abc import Mapping

from mingbai.engines.scenarios.catalog import Scenario, scenarios
from mingbai.engines.scenarios.evasion import CHINESE_KINDS, ENGLISH_KINDS, ODD_STYLES, odd_style, perturb
from mingbai.engines.scenarios.generate import generate
from mingbai.engines.scenarios.traffic import traffic

__all__ = [
    "CHINESE_KINDS",
    "ENGLISH_KINDS",
    "ODD_STYLES",
    "SCENARIOS",
    "Scenario",
    "generate",
    "odd_style",
    "perturb",
    "traffic",
]

SCENARIOS: Mapping[str, Scenario]


def __getattr__(name: str) -> object:
    # Read when first asked for: parsing the grammar files is no part of importing the engine.
    if name == "SCENARIOS":
        return scenarios()
    raise AttributeError(name)
