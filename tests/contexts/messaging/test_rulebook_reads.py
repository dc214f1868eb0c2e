"""What pages read out of a rulebook's text: rules with their validity and line, one rule's lines, differences."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from mingbai.contexts.messaging.queries import rulebook as queries
from mingbai.kernel.verdicts import Verdict

NOW = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
BOOK = """[rulebook]
name = "test"
version = "1"
time_zone = "Asia/Shanghai"

# ---- fraud

[[rule]]
id = "fraud.one"
category = "fraud"
action = "block"
owner = "desk"
reason = "=first"
keywords = ["一"]
valid_to = 2026-11-25

[[rule]]
id = "fraud.two"
category = "fraud"
action = "hold"
owner = "desk"
reason = "second"
enabled = false
keywords = ["二"]

[[rule]]
id = "fraud.three"
category = "fraud"
action = "hold"
owner = "desk"
reason = "third"
keywords = ["三"]
valid_to = 2026-11-24
"""


def test_rules_carry_their_line_and_whether_they_are_at_work() -> None:
    one, two, three = queries.rules_of(BOOK, now=NOW)
    assert (one.id, one.line, one.action, one.is_in_force) == ("fraud.one", 9, Verdict.BLOCK, True)
    assert (two.enabled, two.is_in_force) == (False, False)
    assert (three.line, three.is_in_force, three.valid_to) == (27, False, "2026-11-24")
    # The last day of validity is a whole day of the rulebook's own time zone.
    assert not queries.rules_of(BOOK, now=datetime(2026, 11, 25, 16, 0, tzinfo=UTC))[0].is_in_force
    assert queries.rules_of("not toml [", now=NOW) == []


def test_the_lines_of_one_rule() -> None:
    text = queries.rule_text(BOOK, "fraud.one")
    assert text.splitlines()[0] == "[[rule]]"
    assert text.splitlines()[-1] == "valid_to = 2026-11-25"
    assert queries.rule_text(BOOK, "fraud.none") == ""


def test_a_difference_says_what_changed_and_folds_the_rest() -> None:
    found = queries.difference(BOOK, BOOK.replace('action = "block"', 'action = "hold"'))
    assert (found.added, found.removed) == (1, 1)
    assert [(row.kind, row.old, row.new) for row in found.sides if row.kind] == [
        ("changed", 'action = "block"', 'action = "hold"')
    ]
    assert [row.kind for row in found.lines] == ["", "", "", "removed", "added", "", "", ""]
    assert queries.difference(BOOK, BOOK).lines == ()


def test_a_difference_makes_the_new_text_of_the_old(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(300):
        old = [chance.choice("abcd") for _ in range(chance.randint(0, 30))]
        new = [line if chance.random() < 0.8 else chance.choice("abcde") for line in old] + ["z"] * chance.randint(0, 2)
        codes = queries._opcodes(old, new)
        made = [line for kind, i, j, k, m in codes for line in (old[i:j] if kind == "equal" else new[k:m])]
        assert made == new, f"seed {seed}"
        assert sum(j - i for _kind, i, j, _k, _m in codes) == len(old), f"seed {seed}"
