"""The model's life through its pages: known, learnt, compared, in the shadow, proposed, approved, put back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from django.conf import settings
from django.test import Client

from mingbai.connectors import policy_store
from mingbai.connectors.screening_client import ScreeningClient
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.messaging.jobs import model as jobs
from mingbai.contexts.messaging.models import ModelState, ModelTerm, Run, RunState, ScreeningModel
from mingbai.contexts.messaging.services import labels, runs
from mingbai.contexts.messaging.services import model as services
from mingbai.contexts.messaging.services.rulebook import SamePerson
from mingbai.contexts.messaging.views.model_words import SHIPPED_MACRO_F1, SHIPPED_RECALL
from mingbai.kernel.clock import utc_now
from mingbai.kernel.verdicts import Category, Verdict
from tests.contexts.messaging.screener_process import running_screener, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]
Clients = Callable[..., Client]


@pytest.fixture(scope="module")
def candidate() -> tuple[str, bytes]:
    """Another model than the shipped one: its thresholds are higher."""
    from dataclasses import replace

    from mingbai.engines.screening.model import Model

    shipped = Model.load()
    other = replace(shipped, english=shipped.english._replace(block_at=shipped.english.block_at + 0.01))
    return other.version, other.to_bytes()


@pytest.fixture
def shipped(data_dir: Path) -> ScreeningModel:
    jobs._known_shipped.clear()
    jobs._know_shipped(settings.MINGBAI, utc_now())
    return ScreeningModel.objects.get()


def known(data_dir: Path, candidate: tuple[str, bytes], by: Any = None) -> ScreeningModel:
    version, content = candidate
    policy_store.add_model(data_dir, policy_store.ModelFile(version, content))
    return ScreeningModel.objects.create(version=version, made_at=utc_now(), made_by=by)


def test_the_shipped_model_is_known_with_its_card(shipped: ScreeningModel, client_for: Clients) -> None:
    assert (shipped.state, shipped.is_shipped) == (ModelState.IN_FORCE, True)
    client = client_for("auditor")
    for url in ("/model/", f"/model/{shipped.version}/", "/model/drift/", "/model/in-force/"):
        assert client.get(url).status_code == 200, url
    assert shipped.version in client.get("/model/").content.decode()
    assert client.get("/model/0123456789ab/").status_code == 404
    assert client.post("/model/learn/").status_code == 403
    assert client_for("subscriber").get("/model/").status_code == 403


def test_the_card_on_the_page_says_what_the_document_says() -> None:
    text = (Path(__file__).parents[3] / "docs/reference/model-card.md").read_text(encoding="utf-8")
    for name, low, high in SHIPPED_RECALL:
        assert re.search(rf"\| {name.capitalize()} \| {low:.3f} \| {high:.3f} \|", text)
    assert f"Macro-F1 over the five categories: {SHIPPED_MACRO_F1}" in text


def test_a_switch_needs_a_second_person_and_back_is_one_click(
    data_dir: Path, shipped: ScreeningModel, candidate: tuple[str, bytes], client_for: Clients
) -> None:
    author, approver = client_for("rule_author"), client_for("rule_approver")
    model = known(data_dir, candidate, by=author.account.pk)  # type: ignore[attr-defined]  # what client_for adds
    with running_screener(data_dir) as screener:
        author.post(f"/model/{model.version}/propose/", {"words": "fewer false blocks"})
        with pytest.raises(SamePerson):
            services.approve(model.version, by=author.account.pk, now=utc_now())  # type: ignore[attr-defined]  # as above
        assert author.post(f"/model/{model.version}/approve/").status_code == 403
        assert screener.status()["policy"]["model"] == shipped.version
        approver.post(f"/model/{model.version}/approve/", {"words": "agreed"})
        until(lambda: screener.status()["policy"]["model"] == model.version, "the candidate decides")
        until(lambda: "decides by it" in approver.get("/model/in-force/").content.decode(), "the page says so")
        approver.post("/model/back/")
        until(lambda: screener.status()["policy"]["model"] == shipped.version, "the shipped one decides again")
    assert [term.how for term in ModelTerm.objects.order_by("seq")] == ["shipped", "approved", "went_back"]
    assert not services.publish_present()
    found = [entry.kind for entry in audit.entries(kinds=("model.",))][::-1]
    assert found == ["model.shipped", "model.proposed", "model.approved", "model.went_back"]


def test_a_shadow_decides_nothing_and_is_counted(
    data_dir: Path, shipped: ScreeningModel, candidate: tuple[str, bytes], client_for: Clients
) -> None:
    author = client_for("rule_author")
    model = known(data_dir, candidate)
    with running_screener(data_dir) as screener:
        author.post("/model/shadow/", {"version": model.version})
        until(lambda: screener.status()["policy"]["shadow_model"] == model.version, "the shadow is on")
        screener.screen(pa.record_batch({"text": ["home at six", "晚上七点回家"] * 20}))
        until(lambda: (screener.status()["shadow"] or {}).get("agree", 0) == 40, "the shadow has counted")
    # The screener writes its counts when it ends.
    jobs.gather_shadow_counts(settings.MINGBAI, utc_now())
    jobs.gather_shadow_counts(settings.MINGBAI, utc_now())  # and none is counted twice
    page = author.get("/model/").content.decode()
    assert "100.00%" in page and model.version in page
    author.post("/model/shadow/", {})
    current = policy_store.current(data_dir)
    assert current is not None and current.shadow_model is None
    assert "shadow_stopped" in audit.entries(kinds=("model.",)).first().kind  # type: ignore[union-attr]  # there is one
    assert author.post("/model/shadow/", {"version": shipped.version}).status_code == 302
    assert not ScreeningModel.objects.filter(is_shadow=True).exists()  # the one in force is no shadow of itself


@pytest.fixture
def reviewed(data_dir: Path) -> Iterator[ScreeningClient]:
    """Recorded messages that people have decided: enough to learn from in Chinese."""
    lures = [f"【好运来】恭喜第{n}位用户获得蓝色大象礼包，点此 http://lx{n}.top/a 领取现金" for n in range(80)]
    homes = [f"{n}点开会别忘了带材料，下班一起吃饭" for n in range(80)]
    now = utc_now()
    with running_screener(data_dir) as client:
        for texts, category in ((lures, Category.FRAUD), (homes, Category.PERSONAL)):
            found = client.screen(pa.record_batch({"text": texts}))
            verdict = Verdict.BLOCK if category == Category.FRAUD else Verdict.ALLOW
            for n, id in enumerate(found.ids):
                labels.record_label(
                    stream=found.stream, seq=found.first_seq + n, entry_id=id, verdict=verdict, category=category,
                    source="review", by="account:x", now=now,
                )  # fmt: skip
        yield client


@pytest.mark.slow
def test_a_candidate_is_learnt_and_compared_on_held_back_messages(
    reviewed: ScreeningClient, shipped: ScreeningModel, client_for: Clients
) -> None:
    author = client_for("rule_author")
    answer = author.post("/model/learn/")
    assert answer.status_code == 302
    run = Run.objects.get(kind="learn")
    assert author.post("/model/learn/").url == answer.url  # type: ignore[attr-defined]  # the same, while it is open
    jobs.carry_out_runs(settings.MINGBAI, utc_now())
    run.refresh_from_db()
    assert (run.state, run.error) == (RunState.DONE, "")
    assert run.result is not None and run.result["reviewed"] == 160
    assert "蓝色大象" not in str(run.result)
    if run.result["version"] == shipped.version:  # nothing was gained: said so, and no candidate
        assert "Nothing was gained" in author.get(answer.url).content.decode()  # type: ignore[attr-defined]  # as above
        return
    model = ScreeningModel.objects.get(version=run.result["version"])
    assert (model.state, model.base, model.made_by) == (ModelState.CANDIDATE, shipped, author.account.pk)  # type: ignore[attr-defined]  # as above
    page = author.get(f"/model/{model.version}/").content.decode()
    assert "On the same held-back messages" in page
    author.post(f"/model/{model.version}/compare/")
    jobs.carry_out_runs(settings.MINGBAI, utc_now())
    assert Run.objects.get(kind="compare").state == RunState.DONE


def test_learning_without_reviewed_messages_is_refused(shipped: ScreeningModel, client_for: Clients) -> None:
    author = client_for("rule_author")
    assert author.post("/model/learn/").status_code == 302
    assert not Run.objects.filter(kind="learn").exists()
    run = services.ask_learning(by=author.account.pk, now=utc_now())  # type: ignore[attr-defined]  # as above
    jobs.carry_out_runs(settings.MINGBAI, utc_now())
    run.refresh_from_db()
    assert run.state == RunState.FAILED and "reviewed" in run.error
    assert runs.take(("learn",), now=utc_now()) is None


def test_drift_is_measured_over_a_period(data_dir: Path, shipped: ScreeningModel, client_for: Clients) -> None:
    author = client_for("rule_author")
    with running_screener(data_dir) as screener:
        texts = [f"会议改到{n}点，请准时" for n in range(300)] + [f"see you at {n} then" for n in range(300)]
        screener.screen(pa.record_batch({"text": texts}))
    author.post("/model/drift/measure/", {"days": "1"})
    jobs.carry_out_runs(settings.MINGBAI, utc_now())
    run = Run.objects.get(kind="drift")
    assert (run.state, run.error) == (RunState.DONE, "")
    assert run.result is not None and run.result["messages"] == 600
    page = author.get("/model/drift/").content.decode()
    assert "Score, Chinese" in page and "PSI" in page


def test_a_crash_between_approval_and_publication_is_mended(
    data_dir: Path, shipped: ScreeningModel, candidate: tuple[str, bytes]
) -> None:
    model = known(data_dir, candidate)
    ScreeningModel.objects.filter(pk=shipped.pk).update(state=ModelState.SUPERSEDED)
    ScreeningModel.objects.filter(pk=model.pk).update(state=ModelState.IN_FORCE)
    ModelTerm.objects.create(seq=2, model=model, how=ModelTerm.How.APPROVED, at=utc_now())
    jobs.keep_model_in_force(settings.MINGBAI, utc_now())
    current = policy_store.current(data_dir)
    assert current is not None and current.model is not None and current.model.version == model.version
