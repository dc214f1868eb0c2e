"""What can be asked of the index, and what comes back."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from mingbai.kernel.clock import as_utc, to_micros
from mingbai.kernel.errors import BadValue
from mingbai.kernel.msisdn import BadMsisdn, Msisdn
from mingbai.kernel.verdicts import Category, Reason, Verdict
from mingbai.ledger import KeyStore


@dataclass(frozen=True, slots=True)
class Scope:
    """What a caller may see at all; None: no restriction, an empty tuple: nothing. Both given: both must hold."""

    access_codes: tuple[str, ...] | None = None  # prefixes
    receivers: tuple[bytes, ...] | None = None  # pseudonyms: a subscriber's own messages

    @property
    def is_everything(self) -> bool:
        return self.access_codes is None and self.receivers is None


EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Query:
    """Which decisions. All that is given must hold; a tuple holds if one of it does, and empty asks nothing.

    since, until: when it was decided, `until` excluded. senders, receivers: pseudonyms, see `pseudonyms_of`.
    access_codes: prefixes. min_score, max_score: both included. text_hash: keyed hash of the normalised text.
    """

    since: datetime | None = None
    until: datetime | None = None
    stream: str | None = None
    verdicts: tuple[Verdict, ...] = ()
    categories: tuple[Category, ...] = ()
    campaign: int | None = None
    senders: tuple[bytes, ...] = ()
    receivers: tuple[bytes, ...] = ()
    access_codes: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    min_score: float | None = None
    max_score: float | None = None
    text_hash: bytes | None = None

    def __post_init__(self) -> None:
        for name in ("senders", "receivers"):
            for value in getattr(self, name):
                _check_hash(name, value)
        if self.text_hash is not None:
            _check_hash("text_hash", self.text_hash)
        if self.campaign is not None and not 0 < self.campaign < 1 << 64:
            raise BadValue(field="campaign", value=self.campaign, expected="a whole number from 1 to 2**64 - 1")
        window_us(self.since, self.until)


@dataclass(frozen=True, slots=True)
class Hit:
    """One decision as a list shows it. sender, receiver, text_hash: keyed hashes, None where there is none."""

    stream: str
    seq: int
    id: UUID
    at: datetime
    verdict: Verdict
    category: Category
    score: float
    campaign: int | None
    sender: bytes | None
    receiver: bytes | None
    access_code: str | None
    text_hash: bytes | None
    reasons: tuple[int, ...]  # codes of `Reason`; one that a newer version wrote stays a number
    rules: tuple[str, ...]
    model: str | None
    rulebook: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Hits, newest first. next_cursor: give it to the next call; None: this was all. is_cut: the time was over before
    the page was full; the cursor goes on from there."""

    hits: tuple[Hit, ...]
    next_cursor: str | None
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Bucket:
    """Decisions of one step of a series, by verdict."""

    start: datetime
    verdicts: dict[Verdict, int]

    @property
    def messages(self) -> int:
        return sum(self.verdicts.values())


@dataclass(frozen=True, slots=True)
class CampaignCount:
    """A campaign within a window. stopped: held or blocked. example: the newest message, as (stream, seq)."""

    campaign: int
    messages: int
    stopped: int
    first_at: datetime
    last_at: datetime
    example: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Overview:
    """Counts of decisions in a window, exact. The dictionaries hold what occurs; rules and access codes the most
    frequent, largest first. access_codes: the key None counts messages without one."""

    since: datetime
    until: datetime
    step_s: int
    messages: int
    mix: dict[tuple[Verdict, Category], int]
    reasons: dict[int, int]
    rules: dict[str, int]
    access_codes: dict[str | None, int]
    models: dict[str | None, int]
    rulebooks: dict[str | None, int]
    series: tuple[Bucket, ...]
    campaigns: tuple[CampaignCount, ...]  # most messages first
    stopped_campaigns: tuple[CampaignCount, ...]  # most stopped messages first

    @property
    def verdicts(self) -> dict[Verdict, int]:
        return _summed({verdict: 0 for verdict in Verdict}, ((key[0], count) for key, count in self.mix.items()))

    @property
    def categories(self) -> dict[Category, int]:
        return _summed({category: 0 for category in Category}, ((key[1], count) for key, count in self.mix.items()))


