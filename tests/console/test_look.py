"""The look: what template tags write, and the pages in a real Chromium: no inline code, nothing for axe to find.

axe.min.js is axe-core 4.14.1 by Deque Systems (MPL-2.0), used by tests only and not shipped.
"""

from __future__ import annotations

import gzip
import re
import shutil
import tomllib
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.template import Context, Template
from django.test import Client
from django.utils import translation

from mingbai.console.templatetags import charts, figures, plot, reading, ui
from mingbai.console.translations import read_parts
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category, Verdict
from tests.conftest import PASSWORD
from tests.console import kitchen

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from mingbai.contexts.people.models import Account

CONSOLE = Path(ui.__file__).parents[1]
TEMPLATES = [path for path in CONSOLE.rglob("templates/**/*.html") if path.name != "kitchen.html"]
AXE = Path(__file__).with_name("axe.min.js")
MOST_BYTES = 300_000  # "no page over 300 KB"


@pytest.fixture(autouse=True)
def english() -> Generator[None]:
    with translation.override("en"):
        yield


def rendered(source: str, **context: Any) -> str:  # Any: what templates take
    return Template("{% load i18n ui figures charts reading %}" + source).render(Context(context))


# ------------------------------------------------------------------------------------------------------------ figures


@pytest.mark.parametrize(
    ("value", "in_english", "in_chinese"),
    [(None, "–", "–"), (7, "7", "7"), (1234, "1.2K", "1,234"), (128_340, "128K", "12.8万"), (3.4e8, "340M", "3.4亿"),
     (0.25, "0.25", "0.25"), (2e9, "2B", "20亿")],
)  # fmt: skip
def test_large_numbers_are_shortened_in_the_units_of_the_language(
    value: float | None, in_english: str, in_chinese: str
) -> None:
    assert figures.compact(value) == in_english
    with translation.override("zh-hans"):
        assert figures.compact(value) == in_chinese


def test_a_time_is_relative_with_the_exact_one_at_hand() -> None:
    now = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
    html = rendered("{% when moment %}", now=now, moment=now - timedelta(minutes=3))
    assert ">3 min ago</time>" in html
    assert re.search(r'title="2026-11-24 \d\d:57:00"', html)
    assert "in 5 min" in rendered("{% when moment %}", now=now, moment=now + timedelta(minutes=5))
    assert "–" in rendered("{% when moment %}", now=now, moment=None)


def test_a_time_is_said_in_chinese_on_a_chinese_page() -> None:
    now = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
    with translation.override("zh-hans"):
        assert "3 分钟前" in rendered("{% when moment %}", now=now, moment=now - timedelta(minutes=3))


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0021, "2.1 ms"), (0.25, "250 ms"), (42, "42 s"), (300, "5 min"), (7200, "2 h")]
)
def test_a_duration_has_the_unit_that_says_it_best(seconds: float, words: str) -> None:
    assert figures.duration(seconds) == words


# --------------------------------------------------------------------------------------------------------- components


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_verdict_is_icon_and_word_and_colour(verdict: Verdict) -> None:
    html = rendered("{% verdict v %}", v=verdict)
    assert f"#{ui.VERDICT_ICONS[verdict]}" in html
    assert str(ui.VERDICT_WORDS[verdict]) in html
    assert f"verdict-{verdict.name.lower()}" in html
    assert html == rendered("{% verdict v %}", v=int(verdict)) == rendered("{% verdict v %}", v=verdict.name.lower())


def test_every_category_has_a_chip() -> None:
    for category in Category:
        assert str(ui.CATEGORY_WORDS[category]) in rendered("{% category c %}", c=category)


def test_a_misspelt_icon_is_an_error_that_names_it() -> None:
    with pytest.raises(BadValue, match="sheild"):
        ui.icon("sheild")


def test_every_icon_named_in_a_template_is_in_the_sprite() -> None:
    named = {name for path in TEMPLATES for name in re.findall(r'{% icon "([^"]+)"', path.read_text(encoding="utf-8"))}
    assert named <= ui.icon_names()


def test_a_field_points_at_its_help_and_its_error() -> None:
    html = rendered("{% field form.sender %}", form=kitchen.Kitchen({"sender": ""}))
    assert 'aria-invalid="true"' in html
    described = re.search(r'aria-describedby="([^"]+)"', html)
    assert described is not None
    for name in described[1].split():
        assert f'id="{name}"' in html


