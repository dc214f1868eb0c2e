"""How allauth is used here: nobody signs up by themselves, and the operator's directory opens only known accounts."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.contrib import messages
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from mingbai.contexts.people.services.accounts import account_for_directory


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """Local accounts."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def add_message(self, request: HttpRequest, level: int, *args: Any, **kwargs: Any) -> None:  # Any: allauth's own
        # "You have signed in as …" tells nobody anything new.
        if "logged_in" not in str(kwargs.get("message_template") or (args[0] if args else "")):
            super().add_message(request, level, *args, **kwargs)


class DirectoryAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """Sign-in through the operator's own OpenID Connect provider."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:  # Any: allauth's own
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:  # Any: allauth's own
        """Join an identity to the account that an administrator made for it; refuse one that nobody made.

        By `preferred_username`: an e-mail address can be changed by its owner in many directories.
        """
        if sociallogin.is_existing:
            return
        claims = sociallogin.account.extra_data
        claims = claims.get("userinfo", claims)
        account = account_for_directory(str(claims.get("preferred_username") or ""))
        if account is None:
            messages.error(request, _("There is no account for you here yet. Ask an administrator to make one."))
            raise ImmediateHttpResponse(redirect("account_login"))
        sociallogin.connect(request, account)
