"""One decision, taken apart for a person: what weighed, what it was read as, what would have to change.

Everything here is asked of the same `screen` that decides traffic: the score without the evidence is the score of the
text with the evidence taken out, not an estimate.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mingbai.engines.screening import kernel, urls
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.reading import normalised
from mingbai.engines.screening.rule_outcome import Seen
from mingbai.engines.screening.rulebook_types import Rule
from mingbai.engines.screening.schema import text_buffers
from mingbai.engines.screening.screen import read_rows, screen, with_thresholds
from mingbai.kernel.verdicts import Category, Reason, Verdict


@dataclass(frozen=True, slots=True)
class Evidence:
    """Characters start..end (exclusive) of the original that weighed, and the letters that they were read as."""

    start: int
    end: int
    written: str
    read_as: str

    @property
    def is_read_otherwise(self) -> bool:
        """Whether it was read as more than itself without its punctuation, in lower case."""
        plain = "".join(char for char in self.written if unicodedata.category(char)[0] not in "PZ")
        return plain.lower() != self.read_as.lower()


@dataclass(frozen=True, slots=True)
class Without:
    """The decision on the text with the evidence taken out."""

    text: str
    score: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Explanation:
    """One decision. flag_at, block_at: the thresholds that applied; without: None if nothing is marked."""

    text: str
    verdict: Verdict
    category: Category
    score: float
    reasons: tuple[Reason, ...]
    rules: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    campaign: int
    is_chinese: bool
    flag_at: float
    block_at: float
    read_as: str
    without: Without | None
    not_applied: tuple[str, ...] = ()  # rules that only a field which the message does not bring kept from firing

    @property
    def spans(self) -> list[tuple[int, int]]:
        return [(item.start, item.end) for item in self.evidence]


def explain(batch: pa.RecordBatch, policy: Policy, counters: Counters) -> list[Explanation]:
    """Explain each message of a small batch (columns of `MESSAGE`). Pure, as `screen` is."""
    decisions, _ = screen(batch, policy, counters)
    data, offsets = text_buffers(batch)
    seen = read_rows(data, offsets, policy)
    notes = seen.notes
    not_applied = _not_applied(batch, decisions, seen, policy)
    explained = []
    for row, decision in enumerate(decisions.to_pylist()):
        text = batch.column("text")[row].as_py() or ""
        letters, places = normalised(text)
        is_chinese = bool(notes[row] & kernel.CHINESE)
        language = with_thresholds(policy, policy.model.language_of(is_chinese))
        evidence = tuple(_evidence(text, span["start"], span["end"], letters, places) for span in decision["spans"])
        explained.append(
            Explanation(
                text=text,
                verdict=Verdict(decision["verdict"]),
                category=Category(decision["category"]),
                score=float(decision["score"]),
                reasons=tuple(Reason(code) for code in decision["reasons"]),
                rules=tuple(decision["rules"]),
                evidence=evidence,
                campaign=int(decision["campaign"]),
                is_chinese=is_chinese,
                flag_at=float(language.flag_at),
                block_at=float(language.block_at),
                read_as=letters,
                without=_without(batch.slice(row, 1), text, evidence, policy, counters),
                not_applied=tuple(not_applied.get(row, ())),
            )
        )
    return explained


def document(found: Explanation, rules: Mapping[str, Rule], versions: Mapping[str, str]) -> dict[str, object]:
    """An explanation as JSON values: codes, not words. rules: those of the rulebook, by id; versions: of the policy."""
    without = found.without
    return {
        "verdict": found.verdict.label,
        "category": found.category.label,
        "score": round(found.score, 6),
        "flag_at": round(found.flag_at, 6),
        "block_at": round(found.block_at, 6),
        "language": "zh" if found.is_chinese else "en",
        "reasons": [reason.label for reason in found.reasons],
        "rules": [
            {"id": rule, **({"reason": rules[rule].reason, "owner": rules[rule].owner} if rule in rules else {})}
            for rule in found.rules
        ],
        "not_applied": list(found.not_applied),
        "evidence": [
            {"start": item.start, "end": item.end, "written": item.written, "read_as": item.read_as}
            for item in found.evidence
        ],
        "read_as": found.read_as,
        "without_evidence": None
        if without is None
        else {"score": round(without.score, 6), "verdict": without.verdict.label},
        "campaign": f"{found.campaign:016x}" if found.campaign else "",
        **versions,
    }


def _not_applied(
    batch: pa.RecordBatch, decisions: pa.RecordBatch, seen: kernel.Readings, policy: Policy
) -> dict[int, list[str]]:
    """By row, the rules behind the reason `field.absent`."""
    if int(Reason.FIELD_ABSENT) not in decisions.column("reasons").flatten().to_pylist():
        return {}
    kinds = ((seen.notes >> 4) & 3).astype(np.uint8)
    linked = np.flatnonzero(kinds)
    links = urls.find_batch(batch.column("text"), linked, kinds[linked])
    fired = policy.rules.apply(batch, Seen(seen.score, seen.category, seen.hits, seen.logit), links, policy.at)
    found: dict[int, list[str]] = {}
    for row, rule in fired.kept_back.tolist():
        found.setdefault(row, []).append(policy.rules.rulebook.rules[rule].id)
    return found


def _evidence(text: str, start: int, end: int, letters: str, places: list[int]) -> Evidence:
    read_as = "".join(letter for letter, place in zip(letters, places, strict=True) if start <= place < end)
    return Evidence(start, end, text[start:end], read_as)


def _without(
    message: pa.RecordBatch, text: str, evidence: tuple[Evidence, ...], policy: Policy, counters: Counters
) -> Without | None:
    if not evidence:
        return None
    kept, at = [], 0
    for item in evidence:
        kept.append(text[at : item.start])
        at = item.end
    rest = "".join([*kept, text[at:]])
    place = message.schema.get_field_index("text")
    decisions, _ = screen(message.set_column(place, "text", pa.array([rest], pa.string())), policy, counters)
    return Without(rest, float(decisions.column("score")[0].as_py()), Verdict(decisions.column("verdict")[0].as_py()))
