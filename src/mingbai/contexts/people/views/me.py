"""My account: what one changes about oneself, one's tokens, and the second factor that some roles need."""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import UUID

from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django import forms
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mingbai.contexts.people import queries
from mingbai.contexts.people.choices import Language
from mingbai.contexts.people.models import Token
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.rights import RequestWithRights, requires, signed_in
from mingbai.contexts.people.services import accounts, tokens
from mingbai.contexts.people.views.shared import attempt, words_of
from mingbai.contexts.people.words import ACTIONS
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import MingbaiError


class ProfileForm(forms.Form):
    """What everybody may change about themselves."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=120, required=False)
    email = forms.EmailField(label=gettext_lazy("E-mail"), required=False)
    language = forms.ChoiceField(label=gettext_lazy("Language"), choices=[("", "–"), *Language.choices], required=False)


@signed_in
@require_http_methods(["GET", "POST"])
def my_account(request: RequestWithRights) -> HttpResponse:
    """Profile, ways to sign in, sessions, rights, tokens."""
    me = request.user
    first = {"name": me.name, "email": me.email, "language": me.language}
    form = ProfileForm(request.POST or None, initial=first)
    if request.method == "POST" and form.is_valid():
        try:
            accounts.change_account(me, actor=me.ref, now=utc_now(), **form.cleaned_data)
        except MingbaiError as error:
            field = str(error.data.get("field", ""))
            form.add_error(field if field in form.fields else None, words_of(error))
        else:
            return redirect("my_account")
    context = {
        "form": form,
        "account": me,
        "factors": Authenticator.objects.filter(user_id=me.pk).order_by("created_at"),
        "has_factor": queries.has_second_factor(me),
        "sessions": UserSession.objects.filter(user_id=me.pk).count(),
        "assignments": queries.assignments_of(me),
        "has_password": me.has_usable_password(),
        "may_tokens": request.rights.may(Action.MANAGE_TOKENS),
        "tokens": me.tokens.filter(revoked_at=None, expires_at__gt=utc_now()).count(),
    }
    return render(request, "people/my_account.html", context)


# -- tokens

_DAYS = ((30, gettext_lazy("30 days")), (90, gettext_lazy("90 days")), (365, gettext_lazy("1 year")))


class TokenForm(forms.Form):
    """A new token. Only rights that the account has are offered."""

    name = forms.CharField(
        label=gettext_lazy("Name"), max_length=80, help_text=gettext_lazy("Which program will use it, and where.")
    )
    days = forms.TypedChoiceField(label=gettext_lazy("Ends after"), choices=_DAYS, coerce=int, initial=90)
    scopes = forms.MultipleChoiceField(label=gettext_lazy("What it may do"), widget=forms.CheckboxSelectMultiple)

    def __init__(self, *args: object, offered: list[Action], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # Django's own
        self.fields["scopes"].choices = [(action.value, ACTIONS[action]) for action in offered]  # type: ignore[attr-defined]  # a choice field


@requires(Action.MANAGE_TOKENS)
@require_http_methods(["GET", "POST"])
def my_tokens(request: RequestWithRights) -> HttpResponse:
    """Tokens of one's own; a new one's secret is shown in the answer to the form, and nowhere else."""
    me, now = request.user, utc_now()
    form = TokenForm(request.POST or None, offered=tokens.grantable(me))
    secret = ""
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            _token, secret = tokens.create_token(
                me, name=given["name"], scopes=given["scopes"], expires_at=now + timedelta(days=given["days"]),
                actor=me.ref, now=now,
            )  # fmt: skip
        except MingbaiError as error:
            field = str(error.data.get("field", ""))
            form.add_error(field if field in form.fields else None, words_of(error))
        else:
            form = TokenForm(offered=tokens.grantable(me))
    rows = [
        {
            "token": row,
            "scopes": [ACTIONS[action] for action in Action if action.value in row.scopes],
            "is_open": row.revoked_at is None and row.expires_at > now,
        }
        for row in me.tokens.all()
    ]
    context = {"form": form, "rows": rows, "secret": secret, "now": now}
    return render(request, "people/my_tokens.html", context)


@requires(Action.MANAGE_TOKENS)
@require_POST
def my_token_revoke(request: RequestWithRights, id: UUID) -> HttpResponse:
    token = Token.objects.filter(pk=id, account=request.user).first()
    if token is None:
        raise Http404
    attempt(
        request,
        lambda: tokens.revoke_token(token, actor=request.user.ref, now=utc_now()),
        _("The token is revoked."),
    )
    return redirect("my_tokens")


# -- the second factor

_JUST_NOW_S = 300


@signed_in
@require_GET
def second_factor(request: RequestWithRights) -> HttpResponse:
    """Where somebody is sent whose role needs a second factor and who has none yet."""
    if queries.has_second_factor(request.user):
        return redirect("home")
    # The password was typed a moment ago; typing it again before the first factor would protect nothing.
    now = time.time()
    records = get_authentication_records(request, request.user)
    if any(item.get("method") == "password" and now - item["at"] < _JUST_NOW_S for item in records):
        record_authentication(request, request.user, method="password", reauthenticated=True)
    return render(request, "people/second_factor.html", {"account": request.user})


urlpatterns = [
    path("me/", my_account, name="my_account"),
    path("me/tokens/", my_tokens, name="my_tokens"),
    path("me/tokens/<uuid:id>/revoke/", my_token_revoke, name="my_token_revoke"),
    path("me/second-factor/", second_factor, name="second_factor"),
]
