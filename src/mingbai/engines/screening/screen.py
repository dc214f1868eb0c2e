"""`screen`: one verdict per message, and why.

The compiled kernel reads the messages; what remains here works on whole columns, and on single rows only where
something was found in them: rules, URLs, campaigns, the evidence put together. `verdict` says who decides.
"""

from __future__ import annotations

import threading
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening import campaigns, kernel, reading, url_scan, urls, verdict
from mingbai.engines.screening.campaigns import Counters, CounterUpdates, Table
from mingbai.engines.screening.freed import FreedMessage
from mingbai.engines.screening.jit import kernel as compiled
from mingbai.engines.screening.model import LanguageModel
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rule_outcome import RuleOutcome, Seen
from mingbai.engines.screening.schema import DECISION, SPAN, column, has_text, micros, text_buffers
from mingbai.engines.screening.scoring import Scratch, new_scratch
from mingbai.engines.screening.url_hosts import UrlFlag
from mingbai.kernel.verdicts import Reason, Verdict


def screen(batch: pa.RecordBatch, policy: Policy, counters: Counters) -> tuple[pa.RecordBatch, CounterUpdates]:
    """Give one verdict per message.

    batch: columns of `MESSAGE`, n rows; `text` decoded, concatenated parts already joined; the other columns optional.
    Returns n rows of `DECISION` in the same order, and what the caller adds to the counters with `Counters.apply`.
    Raises SchemaMismatch if `text` is missing or no string. Pure: the same arguments give the same answer, bit for bit.
    """
    decisions, updates, _ = screen_and_hash(batch, policy, counters)
    return decisions, updates


def screen_and_hash(
    batch: pa.RecordBatch, policy: Policy, counters: Counters
) -> tuple[pa.RecordBatch, CounterUpdates, npt.NDArray[np.uint64]]:
    """`screen`, and the hash of each normalised text (`Readings.text_hash`): nobody should read a text twice."""
    rows = batch.num_rows
    data, offsets = text_buffers(batch)
    seen = read_rows(data, offsets, policy)
    links = _find_urls(batch, seen.notes)
    fired = policy.rules.apply(batch, Seen(seen.score, seen.category, seen.hits, seen.logit), links, policy.at)
    campaign, sightings, table = _sight(batch, seen, counters)

    found = np.zeros(rows, np.uint8)
    hosts = _NO_HOSTS
    if links.urls:
        official = int(UrlFlag.OFFICIAL)
        strangers = []
        for row, url in zip(links.rows.tolist(), links.urls, strict=True):
            found[row] |= url.flags
            if not url.flags & official:
                strangers.append((row, url.host.domain))
        hosts = frozenset(domain for _, domain in strangers)
        for row, domain in strangers:
            if domain not in counters.hosts:
                found[row] |= verdict.URL_NEW
    bits = np.zeros(rows, np.uint64)
    if fired.fires:
        for code, mask in fired.reasons.items():
            bits[mask] |= np.uint64(verdict.BIT[code])
    if len(fired.kept_back):
        bits[fired.kept_back[:, 0]] |= np.uint64(verdict.BIT[Reason.FIELD_ABSENT])
    verdicts, categories = np.empty(rows, np.uint8), np.empty(rows, np.uint8)
    total = verdict.decide(
        seen.score, seen.notes, seen.category, found, sightings, fired.action, fired.category, bits, fired.code,
        fired.service_code, limits_of(policy), verdicts, categories, bits,
    )  # fmt: skip
    rules = fired.rules
    if policy.exceptions:
        freed = policy.exceptions.freed(batch, np.flatnonzero(verdicts), seen.text_hash, policy.at)
        if freed:
            total += len(freed)
            rules = let_pass(freed, verdicts, categories, bits, rules)
    decisions = pa.RecordBatch.from_arrays(
        [
            column(_BYTE, verdicts),
            column(_BYTE, categories),
            column(_SCORE, seen.score),
            verdict.reasons(bits, total),
            rules,
            _spans(rows, seen, fired, links),
            column(_CAMPAIGN, campaign),
            column(_FINGERPRINT, seen.prints),
        ],
        schema=DECISION,
    )
    return decisions, CounterUpdates(table, hosts), seen.text_hash


