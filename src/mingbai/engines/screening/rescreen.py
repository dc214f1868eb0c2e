"""`rescreen`: the verdict of a changed policy on messages that were decided before, without scoring them again.

Theory of operation. What the model said of a message depends on the text and the model alone, and the ledger kept it:
the score, and in most rows the category. So where the model is the one that decided then, only what rules ask for is
read: the letters and the keywords in them. A row is *settled*, and keeps what was recorded, when all of this holds:

- the same model decided, and the entry says what the model thought (one of the three reasons `model.…`);
- no rule fired and neither model nor look-alike host stopped it: then the recorded category is the model's own;
- its score lies on the same side of the thresholds of both languages (which language it is was not recorded), and
  below blocking, so that it is of no account whether it is a verification code.

Every other row is read by the whole kernel. What was found about URLs is taken from the reasons for settled rows, so a
newer list of brands or shorteners shows in the others only. A burst cannot be asked again, because it depends on what
was counted at the time: for every row it is one if it was recorded as one, whatever the limits of the new policy.
Rows are independent, so a batch may be cut anywhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mingbai.engines.screening import reading, trie, url_scan, urls, verdict
from mingbai.engines.screening.jit import arithmetic, int64
from mingbai.engines.screening.kernel import hash_text
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.reading import LANE, U8, Tables, decode, may_hold_url, repair
from mingbai.engines.screening.rule_outcome import Seen
from mingbai.engines.screening.schema import DECISION, column, text_buffers
from mingbai.engines.screening.scoring import I32, I64, Scratch
from mingbai.engines.screening.screen import let_pass, limits_of, read_rows, thread_scratch
from mingbai.engines.screening.url_hosts import UrlFlag
from mingbai.kernel.errors import SchemaMismatch
from mingbai.kernel.verdicts import Reason

Bools = npt.NDArray[np.bool_]
F32 = npt.NDArray[np.float32]
U64 = npt.NDArray[np.uint64]

RECORDED: Final = ("category", "score", "reasons", "rules", "model")  # columns of an entry that `rescreen` needs
RESCREENED: Final = pa.schema([DECISION.field(name) for name in ("verdict", "category", "score", "rules")])

_MODEL_BITS: Final = tuple(
    np.uint64(verdict.BIT[reason])
    for reason in (Reason.MODEL_LEGITIMATE, Reason.MODEL_DOUBTFUL, Reason.MODEL_SPAM, Reason.UNSCREENED)
)
_OVERRULED: Final = np.uint64(verdict.BIT[Reason.MODEL_SPAM] | verdict.BIT[Reason.URL_LOOKALIKE])
_BURST: Final = np.uint64(verdict.BIT[Reason.CAMPAIGN_BURST])
_URL_BITS: Final = (
    (np.uint64(verdict.BIT[Reason.URL_SHORTENER]), np.uint8(UrlFlag.SHORTENER)),
    (np.uint64(verdict.BIT[Reason.URL_RAW_ADDRESS]), np.uint8(UrlFlag.RAW_ADDRESS)),
    (np.uint64(verdict.BIT[Reason.URL_HIDDEN]), np.uint8(UrlFlag.HIDDEN)),
)


def rescreen(
    batch: pa.RecordBatch, recorded: pa.RecordBatch, policy: Policy, *, trust: bool = True
) -> tuple[pa.RecordBatch, int]:
    """Decide n messages anew, with what was recorded of them.

    batch: columns of `MESSAGE`; recorded: the `RECORDED` columns of their entries (types as in the ledger; nulls where
    nothing was recorded), row for row. trust: False reads every row in full, with the same result.
    Returns n rows of `RESCREENED` in the same order, and how many rows the model had to read. Raises SchemaMismatch if
    a column is missing. Pure.
    """
    for name in RECORDED:
        if name not in recorded.schema.names:
            raise SchemaMismatch(field=name, value="no such column", expected=", ".join(RECORDED))
    rows = batch.num_rows
    bits = _reason_bits(recorded.column("reasons"))
    score = np.array(recorded.column("score").fill_null(0.0), np.float32)
    category = np.array(recorded.column("category").fill_null(0), np.uint8)
    settled = _settled(recorded, bits, score, policy) if trust else np.zeros(rows, np.bool_)
    unread = ~settled
    others = np.flatnonzero(unread)
    found = np.zeros(rows, np.uint8)
    for bit, flag in _URL_BITS:
        found[settled & ((bits & bit) != 0)] |= flag

    notes, kinds = np.zeros(rows, np.uint8), np.zeros(rows, np.uint8)
    hits, text_hash = np.zeros((0, 4), np.int32), np.zeros(rows, np.uint64)
    if others.size:
        part = batch if others.size == rows else batch.select(["text"]).take(pa.array(others))
        # No row reaches these thresholds, so that nothing is spent on evidence, which nobody will see.
        seen = read_rows(*text_buffers(part), replace(policy, flag_at=np.inf, block_at=np.inf))
        score[others], category[others], notes[others] = seen.score, seen.category, seen.notes
        hits, text_hash = seen.hits, seen.text_hash
    if others.size < rows:
        hits, kinds, text_hash = _read_words(*text_buffers(batch), policy)
    kinds[others] = (notes[others] >> 4) & 3
    linked = np.flatnonzero(kinds)
    links = urls.UrlTable(np.zeros(0, np.int64), [])
    if linked.size:
        links = urls.find_batch(batch.column("text"), linked, kinds[linked])
        concerned = unread[links.rows]
        np.bitwise_or.at(found, links.rows[concerned], links.flags[concerned])
    fired = policy.rules.apply(batch, Seen(score, category, hits), links, policy.at, codes_in=unread)

    sightings = np.zeros((rows, 3), np.uint32)
    sightings[:, 1] = (bits & _BURST) != 0
    verdicts, categories = np.empty(rows, np.uint8), np.empty(rows, np.uint8)
    verdict.decide(
        score, notes, category, found, sightings, fired.action, fired.category, np.zeros(rows, np.uint64), fired.code,
        np.zeros(rows, np.bool_), limits_of(policy)._replace(sender_bits=1, receiver_bits=1), verdicts, categories,
        np.zeros(rows, np.uint64),
    )  # fmt: skip
    rules = fired.rules
    if policy.exceptions:
        freed = policy.exceptions.freed(batch, np.flatnonzero(verdicts), text_hash, policy.at)
        if freed:
            rules = let_pass(freed, verdicts, categories, np.zeros(rows, np.uint64), rules)
    decided = [column(pa.uint8(), verdicts), column(pa.uint8(), categories), column(pa.float32(), score), rules]
    return pa.RecordBatch.from_arrays(decided, schema=RESCREENED), int(others.size)


def _reason_bits(reasons: pa.Array) -> U64:
    """The recorded reasons of each row as bits of `verdict.BIT`; 0 where none are known."""
    values = reasons.flatten().to_numpy(zero_copy_only=False)
    places = np.minimum(np.searchsorted(verdict.CODES, values), len(verdict.CODES) - 1)
    known = verdict.CODES[places] == values
    bits = np.where(known, np.uint64(1) << places.astype(np.uint64), np.uint64(0))
    lengths = pc.list_value_length(reasons).fill_null(0).to_numpy(zero_copy_only=False)
    out = np.zeros(len(reasons), np.uint64)
    filled = np.flatnonzero(lengths)
    if filled.size:
        starts = np.cumsum(lengths) - lengths
        out[filled] = np.bitwise_or.reduceat(bits, starts[filled])
    return out


def _settled(recorded: pa.RecordBatch, bits: U64, score: F32, policy: Policy) -> Bools:
    legitimate, doubtful, spam, unscreened = _MODEL_BITS
    same_model = pc.equal(recorded.column("model"), policy.model.version).fill_null(False)
    silent = pc.list_value_length(recorded.column("rules")).fill_null(0).to_numpy(zero_copy_only=False) == 0
    thought = bits & (legitimate | doubtful | spam | unscreened)
    limits = limits_of(policy)
    doubt = score >= limits.chinese_flag
    below = (score < limits.chinese_block) & (score < limits.english_block)
    result: Bools = same_model.to_numpy(zero_copy_only=False) & silent & below
    result &= ((thought == legitimate) | (thought == doubtful)) & ((bits & _OVERRULED) == 0)
    result &= doubt == (score >= limits.english_flag)
    for name in ("score", "category"):
        if recorded.column(name).null_count:
            result &= recorded.column(name).is_valid().to_numpy(zero_copy_only=False)
    return result


def _read_words(data: U8, offsets: I32, policy: Policy) -> tuple[I32, U8, U64]:
    """Keyword hits and text hash of every row, as in `kernel.Readings`; where there may be URLs, if some rule asks."""
    rows = offsets.shape[0] - 1
    kinds, text_hash = np.zeros(rows, np.uint8), np.empty(rows, np.uint64)
    hits = np.empty((2 * rows + 256, 4), np.int32)
    with_links = np.bool_(policy.rules.reads_links)
    words = policy.rules.keywords.arrays
    used = np.zeros(1, np.int64)
    while True:
        find_words(
            data, offsets, reading.tables(), words, url_scan.TABLES, with_links, thread_scratch(), hits, kinds,
            text_hash, used,
        )  # fmt: skip
        if used[0] <= len(hits):
            return hits[: used[0]], kinds, text_hash
        hits = np.empty((int(used[0]), 4), np.int32)


@arithmetic
def find_words(
    data: U8,
    offsets: I32,
    tables: Tables,
    keywords: trie.TrieArrays,
    url_tables: url_scan.ScanTables,
    with_links: np.bool_,
    s: Scratch,
    hits: I32,
    kinds: U8,
    text_hash: U64,
    used: I64,
) -> None:
    """The part of `kernel.screen_rows` that rules need. used: [1], hits found, more than there is room for if too many.

    `data` must be valid UTF-8, as Arrow's strings are.
    """
    found_in_all = 0
    for r in range(offsets.shape[0] - 1):
        a = int64(offsets[r])
        b = int64(offsets[r + 1])
        n, m, d, flags, counts, chars = decode(
            data, a, b, tables.alphabet, tables.counting, s.buf, s.pos, s.marks, s.digits
        )
        s.pos[n] = chars
        n, d = repair(
            s.buf,
            s.pos,
            n,
            s.marks,
            m,
            s.digits,
            d,
            flags,
            counts,
            tables.numerals,
            tables.split_keys,
            tables.split_wholes,
        )
        s.pos[n] = chars
        if with_links and may_hold_url(s.buf, n, s.marks, m, flags, (counts >> 12) & LANE):
            kinds[r] = url_scan.url_candidate(data, a, b, url_tables)
        text_hash[r] = hash_text(s.buf, s.words, n)
        found = trie.walk(s.buf, n, keywords, s.hits)
        for k in range(found):
            if found_in_all < hits.shape[0]:
                hits[found_in_all, 0] = r
                hits[found_in_all, 1] = s.hits[k, 0]
                hits[found_in_all, 2] = s.pos[s.hits[k, 1]]
                hits[found_in_all, 3] = s.pos[s.hits[k, 2] - 1] + 1
            found_in_all += 1
    used[0] = found_in_all
