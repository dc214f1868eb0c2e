"""Campaigns: which messages are one text in disguise, and how many people send and get it.

Fingerprint: one-permutation MinHash (Li, Owen, Zhang 2012) of the message's sound 3-grams (letter 5-grams outside
Chinese) in 16 bins of 16 bits. Numbers and links leave no gram, so a copy with others has the same fingerprint;
sounds, folding and repair hide homophones, look-alikes and inserted signs. Two texts are one campaign when two
neighbouring bins agree (six bands, an index look-up each) and at least `AGREEMENT` of the filled bins do.

Sightings: per campaign and hour, messages and distinct senders and receivers (linear counting in 256 bits, Whang et
al. 1990: within 7 % up to some 700, saturating near 1,400), for the current and the previous hour.

`screen` reads `Counters` and never changes them. What it saw comes back as `CounterUpdates`, which the caller applies:
messages are added, bit sets or-ed, so updates of several processes merge in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mingbai.engines.screening.jit import Number, arithmetic, inline, int64, kernel, uint32, uint64
from mingbai.engines.screening.reading import K1, K2, K3, U8, U16, U32, U64

BINS: Final = 16
BANDS: Final = 6
EMPTY: Final = 0xFFFF
AGREEMENT: Final = 0.5  # of the bins filled in either text; unrelated texts agree in under 0.1
MIN_FILLED: Final = 8  # fewer filled bins: only an equal fingerprint is the same campaign
WORDS: Final = 4  # 256 bits a counter
WINDOW_S: Final = 3600

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


def new_index(entries: int) -> U64:
    """An empty index that stays at most three quarters full."""
    return np.zeros(1 << max(6, (entries * 4 // 3).bit_length()), np.uint64)


@dataclass(slots=True)
class Table:
    """Campaigns as arrays. Row k of each array is one campaign; `index` finds rows by fingerprint and band keys."""

    index: U64  # open addressing, power of two: 40 bits of a key << 24 | row + 1, 0 = free
    ids: U64
    prints: U16  # [n, 16]
    hours: U32  # hour of the current window
    messages: U32  # [n, 2] current and previous hour
    bits: U64  # [n, 2 windows, 2 (senders, receivers), 4]
    used: I64  # [1]

    @classmethod
    def empty(cls, campaigns: int) -> Table:
        prints = np.empty((campaigns, BINS), np.uint16)
        prints.fill(EMPTY)
        return cls(
            index=new_index(campaigns * (BANDS + 1)),
            ids=np.zeros(campaigns, np.uint64),
            prints=prints,
            hours=np.zeros(campaigns, np.uint32),
            messages=np.zeros((campaigns, 2), np.uint32),
            bits=np.zeros((campaigns, 2, 2, WORDS), np.uint64),
            used=np.zeros(1, np.int64),
        )

    def __len__(self) -> int:
        return int(self.used[0])


@dataclass(frozen=True, slots=True)
class CounterUpdates:
    """What one batch adds: the campaigns it touched, with their sightings, and the hosts it saw."""

    campaigns: Table
    hosts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Sighting:
    """One campaign as the counters know it."""

    campaign: int
    messages: int
    senders: int
    receivers: int


class Counters:
    """Sightings kept in this process. `screen` reads them, the owner of the traffic applies updates.

    limit: campaigns kept; when it is reached those not seen in the last two hours go first, then the older half.
    """

    def __init__(self, limit: int = 1_000_000) -> None:
        self.limit = limit
        self.table = Table.empty(1024)
        self.hosts: set[str] = set()

    def apply(self, updates: CounterUpdates) -> None:
        """Add what a batch saw."""
        incoming = updates.campaigns
        if len(self.table) + len(incoming) > self.table.ids.shape[0]:
            self._make_room(len(incoming))
        t = self.table
        _merge(
            incoming.ids, incoming.prints, incoming.hours, incoming.messages, incoming.bits, len(incoming),
            t.index, t.ids, t.prints, t.hours, t.messages, t.bits, t.used,
        )  # fmt: skip
        self.hosts |= updates.hosts

    def sighting(self, campaign: int) -> Sighting | None:
        """Messages, senders and receivers of a campaign in its last two hours; None if it is not known."""
        found = np.flatnonzero(self.table.ids[: len(self.table)] == np.uint64(campaign))
        if found.size == 0:
            return None
        row = int(found[0])
        return Sighting(
            campaign,
            int(self.table.messages[row].sum()),
            *(round(_estimate(self.table.bits[row, 0, who] | self.table.bits[row, 1, who])) for who in (0, 1)),
        )

    def _make_room(self, more: int) -> None:
        old = self.table
        n = len(old)
        keep = np.arange(n)
        if n + more > self.limit:
            newest = int(old.hours[:n].max(initial=0))
            keep = np.flatnonzero(old.hours[:n] + 1 >= newest)
            if keep.size + more > self.limit:
                keep = np.sort(np.argsort(old.hours[:n], kind="stable")[n // 2 :])
        self.table = Table.empty(max(1024, keep.size + more, min(self.limit, 2 * (keep.size + more))))
        t = self.table
        _merge(
            old.ids[keep], old.prints[keep], old.hours[keep], old.messages[keep], old.bits[keep], keep.size,
            t.index, t.ids, t.prints, t.hours, t.messages, t.bits, t.used,
        )  # fmt: skip


@inline
def print_key(prints: U16, r: Number) -> Number:
    """Key of an equal fingerprint, never 0. It is also the id of a campaign that starts here."""
    h = uint64(0x243F6A8885A308D3)
    for b in range(BINS):
        h = (h ^ uint64(prints[r, b])) * K1
        h ^= h >> uint64(32)
    return h | uint64(1)


@inline
def band_key(prints: U16, r: Number, band: Number) -> Number:
    """Key of two neighbouring bins; 0 when both are empty."""
    a = uint64(prints[r, 2 * band])
    b = uint64(prints[r, 2 * band + 1])
    if a == uint64(EMPTY) and b == uint64(EMPTY):
        return uint64(0)
    h = ((a << uint64(16)) | b | (uint64(band + 1) << uint64(32))) * K2
    return (h ^ (h >> uint64(31))) | uint64(1)


@inline
def find(index: U64, key: Number) -> Number:
    """Row of a key, -1 for none."""
    mask = uint64(index.shape[0] - 1)
    i = (key * K3) >> uint64(20) & mask
    tag = key >> uint64(24)
    while True:
        entry = index[i]
        if (entry >> uint64(24)) == tag and entry != uint64(0):
            return int64(entry & uint64(0xFFFFFF)) - 1
        if entry == uint64(0):
            return int64(-1)
        i = (i + uint64(1)) & mask


@inline
def put(index: U64, key: Number, row: Number) -> None:
    """Enter a key; the first campaign to claim a band keeps it."""
    mask = uint64(index.shape[0] - 1)
    i = (key * K3) >> uint64(20) & mask
    tag = key >> uint64(24)
    while index[i] != uint64(0):
        if (index[i] >> uint64(24)) == tag:
            return
        i = (i + uint64(1)) & mask
    index[i] = (tag << uint64(24)) | uint64(row + 1)


@inline
def agree(a: U16, i: Number, b: U16, j: Number) -> bool:
    same = 0
    filled = 0
    for k in range(BINS):
        if a[i, k] != EMPTY or b[j, k] != EMPTY:
            filled += 1
            if a[i, k] == b[j, k]:
                same += 1
    return same >= AGREEMENT * filled


@inline
def near(prints: U16, r: Number, index: U64, known: U16) -> Number:
    """Row of a campaign that this fingerprint belongs to by its bands, -1 for none."""
    for band in range(BANDS):
        key = band_key(prints, r, band)
        if key != uint64(0):
            row = find(index, key)
            if row >= 0 and agree(prints, r, known, row):
                return row
    return -1


@inline
def enter(prints: U16, r: Number, key: Number, index: U64, row: Number) -> None:
    """Enter a campaign whose fingerprint is row r of `prints`; key: its `print_key`."""
    put(index, key, row)
    for band in range(BANDS):
        key = band_key(prints, r, band)
        if key != uint64(0):
            put(index, key, row)


@inline
def _estimate(words: U64) -> Number:
    """Distinct items in a linear-counting bit set: -m ln(empty / m), m = 256."""
    full = 0
    for k in range(words.shape[0]):
        w = words[k]
        while w != uint64(0):
            w &= w - uint64(1)
            full += 1
    m = 64.0 * words.shape[0]
    return -m * np.log(max(m - full, 1.0) / m)


@inline
def count(word: Number) -> Number:
    """Bits set in a word."""
    w = word - ((word >> uint64(1)) & uint64(0x5555555555555555))
    w = (w & uint64(0x3333333333333333)) + ((w >> uint64(2)) & uint64(0x3333333333333333))
    w = (w + (w >> uint64(4))) & uint64(0x0F0F0F0F0F0F0F0F)
    return int64((w * uint64(0x0101010101010101)) >> uint64(56))


@inline
def roll(hours: U32, messages: U32, bits: U64, row: Number, hour: Number) -> None:
    """Move a campaign's window to `hour`; an earlier hour (traffic out of order) counts into the current one."""
    ahead = int64(hour) - int64(hours[row])
    if ahead <= 0:
        return
    for who in range(2):
        for k in range(WORDS):
            bits[row, 1, who, k] = bits[row, 0, who, k] if ahead == 1 else uint64(0)
            bits[row, 0, who, k] = uint64(0)
    messages[row, 1] = messages[row, 0] if ahead == 1 else 0
    messages[row, 0] = 0
    hours[row] = hour


