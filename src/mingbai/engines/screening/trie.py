"""Tens of thousands of keywords in one pass: a filter in cache, then a hash trie.

Keywords and text are sequences of *nids*, the uint16 normalised characters of `alphabet`; this module never sees a
`str` and knows nothing of normalisation. `compile_keywords` builds flat numpy arrays off the hot path, `walk` is
inlined into the screening kernel, `find_all` answers for one text outside it, `find_all_reference` is the plain
definition that tests compare with.

How it works. Every occurrence is looked for from its first character. Four bitmaps, as small as the keywords allow (16
bits a keyword, so that ten thousand stay in the L1 cache), say whether some keyword begins with the next six
characters, or with the next four and is no longer than five, or is exactly the next three, or two; nearly all positions
end there. (Four characters say much in Chinese and little in English: of English positions 42 % passed.) What passes is
looked up in open addressing tables:

    (c0, c1)            -> state, for keywords of two characters
    (c0, c1, c2)        -> state, for keywords of three
    (state, c)          -> state, every level below the fourth
    (c0, c1, c2, c3)    -> state, the trie's depth 4, in a table of its own: so the first three levels cost nothing

The node beside an edge is `state << 36 | (keyword id + 1, or 0) << 16 | mask`: the state it leads to, the keyword that
ends there, and which low four bits its children have: most walks fail at the first character after the prefix, and the
mask says so without another probe.

Why not a double array: it was measured no faster (the filter decides), and it builds forty times slower.

Cost is bounded whatever the text: at most `MAX_KEYWORD_NIDS` probes from each position. Repeated prefixes of long
keywords are the worst text; the cap of 32 keeps it at 32 probes a character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mingbai.engines.screening.jit import Number, arithmetic, inline, uint64
from mingbai.kernel.errors import BadValue

MAX_KEYWORD_NIDS = 32
MAX_KEYWORDS = (1 << 20) - 2  # what the 20 bits of a node can number

_HASH_3 = 0x165667B19E3779F9  # odd 64-bit multipliers of xxHash64 (PRIME64_3, PRIME64_2, PRIME64_5, PRIME64_1)
_HASH_2 = 0xC2B2AE3D27D4EB4F
_HASH_4 = 0x27D4EB2F165667C5  # PRIME64_5
_HASH_EDGE = 0x9E3779B185EBCA87
_FILTER_BITS = 16  # of a bitmap, for each keyword in it
_TAG_3 = 1 << 63
_TAG_2 = 1 << 62

U16 = npt.NDArray[np.uint16]
U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]


class TrieArrays(NamedTuple):
    """What `walk` needs, all read-only. A named tuple, because numba takes it as one argument."""

    filter_6: U64  # bitmap of hashed first six nids of keywords of six and more
    filter_4: U64  # bitmap of hashed first four nids of keywords of four and five
    filter_3: U64  # bitmap of hashed keywords of three nids
    filter_2: U64  # bitmap of hashed keywords of two nids
    single: I32  # [65536] keyword id of a keyword of one nid, or -1; shape [1] when there is none
    # Open addressing: slot s is (table[2s] = edge or 0, table[2s + 1] = node), one cache line for both.
    starts: U64  # edges of four nids
    table: U64  # all others, tagged


@dataclass(frozen=True, slots=True)
class KeywordMatcher:
    """Compiled keywords. `count` distinct keywords have the ids 0..count-1."""

    arrays: TrieArrays
    count: int

    def __getstate__(self) -> tuple[TrieArrays, int]:
        return (self.arrays, self.count)

    def __setstate__(self, state: tuple[TrieArrays, int]) -> None:
        # numpy forgets the read-only flag when pickled, and numba would compile every kernel again for writable arrays.
        object.__setattr__(self, "arrays", _read_only(state[0]))
        object.__setattr__(self, "count", state[1])


def _read_only(arrays: TrieArrays) -> TrieArrays:
    for array in arrays:
        array.setflags(write=False)
    return arrays


def compile_keywords(keywords: Sequence[Sequence[int]]) -> tuple[KeywordMatcher, I32]:
    """Compile keywords to a matcher and say which id each got.

    keywords: nid sequences (1..65535), 1..32 long each; equal ones share an id.
    Returns the matcher and int32[len(keywords)], the id of each input keyword. Raises BadValue for a bad one.
    """
    if len(keywords) > MAX_KEYWORDS:
        raise BadValue(field="keywords", value=len(keywords), expected=f"at most {MAX_KEYWORDS} keywords")
    lengths = np.fromiter((len(k) for k in keywords), np.int64, len(keywords))
    if len(lengths) and not (1 <= lengths.min() and lengths.max() <= MAX_KEYWORD_NIDS):
        wrong = int(np.flatnonzero((lengths < 1) | (lengths > MAX_KEYWORD_NIDS))[0])
        raise BadValue(
            field=f"keyword {wrong}",
            value=int(lengths[wrong]),
            expected=f"1 to {MAX_KEYWORD_NIDS} characters once normalised",
        )
    flat = np.fromiter((nid for k in keywords for nid in k), np.int64, int(lengths.sum()))
    if len(flat) and not (1 <= flat.min() and flat.max() <= 0xFFFF):
        raise BadValue(field="keyword", value=int(flat.min()), expected="nids from 1 to 65535")
    padded = np.zeros((len(keywords), MAX_KEYWORD_NIDS), np.uint16)
    padded[np.arange(MAX_KEYWORD_NIDS) < lengths[:, None]] = flat

    # Big-endian bytes sort like the sequences themselves, and the zero padding puts a keyword before its extensions.
    rows = padded.astype(">u2").view(f"S{2 * MAX_KEYWORD_NIDS}").reshape(-1)
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    new = np.ones(len(rows), np.bool_)
    new[1:] = rows[1:] != rows[:-1]
    ids = np.empty(len(keywords), np.int32)
    ids[order] = np.cumsum(new, dtype=np.int32) - np.int32(1)
    unique = padded[order][new]
    return _build(unique, lengths[order][new]), ids


def _build(words: U16, lengths: npt.NDArray[np.int64]) -> KeywordMatcher:
    """words: distinct keywords in sorted order, zero padded; the row number is the keyword's id."""
    wide = words.astype(np.uint64)
    ids = np.arange(1, len(words) + 1, dtype=np.uint64)  # 0 = no keyword ends here
    edges: list[U64] = []
    keyword_of: list[U64] = []  # per edge; the edge's position + 1 is the number of the state it leads to
    mask_of: list[U64] = []
    states = 1

    def add_level(keys: U64, depth: int, rows: npt.NDArray[np.int64]) -> U64:
        """keys: edge into this level for each of the rows, equal ones adjacent. Returns the state each row reaches."""
        nonlocal states
        first = np.ones(len(keys), np.bool_)
        first[1:] = keys[1:] != keys[:-1]
        local = np.cumsum(first) - 1
        keyword = np.zeros(int(first.sum()), np.uint64)
        ends = lengths[rows] == depth
        keyword[local[ends]] = ids[rows[ends]]
        mask = np.zeros(len(keyword), np.uint64)
        if depth < MAX_KEYWORD_NIDS:
            longer = ~ends
            np.bitwise_or.at(mask, local[longer], np.uint64(1) << (wide[rows[longer], depth] & np.uint64(15)))
        edges.append(keys[first])
        keyword_of.append(keyword)
        mask_of.append(mask)
        reached = (local + states).astype(np.uint64)
        states += len(keyword)
        return reached

    pairs = np.flatnonzero(lengths == 2)
    pair_keys = (wide[pairs, 0] << np.uint64(16)) | wide[pairs, 1]
    add_level(pair_keys | np.uint64(_TAG_2), 2, pairs)
    triples = np.flatnonzero(lengths == 3)
    triple_keys = (wide[triples, 0] << np.uint64(32)) | (wide[triples, 1] << np.uint64(16)) | wide[triples, 2]
    add_level(triple_keys | np.uint64(_TAG_3), 3, triples)

    deep = np.flatnonzero(lengths >= 4)
    four_keys = wide[deep, 0]
    for place in (1, 2, 3):
        four_keys = (four_keys << np.uint64(16)) | wide[deep, place]
    four = len(edges)
    reached = add_level(four_keys, 4, deep)
    for depth in range(5, MAX_KEYWORD_NIDS + 1):
        longer = lengths[deep] >= depth
        deep, reached = deep[longer], reached[longer]
        if not len(deep):
            break
        reached = add_level((reached << np.uint64(16)) | wide[deep, depth - 1], depth, deep)

    sizes = [len(level) for level in edges]
    numbers = np.arange(1, sum(sizes) + 1, dtype=np.uint64)
    nodes = (numbers << np.uint64(36)) | (np.concatenate(keyword_of) << np.uint64(16)) | np.concatenate(mask_of)
    is_start = np.zeros(len(nodes), np.bool_)
    is_start[sum(sizes[:four]) : sum(sizes[: four + 1])] = True
    keys = np.concatenate(edges)
    starts, table = (_table(keys[chosen], nodes[chosen].astype(np.uint64)) for chosen in (is_start, ~is_start))
    is_long = lengths[np.flatnonzero(lengths >= 4)] >= 6
    rows = np.flatnonzero(lengths >= 6)
    next_two = (wide[rows, 4] << np.uint64(16)) | wide[rows, 5]
    filter_6 = _bitmap(four_keys[is_long] * np.uint64(_HASH_4) + next_two, _HASH_EDGE)
    filter_4 = _bitmap(four_keys[~is_long], _HASH_4)
    filter_3 = _bitmap(triple_keys, _HASH_3)
    filter_2 = _bitmap(pair_keys, _HASH_2)
    one = lengths == 1
    single = np.full(65536 if one.any() else 1, -1, np.int32)
    if one.any():
        single[words[one, 0]] = np.flatnonzero(one)
    arrays = TrieArrays(filter_6, filter_4, filter_3, filter_2, single, starts, table)
    return KeywordMatcher(_read_only(arrays), len(words))


