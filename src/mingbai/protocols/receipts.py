"""Receipts: what became of a message, in the words of four protocols, and whose message it was.

A receipt of SMPP is a sentence (`id:... stat:DELIVRD ...`) that every peer spells its own way, or TLVs, which are to be
preferred; CMPP and SMGP carry the same seven-letter words in a structure, SGIP two numbers. `parse_receipt` takes what
comes and never raises: what is not there stays empty, and `raw` keeps the octets. FINAL_STATES is the one table by
which states are carried from one protocol into another.

The id in a receipt is often not the id of the response: decimal for hexadecimal, other case, leading zeros. `IdMatcher`
holds the ids that wait for receipts, knows these relations, and says so where two messages could be meant. Receipts may
overtake the response: they are parked.

Rules: SMPP 3.4 appendix B (text form), 5.2.28 (message_state), 5.3.2.12, .35 and .31 (TLVs).
"""

from __future__ import annotations

import enum
import math
import re
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Generic, TypeVar

from mingbai.kernel.errors import BadValue

RECEIPTED_MESSAGE_ID, NETWORK_ERROR_CODE, MESSAGE_STATE = 0x001E, 0x0423, 0x0427


class State(enum.IntEnum):
    """SMPP's message_state, and the words of all protocols in it."""

    SCHEDULED = 0  # SMPP 5.0
    ENROUTE = 1
    DELIVERED = 2
    EXPIRED = 3
    DELETED = 4
    UNDELIVERABLE = 5
    ACCEPTED = 6
    UNKNOWN = 7
    REJECTED = 8
    SKIPPED = 9  # SMPP 5.0

    @property
    def is_final(self) -> bool:
        """No other receipt follows (SMPP 3.4 5.2.28; ACCEPTED is final there)."""
        return self > _UNDER_WAY


_UNDER_WAY = int(State.ENROUTE)  # SCHEDULED stands before it


@dataclass(frozen=True, slots=True)
class Sgip:
    """REPORT's two octets. state: 0 delivered, 1 waiting, 2 failed for the reason `error`."""

    state: int
    error: int = 0


# One row a state: the word of CMPP, SMGP and SMPP's text form; SGIP. SGIP knows fewer states, so DELETED, UNKNOWN and
# SKIPPED come back from it as UNKNOWN, ACCEPTED and SCHEDULED as ENROUTE.
FINAL_STATES: dict[State, tuple[str, Sgip]] = {
    State.SCHEDULED: ("ENROUTE", Sgip(1)),
    State.ENROUTE: ("ENROUTE", Sgip(1)),
    State.DELIVERED: ("DELIVRD", Sgip(0)),
    State.EXPIRED: ("EXPIRED", Sgip(2, 25)),  # 25: the user cannot be reached
    State.DELETED: ("DELETED", Sgip(2, 32)),  # 32: failure of the system
    State.UNDELIVERABLE: ("UNDELIV", Sgip(2, 21)),  # 21: the destination cannot be reached
    State.ACCEPTED: ("ACCEPTD", Sgip(1)),
    State.UNKNOWN: ("UNKNOWN", Sgip(2, 32)),
    State.REJECTED: ("REJECTD", Sgip(2, 30)),  # 30: not provided for this user
    State.SKIPPED: ("UNKNOWN", Sgip(2, 32)),
}
_BY_SGIP_ERROR = {25: State.EXPIRED, 30: State.REJECTED, 32: State.UNKNOWN}
# Beginnings of words, so that other spellings (DELIVERD, DELIVERED, REJECTED, ACCEPTED) are read too.
_BY_WORD = {
    "DELIV": State.DELIVERED,
    "EXPIR": State.EXPIRED,
    "DELET": State.DELETED,
    "UNDEL": State.UNDELIVERABLE,
    "FAIL": State.UNDELIVERABLE,
    "ACCEP": State.ACCEPTED,
    "ACKED": State.ACCEPTED,
    "REJEC": State.REJECTED,
    "REJCT": State.REJECTED,
    "ENROU": State.ENROUTE,
    "SCHED": State.SCHEDULED,
    "SKIPP": State.SKIPPED,
    "UNKNO": State.UNKNOWN,
}
_BY_USUAL_WORD = {word: state for state, (word, _) in FINAL_STATES.items() if word not in ("ENROUTE", "UNKNOWN")}
_WORD_OF_NETWORK = re.compile(r"[A-Z]{2}:[0-9A-Z]{1,4}", re.ASCII)  # MA:0001, MK:0012, ID:0076, RT:0148


