"""Decisions on their way into the ledger: the one place where engine and ledger meet.

The engine's `DECISION` rows and the messages they belong to become rows of the ledger's `RECORD`. Numbers are brought
into E.164 first, so that one subscriber has one pseudonym however a source writes the number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Final

import pyarrow as pa

from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.schema import text_buffers
from mingbai.engines.screening.screen import read_rows
from mingbai.kernel.msisdn import BadMsisdn, Msisdn
from mingbai.ledger import RECORD, Head, Ledger, Receipt


class Recorder:
    """Records what one policy decides. `clock` gives the time of each commit.

    rows: durable so far; receipt: of the last commit. Call `finish` at the end of a run.
    """

    def __init__(self, ledger: Ledger, policy: Policy, clock: Callable[[], datetime]) -> None:
        self.rows = 0
        self.receipt: Receipt | None = None
        self._ledger = ledger
        self._policy = policy
        self._versions = policy.versions
        self._clock = clock

    def record(
        self,
        batch: pa.RecordBatch,
        decisions: pa.RecordBatch,
        *,
        at: datetime | None = None,
        text_hashes: pa.Array | None = None,
    ) -> Receipt | None:
        """Append the decisions on a batch of messages; returns when they are on the disk (None for no rows).

        at: when they were made, if not now; text_hashes: `Decided.text_hashes`, or the texts are read again. Raises
        LedgerCannotWrite: nothing of this batch was acknowledged.
        """
        if batch.num_rows == 0:
            return None
        hashes = normalised_hashes(batch, self._policy) if text_hashes is None else text_hashes
        rows = record_rows(batch, decisions, self._versions, hashes)
        self.receipt = self._ledger.record(rows, now=at or self._clock())
        self.rows += batch.num_rows
        return self.receipt

    def finish(self) -> Head:
        """Sign the chain as it stands."""
        return self._ledger.sign_head(now=self._clock())


def record_rows(
    batch: pa.RecordBatch, decisions: pa.RecordBatch, versions: dict[str, str], normalised: pa.Array
) -> pa.RecordBatch:
    """`RECORD` rows of n messages (`MESSAGE`) and their decisions (`DECISION`).

    normalised: n hashes (uint64) of the text as the screen read it; the ledger keeps their keyed hash.
    """
    rows = batch.num_rows
    columns: dict[str, pa.Array] = dict(zip(decisions.schema.names, decisions.columns, strict=True))
    columns |= zip(batch.schema.names, batch.columns, strict=True)
    columns |= {name: e164(columns[name]) for name in ("sender", "receiver") if name in columns}
    columns |= {name: _repeated(version, rows) for name, version in versions.items()}
    columns["normalised"] = normalised
    names = [name for name in RECORD.names if name in columns]
    return pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)


@lru_cache(64)
def _repeated(version: str, rows: int) -> pa.Array:
    """A column that says the same in every row. Batches come in few sizes, and arrays never change."""
    return pa.repeat(pa.scalar(version, pa.string()), rows)


def normalised_hashes(batch: pa.RecordBatch, policy: Policy) -> pa.Array:
    """The engine's 64-bit hash of each normalised text."""
    data, offsets = text_buffers(batch)
    return pa.array(read_rows(data, offsets, policy).text_hash)


def e164(numbers: pa.Array) -> pa.Array:
    """Numbers as E.164 where they are one; anything else (an access code, a name) as it is."""
    if len(numbers) <= _FEW:
        return pa.array([None if text is None else _e164(text) for text in numbers.to_pylist()], pa.string())
    encoded = numbers.dictionary_encode()
    values = [None if text is None else _e164(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(values, pa.string()).take(encoded.indices)


# Rows; below, looking for repeats costs more than what is saved, as the last numbers are remembered.
_FEW: Final = 1024
_REMEMBERED: Final = 1 << 14  # numbers: some 3 MB
_MOBILE: Final = re.compile(r"1[3-9][0-9]{9}", re.ASCII)  # of China, as `kernel.msisdn` knows them


@lru_cache(_REMEMBERED)
def _e164(text: str) -> str:
    if _MOBILE.fullmatch(text):  # nearly every number; what `parse` makes of it, at a fifth of the price
        return "+86" + text
    try:
        return Msisdn.parse(text).e164
    except BadMsisdn:
        return text
