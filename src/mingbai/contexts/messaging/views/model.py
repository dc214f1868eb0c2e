"""The model's pages: which one decides and how good it is, candidates, the shadow, learning, drift."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from mingbai.connectors.screening_client import ScreenerUnavailable
from mingbai.contexts.messaging.models import ModelState, Run, RunKind, ScreeningModel
from mingbai.contexts.messaging.queries import model as queries
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.queries.rulebook import name_people
from mingbai.contexts.messaging.services import model as services
from mingbai.contexts.messaging.services import runs
from mingbai.contexts.messaging.services.rulebook import SamePerson
from mingbai.contexts.messaging.views.model_words import (
    BINS,
    FEATURES,
    LANGUAGES,
    LEVELS,
    REGRESSIONS,
    RUN_PAGE,
    SHIPPED_MACRO_F1,
    SHIPPED_RECALL,
)
from mingbai.contexts.messaging.views.rulebook_words import PERIODS, period_of
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category

_MODEL_RUNS = (RunKind.LEARN, RunKind.COMPARE, RunKind.DRIFT)
_SHADOW_OVER = timedelta(days=7)


def _status() -> dict[str, Any] | None:  # Any: JSON
    try:
        return traffic.client().status()
    except ScreenerUnavailable:
        return None


def _may(request: RequestWithRights) -> dict[str, bool]:
    return {
        "manage": request.rights.may(Action.MANAGE_MODEL),
        "approve": request.rights.may(Action.APPROVE_MODEL),
        "messages": request.rights.may(Action.SEE_MESSAGES),
    }


@requires(Action.SEE_MODEL)
@require_GET
def overview(request: RequestWithRights) -> HttpResponse:
    """Which model decides, what waits, how the shadow agrees, what there is to learn from."""
    now = utc_now()
    present = queries.in_force()
    if present is None:
        return render(request, "messaging/model_none.html", {"now": now})
    listed = list(queries.models()[:100])
    name_people(listed, "made_by", "proposed_by")
    shadow = queries.shadow()
    counts = queries.label_counts()
    terms = list(queries.terms()[:10])
    name_people(terms, "by")
    learning = list(queries.runs_of(RunKind.LEARN)[:5])
    drift = queries.last_drift()
    return render(request, "messaging/model.html", {
        "now": now, "present": present, "term": terms[0], "terms": terms, "models": listed,
        "proposed": [one for one in listed if one.state == ModelState.PROPOSED],
        "shadow": shadow, "previous": services.previous(),
        "agreement": queries.agreement(shadow.version, since=now - _SHADOW_OVER) if shadow else None,
        "labels": _labels(counts), "label_total": sum(counts.values()) - counts["gold"], "gold": counts["gold"],
        "learning": learning, "open_run": next((run for run in learning if run.is_open), None),
        "confirmed": queries.is_confirmed(present, _status()), "drift": drift,
        "drift_rows": _drift_rows(drift) if drift else [], "may": _may(request),
        "thresholds": _thresholds(present), **_measures(present),
    })  # fmt: skip


def _labels(counts: dict[str, int]) -> list[dict[str, object]]:
    return [
        {"label": str(BINS[category.label]), "value": counts.get(category.label, 0)}
        for category in Category
        if counts.get(category.label)
    ]


def _thresholds(model: ScreeningModel) -> list[dict[str, Any]]:  # Any: what templates take
    return [
        {"language": LANGUAGES[name], **{key: found[key] for key in ("flag_at", "block_at", "slots", "trees")}}
        for name, found in model.facts.get("languages", {}).items()
        if name in LANGUAGES
    ]


def _measures(model: ScreeningModel) -> dict[str, Any]:  # Any: what templates take
    """The figures of its card: measured at its training, or on held-back messages when it was learnt here."""
    if model.is_shipped:
        rows = [{"language": LANGUAGES[name], "low": low, "high": high} for name, low, high in SHIPPED_RECALL]
        return {"card": {"recall": rows, "macro_f1": SHIPPED_MACRO_F1}}
    return {"card": None}


@requires(Action.SEE_MODEL)
@require_GET
def in_force(request: RequestWithRights) -> HttpResponse:
    """A fragment: whether the screener decides by what was approved."""
    present = services.in_force()
    term = queries.terms().first()
    name_people([term] if term else [], "by")
    context = {
        "present": present,
        "confirmed": queries.is_confirmed(present, _status()),
        "term": term,
        "previous": services.previous(),
        "may": _may(request),
    }
    return render(request, "messaging/model_in_force.html", context)


def _found(version: str) -> ScreeningModel:
    model = queries.models().filter(version=version).first()
    if model is None:
        raise Http404
    return model


@requires(Action.SEE_MODEL)
@require_GET
def one(request: RequestWithRights, version: str) -> HttpResponse:
    """One model: its card, its measures beside the present one's, the messages that change their verdict."""
    model = _found(version)
    name_people([model], "made_by", "proposed_by", "decided_by")
    only = request.GET.get("only", "")
    only = only if only in ("better", "worse", "gold") else ""
    given = request.GET.get("start", "0")
    start = int(given) if given.isdecimal() and len(given) < 6 else 0
    context: dict[str, Any] = {  # Any: what templates take
        "model": model, "present": queries.in_force(), "may": _may(request), "thresholds": _thresholds(model),
        "curves": _curves(model), "sources": _sources(model), "only": only, "start": start,
        "is_own": request.user.pk in (model.proposed_by, model.made_by),
        "runs": list(Run.objects.filter(subject=model.ref, kind=RunKind.COMPARE)[:3]), "learnt": _learnt(model),
        **_measures(model),
    }  # fmt: skip
    if model.comparison:
        rows, total = queries.changed_verdicts(model.comparison, request.rights, start=start, count=RUN_PAGE, only=only)
        context |= {
            "comparison": model.comparison, "figures": _figures(model.comparison),
            "categories": _categories(model.comparison),
            "regressions": [REGRESSIONS.get(code, code) for code in model.comparison["regressions"]],
            "rows": rows, "total": total,
            "next_start": start + RUN_PAGE if start + RUN_PAGE < total else None,
            "previous_start": max(0, start - RUN_PAGE) if start else None,
        }  # fmt: skip
    if model.is_shadow:
        context["agreement"] = queries.agreement(model.version, since=utc_now() - _SHADOW_OVER)
    return render(request, "messaging/model_one.html", context)