def state_of_word(word: str) -> State:
    """The state of a `stat`. Codes of a network node (MA:0001, MK:0012) say that it failed; other words are UNKNOWN."""
    if (usual := _BY_USUAL_WORD.get(word)) is not None:
        return usual
    word = word.strip().upper()
    for beginning, state in _BY_WORD.items():
        if word.startswith(beginning):
            return state
    return State.UNDELIVERABLE if _WORD_OF_NETWORK.fullmatch(word) else State.UNKNOWN


def word_of(state: State) -> str:
    """The seven-letter word of CMPP, SMGP and SMPP's text form."""
    return FINAL_STATES[state][0]


def state_of_sgip(state: int, error: int = 0) -> State:
    """The state of SGIP's REPORT. An error that we do not know is a failure like another."""
    if state == 0:
        return State.DELIVERED
    if state == 1:
        return State.ENROUTE
    return _BY_SGIP_ERROR.get(error, State.UNDELIVERABLE) if state == 2 else State.UNKNOWN


def sgip_of(state: State) -> Sgip:
    """State and error for SGIP's REPORT."""
    return FINAL_STATES[state][1]


# ------------------------------------------------------------------------------------------------------- SMPP receipts
@dataclass(slots=True)  # not frozen: that would double the price of an object for each PDU
class Receipt:
    """A receipt as far as it could be read. `stat` and `error` as they came; times None where they make no sense."""

    message_id: str
    state: State
    stat: str = ""
    error: str = ""
    submitted: datetime | None = None
    done: datetime | None = None
    sub: int | None = None
    delivered: int | None = None
    text: bytes = b""
    network_error: tuple[int, int] | None = None  # type of network (3 GSM), code (SMPP 3.4 5.3.2.31)
    raw: bytes = b""

    @property
    def is_readable(self) -> bool:
        """It names a message and says what became of it."""
        return bool(self.message_id) and (self.state is not State.UNKNOWN or bool(self.stat))


_KEY = re.compile(
    rb"(?<![0-9A-Za-z_])(id|sub|dlvrd|submit[ _]?date|done[ _]?date|stat|err|te?xt)[ \t]*[:=]", re.IGNORECASE
)


def parse_receipt(content: bytes, tlvs: Mapping[int, bytes] | None = None, zone: tzinfo = UTC) -> Receipt:
    """Read a deliver_sm's short_message and its TLVs (tag to value); never raises.

    TLVs are believed before the text. Keys may come in any case and order, or not at all. zone: of the peer's times,
    which say none. Times are read with ten digits (YYMMDDhhmm), twelve (with seconds, or a year of four digits) or 14.
    """
    tlvs = tlvs or {}
    values = _values(content)
    stat = _usual_word(values.get("stat"))
    state = state_of_word(stat) if stat else State.UNKNOWN
    octet = tlvs.get(MESSAGE_STATE, b"")
    if len(octet) == 1 and octet[0] in _STATES:
        state = State(octet[0])
    network = tlvs.get(NETWORK_ERROR_CODE, b"")
    return Receipt(
        _word(tlvs.get(RECEIPTED_MESSAGE_ID)) or _word(values.get("id")),
        state,
        stat,
        _usual_word(values.get("err")),
        _time(values.get("submitdate"), zone),
        _time(values.get("donedate"), zone),
        _number(values.get("sub")),
        _number(values.get("dlvrd")),
        values.get("text", b""),
        (network[0], int.from_bytes(network[1:])) if len(network) == 3 else None,
        content,
    )


_STATES = frozenset(State)