def _bitmap(keys: U64, multiplier: int) -> U64:
    """Bits at the hashes of the keys; empty for none, else a power of two of words."""
    distinct = np.unique(keys)
    if not len(distinct):
        return np.zeros(0, np.uint64)
    bits = max(9, (_FILTER_BITS * len(distinct) - 1).bit_length())
    bitmap = np.zeros(1 << (bits - 6), np.uint64)
    hashes = (distinct * np.uint64(multiplier)) >> np.uint64(64 - bits)
    np.bitwise_or.at(bitmap, hashes >> np.uint64(6), np.uint64(1) << (hashes & np.uint64(63)))
    return bitmap


def _table(edges: U64, nodes: U64) -> U64:
    """Open addressing, a quarter to half full."""
    table = np.zeros(2 << max(4, int(2 * len(edges)).bit_length()), np.uint64)
    _insert(edges, nodes, table)
    return table


@inline
def _shift_of(bitmap: U64) -> Number:
    """By how much a hash is shifted to be a bit number of the bitmap; 0 for an empty one."""
    words = uint64(bitmap.shape[0])
    bits = uint64(6)
    while words > uint64(1):
        words >>= uint64(1)
        bits += uint64(1)
    return uint64(64) - bits if bitmap.shape[0] > 0 else uint64(0)


