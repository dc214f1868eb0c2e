"""What people ask: why this message, is this rulebook valid, what would it decide, what would freeing free?

Each question is answered by the same engine that decides traffic, by the policy in force or by a draft, and leaves no
trace: nothing is recorded and no counter moves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from mingbai.connectors import policy_store
from mingbai.connectors.batch.engine import decide
from mingbai.connectors.batch.record import normalised_hashes
from mingbai.connectors.policy_follower import InForce
from mingbai.connectors.policy_loading import load_model
from mingbai.connectors.policy_store import Part
from mingbai.connectors.rulebook_cache import RulebookCache
from mingbai.connectors.screening_client import RulebookProblem, RulebookRefused
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.exceptions import key_of, key_parts
from mingbai.engines.screening.explain import document, explain
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rulebook_types import Rule, Rulebook, RulebookInvalid
from mingbai.engines.screening.rules import CompiledRules
from mingbai.kernel.clock import format_utc
from mingbai.kernel.errors import BadValue

MAX_TRIED: Final = 1000  # messages of one try: what a person pastes or picks

Json = dict[str, Any]  # Any: JSON


class Questions:
    """Answers questions. Thread-safe."""

    def __init__(self, data_dir: Path, in_force: Callable[[], InForce], rulebooks: RulebookCache) -> None:
        self._data_dir = data_dir
        self._in_force = in_force
        self._rulebooks = rulebooks
        self._lock = threading.Lock()
        self._other_model: tuple[Part, Model] | None = None  # the last that was asked for and is not in force

    def explain(self, batch: pa.RecordBatch, rulebook: object, model: object, now: datetime) -> Json:
        """Explain the one message of a batch. rulebook: a draft (TOML) or None; model: a version or None."""
        in_force = self._in_force()
        policy = replace(in_force.policy, at=now)
        if rulebook is not None:
            policy = replace(policy, rules=self._draft(rulebook)[1])
        if model is not None:
            policy = replace(policy, model=self._model(model))
        (found,) = explain(batch.slice(0, 1), policy, Counters(1))
        rules = {rule.id: rule for rule in policy.rules.rulebook.rules}
        return {**document(found, rules, policy.versions), "policy": in_force.version}

    def check_rulebook(self, toml: object, now: datetime) -> Json:
        """What is wrong with a draft, or what is in it."""
        try:
            book, _ = self._draft(toml)
        except RulebookRefused as error:
            return {"problems": error.data["problems"]}
        return {
            "problems": [],
            "name": book.name,
            "version": book.version,
            "digest": book.digest,
            "rules": [_rule(rule, now) for rule in book.rules],
        }

    def try_rulebook(self, toml: object, batch: pa.RecordBatch, now: datetime) -> Json:
        """Decide messages by a draft and by the policy in force."""
        if batch.num_rows > MAX_TRIED:
            raise BadValue(field="messages", value=batch.num_rows, expected=f"{MAX_TRIED} at most")
        policy = replace(self._in_force().policy, at=now)
        draft = replace(policy, rules=self._draft(toml)[1])
        return {"draft": _decisions(batch, draft), "present": _decisions(batch, policy)}

    def free_key(self, batch: pa.RecordBatch) -> Json:
        """The key of the one message of a batch."""
        message = {name: batch.column(name)[0].as_py() for name in ("text", "sender", "access_code")}
        if not message["text"].strip():
            raise BadValue(field="text", value=message["text"], expected="a message")
        (text_hash,) = normalised_hashes(batch.slice(0, 1), self._in_force().policy).to_pylist()
        parts = key_parts(message["text"], message["sender"], message["access_code"])
        return {
            "key": key_of(parts, text_hash).hex(),
            "read_as": parts.read_as,
            "links": parts.links,
            "numbers": parts.numbers,
            "sender": parts.sender,
            "access_code": parts.access_code,
        }

    def _draft(self, toml: object) -> tuple[Rulebook, CompiledRules]:
        """A draft, read and compiled. Raises RulebookRefused with every problem."""
        if not isinstance(toml, str):
            raise BadValue(field="rulebook", value=type(toml).__name__, expected="a text (TOML)")
        try:
            return self._rulebooks.compiled(toml)
        except RulebookInvalid as error:
            problems = [
                asdict(RulebookProblem(one.line, one.rule, one.field, one.value, one.expected))
                for one in error.problems
            ]
            raise RulebookRefused(count=len(problems), problems=problems) from None

    def _model(self, version: object) -> Model:
        if not isinstance(version, str):
            raise BadValue(field="model", value=type(version).__name__, expected="the version of a model")
        in_force = self._in_force()
        if in_force.versions["model"] == version:
            return in_force.policy.model
        part = policy_store.model_part(self._data_dir, version)
        with self._lock:
            if self._other_model is None or self._other_model[0] != part:
                self._other_model = part, load_model(self._data_dir, part)
            return self._other_model[1]


def _decisions(batch: pa.RecordBatch, policy: Policy) -> list[Json]:
    found = decide(batch, policy, Counters(1024)).decisions
    return [
        {
            "verdict": row["verdict"],
            "category": row["category"],
            "score": round(row["score"], 6),
            "reasons": row["reasons"],
            "rules": row["rules"],
            "spans": [[span["start"], span["end"]] for span in row["spans"]],
        }
        for row in found.to_pylist()
    ]


def _rule(rule: Rule, now: datetime) -> Json:
    return {
        "id": rule.id,
        "line": rule.line,
        "category": rule.category.value,
        "action": rule.action.label,
        "priority": rule.priority,
        "owner": rule.owner,
        "reason": rule.reason,
        "enabled": rule.enabled,
        "is_in_force": rule.is_valid_at(now),
        "valid_from": None if rule.valid_from is None else format_utc(rule.valid_from),
        "valid_to": None if rule.valid_to is None else format_utc(rule.valid_to),
    }
