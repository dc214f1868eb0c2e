"""Every word is in the reader's language: the catalogue against the source, and the pages as they come out."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.urls import Resolver404, resolve
from django.utils import translation

from mingbai.connectors.ledger_index import Query
from mingbai.connectors.screening_client import ScreenerUnavailable
from mingbai.console.translations import read_parts
from mingbai.contexts.audit.words import said
from mingbai.contexts.messaging.jobs import model as model_jobs
from mingbai.contexts.messaging.models import RulebookState, RulebookVersion
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.services import appeals, rulebook, searches
from mingbai.contexts.messaging.services import model as model_services
from mingbai.contexts.messaging.services import runs as run_services
from mingbai.contexts.people import policy
from mingbai.contexts.people.sentences import SENTENCES
from mingbai.contexts.people.services import accounts, data_requests, teams, tokens, units, webhooks
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.translations import message_again
from mingbai.kernel.verdicts import Category, Verdict
from mingbai.ledger import FileKeys, KeyStore
from tests.conftest import client_of
from tests.console import words_used
from tests.contexts.messaging.review_ledger import Sms, queue

CATALOGUE = read_parts(words_used.SOURCE / "console" / "locale")
PLACE = re.compile(r"%\(\w+\)[sd]|%%")
CHINESE = re.compile(r"[\u3400-\u9fff]")
# Three words of Latin letters in a row; units, codes and names in a row of their own are not a sentence.
ENGLISH = re.compile(r"[A-Za-z][a-z’']+(?:,? [A-Za-z]?[a-z’']+){2,}")
MOST_OF_ONE_PAGE = 2  # of those with the same address pattern
TEXTS = ("代开发票 加薇信 a1", "代开发票 加微信 a1", "您的包裹已到 x.example", "您的包裹已到 y.example", "明天开会")
NAMES = ("English", "简体中文")  # of languages, each in its own
IN_ENGLISH = ("administrator", "team_lead", "subscriber")  # every role is walked in Chinese


# -- the catalogue


def test_every_text_is_translated() -> None:
    assert not {text: at for text, at in words_used.used().items() if text not in CATALOGUE}


def test_no_translation_is_left_that_nothing_says() -> None:
    said = words_used.used().keys() | words_used.used_by_allauth()
    assert not CATALOGUE.keys() - said


def test_a_translation_has_the_places_of_its_text() -> None:
    for english, chinese in CATALOGUE.items():
        assert sorted(set(PLACE.findall(english))) == sorted(set(PLACE.findall(chinese))), english
        assert chinese.strip(), english


def test_every_entry_of_the_control_stream_has_its_sentence() -> None:
    appended = {
        kind
        for path in (words_used.SOURCE / "contexts").rglob("*.py")
        for kind in re.findall(r'append\(\s*"([a-z_]+\.[a-z_.]+)"', path.read_text(encoding="utf-8"))
    }
    assert len(appended) > 30
    assert not appended - SENTENCES.keys()


def test_an_error_is_said_in_the_language_of_the_page() -> None:
    wrong = BadValue(field="reason", value="", expected="5 to 500 characters")
    with translation.override("zh-hans"):
        assert said(wrong) == "不接受：–。应为：5 到 500 个字符"
        assert said(ScreenerUnavailable(detail="it is stopping")) == "识别引擎没有应答：正在停止"
    with translation.override("en"):
        assert said(wrong) == "Not accepted: –. Expected: 5 to 500 characters"


def test_the_search_finds_what_stands_in_templates_and_in_python() -> None:
    found = words_used.used()
    for known in (
        "Review desk",  # {% translate %}
        "%(shown)s more wait here",  # {% blocktranslate %} with a plural
        "The search is saved.",  # gettext as _
        "%(n)s messages decided.",  # the plural of ngettext
        "Illegal trade",  # gettext_lazy
    ):
        assert known in found


def test_a_message_that_was_kept_as_text_is_said_again() -> None:
    error = BadValue(field="reviewed", value="3 messages to learn from", expected="200 in one language")
    assert message_again(str(error), "zh") == "reviewed：得到 '3 条可学习的短信'，应为 同一语言 200 条"
    assert message_again(str(error), "en") == str(error)
    assert message_again("what nobody has translated", "zh") == "what nobody has translated"


# -- the pages


class Words(HTMLParser):
    """What somebody reads or hears on a page, but for messages' texts, code and what people have written."""

    SILENT = ("script", "style", "code", "pre", "textarea", "kbd")
    VOID = ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "use")
    # Classes of what is not the house's own words.
    THEIRS = frozenset({"message", "mono", "code", "diff"})
    SPOKEN = ("title", "aria-label", "placeholder", "alt")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self.links: list[str] = []
        self._quiet: list[bool] = [False]
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        classes = set((given.get("class") or "").split())
        is_theirs = ("lang" in given and tag != "html") or not self.THEIRS.isdisjoint(classes)
        quiet = self._quiet[-1] or tag in self.SILENT or is_theirs
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if not quiet:
            self.said += [str(given[name]) for name in self.SPOKEN if given.get(name)]
        if tag not in self.VOID:
            self._quiet.append(quiet)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass  # pieces of drawings

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID and len(self._quiet) > 1:
            self._quiet.pop()

    def handle_data(self, data: str) -> None:
        if not self._quiet[-1] and data.strip():
            self.said.append(" ".join(data.split()))