# Most receipts are written as in the standard, and need no search for their keys, which takes several times as long.
_USUAL = re.compile(
    rb"id:(?P<id>[^ :]*) sub:(?P<sub>[^ :]*) dlvrd:(?P<dlvrd>[^ :]*) submit date:(?P<submitdate>[^ :]*)"
    rb" done date:(?P<donedate>[^ :]*) stat:(?P<stat>[^ :]*) err:(?P<err>[^ :]*) [Tt]ext:(?P<text>.*)",
    re.DOTALL,
)


def _values(content: bytes) -> dict[str, bytes]:
    """What stands behind each key up to the next one; of a repeated key, the first."""
    if usual := _USUAL.fullmatch(content):
        return usual.groupdict()
    values: dict[str, bytes] = {}
    found = list(_KEY.finditer(content))
    for place, key in enumerate(found):
        name = key[1].lower().replace(b" ", b"").replace(b"_", b"").decode().replace("txt", "text")
        if name == "text" and "id" in values and "stat" in values:
            # The usual end of a receipt. The text is the sender's own, and may hold what looks like keys.
            values.setdefault(name, content[key.end() :])
            break
        end = found[place + 1].start() if place + 1 < len(found) else len(content)
        values.setdefault(name, content[key.end() : end])
    return values


def _word(value: bytes | None) -> str:
    """Octets up to the first NUL, without blanks around them. Latin-1 reads all octets, so none is lost."""
    return "" if value is None else value.partition(b"\0")[0].decode("latin-1").strip(" \t\r\n,;")


_usual_word = lru_cache(4096)(_word)  # of what is the same in most receipts


@lru_cache(1024)
def _number(value: bytes | None) -> int | None:
    word = _word(value)
    return int(word) if word.isascii() and word.isdigit() and len(word) < 10 else None


_YEAR_DIGITS = {10: (2,), 12: (2, 4), 14: (4,)}


@lru_cache(4096)  # they are to the minute, and most receipts of a minute say the same two
def _time(value: bytes | None, zone: tzinfo) -> datetime | None:
    digits = _word(value)
    if not (digits.isascii() and digits.isdigit()):
        return None
    for size in _YEAR_DIGITS.get(len(digits), ()):
        year = int(digits[:size]) + (2000 if size == 2 else 0)
        month, day, hour, minute = (
            int(digits[size : size + 2]),
            int(digits[size + 2 : size + 4]),
            int(digits[size + 4 : size + 6]),
            int(digits[size + 6 : size + 8]),
        )
        second = int(digits[size + 8 :] or 0)
        try:
            return datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None


def format_receipt(receipt: Receipt, zone: tzinfo = UTC) -> bytes:
    """The text form of SMPP 3.4 appendix B, times to the minute in the peer's zone, at most 20 octets of the text.

    Raises BadValue for an id that is no ASCII or longer than message_id may be (64).
    """
    if not (receipt.message_id.isascii() and 0 < len(receipt.message_id) <= 64):
        raise BadValue(field="message_id", value=receipt.message_id, expected="1 to 64 ASCII characters")
    is_delivered = receipt.state is State.DELIVERED
    head = "id:{} sub:{:03d} dlvrd:{:03d} submit date:{} done date:{} stat:{} err:{} text:".format(
        receipt.message_id,
        1 if receipt.sub is None else receipt.sub,
        int(is_delivered) if receipt.delivered is None else receipt.delivered,
        _digits(receipt.submitted, zone),
        _digits(receipt.done, zone),
        receipt.stat or word_of(receipt.state),
        receipt.error or "000",
    )
    return head.encode("latin-1", "replace") + receipt.text[:20]


def _digits(moment: datetime | None, zone: tzinfo) -> str:
    return moment.astimezone(zone).strftime("%y%m%d%H%M") if moment is not None else "0000000000"


def receipt_tlvs(receipt: Receipt) -> list[tuple[int, bytes]]:
    """Tag and value of the TLVs that say the same, for a deliver_sm of SMPP 3.4."""
    tlvs = [
        (RECEIPTED_MESSAGE_ID, receipt.message_id.encode("latin-1", "replace") + b"\0"),
        (MESSAGE_STATE, bytes((receipt.state,))),
    ]
    if receipt.network_error is not None:
        network, code = receipt.network_error
        if not (0 <= network <= 0xFF and 0 <= code <= 0xFFFF):
            raise BadValue(field="network_error_code", value=receipt.network_error, expected="one octet and two")
        tlvs.append((NETWORK_ERROR_CODE, bytes((network,)) + code.to_bytes(2)))
    return tlvs


