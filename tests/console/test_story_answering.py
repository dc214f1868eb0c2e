"""The main stories of those who answer for rules, models, people and the record, in a real Chromium."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from mingbai.kernel.verdicts import Verdict
from tests.console.browser import Visit, World, choose, eventually, follow, now_text, reach, told
from tests.console.world import PASSWORD

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.needs("chromium")]


@told(0)
def test_a_rule_is_written_tried_replayed_approved_by_another_in_force_and_rolled_back(
    world: World, visit: Callable[..., Visit], language: str, device: str
) -> None:
    word = f"暗号{now_text()}"
    author = visit("author", language, device)
    page = author.open("/rulebook/")
    press, write = page.keyboard.press, page.keyboard.type
    press("n")
    page.wait_for_selector(".codebox.is-painted")
    draft = urlsplit(page.url).path
    reach(page, "#code")
    press("Control+End")
    write(f'\n[[rule]]\nid = "fraud.story-{now_text()}"\ncateg')
    page.wait_for_selector("#code-proposals li")
    press("Enter")  # the proposal completes the field and offers its values
    write("frau")
    press("Enter")
    press("End")
    write('\naction = "delete"\n')
    page.wait_for_selector(".problem")  # said at its line, while one writes
    page.wait_for_selector(".codebox-gutter .is-bad")
    press("ArrowUp")
    press("End")
    press("Shift+Home")
    write(f'action = "block"\nowner = "author"\nreason = "a story"\nkeywords = ["{word}"]')
    page.wait_for_function("() => document.querySelectorAll('.problem').length === 0")

    press("Escape")  # no proposal that Tab would take
    reach(page, "#comment")
    write("a story about a code word")
    reach(page, "#messages")
    write(f"明天见，{word}\n明天见")
    reach(page, "button[formaction$='/try/']")
    press("Enter")
    page.wait_for_selector("#tried table, #tried .verdict, #tried li")
    assert word in page.inner_text("#tried")

    reach(page, "button[formaction$='/replay/']")
    press("Enter")
    page.wait_for_url(re.compile("/rulebook/replays/"))
    page.wait_for_selector(".tabs .count", timeout=60_000)
    assert page.locator(".answer-value").inner_text().isdigit()

    page = author.open(draft)
    page.wait_for_selector(".codebox.is-painted")
    follow(page, "button[formaction$='/submit/']")
    page.wait_for_selector("pre.code")  # it can be read, not written any more
    assert world.verdict(f"后天见，{word}") == Verdict.ALLOW
    assert author.page.locator("[data-key=a]").count() == 0  # who wrote it does not approve it

    before = world.client.status()["policy"]["rulebook"]
    page = visit("approver", language, device).open(draft)
    page.keyboard.press("a")
    page.wait_for_function("() => !document.querySelector('form[action$=\"/approve/\"]')")
    policy = eventually(lambda: _another_rulebook(world, before), "the screener decides by the new rulebook")
    took = datetime.fromisoformat(policy["in_force_since"]) - datetime.fromisoformat(policy["published_at"])
    sys.stdout.write(f"in force {took.total_seconds():.3f} s after it was approved\n")  # to read, not asserted
    assert world.verdict(f"大后天见，{word}") == Verdict.BLOCK
    page.goto(world.url + "/rulebook/")
    follow(page, "form[action$='/roll-back/'] button")
    eventually(lambda: _another_rulebook(world, policy["rulebook"]), "the screener decides by the one before")
    assert world.client.status()["policy"]["rulebook"] == before
    assert world.verdict(f"再见，{word}") == Verdict.ALLOW


def _another_rulebook(world: World, than: str) -> dict[str, Any] | None:  # Any: what the screener says of its policy
    policy: dict[str, Any] = world.client.status()["policy"]
    return policy if policy["rulebook"] != than else None


@told(1)
def test_a_model_decides_in_the_shadow_and_is_taken_out_again(
    world: World, visit: Callable[..., Visit], language: str, device: str
) -> None:
    seen = visit("author", language, device)
    page = seen.open("/model/")
    assert page.locator(".tile").count() >= 4
    seen.open(f"/model/{world.candidate}/")
    follow(page, "form[action='/model/shadow/'] button")
    shadow = f"section a[href='/model/{world.candidate}/']"
    eventually(lambda: seen.open("/model/").locator(shadow).count() > 1, "it runs in the shadow")
    eventually(lambda: world.client.status()["policy"]["shadow_model"] == world.candidate, "the screener runs it")
    follow(page, "form[action='/model/shadow/'] button")
    eventually(lambda: world.client.status()["policy"]["shadow_model"] is None, "the screener has let it go")


@told(2)
def test_an_account_is_made_given_a_role_and_comes_in_by_its_link(
    world: World, visit: Callable[..., Visit], language: str, device: str
) -> None:
    username = f"zheng{now_text()}"
    page = visit("admin", language, device).open("/people/")
    press, write = page.keyboard.press, page.keyboard.type
    press("n")
    page.wait_for_url("**/people/new/")
    reach(page, "[name=username]")
    write(username)
    reach(page, "[name=name]")
    write("郑凯")
    if page.locator("select[name=role]").count():
        choose(page, "select[name=role]", "reviewer")
    press("Control+Enter")
    page.wait_for_selector("text=/welcome/")
    found = re.search(r"https?://\S+/welcome/[\w-]+/", page.inner_text("main"))
    assert found
    follow(page, ".card-foot a.btn-primary")
    choose(page, "#give-role", "reviewer")
    follow(page, "form:has(#give-role) button")
    page.wait_for_selector("form[action$='/do/remove/']")

    newcomer = visit("", language, device)
    page = newcomer.open(urlsplit(found.group()).path)
    reach(page, "input[type=password]")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector(".avatar")
    newcomer.open("/review/")
    answer = page.goto(world.url + "/people/new/")
    assert answer is not None
    assert answer.status == 403
    newcomer.complaints.clear()  # a browser says aloud that a page answered 403


@told(3)
def test_an_auditor_filters_the_record_and_verifies_it(
    world: World, visit: Callable[..., Visit], language: str, device: str
) -> None:
    page = visit("auditor", language, device).open("/audit/")
    everything = page.locator("tbody tr").count()
    reach(page, "#kind")
    page.keyboard.type("account.invited")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "kind=account.invited" in url)
    kinds = page.locator("tbody td.mono").all_inner_texts()
    assert kinds
    assert {kind.strip() for kind in kinds} == {"account.invited"}
    assert len(kinds) < everything
    page.keyboard.press("v")
    page.wait_for_url("**/audit/verify/")
    assert page.locator(".notice-good").is_visible()
