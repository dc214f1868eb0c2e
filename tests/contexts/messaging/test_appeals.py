"""Appeals: an upheld one frees exactly its message, undoing that withdraws it, and the appellant's words are theirs."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from django.conf import settings

from mingbai.connectors import policy_store
from mingbai.connectors.ledger_index import Hit, Query
from mingbai.connectors.screening_client import ScreenerUnavailable, ScreeningClient
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.messaging.models import Appeal, Freed, ItemState, ReviewDecision, ReviewItem
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.queries.overview import freed_count
from mingbai.contexts.messaging.services import review, review_queue
from mingbai.contexts.messaging.services.appeals import open_appeal
from mingbai.contexts.messaging.services.freeing import DEFAULT_DAYS, free_message
from mingbai.contexts.messaging.services.labels import for_learning
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.policy import Reach
from mingbai.contexts.people.services import data_requests
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Category, Verdict
from mingbai.ledger import withhold
from mingbai.settings import ReviewSettings
from tests.console.api_calls import api_of
from tests.contexts.messaging.review_ledger import Sms, write
from tests.contexts.messaging.screener_process import running_screener, until

pytestmark = pytest.mark.django_db(transaction=True)
Make = Callable[..., Account]
SENDER = "+8613812345678"
STOPPED = "代开正规发票，点数优惠，详询微信 fapiao8899 或 http://fp-kai.example/a1"
DESK = ReviewSettings(second_opinion_percent=0, gold_percent=0)
UPHELD = review.Answer(Verdict.ALLOW, Category.NOTIFICATION, "It was a printer's notice.")


@pytest.fixture
def screener(data_dir: Path) -> Iterator[ScreeningClient]:
    with running_screener(data_dir) as client:
        yield client


def screen(client: ScreeningClient, text: str, sender: str = SENDER, code: str = "10690001") -> Verdict:
    batch = pa.record_batch({"text": [text], "sender": [sender], "access_code": [code]})
    return Verdict(client.screen(batch).decisions.column("verdict")[0].as_py())


def appeal(hit: Hit, who: Account, words: str = "This was my printer.") -> Appeal:
    return open_appeal(hit, words=words, by=who.ref, now=utc_now())


def take(who: Account) -> tuple[ReviewItem, Any]:
    item = review_queue.take(who, now=utc_now(), review=DESK, reach=Reach(is_all=True))
    assert item is not None
    return item, item.lease


def uphold(who: Account) -> ReviewDecision:
    item, lease = take(who)
    return review.decide(item.pk, who, lease, UPHELD, now=utc_now(), review=DESK)


def newest() -> Hit:
    return traffic.index().search(Query(verdicts=(Verdict.BLOCK,)), 1).hits[0]


def test_an_upheld_appeal_frees_exactly_its_message_until_it_is_undone(
    screener: ScreeningClient, data_dir: Path, account: Make
) -> None:
    assert screen(screener, STOPPED) == Verdict.BLOCK
    hit, reviewer = newest(), account("reviewer")
    appeal(hit, account("service_provider"))
    began = utc_now()
    decision = uphold(reviewer)
    row = Freed.objects.get()
    assert (row.owner_id, row.entry_id, row.decision_id) == (reviewer.pk, hit.id, decision.pk)
    assert row.expires_at - row.created_at == timedelta(days=DEFAULT_DAYS)
    assert row.links == ["fp-kai.example"]
    assert freed_count(began, utc_now() + timedelta(seconds=1)) == 1
    assert [label.source for label in for_learning()] == ["appeal"]
    answered, freed, _opened = audit.entries(subject=f"message:{hit.id}")
    assert (answered.kind, freed.kind) == ("appeal.answered", "message.freed")
    assert answered.data["exception"] == freed.data["exception"] == str(row.pk)
    assert "reason" not in freed.data, "the answer's words may be the appellant's: the chain does not keep them"

    until(lambda: screen(screener, STOPPED) == Verdict.ALLOW, "the message passes")
    assert screen(screener, STOPPED.replace("/a1", "/a2")) == Verdict.BLOCK, "another link"
    assert screen(screener, STOPPED.replace("fapiao8899", "fapiao8898")) == Verdict.BLOCK, "another contact"
    assert screen(screener, STOPPED, sender="+8613812345679") == Verdict.BLOCK, "another sender"
    assert screen(screener, STOPPED, code="10690009") == Verdict.BLOCK, "another access code"

    review.undo(reviewer, now=utc_now(), review=DESK)
    row.refresh_from_db()
    assert row.ended_at is not None and row.ended_by == reviewer.ref
    assert policy_store.freed_messages(data_dir, policy_store.current(data_dir)) == ()
    assert [entry.kind for entry in audit.entries(subject=f"message:{hit.id}")][:2] == [
        "review.undone", "exception.ended",
    ]  # fmt: skip
    assert Appeal.objects.get().is_upheld is None
    assert not list(for_learning())
    until(lambda: screen(screener, STOPPED) == Verdict.BLOCK, "the exception is over")
    assert audit.verify().ok


def test_what_is_freed_already_is_not_freed_twice(screener: ScreeningClient, data_dir: Path, account: Make) -> None:
    assert screen(screener, STOPPED) == Verdict.BLOCK
    hit = newest()
    key = screener.free_key(STOPPED, sender=SENDER, access_code="10690001")
    lead = account("team_lead")
    free_message(
        hit, key, owner_id=lead.pk, reason="a printer", days=7, hosts=[], data_dir=data_dir, now=utc_now()
    )  # fmt: skip
    appeal(hit, account("service_provider"))
    reviewer = account("reviewer")
    uphold(reviewer)
    assert Freed.objects.get().owner_id == lead.pk
    answered = Appeal.objects.get()
    assert (answered.is_upheld, answered.no_exception) == (True, "freed_already")
    review.undo(reviewer, now=utc_now(), review=DESK)
    assert Freed.objects.get().ended_at is None, "somebody else's exception stays"


def test_where_the_text_is_no_longer_kept_the_answer_says_that_nothing_was_freed(
    data_dir: Path, client_for: Callable[..., Any], account: Make
) -> None:
    now = utc_now()
    write(data_dir, [Sms(STOPPED, Verdict.BLOCK)], now=now)
    hit = newest()
    assert hit.sender is not None
    appeal(hit, account("service_provider"))
    withhold(data_dir, [hit.sender], before=now + timedelta(seconds=1), until=now + timedelta(days=100))
    client = client_for("reviewer")
    item, lease = take(client.account)
    form = {"item": item.pk, "lease": str(lease), "answer": "allow.notification", "note": "It was a printer's."}
    page = client.post("/review/decide/", form, follow=True).content.decode()
    assert "no exception was made: Its text is no longer kept" in page
    assert not Freed.objects.exists()
    assert Appeal.objects.get().no_exception == "text_gone"
    (entry,) = audit.entries(kinds=["appeal.answered"])
    assert (entry.data["verdict"], entry.data["no_exception"]) == ("allow", "text_gone")


def test_without_a_screener_nothing_is_recorded_and_the_appeal_stays_in_hand(
    data_dir: Path, client_for: Callable[..., Any], account: Make
) -> None:
    write(data_dir, [Sms(STOPPED, Verdict.BLOCK)], now=utc_now())
    appeal(newest(), account("service_provider"))
    client = client_for("reviewer")
    item, lease = take(client.account)
    with pytest.raises(ScreenerUnavailable):
        review.decide(item.pk, client.account, lease, UPHELD, now=utc_now(), review=DESK)
    form = {"item": item.pk, "lease": str(lease), "answer": "allow.notification", "note": "It was a printer's."}
    page = client.post("/review/decide/", form)
    assert page.status_code == 422 and "The screener does not answer" in page.content.decode()
    item.refresh_from_db()
    assert (item.state, item.lease) == (ItemState.TAKEN, lease)
    assert not ReviewDecision.objects.exists()
    form["answer"] = "block.fraud"
    assert client.post("/review/decide/", form, follow=True).status_code == 200
    assert Appeal.objects.get().is_upheld is False, "refusing one needs nobody"


def test_the_appellant_reads_the_answer_on_the_page_of_the_message_and_by_a_token(
    data_dir: Path, client_for: Callable[..., Any], account: Make
) -> None:
    write(data_dir, [Sms("您的快递", Verdict.BLOCK)], now=utc_now())
    hit = newest()
    client = client_for("subscriber", number="+8613800000001")
    address = f"/messages/{hit.id}/"
    client.post(f"{address}appeal/", {"words": "我在等<b>这个快递"})
    waiting = client.get(address).content.decode()
    assert "An appeal waits for its answer" in waiting and "我在等&lt;b&gt;这个快递" in waiting
    reviewer = account("reviewer")
    item, lease = take(reviewer)
    refused = review.Answer(Verdict.BLOCK, Category.FRAUD, "It only looks like a courier's.")
    review.decide(item.pk, reviewer, lease, refused, now=utc_now(), review=DESK)
    page = client.get(address).content.decode()
    assert "Appeal refused" in page and "It only looks like a courier&#x27;s." in page
    (shown,) = json.loads(api_of(client.account)("GET", f"messages/{hit.id}").content)["appeals"]
    assert (shown["is_upheld"], shown["answer"]) == (False, refused.note)
    # Who may not read texts does not read what people write about them.
    assert "courier" not in client_for("auditor").get(address).content.decode()
    assert json.loads(api_of(account("auditor"))("GET", f"messages/{hit.id}").content)["appeals"] == []


def test_an_answer_by_the_api_names_the_token_and_the_exception(
    screener: ScreeningClient, data_dir: Path, account: Make
) -> None:
    assert screen(screener, STOPPED) == Verdict.BLOCK
    appeal(newest(), account("service_provider"))
    reviewer = account("reviewer")
    api = api_of(reviewer)
    item = json.loads(api("POST", "review/take", {}).content)["item"]
    given = {"lease": item["lease"], "verdict": "allow", "category": "notification", "note": "A printer's notice."}
    answer = json.loads(api("POST", f"review/items/{item['id']}/decide", given).content)
    row = Freed.objects.get()
    assert (answer["exception"], answer["no_exception"]) == (str(row.pk), "")
    assert row.owner_id == reviewer.pk, "a person answers for it"
    assert api("POST", "review/undo").status_code == 200
    assert api("POST", f"review/items/{item['id']}/skip", given).status_code in (204, 409)
    assert api("POST", "review/leave").status_code == 204
    own = [
        entry for entry in audit.entries() if entry.kind.split(".")[0] in ("appeal", "message", "review", "exception")
    ]
    by = {entry.kind: entry.actor.partition(":")[0] for entry in own}
    assert by["message.freed"] == by["appeal.answered"] == by["review.undone"] == by["exception.ended"] == "token"


def test_words_of_an_appeal_are_given_on_request_and_go_on_erasure(data_dir: Path, account: Make) -> None:
    write(data_dir, [Sms("one", Verdict.BLOCK), Sms("two", Verdict.BLOCK)], now=utc_now())
    one, two = traffic.index().search(Query(verdicts=(Verdict.BLOCK,)), 2).hits
    who, other, reviewer, administrator = (
        account(role) for role in ("subscriber", "service_provider", "reviewer", "administrator")
    )
    appeal(one, who, "I am Zhang San and wait for this.")
    appeal(two, other, "This is ours.")
    item, lease = take(reviewer)
    refused = review.Answer(Verdict.BLOCK, Category.FRAUD, "Dear Zhang San, it is fraud.")
    review.decide(item.pk, reviewer, lease, refused, now=utc_now(), review=DESK)

    request = data_requests.ask(who, "access", now=utc_now(), due_days=15)
    data_requests.answer(request, settings.MINGBAI, actor=administrator.ref, now=utc_now())
    archive = zipfile.ZipFile(io.BytesIO(data_requests.fetch(request, actor=who.ref, now=utc_now())))
    (held,) = json.loads(archive.read("appeals.json"))
    assert held["words"] == "I am Zhang San and wait for this."
    assert (held["answer"], held["is_upheld"], held["message"]) == (refused.note, False, str(one.id))

    request = data_requests.ask(who, "erasure", now=utc_now(), due_days=15)
    data_requests.answer(request, settings.MINGBAI, actor=administrator.ref, now=utc_now())
    erased = Appeal.objects.get(by=who.ref)
    assert (erased.words, erased.answer, erased.is_upheld) == ("", "", False)
    assert Appeal.objects.get(by=other.ref).words == "This is ours."
    assert "Zhang" not in str(list(ReviewDecision.objects.values())) + str([entry.data for entry in audit.entries()])
    (entry,) = audit.entries(kinds=["data_request.erased"])
    assert entry.data["erased"]["appeals"] == 1
