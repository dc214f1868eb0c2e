"""What a run counted, for its summary: verdicts, categories, reasons, rules, campaigns. Constant memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mingbai.kernel.verdicts import Category, Reason, Verdict

_EXAMPLE_CHARACTERS = 240
# Campaigns counted at a time. When there are more, the smaller half is forgotten: a campaign that matters in a summary
# is far above the smallest of fifty thousand.
MAX_CAMPAIGNS = 50_000


@dataclass(slots=True)
class CampaignTally:
    """One near-duplicate group as a run saw it. example: its first text (of a stopped message, if it has one), cut,
    not masked: the screen masks."""

    messages: int = 0
    stopped: int = 0  # held or blocked
    example: str = ""
    example_verdict: Verdict = Verdict.ALLOW
    example_spans: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class Tally:
    """Counts over a run; `add` takes its batches."""

    with_campaigns: bool = True
    messages: int = 0
    unscreened: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    categories: Counter[Category] = field(default_factory=Counter)
    stopped_categories: Counter[Category] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    campaigns: dict[int, CampaignTally] = field(default_factory=dict)

    @property
    def stopped(self) -> int:
        """Messages that did not go on: held or blocked."""
        return self.verdicts[Verdict.HOLD] + self.verdicts[Verdict.BLOCK]

    def add(self, batch: pa.RecordBatch, decisions: pa.RecordBatch, unscreened: int) -> None:
        """Count one batch of `MESSAGE` and its `DECISION` rows."""
        self.messages += batch.num_rows
        self.unscreened += unscreened
        verdicts = decisions.column("verdict").to_numpy()
        categories = decisions.column("category").to_numpy()
        self._count(self.verdicts, Verdict, verdicts)
        self._count(self.categories, Category, categories)
        self._count(self.stopped_categories, Category, categories[verdicts >= Verdict.HOLD])
        self._count(self.reasons, Reason, decisions.column("reasons").flatten().to_numpy())
        for item in pc.value_counts(decisions.column("rules").flatten()).to_pylist():
            self.rules[item["values"]] += item["counts"]
        if self.with_campaigns:
            self._add_campaigns(batch, decisions, verdicts)

    @staticmethod
    def _count(into: Counter[Verdict] | Counter[Category] | Counter[Reason], kind: type, values: np.ndarray) -> None:
        found, counts = np.unique(values, return_counts=True)
        for value, count in zip(found.tolist(), counts.tolist(), strict=True):
            into[kind(value)] += count

    def _add_campaigns(self, batch: pa.RecordBatch, decisions: pa.RecordBatch, verdicts: np.ndarray) -> None:
        stopped = verdicts >= Verdict.HOLD
        ids, first, place, counts = np.unique(
            decisions.column("campaign").to_numpy(), return_index=True, return_inverse=True, return_counts=True
        )
        stops = np.bincount(place, weights=stopped, minlength=len(ids)).astype(np.int64)
        first_stopped = np.full(len(ids), -1, np.int64)
        rows = np.flatnonzero(stopped)[::-1]
        first_stopped[place[rows]] = rows  # backwards, so that the first one stays
        for at, campaign in enumerate(ids.tolist()):
            if campaign == 0:
                continue
            known = self.campaigns.get(campaign)
            if known is None:
                known = self.campaigns[campaign] = CampaignTally()
            known.messages += int(counts[at])
            known.stopped += int(stops[at])
            # One text alone is no campaign: its example is fetched when it comes again, or is stopped.
            if known.stopped and known.example_verdict < Verdict.HOLD and first_stopped[at] >= 0:
                self._take_example(known, batch, decisions, int(first_stopped[at]))
            elif not known.example and known.messages > 1:
                self._take_example(known, batch, decisions, int(first[at]))
        if len(self.campaigns) > MAX_CAMPAIGNS:
            by_size = sorted(self.campaigns.items(), key=lambda item: item[1].messages, reverse=True)
            self.campaigns = dict(by_size[: MAX_CAMPAIGNS // 2])

    @staticmethod
    def _take_example(campaign: CampaignTally, batch: pa.RecordBatch, decisions: pa.RecordBatch, row: int) -> None:
        campaign.example = (batch.column("text")[row].as_py() or "")[:_EXAMPLE_CHARACTERS]
        campaign.example_verdict = Verdict(decisions.column("verdict")[row].as_py())
        campaign.example_spans = tuple((s["start"], s["end"]) for s in decisions.column("spans")[row].as_py())

    def top_campaigns(self, limit: int, *, stopped_only: bool = False) -> list[tuple[int, CampaignTally]]:
        """The largest campaigns of at least two messages, largest first."""
        chosen = [
            (campaign, tally)
            for campaign, tally in self.campaigns.items()
            if tally.messages > 1 and (tally.stopped or not stopped_only)
        ]
        return sorted(chosen, key=lambda item: (-item[1].messages, item[0]))[:limit]
