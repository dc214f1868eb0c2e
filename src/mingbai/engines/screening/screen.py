"""`screen`: one verdict per message, and why.

The compiled kernel reads the messages; what remains here works on whole columns, and on single rows only where
something was found in them: rules, URLs, campaigns, the evidence put together. `verdict` says who decides.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening import campaigns, kernel, reading, url_scan, urls, verdict
from mingbai.engines.screening.campaigns import Counters, CounterUpdates, Table
from mingbai.engines.screening.model import LanguageModel
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rules import RuleOutcome, Seen
from mingbai.engines.screening.schema import DECISION, SPAN, has_text, text_buffers
from mingbai.engines.screening.scoring import Scratch, new_scratch
from mingbai.engines.screening.url_hosts import UrlFlag


def screen(batch: pa.RecordBatch, policy: Policy, counters: Counters) -> tuple[pa.RecordBatch, CounterUpdates]:
    """Give one verdict per message.

    batch: columns of `MESSAGE`, n rows; `text` decoded, concatenated parts already joined; the other columns optional.
    Returns n rows of `DECISION` in the same order, and what the caller adds to the counters with `Counters.apply`.
    Raises SchemaMismatch if `text` is missing or no string. Pure: the same arguments give the same answer, bit for bit.
    """
    rows = batch.num_rows
    data, offsets = text_buffers(batch)
    seen = read_rows(data, offsets, policy)
    links = _find_urls(batch, seen.notes)
    fired = policy.rules.apply(batch, Seen(seen.score, seen.category, seen.hits, seen.logit), links, policy.at)
    campaign, sightings, table = _sight(batch, seen, counters)

    found = np.zeros(rows, np.uint8)
    hosts = frozenset[str]()
    if links.urls:
        official = int(UrlFlag.OFFICIAL)
        np.bitwise_or.at(found, links.rows, links.flags)
        strangers = [(row, url.host.domain) for row, url in zip(links.rows.tolist(), links.urls, strict=True)
                     if not url.flags & official]  # fmt: skip
        hosts = frozenset(domain for _, domain in strangers)
        fresh = [row for row, domain in strangers if domain not in counters.hosts]
        found[fresh] |= verdict.URL_NEW
    bits = np.zeros(rows, np.uint64)
    if (fired.winner >= 0).any():
        for code, mask in fired.reasons.items():
            bits[mask] |= np.uint64(verdict.BIT[code])
    verdicts, categories = np.empty(rows, np.uint8), np.empty(rows, np.uint8)
    total = verdict.decide(
        seen.score, seen.notes, seen.category, found, sightings, fired.action, fired.category, bits, fired.code,
        fired.service_code, _limits(policy), verdicts, categories, bits,
    )  # fmt: skip
    decisions = pa.RecordBatch.from_arrays(
        [
            pa.array(verdicts),
            pa.array(categories),
            pa.array(seen.score),
            verdict.reasons(bits, total),
            fired.rules,
            _spans(rows, seen, fired, links),
            pa.array(campaign),
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), rows, [None, pa.py_buffer(seen.prints)]),
        ],
        schema=DECISION,
    )
    return decisions, CounterUpdates(table, hosts)


def read_rows(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int32], policy: Policy) -> kernel.Readings:
    """Run the kernel over a text column; hits and spans are cut to what was written."""
    rows = offsets.shape[0] - 1
    capacity = np.array([2 * rows + 256, 8 * rows + 256])
    while True:
        out = kernel.Readings(
            score=np.empty(rows, np.float32),
            logit=np.empty(rows, np.float32),
            category=np.empty(rows, np.uint8),
            notes=np.empty(rows, np.uint8),
            prints=np.empty((rows, campaigns.BINS), np.uint16),
            filled=np.empty(rows, np.uint8),
            text_hash=np.empty(rows, np.uint64),
            hits=np.empty((capacity[0], 4), np.int32),
            spans=np.empty((capacity[1], 3), np.int32),
            used=np.zeros(2, np.int64),
        )
        chinese, english = (with_thresholds(policy, m) for m in (policy.model.chinese, policy.model.english))
        words, scratch = policy.rules.keywords.arrays, _scratch()
        kernel.screen_rows(
            data, offsets, 0, rows, reading.tables(), chinese, english, words, url_scan.TABLES, scratch, out
        )
        if (out.used <= capacity).all():
            return out._replace(hits=out.hits[: out.used[0]], spans=out.spans[: out.used[1]])
        capacity = np.maximum(capacity, out.used)


_local = threading.local()


def _scratch() -> Scratch:
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


def _limits(policy: Policy) -> verdict.Limits:
    chinese = with_thresholds(policy, policy.model.chinese)
    english = with_thresholds(policy, policy.model.english)
    return verdict.Limits(
        chinese.flag_at,
        chinese.block_at,
        english.flag_at,
        english.block_at,
        int(policy.lookalike),
        campaigns.bits_for(policy.burst.senders),
        campaigns.bits_for(policy.burst.receivers),
    )


def _find_urls(batch: pa.RecordBatch, notes: npt.NDArray[np.uint8]) -> urls.UrlTable:
    kinds = ((notes >> 4) & 3).astype(np.uint8)
    rows = np.flatnonzero(kinds)
    if rows.size == 0:
        return urls.UrlTable(np.zeros(0, np.int64), [])
    return urls.find_batch(batch.column("text"), rows, kinds[rows])


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
    hours = np.zeros(rows, np.uint32)
    index = batch.schema.get_field_index("time")
    if index >= 0:
        micros = batch.column(index).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        hours = (micros // (campaigns.WINDOW_S * 1_000_000)).clip(0).astype(np.uint32)
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
    parts = [seen.spans, fired.spans]
    official = int(UrlFlag.OFFICIAL)
    noteworthy = [
        (row, url.start, url.end)
        for row, url in zip(links.rows.tolist(), links.urls, strict=True)
        if url.flags & ~official
    ]
    if noteworthy:
        parts.append(np.array(noteworthy, np.int32))
    spans = parts[0] if len(fired.spans) == 0 and not noteworthy else _merge(np.concatenate(parts))
    ends = np.zeros(rows + 1, np.int32)
    ends[1:] = np.cumsum(np.bincount(spans[:, 0], minlength=rows), dtype=np.int32)
    values = pa.StructArray.from_arrays(
        [pa.array(np.ascontiguousarray(spans[:, 1])), pa.array(np.ascontiguousarray(spans[:, 2]))], fields=list(SPAN)
    )
    return pa.ListArray.from_arrays(pa.array(ends), values)


def _merge(spans: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Sort by row and start; spans of a row that touch become one."""
    spans = spans[np.lexsort((spans[:, 1], spans[:, 0]))]
    key = spans[:, 0].astype(np.int64) << 32
    reach = np.maximum.accumulate(key + spans[:, 2])  # within a row the furthest end so far
    new = np.ones(len(spans), np.bool_)
    new[1:] = key[1:] + spans[1:, 1] > reach[:-1]
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(spans)) - 1
    out = spans[first].copy()
    out[:, 2] = (reach[last] & 0xFFFFFFFF).astype(np.int32)
    return out
