"""The list of messages: what is found, what a person sees of it, what leaves a trace, what is taken along."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from mingbai.connectors.ledger_index import EVERYTHING, Query, pseudonyms_of
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.services import exports
from mingbai.contexts.messaging.services.exports import csv_line, safe_cell
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.services import units
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Category, Verdict
from tests.console.api_calls import api_of
from tests.contexts.messaging.review_ledger import Sms, write

pytestmark = pytest.mark.django_db

NUMBER = "+8613812345678"


@pytest.fixture
def messages(data_dir: Path) -> datetime:
    now = utc_now() - timedelta(minutes=2)
    rows = [
        Sms(
            "【银行】您的验证码是 482913",
            Verdict.ALLOW,
            Category.NOTIFICATION,
            0.01,
            receiver=NUMBER,
            access_code="10690002",
        ),
        Sms("代开发票 加薇信 abc12345", Verdict.BLOCK, Category.ILLEGAL_TRADE, 0.97, campaign=0xABC, sender=NUMBER),
        Sms("代开发票 加微信 abc99999", Verdict.BLOCK, Category.ILLEGAL_TRADE, 0.95, campaign=0xABC),
        Sms('=HYPERLINK("http://x") 中奖', Verdict.HOLD, Category.FRAUD, 0.6),
        Sms("<script>alert(1)</script><b>粗</b>", Verdict.FLAG, Category.ADVERTISING, 0.4),
    ]
    write(data_dir, rows, now=now)
    return now


def partner() -> object:
    """A partner that sends as 10690002."""
    return units.create_unit(
        "bank", kind="partner", name="Bank", access_codes=["10690002"], actor="system", now=utc_now()
    )


def texts(client: Client, query: str = "") -> str:
    response = client.get(f"/messages/?{query}")
    assert response.status_code == 200
    return response.content.decode()


def test_newest_messages_are_listed_without_a_search(messages: datetime, client_for: Callable[..., Client]) -> None:
    page = texts(client_for("reviewer"))
    assert "代开发票 加薇信" in page
    assert "您的验证码" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("verdict=block", 2),
        ("verdict=block&verdict=hold", 3),
        ("category=fraud", 1),
        ("campaign=0000000000000abc", 2),
        ("access_code=10690002", 1),
        ("min_score=0.9", 2),
        ("min_score=0.3&max_score=0.7", 2),
        ("rule=kw-1", 5),
        ("rule=other", 0),
        ("period=hour", 5),
        ("until=2020-01-01T00:00", 0),
        ("reason=10", 5),
    ],
)
def test_conditions_narrow_the_list(
    messages: datetime, client_for: Callable[..., Client], query: str, found: int
) -> None:
    assert texts(client_for("reviewer"), query).count('class="row-link" href="/messages/') == found


def test_a_condition_that_cannot_be_read_is_named_and_left_out(
    messages: datetime, client_for: Callable[..., Client]
) -> None:
    page = texts(client_for("reviewer"), "min_score=much&verdict=maybe&since=yesterday")
    assert "maybe" in page
    assert "much" in page
    assert "yesterday" in page
    assert page.count('class="row-link" href="/messages/') == 5


def test_a_number_is_searched_by_its_pseudonym_and_leaves_a_trace(
    messages: datetime, client_for: Callable[..., Client]
) -> None:
    client = client_for("reviewer")
    response = client.post("/messages/find/", {"number": "138 1234 5678", "number_as": "who"})
    address = response.headers["Location"]
    assert "12345678" not in address
    (entry,) = audit.entries(kinds=["messages.searched"])
    assert entry.actor == client.account.ref  # type: ignore[attr-defined]  # of the fixture
    assert "12345" not in json.dumps(entry.data)
    page = client.get(address).content.decode()
    assert page.count('class="row-link" href="/messages/') == 2  # once as the sender, once as the receiver
    only = client.post("/messages/find/", {"number": NUMBER, "number_as": "receiver"}).headers["Location"]
    assert client.get(only).content.decode().count('class="row-link" href="/messages/') == 1


def test_the_box_at_the_top_knows_a_number_a_campaign_a_rule_and_words(
    messages: datetime, client_for: Callable[..., Client]
) -> None:
    client = client_for("reviewer")

    def goes_to(text: str) -> dict[str, list[str]]:
        return parse_qs(urlsplit(client.get("/messages/", {"q": text}).headers["Location"]).query)

    assert "who" in goes_to("13812345678")
    assert goes_to("0000000000000abc") == {"campaign": ["0000000000000abc"]}
    assert goes_to("illegal.invoices") == {"rule": ["illegal.invoices"]}
    assert goes_to("代开 发票")["words"] == ["代开 发票"]


def test_words_are_searched_in_the_text_and_the_search_is_an_entry(
    messages: datetime, client_for: Callable[..., Client]
) -> None:
    client = client_for("reviewer")
    page = texts(client, "words=代开 薇信")
    assert page.count('class="row-link" href="/messages/') == 1
    (entry,) = audit.entries(kinds=["messages.searched"])
    assert "代开" not in json.dumps(entry.data, ensure_ascii=False)


def test_who_may_not_read_texts_can_neither_see_nor_search_them(
    messages: datetime, client_for: Callable[..., Client]
) -> None:
    client = client_for("auditor")
    page = texts(client)
    assert "482913" not in page
    assert "48****" in page
    assert 'name="words"' not in page
    assert texts(client, "words=薇信").count('class="row-link" href="/messages/') == 5  # not narrowed: no oracle


def test_numbers_are_masked_for_everybody(messages: datetime, client_for: Callable[..., Client]) -> None:
    for role in ("reviewer", "auditor", "team_lead"):
        assert "13812345678" not in texts(client_for(role))


def test_markup_in_a_message_is_text(messages: datetime, client_for: Callable[..., Client]) -> None:
    page = texts(client_for("reviewer"))
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_partner_sees_only_its_access_codes(messages: datetime, client_for: Callable[..., Client]) -> None:
    client = client_for("service_provider", partner())
    page = texts(client)
    assert page.count('class="row-link" href="/messages/') == 1
    assert "您的验证码" in page
    assert texts(client, "access_code=1069").count('class="row-link" href="/messages/') == 1
    assert texts(client, "words=代开").count('class="row-link" href="/messages/') == 0
    foreign = traffic.index().search(Query(verdicts=(Verdict.BLOCK,)), 1).hits[0]
    assert client.get(f"/messages/{foreign.id}/").status_code == 404


def test_a_subscriber_sees_the_messages_that_came_to_the_own_number(
    messages: datetime, client_for: Callable[..., Client]
) -> None:
    client = client_for("subscriber", number=NUMBER)
    page = texts(client)
    assert page.count('class="row-link" href="/messages/') == 1
    assert "您的验证码" in page
    foreign = traffic.index().search(Query(verdicts=(Verdict.BLOCK,)), 1).hits[0]
    assert client.get(f"/messages/{foreign.id}/").status_code == 404


def test_pages_go_on_by_cursor_and_show_each_message_once(data_dir: Path, client_for: Callable[..., Client]) -> None:
    write(data_dir, [Sms(f"第 {place:03d} 条") for place in range(120)], now=utc_now())
    client = client_for("reviewer")
    seen: list[str] = []
    address: str | None = "/messages/?verdict=hold"
    while address:
        response = client.get(address)
        page = response.content.decode()
        seen += [row.text for row in response.context["rows"]]
        address = f"/messages/{response.context['next_url']}" if response.context.get("next_url") else None
        assert "120" in page or address is None or "cursor" in address
    assert sorted(seen) == [f"第 {place:03d} 条" for place in range(120)]


def test_both_ways_of_a_number_are_woven_together_and_given_once(data_dir: Path) -> None:
    base = utc_now() - timedelta(hours=1)
    for place in range(60):
        who = {"sender": NUMBER} if place % 3 else {"receiver": NUMBER}
        write(data_dir, [Sms(f"第 {place:02d} 条", **who)], now=base + timedelta(seconds=place), stream=f"s{place % 2}")  # type: ignore[arg-type]  # names of two texts
    hashes = pseudonyms_of(traffic.keys(), NUMBER)
    seen = []
    cursor: str | None = None
    while True:
        hits, cursor, _ = traffic.search_page(Query(), hashes, 7, cursor, EVERYTHING)
        seen += [(hit.stream, hit.seq, hit.at) for hit in hits]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 60
    assert [at for _, _, at in seen] == sorted((at for _, _, at in seen), reverse=True)


def test_a_search_is_saved_shared_with_the_team_and_removed(
    messages: datetime, client_for: Callable[..., Client]
) -> None:
    client, other = client_for("reviewer"), client_for("reviewer")
    client.post("/messages/searches/", {"name": "诈骗", "query": "category=fraud&evil=1", "is_shared": "1"})
    saved = client.get("/messages/").context["saved"]
    assert [(one.name, one.query) for one in saved] == [("诈骗", "category=fraud")]
    assert other.get("/messages/").context["saved"] == []  # no team in common
    assert other.post(f"/messages/searches/{saved[0].id}/delete/").status_code == 400
    client.post(f"/messages/searches/{saved[0].id}/delete/")
    assert client.get("/messages/").context["saved"] == []


def test_an_export_holds_what_the_page_shows_and_is_an_entry(
    messages: datetime, client_for: Callable[..., Client]
) -> None:
    client = client_for("auditor")
    response = client.post("/messages/export/", {"format": "csv", "verdict": ["block", "hold"]})
    content = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]  # a FileResponse
    rows = list(csv.DictReader(io.StringIO(content)))
    assert len(rows) == 3
    assert {row["verdict"] for row in rows} == {"block", "hold"}
    assert all("12345678" not in line for line in content.splitlines())
    assert any(row["text"].startswith("'=HYPERLINK") for row in rows)
    (entry,) = audit.entries(kinds=["messages.exported"])
    assert entry.data["rows"] == 3
    lines = b"".join(client.post("/messages/export/", {"format": "jsonl"}).streaming_content)  # type: ignore[attr-defined]  # as above
    assert len([json.loads(line) for line in lines.splitlines()]) == 5


def test_an_export_that_is_cut_says_so_in_the_file_and_on_the_page(
    messages: datetime, client_for: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_ROWS", 2)
    client = client_for("auditor")
    made = client.post("/messages/export/", {"format": "csv"})
    lines = b"".join(made.streaming_content).decode("utf-8-sig").splitlines()  # type: ignore[attr-defined]  # a FileResponse
    assert len(lines) == 1 + 2 + 1
    assert lines[-1].startswith("# Cut after 2 messages; older ones are left out.,")
    assert len(next(csv.reader([lines[-1]]))) == len(exports.COLUMNS)
    assert made.headers["X-Is-Cut"] == "yes"
    made = client.post("/messages/export/", {"format": "jsonl"})
    rows = [json.loads(line) for line in b"".join(made.streaming_content).splitlines()]  # type: ignore[attr-defined]  # as above
    assert [row.get("truncated") for row in rows] == [None, None, True]
    assert rows[-1] == {"truncated": True, "rows": 2}
    assert (
        "The newest 2 of 5; the last line of the file says that it is cut."
        in client.get("/messages/?period=day").content.decode()
    )
    whole = client.post("/messages/export/", {"format": "jsonl", "verdict": ["block"]})
    assert b"truncated" not in b"".join(whole.streaming_content)  # type: ignore[attr-defined]  # as above


def test_a_search_that_a_token_saves_names_the_token(messages: datetime, account: Callable[..., Account]) -> None:
    api = api_of(account("reviewer"))
    saved = json.loads(api("POST", "searches", {"name": "blocks", "query": "verdict=block"}).content)
    assert api("DELETE", f"searches/{saved['id']}").status_code == 204
    entries = audit.entries(kinds=["search."])
    assert [entry.actor.partition(":")[0] for entry in entries] == ["token", "token"]


def test_a_number_and_words_narrow_together_on_the_page_and_in_the_file(
    messages: datetime, client_for: Callable[..., Client]
) -> None:
    client = client_for("rule_author")
    address = client.post("/messages/find/", {"number": NUMBER, "number_as": "who", "words": "薇信"}).headers[
        "Location"
    ]
    page = client.get(address).content.decode()
    assert page.count('class="row-link" href="/messages/') == 1
    asked = parse_qs(urlsplit(address).query)
    for kind, lines in (("jsonl", 1), ("csv", 2)):
        answer = client.post("/messages/export/", {"format": kind, **asked})
        content = b"".join(answer.streaming_content)  # type: ignore[attr-defined]  # as above
        assert len(content.splitlines()) == lines
        assert "薇信".encode() in content


def test_who_may_not_export_is_refused(messages: datetime, client_for: Callable[..., Client]) -> None:
    assert client_for("reviewer").post("/messages/export/", {"format": "csv"}).status_code == 403


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝", "＠"])
def test_a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe(start: str) -> None:
    assert safe_cell(f"{start}1+1") == f"'{start}1+1"
    assert b"'" in csv_line((f"{start}cmd",))


def test_cells_that_are_harmless_stay_as_they_are() -> None:
    assert safe_cell("a=b") == "a=b"
    assert safe_cell(-0.5) == -0.5
