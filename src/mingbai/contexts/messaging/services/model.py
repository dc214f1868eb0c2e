"""What people do with models: learn one, compare, run it in the shadow, propose it, approve it, go back.

As with the rulebook, the rows say what holds and `publish_present` makes the policy store hold it. Whoever proposed a
model, or asked for its learning, does not approve it; going back to one that was in force needs one person.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from mingbai.connectors import policy_store
from mingbai.contexts.audit import services as audit
from mingbai.contexts.messaging.models import ModelState, ModelTerm, Run, RunKind, ScreeningModel, ShadowCount
from mingbai.contexts.messaging.services import runs
from mingbai.contexts.messaging.services.rulebook import SamePerson
from mingbai.kernel.clock import format_utc
from mingbai.kernel.errors import BadValue, MingbaiError

MAX_WORDS = 500


class WrongModelState(MingbaiError):
    """A model cannot take this step from where it is."""

    code = "wrong_model_state"
    template = "state: model {version} is {state}, expected {expected}"


class NoModelYet(MingbaiError):
    """The worker has not read the shipped model's file yet; it does within seconds of the first start."""

    code = "no_model_yet"
    template = "model: none is known yet, expected the shipped one"
    retryable = True


# ---- which there are


def note_shipped(facts: Mapping[str, Any], *, now: datetime) -> ScreeningModel:  # Any: JSON
    """The model that the program brings. A new release's takes the place of an older release's, not of a learnt one."""
    with transaction.atomic():
        known = ScreeningModel.objects.filter(version=facts["version"]).first()
        if known is not None:
            return known
        before = ScreeningModel.objects.select_for_update().filter(state=ModelState.IN_FORCE).first()
        model = ScreeningModel.objects.create(
            version=facts["version"], is_shipped=True, facts=dict(facts), made_at=now, state=ModelState.SUPERSEDED
        )
        audit.append("model.shipped", actor="system", subject=model.ref, data={"version": model.version}, now=now)
        if before is None or before.is_shipped:
            _begin(model, ModelTerm.How.SHIPPED, now, by=None)
        if before is None:
            _take_over_found(now)
    return model


def _take_over_found(now: datetime) -> None:
    """A new database beside an older data directory: what is in force there goes on."""
    snapshot = policy_store.current(_data())
    found = {} if snapshot is None else {"in_force": snapshot.model, "shadow": snapshot.shadow_model}
    for role, part in found.items():
        if part is None:
            continue
        model, _ = ScreeningModel.objects.get_or_create(version=part.version, defaults={"made_at": now})
        if role == "in_force":
            _begin(model, ModelTerm.How.FOUND, now, by=None)
        else:
            model.is_shadow = True
            model.save(update_fields=("is_shadow",))
        audit.append("model.found", actor="system", subject=model.ref, data={"as": role}, now=now)


def keep_facts(version: str, facts: Mapping[str, Any]) -> None:  # Any: JSON
    """What a model's file says of itself, where it was not known."""
    ScreeningModel.objects.filter(version=version, facts={}).update(facts=dict(facts))


def ask_learning(*, by: UUID, now: datetime, seed: int = 1, actor: str = "") -> Run:
    """Learn from all reviewed messages, beginning from the model in force."""
    present = in_force()
    asked = {"seed": seed, "version": "" if present.is_shipped else present.version, "base": present.version}
    return runs.ask(RunKind.LEARN, subject=present.ref, asked=asked, now=now, by=by, actor=actor)


def keep_candidate(run: Run, result: Mapping[str, Any], *, now: datetime) -> ScreeningModel | None:  # Any: JSON
    """The model that a run learnt. None where nothing was gained. Called twice it does nothing more."""
    base = ScreeningModel.objects.filter(version=run.asked.get("base", "")).first()
    version = result.get("version")
    if not version or (base is not None and version == base.version):
        return None
    with transaction.atomic():
        model, is_new = ScreeningModel.objects.get_or_create(
            version=version,
            defaults={
                "base": base,
                "run": run,
                "facts": result["facts"],
                "report": result["report"],
                "comparison": result["report"]["comparison"],
                "made_by": run.asked_by,
                "made_at": now,
            },
        )
        if is_new:
            data = {"version": version, "base": base and base.version, "reviewed": result["reviewed"]}
            audit.append("model.learnt", actor=_ref(run.asked_by), subject=model.ref, data=data, now=now)
    return model


def ask_comparison(version: str, *, by: UUID, now: datetime, actor: str = "") -> Run:
    """Compare a model with the one in force on the same held-back messages, as they are labelled now."""
    model, present = _found(version), in_force()
    asked = {
        "present": "" if present.is_shipped else present.version,
        "candidate": "" if model.is_shipped else model.version,
        "against": present.version,
    }
    return runs.ask(RunKind.COMPARE, subject=model.ref, asked=asked, now=now, by=by, actor=actor)


