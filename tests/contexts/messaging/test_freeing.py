"""Freeing: exactly one message passes, its owner named, until it expires; a changed link is screened anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
from django.test import Client

from mingbai.connectors import policy_store
from mingbai.connectors.ledger_index import EVERYTHING, Hit, Query
from mingbai.connectors.screening_client import FreeKey, ScreeningClient
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.messaging.models import Freed
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.queries.freed import Freeable, exceptions
from mingbai.contexts.messaging.queries.overview import freed_count
from mingbai.contexts.messaging.services import freeing
from mingbai.contexts.messaging.services.labels import for_learning
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category, Reason, Verdict
from tests.contexts.messaging.review_ledger import Sms, write
from tests.contexts.messaging.screener_process import running_screener, until

STOPPED = "代开正规发票，点数优惠，详询微信 fapiao8899 或 http://fp-kai.example/a1"
CHANGED = "代开正规发票，点数优惠，详询微信 fapiao8899 或 http://fp-kai.example/a2"


def _key(text: str = "a") -> FreeKey:
    return FreeKey(
        key=text.encode().hex().ljust(64, "0"), read_as=text, links=(), numbers=(), sender=None, access_code=None
    )


@pytest.fixture
def stopped(data_dir: Path) -> Hit:
    write(data_dir, [Sms("恭喜", Verdict.BLOCK), Sms("好的", Verdict.ALLOW, Category.PERSONAL)], now=utc_now())
    (hit,) = traffic.index().search(Query(verdicts=(Verdict.BLOCK,))).hits
    return hit


def _free(hit: Hit, owner: object, data_dir: Path, **changed: object) -> Freed:
    given: dict[str, object] = {
        "owner_id": owner.pk, "reason": "a customer's notice", "days": 30, "hosts": ["x.example"],  # type: ignore[attr-defined]  # an account
        "data_dir": data_dir, "now": utc_now(), **changed,
    }  # fmt: skip
    key = given.pop("key", _key())
    return freeing.free_message(hit, key, **given)  # type: ignore[arg-type]  # as listed


@pytest.mark.django_db(transaction=True)
def test_freeing_publishes_counts_and_teaches(stopped: Hit, data_dir: Path, account: Callable[..., object]) -> None:
    owner = account("team_lead")
    row = _free(stopped, owner, data_dir)
    (published,) = policy_store.freed_messages(data_dir, policy_store.current(data_dir))
    assert (published.id, published.key) == (str(row.pk), row.key)
    (entry,) = audit.entries(kinds=["message.freed"])
    assert entry.subject == f"message:{stopped.id}"
    assert entry.data["reason"] == "a customer's notice"
    (label,) = for_learning()
    assert (label.entry_id, label.verdict, label.category) == (stopped.id, Verdict.ALLOW, Category.NOTIFICATION)
    now = utc_now()
    assert freed_count(now - timedelta(hours=1), now + timedelta(hours=1)) == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_message_is_freed_once(stopped: Hit, data_dir: Path, account: Callable[..., object]) -> None:
    owner = account("team_lead")
    _free(stopped, owner, data_dir)
    with pytest.raises(freeing.FreedAlready):
        _free(stopped, owner, data_dir)
    assert Freed.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changed", "field"), [({"reason": "ok"}, "reason"), ({"days": 0}, "days"), ({"days": 366}, "days")]
)
def test_what_cannot_be_is_refused(
    stopped: Hit, data_dir: Path, account: Callable[..., object], changed: dict[str, object], field: str
) -> None:
    with pytest.raises(BadValue) as caught:
        _free(stopped, account("team_lead"), data_dir, **changed)
    assert caught.value.data["field"] == field
    assert not Freed.objects.exists()


@pytest.mark.django_db
def test_a_message_that_passed_cannot_be_freed(stopped: Hit, data_dir: Path, account: Callable[..., object]) -> None:
    (passed,) = traffic.index().search(Query(verdicts=(Verdict.ALLOW,))).hits
    with pytest.raises(BadValue):
        _free(passed, account("team_lead"), data_dir)


@pytest.mark.django_db(transaction=True)
def test_an_exception_expires_and_what_is_published_follows(
    stopped: Hit, data_dir: Path, account: Callable[..., object]
) -> None:
    row = _free(stopped, account("team_lead"), data_dir, days=1)
    later = utc_now() + timedelta(days=2)
    freeing.reconcile_exceptions(data_dir, now=later)
    assert policy_store.freed_messages(data_dir, policy_store.current(data_dir)) == ()
    (entry,) = audit.entries(kinds=["exception.expired"])
    assert entry.data == {"exception": str(row.pk)}
    freeing.reconcile_exceptions(data_dir, now=later)
    assert audit.entries(kinds=["exception.expired"]).count() == 1


@pytest.mark.django_db(transaction=True)
def test_ending_early_takes_effect_and_twice_is_once(
    stopped: Hit, data_dir: Path, account: Callable[..., object]
) -> None:
    row = _free(stopped, account("team_lead"), data_dir)
    for _ in range(2):
        freeing.end_exception(row.pk, actor="system", reason="was a mistake", data_dir=data_dir, now=utc_now())
    assert policy_store.freed_messages(data_dir, policy_store.current(data_dir)) == ()
    assert audit.entries(kinds=["exception.ended"]).count() == 1
    with pytest.raises(BadValue):
        freeing.end_exception(uuid4(), actor="system", reason="was a mistake", data_dir=data_dir, now=utc_now())


@pytest.mark.django_db
def test_the_job_publishes_what_a_process_that_died_did_not(
    stopped: Hit, data_dir: Path, account: Callable[..., object]
) -> None:
    row = _free(stopped, account("team_lead"), data_dir)  # the test's transaction never commits: nothing is published
    assert policy_store.current(data_dir) is None
    freeing.reconcile_exceptions(data_dir, now=utc_now())
    (published,) = policy_store.freed_messages(data_dir, policy_store.current(data_dir))
    assert published.id == str(row.pk)


@pytest.mark.django_db
def test_only_who_may_frees_and_only_within_the_scope(stopped: Hit, client_for: Callable[..., Client]) -> None:
    for role in ("rule_author", "auditor", "service_provider", "subscriber"):
        assert client_for(role).post(f"/messages/{stopped.id}/free/", {"reason": "let it pass"}).status_code in (
            403,
            404,
        )
    assert not Freed.objects.exists()


@pytest.fixture
def screener(data_dir: Path) -> Iterator[ScreeningClient]:
    with running_screener(data_dir) as client:
        yield client


def _screen(client: ScreeningClient, text: str, code: str = "10690001") -> Verdict:
    batch = pa.record_batch({"text": [text], "sender": ["+8613812345678"], "access_code": [code]})
    return Verdict(client.screen(batch).decisions.column("verdict")[0].as_py())


@pytest.mark.django_db(transaction=True)
def test_a_freed_message_passes_and_a_changed_link_does_not(
    screener: ScreeningClient, client_for: Callable[..., Client]
) -> None:
    assert _screen(screener, STOPPED) == Verdict.BLOCK
    hit = traffic.index().search(Query(verdicts=(Verdict.BLOCK,)), 1).hits[0]
    client = client_for("team_lead")
    dialog = client.get(f"/messages/{hit.id}/free/").content.decode()
    assert "fp-kai.example/a1" in dialog
    answer = client.post(f"/messages/{hit.id}/free/", {"reason": "a printer's advertisement", "days": "7"})
    assert answer.status_code == 302, answer.content.decode()
    until(lambda: _screen(screener, STOPPED) == Verdict.ALLOW, "the freed message passes")
    assert _screen(screener, CHANGED) == Verdict.BLOCK
    assert _screen(screener, STOPPED, code="10690009") == Verdict.BLOCK
    passed = traffic.index().search(Query(reasons=(Reason.RULE_FREED,)), 1).hits[0]
    assert passed.rules[0].startswith("freed:")
    (row,) = exceptions(EVERYTHING, utc_now())
    assert row.hits is not None
    assert row.hits >= 1
    page = client.get("/messages/freed/").content.decode()
    assert "a printer&#x27;s advertisement" in page
    client.post(f"/messages/freed/{row.id}/end/", {"reason": "the printer is gone"})
    until(lambda: _screen(screener, STOPPED) == Verdict.BLOCK, "the exception is over")


@pytest.mark.django_db(transaction=True)
def test_one_decision_is_explained_by_the_screener(
    screener: ScreeningClient, client_for: Callable[..., Client]
) -> None:
    assert _screen(screener, "代开正规发票，加薇信 fapiao8899") == Verdict.BLOCK
    hit = traffic.index().search(Query(verdicts=(Verdict.BLOCK,)), 1).hits[0]
    page = client_for("reviewer").get(f"/messages/{hit.id}/").content.decode()
    assert "Offers to issue invoices for others" in page  # the rule's own reason
    assert "What would have to change" in page
    assert "does not answer" not in page


def test_hosts_name_a_link_without_its_path() -> None:
    key = FreeKey("0" * 64, "", ("http://a.example/user/13800000001", "b.example/x", "a.example"), (), None, None)
    assert Freeable(key).hosts == ["a.example", "b.example"]