def _curves(model: ScreeningModel) -> list[dict[str, Any]]:  # Any: what templates take
    out = []
    for name, found in model.facts.get("languages", {}).items():
        points = found.get("curve", [])
        step = max(1, len(points) // 24)
        some = points[::step]
        labels = [f"{logit:.1f}" for logit, _score in some]
        values = [score for _logit, score in some]
        out.append({"language": LANGUAGES.get(name, name), "labels": labels,
                    "series": [{"label": str(LANGUAGES.get(name, name)), "values": values}]})  # fmt: skip
    return out


def _sources(model: ScreeningModel) -> list[dict[str, object]]:
    found = model.facts.get("about", {}).get("sources", {})
    return [{"label": name, "value": count} for name, count in sorted(found.items(), key=lambda item: -item[1])]


def _learnt(model: ScreeningModel) -> list[dict[str, Any]]:  # Any: what templates take
    if not model.report:
        return []
    return [{"word": LANGUAGES[name], **model.report[name]} for name in LANGUAGES if model.report.get(name) is not None]


def _figures(comparison: dict[str, Any]) -> list[dict[str, Any]]:  # Any: JSON and what templates take
    """Rows of the table of two models: what, present, candidate, is a share, is more better."""
    shares = (
        ("recall_at_0_1_percent", _("Unwanted stopped where 0.1 % of legitimate are blocked"), True),
        ("recall_at_block", _("Unwanted stopped at its own threshold"), True),
        ("macro_f1", _("Categories told apart (macro-F1)"), True),
    )
    counts = (
        ("false_blocks", _("Legitimate messages blocked")),
        ("false_flags", _("Legitimate messages flagged")),
        ("missed", _("Unwanted messages that pass")),
        ("gold_mistakes", _("Gold messages answered wrongly")),
    )
    rows = []
    for key, word, more in (*shares, *((key, word, False) for key, word in counts)):
        old, new = comparison["present"][key], comparison["candidate"][key]
        change = None if old is None or new is None else new - old
        verdict = "" if not change else "good" if (change > 0) == more else "bad"
        rows.append({"word": word, "old": old, "new": new, "is_share": more, "verdict": verdict, "change": change})
    return rows


def _categories(comparison: dict[str, Any]) -> list[dict[str, Any]]:  # Any: JSON and what templates take
    old, new = comparison["present"]["categories"], comparison["candidate"]["categories"]
    return [{"name": name, "old": old.get(name), "new": new[name]} for name in new]


# ---- runs


@requires(Action.MANAGE_MODEL)
@require_POST
def learn(request: RequestWithRights) -> HttpResponse:
    """Ask for a candidate from all reviewed messages."""
    if not sum(count for name, count in queries.label_counts().items() if name != "gold"):
        messages.error(request, _("There is nothing to learn from yet: no message has been reviewed."))
        return redirect("model")
    run = services.ask_learning(by=request.user.pk, now=utc_now())
    return redirect("model_run", run.pk)


@requires(Action.MANAGE_MODEL, Action.APPROVE_MODEL)
@require_POST
def compare(request: RequestWithRights, version: str) -> HttpResponse:
    run = services.ask_comparison(_found(version).version, by=request.user.pk, now=utc_now())
    return redirect("model_run", run.pk)


def _run(id: UUID) -> Run:
    run = Run.objects.filter(pk=id, kind__in=_MODEL_RUNS).first()
    if run is None:
        raise Http404
    return run


@requires(Action.SEE_MODEL)
@require_GET
def run(request: RequestWithRights, id: UUID) -> HttpResponse:
    """How far a run is; once it is done, to what it made."""
    found = _run(id)
    context = {"run": found, "may": _may(request), "now": utc_now()}
    if found.is_open:
        is_fragment = bool(request.headers.get("HX-Request"))
        return render(request, "messaging/model_progress.html" if is_fragment else "messaging/model_run.html", context)
    if request.headers.get("HX-Request"):
        response = HttpResponse()
        response.headers["HX-Redirect"] = reverse("model_run", args=[found.pk])
        return response
    target = _made_by(found)
    if target is not None and request.GET.get("stay") is None and found.state == "done":
        return redirect(target)
    return render(request, "messaging/model_run.html", {**context, "target": target})


def _made_by(found: Run) -> str | None:
    if found.state != "done" or not found.result:
        return None
    if found.kind == RunKind.DRIFT:
        return reverse("model_drift")
    version = found.result.get("version") if found.kind == RunKind.LEARN else found.subject.removeprefix("model:")
    is_known = ScreeningModel.objects.filter(version=version).exists()
    gained = found.kind != RunKind.LEARN or version != found.asked.get("base")
    return reverse("model_one", args=[version]) if is_known and gained else None


@requires(Action.MANAGE_MODEL, Action.APPROVE_MODEL)
@require_POST
def cancel(request: RequestWithRights, id: UUID) -> HttpResponse:
    runs.cancel(_run(id).pk, by=request.user.pk, now=utc_now())
    return redirect("model_run", id)


# ---- shadow, switch, back


@requires(Action.MANAGE_MODEL)
@require_POST
def set_shadow(request: RequestWithRights) -> HttpResponse:
    """Let a model decide in the shadow, or none."""
    version = request.POST.get("version") or None
    try:
        model = services.set_shadow(version, by=request.user.pk, now=utc_now())
    except (services.WrongModelState, BadValue):
        messages.error(request, _("This model cannot run in the shadow: it is in force, or its file is gone."))
    else:
        said = (
            _("Model %(version)s decides in the shadow.") % {"version": version} if model else _("No shadow any more.")
        )
        messages.success(request, said)
    return redirect("model")


@requires(Action.MANAGE_MODEL)
@require_POST
def propose(request: RequestWithRights, version: str) -> HttpResponse:
    _found(version)
    try:
        services.propose(version, words=request.POST.get("words", ""), by=request.user.pk, now=utc_now())
    except BadValue:
        messages.error(request, _("Say in a few words why: the second person reads it."))
    except services.WrongModelState:
        messages.error(request, _("This model cannot be proposed as it stands."))
    else:
        messages.success(request, _("Proposed. A second person has to approve it."))
    return redirect("model_one", version)


@requires(Action.APPROVE_MODEL)
@require_POST
def approve(request: RequestWithRights, version: str) -> HttpResponse:
    _found(version)
    try:
        services.approve(version, by=request.user.pk, now=utc_now(), words=request.POST.get("words", ""))
    except SamePerson:
        messages.error(request, _("You proposed this model or had it learnt: a second person has to approve it."))
        return redirect("model_one", version)
    except services.WrongModelState:
        messages.error(request, _("The model was changed since you opened it. Look again."))
        return redirect("model_one", version)
    messages.success(request, _("Model %(version)s is approved.") % {"version": version})
    return redirect("model")


@requires(Action.APPROVE_MODEL, Action.MANAGE_MODEL)
@require_POST
def reject(request: RequestWithRights, version: str) -> HttpResponse:
    _found(version)
    try:
        services.reject(version, words=request.POST.get("words", ""), by=request.user.pk, now=utc_now())
    except BadValue:
        messages.error(request, _("Say in a few words why: the author reads it."))
    except services.WrongModelState:
        messages.error(request, _("The model was changed since you opened it. Look again."))
    return redirect("model_one", version)


@requires(Action.APPROVE_MODEL)
@require_POST
def go_back(request: RequestWithRights) -> HttpResponse:
    """One click: the model before the present one decides again."""
    try:
        model = services.go_back(by=request.user.pk, now=utc_now(), reason=request.POST.get("reason", ""))
    except services.WrongModelState:
        messages.error(request, _("There is no model to go back to."))
    else:
        messages.success(request, _("Model %(version)s is put back.") % {"version": model.version})
    return redirect("model")


# ---- drift


@requires(Action.SEE_MODEL)
@require_GET
def drift(request: RequestWithRights) -> HttpResponse:
    """How recent traffic differs from training, feature by feature."""
    found = queries.last_drift()
    rows = _drift_rows(found) if found else []
    open_run = next((one for one in queries.runs_of(RunKind.DRIFT)[:5] if one.is_open), None)
    return render(request, "messaging/model_drift.html", {
        "run": found, "rows": rows, "moved": sum(row["level"] in ("shifted", "watch") for row in rows),
        "scores": _scores(found), "open_run": open_run, "periods": PERIODS, "may": _may(request), "now": utc_now(),
        "since": _moment(found, "since"), "until": _moment(found, "until"),
    })  # fmt: skip


def _moment(found: Run | None, name: str) -> datetime | None:
    return None if found is None else datetime.fromisoformat(found.asked[name].replace("Z", "+00:00"))


def _scores(found: Run | None) -> list[dict[str, Any]]:  # Any: what templates take
    if found is None or not found.result:
        return []
    return [
        {"language": LANGUAGES[one.language], "days": one.days, "series": one.series}
        for one in queries.scores_over_time(found.result)
    ]


_IN_WORDS = ("language", "category", "links", "evasion")  # features whose bins are words: bars, not a line


def _drift_rows(found: Run) -> list[dict[str, Any]]:  # Any: JSON and what templates take
    rows = []
    for feature in (found.result or {}).get("features", []):
        word, kind, icon = LEVELS.get(feature["level"], (feature["level"], "", "info"))
        bins = sorted(feature["bins"], key=_place)
        row = {
            "word": FEATURES.get(feature["feature"], feature["feature"]),
            "psi": feature["psi"],
            "level": feature["level"],
            "level_word": word,
            "kind": kind,
            "icon": icon,
        }
        if feature["feature"] in _IN_WORDS:
            row["bars"] = [
                {"label": f"{BINS.get(one['label'], one['label'])} · {when}", "value": one[key], "tone": tone}
                for one in bins
                for key, when, tone in (("expected", _("At training"), "quiet"), ("actual", _("Now"), "plain"))
            ]
        else:
            if feature["feature"].startswith("grams"):  # buckets of wordings, most frequent first; the rest dwarfs them
                bins = [one for one in feature["bins"] if one["label"] != "other"]
            row["labels"] = [one["label"] for one in bins]
            row["series"] = [
                {"label": _("At training"), "tone": "quiet", "values": [one["expected"] for one in bins]},
                {"label": _("Now"), "tone": "plain", "values": [one["actual"] for one in bins]},
            ]
        rows.append(row)
    return sorted(rows, key=lambda row: -row["psi"])


_ORDER = [category.label for category in Category]


def _place(one: dict[str, Any]) -> tuple[float, str]:  # Any: JSON
    """Numbers by their size, categories as everywhere, other words by themselves."""
    label = one["label"]
    try:
        return float(label), label
    except ValueError:
        return float(_ORDER.index(label)) if label in _ORDER else 0.0, label


@requires(Action.MANAGE_MODEL, Action.APPROVE_MODEL)
@require_POST
def measure_drift(request: RequestWithRights) -> HttpResponse:
    now = utc_now()
    until = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    days = period_of(request.POST.get("days"))
    found = services.ask_drift(since=until - timedelta(days=days), until=until, by=request.user.pk, now=now)
    return redirect("model_run", found.pk)


urlpatterns = [
    path("model/", overview, name="model"),
    path("model/in-force/", in_force, name="model_in_force"),
    path("model/learn/", learn, name="model_learn"),
    path("model/back/", go_back, name="model_back"),
    path("model/shadow/", set_shadow, name="model_shadow"),
    path("model/drift/", drift, name="model_drift"),
    path("model/drift/measure/", measure_drift, name="model_measure_drift"),
    path("model/runs/<uuid:id>/", run, name="model_run"),
    path("model/runs/<uuid:id>/cancel/", cancel, name="model_run_cancel"),
    path("model/<slug:version>/", one, name="model_one"),
    path("model/<slug:version>/compare/", compare, name="model_compare"),
    path("model/<slug:version>/propose/", propose, name="model_propose"),
    path("model/<slug:version>/approve/", approve, name="model_approve"),
    path("model/<slug:version>/reject/", reject, name="model_reject"),
]
