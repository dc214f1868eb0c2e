"""Rights at the door: every view declares the action it needs, and the middleware lets nothing undeclared through.

    @requires(Action.SEE_AUDIT)
    def audit_page(request): ...

`request.rights` answers `may(action)` and `reach(action)`. A view without a declaration answers 403 to everybody, and a
test lists it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from allauth.account.internal.flows.login import get_authentication_records
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from mingbai.contexts.people.models import Account
from mingbai.contexts.people.policy import Action, Rights
from mingbai.contexts.people.queries import has_second_factor, needs_second_factor, rights_of

View = TypeVar("View", bound=Callable[..., Any])  # Any: whatever a view takes and gives

PUBLIC = "public"  # anybody, signed in or not
SIGNED_IN = "signed_in"  # anybody with an account: what concerns only themselves


class RequestWithRights(HttpRequest):
    """What views get: for annotations only."""

    user: Account
    rights: Rights


def requires(*actions: Action) -> Callable[[View], View]:
    """The view needs one of these rights."""

    def declare(view: View) -> View:
        view.needs = actions  # type: ignore[attr-defined]  # the declaration
        return view

    return declare


def public(view: View) -> View:
    """Anybody may, signed in or not."""
    view.needs = PUBLIC  # type: ignore[attr-defined]  # the declaration
    return view


def signed_in(view: View) -> View:
    """Anybody with an account may: it concerns only themselves."""
    view.needs = SIGNED_IN  # type: ignore[attr-defined]  # the declaration
    return view


# Views of packages, which cannot carry a declaration: by the start of their module.
# The API's operations declare theirs by `auth=allowed(...)`, which another test walks.
PUBLIC_MODULES = ("allauth.", "ninja.", "django.views.i18n")


def needs_of(view: Callable[..., Any]) -> tuple[Action, ...] | str | None:
    """What a view declares; None: nothing."""
    declared = getattr(view, "needs", None) or getattr(getattr(view, "view_class", None), "needs", None)
    if declared is not None:
        found: tuple[Action, ...] | str = declared
        return found
    module = getattr(view, "__module__", "") or ""
    return PUBLIC if module.startswith(PUBLIC_MODULES) else None


class RightsMiddleware:
    """Puts `request.rights` there and refuses what is not declared or not allowed. After AuthenticationMiddleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.rights = Rights()  # type: ignore[attr-defined]  # RequestWithRights
        if request.user.is_authenticated:
            request.rights = rights_of(request.user)  # type: ignore[attr-defined]  # RequestWithRights
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: object, kwargs: object
    ) -> HttpResponse | None:
        needs = needs_of(view)
        if needs == PUBLIC:
            return None
        if not request.user.is_authenticated:
            if request.headers.get("HX-Request"):
                return HttpResponse(status=401, headers={"HX-Redirect": redirect_to_login(_page(request)).url})
            return redirect_to_login(request.get_full_path())
        match = request.resolver_match
        if (match is None or match.url_name not in WITHOUT_FACTOR) and _lacks_factor(request):
            url = reverse("second_factor")
            if request.headers.get("HX-Request"):
                return HttpResponse(status=403, headers={"HX-Redirect": url})
            return HttpResponseRedirect(url)
        if needs == SIGNED_IN:
            return None
        if needs is None or isinstance(needs, str) or not any(request.rights.may(action) for action in needs):  # type: ignore[attr-defined]  # RequestWithRights
            raise PermissionDenied
        return None


# What somebody can do before a second factor that their role needs is set up (beside allauth's own pages).
WITHOUT_FACTOR = frozenset({"second_factor", "set_language", "set_theme"})


def _lacks_factor(request: HttpRequest) -> bool:
    """Whether the role needs a second factor and there is none. Whoever came through the operator's directory passed
    what that asks for."""
    if not settings.MINGBAI.console.require_second_factor or not needs_second_factor(request.rights):  # type: ignore[attr-defined]  # RequestWithRights
        return False
    records = get_authentication_records(request, request.user)
    if any(item.get("method") == "socialaccount" for item in records):
        return False
    return not has_second_factor(request.user)  # type: ignore[arg-type]  # our account model


def _page(request: HttpRequest) -> str:
    """Where to come back to after signing in: the page that a fragment belongs to."""
    from urllib.parse import urlsplit

    current = urlsplit(request.headers.get("HX-Current-URL", ""))
    return current.path + (f"?{current.query}" if current.query else "") or "/"
