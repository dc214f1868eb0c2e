"""Pure rules of the review desk: how long a message may be held and what happens then, who gets which, how well people
agree. No Django; every number that a reader might ask about stands here with its reason.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category, Reason, Verdict

# -- holding


class HoldClass(StrEnum):
    """What kind of message is held; stored with the item."""

    VERIFICATION_CODE = "verification_code"
    UNSCREENED = "unscreened"
    NOTICE = "notice"
    PERSONAL = "personal"
    ADVERTISING = "advertising"
    FRAUD = "fraud"
    ILLEGAL_TRADE = "illegal_trade"


@dataclass(frozen=True, slots=True)
class HoldRule:
    """How long a person has, and what happens if nobody decides. limit: None, the setting `review.hold_minutes`."""

    limit: timedelta | None
    then: Verdict  # ALLOW: the message is released; BLOCK: it is refused


# Who waits for a code gives up within seconds: never over 5 s, of which one is kept for the job that releases it. A
# notice or a private message that comes late does harm, and one that we wrongly let through seldom does: both are
# released. What looks like fraud or illegal trade is refused, since the harm of one that passes falls on the customer
# and cannot be undone. An advert nobody looked at is refused: its loss hurts no receiver.
HOLD_RULES: Final[Mapping[HoldClass, HoldRule]] = {
    HoldClass.VERIFICATION_CODE: HoldRule(timedelta(seconds=4), Verdict.ALLOW),
    HoldClass.UNSCREENED: HoldRule(timedelta(minutes=1), Verdict.ALLOW),  # our failure: in the customer's favour
    HoldClass.NOTICE: HoldRule(timedelta(minutes=5), Verdict.ALLOW),
    HoldClass.PERSONAL: HoldRule(timedelta(minutes=10), Verdict.ALLOW),
    HoldClass.ADVERTISING: HoldRule(None, Verdict.BLOCK),
    HoldClass.FRAUD: HoldRule(timedelta(minutes=60), Verdict.BLOCK),
    HoldClass.ILLEGAL_TRADE: HoldRule(timedelta(minutes=60), Verdict.BLOCK),
}
NEVER_HELD_LONGER: Final = {HoldClass.VERIFICATION_CODE: timedelta(seconds=5)}

_CLASS_OF: Final = {
    Category.PERSONAL: HoldClass.PERSONAL,
    Category.NOTIFICATION: HoldClass.NOTICE,
    Category.ADVERTISING: HoldClass.ADVERTISING,
    Category.FRAUD: HoldClass.FRAUD,
    Category.ILLEGAL_TRADE: HoldClass.ILLEGAL_TRADE,
}
APPEAL_HOURS: Final = 24  # within which an appeal is answered: a lost message is of no use a week later


def hold_class(category: int, reasons: Iterable[int]) -> HoldClass:
    """The class of a held message. A protected code stays one, whatever its category."""
    codes = set(reasons)
    if Reason.PROTECTED_CODE in codes:
        return HoldClass.VERIFICATION_CODE
    if Reason.UNSCREENED in codes:
        return HoldClass.UNSCREENED
    return _CLASS_OF[Category(category)]


def hold_limit(which: HoldClass, hold_minutes: int) -> timedelta:
    """How long it may be held."""
    limit = HOLD_RULES[which].limit
    return timedelta(minutes=hold_minutes) if limit is None else limit


# -- queues, in the order in which people get them

PRIORITY: Final[Mapping[str, int]] = {"held": 0, "appeal": 1, "second": 1, "gold": 1, "flagged": 2}
CATEGORIES: Final = tuple(category.label for category in Category)
LANGUAGES: Final = ("zh", "en")


def queue_name(kind: str, category: int, language: str) -> str:
    return f"{kind}.{Category(category).label}.{language or '-'}"


@dataclass(frozen=True, slots=True)
class Skill:
    """What a person reviews; empty: everything of that sort."""

    categories: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()

    @property
    def is_limited(self) -> bool:
        return bool(self.categories or self.languages)


def skill_of(skills: Iterable[object]) -> Skill:
    """From the words of an account: category labels and languages. Others are left out: they are for other desks."""
    given = [str(word).lower() for word in skills]
    return Skill(
        tuple(word for word in CATEGORIES if word in given), tuple(word for word in LANGUAGES if word in given)
    )


def parse_answer(text: str) -> tuple[Verdict, Category]:
    """`block.fraud` as (verdict, category): what a key of the desk sends. Raises BadValue."""
    verdict, _, category = text.partition(".")
    try:
        found = Verdict[verdict.upper()], Category[category.upper()]
    except KeyError:
        found = (Verdict.HOLD, Category.PERSONAL)
    if found[0] not in (Verdict.ALLOW, Verdict.BLOCK):
        expected = "allow or block, a dot and a category: " + ", ".join(CATEGORIES)
        raise BadValue(field="answer", value=text[:60], expected=expected)
    return found


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the desk."""

    key: str
    answer: str


