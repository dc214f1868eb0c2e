"""`screen`: one verdict per message, and why.

The compiled kernel reads the messages; what remains here works on whole columns, and on single rows only where
something was found in them: rules, URLs, campaigns, and the reasons put together.

Order of authority, strongest first: an allow rule of the operator; any other rule (with the model, the stricter of both
counts); the model; a look-alike URL; a burst. A verification code is not blocked by the model alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening import campaigns, kernel, reading, url_scan, urls
from mingbai.engines.screening.campaigns import Counters, CounterUpdates, Table
from mingbai.engines.screening.model import LanguageModel
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.rules import RuleOutcome
from mingbai.engines.screening.schema import DECISION, SPAN, has_text, text_buffers
from mingbai.engines.screening.url_hosts import UrlFlag
from mingbai.kernel.verdicts import Category, Reason, Verdict

Bools = npt.NDArray[np.bool_]
_UNWANTED: Final = np.array([Category.ADVERTISING, Category.FRAUD, Category.ILLEGAL_TRADE], np.uint8)


def screen(batch: pa.RecordBatch, policy: Policy, counters: Counters) -> tuple[pa.RecordBatch, CounterUpdates]:
    """Give one verdict per message.

    batch: columns of `MESSAGE`, n rows; `text` decoded, concatenated parts already joined; the other columns optional.
    Returns n rows of `DECISION` in the same order, and what the caller adds to the counters with `Counters.apply`.
    Raises SchemaMismatch if `text` is missing or no string. Pure: the same arguments give the same answer, bit for bit.
    """
    rows = batch.num_rows
    data, offsets = text_buffers(batch)
    seen = read_rows(data, offsets, policy)
    score, notes = seen.score, seen.notes
    links = _find_urls(batch, notes)
    fired = policy.rules.apply(batch, seen, links, policy.at)
    campaign, sightings, table = _sight(batch, seen, counters)

    flag_at, block_at = thresholds(policy, notes)
    spam = score >= block_at
    doubtful = (score >= flag_at) & ~spam
    code = spam & fired.code  # a verification code
    verdict = np.where(spam & ~code, Verdict.BLOCK, np.where(doubtful | code, Verdict.FLAG, Verdict.ALLOW)).astype(
        np.uint8
    )

    flags = np.zeros(rows, np.uint8)
    np.bitwise_or.at(flags, links.rows, links.flags)
    lookalike = (flags & UrlFlag.LOOKALIKE) != 0
    dubious = (flags & (UrlFlag.HIDDEN | UrlFlag.RAW_ADDRESS)) != 0
    verdict = np.where(lookalike, np.maximum(verdict, policy.lookalike), verdict)
    verdict = np.where(dubious, np.maximum(verdict, Verdict.FLAG), verdict)

    persons = ~fired.service_code
    burst = persons & (
        (sightings[:, 1] >= campaigns.bits_for(policy.burst.senders))
        | (sightings[:, 2] >= campaigns.bits_for(policy.burst.receivers))
    )
    verdict = np.where(burst, np.maximum(verdict, Verdict.FLAG), verdict)
    ruled = fired.action != RuleOutcome.NONE
    allowed = fired.action == Verdict.ALLOW
    verdict = np.where(ruled & ~allowed, np.maximum(verdict, fired.action), verdict)
    verdict = np.where(allowed, Verdict.ALLOW, verdict).astype(np.uint8)

    category = _category(seen, fired, verdict, lookalike)
    fresh = np.zeros(rows, np.bool_)
    for row, url in zip(links.rows.tolist(), links.urls, strict=True):
        if url.host.domain not in counters.hosts and not url.flags & UrlFlag.OFFICIAL:
            fresh[row] = True
    reasons = _reasons(
        rows,
        {
            Reason.MODEL_LEGITIMATE: score < flag_at,
            Reason.MODEL_SPAM: spam,
            Reason.MODEL_DOUBTFUL: doubtful,
            Reason.MODEL_SECOND_STAGE: ((notes & kernel.SECOND_LOOK) != 0) & (score >= flag_at),
            **fired.reasons,
            Reason.URL_LOOKALIKE: lookalike,
            Reason.URL_SHORTENER: (flags & UrlFlag.SHORTENER) != 0,
            Reason.URL_RAW_ADDRESS: (flags & UrlFlag.RAW_ADDRESS) != 0,
            Reason.URL_HIDDEN: (flags & UrlFlag.HIDDEN) != 0,
            Reason.URL_NEW_HOST: fresh & (verdict != Verdict.ALLOW),
            Reason.CAMPAIGN_BURST: burst,
            Reason.EVASION: ((notes & kernel.EVASIVE) != 0) & (verdict != Verdict.ALLOW),
            Reason.PROTECTED_CODE: code,
            Reason.TRUNCATED: (notes & kernel.TRUNCATED) != 0,
        },
    )
    marked = (flags & ~np.uint8(UrlFlag.OFFICIAL)) != 0
    spans = _spans(rows, seen, fired, links, marked)
    prints = pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), rows, [None, pa.py_buffer(seen.prints)])
    decisions = pa.RecordBatch.from_arrays(
        [
            pa.array(verdict),
            pa.array(category),
            pa.array(score),
            reasons,
            fired.rules,
            spans,
            pa.array(campaign),
            prints,
        ],
        schema=DECISION,
    )
    hosts = frozenset(url.host.domain for url in links.urls if not url.flags & UrlFlag.OFFICIAL)
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
        kernel.screen_rows(
            data, offsets, 0, rows, reading.tables(), with_thresholds(policy, policy.model.chinese),
            with_thresholds(policy, policy.model.english), policy.rules.keywords.arrays, url_scan.TABLES, out,
        )  # fmt: skip
        if (out.used <= capacity).all():
            return out._replace(hits=out.hits[: out.used[0]], spans=out.spans[: out.used[1]])
        capacity = np.maximum(capacity, out.used)


def with_thresholds(policy: Policy, language: LanguageModel) -> LanguageModel:
    """The model with the policy's own thresholds, where it has any."""
    if policy.flag_at is None and policy.block_at is None:
        return language
    return language._replace(
        flag_at=np.float32(language.flag_at if policy.flag_at is None else policy.flag_at),
        block_at=np.float32(language.block_at if policy.block_at is None else policy.block_at),
    )