@pytest.fixture
def operator(data_dir: Path, account: Callable[..., Any]) -> dict[str, Any]:
    """A small operator in which something of everything has happened; role -> its account. Names are ids alone."""
    now = utc_now()
    settings = django_settings.MINGBAI
    rows = [
        Sms(TEXTS[0], Verdict.BLOCK, Category.ILLEGAL_TRADE, 0.9, campaign=0xABC),
        Sms(TEXTS[1], Verdict.FLAG, Category.ILLEGAL_TRADE, 0.4, campaign=0xABC),
        Sms(TEXTS[2], Verdict.HOLD, Category.FRAUD, 0.7),
        Sms(TEXTS[3], Verdict.HOLD, Category.FRAUD, 0.7),
        Sms(TEXTS[4], Verdict.ALLOW, Category.PERSONAL, 0.01),
    ]
    queue(settings, rows, now=now - timedelta(minutes=2))
    unit = units.create_unit("u-1", kind="partner", name="u-1", access_codes=["10690001"], actor="system", now=now)
    branch = units.create_unit("u-2", kind="branch", name="u-2", access_codes=["106900"], actor="system", now=now)
    people = {}
    for role in policy.roles():
        place = {"branch": branch, "partner": unit}.get(policy.widest_scope(role))
        number = {"number": "+8613800000001"} if role == "subscriber" else {}
        people[role] = account(role, place, username=role.replace("_", "-"), **number)
    admin, reviewer = people["administrator"], people["reviewer"]
    team = teams.create_team("t-1", name="t-1", actor=admin.ref, now=now)
    teams.add_member(team, reviewer, actor=admin.ref, now=now)
    scopes, end = tokens.grantable(admin)[:2], now + timedelta(days=30)
    tokens.create_token(admin, name="k-1", scopes=scopes, expires_at=end, actor=admin.ref, now=now)
    keys = KeyStore.open_or_create(FileKeys(data_dir / "keys.json"))
    webhooks.create_webhook("w-1", "https://a.example/1", ["rulebook."], actor=admin.ref, now=now, keys=keys)
    searches.save_search(reviewer.pk, "s-1", "verdict=BLOCK", is_shared=True, now=now)
    data_requests.ask(people["subscriber"], "export", now=now, due_days=15)
    blocked = next(hit for hit in traffic.index().search(Query()).hits if hit.verdict == Verdict.BLOCK)
    appeals.open_appeal(blocked, words="0000000", by=people["service_provider"].ref, now=now)
    desk = client_of(reviewer)
    page = desk.post("/review/take/", follow=True).content.decode()
    form = {name: re.search(rf'name="{name}" value="([0-9a-f-]+)"', page) for name in ("item", "lease")}
    given = {name: found[1] for name, found in form.items() if found}
    desk.post("/review/decide/", {**given, "answer": "block.fraud", "note": "0000000", "second": "1"})
    first = rulebook.ensure_first(now=now)
    author = people["rule_author"]
    drafts = [rulebook.begin_draft(by=author.pk, now=now) for _ in range(2)]
    RulebookVersion.objects.filter(pk=drafts[0].pk).update(
        state=RulebookState.SUBMITTED, submitted_by=author.pk, submitted_at=now, text=first.text + "\n# 1\n"
    )
    model_jobs._known_shipped.clear()
    model_jobs._know_shipped(settings, now)
    run = model_services.ask_drift(since=now - timedelta(days=7), until=now, by=author.pk, now=now)
    run_services.finish(run, None, now=now, is_cancelled=False, error="reviewed: got 0, expected a number above 0")
    accounts.deactivate(people["regulator"], actor=admin.ref, now=now)
    accounts.reactivate(people["regulator"], actor=admin.ref, now=now)
    return people


def pages(client: Client, start: str = "/") -> Iterator[tuple[str, str]]:
    """Address and HTML of whatever somebody reaches from the first page by following links."""
    seen: set[str] = set()
    kinds: Counter[str] = Counter()
    waiting = deque([start, "/no-such-page/", "/accounts/password/change/", "/accounts/2fa/", "/accounts/sessions/"])
    while waiting:
        address = waiting.popleft()
        path = urlsplit(address)
        if address in seen or path.netloc or not path.path.startswith("/"):
            continue
        seen.add(address)
        try:
            route = resolve(path.path).route
        except Resolver404:
            route = path.path
        kinds[route] += 1
        if kinds[route] > MOST_OF_ONE_PAGE or path.path.startswith(("/api/", "/static/")):
            continue
        response = client.get(address, follow=True)
        if not response.headers.get("Content-Type", "").startswith("text/html") or response.streaming:
            continue
        html = response.content.decode()
        yield address, html
        waiting.extend(urljoin(address, link).partition("#")[0] for link in Words(html).links)


@pytest.mark.slow
@pytest.mark.django_db
def test_a_page_speaks_one_language(operator: dict[str, Any]) -> None:
    # What people have written is in their language: messages, and the rulebook that is shipped.
    theirs = " ".join([*TEXTS, RulebookVersion.objects.get(number=1).text])
    wrong: dict[str, str] = {}
    for role, account in operator.items():
        for language, foreign in (("zh-hans", ENGLISH), ("en", CHINESE)):
            if language == "en" and role not in IN_ENGLISH:
                continue
            client = client_of(account)
            client.cookies[django_settings.LANGUAGE_COOKIE_NAME] = language
            visited = 0
            for address, html in pages(client):
                visited += 1
                assert f'lang="{language}"' in html, address
                for text in Words(html).said:
                    if foreign.search(text) and text not in theirs and text not in NAMES:
                        wrong.setdefault(f"{language}: {text}", f"{role} {address}")
            assert visited > 4, role
    assert not wrong, "\n".join(f"{at}: {text}" for text, at in wrong.items())
