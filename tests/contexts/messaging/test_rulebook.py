"""The rulebook's life, through its pages and a real screener: drafts, two people, in force, back again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from mingbai.connectors import policy_store
from mingbai.connectors.screening_client import ScreeningClient
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.messaging.jobs.rulebook import keep_rulebook_in_force
from mingbai.contexts.messaging.models import RulebookState, RulebookTerm, RulebookVersion
from mingbai.contexts.messaging.services import rulebook
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Verdict
from tests.contexts.messaging.screener_process import running_screener, until, verdict_of

pytestmark = pytest.mark.django_db(transaction=True)

RULE = """
[[rule]]
id = "fraud.blue-elephant"
category = "fraud"
action = "block"
owner = "anti-fraud desk"
reason = "A lure of this test alone"
keywords = ["蓝色大象兑换码"]
"""
LURE = "您的蓝色大象兑换码已经生成，请尽快领取"
Clients = Callable[..., Client]


@pytest.fixture
def screener(data_dir: Path) -> Iterator[ScreeningClient]:
    with running_screener(data_dir) as client:
        yield client


def begin(client: Client) -> RulebookVersion:
    """A new draft, as its author gets one."""
    answer = client.post("/rulebook/new/")
    assert answer.status_code == 302
    return RulebookVersion.objects.get(pk=answer.url.split("/")[2])  # type: ignore[attr-defined]  # a redirect


def form_of(draft: RulebookVersion, text: str, comment: str = "a lure more") -> dict[str, Any]:
    return {"text": text, "revision": draft.revision, "comment": comment}


def kinds() -> list[str]:
    return [entry.kind for entry in audit.entries(kinds=("rulebook.",))][::-1]


def test_the_shipped_rulebook_is_version_1(data_dir: Path, client_for: Clients) -> None:
    page = client_for("auditor").get("/rulebook/")
    assert page.status_code == 200
    first = RulebookVersion.objects.get()
    assert (first.number, first.state, first.is_shipped) == (1, RulebookState.IN_FORCE, True)
    assert first.text == policy_store.shipped_rulebook_text()
    assert kinds() == ["rulebook.shipped"]


def test_an_approved_rule_blocks_within_a_second_and_rollback_frees_within_a_second(
    screener: ScreeningClient, data_dir: Path, client_for: Clients
) -> None:
    author, approver = client_for("rule_author"), client_for("rule_approver")
    assert verdict_of(screener, LURE) != Verdict.BLOCK
    draft = begin(author)
    answer = author.post(f"/rulebook/{draft.pk}/submit/", form_of(draft, draft.text + RULE))
    assert answer.status_code == 302
    draft.refresh_from_db()
    assert draft.state == RulebookState.SUBMITTED
    page = approver.get(f"/rulebook/{draft.pk}/").content.decode()
    assert "fraud.blue-elephant" in page and "a lure more" in page

    approver.post(f"/rulebook/{draft.pk}/approve/", {"content": draft.content})
    until(lambda: verdict_of(screener, LURE) == Verdict.BLOCK, "the rule blocks")
    assert RulebookVersion.objects.get(state=RulebookState.IN_FORCE).pk == draft.pk
    page = "The screener decides by it"
    until(lambda: page in approver.get("/rulebook/in-force/").content.decode(), "the page says so")

    first = RulebookVersion.objects.get(number=1)
    approver.post(f"/rulebook/{first.pk}/roll-back/")
    until(lambda: verdict_of(screener, LURE) != Verdict.BLOCK, "the lure passes")
    assert RulebookVersion.objects.get(state=RulebookState.IN_FORCE).pk == first.pk
    assert kinds() == [
        "rulebook.shipped",
        "rulebook.drafted",
        "rulebook.saved",
        "rulebook.submitted",
        "rulebook.approved",
        "rulebook.rolled_back",
    ]
    assert audit.verify().ok


def test_nobody_approves_what_they_wrote(screener: ScreeningClient, account: Any, client_for: Clients) -> None:
    from mingbai.contexts.people.services.roles import assign_role
    from tests.conftest import client_of

    both = account("rule_author")
    assign_role(both, "rule_approver", actor="system", now=utc_now())
    client = client_of(both)
    draft = begin(client)
    client.post(f"/rulebook/{draft.pk}/submit/", form_of(draft, draft.text + RULE))
    answer = client.post(f"/rulebook/{draft.pk}/approve/", {})
    assert answer.status_code == 403
    assert "a second person has to approve it" in answer.content.decode()
    # Nor does somebody who only changed a line of it.
    colleague = client_for("rule_author")
    client.post(f"/rulebook/{draft.pk}/reopen/")
    draft.refresh_from_db()
    colleague.post(f"/rulebook/{draft.pk}/submit/", form_of(draft, draft.text + "# a line\n"))
    with pytest.raises(rulebook.SamePerson):
        rulebook.approve(draft.pk, by=both.pk, now=utc_now(), client=screener)
    assert RulebookVersion.objects.get(state=RulebookState.IN_FORCE).number == 1
    with pytest.raises(rulebook.SamePerson):
        rulebook.reject(draft.pk, words="no good", by=both.pk, now=utc_now())


def test_errors_are_shown_at_their_line(screener: ScreeningClient, client_for: Clients) -> None:
    author = client_for("rule_author")
    draft = begin(author)
    text = draft.text + RULE.replace('"block"', '"delete"')
    line = next(n for n, one in enumerate(text.splitlines(), 1) if '"delete"' in one)
    found = author.post("/rulebook/check/", {"text": text}).json()
    assert not found["valid"]
    assert [(one["line"], one["rule"], one["field"]) for one in found["problems"]] == [
        (line, "fraud.blue-elephant", "action")
    ]
    answer = author.post(f"/rulebook/{draft.pk}/submit/", form_of(draft, text))
    page = answer.content.decode()
    assert answer.status_code == 422
    assert re.search(rf'data-line="{line}"', page)
    assert "allow, flag, hold, block" in page
    draft.refresh_from_db()
    assert (draft.state, draft.text) == (RulebookState.DRAFT, text)  # work with an error in it is kept
    assert author.post("/rulebook/check/", {"text": draft.text.replace('"delete"', '"hold"')}).json()["valid"]


def test_a_draft_is_tried_on_pasted_messages(screener: ScreeningClient, client_for: Clients) -> None:
    author = client_for("rule_author")
    draft = begin(author)
    given = form_of(draft, draft.text + RULE) | {"messages": f"{LURE}\n<b>hello</b> mum, home at six\n"}
    answer = author.post(f"/rulebook/{draft.pk}/try/", given, headers={"HX-Request": "true"})
    page = answer.content.decode()
    assert "1 of 2 would change" in page
    assert "fraud.blue-elephant" in page and "<mark" in page
    assert "<b>hello</b>" not in page and "&lt;b&gt;hello" in page
    whole = author.post(f"/rulebook/{draft.pk}/try/", given)  # without script: the same on the whole page
    assert "1 of 2 would change" in whole.content.decode()
    draft.refresh_from_db()
    assert draft.revision == 1  # trying saves nothing


def test_a_stale_edit_is_noticed_and_nothing_is_lost(data_dir: Path, client_for: Clients) -> None:
    author, colleague = client_for("rule_author"), client_for("rule_author")
    draft = begin(author)
    assert colleague.post(f"/rulebook/{draft.pk}/save/", form_of(draft, draft.text + "# theirs\n")).status_code == 302
    answer = author.post(f"/rulebook/{draft.pk}/save/", form_of(draft, draft.text + "# mine\n"))
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "# mine" in page and "# theirs" in page
    saved = RulebookVersion.objects.get(pk=draft.pk)
    assert saved.text.endswith("# theirs\n")
    # Having seen both, the author puts theirs in its place on purpose.
    author.post(f"/rulebook/{draft.pk}/save/", form_of(saved, draft.text + "# mine\n"))
    saved.refresh_from_db()
    assert saved.text.endswith("# mine\n")
    assert len(saved.editors) == 2


def test_a_draft_of_an_older_version_is_compared_before_it_is_submitted(
    screener: ScreeningClient, client_for: Clients
) -> None:
    author, approver = client_for("rule_author"), client_for("rule_approver")
    first, second = begin(author), begin(author)
    author.post(f"/rulebook/{first.pk}/submit/", form_of(first, first.text + RULE))
    approver.post(f"/rulebook/{first.pk}/approve/", {})
    answer = author.post(f"/rulebook/{second.pk}/submit/", form_of(second, second.text + "# later\n"))
    assert answer.status_code == 409
    second.refresh_from_db()
    assert second.state == RulebookState.DRAFT
    author.post(f"/rulebook/{second.pk}/rebase/")
    second.refresh_from_db()
    answer = author.post(f"/rulebook/{second.pk}/submit/", form_of(second, first.text + RULE + "# later\n"))
    assert answer.status_code == 302


def test_a_crash_between_approval_and_publication_is_mended(data_dir: Path, account: Any) -> None:
    now = utc_now()
    first = rulebook.ensure_first(now=now)
    version = RulebookVersion.objects.create(
        number=2, text=first.text + RULE, content=policy_store.rulebook_version(first.text + RULE),
        state=RulebookState.SUPERSEDED, created_at=now, changed_at=now, base=first,
    )  # fmt: skip
    RulebookVersion.objects.filter(pk=first.pk).update(state=RulebookState.SUPERSEDED)
    RulebookVersion.objects.filter(pk=version.pk).update(state=RulebookState.IN_FORCE)
    RulebookTerm.objects.create(seq=2, version=version, how=RulebookTerm.How.APPROVED, at=now)
    assert policy_store.current(data_dir) is None  # it died before this
    from django.conf import settings

    keep_rulebook_in_force(settings.MINGBAI, now)
    assert policy_store.rulebook_text(data_dir, policy_store.current(data_dir)) == version.text
    assert not rulebook.publish_present()  # and again it changes nothing


def test_without_a_screener_the_draft_is_saved_and_not_submitted(data_dir: Path, client_for: Clients) -> None:
    author = client_for("rule_author")
    draft = begin(author)
    assert author.get(f"/rulebook/{draft.pk}/").status_code == 200
    answer = author.post(f"/rulebook/{draft.pk}/submit/", form_of(draft, draft.text + RULE))
    assert answer.status_code == 503
    draft.refresh_from_db()
    assert draft.state == RulebookState.DRAFT and draft.text.endswith(RULE)
    assert author.post("/rulebook/check/", {"text": "x"}).status_code == 503


def test_pages_of_the_history_and_the_rules(data_dir: Path, client_for: Clients) -> None:
    author, auditor = client_for("rule_author"), client_for("auditor")
    draft = begin(author)
    author.post(f"/rulebook/{draft.pk}/save/", form_of(draft, draft.text + RULE))
    for url in (
        "/rulebook/",
        "/rulebook/history/",
        "/rulebook/rules/?category=fraud",
        "/rulebook/rules/fraud.safe-account/",
        f"/rulebook/{draft.pk}/",
        f"/rulebook/{draft.pk}/differences/",
        f"/rulebook/{draft.pk}/differences/?view=side&with=1",
    ):
        for client in (author, auditor):
            answer = client.get(url)
            assert answer.status_code == 200, url
    assert "fraud.safe-account" in auditor.get("/rulebook/rules/").content.decode()
    assert auditor.post("/rulebook/new/").status_code == 403
    assert auditor.post(f"/rulebook/{draft.pk}/save/", {}).status_code == 403
    assert client_for("subscriber").get("/rulebook/").status_code == 403
    export = auditor.get("/rulebook/rules.csv?category=fraud")
    assert export.content.decode().startswith("\ufeffid,category,action")
    assert "fraud.safe-account" in export.content.decode() and "illegal.papers" not in export.content.decode()
    assert kinds()[-1] == "rulebook.exported"