# ------------------------------------------------------------------------------------------------------ whose message
class Relation(enum.Enum):
    """How a peer writes an id in its responses and in its receipts. Case and leading zeros never count."""

    SAME = "the same in both"
    HEX_THEN_DECIMAL = "hexadecimal in the response, decimal in the receipt"
    DECIMAL_THEN_HEX = "decimal in the response, hexadecimal in the receipt"


_HEX = frozenset("0123456789abcdef")
_LONGEST = 64  # message_id is c65; longer digits are no number of a message, and slow to convert


def canonical(message_id: str) -> str:
    """An id without what peers lose on the way: case, leading zeros, `0x`, blanks and quotes around it."""
    bare = message_id.strip(" \t\r\n\0\"'").lower().removeprefix("0x")
    return bare.lstrip("0") or bare[:1]


def response_forms(message_id: str) -> dict[Relation, str]:
    """A receipt's id, as it would have stood in the response (canonical), by relation. Forms that agree come once."""
    same = canonical(message_id)
    if not same:
        return {}
    forms = {Relation.SAME: same}
    if len(same) <= _LONGEST and _HEX.issuperset(same):
        if same.isdigit():
            forms[Relation.HEX_THEN_DECIMAL] = format(int(same), "x")
        forms[Relation.DECIMAL_THEN_HEX] = str(int(same, 16))
    return {relation: form for relation, form in forms.items() if relation is Relation.SAME or form != same}


def _only(forms: dict[Relation, str], relation: Relation | None) -> dict[Relation, str]:
    """The forms that are left if the peer's relation is known. Those that agree with SAME stand there alone."""
    if relation is None:
        return forms
    wanted = relation if relation in forms else Relation.SAME
    return {wanted: forms[wanted]} if forms else {}


@dataclass(slots=True)
class Match:
    """The one message that is meant: the handle that `add` was given."""

    handle: int
    relation: Relation


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """More than one message could be meant. Nothing is removed; the caller may know more (the recipient's number)."""

    handles: tuple[int, ...]


R = TypeVar("R")
# A relation is a peer's habit when this many receipts could be of one message only and showed it, and almost none
# showed another: chance matches of short numbers must not make a habit.
_HABIT, _HABIT_TIMES = 16, 20
_TABLES = 64  # a table that grows is copied at once; 64 small ones keep that to milliseconds at a million ids


@dataclass(frozen=True, slots=True)
class _Parked(Generic[R]):
    message_id: str
    receipt: R
    is_final: bool
    deadline_s: float


