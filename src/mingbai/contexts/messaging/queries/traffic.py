"""Reading decisions for people: one index and one set of keys a process, and what of it a person may see.

Rights reach traffic by access code or by receiver (`people.policy.Reach`); here they become the index's `Scope`, and a
message as this person may see it: text and numbers masked unless a right says otherwise.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings as django_settings

from mingbai.connectors.ledger_access import open_keys
from mingbai.connectors.ledger_index import (
    EVERYTHING,
    Decision,
    Found,
    Hit,
    IndexBehind,
    LedgerIndex,
    Query,
    Scope,
    TextPage,
    pseudonyms_of,
)
from mingbai.connectors.ledger_index.query import Cursor
from mingbai.connectors.screening_client import ScreeningClient
from mingbai.contexts.messaging.words import KEPT, reason_words
from mingbai.contexts.people.policy import Action, Reach, Rights
from mingbai.kernel.masking import masked, masked_number
from mingbai.kernel.verdicts import Category, Verdict
from mingbai.ledger import Kept, KeyStore, StreamReader
from mingbai.settings import Settings

_STATUS_TIMEOUT_S = 0.7
SEARCH_BUDGET_S = 4.0
_READ_AT_A_TIME = 50
_NEAR = 512  # rows between two entries up to which their originals are read in one go


class _Door:
    """What this process holds open. Made at its first use, again if the keys were rotated meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stamp: tuple[Path, object] | None = None
        self._keys: KeyStore | None = None
        self._index: LedgerIndex | None = None
        self._client: ScreeningClient | None = None
        self._status: ScreeningClient | None = None

    def open(self) -> tuple[LedgerIndex, KeyStore, ScreeningClient]:
        settings = installed_settings()
        stamp = (settings.data, _stamp_of(settings))
        with self._lock:
            if self._keys is None or self._index is None or self._client is None or stamp != self._stamp:
                self._keys = open_keys(settings)
                self._index = LedgerIndex(settings.data, self._keys)
                if self._client is None or self._stamp is None or self._stamp[0] != settings.data:
                    self._client = ScreeningClient(settings.data)
                self._stamp = (settings.data, _stamp_of(settings))
            return self._index, self._keys, self._client

    def status_client(self) -> ScreeningClient:
        settings = installed_settings()
        with self._lock:
            if self._status is None:
                self._status = ScreeningClient(settings.data, timeout_s=_STATUS_TIMEOUT_S)
            return self._status


_door = _Door()


def installed_settings() -> Settings:
    """The settings that this process was started with."""
    found: Settings = django_settings.MINGBAI
    return found


def _stamp_of(settings: Settings) -> object:
    """Changes when the key file does; a command is asked once."""
    if settings.ledger.keys_command:
        return None
    try:
        found = os.stat(settings.ledger.keys or settings.data / "keys.json")
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def index() -> LedgerIndex:
    return _door.open()[0]


def keys() -> KeyStore:
    return _door.open()[1]


def client() -> ScreeningClient:
    return _door.open()[2]


def status_client() -> ScreeningClient:
    """For what a page shows beside other things: it does not wait for a screener that is busy."""
    return _door.status_client()


def warm_index(since: datetime, until: datetime) -> None:
    """Ask what the pages ask first: a window, a number, a campaign. Nobody sees the answers."""
    asked = index()
    asked.overview(since, until)
    nobody = pseudonyms_of(keys(), "0")
    for query in (Query(senders=nobody), Query(receivers=nobody), Query(campaign=1)):
        asked.search(query, 1, budget_s=SEARCH_BUDGET_S)


# -- rights


def scope_of(reach: Reach | None) -> Scope:
    """What a right covers, as the index asks for it. A reach by codes and by number is asked by its codes: lists of
    a person's own messages are a page of their own. None: nothing."""
    if reach is None:
        return Scope(access_codes=())
    if reach.is_all:
        return EVERYTHING
    if reach.access_codes or not reach.receivers:
        return Scope(access_codes=reach.access_codes)
    store = keys()
    return Scope(receivers=tuple(name for number in reach.receivers for name in pseudonyms_of(store, number)))


def covers(reach: Reach | None, access_code: str | None, receiver: bytes | None) -> bool:
    """Whether one decision lies within. receiver: its pseudonym."""
    if reach is None:
        return False
    if reach.covers(access_code=access_code):
        return True
    if not reach.receivers or receiver is None:
        return False
    store = keys()
    return any(receiver in pseudonyms_of(store, number) for number in reach.receivers)


def may_read_all(see: Reach | None, read: Reach | None) -> bool:
    """Whether all that a person may list they may also read: for a text that stands for many."""
    if see is None or read is None:
        return False
    return read.is_all or (not see.is_all and set(see.access_codes) <= set(read.access_codes))