def test_what_a_sender_wrote_is_never_markup() -> None:
    evil = '<script>alert("x")</script>'
    spans = [{"start": 0, "end": 8, "read_as": "<b>", "why": "<i>"}]
    for html in (
        reading.marked(evil, spans),
        reading.diff(evil, evil + "<u>"),
        reading.diff_lines(evil, "<u>"),
        rendered("{% tile label=x value=x note=x %}{% masked x url=x %}{% copy x %}{% page_head title=x answer=x %}"
                 "{% endpage_head %}{% notice title=x %}{{ x }}{% endnotice %}", x=evil),
        charts.bar_list([{"label": evil, "value": 1, "note": evil}], title=evil),
        charts.line_chart(["a"], [{"label": evil, "values": [1]}], title=evil),
    ):  # fmt: skip
        assert not re.search(r"<(script|b|i|u)>", html)
        assert "&lt;" in html


# ----------------------------------------------------------------------------------------------------- marked and diff


def test_marked_text_keeps_every_character_and_says_what_was_read() -> None:
    text = "加薇信 abc123 领取"
    html = reading.marked(text, [{"start": 4, "end": 10, "why": "contact"}, {"start": 1, "end": 3, "read_as": "微信"}])
    assert "<ruby>薇信<rt>微信</rt></ruby>" in html
    assert re.sub(r"<rt>.*?</rt>|<span class=\"marked-note.*?</span>|<[^>]+>", "", html) == text


def test_overlapping_spans_are_cut_and_a_span_outside_is_refused() -> None:
    html = reading.marked("abcdef", [{"start": 0, "end": 4}, {"start": 2, "end": 6}])
    assert re.findall(r"<mark[^>]*>([a-f]+)</mark>", html) == ["abcd", "ef"]
    with pytest.raises(BadValue, match=r"span\.end"):
        reading.marked("abc", [{"start": 0, "end": 4}])


def test_a_difference_is_told_by_signs_and_whole_words() -> None:
    html = reading.diff("加微信 abc123 领取", "加微信 abd456 领取")
    assert "<del>abc123</del><ins>abd456</ins>" in html
    assert "−" in reading.diff_lines("a\nb", "a\nc")
    assert "No differences" in reading.diff_lines("a", "a")


# ------------------------------------------------------------------------------------------------------------- charts


@pytest.mark.parametrize("top", [0.004, 0.7, 1, 3, 99, 2711, 1e6])
def test_ticks_are_few_and_round_and_reach_the_top(top: float) -> None:
    ticks = plot.y_ticks(top)
    assert ticks[0] == 0
    assert ticks[-1] >= top * (1 - 1e-9)
    assert 2 <= len(ticks) <= 6
    steps = {round(b - a, 9) for a, b in pairwise(ticks)}
    assert len(steps) == 1


def test_a_chart_holds_the_same_data_as_a_table() -> None:
    html = charts.stacked_chart(
        ["Mon", "Tue"],
        [{"verdict": Verdict.ALLOW, "values": [10, 20]}, {"verdict": "block", "values": [1, 1234]}],
        title="Verdicts",
    )
    assert "Show as table" in html
    for words in ("Mon", "Tue", "Allow", "Block", "1,234", 'scope="row"', 'role="img"'):
        assert words in html
    assert "Tue\nAllow: 20\nBlock: 1,234" in html  # the tooltip


def test_a_gap_breaks_the_line() -> None:
    html = charts.line_chart(["a", "b", "c", "d", "e"], [{"label": "x", "values": [1, 2, None, 3, 4]}], title="t")
    assert html.count("<polyline") == 2


def test_a_series_of_another_length_is_refused() -> None:
    with pytest.raises(BadValue, match="series 0 values"):
        charts.line_chart(["a", "b"], [{"label": "x", "values": [1]}], title="t")
    with pytest.raises(BadValue, match="threshold"):
        charts.histogram([0, 1], [{"label": "x", "values": [1]}], title="t", thresholds=[{"at": 2}])


def test_an_empty_chart_is_still_a_chart() -> None:
    assert "<figure" in charts.line_chart([], [], title="t")
    assert "<figure" in charts.stacked_chart([], [{"label": "x", "values": []}], title="t")
    assert "<figure" in charts.bar_list([], title="t")


