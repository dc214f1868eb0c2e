"""The review desk: what gets there, who gets it, deciding once, undoing, deadlines."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.db import connection

from mingbai.contexts.audit import queries as audit
from mingbai.contexts.messaging import policy
from mingbai.contexts.messaging.jobs import review as jobs
from mingbai.contexts.messaging.models import Appeal, ItemKind, ItemState, Label, ReviewDecision, ReviewItem
from mingbai.contexts.messaging.queries import review as queries
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.services import appeals, labels, review, review_queue, review_team
from mingbai.contexts.people.policy import Reach
from mingbai.contexts.people.services.accounts import create_account
from mingbai.contexts.people.services.roles import assign_role
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category, Reason, Verdict
from mingbai.settings import ReviewSettings, Settings
from tests.contexts.messaging.review_ledger import Sms, queue, write

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DESK = ReviewSettings(lease_s=60, second_opinion_percent=0, gold_percent=0)
ALL = Reach(is_all=True)
BLOCK = review.Answer(Verdict.BLOCK, Category.FRAUD)
PASS = review.Answer(Verdict.ALLOW, Category.NOTIFICATION)
Person = Callable[..., Any]


@pytest.fixture
def account() -> Person:
    """Somebody with a role and without a password: nobody signs in here."""
    names = itertools.count(1)

    def make(role: str) -> Any:
        made = create_account(
            f"{role.replace('_', '-')}-{next(names)}", actor="system", now=NOW,
            number="+8613800000001" if role == "subscriber" else "",
        )  # fmt: skip
        assign_role(made, role, actor="system", now=NOW)
        return made

    return make


@pytest.fixture
def mingbai(data_dir: Path) -> Settings:
    found: Settings = django_settings.MINGBAI
    return found.model_copy(update={"review": DESK})


def take(who: Any, now: datetime = NOW, **more: Any) -> ReviewItem | None:
    return review_queue.take(who, now=now, review=more.pop("desk", DESK), reach=more.pop("reach", ALL), **more)


def decide(
    item: ReviewItem, who: Any, answer: review.Answer = BLOCK, now: datetime = NOW, **more: Any
) -> ReviewDecision:
    assert item.lease is not None
    return review.decide(item.pk, who, item.lease, answer, now=now, review=more.pop("desk", DESK))


# -- from the ledger


def test_held_and_flagged_messages_are_queued_once_and_keep_no_text(mingbai: Settings) -> None:
    sent = [Sms("held 1"), Sms("flagged", Verdict.FLAG), Sms("blocked", Verdict.BLOCK), Sms("allowed", Verdict.ALLOW)]
    queue(mingbai, sent, now=NOW)
    jobs.follow_ledger(mingbai, NOW)
    queue(mingbai, [Sms("还有一条")], now=NOW)
    items = list(ReviewItem.objects.order_by("pk"))
    assert [item.kind for item in items] == ["held", "flagged", "held"]
    assert [item.queue for item in items] == ["held.fraud.en", "flagged.fraud.en", "held.fraud.zh"]
    assert not any("held 1" in str(value) for value in vars(items[0]).values())


def test_flagged_messages_are_left_out_where_the_setting_says_so(mingbai: Settings) -> None:
    queue(mingbai.model_copy(update={"review": ReviewSettings(flagged=False)}), [Sms("f", Verdict.FLAG)], now=NOW)
    assert not ReviewItem.objects.exists()


def test_what_another_follower_queued_is_not_queued_again(mingbai: Settings) -> None:
    write(mingbai.data, [Sms("one"), Sms("two")], now=NOW)
    assert jobs.follow_stream(mingbai, "api", NOW) > 0
    row = review_queue.Screened(2, uuid4(), NOW, Verdict.HOLD, Category.FRAUD, 0.5)
    assert not review_queue.queue_screened("api", [row], first_seq=1, next_seq=3, now=NOW, review=DESK)
    assert ReviewItem.objects.count() == 2


def cut_to(data_dir: Path, messages: list[Sms], now: datetime) -> None:
    """The stream as a backup had it: these messages, and nothing of what came later."""
    shutil.rmtree(data_dir / "ledger")
    shutil.rmtree(data_dir / "index", ignore_errors=True)
    write(data_dir, messages, now=now)


def test_a_ledger_from_a_backup_that_ends_before_the_desk_is_read_on_from_its_end(
    mingbai: Settings, account: Person
) -> None:
    queue(mingbai, [Sms(f"m {n}") for n in range(6)], now=NOW)
    before = list(ReviewItem.objects.order_by("seq"))
    who = account("reviewer")
    decided = take(who)
    assert decided is not None
    decide(decided, who)
    write(mingbai.data, [Sms("seen by nobody")], now=NOW, stream="other")
    read = review_queue.cursor_of("api")

    cut_to(mingbai.data, [Sms("m 0")], NOW)
    later = NOW + timedelta(minutes=1)
    jobs.follow_ledger(mingbai, later)
    end = review_queue.cursor_of("api")
    assert 1 < end < read
    (entry,) = audit.entries(kinds=["review.rewound"])
    lost = sum(item.seq >= end and item.pk != decided.pk for item in before)
    assert entry.data == {"stream": "api", "from_seq": read, "to_seq": end, "withdrawn": lost}
    kept = [item for item in before if item.seq < end]
    assert set(ReviewItem.objects.values_list("pk", flat=True)) == {item.pk for item in kept} | {decided.pk}

    jobs.follow_ledger(mingbai, later + timedelta(minutes=1))
    write(mingbai.data, [Sms(f"new {n}") for n in range(5)], now=later)
    jobs.follow_ledger(mingbai, later + timedelta(minutes=2))
    fresh = ReviewItem.objects.filter(stream="api", seq__gte=end).exclude(pk=decided.pk)
    assert fresh.count() == 5, "another entry in the place of one that is gone is another message"
    jobs.follow_ledger(mingbai, later + timedelta(minutes=3))
    assert fresh.count() == 5
    assert audit.entries(kinds=["review.rewound"]).count() == 1


def test_entries_that_come_back_are_not_queued_a_second_time(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("early")], now=NOW)
    backup = mingbai.data / "backup"
    shutil.copytree(mingbai.data / "ledger", backup)
    end = review_queue.cursor_of("api")
    queue(mingbai, [Sms(f"m {n}") for n in range(4)], now=NOW)
    who = account("reviewer")
    for _ in range(2):  # two are decided, of which one or two lie behind the backup's end
        item = take(who)
        assert item is not None
        decide(item, who)
    everything = mingbai.data / "everything"
    shutil.copytree(mingbai.data / "ledger", everything)
    ids = set(ReviewItem.objects.values_list("entry_id", flat=True))

    for number, source in enumerate((backup, everything)):
        shutil.rmtree(mingbai.data / "ledger")
        shutil.copytree(source, mingbai.data / "ledger")
        jobs.follow_ledger(mingbai, NOW + timedelta(minutes=1 + number))
        if source is backup:
            assert review_queue.cursor_of("api") == end
        shutil.rmtree(source)
    items = list(ReviewItem.objects.all())
    assert len(items) == 5 and {item.entry_id for item in items} == ids
    assert sum(item.state == ItemState.DONE for item in items) == 2, "what was decided stays decided"


# -- giving out


def test_nobody_gets_what_another_holds(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms(f"m {n}") for n in range(3)], now=NOW)
    people = [account("reviewer") for _ in range(4)]
    given = [take(who) for who in people]
    assert len({item.pk for item in given if item}) == 3
    assert given[3] is None


def test_a_browser_that_died_finds_its_message_again(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("a"), Sms("b")], now=NOW)
    who = account("reviewer")
    first = take(who)
    again = take(who, NOW + timedelta(seconds=30))
    assert first is not None and again is not None
    assert (again.pk, again.lease) == (first.pk, first.lease)


def test_held_come_before_flagged_and_the_nearest_deadline_first(mingbai: Settings, account: Person) -> None:
    sent = [
        Sms("flagged", Verdict.FLAG),
        Sms("fraud", category=Category.FRAUD),
        Sms("code", category=Category.NOTIFICATION, reasons=(Reason.PROTECTED_CODE,)),
        Sms("notice", category=Category.NOTIFICATION),
    ]
    queue(mingbai, sent, now=NOW)
    order = [take(account("reviewer")) for _ in sent]
    assert [item.seq - order[0].seq for item in order if item and order[0]] == [0, 1, -1, -2]


def test_a_person_gets_what_they_are_skilled_in_and_what_they_may_see(mingbai: Settings, account: Person) -> None:
    sent = [Sms("fraud"), Sms("广告", category=Category.ADVERTISING), Sms("ad", category=Category.ADVERTISING)]
    queue(mingbai, sent, now=NOW)
    who = account("reviewer")
    who.skills = ["advertising", "zh"]
    skilled = take(who)
    assert skilled is not None and (skilled.category, skilled.language) == (Category.ADVERTISING, "zh")
    assert take(account("reviewer"), reach=Reach(access_codes=("1065",))) is None
    assert take(account("reviewer"), queue="held.advertising.zh") is None
    other = take(account("reviewer"), queue="held.advertising")
    assert other is not None and other.language == "en"


def test_a_skipped_message_goes_to_somebody_else(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("m")], now=NOW)
    one, other = account("reviewer"), account("reviewer")
    item = take(one)
    assert item is not None and item.lease is not None
    review_queue.skip(item.pk, one, item.lease, now=NOW)
    assert take(one) is None
    assert take(other) is not None
    assert [entry.kind for entry in audit.entries(subject=item.subject)] == ["review.skipped"]


def test_a_lease_returns_when_its_time_is_over_and_when_its_holder_leaves(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("m")], now=NOW)
    one, other = account("reviewer"), account("reviewer")
    held = take(one)
    assert review_queue.return_expired(now=NOW + timedelta(seconds=59)) == 0
    assert review_queue.return_expired(now=NOW + timedelta(seconds=60)) == 1
    assert take(other) is not None
    assert review_queue.return_leases_of(other, now=NOW) == 1
    assert held is not None
    with pytest.raises(review_queue.LeaseLost, match="returned"):
        decide(held, one)


def test_a_page_that_is_open_keeps_its_lease_but_not_for_ever(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("m")], now=NOW)
    who = account("reviewer")
    item = take(who)
    assert item is not None and item.lease is not None
    later = NOW + timedelta(seconds=50)
    assert review_queue.renew(item.pk, who, item.lease, now=later, review=DESK)
    assert review_queue.return_expired(now=NOW + timedelta(seconds=60)) == 0
    too_late = NOW + timedelta(seconds=review_queue.LONGEST_LOOK_S)
    assert not review_queue.renew(item.pk, who, item.lease, now=too_late, review=DESK)


# -- deciding


def test_a_repeated_decision_is_recorded_once_with_the_first_answer(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("m")], now=NOW)
    who = account("reviewer")
    item = take(who)
    assert item is not None
    first = decide(item, who, BLOCK)
    again = decide(item, who, PASS)
    assert again.pk == first.pk
    assert [entry.kind for entry in audit.entries(subject=item.subject)] == ["message.refused"]
    (label,) = labels.for_learning()
    assert (label.verdict, label.category, label.source) == (Verdict.BLOCK, Category.FRAUD, "review")


def test_anothers_lease_decides_nothing(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("m")], now=NOW)
    who, thief = account("reviewer"), account("reviewer")
    item = take(who)
    assert item is not None and item.lease is not None
    for wrong in ((thief, item.lease), (who, uuid4())):
        with pytest.raises(review_queue.LeaseLost):
            review.decide(item.pk, wrong[0], wrong[1], BLOCK, now=NOW, review=DESK)
    decide(item, who)
    with pytest.raises(review_queue.LeaseLost):
        review.decide(item.pk, thief, item.lease, BLOCK, now=NOW, review=DESK)


def test_releasing_a_held_message_says_what_to_act_on(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("m"), Sms("f", Verdict.FLAG)], now=NOW)
    who = account("reviewer")
    for _ in range(2):
        item = take(who)
        assert item is not None
        decide(item, who, PASS)
    kinds = [(entry.kind, entry.data["kind"], entry.data["verdict"]) for entry in audit.entries(actor=who.ref)]
    assert kinds == [("message.reviewed", "flagged", "allow"), ("message.released", "held", "allow")]


def test_deciding_gives_the_next_message_in_the_same_transaction(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("a"), Sms("b")], now=NOW)
    who = account("reviewer")
    item = take(who)
    assert item is not None and item.lease is not None
    _, following = review.decide_and_take(item.pk, who, item.lease, BLOCK, now=NOW, review=DESK, reach=ALL)
    assert following is not None and following.pk != item.pk
    assert following.holder_id == who.pk


# -- undoing


def test_the_last_decision_can_be_undone_and_made_anew(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("a"), Sms("b")], now=NOW)
    who = account("reviewer")
    item = take(who)
    assert item is not None and item.lease is not None
    review.decide_and_take(item.pk, who, item.lease, BLOCK, now=NOW, review=DESK, reach=ALL)
    back = review.undo(who, now=NOW + timedelta(seconds=10), review=DESK)
    assert back.pk == item.pk
    shown = take(who, NOW + timedelta(seconds=11))
    assert shown is not None and shown.pk == item.pk, "the undone one comes first"
    assert list(labels.for_learning()) == []
    decide(shown, who, PASS, NOW + timedelta(seconds=12))
    assert [label.verdict for label in labels.for_learning()] == [Verdict.ALLOW]
    kinds = [entry.kind for entry in audit.entries(subject=item.subject)]
    assert kinds == ["message.released", "review.undone", "message.refused"]


def test_what_was_sent_or_is_long_ago_cannot_be_undone(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("a"), Sms("f", Verdict.FLAG)], now=NOW)
    who = account("reviewer")
    with pytest.raises(review.NothingToUndo, match="none"):
        review.undo(who, now=NOW, review=DESK)
    item = take(who)
    assert item is not None
    decision = decide(item, who, PASS)
    with pytest.raises(review.NothingToUndo, match="too_late"):
        review.undo(who, now=NOW + timedelta(seconds=review.UNDO_S + 1), review=DESK)
    assert review.mark_acted([decision.pk], now=NOW) == 1
    with pytest.raises(review.NothingToUndo, match="acted"):
        review.undo(who, now=NOW, review=DESK)


# -- deadlines


def test_each_class_has_its_time_and_its_rule(mingbai: Settings) -> None:
    code = Sms("code", category=Category.NOTIFICATION, reasons=(Reason.PROTECTED_CODE,))
    queue(mingbai, [code, Sms("fraud"), Sms("hi", category=Category.PERSONAL)], now=NOW)
    assert review.apply_deadlines(now=NOW + timedelta(seconds=3)) == 0
    assert review.apply_deadlines(now=NOW + timedelta(seconds=4)) == 1
    assert review.apply_deadlines(now=NOW + timedelta(minutes=61)) == 2
    given = {entry.data["class"]: entry.kind for entry in audit.entries(actor="job:deadlines")}
    assert given == {
        "verification_code": "message.released", "fraud": "message.refused", "personal": "message.released",
    }  # fmt: skip
    assert not Label.objects.exists(), "what no person decided teaches nothing"


def test_no_verification_code_may_be_held_over_five_seconds() -> None:
    which = policy.hold_class(Category.FRAUD, (Reason.RULE_KEYWORD, Reason.PROTECTED_CODE))
    assert which == policy.HoldClass.VERIFICATION_CODE
    assert policy.hold_limit(which, hold_minutes=1440) < policy.NEVER_HELD_LONGER[which] == timedelta(seconds=5)
    assert set(policy.HOLD_RULES) == set(policy.HoldClass)


def test_a_deadline_beats_the_one_who_holds_the_message(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("m")], now=NOW)
    who = account("reviewer")
    item = take(who)
    assert item is not None
    late = NOW + timedelta(minutes=60)
    assert review.apply_deadlines(now=late) == 1
    with pytest.raises(review_queue.LeaseLost, match="rule"):
        decide(item, who, now=late)
    assert take(who, late) is None


# -- second opinions, gold


def test_a_second_opinion_is_asked_of_another_and_looks_the_same(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("m")], now=NOW)
    one, other = account("reviewer"), account("reviewer")
    always = ReviewSettings(second_opinion_percent=100, gold_percent=0)
    item = take(one)
    assert item is not None
    decide(item, one, BLOCK, desk=always)
    assert take(one) is None
    second = take(other)
    assert second is not None and second.kind == ItemKind.SECOND
    assert queries.desk(second).similar == [], "blind: the first answer is not shown"
    answer = decide(second, other, PASS, desk=always)
    assert answer.is_right is False
    assert ReviewItem.objects.exclude(state=ItemState.DONE).count() == 0, "a second opinion asks for no third"
    lead = account("team_lead")
    with pytest.raises(BadValue, match="note"):
        review_team.settle(answer.pk, Verdict.ALLOW, Category.NOTIFICATION, lead, now=NOW, note=" ")
    review_team.settle(answer.pk, Verdict.ALLOW, Category.NOTIFICATION, lead, now=NOW, note="a bank's own notice")
    with pytest.raises(review.NothingToUndo):
        review_team.settle(answer.pk, Verdict.ALLOW, Category.NOTIFICATION, lead, now=NOW, note="a bank's own notice")
    (label,) = labels.for_learning()
    assert (label.verdict, label.source) == (Verdict.ALLOW, "second")
    assert audit.entries(kinds=["message.released"], actor=lead.ref).count() == 1


def test_a_second_opinion_that_nobody_began_goes_with_the_undone_decision(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("m")], now=NOW)
    who, other = account("reviewer"), account("reviewer")
    item = take(who)
    assert item is not None
    decide(item, who, review.Answer(Verdict.BLOCK, Category.FRAUD, ask_second=True))
    assert ReviewItem.objects.filter(kind=ItemKind.SECOND).count() == 1
    review.undo(who, now=NOW, review=DESK)
    assert take(other) is None


def test_gold_measures_people_and_teaches_nothing(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms("known"), *(Sms(f"new {n}") for n in range(60))], now=NOW)
    lead, who = account("team_lead"), account("reviewer")
    item = take(lead)
    assert item is not None
    decide(item, lead)
    review_team.make_gold(item.entry_id, Verdict.BLOCK, Category.FRAUD, lead, now=NOW)
    assert list(labels.for_learning()) == []
    often = ReviewSettings(gold_percent=50, second_opinion_percent=0)
    for _ in range(40):  # half of them by chance: 40 misses in a row will not happen
        given = take(who, desk=often)
        assert given is not None
        decide(given, who, PASS, desk=often)
        if given.kind == ItemKind.GOLD:
            break
    assert given is not None and given.kind == ItemKind.GOLD and given.entry_id == item.entry_id
    people = {row.account.pk: row for row in queries.team(NOW + timedelta(seconds=1)).people}
    assert (people[who.pk].gold.n, people[who.pk].gold.k) == (1, 0)
    assert item.entry_id not in {label.entry_id for label in labels.for_learning()}
    assert all(past.kind != ItemKind.GOLD for past in queries.history(item.entry_id))


# -- appeals


def test_an_appeal_is_answered_with_a_reason(mingbai: Settings, account: Person) -> None:
    write(mingbai.data, [Sms("stopped", Verdict.BLOCK)], now=NOW)
    hit = traffic.index().search(traffic_query()).hits[0]
    appellant, who = account("subscriber"), account("reviewer")
    with pytest.raises(BadValue, match="words"):
        appeals.open_appeal(hit, words="no", by=appellant.ref, now=NOW)
    appeals.open_appeal(hit, words="This was my bank.", by=appellant.ref, now=NOW)
    with pytest.raises(appeals.AppealOpen):
        appeals.open_appeal(hit, words="This was my bank.", by=appellant.ref, now=NOW)
    item = take(who)
    assert item is not None
    shown = queries.desk(item)
    assert shown.appeal is not None and shown.appeal.words == "This was my bank." and shown.text == "stopped"
    with pytest.raises(BadValue, match="note"):
        decide(item, who, PASS)
    decide(item, who, review.Answer(Verdict.BLOCK, Category.FRAUD, "It only looks like a bank's."))
    answered = Appeal.objects.get()
    assert answered.is_upheld is False and answered.answer == "It only looks like a bank's."
    assert [label.source for label in labels.for_learning()] == ["appeal"]
    assert [entry.kind for entry in audit.entries(subject=item.subject)] == ["appeal.answered", "appeal.opened"]


def traffic_query() -> Any:
    from mingbai.connectors.ledger_index import Query

    return Query()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the plan of SQLite")
@pytest.mark.parametrize(
    ("column", "index"), [("text_hash", "messaging_label_text"), ("campaign", "messaging_label_campaign")]
)
def test_what_is_like_a_message_is_found_by_an_index_and_not_sorted(column: str, index: str) -> None:
    sql = f"SELECT * FROM {queries._LABELS.name} {queries._LIKE % column}"
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", ["ab", uuid4().hex])
        plan = " / ".join(row[-1] for row in cursor.fetchall())
    assert index in plan, plan
    assert "B-TREE" not in plan, plan


# -- whole campaigns


def test_a_campaign_decision_reaches_what_its_preview_counted_and_no_more(mingbai: Settings, account: Person) -> None:
    many = [Sms(f"v{n}", campaign=0xABC, receiver=f"+861380000{n % 3:04d}") for n in range(5)]
    queue(mingbai, [*many, Sms("other", campaign=0xDEF)], now=NOW)
    lead, who = account("team_lead"), account("reviewer")
    held = take(who)
    name = f"{0xABC:016x}"
    preview = review_team.preview_campaign(name, Verdict.BLOCK, Category.FRAUD, lead, reach=ALL)
    assert (preview.items, preview.held, preview.receivers, preview.taken) == (5, 5, 3, 1)
    queue(mingbai, [Sms("later", campaign=0xABC)], now=NOW)
    with pytest.raises(review_team.PreviewInvalid):
        review_team.decide_campaign(preview.token, account("team_lead"), now=NOW, reach=ALL)
    whole = review_team.decide_campaign(preview.token, lead, now=NOW, reach=ALL)
    assert whole.items == 5
    assert ReviewItem.objects.filter(campaign=name, state=ItemState.WAITING).count() == 1
    assert held is not None
    with pytest.raises(review_queue.LeaseLost, match="campaign"):
        decide(held, who)
    assert review_team.undo_campaign(whole.pk, lead, now=NOW + timedelta(minutes=1)) == 5
    assert ReviewItem.objects.filter(campaign=name, state=ItemState.WAITING).count() == 6
    assert list(labels.for_learning()) == []
    with pytest.raises(review.NothingToUndo):
        review_team.undo_campaign(whole.pk, lead, now=NOW)
    kinds = [entry.kind for entry in audit.entries(subject=f"campaign:{name}")]
    assert kinds == ["messages.held", "campaign.undone", "messages.refused", "campaign.decided"]


def test_the_chain_of_entries_verifies_after_all_of_it(mingbai: Settings, account: Person) -> None:
    queue(mingbai, [Sms(f"m {n}") for n in range(6)], now=NOW)
    who = account("reviewer")
    for n in range(5):
        item = take(who)
        assert item is not None
        decide(item, who, BLOCK if n % 2 else PASS)
    review.undo(who, now=NOW, review=DESK)
    review.apply_deadlines(now=NOW + timedelta(hours=2))
    assert audit.verify().ok