# -- one message, as a person may see it


@dataclass(frozen=True, slots=True)
class Shown:
    """One decision for the screen. text: as this person may see it, "" where it is not kept; then `not_kept` says why.

    sender, receiver: masked unless `is_unmasked`; "" where unknown. can_unmask: whether the person may ask for more.
    """

    id: UUID
    stream: str
    seq: int
    at: datetime
    verdict: Verdict
    category: Category
    score: float
    access_code: str
    campaign: str  # 16 hex digits, "" for none
    rules: tuple[str, ...]
    reasons: tuple[int, ...]
    text: str
    not_kept: str
    is_text_masked: bool
    sender: str
    receiver: str
    numbers_not_kept: str
    is_unmasked: bool
    sender_key: str  # pseudonym, hex: what a search for the same number asks for
    receiver_key: str

    @property
    def is_stopped(self) -> bool:
        return self.verdict >= Verdict.HOLD

    @property
    def is_flagged(self) -> bool:
        """Whether anything but letting pass was decided: what can be freed."""
        return self.verdict >= Verdict.FLAG

    @property
    def words(self) -> list[str]:
        """Reasons in plain words."""
        return reason_words(self.reasons)


def shown(
    hit: Hit, original: dict[str, Any] | None, rights: Rights, *, unmasked: bool = False
) -> Shown:  # Any: ORIGINAL
    """unmasked: a reason was given and recorded (`services.unmask`)."""
    given = original or {}
    text = given.get("text")
    may_text = unmasked or covers(rights.reach(Action.SEE_TEXT), hit.access_code, hit.receiver)
    sender, receiver = given.get("sender") or "", given.get("receiver") or ""
    numbers_kept = given.get("numbers_kept", Kept.NEVER_KEPT)
    return Shown(
        id=hit.id, stream=hit.stream, seq=hit.seq, at=hit.at, verdict=hit.verdict, category=hit.category,
        score=hit.score, access_code=hit.access_code or "", campaign=campaign_text(hit.campaign), rules=hit.rules,
        reasons=hit.reasons,
        text="" if text is None else text if may_text else masked(text),
        not_kept="" if text is not None else kept_words(str(given.get("text_kept", Kept.NEVER_KEPT))),
        is_text_masked=text is not None and not may_text,
        sender=sender if unmasked else masked_number(sender),
        receiver=receiver if unmasked else masked_number(receiver),
        numbers_not_kept="" if sender or receiver else kept_words(str(numbers_kept)),
        is_unmasked=unmasked,
        sender_key="" if hit.sender is None else hit.sender.hex(),
        receiver_key="" if hit.receiver is None else hit.receiver.hex(),
    )  # fmt: skip


def shown_all(hits: Iterable[Hit], rights: Rights) -> list[Shown]:
    """A list of decisions with their texts, masked as the person's rights say."""
    listed = list(hits)
    found = originals([(hit.stream, hit.seq) for hit in listed])
    return [shown(hit, found.get((hit.stream, hit.seq)), rights) for hit in listed]


def originals(rows: Sequence[tuple[str, int]]) -> dict[tuple[str, int], dict[str, Any]]:  # Any: columns of ORIGINAL
    """Originals of entries, as (stream, seq)."""
    _, store, _ = _door.open()
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for stream in {name for name, _ in rows}:
        reader = StreamReader(installed_settings().data, stream, store)
        for near in _groups(sorted({seq for name, seq in rows if name == stream})):
            for row in reader.originals(near).to_pylist():
                found[stream, row["seq"]] = row
    return found


def _groups(seqs: Sequence[int]) -> Iterable[list[int]]:
    group: list[int] = []
    for seq in seqs:
        if group and seq - group[-1] > _NEAR:
            yield group
            group = []
        group.append(seq)
    if group:
        yield group


def kept_words(kept: str) -> str:
    return str(KEPT.get(kept, ""))


def campaign_text(campaign: int | None) -> str:
    return f"{campaign:016x}" if campaign else ""


def found_decision(id: UUID, rights: Rights) -> tuple[Hit, Decision] | None:
    """The decision with that id, if it exists and the person may see it at all."""
    if id.version != 7:
        return None
    asked = index()
    place = asked.find(id)
    if place is None:
        return None
    decision = asked.decision(*place)
    if decision is None:
        return None
    hit = hit_of(decision)
    return (hit, decision) if covers(rights.reach(Action.SEE_MESSAGES), hit.access_code, hit.receiver) else None