def let_pass(
    freed: list[tuple[int, FreedMessage]],
    verdicts: npt.NDArray[np.uint8],
    categories: npt.NDArray[np.uint8],
    bits: npt.NDArray[np.uint64],
    rules: pa.ListArray,
) -> pa.ListArray:
    """Overrule the rows that a person freed, in place; returns the rules with the exception first.

    What had spoken against them stays named: reasons and rules tell what was overruled.
    """
    named = rules.to_pylist()
    for row, exception in freed:
        verdicts[row] = Verdict.ALLOW
        categories[row] = exception.category
        bits[row] |= np.uint64(verdict.BIT[Reason.RULE_FREED])
        named[row] = [exception.rule, *named[row]]
    return pa.array(named, rules.type)


def read_rows(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int32], policy: Policy) -> kernel.Readings:
    """Run the kernel over a text column; hits and spans are cut to what was written."""
    rows = offsets.shape[0] - 1
    chinese, english = (with_thresholds(policy, m) for m in (policy.model.chinese, policy.model.english))
    words, scratch, tables = policy.rules.keywords.arrays, thread_scratch(), reading.tables()
    hits, spans = 2 * rows + 256, 8 * rows + 256
    while True:
        out = kernel.Readings(
            score=np.empty(rows, np.float32),
            logit=np.empty(rows, np.float32),
            category=np.empty(rows, np.uint8),
            notes=np.empty(rows, np.uint8),
            prints=np.empty((rows, campaigns.BINS), np.uint16),
            filled=np.empty(rows, np.uint8),
            text_hash=np.empty(rows, np.uint64),
            hits=np.empty((hits, 4), np.int32),
            spans=np.empty((spans, 3), np.int32),
            used=np.zeros(2, np.int64),
        )
        kernel.screen_rows(data, offsets, 0, rows, tables, chinese, english, words, url_scan.TABLES, scratch, out)
        used_hits, used_spans = out.used.tolist()
        if used_hits <= hits and used_spans <= spans:
            return out._replace(hits=out.hits[:used_hits], spans=out.spans[:used_spans])
        hits, spans = max(hits, used_hits), max(spans, used_spans)


_local = threading.local()


def thread_scratch() -> Scratch:
    """This thread's working memory."""
    if not hasattr(_local, "scratch"):
        _local.scratch = new_scratch()
    scratch: Scratch = _local.scratch
    return scratch


def with_thresholds(policy: Policy, language: LanguageModel) -> LanguageModel:
    """The model with the policy's own thresholds, where it has any."""
    if policy.flag_at is None and policy.block_at is None:
        return language
    return language._replace(
        flag_at=np.float32(language.flag_at if policy.flag_at is None else policy.flag_at),
        block_at=np.float32(language.block_at if policy.block_at is None else policy.block_at),
    )


def limits_of(policy: Policy) -> verdict.Limits:
    chinese, english = policy.model.chinese, policy.model.english
    flag_at, block_at = policy.flag_at, policy.block_at
    return verdict.Limits(
        chinese.flag_at if flag_at is None else np.float32(flag_at),
        chinese.block_at if block_at is None else np.float32(block_at),
        english.flag_at if flag_at is None else np.float32(flag_at),
        english.block_at if block_at is None else np.float32(block_at),
        int(policy.lookalike),
        campaigns.bits_for(policy.burst.senders),
        campaigns.bits_for(policy.burst.receivers),
    )