# ---------------------------------------------------------------------------------------------- templates and pages


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(CONSOLE / "templates")))
def test_no_template_holds_what_the_content_policy_forbids(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=|\son[a-z]+=|javascript:|<style", text)
    for attributes in re.findall(r"<script([^>]*)>", text):
        assert "src=" in attributes or 'type="application/json"' in attributes
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text)


def test_every_sentence_of_the_look_has_its_chinese() -> None:
    words = tomllib.loads((CONSOLE / "locale" / "parts" / "look.toml").read_text(encoding="utf-8"))
    asked: set[str] = set()
    for path in TEMPLATES:
        text = path.read_text(encoding="utf-8")
        asked.update(re.findall(r'{% translate "([^"]+)"', text), re.findall(r"{% translate '([^']+)'", text))
        for sentence in re.findall(r"{% blocktranslate trimmed[^%]*%}(.*?){% endblocktranslate %}", text, re.DOTALL):
            asked.add(re.sub(r"{{ (\w+) }}", r"%(\1)s", " ".join(sentence.split())))
    for path in (CONSOLE / "templatetags").glob("*.py"):
        asked.update(re.findall(r'(?:gettext|\b_)\(\s*"([^"]+)"', path.read_text(encoding="utf-8")))
    known = set(read_parts(CONSOLE / "locale"))
    assert sorted(asked - known) == []
    for english, chinese in words.items():
        places = re.compile(r"%\(\w+\)s")
        assert sorted(places.findall(english)) == sorted(places.findall(chinese)), english


def test_vendored_files_have_licence_and_version() -> None:
    vendor = CONSOLE / "static" / "console" / "vendor"
    readme = (vendor / "README.md").read_text(encoding="utf-8")
    for folder in (path for path in vendor.iterdir() if path.is_dir()):
        assert (folder / "LICENSE").is_file()
        assert re.search(rf"`{folder.name}/`[^\n]*\| \d+\.\d+\.\d+ \|", readme)


@pytest.mark.django_db
@pytest.mark.urls("tests.console.kitchen")
def test_a_page_with_all_it_loads_is_small() -> None:
    html = Client().get("/accounts/login/").content
    files = set(re.findall(rb'(?:href|src)="/static/([^"#]+)', html)) | {
        b"console/vendor/inter/inter-latin-variable.woff2"
    }
    found = [finders.find(name.decode()) for name in files]
    assert all(found)
    total = len(html) + sum(Path(str(path)).stat().st_size for path in found)
    assert total < MOST_BYTES


def test_static_files_come_packed_to_whoever_takes_that() -> None:
    client = Client()
    name = "/static/console/shell.css"
    plain, packed = client.get(name), client.get(name, headers={"Accept-Encoding": "gzip, br"})
    assert plain.headers.get("Content-Encoding") is None and packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain.content and len(packed.content) < len(plain.content) / 2
    assert plain.headers["ETag"] != packed.headers["ETag"] and packed.headers["Vary"] == "Accept-Encoding"
    known = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]}
    assert client.get(name, headers=known).status_code == 304
    assert client.get(name, headers={"If-None-Match": packed.headers["ETag"]}).status_code == 200


@pytest.mark.urls("tests.console.kitchen")
@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
def test_error_pages_need_neither_request_nor_database(status: int) -> None:
    from django.template.loader import render_to_string

    html = render_to_string(f"{status}.html")
    assert str(status) in html
    assert 'href="/"' in html


# --------------------------------------------------------------------------------------------------------- in Chromium


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as driver, pytest.MonkeyPatch.context() as patch:
        # The driver keeps an event loop in this thread; the tests themselves are not asynchronous.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


