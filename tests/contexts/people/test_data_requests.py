"""Requests about own data: everything that is held, in time; erasure that reaches every reader; what remains."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from django.conf import settings

from mingbai.connectors.ledger_access import open_keys, open_ledger
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.people.jobs import serve_data_requests
from mingbai.contexts.people.models import Account, DataRequest
from mingbai.contexts.people.services import accounts, data_requests, tokens
from mingbai.contexts.people.services.data_requests import Holder, RequestClosed
from mingbai.contexts.people.services.roles import OwnRights
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.ledger import Kept, StreamReader, read_withheld, verify

pytestmark = pytest.mark.django_db
Make = Callable[..., Account]
NUMBER = "+8613800001111"


@pytest.fixture
def traffic(data_dir: Path) -> None:
    """Five messages to the subscriber, one from them, and some of other people's."""
    rows = [
        *((1, f"第{n}条: 您的包裹已到", "10690001", NUMBER) for n in range(5)),
        (4, "=cmd|' /C calc'!A0", NUMBER, "+8613800002222"),
        (1, "与他无关", "10690001", "+8613800003333"),
    ]
    batch = pa.record_batch(
        {
            "verdict": pa.array([row[0] - 1 if row[0] == 4 else 0 for row in rows], pa.uint8()),
            "category": pa.array([0] * len(rows), pa.uint8()),
            "score": pa.array([0.25] * len(rows), pa.float32()),
            "text": [row[1] for row in rows],
            "sender": [row[2] for row in rows],
            "receiver": [row[3] for row in rows],
        }
    )
    now = utc_now()
    with open_ledger(settings.MINGBAI, now=now, stream="api") as ledger:
        ledger.record(batch, now=now)


@pytest.fixture
def subscriber(account: Make) -> Account:
    return account("subscriber", number=NUMBER, username="zhang", name="张三")


def ask(who: Account, kind: str = "export") -> DataRequest:
    return data_requests.ask(who, kind, now=utc_now(), due_days=15)


def answered(request: DataRequest, by: Account) -> zipfile.ZipFile:
    data_requests.answer(request, settings.MINGBAI, actor=by.ref, now=utc_now())
    return zipfile.ZipFile(io.BytesIO(data_requests.fetch(request, actor=request.account.ref, now=utc_now())))


def test_an_export_holds_everything_about_the_number_and_nothing_about_others(
    traffic: None, subscriber: Account, account: Make
) -> None:
    archive = answered(ask(subscriber), account("administrator"))
    messages = json.loads(archive.read("messages.json"))
    assert len(messages) == 6
    assert {row["direction"] for row in messages} == {"received", "sent"}
    assert "与他无关" not in archive.read("messages.json").decode()
    assert sum(row["text"] == "第3条: 您的包裹已到" for row in messages) == 1
    assert json.loads(archive.read("account.json"))["name"] == "张三"
    rows = list(csv.DictReader(io.StringIO(archive.read("messages.csv").decode("utf-8-sig"))))
    assert len(rows) == 6
    assert any(row["text"].startswith("'=cmd") for row in rows)
    kinds = [entry.kind for entry in audit.entries(subject=subscriber.ref, kinds=["data_request."])]
    assert kinds == ["data_request.fetched", "data_request.answered", "data_request.opened"]


def test_one_open_request_of_a_kind_is_enough(subscriber: Account) -> None:
    assert ask(subscriber) == ask(subscriber)
    assert ask(subscriber, "access") != ask(subscriber)


def test_an_unknown_kind_is_refused(subscriber: Account) -> None:
    with pytest.raises(BadValue, match="access, export, erasure"):
        ask(subscriber, "everything")


def test_erasure_empties_the_account_and_withholds_what_the_law_keeps(
    traffic: None, subscriber: Account, account: Make, data_dir: Path
) -> None:
    administrator = account("administrator")
    secret = accounts.invite(subscriber, actor=administrator.ref, now=utc_now())
    tokenless = audit.head()[0]
    request = ask(subscriber, "erasure")
    data_requests.answer(request, settings.MINGBAI, actor=administrator.ref, now=utc_now())
    subscriber.refresh_from_db()
    assert (subscriber.name, subscriber.number, subscriber.email) == ("", "", "")
    assert subscriber.username.startswith("erased-")
    assert not subscriber.is_active and not subscriber.assignments.exists()
    with pytest.raises(accounts.InvitationInvalid):
        accounts.invited(secret, now=utc_now())
    keys = open_keys(settings.MINGBAI)
    rows = [
        row
        for _, batch in StreamReader(data_dir, "api", keys).entries_with_originals()
        for row in batch.to_pylist()
        if row["text_kept"] != Kept.NEVER_KEPT
    ]
    assert sum(row["text_kept"] == Kept.WITHHELD for row in rows) == 6
    assert [row["text"] for row in rows if row["text"]] == ["与他无关"]
    assert verify(data_dir).ok
    (entry,) = audit.entries(kinds=["data_request.erased"])
    assert entry.seq > tokenless
    assert entry.data["withheld_until"]
    assert audit.verify().ok
    later = utc_now() + timedelta(days=settings.MINGBAI.ledger.numbers_days + 3)
    serve_data_requests(settings.MINGBAI, later)
    assert read_withheld(data_dir) == []


