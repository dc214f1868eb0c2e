"""Rules over IMSI, MSC, cell and device: what they match, and what is said where a message does not bring the field."""

from __future__ import annotations

import json
import random
from typing import Any  # rows of a batch as Python values

import pyarrow as pa
import pytest

from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.explain import document, explain
from mingbai.engines.screening.policy import Policy
from mingbai.engines.screening.reading import nids
from mingbai.engines.screening.rulebook import parse
from mingbai.engines.screening.rulebook_types import RulebookInvalid
from mingbai.engines.screening.schema import MESSAGE, NETWORK, joined
from mingbai.engines.screening.screen import screen
from mingbai.kernel.verdicts import Reason, Verdict
from tests.engines.screening.test_screen import CHAT, SPAM, batch, decide, policy, rule

pytestmark = pytest.mark.slow

ABSENT = int(Reason.FIELD_ABSENT)


def _blocked(given: Policy, name: str, *values: str | None) -> list[bool]:
    """Whether the one rule stops a harmless message that brings each of these in the field."""
    rows = decide([CHAT] * len(values), given, **{name: values})
    return [row["verdict"] == Verdict.BLOCK and row["rules"] == ["r1"] for row in rows]


def test_an_imsi_is_named_exactly_or_by_its_first_digits() -> None:
    given = policy(rule(imsis=["460017*", "460028123456789"]))
    assert _blocked(given, "imsi", "460017000000001", "460018000000001", "460028123456789", "460028123456780") == [
        True, False, True, False,
    ]  # fmt: skip


def test_an_msc_is_a_number_with_or_without_plus_or_an_address() -> None:
    given = policy(rule(mscs=["+8613900*", "MSC-7.Example"]))
    assert _blocked(given, "msc", "8613900123", "+8613900123", "8613800123", "msc-7.example") == [
        True, True, False, True,
    ]  # fmt: skip


def test_a_cell_is_a_text_whatever_its_letters_case() -> None:
    given = policy(rule(cells=["460-00-1A2B-*", "460-00-7-9"]))
    assert _blocked(given, "cell", "460-00-1a2b-00F1", "460-00-7-9", "460-00-7-91") == [True, True, False]


def test_a_type_of_device_stands_for_all_its_devices_and_check_digits_do_not_matter() -> None:
    given = policy(rule(devices=["35209900", "860000000000017", "9912*"]))
    same = ["35209900", "352099001761481", "860000000000010", "8600000000000199", "99120000"]
    other = ["35209901", "352099", "860000000000027"]
    assert _blocked(given, "device", *same, *other) == [True] * 5 + [False] * 3


def test_an_absent_field_keeps_a_rule_silent_and_the_decision_says_so() -> None:
    given = policy(rule(imsis=["460017*"], keywords=["吃饭"]))
    rows = decide([CHAT, CHAT, CHAT, "别的话"], given, imsi=["460017000000001", None, "460020000000001", None])
    assert [row["verdict"] for row in rows] == [Verdict.BLOCK, Verdict.ALLOW, Verdict.ALLOW, Verdict.ALLOW]
    # The third brings the field and it is another; for the fourth the rule would not fire either way.
    assert [ABSENT in row["reasons"] for row in rows] == [False, True, False, False]
    assert rows[1]["rules"] == [] and Reason.MODEL_LEGITIMATE in rows[1]["reasons"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"imsis": ["4600*"]}, True),
        ({"imsis": ["4600*"], "hours": ["00:00-01:00"]}, False),  # it is noon
        ({"imsis": ["4600*"], "keywords_none": ["吃饭"]}, False),
        ({"imsis": ["4600*"], "senders": ["139*"]}, False),
        ({"imsis": ["4600*"], "senders": ["138*"]}, True),
        ({"imsis": ["4600*"], "cells": ["7"]}, True),  # both are absent
        ({"imsis": ["4600*"], "mscs": ["86138*"]}, True),  # one is there and right
        ({"imsis": ["4600*"], "mscs": ["86139*"]}, False),  # one is there and wrong
        ({"imsis": ["4600*"], "enabled": False}, False),
        ({"keywords": ["吃饭"], "mscs": ["86138*"]}, False),  # it fires
    ],
)
def test_only_what_absent_fields_alone_keep_back_is_said(fields: dict[str, object], said: bool) -> None:
    text = rule(**fields).replace("False", "false")
    (row,) = decide([CHAT], policy(text), sender=["13800000001"], msc=["8613800999"])
    assert (ABSENT in row["reasons"]) is said


def test_the_verdict_is_the_same_with_the_reason() -> None:
    plain = decide([SPAM, CHAT])
    rows = decide([SPAM, CHAT], policy(rule(imsis=["460*"])))
    assert [row["verdict"] for row in rows] == [row["verdict"] for row in plain]
    assert [row["reasons"] for row in rows] == [[*row["reasons"], ABSENT] for row in plain]