@inline
def copy_key(row: Number, way: Number) -> Number:
    """Key of a row in the index of copies; way 0: base row to own row, 1: back."""
    h = (uint64(row) << uint64(1) | uint64(way)) * K1 + K2
    return h ^ (h >> uint64(29))


@inline
def mark_bit(bits: U64, row: Number, who: Number, h: Number) -> None:
    if h != uint64(0):
        bits[row, 0, who, (h >> uint64(6)) & uint64(3)] |= uint64(1) << (h & uint64(63))


@inline
def count_both(bits: U64, row: Number, who: Number) -> Number:
    """Bits set in the windows of both hours together, 0..256."""
    full = 0
    for k in range(WORDS):
        full += count(bits[row, 0, who, k] | bits[row, 1, who, k])
    return full


@inline
def copy_print(prints: U16, r: Number, to: U16, row: Number) -> None:
    for b in range(BINS):  # assigning a slice costs several times as much
        to[row, b] = prints[r, b]


@arithmetic
def sight(
    prints: U16,
    filled: U8,
    senders: U64,
    receivers: U64,
    hours: U32,
    base_index: U64,
    base_ids: U64,
    base_prints: U16,
    base_hours: U32,
    base_messages: U32,
    base_bits: U64,
    base_used: I64,
    index: U64,
    ids: U64,
    known: U16,
    at: U32,
    messages: U32,
    bits: U64,
    used: I64,
    copies: U64,
    campaign: U64,
    seen: U32,
) -> None:
    """Give each row its campaign and what is known of it so far, rows before it in the batch included.

    base_*: the counters' table, read only. index .. used: the batch's own table, filled with the campaigns it touches
    (copied from the base when it knows them). copies: an empty index, filled with which own row copies which base row.
    campaign: uint64[n] out. seen: uint32[n, 3] out: messages, bits set for senders, bits set for receivers (two hours).
    """
    has_base = base_used[0] > 0
    for r in range(prints.shape[0]):
        if filled[r] < 4:
            campaign[r] = 0
            continue
        key = print_key(prints, r)
        row = find(index, key)
        if row < 0:
            base = find(base_index, key) if has_base else -1
            if base < 0 and filled[r] >= MIN_FILLED:
                row = near(prints, r, index, known)
                if row < 0 and has_base:
                    base = near(prints, r, base_index, base_prints)
            if row < 0:
                if base >= 0:
                    row = find(copies, copy_key(base, 0))
                if row < 0:
                    row = used[0]
                    used[0] += 1
                    if base >= 0:
                        ids[row] = base_ids[base]
                        copy_print(base_prints, base, known, row)
                        at[row] = base_hours[base]
                        # The bits are needed to know what is new; the messages are added on `apply`, so start at 0.
                        for w in range(2):
                            for who in range(2):
                                for k in range(WORDS):
                                    bits[row, w, who, k] = base_bits[base, w, who, k]
                        put(copies, copy_key(base, 0), row)
                        put(copies, copy_key(row, 1), base)
                    else:
                        ids[row] = key
                        copy_print(prints, r, known, row)
                        at[row] = hours[r]
                    enter(known, row, ids[row], index, row)
            put(index, key, row)
        roll(at, messages, bits, row, hours[r])
        messages[row, 0] += 1
        mark_bit(bits, row, 0, senders[r])
        mark_bit(bits, row, 1, receivers[r])
        campaign[r] = ids[row]
        total = messages[row, 0] + messages[row, 1]
        base = find(copies, copy_key(row, 1)) if has_base else -1
        if base >= 0 and at[row] <= base_hours[base] + uint32(1):
            total += base_messages[base, 0]
        seen[r, 0] = total
        seen[r, 1] = count_both(bits, row, 0) if senders[r] != uint64(0) else 0
        seen[r, 2] = count_both(bits, row, 1) if receivers[r] != uint64(0) else 0


