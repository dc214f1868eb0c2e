"""What every page knows: where one can go from here, theme, version."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext_lazy as _

from mingbai import __version__
from mingbai.contexts.people.policy import Action, Rights

# name of the URL, icon, label, action, key after `g`
NAVIGATION = (
    ("overview", "layout-dashboard", _("Overview"), Action.SEE_OVERVIEW, "o"),
    ("messages", "messages-square", _("Messages"), Action.SEE_MESSAGES, "m"),
    ("campaigns", "megaphone", _("Campaigns"), Action.SEE_CAMPAIGNS, "c"),
    ("review", "list-checks", _("Review desk"), Action.REVIEW, "r"),
    ("review_lead", "gauge", _("Review team"), Action.LEAD_REVIEW, "t"),
    ("rulebook", "scroll-text", _("Rulebook"), Action.SEE_RULES, "b"),
    ("model", "brain-circuit", _("Model"), Action.SEE_MODEL, "d"),
    ("gateway", "waypoints", _("Gateway"), Action.SEE_GATEWAY, "w"),
    ("people", "users", _("People"), Action.SEE_PEOPLE, "p"),
    ("my_data", "shield-user", _("My data"), Action.ASK_ABOUT_OWN_DATA, "y"),
    ("audit", "file-clock", _("Audit"), Action.SEE_AUDIT, "a"),
    ("system", "server", _("System"), Action.MANAGE_SYSTEM, "s"),
)


def page(request: HttpRequest) -> dict[str, Any]:  # Any: what templates take
    theme = request.COOKIES.get("mingbai_theme", "")
    rights: Rights = getattr(request, "rights", Rights())
    return {
        "version": __version__,
        "theme": theme if theme in ("light", "dark") else "",
        "rights": rights,
        "nav": _navigation(request, rights),
        "search_url": _url("messages") if rights.may(Action.SEE_MESSAGES) else "",
    }


def _url(name: str) -> str:
    """Where a page is; "" for one that there is not: of a later release, or in a test that has pages of its own."""
    try:
        return reverse(name)
    except NoReverseMatch:
        return ""


def _navigation(request: HttpRequest, rights: Rights) -> list[dict[str, Any]]:  # Any: as above
    match = getattr(request, "resolver_match", None)
    here = (match.url_name or "") if match is not None else ""
    items = []
    for name, icon, label, action, key in NAVIGATION:
        if not rights.may(action):
            continue
        url = _url(name)
        if not url:
            continue
        path = request.path
        is_current = here == name or (url != "/" and path.startswith(url))
        if name == "review" and path.startswith("/review/team"):
            is_current = False
        items.append({"url": url, "icon": icon, "label": label, "is_current": is_current, "key": key, "badge": ""})
    return items