class IdMatcher(Generic[R]):
    """The messages of one peer that wait for their receipts, and the receipts that wait for their response.

    relation: what the peer is known to do; without it all relations are tried, and a relation that the peer has shown
    to be its habit decides where two messages could be meant. A message is forgotten after `timeout_s` (three days: the
    usual life of a message), a parked receipt after `park_s`, or when `max_parked` others came after it.

    About 45 octets of memory for a message (20 a slot, tables 3/8 to 3/4 full): ids are kept as hashes of 64 bits, so a
    wrong match among a million happens by chance once in 10^13 receipts.
    """

    def __init__(
        self,
        *,
        relation: Relation | None = None,
        timeout_s: float = 3 * 86_400,
        park_s: float = 300,
        max_parked: int = 10_000,
    ) -> None:
        for field, value in (("timeout_s", timeout_s), ("park_s", park_s), ("max_parked", max_parked)):
            if value <= 0:
                raise BadValue(field=field, value=value, expected="more than 0")
        self._relation = relation
        self._timeout_s, self._park_s, self._max_parked = timeout_s, park_s, max_parked
        self._tables = [_Table() for _ in range(_TABLES)]
        self._next_table = 0
        self._origin_s: float | None = None
        self._shown = dict.fromkeys(Relation, 0)
        self._habit = relation
        self._parked: OrderedDict[int, _Parked[R]] = OrderedDict()
        self._parked_by_form: dict[str, list[tuple[int, Relation]]] = {}
        self._parkings = 0

    def __len__(self) -> int:
        """Messages that wait for a receipt, with those that are over but not yet swept out."""
        return sum(len(table) for table in self._tables)

    @property
    def parked(self) -> int:
        """Receipts that wait for their response."""
        return len(self._parked)

    @property
    def octets(self) -> int:
        """Memory of the tables."""
        return sum(table.octets for table in self._tables)

    @property
    def habit(self) -> Relation | None:
        """What the peer is known to do, or has shown to do."""
        return self._habit

    def _show(self, relation: Relation) -> None:
        """A receipt could be of one message only, and was written so."""
        self._shown[relation] += 1
        if self._relation is None:
            most, count = max(self._shown.items(), key=lambda shown: shown[1])
            others = sum(self._shown.values()) - count
            self._habit = most if count >= _HABIT and count >= _HABIT_TIMES * others else None

    def add(self, message_id: str, handle: int, now_s: float) -> list[R]:
        """A response gave this id to the message `handle` (0 to 2^64 - 1). Gives parked receipts that are its own.

        An empty id is not kept: nothing could be matched with it. After a final receipt from the park, nothing waits.
        """
        if not 0 <= handle < 1 << 64:
            raise BadValue(field="handle", value=handle, expected="0 to 2^64 - 1")
        form = canonical(message_id)
        if not form:
            return []
        own = []
        for number, relation in self._parked_by_form.get(form, ()):
            parked = self._parked[number]
            if parked.deadline_s > now_s and relation in _only(response_forms(parked.message_id), self.habit):
                own.append(number)
        receipts = [self._unpark(number) for number in own]
        if not any(receipt.is_final for receipt in receipts):
            table, fingerprint = self._place(form)
            table.insert(fingerprint, handle, self._second(now_s) + math.ceil(self._timeout_s))
        return [receipt.receipt for receipt in receipts]

    def match(self, message_id: str, now_s: float, *, is_final: bool = True) -> Match | Ambiguous | None:
        """Whose receipt this is. None: nobody's yet, so `park` it. The message is forgotten after a final one.

        For a message to several recipients pass is_final=False until the last of its receipts.
        """
        now = self._second(now_s)
        if self._habit is Relation.SAME:  # most peers, and nothing to convert
            table, fingerprint = self._place(canonical(message_id))
            slots = list(table.find(fingerprint, now))
            if len(slots) == 1:
                return self._found(Relation.SAME, table, slots[0], is_final=is_final)
        found: list[tuple[Relation, _Table, int]] = []
        forms = _only(response_forms(message_id), self._relation)
        for relation, form in forms.items():
            table, fingerprint = self._place(form)
            found += [(relation, table, slot) for slot in table.find(fingerprint, now)]
        if len(found) == 1 and len(forms) > 1:
            self._show(found[0][0])
        if len(found) > 1 and (habit := self.habit) is not None:
            found = [candidate for candidate in found if candidate[0] is habit] or found
        if not found:
            return None
        if len(found) > 1:
            return Ambiguous(tuple(table.handle(slot) for _, table, slot in found))
        return self._found(*found[0], is_final=is_final)

    @staticmethod
    def _found(relation: Relation, table: _Table, slot: int, *, is_final: bool) -> Match:
        handle = table.handle(slot)
        if is_final:
            table.remove(slot)
        return Match(handle, relation)

    def park(self, message_id: str, receipt: R, now_s: float, *, is_final: bool = True) -> list[R]:
        """Keep a receipt until its response comes (`add` gives it). Gives those that had to make room, oldest first."""
        self._parkings += 1
        number = self._parkings
        self._parked[number] = _Parked(message_id, receipt, is_final, now_s + self._park_s)
        for relation, form in response_forms(message_id).items():
            self._parked_by_form.setdefault(form, []).append((number, relation))
        crowded = []
        while len(self._parked) > self._max_parked:
            crowded.append(self._unpark(next(iter(self._parked))).receipt)
        return crowded

    def expire(self, now_s: float, tables: int = 4) -> tuple[list[int], list[R]]:
        """Handles of messages that never got a receipt in time, and parked receipts that never got their message.

        Looks through `tables` of the 64 tables, in turn: called every second, an entry is given up 16 seconds after its
        time at most. It matches nothing from its time on, wherever the sweep is.
        """
        handles: list[int] = []
        for _ in range(min(tables, _TABLES)):
            handles += self._tables[self._next_table].sweep(self._second(now_s))
            self._next_table = (self._next_table + 1) % _TABLES
        late = []
        while self._parked:
            number = next(iter(self._parked))
            if self._parked[number].deadline_s > now_s:
                break
            late.append(self._unpark(number).receipt)
        return handles, late

    def _unpark(self, number: int) -> _Parked[R]:
        parked = self._parked.pop(number)
        for form in response_forms(parked.message_id).values():
            left = [entry for entry in self._parked_by_form[form] if entry[0] != number]
            if left:
                self._parked_by_form[form] = left
            else:
                del self._parked_by_form[form]
        return parked

    def _second(self, now_s: float) -> int:
        """Whole seconds since the first call, which fit into four octets for a century."""
        if self._origin_s is None:
            self._origin_s = now_s
        return max(0, int(now_s - self._origin_s))

    def _place(self, form: str) -> tuple[_Table, int]:
        fingerprint = hash(form) & 0xFFFF_FFFF_FFFF_FFFF
        return self._tables[fingerprint >> 58], fingerprint or 1  # 0 marks a free slot


