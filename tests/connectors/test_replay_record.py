"""Replay of the record at speed: it must say exactly what reading every message again says."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from mingbai.connectors.batch.record import Recorder
from mingbai.connectors.replay import Findings, Replayed, recorded_messages, replay_ledger
from mingbai.connectors.replay_record import PIECE_ROWS, Progress, pieces_of, replay_model, replay_rules
from mingbai.engines.scenarios.traffic import traffic
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.exceptions import Exceptions, key_of, key_parts
from mingbai.engines.screening.freed import FreedMessage
from mingbai.engines.screening.model import Model
from mingbai.engines.screening.policy import Burst, Policy
from mingbai.engines.screening.rulebook import parse
from mingbai.engines.screening.rules import CompiledRules, keyword_nids
from mingbai.engines.screening.schema import MESSAGE, text_buffers
from mingbai.engines.screening.screen import read_rows, screen
from mingbai.kernel.verdicts import Category, Verdict
from mingbai.ledger import Kept, KeyStore, Ledger, LedgerOptions, Retention, StreamReader

NOW = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
ROWS = 3000
COMMIT = 250
STEP = timedelta(minutes=10)  # between two commits
NO_BURST = Burst(senders=10**6, receivers=10**6)

# Rules of every kind of condition; a rulebook of the test is some of them.
RULES = (
    'action = "block"\ncategory = "spam"\nkeywords = ["您的快递", "吃饭", "积分"]',
    'action = "block"\ncategory = "fraud"\nkeywords = ["贷款"]\nkeywords_none = ["银行"]',
    'action = "allow"\ncategory = "delivery"\npriority = 20\nkeywords = ["发票", "点击", "链接"]',
    'action = "hold"\ncategory = "spam"\nkeywords_all = ["验证码", "分钟"]',
    'action = "block"\ncategory = "spam"\nregexes = ["[0-9]{2}元"]',
    'action = "flag"\ncategory = "spam"\nkeywords = ["到期"]\nregexes = ["[a-z]{3,}"]',
    'action = "block"\ncategory = "spam"\nregexes = ["回复?[tT]退订"]\non = "normalised"',
    'action = "allow"\ncategory = "delivery"\npriority = 5\nmessage_category = ["fraud"]\nscore_min = 0.5',
    'action = "block"\ncategory = "spam"\nmessage_category = ["notification"]\nkeywords = ["订单", "余额"]',
    'action = "block"\ncategory = "spam"\nmessage_category = ["advertising"]\nscore_max = 0.9',
    'action = "flag"\ncategory = "spam"\nscore_min = 0.02\nscore_max = 0.6',
    'action = "hold"\ncategory = "spam"\nhours = ["22:00-08:00"]\nkeywords = ["活动", "优惠"]',
    'action = "allow"\ncategory = "delivery"\npriority = 9\nsenders = ["95*"]',
    'action = "block"\ncategory = "spam"\naccess_codes = ["1069"]\nkeywords = ["您"]',
    'action = "block"\ncategory = "fraud"\ndomains = ["top", "cn"]',
    'action = "flag"\ncategory = "spam"\nurls = ["*.com/*"]',
)


def rules_of(*numbers: int) -> CompiledRules:
    """A rulebook of those of `RULES`."""
    parts = ['[rulebook]\nname = "try"\nversion = "1"\ntime_zone = "Asia/Shanghai"']
    parts += [f'[[rule]]\nid = "r{number}"\nowner = "t"\nreason = "t"\n{RULES[number]}' for number in numbers]
    return CompiledRules.of(parse("\n".join(parts), keyword_nids))


@dataclass(frozen=True)
class Record:
    """A ledger of generated traffic, decided by `policy`."""

    data: Path
    keys: KeyStore
    policy: Policy

    def ask(self, policy: Policy, **how: object) -> Replayed:
        return replay_rules(self.data, ["api"], self.keys, policy, **{"threads": 2, **how})  # type: ignore[arg-type]  # of any of its arguments


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Three quarters by a rulebook and the model, a quarter by another model; one half sealed, one open."""
    data = tmp_path_factory.mktemp("ledger")
    keys = KeyStore.open_or_create(data / "keys.json")
    shipped = Model.load()
    policy = Policy(shipped, rules_of(0, 2, 5, 14), NOW, burst=Burst(3, 6))
    other = Model(
        shipped.chinese._replace(flag_at=shipped.chinese.block_at), shipped.english, shipped.alphabet_version,
        shipped.reading_version, {},
    )  # fmt: skip
    day = traffic(11, ROWS, NOW.date()).select(MESSAGE.names)
    counters = Counters()
    options = LedgerOptions(max_segment_rows=ROWS // 2, background_sealing=False)
    with Ledger.open(data, stream="api", keys=keys, now=NOW, options=options) as ledger:
        for number, start in enumerate(range(0, ROWS, COMMIT)):
            at = NOW + number * STEP
            used = policy if number % 4 else replace(policy, model=other)
            batch = day.slice(start, COMMIT)
            decisions, updates = screen(batch, used, counters)
            counters.apply(updates)
            Recorder(ledger, used, lambda: NOW).record(batch, decisions, at=at)
        ledger.seal(now=NOW)
    return Record(data, keys, policy)


def without_effort(found: Replayed) -> Replayed:
    """Apart from how many messages the model had to read."""
    return replace(found, rescored=0)


# -- exactness --


@pytest.mark.parametrize("attempt", range(12))
def test_any_rulebook_gives_what_reading_every_message_again_gives(record: Record, seed: int, attempt: int) -> None:
    rng = random.Random(f"{seed} {attempt}")
    numbers = rng.sample(range(len(RULES)), rng.randint(0, len(RULES)))
    policy = replace(record.policy, rules=rules_of(*numbers))
    if attempt % 3 == 2:
        policy = replace(policy, flag_at=rng.uniform(0.05, 0.4), block_at=rng.uniform(0.4, 0.99))
    fast = record.ask(policy)
    full = replay_model(record.data, ["api"], record.keys, policy, threads=1)
    assert fast.answered == ROWS
    assert fast.rescored < full.rescored == ROWS
    assert without_effort(fast) == without_effort(full), f"rules {numbers}"


def test_it_agrees_with_the_screen_itself_where_no_burst_is_counted(tmp_path: Path) -> None:
    data = tmp_path
    keys = KeyStore.open_or_create(data / "keys.json")
    policy = Policy(Model.load(), rules_of(0, 4), NOW, burst=NO_BURST)
    batch = traffic(5, 1500, NOW.date()).select(MESSAGE.names)
    with Ledger.open(data, stream="api", keys=keys, now=NOW) as ledger:
        Recorder(ledger, policy, lambda: NOW).record(batch, screen(batch, policy, Counters())[0], at=NOW)
    changed = replace(policy, rules=rules_of(1, 2, 3, 6, 9, 14))
    fast = replay_rules(data, ["api"], keys, changed, threads=2, limit=10)
    full = replay_ledger(data, ["api"], keys, changed, threads=2)
    assert without_effort(fast) == without_effort(full)
    assert fast.blocked.count > 0
    assert fast.freed.count > 0


def test_the_policy_that_decided_changes_nothing_bursts_included(record: Record) -> None:
    """Its own messages get their recorded verdicts, however few the senders that the counters would see now."""
    found = record.ask(record.policy)
    same = [verdicts(record, "model", record.policy.model.version), verdicts(record, "burst", "")]
    assert same[0] > 0
    assert same[1] > 0
    assert found.blocked.count == found.freed.count == 0
    assert found.unchanged >= same[0]


def verdicts(record: Record, what: str, value: str) -> int:
    """Recorded messages of a model, or with a burst among their reasons."""
    count = 0
    for batch in StreamReader(record.data, "api").entries(["model", "reasons", "kind"]):
        for model, reasons, kind in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if kind == "sms.screened":
                count += model == value if what == "model" else 30 in (reasons or [])
    return count


def test_another_model_is_asked_about_every_message(record: Record) -> None:
    shipped = record.policy.model
    strict = Model(
        shipped.chinese._replace(block_at=shipped.chinese.flag_at), shipped.english, shipped.alphabet_version,
        shipped.reading_version, {},
    )  # fmt: skip
    policy = replace(record.policy, model=strict)
    by_rules = record.ask(policy)
    by_model = replay_model(record.data, ["api"], record.keys, policy, threads=2)
    assert by_rules == by_model
    assert by_rules.rescored == ROWS
    assert by_rules.blocked.count > by_rules.freed.count


def test_the_number_of_threads_changes_nothing(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = replace(record.policy, rules=rules_of(1, 3, 8))
    whole = record.ask(policy)
    monkeypatch.setattr("mingbai.connectors.replay_record.PIECE_ROWS", 400)
    for threads in (1, 2, 5):
        assert record.ask(policy, threads=threads) == whole


def test_what_a_person_freed_stays_free(record: Record) -> None:
    policy = replace(record.policy, rules=rules_of(0))
    without = replace(policy, rules=rules_of())
    before = record.ask(policy, present=without).blocked
    example = before.examples[0]
    assert example.entry is not None
    original = StreamReader(record.data, "api", record.keys).originals([example.entry.seq]).to_pylist()[0]
    parts = key_parts(example.text, original["sender"], example.entry.access_code)
    seen = read_rows(*text_buffers(pa.record_batch({"text": [example.text]})), policy)
    key = key_of(parts, int(seen.text_hash[0])).hex()
    item = FreedMessage("1", key, "somebody", NOW + timedelta(days=30))
    freeing = replace(policy, exceptions=Exceptions.of([item]))
    fast = record.ask(freeing)
    assert record.ask(freeing, present=without).blocked.count < before.count
    assert without_effort(fast) == without_effort(replay_model(record.data, ["api"], record.keys, freeing, threads=2))


# -- what it tells --


def test_the_lists_lead_to_the_entries(record: Record) -> None:
    found = record.ask(replace(record.policy, rules=rules_of(1, 3, 8)))
    assert len(found.blocked.examples) == found.blocked.count > 0
    assert len(found.freed.examples) == found.freed.count > 0
    reader = StreamReader(record.data, "api", record.keys)
    for example in [*found.blocked.examples[:5], *found.freed.examples[:5]]:
        assert example.entry is not None
        seq = example.entry.seq
        entry = next(reader.entries(first_seq=seq, last_seq=seq)).to_pylist()[0]
        assert (entry["id"], entry["at"]) == (example.entry.id.bytes, example.entry.at)
        assert (entry["verdict"], entry["access_code"]) == (example.old, example.entry.access_code)
        assert tuple(entry["rules"]) == example.old_rules
        assert reader.originals([seq]).column("text")[0].as_py() == example.text
        assert (example.old >= Verdict.HOLD) != (example.new >= Verdict.HOLD)
    assert set(found.blocked.rules) <= {"r1", "r3", "r8"}
    assert set(found.freed.old_rules) <= {"r0", "r2", "r5", "r14"}
    assert sum(found.blocked.categories.values()) == found.blocked.count
    assert sum(found.freed.categories.values()) == found.freed.count
    assert all(category >= Category.ADVERTISING for category in found.freed.categories)


def test_no_more_than_asked_for_are_listed_and_all_are_counted(record: Record) -> None:
    policy = replace(record.policy, rules=rules_of(0, 1, 3, 8))
    whole, cut = record.ask(policy), record.ask(policy, limit=3)
    assert cut.blocked.count == whole.blocked.count > 3
    assert cut.blocked.examples == whole.blocked.examples[:3]


def test_the_policy_in_force_can_take_the_place_of_the_record(record: Record) -> None:
    """What has changed since the messages were decided is then no difference any more."""
    in_force = replace(record.policy, rules=rules_of(1, 3))
    assert record.ask(in_force).blocked.count > 0
    found = record.ask(in_force, present=in_force)
    assert (found.unchanged, found.blocked.count, found.freed.count) == (ROWS, 0, 0)
    one_more = record.ask(replace(in_force, rules=rules_of(1, 3, 4)), present=in_force)
    assert set(one_more.blocked.rules) >= {"r4"}
    assert one_more.freed.count == 0


def test_only_messages_of_a_scope_are_counted(record: Record) -> None:
    policy = replace(record.policy, rules=rules_of(1, 3, 8))
    codes = {code for code in record.ask(policy).blocked.access_codes if code}
    prefix = min(codes)[:5]
    found = record.ask(policy, prefixes=(prefix,))
    assert 0 < found.answered < ROWS
    assert all(code.startswith(prefix) for code in found.blocked.access_codes)
    assert all(one.entry and (one.entry.access_code or "").startswith(prefix) for one in found.blocked.examples)
    assert record.ask(policy, prefixes=("9999999",)).answered == 0


def test_only_the_time_asked_for_is_replayed(record: Record) -> None:
    found = record.ask(record.policy, since=NOW + 2 * STEP, until=NOW + 4 * STEP)
    assert found.answered == 2 * COMMIT
    assert (found.first_at, found.last_at) == (NOW + 2 * STEP, NOW + 3 * STEP)


def test_pieces_outside_the_time_are_left_out(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mingbai.connectors.replay_record.PIECE_ROWS", COMMIT)
    monkeypatch.setattr("mingbai.connectors.replay_record.CLOCK_SLACK", timedelta(0))
    whole = pieces_of(record.data, ["api"])
    part = pieces_of(record.data, ["api"], since=NOW + 5 * STEP, until=NOW + 7 * STEP)
    assert 2 <= len(part) <= 5 < len(whole)
    assert pieces_of(record.data, ["api"], since=NOW + 1000 * STEP)[-1:] == whole[-1:]
    assert pieces_of(record.data, ["api"], until=NOW - STEP) == []
    assert pieces_of(record.data, ["nothing-here"]) == []
    assert PIECE_ROWS > COMMIT


# -- watching and stopping --


def test_progress_ends_where_the_record_ends(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mingbai.connectors.replay_record.PIECE_ROWS", 500)
    seen: list[Progress] = []
    found = record.ask(replace(record.policy, rules=rules_of(1, 3, 8)), on_progress=seen.append)
    assert [one.done for one in seen] == sorted({one.done for one in seen})
    assert seen[-1].done == seen[-1].total >= ROWS
    assert (seen[-1].newly_blocked, seen[-1].newly_freed) == (found.blocked.count, found.freed.count)


def stop_after(calls: int) -> Callable[[], bool]:
    left = iter(range(calls))
    return lambda: next(left, None) is None


def test_it_stops_when_told_and_gives_what_it_has(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mingbai.connectors.replay_record.PIECE_ROWS", 100)
    found = record.ask(record.policy, should_stop=stop_after(2), threads=1)
    assert found.is_cancelled
    assert found.answered < ROWS
    assert not record.ask(record.policy, should_stop=lambda: False).is_cancelled


# -- texts that are gone --


def test_messages_without_a_text_are_judged_by_their_hash(tmp_path: Path) -> None:
    keys = KeyStore.open_or_create(tmp_path / "keys.json")
    policy = Policy(Model.load(), CompiledRules.none(), NOW)
    batch = pa.record_batch({"text": pa.array(["明天一起吃饭吗", "好的，收到"])})
    decisions = screen(batch, policy, Counters())[0]
    for days in (0, 7):
        retention = Retention(allowed_text_days=days)
        with Ledger.open(tmp_path, stream="api", keys=keys, now=NOW, retention=retention) as ledger:
            Recorder(ledger, policy, lambda: NOW).record(batch, decisions, at=NOW)
    found = replay_rules(tmp_path, ["api"], keys, replace(policy, rules=rules_of(0)), threads=2)
    assert (found.answered, found.unanswered, found.no_text) == (2, 2, {Kept.NEVER_KEPT: 2})
    assert (found.blocked.count, found.blocked.by_hash) == (1, 1)


def test_an_entry_that_says_nothing_of_the_model_is_read_again(tmp_path: Path) -> None:
    """Other writers may record a verdict alone."""
    keys = KeyStore.open_or_create(tmp_path / "keys.json")
    policy = Policy(Model.load(), rules_of(0), NOW)
    rows = pa.record_batch(
        {
            "verdict": pa.array([0, 0], pa.uint8()),
            "category": pa.array([0, 0], pa.uint8()),
            "score": pa.array([0.0, 0.0], pa.float32()),
            "model": pa.array([policy.model.version, None]),
            "text": pa.array(["明天一起吃饭吗", "好的，收到"]),
        }
    )
    with Ledger.open(tmp_path, stream="api", keys=keys, now=NOW) as ledger:
        ledger.record(rows, now=NOW)
    found = replay_rules(tmp_path, ["api"], keys, policy, threads=1)
    assert (found.rescored, found.blocked.count) == (2, 1)


def items(record: Record) -> Iterator[pa.RecordBatch]:
    reader = StreamReader(record.data, "api", record.keys)
    return (item.batch for item in recorded_messages(reader, Findings()))


def test_most_messages_are_not_scored_again(record: Record) -> None:
    """A quarter was decided by another model; of the others, those that were stopped or met a rule."""
    assert sum(batch.num_rows for batch in items(record)) == ROWS
    assert record.ask(record.policy).rescored < 0.6 * ROWS
