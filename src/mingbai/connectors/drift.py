"""Drift: is the traffic of late still what the model was made for?

A sample of recorded messages whose text is still kept, spread over the time asked for, is counted as the model sees it
and compared with a reference (`engines.screening.profiles`): by default the one that the model brings. What that is
stands in `Drift.reference`: training data has far more unwanted messages than traffic, so its scores always lie apart;
a window of an operator's own traffic from when the model was put in force tells more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mingbai.connectors.replay import Findings, recorded_messages
from mingbai.connectors.replay_record import Piece, pieces_of
from mingbai.engines.screening.comparison import scores_of
from mingbai.engines.screening.model import LANGUAGES, Model
from mingbai.engines.screening.profiles import (
    SCORE_BINS,
    FeatureDrift,
    Profile,
    compare_profiles,
    profile_of,
    reference_of,
    score_bins,
)
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Verdict
from mingbai.ledger import KeyStore, StreamReader

MAX_PLACES = 64  # of the record that a sample is taken from: each costs some hundredths of a second
SAMPLE = 20_000


@dataclass(frozen=True, slots=True)
class DayScores:
    """Scores of the sampled messages of one day (UTC) and language: counts in 20 equal bins of 0..1."""

    day: date
    language: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """reference: what recent messages are compared with, in words; messages: how many were sampled."""

    model: str
    reference: str
    reference_messages: int
    messages: int
    features: tuple[FeatureDrift, ...]
    days: tuple[DayScores, ...]


def measure_drift(
    data_dir: Path,
    streams: Sequence[str],
    keys: KeyStore,
    model: Model,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    prefixes: Sequence[str] = (),
    sample: int = SAMPLE,
    reference: Profile | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Drift:
    """Compare recorded traffic with a reference (None: the model's own).

    since, until: by the time of the decision, `until` excluded; prefixes: of access codes, as in `replay_rules`.
    Raises BadValue if the model brings no reference and none is given, or no text is kept of that time.
    """
    reference = reference or reference_of(model)
    if reference is None:
        raise BadValue(field="reference", value=f"none in model {model.version}", expected="a profile to compare with")
    found = _sample(data_dir, streams, keys, since, until, prefixes, sample, should_stop)
    if not found.num_rows:
        raise BadValue(field="since", value=since, expected="a time of which some messages' texts are still kept")
    texts = found.column("text").to_pylist()
    recent = profile_of(texts, model, "recorded traffic")
    return Drift(
        model=model.version,
        reference=reference.source,
        reference_messages=reference.messages,
        messages=len(texts),
        features=compare_profiles(reference, recent),
        days=_days(found.column("at"), texts, model),
    )


def profile_of_window(
    data_dir: Path,
    streams: Sequence[str],
    keys: KeyStore,
    model: Model,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    prefixes: Sequence[str] = (),
    sample: int = SAMPLE,
    source: str = "recorded traffic",
) -> Profile:
    """A profile of recorded messages, to compare later ones with (`Profile.to_dict` is for keeping it)."""
    found = _sample(data_dir, streams, keys, since, until, prefixes, sample, None)
    return profile_of(found.column("text").to_pylist(), model, source)


def recent_texts(
    data_dir: Path,
    streams: Sequence[str],
    keys: KeyStore,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    prefixes: Sequence[str] = (),
    limit: int = SAMPLE,
    allowed_only: bool = True,
) -> list[str]:
    """Texts of recorded messages, spread over the time asked for: the `background` of `learning.learn`."""
    found = _sample(data_dir, streams, keys, since, until, prefixes, limit, None, allowed_only=allowed_only)
    texts: list[str] = found.column("text").to_pylist()
    return texts


def _sample(
    data_dir: Path,
    streams: Sequence[str],
    keys: KeyStore,
    since: datetime | None,
    until: datetime | None,
    prefixes: Sequence[str],
    wanted: int,
    should_stop: Callable[[], bool] | None,
    *,
    allowed_only: bool = False,
) -> pa.Table:
    """At most `wanted` messages, text and at, from evenly spaced places of the record; the same each time."""
    pieces = pieces_of(data_dir, streams, since=since, until=until)
    places = [pieces[number] for number in np.linspace(0, len(pieces) - 1, min(len(pieces), MAX_PLACES), dtype=int)]
    taken: list[pa.RecordBatch] = []
    left = wanted
    for number, piece in enumerate(places):
        if should_stop is not None and should_stop():
            break
        quota = -(-left // (len(places) - number))  # what one place lacks, the next ones give
        messages = _messages(data_dir, piece, keys, since, until, prefixes, allowed_only)
        if messages.num_rows > quota:
            messages = messages.take(pa.array(np.linspace(0, messages.num_rows - 1, quota, dtype=np.int64)))
        taken += messages.to_batches()
        left -= messages.num_rows
    return pa.Table.from_batches(taken, _SAMPLED)


_SAMPLED = pa.schema([pa.field("text", pa.string()), pa.field("at", pa.timestamp("us", "UTC"))])


def _messages(
    data_dir: Path,
    piece: Piece,
    keys: KeyStore,
    since: datetime | None,
    until: datetime | None,
    prefixes: Sequence[str],
    allowed_only: bool,
) -> pa.Table:
    reader = StreamReader(data_dir, piece.stream, keys)
    found = []
    for item in recorded_messages(
        reader, Findings(0), since=since, until=until, first_seq=piece.first_seq, last_seq=piece.last_seq,
        prefixes=prefixes,
    ):  # fmt: skip
        batch = pa.RecordBatch.from_arrays([item.batch.column("text"), item.entries.column("at")], schema=_SAMPLED)
        if allowed_only:
            batch = batch.filter(pc.equal(item.entries.column("verdict"), Verdict.ALLOW.value))
        found.append(batch)
    return pa.Table.from_batches(found, _SAMPLED)


def _days(times: pa.ChunkedArray, texts: list[str], model: Model) -> tuple[DayScores, ...]:
    scores = scores_of(model, texts)
    bins = score_bins(scores.score)
    days = np.array(pc.floor_temporal(times, unit="day").cast(pa.date32()).to_pylist(), dtype="O")
    found = []
    for day in sorted(set(days.tolist())):
        for language, is_language in zip(LANGUAGES, (scores.is_chinese, ~scores.is_chinese), strict=True):
            chosen = (days == day) & is_language
            if chosen.any():
                counts = np.bincount(bins[chosen], minlength=SCORE_BINS).tolist()
                found.append(DayScores(day, language, tuple(counts)))
    return tuple(found)
