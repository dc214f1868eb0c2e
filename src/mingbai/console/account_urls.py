"""Sign-in, second factors and sessions, by allauth. Only what is used: no signing up, no password by e-mail."""

from __future__ import annotations

from allauth.account import views as account
from allauth.socialaccount.providers.openid_connect import urls as openid_connect
from django.urls import include, path

urlpatterns = [
    path("login/", account.login, name="account_login"),
    path(
        "signup/", account.signup, name="account_signup"
    ),  # allauth names it in its pages; the adapter keeps it closed
    path("logout/", account.logout, name="account_logout"),
    path("inactive/", account.account_inactive, name="account_inactive"),
    path("reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("password/change/", account.password_change, name="account_change_password"),
    path("password/set/", account.password_set, name="account_set_password"),
    path("2fa/", include("allauth.mfa.urls")),
    path("sessions/", include("allauth.usersessions.urls")),
    path("3rdparty/", include("allauth.socialaccount.urls")),
    *openid_connect.urlpatterns,
]