def keep_comparison(run: Run, result: Mapping[str, Any]) -> None:  # Any: JSON
    version = run.subject.removeprefix("model:")
    ScreeningModel.objects.filter(version=version).update(comparison=dict(result))


def ask_drift(*, since: datetime, until: datetime, by: UUID | None, now: datetime, actor: str = "") -> Run:
    """Measure how traffic of a period differs from what the model in force was trained on."""
    present = in_force()
    asked = {
        "version": "" if present.is_shipped else present.version,
        "since": format_utc(since),
        "until": format_utc(until),
    }
    return runs.ask(RunKind.DRIFT, subject=present.ref, asked=asked, now=now, by=by, actor=actor)


# ---- the shadow


def set_shadow(version: str | None, *, by: UUID, now: datetime, actor: str = "") -> ScreeningModel | None:
    """Let a model decide beside the one in force, only counted; None switches the shadow off."""
    with transaction.atomic():
        before = ScreeningModel.objects.select_for_update().filter(is_shadow=True).first()
        model = None if version is None else _found(version)
        if model is not None and model.state == ModelState.IN_FORCE:
            raise WrongModelState(version=version, state=model.state, expected="one that is not in force")
        if model is not None and model.is_shipped and not _is_at_hand(model):
            raise WrongModelState(version=version, state="gone", expected="a model whose file is here")
        if before == model:
            return model
        ScreeningModel.objects.filter(is_shadow=True).update(is_shadow=False)
        if model is not None:
            model.is_shadow = True
            model.save(update_fields=("is_shadow",))
        subject = model.ref if model is not None else before.ref if before is not None else ""
        kind = "model.shadow_started" if model is not None else "model.shadow_stopped"
        data = {"shadow": version, "before": before and before.version}
        audit.append(kind, actor=actor or _ref(by), subject=subject, data=data, now=now)
        transaction.on_commit(publish_present, robust=True)
    return model


def keep_shadow_counts(rows: list[ShadowCount]) -> None:
    ShadowCount.objects.bulk_create(rows, ignore_conflicts=True, batch_size=500)


# ---- two people


def propose(version: str, *, words: str, by: UUID, now: datetime, actor: str = "") -> ScreeningModel:
    """Ask for a candidate to be put in force."""
    _check_words("words", words, least=3)
    with transaction.atomic():
        model = _locked(version)
        if model.state not in (ModelState.CANDIDATE, ModelState.SUPERSEDED, ModelState.REJECTED):
            raise WrongModelState(version=version, state=model.state, expected="a candidate")
        if not _is_at_hand(model):
            raise WrongModelState(version=version, state="gone", expected="a model whose file is here")
        model.state = ModelState.PROPOSED
        model.proposed_by, model.proposed_at, model.proposal = by, now, words.strip()
        model.save()
        audit.append(
            "model.proposed", actor=actor or _ref(by), subject=model.ref, data={"words": model.proposal}, now=now
        )
    return model


def approve(version: str, *, by: UUID, now: datetime, words: str = "", actor: str = "") -> ScreeningModel:
    """Put a proposed model in force. Raises SamePerson for who proposed it or had it learnt."""
    _check_words("words", words)
    with transaction.atomic():
        model = _locked(version)
        _expect_proposed(model)
        if by in (model.proposed_by, model.made_by):
            raise SamePerson(what=f"model {version}")
        before = in_force()
        model.decided_by, model.decided_at, model.decision = by, now, words.strip()
        model.save()
        _begin(model, ModelTerm.How.APPROVED, now, by=by, reason=words)
        audit.append(
            "model.approved",
            actor=actor or _ref(by),
            subject=model.ref,
            data={"instead_of": before.version, "proposed_by": _ref(model.proposed_by), "words": words.strip()},
            now=now,
        )
        transaction.on_commit(publish_present, robust=True)
    return model


def reject(version: str, *, words: str, by: UUID, now: datetime, actor: str = "") -> ScreeningModel:
    """Refuse a proposed model, with a reason. Who proposed it may take it back so, too."""
    _check_words("words", words, least=3)
    with transaction.atomic():
        model = _locked(version)
        _expect_proposed(model)
        model.state = ModelState.REJECTED
        model.decided_by, model.decided_at, model.decision = by, now, words.strip()
        model.save()
        audit.append(
            "model.rejected", actor=actor or _ref(by), subject=model.ref, data={"words": model.decision}, now=now
        )
    return model