def thresholds(policy: Policy, notes: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Flagging and blocking threshold of each row, by the language it was read in."""
    chinese = with_thresholds(policy, policy.model.chinese)
    english = with_thresholds(policy, policy.model.english)
    is_chinese = (notes & kernel.CHINESE) != 0
    return (
        np.where(is_chinese, chinese.flag_at, english.flag_at),
        np.where(is_chinese, chinese.block_at, english.block_at),
    )


def _find_urls(batch: pa.RecordBatch, notes: npt.NDArray[np.uint8]) -> urls.UrlTable:
    kinds = (notes >> 4) & 3
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


def _category(
    seen: kernel.Readings, fired: RuleOutcome, verdict: npt.NDArray[np.uint8], lookalike: Bools
) -> npt.NDArray[np.uint8]:
    """The model's category; a stopped message is never called legitimate, and a rule knows what it stops."""
    category = seen.category.copy()
    stopped = (verdict >= Verdict.HOLD) & (category < Category.ADVERTISING)
    category[stopped] = Category.ADVERTISING
    category[stopped & lookalike] = Category.FRAUD
    known = fired.category != RuleOutcome.NONE
    category[known] = fired.category[known]
    return category


def _reasons(rows: int, masks: dict[Reason, Bools]) -> pa.ListArray:
    """Masks, one a reason code -> list<uint16> a row, in the order of the codes."""
    ordered = sorted((int(code), mask) for code, mask in masks.items())
    counts = np.zeros(rows + 1, np.int32)
    for _, mask in ordered:
        counts[1:] += mask
    ends = np.cumsum(counts, dtype=np.int32)
    values = np.empty(int(ends[-1]), np.uint16)
    at = ends[:-1].copy()
    for code, mask in ordered:
        hit = np.flatnonzero(mask)
        values[at[hit]] = code
        at[hit] += 1
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(values))


def _spans(rows: int, seen: kernel.Readings, fired: RuleOutcome, links: urls.UrlTable, marked: Bools) -> pa.ListArray:
    """What to mark in each original text: the model's evidence, what rules matched, noteworthy URLs; merged, in order."""
    parts = [seen.spans, fired.spans]
    noteworthy = [
        (row, url.start, url.end)
        for row, url in zip(links.rows.tolist(), links.urls, strict=True)
        if marked[row] and url.flags & ~UrlFlag.OFFICIAL
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
