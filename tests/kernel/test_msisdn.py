from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.msisdn import BadMsisdn, Msisdn, mask

MOBILES = st.from_regex(r"\A1[3-9][0-9]{9}\Z").filter(str.isascii)


@pytest.mark.parametrize(
    "written",
    ["+8613812345678", "008613812345678", "8613812345678", "13812345678", " +86 138-1234-5678 ", "(138) 1234.5678"],
)
def test_one_number_however_it_is_written(written: str) -> None:
    number = Msisdn.parse(written)
    assert number.e164 == "+8613812345678"
    assert number.digits == "8613812345678"
    assert number.national == "13812345678"
    assert number.is_chinese_mobile


@given(MOBILES, st.sampled_from(["", "86", "+86", "0086", "+86 ", "0086-"]))
def test_every_chinese_mobile_number_is_read_in_every_form(national: str, prefix: str) -> None:
    assert Msisdn.parse(prefix + national).e164 == "+86" + national


@pytest.mark.parametrize(
    ("written", "e164"),
    [
        ("+44 7911 123456", "+447911123456"),
        ("0085291234567", "+85291234567"),
        ("+86 10 6552 9988", "+861065529988"),  # a fixed line in Beijing, with its area code
        ("+8614400000000 12", "+861440000000012"),  # 13 digits: Internet of things
        ("+2904567", "+2904567"),
    ],
)
def test_other_countries_fixed_lines_and_things(written: str, e164: str) -> None:
    number = Msisdn.parse(written)
    assert number.e164 == e164
    assert not number.is_chinese_mobile


@pytest.mark.parametrize(
    "written",
    [
        "",
        "10086",  # a service code
        "106900001234567",  # an access code
        "95588",
        "12345678901",  # no range 12
        "1381234567",  # one digit short
        "+86138123456789",  # one too many
        "+0123456789",
        "+1234567890123456",  # 16 digits
        "021-65529988",  # ambiguous: whose trunk 0?
        "１３８１２３４５６７８",  # full-width: the normaliser's business, not ours
        "+86138123x5678",
        "13812345678\n1",
    ],
)
def test_what_is_not_a_subscribers_number_is_refused_by_name(written: str) -> None:
    with pytest.raises(BadMsisdn) as error:
        Msisdn.parse(written, "receiver")
    assert error.value.data["field"] == "receiver"
    assert error.value.code == "bad_msisdn"


@given(st.text())
def test_parsing_gives_a_number_or_its_own_error(text: str) -> None:
    try:
        number = Msisdn.parse(text)
    except BadMsisdn:
        return
    assert Msisdn.parse(number.e164) == number


@given(MOBILES)
def test_nothing_that_is_printed_shows_the_whole_number(national: str) -> None:
    number = Msisdn.parse(national)
    for shown in (str(number), repr(number), f"{number}", number.masked):
        assert national not in shown
        assert national[3:7] + national[7:] not in shown
    with pytest.raises(BadMsisdn) as error:
        Msisdn.parse(national + "00000")
    assert national not in str(error.value)
    assert national not in repr(error.value.data)


def test_the_middle_of_a_number_is_masked() -> None:
    assert Msisdn.parse("13812341234").masked == "138****1234"
    assert str(Msisdn.parse("+447911123456")) == "+44****3456"
    assert mask("95588") == "9****8"
    assert mask("12") == "****"


def test_only_e164_makes_a_number() -> None:
    with pytest.raises(BadMsisdn):
        Msisdn("13812345678")


def test_numbers_sort_and_serve_as_keys() -> None:
    one, other = Msisdn.parse("13800000000"), Msisdn.parse("13900000000")
    assert sorted({other, one, Msisdn.parse("+8613800000000")}) == [one, other]
    assert pickle.loads(pickle.dumps(one)) == one


def test_errors_cross_a_process_boundary_whole() -> None:
    error: MingbaiError = BadMsisdn(field="sender", value="1****9", expected="a number")
    back = pickle.loads(pickle.dumps(error))
    assert isinstance(back, BadValue)
    assert (type(back), back.data, str(back)) == (BadMsisdn, error.data, str(error))
