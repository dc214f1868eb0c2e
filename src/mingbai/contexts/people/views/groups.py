"""Teams and units."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mingbai.contexts.people import queries
from mingbai.contexts.people.choices import Role, UnitKind
from mingbai.contexts.people.models import Account, Assignment, Team, Unit
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.contexts.people.services import roles, teams, units
from mingbai.contexts.people.views.shared import attempt, manages_all, tabs, units_offered, words_of
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import MingbaiError

# -- teams: they belong to nobody's unit, so that only whoever manages everything changes them


class TeamForm(forms.Form):
    code = forms.SlugField(label=gettext_lazy("Code"), max_length=64, help_text=gettext_lazy("It cannot be changed."))
    name = forms.CharField(label=gettext_lazy("Name"), max_length=120)


@requires(Action.SEE_PEOPLE)
@require_GET
def people_teams(request: RequestWithRights) -> HttpResponse:
    shown = Team.objects.prefetch_related("members", "assignments__unit")
    context = {
        "tabs": tabs(request, "people_teams"),
        "teams": shown if _sees_all(request) else shown.filter(members__in=_visible(request)).distinct(),
        "may_manage": manages_all(request),
        "form": TeamForm(),
    }
    return render(request, "people/teams.html", context)


@requires(Action.MANAGE_PEOPLE)
@require_POST
def team_new(request: RequestWithRights) -> HttpResponse:
    _all_only(request)
    form = TeamForm(request.POST)
    if form.is_valid():
        given = form.cleaned_data
        team = attempt(
            request,
            lambda: teams.create_team(given["code"], name=given["name"], actor=request.user.ref, now=utc_now()),
            _("The team is made."),
        )
        if team is not None:
            return redirect("people_team", code=team.code)
    else:
        for problems in form.errors.values():
            messages.error(request, " ".join(str(problem) for problem in problems))
    return redirect("people_teams")


@requires(Action.SEE_PEOPLE)
@require_http_methods(["GET", "POST"])
def people_team(request: RequestWithRights, code: str) -> HttpResponse:
    """A team's members and roles; with POST one change of them."""
    team = Team.objects.filter(code=code).first()
    seen = Account.objects.all() if _sees_all(request) else _visible(request)
    if team is None or not (_sees_all(request) or team.members.filter(pk__in=seen).exists()):
        raise Http404
    if request.method == "POST":
        _all_only(request)
        attempt(request, lambda: _change_team(request, team), _("Done."))
        still_there = Team.objects.filter(pk=team.pk).exists()
        return redirect("people_team", code=code) if still_there else redirect("people_teams")
    context = {
        "tabs": tabs(request, "people_teams"),
        "team": team,
        "members": team.members.filter(pk__in=seen),
        "assignments": team.assignments.select_related("unit"),
        "may_manage": manages_all(request),
        "roles": Role.choices,
        "units": units_offered(request),
        "candidates": Account.objects.filter(is_active=True).exclude(teams=team) if manages_all(request) else [],
    }
    return render(request, "people/team.html", context)


def _change_team(request: RequestWithRights, team: Team) -> None:
    actor, now, act = request.user.ref, utc_now(), request.POST.get("act", "")
    if act in ("join", "leave"):
        account = Account.objects.filter(username=request.POST.get("account", "")).first()
        if account is None:
            raise Http404
        (teams.add_member if act == "join" else teams.remove_member)(team, account, actor=actor, now=now)
    elif act == "assign":
        unit = Unit.objects.filter(code=request.POST.get("unit", "")).first()
        roles.assign_team_role(team, request.POST.get("role", ""), unit=unit, actor=actor, now=now)
    elif act == "remove":
        wanted = request.POST.get("assignment", "")
        row = next((row for row in Assignment.objects.filter(team=team) if str(row.pk) == wanted), None)
        if row is None:
            raise Http404
        roles.remove_role(row, actor=actor, now=now)
    elif act == "rename":
        teams.rename_team(team, name=request.POST.get("name", ""), actor=actor, now=now)
    elif act == "delete":
        teams.delete_team(team, actor=actor, now=now)
    else:
        raise Http404


# -- units


