from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.kernel.errors import BadValue
from mingbai.kernel.money import CurrencyMismatch, Money, Rounding

MICROS = st.integers(-(2**60), 2**60)
DECIMAL_ROUNDING = {
    Rounding.DOWN: ROUND_DOWN,
    Rounding.UP: ROUND_UP,
    Rounding.HALF_UP: ROUND_HALF_UP,
    Rounding.HALF_EVEN: ROUND_HALF_EVEN,
}


def cny(text: str) -> Money:
    return Money.parse(text, "CNY")


def test_tenths_add_up_exactly() -> None:
    assert cny("0.1") + cny("0.2") == cny("0.3")
    assert cny("5") - cny("7.25") == cny("-2.25")
    assert -cny("3") * 2 == cny("-6")


@pytest.mark.parametrize(
    ("micros", "shown"),
    [(12_500_000, "12.50 CNY"), (-50_000, "-0.05 CNY"), (3_500, "0.0035 CNY"), (0, "0.00 CNY"), (1, "0.000001 CNY")],
)
def test_shown_with_two_decimals_or_as_many_as_it_needs(micros: int, shown: str) -> None:
    assert str(Money(micros, "CNY")) == shown


@given(MICROS)
def test_what_is_shown_reads_back(micros: int) -> None:
    amount = Money(micros, "CNY")
    assert Money.parse(str(amount).removesuffix(" CNY"), "CNY") == amount


@given(MICROS, st.integers(1, 10**6), st.integers(1, 10**6), st.sampled_from(Rounding))
def test_scaling_rounds_as_decimal_does(micros: int, numerator: int, denominator: int, rounding: Rounding) -> None:
    micros //= 10**6  # the product stays within int64
    exact = Decimal(micros * numerator) / Decimal(denominator)  # 28 digits: enough for 40 bits by 20 bits by 20 bits
    expected = int(exact.quantize(Decimal(1), DECIMAL_ROUNDING[rounding]))
    assert Money(micros, "CNY").scaled(numerator, denominator, rounding).micros == expected


@pytest.mark.parametrize(
    ("rounding", "up_tie", "down_tie", "negative"),
    [
        (Rounding.DOWN, "0.01", "0.02", "-0.01"),
        (Rounding.UP, "0.02", "0.03", "-0.02"),
        (Rounding.HALF_UP, "0.02", "0.03", "-0.02"),
        (Rounding.HALF_EVEN, "0.02", "0.02", "-0.02"),
    ],
)
def test_a_bill_line_is_rounded_to_the_fen_as_named(
    rounding: Rounding, up_tie: str, down_tie: str, negative: str
) -> None:
    assert cny("0.015").rounded(10_000, rounding) == cny(up_tie)
    assert cny("0.025").rounded(10_000, rounding) == cny(down_tie)
    assert cny("-0.015").rounded(10_000, rounding) == cny(negative)


def test_currencies_do_not_mix() -> None:
    with pytest.raises(CurrencyMismatch, match="CNY with USD"):
        cny("1") + Money(1, "USD")
    with pytest.raises(CurrencyMismatch):
        _ = cny("1") < Money(1, "USD")
    assert cny("1") != Money(1_000_000, "USD")


def test_amounts_of_one_currency_compare() -> None:
    assert cny("1") < cny("2") <= cny("2") < cny("3")
    assert cny("3") > cny("2") >= cny("2")


@pytest.mark.parametrize("micros", [1.0, True, 2**63, -(2**63) - 1, "1"])
def test_only_whole_micros_within_int64_are_an_amount(micros: object) -> None:
    with pytest.raises(BadValue, match="micros"):
        Money(micros, "CNY")  # type: ignore[arg-type]  # the fault under test


def test_overflow_is_an_error_not_a_wrap() -> None:
    with pytest.raises(BadValue):
        Money(2**63 - 1, "CNY") + Money(1, "CNY")


@pytest.mark.parametrize("text", ["", "1e3", "1.2345678", "1,000", "٣", ".5", "5.", "NaN"])
def test_an_amount_that_is_not_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="amount"):
        cny(text)


def test_bad_currency_step_count_and_denominator_are_refused() -> None:
    with pytest.raises(BadValue, match="currency"):
        Money(1, "rmb")
    with pytest.raises(BadValue, match="step_micros"):
        cny("1").rounded(0, Rounding.DOWN)
    with pytest.raises(BadValue, match="denominator"):
        cny("1").scaled(1, 0, Rounding.DOWN)
    with pytest.raises(BadValue, match="count"):
        cny("1") * 1.5  # type: ignore[operator]  # the fault under test