@inline
def _is_set(bitmap: U64, h: np.uint64) -> Number:
    return (bitmap[h >> uint64(6)] >> (h & uint64(63))) & uint64(1)


@inline
def _first_slot(edge: np.uint64, mask: np.uint64) -> Number:
    return ((edge * uint64(_HASH_EDGE)) >> uint64(19)) & mask


@arithmetic
def _insert(edges: U64, nodes: U64, table: U64) -> None:
    mask = uint64(table.shape[0] - 1) ^ uint64(1)  # even numbers only
    for k in range(edges.shape[0]):
        slot = _first_slot(edges[k], mask)
        while table[slot] != uint64(0):
            slot = (slot + uint64(2)) & mask
        table[slot] = edges[k]
        table[slot + uint64(1)] = nodes[k]


@inline
def _probe(edge: np.uint64, table: U64, mask: np.uint64) -> Number:
    """Node behind an edge, 0 if there is none. The table is at most half full, so the loop ends."""
    slot = _first_slot(edge, mask)
    while True:
        found = table[slot]
        if found == edge:
            return table[slot + uint64(1)]
        if found == uint64(0):
            return uint64(0)
        slot = (slot + uint64(2)) & mask


@inline
def walk(buf: U16, n: int, trie: TrieArrays, hits_out: I32) -> int:
    """Every occurrence of every keyword in buf[:n], ordered by start, then by length.

    buf: uint16 nids; trie: TrieArrays; hits_out: int32[K, 3], filled with (keyword id, start, end), end exclusive.
    Returns how many occurrences there are, at most 32 * n. Only the first K are stored: a caller that gets more than K
    must ask again with room for all, or a text stuffed with harmless keywords would hide the one that matters.
    """
    filter_6, filter_4, filter_3, filter_2, single, starts, table = trie
    mask = uint64(table.shape[0] - 1) ^ uint64(1)
    mask_4 = uint64(starts.shape[0] - 1) ^ uint64(1)
    room = hits_out.shape[0]
    has_single = single.shape[0] > 1
    shift_6, shift_4 = _shift_of(filter_6), _shift_of(filter_4)
    shift_3, shift_2 = _shift_of(filter_3), _shift_of(filter_2)
    total = 0
    end = uint64(n)  # unsigned throughout: numba tests signed indexes for wrap-around
    # The next four nids, and the two behind them; behind the end stands 0, which no keyword holds.
    x = uint64(0)
    y = uint64(0)
    for j in range(min(end, uint64(3))):
        x |= uint64(buf[j]) << (uint64(32) - uint64(16) * j)
    for j in range(uint64(3), min(end, uint64(5))):
        y |= uint64(buf[j]) << (uint64(16) * (uint64(4) - j))
    for j in range(end):
        sixth = uint64(buf[j + uint64(5)]) if j + uint64(5) < end else uint64(0)
        x = (x << uint64(16)) | (y >> uint64(16))
        y = ((y << uint64(16)) | sixth) & uint64(0xFFFFFFFF)
        h = x * uint64(_HASH_4)
        maybe_4, maybe_3, maybe_2 = uint64(0), uint64(0), uint64(0)
        if shift_4 != uint64(0):
            maybe_4 = _is_set(filter_4, h >> shift_4)
        if shift_6 != uint64(0):
            maybe_4 |= _is_set(filter_6, ((h + y) * uint64(_HASH_EDGE)) >> shift_6)
        if shift_3 != uint64(0):
            maybe_3 = _is_set(filter_3, ((x >> uint64(16)) * uint64(_HASH_3)) >> shift_3)
        if shift_2 != uint64(0):
            maybe_2 = _is_set(filter_2, ((x >> uint64(32)) * uint64(_HASH_2)) >> shift_2)
        if has_single:
            keyword = single[buf[j]]
            if keyword >= 0:
                if total < room:
                    hits_out[total, 0] = keyword
                    hits_out[total, 1] = j
                    hits_out[total, 2] = j + uint64(1)
                total += 1
        if (maybe_4 | maybe_3 | maybe_2) == uint64(0):
            continue
        for size in range(uint64(2), uint64(4)):
            edge = (x >> uint64(32)) | uint64(_TAG_2) if size == uint64(2) else (x >> uint64(16)) | uint64(_TAG_3)
            if (maybe_2 if size == uint64(2) else maybe_3) != uint64(0):
                node = _probe(edge, table, mask)
                if node != uint64(0):
                    if total < room:
                        hits_out[total, 0] = np.int64((node >> uint64(16)) & uint64(0xFFFFF)) - 1
                        hits_out[total, 1] = j
                        hits_out[total, 2] = j + size
                    total += 1
        if maybe_4 == uint64(0):
            continue
        node = _probe(x, starts, mask_4)
        k = j + uint64(4)
        while node != uint64(0):
            keyword = np.int64((node >> uint64(16)) & uint64(0xFFFFF)) - 1
            if keyword >= 0:
                if total < room:
                    hits_out[total, 0] = keyword
                    hits_out[total, 1] = j
                    hits_out[total, 2] = k
                total += 1
            if k >= end:
                break
            c = uint64(buf[k])
            if ((node >> (c & uint64(15))) & uint64(1)) == uint64(0):
                break
            node = _probe(((node >> uint64(36)) << uint64(16)) | c, table, mask)
            k += uint64(1)
    return total


