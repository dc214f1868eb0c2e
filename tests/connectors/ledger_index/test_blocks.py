"""Blocks of many keys and codes, where rows are picked and counted otherwise than in small ones: the same answers."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import numpy as np
import pytest

from mingbai.connectors.ledger_index import EVERYTHING, Query, Scope
from mingbai.connectors.ledger_index.block import Block, make_block
from mingbai.connectors.ledger_index.counts import campaign_view, overview
from mingbai.connectors.ledger_index.filters import Filter
from mingbai.connectors.ledger_index.rows import NO_VERDICT, Coded, Rows
from mingbai.kernel.clock import to_micros
from mingbai.kernel.verdicts import Category, Verdict
from tests.connectors.ledger_index.conftest import START

COUNT = 4000
CODES = [f"1069{n:03d}" for n in range(40)]
RULES = [[], *([f"kw.{n}"] for n in range(30)), ["kw.1", "kw.2"]]
CAMPAIGN = 77


def made_rows(seed: int) -> Rows:
    """A large campaign, many single messages, and entries that are no decisions."""
    rng = np.random.default_rng(seed)
    is_bulk = rng.random(COUNT) < 0.1
    verdict = rng.integers(0, 4, COUNT).astype(np.uint8)
    verdict[rng.random(COUNT) < 0.02] = NO_VERDICT
    campaign = np.where(is_bulk, CAMPAIGN, rng.integers(1, 1 << 62, COUNT)).astype(np.uint64)
    campaign[(rng.random(COUNT) < 0.05) | (verdict == NO_VERDICT)] = 0
    commits = np.sort(rng.integers(0, 60, COUNT))
    at = to_micros(START) + commits * 1_000_000
    return Rows(
        first_seq=1,
        at=at,
        id_ms=(at // 1000).astype(np.uint64),
        verdict=verdict,
        category=rng.integers(0, 5, COUNT).astype(np.uint8),
        score=rng.random(COUNT).astype(np.float32),
        coded={
            "access_code": Coded(rng.integers(0, len(CODES), COUNT), [*CODES]),
            "reasons": Coded(rng.integers(0, 3, COUNT), [[], [1], [2, 10]]),
            "rules": Coded(np.where(rng.random(COUNT) < 0.7, 0, rng.integers(0, len(RULES), COUNT)), RULES),
            "version": Coded(np.zeros(COUNT, np.int64), [["m1", "r1"]]),
        },
        keyed={
            "sender": rng.integers(0, 50, COUNT).astype(np.uint64),
            "receiver": rng.integers(1, 1 << 62, COUNT).astype(np.uint64),
            "campaign": campaign,
            "text": np.where(is_bulk, rng.integers(0, 9, COUNT), rng.integers(1, 1 << 62, COUNT)).astype(np.uint64),
        },
    )


@pytest.fixture
def rows(seed: int) -> Rows:
    return made_rows(seed)


@pytest.fixture
def block(rows: Rows) -> Block:
    return make_block(rows, b"", b"")


def value_of(rows: Rows, name: str, row: int) -> object:
    column = rows.coded[name]
    return column.values[int(column.codes[row])]


QUERIES = {
    "everything": Query(),
    "one rule, of few messages": Query(rules=("kw.17",)),
    "most rules": Query(rules=tuple(f"kw.{n}" for n in range(26))),
    "many access codes": Query(access_codes=("106900", "1069010", "1069011")),
    "all access codes but few": Query(access_codes=("106900", "106901", "106902", "1069030", "1069031", "1069032")),
    "a rule, verdicts and a score": Query(rules=("kw.1",), verdicts=(Verdict.HOLD, Verdict.BLOCK), min_score=0.5),
    "categories within a score": Query(categories=(Category.ADVERTISING,), min_score=0.2, max_score=0.4),
    "a high score only": Query(max_score=0.01),
    "a campaign, a code, a rule": Query(campaign=CAMPAIGN, access_codes=("106900",), rules=("kw.1", "kw.2")),
    "some seconds": Query(START + timedelta(seconds=13), START + timedelta(seconds=31), access_codes=("106901",)),
    "nothing": Query(rules=("kw.none",)),
}


@pytest.mark.parametrize("name", QUERIES)
def test_rows_are_those_that_fit_whatever_is_looked_at_first(rows: Rows, block: Block, name: str) -> None:
    query = QUERIES[name]
    low = None if query.min_score is None else np.float32(query.min_score)
    high = None if query.max_score is None else np.float32(query.max_score)

    def fits(row: int) -> bool:
        at = START + timedelta(microseconds=int(rows.at[row]) - to_micros(START))
        code, rules = str(value_of(rows, "access_code", row)), value_of(rows, "rules", row)
        assert isinstance(rules, list)
        return all(
            [
                rows.verdict[row] in query.verdicts if query.verdicts else rows.verdict[row] != NO_VERDICT,
                not query.categories or rows.category[row] in query.categories,
                query.campaign is None or rows.keyed["campaign"][row] == query.campaign,
                not query.access_codes or code.startswith(query.access_codes),
                not query.rules or bool(set(query.rules) & set(rules)),
                query.since is None or at >= query.since,
                query.until is None or at < query.until,
                low is None or rows.score[row] >= low,
                high is None or rows.score[row] <= high,
            ]
        )

    assert Filter(query, EVERYTHING).rows(block).tolist() == [row for row in range(COUNT) if fits(row)]


def test_an_overview_of_a_branch_is_exact(rows: Rows, block: Block) -> None:
    since, until = START + timedelta(seconds=5), START + timedelta(seconds=50)
    chosen = Filter(Query(since, until), Scope(access_codes=("106900",)))
    view = overview([("api", block)], chosen, since, until, 60)
    own = [
        row
        for row in range(COUNT)
        if rows.verdict[row] != NO_VERDICT
        and str(value_of(rows, "access_code", row)).startswith("106900")
        and to_micros(since) <= rows.at[row] < to_micros(until)
    ]
    assert view.messages == len(own)
    assert len(own) * 4 < len(block.key_values("campaign"))  # few enough to be sorted instead
    assert view.mix == Counter((Verdict(rows.verdict[row]), Category(rows.category[row])) for row in own)
    (one,) = view.campaigns
    same = [row for row in own if rows.keyed["campaign"][row] == CAMPAIGN]
    assert (one.campaign, one.messages) == (CAMPAIGN, len(same))
    assert one.stopped == sum(bool(rows.verdict[row] >= Verdict.HOLD) for row in same)
    assert one.example == ("api", 1 + same[-1])


def test_a_campaign_among_many_is_exact(rows: Rows, block: Block) -> None:
    view = campaign_view([("api", block)], Filter(Query(campaign=CAMPAIGN), EVERYTHING), None, None, CAMPAIGN)
    own = [row for row in range(COUNT) if rows.keyed["campaign"][row] == CAMPAIGN]
    assert view.messages == len(own) == sum(bucket.messages for bucket in view.growth)
    assert view.senders == len({int(rows.keyed["sender"][row]) for row in own} - {0})
    assert view.receivers == len({int(rows.keyed["receiver"][row]) for row in own})
    texts = Counter(int(rows.keyed["text"][row]) for row in own)
    assert view.variant_count == len(texts)
    assert [one.messages for one in view.variants] == sorted(texts.values(), reverse=True)
    for one in view.variants:
        key = int.from_bytes(one.text_hash or b"", "big")
        same = [row for row in own if rows.keyed["text"][row] == key]
        assert one.messages == len(same)
        assert one.stopped == sum(bool(rows.verdict[row] >= Verdict.HOLD) for row in same)
        assert one.example == ("api", 1 + same[-1])
    only = Filter(Query(campaign=5), EVERYTHING)
    assert campaign_view([("api", block)], only, None, None, 5).variants == ()


def test_a_code_that_stands_for_nothing_is_noticed(block: Block) -> None:
    codes = block.codes("rules").copy()
    codes[COUNT // 2] = len(RULES) + 3
    damaged = Block(block.head, {**block.arrays, "rules.code": codes})
    for query in (Query(rules=("kw.17",)), Query(rules=tuple(f"kw.{n}" for n in range(15)))):
        with pytest.raises(IndexError):
            Filter(query, EVERYTHING).rows(damaged)
