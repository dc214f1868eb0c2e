"""Reads about models: which there are, how the shadow agrees, what changed its verdict, how far traffic has drifted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, QuerySet

from mingbai.contexts.messaging.models import ModelState, ModelTerm, Run, RunKind, RunState, ScreeningModel, ShadowCount
from mingbai.contexts.messaging.models.review import Label, LabelSource
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.people.policy import Action, Rights
from mingbai.kernel.masking import masked
from mingbai.kernel.verdicts import Category, Verdict


def models() -> QuerySet[ScreeningModel]:
    return ScreeningModel.objects.select_related("base")


def in_force() -> ScreeningModel | None:
    return models().filter(state=ModelState.IN_FORCE).first()


def shadow() -> ScreeningModel | None:
    return models().filter(is_shadow=True).first()


def terms() -> QuerySet[ModelTerm]:
    """Newest first."""
    return ModelTerm.objects.select_related("model")


def runs_of(*kinds: str) -> QuerySet[Run]:
    """Newest first."""
    return Run.objects.filter(kind__in=kinds)


def is_confirmed(model: ScreeningModel, status: Mapping[str, Any] | None) -> bool | None:  # Any: JSON
    """Whether the screener decides by this model; None: it does not answer."""
    return None if status is None else bool(status["policy"]["model"] == model.version)


# ---- labels


def gold_labels() -> QuerySet[Label]:
    return Label.objects.filter(source=LabelSource.GOLD, withdrawn_at=None).order_by("stream", "seq")


def label_counts() -> dict[str, int]:
    """Reviewed messages by what is said to be their category; gold apart, as `gold`."""
    found = Label.objects.filter(withdrawn_at=None).exclude(source=LabelSource.GOLD)
    counts: Counter[str] = Counter()
    for row in found.values("category").annotate(count=Count("entry_id", distinct=True)).order_by("category"):
        counts[Category(row["category"]).label] += row["count"]
    counts["gold"] = gold_labels().count()
    return dict(counts)


# ---- the shadow


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a shadow decided beside the model in force. stopped: only the shadow would stop; freed: only it frees."""

    since: datetime
    until: datetime
    messages: int
    agree: int
    skipped: int
    stopped: dict[str, int]
    freed: dict[str, int]
    labels: tuple[datetime, ...]
    shares: tuple[float, ...]  # of agreement, by the hour

    @property
    def share(self) -> float | None:
        return self.agree / self.messages if self.messages else None


def agreement(shadow: str, *, since: datetime) -> Agreement | None:
    """Counts of a shadow since a time, whatever model stood before it; None: nothing yet."""
    rows = list(ShadowCount.objects.filter(shadow=shadow, until__gte=since).order_by("until"))
    if not rows:
        return None
    stopped: Counter[str] = Counter()
    freed: Counter[str] = Counter()
    hours: dict[datetime, list[int]] = {}
    for row in rows:
        stopped.update(row.stopped)
        freed.update(row.freed)
        pair = hours.setdefault(row.until.replace(minute=0, second=0, microsecond=0), [0, 0])
        pair[0] += row.agree
        pair[1] += row.messages
    kept = [(hour, pair) for hour, pair in sorted(hours.items()) if pair[1]]
    return Agreement(
        since=rows[0].since,
        until=rows[-1].until,
        messages=sum(row.messages for row in rows),
        agree=sum(row.agree for row in rows),
        skipped=sum(row.skipped for row in rows),
        stopped=dict(stopped),
        freed=dict(freed),
        labels=tuple(hour for hour, _ in kept),
        shares=tuple(pair[0] / pair[1] for _, pair in kept),
    )


# ---- messages whose verdict changes


@dataclass(frozen=True, slots=True)
class ChangedVerdict:
    """A held-back message on which two models differ, as this person may see it."""

    id: str
    truth: Category
    old: Verdict
    new: Verdict
    old_score: float
    new_score: float
    is_better: bool
    is_gold: bool
    text: str
    not_kept: str


def changed_verdicts(
    comparison: Mapping[str, Any], rights: Rights, *, start: int, count: int, only: str = ""
) -> tuple[list[ChangedVerdict], int]:  # Any: JSON
    """A page of the messages whose verdict a candidate changes, and how many there are. only: better, worse, gold."""
    listed = [one for one in comparison["changes"] if _fits(one, only)]
    page = listed[start : start + count]
    found = traffic.originals([(one["stream"], one["seq"]) for one in page if one["stream"]])
    may = traffic.covers(rights.reach(Action.SEE_TEXT), None, None)  # reviewed messages belong to no one unit
    rows = []
    for one in page:
        original = found.get((one["stream"], one["seq"]), {})
        text = original.get("text")
        rows.append(
            ChangedVerdict(
                id=one["id"],
                truth=Category(one["truth"]),
                old=Verdict(one["old"]),
                new=Verdict(one["new"]),
                old_score=one["old_score"],
                new_score=one["new_score"],
                is_better=one["is_better"],
                is_gold=one["is_gold"],
                text="" if text is None else text if may else masked(text),
                not_kept="" if text is not None else traffic.kept_words(str(original.get("text_kept", "never_kept"))),
            )
        )
    return rows, len(listed)


def _fits(one: Mapping[str, Any], only: str) -> bool:  # Any: JSON
    if only == "gold":
        return bool(one["is_gold"])
    return not only or bool(one["is_better"]) == (only == "better")


# ---- drift


def last_drift() -> Run | None:
    """The newest measurement that came to an end."""
    return Run.objects.filter(kind=RunKind.DRIFT, state=RunState.DONE).first()


@dataclass(frozen=True, slots=True)
class ScoresOverTime:
    """Per language: the days, and of each day the shares of messages in few bands of the score."""

    language: str
    days: tuple[str, ...]
    series: tuple[dict[str, Any], ...]  # Any: what `stacked_chart` takes


_BANDS = ((0, 2, "0–0.1"), (2, 10, "0.1–0.5"), (10, 18, "0.5–0.9"), (18, 20, "0.9–1"))
_TONES = ("allow", "flag", "hold", "block")


def scores_over_time(result: Mapping[str, Any]) -> list[ScoresOverTime]:  # Any: JSON
    out = []
    for language in ("chinese", "english"):
        days = [one for one in result["days"] if one["language"] == language and sum(one["counts"])]
        if not days:
            continue
        series = tuple(
            {
                "label": label,
                "tone": tone,
                "values": [sum(one["counts"][first:last]) / sum(one["counts"]) for one in days],
            }
            for (first, last, label), tone in zip(_BANDS, _TONES, strict=True)
        )
        out.append(ScoresOverTime(language, tuple(one["day"][5:] for one in days), series))
    return out
