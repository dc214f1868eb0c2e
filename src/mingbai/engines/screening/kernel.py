"""The compiled screen: a text column in, a reading of every message out, in one pass and without an object each.

A row is read (`reading`), scored (`model`; this module and `Model.reference_score` agree bit for bit), fingerprinted
(`campaigns`), searched for keywords (`trie`) and looked over for URLs (`url_scan`), while its letters are in the L1
cache. Rows whose score reaches the flagging threshold are weighed once more for the letters that made it (`evidence`).

Everything is written into arrays that the caller owns; rows are independent, so threads may take ranges of them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mingbai.engines.screening import reading, trie, url_scan
from mingbai.engines.screening.evidence import weigh
from mingbai.engines.screening.jit import Number, arithmetic, inline, int64, uint32, uint64
from mingbai.engines.screening.model import LanguageModel
from mingbai.engines.screening.reading import (
    K1,
    K2,
    K3,
    LANE,
    MAX_LETTERS,
    MAX_MARKS,
    U8,
    U16,
    U64,
    Tables,
    decode,
    is_chinese,
    may_hold_url,
    repair,
)
from mingbai.engines.screening.scoring import F32, I32, I64, Scratch, read_grams, score

CHINESE: Final = 1  # bits of `Readings.notes`
SECOND_LOOK: Final = 2
TRUNCATED: Final = 4
EVASIVE: Final = 8
URL_PLAIN: Final = 16
URL_HIDDEN: Final = 32


class Readings(NamedTuple):
    """What the kernel writes, one row a message unless said otherwise."""

    score: F32
    logit: F32
    category: U8
    notes: U8
    prints: U16  # [n, 16]
    filled: U8  # bins of the fingerprint that are filled
    text_hash: U64  # of the normalised text
    hits: I32  # [capacity, 4]: row, keyword, start, end (characters of the original text)
    spans: I32  # [capacity, 3]: row, start, end (characters of the original text)
    used: I64  # [2]: hits and spans written; larger than the capacity when it was too small


@inline
def hash_text(buf: U16, words: U64, n: Number) -> Number:
    """Hash of the normalised text: a sum over words of four letters, each mixed with its place.

    No term waits for another. words: the same memory as buf.
    """
    for j in range(uint64(n), uint64(n) + uint64(3)):
        buf[j] = 0
    t = uint64(n)
    for k in range((uint64(n) + uint64(3)) >> uint64(2)):
        h = (words[k] ^ (k * K3)) * K1
        h = (h ^ (h >> uint64(32))) * K2
        t += h ^ (h >> uint64(29))
    return t


@arithmetic
def screen_rows(
    data: U8,
    offsets: I32,
    first: Number,
    stop: Number,
    tables: Tables,
    chinese: LanguageModel,
    english: LanguageModel,
    keywords: trie.TrieArrays,
    url_tables: url_scan.ScanTables,
    s: Scratch,
    out: Readings,
) -> None:
    """Read rows first..stop (see the module's text). `data` must be valid UTF-8, as Arrow's strings are."""
    n_hits = 0
    n_spans = 0
    for r in range(first, stop):
        a = int64(offsets[r])
        b = int64(offsets[r + 1])
        n, m, d, flags, counts, chars = decode(
            data, a, b, tables.alphabet, tables.counting, s.buf, s.pos, s.marks, s.digits
        )
        letters = n
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
        latin = (counts >> 12) & LANE
        hanzi = (counts >> 24) & LANE
        rewritten = (counts >> 36) & LANE
        in_chinese = is_chinese(hanzi, latin)
        links = may_hold_url(s.buf, n, s.marks, m, flags, latin)
        g = read_grams(n, m, d, hanzi, latin, links, tables, s)
        notes = 0
        # Two calls, not one with the model in a variable: choosing a tuple of arrays costs more than the head.
        if in_chinese:
            notes = CHINESE
            p, logit, category, second = score(chinese, data, a, b, n, m, g, hanzi, latin, s)
            flagged = p >= chinese.flag_at
        else:
            p, logit, category, second = score(english, data, a, b, n, m, g, hanzi, latin, s)
            flagged = p >= english.flag_at
        if second:
            notes |= SECOND_LOOK
        if letters >= MAX_LETTERS or m >= MAX_MARKS:
            notes |= TRUNCATED
        if (flags & reading.F_INVISIBLE) != 0 or n != letters or (rewritten >= 2 and rewritten * 2 < n):
            notes |= EVASIVE
        if links:
            kind = url_scan.url_candidate(data, a, b, url_tables)
            notes |= int64(kind) << 4
        out.score[r] = p
        out.logit[r] = logit
        out.category[r] = category
        out.notes[r] = notes
        filled = 0
        for k in range(16):
            v = s.mins[k]
            out.prints[r, k] = v & uint32(0xFFFF)
            filled += int64(v != uint32(0xFFFFFFFF))
        out.filled[r] = filled
        out.text_hash[r] = hash_text(s.buf, s.words, n)
        found = trie.walk(s.buf, n, keywords, s.hits)
        if found > 0:
            hits = s.hits
            for k in range(found):
                if n_hits < out.hits.shape[0]:
                    out.hits[n_hits, 0] = r
                    out.hits[n_hits, 1] = hits[k, 0]
                    out.hits[n_hits, 2] = s.pos[hits[k, 1]]
                    out.hits[n_hits, 3] = s.pos[hits[k, 2] - 1] + 1
                n_hits += 1
        if flagged:
            # One call, inlined: called from outside, its array pointers would be read from memory at each use.
            model = chinese if in_chinese else english
            blocked = bool(p >= model.block_at)
            n_spans = weigh(r, model, n, m, hanzi, latin, g, blocked, tables, s, out.spans, n_spans)
    out.used[0] = n_hits
    out.used[1] = n_spans