def test_nothing_is_expected_of_a_message_that_came_through_an_access_code() -> None:
    rows = decide([CHAT] * 3, policy(rule(imsis=["460*"])), access_code=["10690001", None, ""])
    assert [ABSENT in row["reasons"] for row in rows] == [False, True, True]


def test_an_empty_field_is_absent() -> None:
    (row,) = decide([CHAT], policy(rule(imsis=["460*"])), imsi=[""])
    assert ABSENT in row["reasons"]


def test_without_such_rules_the_columns_change_nothing() -> None:
    given = policy(rule(keywords=["吃饭"]))
    plain = decide([SPAM, CHAT], given)
    assert decide([SPAM, CHAT], given, imsi=["460017000000001", None], cell=["7", "8"]) == plain


def test_a_message_gets_the_same_answer_alone_and_in_any_batch() -> None:
    given = policy(
        rule(id="a", imsis=["460017*"], keywords=["吃饭"])
        + rule(id="b", action="flag", cells=["7"], devices=["35209900"])
        + rule(id="c", action="hold", mscs=["86139*"], senders=["138*"])
    )
    seeded = random.Random(20260301)  # always the same rows
    rows = [
        {
            "text": seeded.choice([CHAT, "明天见"]),
            "sender": seeded.choice(["13800000001", "13900000001"]),
            "access_code": seeded.choice([None, None, "10690001"]),
            "imsi": seeded.choice([None, "460017000000001", "460020000000001"]),
            "msc": seeded.choice([None, "8613900123", "8613800123"]),
            "cell": seeded.choice([None, "7", "8"]),
            "device": seeded.choice([None, "35209900", "352099001761481", "99120000"]),
        }
        for _ in range(300)
    ]
    together, _ = screen(pa.RecordBatch.from_pylist(rows), given, Counters())
    for row, found in zip(rows, together.to_pylist(), strict=True):
        brought = {name: value for name, value in row.items() if value is not None}
        (alone,) = screen(pa.RecordBatch.from_pylist([brought]), given, Counters())[0].to_pylist()
        for name in ("verdict", "reasons", "rules"):
            assert alone[name] == found[name], row


def test_every_kind_of_text_column_is_read() -> None:
    given = policy(rule(imsis=["460017*"]))
    values = pa.array(["460017000000001", None], pa.string())
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        found = decide_column(given, values.cast(kind))
        assert [row["verdict"] for row in found] == [Verdict.BLOCK, Verdict.ALLOW], kind
        assert ABSENT in found[1]["reasons"]


def decide_column(given: Policy, imsi: pa.Array) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = screen(
        pa.record_batch({"text": pa.array([CHAT] * len(imsi)), "imsi": imsi}), given, Counters()
    )[0].to_pylist()
    return rows


def test_an_explanation_names_the_rules_that_were_not_applied() -> None:
    given = policy(rule(id="sim.farm", imsis=["460017*"], keywords=["吃饭"]) + rule(id="other", keywords=["别的"]))
    (found,) = explain(batch([CHAT]), given, Counters(1))
    assert found.not_applied == ("sim.farm",)
    assert json.loads(json.dumps(document(found, {}, {})))["not_applied"] == ["sim.farm"]
    (found,) = explain(batch([CHAT], imsi=["460017000000001"]), given, Counters(1))
    assert found.not_applied == () and found.rules == ("sim.farm",)


@pytest.mark.parametrize(
    ("field", "entry"),
    [
        ("imsis", "46001a"), ("imsis", "4600"), ("imsis", "4600171234567890"), ("imsis", "46*"),
        ("devices", "352099"), ("devices", "35209900x"), ("devices", "12345678901234567"),
        ("mscs", "86*139"), ("cells", "*"),
    ],
)  # fmt: skip
def test_an_entry_that_can_match_nothing_is_refused_with_its_place(field: str, entry: str) -> None:
    head = '[rulebook]\nname = "t"\nversion = "1"\n'
    with pytest.raises(RulebookInvalid) as caught:
        parse(head + rule(**{field: [entry]}), nids)
    (problem,) = caught.value.problems
    assert (problem.rule, problem.field, problem.value) == ("r1", field, repr(entry))


def test_batches_with_and_without_the_columns_are_joined() -> None:
    plain = pa.record_batch([pa.array([None], field.type) for field in MESSAGE], schema=MESSAGE)
    wide = plain.append_column(NETWORK.field("cell"), pa.array(["7"]))
    assert joined([plain, plain]).schema == MESSAGE
    whole = joined([plain, wide])
    assert whole.schema.names == [*MESSAGE.names, "cell"] and whole.column("cell").to_pylist() == [None, "7"]