def hit_of(decision: Decision) -> Hit:
    """The part of an entry that lists show."""
    entry = decision.entry
    return Hit(
        stream=decision.stream, seq=decision.seq, id=UUID(bytes=entry["id"]), at=entry["at"],
        verdict=Verdict(entry["verdict"]), category=Category(entry["category"]), score=float(entry["score"]),
        campaign=entry["campaign"] or None, sender=entry["sender"], receiver=entry["receiver"],
        access_code=entry["access_code"], text_hash=entry["text_hash"], reasons=tuple(entry["reasons"] or ()),
        rules=tuple(entry["rules"] or ()), model=entry["model"], rulebook=entry["rulebook"],
    )  # fmt: skip


# -- lists


def search_page(
    query: Query, who: tuple[bytes, ...], limit: int, cursor: str | None, scope: Scope
) -> tuple[tuple[Hit, ...], str | None, bool]:
    """A page: hits newest first, the next cursor, whether it was cut by time.

    who: pseudonyms that are the sender or the receiver: two searches, woven together. Both go on from one cursor, as it
    says of each stream from which entry down nothing was given yet.
    """
    if not who:
        page = index().search(query, limit, cursor, scope, budget_s=SEARCH_BUDGET_S)
        return page.hits, page.next_cursor, page.is_cut
    pages = [
        index().search(one, limit, cursor, scope, budget_s=SEARCH_BUDGET_S / 2)
        for one in (replace(query, senders=who), replace(query, receivers=who))
    ]
    by_stream: dict[str, dict[int, Hit]] = {}
    for page in pages:
        for hit in page.hits:
            by_stream.setdefault(hit.stream, {})[hit.seq] = hit
    waiting = {name: sorted(hits.values(), key=lambda hit: -hit.seq) for name, hits in by_stream.items()}
    # A page that is not the last one says nothing of what lies below its own last hit: what is older has to wait.
    floors = [_floor(page.hits) for page in pages if page.next_cursor is not None and page.hits]
    below = dict(Cursor.from_text(cursor).below) if cursor else {}
    taken: list[Hit] = []
    while len(taken) < limit and any(waiting.values()):
        name = max((name for name, hits in waiting.items() if hits), key=lambda name: waiting[name][0].at)
        hit = waiting[name].pop(0)
        if any(hit.at < floor for floor in floors):
            break
        taken.append(hit)
        below[name] = hit.seq
    is_over = not any(waiting.values()) and all(page.next_cursor is None for page in pages)
    if not taken and not is_over:  # cut by time before anything was found
        return (), pages[0].next_cursor, True
    return tuple(taken), None if is_over else Cursor(below).to_text(), any(page.is_cut for page in pages)


def text_page(
    query: Query, who: tuple[bytes, ...], words: tuple[str, ...], limit: int, cursor: str | None, scope: Scope
) -> TextPage:
    """As `search_page`, of those whose text holds every word. With a number, its messages are few: each is read."""
    if not who:
        return index().text_search(query, words, limit, cursor, scope, budget_s=SEARCH_BUDGET_S)
    deadline = time.monotonic() + SEARCH_BUDGET_S
    wanted = [word.casefold() for word in words]
    found: list[Found] = []
    states: Counter[str] = Counter()
    is_over = False
    while not is_over and len(found) < limit and time.monotonic() < deadline:
        hits, cursor, _ = search_page(query, who, min(_READ_AT_A_TIME, limit), cursor, scope)
        is_over = cursor is None
        texts = originals([(hit.stream, hit.seq) for hit in hits])
        for hit in hits:
            original = texts[hit.stream, hit.seq]
            states[original["text_kept"]] += 1
            text = original["text"]
            if text is not None and all(word in text.casefold() for word in wanted):
                found.append(Found(hit, text))
    return TextPage(
        found=tuple(found),
        next_cursor=cursor,
        is_cut=not is_over and len(found) < limit,
        searched=states[Kept.KEPT],
        no_longer_kept=states[Kept.NO_LONGER_KEPT],
        never_kept=states[Kept.NEVER_KEPT] + states[Kept.WITHHELD],
        unreadable=states[Kept.UNREADABLE],
    )


def _floor(hits: Sequence[Hit]) -> datetime:
    return hits[-1].at


def counted(query: Query, who: tuple[bytes, ...], scope: Scope) -> dict[Verdict, int] | None:
    """How many decisions fit, by verdict; None while the index is being built. With `who`, both ways added up."""
    asked = [query] if not who else [replace(query, senders=who), replace(query, receivers=who)]
    try:
        counts = [index().count(one, scope) for one in asked]
    except IndexBehind:
        return None
    return {verdict: sum(one[verdict] for one in counts) for verdict in Verdict}
