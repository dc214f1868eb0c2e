"""Every address of the console. Each view declares the right it needs; tests walk this list."""

from __future__ import annotations

from importlib.util import find_spec

from django.urls import include, path

from mingbai.console import views

handler400 = "mingbai.console.views.bad_request"
handler403 = "mingbai.console.views.permission_denied"
handler404 = "mingbai.console.views.page_not_found"
handler500 = "mingbai.console.views.server_error"

urlpatterns = [
    path("", views.home, name="home"),
    path("language/", views.set_language, name="set_language"),
    path("theme/", views.set_theme, name="set_theme"),
    path("healthz", views.health, name="health"),
    path("accounts/", include("mingbai.console.account_urls")),
]
for module in (
    "mingbai.contexts.audit.urls",
    "mingbai.contexts.people.urls",
    "mingbai.contexts.messaging.urls",
    "mingbai.console.api",
):
    if find_spec(module):
        urlpatterns.append(path("", include(module)))
