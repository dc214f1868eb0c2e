"""Pages of the review desk: its story by forms alone and by htmx, what is shown to whom, and markup in messages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from mingbai.contexts.audit import queries as audit
from mingbai.contexts.messaging.models import ItemState, ReviewItem
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Verdict
from mingbai.settings import ReviewSettings, Settings
from tests.console.api_calls import api_of
from tests.contexts.messaging.review_ledger import Sms, queue

pytestmark = pytest.mark.django_db
Browser = Callable[..., Any]


@pytest.fixture
def mingbai(data_dir: Path) -> Settings:
    found: Settings = django_settings.MINGBAI
    desk = ReviewSettings(second_opinion_percent=0, gold_percent=0)
    return found.model_copy(update={"review": desk})


def form_of(html: str) -> dict[str, str]:
    """Item and lease of the desk."""
    item = re.search(r'name="item" value="(\d+)"', html)
    lease = re.search(r'name="lease" value="([0-9a-f-]{36})"', html)
    assert item and lease, html
    return {"item": item[1], "lease": lease[1]}


def test_a_day_at_the_desk_without_scripts(mingbai: Settings, client_for: Browser) -> None:
    queue(mingbai, [Sms("first <b>&amp;"), Sms("second")], now=utc_now())
    browser = client_for("reviewer")
    page = browser.get("/review/").content.decode()
    assert "2" in page and "Begin" in page
    assert not ReviewItem.objects.filter(state=ItemState.TAKEN).exists(), "a look takes nothing"
    taken = browser.post("/review/take/", follow=True).content.decode()
    form = form_of(taken)
    text = "first <b>&amp;" if "first" in taken.replace("&lt;", "<") and "rst" in taken else "second"
    answered = browser.post("/review/decide/", {**form, "answer": "block.fraud"}, follow=True)
    assert answered.status_code == 200 and form_of(answered.content.decode())["item"] != form["item"], text
    undone = browser.post("/review/undo/", follow=True).content.decode()
    assert form_of(undone)["item"] == form["item"]


def test_htmx_gets_the_next_message_in_the_same_answer(mingbai: Settings, client_for: Browser) -> None:
    queue(mingbai, [Sms("one"), Sms("two")], now=utc_now())
    browser = client_for("reviewer")
    htmx = {"hx-request": "true"}
    first = form_of(browser.post("/review/take/", headers=htmx).content.decode())
    answer = browser.post("/review/decide/", {**first, "answer": "block.fraud"}, headers=htmx)
    html = answer.content.decode()
    assert "<html" not in html and form_of(html)["item"] != first["item"]
    again = browser.post("/review/decide/", {**first, "answer": "block.fraud"}, headers=htmx)
    assert form_of(again.content.decode()) == form_of(html), "the same request again changes nothing"
    assert browser.post("/review/keep/", form_of(html), headers=htmx).status_code == 204


def test_markup_in_a_message_stays_text(mingbai: Settings, client_for: Browser) -> None:
    queue(mingbai, [Sms("<script>alert(1)</script><img src=x onerror=y>")], now=utc_now())
    html = client_for("reviewer").post("/review/take/", headers={"hx-request": "true"}).content.decode()
    assert "<img" not in html and "alert(1)" in html
    assert "<script" not in html.replace("&lt;script", "")


def test_numbers_are_masked_at_the_desk(mingbai: Settings, client_for: Browser) -> None:
    queue(mingbai, [Sms("m", receiver="+8613812345678")], now=utc_now())
    html = client_for("reviewer").post("/review/take/", headers={"hx-request": "true"}).content.decode()
    assert "13812345678" not in html and "+86138" in html


def test_a_lost_lease_says_so_and_goes_on(mingbai: Settings, client_for: Browser) -> None:
    queue(mingbai, [Sms("one"), Sms("two")], now=utc_now())
    browser, lead = client_for("reviewer"), client_for("team_lead")
    htmx = {"hx-request": "true"}
    held = form_of(browser.post("/review/take/", headers=htmx).content.decode())
    assert lead.post("/review/team/return/", {"item": held["item"]}).status_code == 302
    late = browser.post("/review/decide/", {**held, "answer": "block.fraud"}, headers=htmx)
    assert late.status_code == 200 and "Your answer was not recorded" in late.content.decode()
    assert not audit.entries(kinds=["message.refused"]).exists()


def test_who_signs_out_gives_back_what_they_hold(mingbai: Settings, client_for: Browser) -> None:
    queue(mingbai, [Sms("one")], now=utc_now())
    browser = client_for("reviewer")
    browser.post("/review/take/")
    assert ReviewItem.objects.filter(state=ItemState.TAKEN).count() == 1
    browser.post("/accounts/logout/")
    assert ReviewItem.objects.filter(state=ItemState.WAITING).count() == 1


def test_the_team_page_and_its_actions_are_the_leads(mingbai: Settings, client_for: Browser) -> None:
    queue(mingbai, [Sms("one", campaign=0xABC), Sms("two", Verdict.FLAG, campaign=0xABC)], now=utc_now())
    lead, auditor, reviewer = client_for("team_lead"), client_for("auditor"), client_for("reviewer")
    reviewer.post("/review/take/")
    assert lead.get("/review/team/").status_code == 200
    assert auditor.get("/review/team/").status_code == 200
    assert reviewer.get("/review/team/").status_code == 403
    for path in ("return", "reassign", "settle", "gold", "gold/retire", "campaign/undo"):
        assert auditor.post(f"/review/team/{path}/").status_code == 403, path
        assert lead.post(f"/review/team/{path}/").status_code == 400, "what is missing is named"
    item = ReviewItem.objects.get(state=ItemState.TAKEN)
    given = lead.post("/review/team/reassign/", {"item": item.pk, "to": lead.account.username})
    assert given.status_code == 302
    assert ReviewItem.objects.get(pk=item.pk).holder == lead.account


def test_a_campaign_is_previewed_before_it_is_decided(mingbai: Settings, client_for: Browser) -> None:
    queue(mingbai, [Sms(f"v{n}", campaign=0xABC) for n in range(3)], now=utc_now())
    lead = client_for("team_lead")
    where = f"/review/campaign/{0xABC:016x}/"
    assert 'name="token"' not in lead.get(where).content.decode(), "first the answer, then its preview"
    page = lead.get(f"{where}?answer=block.fraud").content.decode()
    token = re.search(r'name="token" value="([^"]+)"', page)
    assert token is not None
    assert lead.post(where, {"token": token[1] + "x"}).status_code == 302
    assert ReviewItem.objects.filter(state=ItemState.DONE).count() == 0
    lead.post(where, {"token": token[1]})
    assert ReviewItem.objects.filter(state=ItemState.DONE).count() == 3
    assert lead.get("/review/campaign/xyz/").status_code == 404
    assert client_for("reviewer").get(where).status_code == 403
    assert "Undo" in lead.get("/review/team/").content.decode()


def test_the_desk_speaks_chinese(mingbai: Settings, client_for: Browser) -> None:
    queue(mingbai, [Sms("中奖了")], now=utc_now())
    browser = client_for("reviewer")
    html = browser.get("/review/", headers={"accept-language": "zh-CN"}).content.decode()
    assert "审核" in html


def test_what_a_token_does_at_the_desk_names_the_token(mingbai: Settings, account: Callable[..., Any]) -> None:
    campaign = 0xABCDEF
    queue(mingbai, [Sms(f"m {n}", campaign=campaign if n > 3 else 0) for n in range(6)], now=utc_now())
    reviewer, lead = account("reviewer"), account("team_lead")
    api, of_lead = api_of(reviewer), api_of(lead)

    def call(who: Any, method: str, path: str, given: object = None, expected: int = 200) -> Any:
        answer = who(method, path, {} if given is None else given)
        assert answer.status_code == expected, answer.content
        return json.loads(answer.content) if answer.content else None

    def take(who: Any) -> Any:
        return call(who, "POST", "review/take")["item"]

    says = {"verdict": "block", "category": "fraud"}
    item = take(api)
    call(api, "POST", f"review/items/{item['id']}/skip", {"lease": item["lease"]}, 204)
    item = take(api)
    call(api, "POST", f"review/items/{item['id']}/decide", {"lease": item["lease"], "ask_second": True, **says})
    call(api, "POST", "review/undo")
    item = take(api)
    call(api, "POST", f"review/items/{item['id']}/decide", {"lease": item["lease"], "ask_second": True, **says})
    take(api)
    call(api, "POST", "review/leave", None, 204)
    waiting = ReviewItem.objects.filter(state=ItemState.WAITING, campaign="").exclude(kind="second").first()
    assert waiting is not None
    call(of_lead, "POST", f"review/items/{waiting.pk}/reassign", {"to": lead.username}, 204)
    mine = take(of_lead)
    call(of_lead, "POST", f"review/items/{mine['id']}/return", None, 204)
    second = ReviewItem.objects.get(kind="second")
    call(of_lead, "POST", f"review/items/{second.pk}/reassign", {"to": lead.username}, 204)
    mine = take(of_lead)
    other = {"lease": mine["lease"], "verdict": "allow", "category": "notification"}
    call(of_lead, "POST", f"review/items/{mine['id']}/decide", other)
    (open_one,) = call(of_lead, "GET", "review/disagreements")["items"]
    call(of_lead, "POST", f"review/disagreements/{open_one['decision']}/settle", {**says, "note": "It is fraud."})
    gold = call(of_lead, "POST", "review/gold", {"message": item["message"], **says}, 201)
    call(of_lead, "DELETE", f"review/gold/{gold['id']}", None, 204)
    preview = call(of_lead, "POST", f"campaigns/{campaign:016x}/preview", says)
    whole = call(of_lead, "POST", "campaign-decisions", {"token": preview["token"]})
    call(of_lead, "POST", f"campaign-decisions/{whole['id']}/undo")

    did = [entry for entry in audit.entries() if entry.kind.split(".")[0] in _DESK]
    assert {entry.kind for entry in did} >= {
        "review.skipped", "review.undone", "message.refused", "message.reviewed", "lease.returned", "lease.reassigned",
        "gold.made", "gold.retired", "campaign.decided", "campaign.undone", "messages.refused", "messages.held",
    }  # fmt: skip
    assert {entry.kind for entry in did if not entry.actor.startswith("token:")} == set()


_DESK = ("review", "message", "messages", "lease", "gold", "campaign")
