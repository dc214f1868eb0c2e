"""Following the policy store: a new policy is compiled beside the old one and takes its place in one step.

What cannot be read or compiled never replaces a policy that works: the old one stays in force, and `problem` says what
is wrong until it is mended. At a start there is no old one; then each part that is unusable gives way to what is
shipped, because messages that pass unscreened help nobody, and the others count.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from mingbai.connectors import policy_store
from mingbai.connectors.policy_loading import SHIPPED, load_model
from mingbai.connectors.policy_store import Part, PolicyUnusable, Snapshot
from mingbai.connectors.rulebook_cache import RulebookCache
from mingbai.engines.screening.exceptions import Exceptions
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rules import CompiledRules
from mingbai.kernel.errors import MingbaiError

log = logging.getLogger(__name__)

POLL_S: Final = 0.1  # a change is noticed within this; the house promises a quarter of a second
RETRY_S: Final = 5.0  # how often something damaged is tried again, which costs more than a look

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class InForce:
    """A compiled policy and where it came from. snapshot None: what is shipped.

    versions, shadow_model: kept here because a model's version is a hash over all of it.
    """

    snapshot: Snapshot | None
    policy: Policy
    shadow: Policy | None
    since: datetime
    versions: dict[str, str]
    shadow_model: str | None

    @property
    def version(self) -> int:
        return self.snapshot.version if self.snapshot is not None else 0


class PolicyFollower:
    """Holds the policy in force. `in_force` may be read from any thread; `poll` belongs to one."""

    def __init__(self, data_dir: Path, *, now: datetime, rulebooks: RulebookCache | None = None) -> None:
        """Load what is in force; never fails for what was published: see `problem`.

        rulebooks: where one that somebody checked before he published it may be compiled already.
        """
        self._data_dir = data_dir
        self._models: dict[Part | None, Model] = {}
        self._rulebooks = rulebooks or RulebookCache()
        self.problem: str | None = None
        self._seen = self._mark()
        self._tried_at = now
        self.in_force = self._first(now)

    def poll(self, now: datetime) -> bool:
        """Look for a change; True if another policy is in force now. Compiling takes up to seconds."""
        mark = self._mark()
        is_due = self.problem is not None and (now - self._tried_at).total_seconds() >= RETRY_S
        if mark == self._seen and not is_due:
            return False
        self._seen, self._tried_at = mark, now
        try:
            snapshot = policy_store.current(self._data_dir)
            if snapshot == self.in_force.snapshot and self.problem is None:
                return False
            if snapshot is None and self.in_force.snapshot is not None:
                path = policy_store.policies_dir(self._data_dir) / policy_store.CURRENT
                raise PolicyUnusable(path=str(path), what="it is gone")
            self.in_force = self._compile(snapshot, now)
        except (MingbaiError, OSError) as error:
            self._report(error)
            return False
        self.problem = None
        log.info("another policy is in force", extra={"policy": self.in_force.version})
        return True

    def _mark(self) -> tuple[int, int, int] | None:
        """Tells one publication from the next: each is a file of its own, renamed into place."""
        try:
            found = (policy_store.policies_dir(self._data_dir) / policy_store.CURRENT).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _report(self, error: Exception) -> None:
        if self.problem != str(error):
            log.error("the published policy is unusable, the one before it stays in force", extra={"error": str(error)})
        self.problem = str(error)

    def _first(self, now: datetime) -> InForce:
        snapshot = self._or(lambda: policy_store.current(self._data_dir), None)
        try:
            return self._compile(snapshot, now)
        except (MingbaiError, OSError) as error:
            self._report(error)
        assert snapshot is not None  # what is shipped compiles
        usable = replace(
            snapshot,
            rulebook=self._or(lambda: self._usable_rulebook(snapshot), None),
            model=self._or(lambda: self._usable_model(snapshot.model), None),
            shadow_model=self._or(lambda: self._usable_model(snapshot.shadow_model), None),
            exceptions=self._or(lambda: self._usable_exceptions(snapshot), None),
        )
        return self._compile(usable, now)

    def _or(self, read: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return read()
        except (MingbaiError, OSError) as error:
            self._report(error)
            return otherwise

    def _usable_rulebook(self, snapshot: Snapshot) -> Part | None:
        self._rules(snapshot)
        return snapshot.rulebook

    def _usable_model(self, part: Part | None) -> Part | None:
        self._model(part)
        return part

    def _usable_exceptions(self, snapshot: Snapshot) -> Part | None:
        policy_store.freed_messages(self._data_dir, snapshot)
        return snapshot.exceptions

    def _compile(self, snapshot: Snapshot | None, now: datetime) -> InForce:
        """What equals a part of the policy in force is taken from it: freeing a message compiles no rule."""
        model = self._model(snapshot.model if snapshot is not None else None)
        policy = Policy(
            model=model,
            rules=self._rules(snapshot),
            at=snapshot.published_at if snapshot is not None else now,
            exceptions=Exceptions.of(policy_store.freed_messages(self._data_dir, snapshot)),
        )
        shadow = None
        if snapshot is not None and snapshot.shadow_model is not None:
            shadow = replace(policy, model=self._model(snapshot.shadow_model))
        kept = {None, *((snapshot.model, snapshot.shadow_model) if snapshot is not None else ())}
        self._models = {part: loaded for part, loaded in self._models.items() if part in kept}
        shadow_model = shadow.model.version if shadow is not None else None
        return InForce(snapshot, policy, shadow, now, policy.versions, shadow_model)

    def _model(self, part: Part | None) -> Model:
        if part not in self._models:
            self._models[part] = load_model(self._data_dir, part)
        return self._models[part]

    def _rules(self, snapshot: Snapshot | None) -> CompiledRules:
        part = snapshot.rulebook if snapshot is not None else None
        text = policy_store.rulebook_text(self._data_dir, snapshot)
        return self._rulebooks.compiled(text, source=SHIPPED if part is None else part.name)[1]
