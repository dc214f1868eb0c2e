"""Pages that belong to no context: the way in, language and theme, health, and what is wrong."""

from __future__ import annotations

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from mingbai import __version__
from mingbai.console.context_processors import NAVIGATION
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.rights import public, signed_in


@signed_in
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """The first page that this person may see."""
    from mingbai.console.context_processors import page

    items = page(request)["nav"]
    return redirect(items[0]["url"]) if items else render(request, "console/nothing.html")


@public
@require_POST
def set_language(request: HttpRequest) -> HttpResponse:
    language = request.POST.get("language", "")
    response = HttpResponseRedirect(_back(request))
    if language in dict(settings.LANGUAGES):
        response.set_cookie(
            settings.LANGUAGE_COOKIE_NAME, language, max_age=31_536_000, samesite="Lax", secure=request.is_secure()
        )
        if isinstance(request.user, Account):
            from mingbai.contexts.people.services.accounts import remember_language

            remember_language(request.user, language)
    return response


@public
@require_POST
def set_theme(request: HttpRequest) -> HttpResponse:
    theme = request.POST.get("theme", "")
    response = HttpResponseRedirect(_back(request))
    if theme in ("light", "dark"):
        response.set_cookie("mingbai_theme", theme, max_age=31_536_000, samesite="Lax", secure=request.is_secure())
    else:
        response.delete_cookie("mingbai_theme")
    return response


def _back(request: HttpRequest) -> str:
    """Where the form says the person was, if that is within this console."""
    wanted = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(wanted, allowed_hosts=None, require_https=False):
        return wanted
    return reverse("home")


@public
@require_GET
def health(request: HttpRequest) -> HttpResponse:
    """For a load balancer: whether this process can reach its database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"status": "ok", "version": __version__})


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return render(request, "403.html", {"is_csrf": True}, status=403)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "400.html", status=400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "403.html", status=403)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    return render(request, "500.html", status=500)


__all__ = ["NAVIGATION", "health", "home", "set_language", "set_theme"]