class _Table:
    """Fingerprint to handle and deadline, with repeats: open addressing with linear probing, in three flat arrays.

    A dict needs more than twice the memory for the same: an object for each key and each value.
    """

    __slots__ = ("_deadlines", "_handles", "_keys", "_mask", "_used")

    def __init__(self) -> None:
        self._allocate(8)

    def __len__(self) -> int:
        return self._used

    @property
    def octets(self) -> int:
        return 20 * len(self._keys)

    def handle(self, slot: int) -> int:
        return self._handles[slot]

    def insert(self, key: int, handle: int, deadline: int) -> None:
        if 4 * (self._used + 1) > 3 * len(self._keys):
            self._resize(2 * len(self._keys))
        slot = key & self._mask
        while self._keys[slot]:
            slot = (slot + 1) & self._mask
        self._keys[slot], self._handles[slot], self._deadlines[slot] = key, handle, deadline
        self._used += 1

    def find(self, key: int, now: int) -> Iterator[int]:
        """Slots of this key whose time is not over."""
        slot = key & self._mask
        while found := self._keys[slot]:
            if found == key and self._deadlines[slot] > now:
                yield slot
            slot = (slot + 1) & self._mask

    def remove(self, slot: int) -> None:
        """Free the slot, and move back what stands behind it and would not be found across the gap."""
        gap = place = slot
        while key := self._keys[place := (place + 1) & self._mask]:
            if (place - key) & self._mask >= (place - gap) & self._mask:  # its own slot is at the gap or before it
                self._keys[gap] = key
                self._handles[gap], self._deadlines[gap] = self._handles[place], self._deadlines[place]
                gap = place
        self._keys[gap] = 0
        self._used -= 1

    def sweep(self, now: int) -> list[int]:
        """Remove all whose time is over; give their handles."""
        over = [
            handle
            for key, handle, deadline in zip(self._keys, self._handles, self._deadlines, strict=True)
            if key and deadline <= now
        ]
        if over:
            kept = self._used - len(over)
            size = len(self._keys)
            while size > 8 and 4 * kept < size:
                size //= 2
            self._resize(size, now)
        return over

    def _resize(self, size: int, now: int = -1) -> None:
        """Copy what is not over into new arrays."""
        entries = zip(self._keys, self._handles, self._deadlines, strict=True)
        self._allocate(size)
        for key, handle, deadline in entries:
            if key and deadline > now:
                self.insert(key, handle, deadline)

    def _allocate(self, size: int) -> None:
        self._keys = array("Q", bytes(8 * size))
        self._handles = array("Q", bytes(8 * size))
        self._deadlines = array("I", bytes(4 * size))
        self._mask, self._used = size - 1, 0
