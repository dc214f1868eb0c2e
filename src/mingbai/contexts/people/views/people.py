"""People: the list of accounts, a new one with its one-time link, the matrix of rights."""

from __future__ import annotations

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_http_methods

from mingbai.contexts.people import policy, queries
from mingbai.contexts.people.choices import Language, Role
from mingbai.contexts.people.models import Account, Team, Unit
from mingbai.contexts.people.policy import MATRIX, Action
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.contexts.people.services import accounts
from mingbai.contexts.people.services.roles import assign_role
from mingbai.contexts.people.views.shared import link_of, manages_all, tabs, units_offered, within, words_of
from mingbai.contexts.people.words import ACTIONS, SCOPES
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import MingbaiError

_PAGE = 50


@requires(Action.SEE_PEOPLE)
@require_GET
def people(request: RequestWithRights) -> HttpResponse:
    """Accounts, by name, role, unit, team and state."""
    asked = {name: request.GET.get(name, "").strip() for name in ("q", "role", "unit", "team", "state")}
    unit = Unit.objects.filter(code=asked["unit"]).first() if asked["unit"] else None
    team = Team.objects.filter(code=asked["team"]).first() if asked["team"] else None
    found = queries.accounts_listed(
        request.rights, words=asked["q"], role=asked["role"], unit=unit, team=team, state=asked["state"]
    )
    after = request.GET.get("after", "")
    page = list((found.filter(username__gt=after) if after else found)[: _PAGE + 1])
    following = ""
    if len(page) > _PAGE:
        page = page[:_PAGE]
        kept = request.GET.copy()
        kept["after"] = page[-1].username
        following = f"?{kept.urlencode()}"
    reach = request.rights.reach(Action.SEE_PEOPLE)
    context = {
        "tabs": tabs(request, "people"),
        "total": found.count(),
        "rows": [{"account": account, "roles": _roles(account)} for account in page],
        "next": following,
        "first": f"?{_without(request, 'after')}" if after else "",
        "asked": asked,
        "is_filtered": any(asked.values()),
        "roles": Role.choices,
        "units": [row.unit for row in queries.unit_tree(queries.units_within(reach))],
        "teams": Team.objects.all(),
        "may_manage": request.rights.may(Action.MANAGE_PEOPLE),
    }
    return render(request, "people/people.html", context)


def _roles(account: Account) -> list[dict[str, object]]:
    rows = [*account.assignments.all(), *(row for team in account.teams.all() for row in team.assignments.all())]
    shown = {(row.role, row.unit_id): row for row in rows}  # own and by a team: once
    return [{"label": row.get_role_display(), "unit": row.unit} for row in shown.values()]


def _without(request: HttpRequest, name: str) -> str:
    kept = request.GET.copy()
    kept.pop(name, None)
    return str(kept.urlencode())


class AccountForm(forms.Form):
    """A new account. The role is optional: it can be given on the account's page."""

    username = forms.CharField(
        label=_("Username"), max_length=64, help_text=_("What they type to sign in. It cannot be changed.")
    )
    name = forms.CharField(label=_("Name"), max_length=120, required=False)
    email = forms.EmailField(label=_("E-mail"), required=False)
    number = forms.CharField(
        label=_("Number"), max_length=30, required=False, help_text=_("Of a subscriber: whose messages they may see.")
    )
    language = forms.ChoiceField(label=_("Language"), choices=[("", "–"), *Language.choices], required=False)
    role = forms.ChoiceField(label=_("Role"), choices=[("", "–"), *Role.choices], required=False)
    unit = forms.ChoiceField(
        label=_("Limited to"), required=False, help_text=_("A province, branch or partner; empty: the whole operator.")
    )

    def __init__(self, *args: object, units: list[Unit], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # Django's own
        self.fields["unit"].choices = [("", "–"), *((unit.code, str(unit)) for unit in units)]  # type: ignore[attr-defined]  # a ChoiceField


@requires(Action.MANAGE_PEOPLE)
@require_http_methods(["GET", "POST"])
def people_new(request: RequestWithRights) -> HttpResponse:
    """A new account, and the one-time link with which its person sets the password."""
    form = AccountForm(request.POST or None, units=units_offered(request))
    if request.method == "POST" and form.is_valid():
        given, now = form.cleaned_data, utc_now()
        if not manages_all(request) and not given["role"]:
            form.add_error("role", _("Give a role: without one, the account would lie outside of your units."))
        else:
            try:
                account, secret = _create(request, given)
            except MingbaiError as error:
                field = str(error.data.get("field", ""))
                form.add_error(field if field in form.fields else None, words_of(error))
            else:
                link = link_of(request, secret)
                context = {"account": account, "link": link, "hours": accounts.INVITATION_HOURS, "now": now}
                return render(request, "people/invited.html", context)
    return render(request, "people/people_new.html", {"form": form, "tabs": tabs(request, "people")})


def _create(request: RequestWithRights, given: dict[str, str]) -> tuple[Account, str]:
    from django.db import transaction

    now, actor = utc_now(), request.user.ref
    unit = Unit.objects.filter(code=given["unit"]).first() if given["unit"] else None
    with transaction.atomic():
        account = accounts.create_account(
            given["username"], actor=actor, now=now, name=given["name"], email=given["email"],
            number=given["number"], language=given["language"],
        )  # fmt: skip
        if given["role"]:
            assign_role(account, given["role"], unit=unit, actor=actor, now=now, within=within(request))
        return account, accounts.invite(account, actor=actor, now=now)


@requires(Action.SEE_PEOPLE)
@require_GET
def people_matrix(request: RequestWithRights) -> HttpResponse:
    """Who may do what, how far: the table of `policy`, in words."""
    roles = list(policy.roles())
    if (only := request.GET.get("role", "")) and only not in roles:
        raise Http404
    shown = [only] if only else roles
    rows = [
        {
            "action": action,
            "label": ACTIONS[action],
            "cells": [
                {"scope": MATRIX[action].get(role), "label": SCOPES.get(MATRIX[action].get(role, ""))} for role in shown
            ],
        }
        for action in Action
    ]
    context = {
        "tabs": tabs(request, "people_matrix"),
        "roles": [
            {"value": role, "label": Role(role).label, "factor": role in policy.SECOND_FACTOR_ROLES} for role in shown
        ],
        "every_role": Role.choices,
        "only": only,
        "rows": rows,
        "scopes": SCOPES,
    }
    return render(request, "people/matrix.html", context)


urlpatterns = [
    path("people/", people, name="people"),
    path("people/new/", people_new, name="people_new"),
    path("people/rights/", people_matrix, name="people_matrix"),
]
