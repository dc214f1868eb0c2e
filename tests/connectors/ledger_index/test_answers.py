"""Every answer of the index is what reading every entry gives, indexed or not, whatever the writer does meanwhile."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from mingbai.connectors.ledger_index import EVERYTHING, LedgerIndex, Query, Scope, pseudonyms_of
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category, Reason, Verdict
from mingbai.ledger import LedgerDamaged, rotate_pseudonym_key, withhold
from tests.connectors.ledger_index.conftest import RECEIVERS, SENDERS, START, Operator

pytestmark = pytest.mark.usefixtures("small_blocks")


def random_query(rng: random.Random, operator: Operator) -> Query:
    span = max(1.0, (operator.now - START).total_seconds())
    given: dict[str, Any] = {}

    def sometimes(name: str, value: Any) -> None:
        if rng.random() < 0.2:
            given[name] = value

    moments = sorted(START + timedelta(seconds=rng.random() * span) for _ in range(2))
    sometimes("since", moments[0])
    sometimes("until", moments[1])
    sometimes("stream", rng.choice(["api", "batch", "none"]))
    sometimes("verdicts", tuple(rng.sample(list(Verdict), 2)))
    sometimes("categories", tuple(rng.sample(list(Category), 2)))
    sometimes("campaign", rng.choice([7, 8, 2**63 + 5, 12345]))
    sometimes("senders", pseudonyms_of(operator.keys, rng.choice(SENDERS)))
    sometimes("receivers", pseudonyms_of(operator.keys, rng.choice(RECEIVERS)))
    sometimes("access_codes", rng.choice([("1069",), ("1069000", "9"), ("4",)]))
    sometimes("rules", rng.choice([("kw.a",), ("kw.b", "re.c"), ("none",)]))
    sometimes("reasons", (rng.choice([Reason.MODEL_SPAM, Reason.RULE_KEYWORD, Reason.EVASION]),))
    sometimes("min_score", rng.randrange(11) / 10)
    sometimes("max_score", rng.randrange(11) / 10)
    texts = [row["text_hash"] for row in operator.entries()[:20] if row["text_hash"]]
    sometimes("text_hash", rng.choice(texts or [bytes(16)]))
    return Query(**given)


def random_scope(rng: random.Random, operator: Operator) -> Scope:
    return rng.choice(
        [
            EVERYTHING,
            EVERYTHING,
            Scope(access_codes=("10690001", "95")),
            Scope(access_codes=()),
            Scope(receivers=pseudonyms_of(operator.keys, rng.choice(RECEIVERS))),
            Scope(access_codes=("1069",), receivers=tuple(pseudonyms_of(operator.keys, RECEIVERS[3]))),
        ]
    )


def all_pages(index: LedgerIndex, query: Query, scope: Scope, limit: int) -> list[tuple[str, int]]:
    rows: list[tuple[str, int]] = []
    cursor = None
    while True:
        page = index.search(query, limit, cursor, scope)
        assert len(page.hits) <= limit
        rows += [(hit.stream, hit.seq) for hit in page.hits]
        cursor = page.next_cursor
        if cursor is None:
            return rows


def check(index: LedgerIndex, operator: Operator, query: Query, scope: Scope) -> None:
    expected = operator.expected(query, scope)
    keys = sorted((row["stream"], row["seq"]) for row in expected)
    assert sorted(all_pages(index, query, scope, operator.rng.choice([1000, 7, 40]))) == keys, query
    by_verdict = Counter(row["verdict"] for row in expected)
    assert index.count(query, scope) == {verdict: by_verdict[verdict] for verdict in Verdict}, query
    given = [(stream, seq) for stream, seqs in index.matching(query, scope) for seq in seqs.tolist()]
    assert sorted(given) == keys


def check_overview(index: LedgerIndex, operator: Operator, since: datetime, until: datetime, scope: Scope) -> None:
    rows = operator.expected(Query(since, until), scope)
    view = index.overview(since, until, scope, step_s=60)
    assert view.messages == len(rows)
    assert view.mix == Counter((Verdict(row["verdict"]), Category(row["category"])) for row in rows)
    assert view.reasons == Counter(reason for row in rows for reason in row["reasons"] or ())
    assert view.rules == Counter(rule for row in rows for rule in row["rules"] or ())
    assert view.access_codes == Counter(row["access_code"] for row in rows)
    assert view.models == Counter(row["model"] for row in rows)
    assert view.rulebooks == Counter(row["rulebook"] for row in rows)
    start = since.replace(second=0, microsecond=0)
    steps = Counter(((row["at"] - start) // timedelta(minutes=1), Verdict(row["verdict"])) for row in rows)
    assert {
        (step, verdict): count
        for step, bucket in enumerate(view.series)
        for verdict, count in bucket.verdicts.items()
        if count
    } == steps
    assert view.series[0].start == start
    campaigns = Counter(row["campaign"] for row in rows if row["campaign"])
    stopped = Counter(row["campaign"] for row in rows if row["campaign"] and row["verdict"] >= Verdict.HOLD)
    assert {c.campaign: c.messages for c in view.campaigns} == {c: n for c, n in campaigns.items() if n > 1}
    assert {c.campaign: c.stopped for c in view.stopped_campaigns} == {
        c: n for c, n in stopped.items() if campaigns[c] > 1
    }
    for one in view.campaigns:
        times = [row["at"] for row in rows if row["campaign"] == one.campaign]
        assert (one.first_at, one.last_at) == (min(times), max(times))
        assert any((r["stream"], r["seq"], r["campaign"]) == (*one.example, one.campaign) for r in rows)


def check_campaign(index: LedgerIndex, operator: Operator, campaign: int, scope: Scope) -> None:
    rows = operator.expected(Query(campaign=campaign), scope)
    view = index.campaign(campaign, scope=scope)
    assert view.messages == len(rows) == sum(bucket.messages for bucket in view.growth if rows)
    assert view.verdicts == {v: sum(row["verdict"] == v for row in rows) for v in Verdict}
    assert view.senders == len({row["sender"] for row in rows} - {None})
    assert view.receivers == len({row["receiver"] for row in rows} - {None})
    assert view.access_codes == Counter(row["access_code"] for row in rows)
    assert {v.text_hash: v.messages for v in view.variants} == Counter(row["text_hash"] for row in rows)
    assert view.first_at == min((row["at"] for row in rows), default=None)


def test_answers_equal_reading_every_entry(operator: Operator, loops: Callable[[int], int]) -> None:
    rng = operator.rng
    owner, reader = LedgerIndex(operator.data), LedgerIndex(operator.data)
    for _ in range(loops(60)):
        operator.live(rng.choice(["api", "batch"]), rng.randrange(1, 12))
        if rng.random() < 0.6:
            owner.advance(operator.now, max_rows=rng.choice([100, 1 << 20]))
        check(reader, operator, random_query(rng, operator), random_scope(rng, operator))
        moments = sorted(START + (operator.now - START) * rng.random() for _ in range(2))
        check_overview(reader, operator, moments[0], moments[1], random_scope(rng, operator))
        check_overview(reader, operator, START - timedelta(days=1), operator.now + timedelta(days=1), EVERYTHING)
        check_campaign(reader, operator, rng.choice([7, 8, 2**63 + 5, 99]), random_scope(rng, operator))


def test_a_number_is_found_over_all_pseudonym_epochs(operator: Operator) -> None:
    operator.write("api", 5)
    operator.close()
    rotate_pseudonym_key(operator.data, operator.keys, now=operator.now, forget_old=False)
    operator.write("api", 5)
    index = LedgerIndex(operator.data)
    index.advance(operator.now + timedelta(hours=1))
    wanted = pseudonyms_of(operator.keys, SENDERS[2].removeprefix("+86"))
    assert len(wanted) == 2
    hits = index.search(Query(senders=wanted), 1000).hits
    assert {hit.sender for hit in hits} == set(wanted)
    check(index, operator, Query(senders=wanted), EVERYTHING)


def test_hits_are_what_the_entries_say_newest_first(operator: Operator) -> None:
    operator.write("api", 10)
    operator.write("batch", 10)
    index = LedgerIndex(operator.data)
    index.advance(operator.now)
    hits = index.search(Query(), 1000).hits
    assert [hit.at for hit in hits] == sorted((hit.at for hit in hits), reverse=True)
    rows = {(row["stream"], row["seq"]): row for row in operator.entries()}
    for hit in hits:
        row = rows[hit.stream, hit.seq]
        assert (hit.id.bytes, hit.at, hit.verdict, hit.category) == (
            row["id"], row["at"], row["verdict"], row["category"],
        )  # fmt: skip
        assert (hit.campaign, hit.sender, hit.receiver) == (row["campaign"] or None, row["sender"], row["receiver"])
        assert (hit.score, hit.access_code, hit.text_hash) == (row["score"], row["access_code"], row["text_hash"])
        assert (hit.model, hit.rulebook) == (row["model"], row["rulebook"])
        assert (hit.reasons, hit.rules) == (tuple(row["reasons"] or ()), tuple(row["rules"] or ()))


def test_pages_stay_the_same_while_the_writer_goes_on(operator: Operator) -> None:
    operator.write("api", 20)
    operator.write("batch", 8)
    index = LedgerIndex(operator.data)
    expected = [(row["stream"], row["seq"]) for row in operator.entries()]
    rows: list[tuple[str, int]] = []
    cursor = None
    while True:
        page = index.search(Query(), 25, cursor)
        rows += [(hit.stream, hit.seq) for hit in page.hits]
        if (cursor := page.next_cursor) is None:
            break
        operator.live(operator.rng.choice(["api", "batch", "third"]), 3)
        index.advance(operator.now)
    old = set(expected)
    assert sorted(row for row in rows if row in old) == sorted(expected)
    assert len(rows) == len(set(rows))


def test_time_that_is_over_gives_a_part_and_a_cursor_that_goes_on(operator: Operator) -> None:
    operator.write("api", 40)
    index = LedgerIndex(operator.data)
    index.advance(operator.now)
    page = index.search(Query(campaign=7), 1000, budget_s=-1.0)
    assert page.is_cut and page.next_cursor is not None and not page.hits
    rest = index.search(Query(campaign=7), 1000, page.next_cursor)
    assert len(rest.hits) == len(operator.expected(Query(campaign=7)))
    assert rest.next_cursor is None


def test_every_entry_is_found_by_its_id(operator: Operator) -> None:
    operator.live("api", 25)
    index = LedgerIndex(operator.data)
    index.advance(operator.now)
    operator.live("api", 10)
    for row in operator.rng.sample(operator.entries(), 40):
        assert index.find(UUID(bytes=row["id"])) == ("api", row["seq"])
    assert index.find(UUID(int=row["seq"])) is None


def test_one_decision_is_whole_and_stays_within_the_scope(operator: Operator) -> None:
    operator.write("api", 10)
    operator.open("api").seal(now=operator.now)
    operator.write("api", 3)
    index = LedgerIndex(operator.data, operator.keys)
    for row in operator.rng.sample(operator.entries(), 40):
        decision = index.decision("api", row["seq"])
        assert decision is not None and decision.original is not None
        assert decision.entry | {"stream": "api"} == row
        assert decision.original["seq"] == row["seq"]
        own = pseudonyms_of(operator.keys, RECEIVERS[0])
        assert (index.decision("api", row["seq"], Scope(receivers=own)) is None) == (row["receiver"] not in own)
        assert (index.decision("api", row["seq"], Scope(access_codes=("95",))) is None) == (
            row["access_code"] != "95588"
        )
    assert index.decision("api", 1) is None  # segment.opened: no decision
    assert index.decision("api", 10**9) is None
    assert index.decision("other", 1) is None


def test_one_message_is_read_without_those_before_it(operator: Operator) -> None:
    """So it is given although an earlier commit of the open segment is damaged, and quickly."""
    operator.write("api", 6)
    index = LedgerIndex(operator.data, operator.keys)
    seqs = [row["seq"] for row in operator.entries()]
    assert index.decision("api", seqs[0]) is not None
    (path,) = (operator.data / "ledger" / "api" / "entries").glob("*.arrows")
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"MBV1") + 60] ^= 1  # the first ciphertext: of the first commit with a decision
    path.write_bytes(bytes(raw))
    decision = index.decision("api", seqs[-1])
    assert decision is not None and decision.original is not None
    assert decision.original["seq"] == seqs[-1]
    with pytest.raises(LedgerDamaged):
        index.decision("api", seqs[0])


def test_one_message_is_found_again_when_its_segment_was_sealed(operator: Operator) -> None:
    operator.write("api", 4)
    index = LedgerIndex(operator.data, operator.keys)
    row = operator.entries()[-1]
    before = index.decision("api", row["seq"])
    operator.open("api").seal(now=operator.now)
    operator.close()
    assert not [*(operator.data / "ledger" / "api" / "entries").glob(f"{1:020d}.arrows")]
    after = index.decision("api", row["seq"])
    assert before is not None and after is not None
    assert after.original == before.original


def test_what_is_withheld_is_not_given_with_a_decision(operator: Operator) -> None:
    operator.write("api", 4)
    operator.open("api").seal(now=operator.now)
    operator.write("api", 4)
    index = LedgerIndex(operator.data, operator.keys)
    names = pseudonyms_of(operator.keys, RECEIVERS[1])
    withhold(operator.data, names, before=operator.now + timedelta(hours=1), until=operator.now + timedelta(days=9))
    hidden = [row for row in operator.entries() if row["receiver"] in names]
    assert hidden
    for row in operator.entries():
        decision = index.decision("api", row["seq"])
        assert decision is not None and decision.original is not None
        is_kept = decision.original["numbers_kept"] == "kept"
        assert not (is_kept and row["receiver"] in names)
        assert decision.original["receiver"] is None or row["receiver"] not in names
        assert decision.original["text"] is None or row["receiver"] not in names


def test_neighbours_are_the_nearest_of_the_campaign(operator: Operator) -> None:
    operator.write("api", 30)
    index = LedgerIndex(operator.data)
    index.advance(operator.now)
    rows = operator.expected(Query(campaign=8, stream="api"))
    seqs = [row["seq"] for row in rows]
    for place in (0, 1, len(seqs) // 2, len(seqs) - 1):
        near = [hit.seq for hit in index.neighbours("api", seqs[place], 6)]
        others = seqs[:place] + seqs[place + 1 :]
        first = min(max(0, place - 3), len(others) - 6)
        assert near == others[first : first + 6][::-1]
    scope = Scope(access_codes=("95",))
    seen = {row["seq"] for row in rows if row["access_code"] == "95588"}
    assert {hit.seq for hit in index.neighbours("api", min(seen), 100, scope)} == seen - {min(seen)}
    assert index.neighbours("api", min(set(seqs) - seen), 6, scope) == []


def test_a_value_that_makes_no_sense_is_refused_by_name(operator: Operator) -> None:
    index = LedgerIndex(operator.data, operator.keys)
    refused: dict[str, Callable[[], object]] = {
        "cursor": lambda: index.search(Query(), 5, "%%%"),
        "limit": lambda: index.search(Query(), 0),
        "campaign": lambda: Query(campaign=0),
        "senders": lambda: Query(senders=(b"short",)),
        "until": lambda: Query(since=START, until=START - timedelta(seconds=1)),
        "since": lambda: Query(since=datetime(2026, 1, 1)),  # noqa: DTZ001  # that is the point
        "step_s": lambda: index.overview(START, START + timedelta(days=1), step_s=61),
        "words": lambda: index.text_search(Query(), (" ",)),
    }
    for field, ask in refused.items():
        with pytest.raises(BadValue) as error:
            ask()
        assert error.value.data["field"] == field
    assert index.search(Query(), 5).hits == ()
    assert index.overview(START, START + timedelta(days=1)).messages == 0
