"""Free text: what is found is what decrypting every text finds, and what is no longer kept is said."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from mingbai.connectors.ledger_index import EVERYTHING, LedgerIndex, Query, Scope, TextPage, pseudonyms_of
from mingbai.kernel.verdicts import Verdict
from mingbai.ledger import Kept, KeyStore, Retention, StreamReader, list_streams
from tests.connectors.ledger_index.conftest import RECEIVERS, Operator, fits, is_visible

pytestmark = pytest.mark.usefixtures("small_blocks")


def originals(operator: Operator) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    rows = {(row["stream"], row["seq"]): row for row in operator.entries()}
    found = []
    for stream in list_streams(operator.data):
        reader = StreamReader(operator.data, stream, operator.keys)
        for entries, texts in reader.entries_with_originals(["seq"]):
            for seq, text in zip(entries.column("seq").to_pylist(), texts.to_pylist(), strict=True):
                if (stream, seq) in rows:
                    found.append((rows[stream, seq], text))
    return found


def pages(index: LedgerIndex, query: Query, words: tuple[str, ...], limit: int, scope: Scope) -> list[TextPage]:
    given = [index.text_search(query, words, limit, scope=scope)]
    while (cursor := given[-1].next_cursor) is not None:
        given.append(index.text_search(query, words, limit, cursor, scope))
    return given


def test_text_search_equals_decrypting_every_text(operator: Operator) -> None:
    index = LedgerIndex(operator.data, operator.keys)
    for turn in range(6):
        operator.live(operator.rng.choice(["api", "batch"]), 8)
        if turn % 2:
            index.advance(operator.now)
        every = originals(operator)
        for words in (("HTTP",), ("http://T.CN", "中奖"), ("验证码",), ("没有",), ("  ", "e")):
            wanted = tuple(word for word in words if word.strip())
            query = Query(verdicts=operator.rng.choice([(), (Verdict.BLOCK, Verdict.ALLOW)]))
            scope = operator.rng.choice(
                [EVERYTHING, Scope(access_codes=("1069",)), Scope(receivers=pseudonyms_of(operator.keys, RECEIVERS[1]))]
            )
            expected = {
                (row["stream"], row["seq"]): text["text"]
                for row, text in every
                if fits(row, query)
                and is_visible(row, scope)
                and text["text"] is not None
                and all(word.casefold() in text["text"].casefold() for word in wanted)
            }
            limit = operator.rng.choice([1000, 10])
            given = pages(index, query, words, limit, scope)
            found = [((item.hit.stream, item.hit.seq), item.text) for page in given for item in page.found]
            assert dict(found) == expected
            assert len(found) == len(expected)
            assert all(len(page.found) <= limit for page in given)


def test_hits_come_newest_first_and_progress_is_told(operator: Operator) -> None:
    operator.write("api", 20)
    operator.write("batch", 20)
    index = LedgerIndex(operator.data, operator.keys)
    told: list[tuple[int, int]] = []
    page = index.text_search(Query(), ("中奖",), 1000, on_progress=lambda done, total: told.append((done, total)))
    ats = [item.hit.at for item in page.found]
    assert ats == sorted(ats, reverse=True) and len(ats) > 1
    assert told and told == sorted(told) and told[-1][0] <= told[-1][1]
    assert page.searched == sum(text["text"] is not None for _, text in originals(operator))
    assert not page.is_cut


def test_texts_whose_time_is_over_are_counted(operator: Operator) -> None:
    operator.retention = Retention(allowed_text_days=1, stopped_text_days=3, numbers_days=3)
    operator.write("api", 10)
    operator.open("api").seal(now=operator.now)
    operator.now += timedelta(days=2)
    operator.write("api", 5)
    operator.open("api").expire(now=operator.now)
    index = LedgerIndex(operator.data, operator.keys)
    index.advance(operator.now)
    page = index.text_search(Query(), ("没有",), 1000)
    every = originals(operator)
    states = [text["text_kept"] for _, text in every]
    assert page.no_longer_kept == states.count(Kept.NO_LONGER_KEPT) > 0
    assert page.never_kept == states.count(Kept.NEVER_KEPT)
    assert page.searched == states.count(Kept.KEPT)
    check = index.text_search(Query(verdicts=(Verdict.ALLOW,)), ("中奖",), 1000)
    assert all(item.hit.at > operator.now - timedelta(days=1) for item in check.found)


def test_lost_keys_make_texts_unreadable_not_absent(operator: Operator, tmp_path: Any) -> None:
    operator.write("api", 5)
    others = KeyStore.open_or_create(tmp_path / "others.json")
    page = LedgerIndex(operator.data, others).text_search(Query(), ("中奖",), 1000)
    assert page.found == () and page.searched == 0
    every = originals(operator)
    kept = sum(text["text"] is not None for _, text in every)
    assert kept <= page.unreadable <= len(every)  # nobody can say any more which row of a commit had a text


def test_time_that_is_over_gives_a_part(operator: Operator) -> None:
    for _ in range(6):
        operator.write("api", 8)
        operator.open("api").seal(now=operator.now)
    index = LedgerIndex(operator.data, operator.keys)
    index.advance(operator.now)
    first = index.text_search(Query(), ("中奖",), 1000, budget_s=-1.0, threads=1)
    assert first.next_cursor is None or first.is_cut
    rest = [] if first.next_cursor is None else pages_from(index, first.next_cursor)
    found = [item.hit.seq for page in [first, *rest] for item in page.found]
    assert len(found) == len(set(found))
    assert set(found) == {row["seq"] for row, text in originals(operator) if "中奖" in (text["text"] or "")}


def pages_from(index: LedgerIndex, cursor: str) -> list[TextPage]:
    given = []
    following: str | None = cursor
    while following is not None:
        given.append(index.text_search(Query(), ("中奖",), 1000, following))
        following = given[-1].next_cursor
    return given
