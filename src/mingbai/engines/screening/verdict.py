"""The last step of the screen, compiled: what was found about each row -> verdict, category and reasons.

Order of authority, strongest first: an allow rule of the operator; any other rule (with the model, the stricter of both
counts); the model; a look-alike URL; an oddly written URL or a burst. A recognised code is not blocked by the model
alone. A new host is named as a reason and never decides. Above all of it stands a person who freed exactly this
message: `screen` looks for that afterwards, in the rows that would not pass.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening.jit import Number, inline, int64, kernel, uint64
from mingbai.engines.screening.kernel import CHINESE, EVASIVE, SECOND_LOOK, TRUNCATED
from mingbai.engines.screening.reading import U8, U16, U32, U64
from mingbai.engines.screening.schema import DECISION, column
from mingbai.engines.screening.scoring import F32, I32
from mingbai.engines.screening.url_hosts import UrlFlag
from mingbai.kernel.verdicts import Category, Reason, Verdict

Bools = npt.NDArray[np.bool_]

NONE: Final = 255  # no rule spoke
CODES: Final = np.array(sorted(Reason), np.uint16)  # a reason's bit is its place in this order
BIT: Final = {Reason(int(code)): 1 << place for place, code in enumerate(CODES)}

_LEGITIMATE: Final = BIT[Reason.MODEL_LEGITIMATE]
_SPAM: Final = BIT[Reason.MODEL_SPAM]
_DOUBTFUL: Final = BIT[Reason.MODEL_DOUBTFUL]
_SECOND: Final = BIT[Reason.MODEL_SECOND_STAGE]
_LOOKALIKE: Final = BIT[Reason.URL_LOOKALIKE]
_SHORTENER: Final = BIT[Reason.URL_SHORTENER]
_RAW: Final = BIT[Reason.URL_RAW_ADDRESS]
_HIDDEN: Final = BIT[Reason.URL_HIDDEN]
_NEW_HOST: Final = BIT[Reason.URL_NEW_HOST]
_BURST: Final = BIT[Reason.CAMPAIGN_BURST]
_EVASION: Final = BIT[Reason.EVASION]
_CODE: Final = BIT[Reason.PROTECTED_CODE]
_TRUNCATED: Final = BIT[Reason.TRUNCATED]

_ALLOW, _FLAG, _BLOCK = int(Verdict.ALLOW), int(Verdict.FLAG), int(Verdict.BLOCK)
_HOLD: Final = int(Verdict.HOLD)
_ADVERTISING, _FRAUD = int(Category.ADVERTISING), int(Category.FRAUD)
_F_LOOKALIKE, _F_SHORTENER = int(UrlFlag.LOOKALIKE), int(UrlFlag.SHORTENER)
_F_RAW, _F_HIDDEN = int(UrlFlag.RAW_ADDRESS), int(UrlFlag.HIDDEN)
URL_NEW: Final = 128  # in `urls` of `decide`, beside the bits of UrlFlag: a host not seen before


class Limits(NamedTuple):
    """The numbers of the policy that decide."""

    chinese_flag: np.float32
    chinese_block: np.float32
    english_flag: np.float32
    english_block: np.float32
    lookalike: int  # Verdict that a look-alike host is worth at least
    sender_bits: int  # `campaigns.bits_for` of the burst limits
    receiver_bits: int


@kernel
def decide(
    score: F32,
    notes: U8,
    model_category: U8,
    urls: U8,
    sightings: U32,
    action: U8,
    rule_category: U8,
    rule_bits: U64,
    is_code: Bools,
    is_service: Bools,
    limits: Limits,
    verdict: U8,
    category: U8,
    bits: U64,
) -> Number:
    """Fill verdict, category and reason bits of n rows; returns the number of reasons."""
    total = 0
    for r in range(score.shape[0]):
        note = notes[r]
        p = score[r]
        chinese = (note & CHINESE) != 0
        block_at = limits.chinese_block if chinese else limits.english_block
        flag_at = limits.chinese_flag if chinese else limits.english_flag
        why = rule_bits[r]
        v = _ALLOW
        if p >= block_at:
            why |= uint64(_SPAM)
            v = _BLOCK
            if is_code[r]:
                why |= uint64(_CODE)
                v = _FLAG
        elif p >= flag_at:
            why |= uint64(_DOUBTFUL)
            v = _FLAG
        else:
            why |= uint64(_LEGITIMATE)
        if p >= flag_at and (note & SECOND_LOOK) != 0:
            why |= uint64(_SECOND)
        u = urls[r]
        if u != 0:
            if u & _F_LOOKALIKE:
                why |= uint64(_LOOKALIKE)
                v = max(v, limits.lookalike)
            if u & _F_SHORTENER:
                why |= uint64(_SHORTENER)
            if u & _F_RAW:
                why |= uint64(_RAW)
                v = max(v, _FLAG)
            if u & _F_HIDDEN:
                why |= uint64(_HIDDEN)
                v = max(v, _FLAG)
        if not is_service[r] and (sightings[r, 1] >= limits.sender_bits or sightings[r, 2] >= limits.receiver_bits):
            why |= uint64(_BURST)
            v = max(v, _FLAG)
        a = action[r]
        if a == _ALLOW:
            v = _ALLOW
        elif a != NONE:
            v = max(v, int64(a))
        if v != _ALLOW:
            if note & EVASIVE:
                why |= uint64(_EVASION)
            if u & URL_NEW:
                why |= uint64(_NEW_HOST)
        if note & TRUNCATED:
            why |= uint64(_TRUNCATED)
        c = int64(model_category[r])
        if v >= _HOLD and c < _ADVERTISING:  # a stopped message is not called legitimate
            c = _FRAUD if u & _F_LOOKALIKE else _ADVERTISING
        if rule_category[r] != NONE:
            c = int64(rule_category[r])
        verdict[r] = v
        category[r] = c
        bits[r] = why
        total += count_bits(why)
    return total


@inline
def count_bits(w: Number) -> Number:
    n = 0
    while w != uint64(0):
        w &= w - uint64(1)
        n += 1
    return n


@kernel
def spell(bits: U64, codes: U16, ends: I32, values: U16) -> None:
    """Reason bits -> offsets (n + 1) and codes of a list column."""
    at = 0
    ends[0] = 0
    for r in range(bits.shape[0]):
        w = bits[r]
        for place in range(codes.shape[0]):
            if (w >> uint64(place)) & uint64(1):
                values[at] = codes[place]
                at += 1
        ends[r + 1] = at


_REASONS: Final = DECISION.field("reasons").type
_CODE_TYPE: Final = pa.uint16()


def reasons(bits: U64, total: int) -> pa.ListArray:
    """list<uint16>: the reason codes of each row, ascending."""
    ends, values = np.empty(len(bits) + 1, np.int32), np.empty(total, np.uint16)
    spell(bits, CODES, ends, values)
    return column(_REASONS, ends, column(_CODE_TYPE, values))
