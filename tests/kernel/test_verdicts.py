from __future__ import annotations

from mingbai.kernel.verdicts import Category, Reason, Verdict

# Written down a second time on purpose: these numbers are stored in ledgers. A change here is a change of the format.
VERDICTS = {"allow": 0, "flag": 1, "hold": 2, "block": 3}
CATEGORIES = {"personal": 0, "notification": 1, "advertising": 2, "fraud": 3, "illegal_trade": 4}


def test_stored_numbers_keep_their_meaning() -> None:
    assert {verdict.label: int(verdict) for verdict in Verdict} == VERDICTS
    assert {category.label: int(category) for category in Category} == CATEGORIES


def test_a_larger_verdict_interferes_more() -> None:
    assert max(Verdict.ALLOW, Verdict.FLAG, Verdict.HOLD, Verdict.BLOCK) is Verdict.BLOCK


def test_reason_codes_are_distinct_and_fit_the_batch() -> None:
    assert all(0 < reason < 2**16 for reason in Reason)
    assert len({reason.label for reason in Reason}) == len(Reason.__members__)


def test_reasons_print_with_their_family_first() -> None:
    assert Reason.RULE_KEYWORD.label == "rule.keyword"
    assert Reason.URL_RAW_ADDRESS.label == "url.raw_address"
