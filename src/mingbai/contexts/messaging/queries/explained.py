"""Why one decision was made: what is recorded, and what the screener says about the text today.

The recorded verdict, score, reasons, rules and spans are facts. What each span was read as, the thresholds and what
would have to change come from the screener, with the policy in force; where that is not the policy that decided, the
page says so. Without a screener, or without the text, the facts remain.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.utils.translation import gettext as _

from mingbai.connectors import policy_store
from mingbai.connectors.ledger_index import Decision, Hit
from mingbai.contexts.messaging.queries.traffic import client, installed_settings
from mingbai.contexts.messaging.words import reason_word
from mingbai.kernel.errors import MingbaiError
from mingbai.kernel.masking import masked
from mingbai.kernel.verdicts import Reason, Verdict

_EXPLAINING = {Reason.MODEL_LEGITIMATE, Reason.MODEL_SPAM, Reason.MODEL_DOUBTFUL, Reason.MODEL_SECOND_STAGE}


@dataclass(frozen=True, slots=True)
class RuleShown:
    """A rule that fired. reason, owner: as the rulebook in force has it, "" where it has no such rule."""

    id: str
    reason: str
    owner: str
    is_exception: bool


@dataclass(frozen=True, slots=True)
class Explained:
    """spans: for `marked`, of the original text; parts: what was written and what it was read as, in the text's order.

    without: the verdict and score without all the parts, as of today. problem: why the screener said nothing.
    """

    rules: tuple[RuleShown, ...]
    spans: tuple[dict[str, object], ...] = ()
    parts: tuple[dict[str, str], ...] = ()
    read_as: str = ""
    flag_at: float | None = None
    block_at: float | None = None
    today_verdict: Verdict | None = None
    today_score: float | None = None
    without_verdict: Verdict | None = None
    without_score: float | None = None
    is_same_policy: bool = True
    policy_words: str = ""
    problem: str = ""
    model_words: tuple[str, ...] = field(default=())

    @property
    def would_change(self) -> bool:
        return self.without_verdict is not None and self.without_verdict != self.today_verdict


def explained(hit: Hit, decision: Decision, *, is_clear: bool, now: datetime) -> Explained:
    """is_clear: whether the person may read the text; else what is quoted of it is masked as the text is."""
    rules = _rules(hit.rules)
    original = decision.original or {}
    text = original.get("text")
    recorded = [{"start": span["start"], "end": span["end"]} for span in decision.entry.get("spans") or []]
    model_words = tuple(reason_word(code) for code in hit.reasons if code in _EXPLAINING)
    if text is None:
        return Explained(rules, model_words=model_words)
    spans = [dict(span) for span in recorded if 0 <= span["start"] < span["end"] <= len(text)]
    try:
        said = client().explain(
            text, sender=original.get("sender"), receiver=original.get("receiver"), access_code=hit.access_code,
            time=original.get("time"),
        )  # fmt: skip
    except MingbaiError as error:
        return Explained(
            rules,
            spans=tuple(spans),
            parts=_parts(spans, {}, text, is_clear),
            problem=str(error),
            model_words=model_words,
        )
    read = {(item["start"], item["end"]): str(item["read_as"]) for item in said["evidence"]}
    if not spans:
        spans = [{"start": start, "end": end} for start, end in read]
    shown_as = (lambda words: words) if is_clear else masked
    for span in spans:
        words = read.get((span["start"], span["end"]), "")
        if words:
            span["read_as"] = shown_as(words)
    without = said["without_evidence"]
    if set(said["not_applied"]) & set(hit.rules):  # over a field that is not recorded: today's answer lacks the rule
        without = None
    is_same = said["model"] == hit.model and said["rulebook"] == hit.rulebook
    return Explained(
        rules=rules, spans=tuple(spans), parts=_parts(spans, read, text, is_clear),
        read_as=shown_as(str(said["read_as"])), flag_at=said["flag_at"], block_at=said["block_at"],
        today_verdict=Verdict[said["verdict"].upper()],
        today_score=said["score"], without_verdict=Verdict[without["verdict"].upper()] if without else None,
        without_score=without["score"] if without else None, is_same_policy=is_same,
        policy_words="" if is_same else _difference(hit, said), model_words=model_words,
    )  # fmt: skip


def _difference(hit: Hit, said: dict[str, Any]) -> str:  # Any: JSON, see ScreeningClient.explain
    changed = []
    if said["model"] != hit.model:
        changed.append(_("the model"))
    if said["rulebook"] != hit.rulebook:
        changed.append(_("the rulebook"))
    return _(" and ").join(changed)


def _parts(
    spans: list[dict[str, Any]], read: dict[tuple[int, int], str], text: str, is_clear: bool
) -> tuple[dict[str, str], ...]:  # Any: numbers and words
    """What was written, and what it was read as; each pair once."""
    quoted = text if is_clear else masked(text)
    found: dict[tuple[str, str], dict[str, str]] = {}
    for span in sorted(spans, key=lambda span: span["start"]):
        written = quoted[span["start"] : span["end"]]
        words = read.get((span["start"], span["end"]), "")
        words = words if is_clear else masked(words)
        found.setdefault((written, words), {"written": written, "read_as": words if words != written else ""})
    return tuple(found.values())


def _rules(ids: tuple[str, ...]) -> tuple[RuleShown, ...]:
    try:
        snapshot = policy_store.current(installed_settings().data)
        known = _rule_table(policy_store.rulebook_text(installed_settings().data, snapshot))
    except (MingbaiError, OSError):
        known = {}
    return tuple(
        RuleShown(
            id=id,
            reason=str(known.get(id, {}).get("reason", "")),
            owner=str(known.get(id, {}).get("owner", "")),
            is_exception=id.startswith("freed:"),
        )
        for id in ids
    )


@lru_cache(maxsize=4)
def _rule_table(toml: str) -> dict[str, dict[str, Any]]:  # Any: TOML values
    """The rules of a rulebook by id: only to show who answers for them, so no engine is asked."""
    try:
        rules = tomllib.loads(toml).get("rule", [])
    except tomllib.TOMLDecodeError:
        return {}
    return {str(rule.get("id")): rule for rule in rules if isinstance(rule, dict)}