def test_an_erased_account_stays_erased(subscriber: Account, account: Make, data_dir: Path) -> None:
    by = account("administrator").ref
    data_requests.answer(ask(subscriber, "erasure"), settings.MINGBAI, actor=by, now=utc_now())
    accounts.reactivate(subscriber, actor=by, now=utc_now())
    assert not Account.objects.get(pk=subscriber.pk).is_active
    account("subscriber", number=NUMBER)  # the number is free for a new account


def test_what_other_contexts_hold_is_part_of_it(
    subscriber: Account, account: Make, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    erased: list[Account] = []
    monkeypatch.setattr(data_requests, "_holders", {})

    def erase(who: Account, now: datetime) -> int:
        erased.append(who)
        return 3

    data_requests.register(Holder("appeals", lambda who: [{"of": who.username}], erase))
    by = account("administrator")
    assert json.loads(answered(ask(subscriber), by).read("appeals.json")) == [{"of": "zhang"}]
    data_requests.answer(ask(subscriber, "erasure"), settings.MINGBAI, actor=by.ref, now=utc_now())
    assert erased == [subscriber]
    (entry,) = audit.entries(kinds=["data_request.erased"])
    assert entry.data["erased"]["appeals"] == 3


def test_a_request_is_answered_once(subscriber: Account, account: Make, data_dir: Path) -> None:
    by, request = account("administrator").ref, ask(subscriber)
    data_requests.refuse(request, reason="We do not know you.", actor=by, now=utc_now())
    with pytest.raises(RequestClosed):
        data_requests.answer(request, settings.MINGBAI, actor=by, now=utc_now())
    with pytest.raises(BadValue):
        data_requests.refuse(ask(subscriber), reason=" no ", actor=by, now=utc_now())


def test_nobody_answers_their_own_request(subscriber: Account, data_dir: Path) -> None:
    with pytest.raises(OwnRights):
        data_requests.answer(ask(subscriber), settings.MINGBAI, actor=subscriber.ref, now=utc_now())


def test_due_dates_are_reminded_of_and_escalated_once(subscriber: Account) -> None:
    request = ask(subscriber)
    for days, kinds in (
        (1, []),
        (13, ["due_soon"]),
        (14, ["due_soon"]),
        (16, ["overdue", "due_soon"]),
        (17, ["overdue", "due_soon"]),
    ):
        data_requests.watch_due_dates(now=request.created_at + timedelta(days=days))
        found = [entry.kind for entry in audit.entries(kinds=["data_request."]) if entry.actor.startswith("job:")]
        assert found == [f"data_request.{kind}" for kind in kinds], days


def test_an_answer_that_nobody_fetches_is_forgotten(subscriber: Account, account: Make, data_dir: Path) -> None:
    request = ask(subscriber)
    answered(request, account("administrator"))
    later = utc_now() + timedelta(days=data_requests.RESULT_DAYS, minutes=1)
    with pytest.raises(BadValue):
        data_requests.fetch(request, actor=subscriber.ref, now=later)
    assert data_requests.forget_results(now=later) == 1
    request.refresh_from_db()
    assert (request.state, request.result) == ("done", None)
    assert ask(subscriber).pk != request.pk


def test_a_tokens_limits(account: Make) -> None:
    who, now = account("auditor"), utc_now()
    cases: tuple[dict[str, Any], ...] = (  # Any: wrong on purpose
        {"scopes": ["manage_people"]}, {"scopes": []}, {"expires_at": now}, {"expires_at": now + timedelta(days=400)},
        {"name": " "}, {"rate_per_minute": 0},
    )  # fmt: skip
    for wrong in cases:
        given: dict[str, Any] = {"name": "n", "scopes": ["see_audit"], "expires_at": now + timedelta(days=1), **wrong}
        with pytest.raises(BadValue) as error:
            tokens.create_token(who, actor=who.ref, now=now, **given)
        assert error.value.data["field"] in wrong
    assert not who.tokens.exists()
