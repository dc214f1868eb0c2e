"""A published policy, loaded: the half of the policy store that needs the engine."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from mingbai.connectors.policies import PolicySource
from mingbai.connectors.policy_store import (
    Part,
    PolicyUnusable,
    Snapshot,
    freed_messages,
    policies_dir,
    read_part,
    rulebook_text,
)
from mingbai.engines.screening.exceptions import Exceptions
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.rulebook import parse
from mingbai.engines.screening.rulebook_types import Rulebook
from mingbai.engines.screening.rules import keyword_nids
from mingbai.kernel.errors import BadValue

SHIPPED = "rulebook.toml"  # the shipped rulebook's name in problems


def load(data_dir: Path, snapshot: Snapshot | None, *, now: datetime | None = None) -> PolicySource:
    """The policy of a snapshot, ready to be compiled. None: what is shipped; then `now` is the time of the policy.

    Raises PolicyUnusable, RulebookInvalid, ModelMismatch or BadValue.
    """
    at = snapshot.published_at if snapshot is not None else now
    if at is None:
        raise BadValue(field="now", value=None, expected="a time, where no policy was published")
    return PolicySource(
        at=at,
        model=load_model(data_dir, snapshot.model if snapshot is not None else None),
        rulebook=load_rulebook(data_dir, snapshot),
        exceptions=Exceptions.of(freed_messages(data_dir, snapshot)),
    )


def load_model(data_dir: Path, part: Part | None) -> Model:
    """The model of a part, or the shipped one. Raises PolicyUnusable or ModelMismatch."""
    if part is None:
        return Model.load()
    read_part(data_dir, part)
    path = policies_dir(data_dir) / part.name
    model = Model.load(path)
    if model.version != part.version:
        raise PolicyUnusable(path=str(path), what=f"it holds model {model.version}, not {part.version}")
    return model


def load_rulebook(data_dir: Path, snapshot: Snapshot | None) -> Rulebook:
    """The rulebook of a snapshot. Raises PolicyUnusable or RulebookInvalid."""
    part = snapshot.rulebook if snapshot is not None else None
    text = rulebook_text(data_dir, snapshot)
    return parse(text, keyword_nids, source=SHIPPED if part is None else part.name)
