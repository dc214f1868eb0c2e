"""What somebody who means harm would try first: forged requests, markup, statements, ways out, taken sessions."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client, override_settings

from mingbai.contexts.audit import queries as audit
from mingbai.contexts.people.services import accounts, units
from mingbai.kernel.clock import utc_now
from tests.conftest import LOOPS, PASSWORD
from tests.console.browser import Visit, World, eventually, now_text
from tests.console.world import HOSTILE
from tests.contexts.messaging.review_ledger import Sms, write
from tests.contexts.people.test_matrix import OURS

if TYPE_CHECKING:
    from mingbai.contexts.people.models import Account

EVERY_ROLE = (
    "administrator", "rule_author", "rule_approver", "reviewer", "team_lead", "auditor", "regulator",
)  # fmt: skip
ELSEWHERE = ("https://evil.example/", "//evil.example/", r"\\evil.example", "javascript:alert(1)", "https:evil.example")
STATEMENTS = (
    "' OR '1'='1", "'; DROP TABLE people_account; --", '" OR ""="', "1) UNION SELECT NULL--", "%' AND 1=0 --",
    "\x00", "\ud800", "9" * 400, "-1", "1e999", "NaN", "../../etc/passwd", "${7*7}{{7*7}}", "[]", "2026-99-99",
)  # fmt: skip


@pytest.fixture
def everybody(account: Callable[..., Account]) -> Account:
    """One person with every role of the operator, so that no right stands in the way of what is tried."""
    who = account("administrator", username="everybody")
    for role in EVERY_ROLE[1:]:
        accounts.assign_role(who, role, actor="system", now=utc_now())
    return who


def signed_in(who: Account, **options: Any) -> Client:  # Any: what a client of Django takes
    client = Client(headers={"accept-language": "en"}, **options)
    client.raise_request_exception = False
    client.force_login(who)
    return client


@pytest.mark.django_db
def test_no_change_without_the_form_s_own_token(everybody: Account, data_dir: Path) -> None:
    client = signed_in(everybody, enforce_csrf_checks=True)
    before = audit.entries().count()
    answers = {url: client.post(url).status_code for url, _view in OURS}
    assert {url: status for url, status in answers.items() if status not in (403, 404, 405)} == {}
    assert sum(status == 403 for status in answers.values()) > 60
    assert audit.entries().count() == before


@pytest.mark.django_db
@pytest.mark.parametrize("target", ELSEWHERE)
def test_no_way_out_by_next(everybody: Account, target: str) -> None:
    client = signed_in(everybody)
    answers = [
        client.post("/language/", {"language": "en", "next": target}),
        client.post("/theme/", {"theme": "dark", "next": target}),
        client.post("/accounts/logout/", {"next": target}),
        Client().post("/accounts/login/", {"login": "everybody", "password": PASSWORD, "next": target}),
        client.get("/accounts/login/", {"next": target}),
    ]
    for answer in answers:
        assert answer.status_code in (200, 302, 400)
        assert re.match(r"/($|[a-z0-9])", answer.headers.get("Location", "/"))


@pytest.mark.django_db
def test_signing_in_takes_a_new_session_and_signing_out_ends_it(account: Callable[..., Account]) -> None:
    account("reviewer", username="zhang")
    client = Client()
    client.get("/accounts/login/")
    planted = "a" * 32
    client.cookies[settings.SESSION_COOKIE_NAME] = planted
    answer = client.post("/accounts/login/", {"login": "zhang", "password": PASSWORD})
    assert answer.status_code == 302
    taken = answer.cookies[settings.SESSION_COOKIE_NAME]
    assert taken.value not in (planted, "")
    assert taken["httponly"]
    assert taken["samesite"] == "Lax"
    assert client.get("/review/").status_code == 200
    client.post("/accounts/logout/")
    late = Client()
    late.cookies[settings.SESSION_COOKIE_NAME] = taken.value
    assert late.get("/review/").status_code == 302


@pytest.mark.django_db
def test_each_cookie_stays_on_this_site_and_behind_tls_is_sent_nowhere_else(everybody: Account) -> None:
    client = signed_in(everybody)
    client.post("/language/", {"language": "zh-hans"}, secure=True)
    client.post("/theme/", {"theme": "dark"}, secure=True)
    with override_settings(CSRF_COOKIE_SECURE=True):
        client.get("/me/", secure=True)
    names = {"mingbai_language", "mingbai_theme", settings.CSRF_COOKIE_NAME}
    assert names <= set(client.cookies)
    for name in names:
        assert client.cookies[name]["samesite"] == "Lax"
        assert client.cookies[name]["secure"]
    assert settings.SESSION_COOKIE_SECURE is settings.CSRF_COOKIE_SECURE is settings.MINGBAI.console.behind_tls


@pytest.mark.django_db
def test_every_page_forbids_frames_inline_code_other_origins_and_caching(everybody: Account, data_dir: Path) -> None:
    client = signed_in(everybody)
    for url, _view in OURS:
        if "3rdparty" in url:
            continue
        headers = client.get(url).headers
        rules = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert rules["frame-ancestors"] == "'none'", url
        assert rules["default-src"] == "'none'", url
        assert "unsafe" not in headers["Content-Security-Policy"], url
        assert headers["X-Frame-Options"] == "DENY", url
        assert headers["X-Content-Type-Options"] == "nosniff", url
        assert "no-store" in headers["Cache-Control"], url


@pytest.mark.django_db
def test_another_host_s_name_is_refused() -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost:80@evil.example", "evil.example:80#localhost"):
        assert Client().get("/accounts/login/", headers={"host": host}).status_code == 400
    forwarded = Client().get("/accounts/login/", headers={"host": "localhost", "x-forwarded-host": "evil.example"})
    assert "evil.example" not in forwarded.content.decode()


@pytest.mark.parametrize(
    "path",
    ["../settings.py", "..%2fsettings.py", "%2e%2e/%2e%2e/settings.py", "console/../../settings.py", "/etc/passwd",
     "//etc/passwd", "..\\settings.py", "console/%00", "console", ""],
)  # fmt: skip
def test_static_files_are_those_and_no_others(path: str) -> None:
    client = Client()
    client.raise_request_exception = False
    answer = client.get(f"/static/{path}")
    assert answer.status_code in (400, 404)
    assert b"SECRET_KEY" not in answer.content
    assert b"root:" not in answer.content


@pytest.mark.slow
@pytest.mark.django_db
def test_statements_in_any_search_find_nothing_and_change_nothing(everybody: Account, data_dir: Path) -> None:
    write(data_dir, [Sms("转账 '; DROP TABLE people_account; --")], now=utc_now())
    client = signed_in(everybody)
    client.get("/rulebook/")  # its first version is made at the first look
    before = _changes()
    pages = {
        "/messages/": ("q", "verdict", "category", "campaign", "rule", "access_code", "since", "until", "min_score",
                       "max_score", "sender", "receiver", "text_hash", "words", "period", "cursor", "before", "n"),
        "/messages/freed/": ("all", "cursor", "page"),
        "/campaigns/": ("q", "period", "span", "sort", "category", "cursor"),
        "/overview/": ("span",),
        "/review/team/": ("days",),
        "/rulebook/": ("days",),
        "/rulebook/rules/": ("q", "category", "action", "days", "sort", "state"),
        "/rulebook/history/": ("page", "cursor", "before"),
        "/people/": ("q", "role", "unit", "team", "state", "cursor", "after"),
        "/people/requests/": ("state", "cursor"),
        "/audit/": ("area", "kind", "actor", "subject", "since", "until", "cursor", "before", "after"),
    }  # fmt: skip
    wrong = []
    for page, names in pages.items():
        for name in names:
            for value in STATEMENTS[:: 1 if LOOPS >= 1 else 3]:
                status = client.get(page, {name: value.encode("utf-8", "surrogatepass")}).status_code
                if status >= 500:
                    wrong.append(f"{page}?{name}={value[:30]!r}: {status}")
    for value in STATEMENTS:
        sent = {name: value.encode("utf-8", "surrogatepass") for name in ("number", "words", "rule", "campaign")}
        status = client.post("/messages/find/", sent).status_code
        if status >= 500:
            wrong.append(f"/messages/find/ {value[:30]!r}: {status}")
    assert wrong == []
    assert _changes() == before
    assert client.get("/people/").status_code == 200


def _changes() -> list[str]:
    """Kinds of entries in the control stream, but for those that say that somebody searched."""
    return list(audit.entries().exclude(kind="messages.searched").values_list("kind", flat=True))


@pytest.mark.django_db
def test_an_export_is_a_file_to_keep_and_no_page(everybody: Account, data_dir: Path) -> None:
    write(data_dir, [Sms(HOSTILE)], now=utc_now())
    units.create_unit("south", kind="branch", name=HOSTILE, actor="system", now=utc_now())
    client = signed_in(everybody)
    exports = [
        ("/messages/export/", {"format": "csv"}, "text/csv"),
        ("/messages/export/", {"format": "jsonl"}, "application/"),
        ("/audit/export.csv", {}, "text/csv"),
        ("/audit/evidence.json", {}, "application/json"),
    ]
    for url, fields, kind in exports:
        answer = client.post(url, fields)
        assert answer.status_code == 200, url
        assert "<script>" in answer.getvalue().decode(), url
        assert answer.headers["Content-Type"].startswith(kind), url
        assert answer.headers["Content-Disposition"].startswith("attachment"), url
        assert answer.headers["X-Content-Type-Options"] == "nosniff", url


@pytest.mark.django_db
def test_an_export_never_begins_a_cell_with_a_formula(everybody: Account, data_dir: Path) -> None:
    formula = '=HYPERLINK("http://evil.example","see")'
    write(data_dir, [Sms(formula), Sms("+1+1"), Sms("-2"), Sms("@SUM(1)"), Sms("\t=1")], now=utc_now())
    units.create_unit("south", kind="branch", name=formula, actor="system", now=utc_now())
    client = signed_in(everybody)
    for url, fields in (("/audit/export.csv", {}), ("/messages/export/", {"format": "csv"})):
        answer = client.post(url, fields)
        assert answer.status_code == 200, url
        content = answer.getvalue()
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
        assert len(rows) > 3, url
        for cell in (cell for row in rows for cell in row):
            assert not re.match(r"[=+@\t\r]|-(?!\d+(\.\d+)?$)", cell), (url, cell)


# ---------------------------------------------------------------------------------------------------- in a real browser


def hit(seen: Visit, path: str) -> str:
    """Open the page and find none of the markup at work in it; its source."""
    found = seen.open(path)
    found.wait_for_load_state()
    assert found.evaluate("window.hit === undefined"), path
    assert found.locator("img[src=x], svg[onload], script:not([src]):not([type='application/json'])").count() == 0
    return found.content()


@pytest.mark.slow
@pytest.mark.needs("chromium")
def test_markup_in_messages_names_searches_and_rules_stays_text(world: World, visit: Callable[..., Visit]) -> None:
    text = f"{HOSTILE} 代开发票，加微信 fp88997"
    (message,) = world.screen([text], sender="106900011234", receiver=world.number, access_code=world.access_code)
    held = [f"{HOSTILE} 请将资金转入安全账户配合调查 {n}" for n in range(3)]
    world.screen(held, sender="106900011234", receiver=world.number, access_code=world.access_code)
    lead = visit("lead")
    page = lead.open("/messages/")
    page.locator("summary:has(+ .menu-panel [data-open-dialog=save-search])").click()
    page.click("[data-open-dialog=save-search]")
    page.fill("#s-name", HOSTILE[:80])
    page.press("#s-name", "Enter")
    page.wait_for_load_state()

    for path in ("/overview/", "/messages/", f"/messages/{message}/", f"/messages/{message}/free/", "/campaigns/"):
        hit(lead, path)
    assert "&lt;img src=x" in hit(lead, f"/messages/{message}/")
    hit(lead, "/messages/")
    assert HOSTILE[:80] in (lead.page.locator("#manage-searches").text_content() or "")
    hit(lead, "/messages/?q=" + "%3Cscript%3Ewindow.hit%3D1%3C%2Fscript%3E")
    hit(lead, "/people/?q=" + "%22%3E%3Cscript%3Ewindow.hit%3D1%3C%2Fscript%3E")
    hit(visit("partner"), f"/messages/{message}/")
    hit(visit("subscriber"), f"/messages/{message}/")
    assert "&lt;img src=x" in hit(visit("admin"), "/people/")
    auditor = visit("auditor")
    hit(auditor, "/audit/")
    desk = visit("hostile")
    eventually(lambda: desk.open("/review/").locator("[data-key=Enter]").count(), "something waits")
    for key in ("Enter", "s", "s"):
        desk.page.keyboard.press(key)
        desk.page.wait_for_timeout(500)
        assert desk.page.evaluate("window.hit === undefined")
        assert desk.page.locator("img[src=x], svg[onload]").count() == 0
    desk.page.keyboard.press("q")
    author = visit("author")
    page = author.open("/rulebook/")
    page.keyboard.press("n")
    page.wait_for_selector(".codebox.is-painted")
    page.focus("#code")
    page.keyboard.press("Control+End")
    page.keyboard.insert_text(f"\n[[rule]]\nid = '''{HOSTILE}'''\nowner = '''{HOSTILE}'''\n")
    page.wait_for_selector(".problem")
    assert page.evaluate("window.hit === undefined")
    assert page.locator("img[src=x], svg[onload]").count() == 0


@pytest.mark.slow
@pytest.mark.needs("chromium")
def test_markup_in_a_campaign_and_an_appeal_stays_text(world: World, visit: Callable[..., Visit]) -> None:
    """Its variants side by side, the appellant's words at the desk, and who decided it under the team."""
    texts = [
        f"{HOSTILE} 【工行】您的积分即将过期，加薇信 {n} 领取 http://icbc-jf.top/a1" for n in ("a1", "a1", "b2", "c3")
    ]
    message = world.screen(texts, sender="106900011235", receiver=world.number, access_code=world.access_code)[-1]
    lead = visit("lead")
    hit(lead, f"/messages/{message}/")
    campaign = lead.page.locator("dd a[href^='/campaigns/']").first.get_attribute("href")
    assert campaign

    def shows_variants() -> bool:
        lead.open(campaign)
        return lead.page.locator("#variants").count() > 0 and lead.page.locator("ol.list ins").count() > 0

    eventually(shows_variants, "the variants stand side by side")
    assert "&lt;" in hit(lead, campaign)
    hit(lead, f"/review/campaign/{campaign.strip('/').rpartition('/')[2]}/")

    partner = visit("partner")
    page = partner.open(f"/messages/{message}/appeal/")
    page.fill("#a-words", f"{HOSTILE} it is ours")
    page.click("form.form button.btn-primary")
    page.wait_for_url(f"**/messages/{message}/")
    for seen in (partner, lead):
        assert "&lt;img src=x" in hit(seen, f"/messages/{message}/")
    desk = visit("hostile")
    queue = "form[action='/review/take/']:has(input[value^='appeal']) button"
    eventually(lambda: desk.open("/review/").locator(queue).count(), "the appeal waits")
    page = desk.page
    page.locator(queue).first.click()
    page.wait_for_selector("#review-note")
    assert f"{HOSTILE} it is ours" in page.inner_text("main")
    assert page.evaluate("window.hit === undefined")
    assert "&lt;img src=x" in hit(lead, "/review/team/")  # the appeal is in that person's hands
    page.fill("#review-note", f"{HOSTILE} it is not")
    page.locator("#decide button[name=answer]").last.click()
    eventually(lambda: f"{HOSTILE} it is not" in partner.open(f"/messages/{message}/").inner_text("main"), "the answer")
    for seen, path in ((partner, f"/messages/{message}/"), (lead, "/review/team/"), (visit("auditor"), "/audit/")):
        assert "&lt;img src=x" in hit(seen, path)