class UnitForm(forms.Form):
    code = forms.SlugField(label=gettext_lazy("Code"), max_length=64, help_text=gettext_lazy("It cannot be changed."))
    kind = forms.ChoiceField(label=gettext_lazy("Kind"), choices=UnitKind.choices)
    name = forms.CharField(label=gettext_lazy("Name"), max_length=120)
    parent = forms.ChoiceField(label=gettext_lazy("Belongs to"), required=False)
    access_codes = forms.CharField(
        label=gettext_lazy("Access codes"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=gettext_lazy("How they begin, one a line. Roles for this unit, and for those above, reach them."),
    )

    def __init__(self, *args: object, unit: Unit | None = None, **kwargs: object) -> None:
        if unit is not None:
            kwargs["initial"] = {
                "name": unit.name,
                "parent": unit.parent.code if unit.parent else "",
                "access_codes": "\n".join(unit.access_codes),
            }
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # Django's own
        if unit is not None:
            del self.fields["code"], self.fields["kind"]
        others = [row.unit for row in queries.unit_tree() if unit is None or row.unit.pk != unit.pk]
        self.fields["parent"].choices = [("", "–"), *((other.code, str(other)) for other in others)]  # type: ignore[attr-defined]  # a ChoiceField


@requires(Action.SEE_PEOPLE)
@require_GET
def people_units(request: RequestWithRights) -> HttpResponse:
    reach = request.rights.reach(Action.SEE_PEOPLE)
    context = {
        "tabs": tabs(request, "people_units"),
        "rows": queries.unit_tree(queries.units_within(reach)),
        "may_manage": manages_all(request),
    }
    return render(request, "people/units.html", context)


@requires(Action.MANAGE_PEOPLE)
@require_http_methods(["GET", "POST"])
def unit_new(request: RequestWithRights) -> HttpResponse:
    _all_only(request)
    form = UnitForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            units.create_unit(
                given["code"], kind=given["kind"], name=given["name"], parent=_parent(given["parent"]),
                access_codes=given["access_codes"].split(), actor=request.user.ref, now=utc_now(),
            )  # fmt: skip
        except MingbaiError as error:
            _say(form, error)
        else:
            return redirect("people_units")
    return render(request, "people/unit_edit.html", {"form": form, "tabs": tabs(request, "people_units")})


@requires(Action.MANAGE_PEOPLE)
@require_http_methods(["GET", "POST"])
def people_unit(request: RequestWithRights, code: str) -> HttpResponse:
    _all_only(request)
    unit = Unit.objects.filter(code=code).select_related("parent").first()
    if unit is None:
        raise Http404
    form = UnitForm(request.POST or None, unit=unit)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            units.change_unit(
                unit, name=given["name"], parent=_parent(given["parent"]),
                access_codes=given["access_codes"].split(), actor=request.user.ref, now=utc_now(),
            )  # fmt: skip
        except MingbaiError as error:
            _say(form, error)
        else:
            return redirect("people_units")
    context = {"form": form, "unit": unit, "tabs": tabs(request, "people_units")}
    return render(request, "people/unit_edit.html", context)


@requires(Action.MANAGE_PEOPLE)
@require_POST
def unit_delete(request: RequestWithRights, code: str) -> HttpResponse:
    _all_only(request)
    unit = Unit.objects.filter(code=code).first()
    if unit is None:
        raise Http404
    attempt(request, lambda: units.delete_unit(unit, actor=request.user.ref, now=utc_now()), _("The unit is deleted."))
    return redirect("people_units")


def _parent(code: str) -> Unit | None:
    return Unit.objects.filter(code=code).first() if code else None


def _say(form: forms.Form, error: MingbaiError) -> None:
    field = str(error.data.get("field", ""))
    form.add_error(field if field in form.fields else None, words_of(error))


def _all_only(request: RequestWithRights) -> None:
    """An administrator of a province changes neither teams nor the tree: both reach beyond it."""
    if not manages_all(request):
        raise Http404


def _sees_all(request: RequestWithRights) -> bool:
    reach = request.rights.reach(Action.SEE_PEOPLE)
    return reach is not None and reach.is_all


def _visible(request: RequestWithRights) -> QuerySet[Account]:
    return queries.accounts_within(request.rights, Action.SEE_PEOPLE)


urlpatterns = [
    path("people/teams/", people_teams, name="people_teams"),
    path("people/teams/new/", team_new, name="team_new"),
    path("people/teams/<slug:code>/", people_team, name="people_team"),
    path("people/units/", people_units, name="people_units"),
    path("people/units/new/", unit_new, name="unit_new"),
    path("people/units/<slug:code>/", people_unit, name="people_unit"),
    path("people/units/<slug:code>/delete/", unit_delete, name="unit_delete"),
]