def go_back(*, by: UUID, now: datetime, reason: str = "", actor: str = "") -> ScreeningModel:
    """Put the model back that was in force before the present one. Raises WrongModelState where there is none."""
    _check_words("reason", reason)
    with transaction.atomic():
        present = in_force()
        model = previous()
        if model is None:
            raise WrongModelState(version=present.version, state="the only one", expected="one that was before it")
        model = _locked(model.version)
        _begin(model, ModelTerm.How.WENT_BACK, now, by=by, reason=reason)
        audit.append(
            "model.went_back",
            actor=actor or _ref(by),
            subject=model.ref,
            data={"instead_of": present.version, "reason": reason.strip()},
            now=now,
        )
        transaction.on_commit(publish_present, robust=True)
    return model


# ---- what the rows say is what holds


def in_force() -> ScreeningModel:
    """Raises NoModelYet."""
    model = ScreeningModel.objects.filter(state=ModelState.IN_FORCE).first()
    if model is None:
        raise NoModelYet()
    return model


def previous() -> ScreeningModel | None:
    """The model before the present one, if its file is still here."""
    terms = list(ModelTerm.objects.select_related("model")[:20])
    return next((t.model for t in terms[1:] if t.model_id != terms[0].model_id and _is_at_hand(t.model)), None)


def publish_present() -> bool:
    """Make the policy store hold the model and the shadow that the rows name. True if it had to be changed."""
    data, is_changed, done = _data(), False, None
    while True:
        term = ModelTerm.objects.select_related("model").first()
        shadow = ScreeningModel.objects.filter(is_shadow=True).first()
        said = (term and term.pk, shadow and shadow.pk)
        if term is None or said == done:  # nobody came between reading and publishing
            return is_changed
        current = policy_store.current(data)
        model_wanted = None if term.model.is_shipped else term.model.version
        shadow_wanted = None if shadow is None else _shadow_version(shadow)
        held = tuple(part and part.version for part in (current and current.model, current and current.shadow_model))
        if (model_wanted, shadow_wanted) != held:
            by = _ref(term.by) if term.by else "system"
            policy_store.publish(data, now=term.at, by=by, model=model_wanted, shadow_model=shadow_wanted)
            is_changed = True
        done = said


def _shadow_version(shadow: ScreeningModel) -> str:
    """The shipped model has no file of its own in the store until it is wanted beside another."""
    if shadow.is_shipped and not _has_file(shadow.version):
        from importlib import resources

        content = resources.files("mingbai.engines.screening").joinpath("data/model.npz").read_bytes()
        policy_store.add_model(_data(), policy_store.ModelFile(shadow.version, content))
    return shadow.version


def _has_file(version: str) -> bool:
    return (policy_store.policies_dir(_data()) / f"model-{version}.npz").is_file()


def _is_at_hand(model: ScreeningModel) -> bool:
    """Whether it can be put in force: its file is here, or the program brings it."""
    newest = ScreeningModel.objects.filter(is_shipped=True).order_by("-made_at").first()
    return _has_file(model.version) or (model.is_shipped and newest is not None and newest.pk == model.pk)


# ---- within


def _data() -> Path:
    data: Path = settings.MINGBAI.data
    return data


def _ref(account: UUID | None) -> str:
    return f"account:{account}" if account else "system"


def _found(version: str) -> ScreeningModel:
    model = ScreeningModel.objects.filter(version=version).first()
    if model is None:
        raise BadValue(field="version", value=version[:20], expected="the version of a model that is known")
    return model


def _locked(version: str) -> ScreeningModel:
    # The oldest row is the lock of all changes of state; on SQLite the transaction itself is.
    oldest = ScreeningModel.objects.order_by("made_at", "id").first()
    if oldest is not None:
        ScreeningModel.objects.select_for_update().get(pk=oldest.pk)
    return ScreeningModel.objects.select_for_update().get(pk=_found(version).pk)


def _expect_proposed(model: ScreeningModel) -> None:
    if model.state != ModelState.PROPOSED:
        raise WrongModelState(version=model.version, state=model.state, expected="proposed")


def _begin(model: ScreeningModel, how: ModelTerm.How, now: datetime, *, by: UUID | None, reason: str = "") -> None:
    """The model is in force from now on, and the one before is not; a shadow of itself it is no longer."""
    ScreeningModel.objects.filter(state=ModelState.IN_FORCE).update(state=ModelState.SUPERSEDED)
    model.state, model.is_shadow = ModelState.IN_FORCE, False
    model.save(update_fields=("state", "is_shadow"))
    last = ModelTerm.objects.aggregate(last=Max("seq"))["last"] or 0
    ModelTerm.objects.create(seq=last + 1, model=model, how=how, by=by, at=now, reason=reason.strip())


def _check_words(field: str, value: str, *, least: int = 0) -> None:
    if not least <= len(value.strip()) <= MAX_WORDS:
        raise BadValue(field=field, value=value.strip()[:80], expected=f"{least} to {MAX_WORDS} characters")
