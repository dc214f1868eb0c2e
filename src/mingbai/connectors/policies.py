"""Where a policy comes from: a model file and a rulebook file, read once, before the first message.

`PolicySource` is what travels (to the threads of a run, to the executors of Spark); `Policy` is what `screen` takes. A
source holds values, not paths: an executor on another machine has the same model and rules, whatever its disk holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from mingbai.engines.screening.exceptions import Exceptions
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Burst, Policy
from mingbai.engines.screening.rulebook_types import Rulebook
from mingbai.engines.screening.rules import CompiledRules, keyword_nids
from mingbai.kernel.errors import MingbaiError


class ModelUnreadable(MingbaiError):
    """The model file cannot be read at all. Screening does not begin: no other model takes its place."""

    code = "model_unreadable"
    template = "{path}: cannot be read: {detail}"


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A model (None: the one that is shipped), a rulebook (None: no rules), the limits and what people freed.

    at: the time that rules are judged by where a message brings none (aware UTC).
    """

    at: datetime
    model: Model | None = None
    rulebook: Rulebook | None = None
    burst: Burst | None = None
    flag_at: float | None = None
    block_at: float | None = None
    exceptions: Exceptions = field(default_factory=Exceptions.none)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for sources that make equal policies."""
        model = self.model.version if self.model is not None else None
        rulebook = self.rulebook.digest if self.rulebook is not None else None
        return model, rulebook, self.at, self.burst, self.flag_at, self.block_at, self.exceptions.version

    def policy(self) -> Policy:
        """Compile it. Takes up to seconds for a large rulebook."""
        rules = CompiledRules.of(self.rulebook) if self.rulebook is not None else CompiledRules.none()
        return Policy(
            model=self.model or Model.load(),
            rules=rules,
            at=self.at,
            burst=self.burst or Burst(),
            flag_at=self.flag_at,
            block_at=self.block_at,
            exceptions=self.exceptions,
        )


def read_policy(*, rulebook: Path | None, model: Path | None, now: datetime) -> PolicySource:
    """Read the files. Raises RulebookInvalid with every problem, ModelUnreadable, ModelMismatch or BadValue."""
    return PolicySource(at=now, model=read_model(model), rulebook=None if rulebook is None else read_rulebook(rulebook))


def read_rulebook(path: Path) -> Rulebook:
    """Read and validate a rulebook file. Raises RulebookInvalid with every problem."""
    from mingbai.engines.screening.rulebook import load  # a run without rules needs none of it

    return load(path, keyword_nids)


def read_model(path: Path | None) -> Model:
    """Read a model file, or the shipped one. Raises ModelUnreadable, ModelMismatch or BadValue."""
    try:
        return Model.load(path)
    except OSError as error:
        raise ModelUnreadable(path=str(path or "the shipped model"), detail=error.strerror or str(error)) from error