@pytest.mark.slow
@pytest.mark.needs("chromium")
def test_markup_in_a_rulebook_and_its_replay_stays_text(world: World, visit: Callable[..., Visit]) -> None:
    word = f"暗号{now_text()}"
    passes = f"{HOSTILE} 明天见，{word}"
    stopped = f"{HOSTILE} 【工行】您的积分即将过期，加薇信 {word} 领取 http://icbc-jf.top/a1"
    sent_by = {"sender": "106900011234", "receiver": world.number, "access_code": world.access_code}
    shown, hidden = world.screen([passes, stopped], **sent_by)
    author = visit("author")
    page = author.open("/rulebook/")
    page.keyboard.press("n")
    page.wait_for_selector(".codebox.is-painted")
    draft = urlsplit(page.url).path
    rules = ""
    for action, priority, keyword in (("block", 100, f"明天见，{word}"), ("allow", 950, f"加薇信 {word}")):
        rules += f'\n[[rule]]\nid = "fraud.markup-{action}"\ncategory = "fraud"\naction = "{action}"\n'
        rules += f'priority = {priority}\nkeywords = ["{keyword}"]\n'
        rules += f"owner = '''{HOSTILE}'''\nreason = '''{HOSTILE}'''\n"
    written = page.input_value("#code").replace('name = "mingbai-default"', f"name = '''{HOSTILE}'''") + rules
    page.fill("#code", written)
    page.fill("#comment", HOSTILE)
    page.fill("#messages", f"{passes}\n{stopped}")
    page.click("button[formaction$='/try/']")
    page.wait_for_selector("#tried table, #tried .verdict, #tried li")
    assert page.evaluate("window.hit === undefined")
    assert page.locator("img[src=x], svg[onload]").count() == 0
    page.click("button[formaction$='/replay/']")
    page.wait_for_url(re.compile("/rulebook/replays/"))
    page.wait_for_selector(".tabs .count", timeout=60_000)
    replay = urlsplit(page.url).path
    for side in ("blocked", "freed"):
        hit(author, f"{replay}?side={side}")
        assert word in author.page.inner_text("main")
    author.open(draft)
    page.click("button[formaction$='/submit/']")
    page.wait_for_selector("pre.code")
    approver = visit("approver")
    assert "&lt;img src=x" in hit(approver, draft)
    assert "&lt;img src=x" in hit(approver, f"{draft}differences/?with=1")
    before = world.client.status()["policy"]["rulebook"]
    approver.open(draft).keyboard.press("a")
    eventually(lambda: world.client.status()["policy"]["rulebook"] != before, "it is in force")
    (now_blocked,) = world.screen([f"{passes} "], **sent_by)
    lead = visit("lead")
    auditor = visit("auditor")
    for who, path in ((author, "/rulebook/"), (author, "/rulebook/rules/"), (auditor, "/audit/")):
        hit(who, path)
    for path in ("/rulebook/rules/fraud.markup-block/", "/rulebook/history/", draft):
        assert "&lt;img src=x" in hit(author, path), path
    for path in ("/overview/", f"/messages/{now_blocked}/", f"/messages/{shown}/", f"/messages/{hidden}/"):
        assert "&lt;" in hit(lead, path), path
    approver.open("/rulebook/").locator("form[action$='/roll-back/'] button").first.click()
    eventually(lambda: world.client.status()["policy"]["rulebook"] == before, "the one before is in force again")
