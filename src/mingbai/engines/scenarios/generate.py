"""Labelled messages from a seed: every scenario in turn, each message in one of many typographic styles.

Lures and their honest look-alikes pass through the same styles with the same odds, so that a model cannot tell them
apart by brackets, punctuation or the shape of a number, but has to read what they say.

Numbers in the texts belong to nobody: the heads of `data/zh/_shared.txt` and `data/en/_shared.txt` give the ranges.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from itertools import accumulate

import pyarrow as pa

from mingbai.engines.scenarios.catalog import LANGUAGES, Scenario, scenarios
from mingbai.engines.scenarios.grammar import Draw
from mingbai.engines.scenarios.style import chinese_style, english_style, place_signature
from mingbai.kernel.errors import BadValue

# How often a message of each `@signed` degree carries its signature.
_SIGNED_SHARE = {"never": 0.0, "seldom": 0.25, "often": 0.75, "always": 0.97}
SCHEMA = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("category", pa.uint8(), nullable=False),
        pa.field("scenario", pa.string(), nullable=False),
        pa.field("unwanted", pa.bool_(), nullable=False),
    ]
)


def generate(
    seed: int, rows: int, *, language: str | None = None, families: Collection[str] | None = None
) -> pa.RecordBatch:
    """`rows` labelled messages, the same for the same arguments; columns as in `SCHEMA`.

    language: "zh", "en" or None for both. families: ids or their dotted prefixes (`fraud`, `fraud.etc`), None for all.
    A scenario is drawn with its `@weight`. Raises BadValue for an unknown language or family.
    """
    chosen = select(language=language, families=families)
    limits = list(accumulate(scenario.weight for scenario in chosen))
    rng = random.Random(f"scenarios:{seed}")
    drawn = rng.choices(chosen, cum_weights=limits, k=rows)
    return pa.record_batch(
        [
            pa.array([write_message(scenario, rng)[0] for scenario in drawn], pa.string()),
            pa.array([scenario.language for scenario in drawn], pa.string()),
            pa.array([int(scenario.category) for scenario in drawn], pa.uint8()),
            pa.array([scenario.id for scenario in drawn], pa.string()),
            pa.array([scenario.is_unwanted for scenario in drawn], pa.bool_()),
        ],
        schema=SCHEMA,
    )


def select(*, language: str | None = None, families: Collection[str] | None = None) -> Sequence[Scenario]:
    """Scenarios of a language (None: both) whose id is or lies under one of `families` (None: all). Raises BadValue."""
    if language is not None and language not in LANGUAGES:
        raise BadValue(field="language", value=language, expected="one of " + ", ".join(LANGUAGES))
    chosen = [scenario for scenario in scenarios().values() if language in (None, scenario.language)]
    if families is None:
        return chosen
    for family in families:
        if not any(_is_under(scenario.id, family) for scenario in chosen):
            raise BadValue(field="families", value=family, expected="an id of SCENARIOS or the first parts of one")
    return [scenario for scenario in chosen if any(_is_under(scenario.id, family) for family in families)]


def _is_under(scenario_id: str, family: str) -> bool:
    return scenario_id == family or scenario_id.startswith(family + ".")


def write_message(scenario: Scenario, rng: random.Random, values: random.Random | None = None) -> tuple[str, str]:
    """One message of a scenario in a style of its language, and the name it is signed with ("" without signature).

    With `values`, numbers, names and links come from there and everything else from `rng`: the same `rng` state gives
    the messages of one campaign.
    """
    restyle = chinese_style if scenario.language == "zh" else english_style
    text = ""
    while not text:  # a greeting of nothing but optional parts can come out empty
        draw = Draw(rng, values)
        text = restyle(scenario.write(draw), rng).strip()
    if scenario.sign is None or rng.random() >= _SIGNED_SHARE[scenario.signed]:
        return text, ""
    signature = scenario.sign(draw)
    return place_signature(text, signature, scenario.language, rng), signature