@kernel
def _merge(
    ids: U64,
    prints: U16,
    hours: U32,
    messages: U32,
    bits: U64,
    n: Number,
    index: U64,
    to_ids: U64,
    to_prints: U16,
    to_hours: U32,
    to_messages: U32,
    to_bits: U64,
    used: I64,
) -> None:
    """Add n campaigns to a table: known ones (equal fingerprint) grow, new ones are entered."""
    for r in range(n):
        key = print_key(prints, r)
        row = find(index, key)
        if row < 0 or to_ids[row] != ids[r]:
            row = used[0]
            used[0] += 1
            to_ids[row] = ids[r]
            to_prints[row] = prints[r]
            to_hours[row] = hours[r]
            enter(prints, r, key, index, row)
        roll(to_hours, to_messages, to_bits, row, hours[r])
        # An update may lag behind by an hour: its current window is then our previous one.
        lag = min(int64(to_hours[row]) - int64(hours[r]), 2)
        for w in range(2):
            if w + lag < 2:
                to_messages[row, w + lag] += messages[r, w]
                for who in range(2):
                    for k in range(WORDS):
                        to_bits[row, w + lag, who, k] |= bits[r, w, who, k]


@kernel
def hash_column(data: U8, offsets: I32, out: U64) -> None:
    """64-bit hash of each text of a column, 0 for an empty one (FNV-1a, finished with a multiply-xorshift)."""
    for r in range(offsets.shape[0] - 1):
        h = uint64(0xCBF29CE484222325)
        for i in range(offsets[r], offsets[r + 1]):
            h = (h ^ uint64(data[i])) * uint64(0x100000001B3)
        h ^= h >> uint64(32)
        h *= K1
        h ^= h >> uint64(29)
        out[r] = h if offsets[r + 1] > offsets[r] else uint64(0)


@lru_cache(64)
def bits_for(distinct: int) -> int:
    """Bits that about `distinct` items set in a 256-bit counter: the threshold that belongs to a number of people."""
    m = 64.0 * WORDS
    return int(m * (1.0 - np.exp(-distinct / m)))
