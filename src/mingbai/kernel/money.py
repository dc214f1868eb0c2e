"""Money: a whole number of millionths of the currency unit. No float comes near it.

A tariff may cost 0.0035 yuan a second, so the unit is finer than the cent; sums are exact. An amount is rounded once,
where a bill line is made, and the rounding is named. In tables and batches: int64 micros beside a currency.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from mingbai.kernel.errors import BadValue, MingbaiError

MICROS_PER_UNIT = 1_000_000
_INT64_MAX = 2**63 - 1
_AMOUNT = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]{1,6}))?", re.ASCII)


class Rounding(Enum):
    """What happens to the part that is cut off. Whoever rounds names one of these."""

    DOWN = "down"  # towards zero: in the customer's favour for a charge
    UP = "up"  # away from zero
    HALF_UP = "half_up"  # to the nearest, a tie away from zero: what people call rounding
    HALF_EVEN = "half_even"  # to the nearest, a tie to the even neighbour: no drift over many lines


class CurrencyMismatch(MingbaiError):
    """Two amounts in different currencies cannot be added or compared."""

    code = "currency_mismatch"
    template = "cannot combine {left} with {right}: amounts in different currencies"


@dataclass(frozen=True, slots=True)
class Money:
    """`Money(1_500_000, "CNY")` is one and a half yuan.

    micros: millionths of the unit, within int64. currency: three capital letters (ISO 4217).
    Raises BadValue where a part is not that, CurrencyMismatch where two currencies meet.
    """

    micros: int
    currency: str

    def __post_init__(self) -> None:
        # bool is an int and a numpy integer is not; neither is an amount.
        if type(self.micros) is not int or not -_INT64_MAX - 1 <= self.micros <= _INT64_MAX:
            raise BadValue(field="micros", value=self.micros, expected="a whole number within int64")
        if not re.fullmatch("[A-Z]{3}", self.currency):
            raise BadValue(field="currency", value=self.currency, expected="an ISO 4217 code such as CNY")

    @classmethod
    def parse(cls, text: str, currency: str) -> Money:
        """Read a decimal amount in units: `12`, `-0.05`, `0.000001`. Raises BadValue for more than six decimals."""
        match = _AMOUNT.fullmatch(text)
        if match is None:
            raise BadValue(field="amount", value=text, expected="a decimal number with at most six decimals")
        sign, units, decimals = match.groups()
        micros = int(units) * MICROS_PER_UNIT + int((decimals or "").ljust(6, "0"))
        return cls(-micros if sign == "-" else micros, currency)

    def __str__(self) -> str:
        """`12.50 CNY`: at least two decimals, as many as are needed."""
        units, micros = divmod(abs(self.micros), MICROS_PER_UNIT)
        decimals = f"{micros:06d}".rstrip("0").ljust(2, "0")
        return f"{'-' if self.micros < 0 else ''}{units}.{decimals} {self.currency}"

    def __add__(self, other: Money) -> Money:
        return Money(self.micros + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.micros - self._same(other), self.currency)

    def __mul__(self, count: int) -> Money:
        if type(count) is not int:
            raise BadValue(field="count", value=count, expected="a whole number; use `scaled` for a fraction")
        return Money(self.micros * count, self.currency)

    def __neg__(self) -> Money:
        return Money(-self.micros, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.micros < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.micros <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        return self.micros > self._same(other)

    def __ge__(self, other: Money) -> bool:
        return self.micros >= self._same(other)

    def scaled(self, numerator: int, denominator: int, rounding: Rounding) -> Money:
        """This amount times numerator / denominator, to the micro. Raises BadValue if the denominator is not positive.

        A price per gigabyte for 350 MB: `price.scaled(350, 1024, Rounding.DOWN)`.
        """
        if denominator <= 0:
            raise BadValue(field="denominator", value=denominator, expected="a whole number above 0")
        return Money(_divide(self.micros * numerator, denominator, rounding), self.currency)

    def rounded(self, step_micros: int, rounding: Rounding) -> Money:
        """To a multiple of `step_micros`: 10_000 for the fen of a yuan. Raises BadValue if the step is not positive."""
        if step_micros <= 0:
            raise BadValue(field="step_micros", value=step_micros, expected="a whole number above 0")
        return Money(_divide(self.micros, step_micros, rounding) * step_micros, self.currency)

    def _same(self, other: Money) -> int:
        if self.currency != other.currency:
            raise CurrencyMismatch(left=self.currency, right=other.currency)
        return other.micros


def _divide(numerator: int, denominator: int, rounding: Rounding) -> int:
    quotient, rest = divmod(abs(numerator), denominator)
    match rounding:
        case Rounding.DOWN:
            up = False
        case Rounding.UP:
            up = rest > 0
        case Rounding.HALF_UP:
            up = 2 * rest >= denominator
        case Rounding.HALF_EVEN:
            up = 2 * rest > denominator or (2 * rest == denominator and quotient % 2 == 1)
    quotient += up
    return -quotient if numerator < 0 else quotient