class Seen:
    """A page and what its console said."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))


def _open(browser: Browser, url: str, width: int = 1440, theme: str = "light", language: str = "en") -> Seen:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if theme == "dark" else "light",
        extra_http_headers={"Accept-Language": language},
    )
    seen = Seen(context.new_page())
    seen.page.goto(url)
    return seen


pytestmark_browser = [
    pytest.mark.needs("chromium"),
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.console.kitchen"),
]


def in_browser(test: Any) -> Any:  # Any: a test function, whatever its fixtures
    for mark in pytestmark_browser:
        test = mark(test)
    return test


@in_browser
@pytest.mark.parametrize(
    ("path", "width", "theme"),
    [("/_kitchen?toast", 1440, "light"), ("/_kitchen?toast", 1440, "dark"), ("/_kitchen?toast", 390, "light"),
     ("/accounts/login/", 1440, "light"), ("/accounts/login/", 390, "dark"), ("/nothing-here", 1440, "dark")],
)  # fmt: skip
def test_axe_finds_nothing(
    browser: Browser, live_server: Any, client_for: Callable[..., Client], path: str, width: int, theme: str
) -> None:
    seen = _open(browser, live_server.url + path, width, theme)
    if "login" not in path:
        session = client_for("reviewer").cookies[settings.SESSION_COOKIE_NAME].value
        cookie = {"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}
        seen.page.context.add_cookies([cookie])  # type: ignore[list-item]  # a TypedDict of the driver
        seen.page.reload()
        assert seen.page.locator(".avatar").count() == (1 if "kitchen" in path else 0)
    seen.page.evaluate(AXE.read_text(encoding="utf-8"))  # evaluated by the driver: the page's policy stays in force
    result = seen.page.evaluate("axe.run()")
    found = [f"{one['id']}: {node['html'][:200]}" for one in result["violations"] for node in one["nodes"]]
    assert found == []
    seen.page.context.close()


@in_browser
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [1440, 768, 390])
def test_the_kitchen_fits_and_the_policy_is_kept(browser: Browser, live_server: Any, width: int, language: str) -> None:
    seen = _open(browser, f"{live_server.url}/_kitchen", width, language=language)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    seen.page.wait_for_function("() => document.fonts.status === 'loaded'")
    assert seen.complaints == []
    seen.page.context.close()


@in_browser
def test_keys_move_open_and_explain(browser: Browser, live_server: Any) -> None:
    page = _open(browser, f"{live_server.url}/_kitchen").page
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#1"
    page.keyboard.press("Enter")
    assert page.url.endswith("#1")
    page.keyboard.press("/")
    page.keyboard.type("?j")
    assert page.input_value("[data-search]") == "?j"  # typing is not a command
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    assert "Let it pass" in page.inner_text("#keys [data-keys-page]")
    assert "Messages" in page.inner_text("#keys [data-keys-go]")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("m")
    assert page.url.endswith("#m")
    page.context.close()


@in_browser
def test_single_keys_can_be_switched_off(browser: Browser, live_server: Any) -> None:
    page = _open(browser, f"{live_server.url}/_kitchen").page
    page.keyboard.press("?")
    page.uncheck("[data-keys-switch]")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert not page.is_visible("#keys")
    page.context.close()


@in_browser
def test_the_theme_changes_at_once_and_stays(browser: Browser, live_server: Any) -> None:
    page = _open(browser, f"{live_server.url}/_kitchen").page
    page.click("summary[aria-label='Light or dark']")
    with page.expect_response(lambda answer: answer.url.endswith("/theme/")):
        page.click("button[value=dark]")
    assert page.get_attribute("html", "data-theme") == "dark"
    page.reload()
    assert page.get_attribute("html", "data-theme") == "dark"
    page.context.close()


@in_browser
def test_one_click_changes_the_language(browser: Browser, live_server: Any) -> None:
    page = _open(browser, f"{live_server.url}/accounts/login/").page
    page.click("button[name=language]")
    assert page.inner_text("h1") == "登录"
    assert page.get_attribute("html", "lang") == "zh-hans"
    page.click("button[name=language]")
    assert page.inner_text("h1") == "Sign in"
    page.context.close()


@in_browser
def test_what_was_typed_survives_the_browser(browser: Browser, live_server: Any) -> None:
    page = _open(browser, f"{live_server.url}/_kitchen").page
    page.fill("textarea[name=note]", "wrongly stopped")
    again = page.context.new_page()
    page.close()  # as if it had died
    again.goto(f"{live_server.url}/_kitchen")
    assert again.input_value("textarea[name=note]") == "wrongly stopped"
    again.context.close()


@in_browser
def test_what_was_typed_is_kept_until_the_server_has_it(browser: Browser, live_server: Any) -> None:
    page = _open(browser, f"{live_server.url}/_kitchen").page
    page.fill("textarea[name=note]", "wrongly stopped")
    page.evaluate("document.querySelector('[data-remember]').action = '/_broken'")
    page.evaluate("document.querySelector('[data-remember]').noValidate = true")
    page.click("[data-remember] .btn-primary")
    assert page.inner_text("h1") == "That is our fault"
    page.goto(f"{live_server.url}/_kitchen")
    assert page.input_value("textarea[name=note]") == "wrongly stopped"
    page.evaluate("document.querySelector('[data-remember]').noValidate = true")
    page.click("[data-remember] .btn-primary")
    page.wait_for_url("**/_kitchen?**")
    page.goto(f"{live_server.url}/_kitchen")
    assert page.input_value("textarea[name=note]") == ""
    page.context.close()


@in_browser
def test_dialogs_open_and_close_by_keyboard(browser: Browser, live_server: Any) -> None:
    page = _open(browser, f"{live_server.url}/_kitchen").page
    page.focus("[data-open-dialog=example]")
    page.keyboard.press("Enter")
    assert page.is_visible("#example")
    page.keyboard.press("Escape")
    assert not page.is_visible("#example")
    assert page.evaluate("document.activeElement.dataset.openDialog") == "example"
    page.context.close()


@in_browser
def test_a_phone_has_a_bar_a_drawer_and_cards(browser: Browser, live_server: Any) -> None:
    page = _open(browser, f"{live_server.url}/_kitchen", 390).page
    assert page.is_visible(".bottombar")
    assert not page.is_visible(".frame > .sidebar")
    page.click(".bottombar button")
    assert page.is_visible("#drawer a[href='#a']")
    page.keyboard.press("Escape")
    cell = page.locator(".table-cards tbody tr").first.locator("td[data-label=Sender]")
    assert cell.evaluate("e => getComputedStyle(e, '::before').content") == '"Sender"'
    page.context.close()


@in_browser
def test_passwords_codes_and_passkeys_work_under_the_policy(
    browser: Browser, live_server: Any, account: Callable[..., Account]
) -> None:
    """The whole way through allauth's pages, with a virtual authenticator in place of the fingerprint."""
    who = account("reviewer")
    seen = _open(browser, f"{live_server.url}/accounts/login/")
    page = seen.page
    device = page.context.new_cdp_session(page)
    device.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    device.send(
        "WebAuthn.addVirtualAuthenticator",
        {"options": {**options, "isUserVerified": True, "automaticPresenceSimulation": True}},
    )
    page.fill("[name=login]", who.username)
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{live_server.url}/")
    page.goto(f"{live_server.url}/accounts/2fa/totp/activate/")
    assert page.inner_text("h1") == "Is it you?"
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/activate/")
    assert page.evaluate("document.querySelector('img.qr').naturalWidth > 0")
    page.goto(f"{live_server.url}/accounts/2fa/webauthn/add/")
    page.fill("[name=name]", "phone")
    page.check("[name=passwordless]")
    page.click("#mfa_webauthn_add")
    page.wait_for_url(lambda url: "/add/" not in url)
    page.goto(f"{live_server.url}/accounts/2fa/webauthn/")
    assert "phone" in page.inner_text("table")
    page.goto(f"{live_server.url}/accounts/sessions/")
    assert "Chrome" in page.inner_text("table")
    page.goto(f"{live_server.url}/accounts/logout/")
    page.click("main button")
    page.wait_for_url("**/accounts/login/")
    page.click("#passkey_login")
    page.wait_for_url(f"{live_server.url}/")
    page.goto(f"{live_server.url}/accounts/2fa/")
    assert page.inner_text("h1") == "Two steps and passkeys"
    assert seen.complaints == []
    page.context.close()


@in_browser
def test_live_parts_are_told_when_the_stream_is_not_there(browser: Browser, live_server: Any) -> None:
    page = _open(browser, f"{live_server.url}/_kitchen").page
    page.clock.install()
    page.evaluate(
        """() => { const part = document.createElement('section'); part.dataset.live = '';
        part.addEventListener('live', () => { window.toldLive = (window.toldLive || 0) + 1; });
        document.querySelector('main').append(part); document.dispatchEvent(new Event('visibilitychange')); }"""
    )
    page.clock.fast_forward(3000)
    page.wait_for_function("() => window.toldLive >= 1")
    page.wait_for_function("() => document.querySelector('[data-live-state]').dataset.state === 'polling'")
    page.clock.fast_forward(12000)
    page.wait_for_function("() => window.toldLive >= 2")
    page.context.close()
