"""The main stories of those who look at messages, in a real Chromium over a real `mingbai serve`."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from mingbai.kernel.verdicts import Verdict
from tests.console.browser import Visit, World, eventually, follow, now_text, reach, told
from tests.console.world import PASSWORD

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.needs("chromium")]


def stopped_message(world: World, code: str = "10690001", text: str = "") -> tuple[str, str]:
    """A message like no other that the model or a rule stops; its id and its text."""
    text = text or f"【工行】您的积分即将过期，加薇信 {now_text()} 领取 http://icbc-jf.top/a1"
    (found,) = world.screen([text], sender="106900011234", receiver="+8613800001111", access_code=code)
    return found, text


@told(0)
def test_the_first_sign_in_is_by_a_link_that_works_once(
    world: World, visit: Callable[..., Visit], language: str, device: str
) -> None:
    link = world.links[f"{language}-{device}"]
    page = visit("", language, device).open(link)
    reach(page, "input[name=password]")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector(".avatar")
    again = visit("", language, device)
    answer = again.page.goto(world.url + link)
    assert answer is not None
    assert answer.status == 410
    again.complaints.clear()  # a browser says aloud that a page answered 410
    page = again.open("/accounts/login/")
    reach(page, "input[name=login]")
    page.keyboard.type(f"newcomer-{language}-{device}")
    reach(page, "input[name=password]")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector(".avatar")


@told(1)
def test_a_number_is_searched_a_decision_read_and_unmasked_and_the_auditor_sees_who_looked(
    world: World, visit: Callable[..., Visit], language: str, device: str
) -> None:
    number = f"+86139{now_text()[-8:]}"
    text = f"【工行】您的积分即将过期，加薇信 {now_text()} 领取"
    (message,) = world.screen([text], sender="106900011234", receiver=number, access_code="10690001")
    seen = visit("lead", language, device)
    page = seen.open("/messages/")
    reach(page, "#f-number")
    page.keyboard.type(number)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/messages/\?"))
    assert number not in page.url  # a full number stands in no address, and so in no log
    assert page.locator("tbody .row-link").count() == 1
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/messages/{message}/")
    assert page.locator("p.message mark").count() > 0  # what weighed is marked
    assert "薇信" in page.inner_text("p.message")
    assert "工行" in (page.locator("details p.message").first.text_content() or "")  # as the machine reads it
    assert page.locator("#why").is_visible()
    assert number not in page.content()
    reason = f"complaint {now_text()}"
    page.keyboard.press("e")
    page.wait_for_selector("dialog[open] #u-reason")
    page.keyboard.type(reason)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".notice-warn")
    assert number in page.inner_text("main")
    seen.open(f"/messages/{message}/")
    assert number not in page.content()  # it was shown once
    assert _in_the_entry(visit("auditor", language, device), reason)


def _in_the_entry(seen: Visit, reason: str) -> bool:
    page = seen.open("/audit/?kind=message.unmasked")
    target = page.locator("tbody .row-link").first.get_attribute("href")
    assert target
    return reason in seen.open(target).inner_text("main")


@told(2)
def test_what_was_wrongly_stopped_is_freed_and_only_the_very_same_passes(
    world: World, visit: Callable[..., Visit], language: str, device: str
) -> None:
    message, text = stopped_message(world)
    sent_by = {"sender": "106900011234", "receiver": "+8613800001111", "access_code": "10690001"}
    assert world.verdict(text, **sent_by) == Verdict.BLOCK
    page = visit("lead", language, device).open(f"/messages/{message}/")
    page.keyboard.press("f")
    page.wait_for_selector("dialog[open] #fr-reason")
    page.keyboard.type("a real notice of the bank")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".notice-good")
    eventually(lambda: world.verdict(text, **sent_by) == Verdict.ALLOW, "the same message passes")
    assert world.verdict(text.replace("icbc-jf.top/a1", "icbc-jf.top/a2"), **sent_by) == Verdict.BLOCK
    assert world.verdict(text, **{**sent_by, "sender": "106900019999"}) == Verdict.BLOCK
    page = visit("lead", language, device).open("/messages/freed/")
    assert "a real notice of the bank" in page.inner_text("main")


@told(3)
def test_a_reviewer_decides_by_keys_alone_undoes_and_skips(
    world: World, visit: Callable[..., Visit], language: str, device: str
) -> None:
    texts = [
        f"Hi mum I dropped my phone and lost everything, this is my new number, text me {now_text()}{n}"
        for n in range(9)
    ]
    world.screen(texts, access_code="10690001")
    page = visit("reviewer", language, device).open("/review/")
    eventually(lambda: page.reload() and page.locator("[data-key=Enter]").count(), "something waits")
    press = page.keyboard.press
    press("Enter")
    page.wait_for_selector("#decide")
    leases = [page.input_value("#decide [name=lease]")]

    def next_one() -> None:
        page.wait_for_function(
            "old => document.querySelector('#decide [name=lease]')?.value !== old", arg=leases[-1]
        )  # fmt: skip
        page.wait_for_selector("#decide")
        leases.append(page.input_value("#decide [name=lease]"))

    for key in "54561":
        press(key)
        next_one()
    item = page.input_value("#decide [name=item]")
    press("u")  # the last one comes back
    next_one()
    assert page.input_value("#decide [name=item]") != item
    press("5")
    next_one()
    skipped = page.input_value("#decide [name=item]")
    press("s")
    next_one()
    assert page.input_value("#decide [name=item]") != skipped
    press("q")
    page.wait_for_selector("table, .empty")


@told(4)
def test_a_team_lead_decides_a_campaign_after_a_preview_and_can_undo_it(
    world: World, visit: Callable[..., Visit], language: str, device: str
) -> None:
    texts = [
        f"Hi mum I dropped my phone and lost everything, this is my new number, text me {now_text()}{n}"
        for n in range(4)
    ]
    message = world.screen(texts, access_code="10690002")[-1]  # flagged by a rule
    seen = visit("lead", language, device)
    page = seen.open(f"/messages/{message}/")
    campaign = page.locator("dd a[href^='/campaigns/']").first.get_attribute("href")
    assert campaign
    path = f"/review/campaign/{campaign.strip('/').rpartition('/')[2]}/"

    def waits() -> bool:
        return seen.open(path).locator("a[href*='answer=block.fraud']").count() > 0

    eventually(waits, "the campaign waits at the desk")
    follow(page, "a[href*='answer=block.fraud']")
    page.wait_for_selector("form[data-once] [data-key=y]")
    assert page.locator("dl.facts dd.strong").first.inner_text().isdigit()
    page.keyboard.press("y")
    page.wait_for_url("**/review/team/")
    follow(page, "form[action$='/campaign/undo/'] button")
    assert seen.open(path).locator("a[href*='answer=block.fraud']").count() > 0


@told(5)
def test_partner_and_subscriber_see_only_their_own(
    world: World, visit: Callable[..., Visit], language: str, device: str
) -> None:
    own, _text = stopped_message(world, world.access_code)
    foreign, _text = stopped_message(world, "10650000")
    (received,) = world.screen([f"【工行】您的积分即将过期，加薇信 {now_text()} 领取"], receiver=world.number)
    partner = visit("partner", language, device)
    partner.open(f"/messages/{own}/")
    codes = partner.open("/messages/").locator("td .mono").all_inner_texts()
    assert not [code for code in codes if code.startswith("106") and not code.startswith(world.access_code)]
    subscriber = visit("subscriber", language, device)
    subscriber.open(f"/messages/{received}/")
    for one, message in ((partner, foreign), (partner, received), (subscriber, own)):
        answer = one.page.goto(f"{world.url}/messages/{message}/")
        assert answer is not None
        assert answer.status == 404
        one.complaints.clear()  # a browser says aloud that a page answered 404


@told(0)
def test_a_subscriber_asks_for_an_export_and_fetches_it_once_it_is_answered(
    world: World, visit: Callable[..., Visit], language: str, device: str
) -> None:
    subscriber = visit("subscriber", language, device)
    page = subscriber.open("/my-data/")
    known = page.locator("form[action$='/fetch/'] button").count()
    reach(page, "input[name=kind]")
    page.keyboard.press("ArrowDown")
    assert page.is_checked("input[value=export]")
    note = f"我想要我的数据 {now_text()}"
    reach(page, "#note")
    page.keyboard.type(note)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("tbody tr")
    page = visit("admin", language, device).open("/people/requests/")
    follow(page, "tbody .row-link")
    assert note in page.inner_text("main")
    follow(page, "form:has(input[name=act][value=do]) button")
    page = subscriber.page

    def is_ready() -> bool:
        subscriber.open("/my-data/")
        return page.locator("form[action$='/fetch/'] button").count() > known

    eventually(is_ready, "the file is ready")
    reach(page, "form[action$='/fetch/'] button")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.path().stat().st_size > 100
