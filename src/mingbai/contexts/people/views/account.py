"""One account: roles with their scope, teams, sessions, second factors, tokens, history; and what can be done to it."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django import forms
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mingbai.contexts.audit import queries as audit
from mingbai.contexts.people import queries
from mingbai.contexts.people.choices import Language, Role
from mingbai.contexts.people.models import Account, Assignment, Team, Token, Unit
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.contexts.people.sentences import told
from mingbai.contexts.people.services import accounts, roles, sessions, teams, tokens
from mingbai.contexts.people.services.accounts import ERASED
from mingbai.contexts.people.views.shared import (
    attempt,
    link_of,
    managed_account,
    manages_all,
    tabs,
    units_offered,
    visible_account,
    within,
    words_of,
)
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import MingbaiError
from mingbai.kernel.masking import masked_number

_HISTORY = 30


@requires(Action.SEE_PEOPLE)
@require_GET
def account(request: RequestWithRights, id: UUID) -> HttpResponse:
    """Who this is, what they may do, where they are signed in, what happened to the account."""
    found = visible_account(request, id)
    may_manage = queries.accounts_within(request.rights, Action.MANAGE_PEOPLE).filter(pk=found.pk).exists()
    assignments = queries.assignments_of(found)
    member_of = list(found.teams.all())
    context = {
        "tabs": tabs(request, "people"),
        "account": found,
        "number": masked_number(found.number),
        "assignments": assignments,
        "teams": member_of,
        "sessions": _sessions(found),
        "factors": _factors(found),
        "needs_factor": queries.needs_second_factor(queries.rights_of(found)),
        "tokens": found.tokens.all(),
        "now": utc_now(),
        "history": told(audit.entries(subject=found.ref)[:_HISTORY]) if may_manage or _may_audit(request) else [],
        "may_history": may_manage or _may_audit(request),
        "may_manage": may_manage and found.pk != request.user.pk and not found.username.startswith(ERASED),
        "is_self": found.pk == request.user.pk,
        "roles": Role.choices,
        "units": units_offered(request) if may_manage else [],
        "teams_open": Team.objects.exclude(pk__in=[team.pk for team in member_of]) if manages_all(request) else [],
        "manages_all": manages_all(request),
    }
    return render(request, "people/account.html", context)


def _may_audit(request: RequestWithRights) -> bool:
    reach = request.rights.reach(Action.SEE_AUDIT)
    return reach is not None and reach.is_all


def _sessions(found: Account) -> list[UserSession]:
    return [row for row in UserSession.objects.filter(user_id=found.pk).order_by("-last_seen_at") if row.exists()]


def _factors(found: Account) -> QuerySet[Authenticator]:
    return Authenticator.objects.filter(user_id=found.pk).order_by("created_at")  # type: ignore[no-any-return]  # allauth ships no types


class ChangeForm(forms.Form):
    """What an administrator may change of an account."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=120, required=False)
    email = forms.EmailField(label=gettext_lazy("E-mail"), required=False)
    number = forms.CharField(
        label=gettext_lazy("Number"),
        max_length=30,
        required=False,
        help_text=gettext_lazy("Of a subscriber: whose messages they may see."),
    )
    language = forms.ChoiceField(label=gettext_lazy("Language"), choices=[("", "–"), *Language.choices], required=False)
    skills = forms.CharField(
        label=gettext_lazy("Skills"),
        required=False,
        help_text=gettext_lazy("Categories and languages that this person reviews, between commas."),
    )


@requires(Action.MANAGE_PEOPLE)
@require_http_methods(["GET", "POST"])
def account_edit(request: RequestWithRights, id: UUID) -> HttpResponse:
    found = managed_account(request, id)
    if found.username.startswith(ERASED):
        raise Http404
    first = {
        "name": found.name, "email": found.email, "number": found.number, "language": found.language,
        "skills": ", ".join(found.skills),
    }  # fmt: skip
    form = ChangeForm(request.POST or None, initial=first)
    if request.method == "POST" and form.is_valid():
        given = {**form.cleaned_data, "skills": form.cleaned_data["skills"].replace("，", ",").split(",")}
        try:
            accounts.change_account(found, actor=request.user.ref, now=utc_now(), **given)
        except MingbaiError as error:
            field = str(error.data.get("field", ""))
            form.add_error(field if field in form.fields else None, words_of(error))
        else:
            return redirect("account", id=found.pk)
    return render(
        request, "people/account_edit.html", {"form": form, "account": found, "tabs": tabs(request, "people")}
    )


# -- one thing each, by a button