@dataclass(frozen=True, slots=True)
class Variant:
    """One normalised text within a campaign. example: the newest message with it."""

    text_hash: bytes | None  # None: messages recorded without one
    messages: int
    stopped: int
    example: tuple[str, int]


@dataclass(frozen=True, slots=True)
class CampaignView:
    """A campaign over a window. growth: by step_s. variants, access_codes, rules: most frequent first, cut."""

    campaign: int
    messages: int
    verdicts: dict[Verdict, int]
    categories: dict[Category, int]
    first_at: datetime | None
    last_at: datetime | None
    step_s: int
    growth: tuple[Bucket, ...]
    senders: int  # distinct pseudonyms, in the epochs seen
    receivers: int
    access_codes: dict[str | None, int]
    rules: dict[str, int]
    variant_count: int
    variants: tuple[Variant, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A message whose text holds the words."""

    hit: Hit
    text: str


@dataclass(frozen=True, slots=True)
class TextPage:
    """Messages found by their text, newest first.

    searched: texts that were read. no_longer_kept, never_kept, unreadable: decisions that fit the query and whose text
    could not be read, and why. is_cut: time was over; next_cursor goes on.
    """

    found: tuple[Found, ...]
    next_cursor: str | None
    is_cut: bool
    searched: int
    no_longer_kept: int
    never_kept: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class Decision:
    """One entry, whole, and its original as far as that is kept (columns of `ENTRY` and of `ORIGINAL`)."""

    stream: str
    seq: int
    entry: dict[str, Any]  # Any: each column its own type, see ENTRY
    original: dict[str, Any] | None  # Any: see ORIGINAL; None: asked without keys


@dataclass(slots=True)
class Cursor:
    """Where a search goes on: of each stream the first seq that was given already (all below is still to come)."""

    below: dict[str, int] = field(default_factory=dict)

    def to_text(self) -> str:
        return base64.urlsafe_b64encode(json.dumps(self.below, separators=(",", ":")).encode()).decode().rstrip("=")

    @classmethod
    def from_text(cls, text: str) -> Cursor:
        """Raises BadValue for text that is no cursor."""
        try:
            below = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            if not isinstance(below, dict) or not all(type(seq) is int and seq >= 0 for seq in below.values()):
                raise ValueError
        except (ValueError, binascii.Error, RecursionError):
            raise BadValue(field="cursor", value=text[:80], expected="a cursor of an earlier page") from None
        return cls(below)


def pseudonyms_of(keys: KeyStore, number: str) -> tuple[bytes, ...]:
    """What a number is called in the ledger, in every epoch whose key is kept. number: as a person writes it; a
    subscriber's is brought into E.164, as it was when it was recorded, anything else taken as it is."""
    try:
        text = Msisdn.parse(number).e164
    except BadMsisdn:
        text = number.strip()
    return tuple(keys.pseudonyms(text).values())


def window_us(since: datetime | None, until: datetime | None) -> tuple[int | None, int | None]:
    """Both in microseconds. Raises BadValue for a time without zone and for an end before the start."""
    low = None if since is None else to_micros(as_utc(since, "since"))
    high = None if until is None else to_micros(as_utc(until, "until"))
    if low is not None and high is not None and high < low:
        raise BadValue(field="until", value=str(until), expected=f"not before since ({since})")
    return low, high


def _check_hash(name: str, value: bytes) -> None:
    if len(value) != 16:
        raise BadValue(field=name, value=f"{len(value)} bytes", expected="keyed hashes of 16 bytes")


def _summed(into: dict[Any, int], items: Any) -> dict[Any, int]:  # Any: the key is Verdict or Category
    for key, count in items:
        into[key] += count
    return into