def _find_urls(batch: pa.RecordBatch, notes: npt.NDArray[np.uint8]) -> urls.UrlTable:
    marked = notes & _MAY_LINK
    (rows,) = marked.nonzero()
    if rows.size == 0:
        return _NO_LINKS
    return urls.find_batch(batch.column("text"), rows, marked[rows] // np.uint8(kernel.URL_PLAIN))


def _sight(
    batch: pa.RecordBatch, seen: kernel.Readings, counters: Counters
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32], Table]:
    """Campaign of each row, what is known of it (messages, sender bits, receiver bits), and the batch's own table."""
    rows = batch.num_rows
    people = []
    for name in ("sender", "receiver"):
        hashed = np.zeros(rows, np.uint64)
        if has_text(batch, name):
            campaigns.hash_column(*text_buffers(batch, name), hashed)
        people.append(hashed)
    times = micros(batch)
    if times is None:
        hours = np.zeros(rows, np.uint32)
    else:
        hours = (np.maximum(times, 0) // (campaigns.WINDOW_S * 1_000_000)).astype(np.uint32)
    base, own = counters.table, Table.empty(rows)
    campaign = np.zeros(rows, np.uint64)
    sightings = np.zeros((rows, 3), np.uint32)
    campaigns.sight(
        seen.prints, seen.filled, people[0], people[1], hours,
        base.index, base.ids, base.prints, base.hours, base.messages, base.bits, base.used,
        own.index, own.ids, own.prints, own.hours, own.messages, own.bits, own.used,
        campaigns.new_index(2 * min(rows, len(base))), campaign, sightings,
    )  # fmt: skip
    return campaign, sightings, own


def _spans(rows: int, seen: kernel.Readings, fired: RuleOutcome, links: urls.UrlTable) -> pa.ListArray:
    """What to mark in each original text: the model's evidence, what rules matched, noteworthy URLs; merged."""
    official = int(UrlFlag.OFFICIAL)
    noteworthy = [
        (row, url.start, url.end)
        for row, url in zip(links.rows.tolist(), links.urls, strict=True)
        if url.flags & ~official
    ]
    spans = seen.spans
    if len(fired.spans) or noteworthy:
        others = np.concatenate([fired.spans, np.array(noteworthy, np.int32).reshape(-1, 3)])
        others = others[np.lexsort((others[:, 1], others[:, 0]))]
        merged = np.empty((len(spans) + len(others), 3), np.int32)
        spans = merged[: _merge(spans, others, merged)]
    ends = np.zeros(rows + 1, np.int32)
    count = len(spans)
    if count == 0:
        return column(_SPANS, ends, _NO_MARKS)
    places = np.empty((2, count), np.int32)
    _lay_out(spans, ends, places)
    marks = pa.Array.from_buffers(SPAN, count, [None], 0, children=[column(_PLACE, place) for place in places])
    return column(_SPANS, ends, marks)


@compiled
def _lay_out(spans: npt.NDArray[np.int32], ends: npt.NDArray[np.int32], places: npt.NDArray[np.int32]) -> None:
    """Spans, by row -> the offsets (n + 1, zeros before) and the starts and ends of a list column."""
    for k in range(spans.shape[0]):
        ends[spans[k, 0] + 1] += 1
        places[0, k], places[1, k] = spans[k, 1], spans[k, 2]
    for row in range(1, ends.shape[0]):
        ends[row] += ends[row - 1]


_BYTE, _SCORE, _CAMPAIGN, _FINGERPRINT = pa.uint8(), pa.float32(), pa.uint64(), pa.binary(campaigns.BINS * 2)
_PLACE: Final = pa.int32()
_SPANS: Final = DECISION.field("spans").type
_NO_MARKS: Final = pa.array([], SPAN)
_MAY_LINK: Final = np.uint8(kernel.URL_PLAIN | kernel.URL_HIDDEN)
_NO_HOSTS: Final = frozenset[str]()
_NO_LINKS: Final = urls.UrlTable(np.zeros(0, np.int64), [])


@compiled
def _merge(first: npt.NDArray[np.int32], second: npt.NDArray[np.int32], out: npt.NDArray[np.int32]) -> int:
    """Two lists of spans, each by row and start, into one; spans of a row that touch become one. Returns how many."""
    used = -1
    i = j = 0
    while i < first.shape[0] or j < second.shape[0]:
        take_first = j >= second.shape[0]
        if not take_first and i < first.shape[0]:
            take_first = first[i, 0] < second[j, 0] or (first[i, 0] == second[j, 0] and first[i, 1] <= second[j, 1])
        row, start, end = first[i] if take_first else second[j]
        i += take_first
        j += not take_first
        if used >= 0 and out[used, 0] == row and start <= out[used, 2]:
            out[used, 2] = max(out[used, 2], end)
        else:
            used += 1
            out[used, 0], out[used, 1], out[used, 2] = row, start, end
    return used + 1