KEYS: Final = (
    Key("1", "allow.personal"),
    Key("2", "allow.notification"),
    Key("3", "allow.advertising"),
    Key("4", "block.advertising"),
    Key("5", "block.fraud"),
    Key("6", "block.illegal_trade"),
)


def is_sampled(what: str, salt: str, percent: int) -> bool:
    """Whether `what` belongs to the sample: always the same answer, and nobody can choose it."""
    digest = hashlib.sha256(f"{salt}\n{what}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < percent


# -- agreement and quality

_Z95: Final = 1.959964
# Landis & Koch (1977), Biometrics 33, table on page 165: the words that readers know.
_STRENGTH: Final = ((0.0, "poor"), (0.20, "slight"), (0.40, "fair"), (0.60, "moderate"), (0.80, "substantial"))


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa of n pairs with its 95 % interval. value: None where chance cannot be told from agreement."""

    n: int
    agreed: int
    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def strength(self) -> str:
        """poor, slight, fair, moderate, substantial, almost_perfect; "" without a value."""
        if self.value is None:
            return ""
        if self.value < 0:
            return "poor"
        return next((word for limit, word in _STRENGTH[1:] if self.value <= limit), "almost_perfect")


def cohens_kappa(pairs: Iterable[tuple[str, str]]) -> Kappa:
    """Agreement of two raters beyond chance (Cohen 1960), its interval by the large-sample standard error of Fleiss,
    Cohen and Everitt (1969), formula 13. pairs: (one's answer, the other's answer) of the same message."""
    given = list(pairs)
    n = len(given)
    agreed = sum(one == other for one, other in given)
    if n == 0:
        return Kappa(0, 0, None)
    words = sorted({word for pair in given for word in pair})
    share = {(one, other): 0.0 for one in words for other in words}
    for pair in given:
        share[pair] += 1 / n
    rows = {word: sum(share[word, other] for other in words) for word in words}
    columns = {word: sum(share[other, word] for other in words) for word in words}
    observed = sum(share[word, word] for word in words)
    chance = sum(rows[word] * columns[word] for word in words)
    if 1 - chance < 1e-12:  # everybody said one thing: agreement cannot be told from chance
        return Kappa(n, agreed, None)
    value = (observed - chance) / (1 - chance)
    a = sum(share[w, w] * ((1 - chance) - (rows[w] + columns[w]) * (1 - observed)) ** 2 for w in words)
    b = (1 - observed) ** 2 * sum(
        share[one, other] * (columns[one] + rows[other]) ** 2 for one in words for other in words if one != other
    )
    c = (observed * chance - 2 * chance + observed) ** 2
    error = math.sqrt(max(0.0, a + b - c) / n) / (1 - chance) ** 2
    return Kappa(n, agreed, value, max(-1.0, value - _Z95 * error), min(1.0, value + _Z95 * error))


@dataclass(frozen=True, slots=True)
class Share:
    """k of n with the 95 % Wilson interval."""

    k: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        return self.k / self.n if self.n else None


def wilson(k: int, n: int) -> Share:
    """Wilson (1927): right also for few answers and shares near 0 or 1."""
    if n == 0:
        return Share(0, 0, 0.0, 1.0)
    p, z2 = k / n, _Z95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Share(k, n, max(0.0, middle - half), min(1.0, middle + half))