@arithmetic
def _walk_one(buf: U16, n: int, trie: TrieArrays, hits_out: I32) -> int:
    return walk(buf, n, trie, hits_out)


def find_all(matcher: KeywordMatcher, nids: Sequence[int] | U16) -> I32:
    """Every occurrence in one text: int32[hits, 3] of (keyword id, start, end), in the order of `walk`.

    For what the kernel could not store (see `walk`) and for use outside it.
    """
    buf = np.ascontiguousarray(nids, np.uint16)
    hits: I32 = np.empty((64, 3), np.int32)
    total = int(_walk_one(buf, len(buf), matcher.arrays, hits))
    if total > len(hits):
        hits = np.empty((total, 3), np.int32)
        _walk_one(buf, len(buf), matcher.arrays, hits)
    return hits[:total]


def find_all_reference(keywords: Sequence[Sequence[int]], nids: Sequence[int]) -> list[tuple[int, int, int]]:
    """The definition of `find_all` in plain Python; keywords are distinct and their position is their id."""
    ids = {tuple(k): i for i, k in enumerate(keywords)}
    text = tuple(nids)
    hits = []
    for start in range(len(text)):
        for end in range(start + 1, min(len(text), start + MAX_KEYWORD_NIDS) + 1):
            keyword = ids.get(text[start:end])
            if keyword is not None:
                hits.append((keyword, start, end))
    return hits