def _assign(request: RequestWithRights, found: Account) -> None:
    code = request.POST.get("unit", "")
    unit = Unit.objects.filter(code=code).first()
    if code and unit is None:
        raise Http404
    roles.assign_role(
        found, request.POST.get("role", ""), unit=unit, actor=request.user.ref, now=utc_now(), within=within(request)
    )


def _remove(request: RequestWithRights, found: Account) -> None:
    row = Assignment.objects.filter(pk=_uuid(request, "assignment"), account=found).first()
    if row is None:
        raise Http404
    roles.remove_role(row, actor=request.user.ref, now=utc_now(), within=within(request))


def _join(request: RequestWithRights, found: Account) -> None:
    teams.add_member(_team(request), found, actor=request.user.ref, now=utc_now())


def _leave(request: RequestWithRights, found: Account) -> None:
    teams.remove_member(_team(request), found, actor=request.user.ref, now=utc_now())


def _team(request: RequestWithRights) -> Team:
    team = Team.objects.filter(code=request.POST.get("team", "")).first()
    if team is None or not manages_all(request):
        raise Http404
    return team


def _deactivate(request: RequestWithRights, found: Account) -> None:
    accounts.deactivate(found, actor=request.user.ref, now=utc_now())


def _reactivate(request: RequestWithRights, found: Account) -> None:
    accounts.reactivate(found, actor=request.user.ref, now=utc_now())


def _sign_out(request: RequestWithRights, found: Account) -> None:
    sessions.sign_out_everywhere(found, actor=request.user.ref, now=utc_now())


def _reset(request: RequestWithRights, found: Account) -> None:
    sessions.reset_second_factors(found, actor=request.user.ref, now=utc_now())


def _end_session(request: RequestWithRights, found: Account) -> None:
    id = request.POST.get("session", "")
    if not id.isdecimal() or not sessions.end_session(found, int(id), actor=request.user.ref, now=utc_now()):
        raise Http404


def _revoke(request: RequestWithRights, found: Account) -> None:
    token = Token.objects.filter(pk=_uuid(request, "token"), account=found).first()
    if token is None:
        raise Http404
    tokens.revoke_token(token, actor=request.user.ref, now=utc_now())


def _uuid(request: RequestWithRights, name: str) -> UUID:
    try:
        return UUID(request.POST.get(name, ""))
    except ValueError:
        raise Http404 from None


_ACTS: dict[str, tuple[Callable[[RequestWithRights, Account], None], Promise]] = {
    "assign": (_assign, gettext_lazy("The role is given.")),
    "remove": (_remove, gettext_lazy("The role is taken away.")),
    "join": (_join, gettext_lazy("Now in the team.")),
    "leave": (_leave, gettext_lazy("Out of the team.")),
    "deactivate": (_deactivate, gettext_lazy("Deactivated, and signed out everywhere.")),
    "reactivate": (_reactivate, gettext_lazy("Reactivated.")),
    "sign-out": (_sign_out, gettext_lazy("Signed out everywhere.")),
    "reset-factors": (_reset, gettext_lazy("Second factors are reset. New ones are set up at the next sign-in.")),
    "end-session": (_end_session, gettext_lazy("The session is ended.")),
    "revoke": (_revoke, gettext_lazy("The token is revoked.")),
}


@requires(Action.MANAGE_PEOPLE)
@require_POST
def account_act(request: RequestWithRights, id: UUID, act: str) -> HttpResponse:
    """One of `_ACTS`; the page then says that it is done, or why not."""
    found = managed_account(request, id)
    if act not in _ACTS:
        raise Http404
    work, done = _ACTS[act]
    attempt(request, lambda: work(request, found), str(done))
    return redirect("account", id=found.pk)


@requires(Action.MANAGE_PEOPLE)
@require_POST
def account_invite(request: RequestWithRights, id: UUID) -> HttpResponse:
    """A one-time link for a first or a new password. It is shown here and nowhere else."""
    found = managed_account(request, id)
    secret = attempt(
        request, lambda: accounts.invite(found, actor=request.user.ref, now=utc_now()), _("The link is made.")
    )
    if secret is None:
        return redirect("account", id=found.pk)
    context = {
        "account": found, "link": link_of(request, secret), "hours": accounts.INVITATION_HOURS,
        "tabs": tabs(request, "people"),
    }  # fmt: skip
    return render(request, "people/invited.html", context)


urlpatterns = [
    path("people/<uuid:id>/", account, name="account"),
    path("people/<uuid:id>/edit/", account_edit, name="account_edit"),
    path("people/<uuid:id>/invite/", account_invite, name="account_invite"),
    path("people/<uuid:id>/do/<slug:act>/", account_act, name="account_act"),
]
