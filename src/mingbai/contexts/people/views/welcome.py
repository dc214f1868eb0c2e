"""The way in by a one-time link."""

from __future__ import annotations

from allauth.account.internal.flows.login import record_authentication
from django import forms
from django.contrib.auth import login
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from mingbai.contexts.people.rights import public
from mingbai.contexts.people.services.accounts import InvitationInvalid, accept_invitation, invited
from mingbai.kernel.clock import utc_now


class PasswordForm(forms.Form):
    """A first password, typed twice."""

    password = forms.CharField(
        label=_("Password"), widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "autofocus": True})
    )
    again = forms.CharField(
        label=_("Password again"), widget=forms.PasswordInput(attrs={"autocomplete": "new-password"})
    )

    def clean(self) -> dict[str, object]:
        given: dict[str, object] = super().clean() or {}
        if given.get("password") and given.get("again") and given["password"] != given["again"]:
            self.add_error("again", _("The two passwords differ."))
        return given


@public
@never_cache
@sensitive_post_parameters()
def welcome(request: HttpRequest, secret: str) -> HttpResponse:
    """A one-time link: choose a password, and be signed in."""
    now = utc_now()
    try:
        account = invited(secret, now=now)
    except InvitationInvalid:
        return render(request, "people/welcome_gone.html", status=410)
    form = PasswordForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            account = accept_invitation(secret, form.cleaned_data["password"], now=now)
        except ValidationError as error:
            form.add_error("password", error)
        except InvitationInvalid:
            return render(request, "people/welcome_gone.html", status=410)
        else:
            login(request, account)
            # As allauth does after its own form, so that setting up a second factor does not ask for it again.
            record_authentication(request, account, method="password", reauthenticated=True)
            return redirect("home")
    return render(request, "people/welcome.html", {"form": form, "account": account})


urlpatterns = [path("welcome/<str:secret>/", welcome, name="welcome")]
